"""Widgets move what they claim to move, and what they show is what they measure."""

import io
import subprocess
import sys
import threading
import time
from base64 import b64decode
from pathlib import Path

import ipywidgets
import nbclient
import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from lmcourse import plots
from lmcourse.widgets import explorer as widgets
from lmlib.heatmaps import entropy, gaussian_maps, spatial_softmax
from lmlib.methods.seqmt import SeqMt, SeqMtConfig
from lmlib.training import TrainingError, fit
from lmscenes import Shapes

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


@pytest.fixture
def shown(monkeypatch):
    seen = []

    def display(bundle, metadata=None, raw=False):
        seen.append((bundle, metadata))

    monkeypatch.setattr(plots, "display", display)
    monkeypatch.setattr(widgets, "display", display)
    return seen


def picture(image: ipywidgets.Image) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image.value)).convert("RGB"))


def stored(bundle) -> Image.Image:
    return Image.open(io.BytesIO(b64decode(bundle["image/png"]))).convert("RGB")


def close(one, other) -> bool:
    """The same picture, but for storing with 256 colours."""
    return np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 24


# -- Explorer --------------------------------------------------------------------------


def test_the_taught_effect_entropy_falls_as_beta_rises(explorer):
    values = [explorer.at(beta=beta)["entropy"] for beta in (0.1, 0.5, 2, 10)]
    assert values == sorted(values, reverse=True) and values[0] - values[-1] > 2
    sweep = [row for row in explorer.sweep() if row["control"] == "beta"]
    peaky, flat = sweep  # T at its low end first
    assert peaky["at"] == pytest.approx(20) and flat["at"] == pytest.approx(0.05)
    assert flat["entropy"] - peaky["entropy"] > 3


def test_moving_a_slider_replaces_the_picture_and_the_text(explorer):
    image, before, text = explorer.image, picture(explorer.image), explorer.text.value
    explorer.controls["beta"].value = 0.1
    after = picture(explorer.image)
    assert image is explorer.image and after.shape == before.shape == (200, 200, 3)
    assert (after != before).any()
    assert explorer.text.value != text and 'aria-live="polite"' in explorer.text.value
    assert f"{explorer.value['entropy']:.4f}" in explorer.text.value
    assert explorer.value["beta"] == pytest.approx(10)


def test_a_picture_depends_on_the_values_alone(explorer):
    first = explorer.frame(beta=3.0, gain=4)[0]
    explorer.sweep()
    assert first.tobytes() == explorer.frame(beta=3.0, gain=4)[0].tobytes()
    explorer.controls["gain"].value = 4
    explorer.controls["beta"].beta = 3.0
    assert (picture(explorer.image) == np.asarray(first)).all()


def test_the_strip_is_made_of_the_widgets_own_frames(explorer, shown):
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


def test_controls_are_core_widgets_with_a_tooltip():
    made = [
        widgets.slider("n", 0, 5, 1, doc="how many"),
        widgets.slider("x", 0.0, 5.0, 1.0, doc="how far"),
        widgets.slider("x", 0.1, 5.0, 1.0, log=True, doc="how much"),
        widgets.temperature_slider(doc="how hot"),
        widgets.dropdown("which", ["a", "b"], value="b", doc="which one"),
    ]
    for control in made:
        assert control._model_module == "@jupyter-widgets/controls"
        assert control.tooltip.startswith(("how", "which"))
    assert isinstance(made[0], ipywidgets.IntSlider) and made[-1].value == "b"


def test_the_temperature_slider_shows_both_and_passes_beta():
    control = widgets.temperature_slider(2.0)
    assert control.both.value == "T = 2, beta = 0.5"
    control.beta = 4.0
    assert control.value == 0.25 and control.both.value == "T = 0.25, beta = 4"


