"""Pictures of notebooks 00 to 02: two maps as light, temperatures, a letter to warp.

Images are ``(1|3, H, W)`` in [0, 1], maps ``(K, H, W)``, points ``(K, 2)`` in [-1, 1].
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lmcourse.plots import (
    COLOURS,
    EXTENT,
    INFERNO,
    draw_heatmap,
    draw_image,
    draw_points,
    figure,
    marker,
)

FULL = 0.1  # the probability of a pixel that shines fully
LIGHTS = torch.tensor([[0.90, 0.62, 0.0], [0.34, 0.71, 0.91]])  # orange, blue


# -- temperatures ----------------------------------------------------------------------


def temperature_text(beta: float) -> str:
    """``T = 0.1 (beta = 10)``: one temperature, said both ways."""
    return f"T = {1 / beta:.3g} (beta = {beta:.3g})"


def temperature_ticks(ax: Axes, betas: Sequence[float]) -> None:
    """Ticks of a logarithmic axis over beta that say the temperature, too."""
    words = [f"$\\beta$ = {beta:g}\nT = {1 / beta:g}" for beta in betas]
    ax.set_xticks(list(betas), words, fontsize=10)
    ax.minorticks_off()


# -- two maps --------------------------------------------------------------------------


def two_lights(image: Tensor, maps: Tensor) -> Tensor:
    """Two maps of probability, one orange and one blue, over the dimmed image.

    A pixel shines fully from ``FULL`` on, so that a flat map is faint.
    """
    strength = (maps / FULL).clamp(max=1) ** 0.4
    light = torch.einsum("kij,kc->cij", strength, LIGHTS)
    return (0.35 * image + light).clamp(0, 1)


def draw_two_lights(ax: Axes, image: Tensor, maps: Tensor, points: Tensor) -> None:
    """The image under its two maps, and the two landmarks as rings."""
    draw_image(ax, two_lights(image, maps))
    look = {"facecolors": "none", "linewidths": 2.4}
    draw_points(ax, points, size=130, edgecolors="black", **look | {"linewidths": 4.5})
    draw_points(ax, points, size=130, edgecolors=COLOURS[:2], **look)


class Stop(NamedTuple):
    """A network in training: maps ``(B, 2, H, W)`` and points ``(B, 2, 2)``."""

    maps: Tensor
    points: Tensor


def training_strip(
    images: Tensor, stops: Mapping[int, Stop], loss: Mapping[int, float]
) -> Figure:
    """Images ``(B, 1, H, W)`` in rows, steps in columns, and the loss below them."""
    rows, cols = len(images), len(stops)
    fig, unused = figure(9, rows * 1.85 + 2.1)
    unused.remove()
    grid = GridSpec(rows + 1, cols, figure=fig, height_ratios=[1.85] * rows + [1.9])
    for column, (step, stop) in enumerate(stops.items()):
        for row, image in enumerate(images):
            ax = fig.add_subplot(grid[row, column])
            draw_two_lights(ax, image, stop.maps[row], stop.points[row])
            if row == 0:
                ax.set_title(f"step {step}", fontsize=13)
    ax = fig.add_subplot(grid[rows, :])
    draw_loss(ax, loss)
    at = {step: loss[step] for step in stops}
    ax.plot(list(at), list(at.values()), "o", ms=11, mec="white", color=COLOURS[3])
    ax.set_ylabel("class loss", fontsize=12)
    ax.set_xlabel("step (dots: the pictures above)", fontsize=12)
    return fig


def draw_loss(ax: Axes, loss: Mapping[int, float]) -> None:
    """The class loss after each step, and what a guess costs; one step is a dot."""
    look = {"marker": "o"} if len(loss) == 1 else {}
    ax.axhline(np.log(2), color="0.6", lw=1)
    ax.plot(list(loss), list(loss.values()), "k-", **look)
    look = {"ha": "right", "va": "bottom", "transform": ax.get_yaxis_transform()}
    ax.text(0.99, np.log(2) + 0.01, "a guess", **look)
    ax.set(ylim=(0, 0.82), xlim=(-3, max([100, *loss]) + 3))


def landmarks_and_maps(
    images: Tensor, points: Tensor, maps: Tensor, words: Sequence[str]
) -> Figure:
    """Images in columns: their landmarks ``(B, 2, 2)``, then each of two maps.

    ``words`` say what each map is of; a legend shows whose marker is whose.
    """
    fig, axes = figure(9, 7.2, rows=3, cols=len(images))
    axes = axes.reshape(3, -1)
    names = [f"landmark of map {k + 1} ({word})" for k, word in enumerate(words)]
    for column, image in enumerate(images):
        draw_image(axes[0, column], image)
        look = {"size": 150, "edgecolors": "black", "linewidths": 1.5}
        draw_points(axes[0, column], points[column], names, **look)
        for ax, one in zip(axes[1:, column], maps[column], strict=True):
            draw_heatmap(ax, one**0.3, image * 0.5)  # faint mass shows
    sides = ("landmarks", *(f"map {k + 1}" for k in range(2)))
    for ax, side in zip(axes[:, 0], sides, strict=True):
        ax.set_ylabel(side, fontsize=13)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    place = {"loc": "outside upper center", "ncols": 2, "fontsize": 12}
    fig.legend(handles, labels, **place)
    return fig


def draw_on_one_scale(ax: Axes, p: Tensor, highest: float, title: str) -> None:
    """A map of probability ``(H, W)`` in colours from 0 to ``highest`` and beyond."""
    shade = (p / highest).clamp(max=1).sqrt()  # weak ones show
    draw_image(ax, torch.tensor(INFERNO(shade.numpy())[..., :3]).permute(2, 0, 1))
    ax.set_title(title, fontsize=12)


def draw_signed_map(ax: Axes, scores: Tensor, title: str) -> None:
    """Scores ``(H, W)`` from -1, blue, to 1, red, with a bar of their colours."""
    draw_image(ax, torch.zeros(scores.shape), title)  # the axes of a picture
    look = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1, "extent": EXTENT, "zorder": 0}
    drawn = ax.imshow(scores.numpy(), interpolation="nearest", **look)
    bar = ax.figure.colorbar(drawn, ax=ax, fraction=0.05, pad=0.02)
    bar.set_ticks([-1, 0, 1], labels=["-1", "0", "1"], fontsize=11)


# -- soft-argmax and argmax ------------------------------------------------------------


def draw_hollow(ax: Axes, points, size: float = 130, names: bool = True) -> None:
    """The soft-argmax as a ring, the argmax as an empty square: what is there shows."""
    words = ("soft-argmax", "argmax")
    for k, (x, y) in enumerate(points):
        look = {"marker": marker(k), "facecolors": "none", "clip_on": False}
        ax.scatter(x, y, s=size, edgecolors="white", lw=4.5, zorder=5, **look)
        look |= {"label": words[k] if names else None}
        ax.scatter(x, y, s=size, edgecolors=COLOURS[k], lw=2.5, zorder=6, **look)


# -- a letter to warp ------------------------------------------------------------------


def letter_card(letter: str = "R", side: int = 480, at=(0.0, -0.25)) -> Tensor:
    """A letter at ``at`` on squared paper: an image ``(1, 3, side, side)``."""
    card = Image.new("RGB", (side, side), "#f4efe2")
    pen = ImageDraw.Draw(card)
    for cut in (side * step // 8 for step in range(1, 8)):
        pen.line([(0, cut), (side, cut)], "#c9c2b0", side // 160)
        pen.line([(cut, 0), (cut, side)], "#c9c2b0", side // 160)
    place = tuple((value + 1) * side / 2 for value in at)
    font = ImageFont.load_default(0.16 * side)
    pen.text(place, letter, "#0b3d6b", font, anchor="mm", stroke_width=side // 100)
    return torch.tensor(np.asarray(card) / 255.0).float().permute(2, 0, 1)[None]


def outline(ax: Axes, inside: Tensor) -> None:
    """A red line round the pixels ``(H, W)`` that are true."""
    height, width = inside.shape
    x = (2 * torch.arange(width) + 1) / width - 1
    y = (2 * torch.arange(height) + 1) / height - 1
    look = {"levels": [0.5], "colors": ["#d01c1c"], "linewidths": 3}
    ax.contour(x, y, inside.float(), **look)


def draw_pair(ax: Axes, wanted, seen) -> None:
    """Where a landmark should be, a red cross, and where it is found, a black ring.

    Both are edged in white, and a red line joins them: their distance is the error.
    """
    (x, y), (u, v) = wanted, seen
    ax.plot([x, u], [y, v], color="white", lw=6, zorder=6)
    ax.plot([x, u], [y, v], color="red", lw=3, zorder=7)
    ring = {"s": 330, "facecolors": "none", "zorder": 8, "clip_on": True}
    ax.scatter(u, v, edgecolors="white", lw=6, **ring)
    ax.scatter(u, v, edgecolors="black", lw=3, **ring)
    ax.scatter(x, y, s=230, c="white", marker="x", lw=6, zorder=9)
    ax.scatter(x, y, s=200, c="red", marker="x", lw=3, zorder=10)
