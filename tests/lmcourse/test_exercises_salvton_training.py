"""The exercises of notebook 51 accept what is right, and name each typical slip."""

import torch
import torch.nn.functional as F
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

# ---- bent ----------------------------------------------------------------------------

ROW = [[0.0, 0, 0], [1, -2, 1], [0, 0, 0]]
COLUMN = [[0.0, 1, 0], [0, -2, 0], [0, 1, 0]]
DOWN = [[1.0, 0, 0], [0, -2, 0], [0, 0, 1]]
UP = [[0.0, 0, 1], [0, -2, 0], [1, 0, 0]]


def second(flow, stencil):
    """A second difference as a convolution with a stencil."""
    kernel = torch.tensor(stencil)
    rows, columns = kernel.abs().sum(1) > 0, kernel.abs().sum(0) > 0
    kernel = kernel[rows][:, columns].view(1, 1, int(rows.sum()), int(columns.sum()))
    return F.conv2d(flow.flatten(0, 1).unsqueeze(1), kernel)


def cost(x, power=0.45):
    return ((x * x + 1e-6) ** power - 1e-6**power).mean()


def bent_by_stencils(flow):
    return sum(cost(second(flow, s)) for s in (ROW, COLUMN, DOWN, UP))


def bent_first(flow):
    return (
        cost(flow[..., 1:] - flow[..., :-1])
        + cost(flow[:, :, 1:] - flow[:, :, :-1])
        + cost(flow[:, :, 1:, 1:] - flow[:, :, :-1, :-1])
        + cost(flow[:, :, 1:, :-1] - flow[:, :, :-1, 1:])
    )


def bent_straight_only(flow):
    return sum(cost(second(flow, s)) for s in (ROW, COLUMN))


def bent_diagonals_only(flow):
    return sum(cost(second(flow, s)) for s in (DOWN, UP))


def bent_not_from_zero(flow):
    return bent_by_stencils(flow) + 4 * 1e-6**0.45


def bent_power(flow):
    return sum(cost(second(flow, s), 0.9) for s in (ROW, COLUMN, DOWN, UP))


def bent_squares(flow):
    return sum(second(flow, s).square().mean() for s in (ROW, COLUMN, DOWN, UP))


def bent_absolute(flow):
    return sum(second(flow, s).abs().mean() for s in (ROW, COLUMN, DOWN, UP))


def bent_mean(flow):
    return bent_by_stencils(flow) / 4


def bent_sum(flow):
    parts = [second(flow, s) for s in (ROW, COLUMN, DOWN, UP)]
    return sum(((x.square() + 1e-6) ** 0.45 - 1e-6**0.45).sum() for x in parts)


# ---- local_loss ----------------------------------------------------------------------


def local_by_selection(by_local, target, near):
    chosen = near[:, 0] > 0
    if not chosen.any():
        return torch.tensor(0.0)
    apart = (by_local - target).movedim(1, -1)[chosen]  # (N, C)
    return apart.abs().sum(1).mean()


def far_of(by_local, target):
    return (by_local - target).abs().sum(1, keepdim=True)


def local_over_image(by_local, target, near):
    return (far_of(by_local, target) * near).mean()


def local_over_everything(by_local, target, near):
    return ((by_local - target).abs() * near).mean()


def local_mean_of_channels(by_local, target, near):
    return local_by_selection(by_local, target, near) / by_local.shape[1]


def local_sum(by_local, target, near):
    return (far_of(by_local, target) * near).sum()


def local_without_mask(by_local, target, near):
    return far_of(by_local, target).mean()


def local_squared(by_local, target, near):
    far = (by_local - target).square().sum(1, keepdim=True)
    return (far * near).sum() / near.sum()


def local_elsewhere(by_local, target, near):
    far = far_of(by_local, target)
    return (far * (1 - near)).sum() / (1 - near).sum()


def local_by_image(by_local, target, near):
    far = far_of(by_local, target) * near
    return (far.sum((1, 2, 3)) / near.sum((1, 2, 3))).mean()


def local_not_a_number(by_local, target, near):
    return (far_of(by_local, target) * near).sum() / near.sum()


WRONG = [
    ("bent", bent_first, "first differences"),
    ("bent", bent_straight_only, "two diagonals are missing"),
    ("bent", bent_diagonals_only, "rows and columns are missing"),
    ("bent", bent_not_from_zero, "should cost nothing"),
    ("bent", bent_power, "yours is .9"),
    ("bent", bent_squares, "plain squares"),
    ("bent", bent_absolute, "absolute values"),
    ("bent", bent_mean, "add them"),
    ("bent", bent_sum, "take the mean"),
    ("local_loss", local_over_image, "do without patches"),
    ("local_loss", local_over_everything, "pixels that are near"),
    ("local_loss", local_mean_of_channels, "Add up over the channels"),
    ("local_loss", local_sum, "never divide"),
    ("local_loss", local_without_mask, "mask is not used"),
    ("local_loss", local_squared, "not squared"),
    ("local_loss", local_elsewhere, "where no landmark is"),
    ("local_loss", local_by_image, "each image first"),
    ("local_loss", local_not_a_number, "0 / 0"),
]
RIGHT = [("bent", bent_by_stencils), ("local_loss", local_by_selection)]
