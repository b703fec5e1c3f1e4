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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial

from lmcourse.budget import budget, current_budget
from lmcourse.evidence.results import Run, Table, run_file
from lmcourse.experiments import cells
from lmcourse.experiments.cells import kept_file as kept_file  # for the notebooks
from lmlib.evaluation import match_landmarks

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


@dataclass(frozen=True)
class Problem:
    """A data set with its splits, networks and measure."""

    name: str  # of the experiment
    about: str
    train: tuple[Callable, range]  # scene of a given size, and its images
    tests: dict[str, tuple[Callable, range]]  # "" or "hard" -> the same
    preset: str  # of SeqMtConfig; Comm-MT and Heatmap-MT take the same sizes
    steps: dict[int, int]  # percent with landmarks -> steps of the class budget
    error: Callable  # (points, truth, visible) -> the table's error
    settings: dict[str, int]  # setting -> number of seeds, in the order to run them
    rcn: str = ""  # preset of RCN and RCN+
    small: bool = True  # under the class budget, the presets end in "_class"
    labels: tuple[str, ...] = ()  # class labels the scene gives
    balance: str | None = None  # labelled subsets hold every class of this one
    guess_hidden: bool = False  # hidden landmarks are annotated too, as on faces
    identities: int = 0  # people in the training images
    # What Comm-MT and Heatmap-MT are trained with, where it differs: changes of the
    # configuration by network. They were tuned for the sizes of short runs.
    others: dict[str, dict[str, object]] = field(default_factory=dict)
    others_steps: dict[int, int] | None = None

    def config(self, network: str = "Seq-MT", budget: str | None = None):
        """A network's configuration under a budget, the current one by default."""
        from lmlib.methods.seqmt import SeqMtConfig

        small = self.small and (budget or current_budget()) != "full"
        name = self.rcn if network in ("RCN", "RCN+") else self.preset
        config = SeqMtConfig.preset(name + "_class" if small else name)
        as_tuned = small == self.small
        return replace(config, **self.others.get(network, {}) if as_tuned else {})


# --- one cell -------------------------------------------------------------------------


def network(problem: Problem, cell: Cell, budget: str | None = None):
    """The untrained network of one cell; its weights come from torch's global seed."""
    from lmlib.methods.seqmt import SeqMt
    from lmlib.methods.seqmt_baselines import CommMt, HeatmapMt

    class WrongWay(SeqMt):
        def move(self, points, warp):
            return warp.inverse().points(points)

    class Flat(SeqMt):
        def scores(self, images):
            return 0 * super().scores(images)

    config = problem.config(cell.network, budget)
    if cell.labels:
        counts = {**config.heads, "identity": problem.identities}
        heads = tuple((name, counts[name]) for name in cell.labels)
        config = replace(config, classes=heads)
    weights = {"C": "weight_class", "L": "weight_landmark", "T": "weight_equivariance"}
    off = {field: 0.0 for term, field in weights.items() if term not in cell.terms}
    if "C" not in cell.terms:
        off["classes"] = 0
    config = replace(config, **off, **{KNOBS[name]: x for name, x in cell.knobs})
    kinds = {"Seq-MT": SeqMt, "Comm-MT": CommMt, "Heatmap-MT": HeatmapMt}
    kinds |= {"RCN": HeatmapMt, "RCN+": SeqMt}
    if cell.network not in kinds:
        raise ValueError(f"no network {cell.network!r}; there are {sorted(kinds)}")
    kind, broken = kinds[cell.network], {"inverse": WrongWay, "flat": Flat}
    if cell.broken in broken:
        if kind is not SeqMt:
            raise ValueError(f"{cell.broken!r} breaks Seq-MT, not {cell.network}")
        kind = broken[cell.broken]
    return kind(config)


def labelled_subset(problem: Problem, data, percent: int, seed: int):
    """Which training images keep their landmarks, ``(N,)`` bool."""
    import torch

    from lmlib.samples import class_balanced_subset

    if percent in (0, 100):
        return torch.full((len(data),), percent == 100)
    labels = torch.zeros(len(data), dtype=torch.long)
    if problem.balance:
        labels = data.all[problem.balance]
    return class_balanced_subset(labels, percent / 100, seed)


