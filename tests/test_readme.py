"""What the README promises is true today."""

import re
import shlex
from pathlib import Path

import pytest

from lmcourse.evidence.results import read_rows
from lmlib import cli
from lmlib.predict import crop_of
from lmlib.registry import METHODS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_examples_run(monkeypatch):
    used, trained = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert "steps=300" in trained
    monkeypatch.chdir(ROOT)
    shapes = []
    for code in (used, trained):
        names = {}
        exec(code.replace("steps=300", "steps=2"), names)
        shapes.append(tuple(names["points"].shape))
        assert names["points"].abs().max() <= 1
    assert shapes == [(4, 10, 2), (5, 2, 2)]


def test_the_commands_are_ones_that_lmlib_takes():
    blocks = re.findall(r"```\n(.*?)```", README, re.DOTALL)
    lines = [x for block in blocks for x in block.splitlines() if x[:6] == "lmlib "]
    assert [line.split()[1] for line in lines] == [
        "predict",
        "train",
        "evaluate",
        "predict",
        "train",
        "tryon",
    ]
    for line in lines:  # a wrong one would exit
        cli._parser().parse_args(shlex.split(line)[1:])
    crops = re.findall(r"--crop (face\S*)", "\n".join(lines))
    assert [crop_of(crop).margin for crop in crops] == [1.0, 1.3]


def test_the_first_notebook_takes_as_long_as_it_says():
    (told,) = re.findall(r"notebook 00, everything run \| (.+?) \|", README)
    text = next(ROOT.glob("notebooks/00_*.ipynb")).read_text(encoding="utf-8")
    assert f"Running everything takes about {told} on two cores" in text


@pytest.mark.parametrize(
    ("method", "preset", "experiment", "setting"),
    [
        ("seqmt", "rcn_plus_class", "seqmt-wild", "RCN+(L)@100"),
        ("lmdis", "faces_class", "lmdis-faces", "K10"),
        ("dve", "smallnet_class", "dve-faces", "C64+DVE"),
        ("dlan", "garments_class", "dlan-ladder", "DLAN"),
        ("salvton", "tryon128", "salvton-tryon128", "all,gallery"),
    ],
)
def test_trainings_take_as_long_as_rows_say(method, preset, experiment, setting):
    line = rf"\| `{method}` \| `{preset}`, \d+ px \| (.+?) \| (\d+)(?: to (\d+))? \|"
    (told,) = re.findall(line, README)
    rows = read_rows(experiment, setting=setting, budget="class")
    minutes = {round(1000 * row.seconds / row.steps / 60) for row in rows}
    assert {int(x) for x in told[1:] if x} <= minutes
    config = METHODS[method].Config.preset(preset)
    steps = [config.steps_for(images) for images in (600, 6000)]
    if told[0].endswith("through the images"):
        assert steps == [6 * n // config.batch_size for n in (600, 6000)]
    else:
        assert steps == [int(told[0].replace(",", ""))] * 2


def test_no_way_in_opens_the_originals():
    """Whoever runs a notebook in ``notebooks/`` changes a tracked file."""
    environment = (ROOT / "environment.yml").read_text(encoding="utf-8")
    for text in (" ".join(README.split()), environment):
        opened = re.findall(r"jupyter lab (\S+ipynb)", text)
        assert opened and not any(path.startswith("notebooks") for path in opened)
        assert text.count("tools.working_copies") == len(opened)


def test_every_linked_file_exists():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) >= 8
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


def test_every_make_target_named_exists():
    targets = set(re.findall(r"`make ([a-z]+)", README))
    assert {"lab", "test"} <= targets
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert targets <= rules


def test_no_placeholder_is_left():
    words = set(re.findall(r"\b[A-Z]+[A-Z0-9]*_[A-Z0-9_]+\b", README))
    assert words <= {"LMLIB_BUDGET", "LMLIB_DATA", "LMLIB_PRECISION", "TORCH_INDEX"}
