"""Walkers: the same frame in any batch, joints inside the body, flow that is exact.

The oracles know nothing of the drawing code: images warped by grid_sample, rigid
motions fitted to the flow, mirrored pictures, and the same frame at another resolution.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from lmlib.geometry import pixel_grid
from lmlib.samples import check_batch
from lmscenes import Walkers
from lmscenes.walkers import FILM

SIZE = 64
FRAMES = range(0, 8_000, 137)  # 59 of them, one a film, at all times and actions
NAMES, PARTS = Walkers.names, Walkers.parts


@pytest.fixture(scope="module")
def batch():
    return Walkers(seed=1).batch(FRAMES)


@pytest.fixture(scope="module")
def pair():
    return Walkers(seed=1, light=0.0).pair(FRAMES)


@pytest.fixture(scope="module")
def walking():
    scene = Walkers(seed=1, actions=("walk", "turn"))
    return scene.batch(range(0, 15_000, 97))


def sample(maps, points):
    """Values of ``(B, H, W)`` in the pixels of ``(B, K, 2)``; 0 outside."""
    maps, where = maps.float().unsqueeze(1), points.unsqueeze(1)
    return F.grid_sample(maps, where, mode="nearest", align_corners=False)[:, 0, 0]


def warp_error(pair, flow):
    """Mean distance of the first image and the second, read where the flow says."""
    warped = F.grid_sample(pair["image2"], flow, align_corners=False)
    return (warped - pair["image"]).abs().mean(1)[pair["flow_valid"]].mean()


def pixels(points):
    return points.norm(dim=-1) * SIZE / 2


# ---- addressed by index -------------------------------------------------------------


def test_a_frame_is_the_same_in_any_batch(batch):
    pick = [50, 3, 27, 3]
    again = Walkers(seed=1).batch([FRAMES[i] for i in pick])
    for name, value in again.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, batch[name][pick], atol=1e-5, rtol=0)
        else:
            assert torch.equal(value, batch[name][pick]), name


def test_another_seed_shows_other_people(batch):
    other = Walkers(seed=2).batch(FRAMES[:20])
    assert pixels(other["landmarks"] - batch["landmarks"][:20]).mean(1).min() > 0.5
    assert (other["image"] - batch["image"][:20]).abs().mean((1, 2, 3)).min() > 0.03


def test_batch_keeps_the_contract(batch):
    check_batch(batch)
    n, k = len(FRAMES), len(NAMES)
    assert k == 16 == len(set(NAMES))
    assert batch["image"].shape == (n, 3, SIZE, SIZE)
    assert batch["mask"].shape == (n, 1, SIZE, SIZE)
    assert batch["segment"].shape == batch["depth"].shape == (n, SIZE, SIZE)
    assert batch["landmarks"].shape == (n, k, 2)
    assert batch["visible"].shape == (n, k) and batch["visible"].dtype == torch.bool
    for name in ("segment", "label", "index"):
        assert batch[name].dtype == torch.int64, name
    for name in ("image", "mask", "depth", "landmarks", "view"):
        assert batch[name].dtype == torch.float32, name
    assert not any(value.requires_grad for value in batch.values())
    for name in ("image", "mask"):
        assert batch[name].min() >= 0 and batch[name].max() <= 1 + 1e-6
    assert batch["segment"].unique().tolist() == list(range(-1, len(PARTS)))
    assert torch.equal(batch["segment"] < 0, batch["depth"].isinf())
    assert batch["view"].abs().max() <= math.pi


def test_indices_may_be_of_any_integer_type_but_not_negative():
    scene = Walkers(32)
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
        ({"size": 20}, "32 to 256 pixels a side, got 20"),
        ({"stride": -1}, "stride must be 0 to 100 whole frames, got -1"),
        ({"stride": 1.5}, "whole frames, got 1.5"),
        ({"actions": ()}, "actions must be some of walk, turn, wave, bend, stand"),
        ({"actions": "swim"}, "actions must be some of .* got .*swim"),
        ({"yaw": 120}, "yaw must be 0 to 90 degrees, got 120"),
        ({"back": 1.2}, "back must be 0 to 1, got"),
        ({"variety": -0.1}, "variety must be 0 to 1, got"),
        ({"clutter": 2}, "clutter must be 0 to 1, got"),
        ({"light": float("nan")}, "light must be 0 to 1, got"),
    ],
)
def test_bad_settings_are_named(arguments, says):
    with pytest.raises(ValueError, match=says):
        Walkers(**arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same(pair):
    there = Walkers(seed=1, light=0.0).pair(FRAMES, device="cuda")
    for name, value in there.items():
        assert value.device.type == "cuda", name
        far = (value.cpu().float() - pair[name].float()).abs() > 1e-3
        assert far.float().mean() < 2e-3, name  # a pixel on an edge may flip


# ---- landmarks ----------------------------------------------------------------------


def test_landmarks_lie_on_the_body(batch):
    on = (batch["segment"] >= 0).float()
    assert sample(on, batch["landmarks"]).mean() > 0.985  # a wrist is two pixels wide
    assert sample(on, batch["landmarks"] + 0.3).mean() < 0.5  # the test can fail
    assert batch["landmarks"].abs().max() < 1


def test_visible_landmarks_show_their_own_side(walking):
    shown = sample(walking["segment"], walking["landmarks"]).long()
    names = [[PARTS[k] for k in row] for row in shown]
    pairs = zip(names, walking["visible"], strict=True)
    seen = [
        (joint, part)
        for row, visible in pairs
        for joint, part, v in zip(NAMES, row, visible, strict=True)
        if v
    ]
    for side, other in (("left", "right"), ("right", "left")):
        own = [part for joint, part in seen if joint.startswith(side)]
        assert len(own) > 150 and not any(part.startswith(other) for part in own)
    knee = {part for joint, part in seen if joint == "left knee"}
    assert knee == {"left thigh", "left shin"}
    assert 0.65 < walking["visible"].float().mean() < 0.95


def test_joints_lie_where_two_parts_meet(batch):
    grid = pixel_grid(SIZE, SIZE).flatten(0, 1)
    meet = {"elbow": "arm forearm", "wrist": "forearm hand", "knee": "thigh shin"}
    for joint, parts in {**meet, "ankle": "shin foot"}.items():
        for side in ("left", "right"):
            k = NAMES.index(f"{side} {joint}")
            away = []
            for part in parts.split():
                on = batch["segment"].flatten(1) == PARTS.index(f"{side} {part}")
                far = torch.cdist(batch["landmarks"][:, k : k + 1], grid)[:, 0]
                seen = batch["visible"][:, k] & (on.sum(1) > 5)
                away.append(pixels(far.masked_fill(~on, 9)[seen].amin(1)[:, None]))
            assert max(a.mean() for a in away) < 1.3, (side, joint)


def test_the_far_side_is_hidden(walking):
    """In profile to the image's right the left side is behind, and hidden more."""
    view, seen = walking["view"], walking["visible"].float()
    left = [k for k, name in enumerate(NAMES) if name.startswith("left")]
    right = [Walkers.swap[k] for k in left]
    turned = view.sin() > 0.8
    assert turned.sum() > 25
    near, far = (seen[turned][:, k].mean() for k in (right, left))
    assert near > far + 0.3


