"""Many small lattices at once: sheets of cloth, skin or hair, drawn by ``surface``.

All sheets have one shape, ``(N, C, h, w)``, and each belongs to an image of the batch.
A sheet is made as dense as its size on the screen asks for; sheets of equal density go
into the depth buffer together, so there is no loop over images. A picture does not
depend on its neighbours in the batch: density and order follow from the sheet alone.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lmscenes.surface import DepthBuffer, densify, lookup, number_of

H, W = 29, 21  # rows and columns of every sheet
DENSITIES = (4, 8, 12, 16, 24, 32, 44, 60, 84, 116, 160, 224, 320, 448, 640, 900)
STEP = 1.2  # largest distance of neighbouring points, in pixels


class Hits(NamedTuple):
    """Samples that show a sheet: number of the sample in the batch, and what it shows."""

    at: Tensor  # (n,) flat sample number
    sheet: Tensor  # (n,)
    row: Tensor  # (n,) in [0, h - 1]
    column: Tensor  # (n,) in [0, w - 1]

    def read(self, lattice: Tensor) -> Tensor:
        """Values ``(C, n)`` of lattices ``(N, C, h, w)`` at the samples."""
        return lookup(lattice, self.sheet, self.row, self.column)


def _class(steps: Tensor, count: int) -> Tensor:
    """Smallest density whose neighbours are near enough: ``steps`` (N,) in pixels."""
    need = steps * ((count - 1) / STEP) + 1
    sizes = steps.new_tensor(DENSITIES)
    return torch.searchsorted(sizes, need).clamp(max=len(DENSITIES) - 1)


def draw(points: Tensor, image: Tensor, batch: int, size: int) -> tuple[Tensor, Hits]:
    """Sheets ``(N, 3, h, w)``, x and y in pixels, depth > 0, into images ``(N,)``.

    Returns the depth keys ``(batch, size, size)`` and what each sample shows.
    """
    h, w = points.shape[2:]
    xy = points[:, :2]
    down = (xy[:, :, 1:] - xy[:, :, :-1]).square().sum(1).amax((1, 2)).sqrt()
    across = (xy[..., 1:] - xy[..., :-1]).square().sum(1).amax((1, 2)).sqrt()
    low, high = xy.amin((2, 3)), xy.amax((2, 3))
    seen = ((high > 0) & (low < size)).all(1)
    kinds = len(DENSITIES)
    code = _class(down, h) * kinds + _class(across, w)
    buffer = DepthBuffer(batch, size, points.device)
    groups, first = [], 0
    for value in code[seen].unique(sorted=True).tolist():
        some = (seen & (code == value)).nonzero()[:, 0]
        rows, columns = DENSITIES[value // kinds], DENSITIES[value % kinds]
        dense = densify(points[some], rows, columns)
        buffer.splat(dense, first, image=image[some])
        groups.append((first, rows, columns, some))
        first += len(some) * rows * columns
    keys = buffer.image()
    return keys, _hits(number_of(keys).flatten(), groups, h, w)


def _hits(number: Tensor, groups: list, h: int, w: int) -> Hits:
    at = (number >= 0).nonzero()[:, 0]
    number = number[at]
    if not groups:
        return Hits(at, number, number.float(), number.float())
    table = number.new_tensor([group[:3] for group in groups])
    start = table.new_tensor([0] + [len(group[3]) for group in groups]).cumsum(0)
    order = torch.cat([group[3] for group in groups])
    group = torch.searchsorted(table[:, 0].contiguous(), number, right=True) - 1
    first, rows, columns = table[group].unbind(1)
    number = number - first
    sheet = order[start[group] + number // (rows * columns)]
    local = number % (rows * columns)
    row = (local // columns) * ((h - 1) / (rows - 1))
    column = (local % columns) * ((w - 1) / (columns - 1))
    return Hits(at, sheet, row, column)
