"""Result rows: where every number shown as "measured" comes from.

``data/results/EXPERIMENT.jsonl`` holds one JSON object a line, one metric of one run
each. Rows are only ever appended. A process killed while writing leaves at most half a
last line; the next append moves that fragment to ``EXPERIMENT.jsonl.broken`` and
touches nothing else. Errors of single test images lie beside them (``images.py``).
"""

import json
import math
import os
import re
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import BinaryIO, get_args

from lmcourse.budget import current_budget
from lmcourse.evidence import images
from lmcourse.evidence.files import alone, taken, undisturbed
from lmlib.places import repository_root


def results_folder() -> Path:
    return repository_root() / "data" / "results"


def run_file(experiment: str, setting: str, seed: int) -> Path:
    """Where an unfinished run keeps its state, so that a killed one can go on."""
    name = f"{experiment}-{slug(setting)}-{seed}-{current_budget()}.safetensors"
    return repository_root() / "data" / "cache" / name


def slug(setting: str) -> str:
    """A file name for a setting: ``Seq-MT(L+T,alpha=.1)@5`` -> Seq-MT_L+T_alpha.1_5."""
    return re.sub(r"[(),@]+", "_", setting).replace("=", "").strip("_")


# --- rows -----------------------------------------------------------------------------


def check_fields(record) -> None:
    """ValueError unless every field of a dataclass holds what its annotation says."""
    for f in fields(record):
        value, kinds = getattr(record, f.name), get_args(f.type) or (f.type,)
        if not isinstance(value, kinds) or isinstance(value, bool):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise ValueError(f"{f.name} must be {expected}, got {value!r}")


def finite(value: int | float) -> bool:
    """Is it a number that a float can hold? 10**400 is an int and is not."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def one_line(words, most: int = 400) -> str:
    """A message on one line, and no longer than a person reads."""
    text = " ".join(str(words).split())
    return text if len(text) <= most else f"{text[:most]}..."


def build(kind: type, record: dict):
    """``kind(**record)``; ValueError for a field that is missing or unknown."""
    for f in fields(kind):
        needed = f.default is MISSING and f.default_factory is MISSING
        if needed and f.name not in record:
            raise ValueError(f"lacks {f.name}")
    for name in record:
        if name not in kind.__dataclass_fields__:
            raise ValueError(f"has unknown field {name!r}")
    return kind(**record)


def make_of(device: str) -> str:
    """``cpu (AMD EPYC, 1 threads)`` -> ``cpu (AMD EPYC)``: what runs may share."""
    return re.sub(r",? \d+ threads", "", device)


@dataclass(frozen=True)
class Row:
    """One metric of one run. ``extra`` holds what else matters: budget, n_train..."""

    experiment: str  # file name: lower-case letters, digits, - and _
    setting: str
    seed: int
    metric: str
    value: int | float  # finite; its unit stands in data/claims.toml
    steps: int
    device: str
    versions: dict
    commit: str | None  # None outside git; "-dirty" if the code had changed
    seconds: int | float
    extra: dict = field(default_factory=dict)

    def __post_init__(self):
        check_fields(self)
        _results_file(self.experiment)
        if not self.setting or not self.metric:
            raise ValueError("setting and metric must not be empty")
        for name, value in ((self.metric, self.value), ("seconds", self.seconds)):
            if not finite(value):
                raise ValueError(f"{name} must be finite, got {value!r:.40}")
        if not isinstance(self.budget, str):
            raise ValueError(f"budget must be str, got {self.budget!r}")

    def line(self) -> str:
        return json.dumps(asdict(self), allow_nan=False)

    @property
    def budget(self) -> str:
        return self.extra.get("budget", "class")

    @property
    def make(self) -> str:
        """The make of device: processor and precision, without the threads."""
        return make_of(self.device)

    @property
    def image_key(self) -> images.Key:
        """Under what the errors of its single images are kept."""
        about = (self.setting, self.seed, self.metric, self.budget)
        return images.Key(*about, self.steps, self.make)

    def get(self, name: str):
        """A field of the row or, failing that, of ``extra``; None if in neither."""
        return {**self.extra, **vars(self), "budget": self.budget}.get(name)


ROW_FIELDS = tuple(f.name for f in fields(Row))


def _results_file(experiment: str, folder: Path | None = None) -> Path:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", experiment):
        raise ValueError(
            "an experiment is named in lower-case letters, digits, - and _, "
            f"got {experiment!r}"
        )
    return (folder or results_folder()) / f"{experiment}.jsonl"


def _float(text: str) -> float:
    """A number of a row: JSON has no NaN, and no row has 1e999."""
    value = float(text)
    if not finite(value):
        raise ValueError(f"numbers must be finite, got {text:.40}")
    return value


def _parse(line: bytes) -> Row:
    try:
        text = line.decode("utf-8")
        record = json.loads(text, parse_float=_float, parse_constant=_float)
    except ValueError as error:  # covers bad UTF-8 and bad JSON
        raise ValueError(f"not a JSON object ({error})") from None
    except RecursionError:
        raise ValueError("not a JSON object (nested too deeply)") from None
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    return build(Row, record)


def read_rows(experiment: str, folder: Path | None = None, **filters) -> list[Row]:
    """Rows of one experiment in the order written; [] if it has never been run.

    Filters name a field or an entry of ``extra``; a list, tuple or set means "one of":
    ``read_rows("seqmt-shapes", setting="class-only", seed=[0, 1])``. A line that is no
    row raises ValueError with file and line; nothing in the file is changed.
    """
    path = _results_file(experiment, folder)
    if not path.exists():
        return []
    with undisturbed(path):  # not in the middle of someone's append
        lines = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(_parse(line))
            if rows[-1].experiment != experiment:
                raise ValueError(f"belongs to experiment {rows[-1].experiment!r}")
        except ValueError as error:
            if number == len(lines):  # no newline after it
                advice = "a run was killed here; `lmlib reproduce` sets it aside"
            else:
                advice = "expected a JSON object with " + ", ".join(ROW_FIELDS)
            raise ValueError(f"{path}:{number}: {one_line(error)}; {advice}") from None
    known = {"budget", *ROW_FIELDS}.union(*(row.extra for row in rows))
    for name, wanted in filters.items():
        if rows and name not in known:
            raise ValueError(f"{path} has no field {name!r}; it has {sorted(known)}")
        options = wanted if isinstance(wanted, list | tuple | set | range) else [wanted]
        rows = [row for row in rows if row.get(name) in options]
    return rows


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """The results file opened for appending, alone, with a whole last line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path), open(path, "a+b") as file:
        file.seek(0)
        data = file.read()
        fragment = data[data.rfind(b"\n") + 1 :]
        try:
            if fragment.strip():
                _parse(fragment)
                file.write(b"\n")  # a whole row that only lacked its newline
        except ValueError:
            with open(f"{path}.broken", "ab") as aside:
                aside.write(fragment + b"\n")
                aside.flush()
                os.fsync(aside.fileno())
            file.truncate(len(data) - len(fragment))
        yield file
        file.flush()
        os.fsync(file.fileno())


