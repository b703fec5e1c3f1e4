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
import math
import operator
import re
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lmlib.results import Row, latest, read_rows, repository_root, summarise

OPERATORS = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
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

    def settings(self) -> set[str]:
        return {t.setting for t in (self.left, self.right)} - {None}

    def replaced(self, twins: dict[str, str]) -> "Comparison":
        """The same comparison on the control's settings."""
        left, right = (
            Term(t.factor, twins.get(t.setting, t.setting), t.metric)
            for t in (self.left, self.right)
        )
        return Comparison(left, self.op, right)


@dataclass(frozen=True)
class Claim:
    id: str
    paper: str
    statement: str
    source: str
    published: list[dict]
    experiment: str
    settings: list[str]
    metrics: dict[str, str]  # name -> unit
    tests: list[Comparison]
    direction: list[Comparison]
    replace: dict[str, str]  # setting -> its broken twin
    because: str
    seeds: int
    note: str


@dataclass(frozen=True)
class Outcome:
    """One comparison with its numbers. ``kind``: test, direction or control."""

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
        claim = self.claim
        keep = ("id", "paper", "statement", "source", "published", "experiment", "note")
        return {
            **{name: getattr(claim, name) for name in keep},
            "verdict": self.verdict,
            "reason": self.reason,
            "budget": self.budget,
            "measured": [
                {k: None if v != v else v for k, v in row.items()}
                for row in self.measured
            ],
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
        }


# --------------------------------------------------------------------------------------
# Reading the register
# --------------------------------------------------------------------------------------

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_TERM = re.compile(
    rf"(?:(?P<factor>{_NUMBER})\s*\*\s*)?(?P<setting>[^\s:*]+):(?P<metric>[^\s:*]+)"
    rf"|(?P<number>{_NUMBER})"
)


def parse_comparison(text: str) -> Comparison:
    """``"x:accuracy >= 0.99"``, ``"x:error < 0.8 * y:error"``; no code is run."""
    parts = re.fullmatch(r"\s*([^<>=]+?)\s*(\S*[<>=]\S*)\s+([^<>=]+?)\s*", text)
    if not parts:
        raise ValueError(f"cannot read comparison {text!r}: expected TERM OP TERM")
    left, op, right = parts.groups()
    if op not in OPERATORS:
        raise ValueError(f"unknown operator {op!r} in {text!r}: use >=, >, <= or <")
    terms = []
    for part in (left, right):
        match = _TERM.fullmatch(part)
        if not match:
            raise ValueError(
                f"cannot read {part!r} in {text!r}: expected a number, setting:metric "
                "or number * setting:metric"
            )
        if match["number"]:
            terms.append(Term(float(match["number"])))
        else:
            factor = float(match["factor"] or 1)
            terms.append(Term(factor, match["setting"], match["metric"]))
    if terms[0].setting is None and terms[1].setting is None:
        raise ValueError(f"comparison {text!r} measures nothing")
    return Comparison(terms[0], op, terms[1])


