"""Clothes cut to fit the bodies of ``figure``: geometry, and where landmarks are.

A garment is a few sheets (``sheets``) on the rings of the trunk, the arms and the legs,
wider than the body by its ease. A sheet's chart is (station along the limb, column
across), so a neckline, an armhole or a hem is a curve in the chart, and a landmark is a
corner of a sheet. Every sheet is placed twice: on the person (``Patch.points``), and on
the same garment laid flat (``Patch.flat``), where the pattern is printed; equal places
in the flat are the same point of the cloth.

The viewer's left comes first everywhere, as in FLD. Units as in ``figure``.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lmlib.samples import Batch
from lmscenes.figure import HIP, Body, Limb, Tube
from lmscenes.sheets import H, W

KINDS = ("skin", "hand", "face", "hair", "shoe", "torso", "inside", "sleeve", "coat",
         "skirt", "trousers", "bag", "strap")  # fmt: skip
KIND = {name: k for k, name in enumerate(KINDS)}
COLLAR = 4  # column of the top row where the neckline meets the shoulder's seam
WAIST = 12  # row of a dress's waist
CUFF = 31.0  # end of a long sleeve
FORK = 15.0  # below the waist: from here on trousers go round each leg


class Patch(NamedTuple):
    """One sheet for each of M images."""

    kind: int
    image: Tensor  # (M,)
    fabric: Tensor  # (M,) which of its image's fabrics
    points: Tensor  # (M, 3, H, W)
    flat: Tensor  # (M, 2, H, W) the same places on the garment laid flat
    edge: Tensor  # (M, 2, H, W) distances to hem or cuff, and to neckline or waistband


def grid(like: Tensor) -> tuple[Tensor, Tensor]:
    """Rows from 0 to 1 ``(1, H, 1)``, columns from -1 to 1 ``(1, 1, W)``."""
    r = torch.linspace(0, 1, H, device=like.device)[None, :, None]
    return r, torch.linspace(-1, 1, W, device=like.device)[None, None]


def across(c: Tensor) -> Tensor:
    """Columns of a tube that lie about evenly on the screen; the ends stay."""
    return 0.4 * c + 0.6 * c.asin() * (2 / math.pi)


def ramp(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def at_station(limb: Limb, values: Tensor, w: Tensor) -> Tensor:
    """Interpolate ``values`` (M, R) at stations ``w`` (M, ...)."""
    i = torch.searchsorted(limb.at, w.flatten(1).contiguous()) - 1
    i = i.clamp(0, len(limb.at) - 2)
    t = ((w.flatten(1) - limb.at[i]) / (limb.at[i + 1] - limb.at[i])).clamp(0, 1)
    return values.gather(1, i).lerp(values.gather(1, i + 1), t).view(w.shape)


def on_crest(limb: Limb, wide: Tensor, x: Tensor) -> Tensor:
    """Stations (M, n) of the shoulder's crest where the trunk is ``x`` (M, n) wide."""
    w = torch.linspace(-27.5, -22.4, 64, device=x.device).expand(len(x), -1)
    a = at_station(limb, wide, w).cummax(1).values
    i = torch.searchsorted(a, x.contiguous()).clamp(1, 63)
    low, high = a.gather(1, i - 1), a.gather(1, i)
    t = ((x - low) / (high - low).clamp(min=1e-4)).clamp(0, 1)
    return w.gather(1, i - 1).lerp(w.gather(1, i), t)


# ---- radii --------------------------------------------------------------------------


def around(wide: Tensor, deep: Tensor) -> Tensor:
    """Half width of a flattened ring: a quarter of its circumference."""
    return (math.pi / 2) * ((wide * wide + deep * deep) / 2).sqrt()


