"""Cars: a profile with wheels, lamps and windows where the landmarks say.

The oracles read the pictures back: rings around the wheels' centres, colours under the
lamps' landmarks, the mask above and below the roof, styles from where landmarks lie.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from lmlib.samples import check_batch
from lmscenes.cars import Cars, view

FRONT, REAR, SCREEN, WINDOW, LAMP, TAIL, COWL, DECK = range(8)


@pytest.fixture(scope="module")
def street():
    return Cars(48).batch(range(49))


@pytest.fixture(scope="module")
def sharp():
    """Larger pictures of the first 42, and what was random about them."""
    cars = Cars(96)
    return cars.batch(range(42)), cars.parameters(range(42))


def read(maps, points):
    """Maps (B, C, H, W) at points (B, N, 2): (B, N, C)."""
    seen = F.grid_sample(maps, points[:, None], align_corners=False)
    return seen[:, :, 0].transpose(1, 2)


def to_picture(q, metres):
    turn, shift = view(q)
    return metres @ turn + shift


def to_metres(q, points):
    turn, shift = view(q)
    return torch.linalg.solve(turn, points - shift, left=False)


def in_wheel_units(marks):
    """Landmarks from the front wheel, in distances between the wheels, not tilted."""
    c, s = (marks[:, REAR] - marks[:, FRONT]).unbind(1)
    turn = torch.stack([torch.stack([c, s], 1), torch.stack([-s, c], 1)], 1)
    turn = turn / (c * c + s * s)[:, None, None]
    return (marks - marks[:, :1]) @ turn.mT


# ---- addressed by index -------------------------------------------------------------


def test_an_image_is_the_same_in_any_batch(street):
    picked = Cars(48).batch([17, 3, 17, 40])
    assert set(picked) == set(street)
    for name, value in picked.items():
        whole = street[name][[17, 3, 17, 40]]
        if value.is_floating_point():
            torch.testing.assert_close(value, whole, atol=2e-4, rtol=0, msg=name)
        else:
            assert torch.equal(value, whole), name


def test_another_seed_shows_others(street):
    other = Cars(48, seed=1).batch(range(16))
    assert (other["image"] - street["image"][:16]).abs().mean((1, 2, 3)).min() > 0.02
    moved = (other["landmarks"] - street["landmarks"][:16]).abs().amax((1, 2))
    assert moved.min() > 0.01


def test_shapes_ranges_and_names(street):
    check_batch(street)
    assert street["image"].shape == (49, 3, 48, 48)
    assert street["mask"].shape == (49, 1, 48, 48)
    assert street["landmarks"].shape == (49, 8, 2)
    assert street["visible"].shape == (49, 8) and street["visible"].all()
    assert street["image"].min() >= 0 and street["image"].max() <= 1
    assert street["image"].std(dim=(1, 2, 3)).min() > 0.05
    assert len(set(Cars.names)) == 8 and len(Cars.style_names) == 7
    share = street["mask"].mean((1, 2, 3))
    assert 0.1 < share.min() and share.max() < 0.4


@pytest.mark.parametrize("aspect", [1, 2])
def test_all_landmarks_are_in_view(aspect):
    cars = Cars(32, aspect=aspect)
    q = cars.parameters(range(3000))
    ends = torch.tensor([[0.0, 0.0], [0.0, 1.0], [5.0, 0.0], [5.0, 1.0]])
    ends = ends.expand(3000, 4, 2).clone()
    ends[:, 2:, 0] = q["long"][:, None]
    ends[:, 1::2, 1] = q["tall"][:, None]
    corners = to_picture(q, ends) * torch.tensor([1.0, aspect])
    assert corners.abs().max() < 1  # the near side's whole box


def test_the_same_cars_at_any_size(street, sharp):
    large = sharp[0]
    there = street["landmarks"][:42]
    torch.testing.assert_close(large["landmarks"], there, atol=1e-5, rtol=0)
    small = F.avg_pool2d(large["image"], 2)
    same = (small - street["image"][:42]).abs().mean((1, 2, 3))
    others = (small - street["image"][:42].roll(1, 0)).abs().mean((1, 2, 3))
    assert same.max() < 0.02 < 0.06 < others.min()
    masks = (F.avg_pool2d(large["mask"], 2) - street["mask"][:42]).abs()
    assert masks.mean() < 0.005


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_picture(street):
    there = Cars(48).batch(range(49), device="cuda")
    for name, value in there.items():
        assert value.device.type == "cuda", name
        assert (value.cpu().float() - street[name].float()).abs().mean() < 1e-3, name


# ---- landmarks are on what they name ------------------------------------------------


def rings(batch, q, centre, share):
    """Brightness in 16 directions from a landmark, at ``share`` of a wheel's radius."""
    angle = torch.arange(16) * (math.tau / 16)
    ray = torch.stack([angle.cos(), angle.sin()], 1)
    radius = share * (q["wheel"] * q["scale"])[:, None, None]
    return read(batch["image"], batch["landmarks"][:, [centre]] + radius * ray).mean(2)


