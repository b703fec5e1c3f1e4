"""A small morphable head: mean shape, ways to vary, landmarks, and where things are.

Centimetres, x to the image's right, y down, z towards the viewer; the origin lies
between the eyes, on the head's axis. A point of the surface is named by (u, v): the
angle around the head and the height, both in [-1, 1]. The surface is linear in its
parameters: ``points = mean + identity @ fields + expression @ fields``, as in the 3-D
morphable models of Blanz and Vetter, only that the fields are written down, not
learned.

Everything is described at the *reference*: seen from the front, mouth slightly open.
"""

import functools
import math

import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from lmscenes.shared import smoothstep

ROWS, COLUMNS = 160, 176  # the lattice on which the geometry is computed
CROWN, CHIN = -11.3, 12.1
EYE, EYE_HALF = 3.15, 1.25  # centre and half width of the opening
MOUTH, MOUTH_HALF = 7.2, 2.45

# Height, half width, z of the front, z of the widest place, z of the back.
SECTIONS = [
    (-11.3, 0.0, -1.0, -1.0, -1.0),
    (-10.8, 3.1, 3.2, -1.0, -4.6),
    (-9.5, 5.3, 5.9, -1.0, -7.2),
    (-7.5, 6.7, 7.9, -0.9, -9.0),
    (-5.0, 7.4, 8.9, -0.8, -10.0),
    (-2.5, 7.6, 9.2, -0.6, -10.0),
    (0.0, 7.5, 9.0, -0.5, -9.3),
    (2.0, 7.4, 9.1, -0.4, -8.3),
    (4.0, 7.15, 9.3, -0.2, -7.0),
    (6.0, 6.75, 9.4, 0.5, -5.0),
    (7.7, 6.05, 9.4, 1.7, -2.5),
    (9.3, 4.95, 9.2, 3.3, 0.0),
    (10.7, 3.55, 9.0, 5.0, 2.5),
    (11.7, 2.0, 8.4, 6.2, 4.8),
    (12.1, 0.0, 7.0, 7.0, 7.0),
]
# The iBUG-68 points of one half, from the front: outer to inner, top to bottom.
JAW = (0.05, 2.0, 4.0, 5.95, 7.7, 9.3, 10.68, 11.7)  # heights
BROW = ((5.75, -1.5), (4.85, -2.15), (3.65, -2.35), (2.42, -2.15), (1.3, -1.75))
NOSE = ((0, -0.15), (0, 1.15), (0, 2.45), (0, 3.8))
NOSTRILS = ((1.45, 4.5), (0.74, 4.88), (0, 5.1))
UPPER_LIP = ((2.8, 7.2), (1.85, 6.62), (0.75, 6.3), (0, 6.45))
LOWER_LIP = ((2.8, 7.2), (1.85, 8.0), (0.8, 8.32), (0, 8.38))

IDENTITY = (
    "face width,jaw width,chin length,chin forward,face length,forehead,eye spacing,"
    "eye size,eye tilt,brow height,brow arch,nose length,nose width,nose bridge,"
    "nose tip,mouth width,lip thickness,mouth height,cheekbones,cheeks,brow ridge,"
    "skew"
).split(",")
EXPRESSION = (
    "part,jaw,smile,narrow,raise lip,corners down,brows up,brows together,blink,"
    "lower lid,cheeks up,flare"
).split(",")


def _curve(knots) -> PchipInterpolator:
    x, y = zip(*sorted(knots), strict=True)
    return PchipInterpolator(x, y)


def _at(curve, x: Tensor) -> Tensor:
    return torch.from_numpy(curve(x.numpy())).to(x)


def height_angle(y: Tensor) -> Tensor:
    """Height as an angle, 0 at the crown and pi at the chin: smooth at both poles."""
    return torch.arccos((1 - 2 * (y - CROWN) / (CHIN - CROWN)).clamp(-1, 1))


@functools.cache
def _section_curves():
    angle = height_angle(torch.tensor([s[0] for s in SECTIONS], dtype=torch.float64))
    columns = list(zip(*SECTIONS, strict=True))[1:]
    return [PchipInterpolator(angle.numpy(), column) for column in columns]


def section(y: Tensor) -> list[Tensor]:
    """Half width and z of front, widest place and back at heights ``y``."""
    return [_at(curve, height_angle(y)) for curve in _section_curves()]


