"""Files that appear whole or not at all, and errors that say which file."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
        temporary = path.with_name(f".lmlib-{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as named_file:
                shutil.copyfileobj(file, named_file)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
