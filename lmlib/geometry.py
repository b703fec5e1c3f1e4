"""Where things are: the coordinate convention, and warps that move points and pixels.

Points are ``(..., N, 2)`` tensors, x right and y down, in [-1, 1]. The image spans
exactly [-1, 1] from edge to edge, so the *centre* of pixel ``i`` of ``n`` lies at
``(2 i + 1) / n - 1`` (``align_corners=False``). A point has the same coordinates at
every resolution.

A warp turns an image into another image. It can be read in two directions, and mixing
them up is the classic mistake of this field:

* ``warp.points(xy)``: where a point of the *input* image lies in the *warped* image;
* ``warp.backward(xy)``: where the warped image, at ``xy``, *reads* the input.

``grid_sample`` needs the second, landmarks need the first, and they are inverse to each
other.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lmlib import geometry_fast

Points = Float[Tensor, "b n 2"]
Places = Float[Tensor, "*n 2"]  # points of any arrangement


def pixel_grid(
    height: int, width: int, device=None, dtype=torch.float32
) -> Float[Tensor, "{height} {width} 2"]:
    """Centres of all pixels as points (x, y) in [-1, 1]."""
    y = (2 * torch.arange(height, device=device, dtype=dtype) + 1) / height - 1
    x = (2 * torch.arange(width, device=device, dtype=dtype) + 1) / width - 1
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def to_pixels(points: Places, size: tuple[int, int]) -> Places:
    """Points in [-1, 1] to pixel indices (x, y); ``i`` is the centre of pixel ``i``.

    ``size`` is ``(H, W)``. The image's left edge is at -0.5, its right at ``W - 0.5``.
    """
    return ((points + 1) * _width_height(points, size) - 1) / 2


def from_pixels(pixels: Places, size: tuple[int, int]) -> Places:
    """Pixel indices (x, y) of an image of ``size`` ``(H, W)`` to points in [-1, 1]."""
    return (2 * pixels + 1) / _width_height(pixels, size) - 1


def _width_height(like: Tensor, size: tuple[int, int]) -> Tensor:
    if like.shape[-1] != 2:
        raise ValueError(
            f"points must end in a dimension of 2, got {tuple(like.shape)}"
        )
    return torch.tensor([size[1], size[0]], device=like.device, dtype=like.dtype)


def full_precision(like: Float[Tensor, "..."]):
    """A context in which products of coordinates are not rounded to half precision.

    bfloat16 holds eight bits: autocast would move points by pixels.
    """
    return torch.autocast(like.device.type, enabled=False)


# --------------------------------------------------------------------------------------
# Warps
# --------------------------------------------------------------------------------------


class Warp:
    """What all warps share. A subclass gives ``backward``; the rest follows from it."""

    batch: int

    def backward(self, xy: Points) -> Points:
        """Where the warped image, at ``xy``, reads the input image."""
        raise NotImplementedError

    def points(self, xy: Points) -> Points:
        """Where points of the input lie in the warped image."""
        return invert_points(self.backward, xy)

    def inverse(self) -> "Warp":
        """The warp that undoes this one (its two directions swapped)."""
        return Inverse(self)

    def image(
        self,
        x: Float[Tensor, "b c h w"],
        mode: str = "bilinear",
        padding: str = "zeros",
    ) -> Float[Tensor, "b c h w"]:
        """Warp images; ``padding`` is ``"zeros"`` or ``"border"``."""
        if x.ndim != 4 or x.shape[0] != self.batch:
            raise ValueError(
                f"this warp holds {self.batch} maps and needs images "
                f"({self.batch}, C, H, W), got {tuple(x.shape)}"
            )
        grid = self.sampling_grid(*x.shape[-2:], dtype=x.dtype, device=x.device)
        return F.grid_sample(
            x, grid, mode=mode, padding_mode=padding, align_corners=False
        )

    def sampling_grid(
        self, height: int, width: int, device=None, dtype=None
    ) -> Float[Tensor, "b {height} {width} 2"]:
        """``backward`` at all pixel centres: for grid_sample."""
        lattice = pixel_grid(height, width, device, dtype or torch.float32)
        lattice = lattice.reshape(1, -1, 2).expand(self.batch, -1, -1)
        return self.backward(lattice).reshape(self.batch, height, width, 2)

    def folding(self, height: int = 64, width: int = 64) -> Float[Tensor, " b"]:
        """Share of pixels where the warp folds (Jacobian not positive)."""
        xy = pixel_grid(height, width).reshape(1, -1, 2).repeat(self.batch, 1, 1)
        jacobian = pointwise_jacobian(self.backward, xy)[1]
        return (torch.linalg.det(jacobian) <= 0).float().mean(dim=1)


class Inverse(Warp):
    """A warp read the other way round."""

    def __init__(self, warp: Warp):
        self.warp, self.batch = warp, warp.batch

    def backward(self, xy: Points) -> Points:
        return self.warp.points(xy)

    def points(self, xy: Points) -> Points:
        return self.warp.backward(xy)

    def inverse(self) -> Warp:
        return self.warp


class Affine(Warp):
    """``p' = A p + t`` for each image, input to warped."""

    def __init__(self, matrix: Float[Tensor, "b 2 3"]):
        if matrix.ndim != 3 or matrix.shape[1:] != (2, 3) or matrix.shape[0] == 0:
            raise ValueError(f"affine maps are (B, 2, 3), got {tuple(matrix.shape)}")
        determinant = torch.linalg.det(matrix[:, :, :2].float())
        if (determinant.abs() < 1e-8).any():
            raise ValueError("an affine map with determinant 0 cannot warp an image")
        self.matrix, self.batch = matrix, matrix.shape[0]

    @classmethod
    def identity(cls, batch: int, device=None) -> "Affine":
        return cls(torch.eye(2, 3, device=device).repeat(batch, 1, 1))

    @classmethod
    def from_parameters(
        cls,
        angle: Float[Tensor, " b"],
        scale: Float[Tensor, " b"],
        shift: Float[Tensor, "b 2"],
    ) -> "Affine":
        """Rotate, scale, then shift.

        ``angle`` in radians, clockwise on screen as y points down; ``shift`` in units
        of [-1, 1].
        """
        cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
        rows = [torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)]
        return cls(torch.cat([torch.stack(rows, 1), shift.unsqueeze(-1)], dim=-1))

    def points(self, xy: Points) -> Points:
        m = self.matrix.to(xy)
        with full_precision(xy):
            return xy @ m[:, :, :2].mT + m[:, None, :, 2]

    def backward(self, xy: Points) -> Points:
        return self.inverse().points(xy)

    def inverse(self) -> "Affine":
        matrix = self.matrix.double()
        linear = torch.linalg.inv(matrix[:, :, :2])
        shift = -linear @ matrix[:, :, 2:]
        return Affine(torch.cat([linear, shift], dim=-1).to(self.matrix))


