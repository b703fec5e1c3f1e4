"""Exercises of notebook 30: the loss of one pair, where cells go, the exchange through
several images, and the gradient that makes the fast loss fast."""

import torch
import torch.nn.functional as F

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import close, first_hint
from lmlib.geometry import Affine, pixel_grid, to_pixels
from lmlib.methods import dve
from lmlib.warps import dve_warp

# ---- equations 2 and 3 for one pair --------------------------------------------------


def one_pair_loss(source, target, where):
    height, width = target.shape[-2:]
    similarity = source.flatten(1).T @ target.flatten(1)  # (N, M): u down, v across
    probability = similarity.softmax(dim=1)  # eq. 2: each row sums to one
    row, column = torch.meshgrid(
        torch.arange(height), torch.arange(width), indexing="ij"
    )
    cells = torch.stack([column, row], dim=-1).view(-1, 2).to(where)  # x first
    distance = (where[:, None] - cells).norm(dim=-1)  # (N, M)
    return (probability * distance).sum(dim=1).mean()  # eq. 3


def _library_one_pair_loss(source, target, where):
    return dve.matching_loss(source[None], target[None], where[None])


@exercise(
    "one_pair_loss",
    solution=one_pair_loss,
    library=_library_one_pair_loss,
    level="medium",
    minutes=10,
    example=(
        torch.tensor([[[1.0]]]),
        torch.tensor([[[0.0, 1.0]]]),
        torch.tensor([[1.0, 0.0]]),
    ),
)
def _examine_one_pair_loss(fn) -> str | None:
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(4, 5, 3, generator=generator).requires_grad_()
    target = torch.randn(4, 4, 6, generator=generator)
    where = torch.rand(15, 2, generator=generator) * torch.tensor([6.0, 4.0])
    right = one_pair_loss(source, target, where)

    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    cells = torch.stack([x, y], -1).view(-1, 2)  # (24, 2)
    offset = where[:, None] - cells
    distance = offset.norm(dim=-1)  # (15, 24)
    s = source.flatten(1).T @ target.flatten(1)
    p = s.softmax(1)

    def loss(probability, far=distance):
        return (probability * far).sum(1).mean()

    def cosine(vectors):
        return F.normalize(vectors.flatten(1), dim=0)

    slips = {
        "Your softmax runs over u. p(v|u) sums to one over v, the cells of the target "
        "(dim 1, if u goes down).": loss(s.softmax(0)),
        "You divide by the number of v as well, as eq. 3 is printed. But p(v|u) sums "
        "to one over v already: sum over v, average over u.": right / 24,
        "You sum over u; average instead.": right * 15,
        "You average the distances without the probabilities.": distance.mean(),
        "The exponentials are not divided by their sum over v.": loss(s.exp()),
        "This is the expected squared distance: take the root of dx^2 + dy^2 "
        "first.": loss(p, distance.square()),
        "This is |dx| + |dy|; the straight distance is the root of the sum of "
        "squares.": loss(p, offset.abs().sum(-1)),
        "Rows and columns are swapped: where holds (x, y), x counts columns.": loss(
            p, (where[:, None] - cells.flip(-1)).norm(dim=-1)
        ),
        "You measure the distance of the expected place, as soft-argmax would. Eq. 3 "
        "is the expected distance: first the distance to every v, then the mean.": (
            p @ cells - where
        )
        .norm(dim=-1)
        .mean(),
        "You measure only the best match. Its place does not move with small changes "
        "of the vectors, so nothing could be learned: weight all v by p.": distance[
            torch.arange(15), s.argmax(1)
        ].mean(),
        "You normalise the vectors. Their length is the confidence: use plain dot "
        "products.": loss((cosine(source).T @ cosine(target)).softmax(1)),
        "You divide by the root of C, as attention in language models does. Here the "
        "scale is 1.": loss((s / 2).softmax(1)),
    }
    return first_hint(fn(source, target, where), right, slips)


# ---- where the cells of u lie in v ---------------------------------------------------


