"""First pictures: what a notebook is about, before its first line of code.

``show_opening("10")`` displays that of notebook 10. Everything is computed with the
networks that ship. Pictures are drawn anew in the size in which they are shown: points
in [-1, 1] fit any resolution.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.datasets import load_sample_image
from torch import Tensor

from lmcourse.experiments.cells import load_cell
from lmcourse.first_steps import draw_hollow, temperature_text
from lmcourse.plots import (
    COLOURS,
    draw_heatmap,
    draw_image,
    draw_points,
    figure,
    show,
)
from lmlib.geometry import Affine, ThinPlateSpline, from_pixels
from lmlib.heatmaps import hard_argmax, soft_argmax, spatial_softmax
from lmlib.warps import control_grid
from lmscenes import Blocks, Faces, Shapes

FACE = 21
SIDE = 222  # pixels of a picture; four fill the width of a page
OPENINGS: dict[str, Callable[[], tuple[Figure, str]]] = {}


def opening(number: str) -> tuple[Figure, str]:
    """The first picture of a notebook and what it shows; ValueError for others."""
    if number not in OPENINGS:
        raise ValueError(f"no opening {number!r}; there are {', '.join(OPENINGS)}")
    return OPENINGS[number]()


def show_opening(number: str) -> None:
    """Display the first picture of a notebook."""
    show(*opening(number), first=True)


def _opens(number: str):
    def register(make: Callable) -> Callable:
        OPENINGS[number] = make
        return make

    return register


def _row(count: int, titles: Sequence[str] = (), rows: int = 1):
    """Axes for large pictures, four or so a row."""
    width = 9.0 / count
    height = rows * width + 0.35 * bool(titles) + 0.3 * (count > 4)
    fig, axes = figure(9, height, rows=rows, cols=count, squeeze=False)
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title, fontsize=12)
    return fig, axes


def _glow(image: Tensor, maps: Tensor, dim: float = 0.5) -> Tensor:
    """A picture ``(1, H, W)`` with maps ``(K, h, w)`` as coloured light."""
    bright = maps / maps.amax(dim=(1, 2), keepdim=True).clamp(min=1e-9)
    bright = F.interpolate(bright[None], image.shape[-2:], mode="bilinear")[0].sqrt()
    rgb = [[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in COLOURS]
    light = torch.einsum("khw,kc->chw", bright, torch.tensor(rgb)[: len(maps)])
    return (dim * image + 0.8 * light).clamp(0, 1)


def _truth(ax: Axes, points: Tensor, size: float = 190) -> None:
    look = {"facecolors": "none", "edgecolors": "white", "linewidths": 1.6, "zorder": 4}
    ax.scatter(*points.T, s=size, **look)


# -- the ground ------------------------------------------------------------------------


@_opens("00")
def shapes() -> tuple[Figure, str]:
    network, numbers = (
        load_cell("seqmt-shapes", "long"),
        (20_003, 20_012, 20_007, 20_015),
    )
    with torch.no_grad():
        images = Shapes(network.config.size).batch(numbers)["image"]
        scores = network.scores(images)
    points, maps = soft_argmax(scores, network.beta), spatial_softmax(scores)
    large = Shapes(2 * SIDE).batch(numbers)["image"]
    fig, axes = _row(4)
    for n, ax in enumerate(axes):
        draw_image(ax, _glow(large[n], maps[n] ** 0.5, dim=0.75))
        draw_points(ax, points[n], size=170)
    return fig, (
        "Four pictures of a triangle and a square, and the two points that a network "
        "has found in each. All that it was ever told is which of the two is nearer to "
        "the top-left corner."
    )


def _pagoda(side: int) -> tuple[Tensor, Tensor]:
    """scikit-learn's photograph, and five corners of its roofs in [-1, 1]."""
    pixels = torch.tensor(load_sample_image("china.jpg")).permute(2, 0, 1) / 255
    square = F.interpolate(pixels[None, :, :, :427], side, mode="area")
    corners = [[205, 38], [97, 116], [319, 124], [64, 269], [351, 254]]
    return square, from_pixels(torch.tensor([corners]).float(), (427, 427))


