"""Try-on: what the flow, the masks and the landmarks say is what the pictures show.

The oracles read the pictures back: the flat garment warped by the flow against the
person who wears it, the flow at the landmarks, the masks against each other, and the
mirror symmetry of a garment without folds.
"""

import pytest
import torch
import torch.nn.functional as F

from lmlib.datasets import open_data
from lmlib.geometry import pixel_grid
from lmlib.samples import check_batch
from lmscenes import Tryon
from lmscenes.tryon import ABSENT, OCCLUDED, VISIBLE

SIZE = 64, 48
SMALL = 40, 32
PIXEL = torch.tensor([2 / SIZE[1], 2 / SIZE[0]])
STILL = dict(crossing=0.0, hands=0.0, bent=0.0, turn=0.0, scale=0.0, shift=0.0)
ALONE = dict(hair=0.0, bags=0.0, clutter=0.0)
NECK, WAIST, HEM = range(7), slice(27, 29), slice(29, 32)
SLEEVES = [*range(9, 17), *range(19, 27)]


@pytest.fixture(scope="module")
def rack():
    return Tryon(SIZE).batch(range(40))


def small(count=24, **knobs):
    return Tryon(SMALL, **knobs).batch(range(count))


def psnr(warped, batch, mask=None):
    mask = batch["target_mask"] if mask is None else mask
    error = (warped - batch["target"]).square().mean(1, keepdim=True)
    return -10 * ((error * mask).sum() / mask.sum()).log10()


def read(pictures, flow):
    return F.grid_sample(pictures, flow.movedim(1, -1), padding_mode="border",
                         align_corners=False)  # fmt: skip


def at_pixel(maps, points):
    """Maps (B, 1, H, W) at the pixels that hold points (B, K, 2)."""
    height, width = maps.shape[2:]
    at = (points + 1) * (torch.tensor([width, height]) / 2)
    x, y = at.floor().long().unbind(-1)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    return maps.flatten(1).gather(1, y * width + x)


# ---- addressed by index -------------------------------------------------------------


def test_what_a_batch_holds(rack):
    assert check_batch(rack) is rack
    height, width = SIZE
    for name in ("image", "target", "garment", "warped"):
        assert rack[name].shape == (40, 3, height, width), name
        assert 0 <= rack[name].min() and rack[name].max() <= 1
    for name in ("target_mask", "worn_mask", "garment_mask"):
        assert rack[name].shape == (40, 1, height, width)
        assert set(rack[name].unique().tolist()) == {0.0, 1.0}
    assert rack["flow"].shape == (40, 2, height, width)
    for name in ("landmarks", "worn_landmarks", "garment_landmarks"):
        assert rack[name].shape == (40, 32, 2) and rack[name].isfinite().all()
    assert rack["elbow"].shape == (40, 2) and rack["crossing"].dtype == torch.bool
    assert len(set(Tryon.names)) == 32


def test_an_image_is_the_same_in_any_batch(rack):
    chosen = [17, 3, 17, 39]
    picked = Tryon(SIZE).batch(chosen)
    assert set(picked) == set(rack)
    for name, value in picked.items():
        torch.testing.assert_close(value, rack[name][chosen], atol=1e-4, rtol=0)


def test_another_seed_shows_others(rack):
    other = Tryon(SIZE, seed=1).batch(range(8))
    for name in ("image", "target", "garment"):
        away = (other[name] - rack[name][:8]).abs().mean((1, 2, 3))
        assert away.min() > 0.01, name
    # Nor does the garment of one triplet come again as the other one of the next.
    pictures = torch.cat([rack["image"], rack["target"]]).flatten(1)
    assert (torch.cdist(pictures, pictures) + 99 * torch.eye(80)).min() > 1


