"""Exercises of notebook 13: the class from points alone, and a warning worth having."""

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import first_hint
from lmscenes.blocks import chain_cells

# ---- the class from five points ------------------------------------------------------


def nearest_shape(points, prototypes):
    place = torch.view_as_complex(torch.cat([points, prototypes]).contiguous())
    place = place - place.mean(dim=1, keepdim=True)  # where it lies
    place = place / place.abs().square().sum(dim=1, keepdim=True).sqrt()  # how large
    figure, known = place[: len(points)], place[len(points) :]  # (B, 5), (P, 5)
    alike = (figure @ known.conj().T).abs()  # (B, P); abs: how it is turned
    return alike.argmax(dim=1)


def _figures():
    """Turned, scaled, moved and slightly jittered chains ``(120, 5, 2)``, prototypes
    and labels."""
    # seven ways to turn; mirror images of three are classes of their own
    turns = ("FFFF", "FLFF", "FFLR", "FLRF", "FLRL", "FFFL", "FFLL")
    shapes = torch.stack([chain_cells(word)[1:] for word in turns])
    mirrored = shapes[[2, 4, 6]] * torch.tensor([-1.0, 1.0])
    prototypes = torch.cat([shapes, mirrored]) + torch.tensor([3.0, -2.0])
    prototypes[::2] *= 2.5  # the prototypes differ in size, too
    g = torch.Generator().manual_seed(4)
    label = torch.arange(121) % len(prototypes)
    angle = 6.2832 * torch.rand(121, generator=g)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1)
    size = 0.1 + 0.15 * torch.rand(121, 1, 1, generator=g)
    middle = prototypes[label].mean(dim=1, keepdim=True)
    points = (prototypes[label] - middle) @ turn.mT * size
    points = points / (1 + 1.5 * (label % 2 == 0))[:, None, None]
    points = points + torch.rand(121, 1, 2, generator=g) - 0.5
    return points + 0.004 * torch.randn(points.shape, generator=g), prototypes, label


@exercise(
    "nearest_shape",
    solution=nearest_shape,
    library=nearest_shape,
    level="hard",
    minutes=15,
    example=(
        torch.tensor([[[0.0, 0.0], [0.0, 2.0], [-2.0, 2.0]]]),
        torch.tensor(
            [[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]], [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]]
        ),
    ),
)
def _examine_nearest_shape(fn) -> str | None:
    points, prototypes, label = _figures()
    got, right = fn(points, prototypes), nearest_shape(points, prototypes)
    if torch.equal(got, right):
        return None

    def complex_of(values, centre=True, size=True):
        z = torch.view_as_complex(values.contiguous())
        z = z - z.mean(dim=1, keepdim=True) if centre else z
        return z / z.abs().square().sum(1, keepdim=True).sqrt() if size else z

    figure, known = complex_of(points), complex_of(prototypes)
    as_it_lies = torch.cdist(points.flatten(1), prototypes.flatten(1))
    laid = torch.cdist(torch.view_as_real(figure).flatten(1),
                       torch.view_as_real(known).flatten(1))  # fmt: skip
    off_centre = complex_of(points, centre=False), complex_of(prototypes, centre=False)
    unscaled = complex_of(points, size=False), complex_of(prototypes, size=False)
    slips = {
        "You compare the figures where they lie. Take away the place (subtract the "
        "mean), the size (divide by the length) and the turn.": as_it_lies.argmin(1),
        "Place and size are gone, the turn is not: the same chain turned by 90 degrees "
        "must be the same class. With complex numbers: take .abs() of the sum, not its "
        "real part.": laid.argmin(1),
        "Without conj() a figure is compared with the mirror image: a turn to the "
        "left is not a turn to the right.": (figure @ known.T).abs().argmax(1),
        "Subtract the mean of each figure, prototypes too; otherwise far away "
        "looks like large.": (off_centre[0] @ off_centre[1].conj().T).abs().argmax(1),
        "Large prototypes win every comparison: divide each by its length.": (
            (unscaled[0] @ unscaled[1].conj().T).abs().argmax(1)
        ),
        "You return the least similar one; a large sum means alike.": (
            (figure @ known.conj().T).abs().argmin(1)
        ),
    }
    for hint, wrong in slips.items():
        if torch.equal(got, wrong):
            return hint
    at = int((got != right).nonzero()[0, 0])
    return (
        f"figure {at} is a turned, scaled and moved prototype {label[at]}, and you say "
        f"{got[at].item()}"
    )


# ---- set the doubtful ones aside -----------------------------------------------------


def error_of_kept(warning, error, share):
    aside = round(share * len(warning))
    kept = warning.argsort(descending=True)[aside:]  # the least suspicious ones
    return error[kept].mean()


@exercise(
    "error_of_kept",
    solution=error_of_kept,
    library=error_of_kept,
    level="easy",
    minutes=8,
    example=(
        torch.tensor([0.9, 0.1, 0.5, 0.2]),
        torch.tensor([8.0, 1.0, 3.0, 2.0]),
        0.25,
    ),
)
def _examine_error_of_kept(fn) -> str | None:
    g = torch.Generator().manual_seed(2)
    error = torch.rand(40, generator=g) ** 3
    warning = 5 + 3 * error + torch.rand(40, generator=g)  # a fair warning, not perfect
    share, aside = 0.25, 10
    order = warning.argsort(descending=True)
    by_error = error.argsort(descending=True)
    level = warning.min() + (1 - share) * (warning.max() - warning.min())
    slips = {
        "Nothing is set aside: this is the mean over all images.": error.mean(),
        "You keep the most suspicious images and set the others aside.": error[
            order[:aside]
        ].mean(),
        "You set the *least* suspicious images aside. A large warning means "
        "doubt.": error[order.flip(0)[aside:]].mean(),
        "You keep this share of the images; asked is to set it aside and keep the "
        "rest.": error[order.flip(0)[:aside]].mean(),
        "You set the images with the largest *error* aside. In use nobody knows the "
        "error: choose by the warning alone.": error[by_error[aside:]].mean(),
        "Images set aside have no error of zero; they do not count at all: divide by "
        "how many are kept.": error[order[aside:]].sum() / 40,
        "This is a sum; asked is the mean error of the kept images.": error[
            order[aside:]
        ].sum(),
        "You cut at a level of the warning between its ends. A share of the *images* "
        "is asked: sort them.": error[warning <= level].mean(),
        "That is the mean warning of the kept images; asked is their error.": warning[
            order[aside:]
        ].mean(),
    }
    hint = first_hint(fn(warning, error, share), error_of_kept(warning, error, share),
                      slips)  # fmt: skip
    if hint:
        return hint
    nothing = first_hint(fn(warning, error, 0.0), error.mean(), {})
    return nothing and "With share = 0 nothing is set aside: the mean over all images."
