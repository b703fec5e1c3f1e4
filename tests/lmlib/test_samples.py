"""Batches, splits, the order of training, and who keeps a label."""

import numpy as np
import pytest
import torch
from PIL import Image

from lmlib.evaluation import map_on_mask
from lmlib.geometry import Affine
from lmlib.samples import (
    Stored,
    augment,
    check_batch,
    class_balanced_subset,
    split,
    step_indices,
    to_gray,
)
from lmlib.warps import seqmt_affine
from lmscenes import Shapes


def good():
    return {
        "image": torch.rand(3, 1, 8, 8),
        "landmarks": torch.zeros(3, 2, 2),
        "visible": torch.ones(3, 2, dtype=torch.bool),
        "index": torch.arange(3),
    }


def test_a_good_batch_comes_back_unchanged():
    batch = good()
    assert check_batch(batch) is batch
    assert check_batch({"image": batch["image"]}).keys() == {"image"}


def with_nan():
    image = torch.rand(3, 1, 8, 8)
    image[1, 0, 2, 2] = float("nan")
    return image


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image": torch.rand(3, 8, 8)}, r"must be \(B, C, H, W\), got \(3, 8, 8\)"),
        ({"image": torch.rand(0, 1, 8, 8)}, r"empty: shape \(0, 1, 8, 8\)"),
        ({"image": torch.rand(3, 1, 0, 8)}, "empty"),
        ({"image": with_nan()}, r"NaN or infinity in images \[1\]"),
        ({"image": torch.full((3, 1, 2, 2), torch.inf)}, r"images \[0, 1, 2\]"),
        ({"landmarks": torch.zeros(3, 0, 2)}, "K >= 1"),
        ({"landmarks": torch.zeros(3, 2, 3)}, r"must be \(B, K, 2\)"),
        ({"landmarks": torch.zeros(3, 4)}, r"must be \(B, K, 2\)"),
        ({"visible": torch.ones(3, 5, dtype=torch.bool)}, r"'visible'\] is \(3, 5\)"),
        ({"label": torch.zeros(2)}, r"'label'\] has \(2,\), expected 3 first"),
        ({"label": torch.tensor(1)}, "expected 3 first"),
    ],
)
def test_the_first_fault_of_a_batch_is_named(change, says):
    with pytest.raises(ValueError, match=says):
        check_batch(good() | change)


def test_a_batch_without_image_says_what_it_holds():
    with pytest.raises(ValueError, match="'image'; this one holds .'index', 'label'."):
        check_batch({"label": torch.zeros(2), "index": torch.zeros(2)})


def test_gray_agrees_with_pillow():
    pixels = torch.randint(0, 256, (2, 3, 9, 7), generator=torch.Generator())
    gray = to_gray(pixels / 255)
    assert gray.shape == (2, 1, 9, 7)
    for image, ours in zip(pixels.byte(), gray[:, 0] * 255, strict=True):
        theirs = Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")
        assert (ours - torch.tensor(np.asarray(theirs))).abs().max() < 1


def test_splits_are_consecutive_and_share_nothing():
    parts = split(train=10, val=4, test=3)
    assert parts == {"train": range(10), "val": range(10, 14), "test": range(14, 17)}
    with pytest.raises(ValueError, match="'val' must hold at least one image, got 0"):
        split(train=3, val=0)


# ---- the order of training ----------------------------------------------------------


def stream(steps, batch_size, indices, seed=0):
    return torch.cat([step_indices(s, batch_size, indices, seed) for s in range(steps)])


