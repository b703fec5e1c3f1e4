"""Pictures of garments with frames and landmarks: what notebooks 40 to 43 draw with.

A garment has the same number at any size, and landmarks lie in [-1, 1]: a network reads
it at its own size, and what it finds is drawn over a large picture.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from scipy.spatial import ConvexHull
from torch import Tensor

import lmlib
from lmcourse.evidence.paper import PaperTable, paper_tables
from lmcourse.experiments.cells import checkpoints
from lmcourse.plots import COLOURS, draw_image, draw_points, figure, marker, show
from lmlib.checkpoints import read_metadata
from lmlib.geometry import pixel_grid
from lmlib.methods.dlan import Dlan, Step, frame_corners, transform
from lmlib.methods.dlan_baselines import (
    edge_proposals,
    frames_of,
    grid_windows,
    true_boxes,
)
from lmlib.palette import colour
from lmlib.samples import Batch
from lmscenes import Garments

SIDE = 222  # pixels of a picture; four fill the width of a page
NAMES = Garments.names
TEST = 300_000  # number of the first picture to measure on, as in the tables
THRESHOLD = Dlan.detected_within  # of the side: a landmark within it is detected
EIGHTH = "#7b3fb5"  # of the slot for which the palette's seven colours do not reach
OPENING = (100_004, 100_034, 100_018, 100_027)
GALLERY = (100_004, 100_009, 100_023, 100_028, 100_018, 100_034, 100_037, 100_044)


# -- pictures and networks -------------------------------------------------------------


@cache
def _picture(number: int, side: int, knobs: tuple) -> Batch:
    return Garments(side, **dict(knobs)).batch([number])


def pictures(numbers: Iterable[int], side: int = SIDE, **knobs) -> Batch:
    """Garments by their numbers, ``side`` pixels a side; kept, as they are drawn often.

    ``knobs`` are those of ``Garments``.
    """
    some = [_picture(int(n), side, tuple(sorted(knobs.items()))) for n in numbers]
    return {name: torch.cat([one[name] for one in some]) for name in some[0]}


def detector() -> Dlan:
    """The network that notebooks draw with: of those that ship with frames for every
    landmark, the one for the largest pictures, and of these the best."""
    found = {}
    for file in checkpoints().glob("dlan-*.safetensors"):
        said = read_metadata(file)
        config = said["config"]
        if said["method"] == "dlan" and config["attention_steps"] > 1:
            rank = config["size"], said["metrics"].get("pdl", 0.0)
            found[(*rank, file.name)] = file
    if not found:
        raise FileNotFoundError("no dlan network in data/checkpoints")
    return lmlib.load(found[max(found)], "cpu").method


@torch.no_grad()
def traced(method: Dlan, numbers: Iterable[int], **knobs) -> list[Step]:
    """All steps of a network on some garments, read at the network's own size."""
    return method.trace(pictures(numbers, method.config.size, **knobs)["image"])


def there(batch: Batch, n: int = 0) -> list[int]:
    """Slots of garment ``n`` whose landmarks lie in the picture, seen or hidden."""
    return (batch["landmarks"][n].abs() < 1).all(-1).nonzero()[:, 0].tolist()


def answers_near(maps: Tensor, batch: Batch, slots: Sequence[int]) -> Tensor:
    """What share of each map's answers lies near the landmarks of some slots.

    ``maps (B, C, h, w)`` are not negative; near is within an eighth of the garment's
    longer side of any of the slots' places. Returns ``(C,)``, the mean over the
    garments on which all these slots are visible.
    """
    whole = batch["visible"][:, list(slots)].all(1)
    points = batch["landmarks"][whole][:, list(slots)]  # (b, S, 2)
    far = pixel_grid(*maps.shape[-2:])[None, None] - points[:, :, None, None]
    reach = batch["share"][whole].view(-1, 1, 1) / 4
    near = far.norm(dim=-1).amin(1) < reach  # (b, h, w)
    some = maps[whole]
    total = some.sum((2, 3)).clamp(min=1e-6)
    return ((some * near[:, None]).sum((2, 3)) / total).mean(0)