@dataclass(frozen=True)
class Task:
    """One network to train: a cell with a seed, its images and its label mask."""

    problem: Problem
    setting: str
    seed: int

    @property
    def name(self) -> tuple:
        return self.problem.name, self.setting, self.seed, current_budget()

    @property
    def cell(self) -> Cell:
        return Cell.read(self.setting)

    @property
    def steps(self) -> int:
        steps = self.problem.steps
        if self.cell.other:
            steps = self.problem.others_steps or steps
        steps = steps[self.cell.percent] * (LONG if self.cell.long else 1)
        return budget(quick=4, class_=steps, full=20 * steps)

    def data(self):
        _, train = self.problem.train
        train = budget(quick=train[:120], class_=train, full=train)
        return stored(self.problem, "train", train)

    def labelled(self):
        return labelled_subset(self.problem, self.data(), self.cell.percent, self.seed)

    def network(self):
        import torch

        torch.manual_seed(self.seed)
        method = network(self.problem, self.cell)
        method.calibrate(self.data().all["image"][:64])
        return method

    def pools(self):
        """Image numbers to draw from: one pool, or labelled and unlabelled ones."""
        import torch

        images, mask = torch.tensor(list(self.data().indices)), self.labelled()
        if self.cell.uses_unlabelled:
            return images[mask], images[~mask]
        return images[mask] if mask.any() else images

    def batch_size(self, config) -> int:
        return config.batch_size * (2 if self.cell.uses_unlabelled else 1)


def train(tasks: list[Task], method, checkpoint) -> dict:
    """Train the network of one task, or a stack of those of several; what rows say."""
    import torch

    from lmlib.methods.seqmt import wait
    from lmlib.samples import augment, shuffled_labels
    from lmlib.training import cosine, fit
    from lmlib.warps import seqmt_affine

    first, config = tasks[0], method.config
    problem, cell, data = first.problem, first.cell, first.data()
    start, size = data.indices.start, first.batch_size(config)
    masks = torch.stack([task.labelled() for task in tasks])  # (M, N)
    if cell.broken == "shuffled":
        labels = {name: data.all[name] for name in config.heads}
        wrong = shuffled_labels(labels, start, first.seed)

    def prepare(batch):
        row = (batch["index"] - start).cpu().view(len(tasks), -1)
        labelled = masks.gather(1, row).flatten()
        batch["labelled"] = labelled.to(batch["index"].device)
        if cell.broken == "shuffled":
            batch = wrong(batch)
        if config.augment:  # fit has seeded torch for this step
            warp = seqmt_affine(row.numel(), config.augment)
            batch = augment(batch, warp, "border", hide=not problem.guess_hidden)
        return batch

    fit(
        method,
        data,
        tuple(task.pools() for task in tasks) if len(tasks) > 1 else first.pools(),
        first.steps,
        batch_size=size * len(tasks),
        lr=config.lr,
        betas=config.betas,
        schedule=cosine(first.steps, config.warm_up),
        before=lambda step: wait(method, step / first.steps),
        prepare=prepare,
        seed=first.seed,
        checkpoint=checkpoint,
        save_every=250,
        progress=False,
    )
    extra = {"n_train": len(data), "size": config.size, "batch": size}
    return extra | {"mixed": cell.uses_unlabelled}


def train_cell(problem: Problem, setting: str, seed: int):
    """Train one cell; returns the network and what a row says about the training."""
    task = Task(problem, setting, seed)
    method, about = _together.pop(task.name, (None, {}))
    if method is None:
        method = task.network()
        about = train([task], method, run_file(problem.name, setting, seed))
    about |= {"n_labelled": int(task.labelled().sum())}
    return method.eval(), {"steps": task.steps, "extra": about}


# Networks trained in a stack wait here until their run measures them.
_together: dict[tuple, tuple] = {}


def train_together(runs: list[Run], count: int) -> None:
    """Train up to ``count`` networks of one shape at once, for the runs to measure.

    A GPU that one small network leaves idle is full; on two cores it is no gain
    (``benchmarks/stack.py``). All see the images in the order of the first one's seed.
    Runs with a broken mechanism, and methods that are not Seq-MT's, train alone.
    """
    from lmlib.machine import best_device
    from lmlib.methods.seqmt import SeqMt
    from lmlib.methods.seqmt_stack import SeqMtStack

    groups: dict[tuple, list[Task]] = {}
    for run in runs:
        task = Task(PROBLEMS[run.experiment], run.setting, run.seed)
        cell = task.cell
        if cell.network in ("Seq-MT", "RCN+") and not cell.broken:
            alike = run.experiment, cell.network, cell.uses_unlabelled, task.steps
            layers = "C" in cell.terms, cell.labels
            groups.setdefault(alike + layers, []).append(task)
    for tasks in groups.values():
        for start in range(0, len(tasks), count):
            part = tasks[start : start + count]
            if len(part) < 2:
                continue
            methods: list[SeqMt] = [task.network() for task in part]
            stack = SeqMtStack(methods)
            names = ";".join(f"{task.setting}#{task.seed}" for task in part)
            key = hashlib.sha256(names.encode()).hexdigest()[:12]
            file = run_file(part[0].problem.name, f"stack-{key}", part[0].seed)
            about = train(part, stack, file) | {"stack": len(part)}
            stack.unstack(methods)
            for task, method in zip(part, methods, strict=True):
                _together[task.name] = method.to(best_device()), dict(about)


