"""The register of claims, ``data/claims.toml``: what is claimed, and what tests it.

Its head explains the fields. No verdict stands there: ``claims.py`` computes them.
"""

import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

from lmcourse.evidence.effects import distance
from lmcourse.evidence.results import build, check_fields, finite, one_line
from lmlib.places import repository_root


class ClaimError(ValueError):
    """Something in claims.toml is wrong; the message names file, line and claim."""


@dataclass(frozen=True)
class Term:
    """A metric of a setting, written ``setting:metric``.

    The metric may be made of two of the same run: their difference, ``a-b``, or ratio,
    ``a/b``.
    """

    setting: str
    metric: str

    @property
    def parts(self) -> list[str]:
        """The metric's name; or a name, the sign and another name."""
        return re.split("([-/])", self.metric)

    def __str__(self):
        return f"{self.setting}:{self.metric}"


@dataclass(frozen=True)
class Effect:
    """One comparison in the direction the paper says; ``kind`` as in ``effects.py``."""

    says: str  # what is compared, in the words of a figure
    kind: str
    left: Term
    right: Term | None
    side: str  # "<" or ">"
    bound: float
    paper: tuple[float, ...] = ()  # the paper's values of left and right, or none

    def __str__(self):
        sign = {"ratio": "/", "difference": "-"}.get(self.kind)
        left = f"{self.left} {sign} {self.right}" if sign else str(self.left)
        return f"{left} {self.side} {self.bound:g}"

    @property
    def size(self) -> float | None:
        """The paper's own size of the effect; None where it gives no numbers."""
        if not self.paper:
            return None
        if self.kind == "ratio":
            return self.paper[0] / self.paper[1]
        if self.kind == "difference":
            return self.paper[0] - self.paper[1]
        return self.paper[0]

    @property
    def terms(self) -> list[Term]:
        return [self.left] if self.right is None else [self.left, self.right]

    def replaced(self, twins: dict[str, str]) -> "Effect":
        """The same comparison on the control's settings."""
        left, right = (
            term and replace(term, setting=twins.get(term.setting, term.setting))
            for term in (self.left, self.right)
        )
        return replace(self, left=left, right=right)


_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?")
_TERM = re.compile(r"([^\s:]+):([^\s:]+)")


def parse_compare(text: str) -> tuple:
    """``"x:error / y:error < 1"`` as kind, left, right, side and bound; nothing is run.

    ``/`` is a ratio, ``-`` a difference; without them one setting is held against the
    bound. Blanks stand around every sign.
    """
    form = "expected 'A / B < 1', 'A - B < 0' or 'A < NUMBER', with A like setting:x"
    one = "a metric is one name, or two like a-b or a/b"
    words = text.split()
    if len(words) not in (3, 5):
        raise ValueError(f"cannot read {text!r}: {form}")
    *left, side, bound = words
    if side not in ("<", ">"):
        raise ValueError(f"unknown sign {side!r} in {text!r}: use < or >")
    if not _NUMBER.fullmatch(bound) or not finite(float(bound)):
        raise ValueError(f"cannot read the number {bound!r} in {text!r}")
    matches = [_TERM.fullmatch(word) for word in left[::2]]
    if not all(matches):
        raise ValueError(f"cannot read {text!r}: {form}")
    terms = [Term(*match.groups()) for match in matches]
    for term in terms:
        if len(term.parts) > 3 or "" in term.parts:
            raise ValueError(f"cannot read {term.metric!r} in {text!r}: {one}")
    if len(terms) == 1:
        return "value", terms[0], None, side, float(bound)
    kinds = {"/": "ratio", "-": "difference"}
    if left[1] not in kinds:
        raise ValueError(f"unknown sign {left[1]!r} in {text!r}: use / or -")
    return kinds[left[1]], *terms, side, float(bound)


