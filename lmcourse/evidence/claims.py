"""Verdicts on the papers' claims, computed from result rows and never typed.

``data/claims.toml`` says what is claimed and which comparison of ours tests it; its
head explains the fields. A claim needs its negative control: the same comparison on
rows where the mechanism was broken on purpose must come out false, or the test could
not have failed.

Verdicts: ``reproduced`` (all tests hold, the control fails them), ``direction only``
(only the weaker comparisons hold), ``not reproduced``, ``not tested`` (rows are
missing).
"""

import json
import operator
import re
import tomllib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from lmcourse.evidence.results import build, check_fields, read_rows, summarise
from lmlib.places import repository_root

OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
BUDGETS = ("full", "class")  # best first; quick rows are for tests and judge nothing


class ClaimError(ValueError):
    """Something in claims.toml is wrong; the message names the file and the claim."""


@dataclass(frozen=True)
class Term:
    """``factor * setting:metric``, or the number ``factor`` when setting is None."""

    factor: float
    setting: str | None = None
    metric: str = ""

    def __str__(self):
        name = f"{self.setting}:{self.metric}"
        if self.setting is None:
            return f"{self.factor:g}"
        return name if self.factor == 1 else f"{self.factor:g} * {name}"


@dataclass(frozen=True)
class Comparison:
    left: Term
    op: str
    right: Term

    def __str__(self):
        return f"{self.left} {self.op} {self.right}"

    def measured(self) -> list[Term]:
        """Its terms without the plain numbers."""
        return [t for t in (self.left, self.right) if t.setting is not None]

    def replaced(self, twins: dict[str, str]) -> "Comparison":
        """The same comparison on the control's settings."""
        terms = (self.left, self.right)
        left, right = (
            replace(t, setting=twins.get(t.setting, t.setting)) for t in terms
        )
        return Comparison(left, self.op, right)


@dataclass(frozen=True)
class Claim:
    """One entry of the register; ValueError for a field that makes no sense."""

    id: str
    paper: str
    statement: str
    source: str
    published: list  # of {name, value, unit}
    experiment: str
    settings: list
    metrics: dict  # name -> unit
    tests: list  # of Comparison
    replace: dict  # setting -> its broken twin
    because: str
    direction: list = field(default_factory=list)  # of Comparison
    seeds: int = 1
    note: str = ""

    def __post_init__(self):
        check_fields(self)
        for value in self.published:
            if not isinstance(value, dict) or set(value) != {"name", "value", "unit"}:
                raise ValueError(f"published needs {{name, value, unit}}, got {value}")
        if not self.tests:
            raise ValueError("tests is empty")
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}")
        for comparison in self.tests + self.direction:
            where = f" in {str(comparison)!r}; ours has"
            for term in comparison.measured():
                _check_in("unknown setting", term.setting, self.settings, where)
                _check_in("unknown metric", term.metric, self.metrics, where)
        for setting in [*self.replace, *self.replace.values()]:
            _check_in("unknown setting", setting, self.settings, "; ours has")
        for name in ("tests", "direction"):
            group = getattr(self, name)
            if group and not self.controls(group):
                raise ValueError(f"the control touches no {name}: it controls nothing")

    def controls(self, comparisons: list[Comparison]) -> list[Comparison]:
        """Those that name a setting with a broken twin, on the twin's rows."""
        pairs = [(c, c.replaced(self.replace)) for c in comparisons]
        return [control for c, control in pairs if control != c]

    def comparisons(self) -> dict[str, list[Comparison]]:
        """All that is compared, by kind."""
        return {
            "test": self.tests,
            "direction": self.direction,
            "control": self.controls(self.tests),
            "control of direction": self.controls(self.direction),
        }


def _check_in(problem: str, name: str, known, where: str) -> None:
    if name not in known:
        raise ValueError(f"{problem} {name!r}{where} {sorted(known)}")


@dataclass(frozen=True)
class Outcome:
    """One comparison with its numbers. ``kind``: a key of ``Claim.comparisons``."""

    kind: str
    comparison: str
    numbers: str  # "0.994 >= 0.99"
    holds: bool


