"""Pictures of the notebook on measuring: chains, faces, and what experiments show."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from lmcourse.evidence.effects import OPEN, REFUTED, SHOWN, experiment, shares
from lmcourse.plots import COLOURS, draw_image, draw_points
from lmscenes import Blocks

SIDE = 444  # pixels in which a chain is drawn anew
MOST = 20  # seeds
NEAR = 0.66  # half of what a close-up of a chain shows, of a picture from -1 to 1
# word, colour, hatch: no two are told apart by colour alone
LOOK = {
    SHOWN: ("shown", COLOURS[2], ""),
    OPEN: ("open", "#dddddd", ""),
    REFUTED: ("refuted", COLOURS[3], "////"),
}
EDGE = [withStroke(linewidth=2.5, foreground="white")]


def draw_chain(ax: Axes, number: int, points: Tensor, crosses: Tensor | None = None):
    """A chain of Blocks, dimmed and near, with ``points (5, 2)`` in [-1, 1].

    Rings are the true centres of its squares, lines lead from them to the points.
    ``crosses (K, 2)`` are further points without a truth.
    """
    batch = Blocks(SIDE).batch([number])
    truth = batch["landmarks"][0]
    x, y = ((truth.amin(dim=0) + truth.amax(dim=0)) / 2).tolist()
    draw_image(ax, 0.5 * batch["image"][0])
    rings = {"facecolors": "none", "edgecolors": "white", "linewidths": 2, "zorder": 4}
    ax.scatter(*truth.T, s=210, **rings)
    for a, b in zip(truth.tolist(), points.tolist(), strict=True):
        ax.plot(*zip(a, b, strict=True), color="white", lw=3, zorder=4)
    if crosses is not None:
        look = {"ms": 8, "mew": 2.5, "zorder": 3}
        ax.plot(*crosses.T, "x", color="black", **look | {"mew": 4.5, "ms": 9})
        ax.plot(*crosses.T, "x", color="#f0e442", **look)
    draw_points(ax, points, size=110, edgecolors="black", clip_on=True)
    ax.set(xlim=(x - NEAR, x + NEAR), ylim=(y + NEAR, y - NEAR), facecolor="black")


def label(ax: Axes, x: float, y: float, text: str, color: str = "black", **look):
    """Large words on a picture, legible on lines."""
    look = {"fontsize": 12, "path_effects": EDGE, "zorder": 8} | look
    ax.text(x, y, text, color=color, **look)


# -- when may one say "better"? --------------------------------------------------------


def draw_verdict(fig: Figure, effect: float, spread: float, seeds: int, luck: int):
    """One experiment, its interval, and what all such experiments end with.

    ``effect`` is the true mean of A - B and ``spread`` its deviation from seed to seed,
    both in pixels; ``luck`` numbers the experiment. Returns the shares in percent.
    """
    one = experiment(effect, spread, seeds, shared=1.0, mean=8.0, seed=luck)
    left, middle, right = fig.subplots(1, 3, width_ratios=(1, 1.25, 1.6))
    left.plot([0, 1], [one.a, one.b], "o-", color="0.35", ms=6)
    left.set(xlim=(-0.4, 1.4), ylim=(4, 12), yticks=[4, 6, 8, 10, 12])
    left.set_ylabel("error (px)", fontsize=11)
    left.set_xticks([0, 1], ["A", "B"], fontsize=12)
    _draw_interval(middle, one)
    parts = np.array([shares(-effect, spread, n) for n in range(1, MOST + 1)])
    _draw_bands(right, 100 * parts)
    box = Rectangle((seeds - 0.5, 0), 1, 100, fill=False, lw=2.5, zorder=5)
    right.add_patch(box)
    shown, refuted, still = 100 * parts[seeds - 1].round(3)
    return {"shown %": shown, "open %": still, "refuted %": refuted}


def _draw_interval(ax: Axes, one) -> None:
    word, colour, hatch = LOOK[one.stands]
    ax.axvline(0, color="0.3", lw=1.5)
    ax.plot(one.a - one.b, np.full(len(one.a), 0.4), "k|", ms=16, mew=2)
    found = one.estimate
    if math.isfinite(found.low):
        bar = {"facecolor": colour, "hatch": hatch, "edgecolor": "black", "lw": 1.2}
        width = found.high - found.low
        ax.add_patch(Rectangle((found.low, -0.12), width, 0.24, **bar))
        ax.plot(found.value, 0, "|", color="black", ms=20, mew=3)
    else:
        label(ax, 0, -0.02, "no interval", ha="center", va="center")
    ax.set(xlim=(-2.5, 2.5), ylim=(-0.45, 0.7), yticks=[])
    ax.set_title(word, fontsize=14, fontweight="bold")
    ax.set_xlabel("A - B (px)", fontsize=11)


def _draw_bands(ax: Axes, parts: np.ndarray) -> None:
    """``parts (seeds, 3)``: percent of experiments shown, refuted and open."""
    edges = np.repeat(np.arange(len(parts) + 1) + 0.5, 2)[1:-1]
    floor = np.zeros(len(edges))
    for kind, part in ((SHOWN, 0), (OPEN, 2), (REFUTED, 1)):
        word, colour, hatch = LOOK[kind]
        top = floor + np.repeat(parts[:, part], 2)
        ax.fill_between(edges, floor, top, fc=colour, hatch=hatch, ec="black", lw=0.5)
        thick = parts[2:-3, part]  # a word needs room to either side
        place = int(thick.argmax())
        n, middle = place + 3, (floor + top)[2 * (place + 2)] / 2
        if thick[place] >= 18:
            label(ax, n + 0.6, middle, word, ha="center", va="center")
        elif parts[-1, part] >= 2:  # a thin band at the top or bottom: beside it
            y = top[-1] + 7 if kind == SHOWN else floor[-1] - 7
            label(ax, 0.8 * len(parts), y, word, ha="center", va="center")
        floor = top
    ax.set(xlim=(0.5, len(parts) + 0.5), ylim=(0, 100))
    ax.set(xticks=[1, 5, 10, 15, 20], yticks=[0, 50, 100])
    ax.set_xlabel("seeds", fontsize=11)
    ax.set_ylabel("% of experiments", fontsize=11)
