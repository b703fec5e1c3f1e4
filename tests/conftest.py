"""Shared by all tests: one thread, the quick budget, no windows, and the browser."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LMLIB_BUDGET", "quick")

# Signatures say shapes. Here they are checked, so before anything of lmlib is imported.
from jaxtyping import config as checks  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

install_import_hook("lmlib", "shape_checks.checked")

import matplotlib  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from lmcourse.exercises import check, find  # noqa: E402
from tools import chromium  # noqa: E402

# Not through MPLBACKEND: kernels started by tests would inherit it and show no figure.
matplotlib.use("Agg")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def chromium_executable() -> str:
    """Path of a browser. Without one the test is skipped, but on CI it fails."""
    path = chromium.find()
    if path is None:
        on_ci = os.environ.get("CI") == "true"
        (pytest.fail if on_ci else pytest.skip)(chromium.MISSING)
    return path


@pytest.fixture
def unchecked():
    """Wrong arguments reach the library's own checks, as they do outside of tests."""
    checks.update("jaxtyping_disable", True)
    yield
    checks.update("jaxtyping_disable", False)


@pytest.fixture
def wrong_answer(capsys):
    """Check a wrong answer: its hint is printed and lmlib's version is used."""

    def run(name, answer, hint):
        chosen = check(name, answer)
        assert hint in " ".join(capsys.readouterr().out.split())  # lines are broken
        assert chosen is find(name).library

    return run


@pytest.fixture
def right_answer(capsys):
    """Check a right answer: it passes and is used, and so is the shown solution."""

    def run(name, answer):
        assert check(name, answer) is answer
        task = find(name)
        assert check(name, task.solution) is task.solution
        assert capsys.readouterr().out.count("PASS") == 2

    return run


def pytest_generate_tests(metafunc):
    """One test an answer, for the tests of ``exercise_answers.py``."""
    for fixture, listed, names in (
        ("wrong_answer", "WRONG", "name, answer, hint"),
        ("right_answer", "RIGHT", "name, answer"),
    ):
        if {fixture, "answer"} <= set(metafunc.fixturenames):
            metafunc.parametrize(names, getattr(metafunc.module, listed))


def pytest_terminal_summary(terminalreporter):
    """How many inputs the fuzz targets tried."""
    tried = {}
    for kind in ("", "passed", "failed"):  # "": teardowns
        for report in terminalreporter.getreports(kind):
            inputs = dict(report.user_properties).get("inputs")
            if inputs:
                tried[report.nodeid.rpartition("::")[2]] = inputs
    if tried:
        each = ", ".join(f"{name} {count:,}" for name, count in sorted(tried.items()))
        terminalreporter.write_line(f"fuzz: {sum(tried.values()):,} inputs ({each})")
