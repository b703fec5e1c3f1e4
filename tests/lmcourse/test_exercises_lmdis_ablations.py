"""The exercises of notebook 22 accept what is right, and name each typical slip."""

import numpy as np
import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

# ---- crowded_share -------------------------------------------------------------------


def nearest(points, unit=50.0):
    """Distance of each landmark to the next one, by a loop."""
    found = torch.empty(points.shape[:2])
    for n, image in enumerate(points.tolist()):
        for k, (x, y) in enumerate(image):
            others = [p for j, p in enumerate(image) if j != k]
            found[n, k] = min(np.hypot(x - u, y - v) for u, v in others)
    return unit * found


def crowded_loop(points, limit):
    return (
        sum(float(d) < limit for d in nearest(points).flatten())
        / points[..., 0].numel()
    )


def crowded_numpy(points, limit):
    p = 0.5 * points.numpy()  # in edges
    gaps = np.linalg.norm(p[:, :, None] - p[:, None], axis=-1)
    gaps = np.sort(gaps, axis=-1)[..., 1]  # the first is the landmark itself
    return torch.tensor((gaps < limit / 100).mean())


def crowded_with_itself(points, limit):
    return (torch.cdist(points, points).amin(-1) * 50 < limit).float().mean()


def crowded_doubled(points, limit):
    return (nearest(points, 100.0) < limit).float().mean()


def crowded_unscaled(points, limit):
    return (nearest(points, 1.0) < limit).float().mean()


def crowded_squared(points, limit):
    return (nearest(points).square() < limit).float().mean()


def crowded_matrix(points, limit):
    gaps = 50 * torch.cdist(points, points) + 1e6 * torch.eye(points.shape[1])
    return (gaps < limit).float()


def crowded_pairs(points, limit):
    count, number = points.shape[:2]
    return crowded_matrix(points, limit).sum() / (count * number * (number - 1))


def crowded_entries(points, limit):
    return crowded_matrix(points, limit).mean()


def crowded_images(points, limit):
    return crowded_matrix(points, limit).amax((-1, -2)).mean()


def crowded_anywhere(points, limit):
    return crowded_loop(points.reshape(1, -1, 2), limit)


def crowded_means(points, limit):
    return crowded_loop(points.mean(0, keepdim=True), limit)


def crowded_city(points, limit):
    gaps = 50 * torch.cdist(points, points, p=1) + 1e6 * torch.eye(points.shape[1])
    return (gaps.amin(-1) < limit).float().mean()


# ---- movement_and_error --------------------------------------------------------------


def moves(points, back, inside):
    """Movement, by a loop over the landmarks, and the error by numpy."""
    each = []
    for k in range(points.shape[1]):
        p = points[:, k].numpy() / 2  # in edges
        each.append(np.linalg.norm(p - p.mean(0), axis=1).mean())
    off = np.linalg.norm((back - points).numpy() / 2, axis=-1)
    return 100 * float(np.mean(each)), 100 * float(off[inside.numpy()].mean())


def moves_weighted(points, back, inside):
    distance = 50 * (back - points).square().sum(-1).sqrt()
    error = (distance * inside).sum() / inside.sum()
    return torch.tensor(moves(points, back, inside)[0]), error


def other_movement(make):
    def answer(points, back, inside):
        return make(50 * points, inside), moves(points, back, inside)[1]

    return answer


def other_error(make):
    def answer(points, back, inside):
        return moves(points, back, inside)[0], make(50 * (back - points), inside)

    return answer


def scaled(by):
    return lambda *given: tuple(by * x for x in moves(*given))


def about(x, mean):
    return (x - mean).norm(dim=-1)


# ---- read_ablation -------------------------------------------------------------------


def read_loop(full, without):
    means = [float(runs.mean()) for runs in without]
    order = sorted(range(len(means)), key=lambda t: -means[t])
    clear = [all(x > y for x in runs for y in full) for runs in without]
    return torch.tensor(order), torch.tensor(clear)


def read_ratio(full, without):
    factors = torch.tensor([runs.mean() / full.mean() for runs in without])
    return factors.argsort().flip(0), read_loop(full, without)[1]


def other_order(make):
    return lambda full, without: (make(full, without), read_loop(full, without)[1])


def other_clear(make):
    return lambda full, without: (read_loop(full, without)[0], make(full, without))


def each(how, without):
    return torch.tensor([how(runs) for runs in without])


