"""Verdicts follow from rows: every verdict, its control, and texts kept in step."""

import json
from pathlib import Path

import pytest

from lmcourse.evidence.claims import (
    ClaimError,
    files_with_blocks,
    judge,
    judge_all,
    load_claims,
    markdown,
    parse_comparison,
    render,
    stale_blocks,
    text,
)
from lmcourse.evidence.results import Row, Run, Table, append_rows, results_folder

ROOT = Path(__file__).resolve().parents[2]

TOML = """
[[claim]]
id = "toy-1"
paper = "toy"
statement = "Labels teach places."
source = "table 1"
published = [{ name = "accuracy", value = 0.99, unit = "share" }]
seeds = 2
tests = ["real:accuracy >= 0.99", "real:error < 0.5 * none:error"]
direction = ["real:accuracy > 0.8", "real:error < 0.9 * none:error"]

[claim.ours]
experiment = "toy"
settings = ["real", "shuffled", "none"]
metrics = { accuracy = "share", error = "px" }

[claim.control]
replace = { real = "shuffled" }
because = "shuffled labels say nothing"
"""

GOOD = {
    ("real", "accuracy"): [0.992, 0.996],
    ("real", "error"): [1.0, 1.2],
    ("none", "error"): [4.0, 4.4],
    ("shuffled", "accuracy"): [0.5, 0.52],
    ("shuffled", "error"): [4.1, 4.0],
}


def register(folder, toml=TOML):
    path = folder / "claims.toml"
    path.write_text(toml, encoding="utf-8")
    return path


def write(folder, values, budget="class"):
    rows = [
        Row("toy", setting, seed, metric, value, 1, "cpu", {}, None, 0.1,
            {"budget": budget})
        for (setting, metric), per_seed in values.items()
        for seed, value in enumerate(per_seed)
    ]  # fmt: skip
    append_rows(rows, folder)


def verdict(folder, values=None, toml=TOML, budget="class"):
    if values:
        write(folder, values, budget)
    return judge(load_claims(register(folder, toml))[0], folder)


# --- verdicts -------------------------------------------------------------------------


def test_no_rows_is_not_tested(tmp_path):
    result = verdict(tmp_path)
    assert result.verdict == "not tested"
    assert "toy/real needs 2 seed(s) of accuracy, has 0" in result.reason


def test_reproduced_when_tests_hold_and_the_control_fails(tmp_path):
    result = verdict(tmp_path, GOOD)
    assert result.verdict == "reproduced"
    outcomes = [(o.kind, o.numbers, o.holds) for o in result.outcomes]
    assert ("test", "0.994 >= 0.99", True) in outcomes
    assert ("test", "1.1 < 2.1", True) in outcomes
    assert ("control", "0.51 >= 0.99", False) in outcomes
    assert ("control", "4.05 < 2.1", False) in outcomes


def test_the_mean_over_seeds_decides_not_the_best_seed(tmp_path):
    result = verdict(tmp_path, GOOD | {("real", "accuracy"): [0.97, 0.999]})
    assert result.verdict == "direction only"
    assert result.reason == "fails 0.9845 >= 0.99"


@pytest.mark.parametrize(
    ("change", "expected", "reason"),
    [
        ({("real", "error"): [2.5, 2.5]}, "direction only", "fails 2.5 < 2.1"),
        ({("real", "error"): [4.5, 4.5]}, "not reproduced", "fails 4.5 < 3.78"),
        ({("real", "accuracy"): [0.6, 0.6]}, "not reproduced", "fails 0.6 > 0.8"),
    ],
)
def test_weaker_rows_weaken_the_verdict(tmp_path, change, expected, reason):
    result = verdict(tmp_path, GOOD | change)
    assert (result.verdict, result.reason) == (expected, reason)


@pytest.mark.parametrize(
    "control",
    [
        {("shuffled", "accuracy"): [1.0, 1.0]},
        {("shuffled", "error"): [1.0, 1.0]},
    ],
    ids=["accuracy", "error"],
)
def test_a_control_that_passes_any_test_spoils_the_claim(tmp_path, control):
    """A mechanism that is not needed for one of the tests does not explain it."""
    result = verdict(tmp_path, GOOD | control)
    assert result.verdict == "not reproduced"
    assert result.reason.startswith("the control passes too: shuffled:")


def test_the_direction_has_its_control_too(tmp_path):
    weak = {("real", "accuracy"): [0.9, 0.9], ("shuffled", "accuracy"): [0.85, 0.85]}
    result = verdict(tmp_path, GOOD | weak)
    assert result.verdict == "not reproduced"
    assert result.reason == "the control passes too: shuffled:accuracy > 0.8"