def test_the_same_pictures_at_any_size(rack):
    large = Tryon((128, 96)).batch(range(8))
    for name in ("landmarks", "garment_landmarks", "worn_landmarks", "elbow"):
        torch.testing.assert_close(large[name], rack[name][:8], atol=1e-5, rtol=0)
    same = (large["attribute"] == rack["attribute"][:8]).float().mean()
    assert same > 0.93  # a pixel is larger: who is hidden by a hair's breadth
    halved = F.avg_pool2d(large["target"], 2)
    assert (halved - rack["target"][:8]).abs().mean() < 0.02
    both = large["target_mask"][..., ::2, ::2] * rack["target_mask"][:8]
    flow = large["flow"][..., ::2, ::2] - rack["flow"][:8]
    assert (flow.abs() * both).sum() / (2 * both.sum()) < 0.02


def test_any_height_and_width():
    knobs = dict(shift=0.0, **ALONE)
    tall, wide = (Tryon(size, **knobs).batch([5]) for size in (SIZE, (64, 80)))
    assert wide["image"].shape == wide["garment"].shape == (1, 3, 64, 80)
    # People are as tall as the picture lets them, and stand in its middle.
    middle = wide["target_mask"][..., 16:64]
    assert (middle != tall["target_mask"]).float().mean() < 0.01
    moved = wide["landmarks"] * torch.tensor([80 / 48, 1.0]) - tall["landmarks"]
    assert moved.abs().max() < 1e-4
    # The flat garment is larger, where width was what it lacked.
    assert wide["garment_mask"].sum() >= tall["garment_mask"].sum()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_picture(rack):
    there = Tryon(SIZE).batch(range(40), device="cuda")
    for name, value in there.items():
        assert value.device.type == "cuda", name
        away = (value.cpu().float() - rack[name].float()).abs()
        assert away.mean() < 1e-3, name


# ---- flow and masks -----------------------------------------------------------------


def test_the_garment_warped_by_the_flow_is_what_the_person_wears(rack):
    mask = rack["target_mask"]
    warped = read(rack["garment"], rack["flow"])
    torch.testing.assert_close(warped * mask + 1 - mask, rack["warped"])
    assert psnr(warped, rack) > 22.5
    # The rest is light: with the brightness of 5 x 5 pixels put right, little is left.
    light = [F.avg_pool2d(p.mean(1, keepdim=True) * mask, 5, 1, 2) for p in
             (rack["target"], warped)]  # fmt: skip
    assert psnr(warped * (light[0] / light[1].clamp(min=0.02)), rack) > 25
    # A flow that is a pixel off shows, in any direction; and so does another's.
    for step in ([1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]):
        off = (torch.tensor(step) * PIXEL).view(1, 2, 1, 1)
        assert psnr(read(rack["garment"], rack["flow"] + off), rack) < psnr(
            warped, rack) - 0.8, step  # fmt: skip
    assert psnr(read(rack["garment"], rack["flow"].roll(1, 0)), rack) < 17


def test_flow_lies_on_the_garment_and_nowhere_else(rack):
    mask = rack["target_mask"] > 0
    assert (rack["flow"] * ~mask == 0).all()
    on = read(rack["garment_mask"], rack["flow"])[mask]
    assert (on > 0.5).float().mean() > 0.995
    white = (rack["garment"] == 1).all(1, keepdim=True)
    assert white[rack["garment_mask"] == 0].all()
    assert (rack["warped"] == 1).all(1, keepdim=True)[~mask].all()


def test_both_pictures_show_the_same_person(rack):
    worn = torch.maximum(rack["target_mask"], rack["worn_mask"])
    around = F.max_pool2d(worn, 5, 1, 2) > 0
    away = (rack["image"] - rack["target"]).abs().amax(1, keepdim=True)
    assert away[~around].mean() < 0.005
    assert (away[~around] > 0.1).float().mean() < 0.01
    assert away[rack["target_mask"] > 0].mean() > 0.1


# ---- landmarks ----------------------------------------------------------------------


