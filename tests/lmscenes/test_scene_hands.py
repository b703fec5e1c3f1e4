"""Hands: the same picture in any batch, points that lie where they say, real gestures.

The oracles know nothing of the renderer: bone lengths, nearest neighbours on the
landmarks alone, and the mask.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from lmlib.samples import check_batch
from lmscenes.hands import GESTURES, Hands, gesture_table
from lmscenes.shared import turn

PLAIN = dict(background=False, illumination=False)
PER = len(GESTURES)


@pytest.fixture(scope="module")
def batch():
    scene = Hands(seed=1)
    parts = [scene.batch(range(i, i + 54)) for i in range(0, 12 * PER, 54)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def sample(maps, points):
    """Values of ``(B, 1, H, W)`` at ``(B, K, 2)``."""
    where = points.unsqueeze(1)
    return F.grid_sample(maps, where, mode="nearest", align_corners=False)[:, 0, 0]


def test_an_image_is_the_same_in_any_batch(batch):
    pick = [130, 3, 57, 200]
    again = Hands(seed=1).batch(pick)
    for name, value in again.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, batch[name][pick], atol=1e-5, rtol=0)
        else:
            assert torch.equal(value, batch[name][pick]), name


def test_another_seed_draws_another_hand(batch):
    other = Hands(seed=2).batch(range(4))
    assert torch.equal(other["label"], batch["label"][:4])
    far = (other["image"] - batch["image"][:4]).abs().flatten(1).mean(1)
    assert far.min() > 0.03
    moved = (other["landmarks"] - batch["landmarks"][:4]).norm(dim=-1).mean(1)
    assert moved.min() > 0.01


def test_batch_keeps_the_contract(batch):
    check_batch(batch)
    n = 12 * PER
    assert batch["image"].shape == (n, 3, 64, 64)
    assert batch["mask"].shape == (n, 1, 64, 64)
    assert batch["landmarks"].shape == (n, 25, 2) == (n, len(Hands.names), 2)
    assert len(Hands.classes) == 27 == len(set(Hands.classes))
    assert len(set(Hands.names)) == 25
    for name in ("image", "mask"):
        assert batch[name].min() >= 0 and batch[name].max() <= 1
    assert batch["landmarks"].abs().max() < 1
    share = batch["mask"].mean((1, 2, 3))
    assert share.min() > 0.05 and share.max() < 0.7


def test_gestures_and_subjects_go_round(batch):
    pairs = batch["label"] * 12 + batch["subject"]
    assert len(pairs.unique()) == 12 * PER
    for start in (0, 5, 100):
        assert len(batch["label"][start : start + PER].unique()) == PER
    few = Hands(32, subjects=2).batch(range(4 * PER))
    assert few["subject"].bincount().tolist() == [2 * PER, 2 * PER]


@pytest.mark.parametrize("size", [32, 45, 128])
def test_sizes_show_the_same_hand(size, batch):
    other = Hands(size, seed=1).batch(range(6))
    assert other["image"].shape[-2:] == (size, size)
    torch.testing.assert_close(other["landmarks"], batch["landmarks"][:6])
    small = F.interpolate(other["mask"], 16, mode="area")
    expected = F.interpolate(batch["mask"][:6], 16, mode="area")
    assert (small - expected).abs().mean() < 0.02


def test_gray_is_the_luma_of_the_colours(batch):
    gray = Hands(seed=1, gray=True).batch(range(3))["image"]
    luma = batch["image"][:3] * torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close(gray, luma.sum(1, keepdim=True))


def test_visible_points_lie_on_the_hand(batch):
    on = sample(batch["mask"], batch["landmarks"]) > 0.5
    visible = batch["visible"]
    assert on[visible].float().mean() > 0.995
    shifted = sample(batch["mask"], batch["landmarks"].roll(7, 0)) > 0.5
    assert shifted[visible].float().mean() < 0.8  # the test can fail


def test_hidden_points_depend_on_the_gesture(batch):
    count = batch["visible"].sum(1)
    assert ((count >= 17) & (count <= 25)).float().mean() > 0.8
    mean = {
        name: count[batch["label"] == k].float().mean().item()
        for k, name in enumerate(GESTURES)
    }
    assert mean["spread"] > 24.5 and mean["back, spread"] > 24
    assert mean["fist"] < mean["victory"] - 2 < mean["spread"] - 4
    tips = [Hands.names.index(f"{finger} tip") for finger in ("ring", "little")]
    behind = batch["label"] == Hands.classes.index("back, victory")
    assert not batch["visible"][behind][:, tips].float().mean() > 0.1


def test_bones_keep_their_length_when_the_hand_turns():
    scene = Hands(32, **PLAIN)
    label, person, u = torch.arange(PER), torch.rand(PER, 20), torch.rand(PER, 40)
    first = scene._pose(label, person, u)[0]
    u[:, 22:28] = torch.rand(PER, 6)  # tilt, roll, scale and place
    second = scene._pose(label, person, u)[0]
    length = [(b["b"] - b["a"]).norm(dim=-1) for b in (first, second)]
    torch.testing.assert_close(*length, atol=1e-4, rtol=1e-4)
    flat = [(b["b"] - b["a"])[..., :2].norm(dim=-1) for b in (first, second)]
    assert (flat[0] - flat[1]).abs().max() > 0.3  # but not in the picture


def test_rotations_are_rotations():
    angle = torch.tensor([0.3, -2.0])
    for axis in range(3):
        matrix = turn(angle, axis)
        torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3).expand(2, 3, 3))
        torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(2))
        torch.testing.assert_close(
            matrix.diagonal(dim1=1, dim2=2).sum(1), 1 + 2 * angle.cos()
        )


def test_gestures_are_distinct():
    table = torch.cat([v.flatten(1) for v in gesture_table().values()], 1)
    assert torch.cdist(table, table).fill_diagonal_(9).min() > math.radians(8)


def wrist_width(landmarks):
    """Distance of the wrist's two sides, ``(B, 25, 2)`` to ``(B,)``."""
    return (landmarks[:, 0] - landmarks[:, 24]).norm(dim=-1)


