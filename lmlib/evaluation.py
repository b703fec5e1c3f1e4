"""How wrong are the landmarks? Errors, their normalisers, curves, and regression.

Everything takes points in [-1, 1] as ``(B, K, 2)`` and an optional ``visible (B, K)``
mask of bools. A hidden landmark counts nowhere, neither as an error nor as a success;
its true place may even be NaN. (One well-known evaluator multiplies prediction and
truth by the mask instead, which scores every hidden landmark as *found*.)

With ``size=(H, W)`` distances are in pixels of such an image; without it, in the frame
[-1, 1] x [-1, 1], whose edge is 2 long. The latter are true distances only when the
image is square (lmdis squashes its faces to a square and measures there).

Shares are returned as shares: the papers' tables hold 100 times these numbers. Other
shapes, B = 0, K = 0, NaN, infinity and unknown names raise ValueError.
"""

import math

import torch
from jaxtyping import Bool, Float, Int, Shaped
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lmlib.geometry import to_pixels

Size = tuple[int, int]  # H, W
Points = Float[Tensor, "b k 2"]
Annotated = Float[Tensor, "b m 2"]
Visible = Bool[Tensor, "b k"]
Ends = tuple[int, int]  # numbers of two landmarks
Shares = float | Float[Tensor, " t"]  # one, or for each of a list of thresholds
Thresholds = float | list[float] | Float[Tensor, " t"]

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
_EYES = {  # number of landmarks -> which of them to average at either end
    "eye_centres": {68: ([36, 39], [42, 45]), 5: ([0], [1])},
    "outer_corners": {68: ([36], [45])},
}


