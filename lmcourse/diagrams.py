"""Diagrams of methods: boxes and arrows, what flows where, with its shape.

``show_diagram(layout, nodes, arrows, caption)`` draws one. The layout is text, a word
a box: words of a line stand side by side, a dot is an empty place, a word repeated
next to itself or below itself makes one box over all its places::

    show_diagram(
        '''
        image network maps   points
        .     .       labels loss
        ''',
        {
            "image": Node("image", "1 × 60 × 60", "given"),
            "network": Node("convolutions", "", "learned"),
            "maps": Node("heatmaps", "5 × 60 × 60", pictures=[heatmap]),
            "points": Node("landmarks", "5 × 2"),
            "labels": Node("labels", "5 × 2", "given"),
            "loss": Node("distance", "", "loss"),
        },
        ["image -> network", "network -> maps", "maps -> points: soft-argmax",
         "labels -> loss", "points -> loss"],
        "From an image to landmarks, and what they are compared with.",
    )

Boxes take the size of what is in them. What cannot be drawn well is an error: a page
that is too narrow, an arrow through a box, a label on top of something.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.transforms import Bbox

from lmcourse.plots import check_alt, draw_heatmap, draw_image, figure, show, to_numpy
from lmlib.palette import COLOURS

TITLE, SMALL = 12.5, 11.0  # points; nothing is smaller
PAD, BETWEEN, GAP, WIDEST = 0.11, 0.05, 0.34, 1.1  # inches
MARGIN, LINE = 0.08, "#333333"

ORANGE, SKY, GREEN, VERMILION, *_ = COLOURS
# Colour, how round the corners are (inches), width of the edge, what it means.
ROLES = {
    "given": (SKY, 0.0, 1.4, "given"),
    "learned": (ORANGE, 0.14, 2.8, "has weights"),
    "computed": (GREEN, 0.14, 1.2, "computed"),
    "loss": (VERMILION, 0.28, 2.0, "loss"),
}
Role = Literal["given", "learned", "computed", "loss"]
Bend = Literal["", "hv", "vh", "hvh", "vhv", "under", "over"]
ARROW = re.compile(r"(\w+)\s*(-->|<->|->)\s*(\w+)\s*(?::\s*(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Node:
    """A box: a title, smaller lines below it (shapes, mostly), pictures above.

    A picture is an image ``(1|3, H, W)`` in [0, 1], a map ``(H, W)``, or a function
    that draws into the axes it is given; each is ``size`` inches wide and high.
    """

    title: str
    lines: str = ""
    role: Role = "computed"
    pictures: Sequence[Any] = ()
    size: float = 1.0

    def __post_init__(self):
        if self.role not in ROLES:
            raise ValueError(
                f"unknown role {self.role!r}; there are {', '.join(ROLES)}"
            )


@dataclass(frozen=True)
class Arrow:
    """From one box to another; strings are short for it.

    ``"a -> b: words"`` is a plain arrow, ``"a --> b"`` a dashed one, ``"a <-> b"`` has
    two heads. ``bend`` says which way it goes where that is not clear: ``hv`` first
    across then down (or up), ``vh``, ``hvh``, ``vhv``, and ``under`` or ``over`` around
    the boxes between two of the same row.
    """

    start: str
    end: str
    label: str = ""
    bend: Bend = ""
    dashed: bool = False
    both: bool = False

    @classmethod
    def parse(cls, text: str) -> "Arrow":
        match = ARROW.fullmatch(text.strip())
        if match is None:
            raise ValueError(
                f"an arrow reads 'a -> b' or 'a -> b: words', got {text!r}"
            )
        start, kind, end, label = match.groups()
        looks = {"dashed": kind == "-->", "both": kind == "<->"}
        return cls(start, end, label or "", **looks)


def show_diagram(
    layout: str,
    nodes: Mapping[str, Node],
    arrows: Sequence[str | Arrow],
    caption: str,
    width: float = 9.0,
    legend: bool = True,
) -> None:
    """Display ``diagram(...)`` in a notebook; ``caption`` is its alt text, too."""
    show(diagram(layout, nodes, arrows, caption, width, legend), caption)


def diagram(
    layout: str,
    nodes: Mapping[str, Node],
    arrows: Sequence[str | Arrow],
    caption: str,
    width: float = 9.0,
    legend: bool = True,
) -> Figure:
    """The diagram as a figure of ``width`` inches; ``get_label()`` is its caption.

    The ``legend`` says what the colours and shapes of the boxes mean.

    ValueError for names that do not fit together and for what cannot be drawn well.
    """
    cells = _cells(layout, nodes)
    arrows = [a if isinstance(a, Arrow) else Arrow.parse(a) for a in arrows]
    for arrow in arrows:
        for name in (arrow.start, arrow.end):
            if name not in cells:
                raise ValueError(f"an arrow names {name!r}, which is not in the layout")
    fig, ax = figure(width, 1)
    fig.set_layout_engine("none")
    fig.set_label(check_alt(caption))
    boxes, width, height = _place(ax, cells, nodes, arrows, width)
    height += 0.46 if legend else MARGIN
    fig.set_size_inches(width, height)
    ax.set_position((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.set_axis_off()
    for name, box in boxes.items():
        _draw_node(fig, ax, name, nodes[name], box)
    lines = [_draw_arrow(ax, arrow, boxes) for arrow in arrows]
    if legend:
        _draw_legend(ax, [node.role for node in nodes.values()], width, height)
    _check(ax, boxes, arrows, lines)
    return fig


# -- Where boxes stand -----------------------------------------------------------------

Cells = dict[
    str, tuple[int, int, int, int]
]  # first and last row, first and last column


def _cells(layout: str, nodes: Mapping[str, Node]) -> Cells:
    """Rows and columns of each box."""
    grid = [line.split() for line in layout.strip().splitlines() if line.strip()]
    if len({len(row) for row in grid}) != 1:
        raise ValueError(f"lines of a layout have equally many words, got {grid}")
    places: dict[str, list[tuple[int, int]]] = {}
    for r, row in enumerate(grid):
        for c, name in enumerate(row):
            if name != ".":
                places.setdefault(name, []).append((r, c))
    for name in places.keys() ^ nodes.keys():
        raise ValueError(f"{name!r} must be both in the layout and among the nodes")
    cells = {}
    for name, found in places.items():
        rows, columns = zip(*found, strict=True)
        top, bottom, left, right = min(rows), max(rows), min(columns), max(columns)
        if len(found) != (bottom - top + 1) * (right - left + 1):
            raise ValueError(f"the places of {name!r} are no rectangle")
        cells[name] = (top, bottom, left, right)
    return cells


def _extent(ax: Axes, text: str, size: float, weight: str = "normal"):
    """Width and height of a text in inches."""
    if not text:
        return 0.0, 0.0
    artist = ax.text(0, 0, text, fontsize=size, fontweight=weight, linespacing=1.15)
    box = artist.get_window_extent(ax.figure.canvas.get_renderer())
    artist.remove()
    return box.width / ax.figure.dpi, box.height / ax.figure.dpi


def _inner(ax: Axes, node: Node):
    """Size of what a box holds, and the heights of pictures, title and lines."""
    title = _extent(ax, node.title, TITLE, "bold")
    lines = _extent(ax, node.lines, SMALL)
    count = len(node.pictures)
    picture = (count * (node.size + BETWEEN) - BETWEEN, node.size) if count else (0, 0)
    parts = [part for part in (picture, title, lines) if part[1]]
    height = sum(part[1] for part in parts) + BETWEEN * (len(parts) - 1)
    return max(part[0] for part in parts), height, (picture, title, lines)


def _place(ax: Axes, cells: Cells, nodes, arrows, width: float):
    """Boxes as ``Bbox`` in inches from the top left, and the size of the figure."""
    sizes = {
        name: (w + 2 * PAD, h + 2 * PAD)
        for name in cells
        for w, h, _ in [_inner(ax, nodes[name])]
    }
    columns, across = _tracks(
        {n: c[2:] for n, c in cells.items()}, {n: s[0] for n, s in sizes.items()}
    )
    rows, down = _tracks(
        {n: c[:2] for n, c in cells.items()}, {n: s[1] for n, s in sizes.items()}
    )
    for arrow in arrows:
        _make_room(ax, arrow, cells, across, down)
    free = width - 2 * MARGIN - sum(columns) - sum(across)
    if free < -0.005:
        raise ValueError(
            f"the boxes need {width - free:.1f} inches, the page has {width:.1f}: "
            "shorter words, smaller pictures, or one more row"
        )
    if across:
        across = [min(gap + free / len(across), max(gap, WIDEST)) for gap in across]
    side = (width - sum(columns) - sum(across)) / 2
    lefts = _starts(columns, across, side)
    # an arrow around boxes of the outer rows needs room there
    room = {"over": 0.0, "under": 0.0}
    for arrow in arrows:
        if arrow.bend in room:
            more = GAP + _extent(ax, arrow.label, SMALL)[1]
            room[arrow.bend] = max(room[arrow.bend], more)
    tops = _starts(rows, down, MARGIN + room["over"])
    boxes = {}
    for name, (top, bottom, left, right) in cells.items():
        x = (lefts[left] + lefts[right] + columns[right]) / 2
        y = (tops[top] + tops[bottom] + rows[bottom]) / 2
        w, h = sizes[name]
        if bottom > top:  # a box over several rows is as high as they are
            h = tops[bottom] + rows[bottom] - tops[top]
        if right > left:
            w = lefts[right] + columns[right] - lefts[left]
        boxes[name] = Bbox([[x - w / 2, y - h / 2], [x + w / 2, y + h / 2]])
    height = tops[-1] + rows[-1] + room["under"]
    return boxes, width, height


def _tracks(spans: dict, sizes: dict):
    """Widths of columns (or heights of rows), and the gaps between them."""
    count = 1 + max(last for _, last in spans.values())
    tracks, gaps = [0.0] * count, [GAP] * (count - 1)
    for name, (first, last) in spans.items():
        if first == last:
            tracks[first] = max(tracks[first], sizes[name])
    for name, (first, last) in spans.items():
        if first < last:
            lack = sizes[name] - sum(tracks[first : last + 1]) - GAP * (last - first)
            for number in range(first, last + 1):
                tracks[number] += max(0.0, lack) / (last - first + 1)
    return tracks, gaps


def _make_room(ax: Axes, arrow: Arrow, cells: Cells, across: list, down: list) -> None:
    """Widen the gap in which the label of an arrow stands."""
    if not arrow.label:
        return
    w, h = _extent(ax, arrow.label, SMALL)
    top, bottom, left, right = cells[arrow.start]
    top2, bottom2, left2, right2 = cells[arrow.end]
    beside = right < left2 or right2 < left
    if beside and not arrow.bend:
        first, last = (right, left2) if right < left2 else (right2, left)
        share = (w + 0.36) / (last - first)
        across[first:last] = [max(gap, share) for gap in across[first:last]]
    elif not beside and (bottom < top2 or bottom2 < top):
        first, last = (bottom, top2) if bottom < top2 else (bottom2, top)
        share = (h + 0.24) / (last - first)
        down[first:last] = [max(gap, share) for gap in down[first:last]]


def _starts(tracks: list[float], gaps: list[float], start: float) -> list[float]:
    starts = [start]
    for size, gap in zip(tracks, gaps, strict=False):
        starts.append(starts[-1] + size + gap)
    return starts


# -- Drawing ---------------------------------------------------------------------------


def _tint(colour: str) -> tuple[float, ...]:
    return tuple(1 - 0.22 * (1 - value) for value in to_rgb(colour))


def _patch(x: float, y: float, w: float, h: float, role: str, scale: float = 1.0):
    colour, radius, edge, _ = ROLES[role]
    radius = min(radius * scale, 0.49 * w, 0.49 * h)
    style = f"round,pad=0,rounding_size={radius}" if radius else "square,pad=0"
    look = {"facecolor": _tint(colour), "edgecolor": colour, "linewidth": edge}
    return FancyBboxPatch((x, y), w, h, boxstyle=style, zorder=2, **look)


def _draw_node(fig: Figure, ax: Axes, name: str, node: Node, box: Bbox) -> None:
    patch = ax.add_patch(_patch(box.x0, box.y0, box.width, box.height, node.role))
    patch.set_gid(f"box:{name}")
    _, height, (picture, title, lines) = _inner(ax, node)
    middle, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1 - height) / 2
    wide, high = fig.get_size_inches()
    for number, values in enumerate(node.pictures):
        x = middle - picture[0] / 2 + number * (node.size + BETWEEN)
        place = (x / wide, 1 - (y + node.size) / high, node.size / wide)
        _draw_picture(fig.add_axes((*place, node.size / high)), name, values)
    y += picture[1] + BETWEEN * bool(node.pictures)
    for text, (_, h), size, weight in (
        (node.title, title, TITLE, "bold"),
        (node.lines, lines, SMALL, "normal"),
    ):
        if text:
            look = {"fontsize": size, "fontweight": weight, "linespacing": 1.15}
            look |= {"ha": "center", "va": "center", "zorder": 4}
            ax.text(middle, y + h / 2, text, **look).set_gid(f"text:{name}")
            y += h + BETWEEN


def _draw_picture(ax: Axes, name: str, values) -> None:
    ax.set_gid(f"picture:{name}")
    if isinstance(values, Callable):
        values(ax)
    elif to_numpy(values).ndim == 2:
        draw_heatmap(ax, values)
    else:
        draw_image(ax, values)
    ax.set(xticks=[], yticks=[])


def _draw_arrow(ax: Axes, arrow: Arrow, boxes: dict[str, Bbox]):
    """Draws an arrow; returns its corners."""
    corners = _route(arrow, boxes)
    look = {"color": LINE, "lw": 1.7, "mutation_scale": 15, "shrinkA": 0, "shrinkB": 0}
    look |= {"ls": (0, (4, 2)) if arrow.dashed else "-", "zorder": 3}
    style = "<|-|>" if arrow.both else "-|>"
    path = Path(corners)
    ax.add_patch(
        FancyArrowPatch(path=path, arrowstyle=style, joinstyle="miter", **look)
    )
    if arrow.label:
        _draw_label(ax, arrow, corners)
    return corners


def _draw_label(ax: Axes, arrow: Arrow, corners) -> None:
    """Words above the longest level part of the line, or right of an upright one."""
    parts = list(pairwise(corners))
    level = [part for part in parts if part[0][1] == part[1][1]]
    (x0, y0), (x1, y1) = max(level or parts, key=lambda part: math.dist(*part))
    look = {"fontsize": SMALL, "linespacing": 1.1, "zorder": 5, "color": "black"}
    if level:
        head = 0.05 if x1 > x0 else -0.05  # the head of the arrow takes room
        down = arrow.bend == "under"
        place = ((x0 + x1) / 2 - head, y0 + (0.05 if down else -0.05))
        look |= {"ha": "center", "va": "top" if down else "bottom"}
    else:
        place = (x0 + 0.08, (y0 + y1) / 2)
        look |= {"ha": "left", "va": "center"}
    ax.text(*place, arrow.label, **look).set_gid(f"label:{arrow.start}:{arrow.end}")


def _overlap(low, high, low2, high2):
    """Middle of two intervals' common part, or None."""
    first, last = max(low, low2), min(high, high2)
    return (first + last) / 2 if last - first > 0.1 else None


