"""Scenes: the same index is the same picture, and the truth is exact.

The oracles know nothing of the drawing code: point-in-polygon counting on a fine
lattice, closed-form areas, and classes read back from the pictures themselves.
"""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from matplotlib.path import Path as Outline
from scipy import stats

from lmlib.geometry import from_pixels, pixel_grid
from lmscenes import Blocks, Garments, Shapes
from lmscenes.blocks import CHAINS, chain_cells
from lmscenes.engine import (
    Canvas,
    as_indices,
    first_valid,
    over,
    regular_polygon,
    rotation,
    uniform,
)

SCENES = [Shapes, Blocks]
both = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
# What holds of any scene, small.
ANY = [Shapes, Blocks, functools.partial(Garments, 32)]
each = pytest.mark.parametrize("scene", ANY, ids=["Shapes", "Blocks", "Garments"])


@pytest.fixture(scope="module")
def batches():
    return {scene: scene().batch(range(750)) for scene in SCENES}


def centroids(mask):
    """Centre of gravity (B, S, 2) of coverage maps (B, S, H, W)."""
    weight = mask / mask.sum(dim=(2, 3), keepdim=True)
    return (weight[..., None] * pixel_grid(*mask.shape[-2:])).sum(dim=(2, 3))


# ---- addressed by index -------------------------------------------------------------


@both
def test_an_image_is_the_same_in_any_batch(scene, batches):
    picked = scene().batch([17, 3, 17, 640])
    whole = {k: v[[17, 3, 17, 640]] for k, v in batches[scene].items()}
    assert picked.keys() == whole.keys()
    for name in ("landmarks", "visible", "index", "label"):
        assert torch.equal(picked[name], whole[name]), name
    for name in ("image", "mask"):  # a matrix product may round by the batch size
        torch.testing.assert_close(picked[name], whole[name], atol=1e-5, rtol=0)


@each
def test_a_new_object_draws_the_same_and_another_seed_does_not(scene):
    first, again = scene(seed=3).batch(range(8)), scene(seed=3).batch(range(8))
    for name in first:
        assert torch.equal(first[name].nan_to_num(9), again[name].nan_to_num(9)), name
    other = scene(seed=4).batch(range(8))
    moved = (other["landmarks"] - first["landmarks"]).norm(dim=-1)
    assert (moved > 1e-3)[first["landmarks"][..., 0].isfinite()].all()


@both
def test_no_two_images_are_alike(scene, batches):
    places = batches[scene]["landmarks"].flatten(1)
    distance = torch.cdist(places, places) + 9 * torch.eye(len(places))
    assert distance.min() > 1e-3


@each
@pytest.mark.parametrize(
    "form", [range(2, 12, 3), [2, 5, 8, 11], torch.arange(2, 12, 3)]
)
def test_indices_may_be_a_range_a_list_or_a_tensor(scene, form):
    assert scene().batch(form)["index"].tolist() == [2, 5, 8, 11]


@both
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_picture(scene, batches):
    there = scene().batch(range(64), device="cuda")
    for name, value in there.items():
        assert value.device.type == "cuda", name
        here = batches[scene][name][:64]
        torch.testing.assert_close(value.cpu(), here, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("indices", "says"),
    [
        ([], "non-empty"),
        ([0.5], "integers"),
        ([[0, 1]], "list of integers"),
        ([3, -1], "must not be negative, got -1"),
    ],
)
@each
@pytest.mark.usefixtures("unchecked")
def test_bad_indices_are_named(scene, indices, says):
    with pytest.raises(ValueError, match=says):
        scene().batch(indices)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Shapes(size=7), "8x8 pixels, got 7"),
        (lambda: Blocks(size=19), "20x20 pixels, got 19"),
        (lambda: Shapes(margin=-0.1), "margin must be"),
        (lambda: Shapes(margin=1.0), "margin must be"),
    ],
)
def test_bad_settings_are_named(make, says):
    with pytest.raises(ValueError, match=says):
        make()


# ---- exact truth --------------------------------------------------------------------


@both
def test_shapes_of_a_batch(scene, batches):
    batch, count = batches[scene], len(scene.names)
    assert batch["image"].shape == (750, 1, 60, 60)
    assert batch["mask"].shape == (750, count, 60, 60)
    assert batch["landmarks"].shape == (750, count, 2)
    assert batch["visible"].all() and batch["visible"].shape == (750, count)
    assert batch["image"].min() >= 0 and batch["image"].max() <= 1
    assert batch["image"].amax(dim=(1, 2, 3)).min() == 1


