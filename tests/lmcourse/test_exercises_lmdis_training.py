"""The exercises of notebook 21 accept what is right, and name each typical slip."""

import math

import pytest
import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

# ---- staged_weight -------------------------------------------------------------------


def parts(pairs):
    return tuple(zip(*pairs, strict=True)) if pairs else ((), ())


def weight_by_product(progress, first, pairs):
    raised, raises = parts(pairs)
    due = [f for share, f in zip(raised, raises, strict=True) if progress >= share]
    return torch.tensor(first * math.prod(due))


def weight_by_count(progress, first, pairs):
    raised, raises = parts(pairs)
    count = sum(progress >= share for share in raised)
    return first * math.prod(raises[:count])


def weight_replaced(progress, first, pairs):
    raised, raises = parts(pairs)
    weight = first
    for share, factor in zip(raised, raises, strict=True):
        if progress >= share:
            weight = first * factor
    return weight


def weight_added(progress, first, pairs):
    raised, raises = parts(pairs)
    due = [f for share, f in zip(raised, raises, strict=True) if progress >= share]
    return first + sum(due)


def weight_of_sum(progress, first, pairs):
    raised, raises = parts(pairs)
    due = [f for share, f in zip(raised, raises, strict=True) if progress >= share]
    return first * (sum(due) or 1)


def weight_factor(progress, first, pairs):
    return weight_by_count(progress, 1.0, pairs)


def weight_falling(progress, first, pairs):
    return first / weight_by_count(progress, 1.0, pairs)


def weight_at_once(progress, first, pairs):
    _, raises = parts(pairs)
    return first * math.prod(raises)


def weight_constant(progress, first, pairs):
    return first


def weight_strictly(progress, first, pairs):
    raised, raises = parts(pairs)
    due = [f for share, f in zip(raised, raises, strict=True) if progress > share]
    return first * math.prod(due)


def weight_turned(progress, first, pairs):
    raised, raises = parts(pairs)
    due = [f for share, f in zip(raised, raises, strict=True) if progress < share]
    return first * math.prod(due)


def weight_first_only(progress, first, pairs):
    raised, raises = parts(pairs)
    for share, factor in zip(raised, raises, strict=True):
        if progress >= share:
            return first * factor
    return first


def weight_last_only(progress, first, pairs):
    raised, raises = parts(pairs)
    return first * (raises[-1] if progress >= raised[-1] else 1)


def weight_of_two(progress, first, pairs):
    raised, raises = parts(pairs)
    if not raised:
        return first
    weight = first * (raises[0] if progress >= raised[0] else 1)
    return weight * (raises[1] if progress >= raised[1] else 1)


def weight_needs_a_raise(progress, first, pairs):
    raised, _ = parts(pairs)
    weight = weight_by_count(progress, first, pairs)
    return weight if raised else 0.0


def weight_tenfold(progress, first, pairs):
    raised, _ = parts(pairs)
    return first * 10.0 ** sum(progress >= share for share in raised)


# ---- exact_statistics ----------------------------------------------------------------

DIMS = (0, 2, 3)


def over(batches, function):
    return torch.stack([function(x) for x in batches])


def mean_of(batches):
    return over(batches, lambda x: x.mean(DIMS)).mean(0)


def var_of(batches):
    return over(batches, lambda x: x.var(DIMS)).mean(0)


def statistics_one_by_one(batches):
    mean, variance = 0, 0
    for number, x in enumerate(batches, start=1):
        mean = mean + (x.mean(DIMS) - mean) / number
        variance = variance + (x.var(DIMS) - variance) / number
    return mean, variance


def statistics_flat(batches):
    flat = torch.stack([x.transpose(0, 1).flatten(1) for x in batches])  # (N, C, M)
    return flat.mean(-1).mean(0), flat.var(-1).mean(0)


def statistics_running(batches, momentum=0.1):
    mean, variance = torch.zeros(3), torch.ones(3)
    for x in batches:
        mean = (1 - momentum) * mean + momentum * x.mean(DIMS)
        variance = (1 - momentum) * variance + momentum * x.var(DIMS)
    return mean, variance


def statistics_slow(batches):
    return statistics_running(batches, 0.01)


def statistics_running_variance(batches):
    return mean_of(batches), statistics_running(batches)[1]


def statistics_last(batches):
    return batches[-1].mean(DIMS), batches[-1].var(DIMS)


def statistics_first(batches):
    return batches[0].mean(DIMS), batches[0].var(DIMS)


def statistics_last_variance(batches):
    return mean_of(batches), batches[-1].var(DIMS)


