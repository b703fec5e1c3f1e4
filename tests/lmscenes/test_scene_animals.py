"""Animals: the same parts in every species, checked from outside.

The oracles read the pictures back: the surface image under the landmarks, brightness
around the eyes, turning senses from the nose, species from where the landmarks lie.
"""

import pytest
import torch
import torch.nn.functional as F

from lmlib.samples import check_batch
from lmscenes import head
from lmscenes.animals import Animals
from lmscenes.faces import Faces, five_points

CAT, DOG, RABBIT = (Animals.species_names.index(n) for n in ("cat", "dog", "rabbit"))


@pytest.fixture(scope="module")
def wild():
    return Animals(48).batch(range(48))


@pytest.fixture(scope="module")
def still():
    """Seen from the front, with a plain wall."""
    plain = dict(yaw=0, pitch=0, roll=0, background=False)
    return Animals(64, **plain).batch(range(96))


def read(maps, points):
    """Maps (B, C, H, W) at the pixels under points (B, K, 2): (B, K, C)."""
    seen = F.grid_sample(maps, points[:, None], mode="nearest", align_corners=False)
    return seen[:, :, 0].transpose(1, 2)


def in_eye_units(batch):
    """Landmarks from the eyes' middle, in eye distances, not tilted."""
    marks = batch["landmarks"]
    c, s = (marks[:, 1] - marks[:, 0]).unbind(1)
    turn = torch.stack([torch.stack([c, s], 1), torch.stack([-s, c], 1)], 1)
    turn = turn / (c * c + s * s)[:, None, None]
    return (marks - (marks[:, :1] + marks[:, 1:2]) / 2) @ turn.mT


# ---- addressed by index -------------------------------------------------------------


def test_an_image_is_the_same_in_any_batch(wild):
    picked = Animals(48).batch([17, 3, 17, 40])
    for name, value in picked.items():
        whole = wild[name][[17, 3, 17, 40]]
        if value.is_floating_point():
            assert (value - whole).abs().mean() < 1e-5, name
        else:
            assert torch.equal(value, whole), name
    there = wild["landmarks"][[17, 3, 17, 40]]
    torch.testing.assert_close(picked["landmarks"], there, atol=1e-5, rtol=0)


def test_another_seed_shows_others(wild):
    other = Animals(48, seed=1).batch(range(16))
    assert (other["image"] - wild["image"][:16]).abs().mean((1, 2, 3)).min() > 0.02
    assert (other["landmarks"] - wild["landmarks"][:16]).abs().amax((1, 2)).min() > 0.01


def test_shapes_ranges_and_names(wild):
    check_batch(wild)
    assert wild["image"].shape == (48, 3, 48, 48)
    assert wild["landmarks"].shape == (48, 9, 2) and wild["visible"].shape == (48, 9)
    assert wild["surface"].shape == (48, 2, 48, 48)
    assert wild["mask"].shape == (48, 1, 48, 48) and wild["pose"].shape == (48, 3)
    assert wild["image"].min() >= 0 and wild["image"].max() <= 1
    assert wild["image"].std(dim=(1, 2, 3)).min() > 0.05
    assert wild["surface"].isfinite().all() and wild["surface"].abs().max() <= 1
    assert len(Animals.names) == len(set(Animals.names)) == 9
    assert Animals.names[:5] == Faces.FIVE
    assert wild["landmarks"][:, :5].abs().max() < 1


