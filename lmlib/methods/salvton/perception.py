"""The perceptual loss of eq. 6, by a network that stands in for the paper's VGG.

* "imagenet": L1 of the features of EfficientNet-lite0, which has seen ImageNet (the
  extra ``photos``), each layer divided by the size of its features of the target, so
  that none drowns the others.
* "gradients": no network. Images are compared at several resolutions, by their colours
  and by their gradients: edges in the right place count. It is no perceptual loss, and
  is not called one.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lmlib.imagenet import features

Images = Float[Tensor, "b 3 h w"]


def comparison(kind: str) -> Callable[[Images, Images], Float[Tensor, ""]]:
    """How images are compared; ImportError where its network is not installed."""
    if kind == "gradients":
        return gradient_pyramid
    features()  # says now what is missing, not in the middle of a training
    return feature_distance


def feature_distance(
    found: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]
) -> Float[Tensor, ""]:
    """L1 of the colours and of ImageNet features, the mean over layers. A mask behind
    the colours, ``c`` of 4, is compared by itself."""
    network = features().to(found.device)
    with torch.no_grad():
        wanted = network(target[:, :3])
    total = [(found - target).abs().mean()]
    for one, other in zip(network(found[:, :3]), wanted, strict=True):
        total.append((one - other).abs().mean() / other.abs().mean())
    return torch.stack(total).mean()


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
