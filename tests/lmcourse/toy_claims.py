"""A toy claim, rows that reproduce it, and files of them: for the tests of evidence."""

from pathlib import Path

from lmcourse.evidence.results import Row

ROOT = Path(__file__).resolve().parents[2]

TOML = """
[[claim]]
id = "toy-1"
paper = "toy"
statement = "Labels teach places."
source = "table 1"
experiment = "toy"
metrics = { accuracy = "share", error = "px" }
effects = [
  { says = "the class is right", compare = "real:accuracy > 0.9", paper = [0.99] },
  { says = "with / without", compare = "real:error / none:error < 1", paper = [2, 4] },
]
[claim.control]
replace = { real = "shuffled" }
because = "shuffled labels say nothing"
"""

GOOD = {
    ("real", "accuracy"): [0.992, 0.996],
    ("real", "error"): [1.0, 1.2],
    ("none", "error"): [4.0, 4.4],
    ("shuffled", "accuracy"): [0.5, 0.52],
    ("shuffled", "error"): [4.1, 4.0],
}
AMD, INTEL = "cpu (AMD EPYC, 1 threads)", "cpu (Intel, 1 threads)"


def register(folder, toml=TOML):
    path = folder / "claims.toml"
    path.write_text(toml, encoding="utf-8")
    return path


def rows(values, budget="class", steps=100, device=AMD, first_seed=0):
    return [
        Row("toy", setting, seed, metric, value, steps, device, {}, None, 0.1,
            {"budget": budget})
        for (setting, metric), per_seed in values.items()
        for seed, value in enumerate(per_seed, start=first_seed)
    ]  # fmt: skip
