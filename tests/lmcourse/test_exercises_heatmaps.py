"""The exercises of notebook 01 accept what is right, and name each typical slip."""

import pytest
import torch

from lmcourse.exercises import check
from lmcourse.exercises import heatmaps as answers
from lmlib import heatmaps
from lmlib.geometry import from_pixels, pixel_grid, to_pixels

LIBRARY = {
    "spatial_softmax": heatmaps.spatial_softmax,
    "soft_argmax": heatmaps.soft_argmax,
    "entropy": heatmaps.entropy,
    "local_soft_argmax": answers.local_soft_argmax,
}

# ---- right answers: the solution, and one written in another way ---------------------


def other_spatial_softmax(scores, beta):
    return torch.softmax(beta * scores.flatten(2), dim=-1).reshape(scores.shape)


def other_soft_argmax(scores, beta):
    probabilities = torch.softmax(beta * scores.flatten(2), dim=-1)
    return probabilities @ pixel_grid(*scores.shape[2:]).reshape(-1, 2)


def other_entropy(probabilities):
    terms = probabilities * (probabilities + 1e-12).log()
    return -terms.flatten(2).sum(-1)


def other_local_soft_argmax(scores, beta, radius):
    """Slices, one map at a time."""
    batch, maps, height, width = scores.shape
    out = torch.zeros(batch, maps, 2)
    for b in range(batch):
        for k in range(maps):
            row, column = divmod(int(scores[b, k].argmax()), width)
            top, left = max(row - radius, 0), max(column - radius, 0)
            part = scores[b, k, top : row + radius + 1, left : column + radius + 1]
            p = torch.softmax(beta * part.flatten(), 0).view(part.shape)
            y = (p.sum(1) * torch.arange(top, top + p.shape[0])).sum()
            x = (p.sum(0) * torch.arange(left, left + p.shape[1])).sum()
            out[b, k] = from_pixels(torch.stack([x, y]), (height, width))
    return out


# ---- wrong answers, each with a few words of the hint it must get --------------------


def softmax_along_a_row(scores, beta):
    return torch.softmax(beta * scores, dim=-1)


def softmax_along_a_column(scores, beta):
    return torch.softmax(beta * scores, dim=-2)


def softmax_over_everything(scores, beta):
    return torch.softmax(beta * scores.flatten(), 0).view_as(scores)


def softmax_with_a_temperature(scores, beta):
    return torch.softmax(scores.flatten(2) / beta, -1).view_as(scores)


def softmax_without_beta(scores, beta):
    return torch.softmax(scores.flatten(2), -1).view_as(scores)


def softmax_that_overflows(scores, beta):
    weights = (beta * scores).exp()
    return weights / weights.sum((2, 3), keepdim=True)


def softmax_with_one_maximum(scores, beta):
    weights = (beta * (scores - scores.max())).exp()
    return weights / weights.sum((2, 3), keepdim=True)


def softmax_not_normalised(scores, beta):
    return (beta * scores).exp()


def softmax_left_flat(scores, beta):
    return torch.softmax(beta * scores.flatten(2), -1)


def mean_over(scores, beta, x, y):
    p = heatmaps.spatial_softmax(scores, beta)
    return torch.stack([(p.sum(2) * x).sum(-1), (p.sum(3) * y).sum(-1)], -1)


def points_on_corner_pixels(scores, beta):
    height, width = scores.shape[2:]
    x, y = torch.linspace(-1, 1, width), torch.linspace(-1, 1, height)
    return mean_over(scores, beta, x, y)


def points_swapped(scores, beta):
    return heatmaps.soft_argmax(scores, beta).flip(-1)


def points_in_pixels(scores, beta):
    height, width = scores.shape[2:]
    return mean_over(scores, beta, torch.arange(width), torch.arange(height))


def points_on_pixel_edges(scores, beta):
    height, width = scores.shape[2:]
    x, y = 2 * torch.arange(width) / width - 1, 2 * torch.arange(height) / height - 1
    return mean_over(scores, beta, x, y)


def points_with_y_up(scores, beta):
    points = heatmaps.soft_argmax(scores, beta)
    return torch.stack([points[..., 0], -points[..., 1]], -1)


def points_from_zero_to_two(scores, beta):
    height, width = scores.shape[2:]
    x, y = torch.arange(width), torch.arange(height)
    return mean_over(scores, beta, (2 * x + 1) / width, (2 * y + 1) / height)


