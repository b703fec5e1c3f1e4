"""Sliders and the picture they move."""

import threading
from collections.abc import Callable

from PIL import Image

from lmcourse.widgets.controls import rows_of, value_of
from lmcourse.widgets.picture import Interactive, Painter, box_of


class Explorer(Interactive):
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
        self.draw, self.controls = draw, controls
        self.start = self._values()
        self._painter = Painter(draw, size, alt)
        self.image, self.text = self._painter.image, self._painter.text
        self._lock, self._busy, self._stale = threading.RLock(), False, False
        for control in controls.values():
            control.observe(self.redraw, "value")
        rows = rows_of(list(controls.values()))
        self.box = box_of("explorer", rows + self._painter.parts)
        self.redraw()

    def redraw(self, _=None) -> None:
        """Draw again; called when a control moves, or what the picture shows changes.

        What draw raises is raised here.
        """
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
        return {name: value_of(control) for name, control in self.controls.items()}

    def frame(self, **values) -> tuple[Image.Image, dict[str, float]]:
        """Picture and numbers at ``values``; the rest as at the start."""
        unknown = sorted(set(values) - set(self.start))
        if unknown:
            raise ValueError(f"unknown control {unknown}; there are {list(self.start)}")
        return super().frame(**(self.start | values))
