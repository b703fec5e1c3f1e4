"""New images for given landmarks (Zhang et al. 2018, figure 11 and appendix G.5).

Landmark discovery has been trained and is frozen. A generator draws an image from the
landmarks of a real one and from noise, which stands for everything else:

    noise z ---- deconvolutions --> map --+--> product and both --> decoder --> image
    landmarks -> Gaussian maps --> map ---+

A discriminator that is an autoencoder (BEGAN, Berthelot et al. 2017) tells real images
from drawn ones by how well it can copy them, and the landmarks found in the drawn image
must be those that were asked for (L1).

The paper gives no widths, no weights and no gamma; all are ours.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from lmlib.layers import Ladder, Rungs, normed_convs
from lmlib.methods.base import FitOptions, Method
from lmlib.methods.lmdis import Lmdis
from lmlib.processes import drawn
from lmlib.samples import Batch
from lmlib.schedules import constant_then_decay


@dataclass(frozen=True)
class GenerationConfig:
    """Sizes and weights, all of them ours."""

    noise: int = 64  # numbers in z
    width: int = 32  # channels of the two maps that are fused
    decoder: Rungs = Rungs.mirrored(32, 48, 64)
    code: int = 64  # numbers an image is squeezed through in the discriminator
    gamma: float = 0.6  # wanted energy of drawn images over that of real ones
    balance: float = 0.002  # lambda_k of BEGAN: how fast k follows
    weight_landmark: float = 2.0  # of the L1 distance, in [-1, 1]
    lr: float = 4e-4
    batch_size: int = 16


class Generation(Method):
    """Draws images with given landmarks; ``finder`` is a trained ``Lmdis``."""

    name = "lmdis-generation"

    def __init__(self, config: GenerationConfig, finder: Lmdis):
        super().__init__(config)
        c, size = config, finder.config.size
        if size % 4:
            raise ValueError(f"images must have 4 n pixels a side, these have {size}")
        self.finder = finder.eval().requires_grad_(False)
        counts = len(finder.config.widths) * (finder.config.landmarks + 1)
        self.start = nn.Linear(c.noise, c.width * (size // 4) ** 2)
        self.grow = nn.Sequential(
            nn.Unflatten(1, (c.width, size // 4, size // 4)),
            nn.Upsample(scale_factor=2),
            normed_convs(c.width, c.width),
            nn.Upsample(scale_factor=2),
            normed_convs(c.width, c.width),
        )
        self.place = normed_convs(counts, c.width)
        self.decoder = Ladder(3 * c.width, c.decoder, finder.config.image_channels)
        self.discriminator = Copier(finder.config.image_channels, size, c.code)
        self.register_buffer("k", torch.zeros(()))  # BEGAN's k_t

    def fit_options(self, steps: int) -> FitOptions:
        """Adam; the rate falls once."""
        c = self.config
        return FitOptions(
            batch_size=c.batch_size,
            lr=c.lr,
            betas=(0.5, 0.999),
            schedule=constant_then_decay(steps),
        )

    def train(self, mode: bool = True):
        super().train(mode)
        self.finder.eval()  # frozen, its statistics too
        return self

    def noise(self, count: int) -> Float[Tensor, "{count} noise"]:
        """Normal numbers, drawn on the CPU."""
        z = drawn(torch.randn, (count, self.config.noise), self.generator)
        return z.to(self.k.device)

    def draw(
        self, points: Float[Tensor, "b k 2"], z: Float[Tensor, "b noise"]
    ) -> Float[Tensor, "b c h w"]:
        """Landmarks and noise to images."""
        free = self.grow(self.start(z))
        placed = self.place(self.finder.unpool.maps(points).flatten(1, 2))
        fused = torch.cat([free * placed, free, placed], dim=1)
        return torch.sigmoid(self.decoder(fused).float())

    def landmarks(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k 2"]:
        """Landmarks that the frozen network finds."""
        return self.finder.landmarks(images)

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """BEGAN's two losses in one backward pass, and the landmarks' L1.

        The discriminator lowers ``E(real) - k E(drawn)``, the generator ``E(drawn)``,
        where E is the mean absolute error of the copy.
        """
        real = batch["image"]
        with torch.no_grad():
            points = self.landmarks(real)
        drawn = self.draw(points, self.noise(len(real)))
        true_energy = energy(self.discriminator, real)
        # One pass for both: the generator's gradient flows through as it is, that of
        # the discriminator's weights is turned round and weighed with k.
        weights = dict(self.discriminator.named_parameters())
        turned = {n: _Turned.apply(w, -self.k) for n, w in weights.items()}
        drawn_energy = energy(partial_call(self.discriminator, turned), drawn)
        if self.training:
            gap = self.config.gamma * true_energy - drawn_energy
            k = self.k + self.config.balance * gap.detach()
            self.k = k.clamp(0, 1)
        off = (self.landmarks(drawn) - points).abs().mean()
        return {
            "real": true_energy,
            "drawn": drawn_energy,
            "landmark": self.config.weight_landmark * off,
        }


class Copier(nn.Module):
    """BEGAN's discriminator: an image through a few numbers, and back."""

    def __init__(self, channels: int, size: int, code: int, width: int = 24):
        super().__init__()
        small = size // 4

        def conv(inputs: int, outputs: int, stride: int = 1):
            layer = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
            return nn.Sequential(layer, nn.ELU(inplace=True))

        self.squeeze = nn.Sequential(
            conv(channels, width),
            conv(width, 2 * width, 2),
            conv(2 * width, 2 * width, 2),
            nn.Flatten(),
            nn.Linear(2 * width * small**2, code),
        )
        self.expand = nn.Sequential(
            nn.Linear(code, width * small**2),
            nn.Unflatten(1, (width, small, small)),
            conv(width, width),
            nn.Upsample(scale_factor=2),
            conv(width, width),
            nn.Upsample(scale_factor=2),
            conv(width, width),
            nn.Conv2d(width, channels, 3, padding=1),
        )

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.expand(self.squeeze(images - 0.5)) + 0.5


def energy(copy, images: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """How badly a copier copies: mean absolute error of a channel of a pixel."""
    return (copy(images) - images).abs().mean()


def partial_call(module: nn.Module, weights: dict[str, Tensor]):
    """The module as a function, with other weights."""
    return lambda images: functional_call(module, weights, (images,))


class _Turned(torch.autograd.Function):
    """The same weight; its gradient times ``factor``."""

    @staticmethod
    def forward(ctx, weight, factor):
        ctx.factor = factor
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx, gradient):
        return ctx.factor * gradient, None
