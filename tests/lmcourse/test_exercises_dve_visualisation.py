"""The exercises of notebook 33 accept what is right, and name each typical slip."""

import math

import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

# ---- common_colours ------------------------------------------------------------------


def vectors_of(descriptors):
    return descriptors.permute(1, 0, 2, 3).flatten(1)


def painted(parts, descriptors, deviations=4.0, clip=True):
    colours = 0.5 + parts / (deviations * parts.std(dim=1, keepdim=True))
    colours = colours.clamp(0, 1) if clip else colours
    count, _, height, width = descriptors.shape
    return colours.view(3, count, height, width).transpose(0, 1)


def components(vectors):
    """Largest first, by the singular values: ``(C, C)``."""
    return torch.linalg.svd(vectors, full_matrices=False)[0]


def colours_by_svd(descriptors):
    flat = vectors_of(descriptors)
    flat = flat - flat.mean(1, keepdim=True)
    return painted(components(flat)[:, :3].T @ flat, descriptors)


def colours_by_lowrank(descriptors):
    flat = vectors_of(descriptors).T
    axes = torch.pca_lowrank(flat, q=min(flat.shape), niter=10)[2][:, :3]
    parts = ((flat - flat.mean(0)) @ axes).T
    return painted(-parts, descriptors)  # a component has no sign


def colours_population(descriptors):
    flat = vectors_of(descriptors)
    flat = flat - flat.mean(1, keepdim=True)
    parts = components(flat)[:, :3].T @ flat
    colours = (0.5 + 0.25 * parts / parts.square().mean(1, keepdim=True).sqrt()).clamp(
        0, 1
    )
    count, _, height, width = descriptors.shape
    return colours.view(3, count, height, width).transpose(0, 1)


def colours_each_its_own(descriptors):
    return torch.cat([colours_by_svd(one[None]) for one in descriptors])


def colours_each_mean(descriptors):
    return colours_by_svd(descriptors - descriptors.mean((2, 3), keepdim=True))


def colours_not_centred(descriptors):
    flat = vectors_of(descriptors)
    return painted(components(flat)[:, :3].T @ flat, descriptors)


def colours_centred_late(descriptors):
    flat = vectors_of(descriptors)
    parts = components(flat)[:, :3].T @ flat
    return painted(parts - parts.mean(1, keepdim=True), descriptors)


def colours_smallest(descriptors):
    flat = vectors_of(descriptors)
    flat = flat - flat.mean(1, keepdim=True)
    return painted(torch.linalg.eigh(flat @ flat.T)[1][:, :3].T @ flat, descriptors)


def colours_reversed(descriptors):
    return colours_by_svd(descriptors).flip(1)


def colours_channels(descriptors):
    flat = vectors_of(descriptors)
    return painted((flat - flat.mean(1, keepdim=True))[:3], descriptors)


def colours_one_deviation(descriptors):
    flat = vectors_of(descriptors)
    flat = flat - flat.mean(1, keepdim=True)
    parts = components(flat)[:, :3].T @ flat
    colours = (0.5 + parts / (4 * parts[0].std())).clamp(0, 1)
    count, _, height, width = descriptors.shape
    return colours.view(3, count, height, width).transpose(0, 1)


def colours_steep(descriptors):
    flat = vectors_of(descriptors)
    flat = flat - flat.mean(1, keepdim=True)
    return painted(components(flat)[:, :3].T @ flat, descriptors, deviations=2.0)


def colours_not_clipped(descriptors):
    flat = vectors_of(descriptors)
    flat = flat - flat.mean(1, keepdim=True)
    return painted(components(flat)[:, :3].T @ flat, descriptors, clip=False)


def colours_torn(descriptors):
    flat = descriptors.reshape(descriptors.shape[1], -1)
    flat = flat - flat.mean(1, keepdim=True)
    return painted(components(flat)[:, :3].T @ flat, descriptors)


# ---- surface_errors ------------------------------------------------------------------


def errors_by_loop(found, here, there, near, *, beside=math.inf, unjudged=math.nan,
                   distance=math.dist, judge=True):  # fmt: skip
    errors = []
    for u, v in enumerate(found.tolist()):
        own, places = here[u].tolist(), there.tolist()
        seen = [place for place in places if not math.isnan(place[0])]
        known = not math.isnan(own[0])
        if judge:
            known = known and min(math.dist(own, place) for place in seen) <= near
        if not known:
            errors.append(unjudged)
        elif math.isnan(places[v][0]):
            errors.append(beside)
        else:
            errors.append(distance(own, places[v]))
    return torch.tensor(errors)


def errors_right(found, here, there, near):
    return errors_by_loop(found, here, there, near)


def errors_of_hidden(found, here, there, near):
    return errors_by_loop(found, here, there, near, judge=False)


def errors_without_beside(found, here, there, near):
    return errors_by_loop(found, here, there, near, beside=math.nan)


def errors_beside_free(found, here, there, near):
    return errors_by_loop(found, here, there, near, beside=0.0)


def errors_unjudged_free(found, here, there, near):
    return errors_by_loop(found, here, there, near, unjudged=0.0)


def errors_unjudged_bad(found, here, there, near):
    return errors_by_loop(found, here, there, near, unjudged=math.inf)


def errors_of_nearest(found, here, there, near):
    apart = (here[:, None] - there).norm(dim=-1).nan_to_num(math.inf).amin(1)
    return apart.where(apart <= near, math.nan)


