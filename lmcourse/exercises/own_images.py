"""Exercises of notebook 61: points of a photograph in what is cut out of it, the box of
a face, and a test set of people that training has never seen."""

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import close, first_hint
from lmlib.datasets.faces import face_boxes

# ---- points of a photograph, in the image cut out of it ------------------------------


def points_in_cut(points, box, size):
    left, top, right, bottom = box
    height, width = size
    corner = torch.tensor([left, top])
    side = torch.tensor([right - left, bottom - top])
    scale = torch.tensor([width, height]) / side
    return (points + 0.5 - corner) * scale - 0.5  # pixel 0 is half a pixel from an edge


@exercise(
    "points_in_cut",
    solution=points_in_cut,
    library=points_in_cut,
    level="medium",
    minutes=10,
    example=lambda: (
        torch.tensor([[10.0, 20.0], [29.5, 39.5]]),
        (10, 20, 30, 40),
        (40, 40),
    ),
)
def _examine_points_in_cut(fn) -> str | None:
    points = torch.tensor([[203.0, 101.0], [248.0, 103.0], [120.0, 290.0], [10.0, 5.0]])
    box, size = (40.0, 60.0, 240.0, 380.0), (80, 40)  # 200 x 320 becomes 40 x 80
    corner, side = torch.tensor(box[:2]), torch.tensor([200.0, 320.0])
    into = torch.tensor([40.0, 80.0])
    scale, right = into / side, points_in_cut(points, box, size)
    plain = (points - corner) * scale
    slips = {
        "You count from the edge in both images: both half pixels are missing. They do "
        "not cancel, since the two images have pixels of different size.": plain,
        "Pixel 0 of the photograph has its centre at 0.5: add 0.5 to the points before "
        "you measure from the edge of the box.": plain - 0.5,
        "The last half pixel is missing: a distance of 0.5 from the edge is pixel 0.": (
            right + 0.5
        ),
        "The two half pixels have each other's sign.": (points - 0.5 - corner) * scale
        + 0.5,
        "size is (height, width), as for arrays; x belongs to the width.": (
            (points + 0.5 - corner) * into.flip(0) / side - 0.5
        ),
        "This puts centres of corner pixels on each other (align_corners=True). Here "
        "the *edges* of the box become edges of the image.": (
            plain * (into - 1) / into
        ),
        "You scale by (size - 1) / (side - 1), as if centres lay on the edges: use "
        "size / side.": (points - corner) * (into - 1) / (side - 1),
        "Subtract the box's corner first: the image begins there.": (
            (points + 0.5) * scale - 0.5
        ),
        "You added the corner; the image begins there, so subtract it.": (
            (points + 0.5 + corner) * scale - 0.5
        ),
        "These are points in [-1, 1]; the task asks for pixels of the small image.": (
            2 * (points + 0.5 - corner) / side - 1
        ),
        "A point outside of the box stays outside: do not clamp it, or it becomes a "
        "wrong landmark on the edge.": right.clamp(torch.zeros(2), into - 1),
        "The scale is upside down: 200 pixels become 40, so coordinates get smaller.": (
            (points + 0.5 - corner) / scale - 0.5
        ),
    }
    return first_hint(fn(points, box, size), right, slips, "A coordinate is off")


# ---- the box of a face ---------------------------------------------------------------


def face_box(points):
    mean = points.mean(dim=1)  # (N, 2)
    s = (points - mean[:, None]).square().sum(-1).mean(-1).sqrt()  # (N,)
    centre = mean - torch.stack([torch.zeros_like(s), 0.16 * s], dim=-1)
    half = 5.58 * s[:, None] / 2
    return torch.cat([centre - half, centre + half], dim=1)


def _box_of(points, spread=None, up=0.16, side=5.58, sides=False):
    """The box with one thing done differently."""
    mean = points.mean(1)
    apart = (points - mean[:, None]).square().sum(-1)  # (N, 5)
    s = apart.mean(-1).sqrt() if spread is None else spread(apart)
    centre = mean - torch.stack([torch.zeros_like(s), up * s], -1)
    half = side * s[:, None] / 2
    if sides:
        return torch.cat([centre - half, 2 * half, 2 * half], 1)
    return torch.cat([centre - half, centre + half], 1)


