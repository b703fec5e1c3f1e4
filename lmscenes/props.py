"""Things in the way: bags that people carry, pieces of cloth, things before the lens."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.geometry import pixel_grid
from lmlib.samples import Batch
from lmscenes.engine import between, rotation
from lmscenes.figure import FOREARMS, Body
from lmscenes.sheets import H, W
from lmscenes.wardrobe import KIND, Patch, grid

ACCESSORY = 3  # the fabric of bags


def carried(people: Body, u: Tensor, often: Tensor) -> list[Patch]:
    """Bags (B,) at the hip with a strap across the chest, or hanging from a hand.

    ``u`` (B, 32) uniform numbers, ``often`` (B,) how often there is one.
    """
    out = []
    has = u[:, 0] < often
    side = torch.where(u[:, 1] < 0.5, -1.0, 1.0)
    across = has & (u[:, 2] < 0.6)
    which = across.nonzero()[:, 0]
    if len(which):
        trunk = people.trunk.of(which)
        tube = trunk.tube(trunk.wide + 3.0, trunk.deep + 3.4, printed=True)
        r, c = grid(u)
        s = side[which][:, None, None]
        end = between(u[which, 3], 2, 12)[:, None, None]
        w = -24.0 + r * (end + 24.0)
        u_mid = s * (0.98 - 1.9 * r**0.8)
        points = tube.points(w + 0.5 * c * s, u_mid + 0.045 * c + 0 * w)
        out.append(_patch("strap", which, points, r, c))
        hip = tube.points(end[:, :, 0], (-0.86 * s)[:, :, 0])[:, :, 0]
        out.append(_patch("bag", which, _box(hip, u[which, 4:8], s), r, c))
    which = (has & ~across).nonzero()[:, 0]
    if len(which):
        r, c = grid(u)
        right = (side[which] > 0).long()
        wrist = torch.stack([arm.centre[:, -1] for arm in people.arms], 1)
        along = people.turns[:, list(FOREARMS), :, 1]
        rows = torch.arange(len(which), device=u.device)
        hand = (wrist + 6.5 * along)[which][rows, right]
        s = side[which][:, None, None]
        hang = hand + hand.new_tensor([0, 9.5, -2.5])
        size = u[which, 4:8] * u.new_tensor([0.7, 0.6, 1, 1]) + u.new_tensor([0.3, 0.4, 0, 0])
        out.append(_patch("bag", which, _box(hang, size, s), r, c))
        # Two handles in one: a loop from the bag's edges to the hand.
        angle = math.pi * r
        x = 2.6 * torch.cos(angle) * (1 + 0.14 * c)
        y = -5.5 * torch.sin(angle) * (1 + 0.07 * c) - 3.0
        loop = torch.stack([x, y, -0.6 + 0 * x], 1)
        out.append(_patch("strap", which, hang[:, :, None, None] + loop, r, c))
    return out


def _patch(kind: str, which: Tensor, points: Tensor, r: Tensor, c: Tensor) -> Patch:
    flat = torch.stack(torch.broadcast_tensors(12 * c, 12 * r), 1)
    flat = flat.expand(len(which), 2, H, W)
    fabric = torch.full_like(which, ACCESSORY)
    return Patch(KIND[kind], which, fabric, points, flat, 9 + 0 * flat)


def _box(middle: Tensor, u: Tensor, side: Tensor) -> Tensor:
    """A soft box (M, 3, H, W) around ``middle`` (M, 3)."""
    r, c = grid(u)
    r = 2 * r - 1
    wide = between(u[:, 0], 3.5, 6.5)[:, None, None]
    high = between(u[:, 1], 3.5, 6.5)[:, None, None]
    round_ = between(u[:, 2], 0.02, 0.25)[:, None, None]
    x = wide * c * (1 - round_ * r**4) * (1 + 0.08 * r)
    y = high * r * (1 - round_ * c**4)
    z = -3.0 * (1 - c**6) * (1 - r**6)
    z = z.expand_as(x)
    return middle[:, :, None, None] + torch.stack([x, y, z], 1)


def pieces_around(table: Batch, mine: Tensor, u: Tensor, often: Tensor,
                  scale: Tensor, fold: float) -> list[Patch]:  # fmt: skip
    """Pieces cut from the flat garments, thrown about: sheets in [-1, 1], behind all.

    ``mine`` (N,): sheets of the garments in question; ``u`` (B, 3, 10) uniform numbers,
    ``often`` (B,) how often a piece is there, ``scale`` (B,) half images a unit.
    """
    batch, count = u.shape[:2]
    number = mine.nonzero()[:, 0]
    owner = table["image"][number]
    order = owner.argsort(stable=True)
    number, total = number[order], torch.bincount(owner, minlength=batch)
    first = total.cumsum(0) - total
    there = (u[..., 0] < often[:, None]) & (total > 0)[:, None]
    image, k = there.nonzero().unbind(1)
    if not len(image):
        return []
    v = u[image, k]
    sheet = number[first[image] + (v[:, 1] * total[image]).long()]
    # A part of the sheet: its chart, cut smaller.
    r, c = grid(u)
    part = between(v[:, 2:4], 0.35, 0.7)[:, :, None, None]
    start = (1 - part) * (v[:, 4:6] * 1.4 - 0.2).clamp(0, 1)[:, :, None, None]
    row, column = 2 * (start[:, 0] + part[:, 0] * r) - 1, (c + 1) / 2
    column = 2 * (start[:, 1] + part[:, 1] * column) - 1
    at = torch.stack(torch.broadcast_tensors(column, row), -1)
    maps = torch.cat([table["flat"], table["edge"]], 1)[sheet]
    flat, edge = F.grid_sample(maps, at, align_corners=True).split(2, 1)
    middle = flat.mean((2, 3), keepdim=True)
    size = scale[image] * between(v[:, 6], 0.55, 1.25)
    xy = (flat - middle).flatten(2)
    xy = rotation(math.tau * v[:, 7]) @ xy * size[:, None, None]
    xy = xy.view_as(flat) + between(v[:, 8:10], -0.95, 0.95)[:, :, None, None]
    wave = torch.sin(5 * column + 4 * row + math.tau * v[:, 6:7, None])
    z = 60 - 2.5 * torch.cos(1.57 * c) + 0.5 * fold * wave
    points = torch.cat([xy, z[:, None]], 1)
    out = []
    for kind in table["kind"][sheet].unique().tolist():
        some = (table["kind"][sheet] == kind).nonzero()[:, 0]
        out.append(Patch(kind, image[some], table["fabric"][sheet[some]], points[some],
                         flat[some], edge[some]))  # fmt: skip
    return out


def before_the_lens(u: Tensor, often: Tensor, low: Tensor, high: Tensor, size: int
                    ) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Colour (B, 3, S, S) and cover (B, 1, S, S) of two things out of focus that hide a
    part of the box from ``low`` to ``high`` (B, 2). ``u`` (B, 32) uniform numbers."""
    grid_ = pixel_grid(size, size, u.device)
    cover = u.new_zeros(len(u), 1, size, size)
    colour = u.new_zeros(len(u), 3, size, size)
    for k in range(2):
        v = u[:, 10 + 11 * k : 21 + 11 * k]
        extent = (high - low).amax(1)
        # Its middle lies near the edge of the box, not in the middle.
        way = math.tau * v[:, 1]
        way = torch.stack([way.cos(), way.sin()], 1)
        middle = (low + high) / 2 + way * (high - low) / 2 * between(v[:, 2:3], 0.55, 1.0)
        half = extent[:, None] * between(v[:, 3:5], 0.07, 0.2)
        turn = rotation(math.tau * v[:, 5])
        d = (grid_ - middle[:, None, None]) @ turn[:, None]
        box = (d.abs() - half[:, None, None]).amax(-1)
        oval = (torch.hypot(*(d / half[:, None, None]).unbind(-1)) - 1) * half.amin(
            1)[:, None, None]  # fmt: skip
        far = torch.where((v[:, 6] < 0.5)[:, None, None], box, oval)
        there = (0.5 - far * (size / 2) / between(v[:, 7], 1, 2.5)[:, None, None])
        there = there.clamp(0, 1) * (v[:, 0] < often)[:, None, None]
        paint = between(v[:, 8:9], 0.08, 0.9) * (1 + 0.5 * (u[:, 29:32] - 0.5))
        light = 1 + 0.18 * (d[..., 0] / half[:, :1, None]).clamp(-1, 1)
        stripe = 1 - 0.25 * (v[:, 9] < 0.4)[:, None, None] * (
            torch.sin(d[..., 1] * 9 / half[:, 1:, None]) > 0)  # fmt: skip
        paint = paint[..., None, None] * (light * stripe)[:, None]
        colour = colour.lerp(paint, there[:, None])
        cover = torch.maximum(cover, there[:, None])
    return colour.clamp(0, 1), cover
