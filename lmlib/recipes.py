"""From a preset and images to a trained network in one file, and back.

What the commands ``train``, ``evaluate`` and ``predict`` have in common: how each
method is trained, what its file says of itself, and how its answers become landmarks.

* Seq-MT learns the landmarks of the data; ``labels`` is the share of images that keep
  theirs. Images are turned, moved and zoomed a little, as on 300-W.
* LMDIS discovers its landmarks.
* DVE has descriptors and no landmarks. Its file also keeps the directions of
  ``CLUSTERS`` kinds of descriptors, found by k-means on training images; a landmark is
  where a kind is.

For the last two, ``evaluate`` fits annotated landmarks to the discovered ones.
"""

import ast
import json
import tempfile
import types
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from lmlib.datasets import open_data
from lmlib.datasets.images import image_numbers, to_gray
from lmlib.evaluation import (
    LandmarkRegression,
    nme,
    normaliser_distance,
    point_errors,
)
from lmlib.geometry import seqmt_affine
from lmlib.methods.dve import Dve, DveConfig, cluster, virtual_points
from lmlib.methods.lmdis import Lmdis, LmdisConfig
from lmlib.methods.seqmt import SeqMt, SeqMtConfig, wait
from lmlib.results import environment
from lmlib.samples import Batch, as_tensor, augment, class_balanced_subset
from lmlib.training import (
    best_device,
    constant_then_decay,
    cosine,
    fit,
    load_checkpoint,
    read_metadata,
    recompute_statistics,
    save_checkpoint,
)

METHODS = {
    "seqmt": (SeqMtConfig, SeqMt),
    "lmdis": (LmdisConfig, Lmdis),
    "dve": (DveConfig, Dve),
}
CLUSTERS = 50  # of DVE's descriptors
CHUNK = 64  # images at a time, where nothing is trained


@dataclass(frozen=True)
class Settings:
    """What makes a run what it is; the same settings give the same network.

    Texts are as on the command line: ``changes`` like "lr=0.002", ``images`` "0:500",
    ``labels`` "5%" or "all".
    """

    method: str
    preset: str
    data: list[str]
    changes: list[str]
    split: str = "train"
    images: str | None = None
    labels: str = "all"
    held: int = 0  # images held back from training
    steps: int | None = None
    batch: int | None = None
    seed: int = 0
    crop: str | None = None
    partial: bool = False

    @property
    def options(self) -> dict:
        """For ``open_data``: only what was asked for, so that each set has its own
        crop."""
        crop = {} if self.crop is None else {"crop": read_crop(self.crop)}
        return crop | ({"partial": True} if self.partial else {})


# --- texts ----------------------------------------------------------------------------


def configure(method: str, preset: str, changes: list[str]):
    """A preset's configuration with ``NAME=VALUE`` changes, types checked."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; there are {', '.join(METHODS)}")
    kind = METHODS[method][0]
    config, hints = kind.preset(preset), get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    for change in changes:
        name, _, text = change.partition("=")
        if name not in names or not text:
            raise ValueError(
                f"--set {change}: expected NAME=VALUE, NAME one of {', '.join(names)}"
            )
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        if not _fits(value, hints[name]):
            expected = getattr(hints[name], "__name__", hints[name])
            raise ValueError(
                f"--set {change}: {name} must be {expected}, such as "
                f"{getattr(config, name)!r}"
            )
        config = replace(config, **{name: value})
    return config


def _fits(value, kind) -> bool:
    if get_origin(kind) is types.UnionType:
        return any(_fits(value, each) for each in get_args(kind))
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        if not isinstance(value, tuple):
            return False
        if parts[-1] is Ellipsis:
            parts = parts[:1] * len(value)
        return len(parts) == len(value) and all(map(_fits, value, parts))
    return type(value) is kind or (kind is float and type(value) is int)


def read_crop(text: str):
    """A crop's name, or the four shares ``L,T,R,B`` as numbers."""
    if "," not in text:
        return text
    try:
        left, top, right, bottom = map(float, text.split(","))
    except ValueError:
        left = right = top = bottom = 0
    if not (left < right and top < bottom):
        raise ValueError(
            "crop must be a name or left,top,right,bottom as shares of width and "
            f"height, such as 0.1,0,0.9,1; got {text!r}"
        )
    return left, top, right, bottom


