"""Errors of single test images, kept beside the rows they were averaged to.

``data/results/images/EXPERIMENT.safetensors`` holds one float16 vector a row: the error
of each test image, nan where it could not be judged. Three digits are enough to tell
how much of a difference is the test set's luck. All files together stay below ``LIMIT``
bytes. A file is written whole: a killed process leaves the old one or the new one.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from lmcourse.evidence.files import alone, undisturbed, write_whole

LIMIT = 20_000_000  # bytes, of all experiments together


class ImagesFull(ValueError):
    """The errors would not fit below ``LIMIT``."""


class Key(NamedTuple):
    """What the errors belong to: a row, except for its value."""

    setting: str
    seed: int
    metric: str
    budget: str
    steps: int
    make: str  # of the device


def _file(experiment: str, results: Path) -> Path:
    return results / "images" / f"{experiment}.safetensors"


def read(experiment: str, results: Path) -> dict[Key, np.ndarray]:
    """All vectors of an experiment; {} if none were kept.

    ``results`` is the folder of the rows. ValueError naming the file if it is broken.
    """
    path = _file(experiment, results)
    if not path.exists():
        return {}
    with undisturbed(path):
        content = path.read_bytes()
    return _decoded(path, content)


def _decoded(path: Path, content: bytes) -> dict[Key, np.ndarray]:
    try:
        found = {_key(name): vector for name, vector in load(content).items()}
    except (SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"{path}: not a file of image errors ({error}); delete it, and the next "
            "runs begin a new one"
        ) from None
    for key, vector in found.items():
        if vector.dtype != np.float16 or vector.ndim != 1:
            raise ValueError(
                f"{path}: {key.setting} {key.metric} must be a float16 vector, got "
                f"{vector.dtype} {vector.shape}"
            )
    return found


def _key(name: str) -> Key:
    parts = json.loads(name)
    if not isinstance(parts, list) or len(parts) != len(Key._fields):
        raise ValueError(f"cannot read the name {name!r}")
    for field, part in zip(Key._fields, parts, strict=True):
        if type(part) is not Key.__annotations__[field]:
            raise ValueError(f"{field} in {name!r}")
    return Key(*parts)


def append(experiment: str, vectors: dict[Key, np.ndarray], results: Path) -> None:
    """Add vectors; one of the same key is replaced. ``ImagesFull`` if they do not fit.

    Two processes may append at once.
    """
    path = _file(experiment, results)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = {key: _vector(key, vector) for key, vector in vectors.items()}
    with alone(path):
        old = _decoded(path, path.read_bytes()) if path.exists() else {}
        named = {json.dumps(key): vector for key, vector in sorted((old | new).items())}
        content = save(named)
        others = sum(p.stat().st_size for p in path.parent.glob("*.safetensors"))
        others -= path.stat().st_size if path.exists() else 0
        if others + len(content) > LIMIT:
            raise ImagesFull(
                f"{path.parent}: errors of single images would take "
                f"{(others + len(content)) / 1e6:.1f} MB, more than {LIMIT / 1e6:g}"
            )
        write_whole(path, content)


def _vector(key: Key, values) -> np.ndarray:
    """``values (images,)`` as float16; ValueError for what that cannot hold."""
    wide = np.asarray(values, dtype=np.float64)
    if wide.ndim != 1 or not wide.size:
        raise ValueError(
            f"images of {key.metric} must be a vector with one error an image, got "
            f"shape {wide.shape}"
        )
    if (np.abs(wide[~np.isnan(wide)]) > np.finfo(np.float16).max).any():
        raise ValueError(f"images of {key.metric} must be below 65,504 in size")
    return wide.astype(np.float16)
