"""`check` never raises, names what is wrong, and lets the notebook go on."""

import inspect

import pytest
import torch

from lmcourse import exercises, plots
from lmcourse.exercises import check, examine, exercise, find, solution


def library_centre(maps, beta=1.0):
    """The library's version: (B, H) to (B,)."""
    return (beta * maps).softmax(-1) @ torch.linspace(-1, 1, maps.shape[-1])


def solution_centre(maps, beta=1.0):
    weights = torch.softmax(beta * maps, dim=-1)
    positions = torch.linspace(-1, 1, maps.shape[-1])
    return (weights * positions).sum(-1)


@pytest.fixture(autouse=True)
def centre(monkeypatch):
    with pytest.raises(ValueError, match="no exercise"):
        find("nothing")  # reads the course's own exercises before they are set aside
    monkeypatch.setattr(exercises, "EXERCISES", dict(exercises.EXERCISES))

    @exercise("centre", solution=solution_centre, library=library_centre)
    def examine_centre(fn):
        maps = torch.tensor([[0.0, 1.0, 5.0], [2.0, 2.0, 2.0]], requires_grad=True)
        answer = fn(maps, beta=2.0)
        if not torch.allclose(answer, library_centre(maps, 2.0), atol=1e-5):
            return "on [0, 1, 5] with beta 2 the centre lies near +1"
        answer.sum().backward()
        if maps.grad is None:
            return "no gradient reaches the maps"

    return find("centre")


@pytest.fixture
def shown(monkeypatch):
    seen = []
    monkeypatch.setattr(plots, "display", lambda bundle, **_: seen.append(bundle))
    return seen


def test_the_right_answer_is_returned_and_used(capsys):
    def mine(maps, beta=1.0):
        return library_centre(maps, beta)

    assert check("centre", mine) is mine
    assert capsys.readouterr().out.startswith("PASS  centre")


def raising(maps, beta=1.0):
    """Documented, and not done."""
    raise NotImplementedError  # your code


def dots(maps, beta=1.0):
    # maps (B, H) -> (B,)
    ...


def passing(maps, beta=1.0):
    pass


@pytest.mark.parametrize(
    "stub", [None, ..., raising, dots, passing, lambda m, beta: ...]
)
def test_a_stub_is_not_done_yet(stub, capsys):
    assert check("centre", stub) is library_centre
    text = capsys.readouterr().out
    assert "TO DO centre: not done yet" in text and "HINT" not in text
    assert "lmlib's version" in text


def test_a_forgotten_return_is_told_as_such(capsys):
    def mine(maps, beta=1.0):
        centre = library_centre(maps, beta)  # noqa: F841

    assert check("centre", mine) is library_centre
    text = capsys.readouterr().out
    assert text.startswith("HINT") and "begins with `return`" in text


def twice(x):
    return 2 * x


@pytest.mark.parametrize("example", [(torch.tensor([1.0, 0.25]),), None])
def test_a_stub_is_told_what_to_expect(example, capsys):
    facts = {"level": "easy", "minutes": 5, "example": example}

    @exercise("twice", solution=twice, library=twice, **facts)
    def examine_twice(fn):
        return None if fn(torch.ones(2))[0] == 2 else "no"

    check("twice", ...)
    text = capsys.readouterr().out
    assert "easy, about 5 minutes" in text
    assert ("expected: twice([1, 0.25]) is [2, 0.5]" in text) == bool(example)
    check("twice", lambda x: 3 * x)  # who is on the way needs the hint alone
    assert "minutes" not in capsys.readouterr().out


@pytest.mark.parametrize("facts", [{"level": "easy"}, {"minutes": 5}])
def test_minutes_and_level_come_together(facts):
    with pytest.raises(ValueError, match="both minutes and a level"):
        exercise("twice", solution=twice, library=twice, **facts)


def test_unknown_levels_are_errors():
    with pytest.raises(ValueError, match="easy, medium, hard"):
        exercise("twice", solution=twice, library=twice, level="stiff", minutes=5)


def test_long_hints_break_between_words(capsys):
    @exercise("twice", solution=twice, library=twice)
    def examine_twice(fn):
        return "one word after another " * 12

    check("twice", twice)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 88 < sum(map(len, lines))
    assert all(
        line.endswith(("word", "one", "another", "after")) for line in lines[:-1]
    )


def add_in_place(maps, beta=1.0):
    maps.data *= beta
    return library_centre(maps)


def wrong_name(maps, beta=1.0):
    return library_centre(mapz, beta)  # noqa: F821


