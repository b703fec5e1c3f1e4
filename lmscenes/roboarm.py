"""Roboarm: a robot arm in motion, with exact optical flow; a stand-in for the animated
arm that DVE is tested on (Thewlis et al. 2019, section 4.4: about 24,000 frames of
90x90 pixels; matching is measured at the centres of the robot's segments).

The robot is ours: a base that slides a little, three arms, a hand, two fingers. As in
the paper there is only one; its pose changes and, mildly, the light. On purpose the
three arms look the same, as do both fingers: their place in the chain tells them apart.

Image ``i`` is frame ``i % FILM`` of film ``i // FILM``, which goes from one random pose
to the next; its light and background stay. All motion lies in the image plane, so a
pixel's flow is its segment's turn and shift: exact, not estimated. A segment lies in
front of the one that carries it; rims, gloss and shadows make it look solid.

Knobs: ``stride``, frames from the first to the second image of ``pair``; ``swing``,
share of the joints' range in use; ``alike``, False paints every segment another colour;
``texture``, strength of the markings; ``light``, 0 is one lamp at the camera and no
shadows, so that a point keeps its colour; ``background``, its lightest gray.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.geometry import pixel_grid
from lmlib.samples import Batch
from lmscenes.engine import as_indices, between, first_valid, rotation, uniform
from lmscenes.shared import check_knobs, check_size, check_stride

FILM, KEY = 120, 30  # frames of a film, frames from one random pose to the next
TRIES = 12  # poses tried; the chance that none stays in the frame is below 1e-4
SHOULDER = 0.52  # its height; lengths are units of [-1, 1]: .1 is 4.5 pixels of 90
ARM = (0.40, 0.37, 0.33)  # from joint to joint
PIVOT = ((0.17, -0.08), (0.17, 0.08))  # of the fingers, on the hand
# Of a pose, low and high: slide; shoulder, two elbows, wrist, half the grip in radians.
RANGE = ((-0.2, 0.2), (-1.9, 1.9), (-2.9, 2.9), (-2.9, 2.9), (-2.4, 2.4), (0.04, 0.75))
FILLET, HALO, SPAN = 0.04, 0.07, 0.35  # rounding; shadow's edge; reach from centre
ORANGE, STEEL, PALE = (0.95, 0.45, 0.08), (0.5, 0.55, 0.62), (0.84, 0.86, 0.88)
DARK, YELLOW = (0.13, 0.14, 0.17), (0.98, 0.8, 0.12)
# Boxes painted on a segment: centre from the segment's centre, half sides, colour.
PLATES = (0, 0, 0.09, 0.034, DARK), (-0.045, 0, 0.021, 0.021, PALE)
PLATES += ((0.07, 0, 0.015, 0.12, PALE),)
SLOTS = (0, -0.01, 0.075, 0.022, DARK), (0, 0.15, 0.4, 0.07, YELLOW)
BAND, TIP = ((-0.028, 0, 0.022, 0.2, YELLOW),), ((0.1, 0, 0.05, 0.1, DARK),)


def arm(long: float, r: float) -> tuple:
    beam, end = (0, 0, long, 0, 0.66 * r, 0.6 * r), (long, 0, long, 0, 0.9 * r, 0.9 * r)
    caps = ((0, 0.66 * r), (long, 0.6 * r))
    return (beam, (0, 0, 0, 0, r, r), end), (long / 2, 0), caps, ORANGE, PLATES


def finger(y: int) -> tuple:
    bend = (0.09, 0.05 * y)
    lines = ((0, 0, *bend, 0.056, 0.052), (*bend, 0.2, -0.03 * y, 0.052, 0.036))
    return lines, (0.1, 0.03 * y), (), PALE, TIP


# In the segment's own frame (x along it, the origin in the joint that carries it):
# thick lines (x, y) to (x, y) with a radius at each end; the centre, which is the
# landmark; caps on joints (x, radius); colour; boxes. Farthest layer first.
BASE = (0, 0, 0, 0.22, 0.13, 0.17), (-0.23, 0.34, 0.23, 0.34, 0.07, 0.07)
HAND = (0, 0, 0.14, 0, 0.09, 0.09), (0.15, -0.09, 0.15, 0.09, 0.07, 0.07)
SEGMENTS = {
    "base": (BASE, (0, 0.2), ((0, 0.08),), STEEL, SLOTS),
    "lower arm": arm(ARM[0], 0.125),
    "upper arm": arm(ARM[1], 0.12),
    "forearm": arm(ARM[2], 0.115),
    "hand": (HAND, (0.13, 0), ((0, 0.06),), STEEL, BAND),
    "left finger": finger(-1),
    "right finger": finger(1),
}


def kinematics(pose: Tensor) -> tuple[Tensor, Tensor]:
    """Poses ``(..., 6)`` (see RANGE, radians) to where the segments are, in the order
    of ``Roboarm.names``: origins ``(..., 7, 2)`` and angles ``(..., 7)``."""
    slide, joints, grip = pose[..., :1], pose[..., 1:5], pose[..., 5:]
    turn = joints.cumsum(-1) - math.pi / 2  # y points down: this is upright
    step = rotation(turn[..., :3])[..., 0] * pose.new_tensor(ARM)[:, None]
    base = torch.cat([slide, torch.full_like(slide, SHOULDER)], -1).unsqueeze(-2)
    place = torch.cat([base, base, base + step.cumsum(-2)], -2)  # the last: the wrist
    fingers = pose.new_tensor(PIVOT) @ rotation(turn[..., 3]).mT + place[..., 4:, :]
    spread = torch.cat([-grip, grip], -1) + turn[..., 3:]
    angle = torch.cat([torch.zeros_like(slide), turn, spread], -1)
    return torch.cat([place, fingers], -2), angle


def solid(lines: tuple, x: Tensor, y: Tensor) -> Tensor:
    """Smooth union of thick lines at points of a segment's frame: ``(4, N)``, signed
    distance (negative inside), direction to the outside (2), radius."""
    whole = None
    for ax, ay, bx, by, ra, rb in lines:
        ex, ey = bx - ax, by - ay
        t = ((x - ax) * ex + (y - ay) * ey) / max(ex * ex + ey * ey, 1e-9)
        t = t.clamp_(0, 1)
        gx, gy = x - ax - t * ex, y - ay - t * ey
        far, r = torch.hypot(gx, gy).clamp_(min=1e-6), ra + t * (rb - ra)
        one = torch.stack([far - r, gx / far, gy / far, r])
        if whole is not None:
            share = ((whole[0] - one[0]) / (2 * FILLET) + 0.5).clamp_(0, 1)
            one = whole.lerp_(one, share)
            one[0] -= FILLET * share * (1 - share)
        whole = one
    return whole


class Roboarm:
    """Batch adds ``mask`` (B, 1, H, W), coverage of the arm; ``segment`` (B, H, W),
    number in ``names`` of what a pixel's centre shows, -1 for the background;
    ``origin`` (B, 7, 2) and ``angle`` (B, 7) of the segments' own frames.

    ``landmarks`` (B, 7, 2) are the segments' centres; one is visible if the pixel it
    lies in shows its own segment.
    """

    names = tuple(SEGMENTS)

    def __init__(
        self,
        size: int = 90,
        seed: int = 0,
        *,
        stride: int = 1,
        swing: float = 1.0,
        alike: bool = True,
        texture: float = 1.0,
        light: float = 1.0,
        background: float = 0.3,
    ):
        check_size("Roboarm", size, 32, 512)
        check_knobs(
            0, 1, swing=swing, texture=texture, light=light, background=background
        )
        self.size, self.seed, self.swing = size, seed, swing
        self.stride = check_stride(stride, FILM)
        self.alike, self.texture, self.light = alike, texture, light
        self.background = background

    def batch(self, indices, device=None) -> Batch:
        indices = as_indices(indices, device)
        return {**self._frames(indices, 0), "index": indices}

    def pair(self, indices, device=None) -> Batch:
        """A batch, and the same of the frames ``stride`` later in the same films:
        ``image2``, ``landmarks2``, ``visible2``, ``mask2``, ``segment2``, ...

        ``flow`` (B, H, W, 2) is the point in the second image of what a pixel of the
        first shows; background stays. ``flow_valid`` (B, H, W): the pixel is on the
        arm, and its point is seen in the second image.
        """
        one = self.batch(indices, device)
        two = self._frames(one["index"], self.stride)
        n, segment = len(one["index"]), one["segment"].flatten(1)
        own = torch.arange(n, device=segment.device)[:, None], segment.clamp(min=0)
        grid = pixel_grid(self.size, self.size, segment.device).flatten(0, 1)
        turn = rotation(two["angle"] - one["angle"])[own]  # (B, HW, 2, 2)
        flow = (turn * (grid - one["origin"][own])[:, :, None]).sum(-1)
        flow = flow + two["origin"][own]
        flow = torch.where(segment[..., None] >= 0, flow, grid)
        valid = (segment >= 0) & (self._look(two["segment"], flow) == segment)
        flow, valid = (t.unflatten(1, (self.size, self.size)) for t in (flow, valid))
        two = {f"{name}2": value for name, value in two.items()}
        return {**one, **two, "flow": flow, "flow_valid": valid}

    def _look(self, segment: Tensor, points: Tensor) -> Tensor:
        """What the pixels show that points ``(B, N, 2)`` lie in; -2 off the frame."""
        at = ((points + 1) * (self.size / 2)).floor().long().clamp(0, self.size - 1)
        shown = segment.flatten(1).gather(1, at[..., 1] * self.size + at[..., 0])
        return shown.masked_fill(points.abs().amax(-1) >= 1, -2)

    def _frames(self, indices: Tensor, later: int) -> Batch:
        """The frames ``later`` after these, maybe past the film's end."""
        film, time = indices // FILM, indices % FILM + later
        place, angle = kinematics(self._pose(film, time))
        centre = place.new_tensor([SEGMENTS[name][1] for name in self.names])
        landmarks = place + (rotation(angle) @ centre[..., None])[..., 0]
        image, mask, segment = self._draw(film, place, angle, landmarks)
        visible = self._look(segment, landmarks) == torch.arange(7, device=film.device)
        one = {"image": image, "landmarks": landmarks, "visible": visible, "mask": mask}
        return {**one, "segment": segment, "origin": place, "angle": angle}

    def _pose(self, film: Tensor, time: Tensor) -> Tensor:
        """Poses ``(B, 6)``: between two random ones that keep the arm in the frame."""
        n, key = len(film), film * 64 + time // KEY
        u = uniform(torch.cat([key, key + 1]), 6 * TRIES, self.seed, stream=51)
        u = (u.reshape(2 * n, TRIES, 6) - 0.5) * self.swing + 0.5
        tries = between(u, *u.new_tensor(RANGE).T)
        (pose,) = first_valid(kinematics(tries)[0].abs().amax((-2, -1)) < 0.78, tries)
        t = (time % KEY).float()[:, None] / KEY
        ease = t - 0.75 / math.tau * (math.tau * t).sin()  # slow at both ends
        return pose[:n].lerp(pose[n:], ease)

    def _draw(self, film, place, angle, centre) -> tuple:
        """Image (B, 3, H, W), mask (B, 1, H, W), segment (B, H, W), back to front."""
        n, size = len(film), self.size
        u = uniform(film, 5, self.seed, stream=52)
        lamp = (u[:, :1] * 2 - 1 - u.new_tensor([0, 1.5708])).sin() * 0.85 * self.light
        power = 1 + 0.4 * self.light * (u[:, 1:4].lerp(u[:, 1:2], 0.8) - 0.5)  # (B, 3)
        gray = between(u[:, 4:], 0.1, 1) * self.background * power
        canvas = F.pad(gray, (0, 2)).T[..., None].repeat(1, 1, size**2).flatten(1)
        grid = pixel_grid(size, size, u.device).flatten(0, 1)
        for k, name in enumerate(self.names):
            frame = rotation(angle[:, k])
            # Distances are computed in a disc around the segment, colours close to it.
            image, at = (torch.cdist(centre[:, k], grid) < SPAN + HALO).nonzero().T
            x, y = (grid[at] - place[image, k]).unbind(1)
            cos, sin = frame[image, :, 0].unbind(1)
            x, y = cos * x + sin * y, cos * y - sin * x  # in its own frame
            spots = torch.cat([torch.stack([x, y]), solid(SEGMENTS[name][0], x, y)])
            close = spots[2] < HALO
            image, at, spots = image[close], at[close], spots[:, close]
            local = (lamp[:, None] @ frame)[:, 0]
            colour = self._shade(name, spots, local[image].T, power[image].T)
            at = at + image * size**2
            old, cover = canvas[:, at], (0.5 - spots[2] * (size / 2)).clamp(0, 1)
            halo = (1 - spots[2] / HALO).clamp(0, 1).square()
            old[:3] *= 1 - 0.55 * self.light * halo * old[3]  # its shadow on the arm
            old[:4].lerp_(F.pad(colour, (0, 0, 0, 1), value=1), cover)
            old[4].masked_fill_(cover > 0.5, k + 1)  # 0 is background
            canvas[:, at] = old
        canvas = canvas.unflatten(1, (n, size, size))
        image = canvas[:3].transpose(0, 1).clamp(0, 1).contiguous()
        return image, canvas[3, :, None], canvas[4].long() - 1

    def _shade(self, name: str, spots: Tensor, lamp: Tensor, power: Tensor) -> Tensor:
        """Colours ``(3, N)`` of a segment at points of its own frame."""
        x, y, distance, *outside, radius = spots
        _, centre, caps, body, boxes = SEGMENTS[name]
        hue = torch.arange(3) / 3 + self.names.index(name) * 2 / 7
        body = body if self.alike else (0.55 + 0.4 * (math.tau * hue).cos()).tolist()
        grain = (61 * x + 9).sin() * (53 * y + 4).cos() + (37 * x - 43 * y).sin()
        base = x.new_tensor(body)[:, None] * (1 + 0.07 * self.texture * grain)

        def paint(colour, distance, strength):
            weight = (0.5 - distance * (self.size / 2)).clamp_(0, 1) * strength
            base.lerp_(base.new_tensor(colour)[:, None].expand_as(base), weight)
            return weight

        for mx, my, wide, high, colour in boxes:
            across = (y - centre[1] - my).abs() - high
            box = torch.maximum((x - centre[0] - mx).abs() - wide, across)
            paint(colour, box, self.texture)
        if name == "base":  # stripes on the last box, the foot
            paint(DARK, torch.maximum(((x + y) * 24).sin() / 24, box), self.texture)
        normal = torch.stack(outside) * (1.3 * distance / radius + 0.92).clamp(0, 0.92)
        for cx, r in caps:  # domed
            far = torch.hypot(x - cx, y)
            dome = torch.stack([x - cx, y]) * (0.7 / r)
            normal = normal.lerp(dome, paint(STEEL, far - r, 1))
            paint(DARK, (far - r).abs() - 0.008, 0.75)
            paint(DARK, far - 0.3 * r, 0.9)
        nz, lz = ((1 - v.square().sum(0)).clamp(0.05).sqrt() for v in (normal, lamp))
        facing = (normal * lamp).sum(0) + nz * lz
        gloss = ((facing + nz) / (2 + 2 * lz).sqrt()).clamp(min=0) ** 30 * self.light
        return base * (0.3 + 0.85 * facing.clamp(min=0)) * power + 0.3 * gloss
