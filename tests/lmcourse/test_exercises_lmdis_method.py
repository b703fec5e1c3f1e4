"""The exercises of notebook 20 accept what is right, and name each typical slip."""

import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

from lmlib.geometry import pixel_grid, to_pixels

# ---- channel_points ------------------------------------------------------------------


def mean_place(density):  # (B, K, H, W), summing to one over space
    height, width = density.shape[2:]
    x = (2 * torch.arange(width) + 1) / width - 1
    y = (2 * torch.arange(height) + 1) / height - 1
    return torch.stack([(density.sum(2) * x).sum(2), (density.sum(3) * y).sum(2)], -1)


def over_space(maps):
    return maps / maps.sum((2, 3), keepdim=True)


def points_by_exp(scores):
    shares = scores.exp() / scores.exp().sum(1, keepdim=True)
    return mean_place(over_space(shares)[:, :-1])


def points_by_loop(scores):
    shares = torch.softmax(scores, 1)
    grid = pixel_grid(*scores.shape[2:])
    found = []
    for k in range(scores.shape[1] - 1):
        map_k = shares[:, k, ..., None]
        found.append((map_k * grid).sum((1, 2)) / map_k.sum((1, 2)))
    return torch.stack(found, 1)


def points_spatial(scores):
    return mean_place(scores.flatten(2).softmax(2).view_as(scores)[:, :-1])


def points_without_background(scores):
    return mean_place(over_space(scores[:, :-1].softmax(1)))


def points_without_zeta(scores):
    return mean_place(scores.softmax(1)[:, :-1])


def points_by_pixels(scores):
    return mean_place(scores.softmax(1)[:, :-1] / scores[0, 0].numel())


def points_one_zeta(scores):
    maps = scores.softmax(1)[:, :-1]
    return mean_place(maps / maps.sum((1, 2, 3), keepdim=True))


def points_first_dropped(scores):
    return mean_place(over_space(scores.softmax(1)))[:, 1:]


def points_softmax_twice(scores):
    return points_spatial(scores.softmax(1))


def points_swapped(scores):
    return points_by_exp(scores).flip(-1)


def points_corners(scores):
    height, width = scores.shape[2:]
    scale = torch.tensor([width / (width - 1), height / (height - 1)])
    return points_by_exp(scores) * scale


def points_argmax(scores):
    index = scores.softmax(1)[:, :-1].flatten(2).argmax(2)
    grid = pixel_grid(*scores.shape[2:]).view(-1, 2)
    return grid[index] + 0 * scores.sum()


def points_argmax_plain(scores):
    return pixel_grid(*scores.shape[2:]).view(-1, 2)[
        scores.softmax(1)[:, :-1].flatten(2).argmax(2)
    ]


def points_with_background(scores):
    return mean_place(over_space(scores.softmax(1)))


def points_in_pixels(scores):
    return to_pixels(points_by_exp(scores), tuple(scores.shape[2:]))


# ---- separation_loss -----------------------------------------------------------------


def squares(points):
    edges = points / 2
    return (edges.unsqueeze(2) - edges.unsqueeze(1)).pow(2).sum(-1)


def off_diagonal(near):
    return near.sum((1, 2)) - near.diagonal(dim1=1, dim2=2).sum(1)


def apart_by_loops(points, sigma):
    edges, total = points / 2, 0.0
    for k in range(points.shape[1]):
        for other in range(points.shape[1]):
            if k != other:
                gap = edges[:, k] - edges[:, other]
                total = total + torch.exp(-(gap**2).sum(-1) / (2 * sigma**2))
    return total.mean()


def apart_by_triangle(points, sigma):
    near = torch.exp(-squares(points) / (2 * sigma**2))
    return 2 * near.triu(1).sum() / len(points)


def apart_diagonal(points, sigma):
    return torch.exp(-squares(points) / (2 * sigma**2)).sum((1, 2)).mean()


def apart_once(points, sigma):
    return apart_by_triangle(points, sigma) / 2


def apart_in_our_units(points, sigma):
    return apart_by_loops(2 * points, sigma)


def apart_quartered(points, sigma):
    return apart_by_loops(points / 2, sigma)


def apart_no_two(points, sigma):
    return off_diagonal(torch.exp(-squares(points) / sigma**2)).mean()


