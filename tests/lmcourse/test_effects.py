"""The rule that says "better": against scipy, and on experiments with a known truth."""

import math

import numpy as np
import pytest
from scipy import stats

from lmcourse.evidence.effects import (
    LEVEL,
    OPEN,
    REFUTED,
    SHOWN,
    distance,
    estimate,
    experiment,
    interval,
    paired_interval,
    seeds_needed,
    shares,
    simulate,
    stands,
    test_set_error,
    welch,
)
from lmcourse.exercises import find

A, B = [2.1, 2.9, 1.6, 2.4], [2.8, 3.3, 2.3, 3.0]
DRAWS = 10_000
# Of 10,000 draws, 5 % are 500; four standard errors of that are 87.
AT_MOST = 0.05 + 4 * math.sqrt(0.05 * 0.95 / DRAWS)


# --- intervals, against scipy ---------------------------------------------------------


def test_a_difference_is_scipys_paired_t():
    found = estimate("difference", A, B)
    theirs = stats.ttest_rel(A, B).confidence_interval(LEVEL)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    assert found.value == pytest.approx(np.mean(A) - np.mean(B))
    assert (found.n, found.paired) == (4, True)


def test_a_ratio_is_the_same_in_logarithms():
    found = estimate("ratio", A, B)
    theirs = stats.ttest_rel(np.log(A), np.log(B)).confidence_interval(LEVEL)
    assert (found.low, found.high) == pytest.approx(tuple(np.exp(theirs)))
    assert found.value == pytest.approx(stats.gmean(A) / stats.gmean(B))
    other = estimate("ratio", B, A)  # turned around, it is one over it
    assert (1 / other.high, 1 / other.low) == pytest.approx((found.low, found.high))


def test_one_setting_is_scipys_t_of_one_sample():
    found = estimate("value", A)
    theirs = stats.ttest_1samp(A, 0).confidence_interval(LEVEL)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))


def test_without_shared_seeds_it_is_scipys_welch():
    found = estimate("difference", A, B[:3], paired=False)
    theirs = stats.ttest_ind(A, B[:3], equal_var=False).confidence_interval(LEVEL)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    assert (found.n, found.paired) == (3, False)
    with pytest.raises(ValueError, match="two each, got 4 and 1"):
        welch(A, B[:1])
    assert welch([1.0, 1.0], [2.0, 2.0]) == (-1, -1, -1)


def test_pairs_tell_more_than_runs_apart():
    together, apart = (estimate("difference", A, B, paired=p) for p in (True, False))
    assert together.high < 0 < apart.high


def test_one_pair_has_no_interval():
    found = estimate("ratio", [2.0], [4.0])
    assert (found.value, found.low, found.high, found.n) == (0.5, 0, math.inf, 1)
    assert math.isnan(found.spread)
    assert stands(found.low, found.high, "<", 1) == OPEN


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="above zero, got -1"):
        estimate("ratio", [1.0, -1.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="got 'sum'"):
        estimate("sum", A, B)
    with pytest.raises(ValueError, match="got '='"):
        stands(0, 1, "=", 1)
    with pytest.raises(ValueError, match="seeds >= 1"):
        shares(1, 1, 0)
    with pytest.raises(ValueError, match="at least 1"):
        simulate(1, 1, 0)
    with pytest.raises(ValueError, match="no number of seeds"):
        seeds_needed(0, 1)


def test_the_exercise_and_the_notebooks_use_the_same_function():
    from lmcourse.exercises import seqmt_ablations

    assert find("paired_interval").solution is paired_interval
    assert seqmt_ablations.paired_interval is paired_interval  # notebook 32
    ours, theirs = dict(enumerate(A)), dict(enumerate(B))
    mean, low, high = interval(np.array(A) - np.array(B), 0.90)
    assert paired_interval(ours, theirs) == pytest.approx((mean, low, high))


# --- the rule -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "below", "above"),
    [
        (0.5, 0.9, SHOWN, REFUTED),
        (0.5, 1.0, OPEN, OPEN),  # the bound itself is not beyond it
        (0.5, 1.1, OPEN, OPEN),
        (1.1, 1.2, REFUTED, SHOWN),
        (-math.inf, math.inf, OPEN, OPEN),
        (math.nan, math.nan, OPEN, OPEN),
    ],
)
def test_where_an_interval_stands(low, high, below, above):
    assert stands(low, high, "<", 1) == below
    assert stands(low, high, ">", 1) == above


def test_the_distance_of_a_size_from_the_bound():
    assert distance("ratio", 0.5, "<", 1) == pytest.approx(math.log(2))
    assert distance("ratio", 0.5, ">", 1) == pytest.approx(-math.log(2))
    assert distance("difference", -3, "<", 0) == 3
    assert distance("value", 0.99, ">", 0.9) == pytest.approx(0.09)


# --- on experiments with a known truth ------------------------------------------------


