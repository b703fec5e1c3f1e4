"""VITON and VITON-HD: people, garments, and what is known of both."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Shaped
from PIL import Image
from torch import Tensor

from lmlib.datasets import (
    FARTHEST,
    Line,
    Size,
    as_name,
    check_split,
    height_and_width,
    keep_existing,
    locate,
    malformed,
    read_annotation,
    read_lines,
    short,
)
from lmlib.datasets.images import Ahead, image_files, in_box
from lmlib.datasets.photos import Box, cut, frame, opened_classes, opened_photo
from lmlib.samples import Batch, Numbers, to_gray

Parts = dict[str, tuple[str, ...]]  # of each part, the folders it may be in

# Where each part is: VITON in the layout of PF-AFN, whose test part has no more.
VITON_PARTS: dict[str, Parts] = {
    "train": {
        "image": ("train_img",),
        "garment": ("train_color",),
        "garment_mask": ("train_edge",),
        "parse": ("train_label",),
        "pose": ("train_pose",),
    },
    "test": {
        "image": ("test_img",),
        "garment": ("test_clothes",),
        "garment_mask": ("test_edge",),
    },
}
# Under train/ or test/. The archive's releases differ in names.
HD_PARTS: Parts = {
    "image": ("image",),
    "garment": ("cloth",),
    "garment_mask": ("cloth-mask",),
    "parse": ("image-parse-v3", "image-parse"),
    "pose": ("openpose_json", "openpose-json"),
}
OF_GARMENT = "garment", "garment_mask"  # the other parts are the person's
SUFFIX = {"parse": ".png", "pose": "_keypoints.json"}
JOINTS = 18  # of OpenPose's COCO model; BODY_25 has them too, with the hip's middle
MIDDLE_HIP = 8


class Pairs:
    """People with a garment each, and whatever parts the folder has.

    ``batch`` gives ``image`` and ``garment (B, 3, H, W)`` and, where their folders are,
    ``garment_mask (B, 1, H, W)``, ``parse (B, H, W)`` long, the classes of the person's
    pixels, and ``pose (B, 18, 2)`` in [-1, 1] of the person's image with ``visible (B,
    18)``: OpenPose's joints, NaN where it found none. People who wear their garment
    already are also the ``target (B, 3, H, W)``, which try-on is to draw: the names
    are those of the drawn pairs, ``scene:tryon``.

    Args:
        files: of each part, N paths in the same order.
        worn: the garments are those that the people wear.
        size, crop, gray: as in ``ImageSet``. Crops must lie inside the images.
    """

    parts: tuple[str, ...] = ("image", "garment", "garment_mask")  # that are pictures

    def __init__(
        self,
        files: dict[str, list[Path]],
        size: Size,
        *,
        crop: str | Box = "squash",
        gray: bool = False,
        worn: bool = False,
    ):
        self.files, self.crop, self.gray, self.worn = files, crop, gray, worn
        self.size = height_and_width(size)
        self._ahead = Ahead(self.load, len(self))

    def __len__(self) -> int:
        return len(self.files["image"])

    @property
    def indices(self) -> range:
        """All image numbers."""
        return range(len(self))

    def load(self, index: int) -> dict[str, np.ndarray]:
        """All parts of one pair: images in bytes ``(3, H, W)``, classes, joints."""
        paths = {name: paths[index] for name, paths in self.files.items()}
        parts = {}
        for name in {*self.parts} & {*paths}:
            with opened_photo(paths[name]) as (photo, _):
                box = self._box(photo.size, paths[name])
                parts[name] = cut(photo, box, self.size)
            if name.endswith("mask"):
                parts[name] = parts[name][:1]
            parts[f"{name}_box"] = np.array(box, dtype=np.float32)
        if "parse" in paths:
            with opened_classes(paths["parse"]) as classes:
                box = self._box(classes.size, paths["parse"])
                small = classes.resize(self.size[::-1], Image.Resampling.NEAREST, box)
                parts["parse"] = np.asarray(small)
        if "pose" in paths:
            parts["pose"] = np.array(read_pose(paths["pose"]), dtype=np.float32)
        return parts

    def _box(self, size: tuple[int, int], path: Path) -> Box:
        box = frame(size, self.crop)
        if min(box[:2]) < 0 or box[2] > size[0] or box[3] > size[1]:
            raise ValueError(f"{path}: the crop {self.crop!r} reaches over its edge")
        return box

    def prefetch(self, indices: Numbers) -> None:
        """Begin to decode pairs that will be asked for next."""
        self._ahead.begin(indices)

    def batch(self, indices: Numbers, device=None) -> Batch:
        """The pairs of these numbers; IndexError for a number that none has."""
        index, parts = self._ahead.take(indices)
        raw = {
            name: torch.from_numpy(np.stack([part[name] for part in parts]))
            for name in parts[0]
        }
        batch = {"index": index}
        for name in self.parts:
            if name in raw:
                batch[name] = raw[name].to(device).float() / 255
                if self.gray and not name.endswith("mask"):
                    batch[name] = to_gray(batch[name])
        if self.worn:
            batch["target"] = batch["image"]
        batch |= self.annotation(index, raw)
        return {name: value.to(device) for name, value in batch.items()}

    def annotation(
        self, index: Int[Tensor, " b"], raw: dict[str, Shaped[Tensor, "b ..."]]
    ) -> Batch:
        """What is known of the pictures of these numbers; ``raw`` holds what ``load``
        gave of each."""
        found = {}
        if "parse" in raw:
            found["parse"] = raw["parse"].long()
        if "pose" in raw:
            found["pose"] = in_box(raw["pose"], raw["image_box"])
            found["visible"] = (found["pose"].abs() <= 1).all(-1)  # not so for NaN
        return found


def viton(
    folder: Path | None,
    split: str = "train",
    size: Size = (256, 192),
    *,
    crop: str | Box = "squash",
    gray: bool = False,
    partial: bool = False,
    paired: bool = True,
) -> Pairs:
    """VITON (Han et al., 2018) in PF-AFN's layout: 14,221 pairs, 2,032 to test.

    ``folder`` is ``VITON_traindata`` or ``VITON_test``, or the one that holds them.
    ``paired``: with the garment that is worn, the person's ``000003_0.jpg`` and
    ``000003_1.jpg``; otherwise as ``train_pairs.txt`` or ``test_pairs.txt`` has it, a
    line for each pair, person and garment. The people are those of that list, or,
    where it is not there, all in the folder (PF-AFN ships none to train on).
    ``partial`` leaves out pairs that lack an image, and parts that lack any file.
    """
    check_split(split, VITON_PARTS)
    parts = VITON_PARTS[split]
    folder = _locate(folder, ("viton", "VITON"), parts, split)

    def worn(name: str) -> str:
        return name.replace("_0.", "_1.")

    files = _files(folder, parts, split, worn if paired else None, partial)
    return Pairs(files, size, crop=crop, gray=gray, worn=paired)


def viton_hd(
    folder: Path | None,
    split: str = "train",
    size: Size = (256, 192),
    *,
    crop: str | Box = "squash",
    gray: bool = False,
    partial: bool = False,
    paired: bool = True,
) -> Pairs:
    """VITON-HD (Choi et al., 2021): 11,647 pairs, 2,032 to test, of 768 x 1024 pixels.

    The worn garment has the person's name: ``cloth/00055_00.jpg``. All else as in
    ``viton``, with the folders ``train/`` and ``test/`` beside the lists.
    """
    check_split(split, ("train", "test"))
    places = "viton-hd", "VITON-HD", "zalando-hd-resized"
    parts = {
        key: tuple(f"{split}/{name}" for name in names)
        for key, names in HD_PARTS.items()
    }
    folder = _locate(folder, places, parts, split)
    files = _files(folder, parts, split, str if paired else None, partial)
    return Pairs(files, size, crop=crop, gray=gray, worn=paired)


class Pair(NamedTuple):
    """Names of a person's and a garment's image, and the line that pairs them."""

    line: Line
    person: str
    garment: str


def _locate(
    folder: Path | None, places: tuple[str, ...], parts: Parts, split: str
) -> Path:
    tree = ", ".join(f"{names[0]}/" for names in parts.values())
    return locate(folder, places, parts["image"], f"{tree} and {split}_pairs.txt")


def _files(
    folder: Path,
    parts: Parts,
    split: str,
    worn: Callable[[str], str] | None,
    partial: bool,
) -> dict[str, list[Path]]:
    """Of each part that is there, the files of all pairs, in the list's order.

    ``worn``: the garment's name for a person's; None pairs them as the list does.
    """
    there = {
        key: folder / name
        for key, names in parts.items()
        for name in names[::-1]  # of two, the first wins
        if (folder / name).is_dir()
    }
    if "garment" not in there:
        raise FileNotFoundError(f"{folder / parts['garment'][0]}: no such folder")
    pairs = _pairs(folder / f"{split}_pairs.txt", there["image"], worn)
    for key in ("image", "garment"):
        lines = [pair.line for pair in pairs]
        kept = keep_existing(_paths(there[key], key, pairs), lines, partial)
        pairs = [pairs[i] for i in kept]
    files = {key: _paths(there[key], key, pairs) for key in there}
    lines = [pair.line for pair in pairs]
    return {key: paths for key, paths in files.items() if _whole(paths, lines, partial)}


def _pairs(listed: Path, images: Path, worn: Callable[[str], str] | None) -> list[Pair]:
    """The pairs of a list or, without one, of all people in the folder."""
    if listed.is_file():
        pairs = []
        for line, text in read_lines(listed):
            names = text.split()
            if len(names) != 2:
                raise malformed(
                    line, f"expected a person and a garment, got {short(text)}"
                )
            person, garment = (as_name(line, name) for name in names)
            pairs.append(Pair(line, person, worn(person) if worn else garment))
    elif worn:
        people = [path.relative_to(images) for path in image_files(images)]
        pairs = [
            Pair((images / path, 0), path.as_posix(), worn(path.as_posix()))
            for path in people
        ]
    else:
        raise FileNotFoundError(f"{listed}: no such file, and paired=False")
    if not pairs:
        raise malformed((listed, 1), "the list is empty")
    return pairs


def _paths(folder: Path, key: str, pairs: list[Pair]) -> list[Path]:
    """Where a part of each pair is."""
    names = [pair.garment if key in OF_GARMENT else pair.person for pair in pairs]
    if key in SUFFIX:
        names = [Path(name).stem + SUFFIX[key] for name in names]
    return [folder / name for name in names]


def _whole(paths: list[Path], lines: list[Line], partial: bool) -> bool:
    """Whether a part has all its files; one that lacks some is an error, unless
    ``partial``."""
    missing = [path for path in paths if not path.is_file()]
    if missing and not partial:
        keep_existing(paths, lines, partial)
    if missing:
        warnings.warn(
            f"{paths[0].parent}: left out, as {len(missing)} of {len(paths)} files are "
            f"missing, such as {missing[0].name}",
            stacklevel=4,
        )
    return not missing


def read_classes(path: Path) -> Image.Image:
    """A parse map as an image of class numbers: palette indices, never colours."""
    with opened_classes(path) as classes:
        return classes


def read_pose(path: Path) -> list[list[float]]:
    """The 18 joints of the first person that OpenPose found, in pixels; NaN for none.

    VITON has 18 in ``pose_keypoints``, VITON-HD 25 in ``pose_keypoints_2d``: each x, y
    and confidence, which is 0 for a joint that was not found.
    """
    expected = "expected 'people' with 'pose_keypoints_2d': x, y, confidence"
    text = read_annotation(path)
    try:
        content = json.loads(text.decode("utf-8"))
        people = content["people"]
        if not people:
            return [[np.nan] * 2] * JOINTS
        person = people[0]
        flat = person.get("pose_keypoints_2d", person.get("pose_keypoints"))
        joints = np.array(flat, dtype=np.float64).reshape(-1, 3)
    except UnicodeDecodeError as error:
        raise malformed((path, 1), f"not UTF-8 text ({error})") from None
    except json.JSONDecodeError as error:
        raise malformed((path, error.lineno), f"not JSON ({error.msg})") from None
    except RecursionError:
        raise malformed((path, 1), "not JSON (too deep)") from None
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError):
        raise malformed((path, 1), expected) from None
    if len(joints) == JOINTS + 7:  # BODY_25
        joints = np.delete(joints, MIDDLE_HIP, axis=0)[:JOINTS]
    if len(joints) != JOINTS:
        raise malformed((path, 1), f"expected 18 or 25 joints, got {len(joints)}")
    found = joints[joints[:, 2] > 0]  # NaN is not above 0
    if not (np.isfinite(joints).all() and (np.abs(found) <= FARTHEST).all()):
        raise malformed((path, 1), f"{expected}, finite and none beyond {FARTHEST:g}")
    return np.where(joints[:, 2:] > 0, joints[:, :2], np.nan).tolist()
