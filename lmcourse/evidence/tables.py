"""A paper's tables beside ours, as curves and as folded tables of numbers."""

from collections.abc import Iterable, Sequence

from IPython.display import display
from matplotlib.axes import Axes

from lmcourse.evidence.paper import PaperTable, paper_tables
from lmcourse.plots import COLOURS, LINES, MARKERS, cell_text

PAPER, OURS = "paper", "ours"


def cells_of(table: PaperTable, who: str) -> dict[tuple[str, int], float]:
    """``(row, column)`` -> the value that the paper prints, or that we measured."""
    if who == PAPER:
        rows = table.rows.items()
        return {(row, p): x for row, cells in rows for p, x in cells.items()}
    if who != OURS:
        raise ValueError(f"values are of 'paper' or 'ours', got {who!r}")
    return {cell: found["mean"] for cell, found in table.measured().items()}


def draw_rows(
    ax: Axes,
    table: PaperTable,
    who: str,
    rows: Sequence[str],
    over: str | None = None,
    names: dict[str, str] | None = None,
) -> None:
    """Rows of a table as curves over its columns, each with a style of its own.

    ``over`` divides each value by that row's in the same column. Columns that one of
    them lacks are left out.
    """
    values = cells_of(table, who)
    for number, row in enumerate(rows):
        points = {p: values[row, p] for p in table.percents if (row, p) in values}
        if over is not None:
            points = {
                p: x / values[over, p] for p, x in points.items() if (over, p) in values
            }
        look = {"color": COLOURS[number % 6], "marker": MARKERS[number], "ms": 7}
        look |= {"linestyle": LINES[number], "label": (names or {}).get(row, row)}
        ax.plot(list(points), list(points.values()), **look)
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(table.percents, [f"{p}" for p in table.percents])
    ax.minorticks_off()


def ticks(ax: Axes, values: Iterable[float], words: str = "{:g}") -> None:
    """Ticks of a logarithmic axis of values."""
    values = list(values)
    ax.set_yticks(values, [words.format(value) for value in values])
    ax.minorticks_off()


def table_html(table: PaperTable) -> str:
    """Each cell: the paper's value and ours, in bold; with the deviation over seeds."""
    ours = table.measured()
    head = "".join(f"<th>{percent} %</th>" for percent in table.percents)
    lines = [f"<tr><th></th>{head}</tr>"]
    for row, cells in table.rows.items():
        both = [_cell(cells.get(p), ours.get((row, p))) for p in table.percents]
        lines.append(f"<tr><th>{row}</th>{''.join(both)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _cell(paper: float | None, mine: dict | None) -> str:
    if paper is None:
        return "<td></td>"
    ours = "–" if mine is None else f"{mine['mean']:.3g}"
    more = f"<br><small>± {mine['std']:.2g}</small>" if mine and mine["n"] > 1 else ""
    look = 'style="text-align:right"'
    return f"<td {look}>{cell_text(paper)} | <b>{ours}</b>{more}</td>"


def table_text(table: PaperTable) -> str:
    """The same as lines of text."""
    lines = []
    for (row, p), cell in table.measured().items():
        lines.append(f"{row}@{p}: {table.rows[row][p]:g} | {cell['mean']:.3g}")
    return "\n".join(lines) or "no rows yet"


def show_tables(paper: str, names: Iterable[str] | None = None) -> None:
    """Display whole tables of a paper, each folded under its title."""
    tables = paper_tables(paper)
    for name in tables if names is None else names:
        table = tables[name]
        title = (
            f"{table.source}: {table.about} ({table.unit}; {table.better} is better)"
        )
        html = f"<details><summary>{title}</summary>{table_html(table)}</details>"
        text = f"{title}; paper | ours\n{table_text(table)}"
        display({"text/html": html, "text/plain": text}, raw=True)