def cloth_trunk(limb: Limb, s: Batch, flat: Tensor) -> tuple[Tensor, Tensor]:
    """Half axes (M, R) of cloth around the trunk; ``flat`` (M,) 1: laid flat."""
    at = limb.at
    ease = s["ease"][:, None] * (0.3 + 0.7 * ramp(at, -24.6, -22.0))
    wide, deep = limb.wide + ease, limb.deep + ease
    chest = int((at + 13).abs().argmin())
    k = s["loose"][:, None] * ramp(at, -13, -5)
    more = s["flare"][:, None] * (at - s["from"][:, None]).clamp(min=0)
    axes = []
    for a, full in ((wide, 0.97), (deep, 0.95)):
        hang = torch.maximum(a, full * a[:, chest : chest + 1])
        axes.append(a.lerp(hang, k) + more)
    wide, deep = axes
    k = flat[:, None] * ramp(at, -24.0, -18.0)
    return wide.lerp(around(wide, deep), k), deep.lerp(0.08 * deep, flat[:, None])


def cloth_limb(limb: Limb, ease: Tensor, more: Tensor, end: Tensor, flat: Tensor
               ) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Half axes of a sleeve or a trouser leg: ``ease`` everywhere, and ``more`` that
    grows to its ``end``, all (M,)."""
    at = limb.at
    reach = (at / end[:, None]).clamp(0, 1)
    ease = ease[:, None]
    cap = limb.wide * (1 + ease / 5)  # of the shoulder
    wide = torch.where(at < 0, cap, limb.wide + ease * ramp(at, -2, 3))
    wide = wide + more[:, None] * reach
    k = flat[:, None] * ramp(at, -1.0, 4.0)  # a little less than a flattened ring
    return wide.lerp(1.4 * wide, k), wide.lerp(0.08 * wide, flat[:, None])


# ---- folds --------------------------------------------------------------------------


def torso_folds(s: Batch, w: Tensor, u: Tensor) -> Tensor:
    """Waves across the hem, and drag lines from the armpits; parts of a radius."""
    v, hem = s["folds"][:, :, None, None], s["hem"][:, None, None]
    a, n = s["wave"][:, None, None], 2 + 4 * v[:, 0]
    low = ramp(w, hem - 24, hem)
    bend = u + 0.06 * torch.sin(0.3 * w + 6.3 * v[:, 7])
    wave = torch.sin(math.pi * n * bend + 6.3 * v[:, 1])
    slope = w + 13 * (v[:, 2] - 0.2) * u.abs() + 5 * (v[:, 3] - 0.5) * u
    near = torch.exp(-(((w + 4 + 10 * (v[:, 4] - 0.5)) / 8) ** 2))
    drag = near * torch.sin(slope * (0.8 + 0.5 * v[:, 5]) + 6.3 * v[:, 6])
    drag = drag * (0.35 + u.abs()).clamp(max=1)
    return a * (0.075 * low * wave + 0.04 * drag) * ramp(w, -21, -13)


def skirt_folds(s: Batch, w: Tensor, u: Tensor, start: Tensor) -> Tensor:
    """Folds that open from the waist ``start`` (M,) to the hem."""
    v, hem = s["folds"][:, :, None, None], s["hem"][:, None, None]
    low = ((w - start[:, None, None]) / (hem - start[:, None, None])).clamp(0, 1)
    n = s["pleats"][:, None, None]
    bend = u + 0.05 * torch.sin(0.2 * w + 6.3 * v[:, 2])
    wave = torch.sin(math.pi * n * bend + 6.3 * v[:, 3])
    wave = wave + 0.5 * torch.sin(1.7 * math.pi * n * bend + 6.3 * v[:, 4])
    return s["drape"][:, None, None] * low**0.8 * wave


def limb_folds(s: Batch, w: Tensor, u: Tensor, joint: float, side: int) -> Tensor:
    """Rings around elbow or knee, and cloth that piles up at its end."""
    v = s["folds"][:, 7 + 3 * side : 10 + 3 * side, None, None]
    bend = torch.exp(-(((w - joint) / 6) ** 2))
    slant = w + 5 * (v[:, 0] - 0.5) * u
    rings = torch.sin(slant * (1.2 + 0.6 * v[:, 1]) + 6.3 * v[:, 2])
    return s["wave"][:, None, None] * (0.03 + 0.06 * bend) * rings * ramp(w, 0, 4)


# ---- pieces -------------------------------------------------------------------------


def neckline(s: Batch, c: Tensor) -> tuple[Tensor, Tensor]:
    """x and depth (M, n) of the neckline's front at ``c`` in [-1, 1] (n,)."""
    v = s["vee"][:, None]
    angle = c * (math.pi / 2)
    x = s["collar x"][:, None] * angle.sin().lerp(c.expand_as(v * c), v)
    return x, s["dip"][:, None] * angle.cos().lerp((1 - c.abs()).expand_as(v * c), v)


