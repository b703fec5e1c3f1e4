"""What widgets and figures displayed, and the pictures in it."""

import io
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

from lmcourse import plots
from lmcourse.experiments import cells
from lmcourse.widgets import picture as widget_picture


@pytest.fixture
def shown(monkeypatch):
    """What `display` was given: a list of (bundle, metadata)."""
    seen = []

    def display(bundle, metadata=None, raw=False):
        seen.append((bundle, metadata))

    monkeypatch.setattr(plots, "display", display)
    monkeypatch.setattr(widget_picture, "display", display)
    return seen


@pytest.fixture
def picture():
    """picture(image widget): its pixels, ``(H, W, 3)``."""
    return lambda image: np.asarray(Image.open(io.BytesIO(image.value)).convert("RGB"))


@pytest.fixture
def stored():
    """stored(bundle): the picture in what was displayed."""

    def read(bundle):
        (data,) = (v for kind, v in bundle.items() if kind.startswith("image/"))
        return Image.open(io.BytesIO(b64decode(data))).convert("RGB")

    return read


@pytest.fixture
def close():
    """close(one, other): the same picture, but for how it is stored."""
    return lambda a, b: np.abs(np.asarray(a, int) - np.asarray(b, int)).max() <= 24


@pytest.fixture(scope="module")
def runs_apart(tmp_path_factory):
    """Unfinished runs of a file's tests are kept for these alone."""
    folder = tmp_path_factory.mktemp("runs")

    def run_file(*cell):
        return folder / ("-".join(map(str, cell)) + ".st")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "run_file", run_file)
        yield
