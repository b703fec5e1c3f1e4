"""Exercises of notebook 11: half-labelled batches, and how often an image is seen."""

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import close, first_hint

# ---- a batch of two halves -----------------------------------------------------------


def half_and_half(step, labelled, unlabelled, batch_size):
    half = batch_size // 2
    place = torch.arange(step * half, (step + 1) * half)
    return torch.cat([pool[place % len(pool)] for pool in (labelled, unlabelled)])


@exercise(
    "half_and_half",
    solution=half_and_half,
    library=half_and_half,
    level="medium",
    minutes=10,
    example=(1, torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5, 6, 7]), 4),
)
def _examine_half_and_half(fn) -> str | None:
    few, many = torch.arange(100, 107), torch.arange(500, 529)
    half, size = 5, 10
    for step in range(9):
        wanted = half_and_half(step, few, many, size)
        got = fn(step, few, many, size)
        if close(got, wanted):
            continue
        place = torch.arange(step * half, (step + 1) * half)
        slow, fast = place - step * half + step, place + step * half

        def both(place, step=step):
            return torch.cat([few[place % len(few)], many[place % len(many)]])

        slips = {
            "The unlabelled half comes first; the labelled images fill the first half "
            "of the batch.": wanted.roll(half),
            "Every step takes the same images: start at step times half a batch.": both(
                torch.arange(half)
            ),
            "You move on by one image a step; a step uses half a batch of each "
            "pool.": both(slow),
            "You move on by a whole batch, but each pool gives only half of it: the "
            "other half of the pool would be skipped.": both(fast),
            "Both pools are cut at the length of the labelled one, so most unlabelled "
            "images never take part: each pool turns around at its own end.": torch.cat(
                [few[place % len(few)], many[place % len(few)]]
            ),
            "At its end a pool must start again from its first image (use %); you stay "
            "at the last one.": torch.cat(
                [few[place.clamp(max=6)], many[place.clamp(max=28)]]
            ),
        }
        hint = first_hint(got, wanted, slips, f"At step {step} an image differs")
        return hint
    return None


# ---- how often is each image seen? ---------------------------------------------------


def times_seen(steps, batch_size, images, share):
    labelled = images * share
    drawn = steps * batch_size / 2  # images from each pool
    return drawn / labelled, drawn / (images - labelled)


@exercise(
    "times_seen",
    solution=times_seen,
    library=times_seen,
    level="easy",
    minutes=5,
    example=(100, 8, 1000, 0.1),
)
def _examine_times_seen(fn) -> str | None:
    steps, batch, images, share = 370, 20, 1000, 0.1
    right = times_seen(steps, batch, images, share)  # 37 and 4.11
    got = tuple(float(number) for number in fn(steps, batch, images, share))
    together = steps * batch / images
    slips = {
        "The order is (labelled, unlabelled); yours is the other way round.": right[
            ::-1
        ],
        "Each pool fills only half of the batch: batch_size / 2 images a step.": tuple(
            2 * value for value in right
        ),
        "You treat the batch as one draw from all images. Half of it comes from the "
        "few labelled ones, so they are seen far more often.": (together, together),
        "The unlabelled images are those without landmarks, images * (1 - share), not "
        "all of them.": (right[0], steps * batch / 2 / images),
        "This says how many steps one pass takes. Asked is the inverse view: in all "
        "steps, how often does each image come up?": tuple(
            steps / value for value in right
        ),
        "An average need not be whole: divide with /, not //.": tuple(
            float(int(value)) for value in right
        ),
        "This counts the images drawn; divide by how many there are.": (
            steps * batch / 2,
            steps * batch / 2,
        ),
    }
    return first_hint(torch.tensor(got), torch.tensor(right), slips)
