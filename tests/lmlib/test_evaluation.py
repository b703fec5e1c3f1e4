"""Errors, normalisers, shares and regression: hand-computed cases, closed forms of
least squares in numpy, and every permutation tried."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from lmlib.evaluation import (
    NORMALISERS,
    FlipInvariantRegression,
    LandmarkRegression,
    area_under_curve,
    cumulative_curve,
    failure_rate,
    map_on_mask,
    match_landmarks,
    nme,
    normaliser_distance,
    pck,
    pdl,
    point_errors,
)
from lmlib.geometry import from_pixels

NAN = math.nan


def random_points(*shape, seed=0, low=-0.9, high=0.9):
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, 2, generator=generator)


def faces(batch=3, seed=0):
    """68 points; the eye centres are 0.8 apart, the outer corners 1.2."""
    points = random_points(batch, 68, seed=seed)
    for index, x in ((36, -0.6), (39, -0.2), (42, 0.2), (45, 0.6)):
        points[:, index] = torch.tensor([x, -0.3])
    return points


# --- distances ------------------------------------------------------------------------


def test_point_errors_in_both_units():
    target = torch.tensor([[[0.0, 0.0], [0.5, 0.5]]])
    pred = target + torch.tensor([[[0.3, 0.4], [0.0, -0.2]]])
    torch.testing.assert_close(point_errors(pred, target), torch.tensor([[0.5, 0.2]]))
    # 100 high and 200 wide: 0.3 across is 30 px, 0.4 down is 20 px
    expected = torch.tensor([[math.hypot(30, 20), 10.0]])
    torch.testing.assert_close(point_errors(pred, target, (100, 200)), expected)


def test_a_non_square_image_needs_its_size():
    """The same pixel error, across or down, is one number only when size is given."""
    target = from_pixels(torch.tensor([[[50.0, 50.0], [50.0, 50.0]]]), (100, 300))
    pred = from_pixels(torch.tensor([[[56.0, 50.0], [50.0, 56.0]]]), (100, 300))
    with_size = nme(pred, target, normaliser="pixels", size=(100, 300))
    assert with_size == pytest.approx(6.0, abs=1e-4)
    across, down = point_errors(pred, target)[0].tolist()
    assert down == pytest.approx(3 * across, rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("eye_centres", {}, 0.8),
        ("outer_corners", {}, 1.2),
        ("points", {"points": (36, 39)}, 0.4),
        ("image_edge", {}, 2.0),
        ("image_edge", {"size": (64, 80)}, 64.0),
        ("eye_centres", {"size": (100, 100)}, 40.0),
        ("pixels", {"size": (60, 60)}, 1.0),
    ],
)
def test_normalisers_of_68_points(kind, options, expected):
    distance = normaliser_distance(faces(), None, kind, **options)
    torch.testing.assert_close(distance, torch.full((3,), expected))


def test_eye_centres_average_the_corners_in_both_directions():
    face = faces(1)
    face[0, 36] += torch.tensor([0.0, 0.2])  # left centre moves down by 0.1
    distance = normaliser_distance(face, None, "eye_centres").item()
    assert distance == pytest.approx(math.hypot(0.8, 0.1), rel=1e-5)


def test_eyes_of_five_points_are_landmarks_0_and_1():
    points = torch.tensor([[[-0.3, 0.0], [0.3, 0.8], [0, 0], [-0.2, 0.5], [0.2, 0.5]]])
    assert normaliser_distance(points, None, "eye_centres").item() == pytest.approx(1.0)


def test_box_is_tight_around_what_is_visible():
    points = torch.tensor([[[-0.5, 0.0], [0.5, 0.25], [0.9, 0.9]]])
    visible = torch.tensor([[True, True, False]])
    box = normaliser_distance(points, visible, "box", size=(100, 200))
    assert box.item() == pytest.approx(math.sqrt(100 * 12.5), rel=1e-5)


def test_outer_corners_make_the_same_errors_look_smaller():
    target = faces()
    pred = target + 0.02
    centre = nme(pred, target, normaliser="eye_centres")
    outer = nme(pred, target, normaliser="outer_corners")
    assert centre == pytest.approx(0.02 * 2**0.5 / 0.8, rel=1e-4)
    assert outer / centre == pytest.approx(0.8 / 1.2, rel=1e-4)


# What each must say, or a reader takes one distance for the other.
SAYS = {
    "eye_centres": ("mean of its corners", "RCN", "landmarks 0 and 1"),
    "outer_corners": ("36, 45", "DVE", "1.4 times"),
    "points": ("points=(i, j)", "(0, 24)", "Seq-MT"),
    "image_edge": ("2 units", "shorter of H"),
    "box": ("sqrt(width * height)", "visible"),
    "pixels": ("size=(H, W)", "Blocks"),
}


def test_every_normaliser_says_what_it_is_for():
    assert {*SAYS} == {*NORMALISERS}
    for kind, words in SAYS.items():
        missing = [word for word in words if word not in NORMALISERS[kind]]
        assert not missing, (kind, missing)
    assert len({*NORMALISERS.values()}) == len(NORMALISERS)


# --- NME and its masks ----------------------------------------------------------------

# image 0: errors .1 and .3; image 1: error .8 and one hidden
TARGET = torch.tensor([[[0.0, 0.0], [0.5, 0.0]], [[0.0, 0.0], [0.5, 0.0]]])
PRED = TARGET + torch.tensor([[[0.1, 0], [0.3, 0]], [[0.8, 0], [0.2, 0]]])
VISIBLE = torch.tensor([[True, True], [True, False]])
EDGE = {"normaliser": "image_edge"}  # 2 units


def test_the_three_averages_by_hand():
    def value(average, visible):
        return 2 * nme(PRED, TARGET, visible, average=average, **EDGE)

    assert value("images", VISIBLE) == pytest.approx(((0.1 + 0.3) / 2 + 0.8) / 2)
    assert value("landmarks", VISIBLE) == pytest.approx((0.1 + 0.3 + 0.8) / 3)
    assert value("types", VISIBLE) == pytest.approx(((0.1 + 0.8) / 2 + 0.3) / 2)
    for average in ("images", "landmarks", "types"):
        assert value(average, None) == pytest.approx(1.4 / 4)


def test_per_image_errors_and_images_without_a_landmark():
    nothing = torch.tensor([[True, True], [False, False]])
    errors = nme(PRED, TARGET, nothing, per_image=True, **EDGE)
    assert errors[0].item() == pytest.approx(0.1)
    assert errors[1].isnan()
    assert nme(PRED, TARGET, nothing, **EDGE) == pytest.approx(0.1)


def test_a_hidden_landmark_counts_nowhere_even_as_nan():
    hidden = TARGET.clone()
    hidden[1, 1] = NAN
    assert nme(PRED, hidden, VISIBLE, **EDGE) == nme(PRED, TARGET, VISIBLE, **EDGE)
    # multiplying by the mask would call the hidden one found: 1/2 and 2/4 would differ
    assert pdl(PRED, hidden, VISIBLE, 0.2, (2, 2)) == pytest.approx(1 / 3)
    assert pdl(PRED, TARGET, None, 0.25, (2, 2)) == pytest.approx(2 / 4)
    assert pck(PRED, hidden, VISIBLE, 0.2, **EDGE) == pytest.approx(2 / 3)


def test_nme_does_not_depend_on_order_scale_or_place():
    target, pred = faces(4, seed=1), faces(4, seed=1) + 0.1 * random_points(4, 68)
    value = nme(pred, target)
    order = torch.tensor([2, 0, 3, 1])
    assert nme(pred[order], target[order]) == pytest.approx(value)
    moved = nme(0.5 * pred + 0.2, 0.5 * target + 0.2)
    assert moved == pytest.approx(value, rel=1e-4)
    assert nme(pred, target, size=(80, 80)) == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("why", ["zero", "hidden"])
def test_an_unusable_normaliser_is_an_error_or_left_out(why):
    target = faces(2)
    visible = torch.ones(2, 68, dtype=torch.bool)
    if why == "zero":
        target[1, 45] = target[1, 36]
    else:
        visible[1, 45] = False
    pred = target + 0.03
    with pytest.raises(ValueError, match=f"is {why} in image 1.*1 of 2.*drop_unusable"):
        nme(pred, target, visible, "outer_corners")
    kept = nme(pred, target, visible, "outer_corners", drop_unusable=True)
    assert kept == pytest.approx(nme(pred[:1], target[:1], None, "outer_corners"))
    with pytest.raises(ValueError, match="no image has both"):
        nme(pred[1:], target[1:], visible[1:], "outer_corners", drop_unusable=True)


def test_half_precision_predictions_are_measured_in_single():
    target = faces(2)
    value = nme(target.half() + 0.1, target)
    assert value == pytest.approx(0.1 * 2**0.5 / 0.8, rel=5e-3)


# --- shares and curves ----------------------------------------------------------------


def test_pck_includes_its_threshold_and_pdl_does_not():
    target = torch.zeros(1, 4, 2)
    pred = torch.tensor([[[0.0, 0], [0.25, 0], [0.5, 0], [1.0, 0]]])
    shares = pck(pred, target, None, [0.0, 0.25, 0.26, 0.5], normaliser="image_edge")
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.75, 0.75, 1.0]))
    # in an 8 x 8 image the errors are 0, 1, 2 and 4 px
    found = pdl(pred, target, None, [1, 2, 2.5, 5], size=(8, 8))
    torch.testing.assert_close(found, torch.tensor([0.25, 0.5, 0.75, 1.0]))
    assert isinstance(pdl(pred, target, None, 1, size=(8, 8)), float)


def test_the_threshold_of_dlan_scales_with_the_image():
    target, pred = random_points(40, 6), random_points(40, 6, seed=1) * 0.4
    at_512 = pdl(pred, target)
    assert 0 < at_512 < 0.5
    assert pdl(pred, target, None, 8.75, (128, 128)) == at_512
    assert pdl(pred, target, None, 35 / 256, (2, 2)) == at_512  # .137 in [-1, 1]


def test_cumulative_curve_and_failure_rate_by_hand():
    errors = torch.tensor([0.1, 0.2, NAN, 0.2, 0.5])
    curve = cumulative_curve(errors, [0.05, 0.1, 0.2, 0.4, 0.6])
    torch.testing.assert_close(curve, torch.tensor([0, 0.25, 0.75, 0.75, 1.0]))
    assert failure_rate(errors, 0.2) == pytest.approx(0.25)
    assert failure_rate(errors, 0.5) == 0


def test_area_under_curve_is_the_integral_of_the_curve():
    errors = torch.rand(200, generator=torch.Generator().manual_seed(0)) ** 2 * 0.3
    grid = np.linspace(0, 0.1, 20001)
    area = np.trapezoid(cumulative_curve(errors, list(grid)).numpy(), grid) / 0.1
    assert area_under_curve(errors, 0.1) == pytest.approx(area, abs=1e-4)
    assert area_under_curve(torch.zeros(3), 0.1) == 1
    assert area_under_curve(torch.ones(3), 0.1) == 0


# --- regression -----------------------------------------------------------------------


def regression_data(n=60, k=4, m=3, seed=0, noise=0.05):
    x = random_points(n, k, seed=seed)
    rng = np.random.default_rng(seed)
    weight, offset = rng.normal(size=(2 * k, 2 * m)), rng.normal(size=2 * m)
    y = x.flatten(1).numpy() @ weight + offset + noise * rng.normal(size=(n, 2 * m))
    return x, torch.tensor(y, dtype=torch.float32).unflatten(1, (m, 2))


def least_squares(x, y, new, bias, ridge=0.0):
    """Predictions ``(N, 2M)`` of the textbook's normal equations, in float64."""
    x, y, new = (t.flatten(1).double().numpy() for t in (x, y, new))
    x0, y0 = (x.mean(0), y.mean(0)) if bias else (0.0, 0.0)
    x, y = x - x0, y - y0
    weight = np.linalg.pinv(x.T @ x + ridge * np.eye(x.shape[1])) @ x.T @ y
    return torch.tensor((new - x0) @ weight + y0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ridge", [0.0, 0.7])
def test_regression_agrees_with_the_normal_equations(bias, ridge):
    x, y = regression_data()
    new = random_points(10, 4, seed=9)
    expected = least_squares(x, y, new, bias, ridge)
    ours = LandmarkRegression(bias, ridge).fit(x, y).predict(new.double())
    torch.testing.assert_close(ours.flatten(1), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("bias", [True, False])
def test_with_too_few_images_the_fit_has_the_least_norm(bias):
    x, y = regression_data(5, k=4)
    new = random_points(10, 4, seed=9)
    fit = LandmarkRegression(bias).fit(x, y)
    assert point_errors(fit.predict(x), y).max() < 1e-4  # five images fit exactly
    expected = least_squares(x, y, new, bias)
    ours = fit.predict(new.double()).flatten(1)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("m", [1, 3])
def test_weights_and_offsets_are_those_of_the_predictions(m):
    """A checkpoint keeps them: y = W x + b with the coordinates laid out in order."""
    x, y = regression_data(m=m)
    fit = LandmarkRegression().fit(x, y)
    assert fit.weight.shape == (8, 2 * m) and fit.offset.shape == (2 * m,)
    by_hand = x.flatten(1).double() @ fit.weight + fit.offset
    torch.testing.assert_close(fit.predict(x.double()).flatten(1), by_hand)


def test_bias_matters_when_the_points_are_off_centre():
    x, y = regression_data(noise=0)
    with_bias = LandmarkRegression(bias=True).fit(x, y).predict(x)
    without = LandmarkRegression(bias=False).fit(x, y).predict(x)
    assert point_errors(with_bias, y).max() < 1e-4
    assert point_errors(without, y).mean() > 0.3


def test_a_hidden_target_drops_its_row_for_that_landmark_only():
    x, y = regression_data()
    visible = torch.ones(60, 3, dtype=torch.bool)
    visible[:25, 1] = False
    spoilt = y.clone()
    spoilt[:25, 1] = NAN
    fit = LandmarkRegression().fit(x, spoilt, visible).predict(x)
    whole = LandmarkRegression().fit(x, y).predict(x)
    torch.testing.assert_close(fit[:, [0, 2]], whole[:, [0, 2]])
    expected = least_squares(x[25:], y[25:, 1:2], x, bias=True).float()
    torch.testing.assert_close(fit[:, 1], expected)
    assert (fit[:, 1] - whole[:, 1]).abs().max() > 1e-4  # the mask changed something


def test_ridge_rescues_as_many_images_as_unknowns():
    train, test = regression_data(20, k=10, noise=0.3), regression_data(200, k=10)
    errors = {}
    for ridge in (0.0, 1.0):
        fit = LandmarkRegression(bias=False, ridge=ridge).fit(*train)
        errors[ridge] = point_errors(fit.predict(test[0]), test[1]).mean().item()
    assert errors[0.0] > 2 * errors[1.0]


# --- which landmark is which ----------------------------------------------------------


def test_match_landmarks_undoes_a_permutation():
    target = random_points(20, 6)
    shuffle = torch.tensor([3, 1, 5, 0, 2, 4])
    pred = target[:, shuffle] + 0.02 * random_points(20, 6, seed=1)
    match = match_landmarks(pred, target)
    assert match.tolist() == shuffle.argsort().tolist()
    assert point_errors(pred[:, match], target).max() < 0.05


def test_one_match_for_all_images_shows_that_landmarks_swap():
    target = torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]]).repeat(10, 1, 1)
    pred = target.clone()
    pred[:4] = pred[:4].flip(1)  # 4 of 10 images swap
    match = match_landmarks(pred, target)
    assert match.tolist() == [0, 1]
    errors = point_errors(pred[:, match], target)
    assert errors.mean().item() == pytest.approx(0.4)


