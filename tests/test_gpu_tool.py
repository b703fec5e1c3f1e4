"""``make gpu`` spends its minutes well: tried on a CPU, with the quick budget."""

import json

import pytest
import torch

from lmcourse.evidence.results import Row
from tools import gpu
from tools.gpu import Stage, main, table, work


def stage(name: str, code: str, share: float = 1.0) -> Stage:
    return Stage(name, name, ("-c", code), share)


def test_stages_end_as_they_ended_and_finished_ones_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "GRACE", 0.5)
    wait = "import time; print('begun', flush=True); time.sleep(60)"
    stages = [
        stage("good", "print('fine')"),
        stage("bad", "raise SystemExit(3)"),
        stage("long", wait, 0.5),
    ]
    found = work(tmp_path, 0.2, stages)
    assert [one.ended for one in found] == ["done", "failed", "stopped"]
    assert (tmp_path / "log" / "good.txt").read_text() == "fine\n"
    assert (tmp_path / "log" / "long.txt").read_text().startswith("begun")
    again = work(tmp_path, 0.2, [*stages[:2], stage("long", "print('went on')")])
    assert [one.ended for one in again] == ["done", "failed", "done"]
    assert (tmp_path / "log" / "good.txt").read_text() == "fine\n", "not run twice"
    assert "went on" in (tmp_path / "log" / "long.txt").read_text()
    said = json.loads((tmp_path / "summary.json").read_text())
    assert [one["name"] for one in said] == ["good", "bad", "long"]


def test_no_stage_begins_when_the_time_is_over(tmp_path):
    found = work(tmp_path, 0.0, [stage("late", "print('here')")])
    assert [one.ended for one in found] == ["no time"]
    assert not (tmp_path / "log" / "late.txt").exists()


def test_a_broken_summary_is_named(tmp_path):
    (tmp_path / "summary.json").write_text("[{]")
    with pytest.raises(ValueError, match=r"summary\.json: not a summary"):
        work(tmp_path, 0.1, [])


def test_every_table_named_exists_with_what_is_asked_of_it():
    from lmcourse.experiments import TABLES

    for one in gpu.STAGES:
        if one.command[:3] == table()[:3]:
            chosen = TABLES[one.command[3]]
            if "--only" in one.command:
                wanted = one.command[one.command.index("--only") + 1]
                assert wanted in {run.setting for run in chosen.runs()}
            if "--stack" in one.command:
                assert chosen.together is not None


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_nothing_is_begun(tmp_path, capsys):
    assert main([str(tmp_path / "out")]) == 2
    assert "no GPU" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_rows_of_a_real_table_land_in_the_folder(tmp_path, monkeypatch):
    """A short table under the quick budget, and nothing in the checkout."""
    monkeypatch.setenv("LMLIB_BUDGET", "quick")
    from lmcourse.experiments import TABLES

    settings = list(dict.fromkeys(run.setting for run in TABLES["seqmt-shapes"].runs()))
    runs = Stage("shapes", "", table("seqmt-shapes", "--only", settings[0]), 1.0)
    before = {path: path.stat().st_mtime for path in gpu.ROOT.glob("data/results/*")}
    found = work(tmp_path, 5.0, [runs])
    log = (tmp_path / "log" / "shapes.txt").read_text()
    assert found[0].ended == "done", log
    lines = (tmp_path / "data/results/seqmt-shapes.jsonl").read_text().splitlines()
    rows = [Row(**json.loads(line)) for line in lines]
    assert rows and {row.setting for row in rows} == {settings[0]}
    assert {row.budget for row in rows} == {"quick"}
    after = {path: path.stat().st_mtime for path in gpu.ROOT.glob("data/results/*")}
    assert after == before
