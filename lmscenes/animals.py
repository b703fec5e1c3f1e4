"""Animals: faces of cats, dogs, foxes, bears, rabbits and mice, from one rig.

Stands in for the animal faces of Thewlis et al. 2019 (DVE), section 4.3, which cannot
be shipped. Rig, species and coats are ours: a species is a column of ``RIG``, weights
of fields that push the points of *one* head around, and some lines of ``COATS``. The
head is the lattice of ``head.py`` without its human features, so (u, v) names the same
part in every species and in ``Faces``: a nose tip is a nose tip. Camera, light, wall
and framing are those of ``Faces``, so that the two sets mix.

Knobs: ``species`` (they take turns: any run of that many images holds each once),
``variety`` (how much individuals of a species differ in shape; 0: not at all),
``frame`` (what fills the image: the "head" with half of its ears, or the "face" from
brows to chin, as in ``Faces``), and of Faces ``yaw``, ``pitch``, ``roll``,
``background``, ``illumination``, ``margin``.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.samples import Batch
from lmscenes import head, surface
from lmscenes.engine import as_indices, uniform
from lmscenes.faces import Faces
from lmscenes.head import EYE
from lmscenes.posed import TILE, Posed, points_per_centimetre
from lmscenes.shared import (
    Draws,
    check_knobs,
    check_names,
    read_table,
    smoothstep,
    tiled,
)

ROWS, COLUMNS = 96, 121  # the lattice of the rig
SIDE = slice(12, 109)  # its columns that a camera can see
# The head: cm that each field of ``_fields`` moves (wide, high: by how much eyes grow).
# The ears: place of the root (degrees around the head, height), length, half width,
# degrees they stand off and bend over, pointed (1) or round (0), narrow root, hollow,
# pink inside. Then the eyes' pupils (1: round), whiskers. Last row: how far one varies.
RIG = """
    rig     skull  nose mouth  chin width crown cheeks   jaw muzzle snout
    cat       2.6  -0.9  -1.5  -2.2   0.6  -0.9    0.6  -0.5    0.5     0
    dog       2.2   0.3  -0.6  -1.8  -0.4  -0.6      0  -0.6    4.2     0
    fox       3.2   0.7  -0.5  -2.4   0.2  -1.6    1.4  -3.6      0   5.2
    bear        2   0.1  -0.6  -1.2   1.6   0.2    1.4   0.6    3.6     0
    rabbit    2.4  -0.5  -1.3    -2  -0.9  -0.6    1.1  -0.6    1.4     0
    mouse     3.6   0.6  -0.7  -2.8  -0.6  -0.8      0  -3.4      0   4.4
    spread    0.4   0.2   0.2   0.3   0.5   0.4    0.4   0.5    0.5   0.4
    rig      pads bridge   tip apart  wide  high  tilt  drop fluff  shag
    cat         1    0.2   0.5   0.1   0.5   1.5   0.5     0   0.5   0.6
    dog       0.6    0.8   0.9  -0.1  0.05  0.85     0   0.5   0.1   0.5
    fox         0    1.6   0.6  -0.2   0.1   0.7   0.8   0.7   1.2   0.5
    bear      0.2    0.5   0.9 -0.35  -0.2   0.9     0     0   0.5     1
    rabbit      1    0.8   0.3   1.3  0.25   1.2     0     0   0.4   0.7
    mouse     0.4    1.4   0.4   0.1 -0.05     1     0   0.4   0.1   0.4
    spread    0.2    0.2   0.2   0.2   0.1  0.15   0.2   0.2   0.2   0.2
    rig       at root length half splay bend pointed narrow hollow pink pupil whiskers
    cat       42 -7.6    6.5  3.8    24    0       1      0    0.8  0.9   0.4        1
    dog       62 -6.6      9  2.6    70  115     0.3    0.4   -0.5    0     1        0
    fox       40 -7.6    7.4  2.9    20    0       1    0.1    0.8  0.3   0.6        1
    bear      52 -7.6    3.9  2.5    42    0    -0.2    0.2    0.8  0.2     1        0
    rabbit    26 -8.2      9  2.1    10    6     0.3    0.5    0.9    1     1        1
    mouse     50 -6.9    6.6  3.9    46    0    -0.4    0.5    0.8  0.8     1        1
    spread     3  0.3    0.7  0.3     7    9     0.1    0.1      0    0     0        0