def at_size(batch: Batch, numbers: Iterable[int], side: int) -> Tensor:
    """The batch's images, or the same garments drawn ``side`` pixels a side."""
    same = batch["image"].shape[-1] == side
    return batch["image"] if same else Garments(side).batch(numbers)["image"]


# -- what the paper prints -------------------------------------------------------------


def _tables() -> dict[str, PaperTable]:
    try:
        return paper_tables("dlan")
    except ValueError:
        return {}


def printed() -> dict[tuple[str, str], float]:
    """(setting, metric) of ours -> what the paper prints for it."""
    found = {}
    for table in _tables().values():
        for row, cells in table.rows.items():
            for column, value in cells.items():
                names = {"row": row, "column": column}
                ours = table.setting.format(**names), table.metric.format(**names)
                found[ours] = value
    return found


def printed_by_landmark() -> dict[str, tuple[list[float], float]]:
    """Method -> the six rates of the paper's table 4 and its printed mean."""
    columns = [table.rows for table in _tables().values() if table.source == "table 4"]
    found = {}
    for row in columns[0] if columns else ():
        *six, mean = (column[row][0] for column in columns)
        found[row] = six, mean
    return found


# -- drawing ---------------------------------------------------------------------------


def tint(slot: int) -> str:
    """Colour of a slot's landmark and frame; no two of the eight are the same."""
    return EIGHTH if slot == 7 else colour(slot)


def draw_frame(
    ax: Axes, theta: Tensor, tint: str = "white", width: float = 2.0, top: bool = True
):
    """The outline of one frame ``(2, 3)``, edged in black; ``top``: its top thicker."""
    corners = frame_corners(theta[None, None])[0, 0]
    for edge, line in (("black", width + 1.6), (tint, width)):
        look = {"fill": False, "edgecolor": edge, "linewidth": line, "zorder": 4}
        ax.add_patch(Polygon(corners.tolist(), closed=True, clip_on=True, **look))
    if top:
        look = {"color": tint, "linewidth": 1.9 * width, "zorder": 4}
        ax.plot(*corners[:2].T, "-", solid_capstyle="butt", clip_on=True, **look)
    return ax


def draw_frames(ax: Axes, theta: Tensor, slots: Sequence[int], width: float = 2.0):
    """Frames ``(J, 2, 3)`` of some landmarks, in the landmarks' colours; one frame that
    all of them share is white."""
    slots = list(slots)
    if len(slots) > 1 and (theta[slots] == theta[slots[0]]).all():
        return draw_frame(ax, theta[slots[0]], "white", width)
    for slot in slots:
        draw_frame(ax, theta[slot], tint(slot), width, top=False)
    return ax


def draw_landmarks(ax: Axes, points: Tensor, slots: Sequence[int], size: float = 90):
    """Landmarks of some slots, each in its slot's colour and shape."""
    for slot in slots:
        look = {"facecolors": [tint(slot)], "marker": marker(slot)}
        draw_points(ax, points[slot : slot + 1], size=size, clip_on=True, **look)
    return ax


def draw_truth(ax: Axes, points: Tensor, slots: Sequence[int], size: float = 260):
    """White rings at the true places of some slots, below the marks of answers."""
    look = {"facecolors": "none", "zorder": 4.5}
    for line, edge in ((3.4, "black"), (1.6, "white")):
        look |= {"linewidths": line, "edgecolors": edge}
        ax.scatter(*points[list(slots)].T, s=size, **look)
    return ax


def draw_misses(ax: Axes, points: Tensor, truth: Tensor, slots: Sequence[int]):
    """Red lines from the answers of some slots to the rings of their true places."""
    for slot in slots:
        ends = torch.stack([points[slot], truth[slot]])
        ax.plot(*ends.T, "-", color="red", lw=2.5, zorder=4)
    draw_truth(ax, truth, slots)
    return draw_landmarks(ax, points, slots)