@both
def test_a_landmark_is_the_centroid_of_its_mask(scene, batches):
    batch = batches[scene]
    pixels = (centroids(batch["mask"]) - batch["landmarks"]).norm(dim=-1) * 30
    assert pixels.mean() < 0.03 and pixels.max() < 0.1


@both
def test_masks_do_not_overlap_and_are_in_the_image(scene, batches):
    mask, image = batches[scene]["mask"], batches[scene]["image"][:, 0]
    assert ((mask > 0.5).sum(dim=1) <= 1).all()
    assert (image >= mask.amax(dim=1) - 1e-6).all()
    total = mask.sum(dim=1)
    if scene is Shapes:  # nothing touches, and nothing else is drawn
        assert (mask > 0).sum(dim=1).max() == 1
        torch.testing.assert_close(total, image)
    else:  # neighbours share an edge, where coverages add up; corners count a bit more
        assert (total > 1.05).float().mean() < 0.005


@both
def test_everything_stays_on_the_canvas(scene):
    """A shape cut by the border would have a smaller area than its landmarks imply."""
    batch = scene(40).batch(range(1500))
    area = batch["mask"].sum(dim=(2, 3))
    if scene is Blocks:  # squares of one image have one size, set by their distance
        side = batch["landmarks"].diff(dim=1).norm(dim=-1).mean(dim=1) * 20
        whole = side[:, None] ** 2
        torch.testing.assert_close(
            area / whole, torch.ones_like(area), atol=0.1, rtol=0
        )
    else:
        for edge in (0, -1):
            assert batch["image"][..., edge, :].max() < 0.5
            assert batch["image"][..., edge].max() < 0.5


@both
def test_the_same_picture_at_two_resolutions(scene):
    small, large = scene(60).batch(range(100)), scene(120).batch(range(100))
    torch.testing.assert_close(small["landmarks"], large["landmarks"])
    assert torch.equal(small["label"], large["label"])
    halved = torch.nn.functional.avg_pool2d(large["image"], 2)
    assert (halved - small["image"]).abs().mean() < 0.002


def test_shapes_label_says_who_is_nearer_the_top_left_corner(batches):
    batch = batches[Shapes]
    x, y = batch["landmarks"].numpy().transpose(2, 0, 1)
    distance = np.hypot(x + 1, y + 1)
    np.testing.assert_array_equal(batch["label"], np.argmin(distance, axis=1))
    share = batch["label"].float().mean().item()
    assert stats.binomtest(round(750 * share), 750).pvalue > 1e-3


def test_the_first_mask_is_a_triangle_and_the_second_a_square(batches):
    """Area over squared circumradius: 1.299 for a triangle, 2 for a square."""
    mask = batches[Shapes]["mask"]
    offset = pixel_grid(60, 60) - centroids(mask)[:, :, None, None]
    reach = (offset.norm(dim=-1) * 30 * (mask > 0.5)).amax(dim=(2, 3))
    ratio = (mask.sum(dim=(2, 3)) / (reach + 0.3) ** 2).mean(dim=0)
    assert abs(ratio[0] - 1.299) < 0.15 and abs(ratio[1] - 2) < 0.2


def test_margin_keeps_the_question_clear():
    easy = Shapes(margin=0.4).batch(range(400))["landmarks"]
    gap = (easy + 1).norm(dim=-1).diff(dim=1).abs()
    assert gap.min() > 0.4
    plain = Shapes().batch(range(400))["landmarks"]
    assert (plain + 1).norm(dim=-1).diff(dim=1).abs().min() < 0.05


# ---- the fifteen chains -------------------------------------------------------------


def turns_of(points):
    """Turns L, F, R read from points (N, 2) in order; y points down."""
    step = np.diff(np.asarray(points, dtype=float), axis=0)
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    cross = step[:-1, 0] * step[1:, 1] - step[:-1, 1] * step[1:, 0]
    return "".join("LFR"[int(round(c)) + 1] for c in cross)


def orientations(cells, mirror=False):
    """The four rotations of a chain on the lattice, as tuples, the head at (0, 0)."""
    points = [(-x if mirror else x, y) for x, y in cells.int().tolist()]
    turned = []
    for _ in range(4):
        points = [(-y, x) for x, y in points]
        turned.append(tuple(points))
    return turned


