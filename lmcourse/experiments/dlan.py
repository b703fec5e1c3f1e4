"""DLAN (Yan et al. 2017): tables 2, 3 and 4, figures 7, 8 and 10, one cell a run.

A setting names a network, ``ROW[,CHANGE]...[@OFF]``. Rows are those of table 2:

    FC      fully convolutional DFA: Theta is the identity
    ST      + a spatial transformer, one step
    SDC     + selective dilated convolutions
    HR-ST   + three steps, each landmark with a frame of its own
    DLAN    + scale regularisation

and of table 1, one trunk and one budget for each network:

    window     DFA, trained in true boxes, in 17 windows, then a vote
    proposals  the same in the 100 best proposals
    detector   a detector trained on boxes, then DFA in its box
    joint      region proposals and DFA on one trunk
    cascade    DFA of two stages on the whole image, no box
    oracle     DFA in the true box: what a perfect detector would give

What can stand behind a comma is in ``CHANGES`` (``DLAN,M=2``, ``DLAN,lambda=0.1``,
``FC,N=300``: on 300 images) and, where it breaks a mechanism, in ``BROKEN``.
``HR-ST@pose`` is trained and tested on images without that difficulty (``KNOBS``).

All rows start from random weights: no boxes at all. (The paper starts from DFA's
weights, which were trained on garments cut out by their boxes.) Each has the same
images in the same order and the same steps.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import torch

from lmcourse.budget import budget
from lmcourse.evidence.results import Table
from lmcourse.experiments import cells
from lmcourse.experiments.cells import kept_file as kept_file  # for the notebooks
from lmcourse.experiments.cells import load_cell as load_cell
from lmcourse.experiments.dlan_images import (
    FIGURES,
    KNOBS,
    SIZES,
    detected,
    figures,
    garments,
    groups,
    tests,
)
from lmlib.layers import parameter_count
from lmlib.methods.base import Method
from lmlib.methods.dlan import (
    Dlan,
    DlanConfig,
    gradients,
    hull_area,
    regression_loss,
    scale_loss,
    to_image,
)
from lmlib.methods.dlan_baselines import (
    DetectorDfa,
    Dfa,
    DfaConfig,
    FindsBoxes,
    JointRpn,
    frames_of,
    jittered,
    overlap,
    proposals,
    sliding_window,
    true_boxes,
)
from lmlib.samples import Batch

ROWS = {
    "FC": {"attention_steps": 0, "towers": (1,), "scale": 0.0},
    "ST": {"attention_steps": 1, "towers": (1,), "scale": 0.0},
    "SDC": {"attention_steps": 1, "scale": 0.0},
    "HR-ST": {"scale": 0.0},
    "DLAN": {},
}
CHANGES = {
    "M": "steps of the transformer (table 3a)",
    "lambda": "of the scale regularisation (table 3b)",
    "gallery": "trained for long, to be looked at",
    "N": "training images (figure 10a)",
    "long": "ten times the steps: how hard the scene is",
    "steps": "of training, in place of the table's",
    "towers": "their rates, 1+2+4+8 (figure 7b)",
    "average": "of the towers in place of the maximum (figure 7a)",
    "conv4": "towers begin at conv4",
    "conv1": "towers begin at conv1",
    "flat": "one frame for all landmarks in every step",
    "absolute": "places are regressed in the image, not in the frame",
    "end": "only the last step is told the landmarks",
    "chain": "scale regularisation acts through all moves",
    "local": "scale regularisation acts on every step from the second on",
}
BROKEN = {
    "stranger": "frames move as another image says",
    "copies": "all towers have rate 1",
    "hull": "the hull is another image's",
    "shuffled": "every image carries another's landmarks",
}
LADDER = tuple(ROWS)
LONG = 10  # times as many steps


@dataclass(frozen=True)
class Way:
    """What a row of table 1 needs."""

    networks: int = 1  # trunks
    passes: int = 1  # of a trunk over an image or a part of it, at test
    boxed: bool = False  # a true box with every training image
    config: dict = field(default_factory=dict)  # what differs from DFA's in a box


WHOLE = {"cascade": True, "cut_out": False}
PARADIGMS = {
    "window": Way(passes=17, boxed=True),
    "proposals": Way(passes=100, boxed=True),
    "detector": Way(networks=2, passes=2, boxed=True),
    "joint": Way(boxed=True),
    "cascade": Way(config=WHOLE),
    "oracle": Way(boxed=True),
}


@dataclass(frozen=True)
class Cell:
    """A setting, read."""

    row: str
    changes: tuple[tuple[str, str], ...] = ()
    off: str = ""

    @classmethod
    def read(cls, setting: str) -> "Cell":
        match = re.fullmatch(r"([A-Za-z-]+)((?:,[\w=.+]+)*)(?:@(\w+))?", setting)
        if not match or match[1] not in ROWS | PARADIGMS:
            raise ValueError(f"a setting is like DLAN or HR-ST,M=2, got {setting!r}")
        changes = []
        for part in match[2].split(",")[1:]:
            name, _, value = part.partition("=")
            if name not in CHANGES | BROKEN:
                known = ", ".join(CHANGES | BROKEN)
                raise ValueError(f"{setting}: {name!r} is not one of {known}")
            changes.append((name, value))
        off = match[3] or ""
        if off and off not in KNOBS:
            raise ValueError(f"{setting}: {off!r} is not one of {', '.join(KNOBS)}")
        return cls(match[1], tuple(changes), off)

    def get(self, name: str) -> str | None:
        """The value of a change, "" for one without, None if it is not there."""
        return dict(self.changes).get(name)

    def configure(self, config: DlanConfig) -> DlanConfig:
        """The configuration of this cell, of a preset's."""
        if self.row in PARADIGMS:  # the trunk of FC, with what a box needs
            own = {f.name: getattr(config, f.name) for f in fields(config)}
            return DfaConfig(**own | ROWS["FC"] | PARADIGMS[self.row].config)
        values = dict(ROWS[self.row])
        for name, value in self.changes:
            values |= _changed(name, value)
        return replace(config, **values)


