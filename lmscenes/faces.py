"""Faces: photographs of people who do not exist, with the truth about every pixel.

Stands in for MultiPIE, 300-W and CelebA. A morphable head (``head.py``) is posed, lit
and drawn (``portrait.py``). ``cameras=True`` is the studio of MultiPIE: five cameras,
20 lamps, six emotions, plain walls; otherwise faces are "in the wild".

Difficulty knobs: ``yaw``, ``pitch``, ``roll`` (degrees; the largest, in the wild),
``margin`` (frame / box of the landmarks, smallest and largest: 1.3 is tight, 2.2 shows
the hair), ``background``, ``accessories`` (glasses), ``illumination`` (else one soft
lamp), ``expression`` (else all are neutral), ``identities`` (how many people; None: a
new one in each image).
"""

import functools

import torch
from torch import Tensor

from lmlib.samples import Batch
from lmscenes.engine import as_indices, between, uniform
from lmscenes.head import EXPRESSION, IDENTITY
from lmscenes.portrait import Portraits
from lmscenes.posed import TILE
from lmscenes.shared import Draws, check_knobs, check_size, tiled

SKIN = [(250, 218, 198), (236, 192, 164), (216, 165, 132), (186, 131, 97),
        (141, 93, 66), (100, 63, 46), (78, 50, 40)]  # fmt: skip
HAIR = [(28, 23, 22), (48, 33, 26), (82, 54, 36), (128, 84, 50), (142, 66, 34),
        (196, 154, 96), (226, 196, 140), (160, 158, 156)]  # fmt: skip
IRIS = [(74, 48, 30), (96, 62, 34), (110, 98, 52), (86, 118, 92), (92, 128, 158),
        (112, 124, 134)]  # fmt: skip
CLOTH = [(40, 44, 60), (190, 190, 188), (120, 40, 44), (44, 78, 120), (60, 96, 72),
         (170, 130, 70), (30, 30, 32), (150, 96, 130)]  # fmt: skip

# thickness, length below the ear, fringe, curl (cm); chance for two kinds of build
STYLES = {
    "bald": (0.0, 0.0, 0.0, 0.00, 0.00, 0.12),
    "buzz": (0.3, 0.0, 0.0, 0.02, 0.01, 0.16),
    "short": (1.0, 0.0, 0.0, 0.06, 0.08, 0.28),
    "swept": (1.9, 0.0, 0.0, 0.08, 0.04, 0.18),
    "curly": (2.2, 0.0, 0.2, 0.30, 0.06, 0.10),
    "short fringe": (1.1, 0.0, 1.0, 0.08, 0.06, 0.08),
    "bob": (1.4, 7.0, 0.0, 0.10, 0.16, 0.02),
    "bob with fringe": (1.4, 7.5, 1.0, 0.08, 0.11, 0.00),
    "long": (1.2, 13.0, 0.0, 0.12, 0.24, 0.03),
    "wavy": (1.7, 12.0, 0.3, 0.28, 0.16, 0.01),
    "afro": (3.4, 0.0, 0.2, 0.45, 0.08, 0.02),
}
# How each emotion moves the twelve expression fields.
EMOTIONS = {
    "neutral": {"part": -0.97},
    "surprise": {"part": -0.5, "jaw": 2.3, "narrow": 0.8, "brows up": 1.05,
                 "blink": -0.35},
    "smile": {"part": -0.25, "jaw": 0.35, "smile": 1.1, "blink": 0.12,
              "lower lid": 0.35, "cheeks up": 0.7},
    "squint": {"part": -0.97, "smile": 0.15, "brows together": 0.5, "blink": 0.5,
               "lower lid": 0.75, "cheeks up": 0.8},
    "disgust": {"part": -0.75, "raise lip": 0.95, "corners down": 0.75,
                "brows together": 0.9, "blink": 0.3, "lower lid": 0.5,
                "cheeks up": 0.6, "flare": 1.0},
    "scream": {"part": 0.0, "jaw": 3.6, "smile": 0.25, "raise lip": 0.5,
               "brows together": 0.6, "blink": 0.7, "lower lid": 0.6,
               "cheeks up": 0.6, "flare": 0.6},
}  # fmt: skip
# Small moves of any emotion: the fields that go together, and how far.
LIVELY = (
    (("brows up", "smile"), 0.12), (("brows together",), 0.12), (("blink",), 0.08),
    (("corners down",), 0.15),
)  # fmt: skip
# What half of a man's build adds to the shape; of a woman's, it takes away.
BUILD = {
    "jaw width": 0.5, "brow ridge": 0.7, "chin length": 0.3, "lip thickness": -0.3,
    "brow height": -0.3, "nose length": 0.2, "eye size": -0.3,
}  # fmt: skip
# An attribute of shape is a sum of parameters above a threshold.
SHAPE_ATTRIBUTES = {
    "arched eyebrows": {"brow arch": 1.0},
    "big lips": {"lip thickness": 1.0},
    "big nose": {"nose width": 1.0, "nose length": 0.6},
    "pointy nose": {"nose tip": 1.0, "nose width": -0.6},
    "high cheekbones": {"cheekbones": 1.0},
    "narrow eyes": {"eye size": -1.0},
    "oval face": {"face length": 0.8, "jaw width": -0.8},
    "chubby": {"cheeks": 1.0, "jaw width": 0.5},
    "wide mouth": {"mouth width": 1.0},
}
_SIDES = ("left", "right")


