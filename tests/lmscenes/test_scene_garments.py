"""Garments: clothes whose corners are where the landmarks say, seen or not.

The oracles read the pictures back: the border and the corners of the mask, mirror
symmetry of who stands straight, what changes in the picture when something is put in
the way, and FLD's own reader for the files.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lmlib.datasets import fashion, open_data
from lmlib.geometry import pixel_grid, to_pixels
from lmlib.samples import check_batch
from lmscenes import Garments, garments, sheets
from lmscenes.fld_files import write_fld
from lmscenes.garments import ABSENT, CUT_OFF, OCCLUDED, VISIBLE
from lmscenes.outfits import CATEGORIES
from lmscenes.wardrobe import joined

SIZE = 64
STILL = dict(pose=0.0, deformation=0.0, rotation=0.0, shift=0.0, scale=0.0)
ALONE = dict(clutter=0.0, distractors=0.0, occluders=0.0)
COLLAR, SLEEVE, WAIST, HEM = (slice(k, k + 2) for k in (0, 2, 4, 6))


@pytest.fixture(scope="module")
def rack():
    return Garments(SIZE).batch(range(84))


def pixels(distance, size=SIZE):
    return distance * (size / 2)


def near(maps, points, reach):
    """Maps (B, 1, H, W) around points (B, K, 2): (B, K, n) within ``reach`` pixels."""
    size = maps.shape[-1]
    at = ((points.nan_to_num(0) + 1) * (size / 2)).floor().long()
    step = torch.arange(-reach, reach + 1)
    x = (at[..., 0, None, None] + step).clamp(0, size - 1)
    y = (at[..., 1, None, None] + step[:, None]).clamp(0, size - 1)
    around = maps.flatten(1).gather(1, (y * size + x).flatten(1))
    return around.view(*points.shape[:2], -1)


# ---- addressed by index -------------------------------------------------------------


def test_an_image_is_the_same_in_any_batch(rack):
    chosen = [17, 3, 17, 60, 83]
    picked = Garments(SIZE).batch(chosen)
    assert set(picked) == set(rack)
    for name, value in picked.items():
        whole = rack[name][chosen]
        torch.testing.assert_close(value, whole, atol=1e-4, rtol=0, equal_nan=True)


def test_another_seed_shows_others(rack):
    other = Garments(SIZE, seed=1).batch(range(14))
    assert (other["image"] - rack["image"][:14]).abs().mean((1, 2, 3)).min() > 0.02
    moved = (other["landmarks"] - rack["landmarks"][:14]).nan_to_num(0).abs()
    assert moved.amax((1, 2)).min() > 0.005
    pairs = rack["landmarks"].nan_to_num(9).flatten(1)
    assert (torch.cdist(pairs, pairs) + 9 * torch.eye(84)).min() > 1e-3


def test_the_same_pictures_at_any_size(rack):
    large = Garments(2 * SIZE).batch(range(42))
    for name in ("landmarks", "box", "energy"):
        torch.testing.assert_close(large[name], rack[name][:42], atol=1e-5, rtol=0,
                                   equal_nan=True)  # fmt: skip
    same = (large["code"] == rack["code"][:42]).float().mean()
    assert same > 0.97  # a pixel is larger: who is hidden by a hair's breadth
    small = F.avg_pool2d(large["image"], 2)
    away = (small - rack["image"][:42]).abs().mean((1, 2, 3))
    others = (small - rack["image"][:42].roll(1, 0)).abs().mean((1, 2, 3))
    assert away.max() < 0.035 < 0.06 < others.min()
    masks = F.avg_pool2d(large["mask"], 2) - rack["mask"][:42]
    assert masks.abs().mean() < 0.005


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_picture(rack):
    there = Garments(SIZE).batch(range(84), device="cuda")
    for name, value in there.items():
        assert value.device.type == "cuda", name
    image = (there["image"].cpu() - rack["image"]).abs().mean((1, 2, 3))
    assert image.max() < 2e-3
    points = (there["landmarks"].cpu() - rack["landmarks"]).nan_to_num(0)
    assert points.abs().max() < 1e-4
    assert (there["code"].cpu() == rack["code"]).float().mean() > 0.995


class Count(TorchDispatchMode):
    calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


def test_there_is_no_loop_over_images(monkeypatch):
    """Seven times as many images, a few more operations (classes of density)."""
    monkeypatch.setattr(garments, "TILE", 99)
    calls = []
    for count in (7, 49):
        with Count() as counted:
            Garments(32).batch(range(count))
        calls.append(counted.calls)
    assert calls[1] < 1.8 * calls[0]


# ---- what a batch holds -------------------------------------------------------------


def test_shapes_ranges_and_names(rack):
    check_batch(rack)
    assert rack["image"].shape == (84, 3, SIZE, SIZE)
    assert rack["mask"].shape == (84, 1, SIZE, SIZE)
    assert rack["landmarks"].shape == (84, 8, 2) and rack["code"].shape == (84, 8)
    assert rack["image"].min() >= 0 and rack["image"].max() <= 1
    assert rack["image"].std(dim=(1, 2, 3)).min() > 0.02
    assert Garments.names == fashion.SLOTS
    codes = fashion.VISIBLE, fashion.OCCLUDED, fashion.CUT_OFF, fashion.ABSENT
    assert codes == (VISIBLE, OCCLUDED, CUT_OFF, ABSENT)
    low, high = rack["box"][:, :2], rack["box"][:, 2:]
    assert (low < high).all()
    assert rack["modality"].float().mean().sub(0.6).abs() < 0.15


def test_categories_take_turns_and_have_the_slots_of_their_type(rack):
    assert torch.equal(rack["category"], torch.arange(84) % 7)
    kinds = [0, 0, 0, 0, 2, 1, 1]
    assert rack["clothes"].tolist() == [kinds[c] for c in rack["category"].tolist()]
    for kind, slots in enumerate(fashion.TYPES):
        has = rack["code"][rack["clothes"] == kind] != ABSENT
        assert has[:, list(slots)].all() and has.sum() == len(slots) * len(has)
    some = Garments(32, categories=("coat", "skirt")).batch(range(6))
    names = [CATEGORIES[c] for c in some["category"]]
    assert names == ["coat", "skirt"] * 3
    assert Garments(32, categories="dress").batch([0])["clothes"].item() == 2


def test_codes_follow_from_where_points_are(rack):
    code, xy = rack["code"], rack["landmarks"]
    assert torch.equal(rack["visible"], code == VISIBLE)
    assert torch.equal(xy.isfinite().all(-1), code != ABSENT)
    outside = (xy.abs() >= 1).any(-1)
    assert torch.equal(outside, code == CUT_OFF)
    share = torch.stack([(code == c).sum() / (code != ABSENT).sum() for c in range(3)])
    assert share[0] > 0.6 and share[1] > 0.05 and share[2] > 0.03


# ---- landmarks are where they should ------------------------------------------------


def border(mask, points, reach):
    """Whether garment and not-garment both lie within ``reach`` pixels."""
    around = near(mask, points, reach)
    return (around.amax(-1) > 0.5) & (around.amin(-1) < 0.5)


def test_visible_landmarks_lie_on_the_outline():
    b = Garments(128, occluders=0.0).batch(range(56))
    inner = b["visible"] & (b["landmarks"].abs() < 0.97).all(-1)
    # A cuff may lie before the same garment's trunk: then there is no outline.
    inner[:, SLEEVE] &= (b["category"] == 4)[:, None] | (b["category"] < 2)[:, None]
    assert border(b["mask"], b["landmarks"], 2)[inner].float().mean() > 0.97
    for way in ((0.1, 0.0), (0.0, 0.1), (-0.1, 0.0), (0.0, -0.1)):
        moved = b["landmarks"] + torch.tensor(way)
        assert border(b["mask"], moved, 2)[inner].float().mean() < 0.75


@pytest.mark.parametrize("name", ["skirt", "trousers"])
def test_lower_clothes_end_at_the_corners_of_their_mask(name):
    """Laid flat, so that nothing hides a corner; found without knowing any geometry."""
    scene = Garments(128, categories=name, users=0.0, deformation=0.0)
    indices = torch.arange(60)
    indices = indices[scene.parameters(indices)["show"] == garments.FLAT]
    b = scene.batch(indices)
    roll = scene.parameters(indices)["roll"][:, None, None]
    x, y = pixel_grid(128, 128).unbind(-1)
    x, y = x * roll.cos() + y * roll.sin(), y * roll.cos() - x * roll.sin()
    seen = b["mask"][:, 0] > 0.5
    corners = []
    for sx, sy in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
        # Wide enough a slope: hips are broader than waistbands, hems are what is low.
        far = torch.where(seen, sx * x * (0.7 if sy < 0 else 1) + 2.5 * sy * y, -9)
        at = far.flatten(1).argmax(1)
        corners.append(pixel_grid(128, 128).view(-1, 2)[at])
    found = torch.stack(corners, 1)
    away = pixels((found - b["landmarks"][:, 4:]).norm(dim=-1), 128)
    assert len(away) > 12 and away.median() < 1.5 and away.quantile(0.9) < 4


def test_left_is_left():
    b = Garments(32, rotation=0.0).batch(range(140))
    for pair in (COLLAR, WAIST, HEM):
        left, right = b["landmarks"][:, pair, 0].unbind(1)
        there = left.isfinite()
        assert (left < right)[there].all()
    cuffs = b["landmarks"][:, SLEEVE, 0].diff(dim=1)
    assert (cuffs > 0)[cuffs.isfinite()].float().mean() > 0.95  # arms may cross


def test_parts_are_in_order():
    """Collars above waists above hems, sleeves outside collars."""
    b = Garments(32, rotation=0.0, pose=0.0).batch(range(140))
    y = b["landmarks"][..., 1].unflatten(1, (4, 2)).mean(2)
    dress = b["clothes"] == 2
    assert (y[dress, 0] < y[dress, 2]).all() and (y[dress, 2] < y[dress, 3]).all()
    lower = b["clothes"] == 1
    assert (y[lower, 2] < y[lower, 3]).all()
    wide = b["landmarks"][..., 0].unflatten(1, (4, 2)).diff(dim=2)[..., 0]
    assert (wide[~lower, 1] > wide[~lower, 0]).all()


# ---- seen or not --------------------------------------------------------------------


def test_visible_landmarks_show_their_garment(rack):
    around = near(rack["mask"], rack["landmarks"], 1).amax(-1)
    assert around[rack["visible"]].min() > 0
    assert (around[rack["visible"]] > 0.3).float().mean() > 0.97
    # Collars, waists and hems that are hidden have something else in their place.
    hidden = rack["code"] == OCCLUDED
    hidden[:, SLEEVE] = False
    assert hidden.sum() > 20
    assert (around[hidden] > 0.3).float().mean() < 0.7


def test_what_is_put_in_the_way_hides_what_it_covers():
    free, crowded = (
        Garments(128, users=1.0, occluders=k, distractors=0.0).batch(range(70))
        for k in (0.0, 1.0)
    )
    torch.testing.assert_close(free["landmarks"], crowded["landmarks"], equal_nan=True)
    changed = (free["image"] - crowded["image"]).abs().amax(1, keepdim=True)
    around = near(changed, free["landmarks"], 1)
    gone = free["visible"] & (crowded["code"] == OCCLUDED)
    kept = free["visible"] & crowded["visible"]
    assert 20 < gone.sum() < 0.4 * free["visible"].sum()
    assert (around.amax(-1)[gone] > 0.05).float().mean() > 0.98
    # Nobody is seen whose whole neighbourhood is something else: the mask goes on.
    assert near(crowded["mask"], free["landmarks"], 1).amax(-1)[kept].min() > 0
    covered = (around.amin(-1) > 0.15) & free["visible"]
    assert crowded["visible"][covered].float().mean() < 0.2
    # Nothing in front makes a point appear.
    assert not (crowded["visible"] & ~free["visible"]).any()


def test_a_top_over_the_waistband_hides_the_waistline():
    b = Garments(64, categories=("skirt", "trousers"), occluders=0.0, users=0.0)
    b = b.batch(range(160))
    hidden = (b["code"][:, WAIST] == OCCLUDED).all(1)
    assert 0.03 < hidden.float().mean() < 0.4
    mask = near(b["mask"], b["landmarks"][:, WAIST], 1).amax(-1)
    assert mask[hidden].max() < 0.5 < mask[~hidden].median()


# ---- knobs --------------------------------------------------------------------------


def mirrored(landmarks):
    """How far the right half is from the left half's mirror image, pixels."""
    left, right = landmarks[:, 0::2], landmarks[:, 1::2]
    flipped = torch.stack([-right[..., 0], right[..., 1]], -1)
    return pixels((left - flipped).norm(dim=-1))


