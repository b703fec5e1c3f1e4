"""A notebook opens with a picture, imports briefly, and answers what it asked."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
CHECKED = """
00 01 02 03  10 11 12 13  20 21 22 23  30 31 32 33  40 41 42 43  50 51 52 53  60 61 62
""".split()
NOTEBOOKS = [path for n in CHECKED for path in FOLDER.glob(f"{n}_*.ipynb")]
LINES = 10
ABOUT_US = re.compile(
    r"our runs are short|not stored|stored here|an earlier version|left out below"
    r"|is stored",
    re.IGNORECASE,
)


def read(path):
    return nbformat.v4.reads(path.read_text(encoding="utf-8"))


def is_import(node):
    return isinstance(node, ast.Import | ast.ImportFrom)


def long_imports(notebook):
    """Cells that import on more than ten lines."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            nodes = [n for n in ast.parse(cell.source).body if is_import(n)]
            lines = sum(n.end_lineno - n.lineno + 1 for n in nodes)
            found += [lines] if lines > LINES else []
    return found


def opens_with_a_picture(notebook):
    """The first code cell shows one, before anything else is imported; as a PNG, which
    is what previews of notebooks look for."""
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    png = any("image/png" in output.get("data", {}) for output in first.outputs)
    return png and len(first.source.splitlines()) <= 3


def unanswered(notebook):
    """Predictions that nothing between them and the recap comes back to."""
    asked, texts, state = 0, [], "before"
    for cell in notebook.cells:
        text = cell.source if cell.cell_type == "markdown" else ""
        for output in cell.get("outputs", []):
            text += "\n" + output.get("data", {}).get("text/markdown", "")
        if "## Predict" in text:
            part = text.split("## Predict")[1].split("\n## ")[0]
            asked, state = len(re.findall(r"^\d+\. ", part, re.MULTILINE)), "after"
        elif "## Recap" in text and state == "after":
            texts.append(text.split("## Recap")[0])
            break
        elif state == "after":
            texts.append(text)
    answers = " ".join(texts)
    numbers = range(1, asked + 1)
    return [
        n for n in numbers if not re.search(rf"\*\*(Prediction|Answer) {n}\b", answers)
    ]


def about_us(notebook):
    """Sentences on how this project came about, in place of its subject."""
    texts = (c.source for c in notebook.cells if c.cell_type == "markdown")
    return [match[0] for text in texts for match in ABOUT_US.finditer(text)]


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem
)
def test_every_notebook_opens_with_a_picture(path):
    assert opens_with_a_picture(read(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_opens_briefly_and_answers(path):
    notebook = read(path)
    assert opens_with_a_picture(notebook)
    assert long_imports(notebook) == []
    assert unanswered(notebook) == []
    assert about_us(notebook) == []


def toy(*cells):
    return nbformat.v4.new_notebook(cells=list(cells))


def shown(source):
    picture = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo="})
    return nbformat.v4.new_code_cell(source, outputs=[picture])


def said(text):
    output = nbformat.v4.new_output("display_data", {"text/markdown": text})
    return nbformat.v4.new_code_cell("say(x)", outputs=[output])


TEXT = nbformat.v4.new_markdown_cell
ASKS = TEXT("## Predict\n\n1. Up?\n2. Down?\n\nWrite down two answers.")


def test_faults_are_seen():
    imports = "\n".join(f"import module_{n}" for n in range(11))
    assert long_imports(toy(shown(imports))) == [11]
    assert long_imports(toy(shown(imports[: imports.rindex("\n")]))) == []
    assert opens_with_a_picture(toy(TEXT("# A"), shown("draw()")))
    assert not opens_with_a_picture(toy(nbformat.v4.new_code_cell("draw()")))
    jpeg = nbformat.v4.new_output("display_data", {"image/jpeg": "/9j/4AA="})
    jpeg = nbformat.v4.new_code_cell("draw()", outputs=[jpeg])
    assert not opens_with_a_picture(toy(jpeg))
    assert not opens_with_a_picture(toy(shown(imports)))
    recap = TEXT("## Recap\n**Prediction 2** was down.")
    assert unanswered(toy(ASKS, said("**Prediction 1 was: up.**"), recap)) == [2]
    late = said("**Answer 2: down.**")
    assert unanswered(toy(ASKS, late, said("**Prediction 1.** Up."), recap)) == []
    assert about_us(toy(TEXT("Our runs are short."))) == ["Our runs are short"]
