"""Exercises of notebook 31: when the learning rate falls, which images serve as
auxiliaries, and the error of matches that can be judged."""

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import close, first_hint
from lmlib.schedules import constant_then_decay

# ---- the learning rate as it really was ----------------------------------------------


def learning_rate(step, steps, lr, epochs=100, milestones=(70, 90), late=2):
    passed = step * epochs / steps  # epochs completed before this step
    falls = sum(passed >= at + late for at in milestones)
    return lr * 0.1**falls


def _library_learning_rate(step, steps, lr, epochs=100, milestones=(70, 90), late=2):
    shares = tuple((at + late) / epochs for at in milestones)
    return lr * constant_then_decay(steps, shares)(step)


@exercise(
    "learning_rate",
    solution=learning_rate,
    library=_library_learning_rate,
    level="easy",
    minutes=8,
    example=(75, 100, 0.001),
)
def _examine_learning_rate(fn) -> str | None:
    # A run of 50 epochs of 10 steps; marks at 20 and 40, acting 4 epochs late.
    steps, lr, about = 500, 0.5, (50, (20, 40), 4)
    at = [0, 150, 199, 200, 205, 235, 239, 240, 249, 260, 399, 400, 435, 440, 499]

    def curve(rule):
        return torch.tensor([float(rule(step)) for step in at])

    def falls(first, second):
        return curve(lambda step: lr * 0.1 ** ((step >= first) + (step >= second)))

    right, got = falls(240, 440), curve(lambda step: fn(step, steps, lr, *about))
    slips = {
        "Your rate falls at the milestones as they are written; it acts `late` "
        "epochs after each.": falls(200, 400),
        "It falls `late` epochs too early: late means later, so add it.": falls(
            160, 360
        ),
        "You compare the number of the step with an epoch. A run of `steps` steps "
        "lasts `epochs` epochs: step * epochs / steps have passed.": curve(
            lambda step: lr * 0.1 ** ((step >= 24) + (step >= 44))
        ),
        "Your milestones are percent of the run. They count epochs, and this run "
        "has 50, not 100.": falls(120, 220),
        "The second milestone changes nothing: there the rate falls to a tenth "
        "again, a hundredth in all.": curve(
            lambda step: lr * (0.1 if step >= 240 else 1)
        ),
        "The first milestone changes nothing in yours.": curve(
            lambda step: lr * (0.1 if step >= 440 else 1)
        ),
        "At its step the milestone already counts (>=): yours falls one step "
        "late.": falls(241, 441),
        "Between the milestones the rate is a tenth, after both a hundredth: "
        "multiply by 0.1 each time, do not divide by a count.": curve(
            lambda step: lr / (1 + (step >= 240) + (step >= 440))
        ),
        "This is the factor alone: multiply by lr.": right / lr,
    }
    hint = first_hint(got, right, slips, "The rate is off")
    if hint is None and not close(
        curve(lambda step: fn(2 * step, 2 * steps, lr, *about)), right
    ):
        return (
            "It is right for a run of 500 steps, but not when the same 50 epochs take "
            "1000: an epoch is steps / epochs steps long."
        )
    return hint


# ---- auxiliary images from the batch -------------------------------------------------


def choose_auxiliaries(pairs, count, generator):
    score = torch.rand(pairs, pairs, generator=generator)  # a draw for pair and image
    score.fill_diagonal_(2)  # its own image comes last
    return score.argsort(dim=1)[:, :count]


@exercise(
    "choose_auxiliaries",
    solution=choose_auxiliaries,
    library=choose_auxiliaries,
    level="medium",
    minutes=10,
    example=lambda: (2, 1, torch.Generator().manual_seed(0)),
)
def _examine_choose_auxiliaries(fn) -> str | None:
    pairs, count, draws = 6, 3, 200

    def draw(seed):
        return fn(pairs, count, torch.Generator().manual_seed(seed))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        many = torch.stack([draw(seed) for seed in range(draws)])  # (D, P, A)
        again = draw(5)
    if many.min() < 0 or many.max() >= pairs:
        return (
            f"The images are numbered 0 to {pairs - 1}; yours go from "
            f"{int(many.min())} to {int(many.max())}."
        )
    own = torch.arange(pairs)[:, None]
    if (many == own).any():
        return (
            "A pair gets its own image as auxiliary. Then a vector may exchange with "
            "itself, and nothing forces it to fit another face."
        )
    ordered = many.sort(dim=-1).values
    if (ordered.diff(dim=-1) == 0).any():
        return (
            "One pair has the same image twice. Draw without putting back (sort "
            "random scores, or torch.randperm)."
        )
    if (many == many[0]).all():
        return (
            "It returns the same images every time. Draw them, with the generator "
            "that is given."
        )
    if not close(again, many[5]):
        return (
            "The same seed gives other images: hand the generator on to torch.rand or "
            "torch.randperm, or a run cannot be repeated."
        )
    shift = (many - own) % pairs
    if (shift == shift[:, :1]).all():
        return (
            "All pairs use the same neighbours (so many places further on). Draw for "
            "each pair on its own."
        )
    times = torch.zeros(pairs, pairs).index_put_(
        (own.expand(draws, -1, count), many), torch.ones(()), accumulate=True
    )
    share = times / draws  # of draws in which the pair uses the image; 3 of 5 = .6
    away = ~torch.eye(pairs, dtype=torch.bool)
    if (share[away] == 0).any():
        a, b = ((share == 0) & away).nonzero()[0].tolist()
        return f"Pair {a} never uses image {b}. Each of the others must have a chance."
    wanted = count / (pairs - 1)
    if (share[away] - wanted).abs().max() > 0.17:  # five standard deviations
        a, b = (((share - wanted).abs() > 0.17) & away).nonzero()[0].tolist()
        return (
            f"Pair {a} uses image {b} in {share[a, b]:.0%} of the draws, expected "
            f"{wanted:.0%}: all other images must have the same chance."
        )
    return None


