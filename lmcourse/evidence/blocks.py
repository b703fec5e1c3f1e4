"""Verdicts as text, and texts that are kept in step with the rows.

A Markdown file or a notebook's Markdown cell may hold a block::

    <!-- claims:begin seqmt-5 lmdis -->
    <!-- claims:end -->

``lmlib claims --write`` fills it with a table of those claims (ids or papers; all, if
none is named), and ``--check`` finds the ones that disagree with the rows. The word
``tally`` asks for one sentence that counts the verdicts instead.
"""

import json
import math
import re
from pathlib import Path

from lmcourse.evidence.claims import VERDICTS, Measured, Verdict
from lmcourse.evidence.effects import OPEN, REFUTED, SHOWN, Estimate
from lmcourse.evidence.files import write_whole
from lmcourse.evidence.register import Claim, Effect

MARKS = {SHOWN: " ✓", OPEN: "", REFUTED: " ✗"}


# --- one effect in words --------------------------------------------------------------


def size_text(kind: str, size: float, unit: str = "") -> str:
    """``× 0.49``, ``-1.6 px``, ``0.994``: shares have no unit."""
    if kind == "ratio":
        return f"× {size:.2f}" if size < 10 else f"× {size:.3g}"
    return f"{size:.3g}" + (f" {unit}" if unit not in ("", "share") else "")


def interval_text(effect: Effect, found: Estimate, unit: str = "") -> str:
    """``× 0.69 [0.57, 0.84]``; without the brackets for one seed."""
    size = size_text(effect.kind, found.value, unit)
    if found.n < 2:
        return size
    return f"{size} [{', '.join(_end(effect, end) for end in (found.low, found.high))}]"


def _seeds(found: Estimate) -> str:
    if found.n < 2:
        return "one seed"
    return f"{found.n} seeds" + ("" if found.paired else ", not paired")


def _end(effect: Effect, end: float) -> str:
    """An end of an interval; never rounded to the bound that it does not touch."""
    short = size_text(effect.kind, end).removeprefix("× ")
    if float(short) == effect.bound != end:
        longer = (f"{end:.{digits}g}" for digits in range(3, 18))
        short = next(text for text in longer if float(text) != effect.bound)
    return short


def paper_text(effect: Effect) -> str:
    """``× 0.49 (1.94 / 3.95)``: the paper's size, and the numbers that it prints."""
    if effect.size is None:
        return "–"
    size = size_text(effect.kind, effect.size)
    sign = {"ratio": " / ", "difference": " - "}.get(effect.kind)
    return f"{size} ({sign.join(f'{v:g}' for v in effect.paper)})" if sign else size


def ours_text(claim: Claim, measured: Measured) -> str:
    """``× 0.69 [0.57, 0.84], 3 seeds``; a dash where rows are missing."""
    if measured.estimate is None:
        return "–"
    unit = claim.metrics[measured.effect.left.metric]
    size = interval_text(measured.effect, measured.estimate, unit)
    return f"{size}, {_seeds(measured.estimate)}"


def tally(verdicts: list[Verdict]) -> str:
    """How many claims came out how, as a sentence."""
    counts = [(sum(v.verdict == name for v in verdicts), name) for name in VERDICTS]
    (first, name), *middle, last = counts
    words = "".join(f", {n} {which}" for n, which in middle)
    are = "is" if first == 1 else "are"
    ends = f"{words} and {last[0]} {last[1]}"
    return f"Of {len(verdicts)} claims, {first} {are} {name}{ends}."


# --- all of them ----------------------------------------------------------------------


