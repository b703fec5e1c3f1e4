"""Files that appear whole or not at all, and errors that say which file."""

import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Errors of the system in here name the file: a full disk alone does not."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise OSError(f"{path}: cannot be written ({why})") from error


@contextmanager
def whole(path: Path, mode: str = "wb", **options) -> Iterator[IO]:
    """A file to write that takes the place of ``path`` when all has been written.

    Until then it has no name, where the system has such files (Linux), so that a
    killed process leaves nothing behind. On an error, ``path`` is as it was.

    Args:
        options: as of ``open``: encoding, newline, errors.

    Raises:
        OSError: it cannot be written; the message names ``path``.
    """
    with named(path), tempfile.TemporaryFile("w+b", dir=path.parent) as file:
        if "b" in mode:
            yield file
        else:
            with open(file.fileno(), "w", closefd=False, **options) as text:
                yield text
        file.seek(0)
        with replacing(path) as temporary, temporary.open("wb") as named_file:
            shutil.copyfileobj(file, named_file)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Another name in the folder of ``path``; what was written there takes its place,
    or, on an error, vanishes. What killed processes left of it vanishes too."""
    mark = f".lmlib-{sha256(os.fsencode(path.name)).hexdigest()[:12]}"
    for left in path.parent.glob(f"{mark}-*.tmp"):
        if not _runs(int(left.name.split("-")[2])):
            left.unlink(missing_ok=True)
    # Not the file's own name, which may be as long as names can be.
    temporary = path.with_name(f"{mark}-{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Is there a process of this number? On Windows, there may always be."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