def _route(arrow: Arrow, boxes: dict[str, Bbox]) -> list[tuple[float, float]]:
    """Corners of an arrow from the edge of one box to the edge of the other."""
    a, b = boxes[arrow.start], boxes[arrow.end]
    ax, ay, bx, by = (*_middle(a), *_middle(b))
    out_x = a.x1 if bx > ax else a.x0  # the side that faces the other box
    in_x = b.x0 if bx > ax else b.x1
    out_y = a.y1 if by > ay else a.y0
    in_y = b.y0 if by > ay else b.y1
    x, y = _overlap(a.x0, a.x1, b.x0, b.x1), _overlap(a.y0, a.y1, b.y0, b.y1)
    match arrow.bend:
        case "":
            if y is not None:
                return [(out_x, y), (in_x, y)]
            if x is not None:
                return [(x, out_y), (x, in_y)]
            turn = in_x - 0.55 * GAP if bx > ax else in_x + 0.55 * GAP
            return [(out_x, ay), (turn, ay), (turn, by), (in_x, by)]
        case "hvh":
            turn = (out_x + in_x) / 2
            return [(out_x, ay), (turn, ay), (turn, by), (in_x, by)]
        case "vhv":
            turn = (out_y + in_y) / 2
            return [(ax, out_y), (ax, turn), (bx, turn), (bx, in_y)]
        case "hv":
            return [(out_x, ay), (bx, ay), (bx, in_y)]
        case "vh":
            return [(ax, out_y), (ax, by), (in_x, by)]
        case "under":
            turn = max(a.y1, b.y1) + 0.6 * GAP
            return [(ax, a.y1), (ax, turn), (bx, turn), (bx, b.y1)]
        case "over":
            turn = min(a.y0, b.y0) - 0.6 * GAP
            return [(ax, a.y0), (ax, turn), (bx, turn), (bx, b.y0)]
    raise ValueError(f"unknown bend {arrow.bend!r}")


