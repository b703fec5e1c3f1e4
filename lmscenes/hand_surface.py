"""The surface of hands: capsules around bones, and what is highest is seen.

A bone is numbered as in ``hands``: 0-14 digits (three each, thumb first), then palm,
arm and sleeve. Only the digits' first bones melt into the palm.
"""

import torch
from torch import Tensor

from lmscenes.shared import smooth_max

PALM, ARM, SLEEVE, N_BONES = 15, 27, 29, 31
TILE = 8  # pixels: a bone is drawn only into the tiles it may touch
FAR = -9.0  # cm: height where there is no hand


def surface(bones: dict[str, Tensor], side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Height (cm), distance from the outline (cm, positive inside) and which bone is
    seen, all ``(B, side, side)``."""
    tiles = _Tiles(bones, side)
    n, count = tiles.images, tiles.count
    height = tiles.corner.new_full((n * count**2, TILE**2), FAR)
    edge, which = height.clone(), torch.zeros_like(height, dtype=torch.uint8)
    for i in range(PALM, SLEEVE):
        row = tiles.rows(i, i + 1)
        z, d = tiles.capsule(i, row)
        top = height[row]
        which[row] = which[row].masked_fill_(z > top, i)
        height[row] = smooth_max(top, z, 2.0)
        edge[row] = smooth_max(edge[row], d, 0.8)
    palm, outline = height.clone(), edge.clone()
    for i in range(0, PALM, 3):
        row = tiles.rows(i, i + 3)
        top, rim, seen = height[row], edge[row], which[row]
        chain, d = tiles.capsule(i, row)
        seen.masked_fill_(chain > top, i)
        # Only the first bone melts into the palm: folded ends lie on it.
        top = torch.maximum(top, smooth_max(palm[row], chain, 0.9))
        rim = torch.maximum(rim, smooth_max(outline[row], d, 0.9))
        for j in (i + 1, i + 2):
            z, d = tiles.capsule(j, row)
            seen.masked_fill_((z > top) & (z > chain), j)
            chain = smooth_max(chain, z, 0.25)
            top, rim = torch.maximum(top, chain), torch.maximum(rim, d)
        height[row], edge[row], which[row] = top, rim, seen
    for i in range(SLEEVE, N_BONES):
        row = tiles.rows(i, i + 1)
        z, d = tiles.capsule(i, row)
        which[row] = which[row].masked_fill_(z > height[row], SLEEVE)
        height[row] = torch.maximum(height[row], z)
        edge[row] = torch.maximum(edge[row], d)
    return tiles.whole(height), tiles.whole(edge), tiles.whole(which)


class _Tiles:
    """Pictures in tiles, and which of them each bone may touch.

    A bone touches a tenth of a picture, so it reads and writes only the rows (image,
    tile) that its box overlaps.
    """

    def __init__(self, bones: dict[str, Tensor], side: int):
        a, b, ra, rb, size = (bones[name] for name in ("a", "b", "ra", "rb", "unit"))
        self.images, self.side, self.count = len(a), side, -(-side // TILE)
        device = a.device
        pixel = (torch.arange(TILE, device=device) + 0.5) * 2 / side
        grid = torch.meshgrid(-pixel, pixel, indexing="ij")
        self.dy, self.dx = (t.flatten() for t in grid)  # (P,)
        step = torch.arange(self.count, device=device) * (2 * TILE / side) - 1
        corner = torch.stack(torch.meshgrid(step, -step, indexing="xy"), -1)
        corner = corner.reshape(-1, 2)
        self.corner = corner / size[:, None, None]  # (B, T, 2) top left, cm
        step = (2 * TILE / side) / size[:, None, None]

        axis = b[..., :2] - a[..., :2]
        length = axis.norm(dim=-1).clamp(min=1e-3)  # in the image plane
        axis = axis / length[..., None]
        rise = b[..., 2] - a[..., 2]
        lean = rise / (rise.square() + length.square()).sqrt()
        table = [*axis.unbind(-1), *a.unbind(-1), ra, rb - ra, length, rise, lean]
        table = torch.stack([*table, 1 / size[:, None].expand_as(ra)], -1)
        self.table = table  # (B, N, 11)

        reach = torch.maximum(ra, rb)[..., None] + 1.0
        low = torch.minimum(a, b)[..., :2] - reach
        high = torch.maximum(a, b)[..., :2] + reach
        x, y = self.corner[:, None].unbind(-1)  # (B, 1, T)
        hit = (x < high[..., :1]) & (x + step > low[..., :1])
        hit &= (y > low[..., 1:]) & (y - step < high[..., 1:])
        self.hit = hit  # (B, N, T)

    def rows(self, first: int, last: int) -> Tensor:
        """Numbers of the tiles that these bones may touch."""
        image, tile = self.hit[:, first:last].any(1).nonzero(as_tuple=True)
        return image * self.count**2 + tile

    def capsule(self, i: int, row: Tensor) -> tuple[Tensor, Tensor]:
        """Height and edge distance of bone i in the given tiles, both (M, P)."""
        numbers = self.table[row // self.count**2, i].mT[..., None]
        ex, ey, x0, y0, z0, r0, dr, long, up, slant, cm = numbers
        x = self.corner.reshape(-1, 2)[row, :1] - x0 + self.dx * cm
        y = self.corner.reshape(-1, 2)[row, 1:] - y0 + self.dy * cm
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

    def whole(self, x: Tensor) -> Tensor:
        """Tiles put together again."""
        x = x.reshape(self.images, self.count, self.count, TILE, TILE).transpose(2, 3)
        x = x.reshape(self.images, self.count * TILE, -1)
        return x[:, : self.side, : self.side]
