"""Figures: opaque, described, in the course's coordinates; source and tables."""

import io
from base64 import b64decode

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image, ImageColor

from lmcourse import plots
from lmlib import heatmaps


def test_show_writes_an_opaque_png_with_alt_text(shown):
    fig, ax = plots.figure(4, 2)
    ax.plot([0, 1])
    plots.show(fig, alt="a rising line")
    bundle, metadata = shown[0]
    image = Image.open(io.BytesIO(b64decode(bundle["image/png"])))
    assert image.size == (400, 200)
    assert metadata["image/png"]["alt"] == bundle["text/plain"] == "a rising line"
    assert "text/html" not in bundle  # it would be shown in place of the picture
    assert image.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)


def test_the_alt_text_is_a_caption_too(shown):
    """JupyterLab and HTML exports leave the picture's own alt text out."""
    plots.show(plots.figure(4, 2)[0], alt="b < a, and rising")
    (_, _), (caption, _) = shown
    assert "b &lt; a, and rising" in caption["text/html"]
    assert caption["text/plain"] == "b < a, and rising"


@pytest.mark.parametrize("alt", ["", "  ", None])
def test_show_insists_on_alt_text(alt, shown):
    with pytest.raises(ValueError, match="alt text"):
        plots.show(plots.figure()[0], alt=alt)
    assert not shown


DOWN, ACROSS = torch.linspace(0, 1, 300)[:, None], torch.linspace(0, 1, 400)
SMOOTH = torch.stack([DOWN + 0 * ACROSS, 0 * DOWN + ACROSS, DOWN * ACROSS])
GRAIN = torch.randn(3, 300, 400, generator=torch.Generator().manual_seed(0))
SKIES = (0.9 * SMOOTH + 0.05 + 0.01 * GRAIN).clamp(0, 1)


@pytest.mark.parametrize(
    "picture, kind, off",
    [(0 * SMOOTH, "png", 0), (SMOOTH, "png", 0), (SKIES, "jpeg", 24)],
    ids=["one colour", "many shades", "many shades and grain"],
)
def test_a_picture_is_stored_small_with_colours_as_they_are(picture, kind, off, shown):
    fig, ax = plots.figure(4, 3)
    plots.draw_image(ax, picture)
    plots.draw_points(ax, torch.tensor([[0.1 * k - 0.3, 0.0] for k in range(7)]))
    plots.show(fig, alt="seven landmarks")
    data = b64decode(shown[0][0][f"image/{kind}"])
    plain = plots.pixels(fig)
    assert len(data) <= len(plots.png(plain))
    stored = Image.open(io.BytesIO(data)).convert("RGB")
    difference = np.abs(np.asarray(stored, int) - np.asarray(plain, int)).max(-1)
    assert np.quantile(difference, 0.99) <= 16 and difference.mean() < 4
    for k in range(7):
        x, y = ax.transData.transform((0.1 * k - 0.3, 0.0))
        pixel = stored.getpixel((int(x), int(300 - y)))
        wanted = ImageColor.getrgb(plots.colour(k))
        assert max(abs(a - b) for a, b in zip(pixel, wanted, strict=True)) <= off


@pytest.mark.parametrize("picture", [0 * SMOOTH, SKIES], ids=["one colour", "many"])
def test_the_first_picture_of_a_notebook_is_a_png(picture, shown):
    fig, ax = plots.figure(4, 3)
    plots.draw_image(ax, picture)
    plots.draw_points(ax, torch.zeros(1, 2))
    plots.show(fig, alt="a landmark", first=True)
    stored = Image.open(io.BytesIO(b64decode(shown[0][0]["image/png"]))).convert("RGB")
    off = np.asarray(stored, float) - np.asarray(plots.pixels(fig), float)
    around = off.reshape(30, 10, 40, 10, 3).mean((1, 3))  # dithering keeps means
    assert np.abs(around).mean() < 2 and np.abs(around).max() < 12
    x, y = ax.transData.transform((0, 0))
    wanted = ImageColor.getrgb(plots.colour(0))
    assert stored.getpixel((int(x), int(300 - y))) == wanted


