"""HGR1: photographs of hands that sign (Kawulok et al., 2014), with 25 points."""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

import torch
from jaxtyping import Float
from torch import Tensor

from lmlib.datasets import (
    Line,
    Malformed,
    Size,
    as_numbers,
    by_stem,
    check_split,
    complain,
    locate,
    malformed,
    read_annotation,
    short,
)
from lmlib.datasets.images import ImageSet, square
from lmlib.datasets.photos import SUFFIXES, Box

# Subjects of each split: Honari et al. 2018, section 4.3.
SUBJECTS = {"train": {*range(1, 9)}, "val": {11, 12}, "test": {9, 10}}
POINTS = 25
NAME = re.compile(r"(\w+)_hgr1_id(\d+)_(\d+)")  # 1_P_hgr1_id01_1: gesture, subject

IMAGES, ANNOTATIONS = "hgr1_images/original_images", "hgr1_feature_pts/feature_points"
LAYOUT = f"{IMAGES}/1_P_hgr1_id01_1.jpg and, for landmarks, {ANNOTATIONS}/"
LAYOUT += "1_P_hgr1_id01_1.xml"

Point = tuple[str, int]  # what a point is called, and which of those called so
Places = dict[Point, tuple[Line, list[float]]]  # where it is told, and x and y


class Name(NamedTuple):
    """What the name of an image says."""

    gesture: str
    subject: int


def hgr1(
    folder: Path | None,
    split: str = "train",
    size: Size = 64,
    *,
    crop: str | Box | None = None,
    context: float = 1.5,
    gray: bool = False,
    partial: bool = False,
) -> ImageSet:
    """HGR1: 898 photographs of 12 people and 27 gestures.

    Splits by subject as in Honari et al. 2018: "train" (1 to 8: 573 images), "val" (11
    and 12: 163), "test" (9 and 10: 162). Labels: ``label``, the place of the gesture in
    the sorted list of all in the folder, and ``subject``.

    The points are read as far as their format is documented, by two public readers: an
    XML file an image, ``<IMAGE>`` with ``<hand>`` with ``<FeaturePoint category= x=
    y=>``, pixels counted from 0. Hidden points are left out there, so a point is known
    by its attributes other than x and y. Where these do not tell 25 points apart, that
    is an error. Their order is that of the first file which has them all. Without
    ``hgr1_feature_pts`` the images come without landmarks.

    ``crop="hand"`` (where there are points): a square around the points, ``context``
    times the longer side of their tight box. The paper does not say its crop; this is
    ours. Without points: "pad".
    """
    check_split(split, SUBJECTS)
    folder = locate(folder, ("hgr1", "HGR1"), [IMAGES], LAYOUT)
    images, points_at = _named_images(folder / IMAGES), folder / ANNOTATIONS
    read = {file.stem: read_points(file) for file in sorted(points_at.glob("*.xml"))}
    if points_at.is_dir():
        _check_pairs(images, read, folder / IMAGES, points_at, partial)
    gestures = sorted({name.gesture for _, name in images.values()})
    if read:
        images = {stem: images[stem] for stem in images if stem in read}
    subjects = SUBJECTS[split]
    chosen = {s: name for s, (_, name) in images.items() if name.subject in subjects}
    if not chosen:
        raise FileNotFoundError(f"{folder}: no image of the subjects of {split!r}")
    landmarks = boxes = None
    if read:
        landmarks = _landmarks(_order(points_at, read), [read[stem] for stem in chosen])
        boxes = _boxes(landmarks, context) if crop in (None, "hand") else None
    labels = {
        "label": [gestures.index(name.gesture) for name in chosen.values()],
        "subject": [name.subject for name in chosen.values()],
    }
    return ImageSet(
        [images[stem][0] for stem in chosen],
        size,
        crop="pad" if crop in (None, "hand") else crop,
        boxes=boxes,
        landmarks=landmarks,
        labels={name: torch.tensor(values) for name, values in labels.items()},
        gray=gray,
    )


