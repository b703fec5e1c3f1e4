"""Exercises of notebook 23: another person in the same place, how well a decoder obeys,
and images in between."""

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import close, first_hint

# ---- another person in front of the same wall ---------------------------------------


def another_person(method, first, second):
    points, own = method.encode(first)
    _, others = method.encode(second)
    vectors = torch.cat([others[:, :-1], own[:, -1:]], dim=1)  # the wall comes last
    return method.decode(points, vectors)


class _Toy:
    """Stands in for a network: three points, vectors of two numbers, 4 x 4 pixels."""

    def __init__(self):
        g = torch.Generator().manual_seed(0)
        self.to_points = torch.randn(48, 6, generator=g) / 7
        self.to_vectors = torch.randn(48, 8, generator=g) / 7
        self.back = torch.randn(14, 48, generator=g) / 3

    def encode(self, images):
        flat = images.flatten(1)
        points = (flat @ self.to_points).tanh().unflatten(1, (3, 2))
        return points, (flat @ self.to_vectors).unflatten(1, (4, 2))

    def landmarks(self, images):
        return self.encode(images)[0]

    def decode(self, points, vectors):
        code = torch.cat([points.flatten(1), vectors.flatten(1)], dim=1)
        return (code @ self.back).sigmoid().unflatten(1, (3, 4, 4))

    def reconstruct(self, images):
        return self.decode(*self.encode(images))


class _Spelled:
    """A network whose image is its code, spelled out: a point and three vectors."""

    def __repr__(self):
        return "<images are [point, vector, vector, wall's vector]>"

    def encode(self, images):
        return images[:, :1], images[:, 1:]

    def decode(self, points, vectors):
        return torch.cat([points, vectors], dim=1)


@exercise(
    "another_person",
    solution=another_person,
    library=another_person,
    level="easy",
    minutes=5,
    example=(_Spelled(), torch.tensor([[1, 2, 3, 4]]), torch.tensor([[5, 6, 7, 8]])),
)
def _examine_another_person(fn) -> str | None:
    g = torch.Generator().manual_seed(1)
    first, second = torch.rand(2, 5, 3, 4, 4, generator=g)
    toy = _Toy()
    (points, own), (others, vectors) = toy.encode(first), toy.encode(second)
    mixed = torch.cat([vectors[:, :-1], own[:, -1:]], dim=1)
    wall = torch.cat([own[:, :-1], vectors[:, -1:]], dim=1)
    from_front = torch.cat([own[:, :1], vectors[:, 1:]], dim=1)
    right = another_person(toy, first, second)
    slips = {
        "The wall is the second person's. The background's vector is the last of the "
        "K + 1: that one stays the first's.": toy.decode(points, vectors),
        "You exchange the wall and keep the person: all vectors but the last should be "
        "the second's.": toy.decode(points, wall),
        "You keep the first vector; the background's is the *last* of the K + "
        "1.": toy.decode(points, from_front),
        "The head has moved: the points are the second person's. Take the "
        "first's.": toy.decode(others, mixed),
        "It is the other way round: the first person, in front of the second's wall "
        "and at the second's points.": toy.decode(others, wall),
        "This is the first image, drawn again: its own vectors are still in "
        "use.": toy.decode(points, own),
        "This is the second image, drawn again: take the points of the "
        "first.": toy.decode(others, vectors),
        "You draw both images and mix pixels. Mix before decoding.": (
            toy.reconstruct(first) + toy.reconstruct(second)
        )
        / 2,
        "You use the mean of both images' vectors.": toy.decode(
            points, (own + vectors) / 2
        ),
        "You return the second image itself, untouched.": second,
        "You return the first image itself, untouched.": first,
    }
    return first_hint(fn(toy, first, second), right, slips, "A pixel differs")


# ---- how well does the decoder obey? -------------------------------------------------


def moved_ratio(before, asked, found):
    missed = (found - asked).norm(dim=-1).mean()
    moved = (asked - before).norm(dim=-1).mean()
    return (missed / moved).item()


