"""DLAN: its modules against independent formulations, and what each must do."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from scipy.spatial import ConvexHull
from torch import nn

from lmlib.checkpoints import load_checkpoint, save_checkpoint
from lmlib.evaluation import nme
from lmlib.geometry import from_pixels
from lmlib.landmarker import load
from lmlib.layers import parameter_count
from lmlib.methods import dlan
from lmlib.methods.dlan import (
    VGG16,
    Dlan,
    DlanConfig,
    Trunk,
    compose,
    dilated,
    frame_area,
    frame_corners,
    gradients,
    hull_area,
    mirrored,
    regression_loss,
    scale_loss,
    select,
    to_image,
    transform,
)
from lmlib.places import repository_root
from lmlib.samples import Stored
from lmlib.training import fit

SMALL = replace(
    DlanConfig.garments64(),
    size=32,
    strides=False,
    stages=((4,), (6,), (6,), (8,), (8,)),
    hidden=(16,),
    patch=4,
    landmarks=4,
)


def affine(generator, *shape):
    """Frames inside of the image, turned and sheared a little."""
    noise = torch.randn(*shape, 2, 3, generator=generator)
    return torch.eye(2, 3) * 0.5 + 0.2 * noise


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def batch(generator):
    """Four landmarks an image: some occluded, two that a garment does not have."""
    points = torch.rand(6, 4, 2, generator=generator) * 1.6 - 0.8
    seen = torch.rand(6, 4, generator=generator) < 0.8
    points[2, 1:] = torch.nan
    seen[2, 1:] = False
    image = torch.rand(6, 3, 32, 32, generator=generator)
    return {"image": image, "landmarks": points, "visible": seen,
            "index": torch.arange(6)}  # fmt: skip


# ---- selective dilated convolution ---------------------------------------------------


@pytest.mark.parametrize("rate", [1, 2, 3, 4])
def test_a_tower_is_the_filter_bank_for_a_larger_image(rate, generator):
    conv = nn.Conv2d(3, 5, 3, padding=1)
    small = torch.randn(2, 3, 9, 9, generator=generator)
    large = small.repeat_interleave(rate, 2).repeat_interleave(rate, 3)
    for start in range(rate):  # any cell of a block will do
        seen = dilated(conv, large, rate)[:, :, start::rate, start::rate]
        torch.testing.assert_close(seen, conv(small))


def test_a_dilated_convolution_is_one_with_zeros_between_its_weights(generator):
    conv, rate = nn.Conv2d(2, 3, 3), 4
    spread = torch.zeros(3, 2, 2 * rate + 1, 2 * rate + 1)
    spread[:, :, ::rate, ::rate] = conv.weight
    x = torch.randn(1, 2, 12, 12, generator=generator)
    expected = F.conv2d(x, spread, conv.bias, padding=rate)
    torch.testing.assert_close(dilated(conv, x, rate), expected)


@pytest.mark.parametrize("start", ["conv1", "conv4", "conv5"])
def test_towers_share_weights_and_differ_from_where_they_start(start, batch):
    torch.manual_seed(0)
    trunk = Trunk(replace(SMALL, dilate_from=start))
    reach = {}
    for tower, rate in enumerate(trunk.towers):
        x = torch.rand(1, 3, 64, 64, requires_grad=True)
        maps = trunk(x)
        assert maps.shape == (1, 3, 8, 16, 16)
        maps[0, tower, :, 8, 8].sum().backward()
        hit = x.grad[0].abs().sum(0) > 0
        reach[rate] = int(hit.any(0).nonzero().max() - hit.any(0).nonzero().min()) + 1
    assert reach[1] < reach[2]
    plain = Trunk(replace(SMALL, towers=(1,)))
    plain.load_state_dict(trunk.state_dict())  # no weights more for more towers
    torch.testing.assert_close(plain(batch["image"])[:, 0], trunk(batch["image"])[:, 0])


def test_earlier_dilation_sees_further():
    """conv5 alone: 16 px more for each doubling; all convolutions: more."""

    def reach(start):
        trunk = Trunk(replace(SMALL, size=96, towers=(4,), dilate_from=start))
        for weight in trunk.parameters():  # no dead ReLU
            nn.init.constant_(weight, 0.1)
        x = torch.ones(1, 3, 96, 96, requires_grad=True)
        trunk(x)[0, 0, 0, 12, 12].backward()
        columns = (x.grad[0].abs().sum((0, 1)) > 0).nonzero()
        return int(columns.max() - columns.min()) + 1

    assert reach("conv5") < reach("conv4") < reach("conv1")


def test_the_trunk_is_its_convolutions_relus_and_poolings(batch):
    trunk = Trunk(replace(SMALL, towers=(1,), stages=((4, 4), (6,), (6,), (8,), (8,))))
    x = batch["image"]
    for number, convs in enumerate(trunk.stages):
        for conv in convs:
            x = F.relu(conv(x))
        x = F.max_pool2d(x, 2) if number < 2 else x
    torch.testing.assert_close(trunk(batch["image"])[:, 0], x)


def test_strides_take_the_place_of_poolings(batch):
    trunk = Trunk(replace(SMALL, towers=(1,), strides=True))
    x = batch["image"]
    for number, (conv,) in enumerate(trunk.stages):
        x = F.relu(conv(x))
        assert conv.stride == ((2, 2) if number < 2 else (1, 1))
    assert x.shape == (6, 8, 8, 8)
    torch.testing.assert_close(trunk(batch["image"])[:, 0], x)


def test_the_winning_tower_alone_learns(generator):
    towers = torch.randn(1, 3, 2, 4, 4, generator=generator).requires_grad_()
    best = select(towers)
    assert torch.equal(best, towers.max(1).values)
    best.sum().backward()
    assert torch.equal(towers.grad.sum(1), torch.ones(1, 2, 4, 4))
    assert torch.equal(towers.grad.argmax(1), towers.argmax(1))
    torch.testing.assert_close(select(towers, "average"), towers.sum(1) / 3)


def test_winners_name_towers(batch):
    torch.manual_seed(0)
    method = Dlan(SMALL).eval()
    with torch.no_grad():
        chosen = method.winners(batch["image"])
        maps = method.tower_maps(batch["image"])
        found = maps.gather(1, chosen[:, None]).squeeze(1)
        assert torch.equal(found, method.features(batch["image"]))
    assert len(chosen.unique()) == 3


# ---- transformer ---------------------------------------------------------------------


def test_a_frame_shows_what_it_frames(generator):
    """What the maps say at ``Theta p`` is what a frame's cell at ``p`` holds."""
    line = torch.linspace(-1, 1, 33)[:-1] + 1 / 32  # centres of 32 cells
    maps = torch.stack(torch.meshgrid(line, line, indexing="xy"))[None].repeat(
        2, 1, 1, 1
    )
    first = [[0.3, 0.1, 0.2], [-0.1, 0.4, -0.3]]
    theta = torch.tensor([first, [[0.5, 0.0, -0.4], [0.0, 0.2, 0.1]]])
    theta = theta.expand(2, 2, 2, 3)
    patches = transform(maps, theta, 6)
    assert patches.shape == (2, 2, 2, 6, 6)
    cells = torch.stack(torch.meshgrid(*[(2 * torch.arange(6.0) + 1) / 6 - 1] * 2,
                                       indexing="xy"))  # fmt: skip
    ones = torch.ones(1, 6, 6)
    expected = torch.einsum("fpq,qyx->fpyx", theta[0], torch.cat([cells, ones]))
    torch.testing.assert_close(patches[1], expected, atol=1e-5, rtol=0)