def draw_hull(ax: Axes, points: Tensor):
    """The convex hull of points ``(n, 2)``, dashed; n is 3 or more."""
    corners = points[ConvexHull(points.double().numpy()).vertices]
    for edge, line in (("black", 3.6), ("white", 2.0)):
        look = {"fill": False, "edgecolor": edge, "linewidth": line, "zorder": 3}
        ax.add_patch(Polygon(corners.tolist(), closed=True, ls="--", **look))
    return ax


def seen_in(image: Tensor, theta: Tensor, side: int = 96) -> Tensor:
    """What a frame ``(2, 3)`` shows of a picture ``(3, H, W)``; black is outside it."""
    return transform(image[None], theta[None, None], side)[0, 0]


def board(columns: int, rows: int = 1, titles: Sequence[str] = (), width: float = 9.0):
    """A figure of large square pictures: its axes row by row."""
    each = width / columns
    fig, axes = figure(width, rows * (each + 0.27 * bool(titles)), rows, columns,
                       squeeze=False)  # fmt: skip
    for ax in axes:
        ax.set_axis_off()
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title, fontsize=12)
    return fig, axes


def legend(fig: Figure, slots: Sequence[int] = range(8)) -> None:
    """Names of the slots, with their colours and shapes, below a figure, which grows
    by as much: its pictures stay as large as they are."""
    look = {"ls": "", "mec": "white"}
    marks = [
        Line2D([], [], marker=marker(s), color=tint(s), label=NAMES[s],
               ms=14 if marker(s) == "*" else 10, **look)
        for s in slots
    ]  # fmt: skip
    fig.set_figheight(fig.get_figheight() + 0.55)
    place = {"loc": "outside lower center", "ncols": 4, "frameon": False}
    fig.legend(handles=marks, fontsize=11, **place)


def one_and_many(fig: Figure) -> tuple[Axes, list[Axes]]:
    """One large square panel, and eight small ones beside it, in a figure three times
    as wide as high."""
    fig.set_layout_engine("none")  # every place is said
    large = fig.add_axes((0.0, 0.0, 1 / 3, 1.0))
    small = [
        fig.add_axes((0.345 + 0.165 * (k % 4), 0.5 * (k < 4), 0.155, 0.4))
        for k in range(8)
    ]
    for ax in (large, *small):
        ax.set_axis_off()
    return large, small


def show_attention(numbers: Sequence[int] = OPENING) -> None:
    """Garments on which frames close in on the landmarks: the first picture of 40."""
    method, large = detector(), pictures(numbers)
    steps = traced(method, numbers)
    fig, axes = board(len(numbers))
    for n, ax in enumerate(axes):
        slots = there(large, n)
        draw_image(ax, large["image"][n])
        draw_frame(ax, steps[1].theta[n, 0], "white", 2.0)
        draw_frames(ax, steps[-1].theta[n], slots, 2.4)
        draw_landmarks(ax, steps[-1].landmarks[n], slots, 100)
    alt = (
        "Four pictures of garments. In each, a white frame around the garment, small "
        "coloured frames around collar, cuffs, waist and hem, and the landmark that a "
        "network has found in each of them."
    )
    show(fig, alt, first=True)


