"""The forest plot: one line an effect, marks where the numbers are, words beside."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image
from toy_claims import GOOD, ROOT, TOML, register, rows

from lmcourse.evidence import forest as picture
from lmcourse.evidence.claims import judge_all
from lmcourse.evidence.forest import LOOKS, alt, forest, save_forest, show_forest
from lmcourse.evidence.results import append_rows

MORE = TOML.replace("toy-1", "toy-2").replace(
    'real:error / none:error < 1", paper = [2, 4]',
    'real:error - none:error < 0", paper = [2, 4]',
)


def verdicts(folder, values=GOOD, toml=TOML):
    folder.mkdir(exist_ok=True)
    if values:
        append_rows(rows(values), folder)
    return judge_all(register(folder, toml), folder)


def marks(ax, marker):
    """Where markers of a kind stand: (x, y, colour)."""
    return [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]), to_hex(line.get_mec()))
        for line in ax.lines
        if line.get_marker() == marker
    ]


def test_dots_marks_and_bars_stand_at_the_numbers(tmp_path):
    found = verdicts(tmp_path)
    ax = forest(verdicts=found).axes[0]
    accuracy, error = (m.estimate for m in found[0].effects)
    dots = marks(ax, "o")
    assert [y for _, y, _ in dots] == [0, 1]
    # the accuracy is divided by the number that it is held against
    assert [x for x, _, _ in dots] == pytest.approx([accuracy.value / 0.9, error.value])
    assert {colour for *_, colour in dots} == {LOOKS[1][0]}
    assert [x for x, *_ in marks(ax, "|")] == pytest.approx([0.99 / 0.9, 0.5])
    bars = [line for line in ax.lines if line.get_linewidth() == 4]
    assert list(bars[1].get_xdata()) == pytest.approx([error.low, error.high])
    assert ax.get_xscale() == "log"


def test_what_is_claimed_is_shaded(tmp_path):
    ax = forest(verdicts=verdicts(tmp_path)).axes[0]
    left, right = ax.get_xlim()
    sides = [np.ptp(s.get_paths()[0].vertices[:, 0]) for s in ax.collections]
    starts = [s.get_paths()[0].vertices[:, 0].min() for s in ax.collections]
    assert starts == pytest.approx([1, left])  # above the bound, below the bound
    assert sides == pytest.approx([right - 1, 1 - left])


def texts(fig):
    return [label.get_text() for ax in fig.axes for label in ax.get_yticklabels()]


def test_words_name_claims_effects_numbers_and_verdicts(tmp_path):
    said = texts(forest(verdicts=verdicts(tmp_path)))
    assert said[:2] == ["the class is right ÷ 0.9", "with / without"]
    assert said[3].startswith("× 0.26 [0.2")
    # the verdict, and the claim's name on a line of its own below it
    assert said[4:] == ["reproduced\n", "", "\ntoy-1", ""]


@pytest.mark.parametrize(
    ("errors", "stands", "marker"),
    [([5.0, 5.5], -1, "X"), ([3.0, 5.0], 0, "s"), ([1.0, 1.2], 1, "o")],
)
def test_colour_and_shape_both_tell(tmp_path, errors, stands, marker):
    found = verdicts(tmp_path, GOOD | {("real", "error"): errors})
    ax = forest(verdicts=found).axes[0]
    assert (1, LOOKS[stands][0]) in [(y, c) for _, y, c in marks(ax, marker)]
    assert len({look[:2] for look in LOOKS.values()}) == 3


def test_one_seed_is_hollow_and_has_no_bar(tmp_path):
    found = verdicts(tmp_path, {k: v[:1] for k, v in GOOD.items()})
    ax = forest(verdicts=found).axes[0]
    dots = [line for line in ax.lines if line.get_marker() == "s"]
    assert [to_hex(line.get_mfc()) for line in dots] == ["#ffffff"] * 2
    assert not [line for line in ax.lines if line.get_linewidth() == 4]
    assert all(np.isfinite(ax.get_xlim()))


def test_what_is_not_tested_shows_the_paper_alone(tmp_path):
    fig = forest(verdicts=verdicts(tmp_path, None))
    assert not marks(fig.axes[0], "s") and len(marks(fig.axes[0], "|")) == 2
    assert texts(fig)[2:5] == ["–", "–", "not tested\n"]


def test_differences_have_an_axis_of_their_own(tmp_path):
    found = verdicts(tmp_path, toml=TOML + MORE)
    fig = forest(verdicts=found)
    assert [ax.get_xscale() for ax in fig.axes[:2]] == ["log", "linear"]
    linear = fig.axes[1]
    ((x, _, _),) = marks(linear, "o")
    assert x == pytest.approx(found[1].effects[1].estimate.value)


def test_a_setting_held_against_zero_is_not_divided_by_it(tmp_path):
    toml = TOML.replace("real:accuracy > 0.9", "real:accuracy > 0")
    fig = forest(verdicts=verdicts(tmp_path, toml=toml))
    assert [ax.get_xscale() for ax in fig.axes[:2]] == ["log", "linear"]
    ((x, _, _),) = marks(fig.axes[1], "o")
    assert x == pytest.approx(0.994)


def test_far_intervals_end_in_arrows_at_the_edge(tmp_path):
    found = verdicts(tmp_path, GOOD | {("real", "error"): [0.5, 30.0]})
    ax = forest(verdicts=found).axes[0]
    left, right = ax.get_xlim()
    assert right < 50 and marks(ax, "<") and marks(ax, ">")
    assert marks(ax, ">")[0][0] == pytest.approx(right)


def test_claims_come_in_the_order_asked_for(tmp_path):
    found = verdicts(tmp_path, toml=TOML + MORE)
    said = texts(forest("toy", ["toy-2", "toy-1"], found))
    names = [text.strip() for text in said if "toy-" in text]
    assert names == ["toy-2", "toy-1", "toy-2"]  # the last is of the differences
    with pytest.raises(ValueError, match="no claims of a paper called 'tou'"):
        forest("tou", verdicts=found)
    with pytest.raises(
        ValueError, match="unknown claim 'toy-9'; there are toy-1, toy-2"
    ):
        forest("toy", ["toy-9"], found)


def test_in_a_notebook_it_is_one_line_with_alt_text(monkeypatch):
    shown = []
    monkeypatch.setattr(picture, "show", lambda fig, words: shown.append((fig, words)))
    show_forest("seqmt", ["seqmt-5"])
    ((fig, words),) = shown
    assert fig.get_label() == words
    assert "seqmt-5" in words and "paper × 0.49 (1.94 / 3.95), ours × " in words


def test_letters_are_large(tmp_path):
    """It fits a notebook's width as it is, with no letter below 10 points, and long
    labels take a second line."""
    fig = forest(verdicts=verdicts(tmp_path))
    labels = [label for ax in fig.axes for label in ax.get_yticklabels()]
    labels += fig.axes[0].get_xticklabels()
    assert min(label.get_fontsize() for label in labels) >= 10
    assert min(t.get_fontsize() for t in fig.legends[0].get_texts()) >= 10
    assert fig.get_figwidth() <= 9
    said = texts(forest("lmdis", ["lmdis-21"]))
    assert said[0] == "off the place asked for /\nthe way to it ÷ 0.5"


def test_the_readmes_figure_shows_what_the_rows_say(tmp_path):
    """Its words stand in the file: a figure that is out of date is found."""
    known = {v.claim.id: v for v in judge_all()}
    said = alt([known[name] for name in picture.README])
    with Image.open(ROOT / "data" / "pictures" / "claims.png") as committed:
        message = "run `lmlib claims --figure data/pictures/claims.png`"
        assert committed.info["Description"] == said, message
        assert committed.height < 1000
    save_forest(tmp_path / "new.png")
    with Image.open(tmp_path / "new.png") as new:
        assert new.info["Description"] == said
        assert new.size == committed.size
    assert (tmp_path / "new.png").stat().st_size < 120_000
