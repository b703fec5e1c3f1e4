"""Kill and resume: trainings and tables killed at random moments, and killed again.

    python -m tools.torture --kills 500        # of all jobs together
    python -m tools.torture --job dve --seed 7

A tiny run is killed (SIGKILL) at a random moment and begun again, a few times over, and
must end as the run that nobody killed: every number the same bit for bit, every row
once, no file left over. Prints what was tried and every fault; exit status 1 if there
was one. POSIX only.

Children are forked from this process, which has loaded everything, drawn the images
that all of them look at, and trained nothing.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lmcourse.evidence.results import read_rows, run_missing
from lmcourse.experiments.cells import Problem
from lmlib import recipes
from lmlib.checkpoints import read
from lmlib.landmarker import open_images
from lmlib.layers import Rungs
from lmlib.registry import configure
from lmlib.samples import as_tensor
from lmscenes.drawn import Drawn

STEPS, IMAGES = 8, range(16)
RUNGS = Rungs.mirrored(4, 6)
LADDERS = {"detector": RUNGS, "features": RUNGS, "decoder": RUNGS}
TINY = {  # scene, preset and changes, so small that a step takes milliseconds
    "seqmt": (
        "faces",
        "multipie_class",
        {"size": 32, "channels": 4, "last_channels": 4, "hidden": (4,), "levels": 2}
        | {"image_channels": 3, "dropout": 0.5, "batch_size": 4},
    ),
    "lmdis": (
        "faces",
        "faces_class",
        {"size": 32, "canvas": 36, "landmarks": 3, "shared": 4, "unpooled": 4}
        | {"descriptor": 3, "landmark_start": (0.2, 0.6), "batch_size": 4, **LADDERS},
    ),
    "dve": (
        "faces",
        "smallnet_class",
        {"channels": 4, "widths": (4, 4, 4, 4, 8), "frame": 32, "size": 24}
        | {"landmarks": 5, "batch_size": 4},
    ),
    "dlan": (
        "garments",
        "garments64",
        {"size": 32, "stages": ((4,),) * 5, "patch": 4, "hidden": (8,), "warm_up": 2}
        | {"dropout": 0.5, "scale_delay": 0.5, "mirror": True, "batch_size": 4},
    ),
    "salvton": (  # all three stages
        "tryon",
        "tryon_class",
        {"size": 48, "branches": (4, 4), "exchanges": 1, "stem": 4, "widths": (4,)}
        | {"fpn": 4, "flow_widths": (4,), "matched": 4, "ngf": 4, "depth": 1}
        | {"decoder": "released", "batch_size": 4},
    ),
}
PATIENCE = 5  # kills of one run before it may end


# --- jobs: what is run, and what must be the same at its end --------------------------


def settings_of(method: str, seed: int = 0) -> recipes.Settings:
    """A tiny training of a method."""
    scene, preset, changes = TINY[method]
    ends = IMAGES.start, IMAGES.stop
    more = {"images": ends, "steps": STEPS, "seed": seed}
    return recipes.Settings(method, preset, (f"scene:{scene}",), changes, **more)


def images_of(method: str, split: str):
    """The scene of a method; its first images have been drawn."""
    scene, preset, changes = TINY[method]
    images = open_images([f"scene:{scene}"], split, configure(method, preset, changes))
    images.batch(IMAGES)
    return images


def drawn_once(draw: Callable) -> Callable:
    """``Drawn.batch`` that remembers its images; children look at their parent's."""
    known: dict[tuple, dict] = {}

    def batch(self, indices, device=None):
        def key(number: int) -> tuple:
            return type(self.scene), self.scene.size, self.drawn, self.gray, number

        numbers = as_tensor(indices).tolist()
        new = [number for number in dict.fromkeys(numbers) if key(number) not in known]
        if new:
            drawn = draw(self, torch.tensor(new), device)
            for row, number in enumerate(new):
                known[key(number)] = {k: v[row : row + 1] for k, v in drawn.items()}
        rows = [known[key(number)] for number in numbers]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    return batch


class Training:
    """``lmlib train`` of one method."""

    def __init__(self, method: str):
        self.settings = settings_of(method)
        images_of(method, "train")

    def run(self, folder: Path) -> None:
        out = folder / "network.safetensors"
        options = {"device": "cpu", "progress": False, "save_every": 1}
        recipes.train(self.settings, out, **options)

    def made(self, folder: Path) -> dict:
        tensors, said = read(folder / "network.safetensors", "")
        numbers = {name: x.numpy().tobytes() for name, x in tensors.items()}
        files = sorted(path.name for path in folder.iterdir())
        return {**numbers, "losses": said["losses"], "files": files}


