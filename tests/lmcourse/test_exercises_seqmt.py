"""The exercises of notebooks 10 and 11 accept what is right, and name each typical
slip."""

import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

# ---- masked_landmark_loss ------------------------------------------------------------


def squares(points, truth, size):
    return ((points - truth) * size / 2).square().sum(-1)


def landmark_by_indexing(points, truth, visible, labelled, size):
    chosen = labelled.nonzero().flatten()
    error = squares(points[chosen], truth[chosen], size)[visible[chosen]]
    return error.sum() / points.shape[0] / points.shape[1]


def landmark_in_units(points, truth, visible, labelled, size):
    counts = visible & labelled[:, None]
    return squares(points, truth, 2).where(counts, 0).mean()


def landmark_twice_the_pixels(points, truth, visible, labelled, size):
    counts = visible & labelled[:, None]
    return squares(points, truth, 2 * size).where(counts, 0).mean()


def landmark_mean_of_what_counts(points, truth, visible, labelled, size):
    return squares(points, truth, size)[visible & labelled[:, None]].mean()


def landmark_hidden_too(points, truth, visible, labelled, size):
    return squares(points, truth, size).where(labelled[:, None], 0).mean()


def landmark_unlabelled_too(points, truth, visible, labelled, size):
    return squares(points, truth, size).where(visible, 0).mean()


def landmark_mean_of_visible(points, truth, visible, labelled, size):
    return squares(points, truth, size)[visible].mean()


def landmark_mean_of_labelled(points, truth, visible, labelled, size):
    return squares(points, truth, size).where(visible, 0)[labelled].mean()


def landmark_root(points, truth, visible, labelled, size):
    counts = visible & labelled[:, None]
    return squares(points, truth, size).sqrt().where(counts, 0).mean()


def landmark_mean_of_xy(points, truth, visible, labelled, size):
    return landmark_by_indexing(points, truth, visible, labelled, size) / 2


def landmark_product(points, truth, visible, labelled, size):
    return (squares(points, truth, size) * (visible & labelled[:, None])).mean()


def landmark_detached(points, truth, visible, labelled, size):
    right = landmark_by_indexing(points, truth, visible, labelled, size)
    return torch.tensor(right.item())


# ---- elt_term ------------------------------------------------------------------------


def elt_by_indexing(points, again, warp, labelled, size):
    moved = warp.points(points)[~labelled]
    total = ((moved - again[~labelled]) * size / 2).square().sum()
    return total / points.shape[0] / points.shape[1]


def elt_from(moved, again, on, size):
    return ((moved - again) * size / 2).square().sum(-1).where(on[:, None], 0).mean()


def elt_inverse(points, again, warp, labelled, size):
    return elt_from(warp.inverse().points(points), again, ~labelled, size)


def elt_invariance(points, again, warp, labelled, size):
    return elt_from(points, again, ~labelled, size)


def elt_moves_the_second(points, again, warp, labelled, size):
    return elt_from(warp.points(again), points, ~labelled, size)


def elt_on_labelled(points, again, warp, labelled, size):
    return elt_from(warp.points(points), again, labelled, size)


def elt_on_all(points, again, warp, labelled, size):
    return elt_from(warp.points(points), again, labelled | ~labelled, size)


def elt_mean_of_unlabelled(points, again, warp, labelled, size):
    on = ~labelled
    return elt_from(warp.points(points)[on], again[on], on[on], size)


def elt_units(points, again, warp, labelled, size):
    return elt_from(warp.points(points), again, ~labelled, 2)


def elt_stops_first(points, again, warp, labelled, size):
    return elt_by_indexing(points.detach(), again, warp, labelled, size)


def elt_stops_second(points, again, warp, labelled, size):
    return elt_by_indexing(points, again.detach(), warp, labelled, size)


# ---- pixel_floor ---------------------------------------------------------------------


def floor_by_nearest(points, side):
    centres = (2 * torch.arange(side) + 1) / side - 1
    nearest = (points[..., None] - centres).abs().amin(-1)  # (N, 2)
    return nearest.norm(dim=-1).mean() * side / 2


def floor_without_half(points, side):
    place = (points + 1) / 2 * side
    return (place - place.round()).norm(dim=-1).mean()


def floor_corner(points, side):
    place = (points + 1) / 2 * side
    return (place - place.floor()).norm(dim=-1).mean()


def floor_cut(points, side):
    place = (points + 1) / 2 * side - 0.5
    return (place - place.long()).norm(dim=-1).mean()


def floor_align_corners(points, side):
    place = (points + 1) / 2 * (side - 1)
    return (place - place.round()).norm(dim=-1).mean()


def floor_units(points, side):
    return floor_by_nearest(points, side) * 2 / side


def floor_per_axis(points, side):
    place = (points + 1) / 2 * side - 0.5
    return (place - place.round()).abs().mean()


def floor_root_mean_square(points, side):
    place = (points + 1) / 2 * side - 0.5
    return (place - place.round()).square().sum(-1).mean().sqrt()


# ---- half_and_half -------------------------------------------------------------------


def halves(step, labelled, unlabelled, batch_size):
    half = batch_size // 2
    rows = [(step * half + i) for i in range(half)]
    first = [labelled[row % len(labelled)] for row in rows]
    return torch.stack(first + [unlabelled[row % len(unlabelled)] for row in rows])


def halves_swapped(step, labelled, unlabelled, batch_size):
    return halves(step, unlabelled, labelled, batch_size)


