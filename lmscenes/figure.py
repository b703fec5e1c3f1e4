"""Bodies for clothes: the skeleton of ``walkers`` with flesh in rings around it.

A limb is a row of rings. A ring has a centre and two half axes, to the side and to the
back; what is drawn of a limb is the half of each ring that the camera sees, as a
lattice whose columns run from one outline to the other. Clothes are the same rings,
wider. Units are hundredths of a person's height; x right, y down, z away from the
camera.
"""

import functools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.samples import Batch
from lmscenes import head
from lmscenes.shared import turn
from lmscenes.surface import normals
from lmscenes.walkers import skeleton

# Rings of the trunk by their distance below the waist: half width, half depth, how far
# back; then what a feminine build adds to both half axes.
TRUNK = """
-28.5 3.1 3.2 -.6 -.25 -.2 / -26.6 3.2 3.3 -.3 -.2 -.2 / -25.5 3.7 3.5 0 -.2 -.2
-24.9 4.8 3.7 .2 -.2 -.2 / -24.4 6.9 3.9 .3 -.4 -.2 / -24 9 4.1 .3 -.6 -.3
-23.4 10.5 4.3 .3 -.7 -.3 / -22.3 11.4 4.6 .2 -.8 -.3 / -20.6 11.7 5.1 .2 -.8 -.2
-18.4 11.2 5.7 .1 -.7 .1 / -16 10.1 6.1 0 -.5 .7 / -13 9.4 6.3 0 -.4 .9
-10 9 6.2 0 -.5 .5 / -6 8.4 5.8 0 -.9 -.2 / -2 8.1 5.6 .1 -1 -.4
1 8.3 5.8 .1 -.6 -.2 / 4.5 8.9 6.2 .1 0 .1 / 8.5 9.7 6.5 .2 .4 .2
"""
# Along arms and legs: distance from the joint, radius.
ARM = """
-2.6 .2 / -2.45 1.3 / -2.05 2.15 / -1.4 2.8 / -.5 3.2 / 1 3.4 / 3.5 3.25 / 6.5 3
9.5 2.8 / 12.5 2.6 / 14.8 2.5 / 16.5 2.45 / 18.2 2.5 / 20.5 2.5 / 23.5 2.3 / 26.5 2
29 1.75 / 31 1.6
"""
LEG = """
-2 4.3 / 0 4.6 / 3 4.8 / 7 4.75 / 11 4.45 / 15 4.1 / 19 3.75 / 22 3.45 / 24 3.3 / 26 3.2
29 3.3 / 33 3.3 / 37 3 / 41 2.45 / 44 2.05 / 46 1.9 / 47.5 1.9
"""
UPPER_ARM, THIGH, SHIN = 16.5, 24.0, 23.5
BELOW = (14.0, 19.0, 24.0, 29.0, 34.0, 39.0, 44.0, 49.0, 55.5)  # rings around both legs
HIP = 8.5  # below the waist, where legs begin
PELVIS, CHEST, HEAD = range(3)
# Frames of the arms and legs (see walkers.FRAMES), the viewer's left first.
ARMS, FOREARMS, THIGHS, SHINS, FEET = ((k + 1, k) for k in range(3, 13, 2))
CENTIMETRES = 1.72  # a hundredth of a height


def rows(text: str) -> Tensor:
    """A table written as rows between slashes or line ends, ``(R, n)``."""
    cells = [row.split() for row in text.strip().replace("\n", "/").split("/")]
    return torch.tensor([[float(v) for v in row] for row in cells])


