"""The exercises of notebook 52 accept what is right, and name each typical slip."""

import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)
from skimage.metrics import peak_signal_noise_ratio

# ---- masked_psnr ---------------------------------------------------------------------


def psnr_by_selection(found, target, mask):
    """Each image alone: only the pixels that count, and scikit-image's PSNR."""
    values = []
    for one, other, where in zip(found, target, mask, strict=True):
        chosen = where.bool().expand_as(one)
        pair = other[chosen].numpy(), one[chosen].numpy()
        values.append(float(peak_signal_noise_ratio(*pair, data_range=1.0)))
    return torch.tensor(values)


def decibels(error):
    return -10 * error.log10()


def psnr_of_all(found, target, mask):
    return decibels((found - target).square().mean((1, 2, 3)))


def psnr_over_all_pixels(found, target, mask):
    return decibels(((found - target).square() * mask).mean((1, 2, 3)))


def psnr_one_channel(found, target, mask):
    error = ((found - target).square() * mask).sum((1, 2, 3))
    return decibels(error / mask.sum((1, 2, 3)))


def psnr_of_the_batch(found, target, mask):
    error = ((found - target).square() * mask).sum() / mask.sum() / found.shape[1]
    return decibels(error).expand(len(found))


def psnr_natural(found, target, mask):
    return 2.302585 * psnr_by_selection(found, target, mask)


def psnr_upside_down(found, target, mask):
    return -psnr_by_selection(found, target, mask)


def psnr_absolute(found, target, mask):
    error = ((found - target).abs() * mask).sum((1, 2, 3))
    return decibels(error / mask.sum((1, 2, 3)) / found.shape[1])


def psnr_twenty(found, target, mask):
    return 2 * psnr_by_selection(found, target, mask)


# ---- jitter --------------------------------------------------------------------------


def unit(size):
    return torch.tensor([2 / size[1], 2 / size[0]])


def jitter_in_pixels(points, pixels, size, generator):
    """To pixels, a step, and back."""
    scale = torch.tensor([size[1] / 2, size[0] / 2])
    noise = torch.empty(points.shape).normal_(generator=generator)
    return (points * scale + pixels * noise) / scale


def jitter_own_random(points, pixels, size, generator):
    return points + pixels * unit(size) * torch.randn(points.shape)


def jitter_fixed(points, pixels, size, generator):
    own = torch.Generator().manual_seed(0)
    return points + pixels * unit(size) * torch.randn(points.shape, generator=own)


def jitter_ignoring(points, pixels, size, generator):
    return points + unit(size) * torch.randn(points.shape, generator=generator)


def jitter_together(points, pixels, size, generator):
    noise = torch.randn(len(points), 1, 2, generator=generator)
    return points + pixels * unit(size) * noise


def jitter_diagonal(points, pixels, size, generator):
    noise = torch.randn(*points.shape[:2], 1, generator=generator)
    return points + pixels * unit(size) * noise


def jitter_square(points, pixels, size, generator):
    return points + pixels * 2 / size[0] * torch.randn(
        points.shape, generator=generator
    )


def jitter_swapped(points, pixels, size, generator):
    noise = torch.randn(points.shape, generator=generator)
    return points + pixels * unit(size).flip(0) * noise


def jitter_half(points, pixels, size, generator):
    noise = torch.randn(points.shape, generator=generator)
    return points + pixels * unit(size) / 2 * noise


def jitter_uniform(points, pixels, size, generator):
    noise = 2 * torch.rand(points.shape, generator=generator) - 1
    return points + 3**0.5 * pixels * unit(size) * noise


def jitter_alone(points, pixels, size, generator):
    return pixels * unit(size) * torch.randn(points.shape, generator=generator)


WRONG = [
    ("masked_psnr", psnr_of_all, "the mask is not used"),
    ("masked_psnr", psnr_over_all_pixels, "Divide by those that count"),
    ("masked_psnr", psnr_one_channel, "divide by 3 times"),
    ("masked_psnr", psnr_of_the_batch, "each image has its own"),
    ("masked_psnr", psnr_natural, "natural logarithm"),
    ("masked_psnr", psnr_upside_down, "the sign is wrong"),
    ("masked_psnr", psnr_absolute, "squared errors"),
    ("masked_psnr", psnr_twenty, "20 log10 of the mean square"),
    ("jitter", jitter_own_random, "twice, gives other points"),
    ("jitter", jitter_fixed, "Another generator gives the same"),
    ("jitter", jitter_ignoring, "nothing should move"),
    ("jitter", jitter_together, "its own step"),
    ("jitter", jitter_diagonal, "draw both"),
    ("jitter", jitter_square, "another unit in each direction"),
    ("jitter", jitter_swapped, "another unit in each direction"),
    ("jitter", jitter_half, "not 1 / n"),
    ("jitter", jitter_uniform, "Draw normal ones"),
    ("jitter", jitter_alone, "Add the noise to the points"),
]
RIGHT = [("masked_psnr", psnr_by_selection), ("jitter", jitter_in_pixels)]
