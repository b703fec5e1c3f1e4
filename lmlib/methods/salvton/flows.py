"""Flows: what they are, two feature pyramids, and the global flow (figure 4).

A flow ``(B, 2, H, W)`` says for every pixel of the person where the flat garment is
read: x and y in [-1, 1], ``align_corners=False``.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlib.geometry import pixel_grid, to_pixels
from lmlib.methods.salvton.config import SalvtonConfig

Flow = Float[Tensor, "b 2 h w"]
ABSENT, OCCLUDED, VISIBLE = range(3)  # attributes of a landmark


class Links(NamedTuple):
    """Landmarks that link a garment with a person."""

    garment: Float[Tensor, "b k 2"]  # L_g
    present: Bool[Tensor, "b k"]  # has the garment this part?
    person: Float[Tensor, "b k 2"]  # L_p, where the garment's landmarks will be
    attribute: Int[Tensor, "b k"]  # ABSENT, OCCLUDED or VISIBLE there

    @property
    def active(self) -> Bool[Tensor, "b k"]:
        """Landmarks that both images show."""
        framed = (self.garment.abs() < 1).all(-1) & (self.person.abs() < 1).all(-1)
        return framed & self.present & (self.attribute == VISIBLE)


# --- flows ----------------------------------------------------------------------------


def standing(like: Float[Tensor, "b c h w"]) -> Float[Tensor, "1 2 h w"]:
    """The flow that reads every pixel at its own place."""
    grid = pixel_grid(*like.shape[-2:], like.device, like.dtype)
    return grid.permute(2, 0, 1).unsqueeze(0)


def warp(images: Float[Tensor, "b c y x"], flow: Flow) -> Float[Tensor, "b c h w"]:
    """``W(G, f)``; beyond its edge an image goes on as its edge is."""
    grid = flow.permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def compose(flow: Flow, offset: Float[Tensor, "b 2 h w"]) -> Flow:
    """``f(u + d(u))``: a step ``d``, in pixels, before a flow.

    What is interpolated is how far the flow moves, which goes on sensibly past the
    edge.
    """
    size = offset.new_tensor(offset.shape[-2:]).flip(0).view(1, 2, 1, 1)
    here = standing(flow)
    step = here + 2 * offset / size
    return step + warp(flow - here, step)


def enlarge(maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
    """Twice as many pixels a side; a flow holds places, so its values stay."""
    return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)


def bending(flow: Flow) -> Float[Tensor, ""]:
    """Eq. 8: the generalised Charbonnier loss of a flow's second differences.

    ``(x^2 + 1e-6)^.45`` along rows, columns and both diagonals, as in the code of the
    paper's parents. An affine flow costs nothing; eq. 8 as printed, with first
    differences, would ask for one that scales nothing.
    """
    middle = flow[:, :, 1:-1, 1:-1]
    seconds = (
        flow[:, :, :, 2:] + flow[:, :, :, :-2] - 2 * flow[:, :, :, 1:-1],
        flow[:, :, 2:] + flow[:, :, :-2] - 2 * flow[:, :, 1:-1],
        flow[:, :, 2:, 2:] + flow[:, :, :-2, :-2] - 2 * middle,
        flow[:, :, 2:, :-2] + flow[:, :, :-2, 2:] - 2 * middle,
    )
    costs = [((x.square() + 1e-6) ** 0.45 - 1e-6**0.45).mean() for x in seconds]
    return torch.stack(costs).sum()


def leaving(flow: Flow) -> Float[Tensor, ""]:
    """How far a flow reads outside of the garment's image.

    Nothing else would call it back: out there every step sees the same.
    """
    return F.relu(flow.abs() - 1.05).mean()


def squares(
    points: Float[Tensor, "b k 2"],
    value: Float[Tensor, "b k"],
    size: tuple[int, int],
    side: float,
    ground: float,
) -> Float[Tensor, "b k h w"]:
    """Hard squares around landmarks: ``value`` in them, ``ground`` elsewhere.

    ``side`` in pixels. A pixel that a square covers in part has a part of its value, so
    that small images still tell where in a pixel the landmark is.
    """
    centre = to_pixels(points, size).unsqueeze(-1)  # (B, K, 2, 1)

    def covered(count: int, middle: Tensor) -> Tensor:
        place = torch.arange(count, device=points.device, dtype=points.dtype)
        return (side / 2 + 0.5 - (place - middle).abs()).clamp(0, min(1.0, side))

    x, y = covered(size[1], centre[:, :, 0]), covered(size[0], centre[:, :, 1])
    box = y.unsqueeze(-1) * x.unsqueeze(-2)
    return ground + (value[..., None, None] - ground) * box


def landmark_maps(
    points: Float[Tensor, "b k 2"],
    attribute: Int[Tensor, "b k"],
    size: tuple[int, int],
    side: float,
) -> Float[Tensor, "b k h w"]:
    """The "heatmaps" that networks get: -1, and a square of 1 around a landmark that is
    visible, of 0 around one that is occluded, as in the released code."""
    value = (attribute - 1).to(points)  # an absent one has no square
    return squares(points, value, size, side, -1.0)


# --- networks -------------------------------------------------------------------------


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size, or divides it by ``stride``."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)


def convs(inputs: int, *widths: int) -> nn.Sequential:
    """3x3 convolutions with LeakyReLU between them, none after the last."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [conv(inputs, width), nn.LeakyReLU(0.1, inplace=True)]
        inputs = width
    return nn.Sequential(*layers[:-1])