class Limb(NamedTuple):
    """Rings along a limb: ``at`` (R,), centres, unit axes (B, R, 3), radii (B, R)."""

    at: Tensor
    centre: Tensor
    side: Tensor
    back: Tensor
    wide: Tensor
    deep: Tensor

    def of(self, which: Tensor) -> "Limb":
        """The limbs of some of the images."""
        return Limb(self.at, *(t.index_select(0, which) for t in self[1:]))

    def tube(self, wide: Tensor | None = None, deep: Tensor | None = None, *,
             printed: bool = False) -> "Tube":  # fmt: skip
        """The side that the camera sees, with these radii in place of its own."""
        wide = self.wide if wide is None else wide
        deep = self.deep if deep is None else deep
        side, back = self.side * wide[..., None], self.back * deep[..., None]
        c = F.pad(self.centre[..., :2].mT, (1, 1), mode="replicate").mT
        x, y = (c[:, 2:] - c[:, :-2]).unbind(-1)
        scale = (x * x + y * y).clamp(min=1e-6).rsqrt()
        x, y = -x * scale, y * scale  # across the limb: to the right if it hangs
        a = y * side[..., 0] + x * side[..., 1]
        b = y * back[..., 0] + x * back[..., 1]
        scale = (a * a + b * b).clamp(min=1e-9).rsqrt()
        cos, sin = (a * scale)[..., None], (b * scale)[..., None]
        across = cos * side + sin * back
        away = cos * back - sin * side
        # How far the front's middle is turned away from the middle of what is seen.
        turned = torch.atan2(b, a).clamp(-0.7, 0.7) * printed
        rings = torch.cat([self.centre, across, away, turned[..., None]], -1)
        return Tube(self.at, rings)


class Tube(NamedTuple):
    """What is seen of a limb: stations ``(R,)`` and rings ``(B, R, 10)``."""

    at: Tensor
    rings: Tensor

    def points(self, w: Tensor, u: Tensor, swell: Tensor | float = 0.0, *,
               inside: bool = False) -> Tensor:  # fmt: skip
        """Points ``(B, 3, ...)`` at stations ``w`` ``(B, ...)`` and columns ``u`` in
        [-1, 1]: -1 is one outline, 1 the other (for a hanging limb left and right).

        ``swell``: folds, in parts of a ring's radius. ``inside``: the far half.
        """
        count, shape = len(self.at), w.shape
        w, u = w.flatten(1), u.flatten(1)
        i = (torch.searchsorted(self.at, w.contiguous()) - 1).clamp(0, count - 2)
        low, high = self.at[i], self.at[i + 1]
        t = ((w - low) / (high - low)).clamp(0, 1)[..., None]
        first = torch.arange(len(w), device=w.device)[:, None] * count
        flat, i = self.rings.flatten(0, 1), (i + first).flatten()
        ring = flat[i].unflatten(0, w.shape).lerp(flat[i + 1].unflatten(0, w.shape), t)
        angle = (math.pi / 2) * u - ring[..., 9] * (1 - u * u)
        sin, cos = angle.sin()[..., None], angle.cos()[..., None]
        offset = sin * ring[..., 3:6] + (cos if inside else -cos) * ring[..., 6:9]
        if isinstance(swell, Tensor):
            offset = offset * (1 + swell.flatten(1))[..., None]
        return (ring[..., :3] + offset).mT.unflatten(2, shape[1:])


def two_links(table: str, joint: float, first: Tensor, second: Tensor, origin: Tensor,
              girth: Tensor, stretch: Tensor | None = None) -> Limb:  # fmt: skip
    """An arm or a leg: it bends smoothly from one frame (B, 3, 3) to the other."""
    at, radius = rows(table).to(origin).mT.contiguous()
    k = ((at - joint) / 7 + 0.5).clamp(0, 1)
    k = (k * k * (3 - 2 * k))[:, None, None]
    frame = torch.lerp(first[:, None], second[:, None], k)  # (B, R, 3, 3)
    along, side = frame[..., 1], frame[..., 0]
    along = along / along.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    side = side - (side * along).sum(-1, keepdim=True) * along
    side = side / side.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    step = at.diff()[:, None] * (along[:, 1:] + along[:, :-1]) / 2
    path = F.pad(step.cumsum(1).mT, (1, 0)).mT
    zero = int(at.abs().argmin())
    path = path - (path - at[zero] * along)[:, zero : zero + 1]
    if stretch is not None:
        path = path * stretch[:, None, None]
    back = torch.linalg.cross(side, along)
    radius = radius * girth[:, None]
    return Limb(at, origin[:, None] + path, side, back, radius, radius)


