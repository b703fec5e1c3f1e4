"""Turn notebooks into PNG pages, to look at them as a reader does.

``python -m tools.notebook_png NOTEBOOK ... [--out pages]`` writes ``NAME-01.png`` and
so on. Equations are drawn when MathJax can be reached; offline, unpack the npm package
``mathjax@2`` and name its ``MathJax.js`` with ``--mathjax``.
"""

import argparse
import io
import tempfile
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from PIL import Image

from tools.chromium import open_page


def picture(page, notebook: Path, mathjax: str | None) -> Image.Image:
    """One tall screenshot of the notebook as nbconvert's HTML."""
    options = {}
    if mathjax:
        address = Path(mathjax).resolve().as_uri()
        options["mathjax_url"] = f"{address}?config=TeX-AMS_CHTML-full,Safe"
    exporter = HTMLExporter(template_name="lab", **options)
    html, _ = exporter.from_notebook_node(nbformat.read(notebook, as_version=4))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "notebook.html"
        file.write_text(html, encoding="utf-8")
        page.goto(file.as_uri(), wait_until="load")
        page.wait_for_timeout(3000 if mathjax else 500)
        return Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("pages"))
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--height", type=int, default=1400, help="of one page")
    parser.add_argument("--mathjax", help="path of MathJax.js, version 2")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with open_page(arguments.width) as page:
        for notebook in arguments.notebooks:
            tall = picture(page, notebook, arguments.mathjax)
            tops = range(0, tall.height, arguments.height)
            for number, top in enumerate(tops, start=1):
                bottom = min(top + arguments.height, tall.height)
                file = arguments.out / f"{notebook.stem}-{number:02d}.png"
                tall.crop((0, top, tall.width, bottom)).save(file)
            print(f"{notebook.name}: {len(tops)} pages in {arguments.out}")


if __name__ == "__main__":
    main()
