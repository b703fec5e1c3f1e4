"""HGR1: photographs of hands that sign (Kawulok et al., 2014), with 25 points."""

import re
from pathlib import Path
from xml.parsers import expat

import torch

from lmlib.datasets import Line, Size, as_numbers, complain, locate, malformed
from lmlib.datasets.images import ImageSet, square
from lmlib.datasets.photos import SUFFIXES, Box

# Subjects of each split: Honari et al. 2018, section 4.3.
SUBJECTS = {"train": {*range(1, 9)}, "val": {11, 12}, "test": {9, 10}}
POINTS = 25
NAME = re.compile(r"(\w+)_hgr1_id(\d+)_(\d+)")  # 1_P_hgr1_id01_1: gesture, subject

Point = tuple[str, int]  # what a point is called, and which of those called so


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
    if split not in SUBJECTS:
        raise ValueError(f"split must be one of {[*SUBJECTS]}, got {split!r}")
    images_at = "hgr1_images/original_images"
    folder = locate(
        folder,
        ("hgr1", "HGR1"),
        [images_at],
        f"{images_at}/1_P_hgr1_id01_1.jpg and, for landmarks, "
        "hgr1_feature_pts/feature_points/1_P_hgr1_id01_1.xml",
    )
    files = sorted((folder / images_at).iterdir())
    images = {file.stem: file for file in files if file.suffix.lower() in SUFFIXES}
    parsed = {stem: NAME.fullmatch(stem) for stem in images}
    for stem, match in parsed.items():
        if match is None:
            raise ValueError(
                f"{images[stem]}: expected a name such as 1_P_hgr1_id01_1: gesture, "
                "subject, number"
            )
    points_at = folder / "hgr1_feature_pts" / "feature_points"
    read = {}
    if points_at.is_dir():
        read = {
            file.stem: read_points(file) for file in sorted(points_at.glob("*.xml"))
        }
        faults = [
            f"{points_at / stem}.xml, line 1: {folder / images_at / stem}.jpg: no such "
            "image"
            for stem in read
            if stem not in images
        ] + [
            f"{images[stem]}: its annotation {points_at / stem}.xml is not there"
            for stem in images
            if stem not in read
        ]
        if faults:
            complain(faults, partial)
        images = {stem: images[stem] for stem in images if stem in read}
    gestures = sorted({match[1] for match in parsed.values()})
    stems = [stem for stem in images if int(parsed[stem][2]) in SUBJECTS[split]]
    if not stems:
        raise FileNotFoundError(f"{folder}: no image of the subjects of {split!r}")
    landmarks = boxes = None
    if read:
        order = _order(points_at, read)
        landmarks = torch.full((len(stems), POINTS, 2), torch.nan)
        for row, stem in enumerate(stems):
            for point, (_, place) in read[stem].items():
                landmarks[row, order.index(point)] = torch.tensor(place)
        if crop in (None, "hand"):
            low = landmarks.nan_to_num(torch.inf).amin(1)
            high = landmarks.nan_to_num(-torch.inf).amax(1)
            side = context * (high - low).amax(-1).clamp(min=1)
            boxes = square((low + high) / 2 + 0.5, side)
    return ImageSet(
        [images[stem] for stem in stems],
        size,
        crop="pad" if crop in (None, "hand") else crop,
        boxes=boxes,
        landmarks=landmarks,
        labels={
            "label": torch.tensor([gestures.index(parsed[s][1]) for s in stems]),
            "subject": torch.tensor([int(parsed[s][2]) for s in stems]),
        },
        gray=gray,
    )


def read_points(path: Path) -> dict[Point, tuple[Line, list[float]]]:
    """The points of one XML file with their lines; ValueError naming file and line."""
    points: dict[Point, tuple[Line, list[float]]] = {}
    hands: list[bool] = []  # whether each <hand> has points
    parser = expat.ParserCreate()

    def start(tag: str, attributes: dict[str, str]) -> None:
        line = path, parser.CurrentLineNumber
        if tag == "hand":
            hands.append(False)
        if tag != "FeaturePoint":
            return
        others = sorted(set(attributes) - {"x", "y"})
        if not {"x", "y", "category"} <= {*attributes}:
            raise malformed(
                line,
                f"expected a FeaturePoint with category, x and y, got {attributes}",
            )
        if not hands:
            raise malformed(line, "expected the FeaturePoint inside a <hand>")
        hands[-1] = True
        if sum(hands) > 1:
            raise malformed(line, "expected the points of one hand, got a second's")
        called = " ".join(f"{name}={attributes[name]}" for name in others)
        count = sum(name == called for name, _ in points)
        place = as_numbers(line, [attributes["x"], attributes["y"]])
        points[called, count] = (line, place)

    parser.StartElementHandler = start
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise malformed((path, error.lineno), f"not XML ({error})") from None
    if not points:
        raise malformed((path, 1), "expected FeaturePoints, got none")
    return points


def _order(folder: Path, read: dict[str, dict[Point, tuple]]) -> list[Point]:
    """The 25 points in the order of the first file that has them all."""
    known = {point for points in read.values() for point in points}
    for stem, points in read.items():
        for called in {name for name, _ in points}:
            here = sum(name == called for name, _ in points)
            most = sum(name == called for name, _ in known)
            if here != most:
                # Which of those alike is hidden, nothing tells.
                raise ValueError(
                    f"{folder / stem}.xml, line 1: {here} points are called "
                    f"{called!r}, elsewhere {most}: which one is missing is not told"
                )
    full = [points for points in read.values() if len(points) == len(known)]
    if len(known) != POINTS or not full:
        raise ValueError(
            f"{folder}: expected {POINTS} points in all, and a file that has every one;"
            f" got {len(known)}: {', '.join(sorted({name for name, _ in known}))}"
        )
    return [*full[0]]
