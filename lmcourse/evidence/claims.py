"""Verdicts on the papers' claims, computed from result rows and never typed.

``data/claims.toml`` says what is claimed, as effects (``register.py``); ``effects.py``
has the rule that says when an effect is shown. From that, and from the claim's negative
control (the same comparison where the mechanism was broken on purpose):

- ``reproduced``: every effect is shown, and the control shows none of them;
- ``contradicted``: an effect is refuted, its interval is on the other side;
- ``undecided``: an interval straddles, or the control shows the effect too;
- ``not tested``: rows are missing.

Only runs on one make of device are compared, pair by pair. The longest training that
exists for all settings of a claim counts, if it has one seed only, too. "Longer" is by
the rows' steps, and ``Seq-MT(L,long)@5`` is a longer ``Seq-MT(L)@5``.
A claim of several effects is shown wrongly in at most 5 of 100 cases, as all must be
shown; contradicted wrongly in at most 5 of 100 for each effect.
"""

import math
import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np

from lmcourse.evidence import effects as rule
from lmcourse.evidence.effects import OPEN, REFUTED, Estimate
from lmcourse.evidence.register import Claim, Effect, Term
from lmcourse.evidence.register import ClaimError as ClaimError
from lmcourse.evidence.register import load_claims as load_claims
from lmcourse.evidence.results import Row, latest, read_images, read_rows

VERDICTS = ("reproduced", "contradicted", "undecided", "not tested")
MOST = 10  # more seeds than that: "too small to decide here"


def cell(setting: str) -> str:
    """The setting without its length: ``Seq-MT(L,long)@5`` -> ``Seq-MT(L)@5``."""
    return re.sub(r",long(?=\)|$)", "", setting)


# --- the rows of a claim --------------------------------------------------------------


class Runs:
    """Rows by what is compared: ``of(term, length)`` is make -> seed -> row.

    A length is a budget and a number of steps. Of rows of the same run the last counts.
    Two metrics of a run may be one: ``pdl_user-pdl_shop``, ``pdl_2/pdl``.
    """

    def __init__(self, rows: Iterable[Row]):
        self._found: dict[tuple, dict] = {}
        for row in rows:
            if row.budget != "quick":  # those are for tests and judge nothing
                key = cell(row.setting), row.metric
                lengths = self._found.setdefault(key, {})
                makes = lengths.setdefault((row.budget, row.steps), {})
                makes.setdefault(row.make, {})[row.seed] = row

    def of(self, term: Term, length: tuple[str, int]) -> dict[str, dict[int, Row]]:
        return self._of(term).get(length, {})

    def has(self, term: Term) -> bool:
        return bool(self._of(term))

    def _of(self, term: Term) -> dict:
        """Length -> make -> seed -> row."""
        key = cell(term.setting), term.metric
        if key not in self._found and len(term.parts) == 3:
            self._found[key] = self._combined(term)
        return self._found.get(key, {})

    def _combined(self, term: Term) -> dict:
        """What two metrics make, of each run that measured both."""
        first, sign, second = term.parts
        left, right = (self._of(Term(term.setting, name)) for name in (first, second))
        found: dict = {}
        for length in left.keys() & right.keys():
            for make in left[length].keys() & right[length].keys():
                a, b = left[length][make], right[length][make]
                for seed in sorted(a.keys() & b.keys()):
                    value = _combine(a[seed], sign, b[seed])
                    row = replace(a[seed], metric=term.metric, value=value)
                    found.setdefault(length, {}).setdefault(make, {})[seed] = row
        return found

    def lengths(self, terms: Iterable[Term]) -> list[dict[Term, tuple[str, int]]]:
        """The lengths that exist for all ``terms``, the longest first.

        The same steps for all where there are such. Else each setting has lengths of
        its own (another network, another recipe): shortest with shortest, and so on.
        What is not trained at all goes with every length.
        """
        found = {term: self._steps(term) for term in terms}
        budgets = set().union(*found.values())
        choices = []
        for budget in budgets:
            steps = {term: found[term].get(budget, []) for term in found}
            if all(steps.values()):
                choices += [
                    {term: (budget, n) for term, n in choice.items()}
                    for choice in _aligned(steps)
                ]
        return sorted(choices, key=_longest, reverse=True)

    def _steps(self, term: Term) -> dict[str, list[int]]:
        """Budget -> steps, rising; [0] where nothing is trained."""
        steps: dict[str, list[int]] = {}
        for budget, n in sorted(self._of(term)):
            steps.setdefault(budget, []).append(n)
        return steps


def _combine(left: Row, sign: str, right: Row) -> float:
    if sign == "-":
        return left.value - right.value
    if right.value == 0:
        about = f"{right.experiment}: {right.setting}, seed {right.seed}"
        raise ValueError(f"{about}: {right.metric} is 0, so there is no ratio")
    return left.value / right.value


def _longest(choice: dict) -> tuple:
    return max(steps for _, steps in choice.values()), sorted(map(str, choice.values()))