@pytest.mark.parametrize("wheel", [FRONT, REAR])
def test_a_wheel_is_a_bright_rim_in_a_dark_ring(wheel, sharp):
    batch, q = sharp
    tyre, rim = rings(batch, q, wheel, 0.88), rings(batch, q, wheel, 0.45)
    assert tyre.amax(1).max() < 0.2  # dark all around: round, and centred
    assert (rim.mean(1) > tyre.mean(1) + 0.05).all()
    # The same oracle says no beside the wheel.
    aside = batch | {"landmarks": batch["landmarks"] + 0.05}
    assert (rings(aside, q, wheel, 0.88).amax(1) > 0.2).float().mean() > 0.8


def test_lamps_have_their_colours(sharp):
    batch, q = sharp
    colour = read(batch["image"], batch["landmarks"]) / q["power"][:, None]
    red, green, blue = colour[:, TAIL].unbind(1)
    assert (red > 0.4).all() and (red > 2 * torch.maximum(green, blue)).all()
    pale = colour[:, LAMP]
    assert (pale.amin(1) > 0.6).all() and (pale.amax(1) - pale.amin(1) < 0.25).all()


@pytest.mark.parametrize(
    "mark, ahead", [(SCREEN, 0), (WINDOW, 0), (COWL, -0.1), (DECK, 0.1)]
)
def test_roof_landmarks_lie_on_the_outline(mark, ahead):
    """12 cm towards the middle is body, 12 cm up is not; ``lift``: the far side's."""
    cars = Cars(96, pose=0)
    batch, q = cars.batch(range(28)), cars.parameters(range(28))
    point = to_metres(q, batch["landmarks"][:, [mark]])
    middle = torch.stack([q["long"] / 2, 0.6 * q["tall"]], 1)[:, None]
    inside = point + 0.12 * F.normalize(middle - point, dim=-1)
    outside = point + torch.tensor([ahead, 0.12])
    outside[..., 1] += q["lift"][:, None]
    inside, outside = (to_picture(q, p) for p in (inside, outside))
    assert read(batch["mask"], inside).min() > 0.9
    assert read(batch["mask"], outside).max() < 0.1


def test_cars_face_left_and_stand_upright(street):
    x, y = street["landmarks"].unbind(2)
    order = [LAMP, FRONT, REAR, TAIL]
    assert (x[:, order].diff(dim=1) > 0.02).all()
    order = [COWL, SCREEN, WINDOW, DECK]
    assert (x[:, order].diff(dim=1) > 0).all()
    assert (y[:, SCREEN] < y[:, COWL] - 0.02).all()
    assert (y[:, WINDOW] < y[:, DECK] - 0.02).all()
    assert (y[:, [COWL, DECK]].amax(1) < y[:, [FRONT, REAR]].amin(1)).all()


# ---- styles -------------------------------------------------------------------------


def test_styles_take_turns(street):
    names = Cars.style_names
    assert torch.equal(street["label"], street["index"] % len(names))
    some = Cars(32, styles=("van", "coupe")).batch(range(4))["label"]
    assert [names[i] for i in some] == ["van", "coupe", "van", "coupe"]
    assert names[Cars(32, styles="suv").batch([5])["label"]] == "suv"


def test_the_label_can_be_read_off_the_shape():
    """The nearest mean of 105 cars names the style of 105 others, from landmarks."""
    batch = Cars(32).batch(range(210))
    places, label = in_wheel_units(batch["landmarks"]).flatten(1), batch["label"]

    def accuracy(label):
        means = torch.stack([places[:105][label[:105] == i].mean(0) for i in range(7)])
        return (
            (torch.cdist(places[105:], means).argmin(1) == label[105:]).float().mean()
        )

    assert accuracy(label) > 0.8
    mixed = label[torch.randperm(210, generator=torch.Generator().manual_seed(0))]
    assert accuracy(mixed) < 0.4
    # A pickup has an open bed behind its cab, a van is higher than a coupe.
    of = {name: places.view(-1, 8, 2)[label == i].mean(0)
          for i, name in enumerate(Cars.style_names)}  # fmt: skip
    bed = {name: (p[TAIL] - p[DECK])[0] for name, p in of.items()}
    assert max(bed, key=bed.get) == "pickup"
    height = {name: -p[SCREEN, 1] for name, p in of.items()}
    assert height["van"] > 1.2 * height["saloon"] > 1.2 * height["coupe"]


