"""People before a camera: how they look, and how their sheets become a picture.

What ``garments`` shares with any other scene of dressed people: skin, hair and light
of a person, the depth buffer, paint, and soft shadows.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.geometry import pixel_grid
from lmlib.samples import Batch
from lmscenes import faces, sheets
from lmscenes.engine import between, uniform
from lmscenes.fabric import FABRICS, palette
from lmscenes.figure import facing
from lmscenes.paint import Painter
from lmscenes.sheets import Hits, W
from lmscenes.surface import EMPTY, depth_of

FAR = 300.0  # depth of what lies at z = 0
SHOES = "1a1a1c 2b201a 5a3a25 8a8a8c e8e6e2 f4f4f2 7a1f2b 2f3f5f"


def looks(index: Tensor, seed: int, build: Tensor) -> Batch:
    """Skin, hair, face, shoes and light (B, ...) of people; ``build`` (B,) 0 masculine
    to 1 feminine."""
    u = uniform(index, 40, seed, stream=82)
    new = u.new_tensor

    def some(k: int, low: float, high: float) -> Tensor:
        return between(u[:, k], low, high)

    woman = build > 0.5
    tone = some(0, 0, len(faces.SKIN) - 1)
    skins = new(faces.SKIN) / 255
    low = tone.long().clamp(max=len(skins) - 2)
    # Dark skin comes with dark hair, mostly.
    fair = ((3.5 - tone) / 3).clamp(0, 1)
    shade = (u[:, 1] * torch.lerp(new(2.2), new(7.0), fair)).long()
    bald = ~woman & (u[:, 2] < 0.12)
    thick = torch.where(woman, some(3, 0.9, 1.8), some(3, 0.4, 1.6))
    long = woman & (u[:, 4] < 0.75)
    ears = torch.where(woman, 3.0, some(7, -0.5, 0.5))
    shoes = palette(SHOES, u.device)
    lamp = some(20, -0.9, 0.9), some(21, -1, -0.3), some(22, -1.1, -0.5)
    warm = (u[:, 23:24] - 0.5) * new([0.12, 0.0, -0.14])
    identity = uniform(index, 66, seed, stream=83).view(-1, 22, 3).sum(2)
    return {
        "skin": skins[low].lerp(skins[low + 1], (tone - low)[:, None]),
        "hair": new(faces.HAIR)[shade] / 255 * between(u[:, 5:6], 0.85, 1.15),
        "thick": torch.where(bald, 0.0, thick),  # of the hair, cm
        "long": long * some(6, 2, 13),  # below the chin
        "crown": 0 * tone,  # how much narrower long hair begins, half a side
        "locks": long & (u[:, 6] > 0.25) & (u[:, 8] < 0.5),  # before the shoulders
        "over ears": torch.where(long, 9.0, ears),
        "fringe": torch.where(u[:, 9] < 0.4, some(10, 0, 3.2), -0.2),
        "strand": u[:, 11:13], "hand": u[:, 13:15], "smile": some(15, 0, 0.9),
        "beard": (~woman & (u[:, 16] < 0.4)) * some(17, 0.4, 1),
        "lipstick": (woman & (u[:, 18] < 0.6)) * some(19, 0.3, 0.9),
        "face": 0.9 * (identity - 1.5),
        "dummy": some(24, 0.45, 0.78)[:, None] * new([1, 0.98, 0.95]),
        "shoes": shoes[(u[:, 25] * len(shoes)).long()], "sneakers": u[:, 26] < 0.5,
        "lamp": F.normalize(torch.stack(lamp, 1), dim=1),
        "contrast": some(27, 0.7, 1.0),
        "rumple": some(28, 0.3, 1.2),
        "power": between(u[:, 29:30], 0.88, 1.1) * (1 + warm),
    }  # fmt: skip


class Shot(NamedTuple):
    """What a camera saw of some sheets, ``fine`` samples a side."""

    canvas: Tensor  # (B, 4, S, S): colour times cover, cover
    keys: Tensor  # (B, fine, fine) depth keys
    sheet: Tensor  # (B, fine, fine) number of the sheet, -1 for none
    hits: Hits


def shoot(table: Batch, scale: Tensor, size: int, fine: int, fabric: Batch, q: Batch
          ) -> Shot:  # fmt: skip
    """Draw sheets: ``table`` as ``wardrobe.joined`` gives it, with ``points`` in [-1,
    1] (and depth); ``scale`` (B,): half images a unit; ``fine`` = size times samples a
    pixel and side."""
    image, points, batch = table["image"], table["points"], len(scale)
    screen = torch.cat([(points[:, :2] + 1) * (fine / 2), points[:, 2:] + FAR], 1)
    keys, hits = sheets.draw(screen, image, batch, fine)
    # Normals in the unit of the depth.
    flat = points[:, :2] / scale[image][:, None, None, None]
    normal = hits.read(facing(torch.cat([flat, points[:, 2:]], 1)))
    cloth = hits.read(torch.cat([table["flat"], table["edge"]], 1))
    which = image[hits.sheet]
    painter = Painter(
        table["kind"][hits.sheet], which,
        which * FABRICS + table["fabric"][hits.sheet], cloth[:2], cloth[2:],
        hits.column * (2 / (W - 1)) - 1, normal, (2 / fine / scale)[which], fabric, q,
    )  # fmt: skip
    shade = crevices(keys, scale, q).flatten()[hits.at]
    canvas = torch.zeros(4, batch * fine * fine, device=image.device)
    canvas[:3, hits.at] = painter.paint() * shade
    canvas[3, hits.at] = 1
    canvas = canvas.view(4, batch, fine, fine).transpose(0, 1)
    sheet = torch.full_like(keys, -1).flatten()
    sheet[hits.at] = hits.sheet
    canvas = F.avg_pool2d(canvas, fine // size)
    return Shot(canvas, keys, sheet.view_as(keys), hits)


def crevices(keys: Tensor, scale: Tensor, q: Batch) -> Tensor:
    """Light kept (B, 1, fine, fine): less where something lies before, lampwards."""
    fine, step = keys.shape[1], 4
    there = (keys < EMPTY)[:, None].float()
    depth = depth_of(keys)[:, None].clamp(max=2 * FAR) * there
    there, depth = F.avg_pool2d(there, step), F.avg_pool2d(depth, step)
    grid = pixel_grid(*there.shape[2:], keys.device)
    kept = torch.ones_like(there)
    around = [F.avg_pool2d(x, 3, 1, 1) for x in (depth, there)]
    one = (slice(None), None, None, None)
    for reach, strong in ((2.2, 0.028), (6.0, 0.012)):
        at = grid + q["lamp"][:, None, None, :2] * (reach * scale)[one]
        d, t = (F.grid_sample(x, at, align_corners=False) for x in around)
        behind = depth / there.clamp(min=1e-3) - d / t.clamp(min=1e-3)
        behind = torch.where(t > 0.05, behind, 0).clamp(0, 12)
        kept = kept * (1 - strong * behind * q["contrast"][one])
    return F.interpolate(kept, (fine, fine), mode="bilinear", align_corners=False)


def thrown(cover: Tensor, scale: Tensor, q: Batch) -> Tensor:
    """Light (B, 1, S, S) that a wall keeps behind a body ``cover``: a soft shadow."""
    small = F.avg_pool2d(F.avg_pool2d(cover, 4), 3, 1, 1)
    grid = pixel_grid(*cover.shape[2:], cover.device)
    shift = q["lamp"][:, None, None, :2] * (4.0 * scale)[:, None, None, None]
    return 1 - 0.3 * F.grid_sample(small, grid + shift, align_corners=False)
