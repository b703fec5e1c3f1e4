"""Landmark discovery by autoencoding (Zhang et al. 2018): tables 1-5, figures 38, 39.

A setting is ``K<landmarks>``, with changes behind commas: ``K10,no-separation`` leaves
out a term, ``K10,separation=5`` multiplies its weight, ``K10,landmarks=9`` says how
many tenths of the warps have landmarks as control points, ``K7,digit=3`` sees one digit
only, ``K16,flow,motion`` learns from video. ``sparse-K10`` is the earlier method
(Thewlis et al. 2017). What breaks a mechanism is in ``BROKEN``.

Networks see no label. What is measured on them afterwards:

* ``error``: annotated landmarks regressed without a bias from the discovered ones, in
  percent of the set's distance (eyes, wheels, image edge); ``error_50``: from 50
  labelled images, with a small ridge; ``error_running``: with the running statistics of
  batch normalisation.
* ``constellation``: how far the landmarks are apart, the deviation of their mean
  places; ``movement``: how far one moves from image to image; ``collapsed``: share of
  landmarks with another within .03; ``equivariance``: how far off landmarks are after a
  warp. All in percent of the image's edge.
* ``reconstruction``: mean squared error of a channel of a pixel.
* ``psnr``: the same in dB, the mean over images.
* ``follows_down``, ``follows_up`` (faces of 64 pixels): the three landmarks nearest the
  mouth are asked ``ASKED`` lower or higher, the face is drawn and looked at again. How
  far they went, as a share of what was asked.
* ``moved``, ``kept``: draw an image with another image's landmarks and its own vectors,
  and look again. How far are the landmarks from where they were put, over how far they
  were moved; and how far is the colour from the own image's, over how far from the
  other's.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

from lmcourse.budget import budget, current_budget
from lmcourse.evidence.results import Run, Table, run_file
from lmcourse.experiments import cells
from lmcourse.experiments.cells import kept_file as kept_file  # for the notebooks

TERMS = ("reconstruction", "concentration", "separation", "equivariance")
CHANGES = {
    "long": "two and a half times the steps",
    "gallery": "seven times the steps: hours, for networks to look at",
    "unstaged": "lambda_recon has its last value from the first step",
    "paper-warp": "the paper's warps: scale 1.25^N(0, 1), shift .15",
    "flow": "equivariance under the optical flow of a video, too",
    "motion": "and landmarks prefer what moves",
}
BROKEN = {
    "untrained": "random weights",
    "twin": "the same once more, from another seed",
    "wrong-warp": "how the image was warped is taken from another image",
    "wrong-flow": "where a pixel went is taken from another video",
}
LABELS = (10, 50, 100, 200)  # of figure 38, and all
ASKED = 0.16  # of [-1, 1]: 5 of 64 pixels
DRAWS = 3  # labelled subsets of each size that are averaged


@dataclass(frozen=True)
class Cell:
    """A setting, read."""

    landmarks: int
    changes: tuple[str, ...] = ()
    factors: tuple[tuple[str, float], ...] = ()  # on weights of terms
    share: float | None = None  # of warps with landmarks as control points
    digit: int | None = None
    sparse: bool = False

    @property
    def options(self) -> dict:
        """What the data set must know to draw its images."""
        return {} if self.digit is None else {"digit": self.digit}

    @classmethod
    def read(cls, setting: str) -> "Cell":
        head, *parts = setting.split(",")
        match = re.fullmatch(r"(sparse-)?K(\d+)", head)
        if not match:
            raise ValueError(f"a setting is like K10 or K10,unstaged, got {setting!r}")
        cell = cls(int(match[2]), sparse=bool(match[1]))
        for part in parts:
            name, _, value = part.partition("=")
            if part in CHANGES or part in BROKEN:
                cell = replace(cell, changes=(*cell.changes, part))
            elif name.removeprefix("no-") in TERMS and (name[:3] == "no-") != bool(
                value
            ):
                factor = name.removeprefix("no-"), float(value or 0)
                cell = replace(cell, factors=(*cell.factors, factor))
            elif name == "landmarks" and value:
                cell = replace(cell, share=float(value) / 10)
            elif name == "digit" and value:
                cell = replace(cell, digit=int(value))
            else:
                known = [*CHANGES, *BROKEN, *(f"no-{term}" for term in TERMS)]
                raise ValueError(f"{setting}: {part!r} is not one of {known}")
        return cell


@dataclass(frozen=True)
class Problem:
    """A data set, what is trained on it and how its landmarks are measured."""

    name: str  # of the experiment
    about: str
    images: Callable  # (size, indices) -> Stored; digits: digit=, people: video=
    train: range
    labelled: range  # for the regression
    test: range
    steps: int  # of the class budget
    presets: tuple[str, str]  # of LmdisConfig: full and class budget
    settings: dict[str, int]  # setting -> number of seeds, in the order to run them
    error: Callable | None = None  # (regression inputs) -> percent; None: no labels
    changes: tuple[tuple[str, object], ...] = ()  # on the class preset
    mouth: tuple[int, ...] = ()  # annotated landmarks of what is asked to move

    def config(self, cell: Cell, budget: str | None = None):
        """The configuration of a cell under a budget, the current one by default."""
        from lmlib.methods.lmdis import LmdisConfig

        full = (budget or current_budget()) == "full"
        config = LmdisConfig.preset(self.presets[not full])
        config = replace(config, **{} if full else dict(self.changes))
        config = replace(config, landmarks=cell.landmarks)
        if cell.landmarks > 20:  # table 7: more landmarks, closer together
            half = config.weight_separation / 2
            config = replace(config, separation=0.04, weight_separation=half)
        for term, factor in cell.factors:
            name = f"weight_{term}"
            config = replace(config, **{name: factor * getattr(config, name)})
        if cell.share is not None:
            config = replace(config, landmark_share=cell.share)
        if "unstaged" in cell.changes:
            raised = (0.0,) * len(config.raised)
            config = replace(config, raised=raised)
        if "paper-warp" in cell.changes:
            config = replace(config, scale=1.25, shift=0.15)
        if "flow" not in cell.changes:
            config = replace(config, weight_flow=0.0)
        weight = config.weight_motion or 2000.0
        return replace(config, weight_motion=weight * ("motion" in cell.changes))


# --- training -------------------------------------------------------------------------


def train_cell(problem: Problem, setting: str, seed: int):
    """Train one cell; returns the network and what a row says about the training."""
    import torch

    from lmlib.geometry import Warp
    from lmlib.methods.lmdis import Lmdis
    from lmlib.training import fit

    class Others(Warp):
        """Shows each image warped as its neighbour says it was."""

        def __init__(self, warp):
            self.warp, self.batch, self.backward = warp, warp.batch, warp.backward

        def image(self, x, **options):
            return self.warp.image(x.roll(1, 0), **options).roll(-1, 0)

    class WrongWarp(Lmdis):
        def _warp(self, canvas):
            return Others(super()._warp(canvas))

    cell = Cell.read(setting)
    config = problem.config(cell)
    steps = budget(quick=2, class_=problem.steps, full=config.steps)
    steps = steps * 5 // 2 if "long" in cell.changes else steps
    steps = steps * 7 if "gallery" in cell.changes else steps
    data = training_data(problem, cell, config.size)
    torch.manual_seed(seed + 1000 * ("twin" in cell.changes))
    if cell.sparse:
        method, schedule, before, lr = _sparse(config, steps)
    else:
        method = (WrongWarp if "wrong-warp" in cell.changes else Lmdis)(config)
        lr = config.lr

        def schedule(step):
            return method.rate(step, steps)

        def before(step):
            method.advance(step / steps)

    def prepare(batch):
        if "wrong-flow" in cell.changes:
            batch = batch | {"flow": batch["flow"].roll(1, 0)}
        return batch

    if "untrained" in cell.changes:
        steps = 0
    else:
        fit(
            method,
            data,
            data.indices,
            steps,
            batch_size=config.batch_size,
            lr=lr,
            schedule=schedule,
            before=before,
            prepare=prepare,
            seed=seed + 1000 * ("twin" in cell.changes),
            checkpoint=run_file(problem.name, setting, seed),
            save_every=100,
            progress=False,
        )
    extra = {"n_train": len(data), "size": config.size, "batch": config.batch_size}
    return method.cpu(), {"steps": steps, "extra": extra}


def _sparse(config, steps: int):
    """The earlier method, on images of the same size."""
    from lmlib.methods.dve import DveConfig
    from lmlib.methods.dve_baselines import SparseLandmarks
    from lmlib.training import constant_then_decay

    small = replace(
        DveConfig.smallnet_class(),
        channels=config.landmarks,
        frame=config.size,
        size=config.size,
        auxiliaries=0,
    )
    # On 20 x 20 cells a diversity of 30, or 8, freezes the landmarks: apart, but in the
    # same place in every image. With 1 they follow the face, and half of them meet.
    method = SparseLandmarks(small, diversity=1.0, pooling=3)
    return method, constant_then_decay(steps, small.decay), None, small.lr


def training_data(problem: Problem, cell: Cell, size: int):
    """The training images, drawn once and kept."""
    train = problem.train
    train = budget(quick=train[:32], class_=train, full=range(20 * len(train)))
    video = {"video": True} if "flow" in cell.changes else {}
    return _drawn(problem.name, size, train, **cell.options, **video)


@cache
def _drawn(name: str, size: int, indices: range, **options):
    return PROBLEMS[name].images(size, indices, **options)


def run_cell(problem: Problem, setting: str, seed: int) -> dict:
    """Train and measure one cell; some networks of seed 0 ship with the course."""

    def measured(method):
        return measure(problem, method, Cell.read(setting))

    return cells.run(problem, setting, seed, train_cell, measured, KEPT)


def load_cell(experiment: str, setting: str):
    """The trained network of a cell that ships with the course, ready to use."""
    from lmlib.methods.lmdis import Lmdis

    def build(budget):
        return Lmdis(PROBLEMS[experiment].config(Cell.read(setting), budget))

    return cells.load(experiment, setting, build)


# --- the data sets --------------------------------------------------------------------


def face_images(size: int, indices: range):
    """CelebA's stand-in: five landmarks; drawn larger, and the middle cut out."""
    from lmlib.samples import Stored
    from lmscenes import Faces
    from lmscenes.faces import five_points

    frame = size * 5 // 4  # 100 to 80 pixels
    scene = Faces(frame, yaw=20, pitch=10, roll=10)
    data = Stored(scene, indices, ("attributes",)).all
    edge = (frame - size) // 2
    image = data["image"][..., edge : edge + size, edge : edge + size].contiguous()
    points = five_points(data["landmarks"]) * (frame / size)
    return _stored(image, points, attributes=data["attributes"])


