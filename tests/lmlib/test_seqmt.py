"""Seq-MT: the paper's sizes, its equations, and what the losses can and cannot see."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from lmlib.fftconv import LargeKernelConv2d
from lmlib.layers import mlp, parameter_count, receptive_field
from lmlib.methods import seqmt
from lmlib.methods.seqmt import SeqMt, SeqMtConfig
from lmlib.warps import seqmt_affine
from lmscenes import Blocks, Shapes

SMALL = SeqMtConfig(
    size=24, landmarks=2, classes=2, channels=4, kernels=(3, 3), hidden=(8,)
)


def small(**weights):
    torch.manual_seed(0)
    method = SeqMt(SMALL).eval()
    method.weights = {"class": 0.0, "landmark": 0.0, "equivariance": 0.0, **weights}
    return method


def conv_parameters(channels, kernels):
    """Weights and biases counted by hand, layer by layer."""
    layers = zip(channels[:-1], channels[1:], kernels, strict=True)
    return sum(i * o * k * k + o for i, o, k in layers)


def test_shapes_preset_has_the_papers_layers():
    config = SeqMtConfig.shapes()
    method = SeqMt(config)
    convs = conv_parameters((1, *[16] * 7, 2), (7,) * 6 + (1, 1))
    fc = (4 * 40 + 40) + (40 * 2 + 2)
    assert parameter_count(method) == convs + fc
    assert receptive_field(config.kernels) == 37  # notes, section 1
    assert config.beta == 1 and config.size == 60


def test_blocks_preset_has_the_papers_layers():
    config = SeqMtConfig.blocks()
    convs = conv_parameters((1, *[8] * 7, 5), (9,) * 6 + (1, 1))
    fc = (10 * 256 + 256) + (256 * 256 + 256) + (256 * 15 + 15)
    assert parameter_count(SeqMt(config)) == convs + fc
    assert receptive_field(config.kernels) == 49
    assert (config.beta, config.dropout) == (0.01, 0.25)


def test_only_the_points_reach_the_classifier():
    """Two images with the same landmarks must get the same class, whatever they
    show."""
    method = small()
    points = torch.rand(3, 2, 2)
    assert torch.equal(method.classify(points), method.classify(points.clone()))
    batch = Shapes(24).batch(range(4))
    logits = method.class_logits(batch["image"])["label"]
    expected = method.classify(method.landmarks(batch["image"]))
    torch.testing.assert_close(logits, expected)


def test_class_loss_alone_moves_the_maps():
    method = small(**{"class": 1.0})
    terms = method.losses(Shapes(24).batch(range(8)))
    assert list(terms) == ["class"]
    terms["class"].backward()
    assert all(p.grad.abs().sum() > 0 for p in method.maps.parameters())


def test_landmark_loss_is_equation_3_in_pixels():
    method = small(landmark=2.0)
    batch = Shapes(24).batch(range(6))
    batch["labelled"] = torch.tensor([True, True, False, False, True, False])
    batch["visible"][0, 1] = False
    points = method.landmarks(batch["image"])
    by_hand = 0.0
    for i in (0, 1, 4):
        for k in range(2):
            if i == 0 and k == 1:
                continue
            difference = (points[i, k] - batch["landmarks"][i, k]) * 12  # 24 px / 2
            by_hand += (difference[0] ** 2 + difference[1] ** 2).item()
    by_hand *= 2.0 / (6 * 2)
    assert math.isclose(method.losses(batch)["landmark"].item(), by_hand, rel_tol=1e-5)


def test_hidden_labels_give_no_gradient():
    batch = Shapes(24).batch(range(6))
    batch["labelled"] = torch.tensor([True] * 3 + [False] * 3)
    losses = []
    for shift in (0.0, 0.7):
        batch["landmarks"][3:] += shift  # nonsense where it must not be read
        losses.append(small(landmark=1.0).losses(batch)["landmark"].item())
    assert losses[0] == losses[1]
    batch["landmarks"][:3] += 0.7  # negative control: labelled ones are read
    assert small(landmark=1.0).losses(batch)["landmark"].item() != losses[0]


class Perfect(SeqMt):
    """A detector that answers with the image's centre of mass: equivariant by
    nature."""

    def landmarks(self, images):
        from lmlib.heatmaps import expected_points

        mass = images.flatten(1).sum(1)[:, None, None, None]
        return expected_points(images / mass).repeat(1, 2, 1)


class Constant(SeqMt):
    def landmarks(self, images):
        return torch.full((len(images), 2, 2), 0.25)


@pytest.mark.parametrize("preset", ["hands", "300w"])
def test_equivariance_loss_is_small_only_for_an_equivariant_detector(preset):
    # dots near the centre, so that no transformation pushes them out of the image
    dots = Shapes(64).batch(range(32))
    dots["image"] = F.pad(F.avg_pool2d(dots["image"], 4), (24, 24, 24, 24))
    errors = []
    for kind in (Perfect, Constant):
        method = kind(SMALL)
        method.config = replace(SMALL, warp=preset)
        method.weights = {"class": 0.0, "landmark": 0.0, "equivariance": 1.0}
        errors.append(method.losses(dots)["equivariance"].item())
    assert errors[0] < 0.02 * errors[1]


def test_equivariance_is_the_mean_square_of_equation_4_over_all_images():
    """By loops, with an affine map of two images written out."""
    moved = torch.tensor([[[0.5, -0.25], [0.0, 1.0]], [[-0.5, 0.5], [0.25, 0.0]]])
    again = torch.tensor([[[0.25, 0.25], [0.5, 1.0]], [[-0.5, 0.0], [1.0, 0.75]]])
    total = 0.0
    for i in range(2):
        for k in range(2):
            for axis in range(2):  # 12 pixels are a unit in an image of 24
                total += (12 * (moved[i, k, axis] - again[i, k, axis]).item()) ** 2
    value = seqmt.equivariance_loss(moved, again, 24).item()
    assert value == pytest.approx(total / (2 * 2))

    class Fixed(SeqMt):  # always the same answers, so that the loss can be written out
        def landmarks(self, images):
            return torch.tensor([[[0.5, 0.0], [-0.25, 0.5]]]).repeat(len(images), 1, 1)

    method = Fixed(SMALL)
    method.weights = {"class": 0.0, "landmark": 0.0, "equivariance": 1.0}
    batch = Shapes(24).batch(range(4))
    batch["labelled"] = torch.tensor([True, False, True, False])
    method.generator.manual_seed(5)
    loss = method.losses(batch)["equivariance"].item()
    warp = seqmt_affine(4, "blocks", torch.Generator().manual_seed(5))
    points, total = method.landmarks(batch["image"]), 0.0
    for i in (1, 3):  # those without landmarks; the others count in N alone
        a, b = warp.matrix[i].numpy(), points[i].numpy()
        for k in range(2):
            there = a[:, :2] @ b[k] + a[:, 2]
            total += ((12 * (there - b[k])) ** 2).sum()
    assert loss == pytest.approx(total / (4 * 2), rel=1e-4)


def test_the_warp_of_an_image_does_not_depend_on_who_has_labels():
    seen = []

    class Watching(SeqMt):
        def move(self, points, warp):
            seen.append(warp.matrix)
            return super().move(points, warp)

    torch.manual_seed(0)
    method, batch = Watching(SMALL), Shapes(24).batch(range(4))
    method.weights = {"class": 0.0, "landmark": 0.0, "equivariance": 1.0}
    for labelled in ([False] * 4, [True, False, True, False]):
        batch["labelled"] = torch.tensor(labelled)
        method.generator.manual_seed(1)
        method.losses(batch)
    assert torch.equal(seen[0][[1, 3]], seen[1])


def test_equivariance_uses_unlabelled_images_or_all():
    batch = Shapes(24).batch(range(6))
    everything = small(equivariance=1.0).losses(batch)["equivariance"]
    assert everything > 0
    batch["labelled"] = torch.tensor([True] * 5 + [False])
    one = small(equivariance=1.0).losses(batch)["equivariance"]
    assert 0 < one < everything
    batch["labelled"] = torch.ones(6, dtype=torch.bool)
    assert small(equivariance=1.0).losses(batch)["equivariance"] == 0
    method = small(equivariance=1.0)  # 300-W: with or without labels
    method.config = replace(SMALL, elt_images="all")
    torch.testing.assert_close(method.losses(batch)["equivariance"], everything)


def test_live_knobs_act_at_once():
    method, batch = small(), Blocks(24).batch(range(4))
    method.beta = 1e-6
    torch.testing.assert_close(
        method.landmarks(batch["image"]), torch.zeros(4, 2, 2), atol=1e-4, rtol=0
    )
    with pytest.raises(ValueError, match="nothing to train"):
        method.losses(Shapes(24).batch(range(2)))


def test_dropout_spares_the_last_layer():
    layers = mlp((4, 8, 8, 3), dropout=0.5)
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]


def test_comparing_start_is_bright_on_shapes_and_blind_to_a_common_shift():
    torch.manual_seed(0)
    method = SeqMt(replace(SMALL, start="comparing"))
    batch = Shapes(24).batch(range(16))
    with torch.no_grad():
        scores = method.scores(batch["image"])
    on = (scores * batch["mask"].amax(1, keepdim=True)).sum() / batch["mask"].sum()
    off = 1 - batch["mask"].amax(1, keepdim=True)
    assert on > 2 * (scores * off).sum() / off.sum()
    points = torch.rand(4, 2, 2)
    shifted = method.heads["label"][0](points.flatten(1) + 0.3)
    torch.testing.assert_close(shifted, method.heads["label"][0](points.flatten(1)))
    plain = SeqMt(SMALL)  # negative control
    moved = plain.heads["label"][0](points.flatten(1) + 0.3)
    assert (moved - plain.heads["label"][0](points.flatten(1))).abs().max() > 0.01


@pytest.mark.parametrize("channels", [8, 4])
def test_a_mirrored_stack_starts_as_one_linear_map(channels):
    def curvature(start):
        torch.manual_seed(0)
        config = replace(SMALL, kernels=(3,) * 6, channels=channels, start=start)
        maps = SeqMt(config).maps.double()
        a, b = torch.randn(2, 3, 1, 24, 24, dtype=torch.float64)
        with torch.no_grad():
            bend = maps(a + b) - maps(a) - maps(b)
            return (bend.abs().max() / maps(a).abs().max()).item()

    assert curvature("mirrored") < 1e-12
    assert curvature("plain") > 0.1  # negative control


def test_a_mirrored_rcn_starts_as_one_linear_map_without_its_poolings(monkeypatch):
    monkeypatch.setattr("lmlib.layers.local_contrast", lambda images: images)
    monkeypatch.setattr(F, "max_pool2d", F.avg_pool2d)

    def curvature(start):
        torch.manual_seed(0)
        config = replace(SMALL, trunk="rcn", levels=2, channels=8, start=start)
        maps = SeqMt(config).maps.double()
        a, b = torch.randn(2, 3, 1, 24, 24, dtype=torch.float64)
        with torch.no_grad():
            bend = maps(a + b) - maps(a) - maps(b)
            return (bend.abs().max() / maps(a).abs().max()).item()

    assert curvature("mirrored") < 1e-12
    assert curvature("plain") > 0.1  # negative control


def test_a_mirrored_start_takes_odd_channels():
    weights = SeqMt(replace(SMALL, channels=5, start="mirrored")).maps[0].weight
    torch.testing.assert_close(weights[2:4], -weights[:2])
    with pytest.raises(ValueError, match="start must be one of"):
        SeqMt(replace(SMALL, start="upside-down"))


def test_classes_pull_on_landmarks_only_when_told_to():
    method, batch = small(**{"class": 1.0}), Shapes(24).batch(range(4))
    for pulls in (True, False):
        method.class_pulls = pulls
        method.zero_grad()
        method.losses(batch)["class"].backward()
        assert method.heads["label"][0].weight.grad.abs().max() > 0
        moved = method.maps[0].weight.grad
        assert (moved is not None and moved.abs().max() > 0) == pulls


def test_terms_wait_for_the_landmark_term_where_there_is_one():
    def acting(share, **changes):
        method = SeqMt(replace(SMALL, elt_delay=0.25, class_delay=0.5, **changes))
        method.at(share)
        return method.elt_acts, method.class_pulls

    shares = (0.0, 0.25, 0.5)
    with_landmarks = [acting(share, weight_landmark=1.0) for share in shares]
    assert with_landmarks == [(False, False), (True, False), (True, True)]
    assert acting(0.0, weight_landmark=0.0) == (True, True)
    method, batch = small(landmark=1.0, equivariance=1.0), Blocks(24).batch(range(4))
    batch["landmarks"] = batch["landmarks"][:, :2]
    batch["visible"] = batch["visible"][:, :2]
    batch["labelled"] = torch.tensor([True, True, False, False])
    method.elt_acts = False
    assert set(method.losses(batch)) == {"landmark"}
    method.elt_acts = True
    assert set(method.losses(batch)) == {"landmark", "equivariance"}


@pytest.mark.parametrize("size", [(60, 60), (13, 20), (5, 7)])
def test_the_large_kernels_spectra_give_the_convolution_and_its_gradients(size):
    torch.manual_seed(0)
    layer = LargeKernelConv2d(8, 3, 9, padding=4).double()
    images = torch.randn(2, 8, *size, dtype=torch.float64, requires_grad=True)
    parts = (images, *layer.parameters())
    plain = F.conv2d(images, layer.weight, layer.bias, padding=4)
    weights = torch.randn_like(plain)
    ours = layer(images)
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(
        torch.autograd.grad((ours * weights).sum(), parts),
        torch.autograd.grad((plain * weights).sum(), parts),
    )


def test_blocks_own_network_takes_the_large_kernels_way():
    kinds = [type(layer) for layer in SeqMt(SeqMtConfig.blocks()).maps]
    assert kinds.count(LargeKernelConv2d) == 5  # of six 9x9: the first has one input


@pytest.mark.parametrize(("contrast", "gain"), [(0.3, 1.5), (0.0, 1.0)])
def test_contrast_says_how_steep_scores_begin(contrast, gain):
    config = replace(SeqMtConfig.shapes_class(), contrast=contrast, beta=0.2)
    method = SeqMt(config).eval()
    images = torch.rand(2, config.image_channels, config.size, config.size)
    assert_close(method.scores(images), gain * method.maps(images))


def test_a_configuration_takes_the_landmarks_of_the_data():
    config = replace(SeqMtConfig.shapes_class(), weight_class=0.0)
    batch = {"landmarks": torch.zeros(4, 7, 2)}
    assert SeqMt.suited(config, batch) == replace(config, landmarks=7)
    with pytest.raises(ValueError, match="no landmarks, which seqmt learns from"):
        SeqMt.suited(config, {"image": torch.zeros(4, 1, 8, 8)})