def where_in_v(warp, cells, zoom):
    crop = pixel_grid(cells, cells).view(1, -1, 2)  # centres of u's cells, in the crop
    frame = zoom * crop  # the crop is the middle of the frame
    return warp.backward(frame) / zoom  # u reads v there; back to the crop's units


@exercise(
    "where_in_v",
    solution=where_in_v,
    library=where_in_v,
    level="hard",
    minutes=15,
    example=lambda: (
        Affine.from_parameters(
            torch.zeros(1), torch.ones(1), torch.tensor([[0.2, 0.0]])
        ),
        2,
        0.5,
    ),
)
def _examine_where_in_v(fn) -> str | None:
    warp, cells, zoom = dve_warp(1, torch.Generator().manual_seed(3)), 6, 0.75
    right = where_in_v(warp, cells, zoom)
    lattice = pixel_grid(cells, cells).view(1, -1, 2)
    line = torch.linspace(-1, 1, cells)
    corners = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    corners = corners.view(1, -1, 2)
    slips = {
        "This is warp.points, the opposite way: it says where a point of v lies in u. "
        "u was made by reading v, and warp.backward says where.": warp.points(
            zoom * lattice
        )
        / zoom,
        "You forgot to go back to the crop's units: divide by zoom at the "
        "end.": warp.backward(zoom * lattice),
        "The warp acts on the whole frame, but your cells are in units of the crop: "
        "multiply by zoom first.": warp.backward(lattice) / zoom,
        "The warp acts on the whole frame: go from the crop to the frame (zoom *), "
        "warp, and come back (/ zoom).": warp.backward(lattice),
        "You divide where you should multiply: the crop is the smaller one, its edge "
        "at 1 lies at zoom in the frame.": warp.backward(lattice / zoom) * zoom,
        "Your outermost cells have their centres on the edges -1 and 1 "
        "(align_corners=True). Use pixel_grid: (2 i + 1) / n - 1.": warp.backward(
            zoom * corners
        )
        / zoom,
        "x and y are swapped: pixel_grid gives (x, y), and so should you.": right.flip(
            -1
        ),
        "Your cells go down the columns; the order is row by row.": right.view(
            1, cells, cells, 2
        )
        .transpose(1, 2)
        .reshape(1, -1, 2),
        "The cells have not moved at all.": lattice,
        "This is counted in cells; stay in units of the crop, [-1, 1].": to_pixels(
            right, (cells, cells)
        ),
    }
    return first_hint(fn(warp, cells, zoom), right, slips)


# ---- equation 5 through a set of images ----------------------------------------------


def exchange_many(source, auxiliaries):
    query = source.flatten(1).T  # (N, C)
    bank = auxiliaries.transpose(0, 1).flatten(1)  # (C, A M): all pixels of all images
    share = (query @ bank).softmax(dim=1)  # one softmax over all of them
    return (share @ bank.T).T.reshape(source.shape)


def _library_exchange_many(source, auxiliaries):
    return dve.exchange(source[None], auxiliaries[None])[0]


