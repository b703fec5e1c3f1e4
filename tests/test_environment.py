"""One truth about packages: pyproject, constraints, environment.yml and the imports.

The checkers are plain functions that return the problems they see, so that each is also
shown a wrong input and must complain.
"""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
ENVIRONMENT = (ROOT / "environment.yml").read_text(encoding="utf-8")
EXTRAS = PROJECT["optional-dependencies"]
COURSE_EXTRA, TEST_EXTRA = EXTRAS["course"], EXTRAS["test"]
BASE = PROJECT["dependencies"]
ALL = [*BASE, *COURSE_EXTRA, *TEST_EXTRA, *EXTRAS["bench"]]

# Import name -> package name, where they differ.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
}
LOCAL = {"lmlib", "lmscenes", "lmcourse", "tests", "tools", "benchmarks", "conftest"}
# Helpers of the tests, beside them.
LOCAL |= {"exercise_answers", "spots", "toy_claims", "fuzzing", "shape_checks"}
LOCAL |= {"prose", "test_resume", "test_processes", "tryons"}
# The library may use the base packages only, the course its extra, the rest also the
# test extra.
OPTIONAL = {
    "lmlib/imagenet.py": EXTRAS["photos"],
    "lmlib/tryon_metrics.py": EXTRAS["metrics"],
    "tools/mutants.py": EXTRAS["mutants"],
}
LIBRARY_FOLDERS = ("lmlib", "lmscenes")
COURSE_FOLDERS = ("lmcourse", "notebooks")
DEVELOPER_FOLDERS = ("tests", "benchmarks", "tools")


def code_of(path: Path) -> str:
    """Python source of a module, or of a notebook's code cells without magics."""
    if path.suffix == ".py":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    lines = "\n".join(c.source for c in cells if c.cell_type == "code").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


def sources(folders) -> dict[str, str]:
    """File name -> source, over modules and notebooks of the named folders.

    A notebook's conftest.py belongs to the tests, not to the students.
    """
    found = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            for_tests = folder == "notebooks" and path.suffix == ".py"
            hidden = ".ipynb_checkpoints" in path.parts
            if path.suffix in (".py", ".ipynb") and not (for_tests or hidden):
                found[str(path.relative_to(ROOT))] = code_of(path)
    return found


