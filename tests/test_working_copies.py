"""`make lab` opens copies: changes of a student stay, and so do the originals."""

from itertools import product

import pytest

from tools.working_copies import RECORD, refresh


@pytest.fixture
def folders(tmp_path):
    originals, work = tmp_path / "notebooks", tmp_path / "work"
    originals.mkdir()
    (originals / "00_a.ipynb").write_text("first")
    return originals / "00_a.ipynb", work / "00_a.ipynb"


@pytest.mark.parametrize("theirs, ours", [*product((False, True), repeat=2)])
def test_changed_copies_stay_and_unchanged_ones_follow(folders, theirs, ours):
    original, copy = folders
    assert refresh(original.parent, copy.parent) == []
    assert copy.read_text() == "first"
    if theirs:
        copy.write_text("a student's")
    if ours:
        original.write_text("second")
    beside = refresh(original.parent, copy.parent)
    new = copy.with_name("00_a_new.ipynb")
    assert original.read_text() == ("second" if ours else "first")
    if theirs:
        assert copy.read_text() == "a student's"
        assert beside == (["00_a.ipynb"] if ours else [])
        assert new.exists() is ours and (not ours or new.read_text() == "second")
    else:
        assert beside == [] and not new.exists()
        assert copy.read_text() == original.read_text()


def test_a_copy_that_was_deleted_comes_back_and_others_are_left_alone(folders):
    original, copy = folders
    refresh(original.parent, copy.parent)
    own = copy.with_name("mine.ipynb")
    own.write_text("own")
    copy.unlink()
    assert refresh(original.parent, copy.parent) == []
    assert copy.read_text() == "first" and own.read_text() == "own"


@pytest.mark.parametrize("content", ["", "[1]", "{broken"])
def test_without_its_record_nothing_is_overwritten(folders, content):
    original, copy = folders
    refresh(original.parent, copy.parent)
    copy.write_text("a student's")
    copy.with_name(RECORD).write_text(content)
    assert refresh(original.parent, copy.parent) == ["00_a.ipynb"]
    assert copy.read_text() == "a student's"


def test_a_copy_equal_to_its_original_follows_even_when_the_record_is_lost(folders):
    original, copy = folders
    refresh(original.parent, copy.parent)
    copy.with_name(RECORD).unlink()
    assert refresh(original.parent, copy.parent) == []
    original.write_text("second")
    assert refresh(original.parent, copy.parent) == []
    assert copy.read_text() == "second"
