"""Images that show where a landmark should be: a white spot on dark grey."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image


def save_spot(path: Path, size: tuple[int, int], point, radius: float = 2.0) -> None:
    """An image of ``size`` (width, height) with a disc at ``point``, from pixel 0."""
    y, x = np.mgrid[: size[1], : size[0]]
    disc = np.hypot(x - point[0], y - point[1]) <= radius
    pixels = np.where(disc, 255, 20).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert("RGB").save(path, quality=95)


def spots(image: torch.Tensor) -> torch.Tensor:
    """Centres of the white in images (B, C, H, W), in [-1, 1]: (B, 2)."""
    weight = (image.mean(1) - 0.3).clamp(min=0)
    height, width = weight.shape[1:]
    x = (2 * torch.arange(width) + 1) / width - 1
    y = (2 * torch.arange(height) + 1) / height - 1
    total = weight.sum((1, 2))
    return torch.stack(
        [(weight * x).sum((1, 2)), (weight * y[:, None]).sum((1, 2))], -1
    ) / total.unsqueeze(-1)