def test_match_landmarks_ignores_hidden_ones_and_leaves_spare_maps_over():
    target = torch.tensor([[[-0.5, 0.0], [0.5, 0.0]], [[-0.5, 0.0], [NAN, NAN]]])
    visible = torch.tensor([[True, True], [True, False]])
    pred = torch.tensor([[0.5, 0.1], [0.0, 0.05], [-0.5, 0.1]]).repeat(2, 1, 1)
    assert match_landmarks(pred, target, visible).tolist() == [2, 0]


def best_by_trying(pred, target, visible):
    """Every assignment tried: the one of least mean distance over visible landmarks,
    each landmark's mean taken over the images that show it."""
    pred, target, visible = pred.numpy(), target.numpy(), visible.numpy()
    far = np.linalg.norm(target[:, :, None] - pred[:, None], axis=-1)  # (B, K, J)
    costs = {}
    for chosen in itertools.permutations(range(pred.shape[1]), target.shape[1]):
        means = [
            far[visible[:, k], k, j].mean() if visible[:, k].any() else 0.0
            for k, j in enumerate(chosen)
        ]
        costs[chosen] = sum(means)
    return min(costs, key=costs.get), costs


@pytest.mark.parametrize("seed", range(20))
def test_match_landmarks_is_the_best_of_all_assignments(seed):
    """Hidden landmarks differ in number, so a sum in place of a mean chooses others."""
    generator = torch.Generator().manual_seed(seed)
    target, pred = random_points(6, 4, seed=seed), random_points(6, 5, seed=50 + seed)
    visible = torch.rand(6, 4, generator=generator) < torch.tensor([0.2, 0.9, 0.5, 1])
    visible[0] = True
    hidden = torch.where(visible[..., None], target, NAN)
    best, costs = best_by_trying(pred, target, visible)
    ours = tuple(match_landmarks(pred, hidden, visible).tolist())
    assert costs[ours] == pytest.approx(costs[best], abs=1e-6)


