"""Verdicts follow from rows: rule, control, lengths and makes; and the register."""

import json
import math
import re

import numpy as np
import pytest
from toy_claims import AMD, GOOD, INTEL, ROOT, TOML, register, rows

from lmcourse.evidence import effects as rule
from lmcourse.evidence.claims import (
    VERDICTS,
    ClaimError,
    cell,
    judge,
    judge_all,
    judge_rows,
    load_claims,
)
from lmcourse.evidence.paper import paper_tables
from lmcourse.evidence.register import parse_compare
from lmcourse.evidence.results import (
    Row,
    Run,
    Table,
    append_images,
    append_rows,
    read_rows,
)


def claim(folder, toml=TOML):
    return load_claims(register(folder, toml))[0]


def verdict(folder, *parts, toml=TOML):
    """Of the rows in ``parts``: lists of rows, or values for ``rows``."""
    lists = [part if isinstance(part, list) else rows(part) for part in parts]
    return judge_rows(claim(folder, toml), sum(lists, []))


# --- the four verdicts ----------------------------------------------------------------


def test_no_rows_is_not_tested(tmp_path):
    result = verdict(tmp_path)
    assert result.verdict == "not tested"
    assert result.reason == "no row of toy/real:accuracy"
    assert judge(claim(tmp_path), tmp_path).verdict == "not tested"


def test_reproduced_when_every_effect_is_shown_and_the_control_shows_none(tmp_path):
    append_rows(rows(GOOD), tmp_path)
    result = judge(claim(tmp_path), tmp_path)
    assert result.verdict == "reproduced"
    accuracy, error = result.effects
    assert accuracy.estimate == rule.estimate("value", [0.992, 0.996])
    assert error.estimate == rule.estimate("ratio", [1.0, 1.2], [4.0, 4.4])
    control = result.controls[1].estimate
    assert control == rule.estimate("ratio", [4.1, 4.0], [4.0, 4.4])


def test_an_interval_on_the_other_side_contradicts(tmp_path):
    result = verdict(tmp_path, GOOD | {("real", "error"): [5.0, 5.5]})
    assert result.verdict == "contradicted"
    assert result.reason == "the other way round: with / without"


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ([3.4, 2.4], "2 more seeds would decide an effect of the paper's size"),
        ([39.0, 0.4], "an effect of the paper's size is too small to decide here"),
        ([3.9, 4.2], "an effect of the paper's size would have shown by now"),
    ],
)
def test_an_interval_that_straddles_is_undecided_and_says_what_is_missing(
    tmp_path, errors, reason
):
    result = verdict(tmp_path, GOOD | {("real", "error"): errors})
    assert (result.verdict, result.reason) == ("undecided", reason)
    spread = result.effects[1].estimate.spread
    needed = rule.seeds_needed(math.log(2), spread, most=12)
    assert {2: "by now", 4: "2 more", None: "too small"}[needed] in reason


def test_without_a_size_of_the_paper_ours_counts(tmp_path):
    toml = TOML.replace(", paper = [2, 4]", "")
    result = verdict(tmp_path, GOOD | {("real", "error"): [3.0, 3.9]}, toml=toml)
    assert result.reason.endswith("more seeds would decide an effect of this size")
    result = verdict(tmp_path, GOOD | {("real", "error"): [4.5, 4.1]}, toml=toml)
    assert result.reason == "leans the other way, within its interval"


def test_one_seed_has_no_interval(tmp_path):
    once = {key: values[:1] for key, values in GOOD.items()}
    result = verdict(tmp_path, once, once)  # the same seed twice is one seed
    assert (result.verdict, result.reason) == ("undecided", "one seed, no interval")
    assert result.effects[1].estimate.n == 1


