"""A trunk for photographs: EfficientNet-lite0 with ImageNet weights.

It stands in for the paper's VGG-16; see ``lmlib.imagenet``.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lmlib.imagenet import pretrained
from lmlib.methods.dlan import DEVIATION, MEAN, DlanConfig, dilated

COMMON, LAST = 8, 11  # blocks before the towers (stride 16, 80 channels), and with them


class LiteTrunk(nn.Module):
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
        super().__init__()
        if config.dilate_from != "conv5":
            raise ValueError(
                "EfficientNet's towers begin at conv5, not at " + config.dilate_from
            )
        network = pretrained()
        self.towers = config.towers
        self.stem, self.norm = network._conv_stem, network._bn0
        self.blocks = network._blocks[:LAST]

    def train(self, mode: bool = True) -> "LiteTrunk":
        """Batch normalisation stays as it is."""
        return super().train(False)

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b t 112 h w"]:
        """Responses of every tower to images with ImageNet's mean and deviation."""
        mean, deviation = (
            images.new_tensor(v).view(3, 1, 1) for v in (MEAN, DEVIATION)
        )
        x = 255 * (images * deviation + mean)
        x = (x - 127) / 128  # what this network was trained with
        x = F.relu6(self.norm(self.stem(x)))
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
