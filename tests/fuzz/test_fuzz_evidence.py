"""Whatever stands in rows, registers, tables and blocks: an answer, or one clear error.

Each target writes a file, mutated from a good one or made up, and asks what the course
asks of it. Allowed is the documented ValueError, in one line, naming the file; anything
else that is raised is a defect.
"""

import json
import os
import re
import warnings
from pathlib import Path

import pytest
from fuzzing import fuzz
from hypothesis import strategies as st

from lmcourse.evidence import blocks, paper
from lmcourse.evidence.claims import Verdict, judge_rows, load_claims
from lmcourse.evidence.forest import alt
from lmcourse.evidence.results import (
    Row,
    append_rows,
    latest,
    read_images,
    read_rows,
    repair,
    summarise,
)

ROOT = Path(__file__).resolve().parents[2]


def one_clear_line(error: ValueError, path: Path) -> None:
    """The error names the file, and is a line that a person can read."""
    text = str(error)
    assert str(path) in text, text
    assert "\n" not in text and len(text) < len(str(path)) + 1000, text


# --- bytes that were once right -------------------------------------------------------

ODD = st.sampled_from(
    [
        "1" + "0" * 400, "1" * 5000, "1e999", "-1e999", "NaN", "nan", "inf", "-0.0",
        "[" * 3000, "{" * 3000, '{"a":' * 3000, "null", "true", "[]", "{}", '""', "''",
        "\\ud800", "\\u0000", "\r\n", "\n", "\t", '"', "=", "|", "<!-- claims:end -->",
        "<!-- claims:begin -->", "[[claim]]", "[claim.control]", "{row.__class__}",
        "{0}", "%s", "../../etc", "1_000", "0x10", "1979-05-27", "é", "\u2028", "#",
    ]
)  # fmt: skip
EDIT = st.tuples(
    st.floats(0, 1),  # where, as a share of the length
    st.integers(0, 40),  # how many bytes go
    st.one_of(ODD.map(str.encode), st.binary(max_size=12)),  # and what comes
)


def edited(good: bytes, edits) -> bytes:
    for share, gone, new in edits:
        at = int(share * len(good))
        good = good[:at] + new + good[at + gone :]
    return good


def mutations(good: str):
    """Edits anywhere, or of one of its values: after ``=`` or ``:``."""
    spans = [
        m.span(1) for m in re.finditer(r"[=:]\s*([^\s,{}\[\]][^,\n{}\[\]]*)", good)
    ]

    def one_value(choice):
        number, new = choice
        start, end = spans[number % len(spans)]
        return (good[:start] + new + good[end:]).encode()

    value = st.tuples(st.integers(0, 10_000), ODD | st.text(max_size=8)).map(one_value)
    return value | st.lists(EDIT, max_size=4).map(lambda e: edited(good.encode(), e))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


# --- rows -----------------------------------------------------------------------------

ROW = Row("toy", "a", 0, "error", 0.5, 10, "cpu", {"python": "3"}, "abc", 1.5,
          {"budget": "class", "n_train": 20})  # fmt: skip
LINES = ROW.line() + "\n" + ROW.line().replace('"a"', '"b"') + "\n"


def field_changes():
    """A row with one field replaced by any JSON value."""

    def change(choice):
        name, value, extra = choice
        record = json.loads(ROW.line())
        if extra:
            record["extra"] = {name: value}
        else:
            record[name] = value
        return (json.dumps(record) + "\n").encode("utf-8", "surrogatepass")

    names = st.sampled_from([*json.loads(ROW.line()), "budget", "colour"])
    return st.tuples(names, JSON, st.booleans()).map(change)


@fuzz(content=mutations(LINES) | field_changes() | st.binary(max_size=60))
def test_rows(tmp_path, content):
    path = tmp_path / "toy.jsonl"
    path.write_bytes(content)
    (tmp_path / "toy.jsonl.broken").unlink(missing_ok=True)
    try:
        rows = read_rows("toy", tmp_path)
    except ValueError as error:
        assert re.search(r"toy\.jsonl:\d+: ", str(error))
        one_clear_line(error, path)
    else:
        assert all(isinstance(row, Row) for row in latest(rows))
        summarise(rows, by=("experiment", "setting", "metric", "budget"))
        for row in rows:  # what was read can be written and is the same again
            assert Row(**json.loads(row.line())) == row
    assert path.read_bytes() == content  # reading changes nothing
    repair("toy", tmp_path)
    append_rows([ROW], tmp_path)
    aside = tmp_path / "toy.jsonl.broken"
    kept = path.read_bytes() + (aside.read_bytes() if aside.exists() else b"")
    assert kept.endswith(ROW.line().encode() + b"\n") or aside.exists()
    for line in content.split(b"\n"):  # nothing that stood there is lost
        assert line in kept


