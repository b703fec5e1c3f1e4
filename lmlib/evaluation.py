"""How wrong are the landmarks? Errors, their normalisers, curves, and regression.

Everything here takes points in [-1, 1] as ``(B, K, 2)`` and an optional ``visible (B,
K)`` mask of bools. A hidden landmark counts nowhere: neither as an error nor as a
success, and its coordinates may even be NaN. (Multiplying prediction and truth by the
mask instead, as one well-known evaluator does, scores every hidden landmark as
*found*.)

Coordinates in [-1, 1] stretch with the picture. In an image of 100 x 200 pixels a step
of 0.1 is 10 pixels across but 5 down, so a distance taken in [-1, 1] is a true distance
only when the image is square. Every function therefore takes ``size=(H, W)``: with it,
distances are measured in pixels of such an image; without it, in the square frame [-1,
1] x [-1, 1] whose edge is 2 long. lmdis squashes its faces to a square and measures
there (no ``size``).

Shares are returned as shares: the papers' tables hold 100 times these numbers.
"""

import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lmlib.geometry import to_pixels

Size = tuple[int, int]

NORMALISERS = {
    "eye_centres": "distance of the eye centres. 68 points: an eye's centre is the "
    "mean of its corners (37, 40 and 43, 46 counted from one), as in RCN and Seq-MT. "
    "5 points: landmarks 0 and 1 are the eye centres (lmdis and DVE on MAFL and AFLW)",
    "outer_corners": "distance of the outer eye corners of 68 points (36, 45 counted "
    "from zero): DVE on 300-W. About 1.4 times the eye-centre distance, so the same "
    "predictions look about 0.71 times as wrong",
    "points": "distance of two landmarks, points=(i, j), counted from zero: the wrist "
    "width of Seq-MT's hands is (0, 24), the eyes of lmdis's cats (0, 1)",
    "image_edge": "edge of the image: 2 units without size (lmdis on Human3.6M; DLAN's "
    "normalised error, x and y divided by width and height); with it, the shorter of H "
    "and W in pixels",
    "box": "sqrt(width * height) of the tight box around the visible true landmarks: "
    "common in the field, used by none of the five papers",
    "pixels": "1, so that errors stay in pixels of size=(H, W): Seq-MT on Blocks "
    "(60 x 60), DVE's matching (70 x 70)",
}


# --------------------------------------------------------------------------------------
# Checks
# --------------------------------------------------------------------------------------


def _check_points(name: str, points: Tensor) -> Tensor:
    """``(B, K, 2)`` with B, K >= 1, in single precision or better."""
    shape = tuple(points.shape)
    if len(shape) != 3 or shape[-1] != 2:
        raise ValueError(f"{name} must be (B, K, 2), got {shape}")
    if shape[0] == 0:
        raise ValueError(f"{name} is an empty batch: {shape}")
    if shape[1] == 0:
        raise ValueError(f"{name} holds no landmark (K = 0): {shape}")
    return points if points.dtype == torch.float64 else points.float()


def _check_finite(name: str, points: Tensor, visible: Tensor | None = None) -> None:
    bad = ~torch.isfinite(points).all(dim=-1)
    if visible is not None:
        bad = bad & visible
    if bad.any():
        image, landmark = bad.nonzero()[0].tolist()
        raise ValueError(
            f"{name} holds NaN or infinity, first in image {image}, landmark {landmark}"
        )


def _check_visible(visible: Tensor | None, points: Tensor) -> Tensor:
    if visible is None:
        return torch.ones(points.shape[:2], dtype=torch.bool, device=points.device)
    if visible.dtype != torch.bool:
        # 0/1/2 codes mean different things in different data sets (FLD: 0 is visible)
        raise ValueError(f"visible must be bool, True where seen; got {visible.dtype}")
    if visible.shape != points.shape[:2]:
        raise ValueError(
            f"visible must be {tuple(points.shape[:2])} to match the landmarks, "
            f"got {tuple(visible.shape)}"
        )
    return visible.to(points.device)


def _check_size(size: Size | None) -> None:
    if size is not None and (len(size) != 2 or min(size) <= 0):
        raise ValueError(f"size must be (H, W), both positive, got {size!r}")


