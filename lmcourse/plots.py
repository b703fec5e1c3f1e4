"""Figures that read well everywhere: white background, alt text, shape and colour.

Figures are made without pyplot: nothing is shown twice, nothing piles up in memory, and
a figure may be drawn in any thread. Picture coordinates are data coordinates: x right,
y down, in [-1, 1], so landmarks are plotted as they are.
"""

import html
import inspect
import io
import math
import struct
import zlib
from base64 import b64encode
from functools import cache
from numbers import Real
from pathlib import Path

import matplotlib
import matplotlib.patheffects
import numpy as np
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path as Outline
from matplotlib.transforms import IdentityTransform
from PIL import Image, ImageColor

from lmlib.palette import COLOURS, colour

# With the seven colours 70 landmarks before a pair repeats.
PATCH = 24  # pixels; too few colours show within so much of a picture
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "p", "h")
EXTENT = (-1, 1, 1, -1)  # left, right, bottom, top: y points down
INFERNO = matplotlib.colormaps["inferno"]

LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 1)))
STYLE = {
    # Curves differ by more than their colour.
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS, linestyle=LINES),
    # Nothing is smaller than 9 points, 12 pixels on screen.
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "legend.fontsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "figure.titlesize": 10,
    # A given height of titles spares a search for it at every draw.
    "axes.titley": 1.0,
}
matplotlib.rcParams.update(STYLE)


def marker(number: int) -> str:
    """Marker shape of landmark ``number``."""
    return MARKERS[number % len(MARKERS)]


class Panel(Axes):
    """Axes where the cycle of line styles is for curves that take its colours too.

    A line that is given a colour and no style is solid: one of many short lines, say,
    from points to where they should be.
    """

    def plot(self, *arguments, **look):
        coloured = {"c", "color"} & look.keys()
        styled = {"ls", "linestyle"} & look.keys()
        if coloured and not styled and not any(isinstance(a, str) for a in arguments):
            look["linestyle"] = "-"
        return super().plot(*arguments, **look)


class Sheet(Figure):
    """A figure whose axes are panels."""

    def add_subplot(self, *arguments, **settings):
        return super().add_subplot(*arguments, **_as_panel(settings))

    def add_axes(self, *arguments, **settings):
        return super().add_axes(*arguments, **_as_panel(settings))


def _as_panel(settings: dict) -> dict:
    other_kind = {"projection", "polar", "axes_class"} & settings.keys()
    return settings if other_kind else settings | {"axes_class": Panel}


def figure(width: float = 8, height: float = 3, rows: int = 1, cols: int = 1, **kw):
    """A new figure of ``width x height`` inches at 100 dots an inch, and its axes.

    Returns ``(fig, ax)`` for one panel, ``(fig, axes)`` with a flat array for several.
    ``kw`` goes to ``Figure.subplots`` (``sharex=True``, ``gridspec_kw=...``).
    """
    fig = Sheet((width, height), dpi=100, facecolor="white", layout="constrained")
    FigureCanvasAgg(fig)
    axes = fig.subplots(rows, cols, **kw)
    return fig, (axes if isinstance(axes, Axes) else axes.flatten())


def pixels(fig: Figure) -> Image.Image:
    """The figure as an RGB picture."""
    fig.canvas.draw()
    return Image.fromarray(np.asarray(fig.canvas.buffer_rgba())[..., :3].copy())


def png(image: Image.Image) -> bytes:
    """PNG bytes, as small as they get: stored pictures."""
    buffer = io.BytesIO()
    image.save(buffer, "png", compress_level=9)
    return buffer.getvalue()


