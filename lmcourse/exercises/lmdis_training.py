"""Exercises of notebook 21: the staged weight of the reconstruction, the statistics of
batch normalisation computed anew, and regression without a bias."""

import torch
from torch import nn

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import close, first_hint
from lmlib.evaluation import LandmarkRegression

# ---- lambda_recon in the course of the training --------------------------------------


def staged_weight(progress, first, raised):
    weight = first
    for share, factor in raised:
        if progress >= share:
            weight = weight * factor
    return weight


@exercise(
    "staged_weight",
    solution=staged_weight,
    library=staged_weight,
    level="medium",
    minutes=10,
    example=(0.5, 0.01, ((0.44, 10.0), (0.89, 10.0))),
)
def _examine_staged_weight(fn) -> str | None:
    first, raised = 0.25, ((0.3, 10.0), (0.7, 4.0))
    at = [0.0, 0.1, 0.29, 0.3, 0.31, 0.5, 0.69, 0.7, 0.71, 0.9, 1.0]

    def curve(rule):
        return torch.tensor([float(rule(p)) for p in at])

    def stages(one, two, three):
        return curve(lambda p: one if p < 0.3 else two if p < 0.7 else three)

    right, got = (
        stages(0.25, 2.5, 10.0),
        curve(lambda p: fn(p, first, raised)),
    )
    slips = {
        "The second factor replaces the first in yours. They multiply: the last stage "
        "is first * 10 * 4.": stages(0.25, 2.5, 1.0),
        "You add the factors. Each one multiplies what was there before.": stages(
            0.25, 10.25, 14.25
        ),
        "You multiply by the sum of the factors that are due; multiply by one after "
        "the other.": stages(0.25, 2.5, 3.5),
        "This is the factor alone; multiply it by `first`.": stages(1, 10, 40),
        "Your weight falls. It starts small and is *raised*: multiply.": stages(
            0.25, 0.025, 0.00625
        ),
        "Your weight has its last value from the first step on. Compare `progress` "
        "with each share.": stages(10, 10, 10),
        "It never changes. Compare `progress` with each share in `raised`.": stages(
            0.25, 0.25, 0.25
        ),
        "At its share a raise already counts (>=): yours comes one step late.": curve(
            lambda p: first * (10 if p > 0.3 else 1) * (4 if p > 0.7 else 1)
        ),
        "You raise *before* each share and stop at it: turn the comparison "
        "round.": stages(10, 1, 0.25),
        "The second raise changes nothing in yours. Do not leave the loop (or use "
        "elif) after the first.": stages(0.25, 2.5, 2.5),
        "The first raise changes nothing in yours.": stages(0.25, 0.25, 1),
    }
    hint = first_hint(got, right, slips, "The weight is off")
    if hint is None:
        three = float(fn(0.9, 1.0, ((0.2, 2.0), (0.4, 3.0), (0.6, 5.0))))
        if not close(three, 30.0):
            return (
                "It is right for two raises. With three, by 2, 3 and 5, the weight "
                f"ends at 30 times the first; yours at {three:.4g}."
            )
        if not close(float(fn(0.9, 0.5, ())), 0.5):
            return "Without any raise the weight stays `first`."
    return hint


# ---- statistics of batch normalisation -----------------------------------------------


def exact_statistics(batches):
    means = torch.stack([x.mean(dim=(0, 2, 3)) for x in batches])  # (N, C)
    variances = torch.stack([x.var(dim=(0, 2, 3)) for x in batches])
    return means.mean(dim=0), variances.mean(dim=0)


def _library_exact_statistics(batches):
    norm = nn.BatchNorm2d(batches[0].shape[1], momentum=None)  # a cumulative mean
    norm.train()
    with torch.no_grad():
        for x in batches:
            norm(x)
    return norm.running_mean.clone(), norm.running_var.clone()


@exercise(
    "exact_statistics",
    solution=exact_statistics,
    library=_library_exact_statistics,
    level="medium",
    minutes=10,
    example=lambda: ([torch.arange(4.0).view(1, 1, 2, 2), torch.ones(1, 1, 2, 2)],),
)
def _examine_exact_statistics(fn) -> str | None:
    generator = torch.Generator().manual_seed(4)
    batches = []
    for number in range(4):
        scale = torch.tensor([1.0, 2.0, 0.5]) * (1 + number)
        x = torch.randn(3, 3, 2, 2, generator=generator) * scale[:, None, None]
        batches.append(x + torch.tensor([3.0, -1.0, 0.0])[:, None, None] * number)
    right = _library_exact_statistics(batches)
    mean, variance = fn(batches)

    def across(function):
        return torch.stack([function(x) for x in batches])

    def running(momentum):
        norm = nn.BatchNorm2d(3, momentum=momentum).train()
        for x in batches:
            norm(x)
        return norm.running_mean, norm.running_var

    everything = torch.cat(batches)
    per_image = across(lambda x: x.var(dim=(2, 3)).mean(0)).mean(0)
    slow = [running(momentum) for momentum in (0.1, 0.01)]
    hint = first_hint(
        mean,
        right[0],
        {
            "This is a running mean: old batches fade, and it begins at 0. Every batch "
            "counts the same here.": slow[0][0],
            "This is a running mean with a small step: it has hardly left its start "
            "at 0.": slow[1][0],
            "This is the mean of the last batch only.": batches[-1].mean((0, 2, 3)),
            "This is the mean of the first batch only.": batches[0].mean((0, 2, 3)),
            "You add the means; divide by the number of batches.": 4 * right[0],
            "This is one number for all channels. Each channel has its own "
            "mean.": everything.mean().expand(3),
            "Mean and variance have changed places.": right[1],
        },
        "The mean is off",
    )
    if hint is not None:
        return hint
    return first_hint(
        variance,
        right[1],
        {
            "This is the standard deviation, or the mean of them; batch normalisation "
            "stores variances.": right[1].sqrt(),
            "These are standard deviations. Average the variances.": across(
                lambda x: x.std(dim=(0, 2, 3))
            ).mean(0),
            "Divided by N: what a layer *stores* is divided by N - 1 (PyTorch's "
            "`var` does that by default), though it normalises with N.": across(
                lambda x: x.var(dim=(0, 2, 3), correction=0)
            ).mean(0),
            "This is the variance of all batches thrown together. It also counts how "
            "far batches are from each other. Average the variances of single "
            "batches.": everything.var(dim=(0, 2, 3)),
            "The variance of all batches thrown together, divided by N. Average the "
            "variances of single batches (divided by N - 1).": everything.var(
                dim=(0, 2, 3), correction=0
            ),
            "You average variances *within* images. A channel's variance is over "
            "images and places together: dim=(0, 2, 3).": per_image,
            "This is the variance *of the batch means*. Average the variances.": across(
                lambda x: x.mean(dim=(0, 2, 3))
            ).var(0),
            "This is a running mean of variances: old batches fade. Every batch counts "
            "the same here.": slow[0][1],
            "This is the variance of the last batch only.": batches[-1].var((0, 2, 3)),
            "You add the variances; divide by the number of batches.": 4 * right[1],
            "This is the mean square: subtract the mean before you square.": across(
                lambda x: x.square().mean((0, 2, 3))
            ).mean(0),
        },
        "The variance is off",
    )


