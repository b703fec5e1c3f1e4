"""Exercises of notebook 01: softmax, soft-argmax, entropy, a local soft-argmax."""

import math

import torch
from torch import Tensor

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import first_hint
from lmlib import heatmaps
from lmlib.geometry import from_pixels, pixel_grid, to_pixels

DIVIDED = "You divide by beta, but it is an inverse temperature: it multiplies scores."
NO_BETA = "Your answer does not depend on beta: multiply the scores by it before exp."
ALL_PIXELS = "The softmax runs over all H x W pixels of a map: flatten its axes first."
TO_ONE = "Your weights do not sum to one: divide by their sum over the"


def _maps(*shape: int) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# ---- softmax over space --------------------------------------------------------------


def spatial_softmax(scores: Tensor, beta: float) -> Tensor:
    flat = scores.flatten(2)  # (B, K, H*W): one row for each map
    flat = flat - flat.amax(dim=2, keepdim=True)  # nothing to exponentiate above 0
    weights = torch.exp(beta * flat)
    return (weights / weights.sum(dim=2, keepdim=True)).view_as(scores)


@exercise(
    "spatial_softmax",
    solution=spatial_softmax,
    library=heatmaps.spatial_softmax,
    level="easy",
    minutes=8,
    example=(torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]]), 1.0),
)
def _examine_spatial_softmax(fn) -> str | None:
    scores, beta = _maps(2, 3, 4, 5), 0.5
    hot = beta * scores
    together = hot.flatten().softmax(0).view_as(hot)
    slips = {
        f"Each row of your maps sums to one. {ALL_PIXELS}": hot.softmax(3),
        f"Each column of your maps sums to one. {ALL_PIXELS}": hot.softmax(2),
        "All your maps together sum to one. Every map of every image has a softmax of "
        "its own: keep the axes B and K.": together,
        "You take the softmax over the maps (dim=1), so that at each pixel they sum to "
        f"one. {ALL_PIXELS}": hot.softmax(1),
        "You take the softmax over the batch (dim=0). Each image has a softmax of its "
        f"own. {ALL_PIXELS}": hot.softmax(0),
        DIVIDED: heatmaps.spatial_softmax(scores, 1 / beta),
        NO_BETA: heatmaps.spatial_softmax(scores, 1.0),
        f"{TO_ONE} map.": (hot - hot.amax((2, 3), keepdim=True)).exp(),
        f"{TO_ONE} whole map.": hot.exp(),
    }
    hint = first_hint(fn(scores, beta), heatmaps.spatial_softmax(scores, beta), slips)
    if hint:
        return hint
    if not torch.isfinite(fn(1000 + scores, 1.0)).all():
        return (
            "With large scores exp overflows to infinity, and infinity / infinity is "
            "NaN. Subtract the map's maximum first: the result is the same."
        )
    uneven = scores + 1000 * torch.arange(3).view(3, 1, 1)
    got = fn(uneven, 1.0)
    if not torch.isfinite(got).all():
        return (
            "One map of the batch scores much higher than the others, and now those "
            "are 0 / 0. Subtract from each map its own maximum, not the batch's."
        )
    return first_hint(got, heatmaps.spatial_softmax(uneven), {})


# ---- soft-argmax ---------------------------------------------------------------------


def soft_argmax(scores: Tensor, beta: float) -> Tensor:
    height, width = scores.shape[2:]
    weights = heatmaps.spatial_softmax(scores, beta)
    x = (2 * torch.arange(width) + 1) / width - 1  # pixel centres
    y = (2 * torch.arange(height) + 1) / height - 1
    mean_x = (weights * x).sum(dim=(2, 3))
    mean_y = (weights * y[:, None]).sum(dim=(2, 3))
    return torch.stack([mean_x, mean_y], dim=-1)


