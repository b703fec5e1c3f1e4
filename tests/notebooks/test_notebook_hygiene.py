"""Every committed notebook is complete, tidy and readable without running it.

A check is a function from a notebook to the list of problems it sees. `BROKEN` holds,
for every check, small notebooks with one fault each, which that check must report: a
check that cannot fail would be worth nothing.
"""

import copy
import json
import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MAX_KILOBYTES = 1500
SECTIONS = (
    "What you will learn",
    "Before you start",
    "Predict",
    "Recap",
    "Further reading",
)
SHELL = re.compile(
    r"^\s*(!|(\w+\s*=\s*)?[!%](?=\w*\s*(pip|conda)\b)|%%(bash|sh|script|cmd|system|sx|!)"
    r"|%(system|sx|pip|conda)\b|\w+\s*=\s*!)",
    re.MULTILINE,
)
WIDGET = re.compile(
    r"ipywidgets|lmlib\.widgets|import .*\bwidgets\b|interact\(|Slider\("
)
MACHINE_PATH = re.compile(r"/(home|Users|root|work|tmp|opt)/\w+|[A-Z]:\\\\?Users")
DURATION = re.compile(r"\d\s*(s|sec|seconds?|min|minutes?)\b")


def code_cells(notebook):
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


def tags(cell):
    return cell.metadata.get("tags", [])


def outputs(notebook):
    """(cell number among the code cells, cell, output) of every stored output."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        for output in cell.outputs:
            yield number, cell, output


def pictures(output):
    return [kind for kind in output.get("data", {}) if kind.startswith("image/")]


def output_text(output) -> str:
    """All text of an output; pictures are left out."""
    data = output.get("data", {})
    texts = [v for k, v in data.items() if k.startswith("text/")]
    return "\n".join([output.get("text", ""), *texts])


def section(notebook, title: str) -> str | None:
    """Text and printed output below the heading that contains `title`."""
    found, inside = [], False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                if re.match(r"#{1,6}\s", line):
                    inside = title.lower() in line.lower()
                    found += [""] * inside
                elif inside:
                    found.append(line)
        elif inside and cell.cell_type == "code":
            found += map(output_text, cell.outputs)
    return "\n".join(found) if found else None


def ran_from_top_to_bottom(notebook):
    counts = [c.execution_count for c in code_cells(notebook)]
    expected = list(range(1, len(counts) + 1))
    return [] if counts == expected else [f"execution counts are {counts}"]


def has_no_error_output(notebook):
    problems = []
    for number, cell, output in outputs(notebook):
        if output.get("name") == "stderr":
            problems.append(f"cell {number} writes to stderr: {output.text[:80]!r}")
        if output.output_type == "error" and "raises-exception" not in tags(cell):
            problems.append(f"cell {number} raises {output.ename}")
    return problems


def stores_no_widgets(notebook):
    """Neither state nor views: a view without its state opens as an error message."""
    problems = ["metadata.widgets is stored"] * ("widgets" in notebook.metadata)
    for number, _, output in outputs(notebook):
        if any("jupyter.widget" in kind for kind in output.get("data", {})):
            problems.append(
                f"cell {number} stores a widget view (run `make notebooks`)"
            )
    return problems


def is_small(notebook):
    size = len(json.dumps(notebook, indent=1, ensure_ascii=False).encode()) / 1024
    return [f"{size:.0f} KB"] if size > MAX_KILOBYTES else []


def describes_its_pictures(notebook):
    problems = []
    for number, _, output in outputs(notebook):
        for kind in pictures(output):
            metadata = output.metadata.get(kind, {})
            if len(str(metadata.get("alt", "")).split()) < 3:
                problems.append(
                    f"cell {number}: {kind} needs alt text (lmcourse.plots.show)"
                )
    texts = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    empty = re.findall(r"!\[\s*\]\([^)]*\)|<img(?![^>]*\balt=)[^>]*>", texts)
    return problems + [f"no alt text: {image}" for image in empty]


def has_short_cells(notebook):
    lengths = [sum(map(bool, c.source.split("\n"))) for c in code_cells(notebook)]
    problems = [f"a cell of {n} lines (at most 40)" for n in lengths if n > 40]
    if 10 * sum(n > 25 for n in lengths) > len(lengths):
        problems.append(f"more than a tenth of the cells exceed 25 lines: {lengths}")
    return problems


def skips_nothing(notebook):
    skipping = [c for c in notebook.cells if "nbval-skip" in tags(c)]
    skipping += [c for c in code_cells(notebook) if "NBVAL_SKIP" in c.source]
    return [f"{len(skipping)} cells are hidden from nbval"] if skipping else []


def needs_no_shell(notebook):
    """Shell lines do not run everywhere, and installing is the Makefile's work."""
    lines = (SHELL.search(c.source) for c in code_cells(notebook))
    return [f"shell line {match[0]!r}" for match in lines if match]