def test_landmarks_sit_on_the_flow(rack):
    """Near a visible landmark, the flow passes the landmark of the flat garment."""
    grid = pixel_grid(*SIZE).flatten(0, 1)
    off = ((rack["landmarks"][:, :, None] - grid) / PIXEL).norm(dim=-1)
    off = off + 99 * (1 - rack["target_mask"].flatten(1))[:, None]
    flow = rack["flow"].flatten(2).mT[:, None]
    away = ((flow - rack["garment_landmarks"][:, :, None]) / PIXEL).norm(dim=-1)
    near = torch.where(off < 2, away, 99.0).amin(2)[rack["visible"]]
    assert near.median() < 0.8 and near.quantile(0.9) < 1.5
    assert (near > 3).float().mean() < 0.01
    # Of another landmark's place that is not so.
    wrong = (flow - rack["garment_landmarks"].roll(1, 1)[:, :, None]) / PIXEL
    wrong = torch.where(off < 2, wrong.norm(dim=-1), 99.0).amin(2)[rack["visible"]]
    assert wrong.median() > 3


def test_visible_landmarks_lie_in_the_mask(rack):
    for place, attribute, mask in (
        ("landmarks", "attribute", "target_mask"),
        ("worn_landmarks", "worn_attribute", "worn_mask"),
    ):
        points, seen = rack[place], rack[attribute] == VISIBLE
        near = at_pixel(F.max_pool2d(rack[mask], 3, 1, 1), points)
        assert (near[seen] == 1).all() and (points[seen].abs() < 1).all()
        # What the frame cuts off, keeps its place beyond the edge.
        out = (points.abs() >= 1).any(-1)
        assert out.sum() > 10 and (rack[attribute][out] == OCCLUDED).all()
    on = at_pixel(
        F.max_pool2d(rack["garment_mask"], 3, 1, 1), rack["garment_landmarks"]
    )
    assert (on[rack["garment_present"]] == 1).all()
    # Arms, hair and the edge hide a part; the neck hides the collar's back.
    hidden = (rack["attribute"] == OCCLUDED).sum() / rack["garment_present"].sum()
    assert 0.12 < hidden < 0.4
    assert (rack["attribute"][:, 0] == OCCLUDED).float().mean() > 0.9


def test_absent_landmarks_are_those_of_missing_sleeves(rack):
    there = rack["garment_present"]
    assert torch.equal(there, rack["attribute"] != ABSENT)
    assert torch.equal(rack["visible"], rack["attribute"] == VISIBLE)
    others = [k for k in range(32) if k not in SLEEVES]
    assert there[:, others].all()
    for names in ("landmarks", "garment_landmarks"):
        assert (rack[names][~there] == 0).all()
    assert (rack["worn_landmarks"][rack["worn_attribute"] == ABSENT] == 0).all()
    # Left and right, outer and inner go together; an elbow needs an upper arm.
    assert torch.equal(there[:, 9:17], there[:, 19:27])
    upper, elbow, lower, cuff = there[:, 9:17].unflatten(1, (4, 2)).all(2).unbind(1)
    assert not (elbow & ~upper).any() and not (lower & ~elbow).any()
    assert not (upper & ~cuff).any()
    for share in (~cuff, cuff & ~elbow, lower):
        assert 0.03 < share.float().mean() < 0.75
    # The sign of the change of sleeves: more landmarks for longer ones.
    count = (rack["attribute"] > 0).sum(1) - (rack["worn_attribute"] > 0).sum(1)
    assert (count * rack["sleeve_change"] >= 0).all() and (count != 0).sum() > 12


def test_a_garment_without_folds_is_its_own_mirror_image():
    b = small(24, folds=0.0)
    middle = [k for k in range(32) if k not in sum(Tryon.pairs, ())]
    assert middle == [0, 30]
    points = b["garment_landmarks"]
    centre = points[:, 30:31, 0]
    assert (points[:, 0, 0] - centre[:, 0]).abs().max() < 1e-4
    for left, right in Tryon.pairs:
        there = b["garment_present"][:, left]
        a, c = points[there, left], points[there, right]
        torch.testing.assert_close(a[:, 1], c[:, 1], atol=1e-4, rtol=0)
        torch.testing.assert_close(a[:, 0] + c[:, 0], 2 * centre[there, 0], atol=1e-4,
                                   rtol=0)  # fmt: skip
        assert (a[:, 0] < c[:, 0]).all()  # the viewer's left
    # Down the garment: neck, shoulders, armpits, waist, hem; a line joins them all.
    y = points[..., 1]
    assert (y[:, 3] > y[:, 1]).all() and (y[:, 0] < y[:, 3] + 0.02).all()
    assert (y[:, 7] < y[:, 8]).all() and (y[:, 8] < y[:, 27]).all()
    assert (y[:, 27] < y[:, 29]).all()
    joined = [k for pair in Tryon.skeleton for k in pair]
    assert sorted(joined) == sorted([*range(32)] * 2)  # a closed outline


