"""Exercises of notebook 03: wrong answers meet their own hint, right ones pass."""

import pytest
import torch

from lmcourse.exercises import check, examine, find
from lmlib import evaluation

# ---- wrong answers: (exercise, function, words of its own hint) ---------------------


def distance(pred, target):
    return (pred - target).norm(dim=-1)


def scale(target):
    return distance(target[:, :1], target[:, 1:2])  # (B, 1)


def unmasked(pred, target, visible):
    return (distance(pred, target) / scale(target)).mean()


def found_if_hidden(pred, target, visible):
    """The trap of a well-known evaluator: both sides multiplied by the visibility."""
    shown = visible[..., None]
    return (distance(pred * shown, target * shown) / scale(target)).mean()


def landmarks_at_once(pred, target, visible):
    return (distance(pred, target) / scale(target))[visible].mean()


def unnormalised(pred, target, visible):
    return distance(pred, target)[visible].mean()


def one_normaliser_for_all(pred, target, visible):
    return distance(pred, target)[visible].mean() / scale(target).mean()


def squared(pred, target, visible):
    error = (pred - target).square().sum(dim=-1) / scale(target)
    return (error * visible).sum(dim=1).div(visible.sum(dim=1)).mean()


def city_block(pred, target, visible):
    error = (pred - target).abs().sum(dim=-1) / scale(target)
    return (error * visible).sum(dim=1).div(visible.sum(dim=1)).mean()


def nan_from_empty_images(pred, target, visible):
    error = torch.where(visible, distance(pred, target) / scale(target), 0.0)
    return (error.sum(dim=1) / visible.sum(dim=1)).mean()


def zero_from_empty_images(pred, target, visible):
    error = torch.where(visible, distance(pred, target) / scale(target), 0.0)
    return (error.sum(dim=1) / visible.sum(dim=1).clamp(min=1)).mean()


def multiplied_by_zero(pred, target, visible):
    error = distance(pred, target) / scale(target) * visible
    seen = visible.sum(dim=1)
    return (error.sum(dim=1) / seen)[seen > 0].mean()


def in_percent(pred, target, visible):
    return 100 * find("masked_nme").solution(pred, target, visible)


def off_by_a_bit(pred, target, visible):
    return find("masked_nme").solution(pred, target, visible) + 0.01


NME = [
    (unmasked, "hidden landmarks still count"),
    (found_if_hidden, "as if it had been found"),
    (landmarks_at_once, "average within each image first"),
    (unnormalised, "by its own normaliser"),
    (one_normaliser_for_all, "divide first, average afterwards"),
    (squared, "squared distances"),
    (city_block, r"|dx| + |dy|"),
    (nan_from_empty_images, "0 / 0 = NaN"),
    (zero_from_empty_images, "not an error of zero"),
    (multiplied_by_zero, "0 * infinity is NaN"),
    (in_percent, "100 times this number"),
    (off_by_a_bit, "even with every landmark visible"),
]


def count_hidden(error, visible, thresholds):
    return (error[..., None] <= thresholds).float().mean(dim=(0, 1))


def hidden_is_found(error, visible, thresholds):
    return ((error * visible)[..., None] <= thresholds).float().mean(dim=(0, 1))


def hidden_is_missed(error, visible, thresholds):
    hit = (error[..., None] <= thresholds) & visible[..., None]
    return hit.float().mean(dim=(0, 1))


def images_first(error, visible, thresholds):
    hit = (error[..., None] <= thresholds) & visible[..., None]
    return (hit.sum(dim=1) / visible.sum(dim=1, keepdim=True)).mean(dim=0)


def strictly_below(error, visible, thresholds):
    return (error[visible] < thresholds[:, None]).float().mean(dim=1)


def as_percent(error, visible, thresholds):
    return 100 * (error[visible] <= thresholds[:, None]).float().mean(dim=1)


def as_count(error, visible, thresholds):
    return (error[visible] <= thresholds[:, None]).float().sum(dim=1)


def failures(error, visible, thresholds):
    return (error[visible] > thresholds[:, None]).float().mean(dim=1)


