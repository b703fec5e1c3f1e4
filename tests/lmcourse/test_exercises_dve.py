"""The exercises of notebook 30 accept what is right, and name each typical slip."""

import torch
import torch.nn.functional as F
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

from lmlib.geometry import pixel_grid, to_pixels

# ---- one_pair_loss -------------------------------------------------------------------


def rows_of(descriptors):
    return descriptors.flatten(1).T  # (N, C)


def similarities(source, target):
    return rows_of(source) @ rows_of(target).T


def cells_of(target):
    height, width = target.shape[-2:]
    return torch.cartesian_prod(
        torch.arange(1.0 * height), torch.arange(1.0 * width)
    ).flip(-1)


def pair_by_loops(source, target, where):
    total = 0.0
    for u, vector in enumerate(rows_of(source)):
        share = torch.exp(rows_of(target) @ vector)
        share = share / share.sum()
        for v, (x, y) in enumerate(cells_of(target)):
            dx, dy = where[u, 0] - x, where[u, 1] - y
            total = total + share[v] * (dx**2 + dy**2) ** 0.5
    return total / len(where)


def pair_by_cdist(source, target, where):
    share = similarities(source, target).softmax(-1)
    return torch.einsum("uv,uv->", share, torch.cdist(where, cells_of(target))) / len(
        where
    )


def pair_wrong_axis(source, target, where):
    share = similarities(source, target).softmax(0)
    return (share * torch.cdist(where, cells_of(target))).sum(1).mean()


def pair_as_printed(source, target, where):
    share = similarities(source, target).softmax(1)
    return (share * torch.cdist(where, cells_of(target))).mean()


def pair_sum(source, target, where):
    return pair_by_cdist(source, target, where) * len(where)


def pair_unweighted(source, target, where):
    return torch.cdist(where, cells_of(target)).mean() + 0 * source.sum()


def pair_exp(source, target, where):
    share = similarities(source, target).exp()
    return (share * torch.cdist(where, cells_of(target))).sum(1).mean()


def pair_squared(source, target, where):
    share = similarities(source, target).softmax(1)
    return (share * torch.cdist(where, cells_of(target)) ** 2).sum(1).mean()


def pair_city_block(source, target, where):
    share = similarities(source, target).softmax(1)
    return (share * torch.cdist(where, cells_of(target), p=1)).sum(1).mean()


def pair_rows_first(source, target, where):
    share = similarities(source, target).softmax(1)
    return (share * torch.cdist(where, cells_of(target).flip(-1))).sum(1).mean()


def pair_soft_argmax(source, target, where):
    place = similarities(source, target).softmax(1) @ cells_of(target)
    return (place - where).norm(dim=1).mean()


def pair_best(source, target, where):
    place = cells_of(target)[similarities(source, target).argmax(1)]
    return (place - where).norm(dim=1).mean()


def pair_best_with_gradient(source, target, where):
    return pair_best(source, target, where) + 0 * source.sum()


def pair_cosine(source, target, where):
    unit = F.normalize(source, dim=0), F.normalize(target, dim=0)
    return pair_by_cdist(*unit, where)


def pair_scaled(source, target, where):
    return pair_by_cdist(source / len(source) ** 0.5, target, where)


# ---- where_in_v ----------------------------------------------------------------------


def lattice(cells):
    return pixel_grid(cells, cells).view(1, -1, 2)


def where_by_hand(warp, cells, zoom):
    line = (2 * torch.arange(cells) + 1) / cells - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    frame = zoom * torch.stack([x.flatten(), y.flatten()], dim=-1)
    return warp.backward(frame[None]).div(zoom)


def where_by_inverse(warp, cells, zoom):
    return warp.inverse().points(lattice(cells) * zoom) / zoom


def where_points(warp, cells, zoom):
    return warp.points(zoom * lattice(cells)) / zoom


def where_in_frame(warp, cells, zoom):
    return warp.backward(zoom * lattice(cells))


def where_of_crop(warp, cells, zoom):
    return warp.backward(lattice(cells)) / zoom


def where_without_zoom(warp, cells, zoom):
    return warp.backward(lattice(cells))


def where_zoomed_out(warp, cells, zoom):
    return warp.backward(lattice(cells) / zoom) * zoom