def test_a_sum_over_images_would_match_otherwise():
    """The cases above bite: without the mean, some are matched in another way."""
    different = 0
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        target = random_points(6, 4, seed=seed)
        pred = random_points(6, 5, seed=50 + seed)
        share = torch.tensor([0.2, 0.9, 0.5, 1])
        visible = torch.rand(6, 4, generator=generator) < share
        visible[0] = True
        best, _ = best_by_trying(pred, target, visible)
        everywhere, _ = best_by_trying(pred, target, torch.ones_like(visible))
        different += best != everywhere
    assert different >= 5


def test_the_border_of_a_mask_by_exact_fractions():
    """Points on every border of a pixel and of the image: a pixel holds its left and
    upper border, the image all but its right and lower one; one half is not above."""
    height, width = 4, 8  # powers of two: the borders are exact in floats
    values = torch.tensor([0.0, 0.25, 0.5, 0.500001, 0.75, 1.0, 0.0, 0.9])
    masks = values.roll(1).repeat(1, 2, height, 1)
    masks[0, 1] = masks[0, 0].flip(0) * torch.tensor([1.0, 0.0, 1.0, 1.0])[:, None]
    steps = torch.arange(-20, 21) / 16  # every border, middle, and beyond the image
    points = torch.cartesian_prod(steps, steps)[None]
    on = map_on_mask(points, masks)
    for (x, y), found in zip(points[0].tolist(), on[0].tolist(), strict=True):
        column = (Fraction(x) + 1) * width // 2
        row = (Fraction(y) + 1) * height // 2
        inside = 0 <= column < width and 0 <= row < height
        expected = [
            inside and masks[0, s, int(row), int(column)].item() > 0.5 for s in (0, 1)
        ]
        assert found == expected, (x, y)


