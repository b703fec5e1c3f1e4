"""The networks DVE is compared with, against closed forms and by what they must do."""

import pytest
import torch
import torch.nn.functional as F

from lmlib.geometry import pixel_grid
from lmlib.heatmaps import gaussian_maps, spatial_softmax
from lmlib.methods.dve import DveConfig, VirtualPoints
from lmlib.methods.dve_baselines import (
    SmallNetPlus,
    SparseLandmarks,
    alignment_loss,
    diversity_loss,
)
from lmlib.samples import Stored
from lmlib.training import fit
from lmscenes import Faces
from lmscenes.faces import five_points


def small(**options):
    torch.manual_seed(0)
    config = DveConfig(
        channels=6, widths=(4, 6, 8, 8, 16), frame=64, size=48, jitter=0.0
    )
    return SparseLandmarks(config, **options)


def test_alignment_is_the_double_sum_it_stands_for():
    generator = torch.Generator().manual_seed(0)
    maps = spatial_softmax(torch.randn(2 * 2, 3, 5, 4, generator=generator))
    first, second = maps.double().chunk(2)
    where = torch.rand(2, 20, 2, generator=generator).double() * 2 - 1
    cells = pixel_grid(5, 4, dtype=torch.float64).flatten(0, 1)
    total = 0.0
    for pair in range(2):
        for r in range(3):
            p, q = first[pair, r].flatten(), second[pair, r].flatten()
            apart = (where[pair][:, None] - cells[None]) * torch.tensor([2.0, 2.5])
            total += (p[:, None] * q[None] * apart.square().sum(-1)).sum()
    torch.testing.assert_close(alignment_loss(first, second, where), total / 6)


def test_alignment_vanishes_for_sharp_maps_that_move_along():
    cells = pixel_grid(8, 8).flatten(0, 1)
    shifted = cells.roll(-1, 0)  # cell i went to where cell i + 1 was
    one = F.one_hot(torch.tensor([[3, 20]]), 64).float().unflatten(2, (8, 8))
    other = one.flatten(2).roll(1, 2).unflatten(2, (8, 8))
    where = shifted.unsqueeze(0)
    assert alignment_loss(one, other, where).abs() < 1e-4
    assert alignment_loss(one, one, where) > 0.9  # a cell off


def test_diversity_counts_maps_in_the_same_window():
    apart = torch.zeros(1, 3, 10, 10)
    for r, (y, x) in enumerate([(1, 1), (1, 8), (8, 8)]):
        apart[0, r, y, x] = 1
    assert diversity_loss(apart, 5) == 0
    same = apart[:, :1].repeat(1, 3, 1, 1)
    assert diversity_loss(same, 5).item() == pytest.approx(2 / 3)
    assert diversity_loss(torch.ones(1, 3, 12, 12) / 144, 5) == pytest.approx(2 / 3)


def test_diversity_spreads_landmarks_and_without_it_they_clump():
    data = Stored(Faces(64, yaw=20.0), range(16))
    spread = {}
    for diversity in (0.0, 100.0):
        method = small(diversity=diversity)
        fit(
            method, data, range(16), 80, batch_size=8, lr=5e-3,
            device="cpu", progress=False,
        )  # fmt: skip
        with torch.no_grad():
            points = method.eval().landmarks(method.crop(data.all["image"]))
        spread[diversity] = torch.cdist(points, points).mean().item()
    assert spread[100.0] > 2 * spread[0.0]


def test_supervised_network_learns_its_labels():
    torch.manual_seed(0)
    faces = Faces(64, yaw=20.0).batch(range(16))
    points = five_points(faces["landmarks"])
    visible = torch.ones(16, 5, dtype=torch.bool)
    data = Stored.of({"image": faces["image"], "landmarks": points, "visible": visible})
    method = SmallNetPlus(5, widths=(4, 6, 8, 8, 16))
    fit(method, data, data.indices, 80, batch_size=16, lr=3e-3, progress=False,
        device="cpu")  # fmt: skip
    with torch.no_grad():
        off = (method.landmarks(faces["image"]) - points).norm(dim=-1).mean()
        apart = (points - points.mean(0)).norm(dim=-1).mean()
    assert off < 0.5 * apart
    assert method.eval().landmarks(torch.rand(2, 3, 48, 48)).shape == (2, 5, 2)


def test_same_loss_as_the_regressor_on_descriptors():
    generator = torch.Generator().manual_seed(1)
    head = VirtualPoints(4, 2, 3)
    features = torch.randn(3, 4, 6, 6, generator=generator)
    points = torch.rand(3, 2, 2, generator=generator)
    visible = torch.tensor([[True, False]] * 3)
    batch = {"image": features, "landmarks": points, "visible": visible}
    error = F.smooth_l1_loss(10 * head(features)[:, 0], 10 * points[:, 0])
    torch.testing.assert_close(head.losses(batch)["regression"], error / 2)


def test_gaussian_maps_are_found():
    method = small()
    centres = torch.tensor([[[-0.5, 0.25], [0.6, -0.4]]])
    maps = gaussian_maps(centres, (24, 24), 1.0)
    method.network = torch.nn.Identity()
    method.descriptors = lambda images: 200 * maps
    found = method.landmarks(torch.zeros(1, 3, 24, 24))
    torch.testing.assert_close(found, centres, atol=0.05, rtol=0)
