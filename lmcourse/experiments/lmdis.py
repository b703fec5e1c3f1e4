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
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from sklearn.linear_model import LogisticRegression

from lmcourse.budget import budget, current_budget
from lmcourse.experiments import cells
from lmcourse.experiments.cells import few
from lmcourse.experiments.cells import in_chunks as in_chunks
from lmcourse.experiments.cells import kept_file as kept_file  # for the notebooks
from lmcourse.experiments.cells import load_cell as load_cell
from lmcourse.experiments.lmdis_images import (
    animal_images,
    car_images,
    mnist_images,
    photographs,
)
from lmcourse.experiments.lmdis_images import (
    digit_images as digit_images,
)
from lmcourse.experiments.lmdis_images import (
    face_images as face_images,
)
from lmcourse.experiments.lmdis_images import (
    walker_images as walker_images,
)
from lmlib.evaluation import FlipInvariantRegression, LandmarkRegression, nme
from lmlib.geometry import Warp
from lmlib.methods.dve import DveConfig
from lmlib.methods.dve_baselines import SparseLandmarks
from lmlib.methods.lmdis import Lmdis, LmdisConfig
from lmlib.samples import Stored
from lmlib.training import recompute_statistics
from lmlib.warps import lmdis_warp
from lmscenes import Walkers