def test_view_is_the_heading(walking):
    """Shoulders are as wide as cos(view) says, and feet point where sin(view) says."""
    points, view = walking["landmarks"], walking["view"]
    left, right = NAMES.index("left shoulder"), NAMES.index("right shoulder")
    wide = points[:, left, 0] - points[:, right, 0]
    assert torch.corrcoef(torch.stack([wide, view.cos()]))[0, 1] > 0.98
    foot = (walking["segment"] == PARTS.index("right foot")).float()
    x = pixel_grid(SIZE, SIZE)[..., 0]
    x = (foot * x).sum((1, 2)) / foot.sum((1, 2)).clamp(min=1)
    ahead = x - points[:, NAMES.index("right ankle"), 0]
    side = (view.sin().abs() > 0.7) & (foot.sum((1, 2)) > 4)
    assert side.sum() > 50
    agree = (ahead.sign() == view.sin().sign())[side].float()
    assert agree.mean() > 0.85  # not at push-off, where toes point down


def test_the_same_frame_at_two_resolutions(batch):
    large = Walkers(2 * SIZE, seed=1, clutter=0.0).batch(FRAMES[:20])
    small = Walkers(SIZE, seed=1, clutter=0.0).batch(FRAMES[:20])
    torch.testing.assert_close(large["landmarks"], small["landmarks"])
    assert (F.avg_pool2d(large["mask"], 2) - small["mask"]).abs().mean() < 0.003
    assert (F.avg_pool2d(large["image"], 2) - small["image"]).abs().mean() < 0.005


