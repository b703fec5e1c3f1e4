"""The exercises of notebook 53 accept what is right, and name each typical slip."""

import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

# ---- change_near ---------------------------------------------------------------------


def near_by_loop(before, after, near):
    inside = total = 0.0
    for y in range(near.shape[0]):
        for x in range(near.shape[1]):
            step = sum(abs(float(after[c, y, x] - before[c, y, x])) for c in range(3))
            total += step
            inside += step * bool(near[y, x])
    return torch.tensor(inside / total if total else 1.0)


def near_area(before, after, near):
    return near.float().mean()


def near_to_elsewhere(before, after, near):
    changed = (after - before).abs().mean(0)
    return changed[near].sum() / changed[~near].sum()


def near_by_means(before, after, near):
    changed = (after - before).abs().mean(0)
    return changed[near].mean() / changed.mean()


def near_elsewhere(before, after, near):
    changed = (after - before).abs().mean(0)
    return changed[~near].sum() / changed.sum()


def near_squared(before, after, near):
    changed = (after - before).square().mean(0)
    return changed[near].sum() / changed.sum()


def near_signed(before, after, near):
    changed = (after - before).mean(0)
    return changed[near].sum() / changed.sum()


def near_grey(before, after, near):
    changed = (after.mean(0) - before.mean(0)).abs()
    return changed[near].sum() / changed.sum()


def near_no_share(before, after, near):
    return (after - before).abs().mean(0)[near].sum()


def near_not_a_number(before, after, near):
    changed = (after - before).abs().mean(0)
    return changed[near].sum() / changed.sum()


# ---- along_arm -----------------------------------------------------------------------


def arm_by_interpolation(shoulder, elbow, cuff, share):
    """Many small pieces, and the one at the wanted length."""
    t = torch.linspace(0, 1, 20_001).unsqueeze(1)
    path = torch.cat([torch.lerp(shoulder, elbow, t), torch.lerp(elbow, cuff, t)])
    steps = (path[1:] - path[:-1]).norm(dim=1)
    way = torch.cat([torch.zeros(1), steps.double().cumsum(0).float()])
    return path[(way - share * way[-1]).abs().argmin()]


def arm_straight(shoulder, elbow, cuff, share):
    return shoulder + share * (cuff - shoulder)


def arm_half_way(shoulder, elbow, cuff, share):
    if share <= 0.5:
        return shoulder + 2 * share * (elbow - shoulder)
    return elbow + (2 * share - 1) * (cuff - elbow)


def bones(shoulder, elbow, cuff):
    return (elbow - shoulder).norm(), (cuff - elbow).norm()


def by_bones(shoulder, elbow, cuff, way, upper, lower):
    if way <= upper:
        return shoulder + (elbow - shoulder) * way / upper
    return elbow + (cuff - elbow) * (way - upper) / lower


def arm_backwards(shoulder, elbow, cuff, share):
    upper, lower = bones(shoulder, elbow, cuff)
    way = (1 - share) * (upper + lower)
    return by_bones(shoulder, elbow, cuff, way, upper, lower)


def arm_exchanged(shoulder, elbow, cuff, share):
    lower, upper = bones(shoulder, elbow, cuff)
    way = share * (upper + lower)
    return by_bones(shoulder, elbow, cuff, way, upper, lower)


def arm_past_the_elbow(shoulder, elbow, cuff, share):
    upper, lower = bones(shoulder, elbow, cuff)
    return shoulder + (elbow - shoulder) * share * (upper + lower) / upper


def arm_not_taken_off(shoulder, elbow, cuff, share):
    upper, lower = bones(shoulder, elbow, cuff)
    way = share * (upper + lower)
    if way <= upper:
        return shoulder + (elbow - shoulder) * way / upper
    return elbow + (cuff - elbow) * way / lower


def arm_city_block(shoulder, elbow, cuff, share):
    upper, lower = (elbow - shoulder).abs().sum(), (cuff - elbow).abs().sum()
    way = share * (upper + lower)
    return by_bones(shoulder, elbow, cuff, way, upper, lower)


WRONG = [
    ("change_near", near_area, "share of the *area*"),
    ("change_near", near_to_elsewhere, "of *all* change"),
    ("change_near", near_by_means, "compares sums"),
    ("change_near", near_elsewhere, "share elsewhere"),
    ("change_near", near_squared, "not its square"),
    ("change_near", near_signed, "darker and to brighter"),
    ("change_near", near_grey, "hides one that rises"),
    ("change_near", near_no_share, "divide by all change"),
    ("change_near", near_not_a_number, "return 1 then"),
    ("along_arm", arm_straight, "beside the arm"),
    ("along_arm", arm_half_way, "measure them"),
    ("along_arm", arm_backwards, "the other way"),
    ("along_arm", arm_exchanged, "are exchanged"),
    ("along_arm", arm_past_the_elbow, "straight past the elbow"),
    ("along_arm", arm_not_taken_off, "take off what has been walked"),
    ("along_arm", arm_city_block, "not sums of"),
]
RIGHT = [("change_near", near_by_loop), ("along_arm", arm_by_interpolation)]
