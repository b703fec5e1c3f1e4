"""Pages to hand out: each notebook as one HTML file, for reading and printing.

``python -m tools.handouts [NN ...]`` writes ``work/handouts/NN_name.html``: text,
pictures and the code that teaches. What only draws is left out, and so are widgets
(their still frames stand in for them) and solutions. With ``--solutions`` the page is
the teacher's: solutions are in and everything folded is open. ``--pdf`` adds a PDF
where a Chromium is at hand. Equations are drawn by MathJax, from the net.
"""

import argparse
import re
from contextlib import nullcontext
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from traitlets.config import Config

from lmlib.files import whole
from tools.chromium import open_page

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "work" / "handouts"
LEFT_OUT = {"widget", "widget-sweep"}
DRAWS = "hide-input"
ONLY_DRAWS = {DRAWS, "static-twin"}
PAPER = """<style>
@page { margin: 15mm }
@media print {
  h1, h2, h3 { break-after: avoid }
  img, table, .jp-OutputArea-child { break-inside: avoid }
}
</style>
</head>"""


def chosen(numbers: list[str]) -> list[Path]:
    """The notebooks of these two digits; all, where none are named.

    Raises:
        ValueError: a number that no notebook has.
    """
    notebooks = {p.name[:2]: p for p in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    if unknown := [number for number in numbers if number not in notebooks]:
        raise ValueError(
            f"no notebook {', '.join(unknown)}; there are {', '.join(notebooks)}"
        )
    return [notebooks[number] for number in numbers or notebooks]


def on_paper(notebook, solutions: bool):
    """The notebook without what a page cannot do; it is changed in place."""
    kept = []
    for cell in notebook.cells:
        tags = set(cell.metadata.get("tags", ()))
        if tags & LEFT_OUT or ("solution" in tags and not solutions):
            continue
        hidden = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        if cell.cell_type == "code" and (hidden or tags & ONLY_DRAWS):
            if not cell.outputs:
                continue
            cell.metadata["tags"] = sorted(tags | {DRAWS})
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\((\d\d_\w+)\.ipynb", r"](\1.html", cell.source)
        kept.append(cell)
    notebook.cells = kept
    return notebook


def page(notebook: Path, solutions: bool = False) -> str:
    """A notebook as the HTML of one page, complete in itself but for MathJax."""
    content = on_paper(nbformat.read(notebook, as_version=4), solutions)
    hide = {"enabled": True, "remove_input_tags": {DRAWS}}
    exporter = HTMLExporter(
        template_name="lab",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        config=Config(TagRemovePreprocessor=hide),
    )
    name = {"metadata": {"name": notebook.stem.replace("_", " ")}}
    html, _ = exporter.from_notebook_node(content, resources=name)
    if solutions:
        html = html.replace("<details>", "<details open>")
    return html.replace("</head>", PAPER, 1)


def write(notebooks: list[Path], out: Path, solutions: bool, pdf: bool):
    """A page, and a PDF if wanted, of each notebook into the folder ``out``.

    Raises:
        ImportError: a PDF is wanted and playwright is not installed.
        OSError: there is no Chromium, or a file cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    with open_page() if pdf else nullcontext() as browser:
        for notebook in notebooks:
            file = out / f"{notebook.stem}.html"
            with whole(file, "w", encoding="utf-8") as handle:
                handle.write(page(notebook, solutions))
            print(file)
            if pdf:
                browser.goto(file.resolve().as_uri(), wait_until="load")
                browser.pdf(path=file.with_suffix(".pdf"), format="A4", scale=0.8)


def main(words: list[str] | None = None):
    """``python -m tools.handouts``; raises SystemExit on words it cannot follow."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", metavar="NN", help="00, 12, ...; all")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--solutions", action="store_true", help="the teacher's pages")
    parser.add_argument("--pdf", action="store_true", help="a PDF beside each page")
    said = parser.parse_args(words)
    try:
        write(chosen(said.notebooks), said.out, said.solutions, said.pdf)
    except ImportError:
        parser.error("--pdf needs playwright: pip install -e '.[test]'")
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
