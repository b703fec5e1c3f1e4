"""What stands behind people: a studio's wall, a room, a street.

A place is a wall and a floor with things before it, each a rounded box or a blob with
a pattern of its own, painted back to front in [-1, 1] coordinates that may be turned.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.geometry import pixel_grid
from lmscenes.cars import noise_tile
from lmscenes.engine import between, uniform

# Things: pattern, how often, half width, half height, height of the middle above the
# floor's edge (smallest and largest each), in half images.
ROOM = (
    ("window", 0.45, 0.18, 0.45, 0.25, 0.6, 0.5, 1.1),
    ("door", 0.45, 0.16, 0.3, 0.6, 0.9, 0.5, 0.7),
    ("frame", 0.5, 0.1, 0.3, 0.1, 0.35, 0.4, 1.2),
    ("frame", 0.5, 0.08, 0.2, 0.08, 0.25, 0.3, 1.1),
    ("books", 0.55, 0.2, 0.5, 0.25, 0.6, 0.1, 0.8),
    ("cloth", 0.5, 0.12, 0.3, 0.3, 0.7, 0.1, 0.6),
    ("cloth", 0.5, 0.1, 0.3, 0.1, 0.4, -0.3, 0.4),
    ("plant", 0.5, 0.12, 0.28, 0.15, 0.35, -0.1, 0.3),
    ("box", 0.6, 0.15, 0.5, 0.08, 0.3, -0.2, 0.1),
    ("box", 0.6, 0.08, 0.3, 0.1, 0.4, -0.3, 0.3),
    ("tiles", 0.4, 0.15, 0.4, 0.15, 0.4, -0.4, 0.8),
    ("pole", 0.4, 0.015, 0.04, 0.5, 1.0, 0.2, 0.8),
)
STREET = (
    ("facade", 0.9, 0.3, 0.7, 0.5, 1.1, 0.4, 0.7),
    ("facade", 0.8, 0.2, 0.5, 0.4, 0.9, 0.3, 0.6),
    ("facade", 0.7, 0.2, 0.5, 0.3, 0.7, 0.2, 0.5),
    ("plant", 0.7, 0.2, 0.5, 0.25, 0.6, 0.3, 0.8),
    ("plant", 0.6, 0.15, 0.35, 0.12, 0.3, 0.0, 0.3),
    ("door", 0.5, 0.1, 0.2, 0.2, 0.5, 0.1, 0.4),
    ("cloth", 0.4, 0.1, 0.25, 0.1, 0.3, 0.4, 1.0),
    ("box", 0.6, 0.2, 0.5, 0.1, 0.2, -0.1, 0.1),
    ("box", 0.5, 0.05, 0.2, 0.1, 0.35, -0.2, 0.2),
    ("plant", 0.5, 0.1, 0.25, 0.1, 0.25, -0.2, 0.1),
    ("pole", 0.6, 0.012, 0.03, 0.5, 1.1, 0.2, 0.8),
    ("frame", 0.4, 0.06, 0.15, 0.06, 0.15, 0.3, 0.9),
)


class Place:
    """Pictures ``(B, 3, S, S)`` of places, in coordinates turned by ``roll`` (B,)."""

    def __init__(self, index: Tensor, size: int, seed: int, roll: Tensor):
        self.index, self.size, self.seed = index, size, seed
        x, y = pixel_grid(size, size, index.device).unbind(-1)
        cos, sin = (t[:, None, None] for t in (roll.cos(), roll.sin()))
        self.x, self.y = x * cos + y * sin, y * cos - x * sin
        self.u = uniform(index, 400, seed, stream=90)[..., None, None, None]
        at = (
            torch.stack([self.x, self.y], -1) * 0.55
            + 4 * self.u[:, :2, 0, 0, 0][:, None, None]
        )
        tile = noise_tile(index.device).expand(len(index), -1, -1, -1)
        noise = F.grid_sample(tile, at, padding_mode="reflection", align_corners=False)
        self.grain, self.cloud = noise.split(1, 1)  # (B, 1, S, S)

    def cover(self, distance: Tensor) -> Tensor:
        return (0.5 - distance * (self.size / 2)).clamp(0, 1)

    def tone(self, k: int, low: float, high: float, colour: float = 0.3) -> Tensor:
        """A colour (B, 3, 1, 1) of random lightness and tint."""
        u = self.u[:, k : k + 4, 0]
        return between(u[:, :1], low, high) * (1 + colour * (u[:, 1:] - 0.5))

    def studio(self) -> Tensor:
        """Plain paper, light or coloured, a little darker to one side."""
        light = self.u[:, 10] < 0.65
        paper = torch.where(light, self.tone(11, 0.8, 0.97, 0.06),
                            self.tone(11, 0.35, 0.85, 0.5))  # fmt: skip
        slope = (self.u[:, 16] - 0.5) * self.x[:, None] + (
            self.u[:, 17] - 0.5) * self.y[:, None]  # fmt: skip
        return paper * (1 + 0.12 * slope)

    def wild(self, floor: Tensor, clutter: float) -> Tensor:
        """A room or a street; ``floor`` (B,): where the wall ends."""
        u, out = self.u, self.u[:, 20] < 0.45
        x, y = self.x[:, None], self.y[:, None] - floor[:, None, None, None]
        wall = self.tone(21, 0.4, 0.92, 0.3)
        sky = self.tone(25, 0.75, 0.95, 0.1) * wall.new_tensor(
            [0.85, 0.95, 1.05])[:, None, None]  # fmt: skip
        wall = torch.where(out, sky, wall) * (1 + 0.03 * clutter * self.cloud)
        paper = 0.5 + 0.5 * torch.sin(x * between(u[:, 30], 15, 45))
        paper = paper.round() * (u[:, 31] < 0.25) * ~out
        wall = wall * (1 - 0.12 * clutter * paper)
        ground = self.tone(33, 0.3, 0.75, 0.35)
        boards = (torch.sin(40 * x / (0.6 + y.clamp(min=0))) > 0.96).float()
        boards = boards * (u[:, 38] < 0.5) * ~out
        ground = ground * (1 + clutter * (0.02 * self.grain + 0.05 * self.cloud
                                          - 0.25 * boards))  # fmt: skip
        image = wall.lerp(ground, self.cover(-y))
        skirting = self.cover((y + 0.03).abs() - 0.03) * ~out
        image = image.lerp(0.5 + 0.5 * wall, 0.8 * skirting)
        image = image * (1 - 0.3 * torch.exp(-14 * y.abs()))
        for k, (inside, outside) in enumerate(zip(ROOM, STREET, strict=True)):
            for some, thing in ((~out, inside), (out, outside)):
                there = self.u[:, 73 + 24 * k] < thing[1]
                at = (some & there)[:, 0, 0, 0].nonzero()[:, 0]
                if len(at) and clutter:
                    image[at] = self._thing(k, thing, at, image[at], y[at], clutter)
        return image.clamp(0.02, 1)

    def _thing(self, k: int, thing: tuple, at: Tensor, image: Tensor, y: Tensor,
               clutter: float) -> Tensor:  # fmt: skip
        kind, _, *sizes = thing
        u = self.u[at, 60 + 24 * k : 84 + 24 * k]
        wide, high, up = (between(u[:, i], *sizes[2 * i : 2 * i + 2]) for i in range(3))
        x = self.x[at][:, None] - between(u[:, 3], -1.15, 1.15)
        y = y + up
        tilt = (u[:, 4] - 0.5) * (0.5 if kind in ("cloth", "box", "tiles") else 0.05)
        a, b = (x + tilt * y) / wide, (y - tilt * x) / high
        far = torch.maximum((a.abs() - 1) * wide, (b.abs() - 1) * high)
        tint = 0.35 if kind in ("box", "door", "facade", "frame", "tiles") else 0.7
        first = between(u[:, 5], 0.12, 0.9) * (1 + tint * (u[:, 6:9, 0] - 0.5))
        other = between(u[:, 9], 0.1, 0.95) * (1 + tint * (u[:, 10:13, 0] - 0.5))
        mix = 0 * a
        if kind == "window":
            bar = torch.maximum((3 * a).cos().abs(), (2 * b + u[:, 14]).cos().abs())
            mix = (bar > 0.98) | (torch.maximum(a.abs(), b.abs()) > 0.9)
            first = 0.85 + 0.1 * first
        elif kind == "door":
            panel = torch.maximum((a.abs() - 0.05).abs(), (b.abs() - 0.45).abs() * 1.6)
            mix = 0.35 * ((panel > 0.55) & (panel < 0.62))
        elif kind == "frame":
            edge = torch.maximum(a.abs(), b.abs())
            mix = (edge < 0.8) * (0.6 + 0.4 * torch.tanh(3 * self.cloud[at]))
        elif kind == "books":
            shelf = (2.5 * b + 9).floor()
            book = (a * wide * (26 + 20 * u[:, 14]) + 31 * shelf).floor()
            shade = (book * 12.9898 + shelf * 78.233).sin() * 43758.5453
            mix = (shade - shade.floor()) * ((2.5 * b + 9).frac() > 0.12)
        elif kind == "cloth":
            turn = torch.where(u[:, 14] < 0.5, a * wide, b * high)
            mix = (torch.sin(turn * between(u[:, 15], 25, 90)) > between(
                u[:, 16], -0.5, 0.9)) * (u[:, 17] < 0.7)  # fmt: skip
            fold = torch.sin(a * wide * between(u[:, 18], 15, 40) + 2 * b)
            first, other = first * (1 + 0.12 * fold), other * (1 + 0.12 * fold)
        elif kind == "tiles":
            n = between(u[:, 14], 8, 25)
            mix = (torch.sin(a * wide * n) * torch.sin(b * high * n)) > 0
        elif kind == "facade":
            across = (a * wide * between(u[:, 14], 9, 16)).sin()
            along = (b * high * between(u[:, 15], 9, 14)).sin()
            mix = 0.8 * ((across > 0.2) & (along > 0.1))
            other = 0.3 * other + 0.15 * (1 + u[:, 16])
        if kind == "plant":
            leaf = 0.35 * self.cloud[at] + 0.25 * self.grain[at]
            far = (torch.hypot(a, b) - 0.85 - 0.35 * leaf) * torch.minimum(wide, high)
            green = first.new_tensor([0.45, 0.6, 0.3])[:, None, None]
            first = green * between(u[:, 5], 0.5, 1.1)
            mix = 0 * a
            first = first * (1 + 0.35 * leaf)
        paint = first.lerp(other.expand_as(first + 0 * a), mix + 0 * a)
        paint = paint * (1 + 0.12 * b.clamp(-1, 1) + 0.02 * self.grain[at])
        there = self.cover(far) * math.sqrt(clutter)
        shadow = torch.exp(-((far + 0.02).clamp(min=0) * 30))
        image = image * (1 - 0.18 * shadow * clutter)
        return image.lerp(paint, there)
