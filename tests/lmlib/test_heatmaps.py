"""lmlib.heatmaps against independent answers: SciPy, closed forms, differences."""

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy
from torch.testing import assert_close

from lmlib.geometry import from_pixels, pixel_grid, to_pixels
from lmlib.heatmaps import (
    entropy,
    expected_points,
    gaussian_maps,
    hard_argmax,
    soft_argmax,
    spatial_softmax,
    spread,
)

BETAS = (1e-3, 1e-2, 0.1, 1.0, 10.0, 1e2, 1e3, 1e4)
SIZES = (
    (8, 8),
    (13, 13),
    (32, 32),
    (60, 60),
    (128, 128),
    (256, 256),
    (24, 96),
    (96, 24),
)


def random_scores(*shape, seed=0, scale=1.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator).to(dtype)


def reference_points(scores, beta=1.0):
    """Soft-argmax in float64 NumPy: one map at a time, one pixel at a time."""
    scores = np.asarray(scores.double())
    out = np.zeros((*scores.shape[:2], 2))
    height, width = scores.shape[2:]
    for b, k in np.ndindex(*scores.shape[:2]):
        weights = softmax(beta * scores[b, k])
        for (row, column), weight in np.ndenumerate(weights):
            centre = (2 * column + 1) / width - 1, (2 * row + 1) / height - 1
            out[b, k] += weight * np.array(centre)
    return torch.from_numpy(out)


def parabola(points, size, sigma):
    """Scores whose softmax at beta = 1 is a Gaussian of `sigma` pixels at `points`."""
    pixels = to_pixels(pixel_grid(*size, dtype=points.dtype), size)
    centre = to_pixels(points, size)[:, :, None, None]
    return -(pixels - centre).square().sum(-1) / (2 * sigma**2)


# ---- softmax over space --------------------------------------------------------------


@pytest.mark.parametrize("beta", BETAS)
def test_softmax_is_scipys(beta):
    scores = random_scores(2, 3, 7, 9, dtype=torch.float64)
    expected = softmax(beta * scores.numpy(), axis=(2, 3))
    assert_close(spatial_softmax(scores, beta), torch.from_numpy(expected))


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("scale", (1e-6, 1.0, 1e4, 1e34))
def test_no_beta_overflows(beta, scale):
    probabilities = spatial_softmax(random_scores(2, 2, 8, 8, scale=scale), beta)
    assert torch.isfinite(probabilities).all()
    assert_close(probabilities.sum(dim=(2, 3)), torch.ones(2, 2))


def test_each_map_has_its_own_softmax():
    scores = random_scores(2, 3, 5, 5)
    changed = scores.clone()
    changed[1, 2] *= 7
    same = spatial_softmax(scores) == spatial_softmax(changed)
    assert same.flatten(2).all(-1).tolist() == [[True] * 3, [True, True, False]]


@pytest.mark.parametrize("shift", (-1e4, -3.5, 1e4))
def test_adding_a_constant_to_the_scores_changes_nothing(shift):
    scores = random_scores(1, 2, 16, 16, dtype=torch.float64)
    assert_close(spatial_softmax(scores + shift, 5.0), spatial_softmax(scores, 5.0))


def test_scaling_the_scores_is_scaling_beta():
    scores = random_scores(1, 2, 16, 16)
    assert_close(spatial_softmax(3 * scores, 2.0), spatial_softmax(scores, 6.0))


def test_one_beta_per_map():
    scores = random_scores(2, 3, 6, 6)
    betas = torch.tensor([[0.1], [1.0], [20.0]])  # (K, 1)
    together = soft_argmax(scores, betas)
    for k, beta in enumerate(betas.flatten().tolist()):
        assert_close(together[:, k : k + 1], soft_argmax(scores[:, k : k + 1], beta))


# ---- soft-argmax: where it lands -----------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_gaussian_is_found_between_the_pixels(size):
    """To 0.002 px, if the Gaussian keeps five sigma from the border."""
    generator = torch.Generator().manual_seed(1)
    span = torch.tensor([size[1], size[0]])
    sigma = 1.2 if min(size) > 8 else 0.7
    margin = 5 * sigma
    low, high = margin - 0.5, span - 0.5 - margin
    pixels = low + (high - low) * torch.rand(4, 3, 2, generator=generator)
    found = soft_argmax(parabola(from_pixels(pixels, size), size, sigma))
    assert (to_pixels(found, size) - pixels).abs().max() < 2e-3  # pixels


