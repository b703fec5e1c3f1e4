"""Where things lie on this machine."""

import os
from pathlib import Path


def repository_root() -> Path:
    """The folder with ``data/``: ``LMLIB_ROOT``, the checkout, or where we are."""
    if os.environ.get("LMLIB_ROOT"):
        return Path(os.environ["LMLIB_ROOT"])
    here = Path.cwd()
    for folder in (Path(__file__).resolve().parents[1], here, *here.parents):
        if (folder / "data" / "claims.toml").is_file():
            return folder
    return here
