"""Seq-MT at the paper's sizes: small trainings of each gallery."""

import pytest

from lmcourse.experiments.seqmt_galleries import PROBLEMS

SETTING = "Seq-MT(L+T+C)@20"
pytestmark = pytest.mark.usefixtures("runs_apart")


@pytest.mark.parametrize("name", ("seqmt-hands64", "seqmt-faces64"))
def test_a_gallery_trains_and_is_measured(name):
    problem = PROBLEMS[name]
    found = problem.run(SETTING, 0)
    assert {*problem.metrics(SETTING)} < {*found}
    assert found["extra"]["size"] == 64 and found["extra"]["mixed"]
    assert 0 < found["error"] < 1000
    assert 0 < found["extra"]["n_labelled"] < found["extra"]["n_train"]


def test_faces_in_the_wild_train_at_the_size_of_predict():
    problem = PROBLEMS["seqmt-wild80"]
    found = problem.run("RCN+(L)@100", 0)
    assert found["extra"]["size"] == 80 and not found["extra"]["mixed"]
    assert 0 < found["error"] < 1000


def test_photographs_are_measured_and_never_kept():
    problem = PROBLEMS["seqmt-300w64"]
    assert problem.config("RCN+").size == 64
    assert problem.kept == ()
    tested, trained = problem.tests[""][1], problem.train_on[1]
    assert not {*tested} & {*trained}
