"""Exercises of notebook 03: errors under a mask, PCK, regression, the normaliser, and
when a difference between two settings has been shown."""

import numpy as np
import torch
from torch.nn.functional import pad

from lmcourse.evidence.effects import OPEN, REFUTED, SHOWN, estimate, simulate, stands
from lmcourse.exercises import exercise
from lmcourse.exercises.compare import close, first_hint
from lmlib import evaluation

# ---- The normalised mean error, with hidden landmarks --------------------------------


def masked_nme_solution(pred, target, visible):
    error = (pred - target).norm(dim=-1)  # (B, K)
    scale = (target[:, 0] - target[:, 1]).norm(dim=-1)  # (B,)
    error = torch.where(visible, error, 0.0)
    seen = visible.sum(dim=1)  # (B,)
    per_image = error.sum(dim=1) / seen / scale
    return per_image[seen > 0].mean()


def masked_nme_library(pred, target, visible):
    return evaluation.nme(pred, target, visible, normaliser="points", points=(0, 1))


def marked_faces():
    """Six images of four landmarks: predictions, truth, and who is visible."""
    generator = torch.Generator().manual_seed(3)
    target = torch.rand(6, 4, 2, generator=generator) * 2 - 1
    target[:, 1] = target[:, 0] + torch.tensor([0.3, 0.4]) * torch.arange(1, 7)[:, None]
    pred = target + 0.2 * torch.randn(6, 4, 2, generator=generator)
    visible = torch.ones(6, 4, dtype=torch.bool)
    visible[1, 2] = visible[2, 2] = visible[2, 3] = visible[4, 3] = False
    return pred, target, visible


@exercise(
    "masked_nme",
    solution=masked_nme_solution,
    library=masked_nme_library,
    level="medium",
    minutes=12,
    example=lambda: (
        torch.zeros(1, 3, 2),
        torch.tensor([[[0.1, 0.0], [0.5, 0.3], [0.0, 9.0]]]),
        torch.tensor([[True, True, False]]),
    ),
)
def examine_masked_nme(fn):
    pred, target, visible = marked_faces()
    offset = pred - target
    error, counts = offset.norm(dim=-1), visible.sum(dim=1)
    scale = (target[:, :1] - target[:, 1:2]).norm(dim=-1)  # (B, 1)
    everyone, relative = torch.ones_like(visible), error / scale
    seen = torch.where(visible, relative, 0.0)
    wanted = masked_nme_library(pred, target, visible)
    hint = first_hint(
        fn(pred, target, everyone),
        relative.mean(),
        {
            "divide each image's errors by its own normaliser": error.mean(),
            "you divide the mean error by the mean normaliser; each image has its own: "
            "divide first, average afterwards": error.mean() / scale.mean(),
            "these are squared distances; take the square root (norm(dim=-1))": (
                error.square() / scale
            ).mean(),
            "|dx| + |dy| is not the distance; use norm(dim=-1)": (
                offset.abs().sum(dim=-1) / scale
            ).mean(),
            "give the share; tables print 100 times this number": 100 * relative.mean(),
        },
        "even with every landmark visible the mean of error / ruler differs",
    ) or first_hint(
        fn(pred, target, visible),
        wanted,
        {
            "hidden landmarks still count: use visible": relative.mean(),
            "multiplied by the mask, a hidden landmark has error 0 and still counts, "
            "as if it had been found: divide by how many are visible": seen.mean(),
            "you average over all landmarks at once, so images with hidden ones count "
            "less; average within each image first": seen.sum() / counts.sum(),
        },
        "with four landmarks hidden",
    )
    if hint:
        return hint
    visible[5] = False
    got, wanted = fn(pred, target, visible), masked_nme_library(pred, target, visible)
    if not close(got, wanted):
        if torch.as_tensor(got).isnan():
            return (
                "an image without any visible landmark gives 0 / 0 = NaN, and one NaN "
                "spoils the mean: leave such images out"
            )
        return (
            "an image without any visible landmark has no error to report, not an "
            "error of zero: leave it out of the mean over images"
        )
    target[1, 2] = float("inf")
    if not close(fn(pred, target, visible), wanted):
        return (
            "a hidden landmark's coordinates may be anything, even infinity or NaN; "
            "0 * infinity is NaN: choose with torch.where(visible, error, 0.0) instead"
        )
    return None