# ---- knobs --------------------------------------------------------------------------


def steps(batch):
    """Largest jump of the flow between neighbours in the mask, pixels (B,)."""
    mask = batch["target_mask"]
    inside = mask[..., 1:] * mask[..., :-1]
    return (batch["flow"].diff(dim=-1).abs().amax(1) * inside[:, 0]).amax((1, 2))


def test_forearms_cross_the_trunk():
    none, every = small(crossing=0.0), small(crossing=1.0)
    assert none["crossing"].float().mean() < 0.12
    assert every["crossing"].float().mean() > 0.95
    assert 0.25 < small(80)["crossing"].float().mean() < 0.45
    bent = every["elbow"].amax(1)
    assert bent.min() > 40 and bent.max() > 90
    # They hide cloth and landmarks, and long sleeves tear the flow.
    long = every["garment_present"][:, 13]
    assert (steps(every) > 0.5)[long].float().mean() > 0.6

    def hidden(b):
        return (b["attribute"] == OCCLUDED)[:, WAIST].float().mean()

    assert hidden(every) > hidden(none)


def test_arms_bend_and_hands_rest():
    straight = small(**STILL)
    assert straight["elbow"].max() < 60 and not straight["crossing"].any()
    for name in ("hands", "bent"):
        on = small(**{**STILL, name: 1.0})
        assert on["elbow"].median() > straight["elbow"].median() + 20, name
    resting = small(**{**STILL, "hands": 1.0})
    assert (resting["elbow"] > 20).all()


def test_turn_scale_and_shift_can_be_turned_off():
    def place(**knobs):
        b = small(**{**STILL, "folds": 0.0, **knobs})
        wide = b["landmarks"][:, 28, 0] - b["landmarks"][:, 27, 0]
        middle = b["landmarks"][:, WAIST].mean(1)
        turned = (b["landmarks"][:, 4, 0] - b["landmarks"][:, 1, 0]) / (
            b["landmarks"][:, 6, 0] - b["landmarks"][:, 3, 0])  # fmt: skip
        return middle, wide, turned.log()

    still, _, even = place()
    assert still.std(0).max() < 0.03 and even.abs().max() < 0.1
    assert place(shift=1.0)[0].std(0).min() > 0.02
    assert place(shift=1.0)[0][:, 0].std() > 3 * still[:, 0].std()
    assert place(turn=1.0)[2].std() > 3 * even.std()
    q = {k: Tryon(SMALL, scale=k).parameters(range(999))["scale"] for k in (0.0, 1.0)}
    assert q[0.0].std() < 1e-6 and 1.15 < q[1.0].max() / q[1.0].min() < 1.25


def test_folds_can_be_turned_off():
    def rough(folds):
        b = Tryon(SIZE, folds=folds, **{**STILL, **ALONE}).batch(range(12))
        inner = -F.max_pool2d(-b["target_mask"], 5, 1, 2)
        bend = b["flow"].diff(n=2, dim=-1).abs().sum(1, keepdim=True)
        inner = inner[..., 1:-1] * (bend < 0.1)  # not from sheet to sheet
        return (bend * inner).sum() / inner.sum()

    assert rough(1.0) > 1.15 * rough(0.0)


def test_sleeves_change_or_do_not():
    same = small(sleeve_change=0.0)
    assert (same["sleeve_change"] == 0).all()
    assert torch.equal(same["attribute"] > 0, same["worn_attribute"] > 0)
    change = small(80)["sleeve_change"]
    assert (change.abs() > 0.2).float().mean() > 0.4
    assert change.abs().max() > 0.9 and (change < 0).any() and (change > 0).any()