def points_one_axis_at_a_time(scores, beta):
    grid = pixel_grid(*scores.shape[2:])
    across = torch.softmax(beta * scores.sum(2), -1)
    down = torch.softmax(beta * scores.sum(3), -1)
    return torch.stack([across @ grid[0, :, 0], down @ grid[:, 0, 1]], -1)


def points_with_a_temperature(scores, beta):
    return heatmaps.soft_argmax(scores, 1 / beta)


def points_without_beta(scores, beta):
    return heatmaps.soft_argmax(scores)


def points_of_raw_scores(scores, beta):
    return heatmaps.expected_points(scores)


def points_divided_by_pixels(scores, beta):
    grid = pixel_grid(*scores.shape[2:])
    p = heatmaps.spatial_softmax(scores, beta)
    return (p.unsqueeze(-1) * grid).mean((2, 3))


def points_from_two_numbers(scores, beta):
    x, y = heatmaps.soft_argmax(scores, beta).unbind(-1)
    return x, y


def entropy_negative(p):
    return (p * p.clamp(min=1e-30).log()).sum((2, 3))


def entropy_in_bits(p):
    return -(p * p.clamp(min=1e-30).log2()).sum((2, 3))


def entropy_mean(p):
    return -(p * p.clamp(min=1e-30).log()).mean((2, 3))


def entropy_not_weighted(p):
    return -p.clamp(min=1e-30).log().sum((2, 3))


def entropy_nan_at_zero(p):
    return -(p * p.log()).sum((2, 3))


def entropy_of_rows(p):
    return -(p * p.clamp(min=1e-30).log()).sum(-1)


def windowed(scores, radius, middle):
    size = scores.shape[2:]
    step = (
        to_pixels(pixel_grid(*size), size) - to_pixels(middle, size)[:, :, None, None]
    )
    return (step.abs() <= radius + 1e-3).all(-1)


def local_not_at_all(scores, beta, radius):
    return heatmaps.soft_argmax(scores, beta)


def local_only_argmax(scores, beta, radius):
    return heatmaps.hard_argmax(scores)


def local_around_the_mean(scores, beta, radius):
    size = scores.shape[2:]
    mean = to_pixels(heatmaps.soft_argmax(scores, beta), size).round()
    near = windowed(scores, radius, from_pixels(mean, size))
    return heatmaps.soft_argmax(scores.masked_fill(~near, -1e9), beta)


def local_not_normalised(scores, beta, radius):
    near = windowed(scores, radius, heatmaps.hard_argmax(scores))
    return heatmaps.expected_points(heatmaps.spatial_softmax(scores, beta) * near)


def local_filled_with_zero(scores, beta, radius):
    near = windowed(scores, radius, heatmaps.hard_argmax(scores))
    return heatmaps.soft_argmax(torch.where(near, scores, 0.0), beta)


def local_step_only(scores, beta, radius):
    return other_local_soft_argmax(scores, beta, radius) - heatmaps.hard_argmax(scores)


