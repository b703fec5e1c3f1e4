"""Landmarks of ordinary photographs: a CSV table, and the points drawn on them.

A photograph may have any size and orientation. One that cannot be read is skipped, with
a line that says why; the others go on. Nothing but the rows of one batch is in memory.
"""

import csv
import hashlib
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageDraw
from tqdm.auto import tqdm

from lmlib.datasets.images import from_box, image_files, with_channels, workers
from lmlib.datasets.photos import (
    Box,
    UnreadableImage,
    cut,
    find_faces,
    frame,
    read_photo,
)
from lmlib.landmarker import Landmarker
from lmlib.palette import colour
from lmlib.texts import check_writable, read_crop

COLUMNS = ("file", "landmark", "x", "y", "width", "height")
LARGEST_OVERLAY = 1024  # pixels, the longer side


@dataclass(frozen=True)
class LargestFace:
    """A crop: the box of the largest face in the photograph, ``margin`` times as wide.

    1 is what networks trained on ``mtfl`` see, 1.3 on ``celeba`` and ``mafl``.
    """

    margin: float = 1.0

    def box(self, photo: Image.Image, name: str) -> Box:
        """Left, top, right, bottom in pixels; UnreadableImage if there is no face."""
        faces = find_faces(photo)
        if not faces:
            raise UnreadableImage(f"{name}: no upright face seen from the front")
        left, top, right, bottom = faces[0]
        x, y, half = (left + right) / 2, (top + bottom) / 2, (right - left) / 2
        half *= self.margin
        return x - half, y - half, x + half, y + half


Crop = str | Box | LargestFace


def crop_of(text: str) -> Crop:
    """``face``, ``face*1.3``, or what ``recipes.read_crop`` reads."""
    name, times, margin = text.partition("*")
    if name != "face":
        return read_crop(text)
    try:
        found = LargestFace(float(margin) if times else 1.0)
    except ValueError:
        found = LargestFace(0.0)
    if not 0 < found.margin < 100:
        raise ValueError(
            f"crop must be face or face*NUMBER, such as face*1.3: {text!r}"
        )
    return found


@dataclass
class Photo:
    """A photograph as the network takes it, and where that lies in the file."""

    pixels: np.ndarray  # (3, H, W) bytes
    box: Box  # in pixels of the upright photograph
    size: tuple[int, int]  # its width and height
    small: Image.Image | None  # to draw on


def find_photos(names: Iterable[str], leave_out: Path | None = None) -> list[str]:
    """Files, and all images below folders, each once, named as given.

    Folders are searched without ``leave_out``: overlays may be written into the folder
    of the photographs.
    """
    found: dict[str, None] = {}
    hidden = leave_out.resolve() if leave_out else None
    for name in names:
        path = Path(name).expanduser()
        if not path.exists():
            raise FileNotFoundError(f"{name}: no such file or folder")
        if not path.is_dir():
            found[str(path)] = None
            continue
        for file in image_files(path):
            if hidden is None or hidden not in file.resolve().parents:
                found[str(file)] = None
    if not found:
        raise FileNotFoundError(f"no photographs to read beside those in {leave_out}")
    return list(found)


def default_crop(metadata: dict) -> str:
    """That of the training; a data set's own means nothing for other photographs."""
    crop = (metadata.get("settings") or {}).get("crop") or ""
    if isinstance(crop, list):
        return ",".join(map(str, crop))
    return crop if crop in ("pad", "squash") else "centre"


def open_photo(name: str, crop: Crop, side: int, draw: bool) -> Photo:
    """Decode one; UnreadableImage says why not."""
    fine = draw or isinstance(crop, LargestFace)  # a face is a part of it
    photo = read_photo(name, max(2 * side, LARGEST_OVERLAY * fine))
    width, height = photo.size
    with Image.open(name) as file:  # a large JPEG was decoded at a part of its size
        if file.format == "JPEG":
            width, height = file.size
            if file.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
                width, height = height, width
    if isinstance(crop, LargestFace):
        seen = crop.box(photo, name)
        box = tuple(edge * width / photo.width for edge in seen)
    else:
        seen, box = frame(photo.size, crop), frame((width, height), crop)
    pixels = cut(photo, seen, (side, side))
    if draw:
        photo.thumbnail((LARGEST_OVERLAY, LARGEST_OVERLAY))
    return Photo(pixels, box, (width, height), photo if draw else None)


