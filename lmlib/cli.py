"""The command ``lmlib``: ``doctor``, ``reproduce``, ``claims``.

Bad input ends in one line on stderr and exit status 2; Ctrl-C in 130, with the way to
resume. Heavy imports happen inside the commands, so that ``lmlib --help`` answers at
once.
"""

import argparse
import json
import os
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import lmlib
from lmlib.budget import BUDGETS, current_budget


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"lmlib: error: {message}\n")


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected whole numbers like 0,1,2, got {text!r}"
        ) from None


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lmlib", description="Landmark methods: tools of the course.")
    parser.add_argument("--version", action="version", version=lmlib.__version__)
    parser.add_argument(
        "--traceback", action="store_true", help="show where an error came from"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add = commands.add_parser("doctor", help="is this machine ready, and what mends it")
    add.set_defaults(function=_doctor)

    about = "do the runs of a table that have no rows yet; stop and resume at will"
    add = commands.add_parser("reproduce", help=about, description=about)
    add.add_argument("table", nargs="?", help="name of the table; see --list")
    add.add_argument("--list", action="store_true", help="tables and their progress")
    add.add_argument("--seeds", type=_seeds, help="only these seeds, such as 0,1,2")
    about = "only settings that match, such as '*@5' (may be given several times)"
    add.add_argument("--only", action="append", metavar="PATTERN", help=about)
    add.add_argument("--budget", choices=BUDGETS, help="instead of LMLIB_BUDGET")
    add.set_defaults(function=_reproduce)

    add = commands.add_parser("claims", help="the papers' claims, judged from the rows")
    form = add.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="machine-readable")
    form.add_argument("--markdown", action="store_true", help="as a Markdown table")
    files = {"nargs": "*", "type": Path, "metavar": "FILE"}
    about = "exit 1 if a claims block in these files disagrees with the rows "
    about += "(default: every Markdown file and notebook that holds one)"
    form.add_argument("--check", help=about, **files)
    form.add_argument("--write", help="update those blocks", **files)
    add.set_defaults(function=_claims)
    return parser


def _doctor(arguments) -> int:
    from lmlib.doctor import examine, report

    printed, ready = report(examine())
    print(printed)
    return 0 if ready else 1


def _tables() -> dict:
    from lmlib.experiments import TABLES

    return TABLES


def _reproduce(arguments) -> int:
    from lmlib.results import missing_runs, run_missing

    if arguments.budget:  # before the experiments are imported: they may ask for it
        os.environ["LMLIB_BUDGET"] = arguments.budget
    budget, tables = current_budget(), _tables()
    if arguments.list:
        for table in tables.values():
            runs = table.runs()
            done = f"{len(runs) - len(missing_runs(runs))}/{len(runs)} runs done"
            print(f"{table.name}  {done} ({budget})  {table.description}")
        return 0
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
    if arguments.only:
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
        runs = chosen
    rows = run_missing(runs)
    for row in rows:
        where = f"{row.experiment}/{row.setting} seed {row.seed}"
        print(f"{where}: {row.metric} {row.value:g}")
    fresh = len({(row.experiment, row.setting, row.seed) for row in rows})
    print(f"{len(runs)} runs done, {fresh} of them now ({budget})")
    return 0


def _claims(arguments) -> int:
    from lmlib import claims
    from lmlib.results import repository_root

    verdicts = claims.judge_all(tables=_tables())
    if arguments.check is not None or arguments.write is not None:
        write = arguments.write is not None
        paths = arguments.check or arguments.write
        paths = paths or claims.files_with_blocks(repository_root())
        stale = claims.stale_blocks(paths, verdicts, write=write)
        for path in stale:
            print(f"updated {path}" if write else f"{path} disagrees with the rows")
        if stale and not write:
            print("`lmlib claims --write` brings them up to date")
            return 1
        print(f"{len(paths)} file(s) agree with the rows")
    elif arguments.json:
        print(json.dumps([v.as_dict() for v in verdicts], indent=2, ensure_ascii=False))
    else:
        print((claims.markdown if arguments.markdown else claims.text)(verdicts))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    given = sys.argv[1:] if argv is None else argv
    arguments = _parser().parse_args(given)
    try:
        return arguments.function(arguments)
    except KeyboardInterrupt:
        kept = "lmlib: stopped; finished rows are kept. Resume with: lmlib"
        print(f"\n{kept} {' '.join(given)}", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError) as error:  # TrainingError is the last
        if arguments.traceback:
            raise
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", []))
        message = " ".join(str(error).split())
        print(f"lmlib: error: {message}{notes}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
