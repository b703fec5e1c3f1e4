"""Interactive parts: sliders that redraw a picture, draggable landmarks, live training.

Three rules hold for all of them. The picture is one ``widgets.Image`` of fixed size
whose bytes are replaced (no flicker, no stacking). Whatever moves the picture is also
measured, and the numbers stand beside it as text. And ``strip`` paints still frames
with the very same function, for GitHub, print and readers who only scroll.
"""

import atexit
import html
import math
import threading
import time
import weakref
from base64 import b64encode
from collections.abc import Callable

import ipywidgets
import numpy as np
import torch
import traitlets
from IPython.display import display
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from lmlib import plots
from lmlib.budget import current_budget
from lmlib.training import best_device, fit

try:
    import anywidget
except ImportError:  # everything but dragging works without; see DragPoints.show
    anywidget = None

STILL = "[interactive: run this notebook to move it; still pictures follow]"
_DRAWING = threading.RLock()  # one figure is drawn at a time, whichever thread asks


# --------------------------------------------------------------------------------------
# Controls
# --------------------------------------------------------------------------------------


def _look(label: str, doc: str) -> dict:
    return {
        "description": label,
        "tooltip": doc or label,
        "style": {"description_width": "initial"},
        "layout": {"width": "24em"},
        "continuous_update": True,
    }


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
        low, high = math.log10(min), math.log10(max)
        step = (high - low) / 60 if step is None else step
        return ipywidgets.FloatLogSlider(
            value=value, min=low, max=high, step=step, readout_format=".3g", **look
        )
    if all(isinstance(v, int) for v in (min, max, value, step or 1)):
        return ipywidgets.IntSlider(
            value=value, min=min, max=max, step=step or 1, **look
        )
    step = (max - min) / 60 if step is None else step
    return ipywidgets.FloatSlider(
        value=value, min=min, max=max, step=step, readout_format=".3g", **look
    )


class TemperatureSlider(ipywidgets.FloatLogSlider):
    """Moves T = 1 / beta; ``both`` shows T and beta, ``beta`` is what draw receives."""

    def __init__(self, **kw):
        super().__init__(readout=False, **kw)
        self.both = ipywidgets.Label()
        self.observe(lambda _: self._write(), "value")
        self._write()

    def _write(self):
        self.both.value = f"T = {self.value:.3g}, beta = {self.beta:.3g}"

    @property
    def beta(self) -> float:
        return 1 / self.value

    @beta.setter
    def beta(self, beta: float):
        self.value = 1 / beta


def temperature_slider(value=1.0, min=0.01, max=100.0, label="temperature T", doc=""):
    """A log slider over the temperature T (``value``, ``min``, ``max`` are T's).

    Name it ``beta`` in an Explorer: draw receives ``beta = 1 / T``, larger is peakier.
    """
    if not 0 < min <= value <= max:
        raise ValueError(f"need 0 < min <= T <= max, got {min}, {value}, {max}")
    doc = doc or "T = 1 / beta: low is peaky, high is flat"
    low, high = math.log10(min), math.log10(max)
    return TemperatureSlider(
        value=value, min=low, max=high, step=(high - low) / 60, **_look(label, doc)
    )


def dropdown(label, options, value=None, doc=""):
    """A core drop-down list; ``options`` are names, or (name, value) pairs."""
    look = _look(label, doc)
    del look["continuous_update"]
    widget = ipywidgets.Dropdown(options=options, **look)
    if value is not None:
        widget.value = value
    return widget


def _get(control):
    return control.beta if isinstance(control, TemperatureSlider) else control.value


def _set(control, value) -> None:
    if isinstance(control, TemperatureSlider):
        control.beta = value
    else:
        control.value = value


def _ends(control) -> list:
    """Values a sweep visits: both ends of a slider, every entry of a list."""
    if isinstance(control, TemperatureSlider):
        return [1 / control.base**end for end in (control.min, control.max)]
    if isinstance(control, ipywidgets.FloatLogSlider):
        return [control.base**control.min, control.base**control.max]
    if isinstance(control, ipywidgets.Checkbox | ipywidgets.ToggleButton):
        return [False, True]
    if hasattr(control, "options"):
        pairs = control.options
        return [o[1] if isinstance(o, tuple) else o for o in pairs]
    return [control.min, control.max]


