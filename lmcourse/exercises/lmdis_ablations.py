"""Exercises of notebook 22: have landmarks collapsed, have they frozen, and which rows
of an ablation table say more than chance?"""

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import first_hint

# ---- collapsed: has a landmark company? ----------------------------------------------


def crowded_share(points, limit):
    places = 50 * points  # percent of the image's edge
    gaps = torch.cdist(places, places)  # (N, K, K)
    gaps.diagonal(dim1=1, dim2=2).fill_(float("inf"))  # nobody is his own company
    return (gaps.amin(dim=-1) < limit).float().mean().item()


@exercise(
    "crowded_share",
    solution=crowded_share,
    library=crowded_share,
    level="medium",
    minutes=10,
    example=lambda: (torch.tensor([[[0.0, 0.0], [0.02, 0.0], [0.5, 0.5]]]), 3.0),
)
def _examine_crowded_share(fn) -> str | None:
    g = torch.Generator().manual_seed(16)
    points, limit = 0.9 * torch.randn(9, 7, 2, generator=g), 0.7
    step = 10 ** (1.5 * torch.rand(9, 3, 1, generator=g) - 2.5)
    points[:, 4:] = points[:, :3] + step * torch.randn(9, 3, 2, generator=g)
    places = 50 * points
    away = places.unsqueeze(2) - places.unsqueeze(1)  # (N, K, K, 2)
    gaps = away.norm(dim=-1)
    alone = torch.eye(7, dtype=torch.bool)
    near = (gaps < limit) & ~alone
    all_places = places.flatten(0, 1)
    everywhere = torch.cdist(all_places, all_places)
    means = places.mean(0)
    between = torch.cdist(means, means) + 1e9 * torch.eye(7)

    def share(distances, bound=limit):
        return (distances.masked_fill(alone, 1e9).amin(-1) < bound).float().mean()

    right = crowded_share(points, limit)
    slips = {
        "Every landmark has distance 0 to itself, so all seem crowded. Leave out the "
        "diagonal of the distances.": 1.0,
        "The unit: [-1, 1] is two units long, and the edge is 100 percent of it. So a "
        "distance in percent is 50 times, not 100 times, that of the points.": share(
            2 * gaps
        ),
        "The limit is in percent of the image's edge, the points are in [-1, 1]: "
        "multiply them by 50 first.": share(gaps / 50),
        "You compare squared distances with the limit; take the root.": share(
            gaps.square()
        ),
        "This is the share of pairs. Asked is the share of landmarks that have at "
        "least one other close by.": near.float().sum() / (9 * 7 * 6),
        "This is the share of entries of the distance matrix. Asked is the share of "
        "landmarks with at least one other close by.": near.float().mean(),
        "This is the share of images in which any two are close. Asked is the share of "
        "landmarks.": near.any(-1).any(-1).float().mean(),
        "You look for neighbours in other images, too. Company counts within an image "
        "only: keep the first dimension apart.": (
            (everywhere + 1e9 * torch.eye(len(everywhere))).amin(-1) < limit
        )
        .float()
        .mean(),
        "You average the places over the images first. Landmarks may meet in single "
        "images although their mean places are apart.": (between.amin(-1) < limit)
        .float()
        .mean(),
        "This is the sum |dx| + |dy|. Take the Euclidean distance.": share(
            away.abs().sum(-1)
        ),
        "This is the share of landmarks *without* company.": 1 - right,
        "A share lies between 0 and 1; this is in percent.": 100 * right,
        "This is the number of crowded landmarks; divide by how many there are.": (
            63 * right
        ),
    }
    return first_hint(fn(points, limit), right, slips, "For 9 images of 7 landmarks")


# ---- frozen: movement, and the error under a warp ------------------------------------


def movement_and_error(points, back, inside):
    places = 50 * points  # percent of the image's edge
    movement = (places - places.mean(dim=0)).norm(dim=-1).mean()
    error = (50 * (back - points)).norm(dim=-1)[inside].mean()
    return movement.item(), error.item()


