"""Hands: articulated hands in 3-D, a stand-in for HGR1 (Honari et al. 2018, section
4.3): 25 landmarks, 27 gestures, 12 subjects, occluded points, uncontrolled light.

A gesture is a row of joint angles. Forward kinematics turns them into bones; every bone
is a tapered capsule; their smooth union, seen from the front, is a height field: what
is highest is seen, what lies below is occluded. Texture (nails, creases, lines of the
palm) is painted in the coordinates of the bone that each pixel shows.

Hand frame in centimetres, origin in the wrist: x to the thumb, y to the fingertips, z
out of the palm. It is a right hand. In the camera frame x is right, y *up* and z to the
viewer; only the last step turns y down. The paper does not list the points between the
wrist's two sides (1 and 25); ours are the joints, the tips and three webs (``names``).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.geometry import pixel_grid
from lmlib.samples import Batch, to_gray
from lmscenes.engine import as_indices, between, uniform
from lmscenes.shared import check_knobs, check_size, smooth_max, turn

FINGERS = ("index", "middle", "ring", "little")
# Bend of the three joints of a finger, in degrees.
BEND = {
    "straight": (3, 6, 4),
    "folded": (80, 100, 52),
    "hooked": (10, 82, 50),
    "curved": (38, 40, 26),
    "touching": (55, 43, 27),
}
# Thumb: radial and palmar angle of its metacarpal, turn of its pad, bend of two joints.
THUMB = {
    "out": (48, 12, 35, 2, -6),
    "along": (24, 8, 25, 16, 4),
    "over": (20, 42, 5, 40, 42),
    "across": (14, 36, 15, 38, 30),
    "opposed": (30, 52, 20, 18, 22),
    "touch": (25, 33, 22, 17, 25),
    "reach": (14, 42, 10, 27, 26),
}
# name: thumb, index, middle, ring, little (first letters, see BEND), sideways angles of
# the fingers (positive to the thumb), view: pitch, yaw (180: the back), roll.
CLOSED, OPEN = (-3, 0, 3, 5), (11, 2, -8, -20)
GESTURES = {
    "flat": ("along", "ssss", CLOSED, (0, 0, 0)),
    "spread": ("out", "ssss", OPEN, (0, 0, 0)),
    "fist": ("over", "ffff", CLOSED, (0, 0, 0)),
    "thumb up": ("out", "ffff", CLOSED, (0, 15, 45)),
    "pointing": ("over", "sfff", CLOSED, (0, 0, 0)),
    "L": ("out", "sfff", (4, 0, 3, 5), (0, 0, 0)),
    "victory": ("across", "ssff", (12, -8, 3, 5), (0, 0, 0)),
    "two together": ("across", "ssff", CLOSED, (0, 0, 0)),
    "crossed": ("across", "ssff", (-10, 12, 3, 5), (0, 0, 0)),
    "three": ("across", "sssf", (12, 0, -12, 5), (0, 0, 0)),
    "four": ("across", "ssss", (9, 2, -6, -15), (0, 0, 0)),
    "thumb and two": ("out", "ssff", (10, -6, 3, 5), (0, 0, 0)),
    "ok": ("touch", "tsss", (0, 2, -6, -14), (0, 35, 0)),
    "horns": ("over", "sffs", (3, 0, 3, -6), (0, 0, 0)),
    "love": ("out", "sffs", (5, 0, 3, -10), (0, 0, 0)),
    "call me": ("out", "fffs", (-3, 0, 3, -14), (0, 0, 0)),
    "little finger": ("over", "fffs", (-3, 0, 3, -2), (0, 0, 0)),
    "claw": ("opposed", "hhhh", OPEN, (0, 0, 0)),
    "C": ("opposed", "cccc", CLOSED, (0, 45, 0)),
    "O": ("touch", "tttt", CLOSED, (0, 40, 0)),
    "pinch": ("touch", "tfff", (0, 0, 3, 5), (0, 35, 0)),
    "hook": ("over", "hfff", CLOSED, (0, 30, 0)),
    "salute": ("along", "ssss", (7, 3, -7, -8), (0, 0, 0)),
    "ring to thumb": ("reach", "ssts", (9, 2, 0, -15), (0, 25, 0)),
    "back, flat": ("along", "ssss", CLOSED, (0, 180, 0)),
    "back, spread": ("out", "ssss", OPEN, (0, 180, 0)),
    "back, victory": ("across", "ssff", (12, -8, 3, 5), (0, 180, 0)),
}
# Lengths in centimetres of a hand 18.7 long (means of adults), thumb first.
KNUCKLE = [[2.0, 2.3, 0.7], [3.05, 8.8, 0], [1.0, 9.1, -0.2], [-1.0, 8.6, -0.1]]
KNUCKLE += [[-2.85, 7.8, 0.15]]
LENGTH = [[4.5, 3.2, 2.5], [4.1, 2.4, 2.0], [4.5, 2.7, 2.1], [4.2, 2.6, 2.1]]
LENGTH += [[3.3, 1.9, 1.9]]
RADIUS = [[1.5, 1.15, 1.06, 0.8], [1.08, 1.0, 0.88, 0.72], [1.09, 1.02, 0.9, 0.73]]
RADIUS += [[1.04, 0.97, 0.85, 0.69], [0.93, 0.84, 0.75, 0.62]]
CONVERGE = [0.0, -0.08, 0.0, 0.1, 0.2]  # bent fingers point to the base of the thumb
SKIN = [(0.96, 0.80, 0.70), (0.90, 0.70, 0.57), (0.78, 0.56, 0.42)]
SKIN += [(0.60, 0.40, 0.28), (0.43, 0.28, 0.20), (0.29, 0.19, 0.14)]
# Bones are numbered: 0-14 digits (three each, thumb first), then palm, arm and sleeve.
PALM, ARM, SLEEVE, N_BONES = 15, 27, 29, 31
TILE = 8  # pixels: a bone is drawn only into the tiles it may touch
FAR = -9.0  # cm: height where there is no hand


def gesture_table() -> dict[str, Tensor]:
    """The gestures in radians: ``thumb`` (27, 5), ``bend`` (27, 4, 3), ``side``
    (27, 4), ``view`` (27, 3)."""
    code = {name[0]: angles for name, angles in BEND.items()}
    rows = {"thumb": [], "bend": [], "side": [], "view": []}
    for thumb, fingers, side, view in GESTURES.values():
        rows["thumb"].append(THUMB[thumb])
        rows["bend"].append([code[finger] for finger in fingers])
        rows["side"].append(side)
        rows["view"].append(view)
    return {k: torch.tensor(v, dtype=torch.float32).deg2rad() for k, v in rows.items()}


def unit(v: Tensor) -> Tensor:
    return v / v.norm(dim=-1, keepdim=True).clamp(min=1e-6)


def digits(thumb, bend, side, knuckle, length) -> tuple[Tensor, Tensor, Tensor]:
    """Forward kinematics in the hand frame.

    ``thumb`` (B, 5), ``bend`` (B, 4, 3), ``side`` (B, 4) radians; ``knuckle`` (B, 5, 3)
    and ``length`` (B, 5, 3) cm. Returns joints (B, 5, 4, 3), knuckle to tip, and for
    each bone its direction and the one its palmar side faces, both (B, 5, 3, 3). A
    digit bends in one plane, so its angles simply add up.
    """
    radial, palmar, pad = thumb[:, :3].unbind(1)
    first = torch.stack(
        [radial.sin() * palmar.cos(), radial.cos() * palmar.cos(), palmar.sin()], -1
    )
    facing = torch.stack([-pad.cos(), torch.zeros_like(pad), pad.sin()], -1)
    straight = torch.stack([side.sin(), side.cos(), torch.zeros_like(side)], -1)
    straight = torch.cat([first[:, None], straight], 1)  # (B, 5, 3)
    lean = side.new_tensor(CONVERGE[1:])
    inward = torch.stack([lean, torch.zeros_like(lean), torch.ones_like(lean)], -1)
    plane = torch.cat([facing[:, None], inward.expand(len(side), -1, -1)], 1)
    plane = unit(plane - (plane * straight).sum(-1, keepdim=True) * straight)
    none = torch.zeros_like(thumb[:, :1])
    angle = torch.cat([torch.cat([none, thumb[:, 3:]], 1)[:, None], bend], 1).cumsum(2)
    cos, sin = angle.cos()[..., None], angle.sin()[..., None]  # (B, 5, 3, 1)
    along = cos * straight[:, :, None] + sin * plane[:, :, None]
    faces = cos * plane[:, :, None] - sin * straight[:, :, None]
    steps = along * length[..., None]
    joints = torch.cat([knuckle[:, :, None], steps], 2).cumsum(2)
    return joints, along, faces


class Hands:
    """Batch adds ``label`` (B,) gesture, ``subject`` (B,), ``mask`` (B, 1, H, W): skin.

    Gestures and subjects go round: any run of 27 images holds every gesture, any run of
    27 * subjects every pair. Knobs of difficulty: ``background`` and ``illumination``
    (False: plain grey, one fixed light), ``roll`` and ``tilt`` (largest turn in and out
    of the image plane, degrees), ``jitter`` (degrees of every joint), ``subjects``.
    """

    names = (
        "wrist, thumb side",
        *(f"thumb {part}" for part in ("base", "knuckle", "joint", "tip")),
        *(f"{f} {p}" for f in FINGERS for p in ("knuckle", "middle", "end", "tip")),
        *("web index-middle", "web middle-ring", "web ring-little"),
        "wrist, little side",
    )
    classes = tuple(GESTURES)

    def __init__(
        self,
        size: int = 64,
        seed: int = 0,
        *,
        gray: bool = False,
        subjects: int = 12,
        background: bool = True,
        illumination: bool = True,
        roll: float = 20.0,
        tilt: float = 25.0,
        jitter: float = 6.0,
    ):
        check_size("Hands", size, 32, 512)
        if subjects < 1:
            raise ValueError(f"Hands needs at least one subject, got {subjects}")
        check_knobs(0, 180, "degrees", roll=roll)
        check_knobs(0, 45, "degrees", tilt=tilt)
        check_knobs(0, 15, "degrees", jitter=jitter)
        self.size, self.seed, self.gray, self.subjects = size, seed, gray, subjects
        self.background, self.illumination = background, illumination
        self.roll, self.tilt, self.jitter = roll, tilt, jitter
        self.table = gesture_table()

    def batch(self, indices, device=None) -> Batch:
        indices = as_indices(indices, device)
        label = indices % len(GESTURES)
        subject = indices // len(GESTURES) % self.subjects
        person = uniform(subject, 20, self.seed, stream=11)
        # Golden-ratio steps spread the skin tones evenly, however many subjects.
        person[:, 9] = (subject * 0.618034 + 0.37 + 0.2 * person[:, 9]) % 1
        u = uniform(indices, 40, self.seed, stream=12)
        if not self.illumination:
            u[:, 30:35] = 0.4
        bones, points, flesh = self._pose(label, person, u)
        side = self.size * (2 if self.size <= 96 else 1)  # drawn at twice the size
        height, edge, which = surface(bones, side)
        pixel = 2 / side / bones["unit"][:, None, None]  # cm
        solid = (edge / pixel + 0.5).clamp_(0, 1)  # hand and sleeve
        skin = solid * (which < SLEEVE)
        front = self._shade(bones, person, u, indices, height, which, solid) * solid
        front = torch.stack([*front, solid, skin], 1)  # (B, 5, side, side)
        front = F.avg_pool2d(front, side // self.size)
        image, solid, mask = front.split([3, 1, 1], 1)
        image = (image + (1 - solid) * self._behind(u, indices, solid)).clamp(0, 1)
        if self.gray:
            image = to_gray(image)

        # A point is seen if only its own flesh or a bone that ends in it lies above.
        xy = points[..., :2] * points.new_tensor([1, -1]) * bones["unit"][:, None, None]
        at = ((xy + 1) * (side / 2)).long().clamp(0, side - 1)
        rows = torch.arange(len(at), device=at.device)[:, None]
        above, seen = (x[rows, at[..., 1], at[..., 0]] for x in (height, which))
        visible = above - points[..., 2] < flesh
        joint = torch.arange(20, device=at.device)
        bone = joint // 4 * 3 + joint % 4  # the one that starts in the joint
        seen = seen[:, 1:21].long()
        own = (seen == bone) & (joint % 4 < 3) | (seen == bone - 1) & (joint % 4 > 0)
        visible[:, 1:21] |= own
        return {
            "image": image,
            "landmarks": xy,
            "visible": visible,
            "index": indices,
            "label": label,
            "subject": subject,
            "mask": mask,
        }

    def _pose(self, label, person, u):
        """Bones and landmarks in the camera frame: cm from the centre of the image.

        Bones: ends ``a``, ``b`` (B, 31, 3), radii ``ra``, ``rb`` (B, 31); ``origin``
        (B, 31, 3) and ``frame`` (B, 31, 3, 3), rows along, across, palmar, for texture.
        ``unit`` (B,) is the size of 1 cm in the image. Landmarks (B, 25, 3), and how
        deep in the flesh each may lie (B, 25).
        """
        n, cm = len(label), u.new_tensor
        gesture = {k: v.to(u.device)[label] for k, v in self.table.items()}
        noise = (u[:, :21] * 2 - 1) * math.radians(self.jitter)
        thumb = gesture["thumb"] + noise[:, :5] * 0.7
        bend = gesture["bend"] + noise[:, 5:17].reshape(n, 4, 3)
        side = gesture["side"] + noise[:, 17:21] * 0.5
        thick = between(person[:, :1], 0.9, 1.12)  # (B, 1)
        wide = between(person[:, 1:2], 0.92, 1.08)
        stretch = torch.cat([wide, torch.ones_like(wide), thick], 1)
        digit = between(person[:, 2:7], 0.94, 1.06) * between(
            person[:, 7:8], 0.94, 1.06
        )
        radius = cm(RADIUS) * thick[..., None]
        joints, along, faces = digits(
            thumb,
            bend.clamp(min=-0.05),
            side,
            cm(KNUCKLE) * stretch[:, None],
            cm(LENGTH) * digit[..., None],
        )

        flesh = []  # of palm, arm and sleeve: ends and radii in the hand frame

        def place(x, y, z):
            return cm([x, y, z]) * stretch

        def add(a, b, ra, rb):
            flesh.append(torch.cat([a, b, ra * thick, rb * thick], 1))

        root, first = joints[:, :, 0], joints[:, :, 1]
        for f, x in enumerate((1.3, 0.4, -0.4, -1.3), 1):  # metacarpals
            add(place(x, 0.9, 0), root[:, f], 1.4, 1.2 if f < 4 else 1.1)
        add(place(-1.9, 1.6, 0.35), place(-2.6, 5.6, 0.5), 1.35, 1.3)  # little's ball
        add(place(1.5, 1.8, 0.4), first[:, 0] * 0.55 + cm([1, 2.8, 0.2]), 1.45, 1.25)
        add(root[:, 1] * 0.95, root[:, 4] * 0.95, 1.35, 1.2)  # pad below the knuckles
        add(place(0, 0.6, -0.1), place(0.1, 7.6, -0.2), 1.9, 2.0)  # middle of the palm
        web = root[:, 1:] + 0.38 * (first[:, 1:] - root[:, 1:])
        for f in range(3):
            add(web[:, f], web[:, f + 1], 0.55, 0.55)
        add(root[:, 0].lerp(first[:, 0], 0.6), place(2.3, 6.4, 0), 0.9, 0.9)  # its web
        bent = math.radians(12) * (u[:, 21] * 2 - 1)
        down = torch.stack([bent.sin(), -bent.cos(), torch.zeros_like(bent)], -1)
        for x in (0.95, -0.95):
            add(place(x, 0, 0), place(x * 1.2, 0, 0) + 24 * down, 1.75, 2.1)
        cuff = between(person[:, 8:9], 1.5, 6.0) * down
        for x in (0.8, -0.8):
            add(place(x, 0, 0) + cuff, place(x * 1.4, 0, 0) + 24 * down, 2.5, 2.9)
        flesh = torch.stack(flesh, 1)  # (B, 16, 8)
        a = torch.cat([joints[:, :, :3].flatten(1, 2), flesh[..., :3]], 1)
        b = torch.cat([joints[:, :, 1:].flatten(1, 2), flesh[..., 3:6]], 1)
        along, faces = along.flatten(1, 2), faces.flatten(1, 2)
        frame = torch.stack([along, along.cross(faces, dim=-1), faces], 2)
        upright = torch.eye(3, device=u.device)[[1, 0, 2]]
        frame = torch.cat([frame, upright.expand(n, N_BONES - PALM, 3, 3)], 1)

        wrist = cm([[2.2, 0.3, 0.0], [-2.2, 0.3, 0.0]]) * stretch[:, None]
        tips = joints[:, :, 3] + along[:, 2:PALM:3] * radius[..., 3:] * 0.5
        marks = torch.cat([joints[:, :, :3], tips[:, :, None]], 2).flatten(1, 2)
        webs = (web[:, :3] + web[:, 1:]) / 2
        marks = torch.cat([wrist[:, :1], marks, webs, wrist[:, 1:]], 1)  # (B, 25, 3)
        deep = torch.cat([radius[:, :, :3], radius[:, :, 2:3]], 2) + 1.1
        deep[:, :, 0] += 0.6  # knuckles lie deeper, in the palm
        deep = F.pad(deep.flatten(1), (1, 4), value=2.8)
        deep[:, [0, 24]] = 6.0  # nothing hides the wrist but the flesh around it

        # Turn, then fit into the frame: the hand fills most of it, the arm leaves it.
        view = gesture["view"]
        lean = (u[:, 22:24] * 2 - 1) * math.radians(self.tilt)
        roll = view[:, 2] + (u[:, 24] * 2 - 1) * math.radians(self.roll)
        turned = turn(roll, 2) @ turn(view[:, 0] + lean[:, 0], 0)
        turned = (turned @ turn(view[:, 1] + lean[:, 1], 1)).mT  # for row vectors
        a, b, marks = a @ turned, b @ turned, marks @ turned
        low, high = marks[..., :2].amin(1) - 1.0, marks[..., :2].amax(1) + 1.0
        extent = (high - low).amax(1, keepdim=True)  # cm
        scale = 2 * between(u[:, 25:26], 0.82, 0.98) / extent
        scale = scale * (extent / 21).clamp(max=1) ** 0.35  # a fist stays smaller
        room = 1 / scale - (high - low) / 2
        move = (u[:, 26:28] * 2 - 1) * room * 0.8 - (low + high) / 2
        move = F.pad(move, (0, 1))[:, None]
        a, b = a + move, b + move
        bones = {
            "a": a,
            "b": b,
            "ra": torch.cat([radius[..., :3].flatten(1), flesh[..., 6]], 1),
            "rb": torch.cat([radius[..., 1:].flatten(1), flesh[..., 7]], 1),
            "frame": frame @ turned[:, None],
            "origin": torch.cat([a[:, :PALM], move.expand(-1, N_BONES - PALM, 3)], 1),
            "unit": scale[:, 0],
        }
        return bones, marks + move, deep

    def _shade(self, bones, person, u, indices, height, which, solid):
        """Colours ``(3, B, side, side)`` of skin and cloth, black elsewhere."""
        n, side = len(u), height.shape[-1]
        cm, colour = 1 / bones["unit"], u.new_tensor
        fine = 2 * cm / side
        top = F.pad(height.clamp(min=-3)[:, None], (1,) * 4, mode="replicate")[:, 0]
        right = top[:, 1:-1, :-2] - top[:, 1:-1, 2:]
        up = top[:, 2:, 1:-1] - top[:, :-2, 1:-1]
        # How far the surroundings rise above a pixel; they are smooth, so half the
        # pixels will do.
        wide = max(side // 80, 1)
        around = height.clamp(min=-3)[:, None, ::2, ::2]
        for size in ((1, 2 * wide + 1), (2 * wide + 1, 1)) * 2:
            pad = (size[1] // 2,) * 2 + (size[0] // 2,) * 2
            around = F.avg_pool2d(F.pad(around, pad, mode="replicate"), size, 1)
        around = F.interpolate(
            around, (side, side), mode="bilinear", align_corners=False
        )[:, 0]
        crowd = around - top[:, 1:-1, 1:-1]
        grain = uniform(indices, 1024, self.seed, stream=13).reshape(n, 1, 32, 32)
        grain = F.interpolate(grain, (side, side), mode="bilinear", align_corners=False)

        # From here on only the M pixels that show something.
        at = (solid > 0).flatten().nonzero()[:, 0]
        image, y, x = at // side**2, at % side**2 // side, at % side
        bone, z, crowd, grain, right, up = (
            t.reshape(-1)[at] for t in (which, height, crowd, grain, right, up)
        )
        bone, fine = bone.long(), fine[image]
        xy = (
            torch.stack([2 * x + 1 - side, side - 1 - 2 * y], -1)
            * (cm[image] / side)[:, None]
        )
        offset = torch.cat([xy, z[:, None]], 1) - bones["origin"][image, bone]
        turned = bones["frame"][image, bone]  # (M, 3, 3)
        along, across, _ = (turned * offset[:, None]).sum(-1).unbind(1)
        normal = unit(torch.stack([right, up, 2 * fine], -1))
        facing = (normal * turned[:, 2]).sum(-1)
        inner = (facing + 0.5).clamp(0, 1)  # the palmar side
        outer = 1 - inner
        long = (bones["b"] - bones["a"]).norm(dim=-1)[image, bone]
        palm, thumb, part = bone >= PALM, bone < 3, bone % 3
        root, tip = ~palm & (part == 0), ~palm & (part == 2)
        bent = ~palm & (part > 0)  # bones that start in a joint of a finger

        def line(distance, width, strength):  # no thinner than a pixel, only paler
            wide = fine.clamp(min=width)
            bell = (1 - 0.3 * (distance / wide).square()).clamp_(min=0).square()
            return bell * (strength * width / wide)

        # Skin: tone, paler inside, redder tips and knuckles, creases, nails.
        dark, ramp = person[:, 9] * 4.99, colour(SKIN)
        tone = ramp[dark.long()].lerp(ramp[dark.long() + 1], (dark % 1)[:, None])
        tone = tone * (1 + (person[:, 10:11] - 0.5) * colour([0.06, 0, -0.12]))
        pale = tone.lerp(colour([0.90, 0.68, 0.58]), (0.10 + 0.06 * dark)[:, None])
        base = tone[image].lerp(pale[image], inner[:, None])
        red = tip * torch.exp(-((along - long) / 0.9).square())
        red = red + ~palm * outer * torch.exp(-(along / 0.8).square())
        base = base * (1 - 0.05 * red[:, None] * colour([0, 1, 1]))
        crease = bent * (line(along, 0.1, 0.45) * inner)
        crease += root * ~thumb * inner * line(along - 0.42 * long, 0.1, 0.4)
        crease += bent * outer * line(along, 0.4, 0.2) * (along * 21).cos().square()
        px, py = across, along  # the palm's own coordinates
        heart = line(py - 7.0 - 0.035 * (px + 3.4).square(), 0.1, 0.4) * (px < 1.6)
        head = line(py - 6.3 + 0.05 * (px - 3.2).square(), 0.1, 0.35) * (px > -2.3)
        life = ((px - 3.9).square() + (py - 2.6).square()).sqrt() - 3.7
        life = line(life, 0.1, 0.4) * (px < 3.2) * (py > 0.6)
        wrist = line((py - 0.3 + 0.02 * px.square()).abs() - 0.22, 0.08, 0.18)
        crease += palm * inner * (heart + head + life + wrist)
        base = base * (1 - crease.clamp(max=0.6)[:, None] * colour([0.8, 1, 1]))
        large = 0.5 + 0.12 * thumb
        oval = ((along - long * 0.98) / (1.32 * large)).square() + (
            across / large
        ).square()
        rim = (oval.sqrt() - 1) * large  # cm from the edge of the nail
        nail = tip * (facing < 0) * (0.5 - rim / fine).clamp(0, 1)
        base = base.lerp(base.lerp(colour([0.97, 0.80, 0.76]), 0.45), nail[:, None])
        base = base * (1 - tip * (facing < 0) * line(rim, 0.07, 0.35))[:, None]
        base = base * (0.95 + 0.1 * grain)[:, None]

        stripes = torch.sin(along * between(person[:, 16], 2, 9)[image])
        cloth = (person[:, 13:16] * 0.75 + 0.08)[image]
        cloth = cloth * (1 + 0.25 * stripes * (person[:, 17] > 0.5)[image])[:, None]
        sleeve = bone >= SLEEVE
        base = torch.where(sleeve[:, None], cloth, base)

        # One lamp above and the room's dim rest, kept out where surroundings rise.
        angle = between(u[:, 30], -1.3, 1.3)
        lamp = [angle.sin(), angle.cos(), between(u[:, 31], 0.5, 1.6)]
        lamp = unit(torch.stack(lamp, -1))[image]
        warm = between(u[:, 32:33], -1, 1)[image] * colour([0.06, 0.0, -0.08])
        reached = torch.exp(-1.3 * (crowd - 0.03).clamp(min=0))
        strong = between(u[:, 33], 0.8, 1.2)[image]
        diffuse = (((normal * lamp).sum(-1) + 0.25) / 1.25).clamp(min=0)
        direct = 0.72 * strong * diffuse * (0.35 + 0.65 * reached)
        ambient = between(u[:, 34], 0.34, 0.55)[image] * (0.75 + 0.25 * normal[:, 1])
        light = (ambient * reached)[:, None] * (1 - warm) + direct[:, None] * (1 + warm)
        gloss = (normal * unit(lamp + colour([0.0, 0.0, 1.0]))).sum(-1).clamp(
            min=0
        ) ** 24
        gloss = gloss * (0.10 + 0.25 * nail) * ~sleeve * strong * reached
        out = base.new_zeros(3, n * side * side)
        out[:, at] = (base * light + gloss[:, None]).T
        return out.reshape(3, n, side, side)

    def _behind(self, u, indices, solid):
        """Backgrounds ``(B, 3, H, W)``: a wall, clutter, folds, grain."""
        n, size = len(u), self.size
        if not self.background:
            return torch.full((n, 3, size, size), 0.5, device=u.device)
        v = uniform(indices, 400, self.seed, stream=14)

        def noise(values, cells, grey):
            values = values.reshape(n, -1, cells, cells) - 0.5
            values = values.lerp(
                values.mean(1, keepdim=True), grey
            )  # rooms are greyish
            return F.interpolate(
                values, (size,) * 2, mode="bicubic", align_corners=False
            )

        mean = 0.15 + 0.75 * v[:, :3].lerp(v[:, 3:4], 0.75)
        wall, clutter = noise(v[:, 4:16], 2, 0.7), noise(v[:, 16:124], 6, 0.75)
        grain = noise(v[:, 124:380], 16, 0)
        kind = v[:, 386:390, None, None, None] ** 3
        angle, pitch = v[:, 383, None, None] * math.pi, v[:, 384, None, None]
        grid = pixel_grid(size, size, u.device)
        wave = grid[..., 0] * angle.cos() + grid[..., 1] * angle.sin()
        folds = (wave * between(pitch, 6, 30) + 1.5 * grain[:, 0]).sin()[:, None]
        image = mean[..., None, None] + 0.4 * wall + 0.9 * kind[:, 0] * clutter
        image = image + 0.12 * kind[:, 1] * folds + 0.2 * kind[:, 2] * grain
        things = (12 * clutter.mean(1, keepdim=True)).tanh()  # clutter with edges
        image = image + kind[:, 3] * things * (0.6 * v[:, 390:393, None, None] - 0.1)
        # The hand's shadow, thrown away from the lamp.
        shift = torch.stack([0.3 * (u[:, 30] - 0.5), -0.1 - 0 * u[:, 30]], 1)
        shadow = F.avg_pool2d(solid, size // 16)  # coarse, so its edge is soft
        where = grid + shift[:, None, None]
        shadow = F.grid_sample(shadow, where, align_corners=False)
        return image * (1 - 0.35 * v[:, 385, None, None, None] * shadow)


def surface(bones: dict[str, Tensor], side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Height (cm), distance from the outline (cm, positive inside) and which bone is
    seen, all ``(B, side, side)``.

    A bone touches a tenth of a picture, so the state is kept in tiles, and a bone reads
    and writes only the rows (image, tile) that its box overlaps.
    """
    a, b, ra, rb, size = (bones[name] for name in ("a", "b", "ra", "rb", "unit"))
    n, count, device = len(a), -(-side // TILE), a.device
    pixel = (torch.arange(TILE, device=device) + 0.5) * 2 / side
    dy, dx = (t.flatten() for t in torch.meshgrid(-pixel, pixel, indexing="ij"))  # (P,)
    step = torch.arange(count, device=device) * (2 * TILE / side) - 1
    corner = torch.stack(torch.meshgrid(step, -step, indexing="xy"), -1).reshape(-1, 2)
    corner = corner / size[:, None, None]  # (B, T, 2) top left of each tile, cm
    step = (2 * TILE / side) / size[:, None, None]

    axis = b[..., :2] - a[..., :2]
    length = axis.norm(dim=-1).clamp(min=1e-3)  # in the image plane
    axis = axis / length[..., None]
    rise = b[..., 2] - a[..., 2]
    lean = rise / (rise.square() + length.square()).sqrt()
    table = [*axis.unbind(-1), *a.unbind(-1), ra, rb - ra, length, rise, lean]
    table = torch.stack([*table, 1 / size[:, None].expand_as(ra)], -1)  # (B, N, 11)

    reach = torch.maximum(ra, rb)[..., None] + 1.0
    low = torch.minimum(a, b)[..., :2] - reach
    high = torch.maximum(a, b)[..., :2] + reach
    x, y = corner[:, None].unbind(-1)  # (B, 1, T)
    hit = (x < high[..., :1]) & (x + step > low[..., :1])
    hit &= (y > low[..., 1:]) & (y - step < high[..., 1:])  # (B, N, T)

    def capsule(i, row):
        """Height and edge distance of bone i in the given tiles, both (M, P)."""
        ex, ey, x0, y0, z0, r0, dr, long, up, slant, cm = table[row // count**2, i].mT[
            ..., None
        ]
        x = corner.reshape(-1, 2)[row, :1] - x0 + dx * cm
        y = corner.reshape(-1, 2)[row, 1:] - y0 + dy * cm
        s, q2 = x * ex + y * ey, (y * ex - x * ey).square_()  # along and across
        # The ray meets the tilted cylinder this far along its axis.
        t = ((0.5 * dr + r0).square() - q2).clamp_(min=0).sqrt_().mul_(slant)
        t = t.add_(s).div_(long).clamp_(0, 1)
        w2 = torch.addcmul(s, t, long, value=-1).square_().add_(q2)
        r = t * dr + r0
        inside = r.square().sub_(w2)
        edge = inside / r.mul_(2)
        z = t.mul_(up).add_(z0)
        if PALM <= i < ARM:  # a low parabola: soft flesh has no rims
            return z.add_(edge, alpha=2), edge
        if i >= SLEEVE:
            edge = torch.minimum(edge, s)  # cut straight
        # Outside, the height falls off steeply, so that unions have a fillet.
        z.add_(edge.clamp(max=0), alpha=6)
        return z.add_(inside.clamp_(min=0).sqrt_()), edge

    def rows(first, last):
        image, tile = hit[:, first:last].any(1).nonzero(as_tuple=True)
        return image * count**2 + tile

    height = a.new_full((n * count**2, TILE**2), FAR)
    edge, which = height.clone(), torch.zeros_like(height, dtype=torch.uint8)
    for i in range(PALM, SLEEVE):
        row = rows(i, i + 1)
        z, d = capsule(i, row)
        top = height[row]
        which[row] = which[row].masked_fill_(z > top, i)
        height[row] = smooth_max(top, z, 2.0)
        edge[row] = smooth_max(edge[row], d, 0.8)
    palm, outline = height.clone(), edge.clone()
    for i in range(0, PALM, 3):
        row = rows(i, i + 3)
        top, rim, seen = height[row], edge[row], which[row]
        chain, d = capsule(i, row)
        seen.masked_fill_(chain > top, i)
        # Only the first bone melts into the palm: folded ends lie on it.
        top = torch.maximum(top, smooth_max(palm[row], chain, 0.9))
        rim = torch.maximum(rim, smooth_max(outline[row], d, 0.9))
        for j in (i + 1, i + 2):
            z, d = capsule(j, row)
            seen.masked_fill_((z > top) & (z > chain), j)
            chain = smooth_max(chain, z, 0.25)
            top, rim = torch.maximum(top, chain), torch.maximum(rim, d)
        height[row], edge[row], which[row] = top, rim, seen
    for i in range(SLEEVE, N_BONES):
        row = rows(i, i + 1)
        z, d = capsule(i, row)
        which[row] = which[row].masked_fill_(z > height[row], SLEEVE)
        height[row] = torch.maximum(height[row], z)
        edge[row] = torch.maximum(edge[row], d)

    def whole(x):
        x = x.reshape(n, count, count, TILE, TILE).transpose(2, 3)
        return x.reshape(n, count * TILE, -1)[:, :side, :side]

    return whole(height), whole(edge), whole(which)