"""
# Colours of fur, marks, light parts, nose and iris; how strong each pattern is.
PATTERNS = "stripes,mask,patch,cheeks,muzzle,blaze,dots,ears,rims".split(",")
COATS = """
    cat     d08a45 96521f f6e8d4 d98d8a b9a03a  stripes 0.9 muzzle 0.8 rims 0.9
    cat     8f8779 3c3631 e8e2d8 a8665c 9db04a  stripes 1 muzzle 0.7 rims 0.9
    cat     2c2a2b 171516 f4f2ee 1c1918 d0b23c  rims 0.9
    cat     e6d6bd 4d3a30 fff8ee 3d2e2a 6fa6d8  mask 0.9 ears 1 rims 0.8
    cat     3a3838 222020 fbf7f2 d98d8a 8fb05a  muzzle 1 blaze 1 rims 0.9
    cat     8d949c 5d646c b9bec4 4a4a50 d6a23a  stripes 0.2 rims 0.8
    dog     d9ad6c b07c3e f0dcb4 1c1918 4a2e1a  muzzle 0.5 ears 0.6 rims 0.9
    dog     7a4a2a 5a3219 f6efe6 2a1c18 6a4420  muzzle 0.9 blaze 0.9 ears 0.5 rims 0.9
    dog     2a2624 1c1918 b8763a 1c1918 4a2e1a  muzzle 1 dots 1 rims 0.9
    dog     f3efe8 6a4226 fffdf8 1c1918 4a2e1a  patch 1 ears 1 rims 0.9
    fox     cf6a25 2b211d faf3e8 1c1918 b8862e  cheeks 1 ears 0.9 rims 1
    bear    6b4427 4a2d19 b08a5e 1c1918 2a1a10  muzzle 1 rims 0.8
    bear    2b2524 1a1616 9a7048 1c1918 2a1a10  muzzle 1 rims 0.8
    bear    efe8d8 c9bda4 faf6ea 1c1918 1a1412  muzzle 0.3 rims 0.9
    bear    96683c 6a4526 d0a878 1c1918 2a1a10  muzzle 1 rims 0.8
    rabbit  f4f0ea d8d0c8 ffffff e6a4a4 a8323a  rims 0.4
    rabbit  a48a6c 7a6248 e8dccb c08c84 3a2418  muzzle 0.6 rims 0.4
    rabbit  38322f 221e1c faf7f2 e0a09c 33221a  muzzle 1 blaze 1.6 rims 0.4
    mouse   8d8680 6a645f cfc8c0 e09a98 0e0c0c  muzzle 0.5 rims 0.8
    mouse   a27f58 7d5f3e f2e8da dc9c94 0e0c0c  cheeks 0.8 rims 0.8
    mouse   f3f0ec dcd8d4 ffffff eda6a6 7a1420  rims 0.3