# ---- regression without a bias -------------------------------------------------------


def fit_without_bias(x, y, ridge):
    x, y = x.flatten(1), y.flatten(1)  # (N, 2K), (N, 2M)
    square = x.T @ x + ridge * torch.eye(x.shape[1])  # (2K, 2K)
    return torch.linalg.solve(square, x.T @ y)  # (2K, 2M)


def _library_fit_without_bias(x, y, ridge):
    regression = LandmarkRegression(bias=False, ridge=ridge).fit(x, y)
    return regression.weight.to(x.dtype)


@exercise(
    "fit_without_bias",
    solution=fit_without_bias,
    library=_library_fit_without_bias,
    level="medium",
    minutes=10,
    example=lambda: (
        torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]),
        torch.tensor([[[2.0, 0.0]], [[0.0, 4.0]]]),
        1.0,
    ),
)
def _examine_fit_without_bias(fn) -> str | None:
    generator = torch.Generator().manual_seed(6)
    x = 0.6 * torch.randn(30, 4, 2, generator=generator) + 0.3
    mix = torch.randn(8, 6, generator=generator)
    noise = 0.2 * torch.randn(30, 3, 2, generator=generator)
    y = (x.flatten(1) @ mix).unflatten(1, (3, 2)) + noise + 0.5
    ridge = 3.0
    right, plain = (_library_fit_without_bias(x, y, r) for r in (ridge, 0.0))
    got, flat, target = fn(x, y, ridge), x.flatten(1), y.flatten(1)

    def solve(a, b, amount):
        return torch.linalg.solve(a.T @ a + amount * torch.eye(a.shape[1]), a.T @ b)

    def centred(values):
        return values - values.mean(0)

    by_axis_x, by_axis_y = (v.transpose(1, 2).flatten(1) for v in (x, y))
    slips = {
        "`ridge` changes nothing in yours: it adds ridge * |W|^2 to the summed "
        "squares, that is ridge on the diagonal of X^T X.": plain,
        "You subtract the means first: that is the regression *with* a bias. Here the "
        "mean shape must come from the points.": solve(
            centred(flat), centred(target), ridge
        ),
        "You subtract the means first (a hidden bias), and `ridge` changes "
        "nothing.": solve(centred(flat), centred(target), 0.0),
        "Only y is centred in yours. Without a bias nothing is.": solve(
            flat, centred(target), ridge
        ),
        "You fitted with a column of ones and then dropped its weights: what is left "
        "is the slope of a fit *with* a bias.": solve(
            torch.cat([flat, torch.ones(30, 1)], 1), target, ridge
        )[:8],
        "The ridge enters squared: rows of sqrt(ridge) times the identity below X add "
        "ridge * |W|^2; rows of ridge add its square.": solve(flat, target, ridge**2),
        "Your ridge is as strong as it should be times the number of images (you took "
        "the mean of the squares, or added it N times).": solve(
            flat, target, 30 * ridge
        ),
        "Your ridge is too weak by the number of images: the squares are "
        "summed.": solve(flat, target, ridge / 30),
        "You subtract the ridge. It goes *on* the diagonal of X^T X.": solve(
            flat, target, -ridge
        ),
        "You add the ridge to every entry of X^T X. Only its diagonal: ridge times "
        "the identity.": torch.linalg.solve(flat.T @ flat + ridge, flat.T @ target),
        "You put all x coordinates before all y coordinates. Flatten each image as it "
        "is: x1, y1, x2, y2, ...": solve(by_axis_x, by_axis_y, ridge),
        "You return X^T Y. It has still to be divided by X^T X (torch.linalg.solve).": (
            flat.T @ target
        ),
    }
    hint = first_hint(got, right, slips, "The weights are off", tolerance=1e-3)
    if hint is None and not close(fn(x, y, 0.0), plain, 1e-3):
        return "It is right with a ridge, but not with ridge = 0: plain least squares."
    return hint