@pytest.mark.parametrize(
    ("metric", "says"),
    [("accuracy", "the class is right"), ("error", "with / without")],
)
def test_a_control_that_shows_an_effect_spoils_the_claim(tmp_path, metric, says):
    """A mechanism that is not needed for one of the effects does not explain it."""
    passing = {("shuffled", metric): GOOD["real", metric]}
    result = verdict(tmp_path, GOOD | passing)
    assert result.verdict == "undecided"
    assert result.reason == f"the control shows it too: {says}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.1, "undecided"), (1.5, "reproduced"), (4.0, "reproduced")],
)
def test_a_control_of_one_run_passes_within_the_effects_interval(
    tmp_path, value, expected
):
    """0.26 [0.23, 0.3] is shown; one run of the control may lie at 1.1 / 4 or not."""
    result = verdict(tmp_path, GOOD | {("shuffled", "error"): [value]})
    assert result.verdict == expected


@pytest.mark.parametrize("missing", [("real", "accuracy"), ("none", "error")])
def test_a_missing_row_is_not_tested(tmp_path, missing):
    some = {key: values for key, values in GOOD.items() if key != missing}
    result = verdict(tmp_path, some)
    assert result.verdict == "not tested"
    assert result.reason == f"no row of toy/{missing[0]}:{missing[1]}"


def test_a_claim_whose_control_was_not_run_is_not_tested(tmp_path):
    some = {key: values for key, values in GOOD.items() if key != ("shuffled", "error")}
    result = verdict(tmp_path, some)
    assert result.verdict == "not tested"
    assert "no row of its control, shuffled:error / none:error < 1" in result.reason
    # what the effects say stands even so
    worse = some | {("real", "error"): [5.0, 5.5]}
    assert verdict(tmp_path, worse).verdict == "contradicted"


# --- which runs are compared ----------------------------------------------------------


def test_pairs_are_of_one_make_of_device(tmp_path):
    """Seed 0 on both makes, seed 1 of the one on the other make: one pair."""
    apart = {("real", "error"): [1.0], ("none", "error"): [4.0]}
    rest = {key: GOOD[key] for key in GOOD if key not in apart}
    mixed = rows({("real", "error"): [1.2]}, device=INTEL, first_seed=1)
    mixed += rows({("none", "error"): [4.4]}, device=AMD, first_seed=1)
    result = verdict(tmp_path, apart, rest, mixed)
    assert result.effects[1].estimate.n == 1
    assert result.verdict == "undecided"
    # the same seeds on the same make are pairs, whatever makes the pairs are of
    both = rows({k: [v[1]] for k, v in GOOD.items()}, device=INTEL, first_seed=1)
    result = verdict(tmp_path, {k: v[:1] for k, v in GOOD.items()}, both)
    assert result.effects[1].estimate.n == 2
    assert result.verdict == "reproduced"


def test_runs_on_different_makes_alone_are_not_compared(tmp_path):
    real = {k: v for k, v in GOOD.items() if k[0] == "real"}
    others = {k: v for k, v in GOOD.items() if k[0] != "real"}
    result = verdict(tmp_path, rows(real, device=INTEL), others)
    assert result.verdict == "not tested"
    assert result.reason == "no runs of real and none on the same make of device"
    half = rows(real, device="cpu (AMD EPYC, 1 threads, bfloat16)")
    assert verdict(tmp_path, half, others).verdict == "not tested"
    threads = rows(real, device="cpu (AMD EPYC, 8 threads)")
    assert verdict(tmp_path, threads, others).verdict == "reproduced"


def test_without_shared_seeds_it_is_welch_within_a_make(tmp_path):
    real = rows({k: v for k, v in GOOD.items() if k[0] == "real"}, first_seed=10)
    others = {k: v for k, v in GOOD.items() if k[0] != "real"}
    found = verdict(tmp_path, real, others).effects[1].estimate
    assert found == rule.estimate("ratio", [1.0, 1.2], [4.0, 4.4], paired=False)
    assert not found.paired


def test_a_later_row_replaces_an_earlier_one(tmp_path):
    result = verdict(tmp_path, {("real", "error"): [9.0, 9.0]}, GOOD)
    assert result.effects[1].estimate.value == pytest.approx(0.2611, abs=1e-4)


