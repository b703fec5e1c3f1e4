"""Pictures of notebooks 00 to 02 show what they say."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from lmcourse import first_steps as steps
from lmcourse.plots import COLOURS, figure, pixels
from lmlib.geometry import ThinPlateSpline
from lmlib.heatmaps import soft_argmax, spatial_softmax
from lmlib.warps import control_grid

IMAGES = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def stop(sharp: float) -> steps.Stop:
    scores = sharp * torch.randn(3, 2, 16, 16, generator=torch.Generator())
    return steps.Stop(spatial_softmax(scores), soft_argmax(scores))


def colours_of(fig) -> set:
    return {tuple(rgb) for rgb in np.asarray(pixels(fig)).reshape(-1, 3).tolist()}


def rgb(colour: str) -> tuple:
    return tuple(round(255 * part) for part in to_rgb(colour))


def test_a_temperature_is_said_both_ways():
    assert steps.temperature_text(10.0) == "T = 0.1 (beta = 10)"
    assert steps.temperature_text(0.3) == "T = 3.33 (beta = 0.3)"
    fig, ax = figure(6, 2)
    ax.semilogx([0.1, 100], [0, 1])
    steps.temperature_ticks(ax, (0.1, 10))
    pixels(fig)
    words = [label.get_text() for label in ax.get_xticklabels()]
    assert words == ["$\\beta$ = 0.1\nT = 10", "$\\beta$ = 10\nT = 0.1"]


def test_a_flat_map_is_faint_and_a_peak_shines_in_its_colour():
    dark, flat = torch.zeros(1, 16, 16), torch.full((2, 16, 16), 1 / 256)
    peak = torch.zeros(2, 16, 16)
    peak[0, 3, 5] = 1.0
    assert steps.two_lights(dark, flat).max() < 0.4
    lit = steps.two_lights(dark, peak)
    torch.testing.assert_close(lit[:, 3, 5], steps.LIGHTS[0])
    assert lit.sum() == lit[:, 3, 5].sum()


def test_a_training_has_a_picture_a_step_and_a_loss_with_a_dot_for_each():
    loss = {step: 0.7 - step / 40 for step in range(1, 21)}
    stops = {1: stop(0.1), 20: stop(5.0)}
    fig = steps.training_strip(IMAGES, stops, loss)
    titles = [ax.get_title() for ax in fig.axes if ax.get_title()]
    assert titles == ["step 1", "step 20"] and len(fig.axes) == 3 * 2 + 1
    dots = fig.axes[-1].lines[-1].get_xydata().tolist()
    assert dots == [[1, loss[1]], [20, loss[20]]]
    assert pixels(fig).width == 900
    fig, ax = figure(4, 2)
    steps.draw_loss(ax, {1: 0.69})
    assert ax.lines[-1].get_marker() == "o"  # one point is no line


def test_landmarks_and_maps_name_whose_marker_is_whose():
    some = stop(3.0)
    words = ("triangle", "square")
    fig = steps.landmarks_and_maps(IMAGES, some.points, some.maps, words)
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "landmark of map 1 (triangle)",
        "landmark of map 2 (square)",
    ]
    assert len(fig.axes) == 3 * 3 and pixels(fig).width == 900


def test_maps_on_one_scale_are_dark_where_little_is():
    shades = []
    for p in (torch.full((8, 8), 1 / 64), torch.eye(8) / 8):
        fig, ax = figure(2, 2)
        steps.draw_on_one_scale(ax, p, 0.125, "step")
        shades.append(np.asarray(pixels(fig))[60:180, 20:180].max())
    assert shades[0] < shades[1]


def test_signed_scores_have_a_bar_from_minus_one_to_one():
    fig, ax = figure(4, 2)
    steps.draw_signed_map(ax, torch.linspace(-1, 1, 16).view(4, 4), "scores")
    bar = fig.axes[1]
    assert [text.get_text() for text in bar.get_yticklabels()] == ["-1", "0", "1"]
    assert ax.get_ylim() == (1, -1)  # y points down


def test_hollow_markers_leave_what_is_below_them():
    fig, ax = figure(2, 2)
    ax.set(xlim=(-1, 1), ylim=(1, -1), facecolor="#123456")
    steps.draw_hollow(ax, [[-0.4, 0.0], [0.4, 0.0]])
    box = ax.get_window_extent()
    image = np.asarray(pixels(fig))
    row = image.shape[0] - int((box.y0 + box.y1) / 2)
    for x in (-0.4, 0.4):
        column = int(box.x0 + (x + 1) / 2 * box.width)
        assert tuple(image[row, column]) == (0x12, 0x34, 0x56)
    assert {rgb(COLOURS[0]), rgb(COLOURS[1])} <= colours_of(fig)
    assert ax.get_legend_handles_labels()[1] == ["soft-argmax", "argmax"]


def test_the_letter_is_no_mirror_image_of_itself_and_lies_where_it_should():
    card = steps.letter_card()
    assert card.shape == (1, 3, 480, 480) and 0 <= card.min() <= card.max() <= 1
    ink = (card[0, 0] < 0.3).float()
    y, x = (ink.nonzero().float().mean(0) / 240 - 1).tolist()
    assert x == pytest.approx(0, abs=0.05) and y == pytest.approx(-0.25, abs=0.05)
    assert (ink - ink.flip(1)).abs().sum() > 0.25 * ink.sum()


def test_swapped_pins_show_the_letter_three_times():
    pins = control_grid(4)
    swapped = pins.clone()
    swapped[[5, 6]] = pins[[6, 5]]
    warp = ThinPlateSpline.from_points(pins[None], swapped[None])
    row = (warp.image(steps.letter_card())[0, 0] < 0.3).float()[170:190].amax(0)
    x = torch.linspace(-1, 1, 480)
    for low, high in ((-0.5, -0.3), (-0.15, 0.15), (0.3, 0.5)):
        assert row[(x > low) & (x < high)].max() == 1
    assert row[(x > 0.17) & (x < 0.3)].max() == 0


def test_an_outline_and_a_pair_are_drawn():
    fig, ax = figure(2, 2)
    inside = torch.zeros(20, 20, dtype=torch.bool)
    inside[5:15, 5:15] = True
    steps.outline(ax, inside)
    steps.draw_pair(ax, (-0.5, 0.5), (0.5, 0.5))
    assert {rgb("red"), (0, 0, 0), rgb("#d01c1c")} <= colours_of(fig)
