"""Descriptor vector exchange (Thewlis et al. 2019): tables 1-5 and section 4.3.

A setting names a network, ``[NETWORK-]C<length>[+DVE[<auxiliaries>]][,<change>]``:
``C64`` matches descriptors of 64 numbers directly (Thewlis et al. 2017), ``C64+DVE``
exchanges them through one image, ``C64+DVE5`` through five. What can stand behind the
comma is in ``CHANGES`` and, where it breaks a mechanism, in ``BROKEN``.

Networks see no label. What is measured on them afterwards:

* ``match_same``, ``match_different``: how far from its landmark a landmark's descriptor
  is matched (table 1), in pixels of the paper's image: in another view of the same
  image, and in another image. Median beside mean, since some matches are wild.
* ``regression``, ``regression_20``, ...: landmarks regressed from frozen descriptors of
  all labelled images or of 20, in percent of the distance of the eyes (tables 2 and 5).
  Fifty virtual points in all, one a cluster of the descriptors' directions, then a
  linear fit with a small ridge: seconds in place of the paper's gradient descent.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
import torch.nn.functional as F

from lmcourse.budget import budget, current_budget
from lmcourse.experiments import cells
from lmcourse.experiments.cells import kept_file as kept_file  # for the notebooks
from lmcourse.experiments.cells import load_cell as load_cell
from lmcourse.experiments.dve_images import (
    LABELLED as LABELLED,
)
from lmcourse.experiments.dve_images import (
    MATCHED as MATCHED,
)
from lmcourse.experiments.dve_images import (
    animal_scene as animal_scene,
)
from lmcourse.experiments.dve_images import (
    arm as arm,
)
from lmcourse.experiments.dve_images import (
    arm_images,
    arm_pairs,
    celeba_images,
    face_images,
    mixed_images,
    mtfl_faces,
    turned_images,
)
from lmcourse.experiments.dve_images import (
    drawn_faces as drawn_faces,
)
from lmcourse.experiments.dve_images import (
    face_scene as face_scene,
)
from lmcourse.experiments.dve_images import (
    face_set as face_set,
)
from lmcourse.experiments.dve_images import (
    share as share,
)
from lmlib.evaluation import LandmarkRegression, nme
from lmlib.geometry import Affine, pixel_grid
from lmlib.methods import dve
from lmlib.methods.dve import Dve, DveConfig, crop
from lmlib.methods.dve_baselines import SmallNetPlus, SparseLandmarks
from lmlib.samples import Stored
from lmlib.schedules import constant_then_decay
from lmlib.warps import dve_warp

CHANGES = {
    "still": "g = 1: an image is matched with itself (table 4)",
    "before": "not fine-tuned (table 3)",
}
# Other methods, in dve-faces: ``sparse-C30`` finds 30 landmarks (Thewlis et al. 2017);
# ``supervised@20`` is a network trained on 20 labelled images alone.
SUPERVISED = re.compile(r"supervised@(\d+)")
BROKEN = {
    "other": "auxiliary images show another category of objects",
    "shuffled": "where a pixel went is taken from another pair",
    "untrained": "random weights",
}
LABELS = (1, 5, 10, 20)  # of table 5, and all
DRAWS = 3  # labelled subsets of each size that are averaged


@dataclass(frozen=True)
class Cell:
    """A setting, read."""

    channels: int
    auxiliaries: int = 1
    network: str = "smallnet"
    change: str | None = None
    labels: int = 0

    @classmethod
    def read(cls, setting: str) -> "Cell":
        if match := SUPERVISED.fullmatch(setting):
            return cls(0, 0, "supervised", labels=int(match[1]))
        pattern = r"(?:(hourglass|sparse)-)?C(\d+)(\+DVE(\d*))?(?:,(\w+))?"
        match = re.fullmatch(pattern, setting)
        if not match:
            raise ValueError(f"a setting is like C64+DVE or C3, got {setting!r}")
        network, channels, exchanged, auxiliaries, change = match.groups()
        known = [*CHANGES, *BROKEN]
        if change and change not in known:
            raise ValueError(f"{setting}: {change!r} is not one of {known}")
        count = int(auxiliaries or 1) if exchanged else 0
        return cls(int(channels), count, network or "smallnet", change)


@dataclass(frozen=True, kw_only=True)
class Problem(cells.Problem):
    """A data set, what is trained on it and what is measured."""

    images: Callable  # (size, count) -> training data with ``batch(indices)``
    count: int  # how many of them
    steps: int  # of the class budget
    presets: tuple[str, str]  # of DveConfig: full and class budget
    questions: Callable  # (method, cell) -> {metric: value}
    answers: Callable  # cell -> names of these metrics
    begin: str = ""  # another problem, whose trained network is the start

    def config(self, cell: Cell) -> DveConfig:
        """The configuration of a cell under the current budget."""
        small = current_budget() != "full"
        config = DveConfig.preset(self.presets[small])
        if cell.network == "hourglass":
            big = DveConfig.preset(("hourglass64", "hourglass_class")[small])
            changes = {"network": "hourglass", "planes": big.planes, "depth": big.depth}
            config = replace(config, **changes)
        pairs = "identity" if cell.change == "still" else config.pairs
        if self.begin:  # the exchange goes on
            config = replace(config, warm_up=0.0)
        return replace(
            config, channels=cell.channels, auxiliaries=cell.auxiliaries, pairs=pairs
        )

    def steps_of(self, cell: Cell) -> int:
        """Steps of a training under the current budget."""
        if cell.change in ("untrained", "before"):
            return 0
        more = 10 if cell.network == "supervised" else 50
        return budget(quick=2, class_=self.steps, full=more * self.steps)

    def train(self, setting: str, seed: int):
        """The trained network of a cell, and what rows say of the training."""
        cell = Cell.read(setting)
        if cell.network == "supervised":
            return self.train_supervised(cell, setting, seed)
        config, steps = self.config(cell), self.steps_of(cell)
        count = budget(quick=16, class_=self.count, full=10 * self.count)
        torch.manual_seed(seed)
        method = network(cell, config)
        if self.begin:
            before = setting.partition(",")[0]
            method.load_state_dict(PROBLEMS[self.begin].weights(before, seed))
        if steps:
            data = training_data(self.images, config.frame, count)
            prepare = None
            if cell.change == "other":
                prepare = auxiliaries_of(training_data(arm_images, config.frame, count))
            self.fit(
                method, data, data.indices, steps, (setting, seed), prepare=prepare
            )
            method.finish(data, torch.tensor([*data.indices]))
        extra = {"n_train": count, "size": config.size, "batch": config.batch_size}
        return method.eval().cpu(), {"steps": steps, "extra": extra}

    def weights(self, setting: str, seed: int) -> dict:
        """The weights of a trained cell; those that ship, if of that training."""
        if self.ships(setting, seed, self.steps_of(Cell.read(setting))):
            found = load_cell(self.name, setting)
        else:
            found = self.train(setting, seed)[0]
        found.centres = None  # they follow from the weights
        return found.state_dict()

    def train_supervised(self, cell: Cell, setting: str, seed: int):
        """SmallNet+ on a few labelled images, each copied with small movements."""
        config = self.config(Cell.read("C64"))
        images, points = face_set(config.frame, "labelled")
        few = few_images(len(images), cell.labels, seed)
        copies = few.repeat(-(-400 // len(few)))
        views, points = mildly_warped(config, images[copies], points[copies], seed)
        seen = torch.ones(points.shape[:2], dtype=torch.bool)
        data = Stored.of({"image": views, "landmarks": points, "visible": seen})
        steps = self.steps_of(cell)
        torch.manual_seed(seed)
        method = SmallNetPlus(points.shape[1], config.widths)
        options = {"batch_size": 16, "schedule": constant_then_decay(steps)}
        self.fit(method, data, data.indices, steps, (setting, seed), **options)
        return method.eval().cpu(), {"steps": steps, "extra": {"n_labelled": len(few)}}

    def measure(self, method, setting: str) -> dict[str, float]:
        """The answers to the problem's questions."""
        return self.questions(method, Cell.read(setting))

    def metrics(self, setting: str) -> tuple[str, ...]:
        """Their names."""
        return self.answers(Cell.read(setting))


