"""Exercises of notebook 53: where an edit changes a picture, and a way along an arm."""

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import first_hint

# ---- the share of a change that is near ----------------------------------------------


def change_near(before, after, near):
    changed = (after - before).abs().mean(0)  # (H, W)
    if not changed.any():
        return torch.tensor(1.0)
    return changed[near].sum() / changed.sum()


def _two_pixels():
    after = torch.tensor([0.3, 0.1]).view(1, 1, 2).expand(3, 1, 2)
    return torch.zeros(3, 1, 2), after, torch.tensor([[True, False]])


@exercise(
    "change_near",
    solution=change_near,
    library=change_near,
    level="easy",
    minutes=8,
    example=_two_pixels,
)
def _examine_change_near(fn) -> str | None:
    g = torch.Generator().manual_seed(0)
    before, after = torch.rand(2, 3, 12, 9, generator=g)
    near = torch.rand(12, 9, generator=g) < 0.3
    near[:, :2] = False
    step = after - before
    changed = step.abs().mean(0)
    right = changed[near].sum() / changed.sum()
    square = step.square().mean(0)
    slips = {
        "That is the share of the *area*; weigh each pixel by how much it changed.": (
            near.float().mean()
        ),
        "You divide by the change elsewhere. It is a share of *all* change.": (
            changed[near].sum() / changed[~near].sum()
        ),
        "You compare means over pixels; a share compares sums.": (
            changed[near].mean() / changed.mean()
        ),
        "That is the share elsewhere: 1 less what is asked for.": 1 - right,
        "The change is the absolute difference, not its square.": (
            square[near].sum() / square.sum()
        ),
        "Take absolute values before anything is added up: changes to darker and to "
        "brighter cancel.": step.mean(0)[near].sum() / step.mean(0).sum(),
        "Take absolute values of each colour, then their mean: here a colour that "
        "falls hides one that rises.": (
            step.mean(0).abs()[near].sum() / step.mean(0).abs().sum()
        ),
        "That is the change near the edit, not its share: divide by all change.": (
            changed[near].sum()
        ),
    }
    hint = first_hint(fn(before, after, near), right, slips)
    if hint is not None:
        return hint
    still = fn(before, before, near)
    return first_hint(
        still,
        torch.tensor(1.0),
        {"Nothing changed, and 0 / 0 is no number: return 1 then.": torch.nan},
        "Where nothing changes",
    )


# ---- a way along two bones -----------------------------------------------------------


def along_arm(shoulder, elbow, cuff, share):
    upper, lower = (elbow - shoulder).norm(), (cuff - elbow).norm()
    way = share * (upper + lower)
    if way <= upper:
        return shoulder + (elbow - shoulder) * way / upper
    return elbow + (cuff - elbow) * (way - upper) / lower


def _bent_arm():
    points = (torch.tensor(p) for p in ((0.0, 0.0), (0.0, 3.0), (1.0, 3.0)))
    return (*points, 0.5)


@exercise(
    "along_arm",
    solution=along_arm,
    library=along_arm,
    level="medium",
    minutes=12,
    example=_bent_arm,
)
def _examine_along_arm(fn) -> str | None:
    shoulder, elbow, cuff = torch.tensor([[0.1, -0.2], [0.4, 0.2], [0.2, 0.3]])
    upper, lower = (elbow - shoulder).norm(), (cuff - elbow).norm()
    full = upper + lower

    def by_bones(share, corner):  # a way with the elbow at `corner` of it
        if share <= corner:
            return shoulder + (elbow - shoulder) * share / corner
        return elbow + (cuff - elbow) * (share - corner) / (1 - corner)

    for share in (0.3, 0.85, 1.0, 0.0):
        right = by_bones(share, upper / full)
        slips = {
            "You go straight from the shoulder to the cuff, beside the arm. The way "
            "bends at the elbow.": shoulder + share * (cuff - shoulder),
            "You put the elbow half way. The bones differ in length: measure them.": (
                by_bones(share, 0.5)
            ),
            "0 is the shoulder and 1 the cuff; yours runs the other way.": by_bones(
                1 - share, upper / full
            ),
            "The lengths of the two bones are exchanged.": by_bones(
                share, lower / full
            ),
            "Your way goes on straight past the elbow. From there it goes towards the "
            "cuff.": shoulder + (elbow - shoulder) * share * full / upper,
            "Past the elbow, take off what has been walked: the upper bone.": (
                elbow + (cuff - elbow) * share * full / lower
            ),
            "Lengths are roots of sums of squares (norm), not sums of |x| + |y|.": (
                by_bones(
                    share,
                    (elbow - shoulder).abs().sum()
                    / ((elbow - shoulder).abs().sum() + (cuff - elbow).abs().sum()),
                )
            ),
        }
        hint = first_hint(fn(shoulder, elbow, cuff, share), right, slips)
        if hint is not None:
            return f"At share {share}: {hint}"
    return None
