"""Try-on triplets in a few lines: cloths of stripes, bent by known smooth flows; and a
network for them."""

import torch
import torch.nn.functional as F

from lmlib.geometry import ThinPlateSpline, pixel_grid
from lmlib.methods.salvton import SalvtonConfig

TINY = SalvtonConfig(
    size=32,
    landmarks=9,
    branches=(4, 8),
    exchanges=1,
    stem=8,
    widths=(12, 16, 16),
    fpn=12,
    flow_widths=(12,),
    matched=8,
    ngf=4,
    depth=2,
    batch_size=4,
)


def _texture(count: int, size: tuple[int, int], generator) -> torch.Tensor:
    small = torch.rand(count, 3, size[0] // 8, size[1] // 8, generator=generator)
    return F.interpolate(small, size=size, mode="bilinear", align_corners=False)


def triplets(count: int, height: int = 32, landmarks: int = 9, seed: int = 0) -> dict:
    """A batch as ``lmscenes`` makes them: cloths on white, and bent cloths on grey.

    ``landmarks`` is a square number: they lie on a lattice of the cloth. The last one
    is absent, the one before is hidden on the person.
    """
    size, generator = (height, 3 * height // 4), torch.Generator().manual_seed(seed)
    side = round(landmarks**0.5)
    lattice = 0.45 * pixel_grid(side, side).view(1, -1, 2) * side / (side - 1)
    lattice = lattice.expand(count, -1, -1)
    moved = 1.1 * lattice + 0.1 * torch.randn(lattice.shape, generator=generator)
    flow = ThinPlateSpline.from_points(lattice, moved).sampling_grid(*size)
    mask = (pixel_grid(*size).abs() < 0.65).all(-1).float()
    mask = mask.expand(count, 1, *size)
    garment = _texture(count, size, generator) * mask + 1 - mask
    cloth = torch.cat([garment, mask], 1)
    seen = F.grid_sample(cloth, flow, padding_mode="border", align_corners=False)
    worn = (seen[:, 3:] > 0.5).float()
    warped = seen[:, :3] * worn + 1 - worn
    ground = 0.5 * torch.ones(count, 3, *size)
    other = _texture(count, size, generator)
    attribute = torch.full((count, landmarks), 2)
    attribute[:, -1], attribute[:, -2] = 0, 1
    return {
        "image": other * worn + ground * (1 - worn),
        "target": warped * worn + ground * (1 - worn),
        "garment": garment,
        "garment_mask": mask,
        "target_mask": worn,
        "worn_mask": worn,
        "warped": warped,
        "flow": flow.permute(0, 3, 1, 2),
        "garment_landmarks": lattice,
        "garment_present": attribute > 0,
        "landmarks": moved,
        "attribute": attribute,
        "visible": attribute == 2,
        "index": torch.arange(count),
    }
