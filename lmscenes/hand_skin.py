"""What hands look like: skin with creases and nails, a sleeve, and light.

All is painted in the coordinates of the bone that a pixel shows: ``along`` it,
``across`` it, and the side that it ``faces``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lmscenes.engine import between
from lmscenes.hand_surface import PALM, SLEEVE

SKIN = [(0.96, 0.80, 0.70), (0.90, 0.70, 0.57), (0.78, 0.56, 0.42)]
SKIN += [(0.60, 0.40, 0.28), (0.43, 0.28, 0.20), (0.29, 0.19, 0.14)]


def unit(v: Tensor) -> Tensor:
    return v / v.norm(dim=-1, keepdim=True).clamp(min=1e-6)


def shade(bones, person, u, grain, height, which, solid) -> Tensor:
    """Colours ``(3, B, side, side)`` of skin and cloth, black elsewhere."""
    n, side = len(u), height.shape[-1]
    grain = F.interpolate(grain, (side, side), mode="bilinear", align_corners=False)
    p = _Pixels(bones, height, which, solid, grain)
    nail = p.tip * (p.facing < 0) * (0.5 - p.rim / p.fine).clamp(0, 1)
    base = _skin(p, person, nail)
    base = base * (0.95 + 0.1 * p.grain)[:, None]
    sleeve = p.bone >= SLEEVE
    base = torch.where(sleeve[:, None], _cloth(p, person), base)
    out = base.new_zeros(3, n * side * side)
    out[:, p.at] = _lit(p, u, base, nail, sleeve).T
    return out.reshape(3, n, side, side)


class _Pixels:
    """The M pixels that show something, in the coordinates of the bone they show."""

    def __init__(self, bones, height, which, solid, grain):
        side, cm = height.shape[-1], 1 / bones["unit"]
        fine = 2 * cm / side
        top = F.pad(height.clamp(min=-3)[:, None], (1,) * 4, mode="replicate")[:, 0]
        right = top[:, 1:-1, :-2] - top[:, 1:-1, 2:]
        up = top[:, 2:, 1:-1] - top[:, :-2, 1:-1]
        crowd = _surroundings(height) - top[:, 1:-1, 1:-1]
        self.at = (solid > 0).flatten().nonzero()[:, 0]
        self.image = image = self.at // side**2
        y, x = self.at % side**2 // side, self.at % side
        bone, z, self.crowd, self.grain, right, up = (
            t.reshape(-1)[self.at] for t in (which, height, crowd, grain, right, up)
        )
        self.bone, self.fine = bone, fine = bone.long(), fine[image]
        xy = (
            torch.stack([2 * x + 1 - side, side - 1 - 2 * y], -1)
            * (cm[image] / side)[:, None]
        )
        offset = torch.cat([xy, z[:, None]], 1) - bones["origin"][image, bone]
        turned = bones["frame"][image, bone]  # (M, 3, 3)
        self.along, self.across, _ = (turned * offset[:, None]).sum(-1).unbind(1)
        self.normal = unit(torch.stack([right, up, 2 * fine], -1))
        self.facing = (self.normal * turned[:, 2]).sum(-1)
        self.inner = (self.facing + 0.5).clamp(0, 1)  # the palmar side
        self.outer = 1 - self.inner
        self.long = (bones["b"] - bones["a"]).norm(dim=-1)[image, bone]
        self.palm, self.thumb, part = bone >= PALM, bone < 3, bone % 3
        self.root, self.tip = ~self.palm & (part == 0), ~self.palm & (part == 2)
        self.bent = ~self.palm & (part > 0)  # bones that start in a finger's joint
        large = 0.5 + 0.12 * self.thumb
        oval = ((self.along - self.long * 0.98) / (1.32 * large)).square() + (
            self.across / large
        ).square()
        self.rim = (oval.sqrt() - 1) * large  # cm from the edge of the nail

    def line(self, distance, width, strength) -> Tensor:
        """No thinner than a pixel, only paler."""
        wide = self.fine.clamp(min=width)
        bell = (1 - 0.3 * (distance / wide).square()).clamp_(min=0).square()
        return bell * (strength * width / wide)


def _surroundings(height) -> Tensor:
    """How high the surroundings of a pixel are; smooth, so half the pixels will do."""
    side = height.shape[-1]
    wide = max(side // 80, 1)
    around = height.clamp(min=-3)[:, None, ::2, ::2]
    for size in ((1, 2 * wide + 1), (2 * wide + 1, 1)) * 2:
        pad = (size[1] // 2,) * 2 + (size[0] // 2,) * 2
        around = F.avg_pool2d(F.pad(around, pad, mode="replicate"), size, 1)
    return F.interpolate(around, (side, side), mode="bilinear", align_corners=False)[
        :, 0
    ]


def _skin(p: _Pixels, person, nail) -> Tensor:
    """Tone, paler inside, redder tips and knuckles, creases, nails: (M, 3)."""
    colour = person.new_tensor
    dark, ramp = person[:, 9] * 4.99, colour(SKIN)
    tone = ramp[dark.long()].lerp(ramp[dark.long() + 1], (dark % 1)[:, None])
    tone = tone * (1 + (person[:, 10:11] - 0.5) * colour([0.06, 0, -0.12]))
    pale = tone.lerp(colour([0.90, 0.68, 0.58]), (0.10 + 0.06 * dark)[:, None])
    base = tone[p.image].lerp(pale[p.image], p.inner[:, None])
    red = p.tip * torch.exp(-((p.along - p.long) / 0.9).square())
    red = red + ~p.palm * p.outer * torch.exp(-(p.along / 0.8).square())
    base = base * (1 - 0.05 * red[:, None] * colour([0, 1, 1]))
    base = base * (1 - _creases(p).clamp(max=0.6)[:, None] * colour([0.8, 1, 1]))
    base = base.lerp(base.lerp(colour([0.97, 0.80, 0.76]), 0.45), nail[:, None])
    return base * (1 - p.tip * (p.facing < 0) * p.line(p.rim, 0.07, 0.35))[:, None]


def _creases(p: _Pixels) -> Tensor:
    """Of the joints, the knuckles and the palm's three lines: how dark, (M,)."""
    crease = p.bent * (p.line(p.along, 0.1, 0.45) * p.inner)
    middle = p.line(p.along - 0.42 * p.long, 0.1, 0.4)
    crease += p.root * ~p.thumb * p.inner * middle
    wide = p.bent * p.outer * p.line(p.along, 0.4, 0.2)
    crease += wide * (p.along * 21).cos().square()
    px, py = p.across, p.along  # the palm's own coordinates
    heart = p.line(py - 7.0 - 0.035 * (px + 3.4).square(), 0.1, 0.4) * (px < 1.6)
    head = p.line(py - 6.3 + 0.05 * (px - 3.2).square(), 0.1, 0.35) * (px > -2.3)
    life = ((px - 3.9).square() + (py - 2.6).square()).sqrt() - 3.7
    life = p.line(life, 0.1, 0.4) * (px < 3.2) * (py > 0.6)
    wrist = p.line((py - 0.3 + 0.02 * px.square()).abs() - 0.22, 0.08, 0.18)
    return crease + p.palm * p.inner * (heart + head + life + wrist)


