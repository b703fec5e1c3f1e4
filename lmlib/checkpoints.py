"""Checkpoints: safetensors, with all about the network in the file's own metadata.

A file names its method and its whole configuration, so ``lmlib.load`` needs nothing
else. Files are written whole or not at all.
"""

import json
import time
from dataclasses import asdict, is_dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from lmlib.files import replacing
from lmlib.texts import brief

FORMAT = "lmlib-checkpoint-2"


def save_checkpoint(
    path: str | Path, method: nn.Module, more: dict | None = None, /, **metadata
) -> Path:
    """Write a method's weights, ``more`` tensors, and metadata (what JSON can hold)."""
    tensors = {f"model.{name}": x for name, x in method.state_dict().items()}
    tensors |= more or {}
    return write(path, tensors, {"kind": "weights", **_identity(method), **metadata})


def read_metadata(path: str | Path) -> dict:
    """What a checkpoint says about itself: method, configuration, seed, steps, ..."""
    return read(path, None)[1]


def load_checkpoint(path: str | Path, method: nn.Module) -> dict:
    """Load weights into ``method`` and return the checkpoint's metadata.

    A buffer of the method that is None until it is known is taken from the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, not a safetensors file, not ours, or for another network.
    """
    tensors, metadata = read(path, "model.")
    weights = of_prefix(tensors, "model.")
    for name in weights.keys() - method.state_dict().keys():
        if name in method._buffers:
            method._buffers[name] = torch.empty_like(weights[name])
    check_shapes(path, {name: x.shape for name, x in weights.items()}, method)
    method.load_state_dict(weights)
    return metadata


def check_shapes(path: str | Path, shapes: dict, method: nn.Module) -> None:
    """ValueError unless ``shapes`` of the file's weights are those of the method."""
    own = {name: x.shape for name, x in method.state_dict().items()}
    late = {name for name, buffer in method._buffers.items() if buffer is None}
    wrong = sorted((shapes.keys() ^ own.keys()) - late) or [
        f"{name} {tuple(shapes[name])} instead of {tuple(own[name])}"
        for name in own
        if shapes[name] != own[name]
    ]
    if wrong:
        config = getattr(method, "config", "this configuration")
        raise ValueError(
            f"{path}: made for another network ({len(wrong)} tensors differ, first "
            f"{brief(wrong[0])}); expected a checkpoint of {type(method).__name__} "
            f"with {brief(str(config), 2000)}"
        )


def of_prefix(tensors: dict, prefix: str) -> dict:
    """The entries whose names start so, without that start."""
    return {
        k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)
    }


def _identity(method: nn.Module) -> dict:
    """``method`` and ``config``, as the metadata name them."""
    config = getattr(method, "config", None)
    return {
        "method": getattr(method, "name", type(method).__name__),
        "config": asdict(config) if is_dataclass(config) else None,
    }


# --- runs that go on where they were --------------------------------------------------


def save_run(path, method, optimizer, run: dict, step: int, history: list) -> None:
    """Weights, optimiser state, step and identity: all that an exact resume needs."""
    if not path:
        return
    tensors = {f"model.{name}": x for name, x in method.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimizer.{number}.{key}"] = torch.as_tensor(value)
    about = {"kind": "run", **_identity(method), "run": run, "step": step}
    saved = time.strftime("%Y-%m-%dT%H:%M:%S")
    write(path, tensors, {**about, "history": history, "saved": saved})


def resume_run(path, method, optimizer, run: dict) -> tuple[int, list[dict]]:
    """Step and history of the run in ``path``, its state loaded; (0, []) if there is
    none.

    Raises:
        ValueError: not a run, or another one.
    """
    if not path or not Path(path).exists():
        return 0, []
    tensors, metadata = read(path, "optimizer.")
    if metadata.get("kind") != "run":
        raise ValueError(f"{path}: holds weights only and cannot be resumed")
    check_run(path, metadata, _identity(method) | {"run": run})
    step, history = metadata.get("step"), metadata.get("history")
    if type(step) is not int or step < 0 or not _is_history(history):
        raise ValueError(f"{path}: does not say how far this run has come")
    load_checkpoint(path, method)
    state: dict[int, dict] = {}
    for name, value in of_prefix(tensors, "optimizer.").items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return step, history


def _is_history(rows) -> bool:
    return isinstance(rows, list) and all(isinstance(row, dict) for row in rows)


def check_run(path, metadata: dict, wanted: dict) -> None:
    """ValueError naming what differs, if the unfinished run is not the wanted one."""
    wanted = json.loads(json.dumps(wanted, default=str))  # tuples are lists in files
    changed = differences({k: metadata.get(k) for k in wanted}, wanted)
    if changed:
        raise ValueError(f"{path}: an unfinished run of another kind ({changed})")


def differences(made, wanted, name: str = "") -> str:
    """Where two nested values differ: ``run.seed 0, not 1; ...``; empty if nowhere."""
    if isinstance(made, dict) and isinstance(wanted, dict):
        parts = (
            differences(made.get(key), wanted.get(key), f"{name}.{key}".lstrip("."))
            for key in sorted(made.keys() | wanted.keys())
        )
        return "; ".join(filter(None, parts))
    if made == wanted:
        return ""
    return f"{brief(name)} {brief(repr(made))}, not {brief(repr(wanted))}"


# --- files ----------------------------------------------------------------------------


def write(path: str | Path, tensors: dict[str, Tensor], metadata: dict) -> Path:
    """A safetensors file, whole or not at all; OSError naming it if it cannot be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    text = json.dumps({"format": FORMAT, **metadata}, default=str)
    try:
        with replacing(path) as temporary:
            # Not save_file: killed, it leaves a file of a name that nobody knows.
            temporary.write_bytes(save(tensors, {"lmlib": text}))
    except (OSError, SafetensorError) as error:
        raise OSError(f"{path}: cannot be written ({error})") from error
    return path


def read(path: str | Path, prefix: str | None) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a checkpoint whose names start so (None: none), and its metadata.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, no safetensors file, or not one of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("lmlib", "{}"))
            wanted = [
                k for k in file.keys() if prefix is not None and k.startswith(prefix)
            ]
            values = {key: file.get_tensor(key) for key in wanted}
    except (SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: truncated or not a safetensors file ({error}); copy it again or "
            "train anew"
        ) from error
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        said = metadata.get("format") if isinstance(metadata, dict) else metadata
        raise ValueError(
            f"{path}: a safetensors file, but not a checkpoint of this lmlib (its "
            f"metadata says format {brief(repr(said))}, expected {FORMAT!r})"
        )
    return values, metadata


def shapes(path: str | Path) -> dict[str, torch.Size]:
    """Names and shapes of the tensors in a file, without reading them."""
    with safe_open(Path(path), framework="pt") as file:
        return {k: torch.Size(file.get_slice(k).get_shape()) for k in file.keys()}