def likeness(batch, reach=3):
    """How well another place of the garment matches a patch, in its spread (B,)."""
    garment, mask = batch["garment"], batch["garment_mask"]
    inner = -F.max_pool2d(-mask, 2 * reach + 1, 1, reach)
    patches = F.unfold(garment, 2 * reach + 1, padding=reach).mT  # (B, HW, n)
    grid = pixel_grid(*SIZE).flatten(0, 1) / PIXEL
    far = torch.cdist(grid, grid) > 6
    out = []
    for p, here in zip(patches, inner.flatten(1) > 0, strict=True):
        p, apart = p[here], far[here][:, here]
        best = (torch.cdist(p, p) + 99 * ~apart).amin(1)
        out.append(best.mean() / (p - p.mean(0)).norm(dim=1).mean())
    return torch.stack(out)


def test_kinds_of_cloth():
    kinds = {}
    for number, kind in enumerate(Tryon.texture_names):
        b = kinds[kind] = Tryon(SIZE, texture=kind).batch(range(12))
        assert (b["texture"] == number).all()
    spread = {}
    for kind, b in kinds.items():
        inner = -F.max_pool2d(-b["garment_mask"], 3, 1, 1)
        mean = (b["garment"] * inner).sum((2, 3), True) / inner.sum((2, 3), True)
        var = ((b["garment"] - mean).square() * inner).sum() / inner.sum()
        spread[kind] = var.sqrt()
    assert spread["plain"] < 0.4 * min(spread["revealing"], spread["periodic"])
    # What is periodic looks the same in many places; what reveals does not.
    alike, unlike = likeness(kinds["periodic"]), likeness(kinds["revealing"])
    assert alike.median() < 0.8 * unlike.median()
    count = Tryon(SMALL).parameters(range(999))["kind"].bincount()
    assert (count > 40).all() and count[0] > 700


@pytest.mark.parametrize("knob", ["hair", "bags"])
def test_what_is_in_the_way_only_hides(knob):
    free, covered = (
        Tryon(SIZE, **{**ALONE, knob: k}).batch(range(24)) for k in (0.0, 1.0)
    )
    for name in ("landmarks", "garment", "garment_landmarks", "sleeve_change"):
        torch.testing.assert_close(free[name], covered[name])
    # Sleeves may stand before a bag, but nothing comes forth.
    gone = free["target_mask"] - covered["target_mask"]
    assert (gone < 0).sum() <= 4 and (gone.sum((1, 2, 3)) > 8).sum() >= 4
    same = covered["target_mask"]
    flow = (free["flow"] - covered["flow"]) * same
    assert flow.abs().amax(1).gt(1e-3).sum() < 0.01 * same.sum()
    assert (covered["visible"] & ~free["visible"]).sum() <= 2
    assert (free["visible"] & ~covered["visible"]).sum() > 3


def test_clutter_can_be_turned_off():
    def detail(clutter):
        b = Tryon(SMALL, clutter=clutter).batch(range(24))
        return b["image"][..., :5, :10].diff(dim=-1).abs().mean((1, 2, 3))

    assert detail(0.0).median() < 0.5 * detail(1.0).median()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Tryon((16, 12)), "32 to 512 pixels a side, got"),
        (lambda: Tryon((64, 47)), "height less width must be even"),
        (lambda: Tryon(crossing=1.5), "crossing must be 0 to 1, got 1.5"),
        (lambda: Tryon(texture="wool"), "texture must be some of mixed, revealing"),
        (lambda: Tryon(SMALL).batch([-1]), "must not be negative"),
    ],
)
def test_bad_settings_are_named(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_the_commands_know_the_scene():
    data = open_data("scene:tryon", "test", SMALL)
    there = Tryon(SMALL).batch(range(100_000, 100_003))
    batch = data.batch(range(3))
    torch.testing.assert_close(batch["target"], there["target"])
    assert batch["index"].tolist() == [0, 1, 2]