@_opens("01")
def temperatures() -> tuple[Figure, str]:
    square, corners = _pagoda(64)
    grey = F.pad(square.mean(1, keepdim=True), (3, 3, 3, 3), mode="replicate")
    patches = F.unfold(grey, 7)[0].T
    patches = patches - patches.mean(1, keepdim=True)
    patches = patches / (patches.std(1, keepdim=True) + 0.02)
    column, row = ((corners[0, 1] + 1) * 32).long().tolist()  # as notebook 01 asks
    scores = (patches @ patches[row * 64 + column] / 49).view(1, 1, 64, 64)
    large = _pagoda(2 * SIDE)[0][0].mean(0)
    betas = (1.0, 12.5, 20.0, 100.0)
    fig, axes = _row(4, list(map(temperature_text, betas)))
    for ax, beta in zip(axes, betas, strict=True):
        p = spatial_softmax(scores, beta)[0, 0]
        draw_heatmap(ax, p**0.2, large * 0.5)  # weak rivals show
        both = soft_argmax(scores, beta)[0, 0], hard_argmax(scores)[0, 0]
        draw_hollow(ax, both, size=300, names=False)
    return fig, (
        "One map of scores for the left tip of the top roof, read at four temperatures,"
        " from hot to cold. The square is its highest pixel; the ring, the average of "
        "all that glows, walks from the middle of the picture to the tip."
    )


@_opens("02")
def warps() -> tuple[Figure, str]:
    square, corners = _pagoda(2 * SIDE)
    pins = control_grid(3)
    pulled = pins.clone()
    pulled[4] += torch.tensor([0.4, 0.1])
    turn = torch.tensor([[[0.78, -0.45, 0.0], [0.45, 0.78, 0.1]]])
    swirl = control_grid(4)
    bent = swirl + 0.09 * torch.randn(16, 2, generator=torch.Generator().manual_seed(8))
    moves = {
        "as it is": Affine(torch.eye(2, 3)[None]),
        "turned": Affine(turn),
        "pulled at one pin": ThinPlateSpline.from_points(pins[None], pulled[None]),
        "bent": ThinPlateSpline.from_points(swirl[None], bent[None]),
    }
    fig, axes = _row(4, list(moves))
    for ax, warp in zip(axes, moves.values(), strict=True):
        draw_image(ax, warp.image(square)[0])
        draw_points(ax, warp.points(corners)[0], size=150)
    return fig, (
        "A pagoda as it is, turned, pulled at one pin, and bent. Five corners were "
        "marked once, in the first picture; the same warps moved the marks."
    )


@_opens("03")
def three_detectors() -> tuple[Figure, str]:
    batch = Faces(256, seed=5, yaw=8).batch([FACE])
    truth = batch["landmarks"][0]
    eyes = (truth[36:42].mean(0) - truth[42:48].mean(0)).norm()
    g = torch.Generator().manual_seed(1)
    noise, away = torch.randn(2, 68, 2, generator=g)
    few = torch.zeros(68, 1)
    few[[3, 5, 12, 24, 37, 62]] = 1  # jaw, a brow, an eye, the mouth
    wrong = {
        "a little, everywhere": noise,
        "one way, everywhere": torch.tensor([0.8, -0.6]).expand(68, 2),
        "six points, far off": few * away / away.norm(dim=-1, keepdim=True),
    }
    fig, axes = _row(3, list(wrong))
    line = {"color": "#ff2020", "lw": 3, "zorder": 4, "solid_capstyle": "round"}
    dot = {"s": 14, "c": COLOURS[6], "edgecolors": "black", "linewidths": 0.5}
    x, y = truth.mean(0).tolist()
    for ax, offset in zip(axes, wrong.values(), strict=True):
        moved = truth + 0.1 * eyes * offset / offset.norm(dim=-1).mean()
        draw_image(ax, 0.3 + 0.35 * batch["image"][0])  # dimmed: lines stand out
        for a, b in zip(truth, moved, strict=True):
            ax.plot(*torch.stack([a, b]).T, **line)
        ax.scatter(*moved.T, zorder=5, **dot)
        ax.set(xlim=(x - 0.72, x + 0.72), ylim=(y + 0.72, y - 0.72))
    return fig, (
        "The same drawn face three times, with 68 landmarks (dots) from three "
        "detectors; a red line joins each to its true place. All three have the same "
        "mean error, 10 % of the distance of the eye centres."
    )


# -- Seq-MT ----------------------------------------------------------------------------


