"""The exercises of notebooks 12 and 13 accept what is right, and name each typical
slip; and the paper's tables are data without slips of their own."""

import json
import math
import statistics

import numpy as np
import pytest
import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)
from scipy.stats import t as student

from lmcourse.evidence.paper import PaperTable, paper_tables
from lmcourse.experiments.seqmt import PROBLEMS, Cell, network

# ---- labels_needed -------------------------------------------------------------------


def labels_by_numpy(percents, errors, target):
    if all(error == sorted(errors)[-1 - i] for i, error in enumerate(errors)):
        logs = np.interp(
            target, errors[::-1], np.log(percents[::-1]), left=math.nan, right=math.nan
        )
        return float(np.exp(logs))
    pairs = zip(percents, errors, percents[1:], errors[1:], strict=False)
    for p, e, q, f in pairs:
        if e >= target >= f:
            return math.exp(np.interp(target, [f, e], np.log([q, p])))
    return math.nan


def walk(percents, errors, target, between):
    for i in range(len(percents) - 1):
        if errors[i] >= target >= errors[i + 1]:
            return between(percents[i : i + 2], errors[i : i + 2], target)
    return math.nan


def labels_linear(percents, errors, target):
    return walk(
        percents, errors, target, lambda p, e, t: np.interp(t, e[::-1], p[::-1])
    )


def labels_backwards(percents, errors, target):
    return walk(
        percents,
        errors,
        target,
        lambda p, e, t: p[0] * (p[1] / p[0]) ** ((t - e[1]) / (e[0] - e[1])),
    )


def labels_log(percents, errors, target):
    return math.log(labels_by_numpy(percents, errors, target))


def labels_log10(percents, errors, target):
    return math.log10(labels_by_numpy(percents, errors, target))


def labels_power_law(percents, errors, target):
    return walk(
        percents,
        errors,
        target,
        lambda p, e, t: (
            p[0] * (p[1] / p[0]) ** (math.log(e[0] / t) / math.log(e[0] / e[1]))
        ),
    )


def labels_next_column(percents, errors, target):
    return walk(percents, errors, target, lambda p, e, t: p[1])


def labels_column_before(percents, errors, target):
    return walk(percents, errors, target, lambda p, e, t: p[0])


def labels_falling_interp(percents, errors, target):
    return float(np.interp(target, errors, np.log(percents)))


def labels_clamped(percents, errors, target):
    logs = np.interp(target, errors[::-1], np.log(percents[::-1]))
    return float(np.exp(logs))


def labels_last_crossing(percents, errors, target):
    turned = [list(reversed(percents)), list(reversed(errors))]
    for p, e, q, f in zip(*turned, turned[0][1:], turned[1][1:], strict=False):
        if f >= target >= e:
            return math.exp(np.interp(target, [e, f], np.log([p, q])))
    return math.nan


# ---- paired_interval -----------------------------------------------------------------


def interval(ours, theirs, *, sign=1, t=None, root=True, sd=statistics.stdev):
    seeds = [seed for seed in ours if seed in theirs]
    gaps = [sign * (ours[s] - theirs[s]) for s in seeds]
    n = len(gaps)
    mean = sum(gaps) / n
    if n == 1:
        return mean, -math.inf, math.inf
    half = (t(n) if t else student.ppf(0.95, n - 1)) * sd(gaps)
    half = half / math.sqrt(n) if root else half
    return mean, mean - half, mean + half


def interval_right(ours, theirs):
    return interval(ours, theirs)


def interval_sign(ours, theirs):
    return interval(ours, theirs, sign=-1)


def interval_normal(ours, theirs):
    return interval(ours, theirs, t=lambda n: 1.96)


def interval_n_degrees(ours, theirs):
    return interval(ours, theirs, t=lambda n: student.ppf(0.95, n))


def interval_one_sided(ours, theirs):
    return interval(ours, theirs, t=lambda n: student.ppf(0.9, n - 1))


def interval_no_root(ours, theirs):
    return interval(ours, theirs, root=False)


def interval_population(ours, theirs):
    return interval(ours, theirs, sd=statistics.pstdev)


def interval_unpaired(ours, theirs):
    seeds = [seed for seed in ours if seed in theirs]
    a, b = [ours[s] for s in seeds], [theirs[s] for s in seeds]
    n, mean = len(a), statistics.fmean(a) - statistics.fmean(b)
    sd = math.sqrt(statistics.variance(a) + statistics.variance(b))
    half = student.ppf(0.95, n - 1) * sd / math.sqrt(n)
    return mean, mean - half, mean + half


