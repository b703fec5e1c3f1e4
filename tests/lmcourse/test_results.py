"""Result rows: nothing lost, nothing interleaved, and runs that resume."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lmcourse.budget import budget, current_budget
from lmcourse.evidence import images, results
from lmcourse.evidence.results import (
    Row,
    Run,
    append_images,
    append_rows,
    latest,
    missing_runs,
    read_images,
    read_rows,
    repair,
    run_missing,
    summarise,
)
from lmlib import machine
from lmlib.machine import environment

ROOT = Path(__file__).resolve().parents[2]


def row(value=0.5, seed=0, setting="a", metric="accuracy", **extra):
    return Row("toy", setting, seed, metric, value, 10, "cpu", {"python": "3.11"},
               "abc", 1.5, extra)  # fmt: skip


# --- the file -------------------------------------------------------------------------


def test_rows_come_back_as_they_were_written(tmp_path):
    rows = [row(0.25, n_train=20), row(1 / 3, seed=1), row(2, setting="ünï")]
    append_rows(rows[:2], tmp_path)
    append_rows(rows[2:], tmp_path)
    assert read_rows("toy", tmp_path) == rows
    lines = (tmp_path / "toy.jsonl").read_text().splitlines()
    assert len(lines) == 3
    fields = "experiment setting seed metric value steps device versions commit seconds"
    assert fields.split() == list(json.loads(lines[0]))[:10]


def test_filters_name_fields_and_extras(tmp_path):
    append_rows([row(i, seed=i, n_train=10 * i) for i in range(4)], tmp_path)
    assert [r.seed for r in read_rows("toy", tmp_path, seed=[1, 3])] == [1, 3]
    assert [r.seed for r in read_rows("toy", tmp_path, n_train=20)] == [2]
    assert read_rows("toy", tmp_path, setting="b") == []
    assert read_rows("never-run", tmp_path) == []
    with pytest.raises(ValueError, match="no field 'sede'.*'seed'"):
        read_rows("toy", tmp_path, sede=1)


GOOD = row().line()
BROKEN = {
    "not JSON": ("{nonsense", "not a JSON object"),
    "a list": ("[1, 2]", "not a JSON object"),
    "half a row": (GOOD[:40], "not a JSON object"),
    "a field missing": (GOOD.replace('"seed": 0, ', ""), "lacks seed"),
    "a field too many": (
        GOOD.replace("{", '{"sede": 0, ', 1),
        "has unknown field 'sede'",
    ),
    "text as value": (GOOD.replace("0.5", '"0.5"'), "value must be int or float"),
    "NaN": (GOOD.replace("0.5", "NaN"), "must be finite"),
    "10 to the 400": (GOOD.replace("0.5", "1" + "0" * 400), "must be finite"),
    "5,000 digits": (GOOD.replace("0.5", "1" * 5000), "not a JSON object"),
    "endless seconds": (GOOD.replace("1.5", "1" + "0" * 400), "seconds must be finite"),
    "a budget of lists": (
        GOOD.replace('"extra": {}', '"extra": {"budget": [1]}'),
        "budget must be str",
    ),
    "a nest": ("[" * 100_000, "nested too deeply"),
    "a foreign row": (GOOD.replace('"toy"', '"other"'), "belongs to .*'other'"),
    "bytes": ("\udcff\udcfe", "not a JSON object"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_line_is_named_and_nothing_is_lost(tmp_path, kind):
    line, message = BROKEN[kind]
    path = tmp_path / "toy.jsonl"
    text = f"{GOOD}\n{line}\n{GOOD}\n".encode("utf-8", "surrogateescape")
    path.write_bytes(text)
    with pytest.raises(
        ValueError, match=rf"toy\.jsonl:2: .*{message}.*expected a JSON"
    ):
        read_rows("toy", tmp_path)
    # appending and repairing leave a broken line in the middle to its owner
    repair("toy", tmp_path)
    assert path.read_bytes() == text
    append_rows([row(0.75)], tmp_path)
    assert path.read_bytes() == text + row(0.75).line().encode() + b"\n"
    assert not (tmp_path / "toy.jsonl.broken").exists()


@pytest.mark.parametrize("cut", [1, 60, len(GOOD) - 1])
def test_half_a_last_line_is_set_aside_by_the_next_append(tmp_path, cut):
    path, aside = tmp_path / "toy.jsonl", tmp_path / "toy.jsonl.broken"
    path.write_text(f"{GOOD}\n{GOOD[:cut]}")
    with pytest.raises(ValueError, match=r"toy\.jsonl:2: .*killed here"):
        read_rows("toy", tmp_path)
    assert path.read_text() == f"{GOOD}\n{GOOD[:cut]}"  # reading changes nothing
    append_rows([row(0.75)], tmp_path)
    assert read_rows("toy", tmp_path) == [row(), row(0.75)]
    assert aside.read_text() == GOOD[:cut] + "\n"
    path.write_text(path.read_text() + "{again")
    repair("toy", tmp_path)
    assert aside.read_text() == GOOD[:cut] + "\n{again\n"


def test_a_whole_last_row_without_its_newline_is_kept(tmp_path):
    (tmp_path / "toy.jsonl").write_text(GOOD)
    assert read_rows("toy", tmp_path) == [row()]
    append_rows([row(0.75)], tmp_path)
    assert read_rows("toy", tmp_path) == [row(), row(0.75)]
    assert not (tmp_path / "toy.jsonl.broken").exists()


WRITER = """
import sys
from pathlib import Path
from lmcourse.evidence.results import Row, append_rows
seed, folder = int(sys.argv[1]), Path(sys.argv[2])
for i in range(60):
    filler = "x" * 3000
    rows = [Row("toy", f"{i}-{part}", seed, "m", i, 0, filler, {}, None, 0.0)
            for part in "abc"]
    append_rows(rows, folder)
