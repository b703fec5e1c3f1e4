"""The command ``lmlib``: ``train``, ``evaluate``, ``predict`` and ``tryon`` for one's
own images.

Other packages bring more commands, each an entry point of the group
``lmlib.commands``: a function that adds its parser. The course brings ``doctor``,
``reproduce`` and ``claims``.

Bad input ends in one line on stderr and exit status 2; Ctrl-C in 130, with the way to
resume. Heavy imports happen inside the commands, so that ``lmlib --help`` answers at
once.
"""

import argparse
import json
import shlex
import sys
import warnings
from importlib.metadata import entry_points
from pathlib import Path

import lmlib
from lmlib.texts import (
    counted,
    positive,
    printable,
    read_crop,
    read_ends,
    read_share,
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"lmlib: error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lmlib", description="Landmark methods: tools of the course.")
    parser.add_argument("--version", action="version", version=lmlib.__version__)
    parser.add_argument(
        "--traceback", action="store_true", help="show where an error came from"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    for adds in (_training, _evaluating, _predicting, _trying_on):
        adds(commands)
    for point in sorted(entry_points(group="lmlib.commands"), key=lambda p: p.name):
        point.load()(commands)
    return parser


DATA = "NAME:PATH, or NAME to look in LMLIB_DATA; see data/README.md for the names"
CROPS = "centre, pad, squash, or left,top,right,bottom as shares of width and height"


def _command(commands, function, about: str, kept: str):
    """The parser of the command that ``function`` does; Ctrl-C says what is kept."""
    name = function.__name__.removeprefix("_")
    add = commands.add_parser(name, help=about, description=about)
    add.set_defaults(function=function, kept=kept)
    add.add_argument("--device", help="such as cpu or cuda:1; default: the best")
    return add


def _training(commands) -> None:
    about = "train a method on images; a killed run goes on with the same command"
    add = _command(commands, _train, about, "the run is kept")
    names = "seqmt, lmdis, dve, dlan or salvton"
    add.add_argument("method", metavar="METHOD", help=names)
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
    about = "images that keep their landmarks, such as 5%% (seqmt, dlan; default: all)"
    add.add_argument("--labels", default="all", metavar="SHARE", help=about)
    about = "images held back to measure on (seqmt, dlan)"
    add.add_argument("--val", type=positive, default=0, metavar="N", help=about)
    about = "default: the preset's; seqmt 20000; 2000 for a preset NAME_class"
    add.add_argument("--steps", type=positive, help=about)
    add.add_argument("--batch", type=positive, help="images a step")
    add.add_argument("--seed", type=int, default=0)
    _image_options(add, "default: the data set's own")
    add.add_argument("--force", action="store_true", help="overwrite what is there")


def _evaluating(commands) -> None:
    about = "errors of a checkpoint on annotated images, in percent; detections (dlan) "
    about += "and how good its images are (salvton: PSNR in dB, SSIM, and proxies of "
    about += "LPIPS, FID and KID)"
    add = _command(commands, _evaluate, about, "nothing was changed")
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


def _predicting(commands) -> None:
    about = "landmarks of photographs of any size and orientation"
    add = _command(commands, _predict, about, "no table was written")
    add.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    about = "files, or folders with all below them"
    add.add_argument("images", nargs="+", metavar="IMAGE", help=about)
    about = "table: file (./ before names that begin like a formula), landmark, x and "
    about += "y in pixels upright, width, height. dlan: 0, 1 collar, 2, 3 sleeves, "
    about += "4, 5 waistline, 6, 7 hem, for every garment: kinds are not told apart"
    add.add_argument("--out", type=Path, required=True, metavar="CSV", help=about)
    about = "folder for photographs with the points drawn on them"
    add.add_argument("--overlay", type=Path, metavar="FOLDER", help=about)
    about = f"{CROPS}, or face: the largest face, face*1.3: with more around it "
    about += "(default: that of the training, or centre)"
    add.add_argument("--crop", help=about)
    add.add_argument("--batch", type=positive, default=32, help="photographs at a time")
    about = "exit status 1 if any photograph was skipped"
    add.add_argument("--strict", action="store_true", help=about)


def _trying_on(commands) -> None:
    about = "a garment on a person, as an image"
    add = _command(commands, _tryon, about, "no image was written")
    add.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    about = "photograph; its middle is seen, three wide and four high"
    add.add_argument("person", type=Path, metavar="PERSON", help=about)
    about = "photograph of it, laid flat"
    add.add_argument("garment", type=Path, metavar="GARMENT", help=about)
    about = "image, bright where the garment is (default: where it is not white)"
    add.add_argument("--mask", type=Path, metavar="FILE", help=about)
    add.add_argument("--out", type=Path, required=True, metavar="FILE.png")


def _image_options(add, default: str) -> None:
    add.add_argument("--crop", help=f"{CROPS} ({default})")
    about = "leave out annotated images whose file is missing"
    add.add_argument("--partial", action="store_true", help=about)


def _train(arguments) -> int:
    from lmlib.processes import leave, start
    from lmlib.recipes import Settings, train
    from lmlib.registry import read_settings

    settings = Settings(
        method=arguments.method,
        preset=arguments.preset,
        data=tuple(arguments.data),
        changes=read_settings(arguments.method, arguments.set),
        split=arguments.split,
        images=read_ends(arguments.images) if arguments.images else None,
        labels=read_share(arguments.labels),
        held=arguments.val,
        steps=arguments.steps,
        batch=arguments.batch,
        seed=arguments.seed,
        crop=read_crop(arguments.crop) if arguments.crop else None,
        partial=arguments.partial,
    )
    made = train(
        settings,
        arguments.out,
        device=arguments.device,
        force=arguments.force,
        command=arguments.command,
    )
    rank, _ = start()
    leave()
    if rank:  # the first process says what there is to say
        return 0
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

    options = ("test", "split", "normaliser", "keep", "partial", "device")
    answer = evaluate(
        arguments.checkpoint,
        arguments.data,
        fit_on=arguments.fit,
        crop=read_crop(arguments.crop) if arguments.crop else None,
        **{name: getattr(arguments, name) for name in options},
    )
    if arguments.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return 0
    print(
        f"error {answer['error']:.2f} % of {answer['normaliser']} on "
        f"{answer['images']} images ({answer['data']}, {answer['test']})"
    )
    _each(answer["names"], answer["per_landmark"], 2)
    if found := answer.get("detected"):
        print(
            f"detected {found['all']:.1f} % of the visible landmarks: closer than "
            f"{100 * found['within']:.2f} % of the side"
        )
        _each(answer["names"], found["per_landmark"], 1)
    if found := answer.get("judged"):
        print("images:", "  ".join(f"{n} {x:.4g}" for n, x in found.items()))
    if answer["left_out"]:
        print(f"{answer['left_out']} images have no usable normaliser: left out")
    if answer.get("trained_on"):
        print(f"note: {answer['trained_on']} of these images were trained on")
    if arguments.keep:
        print(f"kept in {arguments.checkpoint}: predict now gives these landmarks")
    return 0


def _each(names: list[str], values: list[float], digits: int) -> None:
    """A line with a number for each landmark."""
    each = zip(names, values, strict=True)
    print("each landmark:", "  ".join(f"{n}: {x:.{digits}f}" for n, x in each))


def _predict(arguments) -> int:
    from lmlib.landmarker import load
    from lmlib.predict import crop_of, default_crop, find_photos, predict

    found = load(arguments.checkpoint, arguments.device)
    unread: list[str] = []
    names = find_photos(arguments.images, arguments.overlay, unread)
    skipped = unread + predict(
        found,
        names,
        arguments.out,
        arguments.overlay,
        crop_of(arguments.crop or default_crop(found.metadata)),
        arguments.batch,
    )
    done = len(names) + len(unread) - len(skipped)
    print(f"{printable(str(arguments.out))}: {counted(done, 'photograph')}")
    if found.method.note:
        print(f"note: {found.method.note}")
    if skipped:
        print(f"lmlib: {len(skipped)} skipped:", file=sys.stderr)
        print("\n".join(f"  {reason}" for reason in skipped), file=sys.stderr)
    return 1 if skipped and arguments.strict else 0


def _tryon(arguments) -> int:
    from lmlib.tryon import tryon

    names = ("checkpoint", "person", "garment", "out", "mask", "device")
    made = tryon(*(getattr(arguments, name) for name in names))
    size = f"{made.shape[2]} x {made.shape[1]} pixels"
    print(f"{printable(str(arguments.out))}: {size}")
    return 0


def _note(message, *_, **__) -> None:
    print(f"lmlib: note: {printable(str(message))}", file=sys.stderr)


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
        message = printable(" ".join(f"{error}{notes}".split()))
        print(f"lmlib: error: {message}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
