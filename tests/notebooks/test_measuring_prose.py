"""What notebook 03 says in words is what its cells print and what the engine does."""

import re

import pytest
from prose import printed, words

from lmcourse.evidence.claims import VERDICTS


@pytest.fixture(scope="module")
def said():
    return words("03")


@pytest.fixture(scope="module")
def out():
    return printed("03")


def number(pattern: str, text: str) -> float:
    return float(re.search(pattern, text)[1])


def test_every_verdict_of_the_engine_is_joined_to_the_rule(said):
    table = said.split("a claim's verdict")[1].split("Errors are compared")[0]
    rows = re.findall(r"\| (\S+) \| \*([a-z ]+)\* \|", table)
    assert rows == list(zip(("shown", "refuted", "open", "–"), VERDICTS, strict=True))


def test_predictions_are_answered_in_order(said):
    asked = re.findall(r"\*\*Prediction (\d)\.", said)
    answered = re.findall(r"\*\*Answer (\d):", said)
    assert asked == answered == list("123456")
    places = [said.index(f"**Prediction {n}.") for n in asked]
    answers = [said.index(f"**Answer {n}:") for n in asked]
    assert sorted(places + answers) == [
        place for pair in zip(places, answers, strict=True) for place in pair
    ]


def test_four_lessons_are_promised_and_marked(said):
    assert "**four lessons**" in said
    begins = re.findall(r"\*\*Lesson (\d) of 4 begins here", said)
    assert begins == list("1234")


def test_answer_1_is_what_the_table_shows(out):
    seqmt = number(r"Seq-MT \(L\+T\) 5\.74 eye centres (\S+)", out)
    dve = number(r"DVE SmallNet-64D 5\.75 outer corners (\S+)", out)
    assert dve - seqmt > 2  # "more than two points apart"


def test_squares_without_crosses_are_missed_most(said, out):
    each = re.search(r"each square: (.*?) px -?-? ?(?:$|\D)", out + " ")[0]
    errors = [float(e) for e in re.findall(r"(\d\.\d) px", each)][:5]
    assert errors == sorted(errors, reverse=True)
    assert f"is missed by {errors[0]} px and the last by {errors[-1]}" in said


def test_luck_on_ibugs_faces(said, out):
    clear = number(r"on 135 faces, paired: (\S+) points", out)
    assert 0.25 < clear < 0.5
    assert "even a quarter of a point is" in said


def test_the_paired_interval_is_half_as_long(said, out):
    def length(name):
        pattern = rf"{name} -?\S+ % 95 % interval (-?\S+) to (-?\S+)"
        low, high = map(float, re.search(pattern, out).groups())
        return high - low

    paired = length("A - B, face by face")
    assert 0.4 < paired / length(r"\bA") < 0.65
    assert 0.4 < paired / length(r"\bB") < 0.65


def test_three_seeds_show_what_five_leave_open(said, out):
    low, high = map(float, re.search(r"3 seeds: .*?\[(\S+), (\S+)\]", out).groups())
    assert high < 0
    low, high = map(float, re.search(r"5 seeds: t.*?\[(\S+), (\S+)\]", out).groups())
    assert low < 0 < high
    last = number(r"seed 4: .*?A - B (\S+)", out)
    others = [number(rf"seed {n}: .*?A - B (\S+)", out) for n in range(4)]
    assert last > 0 > max(others)  # "because the last one disagrees"


def test_looking_after_every_seed_finds_three_times_as_much(said, out):
    found = number(r"until it is shown: (\d+)%", out)
    assert 2.6 < found / 5 < 3.4 and "three times as often" in said


def test_the_baselines_mean_is_too_low_by_what_is_said(said, out):
    gap = number(r"Fully Convolutional DFA 60\.8 63\.1 (-\S+)", out)
    assert f"its printed mean is {-gap} points too low" in said
