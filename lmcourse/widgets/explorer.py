"""Interactive parts: sliders that redraw a picture, draggable landmarks, live training.

Three rules hold for all of them. The picture is one ``widgets.Image`` of fixed size
whose bytes are replaced (no flicker, no stacking). Whatever moves the picture is also
measured, and the numbers stand beside it as text. And ``strip`` paints still frames
with the very same function, for GitHub, print and readers who only scroll.
"""

import atexit
import gc
import html
import math
import threading
import time
import weakref
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import ipywidgets
import numpy as np
import torch
import traitlets
from IPython.display import display
from ipywidgets import HTML, HBox, VBox
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from lmcourse import plots
from lmcourse.budget import current_budget
from lmlib.machine import best_device
from lmlib.training import fit

try:
    import anywidget
except ImportError:  # everything but dragging works without; see DragPoints.show
    anywidget = None

STILL = "[interactive: run this notebook to move it; still pictures follow]"
_DRAWING = threading.RLock()  # one figure is drawn at a time, whichever thread asks

# Redrawing makes garbage, and a full collection walks all of torch and matplotlib: a
# pause of 0.2 s while a slider moves. What is loaded by now stays: leave it out.
gc.freeze()


# -- Controls --------------------------------------------------------------------------


class TemperatureSlider(ipywidgets.FloatLogSlider):
    """Moves T = 1 / beta; ``both`` shows T and beta, ``beta`` is what draw receives."""

    def __init__(self, **settings):
        super().__init__(**settings, readout=False)
        self.both = ipywidgets.Label()
        self.observe(self._write, "value")
        self._write()

    def _write(self, _=None):
        self.both.value = f"T = {self.value:.3g}, beta = {self.beta:.3g}"

    @property
    def beta(self) -> float:
        return 1 / self.value

    @beta.setter
    def beta(self, beta: float):
        self.value = 1 / beta


def _look(label: str, doc: str) -> dict:
    style, layout = {"description_width": "initial"}, {"width": "24em"}
    look = {"description": label, "tooltip": doc or label}
    return look | {"style": style, "layout": layout}


def slider(label, min, max, value, step=None, log=False, doc=""):
    """A core slider: an integer one if all numbers are, a logarithmic one on ``log``.

    ``doc`` is the tooltip: what moving it does.
    """
    if not min < max or not min <= value <= max:
        raise ValueError(
            f"slider {label!r}: need min <= value <= max and min < max, "
            f"got min {min}, value {value}, max {max}"
        )
    look = _look(label, doc)
    if log:
        if min <= 0:
            raise ValueError(f"slider {label!r}: a log slider needs min > 0, got {min}")
        return _log_slider(ipywidgets.FloatLogSlider, min, max, value, step, look)
    if all(isinstance(v, int) for v in (min, max, value, step or 1)):
        kind, step = ipywidgets.IntSlider, step or 1
    else:
        kind, step = ipywidgets.FloatSlider, step or (max - min) / 60
        look["readout_format"] = ".3g"
    return kind(value=value, min=min, max=max, step=step, **look)


def temperature_slider(value=1.0, min=0.01, max=100.0, label="temperature T", doc=""):
    """A log slider over the temperature T (``value``, ``min``, ``max`` are T's).

    Name it ``beta`` in an Explorer: draw receives ``beta = 1 / T``, larger is peakier.
    """
    if not 0 < min <= value <= max:
        raise ValueError(f"need 0 < min <= T <= max, got {min}, {value}, {max}")
    look = _look(label, doc or "T = 1 / beta: low is peaky, high is flat")
    return _log_slider(TemperatureSlider, min, max, value, None, look)


def _log_slider(kind, min, max, value, step, look):
    low, high = math.log10(min), math.log10(max)
    step = step or (high - low) / 60
    look["readout_format"] = ".3g"
    return kind(value=value, min=low, max=high, step=step, **look)


def dropdown(label, options, value=None, doc=""):
    """A core drop-down list; ``options`` are names, or (name, value) pairs."""
    widget = ipywidgets.Dropdown(options=options, **_look(label, doc))
    if value is not None:
        widget.value = value
    return widget


def _get(control):
    """What draw or a setter receives."""
    return control.beta if isinstance(control, TemperatureSlider) else control.value