"""


def test_two_processes_append_without_mixing_lines(tmp_path):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(seed), str(tmp_path)], cwd=ROOT
        )
        for seed in (0, 1)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    rows = read_rows("toy", tmp_path)
    assert len(rows) == 2 * 60 * 3
    for start in range(0, len(rows), 3):  # the rows of one append stay together
        group = rows[start : start + 3]
        assert len({(r.seed, r.setting.split("-")[0]) for r in group}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": math.nan}, "accuracy must be finite, got nan"),
        ({"value": "1"}, "value must be int or float, got '1'"),
        ({"value": True}, "value must be"),
        ({"seed": 1.0}, "seed must be int"),
        ({"experiment": "../toy"}, "lower-case letters.*'../toy'"),
        ({"setting": ""}, "must not be empty"),
        ({"commit": 3}, "commit must be str or NoneType"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(row(), **change)


def test_the_make_of_a_device_is_its_processor_and_precision():
    def make(device):
        return replace(row(), device=device).make

    assert make("cpu (AMD EPYC, 1 threads)") == make("cpu (AMD EPYC, 2 threads)")
    assert make("cpu (Intel(R) Xeon(R) Processor, 1 threads)") != make("cpu (AMD EPYC)")
    half = "cpu (AMD EPYC, 1 threads, bfloat16)"
    assert make(half) == "cpu (AMD EPYC, bfloat16)"
    assert make("NVIDIA H200 (bfloat16)") == "NVIDIA H200 (bfloat16)"


def test_rows_are_read_where_no_lock_can_be_made(tmp_path):
    append_rows([row()], tmp_path)
    lock = tmp_path / ".toy.jsonl.lock"
    lock.unlink()
    lock.mkdir()  # as good as a folder that may only be read, to root too
    assert read_rows("toy", tmp_path) == [row()]
    with pytest.raises(OSError):
        append_rows([row()], tmp_path)


# --- errors of single images ----------------------------------------------------------


def test_image_errors_come_back_with_three_digits(tmp_path):
    rows = [row(), row(metric="error"), row(seed=1)]
    errors = np.array([0.1234567, 250.0, math.nan])
    append_images(rows[:2], {"accuracy": errors, "error": [1, 2]}, tmp_path)
    append_images(rows[2:], {"accuracy": errors[:2] / 2}, tmp_path)
    found = read_images("toy", tmp_path)
    assert set(found) == {r.image_key for r in rows}
    back = found[rows[0].image_key]
    assert back.dtype == np.float16 and back.shape == (3,)
    np.testing.assert_allclose(back, errors, rtol=5e-4)
    append_images(rows[:1], {"accuracy": [7.0]}, tmp_path)  # measured again
    assert read_images("toy", tmp_path)[rows[0].image_key] == [7]
    assert len(read_images("toy", tmp_path)) == 3
    assert read_images("never-run", tmp_path) == {}
    other = replace(rows[0], device="cpu (another)")  # another row, other errors
    assert other.image_key not in found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0]], r"one error an image, got shape \(1, 1\)"),
        ([], "one error an image"),
        ([math.inf], "below 65,504"),
        ([1e6], "below 65,504"),
    ],
)
def test_image_errors_that_cannot_be_kept_are_refused(tmp_path, values, message):
    with pytest.raises(ValueError, match=f"images of accuracy must be.*{message}"):
        append_images([row()], {"accuracy": values}, tmp_path)
    assert read_images("toy", tmp_path) == {}


def test_all_image_errors_together_stay_small(tmp_path, monkeypatch):
    assert images.LIMIT == 20_000_000
    monkeypatch.setattr(images, "LIMIT", 6000)
    thousand = np.ones(1000)
    append_images([row()], {"accuracy": thousand}, tmp_path)
    other = replace(row(), experiment="other")
    append_images([other], {"accuracy": thousand}, tmp_path)
    append_images([other], {"accuracy": thousand}, tmp_path)  # in place of the first
    with pytest.raises(images.ImagesFull, match="MB, more than 0.006"):
        append_images([row(seed=1)], {"accuracy": thousand}, tmp_path)
    assert list(read_images("toy", tmp_path)) == [row().image_key]
    files = list((tmp_path / "images").glob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) <= 6000 and len(files) == 2


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\x10" + b"\0" * 7 + b"{}" * 8])
def test_a_broken_file_of_image_errors_is_named(tmp_path, content):
    path = tmp_path / "images" / "toy.safetensors"
    path.parent.mkdir()
    path.write_bytes(content)
    for act in (
        read_images,
        lambda *a: append_images([row()], {"accuracy": [1]}, a[1]),
    ):
        with pytest.raises(ValueError, match=r"toy\.safetensors: not a file of image"):
            act("toy", tmp_path)
    assert path.read_bytes() == content


def test_foreign_tensors_are_no_image_errors(tmp_path):
    from safetensors.numpy import save

    path = tmp_path / "images" / "toy.safetensors"
    path.parent.mkdir()
    name = json.dumps(row().image_key)
    for key, vector, message in (
        ("weight", np.ones(2, "f2"), "not a file of image errors"),
        (name.replace("0", '"0"', 1), np.ones(2, "f2"), "seed in"),
        (name, np.ones(2, "f4"), "must be a float16 vector, got float32"),
        (name, np.ones((2, 2), "f2"), "must be a float16 vector"),
    ):
        path.write_bytes(save({key: vector}))
        with pytest.raises(ValueError, match=message):
            read_images("toy", tmp_path)


IMAGES = """
import sys
from pathlib import Path
from lmcourse.evidence.results import Row, append_images
seed, folder = int(sys.argv[1]), Path(sys.argv[2])
for i in range(30):
    row = Row("toy", f"{i}", seed, "m", i, 0, "cpu", {}, None, 0.0)
    append_images([row], {"m": [float(i)] * 500}, folder)
    print(i, flush=True)
