"""The command ``lmlib``: ``doctor``, ``reproduce``, ``claims``; and ``train``,
``evaluate``, ``predict`` for one's own images.

Bad input ends in one line on stderr and exit status 2; Ctrl-C in 130, with the way to
resume. Heavy imports happen inside the commands, so that ``lmlib --help`` answers at
once.
"""

import argparse
import json
import os
import shlex
import sys
import warnings
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


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return int(text)


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
    about = "train up to N networks of one shape at once, which fills a GPU (Seq-MT)"
    add.add_argument("--stack", type=_count, default=1, metavar="N", help=about)
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

    _own_images(commands)
    return parser


DATA = "NAME:PATH, or NAME to look in LMLIB_DATA; see data/README.md for the names"
CROPS = "centre, pad, squash, or left,top,right,bottom as shares of width and height"


def _own_images(commands) -> None:
    """The commands for one's own images."""

    def command(name: str, function, about: str, kept: str):
        add = commands.add_parser(name, help=about, description=about)
        add.set_defaults(function=function, kept=kept)
        add.add_argument("--device", help="such as cpu or cuda:1; default: the best")
        return add

    about = "train a method on images; a killed run goes on with the same command"
    add = command("train", _train, about, "the run is kept")
    add.add_argument("method", metavar="METHOD", help="seqmt, lmdis or dve")
    again = "; may be given again: all are used (lmdis, dve)"
    add.add_argument("--data", action="append", required=True, help=DATA + again)
    add.add_argument("--preset", required=True, help="such as faces_class")
    add.add_argument("--out", type=Path, required=True, metavar="FILE.safetensors")
    about = "another value of the preset's configuration; may be given again"
    add.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help=about
    )
    add.add_argument("--split", default="train", help="of the data (default: train)")
    add.add_argument("--images", metavar="A:B", help="only these of the split")
    about = "images that keep their landmarks, such as 5%% (seqmt; default: all)"
    add.add_argument("--labels", default="all", metavar="SHARE", help=about)
    about = "images held back to measure on (seqmt)"
    add.add_argument("--val", type=_count, default=0, metavar="N", help=about)
    about = "default: the preset's; seqmt 20000; 2000 for a preset NAME_class"
    add.add_argument("--steps", type=_count, help=about)
    add.add_argument("--batch", type=_count, help="images a step")
    add.add_argument("--seed", type=int, default=0)
    _image_options(add, "default: the data set's own")
    add.add_argument("--force", action="store_true", help="overwrite what is there")

    about = "errors of a checkpoint on annotated images, in percent"
    add = command("evaluate", _evaluate, about, "nothing was changed")
    add.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    add.add_argument("--data", help=DATA + "; default: that of the training")
    images = "a split, A:B of --split, or SPLIT:A:B"
    about = "images to fit annotated landmarks on (lmdis, dve): " + images
    add.add_argument("--fit", metavar="IMAGES", help=about)
    about = f"{images}, or held: those of --val (default: the split test)"
    add.add_argument("--test", default="test", metavar="IMAGES", help=about)
    add.add_argument("--split", default="train", help="of A:B (default: train)")
    about = "what errors are divided by: eye_centres, outer_corners, image_edge, box"
    add.add_argument("--normaliser", metavar="NAME", help=about)
    about = "store what was fitted, so that predict gives annotated landmarks"
    add.add_argument("--keep", action="store_true", help=about)
    add.add_argument("--json", action="store_true", help="machine-readable")
    _image_options(add, "default: that of the training")

    about = "landmarks of photographs of any size and orientation"
    add = command("predict", _predict, about, "no table was written")
    add.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    about = "files, or folders with all below them"
    add.add_argument("images", nargs="+", metavar="IMAGE", help=about)
    about = "table: file, landmark, x and y in pixels upright, width, height"
    add.add_argument("--out", type=Path, required=True, metavar="CSV", help=about)
    about = "folder for photographs with the points drawn on them"
    add.add_argument("--overlay", type=Path, metavar="FOLDER", help=about)
    about = f"{CROPS}, or face: the largest face, face*1.3: with more around it "
    about += "(default: that of the training, or centre)"
    add.add_argument("--crop", help=about)
    add.add_argument("--batch", type=_count, default=32, help="photographs at a time")
    about = "exit status 1 if any photograph was skipped"
    add.add_argument("--strict", action="store_true", help=about)


