"""DeepFashion's Fashion Landmark Detection set, FLD (Liu et al., ECCV 2016)."""

from pathlib import Path

import torch

from lmlib.datasets import (
    Line,
    Size,
    add_row,
    as_choice,
    as_name,
    as_numbers,
    check_split,
    keep_existing,
    locate,
    malformed,
    read_table,
)
from lmlib.datasets.images import ImageSet, square
from lmlib.datasets.photos import Box

SLOTS = (
    "collar left", "collar right", "sleeve left", "sleeve right",
    "waistline left", "waistline right", "hem left", "hem right",
)  # fmt: skip
# Slots of upper-body, lower-body and full-body clothes, in the file's order.
TYPES = ((0, 1, 2, 3, 6, 7), (4, 5, 6, 7), (0, 1, 2, 3, 4, 5, 6, 7))
VISIBLE, OCCLUDED, CUT_OFF, ABSENT = range(4)  # the file's codes, and ours for no slot
SPLITS = "train", "val", "test"


def fld(
    folder: Path | None,
    split: str = "train",
    size: Size = 128,
    *,
    crop: str | Box = "pad",
    gray: bool = False,
    partial: bool = False,
) -> ImageSet:
    """FLD: 123,016 pictures of clothes (83,033 train, 19,992 val, 19,991 test).

    Eight slots (``SLOTS``), whatever the clothes: a slot that the type has not is NaN.
    ``code (B, 8)`` is the file's visibility (0 visible, 1 occluded, 2 cut off) and 3
    for no such slot; ``visible`` is code 0 alone, as DLAN trains and measures. Labels
    ``clothes`` (0 upper, 1 lower, 2 full body) and ``variation`` (0 to 2 normal,
    medium, large pose, 3 and 4 medium, large zoom). Drawn garments have these names.

    Pictures outside the list are ignored: the list is the set. Coordinates are taken to
    count from 0: the set does not say. ``crop``: "pad" (all of the picture, as DLAN
    sees it), "box" (a square around the clothes' box of ``Anno/list_bbox.txt``) or as
    in ``photos.frame``.
    """
    check_split(split, SPLITS)
    listed = "Anno/list_landmarks.txt"
    parts = "Eval/list_eval_partition.txt"
    folder = locate(
        folder,
        ("fld", "FLD"),
        [listed],
        f"img/img_00000001.jpg, {listed}, Anno/list_bbox.txt and {parts}",
    )
    rows = _rows(folder / listed, folder / parts, split)
    names = [*rows]
    paths = [folder / name for name in names]
    kept = keep_existing(paths, [line for line, *_ in rows.values()], partial)
    names, paths = [names[i] for i in kept], [paths[i] for i in kept]
    _, points, codes, types, variations = zip(*map(rows.get, names), strict=True)
    codes = torch.tensor(codes)
    boxes = None
    if crop == "box":
        found = _boxes(folder / "Anno" / "list_bbox.txt", {*names})
        corners = torch.tensor([found[name] for name in names])
        low, high = corners[:, :2], corners[:, 2:]
        boxes = square((low + high) / 2, (high - low).amax(1))
    return ImageSet(
        paths,
        size,
        crop=crop,
        boxes=boxes,
        landmarks=torch.tensor(points),
        names=SLOTS,
        visible=codes == VISIBLE,
        labels={
            "code": codes,
            "clothes": torch.tensor(types),
            "variation": torch.tensor(variations),
        },
        gray=gray,
    )


def _rows(listed: Path, parts: Path, split: str) -> dict[str, tuple]:
    """The pictures of a split by name: the line of the list and what it says."""
    wanted: dict[str, bool] = {}
    for line, (name, part) in read_table(parts, 2):
        as_name(line, name)
        chosen = SPLITS[as_choice(line, part, SPLITS, "the partition")] == split
        add_row(wanted, line, name, chosen)
    rows: dict[str, tuple] = {}
    for line, (name, *fields) in read_table(listed):
        if wanted.get(name):
            add_row(rows, line, name, (line, *_clothes(line, fields)))
    if not rows:
        raise ValueError(f"{listed}: no picture is in the split {split!r}")
    return rows


def _clothes(line: Line, fields: list[str]) -> tuple[list, list[int], int, int]:
    """Places and visibility of the eight slots, type and variation, of one line."""
    kind = as_choice(line, fields[0] if fields else "", "123", "clothes_type")
    slots = TYPES[kind]
    if len(fields) != 2 + 3 * len(slots):
        raise malformed(
            line,
            f"expected name, type, variation and {len(slots)} x (visibility, x, "
            f"y) for type {kind + 1}, got {len(fields) + 1} fields",
        )
    variation = as_choice(line, fields[1], "12345", "variation_type")
    place, seen = [[torch.nan] * 2] * len(SLOTS), [ABSENT] * len(SLOTS)
    for slot, start in zip(slots, range(2, len(fields), 3), strict=True):
        seen[slot] = as_choice(line, fields[start], "012", "the visibility")
        place[slot] = as_numbers(line, fields[start + 1 : start + 3])
    return place, seen, kind, variation


def _boxes(path: Path, names: set[str]) -> dict[str, list[float]]:
    found = {}
    for line, (name, *fields) in read_table(path, 5):
        left, top, right, bottom = as_numbers(line, fields)
        if not (right > left and bottom > top):
            raise malformed(line, f"an empty box: {' '.join(fields)}")
        if name in names:
            add_row(found, line, name, [left, top, right, bottom])
    missing = sorted(names - {*found})
    if missing:
        raise ValueError(f"{path}: has no line for {missing[0]}")
    return found
