"""Cars in profile, facing left: a stand-in for the cars of PASCAL 3D (630 images) that
Zhang et al. 2018 (Table 2, Figures 7 and 34-36) find landmarks on.

The cars are ours. One rig draws all: a roof line through five knots, nose, tail and two
wheels, in metres. A body style is a row of ``RIG``, and proportions vary continuously:
each car mixes in a little of another style, then varies on its own. The side is cut out
of that profile; slices behind it, shifted by yaw and by the camera's height, show nose
or tail, bonnet and roof. Projection is parallel: landmarks are exact points of the near
side, and turn and roll of the camera move them without perspective.

As in the paper the crop follows the car: all have about the same length in the image.
The paper also scales its crops to a square and shows them at W : H = 2 : 1; that is
``aspect=2``. With ``aspect=1`` pixels are square, and there is more sky and road.

Knobs, 0 to 1: ``shape``, how much cars of one style differ, mixing included; ``pose``,
how much yaw (12 degrees), roll (3), camera height, size and place differ; ``clutter``,
how strong trees, houses, hills, clouds and the road's texture stand out of a plain sky
and a plain road; ``light``, how much exposure, tint and the sun's side differ.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.geometry import pixel_grid
from lmlib.samples import Batch
from lmscenes.engine import as_indices, rotation, uniform
from lmscenes.shared import (
    Draws,
    check_knobs,
    check_names,
    check_size,
    read_table,
    smooth_max,
    smoothstep,
    tiled,
)

TILE = 16  # images drawn at once: their planes stay in a CPU's cache
# Metres. Overhangs are what sticks out over the axles; cowl: base of the windscreen,
# behind the front axle; rise: of the window line; top: end of the roof, behind the rear
# axle; rear: from there to the base of the rear window; pillar: extra width of the
# last one; lamp: half the height of the rear light; doors: chance of four; clad: of
# black sills and arches; blind: of no windows behind the front door.
RIG = """
    style   base front back  high nose cowl  cowlx screen rise  top  drop rear  deck
    saloon  2.75 0.88 1.02   1.44 0.74 0.98  0.34  0.86  0.05 -0.28  .05  0.72  1.06
    hatch   2.56 0.82 0.66   1.49 0.77 1.01  0.32  0.77  0.08  0.27  .07  0.32  1.04
    estate  2.80 0.88 0.98   1.48 0.75 0.99  0.34  0.84  0.06  0.55  .07  0.36  1.04
    coupe   2.58 0.92 0.84   1.29 0.66 0.90  0.52  0.82  0.05 -0.58  .04  1.05  0.98
    suv     2.70 0.86 0.84   1.73 1.02 1.17  0.40  0.64  0.07  0.40  .08  0.34  1.19
    pickup  3.15 0.92 1.16   1.79 1.07 1.20  0.44  0.60  0.03 -0.86  .04  0.14  1.10
    van     2.95 0.84 0.84   1.95 0.96 1.22 -0.10  0.72  0.00  0.66  .05  0.14  1.20
    spread  0.14 0.06 0.08   0.06 0.05 0.04  0.07  0.08  0.03  0.08  .02  0.06  0.04
    style  wheel clear pillar lamp doors clad blind
    saloon  0.33 0.17   0.10  0.07   1   0      0
    hatch   0.31 0.17   0.12  0.13  .5   0.2    0
    estate  0.33 0.17   0.05  0.13   1   0.1    0
    coupe   0.34 0.13   0.08  0.06   0   0      0
    suv     0.38 0.24   0.07  0.12   1   0.7    0
    pickup  0.39 0.27   0.00  0.14  .6   0.5    0
    van     0.34 0.19   0.02  0.20   0   0.4  0.7
    spread  0.02 0.02   0.03  0.02   0   0      0
