"""What do an attention kernel and a hand-written gradient make of DVE's loss?

The reference is the plain formulation of ``lmlib.methods.dve``: equations 3 and 5 as
matrix products and softmax, autograd for the rest. And the limit is those products
alone. Times are of one whole training step's loss, forward and backward; memory is the
process's largest, above what it held before, each side in a process of its own.
"""

import multiprocessing

import torch

from benchmarks import compare, memory_of, seconds
from lmlib.geometry import to_pixels
from lmlib.machine import best_device
from lmlib.methods.dve import Dve, DveConfig, exchange, matching_loss

SIDES = ("ours", "plain")


def loss(side: str, source, target, where, auxiliary):
    """Eq. 5, then eq. 3, with the released code's power and stride."""
    plain = side == "plain"
    found = exchange(source, auxiliary, plain=plain)
    return matching_loss(found, target, where, stride=2.0, power=0.5, plain=plain)


def _loss_step(side: str, pairs: int, channels: int, cells: int, device):
    """One loss, forward and backward, on random descriptors."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(2, pairs, channels, cells, cells, generator=generator) * 0.35
    source, target = (part.to(device).requires_grad_() for part in parts)
    where = torch.rand(pairs, cells * cells, 2, generator=generator) * cells
    where = where.to(device)

    def step():
        source.grad = target.grad = None
        loss(side, source, target, where, source.roll(-1, 0)).backward()
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
        value = loss(side, source, target, where, source.roll(-1, 0))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


STEPS = {"loss": _loss_step, "training": _training_step}


def _peak(kind: str, side: str, *arguments) -> float:
    return memory_of(STEPS[kind](side, *arguments), arguments[-1])


def _row(name: str, kind: str, *arguments) -> dict:
    pairs, device = arguments[0], arguments[-1]
    ours, plain = compare(*(STEPS[kind](side, *arguments) for side in SIDES), repeats=3)
    peaks = []
    for side in SIDES:  # in a fresh process, whose largest memory is this step's
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


def _over_products(pairs: int, channels: int, cells: int, device) -> dict:
    """The loss over its bare matrix products: those its gradient cannot do without.

    Each softmax has a product for its logits and two for their gradients; the exchange
    has three more for the vectors it takes.
    """
    shape = pairs, cells * cells, channels
    source, target, slope = torch.randn(3, *shape, device=device)
    weights = torch.rand(pairs, shape[1], shape[1], device=device)
    out, back = torch.empty_like(weights), torch.empty_like(source)

    def products():
        for _ in range(3):
            torch.bmm(source, target.mT, out=out)
            torch.bmm(weights, target, out=back)
            torch.bmm(weights.mT, slope, out=back)
        if device.type == "cuda":
            torch.cuda.synchronize()

    step = _loss_step("ours", pairs, channels, cells, device)
    ours, bare = compare(step, products, repeats=7)
    return {
        "name": f"dve loss over its matrix products, {cells}x{cells} cells, "
        f"C = {channels}",
        "ratio": round(ours / bare, 2),
        "what": f"{pairs} pairs on {device.type}, exchange and loss, forward and "
        f"backward: {1000 * ours:.1f} ms against {1000 * bare:.1f} ms of nine products "
        "and nothing else; smaller is better, the goal is 3",
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
    """On a CPU 4 of the paper's 32 pairs."""
    device = best_device()
    pairs = 32 if device.type == "cuda" else 4
    return [
        _over_products(pairs, 64, 35, device),
        _over_products(16, 32, 24, device),
        _row("dve loss, 35x35 cells, C = 64", "loss", pairs, 64, 35, device),
        _row("dve step, SmallNet-64", "training", pairs, "smallnet64", device),
        _tiles(pairs, device),
    ]