def test_a_person_fills_most_of_the_frame_and_stands_in_its_middle(batch):
    on = batch["mask"][:, 0] > 0.5
    high = on.any(2).sum(1).float() / SIZE
    upright = batch["label"] != Walkers.action_names.index("bend")
    assert high[upright].min() > 0.72 and high.max() <= 1
    pelvis = batch["landmarks"][:, NAMES.index("pelvis"), 0]
    assert pelvis.abs().max() < 0.1
    assert on.float().mean((1, 2)).min() > 0.06


# ---- motion -------------------------------------------------------------------------


def test_the_second_image_read_along_the_flow_is_the_first(pair):
    error = warp_error(pair, pair["flow"])
    still = pixel_grid(SIZE, SIZE).expand_as(pair["flow"])
    assert error < 0.03
    assert warp_error(pair, still) > 1.8 * error  # no flow
    assert warp_error(pair, 2 * still - pair["flow"]) > 2.5 * error  # the wrong way


def test_the_flow_is_exact():
    """What is left of the error is resampling: it falls with the pixel."""
    errors = []
    for size in (64, 128):
        scene = Walkers(size, stride=3, light=0.0, actions=("walk", "wave"))
        pair = scene.pair(range(0, 4000, 301))
        errors.append(warp_error(pair, pair["flow"]))
    assert errors[1] < 0.65 * errors[0]


def test_parts_and_their_joints_move_rigidly(pair):
    """Seen from far away, a rigid motion is two rows of a rotation and a shift.

    They are fitted to the flow of one part. The joint it carries goes along: there is a
    depth, inside the limb, from which that motion takes it to its place in the second
    image.
    """
    tested = 0
    near = sample(pair["depth"].nan_to_num(posinf=9.0), pair["landmarks"])
    for part, joint in (("left thigh", "left knee"), ("right shin", "right knee"),
                        ("right arm", "right elbow"), ("chest", "neck"),
                        ("left forearm", "left wrist")):  # fmt: skip
        k = NAMES.index(joint)
        for i in range(len(FRAMES)):
            on = pair["segment"][i] == PARTS.index(part)
            if on.sum() < 25 or not pair["visible"][i, k]:
                continue
            here, there = pixel_grid(SIZE, SIZE)[on], pair["flow"][i][on].double()
            known = torch.cat([here, pair["depth"][i][on][:, None]], 1).double()
            known = torch.cat([known, torch.ones_like(known[:, :1])], 1)
            motion = torch.linalg.lstsq(known, there, driver="gelsd").solution.T
            assert (known @ motion.T - there).abs().max() < 1e-5
            rows = motion[:, :3]
            assert (rows @ rows.T - torch.eye(2)).abs().max() < 0.01
            x, y = pair["landmarks"][i, k].double()
            surface, slope = near[i, k].double(), rows[:, 2]
            left = motion @ torch.stack([x, y, surface, torch.ones_like(x)])
            left = pair["landmarks2"][i, k].double() - left
            deeper = (left @ slope) / (slope @ slope).clamp(min=1e-6)
            assert pixels(left - deeper * slope) < 0.02
            if slope.norm() > 0.03:
                assert -0.02 < deeper < 0.18  # below the surface of the limb
            tested += 1
    assert tested > 60


