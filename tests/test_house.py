"""One way down: the library works without the course, and a wrong import is caught."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from lmlib.datasets import open_data

ROOT = Path(__file__).resolve().parents[1]

FORBID = """
import importlib.abc, sys
class Forbid(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden!r}:
            raise ImportError(f"{{name}} is not installed here")
sys.meta_path.insert(0, Forbid())
from lmlib import cli
sys.exit(cli.main({words!r}))
"""
SHOWING = {"matplotlib", "IPython", "ipywidgets", "anywidget", "traitlets"}


def command(*words, forbidden=SHOWING):
    """The command in a process of its own, where some packages cannot be imported."""
    code = FORBID.format(forbidden=forbidden, words=[str(word) for word in words])
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with drawn faces and a network trained on them without the course."""
    place = tmp_path_factory.mktemp("without")
    (place / "faces").mkdir()
    images = open_data("scene:faces", "train", 32).batch(range(6))["image"]
    for number, image in enumerate((255 * images).byte().permute(0, 2, 3, 1)):
        Image.fromarray(image.numpy()).save(place / "faces" / f"{number}.png")
    small = ["channels=4", "widths=(4, 4, 4, 4, 8)", "frame=32", "size=24"]
    words = ["train", "dve", "--preset", "smallnet_class", "--steps", 2, "--batch", 2]
    words += [word for value in small for word in ("--set", value)]
    words += ["--data", f"folder:{place}/faces", "--out", place / "a.safetensors"]
    done = command(*words)
    assert done.returncode == 0, done.stderr
    return place


def test_predict_and_evaluate_run_without_the_course(place):
    words = ["predict", place / "a.safetensors", place / "faces", "--out"]
    done = command(*words, place / "points.csv", "--overlay", place / "overlays")
    assert done.returncode == 0, done.stderr
    assert len((place / "points.csv").read_text().splitlines()) == 1 + 6 * 50
    words = ["evaluate", place / "a.safetensors", "--data", "scene:faces", "--json"]
    done = command(*words, "--fit", "0:80", "--test", "test:0:10")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 10


def test_what_is_forbidden_is_really_missing():
    done = command("doctor", forbidden=SHOWING | {"lmcourse"})
    assert done.returncode != 0


@pytest.fixture
def house(tmp_path):
    """A copy of the packages, to break."""
    for name in ("lmlib", "lmscenes", "lmcourse"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(house) -> tuple[int, str]:
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=house, capture_output=True, text=True, env={"PYTHONPATH": str(house)},
    )  # fmt: skip
    return run.returncode, run.stdout


def test_the_house_keeps_its_contracts(house):
    status, said = lint(house)
    assert status == 0 and "0 broken" in said, said


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("lmlib/heatmaps.py", "import lmscenes", "lmlib knows neither scenes"),
        ("lmscenes/blocks.py", "import lmcourse.plots", "lmlib knows neither scenes"),
        ("lmlib/predict.py", "import matplotlib", "Only the course shows things"),
        ("lmscenes/hands.py", "import lmlib.training", "Scenes draw with geometry"),
    ],
)
def test_a_wrong_import_breaks_a_contract(house, file, line, contract):
    path = house / file
    path.write_text(path.read_text() + f"\n{line}\n")
    status, said = lint(house)
    assert status != 0
    broken = [text for text in said.splitlines() if " BROKEN" in text]
    assert any(text.startswith(contract) for text in broken), said


# --- short enough to read -------------------------------------------------------------

PACKAGES = ("lmlib", "lmscenes", "lmcourse")
LONGEST_FILE, LONGEST_FUNCTION = 600, 60
TABLE = "a right answer beside a table of wrong ones and their hints"
LONGER = {
    ("lmcourse/exercises/dve_visualisation.py", "_examine_surface_errors"): TABLE,
    ("lmcourse/exercises/lmdis_ablations.py", "_examine_movement_and_error"): TABLE,
    ("lmcourse/exercises/lmdis_method.py", "_examine_read_back_loss"): TABLE,
    ("lmcourse/exercises/lmdis_training.py", "_examine_exact_statistics"): TABLE,
}


def body_lines(function: ast.FunctionDef) -> int:
    """Lines of a function behind its signature and its docstring."""
    body = function.body[ast.get_docstring(function) is not None :]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def too_long(name: str, text: str) -> list[str]:
    """What is longer than the house allows in a file."""
    lines = len(text.splitlines())
    found = [f"{name}: {lines} lines"] if lines > LONGEST_FILE else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and (name, node.name) not in LONGER:
            if (count := body_lines(node)) > LONGEST_FUNCTION:
                found.append(f"{name}: {node.name} has {count} lines")
    return found


def test_files_and_functions_are_short_enough_to_read():
    found, functions = [], set()
    for path in sorted(p for name in PACKAGES for p in (ROOT / name).rglob("*.py")):
        name, text = path.relative_to(ROOT).as_posix(), path.read_text()
        found += too_long(name, text)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and body_lines(node) > 60:
                functions.add((name, node.name))
    assert not found, "\n".join(found)
    assert set(LONGER) == functions  # and no exception is kept longer than needed


def test_what_is_too_long_is_found():
    body = "\n".join(["    x = 1"] * 61)
    assert too_long("a.py", f'def f(\n    a,\n):\n    """A."""\n{body}')
    assert not too_long("a.py", f'def f():\n    """A.\n    """\n{body[10:]}')
    assert too_long("a.py", "x = 1\n" * 601) and not too_long("a.py", "x = 1\n" * 600)
