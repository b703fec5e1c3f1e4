"""Exercises of notebook 00: the classifier by hand, and one assignment for all."""

import torch

from lmcourse.exercises import exercise


def nearer_shape_solution(points):
    corner = torch.tensor([-1.0, -1.0])
    distance = (points - corner).norm(dim=-1)  # (B, 2): triangle, square
    return (distance[:, 1] < distance[:, 0]).long()


@exercise(
    "nearer_shape",
    solution=nearer_shape_solution,
    library=nearer_shape_solution,
    level="easy",
    minutes=5,
    example=(torch.tensor([[[-0.5, -0.2], [0.5, 0.3]]]),),
)
def examine_nearer_shape(fn):
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(400, 2, 2, generator=generator) * 2 - 1
    got, right = fn(points), nearer_shape_solution(points)
    if torch.equal(got, right):
        return None
    if torch.equal(got, 1 - right):
        return (
            "exactly the wrong way round: 0 means that the triangle (the first point) "
            "is nearer, 1 the square"
        )
    others = {
        (0.0, 0.0): "the image's centre, (0, 0); the top-left corner is (-1, -1)",
        (-1.0, 1.0): "the bottom-left corner; y points down, so the top is y = -1",
        (1.0, -1.0): "the top-right corner; the left is x = -1",
        (1.0, 1.0): "the bottom-right corner; the top-left corner is (-1, -1)",
    }
    for corner, hint in others.items():
        distance = (points - torch.tensor(corner)).norm(dim=-1)
        if torch.equal(got, (distance[:, 1] < distance[:, 0]).long()):
            return f"you measure the distance to {hint}"
    for axis, name in enumerate("xy"):
        if torch.equal(got, (points[:, 1, axis] < points[:, 0, axis]).long()):
            return f"you compare {name} only; the distance needs both coordinates"
    signed = points.sum(dim=-1)
    if torch.equal(got, (signed[:, 1] < signed[:, 0]).long()):
        return (
            "x + y is a distance along the diagonal, not the distance to a point: "
            "square, add, take the root"
        )
    wrong = int((got != right).nonzero()[0, 0])
    a, b = points[wrong].tolist()
    return (
        f"triangle at ({a[0]:.2f}, {a[1]:.2f}), square at ({b[0]:.2f}, {b[1]:.2f}): "
        f"expected {right[wrong]}, got {got[wrong]}"
    )


def share_on_own_shape_solution(on):
    straight = on[:, 0, 0] & on[:, 1, 1]  # landmark 0 on shape 0, 1 on 1
    crossed = on[:, 0, 1] & on[:, 1, 0]
    return torch.maximum(straight.float().mean(), crossed.float().mean())


@exercise(
    "share_on_own_shape",
    solution=share_on_own_shape_solution,
    library=share_on_own_shape_solution,
    level="medium",
    minutes=10,
    example=(torch.stack([torch.eye(2), torch.eye(2).flip(0)]).bool(),),
)
def examine_share_on_own_shape(fn):
    straight = torch.eye(2, dtype=torch.bool)
    crossed = straight.flip(0)
    first = torch.tensor([[True, False], [False, False]])  # only landmark 0 is right
    both = torch.ones(2, 2, dtype=torch.bool)  # never happens, but tells slips apart
    none = torch.zeros(2, 2, dtype=torch.bool)

    def share(*rows):
        return fn(torch.stack(rows)).item()

    swapping = share(straight, crossed, straight, crossed)
    if swapping > 0.99:
        return (
            "landmarks that swap in every other image get full marks: choose the "
            "assignment once for all images, after averaging, not image by image"
        )
    if share(first, first) > 0:
        return (
            "an image counts only if both landmarks are right; with one of two on its "
            "shape you still give credit"
        )
    if share(straight, straight, none, none) != 0.5:
        return "two of four images are right: expected 0.5"
    if share(crossed, crossed, crossed, none) != 0.75:
        return (
            "no label says which map is the triangle's: try the crossed assignment too "
            "and take the better one"
        )
    if share(straight, crossed, crossed, both) != 0.75:
        return "take the larger of the two shares; they are not added"
    return None
