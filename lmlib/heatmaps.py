"""From maps to points and back: softmax over space, soft-argmax, Gaussian maps.

``beta`` is the *inverse* temperature: it multiplies the scores, and a larger beta makes
a peakier map. (Libraries disagree about what a "temperature" does here; we never use
the word without saying T = 1 / beta.)

Everything is computed in float32 at least, and points are returned in float32: bfloat16
holds eight bits, which is half a pixel at 256.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lmlib.geometry import from_pixels, pixel_grid, to_pixels
from lmlib.heatmaps_fast import SoftArgmax

# beta: a number, or learned: one for each map, as (K, 1)
Beta = float | Float[Tensor, "#k 1"] | Float[Tensor, ""]


def _check_maps(maps: Tensor) -> Tensor:
    if maps.ndim != 4:
        raise ValueError(f"maps must be (B, K, H, W), got {tuple(maps.shape)}")
    if 0 in maps.shape:
        raise ValueError(f"maps must not be empty, got {tuple(maps.shape)}")
    return maps


def _full(maps: Tensor) -> Tensor:
    maps = _check_maps(maps)
    return maps.float() if maps.dtype in (torch.float16, torch.bfloat16) else maps


def _check_beta(beta: Beta) -> None:
    if not isinstance(beta, Tensor) and not 0 < beta < math.inf:
        raise ValueError(f"beta must be positive and finite, got {beta}")


def spatial_softmax(
    scores: Float[Tensor, "b k h w"], beta: Beta = 1.0
) -> Float[Tensor, "b k h w"]:
    """Softmax over all pixels of each map (Honari et al. 2018, below eq. 2).

    Args:
        scores: any real numbers.
        beta: inverse temperature, > 0; larger is peakier.

    Returns:
        Probabilities; each map sums to one.
    """
    scores = _full(scores)
    _check_beta(beta)
    flat = scores.flatten(2)
    # Subtracting the maximum first keeps beta * score finite at any beta.
    flat = beta * (flat - flat.amax(dim=-1, keepdim=True).detach())
    return F.softmax(flat, dim=-1).reshape(scores.shape)


def expected_points(
    probabilities: Float[Tensor, "b k h w"],
) -> Float[Tensor, "b k 2"]:
    """Mean position of each map, in [-1, 1]."""
    probabilities = _full(probabilities)
    grid = pixel_grid(
        *probabilities.shape[-2:], probabilities.device, probabilities.dtype
    )
    # x needs the column sums only, y the row sums: cheaper than a sum over (H W, 2).
    # No "@" here: autocast would do it, and return it, in half precision.
    x = (probabilities.sum(dim=-2) * grid[0, :, 0]).sum(dim=-1)
    y = (probabilities.sum(dim=-1) * grid[:, 0, 1]).sum(dim=-1)
    return torch.stack([x, y], dim=-1)


def soft_argmax(
    scores: Float[Tensor, "b k h w"], beta: Beta = 1.0, *, plain: bool = False
) -> Float[Tensor, "b k 2"]:
    """Differentiable "where" (Honari et al. 2018, eq. 1-2).

    ``L_k = sum_ij softmax(beta M_k)_ij (i, j)``: the average of all pixel centres,
    weighted by the map. Low beta pulls it to the image's centre, high beta towards the
    argmax.

    Args:
        scores: any real numbers.
        beta: inverse temperature, > 0; a tensor, such as ``(K, 1)``, may be learned.
        plain: as the equations stand, with all maps ``p`` in memory. Otherwise, if
            ``beta`` is a number, one pass over the scores that keeps none of them.

    Returns:
        Points in [-1, 1].
    """
    if plain or isinstance(beta, Tensor):
        return expected_points(spatial_softmax(scores, beta))
    _check_beta(beta)
    return SoftArgmax.apply(_check_maps(scores), beta)


def hard_argmax(scores: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k 2"]:
    """Centre of the highest pixel of each map. No gradient; off by up to half a pixel
    in each direction, however good the map."""
    scores = _full(scores)
    height, width = scores.shape[-2:]
    index = scores.flatten(2).argmax(dim=-1)
    pixels = torch.stack([index % width, index // width], dim=-1)
    return from_pixels(pixels.to(scores.dtype), (height, width))


def gaussian_maps(
    points: Float[Tensor, "b k 2"], size: tuple[int, int], sigma: float
) -> Float[Tensor, "b k h w"]:
    """Gaussian bumps of height one; ``sigma`` is in pixels of the map."""
    if points.ndim != 3 or points.shape[-1] != 2 or 0 in points.shape:
        raise ValueError(
            f"points must be (B, K, 2) and not empty, got {tuple(points.shape)}"
        )
    if points.dtype in (torch.float16, torch.bfloat16):
        points = points.float()
    if not sigma > 0:  # NaN included
        raise ValueError(f"sigma must be positive, got {sigma}")
    centre = to_pixels(points, size)
    y = torch.arange(size[0], device=points.device, dtype=points.dtype)
    x = torch.arange(size[1], device=points.device, dtype=points.dtype)
    gx = torch.exp(-0.5 * ((x - centre[..., 0:1]) / sigma) ** 2)  # (B, K, W)
    gy = torch.exp(-0.5 * ((y - centre[..., 1:2]) / sigma) ** 2)  # (B, K, H)
    return gy.unsqueeze(-1) * gx.unsqueeze(-2)


def variance(probabilities: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k 2"]:
    """Variance of each map's mass along x and y, in [-1, 1] units."""
    probabilities = _full(probabilities)
    grid = pixel_grid(
        *probabilities.shape[-2:], probabilities.device, probabilities.dtype
    )
    mean = expected_points(probabilities).unsqueeze(-1)  # (B, K, 2, 1)
    # Around the mean: E[x^2] - E[x]^2 would lose a narrow peak near the border to
    # rounding.
    square_x = (grid[0, :, 0] - mean[:, :, 0]).square()  # (B, K, W)
    square_y = (grid[:, 0, 1] - mean[:, :, 1]).square()  # (B, K, H)
    variance_x = (probabilities.sum(dim=-2) * square_x).sum(dim=-1)
    variance_y = (probabilities.sum(dim=-1) * square_y).sum(dim=-1)
    return torch.stack([variance_x, variance_y], dim=-1)


def spread(probabilities: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k"]:
    """RMS distance of a map's mass from its mean, in [-1, 1] units."""
    return variance(probabilities).sum(dim=-1).sqrt()


def entropy(probabilities: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k"]:
    """Entropy of each map in nats: 0 for one pixel, log(HW) if flat."""
    return torch.special.entr(_full(probabilities)).sum(dim=(-2, -1))