def _named_images(folder: Path) -> dict[str, tuple[Path, Name]]:
    """Images by the stem of their names, with what these say."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES]
    images = {}
    for stem, file in by_stem(sorted(files)).items():
        match = NAME.fullmatch(stem)
        if match is None:
            raise ValueError(
                f"{file}: expected a name such as 1_P_hgr1_id01_1: gesture, "
                "subject, number"
            )
        images[stem] = file, Name(match[1], int(match[2]))
    return images


def _check_pairs(
    images: dict, read: dict, images_at: Path, points_at: Path, partial: bool
) -> None:
    """Every image has its annotation, and the other way round."""
    faults = [
        f"{points_at / stem}.xml, line 1: {images_at / stem}.jpg: no such image"
        for stem in read
        if stem not in images
    ] + [
        f"{file}: its annotation {points_at / stem}.xml is not there"
        for stem, (file, _) in images.items()
        if stem not in read
    ]
    if faults:
        complain(faults, partial)


def _landmarks(order: list[Point], read: list[Places]) -> Float[Tensor, "n 25 2"]:
    """Points of images in one order; NaN where they are hidden."""
    slot = {point: number for number, point in enumerate(order)}
    landmarks = torch.full((len(read), POINTS, 2), torch.nan)
    for row, points in enumerate(read):
        for point, (_, place) in points.items():
            landmarks[row, slot[point]] = torch.tensor(place)
    return landmarks


def _boxes(landmarks: Float[Tensor, "n k 2"], context: float) -> Float[Tensor, "n 4"]:
    """Squares around the points that are seen."""
    low = landmarks.nan_to_num(torch.inf).amin(1)
    high = landmarks.nan_to_num(-torch.inf).amax(1)
    side = context * (high - low).amax(-1).clamp(min=1)
    return square((low + high) / 2 + 0.5, side)


def read_points(path: Path) -> Places:
    """The points of one XML file with their lines; ValueError naming file and line."""
    reader, content = _Reader(path), read_annotation(path)
    try:
        reader.parser.Parse(content, True)
    except Malformed:
        raise
    except expat.ExpatError as error:
        raise malformed((path, error.lineno), f"not XML ({error})") from None
    except (LookupError, ValueError) as error:  # an encoding that is not known
        raise malformed((path, 1), f"not XML ({error})") from None
    if not reader.points:
        raise malformed((path, 1), "expected FeaturePoints, got none")
    return reader.points


class _Reader:
    """Takes the FeaturePoints of one hand from the parser as they come."""

    def __init__(self, path: Path):
        self.path, self.points = path, {}
        self.hands, self.shown = 0, 0  # hands so far, and which of them has points
        self.alike: Counter[str] = Counter()
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self.start
        # Entities make a small file large, and these files need none.
        self.parser.EntityDeclHandler = self.refuse

    @property
    def line(self) -> Line:
        return self.path, self.parser.CurrentLineNumber

    def refuse(self, *_) -> None:
        raise malformed(self.line, "expected no entities")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "hand":
            self.hands += 1
        if tag != "FeaturePoint":
            return
        if not {"x", "y", "category"} <= {*attributes}:
            raise malformed(
                self.line,
                "expected a FeaturePoint with category, x and y, got "
                f"{short(str(attributes))}",
            )
        if not self.hands:
            raise malformed(self.line, "expected the FeaturePoint inside a <hand>")
        self.shown = self.shown or self.hands
        if self.shown != self.hands:
            raise malformed(
                self.line, "expected the points of one hand, got a second's"
            )
        place = as_numbers(self.line, [attributes.pop("x"), attributes.pop("y")])
        called = " ".join(f"{name}={attributes[name]}" for name in sorted(attributes))
        self.points[called, self.alike[called]] = (self.line, place)
        self.alike[called] += 1


def _order(folder: Path, read: dict[str, Places]) -> list[Point]:
    """The 25 points in the order of the first file that has them all."""
    known = {point for points in read.values() for point in points}
    most = Counter(name for name, _ in known)
    for stem, points in read.items():
        for called, here in Counter(name for name, _ in points).items():
            if here != most[called]:
                # Which of those alike is hidden, nothing tells.
                raise ValueError(
                    f"{folder / stem}.xml, line 1: {here} points are called "
                    f"{short(called)}, elsewhere {most[called]}: which one is missing "
                    "is not told"
                )
    full = [points for points in read.values() if len(points) == len(known)]
    if len(known) != POINTS or not full:
        raise ValueError(
            f"{folder}: expected {POINTS} points in all, and a file that has every one;"
            f" got {len(known)}, such as {', '.join(map(short, sorted(most)[:3]))}"
        )
    return [*full[0]]
