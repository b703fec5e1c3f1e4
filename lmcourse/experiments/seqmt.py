"""Seq-MT (Honari et al. 2018): tables 1-5 and 7-10, one cell a run.

A setting names a cell, ``NETWORK(TERMS)@PERCENT``: what is trained, with which
losses, and how many of the training images keep their landmarks. ``Seq-MT(L+C)@5`` has
landmarks on 5 % of the images and class labels on all. ``Cell`` has the whole grammar.

Where the paper is silent, we chose:

* where a row uses images without landmarks at all, they come on top: as many in every
  batch as there are images with landmarks;
* Seq-MT's batches are small, 8 images with landmarks. What it is compared with has a
  recipe of its own (``others``), on Blocks with 16 images and tuned no further;
* a fixed number of steps, the rate falling along a cosine, in place of early stopping;
* every seed draws its own labelled subset, and a larger share holds the smaller ones.

Drawn faces are more alike than photographs: with the papers' 1,875 and 2,834 training
images, 5 % of the labels were as good as all. Ours have 600.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from lmcourse.budget import budget, current_budget
from lmcourse.evidence.results import Run, run_file
from lmcourse.experiments import cells
from lmcourse.experiments.cells import few, shuffled_labels
from lmcourse.experiments.cells import kept_file as kept_file  # for the notebooks
from lmcourse.experiments.cells import load_cell as load_cell
from lmcourse.experiments.seqmt_images import (
    blocks,
    eye_distances,
    hands,
    photographs,
    studio,
    wild,
)
from lmcourse.experiments.seqmt_images import pixels_of_60 as pixels_of_60
from lmcourse.experiments.seqmt_images import stored as stored
from lmcourse.experiments.seqmt_images import wrist_widths as wrist_widths
from lmcourse.experiments.seqmt_stack import SeqMtStack
from lmlib.evaluation import match_landmarks
from lmlib.methods.seqmt import LandmarkLearner, SeqMt, SeqMtConfig
from lmlib.methods.seqmt_baselines import CommMt, HeatmapMt
from lmlib.samples import Stored, class_balanced_subset, labels_on
from lmlib.training import fit

PERCENTS = (1, 5, 10, 20, 50, 100)  # and 0, for networks that learn from classes alone
SEQ_MT = ("Seq-MT(L)", "Seq-MT(L+C)", "Seq-MT(L+T)", "Seq-MT(L+T+C)")
BASELINES = ("Comm-MT(L)", "Comm-MT(L+C)", "Heatmap-MT(L)", "Heatmap-MT(L+C)")
# Negative controls: each breaks one mechanism and keeps all else.
BROKEN = {
    "inverse": "the ELT moves points by the inverse of the image's transformation",
    "shuffled": "every image carries another image's classes",
    "flat": "maps are multiplied by zero: landmarks without a place",
}
LONG = 4  # times the steps, of settings that end in "long"
KNOBS = {"alpha": "weight_equivariance", "lambda": "weight_landmark", "beta": "beta"}


@dataclass(frozen=True)
class Cell:
    """A setting, read.

    * terms are L, C and T. ``Seq-MT(L+camera)@5`` names the class labels to use in
      place of the preset's.
    * behind a comma: ``Seq-MT(L+T,alpha=0.1)@5`` turns one knob of ``KNOBS``, and
      ``Seq-MT(L+T,inverse)@5`` breaks a mechanism of ``BROKEN``; ``RCN+(L,long)@100``
      trains ``LONG`` times as many steps.
    """

    network: str
    terms: frozenset[str]
    labels: tuple[str, ...]  # () for the preset's
    knobs: tuple[tuple[str, float], ...]
    broken: str | None
    percent: int
    long: bool = False

    @classmethod
    def read(cls, setting: str) -> "Cell":
        match = re.fullmatch(r"([\w+-]+)\(([\w+]+)((?:,[^,()]+)*)\)@(\d+)", setting)
        if not match:
            raise ValueError(f"a setting is like Seq-MT(L+C)@5, got {setting!r}")
        network, parts, changes, percent = match.groups()
        parts = parts.split("+")
        labels = tuple(part for part in parts if part not in ("L", "C", "T"))
        terms = frozenset(parts).difference(labels) | ({"C"} if labels else set())
        knobs, broken = [], None
        given = changes.split(",")
        for change in filter(None, given):
            if change == "long":
                continue
            name, _, value = change.partition("=")
            if name in KNOBS and value:
                knobs.append((name, float(value)))
            elif name in BROKEN and not value:
                broken = name
            else:
                raise ValueError(f"{setting}: {change!r} is neither knob nor control")
        fixed = network, terms, labels, tuple(knobs), broken, int(percent)
        return cls(*fixed, long="long" in given)

    @property
    def other(self) -> bool:
        """Is it Comm-MT or Heatmap-MT, which Seq-MT is compared with?"""
        return self.network in ("Comm-MT", "Heatmap-MT")

    @property
    def uses_unlabelled(self) -> bool:
        """Do images without landmarks take part?"""
        return 0 < self.percent < 100 and bool(self.terms & {"C", "T"})


@dataclass(frozen=True, kw_only=True)
class Problem(cells.Problem):
    """A data set with its splits, networks and measure."""

    train_on: tuple[Callable, range]  # scene of a given size, and its images
    tests: dict[str, tuple[Callable, range]]  # "" or "hard" -> the same
    preset: str  # of SeqMtConfig; Comm-MT and Heatmap-MT take the same sizes
    steps: dict[int, int]  # percent with landmarks -> steps of the class budget
    error: Callable  # (points, truth, visible) -> the table's error
    rcn: str = ""  # preset of RCN and RCN+
    small: bool = True  # under the class budget, the presets end in "_class"
    labels: tuple[str, ...] = ()  # class labels the scene gives
    balance: str | None = None  # labelled subsets hold every class of this one
    identities: int = 0  # people in the training images
    # What Comm-MT and Heatmap-MT are trained with, where it differs: changes of the
    # configuration by network. They were tuned for the sizes of short runs.
    others: dict[str, dict[str, object]] = field(default_factory=dict)
    others_steps: dict[int, int] | None = None

    def config(self, network: str = "Seq-MT") -> SeqMtConfig:
        """A network's configuration under the current budget."""
        small = self.small and current_budget() != "full"
        name = self.rcn if network in ("RCN", "RCN+") else self.preset
        config = SeqMtConfig.preset(name + "_class" if small else name)
        as_tuned = small == self.small
        return replace(config, **self.others.get(network, {}) if as_tuned else {})

    def steps_of(self, cell: Cell) -> int:
        """Steps of a training under the current budget."""
        steps = (self.others_steps if cell.other else None) or self.steps
        steps = steps[cell.percent] * (LONG if cell.long else 1)
        return budget(quick=4, class_=steps, full=20 * steps)

    def training_data(self) -> Stored:
        """The training images, drawn once and kept."""
        train = self.train_on[1]
        return self.stored("train", budget(quick=train[:120], class_=train, full=train))

    def stored(self, which: str, indices: range) -> Stored:
        """Images of ``"train"`` or of a test set, drawn once and kept."""
        scene, _ = self.train_on if which == "train" else self.tests[which]
        keys = self.labels + (("identity",) if self.identities else ())
        config = self.config()
        return stored(scene, indices, config.size, keys, config.guess_hidden)

    def network(self, cell: Cell, seed: int) -> LandmarkLearner:
        """The untrained network of a cell, its start fitted to some images."""
        torch.manual_seed(seed)
        method = network(self, cell)
        method.calibrate(self.training_data().all["image"][:64])
        return method

    def labelled(self, cell: Cell, seed: int):
        """Which training images keep their landmarks, ``(N,)`` bool."""
        return labelled_subset(self, self.training_data(), cell.percent, seed)

    def train(self, setting: str, seed: int):
        """The trained network of a cell, and what rows say of the training."""
        cell = Cell.read(setting)
        method, data = self.network(cell, seed), self.training_data()
        labelled, numbers = self.labelled(cell, seed), torch.tensor([*data.indices])
        prepare = labels_on(numbers[labelled], len(data), data.indices.start)
        if cell.broken == "shuffled":
            prepare = in_turn(prepare, self.others_labels(method.config, seed))
        pools = method.pools(numbers, labelled)
        steps, options = self.steps_of(cell), {"prepare": prepare, "save_every": 250}
        self.fit(method, data, pools, steps, (setting, seed), **options)
        return method.eval(), self.said(cell, method.config, labelled)

    def others_labels(self, config: SeqMtConfig, seed: int) -> Callable:
        """``prepare`` that gives every image another's classes."""
        data = self.training_data()
        labels = {name: data.all[name] for name in config.heads}
        return shuffled_labels(labels, data.indices.start, seed)

    def said(self, cell: Cell, config: SeqMtConfig, labelled, **more) -> dict:
        """What rows say of a training."""
        size = config.batch_size * (2 if cell.uses_unlabelled else 1)
        extra = {"n_train": len(labelled), "size": config.size, "batch": size}
        extra |= {"mixed": cell.uses_unlabelled, "n_labelled": int(labelled.sum())}
        return {"steps": self.steps_of(cell), "extra": extra | more}

    def measure(self, method, setting: str) -> dict[str, float]:
        """Errors on each test set, and accuracies where the cell has class labels.

        Where there is a hard test set, ``error_gap`` is how much worse it is. A network
        that never saw a landmark label names its landmarks as it likes; see
        ``unnamed_errors``.
        """
        cell, measured = Cell.read(setting), {}
        for name, (_, indices) in self.tests.items():
            data = self.stored(name, few(indices, quick=40))
            points, logits = predict(method, data.all["image"])
            truth = data.all["landmarks"], data.all["visible"]
            if "L" not in cell.terms:
                measured |= unnamed_errors(self, points, *truth, data.all["label"])
                points = points[:, match_landmarks(points, *truth)]
            measured[error_name(name)] = self.error(points, *truth)
            for metric, label in accuracies(self, cell).items() if not name else ():
                hits = logits[label].argmax(1) == data.all[label]
                measured[metric] = hits.float().mean().item()
        if "hard" in self.tests:
            measured["error_gap"] = measured["error_hard"] - measured["error"]
        return measured

    def metrics(self, setting: str) -> tuple[str, ...]:
        """What ``measure`` returns for a setting."""
        cell = Cell.read(setting)
        names = [error_name(test) for test in self.tests]
        names += ["error_by_class", "error_by_image"] if "L" not in cell.terms else []
        names += ["error_gap"] if "hard" in self.tests else []
        return (*names, *accuracies(self, cell))