@exercise(
    "soft_argmax",
    solution=soft_argmax,
    library=heatmaps.soft_argmax,
    level="medium",
    minutes=10,
    example=(torch.tensor([[[[0.0, 0.0], [0.0, 3.0]]]]), 1.0),
)
def _examine_soft_argmax(fn) -> str | None:
    scores, beta = _maps(2, 3, 4, 6), 0.7
    height, width = scores.shape[2:]
    weights = heatmaps.spatial_softmax(scores, beta)
    right = heatmaps.soft_argmax(scores, beta)

    def mean(x: Tensor, y: Tensor, p: Tensor = weights) -> Tensor:
        return torch.stack([(p * x).sum((2, 3)), (p * y[:, None]).sum((2, 3))], dim=-1)

    columns, rows = torch.arange(width), torch.arange(height)
    x, y = pixel_grid(height, width)[0, :, 0], pixel_grid(height, width)[:, 0, 1]
    across, down = ((beta * scores.sum(axis)).softmax(-1) for axis in (2, 3))
    corners = mean(torch.linspace(-1, 1, width), torch.linspace(-1, 1, height))
    slips = {
        "Your corner pixels sit at exactly -1 and 1. Here -1 and 1 are the image's "
        "edges, and pixel i of n has its centre at (2 i + 1) / n - 1 (linspace(-1, 1, "
        "n) is the other convention, align_corners=True).": corners,
        "x and y are swapped: a point is (x, y) = (column, row), while a tensor is "
        "indexed [row, column].": right.flip(-1),
        "Your points are in pixels. Put the pixel centres into [-1, 1] with "
        "(2 i + 1) / n - 1.": mean(columns, rows),
        "Your points run from 0 to 2: subtract 1.": right + 1,
        "You use the left and upper edge of each pixel; its centre is half a pixel "
        "on: (2 i + 1) / n - 1.": mean(2 * columns / width - 1, 2 * rows / height - 1),
        "Your y points up. Row 0 is the top, and y points down.": mean(x, -y),
        "This is the plain argmax: the centre of the brightest pixel. Weigh all pixel "
        "centres by the map and add them up.": heatmaps.hard_argmax(scores),
        "You add the scores along one axis and take the softmax along the other. First "
        "the softmax over all pixels, then the average.": torch.stack(
            [across @ x, down @ y], dim=-1
        ),
        DIVIDED: heatmaps.soft_argmax(scores, 1 / beta),
        NO_BETA: heatmaps.soft_argmax(scores, 1.0),
        "You average over the raw scores. Make them probabilities first, with "
        "spatial_softmax(scores, beta).": mean(x, y, scores),
        "You divide by the number of pixels: with weights that sum to one, the "
        "weighted sum is the average.": right / (height * width),
    }
    return first_hint(fn(scores, beta), right, slips)


# ---- entropy -------------------------------------------------------------------------


def entropy(probabilities: Tensor) -> Tensor:
    logarithm = torch.log(probabilities.clamp(min=1e-30))  # 0 log 0 becomes 0
    return -(probabilities * logarithm).sum(dim=(2, 3))


@exercise(
    "entropy",
    solution=entropy,
    library=heatmaps.entropy,
    level="easy",
    minutes=5,
    example=(torch.tensor([[[[0.5, 0.5], [0.0, 0.0]]]]),),
)
def _examine_entropy(fn) -> str | None:
    p = heatmaps.spatial_softmax(_maps(2, 3, 4, 5))
    right = heatmaps.entropy(p)
    slips = {
        "The sign is missing: log p is negative, an entropy is not.": -right,
        "These are bits (log2). We count in nats, with the natural logarithm.": right
        / math.log(2),
        "You take the mean over the pixels. The entropy is their sum: the p in -p "
        "log p is the weight already.": right / 20,
        "You add -log p without its weight p.": -p.log().sum((2, 3)),
    }
    hint = first_hint(fn(p), right, slips)
    if hint:
        return hint
    one = torch.zeros(1, 2, 3, 3)
    one[0, 0, 1, 2] = 1
    one[0, 1, :2, 0] = 0.5
    got = fn(one)
    if torch.isnan(got).any():
        return (
            "A map with an exact zero gives NaN: log 0 is minus infinity, and 0 times "
            "that is NaN. Such a pixel counts 0: clamp p inside the log."
        )
    return first_hint(got, heatmaps.entropy(one), {})


