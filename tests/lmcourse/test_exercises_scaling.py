"""The exercises of notebook 62 accept what is right, and name each typical slip."""

import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)
from torch import nn

# ---- multiplications -----------------------------------------------------------------


def by_hook(side, maps_in, maps_out, kernel, stride=1, groups=1):
    """Of a convolution that runs."""
    conv = nn.Conv2d(maps_in, maps_out, kernel, stride, kernel // 2, groups=groups)
    places = conv(torch.zeros(1, maps_in, side, side))[0, 0].numel()
    return places * conv.weight.numel()


def count(side, maps_in, maps_out, kernel, stride=1, groups=1):
    places = (side + stride - 1) // stride
    return places * places * maps_in // groups * maps_out * kernel * kernel


def count_kernel_once(side, maps_in, maps_out, kernel, stride=1, groups=1):
    return count(side, maps_in, maps_out, kernel, stride, groups) // kernel


def count_weights(side, maps_in, maps_out, kernel, stride=1, groups=1):
    return maps_in * maps_out * kernel**2


def count_both(side, maps_in, maps_out, kernel, stride=1, groups=1):
    return 2 * count(side, maps_in, maps_out, kernel, stride, groups)


def count_one_map(side, maps_in, maps_out, kernel, stride=1, groups=1):
    return count(side, 1, maps_out, kernel, stride)


def count_valid(side, maps_in, maps_out, kernel, stride=1, groups=1):
    return count(side - kernel + 1, maps_in, maps_out, kernel, stride, groups)


def count_no_stride(side, maps_in, maps_out, kernel, stride=1, groups=1):
    return count(side, maps_in, maps_out, kernel, 1, groups)


def count_stride_once(side, maps_in, maps_out, kernel, stride=1, groups=1):
    return count(side, maps_in, maps_out, kernel, 1, groups) // stride


def count_rounded_down(side, maps_in, maps_out, kernel, stride=1, groups=1):
    return count(side // stride, maps_in, maps_out, kernel, 1, groups)


def count_no_groups(side, maps_in, maps_out, kernel, stride=1, groups=1):
    return count(side, maps_in, maps_out, kernel, stride)


def count_groups_twice(side, maps_in, maps_out, kernel, stride=1, groups=1):
    return count(side, maps_in, maps_out, kernel, stride, groups) // groups


# ---- share_of_mean -------------------------------------------------------------------


def shares_by_loop(sums, counts):
    total = max(sum(counts.tolist()), 1)
    return torch.stack([len(sums) * s / total for s in sums])


def mean_of_means(sums, counts):
    return sums / counts.clamp(min=1)


def share_without_processes(sums, counts):
    return sums / counts.sum()


def share_for_all(sums, counts):
    return (sums.sum() / counts.sum()).expand(len(sums))


def share_times_counts(sums, counts):
    return sums * counts * len(sums) / counts.sum()


def share_of_nothing(sums, counts):
    return sums * len(sums) / counts.sum()


def share_sums(sums, counts):
    return sums.clone()


WRONG = [
    ("multiplications", count_kernel_once, "square it"),
    ("multiplications", count_weights, "These are the weights"),
    ("multiplications", count_both, "count multiplications only"),
    ("multiplications", count_one_map, "every input map"),
    ("multiplications", count_valid, "Padding keeps the size"),
    ("multiplications", count_no_stride, "With a stride there are fewer places"),
    ("multiplications", count_stride_once, "rows *and* columns"),
    ("multiplications", count_rounded_down, "are 4, not 3"),
    ("multiplications", count_no_groups, "only its group's inputs"),
    ("multiplications", count_groups_twice, "Divide once"),
    ("share_of_mean", mean_of_means, "a mean of means"),
    ("share_of_mean", share_without_processes, "times len(sums)"),
    ("share_of_mean", share_for_all, "its *own* sum"),
    ("share_of_mean", share_times_counts, "do not multiply sums"),
    ("share_of_mean", share_of_nothing, "not NaN"),
    ("share_of_mean", share_sums, "nothing has been divided"),
]
RIGHT = [
    ("multiplications", by_hook),
    ("multiplications", count),
    ("share_of_mean", shares_by_loop),
]