class ThinPlateSpline(Warp):
    """The surface that bends least while it moves every centre to its place.

    ``backward(p) = A [p; 1] + sum_i w_i U(|p - c_i|)`` with ``U(r) = r^2 log r^2``.

    Args:
        centres: control points in the warped image.
        weights: bending coefficients.
        affine: ``A``.
        epsilon: keeps the logarithm finite at a centre; Thewlis et al. use 1e-5.
    """

    def __init__(
        self,
        centres: Float[Tensor, "#b n 2"] | Float[Tensor, "n 2"],
        weights: Points,
        affine: Float[Tensor, "b 2 3"],
        epsilon: float = 1e-9,
    ):
        self.batch = weights.shape[0]
        if centres.ndim == 2:
            centres = centres.expand(self.batch, -1, -1)
        if weights.shape != centres.shape or affine.shape != (self.batch, 2, 3):
            raise ValueError(
                "a spline needs centres (B, N, 2), weights (B, N, 2) and affine "
                f"(B, 2, 3); got {tuple(centres.shape)}, {tuple(weights.shape)}, "
                f"{tuple(affine.shape)}"
            )
        self.centres, self.weights = centres, weights
        self.affine, self.epsilon = affine, epsilon

    @classmethod
    def from_points(
        cls,
        source: Points,
        target: Points,
        regularisation: float | Float[Tensor, "b n"] = 0.0,
    ) -> "ThinPlateSpline":
        """The spline that moves ``source`` to ``target``.

        Both are positions of the same control points, before and after. At least three
        that are not on one line are needed. ``regularisation`` > 0 lets the points miss
        their targets a little for a smoother warp. One for each point may be given; a
        point with a very large one is left out.
        """
        if source.shape != target.shape or source.ndim != 3 or source.shape[1] < 3:
            raise ValueError(
                "source and target must both be (B, N, 2) with N >= 3, "
                f"got {tuple(source.shape)} and {tuple(target.shape)}"
            )
        # Images are read backwards, so the spline is fitted from target to source.
        # The small system is solved in float64: it is ill-conditioned by nature.
        centres, values = target.double(), source.double()
        batch, n, _ = centres.shape
        kernel = _spline_kernel(centres, centres, 1e-9)  # (B, N, N)
        if isinstance(regularisation, Tensor):
            regularisation = regularisation.to(kernel).unsqueeze(-1)
        kernel = kernel + regularisation * torch.eye(n, device=kernel.device)
        ones = torch.ones(batch, n, 1, dtype=torch.float64, device=kernel.device)
        p = torch.cat([centres, ones], dim=-1)  # (B, N, 3)
        zero = p.new_zeros(batch, 3, 3)
        top = torch.cat([kernel, p], dim=2)
        bottom = torch.cat([p.transpose(1, 2), zero], dim=2)
        right = torch.cat([values, values.new_zeros(batch, 3, 2)], dim=1)
        try:
            solution = torch.linalg.solve(torch.cat([top, bottom], dim=1), right)
            solvable = bool(solution.isfinite().all())
        except RuntimeError:
            solvable = False
        if not solvable:
            raise ValueError(
                "thin-plate spline: the control points coincide, lie on one line or "
                "are not finite"
            )
        solution = solution.to(source)
        return cls(target, solution[:, :n], solution[:, n:].transpose(1, 2))

    def backward(self, xy: Points, *, plain: bool = False) -> Points:
        """Where the warped image, at ``xy``, reads the input image.

        ``plain``: as the formula stands. On a CPU, and where no gradient is wanted,
        ``geometry_fast`` gives the same.
        """
        parts = [t.to(xy) for t in (self.centres, self.weights, self.affine)]
        tracked = torch.is_grad_enabled() and any(t.requires_grad for t in (xy, *parts))
        with full_precision(xy):
            if not (plain or tracked) and xy.device.type == "cpu":
                return geometry_fast.spline(xy, *parts, self.epsilon)
            centres, weights, affine = parts
            linear = xy @ affine[:, :, :2].mT + affine[:, None, :, 2]
            return linear + _spline_kernel(xy, centres, self.epsilon) @ weights


