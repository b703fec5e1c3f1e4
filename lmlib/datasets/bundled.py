"""Sets that come as arrays: scikit-learn's digits and faces, and the drawn scenes."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Shaped
from PIL import Image
from torch import Tensor

from lmlib.datasets import Size, check_split, height_and_width
from lmlib.datasets.images import image_numbers
from lmlib.datasets.photos import Box, cut, frame
from lmlib.samples import Batch, Numbers, to_gray

LFW_LEAST = 20  # photographs of a person; with all people, LFW would be 13,233 images


class Arrays:
    """Images in memory, cut and resized when asked for.

    ``pixels (N, H, W)`` or ``(N, H, W, 3)`` bytes; ``labels`` as in ``ImageSet``.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        size: Size,
        labels: dict[str, Shaped[Tensor, "n ..."]],
        crop: str | Box = "centre",
        gray: bool = False,
    ):
        self.pixels, self.labels, self.crop = pixels, labels, crop
        self.gray = gray or pixels.ndim == 3
        self.size = height_and_width(size)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def indices(self) -> range:
        """All image numbers."""
        return range(len(self))

    def batch(self, indices: Numbers, device=None) -> Batch:
        """``image (B, C, H, W)``, C 1 or 3, ``index`` and the labels."""
        index = image_numbers(indices, len(self))
        parts = []
        for i in index.tolist():
            photo = Image.fromarray(self.pixels[i]).convert("RGB")
            parts.append(cut(photo, frame(photo.size, self.crop), self.size))
        image = torch.from_numpy(np.stack(parts)).to(device).float() / 255
        batch = {"image": to_gray(image) if self.gray else image, "index": index}
        batch |= {name: value[index] for name, value in self.labels.items()}
        return {name: value.to(device) for name, value in batch.items()}


def digits(
    folder: Path | None,
    split: str = "train",
    size: Size = 28,
    *,
    crop: str | Box = "centre",
    gray: bool = True,
    partial: bool = False,
) -> Arrays:
    """scikit-learn's 1,797 digits of 8 x 8 pixels, one channel, enlarged to ``size``.

    They come with scikit-learn, so ``folder`` is not used. In the order of one fixed
    shuffle 1,200 train and 597 test, as in the course's notebooks.
    """
    from sklearn.datasets import load_digits

    cuts = {"train": slice(0, 1200), "test": slice(1200, None)}
    check_split(split, cuts)
    found = load_digits()
    order = torch.randperm(
        len(found.images), generator=torch.Generator().manual_seed(0)
    )
    chosen = order[cuts[split]].numpy()
    pixels = (found.images[chosen] / 16 * 255).round().astype(np.uint8)
    labels = {"label": torch.from_numpy(found.target[chosen]).long()}
    return Arrays(pixels, size, labels, crop)


def olivetti(
    folder: Path | None,
    split: str = "train",
    size: Size = 64,
    *,
    crop: str | Box = "centre",
    gray: bool = True,
    partial: bool = False,
) -> Arrays:
    """The Olivetti faces: 400 of 40 people, 64 x 64 pixels, one channel.

    ``folder`` is scikit-learn's data home; the set is fetched into it on first use. Our
    split: every fifth person tests (80 images). ``label`` is the person.
    """
    from sklearn.datasets import fetch_olivetti_faces

    found = _fetch(fetch_olivetti_faces, folder)
    return _by_person(found.images, found.target, split, size, crop, gray)


def lfw(
    folder: Path | None,
    split: str = "train",
    size: Size = 64,
    *,
    crop: str | Box = "centre",
    gray: bool = False,
    partial: bool = False,
) -> Arrays:
    """Labeled Faces in the Wild: the 62 people with 20 photographs or more, 3,023.

    As scikit-learn cuts them out: 125 x 94 pixels. ``folder``, split and ``label`` as
    in ``olivetti``.
    """
    from sklearn.datasets import fetch_lfw_people

    found = _fetch(
        fetch_lfw_people, folder, min_faces_per_person=LFW_LEAST, color=True, resize=1.0
    )
    return _by_person(found.images, found.target, split, size, crop, gray)


def _fetch(fetch, folder: Path | None, **options):
    from sklearn.datasets import get_data_home

    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    try:
        return fetch(data_home=folder, **options)
    except OSError as error:  # no network among them
        home = get_data_home(folder)
        raise FileNotFoundError(
            f"{home}: {fetch.__name__} found no copy there and could not download one "
            f"({error}); run it once with a network, or copy another machine's folder "
            f"there"
        ) from None


def _by_person(images, people, split, size, crop, gray) -> Arrays:
    check_split(split, ("train", "test"))
    chosen = (people % 5 == 4) == (split == "test")
    pixels = (images[chosen] * 255).round().clip(0, 255).astype(np.uint8)
    labels = {"label": torch.from_numpy(people[chosen]).long()}
    return Arrays(pixels, size, labels, crop, gray)