def test_the_longest_training_of_all_settings_counts(tmp_path):
    short = rows(GOOD)
    long = rows({(k[0] + ",long", k[1]): v for k, v in GOOD.items()}, steps=400)
    worse = [
        Row(**vars(r) | {"value": 6.0 + 0.1 * r.seed})
        if (r.setting, r.metric) == ("real,long", "error") else r
        for r in long
    ]  # fmt: skip
    result = verdict(tmp_path, short, worse)
    assert result.verdict == "contradicted"
    assert {row.setting for row in result.effects[1].left} == {"real,long"}
    assert [m.estimate.value < 1 for m in result.others] == [True, True]
    # with one seed only, too: it is undecided then
    one = [r for r in worse if r.seed == 0]
    assert verdict(tmp_path, short, one).reason == "one seed, no interval"
    # but not while a setting, the control included, lacks it
    part = [r for r in worse if r.setting != "shuffled,long"]
    result = verdict(tmp_path, short, part)
    assert result.verdict == "reproduced"
    assert [m.stands for m in result.others] == [rule.SHOWN, rule.REFUTED]


def test_lengths_are_by_the_steps_of_the_rows(tmp_path):
    """The same setting, trained longer later on; what is not trained has no length."""
    untrained = rows({k: v for k, v in GOOD.items() if k[0] == "none"}, steps=0)
    trained = {k: v for k, v in GOOD.items() if k[0] != "none"}
    old = {k: [9.0, 9.1] if k[0] == "real" else v for k, v in trained.items()}
    for order in ((old, 100, trained, 300), (trained, 300, old, 100)):
        lists = [rows(values, steps=n) for values, n in (order[:2], order[2:])]
        result = verdict(tmp_path, untrained, *lists)
        assert result.verdict == "reproduced"
        assert result.effects[1].steps == [0, 300]


def test_the_same_length_is_compared_where_there_is_one(tmp_path):
    """The first was trained shorter, too; the others only as long."""
    real = [rows({k: v for k, v in GOOD.items() if k[0] == "real"}, steps=n)
            for n in (100, 400)]  # fmt: skip
    others = rows({k: v for k, v in GOOD.items() if k[0] != "real"}, steps=400)
    assert verdict(tmp_path, *real, others).effects[1].steps == [400]


def test_settings_with_lengths_of_their_own_go_shortest_with_shortest(tmp_path):
    real = [rows({k: v for k, v in GOOD.items() if k[0] == "real"}, steps=n)
            for n in (100, 400)]  # fmt: skip
    others = rows({k: v for k, v in GOOD.items() if k[0] != "real"}, steps=150)
    assert verdict(tmp_path, *real, others).effects[1].steps == [100, 150]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("Seq-MT(L,long)@5", "Seq-MT(L)@5"),
        ("K10,long", "K10"),
        ("K10,longer", "K10,longer"),
        ("long", "long"),
        ("K10,long,untrained", "K10,long,untrained"),
    ],
)
def test_a_cell_is_a_setting_without_its_length(setting, expected):
    assert cell(setting) == expected


def test_budgets_never_mix_and_quick_rows_judge_nothing(tmp_path):
    assert verdict(tmp_path, rows(GOOD, "quick")).verdict == "not tested"
    real = rows({k: v for k, v in GOOD.items() if k[0] == "real"}, "full")
    others = rows({k: v for k, v in GOOD.items() if k[0] != "real"})
    result = verdict(tmp_path, real, others)
    assert result.verdict == "not tested"
    assert result.reason == "no training of the same length for all its settings"


COMBINED = """[[claim]]
id = "c"
paper = "seqmt"
statement = "s"
source = "t"
experiment = "toy"
metrics = { "%s" = "%%" }
effects = [{ says = "gain", compare = "real:%s - plain:%s > 0" }]
[claim.control]
replace = { "real" = "shuffled" }
because = "b"
"""


