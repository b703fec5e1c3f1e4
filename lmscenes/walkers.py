"""Walkers: people in motion, seen from any side, with exact optical flow; a stand-in
for Human3.6M in Zhang et al. 2018 (landmark discovery; table 4 and appendix C).

A walker is a skeleton in three dimensions, dressed in round cones (the hull of two
balls: limbs, trunk, head, hair, shoes), seen by a camera far away that looks a little
down. It faces the camera or turns its back to it: with the face two pixels wide the two
look almost alike, so that left and right can be mistaken for each other. Hence the
paper's score: the smaller of two errors, the second after ``swap``.

Image ``i`` is frame ``i % FILM`` of film ``i // FILM``, 50 frames a second as in
Human3.6M. A film has its person, room, light and action (actions take turns: film ``j``
shows ``actions[j % len(actions)]``). The camera follows the walker: it walks on the
spot, and the room stays. Parts are rigid and a ray meets each at an exact depth, so
a pixel's flow is exact, not estimated. The person's soft shadow on the floor is light,
not flow.

Knobs: ``stride``, frames from the first to the second image of ``pair``; ``actions``,
some of ``action_names``; ``yaw``, degrees a walker may turn away from straight front or
straight back (90: all round, 0: front and back only); ``back``, share of films that
start from the back; ``face``, False hides the face in a hood: front and back then
cannot be told apart; ``variety``, how much people, clothes and hair differ;
``clutter``, things and texture in the room; ``light``, 0 is no shading and no shadow,
so that a point keeps its colour.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.geometry import pixel_grid
from lmlib.samples import Batch
from lmscenes.engine import as_indices, between, uniform
from lmscenes.shared import (
    check_knobs,
    check_names,
    check_size,
    check_stride,
    drawn_by_index,
    turn,
)

FILM, RATE = 100, 50  # frames of a film, frames a second
TILE = 32  # images a CPU draws together; more fall out of its cache
FINE = 3  # rays a pixel in each direction; odd: one runs through its centre
NOTHING = 2**30  # what a ray has met that meets no solid
# A hundredth of a person's height and the height of the floor, in [-1, 1].
UNIT, FLOOR = 0.0173, 0.88
SIDES = ("left", "right")
LIMBS = ("arm", "forearm", "thigh", "shin", "foot")
FRAMES = ("pelvis", "chest", "head", *(f"{s} {limb}" for limb in LIMBS for s in SIDES))
# The body in hundredths of its height. Frames have x to the person's left, y down
# (along a limb; a foot points forward), z to the back. Of a round cone: its frame,
# where the first ball's centre is, degrees about z, distance to the second, both radii,
# stretch along x and z; what its length and its radii grow with; its colour, the one
# beyond the hem, and how many parts of that sleeve or trouser leg lie before (9: no
# hem).
PARTS = """
pelvis  pelvis    0  -3.2  0    0  4.5 6   5.6 1.38 1.02 -         girth pants pants 9
waist   chest     0 -11    .2   0 12.5 6.1 5.5 1.42 1.05 -         girth shirt shirt 9
chest   chest     0 -16.3  .2   0  9   6.3 6   1.45 1.08 -         girth shirt shirt 9
neck    chest     0 -28   -.8   0  6   3   3.4 1    1    -         -     skin  skin  9
head    head      0  -7.2 -.5   0  4.4 5.3 3.7 .88  1.12 -         -     skin  skin  9
hair    head      0  -8.1  .8   0  2.4 5.7 5.1 .92  1.05 -         hair  hair  hair  9
locks   head      0  -6   2.2   0  9   4.7 3.6 1.1  .8   -         locks hair  hair  9
yoke    chest   1.5 -22.2  .4 -79  8.3 3.1 3.3 1    1    shoulders girth shirt shirt 9
arm     arm       0   0    0    0 16.5 3.5 2.8 1    1    -         girth shirt skin  0
forearm forearm   0   0    0    0 14.5 2.8 2.1 1    1    -         girth shirt skin  1
hand    forearm   0  15.7  0    0  4.8 2.1 1.6 .75  1.15 -         -     skin  skin  9
thigh   thigh     0   0    0    0 24   5.5 4   1    1.08 legs      girth pants skin  0
shin    shin      0   0    0    0 23.5 4   2.8 1    1.08 legs      girth pants skin  1
foot    foot      0  -2.2 1.9   0  9.2 2.7 2   .95  .9   -         -     shoes shoes 9
"""
GROWTH = ("-", "legs", "shoulders", "girth", "hair", "locks")
CLOTHES = ("skin", "hair", "shirt", "pants", "shoes")
SKIN = (0.36, 0.23, 0.17), (0.62, 0.43, 0.32), (0.82, 0.6, 0.48), (0.93, 0.76, 0.65)
HAIR = (0.06, 0.05, 0.05), (0.2, 0.13, 0.09), (0.42, 0.27, 0.14), (0.75, 0.6, 0.36)
PANTS = (0.09, 0.09, 0.11), (0.17, 0.22, 0.36), (0.36, 0.36, 0.38), (0.55, 0.47, 0.35)
SHOES = (0.08, 0.07, 0.07), (0.3, 0.2, 0.13), (0.85, 0.85, 0.85)
# Landmarks: frame, y in it, parts on which it shows. Those after the fourth: two sides.
JOINTS = """
    head-top head -12.4 head,hair / neck chest -23.5 neck,chest,left yoke,right yoke
    / chest chest -13 chest,waist / pelvis pelvis 0 pelvis,waist,left thigh,right thigh
    / shoulder arm 0 yoke,arm / elbow forearm 0 arm,forearm
    / wrist forearm 14.5 forearm,hand / hip thigh 0 pelvis,thigh
    / knee shin 0 thigh,shin / ankle foot 0 shin,foot
