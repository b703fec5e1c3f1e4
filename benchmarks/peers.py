"""How do soft-argmax and thin-plate warps compare with kornia's?

kornia is an optional extra (``pip install '.[bench]'``); without it there are no rows.
Its soft-argmax must agree with ours. Its spline cannot: it passes through the control
points, and between them is another one than the spline that bends least. The work is
the same.
"""

from collections.abc import Callable

import torch

from benchmarks import compare
from lmlib.geometry import ThinPlateSpline
from lmlib.heatmaps import soft_argmax
from lmlib.warps import control_grid

MAPS = (32, 68, 64, 64)
IMAGES = (16, 3, 96, 96)


def run() -> list[dict]:
    """``ratio`` is kornia's time over ours."""
    try:
        import kornia
    except ImportError:
        print("peers: kornia is not installed; pip install '.[bench]' brings it")
        return []
    about = f"kornia {kornia.__version__}"
    return [*_soft_argmax_rows(about), *_warp_rows(about)]


def _soft_argmax_rows(about: str) -> list[dict]:
    from kornia.geometry.subpix import spatial_soft_argmax2d as theirs

    maps = torch.randn(MAPS, generator=torch.Generator().manual_seed(0))
    leaf = maps.clone().requires_grad_()
    # kornia's outermost pixels have their centres at -1 and 1.
    inner = torch.tensor([MAPS[3], MAPS[2]])
    torch.testing.assert_close(soft_argmax(maps), theirs(maps) * (inner - 1) / inner)

    def gradient(find):
        return torch.autograd.grad(find(leaf).square().sum(), leaf)

    size = "x".join(map(str, MAPS))
    return [
        _row("soft-argmax", f"maps of {size}", about,
             lambda: soft_argmax(maps), lambda: theirs(maps)),
        _row("soft-argmax with its gradient", f"maps of {size}", about,
             lambda: gradient(soft_argmax), lambda: gradient(theirs)),
    ]  # fmt: skip


def _warp_rows(about: str) -> list[dict]:
    from kornia.geometry.transform import get_tps_transform, warp_image_tps

    generator = torch.Generator().manual_seed(0)
    images = torch.rand(IMAGES, generator=generator)
    grid = control_grid(7).expand(len(images), -1, -1)
    moved = grid + 0.05 * torch.randn(grid.shape, generator=generator)
    fixed = ThinPlateSpline.from_points(moved, grid)  # as random warps are drawn
    own = ThinPlateSpline.from_points(grid, moved)
    theirs = get_tps_transform(grid, moved)

    def kornia_warp():
        return warp_image_tps(images, moved, *theirs)

    what = f"images of {'x'.join(map(str, IMAGES))}, 7x7 control points"
    return [
        _row("thin-plate warp", f"{what}, one grid of them for all images", about,
             lambda: fixed.image(images), kornia_warp),
        _row("thin-plate warp, own control points", f"{what} for each image", about,
             lambda: own.image(images), kornia_warp),
    ]  # fmt: skip


def _row(name: str, what: str, about: str, ours: Callable, theirs: Callable) -> dict:
    fast, slow = (1000 * s for s in compare(ours, theirs, repeats=7))
    return {
        "name": f"{name}, against kornia",
        "ratio": round(slow / fast, 1),
        "what": f"{what}: {fast:.2f} ms against {slow:.2f} ms of {about}",
    }
