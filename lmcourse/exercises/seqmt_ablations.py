"""Exercises of notebook 12: labels saved, and the interval of a paired difference."""

import math
import statistics

import torch
from scipy.stats import t as student

from lmcourse.evidence.effects import paired_interval
from lmcourse.exercises import exercise
from lmcourse.exercises.compare import close, first_hint

# ---- how many labels until this error? -----------------------------------------------


def labels_needed(percents, errors, target):
    for i in range(len(percents) - 1):
        if errors[i] >= target >= errors[i + 1] and errors[i] > errors[i + 1]:
            way = (errors[i] - target) / (errors[i] - errors[i + 1])  # 0 to 1
            ratio = percents[i + 1] / percents[i]
            return percents[i] * ratio**way  # a straight line over log(percent)
    return math.nan


@exercise(
    "labels_needed",
    solution=labels_needed,
    library=labels_needed,
    level="medium",
    minutes=15,
    example=([5, 10, 20], [4.0, 3.0, 2.0], 2.5),
)
def _examine_labels_needed(fn) -> str | None:
    percents, errors = [1.0, 4.0, 10.0, 50.0], [8.0, 4.0, 3.0, 1.0]
    for target in (6.0, 3.2, 2.0):
        right = labels_needed(percents, errors, target)
        i = max(k for k in range(3) if errors[k] >= target)
        way = (errors[i] - target) / (errors[i] - errors[i + 1])
        low, high = percents[i], percents[i + 1]
        power = math.log(errors[i] / target) / math.log(errors[i] / errors[i + 1])
        slips = {
            "This is the straight line over the percentage itself. Over its logarithm "
            "halfway between 1 % and 4 % is 2 %, not 2.5 %.": low + way * (high - low),
            "You walk the way from the wrong end: at the left error the answer is the "
            "left percentage.": low * (high / low) ** (1 - way),
            "This is the logarithm of the answer; take exp of it.": math.log(right),
            "This is log10 of the answer; take 10 to the power of it.": math.log10(
                right
            ),
            "Here the error is in logarithms as well; asked is a straight line of the "
            "error itself over log(percent).": low * (high / low) ** power,
            "This is a column of the table; interpolate between two of them.": high,
            "That is the column before the crossing; interpolate between it and the "
            "next.": low,
            "numpy.interp needs rising x values, and the errors fall: turn both lists "
            "around, or walk through the pairs yourself.": _interp(
                errors, percents, target
            ),
        }
        otherwise = f"For an error of {target}"
        hint = first_hint(fn(percents, errors, target), right, slips, otherwise)
        if hint:
            return hint
    for target, where in ((0.5, "below"), (9.0, "above")):
        if not close(fn(percents, errors, target), math.nan):
            return (
                f"A target {where} all measured errors was never reached between two "
                "columns: return math.nan instead of the last column or a guess."
            )
    bumpy = labels_needed([1.0, 5.0, 10.0, 20.0], [8.0, 3.0, 5.0, 2.0], 4.0)
    if not close(fn([1.0, 5.0, 10.0, 20.0], [8.0, 3.0, 5.0, 2.0], 4.0), bumpy):
        return (
            "Measured curves have bumps. Take the first pair of columns between which "
            "the error falls to the target."
        )
    return None


def _interp(errors, percents, target) -> float:
    import numpy

    return float(numpy.interp(target, errors, numpy.log(percents)))


# ---- is the difference more than luck? -----------------------------------------------


@exercise(
    "paired_interval",
    solution=paired_interval,
    library=paired_interval,
    level="medium",
    minutes=12,
    example=({0: 2.0, 1: 3.0, 2: 2.5}, {0: 3.0, 1: 3.5, 2: 3.5}),
)
def _examine_paired_interval(fn) -> str | None:
    ours = {0: 2.1, 1: 2.9, 2: 1.6, 3: 2.4, 7: 9.0}
    theirs = {3: 3.0, 2: 2.3, 1: 3.3, 0: 2.8, 5: 1.0, 9: 4.0}  # another order
    right = torch.tensor(paired_interval(ours, theirs), dtype=torch.float64)
    got = torch.tensor([float(x) for x in fn(ours, theirs)], dtype=torch.float64)
    seeds = [0, 1, 2, 3]
    a, b = [ours[s] for s in seeds], [theirs[s] for s in seeds]
    gaps = [x - y for x, y in zip(a, b, strict=True)]
    mean, sd, n = statistics.fmean(gaps), statistics.stdev(gaps), 4
    root, t95 = math.sqrt(n), student.ppf(0.95, 3)
    apart = math.sqrt(statistics.variance(a) + statistics.variance(b))
    every = statistics.fmean(ours.values()) - statistics.fmean(theirs.values())
    crossed = [x - y for x, y in zip(ours.values(), theirs.values(), strict=False)]

    def around(middle, half):
        return torch.tensor([middle, middle - half, middle + half], dtype=torch.float64)

    slips = {
        "The sign: asked is ours minus theirs, negative where ours has the smaller "
        "error.": around(-mean, t95 * sd / root),
        "1.645 is for many seeds. With n of them take Student's t: student.ppf(0.95, "
        "n - 1).": around(mean, 1.645 * sd / root),
        "1.96 is for many seeds, and for 95 %. With n of them take Student's t: "
        "student.ppf(0.95, n - 1).": around(mean, 1.96 * sd / root),
        "The t has n - 1 degrees of freedom, not n.": around(
            mean, student.ppf(0.95, n) * sd / root
        ),
        "90 % in the middle leaves 5 % at each end: ppf(0.95), not ppf(0.9).": around(
            mean, student.ppf(0.9, 3) * sd / root
        ),
        "That is the interval of 95 %. 90 % in the middle leaves 5 % at each end: "
        "ppf(0.95), not ppf(0.975).": around(mean, student.ppf(0.975, 3) * sd / root),
        "This is the spread of single seeds; the mean of n varies less: divide by "
        "sqrt(n).": around(mean, t95 * sd),
        "The deviation of a sample divides by n - 1 (statistics.stdev, not "
        "pstdev).": around(mean, t95 * statistics.pstdev(gaps) / root),
        "You treat the two as unrelated. Take the difference seed by seed first: what "
        "both share in a seed cancels.": around(mean, t95 * apart / root),
        "Pair the values by seed, not by their place in the dict: match the keys, and "
        "leave out seeds that only one of them has.": around(
            statistics.fmean(crossed),
            student.ppf(0.95, 4) * statistics.stdev(crossed) / math.sqrt(5),
        ),
    }
    if close(got[0], every) and not close(got[0], mean):
        return "Only seeds that both have can be paired: leave the others out."
    hint = first_hint(got, right, slips)
    if hint:
        return hint
    lonely = [float(x) for x in fn({0: 2.0}, {0: 3.0})]
    if lonely != [-1.0, -math.inf, math.inf]:
        return (
            "One common seed says nothing about luck: return the difference with the "
            "ends -math.inf and math.inf."
        )
    return None
