"""What is worth running next, and doing it unattended.

The order: networks to look at (settings named ``gallery`` and the tables in
``GALLERY``); then, for claims that are not decided, the seeds that are expected to
decide most a minute; then every other run that a table lacks.
"""

import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lmcourse.evidence import effects as rule
from lmcourse.evidence.claims import Measured, Verdict, judge_all
from lmcourse.evidence.effects import SHOWN
from lmcourse.evidence.results import (
    Row,
    Run,
    here,
    make_of,
    missing_runs,
    read_rows,
    run_file,
    run_missing,
)

GALLERY = (
    "dve-faces70", "lmdis-faces64", "lmdis-people64",
    "seqmt-hands64", "seqmt-faces64", "seqmt-wild80", "seqmt-300w64",
)  # fmt: skip
OPEN = ("undecided", "not tested")
TAKEN = 3  # exit status of a process whose run another one has
ENDS = {0: "done", TAKEN: "left to another process"}
AHEAD = 10  # seeds looked ahead, as in the verdicts


@dataclass(frozen=True)
class Job:
    """A run that lacks rows, why it is worth doing, and how long it takes.

    ``guessed``: no row says how long; the longest of its experiment counts.
    """

    table: str
    run: Run
    why: str
    minutes: float
    guessed: bool

    @property
    def key(self) -> tuple[str, str, int]:
        return self.run.experiment, self.run.setting, self.run.seed

    @property
    def kind(self) -> str:
        return self.why if self.why in ("gallery", "missing cell") else "claim"

    @property
    def time(self) -> str:
        return f"{'~' if self.guessed else ''}{self.minutes:.1f}"

    @property
    def begun(self) -> bool:
        """Did an earlier process leave its unfinished state?"""
        return run_file(*self.key).exists()


class Planner:
    """Tables, rows and verdicts as they are now; ``jobs()`` puts runs in order."""

    def __init__(self, tables: dict, make: str, verdicts: list[Verdict] | None = None):
        self.runs: dict[tuple[str, str, int], tuple[str, Run]] = {}
        for table in tables.values():
            for run in table.runs():
                key = (run.experiment, run.setting, run.seed)
                self.runs.setdefault(key, (table.name, run))
        experiments = dict.fromkeys(key[0] for key in self.runs)
        self.rows: list[Row] = [r for e in experiments for r in read_rows(e)]
        self.make = make
        lacking = missing_runs([run for _, run in self.runs.values()])
        self.missing = {(r.experiment, r.setting, r.seed): r for r in lacking}
        self.verdicts = judge_all(tables=tables) if verdicts is None else verdicts
        self.here = {
            (r.experiment, r.setting, r.seed) for r in self.rows if r.make == make
        }
        self._seconds = self._measured_seconds()

    def jobs(self) -> list[Job]:
        """All runs that are missing, the most useful first."""
        ordered: dict[tuple, Job] = {}
        for key, why in self._in_order():
            if key not in ordered:
                minutes, guessed = self.minutes(key)
                table, run = self.runs[key]
                ordered[key] = Job(table, run, why, minutes, guessed)
        return list(ordered.values())

    def _in_order(self) -> Iterator[tuple[tuple, str]]:
        for key in self.missing:
            looked_at = "gallery" in key[1].split(",") or self.runs[key][0] in GALLERY
            if looked_at:
                yield key, "gallery"
        for _, verdict, keys in sorted(self._gains(), key=lambda gain: -gain[0]):
            for key in keys:
                yield key, f"{verdict.claim.id} ({verdict.verdict})"
        for key in self.missing:
            yield key, "missing cell"

    # --- how long ---------------------------------------------------------------------

    def _measured_seconds(self) -> dict[tuple[str, str], float]:
        """The longest run of each setting; of this make of device where there is one,
        else of the others, times what this make takes of their time.

        The longest, since the seconds of a resumed run are those after its resume.
        """
        found: dict[tuple[str, str], dict[bool, float]] = {}
        for row in self.rows:
            times = found.setdefault((row.experiment, row.setting), {})
            ours = row.make == self.make
            times[ours] = max(times.get(ours, 0), row.seconds)
        both = [t[True] / t[False] for t in found.values() if len(t) == 2 and t[False]]
        slower = statistics.median(both) if both else 1.0
        return {
            key: times[True] if True in times else slower * times[False]
            for key, times in found.items()
        }

    def minutes(self, key: tuple[str, str, int]) -> tuple[float, bool]:
        """Minutes of a run, and whether they are guessed."""
        known = self._seconds.get(key[:2])
        if known is not None:
            return known / 60, False
        family = key[0].split("-")[0]
        for near in (
            [s for (e, _), s in self._seconds.items() if e == key[0]],
            [s for (e, _), s in self._seconds.items() if e.split("-")[0] == family],
            [*self._seconds.values()],
        ):
            if near:
                return max(near) / 60, True
        return 1.0, True

    # --- what decides a claim ---------------------------------------------------------

    def _gains(self) -> Iterator[tuple[float, Verdict, list[tuple]]]:
        """For each claim that is not decided: gain a minute and the runs it takes."""
        for verdict in self.verdicts:
            if verdict.verdict not in OPEN:
                continue
            best, chosen, keys, minutes = 0.0, [], [], 0.0
            now = self._chance(verdict, 0)
            for count, seed_keys in enumerate(self.next_seeds(verdict), start=1):
                keys = [*keys, *seed_keys]
                minutes += sum(self.minutes(key)[0] for key in seed_keys)
                gain = (self._chance(verdict, count) - now) / max(minutes, 1e-3)
                if gain > best or not chosen:
                    best, chosen = max(gain, 0.0), keys
            if chosen:
                yield best, verdict, chosen

    def next_seeds(self, verdict: Verdict) -> Iterator[list[tuple]]:
        """Missing runs that add one more pair of seeds to every effect, seed by seed.

        A seed counts only if all its runs are, or will be, on this make of device.
        """
        experiment, settings = verdict.claim.experiment, _settings(verdict)
        seeds = sorted({key[2] for key in self.runs if key[0] == experiment})
        added = 0
        for seed in seeds:
            keys = [(experiment, setting, seed) for setting in settings]
            lacking = [key for key in keys if key in self.missing]
            done = (key in self.here or key in self.missing for key in keys)
            if lacking and all(done) and added < AHEAD:
                added += 1
                yield lacking

    def stuck(self) -> list[str]:
        """Claims that are not decided and for which no table has another seed."""
        return [
            verdict.claim.id
            for verdict in self.verdicts
            if verdict.verdict in OPEN and next(self.next_seeds(verdict), None) is None
        ]

    def _chance(self, verdict: Verdict, more: int) -> float:
        """That ``more`` seeds show every effect, if each has the paper's size."""
        chance = 1.0
        for measured in verdict.effects or [Measured(e) for e in verdict.claim.effects]:
            if measured.stands == SHOWN:
                continue
            n = measured.estimate.n if measured.estimate else 0
            if n + more < 2:
                return 0.0
            far = _goal(measured)
            chance *= rule.shares(far, self._spread(verdict, measured, far), n + more)[
                0
            ]
        return chance

    def _spread(self, verdict: Verdict, measured: Measured, far: float) -> float:
        """From pair to pair; one pair borrows the usual one of its experiment."""
        if measured.estimate and measured.estimate.n > 1:
            return measured.estimate.spread
        usual = [
            m.estimate.spread
            for v in self.verdicts
            if v.claim.experiment == verdict.claim.experiment
            for m in v.effects
            if m.effect.kind == measured.effect.kind and m.estimate and m.estimate.n > 1
        ]
        return statistics.median(usual) if usual else far / 2


