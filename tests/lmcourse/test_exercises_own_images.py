"""The exercises of notebook 61 accept what is right, and name each typical slip."""

import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

from lmlib.datasets.images import in_box

# ---- points_in_cut -------------------------------------------------------------------


def parts(box, size):
    left, top, right, bottom = box
    side = torch.tensor([right - left, bottom - top])
    return torch.tensor([left, top]), side, torch.tensor([size[1], size[0]]).float()


def cut_by_in_box(points, box, size):
    """Through [-1, 1]."""
    unit = in_box(points[None], torch.tensor([box]))[0]
    return (unit + 1) / 2 * torch.tensor([size[1], size[0]]) - 0.5


def cut_by_loop(points, box, size):
    left, top, right, bottom = box
    found = []
    for x, y in points.tolist():
        u = (x + 0.5 - left) / (right - left) * size[1] - 0.5
        found.append([u, (y + 0.5 - top) / (bottom - top) * size[0] - 0.5])
    return torch.tensor(found)


def cut_without_halves(points, box, size):
    corner, side, into = parts(box, size)
    return (points - corner) / side * into


def cut_without_first_half(points, box, size):
    return cut_without_halves(points, box, size) - 0.5


def cut_without_last_half(points, box, size):
    return cut_by_loop(points, box, size) + 0.5


def cut_halves_swapped(points, box, size):
    return cut_without_halves(points - 0.5, box, size) + 0.5


def cut_height_first(points, box, size):
    return cut_by_loop(points, box, size[::-1])


def cut_aligned_corners(points, box, size):
    corner, side, into = parts(box, size)
    return (points - corner) / side * (into - 1)


def cut_minus_one(points, box, size):
    corner, side, into = parts(box, size)
    return (points - corner) * (into - 1) / (side - 1)


def cut_without_corner(points, box, size):
    _, side, into = parts(box, size)
    return (points + 0.5) / side * into - 0.5


def cut_adds_corner(points, box, size):
    corner, side, into = parts(box, size)
    return (points + 0.5 + corner) / side * into - 0.5


def cut_in_units(points, box, size):
    return in_box(points[None], torch.tensor([box]))[0]


def cut_clamped(points, box, size):
    into = parts(box, size)[2]
    return cut_by_loop(points, box, size).clamp(torch.zeros(2), into - 1)


def cut_upside_down(points, box, size):
    corner, side, into = parts(box, size)
    return (points + 0.5 - corner) * side / into - 0.5


def cut_of_another_box(points, box, size):
    return cut_by_loop(points, (box[0] + 1, *box[1:]), size)


# ---- face_box ------------------------------------------------------------------------


def boxes_by_loop(points, up=0.16, side=5.58, spread=None):
    boxes = []
    for face in points:
        mean = face.mean(0)
        apart = (face - mean).norm(dim=1)
        s = apart.square().mean().sqrt() if spread is None else spread(apart)
        x, y, half = mean[0], mean[1] - up * s, side * s / 2
        boxes.append(torch.stack([x - half, y - half, x + half, y + half]))
    return torch.stack(boxes)


def boxes_by_variance(points):
    """s squared is the variance of x plus that of y."""
    s = points.var(dim=1, correction=0).sum(-1, keepdim=True).sqrt()
    centre = points.mean(1) + s * torch.tensor([0.0, -0.16])
    return torch.cat([centre - 2.79 * s, centre + 2.79 * s], 1)


def box_below(points):
    return boxes_by_loop(points, up=-0.16)


def box_without_shift(points):
    return boxes_by_loop(points, up=0.0)


def box_twice(points):
    return boxes_by_loop(points, side=11.16)


def box_of_four(points):
    return boxes_by_loop(points, spread=lambda x: (x.square().sum() / 4).sqrt())


def box_mean_of_both(points):
    return boxes_by_loop(points, spread=lambda x: (x.square().sum() / 10).sqrt())


def box_mean_distance(points):
    return boxes_by_loop(points, spread=torch.mean)


def box_without_root(points):
    return boxes_by_loop(points, spread=lambda x: x.square().mean())


def box_one_spread(points):
    s = (points - points.mean(1, keepdim=True)).square().sum(-1).mean().sqrt()
    return boxes_by_loop(points, spread=lambda x: s)


def box_with_sides(points):
    boxes = boxes_by_loop(points)
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)


def box_edges_mixed(points):
    return boxes_by_loop(points)[:, [0, 2, 1, 3]]


def box_y_first(points):
    return boxes_by_loop(points)[:, [1, 0, 3, 2]]


def box_moved_in_x(points):
    s = (points - points.mean(1, keepdim=True)).square().sum(-1).mean(-1).sqrt()
    return boxes_by_loop(points) - 0.16 * s[:, None] * torch.tensor([1.0, 0, 1, 0])


