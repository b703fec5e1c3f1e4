"""What clothes leave bare, as sheets: skin, hands, head, hair and shoes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.samples import Batch
from lmscenes import head
from lmscenes.engine import between
from lmscenes.figure import (
    CENTIMETRES,
    CHEST,
    FEET,
    FOREARMS,
    Body,
    Limb,
    heads,
    on_head,
    rows,
)
from lmscenes.head import EXPRESSION
from lmscenes.sheets import H, W
from lmscenes.surface import unit
from lmscenes.wardrobe import KIND, Patch, across, grid, ramp

# Along the hand, the thumb and the shoe: station, half width, half depth.
HAND = """
-.6 1.5 1.35 / .8 1.6 1.3 / 2.4 2 1.25 / 4 2.15 1.15 / 5.6 2.05 1.05 / 7.2 1.7 .9
8.4 1.3 .75 / 9.2 .8 .55 / 9.5 .1 .1
"""
THUMB = "0 .5 .5 / .5 .95 .9 / 1.8 .9 .85 / 3.2 .75 .7 / 4.2 .6 .55 / 4.6 .1 .1"
SHOE = """
-3 .2 .2 / -2.7 1.5 1.3 / -1.8 2.2 2.1 / 0 2.5 2.9 / 2.5 2.35 2.5 / 5 2.6 2 / 8 2.7 1.7
10 2.2 1.4 / 11.2 1.2 .9 / 11.6 .2 .2
"""
FACE = 0.78  # columns of the head that are drawn: u from -FACE to FACE


def stick(table: str, origin: Tensor, frame: Tensor) -> Limb:
    """A straight limb: rings of a table along the frame's y axis."""
    at, wide, deep = rows(table).to(origin).mT.contiguous()
    count = len(at)
    centre = origin[:, None] + at[:, None] * frame[:, None, :, 1]
    side, back = (frame[:, None, :, k].expand(-1, count, -1) for k in (0, 2))
    wide, deep = (t.expand(len(origin), -1) for t in (wide, deep))
    return Limb(at, centre, side, back, wide, deep)


