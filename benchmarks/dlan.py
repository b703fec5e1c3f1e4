"""What do DLAN's towers and steps cost, beside one tower and one step (table 3a), and
17 passes of a window's beside every rung of the ladder (tables 1 and 2)?

Two sizes: the tables' (64 pixels, where the trunk is small and steps are not), and the
paper's VGG-16 on 512 pixels, with random weights. Ratios of one run, an image at a
time for the paper's size.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from benchmarks import seconds
from lmlib.methods.dlan import Dlan, DlanConfig
from lmlib.methods.dlan_baselines import Dfa, DfaConfig, sliding_window

SIZES = {  # preset -> images at a time, repeats
    "garments64": (16, 7),
    "paper": (1, 2),
}
STEPS = {"garments64": (2, 3, 4, 5), "paper": (3, 4)}  # table 3a's


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


def finders(preset: str, config: DlanConfig, images) -> dict[str, Callable]:
    """All that is timed at one size, by name."""
    changes = {
        "FC": {"attention_steps": 0, "towers": (1,)},
        "ST": {"attention_steps": 1, "towers": (1,)},
        "SDC": {"attention_steps": 1},
        **{f"{m} steps": {"attention_steps": m} for m in STEPS[preset]},
        "one tower": {"towers": (1,)},
    }
    if preset != "paper":
        changes["towers from conv1"] = {"dilate_from": "conv1"}
    found = {name: replace(config, **change) for name, change in changes.items()}
    found = {name: finder(one, images) for name, one in found.items()}
    return found | {"17 windows": windows(config, images)}


def run() -> list[dict]:
    rows = []
    for preset, (count, repeats) in SIZES.items():
        config = DlanConfig.preset(preset)
        images = torch.rand(count, 3, config.size, config.size)
        timed = finders(preset, config, images)
        spent = dict.fromkeys(timed, float("inf"))
        for _ in range(repeats):  # in turns: a busy machine disturbs all alike
            for name, find in timed.items():
                spent[name] = min(spent[name], seconds(find, repeats=1))
        whole = f"{config.attention_steps} steps"
        pairs = {f"{m} steps over one": (f"{m} steps", "SDC") for m in STEPS[preset]}
        pairs[f"{len(config.towers)} towers over one"] = whole, "one tower"
        if preset != "paper":
            name = "towers from conv1 over towers from conv5"
            pairs[name] = "towers from conv1", whole
        for rung, name in {"FC": "FC", "ST": "ST", "SDC": "SDC", "DLAN": whole}.items():
            pairs[f"17 windows over {rung}"] = "17 windows", name
        for name, (over, under) in pairs.items():
            ours, other = (1000 * spent[each] / count for each in (over, under))
            what = f"{ours:.2f} ms an image, against {other:.2f}"
            ratio = round(spent[over] / spent[under], 3)
            rows.append({"name": f"{preset}: {name}", "ratio": ratio, "what": what})
    return rows