def test_a_small_patch_of_many_colours_keeps_them():
    """A hundredth of a picture may lose shades; not all of them in one place."""
    values = np.full((400, 400, 3), 255, np.uint8)
    values[:, :200] = np.linspace(0, 255, 400, dtype=np.uint8)[:, None, None]
    random = np.random.default_rng(0)
    values[40:70, 240:270] = random.integers(0, 256, (30, 30, 3), dtype=np.uint8)
    picture = Image.fromarray(values)
    fewer = np.asarray(plots.few_colours(picture).convert("RGB"), int)
    wrong = np.abs(fewer - values).max(-1) > 12
    assert 0.002 < wrong.mean() < 0.01
    stored = Image.open(io.BytesIO(plots.compact(picture)[1]))
    assert stored.mode == "RGB"


def test_figure_gives_one_axes_or_a_flat_array_and_no_pyplot_state():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    fig, ax = plots.figure()
    assert isinstance(fig, Figure) and not isinstance(ax, np.ndarray)
    _, axes = plots.figure(rows=2, cols=3, sharex=True)
    assert axes.shape == (6,)
    assert pyplot.get_fignums() == before


def test_a_point_is_drawn_on_the_pixel_it_names():
    """Light one pixel, put a landmark at its centre: both land on the same spot."""
    image = torch.zeros(1, 20, 30)
    image[0, 4, 21] = 1
    point = torch.tensor([[(2 * 21 + 1) / 30 - 1, (2 * 4 + 1) / 20 - 1]])
    fig, ax = plots.figure(3, 2)
    plots.draw_image(ax, image)
    light = np.argwhere(np.asarray(plots.pixels(fig)).min(-1) == 255)
    inside = ax.get_window_extent()
    top, left = 200 - inside.y1, inside.x0
    light = [p for p in light if p[0] > top + 2 and left + 2 < p[1] < inside.x1 - 2]
    light = [p for p in light if p[0] < 200 - inside.y0 - 2]
    row, column = np.mean(light, axis=0)
    x, y = ax.transData.transform(point[0].tolist())
    assert abs(column + 0.5 - x) < 1 and abs(200 - row - 0.5 - y) < 1


def test_pixels_are_square_and_a_notebook_may_still_choose():
    fig, axes = plots.figure(8, 3, cols=3)
    wide = torch.zeros(3, 40, 80)
    plots.draw_image(axes[0], wide)
    plots.draw_heatmap(axes[1], torch.zeros(10, 10), image=wide)  # a coarse square map
    plots.draw_heatmap(axes[2], torch.zeros(40, 80))
    axes[2].set_aspect(1)
    plots.pixels(fig)
    boxes = [ax.get_window_extent() for ax in axes]
    shapes = [box.height / box.width for box in boxes]
    assert shapes == pytest.approx([0.5, 0.5, 1.0])


def test_landmarks_differ_in_colour_and_in_shape():
    looks = {(plots.colour(k), plots.marker(k)) for k in range(70)}
    assert len(looks) == 70
    fig, ax = plots.figure()
    plots.draw_points(ax, torch.zeros(5, 2), names=list("abcde"), labels=True)
    [drawn] = ax.collections  # one artist, whatever the number of points
    assert len({tuple(colour) for colour in drawn.get_facecolors()}) == 5
    assert len({path.vertices.tobytes() for path in drawn.get_paths()}) == 5
    assert {tuple(edge) for edge in drawn.get_edgecolors()} == {(1, 1, 1, 1)}
    assert [t.get_text() for t in ax.texts] == list("abcde")


def test_a_collection_of_points_looks_like_single_ones():
    points = torch.tensor([[0.2 * k - 0.9, 0.0] for k in range(10)])

    def masks(draw):
        """Where each of the ten markers is, ``(10, H, W)``, by its colour."""
        fig, ax = plots.figure(9, 1)
        draw(ax)
        ax.set(xlim=(-1, 1), ylim=(-1, 1))
        ax.axis("off")
        ax.set_position([0, 0, 1, 1])
        drawn = np.asarray(plots.pixels(fig), int)
        return np.stack(np.split((drawn < 250).any(-1), 10, axis=1))

    def one_by_one(ax):
        for k, place in enumerate(points):
            look = {
                "color": plots.colour(k),
                "marker": plots.marker(k),
                "linewidths": 0,
            }
            ax.scatter(*place, s=300, **look)

    single = masks(one_by_one)
    together = masks(lambda ax: plots.draw_points(ax, points, size=300, linewidths=0))
    overlap = np.array(
        [[(a & b).sum() / (a | b).sum() for b in single] for a in together]
    )
    assert (overlap.argmax(axis=1) == np.arange(10)).all()
    assert overlap.diagonal().min() > 0.75


