"""Honari et al. 2018, figures 10 and 11: networks of the paper's 64 pixels, trained for
long, to be looked at."""

from functools import partial

from lmcourse.experiments import cells
from lmcourse.experiments.seqmt import Problem
from lmcourse.experiments.seqmt_images import eye_distances, hands, studio, wrist_widths

PROBLEMS = cells.by_name(
    Problem(
        name="seqmt-hands64",
        about="Figure 10: hands of 64 pixels, a fifth of 2,000 with landmarks",
        train_on=(partial(hands, seed=0, subjects=8), range(2000)),
        tests={"": (partial(hands, seed=1, subjects=4), range(540))},
        preset="hands64",
        steps={20: 3000},
        error=wrist_widths,
        settings={"Seq-MT(L+T+C)@20": 1},
        small=False,
        labels=("label",),
        balance="label",
        kept=("Seq-MT(L+T+C)@20",),
    ),
    Problem(
        name="seqmt-faces64",
        about="Figure 11: studio faces of 64 pixels, a fifth of 2,000 with landmarks",
        train_on=(partial(studio, seed=0, identities=60), range(2000)),
        tests={"": (partial(studio, seed=1, identities=60), range(600))},
        preset="multipie64",
        steps={20: 3000},
        error=eye_distances,
        settings={"Seq-MT(L+T+C)@20": 1},
        small=False,
        labels=("emotion", "camera"),
        balance="emotion",
        identities=60,
        kept=("Seq-MT(L+T+C)@20",),
    ),
)
KEPT = {problem.name: problem.kept for problem in PROBLEMS.values()}
TABLES = tuple(problem.table() for problem in PROBLEMS.values())