def test_show_displays_only_the_live_widget(explorer, shown):
    explorer.show()
    (bundle, _), *rest = shown
    assert not rest and "image/png" not in bundle
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"] == widgets.STILL


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: widgets.slider("s", 1, 0, 0), ValueError, "min < max"),
        (lambda: widgets.slider("s", 0, 1, 7), ValueError, "value 7"),
        (lambda: widgets.slider("s", 0, 1, 1, log=True), ValueError, "min > 0"),
        (lambda: widgets.temperature_slider(-1.0), ValueError, "0 < min"),
        (lambda: widgets.Explorer(draw_entropy, alt="x"), ValueError, "one control"),
        (
            lambda: widgets.Explorer(
                draw_entropy, alt="", n=widgets.slider("n", 0, 1, 0)
            ),
            ValueError,
            "alt text",
        ),
        (
            lambda: widgets.Explorer(
                lambda fig, n: 3, alt="x", n=widgets.slider("n", 0, 1, 0)
            ),
            TypeError,
            "dict of name",
        ),
        (
            lambda: widgets.DragPoints(torch.zeros(1, 8, 8), torch.zeros(0, 2)),
            ValueError,
            "K >= 1",
        ),
        (
            lambda: widgets.DragPoints(torch.zeros(1, 8, 8), [[0, float("nan")]]),
            ValueError,
            "finite",
        ),
        (
            lambda: widgets.DragPoints(torch.zeros(1, 8, 8), [[0, 0]], ["a", "b"]),
            ValueError,
            "2 names for 1",
        ),
    ],
)
def test_bad_input_gives_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_unknown_control_is_named(explorer):
    with pytest.raises(ValueError, match=r"\['betta'\].*\['beta', 'gain'\]"):
        explorer.at(betta=1)


# -- DragPoints ------------------------------------------------------------------------


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


def test_the_strip_of_a_drag_uses_the_same_draw(drag, shown):
    states = [drag.start, [[0.0, 0.0], [0.5, 0.5]]]
    drag.strip(states, alt="two places", captions=["start", "moved"])
    assert close(np.asarray(stored(shown[0][0]))[-200:, :200], drag.frame(states[1])[0])
    assert drag.points == drag.start


def test_without_anywidget_the_sliders_are_shown(drag, shown, monkeypatch, capsys):
    drag.show()
    monkeypatch.setattr(widgets, "anywidget", None)
    drag.show()
    assert "pip install anywidget" in capsys.readouterr().out
    assert len(shown) == 2 and all("text/plain" in bundle for bundle, _ in shown)


def test_the_widget_needs_no_network(drag):
    assert "http" not in drag._esm.replace("http://www.w3.org/2000/svg", "")
    assert "import " not in drag._esm


# -- LiveTraining ----------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[2]
SCENE = Shapes(size=20)
CONFIG = SeqMtConfig(
    size=20, landmarks=2, classes=2, channels=4, kernels=(3, 1), hidden=(8,)
)
IMAGES = SCENE.batch(range(1000, 1002))["image"]


def draw_maps(fig, method, history):
    assert not method.training and not torch.is_grad_enabled()
    ax = fig.subplots()
    plots.draw_image(ax, IMAGES[0])
    plots.draw_points(ax, method.landmarks(IMAGES)[0])
    return {"beta": method.beta, "rows": len(history)}


def beta_knob(method, value):
    method.beta = value


@pytest.fixture
def make_live():
    made = []

    def make(steps=40, **kw):
        knobs = {"beta": (widgets.temperature_slider(), beta_knob)}
        arguments = {"batch_size": 8, "seed": 3, "log_every": 5, "size": (2, 2)} | kw
        made.append(
            widgets.LiveTraining(
                arguments.pop("make_method", lambda: SeqMt(CONFIG)),
                arguments.pop("data", SCENE),
                range(64),
                steps,
                arguments.pop("draw", draw_maps),
                knobs,
                **arguments,
            )
        )
        return made[-1]

    yield make
    for live in made:
        live.close()


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def weights(method):
    return torch.cat([p.detach().flatten() for p in method.parameters()])


def test_it_trains_paused_or_not_to_the_same_weights_as_fit(make_live):
    torch.manual_seed(3)
    plain = SeqMt(CONFIG)
    history = fit(plain, SCENE, range(64), 40, batch_size=8, seed=3, progress=False)

    live = make_live(log_every=10)
    live.start()
    until(lambda: live.step > 5)
    live.pause()
    until(lambda: "paused" in live.status.value)
    held = live.step
    time.sleep(0.3)
    assert live.step == held < 40 and not live.running
    live.start()
    rows = live.wait(60)
    assert torch.equal(weights(live.method), weights(plain))
    assert [row["step"] for row in rows] == [1, 10, 20, 30, 40]
    assert rows[-1]["loss"] == pytest.approx(history[-1]["loss"])
    assert "finished" in live.status.value