@exercise(
    "exchange_many",
    solution=exchange_many,
    library=_library_exchange_many,
    level="medium",
    minutes=10,
    example=(
        torch.tensor([[[1.0]], [[0.0]]]),
        torch.tensor([[[[1.0]], [[0.0]]], [[[0.0]], [[1.0]]]]),
    ),
)
def _examine_exchange_many(fn) -> str | None:
    generator = torch.Generator().manual_seed(1)
    source = torch.randn(4, 3, 5, generator=generator).requires_grad_()
    auxiliaries = torch.randn(3, 4, 2, 4, generator=generator)
    auxiliaries[0] *= 0.5
    right = _library_exchange_many(source, auxiliaries)

    query = source.flatten(1).T
    bank = auxiliaries.transpose(0, 1).flatten(1)  # (4, 24)
    s = query @ bank

    def image(vectors):  # (N, C) -> (C, h, w)
        return vectors.T.reshape(source.shape)

    each = torch.stack([exchange_many(source, one[None]) for one in auxiliaries])
    torn = auxiliaries.reshape(4, -1)  # channels and images mixed up
    slips = {
        "You exchange through each image by itself and average. Then an image that "
        "does not match spoils a share of every vector: let one softmax run over the "
        "pixels of all images.": each.mean(0),
        "You exchange through each image by itself and add up: let one softmax run "
        "over the pixels of all images.": each.sum(0),
        "You return the vectors as they came: nothing has been exchanged. Each becomes "
        "a mixture of the auxiliaries' vectors.": source * 1.0,
        "You use only the first auxiliary image.": each[0],
        "You average the auxiliary images before matching. Their pixels do not "
        "correspond: keep them all.": exchange_many(source, auxiliaries.mean(0)[None]),
        "Your softmax runs over u. The shares of one u sum to one over all w.": image(
            s.softmax(0) @ bank.T
        ),
        "You take the best match only. Eq. 5 is the average of all, weighted by p: the "
        "gradient needs the runners-up.": image(bank.T[s.argmax(1)]),
        "You divide by the root of C, as attention in language models does. Here the "
        "scale is 1.": image((s / 2).softmax(1) @ bank.T),
        "You bring the mixture back to the length of the source. The mixture stays as "
        "it is: if it is short, the match is unsure.": F.normalize(right, dim=0)
        * source.norm(dim=0),
        "Transpose (N, C) to (C, N) before you give it the shape (C, h, w): else the "
        "numbers land in the wrong places.": (s.softmax(1) @ bank.T).reshape(
            source.shape
        ),
        "Bring the channels to the front (transpose) before you flatten images and "
        "pixels: (A, C, H, W) reshaped to (C, -1) mixes channels and images.": image(
            (query @ torn).softmax(1) @ torn.T
        ),
    }
    return first_hint(fn(source, auxiliaries), right, slips)


# ---- the gradient of an expected distance --------------------------------------------


def matching_gradient(probability, distance):
    expected = (probability * distance).sum(dim=1, keepdim=True)  # (N, 1)
    return probability * (distance - expected)


def _library_matching_gradient(probability, distance):
    scores = probability.log().requires_grad_()  # softmax gives p back
    with torch.enable_grad():
        loss = (scores.softmax(1) * distance).sum()
    return torch.autograd.grad(loss, scores)[0]


@exercise(
    "matching_gradient",
    solution=matching_gradient,
    library=_library_matching_gradient,
    level="medium",
    minutes=10,
    example=(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.0, 2.0]])),
)
def _examine_matching_gradient(fn) -> str | None:
    generator = torch.Generator().manual_seed(2)
    p = torch.randn(4, 7, generator=generator).softmax(1)
    d = 5 * torch.rand(4, 7, generator=generator)
    right = _library_matching_gradient(p, d)
    expected = (p * d).sum(1, keepdim=True)
    slips = {
        "The sign is wrong: this is the direction in which to go, minus the "
        "gradient. A place that is further than expected has a positive one.": -right,
        "Raising one score lowers the probability of all others: subtract what they "
        "lose, p times the expected distance.": p * d,
        "Multiply by p: a place without probability has no pull.": d - expected,
        "Subtract the expected distance, sum of p d, not the plain mean of the "
        "distances.": p * (d - d.mean(1, keepdim=True)),
        "This is p (1 - p) d: how a probability changes with its own score. Raising "
        "one score also moves the other probabilities.": p * (1 - p) * d,
        "Every u has an expected distance of its own: sum each row, not the whole "
        "matrix.": p * (d - (p * d).sum()),
        "You average the expected distance over all u. Every row has its own.": p
        * (d - expected.mean()),
        "You divide by the number of u. Here each row's own gradient is asked for; "
        "the mean comes later.": right / len(p),
    }
    got = fn(p, d)
    hint = first_hint(got, right, slips)
    if hint or close(fn(p[:1], d[:1]), right[:1]):
        return hint
    return "It is right for four rows, but not for one: what depends on their number?"
