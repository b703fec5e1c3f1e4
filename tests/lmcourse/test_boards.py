"""Boards show pictures and points where they belong, large and in all colours."""

import numpy as np
import pytest
import torch

from lmcourse import plots
from lmcourse.boards import RIM, Board, decades, enlarged, glowing, grey
from lmcourse.widgets.reused import ReusedFigure


def picture_of(board):
    return np.asarray(plots.pixels(board.fig)).astype(int)


def middle(board, column, row, x=0.0, y=0.0):
    """Pixel of the figure at a place of a cell, both in [-1, 1]."""
    place = board.on(torch.tensor([x, y]), column, row).tolist()
    across, up = board.ax.transData.transform(place)
    return int(across), int(board.fig.canvas.get_width_height()[1] - up)


def test_pictures_fill_their_cells_in_their_own_colours():
    tints = torch.tensor([[0.9, 0.1, 0.2], [0.1, 0.7, 0.3], [0.2, 0.3, 0.8]])
    pictures = tints[:, :, None, None].expand(-1, -1, 40, 40)
    board = Board(2, 2, heads=("a", "b"), sides=("one", "two"), side=120)
    board.put(pictures[:2])
    board.put(pictures[2], column=1, row=1)
    seen = picture_of(board)
    for n, (column, row) in enumerate(((0, 0), (1, 0), (1, 1))):
        for x, y in ((0, 0), (-0.95, -0.95), (0.95, 0.95)):
            across, down = middle(board, column, row, x, y)
            assert abs(seen[down, across] / 255 - tints[n].numpy()).max() < 0.01
    across, down = middle(board, 0, 1)
    assert (seen[down, across] == 255).all()  # nothing was put there


def test_points_lie_on_the_pixel_they_mark():
    image = torch.zeros(3, 40, 40)
    image[:, 10, 30] = 1  # centre at x = .525, y = -.475
    board = Board(2, side=200)
    board.put(image, column=1)
    seen = picture_of(board).sum(-1)
    x, y = middle(board, 1, 0, 2 * 30.5 / 40 - 1, 2 * 10.5 / 40 - 1)
    inside = seen[RIM:-RIM, 200 + RIM : -RIM]
    down, across = np.unravel_index(inside.argmax(), inside.shape)
    assert abs(across + 200 + RIM - x) <= 3 and abs(down + RIM - y) <= 3


def test_a_page_is_as_wide_as_the_screen_and_cells_are_large():
    assert Board(4).side == 208 and Board(1).side == 208
    for columns in (5, 6, 10):
        board = Board(columns, sides=("row",))
        assert board.fig.get_size_inches()[0] * 100 <= 900
        assert board.side >= 800 // columns


def test_smooth_pictures_are_enlarged_smoothly_and_maps_of_cells_as_squares():
    step = torch.zeros(1, 40, 40)
    step[:, :, 20:] = 1
    assert len(enlarged(step, 200).unique()) > 3
    assert enlarged(step[:, :20, 10:30], 200).unique().tolist() == [0, 1]
    assert enlarged(step, 200).shape == (3, 200, 200)


def test_light_is_one_at_the_top_and_gone_three_decades_below():
    p = torch.tensor([[1.0, 0.1], [1e-3, 1e-9]])
    assert decades(p).flatten().tolist() == pytest.approx([1, 2 / 3, 0, 0], abs=1e-6)
    lit = glowing(torch.full((3, 4, 4), 0.5), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert lit[:, 0, 0].tolist() == pytest.approx([1.0, 0.95, 0.2])
    assert lit[:, 3, 3].tolist() == pytest.approx([0.275] * 3)
    assert grey(torch.rand(3, 2, 2)).std(0).max() == 0


def test_in_a_widget_cells_fit_the_figure_and_are_drawn_again():
    fig = ReusedFigure((6.3, 2.34), dpi=100, facecolor="white")
    for tint in (0.2, 0.8):
        fig.begin()
        board = Board(3, heads=("a", "b", "c"), fig=fig)
        assert board.side == 210
        board.put([torch.full((3, 40, 40), tint)] * 3)
        across, down = middle(board, 2, 0)
        assert abs(picture_of(board)[down, across] - 255 * tint).max() <= 1
