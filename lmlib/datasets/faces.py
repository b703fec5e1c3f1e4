"""Faces: CelebA with MAFL, MTFL with its AFLW part, and 300-W.

Landmarks are left eye, right eye, nose, left and right corner of the mouth as seen in
the image, or the 68 of iBUG. All readers take a ``split``, the ``size`` of the images,
``crop``, ``gray`` and ``partial`` (see ``lmlib.datasets``) and give an ``ImageSet``.
"""

from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lmlib.datasets import (
    Line,
    Size,
    add_row,
    as_choice,
    as_name,
    as_numbers,
    by_stem,
    check_split,
    complain,
    keep_existing,
    locate,
    malformed,
    read_lines,
    read_table,
    short,
)
from lmlib.datasets.images import ImageSet, square
from lmlib.datasets.photos import SUFFIXES, Box, read_photo

MTFL_LISTS = {"train": "training.txt", "test": "testing.txt"}
MTFL_LABELS = {"gender": "12", "smile": "12", "glasses": "12", "pose": "12345"}
W300_PARTS = {
    "train": ("afw", "helen/trainset", "lfpw/trainset"),
    "common": ("helen/testset", "lfpw/testset"),
    "challenging": ("ibug",),
    "full": ("helen/testset", "lfpw/testset", "ibug"),
}
CELEBA_SIZE = 178, 218  # width and height of the aligned images, in pixels
CELEBA_CROPS = {
    "dve": (0, 30 / 218, 1, 208 / 218),  # a square: rows 30 to 208
    "lmdis": (0.1, 0.1, 0.9, 0.9),  # 80 of 100 pixels after squashing
}
# Of the official partition, which is by number: last image of train, val and test.
CELEBA_LAST = {"train": 162_770, "val": 182_637, "test": 202_599}


def face_boxes(points: Float[Tensor, "n 5 2"]) -> Float[Tensor, "n 4"]:
    """Square boxes around five points of faces.

    With s the root of the mean squared distance of the points from their mean, the side
    is 5.58 s and the centre .16 s above that mean: on average columns 21 to 157 and
    rows 60 to 196 of CelebA's 178 x 218 pixels, the face and little else.

    Such boxes tell part of the answer: on LFW's part of MTFL, guessing the mean face in
    them is wrong by 9.7 % of the eyes' distance, in one fixed box by 14.3 %. Compare
    errors with those of the mean face in the same boxes.
    """
    mean = points.mean(1)
    spread = (points - mean[:, None]).square().sum(-1).mean(-1).sqrt()
    shift = torch.stack([torch.zeros_like(spread), -0.16 * spread], -1)
    return square(mean + shift, 5.58 * spread)


def mtfl(
    folder: Path | None,
    split: str = "train",
    size: Size = 100,
    *,
    crop: str | Box = "face",
    gray: bool = False,
    partial: bool = False,
) -> ImageSet:
    """MTFL (Zhang et al., ECCV 2014): 10,000 faces to train on, 2,995 of AFLW to test.

    A line of ``training.txt`` or ``testing.txt`` is a path with backslashes, x of five
    points, y of the five, gender, smile, glasses and pose. Coordinates are taken to
    count from 0: the set does not say. Labels ``gender`` (0 male), ``smile`` (0
    smiling), ``glasses`` (0 worn) and ``pose`` (0 left profile to 4 right profile) are
    the file's codes less one. Images that the list does not name are ignored: the list
    is the set. ``crop="face"``: see ``face_boxes``.
    """
    check_split(split, MTFL_LISTS)
    listed = MTFL_LISTS[split]
    parts = "lfw_5590", "net_7876", "AFLW"
    folder = locate(
        folder, ("mtfl", "MTFL"), parts, f"{listed} beside {'/, '.join(parts)}/"
    )
    rows = [
        (line, *_mtfl_row(line, text)) for line, text in read_lines(folder / listed)
    ]
    if not rows:
        raise malformed((folder / listed, 1), "the list is empty")
    lines, names, points, codes = zip(*rows, strict=True)
    paths = [folder / name for name in names]
    kept = keep_existing(paths, lines, partial)
    codes, points = torch.tensor(codes)[kept], torch.tensor(points)[kept]
    return ImageSet(
        [paths[i] for i in kept],
        size,
        crop=crop,
        boxes=face_boxes(points) if crop == "face" else None,
        landmarks=points,
        labels=dict(zip(MTFL_LABELS, codes.unbind(1), strict=True)),
        gray=gray,
    )


