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
from lmscenes.hand_skin import shade, unit
from lmscenes.hand_surface import N_BONES, PALM, SLEEVE, surface
from lmscenes.shared import check_knobs, check_size, turn

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


def _bones(joints, along, faces, radius) -> dict[str, Tensor]:
    """The digits' bones in the hand frame: ends, radii, frames."""
    return {
        "a": joints[:, :, :3].flatten(1, 2),
        "b": joints[:, :, 1:].flatten(1, 2),
        "ra": radius[..., :3].flatten(1),
        "rb": radius[..., 1:].flatten(1),
        "frame": torch.stack([along, along.cross(faces, dim=-1), faces], 2),
    }


def _flesh(joints, web, stretch, thick, bent, cuff) -> dict[str, Tensor]:
    """Palm, webs, arm and sleeve as bones in the hand frame.

    ``bent`` (B,) is the wrist's bend as a share in [0, 1], ``cuff`` (B, 1) the distance
    of the sleeve from it.
    """
    cm, parts = joints.new_tensor, []

    def place(x, y, z):
        return cm([x, y, z]) * stretch

    def add(a, b, ra, rb):
        parts.append(torch.cat([a, b, ra * thick, rb * thick], 1))

    root, first = joints[:, :, 0], joints[:, :, 1]
    for f, x in enumerate((1.3, 0.4, -0.4, -1.3), 1):  # metacarpals
        add(place(x, 0.9, 0), root[:, f], 1.4, 1.2 if f < 4 else 1.1)
    add(place(-1.9, 1.6, 0.35), place(-2.6, 5.6, 0.5), 1.35, 1.3)  # little's ball
    add(place(1.5, 1.8, 0.4), first[:, 0] * 0.55 + cm([1, 2.8, 0.2]), 1.45, 1.25)
    add(root[:, 1] * 0.95, root[:, 4] * 0.95, 1.35, 1.2)  # pad below the knuckles
    add(place(0, 0.6, -0.1), place(0.1, 7.6, -0.2), 1.9, 2.0)  # middle of the palm
    for f in range(3):
        add(web[:, f], web[:, f + 1], 0.55, 0.55)
    add(root[:, 0].lerp(first[:, 0], 0.6), place(2.3, 6.4, 0), 0.9, 0.9)  # its web
    bent = math.radians(12) * (bent * 2 - 1)
    down = torch.stack([bent.sin(), -bent.cos(), torch.zeros_like(bent)], -1)
    for x in (0.95, -0.95):
        add(place(x, 0, 0), place(x * 1.2, 0, 0) + 24 * down, 1.75, 2.1)
    for x in (0.8, -0.8):
        add(place(x, 0, 0) + cuff * down, place(x * 1.4, 0, 0) + 24 * down, 2.5, 2.9)
    parts = torch.stack(parts, 1)  # (B, 16, 8)
    upright = torch.eye(3, device=joints.device)[[1, 0, 2]]
    return {
        "a": parts[..., :3],
        "b": parts[..., 3:6],
        "ra": parts[..., 6],
        "rb": parts[..., 7],
        "frame": upright.expand(len(joints), parts.shape[1], 3, 3),
    }


def _marks(joints, along, web, radius, stretch) -> tuple[Tensor, Tensor]:
    """Landmarks in the hand frame, and how deep in the flesh each may lie."""
    wrist = joints.new_tensor([[2.2, 0.3, 0.0], [-2.2, 0.3, 0.0]]) * stretch[:, None]
    tips = joints[:, :, 3] + along[:, 2:PALM:3] * radius[..., 3:] * 0.5
    marks = torch.cat([joints[:, :, :3], tips[:, :, None]], 2).flatten(1, 2)
    webs = (web[:, :3] + web[:, 1:]) / 2
    marks = torch.cat([wrist[:, :1], marks, webs, wrist[:, 1:]], 1)  # (B, 25, 3)
    deep = torch.cat([radius[:, :, :3], radius[:, :, 2:3]], 2) + 1.1
    deep[:, :, 0] += 0.6  # knuckles lie deeper, in the palm
    deep = F.pad(deep.flatten(1), (1, 4), value=2.8)
    deep[:, [0, 24]] = 6.0  # nothing hides the wrist but the flesh around it
    return marks, deep


def _fit(marks, u) -> tuple[Tensor, Tensor]:
    """Size of 1 cm in the image (B, 1), and the way to its place there (B, 1, 3)."""
    low, high = marks[..., :2].amin(1) - 1.0, marks[..., :2].amax(1) + 1.0
    extent = (high - low).amax(1, keepdim=True)  # cm
    scale = 2 * between(u[:, 25:26], 0.82, 0.98) / extent
    scale = scale * (extent / 21).clamp(max=1) ** 0.35  # a fist stays smaller
    room = 1 / scale - (high - low) / 2
    move = (u[:, 26:28] * 2 - 1) * room * 0.8 - (low + high) / 2
    return scale, F.pad(move, (0, 1))[:, None]


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
        grain = uniform(indices, 1024, self.seed, stream=13).reshape(-1, 1, 32, 32)
        front = shade(bones, person, u, grain, height, which, solid) * solid
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
        cm = u.new_tensor
        gesture = {k: v.to(u.device)[label] for k, v in self.table.items()}
        noise = (u[:, :21] * 2 - 1) * math.radians(self.jitter)
        thumb = gesture["thumb"] + noise[:, :5] * 0.7
        bend = gesture["bend"] + noise[:, 5:17].reshape(-1, 4, 3)
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
        along, faces = along.flatten(1, 2), faces.flatten(1, 2)
        web = joints[:, 1:, 0] + 0.38 * (joints[:, 1:, 1] - joints[:, 1:, 0])
        cuff = between(person[:, 8:9], 1.5, 6.0)
        bones = _bones(joints, along, faces, radius)
        flesh = _flesh(joints, web, stretch, thick, u[:, 21], cuff)
        bones = {name: torch.cat([bones[name], flesh[name]], 1) for name in bones}
        marks, deep = _marks(joints, along, web, radius, stretch)

        # Turn, then fit into the frame: the hand fills most of it, the arm leaves it.
        view = gesture["view"]
        lean = (u[:, 22:24] * 2 - 1) * math.radians(self.tilt)
        roll = view[:, 2] + (u[:, 24] * 2 - 1) * math.radians(self.roll)
        turned = turn(roll, 2) @ turn(view[:, 0] + lean[:, 0], 0)
        turned = (turned @ turn(view[:, 1] + lean[:, 1], 1)).mT  # for row vectors
        marks = marks @ turned
        scale, move = _fit(marks, u)
        a, b = bones["a"] @ turned + move, bones["b"] @ turned + move
        rest = move.expand(-1, N_BONES - PALM, 3)
        bones |= {
            "a": a,
            "b": b,
            "frame": bones["frame"] @ turned[:, None],
            "origin": torch.cat([a[:, :PALM], rest], 1),
            "unit": scale[:, 0],
        }
        return bones, marks + move, deep

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