WRONG = {
    "the examination's own hint": (
        lambda maps, beta=1.0: library_centre(maps),
        "lies near +1",
    ),
    "no gradient": (
        lambda maps, beta=1.0: library_centre(maps, beta).detach().requires_grad_(),
        "no gradient reaches",
    ),
    "cut off": (
        lambda maps, beta=1.0: library_centre(maps, beta).detach(),
        "no gradient flows back from the result",
    ),
    "an exception": (wrong_name, "NameError: name 'mapz' is not defined (line "),
    "shape": (
        lambda maps, beta=1.0: library_centre(maps, beta)[:, None],
        "a tensor of shape (2, 1), expected a tensor of shape (2,)",
    ),
    "dtype": (
        lambda maps, beta=1.0: library_centre(maps, beta).double(),
        "dtype torch.float64, expected torch.float32",
    ),
    "kind": (lambda maps, beta=1.0: 0.5, "a float, expected a tensor of shape (2,)"),
    "list": (
        lambda maps, beta=1.0: library_centre(maps, beta).tolist(),
        "a list of length 2, expected a tensor",
    ),
    "signature": (lambda maps: maps, "its arguments are (maps), expected (maps, beta="),
    "not a function": (7, "expected a function, got an int"),
    "in place": (add_in_place, "changes its input in place"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_get_a_concrete_hint(name, capsys):
    function, hint = WRONG[name]
    assert check("centre", function) is library_centre
    text = capsys.readouterr().out
    assert text.startswith("HINT  centre: ") and hint in text


def test_an_exception_names_the_students_own_line(capsys):
    check("centre", wrong_name)
    first = inspect.getsourcelines(wrong_name)[1]
    expected = f"(line {first + 1}: `return library_centre(mapz, beta)"
    assert expected in " ".join(capsys.readouterr().out.split())


def test_an_exception_below_the_students_code_names_the_students_line(capsys):
    def mine(maps, beta=1.0):
        return torch.linalg.inv(maps)

    check("centre", mine)
    assert "torch.linalg.inv(maps)`" in capsys.readouterr().out


def test_a_result_the_examination_cannot_handle_is_a_hint():
    @exercise("odd", solution=lambda: "x", library=lambda: "x")
    def examine_odd(fn):
        return fn() + 1  # TypeError for any string

    hint = examine(find("odd"), lambda: "y")
    assert "could not be examined: TypeError" in hint


def test_structures_are_compared_inside():
    def library(x):
        return {"a": (x, 1.0), "b": x > 0}

    @exercise("nested", solution=library, library=library)
    def examine_nested(fn):
        fn(torch.zeros(3))

    task = find("nested")
    assert examine(task, library) is None
    hints = [
        examine(task, lambda x: {"a": (x, 1.0)}),
        examine(task, lambda x: {"a": (x[:2], 1.0), "b": x > 0}),
        examine(task, lambda x: {"a": (x, "1"), "b": x > 0}),
        examine(task, lambda x: {"a": (x, torch.tensor(1.0)), "b": x}),
    ]
    assert "['a'], expected a dict of ['a', 'b']" in hints[0]
    assert "result['a'][0] is a tensor of shape (2,)" in hints[1]
    assert "result['a'][1] is a str, expected a number" in hints[2]
    assert "result['b'] has dtype torch.float32, expected torch.bool" in hints[3]


def test_generators_given_to_student_and_library_start_alike():
    def library(n, generator):
        return torch.rand(n, generator=generator)

    @exercise("random", solution=library, library=library)
    def examine_random(fn):
        generator = torch.Generator().manual_seed(5)
        expected = torch.rand(3, generator=torch.Generator().manual_seed(5))
        if not torch.equal(fn(3, generator), expected):
            return "use the generator"

    assert examine(find("random"), library) is None
    assert "use the generator" in examine(find("random"), lambda n, g: torch.rand(n))


def test_solution_shows_its_source_and_passes_the_check(shown, capsys):
    solution("centre")
    assert "weights = torch.softmax" in shown[0]["text/plain"]
    assert shown[0]["text/markdown"].startswith("<details>")
    text = capsys.readouterr().out
    assert "centre" in text and "passes" in text
    assert "PASS" not in text  # which is the student's own


def test_a_wrong_solution_of_ours_fails_loudly(shown):
    exercise("bad", solution=lambda x: x + 1, library=lambda x: x)(
        lambda fn: "off by one" if fn(1) != 1 else None
    )
    with pytest.raises(AssertionError, match="off by one"):
        solution("bad")


def test_unknown_and_doubled_names_are_errors():
    with pytest.raises(ValueError, match="no exercise 'nothing'; there are"):
        check("nothing", None)

    def elsewhere(fn):
        return None

    elsewhere.__module__ = "lmcourse.exercises.elsewhere"
    with pytest.raises(ValueError, match="names are unique"):
        exercise("centre", solution=len, library=len)(elsewhere)


def test_every_exercise_of_the_course_accepts_its_solution_and_its_library():
    for task in exercises.EXERCISES.values():
        assert examine(task, task.solution) is None, task.name
        assert examine(task, task.library) is None, task.name