def _row(control):
    if isinstance(control, TemperatureSlider):
        return ipywidgets.HBox([control, control.both])
    return control


# --------------------------------------------------------------------------------------
# One picture and its numbers
# --------------------------------------------------------------------------------------


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if 0.001 <= abs(value) < 1000 else f"{value:.3g}"


class _Painter:
    """``draw(fig, ...) -> {name: number}`` on one reused figure, shown in one Image."""

    def __init__(self, draw: Callable, size, alt: str):
        if not isinstance(alt, str) or not alt.strip():
            raise ValueError("a widget needs alt text: a sentence on what to see")
        self.draw, self.alt = draw, alt
        self.fig = Figure(size, dpi=100, facecolor="white")
        FigureCanvasAgg(self.fig)
        self._places = None
        width, height = (round(100 * side) for side in size)
        self.image = ipywidgets.Image(
            format="png",
            width=width,
            height=height,
            layout={
                "width": f"{width}px",
                "max_width": "100%",
                "object_fit": "contain",
            },
        )
        self.image.add_class("lmlib-picture")
        # An Image has no alt text of its own (and a tooltip breaks it): say it below.
        small = "font-size:smaller;line-height:1.4;opacity:.75"
        self.caption = ipywidgets.HTML(f'<div style="{small}">{html.escape(alt)}</div>')
        self.text = ipywidgets.HTML()
        self.text.add_class("lmlib-measured")
        self.parts = [self.text, self.image, self.caption]
        self.value: dict[str, float] = {}

    def frame(self, *args, **values) -> tuple[Image.Image, dict[str, float]]:
        """Paint; the picture and the measured numbers."""
        with _DRAWING:
            # Layout is solved once and then kept: panels do not jump while a slider
            # moves, and an update takes less time.
            for ax in self.fig.axes:
                ax.remove()  # clear() alone would first make new ticks for each
            self.fig.clear()
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

    def paint(self, *args, **values) -> dict[str, float]:
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
        return self.value


def _plain(x):
    x = x.item() if hasattr(x, "item") else x
    return int(x) if isinstance(x, int) else float(x)


def measured_html(values: dict[str, float]) -> str:
    """The measured numbers as a line that screen readers announce when it changes."""
    parts = (
        f'<span style="white-space:nowrap">{html.escape(name)} '
        f'<b data-name="{html.escape(name, True)}">{_number(value)}</b></span>'
        for name, value in values.items()
    )
    return (
        f'<div role="status" aria-live="polite">{" &nbsp;·&nbsp; ".join(parts)}</div>'
    )


def film(frames: list[tuple[str, Image.Image]], columns: int = 1) -> Image.Image:
    """Captioned frames on one white sheet."""
    font = ImageFont.load_default(14)
    head = 24
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


def _caption(given: dict, measured: dict) -> str:
    def short(value) -> str:
        return f"{value:.3g}" if isinstance(value, int | float) else str(value)

    left = ", ".join(f"{name} = {short(v)}" for name, v in given.items())
    right = ", ".join(f"{k} {short(v)}" for k, v in measured.items() if k not in given)
    return f"{left}:  {right}" if left and right else left or right


def _display(widget) -> None:
    """Only the live widget; where no kernel answers, one line of text."""
    bundle = widget._repr_mimebundle_()
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    display(bundle | {"text/plain": STILL}, raw=True)


class Explorer:
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
        self.box = ipywidgets.VBox([*rows, *self._painter.parts])
        self.box.add_class("lmlib-explorer")
        self._moved()

    @property
    def value(self) -> dict[str, float]:
        """What draw measured last."""
        return self._painter.value

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

    def show(self) -> None:
        """Display the live widget."""
        _display(self.box)

    def frame(self, **values) -> tuple[Image.Image, dict[str, float]]:
        """Picture and numbers at ``values``; the rest as at the start."""
        unknown = set(values) - set(self.start)
        if unknown:
            raise ValueError(
                f"unknown control {sorted(unknown)}; there are {sorted(self.start)}"
            )
        return self._painter.frame(**(self.start | values))

    def at(self, **values) -> dict[str, float]:
        """The measured numbers at ``values``; the sliders stay where they are."""
        return self.frame(**values)[1]

    def strip(self, states: list[dict], alt: str, columns: int = 1) -> None:
        """The static twin: one captioned frame for each dict of control values."""
        frames = []
        for state in states:
            picture, measured = self.frame(**state)
            frames.append((_caption(state, measured), picture))
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
                    _set(control, end)
                    seen.append({"control": name, "at": _get(control), **self.value})
            finally:
                control.value = before
        return seen