def test_the_identity_is_the_whole_map(generator):
    maps = torch.randn(2, 3, 8, 8, generator=generator)
    still = torch.eye(2, 3).expand(2, 1, 2, 3)
    torch.testing.assert_close(transform(maps, still, 8)[:, 0], maps)
    halved = F.avg_pool2d(maps, 2)  # cells of half the number lie between four
    torch.testing.assert_close(transform(maps, still, 4)[:, 0], halved)
    away = torch.tensor([[[1.0, 0, 4], [0, 1, 0]]]).expand(2, 1, 2, 3)
    assert transform(maps, away, 4).abs().max() == 0


def test_a_spot_is_found_through_its_frame(generator):
    """The convention, end to end: a bright pixel, seen in a frame, goes back there."""
    maps = torch.zeros(1, 1, 64, 64)
    maps[0, 0, 40, 22] = 1
    truth = from_pixels(torch.tensor([22.0, 40.0]), (64, 64))
    theta = torch.tensor([[[[0.4, 0.05, -0.2], [-0.1, 0.3, 0.3]]]])
    patch = transform(maps, theta, 200)[0, 0, 0]
    rows, columns = torch.meshgrid(*[torch.arange(200.0)] * 2, indexing="ij")
    middle = torch.stack([(patch * columns).sum(), (patch * rows).sum()]) / patch.sum()
    relative = from_pixels(middle, (200, 200))
    found = to_image(theta, relative[None, None, None]).squeeze()
    torch.testing.assert_close(found, truth, atol=2e-3, rtol=0)


