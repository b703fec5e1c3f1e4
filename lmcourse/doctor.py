"""``lmlib doctor``: is this machine ready for the course, and if not, what mends it?

Nothing here imports torch or Jupyter at the top, so the doctor can speak when they are
broken.
"""

import functools
import importlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import lmlib
from lmlib.places import repository_root

PIP = f"{sys.executable} -m pip install"


@dataclass(frozen=True)
class Check:
    """One finding. ``state``: "ok", "note" (could be better) or "missing" (mend it)."""

    name: str
    state: str
    found: str
    mend: str = ""  # the exact command


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """``"2.13.0+cpu"`` -> (2, 13, 0): enough to compare lower bounds."""
    return tuple(int(n) for n in re.findall(r"\d+", version.split("+")[0])[:3])


def check_packages() -> Check:
    """Every dependency lmlib declares is installed, at its lower bound or above."""
    install = f"{PIP} -e {repository_root()} -c {repository_root() / 'constraints.txt'}"
    try:
        requirements = importlib.metadata.requires("lmlib") or []
    except importlib.metadata.PackageNotFoundError:
        return Check("packages", "missing", "lmlib itself is not installed", install)
    wrong = []
    for requirement in requirements:
        if "extra ==" in requirement:
            continue
        name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
        bound = re.search(r">=\s*([0-9.]+)|$", requirement)[1] or "0"
        version = _version(name)
        if version is None:
            wrong.append(f"{name} is not installed")
        elif _numbers(version) < _numbers(bound):
            wrong.append(f"{name} is {version}, older than {bound}")
    if wrong:
        return Check("packages", "missing", "; ".join(wrong), install)
    return Check("packages", "ok", f"lmlib {lmlib.__version__} and what it declares")


def check_torch() -> list[Check]:
    try:
        torch = importlib.import_module("torch")
        torch.ones(3).sum().item()
    except Exception as error:  # a broken build fails in many ways
        found = f"{type(error).__name__}: {error}"
        return [Check("torch", "missing", found, f"{PIP} --force-reinstall torch")]
    version = Check("torch", "ok", torch.__version__)
    return [version, _check_device(torch), _check_threads(torch)]


def _check_device(torch) -> Check:
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        try:
            torch.ones(3, device="cuda").sum().item()
        except RuntimeError as error:
            found = f"{name} does not compute ({str(error).splitlines()[0]})"
            mend = "export CUDA_VISIBLE_DEVICES=  # hides it: the CPU is used"
            return Check("device", "note", found, mend)
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Check("device", "ok", f"{name}, {memory:.0f} GB")
    if torch.backends.mps.is_available():
        return Check("device", "ok", "Apple GPU (mps)")
    if shutil.which("nvidia-smi"):
        found = f"cpu, though there is an NVIDIA driver (torch {torch.__version__})"
        index = "https://download.pytorch.org/whl/cu126"
        mend = f"{PIP} --force-reinstall torch --index-url {index}"
        return Check("device", "note", found, mend)
    found = "cpu (every lesson runs on it)"
    if getattr(torch.cpu, "_is_amx_tile_supported", bool)():
        found += "; LMLIB_PRECISION=bfloat16 can be faster on it"
    return Check("device", "ok", found)


def _check_threads(torch) -> Check:
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    found = f"{torch.get_num_threads()} of {cores} cores"
    forced = os.environ.get("OMP_NUM_THREADS")
    if forced and torch.get_num_threads() < cores / 2:
        found += f" (OMP_NUM_THREADS={forced})"
        return Check("threads", "note", found, "unset OMP_NUM_THREADS")
    return Check("threads", "ok", found)


def check_memory() -> Check:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):  # Windows
        return Check("memory", "ok", "not known on this system; 4 GB are enough")
    if total < 3.5:
        found = f"{total:.1f} GB; 4 GB are advised: open one notebook at a time"
        return Check("memory", "note", found, "LMLIB_BUDGET=quick make lab")
    return Check("memory", "ok", f"{total:.1f} GB")


