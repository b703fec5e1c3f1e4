"""Blocks (Honari et al. 2018, section 4.2): fifteen chains of five squares and a
triangle.

The paper shows its fifteen base figures only as a small picture, so the list below is
ours: six cells in a row of turns. The head is the triangle; it points away from the
chain. Each image turns its figure by any angle, scales it and moves it.

The class must be readable from the five landmarks alone, the squares, since Seq-MT's
classifier sees nothing else. So no two chains differ in their first turn only, which
moves nothing but the head. No two figures are mirror images of each other either.

Sizes were calibrated on the one number the paper gives away: guessing the mean position
costs about 13 pixels (its Comm-MT at 1 % of the labels is off by 12.9). Side 7 px,
scale 0.8 to 1.2 and shifts of up to 15 px, rejected where a corner would leave the
canvas.
"""

import math

import torch

from lmlib.samples import Batch
from lmscenes.engine import Canvas, as_indices, between, first_valid, rotation, uniform

# Turns taken between the five squares, from the head on: F(orward), L(eft), R(ight).
CHAINS = {
    "line": "FFFF",
    "hook at the tail": "FFFL",
    "hook before the tail": "FFLF",
    "corner": "FLFF",
    "late step": "FFLR",
    "early step": "FLRF",
    "head step": "LRFF",
    "staircase": "LRLR",
    "long s": "FLFR",
    "wide s": "LFRF",
    "small u": "FFLL",
    "u then out": "FLLR",
    "crank": "LFFR",
    "wide u": "FLFL",
    "long z": "LRFL",
}
SIDE = 7.0  # pixels of a 60-pixel image, at scale 1
SCALE = (0.8, 1.2)
SHIFT = 15.0  # pixels, each direction
TRIES = 24


def chain_cells(turns: str) -> torch.Tensor:
    """Cell positions ``(6, 2)`` in units of the side: the head, then squares 1 to 5.

    The head sits at (0, 0) and the first square below it, at (0, 1).
    """
    heading, cells = (0, 1), [(0, 0), (0, 1)]
    for turn in turns:
        x, y = heading
        heading = {"F": (x, y), "L": (y, -x), "R": (-y, x)}[turn]
        cells.append((cells[-1][0] + heading[0], cells[-1][1] + heading[1]))
    if len(set(cells)) != len(cells):
        raise ValueError(f"the chain {turns!r} runs into itself")
    return torch.tensor(cells, dtype=torch.float32)


class Blocks:
    """Batch adds ``label`` (B,) in 0..14 and ``mask`` (B, 5, H, W), one for each
    square.

    ``landmarks`` (B, 5, 2) are the squares' centres, from the head to the tail.
    """

    names = tuple(f"square {i + 1}" for i in range(5))
    classes = tuple(CHAINS)

    def __init__(self, size: int = 60, seed: int = 0):
        if size < 20:
            raise ValueError(f"Blocks needs at least 20x20 pixels, got {size}")
        self.size, self.seed = size, seed
        cells = torch.stack([chain_cells(turns) for turns in CHAINS.values()])
        self.cells = cells - cells.mean(dim=1, keepdim=True)  # (15, 6, 2)

    def batch(self, indices, device=None) -> Batch:
        indices = as_indices(indices, device)
        device, n = indices.device, len(indices)
        pixel = 2 / 60  # the sizes above are pixels of 60, at any resolution
        # Classes go round, so that any run of 15 images is balanced.
        label = indices % len(CHAINS)
        u = uniform(indices, 4 * TRIES, self.seed, stream=2).reshape(n, TRIES, 4)
        angle, scale = u[..., 0] * (2 * math.pi), between(u[..., 1], *SCALE)
        shift = between(u[..., 2:], -SHIFT, SHIFT) * pixel

        half = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
        corners = self.cells.to(device)[:, :, None] + half.to(device)  # (15, 6, 4, 2)
        corners = corners.flatten(1, 2)[label]  # (B, 24, 2)
        size = (scale * SIDE * pixel)[..., None, None]
        place = rotation(angle).mT * size  # (B, R, 2, 2)
        moved = corners[:, None] @ place + shift[:, :, None]  # (B, R, 24, 2)
        inside = (moved.abs() < 1).flatten(2).all(dim=-1)
        (moved,) = first_valid(inside, moved)
        squares = moved.reshape(n, 6, 4, 2)

        # The triangle fills the head's cell: base towards the chain, tip away from it.
        head = squares[:, 0]
        tip = (head[:, 0] + head[:, 1]) / 2
        triangle = torch.stack([tip, head[:, 2], head[:, 3]], dim=1)

        canvas = Canvas(self.size, device)
        mask = canvas.convex_polygon(squares[:, 1:].flatten(0, 1))
        mask = mask.reshape(n, 5, self.size, self.size)
        # Neighbours share an edge: there coverages add up, so a chain shows no seams.
        image = (mask.sum(1) + canvas.convex_polygon(triangle)).clamp_(max=1)
        return {
            "image": image.unsqueeze(1),
            "landmarks": squares[:, 1:].mean(dim=2),
            "visible": torch.ones(n, 5, dtype=torch.bool, device=device),
            "index": indices,
            "label": label,
            "mask": mask,
        }