def animal_images(size: int, indices: range):
    """Heads of six species: eyes, nose, mouth and ears."""
    from lmlib.samples import Stored
    from lmscenes import Animals

    data = Stored(Animals(size), indices).all
    return _stored(data["image"], data["landmarks"], visible=data["visible"])


def car_images(size: int, indices: range):
    """Cars in profile, squashed from 2 to 1 into a square."""
    from lmlib.samples import Stored
    from lmscenes import Cars

    data = Stored(Cars(size, aspect=2), indices).all
    return _stored(data["image"], data["landmarks"])


def walker_images(size: int, indices: range, video: bool = False):
    """People on the move, before gray as in the paper; for a video also the frame that
    follows, and the flow to it."""
    from lmlib.samples import Stored
    from lmscenes import Walkers

    # Ten frames apart, as in the paper, of those who move about.
    scene = Walkers(size, stride=10, actions=("walk", "turn", "wave"))
    step = 7  # not every frame of a film
    indices = range(indices.start * step, indices.stop * step, step)
    keys = ("mask", "image2", "mask2", "flow") if video else ("mask",)
    data = Stored(scene, indices, keys, draw=scene.pair if video else None).all
    more = {"flow": data["flow"], "image2": _gray(data, "2")} if video else {}
    return _stored(_gray(data), data["landmarks"], **more)


