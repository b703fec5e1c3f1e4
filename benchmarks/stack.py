"""Is one stack of Seq-MT networks faster than the same networks one after the other?

The paper's Blocks network, one step of the landmark loss. The reference trains each
network by itself, as ``lmlib reproduce`` does on a CPU; ours trains them as one. On a
GPU a single small network leaves most of the machine idle.
"""

from dataclasses import replace

import torch

from benchmarks import compare
from lmcourse.experiments.seqmt_stack import SeqMtStack
from lmlib.machine import best_device
from lmlib.methods.seqmt import SeqMt, SeqMtConfig
from lmscenes import Blocks

THREADS = 2


def step(method, batch) -> None:
    """Losses, gradients and an optimiser step."""
    optimizer = method.optimizer
    optimizer.zero_grad(set_to_none=True)
    torch.stack([*method.losses(batch).values()]).sum().backward()
    optimizer.step()


def networks(count: int, device) -> list[SeqMt]:
    config = replace(SeqMtConfig.blocks(), weight_class=0.0, weight_equivariance=0.0)
    methods = []
    for seed in range(count):
        torch.manual_seed(seed)
        methods.append(SeqMt(replace(config, classes=0)).to(device))
    return methods


def run() -> list[dict]:
    """``ratio`` is the reference's time over ours, for M networks of B images each."""
    before, device, rows = torch.get_num_threads(), best_device(), []
    torch.set_num_threads(THREADS)
    gpu = device.type == "cuda"
    try:
        for count, images in ((4, 16), (40, 64)) if gpu else ((4, 16),):
            alone, methods = networks(count, device), networks(count, device)
            stack = SeqMtStack(methods).to(device)
            for method in (*alone, stack):
                if method is not stack:
                    method.to(memory_format=torch.channels_last)
                method.optimizer = torch.optim.Adam(method.parameters(), lr=1e-3)
            whole = Blocks().batch(range(count * images), device)
            parts = [
                {
                    key: value[i * images : (i + 1) * images]
                    for key, value in whole.items()
                }
                for i in range(count)
            ]

            def one_by_one(alone=alone, parts=parts):
                for method, batch in zip(alone, parts, strict=True):
                    step(method, batch)
                torch.cuda.synchronize() if gpu else None

            def together(stack=stack, whole=whole):
                step(stack, whole)
                torch.cuda.synchronize() if gpu else None

            ours, plain = compare(together, one_by_one, repeats=20 if gpu else 3)
            rows.append(
                {
                    "name": f"stack of {count}",
                    "ratio": round(plain / ours, 2),
                    "ours_s": round(ours, 3),
                    "reference_s": round(plain, 3),
                    "what": f"a training step of {count} Blocks networks (60 px, 9x9) "
                    f"with {images} images each, {device}, {THREADS} CPU threads; "
                    "reference: one network after the other",
                }
            )
    finally:
        torch.set_num_threads(before)
    return rows


if __name__ == "__main__":
    import json

    for row in run():
        print(json.dumps(row))
