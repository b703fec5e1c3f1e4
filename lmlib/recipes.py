"""From a preset and images to a trained network in one file, and its measurement.

What the commands ``train`` and ``evaluate`` do. How a method is trained, and how its
answers become landmarks, its own file says.
"""

import json
import os
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from jaxtyping import Int
from torch import Tensor

from lmlib.checkpoints import check_run, differences, read_metadata
from lmlib.datasets.images import Images
from lmlib.datasets.photos import Box
from lmlib.landmarker import Landmarker, load, measure, open_images, points_and_truth
from lmlib.machine import best_device, environment
from lmlib.methods.base import Config, Method
from lmlib.processes import first_says
from lmlib.registry import METHODS, configure, method_named
from lmlib.samples import as_tensor, class_balanced_subset, labels_on
from lmlib.texts import Ends, as_range, check_writable, read_images
from lmlib.training import fit


@dataclass(frozen=True)
class Settings:
    """What makes a run what it is; the same settings give the same network."""

    method: str
    preset: str
    data: tuple[str, ...]
    changes: dict[str, Any] = field(default_factory=dict)  # of the configuration
    split: str = "train"
    images: Ends | None = None  # only these of the split
    labels: float = 1.0  # share of images that keep their landmarks
    held: int = 0  # images held back from training
    steps: int | None = None
    batch: int | None = None
    seed: int = 0
    crop: str | Box | None = None  # None: each data set's own
    partial: bool = False

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(
                f"unknown method {self.method!r}; there are {', '.join(METHODS)}"
            )
        if not 0 < self.labels <= 1:
            raise ValueError(f"labels must be a share in (0, 1], got {self.labels}")
        learns = method_named(self.method).learns_landmarks
        if not learns and (self.held or self.labels != 1.0):
            raise ValueError(
                f"{self.method} uses no landmarks: --labels and --val are for methods "
                "that learn them, such as seqmt"
            )
        if learns and len(self.data) > 1:
            raise ValueError(
                f"{self.method} learns the landmarks of one data set, got "
                f"{', '.join(self.data)}"
            )

    @property
    def options(self) -> dict:
        """For ``open_data``: only what was asked for."""
        crop = {} if self.crop is None else {"crop": self.crop}
        return crop | ({"partial": True} if self.partial else {})

    def as_json(self) -> dict:
        """As a file holds them; tuples are lists there."""
        return json.loads(json.dumps(asdict(self)))


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
    ``out`` is there already, with the same settings. Of several processes
    (``torchrun``) one writes, and all return.

    Raises:
        ValueError: ``out`` or an unfinished run has other settings, and not ``force``;
            or another process is writing it.
    """
    out, wanted = Path(out), settings.as_json()
    state = state_file(out)
    check_writable(out)
    with ExitStack() as locks:

        def done() -> bool:
            locks.enter_context(_alone(out))
            return finished(out, state, wanted, force)

        if first_says(done):
            return None
        method, data, pool, held = prepared(settings)
        labelled = class_balanced_subset(
            torch.zeros(len(pool), dtype=torch.long), settings.labels, settings.seed
        )
        steps = settings.steps or method.config.steps_for(len(pool))
        marks = (
            labels_on(pool[labelled], len(data)) if method.learns_landmarks else None
        )
        history = fit(
            method,
            data,
            method.pools(pool, labelled),
            steps,
            seed=settings.seed,
            device=device,
            prepare=marks,
            checkpoint=state,
            about=wanted,
            save_every=save_every,
            progress=progress,
        )
        method.eval().finish(data, pool)
        about = {"settings": wanted, "n_train": len(pool), "steps": steps}
        about |= {"batch": method.config.batch_size, "losses": history[-1]}
        about |= {"command": command, **environment()}
        found = Landmarker(
            method.eval(), about | {"trained_on": str(device or best_device())}
        )
        if held is not None:
            found.metadata |= {"held": held.tolist()}
            found.metadata |= {"held_error": measure(found, data, held)["error"]}

        def write() -> None:
            found.save(out)
            state.unlink(missing_ok=True)

        first_says(write)
        return found.metadata


def state_file(out: Path) -> Path:
    """Where an unfinished run that will become ``out`` keeps its state."""
    ending = ".run.safetensors"
    if out.name.endswith(ending) or out.suffix != ".safetensors":
        raise ValueError(
            f"{out}: expected a name like NAME.safetensors; NAME{ending} is for "
            "unfinished runs"
        )
    return out.with_suffix(ending)


@contextmanager
def _alone(out: Path):
    """Only one training writes ``out``; the lock goes with the process."""
    name = sha256(os.fsencode(out.resolve())).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / "lmlib-locks"
    folder.mkdir(exist_ok=True)
    try:
        with FileLock(folder / f"{name}.lock", timeout=0):
            yield
    except Timeout:
        raise ValueError(f"{out}: another process is training it") from None


def finished(out: Path, state: Path, wanted: dict, force: bool) -> bool:
    """Is ``out`` there already, with these settings? ``force`` clears the way.

    A run that was killed when it had written ``out`` has left its state: it goes.

    Raises:
        ValueError: ``out`` or its unfinished run is of other settings, or unreadable.
    """
    if force:
        made = _settings_in(state, quiet=True)
        if made != wanted:
            state.unlink(missing_ok=True)
        return False
    advice = "--force overwrites it"
    try:
        if out.exists():
            made = read_metadata(out).get("settings") or {}
            if made == wanted:
                if _settings_in(state, quiet=True) == wanted:
                    state.unlink(missing_ok=True)
                return True
            changed = differences(made, wanted)
            raise ValueError(f"{out}: made with other settings ({changed})")
        if state.exists():
            advice = "--force starts anew"
            check_run(state, {"about": _settings_in(state)}, {"about": wanted})
    except ValueError as error:
        raise ValueError(f"{error}; {advice}") from None
    return False


def _settings_in(state: Path, quiet: bool = False) -> dict | None:
    """The settings of an unfinished run; ``quiet``: None for a file that is none."""
    try:
        run = read_metadata(state).get("run")
        if not isinstance(run, dict) or not isinstance(run.get("about"), dict):
            raise ValueError(f"{state}: does not say what it is an unfinished run of")
        return run["about"]
    except (ValueError, OSError):
        if quiet:
            return None
        raise


def prepared(
    settings: Settings,
) -> tuple[Method, Images, Int[Tensor, " n"], Int[Tensor, " m"] | None]:
    """The untrained method, its data, the image numbers to train on, and those that
    are held back."""
    config = configure(settings.method, settings.preset, settings.changes)
    data = open_images(settings.data, settings.split, config, **settings.options)
    pool, held = as_tensor(as_range(settings.images, len(data))), None
    if settings.held:
        if settings.held >= len(pool):
            raise ValueError(f"cannot hold back {settings.held} of {len(pool)} images")
        order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(0))
        chosen = order[: settings.held].sort().values
        held, pool = pool[chosen], pool[order[settings.held :].sort().values]
    kind, example = method_named(settings.method), data.batch(pool[:1])
    try:
        config = kind.suited(config, example)
    except ValueError as error:
        raise ValueError(f"{', '.join(settings.data)}: has {error}") from None
    if settings.batch:
        config = replace(config, batch_size=settings.batch)
    torch.manual_seed(settings.seed)
    method = kind(config)
    method.calibrate(data.batch(pool[:64])["image"])
    return method, data, pool, held


# --- measuring ------------------------------------------------------------------------


def evaluate(
    path: str | Path,
    source: str | None = None,
    *,
    fit_on: str | None = None,
    test: str = "test",
    split: str = "train",
    normaliser: str | None = None,
    keep: bool = False,
    crop: str | Box | None = None,
    partial: bool = False,
    device=None,
    progress: bool = True,
) -> dict:
    """Measure a checkpoint; ``keep`` stores what was fitted in it.

    ``fit_on`` and ``test`` are images: a split's name, ``A:B`` of ``split``, or
    ``SPLIT:A:B``; for ``test`` also "held", the images held back from training.

    Raises:
        ValueError: images both fitted and tested; nothing to fit, or fitted twice.
    """
    if keep and not fit_on:
        raise ValueError("--keep stores what --fit has fitted: name its images")
    found = load(path, device)
    made = found.metadata.get("settings") or {}
    source = source or (made.get("data") or [None])[0]
    if source is None:
        raise ValueError(f"{path}: does not say what it was trained on: name --data")
    opened = _Opened(source, split, found.config, made, crop, partial)
    where, which = _tested(path, found, opened, test)
    fitted = _fitted(path, found, opened, fit_on)
    if fitted and fitted["split"] == where and same_set(fitted["data"], source):
        _check_apart(range(*fitted["images"]), which, where)
    if fit_on:
        rows = range(*fitted["images"])
        images = opened.images(fitted["split"])
        known = points_and_truth(
            found.discovered_in, images, rows, found.device, progress
        )
        found.regress(*known)
        fitted["landmarks"] = known[1].shape[1]
    answer = measure(found, opened.images(where), which, normaliser, progress)
    answer |= {"data": source, "test": test, "checkpoint": str(path)}
    if fitted:
        answer["fitted"] = fitted
    if found.method.learns_landmarks and opened.is_of_training(where):
        seen = set(as_range(made.get("images"), len(opened.images(where))))
        seen -= set(found.metadata.get("held", ()))
        answer["trained_on"] = len(seen & set(which))
    if keep:
        found.save(path, regression=fitted)
    return answer


def _tested(path, found: Landmarker, opened: "_Opened", test: str) -> tuple[str, Any]:
    """Split and numbers of the images to test."""
    if test != "held":
        return opened.read(test)
    where = opened.made.get("split", "")
    if "held" not in found.metadata or not opened.is_of_training(where):
        raise ValueError(f"{path}: no images of {opened.source} were held back from it")
    return where, found.metadata["held"]


def _fitted(path, found: Landmarker, opened: "_Opened", fit_on: str | None):
    """What annotated landmarks are, or were, fitted on; None if they were learned."""
    if found.method.learns_landmarks:
        if fit_on:
            name = found.method.name
            raise ValueError(f"{path}: {name} has learned its landmarks: no --fit")
        return None
    if fit_on:
        name, rows = opened.read(fit_on)
        ends = [rows.start, rows.stop]
        return {"data": opened.source, "split": name, "images": ends}
    if found.metadata.get("regression") is None:
        raise ValueError(
            f"{path}: its landmarks are discovered; name images to fit the annotated "
            "ones to them, such as --fit 0:500"
        )
    return found.metadata["regression"]


class _Opened:
    """The splits of one data set, opened when asked for."""

    def __init__(self, source, split, config: Config, made: dict, crop, partial):
        self.source, self.split, self.config, self.made = source, split, config, made
        crop = crop or made.get("crop")
        crop = tuple(crop) if isinstance(crop, list) else crop
        self.options = {} if crop is None else {"crop": crop}
        if partial or made.get("partial"):
            self.options["partial"] = True
        self.splits: dict[str, Images] = {}

    def is_of_training(self, where: str) -> bool:
        """Is this split of the set what the network was trained on?"""
        trained_on = (self.made.get("data") or [""])[0]
        return same_set(self.source, trained_on) and where == self.made.get("split")

    def images(self, name: str) -> Images:
        """A split."""
        if name not in self.splits:
            opened = open_images([self.source], name, self.config, **self.options)
            self.splits[name] = opened
        return self.splits[name]

    def read(self, text: str) -> tuple[str, range]:
        """``SPLIT``, ``A:B`` or ``SPLIT:A:B`` as a split and image numbers."""
        name, ends = read_images(text, self.split)
        return name, as_range(ends, len(self.images(name)))


def _check_apart(fitted: range, tested, where: str) -> None:
    both = set(fitted) & set(tested)
    if both:
        raise ValueError(
            f"{len(both)} images are in both --fit and --test, the first is "
            f"{min(both)} of {where}"
        )


def same_set(one: str, other: str) -> bool:
    """Do two texts of ``--data`` name one set, maybe in two places?"""
    name = one.partition(":")[0]
    named = name not in ("folder", "scene") and name == other.partition(":")[0]
    return one == other or named
