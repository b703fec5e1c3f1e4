"""Exercises of notebook 62: the multiplications of a convolution, and a mean that does
not depend on who has what."""

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import close, first_hint

# ---- count a convolution -------------------------------------------------------------


def multiplications(side, maps_in, maps_out, kernel, stride=1, groups=1):
    places = -(-side // stride)  # rounded up: zero padding keeps the first place
    return places**2 * maps_out * (maps_in // groups) * kernel**2


@exercise(
    "multiplications",
    solution=multiplications,
    library=multiplications,
    level="easy",
    minutes=5,
    example=(4, 2, 3, 3),
)
def _examine_multiplications(fn) -> str | None:
    if hint := _count_slips(fn(10, 3, 7, 5), (10, 3, 7, 5)):
        return hint
    strided = {
        "With a stride there are fewer places: side / stride in a row and as many in a "
        "column.": 64 * 64 * 8 * 16 * 9,
        "The stride makes rows *and* columns shorter: divide twice.": (
            64 * 32 * 8 * 16 * 9
        ),
    }
    if hint := first_hint(fn(64, 8, 16, 3, 2), 32 * 32 * 8 * 16 * 9, strided):
        return hint
    odd = {
        "7 places with a stride of 2 are 4, not 3: both ends are visited.": (9 * 9),
        "A number of places is whole: 7 with a stride of 2 are 4.": 3.5**2 * 9,
    }
    if hint := first_hint(fn(7, 1, 1, 3, 2), 16 * 9, odd):
        return hint
    right = 8 * 8 * 16 * 2 * 9
    grouped = {
        "With groups every output map sees only its group's inputs: maps_in / groups "
        "of them.": 4 * right,
        "Groups split the inputs; all the output maps are still there. Divide once.": (
            right / 4
        ),
    }
    return first_hint(fn(8, 8, 16, 3, 1, 4), right, grouped)


def _count_slips(got, sizes) -> str | None:
    side, maps_in, maps_out, kernel = sizes
    right = side**2 * maps_in * maps_out * kernel**2
    slips = {
        "A kernel has kernel x kernel numbers: square it.": right / kernel,
        "The kernel is missing: each output sums over its places, too.": (
            right / kernel**2
        ),
        "An image has side x side places: square it.": right / side,
        "These are the weights; each is used at every place.": right / side**2,
        "Every output map sees every input map: multiply by both.": right / maps_in,
        "The output maps are missing.": right / maps_out,
        "These are multiplications and additions; count multiplications only.": (
            2 * right
        ),
        "Padding keeps the size: there are side x side places.": (
            (side - kernel + 1) ** 2 * maps_in * maps_out * kernel**2
        ),
    }
    return first_hint(got, right, slips)


# ---- a mean of all -------------------------------------------------------------------


def share_of_mean(sums, counts):
    return sums * len(sums) / counts.sum().clamp(min=1)


@exercise(
    "share_of_mean",
    solution=share_of_mean,
    library=share_of_mean,
    level="medium",
    minutes=10,
    example=(torch.tensor([3.0, 5.0]), torch.tensor([3.0, 1.0])),
)
def _examine_share_of_mean(fn) -> str | None:
    sums, counts = torch.tensor([6.0, 1.0, 2.5]), torch.tensor([4.0, 1.0, 5.0])
    right, total = share_of_mean(sums, counts), counts.sum()
    slips = {
        "Each divides by its own count: their average is a mean of means.": (
            sums / counts
        ),
        "The plain average divides by the number of processes; undo that: times "
        "len(sums).": sums / total,
        "Weight by the counts, but do not divide the sums by them as well: "
        "sums / counts * counts / total is sums / total.": (sums / counts * 3 / total),
        "The larger the share, the more it counts: do not multiply sums by the counts "
        "again.": sums * counts * 3 / total,
        "These are sums; nothing has been divided by how many there are.": sums,
    }
    got = fn(sums, counts)
    if close(got.mean(), right.mean()) and not close(got, right):
        return (
            "The average is right, but each must be made of its *own* sum: a process "
            "has no gradient of the others' errors."
        )
    if hint := first_hint(got, right, slips):
        return hint
    none = torch.zeros(2)
    if not torch.isfinite(fn(none, none)).all():
        return "Where nothing is visible, the loss is 0, not NaN: clamp the count."
    return None