# ---- soft-argmax near the peak -------------------------------------------------------


def local_soft_argmax(scores: Tensor, beta: float, radius: int) -> Tensor:
    size = scores.shape[2:]
    pixels = to_pixels(pixel_grid(*size), size)  # (H, W, 2), whole numbers
    peak = to_pixels(heatmaps.hard_argmax(scores), size)[:, :, None, None]
    outside = ((pixels - peak).abs() > radius + 0.5).any(dim=-1)  # (B, K, H, W)
    return heatmaps.soft_argmax(scores.masked_fill(outside, -torch.inf), beta)


@exercise(
    "local_soft_argmax",
    solution=local_soft_argmax,
    library=local_soft_argmax,
    level="hard",
    minutes=15,
    example=(torch.tensor([[[[0.0, 4.0, 3.0, 0.0, 3.9]]]]), 1.0, 1),
)
def _examine_local_soft_argmax(fn) -> str | None:
    size, beta, radius = (9, 13), 1.5, 2
    pixels = torch.tensor([[[8.2, 5.9], [3.3, 4.1]], [[6.0, 2.6], [10.4, 4.8]]])
    decoys = torch.tensor([[[2.0, 2.0], [11.0, 1.0]], [[1.0, 7.0], [4.0, 7.0]]])
    scores = 5 * heatmaps.gaussian_maps(from_pixels(pixels, size), size, 1.5)
    scores = scores + 4 * heatmaps.gaussian_maps(from_pixels(decoys, size), size, 1.5)
    right, peak = local_soft_argmax(scores, beta, radius), heatmaps.hard_argmax(scores)
    everywhere = heatmaps.soft_argmax(scores, beta)

    def inside(middle: Tensor, reach: int = radius) -> Tensor:
        middle = to_pixels(middle, size)[:, :, None, None]
        step = to_pixels(pixel_grid(*size), size) - middle
        return (step.abs() < reach + 0.5).all(dim=-1)

    def within(mask: Tensor) -> Tensor:
        return heatmaps.soft_argmax(scores.masked_fill(~mask, -torch.inf), beta)

    cut = heatmaps.spatial_softmax(scores, beta) * inside(peak)
    step = to_pixels(right, size) - to_pixels(peak, size)
    slips = {
        "You average over the whole map, so the second peak still pulls. Keep only the "
        "pixels within `radius` of the highest one.": everywhere,
        "This is the plain argmax. Average the pixels around it.": peak,
        "Your window lies around the soft-argmax of the whole map, which may be on no "
        "peak at all. Put it around hard_argmax(scores).": within(inside(everywhere)),
        "After cutting, the weights no longer sum to one, which pulls the point to the "
        "centre. Cut before the softmax.": heatmaps.expected_points(cut),
        "You set the scores outside to 0, but exp(0) is 1: those pixels still count. "
        "Set them to -torch.inf.": heatmaps.soft_argmax(scores * inside(peak), beta),
        "Your point is measured inside the window. Add the window's own place in the "
        "image.": from_pixels(step + radius, (2 * radius + 1,) * 2),
        "Your point is the step away from the highest pixel. Add that pixel's "
        "position.": right - peak,
        "Your window is too small: the radius counts pixels on each side, so the "
        "window is 2 radius + 1 wide.": within(inside(peak, radius - 1)),
        "x and y are swapped: a point is (x, y) = (column, row).": right.flip(-1),
    }
    corner = torch.zeros(1, 1, *size)
    corner[0, 0, 0, -1] = 3.0
    at_border = "Right inside the map, but not at the border: there the window is cut "
    return first_hint(fn(scores, beta, radius), right, slips) or first_hint(
        fn(corner, 1.0, radius),
        local_soft_argmax(corner, 1.0, radius),
        {},
        at_border + "off, not moved and not continued on the other side",
    )
