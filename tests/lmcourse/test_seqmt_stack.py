"""A stack of networks trains each as it would alone."""

from dataclasses import replace

import pytest
import torch

from lmcourse.experiments.seqmt_stack import SeqMtStack
from lmlib.methods.seqmt import SeqMt, SeqMtConfig
from lmlib.samples import Stored
from lmlib.training import fit
from lmscenes import Blocks

SMALL = replace(
    SeqMtConfig.blocks(),
    size=20,
    channels=4,
    kernels=(3, 3),
    hidden=(8,),
    dropout=0.0,
    weight_l2=0.0,
)


def networks(count, **changes):
    methods = []
    for seed in range(count):
        torch.manual_seed(seed)
        methods.append(SeqMt(replace(SMALL, beta=1.0 + seed, **changes)))
    return methods


@pytest.fixture(scope="module")
def data():
    return Stored(Blocks(20), range(40), keys=("label",))


def train(method, data, pools, size, steps=3):
    fit(method, data, pools, steps, batch_size=size, lr=1e-2, progress=False, seed=4)


def test_each_network_trains_as_it_would_alone(data):
    pools = (range(0, 20), range(10, 30), range(20, 40))
    alone = networks(3, weight_equivariance=0.0, weight_l2=1e-3)
    together = networks(3, weight_equivariance=0.0, weight_l2=1e-3)
    stack = SeqMtStack(together)
    train(stack, data, pools, 3 * 8)
    stack.unstack(together)
    for one, other, pool in zip(alone, together, pools, strict=True):
        before = one.maps[0].weight.clone()
        train(one, data, pool, 8)
        assert (one.maps[0].weight - before).abs().max() > 1e-3
        pairs = zip(one.named_parameters(), other.parameters(), strict=True)
        for (name, a), b in pairs:
            # Soft-argmax does not see the last bias: its gradient is rounding noise,
            # which Adam makes steps of.
            if name != "maps.2.bias":
                torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "layers",
    [
        {"trunk": "stack"},
        {"trunk": "rcn", "levels": 2, "start": "plain"},
        {"kernels": (9, 9, 1), "channels": 8},  # alone, convolved through the FFT
    ],
)
def test_each_network_answers_as_it_would_alone(layers, data):
    methods = networks(2, **layers)
    images = torch.stack([data.all["image"][:6], data.all["image"][6:12]])
    together = SeqMtStack(methods).eval().landmarks(images)
    for method, own, points in zip(methods, images, together, strict=True):
        torch.testing.assert_close(
            points, method.eval().landmarks(own), atol=1e-5, rtol=1e-4
        )


def test_the_equivariance_term_is_that_of_one_network(data):
    method = networks(1)[0]
    batch = data.batch(range(8))
    batch["labelled"] = torch.arange(8) < 0  # no image has landmarks
    stack = SeqMtStack([method])
    for module in (method, stack):
        module.generator.manual_seed(7)
    alone, stacked = method.losses(batch), stack.losses(batch)
    assert alone["equivariance"] > 0
    for name in ("class", "equivariance"):
        torch.testing.assert_close(stacked[name], alone[name])


def test_loss_weights_are_each_networks_own(data):
    methods = networks(2)
    for term in ("class", "equivariance", "landmark"):
        methods[1].weights[term] = 0.0
    stack = SeqMtStack(methods)
    sum(stack.losses({k: v[:16] for k, v in data.all.items()}).values()).backward()
    for p in stack.stacked.values():
        assert p.grad[0].abs().max() > 0 and p.grad[1].abs().max() == 0


def test_gradients_are_clipped_one_network_at_a_time():
    stack = SeqMtStack(networks(2))
    for p in stack.stacked.values():
        p.grad = torch.ones_like(p)
        p.grad[1] *= 1e-6
    stack.clip_gradients(1.0)
    norms = torch.stack([p.grad.flatten(1).norm(dim=1) for p in stack.stacked.values()])
    assert abs(norms[:, 0].norm().item() - 1) < 1e-3
    assert norms[:, 1].norm() < 1e-3  # already short: left as it was


def test_only_networks_of_one_kind_stack():
    with pytest.raises(ValueError, match="same layers"):
        SeqMtStack([*networks(1), *networks(1, channels=5)])
    with pytest.raises(ValueError, match="differ in warp"):
        SeqMtStack([*networks(1), *networks(1, warp="hands")])
