"""Exercises of notebook 20: from scores to points, the separation loss, and the
equivariance loss that reads a warped image's points back."""

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import always_the_centre, first_hint
from lmlib.geometry import Affine, pixel_grid
from lmlib.heatmaps import expected_points, hard_argmax
from lmlib.methods import lmdis

EDGE = torch.tensor([0.5, 0.5])  # edges of a square image per unit of [-1, 1]

# ---- equations 2 and 3 ---------------------------------------------------------------


def channel_points(scores):
    maps = scores.softmax(dim=1)  # eq. 2: over the channels, at each pixel
    maps = maps[:, :-1]  # the last one is the background
    density = maps / maps.sum(dim=(2, 3), keepdim=True)  # divided by zeta_k
    grid = pixel_grid(*scores.shape[2:])  # (H, W, 2): x, y of the pixels' centres
    return torch.einsum("bkhw,hwc->bkc", density, grid)  # eq. 3


def _library_channel_points(scores):
    maps = lmdis.detection_maps(scores)[:, :-1]
    return expected_points(lmdis.normalised(maps))


@exercise(
    "channel_points",
    solution=channel_points,
    library=_library_channel_points,
    level="medium",
    minutes=10,
    example=lambda: (torch.tensor([[[[0.0, 3.0]], [[0.0, 0.0]]]]),),
)
def _examine_channel_points(fn) -> str | None:
    generator = torch.Generator().manual_seed(0)
    scores = 2 * torch.randn(2, 4, 5, 7, generator=generator)
    scores.requires_grad_()
    maps = scores.softmax(1)
    landmarks = maps[:, :-1]
    zeta = landmarks.sum((2, 3), keepdim=True)
    right = expected_points(landmarks / zeta)
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, 5), torch.linspace(-1, 1, 7), indexing="ij"
    )
    corners = torch.stack([x, y], -1)

    def in_space(values):
        return expected_points(values.flatten(2).softmax(2).view_as(values))

    slips = {
        "Your softmax runs over space, as in notebook 01. Eq. 2 normalises over the "
        "channels, at each pixel (dim 1).": in_space(scores[:, :-1]),
        "Your softmax runs over the landmarks only. The background takes part in it, "
        "and is left out afterwards.": expected_points(
            scores[:, :-1].softmax(1) / scores[:, :-1].softmax(1).sum((2, 3), True)
        ),
        "A map sums to one over the channels, but not over the pixels: divide by its "
        "sum over space, zeta in eq. 3.": expected_points(landmarks),
        "You divide by the number of pixels; divide by the map's own sum, zeta in "
        "eq. 3.": expected_points(landmarks / 35),
        "You divide by the sum of all maps. Every map has its own zeta.": (
            expected_points(landmarks / zeta.sum(1, keepdim=True))
        ),
        "You left out the first channel. The background is the last one.": (
            expected_points((maps / maps.sum((2, 3), keepdim=True))[:, 1:])
        ),
        "You take a softmax over space of the maps once more. Eq. 3 only divides by "
        "the sum.": in_space(landmarks),
        "x and y are swapped: a point is (x, y), and x counts columns.": right.flip(-1),
        "Your outermost pixels have their centres on the edges -1 and 1 "
        "(align_corners=True). Use pixel_grid: (2 i + 1) / n - 1.": torch.einsum(
            "bkhw,hwc->bkc", landmarks / zeta, corners
        ),
        "You take the highest pixel. It has no gradient: eq. 3 is the weighted mean of "
        "all.": hard_argmax(landmarks),
    }
    return first_hint(fn(scores), right, slips)


# ---- equation 7 ----------------------------------------------------------------------


def separation_loss(points, sigma):
    edges = points / 2  # from [-1, 1] to edges of the image
    gaps = edges[:, :, None] - edges[:, None]  # (B, K, K, 2)
    near = torch.exp(-gaps.square().sum(-1) / (2 * sigma**2))  # (B, K, K)
    pairs = near.sum(dim=(1, 2)) - near.shape[1]  # minus k = k', which are exp(0) = 1
    return pairs.mean()


def _library_separation_loss(points, sigma):
    return lmdis.separation(points, EDGE.to(points), sigma)


@exercise(
    "separation_loss",
    solution=separation_loss,
    library=_library_separation_loss,
    level="medium",
    minutes=10,
    example=lambda: (torch.tensor([[[0.0, 0.0], [0.1, 0.0]]]), 0.08),
)
def _examine_separation_loss(fn) -> str | None:
    generator = torch.Generator().manual_seed(1)
    points = 0.4 * torch.randn(3, 4, 2, generator=generator)
    points.requires_grad_()
    sigma = 0.15
    right = _library_separation_loss(points, sigma)
    squared = (points[:, :, None] - points[:, None]).square().sum(-1) / 4

    def total(near):  # without the diagonal; mean over images
        return (near * (1 - torch.eye(4))).sum((1, 2)).mean()

    def gaussian(scale):
        return torch.exp(-squared / scale)

    away = squared + torch.eye(4)  # no root of zero
    slips = {
        "You count each landmark with itself, k = k'. Those are exp(0) = 1, always: "
        "leave them out.": right + 4,
        "You count each pair once. The sum of eq. 7 has k before k' and k' before k: "
        "twice that.": right / 2,
        "sigma is in edges of the image, but your distances are in [-1, 1], where an "
        "edge is 2: halve the points first.": total(gaussian(2 * sigma**2 / 4)),
        "You divide the points by 4, or halve a squared distance: halve the points, "
        "then square.": total(gaussian(2 * sigma**2 * 4)),
        "The 2 in front of sigma^2 is missing.": total(gaussian(sigma**2)),
        "Square sigma: exp(-d^2 / (2 sigma^2)).": total(gaussian(2 * sigma)),
        "Square the distance: exp(-d^2 / (2 sigma^2)).": total(
            torch.exp(-away.sqrt() / (2 * sigma**2))
        ),
        "You take the exponential of the summed distances. Each pair has its own "
        "exponential, then comes the sum.": torch.exp(
            -squared.sum((1, 2)) / (2 * sigma**2)
        ).mean(),
        "The sign is wrong: the loss is large where landmarks are close, and training "
        "makes it small.": -right,
        "You average over the pairs; eq. 7 is a sum. Only over images take the "
        "mean.": right / 12,
        "You average over all K x K entries; eq. 7 is a sum.": right / 16,
        "You sum over the images; take their mean.": right * 3,
    }
    return first_hint(fn(points, sigma), right, slips)