def run_cell(problem: Problem, setting: str, seed: int) -> dict:
    """Train and measure one cell; some networks of seed 0 ship with the course."""

    def measured(method):
        return measure(problem, method, Cell.read(setting))

    return cells.run(problem, setting, seed, train_cell, measured, KEPT)


def measure(problem: Problem, method, cell: Cell) -> dict[str, float]:
    """Errors on each test set, and accuracies where the cell has class labels.

    Where there is a hard test set, ``error_gap`` is how much worse it is. A network
    that never saw a landmark label names its landmarks as it likes; see
    ``unnamed_errors``.
    """
    measured = {}
    for name, (_, indices) in problem.tests.items():
        test = budget(quick=indices[:40], class_=indices, full=indices)
        data = stored(problem, name, test)
        points, logits = predict(method, data.all["image"])
        truth = data.all["landmarks"], data.all["visible"]
        if "L" not in cell.terms:
            measured |= unnamed_errors(problem, points, *truth, data.all["label"])
            points = points[:, match_landmarks(points, *truth)]
        measured[error_name(name)] = problem.error(points, *truth)
        for metric, label in accuracies(problem, cell).items() if not name else ():
            hits = logits[label].argmax(1) == data.all[label]
            measured[metric] = hits.float().mean().item()
    if "hard" in problem.tests:
        measured["error_gap"] = measured["error_hard"] - measured["error"]
    return measured


def unnamed_errors(problem: Problem, points, truth, visible, labels) -> dict:
    """Errors of landmarks that no label named, given the best names after the fact.

    ``error_by_class``: one assignment of maps to landmarks for each class;
    ``error_by_image``: a new one for each image, which hides every swap. (``error``
    itself: one for all images.)
    """
    import torch

    errors = {}
    for name, groups in (("class", labels), ("image", torch.arange(len(points)))):
        named = torch.empty_like(points)
        for group in groups.unique():
            rows = groups == group
            order = match_landmarks(points[rows], truth[rows], visible[rows])
            named[rows] = points[rows][:, order]
        errors[f"error_by_{name}"] = problem.error(named, truth, visible)
    return errors


def metrics(problem: Problem, cell: Cell) -> tuple[str, ...]:
    """What ``measure`` returns for a cell."""
    names = [error_name(test) for test in problem.tests]
    names += ["error_by_class", "error_by_image"] if "L" not in cell.terms else []
    names += ["error_gap"] if "hard" in problem.tests else []
    return (*names, *accuracies(problem, cell))


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
    import torch

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


@cache
def _stored(problem_name: str, which: str, indices: range, size: int):
    from lmlib.samples import Stored

    problem = PROBLEMS[problem_name]
    scene, _ = problem.train if which == "train" else problem.tests[which]
    keys = problem.labels + (("identity",) if problem.identities else ())
    data = Stored(scene(size), indices, keys)
    if problem.guess_hidden:
        data.all["visible"].fill_(True)
    return data


def stored(problem: Problem, which: str, indices: range):
    """The images of ``"train"`` or of a test set, drawn once and kept."""
    return _stored(problem.name, which, indices, problem.config().size)


def load_cell(experiment: str, setting: str):
    """The trained network of a cell that ships with the course, ready to use."""

    def build(budget):
        return network(PROBLEMS[experiment], Cell.read(setting), budget)

    return cells.load(experiment, setting, build)


# --- the data sets --------------------------------------------------------------------


def pixels_of_60(points, truth, visible) -> float:
    """Mean distance in pixels of a 60-pixel image (table 1)."""
    from lmlib.evaluation import nme

    return nme(points, truth, visible, normaliser="pixels", size=(60, 60))


def wrist_widths(points, truth, visible) -> float:
    """Mean distance over the wrist's width, in percent, hidden ones left out (table
    2)."""
    # Both ends of the wrist are known even where the mask hides them.
    width = (truth[:, 0] - truth[:, 24]).norm(dim=-1)
    distance = (points - truth).norm(dim=-1) / width[:, None]
    return 100 * ((distance * visible).sum(1) / visible.sum(1)).mean().item()


def eye_distances(points, truth, visible) -> float:
    """Mean distance over that of the eye centres, in percent (tables 3-5)."""
    from lmlib.evaluation import nme

    return 100 * nme(points, truth, visible, normaliser="eye_centres")


def blocks(size: int):
    from lmscenes import Blocks

    return Blocks(size)


def hands(size: int, *, seed: int, subjects: int):
    from lmscenes import Hands

    return Hands(size, seed=seed, gray=True, subjects=subjects)


def studio(size: int, *, seed: int, identities: int):
    """MultiPIE's stand-in: five cameras, six emotions, studio light."""
    from lmscenes import Faces

    return Faces(size, seed=seed, gray=True, cameras=True, identities=identities)