def quick_png(image: Image.Image) -> bytes:
    """PNG bytes of an RGB picture, in six tenths of Pillow's time: widgets.

    Pillow tries five filters on each row. Here each row is told as what differs from
    the row above it, which suits figures.
    """
    values = np.asarray(image).reshape(image.height, -1)
    rows = np.full((image.height, 1 + values.shape[1]), 2, np.uint8)  # 2: that filter
    rows[0, 1:] = values[0]
    np.subtract(values[1:], values[:-1], out=rows[1:, 1:])
    head = struct.pack(">2I5B", *image.size, 8, 2, 0, 0, 0)  # 8 bits, RGB
    parts = b"IHDR" + head, b"IDAT" + zlib.compress(rows, 1), b"IEND"
    chunks = [
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def few_colours(
    image: Image.Image, dither: Image.Dither = Image.Dither.NONE
) -> Image.Image:
    """The picture in 256 colours: white, black and the landmarks' always among them."""
    kept = [ImageColor.getrgb(name) for name in ("white", "black", *COLOURS)]
    image = image.convert("RGB")
    common = image.quantize(256 - len(kept)).getpalette()
    palette = Image.new("P", (1, 1))
    palette.putpalette(common + [value for rgb in kept for value in rgb])
    fewer = image.quantize(palette=palette, dither=dither)
    # Pillow looks up neighbours of a colour: put the exact ones right.
    values, index = np.asarray(image), np.array(fewer)
    for number, rgb in enumerate(kept, start=len(common) // 3):
        index[(values == rgb).all(axis=-1)] = number
    exact = Image.fromarray(index)
    exact.putpalette(palette.getpalette())
    return exact


def compact(image: Image.Image) -> tuple[str, bytes]:
    """A picture as stored in a notebook: its MIME type and its bytes.

    Curves and maps keep to 256 colours, as PNG. Pictures in which that shows, as bands
    on skin and skies, keep them all, in the smaller of PNG and JPEG: where it shows on
    1 % of the picture, or as a patch in one place.
    """
    image, fewer = image.convert("RGB"), few_colours(image)
    off = np.abs(np.asarray(image, int) - np.asarray(fewer.convert("RGB"), int))
    wrong = off.max(-1) > 12
    side = min(PATCH, *wrong.shape)
    high, wide = (n // side for n in wrong.shape)
    patches = wrong[: high * side, : wide * side].reshape(high, side, wide, side)
    if wrong.mean() <= 0.01 and patches.mean((1, 3)).max() <= 0.2:
        return "image/png", png(fewer)
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=78, subsampling=0, optimize=True)
    kinds = {"image/png": png(image), "image/jpeg": buffer.getvalue()}
    return min(kinds.items(), key=lambda item: len(item[1]))


def check_alt(alt: str) -> str:
    """``alt`` itself; an error if there is none: no picture without a description."""
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"needs alt text: a sentence on what to see; got {alt!r}")
    return alt


def show(fig: Figure | Image.Image, alt: str, first: bool = False) -> None:
    """Display a figure (or picture) with ``alt``, a sentence on what it shows.

    Few programs that open notebooks hand the picture's own alt text on, so it is also a
    caption below. The ``first`` picture of a notebook is a PNG whatever it shows, in
    dithered colours if there are many: lists of notebooks take it for their preview.
    """
    about = {"alt": check_alt(alt)}
    image = pixels(fig) if isinstance(fig, Figure) else fig
    about |= {"width": image.width, "height": image.height}
    kind, data = compact(image)
    if first and kind != "image/png":
        dithered = few_colours(image, Image.Dither.FLOYDSTEINBERG)
        kind, data = "image/png", png(dithered)
    bundle = {kind: b64encode(data).decode(), "text/plain": alt}
    display(bundle, metadata={kind: about}, raw=True)
    display({"text/html": caption_html(alt), "text/plain": alt}, raw=True)


def say(text: str) -> None:
    """Display Markdown in which measured numbers stand: they are never typed."""
    display({"text/markdown": text, "text/plain": text}, raw=True)


def caption_html(alt: str) -> str:
    """``alt`` as a caption in small letters."""
    look = "font-size:smaller;line-height:1.4;opacity:.75"
    return f'<div style="{look}">{html.escape(alt)}</div>'


# -- Images, maps, landmarks -----------------------------------------------------------


def to_numpy(values) -> np.ndarray:
    """A tensor (on any device) or anything array-like as a numpy array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().float().numpy()
    return np.asarray(values)


def as_array(image) -> np.ndarray:
    """``(C, H, W)`` or ``(H, W)`` in [0, 1] (tensor or array) as ``(H, W[, 3])``."""
    image = to_numpy(image)
    if image.ndim == 3 and image.shape[0] in (1, 3):
        image = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[2] == 3):
        raise ValueError(f"one image is (1|3, H, W) or (H, W); got {image.shape}")
    return image


def as_points(points, names=None) -> np.ndarray:
    """``points`` as a ``(K, 2)`` array, with one name each if there are names."""
    points = to_numpy(points).astype(float)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points are (K, 2), got {points.shape}")
    if names is not None and len(names) != len(points):
        raise ValueError(f"{len(names)} names for {len(points)} points")
    return points


def draw_image(ax: Axes, image, title: str | None = None):
    """Show one image in [0, 1]; the axes run over [-1, 1], y down, without ticks.

    Pixels are square: a landscape photograph looks like one.
    """
    return _draw(ax, _rgba(image), title)


def draw_heatmap(ax: Axes, heatmap, image=None, title: str | None = None):
    """Show a map ``(H, W)``, black (lowest) to yellow (highest), over ``image``."""
    values = as_array(heatmap)
    if values.ndim != 2:
        raise ValueError(f"one heatmap is (H, W), got {values.shape}")
    height = Normalize()(np.ma.masked_invalid(values)).astype(float)  # 0 to 1
    rgba = INFERNO(height, bytes=True)
    if image is None:
        return _draw(ax, rgba, title)
    below, alpha = _rgba(image), 0.85 * np.sqrt(height.filled(0))
    aspect = below.shape[0] / below.shape[1]  # a coarse map takes the image's shape
    size = np.maximum(values.shape, below.shape[:2])
    above, below, alpha = (_enlarged(x, size) for x in (rgba, below, alpha))
    mixed = below + alpha[..., None] * (above - below.astype(float))
    return _draw(ax, mixed.round().astype(np.uint8), title, aspect)


def _rgba(image) -> np.ndarray:
    """One image in [0, 1] as ``(H, W, 4)`` bytes."""
    values = as_array(image).clip(0, 1)
    values = values if values.ndim == 3 else values[..., None]
    rgba = np.full((*values.shape[:2], 4), 255, np.uint8)
    rgba[..., :3] = (255 * values).round()
    return rgba


def _enlarged(values: np.ndarray, size) -> np.ndarray:
    """``(h, w, ...)`` to ``(H, W, ...)``: each pixel takes the nearest."""
    rows, columns = (
        _cells(0, n, m)[0] for n, m in zip(size, values.shape, strict=False)
    )
    return values[rows[:, None], columns]


class Picture(AxesImage):
    """``(H, W, 4)`` bytes as squares of one colour, over ``EXTENT``.

    What matplotlib does for any interpolation, norm and clipping takes thirty times as
    long; it still does so where the axes show a part only, or in another scale.
    """

    def __init__(self, ax: Axes, rgba: np.ndarray):
        super().__init__(ax, interpolation="nearest", extent=EXTENT)
        self.set_data(rgba)
        self.set_clip_path(ax.patch)

    def make_image(self, renderer, magnification=1.0, unsampled=False):
        """The pixels, the bottom row first, and where on the canvas they begin."""
        box = self.get_window_extent()
        inside = np.abs(box.extents - self.axes.bbox.extents).max() < 1e-6
        plain = not unsampled and magnification == 1 and self.get_transform().is_affine
        if not (inside and plain):
            return super().make_image(renderer, magnification, unsampled)
        words = self._A.data.view(np.uint32)[::-1, :, 0]  # a pixel's four bytes in one
        columns, left = _cells(box.x0, box.x1, words.shape[1])
        rows, bottom = _cells(box.y0, box.y1, words.shape[0])
        enlarged = words[rows][:, columns]
        return enlarged[..., None].view(np.uint8), left, bottom, None


def _cells(low: float, high: float, count: int) -> tuple[np.ndarray, int]:
    """The cell, of ``count`` from ``low`` to ``high``, that each pixel's centre lies
    in, and the first pixel."""
    first, last = (math.floor(side + 0.5) for side in (low, high))
    centres = np.arange(first, last) + 0.5
    return ((centres - low) * count / (high - low)).astype(int).clip(
        0, count - 1
    ), first


def _draw(ax: Axes, rgba: np.ndarray, title: str | None, aspect: float | None = None):
    ax.set_aspect(aspect or rgba.shape[0] / rgba.shape[1])
    ax.add_image(Picture(ax, rgba))
    ax.set(xlim=(-1, 1), ylim=(1, -1), xticks=[], yticks=[])
    if title is not None:
        ax.set_title(title)
    return ax


def _outline(name: str) -> Outline:
    shape = MarkerStyle(name)
    return shape.get_path().transformed(shape.get_transform())


@cache
def _outlines(count: int) -> list[Outline]:
    """Outlines of the first ``count`` markers, for a collection of points."""
    return [_outline(marker(number)) for number in range(count)]


def draw_points(
    ax: Axes, points, names=None, size: float = 60, labels: bool = False, **kw
):
    """Draw landmarks ``(K, 2)``: each has its own colour *and* shape, edged in white.

    ``names`` label them in a legend made by ``ax.legend()``, with ``labels=True`` also
    beside each point. ``size`` is an area in square points, as in ``Axes.scatter``;
    ``kw`` goes to the one ``PathCollection`` that all points are (``alpha=0.5``,
    ``zorder=4``), or is ``marker``, one shape for all.
    """
    points = as_points(points, names)
    look = {"edgecolors": "white", "linewidths": 1.2, "zorder": 5, "clip_on": False}
    look |= {"facecolors": list(map(colour, range(len(points))))} | kw
    shape = look.pop("marker", None)
    outlines = _outlines(len(points)) if shape is None else [_outline(shape)]
    place = {"offsets": points, "offset_transform": ax.transData}
    dots = PathCollection(outlines, [size], **place, **look)
    dots.set_transform(IdentityTransform())  # sizes are no data
    free = ax.get_autoscalex_on() or ax.get_autoscaley_on()
    ax.add_collection(dots, autolim=free)
    ax.autoscale_view()
    if names is not None:
        edge = {"mec": look["edgecolors"], "mew": look["linewidths"]}
        edge |= {"ls": "", "ms": size**0.5, "alpha": kw.get("alpha")}
        for k, name in enumerate(names):
            own = {"color": colour(k), "marker": shape or marker(k)}
            ax.add_line(Line2D([], [], label=name, **own, **edge))
    if labels:
        _label_points(ax, points, names, size)
    return ax


def _label_points(ax: Axes, points: np.ndarray, names, size: float) -> None:
    """Names beside the points, clear of them and inside the picture."""
    white = [matplotlib.patheffects.withStroke(linewidth=2.5, foreground="white")]
    away = size**0.5 / 2 + 1  # a marker is as wide as the root of its size, in points
    for k, place in enumerate(points):
        across, up = ax.transLimits.transform(place)  # 0 to 1 within the axes
        right, top = across > 0.7, up > 0.9
        offset = (-away if right else away, -away if top else away)
        sides = {"ha": "right" if right else "left", "va": "top" if top else "bottom"}
        look = {"textcoords": "offset points", "fontsize": 9, "zorder": 6}
        name = str(k) if names is None else names[k]
        ax.annotate(name, place, offset, path_effects=white, **look, **sides)


# -- Source and tables -----------------------------------------------------------------


def show_source(obj, collapsed: bool = False) -> None:
    """Display the highlighted source of a function or class, with its file and name.

    No line number: it would change with every edit further up.
    """
    obj = inspect.unwrap(getattr(obj, "__func__", obj))
    try:
        lines, _ = inspect.getsourcelines(obj)
        file = Path(inspect.getsourcefile(obj)).resolve()
    except (TypeError, OSError) as error:
        raise ValueError(
            f"no source for {obj!r}: show_source() takes a function, class or module "
            "written in Python"
        ) from error
    root = Path(__file__).resolve().parents[1]
    file = file.relative_to(root) if file.is_relative_to(root) else file
    name = getattr(obj, "__qualname__", "")
    place = f"{file.as_posix()}: {name}" if name else file.as_posix()
    text = inspect.cleandoc("\n" + "".join(lines))
    fence = "~~~~~~"  # longer than any fence inside a docstring
    code = f"{fence}python\n{text.rstrip()}\n{fence}\n"
    markdown = f"`{place}`\n\n{code}"
    if collapsed:
        summary = f"<summary><code>{html.escape(place)}</code></summary>"
        markdown = f"<details>{summary}\n\n{code}\n</details>"
    display({"text/markdown": markdown, "text/plain": f"# {place}\n{text}"}, raw=True)


def cell_text(value) -> str:
    """A table cell: numbers with four digits, None as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, Real) and not isinstance(value, bool | int):
        return f"{value:.4g}"
    return str(value)