@pytest.mark.parametrize("size", [32, 128])
def test_the_same_animals_at_any_size_without_holes(size, wild):
    batch = Animals(size).batch(range(6))
    there = wild["landmarks"][:6]
    torch.testing.assert_close(batch["landmarks"], there, atol=1e-4, rtol=0)
    # A hole is a pixel without fur between fur on all four sides.
    fur = batch["mask"]
    around = F.conv2d(fur, torch.tensor([[[[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]]]))
    holes = (around == 4) & (fur[..., 1:-1, 1:-1] == 0)
    assert holes.sum() <= 0.0005 * fur.sum()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_picture(wild):
    there = Animals(48).batch(range(48), device="cuda")
    for name, value in there.items():
        assert value.device.type == "cuda", name
        assert (value.cpu().float() - wild[name].float()).abs().mean() < 1e-3, name


# ---- species ------------------------------------------------------------------------


def test_species_take_turns(wild):
    names = Animals.species_names
    assert torch.equal(wild["label"], wild["index"] % len(names))
    some = Animals(32, species=("fox", "cat")).batch(range(4))["label"]
    assert [names[i] for i in some] == ["fox", "cat", "fox", "cat"]
    assert names[Animals(32, species="bear").batch([5])["label"]] == "bear"


def test_species_differ_more_than_individuals(still):
    """The nearest mean of 48 faces names the species of 48 others, from landmarks."""
    places, label = in_eye_units(still).flatten(1), still["label"]

    def accuracy(label):
        means = torch.stack([places[:48][label[:48] == i].mean(0) for i in range(6)])
        found = torch.cdist(places[48:], means).argmin(1)
        return (found == label[48:]).float().mean()

    assert accuracy(label) > 0.9
    mixed = label[torch.randperm(96, generator=torch.Generator().manual_seed(0))]
    assert accuracy(mixed) < 0.4


def test_individuals_vary_and_variety_says_how_much():
    def spread(**knobs):
        plain = dict(yaw=0, pitch=0, roll=0, background=False, species=("dog",))
        batch = Animals(32, **plain, **knobs).batch(range(16))
        return in_eye_units(batch)[:, 2:].std(0).mean()

    assert spread(variety=0) < 0.3 * spread()
    assert spread(variety=2) > 1.5 * spread()
    coats = Animals(32, species=("dog",)).parameters(range(64))["coat"]
    assert len(coats.unique()) >= 4


# ---- landmarks and surface ----------------------------------------------------------


def test_a_landmark_has_the_surface_coordinate_of_the_human_one():
    """In any species (u, v) under eyes, nose, mouth is that of the human landmark."""
    batch = Animals(128, yaw=20).batch(range(24))
    seen = read(torch.cat([batch["surface"], batch["mask"]], 1), batch["landmarks"])
    human = head.landmark_places()
    eyes = human[36:42].mean(0), human[42:48].mean(0)
    places = torch.stack([*eyes, *human[[30, 48, 54]]])
    use = (seen[:, :5, 2] > 0.5) & batch["visible"][:, :5]
    error = (seen[:, :5, :2] - places).norm(dim=-1)
    assert use.float().mean() > 0.9
    assert error[use].median() < 0.015 and error[use].quantile(0.95) < 0.13
    for label in batch["label"].unique():
        here = batch["label"] == label
        assert error[here][use[here]].median() < 0.03
    wrong = (seen[:, :5, :2] - places.roll(1, 0)).norm(dim=-1)[use]
    assert wrong.median() > 0.3


def test_equal_surface_coordinates_match_parts_across_species(still):
    """The pixel of another species nearest in (u, v) to a landmark is its landmark."""
    a, b = slice(0, 47), slice(1, 48)  # neighbours are of different species
    five = still["landmarks"][:, :5]
    seen = read(still["surface"], five)[a]
    there = still["surface"][b].flatten(2).transpose(1, 2)
    distance = torch.cdist(seen, there) + 9 * (still["mask"][b].flatten(2) < 0.5)
    pixel = distance.argmin(-1)
    found = torch.stack([pixel % 64, pixel // 64], -1) * (2 / 64) + 1 / 64 - 1
    error = (found - five[b]).norm(dim=-1) * 32  # pixels
    moved = (five[a] - five[b]).norm(dim=-1) * 32
    assert error.median() < 1.0 and error.mean() < 1.5 < 0.4 * moved.mean()


def test_ears_have_a_chart_of_their_own_and_point_as_they_should(still):
    marks, label = still["landmarks"], still["label"]
    tips, bases = marks[:, 5:7], marks[:, 7:9]
    seen = read(torch.cat([still["surface"], still["mask"]], 1), tips.lerp(bases, 0.3))
    ear = (seen[..., 2] > 0.5) & (seen[..., 0].abs() > 0.81)
    assert ear.float().mean() > 0.8
    assert (
        seen[..., 0][ear].sign() == torch.tensor([-1.0, 1.0]).expand(96, 2)[ear]
    ).all()
    up = bases[..., 1] - tips[..., 1]
    assert (up[label == DOG] < 0).all() and (up[label != DOG] > 0).all()
    assert up[label == RABBIT].mean() > 1.2 * up[label == CAT].mean()
    assert (tips[:, 0, 0] < bases[:, 0, 0]).all() and (
        tips[:, 1, 0] > bases[:, 1, 0]
    ).all()


def test_eyes_are_dark_with_a_glint_and_seen_from_the_front(still):
    luma = still["image"].mean(1, keepdim=True)
    marks = still["landmarks"][:, :2]
    apart = (marks[:, 1] - marks[:, 0]).norm(dim=-1)[:, None, None]
    dark = F.avg_pool2d(luma, 3, 1, 1)
    eye = read(dark, marks)[..., 0]
    above = read(dark, marks - apart * torch.tensor([0.0, 0.42]))[..., 0]
    pale = above > 0.3  # black fur is as dark as any pupil
    assert pale.float().mean() > 0.5
    assert (eye < above)[pale].float().mean() > 0.9
    patch = F.max_pool2d(luma, 5, 1, 2) + F.max_pool2d(-luma, 5, 1, 2)
    assert (read(patch, marks) > 0.25).float().mean() > 0.9  # a glint, a pupil
    assert still["visible"][:, :5].all()
    assert (read(still["mask"], still["landmarks"][:, :5]) > 0.5).all()


# ---- pose and frame -----------------------------------------------------------------


def test_turning_moves_the_nose_and_hides_the_far_side():
    batch = Animals(48, yaw=60, pitch=0, roll=0).batch(range(96))
    yaw, visible = batch["pose"][:, 0], batch["visible"]
    nose = in_eye_units(batch)[:, 2, 0]
    assert torch.corrcoef(torch.stack([yaw, nose]))[0, 1] > 0.8  # right is right
    right, left = yaw > 45, yaw < -45
    assert right.sum() > 5 and left.sum() > 5
    for turned, far, near in ((right, 1, 0), (left, 0, 1)):
        assert visible[turned][:, near].float().mean() > 0.95
        assert visible[turned][:, far].float().mean() < 0.7


def test_pitch_and_roll_have_the_sign_of_faces():
    nod = Animals(32, yaw=0, pitch=30, roll=0, variety=0).batch(range(48))
    nose = in_eye_units(nod)[:, 2, 1]
    for species in range(6):
        here = nod["label"] == species
        pair = torch.stack([nod["pose"][here, 1], nose[here]])
        assert torch.corrcoef(pair)[0, 1] > 0.9
    tilt = Animals(32, yaw=0, pitch=0, roll=40).batch(range(24))
    across = tilt["landmarks"][:, 1] - tilt["landmarks"][:, 0]
    angle = torch.rad2deg(torch.atan2(across[:, 1], across[:, 0]))
    assert (angle - tilt["pose"][:, 2]).abs().max() < 4


def test_frontal_landmarks_are_symmetric(still):
    marks = in_eye_units(still).mean(0)
    mirrored = marks[[1, 0, 2, 4, 3, 6, 5, 8, 7]] * torch.tensor([-1.0, 1.0])
    assert (marks - mirrored).norm(dim=-1).max() < 0.06
    assert 0 < marks[2, 1] < marks[3, 1] and marks[7, 1] < 0  # nose, mouth, ears


def test_what_leaves_the_frame_is_not_visible():
    tight = Animals(32, margin=(1.0, 1.05), species=("rabbit",)).batch(range(24))
    outside = (tight["landmarks"].abs() > 1).any(-1)
    assert outside.any() and not (outside & tight["visible"]).any()
    loose = Animals(32, margin=(2.5, 2.6), species=("rabbit",)).batch(range(24))
    assert loose["landmarks"].abs().max() < 1
    assert loose["visible"].float().mean() > 0.95


def test_framed_like_faces(wild):
    ours = wild["landmarks"][:, :5]
    human = five_points(Faces(48).batch(range(48))["landmarks"])
    size = [(m[:, 1] - m[:, 0]).norm(dim=-1).mean() for m in (ours, human)]
    assert 0.8 < size[0] / size[1] < 1.25
    assert (ours.mean((0, 1)) - human.mean((0, 1))).norm() < 0.4


def test_a_framed_face_lies_where_people_have_theirs():
    """With the ears in the frame, eyes lie lower than people's; without, not."""
    still = dict(yaw=20, pitch=10, roll=10)
    human = five_points(Faces(48, **still).batch(range(48))["landmarks"])
    off = {}
    for frame in ("head", "face"):
        ours = Animals(48, **still, frame=frame).batch(range(96))["landmarks"][:, :2]
        off[frame] = (ours.mean((0, 1)) - human[:, :2].mean((0, 1)))[1].item()
    assert off["head"] > 0.15
    assert abs(off["face"]) < 0.5 * off["head"]


def test_knobs_make_it_easier(wild, still):
    corner = (slice(None), slice(None), slice(0, 2), slice(0, 2))
    wall, clutter = (b["image"][corner].flatten(1).std(0).mean() for b in (still, wild))
    assert wall < 0.5 * clutter
    fixed = Animals(illumination=False).parameters(range(50))
    assert fixed["light"].std(0).max() < 1e-6


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"species": ("cat", "cow")}, "species must be some of cat, dog.*'cow'"),
        ({"species": ()}, "species must be some of"),
        ({"variety": 3}, "variety must be 0 to 2, got 3"),
        ({"size": 16}, "32 to 256 pixels a side, got 16"),
        ({"yaw": 90}, "yaw must be 0 to 60 degrees, got 90"),
        ({"margin": (2.0, 1.0)}, "margin must be"),
        ({"frame": "ears"}, "frame must be 'head' or 'face', got 'ears'"),
    ],
)
def test_bad_settings_are_named(settings, says):
    with pytest.raises(ValueError, match=says):
        Animals(**settings)


@pytest.mark.parametrize("indices", [[], [0.5], [-1]])
@pytest.mark.usefixtures("unchecked")
def test_bad_indices_are_named(indices):
    with pytest.raises(ValueError, match="ind"):
        Animals().batch(indices)
