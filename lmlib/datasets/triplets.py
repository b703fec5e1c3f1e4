"""One's own try-on data: a person in another garment and in this one, the garment, and
the landmarks of both."""

import csv
from pathlib import Path

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from lmlib.datasets import (
    Line,
    Size,
    as_choice,
    as_name,
    as_numbers,
    by_stem,
    check_split,
    complain,
    locate,
    malformed,
    read_lines,
    short,
)
from lmlib.datasets.images import image_files, in_box
from lmlib.datasets.photos import Box
from lmlib.datasets.tryon import Pairs
from lmlib.samples import Batch, Numbers

PARTS = {  # of a batch, and the folders of each split
    "image": "image",
    "target": "target",
    "target_mask": "target-mask",
    "garment": "cloth",
    "garment_mask": "cloth-mask",
}
LISTED = "landmarks.csv"
COLUMNS = ("name", "landmark", "garment_x", "garment_y", "x", "y", "attribute")
ATTRIBUTES = ("absent", "occluded", "visible")
MOST = 1000  # landmarks of one name

Mark = tuple[list[float], int]  # x and y on the garment and on the person; attribute


class Triplets(Pairs):
    """People in another garment (``image``) and in this one (``target``,
    ``target_mask``), the ``garment`` with its ``garment_mask``, and the landmarks as
    ``methods.salvton.links_of`` reads them; ``visible`` are those of attribute 2.

    Args:
        files: of each part of ``PARTS``, N paths in the same order.
        marks: the K landmarks of each of the N; places in pixels of the files.
        size, crop, gray: as in ``ImageSet``. Crops must lie inside the images.
    """

    parts = (*PARTS,)

    def __init__(
        self,
        files: dict[str, list[Path]],
        marks: list[list[Mark]],
        size: Size,
        *,
        crop: str | Box = "squash",
        gray: bool = False,
    ):
        super().__init__(files, size, crop=crop, gray=gray)
        places = torch.tensor([[place for place, _ in each] for each in marks])
        self.places = {"garment": places[..., :2], "target": places[..., 2:]}
        self.attribute = torch.tensor([[kind for _, kind in each] for each in marks])

    def batch(self, indices: Numbers, device=None) -> Batch:
        """The triplets of these numbers, garments on white; IndexError for a number
        that none has."""
        batch = super().batch(indices, device)
        for name in ("target_mask", "garment_mask"):
            batch[name] = (batch[name] >= 0.5).float()
        mask = batch["garment_mask"]
        return batch | {"garment": batch["garment"] * mask + 1 - mask}

    def annotation(
        self, index: Int[Tensor, " b"], raw: dict[str, Shaped[Tensor, "b ..."]]
    ) -> Batch:
        attribute = self.attribute[index]
        there = attribute != ATTRIBUTES.index("absent")
        flat, worn = (
            in_box(places[index], raw[f"{name}_box"]) * there[..., None]  # or 0
            for name, places in self.places.items()
        )
        return {
            "garment_landmarks": flat,
            "garment_present": there,
            "landmarks": worn,
            "attribute": attribute,
            "visible": attribute == ATTRIBUTES.index("visible"),
        }


def triplets(
    folder: Path | None,
    split: str = "train",
    size: Size = (256, 192),
    *,
    crop: str | Box = "squash",
    gray: bool = False,
    partial: bool = False,
) -> Triplets:
    """The folders ``train`` and ``test``, each with the folders of ``PARTS`` and
    ``landmarks.csv``: a head, ``COLUMNS``, and a line for each landmark of each name.
    ``a.jpg`` and ``a.png`` are pictures of ``a``.

    Places are pixels of the files, counted from 0; those of an absent landmark, which
    this garment has not, are left empty. ``partial`` leaves out names that lack a file.
    """
    check_split(split, ("train", "test"))
    tree = ", ".join(f"{split}/{name}/" for name in (*PARTS.values(),))
    wanted = f"{split}/{LISTED}"
    place = locate(folder, ("tryon",), (wanted,), f"{tree} and {wanted}") / split
    rows = _rows(place / LISTED)
    found = {part: by_stem(image_files(place / name)) for part, name in PARTS.items()}
    faults, kept = [], []
    for name, (line, _) in rows.items():
        lacks = [PARTS[part] for part, files in found.items() if name not in files]
        if lacks:
            fault = f"no image {short(name)} in {place / lacks[0]}"
            faults.append(str(malformed(line, fault)))
        else:
            kept.append(name)
    if faults:
        complain(faults, partial and bool(kept))
    files = {part: [found[part][name] for name in kept] for part in PARTS}
    return Triplets(files, [rows[n][1] for n in kept], size, crop=crop, gray=gray)


def _rows(listed: Path) -> dict[str, tuple[Line, list[Mark]]]:
    """Of each name its first line and its landmarks, in the order of their numbers."""
    lines = ((line, _fields(line, text)) for line, text in read_lines(listed))
    line, head = next(lines, ((listed, 1), []))
    if tuple(field.strip() for field in head) != COLUMNS:
        raise malformed(line, f"expected {','.join(COLUMNS)}, got {short(str(head))}")
    rows: dict[str, tuple[Line, dict[int, Mark]]] = {}
    for line, fields in lines:
        if len(fields) != len(COLUMNS):
            raise malformed(line, f"expected {len(COLUMNS)} fields, got {len(fields)}")
        name, number, *places, kind = (field.strip() for field in fields)
        plain = number.isascii() and number.isdigit() and len(number) < 10
        if not (plain and int(number) < MOST):
            fault = f"expected a landmark from 0 to {MOST - 1}, got {short(number)}"
            raise malformed(line, fault)
        _, marks = rows.setdefault(as_name(line, name), (line, {}))
        if int(number) in marks:
            raise malformed(line, f"landmark {number} of {short(name)} is listed twice")
        marks[int(number)] = _mark(line, places, kind)
    if not rows:
        raise malformed((listed, 1), "lists no landmark")
    count = 1 + max(number for _, marks in rows.values() for number in marks)
    for name, (line, marks) in rows.items():
        if len(marks) != count:
            first = min({*range(count)} - {*marks})
            raise malformed(line, f"landmark {first} of {short(name)} is not listed")
    return {
        name: (line, [marks[number] for number in range(count)])
        for name, (line, marks) in rows.items()
    }


def _fields(line: Line, text: str) -> list[str]:
    try:
        return next(csv.reader([text]))
    except csv.Error as error:
        raise malformed(line, f"not comma-separated ({error})") from None


def _mark(line: Line, places: list[str], kind: str) -> Mark:
    attribute = as_choice(line, kind, ATTRIBUTES, "the attribute")
    if attribute == ATTRIBUTES.index("absent"):
        if any(places):
            raise malformed(line, "an absent landmark has no place: leave it empty")
        return [0.0] * 4, attribute
    if not all(places):
        raise malformed(line, f"landmark without a place that is not absent: {kind}")
    return as_numbers(line, places), attribute
