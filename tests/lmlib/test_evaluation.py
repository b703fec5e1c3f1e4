"""Errors, normalisers, shares and regression: hand-computed cases and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge

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


def test_every_normaliser_says_what_it_is_for():
    for kind, words in NORMALISERS.items():
        assert len(words) > 30, kind


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


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ridge", [0.0, 0.7])
def test_regression_agrees_with_scikit_learn(bias, ridge):
    x, y = regression_data()
    new = random_points(10, 4, seed=9)
    if ridge:
        oracle = Ridge(alpha=ridge, fit_intercept=bias)
    else:
        oracle = LinearRegression(fit_intercept=bias)
    oracle.fit(x.flatten(1).double(), y.flatten(1).double())
    expected = torch.as_tensor(oracle.predict(new.flatten(1).double())).float()
    ours = LandmarkRegression(bias, ridge).fit(x, y).predict(new)
    torch.testing.assert_close(ours, expected.unflatten(1, (3, 2)))


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
    rows = LinearRegression().fit(x[25:].flatten(1).double(), y[25:, 1].double())
    expected = torch.as_tensor(rows.predict(x.flatten(1).double())).float()
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
