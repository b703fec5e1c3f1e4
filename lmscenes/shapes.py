"""Shapes (Honari et al. 2018, section 4.1): one square, one triangle, one question.

60x60, white on black; size, place and orientation are random. The label says which of
the two is nearer to the top-left corner: 0 the triangle, 1 the square. The paper leaves
the sizes open; ours are below. The shapes never touch each other or the border, and the
difficulty knob ``margin`` keeps a gap between the two distances (0: none, as in the
paper).
"""

import math

import torch

from lmlib.samples import Batch
from lmscenes.engine import (
    Canvas,
    as_indices,
    between,
    first_valid,
    over,
    regular_polygon,
    rotation,
    uniform,
)

RADIUS = (0.16, 0.30)  # circumscribed circle, in [-1, 1] units: 4.8 to 9 pixels of 60
GAP = 2 / 60  # to the border and between the shapes: a pixel of 60, at any resolution
TRIES = 24  # placements tried for each image; the chance that none fits is below 1e-6


class Shapes:
    """Batch adds ``label`` (B,) and ``mask`` (B, 2, H, W): coverage of triangle,
    square.

    ``landmarks`` (B, 2, 2) are the centroids of the triangle and of the square.
    """

    names = ("triangle", "square")
    classes = ("triangle is nearer", "square is nearer")

    def __init__(self, size: int = 60, seed: int = 0, margin: float = 0.0):
        if size < 8:
            raise ValueError(f"Shapes needs at least 8x8 pixels, got {size}")
        if not 0 <= margin < 1:
            raise ValueError(f"margin must be in [0, 1), got {margin}")
        self.size, self.seed, self.margin = size, seed, margin

    def batch(self, indices, device=None) -> Batch:
        indices = as_indices(indices, device)
        device, n = indices.device, len(indices)
        u = uniform(indices, 4 + 4 * TRIES, self.seed, stream=1)
        radius = between(u[:, :2], *RADIUS)  # (B, 2)
        angle = u[:, 2:4] * (2 * math.pi)

        places = between(u[:, 4:].reshape(n, TRIES, 2, 2), -1, 1)
        room = 1 - GAP - radius[:, None, :, None]
        places = places * room  # never over the border
        apart = (places[:, :, 0] - places[:, :, 1]).norm(dim=-1)
        corner = (places + 1).norm(dim=-1)  # distance to the top-left corner
        gap = (corner[..., 0] - corner[..., 1]).abs()
        touch = radius.sum(1)[:, None] + GAP
        valid = (apart > touch) & (gap > self.margin)
        centre, corner = first_valid(valid, places, corner)

        canvas = Canvas(self.size, device)
        coverages = []
        for which, sides in enumerate((3, 4)):
            corners = regular_polygon(sides).to(device) * radius[:, which, None, None]
            turned = corners @ rotation(angle[:, which]).mT
            coverages.append(canvas.convex_polygon(turned + centre[:, which, None]))
        image = torch.zeros(n, 1, self.size, self.size, device=device)
        for coverage in coverages:
            over(image, 1.0, coverage)
        return {
            "image": image,
            "landmarks": centre,
            "visible": torch.ones(n, 2, dtype=torch.bool, device=device),
            "index": indices,
            "label": (corner[:, 1] < corner[:, 0]).long(),
            "mask": torch.stack(coverages, dim=1),
        }
