"""What a GPU is needed for, most valuable first, in a given time: ``make gpu``.

``python -m tools.gpu OUT [--minutes 12] [--only NAME ...] [--cpu]`` runs the stages
below, each in a process of its own and never longer than its share. Rows and weights go
to ``OUT/data``, what was printed to ``OUT/log``, and ``OUT/summary.json`` says how each
stage ended. Started again with the same folder, finished stages are left out and
trainings go on from their checkpoints.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from lmlib.files import whole

ROOT = Path(__file__).resolve().parents[1]
GRACE = 10  # seconds in which a stage that must stop may write what it has
PRESENT = "data/claims.toml", "data/paper"  # what the commands read below their root


@dataclass(frozen=True)
class Stage:
    """One command of Python, with the longest it may take.

    ``share`` is of the minutes that are left when it begins.
    """

    name: str
    about: str
    command: tuple[str, ...]
    share: float


def table(*arguments: str) -> tuple[str, ...]:
    """The command that does runs of a table."""
    return "-m", "lmlib.cli", "reproduce", *arguments


STAGES = (
    Stage(
        "tests",
        "the tests that need a GPU",
        ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", "tests"),
        0.15,
    ),
    Stage(
        "faces64",
        "discovery that draws: ten landmarks on faces of 64 px",
        table("lmdis-faces64", "--only", "K10,gallery"),
        0.3,
    ),
    Stage(
        "faces70",
        "descriptors at the paper's size, with exchange and without",
        table("dve-faces70"),
        0.35,
    ),
    Stage(
        "blocks",
        "Blocks, three seeds of each setting, as stacks of networks",
        table("seqmt-blocks", "--stack", "16", "--seeds", "0,1,2"),
        0.5,
    ),
    Stage("benchmarks", "ours against plain formulations", ("-m", "benchmarks"), 0.4),
    Stage(
        "ladder64",
        "table 1 of LMDIS with a decoder that draws",
        table("lmdis-faces64"),
        0.6,
    ),
    Stage("arm", "table 4 of DVE: the arm", table("dve-roboarm"), 1.0),
)


@dataclass(frozen=True)
class Outcome:
    """How a stage ended: done, failed, stopped at its limit, or begun too late."""

    name: str
    ended: str
    seconds: float = 0.0


def place(out: Path) -> None:
    """Make ``out`` a root for the commands: what they read, folders for the rest."""
    for folder in ("data/results", "data/checkpoints", "data/cache", "log"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for name in PRESENT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, out / name, dirs_exist_ok=True)
        else:
            shutil.copyfile(ROOT / name, out / name)


def begin(stage: Stage, out: Path, seconds: float) -> Outcome:
    """Run a stage; at its limit it is asked to stop, then made to."""
    variables = {"LMLIB_ROOT": str(out.resolve()), "PYTHONPATH": str(ROOT)}
    start = time.monotonic()
    with (out / "log" / f"{stage.name}.txt").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *stage.command],
            cwd=ROOT,
            env=os.environ | variables,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            ended = "failed" if process.wait(seconds) else "done"
        except subprocess.TimeoutExpired:
            ended = "stopped"
            process.send_signal(signal.SIGINT)
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
    return Outcome(stage.name, ended, round(time.monotonic() - start, 1))


def outcomes(out: Path) -> dict[str, Outcome]:
    """What an earlier call wrote; ValueError if that cannot be read."""
    path = out / "summary.json"
    if not path.exists():
        return {}
    try:
        found = [Outcome(**one) for one in json.loads(path.read_text("utf-8"))]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a summary ({error}); remove it") from None
    return {one.name: one for one in found}


def work(out: Path, minutes: float, stages: Sequence[Stage] = STAGES) -> list[Outcome]:
    """Do the stages that are not done, in order, and write down how each ended."""
    place(out)
    ended, deadline = outcomes(out), time.monotonic() + 60 * minutes
    for stage in stages:
        if stage.name in ended and ended[stage.name].ended == "done":
            continue
        left = deadline - time.monotonic() - GRACE
        if left <= 0:
            ended[stage.name] = Outcome(stage.name, "no time")
        else:
            print(f"{stage.name}: {stage.about} ...", flush=True)
            ended[stage.name] = begin(stage, out, stage.share * left)
            print(f"{stage.name}: {ended[stage.name].ended}", flush=True)
        with whole(out / "summary.json", "w", encoding="utf-8") as file:
            json.dump([asdict(one) for one in ended.values()], file, indent=1)
    return [ended[stage.name] for stage in stages]


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m tools.gpu``: 1 if a stage failed, 2 where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="a folder for rows, weights and logs")
    parser.add_argument("--minutes", type=float, default=12.0)
    names = [stage.name for stage in STAGES]
    about = "only these stages (may be given several times)"
    parser.add_argument("--only", action="append", choices=names, help=about)
    parser.add_argument("--cpu", action="store_true", help="go on without a GPU")
    chosen = parser.parse_args(arguments)
    if not (chosen.cpu or torch.cuda.is_available()):
        print("PyTorch sees no GPU here; --cpu runs the stages all the same")
        return 2
    stages = [s for s in STAGES if not chosen.only or s.name in chosen.only]
    found = work(chosen.out, chosen.minutes, stages)
    for one in found:
        print(f"{one.seconds:7.1f} s  {one.name}: {one.ended}")
    return int(any(one.ended == "failed" for one in found))


if __name__ == "__main__":
    sys.exit(main())