def where_corners(warp, cells, zoom):
    line = torch.linspace(-1, 1, cells)
    frame = zoom * torch.cartesian_prod(line, line).flip(-1)
    return warp.backward(frame[None]) / zoom


def where_swapped(warp, cells, zoom):
    return where_by_hand(warp, cells, zoom).flip(-1)


def where_column_by_column(warp, cells, zoom):
    line = (2 * torch.arange(cells) + 1) / cells - 1
    return warp.backward(zoom * torch.cartesian_prod(line, line)[None]) / zoom


def where_still(warp, cells, zoom):
    return lattice(cells)


def where_in_cells(warp, cells, zoom):
    return to_pixels(where_by_hand(warp, cells, zoom), (cells, cells))


# ---- exchange_many -------------------------------------------------------------------


def exchange_nothing(source, auxiliaries):
    return source


def exchange_by_attention(source, auxiliaries):
    bank = auxiliaries.permute(0, 2, 3, 1).flatten(0, 2)
    found = F.scaled_dot_product_attention(
        rows_of(source)[None], bank[None], bank[None], scale=1.0
    )
    return found[0].T.unflatten(1, source.shape[1:])


def exchange_by_loop(source, auxiliaries):
    scores = [similarities(source, one) for one in auxiliaries]
    shares = torch.cat(scores, 1).softmax(1).split([s.shape[1] for s in scores], 1)
    pairs = zip(shares, auxiliaries, strict=True)
    found = sum(share @ rows_of(one) for share, one in pairs)
    return found.T.unflatten(1, source.shape[1:])


def separate(source, auxiliaries):
    return torch.stack([exchange_by_loop(source, one[None]) for one in auxiliaries])


def exchange_mean_of_each(source, auxiliaries):
    return separate(source, auxiliaries).mean(0)


def exchange_sum_of_each(source, auxiliaries):
    return separate(source, auxiliaries).sum(0)


def exchange_first_only(source, auxiliaries):
    return separate(source, auxiliaries)[0]


def exchange_with_mean_image(source, auxiliaries):
    return exchange_by_loop(source, auxiliaries.mean(0, keepdim=True))


def found_by(share, auxiliaries, source):
    bank = auxiliaries.permute(0, 2, 3, 1).flatten(0, 2)
    return (share @ bank).T.unflatten(1, source.shape[1:])


def all_scores(source, auxiliaries):
    return torch.cat([similarities(source, one) for one in auxiliaries], 1)


def exchange_wrong_axis(source, auxiliaries):
    share = all_scores(source, auxiliaries).softmax(0)
    return found_by(share, auxiliaries, source)


def exchange_best(source, auxiliaries):
    best = all_scores(source, auxiliaries).argmax(1)
    share = F.one_hot(best, auxiliaries[:, 0].numel()).float()
    return found_by(share, auxiliaries, source) + 0 * source


def exchange_best_cut_off(source, auxiliaries):
    return exchange_best(source.detach(), auxiliaries)


def exchange_scaled(source, auxiliaries):
    return exchange_by_loop(source / len(source) ** 0.5, auxiliaries)


def exchange_same_length(source, auxiliaries):
    found = exchange_by_loop(source, auxiliaries)
    return found / found.norm(dim=0) * source.norm(dim=0)


def exchange_not_transposed(source, auxiliaries):
    found = exchange_by_loop(source, auxiliaries)
    return rows_of(found).reshape(source.shape)


def exchange_torn(source, auxiliaries):
    bank = auxiliaries.reshape(len(source), -1)
    share = (rows_of(source) @ bank).softmax(1)
    return (share @ bank.T).T.reshape(source.shape)


# ---- matching_gradient ---------------------------------------------------------------


def gradient_by_jacobian(probability, distance):
    rows = [
        (torch.diag(p) - torch.outer(p, p)) @ d
        for p, d in zip(probability, distance, strict=True)
    ]
    return torch.stack(rows)


def gradient_by_vecdot(probability, distance):
    expected = torch.linalg.vecdot(probability, distance)
    return distance.sub(expected.unsqueeze(1)).mul(probability)


def gradient_descent(probability, distance):
    return -gradient_by_vecdot(probability, distance)


def gradient_fixed_normaliser(probability, distance):
    return probability * distance


def gradient_without_p(probability, distance):
    return distance - (probability * distance).sum(1, keepdim=True)