"""
SPECIES = read_table(RIG)
_COATS = [line.split() for line in COATS.strip().splitlines()]
KNOBS = SPECIES.pop("rig")
FIELDS, EARS = KNOBS[: KNOBS.index("at")], KNOBS[KNOBS.index("at") :]


def _noise(rows: int, columns: int, shape, seed: int) -> Tensor:
    x = torch.randn(1, 1, rows, columns, generator=torch.Generator().manual_seed(seed))
    x = F.interpolate(x, shape, mode="bicubic", align_corners=True)[0, 0]
    return x / x.std()


def _lattice(rows: int, columns: int) -> Tensor:
    ends = torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns)
    return torch.stack(torch.meshgrid(*ends, indexing="ij"))


def _fields(p: head.Place) -> Tensor:
    """What one unit of each field moves, ``(fields, 3, rows, columns)``."""
    x, y, o, side = p.x, p.y, torch.zeros_like(p.x), p.x.sign()
    wide, eyes = x / 7.5, p.both(EYE, 0.0, 1.45, 1.0)

    def plateau(sx, sy, cy):
        return torch.exp(-0.7 * ((x / sx) ** 2 + ((y - cy) / sy) ** 2) ** 1.7) * p.front

    muzzle = plateau(3.9, 4.2, 6.6)
    snout = 0.6 * plateau(2.9, 4.6, 6.2) + 0.4 * plateau(4.6, 6.0, 5.6)
    line = torch.exp(-((x / 1.5) ** 2))
    phase = 2 * math.pi * (y - 0.25 * p.ax) / 1.9
    tufts = torch.sin(phase + 0.7 * torch.sin(phase))  # of fur on the cheeks
    ruff = torch.exp(-(((y - 6.0) / 3.2) ** 2)) * smoothstep(p.ax, 2.5, 6.0)
    rough = 0.10 * _noise(40, 40, x.shape, 11) + 0.08 * _noise(80, 90, x.shape, 12)
    fields = {
        "skull": (o, smoothstep(-y, 0.5, 11.3), o),
        "nose": (o, smoothstep(y, 0.4, 3.6), o),
        "mouth": (o, smoothstep(y, 3.4, 7.4), o),
        "chin": (o, smoothstep(y, 7.0, 12.1), o),
        "width": (wide, o, o),
        "crown": (wide * smoothstep(-y, 0, 8), o, o),
        "cheeks": (wide * torch.exp(-(((y - 4) / 3.5) ** 2)), o, o),
        "jaw": (wide * smoothstep(y, 3, 10), o, o),
        "muzzle": (0.12 * x * muzzle, o, muzzle),
        "snout": (-0.04 * x * snout, o, snout),
        "pads": (o, o, p.both(1.35, 5.9, 1.1, 1.1)),
        "bridge": (o, o, line * smoothstep(y, -3.5, 2.5) * smoothstep(-y, -6, -3)),
        "tip": (o, o, p.one(0, 3.9, 1.1, 0.9)),
        "apart": (p.odd(EYE, 0.0, 2.0, 2.0), o, -0.5 * eyes),
        "wide": ((p.ax - EYE) * side * eyes, o, o),
        "high": (o, (y - 0.05) * eyes, 0.3 * eyes),
        "tilt": (o, -0.5 * p.es * eyes, o),
        "drop": (o, muzzle, o),
        "fluff": (side * ruff * (0.8 + 0.35 * tufts), 0.15 * ruff * tufts, o),
        "shag": (rough * wide, o, rough * p.base_z / 10),
    }
    return torch.stack([torch.stack(fields[name]) for name in FIELDS])


def _maps(x: Tensor, y: Tensor, front: Tensor, shape) -> dict[str, Tensor]:
    """Where on the head everything is painted, from reference coordinates (cm)."""
    ax = x.abs()
    wobble = 0.25 * _noise(40, 50, shape, 1).flatten()

    def soft(distance, width):
        return torch.sigmoid(distance / width)

    def oval(cx, cy, rx, ry, width=0.12, power=2.0):
        r = ((ax - cx) / rx).abs() ** power + ((y - cy) / ry).abs() ** power
        return soft(1 - r ** (1 / power), width) * front

    def line(distance, width):
        return torch.exp(-((distance / width) ** 2))

    # Fur lies away from the nose: noise that is long along the radius.
    polar = [torch.atan2(x, 3 - y) / math.pi, (x**2 + (y - 3) ** 2).sqrt() / 9 - 1]
    streak = F.grid_sample(_noise(26, 150, (26, 150), 2)[None, None],
                           torch.stack(polar, -1)[None, None],
                           padding_mode="reflection", align_corners=True)  # fmt: skip
    arcs = line(y - 7.35 + 0.5 * (ax / 1.3 - 1) ** 2, 0.17) * soft(2.75 - ax, 0.1)
    philtrum = line(x, 0.14) * soft(y - 4.9, 0.1) * soft(6.9 - y, 0.1)
    brow = torch.cos(2 * math.pi * x / 2.1 + 0.8 * wobble) * smoothstep(-y, 1.6, 3)
    flank = torch.cos(2 * math.pi * (y + 0.35 * ax + wobble) / 2.6)
    flank = flank * smoothstep(ax, 4.0, 5.2) * smoothstep(y, -2.5, -0.5)
    chin = smoothstep(y, 10.6, 12.1)
    blaze = 0.55 + 0.13 * (y + 5).clamp(min=0) - ax + 0.5 * wobble
    return {
        "x": x, "y": y,
        "eye": oval(EYE, -0.05, 1.25, 0.5, 0.04, 2.2),
        "rim": oval(EYE, -0.05, 1.6, 0.64, 0.05),
        "nose": oval(0, 3.95, (2.67 - 0.3 * y).clamp(0.3, 1.95), 1.05, 0.06, 2.5),
        "nostril": oval(0.68, 4.25, 0.36, 0.30),
        "line": torch.maximum(arcs, philtrum) * front,
        "fur": 0.09 * streak.flatten() + 0.04 * _noise(150, 180, shape, 3).flatten(),
        "shade": 0.5 * line(y - 8.1, 0.5) * line(x, 2) + 0.5 * chin,
        "stripes": soft(torch.maximum(brow * (ax < 4.3), flank) - 0.45, 0.1),
        "mask": oval(0, 3.4, 4.4, 5.2, 0.22),
        "patch": oval(3.6, -0.5, 2.6 + wobble, 2.8 + wobble),
        "cheeks": soft(y - 1.9 - 2.3 * line(x, 1.7) + 0.12 * ax + wobble, 0.25),
        "muzzle": oval(0, 6.9, 3.6 + wobble, 3.9 + wobble),
        "blaze": soft(blaze, 0.12) * soft(5 - y, 0.5) * front,
        "dots": oval(2.5, -2.5, 0.8, 0.65),
    }  # fmt: skip


@functools.lru_cache(maxsize=8)
def _constants(size: int, margin: float, device: torch.device) -> dict:
    detail = points_per_centimetre(size, margin)
    rows, columns, *ear = (int(cm * detail) for cm in (36, 42, 11, 7))
    v, u = _lattice(ROWS, COLUMNS)
    p = head.Place(u, v)

    def dense(*values) -> Tensor:
        lattice = torch.stack(values)[None, :, :, SIDE].float()
        return surface.densify(lattice, rows, columns)[0]

    maps = _maps(*dense(p.x, p.y, p.front), (rows, columns))
    s, t = _lattice(*ear).flatten(1)
    flaps = [torch.stack([0.91 * side + 0.09 * t, s]) for side in (-1, 1)]
    out = {
        "base": torch.stack([p.x, p.y, p.base_z]).float().flatten(),
        "fields": _fields(p).float().flatten(1),
        "maps": torch.stack(list(maps.values())),
        "flap": torch.stack([s / 2 + 0.5, t]),
        "uv": torch.cat([dense(u, v), *flaps], 1),
        "places": torch.cat([Animals.places(), head.landmark_places()[[19, 24]]]),
    }
    out = {k: v.to(device) for k, v in out.items()} | {"names": list(maps)}
    return out | {"dense": {"head": (rows, columns), "ear": ear}}


class Muzzles(Posed):
    """One tile of animals: the rig's geometry, and fur in place of skin."""

    def draw(self, knobs) -> Batch:
        q, n, fine = self.q, self.n, self.fine
        self.constants = c = _constants(self.size, knobs.margin[0], self.device)
        # Always the same number of rows: the product then rounds alike in any batch.
        weights = F.pad(q["shape"], (0, 0, 0, TILE - n))
        ring = (c["base"] + (weights @ c["fields"])[:n]).view(n, 3, ROWS, COLUMNS)
        u = head.u_of_angle(torch.deg2rad(q["at"]))
        root = torch.stack([u, head.v_of_height(q["root"])], 1)
        roots = torch.stack([root * root.new_tensor([-1.0, 1.0]), root], 1)
        places = torch.cat([c["places"].expand(n, -1, -1), roots], 1)[:, None]
        self.marks = F.grid_sample(ring, places, align_corners=True)[:, :, 0]
        face, brows, roots = self.marks.split([9, 2, 2], dim=2)
        ears = [self._ear(roots[:, :, i], side) for i, side in ((0, -1), (1, 1))]
        tips = torch.stack([ear[:, :, -1, 6] for ear in ears], 2)

        # The box that ``margin`` widens: the head and half of its ears, or the face.
        whole = [face[:, :, 5:], roots.lerp(tips, 0.45)]
        box = whole if knobs.frame == "head" else [face[:, :, 6:], brows]
        self.look_at(self.project(torch.cat(box, 2)))

        buffer = surface.DepthBuffer(n, fine, self.device)
        self.add(buffer, "head", ring[..., SIDE])
        for ear in ears:
            self.add(buffer, "ear", ear)
        seen = self.screen(torch.cat([face[:, :, :5], tips, roots], 2))
        landmarks = (seen[:, :2] * (2 / fine) - 1).transpose(1, 2)
        keys = buffer.image()
        # Visible: nothing nearer in a pixel around (roots get some leave), facing us.
        far = F.max_pool2d(surface.depth_of(keys).unsqueeze(1), 3, 1, 1)
        at = landmarks[:, None]
        far = F.grid_sample(far, at, mode="nearest", align_corners=False)[:, 0, 0]
        leave = far.new_tensor([0.35] * 7 + [1.2] * 2)
        visible = seen[:, 2] < far + leave  # far is 0 outside the frame
        out = F.grid_sample(surface.normals(ring), places[:, :, :5], align_corners=True)
        visible[:, :5] &= (self.turn @ out[:, :, 0])[:, 2] > -0.1

        chest = self._chest(self.wall(studio=False, background=knobs.background))
        image = self.coloured(chest, surface.number_of(keys))
        image = self.developed(F.avg_pool2d(self._whiskers(image, keys), 2))
        uv, mask = self.surface(keys)
        return {"image": image, "landmarks": landmarks, "visible": visible,
                "surface": uv, "mask": mask}  # fmt: skip

    def paint(self, kind, at, which, k, normal) -> Tensor:
        painter = self._fur if kind == "head" else self._ear_fur
        return painter(which, k, normal)

    def _ear(self, base: Tensor, side: int) -> Tensor:
        """A hollow leaf on a bent axis: rows from root to tip, columns across."""
        e = {k: self.q[k][:, None, None] for k in EARS}
        s = torch.linspace(0, 1, 24, device=self.device)[:, None]
        t = torch.linspace(-1, 1, 13, device=self.device)
        angle = torch.deg2rad(e["splay"] + e["bend"] * smoothstep(s, 0.08, 0.42))
        ray = torch.cat([torch.sin(angle), -torch.cos(angle)], 2)  # (B, 24, 2)
        step = ray * (e["length"] + 1.3) / 23
        axis = step.cumsum(1) - step - 1.3 * ray[:, :1]  # it starts inside the head
        point, dome = 1 - s, (1 - s**2.6).clamp(min=0).sqrt()
        half = e["half"] * (dome + e["pointed"] * (point - dome))
        half = half * (1 - e["narrow"] * (1 - smoothstep(s, 0.0, 0.5)))
        half = half * (0.5 + 0.5 * smoothstep(s, 0.0, 0.25))
        x = axis[..., :1] - half * t * ray[..., 1:]
        y = axis[..., 1:] + half * t * ray[..., :1]
        over = torch.sin(torch.deg2rad(e["bend"]) / 2) * smoothstep(s, 0.1, 0.5)
        z = e["hollow"] * half * (t**2 - 0.9) - 0.4 * half * t - 1.2 * s + 3 * over
        leaf = torch.stack([side * x, y, z], 1) + base[:, :, None, None]
        return leaf if side > 0 else leaf.flip(3)

    def _fur(self, which: Tensor, k: Tensor, normal: Tensor) -> Tensor:
        maps = self.constants["maps"].index_select(1, k)
        t = dict(zip(self.constants["names"], maps, strict=True))
        of = functools.partial(self.of, which=which)
        amount = dict(zip(PATTERNS, of("amounts"), strict=True))
        marks, light, colour = of("mark"), of("light fur"), of("fur")
        t["patch"] = t["patch"] * (t["x"] * of("side") >= of("patches"))
        for name in PATTERNS[:7]:
            ink = marks if name in ("stripes", "mask", "patch") else light
            colour = colour.lerp(ink, (t[name] * amount[name]).clamp(0, 1))
        colour = colour * (1 + t["fur"])
        colour = colour.lerp(0.12 + 0 * colour, 0.75 * t["line"])
        leather = of("nose") * (1 + 0.25 * normal[1].neg().clamp(0, 1))
        colour = colour.lerp(leather * (1 - 0.85 * t["nostril"]), t["nose"])
        gloss = 0.02 + 0.25 * t["nose"]
        colour = self.shade(colour, normal, which, 1 - t["shade"], gloss)
        colour = colour.lerp(0.3 * marks, (t["rim"] * amount["rims"]).clamp(0, 1))
        at = (t["eye"] > 0.02).nonzero().flatten()
        eye = self._eye(t["x"][at], t["y"][at], which[at])
        colour[:, at] = colour[:, at].lerp(eye, t["eye"][at])
        return colour

    def _eye(self, x: Tensor, y: Tensor, which: Tensor) -> Tensor:
        """Iris from lid to lid, a round or a slit pupil, the lamp's reflection."""
        of = functools.partial(self.of, which=which)
        half = 0.5 + 0.5 * of("high")
        x = (x.abs() - EYE) * x.sign() * (1 + of("wide")) - 0.15 * of("gaze")[0]
        y = (y + 0.05) * 2 * half
        iris = of("iris") * (0.75 + 0.5 * smoothstep(y / half, -1.0, 1.0))
        iris = iris * (1 - 0.45 * smoothstep((x * x + y * y).sqrt() / half, 0.8, 1.4))
        pupil = ((x / of("pupil")) ** 2 + y**2).sqrt() / (0.62 * half)
        colour = iris.lerp(0.02 + 0 * iris, torch.sigmoid((1 - pupil) / 0.08))
        colour, lamp = colour * (0.75 + 0.35 * of("ambient")), of("light")
        spot = (x - 0.3 * lamp[0]) ** 2 + (y - 0.25 * lamp[1] + 0.3 * half) ** 2
        spot = torch.sigmoid((0.05 + 0.18 * half - spot.sqrt()) / 0.05)
        return colour.lerp(0 * colour + 1, 0.95 * spot)

    def _ear_fur(self, which: Tensor, k: Tensor, normal: Tensor) -> Tensor:
        s, t = self.constants["flap"].index_select(1, k)
        of = functools.partial(self.of, which=which)
        dark = of("amounts")[PATTERNS.index("ears")] * smoothstep(s, 0.2, 0.7)
        colour = of("fur").lerp(of("mark"), dark.clamp(0, 1))
        front = normal[2] < 0  # the lattice's normals point backwards
        inner = torch.sigmoid((0.66 - t.abs()) / 0.07) * front * (of("hollow") > 0)
        inner = inner * torch.sigmoid((0.84 - s) / 0.05)
        skin = 0.75 * colour.new_tensor([[0.86], [0.60], [0.56]]) + 0.25 * of("fur")
        skin = (0.75 * colour).lerp(skin * (0.75 + 0.35 * t.abs()), of("pink"))
        colour = colour.lerp(skin, inner)
        normal = normal * torch.where(front, -1.0, 1.0)
        open_ = 0.65 + 0.35 * smoothstep(s, 0, 0.3)
        return self.shade(colour, normal, which, open_, 0.02)

    def _whiskers(self, image: Tensor, keys: Tensor) -> Tensor:
        """Three fine bristles on each side, over whatever lies behind them."""
        i, w = _lattice(3, 2 * self.fine).to(self.device).flatten(1)
        w = w / 2 + 0.5
        y = 0.5 * i + (1.6 * i - 0.8) * w + 1.5 * w * w
        path = torch.stack([6.5 * w, y, 1.7 - 3.3 * w])
        paths = torch.stack([path * path.new_tensor([[-1], [1], [1]]), path], 1)
        roots = 0.55 * self.marks[:, :, 3:5] + 0.45 * self.marks[:, :, 2:3]
        buffer = surface.DepthBuffer(self.n, self.fine, self.device)
        points = self.screen((roots[..., None] + paths).flatten(2))
        buffer.splat(points, 0, self.q["whiskers"][:, None] > 0)
        seen = (buffer.keys[:, :-1].view_as(keys) < keys).unsqueeze(1)
        tone = torch.where(self.q["fur"].mean(1) < 0.72, 0.92, 0.1)
        return image.lerp(tone[:, None, None, None].expand_as(image), 0.55 * seen)

    def _chest(self, image: Tensor) -> Tensor:
        """A furry chest before the wall, in place of neck and shoulders."""
        q = {k: v[..., None, None] for k, v in self.q.items()}
        x, y = (xy.unsqueeze(1) for xy in self.centimetres())
        locks = torch.sin(2.4 * x + 2 * torch.sin(1.1 * x + 0.25 * y))
        width = 5.5 + 0.85 * (y - 5).clamp(min=0) + 0.4 * locks
        cover = torch.sigmoid((width - x.abs()) * (0.15 * self.size)) * (y > 3)
        t, below = (x / width).clamp(-1, 1), y - self.marks[:, 1:2, 8, None, None]
        lit = 1 - 0.5 * t * t + 0.3 * t * q["light"][:, :1] + 0.08 * locks
        lit = lit * (0.45 + 0.5 * smoothstep(below, -1, 6))  # the chin's shadow
        bib = torch.exp(-((t / 0.45) ** 2)) * q["bib"].unsqueeze(1)
        return image.lerp(q["fur"].lerp(q["light fur"], bib) * lit, cover)


