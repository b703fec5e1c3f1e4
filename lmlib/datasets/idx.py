"""MNIST and Fashion-MNIST in their official idx files, plain or gzipped.

An idx file is a head of big-endian numbers and then the data, row by row: two zero
bytes, a type (8: bytes), the number of dimensions, their sizes.
"""

import gzip
import math
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from lmlib.datasets import Size, check_split, find_folder, height_and_width, locate
from lmlib.datasets.photos import Box
from lmlib.samples import Batch, Numbers, as_tensor

LARGEST = 2**28  # bytes; MNIST has 47 million
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
PLACES = {
    "mnist": ("mnist/MNIST/raw", "MNIST/raw", "mnist"),
    "fashion-mnist": ("FashionMNIST/raw", "fashion-mnist"),
}


def read_idx(path: Path) -> np.ndarray:
    """The array in an idx file of bytes.

    Its head says how much is read: a small gzip file may hold gigabytes.

    Raises:
        ValueError: not such a file, damaged, or beyond ``LARGEST``; with the path.
    """
    try:
        opened = gzip.open(path) if path.suffix == ".gz" else path.open("rb")
        with opened as file:
            shape = _head(path, file)
            content = np.empty(math.prod(shape), np.uint8)
            read = _read_into(file, content)
            if read < len(content) or file.read(1):
                follow = (
                    f"{read} bytes of data follow"
                    if read < len(content)
                    else (f"more than {read} bytes of data follow")
                )
                raise ValueError(
                    f"{path}: its head announces {_product(shape)}, but {follow}"
                )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged or truncated gzip file ({error})") from None
    return content.reshape(shape)


def _head(path: Path, file: BufferedIOBase) -> tuple[int, ...]:
    """The sizes that the head announces."""
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise ValueError(
            f"{path}: not an idx file: it must begin with two zero bytes, a type and "
            f"the number of dimensions, this begins with {start!r}"
        )
    if start[2] != 8:
        raise ValueError(f"{path}: idx type {start[2]:#x}, expected 0x8 (bytes)")
    expected = f"expected (N,) or (N, H, W) of at most {LARGEST} bytes"
    if start[3] not in (1, 3):
        raise ValueError(
            f"{path}: its head announces {start[3]} dimensions, {expected}"
        )
    sizes = file.read(4 * start[3])
    if len(sizes) < 4 * start[3]:
        raise ValueError(
            f"{path}: its head announces {start[3]} dimensions, and ends before them"
        )
    shape = tuple(np.frombuffer(sizes, ">u4").tolist())
    if math.prod(shape) > LARGEST:
        raise ValueError(f"{path}: its head announces {_product(shape)}, {expected}")
    return shape


def _product(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _read_into(file: BufferedIOBase, content: np.ndarray) -> int:
    """Fill an array from a file; the number of bytes that there were."""
    view, read = memoryview(content), 0
    while read < len(view):
        count = file.readinto(view[read : read + 2**20])
        if not count:
            break
        read += count
    return read


class Idx:
    """Digits (or clothes) with their class: ``image (B, 1, 28, 28)``, ``label (B,)``.

    ``split`` is "train" or "test"; images are numbered as in the file. With ``size``
    they are made that large, height and width, bilinearly.
    """

    def __init__(
        self,
        split: str = "train",
        name: str = "mnist",
        folder: Path | None = None,
        size: Size | None = None,
    ):
        check_split(split, FILES)
        if name not in PLACES:
            raise ValueError(f"name must be one of {[*PLACES]}, got {name!r}")
        self.folder = Path(folder) if folder else find_folder(*PLACES[name])
        images, labels = (read_idx(self._file(file)) for file in FILES[split])
        if images.ndim != 3 or not images.size or labels.shape != images.shape[:1]:
            raise ValueError(
                f"{self.folder}: expected images (N, H, W) and as many labels (N,), "
                f"got {images.shape} and {labels.shape}"
            )
        self.size = None if size is None else height_and_width(size)
        # Bytes, a quarter of the floats' memory: 47 MB for all of MNIST.
        self.images = torch.from_numpy(images)
        self.labels = torch.from_numpy(labels).long()

    def _file(self, name: str) -> Path:
        for path in (self.folder / name, self.folder / f"{name}.gz"):
            if path.is_file():
                return path
        raise FileNotFoundError(f"{self.folder}: has neither {name} nor {name}.gz")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def indices(self) -> range:
        """All image numbers."""
        return range(len(self))

    def batch(self, indices: Numbers, device=None) -> Batch:
        index = as_tensor(indices)
        image = self.images[index].unsqueeze(1).to(device).float() / 255
        if self.size and self.size != image.shape[-2:]:
            image = F.interpolate(
                image, self.size, mode="bilinear", align_corners=False, antialias=True
            )
        label = self.labels[index].to(device)
        return {"image": image, "label": label, "index": index.to(device)}


def mnist(folder: Path | None, split: str = "train", size: Size = 28, **options) -> Idx:
    """MNIST: 60,000 digits to train on, 10,000 to test, one channel.

    ``crop`` may be "centre", "pad" or "squash", which are one for square images;
    ``gray`` and ``partial`` change nothing.
    """
    return _read("mnist", folder, split, size, **options)


def fashion_mnist(
    folder: Path | None, split: str = "train", size: Size = 28, **options
) -> Idx:
    """Fashion-MNIST: clothes in the files and numbers of MNIST."""
    return _read("fashion-mnist", folder, split, size, **options)


def _read(
    name: str,
    folder: Path | None,
    split: str,
    size: Size,
    crop: str | Box = "centre",
    gray: bool = True,
    partial: bool = False,
) -> Idx:
    if crop not in ("centre", "pad", "squash"):
        raise ValueError(f"{name} is read whole, so crop cannot be {crop!r}")
    files = [file for pair in FILES.values() for file in pair]
    markers = [f"{file}{end}" for file in files[::2] for end in ("", ".gz")]
    layout = f"{', '.join(files)}, plain or .gz"
    return Idx(split, name, locate(folder, PLACES[name], markers, layout), size)
