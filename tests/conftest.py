"""Shared by all tests: one thread, the quick budget, no windows, and the browser."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LMLIB_BUDGET", "quick")

import matplotlib  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

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
