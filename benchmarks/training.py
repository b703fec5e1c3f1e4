"""What does the training step of Seq-MT gain from the channels-last memory layout,
from convolving 9x9 kernels through the FFT (``fftconv.LargeKernelConv2d``), and from
``LMLIB_PRECISION=bfloat16``?"""

from dataclasses import replace

import torch

from benchmarks import compare, training_step
from lmlib.fftconv import LargeKernelConv2d
from lmlib.methods.seqmt import SeqMt, SeqMtConfig
from lmscenes import Blocks, Shapes


def _step(scene, config: SeqMtConfig, layout: torch.memory_format, fourier=True):
    torch.manual_seed(0)
    method = SeqMt(config).to(memory_format=layout)
    for layer in method.modules():
        if isinstance(layer, LargeKernelConv2d):
            layer.direct = not fourier
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-3)
    batch = scene(config.size).batch(range(config.batch_size))
    batch["image"] = batch["image"].contiguous(memory_format=layout)
    return training_step(method, optimizer, batch)


def run() -> list[dict]:
    rows = []
    for name in ("shapes_class", "shapes"):
        config = getattr(SeqMtConfig, name)()
        ours, plain = compare(
            _step(Shapes, config, torch.channels_last),
            _step(Shapes, config, torch.contiguous_format),
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
    config = replace(SeqMtConfig.blocks(), batch_size=32)  # with images unlabelled
    ours, plain = compare(
        _step(Blocks, config, torch.channels_last),
        _step(Blocks, config, torch.channels_last, fourier=False),
        repeats=3,
    )
    rows.append(
        {
            "name": "seqmt training step, blocks, 9x9 kernels through the FFT",
            "ratio": round(plain / ours, 2),
            "what": f"batch {config.batch_size}, {config.size} px, on the CPU: "
            f"{ours * 1e3:.0f} ms against {plain * 1e3:.0f} ms convolved directly",
        }
    )
    # As the rows of table 1 are made: one thread, small batches.
    config, threads = SeqMtConfig.blocks(), torch.get_num_threads()
    torch.set_num_threads(1)
    step = _step(Blocks, config, torch.channels_last)

    def in_half():
        with torch.autocast("cpu", torch.bfloat16):
            step()

    half, plain = compare(in_half, step, repeats=5)
    torch.set_num_threads(threads)
    rows.append(
        {
            "name": "seqmt training step, blocks, in bfloat16, one thread",
            "ratio": round(plain / half, 2),
            "what": f"batch {config.batch_size}, {config.size} px, on the CPU: "
            f"{half * 1e3:.0f} ms against {plain * 1e3:.0f} ms in float32; what it is "
            "depends on the processor",
        }
    )
    return rows