# --- networks, whole and broken -------------------------------------------------------


class WrongWay(SeqMt):
    """Moves points by the inverse of the image's transformation."""

    def move(self, points, warp):
        return warp.inverse().points(points)


class Flat(SeqMt):
    """Maps without a place."""

    def scores(self, images):
        return 0 * super().scores(images)


NETWORKS = {
    "Seq-MT": SeqMt,
    "Comm-MT": CommMt,
    "Heatmap-MT": HeatmapMt,
    "RCN": HeatmapMt,
    "RCN+": SeqMt,
}


def network(problem: Problem, cell: Cell) -> LandmarkLearner:
    """The untrained network of one cell; its weights come from torch's global seed."""
    if cell.network not in NETWORKS:
        raise ValueError(f"no network {cell.network!r}; there are {sorted(NETWORKS)}")
    config = problem.config(cell.network)
    if cell.labels:
        counts = {**config.heads, "identity": problem.identities}
        heads = tuple((name, counts[name]) for name in cell.labels)
        config = replace(config, classes=heads)
    weights = {"C": "weight_class", "L": "weight_landmark", "T": "weight_equivariance"}
    off = {name: 0.0 for term, name in weights.items() if term not in cell.terms}
    if "C" not in cell.terms:
        off["classes"] = 0
    config = replace(config, **off, **{KNOBS[name]: x for name, x in cell.knobs})
    kind, broken = NETWORKS[cell.network], {"inverse": WrongWay, "flat": Flat}
    if cell.broken in broken:
        if kind is not SeqMt:
            raise ValueError(f"{cell.broken!r} breaks Seq-MT, not {cell.network}")
        kind = broken[cell.broken]
    return kind(config)