class Bare:
    """Sheets of the people in some of a batch's images (M,)."""

    def __init__(self, people: Body, which: Tensor, q: Batch):
        self.people, self.which = people, which
        self.q = {name: value[which] for name, value in q.items()}
        self.patches: list[Patch] = []

    def add(self, kind: str, points: Tensor, rows: tuple[Tensor, Tensor] | None = None,
            some: Tensor | None = None, edge: Tensor | None = None):  # fmt: skip
        """``rows``: what stands in for ``flat``; ``some`` (M,) bool: not all people."""
        zero = points.new_zeros(len(points), 2, H, W)
        flat = zero
        if rows is not None:
            flat = torch.stack(torch.broadcast_tensors(*rows, zero[:, 0])[:2], 1)
        edge = zero if edge is None else edge
        which, points = self.which, points
        if some is not None:
            which, points, flat = which[some], points[some], flat[some]
            edge = edge[some]
        fabric = torch.zeros_like(which)
        self.patches.append(Patch(KIND[kind], which, fabric, points, flat, edge))

    def trunk(self) -> None:
        """Neck, chest and midriff."""
        limb = self.people.trunk.of(self.which)
        r, c = grid(limb.centre)
        w = -28.5 + r * 36.5 + 0 * c
        w = w.expand(len(self.which), -1, -1)
        tube = limb.tube(limb.wide - 0.15, limb.deep - 0.15, printed=True)
        points = tube.points(w, across(c).expand_as(w))
        points[:, 2] += 0.7  # behind cloth that lies close to it
        self.add("skin", points, (c, w))

    def arms(self, start: Tensor) -> None:
        """From where the sleeves end, ``start`` (B,), to the fingers."""
        r, c = grid(start)
        start = start[self.which][:, None, None]
        for side in (0, 1):
            limb = self.people.arms[side].of(self.which)
            w = start + r * (31.0 - start) + 0 * c
            points = limb.tube().points(w, across(c).expand_as(w))
            self.add("skin", points, (c, w + 60), (start < 30)[:, 0, 0])
            self._hand(side, limb)

    def _hand(self, side: int, arm: Limb) -> None:
        frame = self.people.turns[:, FOREARMS[side]][self.which]
        wrist = arm.centre[:, -1]
        roll = between(self.q["hand"][:, side], 0.35, 1.2) * (1 if side else -1)
        cos, sin = roll.cos()[:, None], roll.sin()[:, None]
        x, y, z = frame.unbind(-1)
        x, z = cos * x + sin * z, cos * z - sin * x
        r, c = grid(roll)
        hand = stick(HAND, wrist, torch.stack([x, y, z], -1))
        w = (-0.6 + r * 10.1 + 0 * c).expand(len(roll), -1, -1)
        self.add("hand", hand.tube().points(w, across(c).expand_as(w)), (c, w))
        # The thumb lies on the side that faces the body.
        inner = x * (-1 if side else 1)
        start = wrist + 1.2 * y + 1.1 * inner
        along = F.normalize(y + 0.45 * inner - 0.3 * z, dim=-1)
        thumb = torch.stack([x, along, z], -1)
        w = (r * 4.6 + 0 * c).expand(len(roll), -1, -1)
        points = stick(THUMB, start, thumb).tube().points(w, across(c).expand_as(w))
        self.add("hand", points, (0 * c, 0 * w))

    def legs(self, start: Tensor) -> None:
        """From where trousers end, ``start`` (B,) in a leg's stations, to the shoes."""
        r, c = grid(start)
        start = start[self.which][:, None, None].clamp(-2, 47.4)
        for side in (0, 1):
            limb = self.people.legs[side].of(self.which)
            w = start + r * (47.5 - start) + 0 * c
            points = limb.tube().points(w, across(c).expand_as(w))
            points[:, 2] += 1.0  # behind the skirt
            self.add("skin", points, (c, w + 120))
            frame = self.people.turns[:, FEET[side]][self.which]
            x, y, z = frame.unbind(-1)
            ankle = limb.centre[:, -1] - 1.9 * z
            shoe = stick(SHOE, ankle, frame)
            w = (-3 + (r + ramp(r, 0, 1)) * 7.3 + 0 * c).expand(len(x), -1, -1)
            self.add("shoe", shoe.tube().points(w, across(c).expand_as(w)), (c, w))

    def head(self) -> None:
        q = self.q
        mean = torch.zeros(len(self.which), len(EXPRESSION), device=self.which.device)
        mean[:, EXPRESSION.index("part")] = -0.97
        mean[:, EXPRESSION.index("smile")] = q["smile"]
        people = Body(*(t if isinstance(t, Limb | tuple) else t[self.which]
                        for t in self.people))  # fmt: skip
        lattice = heads(q["face"], mean, people)
        r, c = grid(lattice)
        v, u = (2 * r - 1).expand(1, H, W), (FACE * c).expand(1, H, W)
        at = torch.stack([u, v], -1).expand(len(lattice), -1, -1, -1)
        points = F.grid_sample(lattice, at, align_corners=True)
        self.add("face", points, (u, v))
        self._hair(lattice, people)

    def _hair(self, lattice: Tensor, people: Body) -> None:
        """A cap of hair, what falls behind the neck, and locks before the shoulders."""
        q = self.q
        r, c = grid(lattice)
        u = 0.9 * c[0, 0]
        end = head.hairline(u.cpu().double()).to(lattice)  # cm
        back = ramp(u.abs(), 0.22, 0.55)
        end = end + q["fringe"][:, None] * (1 - ramp(u.abs(), 0.15, 0.4))
        end = end + back * q["over ears"][:, None]
        wave = 0.5 * torch.sin(11 * u + 6.3 * q["strand"][:, :1])
        end = (end + wave)[:, None]
        y = head.CROWN + (end - head.CROWN) * r**1.25
        v = head.v_of_height(y.double()).float()
        at = torch.stack([u.expand_as(v), v], -1)
        p = F.grid_sample(lattice, at, align_corners=True)
        middle = on_head(p.new_zeros(len(p), 3, 1), people)[..., None]
        out = unit(*(p - middle).unbind(1), dim=1)
        thick = q["thick"][:, None, None] * (0.35 + 0.65 * torch.sin(3.0 * r + 0.14))
        curl = 17 * u + 5 * r + 6.3 * q["strand"][:, 1:2, None]
        thick = thick * (1 + 0.18 * curl.sin())
        self.add("hair", p + out * (thick / CENTIMETRES).unsqueeze(1), (c, r),
                 (q["thick"] > 0) & ~q["mannequin"])  # fmt: skip
        long = (q["long"] > 0) & ~q["mannequin"]
        if not long.any():
            return
        # Behind the neck: a broad strand from the crown to the back.
        length = q["long"][:, None, None]
        y = -5 + r * (5 + length)
        wide = 4.9 + 1.3 * ramp(y, -4, 4) - 2.2 * ramp(r, 0.75, 1.1)
        wide = wide - q["crown"][:, None, None] * (1 - ramp(y, -5, -1.5))
        x = wide * torch.sin(1.57 * c) + 0.25 * torch.sin(0.7 * y + 4 * c)
        z = 3.2 - 1.5 * torch.cos(1.57 * c) + 0 * y
        points = torch.stack(torch.broadcast_tensors(x, y, z), 1)
        points = on_head(points, people)
        self.add("hair", points, (c, r), long)
        # Locks before the shoulders: from the temple past the neck, onto the chest.
        locks = long & q["locks"]
        turns, origin = people.turns[:, CHEST], people.origin[:, CHEST, :, None]
        for k, side in enumerate((-1.0, 1.0)):
            sway = q["strand"][:, k, None, None]
            t = r.expand(len(y), H, 1)
            top = torch.stack([side * (4.7 + 0.9 * t), -5 + 9 * t, 1.4 - 2.4 * t], 1)
            low = side * (5.4 + (0.5 + 1.5 * sway) * t), -25 + (3.5 + length) * t
            low = torch.stack([*low, -4.6 - 3.4 * ramp(t, 0, 0.6)], 1)
            low = (turns @ low.flatten(2) + origin).view(low.shape)
            path = on_head(top, people).lerp(low, ramp(t, 0.15, 0.7)[:, None])
            wide = 0.3 + 1.7 * ramp(t, 0, 0.35) * (1 - 0.9 * ramp(t, 0.5, 1.02))
            wave = 0.5 * torch.sin(9 * t + 6 * sway) + 0.22 * torch.sin(13 * t + 5 * c)
            x = wave + wide * torch.sin(1.57 * c)
            z = -0.4 * wide * torch.cos(1.57 * c)
            self.add("hair", path + torch.stack([x, 0 * x, z], 1), (0.35 * c, 0.45 * r),
                     locks)  # fmt: skip
