"""The exercises of notebook 02 accept what is right, and name each typical slip."""

import math

import pytest
import torch
import torch.nn.functional as F

from lmcourse.exercises import EXERCISES, examine, find
from lmcourse.exercises import warps as answers
from lmlib.geometry import Affine, pixel_grid

NAMES = (
    "affine_sampling_grid",
    "spline_kernel",
    "folding_share",
    "equivariance_loss",
)


# ---- right answers: one written in another way each ----------------------------------


def other_affine_sampling_grid(matrix, height, width):
    """torch's own lattice, and a 3x3 matrix turned round."""
    last_row = torch.tensor([0.0, 0, 1]).expand(len(matrix), 1, 3)
    inverse = torch.linalg.inv(torch.cat([matrix, last_row], dim=1))[:, :2]
    size = (len(matrix), 1, height, width)
    return F.affine_grid(inverse, size, align_corners=False)


def other_spline_kernel(points, centres):
    return torch.nan_to_num(2 * (r := torch.cdist(points, centres)) ** 2 * r.log())


def other_folding_share(grid):
    by_row, by_column = torch.gradient(grid, dim=(1, 2))
    jacobian = torch.stack([by_column, by_row], dim=-1)
    return (torch.linalg.det(jacobian) <= 0).float().flatten(1).mean(1)


def other_equivariance_loss(detect, images, warp):
    both = detect(warp.image(images)), warp.points(detect(images))
    return 2 * F.mse_loss(*both)


RIGHT = [
    other_affine_sampling_grid,
    other_spline_kernel,
    other_folding_share,
    other_equivariance_loss,
]


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_and_lmlib_agree(name):
    task = find(name)
    assert examine(task, task.solution) is None
    assert examine(task, task.library) is None


@pytest.mark.parametrize("right", RIGHT, ids=lambda fn: fn.__name__)
def test_another_right_answer_passes(right):
    assert examine(find(right.__name__.removeprefix("other_")), right) is None


# ---- wrong answers, each with a few words of the hint it must get --------------------


def forward_matrix(matrix, height, width):
    return F.affine_grid(matrix, (len(matrix), 1, height, width), align_corners=False)


def corners_aligned(matrix, height, width):
    lattice = F.affine_grid(torch.eye(2, 3)[None], (1, 1, height, width), True)
    points = Affine(matrix).backward(
        lattice.reshape(1, -1, 2).expand(len(matrix), -1, 2)
    )
    return points.view(-1, height, width, 2)


def y_before_x(matrix, height, width):
    return answers.affine_sampling_grid(matrix, height, width).flip(-1)


def lattice_of_rows_and_columns(matrix, height, width):
    lattice = pixel_grid(height, width).flip(-1).view(1, -1, 2)
    read = Affine(matrix).backward(lattice.expand(len(matrix), -1, -1))
    return read.view(-1, height, width, 2)


def matrix_order_lattice(matrix, height, width):
    x = (2 * torch.arange(width) + 1) / width - 1
    y = (2 * torch.arange(height) + 1) / height - 1
    lattice = torch.stack(torch.meshgrid(x, y, indexing="ij"), -1).view(1, -1, 2)
    read = Affine(matrix).backward(lattice.expand(len(matrix), -1, -1))
    return read.view(-1, height, width, 2)


def _linear_back(matrix, height, width, before=0.0, after=0.0, transposed=False):
    linear = torch.linalg.inv(matrix[:, :, :2])
    linear = linear if transposed else linear.transpose(1, 2)
    shift = matrix[:, None, :, 2]
    lattice = pixel_grid(height, width).view(1, -1, 2)
    read = (lattice + before * shift) @ linear + after * shift
    return read.view(-1, height, width, 2)


def shift_added_again(matrix, height, width):
    return _linear_back(matrix, height, width, after=1.0)


def shift_taken_last(matrix, height, width):
    return _linear_back(matrix, height, width, after=-1.0)


def shift_forgotten(matrix, height, width):
    return _linear_back(matrix, height, width)


def matrix_transposed(matrix, height, width):
    return _linear_back(matrix, height, width, before=-1.0, transposed=True)