# --------------------------------------------------------------------------------------
# Draggable landmarks
# --------------------------------------------------------------------------------------

_ESM = r"""
const NS = "http://www.w3.org/2000/svg";
const COLOURS = __COLOURS__;
// One outline a marker, radius about 8, in the order of lmlib.plots.MARKERS.
const star = (n, inner, turn = -90) => [...Array(2 * n)].map((_, i) => {
  const r = i % 2 ? inner : 9, a = (turn + 180 * i / n) * Math.PI / 180;
  return `${r * Math.cos(a)},${r * Math.sin(a)}`;
}).join(" ");
const poly = (n, turn) => [...Array(n)].map((_, i) => {
  const a = (turn + 360 * i / n) * Math.PI / 180;
  return `${9 * Math.cos(a)},${9 * Math.sin(a)}`;
}).join(" ");
const OUTLINES = [
  poly(24, 0), poly(4, 45), poly(3, -90), poly(4, 0), poly(3, 90),
  "-8,-3 -3,-3 -3,-8 3,-8 3,-3 8,-3 8,3 3,3 3,8 -3,8 -3,3 -8,3",
  star(4, 4.5, -45), star(5, 4, -90), poly(5, -90), poly(6, -90)];

function render({ model, el }) {
  const [width, height] = model.get("size");
  const [low, high] = model.get("limits");
  const clamp = (v) => Math.min(high, Math.max(low, v));
  el.classList.add("lmlib-drag");
  const frame = document.createElement("div");
  frame.style.cssText =
    `position:relative;width:${width}px;height:${height}px;background:white;margin:12px`;
  const picture = document.createElement("img");
  picture.style.cssText =
    "position:absolute;inset:0;width:100%;height:100%;image-rendering:pixelated;" +
    "user-select:none;pointer-events:none";
  picture.draggable = false;
  const svg = document.createElementNS(NS, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.style.cssText =
    "position:absolute;inset:0;width:100%;height:100%;overflow:visible";
  svg.setAttribute("role", "group");
  const style = document.createElement("style");
  style.textContent = `
    .lmlib-drag g { cursor: grab; outline: none; touch-action: none; }
    .lmlib-drag .ring { fill: transparent; stroke: none; }
    .lmlib-drag g:focus .ring { stroke: #005fcc; stroke-width: 3; }
    .lmlib-drag .mark { stroke: white; stroke-width: 1.5; }`;
  frame.append(style, picture, svg);
  el.append(frame);

  const toPixel = ([x, y]) => [(x + 1) / 2 * width, (y + 1) / 2 * height];
  // The view's own points: while a move waits to be sent, an echo of an older one
  // must not pull the point back.
  let points = model.get("points"), handles = [], held = null, waiting = false;

  function place() {
    points.forEach((p, k) => {
      const [x, y] = toPixel(p), g = handles[k];
      g.setAttribute("transform", `translate(${x} ${y})`);
      g.setAttribute("aria-valuenow", p[0].toFixed(3));
      g.setAttribute("aria-valuetext", `x ${p[0].toFixed(2)}, y ${p[1].toFixed(2)}`);
    });
  }
  function move(k, x, y) {
    points = points.map((p, i) => i === k ? [clamp(x), clamp(y)] : p);
    place();
    if (waiting) return;  // at most one message each 50 ms, and always the last place
    waiting = true;
    setTimeout(() => {
      waiting = false;
      model.set("points", points);
      model.save_changes();
    }, 50);
  }
  function build() {
    svg.replaceChildren();
    const names = model.get("names");
    handles = points.map((_, k) => {
      const g = document.createElementNS(NS, "g");
      const ring = document.createElementNS(NS, "circle");
      ring.setAttribute("r", 14);
      ring.setAttribute("class", "ring");
      const mark = document.createElementNS(NS, "polygon");
      mark.setAttribute("points", OUTLINES[k % OUTLINES.length]);
      mark.setAttribute("fill", COLOURS[k % COLOURS.length]);
      mark.setAttribute("class", "mark");
      const title = document.createElementNS(NS, "title");
      title.textContent = `${names[k]}: drag it, or use the arrow keys`;
      g.append(title, ring, mark);
      g.setAttribute("tabindex", "0");
      g.setAttribute("role", "slider");
      g.setAttribute("aria-label", `${names[k]}: arrow keys move it, shift faster`);
      g.setAttribute("aria-valuemin", low);
      g.setAttribute("aria-valuemax", high);
      g.addEventListener("pointerdown", (e) => {
        e.preventDefault();
        e.stopPropagation();
        g.focus({ preventScroll: true });
        g.setPointerCapture(e.pointerId);
        held = { k, id: e.pointerId };
      });
      g.addEventListener("pointermove", (e) => {
        if (!held || held.k !== k || held.id !== e.pointerId) return;
        const box = svg.getBoundingClientRect();
        move(k, 2 * (e.clientX - box.left) / box.width - 1,
                2 * (e.clientY - box.top) / box.height - 1);
      });
      const drop = () => { if (held && held.k === k) held = null; };
      g.addEventListener("pointerup", drop);
      g.addEventListener("pointercancel", drop);
      g.addEventListener("keydown", (e) => {
        const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0],
                       ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
        if (!step) return;
        e.preventDefault();
        e.stopPropagation();  // the notebook uses arrow keys to change cells
        const by = 0.02 * (e.shiftKey ? 5 : 1);  // 1 % or 5 % of the picture
        const [x, y] = points[k];
        move(k, x + by * step[0], y + by * step[1]);
      });
      svg.append(g);
      return g;
    });
    place();
  }
  const repaint = () => { picture.src = model.get("image"); };
  const describe = () => {
    picture.alt = model.get("alt");
    svg.setAttribute("aria-label", model.get("alt"));
  };
  const changed = () => {
    if (waiting) return;
    points = model.get("points");
    if (points.length !== handles.length) build();
    else place();
  };
  model.on("change:image", repaint);
  model.on("change:alt", describe);
  model.on("change:points", changed);
  build(); repaint(); describe();
  return () => {
    model.off("change:image", repaint);
    model.off("change:alt", describe);
    model.off("change:points", changed);
  };
}
export default { render };
"""