@functools.cache
def _rows() -> tuple[Tensor, Tensor]:
    """Heights and their v in [0, 1]: more rows where the surface stretches."""
    angle = torch.linspace(0, math.pi, 4001, dtype=torch.float64)
    y = CROWN + (CHIN - CROWN) * (1 - torch.cos(angle)) / 2
    density = 1 + 1.3 * torch.exp(-((y / 1.0) ** 2))
    density = density + 6 * torch.exp(-(((y - MOUTH) / 0.4) ** 2))
    density = density + 1.2 * torch.exp(-(((y - 4.6) / 0.6) ** 2))
    total = torch.cumsum(density, 0) - density[0]
    return y, total / total[-1]


def _interp(x: Tensor, xp: Tensor, fp: Tensor) -> Tensor:
    i = torch.searchsorted(xp, x.contiguous()).clamp(1, len(xp) - 1)
    x0, x1, f0, f1 = xp[i - 1], xp[i], fp[i - 1], fp[i]
    return f0 + (f1 - f0) * ((x - x0) / (x1 - x0)).clamp(0, 1)


def angle_of_u(u: Tensor) -> Tensor:
    """u to the angle around the head: the lattice is denser in front."""
    return math.pi * u - 0.4 * torch.sin(math.pi * u)


def u_of_angle(angle: Tensor) -> Tensor:
    u = angle / (0.6 * math.pi)
    for _ in range(30):  # Newton; the slope is never below 0.6 pi
        slope = math.pi * (1 - 0.4 * torch.cos(math.pi * u))
        u = u - ((angle_of_u(u) - angle) / slope).clamp(-0.2, 0.2)
    return u


def v_of_height(y: Tensor) -> Tensor:
    """Height (cm, reference) to v in [-1, 1]."""
    heights, v = (t.to(y) for t in _rows())
    return 2 * _interp(y, heights, v) - 1


def height_of_v(v: Tensor) -> Tensor:
    heights, table = (t.to(v) for t in _rows())
    return _interp((v + 1) / 2, table, heights)