def test_points_take_room_unless_the_limits_are_set():
    points = torch.tensor([[-3.0, 0.5], [5.0, 0.5]])
    _, ax = plots.figure()
    plots.draw_points(ax, points)
    assert ax.get_xlim()[0] < -3 and ax.get_xlim()[1] > 5
    ax.set(xlim=(-1, 1))
    plots.draw_points(ax, 2 * points)
    assert ax.get_xlim() == (-1, 1)
    plots.draw_points(ax, torch.zeros(0, 2))
    plots.pixels(ax.figure)


def test_one_marker_for_all_and_names_in_the_legend():
    _, ax = plots.figure()
    plots.draw_points(ax, torch.eye(2), ["left", "right"], marker="X", alpha=0.5)
    legend = ax.legend()
    assert [text.get_text() for text in legend.get_texts()] == ["left", "right"]
    left, right = legend.legend_handles
    assert (left.get_marker(), left.get_alpha()) == ("X", 0.5)
    assert left.get_color() == plots.colour(0) != right.get_color()
    _, bare = plots.figure()
    plots.draw_points(bare, torch.eye(2))
    assert bare.get_legend_handles_labels() == ([], [])


def test_labels_are_clear_of_their_points_and_inside_the_picture():
    corners = torch.tensor([[-0.97, -0.97], [0.97, -0.97], [0.97, 0.97], [-0.97, 0.97]])
    fig, ax = plots.figure(3, 3)
    plots.draw_image(ax, torch.zeros(1, 8, 8))
    plots.draw_points(ax, corners, ["north-west", "ne", "se", "sw"], labels=True)
    plots.pixels(fig)
    inside = ax.get_window_extent()
    for label, corner in zip(ax.texts, corners, strict=True):
        assert label.get_fontsize() >= 9
        box = label.get_window_extent()
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1
        assert inside.y0 <= box.y0 and box.y1 <= inside.y1
        x, y = ax.transData.transform(corner.tolist())
        clear = max(box.x0 - x, x - box.x1, box.y0 - y, y - box.y1)
        assert clear >= 60**0.5 / 2 * 100 / 72 - 1  # the marker's radius, in pixels


def test_curves_differ_by_more_than_colour():
    _, ax = plots.figure()
    lines = [ax.plot([0, 1])[0] for _ in range(7)]
    assert len({line.get_color() for line in lines}) == 7
    assert {line.get_color() for line in lines} == set(plots.COLOURS)
    dashes = {str(line._unscaled_dash_pattern) for line in lines}
    assert len(dashes) == 7


def test_a_line_of_a_given_colour_is_solid_unless_told_otherwise():
    _, ax = plots.figure()
    plain = [ax.plot([0, 1], color="red")[0] for _ in range(3)]
    plain += [ax.semilogx([1, 2], c="red")[0] for _ in range(3)]
    told = [ax.plot([0, 1], "--", color="red")[0], ax.plot([0, 1], c="red", ls=":")[0]]
    told += [ax.plot([0, 1], "o", color="red")[0]]
    assert {line.get_linestyle() for line in plain} == {"-"}
    assert [line.get_linestyle() for line in told] == ["--", ":", "None"]


def test_no_letter_is_too_small_to_read():
    fig, ax = plots.figure(4, 3)
    ax.plot([0, 1], label="a curve")
    ax.set(title="title", xlabel="x", ylabel="y")
    ax.legend(title="legend")
    fig.suptitle("all")
    plots.pixels(fig)
    sizes = {text.get_fontsize() for text in fig.findobj(Text) if text.get_text()}
    assert min(sizes) >= 9


def test_heatmap_over_an_image_hides_it_only_where_it_is_high():
    fig, ax = plots.figure(2, 2)
    heat = heatmaps.gaussian_maps(torch.zeros(1, 1, 2), (20, 20), 2)[0, 0]
    plots.draw_heatmap(ax, heat, image=torch.ones(1, 20, 20))
    plots.draw_heatmap(plots.figure()[1], torch.zeros(5, 5), torch.zeros(1, 5, 5))
    picture = np.asarray(plots.pixels(fig)).astype(int)
    assert picture[100, 100].sum() < 730 and picture[40, 40].sum() > 740


