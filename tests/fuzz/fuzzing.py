"""How the fuzz targets try their inputs, damage files, and hold the rule.

The rule: any input gives a valid result, or a ValueError or OSError whose message names
the file, in one line; no other exception, and no more than a bounded amount of memory.

``make test`` tries a few hundred inputs a target, always the same. ``make fuzz`` tries
``LMLIB_FUZZ_EXAMPLES`` of each, other ones each time. Both print how many there were.

Hypothesis draws a number for each damaged file, and ``damage`` makes the file of it:
twenty times as fast as to draw every byte of every change.
"""

import io
import os
import re
import time
from collections import Counter
from functools import wraps
from pathlib import Path
from random import Random

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

LONG = os.environ.get("LMLIB_FUZZ_EXAMPLES")
EXAMPLES = int(LONG or 250)
MEMORY = 150e6  # bytes that one input may take for a while
SLOW = 10  # seconds that one input may take: what is quadratic shows
TRIED: Counter[str] = Counter()


def fuzz(*strategies, share=1.0, **named):
    """Try a target on many inputs; one that is slow gets a ``share`` of them."""

    def with_settings(test):
        @wraps(test)
        def counting(*arguments, **more):
            TRIED[test.__name__] += 1
            started = time.process_time()
            test(*arguments, **more)
            # Of computing: on a machine that does much else, any input takes long.
            assert time.process_time() - started < SLOW

        tried = settings(
            max_examples=max(10, round(EXAMPLES * share)),
            derandomize=LONG is None,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        )
        return tried(given(*strategies, **named)(counting))

    return with_settings


# --- the rule -------------------------------------------------------------------------


try:
    import resource

    _RESET = os.open("/proc/self/clear_refs", os.O_WRONLY)
except (ImportError, OSError):
    _RESET = None


def peak_memory(reset: bool = False) -> int:
    """Bytes of this process at the most, since the last reset; 0 where it is not known
    (anywhere but on Linux)."""
    if _RESET is None:
        return 0
    if reset:
        os.write(_RESET, b"5")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def holds(call, *named: Path | str):
    """What ``call`` gives, or None for an error of the right kind."""
    before = peak_memory(reset=True)
    result = None
    try:
        result = call()
    except (ValueError, OSError) as error:
        message = str(error)
        assert any(str(path) in message for path in named), message
        assert "\n" not in message and len(message) < 3000, message
    assert peak_memory() - before < MEMORY
    return result


def check_set(data, most: int = 4):
    """A data set that was read gives valid batches, or names the file that fails."""

    folder = Path(os.path.commonpath([data.paths[0].parent, data.paths[-1].parent]))
    before = peak_memory(reset=True)
    try:
        batch = data.batch(range(min(len(data), most)))
    except (ValueError, OSError) as error:
        assert str(folder) in str(error), error
        return
    finally:
        assert peak_memory() - before < MEMORY
    image = batch["image"]
    assert image.isfinite().all() and image.min() >= 0 and image.max() <= 1
    if "landmarks" in batch:
        points = batch["landmarks"][batch["visible"]]
        assert (
            points.isfinite().all() and points.abs().max(initial=0) <= 1
            if (isinstance(points, np.ndarray))
            else (points.isfinite().all() and (points.abs() <= 1).all())
        )


# --- inputs ---------------------------------------------------------------------------

NUMBERS = (
    "0 -1 nan inf -inf 1e300 1e-300 1e30 999999 1000001 20000 -0 1_0 0x10 1e5 1.5.5"
)
NUMBERS = [word.encode() for word in (*NUMBERS.split(), "9" * 400, "9" * 5000, "٣", "")]
NAMES = [".. ../a.jpg /etc/passwd C:\\a.jpg \\\\host\\a \0 . con =1+1 \u202e \x1b[31m"]
NAMES = [word.encode() for word in (*NAMES[0].split(" "), "a" * 300, "a/" * 200, "a b")]
MARKS = [
    "\n",
    "\r\n",
    "\r",
    " ",
    "\t",
    "\0",
    "\x0b",
    "\x1c",
    "\u2028",
    "\n\n\n",
    "\ufeff",
]
MARKS = [mark.encode() for mark in (*MARKS, *"{}[]<>&,:", '"')] + [b"\xc3", b"\xff\xfe"]
TOKENS = NUMBERS + NAMES + MARKS
WORD = re.compile(rb"[^\s,:=\"<>{}\[\]]+")
KINDS = (
    "word word word word token token insert cut copy flip flip byte byte end".split()
)


TIMES = [0, 1, 1, 1, 1, 1, 2, 2, 3, 6]  # of several, the first one ends the reading


def damaged(*originals: bytes, tokens=TOKENS):
    """Valid files after a few changes; seldom, anything at all."""
    return st.integers(0, 2**62).map(lambda seed: damage(seed, originals, tokens))


def damage(seed: int, originals, tokens=TOKENS) -> bytes:
    """One of the files, changed as the number says."""
    draw = Random(seed)
    if draw.random() < 0.05:
        return draw.randbytes(draw.randrange(400))
    content = bytearray(draw.choice(originals))
    for _ in range(draw.choice(TIMES)):
        _change(draw, content, tokens)
        del content[2_000_000:]
    return bytes(content)


def _change(draw: Random, content: bytearray, tokens) -> None:
    kind, at = draw.choice(KINDS), draw.randint(0, max(len(content), 1))
    size = draw.choice([1, 2, 4, 8, 30, 200, 5000])
    if kind == "insert":
        content[at:at] = draw.randbytes(draw.randint(0, 12))
    elif kind == "token":
        content[at : at + draw.choice([0, 1, 3])] = draw.choice(tokens)
    elif kind == "word":  # a whole one, in place of another
        words = [found.span() for found in WORD.finditer(content)] or [(at, at)]
        start, end = draw.choice(words)
        content[start:end] = draw.choice(tokens)
    elif kind == "cut":
        del content[at : at + size]
    elif kind == "copy":
        content[at:at] = content[at : at + size] * draw.choice([1, 2, 50])
    elif kind == "flip" and at < len(content):
        content[at] ^= 1 << draw.randint(0, 7)
    elif kind == "byte" and at < len(content):
        content[at] = draw.choice([0, 1, 127, 128, 254, 255])
    elif kind == "end":
        del content[at:]


WRITTEN: dict[Path, bytes] = {}


def put(path: Path, content: bytes) -> Path:
    """Write a file, unless it says just that already."""
    if WRITTEN.get(path) != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        WRITTEN[path] = content
    return path


def picture(path: Path, size=(30, 36), **save) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path, **save)
    return path


def encoded(image: Image.Image, kind: str, **save) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **save)
    return buffer.getvalue()


def parse_maps() -> list[bytes]:
    """Small maps of classes: plain, with a palette, of bits."""
    classes = Image.fromarray((np.arange(30 * 36).reshape(36, 30) % 20).astype("u1"))
    palette = classes.copy()
    palette.putpalette([c for k in range(256) for c in (255 - k, k, 7)])
    bits = Image.fromarray(np.arange(1080).reshape(36, 30) % 3 == 0)
    return [encoded(image, "PNG") for image in (classes, palette, bits)]