"""
# What arms do: swing to the front, lift to the side, bend of the elbow to the front and
# upwards, in radians; how far the last two go to and fro.
GESTURES = (
    (0, 0, 0, 0, 0, 0),  # hang and swing
    (0, 1.4, 0.15, 1.35, 0, 0.45),  # wave
    (0.3, 0.1, 1.4, -0.3, 0.4, 0.1),  # talk
    (-0.45, 0.75, 0.2, -1.6, 0, 0),  # hand on the hip
    (0.9, 0.9, 0.1, 0, 0.05, 0),  # point
)


def _two_sided(name: str) -> tuple[str, ...]:
    """The prefixes of a part's or joint's name: one for each side, or none."""
    middle = "pelvis waist chest neck head hair locks head-top".split()
    return ("",) if name in middle else ("left ", "right ")


def _solids() -> dict:
    """PARTS by name: frame; nine numbers; growth (2); colours (2) and hem."""
    solids = {}
    for name, frame, *row in map(str.split, PARTS.strip().splitlines()):
        for side in _two_sided(name):
            own = FRAMES.index(("" if name == "yoke" else side) + frame)
            shape = [float(v) for v in row[:9]]
            if side == "right ":
                shape[0], shape[3] = -shape[0], -shape[3]
            growth = [GROWTH.index(v) for v in row[9:11]]
            paint = [*map(CLOTHES.index, row[11:13]), int(row[13])]
            solids[side + name] = own, shape, growth, paint
    return solids


def _joints() -> dict:
    """JOINTS by name: frame, y, and the parts that show it."""
    joints = {}
    for row in JOINTS.strip().split("/"):
        name, frame, y, parts = row.split(maxsplit=3)
        for side in _two_sided(name):
            own = FRAMES.index(side + frame)
            shown = {p if p in SOLIDS else side + p for p in parts.strip().split(",")}
            joints[side + name.replace("-", " ")] = own, float(y), shown
    return joints


SOLIDS = _solids()
LANDMARKS = _joints()


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]


def _bump(phase: Tensor, at: float, sharp: float) -> Tensor:
    """1 at one moment of a cycle, falling to both sides."""
    return (((phase - at) * math.tau).cos() * sharp - sharp).exp()


def skeleton(p: Batch, growth: Tensor) -> tuple[Tensor, Tensor]:
    """Frames of the body (FRAMES): turns ``(B, 13, 3, 3)`` and origins ``(B, 13, 3)``
    in hundredths of a height, facing the camera, on a floor at y = 0.

    ``p``: angles of the joints as in ``Walkers._pose``; ``growth`` ``(B, 6)``.
    """
    side, new = growth.new_tensor([1.0, -1.0]), growth.new_tensor
    legs, shoulders = growth[:, 1, None, None], growth[:, 2, None, None]
    pelvis = turn(p["twist"], 1) @ turn(p["roll"], 2) @ turn(0.45 * p["bend"], 0)
    chest = turn(-p["twist"], 1) @ turn(-p["roll"] / 2, 2) @ turn(p["bend"], 0)
    head = chest @ turn(p["look"], 1) @ turn(p["nod"], 0)
    arm = chest[:, None] @ turn(-p["swing"], 0) @ turn(-side * p["lift"], 2)
    forearm = arm @ turn(-p["elbow"], 0) @ turn(-side * p["up"], 2)
    thigh = pelvis[:, None] @ turn(-side * p["spread"], 2) @ turn(-p["hip"], 0)
    shin = thigh @ turn(p["knee"], 0)
    toes = turn(-side * (0.15 + p["spread"]) + p["twist"][:, None] / 2, 1)
    foot = toes @ turn(-p["pitch"] - math.pi / 2, 0)
    limbs = torch.cat([arm, forearm, thigh, shin, foot], 1)  # left, right, left, ...

    waist = _apply(pelvis, new([0, -7.5, 0]))
    skull = waist + _apply(chest, new([0, -27, -0.3]))
    both = new([[1.0, 0, 0], [-1, 0, 0]])
    shoulder = 10.3 * shoulders * both + new([0, -20.6, 0])
    shoulder = waist[:, None] + _apply(chest[:, None], shoulder)
    elbow = shoulder + 16.5 * arm[..., 1]
    hip = _apply(pelvis[:, None], 5.2 * both + new([0, 1.0, 0]))
    knee = hip + 24 * legs * thigh[..., 1]
    ankle = knee + 23.5 * legs * shin[..., 1]
    middle = torch.stack([0 * waist, waist, skull], 1)
    origin = torch.cat([middle, shoulder, elbow, hip, knee, ankle], 1)
    # The lowest point of heels and toes stands on the floor: walkers bob by themselves.
    heel = ankle + _apply(foot, new([0, -2.2, 1.9]))
    toe = heel + 9.2 * foot[..., 1]
    low = torch.cat([heel[..., 1] + 2.45, toe[..., 1] + 1.85], 1).amax(1)
    origin[..., 1] -= low[:, None]
    return torch.cat([torch.stack([pelvis, chest, head], 1), limbs], 1), origin


def cast(solid: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Depths ``(N, R)`` at which rays along z through x, y ``(N, R)`` meet N round
    cones, from their first balls; infinity if they miss. ``solid`` ``(15, N, 1)``: see
    ``Walkers._body``."""
    (xx, xy, dx, yx, yy, dy, zx, zy, dz, ox, oy, _, long, r, r2) = solid
    x, y = x - ox, y - oy
    x, y, z = xx * x + xy * y, yx * x + yy * y, zx * x + zy * y
    taper = (r - r2) / long
    slope = 1 - taper * taper
    # Around the axis: distance to it falls linearly, a quadratic in depth.
    across, wall, narrow = dx * dx + dz * dz, r - taper * y, taper * dy
    a = across * slope - narrow * narrow
    a = torch.where(a.abs() < 1e-5, 1e-5, a)  # along the axis: the balls hide it
    flat = x * dx + z * dz
    half = flat * slope + narrow * wall
    flat_square = x * x + z * z
    root = half * half - a * (flat_square * slope - wall * wall)
    depth = -(half + root.clamp(min=0).sqrt()) / a
    along = y + depth * dy - taper * r
    hit = (root >= 0) & (along >= 0) & (along <= slope * long)
    depth = torch.where(hit, depth, math.inf)
    a = across + dy * dy
    for end, radius in ((0, r), (long, r2)):
        v = y - end
        half = flat + v * dy
        root = half * half - a * (flat_square + v * v - radius * radius)
        ball = -(half + root.clamp(min=0).sqrt()) / a
        depth = torch.minimum(depth, torch.where(root >= 0, ball, math.inf))
    return depth