@pytest.mark.parametrize("size", ((8, 8), (5, 11), (11, 5), (1, 6), (1, 1)), ids=str)
@pytest.mark.parametrize("beta", (1e-3, 1.0, 50.0, 1e4))
def test_soft_argmax_is_the_loop_over_pixels(size, beta):
    scores = random_scores(2, 2, *size)
    assert_close(soft_argmax(scores, beta).double(), reference_points(scores, beta))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_limits_of_beta(size):
    scores = random_scores(2, 3, *size, seed=3)
    flat = scores.flatten(2)
    scores = flat.scatter_add(2, flat.argmax(-1, True), torch.ones(2, 3, 1)).view_as(
        scores
    )
    assert soft_argmax(scores, 1e-6).abs().max() < 1e-5  # the centre of the image
    assert_close(soft_argmax(scores, 1e4), hard_argmax(scores))


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("size", ((8, 8), (60, 60), (256, 256)), ids=str)
def test_every_beta_at_every_size(size, beta):
    scores = random_scores(1, 2, *size, seed=4)
    found = soft_argmax(scores, beta)
    expected = expected_points(
        torch.from_numpy(softmax(beta * scores.double().numpy(), axis=(2, 3)))
    )
    assert_close(found.double(), expected, atol=2e-5, rtol=0)  # 0.003 px at 256


@pytest.mark.parametrize("columns", (-5, 0, 7))
@pytest.mark.parametrize("rows", (-4, 0, 6))
def test_moving_the_map_moves_the_point(rows, columns):
    size = (40, 56)
    scores = parabola(torch.tensor([[[0.1, -0.05]]]), size, 1.5).clamp(min=-60)
    moved = scores.roll((rows, columns), dims=(2, 3))  # nothing but -60 wraps around
    shift = torch.tensor([columns, rows]) * 2 / torch.tensor([size[1], size[0]])
    for find in (soft_argmax, hard_argmax):
        assert_close(find(moved), find(scores) + shift, atol=1e-5, rtol=0)


def test_x_is_the_column_and_y_the_row():
    scores = torch.full((1, 1, 4, 10), -50.0)
    scores[0, 0, 1, 8] = 50.0
    expected = torch.tensor([[[2 * 8.5 / 10 - 1, 2 * 1.5 / 4 - 1]]])
    assert_close(soft_argmax(scores), expected)
    assert_close(hard_argmax(scores), expected)


def test_two_equal_peaks_average():
    points = torch.tensor([[[-0.6, 0.0], [0.6, 0.0]]])
    scores = 20 * gaussian_maps(points, (41, 41), 1.5).sum(1, keepdim=True)
    assert_close(soft_argmax(scores), torch.zeros(1, 1, 2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16))
@pytest.mark.parametrize("size", ((8, 8), (60, 60), (256, 256)), ids=str)
@pytest.mark.parametrize("beta", (1e-3, 1.0, 1e4))
def test_half_precision_scores(dtype, size, beta):
    """The only loss is the rounding of the scores themselves, which we do not count."""
    scores = random_scores(2, 2, *size, scale=100.0, seed=5).to(dtype)
    found = soft_argmax(scores, beta)
    expected = expected_points(
        torch.from_numpy(softmax(beta * scores.double().numpy(), axis=(2, 3)))
    )
    assert found.dtype == torch.float32
    assert_close(found.double(), expected, atol=2e-5, rtol=0)
    for measure in (spread, entropy, expected_points):
        assert measure(spatial_softmax(scores, beta)).dtype == torch.float32
    assert hard_argmax(scores).dtype == torch.float32
    assert_close(hard_argmax(scores), hard_argmax(scores.float()))


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16))
def test_half_precision_points_make_full_precision_maps(dtype):
    points = torch.tensor([[[0.77, -0.31]]], dtype=dtype)
    maps = gaussian_maps(points, (300, 300), 2.0)
    assert maps.dtype == torch.float32
    assert_close(maps, gaussian_maps(points.float(), (300, 300), 2.0))


