"""What does SAL-VTON's local flow cost, a whole try-on, and an edit in the editor?

The references are the plain formulation of ``patches.match``, with every score in
memory: in the released code's windows of 39 x 51 pixels, and with all pixels of the
image for each landmark. Times and memory are of one image with 32 landmarks, forward
and backward; memory is the process's largest, above what it held before, each side in a
process of its own.

Try-ons and edits are those of the network that ships, on a processor with two threads.
An edit is all that happens between a mark that arrives from the browser and the PNG
bytes that go back. The best of several times is told, and ``process``, the least
processor time of both threads together, which a busy machine hardly changes: the ratio
of an edit is 200 ms over that.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import torch

from benchmarks import compare, memory_of
from lmcourse import fitting_room as room
from lmcourse import tryon_editor as editing
from lmlib.machine import best_device
from lmlib.methods.salvton import patches

CHANNELS, LANDMARKS = 16, 32
CUTS = {
    "ours": (patches.windows, False),
    "plain": (patches.windows, True),
    "dense": (patches.everywhere, True),
}
THREADS = 2
WANTED = 200  # milliseconds of an edit
PERSON = 100_009


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


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _milliseconds(function: Callable, repeats: int = 8) -> tuple[float, float]:
    """Of one call: best time, and least processor time, after one to warm up."""
    function()
    found = []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        function()
        found.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    best, least = (1000 * min(each) for each in zip(*found, strict=True))
    return best, least


def _used() -> list[dict]:
    """A whole try-on of one image, and edits in the notebooks' editor."""
    method = room.shipped()
    if method is None:
        print("salvton: no network ships, no try-on is timed")
        return []
    batch = room.triplets([PERSON], method.config.shape)
    with _threads(THREADS):
        editor = editing.Editor(editing.fittings(method, batch))
        links, steps = editor.fitting.links, count(1)
        begin = editor.hand.points

        def drag():  # the first mark, each time to a place of its own
            (x, y), *others = begin
            editor.hand.points = [[x, y + 0.01 * next(steps)], *others]

        parts = {
            "landmarks": lambda: method.find(batch["image"], batch["garment"]),
            "warps": lambda: method.warps(*room.seen(batch), links),
            "whole": lambda: method.try_on(*room.seen(batch)),
            "handle": drag,
        }
        found = {name: _milliseconds(part) for name, part in parts.items()}
        editor.take(15)
        begin = editor.hand.points
        found["landmark"] = _milliseconds(drag)
    height, width = method.config.shape
    said = {k: f"{best:.0f} ms (process {cpu:.0f})" for k, (best, cpu) in found.items()}
    slowest = max(found["handle"][1], found["landmark"][1])
    about = {"threads": THREADS}
    return [
        {
            "name": f"salvton try-on of one image, {height}x{width}, as shipped",
            "ratio": 1.0,
            "what": f"on cpu: {said['whole']}; of it landmarks {said['landmarks']}, "
            f"warps {said['warps']}",
        }
        | about,
        {
            "name": f"{WANTED} ms over an edit in the try-on editor, {height}x{width}",
            "ratio": round(WANTED / slowest, 2),
            "what": f"on cpu: four handles {said['handle']}; one landmark "
            f"{said['landmark']}",
        }
        | about,
    ]


def run() -> list[dict]:
    """The released windows at 256x192, a small image whole, try-ons and edits."""
    device = best_device()
    released = (256, 192), (39, 51), device
    small = (40, 30), (15, 11), device
    return [
        _row("salvton local flow, 256x192, windows of 39x51", "plain", *released),
        _row("salvton local flow, 40x30, over all pixels", "dense", *small),
        *_used(),
    ]