def _changed(name: str, value: str) -> dict:
    """What a change does to the configuration."""
    if name == "M":
        return {"attention_steps": int(value)}
    if name == "lambda":
        return {"scale": float(value)}
    if name == "towers":
        return {"towers": tuple(map(int, value.split("+")))}
    return {
        "average": {"select": "average"},
        "conv4": {"dilate_from": "conv4"},
        "conv1": {"dilate_from": "conv1"},
        "flat": {"hierarchy": False},
        "absolute": {"relative": False},
        "end": {"deep": 0.0},
        "chain": {"scale_on": "chain"},
        "local": {"scale_on": "local"},
        "copies": {"towers": (1, 1, 1)},
    }.get(name, {})


# --- networks with a broken mechanism -------------------------------------------------


class Stranger(Dlan):
    """Looks where another image's garment is: the control of all attention."""

    def advance(self, theta, move):
        return super().advance(theta, move.roll(1, 0))


class OthersHull(Dlan):
    """Frames are to be as large as another image's garment says."""

    def hulls(self, batch):
        return super().hulls(batch).roll(1, 0)


def network(cell: Cell, config: DlanConfig) -> Method:
    """The untrained network of a cell; its weights come from torch's global seed."""
    if cell.row in PARADIGMS:
        other = {"detector": DetectorDfa, "joint": JointRpn}.get(cell.row, Dfa)
        return other(cell.configure(config))
    kinds = {"stranger": Stranger, "hull": OthersHull}
    kind = next((kinds[name] for name, _ in cell.changes if name in kinds), Dlan)
    return kind(cell.configure(config))


