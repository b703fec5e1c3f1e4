"""The exercises of notebook 23 accept what is right, and name each typical slip."""

import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

# ---- another_person ------------------------------------------------------------------


def person_by_slices(method, first, second):
    points, vectors = method.encode(first)
    vectors = vectors.clone()
    vectors[:, :-1] = method.encode(second)[1][:, :-1]
    return method.decode(points, vectors)


def person_in_one_batch(method, first, second):
    points, vectors = method.encode(torch.cat([first, second]))
    own, others = vectors.split(len(first))
    keep = torch.arange(own.shape[1]) < own.shape[1] - 1
    mixed = torch.where(keep[:, None], others, own)
    return method.decode(points[: len(first)], mixed)


def person_with_wall(method, first, second):
    return method.decode(method.encode(first)[0], method.encode(second)[1])


def person_wall_only(method, first, second):
    points, own = method.encode(first)
    own = own.clone()
    own[:, -1] = method.encode(second)[1][:, -1]
    return method.decode(points, own)


def person_first_vector(method, first, second):
    points, own = method.encode(first)
    vectors = method.encode(second)[1].clone()
    vectors[:, 0] = own[:, 0]
    return method.decode(points, vectors)


def person_moved(method, first, second):
    others, vectors = method.encode(second)
    own = method.encode(first)[1]
    return method.decode(others, torch.cat([vectors[:, :-1], own[:, -1:]], dim=1))


def person_reversed(method, first, second):
    return person_by_slices(method, second, first)


def person_nothing(method, first, second):
    return method.reconstruct(first)


def person_everything(method, first, second):
    return method.decode(*method.encode(second))


def person_pixels(method, first, second):
    return 0.5 * (method.reconstruct(first) + method.reconstruct(second))


def person_mean_vectors(method, first, second):
    (points, own), (_, vectors) = method.encode(first), method.encode(second)
    return method.decode(points, (own + vectors) / 2)


def person_second_image(method, first, second):
    return second.clone()


def person_first_image(method, first, second):
    return first.clone()


def person_negative(method, first, second):
    return 1 - person_by_slices(method, first, second)


# ---- moved_ratio ---------------------------------------------------------------------


def ratio_by_sums(before, asked, found):
    missed = ((found - asked) ** 2).sum(-1).sqrt().sum()
    return (missed / ((asked - before) ** 2).sum(-1).sqrt().sum()).item()