def _wide(x: Tensor) -> Tensor:
    return x[:, None, None]


def side_edge(s: Batch, a: Tensor, w: Tensor) -> Tensor:
    """x (M, H, W) of the side's seam, or of the armhole if there are no sleeves, where
    the trunk's half width is ``a``."""
    x, low = _wide(s["shoulder x"]), _wide(s["arm dip"])
    edge = torch.lerp(x - 0.7 * ramp(w, -23.5, -20), a, ramp(w, low - 5, low))
    return torch.where(_wide(s["bare"]), torch.minimum(edge, a), a)


def to_column(x: Tensor, a: Tensor) -> Tensor:
    return (x / a).clamp(-1, 1).asin() * (2 / math.pi)


def torso_chart(s: Batch, limb: Limb, wide: Tensor) -> tuple[Tensor, Tensor]:
    """Stations and columns ``(M, H, W)`` of the front: the top row is the shoulders'
    seams and the neckline between, the last row the hem, row WAIST the waist of a
    dress at the sides.

    Drawn as a pattern on paper, x and w: between its four edges (a Coons patch).
    """
    r, c = grid(wide)
    inner = c[0, 0, COLLAR : W - COLLAR] / -c[0, 0, COLLAR]
    x, dip = neckline(s, inner)
    # The shoulder's seam, from its outer end to the neck.
    t = torch.linspace(0, 1, COLLAR + 1, device=r.device)
    ridge = torch.lerp(s["shoulder x"][:, None], s["collar x"][:, None], t)
    crest = on_crest(limb, wide, ridge)
    ridge = at_station(limb, wide, crest)
    shoulder, neck = crest[:, 0], crest[:, -1:]
    crest, ridge = crest[:, :-1], ridge[:, :-1]
    top_w = torch.cat([crest, neck + dip, crest.flip(1)], 1)[:, None]
    top_x = torch.cat([-ridge, x, ridge.flip(1)], 1)[:, None]
    k = WAIST / (H - 1)
    share = ((s["waist"] - shoulder) / (s["hem"] - shoulder)).clamp(0.25, 0.8)
    share = _wide(torch.where(s["fitted"], share, k**1.2))
    below = share + (r - k) * ((1 - share) / (1 - k))
    down = torch.where(r < k, (r / k) ** 1.2 * share, below)
    w = top_w + down * (_wide(s["hem"]) - top_w)
    a = at_station(limb, wide, w)
    low = at_station(limb, wide, s["hem"][:, None])[:, None] * (c * math.pi / 2).sin()
    x = top_x.lerp(low, ramp(down, -0.2, 1.0))
    edge = side_edge(s, a, w)
    miss = edge[..., -1:] - x[..., -1:]  # at the sides
    x = x + miss * c.sign() * ramp(c.abs(), 0.55, 1.0)
    x = torch.minimum(x.abs(), edge) * x.sign()
    return w, to_column(x, a)