def finder(cell: Cell, method: Method, batch: Batch) -> Callable:
    """How a cell's network is asked for landmarks: images and their numbers in the
    batch, to ``(B, J, 2)``."""
    if cell.row == "window":
        return lambda images, rows: sliding_window(method, images)
    if cell.row == "proposals":
        return lambda images, rows: proposals(method, images)
    if cell.row == "oracle":
        boxes = true_boxes(batch)
        return lambda images, rows: method.landmarks(images, boxes[rows])
    return lambda images, rows: method.landmarks(images)


# --- problems -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Problem(cells.Problem):
    """Garments of one size, and networks trained on them."""

    preset: str
    count: int = 3000  # training images
    steps: int  # of the class budget

    def config(self, cell: Cell) -> DlanConfig:
        """The configuration of a cell."""
        return cell.configure(DlanConfig.preset(self.preset))

    def count_of(self, cell: Cell) -> int:
        """Training images under the current budget."""
        count = int(cell.get("N") or self.count)
        return budget(quick=16, class_=count, full=10 * count)

    def steps_of(self, cell: Cell) -> int:
        """Steps of a training under the current budget."""
        steps = int(cell.get("steps") or self.steps)
        steps *= 1 if cell.get("long") is None else LONG
        return budget(quick=2, class_=steps, full=20 * steps)

    def train(self, setting: str, seed: int):
        """The trained network of a cell, and what rows say of the training."""
        cell = Cell.read(setting)
        if cell.row in ("window", "proposals"):  # the same network as the oracle's
            setting, cell = "oracle", Cell("oracle")
        torch.manual_seed(seed)
        method = network(cell, DlanConfig.preset(self.preset))
        config, count = method.config, self.count_of(cell)
        # N=300 are the first 300 of all, so they are drawn once.
        most = budget(quick=16, class_=self.count, full=10 * self.count)
        data = garments(config.size, range(max(most, count)), cell.off)
        steps = self.steps_of(cell)
        prepare = None
        if cell.get("shuffled") is not None:
            names = ("landmarks", "visible", "code", "box")
            labels = {name: data.all[name] for name in names}
            prepare = cells.shuffled_labels(labels, 0, seed)
        cell_of = (setting, seed)
        self.fit(method, data, range(count), steps, cell_of, prepare=prepare)
        extra = {"n_train": count, "size": config.size, "batch": config.batch_size}
        return method.eval().cpu(), {"steps": steps, "extra": extra}

    def measure(self, method: Dlan, setting: str) -> dict:
        """Detections on the test images; see ``dlan_images.figures``."""
        cell = Cell.read(setting)
        batch = tests(method.config.size, cell.off)
        find = finder(cell, method, batch)
        parts = torch.arange(len(batch["image"])).split(50)
        with torch.no_grad():
            points = [find(batch["image"][rows], rows) for rows in parts]
        return figures(torch.cat(points), batch)

    def metrics(self, setting: str) -> tuple[str, ...]:
        """The same for all."""
        return FIGURES

    def keep(self, setting, seed, method, measured, about) -> None:
        """Without the errors of single images, which stand beside the rows."""
        found = {k: v for k, v in measured.items() if k != "images"}
        super().keep(setting, seed, method, found, about)


@dataclass(frozen=True, kw_only=True)
class Speed(cells.Problem):
    """What a cell's network costs: nothing is trained. ``PARADIGMS`` has the rest."""

    preset: str

    def run(self, setting: str, seed: int) -> dict:
        """Milliseconds of processor an image, and the network's size."""
        cell = Cell.read(setting)
        torch.manual_seed(seed)
        method = network(cell, DlanConfig.preset(self.preset)).eval()
        count = budget(quick=2, class_=16, full=64)
        batch = tests(method.config.size, indices=range(count))
        find, rows = finder(cell, method, batch), torch.arange(len(batch["image"]))
        spent = []
        with torch.no_grad():
            for _ in range(budget(quick=1, class_=5, full=5)):
                start = time.process_time()
                find(batch["image"], rows)
                spent.append(1000 * (time.process_time() - start) / len(rows))
        found = {"ms": min(spent), "weights": parameter_count(method)}
        return found | {"steps": 0, "extra": {"size": method.config.size}}

    def metrics(self, setting: str) -> tuple[str, ...]:
        """The same for all."""
        return ("ms", "weights")


