"""Honari et al. 2018 at the paper's sizes: networks trained for long.

Those of figures 10 to 12 are to be looked at; one of photographs is measured only.
"""

from dataclasses import replace
from functools import partial

from lmcourse.experiments import cells, seqmt
from lmcourse.experiments.seqmt import Problem
from lmcourse.experiments.seqmt_images import (
    eye_distances,
    hands,
    studio,
    wild,
    wrist_widths,
)

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
    Problem(
        name="seqmt-wild80",
        about="Figure 12: faces in the wild of 80 pixels, all of 4,000 with landmarks",
        train_on=(partial(wild, seed=0), range(4000)),
        tests={"": (partial(wild, seed=1), range(500))},
        preset="rcn_plus80",
        rcn="rcn_plus80",
        steps={100: 3000},
        error=eye_distances,
        settings={"RCN+(L)@100": 1},
        small=False,
        kept=("RCN+(L)@100",),
    ),
    replace(
        seqmt.PROBLEMS["seqmt-300w"],
        name="seqmt-300w64",
        about="Table 5 on photographs of 64 pixels: 300-W, as seqmt-300w's",
        preset="rcn_plus64",
        rcn="rcn_plus64",
        steps={100: 3000},
        settings={"RCN+(L)@100": 1, "RCN+(L,long)@100": 1},
        small=False,
    ),
)
# No network trained on photographs may ship.
KEPT = {problem.name: problem.kept for problem in PROBLEMS.values()}
TABLES = tuple(problem.table() for problem in PROBLEMS.values())
