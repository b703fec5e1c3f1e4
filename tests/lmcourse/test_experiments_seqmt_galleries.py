"""Seq-MT at the paper's 64 pixels: small trainings of each gallery."""

import pytest

from lmcourse.experiments.seqmt_galleries import PROBLEMS

SETTING = "Seq-MT(L+T+C)@20"
pytestmark = pytest.mark.usefixtures("runs_apart")


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_gallery_trains_and_is_measured(name):
    problem = PROBLEMS[name]
    found = problem.run(SETTING, 0)
    assert {*problem.metrics(SETTING)} < {*found}
    assert found["extra"]["size"] == 64 and found["extra"]["mixed"]
    assert 0 < found["error"] < 1000
    assert 0 < found["extra"]["n_labelled"] < found["extra"]["n_train"]