def _names() -> tuple[str, ...]:
    names = [f"jaw {i}" for i in range(17)]
    for side in _SIDES:
        names += [f"{side} brow {i}" for i in range(5)]
    names += [f"nose bridge {i}" for i in range(4)] + [
        f"nose base {i}" for i in range(5)
    ]
    eye = ("corner", "upper lid", "upper lid", "corner", "lower lid", "lower lid")
    for side in _SIDES:
        names += [f"{side} eye {part} {i}" for i, part in enumerate(eye)]
    names += [f"outer lip {i}" for i in range(12)]
    return tuple(names + [f"inner lip {i}" for i in range(8)])


def five_points(landmarks: Tensor) -> Tensor:
    """Eye centres, nose tip, mouth corners: ``(B, 68, 2)`` to ``(B, 5, 2)``."""
    eyes = [landmarks[:, i : i + 6].mean(1) for i in (36, 42)]
    rest = [landmarks[:, i] for i in (30, 48, 54)]
    return torch.stack(eyes + rest, dim=1)


def _tables(device):
    """Makes float32 tensors on a device."""
    return functools.partial(torch.tensor, dtype=torch.float32, device=device)


def _person(draws: Draws) -> Batch:
    """What stays of a person in all images: shape, hair, colours, ``(B, ...)``."""
    shape = draws.take(3 * len(IDENTITY)).unflatten(1, (-1, 3)).sum(-1) - 1.5
    male = draws.take() > 0.5
    build = torch.where(male, 0.5, -0.5)
    for name, amount in BUILD.items():
        shape[:, IDENTITY.index(name)] += amount * build
    q = {"shape": shape, "male": male, **_haircut(draws, male)}
    table = _tables(shape.device)
    tone = draws.some(0, len(SKIN) - 1)
    skins = table(SKIN) / 255
    low = tone.long().clamp(max=len(SKIN) - 2)
    q["skin"] = torch.lerp(skins[low], skins[low + 1], (tone - low)[:, None])
    q["skin"] = q["skin"] * (1 + 0.06 * (draws.take(3) - 0.5))
    # dark skin comes with dark hair and eyes, mostly
    fair = ((3.5 - tone) / 3).clamp(0, 1)
    shade = draws.take() * torch.lerp(table(2.2), table(8.0), fair)
    old = draws.chance(0.12) | (shade >= 7)
    colour = torch.where(old, 7, shade.long().clamp(max=6))
    q["hair"] = table(HAIR)[colour] / 255 * draws.some(0.85, 1.15, count=1)
    q["hair_colour"] = colour
    eyes = (draws.take() * torch.lerp(table(1.8), table(6.0), fair)).long()
    q["iris"] = table(IRIS)[eyes] / 255
    q["brow"] = draws.some(0.55, 1.0) + 0.3 * build
    grows = draws.take()  # below .38 a beard, above .93 a moustache alone
    wears, alone = male & (grows < 0.38), male & (grows > 0.93)
    q["beard"] = torch.where(wears, draws.some(0.35, 1.0), 0.12 * male)
    q["moustache"] = torch.where(wears | alone, draws.some(0.4, 1.0), 0.08 * male)
    q["lipstick"] = (~male & draws.chance(0.5)) * draws.some(0.35, 0.9)
    q["lip_hue"] = draws.take()
    q["freckles"] = draws.some(-0.7, 1.0).clamp(min=0) * fair
    q["blush"] = draws.some(0.05, 0.35)
    q["tone"] = tone
    return q


def _haircut(draws: Draws, male: Tensor) -> Batch:
    """One of the styles, by chances that depend on the build, and its measures."""
    table = _tables(male.device)
    chances = table([style[4:] for style in STYLES.values()]).T.cumsum(1)
    chances = chances[male.long()] / chances[male.long(), -1:]
    style = (draws.take(1) > chances).sum(1).clamp(max=len(STYLES) - 1)
    thickness, length, fringe, curl = table([s[:4] for s in STYLES.values()])[style].T
    return {
        "style": style,
        "thickness": thickness * draws.some(0.75, 1.25),
        "length": length * draws.some(0.85, 1.15),
        "fringe": fringe * draws.some(0.7, 1.1),
        "curl": curl * draws.some(0.6, 1.4),
        "recede": (draws.some(-2.0, 1.6) * male).clamp(min=0),
    }


