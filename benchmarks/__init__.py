"""Ours against a plain reference formulation, timed in the same run."""

import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch


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


def largest_memory() -> float:
    """The process's largest memory so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's memory too
        return int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def memory_of(step: Callable[[], object], device: torch.device) -> float:
    """Largest memory in MB that a step takes beyond what was there before it.

    On a CPU that is the process's: ask in a fresh one.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    before = largest_memory()
    step()
    return largest_memory() - before
