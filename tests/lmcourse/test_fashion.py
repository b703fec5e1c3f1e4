"""What the notebooks on garments measure and draw with."""

import math

import pytest
import torch

from lmcourse import fashion, fashion_results
from lmcourse.experiments.dlan import PROBLEMS
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


def test_effects_stand_at_their_means_and_the_paper_beside():
    fig, ax = fashion.figure(6, 2)
    one = {"pdl": (3.0, 1.0, 5.0), "pdl_4": (2.0, -math.inf, math.inf), "pdl_2": None}
    fashion_results.draw_effects(ax, {"a": one, "b": one}, {"a": 7.0})
    means = [line.get_xdata()[0] for line in ax.lines if line.get_marker() in "os^"]
    assert means == [3.0, 2.0] * 2
    assert [x.get_xdata()[0] for x in ax.lines if x.get_marker() == "D"] == [7.0]
    bars = [c.get_segments()[0] for c in ax.collections if len(c.get_segments())]
    assert [bar[:, 0].tolist() for bar in bars] == [[1.0, 5.0]] * 2  # one run: no bar


def test_methods_are_drawn_with_intervals_over_seeds():
    fig, ax = fashion.figure(6, 2)
    runs = {"DLAN": [[50.0, 52.0, 54.0], []], "FC": [[30.0], [40.0, 42.0]]}
    fashion_results.draw_methods(ax, ["a", "b"], runs, "title")
    points = [line for line in ax.lines if line.get_marker() in "^o"]
    assert [float(line.get_ydata()[0]) for line in points] == [52.0, 30.0, 41.0]
    low, high = ax.collections[0].get_segments()[0][:, 1]
    assert low == pytest.approx(52 - 2.92 * 2 / 3**0.5, abs=0.01)  # Student's t
    assert high == pytest.approx(104 - low)


def test_every_figure_of_rows_is_drawn_from_what_is_asked_for(monkeypatch):
    shown, asked = [], []
    monkeypatch.setattr(fashion_results, "show", lambda fig, alt: shown.append(alt))

    def rates(setting, metric):
        asked.append((setting, metric))
        return [0.6, 0.7] if metric.startswith("overlap") else [40.0, 44.0, 45.0]

    fashion_results.show_groups(rates)
    fashion_results.show_where_it_leads(rates)
    fashion_results.show_boxes(rates, 36.0)
    known = PROBLEMS["dlan-ladder"], PROBLEMS["dlan-boxes"]
    for setting, metric in asked:
        assert any(setting in p.settings and metric in p.metrics(setting)
                   for p in known)  # fmt: skip
    assert len(shown) == 3 and len({*asked}) > 60


def test_no_two_slots_have_the_same_colour():
    assert len({fashion.tint(slot) for slot in range(8)}) == 8


def test_a_frame_that_all_slots_share_is_drawn_once_and_white():
    fig, (one, many) = fashion.figure(6, 2, cols=2)
    theta = torch.eye(2, 3).expand(8, 2, 3).clone()
    fashion.draw_frames(one, theta, range(8))
    theta[3, 0, 2] = 0.1
    fashion.draw_frames(many, theta, range(8))
    assert len(one.patches) == 2 and len(many.patches) == 16  # each edged in black
    assert one.patches[1].get_edgecolor() == (1.0, 1.0, 1.0, 1.0)
