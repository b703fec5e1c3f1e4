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

import torch
from torch import Tensor

from lmlib.samples import Batch
from lmscenes.engine import as_indices, between, uniform
from lmscenes.head import EXPRESSION, IDENTITY
from lmscenes.portrait import TILE, Portraits

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
        if not 32 <= size <= 256:
            raise ValueError(f"Faces are drawn at 32 to 256 pixels, got {size}")
        for name, value, top in (("yaw", yaw, 60), ("pitch", pitch, 40),
                                 ("roll", roll, 180)):  # fmt: skip
            if not 0 <= value <= top:
                raise ValueError(f"{name} must be 0 to {top} degrees, got {value}")
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
        device = index.device
        n = len(index)
        u = uniform(index, 48, self.seed, stream=20)
        identity = index
        if self.identities is not None:
            identity = (u[:, 0] * self.identities).long()
        person = uniform(identity, 96, self.seed, stream=21)
        q: Batch = {"index": index, "identity": identity}

        def table(values) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        # the person
        shape = person[:, :66].reshape(n, 22, 3).sum(-1) - 1.5  # bell-shaped
        male = person[:, 66] > 0.5
        build = torch.where(male, 0.5, -0.5)
        for name, amount in (("jaw width", 0.5), ("brow ridge", 0.7), ("chin length",
                             0.3), ("lip thickness", -0.3), ("brow height", -0.3),
                             ("nose length", 0.2), ("eye size", -0.3)):  # fmt: skip
            shape[:, IDENTITY.index(name)] += amount * build
        q["shape"], q["male"] = shape, male
        chances = table([s[4:] for s in STYLES.values()]).T.cumsum(1)
        chances = chances[male.long()] / chances[male.long(), -1:]
        style = (person[:, 67:68] > chances).sum(1).clamp(max=len(STYLES) - 1)
        cut = table([s[:4] for s in STYLES.values()])[style]
        q["style"] = style
        q["thickness"] = cut[:, 0] * between(person[:, 68], 0.75, 1.25)
        q["length"] = cut[:, 1] * between(person[:, 69], 0.85, 1.15)
        q["fringe"] = cut[:, 2] * between(person[:, 70], 0.7, 1.1)
        q["curl"] = cut[:, 3] * between(person[:, 71], 0.6, 1.4)
        q["recede"] = (between(person[:, 72], -2.0, 1.6) * male).clamp(min=0)
        tone = person[:, 73] * (len(SKIN) - 1)
        skins = table(SKIN) / 255
        low = tone.long().clamp(max=len(SKIN) - 2)
        q["skin"] = torch.lerp(skins[low], skins[low + 1], (tone - low)[:, None])
        q["skin"] = q["skin"] * (1 + 0.06 * (person[:, 74:77] - 0.5))
        # dark skin comes with dark hair and eyes, mostly
        fair = ((3.5 - tone) / 3).clamp(0, 1)
        shade = person[:, 77] * torch.lerp(table(2.2), table(8.0), fair)
        old = (person[:, 78] < 0.12) | (shade >= 7)
        colour = torch.where(old, 7, shade.long().clamp(max=6))
        q["hair"] = table(HAIR)[colour] / 255 * between(person[:, 79:80], 0.85, 1.15)
        q["hair_colour"] = colour
        eyes = (person[:, 80] * torch.lerp(table(1.8), table(6.0), fair)).long()
        q["iris"] = table(IRIS)[eyes] / 255
        q["brow"] = between(person[:, 81], 0.55, 1.0) + 0.3 * build
        wears = male & (person[:, 82] < 0.38)
        q["beard"] = torch.where(wears, between(person[:, 83], 0.35, 1.0), 0.12 * male)
        q["moustache"] = torch.where(
            wears | (male & (person[:, 82] > 0.93)),
            between(person[:, 84], 0.4, 1.0), 0.08 * male)  # fmt: skip
        q["lipstick"] = (~male & (person[:, 85] < 0.5)) * between(
            person[:, 86], 0.35, 0.9
        )
        q["lip_hue"] = person[:, 87]
        q["freckles"] = (between(person[:, 88], -0.7, 1.0)).clamp(min=0) * fair
        q["blush"] = between(person[:, 89], 0.05, 0.35)
        q["tone"] = tone

        # glasses, gaze
        glasses = (u[:, 1] < 0.24) & self.accessories
        dark = glasses & (u[:, 2] < 0.22) & (not self.studio)
        q["glasses"], q["sunglasses"] = glasses, dark
        q["frame"] = u[:, 3:7]
        q["gaze"] = between(u[:, 7:9], -1, 1) * table([0.30, 0.10])

        # expression
        emotion = (u[:, 9] * 6).long() if self.expression else torch.zeros_like(index)
        recipes = table([[e.get(f, 0.0) for f in EXPRESSION] for e in
                         EMOTIONS.values()])  # fmt: skip
        strength = between(u[:, 10:11], 0.7, 1.1)
        move = torch.lerp(recipes[:1], recipes[emotion], strength)
        small = between(u[:, 11:15], -1, 1) * (1.0 if self.expression else 0.0)
        lively = table([[f in ("brows up", "smile") for f in EXPRESSION],
                        [f == "brows together" for f in EXPRESSION],
                        [f == "blink" for f in EXPRESSION],
                        [f == "corners down" for f in EXPRESSION]])  # fmt: skip
        move = move + (small * table([0.12, 0.12, 0.08, 0.15])) @ lively
        blink = EXPRESSION.index("blink")
        move[:, blink] = move[:, blink].clamp(max=0.85)
        q["expression"], q["emotion"] = move, emotion

        # pose
        jitter = between(u[:, 15:18], -1, 1)
        if self.studio:
            camera = (u[:, 18] * 5).long()
            yaw = table(self.cameras)[camera] + 3.0 * jitter[:, 0]
            pitch, roll = 4.0 * jitter[:, 1], 4.0 * jitter[:, 2]
        else:
            yaw, pitch, roll = (
                jitter * table([self.yaw, self.pitch, self.roll])
            ).unbind(1)
            camera = ((yaw + 37.5) / 15).long().clamp(0, 4)
        q["camera"], q["pose"] = camera, torch.stack([yaw, pitch, roll], 1)
        q["distance"] = between(u[:, 19], 60, 140)
        q["margin"] = between(u[:, 20], *self.margin)
        q["shift"] = between(u[:, 21:23], -1, 1) * 0.06

        # light: azimuth, elevation, strength, ambience, colour
        if self.studio:
            lamp = (u[:, 23] * 20).long()
            azimuth = ((lamp % 10).float() - 4.5) * 18.0
            elevation = torch.where(lamp < 10, 8.0, 38.0)
            ambient = torch.full_like(azimuth, 0.42)
        else:
            azimuth, elevation = between(u[:, 23], -75, 75), between(u[:, 24], -5, 60)
            ambient = between(u[:, 25], 0.45, 0.70)
        if not self.illumination:
            azimuth, elevation = 0 * azimuth, 0 * azimuth + 20.0
            ambient = 0 * azimuth + 0.55
        a, e = torch.deg2rad(azimuth), torch.deg2rad(elevation)
        q["light"] = torch.stack([a.sin() * e.cos(), -e.sin(), a.cos() * e.cos()], 1)
        q["ambient"] = ambient
        warm = between(u[:, 26], -1, 1) * (0.0 if self.studio else 0.09)
        q["warm"] = 1 + warm[:, None] * table([1.0, 0.1, -1.0])
        q["exposure"] = (
            between(u[:, 27], 0.9, 1.12) if self.illumination else (torch.ones_like(a))
        )
        q["cloth"] = table(CLOTH)[(u[:, 28] * len(CLOTH)).long()] / 255
        q["pattern"] = u[:, 29:32]
        q["place"] = u[:, 32:48]
        q["attributes"] = self._attributes(q)
        return q

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

    def batch(self, indices, device=None) -> Batch:
        q = self.parameters(indices, device)
        n = len(q["index"])
        tiles = torch.arange(n, device=q["index"].device).split(TILE)
        drawn = [
            Portraits(self.size, {k: v[part] for k, v in q.items()}, self.seed).draw(
                self
            )
            for part in tiles
        ]
        batch = {k: torch.cat([tile[k] for tile in drawn]) for k in drawn[0]}
        kept = ("index", "identity", "emotion", "camera", "pose", "attributes", "shape",
                "expression")  # fmt: skip
        return batch | {k: q[k] for k in kept}