# ---- Percentage of correct keypoints -------------------------------------------------


def masked_pck_solution(error, visible, thresholds):
    counted = error[visible]  # (N,) the errors that exist
    return (counted <= thresholds[:, None]).float().mean(dim=1)


def masked_pck_library(error, visible, thresholds):
    return evaluation.cumulative_curve(error[visible], thresholds.tolist())


@exercise(
    "masked_pck",
    solution=masked_pck_solution,
    library=masked_pck_library,
    level="easy",
    minutes=8,
    example=(
        torch.tensor([[0.02, 0.09]]),
        torch.tensor([[True, True]]),
        torch.tensor([0.05, 0.1]),
    ),
)
def examine_masked_pck(fn):
    error = torch.tensor(
        [[0.01, 0.04, 0.07, 0.30], [0.02, 0.06, 0.11, 0.00], [0.03, 0.09, 0.20, 0.02]]
    )
    limits = torch.tensor([0.035, 0.08, 0.15])
    everyone = torch.ones_like(error, dtype=torch.bool)
    visible = everyone.clone()
    visible[0, 3] = visible[1, 3] = visible[1, 2] = False
    hit = error <= limits[:, None, None]  # (T, B, K)
    share, both = hit.float().mean(dim=(1, 2)), (hit & visible).float()
    zeroed = error * visible <= limits[:, None, None]
    per_image = both.sum(dim=2) / visible.sum(dim=1)
    hint = first_hint(
        fn(error, everyone, limits),
        share,
        {
            "give shares between 0 and 1, not percentages": 100 * share,
            "these are counts; divide by how many there are": hit.sum(dim=(1, 2)),
            "this is the share of failures; PCK counts error <= threshold": 1 - share,
        },
        "even with everything visible a share differs",
    ) or first_hint(
        fn(error, visible, limits),
        masked_pck_library(error, visible, limits),
        {
            "hidden landmarks still count; use visible": share,
            "error * visible is 0 where hidden, below every threshold: hidden ones "
            "count as found. Select with error[visible]": zeroed.float().mean((1, 2)),
            "a hidden landmark counts as missed; take it out of the divisor "
            "too": both.mean(dim=(1, 2)),
            "you average within images first; PCK counts all visible landmarks of all "
            "images together": per_image.mean(dim=1),
        },
        "with three landmarks hidden a share differs",
    )
    edge = torch.tensor([[0.25, 0.5]])
    if not hint and not close(fn(edge, edge > 0, torch.tensor([0.25])), [0.5]):
        return "an error equal to the threshold counts as correct: use <="
    return hint


# ---- Regression from discovered to annotated landmarks -------------------------------


def ridge_regression_solution(x, y, x_test, ridge):
    x, x_test, y = x.flatten(1), x_test.flatten(1), y.flatten(1)  # (N, 2K), (N, 2M)
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)  # of the training images
    x = x - x_mean
    gram = x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(gram, x.T @ (y - y_mean))  # (2K, 2M)
    return (y_mean + (x_test - x_mean) @ weight).unflatten(1, (-1, 2))


def ridge_regression_library(x, y, x_test, ridge):
    fitted = evaluation.LandmarkRegression(bias=True, ridge=ridge).fit(x, y)
    return fitted.predict(x_test)


