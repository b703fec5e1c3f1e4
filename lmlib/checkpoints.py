"""Checkpoints: safetensors, with all about the run in the file's own metadata."""

import json
import os
import threading
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

FORMAT = "lmlib-checkpoint-1"


def save_checkpoint(path: str | Path, method: nn.Module, **metadata) -> Path:
    """Write the weights and ``metadata`` (anything JSON can hold), atomically."""
    tensors = {f"model.{k}": v for k, v in method.state_dict().items()}
    return _write(Path(path), tensors, {"kind": "weights", **metadata})


def read_metadata(path: str | Path) -> dict:
    """What a checkpoint says about itself: command, seed, steps, device, metrics,
    ..."""
    return _read(Path(path), tensors=False)[1]


def load_checkpoint(path: str | Path, method: nn.Module) -> dict:
    """Load weights into ``method`` and return the checkpoint's metadata.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, not a safetensors file, not ours, or for another network.
    """
    tensors, metadata = _read(Path(path))
    weights = {k[6:]: v for k, v in tensors.items() if k.startswith("model.")}
    own = method.state_dict()
    wrong = sorted(set(weights) ^ set(own)) or [
        f"{k} {tuple(weights[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own
        if weights[k].shape != own[k].shape
    ]
    if wrong:
        raise ValueError(
            f"{path}: made for another network ({len(wrong)} tensors differ, first "
            f"{wrong[0]}); expected a checkpoint of {type(method).__name__} with "
            f"{getattr(method, 'config', 'this configuration')}"
        )
    method.load_state_dict(weights)
    return metadata


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    # Not the file's own name, which may be as long as names can be.
    temporary = path.with_name(f".lmlib-{os.getpid()}-{threading.get_ident()}.tmp")
    text = json.dumps({"format": FORMAT, **metadata}, default=str)
    try:
        save_file(tensors, temporary, {"lmlib": text})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # safetensors writes for the owner alone
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _read(path: Path, tensors: bool = True) -> tuple[dict[str, Tensor], dict]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("lmlib", "{}"))
            keys = file.keys() if tensors else []
            values = {key: file.get_tensor(key) for key in keys}
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path}: truncated or not a safetensors file ({error}); copy it again or "
            "train anew"
        ) from error
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path}: a safetensors file, but not a checkpoint of lmlib (its metadata "
            f"says format {metadata.get('format')!r}, expected {FORMAT!r})"
        )
    return values, metadata