def test_map_on_mask_reads_the_pixel_a_point_falls_in():
    masks = torch.zeros(1, 2, 4, 6)
    masks[0, 0, 1, 2] = 1  # row 1, column 2: x in [-1/3, 0), y in [-1/2, 0)
    masks[0, 1, 3, 5] = 0.6
    masks[0, 1, 0, 0] = 0.4  # less than half covered
    points = torch.tensor(
        [[[-0.3, -0.45], [-0.35, -0.45], [-0.01, -0.01], [0.99, 0.99], [-0.99, -0.99],
          [1.01, 0.99]]]
    )  # fmt: skip
    on = map_on_mask(points, masks)
    assert on[0, :, 0].tolist() == [True, False, True, False, False, False]
    assert on[0, :, 1].tolist() == [False, False, False, True, False, False]
    assert torch.equal(map_on_mask(points, masks > 0.5), on)


# --- bad input ------------------------------------------------------------------------

GOOD = torch.zeros(2, 5, 2)
BAD_NAN = GOOD.clone()
BAD_NAN[1, 3] = NAN
MASK = torch.ones(2, 5, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nme(GOOD[0], GOOD[0]), r"pred must be \(B, K, 2\), got \(5, 2\)"),
        (lambda: nme(torch.zeros(2, 5, 3), GOOD), r"got \(2, 5, 3\)"),
        (lambda: nme(GOOD[:1], GOOD, **EDGE), r"\(1, 5, 2\) but target is \(2, 5, 2\)"),
        (lambda: nme(GOOD[:0], GOOD[:0]), "empty batch"),
        (lambda: nme(GOOD[:, :0], GOOD[:, :0]), "K = 0"),
        (lambda: nme(BAD_NAN, GOOD, **EDGE), "pred holds NaN.*image 1, landmark 3"),
        (lambda: nme(GOOD, BAD_NAN, **EDGE), "target holds NaN.*image 1, landmark 3"),
        (lambda: nme(GOOD, GOOD, MASK.int(), **EDGE), "must be bool.*int32"),
        (lambda: nme(GOOD, GOOD, MASK[:, :4], **EDGE), r"must be \(2, 5\)"),
        (lambda: nme(GOOD, GOOD), "is zero in image 0"),
        (lambda: nme(GOOD, GOOD, ~MASK, **EDGE), "no image has both"),
        (lambda: nme(GOOD, GOOD, None, "inter_ocular"), "two different distances"),
        (lambda: nme(GOOD, GOOD, None, "edge"), "unknown normaliser 'edge'"),
        (lambda: nme(GOOD, GOOD, None, "outer_corners"), "knows 68 landmarks.*are 5"),
        (lambda: nme(GOOD, GOOD, None, "points"), "takes points"),
        (lambda: nme(GOOD, GOOD, points=(0, 1)), "takes points"),
        (lambda: nme(GOOD, GOOD, None, "points", points=(0, 5)), "out of 0..4"),
        (lambda: nme(GOOD, GOOD, None, "points", points=(1, 1)), "two different"),
        (lambda: nme(GOOD, GOOD, None, "pixels"), r"needs size=\(H, W\)"),
        (lambda: nme(GOOD, GOOD, None, "pixels", size=(0, 5)), "both positive"),
        (lambda: nme(GOOD, GOOD, average="all", **EDGE), "images, landmarks or types"),
        (lambda: nme(GOOD, GOOD, average="types", per_image=True), "goes with"),
        (lambda: point_errors(GOOD, BAD_NAN), "target holds NaN"),
        (lambda: pck(GOOD, GOOD, None, -0.1, **EDGE), ">= 0"),
        (lambda: pck(GOOD, GOOD, None, [], **EDGE), "a number or a list"),
        (lambda: pdl(GOOD, GOOD, ~MASK), "no landmark is visible"),
        (lambda: pdl(GOOD, GOOD, None, NAN), "finite"),
        (lambda: cumulative_curve(torch.tensor([NAN]), [0.1]), "all NaN"),
        (lambda: cumulative_curve(torch.tensor([-1.0]), [0.1]), "finite and >= 0"),
        (lambda: area_under_curve(torch.tensor([1.0]), 0), "limit must be positive"),
        (lambda: LandmarkRegression(ridge=-1), "ridge must be"),
        (lambda: LandmarkRegression().predict(GOOD), "call fit first"),
        (lambda: LandmarkRegression().fit(GOOD, GOOD[:1]), "2 images but y has 1"),
        (lambda: LandmarkRegression().fit(BAD_NAN, GOOD), "x holds NaN"),
        (lambda: LandmarkRegression().fit(GOOD, BAD_NAN), "y holds NaN"),
        (lambda: LandmarkRegression().fit(GOOD, GOOD, ~MASK), "visible in no image"),
        (
            lambda: LandmarkRegression().fit(GOOD, GOOD).predict(GOOD[:, :3]),
            "fitted on 5 discovered landmarks, got 3",
        ),
        (lambda: match_landmarks(GOOD[:, :4], GOOD), "J >= K"),
        (lambda: match_landmarks(BAD_NAN, GOOD), "pred holds NaN"),
        (lambda: map_on_mask(GOOD, torch.zeros(3, 1, 4, 4)), "with B = 2"),
        (lambda: map_on_mask(GOOD, torch.zeros(2, 4, 4)), r"must be \(B, S, H, W\)"),
        (lambda: map_on_mask(BAD_NAN, torch.zeros(2, 1, 4, 4)), "points holds NaN"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_gives_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


# --- left and right -------------------------------------------------------------------


def bodies(count=200, seed=0):
    """Landmarks x of bodies, and y with left and right exchanged in every other one."""
    generator = torch.Generator().manual_seed(seed)
    turn = 0.3 * torch.randn(count, 1, generator=generator)
    left = torch.tensor([[0.3, 0.0], [0.4, 0.6]]) + turn.unsqueeze(-1)
    right = left * torch.tensor([-1.0, 1.0]) + 2 * turn.unsqueeze(-1) * torch.tensor(
        [1.0, 0.0]
    )
    y = torch.stack([left[:, 0], right[:, 0], left[:, 1], right[:, 1]], 1)
    x = torch.cat([y, torch.ones(count, 1, 2)], 1)
    y[::2] = y[::2][:, [1, 0, 3, 2]]
    return x, y


def test_flipped_bodies_cost_nothing_where_left_and_right_are_free():
    x, y = bodies()
    free = FlipInvariantRegression([1, 0, 3, 2], [0, 2]).fit(x, y)
    plain = LandmarkRegression(bias=False).fit(x, y)
    assert free.errors(x, y).max() < 1e-3
    assert (plain.predict(x) - y).norm(dim=-1).mean() > 0.2


def test_frontal_bodies_have_their_left_on_the_right():
    regression = FlipInvariantRegression([1, 0, 3, 2], [0, 2])
    y = torch.tensor([[[0.3, 0], [-0.3, 0], [0.4, 1], [-0.4, 1.0]]])
    both = torch.cat([y, y[:, [1, 0, 3, 2]]])
    assert regression.frontal(both).tolist() == [True, False]
    with pytest.raises(ValueError, match="no image is seen from the front"):
        regression.fit(both[1:], both[1:])
    with pytest.raises(ValueError, match="must be a permutation"):
        FlipInvariantRegression([1, 1], [0])


def test_two_thirds_exactly_are_not_frontal():
    regression = FlipInvariantRegression([1, 0, 3, 2, 5, 4], [0, 2, 4])
    right, left = [[0.3, 0], [-0.3, 0]], [[-0.3, 0], [0.3, 0]]
    two, three = torch.tensor([right + right + left, right + right + right])
    assert regression.frontal(torch.stack([two, three])).tolist() == [False, True]


def test_between_left_and_right_stays_as_it_was_annotated(monkeypatch):
    regression = FlipInvariantRegression([1, 0], [0])
    y = torch.tensor([[[0.5, 0.0], [-0.5, 0.0]]]).expand(3, -1, -1)
    found = torch.stack([0 * y[0], 0.1 * y[0], -0.1 * y[0]])  # middle, own, other
    monkeypatch.setattr(regression.regression, "predict", lambda x: found)
    assert regression._flipped(y, y).tolist() == [False, False, True]


@pytest.mark.parametrize("rounds", [1, 2, 50])
def test_left_and_right_are_matched_as_a_plain_loop_matches_them(rounds):
    """Noise, bodies seen from the front and the back, and the middle of the body."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(40, 5, 2, generator=generator) * 0.4
    side = torch.tensor([[0.4, 0.0], [-0.4, 0.0], [0.3, 0.6], [-0.3, 0.6], [0, -0.5]])
    y = side + 0.2 * x.mean(1, keepdim=True)
    y = y + 0.05 * torch.randn(40, 5, 2, generator=generator)
    back = torch.rand(40, generator=generator) < 0.4
    swap = [1, 0, 3, 2, 4]
    y[back] = y[back][:, swap]
    ours = FlipInvariantRegression(swap, [0, 2]).fit(x, y, rounds)

    front = (y[:, 0, 0] > y[:, 1, 0]) & (
        y[:, 2, 0] > y[:, 3, 0]
    )  # more than two thirds
    truth, fit_on = y.clone(), front
    for _ in range(rounds):
        shown = least_squares(x[fit_on], truth[fit_on], x, bias=False).view(40, 5, 2)
        fit_on = torch.ones(40, dtype=torch.bool)
        chosen = truth.clone()
        for image in range(40):
            own, other = y[image], y[image][swap]
            far = [(shown[image] - t).norm(dim=-1).mean() for t in (own, other)]
            chosen[image] = other if far[1] < far[0] else own
        if torch.equal(chosen, truth) and fit_on.all():
            break
        truth = chosen
    shown = least_squares(x, truth, x, bias=False).view(40, 5, 2)
    torch.testing.assert_close(ours.predict(x), shown.float(), atol=1e-5, rtol=0)
    nearer = [
        min((shown[i] - t).norm(dim=-1).mean().item() for t in (y[i], y[i][swap]))
        for i in range(40)
    ]
    torch.testing.assert_close(
        ours.errors(x, y), torch.tensor(nearer), atol=1e-5, rtol=0
    )
    turned = (truth != y).flatten(1).any(1)
    assert 5 < turned.sum() < 35  # some were exchanged, and not all


@pytest.mark.parametrize("size", [(3, 4, 5), (3,), (0, 4), (4, -1)])
def test_a_size_is_a_height_and_a_width(size, unchecked):
    points = torch.zeros(1, 2, 2)
    with pytest.raises(ValueError, match=r"size must be \(H, W\), both positive, got"):
        point_errors(points, points, size=size)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("pixels", "found"), [(34.97, 1.0), (35.03, 0.0)])
def test_dlans_limit_is_35_pixels_of_512_on_both_axes(axis, pixels, found):
    points = torch.zeros(1, 1, 2)
    points[..., axis] = 2 * pixels / 512
    assert pdl(points, torch.zeros(1, 1, 2)) == found
