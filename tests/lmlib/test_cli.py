"""The command line: what it prints, how it ends, and what the doctor finds."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from lmcourse import commands, doctor
from lmcourse.evidence.results import Run, Table, read_rows
from lmlib import cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A repository of its own with a toy table and a claim on it."""
    calls = []

    def work(setting, seed):
        calls.append((setting, seed))
        return {"accuracy": {"real": 1.0, "shuffled": 0.5}[setting]}

    runs = [
        Run("toy", setting, seed, lambda s=setting, n=seed: work(s, n), ("accuracy",))
        for setting in ("real", "shuffled")
        for seed in (0, 1)
    ]
    tables = {"toy-1": Table("toy-1", "a toy table", lambda: runs)}
    monkeypatch.setattr(commands, "_tables", lambda: tables)
    monkeypatch.setenv("LMLIB_ROOT", str(tmp_path))
    monkeypatch.setenv("LMLIB_BUDGET", "class")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "claims.toml").write_text("""
[[claim]]
id = "toy-1"
paper = "toy"
statement = "It works."
source = "table 1"
experiment = "toy"
metrics = { accuracy = "share" }
effects = [{ says = "right", compare = "real:accuracy > 0.9", paper = [0.99] }]
[claim.control]
replace = { real = "shuffled" }
because = "shuffled"
""")
    return SimpleNamespace(root=tmp_path, calls=calls, tables=tables)


def run(*arguments):
    return cli.main(list(arguments))


# --- reproduce ------------------------------------------------------------------------


def test_missing_runs_are_trained_together_first(course):
    told = []
    table = course.tables["toy-1"]

    def together(runs, count):
        told.append((len(runs), count))
        return runs

    course.tables["toy-1"] = replace(table, together=together)
    assert run("reproduce", "toy-1", "--seeds", "1", "--stack", "8") == 0
    assert run("reproduce", "toy-1", "--stack", "8") == 0
    assert run("reproduce", "toy-1") == 0
    assert told == [(2, 8), (2, 8)]


def test_reproduce_writes_rows_once_and_lists_progress(course, capsys):
    assert run("reproduce", "--list") == 0
    assert "toy-1  0/4 runs done (class)  a toy table" in capsys.readouterr().out
    assert run("reproduce", "toy-1", "--seeds", "1") == 0
    assert course.calls == [("real", 1), ("shuffled", 1)]
    assert "toy/real seed 1: accuracy 1" in capsys.readouterr().out
    assert run("reproduce", "toy-1") == 0
    assert "4 runs done, 2 of them now" in capsys.readouterr().out
    assert run("reproduce", "toy-1") == 0
    assert sorted(course.calls) == [
        ("real", 0),
        ("real", 1),
        ("shuffled", 0),
        ("shuffled", 1),
    ]
    assert run("reproduce", "--list") == 0
    assert "toy-1  4/4" in capsys.readouterr().out


def test_reproduce_takes_its_budget_from_the_option(course, monkeypatch):
    assert run("reproduce", "toy-1", "--budget", "full") == 0
    rows = read_rows("toy")
    assert {row.budget for row in rows} == {"full"}
    assert (course.root / "data" / "results" / "toy.jsonl").exists()


def test_reproduce_mends_half_a_line_left_by_a_kill(course, capsys):
    assert run("reproduce", "toy-1") == 0
    path = course.root / "data" / "results" / "toy.jsonl"
    path.write_text(path.read_text()[:-30])
    assert run("claims") == 2
    assert "toy.jsonl:4: " in capsys.readouterr().err
    assert run("reproduce", "toy-1") == 0
    assert course.calls[4:] == [("shuffled", 1)]
    assert run("claims") == 0


def test_control_c_ends_in_130_and_says_how_to_resume(course, capsys):
    def interrupt():
        raise KeyboardInterrupt

    first = course.tables["toy-1"].runs()[0]
    stopping = [first, Run("toy", "shuffled", 0, interrupt)]
    course.tables["toy-1"] = Table("toy-1", "", lambda: stopping)
    assert run("reproduce", "toy-1") == 130
    line = capsys.readouterr().err.splitlines()[-1]
    assert "Resume with: lmlib reproduce toy-1" in line
    assert [row.setting for row in read_rows("toy")] == ["real"]