def interval_by_place(ours, theirs):
    gaps = [a - b for a, b in zip(ours.values(), theirs.values(), strict=False)]
    n, mean = len(gaps), statistics.fmean(gaps)
    half = student.ppf(0.95, n - 1) * statistics.stdev(gaps) / math.sqrt(n)
    return mean, mean - half, mean + half


def interval_all_seeds(ours, theirs):
    mean = statistics.fmean(ours.values()) - statistics.fmean(theirs.values())
    return mean, *interval(ours, theirs)[1:]


def interval_of_one(ours, theirs):
    gaps = [ours[s] - theirs[s] for s in ours if s in theirs]
    return (gaps[0],) * 3 if len(gaps) == 1 else interval(ours, theirs)


# ---- nearest_shape -------------------------------------------------------------------


def shape_by_rotation(points, prototypes):
    """Kabsch's best rotation, a figure at a time."""

    def clean(x):
        x = x - x.mean(dim=0)
        return x / x.norm()

    answers = []
    for figure in points:
        gaps = []
        for known in prototypes:
            h = clean(known).T @ clean(figure)  # (2, 2)
            angle = torch.atan2(h[0, 1] - h[1, 0], h[0, 0] + h[1, 1])
            cos, sin = angle.cos(), angle.sin()
            turn = torch.stack([torch.stack([cos, sin]), torch.stack([-sin, cos])])
            gaps.append((clean(known) @ turn - clean(figure)).norm())
        answers.append(torch.stack(gaps).argmin())
    return torch.stack(answers)


def clean_complex(x, centre=True, size=True):
    z = torch.complex(x[..., 0], x[..., 1])
    z = z - z.mean(1, keepdim=True) if centre else z
    return z / z.abs().pow(2).sum(1, keepdim=True).sqrt() if size else z


def shape_where_it_lies(points, prototypes):
    return (points[:, None] - prototypes).square().sum((-1, -2)).argmin(1)


def shape_not_turned(points, prototypes):
    a, b = clean_complex(points), clean_complex(prototypes)
    return (a[:, None] - b).abs().square().sum(-1).argmin(1)


def shape_real_part(points, prototypes):
    return (clean_complex(points) @ clean_complex(prototypes).conj().T).real.argmax(1)


def shape_mirrored(points, prototypes):
    return (clean_complex(points) @ clean_complex(prototypes).T).abs().argmax(1)


def shape_not_centred(points, prototypes):
    a, b = (clean_complex(x, centre=False) for x in (points, prototypes))
    return (a @ b.conj().T).abs().argmax(1)


def shape_not_scaled(points, prototypes):
    a, b = (clean_complex(x, size=False) for x in (points, prototypes))
    return (a @ b.conj().T).abs().argmax(1)


def shape_least_alike(points, prototypes):
    a, b = clean_complex(points), clean_complex(prototypes)
    return (a @ b.conj().T).abs().argmin(1)


def shape_always_three(points, prototypes):
    return torch.full((len(points),), 3)


# ---- error_of_kept -------------------------------------------------------------------


def kept_by_topk(warning, error, share):
    keep = len(warning) - round(share * len(warning))
    return error[warning.topk(keep, largest=False).indices].mean()


def kept_all(warning, error, share):
    return error.mean()


def kept_the_doubtful(warning, error, share):
    return error[warning.topk(max(1, round(share * len(warning)))).indices].mean()


def kept_wrong_end(warning, error, share):
    return error[warning.argsort()[round(share * len(warning)) :]].mean()


def kept_only_share(warning, error, share):
    return error[warning.argsort()[: round(share * len(warning))]].mean()


def kept_by_error(warning, error, share):
    return error.sort(descending=True).values[round(share * len(warning)) :].mean()


def kept_zeros(warning, error, share):
    kept = error.clone()
    kept[warning.topk(round(share * len(warning))).indices] = 0
    return kept.mean()


def kept_level(warning, error, share):
    low, high = warning.min(), warning.max()
    return error[warning <= low + (1 - share) * (high - low)].mean()


def kept_warning(warning, error, share):
    return warning.sort().values[: len(warning) - round(share * len(warning))].mean()


def kept_rounded_up(warning, error, share):
    aside = max(1, round(share * len(warning)))
    return error[warning.argsort(descending=True)[aside:]].mean()


