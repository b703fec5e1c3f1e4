"""How far a reader has to jump: calls and files of one training step, one slider move.

    python -m tools.trace                      # a step of every method, and a slider
    python -m tools.trace --flow seqmt         # the calls of one step, indented

Counted are calls of functions in the three packages and the notebook; a change is a
call in another file than the call before. The second step is taken, so that what is set
up once is not in it.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.redraw import explorers, stops
from lmlib.landmarker import open_images
from lmlib.registry import METHODS
from lmlib.training import fit

ROOT = Path(__file__).resolve().parents[1]
PRESETS = {"seqmt": "multipie_class", "lmdis": "faces_class", "dve": "smallnet_class"}
NOTEBOOK = "02_warps_and_equivariance"


class Trace:
    """Calls of our own functions while it is on."""

    def __init__(self):
        self.calls: list[tuple[str, str, int]] = []  # file, function, depth
        self.depth = 0

    def __enter__(self):
        sys.setprofile(self.seen)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def seen(self, frame, event: str, _) -> None:
        if event not in ("call", "return"):
            return
        path, name = frame.f_code.co_filename, frame.f_code.co_name
        if path.startswith("<@beartype") or name.startswith("<"):
            return
        if path.startswith(f"{ROOT}/lm"):
            path = path.removeprefix(f"{ROOT}/")
        elif ", cell " in path:  # as ``explorers`` names the cells of a notebook
            path = path.partition(",")[0]
        else:
            return
        if event == "call":
            self.calls.append((path, name, self.depth))
        self.depth += 1 if event == "call" else -1

    def counts(self) -> str:
        """Calls, files and changes of file."""
        files = [file for file, *_ in self.calls]
        changes = sum(a != b for a, b in zip(files, files[1:], strict=False))
        names = ", ".join(dict.fromkeys(files))
        said = f"{len(files)} calls, {len(set(files))} files, {changes} changes"
        return f"{said}: {names}"

    def flow(self) -> str:
        """The calls, indented by depth."""
        return "\n".join(f"{'  ' * d}{file}: {name}" for file, name, d in self.calls)


def step(name: str) -> Trace:
    """The second training step of a method."""
    method = METHODS[name](METHODS[name].Config.preset(PRESETS[name]))
    data, trace = open_images(["scene:faces"], "train", method.config), Trace()

    class Drawn:  # what a scene does to draw is not part of training
        @staticmethod
        def batch(indices, device=None):
            sys.setprofile(None)
            batch = data.batch(indices, device)
            if taken == [1]:
                trace.__enter__()
            return batch

    taken: list[int] = []

    def after(number: int, _) -> bool:
        if taken == [1]:
            trace.__exit__()
        taken.append(number)
        return number == 2

    options = {"callback": after, "progress": False, "batch_size": 4}
    fit(method, Drawn(), range(64), 2, device="cpu", **options)
    return trace


def slider(notebook: str = NOTEBOOK) -> Trace:
    """One move of the first slider of a notebook's first explorer."""
    explorer = next(iter(explorers(notebook).values()))
    control = next(iter(explorer.controls.values()))
    first, second, *_ = stops(control)
    control.value = first
    with Trace() as trace:
        control.value = second
    return trace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--flow", choices=[*METHODS, "slider"], help="show the calls")
    chosen = parser.parse_args().flow
    traced: dict[str, Callable[[], Trace]] = {
        **{name: lambda name=name: step(name) for name in PRESETS},
        "slider": slider,
    }
    if chosen:
        print(traced[chosen]().flow())
        return
    for name, of in traced.items():
        print(f"{name}: {of().counts()}")


if __name__ == "__main__":
    main()