def _effect(entry) -> Effect:
    if not isinstance(entry, dict):
        raise ValueError(f"an effect needs {{says, compare}}, got {entry!r:.60}")
    for name in entry:
        if name not in ("says", "compare", "paper"):
            raise ValueError(f"an effect has the unknown field {name!r}")
    for name in ("says", "compare"):
        if not isinstance(entry.get(name), str):
            raise ValueError(
                f"{name} of an effect must be str, got {entry.get(name)!r}"
            )
    paper = entry.get("paper", [])
    if not isinstance(paper, list) or not all(map(_is_number, paper)):
        raise ValueError(f"paper must be a list of numbers, got {paper!r:.60}")
    parts = parse_compare(entry["compare"])
    effect = Effect(entry["says"], *parts, tuple(float(value) for value in paper))
    if paper and len(paper) != len(effect.terms):
        raise ValueError(f"paper needs a number for each side of {str(effect)!r}")
    if effect.kind == "ratio" and min(effect.bound, *effect.paper, 1) <= 0:
        raise ValueError(f"the numbers of a ratio are above 0, in {str(effect)!r}")
    if paper and not finite(effect.size):
        raise ValueError(f"the numbers of the paper are too far apart: {paper}")
    if paper and not distance(effect.kind, effect.size, effect.side, effect.bound) > 0:
        raise ValueError(
            f"the paper's own size, {effect.size:.4g}, is not on the claimed side of "
            f"{str(effect)!r}"
        )
    return effect


def _is_number(value) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and finite(value)


@dataclass(frozen=True)
class Claim:
    """One entry of the register; ValueError for a field that makes no sense."""

    id: str
    paper: str
    statement: str
    source: str
    experiment: str
    metrics: dict  # name -> unit
    effects: list  # of Effect
    replace: dict  # setting -> its broken twin
    because: str
    published: list = field(default_factory=list)  # of {name, value, unit}
    note: str = ""
    diagnosis: str = ""
    diagnosis_rows: list = field(default_factory=list)  # of (experiment, Term)

    def __post_init__(self):
        check_fields(self)
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", self.id):
            raise ValueError(
                f"id must be lower-case letters, digits, -; got {self.id!r}"
            )
        for value in self.published:
            if (
                not isinstance(value, dict)
                or set(value) != {"name", "value", "unit"}
                or not isinstance(value["name"], str)
                or not isinstance(value["unit"], str)
                or not _is_number(value["value"])
            ):
                raise ValueError(
                    f"published needs {{name, value, unit}}, got {value!r:.80}"
                )
        if not self.effects:
            raise ValueError("effects is empty")
        for name in ("metrics", "replace"):
            for value in getattr(self, name).values():
                if not isinstance(value, str):
                    raise ValueError(f"{name} must name texts, got {value!r:.40}")
        for effect in self.effects:
            for term in effect.terms:
                where = f" in {str(effect)!r}; metrics has"
                _check_in("unknown metric", term.metric, self.metrics, where)
        settings = {term.setting for effect in self.effects for term in effect.terms}
        for setting in self.replace:
            _check_in("unknown setting", setting, settings, "; the effects have")
        if not any(self.controls):
            raise ValueError("the control touches no effect: it controls nothing")

    @property
    def controls(self) -> list:
        """For each effect the same on the control's settings; None if untouched."""
        pairs = [(effect, effect.replaced(self.replace)) for effect in self.effects]
        return [control if control != effect else None for effect, control in pairs]

    @property
    def terms(self) -> list[Term]:
        """All that must be measured, the control's included, each once."""
        every = [*self.effects, *filter(None, self.controls)]
        return list(dict.fromkeys(term for effect in every for term in effect.terms))


def _check_in(problem: str, name: str, known, where: str) -> None:
    if name not in known:
        raise ValueError(f"{problem} {name!r}{where} {sorted(known)}")


