"""The exercises of notebook 43 accept what is right, and name each typical slip."""

import math

import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

# ---- rate_by_group -------------------------------------------------------------------


def rate_by_mask(found, visible, group, groups):
    rates = []
    for k in range(groups):
        seen = visible[group == k]
        rates.append(found[group == k][seen].float().mean())
    return torch.stack(rates)


def rate_multiplied(found, visible, group, groups):
    everywhere = torch.ones_like(visible)
    return rate_by_mask(found | ~visible, everywhere, group, groups)


def rate_all_slots(found, visible, group, groups):
    return rate_by_mask(found & visible, torch.ones_like(visible), group, groups)


def rate_unmasked(found, visible, group, groups):
    return rate_by_mask(found, torch.ones_like(visible), group, groups)


def rate_of_pictures(found, visible, group, groups):
    rates = []
    for k in range(groups):
        each = [
            found[n][visible[n]].float().mean()
            for n in range(len(found))
            if group[n] == k and visible[n].any()
        ]
        rates.append(torch.stack(each).mean() if each else torch.tensor(math.nan))
    return torch.stack(rates)


def hits(found, visible, group, groups):
    return torch.stack([(found & visible)[group == k].sum() for k in range(groups)])


def rate_per_picture(found, visible, group, groups):
    return hits(found, visible, group, groups) / torch.bincount(group, minlength=groups)


def rate_of_everything(found, visible, group, groups):
    return hits(found, visible, group, groups) / visible.sum()


def rate_zero(found, visible, group, groups):
    return rate_by_mask(found, visible, group, groups).nan_to_num(0.0)


def rate_missed(found, visible, group, groups):
    return rate_by_mask(~found, visible, group, groups)


# ---- mirror_gap ----------------------------------------------------------------------


def gap_by_hand(points, mirrored, there):
    out = []
    for a, b, mask in zip(points, mirrored, there, strict=True):
        far = []
        for k in range(len(a)):
            other = b[k + 1 if k % 2 == 0 else k - 1]
            if mask[k]:
                far.append(
                    math.dist(a[k].tolist(), (-other[0].item(), other[1].item()))
                )
        out.append(sum(far) / len(far))
    return torch.tensor(out)


def gap_as_is(points, mirrored, there, order=None, flip=(1.0, 1.0)):
    order = list(range(8)) if order is None else order
    back = mirrored[:, order] * torch.tensor(flip)
    far = (points - back).norm(dim=-1)
    return (far * there).sum(1) / there.sum(1)


SWAPPED, MIRROR = [1, 0, 3, 2, 5, 4, 7, 6], (-1.0, 1.0)


def gap_not_swapped(points, mirrored, there):
    return gap_as_is(points, mirrored, there, flip=MIRROR)


def gap_not_turned(points, mirrored, there):
    return gap_as_is(points, mirrored, there, SWAPPED)


def gap_upside_down(points, mirrored, there):
    return gap_as_is(points, mirrored, there, SWAPPED, (1.0, -1.0))


def gap_half_turn(points, mirrored, there):
    return gap_as_is(points, mirrored, there, SWAPPED, (-1.0, -1.0))


def gap_everywhere(points, mirrored, there):
    return gap_as_is(points, mirrored, torch.ones_like(there), SWAPPED, MIRROR)


def gap_over_eight(points, mirrored, there):
    return gap_sum(points, mirrored, there) / 8


def gap_sum(points, mirrored, there):
    return gap_by_hand(points, mirrored, there) * there.sum(1)


def gap_reversed(points, mirrored, there):
    return gap_as_is(points, mirrored, there, list(range(7, -1, -1)), MIRROR)


RATE, GAP = "rate_by_group", "mirror_gap"
WRONG = [
    (RATE, rate_multiplied, "count as found here"),
    (RATE, rate_all_slots, "in the denominator"),
    (RATE, rate_unmasked, "use visible in both sums"),
    (RATE, rate_of_pictures, "a mean over pictures"),
    (RATE, rate_per_picture, "number of pictures"),
    (RATE, rate_of_everything, "all groups together"),
    (RATE, rate_zero, "NaN, not zero"),
    (RATE, rate_missed, "one minus the rate"),
    (GAP, gap_as_is, "Undo both"),
    (GAP, gap_not_swapped, "swap slots 2k and 2k + 1"),
    (GAP, gap_not_turned, "x still runs the other way"),
    (GAP, gap_upside_down, "leaves y alone"),
    (GAP, gap_half_turn, "half a turn"),
    (GAP, gap_everywhere, "Only slots that are there"),
    (GAP, gap_over_eight, "not by eight"),
    (GAP, gap_sum, "A mean, not a sum"),
    (GAP, gap_reversed, "neighbours"),
]
RIGHT = [(RATE, rate_by_mask), (GAP, gap_by_hand)]