def test_landmarks_move_with_the_flow(pair):
    """To within what a limb's turn moves its surface against its axis."""
    points, seen = pair["landmarks"], pair["visible"]
    seen = seen & (sample(pair["flow_valid"], points) > 0)
    there = torch.stack([sample(pair["flow"][..., i], points) for i in (0, 1)], -1)
    away = pixels(there - pair["landmarks2"])[seen]
    moved = pixels(points - pair["landmarks2"])[seen]
    assert moved.mean() > 0.8 and moved.max() > 4
    assert away.mean() < 0.6 and away.quantile(0.95) < 1.2


def test_flow_over_two_steps_is_the_flow_of_both():
    start = range(0, 6000, 251)
    long = Walkers(seed=1, stride=8).pair(start)
    first = Walkers(seed=1, stride=4).pair(start)
    then = Walkers(seed=1, stride=4).pair([i + 4 for i in start])
    moved = then["flow"] - pixel_grid(SIZE, SIZE)
    step = F.grid_sample(moved.movedim(-1, 1), first["flow"], align_corners=False)
    both = first["flow"] + step.movedim(1, -1)
    # Where the part fills the neighbourhood that the second step is read from.
    part = first["segment"]
    one = part.unsqueeze(1).float()
    inner = F.max_pool2d(one, 3, 1, 1) == -F.max_pool2d(-one, 3, 1, 1)
    after = then["segment"].unsqueeze(1).float()
    same = F.max_pool2d(after, 3, 1, 1) == -F.max_pool2d(-after, 3, 1, 1)
    landed = sample(same[:, 0], first["flow"].flatten(1, 2)).view_as(part) > 0
    ok = inner[:, 0] & landed & first["flow_valid"] & long["flow_valid"]
    assert ok.sum() > 1000
    away, far = pixels(both - long["flow"])[ok], pixels(long["flow"] - first["flow"])
    assert away.mean() < 0.03 and away.quantile(0.99) < 0.2
    assert far[ok].mean() > 20 * away.mean()


def test_the_room_stays_and_only_the_body_moves(pair):
    grid = pixel_grid(SIZE, SIZE).expand_as(pair["flow"])
    on = pair["segment"] >= 0
    assert torch.equal(pair["flow"][~on], grid[~on])
    assert not pair["flow_valid"][~on].any()
    assert pixels(pair["flow"] - grid)[on].mean() > 0.5
    room = ((pair["mask"] + pair["mask2"]) == 0).expand_as(pair["image"])
    assert room.float().mean() > 0.7
    assert torch.equal(pair["image"][room], pair["image2"][room])


def test_valid_flow_is_seen_again(pair):
    """Its point shows the same part, or the edge of one, at the same depth."""
    valid, on = pair["flow_valid"], pair["segment"] >= 0
    assert 0.85 < valid[on].float().mean() < 0.995
    there = pair["flow"].flatten(1, 2)
    shown = sample(pair["segment2"], there).view_as(valid)
    same = (shown == pair["segment"]).float()
    assert same[valid].mean() > 0.9 > 0.6 > same[on & ~valid].mean()


def test_no_stride_is_the_identity():
    pair = Walkers(48, stride=0).pair(range(0, 900, 45))
    assert torch.equal(pair["image"], pair["image2"])
    assert torch.equal(pair["landmarks"], pair["landmarks2"])
    grid = pixel_grid(48, 48).expand_as(pair["flow"])
    torch.testing.assert_close(pair["flow"], grid, atol=2e-6, rtol=0)
    assert torch.equal(pair["flow_valid"], pair["segment"] >= 0)


