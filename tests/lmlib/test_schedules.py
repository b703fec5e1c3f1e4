"""Learning rates, against torch's own schedulers and closed forms."""

import math

import pytest
import torch
from torch.optim import lr_scheduler

from lmlib.schedules import constant, constant_then_decay, cosine, stages

STEPS = 40


def rates(make) -> list[float]:
    """What a scheduler of torch does in 40 steps to a rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, seen = make(optimizer), []
    for _ in range(STEPS):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def ours(schedule) -> list[float]:
    return [schedule(step) for step in range(STEPS)]


def test_constant_is_constant():
    assert ours(constant) == [1.0] * STEPS


@pytest.mark.parametrize(
    "share, milestones, factor",
    [(0.75, [30], 0.1), ((0.5, 0.9), [20, 36], 0.1), ((0.25, 0.5, 0.75), None, 0.3)],
)
def test_the_rate_falls_at_the_shares_as_torch_has_it(share, milestones, factor):
    milestones = milestones or [10, 20, 30]
    expected = rates(lambda o: lr_scheduler.MultiStepLR(o, milestones, factor))
    schedule = constant_then_decay(STEPS, share, factor)
    assert ours(schedule) == pytest.approx(expected)
    assert schedule(milestones[0] - 1) == 1 > schedule(milestones[0])


def test_the_default_falls_to_a_tenth_after_three_quarters():
    assert ours(constant_then_decay(STEPS)) == pytest.approx([1] * 30 + [0.1] * 10)


def test_stages_are_a_warm_up_times_the_falls():
    falls = ((0.5, 0.3), (0.9, 0.2))
    by_hand = [1.0] * 20 + [0.3] * 16 + [0.06] * 4
    assert ours(stages(STEPS, falls)) == pytest.approx(by_hand)
    rise = rates(lambda o: lr_scheduler.LinearLR(o, 1 / 8, 1.0, total_iters=7))
    expected = [a * b for a, b in zip(rise, by_hand, strict=True)]
    assert ours(stages(STEPS, falls, warm_up=8)) == pytest.approx(expected)
    assert stages(STEPS, falls, warm_up=8)(0) == 1 / 8


def test_the_cosine_is_torchs_after_its_warm_up():
    fall = rates(lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS))
    rise = [min(1.0, (step + 1) / 10) for step in range(STEPS)]
    expected = [a * b for a, b in zip(rise, fall, strict=True)]
    assert ours(cosine(STEPS, warm_up=10, last=0.0)) == pytest.approx(expected)
    # not below ``last``, and in a short run no more than a third of it is warm-up
    assert cosine(STEPS)(STEPS - 1) == 0.02
    assert cosine(30)(4) == pytest.approx(0.5 * (1 + math.cos(math.pi * 4 / 30)) / 2)
    assert cosine(2)(0) == 1.0