def paper_and_measured(rows: list[dict], caption: str = "") -> None:
    """Display a table, one dict a row; the columns are the keys in order of appearance.

    Build the rows from ``lmcourse.evidence``: numbers are never typed.
    """
    if not rows:
        raise ValueError("the table has no rows: has the experiment been run?")
    keys = list(dict.fromkeys(key for row in rows for key in row))
    table = [[str(key).replace("_", " ") for key in keys]]
    table += [[cell_text(row.get(key)) for key in keys] for row in rows]
    sides = [
        "right"
        if all(isinstance(row.get(key), Real | None) for row in rows)
        else "left"
        for key in keys
    ]
    bundle = {
        "text/html": _table_html(table, sides, caption),
        "text/plain": _table_text(table, sides, caption),
    }
    display(bundle, raw=True)


def _table_html(table: list[list[str]], sides: list[str], caption: str) -> str:
    def row(kind, values):
        cells = (
            f'<{kind} style="text-align:{side}">{html.escape(value)}</{kind}>'
            for side, value in zip(sides, values, strict=True)
        )
        return f"<tr>{''.join(cells)}</tr>"

    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    body = "".join(row("td", values) for values in table[1:])
    head = row("th", table[0])
    return f"<table>{title}<thead>{head}</thead><tbody>{body}</tbody></table>"


def _table_text(table: list[list[str]], sides: list[str], caption: str) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rows = [table[0], ["-" * width for width in widths], *table[1:]]
    adjust = [str.rjust if side == "right" else str.ljust for side in sides]
    lines = [
        "  ".join(a(v, w) for a, v, w in zip(adjust, row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([caption, *lines] if caption else lines)