def test_a_knob_turns_the_running_training(make_live):
    live = make_live(steps=100_000)
    live.start()
    until(lambda: live.step > 2)
    before = live.image.value
    live.knobs["beta"][0].beta = 8.0
    assert live.method.beta == pytest.approx(8.0)
    until(lambda: live.value["beta"] == pytest.approx(8.0) and live.step > 10)
    until(lambda: live.image.value != before)  # painted just after the numbers
    assert live.running


def test_a_knob_turned_while_paused_repaints(make_live):
    live = make_live(steps=100_000)
    live.start()
    until(lambda: live.step > 2)
    live.pause()
    until(lambda: "paused" in live.status.value)
    held = live.step
    live.knobs["beta"][0].beta = 0.25
    until(lambda: live.value["beta"] == pytest.approx(0.25))
    assert live.step <= held + 1


def test_reset_goes_back_to_the_same_start_and_keeps_the_knobs(make_live):
    live = make_live(steps=100_000)
    start, image = weights(live.method), live.image.value
    live.start()
    until(lambda: live.step > 5)
    live.knobs["beta"][0].beta = 2.0
    live.reset()
    assert not live.running and live.step == 0 and live.history == []
    assert torch.equal(weights(live.method), start) and live.method.beta == 2.0
    live.knobs["beta"][0].beta = 1.0
    assert live.image.value == image
    live.start()
    until(lambda: live.step > 0)


def test_close_and_a_second_of_the_same_name_stop_the_thread(make_live):
    def threads():
        return [t for t in threading.enumerate() if t.name == "lmlib-live"]

    first = make_live(steps=100_000, name="one")
    first.start()
    until(lambda: first.step > 0)
    second = make_live(steps=100_000, name="one")
    assert first.closed and not first.running and not threads()
    second.start()
    until(lambda: second.step > 0)
    second.pause()
    second.close()
    assert not threads() and second.buttons["start"].disabled
    with pytest.raises(ValueError, match="closed"):
        second.start()


def test_it_stops_cleanly_with_its_process():
    code = """
import sys, time
from test_widgets import CONFIG, SCENE, SeqMt, draw_maps, widgets
live = widgets.LiveTraining(lambda: SeqMt(CONFIG), SCENE, range(64), 10**6, draw_maps)
live.start()
while live.step < 3:
    time.sleep(0.01)
print("training", live.running)
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parent,
    )
    assert (run.returncode, run.stdout) == (0, "training True\n"), run.stderr


def test_an_error_in_training_is_shown_and_raised_by_wait(make_live):
    class Broken(Shapes):
        def batch(self, indices, device=None):
            batch = super().batch(indices, device)
            return batch | {"image": batch["image"] * float("nan")}

    live = make_live(data=Broken(size=20))
    live.start()
    with pytest.raises((ValueError, TrainingError), match="NaN"):
        live.wait(60)
    assert "NaN" in live.status.value and not live.running


def test_an_error_in_draw_is_shown_and_raised(make_live):
    def draw(fig, method, history):
        if history:
            raise RuntimeError("cannot draw")
        return {}

    live = make_live(draw=draw)
    live.start()
    with pytest.raises(RuntimeError, match="cannot draw"):
        live.wait(60)
    assert "cannot draw" in live.status.value


def test_run_inline_trains_here_and_is_used_by_the_quick_budget(
    make_live, shown, monkeypatch
):
    live = make_live()
    rows = live.run_inline(7)
    assert live.step == 7 and [row["step"] for row in rows] == [1, 5]
    monkeypatch.setenv("LMLIB_BUDGET", "quick")
    live.show()
    assert live.step == widgets.QUICK_STEPS and len(shown) == 1
    monkeypatch.setenv("LMLIB_BUDGET", "class")
    other = make_live(name="other")
    other.show()
    assert other.step == 0


def test_run_inline_raises_what_training_raises(make_live):
    def draw(fig, method, history):
        if history:
            raise RuntimeError("cannot draw")
        return {}

    with pytest.raises(RuntimeError, match="cannot draw"):
        make_live(draw=draw).run_inline(3)


def test_the_buttons_are_wired(make_live):
    live = make_live(steps=100_000)
    live.buttons["start"].click()
    until(lambda: live.step > 0)
    live.buttons["pause"].click()
    assert not live.running
    live.buttons["reset"].click()
    assert live.step == 0
