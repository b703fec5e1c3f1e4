"""Runs that are killed and begun again: a short ``make torture``, and that it bites."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tools import torture

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SIGKILL and fork are POSIX")


def test_killed_runs_end_as_those_nobody_killed():
    kills = int(os.environ.get("LMLIB_TORTURE_KILLS", 8))
    command = [sys.executable, "-m", "tools.torture", "--json", "--kills", str(kills)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(done.stdout)
    assert [result["job"] for result in results] == [*torture.JOBS]
    assert sum(result["kills"] for result in results) == kills
    assert all(result["runs"] >= 1 and not result["faults"] for result in results)


class Forgetful:
    """A job that counts how often it was begun: no two ends are alike."""

    def run(self, folder):
        begun = len([*folder.iterdir()])
        (folder / f"{begun}").touch()

    def made(self, folder):
        return {"begun": len([*folder.iterdir()])}


def test_a_run_that_does_not_end_as_before_is_a_fault(tmp_path, monkeypatch):
    """Killed for good after it has begun, or not at all: never the same."""
    statuses = iter([0, None, 0, None, None, 0])

    def ended(child, after=None):
        os.waitpid(child, 0)
        return next(statuses)

    monkeypatch.setattr(torture, "ended", ended)
    monkeypatch.setitem(torture.JOBS, "forgetful", Forgetful)
    found = torture.torture("forgetful", 3, 0, tmp_path)
    assert (found["kills"], found["runs"], len(found["faults"])) == (3, 2, 2)
    assert "1 of 1 differ: ['begun']" in found["faults"][0]


def test_kills_and_ends_are_told_apart(tmp_path):
    def sleep(folder):
        torch.tensor([1.0])
        (folder / "begun").touch()
        while True:
            pass

    assert torture.ended(torture.forked(sleep, tmp_path), 0.2) is None
    assert torture.ended(torture.forked(lambda folder: None, tmp_path)) == 0
    assert torture.ended(torture.forked(lambda folder: 1 / 0, tmp_path)) == 1
    assert torture.different({"a": 1, "b": 2}, {"a": 1, "b": 2}) == ""
    assert "1 of 1 differ: ['b']" in torture.different({"a": 1, "b": 2}, {"a": 1})
