"""The exercises of notebook 41 accept what is right, and name each typical slip."""

import math

import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

# ---- detected ------------------------------------------------------------------------


def detected_in_a_loop(points, truth, visible, pixels, side):
    hits = []
    for n, k in visible.nonzero().tolist():
        far = math.dist(points[n, k].tolist(), truth[n, k].tolist())
        hits.append(far * side / 2 < pixels)
    return sum(hits) / len(hits)


def share(errors, visible, limit):
    return (errors[visible] < limit).float().mean()


def errors_of(points, truth, side):
    return (points - truth).pow(2).sum(-1).sqrt() * side / 2


def detected_multiplied(points, truth, visible, pixels, side):
    mask = visible[..., None]
    a, b = points.where(mask, 0.0), truth.where(mask, 0.0)
    return (errors_of(a, b, side) < pixels).float().mean().item()


def detected_of_all(points, truth, visible, pixels, side):
    return ((errors_of(points, truth, side) < pixels) & visible).float().mean().item()


def detected_hidden(points, truth, visible, pixels, side):
    return (errors_of(points, truth, side) < pixels).float().mean().item()


def detected_twice(points, truth, visible, pixels, side):
    return share(2 * errors_of(points, truth, side), visible, pixels).item()


def detected_units(points, truth, visible, pixels, side):
    return share((points - truth).norm(dim=-1), visible, pixels).item()


def detected_at_limit(points, truth, visible, pixels, side):
    return (errors_of(points, truth, side)[visible] <= pixels).float().mean().item()


def detected_by_picture(points, truth, visible, pixels, side):
    errors = errors_of(points, truth, side)
    rates = [
        share(e, v, pixels) for e, v in zip(errors, visible, strict=True) if v.any()
    ]
    return torch.stack(rates).mean().item()


def detected_by_axis(points, truth, visible, pixels, side):
    return share((points - truth).abs() * side / 2, visible, pixels).item()


def detected_percent(*given):
    return 100 * detected_in_a_loop(*given)


# ---- half_side -----------------------------------------------------------------------


def half_by_corner(factor, hull):
    return torch.tensor([math.sqrt(factor * c / 4) for c in hull.tolist()])


DETECTED, HALF = "detected", "half_side"
WRONG = [
    (DETECTED, detected_multiplied, "the multiplied ruler"),
    (DETECTED, detected_of_all, "count as missed"),
    (DETECTED, detected_hidden, "Nobody is asked for them"),
    (DETECTED, detected_twice, "Twice too far"),
    (DETECTED, detected_units, "with pixels"),
    (DETECTED, detected_at_limit, "Less than the threshold"),
    (DETECTED, detected_by_picture, "a mean of the pictures' rates"),
    (DETECTED, detected_by_axis, "take the norm"),
    (DETECTED, detected_percent, "in percent"),
    (HALF, lambda factor, hull: (factor * hull).sqrt(), "That is the whole side"),
    (HALF, lambda factor, hull: factor * hull / 4, "take the root"),
    (HALF, lambda factor, hull: factor * hull.sqrt() / 2, "under the root: it scales"),
    (HALF, lambda factor, hull: (hull / factor).sqrt() / 2, "divides by lambda"),
    (HALF, lambda factor, hull: (factor * hull).sqrt() / 4, "divided by 4"),
]
RIGHT = [(DETECTED, detected_in_a_loop), (HALF, half_by_corner)]