def _spline_kernel(xy: Tensor, centres: Points, epsilon: float) -> Tensor:
    """``r^2 log r^2`` between points ``(B, M, 2)`` and centres ``(B, N, 2)``."""
    x = xy[:, :, None, 0] - centres[:, None, :, 0]
    y = xy[:, :, None, 1] - centres[:, None, :, 1]
    squared = x.square() + y.square()
    return squared * torch.log(squared + epsilon)


class Flow(Warp):
    """A dense warp: ``sampling``, where each warped pixel reads."""

    def __init__(self, sampling: Float[Tensor, "b h w 2"]):
        if sampling.ndim != 4 or sampling.shape[-1] != 2:
            raise ValueError(f"a flow is (B, H, W, 2), got {tuple(sampling.shape)}")
        self.sampling, self.batch = sampling, sampling.shape[0]
        # Stored as the *displacement*, which continues sensibly past the border.
        lattice = pixel_grid(*sampling.shape[1:3], sampling.device, sampling.dtype)
        self._displacement = (sampling - lattice).permute(0, 3, 1, 2)

    def folding(self, height: int = 0, width: int = 0) -> Float[Tensor, " b"]:
        """As for every warp, but always on the flow's own pixels, by differences."""
        corner = self.sampling[:, :-1, :-1]
        right = self.sampling[:, :-1, 1:] - corner
        down = self.sampling[:, 1:, :-1] - corner
        area = torch.linalg.det(torch.stack([right, down], dim=-1))
        return (area <= 0).float().mean(dim=(1, 2))

    def backward(self, xy: Points) -> Points:
        moved = F.grid_sample(
            self._displacement.to(xy),
            xy.unsqueeze(1),
            padding_mode="border",
            align_corners=False,
        )  # (B, 2, 1, N)
        return xy + moved[:, :, 0].transpose(1, 2)