def test_what_another_process_does_is_not_told_as_done(course, capsys):
    from lmcourse.evidence import results

    runs = course.tables["toy-1"].runs()
    with results._taken(runs[1], None) as ours:
        assert ours
        assert run("reproduce", "toy-1", "--only", "real") == 0
    told = capsys.readouterr().out
    assert "1 of 2 runs done, 1 of them now, 1 in the hands of another process" in told
    assert run("reproduce", "toy-1", "--only", "real", "--seeds", "0") == 0
    assert "1 run done, 0 of them now (class)" in capsys.readouterr().out


def test_claims_as_a_figure(course, capsys):
    from PIL import Image

    assert run("claims", "--figure", str(course.root / "claims.png")) == 2
    assert "unknown claim" in capsys.readouterr().err  # the README's are not these
    text = (course.root / "data" / "claims.toml").read_text()
    from lmcourse.evidence.forest import README

    every = [text.replace("toy-1", name) for name in README]
    (course.root / "data" / "claims.toml").write_text("".join(every))
    assert run("claims", "--figure", str(course.root / "claims.png")) == 0
    with Image.open(course.root / "claims.png") as picture:
        assert "seqmt-5, not tested: right: paper 0.99" in picture.info["Description"]


# A shell's background jobs ignore Ctrl-C, and so would the tests' children there.
INTERRUPTED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from lmlib import cli
from lmcourse import commands
from lmcourse.evidence.results import Run, Table
def work():
    print("started", flush=True)
    time.sleep(60)
runs = [Run("toy", "a", 0, lambda: {"m": 1.0}), Run("toy", "b", 0, work)]
commands._tables = lambda: {"t": Table("t", "", lambda: runs)}
sys.exit(cli.main(["reproduce", "t"]))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals differ on Windows")
def test_a_real_control_c_in_a_real_process(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        cwd=ROOT, env={**os.environ, "LMLIB_ROOT": str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Resume with: lmlib reproduce t" in err and "Traceback" not in err
    assert [row.setting for row in read_rows("toy", tmp_path / "data" / "results")] == [
        "a"
    ]


# --- claims ---------------------------------------------------------------------------


def test_claims_as_text_json_and_markdown(course, capsys):
    assert run("claims") == 0
    assert "toy-1  [not tested]" in capsys.readouterr().out
    run("reproduce", "toy-1")
    capsys.readouterr()
    assert run("claims", "--json") == 0
    (claim,) = json.loads(capsys.readouterr().out)
    assert claim["verdict"] == "reproduced"
    assert claim["effects"][0]["n"] == 2
    assert run("claims", "--markdown") == 0
    assert "| **reproduced** |" in capsys.readouterr().out


def test_claims_check_fails_until_written(course, capsys):
    readme = course.root / "README.md"
    readme.write_text("<!-- claims:begin -->\n<!-- claims:end -->\n")
    assert run("claims", "--check") == 1
    assert "README.md disagrees with the rows" in capsys.readouterr().out
    assert run("claims", "--write", str(readme)) == 0
    assert run("claims", "--check", str(readme)) == 0
    assert "1 file(s) agree" in capsys.readouterr().out
    run("reproduce", "toy-1")
    assert run("claims", "--check") == 1


# --- bad input ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["reprduce"], "invalid choice: 'reprduce'"),
        (["train"], "required: METHOD"),
        (["reproduce"], "lmlib reproduce --list"),
        (["reproduce", "toy-9"], "no table 'toy-9'; choose from toy-1"),
        (["reproduce", "toy-1", "--stack", "8"], "toy-1 cannot be stacked"),
        (["reproduce", "toy-1", "--seeds", "0,x"], "whole numbers like 0,1,2"),
        (
            ["reproduce", "toy-1", "--seeds", "7"],
            r"has no seed 7; its seeds are \[0, 1\]",
        ),
        (["reproduce", "toy-1", "--budget", "huge"], "invalid choice: 'huge'"),
        (["claims", "--check", "none.md"], "none.md"),
        (["claims", "--json", "--markdown"], "not allowed with"),
    ],
)
def test_bad_input_is_one_line_and_status_2(course, capsys, arguments, message):
    try:
        status = run(*arguments)
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert status == 2 and out == ""
    assert err.startswith("lmlib: error: ") and err.count("\n") == 1
    assert re.search(message, err), err