class PreActivated(nn.Module):
    """A residual block: twice batch normalisation, LeakyReLU and a 3x3
    convolution."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(*_pre(width, width), *_pre(width, width))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x + self.body(x)


def _pre(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.BatchNorm2d(inputs), nn.LeakyReLU(0.1), conv(inputs, outputs, 3, stride)]


class Features(NamedTuple):
    """An image's features: at full resolution, and of each level, finest first."""

    full: Float[Tensor, "b s h w"]
    levels: list[Float[Tensor, "b d _ _"]]  # halved once, twice, ...


class Pyramid(nn.Module):
    """A feature pyramid network on an image and its landmarks' maps."""

    def __init__(self, config: SalvtonConfig):
        super().__init__()
        c, half = config, config.stem // 2
        # Half of the channels see colours, the other half landmarks.
        self.colours = conv(c.image_channels, c.stem - half)
        self.marks = conv(c.landmarks, half, 1)
        self.layers, self.lateral, self.smooth = (nn.ModuleList() for _ in range(3))
        inputs = c.stem
        for width in c.widths:
            blocks = [PreActivated(width) for _ in range(c.residuals)]
            self.layers.append(nn.Sequential(*_pre(inputs, width, 2), *blocks))
            self.lateral.append(conv(width, c.fpn, 1))
            self.smooth.append(conv(c.fpn, c.fpn))
            inputs = width

    def forward(
        self, images: Float[Tensor, "b c h w"], maps: Float[Tensor, "b k h w"]
    ) -> Features:
        """Images in [0, 1] and the maps of ``landmark_maps``."""
        x = full = torch.cat([self.colours(2 * images - 1), self.marks(maps)], 1)
        found = []
        for layer, lateral in zip(self.layers, self.lateral, strict=True):
            x = layer(x)
            found.append(lateral(x))
        for level in range(len(found) - 2, -1, -1):  # from coarse to fine
            found[level] = found[level] + F.interpolate(
                found[level + 1], scale_factor=2, mode="nearest"
            )
        return Features(
            full, [smooth(x) for smooth, x in zip(self.smooth, found, strict=True)]
        )


class GlobalLevel(nn.Module):
    """One level of figure 4: two steps of the flow, then attention."""

    def __init__(self, config: SalvtonConfig):
        super().__init__()
        both = 2 * config.fpn
        self.step = convs(both, *config.flow_widths, 2)
        self.refine = convs(both, *config.flow_widths, 2)
        for flow in (self.step, self.refine):  # begin near a step of zero
            flow[-1].weight.data.mul_(0.1)
            flow[-1].bias.data.zero_()
        # m_g of the level before, and what the local flow knows
        self.attention = (
            convs(both + 3, config.flow_widths[-1], 1)
            if config.local != "none"
            else None
        )

    def forward(
        self,
        person: Float[Tensor, "b d h w"],
        garment: Float[Tensor, "b d h w"],
        flow: Flow,
        attention: Float[Tensor, "b 1 h w"],
        local: Float[Tensor, "b 2 h w"],
    ) -> tuple[Flow, Float[Tensor, "b 1 h w"]]:
        """Flow and ``m_g`` of this level, from those of the coarser one.

        No gradient goes through the places where features are read, but for those of
        the second step.
        """
        warped = warp(garment, flow.detach())  # g'
        flow = compose(flow, self.step(torch.cat([warped, person], 1)))
        warped = warp(garment, flow)  # g''
        flow = compose(flow, self.refine(torch.cat([warped, person], 1)))
        if self.attention is None:
            return flow, attention
        warped = warp(garment, flow.detach())
        seen = torch.cat([warped, person, attention, local], 1)
        return flow, attention + self.attention(seen)


class GlobalFlow(nn.Module):
    """The whole garment's flow, from coarse to fine."""

    def __init__(self, config: SalvtonConfig):
        super().__init__()
        self.levels = nn.ModuleList(GlobalLevel(config) for _ in config.widths)

    def forward(
        self,
        person: list[Float[Tensor, "b d _ _"]],
        garment: list[Float[Tensor, "b d _ _"]],
        local: Float[Tensor, "b 2 h w"],
    ) -> tuple[list[Float[Tensor, "b 2 _ _"]], Float[Tensor, "b 1 h w"]]:
        """Flows of all levels, each enlarged, coarsest first, and ``m_g``.

        The last flow has the image's size. ``local`` is how sure the local flow is, at
        full resolution.
        """
        flow = standing(person[-1]).expand(len(person[-1]), -1, -1, -1)
        attention, flows = torch.zeros_like(flow[:, :1]), []
        for level, p, g in zip(self.levels, person[::-1], garment[::-1], strict=True):
            known = F.adaptive_avg_pool2d(local, p.shape[-2:])
            flow, attention = level(p, g, flow, attention, known)
            flow, attention = enlarge(flow), enlarge(attention)
            flows.append(flow)
        return flows, attention
