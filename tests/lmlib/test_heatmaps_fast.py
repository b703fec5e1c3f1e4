"""Soft-argmax in one pass against the plain formulation, and its gradient."""

import pytest
import torch
from torch.testing import assert_close

from lmlib import heatmaps_fast
from lmlib.heatmaps import soft_argmax

BETAS = (1e-3, 1.0, 20.0, 1e4)


def scores(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def both_ways(maps, beta):
    """Points and gradients of a weighted sum, fast and plain."""
    weight = scores(*maps.shape[:2], 2, seed=1)
    found = []
    for plain in (False, True):
        leaf = maps.detach().requires_grad_()
        points = soft_argmax(leaf, beta, plain=plain)
        (points * weight).sum().backward()
        found.append((points, leaf.grad))
    return found


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("shape", [(3, 2, 7, 9), (1, 1, 1, 1), (2, 3, 1, 5)], ids=str)
def test_points_and_gradients_are_the_plain_ones(shape, beta):
    fast, plain = both_ways(scores(*shape), beta)
    assert_close(fast, plain, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("tile", [1, 130, 10**6])
def test_any_number_of_images_may_go_together(tile, monkeypatch):
    maps = scores(5, 2, 6, 8)
    _, plain = both_ways(maps, 3.0)
    monkeypatch.setattr(heatmaps_fast, "TILE", tile)
    tiles = heatmaps_fast._tiles(maps)
    assert len(tiles) == {1: 5, 130: 5, 10**6: 1}[tile]
    assert_close(both_ways(maps, 3.0)[0], plain, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layout", ["channels last", "every other", "transposed"])
def test_memory_may_lie_in_any_order(layout):
    maps = {
        "channels last": scores(2, 3, 6, 8).to(memory_format=torch.channels_last),
        "every other": scores(2, 3, 12, 16)[..., ::2, ::2],
        "transposed": scores(2, 3, 8, 6).mT,
    }[layout]
    assert not maps.is_contiguous()
    assert_close(*both_ways(maps, 2.0), rtol=1e-9, atol=1e-12)


def test_the_gradient_is_that_of_finite_differences():
    maps = scores(2, 2, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_argmax(x, 2.5), maps)


@pytest.mark.parametrize("beta", BETAS)
def test_float32_is_as_exact_as_the_plain_formulation(beta):
    """Far from zero too, where beta times the scores would be rounded to nothing."""
    maps = (50 + scores(2, 3, 64, 64) / 20).float()
    exact = soft_argmax(maps.double(), beta, plain=True)
    fast, plain = (
        (soft_argmax(maps, beta, plain=way) - exact).abs().max()
        for way in (False, True)
    )
    assert fast <= 2 * plain + 2e-7


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_in_and_only_the_gradient_goes_back_in_it(dtype):
    maps = scores(2, 3, 40, 40, dtype=dtype)
    wanted, slope = both_ways(maps.float(), 4.0)[1]
    leaf = maps.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        points = soft_argmax(leaf, 4.0)
    assert points.dtype == torch.float32
    assert_close(points, wanted, atol=1e-6, rtol=0)
    (points * scores(2, 3, 2, seed=1)).sum().backward()
    assert leaf.grad.dtype == dtype
    largest = slope.abs().max().item()
    assert_close(leaf.grad.float(), slope, atol=2**-8 * largest, rtol=2**-7)


@pytest.mark.parametrize("scale", [1e-6, 1e4, 1e36])
@pytest.mark.parametrize("beta", BETAS)
def test_no_beta_overflows(beta, scale):
    maps = (scale * scores(2, 2, 8, 8)).float().requires_grad_()
    points = soft_argmax(maps, beta)
    points.sum().backward()
    assert points.isfinite().all() and maps.grad.isfinite().all()
    assert_close(points, soft_argmax(maps, beta, plain=True), atol=1e-6, rtol=0)


def test_pixels_of_minus_infinity_are_left_out():
    maps = scores(1, 2, 6, 6)
    maps[..., 3:, :] = -torch.inf
    fast, plain = both_ways(maps, 2.0)
    assert fast[1].isfinite().all() and (fast[1][..., 3:, :] == 0).all()
    assert_close(fast, plain, rtol=1e-9, atol=1e-12)


def test_a_learned_beta_gets_its_gradient():
    beta = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    maps = scores(1, 2, 5, 5)
    assert torch.autograd.gradcheck(lambda b: soft_argmax(maps, b), beta)


def test_no_map_is_kept_for_the_gradient():
    kept = []
    leaf = scores(4, 3, 16, 16).requires_grad_()
    maps = 2 * leaf  # what a network gives, and keeps anyway
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: kept.append(x) or x, lambda x: x
    ):
        soft_argmax(maps, 2.0)
    others = [x for x in kept if x.data_ptr() != maps.data_ptr()]
    assert 0 < len(others) < len(kept)
    assert max(x.numel() for x in others) <= 4 * 3 * 2