@exercise(
    "moved_ratio",
    solution=moved_ratio,
    library=moved_ratio,
    level="medium",
    minutes=10,
    example=(
        torch.tensor([[[0.0, 0.0]]]),
        torch.tensor([[[0.4, 0.0]]]),
        torch.tensor([[[0.3, 0.0]]]),
    ),
)
def _examine_moved_ratio(fn) -> str | None:
    g = torch.Generator().manual_seed(2)
    before = torch.rand(4, 5, 2, generator=g) - 0.5
    asked = before + 0.3 * torch.randn(4, 5, 2, generator=g)
    asked[:, 1] = before[:, 1]  # a point that nobody moved
    found = asked + 0.08 * torch.randn(4, 5, 2, generator=g)
    missed, moved, went = found - asked, asked - before, found - before
    ratio = moved_ratio(before, asked, found)

    def share(a, b, p=2):
        return a.norm(dim=-1, p=p).mean() / b.norm(dim=-1, p=p).mean()

    each = missed.norm(dim=-1) / moved.norm(dim=-1)
    per_image = missed.norm(dim=-1).mean(1) / moved.norm(dim=-1).mean(1)
    slips = {
        "The fraction is upside down: what was missed, over what was asked for.": 1
        / ratio,
        "You measure how far the points went, over how far they should have gone. A "
        "point that goes off in the wrong direction would look obedient. Measure from "
        "where it was *asked* to be.": share(went, moved),
        "You return the share that was obeyed, 1 minus the ratio. We want the ratio: 0 "
        "is perfect, 1 is no better than staying.": 1 - ratio,
        "You divide by how far the points went. Divide by how far they were asked to "
        "go: before to asked.": share(missed, went),
        "You divide point by point, and a point that nobody moved divides by zero. "
        "Take both means first, then divide.": each.mean(),
        "You leave out the points that nobody moved. They must stay where they are: "
        "what they miss counts, too.": each[each.isfinite()].mean(),
        "You take the mean of the images' ratios. Take both means over all points of "
        "all images, then divide.": per_image.mean(),
        "You compare squared distances. Take the distances.": missed.square().mean()
        / moved.square().mean(),
        "This is |dx| + |dy| or the mean of both; the distance is the root of the sum "
        "of squares.": share(missed, moved, 1),
        "This is a percentage; return the plain ratio.": 100 * ratio,
        "This is what was missed, in units of the image. Divide it by what was asked "
        "for.": missed.norm(dim=-1).mean(),
    }
    got = fn(before, asked, found)
    if torch.as_tensor(got).isnan().any():
        got = torch.tensor(float("inf"))  # 0 / 0: the same slip
    return first_hint(got, ratio, slips, "The ratio is off")


# ---- images in between ---------------------------------------------------------------


def in_between(first, second, t_points, t_vectors):
    (points, vectors), (others, other_vectors) = first, second
    points = torch.lerp(points, others, t_points)
    vectors = torch.lerp(vectors, other_vectors, t_vectors)
    return points, vectors


@exercise(
    "in_between",
    solution=in_between,
    library=in_between,
    level="easy",
    minutes=5,
    example=(
        (torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[0.0]]])),
        (torch.tensor([[[0.4, 0.8]]]), torch.tensor([[[2.0]]])),
        0.25,
        1.0,
    ),
)
def _examine_in_between(fn) -> str | None:
    g = torch.Generator().manual_seed(3)
    first, second = (
        (torch.rand(2, 3, 2, generator=g), torch.randn(2, 4, 8, generator=g))
        for _ in range(2)
    )

    def mixed(t_points, t_vectors):
        return in_between(first, second, t_points, t_vectors)

    for s, t in ((0.25, 0.9), (1.4, -0.3)):  # between, and beyond: extrapolation
        got, right = fn(first, second, s, t), mixed(s, t)
        low, high = (min(max(x, 0.0), 1.0) for x in (s, t))
        slips = {
            "At t = 0 we want the first image, at t = 1 the second. Yours runs the "
            "other way.": mixed(1 - s, 1 - t),
            "The two sliders are exchanged: t_points moves the points, t_vectors the "
            "vectors.": mixed(t, s),
            "t_points moves the vectors as well. They have a slider of their "
            "own.": mixed(s, s),
            "t_vectors moves the points as well. They have a slider of their "
            "own.": mixed(t, t),
            "The points do not move at all.": mixed(0.0, t),
            "The vectors do not move at all.": mixed(s, 0.0),
            "You stop at the ends. Outside of [0, 1] the line simply goes on; the "
            "paper extrapolates, too.": mixed(low, high),
            "You add t times the second to the whole of the first. It should be first "
            "+ t (second - first).": (
                first[0] + s * second[0],
                first[1] + t * second[1],
            ),
            "You add the difference the wrong way: first + t (second - "
            "first).": mixed(-s, -t),
        }  # fmt: skip
        if all(map(close, got, right)):
            continue
        for hint, wrong in slips.items():
            if all(map(close, got, wrong)):
                return hint
        which = "vectors" if close(got[0], right[0]) else "points"
        return f"at t_points = {s}, t_vectors = {t} the {which} are not right yet"
    return None
