"""Training in the background, to watch and to steer."""

import asyncio
import atexit
import html
import threading
import time
import weakref
from collections.abc import Callable

import ipywidgets
import torch
from ipywidgets import HTML, HBox

from lmcourse.budget import current_budget
from lmcourse.widgets.access import watch
from lmcourse.widgets.controls import rows_of, value_of
from lmcourse.widgets.picture import Interactive, Painter, announced, box_of
from lmlib.machine import best_device
from lmlib.training import fit

_LIVE: "weakref.WeakValueDictionary[str, LiveTraining]" = weakref.WeakValueDictionary()
QUICK_STEPS = 3


class LiveTraining(Interactive):
    """Train in the background and watch: Start, Pause, Reset, knobs that act at once.

    Args:
        make_method: makes the untrained method; Reset makes it anew from the same seed.
        data, indices, steps: as in ``training.fit``.
        draw: ``draw(fig, method, history) -> {name: number}``, called without
            gradients and in eval mode, at most ``rate`` times a second. The method is
            on ``device`` (a GPU if there is one): move images there before use.
        knobs: name -> ``(slider, setter)``; ``setter(method, value or beta)`` is called
            when the slider moves, also while training runs.
        alt, size: as in ``Explorer``.
        name: a second LiveTraining of this name closes the first (a cell run again).
        fit_arguments: ``batch_size``, ``lr``, ``seed``, ``device``, ... for ``fit``.

    Pausing holds the training between two steps, so a paused and resumed run ends
    exactly like an uninterrupted one. ``fit`` seeds torch's global generator at every
    step: while training runs, random numbers drawn in other cells are not reproducible.
    """

    def __init__(
        self,
        make_method: Callable,
        data,
        indices: range,
        steps: int,
        draw: Callable,
        knobs: dict | None = None,
        *,
        alt: str = "the maps and landmarks of the network in training",
        size=(8, 3),
        name: str = "live",
        rate: float = 5.0,
        **fit_arguments,
    ):
        if name in _LIVE:
            _LIVE[name].close()
        _LIVE[name] = self
        self.make_method, self.data, self.indices = make_method, data, indices
        self.steps, self.knobs, self.rate = steps, knobs or {}, rate
        self.fit_arguments = {"seed": 0, "log_every": 10} | fit_arguments
        self.device = self.fit_arguments.setdefault("device", best_device())
        self._painter = Painter(_without_gradients(draw), size, alt)
        self.image, self.text = self._painter.image, self._painter.text
        self._thread: threading.Thread | None = None
        self._stop, self._go = threading.Event(), threading.Event()
        self.closed = self._left = self._turning_back = False
        self._watch_number = 0
        self.buttons = {
            "start": self._button("play", self.start, "start or go on training"),
            "pause": self._button("pause", self.pause, "hold between two steps"),
            "reset": self._button("undo", self.reset, "untrained again, knobs back"),
        }
        self.controls = {name: control for name, (control, _) in self.knobs.items()}
        self._at_start = {name: c.value for name, c in self.controls.items()}
        for control, setter in self.knobs.values():
            control.observe(lambda _, c=control, s=setter: self._turn(c, s), "value")
        self.status = HTML().add_class("lmlib-status")
        rows = rows_of(list(self.controls.values()))
        top = [HBox(list(self.buttons.values())), *rows, self.status]
        self.box = box_of("live", top + self._painter.parts)
        self._begin()

    def _button(self, icon: str, action: Callable, doc: str) -> ipywidgets.Button:
        name = action.__name__
        made = ipywidgets.Button(description=name.title(), icon=icon, tooltip=doc)
        made.on_click(lambda _: action())
        return made.add_class(f"lmlib-{name}")

    def _turn(self, control, setter) -> None:
        setter(self.method, value_of(control))
        if not self._turning_back:
            self.redraw()

    def redraw(self) -> None:
        """Draw again; called when a knob moves, or what the picture shows changes."""
        if self._alive:
            self._stale = True  # a thread that lives does all the painting
        else:
            self._paint()

    def _watch(self) -> None:
        """See that somebody looks, if the loop that hears so can be found."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # no kernel
        self._watch_number = number = self._watch_number + 1

        def going_on():
            return self.running and self._watch_number == number

        for access in self._painter.access:
            self._watching = loop.create_task(watch(access, going_on, self._leave))

    def _leave(self) -> None:
        """Its last view was closed: nobody watches, and nobody could stop it."""
        self._left = True
        self.pause()

    # -- the buttons -------------------------------------------------------------------

    @property
    def _alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def running(self) -> bool:
        """Training is going on (not paused, not finished)."""
        return self._alive and self._go.is_set() and not self._stop.is_set()

    def start(self) -> None:
        """Start, or go on after a pause."""
        if self.closed:
            raise ValueError("this live training is closed: run its cell again")
        if not self._alive and (self.error or 0 < self.step < self.steps):
            self._begin()  # after an error, or run_inline: a clean start
        starts, self._left = not self.running, False
        self._go.set()
        if self._thread is None and self.step < self.steps:
            self._stop.clear()
            self._thread = threading.Thread(
                target=self._train, args=(self.steps,), daemon=True, name="lmlib-live"
            )
            self._thread.start()
        if starts:
            self._watch()
        self._tell()

    def pause(self) -> None:
        """Hold the training between two steps; returns at once."""
        self._go.clear()
        self._tell()

    def reset(self) -> None:
        """Stop, put the knobs back, and make the untrained method again."""
        self._halt()
        self._turning_back = True  # painted once, at the end
        for name, value in self._at_start.items():
            self.controls[name].value = value
        self._turning_back = False
        self._begin()

    def _begin(self) -> None:
        """At step 0, with the knobs as they are."""
        self._halt()
        with torch.random.fork_rng():
            torch.manual_seed(self.fit_arguments["seed"])
            self.method = self.make_method().to(self.device)
        for control, setter in self.knobs.values():
            setter(self.method, value_of(control))
        self.history: list[dict] = []
        self.step, self.error = 0, None
        self._stale = self._held = False
        self._paint()

    def close(self) -> None:
        """Stop the thread for good."""
        self._halt()
        self.closed = True
        for button in self.buttons.values():
            button.disabled = True
        self._tell()

    def _halt(self) -> None:
        thread = self._thread
        self._stop.set()
        self._go.set()  # wakes a paused thread, which then sees the stop
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._thread = None
        self._go.clear()

    def wait(self, timeout: float | None = None) -> list[dict]:
        """Until training ends (or ``timeout`` seconds); raises what training raised."""
        if self._thread is not None:
            self._thread.join(timeout)
        if self.error is not None:
            raise self.error
        return self.history

    def run_inline(self, steps: int) -> list[dict]:
        """Train ``steps`` steps from the start, here and now; raises what it raises."""
        self._begin()
        self._stop.clear()
        self._go.set()
        try:
            self._train(min(steps, self.steps))
        finally:
            self._go.clear()
        return self.wait()

    def show(self) -> None:
        """Display the widget; under LMLIB_BUDGET=quick train a few steps first."""
        if current_budget() == "quick":
            self.run_inline(QUICK_STEPS)
        super().show()

    # -- the training thread -----------------------------------------------------------

    def _train(self, steps: int) -> None:
        watched = {"callback": self._after_step, "progress": False}
        source = (self.data, self.indices, steps)
        try:
            fit(self.method, *source, **watched, **self.fit_arguments)
            if not self._stop.is_set():
                self._paint()
        except Exception as error:
            self.error = error
        self._tell()

    def _after_step(self, step: int, terms: dict) -> bool:
        self.step = step
        if step % self.fit_arguments["log_every"] == 0 or step == 1:
            row = {name: float(term.detach()) for name, term in terms.items()}
            self.history.append({"step": step, "loss": sum(row.values()), **row})
        if time.monotonic() - self._drawn > 1 / self.rate:
            self._paint()
        self._stale = True  # if it pauses here, the picture shows what is held
        while not self._go.wait(0.1):
            self._held = True
            if self._stale:
                self._stale = False
                self._paint()
        self._held = False
        return self._stop.is_set()

    def _paint(self) -> None:
        self._painter.paint(self.method, self.history)
        self._drawn = time.monotonic()
        self._tell()

    def _tell(self) -> None:
        if self.error is not None:
            state = f"stopped by {type(self.error).__name__}: {self.error}"
        elif self.closed:
            state = "closed; run its cell again to train"
        elif self.step >= self.steps:
            state = "finished"
        elif self.running:
            state = "training"
        else:
            state = "paused" if self._held else "pausing" if self._alive else "ready"
            if self._alive and self._left:
                state += ", as it was closed; Start goes on"
        loss = f", loss {self.history[-1]['loss']:.3f}" if self.history else ""
        text = f"step {self.step} of {self.steps}{loss}: {state}"
        self.status.value = announced(html.escape(text))


def _without_gradients(draw: Callable) -> Callable:
    def draw_in_eval_mode(fig, method, history):
        training = method.training
        method.eval()
        try:
            with torch.no_grad():
                return draw(fig, method, history)
        finally:
            method.train(training)

    return draw_in_eval_mode


@atexit.register
def _close_all() -> None:
    for live in list(_LIVE.values()):
        live._halt()