def _gray(data, which: str = ""):
    """The image without its background."""
    mask = data["mask" + which]
    return data["image" + which] * mask + 0.5 * (1 - mask)


def digit_images(size: int, indices: range, digit: int | None = None):
    """scikit-learn's handwritten digits, 8 x 8 pixels, enlarged; 1,797 in all.

    ``indices`` count the images of the chosen digit, or of all.
    """
    import torch
    import torch.nn.functional as F
    from sklearn.datasets import load_digits

    digits = load_digits()
    chosen = digits.target == digit if digit is not None else digits.target >= 0
    order = torch.randperm(
        int(chosen.sum()), generator=torch.Generator().manual_seed(0)
    )
    picked = order[[i % len(order) for i in indices]]
    image = torch.from_numpy(digits.images[chosen]).float()[picked, None] / 16
    inside = (size - 2 * round(size / 14), size - 2 * round(size / 14))  # 24 of 28
    image = F.interpolate(image, inside, mode="bicubic", align_corners=False)
    image = F.pad(image.clamp(0, 1), (round(size / 14),) * 4)
    label = torch.from_numpy(digits.target[chosen])[picked]
    return _stored(image, torch.zeros(len(image), 1, 2), label=label)


def mnist_images(size: int, indices: range, digit: int | None = None):
    """MNIST, where the files are present: training images up to 60,000, then tests.

    Of one digit there are a tenth as many, so numbers go round.
    """
    import torch

    from lmlib.datasets.idx import Idx

    if size != 28:
        raise ValueError(f"MNIST has 28 pixels a side, the network wants {size}")
    test = indices.start >= 60_000
    part = Idx("test" if test else "train")
    rows = torch.tensor(part.indices)
    if digit is not None:
        rows = rows[part.labels == digit]
    chosen = rows[(torch.tensor(indices) - 60_000 * test) % len(rows)]
    batch = part.batch(chosen)
    return _stored(batch["image"], torch.zeros(len(chosen), 1, 2), label=batch["label"])


