"""Cloth: its colours and its pattern, printed on the flat garment.

Patterns are functions of places in the flat (``wardrobe.Patch.flat``), so they bend,
turn and shear with the cloth. They repeat, or lie anywhere: nothing in a pattern says
where a landmark is. All are anti-aliased by the size of a sample, ``fine``.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.samples import Batch
from lmscenes.cars import noise_tile
from lmscenes.engine import between, uniform

FABRICS = 4  # of an image: its top or dress, skirt or trousers, shirt below, bag
COLOURS = """
f4f3ef e9e4d8 d8d2c4 1d1e22 2a2c33 3b3f47 55585f 8b8f94 b9bcc0 1f2a44 27407a 3f63a8
6d93c4 a9c3dd 7a1f2b a8262f c9443c d9775f e8b3a5 f0cfc4 22402f 3d6647 6f8f5b a9b98a
c8b46a e3c64a d99b2b b5722c 7a4a28 a67c52 c9a983 5b2f5e 86569a b9a0cf c24d7c e38aa7
1f6f73 4fa5a1 a5d3c9 efe6b8
"""
DENIM = "1f2d4a 2f4468 48638c 6f8bb0 23262d"


class Rows:
    """Rows of a table of parameters, fetched by name when needed: (n,) or (3, n)."""

    def __init__(self, table: Batch, row: Tensor):
        self.table, self.row = table, row

    def __getitem__(self, name: str) -> Tensor:
        value = self.table[name]
        value = value if value.ndim == 1 else value.T
        return value.index_select(-1, self.row)

    def of(self, some: Tensor) -> "Rows":
        return Rows(self.table, self.row[some])


def palette(text: str, device) -> Tensor:
    table = [list(bytes.fromhex(c)) for c in text.split()]
    return torch.tensor(table, dtype=torch.float32, device=device) / 255


def fabrics(index: Tensor, seed: int, kind: Tensor) -> Batch:
    """What cloth is made of: ``(B * FABRICS,)`` or ``(B * FABRICS, 3)`` each.

    ``kind`` (B, FABRICS): 0 anything, 1 plain cloth, 2 denim or cotton, 3 leather.
    """
    u = uniform(index, FABRICS * 40, seed, stream=84).view(-1, 40)
    kind = kind.flatten()
    share = u.new_tensor([often for _, often, _ in PATTERNS]).cumsum(0)
    pattern = torch.searchsorted(share, u[:, 0] * share[-1]).clamp(max=len(share) - 1)
    pattern = torch.where(kind == 0, pattern, (kind == 1) & (u[:, 1] < 0.4))
    colours = palette(COLOURS, u.device)
    chosen = colours[(u[:, 2:5] * len(colours)).long()]  # (n, 3 colours, rgb)
    # Colours of one cloth go together: some are shades of the first.
    tone = chosen[:, :1] * between(u[:, 5:7, None], 0.5, 0.8)
    light = 1 - (1 - chosen[:, :1]) * between(u[:, 5:7, None], 0.25, 0.6)
    shades = torch.where(chosen[:, :1].mean(2, keepdim=True) > 0.45, tone, light)
    chosen[:, 1:] = torch.where((u[:, 7] < 0.35)[:, None, None], shades, chosen[:, 1:])
    # Two colours that are nearly the same would hide the pattern.
    near = (chosen[:, 0] - chosen[:, 1]).abs().sum(1) < 0.35
    chosen[:, 1] = torch.where(near[:, None], shades[:, 0], chosen[:, 1])
    denim = palette(DENIM, u.device)
    denim = denim[(u[:, 8] * len(denim)).long()]
    blue = (kind == 2) & (u[:, 9] < 0.6)
    base = torch.where(blue[:, None], denim, chosen[:, 0])
    sober = (kind >= 2) & ~blue
    muted = 0.75 * base.lerp(base.mean(1, keepdim=True), 0.5)
    number = index[:, None] * FABRICS + torch.arange(FABRICS, device=u.device)
    return {
        "pattern": pattern, "base": torch.where(sober[:, None], muted, base),
         "second": chosen[:, 1],
        "third": chosen[:, 2], "angle": _angle(u[:, 10:12]),
        "period": between(u[:, 12], 2.2, 7.0), "x": 40 * u[:, 13], "y": 40 * u[:, 14],
        "share": between(u[:, 15], 0.3, 0.7), "soft": u[:, 16], "grain": u[:, 17],
        "denim": blue, "leather": kind == 3, "rib": u[:, 18] < 0.6,
        "trim": (u[:, 19] < 0.25) & (kind < 2), "stitch": u[:, 20],
        "n": number.flatten(), "sheen": u[:, 23],
    }  # fmt: skip


def _angle(u: Tensor) -> Tensor:
    """Across, along, or slanted."""
    slant = between(u[:, 1], -1, 1) * math.pi / 2
    straight = torch.where(u[:, 1] < 0.75, math.pi / 2, 0.0)
    return torch.where(u[:, 0] < 0.6, straight, slant)


def _hash(a: Tensor, b: Tensor, c: Tensor | int) -> Tensor:
    """A number in [0, 1) for each cell (a, b) of pattern c: whole numbers."""
    k = (a.long() * 73856093) ^ (b.long() * 19349663) ^ (c * 83492791)
    k = (k ^ (k >> 13)) * 1274126177
    return ((k ^ (k >> 16)) & 0xFFFF).float() / 65536


def _wave(s: Tensor, period: Tensor, share: Tensor | float, fine: Tensor) -> Tensor:
    """Cover of stripes that take ``share`` of a period, anti-aliased."""
    d = ((s / period).frac() + 1).frac() - 0.5
    d = (d.abs() - share / 2) * period
    cover = (0.5 - d / fine).clamp(0, 1)
    far = (fine / period * 1.5 - 0.5).clamp(0, 1)  # too fine to see: their mean
    return cover.lerp(share + 0 * cover, far)


def _stripes(f, s, t, fine, x, y):
    colour = torch.lerp(f["base"], f["second"], _wave(s, f["period"], f["share"], fine))
    thin = _wave(s + f["period"] / 2, f["period"], 0.12, fine) * (f["soft"] > 0.6)
    return torch.lerp(colour, f["third"], thin)


def _pinstripes(f, s, t, fine, x, y):
    thin = _wave(s, 0.45 * f["period"], 0.16, fine)
    return torch.lerp(f["base"], f["second"], 0.8 * thin)


def _checks(f, s, t, fine, x, y):
    p = 0.7 * f["period"]
    cover = (_wave(s, p, 0.5, fine) + _wave(t, p, 0.5, fine)) / 2
    return torch.lerp(f["base"], f["second"], cover)


def _plaid(f, s, t, fine, x, y):
    p = 1.3 * f["period"]
    broad = (_wave(s, p, 0.4, fine) + _wave(t, p, 0.4, fine)) * 0.45
    thin = (_wave(v + p / 2, p, 0.08, fine) for v in (s, t))
    colour = torch.lerp(f["base"], f["second"], broad)
    return torch.lerp(colour, f["third"], 0.8 * torch.maximum(*thin))


def _dots(f, s, t, fine, x, y):
    p = 0.55 * f["period"] + 0.6
    line = (t / p).floor()
    a = (s / p + 0.5 * (line % 2)).frac() % 1 - 0.5
    b = (t / p) % 1 - 0.5
    d = torch.hypot(a, b) * p - (0.14 + 0.16 * f["share"]) * p
    far = (fine / p * 1.5 - 0.5).clamp(0, 1)
    cover = (0.5 - d / fine).clamp(0, 1)
    return torch.lerp(f["base"], f["second"], cover.lerp(0.2 + 0 * cover, far))


def noise(x: Tensor, y: Tensor, grain: Tensor | float) -> Tensor:
    """Smooth noise of mean 0 and deviation 1; a blot is about ``grain`` wide."""
    at = torch.stack([x, y], -1) * (6 / 64 / torch.as_tensor(grain))[..., None]
    tile = noise_tile(x.device)
    return F.grid_sample(tile, at[None, None], padding_mode="reflection",
                         align_corners=False)[0, 1, 0]  # fmt: skip


def _camouflage(f, s, t, fine, x, y):
    grain = 1.2 * f["period"]
    a, b = noise(s, 0.8 * t, grain), noise(s + 31, 0.8 * t + 17, grain)
    sharp = 0.25 * grain / fine
    colour = torch.lerp(f["base"], f["second"], (0.5 + (a - 0.1) * sharp).clamp(0, 1))
    colour = torch.lerp(colour, f["third"], (0.5 + (b - 0.6) * sharp).clamp(0, 1))
    dark = (0.5 + (-a - b - 0.9) * sharp).clamp(0, 1)
    return torch.lerp(colour, 0.35 * f["base"], dark)


def _flowers(f, s, t, fine, x, y):
    p = 0.8 * f["period"] + 1.4
    i, j = (s / p).floor(), (t / p).floor()
    n = f["n"]
    dx = (s / p - i - 0.5 + 0.3 * (_hash(i, j, n) - 0.5)) * p
    dy = (t / p - j - 0.5 + 0.3 * (_hash(i, j, n + 7) - 0.5)) * p
    d, turn = torch.hypot(dx, dy), torch.atan2(dy, dx) + 6.3 * _hash(i, j, n + 13)
    size = (0.22 + 0.16 * _hash(i, j, n + 29)) * p
    petals = (0.5 - (d - size * (0.75 + 0.3 * torch.cos(5 * turn))) / fine).clamp(0, 1)
    heart = (0.5 - (d - 0.28 * size) / fine).clamp(0, 1)
    bloom = torch.where(_hash(i, j, n + 3) < 0.55, f["second"], f["third"])
    there = (_hash(i, j, n + 5) < 0.85).float()
    leaf = torch.hypot(dx - 0.3 * p, dy - 0.3 * p) - 0.12 * p
    leaf = there * (0.5 - leaf / fine).clamp(0, 1)
    colour = torch.lerp(f["base"], 0.5 * f["third"] + 0.08, leaf)
    colour = torch.lerp(colour, bloom, there * petals)
    return torch.lerp(colour, 0.4 * bloom + 0.5, there * heart)


def _blocks(a, b, n, wide: int, high: int, density: float) -> Tensor:
    """A grid of square blocks, mirrored in itself: an emblem."""
    mirrored = torch.minimum(a, wide - 1 - a)
    inside = (a >= 0) & (a < wide) & (b >= 0) & (b < high)
    return inside & (_hash(mirrored, b, n) < density)


def _print(f, s, t, fine, x, y):
    """An emblem somewhere on the garment, above a line of text."""
    size = 0.5 + 0.13 * f["period"]
    cx, cy = 10 * (f["soft"] - 0.5), -14 + 18 * f["grain"]
    a, b = ((x - cx) / size + 4.5).floor(), ((y - cy) / size + 4.5).floor()
    emblem = _blocks(a, b, f["n"], 9, 8, 0.6)
    text = (b == 9) & (a >= -1) & (a < 10) & (_hash(a, b, f["n"] + 1) < 0.75)
    colour = torch.where(emblem, f["second"], f["base"])
    return torch.where(text, f["third"], colour)


def _letters(f, s, t, fine, x, y):
    """Signs of 4 x 5 blocks in rows, each different."""
    size = 0.13 * f["period"] + 0.25
    column, line = (s / (5.5 * size)).floor(), (t / (7 * size)).floor()
    a = (s / size - 5.5 * column).floor()
    b = (t / size - 7 * line).floor()
    code = (_hash(column, line, f["n"]) * 4096).long() + f["n"]
    on = (a < 4) & (b < 5) & (_hash(a, b, code) < 0.6)
    on = on & (_hash(column, line, f["n"] + 9) < 0.7)
    return torch.where(on, f["second"], f["base"])


# Signs of 5 x 7 blocks, a row in five bits; none is its own mirror image.
GLYPHS = """
1f 10 10 1e 10 10 10 / 0e 11 10 17 11 11 0e / 01 01 01 01 01 11 0e
10 10 10 10 10 10 1f / 1e 11 11 1e 10 10 10 / 1e 11 11 1e 14 12 11
0f 10 10 0e 01 01 1e / 0e 11 01 06 08 10 1f / 1f 01 02 06 01 11 0e
02 06 0a 12 1f 02 02 / 1f 10 1e 01 01 11 0e / 1f 01 02 04 08 08 08
"""


@functools.cache
def _glyphs(device) -> Tensor:
    """GLYPHS below each other, smoothed, ``(1, 1, rows, columns)``."""
    cells = [row.split() for row in GLYPHS.strip().replace("\n", "/").split("/")]
    bits = torch.tensor([[int(v, 16) for v in row] for row in cells], device=device)
    bits = (bits[..., None] >> torch.arange(4, -1, -1, device=device)) & 1
    bits = F.pad(bits.float(), (1, 1, 1, 1)).flatten(0, 1)[None, None]
    return F.interpolate(bits, scale_factor=4, mode="bicubic", align_corners=False)


def _sign(a: Tensor, b: Tensor, which: Tensor, size: Tensor, fine: Tensor) -> Tensor:
    """Cover of sign ``which`` in [0, 1) at places ``a``, ``b``, in [-0.5, 0.5] within
    its box, that is ``size`` high."""
    count = len(GLYPHS.replace("/", "\n").strip().splitlines())
    number = (which * count).floor()
    inside = (a.abs() < 0.5) & (b.abs() < 0.5)
    y = (number + 0.5 + b.clamp(-0.5, 0.5)) * (2 / count) - 1
    at = torch.stack([2 * a, y], -1)[None, None]
    v = F.grid_sample(_glyphs(a.device), at, align_corners=False)[0, 0, 0]
    return inside * (0.5 + (v - 0.5) * (size / 9 / fine).clamp(min=0.5)).clamp(0, 1)


def _signs(f, s, t, fine, x, y):
    """A large sign on the chest and small ones all over, each different: whoever
    knows a sign knows the place."""
    n, p = f["n"], 3.2 + 0.8 * f["period"]
    i, j = (s / (0.9 * p)).floor(), (t / p).floor()
    a, b = s / (0.9 * p) - i - 0.5, t / p - j - 0.5
    ink = torch.where(_hash(i, j, n + 5) < 0.5, f["second"], f["third"])
    small = _sign(1.35 * a, 1.15 * b, _hash(i, j, n), p, fine)
    small = small * (_hash(i, j, n + 9) < 0.75)
    colour = torch.lerp(f["base"], ink, small)
    size = 10 + 4 * f["share"]
    a, b = (x - 5 * (f["soft"] - 0.5)) / (0.78 * size), (y + 13) / size
    box = torch.maximum(a.abs() - 0.47, b.abs() - 0.5) * size
    colour = torch.lerp(colour, f["base"], (0.5 - box / fine).clamp(0, 1))
    large = _sign(a, b, _hash(n, n, 1), size, fine)
    return torch.lerp(colour, f["second"], large)


def _blots(f, s, t, fine, x, y):
    """Camouflage in all colours, with signs on it."""
    ground = _camouflage(f, s, t, fine, x, y)
    named = {name: f[name] for name in ("n", "period", "second", "third", "share",
                                        "soft")}  # fmt: skip
    return _signs({**named, "base": ground}, s, t, fine, x, y)


def _bands(f, s, t, fine, x, y):
    """Stripes, no two neighbours alike and none as wide as the next."""
    p, n = 0.8 * f["period"], f["n"]
    bend = s + 0.28 * p * torch.sin(2.4 * s / p)
    i, part = (bend / p).floor(), (bend / p).frac()
    part = torch.where(part < 0, part + 1, part)

    def paint(i):
        ink = torch.stack([f["base"], f["second"], f["third"]])
        which = (_hash(i, i * 0, n) * 3).long()
        ink = ink.gather(0, which.expand(1, 3, -1))[0]
        light = 0.62 + 0.38 * (i % 2)
        return ink * light

    edge = (0.5 + (1 - part) * p / fine).clamp(0, 1)
    return torch.lerp(paint(i + 1), paint(i), edge)


# Name, how often, and how it is drawn (None: in one colour). Those that are never
# drawn by chance are for scenes that ask for them by name.
PATTERNS = (
    ("plain", 5, None), ("melange", 2, None), ("stripes", 3, _stripes),
    ("pinstripes", 1, _pinstripes), ("checks", 1.2, _checks), ("plaid", 1.2, _plaid),
    ("dots", 1.5, _dots), ("camouflage", 1.5, _camouflage), ("flowers", 1.5, _flowers),
    ("print", 2, _print), ("letters", 1, _letters), ("signs", 0, _signs),
    ("blots", 0, _blots), ("bands", 0, _bands),
)  # fmt: skip
PATTERN = {name: number for number, (name, _, _) in enumerate(PATTERNS)}


def printed(f: Rows, x: Tensor, y: Tensor, fine: Tensor) -> Tensor:
    """Colours (3, n) at places of the flat."""
    angle = f["angle"]
    cos, sin = angle.cos(), angle.sin()
    s, t = x * cos + y * sin + f["x"], y * cos - x * sin + f["y"]
    colour, kind = f["base"], f["pattern"]
    for number, (_, _, draw) in enumerate(PATTERNS):
        at = (kind == number).nonzero()[:, 0]
        if draw is not None and len(at):
            colour[:, at] = draw(f.of(at), s[at], t[at], fine[at], x[at], y[at])
    return colour
