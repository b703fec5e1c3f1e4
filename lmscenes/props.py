"""Things in the way: bags that people carry, pieces of cloth, cards and leaves."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.geometry import pixel_grid
from lmlib.samples import Batch
from lmscenes.engine import between, rotation
from lmscenes.figure import FOREARMS, Body
from lmscenes.shared import over_pixels
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
        size = u[which, 4:8]
        size[:, :2] = 0.35 + 0.65 * size[:, :2]
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
    """Colour (B, 3, S, S) and cover (B, 1, S, S) of things near the camera that hide a
    part of the box from ``low`` to ``high`` (B, 2): a card, and leaves.

    ``u`` (B, 40) uniform numbers, ``often`` (B,) how often each is there.
    """
    cover = u.new_zeros(len(u), 1, size, size)
    colour = u.new_zeros(len(u), 3, size, size)
    for draw, v in ((_card, u[:, 10:25]), (_leaves, u[:, 25:40])):
        at = (v[:, 0] < often).nonzero()[:, 0]
        if len(at):
            # Its middle lies near the edge of the box.
            way = math.tau * v[at, 1]
            way = torch.stack([way.cos(), way.sin()], 1)
            way = way * between(v[at, 2:3], 0.6, 1.05)
            span = (high - low)[at]
            middle = (low + high)[at] / 2 + way * span / 2
            grid_ = pixel_grid(size, size, u.device) - middle[:, None, None]
            paint, there = draw(v[at], grid_, span.amax(1), size)
            colour[at] = colour[at].lerp(paint, there)
            cover[at] = torch.maximum(cover[at], there)
    return colour.clamp(0, 1), cover


def _card(v: Tensor, xy: Tensor, span: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """A telephone, or a card with some lines of text."""
    x, y = (xy @ rotation(0.7 * (v[:, 3] - 0.5))[:, None]).unbind(-1)
    high = span * between(v[:, 4], 0.1, 0.22)
    wide = high * between(v[:, 5], 0.5, 0.9)
    corner = 0.2 * wide
    a = (x.abs() - over_pixels(wide - corner)).clamp(min=0)
    b = (y.abs() - over_pixels(high - corner)).clamp(min=0)
    far = (torch.hypot(a, b) - over_pixels(corner)) * (size / 2)
    tall = y / over_pixels(high)
    lines = ((tall * 3.5 + 0.5).frac().abs() < 0.45) & (tall.abs() < 0.75)
    lines = lines & (x.abs() < over_pixels(wide * between(v[:, 6], 0.4, 0.75)))
    lens = torch.hypot(x / over_pixels(wide) + 0.5, tall * 1.5 + 1.1) < 0.25
    dark = v[:, 7] < 0.5
    ink = torch.where(over_pixels(dark), 0.25 * lens, -0.5 * lines)
    base = torch.where(dark, between(v[:, 8], 0.04, 0.2), between(v[:, 8], 0.75, 0.97))
    base = base[:, None] * (1 + 0.5 * (v[:, 9:12] - 0.5) * ~dark[:, None])
    rim = 0.15 * ((far + 2).abs() < 1)
    light = over_pixels(base.new_ones(len(v))) + 0.1 * x / over_pixels(wide) + ink + rim
    return base[..., None, None] * light[:, None], (0.5 - far).clamp(0, 1)[:, None]


def _leaves(v: Tensor, xy: Tensor, span: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Four leaves from one stem, a little out of focus."""
    cover, shade = xy.new_zeros(xy.shape[:3]), xy.new_zeros(xy.shape[:3])
    soft = (size / 2) / between(v[:, 3], 1, 3)
    for k in range(4):
        angle = math.tau * v[:, 4] + (0, 1.3, -1.1, 2.5)[k] + 1.2 * (v[:, 5 + k] - 0.5)
        long = span * between(v[:, 5 + k], 0.09, 0.17)
        x, y = (xy @ rotation(angle)[:, None]).unbind(-1)
        along = x / over_pixels(long) - 1
        wide = (
            0.55 * over_pixels(long) * (1 - along**2).clamp(min=0) * (1 - 0.4 * along)
        )
        far = torch.maximum(y.abs() - wide, (along.abs() - 1) * over_pixels(long))
        there = (0.5 - far * over_pixels(soft)).clamp(0, 1)
        vein = 0.25 * torch.exp(-((y / over_pixels(0.04 * long)) ** 2))
        leaf = 0.8 + 0.14 * k + 0.2 * along + vein
        shade, cover = shade.lerp(leaf, there), torch.maximum(cover, there)
    green = xy.new_tensor([0.25, 0.45, 0.2]) * between(v[:, 10:11], 0.5, 1.3)
    green = green * (1 + 0.4 * (v[:, 11:14] - 0.5))
    return green[..., None, None] * shade[:, None], cover[:, None]
