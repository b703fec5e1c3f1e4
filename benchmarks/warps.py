"""Warping a batch by thin-plate splines, against one image at a time.

``python -m benchmarks.warps``. Both sides warp the same images by the same splines and
are checked to agree. The splines of DVE share one set of control points, so one kernel
serves the whole batch; those of Zhang et al. are read through a similarity first, so
every image has a kernel of its own.
"""

import json
import statistics
import time

import torch
import torch.nn.functional as F

from lmlib.geometry import ThinPlateSpline, pixel_grid
from lmlib.warps import control_grid, dve_warp

BATCH, SIZE, ROUNDS = 32, 64, 7


def one_by_one(spline: ThinPlateSpline, images):
    """The plain formulation: for each image, distances, kernel, grid, sampling."""
    out = []
    for b, image in enumerate(images):
        lattice = pixel_grid(*image.shape[1:]).reshape(-1, 2)
        squared = torch.cdist(lattice, spline.centres[b]).square()
        kernel = squared * torch.log(squared + spline.epsilon)
        affine = spline.affine[b]
        read = lattice @ affine[:, :2].T + affine[:, 2] + kernel @ spline.weights[b]
        grid = read.reshape(1, *image.shape[1:], 2)
        out.append(F.grid_sample(image[None], grid, align_corners=False))
    return torch.cat(out)


def fit_one_by_one(source, target):
    """One linear system at a time."""
    pairs = zip(source.split(1), target.split(1), strict=True)
    return [ThinPlateSpline.from_points(s, t) for s, t in pairs]


def compare(name, what, plain, ours) -> dict:
    """Median of the ratios of rounds run in turn: load on the machine hits both."""
    plain(), ours()
    seconds = {plain: [], ours: []}
    for _ in range(ROUNDS):
        for call, taken in seconds.items():
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    ratio = statistics.median(
        a / b for a, b in zip(seconds[plain], seconds[ours], strict=True)
    )
    milliseconds = {
        key: round(1000 * statistics.median(seconds[call]), 2)
        for key, call in (("plain_ms", plain), ("ours_ms", ours))
    }
    return {"name": name, "ratio": round(ratio, 2), "what": what, **milliseconds}


def run() -> list[dict]:
    """One row a comparison; ``ratio`` > 1 says that lmlib's way is faster."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(BATCH, 3, SIZE, SIZE, generator=generator)
    shared = dve_warp(BATCH, generator)  # one 10x10 grid of centres for all images
    own = ThinPlateSpline(shared.centres.clone(), shared.weights, shared.affine, 1e-5)
    grid = control_grid(7).expand(BATCH, -1, -1)
    moved = grid + 0.05 * torch.randn(grid.shape, generator=generator)
    for spline in (shared, own):
        torch.testing.assert_close(
            spline.image(images), one_by_one(spline, images), atol=2e-3, rtol=0
        )
    size = f"{BATCH} images of {SIZE}x{SIZE}, 10x10 control points"
    return [
        compare(
            "tps image, shared centres",
            f"{size}: one kernel for the batch, against a loop over images",
            lambda: one_by_one(shared, images),
            lambda: shared.image(images),
        ),
        compare(
            "tps image, own centres",
            f"{size}: tiles of one image, against a loop (the batch at once: slower)",
            lambda: one_by_one(own, images),
            lambda: own.image(images),
        ),
        compare(
            "tps fit",
            f"{BATCH} splines through 7x7 points: one batched solve, against a loop",
            lambda: fit_one_by_one(moved, grid),
            lambda: ThinPlateSpline.from_points(moved, grid),
        ),
    ]


if __name__ == "__main__":
    for row in run():
        print(json.dumps(row))
