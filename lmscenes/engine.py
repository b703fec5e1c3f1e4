"""A small drawing engine: anti-aliased shapes for a whole batch at once, on any device.

Two rules make a scene a data set. Every random number is a pure function of (seed,
image index, stream), so an image is the same in any batch and on any device. And
everything is drawn in [-1, 1] coordinates, so the truth (landmarks, masks) is exact,
not measured.
"""

import math

import torch
from torch import Tensor

from lmlib.geometry import pixel_grid
from lmlib.samples import as_tensor


def as_indices(indices, device=None) -> Tensor:
    """A range, list or tensor of image numbers as an int64 tensor; never empty."""
    indices = torch.as_tensor(as_tensor(indices), device=device)
    if indices.is_floating_point() or indices.ndim != 1 or len(indices) == 0:
        raise ValueError(
            "image indices must be a non-empty list of integers, "
            f"got {tuple(indices.shape)} {indices.dtype}"
        )
    if (indices < 0).any():
        raise ValueError(f"image indices must not be negative, got {indices.min()}")
    return indices.long()


def _mix(x: Tensor) -> Tensor:
    """Scramble 64-bit integers (the finaliser of the splitmix64 generator)."""
    # Python's literals are unsigned, torch's int64 is signed: hence the subtraction.
    for shift, factor in (
        (30, 0xBF58476D1CE4E5B9 - 2**64),
        (27, 0x94D049BB133111EB - 2**64),
    ):
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def uniform(indices: Tensor, count: int, seed: int, stream: int) -> Tensor:
    """``(B, count)`` numbers in [0, 1), fixed by (seed, index, stream) alone."""
    golden = 0x9E3779B97F4A7C15 - 2**64
    column = torch.arange(count, device=indices.device)
    key = _mix(indices[:, None] * golden + (seed * 1009 + stream + 1) * 0x632BE59B)
    bits = _mix(key + (column[None] + 1) * golden)
    return ((bits >> 40) & 0xFFFFFF).float() / 2**24  # 24 bits fill a float32 exactly


def between(u: Tensor, low: float, high: float) -> Tensor:
    """Stretch uniform numbers from [0, 1) to [low, high)."""
    return low + (high - low) * u


def rotation(angle: Tensor) -> Tensor:
    """Rotation matrices ``(..., 2, 2)``; positive is clockwise, as y points down."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def first_valid(valid: Tensor, *candidates: Tensor) -> list[Tensor]:
    """Rejection sampling without a loop: for each image the first candidate that is
    valid.

    ``valid`` is ``(B, R)``, every candidate ``(B, R, ...)``. If all R fail, the last
    one.
    """
    chosen = torch.where(valid.any(1), valid.float().argmax(1), valid.shape[1] - 1)
    rows = torch.arange(len(chosen), device=chosen.device)
    return [candidate[rows, chosen] for candidate in candidates]


class Canvas:
    """Coverage maps of shapes for images of one size; corners in [-1, 1].

    Coverage is the share of a pixel inside the shape, from the signed distance of the
    pixel's centre to the edge: exact for straight edges along the axes, and within a
    few percent elsewhere.
    """

    def __init__(self, size: int, device=None):
        self.size = size
        grid = pixel_grid(size, size, device).reshape(-1, 2)
        self.grid = grid  # (HW, 2)
        self._rows = torch.cat([grid, torch.ones_like(grid[:, :1])], 1).T  # (3, HW)

    def _coverage(self, distance: Tensor) -> Tensor:
        """Signed distance (negative inside, in pixels) ``(..., HW)`` to coverage."""
        coverage = distance.mul_(-1).add_(0.5).clamp_(0, 1)
        return coverage.reshape(*distance.shape[:-1], self.size, self.size)

    def convex_polygon(self, corners: Tensor) -> Tensor:
        """``(B, N, 2)`` corners in either turning sense to coverage ``(B, H, W)``.

        A convex polygon is where all its edges' half-planes meet: the distance to it is
        the largest of the distances to the edges, one matrix product for all of them.
        """
        edge = corners.roll(-1, dims=1) - corners
        normal = torch.stack([edge[..., 1], -edge[..., 0]], -1)
        normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-9)
        offset = (normal * corners).sum(-1, keepdim=True)
        centre = corners.mean(dim=1, keepdim=True)
        inside = (normal * centre).sum(-1, keepdim=True) - offset
        planes = torch.cat([normal, -offset], -1) * -torch.sign(inside)  # (B, N, 3)
        planes = planes * (self.size / 2)  # distances in pixels
        return self._coverage((planes @ self._rows).amax(dim=1))

    def disc(self, centre: Tensor, radius: Tensor) -> Tensor:
        """Discs: ``centre`` ``(B, 2)``, ``radius`` ``(B,)`` to coverage ``(B, H,
        W)``."""
        distance = torch.cdist(centre, self.grid) - radius[:, None]
        return self._coverage(distance * (self.size / 2))

    def capsule(self, start: Tensor, end: Tensor, radius: Tensor) -> Tensor:
        """Thick line with round ends: ``(B, 2)``, ``(B, 2)``, ``(B,)`` to ``(B, H,
        W)``."""
        along = end - start
        offset = self.grid[None] - start[:, None]  # (B, HW, 2)
        length = along.square().sum(-1).clamp(min=1e-9)
        t = ((offset @ along[:, :, None])[..., 0] / length[:, None]).clamp(0, 1)
        distance = (offset - t[..., None] * along[:, None]).norm(dim=-1)
        return self._coverage((distance - radius[:, None]) * (self.size / 2))


def over(image: Tensor, colour: Tensor | float, coverage: Tensor) -> Tensor:
    """Paint ``colour`` ``(B, C)`` or a number on ``(B, C, H, W)``, in place."""
    if isinstance(colour, Tensor):
        colour = colour[:, :, None, None]
    return image.lerp_(torch.zeros_like(image) + colour, coverage.unsqueeze(1))


def regular_polygon(sides: int, turn: float = 0.0) -> Tensor:
    """Corners ``(sides, 2)`` on the unit circle, the first one at angle ``turn``."""
    angle = turn + torch.arange(sides) * (2 * math.pi / sides)
    return torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