def labelled_subset(problem: Problem, data, percent: int, seed: int):
    """Which training images keep their landmarks, ``(N,)`` bool."""
    if percent in (0, 100):
        return torch.full((len(data),), percent == 100)
    labels = torch.zeros(len(data), dtype=torch.long)
    if problem.balance:
        labels = data.all[problem.balance]
    return class_balanced_subset(labels, percent / 100, seed)


def in_turn(first: Callable, second: Callable) -> Callable:
    """Two ``prepare`` as one."""
    return lambda batch: second(first(batch))


# --- many networks at once ------------------------------------------------------------


def train_together(runs: list[Run], count: int) -> list[Run]:
    """The runs, with up to ``count`` networks of one shape trained at once.

    A GPU that one small network leaves idle is full; on two cores it is no gain
    (``benchmarks/stack.py``). All see the images in the order of the first one's seed.
    Runs with a broken mechanism, and methods that are not Seq-MT's, train alone.
    """
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        problem, cell = PROBLEMS[run.experiment], Cell.read(run.setting)
        if cell.network in ("Seq-MT", "RCN+") and not cell.broken:
            steps = problem.steps_of(cell)
            alike = run.experiment, cell.network, cell.uses_unlabelled, steps
            layers = "C" in cell.terms, cell.labels
            groups.setdefault(alike + layers, []).append(run)
    trained: dict[str, Run] = {}
    for alike in groups.values():
        for start in range(0, len(alike), count):
            part = alike[start : start + count]
            if len(part) > 1:
                trained |= {run.name: run for run in train_stack(part)}
    return [trained.get(run.name, run) for run in runs]


