"""What the papers print, as data: ``data/paper/PAPER.toml``, one entry a table.

Published numbers stand there and nowhere else, so that "paper beside measured" is
computed. A table says which of our settings and metrics answers to a cell, from its row
and column: ``Seq-MT(L+C)`` and 5 make ``Seq-MT(L+C)@5``.
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from lmcourse.evidence.results import build, check_fields, read_rows, summarise
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
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not valid TOML: {error}") from None
    tables = {}
    for name, entry in document.items():
        try:
            rows = {row: _cells(cells) for row, cells in entry.get("rows", {}).items()}
            tables[name] = build(PaperTable, entry | {"rows": rows})
        except ValueError as error:
            raise ValueError(f"{path}: table {name}: {error}") from None
    return tables


def _cells(cells: dict) -> dict[int, float]:
    """``{"5": 3.95}`` -> ``{5: 3.95}``: TOML's keys are words."""
    return {int(column): float(value) for column, value in cells.items()}