def test_wrist_width(batch):
    width = wrist_width(batch["landmarks"])
    assert width.min() > 0.1 and width.max() < 1
    assert batch["visible"][:, [0, 24]].all()
    # A right hand: the thumb's side is right of the palm, and left of the back.
    left = (batch["landmarks"][:, 0] - batch["landmarks"][:, 24])[:, 0] < 0
    back = torch.tensor([name.startswith("back") for name in GESTURES])
    assert torch.equal(left, back[batch["label"]])


def nearest_gesture(batch, labels):
    """Accuracy of one nearest neighbour on the landmarks, other subjects only."""
    points = batch["landmarks"] - batch["landmarks"][:, [0, 24]].mean(1, keepdim=True)
    points = points / wrist_width(batch["landmarks"])[:, None, None]
    both = (batch["visible"][:, None] & batch["visible"][None]).float()
    far = (points[:, None] - points[None]).square().sum(-1)
    unlike = (batch["visible"][:, None] != batch["visible"][None]).float()
    far = (far * both + 1.0 * unlike).mean(-1)
    same = batch["subject"][:, None] == batch["subject"][None]
    return (labels[far.masked_fill(same, 1e9).argmin(1)] == labels).float().mean()


def test_landmarks_tell_the_gesture():
    few = Hands(32, seed=4, roll=10, tilt=15, jitter=4).batch(range(12 * PER))
    assert nearest_gesture(few, few["label"]) > 0.8
    shuffled = few["label"][torch.randperm(12 * PER)]
    assert nearest_gesture(few, shuffled) < 0.12


def test_knobs_make_it_harder():
    def spread(**knobs):
        b = Hands(32, **{**dict(roll=0, tilt=0, jitter=0), **knobs}).batch(
            range(0, 12 * PER, PER)
        )
        points = b["landmarks"] - b["landmarks"].mean(1, keepdim=True)
        points = points / points.square().mean((1, 2), keepdim=True).sqrt()
        border = b["image"][:, :, 0].flatten(1)
        return points.std(0).mean(), border.std()

    easy, plain = spread(**PLAIN)
    assert plain == 0
    assert spread()[1] > 0.1
    for knob in (dict(roll=40), dict(tilt=40), dict(jitter=15)):
        assert spread(**knob, **PLAIN)[0] > 1.15 * easy, knob


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"size": 16}, "32 to 512 pixels"),
        ({"subjects": 0}, "at least one subject"),
        ({"roll": -1}, "roll must be 0 to 180 degrees, got -1"),
        ({"tilt": 60}, "tilt must be 0 to 45 degrees, got 60"),
        ({"jitter": 20}, "jitter must be 0 to 15 degrees, got 20"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Hands(**arguments)
