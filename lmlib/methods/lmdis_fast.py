"""Unpooling of ``lmdis.py`` without its features and its stack of maps.

The plain formulation stands in ``lmdis.Unpooling.forward``, beside the call of this
one; the tests hold both equal, and ``benchmarks/lmdis.py`` times them.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def unpool(
    maps: Float[Tensor, "b m c n n"],
    vectors: Float[Tensor, "b c s"] | None,
    weight: Float[Tensor, "o i 3 3"],
) -> Float[Tensor, "b o n n"]:
    """Eq. 13 and a 3x3 convolution in one.

    ``F~ = sum_k D~_k t_k`` is linear in the maps, and so is a convolution. So the
    kernels are applied to the vectors ``t_k`` first, and then a matrix product with the
    maps does everything.

    Args:
        maps: ``D~``, of M widths and K + 1 landmarks.
        vectors: ``t_k``; None: the maps alone are convolved.
        weight: of the convolution; its M (K + 1) inputs from maps come first.
    """
    count, levels, channels = maps.shape[:3]
    direct = weight[:, : levels * channels]
    # One kernel a map, the same for all images or, with vectors, one for each.
    kernels = rearrange(direct, "o (m k) y x -> 1 o y x m k", m=levels)
    if vectors is not None:
        through = weight[:, levels * channels :].unflatten(1, (levels, -1))
        through = torch.einsum("bks,omsyx->boyxmk", vectors, through)
        kernels = kernels + through
    # A pixel adds to its neighbours what their kernels take from it: turned round.
    kernels = rearrange(kernels.flip(2, 3), "b o y x m k -> b (o y x) (m k)")
    pixels = rearrange(maps, "b m k y x -> b (m k) (y x)")
    parts = kernels.expand(count, -1, -1) @ pixels
    return F.fold(parts, maps.shape[-2:], 3, padding=1)