@dataclass(frozen=True)
class Verdict:
    claim: Claim
    verdict: str
    reason: str
    measured: list[dict] = field(default_factory=list)  # summarise() of the rows used
    outcomes: list[Outcome] = field(default_factory=list)
    budget: str | None = None

    def as_dict(self) -> dict:
        """Ready for JSON: an unknown deviation is null, not NaN."""
        record = asdict(self)
        for row in record["measured"]:
            row |= {name: None for name, value in row.items() if value != value}
        claim = record.pop("claim")
        for name in ("tests", "direction"):
            claim[name] = [str(c) for c in getattr(self.claim, name)]
        return claim | record


# --- reading the register -------------------------------------------------------------

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_TERM = re.compile(rf"(?:({_NUMBER})\s*\*\s*)?([^\s:*]+):([^\s:*]+)|({_NUMBER})")


def parse_comparison(text: str) -> Comparison:
    """``"x:accuracy >= 0.99"``, ``"x:error < 0.8 * y:error"``; no code is run."""
    parts = re.split(r"\s([<>=]+)\s", text)
    if len(parts) != 3:
        raise ValueError(f"cannot read comparison {text!r}: expected TERM OP TERM")
    if parts[1] not in OPERATORS:
        raise ValueError(f"unknown operator {parts[1]!r} in {text!r}: use >=, >, <, <=")
    comparison = Comparison(_term(parts[0]), parts[1], _term(parts[2]))
    if not comparison.measured():
        raise ValueError(f"comparison {text!r} measures nothing")
    return comparison


def _term(text: str) -> Term:
    match = _TERM.fullmatch(text.strip())
    if not match:
        raise ValueError(
            f"cannot read {text!r}: expected a number, setting:metric "
            "or number * setting:metric"
        )
    factor, setting, metric, number = match.groups()
    return Term(float(number or factor or 1), setting, metric or "")


def load_claims(path: Path | None = None, tables: dict | None = None) -> list[Claim]:
    """All claims of the register. With ``tables`` (``lmcourse.experiments.TABLES``), a
    claim on an experiment or setting that no table runs is an error too.

    Raises ClaimError, one message with file and claim id, for anything unknown or
    missing.
    """
    path = path or repository_root() / "data" / "claims.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ClaimError(f"{path}: no such file; run inside the repository") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ClaimError(f"{path}: not valid TOML: {error}") from None
    if set(document) - {"claim"}:
        raise ClaimError(f"{path}: unknown {sorted(set(document) - {'claim'})[0]!r}")
    claims: dict[str, Claim] = {}
    for number, entry in enumerate(document.get("claim", []), start=1):
        try:
            claim = _claim(entry)
            if claim.id in claims:
                raise ValueError("this id was used before")
            if tables is not None:
                _check_known(claim, tables)
        except ValueError as error:
            name = entry.get("id", f"number {number}")
            raise ClaimError(f"{path}: claim {name}: {error}") from None
        claims[claim.id] = claim
    return list(claims.values())


def _claim(entry: dict) -> Claim:
    record = dict(entry)
    for part in ("ours", "control"):
        if not isinstance(record.get(part), dict):
            raise ValueError(f"lacks {part}")
        record |= record.pop(part)
    for name in ("tests", "direction"):
        if isinstance(record.get(name), list):
            record[name] = [parse_comparison(str(text)) for text in record[name]]
    return build(Claim, record)


def _check_known(claim: Claim, tables: dict) -> None:
    """ValueError unless some table runs the claim's settings and measures its metrics.

    A run that does not declare its metrics may measure any.
    """
    name, runs = claim.experiment, [r for t in tables.values() for r in t.runs()]
    experiments = {run.experiment for run in runs}
    _check_in("unknown experiment", name, experiments, "; the tables run")
    metrics = {run.setting: run.metrics for run in runs if run.experiment == name}
    for setting in claim.settings:
        where = f" of {name}; they run"
        _check_in("no table runs setting", setting, metrics, where)
    for setting in claim.settings:
        for metric in claim.metrics if metrics[setting] else ():
            where = f": {name}/{setting} measures"
            _check_in("unknown metric", metric, metrics[setting], where)


