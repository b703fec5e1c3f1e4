"""Faces: the truth about every landmark and every pixel, checked from outside.

The oracles read the pictures and the geometry back: positions from the surface image,
turning senses from the nose, emotions from distances between landmarks.
"""

import inspect

import pytest
import torch
import torch.nn.functional as F

from lmlib.samples import check_batch
from lmscenes import head
from lmscenes.faces import Faces, five_points
from lmscenes.surface import DepthBuffer, densify, number_of

MIRROR = (
    list(range(16, -1, -1)) + list(range(26, 16, -1)) + [27, 28, 29, 30]
    + [35, 34, 33, 32, 31] + [45, 44, 43, 42, 47, 46] + [39, 38, 37, 36, 41, 40]
    + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55] + [64, 63, 62, 61, 60]
    + [67, 66, 65]
)  # fmt: skip


@pytest.fixture(scope="module")
def wild():
    return Faces(48).batch(range(48))


@pytest.fixture(scope="module")
def studio():
    """Frontal to half turned; ten people."""
    return Faces(48, seed=1, cameras=True, identities=10).batch(range(160))


def still(count=24, size=64, **knobs):
    """Neutral frontal faces without anything in front."""
    plain = dict(yaw=0, pitch=0, roll=0, accessories=False, expression=False)
    return Faces(size, **(plain | knobs)).batch(range(count))


def in_head_units(batch):
    """Landmarks relative to the eyes' middle, in eye distances, not tilted."""
    five = five_points(batch["landmarks"])
    across = five[:, 1] - five[:, 0]
    middle = (five[:, :1] + five[:, 1:2]) / 2
    c, s = across[:, 0], across[:, 1]
    turn = torch.stack([torch.stack([c, s], 1), torch.stack([-s, c], 1)], 1)
    turn = turn / across.square().sum(1)[:, None, None]
    return (batch["landmarks"] - middle) @ turn.mT


def read(maps, points):
    """Maps (B, C, H, W) at the pixels under points (B, K, 2): (B, K, C)."""
    seen = F.grid_sample(maps, points[:, None], mode="nearest", align_corners=False)
    return seen[:, :, 0].transpose(1, 2)


# ---- addressed by index -------------------------------------------------------------


def test_an_image_is_the_same_in_any_batch(wild):
    picked = Faces(48).batch([17, 3, 17, 40])
    for name, value in picked.items():
        whole = wild[name][[17, 3, 17, 40]]
        if value.is_floating_point():
            assert (value - whole).abs().mean() < 1e-5, name
        else:
            assert torch.equal(value, whole), name
    torch.testing.assert_close(
        picked["landmarks"], wild["landmarks"][[17, 3, 17, 40]], atol=1e-5, rtol=0
    )


def test_another_seed_shows_others(wild):
    other = Faces(48, seed=1).batch(range(16))
    assert (other["image"] - wild["image"][:16]).abs().mean(dim=(1, 2, 3)).min() > 0.02
    assert (other["shape"] - wild["shape"][:16]).abs().amax(1).min() > 0.1


def test_shapes_ranges_and_names(wild):
    check_batch(wild)
    assert wild["image"].shape == (48, 3, 48, 48)
    assert wild["landmarks"].shape == (48, 68, 2) and wild["visible"].shape == (48, 68)
    assert wild["surface"].shape == (48, 2, 48, 48)
    assert wild["mask"].shape == (48, 1, 48, 48)
    assert wild["image"].min() >= 0 and wild["image"].max() <= 1
    assert wild["image"].std(dim=(1, 2, 3)).min() > 0.05
    assert wild["surface"].isfinite().all() and wild["surface"].abs().max() <= 1
    assert len(Faces.names) == len(set(Faces.names)) == 68
    assert wild["attributes"].shape == (48, len(Faces.attribute_names))
    share = Faces().parameters(range(2000))["attributes"].float().mean(0)
    assert (share > 0.02).all() and (share < 0.9).all()
    assert wild["landmarks"].abs().amax(dim=(1, 2)).max() < 1
    gray = Faces(48, gray=True).batch(range(16))["image"]
    luma = wild["image"][:16] * torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close(gray, luma.sum(1, keepdim=True), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [32, 128, 256])