def test_the_squares_alone_tell_the_classes_apart():
    """Seq-MT's classifier sees the five landmarks and no head."""
    squares = [chain_cells(turns)[1:] for turns in CHAINS.values()]
    for one, two in itertools.combinations(squares, 2):
        centred = one - one.mean(dim=0), two - two.mean(dim=0)
        for quarter in range(4):
            turn = rotation(torch.tensor(quarter * math.pi / 2))
            assert (centred[0] @ turn.mT - centred[1]).abs().max() > 0.3


def test_fifteen_chains_distinct_up_to_rotation_and_no_two_mirror_images():
    cells = {name: chain_cells(turns) for name, turns in CHAINS.items()}
    assert len(cells) == 15
    for (one, a), (two, b) in itertools.combinations(cells.items(), 2):
        assert tuple(map(tuple, a.int().tolist())) not in orientations(b), (one, two)
        mirrored = orientations(b, mirror=True)
        assert tuple(map(tuple, a.int().tolist())) not in mirrored, (one, two)


def test_chains_are_connected_and_do_not_run_into_themselves():
    for name, turns in CHAINS.items():
        cells = chain_cells(turns)
        assert (cells.diff(dim=0).abs().sum(dim=1) == 1).all(), name
        assert len(cells.unique(dim=0)) == 6, name
        assert turns_of(cells) == turns
    with pytest.raises(ValueError, match="'LLLF' runs into itself"):
        chain_cells("LLLF")


def test_the_picture_shows_the_chain_its_label_names(batches):
    """Head and squares found in the pixels, their turns compared with the label."""
    batch = batches[Blocks]
    head = (batch["image"][:, 0] - batch["mask"].sum(dim=1)).clamp(min=0)
    parts = torch.cat([head[:, None], batch["mask"]], dim=1)
    found = centroids(parts)
    for points, label in zip(found, batch["label"], strict=True):
        assert turns_of(points) == list(CHAINS.values())[label]


def test_blocks_classes_are_balanced(batches):
    assert batches[Blocks]["label"].bincount().tolist() == [50] * 15
    assert sorted(Blocks().batch(range(45, 60))["label"].tolist()) == list(range(15))


def test_every_direction_occurs(batches):
    """Angles of the first chain's axis fill the circle evenly (Kolmogorov-Smirnov)."""
    lines = Blocks().batch(range(0, 15 * 400, 15))["landmarks"]
    axis = lines[:, 4] - lines[:, 0]
    angle = torch.atan2(axis[:, 1], axis[:, 0]).numpy()
    # A straight chain fits diagonally more often than along the axes, but no direction
    # may be missing.
    assert np.histogram(angle, bins=12, range=(-math.pi, math.pi))[0].min() > 15


def test_guessing_the_mean_position_costs_about_13_pixels():
    """The size of Blocks was chosen for this number (Seq-MT, table 1: 12.9 at 1 %)."""
    landmarks = Blocks().batch(range(3200))["landmarks"]
    train, test = landmarks[:1600], landmarks[1600:]
    error = (test - train.mean(dim=0)).norm(dim=-1).mean().item() * 30
    assert error == pytest.approx(13.2, abs=0.4)


# ---- the drawing engine -------------------------------------------------------------


def random_polygons(sides, count=200, low=0.16, high=0.30):
    generator = torch.Generator().manual_seed(sides)
    radius, angle = torch.rand(2, count, generator=generator)
    radius, angle = low + (high - low) * radius, angle * 2 * math.pi
    centre = torch.rand(count, 2, generator=generator) - 0.5
    corners = regular_polygon(sides) * radius[:, None, None]
    return corners @ rotation(angle).mT + centre[:, None], radius


@pytest.mark.parametrize("sides", [3, 4, 5])
def test_coverage_adds_up_to_the_area(sides):
    corners, radius = random_polygons(sides)
    drawn = Canvas(60).convex_polygon(corners).sum(dim=(1, 2))
    area = sides / 2 * math.sin(2 * math.pi / sides) * (radius * 30) ** 2
    assert drawn.sum() == pytest.approx(area.sum().item(), rel=0.01)


def test_coverage_is_the_share_of_the_pixel_inside():
    corners, _ = random_polygons(4, count=12)
    drawn = Canvas(40).convex_polygon(corners)
    fine = pixel_grid(640, 640).reshape(-1, 2).numpy()  # 16 x 16 samples a pixel
    for polygon, coverage in zip(corners.numpy(), drawn, strict=True):
        inside = Outline(polygon).contains_points(fine).reshape(40, 16, 40, 16)
        difference = coverage.numpy() - inside.mean(axis=(1, 3))
        assert np.abs(difference).max() < 0.3  # at the corners
        assert np.abs(difference).mean() < 0.002