def _aligned(steps: dict[Term, list[int]]) -> list[dict[Term, int]]:
    trained = [set(ns) for ns in steps.values() if ns != [0]]
    if not trained:
        return [dict.fromkeys(steps, 0)]
    common = set.intersection(*trained)
    if common:
        return [{t: n if ns != [0] else 0 for t, ns in steps.items()} for n in common]
    shared = min(len(ns) for ns in trained)
    return [
        {term: ns[place] if ns != [0] else 0 for term, ns in steps.items()}
        for place in range(shared)
    ]


def _pairs(left: dict, right: dict) -> list[tuple[Row, Row]]:
    """Rows of the same seed on the same make of device, one pair a seed."""
    both = {make: sorted(left[make].keys() & right[make].keys()) for make in left
            if make in right}  # fmt: skip
    pairs: dict[int, tuple[Row, Row]] = {}
    for make in sorted(both, key=lambda make: (-len(both[make]), make)):
        for seed in both[make]:
            pairs.setdefault(seed, (left[make][seed], right[make][seed]))
    return [pairs[seed] for seed in sorted(pairs)]


@dataclass(frozen=True)
class Measured:
    """An effect as the rows show it; ``estimate`` is None where rows are missing."""

    effect: Effect
    estimate: Estimate | None = None
    left: tuple[Row, ...] = ()
    right: tuple[Row, ...] = ()
    images: float = math.nan  # half a 90 % interval of d, from the test images alone

    @property
    def stands(self) -> int:
        """``SHOWN``, ``OPEN`` or ``REFUTED``."""
        if self.estimate is None:
            return OPEN
        ends = self.estimate.low, self.estimate.high
        return int(rule.stands(*ends, self.effect.side, self.effect.bound))

    @property
    def steps(self) -> list[int]:
        return sorted({row.steps for row in (*self.left, *self.right)})

    def as_dict(self) -> dict:
        record = {"says": self.effect.says, "compare": str(self.effect)}
        record["paper"] = self.effect.size
        if self.estimate is not None:
            about = vars(self.estimate).items()
            record |= {k: _plain(v) for k, v in about}
            record["images"] = _plain(self.images)
            for side in ("left", "right"):
                rows = getattr(self, side)
                record[side] = [[row.setting, row.seed, row.value] for row in rows]
            record["steps"] = self.steps
        return record | {"stands": {1: "shown", 0: "open", -1: "refuted"}[self.stands]}


def _plain(value):
    """For JSON: None for what is unknown or without end."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def measure(effect: Effect, runs: Runs, lengths: dict[Term, tuple[str, int]]):
    """The effect at these lengths: pairs of seeds, or Welch where none are shared."""
    found = [runs.of(term, lengths[term]) for term in effect.terms]
    if effect.right is None:
        pairs = _pairs(found[0], found[0])
        return _estimated(effect, [row for row, _ in pairs])
    left, right = found
    pairs = _pairs(left, right)
    if len(pairs) < 2:
        together = [make for make in sorted(left) if make in right]
        several = [m for m in together if min(len(left[m]), len(right[m])) > 1]
        if several:
            make = max(several, key=lambda m: min(len(left[m]), len(right[m])))
            rows = [*left[make].values()], [*right[make].values()]
            return _estimated(effect, *rows, paired=False)
    return _estimated(effect, [a for a, _ in pairs], [b for _, b in pairs])


def _estimated(effect: Effect, left: list, right: list | None = None, paired=True):
    if not left:
        return Measured(effect)
    values = [[r.value for r in rows] for rows in (left, right) if rows is not None]
    try:
        found = rule.estimate(effect.kind, *values, paired=paired)
    except ValueError as error:
        where = f"{left[0].experiment}: {effect}"
        raise ValueError(f"{where}: {error}; claim a difference") from None
    return Measured(effect, found, tuple(left), tuple(right or ()))


def _with_images(measured: Measured, kept: dict) -> Measured:
    """The part of the test images, where their errors were kept for every row."""
    rows = [*measured.left, *measured.right]
    if not kept or not rows or not all(row.image_key in kept for row in rows):
        return measured
    sides = [
        [kept[row.image_key] for row in side]
        for side in (measured.left, measured.right)
        if side
    ]
    if len({len(vector) for side in sides for vector in side}) > 1:
        return measured  # not of the same images
    means = [np.mean(side, axis=0, dtype=float)[None] for side in sides]
    error = rule.test_set_error(measured.effect.kind, *means)
    return Measured(**vars(measured) | {"images": rule.NORMAL * error})


# --- verdicts -------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    claim: Claim
    verdict: str  # one of VERDICTS
    reason: str
    effects: list[Measured] = field(default_factory=list)
    controls: list[Measured | None] = field(default_factory=list)  # one for each effect
    others: list[Measured] = field(default_factory=list)  # of other lengths
    backing: list[dict] = field(default_factory=list)  # the diagnosis': row, mean, n

    def as_dict(self) -> dict:
        """Ready for JSON."""
        record = {k: v for k, v in vars(self.claim).items() if k != "effects"}
        record["diagnosis_rows"] = self.backing
        record |= {"verdict": self.verdict, "reason": self.reason}
        for name in ("effects", "controls", "others"):
            record[name] = [part and part.as_dict() for part in getattr(self, name)]
        return record


def judge(claim: Claim, folder: Path | None = None) -> Verdict:
    """The verdict on one claim from the rows in ``folder`` (default data/results)."""
    return _judge_with(claim, lambda name: _read(name, folder))


def judge_all(
    path: Path | None = None, folder: Path | None = None, tables: dict | None = None
) -> list[Verdict]:
    claims, read = load_claims(path, tables), cache(lambda name: _read(name, folder))
    return [_judge_with(claim, read) for claim in claims]


def _read(experiment: str, folder: Path | None) -> tuple[list[Row], dict]:
    return read_rows(experiment, folder), read_images(experiment, folder)


def _judge_with(claim: Claim, read) -> Verdict:
    verdict = judge_rows(claim, *read(claim.experiment))
    for experiment, term in claim.diagnosis_rows:
        about = (term.setting, term.metric)
        found = latest(r for r in read(experiment)[0] if (r.setting, r.metric) == about)
        values = [row.value for row in found if row.budget != "quick"]
        backing = {"row": f"{experiment} {term}", "n": len(values)}
        backing["mean"] = statistics.fmean(values) if values else None
        verdict.backing.append(backing)
    return verdict


def judge_rows(claim: Claim, rows: list[Row], images: dict | None = None) -> Verdict:
    """The verdict from the ``rows`` of the claim's experiment."""
    runs = Runs(rows)
    tested = list(dict.fromkeys(t for effect in claim.effects for t in effect.terms))
    for term in tested:
        if not runs.has(term):
            return Verdict(claim, "not tested", f"no row of {claim.experiment}/{term}")
    known = list(filter(runs.has, claim.terms))
    choices = runs.lengths(known)
    every = [[measure(e, runs, lengths) for e in claim.effects] for lengths in choices]
    complete = [all(m.estimate for m in found) for found in every]
    if True not in complete:
        return Verdict(claim, "not tested", _nothing_to_pair(every))
    place = complete.index(True)
    measured = [_with_images(m, images or {}) for m in every[place]]
    controls = [c and _control(c, runs, choices[place]) for c in claim.controls]
    others = [
        m
        for lengths in runs.lengths(tested)
        if any(lengths[term] != choices[place][term] for term in tested)
        for m in (measure(effect, runs, lengths) for effect in claim.effects)
        if m.estimate
    ]
    return Verdict(claim, *_decide(measured, controls), measured, controls, others)


