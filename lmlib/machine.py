"""This machine: its device, its arithmetic, and how a measurement describes them."""

import contextlib
import os
import platform
import re
import subprocess
from pathlib import Path

import torch

PRECISIONS = ("float32", "bfloat16")


def current_precision(default: str) -> str:
    """``LMLIB_PRECISION``, or else the default; ValueError if it holds anything
    else."""
    value = os.environ.get("LMLIB_PRECISION") or default
    if value not in PRECISIONS:
        raise ValueError(f"LMLIB_PRECISION must be float32 or bfloat16, got {value!r}")
    return value


def best_device() -> torch.device:
    """A GPU if there is one (CUDA, then Apple's), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def autocast(device: torch.device):
    """The arithmetic of training on ``device``, as a context.

    bfloat16 on CUDA, float32 elsewhere; ``LMLIB_PRECISION``, float32 or bfloat16,
    decides otherwise. On a processor that multiplies matrices in bfloat16 (Intel's AMX)
    a step of Blocks was 1.2 to 1.9 times faster with one thread and small batches, and
    no faster with two threads and large ones (``benchmarks/training.py``).
    """
    half = current_precision("bfloat16" if device.type == "cuda" else "float32")
    if half == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def environment() -> dict:
    """``device``, ``versions`` and ``commit``, as rows record them."""
    import numpy
    import torch

    if torch.cuda.is_available():
        device = f"{torch.cuda.get_device_name()} ({current_precision('bfloat16')})"
    else:
        kind = "mps" if torch.backends.mps.is_available() else "cpu"
        half = current_precision("float32") == "bfloat16"
        about = f"{torch.get_num_threads()} threads{', bfloat16' if half else ''}"
        device = f"{kind} ({_processor()}, {about})"
    versions = {"python": platform.python_version()}
    versions |= {"torch": torch.__version__, "numpy": numpy.__version__}
    return {"device": device, "versions": versions, "commit": _commit()}


def _processor() -> str:
    """Its name; and its instructions, where an x86 has less than AVX-512: a name such
    as "AMD EPYC" covers both, and the same seed then ends elsewhere."""
    cpuinfo = Path("/proc/cpuinfo")  # Linux; elsewhere platform knows
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    model = re.search(r"^model name\s*: (.+)", text, re.MULTILINE)
    name = model[1] if model else platform.processor() or platform.machine()
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"{name}, {instructions}" if instructions == "AVX2" else name


def _commit() -> str | None:
    """HEAD, "-dirty" if anything but the results differs from it; None without git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).resolve().parents[1]), *arguments]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        # rows and weights land in data/ while runs go on: they do not change the code
        changed = git(
            "status",
            "--porcelain",
            "--",
            ":/",
            ":(top,exclude)data",
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("-dirty" if changed else "")