def _image_options(add, default: str) -> None:
    add.add_argument("--crop", help=f"{CROPS} ({default})")
    about = "leave out annotated images whose file is missing"
    add.add_argument("--partial", action="store_true", help=about)


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
    together = tables[arguments.table].together
    if arguments.stack > 1:
        if together is None:
            raise ValueError(f"the networks of {arguments.table} cannot be stacked")
        together(missing_runs(runs), arguments.stack)
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


def _train(arguments) -> int:
    from lmlib.recipes import Settings, train

    settings = Settings(
        method=arguments.method,
        preset=arguments.preset,
        data=arguments.data,
        changes=arguments.set,
        held=arguments.val,
        **{
            name: getattr(arguments, name)
            for name in ("split", "images", "labels", "steps", "batch", "seed", "crop")
        },
        partial=arguments.partial,
    )
    made = train(
        settings,
        arguments.out,
        device=arguments.device,
        force=arguments.force,
        command=arguments.command,
    )
    if made is None:
        print(f"{arguments.out} is finished, with these settings")
        return 0
    loss = made["losses"]["loss"]
    print(f"{arguments.out}: {made['steps']} steps, loss {loss:.4g} at the end")
    if "held" in made:
        count, error = len(made["held"]), made["held_error"]
        print(f"error on {count} images held back: {error:.2f} %")
    return 0


def _evaluate(arguments) -> int:
    from lmlib.recipes import evaluate

    options = ("test", "split", "normaliser", "keep", "crop", "partial", "device")
    answer = evaluate(
        arguments.checkpoint,
        arguments.data,
        fit_on=arguments.fit,
        **{name: getattr(arguments, name) for name in options},
    )
    if arguments.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return 0
    print(
        f"error {answer['error']:.2f} % of {answer['normaliser']} on "
        f"{answer['images']} images ({answer['data']}, {answer['test']})"
    )
    each = enumerate(answer["per_landmark"])
    print("each landmark:", "  ".join(f"{k}: {error:.2f}" for k, error in each))
    if answer["left_out"]:
        print(f"{answer['left_out']} images have no usable normaliser: left out")
    if answer.get("trained_on"):
        print(f"note: {answer['trained_on']} of these images were trained on")
    if arguments.keep:
        print(f"kept in {arguments.checkpoint}: predict now gives these landmarks")
    return 0


def _predict(arguments) -> int:
    from lmlib.predict import crop_of, default_crop, find_photos, predict
    from lmlib.recipes import load

    found, metadata = load(arguments.checkpoint, arguments.device)
    names = find_photos(arguments.images, arguments.overlay)
    skipped = predict(
        found,
        names,
        arguments.out,
        arguments.overlay,
        crop_of(arguments.crop or default_crop(metadata)),
        arguments.batch,
    )
    print(f"{arguments.out}: {len(names) - len(skipped)} photographs")
    if skipped:
        print(f"lmlib: {len(skipped)} skipped:", file=sys.stderr)
        print("\n".join(f"  {reason}" for reason in skipped), file=sys.stderr)
    return 1 if skipped and arguments.strict else 0


def _note(message, *_, **__) -> None:
    print(f"lmlib: note: {message}", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    given = sys.argv[1:] if argv is None else argv
    arguments = _parser().parse_args(given)
    arguments.command = shlex.join(["lmlib", *given])
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _note
            return arguments.function(arguments)
    except KeyboardInterrupt:
        kept = getattr(arguments, "kept", "finished rows are kept")
        line = f"lmlib: stopped; {kept}. Resume with: {arguments.command}"
        print(f"\n{line}", file=sys.stderr)
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
