"""Faces with 68 landmarks: every point in one part, the best first."""

import pytest
import torch
from torch.testing import assert_close

from lmcourse import face_gallery
from lmcourse.boards import Board
from lmcourse.face_gallery import PARTS, TINTS, draw_parts
from lmscenes.faces import five_points


@pytest.fixture
def few_faces(monkeypatch):
    monkeypatch.setenv("LMLIB_BUDGET", "quick")
    face_gallery.faces_found.cache_clear()
    yield face_gallery.faces_found()
    face_gallery.faces_found.cache_clear()


def test_parts_have_all_landmarks_and_the_eyes_are_eyes():
    lines = [k for part in PARTS.values() for line in part for k in line]
    assert {*lines} == {*range(68)} and len(lines) == 68 + 4  # four lines are closed
    points = torch.arange(136.0).view(1, 68, 2)
    eyes = [points[0, line[:-1]].mean(0) for line in PARTS["eyes"]]
    assert_close(torch.stack(eyes), five_points(points)[0, :2])
    assert len({*TINTS.values()}) == len(PARTS)


def test_the_parts_of_a_face_are_drawn_where_they_are():
    board, points = Board(2, side=100), torch.rand(68, 2).double() - 0.5
    draw_parts(board.ax, board.on(points, 1))
    dots = [line for line in board.ax.lines if line.get_marker() == "o"]
    drawn = torch.cat([torch.as_tensor(line.get_xydata()) for line in dots])
    gaps = torch.cdist(board.on(points, 1), drawn).amin(dim=1)
    assert gaps.max() < 1e-5 and drawn[:, 0].min() > 1


def test_faces_come_from_the_best_to_the_worst(few_faces):
    error = few_faces["error"]
    assert len(error) == 20 and error.diff().min() >= 0
    assert error.mean() < 4  # the mean face: over 20
    apart = (few_faces["points"] - few_faces["truth"]).norm(dim=-1).mean(dim=1)
    assert apart[-1] > apart[0]


def test_six_faces_are_shown(few_faces, monkeypatch):
    boards = []
    monkeypatch.setattr(Board, "show", lambda board, alt: boards.append((board, alt)))
    face_gallery.show_faces()
    ((board, alt),) = boards
    words = [text.get_text() for text in board.ax.texts]
    assert len(words) == 6 and words[-1].startswith("the worst")
    assert "Six drawn faces" in alt