# --- networks, whole and broken -------------------------------------------------------


def network(cell: Cell, config: DveConfig) -> Dve:
    """The untrained network of a cell; its weights come from torch's global seed."""
    if cell.network == "sparse":
        return SparseLandmarks(config)
    return (Shuffled if cell.change == "shuffled" else Dve)(config)


class Shuffled(Dve):
    """Is told where another pair's pixels went: the control of eq. 3."""

    def pair(self, batch):
        u, v, where, weight = super().pair(batch)
        return u, v, where.roll(1, 0), weight


def auxiliaries_of(others: Stored):
    """``prepare`` that takes the auxiliary images from another category."""

    def prepare(batch):
        auxiliary = others.batch(batch["index"].cpu())["image"]
        return batch | {"auxiliary": auxiliary.to(batch["image"].device)}

    return prepare


def few_images(count: int, labels: int, draw: int):
    """Which ``labels`` of ``count`` images are labelled in one draw."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order.roll(-draw * labels)[:labels]


@cache
def training_data(images: Callable, size: int, count: int):
    """The training images, drawn once and kept."""
    return images(size, count)


# --- what is measured -----------------------------------------------------------------


def match_errors(method, images, points, others, truth, visible=None, pixels=70):
    """Distance of each match from the truth, in pixels: ``(N,)`` over all landmarks."""
    errors = []
    with torch.no_grad():
        for part in torch.arange(len(images)).split(50):
            found = method.match(images[part], points[part], others[part])
            errors.append((found - truth[part]).norm(dim=-1) * (pixels / 2))
    errors = torch.cat(errors)
    return errors.flatten() if visible is None else errors[visible]


def warped(method, images, points, seed: int):
    """Images and points under half-strength warps, cropped as the network wants."""

    config = method.config
    warp = dve_warp(len(images), torch.Generator().manual_seed(seed), 0.5)
    zoom = config.size / config.frame
    grid = zoom * pixel_grid(config.size, config.size).view(1, -1, 2)
    grid = warp.backward(grid.expand(len(images), -1, -1))
    grid = grid.unflatten(1, (config.size, config.size))
    views = F.grid_sample(images, grid, align_corners=False)
    return views, warp.points(points) / zoom


def summary(name: str, errors) -> dict[str, float]:
    return {name: errors.mean().item(), f"{name}_median": errors.median().item()}


def measure_faces(method, cell: Cell, faces=face_set) -> dict[str, float]:
    """Table 1's matching errors and table 5's regression errors."""
    if cell.network == "supervised":
        return {face_metrics(cell)[0]: supervised_error(method)}
    if cell.network == "sparse":
        return measure_regression(method, method.landmarks)
    images, points = faces(method.config.frame, "test")
    first = warped(method, images, points, seed=1)
    second = warped(method, images, points, seed=2)
    inside = (first[1].abs() < 1).all(-1) & (second[1].abs() < 1).all(-1)
    same = match_errors(method, *first, *second, inside)
    other = [x.roll(1, 0) for x in second]
    inside = (first[1].abs() < 1).all(-1) & (other[1].abs() < 1).all(-1)
    different = match_errors(method, *first, *other, inside)
    return (
        summary("match_same", same)
        | summary("match_different", different)
        | measure_regression(method, faces=faces)
    )


def measure_regression(method, points_of=None, faces=face_set) -> dict[str, float]:
    """Errors of five landmarks in percent of the distance of the eyes.

    ``points_of`` maps images to the points they are regressed from ``(B, K, 2)``;
    without it, these are the virtual points of the network's descriptors.
    """

    frame = method.config.frame
    images, points = faces(frame, "labelled")
    tests, truth = method.crop(*faces(frame, "test"))
    if points_of is None:
        centres = cluster(method, method.crop(images))
        points_of = partial(virtual_points, method, centres)

    points_of = torch.no_grad()(points_of)
    seen = points_of(tests)

    def error(images, points) -> float:
        found = regression(points_of(images), points).predict(seen)
        return 100 * nme(found, truth, normaliser="eye_centres")

    errors = {"regression": error(*method.crop(images, points))}
    for count in LABELS:
        draws = []
        for draw in range(DRAWS):
            few = few_images(len(images), count, draw)
            copies = few.repeat(-(-100 // count))  # each a little warped
            chosen = images[copies], points[copies]
            views = mildly_warped(method.config, *chosen, seed=draw)
            draws.append(error(*views))
        errors[f"regression_{count}"] = sum(draws) / len(draws)
    return errors


def supervised_error(method) -> float:
    """The same error of a network that gives landmarks itself."""

    config = PROBLEMS["dve-faces"].config(Cell.read("C64"))
    images, truth = crop(*face_set(config.frame, "test"), config)
    with torch.no_grad():
        found = method.landmarks(images)
    return 100 * nme(found, truth, normaliser="eye_centres")


def mildly_warped(config, images, points, seed: int):
    """Copies of few labelled images, moved a little and cropped (released code)."""

    count, generator = len(images), torch.Generator().manual_seed(seed)
    draw = torch.randn(4, count, generator=generator)
    warp = Affine.from_parameters(
        angle=0.035 * draw[0],  # 2 degrees
        scale=1 + 0.02 * draw[1],
        shift=0.02 * draw[2:].T,
    )
    return crop(warp.image(images, padding="border"), warp.points(points), config)


def cluster(method, images):
    """Directions of 50 kinds of descriptors of these images, ``(50, C)``."""

    with torch.no_grad():
        vectors = method.descriptors(images[:100]).permute(0, 2, 3, 1).flatten(0, 2)
    return dve.cluster(vectors[::7])


def virtual_points(method, centres, images):
    """Where each kind of descriptor is in images: ``(B, 50, 2)``."""

    with torch.no_grad():
        parts = (method.descriptors(part) for part in images.split(50))
        return torch.cat([dve.virtual_points(part, centres) for part in parts])


def regression(points, landmarks):
    """The fitted map from virtual points to landmarks."""
    return LandmarkRegression(ridge=0.1).fit(points, landmarks)


def face_metrics(cell: Cell) -> tuple[str, ...]:
    names = ("match_same", "match_different")
    counts = [f"regression_{count}" for count in LABELS]
    if cell.network == "supervised":
        few = cell.labels in LABELS
        return (f"regression_{cell.labels}" if few else "regression",)
    if cell.network == "sparse":
        return ("regression", *counts)
    return (*names, *(f"{n}_median" for n in names), "regression", *counts)


def measure_arm(method, cell: Cell) -> dict[str, float]:
    """Table 4: segments of the arm matched between frames of different films."""
    frames = torch.arange(24_000, 24_000 + 200 * 61, 61)
    frames = budget(quick=frames[:8], class_=frames, full=frames)
    batch = arm(method.config.frame).batch(frames)
    image, points, seen = batch["image"], batch["landmarks"], batch["visible"]
    others, truth, there = (x.roll(1, 0) for x in (image, points, seen))
    errors = match_errors(
        method, image, points, others, truth, seen & there, pixels=90
    )  # fmt: skip
    return summary("match", errors)


def animal_questions(config, frame: str = "face"):
    """What is asked of animals: from people to them, and from one species to another.

    Yields a name, images ``(B, 3, H, W)`` and their five points ``(B, 5, 2)``, the
    animals' images, their points, and which points are known in both ``(B, 5)``.
    Animals take turns, so the next image shows another species.
    """
    people, marks = crop(*face_set(config.frame, "test"), config)
    batch = animal_scene(config.frame, frame).batch(share("test"))
    image, points = crop(batch["image"], batch["landmarks"][:, :5], config)
    seen = batch["visible"][:, :5] & (points.abs() < 1).all(-1)
    inside = (marks.abs() < 1).all(-1)
    yield "people", people, marks, image, points, inside & seen
    theirs, spots, there = (x.roll(1, 0) for x in (image, points, seen))
    yield "species", theirs, spots, image, points, there & seen


def measure_animals(method, cell: Cell, frame: str = "face") -> dict[str, float]:
    """Eyes, nose and mouth matched to animals; see ``animal_questions``."""
    errors = {}
    for name, *asked, known in animal_questions(method.config, frame):
        images, points, animals, truth = asked
        for part, which in (("", slice(0, 5)), ("_eyes", slice(0, 2))):
            found = match_errors(
                method,
                images,
                points[:, which],
                animals,
                truth[:, which],
                known[:, which],
            )
            errors[f"match_{name}{part}"] = found.mean().item()
    return errors


def animal_metrics(cell: Cell) -> tuple[str, ...]:
    parts = "people", "people_eyes", "species", "species_eyes"
    return tuple(f"match_{part}" for part in parts)


# --- the tables -----------------------------------------------------------------------

TABLE_1 = [f"C{c}{dve}" for c in (64, 3, 16, 32) for dve in ("", "+DVE")]
SMALLNET = ("smallnet64", "smallnet_class")
ANIMALS = Problem(
    name="dve-animals",
    about="Section 4.3: people and animals, one auxiliary image or five",
    images=mixed_images,
    count=1000,
    steps=1200,
    presets=SMALLNET,
    questions=measure_animals,
    answers=animal_metrics,
    settings={
        **dict.fromkeys(("C64+DVE5", "C64", "C64+DVE"), 3),
        "C64+DVE5,shuffled": 3,
    },
    kept=("C64+DVE5", "C64"),
)
PROBLEMS = cells.by_name(
    Problem(
        name="dve-faces",
        about="Tables 1, 2 and 5: faces, matched and regressed",
        images=face_images,
        count=1000,
        steps=1000,
        presets=SMALLNET,
        questions=measure_faces,
        answers=face_metrics,
        settings={
            **dict.fromkeys(TABLE_1, 3),
            "C64+DVE,other": 3,
            "C64+DVE,shuffled": 1,
            "C64,untrained": 1,
            "C64+DVE5": 1,
            "hourglass-C64+DVE": 3,
            "sparse-C30": 3,
            "supervised@20": 3,
            **{f"supervised@{n}": 1 for n in (1, 5, 10, len(LABELLED))},
        },
        kept=(*TABLE_1, "hourglass-C64+DVE"),
    ),
    Problem(
        name="dve-faces70",
        about="Table 1 at the paper's size: crops of 70 px, its SmallNet",
        images=face_images,
        count=3000,
        steps=3000,
        presets=("smallnet64", "smallnet64_long"),
        questions=measure_faces,
        answers=face_metrics,
        settings=dict.fromkeys(("C64+DVE", "C64"), 1),
        kept=("C64+DVE", "C64"),
    ),
    Problem(
        name="dve-turned",
        about="Table 3: unsupervised fine-tuning on faces turned further",
        images=turned_images,
        count=1000,
        steps=150,
        presets=SMALLNET,
        questions=partial(measure_faces, faces=partial(face_set, turned=2.0)),
        answers=face_metrics,
        settings={
            **dict.fromkeys(("C64+DVE", "C64+DVE,before"), 3),
            **dict.fromkeys(("C3+DVE", "C3+DVE,before", "C64+DVE,shuffled"), 1),
        },
        begin="dve-faces",
    ),
    Problem(
        name="dve-celeba",
        about="Tables 1, 2 and 5 on photographs: CelebA to learn, MTFL to measure",
        images=celeba_images,
        count=10_000,
        steps=2000,
        presets=SMALLNET,
        questions=partial(measure_faces, faces=mtfl_faces),
        answers=face_metrics,
        settings={
            **dict.fromkeys(("C64+DVE", "C64,untrained", "C64", "C3"), 3),
            "C64+DVE,shuffled": 1,
        },
    ),
    Problem(
        name="dve-roboarm",
        about="Table 4: the arm, with given flow and without",
        images=arm_pairs,
        count=1000,
        steps=1000,
        presets=("roboarm", "roboarm_class"),
        questions=measure_arm,
        answers=lambda cell: ("match", "match_median"),
        settings={
            **dict.fromkeys(("C20+DVE", "C20", "C3", "C20+DVE,still"), 3),
            **dict.fromkeys(
                ("C20+DVE,shuffled", "C20,untrained", "C3+DVE", "C3+DVE,still"), 1
            ),
        },
        kept=("C20", "C20+DVE", "C3", "C20+DVE,still"),
    ),
    ANIMALS,
    replace(
        ANIMALS,
        name="dve-ears",
        about="The same, animals framed with their ears, so that eyes lie lower",
        images=partial(mixed_images, frame="head"),
        questions=partial(measure_animals, frame="head"),
        settings={"C64+DVE5": 1},
        kept=("C64+DVE5",),
    ),
)
# No network trained on photographs may ship.
KEPT = {problem.name: problem.kept for problem in PROBLEMS.values()}
TABLES = tuple(problem.table() for problem in PROBLEMS.values())
