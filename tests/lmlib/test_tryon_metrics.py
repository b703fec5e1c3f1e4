"""Metrics of try-on, against closed forms, scikit-image and scipy."""

import sys

import numpy as np
import pytest
import scipy.linalg
import skimage.metrics
import torch

from lmlib import imagenet
from lmlib import tryon_metrics as metrics
from lmlib.geometry import pixel_grid

SIZE = 32, 24


def images(count=3, seed=0):
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def half():
    mask = torch.zeros(3, 1, *SIZE)
    mask[..., :12] = 1
    return mask


def test_psnr_as_scikit_image_has_it():
    one, other = images(), images(seed=1)
    wanted = [
        skimage.metrics.peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=1)
        for a, b in zip(one, other, strict=True)
    ]
    assert metrics.psnr(one, other).tolist() == pytest.approx(wanted, abs=1e-4)


def test_only_what_the_mask_holds_counts():
    one = images()
    other = one.clone()
    other[..., 12:] = 0.0
    assert (metrics.psnr(one, other, half()) > 90).all()
    assert (metrics.psnr(one, other, 1 - half()) < 10).all()
    other[..., :12] += 0.1
    assert metrics.psnr(one, other, half()).tolist() == pytest.approx(
        [20] * 3, abs=1e-3
    )
    assert metrics.psnr(one, other, 0 * half()).isnan().all()


def test_ssim_as_the_fields_scripts_have_it():
    one, other = images(), images(seed=1)
    grey = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    pairs = zip((one * grey).sum(1), (other * grey).sum(1), strict=True)
    wanted = [
        skimage.metrics.structural_similarity(
            a.numpy(), b.numpy(), data_range=1, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, full=True,
        )[1].mean()
        for a, b in pairs
    ]  # fmt: skip
    assert metrics.ssim(one, other).tolist() == pytest.approx(wanted, abs=1e-4)
    assert metrics.ssim(one, one).tolist() == pytest.approx([1.0] * 3)
    near = one.clone()
    near[..., 20:] = 0
    assert (metrics.ssim(one, near, half()) > metrics.ssim(one, near)).all()


def test_the_end_point_error_is_in_pixels():
    truth = pixel_grid(*SIZE).permute(2, 0, 1).expand(3, -1, -1, -1)
    flow = truth.clone()
    flow[:, 0] += 3 * 2 / 24  # three pixels in x, four in y
    flow[:, 1] += 4 * 2 / 32
    flow[..., 12:] = torch.nan  # outside of the mask nothing is asked
    found = metrics.end_point_error(flow, truth, half())
    assert found.tolist() == pytest.approx([5.0] * 3, rel=1e-4)


def test_overlap_of_masks():
    other = half().roll(6, 3)
    assert metrics.iou(half(), other).tolist() == pytest.approx([1 / 3] * 3)
    assert metrics.iou(0 * half(), 0 * half()).tolist() == [1, 1, 1]
    assert metrics.iou(half(), 0 * half()).tolist() == [0, 0, 0]


def test_pck_is_of_the_height():
    truth = torch.zeros(1, 4, 2)
    points = truth.clone()
    points[0, :, 0] = torch.tensor([0.0, 0.9, 1.1, 5.0]) * 2 / 24  # pixels in x
    counted = torch.tensor([[True, True, True, False]])
    found = metrics.pck(points, truth, counted, SIZE, share=1 / 32)  # one pixel
    assert found == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="no landmark"):
        metrics.pck(points, truth, counted & False, SIZE)


class Colour(torch.nn.Module):
    """A network whose features of an image are its pixels."""

    num_features = 5

    def forward(self, images):
        return images.flatten(1)


def test_the_frechet_distance_as_scipys_root_has_it():
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(5, 5, generator=generator)
    one = torch.randn(200, 5, generator=generator)
    other = torch.randn(300, 5, generator=generator) @ mix + 0.5
    a, b = (np.cov(x.double().numpy().T) for x in (one, other))
    root = scipy.linalg.sqrtm(a @ b).real
    gap = (one.double().mean(0) - other.double().mean(0)).square().sum().item()
    wanted = gap + np.trace(a + b - 2 * root)
    one, other = (x.view(-1, 5, 1, 1) for x in (one, other))
    assert metrics.proxy_fid(one, other, Colour()) == pytest.approx(wanted, rel=1e-4)
    assert metrics.proxy_fid(one, one, Colour()) == pytest.approx(0, abs=1e-3)


def test_the_kernel_distance_is_unbiased():
    generator = torch.Generator().manual_seed(0)

    def draw(count=20):
        return torch.randn(count, 3, 1, 1, generator=generator)

    def distance(one, other):
        return metrics.proxy_kid(one, other, Colour())

    same = torch.tensor([distance(draw(), draw()) for _ in range(200)])
    assert abs(same.mean()) < 3 * same.std() / 200**0.5  # also below zero
    assert (same < 0).any()
    one, other = draw(3), draw(3)
    by_hand = 0.0
    for x, y, sign in ((one, one, 1), (other, other, 1), (one, other, -2)):
        pairs = [
            ((a.flatten() @ b.flatten()).item() / 3 + 1) ** 3
            for i, a in enumerate(x)
            for j, b in enumerate(y)
            if x is not y or i != j
        ]
        by_hand += sign * sum(pairs) / len(pairs)
    assert distance(one, other) == pytest.approx(by_hand, rel=1e-4)


def test_proxies_order_what_is_clearly_ordered():
    torch.manual_seed(0)
    small = torch.nn.functional.interpolate(images(24)[..., ::4, ::4], scale_factor=4)
    noisy, noisier = (
        (small + s * (images(24, 1) - 0.5)).clamp(0, 1) for s in (0.1, 0.5)
    )
    assert metrics.proxy_lpips(small, small).abs().max() < 1e-6
    near, far = (metrics.proxy_lpips(x, small).mean() for x in (noisy, noisier))
    assert 0 < near < far
    for distance in (metrics.proxy_fid, metrics.proxy_kid):
        assert distance(noisy, small) < distance(noisier, small)


@pytest.mark.parametrize("name", ["torchmetrics", "efficientnet_lite_pytorch"])
def test_what_is_not_installed_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", None)
    imagenet.features.cache_clear()
    extra = {"torchmetrics": "metrics", "efficientnet_lite_pytorch": "photos"}[name]
    function = metrics.proxy_fid if name == "torchmetrics" else metrics.proxy_lpips
    with pytest.raises(ImportError, match=rf"\[{extra}\]"):
        function(images(), images())


@pytest.mark.parametrize("function", [metrics.lpips, metrics.fid, metrics.kid])
def test_a_published_metric_without_its_network_points_to_the_proxy(
    function, monkeypatch
):
    """Whether or not the networks are installed here: loading them fails."""

    def fails(*args, **kwargs):
        raise OSError("no route to the weights\nand more")

    monkeypatch.setattr(metrics, "_metric", lambda name: fails)
    with pytest.raises(ImportError, match=r"\(no route to the weights\); .* proxy_"):
        function(images(), images())
