"""What a checkpoint or an unfinished run says of itself is not trusted either."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from test_resume import CONFIGS, METHODS

from lmlib import recipes
from lmlib.checkpoints import resume_run, save_checkpoint, save_run, write
from lmlib.landmarker import load
from lmlib.texts import brief, read_crop, read_ends, read_share
from lmlib.values import read_changes


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        ("dlan", "attention_steps", 10**9, "attention_steps must be 0 to 100"),
        ("dlan", "hidden", [4] * 100_000, "more layers than the file"),
        ("salvton", "depth", 10**9, "with 1000000000 halvings"),
        ("salvton", "exchanges", 10**9, "more layers than the file"),
        ("salvton", "blocks", 10**9, "more layers than the file"),
        ("salvton", "depth", 0, "depth must be 1 or more"),
        ("salvton", "ngf", -(10**9), "ngf must be 1 or more"),
        ("salvton", "blocks", -1, "blocks must be 0 or more"),
        ("lmdis", "detector", [[[4]], [4], [[4]], 10**9], "has 1 to 100 conv"),
        ("dve", "network", "a" * 100_000, "network must be one of"),
        ("seqmt", "size", 20_000, "size must be at most 1024 pixels, got 20000"),
        ("dve", "frame", 20_000, "frame must be at most 1024 pixels"),
        ("lmdis", "canvas", 20_000, "an even margin up to size, got 20000"),
        ("dlan", "size", 1025, "size must be at most 1024 pixels"),
        ("salvton", "size", 2048, "size must be at most 1024 pixels"),
    ],
)
def test_a_configuration_cannot_be_endless(tmp_path, name, field, value, message):
    method = METHODS[name](CONFIGS[name])
    config = json.loads(json.dumps(asdict(CONFIGS[name]))) | {field: value}
    tensors = {f"model.{k}": x for k, x in method.state_dict().items()}
    said = {"kind": "weights", "method": name, "config": config}
    path = write(tmp_path / "a.safetensors", tensors, said)
    with pytest.raises(ValueError, match=message) as error:
        load(path, "cpu")
    assert str(path) in str(error.value) and len(str(error.value)) < 3000


@pytest.mark.parametrize(
    "value",
    [10**20, -(10**20), 10**400, [10**20]],
    ids=lambda value: brief(str(value), 9),
)
@pytest.mark.parametrize("name", METHODS)
def test_each_field_may_say_too_large_a_number(tmp_path, name, value):
    """Torch tells a number beyond 64 bits with a page of its C++ frames."""
    tensors = METHODS[name](CONFIGS[name]).state_dict()
    tensors = {f"model.{k}": x for k, x in tensors.items()}
    path = tmp_path / "a.safetensors"
    for field, known in json.loads(json.dumps(asdict(CONFIGS[name]))).items():
        config = asdict(CONFIGS[name]) | {field: value}
        write(path, tensors, {"kind": "weights", "method": name, "config": config})
        if not isinstance(known, float):  # any number is as good as another there
            with pytest.raises(ValueError) as error:
                load(path, "cpu")
            message = str(error.value)
            assert str(path) in message and "\n" not in message, field
            assert len(message) < 1500, field


def test_any_network_is_as_large_as_its_own_file(tmp_path):
    """The bound on layers lets all that we make pass."""
    for name, config in CONFIGS.items():
        path = save_checkpoint(tmp_path / "a.safetensors", METHODS[name](config))
        assert load(path, "cpu").config == config


@pytest.mark.parametrize(
    "change",
    [{"step": "3"}, {"step": -1}, {"step": None}, {"history": {}}, {"history": [3]}],
)
def test_a_run_that_does_not_say_how_far_it_came(tmp_path, change):
    method = METHODS["dve"](CONFIGS["dve"])
    optimizer, path = torch.optim.Adam(method.parameters()), tmp_path / "a.safetensors"
    save_run(path, method, optimizer, {"seed": 0}, 1, [{"step": 1}])
    assert resume_run(path, method, optimizer, {"seed": 0}) == (1, [{"step": 1}])
    said = {"kind": "run", "method": "dve", "run": {"seed": 0}, "step": 1}
    said |= {"history": [], "config": asdict(CONFIGS["dve"])}
    write(path, {}, said | change)
    with pytest.raises(ValueError, match="a.safetensors: does not say how far"):
        resume_run(path, method, optimizer, {"seed": 0})


@pytest.mark.parametrize("run", [0, None, [], {}, {"about": 0}, {"about": [1]}])
def test_a_state_without_settings_is_named(tmp_path, run):
    out, state = tmp_path / "a.safetensors", tmp_path / "a.run.safetensors"
    write(state, {}, {"kind": "run", "run": run})
    with pytest.raises(ValueError, match="a.run.safetensors: does not say .*--force"):
        recipes.finished(out, state, {"seed": 0}, False)
    assert not recipes.finished(out, state, {"seed": 0}, True) and not state.exists()


@pytest.mark.parametrize(
    "read",
    [
        read_share,
        read_ends,
        read_crop,
        lambda text: read_changes([text], type(CONFIGS["dve"])),
        lambda text: read_changes([f"lr={text}"], type(CONFIGS["dve"])),
        lambda text: replace(CONFIGS["dve"], network=text),
    ],
)
def test_long_words_make_short_messages(read):
    for text in ("9" * 5000 + "," + ":", "\n\x1b[31m" * 1000 + ","):
        with pytest.raises(ValueError) as error:
            read(text)
        assert str(error.value).isprintable() and len(str(error.value)) < 1000
    assert brief("a" * 80) == "a" * 80 and brief("a" * 81) == "a" * 77 + "..."