@pytest.mark.parametrize("missing", [("shuffled", "accuracy"), ("none", "error")])
def test_too_few_seeds_anywhere_is_not_tested(tmp_path, missing):
    result = verdict(tmp_path, GOOD | {missing: GOOD[missing][:1]})
    assert result.verdict == "not tested"
    assert f"toy/{missing[0]} needs 2 seed(s) of {missing[1]}, has 1" in result.reason


def test_the_same_seed_twice_is_one_seed(tmp_path):
    once = {key: values[:1] for key, values in GOOD.items()}
    write(tmp_path, once)
    assert verdict(tmp_path, once).verdict == "not tested"


def test_quick_rows_judge_nothing_and_full_rows_outrank_class(tmp_path):
    assert verdict(tmp_path, GOOD, budget="quick").verdict == "not tested"
    result = verdict(tmp_path, GOOD | {("real", "error"): [9.0, 9.0]})
    assert (result.verdict, result.budget) == ("not reproduced", "class")
    result = verdict(tmp_path, GOOD, budget="full")
    assert (result.verdict, result.budget) == ("reproduced", "full")


def test_budgets_never_mix_within_a_claim(tmp_path):
    write(tmp_path, {k: v for k, v in GOOD.items() if k[0] == "real"}, "full")
    others = {k: v for k, v in GOOD.items() if k[0] != "real"}
    assert verdict(tmp_path, others).verdict == "not tested"


# --- the register ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comparison", "written"),
    [
        ("a:b >= 0.99", "a:b >= 0.99"),
        ("label-1%:error_px<=.8*label-5%:error_px", None),
        ("label-1%:e <= .8 * label-5%:e", "label-1%:e <= 0.8 * label-5%:e"),
        ("a:b < 1e-3", "a:b < 0.001"),
        ("2 > a:b", "2 > a:b"),
    ],
)
def test_comparisons_are_read_without_running_them(comparison, written):
    if written is None:
        with pytest.raises(ValueError, match="cannot read"):
            parse_comparison(comparison)
    else:
        assert str(parse_comparison(comparison)) == written


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("real:accuracy >=", "real:accuracy ==", "unknown operator '=='"),
        ("real:accuracy >=", "real:accuracy =>", "unknown operator '=>'"),
        ("real:accuracy >= 0.99", "real:acuracy >= 0.99", "unknown metric 'acuracy'"),
        ("real:accuracy >= 0.99", "reel:accuracy >= 0.99", "unknown setting 'reel'"),
        ("real:accuracy >= 0.99", "1 >= 0.99", "measures nothing"),
        ("real:accuracy >= 0.99", "print(1) >= 0.99", "cannot read"),
        ("real:accuracy >= 0.99", "real:accuracy", "expected TERM OP TERM"),
        ('real = "shuffled"', 'real = "schuffled"', "unknown setting 'schuffled'"),
        ('real = "shuffled"', 'shuffled = "real"', "controls nothing"),
        ('paper = "toy"\n', "", "lacks paper"),
        ('paper = "toy"', "paper = 3", "paper must be str"),
        ('because = "shuffled labels say nothing"', "", "lacks because"),
        ("seeds = 2", 'seeds = 2\nverdict = "reproduced"', "unknown field 'verdict'"),
        ("seeds = 2", "seeds = 0", "at least 1"),
        ("value = 0.99, ", "", "published needs"),
        ('tests = ["real:accuracy >= 0.99", "real:error < 0.5 * none:error"]',
         "tests = []", "tests is empty"),
    ],
)  # fmt: skip
def test_a_wrong_register_names_file_and_claim(tmp_path, old, new, message):
    assert old in TOML
    path = register(tmp_path, TOML.replace(old, new))
    with pytest.raises(ClaimError, match=message) as error:
        load_claims(path)
    assert str(error.value).startswith(f"{path}: claim toy-1: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (TOML + TOML, "claim toy-1: this id was used before"),
        (TOML.replace('id = "toy-1"\n', ""), "claim number 1: lacks id"),
        (TOML.replace("[[claim]]", "[[claims]]"), "unknown|not valid"),
        ("[[claim", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, toml, message):
    with pytest.raises(ClaimError, match=rf"claims\.toml: .*({message})"):
        load_claims(register(tmp_path, toml))
    with pytest.raises(ClaimError, match="no such file"):
        load_claims(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([("other", "real")], r"unknown experiment 'toy'.*\['other'\]"),
        ([("toy", "real"), ("toy", "none")], "no table runs setting 'shuffled'"),
        (
            [("toy", s) for s in ("real", "none", "shuffled")],
            "unknown metric 'error': toy/real measures",
        ),
    ],
)
def test_claims_must_be_on_what_the_tables_run(tmp_path, runs, message):
    listed = [Run(e, s, 0, dict, ("accuracy",)) for e, s in runs]
    tables = {"t": Table("t", "toy", lambda: listed)}
    with pytest.raises(ClaimError, match=f"claim toy-1: {message}"):
        load_claims(register(tmp_path), tables)


