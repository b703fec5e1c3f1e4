"""How long does a slider of a real notebook take to redraw its picture?

Every explorer of some notebooks is moved through its values. The reference does what
``interact`` with matplotlib's inline backend does: the notebook's own ``draw`` on a new
pyplot figure, saved with ``bbox_inches="tight"``. Both end with PNG bytes; front ends
need the same time for either.

One update is timed as processor time, since a busy machine hardly changes that. It
includes what the notebook computes for the picture: networks, maps, errors.
"""

import contextlib
import io
import os
import time
import warnings
from pathlib import Path
from statistics import median
from unittest import mock

import nbformat
import numpy as np
from IPython.display import display
from matplotlib import pyplot

from lmcourse.widgets import Explorer
from lmcourse.widgets.controls import value_of

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = (
    "02_warps_and_equivariance",
    "10_seqmt_method",
    "12_seqmt_ablations",
    "13_seqmt_visualisation",
    "23_lmdis_visualisation",
    "33_dve_visualisation",
)
STOPS = 4  # values of each control


def explorers(name: str) -> dict[str, Explorer]:
    """The explorers a notebook makes in a quick run, by their variables."""
    cells = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells
    cells = [cell for cell in cells if cell.cell_type == "code"]
    last = max(i for i, cell in enumerate(cells) if "Explorer(" in cell.source)
    names: dict = {"__name__": "__main__", "display": display}
    with (
        mock.patch.dict(os.environ, LMLIB_BUDGET="quick"),
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(action="ignore"),
    ):
        for number, cell in enumerate(cells[: last + 1]):
            exec(compile(cell.source, f"{name}, cell {number}", "exec"), names)
    return {k: v for k, v in names.items() if isinstance(v, Explorer) and k[0] != "_"}


def stops(control) -> list:
    """A few values of a control, and where it was at last."""
    if hasattr(control, "options"):
        values = [o[1] if isinstance(o, tuple) else o for o in control.options][:STOPS]
    elif not hasattr(control, "min"):
        values = [not control.value]
    else:
        ends = np.linspace(control.min, control.max, STOPS).tolist()
        values = (
            [control.base**end for end in ends] if hasattr(control, "base") else ends
        )
        values = [type(control.value)(value) for value in values]
    return [value for value in values if value != control.value] + [control.value]


def milliseconds(function) -> float:
    start = time.process_time()
    function()
    return 1000 * (time.process_time() - start)


def plain(explorer: Explorer) -> None:
    """The picture on a new pyplot figure, as the inline backend shows it."""
    values = {name: value_of(c) for name, c in explorer.controls.items()}
    width, height = explorer.image.width, explorer.image.height
    size = (int(width) / 100, int(height) / 100)
    fig = pyplot.figure(figsize=size, layout="constrained")
    explorer.draw(fig, **values)
    fig.savefig(io.BytesIO(), format="png", bbox_inches="tight")
    pyplot.close(fig)


def moves(explorer: Explorer) -> tuple[list[float], list[float]]:
    """Milliseconds of each move of each control, ours and plain, in turns."""
    ours, theirs = [], []
    for warm in (True, False):
        for control in explorer.controls.values():
            for value in stops(control):
                ours.append(
                    milliseconds(lambda c=control, v=value: c.set_trait("value", v))
                )
                if not warm:
                    theirs.append(milliseconds(lambda: plain(explorer)))
        if warm:
            ours.clear()
    return ours, theirs


def run(names=NOTEBOOKS) -> list[dict]:
    """``ratio`` is the plain time over ours, the medians of all moves of a notebook."""
    pyplot.switch_backend("agg")
    rows = []
    for name in names:
        found = {key: moves(value) for key, value in explorers(name).items()}
        ours = [ms for mine, _ in found.values() for ms in mine]
        theirs = [ms for _, plain_ones in found.values() for ms in plain_ones]
        each = {key: round(median(mine), 1) for key, (mine, _) in found.items()}
        rows.append(
            {
                "name": f"a slider of {name}",
                "ratio": round(median(theirs) / median(ours), 2),
                "what": "median processor time of one move, a new figure's over ours",
                "ours_ms": round(median(ours), 1),
                "plain_ms": round(median(theirs), 1),
                "each_ms": each,
            }
        )
    return rows


if __name__ == "__main__":
    for row in run():
        print(row)
