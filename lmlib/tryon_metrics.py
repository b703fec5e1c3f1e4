"""How good is a try-on? Errors of images, of masks and of flows.

Everything is given for each image of a batch ``(B,)``; a mask ``(B, 1, H, W)`` says
which pixels count. A whole image is mostly what no garment touches, and flatters
everybody, so ask inside the garment too.

SSIM is Wang et al.'s on grey images with a Gaussian window, as the field's scripts have
it. LPIPS, FID and KID are torchmetrics' (``pip install 'torchmetrics[image]'``), and
need networks that must be downloaded. Where they cannot be, ``proxy_lpips``,
``proxy_fid`` and ``proxy_kid`` are the same with the packaged network of
``lmlib.imagenet``: their numbers order our own networks, and cannot be compared with
anybody's.

``judged`` is all that needs no download, of as many images as there are.
"""

from collections.abc import Iterable
from importlib import import_module

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from lmlib import imagenet
from lmlib.geometry import to_pixels
from lmlib.samples import to_gray

Images = Float[Tensor, "b c h w"]
Others = Float[Tensor, "n c h w"]  # as many as there are
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


# --- with networks that have seen ImageNet --------------------------------------------

HEIGHT = 128  # pixels to which smaller images are enlarged for the packaged network


METRICS = {  # torchmetrics' modules and classes
    "lpips": ("lpip", "LearnedPerceptualImagePatchSimilarity"),
    "fid": ("fid", "FrechetInceptionDistance"),
    "kid": ("kid", "KernelInceptionDistance"),
}


def _metric(name: str) -> type[nn.Module]:
    """One of torchmetrics' image metrics; ImportError says how to get them."""
    module, kind = METRICS[name]
    try:
        return getattr(import_module(f"torchmetrics.image.{module}"), kind)
    except ImportError as error:
        raise ImportError(f"{error}: pip install '.[metrics]'") from None


def _published(make):
    """A metric with its own network; ImportError where that cannot be had."""
    try:
        return make()
    except (ImportError, OSError) as error:
        said = str(error).split("\n", 1)[0]
        raise ImportError(
            f"the published metric's network cannot be loaded ({said}); the functions "
            "proxy_* do with the packaged one"
        ) from None


def lpips(found: Images, target: Images) -> Each:
    """LPIPS with AlexNet, of images in [0, 1].

    Raises:
        ImportError: torchmetrics, torchvision or the weights are not there.
    """
    kind = _metric("lpips")
    metric = _published(lambda: kind("alex", "none", normalize=True))
    return metric(found, target)


def fid(found: Images, real: Others) -> float:
    """The Frechet distance of two sets of images by Inception's 2,048 features.

    Raises:
        ImportError: torchmetrics, torch-fidelity or the weights are not there.
    """
    kind = _metric("fid")
    return _of_sets(_published(lambda: kind(2048, normalize=True)), found, real)


def kid(found: Images, real: Others) -> float:
    """The kernel distance of two sets of images by Inception's features; errors as
    ``fid``'s."""
    kind = _metric("kid")
    size = min(len(found), len(real))
    options = {"subsets": 1, "subset_size": size, "normalize": True}
    return _of_sets(_published(lambda: kind(2048, **options)), found, real)


def _of_sets(metric: nn.Module, found: Images, real: Others) -> float:
    """A distance of two sets of images."""
    metric.update(real, real=True)
    metric.update(found, real=False)
    value = metric.compute()
    return (value[0] if isinstance(value, tuple) else value).item()


@torch.no_grad()
def proxy_features(images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
    """Features of images in [0, 1], which are enlarged to ``HEIGHT`` if they are
    smaller; ImportError without the extra ``photos``."""
    network = imagenet.features().to(images.device)
    scale = max(1.0, HEIGHT / images.shape[2])
    return network(F.interpolate(images, scale_factor=scale, mode="bilinear"))


def proxy_lpips(found: Images, target: Images) -> Each:
    """As LPIPS, without its trained weights of channels: the squared distance of
    features of unit length, averaged over the image and summed over layers."""
    total = torch.zeros(len(found), device=found.device)
    pairs = zip(proxy_features(found), proxy_features(target), strict=True)
    for one, other in pairs:
        far = F.normalize(one, dim=1) - F.normalize(other, dim=1)
        total += far.square().sum(1).mean((1, 2))
    return total


class Pooled(nn.Module):
    """The means of the coarsest features: what stands in for Inception's 2,048."""

    num_features = [*imagenet.LAYERS.values()][-1]

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        parts = images.split(50)
        return torch.cat([proxy_features(part)[-1].mean((2, 3)) for part in parts])


def proxy_fid(found: Images, real: Others, by: nn.Module | None = None) -> float:
    """The Frechet distance of two sets of images, by ``Pooled`` or another network."""
    return _of_sets(_metric("fid")(by or Pooled()), found, real)


def proxy_kid(found: Images, real: Others, by: nn.Module | None = None) -> float:
    """The kernel distance of two sets of images, by ``Pooled`` or another network,
    between as many of each as the smaller set has."""
    size = min(len(found), len(real))
    metric = _metric("kid")(by or Pooled(), subsets=1, subset_size=size)
    return _of_sets(metric, found, real)


# --- all of them ----------------------------------------------------------------------


def pairwise(found: Images, target: Images, mask: Mask) -> dict[str, Each]:
    """``psnr``, ``ssim`` and ``proxy_lpips`` of each image and, as ``..._garment``,
    inside of the mask; ImportError as ``proxy_features``."""
    within = mask * found + (1 - mask) * target  # what is outside is right
    return _errors(found, target, mask) | {
        "proxy_lpips": proxy_lpips(found, target),
        "proxy_lpips_garment": proxy_lpips(within, target),
    }


def _errors(found: Images, target: Images, mask: Mask) -> dict[str, Each]:
    return {
        "psnr": psnr(found, target),
        "ssim": ssim(found, target),
        "psnr_garment": psnr(found, target, mask),
        "ssim_garment": ssim(found, target, mask),
    }


class _Known(nn.Module):
    """Takes features for images of one pixel: they were computed before."""

    num_features = Pooled.num_features

    def forward(self, features: Float[Tensor, "b d 1 1"]) -> Float[Tensor, "b d"]:
        return features.flatten(1)


def judged(parts: Iterable[tuple[Images, Images, Mask]]) -> dict[str, float]:
    """Means of ``pairwise`` over all parts of a set, each with made images, true ones
    and garments' masks; and ``proxy_fid`` and ``proxy_kid`` of the whole set.

    Only features are kept of what was seen. Without the extras ``photos`` and
    ``metrics`` the proxies are left out, and of a single image the distances of sets.
    """
    try:
        imagenet.features()
        of_pairs, pool = pairwise, Pooled()
    except ImportError:
        of_pairs, pool = _errors, None
    each, made, true = [], [], []
    for found, target, mask in parts:
        each.append(of_pairs(found, target, mask))
        if pool:
            made.append(pool(found)[..., None, None].cpu())
            true.append(pool(target)[..., None, None].cpu())
    if not each:
        raise ValueError("no image to judge")
    answer = {
        name: torch.cat([part[name].cpu() for part in each]).nanmean().item()
        for name in each[0]
    }
    sets = [torch.cat(part) for part in (made, true) if part]
    if sets and len(sets[0]) > 1:
        try:
            answer["proxy_fid"] = proxy_fid(*sets, _Known())
            answer["proxy_kid"] = proxy_kid(*sets, _Known())
        except ImportError:  # without torchmetrics
            pass
    return answer