def test_who_stands_still_is_symmetric():
    still = Garments(32, users=1.0, **STILL).batch(range(42))
    assert mirrored(still["landmarks"]).nan_to_num(0).max() < 0.01
    assert still["energy"].max() == 0
    for name in ("pose", "deformation", "rotation", "shift"):
        on = Garments(32, users=1.0, **{**STILL, name: 1.0}).batch(range(42))
        away = mirrored(on["landmarks"])
        assert away[away.isfinite()].median() > 0.5, name


def test_scale_spans_a_factor_of_six_and_can_be_turned_off():
    def spread(scale):
        q = Garments(32, users=1.0, scale=scale).parameters(range(2000))["share"]
        return (q.max() / q.min()).item(), q

    ratio, share = spread(1.0)
    assert 6 < ratio <= 7.01 and share.max() > 1.2
    assert spread(0.0)[0] == pytest.approx(1.0, abs=1e-5)
    assert 2 < spread(0.5)[0] < 3
    # It is that of the garment's longer side.
    b = Garments(32, users=1.0, **STILL).batch(range(21))
    side = (b["box"][:, 2:] - b["box"][:, :2]).amax(1) / 2
    torch.testing.assert_close(side, b["share"], atol=1e-4, rtol=0)


def test_shift_and_rotation_can_be_turned_off():
    b = Garments(32, users=1.0, shift=0.0, rotation=0.0, scale=0.0, deformation=0.0)
    b = b.batch(range(42))
    middle = (b["box"][:, :2] + b["box"][:, 2:]) / 2
    assert middle.abs().max() < 1e-4
    q = Garments(32, users=1.0).parameters(range(2000))
    assert q["shift"].abs().max() > 0.4
    assert math.radians(25) < q["roll"].abs().max() <= math.radians(30)
    assert Garments(32, users=1.0, rotation=0.0).parameters([0])["roll"].item() == 0


