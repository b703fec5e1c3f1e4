"""Dragged points arrive, move the second picture, and stay in the image."""

import numpy as np
import pytest
import torch

from lmcourse import plots, widgets
from lmcourse.widgets import drag as drag_module
from lmlib import palette


def draw_distance(fig, points):
    ax = fig.subplots()
    plots.draw_points(ax, points)
    ax.set(xlim=(-1, 1), ylim=(1, -1))
    return {"distance": (points[0] - points[1]).norm()}


@pytest.fixture
def drag():
    return widgets.DragPoints(
        torch.zeros(1, 30, 60),
        torch.tensor([[-0.5, 0.0], [0.5, 0.0]]),
        names=["left", "right"],
        draw=draw_distance,
        output_size=(2, 2),
    )


def test_points_round_trip_and_move_the_second_picture(drag):
    assert drag.points == [[-0.5, 0.0], [0.5, 0.0]] and drag.size == [320, 160]
    before = drag.output.value
    # what the front end sends is set by the same path
    drag.set_state({"points": [[-0.5, 0.0], [0.5, 1.0]]})
    assert drag.value["distance"] == pytest.approx(2**0.5)
    assert drag.output.value != before
    assert torch.equal(drag.tensor(), torch.tensor([[-0.5, 0.0], [0.5, 1.0]]))


def test_points_are_kept_in_the_image(drag):
    drag.points = [[-3, 0.0], [0.5, 1.5]]
    assert drag.points == [[-1.0, 0.0], [0.5, 1.0]]


def test_on_move_may_replace_the_image():
    seen = []

    def on_move(points):
        seen.append(points)
        return torch.full((1, 8, 8), float(points[0, 0]))

    drag = widgets.DragPoints(torch.zeros(1, 8, 8), [[0.0, 0.0]], on_move=on_move)
    before = drag.image
    drag.points = [[0.5, 0.0]]
    assert drag.image != before and drag.image.startswith("data:image/png;base64,")
    assert seen[-1].tolist() == [[0.5, 0.0]]


def test_the_fallback_moves_the_same_points(drag):
    which, x, y, *_ = drag.fallback().children
    which.value = 1
    assert (x.value, y.value) == (0.5, 0.0)
    x.value = -0.1
    assert drag.points == [[-0.5, 0.0], [-0.1, 0.0]]
    assert drag.value["distance"] == pytest.approx(0.4)
    drag.points = [[-0.5, 0.0], [0.3, 0.2]]
    assert (x.value, y.value) == pytest.approx((0.3, 0.2))
    which.value = 0
    assert drag.points == [[-0.5, 0.0], [0.3, 0.2]]  # choosing moves nothing
    assert (x.value, y.value) == (-0.5, 0.0)


def test_names_and_points_may_become_fewer_and_more(drag):
    which, x, y, *_ = drag.fallback().children
    drag._painter.draw = lambda fig, points: {"count": len(points)}
    for names, points in ((["one"], [[0.2, 0.1]]), (["a", "b", "c"], [[0.3, 0.4]] * 3)):
        drag.names = names
        drag.points = points
        assert [name for name, _ in which.options] == names
        assert (x.value, y.value) == pytest.approx(tuple(points[0]))
        assert drag.value["count"] == len(points)


def test_sweep_moves_every_point_and_returns(drag):
    rows = drag.sweep(by=0.3)
    assert [row["point"] for row in rows] == ["left"] * 4 + ["right"] * 4
    assert len({round(row["distance"], 4) for row in rows}) > 2
    assert drag.points == drag.start


def test_an_exception_in_draw_reaches_the_caller():
    def draw(fig, points):
        if points[0, 0] > 0:
            raise RuntimeError("right half")
        return {}

    drag = widgets.DragPoints(torch.zeros(1, 8, 8), [[-0.1, 0.0]], draw=draw)
    with pytest.raises(RuntimeError, match="right half"):
        drag.sweep()


def test_the_strip_of_a_drag_uses_the_same_draw(drag, shown, stored, close):
    states = [drag.start, [[0.0, 0.0], [0.5, 0.5]]]
    drag.strip(states, alt="two places", captions=["start", "moved"])
    assert close(np.asarray(stored(shown[0][0]))[-200:, :200], drag.frame(states[1])[0])
    assert drag.points == drag.start


def test_without_anywidget_the_sliders_are_shown(drag, shown, monkeypatch, capsys):
    drag.show()
    monkeypatch.setattr(drag_module, "anywidget", None)
    drag.show()
    assert "pip install anywidget" in capsys.readouterr().out
    assert len(shown) == 2 and all("text/plain" in bundle for bundle, _ in shown)


def test_the_widget_needs_no_network(drag):
    assert "http" not in drag._esm.replace("http://www.w3.org/2000/svg", "")
    assert "import " not in drag._esm


@pytest.mark.parametrize(
    ("points", "names", "message"),
    [
        (torch.zeros(0, 2), None, "K >= 1"),
        ([[0, float("nan")]], None, "finite"),
        ([[0, 0]], ["a", "b"], "2 names for 1"),
    ],
)
def test_bad_points_give_one_clear_error(points, names, message):
    with pytest.raises(ValueError, match=message):
        widgets.DragPoints(torch.zeros(1, 8, 8), points, names)


def test_the_handles_have_the_colours_of_figures(drag):
    assert tuple(drag.colours) == plots.COLOURS == palette.COLOURS


def test_numbers_that_take_a_second_line_do_not_move_the_pictures(drag):
    row, text, *_ = drag.box.children
    assert row.children == (drag, drag.output) and text is drag._painter.text
