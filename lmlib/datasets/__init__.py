"""Real data sets on disk, in their official layouts, and the drawn ones beside them.

``open_data("mtfl:/data/MTFL", "train", 100)`` gives what training needs: ``len``,
``indices`` and ``batch(indices, device)``. Without a path, sets are looked for under
``LMLIB_DATA`` (several folders, separated as in ``PATH``) and under ``data/downloads``.

Every reader has the same rules. Images come in the order of the set's own list. The
folder may be given one level too high, where only one folder below it fits; any other
level is an error that names the right folder, if it is near. An annotation without its
image is an error with file and line; ``partial=True`` leaves it out and warns.

Files are not trusted. Whatever is in them, a reader gives valid data or raises a
ValueError or OSError that names the file; a list cannot name files outside of its
folder; and no file takes more memory than the limits here and in ``photos`` allow.
"""

import importlib
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path, PureWindowsPath

from lmlib.places import repository_root

# Where each reader lives: they are imported when asked for.
READERS = {
    "celeba": "faces.celeba",
    "mafl": "faces.mafl",
    "mtfl": "faces.mtfl",
    "aflw": "faces.aflw",
    "300w": "faces.w300",
    "hgr1": "hands.hgr1",
    "fld": "fashion.fld",
    "viton": "tryon.viton",
    "viton-hd": "tryon.viton_hd",
    "triplets": "triplets.triplets",
    "mnist": "idx.mnist",
    "fashion-mnist": "idx.fashion_mnist",
    "digits": "bundled.digits",
    "olivetti": "bundled.olivetti",
    "lfw": "bundled.lfw",
    "folder": "images.folder",
}
# Far above what any set has; a file beyond them is damaged, or meant to do damage.
LONGEST_LINE = 1_000_000  # bytes
LONGEST_NAME = 1000  # letters of a path in a list
LARGEST_ANNOTATION = 4 * 2**20  # bytes of a file that annotates one image
FARTHEST = 1e6  # pixels from the corner: single precision still tells them apart

Line = tuple[Path, int]  # an annotation file and the line in it, from 1
Size = int | tuple[int, int]


def open_data(source: str, split: str = "train", size: Size = 100, **options):
    """A data set by name: ``"name"``, ``"name:path"`` or ``"scene:name"``.

    Args:
        source: one of ``READERS``, with the folder that holds the set unless that is
            found (see ``find_folder``); or what another package brings, such as
            ``"scene:faces"``, which is drawn.
        split: as the reader names it; all have "train", but for aflw.
        size: side of the square images, or ``(height, width)``.
        options: the reader's: ``crop``, ``gray``, ``partial``; None is its default.
    """
    name, _, path = source.partition(":")
    options = {key: value for key, value in options.items() if value is not None}
    reader = find_reader(name)
    if name == "folder" and not path:
        raise ValueError("a folder of images needs its path: folder:path/to/images")
    if name in READERS:
        path = Path(path).expanduser() if path else None
    return reader(path, split, size, **options)


def find_reader(name: str) -> Callable:
    """The function that opens data sets of a name: ``(path, split, size, **options)``.

    Beside ``READERS``, packages may bring some in their entry points of the group
    ``lmlib.data``; what follows the colon is theirs to read. The drawn scenes do.
    """
    if name in READERS:
        module, function = READERS[name].split(".")
        return getattr(importlib.import_module(f"lmlib.datasets.{module}"), function)
    brought = {point.name: point for point in entry_points(group="lmlib.data")}
    if name not in brought:
        more = "".join(f", {other}:NAME" for other in brought)
        raise ValueError(
            f"no data set is called {name!r}; there are {', '.join(READERS)}{more}; "
            "any folder of images is folder:PATH"
        )
    return brought[name].load()


def check_split(split: str, known: Iterable[str]) -> None:
    """ValueError for a split that the reader does not know."""
    if split not in known:
        raise ValueError(f"split must be one of {[*known]}, got {split!r}")