class Animals:
    """Faces of animals with nine landmarks; the first five are those of ``Faces.FIVE``.

    A batch adds, besides ``image``, ``landmarks``, ``visible`` (neither hidden by head
    and ears nor outside the image) and ``index``:

    - ``label`` (B,) species, see ``species_names``; ``pose`` (B, 3) as in ``Faces``
    - ``surface`` (B, 2, H, W), ``mask`` (B, 1, H, W): (u, v) of the fur seen at each
      pixel, in the chart of ``Faces``; ears have ``|u|`` above 0.81
    """

    names = (*Faces.FIVE, "left ear tip", "right ear tip", "left ear base",
             "right ear base")  # fmt: skip
    species_names = tuple(SPECIES)[:-1]

    def __init__(
        self, size: int = 64, seed: int = 0, *,
        species: tuple[str, ...] | None = None, variety: float = 1.0,
        yaw: float = 35.0, pitch: float = 15.0, roll: float = 15.0,
        background: bool = True, illumination: bool = True,
        frame: str = "head", margin: tuple[float, float] = (1.35, 1.75),
    ):  # fmt: skip
        self.species = check_names("species", species, self.species_names)
        check_knobs(0, 2, variety=variety)
        if frame not in ("head", "face"):
            raise ValueError(f"frame must be 'head' or 'face', got {frame!r}")
        # Pose, light and place are drawn by Faces, which also checks their settings.
        self.scene = Faces(size, seed + 1_000_003, yaw=yaw, pitch=pitch, roll=roll,
                           background=background, illumination=illumination,
                           margin=margin)  # fmt: skip
        self.size, self.seed, self.variety = size, seed, variety
        self.background, self.frame = background, frame
        self.margin = margin

    @staticmethod
    def places() -> Tensor:
        """(u, v) of the five, crown, cheeks, chin, ``(9, 2)``, in any species."""
        human = head.landmark_places()
        eyes = [human[36:42].mean(0), human[42:48].mean(0)]
        crown = torch.stack([torch.zeros(()), head.v_of_height(torch.tensor(-7.0))])
        return torch.stack([*eyes, *human[[30, 48, 54]], crown, *human[[1, 15, 8]]])

    def parameters(self, indices, device=None) -> Batch:
        """Everything that is random about the images: ``(B, ...)`` each."""
        index = as_indices(indices, device)
        draws = Draws(uniform(index, 80, self.seed, stream=50))

        def table(values) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=index.device)

        chosen = [self.species_names.index(name) for name in self.species]
        label = index.new_tensor(chosen)[index % len(chosen)]
        rig = table([list(map(float, row)) for row in SPECIES.values()])
        bell = draws.take(2 * len(KNOBS)).reshape(len(index), -1, 2).sum(-1) - 1
        values = rig[label] + self.variety * rig[-1] * bell
        q = self.scene.parameters(index) | {"label": label}
        q |= dict(zip(KNOBS, values.unbind(1), strict=True))
        q["shape"] = values[:, : len(FIELDS)]
        counts = [sum(c[0] == name for c in _COATS) for name in self.species_names]
        first = table([0, *counts]).cumsum(0)[label]
        coat = (first + (draws.take() * table(counts)[label]).floor()).long()
        q["coat"] = coat
        tint = 1 + 0.16 * (draws.take(1) - 0.5) + 0.05 * (draws.take(3) - 0.5)
        for column, name in enumerate(("fur", "mark", "light fur", "nose", "iris"), 1):
            colours = [list(bytes.fromhex(c[column])) for c in _COATS]
            q[name] = (table(colours)[coat] / 255 * tint).clamp(0, 1)
        amounts = [dict(zip(c[6::2], map(float, c[7::2]), strict=True)) for c in _COATS]
        amounts = table([[a.get(k, 0.0) for k in PATTERNS] for a in amounts])[coat]
        q["amounts"] = amounts * draws.some(0.75, 1.05, count=len(PATTERNS))
        q["bib"] = 0.8 * q["amounts"][:, 3:5].amax(1).clamp(0, 1)
        q["side"] = torch.where(draws.chance(0.5), 1.0, -1.0)
        one_eye = draws.chance(0.7)
        q["patches"] = torch.where(one_eye, 0.0, -99.0)  # of a patch; else on both
        return q

    def _draw(self, q: Batch) -> Batch:
        return Muzzles(self.size, q, self.seed).draw(self)

    def batch(self, indices, device=None) -> Batch:
        q = self.parameters(indices, device)
        batch = tiled(self._draw, q, TILE)
        return batch | {k: q[k] for k in ("index", "label", "pose")}