def statistics_sum(batches):
    return sum(x.mean(DIMS) for x in batches), var_of(batches)


def statistics_sum_variance(batches):
    return mean_of(batches), sum(x.var(DIMS) for x in batches)


def statistics_of_all_channels(batches):
    return torch.cat(batches).mean().expand(3), var_of(batches)


def statistics_swapped(batches):
    return var_of(batches), mean_of(batches)


def statistics_deviation(batches):
    return mean_of(batches), over(batches, lambda x: x.std(DIMS)).mean(0)


def statistics_root(batches):
    return mean_of(batches), var_of(batches).sqrt()


def statistics_biased(batches):
    return mean_of(batches), over(batches, lambda x: x.var(DIMS, correction=0)).mean(0)


def statistics_pooled(batches):
    return mean_of(batches), torch.cat(batches).var(DIMS)


def statistics_pooled_biased(batches):
    return mean_of(batches), torch.cat(batches).var(DIMS, correction=0)


def statistics_within(batches):
    return mean_of(batches), over(batches, lambda x: x.var((2, 3)).mean(0)).mean(0)


def statistics_between(batches):
    return mean_of(batches), over(batches, lambda x: x.mean(DIMS)).var(0)


def statistics_squares(batches):
    return mean_of(batches), over(batches, lambda x: x.square().mean(DIMS)).mean(0)


def statistics_of_places(batches):
    return mean_of(batches), over(batches, lambda x: x.mean(0).var((1, 2))).mean(0)


def statistics_keep_places(batches):
    return over(batches, lambda x: x.mean(0)).mean(0), var_of(batches)


# ---- fit_without_bias ----------------------------------------------------------------


def ridge_fit(x, y, amount):
    return torch.linalg.solve(x.T @ x + amount * torch.eye(x.shape[1]), x.T @ y)


def fit_by_rows(x, y, ridge):
    x, y = x.flatten(1).double(), y.flatten(1).double()
    more = ridge**0.5 * torch.eye(x.shape[1])
    x = torch.cat([x, more.double()])
    y = torch.cat([y, y.new_zeros(x.shape[1], y.shape[1])])
    return (torch.linalg.pinv(x) @ y).float()


def fit_by_sklearn(x, y, ridge):
    from sklearn.linear_model import LinearRegression, Ridge

    model = Ridge(ridge, fit_intercept=False) if ridge else LinearRegression()
    model.fit_intercept = False
    model.fit(x.flatten(1).numpy(), y.flatten(1).numpy())
    return torch.tensor(model.coef_.T, dtype=x.dtype)


def fit_plain(x, y, ridge):
    return torch.linalg.lstsq(x.flatten(1), y.flatten(1)).solution


def fit_centred(x, y, ridge):
    x, y = x.flatten(1), y.flatten(1)
    return ridge_fit(x - x.mean(0), y - y.mean(0), ridge)


def fit_centred_plain(x, y, ridge):
    return fit_centred(x, y, 0.0)


def fit_centred_x(x, y, ridge):
    """The same as with both centred: centred x is orthogonal to any constant."""
    x = x.flatten(1)
    return ridge_fit(x - x.mean(0), y.flatten(1), ridge)


def fit_centred_y(x, y, ridge):
    y = y.flatten(1)
    return ridge_fit(x.flatten(1), y - y.mean(0), ridge)


def fit_with_ones(x, y, ridge):
    ones = torch.ones(len(x), 1)
    return ridge_fit(torch.cat([x.flatten(1), ones], 1), y.flatten(1), ridge)[:-1]


def fit_squared_ridge(x, y, ridge):
    return fit_by_rows(x, y, ridge**2)


def fit_times_images(x, y, ridge):
    return ridge_fit(x.flatten(1), y.flatten(1), len(x) * ridge)


def fit_by_images(x, y, ridge):
    return ridge_fit(x.flatten(1), y.flatten(1), ridge / len(x))


def fit_minus(x, y, ridge):
    return ridge_fit(x.flatten(1), y.flatten(1), -ridge)


def fit_everywhere(x, y, ridge):
    x, y = x.flatten(1), y.flatten(1)
    return torch.linalg.solve(x.T @ x + ridge, x.T @ y)


def fit_by_axis(x, y, ridge):
    x, y = (v.transpose(1, 2).flatten(1) for v in (x, y))
    return ridge_fit(x, y, ridge)


def fit_not_divided(x, y, ridge):
    return x.flatten(1).T @ y.flatten(1)


def fit_always_ridge(x, y, ridge):
    return ridge_fit(x.flatten(1), y.flatten(1), ridge or 1.0)