def coat_chart(s: Batch, limb: Limb, wide: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """One front of a coat; columns run from the side's seam to the front edge."""
    r, c = grid(wide)
    c = (c + 1) / 2
    neck, shoulder = (_wide(on_crest(limb, wide, s[x][:, None])[:, 0])
                      for x in ("collar x", "shoulder x"))  # fmt: skip
    r = r**1.5
    top, hem, low = shoulder.lerp(neck, c), _wide(s["hem"]), _wide(s["closing"])
    w = top + r * (hem - top)
    t = ((w - neck) / (low - neck)).clamp(0, 1)  # to where the two fronts meet
    closed = (~_wide(s["open"])).float() * _wide(s["overlap"])
    gap = _wide(s["gap"]) * (0.6 + 0.02 * (w - low).clamp(min=0)) - closed
    front = torch.lerp(_wide(s["collar x"]) + 0 * w, gap, t)
    a = at_station(limb, wide, w)
    at_hem = a[:, -1:] * (1 - c) + front[:, -1:] * c
    x = at_station(limb, wide, top.expand_as(w)).lerp(at_hem, ramp(r, -0.2, 1.0))
    x = x + (a[..., :1] - x[..., :1]) * (1 - c) ** 2
    x = x + (front[..., -1:] - x[..., -1:]) * c**2
    u = to_column(torch.maximum(torch.minimum(x, a), front), a)
    return w, u * (1 if side else -1)


class Tailor:
    """Sews garments for M of the batch's images: on the person, and laid flat."""

    def __init__(self, people: Body, laid: Body, flat: Tensor, which: Tensor, s: Batch,
                 fabric: Tensor, pressed: float = 1.0):  # fmt: skip
        """``flat`` (B,): how far the people's garments are pressed flat, 0 to 1;
        ``pressed``: how far those laid flat are."""
        self.which, self.fabric = which, fabric[which]
        self.s = {name: value[which] for name, value in s.items()}
        self.worn, self.laid, self.flat = people, laid, flat[which]
        self.pressed = pressed
        self.patches: list[Patch] = []

    def tubes(self, limb: str, side: int | None, radii, printed: bool = False):
        """(limb, radii, tube) on the person and laid flat."""
        both = []
        for people, flat in ((self.worn, self.flat), (self.laid, None)):
            own = getattr(people, limb)
            own = (own if side is None else own[side]).of(self.which)
            if flat is None:
                flat = torch.full_like(self.flat, self.pressed)
            axes = radii(own, flat)
            both.append((own, axes, own.tube(*axes, printed=printed)))
        return both

    def add(self, kind: str, tubes: tuple[Tube, Tube], w, u, p, q, swell=0.0,
            inside: bool = False, fabric: Tensor | None = None, nearer: float = 0.0,
            ) -> Patch:  # fmt: skip
        points = tubes[0].points(w, u, swell, inside=inside)
        if nearer:
            points = points - points.new_tensor([0, 0, nearer])[:, None, None]
        flat = tubes[1].points(w, u, inside=inside)[:, :2]
        edge = torch.stack(torch.broadcast_tensors(p, q, w)[:2], 1)
        fabric = self.fabric if fabric is None else fabric
        patch = Patch(KIND[kind], self.which, fabric, points, flat, edge)
        self.patches.append(patch)
        return patch

    def torso(self, kind: str = "torso", below: bool = False) -> Patch:
        """Front of a top or a dress; ``below``: under a coat."""
        s = self.s
        (_, _, worn), (flat, (room, _), laid) = self.tubes(
            "trunk", None, lambda own, k: cloth_trunk(own, s, k), printed=True
        )
        w, u = torso_chart(s, flat, room)
        swell = torso_folds(s, w, u)
        long = (s["hem"] > 16)[:, None, None]
        swell = torch.where(long, swell + skirt_folds(s, w, u, s["waist"]), swell)
        # The distance to the neckline, and to the armholes if there are no sleeves.
        xy = laid.points(w, u)[:, :2]
        line = [xy[:, :, 0, COLLAR : W - COLLAR]]
        for column in (0, W - 1):
            edge = xy[:, :, :8, column]
            line.append(torch.where(s["bare"][:, None, None], edge, line[0][..., :8]))
        q = torch.cdist(xy.flatten(2).mT, torch.cat(line, 2).mT).amin(2).view(w.shape)
        p = s["hem"][:, None, None] - w
        front = self.add(kind, (worn, laid), w, u, p, q, swell,
                         nearer=-0.8 if below else 0.0)  # fmt: skip
        self._collar(worn, flat, room, laid)
        return front

    def _collar(self, worn: Tube, flat: Limb, room: Tensor, laid: Tube) -> None:
        """What is seen of the back inside the collar."""
        s = self.s
        r, c = grid(room)
        neck = on_crest(flat, room, s["collar x"][:, None])[..., None]
        deep = s["lining"][:, None, None]
        dip = 0.7 * torch.cos(c * (math.pi / 2))
        w = neck + dip + r * deep * torch.cos(c * 1.4)
        u = (s["collar x"][:, None, None] * c / at_station(flat, room, w)).clamp(-1, 1)
        u = u.asin() * (2 / math.pi)
        self.add("inside", (worn, laid), w, u, 9 + 0 * w, r * deep, inside=True)

    def coat(self) -> list[Patch]:
        """Two fronts; the one that lies above is the viewer's right."""
        s = self.s
        (_, _, worn), (flat, (room, _), laid) = self.tubes(
            "trunk", None, lambda own, k: cloth_trunk(own, s, k), printed=True
        )
        fronts = []
        for side in (0, 1):
            w, u = coat_chart(s, flat, room, side)
            swell = 0.6 * torso_folds(s, w, u)
            xy = laid.points(w, u)[:, :2]
            q = torch.cdist(xy.flatten(2).mT, xy[..., -1].mT).amin(2).view(w.shape)
            p = s["hem"][:, None, None] - w
            fronts.append(self.add("coat", (worn, laid), w, u, p, q, swell,
                                   nearer=0.4 * side))  # fmt: skip
        self._collar(worn, flat, room, laid)
        return fronts

    def sleeves(self) -> list[Patch]:
        s, both = self.s, []
        r, c = grid(self.flat)
        for side in (0, 1):
            (_, _, worn), (_, _, laid) = self.tubes(
                "arms", side,
                lambda own, k: cloth_limb(own, s["sleeve ease"], s["cuff"], s["sleeve"],
                                          k),
            )  # fmt: skip
            end = s["sleeve"][:, None, None]
            w = -2.6 + r**1.25 * (end + 2.6) + 0 * c
            u = across(c).expand_as(w)
            swell = limb_folds(s, w, u, 16.5, side)
            both.append(self.add("sleeve", (worn, laid), w, u, end - w,
                                 9 + 0 * w, swell))  # fmt: skip
        return both

    def skirt(self) -> Patch:
        s = self.s
        (_, _, worn), (_, _, laid) = self.tubes(
            "trunk", None, lambda own, k: cloth_trunk(own, s, k), printed=True
        )
        r, c = grid(self.flat)
        top, hem = s["waist"][:, None, None], s["hem"][:, None, None]
        w = top + r * (hem - top) + 0 * c
        u = across(c).expand_as(w)
        swell = skirt_folds(s, w, u, s["from"])
        return self.add("skirt", (worn, laid), w, u, hem - w, w - top,
                        swell)  # fmt: skip

    def trousers(self) -> list[Patch]:
        """Two halves, from the middle of the waistband to the ankles: above they lie on
        the trunk's rings, below each goes round its leg."""
        s = self.s
        trunk = self.tubes("trunk", None, lambda own, k: cloth_trunk(own, s, k),
                           printed=True)  # fmt: skip
        r, c = grid(self.flat)
        top, end = s["waist"][:, None, None], s["hem"][:, None, None]
        w = top + r * (end + HIP - top) + 0 * c
        k = ramp(w, HIP - 1.5, FORK)
        out = []
        for side in (0, 1):
            legs = self.tubes(
                "legs", side,
                lambda own, k: cloth_limb(own, s["ease"], s["cuff"], s["hem"], k),
            )  # fmt: skip
            u = across(c).expand_as(w)
            half = across((c + (1 if side else -1)) / 2).expand_as(w)
            swell = limb_folds(s, w - HIP, u, 24.0, side)
            places = []
            for (_, _, hips), (_, _, leg) in zip(trunk, legs, strict=True):
                above = hips.points(w, half, swell)
                below = leg.points(w - HIP, u, swell)
                places.append(above.lerp(below, k[:, None]))
            edge = torch.stack([end + HIP - w, w - top], 1)
            out.append(Patch(KIND["trousers"], self.which, self.fabric, places[0],
                             places[1][:, :2], edge))  # fmt: skip
        self.patches += out
        return out


def joined(patches: list[Patch]) -> Batch:
    """All sheets of a batch as one table."""
    kind = torch.cat([torch.full_like(p.image, p.kind) for p in patches])
    out = {"kind": kind}
    for name in ("image", "fabric", "points", "flat", "edge"):
        out[name] = torch.cat([getattr(p, name) for p in patches])
    return out
