"""Exercises say how hard they are, how long they take, and what a small call gives."""

import pytest

from lmcourse import exercises

OF = ("shapes", "heatmaps", "warps", "measuring", "seqmt_method", "seqmt_training")
OF += ("seqmt_ablations", "seqmt_visualisation", "lmdis_method", "lmdis_training")
OF += ("lmdis_ablations", "lmdis_visualisation", "dve_method", "dve_training")
OF += ("dve_ablations", "dve_visualisation")


def registered():
    with pytest.raises(ValueError, match="no exercise"):
        exercises.find("nothing")  # reads all files
    return exercises.EXERCISES.values()


@pytest.mark.parametrize("file", OF)
def test_every_exercise_of_a_file_says_level_minutes_and_what_to_expect(file):
    tasks = [t for t in registered() if t.examine.__module__.endswith(f".{file}")]
    assert tasks
    for task in tasks:
        assert f"{task.level}, about {task.minutes} minutes" in task.about()
        assert "expected: " in task.about(), task.name


def test_examples_are_what_the_solution_gives_too():
    tasks = [task for task in registered() if task.example is not None]
    assert len(tasks) >= 15
    for task in tasks:
        given = task.example() if callable(task.example) else task.example
        exercises._compare(task.solution(*given), task.library(*given), task.name)
        brief = exercises._brief
        assert brief(task.solution(*given)) == brief(task.library(*given)), task.name
        shown = " ".join(task.about().split())
        assert shown.endswith(f"is {brief(task.library(*given))}")
