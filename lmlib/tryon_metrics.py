"""How good is a try-on? Errors of images, of masks and of flows.

Everything is given for each image of a batch ``(B,)``; a mask ``(B, 1, H, W)`` says
which pixels count. A whole image is mostly what no garment touches, and flatters
everybody, so ask inside the garment too.

SSIM is Wang et al.'s on grey images with a Gaussian window, as the field's scripts have
it. Where a published metric needs a network that has seen ImageNet, ours has one with
fixed random weights, and says ``proxy``: its numbers order our own networks, and cannot
be compared with anybody's.
"""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from lmlib.geometry import to_pixels
from lmlib.samples import to_gray

Images = Float[Tensor, "b c h w"]
Mask = Float[Tensor, "b 1 h w"]
Each = Float[Tensor, " b"]


def _mean(values: Images, mask: Mask | None) -> Each:
    """Mean over channels and the pixels that count; NaN where none does."""
    if mask is None:
        return values.mean((1, 2, 3))
    total = mask.sum((1, 2, 3)) * values.shape[1]
    return (values * mask).sum((1, 2, 3)) / total.where(total > 0, torch.nan)


def psnr(found: Images, target: Images, mask: Mask | None = None) -> Each:
    """Peak signal-to-noise ratio in dB of images in [0, 1]."""
    return -10 * torch.log10(_mean((found - target).square(), mask).clamp(min=1e-10))


def ssim(found: Images, target: Images, mask: Mask | None = None) -> Each:
    """Structural similarity, at most 1; of colours their grey."""
    if found.shape[1] == 3:
        found, target = to_gray(found), to_gray(target)
    maps = [
        structural_similarity(
            one, other, data_range=1.0, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, full=True,
        )[1]
        for one, other in zip(
            found[:, 0].double().cpu().numpy(), target[:, 0].double().cpu().numpy(),
            strict=True,
        )
    ]  # fmt: skip
    return _mean(torch.from_numpy(np.stack(maps)).to(found).unsqueeze(1), mask)


def end_point_error(
    flow: Float[Tensor, "b 2 h w"], truth: Float[Tensor, "b 2 h w"], mask: Mask
) -> Each:
    """Mean distance in pixels between where two flows read, over the mask."""
    size = flow.new_tensor(flow.shape[-2:]).flip(0).view(1, 2, 1, 1)
    far = ((flow - truth) * size / 2).norm(dim=1, keepdim=True)
    return _mean(far.where(mask > 0, 0.0), mask)


def iou(found: Mask, target: Mask) -> Each:
    """Intersection over union of masks, each cut at 1/2; 1 where both are empty."""
    one, other = found > 0.5, target > 0.5
    both, either = ((x).sum((1, 2, 3)) for x in (one & other, one | other))
    return (both / either.clamp(min=1)).where(either > 0, 1.0)


def found(
    points: Float[Tensor, "b k 2"],
    truth: Float[Tensor, "b k 2"],
    size: tuple[int, int],
    share: float = 0.03,
) -> Bool[Tensor, "b k"]:
    """Which landmarks lie within ``share`` of the height of an image of ``size``
    (height, width) from their place."""
    far = (to_pixels(points, size) - to_pixels(truth, size)).norm(dim=-1)
    return far <= share * size[0]


def pck(
    points: Float[Tensor, "b k 2"],
    truth: Float[Tensor, "b k 2"],
    counted: Bool[Tensor, "b k"],
    size: tuple[int, int],
    share: float = 0.03,
) -> float:
    """Share of the counted landmarks that are ``found``."""
    if not counted.any():
        raise ValueError("no landmark counts")
    return found(points, truth, size, share)[counted].float().mean().item()


# --- with a network of fixed random weights -------------------------------------------

WIDTHS = (24, 48, 96)


@cache
def proxy_network() -> nn.ModuleList:
    """Three convolutions of stride 2 with fixed random weights, filters of unit
    length."""
    generator, layers, inputs = torch.Generator().manual_seed(0), [], 3
    for width in WIDTHS:
        layer = nn.Conv2d(inputs, width, 5, 2, 2, bias=False)
        weight = torch.randn(layer.weight.shape, generator=generator)
        weight -= weight.mean((2, 3), keepdim=True) * (inputs == 3)  # no plain colours
        weight /= weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        layer.weight = nn.Parameter(weight, requires_grad=False)
        layers.append(layer)
        inputs = width
    return nn.ModuleList(layers)


@torch.no_grad()
def proxy_features(
    images: Float[Tensor, "b 3 h w"],
) -> list[Float[Tensor, "b _ _ _"]]:
    """What the layers of ``proxy_network`` make of images in [0, 1]."""
    x, found = 2 * images - 1, []
    for layer in proxy_network().to(images.device):
        x = F.leaky_relu(layer(x), 0.2)
        found.append(x)
    return found


def proxy_lpips(found: Images, target: Images) -> Each:
    """As LPIPS: the squared distance of features of unit length, averaged over the
    image and summed over layers."""
    total = torch.zeros(len(found), device=found.device)
    pairs = zip(proxy_features(found), proxy_features(target), strict=True)
    for one, other in pairs:
        far = F.normalize(one, dim=1) - F.normalize(other, dim=1)
        total += far.square().sum(1).mean((1, 2))
    return total


def pooled(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
    """A vector for each image: the means of all features, and their deviations."""
    found = proxy_features(images)
    parts = [part for x in found for part in (x.mean((2, 3)), x.std((2, 3)))]
    return torch.cat(parts, 1)


def frechet(found: Float[Tensor, "n d"], real: Float[Tensor, "m d"]) -> float:
    """The Frechet distance of two clouds of vectors, taken as Gaussian: FID's."""
    found, real = found.double(), real.double()
    mean = (found.mean(0) - real.mean(0)).square().sum()
    one, other = torch.cov(found.T), torch.cov(real.T)
    # tr sqrt(A B) is the sum of the roots of A B's eigenvalues
    roots = torch.linalg.eigvals(one @ other).real.clamp(min=0).sqrt().sum()
    return (mean + one.trace() + other.trace() - 2 * roots).item()


def kernel_distance(found: Float[Tensor, "n d"], real: Float[Tensor, "m d"]) -> float:
    """KID's unbiased squared maximum mean discrepancy, with the kernel ``(x y / d +
    1)^3``."""
    found, real = found.double(), real.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        k, n = kernel(x, x), len(x)
        return (k.sum() - k.trace()) / (n * (n - 1))

    return (within(found) + within(real) - 2 * kernel(found, real).mean()).item()


def proxy_fid(found: Images, real: Images) -> float:
    """The Frechet distance of two sets of images, by ``pooled``."""
    return frechet(pooled(found), pooled(real))


def proxy_kid(found: Images, real: Images) -> float:
    """The kernel distance of two sets of images, by ``pooled``."""
    return kernel_distance(pooled(found), pooled(real))