def read_share(text: str) -> float:
    """``5%`` or ``all`` as a number in (0, 1]."""
    try:
        share = 1.0 if text == "all" else float(text.removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0 < share <= 1 or (text != "all" and not text.endswith("%")):
        raise ValueError(f"labels must be all or a share such as 5%, got {text!r}")
    return share


def read_range(text: str, count: int) -> range:
    """``A:B`` as image numbers; both ends may be left out."""
    first, colon, last = text.partition(":")
    try:
        start, stop = int(first or 0), int(last or count)
    except ValueError:
        colon = start = stop = 0
    if not colon or not 0 <= start < stop <= count:
        raise ValueError(
            f"expected image numbers A:B with 0 <= A < B <= {count}, got {text!r}"
        )
    return range(start, stop)


def check_writable(path: Path) -> None:
    """Make the folder of a file that will be written; OSError if it cannot be."""
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder, expected the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(f"{path.parent}: cannot write there ({error.strerror})") from None


# --- images as a network takes them ---------------------------------------------------


class Images:
    """Data sets one after the other, numbered from 0, with ``channels`` channels.

    Of several sets only the images are given out, since their annotations differ.
    """

    def __init__(self, parts: list, channels: int):
        self.parts, self.channels = parts, channels
        self.ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self.ends[-1]

    @property
    def indices(self) -> range:
        return range(len(self))

    def _shares(self, index: Tensor) -> Iterator[tuple]:
        """Each part with its rows of a batch and its own numbers of those images."""
        for part, stop in zip(self.parts, self.ends, strict=True):
            start = stop - len(part)
            rows = ((index >= start) & (index < stop)).nonzero().flatten()
            if len(rows):
                yield part, rows, as_tensor(part.indices)[index[rows] - start]

    def prefetch(self, indices) -> None:
        for part, _, numbers in self._shares(as_tensor(indices)):
            if hasattr(part, "prefetch"):
                part.prefetch(numbers)

    def batch(self, indices, device=None) -> Batch:
        index = image_numbers(indices, len(self))
        rows, images = [], []
        for part, row, numbers in self._shares(index):
            batch = part.batch(numbers, device)
            rows.append(row)
            images.append(with_channels(batch["image"], self.channels))
        order = torch.cat(rows).argsort()  # of one set: as it is
        image = torch.cat(images)[order.to(images[0].device)]
        more = batch if len(self.parts) == 1 else {}
        return {**more, "image": image, "index": index.to(image.device)}


def with_channels(images: Tensor, channels: int) -> Tensor:
    """Colours to grey ``(B, 1, H, W)``, or grey to three equal colours."""
    if images.shape[1] == 3 and channels == 1:
        return to_gray(images)
    if images.shape[1] == 1:
        return images.expand(-1, channels, -1, -1)
    return images


def open_images(sources: list[str], split: str, config, **options) -> Images:
    """The data sets ``sources`` at the size and with the channels of a configuration.

    Raises:
        ValueError: a set whose images have one size only, and not this one.
    """
    side = side_of(config)
    parts = [open_data(source, split, side, **options) for source in sources]
    for source, part in zip(sources, parts, strict=True):
        shape = tuple(part.batch(part.indices[:1])["image"].shape[-2:])
        if shape != (side, side):
            raise ValueError(
                f"{source}: its images are {shape[1]} x {shape[0]} pixels, but this "
                f"preset takes {side} x {side}"
            )
    return Images(parts, getattr(config, "image_channels", 3))


def side_of(config) -> int:
    """Pixels a side of the images a network is given."""
    return getattr(config, "frame", config.size)


# --- a trained network and its landmarks ----------------------------------------------


class Landmarker(nn.Module):
    """A network with what turns its answers into landmarks; one file holds it all.

    ``annotated``: number of annotated landmarks that ``regress`` fits, or 0.
    """

    def __init__(self, method: nn.Module, annotated: int = 0):
        super().__init__()
        self.method, self.config = method, method.config
        for name in ("centres", "weight", "offset"):
            self.register_buffer(name, None)
        known = getattr(self.config, "landmarks", CLUSTERS)
        if isinstance(method, Dve):
            self.centres = torch.zeros(CLUSTERS, self.config.channels)
        if annotated:
            self._keep(
                torch.zeros(2 * known, 2 * annotated), torch.zeros(2 * annotated)
            )

    def _keep(self, weight: Tensor, offset: Tensor) -> None:
        device = next(self.method.parameters()).device
        self.weight = weight.to(device, torch.float32)
        self.offset = offset.to(device, torch.float32)

    @property
    def zoom(self) -> float:
        """What the network sees of its images, as a share of their side."""
        return self.config.size / side_of(self.config)

    @torch.no_grad()
    def discovered(self, images: Tensor) -> Tensor:
        """``(B, K, 2)``, what the network itself finds, in [-1, 1] of what it sees."""
        if self.centres is None:
            return self.method.landmarks(images)
        vectors = self.method.descriptors(self.method.crop(images))
        return virtual_points(vectors, self.centres)

    def landmarks(self, images: Tensor) -> Tensor:
        """In [-1, 1] of the images: annotated landmarks if there is a regression, else
        the discovered ones."""
        points = self.discovered(images)
        if self.weight is not None:
            points = (points.flatten(1) @ self.weight + self.offset).unflatten(
                1, (-1, 2)
            )
        return points * self.zoom

    def regress(self, points: Tensor, truth: Tensor, visible: Tensor) -> None:
        """Fit annotated landmarks ``(N, M, 2)``, in [-1, 1] of the images, to the
        discovered ``(N, K, 2)``: as the papers do, with a small ridge for DVE."""
        few = {"ridge": 0.1} if self.centres is not None else {"bias": False}
        fitted = LandmarkRegression(**few).fit(points, truth / self.zoom, visible)
        self._keep(fitted.weight, fitted.offset)


def load(path: str | Path, device=None) -> tuple[Landmarker, dict]:
    """A checkpoint of ``lmlib train``, ready to use, and its metadata.

    Networks that ship with the course are taken too, where they have landmarks: those
    of Seq-MT and LMDIS.
    """
    metadata = read_metadata(path)
    if "settings" not in metadata:
        found = Landmarker(_shipped(Path(path), metadata))
        return found.to(device or best_device()).eval(), metadata
    settings = metadata["settings"]
    config = configure(settings["method"], settings["preset"], metadata["changes"])
    method = METHODS[settings["method"]][1](config)
    found = Landmarker(method, metadata.get("regression", {}).get("landmarks", 0))
    load_checkpoint(path, found)
    return found.to(device or best_device()).eval(), metadata


def _shipped(path: Path, metadata: dict) -> nn.Module:
    """A network of one of the course's tables."""
    table = path.name.partition("_")[0]  # see experiments.cells.kept_file
    paper, setting = table.partition("-")[0], metadata.get("setting")
    if setting is None or paper not in METHODS:
        raise ValueError(
            f"{path}: a checkpoint, but neither of `lmlib train` nor of a table"
        )
    if paper == "dve":
        raise ValueError(
            f"{path}: has descriptors and no landmarks; `lmlib train dve` keeps both"
        )
    return import_module(f"lmlib.experiments.{paper}").load_cell(table, setting)


# --- training -------------------------------------------------------------------------


def train(
    settings: Settings,
    out: str | Path,
    *,
    device=None,
    force: bool = False,
    command: str = "",
    progress: bool = True,
    save_every: int = 100,
) -> dict | None:
    """Train a network and write it to ``out``; returns what that file says of itself.

    A killed run goes on where it was, from ``.run.safetensors`` beside ``out``. None if
    ``out`` is there already, with the same settings.

    Raises:
        ValueError: ``out`` or an unfinished run has other settings, and not ``force``.
    """
    out, wanted = Path(out), asdict(settings)
    state, about = (out.with_suffix(f".run.{end}") for end in ("safetensors", "json"))
    check_writable(out)
    if out.exists() and not force:
        made = read_metadata(out).get("settings")
        if made == wanted:
            return None
        raise ValueError(f"{out}: {_differences(made, wanted)}; --force overwrites it")
    made = json.loads(about.read_text(encoding="utf-8")) if about.exists() else None
    if made not in (None, wanted) and state.exists() and not force:
        raise ValueError(
            f"{state}: an unfinished run, {_differences(made, wanted)}; --force starts "
            "anew"
        )
    config = configure(settings.method, settings.preset, settings.changes)
    data = open_images(settings.data, settings.split, config, **settings.options)
    pool = data.indices
    if settings.images:
        pool = read_range(settings.images, len(data))
    pool, held = as_tensor(pool), None
    if settings.method != "seqmt" and (settings.held or settings.labels != "all"):
        raise ValueError(
            f"{settings.method} uses no landmarks: --labels and --val are for seqmt"
        )
    if settings.held:
        if not 0 < settings.held < len(pool):
            raise ValueError(f"cannot hold back {settings.held} of {len(pool)} images")
        order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(0))
        chosen = order[: settings.held].sort().values
        held, pool = pool[chosen], pool[order[settings.held :].sort().values]
    changes = list(settings.changes)
    if settings.method == "seqmt":
        config = _suited(config, data.batch(pool[:1]), settings.data)
        changes.append(f"landmarks={config.landmarks}")
    if settings.batch:
        config = replace(config, batch_size=settings.batch)
    steps = settings.steps or default_steps(config, settings.preset, len(pool))
    torch.manual_seed(settings.seed)
    method = METHODS[settings.method][1](config)
    recipe = {"seqmt": _seqmt, "lmdis": _lmdis, "dve": _dve}[settings.method]
    pools, options = recipe(method, data, pool, steps, settings)
    if made != wanted:
        state.unlink(missing_ok=True)
        about.write_text(json.dumps(wanted), encoding="utf-8")
    history = fit(
        method,
        data,
        pools,
        steps,
        **{"batch_size": config.batch_size, "lr": config.lr, **options},
        seed=settings.seed,
        device=device,
        checkpoint=state,
        save_every=save_every,
        progress=progress,
    )
    device = next(method.parameters()).device
    if settings.method == "lmdis":
        batches = min(30, max(1, len(pool) // config.batch_size))
        recompute_statistics(method, data, pool, batches, config.batch_size)
    found = Landmarker(method).to(device).eval()
    if found.centres is not None:
        some = pool[:: max(1, len(pool) // 100)][:100]
        with torch.no_grad():
            parts = [
                method.descriptors(method.crop(data.batch(part, device)["image"]))
                for part in some.split(CHUNK)
            ]
        vectors = torch.cat(parts).permute(0, 2, 3, 1).flatten(0, 2)
        few = vectors[:: max(1, len(vectors) // 10_000)]
        found.centres.copy_(cluster(few, CLUSTERS))
    metadata = {
        "settings": wanted,
        "changes": changes,
        "n_train": len(pool),
        "steps": steps,
        "batch": options.get("batch_size", config.batch_size),
        "losses": history[-1],
        "command": command,
        **environment(),
        "trained_on": str(device),
    }
    if held is not None:
        metadata["held"] = held.tolist()
        metadata["held_error"] = measure(found, data, held)["error"]
    save_checkpoint(out, found, **metadata)
    state.unlink(missing_ok=True)
    about.unlink()
    return metadata


def default_steps(config, preset: str, images: int) -> int:
    """LMDIS: the preset's. Else 2,000 for a classroom's preset, DVE's epochs for the
    others, and 20,000 for Seq-MT, whose paper names none."""
    if isinstance(config, LmdisConfig):
        return config.steps
    if preset.endswith("_class"):
        return 2_000
    if isinstance(config, SeqMtConfig):
        return 20_000
    return max(1, config.epochs * images // config.batch_size)


def _differences(made: dict | None, wanted: dict) -> str:
    made = made or {}
    changed = [
        f"{name} {made.get(name)!r}, not {value!r}"
        for name, value in wanted.items()
        if made.get(name) != value
    ]
    return f"made with other settings ({'; '.join(changed)})"


def _suited(config: SeqMtConfig, batch: Batch, sources: list[str]) -> SeqMtConfig:
    """The configuration with the landmarks of the data."""
    name = ", ".join(sources)
    if len(sources) > 1:
        raise ValueError(f"seqmt learns the landmarks of one data set, got {name}")
    if "landmarks" not in batch:
        raise ValueError(f"{name}: has no landmarks, which seqmt learns from")
    missing = [label for label in config.heads if label not in batch]
    if missing and config.weight_class:
        raise ValueError(
            f"{name}: has no {', '.join(missing)}, which this preset learns from; "
            "choose a preset without classes (w300, rcn_plus) or add --set "
            "weight_class=0 --set classes=0"
        )
    return replace(config, landmarks=batch["landmarks"].shape[1])


def _seqmt(method: SeqMt, data: Images, pool: Tensor, steps: int, settings: Settings):
    config, share = method.config, read_share(settings.labels)
    chosen = torch.zeros(len(pool), dtype=torch.long)
    chosen = class_balanced_subset(chosen, share, settings.seed)
    labelled = torch.zeros(len(data), dtype=torch.bool)
    labelled[pool[chosen]] = True
    method.calibrate(data.batch(pool[:64])["image"])

    def prepare(batch: Batch) -> Batch:
        index = batch["index"]
        batch["labelled"] = labelled[index.cpu()].to(index.device)
        if not config.augment:
            return batch
        # fit has seeded torch for this step
        return augment(batch, seqmt_affine(len(index), config.augment), "border")

    options = {"schedule": cosine(steps, config.warm_up), "betas": config.betas}
    options |= {"prepare": prepare, "before": lambda step: wait(method, step / steps)}
    # Images without landmarks come on top, as many as with.
    if share < 1 and (config.weight_equivariance or config.weight_class):
        options["batch_size"] = 2 * config.batch_size
        return (pool[chosen], pool[~chosen]), options
    return pool[chosen], options


def _lmdis(method: Lmdis, data: Images, pool: Tensor, steps: int, settings: Settings):
    return pool, {
        "schedule": lambda step: method.rate(step, steps),
        "before": lambda step: method.advance(step / steps),
    }


def _dve(method: Dve, data: Images, pool: Tensor, steps: int, settings: Settings):
    config = method.config
    if config.pairs == "flow" and "flow" not in data.batch(pool[:1]):
        raise ValueError(
            f"{', '.join(settings.data)}: has no pairs of images with flow, which this "
            "preset needs; choose another, or add --set pairs=warps"
        )

    def begin_exchange(step: int) -> None:
        warm = step < config.warm_up * steps
        method.auxiliaries = 0 if warm else config.auxiliaries

    return pool, {
        "batch_size": config.batch_size + config.pool,
        "amsgrad": True,
        "schedule": constant_then_decay(steps, config.decay),
        "before": begin_exchange,
    }


# --- measuring ------------------------------------------------------------------------


def points_and_truth(
    find: Callable, data: Images, indices, device, progress: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """What ``find`` makes of the images ``(N, K, 2)``, landmarks and visibility."""
    answers = []
    parts = torch.as_tensor(list(indices)).split(CHUNK)
    for number, part in enumerate(tqdm(parts, "measuring", disable=not progress)):
        batch = data.batch(part, device)
        if number + 1 < len(parts):
            data.prefetch(parts[number + 1])
        if "landmarks" not in batch:
            raise ValueError("this data set has no landmarks to measure with")
        found = find(batch["image"])
        answers.append((found, batch["landmarks"], batch["visible"]))
    return tuple(torch.cat(each).cpu() for each in zip(*answers, strict=True))


def measure(
    found: Landmarker,
    data: Images,
    indices,
    normaliser: str | None = None,
    progress: bool = False,
) -> dict:
    """Errors of landmarks in percent of ``normaliser``, over images and for each."""
    device = next(found.method.parameters()).device
    points, truth, visible = points_and_truth(
        found.landmarks, data, indices, device, progress
    )
    count = truth.shape[1]
    if points.shape[1] != count:
        raise ValueError(
            f"the network has {points.shape[1]} landmarks, the data has {count}"
        )
    normaliser = normaliser or ("eye_centres" if count in (5, 68) else "image_edge")
    errors = nme(points, truth, visible, normaliser, drop_unusable=True, per_image=True)
    truth = truth.where(visible[..., None], 0.0)  # it may be NaN
    scale = normaliser_distance(truth, visible, normaliser)
    each = 100 * point_errors(points, truth) / scale[:, None]
    each = each.where(visible & ~errors.isnan()[:, None], torch.nan)
    return {
        "error": 100 * errors.nanmean().item(),
        "per_landmark": [round(x, 4) for x in each.nanmean(0).tolist()],
        "normaliser": normaliser,
        "images": len(errors),
        "left_out": int(errors.isnan().sum()),
    }


def evaluate(
    path: str | Path,
    source: str | None = None,
    *,
    fit_on: str | None = None,
    test: str = "test",
    split: str = "train",
    normaliser: str | None = None,
    keep: bool = False,
    crop: str | None = None,
    partial: bool = False,
    device=None,
    progress: bool = True,
) -> dict:
    """Measure a checkpoint of ``lmlib train``; ``keep`` stores what was fitted in it.

    ``fit_on`` and ``test`` are images: a split's name, ``A:B`` of ``split``, or
    ``SPLIT:A:B``; for ``test`` also "held", the images held back from training.

    Raises:
        ValueError: images both fitted and tested; nothing to fit, or fitted twice.
    """
    if keep and not fit_on:
        raise ValueError("--keep stores what --fit has fitted: name its images")
    found, metadata = load(path, device)
    if "settings" not in metadata:
        raise ValueError(
            f"{path}: not of `lmlib train`; `lmlib claims` has its figures"
        )
    made = Settings(**metadata["settings"])
    source = source or made.data[0]
    used = replace(made, crop=crop or made.crop, partial=partial or made.partial)
    opened: dict[str, Images] = {}

    def read(text: str) -> tuple[str, range]:
        name, *ends = text.split(":", 1) if text[:1].isalpha() else (split, text)
        if name not in opened:
            opened[name] = open_images([source], name, found.config, **used.options)
        count = len(opened[name])
        return name, read_range(ends[0], count) if ends else range(count)

    if test == "held":
        if "held" not in metadata or not same_set(source, made.data[0]):
            raise ValueError(f"{path}: no images of {source} were held back from it")
        where, which = read(made.split)[0], metadata["held"]
    else:
        where, which = read(test)
    fitted = metadata.get("regression")
    if made.method == "seqmt":
        if fit_on:
            raise ValueError(f"{path}: seqmt has learned its landmarks: no --fit")
    elif fit_on:
        name, rows = read(fit_on)
        fitted = {"data": source, "split": name, "images": [rows.start, rows.stop]}
    elif fitted is None:
        raise ValueError(
            f"{path}: its landmarks are discovered; name images to fit the annotated "
            "ones to them, such as --fit 0:500"
        )
    if fitted and fitted["split"] == where and same_set(fitted["data"], source):
        both = set(range(*fitted["images"])) & set(which)
        if both:
            raise ValueError(
                f"{len(both)} images are in both --fit and --test, the first is "
                f"{min(both)} of {where}"
            )
    if fit_on:
        device = next(found.method.parameters()).device
        known = points_and_truth(found.discovered, opened[name], rows, device, progress)
        found.regress(*known)
        fitted["landmarks"] = known[1].shape[1]
    answer = measure(found, opened[where], which, normaliser, progress)
    answer |= {"data": source, "test": test, "checkpoint": str(path)}
    if fitted:
        answer["fitted"] = fitted
    learned = made.method == "seqmt" and same_set(source, made.data[0])
    if learned and where == made.split:
        seen = range(len(opened[where]))
        seen = read_range(made.images, len(seen)) if made.images else seen
        seen = set(seen).difference(metadata.get("held", ()))
        answer["trained_on"] = len(seen & set(which))
    if keep:
        stored = {k: v for k, v in metadata.items() if k not in ("format", "kind")}
        save_checkpoint(path, found, **{**stored, "regression": fitted})
    return answer


def same_set(one: str, other: str) -> bool:
    """Do two texts of ``--data`` name one set, maybe in two places?"""
    name = one.partition(":")[0]
    named = name not in ("folder", "scene") and name == other.partition(":")[0]
    return one == other or named