_DragBase = anywidget.AnyWidget if anywidget else traitlets.HasTraits


class DragPoints(_DragBase):
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
    size = traitlets.List().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    _esm = _ESM.replace("__COLOURS__", str(list(plots.COLOURS)))

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
        points = _as_points(points)
        names = [f"point {k}" for k in range(len(points))] if names is None else names
        if len(names) != len(points):
            raise ValueError(f"{len(names)} names for {len(points)} points")
        height, width = plots.as_array(image).shape[:2]
        scale = size / max(height, width)
        super().__init__(
            image=_data_url(image),
            points=points,
            names=list(names),
            size=[round(width * scale), round(height * scale)],
            alt=alt,
        )
        self.start = points
        self.on_move = on_move
        self._painter = _Painter(draw, output_size, alt) if draw else None
        self.output = self._painter.image if draw else None
        self.observe(self._moved, "points")
        self._moved()

    @traitlets.validate("points")
    def _keep_inside(self, proposal):
        low, high = self.limits
        points = _as_points(proposal["value"])
        return [[min(max(v, low), high) for v in point] for point in points]

    def _moved(self, _=None) -> None:
        if self.on_move:
            image = self.on_move(self.tensor())
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
    def value(self) -> dict[str, float]:
        """What draw measured last."""
        return self._painter.value if self._painter else {}

    def show(self) -> None:
        """Display both pictures and the numbers; core sliders without anywidget."""
        if anywidget is None:
            print("Dragging needs the package anywidget (pip install anywidget).")
            return _display(self.fallback())
        parts = [self, self._painter.image] if self._painter else [self]
        rows = [ipywidgets.HBox(parts, layout={"flex_flow": "row wrap"})]
        if self._painter:
            rows = [self._painter.text, *rows, self._painter.caption]
        box = ipywidgets.VBox(rows)
        box.add_class("lmlib-drag-box")
        _display(box)

    def fallback(self) -> ipywidgets.VBox:
        """The same points on core widgets: a list of names and two sliders."""
        low, high = self.limits
        which = dropdown("point", [(name, k) for k, name in enumerate(self.names)])
        sides = [slider(axis, low, high, 0.0, step=0.01) for axis in "xy"]

        shown = [None]

        def show_point(_=None):
            shown[0] = None
            for side, value in zip(sides, list(self.points[which.value]), strict=True):
                side.value = value
            shown[0] = which.value

        def move_point(change):
            if shown[0] != which.value:
                return  # the sliders are only being set to the point just chosen
            points = [list(point) for point in self.points]
            points[which.value][sides.index(change.owner)] = change.new
            self.points = points

        show_point()
        which.observe(show_point, "value")
        self.observe(show_point, "points")
        for side in sides:
            side.observe(move_point, "value")
        parts = [which, *sides]
        if self._painter:
            parts += self._painter.parts
        box = ipywidgets.VBox(parts)
        box.add_class("lmlib-drag-fallback")
        return box

    def frame(self, points=None) -> tuple[Image.Image, dict[str, float]]:
        """Second picture and numbers at ``points`` (or at the start)."""
        if not self._painter:
            raise ValueError("this DragPoints has no draw function")
        points = self.start if points is None else _as_points(points)
        return self._painter.frame(torch.tensor(points, dtype=torch.float32))

    def at(self, points=None) -> dict[str, float]:
        """The measured numbers at ``points``; the widget stays as it is."""
        return self.frame(points)[1]

    def strip(self, states: list, alt: str, captions=None, columns: int = 1) -> None:
        """The static twin: draw's picture for each ``(K, 2)`` of ``states``."""
        frames = []
        for number, state in enumerate(states):
            picture, measured = self.frame(state)
            caption = _caption({}, measured)
            if captions:
                caption = f"{captions[number]}:  {caption}"
            frames.append((caption, picture))
        plots.show(film(frames, columns), alt)

    def sweep(self, by: float = 0.2) -> list[dict]:
        """Move each point by ``by`` four ways and back, through the real callbacks."""
        seen, before = [], [list(point) for point in self.points]
        try:
            for k, name in enumerate(self.names):
                for dx, dy in ((-by, 0), (by, 0), (0, -by), (0, by)):
                    points = [list(point) for point in before]
                    points[k] = [points[k][0] + dx, points[k][1] + dy]
                    self.points = points
                    seen.append({"point": name, "at": self.points[k], **self.value})
        finally:
            self.points = before
        return seen