def halves_standing_still(step, labelled, unlabelled, batch_size):
    return halves(0, labelled, unlabelled, batch_size)


def halves_by_one(step, labelled, unlabelled, batch_size):
    place = step + torch.arange(batch_size // 2)
    pools = (labelled, unlabelled)
    return torch.cat([pool[place % len(pool)] for pool in pools])


def halves_by_batch(step, labelled, unlabelled, batch_size):
    place = step * batch_size + torch.arange(batch_size // 2)
    pools = (labelled, unlabelled)
    return torch.cat([pool[place % len(pool)] for pool in pools])


def halves_short(step, labelled, unlabelled, batch_size):
    return halves(step, labelled, unlabelled[: len(labelled)], batch_size)


def halves_without_end(step, labelled, unlabelled, batch_size):
    half = batch_size // 2
    place = torch.arange(step * half, (step + 1) * half)
    return torch.cat([labelled[place], unlabelled[place]])


def whole_batches(step, labelled, unlabelled, batch_size):
    return halves(step, labelled, unlabelled, 2 * batch_size)


# ---- times_seen ----------------------------------------------------------------------


def seen_by_counting(steps, batch_size, images, share):
    few = round(images * share)
    counts = [torch.zeros(few), torch.zeros(images - few)]
    for step in range(steps):
        for count in counts:
            place = torch.arange(step * batch_size // 2, (step + 1) * batch_size // 2)
            count[place % len(count)] += 1
    return counts[0].mean(), counts[1].mean()


def seen_swapped(steps, batch_size, images, share):
    return seen_by_counting(steps, batch_size, images, share)[::-1]


def seen_whole_batch(steps, batch_size, images, share):
    return seen_by_counting(2 * steps, batch_size, images, share)


def seen_as_one(steps, batch_size, images, share):
    return steps * batch_size / images, steps * batch_size / images


def seen_of_all(steps, batch_size, images, share):
    drawn = steps * batch_size / 2
    return drawn / (images * share), drawn / images


def seen_floored(steps, batch_size, images, share):
    drawn = steps * batch_size // 2
    return drawn // (images * share), drawn // (images * (1 - share))


def seen_steps_a_pass(steps, batch_size, images, share):
    few, many = images * share, images * (1 - share)
    return few / (batch_size / 2), many / (batch_size / 2)


WRONG = [
    ("masked_landmark_loss", landmark_in_units, "units of [-1, 1]"),
    ("masked_landmark_loss", landmark_twice_the_pixels, "size / 2 pixels, not size"),
    ("masked_landmark_loss", landmark_mean_of_what_counts, "divides by N K"),
    ("masked_landmark_loss", landmark_hidden_too, "Hidden landmarks take part"),
    ("masked_landmark_loss", landmark_unlabelled_too, "Unlabelled images take part"),
    ("masked_landmark_loss", landmark_mean_of_visible, "average over the visible"),
    ("masked_landmark_loss", landmark_mean_of_labelled, "average over the labelled"),
    ("masked_landmark_loss", landmark_root, "no root"),
    ("masked_landmark_loss", landmark_mean_of_xy, "average over x and y"),
    ("masked_landmark_loss", landmark_product, "NaN * 0 is NaN"),
    ("masked_landmark_loss", landmark_detached, "no gradient flows back"),
    ("elt_term", elt_inverse, "by the inverse of what moved the pixels"),
    ("elt_term", elt_invariance, "that asks for invariance"),
    ("elt_term", elt_moves_the_second, "It already lives in the transformed image"),
    ("elt_term", elt_on_labelled, "~labelled"),
    ("elt_term", elt_on_all, "All images take part"),
    ("elt_term", elt_mean_of_unlabelled, "Eq. 4 divides by all N"),
    ("elt_term", elt_units, "in pixels the square is"),
    ("elt_term", elt_stops_first, "No gradient reaches points"),
    ("elt_term", elt_stops_second, "No gradient reaches again"),
    ("pixel_floor", floor_without_half, "without its half pixel"),
    ("pixel_floor", floor_corner, "from the pixel's corner"),
    ("pixel_floor", floor_cut, "cut off instead of rounding"),
    ("pixel_floor", floor_align_corners, "align_corners=True"),
    ("pixel_floor", floor_units, "one pixel is 2 / side"),
    ("pixel_floor", floor_per_axis, "|dx| and |dy| apart"),
    ("pixel_floor", floor_root_mean_square, "for each point, then average"),
    ("half_and_half", halves_swapped, "unlabelled half comes first"),
    ("half_and_half", halves_standing_still, "Every step takes the same images"),
    ("half_and_half", halves_by_one, "by one image a step"),
    ("half_and_half", halves_by_batch, "by a whole batch"),
    ("half_and_half", halves_short, "cut at the length of the labelled one"),
    ("half_and_half", halves_without_end, "IndexError"),
    ("half_and_half", whole_batches, "expected a tensor of shape (10,)"),
    ("times_seen", seen_swapped, "the other way round"),
    ("times_seen", seen_whole_batch, "only half of the batch"),
    ("times_seen", seen_as_one, "one draw from all images"),
    ("times_seen", seen_of_all, "images * (1 - share), not all"),
    ("times_seen", seen_floored, "need not be whole"),
    ("times_seen", seen_steps_a_pass, "how many steps one pass takes"),
]
RIGHT = [
    ("masked_landmark_loss", landmark_by_indexing),
    ("elt_term", elt_by_indexing),
    ("pixel_floor", floor_by_nearest),
    ("half_and_half", halves),
    ("times_seen", seen_by_counting),
]
