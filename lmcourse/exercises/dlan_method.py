"""Exercises of notebook 40: into a frame, frames in frames, and a gradient."""

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import first_hint
from lmlib.methods import dlan

# ---- from the picture into a frame ---------------------------------------------------


def to_frame(theta, points):
    return torch.linalg.solve(theta[:, :2], (points - theta[:, 2]).T).T


@exercise(
    "to_frame",
    solution=to_frame,
    library=to_frame,
    level="easy",
    minutes=8,
    example=(
        torch.tensor([[0.5, 0.0, 0.25], [0.0, 0.5, 0.0]]),
        torch.tensor([[0.25, 0.0], [0.75, 0.5]]),
    ),
)
def _examine_to_frame(fn) -> str | None:
    theta = torch.tensor([[0.4, -0.3, 0.2], [0.1, 0.5, -0.6]])
    points = torch.tensor([[0.3, 0.1], [-0.8, 0.4], [0.2, -0.6]])
    linear, shift = theta[:, :2], theta[:, 2]
    inverse = torch.linalg.inv(linear)
    slips = {
        "That is eq. 4 itself, from the frame to the picture. Here the way back is "
        "asked for.": points @ linear.T + shift,
        "The shift comes off first: points - t, then the inverse of A.": points
        @ inverse.T
        - shift,
        "You undo A but not the shift t.": points @ inverse.T,
        "Points are rows: the inverse of A stands on the right, transposed.": (
            points - shift
        )
        @ inverse,
        "The transpose of A is its inverse only for a pure turn. Frames are stretched, "
        "too.": (points - shift) @ linear,
        "Dividing by the side undoes an upright square. This frame is turned and "
        "sheared: use the inverse of A.": (points - shift)
        / torch.stack([theta[0, 0], theta[1, 1]]),
    }
    return first_hint(fn(theta, points), to_frame(theta, points), slips)


# ---- frames in frames ----------------------------------------------------------------


def compose_frames(theta, move):
    moved = theta[..., :2] @ move  # (J, 2, 3): the new axes and the new middle, turned
    moved[..., 2] += theta[..., 2]
    return moved


def _library(theta, move):
    return dlan.compose(theta[None], move[None])[0]


@exercise(
    "compose_frames",
    solution=compose_frames,
    library=_library,
    level="medium",
    minutes=10,
    example=(
        torch.tensor([[[0.5, 0.0, 0.1], [0.0, 0.5, 0.0]]]),
        torch.tensor([[[0.5, 0.0, 0.5], [0.0, 0.5, 0.0]]]),
    ),
)
def _examine_compose_frames(fn) -> str | None:
    g = torch.Generator().manual_seed(0)
    theta, move = torch.randn(2, 8, 2, 3, generator=g).unbind(0)
    a, b = theta[..., :2], move[..., :2]
    t, s = theta[..., 2:], move[..., 2:]
    slips = {
        "The other way round: the new frame is said in the old one's coordinates, so "
        "theta stands on the left.": torch.cat([b @ a, b @ t + s], -1),
        "The shift of the move has to be turned and stretched by theta, too.": (
            torch.cat([a @ b, t + s], -1)
        ),
        "The old frame's own shift is missing.": torch.cat([a @ b, a @ s], -1),
        "The new shift is missing: the frame would never move on.": torch.cat(
            [a @ b, t], -1
        ),
        "A product of matrices, not of their entries.": torch.cat(
            [a * b, (a @ s) + t], -1
        ),
        "The new shift is A s + t, with the old frame's A. Yours takes the move's.": (
            torch.cat([a @ b, b @ s + t], -1)
        ),
    }
    return first_hint(fn(theta, move), _library(theta, move), slips)


# ---- the gradient of eq. 8 -----------------------------------------------------------


def scale_gradient(linear, target):
    (a, b), (c, d) = linear[:, 0].unbind(-1), linear[:, 1].unbind(-1)
    cofactors = torch.stack([d, -c, -b, a], -1).view(-1, 2, 2)
    return -4 * (target - 4 * (a * d - b * c))[:, None, None] * cofactors


@exercise(
    "scale_gradient",
    solution=scale_gradient,
    library=scale_gradient,
    level="hard",
    minutes=15,
    example=(torch.tensor([[[0.5, 0.0], [0.0, 0.5]]]), torch.tensor([0.25])),
)
def _examine_scale_gradient(fn) -> str | None:
    g = torch.Generator().manual_seed(1)
    linear = torch.randn(4, 2, 2, generator=g)
    target = torch.rand(4, generator=g)
    right = scale_gradient(linear, target)
    (a, b), (c, d) = linear[:, 0].unbind(-1), linear[:, 1].unbind(-1)
    det = a * d - b * c
    inverse = torch.linalg.inv(linear)
    gap = (target - 4 * det)[:, None, None]
    slips = {
        "The sign: a frame that is too small has a positive gap, and the gradient must "
        "point to smaller ones, so that descent makes it grow.": -right,
        "The inner derivative is missing: the area is 4 det A, so there is a 4.": right
        / 4,
        "Twice too much: the 1/2 of eq. 8 cancels the 2 of the square.": 2 * right,
        "det A times the inverse has to be transposed: the derivative by the entry b "
        "stands where b does.": right.mT,
        "det A is missing beside the inverse (or write the cofactors at once).": -4
        * gap
        * inverse.mT,
        "A sum over all landmarks is right only for a frame that they share. Here each "
        "has its own.": right.sum(0, keepdim=True).expand_as(right),
        "The area is 4 det A; your gap takes det A.": -4
        * (target - det)[:, None, None]
        * torch.stack([d, -c, -b, a], -1).view(-1, 2, 2),
    }
    hint = first_hint(fn(linear, target), right, slips)
    if hint:
        return hint
    flat = torch.tensor([[[1.0, 2.0], [2.0, 4.0]]])  # no inverse, and cofactors
    one = torch.ones(1)
    wanted = scale_gradient(flat, one)
    try:
        got = fn(flat, one)
    except Exception:
        got = torch.full_like(flat, torch.nan)
    if not torch.allclose(got, wanted, atol=1e-4):
        return (
            "Right, but not for a frame without area: A has no inverse there. The "
            "cofactors exist all the same."
        )
    return None
