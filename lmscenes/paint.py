"""Colours of what sheets show: cloth with its seams and buttons, skin, faces, hair.

Lines that say where a garment ends (hems, ribs, bindings) follow the sheet's ``edge``;
everything is drawn per sample, with lines no thinner than one, only paler.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.samples import Batch
from lmscenes import head
from lmscenes.bare import FACE
from lmscenes.fabric import FABRICS, Rows, noise, printed
from lmscenes.surface import unit
from lmscenes.wardrobe import KIND, ramp

CLOTH = ("torso", "inside", "sleeve", "coat", "skirt", "trousers", "bag", "strap")
FACE_MAPS = ("lip", "inside", "open_eye", "lid", "crease", "brow", "nostril", "shade",
             "fold", "beard", "blush", "scalp", "bags", "x", "y")  # fmt: skip


@functools.cache
def _face_maps(device, size: int = 112) -> Tensor:
    """Maps of the drawn part of the face ``(1, maps, size, size)``."""
    v = torch.linspace(-1, 1, size)
    u = torch.linspace(-FACE, FACE, size)
    maps = head.texture(*torch.meshgrid(u, v, indexing="xy"))
    return torch.stack([maps[name] for name in FACE_MAPS])[None].to(device)


def band(distance: Tensor, width: Tensor | float, fine: Tensor) -> Tensor:
    """Cover of what is nearer than ``width``."""
    return (0.5 - (distance - width) / fine).clamp(0, 1)


def line(distance: Tensor, half: float, fine: Tensor) -> Tensor:
    """Cover of a line ``2 half`` wide; paler, not thinner than a sample."""
    cover = (0.5 - (distance.abs() - half) / fine).clamp(0, 1)
    return torch.minimum(cover, 2 * half / fine)


class Painter:
    """Colours of samples; everything is ``(n,)`` or ``(3, n)``."""

    def __init__(self, kind: Tensor, image: Tensor, cloth: Tensor, flat: Tensor,
                 edge: Tensor, across: Tensor, normal: Tensor, fine: Tensor,
                 fabric: Batch, q: Batch):  # fmt: skip
        """``cloth``: row of ``fabric``; ``fine``: size of a sample in units of the
        flat; ``q``: what is random about people and light."""
        self.kind, self.image, self.cloth = kind, image, cloth
        self.x, self.y = flat
        self.hem, self.top = edge
        self.across, self.normal, self.fine = across, normal, fine
        self.fabric, self.q = fabric, q
        self.colour = torch.zeros_like(normal)
        self.gloss = torch.zeros_like(self.x)

    def of(self, name: str, some: Tensor | slice) -> Tensor:
        """A parameter of the samples' images: (n,) or (3, n)."""
        return Rows(self.q, self.image[some])[name]

    def where(self, *names: str) -> Tensor:
        hit = self.kind == KIND[names[0]]
        for name in names[1:]:
            hit = hit | (self.kind == KIND[name])
        return hit.nonzero()[:, 0]

    def paint(self) -> Tensor:
        self._cloth(self.where(*CLOTH))
        for names, details in (
            (("torso", "sleeve"), self._knit), (("skirt", "trousers"), self._waistband),
            (("trousers",), self._trousers), (("torso",), self._shirt),
            (("coat",), self._coat), (("inside",), self._inside),
        ):  # fmt: skip
            at = self.where(*names)
            f = Rows(self.fabric, self.cloth[at])
            self.colour[:, at] = details(at, f, self.colour[:, at], self.fine[at])
        self._skin(self.where("skin", "hand"))
        self._face(self.where("face"))
        self._hair(self.where("hair"))
        self._shoes(self.where("shoe"))
        return self._lit()

    # ---- cloth ----------------------------------------------------------------------

    def _cloth(self, at: Tensor) -> None:
        f = Rows(self.fabric, self.cloth[at])
        x, y, fine = self.x[at], self.y[at], self.fine[at]
        colour = printed(f, x, y, fine)
        weave = noise(x + 1.7 * y + 20 * f["x"], y - 0.6 * x + 20 * f["y"], 0.4)
        blur = (0.16 / fine).clamp(max=1) ** 2  # a sample may hold much of the weave
        grain = 0.02 + 0.05 * f["grain"] * (f["pattern"] <= 1) + 0.06 * f["denim"]
        # Creases: long soft ridges, slanted to both sides.
        lean = torch.where(x > 0, 0.6, -0.6)
        crease = noise(x + 3 * f["x"], 0.35 * y + lean * x + 5 * f["y"], 4.5)
        fold = (1 - crease.abs()).clamp(min=0) ** 2
        rumple = self.of("rumple", at) * (0.05 * crease - 0.06 * fold)
        seam = 0.3 * line(self.hem[at] - 0.9, 0.12, fine)
        self.colour[:, at] = colour * (1 + grain * blur * weave + rumple) * (1 - seam)
        self.gloss[at] = 0.35 * f["leather"] + 0.06 * f["sheen"]

    def _knit(self, at, f, colour, fine) -> Tensor:
        """Ribs at the end of sleeves and tops, the neckline's binding."""
        hem, top, stitch = self.hem[at], self.top[at], f["stitch"]
        cuff = band(hem, 2.0, fine) * (f["rib"] & (stitch < 0.45))
        ribs = 0.10 * torch.sin(self.across[at] * 60) * (0.25 / fine).clamp(max=1)
        colour = colour * (1 - cuff * (0.10 + ribs + 0.25 * line(hem - 2, 0.15, fine)))
        neck = (self.kind[at] == KIND["torso"]) & (top < 3)
        width = 0.8 + 0.6 * stitch
        trim = torch.where(f["trim"], f["second"], 0.9 * colour)
        colour = colour.lerp(trim, band(top, width, fine) * neck)
        return colour * (1 - 0.3 * neck * line(top - width, 0.14, fine))

    def _waistband(self, at, f, colour, fine) -> Tensor:
        top = self.top[at]
        colour = colour * (1 - 0.06 * band(top, 1.9, fine))
        return colour * (1 - 0.4 * line(top - 1.9, 0.14, fine))

    def _trousers(self, at, f, colour, fine) -> Tensor:
        """Fly, pockets, side seams, in denim with lighter stitches; a button."""
        x, top = self.x[at], self.top[at]
        fly = line(x - 0.25, 0.1, fine) * (top > 1.9) * (top < 11)
        curve = (x.abs() - 5.6 - 0.07 * (top - 2).clamp(0, 7) ** 2) * 0.8
        pocket = line(curve, 0.12, fine) * (top > 1.9) * (top < 6.5)
        side = line((self.across[at].abs() - 0.86) * 5, 0.1, fine) * (top > 12)
        stitch = torch.where(f["denim"], 0.35, -0.35)
        colour = colour * (1 + stitch * (fly + pocket + 0.7 * side).clamp(0, 1))
        button = band(torch.hypot(x, top - 0.95), 0.42, fine)
        metal = colour.new_tensor([[0.75], [0.66], [0.5]]).expand_as(colour)
        return colour.lerp(metal, 0.9 * button)

    def _shirt(self, at, f, colour, fine) -> Tensor:
        """Of some tops: a placket with buttons, and a collar of two flaps."""
        shirt = self.of("shirt", at) & (self.cloth[at] % FABRICS == 0)
        some = shirt.nonzero()[:, 0]
        if not len(some):
            return colour
        at, f, fine, part = at[some], f.of(some), fine[some], colour[:, some]
        x, y, top = self.x[at], self.y[at], self.top[at]
        part = part * (1 - 0.3 * line(x.abs() - 0.95, 0.1, fine))
        step = ((y / 4.2 + 0.35).frac() - 0.5) * 4.2
        dot = band(torch.hypot(x, step), 0.42, fine) * (top > 1.5)
        ink = torch.where(f["stitch"] < 0.5, 0.93, 0.12)
        part = part.lerp(ink.expand_as(part), 0.9 * dot)
        flap = 1.6 + 2.2 * torch.exp(-(((x.abs() - 2.6) / 1.3) ** 2))
        part = part.lerp(1 - 0.94 * (1 - part), band(top, flap, fine))
        colour[:, some] = part * (1 - 0.45 * line(top - flap, 0.16, fine))
        return colour

    def _coat(self, at, f, colour, fine) -> Tensor:
        """Lapels beside the opening, buttons, pockets."""
        x, y, top, low = self.x[at], self.y[at], self.top[at], self.of("closing", at)
        lapel = (1.2 + 4.2 * ramp(y, low, low - 9)) * (y < low)
        colour = colour * (1 - 0.06 * band(top, lapel, fine))
        notch = line((y + 17.5) * 0.9 + 0.5 * top, 0.15, fine) * (top < lapel)
        ink = 0.5 * line(top - lapel, 0.17, fine) * (y < low + 1)
        ink = torch.maximum(ink, 0.4 * notch)
        ink = torch.maximum(ink, 0.45 * line(top - 0.15, 0.12, fine))
        hip = torch.maximum((x.abs() - 8.2).abs() - 2.6, (y - 4.5).abs() - 0.65)
        colour = colour * (1 - torch.maximum(ink, 0.4 * line(hip, 0.14, fine)))
        right = x + self.of("overlap", at) > -0.5
        step = ((y - low) / 6.5 + 0.02).frac() - 0.1
        dot = band(torch.hypot(top - 1.4, step * 6.5), 0.62, fine)
        dot = dot * right * (y > low) * (y < low + 21)
        return colour.lerp(0.25 * colour + 0.05, dot)

    def _inside(self, at, f, colour, fine) -> Tensor:
        """The inside of a garment is dark, with a label."""
        label = band(self.x[at].abs(), 0.9, fine)
        label = label * band((self.top[at] - 1.0).abs(), 0.5, fine)
        return (0.58 * colour).lerp(torch.full_like(colour, 0.8), 0.8 * label)

    # ---- people ---------------------------------------------------------------------

    def _skin(self, at: Tensor) -> None:
        skin = self.of("skin", at)
        rosy = skin * skin.new_tensor([[1.0], [0.93], [0.92]])
        u, w = self.x[at], self.y[at]
        hand = self.kind[at] == KIND["hand"]
        colour = torch.where(hand, rosy, skin)
        # Fingers: dark lines along the hand.
        fingers = hand & (w > 4.6)
        gap = torch.cos(math.pi * (u * 2)).abs()
        dark = (1 - gap / 0.5).clamp(min=0) * fingers
        colour = colour * (1 - 0.35 * dark * (0.55 / self.fine[at]).clamp(max=1))
        # Collar bones and the hollow of the neck.
        neck = (w < -15) & (w > -30)
        bone = torch.exp(-(((w + 22.6 + 1.6 * u.abs() ** 2) / 0.5) ** 2))
        bone = bone * ramp(u.abs(), 0.08, 0.25) * (1 - ramp(u.abs(), 0.55, 0.8))
        colour = colour * (1 + 0.07 * neck * bone)
        under = torch.exp(-((((w + 27.5) / 1.6).clamp(min=0)) ** 2)) * neck
        colour = colour * (1 - 0.34 * under * (w < -20))
        plastic = self.of("mannequin", at)
        self.colour[:, at] = torch.where(plastic, self.of("dummy", at), colour)
        self.gloss[at] = torch.where(plastic, 0.25, 0.05)

    def _face(self, at: Tensor) -> None:
        place = torch.stack([self.x[at] / FACE, self.y[at]], -1)[None, None]
        maps = F.grid_sample(_face_maps(at.device), place, padding_mode="border",
                             align_corners=True)[0, :, 0]  # fmt: skip
        t = dict(zip(FACE_MAPS, maps, strict=True))
        skin, hair = self.of("skin", at), self.of("hair", at)
        colour = skin * (1 - 0.5 * t["shade"].clamp(0, 1)) * (1 - 0.12 * t["bags"])
        red = skin * skin.new_tensor([[1.03], [0.8], [0.78]])
        colour = colour.lerp(red, (0.3 * t["blush"]).clamp(0, 1))
        colour = colour * (1 - 0.15 * t["fold"] - 0.2 * t["crease"])
        beard = self.of("beard", at) * t["beard"]
        colour = colour.lerp(0.85 * hair, (0.8 * beard).clamp(0, 0.8))
        brow = torch.sigmoid((0.85 - t["brow"]) / 0.2)
        colour = colour.lerp(0.55 * hair + 0.05 * skin, 0.9 * brow)
        lips = skin * skin.new_tensor([[0.9], [0.52], [0.52]])
        paint = skin.new_tensor([[0.68], [0.14], [0.2]])
        lips = lips.lerp(paint.expand_as(lips), self.of("lipstick", at))
        colour = colour.lerp(lips, 0.9 * t["lip"])
        colour = colour.lerp(0.25 * lips, 0.85 * t["inside"])
        colour = colour * (1 - 0.7 * t["nostril"].clamp(0, 1))
        # Eyes: white, iris and pupil, below the dark line of the lid.
        side = torch.where(t["x"] > 0, 1.0, -1.0)
        r = torch.hypot(t["x"] - side * head.EYE, 1.15 * t["y"])
        iris = skin.new_tensor([[0.2], [0.14], [0.1]]).expand_as(skin)
        eye = torch.full_like(skin, 0.9).lerp(iris, torch.sigmoid((0.66 - r) / 0.06))
        colour = colour.lerp(eye, t["open_eye"])
        colour = colour.lerp(0.25 * hair, (0.95 * t["lid"]).clamp(0, 0.95))
        plastic = self.of("mannequin", at)
        self.colour[:, at] = torch.where(plastic, self.of("dummy", at), colour)
        self.gloss[at] = torch.where(plastic, 0.25, 0.06)

    def _hair(self, at: Tensor) -> None:
        u, r = self.x[at], self.y[at]
        hair = self.of("hair", at)
        strand = torch.sin(47 * u + 3 * r) + 0.7 * torch.sin(91 * u - 5 * r + 1.3)
        sheen = torch.exp(-(((r - 0.42 + 0.04 * torch.sin(20 * u)) / 0.15) ** 2))
        colour = hair * (1 + 0.13 * strand) * (1 - 0.35 * ramp(r, 0.75, 1.0))
        self.colour[:, at] = colour + 0.10 * sheen * (0.3 + hair)
        self.gloss[at] = 0.12

    def _shoes(self, at: Tensor) -> None:
        shoe = self.of("shoes", at)
        w = self.y[at]
        sole = torch.where(self.of("sneakers", at), 0.92, 0.05)
        rim = (self.across[at].abs() > 0.86).float() * (w > -2)
        self.colour[:, at] = shoe.lerp(sole.expand_as(shoe), 0.7 * rim)
        self.gloss[at] = 0.2

    # ---- light ----------------------------------------------------------------------

    def _lit(self) -> Tensor:
        every = slice(None)
        lamp, strength = self.of("lamp", every), self.of("contrast", every)
        n = self.normal
        facing = (n * lamp).sum(0)
        ambient = 0.52 - 0.14 * n[1] - 0.10 * n[2]
        light = ambient + 0.62 * ((facing + 0.3) / 1.3).clamp(min=0)
        light = 1 + strength * (light - 1)
        x, y, z = lamp
        shine = (n * unit(x, y, z - 1)).sum(0).clamp(min=0)
        shine = shine.square().square().square().square()
        colour = self.colour * light
        # Light that went through skin is red.
        at = self.where("skin", "face", "hand")
        colour[1:, at] *= 1 - 0.22 * (1 - light[at]).clamp(min=0)
        return colour + self.gloss * shine * strength
