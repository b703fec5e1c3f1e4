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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

from lmcourse.budget import budget, current_budget
from lmcourse.evidence.results import Run, Table, run_file
from lmcourse.experiments import cells
from lmcourse.experiments.cells import kept_file as kept_file  # for the notebooks

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


@dataclass(frozen=True)
class Problem:
    """A data set, what is trained on it and what is measured."""

    name: str  # of the experiment
    about: str
    train: Callable  # (size, count) -> training data with ``batch(indices)``
    images: int  # how many of them
    steps: int  # of the class budget
    presets: tuple[str, str]  # of DveConfig: full and class budget
    measure: Callable  # (method, cell) -> {metric: value}
    metrics: Callable  # cell -> names
    settings: dict[str, int]  # setting -> number of seeds, in the order to run them
    start: str = ""  # another problem, whose trained network is the start

    def budgeted_steps(self) -> int:
        """Steps of a training under the current budget."""
        return budget(quick=2, class_=self.steps, full=50 * self.steps)

    def config(self, cell: Cell, budget: str | None = None):
        """The configuration of a cell under a budget, the current one by default."""
        from lmlib.methods.dve import DveConfig

        small = (budget or current_budget()) != "full"
        config = DveConfig.preset(self.presets[small])
        if cell.network == "hourglass":
            big = DveConfig.preset(("hourglass64", "hourglass_class")[small])
            changes = {"network": "hourglass", "planes": big.planes, "depth": big.depth}
            config = replace(config, **changes)
        pairs = "identity" if cell.change == "still" else config.pairs
        return replace(
            config, channels=cell.channels, auxiliaries=cell.auxiliaries, pairs=pairs
        )


# --- training -------------------------------------------------------------------------


def train_cell(problem: Problem, setting: str, seed: int):
    """Train one cell; returns the network and what a row says about the training."""
    import torch

    from lmlib.methods.dve import Dve
    from lmlib.methods.dve_baselines import SparseLandmarks
    from lmlib.training import constant_then_decay, fit

    class Shuffled(Dve):
        def pair(self, batch):
            u, v, where, weight = super().pair(batch)
            return u, v, where.roll(1, 0), weight

    cell = Cell.read(setting)
    if cell.network == "supervised":
        return train_supervised(problem, cell, setting, seed)
    config = problem.config(cell)
    steps = problem.budgeted_steps()
    count = budget(quick=16, class_=problem.images, full=10 * problem.images)
    torch.manual_seed(seed)
    kind = Shuffled if cell.change == "shuffled" else Dve
    method = (SparseLandmarks if cell.network == "sparse" else kind)(config)
    if problem.start:
        before = setting.partition(",")[0]
        method.load_state_dict(trained(PROBLEMS[problem.start], before, seed))
    if cell.change in ("untrained", "before"):
        steps = 0
    else:
        data = training_data(problem.train, config.frame, count)
        prepare = None
        if cell.change == "other":
            others = training_data(arm_images, config.frame, count)

            def prepare(batch):
                auxiliary = others.batch(batch["index"].cpu())["image"]
                return batch | {"auxiliary": auxiliary.to(batch["image"].device)}

        def begin_exchange(step):
            warm = step < config.warm_up * steps and not problem.start
            method.auxiliaries = 0 if warm else config.auxiliaries

        fit(
            method,
            data,
            data.indices,
            steps,
            batch_size=config.batch_size + config.pool,
            lr=config.lr,
            amsgrad=True,
            schedule=constant_then_decay(steps, config.decay),
            before=begin_exchange,
            prepare=prepare,
            seed=seed,
            checkpoint=run_file(problem.name, setting, seed),
            save_every=100,
            progress=False,
        )
    extra = {"n_train": count, "size": config.size, "batch": config.batch_size}
    return method.eval().cpu(), {"steps": steps, "extra": extra}