@exercise(
    "movement_and_error",
    solution=movement_and_error,
    library=movement_and_error,
    level="medium",
    minutes=15,
    example=lambda: (
        torch.tensor([[[0.0, 0.0]], [[0.4, 0.0]]]),
        torch.tensor([[[0.0, 0.1]], [[0.9, 0.9]]]),
        torch.tensor([[True], [False]]),
    ),
)
def _examine_movement_and_error(fn) -> str | None:
    g = torch.Generator().manual_seed(6)
    points = 0.4 * torch.randn(1, 5, 2, generator=g)
    points = points + torch.tensor([0.1, 0.25]) * torch.randn(8, 5, 2, generator=g)
    back = points + 0.06 * torch.randn(8, 5, 2, generator=g)
    inside = torch.rand(8, 5, generator=g) < 0.7
    back = back + 0.9 * (~inside).unsqueeze(-1)  # where nothing can be found
    places = 50 * points
    off = 50 * (back - points)
    far, distances = (places - places.mean(0)), off.norm(dim=-1)
    movement, error = movement_and_error(points, back, inside)
    slips = {
        "First the movement, then the error: yours come the other way round.": (
            error,
            movement,
        ),
        "The unit: both in percent of the image's edge. [-1, 1] is one edge, so "
        "multiply by 50, not by 100.": (2 * movement, 2 * error),
        "The unit: both in percent of the image's edge. Multiply distances in [-1, 1] "
        "by 50.": (movement / 50, error / 50),
        "The movement: you subtract the mean over the landmarks of an image. That "
        "measures how far they are *apart*; take the mean over the images (dim=0).": (
            (places - places.mean(1, keepdim=True)).norm(dim=-1).mean(),
            error,
        ),
        "The movement: you subtract one mean place for all landmarks. Each has its "
        "own: mean(dim=0).": (
            (places - places.mean((0, 1))).norm(dim=-1).mean(),
            error,
        ),
        "The movement: subtract each landmark's mean place first. Far from the image's "
        "centre is not moving.": (places.norm(dim=-1).mean(), error),
        "The movement: that is the mean of |dx| and |dy|. Take the length of the step "
        "first (norm over the last dimension).": (far.abs().mean(), error),
        "The movement: that is a deviation of x and y. Asked is the mean length of the "
        "step from the mean place.": (far.std(0, unbiased=False).mean(), error),
        "The movement: that is the root of the mean square. Take the mean of the "
        "lengths.": (far.norm(dim=-1).square().mean().sqrt(), error),
        "The movement is taken over all landmarks; `inside` is about the warped image "
        "only.": (far.norm(dim=-1)[inside].mean(), error),
        "The error: points that the warp took out of the image count, too. Nothing can "
        "find them: take those `inside` only.": (movement, distances.mean()),
        "The error: you divide by the number of all points. Those outside then count "
        "as perfect: divide by inside.sum().": (
            movement,
            (distances * inside).mean(),
        ),
        "The error: these are the points *outside*.": (
            movement,
            distances[~inside].mean(),
        ),
        "The error: that is the mean squared distance. Equation 8 has the square; here "
        "the length is asked for.": (movement, distances[inside].square().mean()),
        "The error: that is the root of the mean square. Take the mean of the "
        "lengths.": (movement, distances[inside].square().mean().sqrt()),
        "The error: that is the mean of |dx| and |dy|. Take the length first.": (
            movement,
            off[inside].abs().mean(),
        ),
    }
    slips = {hint: torch.tensor([*map(float, pair)]) for hint, pair in slips.items()}
    got = torch.tensor([float(x) for x in fn(points, back, inside)])
    right = torch.tensor([movement, error])
    return first_hint(got, right, slips, "For 8 images of 5 landmarks")


# ---- reading an ablation table -------------------------------------------------------


def read_ablation(full, without):
    damage = torch.stack([runs.mean() for runs in without]) - full.mean()
    order = damage.argsort(descending=True)
    clear = torch.stack([runs.min() > full.max() for runs in without])
    return order, clear


@exercise(
    "read_ablation",
    solution=read_ablation,
    library=read_ablation,
    level="medium",
    minutes=10,
    example=lambda: (
        torch.tensor([8.0, 9.0]),
        [torch.tensor([8.5, 9.5]), torch.tensor([20.0, 22.0])],
    ),
)
def _examine_read_ablation(fn) -> str | None:
    full = torch.tensor([8.0, 9.0, 8.2])
    without = [
        torch.tensor([8.9, 9.05]),  # one run above the worst full one
        torch.tensor([16.0, 19.0, 13.0]),  # clear
        torch.tensor([7.0]),  # better
        torch.tensor([12.5, 17.0, 17.3]),  # clear
        torch.tensor([8.7, 8.8]),  # worse than the mean of the full ones only
        torch.tensor([7.9, 21.0]),  # one bad run
        torch.tensor([8.1, 8.5]),  # better than the mean, worse than the best
    ]
    right, clear = read_ablation(full, without)
    order, said = fn(full, without)
    damage = torch.stack([runs.mean() for runs in without]) - full.mean()
    low, high = (
        torch.stack([getattr(runs, end)() for runs in without])
        for end in ("min", "max")
    )
    rising = damage.argsort()
    slips = {
        "The order: the term whose absence does the *most* damage comes first.": rising,
        "The order: you rank by the worst run. One unlucky run should not decide: take "
        "the mean.": high.argsort(descending=True),
        "The order: you rank by the best run. Take the mean over the runs.": (
            low.argsort(descending=True)
        ),
        "The order: these are ranks, term by term. Asked are the terms, rank by rank: "
        "argsort once, not twice.": right.argsort(),
        "The order: you rank by how far the error moved, up or down. A term whose "
        "absence *helps* did no damage.": damage.abs().argsort(descending=True),
    }
    hint = first_hint(order, right, slips, "The order")
    if hint:
        return hint
    means = damage + full.mean()
    slips = {
        "clear: the other way round. True where all runs without the term are worse "
        "(larger).": ~clear,
        "clear: you compare means. A mean is larger by chance in half of all cases; "
        "compare the best run without the term with the worst full one.": damage > 0,
        "clear: a mean above the worst full run may be due to one bad run. *Every* run "
        "without the term has to be worse.": means > full.max(),
        "clear: every run has to beat the *worst* full run, not the mean of the full "
        "ones.": low > full.mean(),
        "clear: every run has to beat the *worst* full run, not just the best.": (
            low > full.min()
        ),
        "clear: one run above the worst full one is not enough. All have to be.": (
            high > full.max()
        ),
        "clear: in the order of `without`, please, not in that of the ranking.": (
            clear[right]
        ),
    }
    slips = {hint: answer.double() for hint, answer in slips.items()}
    return first_hint(said.double(), clear.double(), slips, "clear")