@dataclass(frozen=True, kw_only=True)
class Boxes(cells.Problem):
    """How good the boxes of the ladder's ``detector`` and ``joint`` are, and what their
    landmark networks find in others. Where the ladder's trainings are kept
    (``data/cache``) nothing is trained."""

    moved: float = 0.2  # of a box's sides

    def train(self, setting: str, seed: int):
        """The ladder's network."""
        return PROBLEMS["dlan-ladder"].train(setting, seed)

    def measure(self, method: FindsBoxes, setting: str) -> dict:
        """Overlap of the boxes with the true ones, and detections in the true box and
        in true boxes whose sides have moved by up to ``moved`` of their lengths."""
        batch = tests(method.config.size)
        truth = true_boxes(batch)
        with torch.no_grad():
            own = cells.in_chunks(method.boxes, batch["image"], 50)
        torch.manual_seed(0)
        moved = jittered(truth, self.moved)
        found = {"overlap": _overlap(own, truth).mean().item()}
        for name in SIZES:
            rows = groups(batch)[name][:, 0]
            found[f"overlap_{name}"] = _overlap(own, truth)[rows].mean().item()
        found["overlap_moved"] = _overlap(moved, truth).mean().item()
        for name, boxes in {"own": own, "true": truth, "moved": moved}.items():
            parts = zip(batch["image"].split(50), boxes.split(50), strict=True)
            with torch.no_grad():
                points = torch.cat([in_boxes(method, *part) for part in parts])
            found[f"pdl_{name}"] = detected(points, batch)
        return found

    def metrics(self, setting: str) -> tuple[str, ...]:
        """The same for both."""
        overlaps = "overlap", *(f"overlap_{name}" for name in SIZES), "overlap_moved"
        return *overlaps, "pdl_own", "pdl_true", "pdl_moved"


def _overlap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Of boxes ``(N, 4)`` in pairs: ``(N,)``."""
    return overlap(a[:, None], b[:, None])[:, 0, 0]


def in_boxes(method: FindsBoxes, images: torch.Tensor, boxes: torch.Tensor):
    """Landmarks ``(B, J, 2)`` in given boxes, of a network that finds its own."""
    if isinstance(method, DetectorDfa):
        return method.dfa.landmarks(images, boxes)
    frames = frames_of(boxes[:, None], method.config.context)
    return method.inside(method.features(images), frames)[0][-1][:, 0]


class Gradients(cells.Problem):
    """Are eqs. 10-12 the derivatives of eq. 9? Nothing is trained."""

    def run(self, setting: str, seed: int) -> dict:
        """Largest difference from autograd's, in double precision, of the equations as
        ``corrected``, or with eq. 10's sum over j as ``printed``."""
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        theta, place = draw(50, 8, 2, 3).requires_grad_(), draw(50, 8, 2)
        place.requires_grad_()
        truth, seen = draw(50, 8, 2) / 3, draw(50, 8) > -0.5
        there = torch.ones_like(seen)
        hull = hull_area(truth, there)
        found = to_image(theta, place[:, :, None]).squeeze(2)
        loss = regression_loss(found, truth, seen)
        (50 * (loss + scale_loss(theta, hull, 0.4, there))).backward()
        with torch.no_grad():
            by_place, by_theta = gradients(theta, place, truth, seen, hull, 0.4)
            if setting == "printed":
                by_place = by_place.sum(1, keepdim=True).expand_as(by_place)
            off = [(by_place - place.grad).abs().max(),
                   (by_theta - theta.grad).abs().max()]  # fmt: skip
        return {"error": max(off).item(), "steps": 0}

    def metrics(self, setting: str) -> tuple[str, ...]:
        """One."""
        return ("error",)


def seeds(settings, count: int) -> dict[str, int]:
    return dict.fromkeys(settings, count)


