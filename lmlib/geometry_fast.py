"""Thin-plate splines on a CPU, where no gradient is wanted.

The plain formulation stands in ``geometry.ThinPlateSpline.backward``, beside the call
of this one; the tests hold both equal, and ``benchmarks/warps.py`` times them.
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

TILE = 120_000  # numbers of the kernel at a time: two such tiles stay in a cache
KEPT = 4_000_000  # numbers of the largest basis that is remembered, of four


def spline(
    xy: Float[Tensor, "b m 2"],
    centres: Float[Tensor, "b n 2"],
    weights: Float[Tensor, "b n 2"],
    affine: Float[Tensor, "b 2 3"],
    epsilon: float,
) -> Float[Tensor, "b m 2"]:
    """``A [p; 1] + sum_i w_i U(|p - c_i|)``, ``U(r) = r^2 log(r^2 + epsilon)``.

    All are of one type. Where all images share one lattice and one set of centres (both
    expanded from a single one), everything but the weights is the same for all, and
    from one call to the next: a basis, which is remembered. Then a warp is a matrix
    product.
    """
    linear, shift = affine[:, :, :2], affine[:, :, 2:]
    if xy.stride(0) == centres.stride(0) == 0:
        basis = _shared_basis(xy[0], centres[0], epsilon)  # (N + 3, M)
        values = torch.cat([weights.mT, linear, shift], dim=2)  # (B, 2, N + 3)
        return (values.flatten(0, 1) @ basis).unflatten(0, (-1, 2)).mT
    xy = xy.mT.contiguous()  # (B, 2, M), so that rows of the kernel are contiguous
    out = torch.baddbmm(shift, linear, xy)
    count, n = centres.shape[:2]
    images = max(1, min(count, TILE // (n * max(xy.shape[2], 1))))
    points = max(1, TILE // (n * images))
    room = xy.new_empty(2, images * n * points)
    for first in range(0, count, images):
        b = slice(first, first + images)
        for start in range(0, xy.shape[2], points):
            p = slice(start, start + points)
            bent = _kernel(xy[b, :, p], centres[b], epsilon, room)
            out[b, :, p] += weights[b].mT @ bent
    return out.mT


def _kernel(
    xy: Float[Tensor, "b 2 m"],
    centres: Float[Tensor, "b n 2"],
    epsilon: float,
    room: Float[Tensor, "2 _"],
) -> Float[Tensor, "b n m"]:
    """``U`` between points and centres.

    It lies in ``room``, two rows of ``b N m`` numbers or more.
    """
    shape = len(xy), centres.shape[1], xy.shape[2]
    used = room[:, : shape[0] * shape[1] * shape[2]]
    squared, kernel = (row.view(shape) for row in used)
    torch.sub(xy[:, :1], centres[..., :1], out=squared).square_()
    torch.sub(xy[:, 1:], centres[..., 1:], out=kernel)
    squared.addcmul_(kernel, kernel)
    return torch.add(squared, epsilon, out=kernel).log_().mul_(squared)


def _shared_basis(
    lattice: Float[Tensor, "m 2"], centres: Float[Tensor, "n 2"], epsilon: float
) -> Float[Tensor, "n+3 m"]:
    """``U``, x, y and 1 at each point of a lattice."""
    small = len(lattice) * (len(centres) + 3) <= KEPT
    make = _basis if small else _basis.__wrapped__
    return make(_bytes(lattice), _bytes(centres), lattice.dtype, epsilon)


@lru_cache(maxsize=4)
def _basis(lattice: bytes, centres: bytes, dtype: torch.dtype, epsilon: float):
    xy, c = (
        torch.frombuffer(bytearray(one), dtype=dtype).view(1, -1, 2)
        for one in (lattice, centres)
    )
    xy = xy.mT.contiguous()  # (1, 2, M)
    kernel = _kernel(xy, c, epsilon, xy.new_empty(2, c.shape[1] * xy.shape[2]))
    return torch.cat([kernel, xy, torch.ones_like(xy[:, :1])], dim=1)[0]


def _bytes(points: Tensor) -> bytes:
    return points.detach().contiguous().view(torch.uint8).numpy().tobytes()
