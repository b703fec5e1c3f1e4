"""Random warps, each with its paper's ranges."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lmlib.geometry import Affine, Chain, ThinPlateSpline, Warp, pixel_grid
from lmlib.processes import drawn


def _uniform(low: float, high: float, shape, generator) -> Tensor:
    return low + (high - low) * drawn(torch.rand, shape, generator)


def _normal(deviation: float, shape, generator) -> Tensor:
    return deviation * drawn(torch.randn, shape, generator)


# degrees, shift as a share of the image's width, change of scale. The ELT uses the
# ranges of the augmentation (Honari et al. 2018, footnote 1; sections 4.2 to 4.5).
# Blocks are turned by up to 360 degrees; their shift and scale are left open: ours
# follow our scene. "mild" is ours, for augmentation: in short runs, a small network
# spends its time on turns that no test image shows (300-W: 9.2 %, with it 8.1).
SeqMtRanges = Literal["blocks", "hands", "multipie", "300w", "mild"]
SEQMT_RANGES: dict[SeqMtRanges, tuple[float, float, float]] = {
    "blocks": (180.0, 0.10, 0.2),
    "hands": (20.0, 0.10, 0.1),
    "multipie": (20.0, 0.10, 0.1),
    "300w": (30.0, 0.10, 0.1),
    "mild": (12.0, 0.05, 0.05),
}


def seqmt_affine(batch: int, preset: str = "blocks", generator=None) -> Affine:
    """Random similarity of Seq-MT's ELT and augmentation, one for each image."""
    if preset not in SEQMT_RANGES:
        raise ValueError(
            f"unknown preset {preset!r}; expected one of {[*SEQMT_RANGES]}"
        )
    degrees, shift, zoom = SEQMT_RANGES[preset]
    turn = math.radians(degrees)
    return Affine.from_parameters(
        angle=_uniform(-turn, turn, (batch,), generator),
        scale=_uniform(1 - zoom, 1 + zoom, (batch,), generator),
        # a share of the width is twice as much in units of [-1, 1]
        shift=_uniform(-2 * shift, 2 * shift, (batch, 2), generator),
    )


def control_grid(side: int) -> Float[Tensor, "{side*side} 2"]:
    """``side x side`` control points at cell centres."""
    return pixel_grid(side, side).reshape(-1, 2)


def lmdis_warp(
    batch: int,
    generator=None,
    scale: float = 1.25,
    degrees: float = 10.0,
    shift: float = 0.30,
    bend: float = 0.05,
) -> Chain:
    """Random warp of Zhang et al. 2018 (section 4.1): a spline on 7x7 points, then a
    similarity with scale ``scale ** N(0, 1)``, rotation ``N(0, degrees)``, uniform
    shift.

    ``bend`` is the standard deviation of a control point in units of [-1, 1]; with a
    correct spline .05 bends about as much as the released code did (notes, section 5).
    """
    grid = control_grid(7).expand(batch, -1, -1)
    spline = ThinPlateSpline.from_points(
        grid + _normal(bend, grid.shape, generator), grid
    )
    similarity = Affine.from_parameters(
        angle=_normal(math.radians(degrees), (batch,), generator),
        scale=scale ** _normal(1.0, (batch,), generator),
        shift=_uniform(-shift, shift, (batch, 2), generator),
    )
    return Chain(spline, similarity)


def lmdis_landmark_warp(
    points: Float[Tensor, "b k 2"], generator=None, bend: float = 0.05
) -> ThinPlateSpline:
    """Zhang et al. 2018: the current landmarks serve as control points.

    The four corners are held, so that few or clumped landmarks still give a warp;
    points on top of each other are regularised apart (the released code drops small
    singular values for the same reason).
    """
    points = points.detach().cpu()
    corners = torch.tensor([[-1.0, -1], [1, -1], [-1, 1], [1, 1]])
    corners = corners.expand(points.shape[0], -1, -1)
    moved = points + _normal(bend, points.shape, generator)
    source, target = torch.cat([points, corners], 1), torch.cat([moved, corners], 1)
    return ThinPlateSpline.from_points(source, target, regularisation=1e-3)


def dve_warp(batch: int, generator=None, strength: float = 1.0) -> ThinPlateSpline:
    """Random warp of Thewlis et al. 2019: spline *coefficients* on 10x10 points, drawn
    from N(0, .001), each with chance 1/2 again from N(0, .01); affine part with shift
    N(0, .1), scale 1 + N(0, .1), rotation N(0, 5 degrees). ``strength`` scales the
    bend.
    """
    centres = torch.cartesian_prod(*[torch.linspace(-1, 1, 10)] * 2).flip(-1)
    weights = _normal(0.001, (batch, 100, 2), generator)
    again = drawn(torch.rand, weights.shape, generator) < 0.5
    weights = torch.where(again, _normal(0.01, weights.shape, generator), weights)
    affine = Affine.from_parameters(
        angle=_normal(math.radians(5.0), (batch,), generator),
        scale=1 + _normal(0.1, (batch,), generator),
        shift=_normal(0.1, (batch, 2), generator),
    )
    return ThinPlateSpline(centres, strength * weights, affine.matrix, epsilon=1e-5)


def dve_warp_pair(
    batch: int, generator=None, strength: float = 1.0
) -> tuple[Warp, Warp]:
    """The two chained warps of DVE: the milder (half bend) gives image v, a second one
    on top of it gives image u. ``second.backward`` says where u reads v."""
    milder = dve_warp(batch, generator, strength / 2)
    return milder, dve_warp(batch, generator, strength)