def distance_log_distance(points, centres):
    r = torch.cdist(points, centres)
    return r * torch.log(r + 1e-9)


def half_the_kernel(points, centres):
    r = torch.cdist(points, centres)
    return r**2 * torch.log(r + 1e-9)


def distance_not_squared_in_front(points, centres):
    r = torch.cdist(points, centres)
    return r * torch.log(r**2 + 1e-9)


def logarithm_to_base_ten(points, centres):
    r = torch.cdist(points, centres)
    return r**2 * torch.log10(r**2 + 1e-9)


def nan_at_home(points, centres):
    squared = (points[:, None] - centres[None]).square().sum(-1)
    return squared * torch.log(squared)


def each_axis_for_itself(points, centres):
    squared = (points[:, None] - centres[None]).square()
    return (squared * torch.log(squared + 1e-12)).sum(-1)


def city_blocks(points, centres):
    squared = torch.cdist(points, centres, p=1) ** 2
    return squared * torch.log(squared + 1e-9)


def no_logarithm(points, centres):
    return torch.cdist(points, centres) ** 2


def centres_first(points, centres):
    return answers.spline_kernel(centres, points)


def _parts(grid):
    right = grid[:, :-1, 1:] - grid[:, :-1, :-1]
    down = grid[:, 1:, :-1] - grid[:, :-1, :-1]
    return *right.unbind(-1), *down.unbind(-1)


def _share(folded):
    return folded.float().mean(dim=(1, 2))


def share_that_does_not_fold(grid):
    a, b, c, d = _parts(grid)
    return _share(a * d - b * c > 0)


def either_diagonal_entry(grid):
    a, _, _, d = _parts(grid)
    return _share((a <= 0) | (d <= 0))


def added_products(grid):
    a, b, c, d = _parts(grid)
    return _share(a * d + b * c <= 0)


def diagonal_product(grid):
    a, _, _, d = _parts(grid)
    return _share(a * d <= 0)


def shrinking(grid):
    a, b, c, d = _parts(grid)
    return _share((a * d - b * c) * (grid.shape[1] / 2) ** 2 < 0.99)


def rows_before_columns(grid):
    by_row, by_column = torch.gradient(grid, dim=(1, 2))
    jacobian = torch.stack([by_row, by_column], dim=-1)
    return _share(torch.linalg.det(jacobian) <= 0)


def absolute_determinant(grid):
    a, b, c, d = _parts(grid)
    return _share((a * d - b * c).abs() <= 0)


def trace(grid):
    a, _, _, d = _parts(grid)
    return _share(a + d <= 0)


def one_number_for_the_batch(grid):
    return answers.folding_share(grid).mean()


def invariance(detect, images, warp):
    return (detect(warp.image(images)) - detect(images)).square().sum(-1).mean()


def backward_points(detect, images, warp):
    gap = warp.backward(detect(images)) - detect(warp.image(images))
    return gap.square().sum(-1).mean()


def warped_twice(detect, images, warp):
    gap = warp.points(detect(images)) - warp.points(detect(warp.image(images)))
    return gap.square().sum(-1).mean()


def image_the_other_way(detect, images, warp):
    gap = warp.points(detect(images)) - detect(warp.inverse().image(images))
    return gap.square().sum(-1).mean()


def compared_in_the_input(detect, images, warp):
    gap = detect(images) - warp.backward(detect(warp.image(images)))
    return gap.square().sum(-1).mean()


def _gap(detect, images, warp):
    return warp.points(detect(images)) - detect(warp.image(images))


def mean_over_x_and_y(detect, images, warp):
    return _gap(detect, images, warp).square().mean()


def sum_over_everything(detect, images, warp):
    return _gap(detect, images, warp).square().sum()


def sum_over_landmarks(detect, images, warp):
    return _gap(detect, images, warp).square().sum((1, 2)).mean()


def sum_over_images(detect, images, warp):
    return _gap(detect, images, warp).square().sum((0, 2)).mean()


def distance_not_squared(detect, images, warp):
    return _gap(detect, images, warp).norm(dim=-1).mean()