def test_distractors_lie_behind_and_change_no_truth():
    plain, strewn = (
        Garments(64, users=1.0, distractors=k, occluders=0.0).batch(range(42))
        for k in (0.0, 1.0)
    )
    for name in ("landmarks", "code", "box", "mask", "variation"):
        torch.testing.assert_close(plain[name], strewn[name], equal_nan=True)
    changed = (plain["image"] - strewn["image"]).abs().amax(1) > 0.1
    assert (changed.float().mean((1, 2)) > 0.01).float().mean() > 0.6
    # They are of the garment's own colours: nearer to it than the place was.
    on = plain["mask"][:, 0] > 0.9
    where = changed & (plain["mask"][:, 0] == 0)

    def mean(image, at):
        return (image * at[:, None]).sum((2, 3)) / at.sum((1, 2)).clamp(min=1)[:, None]

    garment = mean(plain["image"], on)
    before, after = (
        (mean(b["image"], where) - garment).norm(dim=1)[where.sum((1, 2)) > 40]
        for b in (plain, strewn)
    )
    assert (after < before).float().mean() > 0.7


def test_clutter_can_be_turned_off():
    def detail(clutter):
        b = Garments(64, users=1.0, scale=0.0, **{**ALONE, "clutter": clutter})
        b = b.batch(range(28))
        corners = b["image"][..., :12, [*range(10), *range(54, 64)]]
        steps = corners.diff(dim=-1).abs()
        return torch.cat([steps[..., :9], steps[..., 10:]], -1).mean((1, 2, 3))

    # Who stretches the arms reaches into the corners.
    assert detail(0.0).median() < 0.2 * detail(1.0).median()