@exercise(
    "face_box",
    solution=face_box,
    library=face_boxes,
    level="medium",
    minutes=10,
    example=lambda: (
        torch.tensor([[[0.0, 0.0], [10.0, 0.0], [5.0, 5.0], [1.0, 10.0], [9.0, 10.0]]]),
    ),
)
def _examine_face_box(fn) -> str | None:
    points = torch.tensor(
        [
            [[203.0, 101.0], [248.0, 103.0], [225.0, 126.0], [206.0, 142], [243, 141]],
            [[222.0, 187.0], [305.0, 185.0], [265.0, 239.0], [235.0, 279], [305, 277]],
            [[69.0, 111.0], [108.0, 111.0], [88.0, 135.0], [73.0, 152.0], [105, 152]],
        ]
    )
    right = face_box(points)
    spread = (points - points.mean(1, keepdim=True)).square().sum(-1).mean(-1).sqrt()
    slips = {
        "The centre lies .16 s *above* the mean, and y points down: subtract.": (
            _box_of(points, up=-0.16)
        ),
        "The shift upwards is missing: the box should hold more forehead than chin.": (
            _box_of(points, up=0.0)
        ),
        "The side is 5.58 s, so each edge is half of that from the centre. Your box is "
        "twice as large.": _box_of(points, side=2 * 5.58),
        "Divide the sum of squares by five, not by four: s is a plain mean.": (
            _box_of(points, lambda x: (x.sum(-1) / 4).sqrt())
        ),
        "A squared distance is the *sum* of the squares of x and y. You took the mean "
        "over both, so s is too small by the root of two.": (
            _box_of(points, lambda x: (x.mean(-1) / 2).sqrt())
        ),
        "s is the root of the mean *squared* distance; you took the mean distance.": (
            _box_of(points, lambda x: x.sqrt().mean(-1))
        ),
        "The root is missing: s is a length, not a squared one.": (
            _box_of(points, lambda x: x.mean(-1))
        ),
        "All faces have the same side in yours: take a spread for each face.": (
            _box_of(points, lambda x: x.mean().sqrt().expand(len(x)))
        ),
        "Your boxes are left, top, width, height; expected are four edges: left, top, "
        "right, bottom.": _box_of(points, sides=True),
        "The order is left, top, right, bottom.": right[:, [0, 2, 1, 3]],
        "x comes first: left, top, right, bottom.": right[:, [1, 0, 3, 2]],
        "The shift goes up, in y. You moved the box in x as well.": (
            right - 0.16 * spread[:, None] * torch.tensor([1.0, 0, 1, 0])
        ),
    }
    return first_hint(fn(points), right, slips, "An edge of the box is off")


# ---- people to test on, of whom training has seen nothing ----------------------------


def held_back(people, share, seed):
    names = people.unique()
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    count = max(1, round(share * len(names)))
    return torch.isin(people, names[order[:count]])


@exercise(
    "held_back",
    solution=held_back,
    library=held_back,
    level="medium",
    minutes=10,
    example=lambda: (torch.tensor([7, 7, 4, 9, 9]), 0.3, 0),
)
def _examine_held_back(fn) -> str | None:
    # Twenty people with numbers that have gaps, of one to ten images, not in order.
    counts = [1 + (7 * n) % 10 for n in range(20)]
    people = torch.tensor([3 * n + 5 for n in range(20) for _ in range(counts[n])])
    people = people[torch.randperm(len(people), generator=torch.Generator())]
    names = people.unique()
    masks = [fn(people, 0.25, seed) for seed in (0, 1, 2, 3)]
    for held in masks:
        if not held.any():
            return "nobody is held back"
        if held.all():
            return "everybody is held back: nothing is left to train on"
        for name in names.tolist():
            own = held[people == name]
            if own.any() and not own.all():
                return (
                    f"person {name} has {int(own.sum())} of {len(own)} images on the "
                    "test side: training sees this very face. Choose people, then take "
                    "all images of each."
                )
    chosen = [people[held].unique() for held in masks]
    sizes = [len(each) for each in chosen]
    if all(size >= 14 for size in sizes):
        return "True means held back: you marked the images to train on"
    if any(abs(size - 5) > 1 for size in sizes):
        return (
            f"0.25 of 20 people are 5; you hold back {sizes}. Count people, not images."
        )
    again = []
    with torch.random.fork_rng(devices=[]):
        for state in (1, 2):  # a split must not hang on what was drawn before
            torch.manual_seed(state)
            again.append(fn(people, 0.25, 0))
    if not torch.equal(*again):
        return (
            "asked again with the same seed, it holds back other people: draw from "
            "torch.Generator().manual_seed(seed)"
        )
    if all(torch.equal(each, chosen[0]) for each in chosen):
        return (
            "every seed holds back the same people; use the seed, so that a test can "
            "be repeated with others"
        )
    swapped = people.flip(0)
    again = swapped[fn(swapped, 0.25, 0)].unique()
    if not close(again, chosen[0]):
        return (
            "the same people, their images in another order: the split changes. Draw "
            "from the sorted names (people.unique()), not from the list of images."
        )
    if not fn(torch.tensor([4, 4, 9, 9, 7]), 0.1, 0).any():
        return "with three people and a share of .1, hold back at least one person"
    return None
