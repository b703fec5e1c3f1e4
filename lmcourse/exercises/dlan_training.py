"""Exercises of notebook 41: counting detections, and the size that eq. 8 asks for."""

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import first_hint
from lmlib.evaluation import pdl

# ---- detections ----------------------------------------------------------------------


def detected(points, truth, visible, pixels, side):
    errors = (points - truth).norm(dim=-1) * side / 2  # [-1, 1] is 2 wide
    return (errors[visible] < pixels).float().mean().item()


def _library(points, truth, visible, pixels, side):
    return pdl(points, truth, visible, float(pixels), (side, side))


@exercise(
    "detected",
    solution=detected,
    library=_library,
    level="medium",
    minutes=10,
    example=(
        torch.tensor([[[0.0, 0.0], [0.5, 0.0]]]),
        torch.tensor([[[0.1, 0.0], [0.0, 0.0]]]),
        torch.tensor([[True, True]]),
        35,
        512,
    ),
)
def _examine_detected(fn) -> str | None:
    g = torch.Generator().manual_seed(0)
    truth = 1.6 * torch.rand(12, 8, 2, generator=g) - 0.8
    points = truth + 0.2 * torch.randn(12, 8, 2, generator=g)
    visible = torch.rand(12, 8, generator=g) < torch.rand(12, 1, generator=g)
    visible[0] = False
    visible[1, 0] = True
    truth[1, 0], points[1, 0] = torch.zeros(2), torch.tensor([0.25, 0.0])  # 16 pixels
    hidden = (~visible).nonzero()[:5]
    truth[hidden[:, 0], hidden[:, 1]] = torch.nan
    pixels, side = 16, 128
    right = _library(points, truth, visible, pixels, side)
    near = (points - truth).norm(dim=-1) * side / 2
    clean = near.nan_to_num(torch.inf)
    hit = (clean < pixels) & visible
    each = hit.sum(1)[visible.any(1)] / visible.sum(1)[visible.any(1)]
    slips = {
        "Hidden landmarks count as detected: that is the multiplied ruler. Take "
        "errors[visible].": (hit | ~visible).float().mean().item(),
        "Hidden landmarks count as missed: divide by the visible ones, not by all.": (
            hit.float().mean().item()
        ),
        "You count hidden landmarks as well. Nobody is asked for them.": (
            (clean < pixels).float().mean().item()
        ),
        "Twice too far: [-1, 1] is 2 wide, so a unit is side / 2 pixels.": (
            (2 * near[visible] < pixels).float().mean().item()
        ),
        "That compares distances in [-1, 1] with pixels. Multiply by side / 2.": (
            ((near / (side / 2))[visible] < pixels).float().mean().item()
        ),
        "Less than the threshold: an error of exactly 16 pixels is none.": (
            (near[visible] <= pixels).float().mean().item()
        ),
        "That is a mean of the pictures' rates. All visible landmarks count alike.": (
            each.mean().item()
        ),
        "x and y must both count in one distance: take the norm, not each by itself.": (
            (((points - truth).abs() * side / 2)[visible] < pixels)
            .float()
            .mean()
            .item()
        ),
        "A share lies between 0 and 1; this is in percent.": 100 * right,
    }
    return first_hint(fn(points, truth, visible, pixels, side), right, slips)


# ---- how wide a frame is -------------------------------------------------------------


def half_side(factor, hull):
    return (factor * hull).sqrt() / 2  # (2 h)^2 = lambda C


@exercise(
    "half_side",
    solution=half_side,
    library=half_side,
    level="easy",
    minutes=5,
    example=(0.5, torch.tensor([2.0, 0.5])),
)
def _examine_half_side(fn) -> str | None:
    hull = torch.tensor([0.3, 1.7, 2.5])
    factor = 0.35
    right = half_side(factor, hull)
    slips = {
        "That is the whole side. The frame runs from -1 to 1 in its own coordinates, "
        "so half of it stands on the diagonal.": 2 * right,
        "An area is a square of lengths: take the root.": factor * hull / 4,
        "Lambda belongs under the root: it scales an area.": factor * hull.sqrt() / 2,
        "This divides by lambda. The larger lambda, the larger the frame.": (
            hull / factor
        ).sqrt()
        / 2,
        "The root of the 4 is 2, once: you have divided by 4.": right / 2,
    }
    return first_hint(fn(factor, hull), right, slips)
