"""Verdicts as text, and texts kept in step with the rows."""

import json
import re

import pytest
from toy_claims import GOOD, ROOT, TOML, register, rows

from lmcourse.evidence.blocks import (
    files_with_blocks,
    interval_text,
    markdown,
    paper_text,
    render,
    size_text,
    stale_blocks,
    tally,
    text,
)
from lmcourse.evidence.claims import judge_all, load_claims
from lmcourse.evidence.effects import Estimate
from lmcourse.evidence.results import append_rows

BLOCK = """# Title
before
<!-- claims:begin -->
old words
<!-- claims:end -->
after
"""


def verdicts(folder, toml=TOML):
    return judge_all(register(folder, toml), folder)


# --- what is shown --------------------------------------------------------------------


def test_the_table_has_a_row_for_each_effect_and_folds_the_rest(tmp_path):
    append_rows(rows(GOOD), tmp_path)
    shown = markdown(verdicts(tmp_path))
    table, folded = shown.split("\n\n<details>")
    head, _, first, second = table.splitlines()
    assert head == "| claim | paper | ours, 90 % interval | verdict |"
    assert first == (
        "| **toy-1** Labels teach places.<br>*the class is right* | 0.99 | "
        "0.994 [0.981,&nbsp;1.01], 2 seeds ✓ | **reproduced** |"
    )
    assert second.startswith(
        "| *with / without* | ×&nbsp;0.50 (2&nbsp;/&nbsp;4) | ×&nbsp;0.26 [0."
    )
    for words in (
        "`real:error / none:error < 1`: × 0.26",
        "means 1.1 and 4.2, seeds 0, 1, 100 steps",
        "control `shuffled:error / none:error < 1`: × 0.97",
        "the control: shuffled labels say nothing",
        "(table 1)",
    ):
        assert words in folded
    assert shown.endswith("</details>")


def test_the_text_of_the_command_says_the_same(tmp_path):
    append_rows(rows(GOOD), tmp_path)
    spoken = text(verdicts(tmp_path))
    assert spoken.startswith("toy-1  [reproduced]  Labels teach places.\n")
    assert "control shuffled:accuracy > 0.9: 0.51 [" in spoken
    assert spoken.endswith(
        "Of 1 claims, 1 is reproduced, 0 contradicted, 0 undecided and 0 not tested."
    )
    assert text([]) == "no claims registered"


def test_what_is_not_tested_has_a_row_too(tmp_path):
    shown = markdown(verdicts(tmp_path))
    assert "**not tested**: no row of toy/real:accuracy |" in shown
    assert "| *with / without* | ×&nbsp;0.50 (2&nbsp;/&nbsp;4) | – |  |" in shown


def test_other_lengths_notes_and_diagnoses_are_folded(tmp_path):
    toml = TOML.replace(
        "[claim.control]",
        'note = "A note."\n[claim.diagnosis]\ntext = "Too short."\n'
        'rows = ["toy real:error"]\n[claim.control]',
    )
    long = {(k[0] + ",long", k[1]): v for k, v in GOOD.items() if k[0] != "shuffled"}
    append_rows(rows(GOOD) + rows(long, steps=4000), tmp_path)
    folded = markdown(verdicts(tmp_path, toml)).split("<details>")[1]
    assert "after 4,000 steps: with / without × 0.26" in folded
    assert "why: Too short. (`toy real:error` 1.1)" in folded
    assert "  - A note." in folded


def test_statements_cannot_break_the_table(tmp_path):
    toml = TOML.replace("Labels teach places.", "a | b\\n| c |")
    shown = markdown(verdicts(tmp_path, toml))
    assert "a \\| b \\| c \\|<br>" in shown.splitlines()[2]


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [("ratio", 0.4911, "× 0.49"), ("ratio", 12.345, "× 12.3"),
     ("difference", -1.594, "-1.59 px"), ("value", 0.9941, "0.994 px")],
)  # fmt: skip
def test_sizes_in_words(kind, size, expected):
    assert size_text(kind, size, "px") == expected
    assert size_text("value", 0.5, "share") == "0.5"


@pytest.mark.parametrize(
    ("high", "shown"),
    [(0.9968, "0.997"), (0.99996, "0.99996"), (1.0, "1.00"), (1.004, "1.004")],
)
def test_an_end_is_not_rounded_to_the_bound(tmp_path, high, shown):
    """An interval that ends just below 1 must not be printed as one that reaches it."""
    (claim,) = load_claims(register(tmp_path))
    found = Estimate(0.9, 0.81, high, 2, 0.1)
    assert interval_text(claim.effects[1], found) == f"× 0.90 [0.81, {shown}]"


def test_the_papers_numbers_stand_beside_its_size(tmp_path):
    (claim,) = load_claims(register(tmp_path))
    assert [paper_text(e) for e in claim.effects] == ["0.99", "× 0.50 (2 / 4)"]


# --- texts in step --------------------------------------------------------------------


