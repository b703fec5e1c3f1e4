"""Exercises of notebook 32: how many directions descriptors use, what a few wild
matches do to a mean, and the interval of a difference over test images."""

import torch
import torch.nn.functional as F

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import first_hint

# ---- how many of the C numbers are used? ---------------------------------------------


def effective_dimension(vectors):
    centred = vectors - vectors.mean(dim=0)
    spread = torch.linalg.eigvalsh(centred.T @ centred)  # (C,), along its own axes
    return (spread.sum() ** 2 / spread.square().sum()).item()


def _directions(spread):
    return spread.sum() ** 2 / spread.square().sum()


@exercise(
    "effective_dimension",
    solution=effective_dimension,
    library=effective_dimension,
    level="medium",
    minutes=10,
    example=(torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]),),
)
def _examine_effective_dimension(fn) -> str | None:
    g = torch.Generator().manual_seed(0)
    scale = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.2])
    mix = torch.linalg.qr(torch.randn(5, 5, generator=g, dtype=torch.float64))[0]
    flat = torch.randn(80, 5, generator=g, dtype=torch.float64) * scale @ mix
    x = flat + torch.tensor([4.0, -2.0, 1.0, 0.5, 3.0])
    centred = x - x.mean(dim=0)
    spread = torch.linalg.eigvalsh(centred.T @ centred)
    share = spread / spread.sum()
    by_row = x - x.mean(dim=1, keepdim=True)
    unit = F.normalize(x, dim=1)
    unit = unit - unit.mean(dim=0)
    slips = {
        "Subtract the mean vector first; otherwise the direction from zero to the mean "
        "counts as the largest of all.": _directions(torch.linalg.eigvalsh(x.T @ x)),
        "The mean has to be taken over the vectors (dim=0), one for each of the C "
        "numbers, not within a vector.": _directions(
            torch.linalg.eigvalsh(by_row.T @ by_row)
        ),
        "Upside down: (sum of all) squared over the sum of the squares. C equal "
        "spreads must give C, not 1 / C.": 1 / _directions(spread),
        "These are deviations, not variances: square singular values to get the "
        "eigenvalues.": _directions(spread.clamp(min=0).sqrt()),
        "You use the variances of the C numbers themselves. Numbers that move together "
        "then count twice: take the eigenvalues of the covariance.": _directions(
            centred.square().sum(0)
        ),
        "That is the exponential of the entropy: also a way to count directions, but "
        "not the one asked for.": (-(share * share.log()).sum()).exp(),
        "Do not divide each number by its deviation: that makes the correlation of the "
        "numbers, and hides which directions are large.": _directions(
            torch.linalg.eigvalsh(torch.corrcoef(x.T))
        ),
        "Do not normalise the vectors: their length is part of them here.": _directions(
            torch.linalg.eigvalsh(unit.T @ unit)
        ),
        "This counts directions however small they are. Weigh them by what they "
        "carry.": 5.0,
        "The numerator is the square of the sum: you forgot to square it.": spread.sum()
        / spread.square().sum(),
    }
    return first_hint(fn(x), effective_dimension(x), slips, "For 80 vectors of 5")


# ---- a few wild matches --------------------------------------------------------------


def wild_matches(errors, valid, limit):
    errors = errors[valid]
    wild = errors[errors > limit]
    return len(wild) / len(errors), (wild.sum() / errors.sum()).item()


@exercise(
    "wild_matches",
    solution=wild_matches,
    library=wild_matches,
    level="easy",
    minutes=8,
    example=(
        torch.tensor([[1.0, 2.0], [30.0, 4.0]]),
        torch.tensor([[True, True], [True, False]]),
        10.0,
    ),
)
def _examine_wild_matches(fn) -> str | None:
    errors = torch.tensor([[1.0, 2.0, 30.0], [4.0, 50.0, 15.0], [3.0, 10.0, 6.0]])
    valid = torch.tensor([[1, 1, 1], [1, 0, 1], [1, 1, 0]]).bool()
    limit = 10.0  # one error lies on it: not wild
    e = errors[valid]
    wild, share, part = e[e > limit], 2 / 7, 45 / 65
    everything = errors[errors > limit]
    slips = {
        "You count hidden points, too. Take errors[valid] first.": (
            len(everything) / 9,
            (everything.sum() / errors.sum()).item(),
        ),
        "You divide by the number of all points. Hidden ones have no match: divide by "
        "valid.sum().": (len(wild) / 9, part),
        "These are the matches that are *not* wild.": (1 - share, 1 - part),
        "First the share of matches, then the part of the sum: yours come the other "
        "way round.": (part, share),
        "A share lies between 0 and 1; this is in percent.": (100 * share, 100 * part),
        "An error of just the limit is not beyond it: use >, not >=.": (
            3 / 7,
            55 / 65,
        ),
        "The second number is the mean of the wild errors. Asked is which part of the "
        "*sum* of all errors they make up.": (share, wild.mean().item()),
        "The second number counts only how far wild errors go beyond the limit. Their "
        "whole error enters the mean.": (share, (wild - limit).sum().item() / 65),
        "The second number is the sum of the wild errors; divide it by the sum of all "
        "valid ones.": (share, wild.sum().item()),
        "The second number relates wild errors to the rest. Divide by the sum of all "
        "valid errors, the wild ones included.": (share, 45 / 20),
    }
    return first_hint(fn(errors, valid, limit), (share, part), slips)


