"""A trained network and its landmarks: loaded from one file, measured, used."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from lmlib.checkpoints import load_checkpoint, read_metadata, save_checkpoint
from lmlib.config import METHODS, Settings, configure, side_of
from lmlib.datasets import open_data
from lmlib.datasets.images import Images
from lmlib.evaluation import (
    LandmarkRegression,
    nme,
    normaliser_distance,
    point_errors,
)
from lmlib.machine import best_device
from lmlib.methods.dve import Dve, virtual_points
from lmlib.texts import read_range

CLUSTERS = 50  # of DVE's descriptors


CHUNK = 64  # images at a time, where nothing is trained


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
    return import_module(f"lmcourse.experiments.{paper}").load_cell(table, setting)


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
