"""Figures of DLAN's result rows, for notebook 42: effects, groups, boxes."""

import math
from collections.abc import Callable, Sequence
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lmcourse.evidence.effects import interval
from lmcourse.plots import COLOURS, figure, show

LIMITS = {  # metric -> where its landmarks are found, and how it is drawn
    "pdl": ("within 6.84 %", "o", 1),
    "pdl_4": ("within 4 %", "s", 3),
    "pdl_2": ("within 2 %", "^", 5),
}
Effect = tuple[float, float, float]  # mean, and the ends of its interval


def draw_effects(
    ax: Axes,
    effects: dict[str, dict[str, Effect | None]],
    paper: dict[str, float] | None = None,
) -> Axes:
    """Points gained, a row an effect, at the thresholds of ``LIMITS``.

    ``effects``: name -> metric -> what was measured. ``paper``: name -> its points
    within 6.84 %, drawn as a diamond.
    """
    ax.axvline(0, color="0.4", lw=1)
    for y, (name, found) in enumerate(effects.items()):
        for k, (metric, (label, mark, tint)) in enumerate(LIMITS.items()):
            if effect := found.get(metric):
                middle, low, high = effect
                ends = [[middle - low], [high - middle]] if low > -math.inf else None
                look = {"fmt": mark, "ms": 7, "lw": 2, "color": COLOURS[tint]}
                look["label"] = label if not y else None
                ax.errorbar(middle, y + 0.24 * (k - 1), xerr=ends, **look)
        if paper and name in paper:
            look = {"mfc": "white", "mec": "black", "mew": 1.5, "ms": 9}
            ax.plot(paper[name], y - 0.24, "D", zorder=4, **look)
    ax.set_yticks(range(len(effects)), [*effects], fontsize=11)
    ax.set_ylim(len(effects) - 0.5, -0.6)
    ax.set_xlabel("points gained", fontsize=11)
    return ax


def effects_legend(fig: Figure, paper: bool = True) -> None:
    """What the marks of ``draw_effects`` are, below a figure."""
    marks = [
        Line2D([], [], ls="", marker=mark, color=COLOURS[tint], ms=8, label=label)
        for label, mark, tint in LIMITS.values()
    ]
    look = {"mfc": "white", "mec": "black", "mew": 1.5, "ms": 9}
    if paper:
        marks.append(Line2D([], [], ls="", marker="D", label="paper", **look))
    fig.set_figheight(fig.get_figheight() + 0.35)
    place = {"loc": "outside lower center", "ncols": len(marks), "frameon": False}
    fig.legend(handles=marks, fontsize=11, **place)


METHODS = {"DLAN": ("^", 3), "joint": ("s", 2), "detector": ("D", 1), "FC": ("o", 0)}
KINDS = {"pdl_t_shirt": "T-shirt", "pdl_tank_top": "tank\ntop",
         "pdl_long_sleeve": "long\nsleeve", "pdl_coat": "coat", "pdl_dress": "dress",
         "pdl_skirt": "skirt", "pdl_trousers": "trousers"}  # fmt: skip
VARIED = {"pdl_normal_pose": "normal\npose", "pdl_medium_pose": "medium\npose",
          "pdl_large_pose": "large\npose", "pdl_medium_zoom": "medium\nzoom-in",
          "pdl_large_zoom": "large\nzoom-in"}  # fmt: skip
SEEN_IN = {"pdl_shop": "shop", "pdl_user": "user"}
TIGHTER = {"pdl_2": "2 %", "pdl_4": "4 %", "pdl": "6.84 %"}
Rates = Callable[[str, str], list[float]]  # setting and metric -> a value a seed


