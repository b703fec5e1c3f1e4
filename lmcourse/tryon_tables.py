"""What the rows of try-on's tables say, as figures and in words (notebook 52)."""

import math

from matplotlib.axes import Axes

from lmcourse.evidence.effects import paired_interval
from lmcourse.evidence.paper import paper_tables
from lmcourse.evidence.results import read_rows, summarise
from lmcourse.plots import COLOURS, figure, show

PARTS = {  # rows of table 3
    "deformable@10+lasnl": "full method",
    "turning@10+lasnl": "fixed patches",
    "deformable@10+residual": "without LASNL",
    "global+residual": "without LASNL and local flow",
}
SCORES = {"psnr": "PSNR (dB), more is better", "fid": "FID, less is better"}
LINKS = {
    "nothing": "nothing done",
    "found": "landmarks found",
    "told": "landmarks told",
}
JUDGES = {
    "psnr_garment": "paired: PSNR inside (dB)\nmore is better",
    "proxy_lpips": "paired: proxy LPIPS\nless is better",
    "unpaired_proxy_fid": "unpaired: proxy FID\nless is better",
}


def cells_of(experiment: str) -> dict[tuple[str, str], dict]:
    """(setting, metric) -> mean, interval and number of seeds, of the rows."""
    cells = summarise(read_rows(experiment, budget="class"))
    return {(cell["setting"], cell["metric"]): cell for cell in cells}


def _above(more: str, less: str, metric: str, table: str) -> tuple | None:
    """How far one setting is above another over the seeds that both have: the mean and
    the ends of its interval; None without any such seed."""
    rows = read_rows(table, budget="class")
    pair = [
        {r.seed: r.value for r in rows if (r.setting, r.metric) == (setting, metric)}
        for setting in (more, less)
    ]
    return paired_interval(*pair) if pair[0].keys() & pair[1].keys() else None


def won(
    more: str,
    less: str,
    metric: str = "psnr",
    table: str = "salvton-warps",
    digits: int = 1,
) -> str:
    """By how many dB one setting is above another, over the seeds that both have, with
    the interval if there are several; "not measured" without any."""
    found = _above(more, less, metric, table)
    if found is None:
        return "not measured"
    mean, low, high = (f"{x:+.{digits}f}" for x in found)
    sure = f"[{low}, {high}]" if math.isfinite(float(low)) else "(one seed)"
    return f"{mean} dB {sure}"


def show_protocols() -> None:
    """One network, paired and unpaired, beside doing nothing."""
    found = cells_of("salvton-protocols")
    fig, axes = figure(8.8, 2.6, cols=3, sharey=True)
    for ax, (metric, label) in zip(axes, JUDGES.items(), strict=True):
        for y, way in enumerate(LINKS):
            if (way, metric) in found:
                idle = way == "nothing"
                looks = {"marker": "s" if idle else "o", "color": COLOURS[5 - 2 * idle]}
                _mark(ax, y, found[way, metric], **looks)
        ax.set_title(label, fontsize=11)
    _name(axes, LINKS.values())
    show(
        fig,
        "A network with landmarks that it found and with annotated ones, and people "
        "left as they came: PSNR inside the garment and proxy LPIPS with the true "
        "pictures beside, and proxy FID in other people's garments",
    )


def show_table_3() -> None:
    """The paper's ablations, as printed and on the drawn scene."""
    printed, found = paper_tables("salvton"), cells_of("salvton-ladder")
    fig, axes = figure(8.8, 4.8, rows=2, cols=2, sharey=True)
    for column, (name, label) in enumerate(SCORES.items()):
        above, below = axes[column], axes[2 + column]
        ours = name if name == "psnr" else f"proxy_{name}"
        for y, row in enumerate(PARTS):
            value = printed[f"table-3-{name}"].rows[row][0]
            _mark(above, y, {"mean": value, "n": 1}, marker="D", color="black")
            if (row, ours) in found:
                _mark(below, y, found[row, ours], marker="o", color=COLOURS[5])
        above.set_title(f"the paper: {label}", fontsize=10)
        kind = "proxy " if name == "fid" else ""
        below.set_title(f"drawn scene: {kind}{label}", fontsize=10)
    _name(axes, PARTS.values())
    show(
        fig,
        "Table 3, PSNR and FID of the full method, with fixed patches, without LASNL, "
        "and without LASNL and local flow. Above, black: as printed. Below, blue: "
        "networks of the drawn scene, with intervals where there are several seeds",
    )


