"""The course's commands of ``lmlib``: ``doctor``, ``reproduce`` and ``claims``.

Heavy imports happen inside, so that ``lmlib --help`` answers at once.
"""

import argparse
import json
import math
import os
from fnmatch import fnmatchcase
from pathlib import Path

from lmcourse.budget import BUDGETS, current_budget
from lmlib.texts import positive


def doctor(commands) -> None:
    add = commands.add_parser("doctor", help="is this machine ready, and what mends it")
    add.set_defaults(function=_doctor)


def _doctor(arguments) -> int:
    from lmcourse.doctor import examine, report

    printed, ready = report(examine())
    print(printed)
    return 0 if ready else 1


def reproduce(commands) -> None:
    about = "do the runs of a table that have no rows yet; stop and resume at will"
    add = commands.add_parser("reproduce", help=about, description=about)
    add.add_argument("table", nargs="?", help="name of the table; see --list")
    add.add_argument("--list", action="store_true", help="tables and their progress")
    add.add_argument("--seeds", type=_seeds, help="only these seeds, such as 0,1,2")
    about = "only settings that match, such as '*@5' (may be given several times)"
    add.add_argument("--only", action="append", metavar="PATTERN", help=about)
    add.add_argument("--budget", choices=BUDGETS, help="instead of LMLIB_BUDGET")
    about = "what is worth running next, most useful first, and how long it takes"
    add.add_argument("--plan", action="store_true", help=about)
    about = "do what the plan says for that long, from a clean checkout, and stop in "
    about += "time; several may share the work"
    add.add_argument("--hours", type=_hours, metavar="H", help=about)
    about = "with --hours: so many runs at once (default: 1)"
    add.add_argument("--jobs", type=positive, default=1, metavar="N", help=about)
    about = "train up to N networks of one shape at once, which fills a GPU (Seq-MT)"
    add.add_argument("--stack", type=positive, default=1, metavar="N", help=about)
    add.set_defaults(function=_reproduce)


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected whole numbers like 0,1,2, got {text!r}"
        ) from None


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 < hours < math.inf:
        raise argparse.ArgumentTypeError(f"expected hours such as 2.5, got {text!r}")
    return hours


def _tables() -> dict:
    from lmcourse.experiments import TABLES

    return TABLES


def _reproduce(arguments) -> int:
    from lmcourse.evidence.results import missing_runs, run_missing

    if arguments.budget:  # before the experiments are imported: they may ask for it
        os.environ["LMLIB_BUDGET"] = arguments.budget
    current_budget()
    if arguments.plan or arguments.hours:
        return _plan(arguments)
    tables = _tables()
    if arguments.list:
        return _list(tables)
    runs = _chosen_runs(arguments, tables)
    together = tables[arguments.table].together
    if arguments.stack > 1:
        if together is None:
            raise ValueError(f"the networks of {arguments.table} cannot be stacked")
        ready = together(missing_runs(runs), arguments.stack)
        trained = {run.name: run for run in ready}
        runs = [trained.get(run.name, run) for run in runs]
    rows = run_missing(runs)
    for row in rows:
        where = f"{row.experiment}/{row.setting} seed {row.seed}"
        print(f"{where}: {row.metric} {row.value:g}")
    print(_progress(runs, rows, missing_runs(runs)))
    return 0


def _progress(runs: list, rows: list, missing: list) -> str:
    """How far the table is; what is missing now, another process is doing."""
    fresh = len({(row.experiment, row.setting, row.seed) for row in rows})
    count, done = len(runs), len(runs) - len(missing)
    of = f"of {count} " if missing else ""
    words = f"{done} {of}run{'s' if count > 1 else ''} done, {fresh} of them now"
    if missing:
        words += f", {len(missing)} in the hands of another process"
    return f"{words} ({current_budget()})"


def _list(tables: dict) -> int:
    from lmcourse.evidence.results import missing_runs

    for table in tables.values():
        runs = table.runs()
        done = f"{len(runs) - len(missing_runs(runs))}/{len(runs)} runs done"
        print(f"{table.name}  {done} ({current_budget()})  {table.description}")
    return 0


def _chosen_runs(arguments, tables: dict) -> list:
    """The table's runs that ``--seeds`` and ``--only`` leave."""
    if arguments.table not in tables:
        raise ValueError(
            f"no table {arguments.table!r}; choose from {', '.join(tables)} "
            "(`lmlib reproduce --list` describes them)"
        )
    runs = tables[arguments.table].runs()
    seeds = {run.seed for run in runs}
    wanted = seeds if arguments.seeds is None else set(arguments.seeds)
    for seed in sorted(wanted - seeds):
        raise ValueError(
            f"{arguments.table} has no seed {seed}; its seeds are {sorted(seeds)}"
        )
    runs = [run for run in runs if run.seed in wanted]
    if not arguments.only:
        return runs
    chosen = [
        run
        for run in runs
        if any(fnmatchcase(run.setting, pattern) for pattern in arguments.only)
    ]
    if not chosen:
        names = dict.fromkeys(run.setting for run in runs)
        raise ValueError(
            f"no setting of {arguments.table} matches {arguments.only}; "
            f"they are {', '.join(names)}"
        )
    return chosen


def _plan(arguments) -> int:
    if arguments.table:
        raise ValueError("the plan is of all tables: leave out the table's name")
    from lmcourse.evidence import plan

    if arguments.hours is None:
        print(plan.text(plan.Planner(_tables(), plan.this_make())))
        return 0
    plan.threads_of(arguments.jobs)
    failed = plan.work(_tables, arguments.hours, arguments.jobs)
    return 1 if failed else 0


def claims(commands) -> None:
    add = commands.add_parser("claims", help="the papers' claims, judged from the rows")
    form = add.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="machine-readable")
    form.add_argument("--markdown", action="store_true", help="as a Markdown table")
    files = {"nargs": "*", "type": Path, "metavar": "FILE"}
    about = "exit 1 if a claims block in these files disagrees with the rows "
    about += "(default: every Markdown file and notebook that holds one)"
    form.add_argument("--check", help=about, **files)
    form.add_argument("--write", help="update those blocks", **files)
    about = "draw the README's claims, ours beside the paper's, as a PNG"
    form.add_argument("--figure", type=Path, metavar="FILE", help=about)
    add.set_defaults(function=_claims)


def _claims(arguments) -> int:
    from lmcourse.evidence import blocks
    from lmcourse.evidence.claims import judge_all
    from lmlib.places import repository_root

    verdicts = judge_all(tables=_tables())
    if arguments.check is not None or arguments.write is not None:
        write = arguments.write is not None
        paths = arguments.check or arguments.write
        paths = paths or blocks.files_with_blocks(repository_root())
        stale = blocks.stale_blocks(paths, verdicts, write=write)
        for path in stale:
            print(f"updated {path}" if write else f"{path} disagrees with the rows")
        if stale and not write:
            print("`lmlib claims --write` brings them up to date")
            return 1
        print(f"{len(paths)} file(s) agree with the rows")
    elif arguments.figure:
        from lmcourse.evidence.forest import save_forest

        save_forest(arguments.figure, verdicts=verdicts)
        print(f"{arguments.figure} shows what the rows say")
    elif arguments.json:
        print(json.dumps([v.as_dict() for v in verdicts], indent=2, ensure_ascii=False))
    else:
        print((blocks.markdown if arguments.markdown else blocks.text)(verdicts))
    return 0
