"""One image file to pixels, whatever the file is.

Photographs come turned by their EXIF tag, in grey, with a palette, with alpha, in CMYK
for print or with sixteen bits. ``read_photo`` makes upright RGB of all of them, or says
in one line why it cannot. Files are not trusted: only ``FORMATS`` are decoded, and
neither an image nor a box takes more memory than the limits below allow.
"""

import math
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm")
# What is decoded, whatever a file is called. Pillow knows many more formats; some start
# other programs (EPS), and some break on odd files in ways of their own.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
LARGEST = 178_956_970  # pixels of an image (Pillow's own limit), and of all at a time
LARGEST_BOX = 50_000_000  # pixels of a box that is padded at full size
FARTHEST = 100  # a box reaches at most so many times the image's longer side
BAND = 1_000_000  # pixels converted at a time: as floats, they take eight bytes each

# Of large images, where LARGEST decides, and of odd tags. Once and for all: several
# threads read at a time, and filters are the whole process's.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module="PIL")


class UnreadableImage(ValueError):
    """A file that is no image, or not a whole one; the message names it and why."""


class Photo(NamedTuple):
    """A decoded image, and the size (width, height) that its file has upright."""

    image: Image.Image
    size: tuple[int, int]


class _Room:
    """Decoding for ``pixels`` at a time; one image always, however large it is."""

    def __init__(self, pixels: int):
        self.pixels, self.used, self.changed = pixels, 0, threading.Condition()

    @contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        with self.changed:
            self.changed.wait_for(
                lambda: not self.used or self.used + pixels <= self.pixels
            )
            self.used += pixels
        try:
            yield
        finally:
            with self.changed:
                self.used -= pixels
                self.changed.notify_all()


_ROOM = _Room(LARGEST)


def read_photo(
    path: str | Path, needed: int | None = None, turn: bool = True
) -> Image.Image:
    """An upright RGB image; transparent parts lie on white.

    ``needed``: a JPEG may be decoded at a fraction of its size while its shorter side
    keeps that many pixels, which is several times faster for camera files. ``turn``
    as False leaves the image as it is stored, whatever its EXIF tag says.

    Raises:
        UnreadableImage: missing, not to be opened, empty, not an image, truncated or
            enormous.
    """
    with opened_photo(path, needed, turn) as photo:
        return photo.image


@contextmanager
def opened_photo(
    path: str | Path, needed: int | None = None, turn: bool = True
) -> Iterator[Photo]:
    """``read_photo`` for a while: other threads wait where there is no room for more.

    To be left as soon as a small part of the image has been made.
    """

    def decoded(image: Image.Image, load: Callable) -> Photo:
        size = image.size
        if needed and image.format == "JPEG":
            share = needed / min(size)
            image.draft("RGB", tuple(math.ceil(side * share) for side in size))
        load()
        if turn:
            tag = image.getexif().get(ExifTags.Base.Orientation, 1)
            size = size[::-1] if tag in (5, 6, 7, 8) else size
            image = ImageOps.exif_transpose(image)
        return Photo(_as_rgb(image), size)

    with _decoding(Path(path), decoded) as photo:
        yield photo


@contextmanager
def opened_classes(path: Path) -> Iterator[Image.Image]:
    """A map of class numbers: palette indices, never colours.

    Raises:
        UnreadableImage: as ``read_photo``, and an image of colours.
    """

    def decoded(image: Image.Image, load: Callable) -> Image.Image:
        if image.mode not in ("P", "L"):
            raise UnreadableImage(
                f"{path}: expected a parse map, with a palette or grey, got "
                f"{image.mode}"
            )
        load()
        return Image.fromarray(np.asarray(image))

    with _decoding(path, decoded) as classes:
        yield classes


@contextmanager
def _decoding(path: Path, decoded: Callable) -> Iterator:
    """What ``decoded`` makes of an opened image and of a function that decodes its
    pixels, once there is room; all that goes wrong, in one line."""
    with ExitStack() as held:

        def load(image: Image.Image) -> None:
            held.enter_context(_ROOM.of(math.prod(image.size)))
            image.load()

        try:
            with path.open("rb") as file:
                if not path.stat().st_size:
                    raise UnreadableImage(f"{path}: the file is empty (0 bytes)")
                with Image.open(file, formats=FORMATS) as image:
                    pixels = math.prod(image.size)
                    if not 0 < pixels <= LARGEST:
                        fault = f"are more than {LARGEST}" if pixels else "are none"
                        raise UnreadableImage(
                            f"{path}: {image.width} x {image.height} pixels {fault}"
                        )
                    made = decoded(image, partial(load, image))
        except UnreadableImage:
            raise
        except UnidentifiedImageError:
            raise UnreadableImage(
                f"{path}: not an image: it begins like none of {', '.join(FORMATS)}"
            ) from None
        except FileNotFoundError:
            raise UnreadableImage(f"{path}: no such file") from None
        except Image.DecompressionBombError:
            raise UnreadableImage(
                f"{path}: its pixels are more than {LARGEST}"
            ) from None
        except OSError as error:
            if error.errno:  # the system's and not the decoder's
                raise UnreadableImage(
                    f"{path}: cannot be read ({error.strerror})"
                ) from None
            raise _damaged(path, error) from None
        except Exception as error:  # decoders of damaged files fail in many ways
            raise _damaged(path, error) from None
        yield made


