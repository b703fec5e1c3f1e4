"""Exercises of notebook 02: sampling grid, spline kernel, folding, the loss."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import always_the_centre, first_hint
from lmlib.geometry import Affine, Flow, Warp, _spline_kernel, pixel_grid
from lmlib.heatmaps import soft_argmax

# ---- the grid that an affine warp reads ----------------------------------------------


def affine_sampling_grid(matrix: Tensor, height: int, width: int) -> Tensor:
    linear = torch.linalg.inv(matrix[:, :, :2])  # (B, 2, 2): the way back
    lattice = pixel_grid(height, width).view(1, -1, 2)  # pixel centres of the output
    read = (lattice - matrix[:, None, :, 2]) @ linear.transpose(1, 2)
    return read.view(-1, height, width, 2)


def _library_grid(matrix: Tensor, height: int, width: int) -> Tensor:
    return Affine(matrix).sampling_grid(height, width)


@exercise(
    "affine_sampling_grid",
    solution=affine_sampling_grid,
    library=_library_grid,
    level="medium",
    minutes=12,
    example=(torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]]), 1, 2),
)
def _examine_affine_sampling_grid(fn) -> str | None:
    matrix = torch.tensor(
        [[[0.8, -0.3, 0.1], [0.5, 1.1, -0.2]], [[1.3, 0.2, -0.4], [-0.1, 0.7, 0.3]]]
    )
    height, width = 5, 8
    inverse, shift = torch.linalg.inv(matrix[:, :, :2]), matrix[:, None, :, 2]

    def grid(points: Tensor, linear=inverse.mT, after=0.0) -> Tensor:
        return (points @ linear + after).reshape(2, height, width, 2)

    lattice = pixel_grid(height, width).view(1, -1, 2)
    right = grid(lattice - shift)
    edges = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    corners = torch.cartesian_prod(*edges).flip(-1)
    by_column = pixel_grid(height, width).transpose(0, 1).reshape(1, -1, 2)
    slips = {
        "This grid is the forward map: where each input pixel goes. grid_sample asks "
        "where each output pixel reads. Use the inverse of the matrix.": grid(
            lattice, matrix[:, :, :2].mT, shift
        ),
        "Your lattice runs from -1 to 1 through the outermost pixel centres "
        "(align_corners=True). Here -1 and 1 are the image's outer edges: start from "
        "pixel_grid(height, width).": grid(corners - shift),
        "Your result is (y, x). Points and grid_sample both want (x, y), while a "
        "tensor's axes are rows first.": right.flip(-1),
        "Your lattice holds (y, x): column and row are swapped before the warp. "
        "pixel_grid gives (x, y).": grid(lattice.flip(-1) - shift),
        "Your lattice runs down the columns first, but a grid is indexed [row, "
        "column]: use indexing='xy', or pixel_grid.": grid(by_column - shift),
        "You undo the matrix but then add the shift again. Backwards is: take the "
        "shift away, then undo the matrix.": grid(lattice, after=shift),
        "You undo the matrix first and take the shift away afterwards. The forward map "
        "shifts last, so the way back must un-shift first.": grid(
            lattice, after=-shift
        ),
        "The shift is missing: the third column of the matrix.": grid(lattice),
        "The matrix is transposed. Points are rows here, so A p becomes "
        "p @ A.transpose(1, 2).": grid(lattice - shift, inverse),
    }
    return first_hint(fn(matrix, height, width), right, slips)


# ---- the thin-plate spline's kernel --------------------------------------------------


def spline_kernel(points: Tensor, centres: Tensor) -> Tensor:
    squared = (points[:, None] - centres[None]).square().sum(-1)  # (N, M)
    return squared * torch.log(squared + 1e-9)  # 0 log 0 is 0, not NaN


def _library_kernel(points: Tensor, centres: Tensor) -> Tensor:
    return _spline_kernel(points[None], centres[None], 1e-9)[0]


@exercise(
    "spline_kernel",
    solution=spline_kernel,
    library=_library_kernel,
    level="easy",
    minutes=8,
    example=(torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [0.6, 0.8], [2.0, 0.0]])),
)
def _examine_spline_kernel(fn) -> str | None:
    generator = torch.Generator().manual_seed(0)
    points, centres = 2 * torch.rand(2, 6, 2, generator=generator) - 1
    centres = centres[:4]
    offset = points[:, None] - centres[None]
    each, city = offset.square(), offset.abs().sum(-1).square()
    squared = each.sum(-1)
    r = squared.sqrt()
    slips = {
        "This is r log r. The kernel is r^2 log r^2: square r in both places.": r
        * r.log(),
        "This is r^2 log r, half of what is asked: the logarithm, too, takes the "
        "squared distance. (Either would do if the fit and the reading use the same; a "
        "well-known release fits with one and reads with the other.)": squared
        * r.log(),
        "This is r log r^2: the factor in front is squared as well.": r * squared.log(),
        "This is a logarithm to base 10; torch.log is the natural one.": squared
        * squared.log10(),
        "You treat x and y apart. r is one number for each pair: add the two squares "
        "first, then take the logarithm.": (each * each.log()).sum(-1),
        "r is the straight distance, sqrt(dx^2 + dy^2), not |dx| + |dy|.": city
        * city.log(),
        "This is the squared distance alone; it still wants its logarithm.": squared,
    }
    hint = first_hint(fn(points, centres), _library_kernel(points, centres), slips)
    if hint:
        return hint
    at_home = fn(centres, centres)
    if not torch.isfinite(at_home).all():
        return (
            "At a centre r is 0 and 0 * log 0 is NaN, but r^2 log r^2 tends to 0 "
            "there. Keep the logarithm finite, for instance with log(r^2 + 1e-9)."
        )
    words = "At a centre the kernel must be 0 (your small constant may be too large)"
    right = _library_kernel(centres, centres)
    return first_hint(at_home, right, {}, words, tolerance=1e-3)


# ---- the share of pixels where a warp folds ------------------------------------------


def folding_share(grid: Tensor) -> Tensor:
    right = grid[:, :-1, 1:] - grid[:, :-1, :-1]  # one pixel to the right
    down = grid[:, 1:, :-1] - grid[:, :-1, :-1]  # one pixel down, (B, H-1, W-1, 2)
    area = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
    return (area <= 0).float().mean(dim=(1, 2))


def _library_folding(grid: Tensor) -> Tensor:
    return Flow(grid).folding()


def _examples() -> dict[str, tuple[Tensor, float]]:
    """Grids of 64 x 64 with a known share: name -> (grid, share)."""
    x, y = pixel_grid(64, 64).unbind(-1)
    linear = {
        "the identity": (x, y),
        "half a turn": (-x, -y),
        "a quarter turn": (y, -x),
        "a turn by 60 degrees": (0.5 * x + 0.87 * y, 0.5 * y - 0.87 * x),
        "a shear": (x + 1.5 * y, 0.6 * y),
        "a zoom in": (x / 3, y / 3),
        "a mirror": (-x, y),
    }
    grids = {
        name: (torch.stack(reads, -1), float(name == "a mirror"))
        for name, reads in linear.items()
    }
    for name, height in {"a wave": 0.6, "a stronger wave": 1.2}.items():
        # the slope 1 + height * pi * cos(pi x) is negative near both edges
        share = 1 - math.acos(-1 / (height * math.pi)) / math.pi
        wave = x + height * torch.sin(math.pi * x)
        grids[name] = torch.stack([wave, y], -1), share
    return grids


@exercise(
    "folding_share",
    solution=folding_share,
    library=_library_folding,
    level="medium",
    minutes=12,
    example=(pixel_grid(2, 2)[None],),
)
def _examine_folding_share(fn) -> str | None:
    examples = _examples()
    shares = torch.tensor([share for _, share in examples.values()])
    grids = torch.stack([grid for grid, _ in examples.values()])
    a, c = (grids[:, :-1, 1:] - grids[:, :-1, :-1]).unbind(-1)  # one pixel right
    b, d = (grids[:, 1:, :-1] - grids[:, :-1, :-1]).unbind(-1)  # one pixel down
    area, pixel = a * d - b * c, (2 / 64) ** 2

    def share(folded: Tensor) -> Tensor:
        return folded.float().mean(dim=(1, 2))

    slips = {
        "The identity folds nowhere, and yours says 1 for it. Either you count the "
        "pixels that do not fold, or the row and the column direction have changed "
        "places, which turns the determinant's sign.": share(area > 0),
        "You look at the two diagonal entries only. Half a turn makes both negative "
        "and folds nothing: the determinant's sign decides.": share(
            (a <= 0) | (d <= 0)
        ),
        "A determinant is a d - b c. Yours adds the second product, so a quarter turn "
        "looks folded.": share(a * d + b * c <= 0),
        "You multiply the diagonal entries only. A quarter turn has a diagonal of "
        "zeros and folds nothing: subtract b c.": share(a * d <= 0),
        "You count where the warp shrinks or magnifies (determinant below 1). It folds "
        "where the determinant is zero or negative.": share(area < 0.999 * pixel),
        "With abs() nothing ever folds: the sign is all that matters.": 0 * shares,
        "You take the trace, a + d. What must stay positive is the determinant, "
        "a d - b c.": share(a + d <= 0),
    }
    got = fn(grids).detach()
    name = list(examples)[int((got - shares).abs().argmax())]
    return first_hint(got, shares, slips, f"Wrong share for {name}", tolerance=0.03)


# ---- the equivariance loss -----------------------------------------------------------


def equivariance_loss(detect: Callable, images: Tensor, warp: Warp) -> Tensor:
    moved = warp.points(detect(images))  # T L(I): move what was found
    found = detect(warp.image(images))  # L(T I): look in the moved picture
    return (moved - found).square().sum(dim=-1).mean()  # sum over x, y; mean over N, K


@exercise(
    "equivariance_loss",
    solution=equivariance_loss,
    library=equivariance_loss,
    level="medium",
    minutes=10,
    example=lambda: (
        always_the_centre,
        torch.zeros(1, 1, 2, 2),
        Affine.from_parameters(
            torch.zeros(1), torch.ones(1), torch.tensor([[0.4, 0.0]])
        ),
    ),
)
def _examine_equivariance_loss(fn) -> str | None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 1, 24, 24, generator=generator)
    filters = torch.randn(4, 1, 7, 7, generator=generator).requires_grad_()

    def detect(images: Tensor) -> Tensor:
        return soft_argmax(F.conv2d(images, filters, padding=3), beta=0.7)

    warp = Affine.from_parameters(
        angle=torch.tensor([0.7, -0.4, 1.1]),
        scale=torch.tensor([0.9, 1.2, 1.0]),
        shift=torch.tensor([[0.2, 0.1], [-0.3, 0.2], [0.1, -0.4]]),
    )
    before, after = detect(images), detect(warp.image(images))
    moved, other_way = warp.points(before), detect(warp.inverse().image(images))
    gap = moved - after
    squared = gap.square().sum(-1)

    def mean(difference: Tensor) -> Tensor:
        return difference.square().sum(-1).mean()

    slips = {
        "You compare L(T I) with L(I): that asks for invariance, and the best answer "
        "is a point that never moves. Move L(I) first.": mean(before - after),
        "The points were moved backwards. warp.backward says where the warped image "
        "reads; a landmark follows warp.points.": mean(warp.backward(before) - after),
        "You apply the warp to both: L(T I) lives in the warped image already. Move "
        "L(I) only.": mean(moved - warp.points(after)),
        "The image was warped the other way round: the same T must act on the image "
        "and on the points.": mean(moved - other_way),
        "You bring L(T I) back into the input image. Equation 4 compares in the warped "
        "one: move L(I) forward.": mean(before - warp.backward(after)),
        "This is half the loss: you average over x and y as well. Add the two squares, "
        "then average over images and landmarks.": gap.square().mean(),
        "You sum over images or landmarks; the equation divides by N and by K, so that "
        "the loss does not grow with the batch.": squared.sum(),
        "You sum over the landmarks; divide by K as well.": squared.sum(1).mean(),
        "You sum over the images; divide by N as well.": squared.mean(1).sum(),
        "This is the mean distance; the equation has the squared one, without the "
        "root.": squared.sqrt().mean(),
        "Positive and negative differences cancel: square them first.": gap.mean(),
    }
    got = fn(detect, images, warp)
    hint = first_hint(got, squared.mean(), slips, tolerance=1e-5)
    if hint:
        return hint
    if not got.requires_grad:
        return (
            "The value is right but has no gradient, so nothing can be learnt from it: "
            "no detach, no no_grad, no .item()."
        )
    slopes = (torch.autograd.grad(x, filters)[0] for x in (got, squared.mean()))
    if not torch.allclose(*slopes, atol=1e-6, rtol=1e-3):
        return (
            "The value is right but the gradient is not: one of the two branches is "
            "detached. In equation 4 both learn."
        )
    return None