def append_rows(rows: Iterable[Row], folder: Path | None = None) -> None:
    """Add rows to their experiments' files: one locked write a file, flushed to disk.

    Two processes may append at once. Of a killed process, rows appended before are
    kept.
    """
    by_file: dict[Path, list[str]] = {}
    for row in rows:
        by_file.setdefault(_results_file(row.experiment, folder), []).append(row.line())
    for path, lines in by_file.items():
        with _locked(path) as file:
            file.write("".join(line + "\n" for line in lines).encode())


def read_images(experiment: str, folder: Path | None = None) -> dict:
    """Errors of single test images: ``Row.image_key`` -> float16 vector ``(images,)``.

    Rows measured without them have none.
    """
    results = _results_file(experiment, folder).parent
    return images.read(experiment, results)


def append_images(rows: Iterable[Row], vectors: dict, folder: Path | None = None):
    """Keep ``vectors``, metric -> errors of the test images, of one run's ``rows``.

    Written whole or not at all. ``images.ImagesFull`` where they would pass the limit.
    """
    rows = list(rows)
    if rows and vectors:
        results = _results_file(rows[0].experiment, folder).parent
        kept = {r.image_key: vectors[r.metric] for r in rows if r.metric in vectors}
        images.append(rows[0].experiment, kept, results)


def repair(experiment: str, folder: Path | None = None) -> None:
    """Set aside half a last line (to ``*.jsonl.broken``); touch nothing else."""
    path = _results_file(experiment, folder)
    if path.exists():
        with _locked(path):
            pass


def latest(rows: Iterable[Row]) -> list[Row]:
    """One row a run, metric and budget: a later row replaces an earlier one."""
    key = ("experiment", "setting", "seed", "metric", "budget")
    return list({tuple(getattr(r, name) for name in key): r for r in rows}.values())


def summarise(
    rows: Iterable[Row], by: tuple[str, ...] = ("experiment", "setting", "metric")
) -> list[dict]:
    """Over seeds: the ``by`` values, ``mean``, ``std``, ``n`` and the 95 % interval.

    ``low`` and ``high`` bound the mean by Student's t, right for the three to five
    seeds of a table (a bootstrap of three values is too narrow). With one row, std and
    interval are NaN.
    """
    from scipy.stats import t as student

    groups: dict[tuple, list[Row]] = {}
    for row in latest(rows):
        groups.setdefault(tuple(row.get(name) for name in by), []).append(row)
    table = []
    for key, group in groups.items():
        budgets = {row.budget for row in group}
        if len(budgets) > 1:
            raise ValueError(
                f"{'/'.join(map(str, key))} mixes budgets {sorted(budgets)}: "
                'pick one with read_rows(..., budget=...) or add "budget" to by'
            )
        values = [row.value for row in group]
        n, mean = len(values), statistics.fmean(values)
        std = statistics.stdev(values) if n > 1 else math.nan
        half = float(student.ppf(0.975, n - 1)) * std / math.sqrt(n)
        summary = dict(mean=mean, std=std, n=n, low=mean - half, high=mean + half)
        table.append(dict(zip(by, key, strict=True)) | summary)
    return table


