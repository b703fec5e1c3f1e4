"""The exercises of notebook 42 accept what is right, and name each typical slip."""

import numpy as np
import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)
from scipy import stats

# ---- gain_shares ---------------------------------------------------------------------


def shares_by_sums(rates):
    added = np.diff(rates.numpy())
    return torch.from_numpy(np.cumsum(added) / added.sum()).float()


def shares_each(rates):
    return rates.diff() / rates.diff().sum()


# ---- dose_response -------------------------------------------------------------------


def dose_by_scipy(a, b, c, d):
    lost = (a - b - c + d).numpy()
    return float(lost.mean()), float(stats.sem(lost))


def dose_sign(a, b, c, d):
    return dose_by_scipy(c, d, a, b)


def dose_unpaired(a, b, c, d):
    error = sum(stats.sem(x.numpy()) ** 2 for x in (a, b, c, d)) ** 0.5
    return dose_by_scipy(a, b, c, d)[0], float(error)


def dose_deviation(a, b, c, d):
    mean, error = dose_by_scipy(a, b, c, d)
    return mean, error * len(a) ** 0.5


def dose_by_number(a, b, c, d):
    mean, error = dose_by_scipy(a, b, c, d)
    return mean, error / len(a) ** 0.5


def dose_population(a, b, c, d):
    lost = (a - b - c + d).numpy()
    return float(lost.mean()), float(stats.sem(lost, ddof=0))


def dose_hard_only(a, b, c, d):
    return dose_by_scipy(a, b, 0 * c, 0 * d)


def dose_worlds(a, b, c, d):
    return dose_by_scipy(a, 0 * b, c, 0 * d)


def dose_ratio(a, b, c, d):
    return dose_by_scipy((a - b) / (c - d), 0 * b, 0 * c, 0 * d)


SHARES, DOSE = "gain_shares", "dose_response"
WRONG = [
    (SHARES, shares_each, "what each step adds by itself"),
    (SHARES, lambda r: r[1:] / r[-1], "take rates[0] off above and below"),
    (SHARES, lambda r: (r[1:] - r[0]) / r[-1], "not by the last rate"),
    (SHARES, lambda r: (r[1:] - r[0]) / r[0], "not by the first rate"),
    (SHARES, lambda r: r[1:] - r[0], "gains in points"),
    (SHARES, lambda r: (r[-1] - r[1:]) / (r[-1] - r[0]), "still missing"),
    (SHARES, lambda r: 100 * (r[1:] - r[0]) / (r[-1] - r[0]), "not percent"),
    (SHARES, lambda r: (r - r[0]) / (r[-1] - r[0]), "expected a tensor of shape (4,)"),
    (DOSE, dose_sign, "The sign"),
    (DOSE, dose_unpaired, "paired by seed"),
    (DOSE, dose_deviation, "deviation of the seeds"),
    (DOSE, dose_by_number, "not by their number"),
    (DOSE, dose_population, "S - 1"),
    (DOSE, dose_hard_only, "gain in the hard world alone"),
    (DOSE, dose_worlds, "harder for everybody"),
    (DOSE, dose_ratio, "may be zero"),
]
RIGHT = [(SHARES, shares_by_sums), (DOSE, dose_by_scipy)]
