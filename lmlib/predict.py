"""Landmarks of ordinary photographs: a CSV table, and the points drawn on them.

A photograph may have any size and orientation. One that cannot be read is skipped, with
a line that says why; the others go on. Nothing but the rows of one batch is in memory.

Names of files are not trusted. In the table, a name that a spreadsheet would take for a
formula has ``./`` before it: another name of the same file (see ``table_name``). On the
terminal, control characters appear as escapes.
"""

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from tqdm.auto import tqdm

from lmlib.datasets.images import from_box, image_files, with_channels, workers
from lmlib.datasets.photos import (
    Box,
    UnreadableImage,
    cut,
    find_faces,
    frame,
    opened_photo,
)
from lmlib.files import whole
from lmlib.landmarker import Landmarker
from lmlib.palette import colour
from lmlib.texts import check_writable, counted, printable, read_crop

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
    """``face``, ``face*1.3``, or what ``texts.read_crop`` reads."""
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


def find_photos(
    names: Iterable[str],
    leave_out: Path | None = None,
    unread: list[str] | None = None,
) -> list[str]:
    """Files, and all images below folders, each once, named as given.

    Folders are searched without ``leave_out``: overlays may be written into the folder
    of the photographs. A folder that cannot be searched is an error or, with
    ``unread``, a line added to that list.
    """
    found: dict[str, None] = {}
    hidden = leave_out.resolve() if leave_out else None

    def tell(error: OSError) -> None:
        line = f"{error.filename}: cannot be searched ({error.strerror})"
        if unread is None:
            raise OSError(line)
        unread.append(printable(line))

    for name in names:
        path = Path(name).expanduser()
        if not path.exists():
            raise FileNotFoundError(f"{name}: no such file or folder")
        if not path.is_dir():
            found[str(path)] = None
            continue
        for file in image_files(path, tell):
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
    with opened_photo(name, max(2 * side, LARGEST_OVERLAY * fine)) as (photo, size):
        if isinstance(crop, LargestFace):
            seen = crop.box(photo, name)
            box = tuple(edge * size[0] / photo.width for edge in seen)
        else:
            seen, box = frame(photo.size, crop), frame(size, crop)
        try:
            pixels = cut(photo, seen, (side, side))
        except ValueError as error:
            raise UnreadableImage(f"{name}: {error}") from None
        if draw:
            photo.thumbnail((LARGEST_OVERLAY, LARGEST_OVERLAY))
        return Photo(pixels, box, size, photo if draw else None)


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
    the centre of the first, with its width and height. It appears when all is done, and
    each overlay when it is whole.

    Raises:
        OSError: ``out`` or ``overlay`` cannot be written; before any computing, but for
            a disk that becomes full.
        ValueError: ``out`` exists and is no such table; or no photograph could be read.
    """
    check_writable(out)
    check_table(out)
    overlays = overlay_paths(names, overlay) if overlay else {}
    if overlay:
        check_writable(overlay / "x.jpg")
    if not isinstance(crop, LargestFace):
        frame((1, 1), crop)  # ValueError for a crop there is not
    device, side = next(found.method.parameters()).device, found.config.frame
    channels, skipped = found.config.image_channels, []
    bar = tqdm(total=len(names), desc="photographs", disable=not progress)
    decode = partial(open_photo, crop=crop, side=side, draw=overlay is not None)
    # Names that are no UTF-8 go out as they came in.
    table = whole(out, "w", newline="", encoding="utf-8", errors="surrogateescape")
    with closing(bar), table as file:
        file.write(",".join(COLUMNS) + "\r\n")
        for photos in _decoded(names, batch, decode, skipped, bar):
            points = _points(found, photos.values(), channels, device)
            for (name, photo), landmarks in zip(photos.items(), points, strict=True):
                file.writelines(_rows(name, photo, landmarks))
                if overlay:
                    _draw(photo, landmarks, overlays[name])
        if len(skipped) == len(names):
            raise ValueError(
                f"none of {counted(len(names), 'photograph')} could be read; the "
                f"first: {skipped[0]}"
            )
    return skipped


def _decoded(
    names: list[str], batch: int, decode: Callable, skipped: list[str], bar: tqdm
) -> Iterator[dict[str, Photo]]:
    """Photographs by name, a batch at a time, while threads decode the next; what
    cannot be read becomes a line of ``skipped``."""
    parts = [names[i : i + batch] for i in range(0, len(names), batch)]

    def begin(part: list[str]) -> list:
        return [(name, workers().submit(decode, name)) for name in part]

    ahead = begin(parts[0])
    for following in [*parts[1:], []]:
        waiting, ahead = ahead, begin(following)
        photos = {}
        for name, future in waiting:
            try:
                photos[name] = future.result()
            except (UnreadableImage, OSError) as error:
                skipped.append(printable(str(error)))
                tqdm.write(f"skipped {skipped[-1]}", file=sys.stderr)
        if photos:
            yield photos
        bar.update(len(waiting))


def check_table(out: Path) -> None:
    """ValueError if a file is there that is no table of landmarks: it would be lost."""
    head = ",".join(COLUMNS).encode()
    if not out.exists():
        return
    with out.open("rb") as file:
        start = file.read(len(head))
    if start and start != head:
        raise ValueError(
            f"{out}: is there and no table of landmarks; it is not overwritten: give "
            "another name, or move it away"
        )


def _rows(name: str, photo: Photo, landmarks: list) -> Iterator[str]:
    width, height = photo.size
    file = table_name(name)
    for number, (x, y) in enumerate(landmarks):
        yield f"{file},{number},{x:.2f},{y:.2f},{width},{height}\r\n"


def table_name(name: str) -> str:
    """A file's name as a field of the table, in quotes where it needs them.

    A spreadsheet takes a field for a formula that begins with ``=``, ``+``, ``-`` or
    ``@``; where the name does not begin with a letter, a digit or one of ``./\\_~``,
    ``./`` is put before it, which names the same file. Quotes hold separators of all
    languages' spreadsheets: comma, semicolon and tabulator.
    """
    if not (name[:1].isalnum() or name[:1] in "./\\_~"):
        name = f"./{name}"
    if any(letter in name for letter in ',;\t\r\n"'):
        return '"' + name.replace('"', '""') + '"'
    return name


def _points(found: Landmarker, photos, channels: int, device) -> list:
    """Landmarks of some photographs in their own pixels, ``(N, K, 2)`` as lists."""
    images = torch.from_numpy(np.stack([photo.pixels for photo in photos]))
    images = with_channels(images.to(device).float() / 255, channels)
    points = found.landmarks(images).cpu()
    return from_box(points, torch.tensor([photo.box for photo in photos])).tolist()


def overlay_paths(names: list[str], overlay: Path) -> dict[str, Path]:
    """Where each photograph's overlay goes: below ``overlay``, as the photographs lie
    below the folder that holds them all.

    ``me.png`` becomes ``me.jpg`` or, where two would be one file or an overlay would
    replace a photograph, ``me.png.jpg``.
    """
    real = {name: Path(os.path.abspath(name)) for name in names}
    photographs = {path.resolve() for path in real.values()}
    try:
        root = Path(os.path.commonpath([path.parent for path in real.values()]))
    except ValueError:  # drives of Windows have no folder in common
        root = None

    def below(path: Path) -> Path:
        if root is not None:
            return Path(os.path.relpath(path, root))
        return Path(path.drive.strip(":\\/"), *path.parts[1:])

    def key(path: Path) -> str:  # file systems may not tell A from a
        return str(path).casefold()

    plain = {name: below(path).with_suffix(".jpg") for name, path in real.items()}
    often = Counter(key(_fitting(path)) for path in plain.values())
    taken, made = set(), {}
    for name, path in plain.items():
        target = overlay / _fitting(path)
        if often[key(_fitting(path))] > 1 or target.resolve() in photographs:
            longer = below(real[name])
            longer = longer.with_name(longer.name + ".jpg")
            while True:
                target = overlay / _fitting(longer)
                free = key(target) not in taken and target.resolve() not in photographs
                if free and often[key(_fitting(longer))] == 0:
                    break
                longer = longer.with_name("_" + longer.name)
        taken.add(key(target))
        made[name] = target
    return made


def _fitting(path: Path) -> Path:
    """A name that would grow beyond the 255 bytes file systems allow ends in a hash of
    itself in place of its tail."""
    last = os.fsencode(path.name)
    if len(last) <= 244:
        return path
    digest = hashlib.sha256(last).hexdigest()[:16]
    return path.with_name(f"{last[:200].decode('utf-8', 'ignore')}-{digest}.jpg")


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
    encoded = BytesIO()
    image.save(encoded, "JPEG", quality=88)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as file:
        file.write(encoded.getbuffer())