def _middle(box: Bbox) -> tuple[float, float]:
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


def _draw_legend(ax: Axes, roles: Sequence[str], width: float, height: float) -> None:
    """The roles that occur, with their colour and shape, on the last line."""
    used = [role for role in ROLES if role in roles]
    words = [ROLES[role][3] for role in used]
    each = [0.42 + _extent(ax, word, SMALL)[0] for word in words]
    x, y = (width - sum(each) - 0.3 * (len(each) - 1)) / 2, height - 0.2
    for role, word, size in zip(used, words, each, strict=True):
        ax.add_patch(_patch(x, y - 0.09, 0.32, 0.18, role, scale=0.3))
        text = ax.text(x + 0.4, y, word, fontsize=SMALL, va="center", color=LINE)
        text.set_gid(f"legend:{role}")
        x += size + 0.3


# -- What would not read well ----------------------------------------------------------


def _check(ax: Axes, boxes: dict[str, Bbox], arrows, lines) -> None:
    """ValueError for a line through a box, or a label on top of something."""
    for arrow, corners in zip(arrows, lines, strict=True):
        others = boxes.keys() - {arrow.start, arrow.end}
        for part in map(_upright, pairwise(corners)):
            for name in sorted(others):
                if _touch(part, boxes[name]):
                    raise ValueError(
                        f"the arrow {arrow.start} -> {arrow.end} runs through "
                        f"{name!r}: give it another bend, or the box another place"
                    )
    inches = ax.transData.inverted()
    labels = {
        text.get_gid(): _upright(inches.transform(text.get_window_extent()))
        for text in ax.texts
        if text.get_gid().startswith("label:")
    }
    for name, box in labels.items():
        for other in (other for other, place in boxes.items() if _touch(box, place)):
            raise ValueError(f"the {name} lies on the box {other!r}")
        if box.x0 < 0 or box.x1 > ax.get_xlim()[1]:
            raise ValueError(f"the {name} leaves the page")
    for (name, box), (other, place) in combinations(labels.items(), 2):
        if _touch(box, place):
            raise ValueError(f"the {name} lies on the {other}")


def _upright(corners) -> Bbox:
    """The box that two opposite corners span, lower values first."""
    (x0, y0), (x1, y1) = corners
    return Bbox([(min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1))])


def _touch(a: Bbox, b: Bbox) -> bool:
    return a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1