@functools.cache
def jupyter_folders() -> list[Path]:
    """Where Jupyter looks for its data, first match first; [] without Jupyter."""
    command = [sys.executable, "-m", "jupyter", "--paths", "--json"]
    run = subprocess.run(command, capture_output=True, text=True)
    return [] if run.returncode else [Path(p) for p in json.loads(run.stdout)["data"]]


def _from_jupyter(*parts: str) -> tuple[Path | None, dict]:
    """The first such JSON file in Jupyter's folders, and what it says."""
    for folder in jupyter_folders():
        path = folder.joinpath(*parts)
        if path.is_file():
            try:
                return path, json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                return path, {}
    return None, {}


def _check_front_end(name: str, package: str, extension: str, major: str) -> Check:
    """A widget package, and its browser side: there, and fitting."""
    python = _version(package)
    path, browser = _from_jupyter("labextensions", extension, "package.json")
    both = f"{package} jupyterlab_widgets" if package == "ipywidgets" else package
    if python is None:
        found = f"{package} is not installed"
        return Check(name, "missing", found, f"{PIP} {package}")
    if path is None:
        found = f"{package} {python} without its browser side"
        mend = f"{PIP} --force-reinstall --no-deps {both}"
        return Check(name, "missing", found, mend)
    version = browser.get("version", "unknown")
    found = f"{package} {python}, browser side {version}"
    if not version.startswith(major):
        found += ": these do not fit each other"
        return Check(name, "missing", found, f"{PIP} -U {both}")
    return Check(name, "ok", found)


def check_widgets() -> list[Check]:
    """JupyterLab, sliders (ipywidgets), dragging (anywidget) and the kernel."""
    version = _version("jupyterlab")
    lab = Check("JupyterLab", "ok", version or "")
    if version is None:
        lab = Check("JupyterLab", "missing", "not installed", f"{PIP} jupyterlab")
    # ipywidgets 8 speaks to version 5 of the manager
    manager = "@jupyter-widgets/jupyterlab-manager"
    sliders = _check_front_end("sliders", "ipywidgets", manager, "5.")
    dragging = _check_front_end("dragging", "anywidget", "anywidget", "")
    return [lab, sliders, dragging, check_kernel()]


def check_kernel() -> Check:
    """The kernel the notebooks ask for, python3, starts this Python and no other."""
    path, kernel = _from_jupyter("kernels", "python3", "kernel.json")
    if path is None:
        mend = f"{sys.executable} -m ipykernel install --sys-prefix"
        return Check("kernel", "missing", "no kernel called python3", mend)
    command = (kernel.get("argv") or ["nothing"])[0]
    # a bare "python" is replaced by the Python that runs JupyterLab
    same = command in ("python", "python3", f"python3.{sys.version_info.minor}")
    if not same and Path(command).absolute() != Path(sys.executable).absolute():
        found = f"{path} starts {command}, not {sys.executable}"
        return Check("kernel", "missing", found, "jupyter kernelspec remove -f python3")
    return Check("kernel", "ok", str(path.parent))


def check_git() -> Check:
    if shutil.which("git"):
        return Check("git", "ok", shutil.which("git"))
    found = "not found: result rows will not name their commit"
    for manager in ("sudo apt-get", "sudo dnf", "brew", "winget"):
        if shutil.which(manager.split()[-1]):
            return Check("git", "note", found, f"{manager} install git")
    return Check("git", "note", found, "conda install -c conda-forge git")


def examine() -> list[Check]:
    """All checks, in the order in which a reader should mend them."""
    # an older Python could not have come this far
    python = Check("Python", "ok", f"{platform.python_version()} at {sys.executable}")
    machine = [*check_torch(), check_memory()]
    return [python, check_packages(), *machine, *check_widgets(), check_git()]


def report(checks: list[Check]) -> tuple[str, bool]:
    """The printed report, and whether nothing essential is missing."""
    lines = []
    for check in checks:
        mark = "MISSING" if check.state == "missing" else check.state
        lines.append(f"{mark:<7}  {check.name:<11} {check.found}")
        if check.mend:
            lines.append(f"{'':20} mend it: {check.mend}")
    missing = sum(check.state == "missing" for check in checks)
    end = f"{missing} essential part(s) missing: run the commands above."
    return "\n".join([*lines, end if missing else "Ready."]), missing == 0
