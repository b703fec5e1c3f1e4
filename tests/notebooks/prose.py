"""What a notebook says, what its cells have printed, and what the rows hold."""

import re
from functools import cache
from pathlib import Path

import nbformat

from lmcourse.evidence.results import read_rows, summarise

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"


@cache
def cells(number: str) -> list:
    (path,) = FOLDER.glob(f"{number}_*.ipynb")
    return nbformat.v4.reads(path.read_text(encoding="utf-8")).cells


def words(number: str) -> str:
    """All Markdown of a notebook, in one line."""
    texts = [c.source for c in cells(number) if c.cell_type == "markdown"]
    return " ".join(" ".join(texts).split())


def outputs(number: str) -> list[str]:
    """The text of each output, with its lines as they are."""
    found = [o for c in cells(number) for o in c.get("outputs", [])]
    return [o.get("text", o.get("data", {}).get("text/plain", "")) for o in found]


def printed(number: str) -> str:
    """All text that a notebook's cells have printed, in one line."""
    return " ".join(" ".join(outputs(number)).split())


def value(text: str) -> float | str:
    """``12,288`` and ``86%`` as numbers, anything else as it is."""
    bare = text.strip().rstrip("%").replace(",", "")
    try:
        return float(bare)
    except ValueError:
        return text.strip()


def match(pattern: str, text: str, where: str) -> list[float | str]:
    """The groups of a pattern; it may occur often if it always says the same."""
    found = {m.groups() for m in re.finditer(pattern, text)}
    assert len(found) == 1, f"{where} has {len(found)} versions of {pattern!r}"
    return [value(group) for group in found.pop()]


def said(number: str, pattern: str) -> list[float | str]:
    """The groups of a pattern in the Markdown."""
    return match(pattern, words(number), f"the text of {number}")


def says(number: str, *phrases: str):
    """The Markdown must have all of these words."""
    for phrase in phrases:
        assert phrase in words(number), f"the text of {number} lacks {phrase!r}"


def shown(number: str, pattern: str) -> list[float | str]:
    """The groups of a pattern in what was printed."""
    return match(pattern, printed(number), f"the output of {number}")


def table(number: str, about: str, keys: int = 1) -> dict[str, dict]:
    """A printed table, a dictionary for each row, under its first ``keys`` cells.

    ``about``: words that its caption or its head has, and no other table's.
    """
    rule = re.compile(r"^-+(  +-+)+$", re.MULTILINE)
    parts = [(rule.search(text), text) for text in outputs(number)]
    parts = [(m, t) for m, t in parts if m and about in t[: m.start()]]
    assert len(parts) == 1, f"{number} has {len(parts)} tables about {about!r}"
    ((line, text),) = parts
    spans = [m.span() for m in re.finditer("-+", line[0])]
    head = text[: line.start()].splitlines()[-1]
    names = [head[a:b].strip() for a, b in spans]
    rows = {}
    for row in text[line.end() :].strip("\n").splitlines():
        found = [value(row[a:b]) for a, b in spans]
        name = ", ".join(row[a:b].strip() for a, b in spans[:keys])
        assert name not in rows, f"{number}, {about!r}: {name!r} stands twice"
        rows[name] = dict(zip(names[keys:], found[keys:], strict=True))
    return rows


def means(experiment: str, metric: str = "error") -> dict[str, float]:
    """The mean over seeds of each setting."""
    rows = read_rows(experiment, metric=metric, budget="class")
    return {row["setting"]: row["mean"] for row in summarise(rows)}