def test_shops_and_users():
    shop = Garments(64, users=0.0).batch(range(42))
    assert (shop["modality"] == 0).all() and (shop["variation"] < 3).all()
    assert shop["visible"].sum() > 0.9 * (shop["code"] != ABSENT).sum()
    smooth = shop["image"][..., :6, :6].diff(dim=-1).abs().amax((1, 2, 3))
    assert smooth.median() < 0.01  # plain paper
    assert (Garments(32, users=1.0).batch(range(7))["modality"] == 1).all()


def test_variation_tells_pose_and_zoom():
    b = Garments(32).batch(range(420))
    kind, energy = b["variation"], b["energy"]
    assert (kind.bincount(minlength=5) > 8).all()
    means = [energy[kind == k].max() for k in range(2)]
    assert means[0] <= energy[kind == 1].min() and means[1] <= energy[kind == 2].min()
    touches = (b["box"].abs() >= 1).any(1)
    assert touches[kind >= 3].all()
    assert touches[kind < 3].float().mean() < 0.2
    cut = (b["code"] == CUT_OFF).sum(1) / (b["code"] != ABSENT).sum(1)
    assert cut[kind == 4].mean() > cut[kind == 3].mean() > cut[kind < 3].mean()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Garments(16), "32 to 512 pixels a side, got 16"),
        (lambda: Garments(clutter=1.5), r"clutter must be in \[0, 1\], got 1.5"),
        (lambda: Garments(categories="hat"), "categories must be some of T-shirt"),
        (lambda: Garments(categories=()), "categories must be some of T-shirt"),
        (lambda: Garments(32).batch([-1]), "must not be negative"),
    ],
)
def test_bad_settings_are_named(make, says):
    with pytest.raises(ValueError, match=says):
        make()


