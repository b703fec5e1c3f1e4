"""Exercises of notebook 02: the sampling grid, the spline's kernel, folding, the loss.

Every examination also computes what the usual slips would return, so that a wrong
answer gets the hint of its own slip.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.exercises import exercise
from lmlib.geometry import Affine, Flow, Warp, _spline_kernel, pixel_grid
from lmlib.heatmaps import soft_argmax


def _explain(got: Tensor, expected: Tensor, slips: dict[str, Tensor], tolerance=1e-4):
    """None if ``got`` is ``expected``; else the hint of the slip that gives ``got``."""
    got = got.detach()
    if torch.allclose(got, expected, atol=tolerance, rtol=tolerance):
        return None
    for hint, slip in slips.items():
        same = slip.shape == got.shape
        if same and torch.allclose(
            got, slip, atol=tolerance, rtol=tolerance, equal_nan=True
        ):
            return hint
    if not torch.isfinite(got).all():
        return "Some values are NaN or infinite. Which of your steps can do that?"
    worst = (got - expected).abs().argmax()
    return (
        f"The numbers differ: where {expected.flatten()[worst]:.4f} is expected, "
        f"yours is {got.flatten()[worst]:.4f}."
    )


# ---- the grid that an affine warp reads ----------------------------------------------


def affine_sampling_grid(matrix: Tensor, height: int, width: int) -> Tensor:
    linear = torch.linalg.inv(matrix[:, :, :2])  # (B, 2, 2): the way back
    lattice = pixel_grid(height, width).view(1, -1, 2)  # pixel centres of the output
    read = (lattice - matrix[:, None, :, 2]) @ linear.transpose(1, 2)
    return read.view(-1, height, width, 2)


def _library_grid(matrix: Tensor, height: int, width: int) -> Tensor:
    return Affine(matrix).sampling_grid(height, width)


@exercise("affine_sampling_grid", solution=affine_sampling_grid, library=_library_grid)
def _examine_affine_sampling_grid(fn) -> str | None:
    matrix = torch.tensor(
        [[[0.8, -0.3, 0.1], [0.5, 1.1, -0.2]], [[1.3, 0.2, -0.4], [-0.1, 0.7, 0.3]]]
    )
    height, width = 5, 8
    linear, shift = torch.linalg.inv(matrix[:, :, :2]), matrix[:, None, :, 2]

    def grid(points: Tensor) -> Tensor:
        return points.reshape(2, height, width, 2)

    def back(lattice: Tensor) -> Tensor:
        return grid((lattice - shift) @ linear.transpose(1, 2))

    def edges(n: int) -> Tensor:
        return torch.linspace(-1, 1, n)

    lattice = pixel_grid(height, width).view(1, -1, 2)
    corners = torch.cartesian_prod(edges(height), edges(width)).flip(-1)
    centres = pixel_grid(height, width)
    by_column = torch.cartesian_prod(centres[0, :, 0], centres[:, 0, 1])
    right = back(lattice)
    slips = {
        "This grid is the forward map: where each input pixel goes. grid_sample asks "
        "the opposite question, where each output pixel reads. Use the inverse of the "
        "matrix.": grid(lattice @ matrix[:, :, :2].transpose(1, 2) + shift),
        "Your lattice runs from -1 to 1 through the outermost pixel centres "
        "(align_corners=True). In this course -1 and 1 are the outer edges of the "
        "image: start from pixel_grid(height, width).": back(corners),
        "Your result is (y, x). Points and grid_sample both want (x, y), while a "
        "tensor's axes are rows first.": right.flip(-1),
        "Your lattice holds (y, x): column and row are swapped before the warp. "
        "pixel_grid gives (x, y).": back(lattice.flip(-1)),
        "Your lattice runs down the columns first, but the grid must be indexed "
        "[row, column]: use indexing='xy', or pixel_grid.": back(by_column),
        "You undo the matrix but then add the shift again. Backwards is: first take "
        "the shift away, then undo the matrix.": grid(
            lattice @ linear.transpose(1, 2) + shift
        ),
        "You undo the matrix first and take the shift away afterwards. The forward map "
        "shifts last, so the way back must un-shift first.": grid(
            lattice @ linear.transpose(1, 2) - shift
        ),
        "The shift is missing: the third column of the matrix.": grid(
            lattice @ linear.transpose(1, 2)
        ),
        "The matrix is transposed. Points are rows here, so A p becomes "
        "p @ A.transpose(1, 2).": grid((lattice - shift) @ linear),
    }
    return _explain(fn(matrix, height, width), right, slips)


# ---- the thin-plate spline's kernel --------------------------------------------------


def spline_kernel(points: Tensor, centres: Tensor) -> Tensor:
    squared = (points[:, None] - centres[None]).square().sum(-1)  # (N, M)
    return squared * torch.log(squared + 1e-9)  # 0 log 0 is 0, not NaN


def _library_kernel(points: Tensor, centres: Tensor) -> Tensor:
    return _spline_kernel(points[None], centres[None], 1e-9)[0]


@exercise("spline_kernel", solution=spline_kernel, library=_library_kernel)
def _examine_spline_kernel(fn) -> str | None:
    generator = torch.Generator().manual_seed(0)
    points = 2 * torch.rand(6, 2, generator=generator) - 1
    centres = 2 * torch.rand(4, 2, generator=generator) - 1
    offset = points[:, None] - centres[None]
    squared = offset.square().sum(-1)
    distance = squared.sqrt()
    city = offset.abs().sum(-1).square()
    each = offset.square()
    slips = {
        "This is r log r. The kernel is r^2 log r^2: square the distance in both "
        "places.": distance * torch.log(distance),
        "This is r^2 log r, half of what is asked: the logarithm, too, takes the "
        "squared distance. (Either would do, if the fit and the reading use the same "
        "one. A well-known release fits with one and reads with the other.)": squared
        * torch.log(distance),
        "This is r log r^2: the factor in front is squared as well.": distance
        * torch.log(squared),
        "This is a logarithm to base 10; torch.log is the natural one.": squared
        * torch.log10(squared),
        "You treat x and y apart. r is one number for each pair: add the two squares "
        "first, then take the logarithm.": (each * torch.log(each)).sum(-1),
        "r is the straight distance, sqrt(dx^2 + dy^2), not |dx| + |dy|.": city
        * torch.log(city),
        "This is the squared distance alone; it still wants its logarithm.": squared,
    }
    expected = _library_kernel(points, centres)
    hint = _explain(fn(points, centres), expected, slips)
    if hint:
        return hint
    at_home = fn(centres, centres)
    if not torch.isfinite(at_home).all():
        return (
            "At a centre r is 0 and 0 * log 0 is NaN, but r^2 log r^2 tends to 0 "
            "there. Keep the logarithm finite, for instance with log(r^2 + 1e-9)."
        )
    if at_home.diagonal().abs().max() > 1e-3:
        return "At a centre the kernel must be 0: your small constant is too large."
    return _explain(at_home, _library_kernel(centres, centres), {}, 1e-3)


# ---- the share of pixels where a warp folds ------------------------------------------


def folding_share(grid: Tensor) -> Tensor:
    right = (
        grid[:, :-1, 1:] - grid[:, :-1, :-1]
    )  # one pixel to the right, (B, H-1, W-1, 2)
    down = grid[:, 1:, :-1] - grid[:, :-1, :-1]  # one pixel down
    area = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
    return (area <= 0).float().mean(dim=(1, 2))


def _library_folding(grid: Tensor) -> Tensor:
    return Flow(grid).folding()


def _examples() -> dict[str, tuple[Tensor, float]]:
    """Grids of 64 x 64 with a known share: name -> (grid, share)."""
    x, y = pixel_grid(64, 64).unbind(-1)

    def wave(amplitude):  # slope 1 + a pi cos(pi x): negative near both edges
        share = 1 - math.acos(-1 / (amplitude * math.pi)) / math.pi
        return torch.stack([x + amplitude * torch.sin(math.pi * x), y], -1), share

    return {
        "the identity": (torch.stack([x, y], -1), 0.0),
        "half a turn": (torch.stack([-x, -y], -1), 0.0),
        "a quarter turn": (torch.stack([y, -x], -1), 0.0),
        "a turn by 60 degrees": (
            torch.stack([0.5 * x + 0.87 * y, 0.5 * y - 0.87 * x], -1),
            0.0,
        ),
        "a shear": (torch.stack([x + 1.5 * y, 0.6 * y], -1), 0.0),
        "a zoom in": (torch.stack([x / 3, y / 3], -1), 0.0),
        "a mirror": (torch.stack([-x, y], -1), 1.0),
        "a wave": wave(0.6),
        "a stronger wave": wave(1.2),
    }


@exercise("folding_share", solution=folding_share, library=_library_folding)
def _examine_folding_share(fn) -> str | None:
    examples = _examples()
    shares = torch.tensor([share for _, share in examples.values()])
    grids = torch.stack([grid for grid, _ in examples.values()])
    right = grids[:, :-1, 1:] - grids[:, :-1, :-1]
    down = grids[:, 1:, :-1] - grids[:, :-1, :-1]
    (xx, xy), (yx, yy) = right.unbind(-1), down.unbind(-1)
    area, pixel = xx * yy - xy * yx, (2 / 64) ** 2

    def share(folded: Tensor) -> Tensor:
        return folded.float().mean(dim=(1, 2))

    slips = {
        "The identity folds nowhere, and yours says 1 for it. Either you count the "
        "pixels that do not fold, or the row and the column direction have changed "
        "places, which turns the determinant's sign.": share(area > 0),
        "You look at the two diagonal entries only. Half a turn makes both negative "
        "and folds nothing: the sign of the whole determinant decides.": share(
            (xx <= 0) | (yy <= 0)
        ),
        "A determinant is a d - b c. Yours adds the second product, so a quarter turn "
        "looks folded.": share(xx * yy + xy * yx <= 0),
        "You multiply the diagonal entries only. A quarter turn has a diagonal of "
        "zeros and folds nothing: subtract b c.": share(xx * yy <= 0),
        "You count where the warp shrinks or magnifies (determinant below 1). It folds "
        "where the determinant is zero or negative.": share(area < 0.999 * pixel),
        "With abs() nothing ever folds: the sign is all that matters.": 0 * shares,
        "You take the trace, a + d. What must stay positive is the determinant, "
        "a d - b c.": share(xx + yy <= 0),
    }
    got = fn(grids).detach()
    hint = _explain(got, shares, slips, tolerance=0.03)
    if hint and hint.startswith("The numbers"):
        worst = int((got - shares).abs().argmax())
        return (
            f"For {list(examples)[worst]} the share is {shares[worst]:.2f}, "
            f"yours is {got[worst]:.2f}."
        )
    return hint


# ---- the equivariance loss -----------------------------------------------------------


def equivariance_loss(detect: Callable, images: Tensor, warp: Warp) -> Tensor:
    moved = warp.points(detect(images))  # T L(I): move what was found
    found = detect(warp.image(images))  # L(T I): look in the moved picture
    return (moved - found).square().sum(dim=-1).mean()  # sum over x, y; mean over N, K


@exercise("equivariance_loss", solution=equivariance_loss, library=equivariance_loss)
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
    moved, gap = warp.points(before), (warp.points(before) - after)
    squared, halved = gap.square().sum(-1), gap.square().mean()
    other_way = detect(warp.inverse().image(images))

    def mean(difference: Tensor) -> Tensor:
        return difference.square().sum(-1).mean()

    slips = {
        "You compare L(T I) with L(I): that asks for invariance, and the best answer "
        "is a point that never moves. Move L(I) by warp.points first.": mean(
            before - after
        ),
        "The points were moved backwards. warp.backward says where the warped image "
        "reads; a landmark follows warp.points.": mean(warp.backward(before) - after),
        "You apply the warp to both: L(T I) lives in the warped image already. Only "
        "L(I) has to be moved.": mean(moved - warp.points(after)),
        "The image was warped the other way round: the same T must act on the image "
        "and on the points.": mean(moved - other_way),
        "You bring L(T I) back into the input image. Equation 4 compares in the warped "
        "one: move L(I) forward.": mean(before - warp.backward(after)),
        "This is half the loss: you average over x and y as well. Add the two squares "
        "(a squared distance), then average over images and landmarks.": halved,
        "You sum over images or landmarks; the equation divides by N and by K, so that "
        "the loss does not grow with the batch.": squared.sum(),
        "You sum over the landmarks; the equation divides by K as well.": squared.sum(
            1
        ).mean(),
        "You sum over the images; the equation divides by N as well.": squared.mean(
            1
        ).sum(),
        "This is the mean distance; the equation has the squared one, without the "
        "root.": squared.sqrt().mean(),
        "Positive and negative differences cancel: square them before you "
        "average.": gap.mean(),
    }
    slips = {hint: slip.detach() for hint, slip in slips.items()}
    got = fn(detect, images, warp)
    hint = _explain(got, squared.mean().detach(), slips, tolerance=1e-5)
    if hint:
        return hint
    (slope,) = torch.autograd.grad(squared.mean(), filters)
    if not got.requires_grad:
        return (
            "The value is right but has no gradient, so nothing can be learnt from it: "
            "no detach, no no_grad, no .item()."
        )
    (mine,) = torch.autograd.grad(got, filters)
    if not torch.allclose(mine, slope, atol=1e-6, rtol=1e-3):
        return (
            "The value is right but the gradient is not: one of the two branches is "
            "detached. In equation 4 both learn."
        )
    return None
