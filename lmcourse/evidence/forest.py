"""Claims as a picture: one line an effect, ours with its interval, the paper's a mark.

``forest("seqmt", ["seqmt-5", "seqmt-7"])`` returns a figure, ``show_forest`` displays
it in a notebook with its alt text. Colour and shape say the same thing.
"""

import math
import textwrap
from pathlib import Path

from matplotlib.figure import Figure
from PIL.PngImagePlugin import PngInfo

from lmcourse.evidence.blocks import interval_text, ours_text, paper_text
from lmcourse.evidence.claims import Measured, Verdict, judge_all
from lmcourse.evidence.effects import OPEN, REFUTED, SHOWN
from lmcourse.plots import few_colours, figure, pixels, show

README = ("seqmt-1", "seqmt-5", "lmdis-6", "lmdis-9", "dve-8", "dve-1")
LOOKS = {  # colour, marker, words; Okabe and Ito's, as in all figures of the course
    SHOWN: ("#009e73", "o", "shown"),
    OPEN: ("#e69f00", "s", "open"),
    REFUTED: ("#d55e00", "X", "other way round"),
}
SIDE, GREY = "#dcebf5", "#555555"
WIDTH, FONT = 9, 11  # inches, points: read at full width in a notebook
WRAP = 28  # letters in a line of a label


def forest(
    paper: str | None = None,
    ids: list[str] | tuple[str, ...] | None = None,
    verdicts: list[Verdict] | None = None,
) -> Figure:
    """The effects of a paper's claims, or of the claims ``ids`` in that order.

    Ratios stand on a logarithmic axis, and with them single settings, divided by the
    number they are held against; differences have a panel of their own. Shaded is the
    side that the paper claims. The figure's label (``get_label()``) is its alt text.
    ValueError for an unknown paper or id.
    """
    chosen = _chosen(paper, ids, judge_all() if verdicts is None else verdicts)
    rows = [(v, m) for v in chosen for m in v.effects or _missing(v)]
    panels = {
        linear: [row for row in rows if _linear(row[1]) == linear]
        for linear in (False, True)
    }
    panels = {linear: part for linear, part in panels.items() if part}
    heights = [len(rows) + 1.2 for rows in panels.values()]
    fig, axes = figure(
        WIDTH,
        0.4 + 0.46 * sum(heights),
        rows=len(panels),
        gridspec_kw={"height_ratios": heights},
        squeeze=False,
    )
    for ax, (linear, part) in zip(axes, panels.items(), strict=True):
        _panel(ax, part, linear)
    fig.legend(
        handles=_legend(),
        loc="outside upper center",
        ncols=6,
        fontsize=FONT - 1,
        frameon=False,
        handletextpad=0.3,
        columnspacing=1.2,
    )
    fig.set_label(alt(chosen))
    return fig


def show_forest(paper: str | None = None, ids=None) -> None:
    """Display ``forest`` in a notebook, with its alt text."""
    fig = forest(paper, ids)
    show(fig, fig.get_label())


def save_forest(path: Path, ids=README, verdicts: list[Verdict] | None = None) -> None:
    """Write the figure as PNG; what it shows stands in the file, too (``alt_of``)."""
    fig = forest(None, ids, verdicts)
    about = PngInfo()
    about.add_itxt("Description", fig.get_label())
    fig.set_dpi(125)
    few_colours(pixels(fig)).save(path, "png", pnginfo=about, optimize=True)


def alt(verdicts: list[Verdict]) -> str:
    """The figure in words: every effect with the paper's size and ours."""
    parts = []
    for verdict in verdicts:
        lines = [
            f"{m.effect.says}: paper {paper_text(m.effect)}, "
            f"ours {ours_text(verdict.claim, m)}"
            for m in verdict.effects or _missing(verdict)
        ]
        parts.append(f"{verdict.claim.id}, {verdict.verdict}: {'; '.join(lines)}.")
    return "Effects with their 90 % intervals beside the paper's. " + " ".join(parts)


def _chosen(paper, ids, verdicts: list[Verdict]) -> list[Verdict]:
    known = {v.claim.id: v for v in verdicts if paper in (None, v.claim.paper)}
    if not known:
        raise ValueError(f"no claims of a paper called {paper!r}")
    for name in ids or ():
        if name not in known:
            raise ValueError(f"unknown claim {name!r}; there are {', '.join(known)}")
    return [known[name] for name in (known if ids is None else ids)]


def _missing(verdict: Verdict) -> list[Measured]:
    return [Measured(effect) for effect in verdict.claim.effects]


# --- drawing --------------------------------------------------------------------------