def _control(effect: Effect, runs: Runs, lengths: dict) -> Measured:
    known = all(map(runs.has, effect.terms))
    return measure(effect, runs, lengths) if known else Measured(effect)


def _nothing_to_pair(every: list[list[Measured]]) -> str:
    for measured in every[0] if every else ():
        if measured.estimate is None:
            names = " and ".join(term.setting for term in measured.effect.terms)
            return f"no runs of {names} on the same make of device"
    return "no training of the same length for all its settings"


def _decide(measured: list[Measured], controls: list) -> tuple[str, str]:
    """The verdict and its reason."""
    refuted = [m.effect.says for m in measured if m.stands == REFUTED]
    if refuted:
        which = f": {'; '.join(refuted)}" if len(measured) > 1 else ""
        return "contradicted", f"the other way round{which}"
    still = [m for m in measured if m.stands == OPEN]
    if still:
        return "undecided", what_would_decide(still)
    pairs = [(m, c) for m, c in zip(measured, controls, strict=True) if c]
    for _, control in pairs:
        if control.estimate is None:
            return "not tested", f"no row of its control, {control.effect}"
    passing = [
        c.effect.says for m, c in pairs
        if rule.passes(c.estimate, m.estimate, m.effect.side, m.effect.bound)
    ]  # fmt: skip
    if passing:
        return "undecided", "the control shows it too: " + "; ".join(passing)
    return "reproduced", "every effect is shown, and the control shows none"


def goal(measured: Measured) -> tuple[float | None, str]:
    """The effect that must be told from none: its distance from the bound, and whose
    size it is. The paper's where it has one, else ours; None if ours leans away."""
    effect = measured.effect
    if effect.size is not None:
        size, whose = effect.size, "the paper's size"
    else:
        size, whose = measured.estimate.value, "this size"
    far = rule.distance(effect.kind, size, effect.side, effect.bound)
    return (far if far > 0 else None), whose


def what_would_decide(still: list[Measured]) -> str:
    """How many more seeds would decide these open effects, in words."""
    if any(m.estimate.n < 2 for m in still):
        return "one seed, no interval"
    more, words = 0, []
    for measured in still:
        far, whose = goal(measured)
        if far is None:
            return "leans the other way, within its interval"
        n, spread = measured.estimate.n, measured.estimate.spread
        needed = rule.seeds_needed(far, spread, most=n + MOST)
        if needed is None:
            return f"an effect of {whose} is too small to decide here"
        if needed - n > more:
            more, words = needed - n, [whose]
        elif not more:
            words = [whose]
    if not more:
        return f"an effect of {words[0]} would have shown by now"
    seeds = "1 more seed" if more == 1 else f"{more} more seeds"
    return f"{seeds} would decide an effect of {words[0]}"