@fuzz(content=st.binary(max_size=200) | st.lists(EDIT, max_size=3).map(
    lambda edits: edited(b"\x50\0\0\0\0\0\0\0" + json.dumps(
        {json.dumps(["a", 0, "m", "class", 1, "cpu"]):
         {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}).encode()[:80]
        + b"\0\0\0\0", edits)))  # fmt: skip
def test_image_errors(tmp_path, content):
    path = tmp_path / "images" / "toy.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    try:
        found = read_images("toy", tmp_path)
    except ValueError as error:
        one_clear_line(error, path)
    else:
        assert all(vector.ndim == 1 for vector in found.values())


# --- the register ---------------------------------------------------------------------

REGISTER = """
[[claim]]
id = "toy-1"
paper = "toy"
statement = "Labels teach places."
source = "table 1"
experiment = "toy"
metrics = { accuracy = "share", error = "px" }
effects = [
  { says = "the class is right", compare = "a:accuracy > 0.9", paper = [0.99] },
  { says = "with / without", compare = "a:error / b:error < 1", paper = [2, 4] },
  { says = "with minus without", compare = "a:error - b:error < 0" },
]
published = [{ name = "error", value = 3, unit = "px" }]
note = "A note."
[claim.control]
replace = { a = "c" }
because = "nothing is said"
[claim.diagnosis]
text = "Too short."
rows = ["toy a:error"]
"""
MEASURED = [
    Row("toy", setting, seed, metric, value + 0.1 * seed, 1, "cpu", {}, None, 1.0)
    for setting, metric, value in (("a", "error", 1.0), ("b", "error", 2.0),
                                   ("a", "accuracy", 0.95), ("c", "error", 2.5),
                                   ("c", "accuracy", 0.5))
    for seed in (0, 1)
]  # fmt: skip


@fuzz(content=mutations(REGISTER) | st.binary(max_size=60))
def test_the_register(tmp_path, content):
    path = tmp_path / "claims.toml"
    path.write_bytes(content)
    try:
        claims = load_claims(path)
    except ValueError as error:
        one_clear_line(error, path)
        return
    verdicts: list[Verdict] = []
    for claim in claims:
        try:
            verdicts.append(judge_rows(claim, MEASURED))
        except ValueError as error:  # a ratio of a metric that is not above zero
            assert "a ratio needs values above zero" in str(error)
    shown = blocks.markdown(verdicts)
    for row in shown.split("\n\n<details>")[0].splitlines():
        assert len(re.findall(r"(?<!\\)\|", row)) == 5  # no statement breaks the table
    blocks.text(verdicts)
    alt(verdicts)
    json.dumps([verdict.as_dict() for verdict in verdicts], allow_nan=False)


VALUES = st.floats(0.0, 1e12) | st.sampled_from([1e-300, 1e300, 5e-324, 1.0])


@fuzz(values=st.lists(VALUES, min_size=10, max_size=10), same=st.booleans())
def test_verdicts_on_any_numbers(tmp_path, values, same):
    if same:
        values = [values[0]] * 10
    path = tmp_path / "claims.toml"
    path.write_text(REGISTER)
    (claim,) = load_claims(path)
    rows = [
        Row(**vars(row) | {"value": value})
        for row, value in zip(MEASURED, values, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            verdict = judge_rows(claim, rows)
        except ValueError as error:
            assert "a ratio needs values above zero" in str(error)
            assert min(values) == 0
            return
    assert verdict.verdict in ("reproduced", "contradicted", "undecided")
    json.dumps(verdict.as_dict(), allow_nan=False)
    blocks.markdown([verdict])


# --- the papers' tables ---------------------------------------------------------------

PAPER = """
[table-1]
source = "table 1"
about = "mean error"
experiment = "toy"
metric = "error_{column}"
unit = "px"
scale = 1
better = "lower"
setting = "{row}@{column}"
[table-1.rows]
"L" = { 1 = 8.33, 5 = 3.95 }
[table-1.others]
"CFAN" = 15.84
"""


@fuzz(content=mutations(PAPER) | st.binary(max_size=60))
def test_the_papers_tables(tmp_path, content):
    os.environ["LMLIB_ROOT"] = str(tmp_path)
    path = tmp_path / "data" / "paper" / "toy.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        tables = paper.paper_tables("toy")
    except ValueError as error:
        one_clear_line(error, path)
        return
    for table in tables.values():
        assert table.percents == sorted(table.percents)
        try:
            assert table.measured() == {}
        except ValueError as error:  # an experiment that cannot be a file's name
            assert "an experiment is named" in str(error)


@pytest.fixture(autouse=True)
def _root(monkeypatch):
    """Put LMLIB_ROOT back: the target above sets it for every example."""
    monkeypatch.setenv("LMLIB_ROOT", os.environ.get("LMLIB_ROOT", str(ROOT)))


# --- blocks ---------------------------------------------------------------------------

MARKDOWN = """# Title
<!-- claims:begin toy-1 -->
old words
<!-- claims:end -->
<!-- claims:begin tally -->
<!-- claims:end -->
after
"""
NOTEBOOK = json.dumps(
    {
        "cells": [
            {"cell_type": "markdown", "id": "a", "metadata": {},
             "source": MARKDOWN.splitlines(keepends=True)},
            {"cell_type": "code", "id": "b", "metadata": {}, "source": ["x = 1"]},
        ],
        "metadata": {}, "nbformat": 4, "nbformat_minor": 5,
    },
    indent=1,
)  # fmt: skip
NOTEBOOKS = st.fixed_dictionaries(
    {
        "cells": JSON
        | st.lists(
            st.fixed_dictionaries(
                {"cell_type": st.just("markdown") | JSON, "source": JSON}
            ),
            max_size=3,
        )
    }
).map(lambda document: json.dumps(document).encode("utf-8", "surrogatepass"))


@fuzz(
    content=mutations(MARKDOWN) | mutations(NOTEBOOK) | NOTEBOOKS,
    name=st.sampled_from(["a.md", "a.ipynb"]),
)
def test_blocks(tmp_path, content, name):
    register = tmp_path / "claims.toml"
    register.write_text(REGISTER)
    verdicts = [judge_rows(claim, MEASURED) for claim in load_claims(register)]
    path = tmp_path / name
    path.write_bytes(content)
    try:
        stale = blocks.stale_blocks([path], verdicts)
        assert path.read_bytes() == content  # asking changes nothing
        blocks.stale_blocks([path], verdicts, write=True)
    except ValueError as error:
        one_clear_line(error, path)
        assert path.read_bytes() == content
        return
    assert (path.read_bytes() == content) or stale == [path]
    assert blocks.stale_blocks([path], verdicts) == []  # and now they agree