def height_and_width(size: Size) -> tuple[int, int]:
    """One number stands for a square; ValueError for images without pixels."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"images must have at least one pixel, got {(height, width)}")
    return height, width


def find_folder(*places: str) -> Path:
    """The first of these folders that exists; FileNotFoundError names where it looked.

    ``places`` are relative paths, such as ``"mnist/MNIST/raw"``.
    """
    named = os.environ.get("LMLIB_DATA", "").split(os.pathsep)
    roots = [Path(name) for name in named if name]
    roots.append(repository_root() / "data" / "downloads")
    tried = [root / place for root in roots for place in places]
    for path in tried:
        if path.is_dir():
            return path
    raise FileNotFoundError(
        f"none of these folders exists: {', '.join(map(str, tried))}; set LMLIB_DATA "
        "to the folder that holds them"
    )


def locate(
    folder: str | Path | None,
    places: Sequence[str],
    markers: Sequence[str],
    layout: str,
) -> Path:
    """The folder of a set: the one that holds any of ``markers``.

    Args:
        folder: as given; None: the first of ``places`` that ``find_folder`` finds.
        markers: relative paths of files or folders only the right folder holds.
        layout: what belongs into it, for the message.

    Raises:
        FileNotFoundError: no such folder, or not the right one.
    """
    try:
        folder = find_folder(*places) if folder is None else Path(folder)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; expected there: {layout}") from None
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected there: {layout}")

    def holds(path: Path) -> bool:
        return any((path / marker).exists() for marker in markers)

    if holds(folder):
        return folder
    below = [path for path in sorted(folder.glob("*/")) if holds(path)]
    if len(below) == 1:
        return below[0]
    deeper = [path for path in sorted(folder.glob("*/*/")) if holds(path)]
    above = [path for path in [*folder.resolve().parents][:2] if holds(path)]
    found = below or deeper or above
    hint = f"; found in {found[0]}: give that folder" if found else ""
    raise FileNotFoundError(
        f"{folder}: holds no {' nor '.join(markers)}{hint}; expected there: {layout}"
    )


def read_lines(path: Path) -> Iterator[tuple[Line, str]]:
    """The lines of a UTF-8 list that are not blank, without their ends."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with path.open("rb") as file:
        pieces = iter(lambda: file.readline(LONGEST_LINE + 1), b"")
        for number, line in enumerate(pieces, start=1):
            if len(line) > LONGEST_LINE:
                raise malformed((path, number), f"longer than {LONGEST_LINE} bytes")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise malformed((path, number), f"not UTF-8 text ({error})") from None
            if text:
                yield (path, number), text


def read_annotation(path: Path) -> bytes:
    """A file that annotates one image; ValueError if it is far too large for that."""
    with path.open("rb") as file:
        content = file.read(LARGEST_ANNOTATION + 1)
    if len(content) > LARGEST_ANNOTATION:
        raise ValueError(
            f"{path}: larger than {LARGEST_ANNOTATION} bytes, too large for the "
            "annotation of one image"
        )
    return content


def read_table(path: Path, columns: int | None = None) -> Iterator[tuple[Line, list]]:
    """Rows of a list whose first line is their number and whose second names columns.

    The format of CelebA and DeepFashion. ``columns``: fields a row must have.
    """
    lines = read_lines(path)
    line, count = next(lines, ((path, 1), ""))
    if not count.isdecimal() or len(count) > 12:
        raise malformed(line, f"expected the number of rows, got {short(count)}")
    next(lines, None)  # column names
    seen = 0
    for line, text in lines:
        fields = text.split()
        if columns is not None and len(fields) != columns:
            raise malformed(line, f"expected {columns} fields, got {len(fields)}")
        seen += 1
        yield line, fields
    if seen != int(count):
        raise malformed((path, 1), f"announces {count} rows, but {seen} follow")


