"""An Explorer moves what it claims to move, and what it shows is what it measures."""

import re
import subprocess
import sys

import nbclient
import nbformat
import numpy as np
import pytest
import torch

from lmcourse import plots, widgets
from lmcourse.widgets import access
from lmcourse.widgets.picture import measured_html
from lmlib.heatmaps import entropy, gaussian_maps, spatial_softmax

SCORES = 4 * gaussian_maps(torch.tensor([[[0.4, -0.2]]]), (20, 20), sigma=3)


def draw_entropy(fig, beta, gain):
    ax = fig.subplots()
    probabilities = spatial_softmax(gain * SCORES, beta)
    plots.draw_heatmap(ax, probabilities[0, 0])
    return {"entropy": entropy(probabilities)[0, 0], "beta": beta}


@pytest.fixture
def explorer():
    return widgets.Explorer(
        draw_entropy,
        alt="a heatmap that sharpens",
        size=(2, 2),
        beta=widgets.temperature_slider(1.0, min=0.05, max=20),
        gain=widgets.slider("gain", 1, 4, 2),
    )


def test_the_taught_effect_entropy_falls_as_beta_rises(explorer):
    values = [explorer.at(beta=beta)["entropy"] for beta in (0.1, 0.5, 2, 10)]
    assert values == sorted(values, reverse=True) and values[0] - values[-1] > 2
    sweep = [row for row in explorer.sweep() if row["control"] == "beta"]
    peaky, flat = sweep  # T at its low end first
    assert peaky["at"] == pytest.approx(20) and flat["at"] == pytest.approx(0.05)
    assert flat["entropy"] - peaky["entropy"] > 3


def test_moving_a_slider_replaces_the_picture_and_the_text(explorer, picture):
    image, before, text = explorer.image, picture(explorer.image), explorer.text.value
    explorer.controls["beta"].value = 0.1
    after = picture(explorer.image)
    assert image is explorer.image and after.shape == before.shape == (200, 200, 3)
    assert (after != before).any()
    assert explorer.text.value != text and 'aria-live="polite"' in explorer.text.value
    assert f"{explorer.value['entropy']:.4f}" in explorer.text.value
    assert explorer.value["beta"] == pytest.approx(10)


def test_a_picture_depends_on_the_values_alone(explorer, picture):
    first = explorer.frame(beta=3.0, gain=4)[0]
    explorer.sweep()
    assert first.tobytes() == explorer.frame(beta=3.0, gain=4)[0].tobytes()
    explorer.controls["gain"].value = 4
    explorer.controls["beta"].beta = 3.0
    assert (picture(explorer.image) == np.asarray(first)).all()


def test_the_strip_is_made_of_the_widgets_own_frames(explorer, shown, stored, close):
    states = [{"beta": 0.1}, {"beta": 10.0, "gain": 4}]
    explorer.strip(states, alt="flat, then sharp")
    bundle, metadata = shown[0]
    assert metadata["image/png"]["alt"] == "flat, then sharp"
    sheet = np.asarray(stored(bundle))
    for number, state in enumerate(states):
        frame = np.asarray(explorer.frame(**state)[0])
        height = sheet.shape[0] // 2
        part = sheet[(number + 1) * height - 200 : (number + 1) * height, :200]
        assert close(part, frame)


def test_at_leaves_the_widget_alone(explorer):
    before = explorer.image.value
    explorer.at(beta=7.0)
    assert explorer.image.value == before and explorer.value["beta"] == 1.0


def test_sweep_goes_through_the_callbacks_and_back():
    seen = []

    def draw(fig, a, b, c):
        seen.append((a, b, c))
        return {"a": a}

    explorer = widgets.Explorer(
        draw,
        alt="nothing",
        size=(1, 1),
        a=widgets.slider("a", 0.0, 1.0, 0.5),
        b=widgets.dropdown("b", [("one", 1), ("two", 2)]),
        c=widgets.slider("c", 0.1, 100, 1.0, log=True),
    )
    rows = explorer.sweep()
    assert [row["at"] for row in rows] == pytest.approx([0, 1, 1, 2, 0.1, 100])
    assert {0.0, 1.0} <= {a for a, _, _ in seen} and {b for _, b, _ in seen} == {1, 2}
    assert seen[-1] == (0.5, 1, 1.0)


def test_an_exception_away_from_the_default_fails_the_sweep_and_the_cell():
    def draw(fig, n):
        if n > 4:
            raise RuntimeError("broken at the far end")
        return {"n": n}

    explorer = widgets.Explorer(
        draw, alt="x", size=(1, 1), n=widgets.slider("n", 0, 5, 1)
    )
    with pytest.raises(RuntimeError, match="far end"):
        explorer.sweep()
    assert explorer.controls["n"].value == 1
    with pytest.raises(RuntimeError, match="far end"):
        explorer.controls["n"].value = 5
    assert "RuntimeError: broken at the far end" in explorer.text.value
    explorer.controls["n"].value = 2  # and it recovers
    assert explorer.value == {"n": 2} and "Error" not in explorer.text.value


def test_in_a_kernel_too_the_sweep_cell_fails():
    """What nbval relies on: an observer's exception ends the cell that moved it."""
    cells = [
        "from lmcourse.widgets import Explorer, slider\n"
        "n = slider('n', 0, 5, 1)\n"
        "e = Explorer(lambda fig, n: {'n': 1 / (5 - n)}, alt='x', n=n)",
        "e.show()",
        "e.sweep()",
    ]
    book = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="ZeroDivision"):
        nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    kinds = [output.output_type for cell in book.cells for output in cell.outputs]
    assert kinds == ["display_data", "error"]


