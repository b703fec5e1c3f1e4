"""Kernels of ``dve.py``: equations 3 and 5 in time and memory that a batch can afford.

The plain formulations stand in ``dve.exchange`` and ``dve.matching_loss``, beside the
calls of these; the tests hold both equal, and ``benchmarks/dve.py`` times them.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Numbers of the similarity matrix at a time (`python -m benchmarks dve`): a CPU wants a
# tile that stays in its cache, a GPU one that keeps it busy.
TILE = {True: 800_000, False: 64_000_000}


def attention(
    query: Float[Tensor, "p n c"], keys: Float[Tensor, "p m c"]
) -> Float[Tensor, "p n c"]:
    """``softmax(query keys^T) keys``: values are the keys, and the scale is 1."""
    # Contiguous, or PyTorch falls back to a product that keeps the whole matrix.
    query, keys = query.contiguous().unsqueeze(1), keys.contiguous().unsqueeze(1)
    found = F.scaled_dot_product_attention(query, keys, keys, scale=1.0)
    return found.squeeze(1)


def expected_distance(
    source: Float[Tensor, "p n c"],
    target: Float[Tensor, "p {size[0]*size[1]} c"],
    where: Float[Tensor, "p n 2"],
    weight: Float[Tensor, "p n"],
    size: tuple[int, int],
    stride: float,
    power: float,
    tile: int | None = None,
) -> Float[Tensor, ""]:
    """``sum_u weight_u sum_v p(v|u) (stride |g u - v|)^power``.

    ``where`` in cells; ``tile`` as in ``dve.matching_loss``.
    """
    tile = tile or TILE[source.device.type == "cpu"]
    return ExpectedDistance.apply(
        source, target, where, weight, size, stride, power, tile
    )


class ExpectedDistance(torch.autograd.Function):
    """Eq. 3 with its gradient, formed tile by tile in the forward pass.

    For one u, with logits ``s_v = <phi_u, phi'_v>``, ``p = softmax(s)`` and distances
    ``d_v``, the loss is ``E = sum_v p_v d_v`` and its gradient ``dE/ds_v = p_v (d_v -
    E)``. So one look at a row gives both, and no row need be kept.
    """

    @staticmethod
    def forward(ctx, source, target, where, weight, size, stride, power, tile):
        ctx.kind = target.dtype
        kind = torch.promote_types(source.dtype, torch.float32)
        source, target = (x.to(kind).contiguous() for x in (source, target))
        where, weight = where.to(kind), weight.to(kind).unsqueeze(-1)
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        slopes = torch.zeros_like(source), torch.zeros_like(target)
        loss, cells = source.new_zeros(()), target.shape[1]
        pairs, rows = _tile(tile, *source.shape[:2], cells)
        # Two tiles of memory, used again and again: fresh memory costs as much as sums.
        room = source.new_empty(2, pairs * rows * cells)
        with torch.autocast(source.device.type, enabled=False):
            for first in range(0, len(source), pairs):
                p = slice(first, first + pairs)
                for row in range(0, source.shape[1], rows):
                    u = slice(row, row + rows)
                    phi, share = source[p, u], weight[p, u]  # (p, u, C), (p, u, 1)
                    shape = *phi.shape[:2], cells
                    tiles = room[:, : phi[..., 0].numel() * cells]
                    work, probability = (one.view(shape) for one in tiles)
                    torch.bmm(phi, target[p].mT, out=work)
                    torch.softmax(work, -1, out=probability)
                    _distance(where[p, u], size, stride, power, out=work)
                    work.mul_(probability)
                    expected = work.sum(-1, keepdim=True)  # (p, u, 1)
                    loss += (expected * share).sum()
                    if wanted:
                        work.addcmul_(probability, expected, value=-1)  # p (d - E)
                        slopes[0][p, u] = torch.bmm(work, target[p]).mul_(share)
                        slopes[1][p].baddbmm_(work.mT, phi * share)
        ctx.save_for_backward(*slopes)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, scale):
        slopes = [(scale * slope).to(ctx.kind) for slope in ctx.saved_tensors]
        return *slopes, None, None, None, None, None, None


def _tile(numbers: int, pairs: int, rows: int, columns: int) -> tuple[int, int]:
    """Pairs and rows of a tile: whole pairs if they fit, else some rows of one."""
    if rows * columns <= numbers:
        return min(pairs, numbers // (rows * columns)), rows
    return 1, max(1, numbers // columns)


def _distance(where: Tensor, size, stride: float, power: float, out: Tensor) -> None:
    """``(stride |g u - v|)^power`` from ``(p, u, 2)`` to all cells: ``(p, u, H W)``."""
    height, width = size
    x = torch.arange(width, device=where.device, dtype=where.dtype)
    y = torch.arange(height, device=where.device, dtype=where.dtype)
    # The lattice is a product, and so is most of the work: (W) and (H), not (H W).
    dx = (where[..., :1] - x).mul_(stride).square_()  # (p, u, W)
    dy = (where[..., 1:] - y).mul_(stride).square_()  # (p, u, H)
    torch.add(
        dy.unsqueeze(-1), dx.unsqueeze(-2), out=out.unflatten(-1, (height, width))
    )
    if power == 0.5:  # two roots are several times faster than a power
        out.sqrt_().sqrt_()
    elif power == 1:
        out.sqrt_()
    elif power != 2:
        out.pow_(power / 2)
