"""Comm-MT, Heatmap-MT and RCN: layers counted by hand, losses by other means."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lmlib.geometry import from_pixels
from lmlib.layers import Recombinator, local_contrast, parameter_count, unit_variance
from lmlib.methods.seqmt import SeqMt, SeqMtConfig
from lmlib.methods.seqmt_baselines import CommMt, HeatmapMt, pixel_loss
from lmscenes import Blocks

SMALL = replace(
    SeqMtConfig.blocks(),
    size=20,
    channels=4,
    kernels=(3, 3),
    hidden=(8, 8),
    dropout=0,
    weight_l2=0,
)


def network(kind, **changes):
    torch.manual_seed(0)
    return kind(replace(SMALL, **changes)).eval()


@pytest.fixture
def batch():
    return Blocks(20).batch(range(6))


# --- sizes ----------------------------------------------------------------------------


def test_rcn_has_the_papers_weights():
    """Figure 15, counted: 3x3 down, 5x5 and 1x1 up, 64 maps, 68 landmarks."""
    down = (1 * 9 * 64 + 64) + 4 * (64 * 9 * 64 + 64)
    bottom = (64 * 25 * 64 + 64) + (64 * 64 + 64)
    up = 4 * (128 * 25 * 64 + 64) + 3 * (64 * 64 + 64)
    out = (64 * 64 + 64) + (64 * 68 + 68)
    method = SeqMt(SeqMtConfig.rcn_plus())
    assert parameter_count(method) == down + bottom + up + out  # 1.10 M, notes
    assert method.landmarks(torch.rand(1, 1, 80, 80)).shape == (1, 68, 2)


def test_rcn_needs_a_size_it_can_halve():
    with pytest.raises(ValueError, match="divisible by 16, got \\(40, 44\\)"):
        Recombinator(1, 4, 3)(torch.rand(1, 1, 40, 44))


def test_comm_mt_has_the_papers_layers():
    """Figure 6: a convolution, four more, pooling, one more, pooling, two FC layers."""
    convs = (81 * 8 + 8) + 5 * (8 * 81 * 8 + 8)
    fc = (8 * 15 * 15 * 256 + 256) + (256 * 256 + 256)
    heads = (256 * 10 + 10) + (256 * 15 + 15)
    assert parameter_count(CommMt(SeqMtConfig.blocks())) == convs + fc + heads


def test_heatmap_mt_has_seq_mts_maps():
    config = SeqMtConfig.blocks()
    ours, seq = HeatmapMt(config), SeqMt(config)
    assert parameter_count(ours.maps) == parameter_count(seq.maps)


def test_class_norm_reads_classes_whatever_the_size_of_the_maps():
    config = replace(SeqMtConfig.blocks(), dropout=0.0)
    scores = torch.randn(2, 5, 60, 60)
    for norm in (True, False):
        method = HeatmapMt(replace(config, class_norm=norm)).eval()
        small, large = (method._logits(k * scores)["label"] for k in (1.0, 30.0))
        assert torch.allclose(small, large, atol=1e-3) == norm


@pytest.mark.parametrize("name", SeqMtConfig.presets())
def test_every_preset_builds_and_answers(name):
    config = SeqMtConfig.preset(name)
    method = SeqMt(config).eval()
    images = torch.rand(1, 1, config.size, config.size)
    with torch.no_grad():
        points, logits = method.landmarks(images), method.class_logits(images)
    assert points.shape == (1, config.landmarks, 2)
    assert {n: x.shape[1] for n, x in logits.items()} == config.heads


@pytest.mark.parametrize(
    "name, beta, alpha, gamma, lambda_",
    [  # notes, section 2
        ("blocks", 0.01, 1, 1e-5, 1),  # gamma is ours: theirs was tuned for each model
        ("hands", 0.001, 0.3, 1e-5, 0.5),
        ("multipie", 0.001, 0.3, 1e-5, 2),
        ("w300", 0.01, 2, 1e-5, 2),
        ("rcn_plus", 1, 0.5, 0, 1),
    ],
)
def test_presets_carry_the_papers_weights(name, beta, alpha, gamma, lambda_):
    c = SeqMtConfig.preset(name)
    found = (c.beta, c.weight_equivariance, c.weight_l2, c.weight_landmark)
    assert found == (beta, alpha, gamma, lambda_)


# --- what the answers depend on -------------------------------------------------------


def test_a_heatmap_answers_with_pixel_centres(batch):
    points = network(HeatmapMt).landmarks(batch["image"])
    pixels = (points + 1) * 10 - 0.5
    torch.testing.assert_close(pixels, pixels.round(), atol=1e-4, rtol=0)
    soft = network(SeqMt).landmarks(batch["image"])
    assert ((soft + 1) * 10 - 0.5 - ((soft + 1) * 10 - 0.5).round()).abs().max() > 0.1


def test_comm_mt_stays_inside_the_image_and_has_no_gaps(batch):
    method = network(CommMt)
    with torch.no_grad():
        method.points.weight.mul_(100)
    points = method.landmarks(batch["image"])
    assert points.abs().max() <= 1 and points.max() > 0.9 and points.min() < -0.9


def test_only_seq_mt_has_the_bottleneck(batch):
    """Same landmarks, other image: Seq-MT's class cannot change, the others' does."""
    for kind in (HeatmapMt, CommMt):
        method = network(kind)
        logits = method.class_logits(batch["image"])["label"]
        head = method.heads["label"]
        assert (logits[0] - logits[1]).abs().max() > 1e-3
        first = head if isinstance(head, torch.nn.Linear) else head[0]
        assert first.in_features != 2 * SMALL.landmarks


# --- losses ---------------------------------------------------------------------------


def test_pixel_loss_is_torchs_cross_entropy(batch):
    scores = torch.randn(6, 5, 20, 20)
    pixel = torch.randint(0, 20, (6, 5, 2))
    batch["landmarks"] = from_pixels(pixel.float() + 0.3, (20, 20))
    target = pixel[..., 1] * 20 + pixel[..., 0]  # row * width + column
    expected = F.cross_entropy(scores.flatten(0, 1).flatten(1), target.flatten())
    torch.testing.assert_close(pixel_loss(scores, batch), expected)


def test_pixel_loss_leaves_out_what_is_hidden_unlabelled_or_outside(batch):
    scores = torch.randn(6, 5, 20, 20)
    batch["labelled"] = torch.tensor([True] * 4 + [False] * 2)
    before = pixel_loss(scores, batch)
    batch["landmarks"][4:] = math.nan
    batch["visible"][0, 0] = False
    batch["landmarks"][0, 0] = math.nan
    batch["landmarks"][1, 1] = 1.7
    scores[4:], scores[0, 0], scores[1, 1] = 0, 0, 0  # none of these may count
    after = pixel_loss(scores, batch)
    assert torch.isfinite(after) and after < before
    batch["landmarks"][2, 2] = -batch["landmarks"][2, 2]  # control: this one counts
    assert pixel_loss(scores, batch) != after


@pytest.mark.parametrize("kind", [CommMt, HeatmapMt])
def test_terms_follow_their_weights(kind, batch):
    method = network(kind)
    assert set(method.losses(batch)) == {"landmark", "class"}
    one = method.losses(batch)["landmark"]
    method.weights["landmark"] = 3.0
    torch.testing.assert_close(method.losses(batch)["landmark"], 3 * one)
    method.weights.update({"class": 0.0})
    assert set(method.losses(batch)) == {"landmark"}
    method.weights["landmark"] = 0.0
    with pytest.raises(ValueError, match="nothing to train"):
        method.losses(batch)


def test_l2_counts_weights_and_no_biases(batch):
    method = network(CommMt, weight_l2=0.5)
    before = method.losses(batch)["l2"]
    by_hand = sum(
        p.square().sum() for n, p in method.named_parameters() if "bias" not in n
    )
    torch.testing.assert_close(before, 0.5 * by_hand)
    with torch.no_grad():
        method.points.bias += 5
    torch.testing.assert_close(method.losses(batch)["l2"], before)


def test_several_heads_share_the_landmarks(batch):
    classes = (("label", 15), ("side", 2))
    batch["side"] = batch["label"] // 8
    for kind in (SeqMt, CommMt, HeatmapMt):
        method = network(kind, classes=classes)
        logits = method.class_logits(batch["image"])
        expected = [F.cross_entropy(logits[n], batch[n]) for n, _ in classes]
        got = method.losses(batch)["class"]
        torch.testing.assert_close(got, torch.stack(expected).mean())


# --- start and preprocessing ----------------------------------------------------------


def test_unit_variance_gives_every_channel_deviation_one(batch):
    layers = network(SeqMt).maps
    unit_variance(layers, batch["image"])
    x = batch["image"]
    for layer in layers:
        x = layer(x.clone())
        if isinstance(layer, torch.nn.Conv2d):
            assert x.mean((0, 2, 3)).abs().max() < 1e-4
            torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(x.shape[1]))


def test_calibration_gives_the_maps_contrast_whatever_beta(batch):
    for beta in (0.001, 1.0):
        method = network(SeqMt, beta=beta)
        flat = (beta * method.scores(batch["image"])).std()
        method.calibrate(batch["image"])
        std = (beta * method.scores(batch["image"])).std((0, 2, 3))
        torch.testing.assert_close(std, torch.full((5,), SMALL.contrast))
        assert flat < 0.9 * SMALL.contrast
    untouched = network(SeqMt, contrast=0.0)
    assert untouched.gain == 1
    before = untouched.maps[0].weight.clone()
    untouched.calibrate(batch["image"])
    assert torch.equal(untouched.maps[0].weight, before)


def test_local_contrast_forgets_brightness_and_gain():
    image = torch.rand(2, 1, 24, 24)
    plain = local_contrast(image)
    torch.testing.assert_close(
        local_contrast(0.2 + 0.5 * image), plain, atol=1e-3, rtol=0
    )
    assert local_contrast(torch.full((1, 1, 24, 24), 0.7)).abs().max() < 1e-2
    assert plain.std() > 0.5