PCK = [
    (count_hidden, "use visible"),
    (hidden_is_found, "below every threshold"),
    (hidden_is_missed, "counts as missed"),
    (images_first, "average within images first"),
    (strictly_below, "use <="),
    (as_percent, "not percentages"),
    (as_count, "these are counts"),
    (failures, "share of failures"),
]


def fit(x, y, ridge):
    gram = x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(gram, x.T @ y)


def leak(x, y, x_test, ridge):
    x, y, x_test = x.flatten(1), y.flatten(1), x_test.flatten(1)
    weight = fit(x - x.mean(dim=0), y - y.mean(dim=0), ridge)
    return (y.mean(dim=0) + (x_test - x_test.mean(dim=0)) @ weight).unflatten(
        1, (-1, 2)
    )


def no_bias(x, y, x_test, ridge):
    return (x_test.flatten(1) @ fit(x.flatten(1), y.flatten(1), ridge)).unflatten(
        1, (-1, 2)
    )


def ones_column(x, y, x_test, ridge):
    x, x_test = (
        torch.nn.functional.pad(v.flatten(1), (0, 1), value=1.0) for v in (x, x_test)
    )
    return (x_test @ fit(x, y.flatten(1), ridge)).unflatten(1, (-1, 2))


def no_ridge(x, y, x_test, ridge):
    return evaluation.LandmarkRegression().fit(x, y).predict(x_test)


def ridge_over_mean(x, y, x_test, ridge):
    ridge = ridge * len(x)
    return evaluation.LandmarkRegression(ridge=ridge).fit(x, y).predict(x_test)


def ridge_squared(x, y, x_test, ridge):
    return evaluation.LandmarkRegression(ridge=ridge**2).fit(x, y).predict(x_test)


def forgot_the_mean(x, y, x_test, ridge):
    right = find("ridge_regression").solution(x, y, x_test, ridge)
    return right - y.mean(dim=0)


REGRESSION = [
    (leak, "the test set leaks in"),
    (no_bias, "there is no bias"),
    (ones_column, "shrinks the bias too"),
    (no_ridge, "ridge is not used"),
    (ridge_over_mean, "weighs N times as much"),
    (ridge_squared, "ridge is squared"),
    (forgot_the_mean, "not the least-squares fit with a bias"),
]


def eyes(left, right):
    def wrong(points):
        between = points[:, left].mean(dim=1) - points[:, right].mean(dim=1)
        return between.norm(dim=-1)

    return wrong


def x_only(points):
    middle = points[:, [36, 39]].mean(dim=1) - points[:, [42, 45]].mean(dim=1)
    return middle[:, 0].abs()


def squared_distance(points):
    return eyes([36, 39], [42, 45])(points).square()


def nose_to_chin(points):
    return eyes([30], [8])(points)


NORMALISER = [
    (eyes([36], [45]), "outer corners"),
    (eyes([39], [42]), "inner corners"),
    (eyes([37, 40], [43, 46]), "count from one"),
    (eyes([36, 37, 38, 39, 40, 41], [42, 43, 44, 45, 46, 47]), "all six points"),
    (x_only, "only x is used"),
    (squared_distance, "squared distance"),
    (nose_to_chin, "for five random layouts"),
]

# ---- verdicts over seeds ------------------------------------------------------------


def a_verdict(t, divide=True, difference=lambda a, b: a - b):
    def verdict(a, b):
        d, n = difference(a, b), len(a)
        if n < 2:
            return "open"
        half = t(n) * d.std() / (n**0.5 if divide else 1)
        above, below = d.mean() - half > 0, d.mean() + half < 0
        return "shown" if below else "refuted" if above else "open"

    return verdict


def student(level):
    from scipy.stats import t

    return lambda n: t.ppf(level, n - 1)


def the_lower_mean(a, b):
    return "shown" if a.mean() < b.mean() else "refuted"


def a_yes_or_a_no(a, b):
    return a.mean() < b.mean()


def from_one_seed(a, b):
    if len(a) < 2:
        return "shown" if a < b else "refuted"
    return a_verdict(student(0.95))(a, b)


def never_refuted(a, b):
    word = a_verdict(student(0.95))(a, b)
    return "open" if word == "refuted" else word