"""
STYLES = read_table(RIG)
PARTS = STYLES.pop("style")
COLOURS = {  # one of each list, then tinted
    "paint": """f2f2ee e8e6df b9bdc1 8b9096 565a60 2b2d31 17181b b3201f 8c1a22 1f4e9c
             16264f 5fa3cf 1f5b3a 77906a cbb68d d9691c e3b61c 6b4a34 7b2f4b 2f7f80""",
    "metal": "c8cacc a9acb0 d8d9da 5a5c60",
    "sky": "8fb8e0 a9c6e4 c4ced8 d6d9dc 7aa6d8",
    "green": "4f6b3a 3c5a35 6a7a42 7c6a3c 2f4a30",
    "verge": "7f8f58 9a968c 8c8a86 6d8048 b0a893",
    "road": "6c6d70 585a5e 7d7c7a 8c8a87",
    "wall": "b98d72 c9bfae 9a5d4a d8d2c4 a7a9ab 8a7b6a",
}
RANGES = {  # of numbers that no knob changes; lengths in metres
    "house": (1.2, 3.2), "horizon": (0.95, 1.5), "kerb": (0.3, 0.6), "at x": (0, 1),
    "at y": (0, 1), "rim": (0.62, 0.76), "thick": (0, 0.6), "spokes": (5, 11),
    "spin": (0, math.tau), "gloss": (0.5, 1.3),
}  # fmt: skip
START, STEP, SAMPLES = -1.0, 0.03, 256  # of the roof line's table, in metres
ROWS = ("hills", 0.8, 0.6), ("houses", 0.3, 0.55), ("trees", 0.5, 0.65)
WIDTH = 1.75  # of a car, metres
SLICES = (1.0, 0.75, 0.5, 0.25, 0.08)  # places across the car, far to near
RUBBER = 0.045  # gray value


def bell(x: Tensor, centre, width) -> Tensor:
    return torch.exp(-(((x - centre) / width) ** 2))


def roof_line(q: Batch, x: Tensor) -> Tensor:
    """Height of the profile at ``x`` ``(B, N)``, metres behind the nose: straight
    pieces between knots that are rounded off, bonnet and roof vaulted."""
    xs = [torch.full_like(q["xa"], 0.1), *(q[k] for k in ("xa", "xb", "xc", "xd"))]
    ys = [q[k] for k in ("nose", "cowl", "yb", "yc", "deck")]
    xs, ys = (torch.stack(v, 1) for v in (xs, ys))
    steps = (ys[:, 1:] - ys[:, :-1]) / (xs[:, 1:] - xs[:, :-1])
    last = torch.full_like(xs[:, :1], -0.03)  # slope of the boot lid
    steps = torch.cat([steps, last], 1)[..., None]
    y = ys[:, :1] + steps[:, 0] * (x - xs[:, :1])
    for i in range(1, 5):
        bend = steps[:, i] - steps[:, i - 1]
        w = 0.05 / (0.6 + bend.abs())
        y = y + bend * w * F.softplus((x - xs[:, i : i + 1]) / w)
    for i, high in ((0, 0.035), (1, 0.03), (2, 0.05), (3, 0.02)):
        a, b = xs[:, i : i + 1], xs[:, i + 1 : i + 2]
        t = ((x - a) / (b - a)).clamp(0, 1)
        y = y + high * 4 * t * (1 - t) * (b - a).clamp(max=1)
    return y


@functools.cache
def noise_tile(device) -> Tensor:
    """Fixed smooth noise ``(1, 2, 128, 128)``, mean 0, deviation 1: fine and coarse."""
    x = torch.randn(2, 128, 128, generator=torch.Generator().manual_seed(7))
    coarse = F.avg_pool2d(F.pad(x[1:], (3, 3, 3, 3), mode="circular"), 7, 1)
    return torch.cat([x[:1], coarse / coarse.std()])[None].to(device)


class Picture:
    """One tile of images, painted back to front on pixels of ``size * aspect`` by
    ``size``; ``X``, ``Y`` are metres behind the nose and above the road."""

    def __init__(self, q: Batch, size: int, aspect: int):
        self.q = {k: v[:, None, None] for k, v in q.items() if v.ndim == 1}
        self.c = {k: v[:, :, None, None] for k, v in q.items() if v.ndim == 2}
        x = START + STEP * torch.arange(SAMPLES, device=q["xa"].device)
        y = roof_line(q, x.expand(len(q["xa"]), -1))
        slope = (y[:, 2:] - y[:, :-2]) / (2 * STEP)
        self.table = torch.stack([y, F.pad(slope, (1, 1))], 1)[:, :, None]
        grid = pixel_grid(size, size * aspect, x.device)
        turn, shift = view(q)
        points = grid.flatten(0, 1) / grid.new_tensor([1, aspect]) - shift
        metres = (points @ turn.inverse()).unflatten(1, grid.shape[:2])
        self.X, self.Y = metres.unbind(-1)
        self.fine = self.q["scale"] * (size * aspect / 2)  # pixels in a metre
        self.image = self.X.new_zeros(len(self.X), 3, *grid.shape[:2])
        self.red = self.X.new_tensor([[[[0.62]], [[0.05]], [[0.05]]]])

    def nose(self, y: Tensor) -> Tensor:
        return 0.12 * (y - self.q["bumper"]).square() + self.q["lean"] * y

    def tail(self, y: Tensor) -> Tensor:
        return self.q["long"] - 0.08 * (y - self.q["bumper"]).square()

    def belt(self, x: Tensor) -> Tensor:
        """The line under the windows."""
        q = self.q
        return q["cowl"] - 0.03 + q["rise"] * (x - q["xa"]) / (q["xc"] - q["xa"])

    def distance(self, x: Tensor, y: Tensor, bulge: float = 0.0):
        """Signed distances ``(B, H, W)``, metres: to the body, and to its roof line."""
        at = ((x - START) / STEP + 0.5) * (2 / SAMPLES) - 1
        at = torch.stack([at, torch.zeros_like(at)], -1)
        top, slope = F.grid_sample(self.table, at, align_corners=False).unbind(1)
        roof = (y - top) * (1 + slope * slope).rsqrt()
        ends = torch.maximum(self.nose(y) - bulge - x, x - self.tail(y) - 0.6 * bulge)
        body = smooth_max(smooth_max(roof, ends, 0.12), self.q["clear"] - y, 0.10)
        return body, roof

    def cover(self, distance: Tensor) -> Tensor:
        """Signed distances in metres to shares of the pixels."""
        return (distance * -self.fine).add_(0.5).clamp_(0, 1)

    def stroke(self, distance: Tensor, half: float) -> Tensor:
        """Cover of a line ``2 * half`` metres thick; pale if thinner than a pixel."""
        return torch.minimum(self.cover(distance.abs() - half), 2 * half * self.fine)

    def oval(self, x, y, wide, high) -> Tensor:
        """Cover of an ellipse with these half axes, metres."""
        far = torch.hypot((self.X - x) / wide, (self.Y - y) / high)
        return self.cover((far - 1) * high)

    def paint(self, colour, cover: Tensor) -> None:
        """Lay a colour, a gray or an image on the picture."""
        colour = torch.as_tensor(colour, device=cover.device)
        colour = colour[:, None, None] if colour.ndim == 1 else colour
        self.image.lerp_(colour.expand_as(self.image), cover.unsqueeze(1))

    def noise(self, metres: float, stretch: float = 1.0) -> tuple:
        """Fine and coarse noise; a grain is ``metres`` high and ``stretch`` wider."""
        at = torch.stack([self.X / stretch, self.Y], -1) / (64 * metres)
        if stretch == 1:  # turned, as grains are square
            at = at @ at.new_tensor([[0.8, 0.6], [-0.6, 0.8]])
        at = at + torch.stack([self.q["at x"], self.q["at y"]], -1)
        tile = noise_tile(at.device).expand(len(at), -1, -1, -1)
        noise = F.grid_sample(tile, at, padding_mode="reflection", align_corners=False)
        return noise.unbind(1)

    def backdrop(self, clutter: float) -> None:
        """Sky, what stands along the road, pavement, road, the car's shadow."""
        q, c, X, Y = self.q, self.c, self.X, self.Y
        above = Y - q["horizon"]
        (fine, coarse), (_, streaks) = self.noise(0.11), self.noise(0.09, 4.0)
        haze = 0.6 * torch.exp(-above / 1.2).clamp(max=1)[:, None]
        self.image += c["sky"] + (1 - c["sky"]) * haze
        self.paint(0.97, 0.6 * clutter * smoothstep(streaks, 0.3, 2))

        # Three rows, the farthest first: hills, houses, trees. Where the heights lie
        # below the horizon, a row is hidden.
        t = X * 0.35 + 9 * q["at x"]
        hills = 0.7 * torch.sin(t) + 0.3 * torch.sin(2.3 * t + 1) + q["hills"]
        hazy = (0.6 * c["sky"] + 0.4 * c["green"]) * (1 + 0.05 * coarse[:, None])
        self.paint(hazy, clutter * self.cover(above - hills))

        t = X / q["house"] + 40 * q["at y"] + 100
        number, across = (t.long() % 16).flatten(1), t.frac()
        levels, tones = (
            c[k][:, :, 0, 0].gather(1, number).view_as(X) for k in ("levels", "tones")
        )
        high = above - q["houses"] - 1.6 * levels
        wall = c["wall"] * (0.75 + 0.4 * tones + 0.03 * fine).unsqueeze(1)
        self.paint(wall, clutter * self.cover(high))
        wide = ((across * 3).frac() - 0.5).abs() * q["house"] / 3 - 0.13
        tall = ((Y / 0.8 + 0.3).frac() - 0.5).abs() * 0.8 - 0.2
        wall = torch.maximum(high + 0.25, 0.3 - above)
        panes = torch.maximum(torch.maximum(wide, tall), wall)
        self.paint(0.35 * c["sky"] + 0.12, clutter * self.cover(panes))

        t = X * 1.7 + 23 * q["at y"]
        trees = torch.sin(t) + 0.6 * torch.sin(1.7 * t + 2) + 0.25 * coarse + 0.1 * fine
        lit = 0.8 + 0.2 * coarse + 0.12 * fine + 0.15 * smoothstep(above, -0.5, 2)
        trees = self.cover(above - 0.55 * trees - q["trees"])
        self.paint(c["green"] * lit.unsqueeze(1), clutter * trees)

        grain = 1 + clutter * (0.05 * fine + 0.07 * streaks).unsqueeze(1)
        kerb = Y - q["kerb"]
        self.paint(c["verge"] * grain, self.cover(above))
        self.paint(0.72 * c["road"] + 0.2, clutter * self.cover(kerb - 0.07))
        road = c["road"] * (grain - 0.1 * smoothstep(-Y, 0, 1.5)[:, None])
        self.paint(road, self.cover(kerb))
        dash = ((X + 7 * q["at x"]) % 3 - 1.5).abs() - 0.9
        dash = self.cover(torch.maximum(dash, (Y + 0.75).abs() - 0.06))
        self.paint(0.88, q["marks"] * clutter * dash)

        half = q["long"] / 2 + 0.05
        u = (X - (q["long"] - q["turn"]) / 2 - 0.3 * q["sun"]) / half
        v = (Y - q["lift"] / 2 + 0.03) / (q["lift"] / 2 + 0.16)
        far = u.square() * u.square() * u.square() + v.square() * v.abs()
        dark = (0.55 + 0.35 * q["hard"]) * smoothstep(-far, -1.4, -0.24)
        self.image *= 1 - dark[:, None]

    def slices(self) -> Tensor:
        """What is seen of nose, tail, bonnet and roof behind the near side; the mask.

        Slices only tell which point of the body a pixel shows, ``x``, ``y`` and ``t``
        across; one coat of paint follows.
        """
        q, X, Y = self.q, self.X, self.Y
        axle = X + 0.85 * q["turn"] - torch.where(self.front, q["xf"], q["xr"])
        far = torch.hypot(axle, Y - 0.85 * q["lift"] - q["wheel"])
        mask = self.cover(far - q["wheel"])  # the wheels of the far side
        self.paint(0.03, mask)
        t, cover = torch.ones_like(X), torch.zeros_like(X)
        for at in SLICES:
            x, y = X + at * q["turn"], Y - at * q["lift"]
            here = self.cover(self.distance(x, y, 0.3 * at * (1 - at))[0])
            t = torch.where(here > 0, at, t)
            cover = torch.maximum(cover, here)
        x, y, front = X + t * q["turn"], Y - t * q["lift"], self.front
        end = cover * (torch.minimum(x - self.nose(y), self.tail(y) - x) < 0.12)
        sun = torch.where(front, -0.2, 0.2) * q["sun"]
        light = torch.where(end > 0, 0.72 + sun, 0.95 + 0.25 * q["hard"])
        self.paint(self.c["paint"] * light.unsqueeze(1) + 0.06, cover)

        screen = torch.maximum(q["cowl"] + 0.04 - y, x - q["xb"])
        rear = torch.maximum(q["deck"] + 0.06 - y, q["xc"] - x)
        glass = self.cover(torch.minimum(screen, rear)) * (t < 0.95)
        self.paint(0.3, cover * glass)
        self.paint(0.07, 0.8 * end * self.cover(y - q["clear"] - 0.2))
        edge = (t - 0.5).abs()  # of the car; grille and number plate are in its middle
        high = y - torch.where(front, q["y front"], q["y back"])
        lamp = self.cover(high.abs() - torch.where(front, 0.08, q["lamp"]))
        lamp = end * lamp * (edge > 0.2)
        self.paint(0.86, lamp * front)
        self.paint(self.red, lamp * ~front)
        grille = front * self.cover((high + 0.1).abs() - 0.14)
        self.paint(0.1, end * grille * (edge < 0.2))
        plate = self.cover((y - q["clear"] - 0.3).abs() - 0.06)
        self.paint(0.84, end * plate * (edge < 0.2))
        return torch.maximum(mask, cover)

    def side(self) -> Tensor:
        """The near side of the body: paint, doors, lamps, windows; its cover."""
        q, c, X, Y = self.q, self.c, self.X, self.Y
        body, roof = self.distance(X, Y)
        cover, belt = self.cover(body), self.belt(X)
        # Sheen of curved sheet metal: the shoulder mirrors the sky, what is below the
        # crease mirrors the road; sill, nose and tail turn away.
        s = (Y - q["clear"]) / (belt - q["clear"])
        along = 2 * X / q["long"] - 1
        tone = 0.80 + 0.26 * bell(s, 0.90, 0.10) - 0.20 * bell(s, 0.68, 0.13)
        tone = tone + 0.12 * bell(s, 0.42, 0.16) - 0.28 * smoothstep(-s, -0.35, 0)
        tone = tone + 0.16 * q["sun"] * along - 0.15 * along.square().square().square()
        tone = tone * (0.85 + 0.3 * q["hard"])
        gloss = 0.22 * bell(s, 0.90, 0.07) + 0.3 * torch.exp((roof / 0.05).clamp(max=0))
        colour = c["paint"] * tone.unsqueeze(1)
        gloss = (gloss * q["gloss"]).unsqueeze(1)
        self.paint(colour.lerp(c["sky"] * 0.5 + 0.5, gloss), cover)

        sill = self.cover(Y - q["clear"] - 0.05 - 0.09 * q["clad"])
        self.paint(RUBBER, cover * sill * (0.4 + 0.5 * q["clad"]))
        arch = self.hub - 1.15 * q["wheel"]
        flare = cover * self.stroke(arch - 0.035, 0.035)
        bare = q["clad"] < 0.1
        self.paint(bare[:, None].float(), flare * torch.where(bare, 0.15, q["clad"]))

        first, *others = (X - q[door] for door in ("x1", "x2", "x3"))
        second = torch.where(others[1] > -0.4, *others[::-1])  # the nearer of the two
        seam = torch.minimum(first.abs(), second.abs())
        seam = cover * self.stroke(seam, 0.014) * self.cover(Y - belt)
        self.paint(0.05, 0.8 * seam * (arch > 0))
        high = (Y - belt + 0.15).abs() - 0.02
        handle = torch.maximum((second + 0.17).abs() - 0.1, high)
        self.paint(c["handle"], 0.9 * cover * self.cover(handle))
        ends = torch.where(self.front, X - q["xf"], q["xr"] - X) < 0
        bumper = self.stroke(Y - q["bumper"] - 0.05, 0.012)
        self.paint(0.05, 0.5 * cover * bumper * ends * (arch > 0))
        self.lamps(cover)
        self.windows(cover, belt, roof)
        self.paint(0.02, self.cover(torch.maximum(arch, body - 0.3)))
        return cover

    def lamps(self, cover: Tensor) -> None:
        """Headlight and rear light."""
        q, X, Y = self.q, self.X, self.Y
        x, y = q["x front"], q["y front"] - 0.25 * (X - q["x front"])  # it slopes
        self.paint(0.11, cover * self.oval(x, y, 0.24, 0.085))
        self.paint(0.93, cover * self.oval(x - 0.01, y, 0.20, 0.065))
        x, y, high = q["x back"], q["y back"], q["lamp"]
        wide = (0.19 - 0.7 * high).clamp(min=0.08)
        lamp = smooth_max((X - x).abs() - wide, (Y - y).abs() - high, 0.05)
        lamp = cover * self.cover(lamp)
        self.paint(self.red, lamp)
        shine = self.oval(x, y + 0.3 * high, 0.6 * wide, 0.4 * high)
        self.paint(1.5 * self.red + 0.05, 0.7 * lamp * shine)

    def windows(self, cover: Tensor, belt: Tensor, roof: Tensor) -> None:
        """Side windows with seats and reflections behind posts, the mirror."""
        q, c, X, Y = self.q, self.c, self.X, self.Y

        def outside(xa, ya, xb, yb):
            """Signed distance to the line through two points, positive on its left."""
            dx, dy = xb - xa, yb - ya
            return ((Y - ya) * dx - (X - xa) * dy) * (dx * dx + dy * dy).rsqrt()

        screen = outside(q["xa"], q["cowl"], q["xb"], q["yb"]) + 0.10
        rear = outside(q["xc"], q["yc"], q["xd"], q["deck"]) + 0.09 + q["pillar"]
        rear = torch.maximum(rear, X - torch.where(q["blind"] > 0, q["x2"], 99.0))
        glass = smooth_max(torch.maximum(screen, roof + 0.09), rear, 0.12)
        glass = smooth_max(glass, belt + 0.02 - Y, 0.06)
        self.paint(c["trim"], 0.9 * cover * self.stroke(glass - 0.015, 0.018))
        up = ((Y - belt) / (q["tall"] - q["cowl"])).clamp(0, 1)
        tint = 0.09 + (0.10 + 0.30 * up * up)[:, None] * c["sky"]
        streak = torch.sin(2.6 * (X + 0.8 * Y) + 20 * q["at y"])
        tint = tint + (0.22 * q["hard"] * smoothstep(streak, 0.45, 0.75))[:, None]
        at = torch.where(X < q["x2"] + 0.2, q["x1"] + 0.62, q["x2"] + 0.75)
        back = self.oval(at + 0.02, belt - 0.15, 0.16, 0.25)
        seat = torch.maximum(self.oval(at, belt + 0.16, 0.09, 0.10), back)
        glass = cover * self.cover(glass)
        self.paint(tint * (1 - 0.55 * seat[:, None]), glass)
        lean = X + 0.12 * (Y - belt)
        post = torch.minimum((lean - q["x2"]).abs(), (lean - q["x3"]).abs())
        self.paint(0.05, 0.95 * glass * self.stroke(post, 0.042))
        x = q["xa"] + 0.45 * (q["xb"] - q["xa"]) + 0.05
        self.paint(c["mirror"], cover * self.oval(x, belt + 0.07, 0.12, 0.075))

    def wheels(self) -> Tensor:
        """Tyres, rims with spokes, hubs; the tyres' cover."""
        q, r, metal = self.q, self.q["wheel"], self.c["metal"]
        tyre = self.cover(self.hub - r)
        self.paint(RUBBER, tyre)
        self.paint(0.16, 0.5 * self.stroke(self.hub - 0.86 * r, 0.012))
        turn = torch.atan2(self.Y - r, self.axle) + q["spin"]
        shine = smoothstep(torch.cos(turn * q["spokes"]), -0.5 - q["thick"], 0.3)
        far = self.hub / r
        shine = torch.maximum(shine, smoothstep(far / q["rim"], 0.78, 0.92))
        shine = torch.maximum(shine, smoothstep(-far, -0.28, -0.16))
        shine = (0.6 + 0.25 * self.Y / r) * (0.25 + 0.75 * shine)
        self.paint(metal * shine.unsqueeze(1), self.cover(self.hub - q["rim"] * r))
        self.paint(0.45 * metal, self.cover(self.hub - 0.1 * r))
        return tyre

    def draw(self, clutter: float) -> Tensor:
        """Image and mask, ``(B, 4, H, aspect * H)``."""
        self.backdrop(clutter)
        # From here on, only the rows of pixels that these cars are in.
        q, picture, mask = self.q, self.image, torch.zeros_like(self.X)
        here = (self.Y > -0.2) & (self.Y < q["tall"] + q["lift"] + 0.2)
        here = here.any(2).any(0).nonzero().flatten()
        rows = slice(here[0], here[-1] + 1)
        self.X, self.Y = self.X[:, rows].contiguous(), self.Y[:, rows].contiguous()
        self.image = picture[:, :, rows]
        # Which of the two wheels is nearer, and how far its axle is.
        self.front = self.X < (q["xf"] + q["xr"]) / 2
        self.axle = self.X - torch.where(self.front, q["xf"], q["xr"])
        self.hub = torch.hypot(self.axle, self.Y - q["wheel"])
        parts = self.slices(), self.side(), self.wheels()
        mask[:, rows] = torch.stack(parts).amax(0)
        picture = (picture * self.c["power"]).clamp(0, 1)
        return torch.cat([picture, mask.unsqueeze(1)], 1)


