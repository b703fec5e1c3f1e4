"""``lmlib doctor``: is this machine ready for the course, and if not, what mends it?

Nothing here imports packages at the top, so the doctor can speak when they are broken.
"""

import functools
import importlib
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lmlib
from lmlib.places import repository_root

PIP_WORDS = [sys.executable, "-m", "pip", "install"]
PIP = shlex.join(PIP_WORDS)
# What comes with a checkout and not with the installed packages.
SHIPPED = {
    "notebooks": ("notebooks", "*.ipynb"),
    "trained networks": ("data/checkpoints", "*.safetensors"),
    "result rows": ("data/results", "*.jsonl"),
    "the register of claims": ("data", "claims.toml"),
}


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


def _install(wanted: Sequence[str]) -> str:
    """The command that installs everything, or what is wanted where there is no
    checkout to install from."""
    root = repository_root()
    if not (root / "pyproject.toml").is_file():
        return shlex.join([*PIP_WORDS, *wanted])
    pins = root / "constraints.txt"
    return shlex.join([*PIP_WORDS, "-e", f"{root}[course]", "-c", str(pins)])


def check_packages() -> list[Check]:
    """What lmlib declares is installed, in a version that will do.

    The library needs its own requirements; the notebooks those of the extra ``course``.
    """
    try:
        from packaging.requirements import Requirement
    except ImportError:
        found, mend = "packaging is not installed", _install(["packaging"])
        return [Check("packages", "missing", found, mend)]
    try:
        declared = importlib.metadata.requires("lmlib") or []
    except importlib.metadata.PackageNotFoundError:
        found, mend = "lmlib itself is not installed", _install(["lmlib"])
        return [Check("packages", "missing", found, mend)]
    requirements = [Requirement(text) for text in declared]

    def needed(extra: str) -> list[Requirement]:
        return [
            each
            for each in requirements
            if each.marker is None or each.marker.evaluate({"extra": extra})
        ]

    base = needed("")
    course = [each for each in needed("course") if each not in base]
    ours = f"lmlib {lmlib.__version__}"
    return [
        _requirements("packages", base, f"{ours} and what it declares"),
        _requirements("for lessons", course, "the packages of its extra course"),
    ]


def _requirements(name: str, requirements: list, fine: str) -> Check:
    wrong, wanted = [], []
    for each in requirements:
        version = _version(each.name)
        if version is None:
            wrong.append(f"{each.name} is not installed")
        elif not each.specifier.contains(version, prereleases=True):
            wrong.append(f"{each.name} is {version}, not {each.specifier}")
        else:
            continue
        wanted.append(f"{each.name}{each.specifier}")
    if wrong:
        return Check(name, "missing", "; ".join(wrong), _install(wanted))
    return Check(name, "ok", fine)


def check_course() -> Check:
    """What the notebooks read is there: shipped networks, rows, claims; so are they."""
    root = repository_root()
    missing = [
        f"{what} ({folder}/{pattern})"
        for what, (folder, pattern) in SHIPPED.items()
        if not any((root / folder).glob(pattern))
    ]
    if missing:
        found = f"{root} lacks {', '.join(missing)}: only the library will work"
        mend = "export LMLIB_ROOT=FOLDER  # the folder that holds the whole course"
        return Check("course", "missing", found, mend)
    return Check("course", "ok", str(root))


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
    rest = [*check_widgets(), check_course(), check_git()]
    return [python, *check_packages(), *machine, *rest]


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