def photographs(size: int, indices: range):
    """CelebA to learn from (from 0 on), MTFL to measure on (from 100,000 on)."""
    from lmcourse.experiments.photographs import celeba_faces, mtfl_faces

    if indices.start < 100_000:
        return celeba_faces(size).subset(indices)
    own = range(indices.start - 100_000, indices.stop - 100_000)
    batch = mtfl_faces(size).batch(own)
    return _stored(batch["image"], batch["landmarks"])


def _stored(image, points, visible=None, **more):
    import torch

    from lmlib.samples import Stored

    if visible is None:
        visible = torch.ones(points.shape[:2], dtype=torch.bool)
    return Stored.of({"image": image, "landmarks": points, "visible": visible, **more})


# --- what is measured -----------------------------------------------------------------


def measure(problem: Problem, method, cell: Cell) -> dict[str, float]:
    """Everything the module's docstring lists, on images never trained on."""
    import torch

    from lmlib.training import recompute_statistics

    config = problem.config(cell)
    train = training_data(problem, cell, config.size)
    labelled, test = (
        _drawn(problem.name, config.size, few(indices), **cell.options)
        for indices in (problem.labelled, problem.test)
    )
    points_of = partial(in_chunks, method.eval().landmarks)
    measured = {}
    with torch.no_grad():
        if problem.error:
            seen = points_of(labelled.all["image"]), points_of(test.all["image"])
            measured["error_running"] = problem.error(*seen, labelled, test)
        batches = budget(quick=1, class_=30, full=500)
        recompute_statistics(method, train, train.indices, batches)
        method.eval()
        known, found = (points_of(data.all["image"]) for data in (labelled, test))
        if problem.error:
            measured |= errors(problem.error, known, found, labelled, test)
        measured |= behaviour(method, config, test.all["image"], found)
        if not cell.sparse:
            measured |= drawing(method, test.all["image"])
        if problem.mouth and not cell.sparse:
            measured |= following(method, test, list(problem.mouth))
        if "label" in test.all and cell.digit is None:
            measured["digits_read"] = digits_read(known, found, labelled, test)
    return measured


