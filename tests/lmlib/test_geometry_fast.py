"""Fast splines against the plain formula, and what is remembered of them."""

import pytest
import torch
from torch.testing import assert_close

from lmlib import geometry_fast
from lmlib.geometry import Affine, Chain, ThinPlateSpline, pixel_grid
from lmlib.warps import control_grid, dve_warp, lmdis_warp, seqmt_affine


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def grid_warp(batch=3, seed=0, side=4):
    """A spline whose centres are one grid for all images."""
    grid = control_grid(side).expand(batch, -1, -1)
    noise = 0.1 * torch.randn(grid.shape, generator=generator(seed))
    return ThinPlateSpline.from_points(grid + noise, grid)


def own_warp(batch=3, seed=0, side=4):
    """A spline with other centres for each image."""
    warp = grid_warp(batch, seed, side)
    return ThinPlateSpline.from_points(warp.centres, warp.backward(warp.centres))


def lattice(batch, height, width, dtype=torch.float32):
    grid = pixel_grid(height, width, dtype=dtype).view(1, -1, 2)
    return grid.expand(batch, -1, -1)


WARPS = {
    "one grid": grid_warp,
    "own centres": own_warp,
    "dve": lambda n: dve_warp(n, generator(1)),
}
PLACES = {
    "one lattice": lambda n: lattice(n, 20, 13),
    "own lattices": lambda n: seqmt_affine(n, "blocks", generator(2)).points(
        lattice(n, 20, 13)
    ),
    "landmarks": lambda n: 2 * torch.rand(n, 5, 2, generator=generator(3)) - 1,
    "nowhere": lambda n: torch.zeros(n, 0, 2),
}


@pytest.fixture(autouse=True)
def forget():
    geometry_fast._basis.cache_clear()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("tile", [10, 1000, 120_000])
@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("warp", WARPS)
def test_the_fast_spline_is_the_plain_one(warp, places, tile, batch, monkeypatch):
    monkeypatch.setattr(geometry_fast, "TILE", tile)
    spline, xy = WARPS[warp](batch), PLACES[places](batch)
    plain = spline.backward(xy, plain=True)
    assert_close(spline.backward(xy), plain, atol=2e-6, rtol=1e-6)
    exact = spline.backward(xy.double(), plain=True)
    assert_close(spline.backward(xy.double()), exact, atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("warp", WARPS)
def test_a_centre_is_no_hole(warp):
    """There r = 0, and 0 log 0 must be 0."""
    spline = WARPS[warp](2)
    here = spline.centres.double()
    assert_close(spline.backward(here), spline.backward(here, plain=True))


def test_where_a_gradient_is_wanted_it_is_there():
    spline, xy = own_warp(), PLACES["landmarks"](3)
    for leaf in (xy, spline.weights, spline.centres, spline.affine):
        leaf.requires_grad_()
        spline.backward(xy).sum().backward()
        assert leaf.grad.abs().max() > 0
        with torch.no_grad():
            assert not spline.backward(xy).requires_grad
        leaf.requires_grad_(False)


@pytest.mark.parametrize(
    "warp",
    [
        lmdis_warp(2, generator(4)),
        dve_warp(2, generator(5)),
        seqmt_affine(2, "blocks", generator(6)),
        Chain(grid_warp(2), Affine.identity(2)).inverse(),
    ],
    ids=["lmdis", "dve", "affine", "inverse"],
)
@pytest.mark.parametrize("tracked", [False, True])
def test_autocast_does_not_move_points(warp, tracked):
    xy = PLACES["landmarks"](2).requires_grad_(tracked)
    wanted = warp.backward(xy), warp.points(xy)
    with torch.autocast("cpu", torch.bfloat16):
        found = warp.backward(xy), warp.points(xy)
    assert_close(found, wanted, atol=1e-6, rtol=0)


def test_one_lattice_and_one_grid_have_one_basis():
    before = geometry_fast._basis.cache_info()
    for seed in range(3):
        grid_warp(seed=seed).image(torch.rand(3, 1, 20, 13))
    info = geometry_fast._basis.cache_info()
    assert (info.misses - before.misses, info.hits - before.hits) == (1, 2)
    # Anything else that a kernel depends on asks for another one.
    grid_warp(side=5).image(torch.rand(3, 1, 20, 13))
    grid_warp().image(torch.rand(3, 1, 13, 20))
    warp = grid_warp()
    warp.epsilon = 1e-3
    warp.image(torch.rand(3, 1, 20, 13))
    assert geometry_fast._basis.cache_info().misses == info.misses + 3


def test_a_changed_grid_is_seen():
    warp = grid_warp()
    xy, centres = lattice(3, 9, 9), control_grid(4)
    warp.centres = centres.expand(3, -1, -1)
    first = warp.backward(xy)
    centres += 0.05  # the same memory, other numbers
    second = warp.backward(xy)
    assert_close(second, warp.backward(xy, plain=True), atol=2e-6, rtol=1e-6)
    assert not torch.allclose(first, second)


def test_an_answer_may_be_changed_without_changing_the_next():
    warp, xy = grid_warp(), lattice(3, 9, 9)
    first = warp.backward(xy)
    kept = first.clone()
    first += 1
    assert torch.equal(warp.backward(xy), kept)


def test_what_is_remembered_is_bounded(monkeypatch):
    assert geometry_fast._basis.cache_info().maxsize * geometry_fast.KEPT * 4 <= 64e6
    warp, numbers = grid_warp(), 20 * 13 * 19
    for limit, kept in ((numbers - 1, 0), (numbers, 1)):
        monkeypatch.setattr(geometry_fast, "KEPT", limit)
        found = warp.backward(lattice(3, 20, 13))
        plain = warp.backward(lattice(3, 20, 13), plain=True)
        assert_close(found, plain, atol=2e-6, rtol=1e-6)
        assert geometry_fast._basis.cache_info().currsize == kept