class Malformed(ValueError):
    """A line that is not as its format demands; the message names file and line."""


def malformed(line: Line, fault: str) -> Malformed:
    """The error for such a line."""
    where = f", line {line[1]}" if line[1] else ""  # 0: the file is the annotation
    return Malformed(f"{line[0]}{where}: {fault}")


def short(text: str) -> str:
    """What a file says, quoted for a message, at most 60 characters of it."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def as_numbers(line: Line, fields: Sequence[str]) -> list[float]:
    """Pixel coordinates, finite and not absurdly far; ValueError naming the line."""
    values = []
    for field in fields:
        try:
            values.append(float(field))
        except ValueError:
            raise malformed(line, f"expected numbers, got {short(field)}") from None
    if not all(map(math.isfinite, values)):
        raise malformed(line, f"expected finite numbers, got {short(' '.join(fields))}")
    if max(map(abs, values), default=0) > FARTHEST:
        raise malformed(
            line,
            f"expected pixels, none beyond {FARTHEST:g}, got {short(' '.join(fields))}",
        )
    return values


def as_name(line: Line, name: str) -> str:
    """A file's name in a list, with slashes; it stays inside of the data folder.

    Raises:
        ValueError: an absolute path, one with ``..``, an endless one, or no name at
            all; with the line.
    """
    path = name.replace("\\", "/")
    *folders, last = path.split("/")
    leaves = ".." in path.split("/") or path.startswith("/")
    leaves = leaves or bool(PureWindowsPath(path).drive) or len(path) > LONGEST_NAME
    if leaves or last in ("", ".") or any(ord(letter) < 32 for letter in path):
        raise malformed(
            line, f"expected a file inside of the folder, got {short(name)}"
        )
    return path


def as_choice(line: Line, field: str, choices: Sequence[str], what: str) -> int:
    """The place of a code in the list of codes, or ValueError naming the line."""
    if field not in [*choices]:  # of a text, its letters
        raise malformed(
            line, f"{what} must be one of {', '.join(choices)}, got {short(field)}"
        )
    return choices.index(field)


def by_stem(files: Sequence[Path]) -> dict[str, Path]:
    """Files by their names without endings; ValueError where two share one."""
    found: dict[str, Path] = {}
    for file in files:
        if file.stem in found:
            raise ValueError(
                f"{file}: has the name of {found[file.stem].name}; annotations cannot "
                "tell the two apart"
            )
        found[file.stem] = file
    return found


def add_row(rows: dict, line: Line, name: str, value) -> None:
    """Put a row of a list under its name; ValueError with the line for a second one."""
    if name in rows:
        raise malformed(line, f"{short(name)} is listed twice")
    rows[name] = value


def keep_existing(
    paths: Sequence[Path], lines: Sequence[Line], partial: bool
) -> list[int]:
    """Numbers of the images that are there: all of them, unless ``partial``.

    ``lines``: where each image is announced. Folders are listed once, which is much
    faster than asking for each of 200,000 files.
    """
    listed: dict[str, set[str]] = {}
    kept, missing = [], []
    for number, path in enumerate(paths):
        folder, name = os.path.split(path)
        if folder not in listed:
            listed[folder] = {*os.listdir(folder)} if os.path.isdir(folder) else set()
        found = name in listed[folder]
        (kept if found else missing).append(number)
    if missing:
        complain(
            [f"{malformed(lines[i], f'{paths[i]}: no such image')}" for i in missing],
            partial and bool(kept),
        )
    return kept


def complain(faults: Sequence[str], partial: bool) -> None:
    """Raise the first of these faults, or only warn of them."""
    more = f" (and {len(faults) - 1} more such)" if len(faults) > 1 else ""
    if not partial:
        raise FileNotFoundError(
            f"{faults[0]}{more}; partial=True leaves incomplete ones out"
        )
    warnings.warn(
        f"left out: {len(faults)} incomplete; the first is {faults[0]}", stacklevel=3
    )