def ratio_by_loop(before, asked, found):
    missed = moved = 0.0
    rows = (x.flatten(0, -2).tolist() for x in (before, asked, found))
    for b, a, f in zip(*rows, strict=True):
        missed += ((f[0] - a[0]) ** 2 + (f[1] - a[1]) ** 2) ** 0.5
        moved += ((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2) ** 0.5
    return missed / moved


def ratio_inverse(before, asked, found):
    return 1 / ratio_by_loop(before, asked, found)


def ratio_of_travel(before, asked, found):
    went, moved = ((x - before).norm(dim=-1).mean() for x in (found, asked))
    return went / moved


def ratio_obeyed(before, asked, found):
    return 1 - ratio_by_loop(before, asked, found)


def ratio_over_travel(before, asked, found):
    missed, went = (found - x for x in (asked, before))
    return missed.norm(dim=-1).sum() / went.norm(dim=-1).sum()


def ratio_each(before, asked, found):
    return ((found - asked).norm(dim=-1) / (asked - before).norm(dim=-1)).mean()


def ratio_each_zero_over_zero(before, asked, found):
    return ratio_each(before, asked, found) * 0


def ratio_each_moved(before, asked, found):
    each = (found - asked).norm(dim=-1) / (asked - before).norm(dim=-1)
    return each[each < 1e6].mean()


def ratio_per_image(before, asked, found):
    missed, moved = ((x - asked).norm(dim=-1).mean(1) for x in (found, before))
    return (missed / moved).mean()


def ratio_squared(before, asked, found):
    return ((found - asked) ** 2).sum() / ((asked - before) ** 2).sum()


def ratio_city_block(before, asked, found):
    return (found - asked).abs().mean() / (asked - before).abs().mean()


def ratio_percent(before, asked, found):
    return 100 * ratio_by_loop(before, asked, found)


def ratio_absolute(before, asked, found):
    return (found - asked).norm(dim=-1).mean()


def ratio_root(before, asked, found):
    return ratio_by_loop(before, asked, found) ** 0.5


# ---- in_between ----------------------------------------------------------------------


def between_by_weights(first, second, t_points, t_vectors):
    points = (1 - t_points) * first[0] + t_points * second[0]
    return points, (1 - t_vectors) * first[1] + t_vectors * second[1]


def between_by_steps(first, second, t_points, t_vectors):
    steps = zip(first, second, (t_points, t_vectors), strict=True)
    return [a + t * (b - a) for a, b, t in steps]


def between_reversed(first, second, t_points, t_vectors):
    return between_by_weights(second, first, t_points, t_vectors)


def between_exchanged(first, second, t_points, t_vectors):
    return between_by_weights(first, second, t_vectors, t_points)


def between_one_slider(first, second, t_points, t_vectors):
    return between_by_weights(first, second, t_points, t_points)


def between_other_slider(first, second, t_points, t_vectors):
    return between_by_weights(first, second, t_vectors, t_vectors)


def between_vectors_only(first, second, t_points, t_vectors):
    return first[0].clone(), between_by_weights(first, second, 0, t_vectors)[1]


def between_points_only(first, second, t_points, t_vectors):
    return between_by_weights(first, second, t_points, 0)[0], first[1].clone()


def between_stopping(first, second, t_points, t_vectors):
    t_points, t_vectors = (min(max(t, 0), 1) for t in (t_points, t_vectors))
    return between_by_weights(first, second, t_points, t_vectors)


def between_added(first, second, t_points, t_vectors):
    return first[0] + t_points * second[0], first[1] + t_vectors * second[1]


def between_wrong_way(first, second, t_points, t_vectors):
    return between_by_weights(first, second, -t_points, -t_vectors)


def between_squared(first, second, t_points, t_vectors):
    return between_by_weights(first, second, t_points, t_vectors**2)


def between_squared_points(first, second, t_points, t_vectors):
    return between_by_weights(first, second, t_points**2, t_vectors)


WRONG = [
    ("another_person", person_with_wall, "The wall is the second person's"),
    ("another_person", person_wall_only, "keep the person"),
    ("another_person", person_first_vector, "You keep the first vector"),
    ("another_person", person_moved, "The head has moved"),
    ("another_person", person_reversed, "the other way round"),
    ("another_person", person_nothing, "its own vectors are still in use"),
    ("another_person", person_everything, "take the points of the first"),
    ("another_person", person_pixels, "Mix before decoding"),
    ("another_person", person_mean_vectors, "the mean of both images' vectors"),
    ("another_person", person_second_image, "the second image itself"),
    ("another_person", person_first_image, "the first image itself"),
    ("another_person", person_negative, "A pixel differs"),
    ("moved_ratio", ratio_inverse, "upside down"),
    ("moved_ratio", ratio_of_travel, "in the wrong direction"),
    ("moved_ratio", ratio_obeyed, "1 minus the ratio"),
    ("moved_ratio", ratio_over_travel, "before to asked"),
    ("moved_ratio", ratio_each, "divides by zero"),
    ("moved_ratio", ratio_each_zero_over_zero, "divides by zero"),
    ("moved_ratio", ratio_each_moved, "leave out the points that nobody moved"),
    ("moved_ratio", ratio_per_image, "the mean of the images' ratios"),
    ("moved_ratio", ratio_squared, "squared distances"),
    ("moved_ratio", ratio_city_block, "|dx| + |dy|"),
    ("moved_ratio", ratio_percent, "a percentage"),
    ("moved_ratio", ratio_absolute, "Divide it by what was asked"),
    ("moved_ratio", ratio_root, "The ratio is off"),
    ("in_between", between_reversed, "runs the other way"),
    ("in_between", between_exchanged, "sliders are exchanged"),
    ("in_between", between_one_slider, "t_points moves the vectors as well"),
    ("in_between", between_other_slider, "t_vectors moves the points as well"),
    ("in_between", between_vectors_only, "The points do not move"),
    ("in_between", between_points_only, "The vectors do not move"),
    ("in_between", between_stopping, "You stop at the ends"),
    ("in_between", between_added, "to the whole of the first"),
    ("in_between", between_wrong_way, "the wrong way"),
    ("in_between", between_squared, "the vectors are not right yet"),
    ("in_between", between_squared_points, "the points are not right yet"),
]
RIGHT = [
    ("another_person", person_by_slices),
    ("another_person", person_in_one_batch),
    ("moved_ratio", ratio_by_sums),
    ("moved_ratio", ratio_by_loop),
    ("in_between", between_by_weights),
    ("in_between", between_by_steps),
]