def train_stack(runs: list[Run]) -> list[Run]:
    """Train the networks of these runs as one; what is left is to measure them."""
    problem = PROBLEMS[runs[0].experiment]
    cells_ = [Cell.read(run.setting) for run in runs]
    methods = [problem.network(c, r.seed) for c, r in zip(cells_, runs, strict=True)]
    masks = [problem.labelled(c, r.seed) for c, r in zip(cells_, runs, strict=True)]
    stack, data = SeqMtStack(methods), problem.training_data()
    numbers = torch.tensor([*data.indices])
    pools = [m.pools(numbers, mask) for m, mask in zip(methods, masks, strict=True)]
    table, start = torch.stack(masks), data.indices.start

    def prepare(batch):
        row = (batch["index"] - start).cpu().view(len(runs), -1)
        labelled = table.gather(1, row).flatten().to(batch["index"].device)
        return {**batch, "labelled": labelled}

    names = ";".join(f"{run.setting}#{run.seed}" for run in runs)
    key = hashlib.sha256(names.encode()).hexdigest()[:12]
    each = stack.config.batch_size * (2 if cells_[0].uses_unlabelled else 1)
    fit(
        stack,
        data,
        tuple(pools),
        problem.steps_of(cells_[0]),
        batch_size=each * len(runs),
        prepare=prepare,
        seed=runs[0].seed,
        checkpoint=run_file(problem.name, f"stack-{key}", runs[0].seed),
        save_every=250,
        progress=False,
    )
    stack.unstack(methods)
    ready = []
    for run, cell, method, mask in zip(runs, cells_, methods, masks, strict=True):
        said = problem.said(cell, method.config, mask, stack=len(runs))
        trained = run.setting, run.seed, method.eval().cpu(), said
        ready.append(replace(run, function=partial(problem.measured, *trained)))
    return ready


