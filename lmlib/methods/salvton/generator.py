"""Stage 3: the person in the garment (section 3.3).

An encoder and a decoder with skip connections. In the decoder, landmarks say where a
normalised feature map is to be strong (equation 12):

    gamma(L_p) (F - mu) / sigma + beta(L_p)

``mu`` and ``sigma`` are those of one image and one channel. Three decoders:

* "lasnl": the paper's. The layer stands in place of a residual block.
* "residual": plain residual blocks, the ablation.
* "released": the code's. The layer follows a residual block, multiplies with ``1 +
  gamma``, and mean and deviation are those of the batch.

Two outputs: "drawn", every pixel of the image; and "blended", in each pixel a mixture
of the person, of the fused garment and of what is drawn, so that what stays and the
cloth's pattern can be taken over (as in PF-AFN).

The discriminator looks at images at two resolutions, patch by patch, with the hinge
loss, as in HR-VITON, whose losses the paper takes over.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from lmlib.methods.salvton.config import SalvtonConfig
from lmlib.methods.salvton.flows import conv

COMMON = 32  # channels of L_s, eq. 10
SOURCES = "person", "fused garment", "drawn"  # of a blended image


class Lasnl(nn.Module):
    """Landmark-aware semantic normalisation, eq. 10-12."""

    def __init__(self, channels: int, landmarks: int, released: bool = False):
        super().__init__()
        self.released = released
        self.common = conv(landmarks, COMMON)  # C_com
        self.gamma, self.beta = conv(COMMON, channels), conv(COMMON, channels)
        self.norm = nn.BatchNorm2d(channels, affine=False) if released else None
        if not released:  # begin as the bare normalisation
            nn.init.ones_(self.gamma.bias)
            nn.init.zeros_(self.beta.bias)

    def forward(
        self, x: Float[Tensor, "b c h w"], maps: Float[Tensor, "b k _ _"]
    ) -> Float[Tensor, "b c h w"]:
        """``maps`` are those of ``landmark_maps``, of any size."""
        maps = F.interpolate(maps, size=x.shape[-2:], mode="nearest")
        seen = F.relu(self.common(maps))
        gamma, beta = self.gamma(seen), self.beta(seen)
        if self.released:
            return (1 + gamma) * self.norm(x) + beta
        return gamma * F.instance_norm(x) + beta


class Plain(nn.Module):
    """A residual block; it does not look at the maps."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            conv(channels, channels),
            nn.InstanceNorm2d(channels, affine=True),
            nn.LeakyReLU(0.2),
            conv(channels, channels),
            nn.InstanceNorm2d(channels, affine=True),
        )

    def forward(
        self, x: Float[Tensor, "b c h w"], maps: Float[Tensor, "b k _ _"]
    ) -> Float[Tensor, "b c h w"]:
        return x + self.body(x)


def decoder_layers(
    kind: Literal["lasnl", "released", "residual"], channels: int, landmarks: int
) -> nn.ModuleList:
    """What a level of the decoder does with its features, called with the maps."""
    if kind == "lasnl":
        return nn.ModuleList([Lasnl(channels, landmarks)])
    layers = [Plain(channels)]
    layers += [Lasnl(channels, landmarks, released=True)] if kind == "released" else []
    return nn.ModuleList(layers)