@pytest.mark.parametrize(("batch_size", "steps"), [(5, 12), (7, 20), (64, 1), (3, 40)])
def test_every_epoch_shows_every_image_once(batch_size, steps):
    """Batches may straddle epochs (7 and 64 do): laid end to end, nothing is lost."""
    order = stream(steps, batch_size, range(100, 120))
    assert len(order) == steps * batch_size
    for epoch in order.split(20)[: len(order) // 20]:
        assert epoch.sort().values.tolist() == list(range(100, 120))


def test_epochs_are_shuffled_differently_and_seeds_too():
    first, second = stream(2, 50, range(50)).split(50)
    assert not torch.equal(first, second)
    assert not torch.equal(first, torch.arange(50))
    assert not torch.equal(first, step_indices(0, 50, range(50), seed=1))


def test_a_step_depends_on_its_number_alone():
    """So training resumed at step 17 sees what it would have seen."""
    torch.manual_seed(0)
    once = step_indices(17, 8, range(30), seed=2)
    torch.manual_seed(99)
    torch.rand(5)
    state = torch.get_rng_state()
    assert torch.equal(step_indices(17, 8, range(30), seed=2), once)
    assert torch.equal(torch.get_rng_state(), state)  # and disturbs no one


def test_indices_may_skip():
    drawn = step_indices(0, 4, range(3, 15, 3))
    assert sorted(drawn.tolist()) == [3, 6, 9, 12]


@pytest.mark.parametrize(("batch_size", "indices"), [(4, range(0)), (0, range(5))])
def test_no_images_to_draw_is_an_error(batch_size, indices):
    with pytest.raises(ValueError, match=f"cannot draw {batch_size} images"):
        step_indices(0, batch_size, indices)


# ---- label masks --------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2, 0.5, 1.0])
def test_every_class_keeps_the_same_number_of_labels(share):
    labels = torch.arange(1500) % 15
    mask = class_balanced_subset(labels, share, seed=1)
    assert mask.dtype == torch.bool and mask.shape == (1500,)
    assert labels[mask].bincount().tolist() == [round(100 * share)] * 15


def test_a_class_never_goes_empty():
    labels = torch.tensor([0] * 1000 + [1] * 3)
    assert labels[class_balanced_subset(labels, 0.01)].bincount().tolist() == [10, 1]


def test_who_keeps_a_label_depends_on_the_seed_alone():
    labels = torch.arange(300) % 3
    masks = [class_balanced_subset(labels, 0.1, seed) for seed in (0, 0, 1)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
@pytest.mark.usefixtures("unchecked")
def test_a_share_is_between_zero_and_one(share):
    with pytest.raises(ValueError, match="share must be in"):
        class_balanced_subset(torch.zeros(4), share)


# --- pools, stored sets, augmentation -------------------------------------------------


def test_pools_share_every_batch():
    pools = (torch.tensor([3, 5, 8]), range(100, 120))
    for step in range(4):
        drawn = step_indices(step, 12, pools, seed=1)
        first, second = drawn[:6].tolist(), drawn[6:].tolist()
        assert sorted(first) == [3, 3, 5, 5, 8, 8]  # two epochs of its own
        assert len(set(second)) == 6 and all(100 <= i < 120 for i in second)
    nested = step_indices(0, 12, (pools, pools), seed=1)
    assert torch.equal(nested[:6], nested[6:])
    assert torch.equal(nested[:6], step_indices(0, 6, pools, seed=1))


def test_a_tensor_of_indices_is_drawn_like_a_range():
    for step in range(5):
        as_range = step_indices(step, 7, range(10, 40, 3), seed=2)
        as_tensor = step_indices(step, 7, torch.arange(10, 40, 3), seed=2)
        assert torch.equal(as_range, as_tensor)


@pytest.mark.parametrize("pools", [(), (range(3), range(3), range(3))])
def test_a_batch_that_cannot_be_shared_is_an_error(pools):
    with pytest.raises(ValueError, match="a batch of 4 cannot be shared"):
        step_indices(0, 4, pools)


def test_stored_images_are_the_scenes_own():
    scene = Shapes(16)
    data = Stored(scene, range(20, 320, 2), keys=("label",))
    wanted = torch.tensor([318, 20, 44])
    batch, fresh = data.batch(wanted), scene.batch(wanted)
    assert set(batch) == {"image", "landmarks", "visible", "index", "label"}
    for name, value in batch.items():
        torch.testing.assert_close(value, fresh[name], atol=1e-5, rtol=0)
    assert len(data) == 150
    for outside in (18, 320, 21):
        with pytest.raises(IndexError, match="are stored"):
            data.batch([outside])


def test_augmentation_moves_landmarks_with_their_pixels():
    batch = Shapes(48).batch(range(16))
    warp = seqmt_affine(16, "hands", torch.Generator().manual_seed(0))
    moved = augment(batch, warp)
    mask = warp.image(batch["mask"])

    def on_own_shape(points):
        hits = map_on_mask(points, mask)
        return hits.diagonal(dim1=1, dim2=2).float().mean()

    assert on_own_shape(moved["landmarks"]) == 1
    assert on_own_shape(batch["landmarks"]) < 0.9  # control: not moved
    assert torch.equal(moved["label"], batch["label"])


def test_landmarks_that_leave_the_image_are_hidden():
    batch = Shapes(16).batch(range(4))
    away = Affine(torch.tensor([[[1.0, 0, 3], [0, 1, 0]]]).repeat(4, 1, 1))
    assert not augment(batch, away)["visible"].any()
    assert augment(batch, away, hide=False)["visible"].all()


def test_replaced_tensors_keep_their_numbers_and_leave_the_rest_alone():
    first = {"image": torch.rand(3, 1, 4, 4), "landmarks": torch.rand(3, 2, 2)}
    data = Stored.of(first)
    data.indices = range(10, 16, 2)
    other = data.replaced(image=torch.zeros(3, 1, 4, 4))
    assert other.batch([14])["image"].sum() == 0
    assert torch.equal(other.batch([14])["landmarks"], first["landmarks"][2:])
    assert torch.equal(data.batch([14])["image"], first["image"][2:])