# --- what is measured -----------------------------------------------------------------


def unnamed_errors(problem: Problem, points, truth, visible, labels) -> dict:
    """Errors of landmarks that no label named, given the best names after the fact.

    ``error_by_class``: one assignment of maps to landmarks for each class;
    ``error_by_image``: a new one for each image, which hides every swap. (``error``
    itself: one for all images.)
    """
    errors = {}
    for name, groups in (("class", labels), ("image", torch.arange(len(points)))):
        named = torch.empty_like(points)
        for group in groups.unique():
            rows = groups == group
            order = match_landmarks(points[rows], truth[rows], visible[rows])
            named[rows] = points[rows][:, order]
        errors[f"error_by_{name}"] = problem.error(named, truth, visible)
    return errors


def error_name(test: str) -> str:
    """The metric's name on a test set: ``"error"``, ``"error_hard"``."""
    return f"error_{test}" if test else "error"


def accuracies(problem: Problem, cell: Cell) -> dict[str, str]:
    """Accuracy metric -> label, of a cell trained with classes. Identities of the test
    images were never seen, so there is no accuracy of identities."""
    labels = [n for n in problem.labels if not cell.labels or n in cell.labels]
    name = "{}_accuracy" if len(problem.labels) > 1 else "accuracy"
    return {name.format(n): n for n in labels} if "C" in cell.terms else {}


def predict(method, images, chunk: int = 100):
    """Landmarks ``(N, K, 2)`` and class logits of all images, in chunks."""
    points, logits = [], []
    device = next(method.parameters()).device
    with torch.no_grad():
        for part in images.split(chunk):
            part = part.to(device)
            points.append(method.landmarks(part).cpu())
            found = method.class_logits(part) if method.config.heads else {}
            logits.append({name: x.cpu() for name, x in found.items()})
    names = logits[0]
    return torch.cat(points), {n: torch.cat([x[n] for x in logits]) for n in names}


def each(rows, percents, seeds: int = 1) -> dict[str, int]:
    """Settings of a block of a table. At 100 % nothing is left for the ELT."""
    return {
        f"{row}@{percent}": seeds
        for percent in percents
        for row in rows
        if percent < 100 or "T" not in Cell.read(f"{row}@1").terms
    }


def in_order(*parts: dict[str, int]) -> dict[str, int]:
    """The parts one after the other; a setting named twice keeps its first place."""
    merged: dict[str, int] = {}
    for part in parts:
        merged |= {name: seeds for name, seeds in part.items() if name not in merged}
    return merged


TABLE_1 = (*SEQ_MT, *BASELINES)
# What the claims compare comes first, then the rest of the table. Five seeds, as in the
# paper; all of seed 0 before seed 1.
BLOCKS_KEY = in_order(
    each(SEQ_MT, [5], 5),
    each(("Seq-MT(L)", "Seq-MT(L+C)", *BASELINES), [100], 5),
    each(BASELINES, [5], 5),
    each(("Seq-MT(L)", "Seq-MT(L+T)"), [10], 5),
    each(("Seq-MT(L)", "Seq-MT(L+C)"), [20], 5),
    {"Seq-MT(L+T,inverse)@5": 1, "Seq-MT(L+C,shuffled)@5": 1, "Seq-MT(L,flat)@5": 1},
    each(("Seq-MT(C)", "Seq-MT(C+T)"), [0], 3),
    {"Comm-MT(L+C,shuffled)@5": 1, "Heatmap-MT(L+C,shuffled)@1": 1},
    each(("Heatmap-MT(L)", "Heatmap-MT(L+C)"), [1], 5),
)
BLOCKS_KNOBS = {
    f"Seq-MT({terms},{knob}={value})@5": 1
    for terms, knob in (("L+T", "alpha"), ("L+C", "lambda"))
    for value in ("0.01", "0.1", "10")
}
# Is what lacks to the paper's numbers length of training?
LONG_ROWS = tuple(row.replace(")", ",long)") for row in SEQ_MT)
BLOCKS_LONG = in_order(
    each(("Seq-MT(L+T+C,long)", "Seq-MT(L+T,long)"), [5], 3),
    {"Seq-MT(L+T,long)@10": 3, "Seq-MT(L,long)@20": 3},
    each(LONG_ROWS, [100, 5, 50, 20, 10, 1]),
)
BLOCKS_OTHERS = {
    "batch_size": 16,
    "lr": 1.5e-3,
    "warm_up": 50,
    "weight_l2": 0.0,
    "start": "plain",
}