def _settings(verdict: Verdict) -> list[str]:
    """What must run for one more seed of every effect, as the tables name it.

    The control's settings only while they have no row at all.
    """
    settings: dict[str, None] = {}
    for measured in verdict.effects:
        rows = (*measured.left, *measured.right)
        settings |= dict.fromkeys(row.setting for row in rows)
    for effect in verdict.claim.effects if not verdict.effects else ():
        settings |= dict.fromkeys(term.setting for term in effect.terms)
    for control in filter(None, verdict.controls):
        if control.estimate is None:
            settings |= dict.fromkeys(term.setting for term in control.effect.terms)
    return list(settings)


def _goal(measured: Measured) -> float:
    """The size that must be told from none: the paper's, else ours, on either side."""
    effect = measured.effect
    size = effect.size
    if size is None:
        size = measured.estimate.value if measured.estimate else None
    if size is None or (effect.kind == "ratio" and size <= 0):
        return 0.1
    return abs(rule.distance(effect.kind, size, effect.side, effect.bound)) or 1e-6


# --- telling --------------------------------------------------------------------------


def text(planner: Planner, shown: int = 12) -> str:
    """The plan as ``lmlib reproduce --plan`` prints it: the first of each kind."""
    jobs = planner.jobs()
    lines = [f"{'minutes':>8}  run, and what for (~: a guess)"]
    for kind in ("gallery", "claim", "missing cell"):
        part = [job for job in jobs if job.kind == kind]
        for job in part[:shown]:
            begun = ", begun" if job.begun else ""
            lines.append(f"{job.time:>8}  {job.run.name}: {job.why}{begun}")
        if rest := part[shown:]:
            tables = ", ".join(dict.fromkeys(job.table for job in rest))
            lines.append(f"{'':8}  {len(rest)} more, {_hours(rest)}, of {tables}")
    lines.append(f"{len(jobs)} runs, {_hours(jobs)} one after the other")
    if stuck := planner.stuck():
        lines.append(f"no table has another seed for {', '.join(stuck)}")
    return "\n".join(lines)


