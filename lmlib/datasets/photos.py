"""One image file to pixels, whatever the file is.

Photographs come turned by their EXIF tag, in grey, with a palette, with alpha, in CMYK
for print or with sixteen bits. ``read_photo`` makes upright RGB of all of them, or says
in one line why it cannot.
"""

import math
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm")
LARGEST = 200_000_000  # pixels; decoded, that is .6 GB

# Of large images, where LARGEST decides, and of odd tags. Once and for all: several
# threads read at a time, and filters are the whole process's.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module="PIL")


class UnreadableImage(ValueError):
    """A file that is no image, or not a whole one; the message names it and why."""


def read_photo(
    path: str | Path, needed: int | None = None, turn: bool = True
) -> Image.Image:
    """An upright RGB image; transparent parts lie on white.

    ``needed``: a JPEG may be decoded at a fraction of its size while its shorter side
    keeps that many pixels, which is several times faster for camera files. ``turn``
    as False leaves the image as it is stored, whatever its EXIF tag says.

    Raises:
        UnreadableImage: missing, empty, not an image, truncated or enormous.
    """
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            raise UnreadableImage(f"{path}: the file is empty (0 bytes)")
        with Image.open(path) as image:
            width, height = image.size
            if width * height > LARGEST:
                raise UnreadableImage(
                    f"{path}: {width} x {height} pixels are more than {LARGEST}"
                )
            if needed and image.format == "JPEG":
                share = needed / min(width, height)
                aim = math.ceil(width * share), math.ceil(height * share)
                image.draft("RGB", aim)
            image.load()
            return _as_rgb(ImageOps.exif_transpose(image) if turn else image)
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(
            f"{path}: not an image: no format that Pillow knows begins like this file"
        ) from None
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"{path}: {error}") from None
    except FileNotFoundError:
        raise UnreadableImage(f"{path}: no such file") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise UnreadableImage(f"{path}: damaged or truncated image ({error})") from None


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        # "I" holds 16 bits (PNG) as a rule; "F" (TIFF) the unit interval or bytes.
        peak = values.max(initial=0)
        white = next((x for x in (1.0, 255.0, 65535.0) if peak <= x), peak)
        if image.mode != "F":
            white = max(white, 65535.0)
        bytes_ = np.clip(np.nan_to_num(values) / white * 255, 0, 255).round()
        return Image.fromarray(bytes_.astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        clear = image.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        return Image.alpha_composite(white, clear).convert("RGB")
    return image.convert("RGB")


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
    return left * width, top * height, right * width, bottom * height


def cut(image: Image.Image, box: Box, size: tuple[int, int]) -> np.ndarray:
    """The box of an RGB image at ``size`` (height, width): ``(3, H, W)`` bytes.

    Antialiased. Where the box reaches over the edge, the edge's colours go on.
    """
    left, top, right, bottom = box
    if not (right > left and bottom > top):
        raise ValueError(f"an empty box: left, top, right, bottom = {box}")
    # Only what the box needs is padded, in whole pixels.
    x0, y0 = math.floor(left), math.floor(top)
    x1, y1 = math.ceil(right), math.ceil(bottom)
    pads = max(0, -x0), max(0, -y0), max(0, x1 - image.width), max(0, y1 - image.height)
    if any(pads):
        inner = (
            min(max(0, x0), image.width - 1),
            min(max(0, y0), image.height - 1),
            max(1, min(x1, image.width)),
            max(1, min(y1, image.height)),
        )
        part = np.asarray(image.crop(inner))
        widths = (
            (inner[1] - y0, max(0, y1 - inner[3])),
            (inner[0] - x0, max(0, x1 - inner[2])),
            (0, 0),
        )
        widths = tuple((max(0, a), max(0, b)) for a, b in widths)
        part = np.pad(part, widths, mode="edge")
        image = Image.fromarray(part)
        box = (left - x0, top - y0, right - x0, bottom - y0)
    height, width = size
    small = image.resize(
        (width, height), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0
    )
    return np.asarray(small).transpose(2, 0, 1)


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
