"""The plan of runs: its order, its minutes, and nights without anybody."""

import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lmcourse import commands
from lmcourse.evidence import plan, results
from lmcourse.evidence.claims import judge_all
from lmcourse.evidence.plan import Planner, text, work
from lmcourse.evidence.register import load_claims
from lmcourse.evidence.results import (
    Row,
    Run,
    Table,
    append_rows,
    missing_runs,
    read_rows,
    run_file,
)
from lmlib import cli

HERE = "cpu (test, 1 threads)"
MAKE = "cpu (test)"

TOML = """
[[claim]]
id = "{name}"
paper = "toy"
statement = "It works."
source = "table 1"
experiment = "toy"
metrics = {{ error = "px" }}
effects = [
  {{ says = "with / without", compare = "{a}:error / {b}:error < 1", paper = [4, 5] }},
]
[claim.control]
replace = {{ {a} = "broken" }}
because = "broken"
"""


def row(setting, seed, value, seconds=60.0, device=HERE, experiment="toy", steps=10):
    about = {"budget": "class"}
    return Row(experiment, setting, seed, "error", value, steps, device, {}, None,
               seconds, about)  # fmt: skip


def runs_of(experiment, settings):
    return [
        Run(experiment, setting, seed, dict, ("error",))
        for setting, seeds in settings.items()
        for seed in range(seeds)
    ]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """Tables of toys; two claims, one cheap to decide and one dear."""
    monkeypatch.setenv("LMLIB_ROOT", str(tmp_path))
    monkeypatch.setenv("LMLIB_BUDGET", "class")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "claims.toml").write_text(
        TOML.format(name="dear", a="slow", b="none")
        + TOML.format(name="cheap", a="quick", b="none")
    )
    toys = {"none": 6, "slow": 6, "quick": 6, "broken": 1, "other": 2}
    listed = {
        "toys": runs_of("toy", toys),
        "pictures": runs_of("toy-pictures", {"K10": 1, "K10,gallery": 1}),
        "lmdis-faces64": runs_of("toy-faces", {"K10": 1}),
    }
    return {
        name: Table(name, name, lambda runs=runs: runs) for name, runs in listed.items()
    }


def measured():
    """Two seeds of each, apart enough to be undecided; slow takes an hour."""
    found = [row("broken", 0, 5.0)]
    for setting, values, seconds in (
        ("none", (5.0, 5.5), 60),
        ("quick", (3.9, 4.9), 120),
        ("slow", (3.9, 4.9), 3600),
    ):
        found += [row(setting, seed, v, seconds) for seed, v in enumerate(values)]
    return found


def planner(tables):
    return Planner(tables, MAKE)


# --- the order ------------------------------------------------------------------------


def test_gallery_then_claims_by_gain_a_minute_then_missing_cells(course):
    append_rows(measured())
    jobs = planner(course).jobs()
    whys = list(dict.fromkeys(job.why for job in jobs))
    assert whys == ["gallery", "cheap (undecided)", "dear (undecided)", "missing cell"]
    galleries = {job.run.name for job in jobs if job.why == "gallery"}
    assert galleries == {"toy-pictures/K10,gallery/seed 0", "toy-faces/K10/seed 0"}
    cheap = [job.run for job in jobs if job.why.startswith("cheap")]
    assert {run.setting for run in cheap} == {"none", "quick"}
    assert min(run.seed for run in cheap) == 2  # the next seed, of both settings
    dear = {job.run.setting for job in jobs if job.why.startswith("dear")}
    assert dear == {"slow"}  # its other runs stand above already
    assert len(jobs) == len({job.key for job in jobs})
    every = [run for table in course.values() for run in table.runs()]
    assert len(jobs) == len(missing_runs(every))


def test_a_claim_that_is_decided_asks_for_nothing(course):
    append_rows(measured())
    append_rows([row("quick", 0, 1.0), row("quick", 1, 1.1)])  # measured again
    assert {v.claim.id: v.verdict for v in judge_all()}["cheap"] == "reproduced"
    jobs = planner(course).jobs()
    assert not [job for job in jobs if "cheap" in job.why]