def test_the_same_people_at_any_size_without_holes(size, wild):
    batch = Faces(size).batch(range(4))
    torch.testing.assert_close(
        batch["landmarks"], wild["landmarks"][:4], atol=1e-4, rtol=0
    )
    # A hole is a pixel without skin between skin on all four sides.
    skin = batch["mask"]
    around = F.conv2d(skin, torch.tensor([[[[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]]]))
    inner = skin[..., 1:-1, 1:-1]
    assert ((around == 4) & (inner == 0)).sum() <= 0.0005 * skin.sum()


# ---- landmarks and surface ----------------------------------------------------------


def test_a_landmark_lies_where_the_surface_says():
    """Read (u, v) at each landmark's pixel; it must be the landmark's own."""
    batch, places = Faces(128).batch(range(16)), head.landmark_places()
    seen = read(torch.cat([batch["surface"], batch["mask"]], 1), batch["landmarks"])
    use = (seen[..., 2] > 0.5) & batch["visible"]
    assert use.float().mean() > 0.6
    use[:, :17] = False  # the outline: a pixel spans a lot of surface
    error = (seen[..., :2] - places).norm(dim=-1)[use]
    assert error.median() < 0.015 and error.quantile(0.9) < 0.05
    shuffled = (seen[..., :2] - places.roll(1, 0)).norm(dim=-1)[use]
    assert shuffled.median() > 0.05


def test_equal_surface_coordinates_are_the_same_point_in_two_images():
    """The pixel of image b nearest in (u, v) to a landmark of a is b's landmark."""
    batch = still(8)
    a, b = slice(0, 4), slice(4, 8)
    seen = read(batch["surface"], batch["landmarks"])[a]  # (4, 68, 2)
    there = batch["surface"][b].flatten(2).transpose(1, 2)
    distance = torch.cdist(seen, there) + 9 * (batch["mask"][b].flatten(2) < 0.5)
    pixel = distance.argmin(-1)
    found = torch.stack([pixel % 64, pixel // 64], -1) * (2 / 64) + 1 / 64 - 1
    inner = slice(17, 60)  # brows, nose, eyes, mouth; all seen in a frontal face
    error = (found - batch["landmarks"][b]).norm(dim=-1)[:, inner] * 32  # pixels
    assert error.median() < 1.0 and error.mean() < 1.5
    moved = (batch["landmarks"][a] - batch["landmarks"][b]).norm(dim=-1)[:, inner] * 32
    assert moved.mean() > 2 * error.mean()


def test_frontal_faces_show_all_landmarks_and_are_symmetric():
    batch = still(32, 48)
    assert batch["visible"].float().mean() > 0.995
    marks = in_head_units(batch).mean(0)
    mirrored = marks[MIRROR] * torch.tensor([-1.0, 1.0])
    assert (marks - mirrored).norm(dim=-1).max() < 0.06
    assert marks[8, 1] > 1.5 and marks[19, 1] < -0.2  # chin below, brows above


def test_turning_moves_the_nose_and_hides_the_far_jaw():
    batch = Faces(48, yaw=45, pitch=0, roll=0).batch(range(96))
    yaw, visible = batch["pose"][:, 0], batch["visible"]
    nose = in_head_units(batch)[:, 30, 0]
    assert torch.corrcoef(torch.stack([yaw, nose]))[0, 1] > 0.95  # right is right
    right, left = yaw > 32, yaw < -32
    assert right.sum() > 5 and left.sum() > 5
    for turned, far, near in ((right, slice(12, 16), slice(1, 5)),
                              (left, slice(1, 5), slice(12, 16))):  # fmt: skip
        assert visible[turned][:, far].float().mean() < 0.35
        assert visible[turned][:, near].float().mean() > 0.95


def test_pitch_and_roll_have_the_documented_sign():
    nod = Faces(48, yaw=0, pitch=30, roll=0).batch(range(48))
    nose = in_head_units(nod)[:, 30, 1]
    assert torch.corrcoef(torch.stack([nod["pose"][:, 1], nose]))[0, 1] > 0.8
    tilt = Faces(48, yaw=0, pitch=0, roll=40).batch(range(16))
    five = five_points(tilt["landmarks"])
    across = five[:, 1] - five[:, 0]
    angle = torch.rad2deg(torch.atan2(across[:, 1], across[:, 0]))
    assert (angle - tilt["pose"][:, 2]).abs().max() < 4


# ---- people, emotions, modes --------------------------------------------------------


def test_a_person_stays_the_same_person(studio):
    """Shape, build, hair and so on hang on the identity alone, and differ between."""
    identity = studio["identity"]
    assert identity.unique().tolist() == list(range(10))
    fixed = [Faces.attribute_names.index(n) for n in
             ("beard", "bald", "long hair", "dark hair", "big nose")]  # fmt: skip
    first = torch.stack([(identity == i).nonzero()[0, 0] for i in range(10)])
    assert torch.equal(studio["shape"], studio["shape"][first][identity])
    attributes = studio["attributes"][:, fixed]
    assert torch.equal(attributes, attributes[first][identity])
    apart = torch.cdist(studio["shape"][first], studio["shape"][first])
    assert (apart + 9 * torch.eye(10)).min() > 0.5
    everyone = Faces(48).batch(range(4))
    assert torch.equal(everyone["identity"], everyone["index"])


def test_emotions_move_the_right_landmarks(studio):
    marks, emotion = in_head_units(studio), studio["emotion"]

    def mean(value):
        return {e: value[emotion == i].mean().item() for i, e in
                enumerate(Faces.emotions)}  # fmt: skip

    mouth = mean((marks[:, 66] - marks[:, 62]).norm(dim=-1))
    assert mouth["neutral"] < 0.05 and mouth["squint"] < 0.05
    assert mouth["surprise"] > 0.2 and mouth["scream"] > mouth["surprise"]
    lids = mean((marks[:, [41, 40, 47, 46]] - marks[:, [37, 38, 43, 44]])
                .norm(dim=-1).mean(1))  # fmt: skip
    assert lids["surprise"] > 1.1 * lids["neutral"]
    assert lids["squint"] < 0.6 * lids["neutral"] > lids["scream"]
    brows = mean(-marks[:, 17:27, 1].mean(1))
    assert brows["surprise"] > brows["neutral"] + 0.08
    assert brows["disgust"] < brows["neutral"]
    width = mean((marks[:, 54] - marks[:, 48]).norm(dim=-1))
    corners = mean(marks[:, [48, 54], 1].mean(1) - marks[:, 51, 1])
    assert width["smile"] > width["neutral"] + 0.08 > width["surprise"]
    assert corners["smile"] < corners["neutral"] < corners["disgust"]


def test_emotions_and_cameras_are_balanced(studio):
    drawn = Faces(cameras=True, identities=5).parameters(range(3000))
    for name, count in (("emotion", 6), ("camera", 5), ("identity", 5)):
        share = drawn[name].bincount(minlength=count) / 3000 * count
        assert share.min() > 0.85 and share.max() < 1.15, name
    yaw = torch.tensor(Faces.cameras)[studio["camera"]]
    assert (studio["pose"][:, 0] - yaw).abs().max() <= 3
    light = drawn["light"].mul(1e4).round().unique(dim=0)
    assert len(light) == 20


def test_knobs_make_it_easier(wild):
    """Each knob off removes the variation it stands for."""
    wall = still(24, 32, background=False)["image"][:, :, :2, :2].flatten(1)
    clutter = still(24, 32)["image"][:, :, :2, :2].flatten(1)
    assert wall.std(0).mean() < 0.5 * clutter.std(0).mean()
    fixed = Faces(illumination=False).parameters(range(50))
    assert fixed["light"].std(0).max() < 1e-6 and fixed["exposure"].std() == 0
    calm = Faces(expression=False).parameters(range(50))
    assert (calm["emotion"] == 0).all() and calm["expression"].std(0).max() < 1e-6
    assert not Faces(accessories=False).parameters(range(50))["glasses"].any()
    assert Faces().parameters(range(50))["glasses"].any()
    loose = Faces(32, margin=(2.4, 2.5)).batch(range(16))["landmarks"]
    tight = Faces(32, margin=(1.2, 1.2)).batch(range(16))["landmarks"]
    size = [(m.amax(1) - m.amin(1)).amax(1) for m in (loose, tight)]
    torch.testing.assert_close(size[1], torch.full((16,), 2 / 1.2), atol=1e-3, rtol=0)
    assert (size[0] < 0.84).all()
    still_poses = Faces(yaw=0, pitch=0, roll=0).parameters(range(9))["pose"]
    assert still_poses.abs().max() == 0


def test_glasses_hide_skin_around_the_eyes():
    seen = Faces(48, yaw=0, pitch=0, roll=0).batch(range(64))
    worn = seen["attributes"][:, Faces.attribute_names.index("glasses")]
    brows_to_cheek = slice(17, 48)
    skin = read(seen["mask"], seen["landmarks"])[:, brows_to_cheek, 0].mean(1)
    assert worn.sum() > 5 and skin[worn].mean() < skin[~worn].mean() - 0.03


def test_five_points_are_eyes_nose_and_mouth(wild):
    marks, five = wild["landmarks"], five_points(wild["landmarks"])
    assert five.shape == (48, 5, 2) and len(Faces.FIVE) == 5
    torch.testing.assert_close(five[:, 2:], marks[:, [30, 48, 54]])
    torch.testing.assert_close(five[:, 1], marks[:, 42:48].mean(1))


# ---- the renderer -------------------------------------------------------------------


def test_the_nearest_point_stays_and_holes_are_closed():
    points = torch.tensor([[[1.5, 1.2, 9.0], [1.5, 1.9, 1.0], [5.0, 3.0, 1.0]]])
    buffer = DepthBuffer(1, 4)
    buffer.splat(points.double().float(), first=10)
    assert number_of(buffer.image())[0, 1, 1] == 11  # nearer than 10; 12 is outside
    assert (number_of(buffer.image()) >= 0).sum() == 1
    lattice = torch.rand(1, 3, 5, 7)
    torch.testing.assert_close(
        densify(lattice, 9, 20).reshape(1, 3, 9, 20),
        F.interpolate(lattice, (9, 20), mode="bilinear", align_corners=True),
    )


# ---- bad settings -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"size": 16}, "32 to 256 pixels a side, got 16"),
        ({"yaw": 90}, "yaw must be 0 to 60 degrees, got 90"),
        ({"pitch": -1}, "pitch must be 0 to 40"),
        ({"roll": 200}, "roll must be 0 to 180"),
        ({"identities": 0}, "identities must be at least 1 or None, got 0"),
        ({"margin": (2.0, 1.0)}, "margin must be"),
    ],
)
def test_bad_settings_are_named(settings, says):
    with pytest.raises(ValueError, match=says):
        Faces(**settings)
    assert set(settings) <= set(inspect.signature(Faces).parameters)


@pytest.mark.parametrize("indices", [[], [0.5], [-1]])
@pytest.mark.usefixtures("unchecked")
def test_bad_indices_are_named(indices):
    with pytest.raises(ValueError, match="ind"):
        Faces().batch(indices)


def test_any_size_can_be_drawn():
    """Shadows are made at a quarter of the size, which need not divide it: the picture
    is that of twice the size, averaged."""
    for size in (33, 45, 62):
        small, large = Faces(size).batch(range(4)), Faces(2 * size).batch(range(4))
        assert small["image"].shape == (4, 3, size, size)
        torch.testing.assert_close(small["landmarks"], large["landmarks"])
        halved = torch.nn.functional.avg_pool2d(large["image"], 2)
        off = (small["image"] - halved).abs().mean()
        another = (small["image"].roll(1, 0) - halved).abs().mean()
        shifted = (small["image"].roll(1, -1) - halved).abs().mean()
        assert off < 0.02 and off < shifted / 2 and off < another / 5, size
