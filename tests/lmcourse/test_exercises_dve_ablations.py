"""The exercises of notebook 32 accept what is right, and name each typical slip."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

# ---- effective_dimension -------------------------------------------------------------


def dimension_of(spread):
    return float(spread.sum() ** 2 / spread.square().sum())


def dimension_by_svd(vectors):
    values = torch.linalg.svdvals(vectors - vectors.mean(0, keepdim=True))
    return dimension_of(values**2)


def dimension_by_numpy(vectors):
    spread = np.linalg.eigvalsh(np.cov(vectors.numpy(), rowvar=False))
    return torch.tensor(spread.sum() ** 2 / (spread**2).sum())  # one number, too


def dimension_uncentred(vectors):
    return dimension_of(torch.linalg.svdvals(vectors) ** 2)


def dimension_wrong_mean(vectors):
    return dimension_of(
        torch.linalg.svdvals(vectors - vectors.mean(1, keepdim=True)) ** 2
    )


def dimension_inverse(vectors):
    return 1 / dimension_by_svd(vectors)


def dimension_singular(vectors):
    return dimension_of(torch.linalg.svdvals(vectors - vectors.mean(0)))


def dimension_variances(vectors):
    return dimension_of(vectors.var(dim=0))


def dimension_entropy(vectors):
    spread = torch.linalg.eigvalsh(torch.cov(vectors.T))
    share = spread / spread.sum()
    return math.exp(torch.special.entr(share).sum())


def dimension_correlation(vectors):
    return dimension_of(torch.linalg.eigvalsh(torch.corrcoef(vectors.T)))


def dimension_unit(vectors):
    return dimension_by_svd(F.normalize(vectors, dim=1))


def dimension_rank(vectors):
    return int(torch.linalg.matrix_rank(vectors - vectors.mean(0)))


def dimension_not_squared(vectors):
    spread = torch.linalg.eigvalsh((v := vectors - vectors.mean(0)).T @ v)
    return float(spread.sum() / spread.square().sum())


# ---- wild_matches --------------------------------------------------------------------


def wild_by_numpy(errors, valid, limit):
    kept = errors.numpy()[valid.numpy()]
    return float((kept > limit).mean()), float(kept[kept > limit].sum() / kept.sum())


def wild_by_mask(errors, valid, limit):
    wild = valid & (errors > limit)
    return wild.sum() / valid.sum(), errors[wild].sum() / errors[valid].sum()


def wild_hidden(errors, valid, limit):
    wild = errors > limit
    return wild.float().mean(), errors[wild].sum() / errors.sum()


def wild_of_all(errors, valid, limit):
    share, part = wild_by_mask(errors, valid, limit)
    return share * valid.sum() / valid.numel(), part


def wild_tame(errors, valid, limit):
    return tuple(1 - x for x in wild_by_mask(errors, valid, limit))


def wild_swapped(errors, valid, limit):
    return wild_by_mask(errors, valid, limit)[::-1]


def wild_percent(errors, valid, limit):
    return tuple(100 * x for x in wild_by_mask(errors, valid, limit))


def wild_at_limit(errors, valid, limit):
    return wild_by_mask(errors, valid, limit - 1e-6)


def wild_mean(errors, valid, limit):
    share, _ = wild_by_mask(errors, valid, limit)
    return share, errors[valid & (errors > limit)].mean()


def wild_excess(errors, valid, limit):
    share, _ = wild_by_mask(errors, valid, limit)
    return share, (errors[valid] - limit).relu().sum() / errors[valid].sum()


def wild_sum(errors, valid, limit):
    share, _ = wild_by_mask(errors, valid, limit)
    return share, errors[valid & (errors > limit)].sum()


def wild_to_rest(errors, valid, limit):
    share, part = wild_by_mask(errors, valid, limit)
    return share, part / (1 - part)


# ---- bootstrap_interval --------------------------------------------------------------


def interval(ours, theirs, valid, drawn, *, ends=(0.025, 0.975)):
    means = [
        (ours - theirs)[images][valid[images]].mean() for images in drawn
    ]  # an image drawn twice counts twice
    low, high = np.quantile(torch.stack(means).numpy(), ends)
    mean = (ours - theirs)[valid].mean()
    return torch.tensor([mean, low, high]), torch.stack(means)


def interval_loop(ours, theirs, valid, drawn):
    mean, low, high = interval(ours, theirs, valid, drawn)[0]
    return mean, low, high


def interval_sign(ours, theirs, valid, drawn):
    return interval_loop(theirs, ours, valid, drawn)


def interval_hidden(ours, theirs, valid, drawn):
    return interval_loop(ours, theirs, torch.ones_like(valid), drawn)


def interval_of_images(ours, theirs, valid, drawn):
    gaps = ((ours - theirs) * valid).sum(1, keepdim=True) / valid.sum(1, keepdim=True)
    return interval_loop(gaps, 0 * gaps, torch.ones_like(gaps).bool(), drawn)


def interval_zeros(ours, theirs, valid, drawn):
    gaps = (ours - theirs) * valid
    return interval_loop(gaps, 0 * gaps, torch.ones_like(valid), drawn)


def interval_90(ours, theirs, valid, drawn):
    return tuple(interval(ours, theirs, valid, drawn, ends=(0.05, 0.95))[0])


def interval_unpaired(ours, theirs, valid, drawn):
    _, ours_means = interval(ours, 0 * ours, valid, drawn)
    _, their_means = interval(theirs, 0 * theirs, valid, drawn.flip(0))
    ends = (ours_means - their_means).quantile(torch.tensor([0.025, 0.975]))
    return (ours - theirs)[valid].mean(), *ends


def interval_extremes(ours, theirs, valid, drawn):
    return tuple(interval(ours, theirs, valid, drawn, ends=(0, 1))[0])


def interval_normal(ours, theirs, valid, drawn, by=1.0):
    found, means = interval(ours, theirs, valid, drawn)
    half = 1.96 * means.std() / by
    return found[0], found[0] - half, found[0] + half


def interval_root(ours, theirs, valid, drawn):
    return interval_normal(ours, theirs, valid, drawn, by=math.sqrt(len(drawn)))


def interval_single(ours, theirs, valid, drawn):
    gaps = ((ours - theirs) * valid).sum(1) / valid.sum(1)
    mean = (ours - theirs)[valid].mean()
    return mean, *gaps.quantile(torch.tensor([0.025, 0.975]))


def interval_centre(ours, theirs, valid, drawn, middle=torch.mean):
    found, means = interval(ours, theirs, valid, drawn)
    return middle(means), *found[1:]


def interval_median(ours, theirs, valid, drawn):
    return interval_centre(ours, theirs, valid, drawn, torch.median)


DIMENSION, WILD, INTERVAL = "effective_dimension", "wild_matches", "bootstrap_interval"
WRONG = [
    (DIMENSION, dimension_uncentred, "Subtract the mean vector first"),
    (DIMENSION, dimension_wrong_mean, "over the vectors (dim=0)"),
    (DIMENSION, dimension_inverse, "Upside down"),
    (DIMENSION, dimension_singular, "square singular values"),
    (DIMENSION, dimension_variances, "Numbers that move together"),
    (DIMENSION, dimension_entropy, "exponential of the entropy"),
    (DIMENSION, dimension_correlation, "divide each number by its deviation"),
    (DIMENSION, dimension_unit, "Do not normalise"),
    (DIMENSION, dimension_rank, "however small they are"),
    (DIMENSION, dimension_not_squared, "forgot to square"),
    (
        DIMENSION,
        lambda vectors: vectors,
        "a tensor of shape (80, 5), expected a number",
    ),
    (DIMENSION, lambda vectors: math.nan, "NaN or infinite"),
    (DIMENSION, lambda vectors: 2.5, "is expected where yours is 2.5000"),
    (WILD, wild_hidden, "You count hidden points, too"),
    (WILD, wild_of_all, "Hidden ones have no match"),
    (WILD, wild_tame, "*not* wild"),
    (WILD, wild_swapped, "the other way round"),
    (WILD, wild_percent, "in percent"),
    (WILD, wild_at_limit, "use >, not >="),
    (WILD, wild_mean, "mean of the wild errors"),
    (WILD, wild_excess, "beyond the limit. Their"),
    (WILD, wild_sum, "is the sum of the wild errors"),
    (WILD, wild_to_rest, "the wild ones included"),
    (WILD, lambda e, v, limit: 0.3, "expected a tuple of length 2"),
    (INTERVAL, interval_sign, "The sign: asked is ours minus theirs"),
    (INTERVAL, interval_hidden, "You count hidden points. Their errors"),
    (INTERVAL, interval_of_images, "You average within each image first"),
    (INTERVAL, interval_zeros, "You divide by all points"),
    (INTERVAL, interval_90, "not .05 and .95"),
    (INTERVAL, interval_unpaired, "ours and theirs separately"),
    (INTERVAL, interval_extremes, "smallest and the largest draw"),
    (INTERVAL, interval_root, "square root of the number of draws"),
    (INTERVAL, interval_normal, "plus and minus 1.96 deviations"),
    (INTERVAL, interval_single, "quantiles of single images"),
    (INTERVAL, interval_centre, "not the middle of the draws"),
    (INTERVAL, interval_median, "not the median of the draws"),
    (INTERVAL, lambda a, b, valid, drawn: a.mean(), "expected a tuple of length 3"),
]
RIGHT = [
    (DIMENSION, dimension_by_svd),
    (DIMENSION, dimension_by_numpy),
    (WILD, wild_by_numpy),
    (WILD, wild_by_mask),
    (INTERVAL, interval_loop),
]


def test_no_two_answers_share_a_hint():
    hints = [hint for _, _, hint in WRONG]
    assert len(set(hints)) == len(hints)
