"""What the tables share: a problem, its cells, and the networks that ship.

A cell is one setting of a problem and one seed: it is trained, measured, and makes the
rows of one run. Notebooks need ``load_cell``, ``kept_file`` and ``shipped``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

import lmlib
from lmcourse.budget import budget, current_budget
from lmcourse.evidence.results import Run, Table, run_file, slug
from lmlib.checkpoints import read_metadata, save_checkpoint
from lmlib.machine import environment
from lmlib.methods.base import Method
from lmlib.places import repository_root
from lmlib.samples import Batch, Pool
from lmlib.training import fit


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A data set, what is trained on it and how that is measured.

    A paper's problems say how to ``train`` a cell, to ``measure`` a network, and which
    ``metrics`` that gives.
    """

    name: str  # of the experiment
    about: str
    settings: dict[str, int]  # setting -> number of seeds, in the order to run them
    kept: tuple[str, ...] = ()  # settings whose network of seed 0 ships

    def train(self, setting: str, seed: int) -> tuple[Method, dict]:
        """The trained network, and what rows say of the training."""
        raise NotImplementedError

    def measure(self, method: Method, setting: str) -> dict[str, float]:
        """The figures of a network, by metric."""
        raise NotImplementedError

    def metrics(self, setting: str) -> tuple[str, ...]:
        """What ``measure`` returns for a setting."""
        raise NotImplementedError

    # -- the same for all --------------------------------------------------------------

    def run(self, setting: str, seed: int) -> dict:
        """Train and measure one cell: what its rows say."""
        return self.measured(setting, seed, *self.train(setting, seed))

    def measured(self, setting: str, seed: int, method: Method, about: dict) -> dict:
        """What the rows of a trained cell say; of seed 0 some networks are kept."""
        found = self.measure(method, setting)
        if setting in self.kept and seed == 0:
            self.keep(setting, seed, method, found, about)
        return found | about

    def runs(self) -> Iterator[Run]:
        """Every setting of seed 0 first, then seed 1, ..."""
        for seed in range(max(self.settings.values())):
            for setting, seeds in self.settings.items():
                if seed < seeds:
                    function = partial(self.run, setting, seed)
                    metrics = self.metrics(setting)
                    yield Run(self.name, setting, seed, function, metrics)

    def table(self, together: Callable | None = None) -> Table:
        """The runs, to be made by ``lmlib reproduce``."""
        return Table(self.name, self.about, lambda: [*self.runs()], together)

    def fit(
        self, method: Method, data, indices: Pool, steps: int, cell: tuple, **options
    ) -> None:
        """``training.fit``, to be resumed if it is killed; ``cell`` is (setting, seed).

        Of a training that takes no steps, nothing is done.
        """
        if not steps:
            return
        options = {"seed": cell[1], "save_every": 100} | options
        state = run_file(self.name, *cell)
        fit(method, data, indices, steps, checkpoint=state, progress=False, **options)

    def keep(
        self, setting: str, seed: int, method: Method, measured: dict, about: dict
    ) -> None:
        """Store a network with all that is known of it; not of quick runs."""
        if current_budget() == "quick":
            return
        save_checkpoint(
            kept_file(self.name, setting),
            method,
            command=f"lmlib reproduce {self.name} --only '{setting}' --seeds {seed}",
            setting=setting,
            seed=seed,
            data=self.about,
            metrics=measured,
            budget=current_budget(),
            **about,
            **environment(),
        )

    def ships(self, setting: str, seed: int, steps: int) -> bool:
        """Is the network that ships of just this training, under this budget?"""
        path = kept_file(self.name, setting)
        if not path.is_file():
            return False
        said = read_metadata(path)
        wanted = {"budget": current_budget(), "seed": seed, "steps": steps}
        return all(said.get(name) == value for name, value in wanted.items())


def by_name(*problems: Problem) -> dict[str, Any]:
    """Problems by their names."""
    return {problem.name: problem for problem in problems}


def few(indices: range, quick: int = 24) -> range:
    """Images to measure on: the first ones under the quick budget."""
    return budget(quick=indices[:quick], class_=indices, full=indices)


@torch.no_grad()
def in_chunks(function: Callable, images: torch.Tensor, chunk: int = 100):
    """``function`` of many images ``(N, C, H, W)``, a chunk at a time."""
    return torch.cat([function(part) for part in images.split(chunk)])


# --- networks that ship with the course -----------------------------------------------


def checkpoints() -> Path:
    """The folder of the networks that ship."""
    return repository_root() / "data" / "checkpoints"


def kept_file(experiment: str, setting: str) -> Path:
    """Where the weights of a cell are, if they ship with the course."""
    return checkpoints() / f"{experiment}_{slug(setting)}.safetensors"


def load_cell(experiment: str, setting: str) -> Method:
    """The trained network of a cell that ships, on the CPU, ready to use."""
    return lmlib.load(kept_file(experiment, setting), "cpu").method


def shipped(name: str) -> Path:
    """Path of a trained checkpoint that comes with the course, by its name."""
    folder = checkpoints()
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        names = sorted(file.stem for file in folder.glob("*.safetensors"))
        raise FileNotFoundError(
            f"{path}: no such checkpoint; there are {', '.join(names) or 'none'}"
        )
    return path


def shuffled_labels(labels: dict[str, torch.Tensor], first: int, seed: int):
    """A negative control: ``prepare`` for ``fit`` that gives every image another's
    labels, for good.

    ``labels`` holds those of the images ``first``, ``first + 1``, ...
    """
    count = len(next(iter(labels.values())))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))

    def prepare(batch: Batch) -> Batch:
        row = order.to(batch["index"].device)[batch["index"] - first]
        return {**batch, **{name: x.to(row.device)[row] for name, x in labels.items()}}

    return prepare