# ---- cloth --------------------------------------------------------------------------


def test_the_pattern_stays_on_the_cloth():
    """A garment's flat does not depend on who wears it, how, or how it is seen."""
    tiles = [garments._Tile(Garments(32, users=1.0, pose=pose), torch.arange(14))
             for pose in (0.0, 1.0)]  # fmt: skip
    sewn = []
    for tile in tiles:
        everybody = torch.ones(14, dtype=torch.bool)
        pieces = tile.outfit.sew(tile.people, tile.laid, ~everybody, everybody)
        sewn.append((joined(pieces.patches), pieces.nodes))
    (still, nodes), (moved, same) = sewn
    assert torch.equal(nodes, same)
    torch.testing.assert_close(still["flat"], moved["flat"])
    torch.testing.assert_close(still["edge"], moved["edge"])
    assert (still["points"] - moved["points"]).abs().amax((1, 2, 3)).median() > 1


def patches(images, rows, points, reach):
    """Patches (n, C (2 reach + 1)^2) of images ``rows`` (n,) around points (n, 2)."""
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    at = to_pixels(points, images.shape[-2:]).round().long()
    at = at.clamp(0, images.shape[-1] - 1)
    cut = padded.unfold(2, 2 * reach + 1, 1).unfold(3, 2 * reach + 1, 1)
    return cut[rows, :, at[:, 1], at[:, 0]].flatten(1)


def told(seen, rows, slots):
    """Share of patches whose slot their five nearest in other images tell."""
    away = torch.cdist(seen, seen).masked_fill(rows[:, None] == rows, torch.inf)
    near = slots[away.topk(5, largest=False).indices]
    return (near.mode(1).values == slots).float().mean().item()


def test_cloth_does_not_tell_the_landmark(rack):
    """A patch of bare cloth beside a landmark says no more of its slot than a guess;
    one at the landmark, with collar, cuff or hem in it, does."""
    reach = 3
    bare = -F.max_pool2d(-rack["mask"], 2 * reach + 1, 1, reach)[:, 0] > 0.5
    rows, slots = (rack["visible"] & bare.flatten(1).any(1)[:, None]).nonzero().T
    points = rack["landmarks"][rows, slots]
    cells = pixel_grid(SIZE, SIZE).flatten(0, 1)
    off = torch.cdist(points, cells).masked_fill(~bare.flatten(1)[rows], torch.inf)
    beside, close = cells[off.argmin(1)], off.amin(1) < 0.4  # of the same part
    rows, slots, points, beside = (x[close] for x in (rows, slots, points, beside))
    guess = slots.bincount().max().item() / len(slots)
    cloth = told(patches(rack["image"], rows, beside, reach), rows, slots)
    landmark = told(patches(rack["image"], rows, points, reach), rows, slots)
    assert len(slots) > 200 and cloth < guess + 0.05 and landmark > guess + 0.1


def test_no_body_shows_through_its_clothes():
    """The mask has no holes: closing it adds next to nothing but notches."""
    b = Garments(128, users=1.0, occluders=0.0, distractors=0.0).batch(range(42))
    closed = -F.max_pool2d(-F.max_pool2d(b["mask"], 3, 1, 1), 3, 1, 1)
    holes = (closed - b["mask"] > 0.6).float().sum((1, 2, 3))
    assert holes.sum() < 0.003 * b["mask"].sum()


