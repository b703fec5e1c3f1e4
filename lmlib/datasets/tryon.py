"""VITON and VITON-HD: people, garments, and what is known of both."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lmlib.datasets import (
    Line,
    Size,
    height_and_width,
    keep_existing,
    locate,
    malformed,
    read_lines,
)
from lmlib.datasets.images import Ahead, image_files, in_box
from lmlib.datasets.photos import Box, UnreadableImage, cut, frame, read_photo
from lmlib.samples import Batch, to_gray

# Where each part is: VITON in the layout of PF-AFN, whose test part has no more.
VITON_PARTS = {
    "train": {
        "image": ("train_img",),
        "cloth": ("train_color",),
        "cloth_mask": ("train_edge",),
        "parse": ("train_label",),
        "pose": ("train_pose",),
    },
    "test": {
        "image": ("test_img",),
        "cloth": ("test_clothes",),
        "cloth_mask": ("test_edge",),
    },
}
# Under train/ or test/. The archive's releases differ in names.
HD_PARTS = {
    "image": ("image",),
    "cloth": ("cloth",),
    "cloth_mask": ("cloth-mask",),
    "parse": ("image-parse-v3", "image-parse"),
    "pose": ("openpose_json", "openpose-json"),
}
OF_CLOTH = "cloth", "cloth_mask"  # the other parts are the person's
SUFFIX = {"parse": ".png", "pose": "_keypoints.json"}
JOINTS = 18  # of OpenPose's COCO model; BODY_25 has them too, with the hip's middle
MIDDLE_HIP = 8


class Pairs:
    """People with a garment each, and whatever parts the folder has.

    ``batch`` gives ``image`` and ``cloth (B, 3, H, W)`` and, where their folders are,
    ``cloth_mask (B, 1, H, W)``, ``parse (B, H, W)`` long, the classes of the person's
    pixels, and ``pose (B, 18, 2)`` in [-1, 1] of the person's image with ``visible (B,
    18)``: OpenPose's joints, NaN where it found none.

    Args:
        files: of each part, N paths in the same order.
        size, crop, gray: as in ``ImageSet``. Crops must lie inside the images.
    """

    def __init__(
        self,
        files: dict[str, list[Path]],
        size: Size,
        *,
        crop: str | Box = "squash",
        gray: bool = False,
    ):
        self.files, self.crop, self.gray = files, crop, gray
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
        for name in {"image", "cloth", "cloth_mask"} & {*paths}:
            photo = read_photo(paths[name])
            box = self._box(photo.size, paths[name])
            parts[name] = cut(photo, box, self.size)
            if name == "cloth_mask":
                parts[name] = parts[name][:1]
            if name == "image":
                parts["box"] = np.array(box, dtype=np.float32)
        if "parse" in paths:
            classes = read_classes(paths["parse"])
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

    def prefetch(self, indices: range | Tensor) -> None:
        """Begin to decode pairs that will be asked for next."""
        self._ahead.begin(indices)

    def batch(self, indices: range | Tensor, device=None) -> Batch:
        """The pairs of these numbers; IndexError for a number that none has."""
        index, parts = self._ahead.take(indices)
        raw = {
            name: torch.from_numpy(np.stack([part[name] for part in parts]))
            for name in parts[0]
        }
        batch = {"index": index}
        for name in ("image", "cloth", "cloth_mask"):
            if name in raw:
                batch[name] = raw[name].to(device).float() / 255
                if self.gray and name != "cloth_mask":
                    batch[name] = to_gray(batch[name])
        if "parse" in raw:
            batch["parse"] = raw["parse"].long()
        if "pose" in raw:
            batch["pose"] = in_box(raw["pose"], raw["box"])
            batch["visible"] = (batch["pose"].abs() <= 1).all(-1)  # not so for NaN
        return {name: value.to(device) for name, value in batch.items()}


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
    if split not in VITON_PARTS:
        raise ValueError(f"split must be one of {[*VITON_PARTS]}, got {split!r}")
    return _pairs(
        folder,
        ("viton", "VITON"),
        VITON_PARTS[split],
        lambda name: name.replace("_0.", "_1."),
        *(split, size, crop, gray, partial, paired),
    )


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
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    return _pairs(
        folder,
        ("viton-hd", "VITON-HD", "zalando-hd-resized"),
        {key: tuple(f"{split}/{n}" for n in names) for key, names in HD_PARTS.items()},
        lambda name: name,
        *(split, size, crop, gray, partial, paired),
    )


def _pairs(
    folder: Path | None,
    places: tuple[str, ...],
    layout: dict[str, tuple[str, ...]],
    worn: Callable[[str], str],
    split: str,
    size: Size,
    crop: str | Box,
    gray: bool,
    partial: bool,
    paired: bool,
) -> Pairs:
    listed = f"{split}_pairs.txt"
    tree = ", ".join(f"{names[0]}/" for names in layout.values())
    folder = locate(folder, places, layout["image"], f"{tree} and {listed}")
    there = {
        key: folder / name
        for key, names in layout.items()
        for name in names[::-1]  # of two, the first wins
        if (folder / name).is_dir()
    }
    if "cloth" not in there:
        raise FileNotFoundError(f"{folder / layout['cloth'][0]}: no such folder")
    rows: list[tuple[Line, str, str]] = []  # where it stands, person, garment
    if (folder / listed).is_file():
        for line, text in read_lines(folder / listed):
            names = text.split()
            if len(names) != 2:
                raise malformed(line, f"expected a person and a garment, got {text!r}")
            rows.append((line, names[0], worn(names[0]) if paired else names[1]))
    elif paired:
        for path in image_files(there["image"]):
            rows.append(((path, 0), path.name, worn(path.name)))
    else:
        raise FileNotFoundError(f"{folder / listed}: no such file, and paired=False")
    if not rows:
        raise malformed((folder / listed, 1), "the list is empty")

    def paths(key: str) -> list[Path]:
        names = [garment if key in OF_CLOTH else person for _, person, garment in rows]
        if key in SUFFIX:
            names = [Path(name).stem + SUFFIX[key] for name in names]
        return [there[key] / name for name in names]

    for key in ("image", "cloth"):
        kept = keep_existing(paths(key), [line for line, *_ in rows], partial)
        rows = [rows[i] for i in kept]
    files = {}
    for key in there:
        files[key] = paths(key)
        missing = [path for path in files[key] if not path.is_file()]
        if missing and not partial:
            keep_existing(files[key], [line for line, *_ in rows], partial)
        if missing:
            warnings.warn(
                f"{there[key]}: left out, as {len(missing)} of {len(rows)} files are "
                f"missing, such as {missing[0].name}",
                stacklevel=3,
            )
            del files[key]
    return Pairs(files, size, crop=crop, gray=gray)


def read_classes(path: Path) -> Image.Image:
    """A parse map as an image of class numbers: palette indices, never colours."""
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode not in ("P", "L"):
                raise UnreadableImage(
                    f"{path}: expected a parse map, with a palette or grey, got "
                    f"{image.mode}"
                )
            return Image.fromarray(np.asarray(image))
    except UnreadableImage:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableImage(f"{path}: not a whole image ({error})") from None


def read_pose(path: Path) -> list[list[float]]:
    """The 18 joints of the first person that OpenPose found, in pixels; NaN for none.

    VITON has 18 in ``pose_keypoints``, VITON-HD 25 in ``pose_keypoints_2d``: each x, y
    and confidence, which is 0 for a joint that was not found.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        people = content["people"]
        if not people:
            return [[np.nan] * 2] * JOINTS
        person = people[0]
        flat = person.get("pose_keypoints_2d", person.get("pose_keypoints"))
        joints = np.array(flat, dtype=np.float64).reshape(-1, 3)
    except json.JSONDecodeError as error:
        raise malformed((path, error.lineno), f"not JSON ({error.msg})") from None
    except (KeyError, TypeError, AttributeError, ValueError):
        raise malformed(
            (path, 1), "expected 'people' with 'pose_keypoints_2d': x, y, confidence"
        ) from None
    if len(joints) == JOINTS + 7:  # BODY_25
        joints = np.delete(joints, MIDDLE_HIP, axis=0)[:JOINTS]
    if len(joints) != JOINTS:
        raise malformed((path, 1), f"expected 18 or 25 joints, got {len(joints)}")
    return np.where(joints[:, 2:] > 0, joints[:, :2], np.nan).tolist()
