"""What the papers print, as data: ``data/paper/PAPER.toml``, one entry a table.

Published numbers stand there and nowhere else, so that "paper beside measured" is
computed. A table says which of our settings and metrics answers to a cell, from its row
and column: ``Seq-MT(L+C)`` and 5 make ``Seq-MT(L+C)@5``.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter

from lmcourse.evidence.register import read_toml
from lmcourse.evidence.results import (
    build,
    check_fields,
    finite,
    one_line,
    read_rows,
    summarise,
)
from lmlib.places import repository_root


@dataclass(frozen=True)
class PaperTable:
    """One printed table, or one of its columns; the TOML's head explains the fields."""

    source: str
    about: str
    experiment: str
    metric: str
    unit: str
    scale: int
    better: str
    rows: dict  # row -> {column: value}; a column is a percentage or another number
    others: dict = field(default_factory=dict)  # methods of other people -> value
    setting: str = "{row}@{column}"  # our setting of a cell; metric may name them too

    def __post_init__(self):
        check_fields(self)
        if self.better not in ("lower", "higher"):
            raise ValueError(f"better must be 'lower' or 'higher', got {self.better!r}")
        for name in ("setting", "metric"):
            if not _is_pattern(getattr(self, name)):
                raise ValueError(
                    f"{name} may hold {{row}} and {{column}}, got "
                    f"{getattr(self, name)!r:.60}"
                )
        for name, value in self.others.items():
            _number(value, name)

    @property
    def percents(self) -> list[int]:
        """The columns, in order."""
        return sorted({column for row in self.rows.values() for column in row})

    def measured(self, budget: str = "class") -> dict[tuple[str, int], dict]:
        """Our summary of each cell that has rows: ``(row, column)`` -> mean, n, ...

        As in ``results.summarise``, in the table's unit. Cells without rows are absent,
        and so are all if none of our metrics answers to the table.
        """
        cells = {}
        found = read_rows(self.experiment, budget=budget) if self.metric else []
        for name, columns in self.rows.items():
            for column in columns:
                names = {"row": name, "column": column}
                setting = self.setting.format(**names)
                metric = self.metric.format(**names)
                same = [r for r in found if (r.setting, r.metric) == (setting, metric)]
                for cell in summarise(same):
                    scaled = ("mean", "std", "low", "high")
                    cell |= {part: self.scale * cell[part] for part in scaled}
                    cells[name, column] = cell
        return cells


def paper_tables(paper: str) -> dict[str, PaperTable]:
    """All tables of a paper by name; ValueError naming file and table if one is wrong.

    The file lies in ``data/paper`` of ``LMLIB_ROOT`` or, failing that, of the checkout.
    """
    roots = (repository_root(), Path(__file__).resolve().parents[2])
    files = [root / "data" / "paper" / f"{paper}.toml" for root in roots]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        raise ValueError(f"{files[0]}: no tables of a paper called {paper!r}")
    document, text = read_toml(path, ValueError)
    tables = {}
    for name, entry in document.items():
        try:
            if not isinstance(entry, dict):
                raise ValueError(f"must be a table, got {entry!r:.40}")
            rows = _rows(entry.get("rows", {}))
            tables[name] = build(PaperTable, entry | {"rows": rows})
        except ValueError as error:
            start = re.search(rf"^\[{re.escape(name)}\]", text, re.MULTILINE)
            line = text.count("\n", 0, start.start()) + 1 if start else None
            place = f"{path}:{line}" if line else path
            words = f"table {name:.40}: {one_line(error)}"
            raise ValueError(f"{place}: {words}") from None
    return tables


def _rows(rows) -> dict[str, dict[int, float]]:
    """``{"L": {"5": 3.95}}`` -> ``{"L": {5: 3.95}}``: TOML's keys are words."""
    if not isinstance(rows, dict):
        raise ValueError(f"rows must be a table, got {rows!r:.40}")
    found: dict[str, dict[int, float]] = {}
    for row, cells in rows.items():
        if not isinstance(cells, dict):
            raise ValueError(f"row {row:.40}: must be {{column = value}}")
        found[row] = {}
        for column, value in cells.items():
            if not re.fullmatch(r"[0-9]{1,9}", column):
                raise ValueError(f"row {row:.40}: column {column!r:.40} is no number")
            found[row][int(column)] = _number(value, f"row {row}, column {column}")
    return found


def _number(value, where: str) -> float:
    if type(value) not in (int, float) or not finite(value):
        raise ValueError(f"{where:.60}: must be a number, got {value!r:.40}")
    return float(value)


def _is_pattern(text: str) -> bool:
    """Does it name nothing but ``{row}`` and ``{column}``?"""
    try:
        parts = list(Formatter().parse(text))
    except ValueError:  # a brace without its partner
        return False
    return all(
        name in (None, "row", "column") and not form and not conversion
        for _, name, form, conversion in parts
    )