WRONG = [
    ("labels_needed", labels_linear, "over the percentage itself"),
    ("labels_needed", labels_backwards, "from the wrong end"),
    ("labels_needed", labels_log, "This is the logarithm"),
    ("labels_needed", labels_log10, "This is log10"),
    ("labels_needed", labels_power_law, "the error is in logarithms as well"),
    ("labels_needed", labels_next_column, "This is a column of the table"),
    ("labels_needed", labels_column_before, "the column before the crossing"),
    ("labels_needed", labels_falling_interp, "numpy.interp needs rising x"),
    ("labels_needed", labels_clamped, "was never reached"),
    ("labels_needed", labels_last_crossing, "Measured curves have bumps"),
    ("paired_interval", interval_sign, "The sign"),
    ("paired_interval", interval_normal, "1.96 is for many seeds"),
    ("paired_interval", interval_n_degrees, "n - 1 degrees of freedom"),
    ("paired_interval", interval_one_sided, "not ppf(0.9)"),
    ("paired_interval", interval_no_root, "divide by sqrt(n)"),
    ("paired_interval", interval_population, "divides by n - 1"),
    ("paired_interval", interval_unpaired, "seed by seed first"),
    ("paired_interval", interval_by_place, "not by their place"),
    ("paired_interval", interval_all_seeds, "Only seeds that both have"),
    ("paired_interval", interval_of_one, "One common seed"),
    ("nearest_shape", shape_where_it_lies, "where they lie"),
    ("nearest_shape", shape_not_turned, "the turn is not"),
    ("nearest_shape", shape_real_part, "not its real part"),
    ("nearest_shape", shape_mirrored, "the mirror image"),
    ("nearest_shape", shape_not_centred, "Subtract the mean"),
    ("nearest_shape", shape_not_scaled, "Large prototypes win"),
    ("nearest_shape", shape_least_alike, "the least similar one"),
    ("nearest_shape", shape_always_three, "is a turned, scaled and moved prototype"),
    ("error_of_kept", kept_all, "Nothing is set aside"),
    ("error_of_kept", kept_the_doubtful, "You keep the most suspicious"),
    ("error_of_kept", kept_wrong_end, "*least* suspicious"),
    ("error_of_kept", kept_only_share, "keep this share"),
    ("error_of_kept", kept_by_error, "the largest *error*"),
    ("error_of_kept", kept_zeros, "how many are kept"),
    ("error_of_kept", kept_level, "A share of the *images*"),
    ("error_of_kept", kept_warning, "mean warning"),
    ("error_of_kept", kept_rounded_up, "With share = 0"),
]
RIGHT = [
    ("labels_needed", labels_by_numpy),
    ("paired_interval", interval_right),
    ("nearest_shape", shape_by_rotation),
    ("error_of_kept", kept_by_topk),
]


# ---- the paper's tables --------------------------------------------------------------

TABLES = paper_tables("seqmt")


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_of_a_table_is_a_setting_of_ours(name):
    table = TABLES[name]
    problem = PROBLEMS[table.experiment]
    assert table.rows and set(table.percents) <= {1, 5, 10, 20, 50, 100}
    for row, cells in table.rows.items():
        assert all(value > 0 for value in cells.values())
        for percent in cells:
            network(problem, Cell.read(f"{row}@{percent}"))  # or it raises


def test_the_full_set_of_table_4_is_the_mean_over_its_images():
    parts = [TABLES[f"table-4-{name}"] for name in ("common", "ibug", "full")]
    for row in parts[2].rows:
        common, ibug, full = (part.rows[row][100] for part in parts)
        assert full == pytest.approx((554 * common + 135 * ibug) / 689, abs=0.04)
    for name in parts[0].others:
        common, ibug, full = (part.others[name] for part in parts)
        assert full == pytest.approx((554 * common + 135 * ibug) / 689, abs=0.4)


def test_numbers_that_stand_in_two_tables_agree():
    for row in ("Seq-MT(L)", "Seq-MT(L+C)"):
        assert TABLES["table-3"].rows[row] == TABLES["table-7"].rows[row]
    for name, other in (("full", "full"), ("ibug", "ibug")):
        five, four = TABLES[f"table-5-{name}"], TABLES[f"table-4-{other}"]
        for row, cells in five.rows.items():
            assert cells[100] == four.rows[row][100]


