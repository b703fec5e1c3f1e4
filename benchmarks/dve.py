"""What do matrix products, attention and a hand-written gradient make of DVE's loss?

``plain_loss`` is the formulation of the released code, written to be read: every pair
of pixels side by side, one pair of images after the other, autograd for the rest. Times
are seconds of one whole training step's loss, forward and backward; memory is the
process's largest, above what it held before, each side in a process of its own.
"""

import multiprocessing
import re
import resource
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks import compare, seconds
from lmlib.geometry import to_pixels
from lmlib.machine import best_device
from lmlib.methods.dve import Dve, DveConfig, exchange, matching_loss


def plain_loss(
    source, target, where, auxiliary=None, weight=None, *, stride=1.0, power=1.0
):
    """Equations 3 and 5, one pair at a time and all numbers at once.

    source, target, auxiliary ``(P, C, h, w)``, where ``(P, h w, 2)`` in cells.
    """
    height, width = target.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cells = torch.stack([x, y], -1).flatten(0, 1).to(where)  # (M, 2)
    total = 0.0
    for b in range(len(source)):
        u, v = source[b].flatten(1), target[b].flatten(1)  # (C, N), (C, M)
        if auxiliary is not None:
            w = auxiliary[b].flatten(1)
            similarity = (u[:, :, None] * w[:, None, :]).sum(0)  # from (C, N, N)
            share = F.softmax(similarity, dim=1)
            u = (share[None] * w[:, None, :]).sum(2)
        probability = F.softmax((u[:, :, None] * v[:, None, :]).sum(0), dim=1)
        distance = stride * (where[b][:, None] - cells[None]).norm(dim=-1)  # (N, M)
        expected = (distance**power * probability).sum(1)
        if weight is not None:
            expected = expected * weight[b] * (weight[b].numel() / weight.sum())
            total = total + expected.sum() / weight[b].numel()
        else:
            total = total + expected.mean() / len(source)
    return total


def fast_loss(source, target, where, auxiliary=None, *, stride=1.0, power=1.0):
    """The same by ``lmlib``."""
    if auxiliary is not None:
        source = exchange(source, auxiliary)
    return matching_loss(source, target, where, stride=stride, power=power)


LOSSES = {"ours": fast_loss, "plain": plain_loss}


def _loss_step(side: str, pairs: int, channels: int, cells: int, device):
    """One loss, forward and backward, on random descriptors."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(2, pairs, channels, cells, cells, generator=generator) * 0.35
    source, target = (part.to(device).requires_grad_() for part in parts)
    where = torch.rand(pairs, cells * cells, 2, generator=generator) * cells
    where = where.to(device)

    def step():
        source.grad = target.grad = None
        around = source.roll(-1, 0)
        loss = LOSSES[side](source, target, where, around, stride=2.0, power=0.5)
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def _training_step(side: str, pairs: int, preset: str, device):
    """Network, loss, gradient and Adam; the warped images are given."""
    config = DveConfig.preset(preset)
    torch.manual_seed(0)
    method = Dve(config).to(device, memory_format=torch.channels_last)
    u, v, where = method.views(
        torch.rand(pairs, 3, config.frame, config.frame, device=device)
    )
    images = torch.cat([u, v]).contiguous(memory_format=torch.channels_last)
    where = to_pixels(where, (config.size // config.stride,) * 2)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-3, amsgrad=True)

    def step():
        source, target = method.descriptors(images).chunk(2)
        around = source.roll(-1, 0)
        loss = LOSSES[side](source, target, where, around, stride=2.0, power=0.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


STEPS = {"loss": _loss_step, "training": _training_step}


def _peak(kind: str, side: str, *arguments) -> float:
    """Largest memory in MB that a step takes beyond what was there before it."""
    step, cuda = STEPS[kind](side, *arguments), arguments[-1].type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    before = _largest()
    step()
    return _largest() - before


def _largest() -> float:
    """The process's largest memory so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's memory too
        return int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _row(name: str, kind: str, *arguments) -> dict:
    pairs, device = arguments[0], arguments[-1]
    ours, plain = compare(
        *(STEPS[kind](side, *arguments) for side in LOSSES), repeats=1
    )
    peaks = []
    for side in LOSSES:  # in a fresh process, whose largest memory is this step's
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peaks.append(pool.apply(_peak, (kind, side, *arguments)))
    small, large = peaks
    return {
        "name": name,
        "ratio": round(plain / ours, 1),
        "memory_ratio": round(large / max(small, 1), 1),
        "what": f"{pairs} pairs on {device.type}: {ours:.3f} s, {small:.0f} MB against "
        f"{plain:.3f} s, {large:.0f} MB",
    }


def _tiles(pairs: int, device) -> dict:
    """The loss without exchange for tiles of several sizes: time over the default's."""
    parts = torch.randn(2, pairs, 64, 35, 35, device=device) * 0.35
    source, target = (part.requires_grad_() for part in parts)
    where = torch.rand(pairs, 35 * 35, 2, device=device) * 35

    def time(tile: int | None) -> float:
        return seconds(
            lambda: matching_loss(source, target, where, tile=tile).backward(), 3
        )

    usual = time(None)
    sizes = [10**4, 10**5, 10**6, 10**7, 10**8]
    measured = {f"{size:.0e}": round(time(size) / usual, 2) for size in sizes}
    return {"name": "dve loss by tile", "ratio": 1.0, "what": f"time: {measured}"}


def run() -> list[dict]:
    """On a CPU 2 of the paper's 32 pairs: the plain side takes seconds for each."""
    device = best_device()
    pairs = 32 if device.type == "cuda" else 2
    return [
        _row("dve loss, 35x35 cells, C = 64", "loss", pairs, 64, 35, device),
        _row("dve step, SmallNet-64", "training", pairs, "smallnet64", device),
        _tiles(pairs, device),
    ]