def gradient_plain_mean(probability, distance):
    return probability * (distance - distance.mean(1, keepdim=True))


def gradient_diagonal(probability, distance):
    return probability * (1 - probability) * distance


def gradient_whole_sum(probability, distance):
    return probability * (distance - (probability * distance).sum())


def gradient_whole_mean(probability, distance):
    expected = (probability * distance).sum(1).mean()
    return probability * (distance - expected)


def gradient_of_mean(probability, distance):
    return gradient_by_vecdot(probability, distance) / len(probability)


def gradient_no_keepdim(probability, distance):
    return probability * (distance - (probability * distance).sum(1))


WRONG = [
    ("one_pair_loss", pair_wrong_axis, "Your softmax runs over u"),
    ("one_pair_loss", pair_as_printed, "as eq. 3 is printed"),
    ("one_pair_loss", pair_sum, "You sum over u"),
    ("one_pair_loss", pair_unweighted, "without the probabilities"),
    ("one_pair_loss", pair_exp, "not divided by their sum"),
    ("one_pair_loss", pair_squared, "expected squared distance"),
    ("one_pair_loss", pair_city_block, "This is |dx| + |dy|"),
    ("one_pair_loss", pair_rows_first, "x counts columns"),
    ("one_pair_loss", pair_soft_argmax, "distance of the expected place"),
    ("one_pair_loss", pair_best, "no gradient flows back"),
    ("one_pair_loss", pair_best_with_gradient, "only the best match"),
    ("one_pair_loss", pair_cosine, "Their length is the confidence"),
    ("one_pair_loss", pair_scaled, "the scale is 1"),
    ("where_in_v", where_points, "the opposite way"),
    ("where_in_v", where_in_frame, "divide by zoom at the end"),
    ("where_in_v", where_of_crop, "multiply by zoom first"),
    ("where_in_v", where_without_zoom, "from the crop to the frame"),
    ("where_in_v", where_zoomed_out, "You divide where you should multiply"),
    ("where_in_v", where_corners, "align_corners=True"),
    ("where_in_v", where_swapped, "x and y are swapped"),
    ("where_in_v", where_column_by_column, "row by row"),
    ("where_in_v", where_still, "have not moved"),
    ("where_in_v", where_in_cells, "This is counted in cells"),
    ("exchange_many", exchange_nothing, "nothing has been exchanged"),
    ("exchange_many", exchange_mean_of_each, "by itself and average"),
    ("exchange_many", exchange_sum_of_each, "by itself and add up"),
    ("exchange_many", exchange_first_only, "only the first auxiliary"),
    ("exchange_many", exchange_with_mean_image, "average the auxiliary images"),
    ("exchange_many", exchange_wrong_axis, "Your softmax runs over u"),
    ("exchange_many", exchange_best, "You take the best match only"),
    ("exchange_many", exchange_best_cut_off, "no gradient flows back"),
    ("exchange_many", exchange_scaled, "the scale is 1"),
    ("exchange_many", exchange_same_length, "back to the length of the source"),
    ("exchange_many", exchange_not_transposed, "Transpose (N, C)"),
    ("exchange_many", exchange_torn, "mixes channels and images"),
    ("matching_gradient", gradient_descent, "The sign is wrong"),
    ("matching_gradient", gradient_fixed_normaliser, "subtract what they lose"),
    ("matching_gradient", gradient_without_p, "Multiply by p"),
    ("matching_gradient", gradient_plain_mean, "not the plain mean"),
    ("matching_gradient", gradient_diagonal, "This is p (1 - p) d"),
    ("matching_gradient", gradient_whole_sum, "sum each row"),
    ("matching_gradient", gradient_whole_mean, "Every row has its own"),
    ("matching_gradient", gradient_of_mean, "divide by the number of u"),
    ("matching_gradient", gradient_no_keepdim, "RuntimeError"),
]
RIGHT = [
    ("one_pair_loss", pair_by_loops),
    ("one_pair_loss", pair_by_cdist),
    ("where_in_v", where_by_hand),
    ("where_in_v", where_by_inverse),
    ("exchange_many", exchange_by_attention),
    ("exchange_many", exchange_by_loop),
    ("matching_gradient", gradient_by_jacobian),
    ("matching_gradient", gradient_by_vecdot),
]
