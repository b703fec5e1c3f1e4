"""The networks that ship: each opens by itself, and its weights are those measured."""

import hashlib
import json
from pathlib import Path

import pytest

import lmlib
from lmlib.checkpoints import read, read_metadata
from lmlib.places import repository_root

FILES = sorted((repository_root() / "data" / "checkpoints").glob("*.safetensors"))
# Of the weights without DVE's kinds of descriptors, which follow from them.
HASHES = json.loads((Path(__file__).parent / "shipped.json").read_text())


def digest(path: Path) -> str:
    """sha256 over names and bytes of a file's weights."""
    weights, _ = read(path, "model.")
    total = hashlib.sha256()
    for name in sorted(weights.keys() - {"model.centres"}):
        total.update(name.encode() + weights[name].numpy().tobytes())
    return total.hexdigest()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_weights_are_those_that_were_measured(path):
    assert digest(path) == HASHES[path.name]


def test_every_file_is_held():
    assert {path.name for path in FILES} == set(HASHES)
    size = sum(path.stat().st_size for path in FILES)
    assert size < 90e6 and max(path.stat().st_size for path in FILES) < 16e6


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_says_what_it_is_and_opens_by_itself(path):
    said = read_metadata(path)
    known = {"method", "config", "command", "setting", "seed", "steps", "metrics"}
    assert known <= said.keys() and said["device"] and said["commit"]
    found = lmlib.load(path, "cpu")
    assert found.method.name == said["method"] and not found.training
