"""Schedules: functions from a step to a factor on the learning rate."""

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def constant(step: int) -> float:
    """The same rate throughout."""
    return 1.0


def constant_then_decay(
    steps: int, share: float | tuple[float, ...] = 0.75, factor: float = 0.1
) -> Schedule:
    """1 until ``share`` of the steps, then ``factor``; with several shares, ``factor``
    squared after the second, and so on."""
    shares = share if isinstance(share, tuple) else (share,)
    return lambda step: factor ** sum(step >= at * steps for at in shares)


def stages(
    steps: int, falls: tuple[tuple[float, float], ...], warm_up: int = 0
) -> Schedule:
    """Up from 0 in ``warm_up`` steps; after each (share of the steps, factor) of
    ``falls``, times that factor."""

    def factor(step: int) -> float:
        fallen = math.prod(by for share, by in falls if step >= share * steps)
        return fallen * min(1.0, (step + 1) / max(warm_up, 1))

    return factor


def cosine(steps: int, warm_up: int = 50, last: float = 0.02) -> Schedule:
    """Up from 0 in ``warm_up`` steps, a third of all at the most, then down along a
    cosine to ``last``."""
    warm_up = max(1, min(warm_up, steps // 3))

    def factor(step: int) -> float:
        fall = 0.5 * (1 + math.cos(math.pi * step / steps))
        return min(1.0, (step + 1) / warm_up) * max(fall, last)

    return factor