def judged(effect, spread, seeds, paired=True):
    """Shares of 10,000 simulated experiments that are shown, refuted and open."""
    a, b = simulate(effect, spread, seeds, draws=DRAWS, shared=2.0, mean=1, seed=1)
    ends = interval(a - b) if paired else welch(a, b)
    found = stands(ends[1], ends[2], "<", 0)
    return [float((found == x).mean()) for x in (SHOWN, REFUTED, OPEN)]


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("effect", [0.0, 0.3, 2.0])
def test_reproduced_is_seldom_wrong(seeds, effect):
    """No effect, or one the other way: at most 5 of 100 are called shown."""
    shown, _, _ = judged(effect, 1.0, seeds)
    assert shown <= AT_MOST
    if effect == 0:  # and the interval is no wider than it must be
        assert shown >= 0.05 - (AT_MOST - 0.05)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("effect", [-0.01, -0.3, -2.0])
def test_contradicted_is_seldom_wrong(seeds, effect):
    assert judged(effect, 1.0, seeds)[1] <= AT_MOST


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_without_pairs_it_is_seldom_wrong_too(seeds):
    shown, refuted, _ = judged(0.0, 1.0, seeds, paired=False)
    assert max(shown, refuted) <= AT_MOST


@pytest.mark.parametrize("effect", [-3.0, -1.0, -0.2, 0.0, 0.5])
@pytest.mark.parametrize("seeds", [1, 2, 3, 6])
def test_the_exact_shares_are_those_of_simulated_experiments(effect, seeds):
    exact = shares(-effect, 1.0, seeds)
    assert sum(exact) == pytest.approx(1)
    assert exact == pytest.approx(judged(effect, 1.0, seeds), abs=0.02)


def test_more_seeds_less_spread_and_larger_effects_show_more():
    for more, less in (((1, 1, 4), (1, 1, 3)), ((1, 0.5, 3), (1, 1, 3)),
                       ((2, 1, 3), (1, 1, 3))):  # fmt: skip
        assert shares(*more)[0] > shares(*less)[0]
    assert shares(100, 0.001, 2)[0] == pytest.approx(1)  # far off, and still a number
    assert shares(0.5, 0, 2) == (1, 0, 0)


@pytest.mark.parametrize("effect", [0.3, 1.0, 2.5, 8.0])
def test_the_seeds_needed_are_the_fewest_that_do(effect):
    needed = seeds_needed(effect, 1.0)
    assert shares(effect, 1.0, needed)[0] >= 0.8
    assert needed == 2 or shares(effect, 1.0, needed - 1)[0] < 0.8
    assert seeds_needed(0.001, 1.0) is None


def test_simulated_runs_have_the_spread_and_the_luck_they_share():
    a, b = simulate(0.5, 0.4, 3, draws=20_000, shared=2.0, mean=7.0, seed=3)
    assert a.shape == (20_000, 3)
    assert (a - b).mean() == pytest.approx(0.5, abs=0.01)
    assert (a - b).std() == pytest.approx(0.4, abs=0.01)
    assert b.mean() == pytest.approx(7.0, abs=0.05)
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] == pytest.approx(4 / 4.08, abs=0.01)


def test_one_experiment_for_a_widget():
    clear = experiment(-3.0, 0.2, 4, mean=5.0, shared=1.0, seed=2)
    assert clear.stands == SHOWN and clear.estimate.high < 0
    assert clear.estimate == estimate("difference", clear.a, clear.b)
    assert experiment(3.0, 0.2, 4, seed=2).stands == REFUTED
    assert experiment(3.0, 0.2, 4, side=">", seed=2).stands == SHOWN
    assert experiment(-3.0, 0.2, 1, seed=2).stands == OPEN
    again = experiment(-3.0, 0.2, 4, mean=5.0, shared=1.0, seed=2)
    assert (again.a == clear.a).all()  # the same number, the same experiment


# --- the part of the test images ------------------------------------------------------


@pytest.mark.parametrize("kind", ["difference", "ratio"])
def test_the_test_sets_part_is_what_other_test_sets_would_show(kind):
    """Against test sets drawn anew, 2,000 of them."""
    rng = np.random.default_rng(0)
    hard = rng.gamma(2.0, 2.0, (2000, 200))  # (test sets, images): some are hard
    a = hard * 0.8 + rng.gamma(2.0, 0.2, hard.shape)
    b = hard + rng.gamma(2.0, 0.2, hard.shape)
    means = a.mean(1), b.mean(1)
    effects = (
        means[0] - means[1] if kind == "difference" else np.log(a.mean(1) / means[1])
    )
    guesses = [
        test_set_error(kind, x[None], y[None]) for x, y in zip(a, b, strict=True)
    ]
    assert np.mean(guesses) == pytest.approx(effects.std(), rel=0.05)
    alone = test_set_error("value", a[:1])
    assert alone == pytest.approx(a[0].std(ddof=1) / math.sqrt(200))


def test_images_that_were_not_judged_count_in_neither():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 3, 50))
    expected = test_set_error("difference", a[:, 1:], b[:, 1:])
    a[1, 0] = math.nan
    assert test_set_error("difference", a, b) == pytest.approx(expected)
    assert math.isnan(test_set_error("difference", a[:, :1], b[:, :1]))
    with pytest.raises(ValueError, match=r"\(3, 50\) and \(3, 49\)"):
        test_set_error("difference", a, b[:, 1:])
