"""Figures that read well everywhere: white background, alt text, shape and colour.

Figures are made without pyplot: nothing is shown twice, nothing piles up in memory, and
a figure may be drawn in any thread. Picture coordinates are data coordinates: x right,
y down, in [-1, 1], so landmarks are plotted as they are.
"""

import html
import inspect
import io
import math
from base64 import b64encode
from numbers import Real
from pathlib import Path

import numpy as np
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageColor

# Okabe and Ito's colours, told apart by most colour-blind readers; black is left out,
# as scenes are black. Seven colours, ten markers: 70 landmarks before a pair repeats.
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#0072b2", "#f0e442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "p", "h")
EXTENT = (-1, 1, 1, -1)  # left, right, bottom, top: y points down


def colour(number: int) -> str:
    """Colour of landmark ``number``, the same in every figure and widget."""
    return COLOURS[number % len(COLOURS)]


def marker(number: int) -> str:
    """Marker shape of landmark ``number``."""
    return MARKERS[number % len(MARKERS)]


def figure(width: float = 8, height: float = 3, rows: int = 1, cols: int = 1, **kw):
    """A new figure of ``width x height`` inches at 100 dots an inch, and its axes.

    Returns ``(fig, ax)`` for one panel, ``(fig, axes)`` with a flat array for several.
    ``kw`` goes to ``Figure.subplots`` (``sharex=True``, ``gridspec_kw=...``).
    """
    fig = Figure((width, height), dpi=100, facecolor="white", layout="constrained")
    FigureCanvasAgg(fig)
    axes = fig.subplots(rows, cols, **kw)
    return fig, (axes if isinstance(axes, Axes) else axes.flatten())


def pixels(fig: Figure) -> Image.Image:
    """The figure as an RGB picture."""
    fig.canvas.draw()
    return Image.fromarray(np.asarray(fig.canvas.buffer_rgba())[..., :3].copy())


def png(image: Image.Image, compression: int = 1) -> bytes:
    """PNG bytes; compression 1 is fast (widgets), 9 is small (stored pictures)."""
    buffer = io.BytesIO()
    image.save(buffer, "png", compress_level=compression)
    return buffer.getvalue()


def few_colours(image: Image.Image) -> Image.Image:
    """The picture in 256 colours: white, black and the landmarks' always among them."""
    kept = [ImageColor.getrgb(name) for name in ("white", "black", *COLOURS)]
    image = image.convert("RGB")
    common = image.quantize(256 - len(kept)).getpalette()
    palette = Image.new("P", (1, 1))
    palette.putpalette(common + [value for rgb in kept for value in rgb])
    fewer = image.quantize(palette=palette, dither=Image.Dither.NONE)
    # Pillow looks up neighbours of a colour: put the exact ones right.
    values, index = np.asarray(image), np.array(fewer)
    for number, rgb in enumerate(kept, start=len(common) // 3):
        index[(values == rgb).all(axis=-1)] = number
    exact = Image.fromarray(index)
    exact.putpalette(palette.getpalette())
    return exact


def show(fig: Figure | Image.Image, alt: str) -> None:
    """Display a figure (or picture) as PNG with ``alt``, a sentence on what it shows.

    Stored with 256 colours, a third of the size: committed notebooks stay small.
    """
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(
            f"show() needs alt text: a sentence on what to see; got {alt!r}"
        )
    image = pixels(fig) if isinstance(fig, Figure) else fig
    data = png(few_colours(image), 9)
    bundle = {"image/png": b64encode(data).decode(), "text/plain": alt}
    about = {"alt": alt, "width": image.width, "height": image.height}
    display(bundle, metadata={"image/png": about}, raw=True)


# --------------------------------------------------------------------------------------
# Images, maps, landmarks
# --------------------------------------------------------------------------------------


def as_array(image) -> np.ndarray:
    """``(C, H, W)`` or ``(H, W)`` in [0, 1] (tensor or array) as ``(H, W[, 3])``."""
    if hasattr(image, "detach"):
        image = image.detach().cpu().float().numpy()
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[0] in (1, 3):
        image = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[2] == 3):
        raise ValueError(
            f"one image is (1, H, W), (3, H, W) or (H, W); got {tuple(image.shape)}"
        )
    return image


def draw_image(ax: Axes, image, title: str | None = None):
    """Show one image in [0, 1]; the axes run over [-1, 1], y down, without ticks."""
    ax.imshow(
        as_array(image).clip(0, 1),
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=EXTENT,
        interpolation="nearest",
    )
    return _finish(ax, title)


