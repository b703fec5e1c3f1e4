"""What the README promises is true today."""

import re
import shlex
from pathlib import Path

from lmlib import cli
from lmlib.predict import crop_of

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