def _cloth(p: _Pixels, person) -> Tensor:
    """The sleeve, plain or with stripes: (M, 3)."""
    stripes = torch.sin(p.along * between(person[:, 16], 2, 9)[p.image])
    cloth = (person[:, 13:16] * 0.75 + 0.08)[p.image]
    return cloth * (1 + 0.25 * stripes * (person[:, 17] > 0.5)[p.image])[:, None]


def _lit(p: _Pixels, u, base, nail, sleeve) -> Tensor:
    """One lamp above and the room's dim rest, kept out where surroundings rise."""
    colour, image = u.new_tensor, p.image
    angle = between(u[:, 30], -1.3, 1.3)
    lamp = [angle.sin(), angle.cos(), between(u[:, 31], 0.5, 1.6)]
    lamp = unit(torch.stack(lamp, -1))[image]
    warm = between(u[:, 32:33], -1, 1)[image] * colour([0.06, 0.0, -0.08])
    reached = torch.exp(-1.3 * (p.crowd - 0.03).clamp(min=0))
    strong = between(u[:, 33], 0.8, 1.2)[image]
    diffuse = (((p.normal * lamp).sum(-1) + 0.25) / 1.25).clamp(min=0)
    direct = 0.72 * strong * diffuse * (0.35 + 0.65 * reached)
    ambient = between(u[:, 34], 0.34, 0.55)[image] * (0.75 + 0.25 * p.normal[:, 1])
    light = (ambient * reached)[:, None] * (1 - warm) + direct[:, None] * (1 + warm)
    gloss = (p.normal * unit(lamp + colour([0.0, 0.0, 1.0]))).sum(-1).clamp(min=0) ** 24
    gloss = gloss * (0.10 + 0.25 * nail) * ~sleeve * strong * reached
    return base * light + gloss[:, None]