# ---- files --------------------------------------------------------------------------


def test_files_in_the_layout_of_fld_are_read_back(tmp_path, rack):
    scene = Garments(SIZE)
    write_fld(tmp_path, scene, {"train": range(14), "val": range(40, 42),
                                "test": range(70, 77)})  # fmt: skip
    for split, start, count in (("train", 0, 14), ("val", 40, 2), ("test", 70, 7)):
        data = fashion.fld(tmp_path, split, SIZE)
        assert len(data) == count
        batch = data.batch(data.indices)
        truth = {name: value[start : start + count] for name, value in rack.items()}
        away = pixels(batch["landmarks"] - truth["landmarks"])
        assert torch.equal(away.isnan(), truth["landmarks"].isnan())
        assert away.nan_to_num(0).abs().max() < 0.01
        assert torch.equal(batch["code"], truth["code"])
        assert torch.equal(batch["clothes"], truth["clothes"])
        assert torch.equal(batch["variation"], truth["variation"])
        assert torch.equal(batch["visible"], truth["visible"])
        assert (batch["image"] - truth["image"]).abs().mean() < 0.01
    boxes = fashion.fld(tmp_path, "train", SIZE, crop="box").boxes
    low, high = ((rack["box"][:14].clamp(-1, 1) + 1) * (SIZE / 2)).chunk(2, 1)
    middle, side = (low + high) / 2, (high - low).amax(1, keepdim=True) / 2
    expected = torch.cat([middle - side, middle + side], 1)
    torch.testing.assert_close(torch.as_tensor(boxes), expected, atol=0.02, rtol=0)
    lines = (tmp_path / "Anno/list_landmarks.txt").read_text().splitlines()
    x, y = to_pixels(rack["landmarks"][:1], (SIZE, SIZE))[0, 0].tolist()
    assert lines[0] == "23" and f"{x:.2f} {y:.2f}" in lines[2]


def test_bad_requests_for_files_are_named(tmp_path):
    scene = Garments(32)
    with pytest.raises(ValueError, match="splits must be some of .*got 'dev'"):
        write_fld(tmp_path, scene, {"dev": range(2)})
    with pytest.raises(ValueError, match="all splits are empty"):
        write_fld(tmp_path, scene, {"train": range(0)})
    write_fld(tmp_path, scene, {"train": range(1)})
    with pytest.raises(FileExistsError, match="another set already"):
        write_fld(tmp_path, scene, {"train": range(1)})


def test_the_commands_know_the_scene():
    data = open_data("scene:garments", "test", 32)
    there = Garments(32).batch(range(100_000, 100_007))
    batch = data.batch(range(7))
    torch.testing.assert_close(batch["image"], there["image"])
    assert batch["index"].tolist() == list(range(7))


# ---- sheets -------------------------------------------------------------------------


def sheet(x, y, z):
    return torch.stack(torch.broadcast_tensors(x, y, z))


def test_sheets_cover_their_area_and_the_nearest_is_seen():
    r = torch.linspace(0, 1, sheets.H)[:, None]
    c = torch.linspace(0, 1, sheets.W)[None]
    zero = 0 * r * c
    far = sheet(10 + 40 * c + 8 * r, 5 + 50 * r, 30 + zero)  # a parallelogram
    near_ = sheet(30 + 12 * c, 20 + 9 * r, 20 + 5 * c + zero)
    points = torch.stack([far, near_, far + torch.tensor([6.0, 0, 9])[:, None, None]])
    _, hits = sheets.draw(points, torch.tensor([0, 0, 1]), 2, 64)
    count = hits.sheet.bincount(minlength=3)
    assert count[2] == pytest.approx(40 * 50, rel=0.02)
    assert count[1] == pytest.approx(12 * 9, rel=0.1)
    assert count[0] == pytest.approx(40 * 50 - 12 * 9, rel=0.02)
    assert torch.equal(hits.at // 64**2, torch.tensor([0, 0, 1])[hits.sheet])
    # Whatever is linear on the lattice is read at the sample's own place.
    x, y = hits.read(points[:, :2])
    assert (x - hits.at % 64 - 0.5).abs().max() < 1.3
    assert (y - hits.at % 64**2 // 64 - 0.5).abs().max() < 1.3