def _damaged(path: Path, error: Exception) -> UnreadableImage:
    why = " ".join(str(error).split()) or type(error).__name__
    return UnreadableImage(f"{path}: damaged or truncated image ({why})")


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _from_deep(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _on_white(image)
    return image.convert("RGB")


def _bands(image: Image.Image) -> Iterator[tuple[int, int]]:
    """First and last row of parts of an image that are small enough to copy."""
    rows = max(1, BAND // image.width)
    for top in range(0, image.height, rows):
        yield top, min(top + rows, image.height)


def _from_deep(image: Image.Image) -> Image.Image:
    """Sixteen bits or floats, scaled by the range they use."""
    values = np.asarray(image)
    # "I" holds 16 bits (PNG) as a rule; "F" (TIFF) the unit interval or bytes.
    peak = 65535.0
    if image.mode in ("I", "F"):
        parts = (values[top:end] for top, end in _bands(image))
        peak = max(float(part[np.isfinite(part)].max(initial=0)) for part in parts)
    white = next((x for x in (1.0, 255.0, 65535.0) if peak <= x), peak)
    if image.mode != "F":
        white = max(white, 65535.0)
    gray = np.empty(values.shape, np.uint8)
    for top, end in _bands(image):
        with np.errstate(invalid="ignore"):  # NaN is black
            shares = np.clip(values[top:end].astype(np.float64) / white, 0, 1)
        gray[top:end] = (np.nan_to_num(shares) * 255).round()
    return Image.fromarray(gray).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """The image as it looks on white paper."""
    made = Image.new("RGB", image.size)
    for top, end in _bands(image):
        clear = image.crop((0, top, image.width, end)).convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        made.paste(Image.alpha_composite(white, clear).convert("RGB"), (0, top))
    return made


Box = tuple[float, float, float, float]  # left, top, right, bottom; edges, in pixels


def frame(size: tuple[int, int], crop: str | Box) -> Box:
    """The part of an image of ``size`` (width, height) to look at, in pixels.

    ``"centre"``: the largest square in the middle; ``"pad"``: the smallest square
    around the image; ``"squash"``: all of it, whatever its shape. Four numbers: shares
    of width and height, ``(0, 0, 1, 1)`` is all.
    """
    width, height = size
    if crop == "squash":
        return 0.0, 0.0, float(width), float(height)
    if crop in ("centre", "pad"):
        side = (min if crop == "centre" else max)(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side
    if isinstance(crop, str) or len(crop) != 4:
        raise ValueError(
            f"crop must be centre, pad, squash or four numbers, not {crop}"
        )
    left, top, right, bottom = crop
    # not so for NaN
    if not (left < right and top < bottom and max(map(abs, crop)) <= FARTHEST):
        raise ValueError(
            f"crop must be left < right and top < bottom, none beyond {FARTHEST} times "
            f"the image, got {crop}"
        )
    return left * width, top * height, right * width, bottom * height


def cut(image: Image.Image, box: Box, size: tuple[int, int]) -> np.ndarray:
    """The box of an RGB image at ``size`` (height, width): ``(3, H, W)`` bytes.

    Antialiased. Where the box reaches over the edge, the edge's colours go on.

    Raises:
        ValueError: an empty box, or one that reaches absurdly far.
    """
    left, top, right, bottom = box
    if not (right > left and bottom > top):
        raise ValueError(f"an empty box: left, top, right, bottom = {box}")
    if max(map(abs, box)) > FARTHEST * max(image.size):
        raise ValueError(
            f"the box {box} reaches more than {FARTHEST} times as far as the image of "
            f"{image.width} x {image.height} pixels"
        )
    if any(_pads(image, box)):
        if _area(box) > LARGEST_BOX:
            image, box = _shrunk(image, box, size)
        if _area(box) > LARGEST:  # of a line of pixels, say
            raise ValueError(
                f"the box {box} is too large for an image of {image.width} x "
                f"{image.height} pixels"
            )
        image, box = _padded(image, box)
    height, width = size
    small = image.resize(
        (width, height), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0
    )
    return np.asarray(small).transpose(2, 0, 1)


def _area(box: Box) -> float:
    left, top, right, bottom = box
    return math.ceil(right - left) * math.ceil(bottom - top)


def _pads(image: Image.Image, box: Box) -> tuple[int, int, int, int]:
    """Whole pixels that a box reaches over the left, upper, right and lower edge."""
    left, top, right, bottom = box
    return (
        max(0, -math.floor(left)),
        max(0, -math.floor(top)),
        max(0, math.ceil(right) - image.width),
        max(0, math.ceil(bottom) - image.height),
    )


def _inner(image: Image.Image, box: Box) -> tuple[int, int, int, int]:
    """The whole pixels of the image that a box needs; beside it, one of the edge."""
    left, top, right, bottom = box
    return (
        min(max(0, math.floor(left)), image.width - 1),
        min(max(0, math.floor(top)), image.height - 1),
        max(1, min(math.ceil(right), image.width)),
        max(1, min(math.ceil(bottom), image.height)),
    )


def _padded(image: Image.Image, box: Box) -> tuple[Image.Image, Box]:
    """Only what the box needs, in whole pixels, with the edge's colours around it."""
    left, top, right, bottom = box
    x0, y0, inner = math.floor(left), math.floor(top), _inner(image, box)
    widths = (
        (inner[1] - y0, math.ceil(bottom) - inner[3]),
        (inner[0] - x0, math.ceil(right) - inner[2]),
        (0, 0),
    )
    widths = tuple((max(0, a), max(0, b)) for a, b in widths)
    part = np.pad(np.asarray(image.crop(inner)), widths, mode="edge")
    return Image.fromarray(part), (left - x0, top - y0, right - x0, bottom - y0)


def _shrunk(
    image: Image.Image, box: Box, size: tuple[int, int]
) -> tuple[Image.Image, Box]:
    """Image and box at about three times the wanted ``size``, as ``resize`` itself
    begins; before padding, so that the padding is small."""
    left, top, right, bottom = box
    inner = _inner(image, box)
    # Pillow sums the bytes of a block in 32 bits: not more than 4,000 x 4,000.
    across = min(max(1, int((right - left) / size[1] / 3)), 4000)
    down = min(max(1, int((bottom - top) / size[0] / 3)), 4000)
    part = image.crop(inner)
    small = np.asarray(part.reduce((across, down)))
    # What goes on are the colours of the edge and not those of the blocks along it.
    ring = np.pad(small, ((1, 1), (1, 1), (0, 0)), mode="edge")
    width, height = part.size
    for row, y in ((0, 0), (-1, height - 1)):
        line = part.crop((0, y, width, y + 1))
        ring[row, 1:-1] = np.asarray(line.reduce((across, 1)))[0]
        ring[row, 0], ring[row, -1] = (
            line.getpixel((0, 0)),
            line.getpixel((width - 1, 0)),
        )
    for column, x in ((0, 0), (-1, width - 1)):
        line = part.crop((x, 0, x + 1, height))
        ring[1:-1, column] = np.asarray(line.reduce((1, down)))[:, 0]
    shift, by = inner[:2] * 2, (across, down) * 2
    moved = [(edge - s) / b + 1 for edge, s, b in zip(box, shift, by, strict=True)]
    return Image.fromarray(ring), tuple(moved)


def find_faces(photo: Image.Image, smallest: float = 1 / 6) -> list[Box]:
    """Square boxes of upright frontal faces in a photograph, the largest first.

    scikit-image's cascade of local binary patterns: fast, without weights to download,
    and easily missed by profiles and tilted heads (of 104 faces of MTFL it missed 5).
    Faces narrower than ``smallest`` of the photograph's shorter side are not looked
    for. The boxes hold of a face what ``datasets.faces.mtfl`` cuts out.
    """
    import skimage.data
    from skimage.feature import Cascade

    shrink = min(1.0, 480 / min(photo.size))  # enough to see a face
    small = photo.resize([max(1, round(side * shrink)) for side in photo.size])
    least = max(24, round(smallest * min(small.size)))  # the cascade sees 24 pixels
    if min(small.size) < least:
        return []
    found = Cascade(
        skimage.data.lbp_frontal_face_cascade_filename()
    ).detect_multi_scale(
        img=np.asarray(small),
        scale_factor=1.15,
        step_ratio=1,
        min_size=(least, least),
        max_size=(min(small.size),) * 2,
    )
    boxes = []
    for face in sorted(found, key=lambda face: -face["width"]):
        # Medians over faces of MTFL: the cascade's box is tighter and a little high.
        half = 1.37 / 2 * face["width"]
        x = face["c"] + 0.51 * face["width"]
        y = face["r"] + 0.56 * face["width"]
        box = (x - half, y - half, x + half, y + half)
        boxes.append(tuple(edge / shrink for edge in box))
    return boxes