# ---- the error of matches that can be judged -----------------------------------------


def match_error(found, truth, visible, pixels):
    inside = (truth.abs() < 1).all(dim=-1)  # (B, K)
    distance = (found - truth).norm(dim=-1) * pixels / 2
    return distance[visible & inside].mean()


@exercise(
    "match_error",
    solution=match_error,
    library=match_error,
    level="medium",
    minutes=10,
    example=lambda: (
        torch.tensor([[[0.0, 0.0], [0.2, 0.0], [0.9, 0.0]]]),
        torch.tensor([[[0.1, 0.0], [0.0, 0.0], [1.3, 0.0]]]),
        torch.tensor([[True, False, True]]),
        70,
    ),
)
def _examine_match_error(fn) -> str | None:
    generator = torch.Generator().manual_seed(2)
    truth = 2.2 * torch.rand(7, 5, 2, generator=generator) - 1.1
    found = 2 * torch.rand(7, 5, 2, generator=generator) - 1
    visible = torch.rand(7, 5, generator=generator) < 0.7
    truth[1], visible[2] = 1.05, False  # an image without any point to judge
    truth[0, 0] = torch.tensor([0.2, 1.08])  # outside on one side only
    visible[0, 0] = True
    found[3, 1], truth[3, 1], visible[3, 1] = 1.0, 0.9, True
    right = match_error(found, truth, visible, 70)

    inside = (truth.abs() < 1).all(-1)
    counts = visible & inside
    offset = 35 * (found - truth)
    far = offset.norm(dim=-1)
    each = far.where(counts, 0).sum(1) / counts.sum(1)
    guess = (found.abs() < 1).all(-1)
    slips = {
        "All points count in yours. Leave out hidden points, and points whose truth "
        "lies outside the frame.": far.mean(),
        "Points outside the frame still count. Where the truth is cut off, no match "
        "can be right.": far[visible].mean(),
        "Hidden points still count.": far[inside].mean(),
        "You set left-out points to zero, and then divide by all: they count as "
        "perfect matches.": far.where(counts, 0).mean(),
        "A point with only one of x and y inside is outside: all, not any.": far[
            visible & (truth.abs() < 1).any(-1)
        ].mean(),
        "Whether a point is inside is a matter of its truth, not of where it was "
        "found.": far[visible & guess].mean(),
        "You average within each image first, so a point counts more in an image with "
        "few points (and an image with none gives NaN).": each.nanmean(),
        "An image without any point to judge gives NaN. Average over all points at "
        "once, not image by image.": each.mean(),
        "The frame is 2 wide in our units: a distance of 2 is `pixels`, so multiply "
        "by pixels / 2.": 2 * right,
        "This is in units of half a frame: multiply by pixels / 2.": right / 35,
        "These are squared pixels: take the root of dx^2 + dy^2 before you "
        "average.": far.square()[counts].mean(),
        "This is the mean of |dx| and |dy|, not the distance.": offset.abs()[
            counts
        ].mean(),
        "This is |dx| + |dy|; the distance is the root of the sum of squares.": 2
        * offset.abs()[counts].mean(),
        "You return the sum; divide by the number of points that count.": far[
            counts
        ].sum(),
        "This is the median. A few wild matches are part of the mean.": far[
            counts
        ].median(),
    }
    hint = first_hint(fn(found, truth, visible, 70), right, slips)
    if hint is None and not close(fn(found, truth, visible, 40), right * 4 / 7):
        return "You multiply by 35, which is right for 70 pixels only: use `pixels`."
    return hint
