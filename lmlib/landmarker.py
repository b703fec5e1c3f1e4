"""A trained network and its landmarks: loaded from one file, measured, used."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from tqdm.auto import tqdm

from lmlib.checkpoints import (
    check_shapes,
    load_checkpoint,
    of_prefix,
    read,
    read_metadata,
    save_checkpoint,
    shapes,
)
from lmlib.datasets import open_data
from lmlib.datasets.images import Images
from lmlib.evaluation import (
    LandmarkRegression,
    nme,
    normaliser_distance,
    pdl,
    point_errors,
)
from lmlib.machine import best_device
from lmlib.methods.base import Config, Method
from lmlib.registry import config_from_json, method_named
from lmlib.samples import Batch
from lmlib.texts import brief

CHUNK = 64  # images at a time, where nothing is trained


class Landmarker(nn.Module):
    """A network with, perhaps, a regression from its landmarks to annotated ones.

    ``metadata`` is what its file says of it: seed, steps, data, metrics, ...
    """

    def __init__(self, method: Method, metadata: dict | None = None):
        super().__init__()
        self.method, self.config = method, method.config
        self.metadata = metadata or {}
        self.register_buffer("weight", None)  # (2 K, 2 M)
        self.register_buffer("offset", None)  # (2 M,)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.method.parameters()).device

    @property
    def zoom(self) -> float:
        """What the network sees of its images, as a share of their side."""
        return self.config.size / self.config.frame

    @torch.no_grad()
    def discovered(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k 2"]:
        """What the network itself finds, in [-1, 1] of what it sees."""
        return self.method.landmarks(self.method.crop(images))

    @torch.no_grad()
    def discovered_in(self, batch: Batch) -> Float[Tensor, "b k 2"]:
        """The same, where more of a batch than its images may be looked at."""
        return self.method.landmarks_in(batch)

    def landmarks(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b m 2"]:
        """Points in [-1, 1] of these images, of ``frame`` pixels a side: annotated
        landmarks if there is a regression, else the network's own."""
        return self._annotated(self.discovered(images))

    def landmarks_in(self, batch: Batch) -> Float[Tensor, "b m 2"]:
        """The same, where more of a batch than its images may be looked at."""
        return self._annotated(self.discovered_in(batch))

    def _annotated(self, points: Tensor) -> Tensor:
        if self.weight is not None:
            points = points.flatten(1) @ self.weight + self.offset
            points = points.unflatten(1, (-1, 2))
        return points * self.zoom

    def regress(
        self,
        points: Float[Tensor, "n k 2"],
        truth: Float[Tensor, "n m 2"],
        visible: Bool[Tensor, "n m"],
    ) -> None:
        """Fit annotated landmarks, in [-1, 1] of the images, to the discovered ones, as
        the method's paper does."""
        fitted = LandmarkRegression(**self.method.regression)
        fitted.fit(points, truth / self.zoom, visible)
        self.weight = fitted.weight.to(self.device, torch.float32)
        self.offset = fitted.offset.to(self.device, torch.float32)

    def save(self, path: str | Path, **metadata) -> Path:
        """Write it all to one file; ``metadata`` is added to what the file says."""
        regression = {"weight": self.weight, "offset": self.offset}
        more = {f"regression.{k}": x for k, x in regression.items() if x is not None}
        own = ("format", "kind", "method", "config")
        self.metadata = {k: v for k, v in self.metadata.items() if k not in own}
        self.metadata |= metadata
        return save_checkpoint(path, self.method, more, **self.metadata)


def load(path: str | Path, device=None) -> Landmarker:
    """A network from its file, ready to use: one that ships, or your own.

    Nothing is built before its shapes have been compared with the file's, so what a
    file declares costs no memory.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, or its weights are not of the network it names.
    """
    metadata, found = read_metadata(path), shapes(path)
    try:
        kind = method_named(metadata.get("method"))
        config = config_from_json(kind.name, metadata.get("config"))
        with torch.device("meta"), _at_most(2 * len(found) + 100):
            sketch = kind(config)
    except (ValueError, TypeError, RuntimeError, LookupError, ArithmeticError) as error:
        said = brief(str(error).partition("\n")[0], 300)  # torch adds where in C++
        raise ValueError(f"{path}: cannot be made into a network: {said}") from None
    check_shapes(path, of_prefix(found, "model."), sketch)
    landmarker = Landmarker(kind(config), metadata)
    load_checkpoint(path, landmarker.method)
    if regression := of_prefix(read(path, "regression.")[0], "regression."):
        _check_regression(path, regression, config)
        landmarker.weight, landmarker.offset = (
            regression["weight"],
            regression["offset"],
        )
    return landmarker.to(device or best_device()).eval()