def load_claims(path: Path | None = None, tables: dict | None = None) -> list[Claim]:
    """All claims of the register. With ``tables`` (``lmlib.experiments.TABLES``), a
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
    known = None if tables is None else _known_runs(tables)
    claims, seen = [], set()
    for number, entry in enumerate(document.get("claim", []), start=1):
        name = entry.get("id", f"number {number}")
        try:
            claim = _claim(entry)
            if claim.id in seen:
                raise ValueError("this id was used before")
            if known is not None:
                _check_known(claim, known)
        except ValueError as error:
            raise ClaimError(f"{path}: claim {name}: {error}") from None
        seen.add(claim.id)
        claims.append(claim)
    return claims


def _take(entry: dict, name: str, kind: type, default=None):
    value = entry.pop(name, default)
    if value is None:
        raise ValueError(f"lacks {name}")
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name} must be {kind.__name__}, got {value!r}")
    return value


def _claim(entry: dict) -> Claim:
    entry = dict(entry)
    ours, control = (dict(_take(entry, name, dict)) for name in ("ours", "control"))
    comparisons = {
        name: [parse_comparison(str(t)) for t in _take(entry, name, list, default)]
        for name, default in (("tests", None), ("direction", []))
    }
    claim = Claim(
        **{n: _take(entry, n, str) for n in ("id", "paper", "statement", "source")},
        published=_take(entry, "published", list),
        experiment=_take(ours, "experiment", str),
        settings=_take(ours, "settings", list),
        metrics=_take(ours, "metrics", dict),
        replace=_take(control, "replace", dict),
        because=_take(control, "because", str),
        seeds=_take(entry, "seeds", int, 1),
        note=_take(entry, "note", str, ""),
        **comparisons,
    )
    for left_over in (entry, ours, control):
        if left_over:
            raise ValueError(f"unknown field {sorted(left_over)[0]!r}")
    for value in claim.published:
        if not isinstance(value, dict) or set(value) != {"name", "value", "unit"}:
            raise ValueError(f"published needs {{name, value, unit}}, got {value!r}")
    if not claim.tests:
        raise ValueError("tests is empty")
    if claim.seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {claim.seeds}")
    for comparison in claim.tests + claim.direction:
        for term in (comparison.left, comparison.right):
            if term.setting is not None and term.setting not in claim.settings:
                raise ValueError(
                    f"unknown setting {term.setting!r} in {str(comparison)!r}; "
                    f"ours.settings has {claim.settings}"
                )
            if term.setting is not None and term.metric not in claim.metrics:
                raise ValueError(
                    f"unknown metric {term.metric!r} in {str(comparison)!r}; "
                    f"ours.metrics has {sorted(claim.metrics)}"
                )
    for setting in [*claim.replace, *claim.replace.values()]:
        if setting not in claim.settings:
            raise ValueError(f"unknown setting {setting!r} in control.replace")
    for name in ("tests", "direction"):
        group = getattr(claim, name)
        if group and not any(c.settings() & set(claim.replace) for c in group):
            raise ValueError(f"the control touches none of {name}: it controls nothing")
    return claim


def _known_runs(tables: dict) -> dict[str, dict[str, set[str]]]:
    """experiment -> setting -> metrics (empty where a run does not declare them)."""
    known: dict[str, dict[str, set[str]]] = {}
    for table in tables.values():
        for run in table.runs():
            settings = known.setdefault(run.experiment, {})
            settings.setdefault(run.setting, set()).update(run.metrics)
    return known


def _check_known(claim: Claim, known: dict[str, dict[str, set[str]]]) -> None:
    if claim.experiment not in known:
        raise ValueError(
            f"unknown experiment {claim.experiment!r}; the tables run {sorted(known)}"
        )
    settings = known[claim.experiment]
    for setting in claim.settings:
        if setting not in settings:
            raise ValueError(
                f"no table runs setting {setting!r} of {claim.experiment}; "
                f"they run {sorted(settings)}"
            )
    for setting in claim.settings:
        unknown = set(claim.metrics) - settings[setting]
        if settings[setting] and unknown:
            raise ValueError(
                f"unknown metric {sorted(unknown)[0]!r}: {claim.experiment}/{setting} "
                f"measures {sorted(settings[setting])}"
            )


# --------------------------------------------------------------------------------------
# Judging
# --------------------------------------------------------------------------------------


def judge(claim: Claim, folder: Path | None = None) -> Verdict:
    """The verdict on one claim from the rows in ``folder`` (default data/results).

    All numbers come from one budget, ``full`` if its rows are complete, else ``class``:
    a setting trained long is not compared with one trained short.
    """
    rows = latest(read_rows(claim.experiment, folder, setting=claim.settings))
    controls = [c.replaced(claim.replace) for c in claim.tests]
    lacking = ""
    for budget in BUDGETS:
        chosen = [r for r in rows if r.budget == budget]
        lacking = _lacking(claim, chosen, claim.tests + claim.direction + controls)
        if not lacking:
            return _judge(claim, chosen, budget)
    return Verdict(claim, "not tested", lacking)


def _lacking(claim: Claim, rows: list[Row], comparisons: list[Comparison]) -> str:
    for comparison in comparisons:
        for term in (comparison.left, comparison.right):
            if term.setting is None:
                continue
            key = (term.setting, term.metric)
            have = len({r.seed for r in rows if (r.setting, r.metric) == key})
            if have < claim.seeds:
                return (
                    f"{claim.experiment}/{term.setting} needs {claim.seeds} seed(s) of "
                    f"{term.metric}, has {have}"
                )
    return ""


def _judge(claim: Claim, rows: list[Row], budget: str) -> Verdict:
    rows = [row for row in rows if row.metric in claim.metrics]
    measured = summarise(rows, by=("setting", "metric"))
    mean = {(m["setting"], m["metric"]): m["mean"] for m in measured}

    def value(term: Term) -> float:
        return term.factor * (mean[term.setting, term.metric] if term.setting else 1)

    def outcome(kind: str, comparison: Comparison) -> Outcome:
        left, right = value(comparison.left), value(comparison.right)
        numbers = f"{left:.4g} {comparison.op} {right:.4g}"
        holds = OPERATORS[comparison.op](left, right)
        return Outcome(kind, str(comparison), numbers, bool(holds))

    def controlled(kind: str, comparisons: list[Comparison]) -> list[Outcome]:
        touched = [c for c in comparisons if c.settings() & set(claim.replace)]
        return [outcome(kind, c.replaced(claim.replace)) for c in touched]

    tests = [outcome("test", c) for c in claim.tests]
    direction = [outcome("direction", c) for c in claim.direction]
    control = controlled("control", claim.tests)
    if all(o.holds for o in tests):
        verdict, reason = "reproduced", "all tests hold, and the control fails them"
    elif direction and all(o.holds for o in direction):
        verdict = "direction only"
        reason = "fails " + "; ".join(o.numbers for o in tests if not o.holds)
        control += controlled("control of direction", claim.direction)
    else:
        failed = [o.numbers for o in direction or tests if not o.holds]
        verdict, reason = "not reproduced", "fails " + "; ".join(failed)
    passing = [o.comparison for o in control if o.holds]
    if passing and verdict != "not reproduced":
        verdict = "not reproduced"
        reason = "the control passes too: " + "; ".join(passing)
    return Verdict(
        claim, verdict, reason, measured, tests + direction + control, budget
    )


def judge_all(
    path: Path | None = None, folder: Path | None = None, tables: dict | None = None
) -> list[Verdict]:
    return [judge(claim, folder) for claim in load_claims(path, tables)]


# --------------------------------------------------------------------------------------
# Showing, and keeping texts in step
# --------------------------------------------------------------------------------------


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "?"


def _measured(verdict: Verdict, metric: str, setting: str) -> str:
    for row in verdict.measured:
        if (row["setting"], row["metric"]) == (setting, metric):
            spread = f" ± {_number(row['std'])}" if row["n"] > 1 else ""
            seeds = "1 seed" if row["n"] == 1 else f"{row['n']} seeds"
            return f"{_number(row['mean'])}{spread} ({seeds})"
    return "no rows"


def markdown(verdicts: list[Verdict]) -> str:
    """The table of claims as Markdown, for README and notebooks."""
    lines = [
        "| claim | source | published | measured | negative control | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for verdict in verdicts:
        claim, twins = verdict.claim, verdict.claim.replace
        tested = {
            (t.setting, t.metric): None  # a dict keeps their order
            for c in claim.tests
            for t in (c.left, c.right)
            if t.setting is not None
        }
        ours = [f"{m} {_measured(verdict, m, s)}, {s}" for s, m in tested]
        broken = [
            f"{m} {_measured(verdict, m, twins[s])}, {twins[s]}"
            for s, m in tested
            if s in twins
        ]
        paper = [f"{p['name']} {p['value']:g} {p['unit']}" for p in claim.published]
        said = f"**{verdict.verdict}**"
        if verdict.verdict != "reproduced":
            said += f": {verdict.reason}"
        cells = [
            f"{claim.id}: {claim.statement}",
            claim.source,
            "<br>".join(paper),
            "<br>".join(ours) if verdict.measured else "",
            "<br>".join(broken) if verdict.measured else "",
            f"{said}. {claim.note}" if claim.note else said,
        ]
        lines.append(
            "| " + " | ".join(c.replace("|", "\\|") for c in cells).strip() + " |"
        )
    return "\n".join(lines)


def text(verdicts: list[Verdict]) -> str:
    """What ``lmlib claims`` prints: each claim with its comparisons spelled out."""
    lines = []
    for verdict in verdicts:
        claim = verdict.claim
        lines += [f"{claim.id}  [{verdict.verdict}]  {claim.statement}"]
        paper = ", ".join(
            f"{p['name']} {p['value']:g} {p['unit']}" for p in claim.published
        )
        lines += [f"    {claim.source}: {paper}"]
        for outcome in verdict.outcomes:
            answer = "yes" if outcome.holds else "no"
            compared = f"{outcome.comparison}: {outcome.numbers}, {answer}"
            lines += [f"    {outcome.kind:9}  {compared}"]
        lines += [f"    {verdict.reason}"]
        if claim.note:
            lines += [f"    {claim.note}"]
    return "\n".join(lines) if lines else "no claims registered"


_BEGIN = re.compile(r"^<!-- claims:begin", re.MULTILINE)
_BLOCK = re.compile(
    r"^(?P<head><!-- claims:begin(?P<only>[^>\n]*)-->\n).*?"
    r"^(?P<tail><!-- claims:end -->)",
    re.DOTALL | re.MULTILINE,
)


def render(source: str, verdicts: list[Verdict], name: str = "text") -> str:
    """``source`` with every claims block filled in anew.

    A block lies between ``<!-- claims:begin -->`` and ``<!-- claims:end -->``; papers
    or claim ids after ``begin`` (``<!-- claims:begin seqmt -->``) keep only those
    claims.
    """
    if len(_BEGIN.findall(source)) != len(_BLOCK.findall(source)):
        raise ValueError(f"{name}: a claims:begin without its claims:end")

    def fill(match: re.Match) -> str:
        only = match["only"].split()
        names = {v.claim.id for v in verdicts} | {v.claim.paper for v in verdicts}
        for word in only:
            if word not in names:
                raise ValueError(f"{name}: claims:begin names unknown claim {word!r}")
        chosen = [
            v for v in verdicts if not only or {v.claim.id, v.claim.paper} & set(only)
        ]
        return f"{match['head']}{markdown(chosen)}\n{match['tail']}"

    return _BLOCK.sub(fill, source)


def stale_blocks(
    paths: list[Path], verdicts: list[Verdict], write: bool = False
) -> list[Path]:
    """The Markdown files and notebooks whose claims blocks disagree with the rows.

    With ``write=True`` they are brought up to date.
    """
    stale = []
    for path in paths:
        old = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            new = _render_notebook(old, verdicts, str(path))
        else:
            new = render(old, verdicts, str(path))
        if new != old:
            stale.append(path)
            if write:
                path.write_text(new, encoding="utf-8")
    return stale


def _markdown_cells(notebook: str, name: str) -> tuple[dict, list[dict]]:
    """A notebook's document, and those of its cells that hold prose."""
    try:
        document = json.loads(notebook)
        return document, [c for c in document["cells"] if c["cell_type"] == "markdown"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{name}: not a Jupyter notebook") from None


def _render_notebook(old: str, verdicts: list[Verdict], name: str) -> str:
    document, cells = _markdown_cells(old, name)
    changed = False
    for cell in cells:
        source = "".join(cell["source"])
        filled = render(source, verdicts, name)
        if filled != source:
            cell["source"], changed = filled.splitlines(keepends=True), True
    if not changed:  # leave the file's own JSON style alone
        return old
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def files_with_blocks(root: Path) -> list[Path]:
    """README and other Markdown, data/README and notebooks that hold a block."""
    found = []
    for pattern in ("*.md", "data/*.md", "notebooks/*.ipynb"):
        for path in sorted(root.glob(pattern)):
            sources = [path.read_text(encoding="utf-8")]
            if path.suffix == ".ipynb":
                cells = _markdown_cells(sources[0], str(path))[1]
                sources = ["".join(cell["source"]) for cell in cells]
            if any(_BEGIN.search(source) for source in sources):
                found.append(path)
    return found
