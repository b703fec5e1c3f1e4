"""Exercises of notebook 43: rates of parts, and doubt without the truth."""

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import first_hint

# ---- detection rates of parts --------------------------------------------------------


def rate_by_group(found, visible, group, groups):
    hits = torch.zeros(groups).index_add(0, group, (found & visible).sum(1).float())
    seen = torch.zeros(groups).index_add(0, group, visible.sum(1).float())
    return hits / seen  # 0 / 0 is NaN


def _example():
    found = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 0]]).bool()
    visible = torch.tensor([[1, 1, 1], [1, 0, 1], [1, 1, 0]]).bool()
    return found, visible, torch.tensor([0, 0, 1]), 2


@exercise(
    "rate_by_group",
    solution=rate_by_group,
    library=rate_by_group,
    level="medium",
    minutes=10,
    example=_example,
)
def _examine_rate_by_group(fn) -> str | None:
    g = torch.Generator().manual_seed(0)
    found = torch.rand(40, 8, generator=g) < 0.6
    visible = torch.rand(40, 8, generator=g) < torch.rand(40, 1, generator=g)
    group = torch.randint(3, (40,), generator=g)  # nobody in group 3
    right = rate_by_group(found, visible, group, 4)
    everywhere = torch.ones_like(visible)
    hit = found & visible
    each = hit.sum(1) / visible.sum(1)
    means = [
        each[(group == k) & visible.any(1)].mean() for k in range(4)
    ]  # of rates of pictures
    multiplied = rate_by_group(hit | ~visible, everywhere, group, 4)
    counts = torch.bincount(group, minlength=4)
    hits = torch.zeros(4).index_add(0, group, hit.sum(1).float())
    slips = {
        "Hidden landmarks count as found here: their error was set to zero. Leave them "
        "out of both sums.": multiplied,
        "Hidden landmarks are in the denominator: divide by the visible ones of the "
        "group, not by all slots.": rate_by_group(hit, everywhere, group, 4),
        "You count hidden landmarks, and whether they were found, too: use visible in "
        "both sums.": rate_by_group(found, everywhere, group, 4),
        "That is a mean over pictures of their rates: a picture with one visible "
        "landmark then weighs as much as one with eight.": torch.stack(means),
        "You divide by the number of pictures. A rate is over landmarks.": hits
        / counts,
        "You divide by the visible landmarks of all groups together.": hits
        / visible.sum(),
        "A group without any visible landmark has no rate: NaN, not zero.": (
            right.nan_to_num(0.0)
        ),
        "Found, not missed: this is one minus the rate.": 1 - right,
    }
    return first_hint(fn(found, visible, group, 4), right, slips)


# ---- disagreement under mirroring ----------------------------------------------------


def mirror_gap(points, mirrored, there):
    pairs = torch.arange(points.shape[1]) ^ 1  # 1, 0, 3, 2, ...
    back = mirrored[:, pairs] * torch.tensor([-1.0, 1.0])
    gap = (points - back).norm(dim=-1).where(there, 0.0)
    return gap.sum(1) / there.sum(1)


@exercise(
    "mirror_gap",
    solution=mirror_gap,
    library=mirror_gap,
    level="medium",
    minutes=10,
    example=(
        torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]]),
        torch.tensor([[[-0.5, 0.0], [0.4, 0.0]]]),
        torch.tensor([[True, True]]),
    ),
)
def _examine_mirror_gap(fn) -> str | None:
    g = torch.Generator().manual_seed(0)
    points = torch.randn(6, 8, 2, generator=g)
    again = torch.randn(6, 8, 2, generator=g)
    there = torch.rand(6, 8, generator=g) < 0.7
    there[:, 0] = True
    pairs = torch.arange(8) ^ 1
    flip = torch.tensor([-1.0, 1.0])

    def gap(back, mask=there):
        return ((points - back).norm(dim=-1) * mask).sum(1) / mask.sum(1)

    right = mirror_gap(points, again, there)
    back = again[:, pairs] * flip
    slips = {
        "Undo both: x becomes -x, and left slots become right ones.": gap(again),
        "x is turned round, but a left collar is still compared with a right one: swap "
        "slots 2k and 2k + 1.": gap(again * flip),
        "The slots are swapped, but x still runs the other way.": gap(again[:, pairs]),
        "Mirroring turns x round, and leaves y alone.": gap(again[:, pairs] * -flip),
        "You turn both x and y round: that is half a turn, not a mirror.": gap(
            -again[:, pairs]
        ),
        "Only slots that are there may count.": gap(back, torch.ones_like(there)),
        "Divide by the number of slots that are there, not by eight.": right
        * there.sum(1)
        / 8,
        "A mean, not a sum: garments with eight landmarks would look worse.": right
        * there.sum(1),
        "The order of all eight is reversed. Left and right are neighbours: slots 2k "
        "and 2k + 1.": gap(again.flip(1) * flip),
    }
    return first_hint(fn(points, again, there), right, slips)
