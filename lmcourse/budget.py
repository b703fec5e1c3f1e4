"""How much to compute: ``LMLIB_BUDGET`` is quick, class (the default) or full.

And how exactly: ``LMLIB_PRECISION`` is float32 or bfloat16; see ``training.autocast``.
"""

import os
from typing import TypeVar

T = TypeVar("T")

BUDGETS = ("quick", "class", "full")


def current_budget() -> str:
    """The budget in force; ValueError if ``LMLIB_BUDGET`` holds anything else."""
    value = os.environ.get("LMLIB_BUDGET") or "class"
    if value not in BUDGETS:
        raise ValueError(f"LMLIB_BUDGET must be quick, class or full, got {value!r}")
    return value


def budget(*, quick: T, class_: T, full: T) -> T:
    """Pick one of three values: ``steps = budget(quick=5, class_=800, full=50_000)``.

    ``quick`` is for tests (seconds), ``class`` for a two-core laptop (at most two
    minutes a training cell), ``full`` for the paper's scale on a GPU. The code path is
    the same.
    """
    return {"quick": quick, "class": class_, "full": full}[current_budget()]