def test_as_many_seeds_as_are_worth_most_a_minute(course):
    """One seed is not worth the most if two more decide it nearly surely."""
    append_rows(measured())
    plans = planner(course)
    found = {v.claim.id: (gain, keys) for gain, v, keys in plans._gains()}
    cheap = next(v for v in plans.verdicts if v.claim.id == "cheap")
    chances = [plans._chance(cheap, more) for more in range(5)]
    assert chances == sorted(chances) and 0 < chances[0] < chances[4] < 1
    rates = [(chances[k] - chances[0]) / (3 * k) for k in range(1, 5)]  # 3 min a seed
    gain, keys = found["cheap"]
    assert gain == pytest.approx(max(rates))
    assert len(keys) == 2 * (1 + rates.index(max(rates)))
    assert found["dear"][0] < gain / 10


def test_rows_that_lack_altogether_are_planned_the_control_too(course):
    append_rows([r for r in measured() if r.setting not in ("quick", "broken")])
    jobs = [j for j in planner(course).jobs() if j.why == "cheap (not tested)"]
    first = [j.key for j in jobs if j.run.seed < 2]  # none has seeds 0 and 1
    assert first == [("toy", "quick", 0), ("toy", "quick", 1)]
    append_rows([row("quick", seed, 1.0 + seed / 10) for seed in (0, 1)])
    assert {v.claim.id: v.verdict for v in judge_all()}["cheap"] == "not tested"
    jobs = [job.key for job in planner(course).jobs() if job.kind == "claim"]
    assert ("toy", "broken", 0) in jobs


def test_seeds_of_another_make_of_device_are_not_half_used(course):
    """``none`` has seeds 2 and 3 elsewhere: here only 4 and 5 can become pairs."""
    append_rows([*measured(), *(row("none", s, 5.2, device="cpu (x)") for s in (2, 3))])
    jobs = [job for job in planner(course).jobs() if job.why.startswith("cheap")]
    assert {job.run.seed for job in jobs} <= {4, 5}


def test_the_length_that_counts_is_planned(course):
    """Of a claim that rests on long runs, more of the long ones."""
    (table,) = [course["toys"]]
    runs = table.runs() + runs_of("toy", {"none,long": 3, "quick,long": 3})
    course["toys"] = replace(table, runs=lambda: runs)
    append_rows(measured())
    names = ("none", "quick", "broken")
    append_rows([row(f"{n},long", 0, 5.0, steps=40) for n in names])
    jobs = [job for job in planner(course).jobs() if job.why.startswith("cheap")]
    assert {job.run.setting for job in jobs} == {"none,long", "quick,long"}
    assert {job.run.seed for job in jobs} == {1, 2}


def test_claims_without_further_seeds_are_named(course):
    six = ("none", "quick", "slow")
    append_rows([row(s, seed, 5 + (seed % 2)) for s in six for seed in range(6)])
    append_rows([row("broken", 0, 9.0)])
    plans = planner(course)
    assert plans.stuck() == ["dear", "cheap"]
    assert text(plans).endswith("no table has another seed for dear, cheap")


# --- minutes --------------------------------------------------------------------------


def test_minutes_are_the_longest_row_of_this_make_else_a_guess(course):
    append_rows([row("quick", 0, 1, 90), row("quick", 1, 1, 30)])
    append_rows([row("quick", 2, 1, 30, device="cpu (x, 1 threads)")])
    append_rows([row("slow", 0, 1, 600, device="cpu (x, 1 threads)")])
    plans = planner(course)
    assert plans.minutes(("toy", "quick", 3)) == (1.5, False)
    assert plans.minutes(("toy", "slow", 3)) == (30.0, False)  # of a make twice as fast
    assert plans.minutes(("toy", "none", 0)) == (30.0, True)  # the longest of its kind
    assert plans.minutes(("toy-pictures", "K10", 0)) == (30.0, True)  # of its paper
    assert plans.minutes(("other", "K10", 0)) == (30.0, True)


def test_minutes_of_another_make_count_as_they_are_if_nothing_ran_on_both(course):
    append_rows([row("slow", 0, 1, 600, device="cpu (x, 1 threads)")])
    assert planner(course).minutes(("toy", "slow", 3)) == (10.0, False)


def test_without_any_row_there_is_still_a_plan(course):
    plans = planner(course)
    assert {job.guessed for job in plans.jobs()} == {True}
    assert "~1.0  toy-pictures/K10,gallery/seed 0: gallery" in text(plans)