def _mtfl_row(line: Line, text: str) -> tuple[str, list[tuple], list[int]]:
    """Path, five points and four labels of one line."""
    # A path may hold spaces; the fourteen numbers cannot.
    fields = text.rsplit(maxsplit=14)
    if len(fields) != 15:
        raise malformed(
            line, f"expected a path and 14 numbers, got {len(fields)} fields"
        )
    name, values = as_name(line, fields[0]), as_numbers(line, fields[1:11])
    if len(set(values[:5])) == len(set(values[5:])) == 1:
        raise malformed(line, "all five points are the same")
    codes = [
        as_choice(line, code, choices, label)
        for code, (label, choices) in zip(fields[11:], MTFL_LABELS.items(), strict=True)
    ]
    return name, [*zip(values[:5], values[5:], strict=True)], codes


def aflw(
    folder: Path | None, split: str = "test", size: Size = 100, **options
) -> ImageSet:
    """The 2,995 faces of AFLW in MTFL's ``testing.txt``: the test part of AFLW_M.

    That is all of AFLW this reads: not its own database, so not AFLW_R of DVE, and no
    training part.
    """
    if split != "test":
        raise ValueError(f"of AFLW only the split 'test' is read, not {split!r}")
    return mtfl(folder, "test", size, **options)


def w300(
    folder: Path | None,
    split: str = "train",
    size: Size = 100,
    *,
    crop: str | Box = "face",
    context: float = 1.5,
    gray: bool = False,
    partial: bool = False,
) -> ImageSet:
    """300-W (Sagonas et al., 2013): 68 points, in a ``.pts`` file beside each image.

    Splits: "train" (afw, helen/trainset, lfpw/trainset: 3,148), "common" (the two
    testsets: 554), "challenging" (ibug: 135), "full" (both: 689). Coordinates in the
    files count from 1. ``crop="face"``: a square around the points, ``context`` times
    the longer side of their tight box: DVE's training boxes have about 1.9 (the face
    52 of 100 pixels wide), RCN's 1.3.
    """
    check_split(split, W300_PARTS)
    parts = W300_PARTS[split]
    folder = locate(
        folder, ("300w", "300W"), parts, f"{', '.join(parts)}, each with .jpg and .pts"
    )
    paths, annotations, faults = [], [], []
    for part in parts:
        if not (folder / part).is_dir():
            faults.append(f"{folder / part}: no such folder")
            continue
        files = sorted((folder / part).iterdir())
        images = by_stem([file for file in files if file.suffix.lower() in SUFFIXES])
        points = by_stem([file for file in files if file.suffix.lower() == ".pts"])
        for stem in sorted({*images, *points}):
            if stem not in images:
                faults.append(f"{points[stem]}, line 1: its image is not there")
            elif stem not in points:
                faults.append(f"{images[stem]}: its annotation {stem}.pts is not there")
            else:
                paths.append(images[stem])
                annotations.append(points[stem])
    if faults or not paths:
        complain(
            faults or [f"{folder}: no images in {', '.join(parts)}"],
            partial and bool(paths),
        )
    landmarks = torch.tensor([read_pts(path) for path in annotations])
    low, high = landmarks.amin(1), landmarks.amax(1)
    boxes = square((low + high) / 2 + 0.5, context * (high - low).amax(-1))
    return ImageSet(
        paths,
        size,
        crop=crop,
        boxes=boxes if crop == "face" else None,
        landmarks=landmarks,
        gray=gray,
    )


