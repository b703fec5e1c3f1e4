"""Files that several processes share: locks, and writing whole or not at all.

A lock belongs to an open file handle, so the system frees it when its process ends,
however that happens. Its file is empty and stays: ``.NAME.lock`` beside a shared file,
a hash in ``data/cache/locks`` for what is no file.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lmlib.files import replacing
from lmlib.places import repository_root

WAIT = 0.01  # seconds between two looks at a lock that another process holds


def _beside(path: Path) -> FileLock:
    path = path.resolve()
    return FileLock(path.with_name(f".{path.name}.lock"))


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process writes or reads ``path``, and keep others out."""
    with _beside(path).acquire(poll_interval=WAIT):
        yield


@contextmanager
def undisturbed(path: Path) -> Iterator[None]:
    """``alone``, for reading: where no lock can be made (a checkout that may only be
    read) nobody writes either, and it goes on without."""
    lock = _beside(path)
    try:
        lock.acquire(poll_interval=WAIT)
    except OSError:
        lock = None
    try:
        yield
    finally:
        if lock:
            lock.release()


@contextmanager
def taken(about: str) -> Iterator[bool]:
    """True if ``about`` is ours while this lasts; False if another process has it."""
    folder = repository_root() / "data" / "cache" / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / hashlib.sha256(about.encode()).hexdigest()[:16])
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def write_whole(path: Path, content: bytes) -> None:
    """Put ``content`` in place of ``path``: a killed process leaves old or new."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