def test_the_second_frame_is_the_one_stride_later():
    scene = Walkers(48, stride=3)
    pair, later = scene.pair([7, 250]), scene.batch([10, 253])
    torch.testing.assert_close(pair["image2"], later["image"], atol=1e-5, rtol=0)
    torch.testing.assert_close(pair["landmarks2"], later["landmarks"])
    # Past the last frame of its film a pair goes on, it does not jump to the next.
    end, jump = scene.pair([FILM - 1]), scene.batch([FILM + 2])
    step = pixels(end["landmarks2"] - end["landmarks"]).mean()
    assert step < 0.5 * pixels(jump["landmarks"] - end["landmarks"]).mean()


def test_motion_is_smooth_and_grows_with_the_stride():
    def step(stride, actions=None):
        pair = Walkers(32, stride=stride, actions=actions).pair(range(0, 9000, 171))
        return pixels(pair["landmarks2"] - pair["landmarks"]).mean(0)

    one, three = step(1).mean(), step(3).mean()
    assert 0.1 < one < 1.5
    assert three.item() == pytest.approx(3 * one.item(), rel=0.15)
    ankle = NAMES.index("left ankle")
    assert step(3, "walk")[ankle] > 5 * step(3, "stand")[ankle]


# ---- front and back -----------------------------------------------------------------


def test_swap_exchanges_left_and_right():
    for k, other in enumerate(Walkers.swap):
        assert Walkers.swap[other] == k
        mirrored = {"left": "right", "right": "left"}
        words = [mirrored.get(word, word) for word in NAMES[k].split()]
        assert NAMES[other] == " ".join(words)


def both_sides(**knobs):
    front, back = (
        Walkers(seed=1, yaw=0, back=b, clutter=0.0, light=0.0, **knobs).batch(FRAMES)
        for b in (0.0, 1.0)
    )
    return front, back


def test_a_back_is_a_front_with_left_and_right_exchanged():
    front, back = both_sides()
    means = [b["landmarks"].mean(0) for b in (front, back)]
    swapped = means[1][list(Walkers.swap)]
    assert pixels(means[0] - swapped).mean() < 0.7
    assert pixels(means[0] - means[1]).mean() > 4 * pixels(means[0] - swapped).mean()
    assert front["view"].abs().max() == 0
    torch.testing.assert_close(
        back["view"].abs(), torch.full((len(FRAMES),), math.pi), atol=1e-5, rtol=0
    )


def test_a_back_is_the_mirror_image_of_the_front_but_for_the_face():
    def away(**knobs):
        """Mean distance of front and mirrored back on both bodies, on the head."""
        front, back = both_sides(**knobs)
        # Put the mirror through the pelvis, where the axis of the turn is.
        theta = torch.eye(2, 3).repeat(len(FRAMES), 1, 1)
        theta[:, 0, 0] = -1
        theta[:, 0, 2] = 2 * back["landmarks"][:, NAMES.index("pelvis"), 0]
        grid = F.affine_grid(theta, front["image"].shape, align_corners=False)
        mirrored, mask, segment = (
            F.grid_sample(back[name].float().view(len(FRAMES), -1, SIZE, SIZE), grid,
                          mode="nearest", align_corners=False)
            for name in ("image", "mask", "segment")
        )  # fmt: skip
        overlap = torch.minimum(mask, front["mask"]).sum()
        overlap = overlap / torch.maximum(mask, front["mask"]).sum()
        both = (front["segment"] >= 0) & (segment[:, 0] >= 0)
        far = (mirrored - front["image"]).abs().mean(1)
        head = [PARTS.index(name) for name in ("head", "hair")]
        skull = torch.isin(front["segment"], torch.tensor(head)) & both
        return overlap, far[both].mean(), far[skull].mean()

    overlap, body, skull = away()
    _, _, hooded = away(face=False)
    assert overlap > 0.75  # the camera looks down: near feet are lower
    assert skull > 3 * hooded
    assert body < 0.1


# ---- looks --------------------------------------------------------------------------