@pytest.mark.parametrize(
    ("metric", "gains"),
    [("user-shop", [(2 - 5) - (1 - 8), (4 - 6) - (3 - 9)]),
     ("user/shop", [2 / 5 - 1 / 8, 4 / 6 - 3 / 9])],
)  # fmt: skip
def test_two_metrics_of_a_run_may_be_one(tmp_path, metric, gains):
    """A difference of differences, pair by pair; runs without both do not count."""
    toml = COMBINED.replace("%s", metric).replace("%%", "%")
    parts = {
        ("real", "user"): [2.0, 4.0, 7.0],
        ("real", "shop"): [5.0, 6.0],
        ("plain", "user"): [1.0, 3.0, 1.0],
        ("plain", "shop"): [8.0, 9.0, 1.0],
    }
    measured = verdict(tmp_path, parts, toml=toml).effects[0]
    assert measured.estimate == rule.estimate("difference", gains)
    assert [row.metric for row in measured.left] == [metric] * 2
    del parts["plain", "shop"]
    result = verdict(tmp_path, parts, toml=toml)
    assert result.reason == f"no row of toy/plain:{metric}"


def test_a_share_of_nothing_names_the_run(tmp_path):
    toml = COMBINED.replace("%s", "user/shop").replace("%%", "%")
    parts = {(s, "user"): [1.0] for s in ("real", "plain")}
    parts |= {("real", "shop"): [1.0], ("plain", "shop"): [0.0]}
    with pytest.raises(ValueError, match="toy: plain, seed 0: shop is 0"):
        verdict(tmp_path, parts, toml=toml)


def test_a_ratio_of_values_that_are_not_above_zero_names_itself(tmp_path):
    with pytest.raises(ValueError, match="toy: real:error / none:error < 1: a ratio"):
        verdict(tmp_path, GOOD | {("real", "error"): [0.0, 1.0]})


# --- verdicts on rows with a known truth ----------------------------------------------

ONE = re.sub(r"  {[^\n]*real:accuracy[^\n]*\n", "", TOML)


@pytest.mark.parametrize("truth", [0.0, -0.4, -1.5, 0.4])
def test_a_verdict_on_rows_is_the_rule_on_their_numbers(tmp_path, truth):
    """10,000 experiments are judged at once by the rule (``test_effects.py``); through
    rows, tables of pairs and the control the answer is the same."""
    a, b = rule.simulate(truth, 0.3, 3, draws=150, shared=0.5, seed=5)
    broken, _ = rule.simulate(0.0, 0.01, 3, draws=150, seed=6)
    ends = rule.interval(a - b)
    expected = rule.stands(ends[1], ends[2], "<", 0)
    one, counts = claim(tmp_path, ONE), {name: 0 for name in VERDICTS}
    for i in range(len(a)):
        logs = {"real": a[i], "none": b[i], "shuffled": b[i] + broken[i] + 1}
        values = {(name, "error"): np.exp(x).tolist() for name, x in logs.items()}
        found = judge_rows(one, rows(values)).verdict
        names = {rule.SHOWN: "reproduced", rule.REFUTED: "contradicted"}
        assert found == names.get(int(expected[i]), "undecided")
        counts[found] += 1
    if truth >= 0:
        assert counts["reproduced"] <= 15  # 5 % of 150 are 7.5; P(more than 15) < .5 %
    else:
        assert counts["contradicted"] <= 15


# --- the part of the test images ------------------------------------------------------


def test_the_test_images_part_is_told_where_their_errors_were_kept(tmp_path):
    append_rows(rows(GOOD), tmp_path)
    one = claim(tmp_path)
    assert math.isnan(judge(one, tmp_path).effects[1].images)
    rng = np.random.default_rng(0)
    kept = {}
    for row in read_rows("toy", tmp_path, metric="error", setting=["real", "none"]):
        kept[row.setting, row.seed] = rng.gamma(4, row.value / 4, 300)
        append_images([row], {"error": kept[row.setting, row.seed]}, tmp_path)
    found = judge(one, tmp_path).effects[1].images
    means = [np.mean([kept[s, 0], kept[s, 1]], 0)[None] for s in ("real", "none")]
    expected = 1.6449 * rule.test_set_error("ratio", *means)
    assert found == pytest.approx(expected, rel=0.01)
    (record,) = [v.as_dict() for v in [judge(one, tmp_path)]]
    assert record["effects"][1]["images"] == pytest.approx(found)
    assert record["effects"][0]["images"] is None


