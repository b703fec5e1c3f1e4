"""Thin-plate splines on a CPU, where no gradient is wanted.

The plain formulation stands in ``geometry.ThinPlateSpline.backward``, beside the call
of this one; the tests hold both equal, and ``benchmarks/warps.py`` times them.
"""

from functools import lru_cache

import torch
from torch import Tensor

TILE = 120_000  # numbers of the kernel at a time: two such tiles stay in a cache
KEPT = 4_000_000  # numbers of the largest basis that is remembered, of four


def spline(
    xy: Tensor, centres: Tensor, weights: Tensor, affine: Tensor, epsilon: float
) -> Tensor:
    """``A [p; 1] + sum_i w_i U(|p - c_i|)``, ``U(r) = r^2 log(r^2 + epsilon)``.

    xy ``(B, M, 2)``, centres and weights ``(B, N, 2)``, affine ``(B, 2, 3)``, all of
    one type; returns ``(B, M, 2)``.

    Where all images share one lattice and one set of centres (both expanded
    from a single one), everything but the weights is the same for all, and from one
    call to the next: a basis, which is remembered. Then a warp is a matrix product.
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


def _kernel(xy: Tensor, centres: Tensor, epsilon: float, room: Tensor) -> Tensor:
    """``U`` between points ``(b, 2, m)`` and centres ``(b, N, 2)``: ``(b, N, m)``.

    It lies in ``room``, two rows of ``b N m`` numbers or more.
    """
    shape = len(xy), centres.shape[1], xy.shape[2]
    used = room[:, : shape[0] * shape[1] * shape[2]]
    squared, kernel = (row.view(shape) for row in used)
    torch.sub(xy[:, :1], centres[..., :1], out=squared).square_()
    torch.sub(xy[:, 1:], centres[..., 1:], out=kernel)
    squared.addcmul_(kernel, kernel)
    return torch.add(squared, epsilon, out=kernel).log_().mul_(squared)


def _shared_basis(lattice: Tensor, centres: Tensor, epsilon: float) -> Tensor:
    """``U``, x, y and 1 at each point of a lattice ``(M, 2)``: ``(N + 3, M)``."""
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