def read_pts(path: Path, count: int = 68) -> list[list[float]]:
    """The points of a ``.pts`` file, counted from 0; ValueError naming the line."""
    lines = [*islice(read_lines(path), count + 5)]  # one more than there may be
    head = [text.replace(" ", "") for _, text in lines[:3]]
    for text, wanted in zip(
        head + [""] * 3, ("version:1", f"n_points:{count}", "{"), strict=False
    ):
        if text != wanted:
            line = lines[head.index(text)][0] if text in head else (path, 1)
            raise malformed(line, f"expected {wanted!r}, got {short(text)}")
    if lines[-1][1] != "}" or len(lines) != count + 4:
        raise malformed(
            lines[-1][0], f"expected {count} lines of x and y and then '}}'"
        )
    points = []
    for line, text in lines[3:-1]:
        fields = text.split()
        if len(fields) != 2:
            raise malformed(line, f"expected x and y, got {short(text)}")
        points.append([value - 1 for value in as_numbers(line, fields)])
    if len({tuple(point) for point in points}) == 1:
        raise malformed(lines[3][0], "all points are the same")
    return points


def celeba(
    folder: Path | None,
    split: str = "train",
    size: Size = 100,
    *,
    crop: str | Box = "dve",
    gray: bool = False,
    partial: bool = False,
) -> ImageSet:
    """CelebA, aligned (Liu et al., ICCV 2015): 202,599 faces with five landmarks.

    Splits: "train" (162,770), "val" (19,867), "test" (19,962), "all", and "unlabelled":
    train without the faces of MAFL's test, which the releases of lmdis and DVE train
    on. They come from ``Eval/list_eval_partition.txt``; without that file, from the
    images' numbers, which say the same. ``Anno/list_attr_celeba.txt``, where it is,
    gives ``attributes`` (B, 40) bool. Images that the list of landmarks does not name
    are ignored: the list is the set.

    ``crop``: "dve" (rows 30 to 208 of 218, all 178 columns), "lmdis" (the middle 80 %,
    squashed), "face" (see ``face_boxes``) or as in ``photos.frame``. Landmarks are in
    pixels of 178 x 218, taken to count from 0; images scaled as a whole (all alike)
    work too.
    """
    splits = [*CELEBA_LAST, "all", "unlabelled"]
    check_split(split, splits)
    folder = _celeba_folder(folder)
    rows = _celeba_landmarks(folder)
    names = [*rows]
    if split != "all":
        part = _celeba_partition(folder, rows)
        wanted = "train" if split == "unlabelled" else split
        names = [name for name in names if part[name] == wanted]
    if split == "unlabelled":
        labelled = {name for _, name in read_lines(folder / "MAFL" / "testing.txt")}
        names = [name for name in names if name not in labelled]
    if not names:
        raise ValueError(f"{folder}: none of its images is in the split {split!r}")
    return _celeba_set(folder, rows, names, size, crop, gray, partial)


def mafl(
    folder: Path | None,
    split: str = "train",
    size: Size = 100,
    *,
    crop: str | Box = "dve",
    gray: bool = False,
    partial: bool = False,
) -> ImageSet:
    """MAFL (Zhang et al., 2014): 19,000 faces of CelebA to train on, 1,000 to test.

    ``folder`` is CelebA's, with the lists ``training.txt`` and ``testing.txt`` in
    ``MAFL/``. All else as in ``celeba``.
    """
    check_split(split, MTFL_LISTS)
    folder = _celeba_folder(folder)
    rows = _celeba_landmarks(folder)
    names, faults = [], []
    for line, name in read_lines(folder / "MAFL" / MTFL_LISTS[split]):
        if name in rows:
            names.append(name)
        else:
            fault = f"{name[:60]} has no landmarks in CelebA"
            faults.append(str(malformed(line, fault)))
    if faults or not names:
        complain(
            faults or [f"{folder / 'MAFL' / MTFL_LISTS[split]}: the list is empty"],
            partial and bool(names),
        )
    return _celeba_set(folder, rows, names, size, crop, gray, partial)