# --- the register ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "bound"),
    [
        ("a:b > 0.99", "value", 0.99),
        ("a:b / c:b < 1", "ratio", 1),
        ("label-1%:e - label(5,x)@5:e < -1e-3", "difference", -0.001),
    ],
)
def test_comparisons_are_read_without_running_them(text, kind, bound):
    found = parse_compare(text)
    assert (found[0], found[4]) == (kind, bound)
    assert str(found[1]) == text.split()[0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("real:accuracy >", "real:accuracy >=", "unknown sign '>='"),
        ("real:accuracy >", "real:acuracy >", "unknown metric 'acuracy'"),
        ("real:accuracy > 0.9", "1 > 0.9", "cannot read"),
        ("real:accuracy > 0.9", "real:accuracy", "expected 'A / B < 1'"),
        ("real:accuracy > 0.9", "real:accuracy > 0.9x", "cannot read the number"),
        ("real:accuracy > 0.9", "real:accuracy > 1e999", "cannot read the number"),
        ("real:error /", "real:error *", r"unknown sign '\*'"),
        ("real:error / none", "real:error/none", "cannot read"),
        ("real:accuracy >", "real:accuracy-error-error >", "a metric is one name"),
        ("real:accuracy >", "real:accuracy/ >", "a metric is one name"),
        ("none:error < 1", "none:error < 0", "above 0"),
        ("paper = [2, 4]", "paper = [2, -4]", "above 0"),
        ("paper = [2, 4]", "paper = [4, 2]", "own size, 2, is not on the claimed side"),
        ("paper = [2, 4]", "paper = [2]", "a number for each side"),
        ("paper = [2, 4]", "paper = ['2', 4]", "paper must be a list of numbers"),
        ("paper = [2, 4]", f"paper = [2, 1{'0' * 400}]", "must be a list of numbers"),
        ("paper = [2, 4]", "papers = [2, 4]", "unknown field 'papers'"),
        ('says = "with / without", ', "", "says of an effect must be str"),
        ('real = "shuffled"', 'reel = "shuffled"', "unknown setting 'reel'"),
        ('real = "shuffled"', 'real = "real"', "controls nothing"),
        ('real = "shuffled"', "real = 3", "replace must name texts"),
        ('paper = "toy"\n', "", "lacks paper"),
        ('paper = "toy"', "paper = 3", "paper must be str"),
        ('id = "toy-1"', 'id = "toy 1"', "id must be lower-case"),
        ('because = "shuffled labels say nothing"', "", "control lacks because"),
        ("[claim.control]", "[claim.contrl]", "lacks control"),
        ('source = "table 1"', 'source = "a"\nverdict = "reproduced"',
         "unknown field 'verdict'"),
        ('source = "table 1"', 'source = "a"\npublished = [{ name = "x" }]',
         "published needs"),
        ('source = "table 1"', 'source = "a"\ndiagnosis = { text = "x", rows = [] }',
         "needs the rows that back it"),
        ('source = "table 1"', 'source = "a"\ndiagnosis = { text = "x", rows = ["y"] }',
         "expected 'EXPERIMENT setting:x'"),
    ],
)  # fmt: skip
def test_a_wrong_register_names_file_line_and_claim(tmp_path, old, new, message):
    assert old in TOML
    path = register(tmp_path, TOML.replace(old, new))
    with pytest.raises(ClaimError, match=message) as error:
        load_claims(path)
    assert str(error.value).startswith(f"{path}:2: claim toy")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (TOML + TOML, ":17: claim toy-1: this id was used before"),
        (TOML.replace('id = "toy-1"\n', ""), ":2: claim number 1: lacks id"),
        (TOML.replace("[[claim]]", "[[claims]]"), "not valid TOML|unknown 'claims'"),
        ("claim = 3", "claims begin with"),
        ("claim = [3]", "claims begin with"),
        ("x = 1", "unknown 'x'"),
        ("a = 1\n[[claim", ":2: not valid TOML"),
        (f"a = {'[' * 100_000}", "nested too deeply"),
        (f"a = {'1' * 5000}", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, toml, message):
    with pytest.raises(ClaimError, match=rf"claims\.toml.*({message})"):
        load_claims(register(tmp_path, toml))