def not_squared_at_all(detect, images, warp):
    return _gap(detect, images, warp).mean()


def without_gradient(detect, images, warp):
    with torch.no_grad():
        return answers.equivariance_loss(detect, images, warp)


def one_branch_detached(detect, images, warp):
    target = warp.points(detect(images)).detach()
    return (target - detect(warp.image(images))).square().sum(-1).mean()


def one_number_per_landmark(detect, images, warp):
    return _gap(detect, images, warp).square().sum(-1)


WRONG = {
    "affine_sampling_grid": {
        forward_matrix: "This grid is the forward map",
        corners_aligned: "align_corners=True",
        y_before_x: "Your result is (y, x)",
        lattice_of_rows_and_columns: "before the warp",
        matrix_order_lattice: "indexing='xy'",
        shift_added_again: "add the shift again",
        shift_taken_last: "un-shift first",
        shift_forgotten: "shift is missing",
        matrix_transposed: "transposed",
    },
    "spline_kernel": {
        distance_log_distance: "This is r log r. ",
        half_the_kernel: "half of what is asked",
        distance_not_squared_in_front: "factor in front",
        logarithm_to_base_ten: "base 10",
        nan_at_home: "0 * log 0 is NaN",
        each_axis_for_itself: "x and y apart",
        city_blocks: "straight distance",
        no_logarithm: "still wants its logarithm",
        centres_first: "expected a tensor of shape (6, 4)",
    },
    "folding_share": {
        share_that_does_not_fold: "identity folds nowhere",
        either_diagonal_entry: "two diagonal entries",
        added_products: "adds the second product",
        diagonal_product: "diagonal of zeros",
        shrinking: "shrinks or magnifies",
        rows_before_columns: "identity folds nowhere",
        absolute_determinant: "abs()",
        trace: "trace",
        one_number_for_the_batch: "expected a tensor of shape (9,)",
    },
    "equivariance_loss": {
        invariance: "asks for invariance",
        backward_points: "moved backwards",
        warped_twice: "apply the warp to both",
        image_the_other_way: "other way round",
        compared_in_the_input: "back into the input",
        mean_over_x_and_y: "half the loss",
        sum_over_everything: "sum over images or landmarks",
        sum_over_landmarks: "sum over the landmarks",
        sum_over_images: "sum over the images",
        distance_not_squared: "without the root",
        not_squared_at_all: "cancel",
        without_gradient: "no gradient",
        one_branch_detached: "detached",
        one_number_per_landmark: "expected a tensor of shape ()",
    },
}
CASES = [(name, wrong) for name, wrongs in WRONG.items() for wrong in wrongs]


@pytest.mark.parametrize(
    ("name", "wrong"), CASES, ids=[f"{name}-{wrong.__name__}" for name, wrong in CASES]
)
def test_a_wrong_answer_gets_its_own_hint(name, wrong):
    verdict = examine(find(name), wrong)
    assert verdict is not None and verdict.startswith("HINT"), verdict
    assert WRONG[name][wrong] in verdict
    # and no other slip's hint: the words that mark them do not appear
    others = set(WRONG[name].values()) - {WRONG[name][wrong]}
    assert not [words for words in others if words in verdict]


@pytest.mark.parametrize("name", NAMES)
def test_an_unforeseen_answer_is_rejected_too(name):
    task = find(name)

    def slightly_off(*arguments):
        return task.solution(*arguments) * 1.2 + 0.07

    assert "HINT" in examine(task, slightly_off)


def test_every_exercise_of_the_file_is_tested():
    registered = {
        n for n, e in EXERCISES.items() if e.solution.__module__.endswith("warps")
    }
    assert registered == set(NAMES) == set(WRONG)


def test_the_folding_examples_are_what_they_say():
    """The shares in closed form, against a count of sign changes along one row."""
    for name, (grid, share) in answers._examples().items():
        if "wave" in name:
            slope = grid[0, 1:, 0] - grid[0, :-1, 0]
            assert (slope <= 0).float().mean().item() == pytest.approx(share, abs=0.03)
            assert 0.1 < share < 1 / math.e + 0.1