@contextmanager
def _at_most(weights: int) -> Iterator[None]:
    """ValueError as soon as a network has more weights than that."""
    names = count()

    def registered(module, name, weight) -> None:
        if next(names) >= weights:
            raise ValueError("its configuration has more layers than the file")

    handle = register_module_parameter_registration_hook(registered)
    try:
        yield
    finally:
        handle.remove()


def _check_regression(path, tensors: dict[str, Tensor], config: Config) -> None:
    shape = tensors["weight"].shape if "weight" in tensors else ()
    offset = tensors["offset"].shape if "offset" in tensors else ()
    if len(shape) != 2 or shape[0] != 2 * config.landmarks or offset != shape[1:]:
        raise ValueError(
            f"{path}: its regression is {tuple(shape)} and {tuple(offset)}, expected "
            f"({2 * config.landmarks}, 2 M) and (2 M)"
        )


# --- images as a network takes them ---------------------------------------------------


def open_images(sources, split: str, config: Config, **options) -> Images:
    """The data sets ``sources`` at the size and with the channels of a configuration.

    Raises:
        ValueError: a set whose images have one size only, and not this one.
    """
    height, width = config.shape
    size = height if height == width else config.shape
    parts = [open_data(source, split, size, **options) for source in sources]
    for source, part in zip(sources, parts, strict=True):
        shape = tuple(part.batch(part.indices[:1])["image"].shape[-2:])
        if shape != config.shape:
            raise ValueError(
                f"{source}: its images are {shape[1]} x {shape[0]} pixels, but this "
                f"preset takes {width} x {height}"
            )
    return Images(parts, config.image_channels)


# --- measuring ------------------------------------------------------------------------


def points_and_truth(
    find: Callable, data: Images, indices, device, progress: bool = False
) -> tuple[Float[Tensor, "n k 2"], Float[Tensor, "n m 2"], Bool[Tensor, "n m"]]:
    """What ``find`` makes of batches, their landmarks and visibility."""
    answers = []
    for batch in _batches(data, indices, device, progress):
        found = find(batch)
        answers.append((found, batch["landmarks"], batch["visible"]))
    return tuple(torch.cat(each).cpu() for each in zip(*answers, strict=True))


def _batches(data: Images, indices, device, progress: bool) -> Iterator[Batch]:
    parts = torch.as_tensor(list(indices)).split(CHUNK)
    for number, part in enumerate(tqdm(parts, "measuring", disable=not progress)):
        batch = data.batch(part, device)
        if number + 1 < len(parts):
            data.prefetch(parts[number + 1])
        if "landmarks" not in batch:
            raise ValueError("this data set has no landmarks to measure with")
        yield batch


def measure(
    found: Landmarker,
    data: Images,
    indices,
    normaliser: str | None = None,
    progress: bool = False,
) -> dict:
    """Errors of landmarks in percent of ``normaliser``, over images and for each.

    And what a method's paper asks for: ``detected``, of the visible ones; ``judged``,
    numbers by their names."""
    points, truth, visible = points_and_truth(
        found.landmarks_in, data, indices, found.device, progress
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
    names = data.names
    answer = {
        "error": 100 * errors.nanmean().item(),
        "per_landmark": [round(x, 4) for x in each.nanmean(0).tolist()],
        "names": [*names] if len(names) == count else [str(k) for k in range(count)],
        "normaliser": normaliser,
        "images": len(errors),
        "left_out": int(errors.isnan().sum()),
    }
    if within := found.method.detected_within:
        answer["detected"] = detections(points, truth, visible, within)
    judged = found.method.judged(_batches(data, indices, found.device, progress))
    return answer | ({"judged": judged} if judged else {})


def detections(
    points: Float[Tensor, "n m 2"],
    truth: Float[Tensor, "n m 2"],
    visible: Bool[Tensor, "n m"],
    within: float,
) -> dict:
    """Percent of the visible landmarks closer than ``within`` sides of the picture: of
    ``all``, and ``per_landmark``, NaN for one that is nowhere visible."""

    def rate(seen: Bool[Tensor, "n m"]) -> float:
        if not seen.any():
            return math.nan
        return 100 * pdl(points, truth, seen, within, size=(1, 1))

    columns = torch.eye(visible.shape[1], dtype=torch.bool, device=visible.device)
    each = [round(rate(visible & column), 4) for column in columns]
    return {"within": within, "all": rate(visible), "per_landmark": each}
