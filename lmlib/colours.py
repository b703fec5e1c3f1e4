"""Random changes of colours, each with its paper's ranges.

Images in [0, 1] keep that range. Every image has draws of its own.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lmlib.processes import drawn

# Principal components of ImageNet's colours (Krizhevsky et al. 2012), in columns.
COLOUR_AXES = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)
COLOUR_SPREAD = (0.2175, 0.0188, 0.0045)


def lmdis_jitter(
    images: Float[Tensor, "b c h w"], brightness: float, contrast: float, generator=None
) -> Float[Tensor, "b c h w"]:
    """Brightness plus U(-``brightness``, ``brightness``), contrast times 1 +-
    ``contrast`` around the image's mean (Zhang et al. 2018)."""
    draw = drawn(torch.rand, (2, len(images), 1, 1, 1), generator, dim=1) * 2 - 1
    shift, factor = draw.to(images) * images.new_tensor([brightness, contrast]).view(
        2, 1, 1, 1, 1
    )
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (mean + (images - mean) * (1 + factor) + shift).clamp(0, 1)


def colour_jitter(
    images: Float[Tensor, "b 3 h w"], amount: float, generator=None
) -> Float[Tensor, "b 3 h w"]:
    """Random brightness, contrast, saturation (factors 1 +- amount) and colour noise,
    as for DVE (Thewlis et al. 2019).

    The noise is AlexNet's: along the principal components of natural colours, deviation
    .1.
    """
    count = len(images)
    factor = drawn(torch.rand, (3, count, 1, 1, 1), generator, dim=1)
    factor = 1 + amount * (2 * factor - 1)
    brightness, contrast, saturation = factor.to(images)
    noise = drawn(torch.randn, (count, 3), generator)
    noise = noise * 0.1 * torch.tensor(COLOUR_SPREAD)
    noise = (noise @ torch.tensor(COLOUR_AXES).T).to(images).view(-1, 3, 1, 1)
    gray = images.mean(dim=1, keepdim=True)
    images = gray + (images - gray) * saturation
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + (images - mean) * contrast
    return (images * brightness + noise).clamp(0, 1)
