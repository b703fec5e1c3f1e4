"""One picture that is drawn again and again, and the numbers measured in it."""

import gc
import html
import math
import threading
from collections.abc import Callable
from functools import cache

import ipywidgets
from IPython.display import display
from ipywidgets import HTML, VBox
from matplotlib.axes import Axes
from PIL import Image, ImageDraw, ImageFont

from lmcourse import plots
from lmcourse.widgets.access import access
from lmcourse.widgets.controls import stops_of, value_of
from lmcourse.widgets.reused import ReusedFigure

STILL = "[interactive: run this notebook to move it; still pictures follow]"
_DRAWING = threading.RLock()  # one figure is drawn at a time, whichever thread asks


@cache
def _spare_collections() -> None:
    """Leave what is loaded by now out of garbage collections, once.

    Redrawing makes garbage, and a full collection walks all of torch and matplotlib: a
    pause of 0.2 s while a slider moves.
    """
    gc.collect()
    gc.freeze()


def box_of(name: str, parts: list) -> VBox:
    """The parts below each other; the class ``lmlib-name`` is for tests and styles."""
    box = VBox(parts, layout={"overflow": "visible", "max_width": "100%"})
    return box.add_class("lmlib-box").add_class(f"lmlib-{name}")


class Painter:
    """``draw(fig, ...) -> {name: number}`` on one reused figure, shown in one Image."""

    def __init__(self, draw: Callable, size, alt: str):
        _spare_collections()
        self.draw, self.alt = draw, plots.check_alt(alt)
        self.fig = ReusedFigure(size, dpi=100, facecolor="white", layout="constrained")
        self._places = None
        width, height = (round(100 * side) for side in size)
        layout = {"width": f"{width}px", "max_width": "100%", "margin": "0"}
        layout["object_fit"] = "contain"
        self.image = ipywidgets.Image(width=width, height=height, layout=layout)
        self.image.add_class("lmlib-picture")
        self.text = HTML().add_class("lmlib-measured")
        # An Image has no alt text of its own (and a tooltip breaks it): say it below.
        self.access = access(alt)
        self.below = [self.text, HTML(plots.caption_html(alt)), *self.access]
        # The picture comes first: numbers that take a second line do not move it.
        self.parts = [self.image, *self.below]
        self.value: dict[str, float] = {}

    def frame(self, *args, **values) -> tuple[Image.Image, dict[str, float]]:
        """Paint; the picture and the measured numbers."""
        with _DRAWING:
            self.fig.begin()
            # Layout is solved once and then kept: panels do not jump while a slider
            # moves, and an update takes less time.
            solved = self._places is not None
            self.fig.set_layout_engine("none" if solved else "constrained")
            measured = self.draw(self.fig, *args, **values) or {}
            axes = self.fig.axes
            waiting = list(filter(_waits, axes))
            if solved and len(axes) != len(self._places):
                self.fig.set_layout_engine("constrained")
            elif solved:
                for ax, place in zip(axes, self._places, strict=True):
                    ax.set_position(place, which="original")
            picture = plots.pixels(self.fig)
            if not solved and not waiting:
                self._places = [ax.get_position(original=True) for ax in axes]
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
        self.image.value = plots.quick_png(picture)
        self.text.value = measured_html(self.value)


def _waits(ax: Axes) -> bool:
    """It shows nothing but curves without points yet: till then its scale is plain."""
    curves = bool(ax.lines) and not (ax.collections or ax.patches or ax.images)
    empty = curves and not any(len(line.get_xdata()) for line in ax.lines)
    if empty and ax.get_autoscalex_on():
        ax.set_xlim(0, 1)
    if empty and ax.get_autoscaley_on():
        ax.set_ylim(0, 1)
    return empty


def _plain(x):
    x = x.item() if hasattr(x, "item") else x
    return int(x) if isinstance(x, int) else float(x)


def measured_html(values: dict[str, float]) -> str:
    """The measured numbers as a line that screen readers announce when it changes."""

    def number(value) -> str:
        short = isinstance(value, int) or not 0.001 <= abs(value) < 1000
        return _short_number(value) if short else f"{value:.4f}"

    parts = (
        f'<span style="white-space:nowrap">{html.escape(name)} '
        f'<b data-name="{html.escape(name)}">{number(value)}</b></span>'
        for name, value in values.items()
    )
    return announced(" &nbsp;·&nbsp; ".join(parts))


def _short_number(value) -> str:
    """Three digits; less than a millionth is zero, but for rounding."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.3g}" if abs(value) >= 1e-6 else "0"


def announced(markup: str) -> str:
    look = 'role="status" aria-live="polite" style="line-height:1.5"'
    return f"<div {look}>{markup}</div>"


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


def _short(values: dict, join: str = " ", number=_short_number) -> str:
    return ", ".join(
        f"{name}{join}{number(v) if isinstance(v, int | float) else v}"
        for name, v in values.items()
    )


class Interactive:
    """What Explorer, DragPoints and LiveTraining share: one painter and its frames."""

    _painter: Painter | None = None
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
            # What is measured may be a rounding error; what is chosen is not.
            chosen = _short(given, " = ", "{:.3g}".format)
            said = captions[number] if captions else chosen
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
                for end in stops_of(control):
                    control.value = end
                    seen.append(
                        {"control": name, "at": value_of(control), **self.value}
                    )
            finally:
                control.value = before
        return seen