TERMS = ("reconstruction", "concentration", "separation", "equivariance")
CHANGES = {
    "long": "two and a half times the steps",
    "gallery": "four times the steps: hours, for networks to look at",
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


@dataclass(frozen=True, kw_only=True)
class Problem(cells.Problem):
    """A data set with its splits, and how landmarks on it are measured."""

    images: Callable  # (size, indices) -> Stored; digits: digit=, people: video=
    train_on: range
    labelled: range  # for the regression
    test: range
    steps: int  # of the class budget
    presets: tuple[str, str]  # of LmdisConfig: full and class budget
    error: Callable | None = None  # (regression inputs) -> percent; None: no labels
    changes: tuple[tuple[str, object], ...] = ()  # on the class preset
    mouth: tuple[int, ...] = ()  # annotated landmarks of what is asked to move

    def config(self, cell: Cell, budget: str | None = None) -> LmdisConfig:
        """The configuration of a cell under a budget, the current one by default."""
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
            at_once = tuple((0.0, factor) for _, factor in config.raised)
            config = replace(config, raised=at_once)
        if "paper-warp" in cell.changes:
            config = replace(config, scale=1.25, shift=0.15)
        if "flow" not in cell.changes:
            config = replace(config, weight_flow=0.0)
        weight = config.weight_motion or 2000.0
        return replace(config, weight_motion=weight * ("motion" in cell.changes))

    def steps_of(self, cell: Cell) -> int:
        """Steps of a training under the current budget."""
        if "untrained" in cell.changes:
            return 0
        steps = budget(quick=2, class_=self.steps, full=self.config(cell).steps)
        steps = steps * 5 // 2 if "long" in cell.changes else steps
        return steps * 4 if "gallery" in cell.changes else steps

    def images_for(self, cell: Cell, size: int, indices: range) -> Stored:
        """Images drawn once and kept."""
        return drawn(self.images, size, indices, **cell.options)

    def training_data(self, cell: Cell, size: int) -> Stored:
        """The training images, drawn once and kept."""
        train = self.train_on
        train = budget(quick=train[:32], class_=train, full=range(20 * len(train)))
        video = {"video": True} if "flow" in cell.changes else {}
        return drawn(self.images, size, train, **cell.options, **video)

    def train(self, setting: str, seed: int):
        """The trained network of a cell, and what rows say of the training."""
        cell = Cell.read(setting)
        config, steps = self.config(cell), self.steps_of(cell)
        data = self.training_data(cell, config.size)
        seed_of = seed + 1000 * ("twin" in cell.changes)
        torch.manual_seed(seed_of)
        method, options = network(cell, config), {}
        if "wrong-flow" in cell.changes:
            options["prepare"] = wrong_flow
        self.fit(
            method, data, data.indices, steps, (setting, seed), seed=seed_of, **options
        )
        extra = {"n_train": len(data), "size": config.size, "batch": config.batch_size}
        return method.cpu(), {"steps": steps, "extra": extra}

    def measure(self, method, setting: str) -> dict[str, float]:
        """Everything the module's docstring lists, on images never trained on."""
        cell = Cell.read(setting)
        config = self.config(cell)
        train = self.training_data(cell, config.size)
        labelled, test = (
            self.images_for(cell, config.size, few(indices))
            for indices in (self.labelled, self.test)
        )
        points_of = partial(in_chunks, method.eval().landmarks)
        measured = {}
        with torch.no_grad():
            if self.error:
                seen = points_of(labelled.all["image"]), points_of(test.all["image"])
                measured["error_running"] = self.error(*seen, labelled, test)
            batches = budget(quick=1, class_=30, full=500)
            recompute_statistics(method, train, train.indices, batches)
            method.eval()
            known, found = (points_of(data.all["image"]) for data in (labelled, test))
            if self.error:
                measured |= errors(self.error, known, found, labelled, test)
            measured |= behaviour(method, config, test.all["image"], found)
            if not cell.sparse:
                measured |= drawing(method, test.all["image"])
            if self.mouth and not cell.sparse:
                measured |= following(method, test, list(self.mouth))
            if "label" in test.all and cell.digit is None:
                measured["digits_read"] = digits_read(known, found, labelled, test)
        return measured

    def metrics(self, setting: str) -> tuple[str, ...]:
        """What ``measure`` returns for a setting."""
        cell = Cell.read(setting)
        names = ["constellation", "movement", "collapsed", "equivariance"]
        if self.error:
            names += ["error_running", "error", "error_bias"]
            names += [f"error_{count}" for count in LABELS]
        if not cell.sparse:
            names += ["reconstruction", "moved"]
            names += ["psnr", "follows_down", "follows_up"] if self.mouth else []
        if self.error:
            names += [] if cell.sparse else ["kept"]
        elif cell.digit is None:
            names += ["digits_read"]
        return tuple(names)


# --- networks, whole and broken -------------------------------------------------------


def network(cell: Cell, config: LmdisConfig):
    """The untrained network of a cell; its weights come from torch's global seed."""
    if cell.sparse:
        return sparse(config)
    return (WrongWarp if "wrong-warp" in cell.changes else Lmdis)(config)


def sparse(config: LmdisConfig) -> SparseLandmarks:
    """The earlier method (Thewlis et al. 2017), on images of the same size.

    On 20 x 20 cells a diversity of 30, or 8, freezes the landmarks: apart, but in the
    same place in every image. With 1 they follow the face, and half of them meet.
    """
    small = replace(
        DveConfig.smallnet_class(),
        channels=config.landmarks,
        frame=config.size,
        size=config.size,
        auxiliaries=0,
    )
    return SparseLandmarks(small, diversity=1.0, pooling=3)


class Others(Warp):
    """Shows each image warped as its neighbour says it was."""

    def __init__(self, warp):
        self.warp, self.batch, self.backward = warp, warp.batch, warp.backward

    def image(self, x, **options):
        return self.warp.image(x.roll(1, 0), **options).roll(-1, 0)


class WrongWarp(Lmdis):
    """Is told of another image's warp: the control of equivariance."""

    def warp(self, canvas):
        return Others(super().warp(canvas))


def wrong_flow(batch):
    """Where a pixel went, taken from another video: the control of flow."""
    return batch | {"flow": batch["flow"].roll(1, 0)}


@cache
def drawn(images: Callable, size: int, indices: range, **options) -> Stored:
    """Images of a data set, drawn once and kept."""
    return images(size, indices, **options)


# --- what is measured -----------------------------------------------------------------


def errors(error: Callable, known, found, labelled, test) -> dict[str, float]:
    """Regression from all labelled images, and from few (figure 38)."""
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
    model = LogisticRegression(max_iter=2000, C=10)
    model.fit(known.flatten(1).numpy(), labelled.all["label"].numpy())
    return float(model.score(found.flatten(1).numpy(), test.all["label"].numpy()))


# --- the tables -----------------------------------------------------------------------

PROBLEMS = cells.by_name(
    Problem(
        name="lmdis-faces",
        about="Tables 1 and 5, figures 10 and 38: faces",
        images=face_images,
        train_on=range(1000),
        labelled=range(50_000, 50_500),
        test=range(100_000, 100_200),
        steps=600,
        presets=("celeba10", "faces_class"),
        settings={
            "K10": 3,
            "K10,untrained": 3,
            **{f"K10,no-{term}": 3 for term in reversed(TERMS)},
            "K10,twin": 1,
            "K30": 3,
            "K10,wrong-warp": 1,
            "K5": 1,
            "K10,landmarks=0": 3,
            "K10,unstaged": 3,
            "sparse-K10": 3,
            "K10,long": 3,
            "K20": 1,
            **{f"K10,landmarks={tenths}": 3 for tenths in (7, 5)},
            **{f"K10,landmarks={tenths}": 1 for tenths in (9, 1)},
            "K10,paper-warp": 1,
            **{f"K10,{term}=5": 1 for term in TERMS},
        },
        error=partial(distance_error, (0, 1)),
        kept=("K10", "K10,long", "K30", *(f"K10,no-{term}" for term in TERMS)),
    ),
    Problem(
        name="lmdis-faces64",
        about="Figure 10 and tables 1 and 5 with a decoder that draws: faces of 64 px",
        images=face_images,
        train_on=range(6000),
        labelled=range(50_000, 50_500),
        test=range(100_000, 100_300),
        steps=1500,
        presets=("celeba10", "faces64"),
        settings={
            "K10,gallery": 1,
            "K30,gallery": 1,
            "K10": 3,
            **{f"K10,no-{term}": 3 for term in reversed(TERMS)},
            "K10,untrained": 1,
            "K10,landmarks=0": 3,
            "K30": 1,
            "K10,twin": 1,
        },
        error=partial(distance_error, (0, 1)),
        mouth=(3, 4),
        kept=("K10,gallery", "K30,gallery"),
    ),
    Problem(
        name="lmdis-celeba",
        about="Tables 1 and 5 on photographs: CelebA to learn, MTFL to measure",
        images=photographs,
        train_on=range(10_000),
        labelled=range(100_000, 103_151),
        test=range(103_151, 104_151),
        steps=1500,
        presets=("celeba10", "faces_class"),
        settings={
            **dict.fromkeys(("K10", "K10,untrained"), 3),
            **dict.fromkeys(("K30", "K10,long", "K10,no-separation"), 1),
        },
        error=partial(distance_error, (0, 1)),
    ),
    Problem(
        name="lmdis-walkers",
        about="Table 4 and appendix C: people on the move, with flow and without",
        images=walker_images,
        train_on=range(1000),
        labelled=range(50_000, 50_400),
        test=range(100_000, 100_200),
        steps=400,
        presets=("human16", "faces_class"),
        settings={
            "K16,flow,motion": 3,
            "K16": 3,
            "K16,flow": 1,
            "K16,flow,motion,wrong-flow": 1,
            "K16,untrained": 3,
        },
        error=body_error,
        kept=("K16,flow,motion",),
    ),
    Problem(
        name="lmdis-people64",
        about="Appendix C with a decoder that draws: people of 64 px on the move",
        images=walker_images,
        train_on=range(3000),
        labelled=range(50_000, 50_400),
        test=range(100_000, 100_200),
        steps=1500,
        presets=("human16", "people64"),
        settings={"K16,flow,motion,gallery": 1},
        error=body_error,
        kept=("K16,flow,motion,gallery",),
    ),
    Problem(
        name="lmdis-cars",
        about="Table 2: cars in profile, 567 of them",
        images=car_images,
        train_on=range(567),
        labelled=range(50_000, 50_400),
        test=range(100_000, 100_200),
        steps=400,
        presets=("car10", "faces_class"),
        settings={"K10": 3, "K10,untrained": 3, "K24": 1},
        error=partial(distance_error, (0, 1)),
        changes=(("aspect", 2.0),),
        kept=("K10",),
    ),
    Problem(
        name="lmdis-animals",
        about="Table 2: heads of six species of animals",
        images=animal_images,
        train_on=range(1000),
        labelled=range(50_000, 50_500),
        test=range(100_000, 100_200),
        steps=400,
        presets=("cat10", "faces_class"),
        settings={"K10": 3, "K10,untrained": 3, "K20": 1},
        error=partial(distance_error, (0, 1)),
        kept=("K10",),
    ),
    Problem(
        name="lmdis-digits",
        about="Appendix B: digits from seven points and nothing else",
        images=digit_images,
        train_on=range(1200),
        labelled=range(1200),
        test=range(1200, 1797),
        steps=500,
        presets=("mnist7", "digits_class"),
        settings={"K7": 3, "K7,untrained": 3, "K7,no-reconstruction": 1}
        | {f"K7,digit={n}": 1 for n in range(10)},
        kept=("K7", *(f"K7,digit={digit}" for digit in range(10))),
    ),
    Problem(
        name="lmdis-mnist",
        about="Appendix B on MNIST itself, where its files are present",
        images=mnist_images,
        train_on=range(10_000),
        labelled=range(50_000, 60_000),
        test=range(60_000, 70_000),
        steps=500,
        presets=("mnist7", "digits_class"),
        settings={"K7": 3, "K7,untrained": 3} | {f"K7,digit={n}": 1 for n in range(10)},
    ),
)
# No network trained on photographs may ship.
KEPT = {problem.name: problem.kept for problem in PROBLEMS.values()}
TABLES = tuple(problem.table() for problem in PROBLEMS.values())