class Generator(nn.Module):
    """From the person in other clothes and the warped garments to ``P_g``."""

    def __init__(self, config: SalvtonConfig):
        super().__init__()
        c = config
        widths = [c.ngf * min(2**level, 8) for level in range(c.depth + 1)]
        self.stem = conv(c.image_channels + 9, widths[0])
        self.down, self.up, self.layers = (nn.ModuleList() for _ in range(3))
        for inputs, outputs in zip(widths, widths[1:], strict=False):
            down = [conv(inputs, outputs, 3, 2), nn.InstanceNorm2d(outputs)]
            self.down.append(nn.Sequential(*down, nn.LeakyReLU(0.2), Unmapped(outputs)))
            self.up.append(conv(outputs + inputs, inputs))
            self.layers.append(decoder_layers(c.decoder, inputs, c.landmarks))
        # The images themselves skip everything, so what stays need not be drawn anew.
        self.blends = c.output == "blended"
        outputs = c.image_channels + len(SOURCES) * self.blends
        self.out = conv(widths[0] + c.image_channels + 9, outputs)

    def forward(
        self,
        person: Float[Tensor, "b 3 h w"],
        garments: Float[Tensor, "b 9 h w"],
        maps: Float[Tensor, "b k h w"],
    ) -> Float[Tensor, "b 3 h w"]:
        """Images in [0, 1]; ``garments`` are ``(W_g, W_l, W_f)``."""
        drawn, shares = self.parts(person, garments, maps)
        if shares is None:
            return drawn
        sources = torch.stack([person, garments[:, -3:], drawn], 1)
        return (shares[:, :, None] * sources).sum(1)

    def parts(
        self,
        person: Float[Tensor, "b 3 h w"],
        garments: Float[Tensor, "b 9 h w"],
        maps: Float[Tensor, "b k h w"],
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 3 h w"] | None]:
        """What is drawn, and, of a blend, the share of each of ``SOURCES`` in a pixel,
        which sum to 1."""
        seen = 2 * torch.cat([person, garments], 1) - 1
        x = F.leaky_relu(self.stem(seen), 0.2)
        kept = []
        for down in self.down:
            kept.append(x)
            x = down(x)
        for up, layers in zip(self.up[::-1], self.layers[::-1], strict=True):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = up(torch.cat([x, kept.pop()], 1))
            for layer in layers:
                x = layer(x, maps)
            x = F.leaky_relu(x, 0.2)
        out = self.out(torch.cat([x, seen], 1))
        shares = out[:, 3:].softmax(1) if self.blends else None
        return torch.sigmoid(out[:, :3]), shares


class Unmapped(Plain):
    """A residual block where there are no maps."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return super().forward(x, x)


class Discriminator(nn.Module):
    """Is each patch of an image real? At full and at half resolution."""

    def __init__(self, config: SalvtonConfig):
        super().__init__()
        self.scales = nn.ModuleList(_patches(config) for _ in range(2))

    def forward(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> list[list[Float[Tensor, "b _ _ _"]]]:
        """Of each resolution the features of all layers; scores come last."""
        answers = []
        for layers in self.scales:
            x, features = 2 * images - 1, []
            for layer in layers:
                features.append(x := layer(x))
            answers.append(features)
            images = F.avg_pool2d(images, 2)
        return answers


def _patches(config: SalvtonConfig) -> nn.ModuleList:
    widths = [config.ngf * scale for scale in (1, 2, 4)]
    layers, inputs = nn.ModuleList(), config.image_channels
    for number, width in enumerate(widths):
        norm = [nn.InstanceNorm2d(width)] if number else []
        layers.append(
            nn.Sequential(conv(inputs, width, 3, 2), *norm, nn.LeakyReLU(0.2))
        )
        inputs = width
    return layers.append(conv(inputs, 1))


def generator_losses(
    made: Float[Tensor, "b 3 h w"],
    real: Float[Tensor, "b 3 h w"],
    discriminator: Discriminator,
) -> dict[str, Float[Tensor, ""]]:
    """What the generator and the discriminator lower, each with its own weights only.

    Both are terms of one sum. ``adversarial`` and ``feature_matching`` go through a
    discriminator that stands still, ``discriminator`` sees what was made as given. So
    one optimiser serves both, with a rate for each: Adam keeps its state for every
    weight apart.
    """
    truth = discriminator(real)
    judged = discriminator(made.detach())
    hinge = [
        F.relu(1 - good[-1]).mean() + F.relu(1 + bad[-1]).mean()
        for good, bad in zip(truth, judged, strict=True)
    ]
    still = {name: w.detach() for name, w in discriminator.named_parameters()}
    judged = functional_call(discriminator, still, made)
    matched = [
        F.l1_loss(bad, good.detach())
        for ours, theirs in zip(judged, truth, strict=True)
        for bad, good in zip(ours[:-1], theirs[:-1], strict=True)
    ]
    return {
        "adversarial": -torch.stack([each[-1].mean() for each in judged]).mean(),
        "feature_matching": torch.stack(matched).mean(),
        "discriminator": torch.stack(hinge).mean(),
    }
