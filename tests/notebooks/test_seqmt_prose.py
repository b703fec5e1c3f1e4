"""What the notebooks on Seq-MT say in words is what the rows and the paper say."""

import math

import pytest
from prose import means, printed, words

from lmcourse.evidence.claims import judge_all
from lmcourse.evidence.effects import paired_interval, seeds_needed, shares
from lmcourse.evidence.paper import paper_tables
from lmcourse.evidence.results import latest, read_rows
from lmcourse.exercises.seqmt_ablations import labels_needed
from lmcourse.experiments.seqmt_images import middle_of_blocks


@pytest.fixture(scope="module")
def table():
    return paper_tables("seqmt")["table-1"]


@pytest.fixture(scope="module")
def blocks():
    return means("seqmt-blocks")


def saving(curve: dict[int, float], error: float) -> float:
    return labels_needed(list(curve), list(curve.values()), error)


def test_10_to_12_have_one_number_for_the_middle_of_the_figure():
    middle = f"{middle_of_blocks():.1f}"
    assert f"all in the middle 0 {middle} 7%" in printed("10")
    assert f"all five in the middle of the figure: {middle} px off" in printed("11")
    assert f"middle of the figure: {middle} px;" in printed("12")
    assert f"none is near {middle} px, the middle of the figure" in words("12")


def test_12_says_that_both_help_the_papers_hands():
    rows = paper_tables("seqmt")["table-2"].rows
    plain = rows["Seq-MT(L)"][5]
    classes, elt = (rows[f"Seq-MT({x})"][5] / plain for x in ("L+C", "L+T"))
    said = f"classes leave {classes:.2f} of the error, the ELT {elt:.2f}"
    assert said in words("12")


def test_12_says_what_equivariance_is_worth_in_labels(table, blocks):
    paper = saving(table.rows["Seq-MT(L)"], table.rows["Seq-MT(L+T)"][5])
    curve = {p: blocks[f"Seq-MT(L)@{p}"] for p in table.percents}
    ours = saving(curve, blocks["Seq-MT(L+T)@5"])
    said = (
        f"**Prediction 2**: {paper:.0f} % in the paper's table, {ours:.0f} % in ours."
    )
    assert said in words("12")


def test_12_says_what_is_left_per_doubling(table):
    left = [
        (cells[q] / cells[p]) ** (1 / math.log2(q / p))
        for cells in (table.rows["Seq-MT(L)"], table.rows["Seq-MT(L+T)"])
        for p, q in zip(list(cells), list(cells)[1:], strict=False)
    ]
    said = f"anything between {min(left):.2f} and {max(left):.2f} of the error"
    assert said in words("12")


def test_12_says_why_classes_may_not_help(blocks):
    text, accuracy = words("12"), means("seqmt-blocks", "accuracy")
    assert "it names nine classes of ten" in text
    assert 0.85 < accuracy["Seq-MT(L+C,long)@5"] < 0.95
    assert "In the short run the classifier knows little itself" in text
    assert accuracy["Seq-MT(L+C)@5"] < 0.4
    assert "points that are good to two pixels mostly have the right shape" in text
    assert 1.5 < blocks["Seq-MT(L,long)@5"] < blocks["Seq-MT(L+C,long)@5"] < 2.5


def test_12_says_what_the_elt_leaves_after_longer_training(table, blocks):
    paper = table.rows["Seq-MT(L+T)"][5] / table.rows["Seq-MT(L)"][5]
    short, long = (
        blocks[f"Seq-MT(L+T{more})@5"] / blocks[f"Seq-MT(L{more})@5"]
        for more in ("", ",long")
    )
    assert round(paper, 1) == 0.5 and round(short, 1) == round(long, 1) == 0.7
    text = words("12")
    assert "at 5 % it leaves about 0.7 of the error, in the paper half." in text
    assert "it left about 0.7 in the short runs, too" in text


def test_12_says_how_claims_end():
    verdicts = {v.claim.id: v.verdict for v in judge_all()}
    assert [verdicts[f"seqmt-{n}"] for n in (5, 6)] == ["reproduced"] * 2
    for name in ("4", "6b", "7"):
        assert verdicts[f"seqmt-{name}"] == "undecided"
    assert verdicts["seqmt-12"] == "contradicted"
    text = words("12")
    assert "Two of the five claims are settled by our seeds, 5 and 6." in text
    assert "contradicts the paper (seqmt-12)" in text


