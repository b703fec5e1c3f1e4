"""Run notebooks from top to bottom and store their outputs in one tidy form.

``python -m tools.run_notebooks [NOTEBOOK ...]`` runs all of ``notebooks/`` when none is
named; ``--no-run`` only tidies. A notebook that fails is left as it was.
"""

import argparse
import hashlib
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
PLACEHOLDER = "(interactive: run this cell in JupyterLab to use it)"
KERNEL = {
    "display_name": "Python 3 (ipykernel)",
    "language": "python",
    "name": "python3",
}
LANGUAGE = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "pygments_lexer": "ipython3",
}


def run(notebook, folder: Path, timeout: float):
    """Execute in place, in the notebook's own folder, with this Python's kernel."""
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
    )
    client.execute()


def tidy_output(output):
    """The output as stored, or None to drop it.

    A stored widget view without its state shows "model not found" when the notebook is
    next opened, so a sentence stands in for it; finished progress bars go.
    """
    data = output.get("data", {})
    if WIDGET_VIEW not in data:
        return output
    if "%|" in data.get("text/plain", ""):
        return None
    output["data"] = nbformat.from_dict({"text/plain": PLACEHOLDER})
    return output


def tidy(notebook):
    """Counts 1..n, no widget state, no versions or times, an id for every cell."""
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": LANGUAGE}
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    count, seen = 0, set()
    for position, cell in enumerate(notebook.cells):
        if not cell.get("id") or cell["id"] in seen:
            text = f"{position}:{cell.source}"
            cell["id"] = hashlib.sha256(text.encode()).hexdigest()[:12]
        seen.add(cell["id"])
        kept = {k: v for k, v in cell.metadata.items() if k in ("tags", "jupyter")}
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type != "code":
            continue
        ran = bool(cell.source.strip())
        count += ran
        cell.execution_count = count if ran else None
        cell.outputs = [o for o in map(tidy_output, cell.outputs) if o is not None]
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
    return notebook


def stderr_text(notebook) -> str:
    outputs = (o for c in notebook.cells for o in c.get("outputs", []))
    return "".join(o.text for o in outputs if o.get("name") == "stderr")


def process(path: Path, execute: bool, timeout: float) -> str | None:
    """Run and tidy one notebook file; returns what went wrong, or None."""
    notebook = nbformat.read(path, as_version=4)
    try:
        if execute:
            run(notebook, path.parent, timeout)
    except CellExecutionError as error:
        return str(error)
    tidy(notebook)
    if stderr_text(notebook):
        return f"writes to stderr: {stderr_text(notebook)[:500]}"
    nbformat.validate(notebook)
    part = path.with_suffix(".part")
    part.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    os.replace(part, path)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all")
    parser.add_argument("--no-run", action="store_true", help="only tidy")
    parser.add_argument("--timeout", type=float, default=600, help="seconds a cell")
    arguments = parser.parse_args()
    paths = arguments.notebooks or sorted(FOLDER.glob("*.ipynb"))
    failed = 0
    for path in paths:
        start = time.perf_counter()
        problem = process(path, not arguments.no_run, arguments.timeout)
        seconds, kilobytes = time.perf_counter() - start, path.stat().st_size / 1024
        print(f"{path.name}: {seconds:.0f} s, {kilobytes:.0f} KB", flush=True)
        if problem:
            failed += 1
            print(f"  left as it was: {problem}", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