def small_others(weight_landmark: float) -> dict[str, dict[str, object]]:
    """Recipes of Comm-MT and Heatmap-MT beside a small RCN, tuned on hands.

    Heatmap-MT's landmark term is a cross-entropy, Seq-MT's an error in square pixels:
    with the same weight for both, classes ruin Heatmap-MT's landmarks.
    """
    heatmap = {"lr": 3e-3, "class_norm": True, "weight_landmark": weight_landmark}
    return {"Comm-MT": {"lr": 3e-3, "start": "plain"}, "Heatmap-MT": heatmap}


HANDS_KEY = in_order(
    each(SEQ_MT, [5], 5),
    each(("Seq-MT(L)", "Seq-MT(L+T+C)"), [10], 5),
    each(("Seq-MT(L)", "Seq-MT(L+C)"), [100], 5),
    each(("Seq-MT(L)",), [20], 5),
    each(BASELINES, [5], 5),
    each(("Seq-MT(L+C)", "Seq-MT(L+T+C)"), [50], 5),
    {"Seq-MT(L+T+C,inverse)@5": 1, "Seq-MT(L+T+C,inverse)@10": 1},
    {"Heatmap-MT(L+C,shuffled)@5": 1, "Seq-MT(L+C,shuffled)@100": 1},
)
# Table 7; camera and emotion together are L+C.
ONE_LABEL = tuple(f"Seq-MT(L+{name})" for name in ("identity", "emotion", "camera"))
MORE_LABELS = tuple(
    f"Seq-MT(L+identity+{name})" for name in ("emotion", "camera", "emotion+camera")
)
FACES_KEY = in_order(
    each(SEQ_MT, [5], 5),
    each(ONE_LABEL, [5], 5),
    each(("Seq-MT(L)", "Seq-MT(L+C)"), [100], 5),
    each(BASELINES, [5], 5),
    each(("Seq-MT(L+C)",), [50], 5),
    each(MORE_LABELS, [5]),
    {"Seq-MT(L+T,inverse)@5": 1, "Seq-MT(L+C,shuffled)@5": 1},
    {"Seq-MT(L+camera,shuffled)@5": 1, "Seq-MT(L+C,shuffled)@50": 1},
)
WILD_ROWS = ("Seq-MT(L)", "Seq-MT(L+T)", "Comm-MT(L)", "Heatmap-MT(L)")
WILD_KEY = in_order(
    {f"{row}@{p}": 5 for p in (100, 5) for row in ("RCN+(L)", "RCN+(L+T)")},
    {"RCN(L)@100": 5, "RCN+(L,flat)@100": 1},
    {"RCN+(L+T,inverse)@100": 1, "RCN+(L+T,inverse)@5": 1},
    {f"{row}@{p}": 5 for p in (5, 100) for row in ("Seq-MT(L)", "Seq-MT(L+T)")},
    {f"RCN+({terms})@{p}": 5 for p in (20, 10, 50) for terms in ("L", "L+T")},
    each(("Comm-MT(L)", "Heatmap-MT(L)"), [5, 100], 5),
    {"RCN+(L,long)@100": 1},
    {f"{row}@{p}": 5 for p in (10, 20, 50) for row in WILD_ROWS},
)
PROBLEMS = cells.by_name(
    Problem(
        name="seqmt-blocks",
        about="Table 1: Blocks at the paper's own size",
        train_on=(blocks, range(3200)),
        tests={"": (blocks, range(6400, 9600))},
        preset="blocks",
        steps=dict.fromkeys(PERCENTS, 1600) | {0: 1600, 50: 2000, 100: 2000},
        error=pixels_of_60,
        settings=in_order(
            BLOCKS_KEY, BLOCKS_KNOBS, BLOCKS_LONG, each(TABLE_1, PERCENTS, 5)
        ),
        small=False,
        labels=("label",),
        balance="label",
        others=dict.fromkeys(("Comm-MT", "Heatmap-MT"), BLOCKS_OTHERS),
        others_steps=dict.fromkeys(PERCENTS, 1000) | {50: 1500, 100: 1500},
        kept=(*each(SEQ_MT, PERCENTS), *BLOCKS_KNOBS),
    ),
    Problem(
        name="seqmt-hands",
        about="Tables 2 and 10: hands, 8 subjects to train on, 4 others to test on",
        train_on=(partial(hands, seed=0, subjects=8), range(573)),
        tests={"": (partial(hands, seed=1, subjects=4), range(540))},
        preset="hands",
        steps=dict.fromkeys(PERCENTS, 1600),
        error=wrist_widths,
        settings=in_order(HANDS_KEY, each(TABLE_1, PERCENTS[1:], 5)),
        labels=("label",),
        balance="label",
        others=small_others(2.0),
    ),
    Problem(
        name="seqmt-faces",
        about="Tables 3 and 7-9: studio faces, 60 people to train on, 60 to test",
        train_on=(partial(studio, seed=0, identities=60), range(600)),
        tests={"": (partial(studio, seed=1, identities=60), range(600))},
        preset="multipie",
        steps=dict.fromkeys(PERCENTS, 1200),
        error=eye_distances,
        settings=in_order(
            FACES_KEY,
            each(TABLE_1, PERCENTS[1:], 5),
            each(ONE_LABEL + MORE_LABELS, PERCENTS[1:]),
        ),
        labels=("emotion", "camera"),
        balance="emotion",
        identities=60,
        others=small_others(8.0),
    ),
    Problem(
        name="seqmt-wild",
        about="Tables 4 and 5: faces in the wild; hard: turned up to 1.6 times as far",
        train_on=(partial(wild, seed=0), range(600)),
        tests={
            "": (partial(wild, seed=1), range(500)),
            "hard": (partial(wild, seed=2, turned=1.6), range(500)),
        },
        preset="w300",
        steps=dict.fromkeys(PERCENTS, 1000),
        error=eye_distances,
        settings=WILD_KEY,
        rcn="rcn_plus",
        others={
            "Comm-MT": {"lr": 1e-3, "start": "plain"},
            "Heatmap-MT": {"lr": 3e-3},
        },
        kept=("RCN+(L,long)@100",),
    ),
    Problem(
        name="seqmt-300w",
        about="Table 5 on photographs: 300-W, 1,600 faces to train on, 412 to test",
        train_on=(photographs, range(1600)),
        tests={"": (photographs, range(1600, 2012))},
        preset="w300",
        steps=dict.fromkeys(PERCENTS, 2000),
        error=eye_distances,
        settings={
            f"{net}({terms})@{percent}": 1
            for net in ("RCN+", "Seq-MT")
            for percent in (5, 100, 20, 10, 50)
            for terms in ("L", "L+T")
        }
        | {"RCN+(L+T,inverse)@5": 1, "RCN+(L,long)@100": 1}
        | {"RCN+(L)@5": 3, "RCN+(L+T)@5": 3},
        rcn="rcn_plus",
    ),
)
# No network trained on photographs may ship.
KEPT = {problem.name: problem.kept for problem in PROBLEMS.values()}
TABLES = tuple(problem.table(train_together) for problem in PROBLEMS.values())