def markdown(verdicts: list[Verdict]) -> str:
    """Claims as a table, one row an effect; what they rest on is folded below."""
    lines = [
        "| claim | paper | ours, 90 % interval | verdict |",
        "|---|---|---|---|",
    ]
    for verdict in verdicts:
        claim = verdict.claim
        words = f"**{verdict.verdict}**"
        if verdict.verdict != "reproduced":
            words += f": {verdict.reason}"
        found = verdict.effects or [Measured(effect) for effect in claim.effects]
        for number, measured in enumerate(found):
            says = f"*{measured.effect.says}*"
            first = f"**{claim.id}** {claim.statement}<br>{says}"
            ours = ours_text(claim, measured) + MARKS[measured.stands]
            cells = [says, _together(paper_text(measured.effect)), _together(ours), ""]
            if not number:
                cells[0], cells[3] = first, words
            row = " | ".join(_line(cell).replace("|", "\\|") for cell in cells)
            lines.append(f"| {row} |")
    lines += ["", "<details><summary>Settings, thresholds, controls</summary>", ""]
    for verdict in verdicts:
        lines.append(f"- **{verdict.claim.id}** ({_line(verdict.claim.source)})")
        lines += [f"  - {_line(part)}" for part in details(verdict, code="`")]
    return "\n".join([*lines, "", "</details>"])


def _together(text: str) -> str:
    """No line breaks within brackets and behind a cross, in a narrow column."""
    pieces = re.compile(r"\[[^]]*\]|\([^)]*\)|× ")
    return pieces.sub(lambda match: match[0].replace(" ", "&nbsp;"), text)


def _line(text: str) -> str:
    return " ".join(text.split())


def details(verdict: Verdict, code: str = "") -> list[str]:
    """What a verdict rests on: comparisons, runs, control, notes; a line each."""
    claim, lines = verdict.claim, []
    for measured, control in zip(verdict.effects, verdict.controls, strict=True):
        lines.append(f"{code}{measured.effect}{code}: {_rested(claim, measured)}")
        if control:
            found = ours_text(claim, control) + MARKS[control.stands]
            lines.append(f"control {code}{control.effect}{code}: {found}")
    if not verdict.effects:
        lines += [f"{code}{effect}{code}" for effect in claim.effects]
    lines.append(f"the control: {claim.because}")
    for measured in verdict.others:
        found = ours_text(claim, measured) + MARKS[measured.stands]
        lines.append(f"after {_steps(measured)}: {measured.effect.says} {found}")
    for value in claim.published:
        number = f"{value['value']:g} {value['unit']}"
        lines.append(f"also in the paper: {value['name']} {number}")
    if claim.diagnosis:
        rows = ", ".join(
            f"{code}{b['row']}{code} "
            + ("no row" if b["mean"] is None else f"{b['mean']:.3g}")
            for b in verdict.backing
        )
        lines.append(f"why: {claim.diagnosis} ({rows})")
    return lines + [claim.note] * bool(claim.note)


def _rested(claim: Claim, measured: Measured) -> str:
    """The runs behind an effect."""
    sides = [side for side in (measured.left, measured.right) if side]
    means = [f"{sum(r.value for r in rows) / len(rows):.3g}" for rows in sides]
    seeds = sorted({row.seed for rows in sides for row in rows})
    words = f"{ours_text(claim, measured)}{MARKS[measured.stands]}; "
    words += f"means {' and '.join(means)}, " if len(means) > 1 else ""
    words += f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    words += f", {_steps(measured)}"
    if math.isfinite(measured.images):
        words += f"; other test images would move it by {_images(claim, measured)}"
    return words


def _images(claim: Claim, measured: Measured) -> str:
    if measured.effect.kind == "ratio":
        return f"{100 * math.expm1(measured.images):.2g} %"
    unit = claim.metrics[measured.effect.left.metric]
    return size_text(measured.effect.kind, measured.images, unit)


def _steps(measured: Measured) -> str:
    steps = [f"{n:,}" for n in measured.steps if n]
    return f"{' and '.join(steps)} steps" if steps else "nothing trained"


def text(verdicts: list[Verdict]) -> str:
    """What ``lmlib claims`` prints: each claim with its comparisons spelled out."""
    lines = []
    for verdict in verdicts:
        claim = verdict.claim
        lines.append(f"{claim.id}  [{verdict.verdict}]  {_line(claim.statement)}")
        lines.append(f"    {verdict.reason}")
        for effect in claim.effects:
            paper = paper_text(effect) if effect.size is not None else "in words"
            lines.append(f"    {effect.says}: paper {paper}")
        lines += [f"    {_line(part)}" for part in details(verdict)]
    return "\n".join([*lines, tally(verdicts)]) if lines else "no claims registered"