def few(indices: range) -> range:
    return budget(quick=indices[:24], class_=indices, full=indices)


def in_chunks(function: Callable, images, chunk: int = 100):
    import torch

    return torch.cat([function(part) for part in images.split(chunk)])


def errors(error: Callable, known, found, labelled, test) -> dict[str, float]:
    """Regression from all labelled images, and from few (figure 38)."""
    import torch

    values = {
        "error": error(known, found, labelled, test),
        "error_bias": error(known, found, labelled, test, bias=True),
    }
    for count in LABELS:
        draws = []
        for draw in range(DRAWS):
            order = torch.randperm(
                len(known), generator=torch.Generator().manual_seed(draw)
            )
            rows = order[:count]
            draws.append(
                error(known[rows], found, labelled, test, rows=rows, ridge=0.01)
            )
        values[f"error_{count}"] = sum(draws) / len(draws)
    return values


def distance_error(
    ends: tuple[int, int], known, found, labelled, test, rows=None, **fit
):
    """Percent of the distance of two annotated landmarks."""
    from lmlib.evaluation import LandmarkRegression, nme

    fit.setdefault("bias", False)
    truth, visible = (labelled.all[k] for k in ("landmarks", "visible"))
    if rows is not None:
        truth, visible = truth[rows], visible[rows]
        visible = visible | ~visible.any(dim=0)  # few images may hide one everywhere
    regression = LandmarkRegression(**fit).fit(known, truth, visible)
    answer = test.all["landmarks"], test.all["visible"]
    predicted = regression.predict(found)
    return 100 * nme(
        predicted, *answer, normaliser="points", points=ends, drop_unusable=True
    )


def body_error(known, found, labelled, test, rows=None, bias=False, ridge=0.0):
    """Percent of the image's edge, left and right as they fit (appendix C)."""
    from lmlib.evaluation import FlipInvariantRegression, LandmarkRegression
    from lmscenes import Walkers

    truth = labelled.all["landmarks"]
    truth = truth if rows is None else truth[rows]
    swap = list(Walkers.swap)
    left = [i for i, name in enumerate(Walkers.names) if name.startswith("left")]
    regression = FlipInvariantRegression(swap, left, ridge)
    if bias:
        regression.regression = LandmarkRegression(ridge=ridge)
    if not regression.frontal(truth).any():
        truth = truth[:, swap]
    regression.fit(known, truth)
    return 50 * regression.errors(found, test.all["landmarks"]).mean().item()


def behaviour(method, config, images, points) -> dict[str, float]:
    """Do the landmarks keep apart, move, and move with the image?"""
    import torch

    from lmlib.warps import lmdis_warp

    places = 50 * points  # percent of the edge
    centres = places.mean(0)
    gaps = torch.cdist(places, places)
    gaps.diagonal(dim1=1, dim2=2).fill_(float("inf"))
    generator = torch.Generator().manual_seed(0)
    warp = lmdis_warp(len(images), generator, 1.12, 10.0, 0.15, 0.05)
    seen = in_chunks(method.landmarks, warp.image(images, padding="border"))
    inside = (seen.abs() < 0.95).all(-1) & (points.abs() < 0.95).all(-1)
    off = 50 * (warp.backward(seen) - points).norm(dim=-1)
    return {
        "constellation": (centres - centres.mean(0)).norm(dim=-1).mean().item(),
        "movement": (places - centres).norm(dim=-1).mean().item(),
        "collapsed": (gaps.amin(-1) < 3).float().mean().item(),
        "equivariance": (off[inside] if inside.any() else off).mean().item(),
    }


