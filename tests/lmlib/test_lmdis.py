"""LMDIS: its losses against loops, its units, its warps' direction, its schedules."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import check_grad

from benchmarks.lmdis import plain_losses
from lmlib.checkpoints import load_checkpoint, save_checkpoint
from lmlib.geometry import Affine, Flow, pixel_grid
from lmlib.layers import Ladder, Rungs, parameter_count
from lmlib.methods import lmdis
from lmlib.methods.lmdis import Lmdis, LmdisConfig
from lmlib.methods.lmdis_config import DETECTOR
from lmlib.samples import Stored
from lmlib.training import fit, recompute_statistics
from lmscenes import Faces

SMALL = replace(
    LmdisConfig.faces_class(),
    landmarks=4,
    size=16,
    canvas=24,
    detector=Rungs.mirrored(6, 8, 8),
    features=Rungs.mirrored(6, 8, 8),
    decoder=Rungs.mirrored(6, 8, 8),
    shared=6,
    unpooled=5,
    descriptor=3,
)
EDGE = torch.tensor([0.5, 0.5])


def make(config=SMALL, seed=0):
    torch.manual_seed(seed)
    return Lmdis(config)


def images(count=3, config=SMALL, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, config.image_channels, config.size, config.size)
    coarse = torch.rand(*shape[:2], 5, 5, generator=generator)
    return F.interpolate(coarse, shape[2:], mode="bicubic").clamp(0, 1)


# --- networks -------------------------------------------------------------------------


def test_networks_are_as_large_as_the_released_ones():
    method = Lmdis(LmdisConfig.celeba10())
    counts = [parameter_count(part) for part in (method.detector, method.features)]
    decoder = parameter_count(method.decoder) + method.unpool.weight.numel()
    millions = [round(count / 1e6, 1) for count in (*counts, decoder)]
    assert millions == [0.7, 4.7, 14.4]  # notes, section 2: .68, 4.7, 14.4
    assert method.unpool.inputs == 375
    assert replace(LmdisConfig.human16(), landmarks=16).canvas == 192


def test_a_ladder_has_the_convolutions_of_figure_40():
    ladder = Ladder(3, DETECTOR, 11)
    convs = [m for m in ladder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convs) == 6 + 4 + 6 + 3 * 3  # down, bottom, up, three skips of three
    assert isinstance(ladder.up[-1][-1], torch.nn.BatchNorm2d)  # no LeakyReLU behind
    assert isinstance(
        Ladder(3, DETECTOR, 11, plain_end=False).up[-1][-1], torch.nn.LeakyReLU
    )


def test_sides_that_cannot_be_halved_are_named():
    with pytest.raises(ValueError, match="divisible by 8, got"):
        Ladder(3, DETECTOR, 2)(torch.rand(1, 3, 20, 16))


@pytest.mark.parametrize("name", LmdisConfig.presets())
def test_every_preset_has_sizes_that_fit(name):
    config = LmdisConfig.preset(name)
    poolings = len(config.detector.down) + config.half
    assert config.canvas % 2**poolings == 0 and config.size % 2 == 0
    assert (config.canvas - config.size) % 2 == 0
    assert all(0 < share < 1 < factor for share, factor in config.raised)
    assert all(0 < share < 1 and factor < 1 for share, factor in config.decay)


def test_an_unknown_preset_is_named():
    with pytest.raises(ValueError, match="unknown preset 'celeba11'"):
        LmdisConfig.preset("celeba11")


@pytest.mark.parametrize("name", ["animal10", "digits_class", "human16"])
def test_large_colourless_and_padded_networks_run(name):
    config = LmdisConfig.preset(name)
    small = Rungs.mirrored(4, 6, 6, 6)
    config = replace(config, detector=small, features=small)
    config = replace(config, decoder=Rungs.mirrored(4, 6, 6))
    method = make(config).eval()
    x = images(2, config)
    points, vectors = method.encode(x)
    assert points.shape == (2, config.landmarks, 2)
    assert (vectors is None) == (config.descriptor == 0)
    assert method.decode(points, vectors).shape == x.shape


# --- losses ---------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_losses_and_gradients_are_those_of_the_loops(share):
    method, batch = make().double(), {"image": images().double()}
    method.landmark_share = share
    found = []
    for losses in (Lmdis.losses, plain_losses):
        method.generator.manual_seed(5)
        method.zero_grad()
        terms = losses(method, batch)
        sum(terms.values()).backward()
        gradients = [p.grad.clone() for p in method.parameters() if p.grad is not None]
        found.append((terms, gradients))
    (ours, slopes), (plain, wanted) = found
    assert set(ours) == set(plain) and len(slopes) == len(wanted)
    for name in ours:
        torch.testing.assert_close(ours[name], plain[name], rtol=1e-6, atol=1e-9)
    # The margin is flat: which of its equal pixels a pooling takes is up to rounding.
    for ours_one, plain_one in zip(slopes, wanted, strict=True):
        torch.testing.assert_close(ours_one, plain_one, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("descriptor", [0, 3])
@pytest.mark.parametrize("half", [False, True])
def test_fast_unpooling_is_stacking_and_convolving(descriptor, half):
    config = replace(SMALL, aspect=2.0, descriptor=descriptor, half=half)
    torch.manual_seed(0)
    unpool = lmdis.Unpooling(config).double()
    points = (torch.rand(2, 4, 2).double() * 2 - 1).requires_grad_()
    vectors = torch.randn(2, 5, 3).double().requires_grad_() if descriptor else None
    leaves = [points, *unpool.parameters()] + [vectors] * bool(descriptor)
    slope = torch.randn(2, unpool.outputs, unpool.side, unpool.side).double()
    found = []
    for plain in (False, True):
        value = unpool(points, vectors, plain=plain)
        assert value.shape == slope.shape
        found.append([value, *torch.autograd.grad((value * slope).sum(), leaves)])
    for fast, plain in zip(*found, strict=True):
        assert plain.abs().max() > 1e-3  # there is something to compare
        torch.testing.assert_close(fast, plain)
    if descriptor:
        assert not torch.allclose(unpool(points, vectors.flip(1)), found[1][0])


def test_shares_at_a_landmark_are_those_of_the_equations():
    """Notes, section 3: 91, 84, 72, 56, 39 % in unit coordinates, the rest background
    (with one landmark)."""
    unpool = lmdis.Unpooling(
        replace(LmdisConfig.celeba10(), landmarks=1, size=160, canvas=192)
    )
    at = pixel_grid(160, 160)[80, 80].view(1, 1, 2)
    shares = unpool.maps(at)[0, :, 0, 80, 80]
    wanted = torch.tensor([0.91, 0.84, 0.72, 0.56, 0.39])
    torch.testing.assert_close(shares, wanted, rtol=0, atol=0.006)
    torch.testing.assert_close(unpool.maps(at).sum(2), torch.ones(1, 5, 160, 160))


def test_concentration_is_the_exponential_of_the_entropy():
    """Of a Gaussian with that variance in both directions, in image edges."""
    sigma = 0.07  # edges
    entropy = 1 + math.log(2 * math.pi * sigma**2)
    variances = torch.full((2, 1, 2), (2 * sigma) ** 2)
    found = lmdis.concentration(variances, EDGE)
    assert found == pytest.approx(math.exp(entropy), rel=1e-5)


def test_separation_counts_every_pair_twice_and_falls_with_distance():
    points = torch.tensor([[[0.0, 0], [0.2, 0], [0.2, 0]]])  # .1 edges apart, and 0
    wanted = 4 * math.exp(-(0.1**2) / (2 * 0.08**2)) + 2
    assert lmdis.separation(points, EDGE, 0.08) == pytest.approx(wanted, rel=1e-5)
    assert lmdis.separation(100 * points[:, :2], EDGE, 0.08) < 1e-6


def test_separation_pushes_apart():
    points = torch.tensor([[[-0.05, 0.0], [0.05, 0.0]]], requires_grad=True)
    lmdis.separation(points, EDGE, 0.08).backward()
    step = -points.grad[0, :, 0]
    assert step[0] < 0 < step[1]


def test_edges_of_a_squashed_image_have_area_one():
    edge = replace(SMALL, aspect=2.0).edge
    assert (2 * edge).prod() == pytest.approx(1) and edge[0] == 2 * edge[1]


def test_equivariance_is_zero_for_points_that_move_with_the_image():
    warp = Affine.from_parameters(
        torch.tensor([0.2]), torch.tensor([1.1]), torch.tensor([[0.1, -0.2]])
    )
    points = torch.rand(1, 6, 2) - 0.5
    moved = warp.points(points)
    assert lmdis.equivariance(points, warp.backward(moved), EDGE) < 1e-10
    assert lmdis.equivariance(points, warp.points(moved), EDGE) > 0.01  # wrong way


def test_a_detector_of_bright_dots_has_no_equivariance_loss():
    """A whole pass of ``losses`` with a perfect detector in place of the network: the
    canvas, both frames and the direction of the warp fit together."""
    config = replace(
        SMALL, landmarks=1, size=64, canvas=96, brightness=0.0, contrast=0.0
    )
    method = make(config)

    class Dots(torch.nn.Module):
        def forward(self, canvas):
            bright = 30 * (canvas.mean(1, keepdim=True) - 0.5)
            return torch.cat([bright, torch.zeros_like(bright)], 1)

    method.detector = Dots()
    method.weights |= {"reconstruction": 0.0, "equivariance": 1.0}
    grid = pixel_grid(64, 64)
    centre = torch.tensor([[0.3, -0.2], [-0.25, 0.1]]).view(2, 1, 1, 2)
    dots = torch.exp(-((grid - centre) ** 2).sum(-1) / 0.008)
    batch = {"image": dots.unsqueeze(1).expand(-1, 3, -1, -1)}
    points = method.landmarks(batch["image"])
    torch.testing.assert_close(points, centre.view(2, 1, 2), rtol=0, atol=0.02)
    method.generator.manual_seed(3)
    right = method.losses(batch)["equivariance"]
    assert right < 2e-4  # (1.4 % of the edge)^2
    method.generator.manual_seed(3)
    warp = method.warp(method.pad(batch["image"]))
    away = (warp.points(points / 1.5) - points / 1.5) * 0.75
    assert (away**2).sum((-2, -1)).mean() > 10 * right


def test_flow_is_followed_and_motion_preferred():
    points = torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]])
    flow = pixel_grid(32, 32).clone()
    flow[:, 16:, 0] += 0.2  # the right half moves to the right
    flow = flow[None]
    ahead = Flow(flow).backward(points)
    wanted = points + torch.tensor([[[0.0, 0], [0.2, 0]]])
    torch.testing.assert_close(ahead, wanted, rtol=0, atol=1e-6)
    where = [lmdis.motion(points[:, i : i + 1], flow, EDGE, 1 / 16) for i in (0, 1)]
    assert where[1] < where[0] <= 0  # lower where it moves


def test_motion_is_the_share_of_energy_under_the_gaussians():
    """Equation 16 by loops over pixels, on an image squashed to a square."""
    generator = torch.Generator().manual_seed(0)
    speed = 0.3 * torch.randn(2, 6, 8, 2, generator=generator)
    points = torch.rand(2, 3, 2, generator=generator) * 1.6 - 0.8
    edge, width = torch.tensor([0.7, 0.36]), 0.2
    total = 0.0
    for b in range(2):
        energy = np.zeros((6, 8))
        for y in range(6):
            for x in range(8):
                energy[y, x] = sum(
                    (speed[b, y, x, axis].item() * edge[axis].item()) ** 2
                    for axis in (0, 1)
                )
        for k in range(3):
            for y in range(6):
                for x in range(8):
                    dx = ((2 * x + 1) / 8 - 1 - points[b, k, 0].item()) * edge[0].item()
                    dy = ((2 * y + 1) / 6 - 1 - points[b, k, 1].item()) * edge[1].item()
                    near = math.exp(-(dx**2 + dy**2) / (2 * width**2))
                    total -= energy[y, x] / energy.sum() * near
    found = lmdis.motion(points, pixel_grid(6, 8) + speed, edge, width)
    assert found.item() == pytest.approx(total / 2, rel=1e-5)
    # Twice the speed is no more motion: what counts is where it is.
    faster = lmdis.motion(points, pixel_grid(6, 8) + 2 * speed, edge, width)
    assert faster.item() == pytest.approx(found.item(), rel=1e-5)


def test_video_adds_its_terms():
    method = make(replace(SMALL, weight_motion=10.0))
    flow = pixel_grid(16, 16).expand(3, -1, -1, -1) + 0.1
    batch = {"image": images(), "image2": images(seed=2), "flow": flow}
    terms = method.losses(batch)
    assert {"flow", "motion"} <= set(terms) and terms["motion"] < 0 < terms["flow"]
    assert {"flow", "motion"}.isdisjoint(method.losses({"image": images()}))


def test_terms_of_weight_zero_are_left_out():
    method = make()
    method.weights["reconstruction"] = 0.0
    terms = method.losses({"image": images()})
    assert set(terms) == {"concentration", "separation", "equivariance"}
    method.weights = dict.fromkeys(method.weights, 0.0)
    with pytest.raises(ValueError, match="all loss weights are zero"):
        method.losses({"image": images()})


def test_reconstruction_pulls_on_the_points():
    method, x = make().eval(), images()
    points, vectors = (t.detach() for t in method.encode(x))
    points.requires_grad_()
    (method.decode(points, vectors) - x).square().sum().backward()
    assert (points.grad.abs().amax(-1) > 1e-6).all()


def test_gradient_through_locate_is_that_of_finite_differences():
    method = make().double()
    scores = torch.randn(1, 5, 6, 6).double()

    def value(flat):
        maps = lmdis.detection_maps(torch.tensor(flat).view(1, 5, 6, 6), 4.0)
        points, variances = method.locate(maps)
        return float((points * torch.arange(8).view(1, 4, 2)).sum() + variances.sum())

    def slope(flat):
        x = torch.tensor(flat).view(1, 5, 6, 6).requires_grad_()
        points, variances = method.locate(lmdis.detection_maps(x, 4.0))
        weighted = (points * torch.arange(8).view(1, 4, 2)).sum() + variances.sum()
        return torch.autograd.grad(weighted, x)[0].flatten().numpy()

    assert check_grad(value, slope, scores.flatten().numpy()) < 1e-4


# --- canvas, start, schedules ---------------------------------------------------------


def test_the_margin_has_the_mean_colour_of_the_border():
    method, x = make(), images(1)
    canvas = method.pad(x)
    ring = [x[0, :, 0], x[0, :, -1], x[0, :, :, 0], x[0, :, :, -1]]
    torch.testing.assert_close(canvas[0, :, 0, 0], torch.cat(ring, 1).mean(1))
    torch.testing.assert_close(canvas[:, :, 4:-4, 4:-4], x)


def test_an_image_of_another_size_is_named():
    with pytest.raises(ValueError, match="images of 16 x 16 pixels, got"):
        make().landmarks(torch.rand(1, 3, 20, 20))


def test_landmarks_start_near_the_centre():
    """Claim 20: random maps spread over the whole canvas."""
    method = make(replace(LmdisConfig.faces_class(), sharpness=1.0))
    x = Faces(40).batch(range(8))["image"]
    assert method.landmarks(x).norm(dim=-1).max() < 0.35
    assert method.landmarks(x).std(0).max() < 0.15


def test_lambda_grows_and_landmark_warps_begin_late():
    method, c = make(), SMALL
    seen = []
    for progress in (0.0, 0.59, 0.6, 0.8, 1.0):
        method.at(progress)
        factor = method.weights["reconstruction"] / c.weight_reconstruction
        seen.append((round(factor), round(method.landmark_share, 3)))
    assert seen == [(1, 0.0), (1, 0.3), (10, 0.3), (50, 0.3), (50, 0.3)]
    method.at(0.35)
    assert method.landmark_share == pytest.approx(0.15)


def test_the_rate_warms_up_and_falls():
    method = make()
    rate = method.fit_options(1000).schedule
    rates = [rate(step) for step in (0, 49, 500, 800, 950)]
    assert rates == pytest.approx([1 / 50, 1, 1, 0.3, 0.09])


def test_either_warp_is_chosen_for_each_image():
    chosen = torch.tensor([True, False])
    zero, shift = torch.zeros(2), torch.tensor([[0.5, 0.0], [0.5, 0.0]])
    first = Affine.from_parameters(zero, zero + 1, shift)
    second = Affine.identity(2)
    both = lmdis._Either(chosen, first, second)
    at = both.backward(torch.zeros(2, 1, 2))
    torch.testing.assert_close(at[:, 0, 0], torch.tensor([-0.5, 0.0]))


# --- training -------------------------------------------------------------------------


def test_a_checkpoint_brings_back_the_network(tmp_path):
    method, x = make().eval(), images()
    save_checkpoint(tmp_path / "a.safetensors", method)
    other = make(seed=9).eval()
    load_checkpoint(tmp_path / "a.safetensors", other)
    torch.testing.assert_close(other.reconstruct(x), method.reconstruct(x))


def test_recomputed_statistics_are_means_over_the_batches():
    method = make()
    data = Stored.of({"image": images(8)})
    norm = method.detector.down[0][1]
    seen = []
    norm.register_forward_hook(lambda module, x, y: seen.append(x[0].mean((0, 2, 3))))
    before = [p.clone() for p in method.parameters()]
    recompute_statistics(method, data, data.indices, batches=3, batch_size=4)
    torch.testing.assert_close(norm.running_mean, torch.stack(seen).mean(0))
    assert norm.momentum == 0.1 and int(norm.num_batches_tracked) == 3
    assert all(map(torch.equal, before, method.parameters()))


def test_training_separates_the_landmarks():
    """In a few steps: with separation they leave the centre, without they stay."""
    data = Stored.of({"image": images(16)})
    places = {}
    for weight in (0.0, 200.0):
        method = make(replace(SMALL, weight_separation=weight))
        fit(method, data, data.indices, 40, batch_size=8, lr=5e-3, progress=False)
        points = method.landmarks(data.all["image"]).detach()
        places[weight] = lmdis.separation(points, EDGE, 0.08).item()
    print(places)
    assert places[200.0] < 0.5 * places[0.0]