VERDICT = [
    (the_lower_mean, "the lower mean alone"),
    (a_yes_or_a_no, 'answer with "shown"'),
    (from_one_seed, "single seed"),
    (never_refuted, "refutes the claim"),
    (a_verdict(student(0.95), difference=lambda a, b: b - a), "the sign"),
    (a_verdict(lambda n: 1.645), "1.645"),
    (a_verdict(lambda n: 1.96), "with 1.96"),
    (a_verdict(student(0.975)), "interval of 95 %"),
    (a_verdict(student(0.9)), "interval of 80 %"),
    (a_verdict(student(0.95), divide=False), "divide by sqrt(n)"),
]


def verdict_by_half_widths(a, b):
    """The same by the t of the differences and its two tails."""
    from scipy.stats import ttest_1samp

    if len(a) < 2:
        return "open"
    low = ttest_1samp(a - b, 0.0, alternative="less").pvalue
    high = ttest_1samp(a - b, 0.0, alternative="greater").pvalue
    return "shown" if low < 0.05 else "refuted" if high < 0.05 else "open"


WRONG = {
    "verdict": VERDICT,
    "masked_nme": NME,
    "masked_pck": PCK,
    "ridge_regression": REGRESSION,
    "eye_centre_distance": NORMALISER,
}


@pytest.mark.parametrize(
    ("name", "fn", "words"),
    [(name, *case) for name, cases in WRONG.items() for case in cases],
)
def test_a_wrong_answer_meets_its_own_hint(name, fn, words):
    hint = examine(find(name), fn)
    assert hint is not None and words in hint


@pytest.mark.parametrize("name", WRONG)
def test_no_two_mistakes_share_a_hint(name):
    hints = [examine(find(name), fn) for fn, _ in WRONG[name]]
    assert len(set(hints)) == len(hints)


# ---- right answers ------------------------------------------------------------------


def nme_image_by_image(pred, target, visible):
    values = []
    for p, t, v in zip(pred, target, visible, strict=True):
        if v.any():
            distances = torch.hypot(*(p[v] - t[v]).T)
            values.append(distances.mean() / torch.hypot(*(t[0] - t[1])))
    return sum(values) / len(values)


def pck_by_sorting(error, visible, thresholds):
    values = error[visible].sort().values
    return torch.searchsorted(values, thresholds, right=True) / len(values)


def regression_by_stacking(x, y, x_test, ridge):
    """Augmented least squares with a column of ones that the ridge leaves alone."""
    x, y, x_test = x.flatten(1), y.flatten(1), x_test.flatten(1)
    ones = torch.ones_like(x[:, :1])
    rows = ridge**0.5 * torch.eye(x.shape[1] + 1, dtype=x.dtype)[:-1]
    left = torch.cat([torch.cat([x, ones], dim=1), rows])
    right = torch.cat([y, y.new_zeros(len(rows), y.shape[1])])
    weight = torch.linalg.lstsq(left, right).solution
    return (x_test @ weight[:-1] + weight[-1]).unflatten(1, (-1, 2))


def eyes_by_cdist(points):
    left = (points[:, 36] + points[:, 39]) / 2
    right = (points[:, 42] + points[:, 45]) / 2
    return torch.cdist(left[:, None], right[:, None])[:, 0, 0]


RIGHT = {
    "verdict": verdict_by_half_widths,
    "masked_nme": nme_image_by_image,
    "masked_pck": pck_by_sorting,
    "ridge_regression": regression_by_stacking,
    "eye_centre_distance": eyes_by_cdist,
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("which", ["solution", "library", "alternative"])
def test_right_answers_pass(name, which):
    task = find(name)
    fn = RIGHT[name] if which == "alternative" else getattr(task, which)
    assert examine(task, fn) is None


@pytest.mark.parametrize("name", RIGHT)
def test_an_empty_stub_falls_forward(name, capsys):
    def stub(*arguments):
        raise NotImplementedError

    assert check(name, stub) is find(name).library
    assert "not done yet" in capsys.readouterr().out
    assert check(name, RIGHT[name]) is RIGHT[name]
    assert "PASS" in capsys.readouterr().out