def imported_modules(source: str) -> set[str]:
    """Top-level names of all absolute imports, also those inside functions."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names


def undeclared_imports(code: dict[str, str], declared, local=LOCAL) -> list[str]:
    """Imports that are neither standard library, ours, nor a declared requirement."""
    allowed = {canonicalize_name(Requirement(r).name) for r in declared}
    problems = []
    for name, source in code.items():
        for module in sorted(imported_modules(source) - sys.stdlib_module_names):
            package = canonicalize_name(DISTRIBUTIONS.get(module, module))
            if module not in local and package not in allowed:
                problems.append(f"{name} imports {module}: {package} is not declared")
    return problems


def bad_requirements(requirements) -> list[str]:
    """Requirements that do not parse or are not plain lower bounds."""
    problems = []
    for text in requirements:
        try:
            operators = [s.operator for s in Requirement(text).specifier]
        except InvalidRequirement as error:
            problems.append(f"{text}: {error}")
            continue
        if operators != [">="]:
            problems.append(f"{text}: expected one lower bound, NAME>=VERSION")
    return problems


def pins(text: str) -> dict[str, Version]:
    """The exact versions of a constraints file; ValueError for any other line."""
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line)
        if not match:
            raise ValueError(
                f"constraints.txt:{number}: expected NAME==X, got {line!r}"
            )
        name = canonicalize_name(match[1])
        if name in found:
            raise ValueError(f"constraints.txt:{number}: {name} is pinned twice")
        found[name] = Version(match[2])
    return found


def constraint_problems(requirements, pinned: dict[str, Version]) -> list[str]:
    """Requirements without a pin, and pins outside their requirement."""
    problems = []
    for requirement in map(Requirement, requirements):
        version = pinned.get(canonicalize_name(requirement.name))
        if version is None:
            problems.append(f"{requirement.name} has no pin in constraints.txt")
        elif version not in requirement.specifier:
            problems.append(f"{requirement} excludes the pinned {version}")
    return problems


def environment_problems(text: str, project: dict, root: Path = ROOT) -> list[str]:
    """Where an environment.yml disagrees with the project table of pyproject.toml.

    conda may bring Python and pip only; packages come through this project, its extras
    and the constraints file, so no version can be stated twice.
    """
    entries = yaml.safe_load(text)["dependencies"]
    conda = [entry for entry in entries if isinstance(entry, str)]
    pip = [
        line for entry in entries if isinstance(entry, dict) for line in entry["pip"]
    ]
    problems = []
    for spec in conda:
        match = re.fullmatch(r"python=(3\.\d+)", spec)
        if match and match[1] not in SpecifierSet(project["requires-python"]):
            problems.append(f"{spec} is outside {project['requires-python']}")
        elif not match and spec != "pip":
            problems.append(f"expected python=3.X or pip, got {spec!r}")
    if len(conda) != 2 or "pip" not in conda:
        problems.append(f"expected one Python and pip, got {conda}")
    found = {}
    for line in pip:
        option, _, value = line.partition(" ")
        if option not in ("--constraint", "--editable") or option in found:
            problems.append(
                f"expected one --constraint and one --editable, got {line!r}"
            )
        found[option] = value
    if not (root / found.get("--constraint", "missing")).is_file():
        problems.append(f"no constraints file among {pip}")
    extras = re.fullmatch(r"\.\[([a-z,]+)\]", found.get("--editable", ""))
    known = project["optional-dependencies"]
    if not extras or not set(extras[1].split(",")) <= set(known):
        problems.append(f"expected --editable .[EXTRA] with one of {list(known)}")
    return problems


def test_pyproject_states_lower_bounds_only():
    assert bad_requirements(ALL) == []


@pytest.mark.parametrize("bad", ["torch==2.13.0", "torch", "torch>=2,<3", "torch>>2"])
def test_a_requirement_that_is_no_lower_bound_is_reported(bad):
    assert len(bad_requirements(["numpy>=2.0", bad])) == 1


def test_classifiers_agree_with_requires_python():
    classifiers = " ".join(PROJECT["classifiers"])
    minors = re.findall(r"Python :: (3\.\d+)", classifiers)
    assert minors == ["3.11", "3.12", "3.13"]
    assert all(SpecifierSet(PROJECT["requires-python"]).contains(m) for m in minors)


def test_every_requirement_is_pinned_within_its_bounds():
    pinned = pins(CONSTRAINTS)
    assert constraint_problems(ALL, pinned) == []
    assert len(pinned) > len(ALL)


def test_a_missing_or_too_old_pin_is_reported():
    pinned = pins("# comment\nnumpy==1.26.4\n")
    problems = constraint_problems(["numpy>=2.0", "Scipy>=1.13"], pinned)
    assert problems == [
        "numpy>=2.0 excludes the pinned 1.26.4",
        "Scipy has no pin in constraints.txt",
    ]


@pytest.mark.parametrize(
    "bad",
    ["torch==2.13.0+cpu", "torch @ file:///opt/x.whl", "numpy>=2", "a==1\nA==1"],
)
def test_a_constraints_line_that_is_no_portable_pin_is_an_error(bad):
    with pytest.raises(ValueError, match=r"constraints\.txt:\d"):
        pins(bad)


def test_environment_yml_agrees_with_pyproject():
    assert environment_problems(ENVIRONMENT, PROJECT) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("python=3.11", "python=3.10", "outside >=3.11"),
        ("python=3.11", "python==3,11", "got 'python==3,11'"),
        ("  - python=3.11\n", "", "expected one Python"),
        ("  - pip\n", "", "expected one Python and pip"),
        ("- pip\n", "- pip\n  - numpy=1.26\n", "got 'numpy=1.26'"),
        (".[course,test]", ".[tests]", "expected --editable"),
        (".[course,test]", "otherproject", "expected --editable"),
        ("constraints.txt", "constraint.txt", "no constraints file"),
        (".[course,test]", ".[test]\n      - numpy>=1.26", "got 'numpy>=1.26'"),
    ],
)
def test_an_environment_yml_that_disagrees_is_reported(old, new, complaint):
    lines = ENVIRONMENT.splitlines(keepends=True)
    body = "".join(line for line in lines if not line.startswith("#"))
    assert old in body
    assert complaint in "; ".join(environment_problems(body.replace(old, new), PROJECT))


@pytest.mark.parametrize(
    ("folders", "declared"),
    [
        (LIBRARY_FOLDERS, BASE),
        (COURSE_FOLDERS, [*BASE, *COURSE_EXTRA]),
        (DEVELOPER_FOLDERS, ALL),
    ],
    ids=["library", "course", "developer"],
)
def test_every_import_is_declared(folders, declared):
    code = sources(folders)
    for folder in folders:
        assert any(name.startswith(folder) for name in code), f"nothing in {folder}/"
    for name, extra in OPTIONAL.items():  # what says itself that it needs an extra
        if name in code:
            assert undeclared_imports({name: code.pop(name)}, [*declared, *extra]) == []
    assert undeclared_imports(code, declared) == []


def test_an_undeclared_import_is_reported():
    code = {
        "a.py": "import os, torch.nn as nn\nfrom PIL import Image\nfrom . import b",
        "b.py": "def f():\n    import pandas.core\n    from cv2 import imread",
    }
    assert undeclared_imports(code, ["torch>=2", "Pillow>=10"]) == [
        "b.py imports cv2: cv2 is not declared",
        "b.py imports pandas: pandas is not declared",
    ]
    assert len(undeclared_imports(code, ["torch>=2"])) == 3


def test_notebook_imports_are_read_past_magics(tmp_path):
    cell = nbformat.v4.new_code_cell("%matplotlib inline\nimport pandas\n!ls")
    text = nbformat.v4.new_markdown_cell("import seaborn")
    path = tmp_path / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell, text]), path)
    assert imported_modules(code_of(path)) == {"pandas"}


def test_ci_runs_what_the_readme_says():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.search(r"^make test\b", script.read_text(encoding="utf-8"), re.MULTILINE)
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_make_help_lists_every_target():
    run = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    listed = set(re.findall(r"^  make (\S+)", run.stdout, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed == set(phony[1].split())
