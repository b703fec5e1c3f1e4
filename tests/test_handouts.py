"""Pages to hand out hold what is read, and answers only if asked for."""

import re

import pytest

from tools import handouts


def words(page):
    """A page without its markup, which cuts code into coloured pieces."""
    return re.sub(r"<[^>]+>", "", page)


@pytest.fixture(scope="module")
def student():
    (notebook,) = handouts.chosen(["13"])
    return handouts.page(notebook)


@pytest.fixture(scope="module")
def teacher():
    (notebook,) = handouts.chosen(["13"])
    return handouts.page(notebook, solutions=True)


def test_a_page_is_whole(student):
    assert student.count("data:image/") > 10
    assert "<title>13 seqmt visualisation</title>" in student
    assert not re.search(r'<img[^>]+src="(?!data:)', student)


def test_widgets_and_their_tests_are_left_out(student):
    assert ".sweep(" not in words(student) and "Explorer(" not in words(student)
    assert "interactive: run this cell" not in student
    assert "check(" in words(student)  # exercises stay


def test_what_only_draws_shows_its_picture_alone(student):
    assert "show_opening" not in words(student)


def test_solutions_are_the_teachers(student, teacher):
    file = "lmcourse/exercises/seqmt_visualisation.py: nearest_shape"
    assert file not in student and file in teacher
    assert "<details>" not in teacher and "<details open>" in teacher


def test_links_lead_to_pages():
    (notebook,) = handouts.chosen(["21"])
    page = handouts.page(notebook)
    assert 'href="20_lmdis_method.html' in page and ".ipynb" not in page


def test_a_file_for_each_notebook(tmp_path, capsys):
    handouts.main(["00", "62", "--out", str(tmp_path / "pages")])
    made = sorted(path.name for path in (tmp_path / "pages").iterdir())
    assert made == ["00_start_here.html", "62_scaling_up.html"]


def test_an_unknown_number_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        handouts.main(["99", "--out", str(tmp_path)])
    assert "no notebook 99; there are 00, 01, 02" in capsys.readouterr().err


def test_a_pdf_where_there_is_a_browser(tmp_path, monkeypatch, capsys):
    def nothing():
        raise FileNotFoundError("no Chromium here")

    monkeypatch.setattr(handouts, "open_page", nothing)
    with pytest.raises(SystemExit):
        handouts.main(["00", "--out", str(tmp_path), "--pdf"])
    assert "no Chromium here" in capsys.readouterr().err