def wild(size: int, *, seed: int, turned: float = 1.0):
    """300-W's stand-in; ``turned`` stretches the range of poses."""
    from lmscenes import Faces

    pose = {"yaw": 25.0 * turned, "pitch": 12.0 * turned, "roll": 15.0 * turned}
    return Faces(size, seed=seed, gray=True, **pose)


def photographs(size: int):
    """300-W itself, where its files are present."""
    from lmcourse.experiments.photographs import w300_faces

    return w300_faces(size)


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
    each(("Seq-MT(C)", "Seq-MT(C+T)"), [0]),
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
BLOCKS_LONG = each(LONG_ROWS, [100, 5, 50, 20, 10, 1])
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
PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            "seqmt-blocks",
            "Table 1: Blocks at the paper's own size",
            (blocks, range(3200)),
            {"": (blocks, range(6400, 9600))},
            "blocks",
            dict.fromkeys(PERCENTS, 1600) | {0: 1600, 50: 2000, 100: 2000},
            pixels_of_60,
            in_order(BLOCKS_KEY, BLOCKS_KNOBS, BLOCKS_LONG, each(TABLE_1, PERCENTS, 5)),
            small=False,
            labels=("label",),
            balance="label",
            others=dict.fromkeys(("Comm-MT", "Heatmap-MT"), BLOCKS_OTHERS),
            others_steps=dict.fromkeys(PERCENTS, 1000) | {50: 1500, 100: 1500},
        ),
        Problem(
            "seqmt-hands",
            "Tables 2 and 10: hands, 8 subjects to train on, 4 others to test on",
            (partial(hands, seed=0, subjects=8), range(573)),
            {"": (partial(hands, seed=1, subjects=4), range(540))},
            "hands",
            dict.fromkeys(PERCENTS, 1600),
            wrist_widths,
            in_order(HANDS_KEY, each(TABLE_1, PERCENTS[1:], 5)),
            labels=("label",),
            balance="label",
            others=small_others(2.0),
        ),
        Problem(
            "seqmt-faces",
            "Tables 3 and 7-9: studio faces, 60 people to train on, 60 others to test",
            (partial(studio, seed=0, identities=60), range(600)),
            {"": (partial(studio, seed=1, identities=60), range(600))},
            "multipie",
            dict.fromkeys(PERCENTS, 1200),
            eye_distances,
            in_order(
                FACES_KEY,
                each(TABLE_1, PERCENTS[1:], 5),
                each(ONE_LABEL + MORE_LABELS, PERCENTS[1:]),
            ),
            labels=("emotion", "camera"),
            balance="emotion",
            guess_hidden=True,
            identities=60,
            others=small_others(8.0),
        ),
        Problem(
            "seqmt-wild",
            "Tables 4 and 5: faces in the wild; hard: turned up to 1.6 times as far",
            (partial(wild, seed=0), range(600)),
            {
                "": (partial(wild, seed=1), range(500)),
                "hard": (partial(wild, seed=2, turned=1.6), range(500)),
            },
            "w300",
            dict.fromkeys(PERCENTS, 1000),
            eye_distances,
            WILD_KEY,
            rcn="rcn_plus",
            guess_hidden=True,
            others={
                "Comm-MT": {"lr": 1e-3, "start": "plain"},
                "Heatmap-MT": {"lr": 3e-3},
            },
        ),
        Problem(
            "seqmt-300w",
            "Table 5 on photographs: 300-W, 1,600 faces to train on, 412 to test",
            (photographs, range(1600)),
            {"": (photographs, range(1600, 2012))},
            "w300",
            dict.fromkeys(PERCENTS, 2000),
            eye_distances,
            {
                f"{net}({terms})@{percent}": 1
                for net in ("RCN+", "Seq-MT")
                for percent in (5, 100, 20, 10, 50)
                for terms in ("L", "L+T")
            }
            | {"RCN+(L+T,inverse)@5": 1, "RCN+(L,long)@100": 1},
            rcn="rcn_plus",
            guess_hidden=True,
        ),
    )
}
KEPT: dict[str, tuple[str, ...]] = {
    "seqmt-blocks": (*each(SEQ_MT, PERCENTS), *BLOCKS_KNOBS),
    "seqmt-wild": ("RCN+(L,long)@100",),
}


def runs(problem: Problem) -> Iterator[Run]:
    """Every setting of seed 0 first, then seed 1, ..."""
    return cells.runs(
        problem, run_cell, lambda setting: metrics(problem, Cell.read(setting))
    )


TABLES = tuple(
    Table(
        problem.name,
        problem.about,
        lambda problem=problem: [*runs(problem)],
        train_together,
    )
    for problem in PROBLEMS.values()
)
