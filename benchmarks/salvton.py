"""What does SAL-VTON's local flow cost, and a whole try-on?

The references are the plain formulation of ``patches.match``, with every score in
memory: in the released code's windows of 39 x 51 pixels, and with all pixels of the
image for each landmark. Times and memory are of one image with 32 landmarks, forward
and backward; memory is the process's largest, above what it held before, each side in a
process of its own.
"""

import multiprocessing

import torch

from benchmarks import compare, memory_of, seconds
from lmlib.machine import best_device
from lmlib.methods.salvton import Links, Salvton, SalvtonConfig, patches

CHANNELS, LANDMARKS = 16, 32
CUTS = {
    "ours": (patches.windows, False),
    "plain": (patches.windows, True),
    "dense": (patches.everywhere, True),
}


def _step(side: str, size: tuple[int, int], window: tuple[int, int], device):
    """Local flow of random features, forward and backward."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(*shape, generator=generator).to(device)

    features = [rand(1, CHANNELS, *size).requires_grad_() for _ in range(2)]
    points = [1.4 * rand(1, LANDMARKS, 2) - 0.7 for _ in range(2)]
    sides = rand(1, LANDMARKS, 2) * torch.tensor(window[::-1], device=device)
    turns = torch.eye(2, device=device).expand(1, LANDMARKS, 2, 2)
    beta = 0.1 * torch.ones(LANDMARKS, device=device)
    active = torch.ones(1, LANDMARKS, dtype=torch.bool, device=device)
    cut, plain = CUTS[side]

    def step():
        mine, theirs = (cut(each, size, window) for each in points)
        flow = patches.match(
            *features, mine, theirs, sides, turns, beta, active, plain=plain
        )
        (flow * mine.inside.unsqueeze(-1)).square().sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def _peak(*arguments) -> float:
    return memory_of(_step(*arguments), arguments[-1])


def _row(name: str, reference: str, *arguments) -> dict:
    sides = "ours", reference
    ours, plain = compare(*(_step(side, *arguments) for side in sides), repeats=2)
    peaks = []
    for side in sides:  # in a fresh process, whose largest memory is this step's
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peaks.append(pool.apply(_peak, (side, *arguments)))
    small, large = peaks
    return {
        "name": name,
        "ratio": round(plain / ours, 1),
        "memory_ratio": round(large / max(small, 1), 1),
        "what": f"one image on {arguments[-1].type}: {ours:.3f} s, {small:.0f} MB "
        f"against {plain:.3f} s, {large:.0f} MB",
    }


def _tryon(size: int, device) -> dict:
    """All stages on one image, with the class preset's widths; the local flow alone."""
    config = SalvtonConfig(size=size)
    torch.manual_seed(0)
    method = Salvton(config).to(device).eval()
    images = torch.rand(2, 1, 3, *config.shape, device=device)
    mask = torch.ones(1, 1, *config.shape, device=device)
    points = 1.4 * torch.rand(2, 1, LANDMARKS, 2, device=device) - 0.7
    seen = torch.full((1, LANDMARKS), 2, device=device)
    links = Links(points[0], seen > 0, points[1], seen)

    def try_on():
        method.try_on(*images, mask, links)
        if device.type == "cuda":
            torch.cuda.synchronize()

    found = seconds(lambda: method.find(*images), 3)
    made = seconds(try_on, 3)
    return {
        "name": f"salvton try-on of one image, {size}x{3 * size // 4}",
        "ratio": 1.0,
        "what": f"on {device.type}: landmarks {1000 * found:.0f} ms; warps and image, "
        f"as when a landmark is dragged, {1000 * made:.0f} ms",
    }


def run() -> list[dict]:
    """The released windows at 256x192, a small image whole, and whole try-ons."""
    device = best_device()
    released = (256, 192), (39, 51), device
    small = (40, 30), (15, 11), device
    return [
        _row("salvton local flow, 256x192, windows of 39x51", "plain", *released),
        _row("salvton local flow, 40x30, over all pixels", "dense", *small),
        _tryon(64, device),
        _tryon(128, device),
    ]