def _panel(ax, rows: list[tuple[Verdict, Measured]], linear: bool) -> None:
    """One axis: labels left, numbers and verdicts right."""
    left, right = _limits([m for _, m in rows], linear)
    labels, numbers, words, names = [], [], [], []
    for y, (verdict, measured) in enumerate(rows):
        first = not y or verdict is not rows[y - 1][0]
        if first and y:
            ax.axhline(y - 0.5, color="#bbbbbb", lw=1, zorder=1)
        _row(ax, y, measured, left, right)
        over = f" ÷ {_scale(measured):g}" if _scale(measured) != 1 else ""
        says = f"{measured.effect.says}{over}".replace(" %", "\u00a0%")
        labels.append(textwrap.fill(says, WRAP))
        found = measured.estimate
        numbers.append(interval_text(measured.effect, found) if found else "–")
        words.append(f"{verdict.verdict}\n" if first else "")
        names.append(f"\n{verdict.claim.id}" if first else "")
    ax.set(xlim=(left, right), ylim=(len(rows) - 0.4, -0.6))
    ax.set_yticks(range(len(rows)), labels, fontsize=FONT)
    beside = 16 + 0.56 * FONT * max(map(len, numbers))  # points, where verdicts begin
    for texts, pad, look in (
        (numbers, 8, {}),
        (words, beside, {"fontweight": "bold"}),
        (names, beside, {"color": GREY}),
    ):
        side = ax.twinx()
        side.set(ylim=ax.get_ylim())
        side.set_yticks(range(len(rows)), texts, fontsize=FONT, **look)
        side.tick_params(axis="y", length=0, pad=pad)
        side.spines[["left", "right", "top"]].set_visible(False)
    ax.tick_params(axis="y", length=0, pad=10)
    ax.spines[["left", "right", "top"]].set_visible(False)
    if not linear:
        ax.set_xscale("log")
        ax.set_xticks(_ticks(left, right))
        ax.xaxis.set_major_formatter(lambda x, _: f"× {x:g}")
        ax.minorticks_off()
    ax.tick_params(axis="x", labelsize=FONT)


def _row(ax, y: float, measured: Measured, left: float, right: float) -> None:
    effect, found = measured.effect, measured.estimate
    bound, scale = effect.bound, _scale(measured)
    low, high = (left, bound / scale) if effect.side == "<" else (bound / scale, right)
    ax.fill_between([low, high], y - 0.42, y + 0.42, color=SIDE, lw=0, zorder=0)
    ax.plot([bound / scale] * 2, [y - 0.5, y + 0.5], color=GREY, lw=1.5, zorder=1)
    if effect.size is not None:
        at = min(max(effect.size / scale, left), right)
        ax.plot(at, y, "|", color="black", ms=20, mew=3, zorder=6)
    if found is None:
        return
    colour, marker, _ = LOOKS[measured.stands]
    ends = [min(max(end / scale, left), right) for end in (found.low, found.high)]
    if found.n > 1:
        ax.plot(ends, [y, y], color=colour, lw=4, solid_capstyle="butt", zorder=3)
        for end, arrow, edge in zip(ends, "<>", (left, right), strict=True):
            if end == edge:
                ax.plot(end, y, arrow, color=colour, ms=9, clip_on=False, zorder=3)
    face = colour if found.n > 1 else "white"
    look = {"mfc": face, "mec": colour, "mew": 2.5, "ms": 11, "zorder": 5}
    at = min(max(found.value / scale, left), right)
    ax.plot(at, y, marker, clip_on=False, **look)


def _linear(measured: Measured) -> bool:
    """Differences, and settings held against 0 or less, have no place on a log axis."""
    effect = measured.effect
    return effect.kind == "difference" or (effect.kind == "value" and effect.bound <= 0)


def _scale(measured: Measured) -> float:
    """What a line is divided by: a single setting by what it is held against."""
    value = measured.effect.kind == "value" and not _linear(measured)
    return measured.effect.bound if value else 1.0


def _limits(found: list[Measured], linear: bool) -> tuple[float, float]:
    """Ends of the axis: all values and marks, and intervals as far as is useful."""
    inner, outer = [], []
    for m in found:
        scale = _scale(m)
        inner += [m.effect.bound / scale]
        inner += [m.effect.size / scale] if m.effect.size is not None else []
        if m.estimate:
            inner.append(m.estimate.value / scale)
            ends = m.estimate.low / scale, m.estimate.high / scale
            outer += [end for end in ends if math.isfinite(end)]
    if not linear:
        inner, outer = ([math.log(x) for x in xs if x > 0] for xs in (inner, outer))
    room = 0.4 * ((max(inner) - min(inner)) or 1)
    low = max(min(inner) - room, min(outer + inner) - room / 4)
    high = min(max(inner) + room, max(outer + inner) + room / 4)
    return (low, high) if linear else (math.exp(low), math.exp(high))


def _ticks(left: float, right: float) -> list[float]:
    """Round ratios between the ends, far enough from each other to be read."""
    powers = range(math.floor(math.log10(left)), math.floor(math.log10(right)) + 1)
    apart = (math.log(right) - math.log(left)) / 6.5
    ticks: list[float] = [1.0] if left <= 1 <= right else []
    for step in (1, 2, 5, 3, 1.5, 7, 8, 1.2, 9, 1.1):
        for tick in (round(step * 10.0**power, 10) for power in powers):
            near = (abs(math.log(tick / other)) < apart for other in ticks)
            if left <= tick <= right and not any(near):
                ticks.append(tick)
    return ticks


def _legend() -> list:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    about = {"ls": "", "ms": 10, "mew": 2.5}
    marks = [
        Line2D([], [], marker=marker, mfc=colour, mec=colour, label=words, **about)
        for colour, marker, words in LOOKS.values()
    ]
    marks.append(
        Line2D([], [], marker="o", mfc="white", mec=GREY, label="one seed", **about)
    )
    line = {"ls": "", "ms": 15, "mew": 3, "color": "black"}
    return [
        *marks,
        Line2D([], [], marker="|", label="the paper", **line),
        Patch(color=SIDE, label="side the paper claims"),
    ]