def discovered_and_annotated():
    """Thirty training and seven test images, float64, an offset between the frames."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(37, 3, 2, generator=generator, dtype=torch.float64) * 0.4 + 0.2
    mix = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    y = (x.flatten(1) @ mix + torch.tensor([0.5, -0.3, 0.2, 0.4])).unflatten(1, (2, 2))
    y = y + 0.1 * torch.randn(37, 2, 2, generator=generator, dtype=torch.float64)
    return x[:30], y[:30], x[30:] + 0.3, 2.0


def _bias_shrunk(x, y, x_test, ridge, ones=1):
    """Fits that treat the bias wrongly: none at all, or one that the ridge shrinks."""
    x, x_test = (pad(v.flatten(1), (0, ones), value=1.0) for v in (x, x_test))
    gram = x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(gram, x.T @ y.flatten(1))
    return (x_test @ weight).unflatten(1, (-1, 2))


@exercise(
    "ridge_regression",
    solution=ridge_regression_solution,
    library=ridge_regression_library,
    level="hard",
    minutes=20,
    example=(
        torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]]]),
        torch.tensor([[[0.0, 1.0]], [[2.0, 1.0]]]),
        torch.tensor([[[2.0, 0.0]]]),
        0.5,
    ),
)
def examine_ridge_regression(fn):
    *data, ridge = x, y, x_test, _ = discovered_and_annotated()

    def right(ridge):
        return ridge_regression_library(*data, ridge)

    got = fn(*data, ridge)
    if not close(fn(x, y, x_test[:1], ridge), got[:1]):
        return (
            "the prediction for one test image changes with the other test images: "
            "means must come from the training images, or the test set leaks in"
        )
    no_bias = (
        "there is no bias: subtract the training means of x and y, and add the mean of "
        "y back at the end"
    )
    return first_hint(
        fn(*data, 0.0),
        right(0.0),
        {no_bias: _bias_shrunk(*data, 0.0, ones=0)},
        "already without a ridge this is not the least-squares fit with a bias; "
        "flatten to (N, 2K) and (N, 2M), centre both, solve, add the mean of y back",
    ) or first_hint(
        got,
        right(ridge),
        {
            "ridge is not used": right(0.0),
            "you divide the squares by the number of images, so the ridge weighs N "
            "times as much; here: x.T @ x + ridge * I": right(ridge * len(x)),
            "ridge is squared: add ridge * I, not ridge ** 2 * I": right(ridge**2),
            "the ridge shrinks the bias too; a shift of the frame should cost nothing: "
            "centre x and y, no column of ones": _bias_shrunk(*data, ridge),
        },
        "with ridge > 0 the predictions are not right yet",
    )


# ---- The normaliser ------------------------------------------------------------------


def eye_centre_distance_solution(points):
    left = points[:, [36, 39]].mean(dim=1)  # (B, 2) the mean of the two corners
    right = points[:, [42, 45]].mean(dim=1)
    return (left - right).norm(dim=-1)


def eye_centre_distance_library(points):
    return evaluation.normaliser_distance(points, None, "eye_centres")


def _one_face():
    """One face whose points are all 0 but 36 (-0.4, 0), 39 (-0.2, 0), 42 (0.2, 0.3)
    and 45 (0.4, 0.5)."""
    points = torch.zeros(1, 68, 2)
    points[0, [36, 39], 0] = torch.tensor([-0.4, -0.2])
    points[0, [42, 45]] = torch.tensor([[0.2, 0.3], [0.4, 0.5]])
    return (points,)


@exercise(
    "eye_centre_distance",
    solution=eye_centre_distance_solution,
    library=eye_centre_distance_library,
    level="easy",
    minutes=5,
    example=_one_face,
)
def examine_eye_centre_distance(fn):
    generator = torch.Generator().manual_seed(11)
    points = torch.rand(5, 68, 2, generator=generator) * 2 - 1

    def between(left, right):
        return points[:, left].mean(dim=1) - points[:, right].mean(dim=1)

    def length(left, right):
        return between(left, right).norm(dim=-1)

    centres = between([36, 39], [42, 45])
    hints = {
        "this is the distance of the outer corners: about 1.4 times as long, so the "
        "error looks about 0.7 times as large": length([36], [45]),
        "this is the distance of the inner corners; take the middle of each "
        "eye": length([39], [42]),
        "37, 40, 43, 46 count from one; Python counts from zero: 36, 39, 42, "
        "45": length([37, 40], [43, 46]),
        "this is the mean of all six points of an eye; RCN and Seq-MT take the mean of "
        "the two corners (36, 39 and 42, 45)": length(range(36, 42), range(42, 48)),
        "only x is used; when the head leans, the eyes differ in height": centres[
            :, 0
        ].abs(),
        "this is the squared distance": centres.square().sum(dim=-1),
    }
    otherwise = "for five random layouts one distance differs"
    return first_hint(fn(points), centres.norm(dim=-1), hints, otherwise)


# ---- A verdict over seeds ------------------------------------------------------------

WORDS = {SHOWN: "shown", OPEN: "open", REFUTED: "refuted"}


def verdict_solution(a, b):
    from scipy.stats import t as student

    d = a - b  # seed by seed: what both share in a seed is gone
    n = len(d)
    if n < 2:
        return "open"  # one difference has no spread
    half = student.ppf(0.95, n - 1) * d.std().item() / n**0.5  # 5 % on each side
    if d.mean() + half < 0:
        return "shown"
    return "refuted" if d.mean() - half > 0 else "open"


def verdict_library(a, b):
    found = estimate("difference", a.numpy(), b.numpy())
    return WORDS[int(stands(found.low, found.high, "<", 0.0))]


def _verdict(
    a, b, t=None, freedom=0, root=True, unbiased=True, paired=True, level=0.95
):
    """A verdict with one slip."""
    from scipy.stats import t as student

    d, n = a - b, len(a)
    wide = d.std(unbiased=unbiased) if paired else (a.var() + b.var()).sqrt()
    t = student.ppf(level, n - 1 + freedom) if t is None else t
    half = t * wide / (n**0.5 if root else 1)
    if d.mean() + half < 0:
        return "shown"
    return "refuted" if d.mean() - half > 0 else "open"


@exercise(
    "verdict",
    solution=verdict_solution,
    library=verdict_library,
    level="medium",
    minutes=12,
    example=(torch.tensor([3.0, 3.4, 2.9]), torch.tensor([3.6, 3.9, 3.6])),
)
def examine_verdict(fn):
    pairs = []
    for n in (2, 3, 4, 6):
        for effect in (-1.0, -0.4, 0.5):
            look = {"draws": 40, "shared": 1.0, "mean": 5.0, "seed": n}
            runs = torch.tensor(
                np.stack(simulate(effect, 0.5, n, **look))
            )  # (2, draws, n)
            pairs += list(runs.unbind(1))
    right = [verdict_solution(*pair) for pair in pairs]
    got = [fn(*pair) for pair in pairs]
    strange = [word for word in got if word not in WORDS.values()]
    if strange:
        return f'answer with "shown", "open" or "refuted", not {strange[0]!r}'
    if got == right:
        one = fn(torch.tensor([2.0]), torch.tensor([3.0]))
        if one != "open":
            return 'a single seed has no spread, so nothing is known about luck: "open"'
        return None
    lower = ["shown" if a.mean() < b.mean() else "refuted" for a, b in pairs]
    slips = {
        "that is the lower mean alone: half of all experiments in which nothing is "
        "different would be called shown": lower,
        "the sign: the claim is that a has the smaller error, so shown means that "
        "a - b lies below zero": [_verdict(b, a) for a, b in pairs],
        "you take 1.645 (or 1.96), which is for many seeds; with n of them Student's t "
        "is wider: student.ppf(0.95, n - 1)": [_verdict(*x, t=1.645) for x in pairs],
        "with 1.96 you take a normal distribution; with few seeds Student's t is "
        "wider: student.ppf(0.95, n - 1)": [_verdict(*x, t=1.96) for x in pairs],
        "that is an interval of 95 %; the course's rule leaves 5 % on each side: "
        "student.ppf(0.95, n - 1)": [_verdict(*x, level=0.975) for x in pairs],
        "that is an interval of 80 %; 90 % in the middle leave 5 % on each side: "
        "ppf(0.95)": [_verdict(*x, level=0.9) for x in pairs],
        "the t has n - 1 degrees of freedom, not n": [
            _verdict(*x, freedom=1) for x in pairs
        ],
        "the mean of n differences varies less than one of them: divide by sqrt(n)": [
            _verdict(*x, root=False) for x in pairs
        ],
        "the deviation of a sample divides by n - 1 (unbiased=True)": [
            _verdict(*x, unbiased=False) for x in pairs
        ],
        "you treat a and b as unrelated; subtract seed by seed first: what both share "
        "in a seed cancels": [_verdict(*x, paired=False) for x in pairs],
        "an interval that lies above zero refutes the claim; it is not open": [
            "open" if word == "refuted" else word for word in right
        ],
    }
    for hint, wrong in slips.items():
        if got == wrong:
            return hint
    at = next(i for i, (x, y) in enumerate(zip(got, right, strict=True)) if x != y)
    d = [round(x, 2) for x in (pairs[at][0] - pairs[at][1]).tolist()]
    return f"for the differences {d} the verdict is {right[at]!r}, not {got[at]!r}"