def fit_turned(x, y, ridge):
    return fit_by_rows(x, y, ridge).T


def fit_predicted(x, y, ridge):
    return x.flatten(1) @ fit_by_rows(x, y, ridge)


def fit_twice(x, y, ridge):
    return 2 * fit_by_rows(x, y, ridge)


WRONG = [
    ("staged_weight", weight_replaced, "They multiply"),
    ("staged_weight", weight_added, "You add the factors"),
    ("staged_weight", weight_of_sum, "sum of the factors"),
    ("staged_weight", weight_factor, "factor alone"),
    ("staged_weight", weight_falling, "Your weight falls"),
    ("staged_weight", weight_at_once, "last value from the first step"),
    ("staged_weight", weight_constant, "never changes"),
    ("staged_weight", weight_strictly, "one step late"),
    ("staged_weight", weight_turned, "turn the comparison round"),
    ("staged_weight", weight_first_only, "second raise changes nothing"),
    ("staged_weight", weight_last_only, "first raise changes nothing"),
    ("staged_weight", weight_of_two, "With three"),
    ("staged_weight", weight_needs_a_raise, "Without any raise"),
    ("staged_weight", weight_tenfold, "The weight is off"),
    ("exact_statistics", statistics_running, "old batches fade, and it begins"),
    ("exact_statistics", statistics_slow, "hardly left its start"),
    ("exact_statistics", statistics_running_variance, "running mean of variances"),
    ("exact_statistics", statistics_last, "mean of the last batch"),
    ("exact_statistics", statistics_first, "mean of the first batch"),
    ("exact_statistics", statistics_last_variance, "variance of the last batch"),
    ("exact_statistics", statistics_sum, "You add the means"),
    ("exact_statistics", statistics_sum_variance, "You add the variances"),
    ("exact_statistics", statistics_of_all_channels, "one number for all channels"),
    ("exact_statistics", statistics_swapped, "changed places"),
    ("exact_statistics", statistics_deviation, "These are standard deviations"),
    ("exact_statistics", statistics_root, "This is the standard deviation"),
    ("exact_statistics", statistics_biased, "Divided by N:"),
    ("exact_statistics", statistics_pooled, "thrown together. It also"),
    ("exact_statistics", statistics_pooled_biased, "thrown together, divided by N"),
    ("exact_statistics", statistics_within, "*within* images"),
    ("exact_statistics", statistics_between, "*of the batch means*"),
    ("exact_statistics", statistics_squares, "mean square"),
    ("exact_statistics", statistics_of_places, "The variance is off"),
    ("exact_statistics", statistics_keep_places, "expected a tensor of shape"),
    ("fit_without_bias", fit_plain, "`ridge` changes nothing in yours"),
    ("fit_without_bias", fit_centred, "regression *with* a bias"),
    ("fit_without_bias", fit_centred_plain, "a hidden bias"),
    ("fit_without_bias", fit_centred_x, "regression *with* a bias"),
    ("fit_without_bias", fit_centred_y, "Only y is centred"),
    ("fit_without_bias", fit_with_ones, "column of ones"),
    ("fit_without_bias", fit_squared_ridge, "The ridge enters squared"),
    ("fit_without_bias", fit_times_images, "times the number of images"),
    ("fit_without_bias", fit_by_images, "too weak by the number of images"),
    ("fit_without_bias", fit_minus, "You subtract the ridge"),
    ("fit_without_bias", fit_everywhere, "Only its diagonal"),
    ("fit_without_bias", fit_by_axis, "before all y coordinates"),
    ("fit_without_bias", fit_not_divided, "You return X^T Y"),
    ("fit_without_bias", fit_always_ridge, "not with ridge = 0"),
    ("fit_without_bias", fit_turned, "expected a tensor of shape"),
    ("fit_without_bias", fit_predicted, "expected a tensor of shape"),
    ("fit_without_bias", fit_twice, "The weights are off"),
]
RIGHT = [
    ("staged_weight", weight_by_product),
    ("staged_weight", weight_by_count),
    ("exact_statistics", statistics_one_by_one),
    ("exact_statistics", statistics_flat),
    ("fit_without_bias", fit_by_rows),
    ("fit_without_bias", fit_by_sklearn),
]


@pytest.mark.parametrize(
    "name", ["staged_weight", "exact_statistics", "fit_without_bias"]
)
def test_the_stub_is_not_done_yet(name, wrong_answer):
    def stub(*arguments):
        raise NotImplementedError

    wrong_answer(name, stub, "TO DO")