# --- judging --------------------------------------------------------------------------


def judge(claim: Claim, folder: Path | None = None) -> Verdict:
    """The verdict on one claim from the rows in ``folder`` (default data/results).

    All numbers come from one budget, ``full`` if its rows are complete, else ``class``:
    a setting trained long is not compared with one trained short.
    """
    rows = read_rows(claim.experiment, folder, setting=claim.settings)
    rows = [row for row in rows if row.metric in claim.metrics]
    needed = [
        t for cs in claim.comparisons().values() for c in cs for t in c.measured()
    ]
    for budget in BUDGETS:
        chosen = [row for row in rows if row.budget == budget]
        measured = summarise(chosen, by=("setting", "metric"))
        seeds = {(m["setting"], m["metric"]): m["n"] for m in measured}
        have = [seeds.get((term.setting, term.metric), 0) for term in needed]
        if min(have) >= claim.seeds:
            return _judge(claim, measured, budget)
    term, n = next((t, n) for t, n in zip(needed, have, strict=True) if n < claim.seeds)
    needs = f"needs {claim.seeds} seed(s) of {term.metric}, has {n}"
    return Verdict(claim, "not tested", f"{claim.experiment}/{term.setting} {needs}")


def _judge(claim: Claim, measured: list[dict], budget: str) -> Verdict:
    mean = {(m["setting"], m["metric"]): m["mean"] for m in measured}

    def value(term: Term) -> float:
        return term.factor * (mean[term.setting, term.metric] if term.setting else 1)

    def outcome(kind: str, c: Comparison) -> Outcome:
        left, right = value(c.left), value(c.right)
        holds = bool(OPERATORS[c.op](left, right))
        return Outcome(kind, str(c), f"{left:.4g} {c.op} {right:.4g}", holds)

    def failing(outcomes: list[Outcome]) -> str:
        return "fails " + "; ".join(o.numbers for o in outcomes if not o.holds)

    groups = claim.comparisons().items()
    outcomes = [[outcome(kind, c) for c in group] for kind, group in groups]
    tests, direction, controls, weak_controls = outcomes
    if all(o.holds for o in tests):
        verdict, reason = "reproduced", "all tests hold, and the control fails them"
    elif direction and all(o.holds for o in direction):
        verdict, reason = "direction only", failing(tests)
        controls += weak_controls
    else:
        verdict, reason = "not reproduced", failing(direction or tests)
    passing = [o.comparison for o in controls if o.holds]
    if passing and verdict != "not reproduced":
        verdict = "not reproduced"
        reason = "the control passes too: " + "; ".join(passing)
    shown = tests + direction + controls
    return Verdict(claim, verdict, reason, measured, shown, budget)


def judge_all(
    path: Path | None = None, folder: Path | None = None, tables: dict | None = None
) -> list[Verdict]:
    return [judge(claim, folder) for claim in load_claims(path, tables)]


# --- showing, and keeping texts in step -----------------------------------------------


def _published(claim: Claim) -> list[str]:
    return [f"{p['name']} {p['value']:g} {p['unit']}" for p in claim.published]


def _measured(verdict: Verdict, pairs: list[tuple[str, str]]) -> str:
    """A table cell: mean, deviation and seeds of each (setting, metric)."""
    rows = {(row["setting"], row["metric"]): row for row in verdict.measured}
    lines = []
    for setting, metric in pairs if rows else []:
        row = rows[setting, metric]
        spread = f" ± {row['std']:.1g}" if row["n"] > 1 else ""
        seeds = f"{row['n']} seed{'s' if row['n'] > 1 else ''}"
        lines.append(f"{metric} {row['mean']:.3g}{spread} ({seeds}), {setting}")
    return "<br>".join(lines)


