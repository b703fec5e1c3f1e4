"""A small batched renderer: lattices of surface points, splatted into a depth buffer.

A surface is a lattice of points, ``(B, 3, rows, columns)``. It is interpolated until
neighbouring points are less than a pixel apart, and every point is written to its
pixel; the nearest one stays. Depth and point number share one integer (depth in front),
so that "the nearest" is a plain minimum: deterministic, and the same on any device.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

ID_BITS = 24  # point numbers below 16 million; the bits above hold the depth
EMPTY = 2**62
STEP = 1 / 256  # depth resolution in the unit of the points


def densify(lattice: Tensor, rows: int, columns: int) -> Tensor:
    """``(B, C, h, w)`` to ``(B, C, rows * columns)``; the borders stay where they are.

    A matrix product across, whole rows mixed downwards: on a CPU several times faster
    than F.interpolate.
    """
    h, w = lattice.shape[2:]
    position = torch.linspace(0, w - 1, columns)
    across = (1 - (position - torch.arange(w)[:, None]).abs()).clamp(min=0)
    wide = lattice @ across.to(lattice)
    position = torch.linspace(0, h - 1, rows).to(lattice)
    row = position.long().clamp(max=h - 2)
    below = (position - row)[:, None]
    return torch.lerp(
        wide.index_select(2, row), wide.index_select(2, row + 1), below
    ).flatten(2)


def normals(lattice: Tensor) -> Tensor:
    """Unit normals ``(B, 3, h, w)`` of a lattice, along columns x rows."""
    p = F.pad(lattice, (1, 1, 1, 1), mode="replicate")
    ax, ay, az = (p[:, :, 1:-1, 2:] - p[:, :, 1:-1, :-2]).unbind(1)
    dx, dy, dz = (p[:, :, 2:, 1:-1] - p[:, :, :-2, 1:-1]).unbind(1)
    return unit(ay * dz - az * dy, az * dx - ax * dz, ax * dy - ay * dx, dim=1)


def unit(x: Tensor, y: Tensor, z: Tensor, dim: int = 0) -> Tensor:
    """Vectors of length 1 (written out: several times faster than F.normalize)."""
    scale = (x * x + y * y + z * z).clamp_(min=1e-18).rsqrt_()
    return torch.stack([x * scale, y * scale, z * scale], dim)


class DepthBuffer:
    """``size`` x ``size`` pixels for each of ``batch`` images; smaller depth wins."""

    def __init__(self, batch: int, size: int, device=None):
        self.size = size
        # One more pixel, the last one, takes all points outside the frame.
        self.keys = torch.full((batch, size * size + 1), EMPTY, device=device)

    def splat(self, points: Tensor, first: int | Tensor, keep: Tensor | None = None,
              image: Tensor | None = None) -> None:  # fmt: skip
        """``points`` ``(B, 3, N)``: x, y in pixels (0 = left edge), depth > 0.

        They get the numbers ``first``, ``first + 1``, ... ``keep`` ``(B, 1)`` or
        ``(B, N)`` leaves points out. With ``image`` ``(M,)``, points are ``(M, 3, N)``:
        each row goes into the image named, with a first number of its own, ``(M, 1)``.
        """
        x, y = points[:, 0].floor(), points[:, 1].floor()
        inside = (x >= 0) & (x < self.size) & (y >= 0) & (y < self.size)
        if keep is not None:
            inside = inside & keep
        pixel = (y * self.size + x).where(inside, self.keys.new_tensor(self.size**2))
        number = torch.arange(points.shape[2], device=points.device) + first
        key = ((points[:, 2] / STEP).long() << ID_BITS) + number
        if image is None:
            self.keys.scatter_reduce_(1, pixel.long(), key, "amin")
        else:
            pixel = pixel.long() + image[:, None] * self.keys.shape[1]
            flat = self.keys.view(-1)
            flat.scatter_reduce_(0, pixel.flatten(), key.flatten(), "amin")

    def image(self) -> Tensor:
        """Keys ``(B, size, size)``, with the pinholes closed.

        A pixel far behind both its opposite neighbours is a hole between two points.
        """
        keys = self.keys[:, :-1].reshape(-1, self.size, self.size)
        for axis in (1, 2):
            n = self.size - 2
            a, m, b = (keys.narrow(axis, i, n) for i in range(3))
            behind = torch.maximum(a, b)
            gap = m - behind > (int(0.3 / STEP) << ID_BITS)
            filled = torch.where(gap & (behind < EMPTY), behind, m)
            ends = keys.narrow(axis, 0, 1), keys.narrow(axis, n + 1, 1)
            keys = torch.cat([ends[0], filled, ends[1]], axis)
        return keys


def number_of(keys: Tensor) -> Tensor:
    """The nearest point of each pixel; -1 where there is none."""
    return torch.where(keys < EMPTY, keys & (2**ID_BITS - 1), -1)


def nearest_of_four(keys: Tensor) -> Tensor:
    """Keys of 2x2 samples ``(B, 2H, 2W)`` to the nearest one of each, ``(B, H, W)``."""
    keys = torch.minimum(keys[:, ::2], keys[:, 1::2])
    return torch.minimum(keys[:, :, ::2], keys[:, :, 1::2])


def depth_of(keys: Tensor) -> Tensor:
    """Depth of each pixel; very large where there is nothing."""
    return (keys >> ID_BITS).float() * STEP


def lookup(lattice: Tensor, image: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Read ``(B, C, h, w)`` bilinearly at ``n`` places of given images: ``(C, n)``.

    ``image`` ``(n,)`` int, ``row`` in [0, h - 1] and ``column`` in [0, w - 1] float.
    """
    _, channels, h, w = lattice.shape
    flat = lattice.permute(0, 2, 3, 1).reshape(-1, channels)
    r, c = row.long().clamp(max=h - 2), column.long().clamp(max=w - 2)
    fr, fc = (row - r).unsqueeze(1), (column - c).unsqueeze(1)
    at = image * (h * w) + r * w + c
    near, below = flat.index_select(0, at), flat.index_select(0, at + w)
    top = near.lerp(flat.index_select(0, at + 1), fc)
    bottom = below.lerp(flat.index_select(0, at + w + 1), fc)
    return torch.lerp(top, bottom, fr).T
