"""Texts of the command line as values."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

Ends = tuple[int | None, int | None]  # of a range of image numbers


def read_crop(text: str):
    """A crop's name, or the four shares ``L,T,R,B`` as numbers."""
    if "," not in text:
        return text
    try:
        left, top, right, bottom = map(float, text.split(","))
    except ValueError:
        left = right = top = bottom = 0
    reach = max(map(abs, (left, top, right, bottom)))
    if not (left < right and top < bottom and reach <= 100):  # not so for NaN
        raise ValueError(
            "crop must be a name or left,top,right,bottom as shares of width and "
            f"height, such as 0.1,0,0.9,1; got {brief(repr(text))}"
        )
    return left, top, right, bottom


def read_share(text: str) -> float:
    """``5%`` or ``all`` as a number in (0, 1]."""
    try:
        share = 1.0 if text == "all" else float(text.removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0 < share <= 1 or (text != "all" and not text.endswith("%")):
        raise ValueError(
            f"labels must be all or a share such as 5%, got {brief(repr(text))}"
        )
    return share


def read_ends(text: str) -> Ends:
    """``A:B`` as two numbers; both ends may be left out."""
    first, colon, last = text.partition(":")
    numbers = (end.isdecimal() and len(end) < 16 for end in (first, last))
    both = zip((first, last), numbers, strict=True)
    ends = tuple(int(end) if number else None for end, number in both)
    if not colon or any(map(_differ, (first, last), ends)):
        raise ValueError(
            f"expected image numbers A:B, 0 <= A < B, got {brief(repr(text))}"
        )
    return ends


def _differ(text: str, number: int | None) -> bool:
    return bool(text) and number is None


def read_images(text: str, split: str) -> tuple[str, Ends | None]:
    """``SPLIT``, ``A:B`` of ``split``, or ``SPLIT:A:B``."""
    if not text[:1].isalpha():
        return split, read_ends(text)
    name, colon, ends = text.partition(":")
    return name, read_ends(ends) if colon else None


def as_range(ends: Sequence[int | None] | None, count: int) -> range:
    """Image numbers between two ends, of ``count`` images; None: all."""
    first, last = ends or (None, None)
    start, stop = first or 0, count if last is None else last
    if not 0 <= start < stop <= count:
        raise ValueError(
            f"expected image numbers A:B with 0 <= A < B <= {count}, got "
            f"'{'' if first is None else first}:{'' if last is None else last}'"
        )
    return range(start, stop)


def check_writable(path: Path) -> None:
    """Make the folder of a file that will be written; OSError if it cannot be."""
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder, expected the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(f"{path.parent}: cannot write there ({error.strerror})") from None


def printable(text: str) -> str:
    """One line that a terminal shows and does not obey: control characters, line
    breaks and what is no text appear as their escapes."""
    return "".join(
        letter
        if letter.isprintable()
        else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def brief(text: str, most: int = 80) -> str:
    """One line of at most so many letters, for a message; see ``printable``."""
    return printable(text if len(text) <= most else text[: most - 3] + "...")


def counted(number: int, thing: str) -> str:
    """``1 photograph``, ``2 photographs``."""
    return f"{number} {thing}{'s' * (number != 1)}"


def positive(text: str) -> int:
    """A whole number above zero, for a parser."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return int(text)
