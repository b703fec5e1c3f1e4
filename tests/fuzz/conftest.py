"""What all fuzz targets need: a folder, low limits, and their number of inputs."""

import pytest
from fuzzing import TRIED
from jaxtyping import config as checks

from lmlib.datasets import idx, photos


@pytest.fixture(autouse=True)
def count(request, record_property):
    """Hand the number of inputs to the summary (``tests/conftest.py``)."""
    yield
    record_property("inputs", TRIED.pop(request.node.originalname, 0))


@pytest.fixture(scope="module", autouse=True)
def low_limits():
    """Limits far below those of real images, so that a bound can be seen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photos, "LARGEST", 1_000_000)
        patch.setattr(photos, "LARGEST_BOX", 200_000)
        patch.setattr(idx, "LARGEST", 2**20)
        yield


@pytest.fixture(scope="module", autouse=True)
def unchecked_shapes():
    """Inputs meet the readers as outside of tests; and checks took half of the time."""
    checks.update("jaxtyping_disable", True)
    yield
    checks.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")
