"""What do splines gain from small tiles, and from a basis that is remembered?

The reference is the plain formula of ``ThinPlateSpline.backward``, for the whole batch
at once. The random splines of DVE share one set of control points, so that all images,
and all later batches, have one basis; those of Zhang et al. are read through a
similarity first, so every image has a kernel of its own.
"""

import torch

from benchmarks import compare
from lmlib.geometry import ThinPlateSpline, pixel_grid
from lmlib.warps import control_grid, dve_warp

BATCH, SIZE = 32, 64


def fit_one_by_one(source, target):
    """One linear system at a time."""
    pairs = zip(source.split(1), target.split(1), strict=True)
    return [ThinPlateSpline.from_points(s, t) for s, t in pairs]


def row(name: str, what: str, ours, plain) -> dict:
    """``ratio`` > 1 says that lmlib's way is faster."""
    fast, slow = (1000 * s for s in compare(ours, plain, repeats=7))
    return {
        "name": name,
        "ratio": round(slow / fast, 1),
        "what": f"{what}: {fast:.2f} ms against {slow:.2f} ms",
    }


def run() -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    shared = dve_warp(BATCH, generator)  # one 10x10 grid of centres for all images
    own = ThinPlateSpline(shared.centres.clone(), shared.weights, shared.affine, 1e-5)
    lattice = pixel_grid(SIZE, SIZE).view(1, -1, 2).expand(BATCH, -1, -1)
    grid = control_grid(7).expand(BATCH, -1, -1)
    moved = grid + 0.05 * torch.randn(grid.shape, generator=generator)
    size = f"{BATCH} grids of {SIZE}x{SIZE}, 10x10 control points"
    return [
        row(
            "spline, one lattice and one set of centres",
            f"{size}, a remembered basis",
            lambda: shared.backward(lattice),
            lambda: shared.backward(lattice, plain=True),
        ),
        row(
            "spline, centres of each image",
            f"{size}, in tiles",
            lambda: own.backward(lattice),
            lambda: own.backward(lattice, plain=True),
        ),
        row(
            "spline fit",
            f"{BATCH} splines through 7x7 points, one batched solve against a loop",
            lambda: ThinPlateSpline.from_points(moved, grid),
            lambda: fit_one_by_one(moved, grid),
        ),
    ]