def test_autocast_leaves_points_in_full_precision():
    points = torch.tensor([[[0.313, -0.471]]])
    scores = parabola(points, (256, 256), 2.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, width = soft_argmax(scores), spread(spatial_softmax(scores))
    assert found.dtype == width.dtype == torch.float32
    assert_close(found, points, atol=1e-5, rtol=0)


def test_float64_stays_float64():
    scores = random_scores(1, 1, 5, 5, dtype=torch.float64)
    assert soft_argmax(scores).dtype == torch.float64


# ---- the gradient through "where" ----------------------------------------------------


def test_gradient_is_finite_differences():
    scores = random_scores(2, 2, 4, 5, dtype=torch.float64).requires_grad_()
    beta = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(soft_argmax, (scores, beta))
    probabilities = spatial_softmax(scores.detach()).requires_grad_()
    for measure in (expected_points, spread, entropy):
        assert torch.autograd.gradcheck(measure, (probabilities,))


@pytest.mark.parametrize("beta", (0.1, 1.0, 8.0))
def test_gradient_has_its_closed_form(beta):
    """d E[x] / d score_i = beta p_i (x_i - E[x]), and the same with y."""
    scores = random_scores(1, 1, 9, 12, dtype=torch.float64).requires_grad_()
    probabilities = spatial_softmax(scores, beta).detach()[0, 0]
    grid = pixel_grid(9, 12, dtype=torch.float64)
    mean = expected_points(probabilities[None, None])[0, 0]
    for axis in (0, 1):
        found = torch.autograd.grad(soft_argmax(scores, beta)[0, 0, axis], scores)[0]
        expected = beta * probabilities * (grid[..., axis] - mean[axis])
        assert_close(found[0, 0], expected)
        assert_close(found.sum(), found.new_zeros(()), atol=1e-12, rtol=0)


@pytest.mark.parametrize("beta", BETAS)
def test_gradient_is_finite_at_every_beta(beta):
    scores = random_scores(1, 2, 32, 32, scale=50.0).requires_grad_()
    soft_argmax(scores, beta).square().sum().backward()
    assert torch.isfinite(scores.grad).all()


# ---- argmax, and what it costs -------------------------------------------------------


def test_argmax_is_off_by_the_known_amount():
    """A uniform offset inside a unit pixel: E|d| = (sqrt 2 + log(1 + sqrt 2)) / 6."""
    size, sigma = (16, 16), 1.2
    generator = torch.Generator().manual_seed(6)
    pixels = 5 + 5 * torch.rand(
        1, 20_000, 2, generator=generator
    )  # whole pixels: 5 of them
    maps = gaussian_maps(from_pixels(pixels, size), size, sigma)
    off = to_pixels(hard_argmax(maps), size) - pixels
    assert off.abs().max() <= 0.5 + 1e-4
    expected = (math.sqrt(2) + math.asinh(1)) / 6  # 0.3826
    assert abs(off.norm(dim=-1).mean().item() - expected) < 0.004  # 4 standard errors


# ---- Gaussian maps -------------------------------------------------------------------


def test_gaussian_maps_are_the_formula():
    size, sigma = (6, 9), 1.3
    points = torch.tensor([[[0.2, -0.4], [-1.0, 1.0]]], dtype=torch.float64)
    maps = gaussian_maps(points, size, sigma)
    for k, (x, y) in enumerate(points[0].tolist()):
        column, row = (x + 1) * 9 / 2 - 0.5, (y + 1) * 6 / 2 - 0.5
        for i, j in np.ndindex(*size):
            expected = math.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * sigma**2))
            assert maps[0, k, i, j].item() == pytest.approx(expected, rel=1e-9)


def test_a_gaussian_on_a_pixel_is_one_there():
    points = from_pixels(torch.tensor([[[3.0, 2.0]]]), (8, 8))
    maps = gaussian_maps(points, (8, 8), 1.0)
    assert_close(maps[0, 0, 2, 3], torch.tensor(1.0))
    assert_close(hard_argmax(maps), points)


# ---- how sure is a map? --------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_entropy_of_one_pixel_and_of_all(size):
    pixels = size[0] * size[1]
    one = torch.zeros(1, 1, *size)
    one[0, 0, 1, 2] = 1
    assert entropy(one).item() == 0
    flat = torch.full((1, 1, *size), 1 / pixels)
    assert entropy(flat).item() == pytest.approx(math.log(pixels), rel=1e-5)


def test_entropy_is_scipys():
    maps = spatial_softmax(random_scores(2, 3, 7, 5, dtype=torch.float64), 3.0)
    expected = scipy_entropy(maps.flatten(2).numpy(), axis=-1)
    assert_close(entropy(maps), torch.from_numpy(expected))


