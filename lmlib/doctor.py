"""``lmlib doctor``: is this machine ready for the course, and if not, what mends it?

Nothing here imports torch or Jupyter at the top, so the doctor can speak when they are
broken.
"""

import importlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import site
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import lmlib
from lmlib.results import repository_root


@dataclass(frozen=True)
class Check:
    """One finding. ``state``: "ok", "note" (could be better) or "missing" (mend it)."""

    name: str
    state: str
    found: str
    mend: str = ""  # the exact command


PIP = f"{sys.executable} -m pip install"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """``"2.13.0+cpu"`` -> (2, 13, 0): enough to compare lower bounds."""
    return tuple(int(n) for n in re.findall(r"\d+", version.split("+")[0])[:3])


def check_python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    return Check("Python", "ok", found)  # an older one could not have come this far


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
        bound = re.search(r">=\s*([0-9.]+)", requirement)
        version = _version(name)
        if version is None:
            wrong.append(f"{name} is not installed")
        elif bound and _numbers(version) < _numbers(bound[1]):
            wrong.append(f"{name} is {version}, older than {bound[1]}")
    if wrong:
        return Check("packages", "missing", "; ".join(wrong), install)
    return Check("packages", "ok", f"lmlib {lmlib.__version__} and what it declares")


def check_torch() -> list[Check]:
    try:
        torch = importlib.import_module("torch")
        sum_ = float(torch.ones(3).sum())
    except (
        Exception
    ) as error:  # a broken build fails in many ways: ImportError, OSError
        return [
            Check(
                "torch", "missing", f"{type(error).__name__}: {error}", f"{PIP} torch"
            )
        ]
    if sum_ != 3:
        return [Check("torch", "missing", f"1 + 1 + 1 = {sum_}", f"{PIP} -U torch")]
    return [
        Check("torch", "ok", torch.__version__),
        _check_device(torch),
        _check_threads(torch),
    ]


def _check_device(torch) -> Check:
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        try:
            memory = torch.cuda.get_device_properties(0).total_memory / 2**30
            torch.ones(3, device="cuda").sum().item()
        except RuntimeError as error:
            first = str(error).splitlines()[0]
            found = (
                f"{name} does not compute ({first}); the CPU is used if it is hidden"
            )
            return Check("device", "note", found, "export CUDA_VISIBLE_DEVICES=")
        return Check("device", "ok", f"{name}, {memory:.0f} GB")
    if torch.backends.mps.is_available():
        return Check("device", "ok", "Apple GPU (mps)")
    if shutil.which("nvidia-smi"):
        found = "cpu, though this machine has an NVIDIA driver: torch cannot use it"
        if torch.version.cuda is None:
            found += " (a CPU-only build)"
        index = "https://download.pytorch.org/whl/cu126"
        mend = f"{PIP} --force-reinstall torch --index-url {index}"
        return Check("device", "note", found, mend)
    return Check("device", "ok", "cpu (every lesson runs on it)")


def _check_threads(torch) -> Check:
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    threads = torch.get_num_threads()
    found = f"{threads} of {cores} cores"
    if threads < cores / 2 and os.environ.get("OMP_NUM_THREADS"):
        found += f" (OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']})"
        return Check("threads", "note", found, "unset OMP_NUM_THREADS")
    return Check("threads", "ok", found)


def check_memory() -> Check:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):  # Windows
        return Check("memory", "ok", "not known on this system; 4 GB are enough")
    found = f"{total:.1f} GB"
    if total < 3.5:
        found += "; 4 GB are advised: open one notebook at a time"
        return Check("memory", "note", found, "LMLIB_BUDGET=quick make lab")
    return Check("memory", "ok", found)


def check_disk() -> Check:
    root = repository_root()
    free = shutil.disk_usage(root if root.exists() else Path.cwd()).free / 2**30
    if free < 1:
        found = f"{free:.1f} GB free; 1 GB is advised"
        return Check("disk", "note", found, f"{sys.executable} -m pip cache purge")
    return Check("disk", "ok", f"{free:.0f} GB free")


def jupyter_folders() -> list[Path]:
    """Where Jupyter looks for its data, first match first, as ``jupyter --paths``."""
    given = [Path(p) for p in os.environ.get("JUPYTER_PATH", "").split(os.pathsep) if p]
    home = {
        "darwin": Path.home() / "Library" / "Jupyter",
        "win32": Path(os.environ.get("APPDATA", Path.home())) / "jupyter",
    }.get(sys.platform, Path.home() / ".local" / "share" / "jupyter")
    user = [Path(os.environ.get("JUPYTER_DATA_DIR", home))]
    if site.ENABLE_USER_SITE and site.USER_BASE:
        user.append(Path(site.USER_BASE) / "share" / "jupyter")
    here = [Path(sys.prefix) / "share" / "jupyter"]
    isolated = sys.prefix != sys.base_prefix or "CONDA_PREFIX" in os.environ
    return given + (here + user if isolated else user + here)


def _extension(name: str) -> dict | None:
    """``package.json`` of a JupyterLab extension, or None."""
    for folder in jupyter_folders():
        path = folder / "labextensions" / name / "package.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
    return None