class Walkers:
    """Batch adds ``mask`` (B, 1, H, W), coverage of the body; ``segment`` (B, H, W),
    number in ``parts`` of what a pixel's centre shows, -1 for the room; ``depth``
    (B, H, W) of that point in the unit of the image, infinite for the room; ``view``
    (B,), heading in radians: 0 faces the camera, pi / 2 the image's right, pi shows the
    back; ``label`` (B,), number of the action in ``actions``.

    ``landmarks`` (B, 16, 2) are joints, inside the body; one is visible if the pixel it
    lies in shows a part that meets there, not far in front of it.
    ``landmarks[:, swap]`` exchanges left and right.
    """

    names = tuple(LANDMARKS)
    parts = tuple(SOLIDS)
    swap = (0, 1, 2, 3, *(k ^ 1 for k in range(4, 16)))
    action_names = ("walk", "turn", "wave", "bend", "stand")

    def __init__(
        self, size: int = 64, seed: int = 0, *, stride: int = 5,
        actions: tuple[str, ...] | None = None, yaw: float = 90.0, back: float = 0.5,
        face: bool = True, variety: float = 1.0, clutter: float = 1.0,
        light: float = 1.0,
    ):  # fmt: skip
        check_size("Walkers", size, 32, 256)
        self.actions = check_names("actions", actions, self.action_names)
        check_knobs(0, 90, "degrees", yaw=yaw)
        check_knobs(0, 1, back=back, variety=variety, clutter=clutter, light=light)
        self.size, self.seed, self.stride = size, seed, check_stride(stride, FILM)
        self.yaw, self.back, self.face = yaw, back, face
        self.variety, self.clutter, self.light = variety, clutter, light

    def batch(self, indices, device=None) -> Batch:
        return self._tiled(lambda few: self._frames(few, 0, self._look(few // FILM))[0],
                           as_indices(indices, device))  # fmt: skip

    def pair(self, indices, device=None) -> Batch:
        """A batch, and the same of the frames ``stride`` later in the same films:
        ``image2``, ``landmarks2``, ``visible2``, ``mask2``, ``segment2``, ...

        ``flow`` (B, H, W, 2) is the point in the second image of what a pixel of the
        first shows; the room stays. ``flow_valid`` (B, H, W): the pixel is on the body,
        and a ray through its point in the second image meets nothing nearer there.
        """
        return self._tiled(self._pair, as_indices(indices, device))

    def _tiled(self, draw, indices: Tensor) -> Batch:
        return {**drawn_by_index(draw, indices, TILE), "index": indices}

    def _pair(self, indices: Tensor) -> Batch:
        look = self._look(indices // FILM)
        one, body = self._frames(indices, 0, look)
        two, later = self._frames(indices, self.stride, look)
        grid = pixel_grid(self.size, self.size, indices.device)
        flow, segment = grid.repeat(len(indices), 1, 1, 1), one["segment"]
        at = image, row, column = (segment >= 0).nonzero().unbind(1)
        frames = image.new_tensor([frame for frame, *_ in SOLIDS.values()])
        own = image, frames[segment[at]]
        # To the coordinates of its own frame, and back from where that frame is later.
        point = torch.cat([grid[row, column], one["depth"][at][:, None]], 1)
        point = _apply(body["turn"][own].mT, point - body["origin"][own])
        point = _apply(later["turn"][own], point) + later["origin"][own]
        flow[at] = point[:, :2]
        solid = later["solid"][image].movedim(-1, 0)  # (15, N, parts)
        nearest = (cast(solid, point[:, :1], point[:, 1:2]) + solid[11]).amin(1)
        valid = torch.zeros_like(segment, dtype=torch.bool)
        seen = point[:, 2] < nearest + 1e-3
        valid[at] = seen & (point[:, :2].abs().amax(1) < 1)
        two = {f"{name}2": value for name, value in two.items()}
        return {**one, **two, "flow": flow, "flow_valid": valid}

    def _frames(self, indices: Tensor, later: int, look: Batch) -> tuple[Batch, Batch]:
        """The frames ``later`` after these, maybe past the film's end; their bodies."""
        film, time = indices // FILM, (indices % FILM + later).float() / RATE
        pose, view = self._pose(film, time)
        body = self._body(pose, view, look)
        image, mask, segment, depth = self._draw(look, body)
        # A landmark is seen on its own parts, and less than a limb's width inside.
        points = body["joint"][..., :2].contiguous()
        at = ((points + 1) * (self.size / 2)).floor().long().clamp(0, self.size - 1)
        at = at[..., 1] * self.size + at[..., 0]
        part, near = segment.flatten(1).gather(1, at), depth.flatten(1).gather(1, at)
        own = [[part in on for part in (*SOLIDS, "")] for *_, on in LANDMARKS.values()]
        own = torch.tensor(own, device=film.device)  # the last column: the room
        visible = own[torch.arange(len(own), device=film.device), part]
        visible &= body["joint"][..., 2] - near < 9.5 * look["unit"][:, None]
        visible &= points.abs().amax(-1) < 1
        one = {"image": image, "landmarks": points, "visible": visible, "mask": mask}
        one |= {"segment": segment, "depth": depth, "view": view}
        return one | {"label": film % len(self.actions)}, body

    def _pose(self, film: Tensor, time: Tensor) -> tuple[Batch, Tensor]:
        """Angles of joints in radians, ``(B,)`` or ``(B, 2)``; headings ``(B,)``."""
        u = uniform(film, 32, self.seed, stream=61)
        known = [self.action_names.index(name) for name in self.actions]
        action = film.new_tensor(known)[film % len(known)]
        walk, turning, wave, bend, stand = (action[:, None] == k for k in range(5))
        side, t, v = u.new_tensor([0.0, 0.5]), time[:, None], u[:, None].unbind(-1)

        def sway(k: int, rate: float) -> Tensor:  # (B,), a slow swing from -1 to 1
            rate = between(u[:, k], 0.7, 1.3) * rate
            return (math.tau * (time * rate + u[:, k + 1])).sin()

        strides = (walk | turning | (wave & (v[0] < 0.4))).float()
        pace = strides * between(v[1], 0.75, 1.15)  # (B, 1)
        phase = t * between(v[2], 0.75, 1.0) + v[3] + side  # (B, 2), in cycles
        beat = (math.tau * phase).cos()
        # Arms: who waves, waves with one or both; who stands does anything but wave.
        chosen = (side > 0) == (v[4] < 0.5)
        free = (u[:, 5:7] * len(GESTURES)).long()
        gesture = torch.where(stand & (free != 1), free, 0)
        gesture = torch.where(wave & (chosen | (v[7] > 0.8)), 1, gesture)
        table = u.new_tensor(GESTURES)[gesture]  # (B, 2, 6)
        swing, lift, elbow, up, bob, wag = table.unbind(-1)
        strength = 0.5 - 0.5 * (math.tau * (t * RATE / FILM + v[8])).cos()
        hold, rest = 1 - (1 - strength) ** 3, (gesture == 0).float()
        beats = (math.tau * (1.3 * t + v[9] + 0.3 * side)).sin()
        deep = bend * strength * between(v[10], 0.7, 1.2)
        crouch = 0.25 * deep * v[24]
        trunk = (0.025 + 0.05 * v[11] + deep)[:, 0]
        knee = 0.25 * _bump(phase, 0.15, 7.0) + 1.05 * _bump(phase, 0.73, 3.0)
        pitch = 0.35 * _bump(phase, 0.0, 8.0) - 0.8 * _bump(phase, 0.62, 5.0)
        drive = rest * (0.15 + 0.2 * v[22] + pace * (0.2 - 0.2 * beat))
        step, rock = pace[:, 0] * beat[:, 0], (math.tau * phase[:, 0]).sin()
        pose = {
            "bend": trunk,
            "twist": 0.13 * step + 0.08 * sway(12, 0.3),
            "roll": 0.04 * pace[:, 0] * rock + 0.04 * sway(14, 0.2),
            "look": 0.3 * sway(16, 0.25) + 0.4 * (u[:, 18] - 0.5),
            "nod": 0.12 * sway(19, 0.3) - 0.3 * deep[:, 0],
            "swing": hold * swing + rest * (deep - 0.42 * pace * beat + 0.04),
            "lift": (0.1 + 0.1 * v[21]).lerp(lift, hold * (1 - rest)),
            "elbow": hold * (elbow + bob * beats) + drive,
            "up": hold * (up + wag * beats),
            "spread": (0.02 + 0.06 * v[23] * (1 - strides)).expand(-1, 2),
            "hip": pace * (0.1 + 0.42 * beat) + 0.45 * trunk[:, None] + crouch,
            "knee": 0.06 + pace * knee + 2 * crouch,
            "pitch": pace * pitch,
        }
        # Within reach of straight front or back; those who turn sweep all of it.
        sweep = (math.pi * (time * RATE / FILM + 2 * u[:, 25])).sin()
        heading = 0.9 * (2 * u[:, 26] - 1) + 0.1 * sway(27, 0.3)
        heading = torch.where(turning[:, 0], sweep, heading) * math.radians(self.yaw)
        heading = heading + math.pi * (u[:, 29] < self.back)
        return pose, torch.remainder(heading + math.pi, math.tau) - math.pi

    def _look(self, film: Tensor) -> Batch:
        """What stays in a film: build, clothes, lamp, camera, and the room behind."""
        u = uniform(film, 40, self.seed, stream=62)
        w = 0.5 + self.variety * (u - 0.5)  # of the person

        def mix(row: tuple, k: int) -> Tensor:  # one of a row of colours, or in between
            colours, at = u.new_tensor(row), w[:, k] * (len(row) - 1)
            low = at.long().clamp(max=len(row) - 2)
            return colours[low].lerp(colours[low + 1], (at - low)[:, None])

        hue = (math.tau * (w[:, 3:4] + u.new_tensor([0, 0.36, 0.64]))).cos()
        shirt = between(w[:, 4:5], 0.2, 0.75) + between(w[:, 5:6], 0, 0.25) * hue
        pants = mix(PANTS, 6) * between(w[:, 7:8], 0.8, 1.2)
        clothes = [mix(SKIN, 0), mix(HAIR, 1), shirt, pants, mix(SHOES, 8)]
        short = w[:, 9:11] < u.new_tensor([0.45, 0.25])  # sleeves, trouser legs
        low, high = u.new_tensor([[0.94, 0.95, 0.9, 0.88, 0.98, 0.85],
                                  [1.04, 1.05, 1.1, 1.2, 1.05, 1.05]])  # fmt: skip
        growth = between(w[:, 20:26], low, high)  # unit, then GROWTH without "-"
        bald, bob = w[:, 26] < 0.08, w[:, 27] < 0.6
        growth[:, 4] = torch.where(bald, 0.88, growth[:, 4])
        growth[:, 5] = torch.where(bob, 0.3, growth[:, 5])
        unit, growth = UNIT * growth[:, 0], F.pad(growth[:, 1:], (1, 0), value=1)
        lamp = 1.6 * u[:, 13] - 0.8, torch.full_like(unit, -0.9), -0.8 - 0.5 * u[:, 14]
        power = u[:, 28:31].lerp(u[:, 28:29], 0.8) - 0.5
        return {
            "unit": unit,
            "growth": growth,
            "clothes": torch.stack(clothes, 1).clamp(0.03, 0.95),  # (B, 5, 3)
            "hem": torch.where(short, between(w[:, 11:13], 0.3, 0.95), 3.0),
            "stripes": (w[:, 15] > 0.7) * between(w[:, 16], 0.12, 0.3),
            "period": between(w[:, 17], 0.6, 1.1),
            "lamp": F.normalize(torch.stack(lamp, 1)),
            "power": 1 + 0.3 * self.light * power,  # (B, 3)
            "tilt": between(u[:, 31], 0.05, 0.17),
            "place": (u[:, 32] - 0.5) * 0.12,
            "room": self._room(film),
        }

    def _room(self, film: Tensor) -> Tensor:
        """Wall, floor and things before the wall, all still: ``(B, 3, H, W)``."""
        u = uniform(film, 80, self.seed, stream=63)[..., None, None, None]
        x, y = pixel_grid(self.size, self.size, film.device).unbind(-1)

        def tone(k: int, low: float, high: float) -> Tensor:  # (B, 3, 1, 1), a colour
            tint = u[:, k + 1 : k + 4, 0] - 0.5
            return between(u[:, k], low, high) + 0.09 * self.clutter * tint

        edge = y - between(u[:, 8], 0.25, 0.62)  # below the wall
        below = (edge * (self.size / 2) + 0.5).clamp(0, 1)
        room = tone(0, 0.45, 0.85).lerp(tone(4, 0.25, 0.65), below)
        room = room * (1 - 0.25 * (-14 * edge.abs()).exp())
        for k in range(10, 73, 9):  # pictures, cupboards, boxes, poles
            wide, high = between(u[:, k], 0.04, 0.3), between(u[:, k + 1], 0.05, 0.4)
            dy = y - between(u[:, k + 3], -0.9, 0.75)
            box = torch.maximum((x - 2 * u[:, k + 2] + 1).abs() - wide, dy.abs() - high)
            cover = (0.5 - box * (self.size / 2)).clamp(0, 0.85) * self.clutter
            paint = tone(k + 4, 0.15, 0.9) * (1 + 0.15 * (dy / high).clamp(-1, 1))
            room = room.lerp(paint, cover * (u[:, k + 8] < 0.6))
        for cells, stream in ((5, 64), (20, 65)):
            noise = uniform(film, cells**2, self.seed, stream).view(-1, 1, cells, cells)
            noise = F.interpolate(noise, y.shape, mode="bilinear", align_corners=False)
            room = room + 0.11 * self.clutter * (noise - 0.5)
        return room.clamp(0.02, 1)

    def _body(self, pose: Batch, view: Tensor, look: Batch) -> Batch:
        """Where the body is for the camera: its frames, its joints, and 15 numbers a
        solid: three rows of the matrix to its own coordinates (the second is its axis),
        the first ball's centre (3), distance to the second, both radii."""
        unit = look["unit"][:, None, None]
        turns, origin = skeleton(pose, look["growth"])
        camera = (turn(look["tilt"], 0) @ turn(-view, 1))[:, None]
        turns, origin = camera @ turns, _apply(camera, origin) * unit
        origin[..., 0] += look["place"][:, None]
        origin[..., 1] += FLOOR
        frame, shape, growth, _ = zip(*SOLIDS.values(), strict=True)
        shape = view.new_tensor(shape).repeat(len(view), 1, 1)  # (B, parts, 9)
        long, wide = zip(*growth, strict=True)
        shape[..., 4] *= look["growth"][:, long]
        shape[..., 5:7] *= look["growth"][:, wide, None]
        own = turns[:, frame]
        start = origin[:, frame] + _apply(own, shape[..., :3] * unit)
        stretch = F.pad(shape[..., 7:], (1, 0), value=1)[..., [1, 0, 2]]
        rows = (own @ turn(shape[..., 3].deg2rad(), 2)).mT / stretch[..., None]
        size = shape[..., 4:7] * unit
        # How far from its axis a ray meets a solid, and half a pixel's diagonal.
        reach = size[..., 1:].amax(-1) * stretch.amax(-1) + 1.5 / self.size
        frame, y, _ = zip(*LANDMARKS.values(), strict=True)
        along = view.new_tensor(y)[:, None] * unit
        joint = origin[:, frame] + turns[:, frame, :, 1] * along
        solid = torch.cat([rows.flatten(-2), start, size], -1)
        return {"turn": turns, "origin": origin, "joint": joint, "solid": solid,
                "reach": reach}  # fmt: skip

    def _draw(self, look: Batch, body: Batch) -> tuple[Tensor, ...]:
        """Image (B, 3, H, W), mask (B, 1, H, W), segment and depth (B, H, W)."""
        n, count, _ = body["solid"].shape
        size, rays, device = self.size, FINE**2, look["lamp"].device
        solid, reach = body["solid"].flatten(0, 1), body["reach"].flatten()
        # Pixels in the box around each solid, then those close to its axis.
        start, axis = solid[:, 9:11], solid[:, 3:5] * solid[:, 12:13]
        ends = torch.stack([start, start + axis])
        lower, upper = ends.amin(0) - reach[:, None], ends.amax(0) + reach[:, None]
        grid = pixel_grid(size, size, device)
        centres = grid[0, :, 0, None]
        near = (centres > lower[:, None]) & (centres < upper[:, None])  # (BP, size, 2)
        which, row, column = (near[:, :, 1, None] & near[:, None, :, 0]).nonzero().T
        place = row * size + column
        offset, axis = grid.flatten(0, 1)[place] - start[which], axis[which]
        t = (offset * axis).sum(1) / axis.square().sum(1).clamp(min=1e-9)
        offset = offset - t.clamp(0, 1)[:, None] * axis
        close = (offset.square().sum(1) < reach[which].square()).nonzero()[:, 0]
        which, place = which[close], place[close]
        # Nine rays a pixel; each keeps its nearest solid: depth and number share an
        # integer, so that the nearest is a plain minimum.
        xy = grid.flatten(0, 1)[place][:, None]
        xy = xy + pixel_grid(FINE, FINE, device).flatten(0, 1) / size  # (N, 9, 2)
        numbers = solid.T[:, which, None]
        depth = cast(numbers, xy[..., 0], xy[..., 1]) + numbers[11]
        number = (which % count).int()[:, None]
        key = ((depth.clamp(max=7) + 8) * 2**20).int() * 32 + number  # below 2**29
        key.masked_fill_(depth.isinf(), NOTHING)
        pixel = which // count * size**2 + place
        keys = key.new_full((n * size**2, rays), NOTHING)
        keys.scatter_reduce_(0, pixel[:, None].expand(-1, rays), key, "amin")
        won = (keys[pixel] == key) & (key < NOTHING)
        centre = keys[:, rays // 2].view(n, size, size)
        segment = torch.where(centre < NOTHING, centre % 32, -1).long()
        far = torch.where(centre < NOTHING, (centre // 32) / 2**20 - 8, math.inf)
        # A solid is coloured once a pixel, in the middle of the rays that it won.
        weight = won.sum(1)
        some = weight.nonzero()[:, 0]
        won, pixel, weight = won[some, :, None], pixel[some], weight[some, None]
        point = torch.cat([xy[some], depth[some, :, None]], 2)
        point = torch.where(won, point, 0).sum(1) / weight  # (N, 3)
        colour = self._shade(look, solid, which[some], point)
        # What lies behind something nearer is a little darker.
        depths = torch.where(far.isinf(), 1.0, far).unsqueeze(1)
        width = 2 * round(size / 32) + 1
        depths = F.avg_pool2d(depths, width, 1, width // 2, count_include_pad=False)
        behind = point[:, 2:] - depths.flatten()[pixel, None]
        colour = colour * (1 - 4 * self.light * behind.clamp(0, 0.12))
        canvas = colour.new_zeros(n * size**2, 4)
        colour = F.pad(colour, (0, 1), value=1) * (weight / rays)
        canvas = canvas.index_add_(0, pixel, colour).view(n, size, size, 4)
        canvas = canvas.permute(0, 3, 1, 2)
        cover = canvas[:, 3:].contiguous()
        image = look["room"] * self._shadow(look, body, centres[:, 0])
        image = image * look["power"][..., None, None] * (1 - cover) + canvas[:, :3]
        return image.clamp(0, 1), cover, segment, far

    def _shadow(self, look: Batch, body: Batch, centres: Tensor) -> Tensor:
        """How much light the room keeps, ``(B, 1, H, W)``: soft spots on the floor,
        around the feet and below the trunk."""
        flat = look["tilt"].sin()[:, None]
        spots = body["origin"][:, [0, 11, 12]]  # (B, 3, 3)
        floor = torch.cat([FLOOR - spots[:, :1, 2] * flat, spots[:, 1:, 1] + 0.03], 1)
        wide = spots.new_tensor([0.3, 0.13, 0.13])
        x = (centres - spots[..., :1]) / wide[:, None]  # (B, 3, W)
        y = (centres - floor[..., None]) / (wide * (0.12 + flat))[..., None]
        dark = -spots.new_tensor([[0.35], [0.45], [0.45]]) * self.light
        shade = 1 + (-y * y).exp().unsqueeze(3) * (dark * (-x * x).exp()).unsqueeze(2)
        return shade.prod(1, keepdim=True)

    def _shade(self, look: Batch, solid: Tensor, which: Tensor, point: Tensor):
        """Colours ``(N, 3)`` of points ``(N, 3)`` of solids ``which``."""
        image, part = which // len(SOLIDS), which % len(SOLIDS)
        numbers = solid[which]
        rows, long, r, r2 = numbers[:, :9].view(-1, 3, 3), *numbers[:, 12:].T
        q = _apply(rows, point - numbers[:, 9:12])
        # The normal points away from the nearest ball's centre on the axis.
        taper = (r - r2) / long
        foot = ((q[:, 1] - taper * r) / (1 - taper * taper)).clamp(min=0)
        out = torch.stack([q[:, 0], q[:, 1] - torch.minimum(foot, long), q[:, 2]], 1)
        normal = F.normalize(_apply(rows.mT, out))
        paint = part.new_tensor([paint for *_, paint in SOLIDS.values()])
        first, bare, hem = paint[part].T
        end = look["hem"][image, (first == 3).long()]  # of sleeve or trouser leg
        cloth = torch.where(q[:, 1] > (end - hem) * long, bare, first)
        wardrobe, number = look["clothes"].flatten(0, 1), image * len(CLOTHES)
        colour = wardrobe[number + cloth]
        x, y, z = (q / look["unit"][image, None]).T  # hundredths of a height
        grain = (0.5 * x + 0.3 * y).sin() + (0.45 * y - 0.6 * z).cos()
        stripe = (y * look["period"][image]).sin().mul(3).clamp(-1, 1)
        stripe = stripe * look["stripes"][image] * (cloth == 2)
        colour = colour * (1 + 0.05 * grain * (cloth > 1) + stripe)[:, None]
        head = part == list(SOLIDS).index("head")
        if self.face:
            front, x = head & (z < 0), x.abs()
            eye = front & (((x - 2.2) / 0.9) ** 2 + ((y - 1.0) / 0.65) ** 2 < 1)
            brow = front & ((x - 2.2).abs() < 1.4) & ((y + 0.6).abs() < 0.3)
            mouth = front & (x < 1.6) & ((y - 5.0).abs() < 0.4)
            ink = [[1, 1, 1], [0.4] * 3, [0.55] * 3, [0.85, 0.5, 0.5]]
            colour = (
                colour
                * colour.new_tensor(ink)[eye + 2 * brow.long() + 3 * mouth.long()]
            )
        else:  # a hood
            colour = torch.where(head[:, None], wardrobe[number + 1], colour)
        facing = (normal * look["lamp"][image]).sum(1)
        lit = 0.5 + 0.7 * (0.35 + 0.65 * facing).clamp(min=0) - 0.2 * (1 + normal[:, 2])
        lit = 1 + self.light * (lit - 1)
        return colour * lit[:, None] * look["power"][image]