@pytest.mark.parametrize("seed", range(6))
def test_pictures_are_drawn_as_matplotlib_draws_them(seed):
    random = np.random.default_rng(seed)
    height, width = random.integers(3, 150, 2)
    image = torch.tensor(random.random((3, height, width)))
    heat = random.random(tuple(random.integers(3, 90, 2)))
    heat[0, 0] = np.nan  # shows what is below
    size = random.uniform(3, 8), random.uniform(2, 5)
    fig, axes = plots.figure(*size, cols=4)
    plots.draw_image(axes[0], image)
    plots.draw_heatmap(axes[3], coarse := random.random((20, 20)), torch.ones(60, 60))
    plots.draw_heatmap(axes[1], heat)
    plots.draw_image(axes[2], image)
    axes[2].set(xlim=(-0.3, 1.4), ylim=(0.7, -0.9))  # a part, and beyond
    ours = np.asarray(plots.pixels(fig))
    fig, axes = plots.figure(*size, cols=4)
    look = {"extent": plots.EXTENT, "interpolation": "nearest"}
    pixels = (255 * image.permute(1, 2, 0).numpy()).round().astype(np.uint8)
    axes[0].imshow(pixels, aspect=height / width, **look)
    shape = heat.shape[0] / heat.shape[1]
    axes[1].imshow(heat, cmap="inferno", aspect=shape, **look)
    axes[2].imshow(pixels, aspect=height / width, **look)
    axes[3].imshow(np.ones((60, 60)), cmap="binary_r", vmin=0, vmax=1, **look)
    height = (coarse - coarse.min()) / np.ptp(coarse)
    axes[3].imshow(coarse, cmap="inferno", alpha=0.85 * np.sqrt(height), **look)
    for ax in axes:
        ax.set(xlim=(-1, 1), ylim=(1, -1), xticks=[], yticks=[])
    axes[2].set(xlim=(-0.3, 1.4), ylim=(0.7, -0.9))
    theirs = np.asarray(plots.pixels(fig))
    assert (np.abs(ours.astype(int) - theirs).max(-1) > 1).mean() < 1e-4


def test_a_widgets_png_holds_the_picture():
    random = np.random.default_rng(0)
    for height, width in ((1, 1), (40, 3), (31, 57)):
        values = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        read = Image.open(io.BytesIO(plots.quick_png(Image.fromarray(values))))
        assert read.mode == "RGB" and (np.asarray(read) == values).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ax: plots.draw_image(ax, torch.zeros(2, 8, 8)), r"\(2, 8, 8\)"),
        (lambda ax: plots.draw_image(ax, torch.zeros(1, 1, 8, 8)), r"\(1, 1, 8, 8\)"),
        (lambda ax: plots.draw_heatmap(ax, torch.zeros(3, 8, 8)), r"\(H, W\)"),
        (lambda ax: plots.draw_points(ax, torch.zeros(3)), r"\(K, 2\)"),
        (lambda ax: plots.draw_points(ax, torch.zeros(3, 2), ["a"]), "1 names for 3"),
        (lambda ax: plots.show_source(7), "no source"),
        (lambda ax: plots.paper_and_measured([]), "no rows"),
    ],
)
def test_bad_input_gives_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call(plots.figure()[1])


def test_show_source_names_file_and_function(shown):
    plots.show_source(heatmaps.soft_argmax)
    plots.show_source(heatmaps.soft_argmax, collapsed=True)
    (plain, _), (folded, _) = shown
    first = plain["text/plain"].splitlines()[0]
    assert first == "# lmlib/heatmaps.py: soft_argmax"
    assert "return expected_points" in plain["text/markdown"]
    assert folded["text/markdown"].startswith("<details><summary>")


def test_table_has_html_and_text_and_marks_what_is_missing(shown):
    rows = [
        {"setting": "a < b", "paper": 99.0, "measured": 98.76543},
        {"setting": "new", "paper": None, "measured": float("nan"), "seeds": 5},
    ]
    plots.paper_and_measured(rows, caption="Table 1")
    bundle = shown[0][0]
    assert "a &lt; b" in bundle["text/html"] and "98.77" in bundle["text/html"]
    lines = bundle["text/plain"].splitlines()
    assert lines[0] == "Table 1" and "seeds" in lines[1] and lines[4].count("–") == 2