def errors_judged_by_match(found, here, there, near):
    apart = (here - there[found]).norm(dim=-1)
    return apart.where(apart <= near, math.nan)


def errors_squared(found, here, there, near):
    return errors_right(found, here, there, near) ** 2


def errors_city_block(found, here, there, near):
    def apart(a, b):
        return abs(a[0] - b[0]) + abs(a[1] - b[1])

    return errors_by_loop(found, here, there, near, distance=apart)


def errors_largest_side(found, here, there, near):
    def apart(a, b):
        return max(abs(a[0] - b[0]), abs(a[1] - b[1]))

    return errors_by_loop(found, here, there, near, distance=apart)


def errors_wrong_table(found, here, there, near):
    error = (there - there[found]).norm(dim=-1)
    error = error.where(~there[found, 0].isnan(), math.inf)
    judged = ~errors_right(found, here, there, near).isnan()
    return error.where(judged, math.nan)


def errors_in_tens(found, here, there, near):
    return 10 * errors_right(found, here, there, near)


# ---- mutual_matches ------------------------------------------------------------------


def mutual_by_loop(scores):
    best, mutual = [], []
    for u, row in enumerate(scores):
        v = int(row.argmax())
        best.append(v)
        mutual.append(int(scores[:, v].argmax()) == u)
    return torch.tensor(best), torch.tensor(mutual)


def mutual_by_maxima(scores):
    """A match is mutual if its score is the largest of its row and of its column."""
    value, best = scores.max(dim=1)
    return best, value == scores.amax(0)[best]


def mutual_columns(scores):
    best = scores.argmax(0)
    return best[: len(scores)].clone(), scores.argmax(1)[best] == torch.arange(
        len(best)
    )


def mutual_smallest(scores):
    return mutual_by_loop(-scores)


def mutual_all(scores):
    return scores.argmax(1), torch.ones(len(scores), dtype=torch.bool)


def mutual_negated(scores):
    best, mutual = mutual_by_loop(scores)
    return best, ~mutual


def mutual_compares_v(scores):
    best = scores.argmax(1)
    return best, scores.argmax(0)[best] == best


def mutual_softmax(scores):
    best = scores.argmax(1)
    return best, scores.softmax(1).argmax(0)[best] == torch.arange(len(scores))


def mutual_nearly(scores):
    best = scores.argmax(1)
    back = scores.argmax(0)[best]
    return best, (back - torch.arange(len(scores))).abs() <= 1


def mutual_sure(scores):
    value, best = scores.max(1)
    return best, value > value.mean()


def mutual_forward_twice(scores):
    best = scores.argmax(1)
    return best, best[best.clamp(max=len(scores) - 1)] == torch.arange(len(scores))


def mutual_same_number(scores):
    best, back = scores.argmax(1), scores.argmax(0)
    return best, back[: len(best)] == best


def mutual_none(scores):
    return scores.argmax(1), torch.zeros(len(scores), dtype=torch.bool)


WRONG = [
    ("common_colours", colours_each_its_own, "a basis of its own"),
    ("common_colours", colours_each_mean, "the mean of each image"),
    ("common_colours", colours_not_centred, "Subtract the mean vector before"),
    ("common_colours", colours_centred_late, "not after"),
    ("common_colours", colours_smallest, "three *smallest*"),
    ("common_colours", colours_reversed, "the other way round"),
    ("common_colours", colours_channels, "the first three channels"),
    ("common_colours", colours_one_deviation, "divided by one deviation"),
    ("common_colours", colours_steep, "one to either end"),
    ("common_colours", colours_not_clipped, "clamp them"),
    ("common_colours", colours_torn, "does not move an axis"),
    ("surface_errors", errors_of_hidden, "hidden on the other face"),
    ("surface_errors", errors_without_beside, "points at the wallpaper"),
    ("surface_errors", errors_beside_free, "no error at all"),
    ("surface_errors", errors_of_nearest, "a perfect matcher"),
    ("surface_errors", errors_unjudged_free, "count as perfect"),
    ("surface_errors", errors_unjudged_bad, "nothing against the matcher"),
    ("surface_errors", errors_judged_by_match, "whose *match* is near"),
    ("surface_errors", errors_squared, "squared distance"),
    ("surface_errors", errors_city_block, "|du| + |dv|"),
    ("surface_errors", errors_largest_side, "the larger of"),
    ("surface_errors", errors_wrong_table, "the same number there"),
    ("surface_errors", errors_in_tens, "its error should be"),
    ("mutual_matches", mutual_columns, "the best of each column"),
    ("mutual_matches", mutual_smallest, "the smallest score"),
    ("mutual_matches", mutual_all, "Every match is mutual"),
    ("mutual_matches", mutual_negated, "do *not* come back"),
    ("mutual_matches", mutual_compares_v, "the u it started from"),
    ("mutual_matches", mutual_softmax, "normalised for each u"),
    ("mutual_matches", mutual_nearly, "exactly at u"),
    ("mutual_matches", mutual_sure, "above the average"),
    ("mutual_matches", mutual_forward_twice, "forward twice"),
    ("mutual_matches", mutual_same_number, "the same number, u = v"),
    ("mutual_matches", mutual_none, "which comes back; yours says False"),
]
RIGHT = [
    ("common_colours", colours_by_svd),
    ("common_colours", colours_by_lowrank),
    ("common_colours", colours_population),
    ("surface_errors", errors_right),
    ("mutual_matches", mutual_by_loop),
    ("mutual_matches", mutual_by_maxima),
]