class Chain(Warp):
    """``first``, then ``second``, with a single resampling of the image."""

    def __init__(self, first: Warp, second: Warp):
        if first.batch != second.batch:
            raise ValueError(f"cannot chain {first.batch} maps with {second.batch}")
        self.first, self.second, self.batch = first, second, first.batch

    def points(self, xy: Points) -> Points:
        return self.second.points(self.first.points(xy))

    def backward(self, xy: Points) -> Points:
        return self.first.backward(self.second.backward(xy))

    def inverse(self) -> "Chain":
        return Chain(self.second.inverse(), self.first.inverse())


def pointwise_jacobian(function, xy: Points) -> tuple[Points, Float[Tensor, "b n 2 2"]]:
    """Value and Jacobian of a pointwise map.

    Each output depends on its own point only, so two backward passes give all of them.
    """
    with torch.enable_grad():
        xy = xy.detach().requires_grad_(True)
        value = function(xy)
        rows = [
            torch.autograd.grad(value[..., i].sum(), xy, retain_graph=i == 0)[0]
            for i in range(2)
        ]
    return value.detach(), torch.stack(rows, dim=-2)


def invert_points(backward, xy: Points, steps: int = 20, lattice: int = 32) -> Points:
    """Solve ``backward(q) = xy`` for ``q`` by Newton's method.

    The start is the best point of a lattice that reaches a little past the border, so
    that strong warps do not lead astray. Where a warp folds, several solutions exist
    and one of them is returned; where a wild one leaves a point without any, the
    nearest attempt. The answer is differentiable in ``xy`` and in the warp's parameters
    (implicit function theorem).
    """
    target = xy.detach().double()
    with torch.no_grad():
        start = 1.5 * pixel_grid(lattice, lattice, xy.device, torch.float64)
        start = start.reshape(1, -1, 2).expand(xy.shape[0], -1, -1)
        seen, outside = backward(start), (start.abs() > 1).any(-1).unsqueeze(1)
        # Beyond the frame a warp is unchecked and often folds: prefer starts inside.
        # In parts: a whole image of points against the lattice would fill the memory.
        nearest = [
            (torch.cdist(part, seen) + 0.2 * outside).argmin(-1)
            for part in target.split(4096, dim=1)
        ]
        q = start.gather(1, torch.cat(nearest, 1).unsqueeze(-1).expand(-1, -1, 2))
    best, least = q, torch.full_like(q[..., :1], math.inf)
    for _ in range(steps):
        value, jacobian = pointwise_jacobian(backward, q)
        residual = value - target
        error = residual.norm(dim=-1, keepdim=True)
        best, least = torch.where(error < least, q, best), torch.minimum(error, least)
        if (error < 1e-9).all():
            break
        step = _solve_2x2(jacobian, residual)
        # A warp is nearly linear on this scale; longer steps come from a fold.
        q = q - step * (0.2 / step.norm(dim=-1, keepdim=True)).clamp(max=1)
    # One more step from the best point, this time with gradients: it hardly changes the
    # value, and its derivative is that of the inverse map.
    jacobian = pointwise_jacobian(backward, best)[1].to(xy)
    best = best.to(xy)
    last = best - _solve_2x2(jacobian, backward(best) - xy)
    return torch.where(least < 1e-3, last, best)


def _solve_2x2(matrix: Tensor, right: Places) -> Places:
    """``matrix^-1 right`` for many 2x2 systems, finite even where one is singular."""
    a, b, c, d = matrix.flatten(-2).unbind(-1)
    det = a * d - b * c
    det = torch.where(det.abs() < 1e-6, torch.full_like(det, 1e-6), det)
    x, y = right.unbind(-1)
    return torch.stack([d * x - b * y, a * y - c * x], dim=-1) / det.unsqueeze(-1)


# --------------------------------------------------------------------------------------
# Random warps, each with its paper's ranges
# --------------------------------------------------------------------------------------
