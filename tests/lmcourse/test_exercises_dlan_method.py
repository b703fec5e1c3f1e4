"""The exercises of notebook 40 accept what is right, and name each typical slip."""

import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

ROW = torch.tensor([[0.0, 0.0, 1.0]])


def three(theta):
    """(..., 2, 3) -> (..., 3, 3)."""
    return torch.cat([theta, ROW.expand(*theta.shape[:-2], 1, 3)], -2)


# ---- to_frame ------------------------------------------------------------------------


def frame_by_homogeneous(theta, points):
    ones = torch.ones(len(points), 1)
    return (torch.cat([points, ones], 1) @ torch.linalg.inv(three(theta)).T)[:, :2]


def frame_forward(theta, points):
    return points @ theta[:, :2].T + theta[:, 2]


def frame_shift_late(theta, points):
    return points @ torch.linalg.inv(theta[:, :2]).T - theta[:, 2]


def frame_no_shift(theta, points):
    return points @ torch.linalg.inv(theta[:, :2]).T


def frame_not_transposed(theta, points):
    return (points - theta[:, 2]) @ torch.linalg.inv(theta[:, :2])


def frame_transpose(theta, points):
    return torch.stack([theta[:, :2].T @ (p - theta[:, 2]) for p in points])


def frame_sides(theta, points):
    return (points - theta[:, 2]) / theta[:, :2].diagonal()


# ---- compose_frames ------------------------------------------------------------------


def composed_by_three(theta, move):
    return (three(theta) @ three(move))[:, :2]


def composed_in_a_loop(theta, move):
    out = []
    for one, step in zip(theta, move, strict=True):
        shift = one[:, :2] @ step[:, 2] + one[:, 2]
        out.append(torch.cat([one[:, :2] @ step[:, :2], shift[:, None]], 1))
    return torch.stack(out)


def composed_other_way(theta, move):
    return (three(move) @ three(theta))[:, :2]


def composed(linear, shift):
    return torch.cat([linear, shift[..., None]], -1)


def composed_added(theta, move):
    return composed(theta[..., :2] @ move[..., :2], theta[..., 2] + move[..., 2])


def composed_without_old(theta, move):
    return theta[..., :2] @ move


def composed_without_new(theta, move):
    return composed(theta[..., :2] @ move[..., :2], theta[..., 2])


def composed_by_entry(theta, move):
    right = composed_by_three(theta, move)
    return composed(theta[..., :2] * move[..., :2], right[..., 2])


def composed_wrong_matrix(theta, move):
    shift = torch.einsum("jab,jb->ja", move[..., :2], move[..., 2]) + theta[..., 2]
    return composed(theta[..., :2] @ move[..., :2], shift)


# ---- scale_gradient ------------------------------------------------------------------


def scale_by_autograd(linear, target, half=0.5, area=4.0):
    linear = linear.clone().requires_grad_()
    (a, b), (c, d) = linear[:, 0].unbind(-1), linear[:, 1].unbind(-1)
    loss = half * (target - area * (a * d - b * c)).square().sum()
    return torch.autograd.grad(loss, linear)[0]


def scale_by_inverse(linear, target, times=None):
    det = torch.linalg.det(linear)
    times = det if times is None else times
    gap = (target - 4 * det) * times
    return -4 * gap[:, None, None] * torch.linalg.inv(linear).mT


def scale_sign(linear, target):
    return -scale_by_autograd(linear, target)


def scale_no_four(linear, target):
    return scale_by_autograd(linear, target) / 4


def scale_twice(linear, target):
    return scale_by_autograd(linear, target, half=1.0)


def scale_not_transposed(linear, target):
    return scale_by_autograd(linear, target).mT


def scale_no_det(linear, target):
    return scale_by_inverse(linear, target, torch.ones(len(target)))


def scale_summed(linear, target):
    right = scale_by_autograd(linear, target)
    return right.sum(0).expand(len(right), 2, 2)


def scale_det_for_area(linear, target):
    return 4 * scale_by_autograd(linear, target, area=1.0)


FRAME, COMPOSE, SCALE = "to_frame", "compose_frames", "scale_gradient"
WRONG = [
    (FRAME, frame_forward, "That is eq. 4 itself"),
    (FRAME, frame_shift_late, "The shift comes off first"),
    (FRAME, frame_no_shift, "but not the shift t"),
    (FRAME, frame_not_transposed, "stands on the right, transposed"),
    (FRAME, frame_transpose, "only for a pure turn"),
    (FRAME, frame_sides, "turned and sheared"),
    (FRAME, lambda theta, points: points[0], "expected a tensor of shape"),
    (COMPOSE, composed_other_way, "The other way round"),
    (COMPOSE, composed_added, "turned and stretched by theta"),
    (COMPOSE, composed_without_old, "old frame's own shift is missing"),
    (COMPOSE, composed_without_new, "would never move on"),
    (COMPOSE, composed_by_entry, "not of their entries"),
    (COMPOSE, composed_wrong_matrix, "with the old frame's A"),
    (SCALE, scale_sign, "The sign"),
    (SCALE, scale_no_four, "inner derivative is missing"),
    (SCALE, scale_twice, "Twice too much"),
    (SCALE, scale_not_transposed, "has to be transposed"),
    (SCALE, scale_no_det, "det A is missing"),
    (SCALE, scale_summed, "only for a frame that they share"),
    (SCALE, scale_det_for_area, "The area is 4 det A"),
    (SCALE, scale_by_inverse, "not for a frame without area"),
]
RIGHT = [
    (FRAME, frame_by_homogeneous),
    (COMPOSE, composed_by_three),
    (COMPOSE, composed_in_a_loop),
    (SCALE, scale_by_autograd),
]
