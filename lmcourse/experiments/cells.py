"""What tables of cells share: their runs in order, and networks that ship.

A problem has a ``name``, what it is ``about`` and its ``settings`` (setting -> number
of seeds).
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from lmcourse.budget import current_budget
from lmcourse.evidence.results import Run, slug
from lmlib.machine import environment
from lmlib.places import repository_root


def kept_file(experiment: str, setting: str) -> Path:
    """Where the weights that ship with the course are."""
    folder = repository_root() / "data" / "checkpoints"
    return folder / f"{experiment}_{slug(setting)}.safetensors"


def keep(problem, setting: str, seed: int, method, measured: dict, about: dict) -> None:
    """Store a trained network with all that is known about it; not of quick runs."""
    from lmlib.checkpoints import save_checkpoint

    if current_budget() == "quick":
        return
    save_checkpoint(
        kept_file(problem.name, setting),
        method,
        command=f"lmlib reproduce {problem.name} --only '{setting}' --seeds {seed}",
        setting=setting,
        seed=seed,
        data=problem.about,
        metrics=measured,
        budget=current_budget(),
        **about,
        **environment(),
    )


def run(problem, setting: str, seed: int, train, measure, kept: dict) -> dict:
    """Train and measure one cell: what its rows say.

    ``train(problem, setting, seed)`` returns a network and what rows say of the
    training; ``measure(network)`` its figures. Of seed 0, the settings named in
    ``kept`` (by problem) ship with the course.
    """
    method, about = train(problem, setting, seed)
    measured = measure(method)
    if setting in kept.get(problem.name, ()) and seed == 0:
        keep(problem, setting, seed, method, measured, about)
    return measured | about


def load(experiment: str, setting: str, build):
    """The network of a cell that ships with the course, ready to use.

    ``build(budget)`` makes it without its weights, as it was under that budget.
    """
    from lmlib.checkpoints import load_checkpoint, read_metadata

    path = kept_file(experiment, setting)
    method = build(read_metadata(path).get("budget", "class"))
    load_checkpoint(path, method)
    return method.eval()


def ships(experiment: str, setting: str, seed: int, steps: int) -> bool:
    """Is the network that ships of just this training, under the current budget?"""
    from lmlib.checkpoints import read_metadata

    path = kept_file(experiment, setting)
    if not path.is_file():
        return False
    said = read_metadata(path)
    wanted = {"budget": current_budget(), "seed": seed, "steps": steps}
    return all(said.get(name) == value for name, value in wanted.items())


def runs(problem, run_cell, metrics) -> Iterator[Run]:
    """Every setting of seed 0 first, then seed 1, ...

    ``run_cell(problem, setting, seed)`` does one; ``metrics(setting)`` names what it
    returns.
    """
    for seed in range(max(problem.settings.values())):
        for setting, seeds in problem.settings.items():
            if seed < seeds:
                run = partial(run_cell, problem, setting, seed)
                yield Run(problem.name, setting, seed, run, metrics(setting))


def shipped(name: str) -> Path:
    """Path of a trained checkpoint that comes with the course, by its name."""
    folder = repository_root() / "data" / "checkpoints"
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        names = sorted(file.stem for file in folder.glob("*.safetensors"))
        raise FileNotFoundError(
            f"{path}: no such checkpoint; there are {', '.join(names) or 'none'}"
        )
    return path