def _check_pair(
    pred: Tensor, target: Tensor, visible: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    pred, target = _check_points("pred", pred), _check_points("target", target)
    if pred.shape != target.shape:
        raise ValueError(
            f"pred is {tuple(pred.shape)} but target is {tuple(target.shape)}"
        )
    visible = _check_visible(visible, target)
    _check_finite("pred", pred)
    _check_finite("target", target, visible)
    return pred, target.to(pred), visible.to(pred.device)


# --------------------------------------------------------------------------------------
# Distances and the normalised mean error
# --------------------------------------------------------------------------------------


def point_errors(pred: Tensor, target: Tensor, size: Size | None = None) -> Tensor:
    """Euclidean distance of each landmark from its target, ``(B, K)``.

    In pixels of an image of ``size`` ``(H, W)``; without ``size`` in units of [-1, 1],
    which are distances only in a square frame (its edge is 2 long). Raises ValueError
    for shapes other than two equal ``(B, K, 2)``, B = 0, K = 0, NaN or infinity.
    """
    _check_size(size)
    pred, target, _ = _check_pair(pred, target, None)
    return _distance(pred, target, size)


def _distance(a: Tensor, b: Tensor, size: Size | None) -> Tensor:
    if size is not None:
        a, b = to_pixels(a, size), to_pixels(b, size)
    return torch.linalg.vector_norm(a - b, dim=-1)


def normaliser_distance(
    target: Tensor,
    visible: Tensor | None,
    kind: str,
    size: Size | None = None,
    points: tuple[int, int] | None = None,
) -> Tensor:
    """What the error of each image is divided by, ``(B,)``: ``NORMALISERS`` says more.

    In the same unit as ``point_errors(..., size)``. NaN where a landmark it needs is
    hidden; 0 where the landmarks coincide. ``nme`` and ``pck`` decide what becomes of
    those images.
    """
    if kind not in NORMALISERS:
        hint = ""
        if kind in ("inter_ocular", "inter_pupil", "iod"):
            hint = " (papers use that name for two different distances)"
        raise ValueError(
            f"unknown normaliser {kind!r}{hint}: choose from {', '.join(NORMALISERS)}"
        )
    if (points is not None) != (kind == "points"):
        raise ValueError('normaliser "points", and no other, takes points=(i, j)')
    if kind == "pixels" and size is None:
        raise ValueError('normaliser "pixels" needs size=(H, W)')
    _check_size(size)
    target = _check_points("target", target)
    visible = _check_visible(visible, target)
    _check_finite("target", target, visible)
    batch, count = target.shape[:2]

    if kind == "pixels":
        return target.new_ones(batch)
    if kind == "image_edge":
        return target.new_full((batch,), 2.0 if size is None else float(min(size)))
    if kind == "box":
        pixels = target if size is None else to_pixels(target, size)
        seen = visible.unsqueeze(-1)
        low = torch.where(seen, pixels, math.inf).amin(dim=1)
        high = torch.where(seen, pixels, -math.inf).amax(dim=1)
        area = (high - low).prod(dim=-1)
        return torch.where(visible.any(dim=1), area.sqrt(), math.nan)

    if kind == "points":
        ends = [[points[0]], [points[1]]]
        if not all(0 <= i < count for i in points) or points[0] == points[1]:
            raise ValueError(
                f"points={points} must be two different landmarks out of 0..{count - 1}"
            )
    elif kind == "outer_corners" and count == 68:
        ends = [[36], [45]]
    elif kind == "eye_centres" and count == 68:
        ends = [[36, 39], [42, 45]]
    elif kind == "eye_centres" and count == 5:
        ends = [[0], [1]]
    else:
        known = "68 or 5" if kind == "eye_centres" else "68"
        raise ValueError(
            f"normaliser {kind!r} knows {known} landmarks, these are {count}: "
            'use "points" with points=(i, j)'
        )
    left, right = (target[:, end].mean(dim=1) for end in ends)
    seen = visible[:, ends[0] + ends[1]].all(dim=1)
    return torch.where(seen, _distance(left, right, size), math.nan)


def _normalised(
    pred, target, visible, normaliser, size, points, drop_unusable
) -> tuple[Tensor, Tensor]:
    """Errors ``(B, K)`` over the normaliser, and which of them count ``(B, K)``."""
    _check_size(size)
    pred, target, visible = _check_pair(pred, target, visible)
    scale = normaliser_distance(target, visible, normaliser, size, points)
    empty = ~visible.any(dim=1)
    unusable = ~(scale > 0) & ~empty  # NaN > 0 is False
    if unusable.any() and not drop_unusable:
        first = int(unusable.nonzero()[0])
        why = "zero" if scale[first] == 0 else "hidden"
        raise ValueError(
            f"normaliser {normaliser!r} is {why} in image {first} "
            f"({int(unusable.sum())} of {len(scale)} images are unusable); "
            "drop_unusable=True leaves them out"
        )
    counted = visible & ~(unusable | empty).unsqueeze(-1)
    if not counted.any():
        raise ValueError("no image has both a visible landmark and a usable normaliser")
    errors = _distance(pred, target, size) / scale.unsqueeze(-1)
    return torch.where(counted, errors, 0.0), counted


def nme(
    pred: Tensor,
    target: Tensor,
    visible: Tensor | None = None,
    normaliser: str = "eye_centres",
    size: Size | None = None,
    points: tuple[int, int] | None = None,
    average: str = "images",
    per_image: bool = False,
    drop_unusable: bool = False,
) -> float | Tensor:
    """Normalised mean error: mean distance over ``normaliser`` (see ``NORMALISERS``).

    ``NME = mean over images of mean over visible k of |p_k - q_k| / d(image)``

    pred, target: ``(B, K, 2)``; visible: ``(B, K)`` bool. The field averages in three
    ways; ``average`` picks one:

    * ``"images"``: over the visible landmarks of an image, then over images, each image
      counting once (Seq-MT on faces, lmdis, most of the field);
    * ``"landmarks"``: over all visible landmarks at once, so an image with more of them
      counts more (DVE's "over points and images");
    * ``"types"``: per kind of landmark, then over kinds (fashion landmarks, DLAN).

    The three agree when everything is visible. ``per_image=True`` returns the errors of
    the images ``(B,)`` instead, NaN where an image was left out.

    Left out are images without a visible landmark: there is nothing to measure. An
    image whose normaliser is zero or rests on a hidden landmark is an error, unless
    ``drop_unusable=True`` leaves it out as well (lmdis skips images with distance 0).
    Raises ValueError for these, wrong shapes, B = 0, K = 0, NaN and unknown names.
    """
    if average not in ("images", "landmarks", "types"):
        raise ValueError(f"average must be images, landmarks or types, got {average!r}")
    if per_image and average != "images":
        raise ValueError(f'per_image=True goes with average="images", not {average!r}')
    errors, counted = _normalised(
        pred, target, visible, normaliser, size, points, drop_unusable
    )
    if average == "landmarks":
        return float(errors.sum() / counted.sum())
    dim = 1 if average == "images" else 0
    means = errors.sum(dim) / counted.sum(dim)  # 0 / 0 = NaN: left out
    return means if per_image else float(means.nanmean())


# --------------------------------------------------------------------------------------
# Shares and curves
# --------------------------------------------------------------------------------------


def _thresholds(thresholds, like: Tensor) -> Tensor:
    # in the precision of the errors: 0.1 in float32 is more than 0.1 in float64
    values = torch.as_tensor(thresholds).to(like)
    if values.ndim > 1 or values.numel() == 0:
        raise ValueError(f"thresholds must be a number or a list, got {thresholds!r}")
    if not (torch.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"thresholds must be finite and >= 0, got {thresholds!r}")
    return values


def _share(hit: Tensor, thresholds: Tensor) -> float | Tensor:
    """Mean over the last dimension: a float for one threshold, ``(T,)`` for several."""
    share = hit.double().mean(dim=-1)
    return float(share) if thresholds.ndim == 0 else share.float()


def pck(
    pred: Tensor,
    target: Tensor,
    visible: Tensor | None = None,
    threshold: float | list[float] = 0.1,
    normaliser: str = "eye_centres",
    size: Size | None = None,
    points: tuple[int, int] | None = None,
    drop_unusable: bool = False,
) -> float | Tensor:
    """Percentage (a share here) of correct keypoints: error / normaliser <= threshold.

    Over all visible landmarks of all images at once. One threshold gives a float, a
    list of T of them a tensor ``(T,)``. Images are left out, and errors raised, as in
    ``nme``.
    """
    errors, counted = _normalised(
        pred, target, visible, normaliser, size, points, drop_unusable
    )
    limits = _thresholds(threshold, errors)
    return _share(errors[counted] <= limits.unsqueeze(-1), limits)


def pdl(
    pred: Tensor,
    target: Tensor,
    visible: Tensor | None = None,
    threshold: float | list[float] = 35.0,
    size: Size = (512, 512),
) -> float | Tensor:
    """Percentage (a share here) of detected landmarks: distance < threshold pixels
    (DLAN).

    DLAN counts a landmark within 35 px in a 512 x 512 image, 6.84 % of the side: at 128
    x 128 that is 8.75 px. Over all visible landmarks; a list of T thresholds gives
    ``(T,)``.
    """
    _check_size(size)
    pred, target, visible = _check_pair(pred, target, visible)
    if not visible.any():
        raise ValueError("no landmark is visible: there is nothing to detect")
    errors = _distance(pred, target, size)[visible]
    limits = _thresholds(threshold, errors)
    return _share(errors < limits.unsqueeze(-1), limits)


def _check_errors(errors: Tensor) -> Tensor:
    """Errors as a flat list without the NaN of images that were left out."""
    values = torch.as_tensor(errors).flatten()
    values = values[~values.isnan()]
    if values.numel() == 0:
        raise ValueError("no errors to summarise: the list is empty or all NaN")
    if (values < 0).any() or values.isinf().any():
        raise ValueError("errors must be finite and >= 0")
    return values


def cumulative_curve(errors: Tensor, thresholds: list[float]) -> Tensor:
    """Cumulative error distribution: share of ``errors`` <= each threshold, ``(T,)``.

    ``errors`` has any shape, usually ``nme(..., per_image=True)``; its NaN are left
    out.
    """
    values = _check_errors(errors)
    limits = _thresholds(thresholds, values).reshape(-1, 1)
    return _share(values <= limits, limits)


def area_under_curve(errors: Tensor, limit: float) -> float:
    """Area under the cumulative curve from 0 to ``limit``, over ``limit``; at best 1.

    The curve is a staircase, so the area is exact: the mean of ``max(0, 1 - e /
    limit)``.
    """
    if not 0 < limit < math.inf:
        raise ValueError(f"limit must be positive and finite, got {limit!r}")
    return float((1 - _check_errors(errors).double() / limit).clamp(min=0).mean())


def failure_rate(errors: Tensor, threshold: float) -> float:
    """Share of ``errors`` above ``threshold`` (300-W: 0.08 with the outer corners)."""
    return 1.0 - cumulative_curve(errors, [threshold]).item()


# --------------------------------------------------------------------------------------
# From discovered to annotated landmarks
# --------------------------------------------------------------------------------------


class LandmarkRegression:
    """Least squares from K discovered to M annotated landmarks (lmdis, appendix; DVE).

    ``y = W x (+ b)`` with x the 2K discovered and y the 2M annotated coordinates, so
    every annotated coordinate is a mix of all discovered ones. ``bias=False`` is
    lmdis's fit: its coordinates minus the image centre are ours, whose origin is the
    centre.

    ``ridge`` adds ``ridge * |W|^2`` to the summed squared error (scikit-learn's
    ``alpha``); the bias is free. With about as many images as unknowns, n near 2K,
    plain least squares fits the noise and test errors explode (1,894 % in one of our
    trials, 13.4 % with a small ridge): with few images, use a ridge. Below 2K the fit
    is the one of least norm.

    Where an annotated landmark is hidden, that image is left out of the fit of *that*
    landmark only. Solved in float64 on the CPU; predictions come back as they went in.
    """

    def __init__(self, bias: bool = True, ridge: float = 0.0):
        if not 0 <= ridge < math.inf:
            raise ValueError(f"ridge must be finite and >= 0, got {ridge!r}")
        self.bias, self.ridge = bias, ridge
        self.weight: Tensor | None = None  # (2K, 2M)
        self.offset: Tensor | None = None  # (2M,)

    def fit(self, x: Tensor, y: Tensor, visible: Tensor | None = None):
        """x ``(N, K, 2)``, y ``(N, M, 2)``, visible ``(N, M)`` of y; returns itself."""
        x, y = _check_points("x", x), _check_points("y", y)
        if x.shape[0] != y.shape[0]:
            raise ValueError(f"x has {x.shape[0]} images but y has {y.shape[0]}")
        visible = _check_visible(visible, y).cpu()
        x, y = x.detach().double().cpu(), y.detach().double().cpu()
        _check_finite("x", x)
        _check_finite("y", y, visible)
        if not visible.any(dim=0).all():
            missing = (~visible.any(dim=0)).nonzero().flatten().tolist()
            raise ValueError(f"annotated landmarks {missing} are visible in no image")
        x = x.flatten(1)  # (N, 2K)
        self.weight = x.new_zeros(x.shape[1], y.shape[1], 2)  # (2K, M, 2)
        self.offset = x.new_zeros(y.shape[1], 2)
        masks, group = visible.unique(dim=1, return_inverse=True)
        for number, rows in enumerate(masks.unbind(dim=1)):  # often there is one mask
            which = (group == number).nonzero().flatten()
            weight, offset = self._solve(x[rows], y[rows][:, which].flatten(1))
            self.weight[:, which] = weight.unflatten(1, (-1, 2))
            self.offset[which] = offset.unflatten(0, (-1, 2))
        self.weight, self.offset = self.weight.flatten(1), self.offset.flatten()
        return self

    def _solve(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
        if not self.bias:
            x_mean, y_mean = torch.zeros_like(x_mean), torch.zeros_like(y_mean)
        x, y = x - x_mean, y - y_mean
        if self.ridge > 0:  # rows sqrt(ridge) * I add ridge * |W|^2 to the squares
            x = torch.cat([x, self.ridge**0.5 * torch.eye(x.shape[1], dtype=x.dtype)])
            y = torch.cat([y, y.new_zeros(x.shape[1], y.shape[1])])
        weight = torch.linalg.lstsq(x, y, driver="gelsd").solution
        return weight, y_mean - x_mean @ weight

    def predict(self, x: Tensor) -> Tensor:
        """Annotated landmarks ``(N, M, 2)`` for discovered ``x`` ``(N, K, 2)``."""
        if self.weight is None:
            raise ValueError(
                "this LandmarkRegression has not been fitted: call fit first"
            )
        points = _check_points("x", x)
        _check_finite("x", points)
        expected = self.weight.shape[0] // 2
        if points.shape[1] != expected:
            raise ValueError(
                f"fitted on {expected} discovered landmarks, got {points.shape[1]}"
            )
        y = points.detach().double().cpu().flatten(1) @ self.weight + self.offset
        return y.unflatten(1, (-1, 2)).to(points)


# --------------------------------------------------------------------------------------
# Which landmark is which
# --------------------------------------------------------------------------------------


def match_landmarks(
    pred: Tensor, target: Tensor, visible: Tensor | None = None
) -> Tensor:
    """One assignment for the whole set; ``pred[:, match]`` is in target's order.

    pred ``(B, J, 2)``, target ``(B, K, 2)``, J >= K; returns indices into pred
    ``(K,)``. It is the permutation with the least mean distance over visible landmarks
    (Hungarian method). Landmarks learned without landmark labels come in any order, but
    it must be the same order in every image: matching each image by itself would hide
    that they swap.
    """
    pred, target = _check_points("pred", pred), _check_points("target", target)
    if pred.shape[0] != target.shape[0] or pred.shape[1] < target.shape[1]:
        raise ValueError(
            "pred must be (B, J, 2) with J >= K for target (B, K, 2), got "
            f"{tuple(pred.shape)} and {tuple(target.shape)}"
        )
    visible = _check_visible(visible, target).to(pred.device)
    _check_finite("pred", pred)
    _check_finite("target", target.to(pred), visible)
    target = torch.where(visible.unsqueeze(-1), target.to(pred), 0.0)
    distance = _distance(target.unsqueeze(2), pred.unsqueeze(1), None)  # (B, K, J)
    distance = distance * visible.unsqueeze(-1)
    cost = distance.sum(dim=0) / visible.sum(dim=0).clamp(min=1).unsqueeze(-1)
    return torch.as_tensor(linear_sum_assignment(cost.detach().cpu().numpy())[1])


def map_on_mask(points: Tensor, masks: Tensor) -> Tensor:
    """Which shape each point lies on: points ``(B, K, 2)``, masks ``(B, S, H, W)`` ->
    ``(B, K, S)`` bool.

    The mask is read at the pixel the point falls in, and counts where it is above one
    half (bool masks, or the coverage of anti-aliased drawing). Outside the image lies
    on nothing.
    """
    points = _check_points("points", points)
    _check_finite("points", points)
    if masks.ndim != 4 or masks.shape[0] != points.shape[0] or 0 in masks.shape:
        raise ValueError(
            f"masks must be (B, S, H, W) with B = {points.shape[0]} and no size of 0, "
            f"got {tuple(masks.shape)}"
        )
    height, width = masks.shape[-2:]
    x, y = (to_pixels(points, (height, width)) + 0.5).floor().long().unbind(dim=-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)  # (B, K)
    flat = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    index = flat.unsqueeze(1).expand(-1, masks.shape[1], -1)  # (B, S, K)
    on = masks.flatten(2).gather(2, index.to(masks.device)) > 0.5
    return on.transpose(1, 2).to(points.device) & inside.unsqueeze(-1)
