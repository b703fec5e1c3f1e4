"""Pictures of the notebook on measuring say what the rule says."""

import pytest
import torch
from matplotlib.patches import Rectangle

from lmcourse.evidence.effects import LEVEL, REFUTED, SHOWN, experiment, shares
from lmcourse.measuring import LOOK, NEAR, draw_chain, draw_verdict
from lmcourse.plots import figure
from lmscenes import Blocks


def drawn(**values):
    fig, _ = figure(9, 3)
    fig.clear()
    known = {"effect": -0.4, "spread": 0.4, "seeds": 3, "luck": 0}
    return fig, draw_verdict(fig, **known | values)


def words(ax):
    return [text.get_text() for text in ax.texts]


def test_one_seed_has_no_bar():
    fig, found = drawn(seeds=1)
    middle = fig.axes[1]
    assert words(middle) == ["no interval"]
    assert not middle.patches
    assert found == {"shown %": 0, "open %": 100, "refuted %": 0}


def test_the_bar_is_the_interval_and_its_word_the_verdict():
    for effect in (-0.4, 0.0, 0.5):
        fig, _ = drawn(effect=effect, seeds=8)
        one = experiment(effect, 0.4, 8, shared=1.0, mean=8.0, seed=0)
        (bar,) = fig.axes[1].patches
        ends = bar.get_x(), bar.get_x() + bar.get_width()
        assert ends == pytest.approx((one.estimate.low, one.estimate.high))
        assert fig.axes[1].get_title() == LOOK[one.stands][0]


def test_bands_are_named_and_the_frame_stands_at_the_seeds():
    fig, found = drawn(effect=0.0, seeds=8)
    right = fig.axes[2]
    assert sorted(words(right)) == ["open", "refuted", "shown"]
    (frame,) = (p for p in right.patches if isinstance(p, Rectangle))
    assert (frame.get_x(), frame.get_width()) == (7.5, 1)
    wrong = 100 * (1 - LEVEL) / 2
    assert found["shown %"] == pytest.approx(wrong, abs=0.05)
    fig, found = drawn(seeds=8)
    assert sorted(words(fig.axes[2])) == ["open", "shown"]
    assert found["shown %"] == pytest.approx(100 * shares(0.4, 0.4, 8)[0], abs=0.05)


def test_verdicts_differ_by_more_than_colour():
    assert LOOK[SHOWN][2] != LOOK[REFUTED][2]
    assert len({word for word, _, _ in LOOK.values()}) == 3


@pytest.mark.parametrize("number", range(0, 1500, 100))
def test_a_chain_is_whole_in_its_picture(number):
    fig, ax = figure(3, 3)
    truth = Blocks(60).batch([number])["landmarks"][0]
    draw_chain(ax, number, truth + 0.05, crosses=torch.zeros(10, 2))
    x, y = ax.get_xlim(), ax.get_ylim()
    assert x[1] - x[0] == pytest.approx(2 * NEAR) and y[0] > y[1]
    assert (truth[:, 0] > x[0]).all() and (truth[:, 0] < x[1]).all()
    assert (truth[:, 1] > y[1]).all() and (truth[:, 1] < y[0]).all()
    for line, centre in zip(ax.lines[:5], truth, strict=True):  # lines start there
        assert line.get_xydata()[0] == pytest.approx(centre.tolist(), abs=1e-6)