def apart_sigma(points, sigma):
    return off_diagonal(torch.exp(-squares(points) / (2 * sigma))).mean()


def apart_distance(points, sigma):
    far = (squares(points) + torch.eye(points.shape[1])).sqrt()
    near = torch.exp(-far / (2 * sigma**2))
    return off_diagonal(near).mean()


def apart_outside(points, sigma):
    return torch.exp(-squares(points).sum((1, 2)) / (2 * sigma**2)).mean()


def apart_negative(points, sigma):
    return -apart_by_loops(points, sigma)


def apart_mean_pair(points, sigma):
    count = points.shape[1]
    return apart_by_loops(points, sigma) / (count * (count - 1))


def apart_mean_all(points, sigma):
    return apart_by_loops(points, sigma) / points.shape[1] ** 2


def apart_sum_images(points, sigma):
    return apart_by_loops(points, sigma) * len(points)


# ---- read_back_loss ------------------------------------------------------------------


def views(detect, canvas, warp, padding="border"):
    return detect(canvas), detect(warp.image(canvas, padding=padding))


def squared(a, b):
    return (((a - b) / 2) ** 2).sum(-1).sum(-1).mean()


def eqv_by_norm(detect, canvas, warp, zoom):
    here, there = views(detect, canvas, warp)
    home = warp.backward(there / zoom)
    far = (zoom / 2) * (home - here / zoom).norm(dim=-1)
    return far.square().sum(1).mean()


def eqv_by_inverse(detect, canvas, warp, zoom):
    here, there = views(detect, canvas, warp)
    return squared(zoom * warp.inverse().points(there / zoom), here)


def eqv_points(detect, canvas, warp, zoom):
    here, there = views(detect, canvas, warp)
    return squared(here, zoom * warp.points(there / zoom))


def eqv_forward(detect, canvas, warp, zoom):
    here, there = views(detect, canvas, warp)
    return squared(zoom * warp.points(here / zoom), there)


def eqv_wrong_one_back(detect, canvas, warp, zoom):
    here, there = views(detect, canvas, warp)
    return squared(zoom * warp.backward(here / zoom), there)


def eqv_both_back(detect, canvas, warp, zoom):
    ends = views(detect, canvas, warp)
    return squared(*(zoom * warp.backward(points / zoom) for points in ends))


def eqv_invariance(detect, canvas, warp, zoom):
    return squared(*views(detect, canvas, warp))


def eqv_no_zoom(detect, canvas, warp, zoom):
    here, there = views(detect, canvas, warp)
    return squared(here, warp.backward(there))


def eqv_no_zoom_after(detect, canvas, warp, zoom):
    here, there = views(detect, canvas, warp)
    return squared(here, warp.backward(there / zoom))


def eqv_no_zoom_before(detect, canvas, warp, zoom):
    here, there = views(detect, canvas, warp)
    return squared(here, zoom * warp.backward(there))


def eqv_zoom_inverted(detect, canvas, warp, zoom):
    here, there = views(detect, canvas, warp)
    return squared(here, warp.backward(there * zoom) / zoom)


def eqv_our_units(detect, canvas, warp, zoom):
    return 4 * eqv_by_norm(detect, canvas, warp, zoom)


def eqv_half_square(detect, canvas, warp, zoom):
    here, there = views(detect, canvas, warp)
    gaps = zoom * warp.backward(there / zoom) - here
    return (gaps.square() / 2).sum((1, 2)).mean()


def eqv_mean_k(detect, canvas, warp, zoom):
    here, there = views(detect, canvas, warp)
    gaps = (zoom * warp.backward(there / zoom) - here) / 2
    return gaps.square().sum(-1).mean()


def eqv_mean_all(detect, canvas, warp, zoom):
    here, there = views(detect, canvas, warp)
    gaps = (zoom * warp.backward(there / zoom) - here) / 2
    return gaps.square().mean()


def eqv_mean_xy(detect, canvas, warp, zoom):
    here, there = views(detect, canvas, warp)
    gaps = (zoom * warp.backward(there / zoom) - here) / 2
    return gaps.square().mean(-1).sum(-1).mean()


def eqv_sum_images(detect, canvas, warp, zoom):
    return len(canvas) * eqv_by_norm(detect, canvas, warp, zoom)