class Body(NamedTuple):
    """Limbs of B people, the viewer's left first, and the frames they hang on."""

    trunk: Limb
    arms: tuple[Limb, Limb]
    legs: tuple[Limb, Limb]
    turns: Tensor
    origin: Tensor

    def of(self, which: Tensor) -> "Body":
        """Some of the people, in this order; again and again if so wanted."""
        limbs = self.arms, self.legs
        arms, legs = (tuple(limb.of(which) for limb in pair) for pair in limbs)
        trunk = self.trunk.of(which)
        return Body(trunk, arms, legs, self.turns[which], self.origin[which])

    def where(self, mask: Tensor, other: "Body") -> "Body":
        """These people where ``mask`` (B,), the others elsewhere."""

        def pick(a: Tensor, b: Tensor) -> Tensor:
            return torch.where(mask.view(-1, *[1] * (a.ndim - 1)), a, b)

        def limb(a: Limb, b: Limb) -> Limb:
            return Limb(a.at, *map(pick, a[1:], b[1:]))

        return Body(
            limb(self.trunk, other.trunk),
            tuple(map(limb, self.arms, other.arms)),
            tuple(map(limb, self.legs, other.legs)),
            pick(self.turns, other.turns),
            pick(self.origin, other.origin),
        )

    def from_waist(self) -> "Body":
        """The same people, moved so that the waist is the origin."""
        origin = self.origin[:, :1] - self.origin.new_tensor([0, 7.5, 0])

        def move(limb: Limb) -> Limb:
            return limb._replace(centre=limb.centre - origin)

        return Body(
            move(self.trunk),
            tuple(map(move, self.arms)),
            tuple(map(move, self.legs)),
            self.turns,
            self.origin - origin,
        )

    def forearms_before(self, which: Tensor, by: float = 4.0) -> "Body":
        """Forearms are nearer to the camera, clear of the trunk: those where ``which``
        (B, 2) is true or, if it holds numbers, so many times ``by``."""
        arms = []
        for side, arm in enumerate(self.arms):
            near = ((arm.at - 8) / 16).clamp(0, 1) * which[:, side, None] * by
            centre = arm.centre - F.pad(near[..., None], (2, 0))
            arms.append(arm._replace(centre=centre))
        return self._replace(arms=tuple(arms))


def body(pose: Batch, growth: Tensor, build: Tensor, view: Tensor, tilt: Tensor
         ) -> Body:  # fmt: skip
    """People in a pose, seen by the camera.

    ``pose``: angles as in ``walkers.skeleton``; ``growth`` (B, 6); ``build`` (B,) 0
    masculine to 1 feminine; ``view`` and ``tilt`` (B,): heading (0: to the camera) and
    how far the camera looks down, radians.
    """
    turns, origin = skeleton(pose, growth)
    camera = (turn(tilt, 0) @ turn(-view, 1))[:, None]
    turns, origin = camera @ turns, (camera @ origin[..., None])[..., 0]
    girth = growth[:, 3]
    arms = tuple(
        two_links(ARM, UPPER_ARM, turns[:, a], turns[:, f], origin[:, a], girth)
        for a, f in zip(ARMS, FOREARMS, strict=True)
    )
    legs = tuple(
        two_links(LEG, THIGH, turns[:, a], turns[:, f], origin[:, a], girth,
                  growth[:, 1])
        for a, f in zip(THIGHS, SHINS, strict=True)
    )  # fmt: skip
    return Body(_trunk(turns, origin, growth, build, legs), arms, legs, turns, origin)


