"""Images, idx files, crops and names, damaged in every way (see ``fuzzing.py``)."""

import gzip
import math
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from fuzzing import (
    MEMORY,
    TOKENS,
    damaged,
    encoded,
    fuzz,
    holds,
    parse_maps,
    peak_memory,
)
from hypothesis import strategies as st
from PIL import Image

from lmlib.datasets import photos
from lmlib.datasets.idx import FILES, Idx, read_idx
from lmlib.datasets.photos import cut, frame, read_photo
from lmlib.datasets.tryon import read_classes
from lmlib.predict import crop_of, overlay_paths, table_name
from lmlib.texts import printable, read_crop

pytestmark = pytest.mark.filterwarnings("ignore")  # of what was left out, and Pillow's


# --- digits ---------------------------------------------------------------------------

PIXELS = struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 4, 4) + bytes(range(32))
LABELS = struct.pack(">BBBBI", 0, 0, 8, 1, 2) + b"\3\4"
SIZES = [struct.pack(">I", n) for n in (0, 1, 2**16, 2**31, 2**32 - 1)]


@fuzz(damaged(PIXELS, LABELS, tokens=[*SIZES, b"\0", b"\xff" * 40]), st.booleans())
def test_idx(place, content, zipped):
    for old in (place / "mnist").glob("*"):
        old.unlink()
    (place / "mnist").mkdir(exist_ok=True)
    path = place / "mnist" / (FILES["train"][0] + ".gz" * zipped)
    path.write_bytes(gzip.compress(content, 1) if zipped else content)
    array = holds(lambda: read_idx(path), path)
    if array is not None:
        assert array.dtype == np.uint8 and array.ndim in (1, 3)
    (place / "mnist" / FILES["train"][1]).write_bytes(LABELS)
    data = holds(lambda: Idx(folder=path.parent, size=8), path.parent)
    if data is not None:
        assert data.batch(range(1))["image"].shape == (1, 1, 8, 8)


@fuzz(damaged(gzip.compress(PIXELS), gzip.compress(bytes(3_000_000))))
def test_gzip(place, content):
    path = place / "a.gz"
    path.write_bytes(content)
    holds(lambda: read_idx(path), path)


# --- photographs ----------------------------------------------------------------------