# --- runs and tables ------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One named run. ``function()`` returns ``{metric: value}``, and may add
    ``"steps"`` (int) and ``"extra"`` (dict), which go into every row of the run, and
    ``"images"``: ``{metric: errors of the single test images}``, kept beside the rows.

    With ``metrics`` given, a run counts as done only when rows of all of them exist,
    and a function that returns others is an error.
    """

    experiment: str
    setting: str
    seed: int
    function: Callable[[], dict]
    metrics: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.experiment}/{self.setting}/seed {self.seed}"


@dataclass(frozen=True)
class Table:
    """A table or figure of a paper as a list of runs, made when asked for.

    ``together(runs, count)``, where there is one, trains the networks of runs at once,
    up to ``count`` of them, and returns the runs with only the measuring left.
    """

    name: str
    description: str
    runs: Callable[[], list[Run]]
    together: Callable[[list[Run], int], list[Run]] | None = None


def missing_runs(runs: list[Run], folder: Path | None = None) -> list[Run]:
    """Runs that lack rows, or some of their metrics, under the current budget."""
    done: dict[tuple, set[str]] = {}
    for experiment in {run.experiment for run in runs}:
        for row in read_rows(experiment, folder, budget=current_budget()):
            done.setdefault((experiment, row.setting, row.seed), set()).add(row.metric)
    have = [done.get((run.experiment, run.setting, run.seed)) for run in runs]
    return [
        run
        for run, metrics in zip(runs, have, strict=True)
        if not metrics or not metrics.issuperset(run.metrics)
    ]


def here() -> dict:
    """``lmlib.machine.environment``, asked for when a run begins: it loads torch."""
    from lmlib.machine import environment

    return environment()


def run_missing(
    runs: list[Run], folder: Path | None = None, progress: bool = True
) -> list[Row]:
    """Do the runs that have no rows yet, writing each one's rows as soon as it ends.

    Stop it at any time and call it again: it goes on with the run that was cut off.
    Call it in several processes at once and they share the runs.
    Shows progress and the time left. Rows carry the budget in ``extra``; a run done
    under another budget does not count as done. Returns the new rows.
    """
    from tqdm.auto import tqdm

    for experiment in {run.experiment for run in runs}:
        repair(experiment, folder)
    todo = missing_runs(runs, folder)
    if not todo:
        return []
    where, new, done = here(), [], len(runs) - len(todo)
    with tqdm(total=len(runs), initial=done, unit="run", disable=not progress) as bar:
        for run in todo:
            bar.set_description(run.name)
            with _taken(run, folder) as ours:
                if ours:
                    try:
                        rows, vectors = _rows(run, where)
                        _keep_images(run, rows, vectors, folder)
                    except Exception as error:
                        error.add_note(f"in run {run.name}")
                        raise
                    append_rows(rows, folder)
                    new += rows
            bar.update()
    return new


@contextmanager
def _taken(run: Run, folder: Path | None) -> Iterator[bool]:
    """True if the run is ours to do; False if another process is at it or has done it.

    The lock goes with the process, so a killed one leaves its run to the next.
    """
    place = (folder or results_folder()).resolve()
    with taken(f"{place}/{run.name}/{current_budget()}") as free:
        yield free and bool(missing_runs([run], folder))


def _keep_images(run: Run, rows: list[Row], vectors: dict, folder) -> None:
    """Before the rows, whose presence says that the run is done."""
    try:
        append_images(rows, vectors, folder)
    except images.ImagesFull as error:  # not worth losing the run for
        warnings.warn(f"{error}; {run.name} is kept without them", stacklevel=2)


def _rows(run: Run, where: dict) -> tuple[list[Row], dict]:
    """Do one run and make its rows; and the errors of single images, by metric."""
    started = time.perf_counter()
    values = dict(run.function())
    vectors = dict(values.pop("images", {}))
    same = {
        "experiment": run.experiment,
        "setting": run.setting,
        "seed": run.seed,
        "steps": int(values.pop("steps", 0)),
        "extra": {"budget": current_budget()} | values.pop("extra", {}),
        "seconds": round(time.perf_counter() - started, 3),
        **where,
    }
    if not values or (run.metrics and set(values) != set(run.metrics)):
        raise ValueError(
            f"returned the metrics {sorted(values)}, expected "
            f"{sorted(run.metrics) or 'at least one'}"
        )
    if not set(vectors) <= set(values):
        raise ValueError(f"images of {sorted(vectors)}, metrics {sorted(values)}")
    rows = [Row(metric=name, value=float(v), **same) for name, v in values.items()]
    return rows, vectors