class Faces:
    """Faces with 68 landmarks in the order of iBUG (300-W, MultiPIE).

    A batch adds, besides ``image``, ``landmarks``, ``visible`` (not hidden by the head
    itself) and ``index``:

    - ``emotion`` (B,), 0..5; ``camera`` (B,), 0..4 (the nearest, in the wild);
      ``identity`` (B,)
    - ``pose`` (B, 3): yaw, pitch, roll in degrees; positive yaw turns the nose to the
      image's right, positive pitch down, positive roll clockwise
    - ``surface`` (B, 2, H, W): (u, v) of the skin seen at each pixel, 0 elsewhere;
      ``mask`` (B, 1, H, W): 1 where skin is seen. Equal coordinates are the same point
      of the face in any two images
    - ``attributes`` (B, A) bool, named by ``attribute_names``
    - ``shape`` (B, 22), ``expression`` (B, 12): parameters of the morphable head
    """

    names = _names()
    emotions = tuple(EMOTIONS)
    cameras = (-30.0, -15.0, 0.0, 15.0, 30.0)
    FIVE = ("left eye", "right eye", "nose tip", "left mouth corner",
            "right mouth corner")  # fmt: skip
    attribute_names = (
        "smiling", "mouth open", "eyes almost closed", "glasses", "sunglasses",
        "beard", "moustache", "bald", "long hair", "fringe", "receding hairline",
        "dark hair", "blond hair", "grey hair", "dark skin", "lipstick",
        "masculine build", *SHAPE_ATTRIBUTES,
    )  # fmt: skip

    def __init__(
        self,
        size: int = 64,
        seed: int = 0,
        *,
        gray: bool = False,
        yaw: float = 35.0,
        pitch: float = 15.0,
        roll: float = 15.0,
        cameras: bool | None = None,
        background: bool = True,
        accessories: bool = True,
        illumination: bool = True,
        expression: bool = True,
        identities: int | None = None,
        margin: tuple[float, float] = (1.35, 1.75),
    ):
        check_size("Faces", size, 32, 256)
        check_knobs(0, 60, "degrees", yaw=yaw)
        check_knobs(0, 40, "degrees", pitch=pitch)
        check_knobs(0, 180, "degrees", roll=roll)
        if identities is not None and identities < 1:
            raise ValueError(f"identities must be at least 1 or None, got {identities}")
        if len(margin) != 2 or not 1.0 <= margin[0] <= margin[1] <= 4.0:
            raise ValueError(
                f"margin must be (smallest, largest) within 1 to 4, got {margin}"
            )
        self.size, self.seed, self.gray = size, seed, gray
        self.yaw, self.pitch, self.roll = yaw, pitch, roll
        self.studio, self.background = bool(cameras), background
        self.accessories, self.illumination = accessories, illumination
        self.expression, self.identities = expression, identities
        self.margin = margin

    # ---- random numbers ----------------------------------------------------------

    def parameters(self, indices, device=None) -> Batch:
        """Everything that is random about the images: ``(B, ...)`` each."""
        index = as_indices(indices, device)
        draws = Draws(uniform(index, 48, self.seed, stream=20))
        who = draws.take()
        identity = index
        if self.identities is not None:
            identity = (who * self.identities).long()
        person = Draws(uniform(identity, 96, self.seed, stream=21))
        q = {"index": index, "identity": identity, **_person(person)}
        # In the order in which their numbers are drawn.
        q |= self._glasses(draws)
        q |= self._expression(draws)
        q |= self._pose(draws)
        q |= self._light(draws)
        table = _tables(index.device)
        q["cloth"] = table(CLOTH)[draws.some(0, len(CLOTH)).long()] / 255
        q["pattern"], q["place"] = draws.take(3), draws.take(16)
        q["attributes"] = self._attributes(q)
        return q

    def _glasses(self, draws: Draws) -> Batch:
        """Glasses, the form of their frame, and where the eyes look."""
        worn = draws.chance(0.24) & self.accessories
        dark = worn & draws.chance(0.22) & (not self.studio)
        frame, gaze = draws.take(4), draws.some(-1, 1, count=2)
        return {"glasses": worn, "sunglasses": dark, "frame": frame,
                "gaze": gaze * gaze.new_tensor([0.30, 0.10])}  # fmt: skip

    def _expression(self, draws: Draws) -> Batch:
        """An emotion, how strong it is, and small moves of its own."""
        emotion = draws.some(0, len(EMOTIONS)).long()
        strength, small = draws.some(0.7, 1.1, count=1), draws.some(-1, 1, count=4)
        if not self.expression:
            emotion, small = torch.zeros_like(emotion), 0.0 * small
        table = _tables(emotion.device)
        recipes = table([[e.get(f, 0.0) for f in EXPRESSION]
                         for e in EMOTIONS.values()])  # fmt: skip
        move = torch.lerp(recipes[:1], recipes[emotion], strength)
        lively = table([[f in fields for f in EXPRESSION] for fields, _ in LIVELY])
        reach = table([reach for _, reach in LIVELY])
        move = move + (small * reach) @ lively
        blink = EXPRESSION.index("blink")
        move[:, blink] = move[:, blink].clamp(max=0.85)
        return {"expression": move, "emotion": emotion}

    def _pose(self, draws: Draws) -> Batch:
        """Turn of the head, distance of the camera, place in the frame."""
        jitter, chosen = draws.some(-1, 1, count=3), draws.some(0, 5).long()
        table = _tables(jitter.device)
        if self.studio:
            camera = chosen
            yaw = table(self.cameras)[camera] + 3.0 * jitter[:, 0]
            pitch, roll = 4.0 * jitter[:, 1], 4.0 * jitter[:, 2]
        else:
            turns = jitter * table([self.yaw, self.pitch, self.roll])
            yaw, pitch, roll = turns.unbind(1)
            camera = ((yaw + 37.5) / 15).long().clamp(0, 4)
        return {"camera": camera, "pose": torch.stack([yaw, pitch, roll], 1),
                "distance": draws.some(60, 140), "margin": draws.some(*self.margin),
                "shift": draws.some(-1, 1, count=2) * 0.06}  # fmt: skip

    def _light(self, draws: Draws) -> Batch:
        """One lamp's direction, what there is besides, colour and exposure."""
        around, up, rest = draws.take(), draws.take(), draws.take()
        warm, exposure = draws.some(-1, 1), draws.some(0.9, 1.12)
        if self.studio:
            lamp = (around * 20).long()
            azimuth = ((lamp % 10).float() - 4.5) * 18.0
            elevation = torch.where(lamp < 10, 8.0, 38.0)
            ambient = torch.full_like(azimuth, 0.42)
        else:
            azimuth, elevation = between(around, -75, 75), between(up, -5, 60)
            ambient = between(rest, 0.45, 0.70)
        if not self.illumination:
            azimuth, elevation = 0 * azimuth, 0 * azimuth + 20.0
            ambient = 0 * azimuth + 0.55
            exposure = torch.ones_like(azimuth)
        a, e = torch.deg2rad(azimuth), torch.deg2rad(elevation)
        light = torch.stack([a.sin() * e.cos(), -e.sin(), a.cos() * e.cos()], 1)
        warm = warm * (0.0 if self.studio else 0.09)
        warm = 1 + warm[:, None] * warm.new_tensor([1.0, 0.1, -1.0])
        return {"light": light, "ambient": ambient, "warm": warm,
                "exposure": exposure}  # fmt: skip

    def _attributes(self, q: Batch) -> Tensor:
        move = dict(zip(EXPRESSION, q["expression"].unbind(1), strict=True))
        shape = dict(zip(IDENTITY, q["shape"].unbind(1), strict=True))
        colour, bald = q["hair_colour"], q["style"] == 0
        columns = [
            move["smile"] > 0.45, move["jaw"] + 0.56 * (1 + move["part"]) > 0.3,
            0.86 * move["blink"] + 0.35 * move["lower lid"] > 0.5,
            q["glasses"], q["sunglasses"], q["beard"] > 0.3, q["moustache"] > 0.3,
            bald, q["length"] > 4, q["fringe"] > 0.5, q["recede"] > 0.5,
            (colour <= 1) & ~bald, ((colour == 5) | (colour == 6)) & ~bald,
            (colour == 7) & ~bald, q["tone"] > 3.5, q["lipstick"] > 0, q["male"],
        ]  # fmt: skip
        for parts in SHAPE_ATTRIBUTES.values():
            columns.append(sum(k * shape[name] for name, k in parts.items()) > 0.25)
        return torch.stack(columns, dim=1)

    # ---- drawing -----------------------------------------------------------------

    def _draw(self, q: Batch) -> Batch:
        return Portraits(self.size, q, self.seed).draw(self)

    def batch(self, indices, device=None) -> Batch:
        q = self.parameters(indices, device)
        batch = tiled(self._draw, q, TILE)
        kept = ("index", "identity", "emotion", "camera", "pose", "attributes", "shape",
                "expression")  # fmt: skip
        return batch | {k: q[k] for k in kept}