CONTROLS = ("ST,stranger", "HR-ST,stranger", "SDC,copies", "DLAN,copies", "DLAN,hull")
CONTROLS += ("HR-ST,stranger,N=300", "FC,shuffled")
STEPS = tuple("SDC" if m == 1 else "HR-ST" if m == 3 else f"HR-ST,M={m}" for m in
              (1, 2, 3, 4, 5))  # fmt: skip
LAMBDAS = ("HR-ST", *(f"DLAN,lambda={x}" for x in (0.8, 0.2, 0.1)), "DLAN")
TOWERS = ("DLAN,towers=1", "DLAN,towers=1+2", "DLAN", "DLAN,towers=1+2+4+8")
TOWERS += ("DLAN,average", "DLAN,conv4")
FEW = tuple(f"{row},N={n}" for n in (300, 1000) for row in ("FC", "DLAN"))
HARD = ("FC,long", "oracle,long")
OTHERS = ("DLAN,absolute", "HR-ST,flat", "DLAN,chain", "DLAN,local", "DLAN,end")
DOSES = {  # what is taken out of the pictures -> the module that answers to it
    "scale": ("ST", "SDC"),
    "place": ("FC", "ST"),
    "clutter": ("FC", "ST"),
    "pose": ("SDC", "HR-ST"),
}
PROBLEMS = cells.by_name(
    Problem(
        name="dlan-ladder",
        about="Table 2: 64-pixel garments, module by module; and what tables 3 and 4, "
        "figures 7, 8 and 10 vary",
        preset="garments64",
        steps=1500,
        settings=seeds(LADDER, 3)
        | seeds(CONTROLS, 3)
        | {name: 3 for name in (*STEPS, *LAMBDAS, *TOWERS, *FEW) if name not in LADDER}
        | seeds(PARADIGMS, 3)
        | seeds(OTHERS, 3)
        | seeds(HARD, 1),
        kept=LADDER,
    ),
    Problem(
        name="dlan-doses",
        about="The ladder's gains where the pictures lack a difficulty",
        preset="garments64",
        steps=1500,
        settings={f"{row}@{off}": 3 for off, rows in DOSES.items() for row in rows},
    ),
    Speed(
        name="dlan-speed",
        about="Tables 1 and 3a: what paradigms and steps cost",
        preset="garments64",
        settings=seeds((*STEPS, "FC", "DLAN", "DLAN,towers=1"), 3)
        | seeds(PARADIGMS, 3),
    ),
    Boxes(
        name="dlan-boxes",
        about="Table 1: the boxes that are found, and landmarks in better ones",
        settings=seeds(("detector", "joint"), 3),
    ),
    Gradients(
        name="dlan-gradients",
        about="Equations 10-12 against automatic differentiation",
        settings=seeds(("corrected", "printed"), 3),
    ),
    Problem(
        name="dlan-garments128",
        about="128-pixel garments, trained for long: what is shown, and how hard it is",
        preset="garments128",
        count=4000,
        steps=15_000,
        settings=seeds(("DLAN,gallery", "FC,steps=6000", "oracle,steps=6000"), 1),
        kept=("DLAN,gallery",),
    ),
)
KEPT = {problem.name: problem.kept for problem in PROBLEMS.values()}


def part(name: str, about: str, settings: tuple[str, ...]):
    """A table whose cells are some of the ladder's."""

    def runs():
        return [r for r in PROBLEMS["dlan-ladder"].runs() if r.setting in settings]

    return Table(name, about, runs)


TABLES = (
    *(problem.table() for problem in PROBLEMS.values()),
    part("dlan-steps", "Table 3a: steps of the transformer", STEPS),
    part("dlan-lambda", "Table 3b: lambda of the scale regularisation", LAMBDAS),
    part("dlan-towers", "Figure 7: towers, and how they are joined", TOWERS),
    part(
        "dlan-baselines", "Table 1: with boxes and without", (*PARADIGMS, "FC", "DLAN")
    ),
    part("dlan-landmarks", "Table 4, figure 8: the ladder's, by landmark", LADDER),
)