def drawing(method, images) -> dict[str, float]:
    """How well the decoder draws, and whether it obeys."""
    points, vectors = method.encode(images)
    drawn = method.decode(points, vectors)
    other = points.roll(1, 0)
    edited = method.decode(other, vectors)
    again = method.landmarks(edited)
    wanted, moved = ((x - other).norm(dim=-1).mean() for x in (again, points))
    measured = {
        "reconstruction": (drawn - images).square().mean().item(),
        "moved": (wanted / moved.clamp(min=1e-6)).item(),
    }
    if vectors is None:  # without vectors there is nothing to keep
        return measured
    colour, own, others = (x.mean((2, 3)) for x in (edited, drawn, drawn.roll(1, 0)))
    kept, taken = ((colour - x).norm(dim=-1).mean() for x in (own, others))
    return measured | {"kept": (kept / taken.clamp(min=1e-6)).item()}


def following(method, test, mouth: list[int]) -> dict[str, float]:
    """Do drawn mouths go where they are asked to? And how good are drawings, in dB?"""
    images = test.all["image"]
    points, vectors = method.encode(images)
    error = (method.decode(points, vectors) - images).square().mean((1, 2, 3))
    centre = test.all["landmarks"][:, mouth].mean((0, 1))
    near = (points.mean(0) - centre).norm(dim=-1).argsort()[:3]
    measured = {"psnr": (-10 * error.log10()).mean().item()}
    for name, sign in (("follows_down", 1), ("follows_up", -1)):
        wanted = points.clone()
        wanted[:, near, 1] += sign * ASKED
        again = method.landmarks(method.decode(wanted, vectors))
        gone = (again - points)[:, near, 1].mean()
        measured[name] = (sign * gone / ASKED).item()
    return measured


