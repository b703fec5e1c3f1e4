"""When may one say "better"? The one rule behind verdicts, notebooks and figures.

An **effect** is how two settings differ, or how one differs from a number. Runs are
paired by seed: the same seed means the same data in the same order, and the same first
weights where the networks are the same. Of each pair one number is kept,

    d = a - b        a difference
    d = log(a / b)   a ratio: the interval is of the mean log, and then exp of it
    d = a            one setting, to be held against a number

and n pairs give the mean of d and its interval (Student's t, n - 1 degrees of freedom)

    mean(d) -+ t * s / sqrt(n),   s: the sample deviation of d over the n pairs.

Where no seeds are shared it is Welch's: mean(a) - mean(b) -+ t * sqrt(va/n + vb/m) with
Satterthwaite's degrees of freedom. One pair has no interval: its ends are infinite.

**The rule**: an effect is shown when its whole interval lies on one side of the bound
(1 for a ratio, 0 for a difference), refuted when it lies on the other side, and open
when the bound is inside. The interval holds 90 %, so an effect that does not exist is
shown in at most 5 of 100 experiments, and one that does is refuted in at most 5.

``a`` and ``b`` are arrays whose last axis is the seeds; leading axes are independent
experiments, so the same functions judge one table or 10,000 simulated ones.
"""

import math
import statistics
from dataclasses import dataclass

import numpy as np

LEVEL = 0.90  # of the interval: at most 5 % of wrong answers on either side
NORMAL = 1.6449  # half a 90 % interval of a normal distribution, in deviations
POWER = 0.80  # "n seeds decide": in 4 of 5 experiments
KINDS = ("ratio", "difference", "value")
SHOWN, OPEN, REFUTED = 1, 0, -1


# --- intervals ------------------------------------------------------------------------


def interval(d, level: float = LEVEL):
    """Mean of ``d (..., n)`` over the last axis and the ends of its interval.

    Returns three arrays ``(...)``; the ends are infinite for n = 1.
    """
    d = np.asarray(d, dtype=float)
    n = d.shape[-1]
    with np.errstate(over="ignore", invalid="ignore"):  # of 1e300 no square is finite
        mean = d.mean(-1)
        if n < 2:
            return mean, np.full_like(mean, -np.inf), np.full_like(mean, np.inf)
        half = _student(level, n - 1) * d.std(-1, ddof=1) / math.sqrt(n)
        return mean, mean - half, mean + half


