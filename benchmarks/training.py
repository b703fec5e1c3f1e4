"""What does the training step of Seq-MT gain from the channels-last memory layout?"""

import torch

from benchmarks import compare
from lmlib.methods.seqmt import SeqMt, SeqMtConfig
from lmlib.scenes import Shapes


def _step(config: SeqMtConfig, layout: torch.memory_format):
    torch.manual_seed(0)
    method = SeqMt(config).to(memory_format=layout)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-3)
    batch = Shapes(config.size).batch(range(config.batch_size))
    batch["image"] = batch["image"].contiguous(memory_format=layout)

    def step():
        loss = sum(method.losses(batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def run() -> list[dict]:
    rows = []
    for name in ("shapes_class", "shapes"):
        config = getattr(SeqMtConfig, name)()
        ours, plain = compare(
            _step(config, torch.channels_last),
            _step(config, torch.contiguous_format),
            repeats=3,
        )
        rows.append(
            {
                "name": f"seqmt training step, {name}",
                "ratio": round(plain / ours, 2),
                "what": f"batch {config.batch_size}, {config.size} px: channels_last "
                f"{ours * 1e3:.0f} ms against contiguous {plain * 1e3:.0f} ms",
            }
        )
    return rows