def test_frames_compose_as_matrices(generator):
    old, move = affine(generator, 3, 1), affine(generator, 3, 4)
    last = torch.tensor([0.0, 0.0, 1.0]).expand(3, 4, 1, 3)
    both = [torch.cat([x.expand(3, 4, 2, 3), last], 2) for x in (old, move)]
    torch.testing.assert_close(compose(old, move), (both[0] @ both[1])[:, :, :2])
    points = torch.rand(3, 4, 5, 2, generator=generator)
    chained = to_image(old, to_image(move, points))
    torch.testing.assert_close(to_image(compose(old, move), points), chained)


def test_area_and_corners_of_frames(generator):
    theta = affine(generator, 5, 3)
    corners = frame_corners(theta)
    x, y = corners.unbind(-1)
    shoelace = 0.5 * (x * y.roll(-1, 2) - x.roll(-1, 2) * y).sum(2)
    torch.testing.assert_close(frame_area(theta), shoelace)
    still = frame_corners(torch.eye(2, 3).expand(1, 1, 2, 3))
    assert still[0, 0].tolist() == [[-1, -1], [1, -1], [1, 1], [-1, 1]]
    mirror = torch.tensor([[[[-1.0, 0, 0], [0, 1, 0]]]])
    assert frame_area(mirror).item() == -4


# ---- losses --------------------------------------------------------------------------


def test_hull_areas_are_those_of_scipy(generator):
    points = torch.rand(200, 8, 2, generator=generator) * 2 - 1
    there = torch.rand(200, 8, generator=generator) < 0.6
    points[~there] = torch.nan
    area = hull_area(points, there)
    for own, seen, found in zip(points, there, area, strict=True):
        if seen.sum() < 3:
            assert found.isnan()
        else:
            expected = ConvexHull(own[seen].numpy()).volume
            assert found.item() == pytest.approx(expected, rel=1e-5)
    assert (there.sum(1) < 3).any()


def test_hull_areas_of_points_on_lines_and_on_each_other():
    square = [[0, 0], [1, 0], [1, 1], [0, 1]]
    for more in ([0.5, 0], [0, 0.25], [0, 0], [1, 1], [0.5, 0.5]):
        points = torch.tensor([[*square, more, more, [0.75, 1], [0.25, 1]]])
        for roll in range(8):
            area = hull_area(points.roll(roll, 1), torch.ones(1, 8, dtype=torch.bool))
            assert area.item() == 1
    line = torch.tensor([[[0.0, 0], [0.5, 0.5], [1, 1], [0.25, 0.25]]])
    assert hull_area(line, torch.ones(1, 4, dtype=torch.bool)).item() == 0
    one = torch.zeros(1, 4, 2)
    assert hull_area(one, torch.ones(1, 4, dtype=torch.bool)).isnan()


def test_hidden_landmarks_teach_nothing(batch):
    points = torch.zeros(6, 4, 2, requires_grad=True)
    loss = regression_loss(points, batch["landmarks"], batch["visible"])
    loss.backward()
    seen = batch["visible"]
    assert (points.grad[~seen] == 0).all() and (points.grad[seen] != 0).any()
    each = 0.5 * batch["landmarks"][seen].square().sum() / 6
    torch.testing.assert_close(loss.detach(), each)