def write_rows(root, *cells, metric="error", budget="class"):
    folder = root / "data" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "seqmt-blocks.jsonl", "a") as file:
        for setting, seed, value in cells:
            row = dict(experiment="seqmt-blocks", setting=setting, seed=seed)
            row |= dict(metric=metric, value=value, steps=1, device="cpu")
            row |= dict(versions={}, commit=None, seconds=1.0)
            file.write(json.dumps(row | {"extra": {"budget": budget}}) + "\n")


def test_measured_finds_our_rows_of_a_table(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLIB_ROOT", str(tmp_path))  # its own rows, the course's tables
    table = paper_tables("seqmt")["table-1"]
    assert table.measured() == {}
    write_rows(tmp_path, ("Seq-MT(L)@5", 0, 3.0), ("Seq-MT(L)@5", 1, 4.0))
    write_rows(tmp_path, ("Seq-MT(L,flat)@5", 0, 9.0), ("Seq-MT(L+C)@5", 0, 2.0))
    write_rows(tmp_path, ("Seq-MT(L)@5", 2, 50.0), budget="quick")
    write_rows(tmp_path, ("Seq-MT(L)@5", 0, 0.5), metric="accuracy")
    found = table.measured()
    assert set(found) == {("Seq-MT(L)", 5), ("Seq-MT(L+C)", 5)}
    assert found["Seq-MT(L)", 5]["mean"] == 3.5 and found["Seq-MT(L)", 5]["n"] == 2
    assert math.isnan(found["Seq-MT(L+C)", 5]["low"])


def test_measured_is_in_the_units_of_the_table(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLIB_ROOT", str(tmp_path))
    write_rows(tmp_path, ("Seq-MT(L+C)@5", 0, 0.75), metric="accuracy")
    about = dict(source="x", about="x", experiment="seqmt-blocks", unit="%")
    table = PaperTable(**about, metric="accuracy", scale=100, better="higher",
                       rows={"Seq-MT(L+C)": {5: 70.0}})  # fmt: skip
    assert table.measured()["Seq-MT(L+C)", 5]["mean"] == 75.0
    nothing = PaperTable(**about, metric="", scale=1, better="lower", rows=table.rows)
    assert nothing.measured() == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[t", "not valid TOML"),
        ("[t]\nsource = 'x'", "table t: lacks about"),
        ("[t]\nsource='x'\nabout='x'\nexperiment='x'\nmetric='x'\nunit='x'\nscale=1\n"
         "better='more'\n[t.rows]", "better must be"),
        ("a = 1\n[t", ":2: not valid TOML"),
        ("[t.rows]\nx = { five = 1.0 }", "table t: row x: column 'five' is no"),
        ("[t.rows]\nx = { 5 = 'a' }", "row x, column 5: must be a number"),
        (f"[t.rows]\nx = {{ 5 = 1{'0' * 400} }}", "must be a number"),
        ("[t]\nrows = 3", ":1: table t: rows must be a table"),
        ("\n[t.rows]\nx = 3", "row x: must be"),
        ("t = 3", "must be a table, got 3"),
        (f"t = {'[' * 100_000}", "nested too deeply"),
        ("[t]\nsource='x'\nabout='x'\nexperiment='x'\nmetric='{x}'\nunit='x'\nscale=1\n"
         "better='lower'\n[t.rows]", ":1: table t: metric may hold"),
        ("[t]\nsource='x'\nabout='x'\nexperiment='x'\nmetric='x'\nunit='x'\nscale=1\n"
         "better='lower'\nsetting='{row'\n[t.rows]", "setting may hold"),
        ("[t]\nsource='x'\nabout='x'\nexperiment='x'\nmetric='x'\nunit='x'\nscale=1\n"
         "better='lower'\n[t.rows]\n[t.others]\nx = 'y'", "x: must be a number"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_named(tmp_path, monkeypatch, text, message):
    (tmp_path / "data" / "paper").mkdir(parents=True)
    (tmp_path / "data" / "paper" / "toy.toml").write_text(text)
    monkeypatch.setenv("LMLIB_ROOT", str(tmp_path))
    with pytest.raises(ValueError, match=message) as error:
        paper_tables("toy")
    assert "toy.toml" in str(error.value)


def test_an_unknown_paper_is_an_error():
    with pytest.raises(ValueError, match="no tables of a paper called 'nope'"):
        paper_tables("nope")
