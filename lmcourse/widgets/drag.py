"""Landmarks to drag over an image; ``drag.js`` is the half in the browser."""

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import traitlets
from ipywidgets import HBox, VBox
from PIL import Image

from lmcourse import plots
from lmcourse.widgets.access import anywidget
from lmcourse.widgets.controls import dropdown, rows_of, slider
from lmcourse.widgets.picture import Interactive, Painter, box_of


class DragPoints(
    Interactive, anywidget.AnyWidget if anywidget else traitlets.HasTraits
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

    ``points`` is a list of [x, y] kept equal on both sides: set it, or observe it. For
    another number of points set ``names`` first.
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
        self._painter = Painter(draw, output_size, alt) if draw else None
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
        return box_of("drag-box", [row, *side.below] if side else [row])

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

        def name_points(_):
            which.options = [(name, k) for k, name in enumerate(self.names)]

        show_point()
        which.observe(show_point, "value")
        self.observe(name_points, "names")
        self.observe(show_point, "points")
        for side in sides:
            side.observe(move_point, "value")
        parts = self._painter.parts if self._painter else []
        return box_of("drag-fallback", [*rows_of([which, *sides]), *parts])

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