def test_the_scale_term_asks_for_a_share_of_the_hull(generator):
    """Following its gradient alone, frames end with lambda times the hull's area."""
    theta = affine(generator, 1, 4).requires_grad_()
    hull, there = torch.tensor([1.5]), torch.tensor([[True, True, True, False]])
    before = theta.detach().clone()
    optimizer = torch.optim.SGD([theta], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        scale_loss(theta, hull, 0.4, there).backward()
        optimizer.step()
    area = frame_area(theta.detach())[0]
    torch.testing.assert_close(area[:3], torch.full((3,), 0.6), atol=1e-3, rtol=0)
    assert torch.equal(theta.detach()[0, 3], before[0, 3])  # no such landmark
    unknown = scale_loss(theta, torch.tensor([torch.nan]), 0.4, there)
    assert unknown == 0


def test_printed_gradients_corrected_are_those_of_autograd(batch, generator):
    truth, seen = batch["landmarks"].double(), batch["visible"]
    theta = affine(generator, 6, 4).double().requires_grad_()
    relative = torch.randn(6, 4, 2, generator=generator).double().requires_grad_()
    there = truth.isfinite().all(-1)
    hull = hull_area(truth, there)
    assert hull.isnan().any() and hull.isfinite().any()
    found = to_image(theta, relative[:, :, None]).squeeze(2)
    loss = regression_loss(found, truth, seen) + scale_loss(theta, hull, 0.4, there)
    (6 * loss).backward()
    by_place, by_theta = gradients(theta.detach(), relative.detach(), truth, seen, hull,
                                   0.4)  # fmt: skip
    torch.testing.assert_close(by_place, relative.grad)
    torch.testing.assert_close(by_theta, theta.grad)


def test_gradients_of_a_frame_without_area_are_finite():
    theta = torch.zeros(1, 1, 2, 3)
    ones = torch.ones(1, 1, dtype=torch.bool)
    point = torch.zeros(1, 1, 2)
    found = gradients(theta, point, point, ones, torch.ones(1), 0.4)
    assert all(part.isfinite().all() for part in found)


# ---- the network ---------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
@pytest.mark.parametrize("shared", [False, True])
def test_frames_start_as_the_whole_image(steps, shared, batch):
    torch.manual_seed(0)
    method = Dlan(replace(SMALL, attention_steps=steps, shared=shared))
    trace = method.trace(batch["image"])
    assert len(trace) == steps + 1
    still = torch.eye(2, 3).expand(6, 4, 2, 3)
    for number, step in enumerate(trace):
        assert torch.equal(step.theta, still)
        assert step.boxes.shape == (6, 4, 4, 2)
        assert step.patches.shape == (6, 4 if number > 1 else 1, 8, 4, 4)
        assert torch.equal(step.relative, step.landmarks)
    assert torch.equal(trace[-1].landmarks, method.landmarks(batch["image"]))


def moved(config):
    """A network whose frames have left the identity."""
    torch.manual_seed(1)
    method = Dlan(config).eval()
    for look in method.looks:
        if look.move:
            nn.init.normal_(look.move.weight, std=0.05)
    return method


def test_steps_follow_from_one_another(batch):
    method = moved(SMALL)
    with torch.no_grad():
        maps = method.features(batch["image"])
        trace = method.trace(batch["image"])
        for number, step in enumerate(trace):
            patches = transform(maps, step.theta, 4)
            shown = step.patches.expand_as(patches)
            torch.testing.assert_close(shown, patches)  # always cut from F_conv
            found = to_image(step.theta, step.relative[:, :, None]).squeeze(2)
            torch.testing.assert_close(step.landmarks, found)
            if number < 3:
                move = method.looks[number](step.patches)[1]
                after = compose(step.theta, move).expand(6, 4, 2, 3)
                torch.testing.assert_close(trace[number + 1].theta, after)
    one = trace[1].theta
    assert torch.equal(one, one[:, :1].expand_as(one))  # global, then for each
    assert (trace[2].theta[:, 0] != trace[2].theta[:, 1]).any()


def test_without_hierarchy_all_landmarks_share_their_frame(batch):
    trace = moved(replace(SMALL, hierarchy=False)).trace(batch["image"])
    for step in trace:
        assert torch.equal(step.theta, step.theta[:, :1].expand_as(step.theta))
    assert (trace[3].theta != trace[2].theta).any()


def test_places_are_in_the_image_where_they_are_not_relative(batch):
    step = moved(replace(SMALL, relative=False)).trace(batch["image"])[-1]
    assert torch.equal(step.landmarks, step.relative)
    assert (step.theta != torch.eye(2, 3)).any()


def test_terms_are_those_of_the_configuration(batch):
    def terms(**changes):
        return Dlan(replace(SMALL, **changes)).losses(batch)

    assert set(terms()) == {"landmark", "earlier", "scale"}
    assert set(terms(scale=0.0)) == {"landmark", "earlier"}
    assert set(terms(deep=0.0)) == {"landmark", "scale"}
    assert set(terms(attention_steps=1)) == {"landmark", "earlier"}
    assert set(terms(attention_steps=0)) == {"landmark"}
    one, two = terms()["scale"], terms(scale_on="local")["scale"]
    torch.testing.assert_close(two, 2 * one)  # both frames are the whole image yet
    late = Dlan(replace(SMALL, scale_delay=0.5))
    late.at(0.4)
    assert "scale" not in late.losses(batch)
    late.at(0.5)
    assert "scale" in late.losses(batch)


def test_every_weight_learns_and_images_without_labels_do_not_teach(batch):
    method = moved(SMALL).train()
    sum(method.losses(batch).values()).backward()
    for name, weight in method.named_parameters():
        assert weight.grad.isfinite().all() and weight.grad.abs().max() > 0, name
    none = torch.zeros(6, dtype=torch.bool)
    assert sum(method.losses(batch | {"labelled": none}).values()) == 0
    first = none.clone()
    first[0] = True
    alone = {name: value[:1] for name, value in batch.items()}
    both = (
        sum(method.losses(x).values()) for x in (batch | {"labelled": first}, alone)
    )
    torch.testing.assert_close(6 * next(both), next(both))


@pytest.mark.parametrize("where", ["last", "chain", "local"])
def test_the_scale_term_pulls_on_the_moves_it_is_told(where, batch, monkeypatch):
    cut = transform  # what a frame shows shall not pull on it here
    monkeypatch.setattr(dlan, "transform", lambda m, t, side: cut(m, t.detach(), side))
    method = moved(replace(SMALL, scale_on=where))
    method.losses(batch)["scale"].backward()
    moves = [look.move.weight.grad for look in method.looks[:-1]]
    pulled = [grad is not None and bool(grad.any()) for grad in moves]
    assert pulled == {"last": [False, False, True]}.get(where, [True] * 3)
    steps = method.trace(batch["image"])
    frames = method.scaled_frames(steps)
    torch.testing.assert_close(frames[-1], steps[-1].theta)
    assert len(frames) == (2 if where == "local" else 1)


def test_cut_off_landmarks_are_not_part_of_the_hull(batch):
    method = moved(SMALL)
    code = torch.where(batch["visible"], 0, 2)
    code[:3] = 2
    with_codes = method.losses(batch | {"code": code})["scale"]
    assert with_codes < method.losses(batch)["scale"]


def test_mirrored_images_have_mirrored_landmarks(batch):
    half = torch.tensor([True, False, True, False, True, False])
    code = torch.arange(24).view(6, 4)
    turned = mirrored(batch | {"code": code}, half)
    assert torch.equal(turned["image"][0], batch["image"][0].flip(-1))
    assert torch.equal(turned["image"][1], batch["image"][1])
    assert turned["code"][0].tolist() == [1, 0, 3, 2]
    assert turned["code"][1].tolist() == [4, 5, 6, 7]
    was, now = batch["landmarks"][0], turned["landmarks"][0]
    torch.testing.assert_close(now[0], was[1] * torch.tensor([-1.0, 1.0]))
    assert torch.equal(turned["visible"][0], batch["visible"][0][[1, 0, 3, 2]])
    again = mirrored(turned, half)
    assert torch.equal(
        again["landmarks"].nan_to_num(9), batch["landmarks"].nan_to_num(9)
    )


def test_the_paper_size_is_that_of_vgg():
    config = DlanConfig.paper()
    with torch.device("meta"):
        method = Dlan(config)
        maps = method.trunk(torch.zeros(1, 3, 512, 512))
    assert maps.shape == (1, 4, 512, 32, 32)
    # VGG-16's thirteen convolutions, and fc6 and fc7, once for all steps
    assert parameter_count(method.trunk) == 14_714_688
    assert parameter_count(method.looks[0].layers) == 102_764_544 + 16_781_312
    assert method.looks[0].layers is method.looks[3].layers
    assert sum(map(len, VGG16)) == 13
    thin = Dlan(DlanConfig.garments64())
    assert parameter_count(thin.trunk) < 300_000


@pytest.mark.parametrize(
    "change, message",
    [
        ({"towers": ()}, "towers are rates"),
        ({"towers": (0, 1)}, "towers are rates"),
        ({"patch": 5}, "patch even"),
        ({"stages": ((4,), (4,))}, "conv1 to conv5"),
        ({"stages": ((4,), (), (4,), (4,), (4,))}, "conv1 to conv5"),
        ({"pooled": 5}, "pooled must be"),
        ({"image_channels": 1}, "reads colours"),
        ({"deep": -1.0}, "must not be negative"),
        ({"select": "median"}, "one of 'max', 'average'"),
    ],
)
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


def test_a_network_survives_its_file(batch, tmp_path):
    method = moved(SMALL)
    save_checkpoint(tmp_path / "a.safetensors", method)
    other = Dlan(SMALL).eval()
    load_checkpoint(tmp_path / "a.safetensors", other)
    torch.testing.assert_close(
        other.landmarks(batch["image"]), method.landmarks(batch["image"])
    )


def test_scenes_of_discs_are_learned():
    """Two coloured discs: after a short training their centres are found much better
    than by their mean places, and the last frames are about as large as asked."""
    sizes = {"stages": ((8,), (8,), (8,), (16,), (16,)), "hidden": (32,)}
    config = replace(SMALL, landmarks=3, lr=3e-3, warm_up=20, **sizes)
    data = discs(600)
    torch.manual_seed(0)
    method = Dlan(config)
    history = fit(method, data, range(500), 300, progress=False, device="cpu")
    assert history[-1]["loss"] < 0.3 * history[0]["loss"]
    test = data.batch(range(500, 600))
    with torch.no_grad():
        trace = method.eval().trace(test["image"])
    truth = test["landmarks"]
    blind = data.all["landmarks"][:500].mean(0).expand_as(truth)
    error = nme(trace[-1].landmarks, truth, normaliser="image_edge")
    assert error < 0.4 * nme(blind, truth, normaliser="image_edge")
    wanted = 0.4 * hull_area(truth, torch.ones(100, 3, dtype=torch.bool))
    area = frame_area(trace[-1].theta).mean(1)
    assert (area - wanted).abs().mean() < 0.1
    errors = [nme(s.landmarks, truth, normaliser="image_edge") for s in trace]
    assert error < 0.8 * errors[0]  # looking closer helps


def discs(count):
    """Red, green and blue discs on black."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(count, 3, 2, generator=generator) * 1.4 - 0.7
    line = (2 * torch.arange(32.0) + 1) / 32 - 1
    place = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    away = (place - points[:, :, None, None]).norm(dim=-1)
    return Stored.of({
        "image": (away < 0.2).float(), "landmarks": points,
        "visible": torch.ones(count, 3, dtype=torch.bool),
    })  # fmt: skip


def test_the_presets_are_what_was_trained():
    """Rows and networks that ship would otherwise no longer be of the preset."""
    kept = repository_root() / "data" / "checkpoints"
    for name, config in (
        ("dlan-ladder_DLAN", DlanConfig.garments64()),
        ("dlan-garments128_DLAN_gallery", DlanConfig.garments128()),
    ):
        assert load(kept / f"{name}.safetensors", "cpu").config == config


def test_steps_of_a_training_follow_from_its_images():
    assert DlanConfig.garments64().steps_for(3000) == 8 * 3000 // 16
    assert DlanConfig.garments128().steps_for(4000) == 60 * 4000 // 16
    assert DlanConfig.garments64().steps_for(1) == 1
