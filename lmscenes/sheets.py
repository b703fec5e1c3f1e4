"""Many small lattices at once: sheets of cloth, skin or hair, drawn by ``surface``.

All sheets have one shape, ``(N, C, h, w)``, and each belongs to an image of the batch.
A sheet is made as dense as its size on the screen asks for; sheets of equal density go
into the depth buffer together, so there is no loop over images. A picture does not
depend on its neighbours in the batch: density and order follow from the sheet alone.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lmscenes.surface import ID_BITS, DepthBuffer, densify, lookup, number_of

H, W = 29, 21  # rows and columns of every sheet
DENSITIES = (4, 8, 12, 16, 24, 32, 44, 60, 84, 116, 160, 224, 320, 448, 640, 900)
STEP = 1.2  # largest distance of neighbouring points, in pixels


class Hits(NamedTuple):
    """Samples that show a sheet: their number in the batch, and what they show."""

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


def _inset(points: Tensor) -> Tensor:
    """Sheets half a pixel smaller: a pixel that a sheet touches is drawn as a whole, so
    that areas are right on the average."""
    out = points.clone()
    for axis in (2, 3):
        for end, inner in ((0, 1), (-1, -2)):
            edge, next_ = out.select(axis, end), out.select(axis, inner)
            far = (edge - next_)[:, :2].square().sum(1, keepdim=True).sqrt()
            share = (0.5 / far.clamp(min=0.5)).clamp(max=0.9)
            edge.copy_(torch.lerp(edge, next_, share))
    return out


def draw(points: Tensor, image: Tensor, batch: int, size: int) -> tuple[Tensor, Hits]:
    """Sheets ``(N, 3, h, w)``, x and y in pixels, depth > 0, into images ``(N,)``.

    Returns the depth keys ``(batch, size, size)`` and what each sample shows.
    """
    h, w = points.shape[2:]
    xy = points[:, :2]
    down = (xy[:, :, 1:] - xy[:, :, :-1]).square().sum(1).amax((1, 2)).sqrt()
    across = (xy[..., 1:] - xy[..., :-1]).square().sum(1).amax((1, 2)).sqrt()
    seen = ((xy.amax((2, 3)) > 0) & (xy.amin((2, 3)) < size)).all(1)
    kinds = len(DENSITIES)
    code = _class(down, h) * kinds + _class(across, w)
    sizes = code.new_tensor(DENSITIES)
    rows, columns = sizes[code // kinds], sizes[code % kinds]
    # Points are numbered within their image, sheet after sheet.
    order = image.argsort(stable=True)
    total = (rows * columns * seen)[order].cumsum(0)
    before = F.pad(total, (1, 0))[:-1]
    start = torch.searchsorted(image[order].contiguous(), image[order].contiguous())
    first = torch.empty_like(total)
    first[order] = before - before[start]
    buffer, inner = DepthBuffer(batch, size, points.device), _inset(points)
    for value in code[seen].unique(sorted=True).tolist():
        some = (seen & (code == value)).nonzero()[:, 0]
        shape = DENSITIES[value // kinds], DENSITIES[value % kinds]
        dense = densify(inner[some], *shape)
        buffer.splat(dense, first[some, None], image=image[some])
    keys = buffer.image()
    # Back from the numbers: the last sheet of the image that begins before.
    number = number_of(keys).flatten()
    at = (number >= 0).nonzero()[:, 0]
    number = number[at]
    order = order[seen[order]]
    begins = (image << ID_BITS)[order] + first[order]
    own = (at // size**2 << ID_BITS) + number
    sheet = order[torch.searchsorted(begins, own, right=True) - 1]
    local = number - first[sheet]
    columns = columns[sheet]
    row = (local // columns) * ((h - 1) / (rows[sheet] - 1))
    column = (local % columns) * ((w - 1) / (columns - 1))
    return keys, Hits(at, sheet, row, column)
