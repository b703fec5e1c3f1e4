"""Paired and unpaired: which pictures are compared, and with which."""

import pytest
import torch

from lmcourse.experiments.salvton_images import test_triplets as triplets
from lmcourse.experiments.salvton_protocols import (
    GIVEN,
    PROBLEMS,
    dressed,
    pairwise,
    unpaired,
)
from lmlib import tryon_metrics
from lmlib.methods.salvton import Salvton, SalvtonConfig

PROBLEM = PROBLEMS["salvton-protocols"]


@pytest.fixture(scope="module")
def batch():
    data = triplets()
    return data.batch(data.indices)


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(0)
    return Salvton(SalvtonConfig.tryon_class()).eval()


def test_true_pictures_are_without_fault_and_what_lies_outside_does_not_count(batch):
    true, mask = batch["target"], batch["target_mask"]
    found = pairwise(batch, true)
    assert found["psnr"] == found["psnr_garment"] == 100  # as high as it goes
    assert found["ssim"] == pytest.approx(1)
    assert max(found["proxy_lpips"], found["proxy_lpips_garment"]) < 1e-5
    spoilt = pairwise(batch, mask * true + (1 - mask) * torch.rand_like(true))
    assert spoilt["psnr_garment"] == 100 and spoilt["proxy_lpips_garment"] < 1e-5
    assert spoilt["psnr"] < 20 and spoilt["proxy_lpips"] > 0.1


@pytest.mark.parametrize("setting", ["found", "nothing"])
def test_unpaired_the_next_ones_garment_is_put_on(batch, method, setting):
    other = unpaired(batch)
    assert torch.equal(other["garment"][0], batch["garment"][1])
    assert torch.equal(other["garment_mask"][-1], batch["garment_mask"][0])
    assert torch.equal(other["image"], batch["image"])
    few = {name: values[:2] for name, values in other.items()}
    with torch.no_grad():
        made = dressed(method, few, setting)
        given = [few[name] for name in GIVEN]
        wanted = method.try_on(*given, method.find(*given[:2]))
    wanted = few["image"] if setting == "nothing" else wanted
    assert torch.allclose(made, wanted, atol=1e-6)


def test_rows_hold_what_they_say(batch, method, monkeypatch):
    """Sets are compared with people in their own garments; who is told nothing of
    other garments has no unpaired figures."""
    asked = []
    for name in ("proxy_fid", "proxy_kid"):
        monkeypatch.setattr(
            tryon_metrics, name, lambda found, real: asked.append((found, real)) or 1.0
        )
    monkeypatch.setattr(
        "lmcourse.experiments.salvton_protocols.test_triplets", lambda size: triplets()
    )
    for setting, sets in (("told", 1), ("nothing", 2)):
        asked.clear()
        found = PROBLEM.measure(method, setting)
        assert {*found} == {*PROBLEM.metrics(setting)}
        assert len(asked) == 2 * sets
        assert all(torch.equal(real, batch["target"]) for _, real in asked)
    assert all(torch.equal(found, batch["image"]) for found, _ in asked)