@dataclass(frozen=True, kw_only=True)
class Tiny(Problem):
    """A table with one setting a method."""

    def train(self, setting: str, seed: int):
        method, data, pool, _ = recipes.prepared(settings_of(setting, seed))
        pools = method.pools(pool, torch.ones(len(pool), dtype=torch.bool))
        options = {"save_every": 1, "device": "cpu"}
        self.fit(method, data, pools, STEPS, (setting, seed), **options)
        method.eval().finish(data, pool)
        return method, {"steps": STEPS}

    def measure(self, method, setting: str) -> dict[str, float]:
        found = method.landmarks_in(images_of(setting, "test").batch(IMAGES))
        return {"place": found.double().square().sum().item()}

    def metrics(self, setting: str) -> tuple[str, ...]:
        return ("place",)


class Reproducing:
    """``lmlib reproduce`` of a table of all methods, most with two seeds."""

    def __init__(self):
        for method in TINY:
            for split in ("train", "test"):
                images_of(method, split)

    def run(self, folder: Path) -> None:
        os.environ["LMLIB_ROOT"] = str(folder)
        seeds = dict.fromkeys(TINY, 2) | {"salvton": 1}  # the slowest
        table = Tiny(name="torture", about="scenes", settings=seeds)
        run_missing([*table.runs()], progress=False)

    def made(self, folder: Path) -> dict:
        rows = read_rows("torture", folder / "data" / "results")
        left = [p for p in (folder / "data").rglob("*.tmp")]
        values = {f"{row.setting}, seed {row.seed}": row.value for row in rows}
        return {**values, "rows": len(rows), "files": left}


JOBS: dict[str, Callable] = {
    **{name: lambda name=name: Training(name) for name in TINY},
    "reproduce": Reproducing,
}


# --- the loop -------------------------------------------------------------------------


def forked(work: Callable[[Path], None], folder: Path) -> int:
    """Number of a child that does the work; it says only what went wrong."""
    child = os.fork()
    if child:
        return child
    try:
        sys.stdout = open(os.devnull, "w")
        work(folder)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(child: int, after: float | None = None) -> int | None:
    """Exit status of the child, or None where it was killed ``after`` seconds."""
    deadline = None if after is None else time.monotonic() + after
    while deadline is not None and time.monotonic() < deadline:
        number, status = os.waitpid(child, os.WNOHANG)
        if number:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    if deadline is not None:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if code == -signal.SIGKILL else code


def different(made: dict, wanted: dict) -> str:
    """What differs, in one line; empty if nothing does."""
    names = [k for k in wanted.keys() | made.keys() if made.get(k) != wanted.get(k)]
    if not names:
        return ""
    files = {*map(str, made.get("files", ()))} ^ {*map(str, wanted.get("files", ()))}
    found = f", files {sorted(files)}" if files else ""
    return f"{len(names)} of {len(wanted)} differ: {sorted(names)[:4]}{found}"


def torture(name: str, kills: int, seed: int, place: Path) -> dict:
    """Kill one job so many times; how many runs that were, and the faults."""
    draw, job = random.Random(f"{name} {seed}"), JOBS[name]()
    calm = place / "calm"
    calm.mkdir()
    started = time.monotonic()
    if ended(forked(job.run, calm)) != 0:
        raise RuntimeError(f"{name}: fails without being killed")
    lasted, wanted = time.monotonic() - started, job.made(calm)
    done, runs, faults = 0, 0, []
    while done < kills:
        folder = place / f"run{runs}"
        folder.mkdir()
        runs, status, patience = runs + 1, None, PATIENCE
        while status is None:
            wait = draw.uniform(0, lasted) if patience and done < kills else None
            status = ended(forked(job.run, folder), wait)
            done, patience = done + (status is None), patience - 1
        fault = f"exit status {status}" if status else ""
        fault = fault or different(job.made(folder), wanted)
        if fault:
            faults.append(f"{name}, seed {seed}, run {runs - 1}: {fault}")
            print(f"fault: {faults[-1]}", file=sys.stderr, flush=True)
        else:
            shutil.rmtree(folder)
    return {"job": name, "kills": done, "runs": runs, "faults": faults}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=40, help="of all jobs together")
    parser.add_argument("--job", choices=JOBS, help="only this one")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the moments of the kills"
    )
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1)])  # loads the half of torch that this needs
    Drawn.batch = drawn_once(Drawn.batch)
    jobs = [asked.job] if asked.job else [*JOBS]
    results = []
    for number, name in enumerate(jobs):
        share = asked.kills // len(jobs) + (number < asked.kills % len(jobs))
        with tempfile.TemporaryDirectory() as place:
            results.append(torture(name, share, asked.seed, Path(place)))
        if not asked.json:
            print(
                "{job}: {kills} kills in {runs} runs, {0} faults".format(
                    len(results[-1]["faults"]), **results[-1]
                ),
                flush=True,
            )
    faults = [fault for result in results for fault in result["faults"]]
    kills = sum(result["kills"] for result in results)
    if asked.json:
        print(json.dumps(results))
    else:
        print(*faults, f"torture: {kills} kills, {len(faults)} faults", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