CROWDED, MOVES, READ = "crowded_share", "movement_and_error", "read_ablation"
WRONG = [
    (CROWDED, crowded_with_itself, "Leave out the diagonal"),
    (CROWDED, crowded_doubled, "50 times, not 100 times"),
    (CROWDED, crowded_unscaled, "multiply them by 50 first"),
    (CROWDED, crowded_squared, "squared distances with the limit"),
    (CROWDED, crowded_pairs, "This is the share of pairs"),
    (CROWDED, crowded_entries, "entries of the distance matrix"),
    (CROWDED, crowded_images, "share of images in which any two"),
    (CROWDED, crowded_anywhere, "neighbours in other images"),
    (CROWDED, crowded_means, "average the places over the images first"),
    (CROWDED, crowded_city, "|dx| + |dy|"),
    (CROWDED, lambda p, m: 1 - crowded_loop(p, m), "*without* company"),
    (CROWDED, lambda p, m: 100 * crowded_loop(p, m), "this is in percent"),
    (CROWDED, lambda p, m: 63 * crowded_loop(p, m), "number of crowded landmarks"),
    (CROWDED, lambda p, m: nearest(p) < m, "expected a number"),
    (MOVES, lambda *given: moves(*given)[::-1], "the other way round"),
    (MOVES, scaled(2), "by 50, not by 100"),
    (MOVES, scaled(0.02), "Multiply distances in [-1, 1]"),
    (
        MOVES,
        other_movement(lambda x, _: about(x, x.mean(1, keepdim=True)).mean()),
        "how far they are *apart*",
    ),
    (
        MOVES,
        other_movement(lambda x, _: about(x, x.mean((0, 1))).mean()),
        "one mean place for all",
    ),
    (MOVES, other_movement(lambda x, _: about(x, 0).mean()), "is not moving"),
    (
        MOVES,
        other_movement(lambda x, _: (x - x.mean(0)).abs().mean()),
        "The movement: that is the mean of |dx|",
    ),
    (
        MOVES,
        other_movement(lambda x, _: (x.var(0, unbiased=False) ** 0.5).mean()),
        "a deviation of x and y",
    ),
    (
        MOVES,
        other_movement(lambda x, _: about(x, x.mean(0)).square().mean() ** 0.5),
        "The movement: that is the root of the mean square",
    ),
    (
        MOVES,
        other_movement(lambda x, i: about(x, x.mean(0))[i].mean()),
        "is about the warped image only",
    ),
    (MOVES, other_error(lambda off, _: about(off, 0).mean()), "out of the image count"),
    (
        MOVES,
        other_error(lambda off, i: (about(off, 0) * i).mean()),
        "divide by the number of all points",
    ),
    (MOVES, other_error(lambda off, i: about(off, 0)[~i].mean()), "points *outside*"),
    (
        MOVES,
        other_error(lambda off, i: off[i].square().sum(-1).mean()),
        "mean squared distance",
    ),
    (
        MOVES,
        other_error(lambda off, i: off[i].square().sum(-1).mean().sqrt()),
        "The error: that is the root of the mean square",
    ),
    (
        MOVES,
        other_error(lambda off, i: off[i].abs().mean()),
        "The error: that is the mean of |dx|",
    ),
    (MOVES, lambda points, back, inside: 1.0, "expected a tuple of length 2"),
    (
        READ,
        other_order(lambda f, w: each(torch.mean, w).argsort()),
        "the *most* damage",
    ),
    (
        READ,
        other_order(lambda f, w: each(torch.amax, w).argsort(descending=True)),
        "by the worst run",
    ),
    (
        READ,
        other_order(lambda f, w: each(torch.amin, w).argsort(descending=True)),
        "by the best run",
    ),
    (READ, other_order(lambda f, w: read_loop(f, w)[0].argsort()), "these are ranks"),
    (
        READ,
        other_order(
            lambda f, w: (each(torch.mean, w) - f.mean()).abs().argsort(descending=True)
        ),
        "up or down",
    ),
    (READ, other_clear(lambda f, w: ~read_loop(f, w)[1]), "True where all runs"),
    (READ, other_clear(lambda f, w: each(torch.mean, w) > f.mean()), "compare means"),
    (READ, other_clear(lambda f, w: each(torch.mean, w) > f.max()), "one bad run"),
    (READ, other_clear(lambda f, w: each(torch.amin, w) > f.mean()), "not the mean of"),
    (
        READ,
        other_clear(lambda f, w: each(torch.amin, w) > f.min()),
        "not just the best",
    ),
    (READ, other_clear(lambda f, w: each(torch.amax, w) > f.max()), "is not enough"),
    (
        READ,
        other_clear(lambda f, w: read_loop(f, w)[1][read_loop(f, w)[0]]),
        "not in that of the ranking",
    ),
    (READ, lambda f, w: [*map(list, read_loop(f, w))], "expected a tensor"),
]
RIGHT = [
    (CROWDED, crowded_loop),
    (CROWDED, crowded_numpy),
    (MOVES, moves),
    (MOVES, moves_weighted),
    (READ, read_loop),
    (READ, read_ratio),
]


def test_no_two_answers_share_a_hint():
    hints = [hint for _, _, hint in WRONG]
    assert len(set(hints)) == len(hints)
