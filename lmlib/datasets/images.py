"""Images on disk as batches: what every reader of a data set returns.

A reader knows where a set keeps its images and what its annotation says. From there on
all sets are alike: an ``ImageSet`` decodes the images of a batch when they are asked
for, cuts out each one's box and moves its landmarks along. No set is ever in memory as
a whole.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, Shaped
from torch import Tensor

from lmlib.datasets import Size, height_and_width
from lmlib.datasets.photos import SUFFIXES, Box, cut, frame, opened_photo
from lmlib.samples import Batch, Numbers, as_tensor, to_gray


@cache
def workers() -> ThreadPoolExecutor:
    # Pillow decodes without holding Python's lock, so threads are enough.
    return ThreadPoolExecutor(min(16, os.cpu_count() or 1), "decode")


def image_numbers(indices: Numbers, count: int) -> Integer[Tensor, " n"]:
    """Image numbers as a tensor on the CPU; IndexError for one that none has."""
    index = as_tensor(indices).cpu()
    if ((index < 0) | (index >= count)).any():
        raise IndexError(f"the images are numbered 0 to {count - 1}")
    return index


class Ahead:
    """What ``load(number)`` gives, by threads, begun before it is asked for."""

    def __init__(self, load: Callable, count: int):
        self.load, self.count = load, count
        self.begun: dict[int, Future] = {}

    def begin(self, indices: Numbers) -> None:
        """Start on images that will be asked for next."""
        for index in as_tensor(indices).tolist():
            if index not in self.begun:
                self.begun[index] = workers().submit(self.load, index)

    def take(self, indices: Numbers) -> tuple[Integer[Tensor, " n"], list]:
        """The numbers as a tensor and what was loaded; IndexError for one too large."""
        index = image_numbers(indices, self.count)
        self.begin(index)
        loaded = {i: self.begun.pop(i) for i in index.unique().tolist()}
        return index, [loaded[i].result() for i in index.tolist()]


class ImageSet:
    """Images of one size with whatever is known of them.

    Args:
        paths: of N images.
        size: side of the square the images become, or ``(height, width)``.
        crop: what part of each image: see ``photos.frame``; or ``boxes``.
        boxes: left, top, right, bottom in pixels of the file, edges: the first pixel
            reaches from 0 to 1.
        landmarks: x and y in pixels of the file, 0 the centre of the first. NaN where
            there is none.
        names: of the landmarks, where the set has some.
        visible: by default all that are not NaN. With ``inside``, landmarks outside the
            box count as hidden.
        labels: more tensors, given out with each batch.
        gray: one channel in place of three.

    ``batch`` gives ``image (B, C, H, W)``, ``index (B,)``, the labels and, where there
    are any, ``landmarks (B, K, 2)`` in [-1, 1] of the box with ``visible (B, K)``.
    """

    def __init__(
        self,
        paths: list[Path],
        size: Size,
        *,
        crop: str | Box = "centre",
        boxes: Shaped[Tensor, "n 4"] | None = None,
        landmarks: Float[Tensor, "n k 2"] | None = None,
        visible: Bool[Tensor, "n k"] | None = None,
        labels: dict[str, Shaped[Tensor, "n ..."]] | None = None,
        gray: bool = False,
        inside: bool = True,
        names: tuple[str, ...] = (),
    ):
        if not paths:
            raise ValueError("a data set without images")
        self.paths, self.names = list(paths), names
        self.size = height_and_width(size)
        self.crop, self.boxes = crop, boxes
        self.landmarks, self.labels = landmarks, dict(labels or {})
        if landmarks is not None and visible is None:
            visible = landmarks.isfinite().all(-1)
        self.visible = visible
        self.gray, self.inside = gray, inside
        tensors = {"boxes": boxes, "landmarks": landmarks, "visible": visible}
        for name, value in {**tensors, **self.labels}.items():
            if value is not None and len(value) != len(paths):
                raise ValueError(f"{len(paths)} images, but {len(value)} {name}")
        if boxes is not None:
            good = (boxes[:, 2:] > boxes[:, :2]).all(1) & boxes.isfinite().all(1)
            if not good.all():
                first = int((~good).nonzero()[0])
                raise ValueError(
                    f"{paths[first]}: its box is empty: left, top, right, bottom = "
                    f"{boxes[first].tolist()}"
                )
        self._ahead = Ahead(self.load, len(self))

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def indices(self) -> range:
        """All image numbers."""
        return range(len(self))

    def subset(self, numbers: Numbers) -> "ImageSet":
        """Some of the images, numbered from zero in the order given."""
        rows = as_tensor(numbers)

        def of(value):
            return None if value is None else value[rows]

        return ImageSet(
            [self.paths[i] for i in rows.tolist()],
            self.size,
            crop=self.crop,
            boxes=of(self.boxes),
            landmarks=of(self.landmarks),
            visible=of(self.visible),
            labels={name: value[rows] for name, value in self.labels.items()},
            gray=self.gray,
            inside=self.inside,
        )

    def load(self, index: int) -> tuple[np.ndarray, Box]:
        """One image ``(3, H, W)`` in bytes and the box it shows, in pixels."""
        # A JPEG decoded small would not be in the pixels of its boxes, nor would one
        # turned upright: annotations are of the pixels as stored.
        annotated = self.boxes is not None or self._points
        small = None if annotated else 2 * max(self.size)
        path = self.paths[index]
        with opened_photo(path, small, turn=not annotated) as (photo, _):
            if self.boxes is None:
                box = frame(photo.size, self.crop)
            else:
                box = tuple(self.boxes[index].tolist())
            try:
                return cut(photo, box, self.size), box
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None

    @property
    def _points(self) -> bool:
        return self.landmarks is not None

    def prefetch(self, indices: Numbers) -> None:
        """Begin to decode images that will be asked for next."""
        self._ahead.begin(indices)

    def batch(self, indices: Numbers, device=None) -> Batch:
        """The images of these numbers; IndexError for a number that none has."""
        index, parts = self._ahead.take(indices)
        image = torch.from_numpy(np.stack([pixels for pixels, _ in parts]))
        image = image.to(device).float() / 255
        batch = {"image": to_gray(image) if self.gray else image, "index": index}
        batch |= {name: value[index] for name, value in self.labels.items()}
        if self._points:
            boxes = torch.tensor([box for _, box in parts])
            points = in_box(self.landmarks[index], boxes)
            seen = self.visible[index]
            if self.inside:
                seen = seen & (points.abs() <= 1).all(-1)
            batch |= {"landmarks": points, "visible": seen}
        return {name: value.to(device) for name, value in batch.items()}


def in_box(
    points: Float[Tensor, "b k 2"], boxes: Shaped[Tensor, "b 4"]
) -> Float[Tensor, "b k 2"]:
    """Pixels of the file to [-1, 1] of the boxes."""
    corner, opposite = boxes[:, None, :2], boxes[:, None, 2:]
    # Pixel 0 is half a pixel from the edge.
    return 2 * (points + 0.5 - corner) / (opposite - corner) - 1


def from_box(
    points: Float[Tensor, "b k 2"], boxes: Shaped[Tensor, "b 4"]
) -> Float[Tensor, "b k 2"]:
    """The way back: [-1, 1] of the boxes to pixels of the file."""
    corner, opposite = boxes[:, None, :2], boxes[:, None, 2:]
    return (points + 1) / 2 * (opposite - corner) + corner - 0.5


def square(
    centre: Float[Tensor, "n 2"], side: Float[Tensor, " n"]
) -> Float[Tensor, "n 4"]:
    """Square boxes from centres and sides."""
    half = side[:, None] / 2
    return torch.cat([centre - half, centre + half], 1)


def image_files(
    folder: str | Path, unread: Callable[[OSError], None] | None = None
) -> list[Path]:
    """All image files below a folder, sorted; hidden ones are left out.

    ``unread`` is called for each folder that cannot be searched, and the others go on;
    without it, the first such is an error.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
        OSError: a folder cannot be searched.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")

    def fail(error: OSError) -> None:
        raise OSError(f"{error.filename}: cannot be searched ({error.strerror})")

    files = []
    for place, below, names in os.walk(folder, onerror=unread or fail):
        below[:] = [name for name in below if not name.startswith(".")]
        files += [
            path
            for path in (Path(place, name) for name in names)
            if path.suffix.lower() in SUFFIXES
            and not path.name.startswith(".")
            and path.is_file()
        ]
    files.sort()
    if not files:
        raise FileNotFoundError(
            f"{folder}: holds no image ({', '.join(SUFFIXES)}), nor do its subfolders"
        )
    return files