STEPS = {  # two rows of table 3 -> what the first has more
    ("deformable@10+lasnl", "turning@10+lasnl"): "learned sizes",
    ("deformable@10+lasnl", "deformable@10+residual"): "LASNL for a residual block",
    ("deformable@10+residual", "global+residual"): "local flow",
    ("deformable@10+released", "deformable@10+residual"): "LASNL after such a block",
    ("deformable@10+lasnl", "deformable@10+lasnl,blank"): "landmarks in its maps",
}


def show_steps() -> None:
    """What each part of table 3 adds: the paper's, ours with intervals over pairs of
    seeds."""
    printed = paper_tables("salvton")["table-3-psnr"].rows
    panels = {"psnr": "whole picture (dB)", "psnr_garment": "inside the garment (dB)"}
    fig, axes = figure(9, 3.4, cols=2, sharey=True)
    for ax, (metric, title) in zip(axes, panels.items(), strict=True):
        ax.axvline(0, color="0.4", lw=1)
        for y, pair in enumerate(STEPS):
            if found := _above(*pair, metric, "salvton-ladder"):
                mean, low, high = found
                several = math.isfinite(low)
                if several:
                    ax.plot([low, high], [y, y], lw=3, color=COLOURS[5])
                face = COLOURS[5] if several else "white"
                ax.plot(mean, y, "o", ms=9, color=COLOURS[5], mfc=face)
            if metric == "psnr" and {*pair} <= {*printed}:
                told = printed[pair[0]][0] - printed[pair[1]][0]
                ax.plot(told, y, "D", ms=9, color="black")
        ax.set_title(title, fontsize=12)
        ax.margins(x=0.15)
    axes[0].set_yticks(range(len(STEPS)), STEPS.values())
    axes[0].set_ylim(len(STEPS) - 0.5, -0.5)
    show(
        fig,
        "What parts of the method add, in dB, in the whole picture and inside the "
        "garment: black diamonds the paper's, blue dots ours with intervals over "
        "pairs of seeds, hollow where there is one pair",
    )


def show_patch_sizes() -> None:
    """Warps of one seed, over the sides of their patches: fixed, and learned from
    there."""
    rows = read_rows("salvton-warps", budget="class")
    kinds = {"fixed": ("s", COLOURS[3]), "deformable": ("D", COLOURS[5])}
    labels = {"fixed": "fixed", "deformable": "learned from there"}
    psnr = {r.setting: r.value for r in rows if (r.seed, r.metric) == (0, "psnr")}
    fig, ax = figure(8.6, 3)
    for kind, (mark, color) in kinds.items():
        found = {
            1 / int(setting.partition("@")[2]): value
            for setting, value in psnr.items()
            if setting.startswith(f"{kind}@") and "," not in setting
        }
        sides = sorted(found)
        looks = {"marker": mark, "color": color, "ms": 9, "lw": 2}
        values = [found[side] for side in sides]
        ax.plot([100 * side for side in sides], values, label=labels[kind], **looks)
    ax.axhline(psnr["global"], color="0.4", ls="--", label="global flow alone")
    ax.set_xlabel("sides of patches (% of the picture's, where they begin)")
    ax.set_ylabel("PSNR (dB)")
    ax.legend(fontsize=11)
    show(
        fig,
        "PSNR inside the garment of networks of one seed, over the size of their "
        "patches: squares, fixed; diamonds, learned from that size; dashed, no patches",
    )


def _mark(ax: Axes, y: int, cell: dict, **looks) -> None:
    """A number and its interval."""
    if cell["n"] > 1:
        ax.plot([cell["low"], cell["high"]], [y, y], color=looks["color"], lw=3)
    ax.plot(cell["mean"], y, ms=8, **looks)
    digits = 1 if abs(cell["mean"]) >= 10 else 2
    ax.annotate(f"{cell['mean']:.{digits}f}", (cell["mean"], y - 0.2), ha="center")


def _name(axes: list[Axes], names) -> None:
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.7)
    for ax in axes:
        ax.margins(x=0.25)
