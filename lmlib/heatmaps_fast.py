"""Soft-argmax in one pass over the maps.

The plain formulation stands in ``heatmaps.soft_argmax``, beside the call of this one;
the tests hold both equal, and ``benchmarks/peers.py`` times them.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lmlib.geometry import pixel_grid

TILE = 1_000_000  # numbers of the maps at a time on a CPU


class SoftArgmax(torch.autograd.Function):
    """``L = sum_ij p_ij x_ij`` of ``p = softmax(beta M)``; no map ``p`` is ever kept.

    For a few images at a time ``e = exp(beta (M - max M))`` is made, summed along rows
    and along columns, and forgotten: ``L`` needs no more than those two sums, divided
    by the sum of all. The gradient, ``dL/dM_ij = beta p_ij (x_ij - L)``, makes ``e``
    again: that is cheaper than to store it.
    """

    @staticmethod
    def forward(
        ctx, scores: Float[Tensor, "b k h w"], beta: float
    ) -> Float[Tensor, "b k 2"]:
        """Scores to points in [-1, 1]."""
        kind = torch.promote_types(scores.dtype, torch.float32)
        x, y = _axes(scores, kind)
        sums = scores.new_empty(2, *scores.shape[:2], 1, dtype=kind)
        points = scores.new_empty(*scores.shape[:2], 2, dtype=kind)
        for b in _tiles(scores):
            peak = scores[b].amax((-2, -1), keepdim=True).to(kind)
            e = (scores[b] - peak).mul_(beta).exp_()  # at most 1, whatever beta
            columns, rows = e.sum(-2), e.sum(-1)  # (b, K, W), (b, K, H)
            sums[0, b], sums[1, b] = peak.squeeze(-1), rows.sum(-1, keepdim=True)
            points[b, :, 0] = (columns * x).sum(-1)
            points[b, :, 1] = (rows * y).sum(-1)
        points /= sums[1]
        ctx.save_for_backward(scores, sums, points)
        ctx.beta = beta
        return points

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Float[Tensor, "b k 2"]):
        scores, (peak, total), points = ctx.saved_tensors
        x, y = _axes(scores, points.dtype)
        pull = gradient * (ctx.beta / total)  # (B, K, 2)
        # pull . (x_ij - L) is a column's number plus a row's.
        column = (pull[..., :1] * x).unsqueeze(-2)  # (B, K, 1, W)
        row = pull[..., 1:] * y - (pull * points).sum(-1, keepdim=True)  # (B, K, H)
        slope = torch.empty_like(scores)
        for b in _tiles(scores):
            e = (scores[b] - peak[b].unsqueeze(-1)).mul_(ctx.beta).exp_()
            torch.mul(e, column[b] + row[b].unsqueeze(-1), out=slope[b])
        return slope, None


def _axes(
    scores: Float[Tensor, "b k h w"], kind: torch.dtype
) -> tuple[Float[Tensor, " w"], Float[Tensor, " h"]]:
    """x of the columns and y of the rows."""
    grid = pixel_grid(*scores.shape[-2:], scores.device, kind)
    return grid[0, :, 0], grid[:, 0, 1]


def _tiles(scores: Tensor) -> list[slice]:
    """Images that go together: all on a GPU, on a CPU what stays near its cache."""
    count, step = len(scores), len(scores)
    if scores.device.type == "cpu":
        step = max(1, TILE // scores[0].numel())
    return [slice(first, first + step) for first in range(0, count, step)]