def _celeba_folder(folder: Path | None) -> Path:
    return locate(
        folder,
        ("celeba", "CelebA"),
        ["Anno/list_landmarks_align_celeba.txt"],
        "Img/img_align_celeba/000001.jpg, Anno/list_landmarks_align_celeba.txt and, as "
        "splits and labels need them, Eval/, MAFL/ and Anno/list_attr_celeba.txt",
    )


def _celeba_landmarks(folder: Path) -> dict[str, tuple[Line, list[float]]]:
    path = folder / "Anno" / "list_landmarks_align_celeba.txt"
    rows: dict[str, tuple[Line, list[float]]] = {}
    for line, (name, *fields) in read_table(path, 11):
        as_name(line, name)
        add_row(rows, line, name, (line, as_numbers(line, fields)))
    return rows


def _celeba_partition(folder: Path, rows: dict) -> dict[str, str]:
    path = folder / "Eval" / "list_eval_partition.txt"
    part = {}
    if path.is_file():
        for line, text in read_lines(path):
            fields = text.split()
            if len(fields) != 2:
                raise malformed(
                    line, f"expected a name and 0, 1 or 2, got {short(text)}"
                )
            code = as_choice(line, fields[1], ("0", "1", "2"), "the partition")
            add_row(part, line, fields[0], [*CELEBA_LAST][code])
    for name, (line, _) in rows.items():
        if name not in part:
            number = name.split(".")[0]
            if path.is_file() or not number.isdecimal() or len(number) > 12:
                raise malformed(line, f"{name} is in no split: {path} does not name it")
            part[name] = next(
                (key for key, last in CELEBA_LAST.items() if int(number) <= last), "all"
            )
    return part


def _celeba_attributes(path: Path, names: list[str]) -> Bool[Tensor, "n 40"]:
    rows = {}
    for line, (name, *codes) in read_table(path, 41):
        if not {*codes} <= {"1", "-1"}:
            raise malformed(line, "expected 40 attributes, each 1 or -1")
        add_row(rows, line, name, bytes([code == "1" for code in codes]))
    missing = [name for name in names if name not in rows]
    if missing:
        raise ValueError(f"{path}: has no line for {missing[0]}")
    flat = bytearray().join(rows[name] for name in names)
    return torch.frombuffer(flat, dtype=torch.uint8).view(-1, 40).bool()


def _celeba_set(
    folder: Path,
    rows: dict,
    names: list[str],
    size: Size,
    crop: str | Box,
    gray: bool,
    partial: bool,
) -> ImageSet:
    images = folder / "Img" / "img_align_celeba"
    paths = [images / name for name in names]
    kept = keep_existing(paths, [rows[name][0] for name in names], partial)
    paths, names = [paths[i] for i in kept], [names[i] for i in kept]
    points = torch.tensor([rows[name][1] for name in names]).view(-1, 5, 2)
    # All aligned images are alike, so the first tells the scale.
    width, height = read_photo(paths[0]).size
    if abs(width * CELEBA_SIZE[1] - height * CELEBA_SIZE[0]) > max(CELEBA_SIZE):
        raise ValueError(
            f"{paths[0]}: {width} x {height} pixels: aligned images of CelebA are "
            "178 x 218, or scaled alike in both directions"
        )
    scale = torch.tensor([width, height]) / torch.tensor(CELEBA_SIZE)
    points = (points + 0.5) * scale - 0.5
    attributes = folder / "Anno" / "list_attr_celeba.txt"
    labels = {}
    if attributes.is_file():
        labels["attributes"] = _celeba_attributes(attributes, names)
    return ImageSet(
        paths,
        size,
        crop=CELEBA_CROPS.get(crop, crop) if isinstance(crop, str) else crop,
        boxes=face_boxes(points) if crop == "face" else None,
        landmarks=points,
        labels=labels,
        gray=gray,
    )