def test_entropy_of_a_gaussian():
    """log(2 pi e sigma^2) nats when sigma is in pixels and the map is wide enough."""
    for sigma in (1.0, 2.0, 4.0):
        maps = spatial_softmax(parabola(torch.zeros(1, 1, 2), (64, 64), sigma))
        expected = math.log(2 * math.pi * math.e * sigma**2)
        assert entropy(maps).item() == pytest.approx(expected, abs=1e-3)


def test_entropy_falls_as_beta_rises():
    scores = random_scores(1, 1, 20, 20)
    values = [entropy(spatial_softmax(scores, beta)).item() for beta in BETAS]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] + 5


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_spread_of_one_pixel_two_pixels_and_all(size):
    height, width = size
    one = torch.zeros(1, 1, *size)
    one[0, 0, -1, -1] = 1
    assert spread(one).item() < 1e-6
    two = torch.zeros(1, 1, *size)
    two[0, 0, 0, [0, -1]] = 0.5
    assert spread(two).item() == pytest.approx((width - 1) / width, rel=1e-5)
    # The variance of n equally spaced pixel centres is (n^2 - 1) / 12 pixels squared.
    variance = sum((n**2 - 1) / 12 * (2 / n) ** 2 for n in (height, width))
    flat = torch.full((1, 1, *size), 1 / (height * width))
    assert spread(flat).item() == pytest.approx(math.sqrt(variance), rel=1e-5)


def test_spread_of_a_narrow_peak_near_the_border_is_not_rounded_away():
    """Two neighbours of 256 at the border: half a pixel. E[x^2] - E[x]^2 loses it."""
    maps = torch.zeros(1, 1, 4096, 4096)
    maps[0, 0, 5, 4090:4092] = 0.5
    assert spread(maps).item() == pytest.approx(0.5 * 2 / 4096, rel=1e-3)


def test_spread_of_a_gaussian():
    """sqrt(2) sigma pixels: sigma in each of the two directions."""
    maps = spatial_softmax(parabola(torch.zeros(1, 1, 2), (64, 64), 3.0))
    assert spread(maps).item() == pytest.approx(math.sqrt(2) * 3.0 * 2 / 64, rel=1e-4)


# ---- bad input -----------------------------------------------------------------------

MAP_FUNCTIONS = (
    spatial_softmax,
    soft_argmax,
    hard_argmax,
    expected_points,
    spread,
    entropy,
)


@pytest.mark.parametrize("function", MAP_FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("shape", "message"),
    (
        ((8, 8), r"\(B, K, H, W\), got \(8, 8\)"),
        ((1, 8, 8), r"\(B, K, H, W\), got \(1, 8, 8\)"),
        ((1, 1, 1, 8, 8), r"\(B, K, H, W\)"),
        ((2, 0, 8, 8), r"empty, got \(2, 0, 8, 8\)"),
        ((0, 2, 8, 8), r"empty, got \(0, 2, 8, 8\)"),
        ((2, 2, 0, 8), r"empty, got \(2, 2, 0, 8\)"),
    ),
    ids=str,
)
@pytest.mark.usefixtures("unchecked")
def test_bad_maps(function, shape, message):
    with pytest.raises(ValueError, match=message):
        function(torch.zeros(shape))


@pytest.mark.parametrize("beta", (0.0, -1.0, float("inf"), float("nan")))
def test_bad_beta(beta):
    for function in (spatial_softmax, soft_argmax):
        with pytest.raises(ValueError, match="beta must be positive and finite, got"):
            function(torch.zeros(1, 1, 4, 4), beta)


@pytest.mark.parametrize(
    "shape", ((2,), (3, 2), (1, 3, 3), (1, 0, 2), (0, 3, 2)), ids=str
)
@pytest.mark.usefixtures("unchecked")
def test_bad_points(shape):
    with pytest.raises(
        ValueError, match=r"points must be \(B, K, 2\) and not empty, got"
    ):
        gaussian_maps(torch.zeros(shape), (8, 8), 1.0)


@pytest.mark.parametrize("sigma", (0.0, -1.0, float("nan")))
def test_bad_sigma(sigma):
    with pytest.raises(ValueError, match="sigma must be positive, got"):
        gaussian_maps(torch.zeros(1, 1, 2), (8, 8), sigma)