def markdown(verdicts: list[Verdict]) -> str:
    """The table of claims as Markdown, for README and notebooks."""
    lines = [
        "| claim | source | published | measured | negative control | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for verdict in verdicts:
        claim, twins = verdict.claim, verdict.claim.replace
        terms = [term for c in claim.tests for term in c.measured()]
        tested = list(dict.fromkeys((t.setting, t.metric) for t in terms))
        reason = "" if verdict.verdict == "reproduced" else f": {verdict.reason}"
        cells = [
            f"{claim.id}: {claim.statement}",
            claim.source,
            "<br>".join(_published(claim)),
            _measured(verdict, tested),
            _measured(verdict, [(twins[s], m) for s, m in tested if s in twins]),
            f"**{verdict.verdict}**{reason}" + (claim.note and f". {claim.note}"),
        ]
        row = " | ".join(cell.replace("|", "\\|") for cell in cells)
        lines.append(f"| {row} |")
    return "\n".join(lines)


def text(verdicts: list[Verdict]) -> str:
    """What ``lmlib claims`` prints: each claim with its comparisons spelled out."""
    lines = []
    for verdict in verdicts:
        claim = verdict.claim
        lines.append(f"{claim.id}  [{verdict.verdict}]  {claim.statement}")
        lines.append(f"    {claim.source}: {', '.join(_published(claim))}")
        for o in verdict.outcomes:
            answer = "yes" if o.holds else "no"
            lines.append(f"    {o.kind:9}  {o.comparison}: {o.numbers}, {answer}")
        lines += [f"    {words}" for words in (verdict.reason, claim.note) if words]
    return "\n".join(lines) or "no claims registered"


_BEGIN = re.compile(r"^<!-- claims:begin", re.MULTILINE)
_BLOCK = re.compile(
    r"^(<!-- claims:begin([^>\n]*)-->\n).*?^<!-- claims:end -->",
    re.DOTALL | re.MULTILINE,
)


def render(source: str, verdicts: list[Verdict], name: str = "text") -> str:
    """``source`` with every claims block filled in anew.

    A block lies between ``<!-- claims:begin -->`` and ``<!-- claims:end -->``; papers
    or claim ids after ``begin`` (``<!-- claims:begin seqmt -->``) keep only those
    claims. Raises ValueError with ``name`` for an unknown one and a missing end.
    """
    if len(_BEGIN.findall(source)) != len(_BLOCK.findall(source)):
        raise ValueError(f"{name}: a claims:begin without its claims:end")

    def fill(match: re.Match) -> str:
        only = set(match[2].split())
        unknown = only.difference(*((v.claim.id, v.claim.paper) for v in verdicts))
        if unknown:
            word = sorted(unknown)[0]
            raise ValueError(f"{name}: claims:begin names unknown claim {word!r}")
        chosen = [v for v in verdicts if not only or {v.claim.id, v.claim.paper} & only]
        return f"{match[1]}{markdown(chosen)}\n<!-- claims:end -->"

    return _BLOCK.sub(fill, source)


def _cells(path: Path) -> tuple[dict, list[dict]]:
    """A notebook and its Markdown cells. A Markdown file counts as one such cell."""
    content = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return {}, [{"source": content}]
    try:
        notebook = json.loads(content)
        return notebook, [c for c in notebook["cells"] if c["cell_type"] == "markdown"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: not a Jupyter notebook") from None


def stale_blocks(
    paths: list[Path], verdicts: list[Verdict], write: bool = False
) -> list[Path]:
    """The Markdown files and notebooks whose claims blocks disagree with the rows.

    With ``write=True`` they are brought up to date.
    """
    stale = []
    for path in paths:
        notebook, cells = _cells(path)
        old = ["".join(cell["source"]) for cell in cells]
        new = [render(source, verdicts, str(path)) for source in old]
        if new == old:
            continue
        stale.append(path)
        for cell, source in zip(cells, new, strict=True):
            cell["source"] = source.splitlines(keepends=True)
        content = "".join(new)
        if notebook:
            content = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        if write:
            path.write_text(content, encoding="utf-8")
    return stale


def files_with_blocks(root: Path) -> list[Path]:
    """README and other Markdown, data/README and notebooks that hold a block."""
    patterns = ("*.md", "data/*.md", "notebooks/*.ipynb")
    return [
        path
        for pattern in patterns
        for path in sorted(root.glob(pattern))
        if any(_BEGIN.search("".join(cell["source"])) for cell in _cells(path)[1])
    ]