def test_an_unknown_budget_and_a_broken_register_are_one_line_too(
    course, capsys, monkeypatch
):
    (course.root / "data" / "claims.toml").write_text("[[claim]]\nid = 'x'\n")
    assert run("claims") == 2
    assert "claims.toml:1: claim x: lacks control" in capsys.readouterr().err
    monkeypatch.setenv("LMLIB_BUDGET", "huge")
    assert run("reproduce", "--list") == 2
    assert "quick, class or full, got 'huge'" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_an_error_inside_a_run_names_the_run(course, capsys, kind):
    def fail():
        raise kind("loss is NaN at step 3")

    course.tables["toy-1"] = Table("toy-1", "", lambda: [Run("toy", "real", 0, fail)])
    assert run("reproduce", "toy-1") == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err == "lmlib: error: loss is NaN at step 3 (in run toy/real/seed 0)"
    with pytest.raises(kind, match="step 3"):
        run("--traceback", "reproduce", "toy-1")


def test_help_does_not_import_torch():
    code = (
        "import sys; from lmlib import cli; from lmcourse import doctor\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'packaging', 'IPython'} & {*sys.modules}))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert shown.returncode == 0
    assert all(word in shown.stdout for word in ("doctor", "reproduce", "claims"))


# --- doctor ---------------------------------------------------------------------------


def finding(checks, name):
    (check,) = [c for c in checks if c.name == name]
    return check


def test_the_doctor_looks_at_everything_and_mends_what_is_missing():
    checks = doctor.examine()
    names = {check.name for check in checks}
    assert names >= {
        "Python",
        "packages",
        "torch",
        "device",
        "threads",
        "memory",
    }
    assert names >= {"JupyterLab", "sliders", "dragging", "kernel", "git", "course"}
    assert len(names) == len(checks)
    for check in checks:
        assert check.found
        assert (check.state == "ok") == (check.mend == ""), check


@pytest.fixture
def jupyter(tmp_path, monkeypatch):
    """An empty Jupyter folder in place of the real ones."""
    monkeypatch.setattr(doctor, "jupyter_folders", lambda: [tmp_path])

    def extension(name, version):
        folder = tmp_path / "labextensions" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(json.dumps({"version": version}))

    return SimpleNamespace(folder=tmp_path, extension=extension)


def test_the_doctor_finds_a_missing_or_foreign_widget_front_end(jupyter):
    manager = "@jupyter-widgets/jupyterlab-manager"
    sliders = finding(doctor.check_widgets(), "sliders")
    assert sliders.state == "missing" and "without its browser side" in sliders.found
    assert "jupyterlab_widgets" in sliders.mend
    jupyter.extension(manager, "3.1.4")  # the one of ipywidgets 7
    sliders = finding(doctor.check_widgets(), "sliders")
    assert sliders.state == "missing" and "do not fit" in sliders.found
    jupyter.extension(manager, "5.0.16")
    assert finding(doctor.check_widgets(), "sliders").state == "ok"
    assert finding(doctor.check_widgets(), "dragging").state == "missing"
    jupyter.extension("anywidget", "0.11.0")
    assert finding(doctor.check_widgets(), "dragging").state == "ok"


def test_the_doctor_finds_a_missing_kernel_and_one_of_another_python(jupyter):
    assert "ipykernel install" in doctor.check_kernel().mend
    spec = jupyter.folder / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    for command, state in (
        (sys.executable, "ok"),
        ("python", "ok"),
        ("/bin/sh", "missing"),
        ("/no/such/python", "missing"),
    ):
        spec.write_text(json.dumps({"argv": [command]}))
        assert doctor.check_kernel().state == state, command
    assert "jupyter kernelspec remove" in doctor.check_kernel().mend


DECLARED = [
    "numpy>=99.0",
    "not-a-package",
    "tqdm>=1",
    "nothing>=1; python_version < '3'",
    "ghost; extra == 'test'",
    "widgets>=2; extra == 'course'",
    "pillow>=1; extra == 'course'",
]


def test_the_doctor_finds_missing_and_old_packages(monkeypatch):
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: DECLARED)
    packages, lessons = doctor.check_packages()
    assert packages.state == lessons.state == "missing"
    assert "not >=99.0" in packages.found
    assert "not-a-package is not installed" in packages.found
    assert not any(word in packages.found for word in ("tqdm", "nothing", "widgets"))
    assert lessons.found == "widgets is not installed"  # of the test extra, none
    for check in (packages, lessons):
        assert check.mend.startswith(f"{sys.executable} -m pip install -e ")
        assert "[course]' -c " in check.mend


