"""Live training is the training of ``fit``, to be watched, held, turned and left."""

import asyncio
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from lmcourse import plots, widgets
from lmcourse.widgets import live as live_module
from lmcourse.widgets.access import watch
from lmcourse.widgets.live import QUICK_STEPS
from lmlib.methods.seqmt import SeqMt, SeqMtConfig
from lmlib.training import TrainingError, fit
from lmscenes import Shapes

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


def test_reset_goes_back_to_the_same_start_and_turns_the_knobs_back(make_live):
    live = make_live(steps=100_000)
    start, image = weights(live.method), live.image.value
    live.start()
    until(lambda: live.step > 5)
    live.knobs["beta"][0].beta = 0.01  # nothing can be learned like this
    live.reset()
    assert not live.running and live.step == 0 and live.history == []
    assert torch.equal(weights(live.method), start) and live.method.beta == 1.0
    assert live.knobs["beta"][0].beta == 1.0 and live.image.value == image
    live.start()
    until(lambda: live.step > 0)


def test_start_keeps_the_knobs_as_they_are(make_live):
    """After ``show`` has trained a few steps, too: then it begins anew."""
    live = make_live(steps=100_000)
    live.run_inline(3)
    live.knobs["beta"][0].beta = 2.0
    live.start()
    until(lambda: live.step > 3)
    assert live.method.beta == 2.0


def test_reset_draws_once(make_live):
    drawn = []

    def draw(fig, method, history):
        drawn.append(method.beta)
        return {}

    live = make_live(draw=draw)
    live.knobs["beta"][0].beta = 4.0
    drawn.clear()
    live.reset()
    assert drawn == [1.0]


def test_redraw_while_held(make_live):
    """Something else the picture shows has changed, such as a dragged point."""
    shown = [1]

    def draw(fig, method, history):
        return {"shown": shown[0]}

    live = make_live(steps=100_000, draw=draw)
    live.start()
    until(lambda: live.step > 2)
    live.pause()
    until(lambda: "paused" in live.status.value)
    shown[0] = 7
    live.redraw()
    until(lambda: live.value == {"shown": 7})


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
    assert "closed; run its cell again" in second.status.value
    with pytest.raises(ValueError, match="closed"):
        second.start()


def test_it_stops_cleanly_with_its_process():
    code = """
import sys, time
from test_widgets_live import CONFIG, SCENE, SeqMt, draw_maps, widgets
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
    assert live.step == QUICK_STEPS and len(shown) == 1
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


# -- whether anybody looks -------------------------------------------------------------


class Views:
    """Stands for the views in browsers: they answer while somebody looks."""

    def __init__(self, looking):
        self.looking, self.asked, self.answers = looking, 0, 0

    def send(self, _):
        self.asked += 1
        self.answers += self.looking(self.asked)


def left_after(looking, until_asked=12):
    """How many questions ``watch`` asked before it gave up; None if it did not."""
    views, left = Views(looking), []
    asyncio.run(
        watch(
            views,
            lambda: views.asked < until_asked,
            lambda: left.append(views.asked),
            every=0,
        )
    )
    return left[0] if left else None


def test_views_that_fall_silent_are_gone():
    assert left_after(lambda asked: asked <= 2) == 5


def test_a_long_cell_or_no_answers_at_all_is_not_leaving():
    assert left_after(lambda asked: asked % 3 == 1) is None  # two were late
    assert left_after(lambda asked: False) is None  # a front end that cannot answer


def test_training_pauses_when_its_last_view_is_closed(make_live, monkeypatch):
    monkeypatch.setattr(live_module, "watch", partial(watch, every=0.01))
    live, asked = make_live(steps=100_000), []
    [access] = live._painter.access

    def send(_):
        asked.append(live.step)
        if len(asked) <= 2:
            access._hear()

    monkeypatch.setattr(access, "send", send)

    async def kernel():
        live.start()
        while live.running:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(kernel(), 60))
    assert len(asked) == 5
    until(lambda: "paused, as it was closed; Start goes on" in live.status.value)
    held = live.step
    live.start()
    until(lambda: live.step > held)
    assert "training" in live.status.value


def test_a_pause_and_a_new_start_leave_one_watcher(make_live, monkeypatch):
    monkeypatch.setattr(live_module, "watch", partial(watch, every=0.05))
    live, asked = make_live(steps=100_000), []
    [access] = live._painter.access
    monkeypatch.setattr(access, "send", lambda _: (asked.append(0), access._hear()))

    async def kernel():
        for _ in range(5):
            live.start()
            await asyncio.sleep(0)
            live.pause()
        live.start()
        asked.clear()
        await asyncio.sleep(0.32)
        live.pause()
        await asyncio.sleep(0.06)

    asyncio.run(kernel())
    assert 1 <= len(asked) <= 7