def _check(
    name: str, points: Tensor, visible: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Points ``(B, K, 2)`` in single precision or better, and who is visible."""
    shape = tuple(points.shape)
    if len(shape) != 3 or shape[-1] != 2:
        raise ValueError(f"{name} must be (B, K, 2), got {shape}")
    if 0 in shape:
        what = "is an empty batch" if shape[0] == 0 else "holds no landmark (K = 0)"
        raise ValueError(f"{name} {what}: {shape}")
    if visible is None:
        visible = torch.ones(shape[:2], dtype=torch.bool)
    if visible.dtype != torch.bool or visible.shape != shape[:2]:
        # 0/1/2 codes mean different things in different data sets (FLD: 0 is visible)
        raise ValueError(
            f"visible must be bool, True where seen, and must be {shape[:2]} like the "
            f"landmarks; got {visible.dtype}, {tuple(visible.shape)}"
        )
    visible = visible.to(points.device)
    bad = visible & ~points.isfinite().all(dim=-1)
    if bad.any():
        image, landmark = bad.nonzero()[0].tolist()
        raise ValueError(
            f"{name} holds NaN or infinity, first in image {image}, landmark {landmark}"
        )
    return points if points.dtype == torch.float64 else points.float(), visible


def _check_pair(
    pred: Tensor, target: Tensor, visible: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    pred, _ = _check("pred", pred)
    target, visible = _check("target", target, visible)
    if pred.shape != target.shape:
        shapes = tuple(pred.shape), tuple(target.shape)
        raise ValueError(f"pred is {shapes[0]} but target is {shapes[1]}")
    return pred, target.to(pred), visible.to(pred.device)


# --- distances and the normalised mean error ------------------------------------------


def _scaled(points: Tensor, size: Size | None) -> Tensor:
    """Points in the unit of distances: pixels of ``size``, or [-1, 1] without."""
    if size is None:
        return points
    if len(size) != 2 or min(size) <= 0:
        raise ValueError(f"size must be (H, W), both positive, got {size!r}")
    return to_pixels(points, size)


def _distance(a: Tensor, b: Tensor, size: Size | None) -> Tensor:
    return torch.linalg.vector_norm(_scaled(a, size) - _scaled(b, size), dim=-1)


def point_errors(
    pred: Points, target: Points, size: Size | None = None
) -> Float[Tensor, "b k"]:
    """Euclidean distance of each landmark from its target.

    In pixels of an image of ``size`` ``(H, W)``; without, in units of [-1, 1].
    """
    pred, target, _ = _check_pair(pred, target, None)
    return _distance(pred, target, size)


def normaliser_distance(
    target: Points,
    visible: Visible | None,
    kind: str,
    size: Size | None = None,
    points: Ends | None = None,
) -> Float[Tensor, " b"]:
    """What the error of each image is divided by: ``NORMALISERS`` says more.

    In the same unit as ``point_errors(..., size)``. NaN where a landmark it needs is
    hidden; 0 where the landmarks coincide. ``nme`` and ``pck`` decide what becomes of
    those images.
    """
    if kind not in NORMALISERS:
        raise ValueError(
            f"unknown normaliser {kind!r}: choose from {', '.join(NORMALISERS)} "
            '("inter-ocular" means two different distances in the papers)'
        )
    if (points is not None) != (kind == "points"):
        raise ValueError('normaliser "points", and no other, takes points=(i, j)')
    if kind == "pixels" and size is None:
        raise ValueError('normaliser "pixels" needs size=(H, W)')
    target, visible = _check("target", target, visible)
    count, places = target.shape[1], _scaled(target, size)

    if kind == "pixels":
        return target.new_ones(len(target))
    if kind == "image_edge":
        return target.new_full((len(target),), 2.0 if size is None else min(size))
    if kind == "box":
        seen = visible.unsqueeze(-1)
        low = torch.where(seen, places, math.inf).amin(dim=1)
        high = torch.where(seen, places, -math.inf).amax(dim=1)
        area = (high - low).prod(dim=-1)
        return torch.where(visible.any(dim=1), area.sqrt(), math.nan)
    if kind == "points":
        if not all(0 <= i < count for i in points) or points[0] == points[1]:
            raise ValueError(
                f"points={points} must be two different landmarks out of 0..{count - 1}"
            )
        ends = [[i] for i in points]
    elif count in _EYES[kind]:
        ends = _EYES[kind][count]
    else:
        known = " or ".join(map(str, _EYES[kind]))
        raise ValueError(
            f"normaliser {kind!r} knows {known} landmarks, these are {count}: "
            'use "points" with points=(i, j)'
        )
    left, right = (places[:, end].mean(dim=1) for end in ends)
    seen = visible[:, ends[0] + ends[1]].all(dim=1)
    return torch.where(seen, _distance(left, right, None), math.nan)


def _normalised(
    pred, target, visible, normaliser, size, points, drop_unusable
) -> tuple[Tensor, Tensor]:
    """Errors ``(B, K)`` over the normaliser, and which of them count ``(B, K)``."""
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
    pred: Points,
    target: Points,
    visible: Visible | None = None,
    normaliser: str = "eye_centres",
    size: Size | None = None,
    points: Ends | None = None,
    average: str = "images",
    per_image: bool = False,
    drop_unusable: bool = False,
) -> float | Float[Tensor, " b"]:
    """Normalised mean error: mean distance over ``normaliser`` (see ``NORMALISERS``).

    ``NME = mean over images of mean over visible k of |p_k - q_k| / d(image)``

    The field averages in three ways, which agree when everything is visible;
    ``average`` picks one:

    * ``"images"``: over the visible landmarks of an image, then over images, each image
      counting once (Seq-MT on faces, lmdis, most of the field);
    * ``"landmarks"``: over all visible landmarks at once, so an image with more of them
      counts more (DVE's "over points and images");
    * ``"types"``: per kind of landmark, then over kinds (fashion landmarks, DLAN).

    ``per_image=True`` returns the errors of the images instead, NaN where an
    image was left out for having no visible landmark. An image whose normaliser is zero
    or rests on a hidden landmark is a ValueError, unless ``drop_unusable=True`` leaves
    it out as well (lmdis skips images with distance 0).
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


# --- shares and curves ----------------------------------------------------------------


def _share(errors: Tensor, thresholds: Thresholds, inclusive: bool = True) -> Shares:
    """Share of ``errors`` within each threshold."""
    # in the precision of the errors: 0.1 in float32 is more than 0.1 in float64
    limits = torch.as_tensor(thresholds, dtype=errors.dtype, device=errors.device)
    if limits.ndim > 1 or limits.numel() == 0:
        raise ValueError(f"thresholds must be a number or a list, got {thresholds!r}")
    if not (limits.isfinite() & (limits >= 0)).all():
        raise ValueError(f"thresholds must be finite and >= 0, got {limits.tolist()}")
    edges = limits.unsqueeze(-1)
    share = (errors <= edges if inclusive else errors < edges).double().mean(dim=-1)
    return float(share) if limits.ndim == 0 else share.float()


def pck(
    pred: Points,
    target: Points,
    visible: Visible | None = None,
    threshold: Thresholds = 0.1,
    normaliser: str = "eye_centres",
    size: Size | None = None,
    points: Ends | None = None,
    drop_unusable: bool = False,
) -> Shares:
    """Percentage (a share here) of correct keypoints: error / normaliser <= threshold.

    Over all visible landmarks of all images at once. One threshold gives a float, a
    list a tensor. Images are left out as in ``nme``.
    """
    errors, counted = _normalised(
        pred, target, visible, normaliser, size, points, drop_unusable
    )
    return _share(errors[counted], threshold)


def pdl(
    pred: Points,
    target: Points,
    visible: Visible | None = None,
    threshold: Thresholds = 35.0,
    size: Size = (512, 512),
) -> Shares:
    """DLAN's percentage (a share here) of detected landmarks: distance < threshold.

    DLAN counts a landmark within 35 px in a 512 x 512 image, 6.84 % of the side: at 128
    x 128 that is 8.75 px. Over all visible landmarks; thresholds as for ``pck``.
    """
    pred, target, visible = _check_pair(pred, target, visible)
    if not visible.any():
        raise ValueError("no landmark is visible: there is nothing to detect")
    return _share(_distance(pred, target, size)[visible], threshold, inclusive=False)


def _listed(errors: Float[Tensor, "..."]) -> Float[Tensor, " n"]:
    """Errors as a flat list without the NaN of images that were left out."""
    values = torch.as_tensor(errors).flatten()
    values = values[~values.isnan()]
    if values.numel() == 0:
        raise ValueError("no errors to summarise: the list is empty or all NaN")
    if (values < 0).any() or values.isinf().any():
        raise ValueError("errors must be finite and >= 0")
    return values


def cumulative_curve(
    errors: Float[Tensor, "..."], thresholds: list[float] | Float[Tensor, " t"]
) -> Float[Tensor, " t"]:
    """Cumulative error distribution: share of ``errors`` <= each threshold.

    ``errors`` has any shape, usually ``nme(..., per_image=True)``; NaN are left out.
    """
    limits = torch.as_tensor(thresholds, dtype=torch.float64).reshape(-1)
    return _share(_listed(errors), limits)


def area_under_curve(errors: Float[Tensor, "..."], limit: float) -> float:
    """Area under the cumulative curve from 0 to ``limit``, over ``limit``; at best 1.

    The curve is a staircase, so this is exact: the mean of ``max(0, 1 - e / limit)``.
    """
    if not 0 < limit < math.inf:
        raise ValueError(f"limit must be positive and finite, got {limit!r}")
    return float((1 - _listed(errors).double() / limit).clamp(min=0).mean())


def failure_rate(errors: Float[Tensor, "..."], threshold: float) -> float:
    """Share of ``errors`` above ``threshold`` (300-W: 0.08 with the outer corners)."""
    return 1.0 - _share(_listed(errors), threshold)


# --- from discovered to annotated landmarks -------------------------------------------


class LandmarkRegression:
    """Least squares from K discovered to M annotated landmarks (lmdis, appendix; DVE).

    ``y = W x (+ b)`` with x the 2K discovered and y the 2M annotated coordinates.
    ``bias=False`` is lmdis's fit: its coordinates minus the image centre are ours.

    ``ridge`` adds ``ridge * |W|^2`` to the summed squared error (scikit-learn's
    ``alpha``); the bias is free. With about as many images as unknowns, n near 2K,
    plain least squares fits the noise and test errors explode (1,894 % in one of our
    trials, 13.4 % with a small ridge). Below 2K the fit is the one of least norm.

    Where an annotated landmark is hidden, that image is left out of the fit of *that*
    landmark only. Solved in float64 on the CPU; predictions come back as they went in.
    """

    def __init__(self, bias: bool = True, ridge: float = 0.0):
        if not 0 <= ridge < math.inf:
            raise ValueError(f"ridge must be finite and >= 0, got {ridge!r}")
        self.bias, self.ridge = bias, ridge
        self.weight: Float[Tensor, "2*k 2*m"] | None = None
        self.offset: Float[Tensor, 2 * m] | None = None

    def fit(self, x: Points, y: Annotated, visible: Bool[Tensor, "b m"] | None = None):
        """``visible``: of y. Returns itself."""
        (x, _), (y, visible) = _check("x", x), _check("y", y, visible)
        if x.shape[0] != y.shape[0]:
            raise ValueError(f"x has {x.shape[0]} images but y has {y.shape[0]}")
        x, y, visible = (
            x.detach().double().cpu(),
            y.detach().double().cpu(),
            visible.cpu(),
        )
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
        from sklearn.linear_model import LinearRegression, Ridge  # slow to import

        if self.ridge > 0:
            fit = Ridge(self.ridge, fit_intercept=self.bias, solver="svd")
        else:
            fit = LinearRegression(fit_intercept=self.bias)
        fit.fit(x.numpy(), y.numpy())
        offset = torch.as_tensor(fit.intercept_, dtype=y.dtype).expand(y.shape[1])
        return torch.as_tensor(fit.coef_).view(y.shape[1], -1).T, offset

    def predict(self, x: Points) -> Annotated:
        """Annotated landmarks for discovered ones."""
        if self.weight is None:
            raise ValueError("this regression has not been fitted: call fit first")
        points, _ = _check("x", x)
        expected, count = self.weight.shape[0] // 2, points.shape[1]
        if count != expected:
            raise ValueError(f"fitted on {expected} discovered landmarks, got {count}")
        y = points.detach().double().cpu().flatten(1) @ self.weight + self.offset
        return y.unflatten(1, (-1, 2)).to(points)


class FlipInvariantRegression:
    """Regression where left and right of a body cannot be told apart (lmdis, app. C).

    Seen from the back, a person looks much as from the front, mirrored. So both the
    annotated landmarks and their whole-body exchange of left and right count as true.
    The fit starts from frontal images, where more than two thirds of the left landmarks
    lie to the right of their mates, and then takes for every image the nearer of the
    two until none changes.

    ``swap``: for each landmark the one on the other side, or the same for the head,
    say. ``left``: numbers of the left landmarks.
    """

    def __init__(self, swap: list[int], left: list[int], ridge: float = 0.0):
        if sorted(swap) != list(range(len(swap))):
            raise ValueError(f"swap must be a permutation, got {swap}")
        self.swap, self.left = list(swap), list(left)
        self.regression = LandmarkRegression(bias=False, ridge=ridge)

    def frontal(self, y: Annotated) -> Bool[Tensor, " b"]:
        """Which images are seen from the front."""
        mates = [self.swap[i] for i in self.left]
        return (y[:, self.left, 0] > y[:, mates, 0]).float().mean(1) > 2 / 3

    def fit(self, x: Points, y: Annotated, rounds: int = 50):
        """Returns itself."""
        chosen = self.frontal(y)
        if not chosen.any():
            raise ValueError("no image is seen from the front: nothing to start from")
        self.regression.fit(x[chosen], y[chosen])
        flipped = None
        for _ in range(rounds):
            before, flipped = flipped, self._flipped(x, y)
            if before is not None and torch.equal(before, flipped):
                break
            mixed = torch.where(flipped.view(-1, 1, 1), y[:, self.swap], y)
            self.regression.fit(x, mixed)
        return self

    def _flipped(self, x: Tensor, y: Tensor) -> Tensor:
        found = self.regression.predict(x)
        own, other = (point_errors(found, t).mean(1) for t in (y, y[:, self.swap]))
        return other < own

    def predict(self, x: Points) -> Annotated:
        return self.regression.predict(x)

    def errors(self, x: Points, y: Annotated) -> Float[Tensor, " b"]:
        """Mean distance in each image, in [-1, 1], to the nearer truth."""
        found = self.predict(x)
        both = (point_errors(found, t).mean(1) for t in (y, y[:, self.swap]))
        return torch.minimum(*both)


# --- which landmark is which ----------------------------------------------------------


def match_landmarks(
    pred: Float[Tensor, "b j 2"], target: Points, visible: Visible | None = None
) -> Int[Tensor, " k"]:
    """One assignment for the whole set; ``pred[:, match]`` is in target's order.

    J >= K. Returns numbers of ``pred``: the permutation with the least mean distance
    over visible landmarks (Hungarian method). Landmarks learned without landmark labels
    come in any order, but it must be the same order in every image: matching each image
    by itself would hide that they swap.
    """
    pred, _ = _check("pred", pred)
    target, visible = _check("target", target, visible)
    if pred.shape[0] != target.shape[0] or pred.shape[1] < target.shape[1]:
        raise ValueError(
            "pred must be (B, J, 2) with J >= K for target (B, K, 2), got "
            f"{tuple(pred.shape)} and {tuple(target.shape)}"
        )
    visible = visible.to(pred.device).unsqueeze(-1)  # (B, K, 1)
    target = torch.where(visible, target.to(pred), 0.0)
    distance = _distance(target.unsqueeze(2), pred.unsqueeze(1), None)  # (B, K, J)
    cost = (distance * visible).sum(dim=0) / visible.sum(dim=0).clamp(min=1)
    return torch.as_tensor(linear_sum_assignment(cost.detach().cpu().numpy())[1])


def map_on_mask(
    points: Points, masks: Shaped[Tensor, "b s h w"]
) -> Bool[Tensor, "b k s"]:
    """Which of S shapes each point lies on.

    The mask is read at the pixel the point falls in, and counts where it is above one
    half (bool masks, or the coverage of anti-aliased drawing). Outside the image lies
    on nothing.
    """
    points, _ = _check("points", points)
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