def check_widgets() -> list[Check]:
    """JupyterLab, and the browser side of ipywidgets: there, and fitting."""
    checks = []
    lab, widgets = _version("jupyterlab"), _version("ipywidgets")
    if lab is None:
        checks.append(
            Check("JupyterLab", "missing", "not installed", f"{PIP} jupyterlab")
        )
    else:
        checks.append(Check("JupyterLab", "ok", lab))
    extension = _extension("@jupyter-widgets/jupyterlab-manager")
    # ipywidgets 8 speaks to version 5 of the manager, ipywidgets 7 to version 3 or 4
    fits = {"8": {"5"}, "7": {"3", "4"}}
    both = f"{PIP} --force-reinstall --no-deps ipywidgets jupyterlab_widgets"
    if widgets is None:
        found, state = "ipywidgets is not installed", "missing"
        both = f"{PIP} ipywidgets"
    elif extension is None:
        found, state = f"ipywidgets {widgets} without its browser side", "missing"
    else:
        version = extension["version"]
        found, state = f"ipywidgets {widgets}, browser side {version}", "ok"
        wanted = fits.get(widgets.split(".")[0])
        if wanted and version.split(".")[0] not in wanted:
            found, state = f"{found}: these do not fit each other", "missing"
            both = f"{PIP} -U ipywidgets jupyterlab_widgets"
    checks.append(Check("sliders", state, found, both if state != "ok" else ""))

    drag = _version("anywidget")
    if drag is None or _extension("anywidget") is None:
        checks.append(
            Check(
                "dragging",
                "missing",
                "anywidget is not installed",
                f"{PIP} -U anywidget",
            )
        )
    else:
        checks.append(Check("dragging", "ok", f"anywidget {drag}"))
    checks.append(check_kernel())
    return checks


def check_kernel() -> Check:
    """The kernel the notebooks ask for, python3, starts this Python and no other."""
    for folder in jupyter_folders():
        path = folder / "kernels" / "python3" / "kernel.json"
        if path.is_file():
            break
    else:
        mend = f"{sys.executable} -m ipykernel install --sys-prefix"
        return Check("kernel", "missing", "no kernel called python3", mend)
    try:
        command = json.loads(path.read_text(encoding="utf-8"))["argv"][0]
    except (ValueError, KeyError, IndexError):
        command = "nothing"
    # a bare "python" is replaced by the Python that runs JupyterLab
    same = command in ("python", "python3", f"python3.{sys.version_info.minor}")
    if not same and Path(command).absolute() != Path(sys.executable).absolute():
        found = f"{path} starts {command}, not {sys.executable}"
        return Check("kernel", "missing", found, "jupyter kernelspec remove -f python3")
    return Check("kernel", "ok", str(path.parent))


def check_git() -> Check:
    if not shutil.which("git"):
        found = "not found: result rows will not name their commit"
        return Check("git", "note", found, _system_install("git"))
    run = subprocess.run(["git", "--version"], capture_output=True, text=True)
    return Check("git", "ok", run.stdout.strip())


def check_browser() -> Check:
    """Chromium for the browser tests; the course itself opens in any browser."""
    # the browsers that tools/chromium.py looks for
    names = "chromium chromium-browser google-chrome google-chrome-stable chrome"
    names = [os.environ.get("LMLIB_CHROMIUM", ""), *names.split(), "microsoft-edge"]
    names += [
        f"/Applications/{app}.app/Contents/MacOS/{app}"
        for app in ("Google Chrome", "Chromium")
    ]
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        note = "no Chromium: the browser tests are skipped, the course is not affected"
        return Check("browser", "note", note, _system_install("chromium"))
    if _version("playwright") is None:
        note = f"{found}, but no playwright to drive it: browser tests are skipped"
        return Check("browser", "note", note, f"{PIP} playwright")
    return Check("browser", "ok", f"{found}, for the browser tests")


def _system_install(package: str) -> str:
    for manager, command in (
        ("apt-get", "sudo apt-get install"),
        ("dnf", "sudo dnf install"),
        ("brew", "brew install"),
        ("winget", "winget install"),
    ):
        if shutil.which(manager):
            return f"{command} {package}"
    return f"conda install -c conda-forge {package}"


def examine() -> list[Check]:
    """All checks, in the order in which a reader should mend them."""
    return [
        check_python(),
        check_packages(),
        *check_torch(),
        check_memory(),
        check_disk(),
        *check_widgets(),
        check_git(),
        check_browser(),
    ]


def report(checks: list[Check]) -> tuple[str, bool]:
    """The printed report, and whether nothing essential is missing."""
    mark = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}
    lines = []
    for check in checks:
        lines.append(f"{mark[check.state]}  {check.name:<11} {check.found}")
        if check.mend:
            lines.append(f"{'':9}{'':<11} mend it: {check.mend}")
    missing = sum(check.state == "missing" for check in checks)
    if missing:
        lines.append(f"{missing} essential part(s) missing: run the commands above.")
    else:
        lines.append("Ready.")
    return "\n".join(lines), missing == 0