def test_the_list_is_short_and_says_what_it_leaves_out(course):
    append_rows(measured())
    told = text(planner(course), shown=1)
    lines = told.splitlines()
    assert lines[0].split() == [
        "minutes",
        "run,",
        "and",
        "what",
        "for",
        "(~:",
        "a",
        "guess)",
    ]
    assert re.search(r"more, about \d+\.\d h, of toys", told)
    assert lines[-1].startswith(f"{len(planner(course).jobs())} runs, about")
    assert told.count(" more, about ") == 3  # of each kind one is shown


def test_an_unfinished_run_is_marked(course):
    path = run_file("toy-faces", "K10", 0)
    path.parent.mkdir(parents=True)
    path.touch()
    assert "toy-faces/K10/seed 0: gallery, begun" in text(planner(course))


# --- doing it -------------------------------------------------------------------------


def _measure(setting, seed, seconds=0.0, fail=False):
    time.sleep(seconds)
    if fail:
        raise ValueError("this one\nfails")
    return {"error": 5.0 + seed}


class Work:
    """A run's function that another process can load."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __call__(self):
        return _measure(*self.arguments)


def _light():
    """Processes of these tests need not load torch to say where they ran."""
    if multiprocessing.parent_process():
        results.here = lambda: {"device": HERE, "versions": {}, "commit": None}


def quick_tables():
    _light()
    runs = [Run("toy", s, n, Work(s, n), ("error",)) for s in "ab" for n in (0, 1)]
    return {"toys": Table("toys", "", lambda: runs)}


def failing_tables():
    _light()
    runs = [Run("toy", "a", n, Work("a", n, 0.0, n == 0), ("error",)) for n in (0, 1)]
    return {"toys": Table("toys", "", lambda: runs)}


def endless_tables():
    _light()
    runs = [Run("toy", "a", 0, Work("a", 0, 600.0), ("error",))]
    return {"toys": Table("toys", "", lambda: runs)}


@pytest.fixture
def night(course, monkeypatch, tmp_path):
    (tmp_path / "data" / "claims.toml").write_text("")
    monkeypatch.setattr(plan, "uncommitted", lambda: [])
    monkeypatch.setattr(plan, "this_make", lambda: MAKE)
    return []


def test_all_runs_are_done_two_at_once(night):
    assert work(quick_tables, hours=0.1, jobs=2, say=night.append) == 0
    assert {(r.setting, r.seed) for r in read_rows("toy")} == {
        (s, n) for s in "ab" for n in (0, 1)
    }
    assert night[-1] == "4 runs done, 0 failed"
    assert sum(line.startswith("begin: ") for line in night) == 4
    begun = [i for i, line in enumerate(night) if line.startswith("begin: ")]
    assert begun[:2] == [0, 1]  # the second began before the first ended
    assert work(quick_tables, hours=0.1, say=night.append) == 0
    assert night[-1] == "0 runs done, 0 failed"


def test_a_run_that_fails_does_not_stop_the_others(night, capfd):
    assert work(failing_tables, hours=0.1, say=night.append) == 1
    assert [r.seed for r in read_rows("toy")] == [1]
    assert night[-1] == "1 runs done, 1 failed"
    assert any(re.fullmatch(r"FAILED: toy/a/seed 0, .* min", line) for line in night)
    assert "lmlib: error: this one fails" in capfd.readouterr().err


def test_what_still_runs_at_the_end_is_stopped_in_time(night):
    run_file("toy", "a", 0).parent.mkdir(parents=True, exist_ok=True)
    run_file("toy", "a", 0).touch()  # begun: it goes on although it would not fit
    began = time.monotonic()
    assert work(endless_tables, hours=6 / 3600, say=night.append) == 0
    assert time.monotonic() - began < 30
    assert "stopped: toy/a/seed 0; it goes on from its checkpoint" in night
    assert read_rows("toy") == []
    # the lock went with its process: the next one may have the run
    assert work(quick_tables, hours=0.1, say=night.append) == 0
    assert len(read_rows("toy")) == 4


def test_a_run_that_would_not_fit_is_not_begun(night):
    append_rows([row("a", 1, 5.0, seconds=1200)])
    assert work(endless_tables, hours=0.3, say=night.append) == 0
    assert night == ["0 runs done, 0 failed"]


def test_a_shorter_run_further_down_is_begun_instead(night):
    append_rows([row("a", 7, 5.0, seconds=1200), row("b", 7, 5.0, seconds=1)])
    assert work(quick_tables, hours=0.3, say=night.append) == 0
    assert {r.setting for r in read_rows("toy") if r.seed < 2} == {"b"}


def test_a_run_in_the_hands_of_another_process_is_left_to_it(night):
    first = quick_tables()["toys"].runs()[0]
    with results._taken(first, None) as ours:
        assert ours
        assert work(quick_tables, hours=0.1, say=night.append) == 0
    assert any(
        line.startswith("left to another process: toy/a/seed 0") for line in night
    )
    assert night[-1] == "3 runs done, 0 failed"


# --- the command ----------------------------------------------------------------------


def test_the_command_lists_and_works(course, monkeypatch, capsys):
    monkeypatch.setattr(commands, "_tables", lambda: course)
    assert cli.main(["reproduce", "--plan"]) == 0
    assert "toy-pictures/K10,gallery/seed 0: gallery" in capsys.readouterr().out
    told = []
    monkeypatch.setattr(plan, "work", lambda *a: told.append(a) or 0)
    assert cli.main(["reproduce", "--plan", "--hours", "2.5", "--jobs", "3"]) == 0
    assert cli.main(["reproduce", "--hours", "0.5"]) == 0
    assert [arguments[1:] for arguments in told] == [(2.5, 3), (0.5, 1)]
    monkeypatch.setattr(plan, "work", lambda *a: 2)
    assert cli.main(["reproduce", "--plan", "--hours", "1"]) == 1


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "soon"])
def test_hours_are_hours(course, capsys, hours):
    with pytest.raises(SystemExit):
        cli.main(["reproduce", "--plan", "--hours", hours])
    assert "expected hours such as 2.5" in capsys.readouterr().err


def test_a_plan_is_of_all_tables(course, capsys):
    assert cli.main(["reproduce", "toys", "--plan"]) == 2
    assert "leave out the table's name" in capsys.readouterr().err


def test_threads_are_shared_unless_chosen(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    plan.threads_of(1)
    assert os.environ["OMP_NUM_THREADS"] == ""
    plan.threads_of(3)
    assert os.environ["OMP_NUM_THREADS"] == "2"
    plan.threads_of(8)
    assert os.environ["OMP_NUM_THREADS"] == "2"  # chosen before


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    subprocess.run(command, check=True, capture_output=True)


def test_only_from_a_clean_checkout(course, tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    module = checkout / "lmcourse" / "evidence" / "plan.py"
    module.parent.mkdir(parents=True)
    module.write_text("")
    monkeypatch.setattr(plan, "__file__", str(module))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(ValueError, match="not a git checkout"):
        work(quick_tables, 0.1)
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "first")
    (checkout / "data").mkdir()
    (checkout / "data" / "rows.jsonl").write_text("")
    assert plan.uncommitted() == []
    module.write_text("changed = True")
    (checkout / "new.py").write_text("")
    with pytest.raises(ValueError, match=r"2 files outside data/ .*plan\.py: commit"):
        work(quick_tables, 0.1)
    assert read_rows("toy") == []


SHARED = """
import sys
from test_plan import quick_tables
from lmcourse.evidence import plan, results
plan.uncommitted = lambda: []
if __name__ == "__main__":
    plan.work(quick_tables, 0.1)
