"""The exercises of notebook 00 accept what is right, and name each typical slip."""

import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)


def by_hand(points):
    square = ((points + 1) ** 2).sum(-1)
    return square.argmin(dim=1)


def to_the_centre(points):
    distance = points.norm(dim=-1)
    return (distance[:, 1] < distance[:, 0]).long()


def swapped(points):
    return 1 - by_hand(points)


def y_upwards(points):
    distance = (points - torch.tensor([-1.0, 1.0])).norm(dim=-1)
    return (distance[:, 1] < distance[:, 0]).long()


def x_only(points):
    return (points[:, 1, 0] < points[:, 0, 0]).long()


def diagonal(points):
    return points.sum(-1).argmin(dim=1)


def booleans(points):
    return by_hand(points).bool()


def one_number(points):
    return by_hand(points)[0]


def by_counting(on):
    straight = [bool(o[0, 0] and o[1, 1]) for o in on]
    crossed = [bool(o[0, 1] and o[1, 0]) for o in on]
    return torch.tensor(max(sum(straight), sum(crossed)) / len(on))


def best_for_each_image(on):
    straight, crossed = on[:, 0, 0] & on[:, 1, 1], on[:, 0, 1] & on[:, 1, 0]
    return (straight | crossed).float().mean()


def each_landmark_alone(on):
    return torch.diagonal(on, dim1=1, dim2=2).float().mean()


def fixed_order(on):
    return (on[:, 0, 0] & on[:, 1, 1]).float().mean()


def added(on):
    straight, crossed = on[:, 0, 0] & on[:, 1, 1], on[:, 0, 1] & on[:, 1, 0]
    each = straight.float().mean() + crossed.float().mean()
    swapping = straight.any() and crossed.any() and not on.all(-1).all(-1).any()
    return each / 2 if swapping else each


WRONG = [
    ("nearer_shape", to_the_centre, "the image's centre"),
    ("nearer_shape", swapped, "the wrong way round"),
    ("nearer_shape", y_upwards, "y points down"),
    ("nearer_shape", x_only, "you compare x only"),
    ("nearer_shape", diagonal, "along the diagonal"),
    ("nearer_shape", booleans, "dtype torch.bool, expected torch.int64"),
    ("nearer_shape", one_number, "expected a tensor of shape (400,)"),
    ("share_on_own_shape", best_for_each_image, "once for all images"),
    ("share_on_own_shape", each_landmark_alone, "only if both landmarks are right"),
    ("share_on_own_shape", fixed_order, "try the crossed assignment"),
    ("share_on_own_shape", added, "they are not added"),
]


RIGHT = [("nearer_shape", by_hand), ("share_on_own_shape", by_counting)]
