"""Exercises of notebook 52: an error inside a mask, and landmarks that lie off."""

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import close, first_hint
from lmlib.tryon_metrics import psnr

# ---- PSNR inside a mask --------------------------------------------------------------


def masked_psnr(found, target, mask):
    error = (found - target).square() * mask  # (B, C, H, W)
    count = found.shape[1] * mask.sum((1, 2, 3))  # numbers that count
    return -10 * (error.sum((1, 2, 3)) / count).log10()


def _three_quarters():
    found = torch.tensor([0.1, 0.1, 0.5]).view(1, 1, 1, 3)
    return found, torch.zeros(1, 1, 1, 3), torch.tensor([1.0, 1, 0]).view(1, 1, 1, 3)


@exercise(
    "masked_psnr",
    solution=masked_psnr,
    library=psnr,
    level="easy",
    minutes=8,
    example=_three_quarters,
)
def _examine_masked_psnr(fn) -> str | None:
    g = torch.Generator().manual_seed(0)
    found, target = torch.rand(2, 3, 3, 8, 7, generator=g)
    mask = (torch.rand(3, 1, 8, 7, generator=g) < 0.3).float()
    square = (found - target).square()
    inside = square * mask
    count = mask.sum((1, 2, 3))

    def decibels(error):
        return -10 * torch.as_tensor(error).log10()

    right = decibels(inside.sum((1, 2, 3)) / count / 3)
    slips = {
        "You look at the whole image; the mask is not used.": decibels(
            square.mean((1, 2, 3))
        ),
        "Errors outside are set to 0, and then you divide by all pixels. Divide by "
        "those that count.": decibels(inside.mean((1, 2, 3))),
        "The mask has one channel and the image three: divide by 3 times the mask's "
        "pixels.": decibels(inside.sum((1, 2, 3)) / count),
        "One number for the batch came out of all images at once; each image has its "
        "own.": decibels(inside.sum() / count.sum() / 3).expand(3),
        "It is -10 log10 of the error; yours has the natural logarithm.": -10
        * (inside.sum((1, 2, 3)) / count / 3).log(),
        "More is better: the sign is wrong.": -right,
        "PSNR is made of squared errors, not of absolute ones.": decibels(
            ((found - target).abs() * mask).sum((1, 2, 3)) / count / 3
        ),
        "It is 10 log10 of the mean square, or 20 log10 of its root; yours is 20 log10 "
        "of the mean square.": 2 * right,
    }
    return first_hint(fn(found, target, mask), right, slips)


# ---- landmarks that lie off ----------------------------------------------------------


def jitter(points, pixels, size, generator):
    unit = torch.tensor([2 / size[1], 2 / size[0]])  # a pixel's width and height
    noise = torch.randn(points.shape, generator=generator)
    return points + pixels * unit * noise


@exercise("jitter", solution=jitter, library=jitter, level="easy", minutes=8)
def _examine_jitter(fn) -> str | None:
    size, pixels = (64, 48), 2.0
    points = torch.zeros(400, 32, 2)

    def moved(seed, points=points, pixels=pixels):
        return fn(points, pixels, size, torch.Generator().manual_seed(seed))

    if not close(moved(1), moved(1)):
        return "The same generator, twice, gives other points: draw from `generator`."
    if close(moved(1), moved(2)):
        return "Another generator gives the same points: draw from `generator`."
    if not close(moved(1, pixels=0.0), points):
        return "With pixels = 0 nothing should move."
    step = moved(1) * torch.tensor([24.0, 32.0])  # in pixels
    if step[:, 0].sub(step[:, 1]).abs().max() < 1e-4:
        return "All landmarks move together; each has its own step."
    if (step - step.flip(-1)).abs().max() < 1e-4:
        return "x and y move by the same number of pixels; draw both."
    x, y = step.flatten(0, 1).std(0).tolist()
    if abs(x / y - 1) > 0.05:
        return (
            f"x moves by {x:.2f} px and y by {y:.2f}: an image that is not square has "
            "another unit in each direction, 2 / width and 2 / height."
        )
    if abs(x / pixels - 0.5) < 0.03:
        return "The range from -1 to 1 is 2 long: a pixel is 2 / n, not 1 / n."
    if step.abs().max() < 2.2 * pixels:
        return "Your steps have an end, as uniform numbers have. Draw normal ones."
    if abs(x / pixels - 1) > 0.05:
        return f"The deviation should be {pixels:.2f} px; yours is {x:.2f}."
    if step.mean((0, 1)).abs().max() > 0.1:
        return "On average nothing should move; your noise is not centred."
    base = torch.full_like(points, 0.4)
    if not close(moved(1, base), moved(1) + 0.4):
        return "Add the noise to the points."
    return None