def read_toml(path: Path, kind: type[ValueError]) -> tuple[dict, str]:
    """A TOML file and its text; ``kind`` naming file and line if it is none."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise kind(f"{path}:{line}: not UTF-8 text ({error.reason})") from None
    try:
        return tomllib.loads(text), text
    except RecursionError:
        raise kind(f"{path}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, and numbers of 5,000 digits
        line = re.search(r"\(at line (\d+),", str(error))
        last = text.count("\n") + 1 if "(at end of document)" in str(error) else None
        number = line[1] if line else last
        place = f"{path}:{number}" if number else str(path)
        raise kind(f"{place}: not valid TOML: {one_line(error)}") from None


def load_claims(path: Path | None = None, tables: dict | None = None) -> list[Claim]:
    """All claims of the register. With ``tables`` (``lmcourse.experiments.TABLES``), a
    claim on an experiment or setting that no table runs is an error too.

    Raises ClaimError, one message with file, line and claim id, for anything unknown or
    missing.
    """
    path = path or repository_root() / "data" / "claims.toml"
    try:
        document, text = read_toml(path, ClaimError)
    except FileNotFoundError:
        raise ClaimError(f"{path}: no such file; run inside the repository") from None
    if set(document) - {"claim"}:
        unknown = sorted(set(document) - {"claim"})[0]
        raise ClaimError(f"{path}: unknown {unknown!r:.60}")
    entries = document.get("claim", [])
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise ClaimError(f"{path}: claims begin with a line [[claim]]")
    starts = [
        text.count("\n", 0, match.start()) + 1
        for match in re.finditer(r"^\[\[claim\]\]", text, re.MULTILINE)
    ]
    runs = tables and [run for table in tables.values() for run in table.runs()]
    claims: dict[str, Claim] = {}
    for number, entry in enumerate(entries):
        try:
            claim = _claim(entry)
            if claim.id in claims:
                raise ValueError("this id was used before")
            if runs is not None:
                _check_known(claim, runs)
        except ValueError as error:
            name = str(entry.get("id", f"number {number + 1}"))
            place = f"{path}:{starts[number]}" if len(starts) == len(entries) else path
            raise ClaimError(f"{place}: claim {name:.40}: {one_line(error)}") from None
        claims[claim.id] = claim
    return list(claims.values())


def _claim(entry: dict) -> Claim:
    record = dict(entry)
    record |= _part(record.pop("control", None), "control", ("replace", "because"))
    if not isinstance(record.get("effects"), list):
        raise ValueError("lacks effects")
    record["effects"] = [_effect(one) for one in record["effects"]]
    if "diagnosis" in record:
        parts = _part(record["diagnosis"], "diagnosis", ("text", "rows"))
        record["diagnosis"] = parts["text"]
        record["diagnosis_rows"] = _diagnosis_rows(parts["rows"])
    return build(Claim, record)


def _part(value, name: str, fields: tuple[str, ...]) -> dict:
    if not isinstance(value, dict):
        raise ValueError(
            f"lacks {name}" if value is None else f"{name} must be a table"
        )
    for part in fields:
        if part not in value:
            raise ValueError(f"{name} lacks {part}")
    for part in value:
        if part not in fields:
            raise ValueError(f"{name} has unknown field {part!r}")
    return value


def _diagnosis_rows(rows) -> list[tuple[str, Term]]:
    """``"seqmt-blocks Seq-MT(L)@5:error"`` as experiment and term."""
    if not isinstance(rows, list) or not rows:
        raise ValueError("a diagnosis needs the rows that back it")
    found = []
    for row in rows:
        words = row.split() if isinstance(row, str) else []
        match = _TERM.fullmatch(words[1]) if len(words) == 2 else None
        if not match:
            raise ValueError(
                f"cannot read {row!r:.60}: expected 'EXPERIMENT setting:x'"
            )
        found.append((words[0], Term(*match.groups())))
    return found


def _check_known(claim: Claim, runs: list) -> None:
    """ValueError unless some run is of the claim's settings and measures its metrics.

    A run that does not declare its metrics may measure any.
    """
    experiments = {run.experiment for run in runs}
    wanted = [(claim.experiment, term) for term in claim.terms] + claim.diagnosis_rows
    known: dict[str, dict[str, tuple]] = {}
    for name, term in wanted:
        _check_in("unknown experiment", name, experiments, "; the tables run")
        known[name] = {r.setting: r.metrics for r in runs if r.experiment == name}
        where = f" of {name}; they run"
        _check_in("no table runs setting", term.setting, known[name], where)
    for name, term in wanted:
        if metrics := known[name][term.setting]:
            where = f": {name}/{term.setting} measures"
            for metric in term.parts[::2]:
                _check_in("unknown metric", metric, metrics, where)
