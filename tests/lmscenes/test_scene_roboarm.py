"""Roboarm: the same frame in any batch, points on their segments, flow that is exact.

The oracles know nothing of the drawing code: images warped by grid_sample, distances
between joints, and the same frame at another resolution.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from lmlib.geometry import pixel_grid
from lmlib.samples import check_batch
from lmscenes import roboarm
from lmscenes.roboarm import FILM, Roboarm

SIZE = 90
FRAMES = range(0, 24_000, 191)  # 126 of them, at all times of a film


@pytest.fixture(scope="module")
def batch():
    return Roboarm(seed=1).batch(FRAMES)


@pytest.fixture(scope="module")
def pair():
    return Roboarm(seed=1, stride=2, light=0.0).pair(FRAMES)


def sample(maps, points):
    """Values of ``(B, H, W)`` in the pixels of ``(B, K, 2)``; 0 outside."""
    maps, where = maps.float().unsqueeze(1), points.unsqueeze(1)
    return F.grid_sample(maps, where, mode="nearest", align_corners=False)[:, 0, 0]


def warp_error(pair, flow):
    """Mean distance of the first image and the second, read where the flow says."""
    warped = F.grid_sample(pair["image2"], flow, align_corners=False)
    return (warped - pair["image"]).abs().mean(1)[pair["flow_valid"]].mean()


# ---- addressed by index -------------------------------------------------------------


def test_a_frame_is_the_same_in_any_batch(batch):
    pick = [100, 3, 57, 3]
    again = Roboarm(seed=1).batch([FRAMES[i] for i in pick])
    for name, value in again.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, batch[name][pick], atol=1e-5, rtol=0)
        else:
            assert torch.equal(value, batch[name][pick]), name


def test_another_seed_moves_otherwise(batch):
    other = Roboarm(seed=2).batch(FRAMES[:20])
    moved = (other["landmarks"] - batch["landmarks"][:20]).norm(dim=-1).mean(1)
    assert moved.min() > 0.03


def test_batch_keeps_the_contract(batch):
    check_batch(batch)
    n, k = len(FRAMES), len(Roboarm.names)
    assert k == 7 == len(set(Roboarm.names))
    assert batch["image"].shape == (n, 3, SIZE, SIZE)
    assert batch["mask"].shape == (n, 1, SIZE, SIZE)
    assert batch["segment"].shape == (n, SIZE, SIZE)
    assert batch["landmarks"].shape == (n, k, 2)
    assert batch["visible"].shape == (n, k) and batch["visible"].dtype == torch.bool
    assert batch["segment"].dtype == torch.int64
    assert batch["segment"].unique().tolist() == list(range(-1, k))
    for name in ("image", "mask"):
        assert batch[name].min() >= 0 and batch[name].max() <= 1
    share = batch["mask"].mean((1, 2, 3))
    assert share.min() > 0.06 and share.max() < 0.2


def test_indices_may_be_of_any_integer_type_but_not_negative():
    scene = Roboarm(32)
    few = scene.batch(torch.tensor([5, 250], dtype=torch.uint8))
    assert torch.equal(few["image"], scene.batch([5, 250])["image"])
    for draw in (scene.batch, scene.pair):
        with pytest.raises(ValueError, match="must not be negative, got -1"):
            draw([3, -1])
        with pytest.raises(ValueError, match="non-empty list of integers"):
            draw([])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"size": 20}, "32 to 512 pixels a side, got 20"),
        ({"stride": -1}, "stride must be 0 to 120 whole frames, got -1"),
        ({"stride": 1.5}, "whole frames, got 1.5"),
        ({"swing": 1.2}, "swing must be 0 to 1, got"),
        ({"texture": -0.1}, "texture must be 0 to 1, got"),
        ({"light": float("nan")}, "light must be 0 to 1, got"),
        ({"background": 2}, "background must be 0 to 1, got"),
    ],
)
def test_bad_settings_are_named(arguments, says):
    with pytest.raises(ValueError, match=says):
        Roboarm(**arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same(pair):
    there = Roboarm(seed=1, stride=2, light=0.0).pair(FRAMES, device="cuda")
    for name, value in there.items():
        assert value.device.type == "cuda", name
        far = (value.cpu().float() - pair[name].float()).abs() > 1e-3
        assert far.float().mean() < 1e-3, name  # a pixel on an edge may flip


# ---- landmarks and segments ---------------------------------------------------------


def test_arms_are_rigid_and_hang_together(batch):
    """Their centres lie halfway between joints, and joints keep their distance."""
    joint, points = batch["origin"], batch["landmarks"]
    middle = (joint[:, 1:4] + joint[:, 2:5]) / 2
    torch.testing.assert_close(points[:, 1:4], middle, atol=1e-5, rtol=0)
    length = (joint[:, 1:5] - joint[:, 2:6]).norm(dim=-1)[:, :3]
    assert length.std(0).max() < 1e-5 and length.min() > 0.3
    assert torch.equal(joint[:, 0], joint[:, 1])
    for finger in (5, 6):
        assert (joint[:, finger] - joint[:, 4]).norm(dim=-1).std() < 1e-5


def test_visible_landmarks_show_their_segment_and_hidden_ones_a_nearer(batch):
    own = torch.arange(7).expand(len(FRAMES), -1)
    shown, visible = sample(batch["segment"], batch["landmarks"]), batch["visible"]
    inside = (batch["landmarks"].abs() < 1).all(-1)
    assert torch.equal(shown[visible], own[visible].float())
    assert (shown > own)[~visible & inside].all()  # each in front of its carrier
    assert inside.float().mean() > 0.98
    assert 0.01 < (~visible & inside).float().mean() < 0.15
    other = sample(batch["segment"], batch["landmarks"].roll(5, 0))
    assert (other == own)[visible].float().mean() < 0.6  # the test can fail


def test_mask_is_where_a_segment_is(batch):
    on = batch["segment"] >= 0
    assert ((batch["mask"][:, 0] > 0.5) == on).float().mean() > 0.998
    assert batch["mask"][:, 0][on].min() >= 0.499
    corner = batch["image"][:, :, :6, :6].flatten(2)  # plain behind
    assert corner.std(-1).median() == 0


def test_the_same_frame_at_two_resolutions(batch):
    large = Roboarm(2 * SIZE, seed=1).batch(FRAMES[:40])
    torch.testing.assert_close(large["landmarks"], batch["landmarks"][:40])
    for name in ("image", "mask"):
        halved = F.avg_pool2d(large[name], 2)
        assert (halved - batch[name][:40]).abs().mean() < 0.003
    assert (large["visible"] == batch["visible"][:40]).float().mean() > 0.97


def test_a_third_of_a_pixel_is_seen(batch):
    """Moved by .3 pixels, area and colours stay and the centroid moves by as much."""
    scene, n = Roboarm(seed=1), 30
    film = batch["index"][:n] // FILM
    place, angle, points = (batch[k][:n] for k in ("origin", "angle", "landmarks"))
    shift = torch.tensor([0.3, -0.3]) * 2 / SIZE
    image, mask, _ = scene._draw(film, place + shift, angle, points + shift)
    area, moved = batch["mask"][:n].sum((2, 3)), mask.sum((2, 3))
    uncut = (points[:, 4:].abs() < 0.7).all(-1).all(-1)
    assert uncut.sum() > 5
    torch.testing.assert_close(moved[uncut], area[uncut], rtol=0.003, atol=0)
    mean = batch["image"][:n].mean((2, 3))
    torch.testing.assert_close(
        image.mean((2, 3))[uncut], mean[uncut], rtol=0.01, atol=0
    )
    grid = pixel_grid(SIZE, SIZE)
    before = (batch["mask"][:n, 0, ..., None] * grid).sum((1, 2)) / area
    after = (mask[:, 0, ..., None] * grid).sum((1, 2)) / moved
    step = (after - before)[uncut] * SIZE / 2
    assert (step - torch.tensor([0.3, -0.3])).abs().max() < 0.03


def test_no_segment_is_cut_off(monkeypatch):
    whole = Roboarm(64).batch(range(0, 600, 40))
    monkeypatch.setattr(roboarm, "SPAN", 0.8)
    wider = Roboarm(64).batch(range(0, 600, 40))
    torch.testing.assert_close(whole["image"], wider["image"], atol=1e-6, rtol=0)
    monkeypatch.setattr(roboarm, "SPAN", 0.2)
    less = Roboarm(64).batch(range(0, 600, 40))
    assert (less["image"] - whole["image"]).abs().max() > 0.1


# ---- motion -------------------------------------------------------------------------


def test_the_second_image_read_along_the_flow_is_the_first(pair):
    error = warp_error(pair, pair["flow"])
    still = pixel_grid(SIZE, SIZE).expand_as(pair["flow"])
    assert error < 0.04
    assert warp_error(pair, still) > 3 * error  # no flow
    assert warp_error(pair, 2 * still - pair["flow"]) > 4 * error  # the wrong way


def test_the_flow_is_exact():
    """What is left of the error is resampling: it halves with the pixel."""
    errors = []
    for size in (90, 180):
        pair = Roboarm(size, stride=2, light=0.0).pair(range(0, 24_000, 1501))
        errors.append(warp_error(pair, pair["flow"]))
    assert errors[1] < 0.62 * errors[0]


def test_landmarks_move_with_the_flow(pair):
    points, valid = pair["landmarks"], sample(pair["flow_valid"], pair["landmarks"]) > 0
    seen = pair["visible"] & valid
    assert seen.float().mean() > 0.85
    there = torch.stack([sample(pair["flow"][..., i], points) for i in (0, 1)], -1)
    pixels = (there - pair["landmarks2"]).norm(dim=-1)[seen] * SIZE / 2
    assert pixels.max() < 1  # the pixel's centre lies up to .71 from the landmark
    moved = (points - pair["landmarks2"]).norm(dim=-1)[seen] * SIZE / 2
    assert moved.mean() > 1.0 and moved.max() > 5


def test_valid_flow_stays_on_its_segment(pair):
    grid, on = pixel_grid(SIZE, SIZE), pair["segment"] >= 0
    valid, flow = pair["flow_valid"], pair["flow"]
    assert not valid[~on].any() and torch.equal(flow[~on], grid.expand_as(flow)[~on])
    assert flow[valid].abs().max() < 1
    shown = sample(pair["segment2"], flow.flatten(1, 2)).unflatten(1, (SIZE, SIZE))
    assert torch.equal(shown[valid], pair["segment"][valid].float())
    assert 0.85 < valid[on].float().mean() < 0.99


def test_no_stride_is_the_identity():
    pair = Roboarm(48, stride=0).pair(range(0, 900, 45))
    assert torch.equal(pair["image"], pair["image2"])
    assert torch.equal(pair["landmarks"], pair["landmarks2"])
    grid = pixel_grid(48, 48).expand_as(pair["flow"])
    torch.testing.assert_close(pair["flow"], grid, atol=1e-6, rtol=0)
    assert torch.equal(pair["flow_valid"], pair["segment"] >= 0)


def test_the_second_frame_is_the_one_stride_later():
    scene = Roboarm(48, stride=3)
    pair, later = scene.pair([7, 200]), scene.batch([10, 203])
    torch.testing.assert_close(pair["image2"], later["image"], atol=1e-5, rtol=0)
    assert torch.equal(pair["landmarks2"], later["landmarks"])
    # Past the last frame of its film a pair goes on, it does not jump to the next.
    end, jump = scene.pair([FILM - 1]), scene.batch([FILM + 2])
    step = (end["landmarks2"] - end["landmarks"]).norm(dim=-1).mean()
    assert step < 0.5 * (jump["landmarks"] - end["landmarks"]).norm(dim=-1).mean()


def test_motion_is_smooth_and_grows_with_the_stride():
    def pixels(stride):
        pair = Roboarm(32, stride=stride).pair(range(0, 24_000, 61))
        step = pair["landmarks2"] - pair["landmarks"]
        return step.norm(dim=-1).mean().item() * SIZE / 2

    one, three = pixels(1), pixels(3)
    assert 0.3 < one < 2.5
    assert three == pytest.approx(3 * one, rel=0.15)


def test_joints_turn_far_and_swing_limits_them(batch):
    def spread(angle):  # degrees against the segment before
        return angle[:, 1:5].diff(dim=1).std(0).rad2deg()

    assert spread(batch["angle"]).min() > 50
    assert batch["angle"][:, 1].std() > math.radians(30)
    mild = Roboarm(32, seed=1, swing=0.2).batch(FRAMES)
    assert spread(mild["angle"]).max() < 30
    assert mild["visible"].float().mean() > batch["visible"].float().mean() + 0.02


# ---- looks --------------------------------------------------------------------------


def arm_colours(scene):
    """Mean colour of each of the three arms, (3, 3)."""
    drawn = scene.batch(FRAMES)
    image, segment = drawn["image"].movedim(1, -1), drawn["segment"]
    return torch.stack([image[segment == k].mean(0) for k in (1, 2, 3)])


def test_three_arms_look_alike_unless_told_otherwise():
    alike = torch.pdist(arm_colours(Roboarm(48))).max()
    apart = torch.pdist(arm_colours(Roboarm(48, alike=False))).min()
    assert alike < 0.05 < 0.15 < apart


def test_light_stays_in_a_film_and_changes_between_films():
    def corner(frames, **knobs):
        return Roboarm(32, **knobs).batch(frames)["image"][:, :, 0, 0]

    assert corner(range(0, FILM, 10)).std(0).max() == 0
    films = corner(range(0, 20 * FILM, FILM))
    assert films.std(0).min() > 0.03
    assert (films.std(1) > 0.003).any()  # a tint
    assert corner(range(0, 20 * FILM, FILM), light=0.0).std(1).max() < 1e-6
    assert corner(range(0, 20 * FILM, FILM), background=0.0).max() == 0