def test_the_committed_register_is_sound():
    claims = load_claims()
    assert "seqmt-1" in [claim.id for claim in claims]


# --- texts ----------------------------------------------------------------------------

README = """# Title
before
<!-- claims:begin -->
old words
<!-- claims:end -->
after
"""


def verdicts(folder):
    return judge_all(register(folder), folder)


def test_the_table_shows_what_was_measured(tmp_path):
    write(tmp_path, GOOD)
    table = markdown(verdicts(tmp_path))
    assert "accuracy 0.994 ± 0.003 (2 seeds), real" in table
    assert "accuracy 0.51 ± 0.01 (2 seeds), shuffled" in table
    assert "accuracy 0.99 share" in table
    assert table.splitlines()[2].endswith("| **reproduced** |")
    assert all(line.count(" | ") == 5 for line in table.splitlines()[2:])
    spoken = text(verdicts(tmp_path))
    assert "control    shuffled:accuracy >= 0.99: 0.51 >= 0.99, no" in spoken


def test_a_text_that_disagrees_with_the_rows_is_found_and_mended(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(README)
    assert stale_blocks([readme], verdicts(tmp_path)) == [readme]
    stale_blocks([readme], verdicts(tmp_path), write=True)
    mended = readme.read_text()
    assert "**not tested**" in mended and "old words" not in mended
    assert mended.startswith("# Title\nbefore\n") and mended.endswith("after\n")
    assert stale_blocks([readme], verdicts(tmp_path)) == []
    write(tmp_path, GOOD)  # new rows: the text is stale again
    assert stale_blocks([readme], verdicts(tmp_path)) == [readme]
    readme.write_text(mended.replace("not tested", "reproduced"))  # typed by hand
    assert stale_blocks([readme], verdicts(tmp_path)) == [readme]


def test_notebooks_hold_blocks_too(tmp_path):
    notebook = tmp_path / "notebooks" / "10.ipynb"
    notebook.parent.mkdir()
    cells = [
        {"cell_type": "markdown", "metadata": {}, "id": "a", "source": README},
        {"cell_type": "code", "metadata": {}, "id": "b", "source": ["x = 'é'"]},
    ]
    document = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    notebook.write_text(json.dumps(document))
    (tmp_path / "README.md").write_text("speaks of `<!-- claims:begin -->` only")
    found = files_with_blocks(tmp_path)
    assert found == [notebook]
    assert stale_blocks(found, verdicts(tmp_path), write=True) == [notebook]
    assert stale_blocks(found, verdicts(tmp_path)) == []
    after = json.loads(notebook.read_text(encoding="utf-8"))
    assert "**not tested**" in "".join(after["cells"][0]["source"])
    assert after["cells"][1] == cells[1]
    notebook.write_text("{}")
    with pytest.raises(ValueError, match="10.ipynb: not a Jupyter notebook"):
        stale_blocks([notebook], verdicts(tmp_path))


def test_a_block_may_pick_papers_or_claims(tmp_path):
    second = TOML.replace("toy-1", "other-1").replace('"toy"\nst', '"other"\nst')
    both = judge_all(register(tmp_path, TOML + second), tmp_path)
    for word in ("other", "other-1"):
        block = README.replace("begin -->", f"begin {word} -->")
        filled = render(block, both)
        assert "other-1" in filled and "toy-1" not in filled
        assert render(filled, both) == filled
    assert "toy-1" in render(README, both)
    with pytest.raises(ValueError, match="README: .*unknown claim 'nobody'"):
        render(README.replace("begin -->", "begin nobody -->"), both, "README")
    with pytest.raises(ValueError, match="without its claims:end"):
        render(README.replace("<!-- claims:end -->", ""), both)


def test_committed_texts_agree_with_the_committed_rows():
    paths = files_with_blocks(ROOT)
    results = judge_all(folder=results_folder())
    stale = [str(path) for path in stale_blocks(paths, results)]
    assert not stale, f"run `lmlib claims --write`: {stale}"