def trained(problem: Problem, setting: str, seed: int) -> dict:
    """The weights of a trained cell; those that ship, if they are of that training."""
    if cells.ships(problem.name, setting, seed, problem.budgeted_steps()):
        return load_cell(problem.name, setting).state_dict()
    return train_cell(problem, setting, seed)[0].state_dict()


def train_supervised(problem: Problem, cell: Cell, setting: str, seed: int):
    """SmallNet+ on a few labelled images, each copied with small movements."""
    import torch

    from lmlib.methods.dve_baselines import SmallNetPlus
    from lmlib.samples import Stored
    from lmlib.training import constant_then_decay, fit

    config = problem.config(Cell.read("C64"))
    images, points = face_set(config.frame, "labelled")
    few = few_images(len(images), cell.labels, seed)
    copies = few.repeat(-(-400 // len(few)))
    views, points = mildly_warped(config, images[copies], points[copies], seed)
    seen = torch.ones(points.shape[:2], dtype=torch.bool)
    data = Stored.of({"image": views, "landmarks": points, "visible": seen})
    steps = budget(quick=2, class_=problem.steps, full=10 * problem.steps)
    torch.manual_seed(seed)
    method = SmallNetPlus(points.shape[1], config.widths)
    fit(
        method,
        data,
        data.indices,
        steps,
        batch_size=16,
        schedule=constant_then_decay(steps),
        seed=seed,
        checkpoint=run_file(problem.name, setting, seed),
        progress=False,
    )
    return method.eval().cpu(), {"steps": steps, "extra": {"n_labelled": len(few)}}


def few_images(count: int, labels: int, draw: int):
    """Which ``labels`` of ``count`` images are labelled in one draw."""
    import torch

    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order.roll(-draw * labels)[:labels]


def run_cell(problem: Problem, setting: str, seed: int) -> dict:
    """Train and measure one cell; some networks of seed 0 ship with the course."""
    measured = partial(problem.measure, cell=Cell.read(setting))
    return cells.run(problem, setting, seed, train_cell, measured, KEPT)


def load_cell(experiment: str, setting: str):
    """The trained network of a cell that ships with the course, ready to use."""
    from lmlib.methods.dve import Dve

    def build(budget):
        return Dve(PROBLEMS[experiment].config(Cell.read(setting), budget))

    return cells.load(experiment, setting, build)


@cache
def training_data(train: Callable, size: int, count: int):
    """The training images, drawn once and kept."""
    return train(size, count)


# --- the data sets --------------------------------------------------------------------


POSE = {"yaw": 20, "pitch": 10, "roll": 10}  # degrees, of people and animals


def face_scene(size: int, *, turned: float = 1.0):
    """CelebA's stand-in; ``turned`` stretches the range of poses."""
    from lmscenes import Faces

    return Faces(size, **{angle: turned * most for angle, most in POSE.items()})


def face_images(size: int, count: int, turned: float = 1.0):
    from lmlib.samples import Stored

    return Stored(face_scene(size, turned=turned), range(count))


def turned_images(size: int, count: int):
    """AFLW's stand-in: the same kind of faces, turned further."""
    return face_images(size, count, turned=2.0)


def arm(size: int):
    """The arm. Frames of a pair are neighbours: the flow alone never links two poses
    that differ much. Joints turn less far than they can, since our runs are short."""
    from lmscenes import Roboarm

    return Roboarm(size, stride=2, swing=0.6)


def arm_images(size: int, count: int):
    """Single images of the arm: another category than faces."""
    from lmlib.samples import Stored

    return Stored(arm(size), range(count))


def arm_pairs(size: int, count: int):
    """Two frames of the arm and where each pixel went; one pair in seven frames."""
    from lmlib.samples import Stored

    keys, scene = ("image2", "flow", "flow_valid", "mask"), arm(size)
    return Stored(scene, range(0, 7 * count, 7), keys, draw=scene.pair)


def animal_scene(size: int, frame: str = "face"):
    """Animals turned as far as the people are and, unless said, framed like them."""
    from lmscenes import Animals

    return Animals(size, **POSE, frame=frame)


def mixed_images(size: int, count: int, frame: str = "face"):
    """People and animals, as many of either."""
    import torch

    from lmlib.samples import Stored

    people = face_images(size, count // 2).all["image"]
    animals = Stored(animal_scene(size, frame), range(count - len(people)))
    return Stored.of({"image": torch.cat([people, animals.all["image"]])})


# --- what is measured -----------------------------------------------------------------

MATCHED = range(100_000, 100_200)  # test images
LABELLED = range(50_000, 50_500)  # images with landmarks, for the regression


def share(part: str, labelled: range = LABELLED, test: range = MATCHED) -> range:
    """Which images are "labelled", for the regression, or to "test", in this budget."""
    few, indices = {"labelled": (24, labelled), "test": (8, test)}[part]
    return budget(quick=indices[:few], class_=indices, full=indices)


@cache
def drawn_faces(size: int, indices: range, turned: float = 1.0):
    """Images and their five landmarks, drawn once."""
    from lmlib.samples import Stored
    from lmscenes.faces import five_points

    data = Stored(face_scene(size, turned=turned), indices)
    return data.all["image"], five_points(data.all["landmarks"])


def face_set(size: int, part: str, turned: float = 1.0):
    """The drawn faces of a part; see ``share``."""
    return drawn_faces(size, share(part), turned)


def celeba_images(size: int, count: int):
    """CelebA itself, where its files are present."""
    from lmcourse.experiments import photographs

    return photographs.celeba_faces(size, photographs.DVE, count)


@cache
def mtfl_faces(size: int, part: str):
    """MTFL's of a part, where its files are present."""
    from lmcourse.experiments import photographs

    own = share(part, photographs.MTFL_KNOWN, photographs.MTFL_TEST)
    batch = photographs.mtfl_faces(size, photographs.DVE).batch(own)
    return batch["image"], batch["landmarks"]


def match_errors(method, images, points, others, truth, visible=None, pixels=70):
    """Distance of each match from the truth, in pixels: ``(N,)`` over all landmarks."""
    import torch

    errors = []
    with torch.no_grad():
        for part in torch.arange(len(images)).split(50):
            found = method.match(images[part], points[part], others[part])
            errors.append((found - truth[part]).norm(dim=-1) * (pixels / 2))
    errors = torch.cat(errors)
    return errors.flatten() if visible is None else errors[visible]


def warped(method, images, points, seed: int):
    """Images and points under half-strength warps, cropped as the network wants."""
    import torch
    import torch.nn.functional as F

    from lmlib.geometry import pixel_grid
    from lmlib.warps import dve_warp

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
    import torch

    from lmlib.evaluation import nme

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
    import torch

    from lmlib.evaluation import nme
    from lmlib.methods.dve import crop

    config = PROBLEMS["dve-faces"].config(Cell.read("C64"))
    images, truth = crop(*face_set(config.frame, "test"), config)
    with torch.no_grad():
        found = method.landmarks(images)
    return 100 * nme(found, truth, normaliser="eye_centres")


def mildly_warped(config, images, points, seed: int):
    """Copies of few labelled images, moved a little and cropped (released code)."""
    import torch

    from lmlib.geometry import Affine
    from lmlib.methods.dve import crop

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
    import torch

    from lmlib.methods import dve

    with torch.no_grad():
        vectors = method.descriptors(images[:100]).permute(0, 2, 3, 1).flatten(0, 2)
    return dve.cluster(vectors[::7])


def virtual_points(method, centres, images):
    """Where each kind of descriptor is in images: ``(B, 50, 2)``."""
    import torch

    from lmlib.methods import dve

    with torch.no_grad():
        parts = (method.descriptors(part) for part in images.split(50))
        return torch.cat([dve.virtual_points(part, centres) for part in parts])


def regression(points, landmarks):
    """The fitted map from virtual points to landmarks."""
    from lmlib.evaluation import LandmarkRegression

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
    import torch

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
    from lmlib.methods.dve import crop

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
    "dve-animals",
    "Section 4.3: people and animals, one auxiliary image or five",
    mixed_images,
    1000,
    1200,
    SMALLNET,
    measure_animals,
    animal_metrics,
    {**dict.fromkeys(("C64+DVE5", "C64", "C64+DVE"), 3), "C64+DVE5,shuffled": 1},
)
PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            "dve-faces",
            "Tables 1, 2 and 5: faces, matched and regressed",
            face_images,
            1000,
            1000,
            SMALLNET,
            measure_faces,
            face_metrics,
            {
                **dict.fromkeys(TABLE_1, 3),
                "C64+DVE,other": 1,
                "C64+DVE,shuffled": 1,
                "C64,untrained": 1,
                "C64+DVE5": 1,
                "hourglass-C64+DVE": 1,
                "sparse-C30": 1,
                **{f"supervised@{n}": 1 for n in (20, 1, 5, 10, len(LABELLED))},
            },
        ),
        Problem(
            "dve-faces70",
            "Table 1 at the paper's size: crops of 70 px, its SmallNet",
            face_images,
            3000,
            3000,
            ("smallnet64", "smallnet64_long"),
            measure_faces,
            face_metrics,
            dict.fromkeys(("C64+DVE", "C64"), 1),
        ),
        Problem(
            "dve-turned",
            "Table 3: unsupervised fine-tuning on faces turned further",
            turned_images,
            1000,
            150,
            SMALLNET,
            partial(measure_faces, faces=partial(face_set, turned=2.0)),
            face_metrics,
            dict.fromkeys(
                (
                    *(f"C{c}+DVE{x}" for c in (64, 3) for x in ("", ",before")),
                    "C64+DVE,shuffled",
                ),
                1,
            ),
            start="dve-faces",
        ),
        Problem(
            "dve-celeba",
            "Tables 1, 2 and 5 on photographs: CelebA to learn, MTFL to measure",
            celeba_images,
            10_000,
            2000,
            SMALLNET,
            partial(measure_faces, faces=mtfl_faces),
            face_metrics,
            dict.fromkeys(
                ("C64+DVE", "C64,untrained", "C64", "C64+DVE,shuffled", "C3"), 1
            ),
        ),
        Problem(
            "dve-roboarm",
            "Table 4: the arm, with given flow and without",
            arm_pairs,
            1000,
            1000,
            ("roboarm", "roboarm_class"),
            measure_arm,
            lambda cell: ("match", "match_median"),
            dict.fromkeys(
                (
                    "C20+DVE",
                    "C20",
                    "C3",
                    "C20+DVE,still",
                    "C20+DVE,shuffled",
                    "C20,untrained",
                    "C3+DVE",
                    "C3+DVE,still",
                ),
                1,
            ),
        ),
        ANIMALS,
        replace(
            ANIMALS,
            name="dve-ears",
            about="The same, animals framed with their ears, so that eyes lie lower",
            train=partial(mixed_images, frame="head"),
            measure=partial(measure_animals, frame="head"),
            settings={"C64+DVE5": 1},
        ),
    )
}
KEPT: dict[str, tuple[str, ...]] = {
    "dve-faces": (*TABLE_1, "hourglass-C64+DVE"),
    "dve-roboarm": ("C20", "C20+DVE", "C3", "C20+DVE,still"),
    "dve-animals": ("C64+DVE5", "C64"),
    "dve-ears": ("C64+DVE5",),
}


def runs(problem: Problem) -> Iterator[Run]:
    """Every setting of seed 0 first, then seed 1, ..."""
    return cells.runs(
        problem, run_cell, lambda setting: problem.metrics(Cell.read(setting))
    )


TABLES = tuple(
    Table(problem.name, problem.about, lambda problem=problem: [*runs(problem)])
    for problem in PROBLEMS.values()
)
