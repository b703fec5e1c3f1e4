"""Exercises of notebook 10: the two losses of Seq-MT that people get wrong, and the
error of an answer that has to be a pixel."""

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import close, first_hint
from lmlib.geometry import Affine, to_pixels
from lmlib.heatmaps import gaussian_maps, hard_argmax
from lmlib.methods import seqmt
from lmlib.warps import seqmt_affine

# ---- the landmark loss, with two kinds of missing labels -----------------------------


def masked_landmark_loss(points, truth, visible, labelled, size):
    counts = visible & labelled[:, None]  # (B, K)
    difference = (points - truth) * size / 2  # pixels
    squared = difference.square().sum(-1)  # (B, K)
    return squared.where(counts, 0).mean()


def _library_landmark_loss(points, truth, visible, labelled, size):
    batch = {"landmarks": truth, "visible": visible, "labelled": labelled}
    return seqmt.landmark_loss(points, batch, size)


@exercise(
    "masked_landmark_loss",
    solution=masked_landmark_loss,
    library=_library_landmark_loss,
    level="medium",
    minutes=12,
    example=(
        torch.zeros(1, 2, 2),
        torch.tensor([[[0.1, 0.0], [0.0, 0.2]]]),
        torch.tensor([[True, False]]),
        torch.tensor([True]),
        40,
    ),
)
def _examine_landmark_loss(fn) -> str | None:
    generator = torch.Generator().manual_seed(0)
    points, truth = 2 * torch.rand(2, 6, 3, 2, generator=generator) - 1
    points = points.requires_grad_()
    visible = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1]] * 2).bool()
    labelled = torch.tensor([1, 0, 1, 0, 0, 1]).bool()
    arguments = (truth, visible, labelled, 40)
    right = _library_landmark_loss(points, *arguments)
    offset = (points - truth) * 20  # pixels of 40
    squared, counts = offset.square().sum(-1), visible & labelled[:, None]
    slips = {
        "This is the loss in units of [-1, 1]. In pixels a distance is size / 2 times "
        "as long, so its square size^2 / 4 times.": right / 400,
        "A width of 2 units is size pixels: one unit is size / 2 pixels, not "
        "size.": right * 4,
        "You average over x and y too. A squared distance is the sum of the two.": right
        / 2,
        "You divide by the landmarks that count. Eq. 3 divides by N K, all images and "
        "landmarks: what has no label counts as zero.": squared[counts].mean(),
        "You average over the visible landmarks. Two masks count, visible and "
        "labelled, and the divisor is N K.": squared[visible].mean(),
        "You average over the labelled images. Eq. 3 divides by N K, all images and "
        "landmarks.": squared.where(visible, 0)[labelled].mean(),
        "Unlabelled images take part: only labelled says who may use its "
        "landmarks.": squared.where(visible, 0).mean(),
        "Hidden landmarks take part: use visible too.": squared.where(
            labelled[:, None], 0
        ).mean(),
        "Every landmark of every image takes part; visible and labelled say which "
        "may.": squared.mean(),
        "A landmark counts if it is visible AND its image is labelled; you count either"
        ".": squared.where(visible | labelled[:, None], 0).mean(),
        "This is the mean distance. Eq. 3 has the squared distance: no "
        "root.": offset.norm(dim=-1).where(counts, 0).mean(),
        "This is the sum over landmarks and images; divide by both "
        "numbers.": squared.where(counts, 0).sum(),
    }
    hint = first_hint(fn(points, *arguments), right, slips)
    if hint:
        return hint
    unknown = truth.masked_fill(~visible[..., None], torch.nan)
    if not torch.isfinite(fn(points, unknown, *arguments[1:])):
        return (
            "The place of a hidden landmark may be unknown (NaN), and NaN * 0 is NaN. "
            "Choose with torch.where instead of multiplying by the mask."
        )
    return None


# ---- the equivariance term of a half-labelled batch ----------------------------------


def elt_term(points, again, warp, labelled, size):
    moved = warp.points(points)  # T . L(I), the same way as the pixels
    squared = ((moved - again) * size / 2).square().sum(-1)  # (B, K) square pixels
    return squared.where(~labelled[:, None], 0).mean()


def _library_elt_term(points, again, warp, labelled, size):
    on = ~labelled
    moved = warp.points(points)[on]
    loss = seqmt.equivariance_loss(moved, again[on], size)
    return loss * on.float().mean()  # eq. 4 divides by all N images


def _one_step_apart():
    """Two images, the second labelled; T shifts by 0.2, and L(T I) lags by 0.1."""
    shift = Affine(torch.tensor([[[1.0, 0.0, 0.2], [0.0, 1.0, 0.0]]]).repeat(2, 1, 1))
    points = torch.zeros(2, 1, 2)
    again = points + torch.tensor([0.1, 0.0])
    return points, again, shift, torch.tensor([False, True]), 40


