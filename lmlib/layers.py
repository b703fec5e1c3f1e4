"""Building blocks the methods share."""

from torch import Tensor, nn


def conv_stack(channels: tuple[int, ...], kernels: tuple[int, ...]) -> nn.Sequential:
    """Convolutions at full resolution with ReLU between them, none after the last.

    ``channels`` has one number more than ``kernels``: input, hidden..., output. Stride
    1 and "same" padding throughout, so a map keeps the image's size (no pooling:
    pooling forgets where).
    """
    if len(channels) != len(kernels) + 1:
        raise ValueError(f"{len(kernels)} kernels need {len(kernels) + 1} channels")
    layers: list[nn.Module] = []
    for i, kernel in enumerate(kernels):
        layers += [nn.Conv2d(channels[i], channels[i + 1], kernel, padding=kernel // 2)]
        layers += [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def mlp(widths: tuple[int, ...], dropout: float = 0.0) -> nn.Sequential:
    """Fully connected layers with ReLU and dropout on all but the last."""
    layers: list[nn.Module] = []
    for i in range(len(widths) - 1):
        layers += [nn.Linear(widths[i], widths[i + 1]), nn.ReLU(inplace=True)]
        layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers[: -2 if dropout else -1])


def receptive_field(kernels: tuple[int, ...]) -> int:
    """Side in pixels of the patch one output of a stride-1 stack can see."""
    return 1 + sum(kernel - 1 for kernel in kernels)


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def check_images(images: Tensor, channels: int) -> Tensor:
    """Return images ``(B, C, H, W)`` unchanged, or say in one line what is wrong."""
    if images.ndim != 4 or images.shape[1] != channels or 0 in images.shape:
        raise ValueError(
            f"expected images (B, {channels}, H, W), not empty, "
            f"got {tuple(images.shape)}"
        )
    return images