def eqv_distance(detect, canvas, warp, zoom):
    here, there = views(detect, canvas, warp)
    gaps = (zoom * warp.backward(there / zoom) - here) / 2
    return gaps.norm(dim=-1).sum(1).mean()


def eqv_black(detect, canvas, warp, zoom):
    here, there = views(detect, canvas, warp, "zeros")
    return squared(here, zoom * warp.backward(there / zoom))


def eqv_inverse_image(detect, canvas, warp, zoom):
    here = detect(canvas)
    there = detect(warp.inverse().image(canvas, padding="border"))
    return squared(here, zoom * warp.backward(there / zoom))


def eqv_detached(detect, canvas, warp, zoom):
    here, there = views(detect, canvas, warp)
    return squared(here.detach(), zoom * warp.backward(there / zoom))


WRONG = [
    ("channel_points", points_spatial, "Your softmax runs over space"),
    ("channel_points", points_without_background, "The background takes part"),
    ("channel_points", points_without_zeta, "but not over the pixels"),
    ("channel_points", points_by_pixels, "by the number of pixels"),
    ("channel_points", points_one_zeta, "by the sum of all maps"),
    ("channel_points", points_first_dropped, "left out the first channel"),
    ("channel_points", points_softmax_twice, "once more"),
    ("channel_points", points_swapped, "x and y are swapped"),
    ("channel_points", points_corners, "align_corners=True"),
    ("channel_points", points_argmax, "You take the highest pixel"),
    ("channel_points", points_argmax_plain, "no gradient flows back"),
    ("channel_points", points_with_background, "expected a tensor of shape (2, 3, 2)"),
    ("channel_points", points_in_pixels, "The numbers differ"),
    ("separation_loss", apart_diagonal, "each landmark with itself"),
    ("separation_loss", apart_once, "You count each pair once"),
    ("separation_loss", apart_in_our_units, "sigma is in edges"),
    ("separation_loss", apart_quartered, "You divide the points by 4"),
    ("separation_loss", apart_no_two, "The 2 in front of sigma^2"),
    ("separation_loss", apart_sigma, "Square sigma"),
    ("separation_loss", apart_distance, "Square the distance"),
    ("separation_loss", apart_outside, "exponential of the summed distances"),
    ("separation_loss", apart_negative, "The sign is wrong"),
    ("separation_loss", apart_mean_pair, "You average over the pairs"),
    ("separation_loss", apart_mean_all, "all K x K entries"),
    ("separation_loss", apart_sum_images, "You sum over the images"),
    ("read_back_loss", eqv_points, "the opposite way"),
    ("read_back_loss", eqv_forward, "You compare in the warped image"),
    ("read_back_loss", eqv_wrong_one_back, "the points of the canvas back"),
    ("read_back_loss", eqv_both_back, "You read both back"),
    ("read_back_loss", eqv_invariance, "points that never move"),
    ("read_back_loss", eqv_no_zoom, "divide by zoom before g and multiply"),
    ("read_back_loss", eqv_no_zoom_after, "multiply by zoom"),
    ("read_back_loss", eqv_no_zoom_before, "Divide by zoom before g"),
    ("read_back_loss", eqv_zoom_inverted, "where you should divide"),
    ("read_back_loss", eqv_our_units, "where an edge is 2"),
    ("read_back_loss", eqv_half_square, "You halve the squared distance"),
    ("read_back_loss", eqv_mean_k, "You average over the landmarks"),
    ("read_back_loss", eqv_mean_all, "You average over everything"),
    ("read_back_loss", eqv_mean_xy, "average over x and y as well"),
    ("read_back_loss", eqv_sum_images, "You sum over the images"),
    ("read_back_loss", eqv_distance, "eq. 8 has the squared one"),
    ("read_back_loss", eqv_black, "black"),
    ("read_back_loss", eqv_inverse_image, "the other way round"),
    ("read_back_loss", eqv_detached, "one of the two branches is detached"),
]
RIGHT = [
    ("channel_points", points_by_exp),
    ("channel_points", points_by_loop),
    ("separation_loss", apart_by_loops),
    ("separation_loss", apart_by_triangle),
    ("read_back_loss", eqv_by_norm),
    ("read_back_loss", eqv_by_inverse),
]