def test_a_file_that_is_no_text_or_is_missing(tmp_path):
    path = tmp_path / "claims.toml"
    with pytest.raises(ClaimError, match="no such file"):
        load_claims(path)
    path.write_bytes(b"a = 1\nb = '\xff'\n")
    with pytest.raises(ClaimError, match=r"claims\.toml:2: not UTF-8"):
        load_claims(path)


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


# --- the committed register -----------------------------------------------------------


def test_the_committed_register_is_sound():
    from lmcourse.experiments import TABLES

    claims = load_claims(tables=TABLES)
    assert len(claims) >= 65
    assert len({claim.id for claim in claims}) == len(claims)


def test_no_verdict_is_typed():
    """The register has no place for one, and other rows give other verdicts."""
    from dataclasses import replace

    text = (ROOT / "data" / "claims.toml").read_text(encoding="utf-8")
    entries = text.partition("\n[[claim]]")[2]
    for name in ("reproduced", "contradicted", "undecided", "not tested", "verdict ="):
        assert name not in entries
    for verdict in judge_all():
        if verdict.verdict != "reproduced":
            continue
        turned = []  # left and right exchanged: what was shown is refuted
        for m in verdict.effects:
            if m.right:
                values = [row.value for row in m.right]
                turned += [
                    replace(r, value=v) for r, v in zip(m.left, values, strict=True)
                ]
                turned += [
                    replace(r, value=row.value)
                    for r, row in zip(m.right, m.left, strict=True)
                ]
        if turned:
            rows = read_rows(verdict.claim.experiment) + turned
            assert judge_rows(verdict.claim, rows).verdict == "contradicted"


def test_diagnoses_rest_on_rows_that_exist():
    found = [c for c in load_claims() if c.diagnosis]
    assert found
    for claim in found:
        for experiment, term in claim.diagnosis_rows:
            assert read_rows(experiment, setting=term.setting, metric=term.metric)


def test_contradicted_claims_say_why():
    assert all(v.claim.diagnosis for v in judge_all() if v.verdict == "contradicted")


def printed_cells():
    """(experiment, setting, metric) -> what the papers' tables print there."""
    cells = {}
    for paper in ("seqmt", "lmdis", "dve", "salvton"):
        for table in paper_tables(paper).values():
            for row, columns in table.rows.items():
                for column, value in columns.items():
                    names = {"row": row, "column": column}
                    # a column that none of our metrics answers is still an error
                    metric = table.metric.format(**names) or "error"
                    key = table.experiment, table.setting.format(**names), metric
                    cells.setdefault(key, set()).add(value)
    # Table 5 is of AFLW, "all labels" is its last column; our metric answers MAFL's.
    cells["dve-faces", "C64+DVE", "regression"].add(8.60)
    return cells


def test_the_papers_sizes_are_those_of_its_tables():
    cells, checked = printed_cells(), 0
    for claim in load_claims():
        for effect in claim.effects:
            for term, value in zip(effect.terms, effect.paper, strict=False):
                printed = cells.get((claim.experiment, term.setting, term.metric))
                if printed:
                    checked += 1
                    assert value in printed, (claim.id, str(term), value, printed)
    assert checked >= 120


def test_as_json_nothing_is_endless():
    for verdict in judge_all():
        record = json.loads(json.dumps(verdict.as_dict(), allow_nan=False))
        assert record["verdict"] in VERDICTS
        assert len(record["effects"]) in (0, len(verdict.claim.effects))