def welch(a, b, level: float = LEVEL):
    """The same for ``mean(a) - mean(b)`` of runs that share no seeds.

    ``a (..., n)`` and ``b (..., m)`` need two runs each; ValueError for fewer.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    n, m = a.shape[-1], b.shape[-1]
    if min(n, m) < 2:
        raise ValueError(f"runs without shared seeds: two each, got {n} and {m}")
    with np.errstate(over="ignore", invalid="ignore"):  # 0 / 0 where all are alike
        mean = a.mean(-1) - b.mean(-1)
        va, vb = a.var(-1, ddof=1) / n, b.var(-1, ddof=1) / m
        freedom = (va + vb) ** 2 / (va**2 / (n - 1) + vb**2 / (m - 1))
        freedom = np.where(np.isfinite(freedom), freedom, n + m - 2)
        half = _student(level, freedom) * np.sqrt(va + vb)
        return mean, mean - half, mean + half


def _student(level: float, freedom):
    from scipy.stats import t

    return t.ppf((1 + level) / 2, freedom)


def paired_interval(ours, theirs, level: float = LEVEL):
    """Mean of ours minus theirs over the seeds both have, and its interval.

    ``ours`` and ``theirs`` map a seed to a value; with logarithms in place of values,
    exp of the three numbers is a ratio with the interval that verdicts use.
    """
    from scipy.stats import t as student

    seeds = sorted(set(ours) & set(theirs))
    gaps = [ours[seed] - theirs[seed] for seed in seeds]
    mean, n = statistics.fmean(gaps), len(gaps)
    if n < 2:
        return mean, -math.inf, math.inf  # one seed says nothing about luck
    share = (1 + level) / 2  # 0.95 leaves 5 % on each side
    half = student.ppf(share, n - 1) * statistics.stdev(gaps) / math.sqrt(n)
    return mean, mean - half, mean + half


@dataclass(frozen=True)
class Estimate:
    """An effect as measured, with its interval, in its own unit (a ratio is a ratio).

    ``n`` counts pairs of seeds (runs of the smaller group without pairs); ``spread`` is
    the deviation of d from pair to pair, nan for one pair.
    """

    value: float
    low: float
    high: float
    n: int
    spread: float
    paired: bool = True


def estimate(
    kind: str, a, b=None, *, paired: bool = True, level: float = LEVEL
) -> Estimate:
    """One effect from the values of its runs, ``a (n,)`` and ``b (n,)`` in one order.

    Without ``paired`` they are independent, and may differ in number. A ratio needs
    positive values; ValueError otherwise.
    """
    a = _per_pair(kind, np.asarray(a, dtype=float))
    b = None if b is None else _per_pair(kind, np.asarray(b, dtype=float))
    with np.errstate(over="ignore", invalid="ignore"):
        if b is None or paired:
            d = a if b is None else a - b
            ends, n = interval(d, level), len(d)
            spread = float(d.std(ddof=1)) if n > 1 else math.nan
        else:
            ends, n = welch(a, b, level), min(len(a), len(b))
            spread = math.sqrt(a.var(ddof=1) + b.var(ddof=1))
        if kind == "ratio":
            ends = np.exp(ends)
    value, low, high = (float(end) for end in ends)
    return Estimate(value, low, high, n, spread, paired)


def _per_pair(kind: str, values):
    """What is averaged: logs for a ratio."""
    if kind not in KINDS:
        raise ValueError(f"an effect is one of {', '.join(KINDS)}; got {kind!r}")
    if kind != "ratio":
        return values
    if not (values > 0).all():
        raise ValueError(f"a ratio needs values above zero, got {values.min():g}")
    return np.log(values)


# --- the rule -------------------------------------------------------------------------


def stands(low, high, side: str, bound: float):
    """``SHOWN``, ``REFUTED`` or ``OPEN``, for intervals of any shape.

    ``side``: "<" if the claim puts the effect below ``bound``, ">" if above.
    """
    if side not in ("<", ">"):
        raise ValueError(f"the claimed side is '<' or '>', got {side!r}")
    below, above = np.asarray(high) < bound, np.asarray(low) > bound
    shown, refuted = (below, above) if side == "<" else (above, below)
    return shown.astype(int) - refuted.astype(int)


def passes(control: Estimate, shown: Estimate, side: str, bound: float) -> bool:
    """Does a negative control show the effect too, so that it explains nothing?

    With an interval: if that lies on the claimed side. One run has none, and passes if
    it lies as far beyond the bound as the shown effect's interval begins.
    """
    if control.n > 1:
        return bool(stands(control.low, control.high, side, bound) == SHOWN)
    if side == "<":
        return control.value <= shown.high < bound
    return control.value >= shown.low > bound


def distance(kind: str, size: float, side: str, bound: float) -> float:
    """How far ``size`` lies beyond the bound on the claimed side, in units of d."""
    size, bound = (float(_per_pair(kind, np.asarray(x))) for x in (size, bound))
    return bound - size if side == "<" else size - bound


def shares(effect: float, spread: float, seeds: int, level: float = LEVEL):
    """How often experiments with a true ``effect`` end as shown, refuted and open.

    ``effect`` is the true mean of d beyond the bound (0: there is none), ``spread`` the
    deviation of d from pair to pair. Exact for normal d: the noncentral t distribution
    with ``effect / spread * sqrt(seeds)``. Returns three shares that sum to 1.
    """
    from scipy.stats import nct

    if seeds < 1 or spread < 0:
        raise ValueError(f"needs seeds >= 1, spread >= 0; got {seeds}, {spread}")
    if seeds == 1:
        return 0.0, 0.0, 1.0
    if spread == 0:
        return float(effect > 0), float(effect < 0), float(effect == 0)
    limit = _student(level, seeds - 1)
    centre = min(max(effect / spread * math.sqrt(seeds), -1e3), 1e3)
    shown = float(nct.sf(limit, seeds - 1, centre))
    refuted = float(nct.sf(limit, seeds - 1, -centre))
    return shown, refuted, max(0.0, 1 - shown - refuted)


def seeds_needed(
    effect: float, spread: float, power: float = POWER, most: int = 200
) -> int | None:
    """The fewest seeds that show ``effect`` with probability ``power``; None if more
    than ``most`` would be needed. ValueError unless the effect is above 0."""
    if not effect > 0:
        raise ValueError(f"no number of seeds shows an effect of {effect}")
    for seeds in range(2, most + 1):
        if shares(effect, spread, seeds)[0] >= power:
            return seeds
    return None


# --- the part of the test images ------------------------------------------------------


def test_set_error(kind: str, a, b=None) -> float:
    """Standard error of d that comes from which images were drawn for the test.

    ``a`` and ``b (seeds, images)`` hold the errors of single images, in one order; the
    images are the same for all seeds, so averages over seeds come first. For a
    difference it is the deviation of ``a - b`` over images, divided by sqrt(images);
    for the log of a ratio of means, to first order, that of ``a / mean(a) - b /
    mean(b)``. Images that are nan anywhere were not judged and count in neither.
    """
    a = np.asarray(a, dtype=float)
    b = np.zeros_like(a) if b is None else np.asarray(b, dtype=float)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f"needs (seeds, images) twice, got {a.shape} and {b.shape}")
    judged = ~(np.isnan(a) | np.isnan(b)).any(0)
    a, b = a[:, judged].mean(0), b[:, judged].mean(0)
    if len(a) < 2:
        return math.nan
    if kind == "ratio":
        if not (a.mean() > 0 and b.mean() > 0):
            return math.nan
        a, b = a / a.mean(), b / b.mean()
    return float((a - b).std(ddof=1) / math.sqrt(len(a)))


test_set_error.__test__ = False  # pytest: not a test


# --- experiments with a known truth ---------------------------------------------------


def simulate(
    effect: float,
    spread: float,
    seeds: int,
    *,
    draws: int = 1,
    shared: float = 0.0,
    mean: float = 0.0,
    seed: int = 0,
):
    """Runs of two settings whose true difference is known: ``a`` and ``b (draws,
    seeds)``.

    Each seed brings luck that both settings share (deviation ``shared``: the images,
    their order) and luck of their own, so that ``a - b`` has the mean ``effect`` and
    the deviation ``spread``. ``b`` has the mean ``mean``.
    """
    if seeds < 1 or draws < 1 or min(spread, shared) < 0:
        raise ValueError(
            "needs seeds and draws of at least 1 and spreads of at least 0, got "
            f"{seeds}, {draws}, {spread} and {shared}"
        )
    generator = np.random.default_rng(seed)
    common, own, other = generator.standard_normal((3, draws, seeds))
    common = mean + shared * common
    a = effect + common + spread / math.sqrt(2) * own
    return a, common + spread / math.sqrt(2) * other


@dataclass(frozen=True)
class Experiment:
    """One simulated experiment: the runs ``(seeds,)`` of both and what they show."""

    a: np.ndarray
    b: np.ndarray
    estimate: Estimate
    stands: int  # SHOWN, OPEN or REFUTED, for the claim "a lies on `side` of b"


def experiment(
    effect: float, spread: float, seeds: int, *, side: str = "<", **options
) -> Experiment:
    """Draw one experiment and judge it; ``options`` go to ``simulate``.

    ``experiment(-1.0, 0.5, seeds=3, mean=4.0, shared=1.0, seed=7)``: is a better than
    b, whose errors are 1 apart?
    """
    (a,), (b,) = simulate(effect, spread, seeds, **options)
    found = estimate("difference", a, b)
    return Experiment(a, b, found, int(stands(found.low, found.high, side, 0.0)))
