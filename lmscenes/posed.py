"""Heads in front of a camera: what the faces of people and of animals share.

A surface is a lattice in the head's centimetres that is posed, projected and splatted
into one depth buffer; then each pixel is coloured once, from what the lattice knows at
that place. A wall is a flat layer behind.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.geometry import pixel_grid
from lmlib.samples import Batch
from lmscenes.engine import uniform
from lmscenes.shared import turn
from lmscenes.surface import (
    DepthBuffer,
    densify,
    lookup,
    nearest_of_four,
    normals,
    number_of,
    unit,
)

TILE = 16  # images drawn together: what fits a processor's cache
DETAIL = 0.95  # lattice points per pixel of the depth buffer
PIVOT = (0.0, 7.0, -3.0)  # the head turns on the neck


def points_per_centimetre(size: int, margin: float) -> float:
    """How fine lattices must be for images of ``size`` pixels."""
    return DETAIL * 2 * size / (14.7 * margin)


class Posed:
    """One tile of images: camera, depth buffer, light.

    ``q`` holds what is random about the images (``Faces.parameters``). A subclass sets
    ``constants`` with ``dense``, the size (rows, columns) of each kind of lattice, and
    ``uv`` of the skin's points; and says how a kind is coloured, in ``paint``.
    """

    constants: dict

    def __init__(self, size: int, q: Batch, seed: int):
        self.size, self.fine, self.q, self.seed = size, 2 * size, q, seed
        self.n, self.device = len(q["index"]), q["index"].device
        yaw, pitch, roll = torch.deg2rad(q["pose"]).unbind(1)
        self.turn = turn(roll, 2) @ turn(-pitch, 0) @ turn(yaw, 1)  # (B, 3, 3)
        # Of each lattice in the buffer: its first number, points, size, normals.
        self.parts: dict[str, tuple] = {}
        self.first = 0

    # ---- camera ------------------------------------------------------------------

    def project(self, points: Tensor) -> Tensor:
        """Head coordinates ``(B, 3, ...)`` to x, y (cm at the pivot), depth."""
        shape = points.shape
        pivot = points.new_tensor(PIVOT)[:, None]
        p = self.turn @ (points.flatten(2) - pivot) + pivot
        depth = self.q["distance"][:, None] - p[:, 2]
        near = (self.q["distance"][:, None] / depth).unsqueeze(1)
        return torch.cat([p[:, :2] * near, depth.unsqueeze(1)], 1).reshape(shape)

    def look_at(self, flat: Tensor) -> None:
        """Frame the box of projected points ``(B, 3, N)``, widened by the margin."""
        low, high = flat[:, :2].amin(2), flat[:, :2].amax(2)
        self.reach = (high - low).amax(1) / 2 * self.q["margin"]
        self.centre = (low + high) / 2 + self.q["shift"] * self.reach[:, None]

    def to_frame(self, xy: Tensor) -> Tensor:
        """Projected x, y ``(B, 2, ...)`` to [-1, 1]."""
        wide = (slice(None), slice(None)) + (None,) * (xy.ndim - 2)
        return (xy - self.centre[wide]) / self.reach[:, None][wide]

    def screen(self, points: Tensor) -> Tensor:
        """Head coordinates ``(B, 3, ...)`` to pixels of the depth buffer, depth."""
        p = self.project(points)
        xy = (self.to_frame(p[:, :2]) + 1) * (self.fine / 2)
        return torch.cat([xy, p[:, 2:]], 1)

    # ---- surfaces ----------------------------------------------------------------

    def add(
        self,
        buffer: DepthBuffer,
        kind: str,
        lattice: Tensor,
        keep: Tensor | None = None,
        facing: Tensor | None = None,
    ) -> None:
        """Put a lattice ``(B, 3, h, w)`` of a kind into the buffer.

        ``keep (B,)``: in which images. ``facing``: its normals, turned, where known.
        """
        dense = self.constants["dense"][kind]
        points = densify(self.screen(lattice), *dense)
        buffer.splat(points, self.first, None if keep is None else keep[:, None])
        name = kind if kind not in self.parts else kind + " 2"
        self.parts[name] = (self.first, lattice, dense, facing)
        self.first += dense[0] * dense[1]

    def turned_normals(self, lattice: Tensor) -> Tensor:
        """Unit normals of a lattice as the camera sees them, ``(B, 3, h, w)``."""
        return (self.turn @ normals(lattice).flatten(2)).view_as(lattice)

    def paint(
        self, kind: str, at: Tensor, which: Tensor, k: Tensor, normal: Tensor
    ) -> Tensor:
        """Colours ``(3, N)`` of points ``k`` of a lattice with their normals.

        ``at``: their pixels in the tile; ``which``: their images; all ``(N,)``.
        """
        raise NotImplementedError

    def coloured(self, image: Tensor, number: Tensor) -> Tensor:
        """The surfaces on a background ``(B, 3, H, W)``, at twice its size.

        ``number (B, 2H, 2W)`` is the nearest point of each pixel (``number_of``).
        """
        image = image.repeat_interleave(2, 2).repeat_interleave(2, 3)
        flat = image.transpose(0, 1).reshape(3, -1)
        hit = (number >= 0).flatten().nonzero().flatten()
        hit_number = number.flatten()[hit]
        for name, (first, lattice, dense, facing) in self.parts.items():
            here = (hit_number >= first) & (hit_number < first + dense[0] * dense[1])
            at, k = hit[here], hit_number[here] - first
            which = at // self.fine**2
            if facing is None:
                facing = self.turned_normals(lattice)
            row = (k // dense[1]) * ((lattice.shape[2] - 1) / (dense[0] - 1))
            column = (k % dense[1]) * ((lattice.shape[3] - 1) / (dense[1] - 1))
            normal = lookup(facing, which, row, column)
            flat[:, at] = self.paint(name.split()[0], at, which, k, normal)
        return flat.reshape(3, self.n, self.fine, self.fine).transpose(0, 1)

    def developed(self, image: Tensor) -> Tensor:
        """Warmth and exposure of the light, ``(B, 3, H, W)`` in [0, 1]."""
        power = self.q["warm"] * self.q["exposure"][:, None]
        return (image * power[:, :, None, None]).clamp(0, 1)

    def surface(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates of the nearest of each pixel's four samples, where it is skin."""
        n, size, skin_uv = self.n, self.size, self.constants["uv"]
        number = number_of(nearest_of_four(keys)).flatten(1)
        skin = (number >= 0) & (number < skin_uv.shape[1])
        uv = skin_uv[:, number.clamp(min=0).clamp(max=skin_uv.shape[1] - 1)]
        uv = (uv * skin).transpose(0, 1).reshape(n, 2, size, size)
        return uv, skin.float().reshape(n, 1, size, size)

    # ---- light -------------------------------------------------------------------

    def of(self, name: str, which: Tensor) -> Tensor:
        """A parameter of each pixel's image: (N,) or (C, N)."""
        value = self.q[name]
        return (value if value.ndim == 1 else value.T).index_select(-1, which)

    def shade(self, colour, normal, which, open_, gloss, power=14.0, tint=None):
        """Ambient light, one lamp that wraps around (skin scatters), and a gloss."""
        light, ambient = self.of("light", which), self.of("ambient", which)
        facing = (normal * light).sum(0)
        diffuse = ((facing + 0.25) / 1.25).clamp(min=0)
        half = unit(light[0], light[1], light[2] + 1)
        shine = (normal * half).sum(0).clamp(min=0) ** power
        sky = 0.85 - 0.15 * normal[1]
        lit = ambient * sky * open_ + (1.05 - 0.75 * ambient) * diffuse * (
            0.35 + 0.65 * open_
        )
        if tint is not None:  # light that went through skin is red
            colour = colour * (1 - (1 - lit).clamp(min=0) * colour.new_tensor(tint))
        return colour * lit + gloss * shine * (1.1 - ambient) * open_

    # ---- behind the head -----------------------------------------------------------

    def centimetres(self) -> tuple[Tensor, Tensor]:
        """x and y of the pixels in the plane of the pivot, ``(B, H, W)`` each."""
        grid = pixel_grid(self.size, self.size, self.device).permute(2, 0, 1)
        xy = grid * self.reach[:, None, None, None] + self.centre[:, :, None, None]
        return xy[:, 0], xy[:, 1]

    def wall(self, studio: bool, background: bool) -> Tensor:
        """A plain wall, or clutter out of focus, ``(B, 3, H, W)``."""
        q, n = self.q, self.n
        p = q["place"]
        s = self.size  # nothing here is sharper than a pixel
        grid = pixel_grid(s, s, self.device).permute(2, 0, 1)  # (2, s, s)
        if studio or not background:
            base = (0.45 + 0.2 * p[:, :1] * background) * torch.ones_like(
                p[:, :3]
            ) + 0.04 * (p[:, 1:4] - 0.5) * background
            tilt = 0.10 * (p[:, 4:6] - 0.5) * background
            slope = (tilt[:, :, None, None] * grid).sum(1, keepdim=True)
            return (base[:, :, None, None] + slope).clamp(0, 1)
        coarse = uniform(q["index"], 3 * 36 + 3 * 144 + 5 * 10, self.seed, stream=40)
        big, small, boxes = coarse.split([108, 432, 50], 1)
        big = big.reshape(n, 3, 6, 6)
        mean = p[:, :3, None, None]
        grey = big.mean(1, keepdim=True)
        big = grey + (0.15 + 0.5 * p[:, 4, None, None, None]) * (big - grey)
        mean = 0.5 + 0.7 * (p[:, 5, None, None, None] - 0.5) + 0.3 * (mean - 0.5)
        big = F.interpolate(mean + 0.55 * (big - 0.5), (s, s), mode="bicubic")
        small = small.reshape(n, 3, 12, 12) - 0.5
        small = F.interpolate(small, (s, s), mode="bilinear")
        image = big + (0.22 * p[:, 3])[:, None, None, None] * small
        return self.clutter(0.08 + 0.8 * image, grid, boxes).clamp(0, 1)

    def clutter(self, image: Tensor, grid: Tensor, boxes: Tensor) -> Tensor:
        """Five out-of-focus boxes: windows, shelves, people far away."""
        for u in boxes.reshape(self.n, 5, 10).unbind(1):
            where = 2.4 * u[:, :2, None, None] - 1.2
            half = 0.08 + 0.6 * u[:, 2:4, None, None] ** 2
            far = ((grid - where).abs() - half).amax(1, keepdim=True)
            cover = torch.sigmoid(-far / (0.01 + 0.08 * u[:, 4, None, None, None]))
            grey = u[:, 5, None, None, None]
            colour = grey + 0.35 * (u[:, 6:9, None, None] - 0.5)
            image = image.lerp(colour.clamp(0, 1), 0.75 * cover)
        return image