def has_all_sections(notebook):
    missing = [s for s in SECTIONS if section(notebook, s) is None]
    problems = [f"no heading {title!r}" for title in missing]
    before = section(notebook, "Before you start")
    if before is not None and not DURATION.search(before):
        problems.append("'Before you start' does not say how long the notebook takes")
    return problems


def has_an_exercise(notebook):
    """At least one call of `check`, from `lmcourse.exercises`."""
    source = "\n".join(c.source for c in code_cells(notebook))
    found = re.search(r"^[^#\n]*\bcheck\(", source, re.MULTILINE)
    return [] if found else ["no exercise calls check(...)"]


def sweeps_its_widgets(notebook):
    """A widget notebook moves its sliders in a cell and shows frames to who only reads.

    The cells carry the tags ``widget-sweep`` and ``static-twin``.
    """
    if not any(WIDGET.search(c.source) for c in code_cells(notebook)):
        return []
    problems = []
    if not any("widget-sweep" in tags(c) for c in code_cells(notebook)):
        problems.append("has a widget, but no code cell tagged widget-sweep")
    twins = [o for _, c, o in outputs(notebook) if "static-twin" in tags(c)]
    if not any(pictures(output) for output in twins):
        problems.append("has a widget, but no picture in a cell tagged static-twin")
    return problems


def names_no_machine_path(notebook):
    problems = []
    for number, _, output in outputs(notebook):
        match = MACHINE_PATH.search(output_text(output))
        if match:
            problems.append(f"cell {number} prints a path of this machine: {match[0]}")
    return problems


def is_valid(notebook):
    problems = []
    identifiers = [cell.get("id") for cell in notebook.cells]
    if None in identifiers or len(set(identifiers)) < len(identifiers):
        problems.append("cell ids are missing or repeated")
    try:
        nbformat.validate(copy.deepcopy(notebook))  # a copy, because it repairs ids
    except nbformat.ValidationError as error:
        problems.append(str(error).splitlines()[0])
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        problems.append("the kernel is not python3")
    return problems


CHECKS = (
    ran_from_top_to_bottom,
    has_no_error_output,
    stores_no_widgets,
    is_small,
    describes_its_pictures,
    has_short_cells,
    skips_nothing,
    needs_no_shell,
    has_all_sections,
    has_an_exercise,
    sweeps_its_widgets,
    names_no_machine_path,
    is_valid,
)