def test_a_text_that_disagrees_with_the_rows_is_found_and_mended(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(BLOCK)
    assert stale_blocks([readme], verdicts(tmp_path)) == [readme]
    stale_blocks([readme], verdicts(tmp_path), write=True)
    mended = readme.read_text()
    assert "**not tested**" in mended and "old words" not in mended
    assert mended.startswith("# Title\nbefore\n") and mended.endswith("after\n")
    assert stale_blocks([readme], verdicts(tmp_path)) == []
    append_rows(rows(GOOD), tmp_path)  # new rows: the text is stale again
    assert stale_blocks([readme], verdicts(tmp_path)) == [readme]
    readme.write_text(mended.replace("not tested", "reproduced"))  # typed by hand
    assert stale_blocks([readme], verdicts(tmp_path)) == [readme]


def test_notebooks_hold_blocks_too(tmp_path):
    notebook = tmp_path / "notebooks" / "10.ipynb"
    notebook.parent.mkdir()
    cells = [
        {"cell_type": "markdown", "metadata": {}, "id": "a", "source": BLOCK},
        {"cell_type": "code", "metadata": {}, "id": "b", "source": ["x = 'é'"]},
    ]
    document = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    notebook.write_text(json.dumps(document))
    (tmp_path / "README.md").write_text("speaks of `<!-- claims:begin -->` only")
    found = files_with_blocks(tmp_path)
    assert found == [notebook]
    assert stale_blocks(found, verdicts(tmp_path), write=True) == [notebook]
    assert stale_blocks(found, verdicts(tmp_path)) == []
    after = json.loads(notebook.read_text(encoding="utf-8"))
    assert "**not tested**" in "".join(after["cells"][0]["source"])
    assert after["cells"][1] == cells[1]


def test_a_block_may_pick_papers_or_claims_or_ask_for_the_tally(tmp_path):
    second = TOML.replace("toy-1", "other-1").replace('"toy"\nst', '"other"\nst')
    both = verdicts(tmp_path, TOML + second)
    for word in ("other", "other-1"):
        block = BLOCK.replace("begin -->", f"begin {word} -->")
        filled = render(block, both, "README")
        assert "other-1" in filled and "toy-1" not in filled
        assert render(filled, both, "README") == filled
    assert "toy-1" in render(BLOCK, both, "README")
    for words, count in (("tally", 2), ("tally toy", 1)):
        counted = render(BLOCK.replace("begin -->", f"begin {words} -->"), both, "x")
        assert (
            f"\nOf {count} claims, 0 are reproduced" in counted and "|" not in counted
        )
    assert tally(both) == (
        "Of 2 claims, 0 are reproduced, 0 contradicted, 0 undecided and 2 not tested."
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("begin -->", "begin nobody -->", 3, "unknown claim 'nobody'"),
        ("<!-- claims:end -->\n", "", 3, "a claims:begin without its claims:end"),
        ("<!-- claims:begin -->\n", "", 4, "a claims:end without its claims:begin"),
        ("old words", "<!-- claims:begin -->", 4, "a claims:begin without"),
        ("begin -->", "begin", 3, "a claims:begin without"),
    ],
)
def test_a_wrong_block_names_file_and_line(tmp_path, old, new, line, message):
    path = tmp_path / "README.md"
    path.write_text(BLOCK.replace(old, new))
    with pytest.raises(ValueError, match=message) as error:
        stale_blocks([path], verdicts(tmp_path), write=True)
    assert str(error.value).startswith(f"{path}:{line}: ")
    notebook = tmp_path / "a.ipynb"
    source = BLOCK.replace(old, new).splitlines(keepends=True)
    cells = [{"cell_type": "markdown", "source": source}]
    notebook.write_text(json.dumps({"cells": cells}))
    with pytest.raises(ValueError, match=message) as error:
        stale_blocks([notebook], verdicts(tmp_path))
    assert str(error.value).startswith(f"{notebook}: cell 0:{line}: ")


@pytest.mark.parametrize(
    "content",
    [
        "{}", "[]", "3", '{"cells": 3}', '{"cells": [3]}', '{"cells": [{}]}',
        '{"cells": [{"cell_type": "markdown", "source": 3}]}',
        '{"cells": [{"cell_type": "markdown", "source": [3]}]}',
        '{"cells": [{"cell_type": "markdown"}]}', "[" * 100_000, "{" + "1" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_notebook_is_named(tmp_path, content):
    path = tmp_path / "10.ipynb"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"10\.ipynb: not a Jupyter notebook"):
        stale_blocks([path], verdicts(tmp_path))


@pytest.mark.parametrize("name", ["README.md", "10.ipynb"])
def test_what_is_no_text_is_named(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"a\nb\n\xff\n")
    with pytest.raises(ValueError, match=rf"{name}:3: not UTF-8 text"):
        stale_blocks([path], verdicts(tmp_path))


def test_nothing_is_lost_where_a_text_cannot_be_written(tmp_path, monkeypatch):
    readme = tmp_path / "README.md"
    readme.write_text(BLOCK)

    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        stale_blocks([readme], verdicts(tmp_path), write=True)
    assert readme.read_text() == BLOCK
    assert [p.name for p in tmp_path.iterdir() if "tmp" in p.name] == []


def test_committed_texts_agree_with_the_committed_rows():
    paths = files_with_blocks(ROOT)
    assert {"README.md", "CLAIMS.md", "12_seqmt_ablations.ipynb"} <= {
        path.name for path in paths
    }
    stale = [str(path) for path in stale_blocks(paths, judge_all())]
    assert not stale, f"run `lmlib claims --write`: {stale}"


def test_the_page_of_claims_says_once_what_is_common_to_all():
    page = (ROOT / "data" / "CLAIMS.md").read_text(encoding="utf-8")
    assert "What all of ours have in common" in page.split("<!-- claims:begin")[0]
    notes = [claim.note for claim in load_claims() if claim.note]
    sentences = [part for note in notes for part in re.split(r"(?<=[.;:]) ", note)]
    common = [part for part in set(sentences) if sentences.count(part) > 3]
    assert not common, "say it at the top of data/CLAIMS.md"