def _trunk(turns, origin, growth, build, legs) -> Limb:
    """From the neck to between the ankles, where skirts and coats hang."""
    at, wide, deep, z, *more = rows(TRUNK).to(growth).mT.contiguous()
    upper = at < 0
    frame = torch.where(upper, CHEST, PELVIS)
    y = torch.where(upper, at, at - 7.5)
    local = torch.stack([0 * y, y, z], 1)
    own = turns[:, frame]
    centre = origin[:, frame] + (own @ local[:, :, None])[..., 0]
    wide, deep = (m + k * build[:, None] for m, k in zip((wide, deep), more,
                                                         strict=True))  # fmt: skip
    high = ((-at - 10) / 10).clamp(0, 1) * (at > -24.5)  # shoulders grow by themselves
    wide = wide * growth[:, 3:4].lerp(growth[:, 2:3], high)
    deep = deep * growth[:, 3:4]
    side, back = own[..., 0], own[..., 2]
    # Below the hips: rings that hold both legs.
    below = growth.new_tensor(BELOW)
    pelvis = turns[:, PELVIS, None]
    ends, radii = [], []
    for limb in legs:
        i = torch.searchsorted(limb.at, below - HIP).clamp(1, len(limb.at) - 1)
        t = (below - HIP - limb.at[i - 1]) / (limb.at[i] - limb.at[i - 1])
        ends.append(limb.centre[:, i - 1].lerp(limb.centre[:, i], t[:, None]))
        radii.append(limb.wide[:, i - 1].lerp(limb.wide[:, i], t))
    apart = ends[1] - ends[0]
    x, z = (apart * pelvis[..., 0]).sum(-1), (apart * pelvis[..., 2]).sum(-1)
    radius = (radii[0] + radii[1]) / 2
    count = len(below)
    return Limb(
        torch.cat([at, below]),
        torch.cat([centre, (ends[0] + ends[1]) / 2], 1),
        torch.cat([side, pelvis[..., 0].expand(-1, count, 3)], 1),
        torch.cat([back, pelvis[..., 2].expand(-1, count, 3)], 1),
        torch.cat([wide, x.abs() / 2 + radius], 1),
        torch.cat([deep, 1.17 * (z.abs() / 2 + radius)], 1),  # legs are not an ellipse
    )


# ---- heads --------------------------------------------------------------------------

HEAD_ROWS, HEAD_COLUMNS = 41, 61  # a coarse lattice of the morphable head


@functools.cache
def _head_fields(device) -> tuple[Tensor, Tensor]:
    """Mean ``(3, rows, columns)`` and fields ``(34, 3, rows, columns)``."""
    v, u = torch.linspace(-1, 1, HEAD_ROWS), torch.linspace(-1, 1, HEAD_COLUMNS)
    place = head.Place(*torch.meshgrid(u, v, indexing="xy"))
    mean = head.mean_shape(place).float()
    fields = torch.cat([f.float() for f in head.fields(place)])
    return mean.to(device), fields.to(device)


def heads(shape: Tensor, expression: Tensor, people: Body) -> Tensor:
    """Heads ``(B, 3, rows, columns)`` on their necks; ``shape`` (B, 22) and
    ``expression`` (B, 12) as in ``head``."""
    mean, fields = _head_fields(shape.device)
    weights = torch.cat([shape, expression], 1)
    p = mean + (weights[:, :, None, None, None] * fields).sum(1)
    p = p / CENTIMETRES * p.new_tensor([1, 1, -1])[:, None, None]
    return on_head(p, people)


def on_head(points: Tensor, people: Body) -> Tensor:
    """From the head's own coordinates, between the eyes (B, 3, ...), to the scene."""
    p = points.flatten(2) + points.new_tensor([0, -6.1, -0.2])[:, None]
    p = people.turns[:, HEAD] @ p + people.origin[:, HEAD, :, None]
    return p.view(points.shape)


def facing(points: Tensor) -> Tensor:
    """Unit vectors out of lattices ``(N, 3, h, w)``, towards the camera."""
    out = normals(points)
    return out * torch.where(out[:, 2:] > 0, -1.0, 1.0)


# ---- poses --------------------------------------------------------------------------

# What an arm does: swing to the front, lift to the side, bend of the elbow to the front
# and upwards (radians), how often; and whether the forearm passes before the trunk.
GESTURES = (
    (0.02, 0.13, 0.12, 0.0, 3.0, 0),  # hang
    (0.0, 0.42, 0.1, 0.1, 1.2, 0),  # away from the body
    (-0.4, 0.75, 0.2, -1.5, 1.2, 0),  # hand on the hip
    (-0.1, 0.34, 0.45, -0.5, 1.0, 0),  # hand in the pocket
    (0.3, 0.22, 1.1, -1.05, 1.2, 1),  # forearm across the waist
    (0.35, 0.2, 1.75, -0.8, 0.8, 1),  # hand on the chest
    (0.5, 0.35, 2.1, -0.1, 0.8, 1),  # holding something up
    (0.0, 1.25, 0.15, 1.35, 0.7, 0),  # wave
    (0.0, 1.35, 0.1, 0.15, 0.6, 0),  # stretched to the side
    (0.1, 2.45, 0.3, 0.3, 0.5, 0),  # raised
    (0.2, 1.9, 0.7, 1.8, 0.5, 0),  # hand in the hair
    (-0.45, 0.25, 0.2, -0.75, 0.5, 0),  # behind the back
    # Nobody does these by chance; scenes ask for them.
    (0.3, 0.15, 1.1, -1.35, 0, 1),  # forearm across the belly
    (0.45, 0.2, 1.8, -1.25, 0, 1),  # forearm across the chest
)
EASY = 4  # the first gestures, of quiet poses


