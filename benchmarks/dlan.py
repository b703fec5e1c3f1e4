"""What do DLAN's towers and steps cost, beside one tower and one step (table 3a), and
the whole network beside 17 passes of a window's (table 1)?

Two sizes: the tables' (64 pixels, where the trunk is small and steps are not), and the
paper's VGG-16 on 512 pixels, with random weights. Ratios of one run, an image at a
time for the paper's size.
"""

from dataclasses import replace

import torch

from benchmarks import compare
from lmlib.methods.dlan import Dlan, DlanConfig
from lmlib.methods.dlan_baselines import Dfa, DfaConfig, sliding_window

SIZES = {  # preset -> images at a time, repeats
    "garments64": (16, 7),
    "paper": (1, 2),
}


def finder(config, images):
    """A network's landmarks of these images, to be timed."""
    torch.manual_seed(0)
    method = Dlan(config).eval()

    @torch.no_grad()
    def find():
        method.landmarks(images)

    return find


def windows(config, images):
    """The same for 17 windows of a DFA with the same trunk."""
    torch.manual_seed(0)
    names = ("size", "stages", "pooled", "strides", "patch", "hidden")
    same = {name: getattr(config, name) for name in names}
    method = Dfa(replace(DfaConfig.garments64(), **same)).eval()
    return lambda: sliding_window(method, images)


def run() -> list[dict]:
    rows = []
    for preset, (count, repeats) in SIZES.items():
        config = DlanConfig.preset(preset)
        images = torch.rand(count, 3, config.size, config.size)

        def add(name, ours, other, preset=preset, count=count, repeats=repeats):
            first, second = compare(ours, other, repeats)
            milliseconds = [round(1000 * x / count, 2) for x in (first, second)]
            what = f"{milliseconds[0]} ms an image, against {milliseconds[1]}"
            ratio = round(second / first, 3)
            rows.append({"name": f"{preset}: {name}", "ratio": ratio, "what": what})

        one = finder(replace(config, attention_steps=1), images)
        whole = finder(config, images)
        for steps in (2, 3, 5) if preset != "paper" else (3,):
            more = finder(replace(config, attention_steps=steps), images)
            add(f"{steps} steps over one", one, more)
        plain = finder(replace(config, towers=(1,)), images)
        add(f"{len(config.towers)} towers over one", plain, whole)
        if preset != "paper":
            early = finder(replace(config, dilate_from="conv1"), images)
            add("towers from conv1 over towers from conv5", whole, early)
        add("17 windows over DLAN", whole, windows(config, images))
    return rows