@exercise(
    "elt_term",
    solution=elt_term,
    library=_library_elt_term,
    level="medium",
    minutes=12,
    example=_one_step_apart,
)
def _examine_elt_term(fn) -> str | None:
    generator = torch.Generator().manual_seed(1)
    points, again = torch.rand(2, 6, 3, 2, generator=generator) - 0.5
    points, again = points.requires_grad_(), again.requires_grad_()
    labelled = torch.tensor([1, 0, 0, 1, 0, 0]).bool()
    warp = seqmt_affine(6, "blocks", generator)
    right = _library_elt_term(points, again, warp, labelled, 40)

    def loss(moved, on=~labelled, other=again, power=2):
        distance = ((moved - other) * 20).norm(dim=-1)  # (B, K) pixels
        return (distance**power).where(on[:, None], 0).mean()

    everyone = torch.ones(6, dtype=torch.bool)
    moved, back = warp.points(points), warp.backward(points)
    slips = {
        "The points move by the inverse of what moved the pixels. warp.backward is for "
        "grid_sample; a point goes with warp.points.": loss(back),
        "You moved the second prediction, L(T I). It already lives in the transformed "
        "image; move the first one.": loss(warp.points(again), other=points),
        "You compare the two predictions as they are: that asks for invariance. Move "
        "the first ones with warp.points.": loss(points),
        "You keep the labelled images, but the ELT acts on the others: "
        "~labelled.": loss(moved, labelled),
        "All images take part. On Blocks the ELT acts only on those without landmark "
        "labels.": loss(moved, everyone),
        "You divide by the number of unlabelled images. Eq. 4 divides by all N: else "
        "its weight would change with the share of labels.": right
        / (~labelled).float().mean(),
        "This is in units of [-1, 1]; in pixels the square is size^2 / 4 times as "
        "large.": right / 400,
        "You average over x and y too. A squared distance is the sum of the two.": right
        / 2,
        "This is the mean distance. Eq. 4 has the squared distance: no root.": loss(
            moved, power=1
        ),
    }
    got = fn(points, again, warp, labelled, 40)
    hint = first_hint(got, right, slips)
    if hint:
        return hint
    for name, tensor in (("points", points), ("again", again)):
        (gradient,) = torch.autograd.grad(
            got, tensor, retain_graph=True, allow_unused=True
        )
        if gradient is None:
            return (
                f"No gradient reaches {name}. The paper stops it in neither branch: "
                "both predictions come from the same network and both may move."
            )
    return None


# ---- the floor of an answer that is a pixel ------------------------------------------


def pixel_floor(points, side):
    place = (points + 1) / 2 * side - 0.5  # where the centre of pixel i is i
    offset = place - place.round()
    return offset.norm(dim=-1).mean()


def _library_pixel_floor(points, side):
    maps = gaussian_maps(points[None], (side, side), sigma=1.0)
    best = to_pixels(hard_argmax(maps)[0], (side, side))
    return (best - to_pixels(points, (side, side))).norm(dim=-1).mean()


@exercise(
    "pixel_floor",
    solution=pixel_floor,
    library=_library_pixel_floor,
    level="medium",
    minutes=10,
    example=(torch.tensor([[0.0, 0.0], [0.1, 0.1]]), 10),
)
def _examine_pixel_floor(fn) -> str | None:
    generator = torch.Generator().manual_seed(2)
    # inside the outermost pixel centres, and more of it on the left: slips show up
    points = 0.9 * (2 * torch.rand(500, 2, generator=generator).square() - 1)
    side = 20
    place = (points + 1) / 2 * side - 0.5
    offset = place - place.round()
    corners = (points + 1) / 2 * (side - 1)
    cut = place + 0.5 - (place + 0.5).floor()
    length = offset.norm(dim=-1)
    slips = {
        "You round the place without its half pixel: the centre of pixel i is at "
        "i + 1/2 pixels from the edge, so subtract 0.5 before rounding.": (
            place + 0.5 - (place + 0.5).round()
        )
        .norm(dim=-1)
        .mean(),
        "You measure from the pixel's corner (floor). The answer of an argmax is the "
        "pixel's centre, half a pixel further.": cut.norm(dim=-1).mean(),
        "You cut off instead of rounding: 3.9 belongs to pixel 4.": (
            place - place.floor()
        )
        .norm(dim=-1)
        .mean(),
        "Your outermost pixel centres are at -1 and 1 (align_corners=True). In this "
        "course -1 and 1 are the edges: (point + 1) / 2 * side - 0.5.": (
            corners - corners.round()
        )
        .norm(dim=-1)
        .mean(),
        "This is in units of [-1, 1]; one pixel is 2 / side of them.": length.mean()
        * 2
        / side,
        "You average |dx| and |dy| apart; the distance is the root of the sum of "
        "squares.": offset.abs().mean(),
        "This is |dx| + |dy|; the straight distance is the root of the sum of "
        "squares.": offset.abs().sum(-1).mean(),
        "This is the mean of the squared distance; take the root of each "
        "first.": length.square().mean(),
        "You square, average and then take the root. Take the root for each point, "
        "then average.": length.square().mean().sqrt(),
        "This is the largest distance, not the mean one.": length.max(),
    }
    got = fn(points, side)
    right = pixel_floor(points, side)
    if close(got, right):
        return None
    return first_hint(got, right, slips)