def _ends(control) -> list:
    """Values a sweep visits: both ends of a slider, every entry of a list."""
    if hasattr(control, "options"):
        return [o[1] if isinstance(o, tuple) else o for o in control.options]
    if not hasattr(control, "min"):
        return [False, True]  # a check box
    ends = [control.min, control.max]
    is_log = isinstance(control, ipywidgets.FloatLogSlider)
    return [control.base**end for end in ends] if is_log else ends


def _row(control):
    return HBox([control, control.both]) if hasattr(control, "both") else control


def _box(name: str, parts: list) -> VBox:
    """The parts below each other; the class ``name`` is for tests and style sheets."""
    return VBox(parts).add_class(f"lmlib-{name}")


# -- One picture and its numbers -------------------------------------------------------


class _Painter:
    """``draw(fig, ...) -> {name: number}`` on one reused figure, shown in one Image."""

    def __init__(self, draw: Callable, size, alt: str):
        self.draw, self.alt = draw, plots.check_alt(alt)
        self.fig = Figure(size, dpi=100, facecolor="white")
        FigureCanvasAgg(self.fig)
        self._places = None
        width, height = (round(100 * side) for side in size)
        layout = {"width": f"{width}px", "max_width": "100%", "object_fit": "contain"}
        self.image = ipywidgets.Image(width=width, height=height, layout=layout)
        self.image.add_class("lmlib-picture")
        # An Image has no alt text of its own (and a tooltip breaks it): say it below.
        small = "font-size:smaller;line-height:1.4;opacity:.75"
        self.caption = HTML(f'<div style="{small}">{html.escape(alt)}</div>')
        self.text = HTML().add_class("lmlib-measured")
        self.parts = [self.text, self.image, self.caption]
        self.value: dict[str, float] = {}

    def frame(self, *args, **values) -> tuple[Image.Image, dict[str, float]]:
        """Paint; the picture and the measured numbers."""
        with _DRAWING:
            for ax in self.fig.axes:
                ax.remove()  # clear() alone would first make new ticks for each
            self.fig.clear()
            # Layout is solved once and then kept: panels do not jump while a slider
            # moves, and an update takes less time.
            solved = self._places is not None
            self.fig.set_layout_engine("none" if solved else "constrained")
            measured = self.draw(self.fig, *args, **values) or {}
            if solved and len(self.fig.axes) != len(self._places):
                self.fig.set_layout_engine("constrained")
            elif solved:
                for ax, place in zip(self.fig.axes, self._places, strict=True):
                    ax.set_position(place, which="original")
            picture = plots.pixels(self.fig)
            if not solved:
                self._places = [ax.get_position(original=True) for ax in self.fig.axes]
        try:
            return picture, {str(name): _plain(x) for name, x in measured.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise TypeError(
                f"draw(fig, ...) must return a dict of name -> number, got {measured!r}"
            ) from error

    def paint(self, *args, **values) -> None:
        """Paint into the widget. An error is shown there too: what a callback raises
        while a student moves a slider would only reach the server's log."""
        try:
            picture, self.value = self.frame(*args, **values)
        except Exception as error:
            message = html.escape(f"{type(error).__name__}: {error}")
            self.text.value = f'<div role="alert" style="color:#b00020">{message}</div>'
            raise
        self.image.value = plots.png(picture)
        self.text.value = measured_html(self.value)


def _plain(x):
    x = x.item() if hasattr(x, "item") else x
    return int(x) if isinstance(x, int) else float(x)


def measured_html(values: dict[str, float]) -> str:
    """The measured numbers as a line that screen readers announce when it changes."""

    def number(value) -> str:
        if isinstance(value, int):
            return str(value)
        return f"{value:.4f}" if 0.001 <= abs(value) < 1000 else f"{value:.3g}"

    parts = (
        f'<span style="white-space:nowrap">{html.escape(name)} '
        f'<b data-name="{html.escape(name)}">{number(value)}</b></span>'
        for name, value in values.items()
    )
    return _announced(" &nbsp;·&nbsp; ".join(parts))


def _announced(markup: str) -> str:
    return f'<div role="status" aria-live="polite">{markup}</div>'


def film(frames: list[tuple[str, Image.Image]], columns: int = 1) -> Image.Image:
    """Captioned frames on one white sheet."""
    font, head = ImageFont.load_default(14), 24
    width = max(picture.width for _, picture in frames)
    height = max(picture.height for _, picture in frames) + head
    rows = math.ceil(len(frames) / columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (caption, picture) in enumerate(frames):
        x, y = number % columns * width, number // columns * height
        pen.text((x + 8, y + 4), caption, fill="black", font=font)
        sheet.paste(picture, (x, y + head))
    return sheet


def _short(values: dict, join: str = " ") -> str:
    return ", ".join(
        f"{name}{join}{v:.3g}" if isinstance(v, int | float) else f"{name}{join}{v}"
        for name, v in values.items()
    )


class _Interactive:
    """What Explorer, DragPoints and LiveTraining share: one painter and its frames."""

    _painter: _Painter | None = None
    controls: dict = {}  # name -> core widget

    @property
    def value(self) -> dict[str, float]:
        """What draw measured last."""
        return self._painter.value if self._painter else {}

    def show(self) -> None:
        """Display the live widget; where no kernel answers, one line of text."""
        bundle = self.box._repr_mimebundle_()
        bundle = bundle[0] if isinstance(bundle, tuple) else bundle
        display(bundle | {"text/plain": STILL}, raw=True)

    def frame(self, *args, **values) -> tuple[Image.Image, dict[str, float]]:
        """Picture and numbers for these arguments of draw; the widget stays put."""
        return self._painter.frame(*args, **values)

    def at(self, *args, **values) -> dict[str, float]:
        """The measured numbers of ``frame``."""
        return self.frame(*args, **values)[1]

    def strip(self, states: list, alt: str, captions=None, columns: int = 1) -> None:
        """The static twin: one captioned frame for each of ``states``.

        A state is a dict of draw's arguments by name, or its one argument.
        """
        frames = []
        for number, state in enumerate(states):
            named = isinstance(state, dict)
            picture, measured = self.frame(**state) if named else self.frame(state)
            given = state if named else {}
            said = captions[number] if captions else _short(given, " = ")
            found = _short({k: v for k, v in measured.items() if k not in given})
            frames.append((":  ".join(filter(None, (said, found))), picture))
        plots.show(film(frames, columns), alt)

    def sweep(self) -> list[dict]:
        """Move every control to its ends and back, through the real callbacks.

        Returns one dict a stop: ``control``, its ``at``, and the measured numbers. What
        draw raises anywhere is raised here.
        """
        seen = []
        for name, control in self.controls.items():
            before = control.value
            try:
                for end in _ends(control):
                    control.value = end
                    seen.append({"control": name, "at": _get(control), **self.value})
            finally:
                control.value = before
        return seen


class Explorer(_Interactive):
    """Sliders and the picture they move.

    Args:
        draw: ``draw(fig, **values) -> {name: number}`` paints on a reused, empty
            ``Figure`` (start with ``ax = fig.subplots()``) and returns numbers.
        alt: one sentence on what the picture shows.
        size: inches at 100 dots an inch; keep it fixed while teaching.
        controls: name of draw's argument -> ``slider(...)``, ``dropdown(...)``, or for
            ``beta`` a ``temperature_slider()``.
    """

    def __init__(self, draw: Callable, alt: str, size=(8, 3), **controls):
        if not controls:
            raise ValueError("an Explorer needs at least one control")
        self.controls = controls
        self.start = self._values()
        self._painter = _Painter(draw, size, alt)
        self.image, self.text = self._painter.image, self._painter.text
        self._lock, self._busy, self._stale = threading.RLock(), False, False
        for control in controls.values():
            control.observe(self._moved, "value")
        rows = [_row(control) for control in controls.values()]
        self.box = _box("explorer", rows + self._painter.parts)
        self._moved()

    def _moved(self, _=None) -> None:
        # A value that changes while drawing (from draw itself, or from another thread:
        # JupyterLab may deliver slider moves beside a running cell) is drawn once
        # afterwards, not on top.
        self._stale = True
        with self._lock:
            if self._busy:
                return
            self._busy = True
            try:
                while self._stale:
                    self._stale = False
                    self._painter.paint(**self._values())
            finally:
                self._busy = False

    def _values(self) -> dict:
        return {name: _get(control) for name, control in self.controls.items()}

    def frame(self, **values) -> tuple[Image.Image, dict[str, float]]:
        """Picture and numbers at ``values``; the rest as at the start."""
        unknown = sorted(set(values) - set(self.start))
        if unknown:
            raise ValueError(f"unknown control {unknown}; there are {list(self.start)}")
        return super().frame(**(self.start | values))


# -- Draggable landmarks ---------------------------------------------------------------


class DragPoints(
    _Interactive, anywidget.AnyWidget if anywidget else traitlets.HasTraits
):
    """Landmarks to drag over an image, by mouse, finger or arrow keys.

    Args:
        image: ``(C, H, W)`` or ``(H, W)`` in [0, 1].
        points: ``(K, 2)`` in [-1, 1].
        names: of the points, read out by screen readers.
        on_move: ``on_move(points (K, 2) tensor)``, called after every move; an image it
            returns replaces the one under the points.
        size: of the image on screen, in pixels (its longer side).
        draw: ``draw(fig, points) -> {name: number}``, a second picture beside the
            first, as in ``Explorer``; ``output_size`` is its size in inches.
        alt: one sentence on what the picture shows.

    ``points`` is a list of [x, y] kept equal on both sides: set it, or observe it.
    """

    image = traitlets.Unicode().tag(sync=True)
    points = traitlets.List().tag(sync=True)
    names = traitlets.List().tag(sync=True)
    limits = traitlets.List([-1.0, 1.0]).tag(sync=True)
    colours = traitlets.List(list(plots.COLOURS)).tag(sync=True)
    size = traitlets.List().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    _esm = Path(__file__).with_name("drag.js").read_text(encoding="utf-8")

    def __init__(
        self,
        image,
        points,
        names=None,
        on_move: Callable | None = None,
        size: int = 320,
        draw: Callable | None = None,
        output_size=(4, 3.2),
        alt: str = "an image with landmarks to drag",
    ):
        self.start = _as_lists(points, names)
        names = [f"point {k}" for k in range(len(points))] if names is None else names
        height, width = plots.as_array(image).shape[:2]
        scale = size / max(height, width)
        super().__init__(
            image=_data_url(image),
            points=self.start,
            names=list(names),
            size=[round(width * scale), round(height * scale)],
            alt=alt,
        )
        self.on_move = on_move
        self._painter = _Painter(draw, output_size, alt) if draw else None
        self.output = self._painter.image if draw else None
        self.observe(self.redraw, "points")
        self.redraw()

    @traitlets.validate("points")
    def _keep_inside(self, proposal):
        return np.clip(_as_lists(proposal["value"]), *self.limits).tolist()

    def redraw(self, _=None) -> None:
        """Draw again; called after a move, or by who changed what the picture shows."""
        image = self.on_move(self.tensor()) if self.on_move else None
        if image is not None:
            self.set_image(image)
        if self._painter:
            self._painter.paint(self.tensor())

    def tensor(self) -> torch.Tensor:
        """The points as a ``(K, 2)`` float tensor."""
        return torch.tensor(self.points, dtype=torch.float32)

    def set_image(self, image) -> None:
        """Replace the image under the points."""
        self.image = _data_url(image)

    @property
    def box(self) -> VBox:
        """Both pictures and the numbers; core sliders without anywidget."""
        if anywidget is None:
            return self.fallback()
        side = self._painter
        pictures = [self, side.image] if side else [self]
        row = HBox(pictures, layout={"flex_flow": "row wrap"})
        return _box("drag-box", [side.text, row, side.caption] if side else [row])

    def show(self) -> None:
        """Display both pictures and the numbers; core sliders without anywidget."""
        if anywidget is None:
            print("Dragging needs the package anywidget (pip install anywidget).")
        super().show()

    def fallback(self) -> VBox:
        """The same points on core widgets: a list of names and two sliders."""
        low, high = self.limits
        which = dropdown("point", [(name, k) for k, name in enumerate(self.names)])
        sides = [slider(axis, low, high, 0.0, step=0.01) for axis in "xy"]
        choosing = False

        def show_point(_=None):
            nonlocal choosing
            choosing = True  # the sliders are only set to the point: nothing moves
            for side, value in zip(sides, list(self.points[which.value]), strict=True):
                side.value = value
            choosing = False

        def move_point(change):
            if not choosing:
                points = [list(point) for point in self.points]
                points[which.value][sides.index(change.owner)] = change.new
                self.points = points

        show_point()
        which.observe(show_point, "value")
        self.observe(show_point, "points")
        for side in sides:
            side.observe(move_point, "value")
        parts = self._painter.parts if self._painter else []
        return _box("drag-fallback", [which, *sides, *parts])

    def frame(self, points=None) -> tuple[Image.Image, dict[str, float]]:
        """Second picture and numbers at ``points`` (or at the start)."""
        if not self._painter:
            raise ValueError("this DragPoints has no draw function")
        points = self.start if points is None else _as_lists(points)
        return super().frame(torch.tensor(points, dtype=torch.float32))

    def sweep(self, by: float = 0.2) -> list[dict]:
        """Move each point by ``by`` four ways and back, through the real callbacks."""
        seen, before = [], np.array(self.points)
        try:
            for k, name in enumerate(self.names):
                for step in ((-by, 0), (by, 0), (0, -by), (0, by)):
                    points = before.copy()
                    points[k] += step
                    self.points = points.tolist()
                    seen.append({"point": name, "at": self.points[k], **self.value})
        finally:
            self.points = before.tolist()
        return seen


def _as_lists(points, names=None) -> list[list[float]]:
    array = plots.as_points(points, names)
    if not len(array) or not np.isfinite(array).all():
        raise ValueError(f"points must be (K, 2) with K >= 1 and finite, got {points}")
    return array.tolist()


def _data_url(image) -> str:
    values = (plots.as_array(image).clip(0, 1) * 255).round().astype("uint8")
    data = b64encode(plots.png(Image.fromarray(values))).decode()
    return f"data:image/png;base64,{data}"


# -- Live training ---------------------------------------------------------------------

_LIVE: "weakref.WeakValueDictionary[str, LiveTraining]" = weakref.WeakValueDictionary()
QUICK_STEPS = 3


class LiveTraining(_Interactive):
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
        self._painter = _Painter(_without_gradients(draw), size, alt)
        self.image, self.text = self._painter.image, self._painter.text
        self._thread: threading.Thread | None = None
        self._stop, self._go = threading.Event(), threading.Event()
        self.closed = False
        self.buttons = {
            "start": self._button("play", self.start, "start or go on training"),
            "pause": self._button("pause", self.pause, "hold between two steps"),
            "reset": self._button("undo", self.reset, "back to the untrained network"),
        }
        self.controls = {name: control for name, (control, _) in self.knobs.items()}
        for control, setter in self.knobs.values():
            control.observe(lambda _, c=control, s=setter: self._turn(c, s), "value")
        self.status = HTML().add_class("lmlib-status")
        rows = [_row(control) for control, _ in self.knobs.values()]
        top = [HBox(list(self.buttons.values())), *rows, self.status]
        self.box = _box("live", top + self._painter.parts)
        self.reset()

    def _button(self, icon: str, action: Callable, doc: str) -> ipywidgets.Button:
        name = action.__name__
        made = ipywidgets.Button(description=name.title(), icon=icon, tooltip=doc)
        made.on_click(lambda _: action())
        return made.add_class(f"lmlib-{name}")

    def _turn(self, control, setter) -> None:
        setter(self.method, _get(control))
        if self._alive:
            self._stale = True  # a thread that lives does all the painting
        else:
            self._paint()

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
            self.reset()  # after an error, or run_inline: a clean start
        self._go.set()
        if self._thread is None and self.step < self.steps:
            self._stop.clear()
            self._thread = threading.Thread(
                target=self._train, args=(self.steps,), daemon=True, name="lmlib-live"
            )
            self._thread.start()
        self._tell()

    def pause(self) -> None:
        """Hold the training between two steps; returns at once."""
        self._go.clear()
        self._tell()

    def reset(self) -> None:
        """Stop, and make the untrained method again."""
        self._halt()
        with torch.random.fork_rng():
            torch.manual_seed(self.fit_arguments["seed"])
            self.method = self.make_method().to(self.device)
        for control, setter in self.knobs.values():
            setter(self.method, _get(control))
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
        self.reset()
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
            state = "closed"
        elif self.step >= self.steps:
            state = "finished"
        elif self.running:
            state = "training"
        else:
            state = "paused" if self._held else "pausing" if self._alive else "ready"
        loss = f", loss {self.history[-1]['loss']:.3f}" if self.history else ""
        text = f"step {self.step} of {self.steps}{loss}: {state}"
        self.status.value = _announced(html.escape(text))


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