def test_a_polygon_may_be_given_in_either_turning_sense():
    corners, _ = random_polygons(5, count=20)
    canvas = Canvas(32)
    turned = canvas.convex_polygon(corners.flip(1))
    torch.testing.assert_close(
        canvas.convex_polygon(corners), turned, atol=1e-5, rtol=0
    )


def test_a_square_along_the_axes_is_exact():
    """Pixels 2 to 5 across and 3.5 to 6 down, in an image of 10."""
    corners = torch.tensor([[1.5, 3.0], [4.75, 3.0], [4.75, 5.5], [1.5, 5.5]])
    drawn = Canvas(10).convex_polygon(from_pixels(corners, (10, 10))[None])[0]
    expected = torch.zeros(10, 10)
    expected[3:6, 2:5] = 1.0
    expected[3, 2:5] = expected[3, 2:5] * 0.5
    expected[3:6, 5] = 0.25
    expected[3, 5] = 0.25  # a corner takes the lesser of the two, not their product
    torch.testing.assert_close(drawn, expected, atol=1e-5, rtol=0)


def test_discs_and_capsules_have_the_right_area():
    generator = torch.Generator().manual_seed(0)
    start, end = torch.rand(2, 100, 2, generator=generator) - 0.5
    radius = 0.1 + 0.1 * torch.rand(100, generator=generator)
    canvas = Canvas(60)
    disc = math.pi * (radius * 30) ** 2
    torch.testing.assert_close(
        canvas.disc(start, radius).sum(dim=(1, 2)), disc, rtol=0.02, atol=0
    )
    length = (end - start).norm(dim=-1) * 30
    torch.testing.assert_close(
        canvas.capsule(start, end, radius).sum(dim=(1, 2)),
        disc + 2 * radius * 30 * length,
        rtol=0.02,
        atol=0,
    )


def test_painting_mixes_by_coverage():
    image = torch.full((2, 3, 1, 1), 0.5)
    coverage = torch.tensor([0.25, 1.0]).reshape(2, 1, 1)
    over(image, torch.tensor([[1.0, 0.0, 0.5], [0.2, 0.4, 0.6]]), coverage)
    expected = torch.tensor([[0.625, 0.375, 0.5], [0.2, 0.4, 0.6]])
    torch.testing.assert_close(image[..., 0, 0], expected)


def test_a_positive_angle_turns_clockwise_on_the_screen():
    right = torch.tensor([1.0, 0.0])
    down = rotation(torch.tensor(math.pi / 2)) @ right
    torch.testing.assert_close(down, torch.tensor([0.0, 1.0]), atol=1e-6, rtol=0)


def test_random_numbers_are_uniform_and_unrelated():
    table = uniform(torch.arange(4000), 6, seed=1, stream=2)
    assert table.min() >= 0 and table.max() < 1
    for column in table.T:
        assert stats.kstest(column.numpy(), "uniform").pvalue > 1e-3
    others = torch.cat(
        [
            uniform(torch.arange(4000), 1, seed=1, stream=3),
            uniform(torch.arange(4000), 1, seed=2, stream=2),
            uniform(torch.arange(1, 4001), 1, seed=1, stream=2),
        ],
        dim=1,
    )
    related = np.corrcoef(torch.cat([table, others], dim=1).numpy().T)
    assert np.abs(related - np.eye(9)).max() < 0.06


def test_a_random_number_is_fixed_by_its_address():
    here = uniform(torch.tensor([5, 10**12]), 4, seed=7, stream=1)
    assert torch.equal(here[1:], uniform(torch.tensor([10**12]), 4, seed=7, stream=1))
    assert torch.equal(here, uniform(torch.tensor([5, 10**12]), 9, 7, 1)[:, :4])


def test_first_valid_takes_the_first_or_the_last_resort():
    valid = torch.tensor([[False, True, True], [False, False, False]])
    value, other = first_valid(valid, torch.arange(6).reshape(2, 3), valid)
    assert value.tolist() == [1, 5]
    assert other.tolist() == [True, False]


def test_indices_go_to_the_asked_type():
    assert as_indices(torch.tensor([3], dtype=torch.int32)).dtype == torch.int64
