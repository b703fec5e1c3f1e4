"""The exercises of notebook 31 accept what is right, and name each typical slip."""

import pytest
import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

# ---- learning_rate -------------------------------------------------------------------

START = (100, (70, 90), 2)  # epochs, milestones, late: as in the exercise


def rate_by_ifs(step, steps, lr, epochs=100, milestones=(70, 90), late=2):
    for at in milestones:
        if step >= (at + late) * steps / epochs:
            lr = lr / 10
    return torch.tensor(lr)


def rate_by_whole_epochs(step, steps, lr, epochs=100, milestones=(70, 90), late=2):
    epoch = step // (steps // epochs)
    return lr * 10.0 ** -sum(epoch - late >= at for at in milestones)


def rate_as_written(step, steps, lr, epochs=100, milestones=(70, 90), late=2):
    return rate_by_ifs(step, steps, lr, epochs, milestones, 0)


def rate_too_early(step, steps, lr, epochs=100, milestones=(70, 90), late=2):
    return rate_by_ifs(step, steps, lr, epochs, milestones, -late)


def rate_of_steps(step, steps, lr, epochs=100, milestones=(70, 90), late=2):
    return lr * 0.1 ** sum(step >= at + late for at in milestones)


def rate_in_percent(step, steps, lr, epochs=100, milestones=(70, 90), late=2):
    return rate_by_ifs(step, steps, lr, 100, milestones, late)


def rate_once(step, steps, lr, epochs=100, milestones=(70, 90), late=2):
    return lr * (0.1 if step * epochs >= steps * (milestones[0] + late) else 1)


def rate_last(step, steps, lr, epochs=100, milestones=(70, 90), late=2):
    return lr * (0.1 if step * epochs >= steps * (milestones[-1] + late) else 1)


def rate_strictly(step, steps, lr, epochs=100, milestones=(70, 90), late=2):
    return lr * 0.1 ** sum(step * epochs > steps * (at + late) for at in milestones)


def rate_divided(step, steps, lr, epochs=100, milestones=(70, 90), late=2):
    return lr / (1 + sum(step * epochs >= steps * (at + late) for at in milestones))


def rate_factor(step, steps, lr, epochs=100, milestones=(70, 90), late=2):
    return rate_by_ifs(step, steps, 1.0, epochs, milestones, late)