def box_narrow(points):
    return boxes_by_loop(points, side=5.0)


# ---- held_back -----------------------------------------------------------------------


def drawn(count, seed):
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def people_by_loop(people, share, seed):
    names = sorted(set(people.tolist()))
    chosen = drawn(len(names), seed)[: max(1, round(share * len(names)))]
    held = {names[n] for n in chosen.tolist()}
    return torch.tensor([name in held for name in people.tolist()])


def people_by_scores(people, share, seed):
    """A random number for each person; the smallest are held back."""
    names, which = people.unique(return_inverse=True)
    generator = torch.Generator().manual_seed(seed)
    rank = torch.rand(len(names), generator=generator).argsort().argsort()
    return rank[which] < max(1, int(share * len(names)))


def held_images(people, share, seed):
    held = torch.zeros(len(people), dtype=torch.bool)
    held[drawn(len(people), seed)[: round(share * len(people))]] = True
    return held


def held_none(people, share, seed):
    return torch.zeros(len(people), dtype=torch.bool)


def held_all(people, share, seed):
    return torch.ones(len(people), dtype=torch.bool)


def held_negated(people, share, seed):
    return ~people_by_loop(people, share, seed)


def held_half(people, share, seed):
    return people_by_loop(people, 2 * share, seed)


def held_one(people, share, seed):
    return people == people.unique()[drawn(len(people.unique()), seed)[0]]


def held_without_seed(people, share, seed):
    return people_by_loop(people, share, int(torch.randint(10_000, ())))


def held_first(people, share, seed):
    names = people.unique()
    return torch.isin(people, names[: max(1, round(share * len(names)))])


def held_by_appearance(people, share, seed):
    names = list(dict.fromkeys(people.tolist()))
    chosen = drawn(len(names), seed)[: max(1, round(share * len(names)))]
    return torch.isin(people, torch.tensor(names)[chosen])


def held_nobody_of_few(people, share, seed):
    names = people.unique()
    return torch.isin(
        people, names[drawn(len(names), seed)[: round(share * len(names))]]
    )


WRONG = [
    ("points_in_cut", cut_without_halves, "both half pixels are missing"),
    ("points_in_cut", cut_without_first_half, "has its centre at 0.5"),
    ("points_in_cut", cut_without_last_half, "The last half pixel"),
    ("points_in_cut", cut_halves_swapped, "each other's sign"),
    ("points_in_cut", cut_height_first, "size is (height, width)"),
    ("points_in_cut", cut_aligned_corners, "align_corners=True"),
    ("points_in_cut", cut_minus_one, "(size - 1) / (side - 1)"),
    ("points_in_cut", cut_without_corner, "Subtract the box's corner first"),
    ("points_in_cut", cut_adds_corner, "You added the corner"),
    ("points_in_cut", cut_in_units, "points in [-1, 1]"),
    ("points_in_cut", cut_clamped, "do not clamp"),
    ("points_in_cut", cut_upside_down, "upside down"),
    ("points_in_cut", cut_of_another_box, "A coordinate is off"),
    ("face_box", box_below, "*above* the mean"),
    ("face_box", box_without_shift, "The shift upwards is missing"),
    ("face_box", box_twice, "twice as large"),
    ("face_box", box_of_four, "by five, not by four"),
    ("face_box", box_mean_of_both, "the root of two"),
    ("face_box", box_mean_distance, "you took the mean distance"),
    ("face_box", box_without_root, "The root is missing"),
    ("face_box", box_one_spread, "a spread for each face"),
    ("face_box", box_with_sides, "left, top, width, height"),
    ("face_box", box_edges_mixed, "The order is left, top"),
    ("face_box", box_y_first, "x comes first"),
    ("face_box", box_moved_in_x, "in x as well"),
    ("face_box", box_narrow, "An edge of the box is off"),
    ("held_back", held_images, "training sees this very face"),
    ("held_back", held_none, "nobody is held back"),
    ("held_back", held_all, "everybody is held back"),
    ("held_back", held_negated, "you marked the images to train on"),
    ("held_back", held_half, "Count people, not images"),
    ("held_back", held_one, "Count people, not images"),
    ("held_back", held_without_seed, "asked again with the same seed"),
    ("held_back", held_first, "every seed holds back the same people"),
    ("held_back", held_by_appearance, "their images in another order"),
    ("held_back", held_nobody_of_few, "at least one person"),
]
RIGHT = [
    ("points_in_cut", cut_by_in_box),
    ("points_in_cut", cut_by_loop),
    ("face_box", boxes_by_loop),
    ("face_box", boxes_by_variance),
    ("held_back", people_by_loop),
    ("held_back", people_by_scores),
]
