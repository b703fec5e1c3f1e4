"""What descriptor vector exchange is compared with.

* Dense landmarks of three numbers (Thewlis et al. 2017, NeurIPS) are ``Dve`` with
  ``auxiliaries=0`` and ``channels=3``.
* ``SparseLandmarks`` (Thewlis et al. 2017, ICCV): K maps, each of which must move with
  the image, and no two of which may be in the same place.
* ``SmallNetPlus``: a supervised network (table 5).

Both papers leave open, and we chose: the weight of the diversity term and the side of
its pooling (the paper's image has 100 pixels, ours fewer); the supervised network's
head, one linear layer on its last maps.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lmlib.geometry import pixel_grid, to_pixels
from lmlib.heatmaps import soft_argmax, spatial_softmax
from lmlib.layers import check_images
from lmlib.methods.base import Method
from lmlib.methods.dve import DEVIATION, MEAN, Dve, DveConfig, SmallNet, regression_loss
from lmlib.samples import Batch


class SparseLandmarks(Dve):
    """K = ``config.channels`` landmarks by equivariance and diversity.

    A map's softmax says where its landmark is; views and network are those of ``Dve``.
    """

    name = "sparse-landmarks"

    def __init__(self, config: DveConfig, diversity: float = 30.0, pooling: int = 5):
        super().__init__(config)
        self.weights = {"alignment": 1.0, "diversity": diversity}
        self.pooling = pooling

    def landmarks(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k 2"]:
        """In [-1, 1]; no label has named them."""
        return soft_argmax(self.descriptors(images))

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Alignment in square cells, and diversity in [0, 1]."""
        u, v, where, _ = self.pair(batch)
        maps = spatial_softmax(self.descriptors(torch.cat([u, v])))
        first, second = maps.chunk(2)
        terms = {
            "alignment": alignment_loss(first, second, where),
            "diversity": diversity_loss(maps, self.pooling),
        }
        return self.weighted(terms)


def alignment_loss(
    first: Float[Tensor, "p k h w"],
    second: Float[Tensor, "p k h w"],
    where: Float[Tensor, "p h*w 2"],
) -> Float[Tensor, ""]:
    """``(1/K) sum_r sum_uv p(u|r) q(v|r) |g u - v|^2``: mean square distance in cells.

    Maps that sum to one; ``where`` in [-1, 1]. The double sum falls apart into means:
    ``E|gu|^2 + E|v|^2 - 2 E[gu] E[v]``.
    """
    height, width = first.shape[-2:]
    moved = to_pixels(where, (height, width)).to(first)  # (P, N, 2) in cells
    cells = pixel_grid(height, width, first.device, first.dtype).flatten(0, 1)
    cells = to_pixels(cells, (height, width))  # (N, 2)
    p, q = first.flatten(2), second.flatten(2)  # (P, K, N)
    squares = p @ moved.square().sum(-1, keepdim=True)
    squares = squares + q @ cells.square().sum(-1, keepdim=True)
    product = ((p @ moved) * (q @ cells)).sum(-1)
    return (squares.squeeze(-1) - 2 * product).mean()


def diversity_loss(maps: Float[Tensor, "p k h w"], pooling: int) -> Float[Tensor, ""]:
    """``1 - (1/K) sum_u max_r p_r(u)`` on maps summed over windows: 0 if no two maps
    share a window."""
    windows = F.avg_pool2d(maps, pooling, ceil_mode=True, divisor_override=1)
    return 1 - (windows.amax(dim=1).sum((-2, -1)) / maps.shape[1]).mean()


class SmallNetPlus(Method):
    """SmallNet with a pooling after each of its first three layers, on 64 pixels."""

    name = "smallnet-plus"

    def __init__(self, landmarks: int, widths: tuple[int, ...] = DveConfig.widths):
        super().__init__(None)
        layers, poolings = list(SmallNet(1, widths))[:-1], 0
        pooled: list[nn.Module] = []
        for layer in layers:
            if isinstance(layer, nn.MaxPool2d):
                continue
            pooled.append(layer)
            if isinstance(layer, nn.LeakyReLU) and poolings < 3:
                pooled.append(nn.MaxPool2d(2))
                poolings += 1
        self.features = nn.Sequential(*pooled, nn.Flatten())
        self.points = nn.Linear(widths[-1] * 8 * 8, 2 * landmarks)
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), False)

    def landmarks(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k 2"]:
        """From images resized to 64 pixels."""
        images = (check_images(images, 3) - self.mean) / self.deviation
        if images.shape[-1] != 64:
            images = F.interpolate(
                images, (64, 64), mode="bilinear", align_corners=False
            )
        return self.points(self.features(images)).unflatten(1, (-1, 2))

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The same loss as of the regressor on descriptors."""
        return {"regression": regression_loss(self.landmarks(batch["image"]), batch)}