def rate_ten_steps(step, steps, lr, epochs=100, milestones=(70, 90), late=2):
    return lr * 0.1 ** sum(step // 10 >= at + late for at in milestones)


def rate_halved(step, steps, lr, epochs=100, milestones=(70, 90), late=2):
    return lr * 0.5 ** sum(step * epochs >= steps * (at + late) for at in milestones)


# ---- choose_auxiliaries --------------------------------------------------------------


def choose_by_permutation(pairs, count, generator):
    rows = []
    for own in range(pairs):
        order = torch.randperm(pairs, generator=generator)
        rows.append(order[order != own][:count])
    return torch.stack(rows)


def choose_by_weights(pairs, count, generator):
    return torch.multinomial(1 - torch.eye(pairs), count, generator=generator)


def choose_by_offset(pairs, count, generator):
    score = torch.rand(pairs, pairs - 1, generator=generator)
    offset = 1 + score.argsort(1)[:, :count]
    return (torch.arange(pairs)[:, None] + offset) % pairs


def choose_any(pairs, count, generator):
    return torch.rand(pairs, pairs, generator=generator).argsort(1)[:, :count]


def choose_from_one(pairs, count, generator):
    return 1 + choose_by_weights(pairs, count, generator)


def choose_twice(pairs, count, generator):
    offset = torch.randint(1, pairs, (pairs, count), generator=generator)
    return (torch.arange(pairs)[:, None] + offset) % pairs


def choose_following(pairs, count, generator):
    return (torch.arange(pairs)[:, None] + torch.arange(1, count + 1)) % pairs


def choose_global(pairs, count, generator):
    return torch.multinomial(1 - torch.eye(pairs), count)


def choose_shared_offset(pairs, count, generator):
    offset = 1 + torch.randperm(pairs - 1, generator=generator)[:count]
    return (torch.arange(pairs)[:, None] + offset) % pairs


def choose_never_last(pairs, count, generator):
    weights = 1 - torch.eye(pairs)
    weights[: pairs - 1, -1] = 0
    return torch.multinomial(weights, count, generator=generator)


def choose_unevenly(pairs, count, generator):
    weights = 1 - torch.eye(pairs)
    weights[:, 0] *= 8
    return torch.multinomial(weights, count, generator=generator)


def choose_moved_up(pairs, count, generator):
    """The own image is replaced by the next one, which then comes up too often."""
    rows = []
    for own in range(pairs):
        order = torch.randperm(pairs, generator=generator)[:count].tolist()
        spare = next(
            i % pairs for i in range(own + 1, own + pairs) if i % pairs not in order
        )
        rows.append([spare if i == own else i for i in order])
    return torch.tensor(rows)


def choose_floats(pairs, count, generator):
    return choose_by_weights(pairs, count, generator).float()


# ---- match_error ---------------------------------------------------------------------


def far(found, truth, pixels):
    return (found - truth).norm(dim=-1) * pixels / 2


def within(points):
    return (points.abs() < 1).all(-1)


def error_by_sums(found, truth, visible, pixels):
    keep = visible & (truth > -1).all(-1) & (truth < 1).all(-1)
    offset = (found - truth) * pixels / 2
    distance = (offset[..., 0] ** 2 + offset[..., 1] ** 2).sqrt()
    return (distance * keep).sum() / keep.sum()


def error_by_index(found, truth, visible, pixels):
    b, k = (visible & within(truth)).nonzero().T
    return far(found[b, k], truth[b, k], pixels).mean()


def error_of_all(found, truth, visible, pixels):
    return far(found, truth, pixels).mean()


def error_outside_too(found, truth, visible, pixels):
    return far(found, truth, pixels)[visible].mean()


def error_hidden_too(found, truth, visible, pixels):
    return far(found, truth, pixels)[within(truth)].mean()


def error_zeros(found, truth, visible, pixels):
    return (far(found, truth, pixels) * (visible & within(truth))).mean()


def error_any(found, truth, visible, pixels):
    keep = visible & (truth.abs() < 1).any(-1)
    return far(found, truth, pixels)[keep].mean()


def error_found_inside(found, truth, visible, pixels):
    return far(found, truth, pixels)[visible & within(found)].mean()


def error_by_image(found, truth, visible, pixels):
    keep = visible & within(truth)
    each = (far(found, truth, pixels) * keep).sum(1) / keep.sum(1)
    return each.nanmean()


def error_by_image_nan(found, truth, visible, pixels):
    keep = visible & within(truth)
    return ((far(found, truth, pixels) * keep).sum(1) / keep.sum(1)).mean()


def error_twice(found, truth, visible, pixels):
    return 2 * error_by_index(found, truth, visible, pixels)


def error_in_units(found, truth, visible, pixels):
    return error_by_index(found, truth, visible, 2)


def error_squared(found, truth, visible, pixels):
    return far(found, truth, pixels).square()[visible & within(truth)].mean()


def error_of_xy(found, truth, visible, pixels):
    return ((found - truth).abs() * pixels / 2)[visible & within(truth)].mean()


def error_manhattan(found, truth, visible, pixels):
    return 2 * error_of_xy(found, truth, visible, pixels)


def error_sum(found, truth, visible, pixels):
    return far(found, truth, pixels)[visible & within(truth)].sum()


def error_median(found, truth, visible, pixels):
    return far(found, truth, pixels)[visible & within(truth)].median()


def error_of_70(found, truth, visible, pixels):
    return error_by_index(found, truth, visible, 70)


def error_list(found, truth, visible, pixels):
    return far(found, truth, pixels)[visible & within(truth)]


WRONG = [
    ("learning_rate", rate_as_written, "`late` epochs after each"),
    ("learning_rate", rate_too_early, "too early"),
    ("learning_rate", rate_of_steps, "number of the step with an epoch"),
    ("learning_rate", rate_in_percent, "percent of the run"),
    ("learning_rate", rate_once, "second milestone changes nothing"),
    ("learning_rate", rate_last, "first milestone changes nothing"),
    ("learning_rate", rate_strictly, "one step late"),
    ("learning_rate", rate_divided, "do not divide by a count"),
    ("learning_rate", rate_factor, "multiply by lr"),
    ("learning_rate", rate_ten_steps, "the same 50 epochs take 1000"),
    ("learning_rate", rate_halved, "The rate is off"),
    ("choose_auxiliaries", choose_any, "its own image"),
    ("choose_auxiliaries", choose_from_one, "numbered 0 to"),
    ("choose_auxiliaries", choose_twice, "the same image twice"),
    ("choose_auxiliaries", choose_following, "the same images every time"),
    ("choose_auxiliaries", choose_global, "hand the generator on"),
    ("choose_auxiliaries", choose_shared_offset, "the same neighbours"),
    ("choose_auxiliaries", choose_never_last, "never uses image"),
    ("choose_auxiliaries", choose_unevenly, "the same chance"),
    ("choose_auxiliaries", choose_moved_up, "the same chance"),
    ("choose_auxiliaries", choose_floats, "dtype"),
    ("match_error", error_of_all, "All points count"),
    ("match_error", error_outside_too, "outside the frame still count"),
    ("match_error", error_hidden_too, "Hidden points still count"),
    ("match_error", error_zeros, "perfect matches"),
    ("match_error", error_any, "all, not any"),
    ("match_error", error_found_inside, "its truth, not of where"),
    ("match_error", error_by_image, "within each image first"),
    ("match_error", error_by_image_nan, "gives NaN"),
    ("match_error", error_twice, "a distance of 2 is `pixels`"),
    ("match_error", error_in_units, "half a frame"),
    ("match_error", error_squared, "squared pixels"),
    ("match_error", error_of_xy, "mean of |dx| and |dy|"),
    ("match_error", error_manhattan, "root of the sum of squares"),
    ("match_error", error_sum, "You return the sum"),
    ("match_error", error_median, "median"),
    ("match_error", error_of_70, "70 pixels only"),
    ("match_error", error_list, "expected"),
]
RIGHT = [
    ("learning_rate", rate_by_ifs),
    ("learning_rate", rate_by_whole_epochs),
    ("choose_auxiliaries", choose_by_permutation),
    ("choose_auxiliaries", choose_by_weights),
    ("choose_auxiliaries", choose_by_offset),
    ("match_error", error_by_sums),
    ("match_error", error_by_index),
]


@pytest.mark.parametrize("name", ["learning_rate", "choose_auxiliaries", "match_error"])
def test_the_stub_is_not_done_yet(name, wrong_answer):
    def stub(*arguments):
        raise NotImplementedError

    wrong_answer(name, stub, "TO DO")