def show_gallery(numbers: Sequence[int] = GALLERY) -> None:
    """Garments with what a network finds, and the truth: the first picture of 43."""
    method, large = detector(), pictures(numbers)
    points = traced(method, numbers)[-1].landmarks
    fig, axes = board(4, len(numbers) // 4, width=7.6)
    for n, ax in enumerate(axes):
        slots = [s for s in there(large, n) if large["visible"][n, s]]
        draw_image(ax, large["image"][n])
        draw_truth(ax, large["landmarks"][n], slots)
        draw_landmarks(ax, points[n], slots)
    legend(fig)
    alt = (
        "Eight garments, near and far, plain and patterned. Rings are the true places "
        "of collar, cuffs, waist and hem, coloured marks what a network has found."
    )
    show(fig, alt, first=True)


def show_before_after(numbers: Sequence[int] = OPENING[:2]) -> None:
    """Frames of an untrained and of a trained network: the first picture of 41."""
    trained = detector()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        untrained = Dlan(trained.config).eval()
    large = pictures(numbers)
    fig, axes = board(2 * len(numbers), 1, ["before", "after"] * len(numbers))
    for k, ax in enumerate(axes):
        n, method = k // 2, (untrained, trained)[k % 2]
        last, slots = traced(method, numbers)[-1], there(large, n)
        draw_image(ax, large["image"][n])
        draw_frames(ax, last.theta[n], slots, 2.4)
        draw_landmarks(ax, last.landmarks[n], slots, 100)
    alt = (
        "Garments before and after training. Before, every frame is the whole picture "
        "and no answer is near its landmark; after, small frames sit around collar, "
        "cuffs, waist and hem."
    )
    show(fig, alt, first=True)


def show_looks(number: int = OPENING[0]) -> None:
    """One garment at every look of a network: the first picture of 42."""
    method, large = detector(), pictures([number])
    steps, slots = traced(method, [number]), there(large)
    fig, axes = board(len(steps), 1, [f"look {i}" for i in range(len(steps))])
    for i, ax in enumerate(axes):
        draw_image(ax, large["image"][0])
        draw_frames(ax, steps[i].theta[0], slots, 2.4)
        draw_truth(ax, large["landmarks"][0], slots)
        draw_landmarks(ax, steps[i].landmarks[0], slots)
    alt = (
        "A garment at each look of one network: frames shrink from the whole picture "
        "to its landmarks, and the answers move towards the rings of the truth."
    )
    show(fig, alt, first=True)


AGREEING = {  # networks of table dlan-photographs, as the figure calls them
    "middle": "always the average",
    "untrained": "untrained",
    "FC": "FC, 64 pixels",
    "DLAN": "DLAN, 64 pixels",
    "gallery": "DLAN, 128 pixels",
}


def show_agreement(found: dict[tuple[str, str], float]) -> None:
    """How far two answers lie apart, on one picture and on two, drawn and photographed.

    Args:
        found: (NETWORK@IMAGES, metric) -> value, of table ``dlan-photographs``.
    """
    fig, axes = figure(9, 3.2, cols=2)
    kinds = {"views": ("o", 1, "two views of one picture"),
             "stranger": ("s", 3, "views of two pictures")}  # fmt: skip
    for ax, (images, of) in zip(
        axes, {"drawn": "drawn tops", "photographs": "photographs"}.items(), strict=True
    ):
        for y, name in enumerate(AGREEING):
            ends = [found[f"{name}@{images}", metric] for metric in kinds]
            ax.plot(ends, [y, y], color="0.7", lw=4, zorder=1)
            for end, (mark, tint, label) in zip(ends, kinds.values(), strict=True):
                look = {"ms": 11, "color": COLOURS[tint], "label": label * (not y)}
                ax.plot(end, y, mark, **look)
        ax.set_yticks(range(len(AGREEING)), [*AGREEING.values()], fontsize=12)
        count = found[f"gallery@{images}", "pictures"]
        ax.set_title(f"{count:.0f} {of}", fontsize=13)
        ax.set(xlim=(0, 25), ylim=(-0.6, len(AGREEING) - 0.4))
        ax.set_xlabel("apart (% of the side)", fontsize=12)
    axes[1].tick_params(labelleft=False)
    axes[0].legend(fontsize=11, loc="lower right")
    show(
        fig,
        "How far a network's answers lie apart, in two views of one picture (dots) and "
        "in views of two pictures (squares): on drawn tops and on photographs",
    )


WAYS = {  # ways of table 1 to do without a given box; the last is given it
    "window": "17 windows,\nvote",
    "proposals": "100 pro-\nposals, vote",
    "detector": "detector,\nthen DFA",
    "joint": "both on\none trunk",
    "cascade": "whole pic-\nture, twice",
    "FC": "whole pic-\nture (FC)",
    "DLAN": "DLAN",
    "oracle": "the true\nbox",
}


def show_cuts(number: int = OPENING[2]) -> None:
    """What a network is shown of a garment: windows, proposals, its box, the whole."""
    garment = pictures([number])
    small = at_size(garment, [number], 64)
    cuts = {
        "17 windows": grid_windows(),
        "the best proposals": edge_proposals(small)[0][:12],
        "the true box": true_boxes(garment),
        "the whole picture": torch.tensor([[-0.99, -0.99, 0.99, 0.99]]),
    }
    fig, axes = board(len(cuts), 1, list(cuts))
    for ax, boxes in zip(axes, cuts.values(), strict=True):
        draw_image(ax, garment["image"][0])
        for frame in frames_of(boxes[None])[0]:
            draw_frame(ax, frame, "white", 2)
    show(
        fig,
        "One garment and what a network is shown of it: 17 windows, the twelve best of "
        "a hundred proposals, the true box, the whole picture",
    )


def show_ways(rates: dict[str, list[float]], paper: dict) -> None:
    """Detection rates of ``WAYS``, a dot a seed, beside what the paper prints."""
    fig, ax = figure(9, 3.2)
    for k, way in enumerate(WAYS):
        runs, tint = rates[way], 1 if way in ("FC", "DLAN") else 0
        if runs:
            ax.bar(k, sum(runs) / len(runs), 0.7, color=COLOURS[tint], alpha=0.6)
        ax.plot([k] * len(runs), runs, "o", ms=7, color=COLOURS[tint])
        if (way, "pdl") in paper:
            look = {"ms": 11, "mfc": "white", "mec": "black", "mew": 1.5}
            ax.plot(k, paper[way, "pdl"], "D", label="paper" * (not k), **look)
    ax.set_xticks(range(len(WAYS)), list(WAYS.values()), fontsize=11)
    ax.set_ylim(0, 80)
    ax.set_ylabel("detected (%)", fontsize=12)
    ax.legend(fontsize=12, loc="upper left")
    show(
        fig,
        "Detection rates of ways to do without a given box and, last, with the true "
        "one: bars and dots are measured here, diamonds the paper's",
    )


PARTS = ("collar", "sleeve", "hem")  # table 4 has the left and the right one of each


def show_by_landmark(rates: Callable[[str, str], list[float]], paper: dict) -> None:
    """Table 4: detection rates of collars, sleeves and hems, the paper's beside ours.

    Args:
        rates: setting and metric -> our values, one a seed.
        paper: (setting, metric) -> the paper's value; see ``printed``.
    """
    fig, (theirs, ours) = figure(9, 3.2, cols=2, sharey=True)
    panels = (
        (theirs, "paper: photographs", lambda *key: [paper[key]]),
        (ours, "ours: drawn garments", rates),
    )
    for ax, title, known in panels:
        for k, row in enumerate(printed_by_landmark()):
            both = [known(row, f"pdl_{part}_left") + known(row, f"pdl_{part}_right")
                    for part in PARTS]  # fmt: skip
            look = {"marker": "Dos^"[k], "ms": 9, "lw": 2, "color": COLOURS[k]}
            if all(both):
                ax.plot(PARTS, [sum(b) / len(b) for b in both], label=row, **look)
        ax.set_title(title, fontsize=12)
        ax.tick_params(labelsize=12)
    theirs.set(ylim=(0, 100))
    theirs.set_ylabel("detected (%)", fontsize=12)
    theirs.legend(fontsize=11, loc="lower left")
    show(
        fig,
        "Detection rates of collars, sleeves and hems, left and right together: the "
        "paper's and ours, a line a method. Sleeves are the lowest for all",
    )