@pytest.mark.parametrize(
    ("version", "bound", "fits"),
    [
        ("2.13.0+cpu", ">=2.6", True),  # a local build
        ("2.6.0rc1", ">=2.6", False),  # before the release
        ("2.7.0.dev1", ">=2.6", True),
        ("10.0", ">=9.1", True),  # numbers, not letters
        ("1!1.0", ">=2.0", True),  # an epoch
        ("2.5.9", ">=2.6", False),
    ],
)
def test_versions_are_compared_as_pip_compares_them(monkeypatch, version, bound, fits):
    metadata = doctor.importlib.metadata
    monkeypatch.setattr(metadata, "requires", lambda name: [f"thing{bound}"])
    monkeypatch.setattr(metadata, "version", lambda name: version)
    assert (doctor.check_packages()[0].state == "ok") == fits


def test_without_a_checkout_the_doctor_names_the_packages(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: DECLARED)
    monkeypatch.setenv("LMLIB_ROOT", str(tmp_path))
    packages, lessons = doctor.check_packages()
    assert packages.mend.endswith("pip install 'numpy>=99.0' not-a-package")
    assert lessons.mend.endswith("pip install 'widgets>=2'")


def test_a_plain_install_is_not_ready_for_the_course(monkeypatch, tmp_path, capsys):
    """The packages alone, without what the notebooks show."""
    assert doctor.check_course().state == "ok"
    monkeypatch.setenv("LMLIB_ROOT", str(tmp_path))
    check = doctor.check_course()
    assert check.state == "missing" and "LMLIB_ROOT" in check.mend
    for what in ("notebooks", "trained networks", "result rows", "claims.toml"):
        assert what in check.found
    monkeypatch.setattr(doctor, "examine", lambda: [check])
    assert run("doctor") == 1
    assert "Ready." not in capsys.readouterr().out
    for folder, file in (("data/checkpoints", "a.safetensors"), ("data", "claims.toml"),
                         ("notebooks", "00.ipynb")):  # fmt: skip
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / file).touch()
    found = doctor.check_course().found
    assert "lacks result rows (data/results/*.jsonl): only" in found


def test_the_doctor_speaks_without_packaging(monkeypatch):
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    (check,) = doctor.check_packages()
    assert check.state == "missing" and check.found == "packaging is not installed"


def test_the_doctor_speaks_when_torch_is_broken(monkeypatch, capsys):
    def broken(name):
        raise OSError("libtorch_cpu.so: cannot open shared object file")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    checks = doctor.check_torch()
    assert [c.state for c in checks] == ["missing"]
    assert "libtorch_cpu.so" in checks[0].found and "install torch" in checks[0].mend
    monkeypatch.setattr(doctor, "examine", lambda: checks)
    assert run("doctor") == 1
    out = capsys.readouterr().out
    assert "MISSING  torch" in out and "1 essential part(s) missing" in out


def test_notes_alone_do_not_fail_the_doctor(monkeypatch, capsys):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    checks = [doctor.check_git()]
    assert [c.state for c in checks] == ["note"]
    assert all(check.mend for check in checks)
    monkeypatch.setattr(doctor, "examine", lambda: checks)
    assert run("doctor") == 0
    assert capsys.readouterr().out.endswith("Ready.\n")


def test_the_doctor_says_when_one_thread_is_forced(monkeypatch):
    torch = SimpleNamespace(get_num_threads=lambda: 1)
    monkeypatch.setattr(
        doctor.os, "sched_getaffinity", lambda _: range(4), raising=False
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    check = doctor._check_threads(torch)
    assert check.state == "note" and check.mend == "unset OMP_NUM_THREADS"
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert doctor._check_threads(torch).state == "ok"