# ---- is the difference more than the choice of test images? --------------------------


def bootstrap_interval(ours, theirs, valid, drawn):
    gaps = ((ours - theirs) * valid).sum(dim=1)  # (N,): what each image contributes
    points = valid.sum(dim=1)  # (N,): and how many points it has
    means = gaps[drawn].sum(dim=1) / points[drawn].sum(dim=1)  # (R,)
    ends = means.quantile(means.new_tensor([0.025, 0.975]))
    return (gaps.sum() / points.sum()).item(), *ends.tolist()


def _three(middle, low, high):
    return torch.stack([middle, low, high])


@exercise(
    "bootstrap_interval",
    solution=bootstrap_interval,
    library=bootstrap_interval,
    level="hard",
    minutes=15,
    example=(
        torch.tensor([[1.0], [2.0], [3.0]]),
        torch.tensor([[2.0], [2.0], [5.0]]),
        torch.ones(3, 1, dtype=bool),
        torch.tensor([[0, 1, 2], [0, 0, 1], [2, 2, 1]]),
    ),
)
def _examine_bootstrap_interval(fn) -> str | None:
    g = torch.Generator().manual_seed(0)
    number, points, draws = 30, 4, 300
    theirs = 5 + 6 * torch.rand(number, points, generator=g)
    hard = 4 * torch.rand(number, 1, generator=g)  # common to an image
    theirs, gap = theirs + hard, torch.randn(number, points, generator=g)
    ours = theirs - 0.8 + 0.7 * hard * gap.mean(1, keepdim=True) + gap
    valid = torch.rand(number, points, generator=g) < 0.7
    valid[:, 0] = True
    ours = ours + 8 * (~valid)  # a hidden point's error means nothing
    drawn = torch.randint(number, (draws, number), generator=g)
    right = torch.tensor(bootstrap_interval(ours, theirs, valid, drawn))
    mean, ends = right[0], torch.tensor([0.025, 0.975])
    gaps, counts = ((ours - theirs) * valid).sum(1), valid.sum(1)
    means = gaps[drawn].sum(1) / counts[drawn].sum(1)
    each = gaps / counts
    hidden = (ours - theirs).mean(1)
    one = (ours * valid).sum(1)[drawn].sum(1) / counts[drawn].sum(1)
    order = drawn.flip(0)
    other = (theirs * valid).sum(1)[order].sum(1) / counts[order].sum(1)
    zeros = gaps / points
    slips = {
        "The sign: asked is ours minus theirs, negative where ours has the smaller "
        "error.": -right[[0, 2, 1]],
        "You count hidden points. Their errors mean nothing: multiply by valid before "
        "you sum.": _three(hidden.mean(), *hidden[drawn].mean(1).quantile(ends)),
        "You average within each image first, so a point of an image with few visible "
        "points counts more. Sum the gaps, sum the points, then divide.": _three(
            each.mean(), *each[drawn].mean(1).quantile(ends)
        ),
        "You divide by all points, and hidden ones count as a difference of zero. "
        "Divide by the number of visible ones.": _three(
            zeros.mean(), *zeros[drawn].mean(1).quantile(ends)
        ),
        "95 % in the middle leaves 2.5 % at each end: quantiles .025 and .975, not .05 "
        "and .95.": _three(mean, *means.quantile(torch.tensor([0.05, 0.95]))),
        "You draw images for ours and theirs separately. Both must be asked about the "
        "same images: what makes an image hard then cancels.": _three(
            mean, *(one - other).quantile(ends)
        ),
        "These are the smallest and the largest draw: with more draws the interval "
        "would only grow.": _three(mean, means.min(), means.max()),
        "Do not divide by the square root of the number of draws: with more draws, the "
        "interval would shrink to nothing. The means of the draws already vary as a "
        "mean does.": _three(
            mean, *(mean + s * 1.96 * means.std() / draws**0.5 for s in (-1, 1))
        ),
        "This is the mean plus and minus 1.96 deviations. It is nearly the same here; "
        "the ends asked for are quantiles of the draws.": _three(
            mean, *(mean + s * 1.96 * means.std() for s in (-1, 1))
        ),
        "These are quantiles of single images, not of means over drawn sets of "
        "images.": _three(mean, *each.quantile(ends)),
        "The first number is the difference on the test images themselves, not the "
        "middle of the draws.": _three(means.mean(), *right[1:]),
        "The first number is the difference on the test images themselves, not the "
        "median of the draws.": _three(means.median(), *right[1:]),
    }
    got = torch.tensor([float(x) for x in fn(ours, theirs, valid, drawn)])
    return first_hint(got, right, slips, "For 30 images", tolerance=2e-4)