def draw_methods(
    ax: Axes, labels: Sequence[str], found: dict[str, list[list[float]]], title: str
) -> Axes:
    """Detection rates of some methods side by side, with 90 % intervals over seeds.

    ``found``: method of ``METHODS`` -> for each label the values of its runs.
    """
    for k, (method, groups) in enumerate(found.items()):
        mark, tint = METHODS[method]
        shift = 0.13 * (k - (len(found) - 1) / 2)
        for x, runs in enumerate(groups):
            if runs:
                middle, low, _ = (float(v) for v in interval(runs))
                half = middle - low if low > -math.inf else 0.0
                look = {"fmt": mark, "ms": 7, "lw": 1.8, "color": COLOURS[tint]}
                look["label"] = method if not x else None
                ax.errorbar(x + shift, middle, half, **look)
    ax.set_xticks(range(len(labels)), labels, fontsize=10)
    ax.set_xlim(-0.5, len(labels) - 0.5)
    ax.set_title(title, fontsize=12)
    ax.set_ylim(0, 80)
    return ax


def show_groups(rates: Rates) -> None:
    """Figure 8: detection rates by kind of garment and by variation."""
    fig, axes = figure(9, 3.4, cols=2, sharey=True, width_ratios=(7, 5))
    for ax, (title, names) in zip(
        axes, {"kind of garment": KINDS, "variation": VARIED}.items(), strict=True
    ):
        found = {m: [rates(m, name) for name in names] for m in METHODS}
        draw_methods(ax, [*names.values()], found, title)
    axes[0].set_ylabel("detected (%)", fontsize=12)
    axes[1].legend(fontsize=11, ncols=2)
    show(
        fig,
        "Detection rates of four methods by kind of garment and by variation, with "
        "90 % intervals over seeds",
    )


def show_where_it_leads(rates: Rates) -> None:
    """Figures 8 and 10: over thresholds, over training images, in shops and outside."""
    fig, axes = figure(9, 3.2, cols=3, sharey=True, width_ratios=(3, 2, 2))
    panels = {"threshold": TIGHTER, "pictures taken by": SEEN_IN}
    for ax, (title, names) in zip((axes[0], axes[2]), panels.items(), strict=True):
        found = {m: [rates(m, name) for name in names] for m in METHODS}
        draw_methods(ax, [*names.values()], found, title)
    counts = {"300": ",N=300", "1,000": ",N=1000", "3,000": ""}
    found = {
        m: [rates(m + end, "pdl") for end in counts.values()] for m in ("DLAN", "FC")
    }
    draw_methods(axes[1], [*counts], found, "training images")
    axes[0].set_ylabel("detected (%)", fontsize=12)
    axes[0].legend(fontsize=11, loc="upper left")
    show(
        fig,
        "Detection rates of four methods at three thresholds; of DLAN and FC trained "
        "with 300, 1,000 and 3,000 images; and on pictures of shops and of users",
    )


def show_boxes(found: Rates, plain: float) -> None:
    """Landmarks found over the overlap of the box they are looked for in: a network's
    own, a true box whose sides have moved, the true box.

    Args:
        found: setting and metric of table ``dlan-boxes`` -> values, one a seed.
        plain: the detection rate of FC, which has no box.
    """
    fig, ax = figure(8, 3.2)
    ax.axhline(plain, color="0.4", lw=1.5, ls="--", label="FC, without a box")
    for setting in ("detector", "joint"):
        mark, tint = METHODS[setting]
        places = {"own": "overlap", "moved": "overlap_moved", "true": None}
        x = [mean(found(setting, m)) if m else 1.0 for m in places.values()]
        y = [mean(found(setting, f"pdl_{name}")) for name in places]
        ax.plot(x, y, mark + "-", ms=10, lw=2, color=COLOURS[tint], label=setting)
        for name, at, rate in zip(places, x, y, strict=True):
            below = -23 if setting == "joint" else 9
            place = {"xytext": (0, below), "textcoords": "offset points"}
            ax.annotate(name, (at, rate), ha="center", fontsize=11, **place)
    ax.set(xlim=(0.5, 1.05), ylim=(20, 80))
    ax.set_xlabel("overlap of the box with the true one (1: the same)", fontsize=12)
    ax.set_ylabel("detected (%)", fontsize=12)
    ax.legend(fontsize=11, loc="upper left")
    show(
        fig,
        "Detection rates over the overlap of the box with the true one: in the "
        "network's own box, in a true box moved a little, in the true box. The "
        "detector's landmarks gain steeply, the joint network's hardly",
    )