def _as_points(points) -> list[list[float]]:
    if hasattr(points, "detach"):
        points = points.detach().cpu().numpy()
    array = np.asarray(points, dtype=float)
    if array.ndim != 2 or array.shape[1] != 2 or len(array) == 0:
        raise ValueError(f"points must be (K, 2) with K >= 1, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("points must be finite numbers in [-1, 1]")
    return array.tolist()


def _data_url(image) -> str:
    values = (plots.as_array(image).clip(0, 1) * 255).round().astype("uint8")
    data = b64encode(plots.png(Image.fromarray(values))).decode()
    return f"data:image/png;base64,{data}"


# --------------------------------------------------------------------------------------
# Live training
# --------------------------------------------------------------------------------------

_LIVE: "weakref.WeakValueDictionary[str, LiveTraining]" = weakref.WeakValueDictionary()
QUICK_STEPS = 3


class LiveTraining:
    """Train in the background and watch: Start, Pause, Reset, knobs that act at once.

    Args:
        make_method: makes the untrained method; Reset makes it anew from the same seed.
        data, indices, steps: as in ``training.fit``.
        draw: ``draw(fig, method, history) -> {name: number}``, called without
            gradients and in eval mode, at most ``rate`` times a second. The method is
            on ``device`` (a GPU if there is one): move images there before use.
        knobs: name -> ``(slider, setter)``; ``setter(method, value)`` is called when
            the slider moves, also while training runs. A temperature slider passes
            beta.
        alt: one sentence on what the picture shows.
        size: of the picture in inches.
        name: a second LiveTraining of this name closes the first, so that a cell can
            be run again.
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
        self.log_every = self.fit_arguments["log_every"]
        self.device = self.fit_arguments.setdefault("device", best_device())
        self._painter = _Painter(draw, size, alt)
        self.image, self.text = self._painter.image, self._painter.text
        self._thread: threading.Thread | None = None
        self._stop, self._go = threading.Event(), threading.Event()
        self.closed = False
        self._build()
        self.reset()

    def _build(self) -> None:
        def button(text, icon, action, doc):
            made = ipywidgets.Button(description=text, icon=icon, tooltip=doc)
            made.on_click(lambda _: action())
            made.add_class(f"lmlib-{text.lower()}")
            return made

        self.buttons = {
            "start": button("Start", "play", self.start, "start or go on training"),
            "pause": button("Pause", "pause", self.pause, "hold between two steps"),
            "reset": button(
                "Reset", "undo", self.reset, "back to the untrained network"
            ),
        }
        for control, setter in self.knobs.values():
            control.observe(lambda _, c=control, s=setter: self._turn(c, s), "value")
        self.status = ipywidgets.HTML()
        self.status.add_class("lmlib-status")
        rows = [_row(control) for control, _ in self.knobs.values()]
        top = ipywidgets.HBox(list(self.buttons.values()))
        self.box = ipywidgets.VBox([top, *rows, self.status, *self._painter.parts])
        self.box.add_class("lmlib-live")

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

    @property
    def value(self) -> dict[str, float]:
        """What draw measured last."""
        return self._painter.value

    def start(self) -> None:
        """Start, or go on after a pause."""
        if self.closed:
            raise ValueError("this live training is closed: run its cell again")
        if not self._alive and (self.error or 0 < self.step < self.steps):
            self.reset()  # after an error, or run_inline: a clean start
        if self._thread is None and self.step < self.steps:
            self._stop.clear()
            self._thread = threading.Thread(
                target=self._train, args=(self.steps,), daemon=True, name="lmlib-live"
            )
            self._go.set()
            self._thread.start()
        self._go.set()
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
        self._drawn, self._stale, self._held = 0.0, False, False
        self._paint()
        self._tell()

    def close(self) -> None:
        """Stop the thread for good."""
        self._halt()
        self.closed = True
        for made in self.buttons.values():
            made.disabled = True
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

    def frame(self, method, history: list[dict]) -> tuple[Image.Image, dict]:
        """Picture and numbers for any method, by the same draw: for a static twin."""
        training = method.training
        method.eval()
        try:
            with torch.no_grad():
                return self._painter.frame(method, history)
        finally:
            method.train(training)

    def show(self) -> None:
        """Display the widget; under LMLIB_BUDGET=quick train a few steps first."""
        if current_budget() == "quick":
            self.run_inline(QUICK_STEPS)
        _display(self.box)

    # -- the training thread -----------------------------------------------------------

    def _train(self, steps: int) -> None:
        try:
            fit(
                self.method,
                self.data,
                self.indices,
                steps,
                callback=self._after_step,
                progress=False,
                **self.fit_arguments,
            )
            if not self._stop.is_set():
                self._paint()
        except Exception as error:
            self.error = error
        self._tell()

    def _after_step(self, step: int, terms: dict) -> bool:
        self.step = step
        if step % self.log_every == 0 or step == 1:
            row = {name: float(term.detach()) for name, term in terms.items()}
            self.history.append({"step": step, "loss": sum(row.values()), **row})
        if time.monotonic() - self._drawn > 1 / self.rate:
            self._paint()
            self._tell()
        self._stale = True  # if it pauses here, the picture shows what is held
        while not self._go.wait(0.1):
            self._held = True
            if self._stale:
                self._stale = False
                self._paint()
                self._tell()
        self._held = False
        return self._stop.is_set()

    def _paint(self) -> None:
        training = self.method.training
        self.method.eval()
        try:
            with torch.no_grad():
                self._painter.paint(self.method, self.history)
        finally:
            self.method.train(training)
            self._drawn = time.monotonic()

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
        text = html.escape(f"step {self.step} of {self.steps}{loss}: {state}")
        self.status.value = f'<div role="status" aria-live="polite">{text}</div>'


@atexit.register
def _close_all() -> None:
    for live in list(_LIVE.values()):
        live._halt()
