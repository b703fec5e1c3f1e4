"""Stage 1: landmarks of the garment, and where the person will have them (section 3.1).

Two high-resolution networks (Sun et al. 2019), chained as in the released code: the
first sees the garment, the second the person, the garment and the first one's maps. A
landmark that a garment lacks has an empty map there.

The paper leaves open or the released code has otherwise, and we chose:

* attributes are read off all of the coarsest maps' mean. The released code pools them
  to three rows, one for each class, so that a class is a third of the image.
* binary cross-entropy is summed over a map and averaged over the landmarks that are
  there, so that it is as large as the attributes' cross-entropy, which has weight 1.
* a landmark that is hidden has a place, and is learned; one that is absent has none.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lmlib.geometry import from_pixels, to_pixels
from lmlib.heatmaps import gaussian_maps, hard_argmax
from lmlib.methods.salvton.config import SalvtonConfig
from lmlib.methods.salvton.flows import ABSENT, Links
from lmlib.processes import portion


def normed(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    """A convolution with batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


class Basic(nn.Module):
    """A residual block of two 3x3 convolutions."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = normed(width, width), normed(width, width)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return F.relu(x + self.second(F.relu(self.first(x))))


class Exchange(nn.Module):
    """All resolutions go through residual blocks, then each gets the sum of all.

    A finer one comes down through convolutions of stride 2, a coarser one up through a
    1x1 convolution and to nearest neighbours.
    """

    def __init__(self, widths: tuple[int, ...], blocks: int):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(*[Basic(width) for _ in range(blocks)]) for width in widths
        )
        self.ways = nn.ModuleList(
            nn.ModuleList(_way(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    def forward(
        self, maps: list[Float[Tensor, "b _ _ _"]]
    ) -> list[Float[Tensor, "b _ _ _"]]:
        """Maps of each resolution, finest first."""
        maps = [block(x) for block, x in zip(self.blocks, maps, strict=True)]
        mixed = []
        for target, ways in zip(maps, self.ways, strict=True):
            parts = [
                F.interpolate(way(x), size=target.shape[-2:], mode="nearest")
                for way, x in zip(ways, maps, strict=True)
            ]
            mixed.append(F.relu(torch.stack(parts).sum(0)))
        return mixed


def _way(widths: tuple[int, ...], source: int, target: int) -> nn.Module:
    if source == target:
        return nn.Identity()
    if source > target:
        return normed(widths[source], widths[target], 1)
    layers: list[nn.Module] = []
    for level in range(source, target):
        last = level == target - 1
        layers += [normed(widths[source], widths[target if last else source], 3, 2)]
        layers += [] if last else [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class HighResolution(nn.Module):
    """HRNet: it never gives up its finest resolution, and adds coarser ones to it."""

    def __init__(self, inputs: int, config: SalvtonConfig, classes: int):
        super().__init__()
        c, widths = config, config.branches
        stem = [normed(inputs, widths[0], 3, 2), nn.ReLU(inplace=True)]
        if c.map_stride == 4:
            stem += [normed(widths[0], widths[0], 3, 2), nn.ReLU(inplace=True)]
        self.stem = nn.Sequential(*stem, Basic(widths[0]))
        self.begin, self.stages = nn.ModuleList(), nn.ModuleList()
        for count in range(2, len(widths) + 1):
            down = normed(widths[count - 2], widths[count - 1], 3, 2)
            self.begin.append(nn.Sequential(down, nn.ReLU(inplace=True)))
            times = c.middle if count > 2 else 1
            times = c.exchanges if count == len(widths) else times
            stage = [Exchange(widths[:count], c.blocks) for _ in range(times)]
            self.stages.append(nn.Sequential(*stage))
        self.maps = nn.Conv2d(widths[0], c.landmarks, 1)
        nn.init.constant_(self.maps.bias, -4.0)  # most of a map is empty
        self.attributes = nn.Linear(widths[-1], c.landmarks * classes)
        self.classes = classes

    def forward(
        self, images: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b k _ _"], Float[Tensor, "b k classes"]]:
        """Logits of heatmaps and of attributes."""
        maps = [self.stem(images)]
        for begin, stage in zip(self.begin, self.stages, strict=True):
            maps = stage([*maps, begin(maps[-1])])
        attributes = self.attributes(maps[-1].mean((2, 3)))
        return self.maps(maps[0]), attributes.unflatten(1, (-1, self.classes))


class Found(NamedTuple):
    """Logits of both networks."""

    garment_maps: Float[Tensor, "b k y x"]
    garment_attributes: Float[Tensor, "b k 2"]  # absent, present
    person_maps: Float[Tensor, "b k y x"]
    person_attributes: Float[Tensor, "b k 3"]  # absent, occluded, visible

    def links(self, decoding: str = "soft") -> Links:
        """The landmarks themselves; ``decoding`` "soft" or "hard"."""
        decode = around_peak if decoding == "soft" else hard_argmax
        present = self.garment_attributes.argmax(-1) == 1
        return Links(
            decode(self.garment_maps.detach()),
            present,
            decode(self.person_maps.detach()),
            self.person_attributes.argmax(-1).where(present, ABSENT),
        )


class Finder(nn.Module):
    """Stage 1: ``L_g`` of a garment and ``L_p`` of the person who puts it on."""

    def __init__(self, config: SalvtonConfig):
        super().__init__()
        c = config
        self.garment = HighResolution(c.image_channels, c, 2)
        self.person = HighResolution(2 * c.image_channels + c.landmarks, c, 3)

    def forward(
        self, person: Float[Tensor, "b 3 h w"], garment: Float[Tensor, "b 3 h w"]
    ) -> Found:
        """Images in [0, 1]."""
        person, garment = 2 * person - 1, 2 * garment - 1
        maps, attributes = self.garment(garment)
        there = (attributes.argmax(-1) == 1)[..., None, None]
        seen = F.interpolate(
            maps.sigmoid() * there,
            size=person.shape[-2:],
            mode="bilinear",
            align_corners=False,
        )
        return Found(
            maps, attributes, *self.person(torch.cat([person, garment, seen], 1))
        )


def around_peak(
    maps: Float[Tensor, "b k h w"], radius: int = 3
) -> Float[Tensor, "b k 2"]:
    """The peak of each heatmap to a part of a pixel; logits to points in [-1, 1].

    The mean place of the pixels within ``radius`` of the highest one, weighted by the
    map less what it is at the window's edge. ``hard_argmax`` is off by up to half a
    cell of the map, ``map_stride`` times as many pixels of the image.
    """
    size = maps.shape[-2:]
    peak = to_pixels(hard_argmax(maps), size)  # (B, K, 2)
    reach = torch.arange(-radius, radius + 1, device=maps.device)
    steps = torch.stack(torch.meshgrid(reach, reach, indexing="xy"), -1).view(-1, 2)
    pixels = peak.unsqueeze(2) + steps
    limit = torch.tensor([size[1] - 1, size[0] - 1], device=maps.device)
    inside = ((pixels >= 0) & (pixels <= limit)).all(-1)
    x, y = pixels.round().clamp(min=0).minimum(limit).long().unbind(-1)
    height = maps.sigmoid().flatten(2).gather(2, y * size[1] + x)
    least = height.where(inside, torch.inf).amin(-1, keepdim=True)
    weight = (height - least) * inside + 1e-9
    mean = (weight.unsqueeze(-1) * pixels).sum(2) / weight.sum(-1, keepdim=True)
    return from_pixels(mean, tuple(size))


def landmark_losses(
    found: Found, links: Links, sigma: float
) -> dict[str, Float[Tensor, ""]]:
    """Binary cross-entropy of the maps and cross-entropy of the attributes."""
    known = links.attribute != ABSENT
    return {
        "garment_maps": map_loss(
            found.garment_maps, links.garment, links.present, sigma
        ),
        "person_maps": map_loss(found.person_maps, links.person, known, sigma),
        "garment_attributes": F.cross_entropy(
            found.garment_attributes.flatten(0, 1), links.present.long().flatten()
        ),
        "person_attributes": F.cross_entropy(
            found.person_attributes.flatten(0, 1), links.attribute.flatten()
        ),
    }


def map_loss(
    maps: Float[Tensor, "b k h w"],
    points: Float[Tensor, "b k 2"],
    known: Bool[Tensor, "b k"],
    sigma: float,
) -> Float[Tensor, ""]:
    """Binary cross-entropy with Gaussians of ``sigma`` cells, summed over each map."""
    points = points.where(known.unsqueeze(-1), 0.0)  # they may be NaN
    wanted = gaussian_maps(points, tuple(maps.shape[-2:]), sigma)
    each = F.binary_cross_entropy_with_logits(maps, wanted, reduction="none")
    weight = known.sum().float()
    return (each.sum((2, 3)) * known).sum() / weight.clamp(min=1) * portion(weight)
