"""Sliders and lists: core widgets with a tooltip, checked, and all of one width."""

import math

import ipywidgets
from ipywidgets import HBox

TRACK = 240  # pixels: what a slider moves along, or the width of a list
READOUT = 76  # pixels: the number beside it


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


def value_of(control):
    """What draw or a setter receives."""
    return control.beta if isinstance(control, TemperatureSlider) else control.value


def stops_of(control) -> list:
    """Values a sweep visits: both ends of a slider, every entry of a list."""
    if hasattr(control, "options"):
        return [o[1] if isinstance(o, tuple) else o for o in control.options]
    if not hasattr(control, "min"):
        return [False, True]  # a check box
    ends = [control.min, control.max]
    is_log = isinstance(control, ipywidgets.FloatLogSlider)
    return [control.base**end for end in ends] if is_log else ends


def rows_of(controls: list) -> list:
    """The controls as rows below each other: all labels and all tracks of one length.

    Whatever core widgets they are: a notebook may make its own.
    """
    longest = max(
        (len(getattr(each, "description", "")) for each in controls), default=0
    )
    label = min(max(7 * longest + 12, 90), 250)  # pixels; seven a letter
    rows = []
    for control in controls:
        if control.has_trait("style") and control.style.has_trait("description_width"):
            control.style.description_width = f"{label}px"
        readout = READOUT * bool(getattr(control, "readout", False))
        control.layout.width = f"{label + TRACK + readout}px"
        control.layout.max_width = "calc(100% - 4px)"  # a margin of 2 on both sides
        both = getattr(control, "both", None)
        wrap = {"flex_flow": "row wrap", "overflow": "visible"}
        rows.append(control if both is None else HBox([control, both], layout=wrap))
    return rows