"""


def test_two_processes_keep_image_errors_and_a_killed_one_tears_nothing(tmp_path):
    def start(seed):
        command = [sys.executable, "-c", IMAGES, str(seed), str(tmp_path)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    writers = [start(0), start(1)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert len(read_images("toy", tmp_path)) == 60
    third = start(2)
    while third.stdout.readline() != "9\n":
        pass
    third.kill()
    third.wait()
    found = read_images("toy", tmp_path)  # the old file or the new, and no lock is left
    assert sum(key.seed == 2 for key in found) >= 10
    assert all(
        (v == float(k.setting)).all() and len(v) == 500 for k, v in found.items()
    )


# --- summaries ------------------------------------------------------------------------


def test_summary_agrees_with_numpy_and_scipy():
    values = [0.7, 0.9, 0.8, 0.75]
    rows = [row(v, seed=i) for i, v in enumerate(values)] + [row(0.1, setting="b")]
    first, second = summarise(rows)
    assert (first["experiment"], first["setting"]) == ("toy", "a")
    assert (first["n"], second["n"]) == (4, 1)
    assert first["mean"] == pytest.approx(np.mean(values))
    assert first["std"] == pytest.approx(np.std(values, ddof=1))
    interval = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (first["low"], first["high"]) == pytest.approx(interval)
    assert second["mean"] == 0.1
    assert math.isnan(second["std"]) and math.isnan(second["low"])


def test_a_repeated_run_counts_once_and_budgets_do_not_mix():
    rows = [row(0.1, budget="full"), row(0.9, budget="full")]
    assert [r.value for r in latest(rows)] == [0.9]
    assert summarise(rows)[0]["n"] == 1
    with pytest.raises(ValueError, match=r"mixes budgets \['class', 'full'\]"):
        summarise([*rows, row(0.5, seed=1)])
    table = summarise([*rows, row(0.5, seed=1)], by=("budget", "metric"))
    assert [(r["budget"], r["mean"]) for r in table] == [("full", 0.9), ("class", 0.5)]


def test_summary_by_an_extra():
    rows = [row(n / 100, seed=s, n_train=n) for n in (10, 20) for s in (0,)]
    rows = [replace(r, setting=f"n={r.extra['n_train']}") for r in rows]
    table = summarise(rows, by=("n_train", "metric"))
    assert [(r["n_train"], r["mean"]) for r in table] == [(10, 0.1), (20, 0.2)]


# --- where and with what --------------------------------------------------------------


def test_environment_names_device_versions_and_commit():
    import torch

    where = environment()
    assert set(where["versions"]) == {"python", "torch", "numpy"}
    assert where["versions"]["torch"] == torch.__version__
    assert where["device"]


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_commit_is_dirty_when_code_changes_but_not_when_rows_arrive(
    tmp_path, monkeypatch
):
    package = tmp_path / "lmlib"
    package.mkdir()
    (package / "results.py").write_text("")
    monkeypatch.setattr(machine, "__file__", str(package / "machine.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert machine._commit() is None  # no repository
    git(tmp_path, "init", "-q")
    assert machine._commit() is None  # no commit yet
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD").strip()
    assert machine._commit() == head
    append_rows([row()], tmp_path / "data" / "results")
    assert machine._commit() == head
    (package / "results.py").write_text("changed = True")
    assert machine._commit() == head + "-dirty"


def test_root_follows_the_variable_and_the_checkout(tmp_path, monkeypatch):
    assert results.results_folder() == ROOT / "data" / "results"
    monkeypatch.setenv("LMLIB_ROOT", str(tmp_path))
    assert results.results_folder() == tmp_path / "data" / "results"


def test_budget(monkeypatch):
    def choose():
        return budget(quick=1, class_=2, full=3)

    for value, expected in (("quick", 1), ("class", 2), ("full", 3), ("", 2)):
        monkeypatch.setenv("LMLIB_BUDGET", value)
        assert choose() == expected
    monkeypatch.delenv("LMLIB_BUDGET")
    assert (choose(), current_budget()) == (2, "class")
    monkeypatch.setenv("LMLIB_BUDGET", "huge")
    with pytest.raises(ValueError, match="quick, class or full, got 'huge'"):
        choose()


# --- runs -----------------------------------------------------------------------------


def toy_runs(calls, seeds=(0, 1, 2), metrics=("accuracy", "error")):
    def function(seed):
        calls.append(seed)
        return {"accuracy": 0.9, "error": 0.1 * seed, "steps": 7, "extra": {"n": 5}}

    return [Run("toy", "a", s, lambda s=s: function(s), metrics) for s in seeds]


def test_missing_runs_are_done_once(tmp_path):
    calls = []
    new = run_missing(toy_runs(calls), tmp_path, progress=False)
    assert calls == [0, 1, 2]
    assert read_rows("toy", tmp_path) == new
    assert [(r.seed, r.metric, r.value) for r in new[2:4]] == [
        (1, "accuracy", 0.9),
        (1, "error", 0.1),
    ]
    assert {(r.steps, r.extra["n"], r.budget) for r in new} == {
        (7, 5, current_budget())
    }
    assert run_missing(toy_runs(calls), tmp_path, progress=False) == []
    assert len(run_missing(toy_runs(calls, [1, 5]), tmp_path, progress=False)) == 2
    assert calls == [0, 1, 2, 5]


def test_another_budget_is_another_run(tmp_path, monkeypatch):
    calls = []
    for value in ("quick", "full", "quick"):
        monkeypatch.setenv("LMLIB_BUDGET", value)
        run_missing(toy_runs(calls, [0]), tmp_path, progress=False)
    assert calls == [0, 0]


def test_a_run_cut_off_between_its_rows_is_done_again(tmp_path):
    calls = []
    path = tmp_path / "toy.jsonl"
    run_missing(toy_runs(calls), tmp_path, progress=False)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]) + lines[3][:50])  # killed inside seed 1
    assert [run.seed for run in _after_repair(tmp_path)] == [1, 2]
    run_missing(toy_runs(calls), tmp_path, progress=False)
    assert calls == [0, 1, 2, 1, 2]
    kept = latest(read_rows("toy", tmp_path))
    assert sorted((r.seed, r.metric) for r in kept) == [
        (s, m) for s in range(3) for m in ("accuracy", "error")
    ]


def _after_repair(folder):
    repair("toy", folder)
    return missing_runs(toy_runs([]), folder)


def test_an_interrupted_table_goes_on_where_it_stopped(tmp_path):
    calls = []
    runs = toy_runs(calls)

    def interrupt():
        raise KeyboardInterrupt

    stopping = [runs[0], replace(runs[1], function=interrupt), runs[2]]
    with pytest.raises(KeyboardInterrupt):
        run_missing(stopping, tmp_path, progress=False)
    assert {r.seed for r in read_rows("toy", tmp_path)} == {0}
    run_missing(runs, tmp_path, progress=False)
    assert calls == [0, 1, 2]


def test_a_run_may_give_the_errors_of_its_images(tmp_path, monkeypatch):
    errors = np.linspace(0, 1, 50)

    def work():
        return {"accuracy": 0.9, "error": 0.5, "images": {"error": errors}}

    rows = run_missing([Run("toy", "a", 0, work)], tmp_path, progress=False)
    assert {r.metric for r in rows} == {"accuracy", "error"}
    ((key, kept),) = read_images("toy", tmp_path).items()
    assert key == rows[1].image_key
    np.testing.assert_allclose(kept, errors, rtol=5e-4, atol=1e-6)
    monkeypatch.setattr(images, "LIMIT", 100)  # no room: the run itself is not lost
    with pytest.warns(UserWarning, match="toy/a/seed 1 is kept without them"):
        rows = run_missing([Run("toy", "a", 1, work)], tmp_path, progress=False)
    assert len(rows) == 2 and len(read_images("toy", tmp_path)) == 1


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"accuracy": 1, "error": 1, "images": {"eror": [1]}}, r"images of \['eror'\]"),
        ({"accuracy": 0.9}, r"\['accuracy'\], expected \['accuracy', 'error'\]"),
        ({"accuracy": 0.9, "error": math.nan}, "error must be finite, got nan"),
        ({}, "expected"),
    ],
)
def test_a_run_with_wrong_metrics_writes_nothing(tmp_path, result, message):
    run = Run("toy", "a", 0, lambda: result, ("accuracy", "error"))
    with pytest.raises(ValueError, match=message) as error:
        run_missing([run], tmp_path, progress=False)
    assert "in run toy/a/seed 0" in error.value.__notes__
    assert read_rows("toy", tmp_path) == []


def test_a_run_that_another_process_holds_is_left_to_it(tmp_path):
    calls = []
    runs = toy_runs(calls)
    with results._taken(runs[1], tmp_path) as ours:
        assert ours
        run_missing(runs, tmp_path, progress=False)
        assert calls == [0, 2]
        assert missing_runs(runs, tmp_path) == [runs[1]]
    run_missing(runs, tmp_path, progress=False)
    assert calls == [0, 2, 1]


SLOW = """
import sys, time
from pathlib import Path
from lmcourse.evidence.results import Run, run_missing
def work(seed):
    time.sleep(0.05)
    return {"m": float(seed)}
runs = [Run("toy", "a", s, lambda s=s: work(s), ("m",)) for s in range(40)]
run_missing(runs, Path(sys.argv[1]), progress=False)
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL on Windows")
def test_kill_minus_nine_loses_only_the_run_in_hand(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)], cwd=ROOT)
    path = tmp_path / "toy.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if path.exists() and path.read_text().count("\n") >= 3:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = [r.seed for r in read_rows("toy", tmp_path)]
    assert 3 <= len(before) < 40
    run = subprocess.run([sys.executable, "-c", SLOW, str(tmp_path)], cwd=ROOT)
    assert run.returncode == 0
    after = [r.seed for r in read_rows("toy", tmp_path)]
    assert after == list(range(40))
    assert after[: len(before)] == before
