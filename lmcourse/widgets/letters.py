"""Text on Agg's canvas that is rasterised once and then copied.

Letters are most of the work in drawing a small figure, and from frame to frame of a
widget nearly all of them stay: tick labels, titles, legends.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.font_manager import FontProperties

_SPECIAL = ("fontfeatures", "language", "usetex")  # of a text: hardly ever set


class _Print(NamedTuple):
    """A text as it looks, ``(H, W, 4)`` bytes, and where from its origin, in pixels."""

    rgba: np.ndarray  # the bottom row first, as draw_image has it
    left: int  # of the first column, to the right
    top: int  # of the first row, downwards


class LettersRenderer(RendererAgg):
    """``RendererAgg`` that remembers the last thousand texts it drew."""

    def __init__(self, width, height, dpi):
        super().__init__(width, height, dpi)
        self._print = lru_cache(1000)(self._rasterise)

    def draw_text(self, gc, x, y, s, prop, angle, ismath=False, mtext=None):
        colour = gc.get_rgb()
        opaque = gc.get_alpha() == 1 and all(part == 1 for part in colour[3:])
        special = [getattr(mtext, f"get_{name}", bool)() for name in _SPECIAL]
        if not opaque or any(special):
            return super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)
        y -= self.height - int(self.height)  # the canvas has whole pixels
        # Two, not one: older versions round to pixels, and Python's halves to even.
        right, down = x % 2, y % 2
        left, top = round(x - right), round(y - down)
        look = (colour, gc.get_antialiased())
        found = self._print(s, prop.copy(), angle, ismath, right, down, look)
        if found is not None:
            bottom = int(self.height) - (top + found.top + len(found.rgba))
            self.draw_image(gc, left + found.left, bottom, found.rgba)

    def _rasterise(
        self,
        text: str,
        prop: FontProperties,
        angle: float,
        ismath: bool,
        right: float,
        down: float,
        look: tuple,
    ) -> _Print | None:
        """Draw ``text`` alone, begun ``right`` and ``down`` (0 to 2) from a pixel."""
        size = self.get_text_width_height_descent(text, prop, ismath)
        edge, width, height = _bounds(*size, angle)
        alone = RendererAgg(width, height, self.dpi)
        gc = alone.new_gc()
        gc.set_foreground(look[0], isRGBA=True)
        gc.set_antialiased(look[1])
        place = (edge[0] + right, edge[1] + down)
        alone.draw_text(gc, *place, text, prop, angle, ismath)
        gc.restore()
        seen = np.asarray(alone.buffer_rgba())
        rows, columns = (np.flatnonzero(seen[..., 3].any(axis=k)) for k in (1, 0))
        if not len(rows):
            return None  # spaces
        top, left = rows[0], columns[0]
        part = seen[top : rows[-1] + 1, left : columns[-1] + 1]
        return _Print(part[::-1].copy(), int(left) - edge[0], int(top) - edge[1])


def _bounds(width, height, descent, angle) -> tuple[tuple[int, int], int, int]:
    """Where a text begins on a canvas that just holds it, and that canvas's size."""
    turn = complex(math.cos(math.radians(angle)), -math.sin(math.radians(angle)))
    sides = [complex(x, y) for x in (0, width) for y in (descent, descent - height)]
    corners = [side * turn for side in sides]  # y points down
    margin = 4
    left = math.floor(min(c.real for c in corners)) - margin
    right = math.ceil(max(c.real for c in corners)) + margin
    top = math.floor(min(c.imag for c in corners)) - margin
    bottom = math.ceil(max(c.imag for c in corners)) + margin
    return (-left, -top), right - left, bottom - top


class LettersCanvas(FigureCanvasAgg):
    """``FigureCanvasAgg`` with a ``LettersRenderer``."""

    def get_renderer(self):
        key = (*self.figure.bbox.size, self.figure.dpi)
        if getattr(self, "_made_for", None) != key:
            self.renderer, self._made_for = LettersRenderer(*key), key
        return self.renderer