def local_half_the_window(scores, beta, radius):
    return other_local_soft_argmax(scores, beta, radius // 2)


def local_swapped(scores, beta, radius):
    return other_local_soft_argmax(scores, beta, radius).flip(-1)


def local_inside_its_window(scores, beta, radius):
    size, n = scores.shape[2:], 2 * radius + 1
    step = to_pixels(other_local_soft_argmax(scores, beta, radius), size)
    step = step - to_pixels(heatmaps.hard_argmax(scores), size)
    return from_pixels(step + radius, (n, n))


def local_wraps_around(scores, beta, radius):
    """Python's negative indices, or roll: right until the peak is near the border."""
    height, width = scores.shape[2:]
    peak = to_pixels(heatmaps.hard_argmax(scores), (height, width)).round().long()
    offsets = torch.arange(-radius, radius + 1)
    out = torch.zeros(*scores.shape[:2], 2)
    for b, k in torch.cartesian_prod(*map(torch.arange, scores.shape[:2])).tolist():
        columns, rows = peak[b, k, 0] + offsets, peak[b, k, 1] + offsets
        part = scores[b, k][rows % height][:, columns % width]
        p = torch.softmax(beta * part.flatten(), 0).view(part.shape)
        mean = torch.stack([(p.sum(0) * columns).sum(), (p.sum(1) * rows).sum()])
        out[b, k] = from_pixels(mean, (height, width))
    return out


def local_fails_in_the_corner(scores, beta, radius):
    height, width = scores.shape[2:]
    peak = to_pixels(heatmaps.hard_argmax(scores), (height, width)).round().long()
    if ((peak < radius) | (peak >= torch.tensor([width, height]) - radius)).any():
        raise IndexError("index -1 is out of bounds")
    return other_local_soft_argmax(scores, beta, radius)


RIGHT = {
    "spatial_softmax": [answers.spatial_softmax, other_spatial_softmax],
    "soft_argmax": [answers.soft_argmax, other_soft_argmax],
    "entropy": [answers.entropy, other_entropy],
    "local_soft_argmax": [answers.local_soft_argmax, other_local_soft_argmax],
}

WRONG = {
    "spatial_softmax": {
        softmax_along_a_row: "Each row of your maps sums to one",
        softmax_along_a_column: "Each column of your maps sums to one",
        lambda scores, beta: (beta * scores).softmax(1): "over the maps (dim=1)",
        lambda scores, beta: (beta * scores).softmax(0): "over the batch (dim=0)",
        softmax_over_everything: "All your maps together sum to one",
        softmax_with_a_temperature: "You divide by beta",
        softmax_without_beta: "does not depend on beta",
        softmax_that_overflows: "exp overflows",
        softmax_with_one_maximum: "its own maximum",
        softmax_not_normalised: "divide by their sum",
        softmax_left_flat: "shape (2, 3, 20), expected a tensor of shape (2, 3, 4, 5)",
    },
    "soft_argmax": {
        lambda scores, beta: heatmaps.hard_argmax(scores): "the plain argmax",
        points_on_corner_pixels: "align_corners=True",
        points_swapped: "x and y are swapped",
        points_in_pixels: "Your points are in pixels",
        points_on_pixel_edges: "left and upper edge",
        points_with_y_up: "y points up",
        points_from_zero_to_two: "subtract 1",
        points_one_axis_at_a_time: "along one axis",
        points_with_a_temperature: "You divide by beta",
        points_without_beta: "does not depend on beta",
        points_of_raw_scores: "raw scores",
        points_divided_by_pixels: "number of pixels",
        points_from_two_numbers: "a tuple of length 2",
    },
    "entropy": {
        entropy_negative: "sign is missing",
        entropy_in_bits: "bits (log2)",
        entropy_mean: "mean over the pixels",
        entropy_not_weighted: "without its weight p",
        entropy_nan_at_zero: "exact zero gives NaN",
        entropy_of_rows: "shape (2, 3, 4), expected a tensor of shape (2, 3)",
    },
    "local_soft_argmax": {
        local_not_at_all: "whole map",
        local_only_argmax: "plain argmax",
        local_around_the_mean: "around the soft-argmax",
        local_not_normalised: "no longer sum to one",
        local_filled_with_zero: "exp(0) is 1",
        local_step_only: "step away from the highest pixel",
        local_half_the_window: "2 radius + 1 wide",
        local_swapped: "x and y are swapped",
        local_inside_its_window: "inside the window",
        local_wraps_around: "not at the border",
        local_fails_in_the_corner: "IndexError",
    },
}


def cases(table):
    return [
        pytest.param(name, answer, id=f"{name}-{answer.__name__}")
        for name, answers_ in table.items()
        for answer in answers_
    ]


@pytest.mark.parametrize(("name", "answer"), cases(RIGHT))
def test_right_answers_are_used(name, answer, capsys):
    assert check(name, answer) is answer
    assert "PASS" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "answer"), cases(WRONG))
def test_wrong_answers_get_their_hint(name, answer, capsys):
    assert check(name, answer) is LIBRARY[name]
    assert WRONG[name][answer] in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", WRONG)
def test_no_two_slips_share_a_hint(name, capsys):
    hints = []
    for answer in WRONG[name]:
        check(name, answer)
        hints.append(capsys.readouterr().out)
    assert len(set(hints)) == len(hints)


@pytest.mark.parametrize("name", LIBRARY)
def test_an_empty_stub_falls_forward(name, capsys):
    assert check(name, lambda *given: ...) is LIBRARY[name]
    assert "not done yet" in capsys.readouterr().out
