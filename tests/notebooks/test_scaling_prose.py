"""What notebook 62 says on spending hours is what the rule and the rows say."""

import pytest
from prose import printed, words

from lmcourse.evidence.effects import shares
from lmcourse.evidence.results import read_rows


def test_five_pairs_show_it_in_six_of_seven_cases():
    chances = {n: shares(1.5, 1.0, n)[0] for n in (3, 5, 10)}
    assert chances[3] == pytest.approx(1 / 2, abs=0.05)
    assert chances[5] == pytest.approx(6 / 7, abs=0.02)
    assert chances[10] > 0.99
    text = words("62")
    assert "three pairs show it about every other time, five in six of seven" in text
    assert f"5 pairs: {100 * chances[5]:.0f} %" in printed("62")


def test_a_longer_training_leaves_half_of_the_gain_at_5_percent():
    rows = {
        (r.setting, r.steps): r.value
        for r in read_rows("seqmt-blocks", budget="class")
        if r.metric == "error" and r.seed == 0
    }
    early, late = (
        rows[f"Seq-MT(L{more})@5", steps] - rows[f"Seq-MT(L+T{more})@5", steps]
        for more, steps in (("", 1600), (",long", 6400))
    )
    assert late / early == pytest.approx(0.5, abs=0.1)
    assert "a longer training leaves half of it" in printed("62")