def all_kinds() -> list[bytes]:
    """A small image in each format and mode that is read."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8))
    rgba = Image.fromarray(rng.integers(0, 256, (12, 16, 4)).astype(np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (12, 16)).astype(np.uint16))
    real = Image.fromarray(rng.random((12, 16)).astype(np.float32))
    whole = Image.fromarray(rng.integers(0, 70_000, (12, 16)).astype(np.int32))
    gray, bits, palette = rgb.convert("L"), rgb.convert("1"), rgb.quantize(16)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    kinds = [encoded(rgb, kind) for kind in photos.FORMATS]
    kinds += [encoded(rgb, "JPEG", exif=exif, progressive=True, quality=60)]
    kinds += [encoded(rgb.convert("CMYK"), "JPEG"), encoded(gray, "JPEG")]
    kinds += [encoded(rgb, "MPO", save_all=True, append_images=[gray.convert("RGB")])]
    kinds += [encoded(each, "PNG") for each in (rgba, deep, gray, bits, palette)]
    kinds += [encoded(palette, "PNG", transparency=3), encoded(rgb, "PNG", exif=exif)]
    kinds += [encoded(rgba.convert("LA"), "PNG"), encoded(rgba, "WEBP", lossless=True)]
    kinds += [
        encoded(each, "TIFF") for each in (deep, real, whole, bits, rgba, palette)
    ]
    for how in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4"):
        kinds.append(encoded(bits if how == "group4" else rgb, "TIFF", compression=how))
    kinds += [encoded(rgb.convert("CMYK"), "TIFF"), encoded(rgb.convert("LAB"), "TIFF")]
    kinds += [encoded(palette, "GIF", transparency=2), encoded(gray, "PPM")]
    kinds += [encoded(rgb, "GIF", save_all=True, append_images=[gray], duration=9)]
    kinds += [encoded(bits, "PPM"), encoded(real, "PPM"), encoded(bits, "BMP")]
    kinds += [
        b"P3 4 2 255\n" + b"1 2 3 " * 8,
        b"P1 4 2\n0 1 0 1 1 1 0 0",
        encoded(palette, "BMP"),
    ]
    return kinds


LENGTHS = [struct.pack(order + kind, n) for order in "<>" for kind, n in
           (("H", 0), ("H", 65535), ("I", 0), ("I", 2**31 - 1), ("I", 2**32 - 1),
            ("I", 1000), ("H", 6), ("H", 999))]  # fmt: skip


@fuzz(damaged(*all_kinds(), tokens=LENGTHS), st.sampled_from([None, 4, 40]), share=2)
def test_photographs(place, content, needed):
    path = place / "photo.jpg"
    path.write_bytes(content)
    image = holds(lambda: read_photo(path, needed), path)
    if image is not None:
        assert image.mode == "RGB" and 0 < math.prod(image.size) <= photos.LARGEST
        assert cut(image, frame(image.size, "pad"), (8, 8)).shape == (3, 8, 8)


@fuzz(damaged(*parse_maps()))
def test_parse_maps(place, content):
    path = place / "parse.png"
    path.write_bytes(content)
    classes = holds(lambda: read_classes(path), path)
    if classes is not None:
        assert classes.mode == "L" and np.asarray(classes).dtype == np.uint8


# --- crops and names ------------------------------------------------------------------

EDGES = st.floats(-3, 3) | st.floats() | st.sampled_from([0.0, 1.0, 1e-9, -1e9, 100.0])
CROPS = ["centre", "pad", "0.1,0,0.9,1", "face*1.3", "-1,-1,2,2"]


@fuzz(
    st.sampled_from(CROPS).flatmap(lambda crop: damaged(crop.encode()))
    | st.tuples(EDGES, EDGES, EDGES, EDGES).map(
        lambda edges: ",".join(map(repr, edges)).encode()
    ),
    st.sampled_from([(1, 1), (40, 30), (3, 900)]),
    st.sampled_from([(8, 8), (1, 60)]),
)
def test_crops(content, size, wanted):
    text = content.decode("utf-8", "replace")
    before = peak_memory(reset=True)
    try:
        crop_of(text)
        crop = read_crop(text)
        pixels = cut(Image.new("RGB", size), frame(size, crop), wanted)
    except ValueError as error:
        assert "crop" in str(error) or "box" in str(error), error
    else:
        assert pixels.shape == (3, *wanted)
    assert peak_memory() - before < MEMORY


LETTER = st.sampled_from(range(1, 256)).map(lambda code: bytes([code]))
PART = st.lists(LETTER, min_size=1, max_size=30).map(b"".join) | st.sampled_from(
    [name for name in TOKENS if name.strip(b"\0") and len(name) < 256]
)
FILE = st.lists(PART, min_size=1, max_size=4).map(
    lambda parts: os.fsdecode(b"/".join(part.replace(b"\0", b"0") for part in parts))
)


@pytest.mark.skipif(sys.platform == "win32", reason="its names have more rules")
@fuzz(st.lists(FILE, min_size=1, max_size=6, unique=True))
def test_names(names):
    """Of photographs: overlays never meet, and no field of the table is a formula."""
    names = [name for name in names if Path(name).name not in ("", ".", "..")]
    if not names:
        return
    made = overlay_paths(names, Path("over"))
    assert len({str(path).casefold() for path in made.values()}) == len(names)
    for name, path in made.items():
        assert path.suffix == ".jpg" and ".." not in path.parts[:-1]
        assert path.parts[0] == "over"
        assert table_name(name).lstrip('"')[0] not in "=+-@\t\r\n"
        assert printable(name).isprintable()