def test_values_changed_while_drawing_are_drawn_once_at_the_end():
    seen = []

    def draw(fig, n):
        seen.append(n)
        if n == 1:
            for value in (2, 3, 4):
                explorer.controls["n"].value = value
        return {"n": n}

    explorer = widgets.Explorer(
        draw, alt="x", size=(1, 1), n=widgets.slider("n", 0, 5, 0)
    )
    explorer.controls["n"].value = 1
    assert seen == [0, 1, 4] and explorer.value == {"n": 4}


def test_panels_do_not_jump_while_a_slider_moves():
    places = []

    def draw(fig, n):
        left, right = fig.subplots(1, 2)
        left.plot([0, 10.0**n])  # tick labels of any width
        places.append([ax.get_position(original=True).bounds for ax in (left, right)])
        return {"n": n, "left": left.get_position(original=True).x0}

    explorer = widgets.Explorer(
        draw, alt="x", size=(4, 2), n=widgets.slider("n", 0, 6, 0)
    )
    corners = [explorer._painter.fig.axes[0].get_position(original=True).bounds]
    explorer.controls["n"].value = 6
    corners.append(explorer._painter.fig.axes[0].get_position(original=True).bounds)
    assert corners[0] == corners[1]


def test_show_displays_only_the_live_widget(explorer, shown):
    explorer.show()
    (bundle, _), *rest = shown
    assert not rest and "image/png" not in bundle
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"] == widgets.STILL


def test_an_unknown_control_is_named(explorer):
    with pytest.raises(ValueError, match=r"\['betta'\].*\['beta', 'gain'\]"):
        explorer.at(betta=1)


def test_bad_input_gives_one_clear_error():
    n = widgets.slider("n", 0, 1, 0)
    with pytest.raises(ValueError, match="one control"):
        widgets.Explorer(draw_entropy, alt="x")
    with pytest.raises(ValueError, match="alt text"):
        widgets.Explorer(draw_entropy, alt="", n=n)
    with pytest.raises(TypeError, match="dict of name"):
        widgets.Explorer(lambda fig, n: 3, alt="x", n=n)


def test_numbers_that_take_a_second_line_do_not_move_the_picture(explorer):
    """They stand below it, and so does the caption with its alt text."""
    parts = list(explorer.box.children)
    assert parts.index(explorer.image) < parts.index(explorer.text)
    assert explorer.image.layout.margin == "0"  # with 100 % of the width: no scroll bar
    assert "a heatmap that sharpens" in parts[parts.index(explorer.text) + 1].value


def test_the_front_end_hears_what_the_picture_shows(explorer, monkeypatch):
    assert explorer.box.children[-1].alt == "a heatmap that sharpens"
    monkeypatch.setattr(access, "anywidget", None)  # then it does without
    other = widgets.Explorer(lambda fig, n: {}, "x", n=widgets.slider("n", 0, 1, 0))
    assert len(other.box.children) == 4


def test_numbers_are_short_and_rounding_errors_are_zero():
    values = {"a": 3, "b": 0.12345, "c": 12345.6, "d": 2e-5, "e": -7e-7, "<": 0.0}
    markup = measured_html(values)
    shown = re.findall(r">([^<>]+)</b>", markup)
    assert shown == ["3", "0.1235", "1.23e+04", "2e-05", "0", "0"]
    assert "&lt;" in markup and "<<" not in markup


def test_redraw_shows_what_has_changed_elsewhere(picture):
    shade = [0.2]

    def draw(fig, n):
        fig.subplots().set_facecolor(str(shade[0]))
        return {"shade": shade[0]}

    explorer = widgets.Explorer(draw, alt="x", n=widgets.slider("n", 0, 1, 0))
    before = picture(explorer.image)
    shade[0] = 0.8
    explorer.redraw()
    assert explorer.value == {"shade": 0.8}
    assert (picture(explorer.image) != before).any()


def test_layout_waits_until_the_curves_have_points():
    """At step 0 of a training, say: room is made for the numbers that come."""
    places = []

    def draw(fig, n):
        ax = fig.subplots()
        ax.plot(range(n), [10.0**6 * k for k in range(n)])
        ax.set_ylabel("loss")
        places.append(ax)
        return {"n": n}

    explorer = widgets.Explorer(
        draw, alt="x", size=(3, 2), n=widgets.slider("n", 0, 9, 0)
    )
    fig = explorer._painter.fig
    assert fig.axes[0].get_xlim() == fig.axes[0].get_ylim() == (0, 1)
    lefts = [fig.axes[0].get_position(original=True).x0]
    for n in (5, 9, 0):
        explorer.controls["n"].value = n
        lefts.append(fig.axes[0].get_position(original=True).x0)
    assert lefts[0] != lefts[1] == lefts[2] == lefts[3]


def test_collections_are_spared_at_the_first_picture_not_at_import():
    code = """
import gc
from lmcourse import widgets
print(gc.get_freeze_count())
draw, n = (lambda fig, n: {}), widgets.slider("n", 0, 1, 0)
widgets.Explorer(draw, "x", n=n)
print(gc.get_freeze_count() > 100_000)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.stdout, run.returncode) == ("0\nTrue\n", 0), run.stderr
