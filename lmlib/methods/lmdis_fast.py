"""Unpooling of ``lmdis.py`` without its features and its stack of maps.

The plain formulation stands in ``lmdis.Unpooling.forward``, beside the call of this
one; the tests hold both equal, and ``benchmarks/lmdis.py`` times them.
"""

import torch
import torch.nn.functional as F
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
    direct = weight[:, : levels * channels].unflatten(1, (levels, channels))
    # One kernel a map: (B or 1, O, 3, 3, M, K + 1)
    kernels = direct.permute(0, 3, 4, 1, 2).unsqueeze(0)
    if vectors is not None:
        through = weight[:, levels * channels :].unflatten(1, (levels, -1))
        through = torch.einsum("bks,omsyx->boyxmk", vectors, through)
        kernels = kernels + through
    # A pixel adds to its neighbours what their kernels take from it: turned round.
    kernels = kernels.flip(2, 3).flatten(4, 5).flatten(1, 3)  # (B, 9 O, M (K + 1))
    parts = kernels.expand(count, -1, -1) @ maps.flatten(1, 2).flatten(2)
    return F.fold(parts, maps.shape[-2:], 3, padding=1)
