"""Boards: large pictures in rows and columns, with landmarks on them.

All pictures of a board are one matplotlib axes, so that a widget redraws quickly. Cells
are one unit wide and high, the first one from (0, 0) to (1, 1)::

    board = Board(columns=3, heads=("image", "drawn again", "edited"))
    board.put([image, drawn, edited])
    board.mark(points, column=2)
    board.show("A face, drawn again, and with its mouth moved")
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from torch import Tensor

from lmcourse.plots import (
    check_alt,
    colour,
    draw_points,
    figure,
    marker,
    show,
)
from lmlib.palette import COLOURS

RIM = 3  # pixels of white on each side of a picture
HEAD, SIDE = 24, 24  # pixels of a line of words above, and of one beside
WIDEST = 900  # pixels of a page
RED = COLOURS[3]


class Canvas(Artist):
    """All pixels of an axes, drawn as they are: one call for any number of pictures."""

    def __init__(self, height: int, width: int):
        super().__init__()
        self.pixels = np.full((height, width, 4), 255, np.uint8)

    def draw(self, renderer) -> None:
        """Put the pixels where the axes are."""
        corner = self.axes.bbox.min.round().astype(int)
        renderer.draw_image(renderer.new_gc(), *corner, self.pixels[::-1])


class Board:
    """``columns`` by ``rows`` cells; words above (``heads``), beside (``sides``).

    ``side`` is the width of a cell in pixels; by default as large as the page allows,
    and at most ``widest``. A widget hands over its ``fig``, whose size is its own.
    """

    unit = 1.0, 1.0  # width and height of a cell, in the axes' coordinates
    rim, widest, letters = RIM, 208, 10.0  # pixels, pixels, points
    coarse = 32  # pictures smaller than that are maps of cells, enlarged as squares

    def __init__(
        self,
        columns: int,
        rows: int = 1,
        heads: Sequence[str] = (),
        sides: Sequence[str] = (),
        *,
        side: int | None = None,
        fig: Figure | None = None,
    ):
        wide, high = self.unit
        left, top = SIDE * bool(sides), HEAD * bool(heads)
        if fig is not None:
            width, height = fig.get_size_inches() * 100
            tall = (height - top) / rows * wide / high
            side = int(min((width - left) / columns, tall))
        self.side = side or min(self.widest, (WIDEST - left) // columns)
        tall = self.side * high / wide
        if fig is None:
            width, height = left + columns * self.side, top + rows * tall
            fig = figure(width / 100, height / 100)[0]
            fig.clear()
        fig.set_layout_engine("none")
        across, down = columns * self.side / width, rows * tall / height
        place = (left / width, 1 - top / height - down, across, down)
        self.fig, self.ax = fig, fig.add_axes(place)
        self.ax.set(xlim=(0, wide * columns), ylim=(high * rows, 0))
        self.ax.set_axis_off()
        self.canvas = Canvas(round(rows * tall), columns * self.side)
        self.ax.add_artist(self.canvas)
        gap = 5 * wide / self.side
        for column, text in enumerate(heads):
            look = {"ha": "center", "va": "bottom", "fontsize": self.letters}
            self.ax.text(wide * (column + 0.5), -gap, text, **look)
        for row, text in enumerate(sides):
            look = {"ha": "right", "va": "center", "rotation": 90}
            look["fontsize"] = self.letters
            self.ax.text(-gap, high * (row + 0.5), text, **look)

    def put(
        self, pictures: Tensor | Iterable[Tensor], column: int = 0, row: int = 0
    ) -> None:
        """One picture ``(1|3, H, W)`` in [0, 1], or several side by side.

        They are enlarged smoothly; maps of cells (below ``coarse``) as squares.
        """
        one = torch.is_tensor(pictures) and pictures.ndim == 3
        pictures = [pictures] if one else list(pictures)
        wide, high = self.unit
        inside = [round(self.side * x / wide) - 2 * self.rim for x in (high, wide)]
        bigger = [enlarged(x, inside, self.coarse) for x in pictures]
        for number, picture in enumerate(bigger):
            values = (255 * picture).round().byte().permute(1, 2, 0).numpy()
            top = round(self.side * high * row / wide) + self.rim
            left = self.side * (column + number) + self.rim
            rows, columns = slice(top, top + inside[0]), slice(left, left + inside[1])
            self.canvas.pixels[rows, columns, :3] = values

    def on(self, points: Tensor, column: int = 0, row: int = 0) -> Tensor:
        """Points of a picture in [-1, 1], ``(..., 2)``, in units of the board."""
        half = torch.tensor(self.unit) / 2
        middle = half * torch.tensor([2 * column + 1, 2 * row + 1])
        return middle + (half - self.unit[0] * self.rim / self.side) * points.detach()

    def mark(
        self, points: Tensor, column: int = 0, row: int = 0, size: float = 40, **look
    ) -> None:
        """Landmarks ``(K, 2)``, each in its colour and shape."""
        look = {"linewidths": 0.8} | look
        draw_points(self.ax, self.on(points, column, row), size=size, **look)

    def name(self, points: Tensor, column: int = 0, row: int = 0, which=None) -> None:
        """Numbers beside landmarks ``(K, 2)``, of all or of those in ``which``."""
        for k in range(len(points)) if which is None else which:
            x, y = self.on(points[k], column, row).tolist()
            look = {"fontsize": 9, "color": "black", "zorder": 7}
            look["bbox"] = {"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.8}
            away = 12 / self.side * (-1 if x % 1 > 0.85 else 1)
            self.ax.text(x + away, y, str(k), ha="center", va="center", **look)

    def rings(self, points: Tensor, column: int = 0, row: int = 0, **look) -> None:
        """White rings: where something should be."""
        look = {"ms": 13, "mfc": "none", "mec": "white", "mew": 1.6, "zorder": 6} | look
        self.ax.plot(*self.on(points, column, row).reshape(-1, 2).T, "o", ls="", **look)

    def point(
        self, point: Tensor, k: int, column: int = 0, row: int = 0, **look
    ) -> None:
        """One landmark ``(2,)`` with the colour and shape of number ``k``."""
        look = {"c": colour(k), "mec": "white", "ms": 11, "zorder": 6} | look
        self.ax.plot(*self.on(point, column, row), marker(k), **look)

    def lines(
        self, starts: Tensor, ends: Tensor, column: int = 0, row: int = 0, **look
    ) -> None:
        """Lines from points to points, ``(N, 2)`` both; one artist."""
        look = {"color": RED, "lw": 2, "zorder": 4, "solid_capstyle": "round"} | look
        gap = torch.full_like(starts, torch.nan)  # a line ends there
        path = torch.stack([starts, ends, gap], dim=1).flatten(0, 1)
        self.ax.plot(*self.on(path, column, row).T, "-", **look)

    def say(self, text: str, column: int = 0, row: int = 0, top: bool = False) -> None:
        """Words at the foot of a cell, or at its ``top``."""
        look = {"ha": "center", "va": "top" if top else "bottom", "fontsize": 10}
        look["bbox"] = {"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 1.5}
        (wide, high), down = self.unit, 0.03 if top else 0.97
        self.ax.text(wide * (column + 0.5), high * (row + down), text, zorder=7, **look)

    def show(self, alt: str, first: bool = False) -> None:
        """Display the board with its description; see ``plots.show``."""
        show(self.fig, check_alt(alt), first)


def enlarged(
    picture: Tensor, size: int | Sequence[int], coarse: int = Board.coarse
) -> Tensor:
    """``(1|3, h, w)`` to ``(3, *size)``, clamped to [0, 1]; what is smaller than
    ``coarse`` keeps its pixels."""
    how = "nearest-exact" if max(picture.shape[-2:]) < coarse else "bicubic"
    bigger = F.interpolate(picture[None].detach().float(), size, mode=how)[0]
    return bigger.clamp(0, 1).expand(3, -1, -1)


GLOW = torch.tensor([1.0, 0.95, 0.2]).view(3, 1, 1)


def grey(image: Tensor, bright: float = 1.0) -> Tensor:
    """The picture ``(3, H, W)`` without its colours: coloured marks stand out."""
    return (bright * image.mean(-3, keepdim=True)).expand(3, -1, -1)


def glowing(image: Tensor, light: Tensor, dark: float = 0.55) -> Tensor:
    """A darker grey ``(3, H, W)`` picture that glows where ``light (h, w)`` is 1."""
    light = F.interpolate(light[None, None].float(), image.shape[-2:], mode="nearest")
    return torch.lerp(grey(image, dark), GLOW.expand_as(image), light[0].clamp(0, 1))


def decades(p: Tensor, count: float = 3.0) -> Tensor:
    """A map of probabilities as light: 1 at its largest, 0 ``count`` decades below."""
    return (p / p.max()).log10().clamp(min=-count) / count + 1