# ---- equation 8 ----------------------------------------------------------------------


def read_back_loss(detect, canvas, warp, zoom):
    here = detect(canvas)  # in the image's units
    there = detect(warp.image(canvas, padding="border"))
    back = zoom * warp.backward(there / zoom)  # g acts on the canvas
    gaps = (back - here) / 2  # in edges of the image
    return gaps.square().sum(dim=(1, 2)).mean()  # sum over K, mean over images


def _library_read_back_loss(detect, canvas, warp, zoom):
    there = detect(warp.image(canvas, padding="border"))
    back = zoom * warp.backward(there / zoom)
    return lmdis.equivariance(detect(canvas), back, EDGE.to(canvas))


@exercise(
    "read_back_loss",
    solution=read_back_loss,
    library=_library_read_back_loss,
    level="hard",
    minutes=15,
    example=lambda: (
        always_the_centre,
        torch.zeros(1, 1, 2, 2),
        Affine.from_parameters(
            torch.zeros(1), torch.ones(1), torch.tensor([[0.4, 0.0]])
        ),
        1.25,
    ),
)
def _examine_read_back_loss(fn) -> str | None:
    generator = torch.Generator().manual_seed(0)
    canvas = torch.rand(3, 1, 24, 24, generator=generator)
    filters = torch.randn(4, 1, 7, 7, generator=generator).requires_grad_()
    zoom = 1.25

    def detect(images):
        scores = torch.nn.functional.conv2d(images, filters, padding=3)
        shares = (0.7 * scores).flatten(2).softmax(2).view_as(scores)
        return zoom * expected_points(shares)

    warp = Affine.from_parameters(
        angle=torch.tensor([0.5, -0.4, 0.8]),
        scale=torch.tensor([0.9, 1.2, 1.0]),
        shift=torch.tensor([[0.2, 0.1], [-0.3, 0.2], [0.1, -0.3]]),
    )
    here, there = detect(canvas), detect(warp.image(canvas, padding="border"))
    black = detect(warp.image(canvas))
    other = detect(warp.inverse().image(canvas, padding="border"))

    def back(points):
        return zoom * warp.backward(points / zoom)

    def forth(points):
        return zoom * warp.points(points / zoom)

    def loss(a, b):
        return ((a - b) / 2).square().sum((1, 2)).mean()

    right = loss(here, back(there))
    gaps = (here - back(there)) / 2
    slips = {
        "This is warp.points, the opposite way. The warped image shows at p what the "
        "canvas shows at g(p): g is warp.backward.": loss(here, forth(there)),
        "You compare in the warped image: you moved the points of the canvas forward. "
        "Eq. 8 reads the warped image's points back, g(x').": loss(forth(here), there),
        "You read the points of the canvas back. Those of the warped image have to "
        "come home: g(x').": loss(back(here), there),
        "You read both back. The points of the canvas are at home.": loss(
            back(here), back(there)
        ),
        "You compare without g: that asks for points that never move.": loss(
            here, there
        ),
        "The warp acts on the canvas, but detect answers in the image's units: divide "
        "by zoom before g and multiply after.": loss(here, warp.backward(there)),
        "Go back to the image's units after g: multiply by zoom.": loss(
            here, warp.backward(there / zoom)
        ),
        "Divide by zoom before g: the warp acts on the canvas's units.": loss(
            here, zoom * warp.backward(there)
        ),
        "You multiply by zoom where you should divide: the image is smaller than its "
        "canvas, so its edge, 1, lies at 1 / zoom.": loss(
            here, warp.backward(zoom * there) / zoom
        ),
        "The distance is in units of [-1, 1], where an edge is 2: halve it before you "
        "square.": 4 * right,
        "You halve the squared distance; halve the distance, then square.": 2 * right,
        "You average over the landmarks; eq. 8 is a sum over k.": right / 4,
        "You average over everything; eq. 8 is a sum over k, x and y.": right / 8,
        "You average over x and y as well; add the two squares.": right / 2,
        "You sum over the images; take their mean.": 3 * right,
        "This is the distance; eq. 8 has the squared one.": gaps.norm(dim=-1)
        .sum(1)
        .mean(),
        'Warp the canvas with padding="border": else what comes in from outside is '
        "black.": loss(here, back(black)),
        "The canvas was warped the other way round: use warp.image.": loss(
            here, back(other)
        ),
    }
    got = fn(detect, canvas, warp, zoom)
    hint = first_hint(got, right, slips, tolerance=1e-5)
    if hint:
        return hint
    slopes = (torch.autograd.grad(x, filters)[0] for x in (got, right))
    if not torch.allclose(*slopes, atol=1e-6, rtol=1e-3):
        return (
            "The value is right but the gradient is not: one of the two branches is "
            "detached. In eq. 8 both learn."
        )
    return None