def test_a_film_keeps_its_person_and_room():
    b = Walkers(seed=1, light=0.0, actions="walk").batch(range(0, 600, 20))
    film = b["index"] // FILM
    chest = b["segment"] == PARTS.index("waist")
    colour = torch.stack([
        image[:, on].mean(1) for image, on in zip(b["image"], chest, strict=True)
    ])  # fmt: skip
    corner = b["image"][:, :, :8, :8]
    for j in range(6):
        assert colour[film == j].std(0).max() < 0.05
        assert corner[film == j].std(0).max() == 0
    means = torch.stack([colour[film == j].mean(0) for j in range(6)])
    assert torch.pdist(means).min() > 0.02 and torch.pdist(means).mean() > 0.2
    assert corner.flatten(1)[::5].std(0).mean() > 0.05


def test_variety_is_of_people():
    def spread(variety):
        b = Walkers(48, seed=1, variety=variety, light=0.0, yaw=0, back=0.0)
        b = b.batch(FRAMES)
        on = b["segment"] == PARTS.index("waist")
        pairs = zip(b["image"], on, strict=True)
        colour = torch.stack([image[:, here].mean(1) for image, here in pairs])
        high = b["landmarks"][:, NAMES.index("left knee"), 1]
        stand = b["label"] == Walkers.action_names.index("stand")
        return colour.std(0).mean(), high[stand].std()

    colour, knee = spread(1.0)
    plain, same = spread(0.0)
    assert plain < 0.2 * colour
    assert same < 0.8 * knee


def test_clutter_is_of_the_room():
    def detail(clutter):
        b = Walkers(48, seed=1, clutter=clutter, light=0.0).batch(FRAMES)
        return b["image"][:, :, :12, :6].diff(dim=-1).abs().mean()

    assert detail(0.0) < 1e-6 < 0.005 < detail(1.0)


def test_light_shades_the_body_and_throws_a_shadow():
    frames = range(0, 3000, 137)

    def draw(light):
        return Walkers(seed=1, light=light, clutter=0.0).batch(frames)

    flat, lit = draw(0.0), draw(1.0)
    gain = lit["image"].mean(1) / flat["image"].mean(1)
    inside = flat["mask"][:, 0] > 0.99
    shading = torch.stack([g[on].std() for g, on in zip(gain, inside, strict=True)])
    assert shading.min() > 0.05
    # The room's own light is one factor; beside the feet there is less.
    room = flat["mask"][:, 0] == 0
    above = gain[:, :8, :8].mean((1, 2))
    least = gain.masked_fill(~room, 9)[:, 48:].amin((1, 2))
    assert (least / above).max() < 0.8
    assert (gain[:, :8].masked_fill(~room[:, :8], 9).amin((1, 2)) / above).min() > 0.99


def test_without_light_a_point_keeps_its_colour():
    def error(light):
        pair = Walkers(seed=1, light=light, actions="turn").pair(FRAMES[:30])
        return warp_error(pair, pair["flow"])

    assert error(1.0) > 1.15 * error(0.0)


def test_yaw_back_and_actions_are_obeyed():
    frames = range(0, 20_000, 171)
    b = Walkers(32, yaw=30).batch(frames)
    off = torch.minimum(b["view"].abs(), math.pi - b["view"].abs())
    assert 0.4 < off.max() <= math.radians(30) + 1e-4
    assert 0.3 < (b["view"].cos() < 0).float().mean() < 0.7
    assert (Walkers(32, yaw=60, back=0.0).batch(frames)["view"].cos() > 0.49).all()
    b = Walkers(32, actions=("wave", "bend")).batch(frames)
    assert torch.equal(b["label"], torch.tensor(frames) // FILM % 2)
    head = b["landmarks"][:, 0, 1]
    hands = b["landmarks"][:, [NAMES.index(f"{s} wrist") for s in ("left", "right")], 1]
    raised = (hands.amin(1) < b["landmarks"][:, NAMES.index("neck"), 1]) * 1.0
    wave = b["label"] == 0
    assert raised[wave].mean() > 0.4 and raised[~wave].mean() < 0.05
    assert head[~wave].max() > head[wave].max() + 0.2  # who bends lowers the head
