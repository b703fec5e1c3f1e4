"""What stands in for the perceptual loss of eq. 6.

The paper compares features of a VGG network that has seen ImageNet. Here images are
compared at several resolutions, by their colours and by their gradients: edges in the
right place count, and no other network is needed. It is no perceptual loss, and is not
called one.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def gradient_pyramid(
    found: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"], levels: int = 3
) -> Float[Tensor, ""]:
    """L1 of colours, and of their differences along rows and columns.

    The mean over ``levels`` resolutions, each half of the one before.
    """
    total = []
    for _ in range(levels):
        far = found - target
        across, down = far.diff(dim=3), far.diff(dim=2)
        total.append(far.abs().mean() + across.abs().mean() + down.abs().mean())
        found, target = F.avg_pool2d(found, 2), F.avg_pool2d(target, 2)
    return torch.stack(total).mean()