def poses(u: Tensor, strength: float = 1.0, gestures: Tensor | None = None
          ) -> tuple[Batch, Tensor, Tensor]:  # fmt: skip
    """Poses from uniform numbers ``(B, 40)``: angles for ``body``, how far they are
    from standing still (B,), and whether a forearm passes before the trunk (B, 2).

    ``strength`` 0: everybody stands still, arms a little away from the body.
    ``gestures`` (B, 2): numbers of GESTURES for the arms, the viewer's left first, in
    place of random ones.
    """
    table = u.new_tensor(GESTURES)
    calm = u[:, :1].square() < 1.1 - 1.1 * u[:, 1:2]  # quiet, or anything
    share = table[:, 4].cumsum(0)
    total = torch.where(calm, share[EASY - 1], share[-1])
    twin = u[:, 2:3] < 0.3  # both arms do the same
    chosen = torch.cat([u[:, 3:4], torch.where(twin, u[:, 3:4], u[:, 4:5])], 1) * total
    chosen = torch.searchsorted(share, chosen).clamp(max=len(table) - 1)
    chosen = chosen if gestures is None else gestures
    jitter = 2 * u[:, 5:13].view(-1, 2, 4) - 1
    spread = u.new_tensor([0.12, 0.12, 0.2, 0.2])
    rest = u.new_tensor([0.0, 0.3, 0.1, 0.0])
    arms = rest.lerp(table[chosen][..., :4] + jitter * spread, strength)
    arms = torch.stack([arms[:, 1], arms[:, 0]], 1)  # the skeleton's left comes first
    swing, lift, elbow, up = arms.unbind(-1)

    def bell(k: int, width: float) -> Tensor:
        wide = torch.where(calm[:, 0], 0.5, 1.0) * width * strength
        return wide * (u[:, k] + u[:, k + 1] - 1)

    side = u.new_tensor([1.0, -1.0])
    step = bell(21, 0.5)[:, None] * side
    p = {
        "bend": 0.06 * strength * u[:, 13] + bell(14, 0.12).clamp(min=-0.04),
        "twist": bell(15, 0.25), "roll": bell(17, 0.16), "look": bell(19, 0.7),
        "nod": bell(20, 0.3), "swing": swing, "lift": lift, "elbow": elbow, "up": up,
        "spread": 0.05 + 0.12 * strength * u[:, 23:24] + bell(24, 0.04)[:, None] * side,
        "hip": 0.04 + step, "knee": 0.05 + (-1.2 * step).clamp(min=0) + 0 * side,
        "pitch": -0.3 * step.clamp(max=0),
    }  # fmt: skip
    p["spread"] = p["spread"].clamp(min=0.03)
    energy = (arms - rest).square().sum((1, 2)) / 2
    for name in ("bend", "twist", "roll"):
        energy = energy + 2 * p[name].square()
    crosses = (table[chosen][..., 5] * strength > 0.5).flip(1)
    return p, energy, crosses


def at_rest(spread: Tensor) -> Batch:
    """The pose (B) of a garment laid flat: arms lifted by ``spread`` (B,)."""
    zero = torch.zeros_like(spread)
    two = zero[:, None].expand(-1, 2)
    p = dict.fromkeys("bend twist roll look nod".split(), zero)
    p |= dict.fromkeys("swing elbow up hip knee pitch".split(), two)
    return p | {"lift": spread[:, None].expand(-1, 2), "spread": two + 0.15}