def view(q: Batch) -> tuple[Tensor, Tensor]:
    """The camera, ``(B, 2, 2)`` and ``(B, 1, 2)``: ``metres @ turn + shift`` are points
    of the picture, half of its width being 1."""
    zero = torch.zeros_like(q["scale"])
    wide = torch.stack([q["scale"] * q["yaw"].cos(), zero], 1)
    high = torch.stack([zero, -q["scale"]], 1)
    turn = torch.stack([wide, high], 1) @ rotation(q["roll"]).mT
    middle = torch.stack([q["long"] - q["turn"], q["tall"]], 1) / 2
    return turn, q["place"][:, None] - middle[:, None] @ turn


class Cars:
    """Cars with eight landmarks on their near side, all in view.

    The first six are those that PASCAL 3D gives for one side: wheels, the windscreen's
    and the rear window's upper corner, headlight, and (there the boot's) rear corner.
    A batch adds, besides ``image``, ``landmarks``, ``visible`` and ``index``:

    - ``label`` (B,) body style, see ``style_names``; they take turns
    - ``mask`` (B, 1, H, W): cover of the car, without its shadow
    """

    names = ("front wheel", "rear wheel", "windscreen top", "rear window top",
             "front light", "rear light", "windscreen base",
             "rear window base")  # fmt: skip
    style_names = tuple(STYLES)[:-1]

    def __init__(
        self, size: int = 64, seed: int = 0, *,
        styles: tuple[str, ...] | str | None = None, aspect: int = 1,
        shape: float = 1.0, pose: float = 1.0, clutter: float = 1.0, light: float = 1.0,
    ):  # fmt: skip
        check_size("Cars", size, 32, 512)
        if aspect not in (1, 2):
            raise ValueError(f"aspect must be 1 or 2, got {aspect}")
        self.styles = check_names("styles", styles, self.style_names)
        check_knobs(0, 1, shape=shape, pose=pose, clutter=clutter, light=light)
        self.size, self.seed, self.aspect = size, seed, int(aspect)
        self.shape, self.pose, self.clutter, self.light = shape, pose, clutter, light

    def parameters(self, indices, device=None) -> Batch:
        """Everything that is random about the images, ``(B,)`` or ``(B, n)`` each."""
        index = as_indices(indices, device)
        draws = Draws(uniform(index, 120, self.seed, stream=70))
        chosen = index.new_tensor([self.style_names.index(s) for s in self.styles])
        label = chosen[index % len(chosen)]
        q = {"index": index, "label": label}
        # In the order in which their numbers are drawn.
        q |= self._build(draws, label)
        q |= self._camera(draws, q)
        q |= self._colours(draws)
        u = uniform(index, 32, self.seed, stream=71)
        q["levels"], q["tones"] = u[:, :16], u[:, 16:]
        return q

    def _build(self, draws: Draws, label: Tensor) -> Batch:
        """Where things are, metres behind the nose and above the road."""
        some, rows = draws.some, [[*map(float, row)] for row in STYLES.values()]
        rig = torch.tensor(rows, device=label.device)
        other = rig[some(0, len(self.style_names)).long()]
        mix = (0.35 * self.shape * some(0, 1) ** 2)[:, None]
        twice = draws.take(2 * len(PARTS)).unflatten(1, (-1, 2)).sum(-1) - 1
        values = rig[label].lerp(other, mix) + self.shape * rig[-1] * twice
        q = dict(zip(PARTS, values.unbind(1), strict=True))
        q["tall"], q["xf"] = q["high"], q["front"]
        q["xr"] = q["front"] + q["base"]
        q["long"], q["xc"] = q["xr"] + q["back"], q["xr"] + q["top"]
        q["xa"] = q["xf"] + q["cowlx"]
        q["xb"] = q["xa"] + q["screen"]
        q["xd"] = torch.minimum(q["xc"] + q["rear"], q["long"] - 0.05)
        q["yb"], q["yc"] = q["tall"] - 0.045, q["tall"] - q["drop"]
        q["bumper"] = 0.45 + 0.4 * (q["clear"] - 0.15)
        q["lean"] = some(0, 0.06, self.shape)
        q["x1"] = torch.maximum(q["xf"] + 1.32 * q["wheel"], q["xa"] - 0.05)
        four = draws.chance(rig[label, PARTS.index("doors")])
        q["x2"] = q["x1"] + torch.where(four, 1.0, 1.3) + some(-0.1, 0.1, self.shape)
        q["x2"] = torch.minimum(q["x2"], q["xc"] - 0.02)
        last = torch.minimum(q["xr"] - 0.15, q["xc"] + 0.02)
        q["x3"] = torch.where(four, last, q["x2"])
        q["blind"] = draws.chance(rig[label, PARTS.index("blind")]).float()
        q["y front"] = q["nose"] - 0.09
        q["x front"] = q["lean"] * q["nose"] + some(0.18, 0.24, self.shape)
        q["y back"] = q["deck"] - 0.06 - q["lamp"]
        q["x back"] = q["long"] - 0.13 + 0.25 * (q["lamp"] - 0.07)
        return q

    def _camera(self, draws: Draws, car: Batch) -> Batch:
        """How it is seen: turn and lift shift the far side to the left and up,
        metres."""
        q, some = {}, draws.some
        q["yaw"] = torch.deg2rad(some(-12, 12, self.pose))
        q["turn"] = WIDTH * q["yaw"].tan()
        q["lift"] = WIDTH * torch.deg2rad(some(1, 6, self.pose)).sin()
        q["roll"] = torch.deg2rad(some(-3, 3, self.pose))
        span = some(1.58, 1.80, self.pose)
        q["scale"] = span / ((car["long"] + q["turn"].abs()) * q["yaw"].cos())
        x = 0.7 * (1 - span / 2) * some(-1, 1, self.pose)
        y = 0.12 / self.aspect * some(-1, 1, self.pose) + 0.16 - 0.08 * self.aspect
        q["place"] = torch.stack([x, y], 1)
        return q

    def _colours(self, draws: Draws) -> Batch:
        """Colours and light, and what stands along the road."""
        q, some = {}, draws.some

        def chance(share) -> Tensor:
            return draws.chance(share)[:, None]

        def table(values) -> Tensor:
            return draws.u.new_tensor(values)

        for name, colours in COLOURS.items():
            colours = table([list(bytes.fromhex(c)) for c in colours.split()]) / 255
            tint = 1 + 0.05 * some(-1, 1, count=3)
            q[name] = colours[some(0, len(colours)).long()] * tint
        dark, chrome = table([0.06, 0.06, 0.065]), table([0.80, 0.81, 0.82])
        q["trim"] = torch.where(chance(0.35), chrome, dark)
        q["mirror"] = torch.where(chance(0.3), dark, 0.75 * q["paint"])
        q["handle"] = torch.where(chance(0.3), chrome, 0.7 * q["paint"])
        q |= {name: some(*limits) for name, limits in RANGES.items()}
        q["spokes"] = q["spokes"].floor()
        q["marks"] = draws.chance(0.4).float()
        for row, high, often in ROWS:  # a row that is not there lies far below
            q[row] = torch.where(draws.chance(often), some(0.4, 1.6) * high, -9.0)
        q["sun"], q["hard"] = some(-1, 1, self.light), some(0, 1, self.light)
        warm = some(-0.1, 0.1, self.light)[:, None] * table([1, 0, -1])
        q["power"] = some(0.7, 1.14, self.light)[:, None] * (1 + warm)
        return q

    def _planes(self, q: Batch) -> Batch:
        """Image and mask of one tile, ``(B, 4, H, W)``."""
        planes = Picture(q, self.size, self.aspect).draw(self.clutter)
        return {"planes": F.avg_pool2d(planes, (1, self.aspect))}

    def batch(self, indices, device=None) -> Batch:
        q = self.parameters(indices, device)
        planes = tiled(self._planes, q, TILE)["planes"]
        xs = [q[x] for x in ("xf", "xr", "xb", "xc", "x front", "x back", "xa", "xd")]
        metres = torch.stack(xs, 1)
        metres = torch.stack([metres, roof_line(q, metres)], 2)  # (B, 8, 2)
        for i, y in ((0, "wheel"), (1, "wheel"), (4, "y front"), (5, "y back")):
            metres[:, i, 1] = q[y]
        turn, shift = view(q)
        landmarks = (metres @ turn + shift) * metres.new_tensor([1, self.aspect])
        return {"image": planes[:, :3].contiguous(), "landmarks": landmarks,
                "visible": landmarks.abs().amax(-1) < 1, "mask": planes[:, 3:],
                "index": q["index"], "label": q["label"]}  # fmt: skip