# ---- knobs --------------------------------------------------------------------------


def test_shape_says_how_much_cars_of_a_style_differ():
    def spread(**knobs):
        batch = Cars(32, styles="saloon", pose=0, **knobs).batch(range(16))
        return in_wheel_units(batch["landmarks"]).std(0).mean()

    assert spread(shape=0) < 1e-5
    assert spread() > 1.5 * spread(shape=0.5) > 0.01


def test_pose_off_is_one_view():
    still = Cars(32, pose=0, shape=0, styles="suv").batch(range(8))["landmarks"]
    assert still.std(0).max() < 1e-5
    torch.testing.assert_close(still[:, FRONT, 1], still[:, REAR, 1])
    moved = Cars(32, shape=0, styles="suv").batch(range(8))["landmarks"]
    assert moved.std(0).min() > 0.01


def test_turned_to_us_a_car_shows_its_nose(sharp):
    batch, q = sharp
    wide = batch["mask"].amax((1, 2)) > 0.5
    left = wide.float().argmax(1) / 48 - 1  # of the mask
    ahead = batch["landmarks"][:, LAMP, 0] - left
    towards = q["yaw"] > math.radians(4)
    away = q["yaw"] < math.radians(-4)
    assert towards.sum() > 5 and away.sum() > 5
    assert ahead[towards].mean() > 1.5 * ahead[away].mean()


def test_turned_away_a_car_shows_the_other_rear_light():
    batch, q = Cars(96).batch(range(105)), Cars().parameters(range(105))
    far = torch.stack([q["long"] - 0.03, q["y back"]], 1)
    far = far + 0.9 * torch.stack([-q["turn"], q["lift"]], 1)
    red, green, blue = read(batch["image"], to_picture(q, far[:, None]))[:, 0].unbind(1)
    lit = (red > 1.5 * torch.maximum(green, blue)).float()
    assert lit[q["yaw"] < math.radians(-7)].mean() > 0.85
    assert lit[q["yaw"] > math.radians(7)].mean() < 0.4


def test_clutter_changes_the_background_only(street):
    plain = Cars(48, clutter=0).batch(range(49))
    changed = (plain["image"] - street["image"]).abs().amax(1, keepdim=True)
    assert changed[street["mask"] > 0.9999].max() < 1e-4
    assert changed[street["mask"] == 0].mean() > 0.03
    half = Cars(48, clutter=0.5).batch(range(49))

    def rough(batch):
        return (batch["image"].diff(dim=3).abs() * (batch["mask"] == 0)[..., 1:]).mean()

    assert rough(plain) < 0.5 * rough(street)
    assert rough(plain) < rough(half) < rough(street)


def test_light_off_is_the_same_light_everywhere(sharp):
    q = Cars(light=0).parameters(range(32))
    assert q["power"].std(0).max() == 0 and q["sun"].abs().max() < 1e-6
    even = Cars(96, light=0).batch(range(42))
    assert torch.equal(even["landmarks"], sharp[0]["landmarks"])
    # White glass of the headlights: its brightness is the light's.
    lamp, lit = (read(b["image"], b["landmarks"])[:, LAMP, 1] for b in (even, sharp[0]))
    assert lamp.std() < 0.3 * lit.std()


def test_aspect_two_is_the_same_car_squeezed():
    square, wide = (
        Cars(48, pose=0, aspect=a).batch(range(14))["landmarks"] for a in (1, 2)
    )
    square, wide = (p - p[:, :1] for p in (square, wide))
    torch.testing.assert_close(wide, square * torch.tensor([1.0, 2.0]))
    masks = [Cars(48, aspect=a).batch(range(14))["mask"].mean() for a in (1, 2)]
    assert 1.9 < masks[1] / masks[0] < 2.1


@pytest.mark.parametrize(
    "wrong, says",
    [
        (dict(size=16), "32 to 512 pixels"),
        (dict(aspect=3), "aspect must be 1 or 2, got 3"),
        (dict(styles=("tank",)), "styles must be some of saloon"),
        (dict(styles=()), "styles must be some of"),
        (dict(shape=-0.1), "shape must be 0 to 1, got -0.1"),
        (dict(pose=2), "pose must be 0 to 1, got 2"),
        (dict(clutter=1.5), "clutter must be 0 to 1"),
        (dict(light=float("nan")), "light must be 0 to 1, got nan"),
    ],
)
def test_bad_settings_are_named(wrong, says):
    with pytest.raises(ValueError, match=says):
        Cars(**wrong)


@pytest.mark.parametrize("indices", [[], [-1], [0.5]])
@pytest.mark.usefixtures("unchecked")
def test_bad_indices(indices):
    with pytest.raises(ValueError, match="image indices"):
        Cars(32).batch(indices)