# --- texts in step --------------------------------------------------------------------

_BEGIN = re.compile(r"^<!-- claims:begin", re.MULTILINE)
_END = re.compile(r"^<!-- claims:end", re.MULTILINE)
_BLOCK = re.compile(
    r"^(<!-- claims:begin([^>\n]*)-->\n).*?^<!-- claims:end -->",
    re.DOTALL | re.MULTILINE,
)


def render(source: str, verdicts: list[Verdict], name: str) -> str:
    """``source``, which is found in ``name``, with every claims block filled in anew.

    Raises ValueError with ``name`` and line for an unknown claim, a begin without its
    end and an end without its begin.
    """

    def complain(place: int, words: str):
        raise ValueError(f"{name}:{source.count(chr(10), 0, place) + 1}: {words}")

    blocks = list(_BLOCK.finditer(source))
    inside = [range(*block.span()) for block in blocks]
    for begin in _BEGIN.finditer(source):
        if not any(begin.start() == block.start() for block in blocks):
            complain(begin.start(), "a claims:begin without its claims:end")
    for end in _END.finditer(source):
        if not any(end.start() in block for block in inside):
            complain(end.start(), "a claims:end without its claims:begin")

    def fill(match: re.Match) -> str:
        only = set(match[2].split())
        count, only = "tally" in only, only - {"tally"}
        unknown = only.difference(*((v.claim.id, v.claim.paper) for v in verdicts))
        if unknown:
            complain(match.start(), f"unknown claim {sorted(unknown)[0]!r:.60}")
        chosen = [v for v in verdicts if not only or {v.claim.id, v.claim.paper} & only]
        filled = (tally if count else markdown)(chosen)
        return f"{match[1]}{filled}\n<!-- claims:end -->"

    return _BLOCK.sub(fill, source)


def _parts(path: Path) -> tuple[dict, list[tuple[str, dict]]]:
    """A notebook and its Markdown cells, each with its place; ({}, one) for Markdown.

    Raises ValueError naming the file.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}:{line}: not UTF-8 text ({error.reason})") from None
    if path.suffix != ".ipynb":
        return {}, [(str(path), {"source": content})]
    try:
        notebook = json.loads(content)
        cells = [
            (f"{path}: cell {number}", cell)
            for number, cell in enumerate(notebook["cells"])
            if cell["cell_type"] == "markdown"
        ]
        for _, cell in cells:
            "".join(cell["source"])
        return notebook, cells
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path}: not a Jupyter notebook") from None


def stale_blocks(
    paths: list[Path], verdicts: list[Verdict], write: bool = False
) -> list[Path]:
    """The Markdown files and notebooks whose claims blocks disagree with the rows.

    With ``write=True`` they are brought up to date.
    """
    stale = []
    for path in paths:
        notebook, parts = _parts(path)
        old = ["".join(cell["source"]) for _, cell in parts]
        new = [
            render(source, verdicts, place)
            for source, (place, _) in zip(old, parts, strict=True)
        ]
        if new == old:
            continue
        stale.append(path)
        for (_, cell), source in zip(parts, new, strict=True):
            cell["source"] = source.splitlines(keepends=True)
        content = "".join(new)
        if notebook:
            content = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        if write:
            write_whole(path, content.encode())
    return stale


def files_with_blocks(root: Path) -> list[Path]:
    """README and other Markdown, data/README and notebooks that hold a block."""
    patterns = ("*.md", "data/*.md", "notebooks/*.ipynb")
    return [
        path
        for pattern in patterns
        for path in sorted(root.glob(pattern))
        if any(_BEGIN.search("".join(cell["source"])) for _, cell in _parts(path)[1])
    ]