@torch.no_grad()
def _on_blocks(setting: str, numbers: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Points and maps of a network of table 1, and its errors in pixels of 60."""
    network, batch = load_cell("seqmt-blocks", setting), Blocks(60).batch(numbers)
    scores = network.scores(batch["image"])
    points = soft_argmax(scores, network.beta)
    errors = 30 * (points - batch["landmarks"]).norm(dim=-1).mean(dim=1)
    return points, spatial_softmax(scores, network.beta), errors


CHAINS = (6403, 6408, 6414, 6421)


def _close_up(ax: Axes, number: int, points: Tensor, dim: float = 0.6) -> None:
    """A test image near its figure, with the truth as rings and landmarks."""
    batch = Blocks(2 * SIDE).batch([number])
    truth = batch["landmarks"][0]
    x, y = truth.mean(dim=0).tolist()
    draw_image(ax, dim * batch["image"][0])
    _truth(ax, truth, 420)
    draw_points(ax, points, size=170, clip_on=True)
    ax.set(xlim=(x - 0.6, x + 0.6), ylim=(y + 0.6, y - 0.6))


def _chains(rows: dict[str, str], numbers: Sequence[int] = CHAINS) -> Figure:
    """Rows of chains with landmarks: what a row is called, and its network."""
    fig, axes = _row(len(numbers), rows=len(rows))
    for row, (words, setting) in enumerate(rows.items()):
        points, _, errors = _on_blocks(setting, numbers)
        for n, number in enumerate(numbers):
            ax = axes[row * len(numbers) + n]
            _close_up(ax, number, points[n])
            ax.set_xlabel(f"{errors[n]:.1f} px off", fontsize=11)
        axes[row * len(numbers)].set_ylabel(words, fontsize=12)
    return fig


@_opens("10")
def two_teachers() -> tuple[Figure, str]:
    fig = _chains({
        "165 with landmarks": "Seq-MT(L)@5",
        "and 3,035 without": "Seq-MT(L+T)@5",
    })  # fmt: skip
    return fig, (
        "Four test pictures, five look-alike squares to be told apart; rings are the "
        "truth. Above, a network that learned from 165 pictures with landmarks; below, "
        "one that also saw 3,035 without, and was asked to find the same points in "
        "each of them and in its turned copy."
    )


@_opens("11")
def from_the_middle() -> tuple[Figure, str]:
    fig = _chains({"1 % labelled": "Seq-MT(L+T)@1", "5 % labelled": "Seq-MT(L+T)@5"})
    return fig, (
        "Above, a network that has not yet left the plateau: all five landmarks sit in "
        "the middle of the figure. Below, one that has: five points, five squares."
    )


@_opens("12")
def what_is_it_worth() -> tuple[Figure, str]:
    networks = {
        "5 %": "Seq-MT(L)@5",
        "5 % + classes": "Seq-MT(L+C)@5",
        "5 % + equivariance": "Seq-MT(L+T)@5",
        "10 %": "Seq-MT(L)@10",
        "100 %": "Seq-MT(L)@100",
    }
    fig, axes = _row(5, list(networks))
    for ax, setting in zip(axes, networks.values(), strict=True):
        points, _, errors = _on_blocks(setting, CHAINS[1:2])
        _close_up(ax, CHAINS[1], points[0])
        ax.set_xlabel(f"{errors[0]:.1f} px off", fontsize=11)
    return fig, (
        "One test picture, five networks: landmarks on 5 % of the training pictures, "
        "the same with class labels, the same with equivariance, and landmarks on 10 % "
        "and on all."
    )


@_opens("13")
def one_map(square: int = 1, numbers: Sequence[int] = CHAINS) -> tuple[Figure, str]:
    fig, axes = _row(len(numbers), rows=2)
    rows = {"labels alone": "Seq-MT(L)@5", "+ equivariance": "Seq-MT(L+T)@5"}
    for row, (words, setting) in enumerate(rows.items()):
        points, maps, _ = _on_blocks(setting, numbers)
        light = F.avg_pool2d(maps, 3, stride=1, padding=1)  # single pixels hide
        for n, ax in enumerate(axes[row * len(numbers) :][: len(numbers)]):
            batch = Blocks(2 * SIDE).batch(numbers[n : n + 1])
            truth = batch["landmarks"][0]
            x, y = truth.mean(dim=0).tolist()
            draw_image(ax, _glow(batch["image"][0], light[n, [square]], dim=0.45))
            _truth(ax, truth[[square]], 420)
            draw_points(ax, points[n, [square]], size=170)
            ax.set(xlim=(x - 0.6, x + 0.6), ylim=(y + 0.6, y - 0.6))
        axes[row * len(numbers)].set_ylabel(words, fontsize=12)
    return fig, (
        "Where two networks look for the second square: its map as light, the map's "
        "mean as a marker, the truth as a ring. Above, the map lights a few wrong "
        "places and its mean falls between them; below, it is spread over the whole "
        "figure, and its mean is nearly right all the same."
    )
