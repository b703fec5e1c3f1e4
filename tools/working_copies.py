"""Notebooks to write in: ``work/`` holds copies, ``notebooks/`` stays as it came.

``python -m tools.working_copies`` is what ``make lab`` calls before JupyterLab opens.
A copy that nobody has changed follows its original; one that was changed is never
touched: if its original has changed too, the new one is laid beside it.
"""

import argparse
import hashlib
import json
from pathlib import Path

from lmlib.files import whole

ROOT = Path(__file__).resolve().parents[1]
RECORD = ".copied.json"  # of each copy, the hash of what was copied


def digest(content: bytes) -> str:
    """A notebook's content in 16 letters."""
    return hashlib.sha256(content).hexdigest()[:16]


def copied_before(work: Path) -> dict[str, str]:
    """What :func:`refresh` wrote here; nothing, where that cannot be read."""
    try:
        record = json.loads((work / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def refresh(originals: Path, work: Path) -> list[str]:
    """Copy each notebook of ``originals`` that is new, or unchanged in ``work``.

    Returns:
        The names of changed copies whose originals have changed as well: these lie
        beside them as ``NAME_new.ipynb``.

    Raises:
        OSError: a folder cannot be read or written.
    """
    work.mkdir(exist_ok=True)
    record, beside = copied_before(work), []
    for original in sorted(originals.glob("*.ipynb")):
        content, copy = original.read_bytes(), work / original.name
        latest, before = digest(content), record.get(original.name)
        present = digest(copy.read_bytes()) if copy.exists() else before
        if present in (before, latest):  # nobody changed it, or it is not there
            record[original.name] = latest
        elif latest != before:
            beside.append(original.name)
            copy = work / f"{original.stem}_new.ipynb"
        else:
            continue
        if not copy.exists() or copy.read_bytes() != content:
            with whole(copy) as file:
                file.write(content)
    with whole(work / RECORD, "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
    return beside


def main() -> None:
    """``python -m tools.working_copies``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=ROOT / "work")
    work = parser.parse_args().into
    for name in refresh(ROOT / "notebooks", work):
        print(
            f"{work.name}/{name} has your changes and stays; the course's present "
            f"version is {Path(name).stem}_new.ipynb beside it"
        )


if __name__ == "__main__":
    main()