def lids(s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The eye's outline from s = -1, the inner corner, to 1: opening, top, bottom."""
    opening = (1 - s**2).clamp(min=0) ** 0.6
    axis = 0.05 - 0.09 * s
    return opening, axis - (0.56 + 0.06 * s) * opening, axis + (
        0.36 + 0.05 * s) * opening  # fmt: skip


class Place:
    """Points of the reference surface given by (u, v), and windows around places."""

    def __init__(self, u: Tensor, v: Tensor):
        self.u, self.v = u.double(), v.double()
        self.y = y = height_of_v(self.v)
        angle = angle_of_u(self.u)
        width, front, middle, back = section(y)
        s, c = torch.sin(angle), torch.cos(angle)
        self.x = x = width * s
        flat = (1 - s.abs() ** 2.3).clamp(min=0) ** (1 / 2.3)  # flatter than an ellipse
        self.base_z = torch.where(
            c > 0, middle + (front - middle) * flat, middle + (middle - back) * c
        )
        self.ax = x.abs()
        self.front = torch.sigmoid((c - 0.15) / 0.07)
        # mouth: 1 at its middle, 0 at the corners; gape: 0 at the upper lip, 1 at the
        # lower one
        self.mouth = (1 - (x / MOUTH_HALF) ** 2).clamp(min=0).sqrt()
        self.lip_top = MOUTH - 0.28 * self.mouth
        self.lip_bottom = MOUTH + 0.28 * self.mouth
        self.gape = self._between(self.lip_top, self.lip_bottom)
        # the eye, likewise
        self.es = (self.ax - EYE) / EYE_HALF
        self.eye, self.lid_top, self.lid_bottom = lids(self.es)
        self.gaze = self._between(self.lid_top, self.lid_bottom)

    def _between(self, top: Tensor, bottom: Tensor) -> Tensor:
        return ((self.y - top) / (bottom - top).clamp(min=1e-3)).clamp(0, 1)

    def one(self, cx, cy, sx, sy) -> Tensor:
        z = ((self.x - cx) / sx) ** 2 + ((self.y - cy) / sy) ** 2
        return torch.exp(-z / 2) * self.front

    def both(self, cx, cy, sx, sy) -> Tensor:
        """A smooth window on both sides."""
        return self.one(cx, cy, sx, sy) + self.one(-cx, cy, sx, sy)

    def odd(self, cx, cy, sx, sy) -> Tensor:
        """Both sides, with opposite signs: to push things outwards."""
        return self.one(cx, cy, sx, sy) - self.one(-cx, cy, sx, sy)

    def above(self, edge, reach) -> Tensor:
        return torch.exp(-(((edge - self.y).clamp(min=0) / reach) ** 2))

    def below(self, edge, reach) -> Tensor:
        return torch.exp(-(((self.y - edge).clamp(min=0) / reach) ** 2))


def mean_shape(p: Place) -> Tensor:
    """Mean points ``(3, ...)``: the sections plus what stands out of them."""
    y = p.y
    bridge = 0.55 + 2.0 * smoothstep(y, -1.0, 4.2) ** 1.15
    ridge = bridge * smoothstep(y, -2.4, 0.4) * (1 - smoothstep(y, 4.0, 5.15))
    wide = 0.62 + 0.45 * smoothstep(y, 1.5, 4.2)
    across = 0.6 * torch.exp(-((p.x / wide) ** 2) / 2)
    across = across + 0.4 * torch.exp(-((p.x / (1.75 * wide)) ** 2) / 2)
    nose = ridge * across * p.front
    z = p.base_z + nose
    z = z + 0.75 * p.both(1.2, 4.3, 0.40, 0.42)  # wings
    z = z + 0.55 * p.one(0, 4.1, 0.6, 0.45)  # tip
    z = z + 0.35 * p.both(2.9, -1.75, 1.9, 0.8) + 0.12 * p.one(0, -1.8, 1.4, 1.2)
    z = z - 1.0 * p.both(3.05, 0.1, 1.4, 0.95)  # sockets
    z = z + 0.7 * p.both(EYE, 0.0, 1.05, 0.62)  # eyeballs
    edge = torch.minimum((y - p.lid_top).abs(), (y - p.lid_bottom).abs())
    z = z + 0.10 * torch.exp(-((edge / 0.16) ** 2)) * (p.eye > 0) * p.front  # lids
    z = z + 0.6 * p.both(4.6, 2.4, 1.5, 1.1)  # cheekbones
    z = z - 0.25 * p.both(4.6, 5.6, 1.2, 1.3)  # hollow below
    z = z - 0.3 * p.one(0, 5.7, 0.3, 0.5) * 0.5  # philtrum
    z = z + 0.35 * p.one(0, 7.2, 2.2, 1.5)  # the teeth's arch
    lips = 0.30 * torch.exp(-(((y - 6.62) / 0.28) ** 2))
    lips = lips + 0.36 * torch.exp(-(((y - 7.95) / 0.33) ** 2))
    z = z + lips * (1 - (p.x / 2.9) ** 2).clamp(min=0) * p.front
    z = z - 0.45 * p.one(0, 9.05, 1.6, 0.42) + 0.5 * p.one(0, 10.5, 1.5, 0.8)  # chin
    z = z - 0.25 * p.both(2.85, 7.25, 0.4, 0.4)  # corners
    return torch.stack([p.x, y, z])


def fields(p: Place) -> tuple[Tensor, Tensor]:
    """Identity ``(22, 3, ...)`` and expression ``(12, 3, ...)``; 1 is a large value."""
    identity, expression = _identity(p), _expression(p)
    return (
        torch.stack([torch.stack(identity[name]) for name in IDENTITY]),
        torch.stack([torch.stack(expression[name]) for name in EXPRESSION]),
    )


Moves = dict[str, tuple[Tensor, Tensor, Tensor]]  # in x, y and z


def _identity(p: Place) -> Moves:
    """Where points go from one person to another."""
    x, y, o = p.x, p.y, torch.zeros_like(p.x)
    low, eyes = smoothstep(y, 2.0, 9.0), p.both(EYE, 0.0, 1.3, 0.95)
    brows, lips = p.both(3.4, -1.9, 2.2, 0.75), p.one(0, MOUTH, 2.6, 1.1)
    nose = p.one(0, 4.3, 1.5, 0.9)
    length = smoothstep(y, -0.5, 4) * (1 - smoothstep(y, 4.8, 6.6))  # of the nose
    side = torch.where(x > 0, 1.0, -1.0).double()
    return {
        "face width": (0.09 * x, o, o),
        "jaw width": (0.16 * x * low, o, o),
        "chin length": (o, 1.0 * smoothstep(y, 8.0, 11.0), o),
        "chin forward": (o, o, 0.9 * p.one(0, 10.5, 2.2, 1.3)),
        "face length": (o, 0.07 * y, o),
        "forehead": (o, -1.2 * smoothstep(-y, 2.5, 8.0), o),
        "eye spacing": (0.32 * p.odd(EYE, -0.3, 1.5, 1.6), o, o),
        "eye size": (0.15 * (p.ax - EYE) * side * eyes, 0.30 * (y - 0.02) * eyes, o),
        "eye tilt": (o, -0.25 * p.es * eyes, o),
        "brow height": (o, -0.35 * brows, o),
        "brow arch": (o, -0.4 * p.both(4.3, -2.0, 0.9, 0.7), o),
        "nose length": (o, 0.55 * length, o),
        "nose width": (0.24 * x * p.one(0, 4.3, 1.9, 0.9), o, o),
        "nose bridge": (o, o, 0.6 * p.one(0, 1.3, 0.7, 1.5)),
        "nose tip": (o, -0.35 * nose, 0.45 * p.one(0, 3.9, 0.9, 0.8)),
        "mouth width": (0.13 * x * p.one(0, MOUTH, 3.2, 1.0), o, o),
        "lip thickness": (o, 0.26 * (y - MOUTH) * lips, 0.2 * lips),
        "mouth height": (o, 0.35 * p.one(0, MOUTH, 3.0, 1.3), o),
        "cheekbones": (
            0.35 * p.odd(5.2, 2.4, 1.6, 1.4),
            o,
            0.35 * p.both(4.7, 2.4, 1.5, 1.2),
        ),
        "cheeks": (
            0.45 * p.odd(5.6, 6.0, 1.6, 1.8),
            o,
            0.45 * p.both(4.4, 5.8, 1.5, 1.6),
        ),
        "brow ridge": (o, o, 0.45 * p.both(2.6, -1.8, 1.9, 0.6)),
        "skew": (0.2 * torch.sin(y / 6), 0.03 * x * p.front, o),
    }


def _expression(p: Place) -> Moves:
    """Where points go in one face."""
    x, y, o = p.x, p.y, torch.zeros_like(p.x)
    lips, nose = p.one(0, MOUTH, 2.6, 1.1), p.one(0, 4.3, 1.5, 0.9)
    # Mouth: what the upper lip, the corners and the lower lip do, and the jaw below.
    corner = torch.exp(-(((p.ax - MOUTH_HALF).clamp(min=0) / 1.2) ** 2))
    corner = 0.35 * corner * (p.ax / MOUTH_HALF).clamp(max=1) ** 2
    jaw_low, chin = corner + p.mouth, (1 - (x / 7.7) ** 2).clamp(min=0)
    k = smoothstep(y - p.lip_bottom, 0.0, 2.4)
    jaw = torch.lerp(corner * p.above(p.lip_top, 0.9), jaw_low, p.gape)
    jaw = torch.where(y > p.lip_bottom, torch.lerp(jaw_low, chin, k), jaw)
    up, down = -0.20 * p.above(p.lip_top, 0.6), 0.36 * p.below(p.lip_bottom, 0.8)
    part = torch.lerp(up, down, p.gape) * p.mouth
    inside = 4 * p.gape * (1 - p.gape) * p.mouth
    lift, pull = p.both(2.6, 7.1, 1.0, 0.9), p.odd(2.7, 7.2, 1.3, 1.3)
    apple = p.both(4.1, 3.9, 1.3, 1.0)
    upper = p.one(0, 6.6, 1.7, 0.8) * p.above(p.lip_top - 0.4, 1.0)
    upper = upper * torch.where(y > p.lip_top, 1 - p.gape, 1.0)
    upper = upper * torch.where(y > p.lip_bottom, 0.0, 1.0)
    blink, lower_lid = lid_moves(p)
    wings = p.both(1.3, 4.5, 0.7, 0.8)
    forehead = p.both(3.2, -2.6, 2.4, 1.1)
    return {
        "part": (o, part * p.front, -0.25 * inside * p.front),
        "jaw": (-0.035 * x * lips, jaw, -0.3 * k * chin - 0.35 * inside * p.front),
        "smile": (
            0.62 * pull,
            -0.62 * lift - 0.08 * p.one(0, 6.6, 1.5, 0.6),
            0.35 * apple - 0.35 * p.both(2.9, 7.2, 1.0, 1.0),
        ),
        "narrow": (-0.26 * x * p.one(0, MOUTH, 2.8, 1.3), o, 0.3 * lips),
        "raise lip": (o, -0.55 * upper - 0.25 * wings, 0.15 * upper),
        "corners down": (o, 0.5 * p.both(2.6, 7.3, 0.8, 0.9), o),
        "brows up": (o, -0.95 * forehead, o),
        "brows together": (
            -0.28 * p.odd(1.6, -1.6, 0.9, 0.9),
            0.62 * p.both(1.7, -1.7, 1.3, 0.9),
            0.25 * p.both(1.3, -1.6, 0.8, 0.6),
        ),
        "blink": (o, blink, o),
        "lower lid": (o, lower_lid, o),
        "cheeks up": (o, -0.45 * apple, 0.3 * apple),
        "flare": (0.14 * x * nose, -0.1 * nose, o),
    }


def lid_moves(p: Place) -> tuple[Tensor, Tensor]:
    """How far a blink moves points down, and the lower lid up."""
    top = torch.where(p.y < p.lid_top, p.above(p.lid_top, 0.55), 1 - p.gaze)
    low = torch.where(p.y > p.lid_bottom, p.below(p.lid_bottom, 0.6), p.gaze)
    height = (p.lid_bottom - p.lid_top) * p.front * (p.eye > 0)
    return 0.86 * top * height, -0.35 * low * height


def landmark_places() -> Tensor:
    """(u, v) of the 68 points, ``(68, 2)``: the left half as listed, then mirrored."""
    flip = torch.tensor([-1.0, 1.0]).double()

    def left(points) -> Tensor:
        return torch.tensor(points).double() * flip

    def mirror(points: Tensor) -> Tensor:  # from the middle outwards
        return points.flip(0) * flip

    y = torch.tensor(JAW).double()
    jaw = torch.stack([-0.975 * section(y)[0], y], 1)
    brow, nose, nostrils = left(BROW), left(NOSE), left(NOSTRILS)
    s = torch.tensor([0.995, 0.36, -0.36, -0.995, -0.36, 0.36]).double()
    top, bottom = lids(s)[1:]
    eye = torch.stack([-EYE - EYE_HALF * s, torch.cat([top[:4], bottom[4:]])], 1)
    upper, lower = left(UPPER_LIP), left(LOWER_LIP[1:])
    x = torch.tensor([0.99 * MOUTH_HALF, 0.77, 0.0]).double()
    half = 0.28 * (1 - (x / MOUTH_HALF) ** 2).sqrt()
    inner_top = torch.stack([-x, MOUTH - half], 1)
    inner_low = torch.stack([-x, MOUTH + half], 1)[1:]
    xy = torch.cat([
        jaw, left([(0.0, 11.9)]), mirror(jaw), brow, mirror(brow),
        nose, nostrils, mirror(nostrils[:2]), eye, (eye * flip)[[3, 2, 1, 0, 5, 4]],
        upper, mirror(upper[:3]), lower[:2] * flip, lower.flip(0),
        inner_top, mirror(inner_top[:2]), inner_low[:1] * flip, inner_low.flip(0),
    ])  # fmt: skip
    u = u_of_angle(torch.asin((xy[:, 0] / section(xy[:, 1])[0]).clamp(-1, 1)))
    return torch.stack([u, v_of_height(xy[:, 1])], 1).float()


@functools.cache
def model() -> tuple[Tensor, Tensor, Tensor]:
    """Mean ``(3 R C,)``, identity ``(22, 3 R C)``, expression ``(12, 3 R C)``."""
    v, u = torch.linspace(-1, 1, ROWS), torch.linspace(-1, 1, COLUMNS)
    v, u = torch.meshgrid(v, u, indexing="ij")
    place = Place(u, v)
    identity, expression = (f.float().flatten(1) for f in fields(place))
    return mean_shape(place).float().flatten(), identity, expression


def hairline(u: Tensor) -> Tensor:
    """Height of the hairline at the angle ``u``: forehead, temple, ear, neck."""
    knots = [(0, -6.7), (30, -6.5), (48, -5.4), (60, -3.2), (70, -1.0), (78, 1.0),
             (84, 0.5), (92, -1.8), (102, 0), (114, 4.5), (140, 5.5),
             (180, 5.6)]  # fmt: skip
    return _at(_curve(knots), torch.rad2deg(angle_of_u(u)).abs().clamp(max=180))


# The maps that every pixel of skin needs, then those of the eyes and the mouth alone.
SKIN_MAPS = (
    "lip,inside,open_eye,lid,crease,brow,nostril,shade,fold,beard,moustache,blush,"
    "scalp,bags,blotch,fine,spots"
).split(",")
INNER_MAPS = "x,y,gape,mouth,blink,lower".split(",")


def texture(u: Tensor, v: Tensor) -> dict[str, Tensor]:
    """What the skin is like at (u, v): one map for each name."""
    p = Place(u, v)
    x, y, f = p.ax, p.y, p.front
    soft = lambda d, s: torch.sigmoid(d / s)  # noqa: E731
    top = _at(_curve(UPPER_LIP), x.clamp(max=2.8))
    bottom = _at(_curve(LOWER_LIP), x.clamp(max=2.8))
    lip = soft(y - top, 0.06) * soft(bottom - y, 0.07) * soft(2.78 - x, 0.06)
    open_mouth = ((p.gape > 0) & (p.gape < 1) & (p.mouth > 0)).double()
    open_eye = ((p.gaze > 0) & (p.gaze < 1) & (p.eye > 0)).double() * f
    near = (x - EYE).abs() < EYE_HALF + 0.25
    lid = torch.exp(-(((y - p.lid_top + 0.05) / 0.11) ** 2))
    lid = lid + 0.35 * torch.exp(-(((y - p.lid_bottom - 0.04) / 0.10) ** 2))
    lid = lid * soft(1.12 - p.es.abs(), 0.05) * near * f
    crease = torch.exp(-(((y - p.lid_top + 0.36) / 0.10) ** 2))
    crease = crease * soft(1.1 - p.es.abs(), 0.1) * f
    middle = _at(_curve(BROW), x.clamp(1.3, 5.75))
    thick = 0.16 + 0.27 * (1 - smoothstep(x, 2.0, 5.9))
    ends = soft(x - 1.05, 0.12) * soft(6.0 - x, 0.12)
    brow = ((y - middle) / thick).abs() + 3 * (1 - ends)
    nostril = p.both(0.68, 4.88, 0.27, 0.13)
    shade = 0.28 * p.both(2.05, 0.0, 0.5, 0.7)  # inner corners
    shade = shade + 0.35 * p.both(1.75, 4.3, 0.16, 0.45)  # beside the wings
    shade = shade + 0.30 * p.one(0, 5.15, 1.0, 0.22)  # below the nose
    shade = shade + 0.30 * p.one(0, 8.75, 1.3, 0.25)  # below the lip
    shade = shade + 0.08 * p.both(3.2, -0.75, 1.3, 0.3)  # below the brow
    shade = shade + 0.4 * p.both(2.75, 7.22, 0.22, 0.16)  # corners of the mouth
    shade = shade + 0.75 * smoothstep(y, 11.6, 12.1) + 0.25 * (1 - f)
    line = 1.95 + 0.32 * (y - 4.4)
    fold = torch.exp(-(((x - line) / 0.2) ** 2)) * smoothstep(y, 4.0, 5.0)
    fold = fold * (1 - smoothstep(y, 7.0, 8.4)) * f
    cheek_line = 4.2 + 3.6 * smoothstep(5.9 - x, 0, 4.2)  # the beard's upper edge
    beard = soft(y - cheek_line, 0.25) * (1 - smoothstep(x, 6.9, 7.3) * (y < 0))
    chin_strip = smoothstep(p.ax, 1.9, 2.8) + smoothstep(y, 8.5, 8.9)
    beard = beard * chin_strip.clamp(max=1)
    moustache = p.both(1.2, 5.95, 1.0, 0.33) * soft(top - y - 0.05, 0.1)
    blush = p.both(4.3, 3.5, 1.3, 1.1) + 0.6 * p.one(0, 3.9, 0.8, 0.6)
    scalp = hairline(p.u) - y
    bags = p.both(3.0, 0.95, 1.0, 0.3)
    blink, lower_lid = lid_moves(p)
    maps = {"lip": lip * (1 - open_mouth), "inside": open_mouth, "open_eye": open_eye,
            "lid": lid, "crease": crease, "brow": brow, "nostril": nostril,
            "shade": shade, "fold": fold, "beard": beard, "moustache": moustache,
            "blush": blush, "scalp": scalp, "bags": bags, "x": p.x, "y": y,
            "gape": torch.where(p.eye > 0, p.gaze, p.gape), "mouth": p.mouth,
            "blink": blink, "lower": lower_lid}  # fmt: skip
    return {name: value.float() for name, value in maps.items()}