def _hours(jobs: list[Job]) -> str:
    return f"about {sum(job.minutes for job in jobs) / 60:.1f} h"


# --- doing ----------------------------------------------------------------------------


def uncommitted() -> list[str]:
    """Files outside ``data/`` that differ from the commit; ValueError without git."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "status", "--porcelain", "--"]
    command += [":/", ":(top,exclude)data"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        words = f"{root}: not a git checkout, so rows could not name their commit"
        raise ValueError(words) from None
    return [line[3:] for line in run.stdout.splitlines()]


def this_make() -> str:
    """The make of device that runs here are measured on."""
    return make_of(here()["device"])


def work(
    load_tables: Callable[[], dict],
    hours: float,
    jobs: int = 1,
    say: Callable[[str], None] = print,
) -> int:
    """Do runs in the plan's order for at most ``hours``, ``jobs`` at once.

    Each run has a process of its own. One that would not fit into what is left is not
    begun, except to go on where an earlier process stopped; what still runs at the end
    is stopped, and its training goes on from its checkpoint next time. The plan is made
    anew whenever a run ends. ``load_tables`` must be importable by the new processes.
    Returns the number of runs that failed.

    ValueError if anything but ``data/`` differs from the commit.
    """
    if changed := uncommitted():
        raise ValueError(
            f"{len(changed)} files outside data/ differ from the commit, such as "
            f"{changed[0]}: commit or remove them, so that rows can name their commit"
        )
    tables, make = load_tables(), this_make()
    deadline, tried = time.monotonic() + 3600 * hours, set()
    workers = _Workers(load_tables, say)
    try:
        while (left := deadline - time.monotonic()) > 0:
            workers.collect()
            job = None
            if len(workers.running) < jobs:
                job = _next(Planner(tables, make).jobs(), tried, left)
            if job:
                tried.add(job.key)
                workers.begin(job)
            elif workers.running:
                time.sleep(min(0.2, left))
            else:
                break
    finally:
        workers.stop()
    say(f"{workers.done} runs done, {workers.failed} failed")
    return workers.failed


class _Workers:
    """The processes that do runs, one each."""

    def __init__(self, load_tables: Callable[[], dict], say: Callable[[str], None]):
        self.load_tables, self.say = load_tables, say
        self.running: dict[tuple, tuple] = {}  # key -> job, process, when it began
        self.done = self.failed = 0

    def begin(self, job: Job) -> None:
        spawn = multiprocessing.get_context("spawn")
        process = spawn.Process(target=_do, args=(self.load_tables, *job.key))
        process.start()
        self.running[job.key] = job, process, time.monotonic()
        self.say(f"begin: {job.run.name}: {job.why}, {job.time} min")

    def collect(self) -> None:
        """Count the ones that have ended."""
        for key, (job, process, began) in [*self.running.items()]:
            if process.is_alive():
                continue
            del self.running[key]
            self.failed += process.exitcode not in ENDS
            self.done += process.exitcode == 0
            words = ENDS.get(process.exitcode, "FAILED")
            minutes = (time.monotonic() - began) / 60
            self.say(f"{words}: {job.run.name}, {minutes:.1f} min")

    def stop(self) -> None:
        """End all that still run; their training goes on another time."""
        self.collect()
        for job, process, _ in self.running.values():
            process.terminate()
            process.join()
            self.say(f"stopped: {job.run.name}; it goes on from its checkpoint")


def _next(jobs: list[Job], tried: set, left: float) -> Job | None:
    """The first job that was not tried yet and fits into ``left`` seconds."""
    for job in jobs:
        if job.key not in tried and (60 * job.minutes <= left or job.begun):
            return job
    return None


def _do(load_tables, experiment: str, setting: str, seed: int) -> None:
    """What a process does: one run. It ends with status 1 where that fails."""
    key = experiment, setting, seed
    try:
        runs = [run for table in load_tables().values() for run in table.runs()]
        run = next(r for r in runs if (r.experiment, r.setting, r.seed) == key)
        if not run_missing([run], progress=False):
            sys.exit(TAKEN)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # the others go on; its message is all there is to say
        print(f"lmlib: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)


def threads_of(jobs: int) -> None:
    """Share the processors among ``jobs``, unless the number of threads was chosen."""
    if jobs > 1 and not os.environ.get("OMP_NUM_THREADS"):
        cores = os.cpu_count() or 1
        os.environ["OMP_NUM_THREADS"] = str(max(1, math.floor(cores / jobs)))
