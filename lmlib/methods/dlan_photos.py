"""A trunk for photographs: EfficientNet-lite0 with ImageNet weights.

It stands in for the paper's VGG-16; see ``lmlib.imagenet``.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lmlib.imagenet import Lite
from lmlib.methods.dlan import DEVIATION, MEAN, DlanConfig, dilated

COMMON, LAST = 8, 11  # blocks before the towers (stride 16, 80 channels), and with them


class LiteTrunk(Lite):
    """Stem and eleven blocks of EfficientNet-lite0: stride 16, 112 channels.

    Towers dilate the 5x5 convolutions of the last three blocks, which stand for conv5,
    and share all weights. Batch normalisation keeps the statistics of ImageNet, so
    towers cannot disturb each other's.

    Raises:
        ImportError: the packages of the extra ``photos`` are not there.
        ValueError: towers that begin before conv5.
    """

    channels = 112

    def __init__(self, config: DlanConfig):
        if config.dilate_from != "conv5":
            raise ValueError(
                "EfficientNet's towers begin at conv5, not at " + config.dilate_from
            )
        super().__init__(LAST)
        self.towers = config.towers

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b t 112 h w"]:
        """Responses of every tower to images with ImageNet's mean and deviation."""
        mean, deviation = (
            images.new_tensor(v).view(3, 1, 1) for v in (MEAN, DEVIATION)
        )
        x = self.begin(images * deviation + mean)
        for block in self.blocks[:COMMON]:
            x = block(x)
        return torch.stack([self._tower(x, rate) for rate in self.towers], 1)

    def _tower(self, x: Tensor, rate: int) -> Tensor:
        for block in self.blocks[COMMON:]:
            y = F.relu6(block._bn0(block._expand_conv(x)))
            y = F.relu6(block._bn1(dilated(block._depthwise_conv, y, rate)))
            y = block._bn2(block._project_conv(y))
            x = x + y if y.shape == x.shape else y
        return x
