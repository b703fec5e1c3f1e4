"""Tables beside ours: curves where the numbers are, all of them in folded tables."""

import re

import pytest

from lmcourse.evidence import tables
from lmcourse.evidence.paper import paper_tables
from lmcourse.evidence.tables import cells_of, draw_rows, show_tables, table_html
from lmcourse.plots import figure

ROWS = ("Seq-MT(L)", "Seq-MT(L+T)")


@pytest.fixture(scope="module")
def blocks():
    return paper_tables("seqmt")["table-1"]


def lines(ax):
    return {
        line.get_label(): dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for line in ax.lines
    }


@pytest.mark.parametrize("who", ["paper", "ours"])
def test_curves_stand_at_the_numbers(blocks, who):
    _, ax = figure()
    draw_rows(ax, blocks, who, ROWS)
    values = cells_of(blocks, who)
    found = lines(ax)
    assert set(found) == set(ROWS)
    for row, points in found.items():
        assert points == {p: x for (name, p), x in values.items() if name == row}
    styles = {(line.get_marker(), line.get_linestyle()) for line in ax.lines}
    assert len(styles) == len(ROWS)  # told apart without colours


def test_curves_may_be_shares_of_another_row(blocks):
    _, ax = figure()
    draw_rows(ax, blocks, "paper", ROWS, over="Seq-MT(L)", names={ROWS[1]: "+ T"})
    found = lines(ax)
    assert set(found[ROWS[0]].values()) == {1.0}
    plain, more = (blocks.rows[row][5] for row in ROWS)
    assert found["+ T"][5] == pytest.approx(more / plain)
    assert 100 not in found["+ T"]  # at 100 % there is nothing for the ELT


def test_unknown_sources_are_errors(blocks):
    with pytest.raises(ValueError, match="'paper' or 'ours'"):
        cells_of(blocks, "theirs")


def test_the_folded_table_holds_every_number(blocks, monkeypatch):
    shown = []
    monkeypatch.setattr(tables, "display", lambda bundle, **_: shown.append(bundle))
    show_tables("seqmt", ["table-1"])
    (bundle,) = shown
    assert bundle["text/html"].startswith("<details><summary>table 1")
    html = table_html(blocks)
    for (row, p), cell in blocks.measured().items():
        assert re.search(rf"{blocks.rows[row][p]:g} \| <b>{cell['mean']:.3g}</b>", html)
        assert f"{row}@{p}: {blocks.rows[row][p]:g} | " in bundle["text/plain"]


def test_a_cell_without_rows_is_a_dash(blocks, monkeypatch):
    monkeypatch.setattr(type(blocks), "measured", lambda self: {})
    assert table_html(blocks).count("<b>–</b>") == sum(map(len, blocks.rows.values()))