def folder(
    folder: str | Path,
    split: str = "train",
    size: int = 100,
    *,
    crop: str | Box = "centre",
    gray: bool = False,
    partial: bool = False,
) -> ImageSet:
    """Any folder of images, subfolders included, without annotation.

    There is one split: all images are for training. Nothing is annotated, so
    ``partial`` changes nothing.
    """
    if split != "train":
        raise ValueError(f"a folder of images has one split, 'train', not {split!r}")
    return ImageSet(image_files(folder), size, crop=crop, gray=gray)


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

    @property
    def names(self) -> tuple[str, ...]:
        """Of the landmarks of the only set, where it has names for them."""
        return (
            tuple(getattr(self.parts[0], "names", ())) if len(self.parts) == 1 else ()
        )

    def _shares(self, index: Integer[Tensor, " n"]) -> Iterator[tuple]:
        """Each part with its rows of a batch and its own numbers of those images."""
        for part, stop in zip(self.parts, self.ends, strict=True):
            start = stop - len(part)
            rows = ((index >= start) & (index < stop)).nonzero().flatten()
            if len(rows):
                yield part, rows, as_tensor(part.indices)[index[rows] - start]

    def prefetch(self, indices: Numbers) -> None:
        for part, _, numbers in self._shares(as_tensor(indices)):
            if hasattr(part, "prefetch"):
                part.prefetch(numbers)

    def batch(self, indices: Numbers, device=None) -> Batch:
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


def with_channels(
    images: Float[Tensor, "b _ h w"], channels: int
) -> Float[Tensor, "b _ h w"]:
    """Colours to grey, or grey to three equal colours."""
    if images.shape[1] == 3 and channels == 1:
        return to_gray(images)
    if images.shape[1] == 1:
        return images.expand(-1, channels, -1, -1)
    return images
