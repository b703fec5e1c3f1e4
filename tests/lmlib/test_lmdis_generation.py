"""Images for given landmarks: two gradients from one pass, and what is frozen."""

from dataclasses import replace

import pytest
import torch

from lmlib.layers import Rungs
from lmlib.methods.lmdis import Lmdis, LmdisConfig
from lmlib.methods.lmdis_generation import Generation, GenerationConfig, energy
from lmlib.samples import Stored
from lmlib.training import fit

FINDER = replace(
    LmdisConfig.faces_class(),
    landmarks=3,
    size=16,
    canvas=24,
    detector=Rungs.mirrored(6, 8, 8),
    descriptor=0,
    decoder=Rungs.mirrored(6, 8, 8),
)
CONFIG = GenerationConfig(noise=5, width=6, decoder=Rungs.mirrored(8, 8), code=6)


def make():
    torch.manual_seed(0)
    return Generation(CONFIG, Lmdis(FINDER))


def batch(count=4):
    generator = torch.Generator().manual_seed(3)
    return {"image": torch.rand(count, 3, 16, 16, generator=generator)}


def slopes(module, loss):
    gradients = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    return [g for g in gradients if g is not None]


def test_one_pass_gives_both_gradients():
    """Against the two losses computed apart, with the other side detached."""
    method, x = make(), batch()["image"]
    method.k.fill_(0.3)
    method.generator.manual_seed(1)
    loss = sum(method.losses({"image": x}).values())
    ours = slopes(method.discriminator, loss)
    method.k.fill_(0.3)
    method.generator.manual_seed(1)
    drawn = method.draw(method.landmarks(x), method.noise(4))
    copier = method.discriminator
    apart = energy(copier, x) - 0.3 * energy(copier, drawn.detach())
    for mine, wanted in zip(ours, slopes(copier, apart), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-6)
    for part in (method.start, method.place, method.decoder):
        method.generator.manual_seed(1)
        loss = sum(method.losses({"image": x}).values())
        for mine, wanted in zip(
            slopes(part, loss),
            slopes(part, _generator_loss(method, x)),
            strict=True,
        ):
            torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-6)


def _generator_loss(method, x):
    method.generator.manual_seed(1)
    with torch.no_grad():
        points = method.landmarks(x)
    drawn = method.draw(points, method.noise(len(x)))
    off = (method.landmarks(drawn) - points).abs().mean()
    return energy(method.discriminator, drawn) + CONFIG.weight_landmark * off


def test_k_keeps_the_energies_in_proportion():
    method = make()
    terms = method.losses(batch())
    gap = CONFIG.gamma * terms["real"] - terms["drawn"]
    assert method.k == pytest.approx(max(0.0, CONFIG.balance * gap.item()), abs=1e-7)
    before = method.k.clone()
    method.eval()
    method.losses(batch())
    assert method.k == before


def test_the_finder_is_frozen_with_its_statistics():
    method = make()
    before = {n: v.clone() for n, v in method.finder.state_dict().items()}
    data = Stored.of(batch(8))
    fit(method, data, data.indices, 3, batch_size=4, progress=False)
    assert not method.finder.training
    for name, value in method.finder.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_landmarks_and_noise_both_change_the_image():
    method = make().eval()
    points, z = torch.rand(2, 3, 2) - 0.5, torch.randn(2, 5)
    with torch.no_grad():
        usual = method.draw(points, z)
        assert usual.shape == (2, 3, 16, 16)
        assert not torch.allclose(method.draw(points.flip(0), z), usual)
        assert not torch.allclose(method.draw(points, z.flip(0)), usual)


def test_sizes_that_cannot_be_quartered_are_named():
    finder = Lmdis(replace(FINDER, size=18, canvas=24, decoder=Rungs.mirrored(6, 8)))
    with pytest.raises(ValueError, match="4 n pixels a side, these have 18"):
        Generation(CONFIG, finder)