def draw_heatmap(ax: Axes, heatmap, image=None, title: str | None = None):
    """Show a map ``(H, W)``, black (lowest) to yellow (highest), over ``image``."""
    values = as_array(heatmap)
    if values.ndim != 2:
        raise ValueError(f"one heatmap is (H, W), got {tuple(values.shape)}")
    alpha = None
    if image is not None:
        draw_image(ax, image)
        span = values.max() - values.min()
        alpha = 0.85 * np.sqrt((values - values.min()) / (span if span > 0 else 1))
    ax.imshow(
        values, cmap="inferno", extent=EXTENT, interpolation="nearest", alpha=alpha
    )
    return _finish(ax, title)


def _finish(ax: Axes, title: str | None):
    ax.set(xlim=(-1, 1), ylim=(1, -1), xticks=[], yticks=[])
    if title is not None:
        ax.set_title(title, fontsize=10, y=1)  # a given y spares a search at every draw
    return ax


def draw_points(
    ax: Axes, points, names=None, size: float = 60, labels: bool = False, **kw
):
    """Draw landmarks ``(K, 2)``: each has its own colour *and* shape, edged in white.

    ``names`` label them in a legend made by ``ax.legend()``, with ``labels=True`` also
    beside each point. ``kw`` goes to ``Axes.scatter`` (``alpha=0.5``, ``zorder=4``).
    """
    if hasattr(points, "detach"):
        points = points.detach().cpu().float().numpy()
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"landmarks to draw are (K, 2), got {tuple(points.shape)}")
    if names is not None and len(names) != len(points):
        raise ValueError(f"{len(names)} names for {len(points)} landmarks")
    style = {"edgecolors": "white", "linewidths": 1.2, "zorder": 5, "clip_on": False}
    for k, (x, y) in enumerate(points):
        name = str(k) if names is None else names[k]
        ax.scatter(
            x, y, s=size, c=colour(k), marker=marker(k), label=name, **(style | kw)
        )
        if labels:
            ax.annotate(
                name,
                (x, y),
                (6, 6),
                textcoords="offset points",
                fontsize=8,
                zorder=6,
                bbox={"boxstyle": "round,pad=.15", "fc": "white", "ec": "none"},
            )
    return ax


# --------------------------------------------------------------------------------------
# Source and tables
# --------------------------------------------------------------------------------------


def source_place(obj) -> tuple[str, int, str]:
    """File (relative to the repository), first line and text of a function or class."""
    obj = inspect.unwrap(getattr(obj, "__func__", obj))
    try:
        lines, first = inspect.getsourcelines(obj)
        file = Path(inspect.getsourcefile(obj))
    except (TypeError, OSError) as error:
        raise ValueError(
            f"no source for {obj!r}: show_source() takes a function, class or module "
            "written in Python"
        ) from error
    root = Path(__file__).resolve().parents[1]
    if file.resolve().is_relative_to(root):
        file = file.resolve().relative_to(root)
    return file.as_posix(), max(first, 1), inspect.cleandoc("\n" + "".join(lines))


def show_source(obj, collapsed: bool = False) -> None:
    """Display the highlighted source of a function or class with its file and line."""
    file, line, text = source_place(obj)
    place = f"{file}:{line}"
    fence = "~~~~~~"  # longer than any fence inside a docstring
    code = f"{fence}python\n{text.rstrip()}\n{fence}\n"
    if collapsed:
        summary = f"<summary><code>{html.escape(place)}</code></summary>"
        markdown = f"<details>{summary}\n\n{code}\n</details>"
    else:
        markdown = f"`{place}`\n\n{code}"
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

    Build the rows from ``lmlib.results`` and ``lmlib.claims``: numbers are never typed.
    """
    if not rows:
        raise ValueError("the table has no rows: has the experiment been run?")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    body = [[cell_text(row.get(key)) for key in columns] for row in rows]
    heads = [str(key).replace("_", " ") for key in columns]
    numeric = [
        all(isinstance(row.get(key), Real | None) for row in rows) for key in columns
    ]
    display(
        {
            "text/html": _table_html(heads, body, numeric, caption),
            "text/plain": _table_text(heads, body, numeric, caption),
        },
        raw=True,
    )


def _table_html(heads, body, numeric, caption) -> str:
    def cells(kind, values):
        sides = ("right" if n else "left" for n in numeric)
        return "".join(
            f'<{kind} style="text-align:{side}">{html.escape(value)}</{kind}>'
            for side, value in zip(sides, values, strict=True)
        )

    head = f"<thead><tr>{cells('th', heads)}</tr></thead>"
    lines = "".join(f"<tr>{cells('td', row)}</tr>" for row in body)
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f"<table>{title}{head}<tbody>{lines}</tbody></table>"


def _table_text(heads, body, numeric, caption) -> str:
    widths = [max(map(len, column)) for column in zip(heads, *body, strict=True)]

    def line(values):
        parts = [
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(values, widths, numeric, strict=True)
        ]
        return "  ".join(parts).rstrip()

    rule = "  ".join("-" * width for width in widths)
    lines = [line(heads), rule, *map(line, body)]
    return "\n".join([caption, *lines] if caption else lines)
