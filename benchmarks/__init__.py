"""Ours against a plain reference formulation, timed in the same run."""

import time
from collections.abc import Callable


def seconds(function: Callable[[], object], repeats: int = 5) -> float:
    """Best time of one call, after one call to warm up: the least disturbed one."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def training_step(method, optimizer, batch) -> Callable[[], None]:
    """Losses, gradients and an optimiser step, to be timed."""

    def step():
        loss = sum(method.losses(batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def compare(ours: Callable, plain: Callable, repeats: int = 5) -> tuple[float, float]:
    """Best seconds of both, interleaved, so that a busy machine disturbs both alike."""
    best = [float("inf"), float("inf")]
    for _ in range(repeats):
        for side, function in enumerate((ours, plain)):
            best[side] = min(best[side], seconds(function, repeats=1))
    return best[0], best[1]
