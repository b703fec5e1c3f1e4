"""What the notebooks on garments measure and draw with."""

import pytest
import torch

from lmcourse import fashion
from lmlib.geometry import pixel_grid


def batch():
    """Two garments; the collar of the second is hidden."""
    landmarks = torch.full((2, 8, 2), torch.nan)
    landmarks[:, 0], landmarks[:, 1] = (
        torch.tensor([-0.5, -0.5]),
        torch.tensor([0.5, -0.5]),
    )
    visible = torch.zeros(2, 8, dtype=torch.bool)
    visible[0, :2] = True
    return {
        "landmarks": landmarks,
        "visible": visible,
        "share": torch.tensor([0.5, 1.0]),
    }


def spot(x, y, side=32):
    far = (pixel_grid(side, side) - torch.tensor([x, y])).norm(dim=-1)
    return (far < 0.1).float()


def test_answers_near_landmarks_are_told_from_others():
    maps = torch.stack([spot(-0.5, -0.5), spot(0.5, -0.5), spot(0.0, 0.5),
                        spot(-0.5, -0.5) + spot(0.0, 0.5)])  # fmt: skip
    other = torch.rand(4, 32, 32)  # of a garment whose collar is not seen
    shares = fashion.answers_near(torch.stack([maps, other]), batch(), (0, 1))
    torch.testing.assert_close(shares, torch.tensor([1.0, 1.0, 0.0, 0.5]))


def test_near_is_an_eighth_of_the_garment():
    even = torch.ones(2, 1, 256, 256)
    share = fashion.answers_near(even, batch(), (0,))
    # a disc of radius 0.5 / 8 of the picture's side
    assert share.item() == pytest.approx(torch.pi / 16**2, rel=0.03)


def test_a_legend_takes_no_room_from_the_pictures():
    fig, axes = fashion.board(4)
    fig.canvas.draw()
    alone = axes[0].get_window_extent().width
    fashion.legend(fig)
    fig.canvas.draw()
    assert axes[0].get_window_extent().width > 0.9 * alone
