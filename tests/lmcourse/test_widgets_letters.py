"""Copied letters are the letters that Agg draws."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from lmcourse.widgets.letters import LettersCanvas


def draw(canvas, size, dpi, write):
    """What ``write(fig)`` looks like after two draws, ``(H, W, 4)``, and the canvas."""
    fig = Figure(size, dpi=dpi)
    made = canvas(fig)
    write(fig)
    made.draw()
    made.draw()  # now all letters are copies
    return np.asarray(made.buffer_rgba()).astype(int), made


def ticks_and_titles(fig):
    ax = fig.subplots()
    ax.plot([0.001, 3.5], [-1e6, 5e6], label="a curve, gjy")
    ax.legend(title="legend", loc="lower right")
    ax.set(title="Two\nlines", xlabel="x (px)", ylabel="gjy — ÄÖ")
    ax.tick_params(axis="x", rotation=33)


def turned_and_coloured(fig):
    look = {"rotation_mode": "anchor", "fontsize": 15}
    for k, colour in enumerate(["red", "#009e73", "0.3", "black", "C4"]):
        fig.text(0.4, 0.5, f"  turned {k}", rotation=70 * k, color=colour, **look)


def mathematics(fig):
    fig.text(0.1, 0.5, r"$\beta = 1/T$ and $\sum_k x_k^2$", fontsize=14)
    fig.text(0.6, 0.1, r"$\sigma$", rotation=90)


def clipped(fig):
    ax = fig.subplots()
    ax.text(0.93, 0.5, "over the edge", clip_on=True, transform=ax.transAxes)
    ax.text(0.1, 0.95, "bold and slanted", weight="bold", style="italic")


def at_odd_places(fig):
    for k in range(8):
        fig.text(0.05 + 0.1003 * k, 0.1 + 0.1007 * k, "odd place")


@pytest.mark.parametrize("size", [(5, 3), (4.337, 2.771)])
@pytest.mark.parametrize("dpi", [100, 77])
@pytest.mark.parametrize(
    "write",
    [ticks_and_titles, turned_and_coloured, mathematics, clipped, at_odd_places],
)
def test_they_are_where_and_what_they_should_be(write, size, dpi):
    expected, _ = draw(FigureCanvasAgg, size, dpi, write)
    copied, canvas = draw(LettersCanvas, size, dpi, write)
    letters = (expected[..., :3].min(-1) < 200).sum()
    off = np.abs(copied - expected).max(-1)
    assert letters > 200
    assert off.max() <= 40 and (off > 8).sum() <= 0.01 * letters
    found = canvas.get_renderer()._print.cache_info()
    assert found.hits >= found.misses > 0


def test_what_is_not_opaque_is_drawn_as_ever():
    def write(fig):
        fig.text(0.1, 0.5, "half there", alpha=0.5)
        fig.text(0.1, 0.2, "half there", color=(1, 0, 0, 0.5))

    expected, _ = draw(FigureCanvasAgg, (3, 1), 100, write)
    copied, canvas = draw(LettersCanvas, (3, 1), 100, write)
    assert (copied == expected).all()
    assert canvas.get_renderer()._print.cache_info().currsize == 0


def test_another_look_is_another_copy():
    fig = Figure((3, 1), dpi=100)
    canvas, seen = LettersCanvas(fig), set()
    text = fig.text(0.1, 0.5, "text")
    changes = (
        {},
        {"color": "red"},
        {"fontsize": 14},
        {"fontfamily": "monospace"},
        {"rotation": 10},
        {"x": 0.13},
        {"y": 0.6},
        {"text": "next"},
        {"antialiased": False},
        {"text": "   "},
    )
    for change in changes:
        text.set(**change)
        canvas.draw()
        seen.add(np.asarray(canvas.buffer_rgba()).tobytes())
    assert len(seen) == len(changes)


def test_a_figure_of_another_size_gets_another_canvas():
    fig = Figure((3, 1), dpi=100)
    canvas = LettersCanvas(fig)
    fig.text(0.1, 0.5, "text")
    for inches in (3, 2):
        fig.set_size_inches(inches, 1)
        canvas.draw()
        assert Image.fromarray(np.asarray(canvas.buffer_rgba())).width == 100 * inches
