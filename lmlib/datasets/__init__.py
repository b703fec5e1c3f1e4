"""Real data sets on disk, in their official layouts.

They are looked for under ``LMLIB_DATA`` (several folders, separated as in ``PATH``) and
under ``data/downloads``.
"""

import os
from pathlib import Path

from lmlib.results import repository_root


def find_folder(*places: str) -> Path:
    """The first of these folders that exists; FileNotFoundError names where it looked.

    ``places`` are relative paths, such as ``"mnist/MNIST/raw"``.
    """
    named = os.environ.get("LMLIB_DATA", "").split(os.pathsep)
    roots = [Path(name) for name in named if name]
    roots.append(repository_root() / "data" / "downloads")
    tried = [root / place for root in roots for place in places]
    for path in tried:
        if path.is_dir():
            return path
    raise FileNotFoundError(
        f"none of these folders exists: {', '.join(map(str, tried))}; set LMLIB_DATA "
        "to the folder that holds them"
    )