def test_12_prints_the_intervals_of_the_register():
    runs = latest(read_rows("seqmt-blocks", metric="error", budget="class"))

    def logs(setting):
        return {r.seed: math.log(r.value) for r in runs if r.setting == setting}

    found = paired_interval(logs("Seq-MT(L+T)@5"), logs("Seq-MT(L)@5"))
    verdict = next(v for v in judge_all() if v.claim.id == "seqmt-5")
    judged = verdict.effects[0].estimate
    ends = judged.value, judged.low, judged.high
    assert [math.exp(x) for x in found] == pytest.approx(ends)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (("L+T,inverse", "L"), "**Prediction 3: worse**, and by far."),
        (("L+C,shuffled", "L"), "**Prediction 4: a little worse**, in one seed"),
    ],
)
def test_12_says_what_broken_mechanisms_do(settings, says, blocks):
    broken, without = (blocks[f"Seq-MT({name})@5"] for name in settings)
    assert broken > without and (broken > 2 * without) == ("by far" in says)
    assert says in words("12")


def test_12_says_where_the_weights_of_terms_stop_helping(blocks):
    strict, loose = (blocks[f"Seq-MT(L+T,alpha={a})@5"] for a in ("10", "0.01"))
    assert strict > loose and loose < blocks["Seq-MT(L)@5"] < strict
    assert "the error is worse than at α = 0.01" in words("12")
    assert "From 0.1 up, $\\lambda$ hardly matters; $\\alpha$ is best at 1" in words(
        "12"
    )
    errors = {a: blocks[f"Seq-MT(L+T,alpha={a})@5"] for a in ("0.01", "0.1", "10")}
    assert blocks["Seq-MT(L+T)@5"] < min(errors.values())
    some = [blocks[f"Seq-MT(L+C,lambda={x})@5"] for x in ("0.1", "10")]
    some.append(blocks["Seq-MT(L+C)@5"])
    assert max(some) < 1.2 * min(some) < blocks["Seq-MT(L+C,lambda=0.01)@5"]


def test_12_says_which_terms_help_hands_and_faces():
    hands, wild = means("seqmt-hands"), means("seqmt-wild")
    plain = hands["Seq-MT(L)@5"]
    assert hands["Seq-MT(L+C)@5"] < plain < hands["Seq-MT(L+T)@5"]
    assert "classes help there and the ELT does not" in words("12")
    few, every = (wild[f"RCN+(L+T)@{p}"] / wild[f"RCN+(L)@{p}"] for p in (5, 100))
    assert few < 1 < every
    hard = means("seqmt-wild", "error_hard")
    for p, usual in ((5, few), (100, every)):
        assert hard[f"RCN+(L+T)@{p}"] / hard[f"RCN+(L)@{p}"] < usual
    assert "it gains more, or loses less, than on the usual ones" in words("12")


def test_00_says_what_longer_training_does():
    def by_seed(setting, metric):
        rows = latest(read_rows("seqmt-shapes", budget="class", metric=metric))
        return {r.seed: r.value for r in rows if r.setting == setting}

    long, short = (by_seed(name, "scatter_px") for name in ("long", "class-only"))
    assert all(long[seed] < short[seed] for seed in long)
    assert "*steadier*, for the scatter falls." in words("00")
    long, short = (by_seed(name, "offset_px") for name in ("long", "class-only"))
    assert 2 < min([*long.values(), *short.values()]) < 3
    assert 6 < max([*long.values(), *short.values()]) < 7
    assert {long[seed] < short[seed] for seed in long} == {True, False}
    assert "anywhere between 2 and 7 pixels, up with one seed and down" in words("00")


def test_03_says_what_the_rule_does():
    text = words("03")
    assert shares(0.0, 0.4, 5)[0] == pytest.approx(0.05)
    assert "The rule calls it shown in 5 of 100, and never from a single seed." in text
    assert seeds_needed(1.0, 1.0) > 3


def test_13_agrees_that_the_truth_names_every_class():
    assert "If there were such pairs" not in words("13")


def test_10_gives_the_truth_its_full_score():
    assert "the truth 0 0 100%" in printed("10")
    assert "The truth scores 100 %" in words("10")
    assert f"all in the middle 0 {middle_of_blocks():.1f} {1 / 15:.0%}" in printed("10")
    assert "they score one class in fifteen" in words("10")


def test_13_has_the_hands_of_the_paper_and_of_the_rows():
    setting = "Seq-MT(L+T+C)"
    tables = paper_tables("seqmt")
    error, right = (tables[f"table-{n}"].rows[setting][20] for n in (2, 10))
    said = f"has {error:.1f} % of the wrist's width and {right:.1f} % of the gestures"
    assert said in words("13")
    ours = means("seqmt-hands64")[f"{setting}@20"]
    assert f"points are {ours:.0f} % of the wrist's width off" in printed("13")
    named = means("seqmt-hands64", "accuracy")[f"{setting}@20"]
    assert f"is right on {100 * named:.0f} % of the hands" in printed("13")