"""


def test_two_nights_at_once_share_the_work(night, tmp_path):
    script = tmp_path / "shared.py"
    script.write_text(SHARED)
    here = Path(__file__).resolve().parent
    paths = [str(here), str(here.parents[1]), os.environ.get("PYTHONPATH", "")]
    about = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    both = [
        subprocess.Popen([sys.executable, str(script)], env=about) for _ in range(2)
    ]
    assert [process.wait(120) for process in both] == [0, 0]
    path = tmp_path / "data" / "results" / "toy.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted((r["setting"], r["seed"]) for r in found) == [
        (s, n) for s in "ab" for n in (0, 1)
    ]


def test_every_effect_of_a_claim_can_have_three_seeds():
    """Less gives no interval worth the name. The support vector machines of
    lmdis-attributes read one network: more seeds of theirs would measure nothing."""
    tables = commands._tables().values()
    seeds: dict[tuple[str, str], set[int]] = {}
    for run in (run for table in tables for run in table.runs()):
        seeds.setdefault((run.experiment, run.setting), set()).add(run.seed)
    wanted = {
        (claim.experiment, term.setting)
        for claim in load_claims()
        for effect in claim.effects
        for term in effect.terms
    }
    few = sorted(key for key in wanted if len(seeds.get(key, ())) < 3)
    assert few == [("lmdis-attributes", s) for s in ("both", "coordinates", "features")]