def predict(
    found: Landmarker,
    names: list[str],
    out: Path,
    overlay: Path | None = None,
    crop: Crop = "centre",
    batch: int = 32,
    progress: bool = True,
) -> list[str]:
    """Write the table ``out`` and the ``overlay`` folder; returns what was skipped.

    ``out`` has a row for each landmark: x and y in pixels of the upright photograph, 0
    the centre of the first, with its width and height. It appears when all is done.

    Raises:
        OSError: ``out`` or ``overlay`` cannot be written; before any computing.
        ValueError: no photograph could be read.
    """
    check_writable(out)
    if overlay:
        check_writable(overlay / "x.jpg")
    if not isinstance(crop, LargestFace):
        frame((1, 1), crop)  # ValueError for a crop there is not
    device, side = next(found.method.parameters()).device, found.config.frame
    channels = found.config.image_channels
    skipped = []
    temporary = out.with_name(f".lmlib-{os.getpid()}.tmp")
    bar = tqdm(total=len(names), desc="photographs", disable=not progress)
    parts = [names[i : i + batch] for i in range(0, len(names), batch)]

    def decode(part: list[str]) -> list:
        crops = (crop, side, overlay is not None)
        return [(name, workers().submit(open_photo, name, *crops)) for name in part]

    try:
        # Names that are no UTF-8 go out as they came in.
        with temporary.open(
            "w", newline="", encoding="utf-8", errors="surrogateescape"
        ) as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            ahead = decode(parts[0])
            for following in [*parts[1:], []]:
                waiting, ahead = ahead, decode(following)
                photos = {}
                for name, future in waiting:
                    try:
                        photos[name] = future.result()
                    except (UnreadableImage, OSError) as error:
                        skipped.append(_line(str(error)))
                        tqdm.write(f"skipped {skipped[-1]}", file=sys.stderr)
                if photos:
                    points = _points(found, photos.values(), channels, device)
                    for (name, photo), landmarks in zip(
                        photos.items(), points, strict=True
                    ):
                        for number, (x, y) in enumerate(landmarks):
                            place = f"{x:.2f}", f"{y:.2f}"
                            table.writerow([name, number, *place, *photo.size])
                        if overlay:
                            _draw(photo, landmarks, overlay / overlay_name(name))
                bar.update(len(waiting))
        if len(skipped) == len(names):
            raise ValueError(
                f"none of {len(names)} photographs could be read; the first: "
                f"{skipped[0]}"
            )
        temporary.replace(out)
    finally:
        bar.close()
        temporary.unlink(missing_ok=True)
    return skipped


def _line(text: str) -> str:
    """A name may hold a line break, or bytes that cannot be printed."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().splitlines())


def _points(found: Landmarker, photos, channels: int, device) -> list:
    """Landmarks of some photographs in their own pixels, ``(N, K, 2)`` as lists."""
    images = torch.from_numpy(np.stack([photo.pixels for photo in photos]))
    images = with_channels(images.to(device).float() / 255, channels)
    points = found.landmarks(images).cpu()
    return from_box(points, torch.tensor([photo.box for photo in photos])).tolist()


def overlay_name(name: str) -> Path:
    """Where below the overlay folder a photograph's overlay goes.

    The folders of the name are kept, ``..`` as ``_``, and its ending stays before
    ``.jpg``, so that no two collide. A name that would grow beyond the 255 bytes file
    systems allow ends in a hash of itself in place of its tail.
    """
    path = Path(name)
    parts = [
        "_" if part == ".." else part for part in path.parts if part != path.anchor
    ]
    last = os.fsencode(parts[-1])
    if len(last) > 240:
        digest = hashlib.sha256(last).hexdigest()[:16]
        parts[-1] = f"{last[:200].decode('utf-8', 'ignore')}-{digest}"
    return Path(*parts[:-1], parts[-1] + ".jpg")


def _draw(photo: Photo, landmarks: list, path: Path) -> None:
    """The points on the small photograph, as a JPEG; written whole or not at all."""
    image = photo.small
    draw = ImageDraw.Draw(image)
    scale = image.width / photo.size[0], image.height / photo.size[1]
    radius = max(2.0, max(image.size) / 150)
    for number, place in enumerate(landmarks):
        # pixel 0 is half a pixel from the edge, in either image
        x, y = ((p + 0.5) * s - 0.5 for p, s in zip(place, scale, strict=True))
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, fill=colour(number), outline="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".lmlib-{os.getpid()}.tmp")
    try:
        image.save(temporary, "JPEG", quality=88)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