def digits_read(known, found, labelled, test) -> float:
    """Share of test digits that a linear classifier reads from the landmarks alone."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=2000, C=10)
    model.fit(known.flatten(1).numpy(), labelled.all["label"].numpy())
    return float(model.score(found.flatten(1).numpy(), test.all["label"].numpy()))


def metrics(problem: Problem, cell: Cell) -> tuple[str, ...]:
    """What ``measure`` returns for a cell."""
    names = ["constellation", "movement", "collapsed", "equivariance"]
    if problem.error:
        names += ["error_running", "error", "error_bias"]
        names += [f"error_{count}" for count in LABELS]
    if not cell.sparse:
        names += ["reconstruction", "moved"]
        if problem.mouth:
            names += ["psnr", "follows_down", "follows_up"]
    if problem.error:
        names += [] if cell.sparse else ["kept"]
    elif cell.digit is None:
        names += ["digits_read"]
    return tuple(names)


# --- the tables -----------------------------------------------------------------------

PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem(
            "lmdis-faces",
            "Tables 1 and 5, figures 10 and 38: faces",
            face_images,
            range(1000),
            range(50_000, 50_500),
            range(100_000, 100_200),
            600,
            ("celeba10", "faces_class"),
            {
                "K10": 3,
                "K10,untrained": 1,
                **{f"K10,no-{term}": 3 for term in reversed(TERMS)},
                "K10,twin": 1,
                "K30": 1,
                "K10,wrong-warp": 1,
                "K5": 1,
                "K10,landmarks=0": 3,
                "K10,unstaged": 1,
                "sparse-K10": 1,
                "K10,long": 1,
                "K20": 1,
                **{f"K10,landmarks={tenths}": 1 for tenths in (7, 9, 5, 1)},
                "K10,paper-warp": 1,
                **{f"K10,{term}=5": 1 for term in TERMS},
            },
            partial(distance_error, (0, 1)),
        ),
        Problem(
            "lmdis-faces64",
            "Figure 10 and tables 1 and 5 with a decoder that draws: faces of 64 px",
            face_images,
            range(6000),
            range(50_000, 50_500),
            range(100_000, 100_300),
            1500,
            ("celeba10", "faces64"),
            {
                "K10,gallery": 1,
                "K30,gallery": 1,
                "K10": 3,
                **{f"K10,no-{term}": 3 for term in reversed(TERMS)},
                "K10,untrained": 1,
                "K10,landmarks=0": 3,
                "K30": 1,
                "K10,twin": 1,
            },
            partial(distance_error, (0, 1)),
            mouth=(3, 4),
        ),
        Problem(
            "lmdis-celeba",
            "Tables 1 and 5 on photographs: CelebA to learn, MTFL to measure",
            photographs,
            range(10_000),
            range(100_000, 103_151),
            range(103_151, 104_151),
            1500,
            ("celeba10", "faces_class"),
            dict.fromkeys(
                ("K10", "K10,untrained", "K30", "K10,long", "K10,no-separation"), 1
            ),
            partial(distance_error, (0, 1)),
        ),
        Problem(
            "lmdis-walkers",
            "Table 4 and appendix C: people on the move, with flow and without",
            walker_images,
            range(1000),
            range(50_000, 50_400),
            range(100_000, 100_200),
            400,
            ("human16", "faces_class"),
            {
                "K16,flow,motion": 1,
                "K16": 1,
                "K16,flow": 1,
                "K16,flow,motion,wrong-flow": 1,
                "K16,untrained": 1,
            },
            body_error,
        ),
        Problem(
            "lmdis-cars",
            "Table 2: cars in profile, 567 of them",
            car_images,
            range(567),
            range(50_000, 50_400),
            range(100_000, 100_200),
            400,
            ("car10", "faces_class"),
            {"K10": 1, "K10,untrained": 1, "K24": 1},
            partial(distance_error, (0, 1)),
            (("aspect", 2.0),),
        ),
        Problem(
            "lmdis-animals",
            "Table 2: heads of six species of animals",
            animal_images,
            range(1000),
            range(50_000, 50_500),
            range(100_000, 100_200),
            400,
            ("cat10", "faces_class"),
            {"K10": 1, "K10,untrained": 1, "K20": 1},
            partial(distance_error, (0, 1)),
        ),
        Problem(
            "lmdis-digits",
            "Appendix B: digits from seven points and nothing else",
            digit_images,
            range(1200),
            range(1200),
            range(1200, 1797),
            500,
            ("mnist7", "digits_class"),
            {"K7": 1, "K7,untrained": 1, "K7,no-reconstruction": 1}
            | {f"K7,digit={n}": 1 for n in range(10)},
        ),
        Problem(
            "lmdis-mnist",
            "Appendix B on MNIST itself, where its files are present",
            mnist_images,
            range(10_000),
            range(50_000, 60_000),
            range(60_000, 70_000),
            500,
            ("mnist7", "digits_class"),
            {"K7": 1, "K7,untrained": 1} | {f"K7,digit={n}": 1 for n in range(10)},
        ),
    )
}
KEPT: dict[str, tuple[str, ...]] = {
    "lmdis-faces": ("K10", "K10,long", "K30", *(f"K10,no-{term}" for term in TERMS)),
    "lmdis-faces64": (),
    "lmdis-walkers": ("K16,flow,motion",),
    "lmdis-cars": ("K10",),
    "lmdis-animals": ("K10",),
    "lmdis-digits": ("K7", *(f"K7,digit={digit}" for digit in range(10))),
    "lmdis-celeba": (),  # no network trained on photographs may ship
    "lmdis-mnist": (),
}


def runs(problem: Problem) -> Iterator[Run]:
    """Every setting of seed 0 first, then seed 1, ..."""
    return cells.runs(
        problem, run_cell, lambda setting: metrics(problem, Cell.read(setting))
    )


TABLES = tuple(
    Table(problem.name, problem.about, lambda problem=problem: [*runs(problem)])
    for problem in PROBLEMS.values()
)