def test_the_first_notebooks_are_there():
    numbers = [path.name[:3] for path in NOTEBOOKS]
    assert numbers[:4] == ["00_", "01_", "02_", "03_"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_notebook(path, check):
    # v4.reads, unlike nbformat.read, leaves everything as it is in the file.
    assert check(nbformat.v4.reads(path.read_text(encoding="utf-8"))) == []


# ---- the checks themselves ----------------------------------------------------------


def code(source, *found, tagged=(), count=None):
    return nbformat.v4.new_code_cell(
        source, outputs=list(found), execution_count=count, metadata={"tags": [*tagged]}
    )


def printed(text, name="stdout"):
    return nbformat.v4.new_output("stream", name=name, text=text)


def displayed(kind="image/png", value="iVBORw0KGgo=", alt="Three maps, each sharper"):
    metadata = {kind: {"alt": alt}} if alt is not None else {}
    return nbformat.v4.new_output("display_data", {kind: value}, metadata=metadata)


def raised():
    return nbformat.v4.new_output("error", ename="ValueError", evalue="x", traceback=[])


def number(notebook):
    for count, cell in enumerate(code_cells(notebook), start=1):
        cell.execution_count = count
    return notebook


def toy():
    """A small notebook without fault."""
    texts = [
        "# Toy\n## What you will learn\n- one thing",
        "## Before you start\nNotebook 00; takes 40 s on two cores.\n## Predict\nWhat?",
        "![a hand with three points](hand.png)\n## Recap\nDone.\n## Further reading\nx",
    ]
    cells = [*map(nbformat.v4.new_markdown_cell, texts)]
    cells[2:2] = [
        code("from ipywidgets import FloatSlider\nslider = FloatSlider()"),
        code("slider.value = 3", tagged=["widget-sweep"]),
        code("strip()", displayed(), tagged=["static-twin"]),
        code("check('entropy', mine)", printed("PASS\n")),
        code("1 / 0", raised(), tagged=["raises-exception"]),
        code("a != b\nprint(f'{100:.0f} %')", printed("see papers/seqmt, 3 / 4")),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return number(nbformat.v4.new_notebook(cells=cells, metadata=metadata))


def edited(change, renumber=True):
    """A copy of `toy` after change(notebook, its code cells)."""
    notebook = copy.deepcopy(toy())
    change(notebook, code_cells(notebook))
    return number(notebook) if renumber else notebook


def with_cell(*arguments, **options):
    return edited(lambda n, _: n.cells.append(code(*arguments, **options)))


def with_text(old, new):
    def change(notebook, _):
        for cell in notebook.cells:
            cell.source = cell.source.replace(old, new)

    return edited(change)


WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
BROKEN = [
    (ran_from_top_to_bottom, edited(lambda n, c: n.cells.remove(c[1]), renumber=False)),
    (
        ran_from_top_to_bottom,
        edited(lambda n, c: c[5].update(execution_count=None), renumber=False),
    ),
    (has_no_error_output, with_cell("warn()", printed("UserWarning", name="stderr"))),
    (has_no_error_output, with_cell("1 / 0", raised())),
    (stores_no_widgets, edited(lambda n, _: n.metadata.update(widgets={}))),
    (stores_no_widgets, with_cell("s", displayed(WIDGET_VIEW, {"model_id": "a"}))),
    (is_small, with_cell("show()", displayed(value="A" * 1501 * 1024))),
    (describes_its_pictures, with_cell("plot()", displayed(alt=None))),
    (describes_its_pictures, with_cell("plot()", displayed(alt="figure"))),
    (describes_its_pictures, with_cell("plot()", displayed("image/svg+xml", alt=""))),
    (describes_its_pictures, with_text("![a hand with three points]", "![]")),
    (describes_its_pictures, with_text("![a hand", "<img src='a.png'>![a hand")),
    (has_short_cells, with_cell("x = 1\n" * 41)),
    (has_short_cells, with_cell("x = 1\n" * 26)),
    (skips_nothing, with_cell("x", tagged=["nbval-skip"])),
    (skips_nothing, with_cell("# NBVAL_SKIP\nx")),
    *[
        (needs_no_shell, with_cell(f"x = 1\n{line}"))
        for line in ("!pip install x", "%pip install x", "%%bash\nls", "files = !ls")
    ],
    *[(has_all_sections, with_text(f"## {title}", "## Other")) for title in SECTIONS],
    (has_all_sections, with_text("takes 40 s on", "is quick on")),
    (has_an_exercise, with_text("check('entropy', mine)", "self_check(1)  # check(")),
    (sweeps_its_widgets, edited(lambda n, c: c[1].metadata.clear())),
    (sweeps_its_widgets, edited(lambda n, c: c[2].metadata.clear())),
    (sweeps_its_widgets, edited(lambda n, c: c[2].outputs.clear())),
    (names_no_machine_path, with_cell("p", printed("read /home/ann/a.npz"))),
    (is_valid, edited(lambda n, _: n.metadata.kernelspec.update(name="lm-env"))),
    (is_valid, edited(lambda n, c: c[1].update(id=c[0].id))),
    (is_valid, edited(lambda n, c: c[1].update(outputs=[{"output_type": "x"}]))),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_good_notebook_passes(check):
    assert check(toy()) == []


@pytest.mark.filterwarnings("ignore::nbformat.warnings.DuplicateCellId")
@pytest.mark.parametrize(
    ("check", "notebook"),
    BROKEN,
    ids=[f"{check.__name__}-{i}" for i, (check, _) in enumerate(BROKEN)],
)
def test_a_fault_is_reported(check, notebook):
    assert check(notebook) != []


def test_every_check_has_been_seen_to_fail():
    assert {check for check, _ in BROKEN} == set(CHECKS)


def test_a_notebook_without_widgets_needs_no_sweep():
    plain = with_text("from ipywidgets import FloatSlider\nslider = FloatSlider()", "1")
    for cell in code_cells(plain):
        cell.metadata.clear()
    assert sweeps_its_widgets(plain) == []
