"""Warps without training, to sweep what a local flow depends on.

A coarse mean of the true flow stands in for a global flow, and each landmark's patch
is carried over by the best affine map. So only geometry is left: how large patches are,
how many landmarks take part, how exactly they lie, whether they join what belongs
together, and how sharply a pixel looks.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from lmcourse.fitting_room import cloth_of, fitted_turn, one
from lmlib.methods.salvton import Links, links_of
from lmlib.methods.salvton.flows import warp
from lmlib.methods.salvton.patches import blend, log_box, match, windows
from lmlib.samples import Batch
from lmlib.tryon_metrics import end_point_error, psnr

CARRY = 0.5  # how strongly offsets count, in 1/px^2
NEAR = 0.1  # how fast a patch's attention falls, in 1/px^2


@dataclass(frozen=True)
class Setting:
    """What the local flow of the laboratory depends on."""

    patch: float = 0.16  # share of the image's sides
    landmarks: int = 32  # how many take part
    jitter: float = 0.0  # deviation of the person's landmarks in pixels
    temperature: float = 1.0  # of the search in a patch
    permuted: bool = False  # join landmarks of different parts


@dataclass
class Lab:
    """Some triplets with exact flows, and the warps of a ``Setting``."""

    batch: Batch
    cells: int = 8  # pixels a cell of the coarse flow
    seed: int = 0
    size: tuple[int, int] = field(init=False)
    whole: Tensor = field(init=False)  # the garment as the coarse flow reads it
    turns: Tensor = field(init=False)

    def __post_init__(self):
        self.size = tuple(self.batch["image"].shape[-2:])
        flow, mask = self.batch["flow"], self.batch["target_mask"]
        self.flow = coarse(flow, mask, self.cells)
        self.whole = warp(cloth_of(self.batch), self.flow)
        links = links_of(self.batch)
        window = tuple(int(0.15 * side) // 2 * 2 + 1 for side in self.size)
        count, landmarks = links.person.shape[:2]
        self.turns = torch.eye(2).repeat(count, landmarks, 1, 1)
        for n in range(count):
            own = one(self.batch, n)
            cut = windows(own["landmarks"], self.size, window)
            for k in links.active[n].nonzero().flatten().tolist():
                place = own["flow"], own["target_mask"], cut
                self.turns[n, k] = fitted_turn(*place, k)

    def links(self, setting: Setting) -> Links:
        """The annotated landmarks after what the setting does to them."""
        links = links_of(self.batch)
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(links.person.shape[1], generator=generator)
        noise = torch.randn(links.person.shape, generator=generator)
        unit = 2 / torch.tensor([self.size[1], self.size[0]])
        attribute = links.attribute.clone()
        attribute[:, order[setting.landmarks :]] = 0
        links = links._replace(
            person=links.person + setting.jitter * unit * noise, attribute=attribute
        )
        if setting.permuted:
            links = links._replace(
                garment=links.garment.roll(11, 1), present=links.present.roll(11, 1)
            )
        return links

    def warps(self, setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
        """``W_f (B, 4, H, W)``, its flow, and where patches are ``(B, 1, H, W)``."""
        links = self.links(setting)
        window = tuple(int(setting.patch * s) // 2 * 2 + 3 for s in self.size)
        mine = windows(links.person, self.size, window)
        side = torch.tensor([self.size[1], self.size[0]]) * setting.patch
        sides = side.expand(*links.present.shape, 2)
        silent = self.batch["image"][:, :1] * 0
        beta = torch.full((links.person.shape[1],), CARRY / setting.temperature)
        # Where a patch is read is not cut: only how far it is painted.
        wide = windows(links.garment, self.size, tuple(2 * s + 1 for s in window))
        found = match(
            silent, silent, mine, wide, 9 * sides, self.turns, beta, links.active
        )
        near = -NEAR * mine.offsets.square().sum(-1)
        laid = blend(
            cloth_of(self.batch), mine, found, near,
            log_box(mine.offsets, sides), links.active,
        )  # fmt: skip
        gate = 1 - laid.covered
        return (
            gate * self.whole + laid.covered * laid.warped,
            gate * self.flow + laid.covered * laid.flow,
            laid.covered,
        )

    def psnr(self, cloth: Tensor, where: Tensor | None = None) -> Tensor:
        """PSNR in dB of garments ``(B, 3|4, H, W)``, ``(B,)``; by default inside of the
        true masks."""
        mask = self.batch["target_mask"] if where is None else where
        return psnr(cloth[:, :3], self.batch["target"], mask)

    def gain(self, setting: Setting) -> Tensor:
        """How many dB patches add to the coarse flow, ``(B,)``."""
        return self.psnr(self.warps(setting)[0]) - self.psnr(self.whole)

    def off(self, flow: Tensor) -> Tensor:
        """End-point errors of flows in pixels, ``(B,)``."""
        batch = self.batch
        return end_point_error(flow, batch["flow"], batch["target_mask"])


def coarse(flow: Tensor, mask: Tensor, cell: int) -> Tensor:
    """The mean of flows ``(B, 2, H, W)`` over cells of so many pixels, inside of masks;
    empty cells take the mean of their neighbours."""
    share = F.avg_pool2d(mask, cell)
    mean = F.avg_pool2d(flow * mask, cell) / share.clamp(min=1e-6)
    known = (share > 0).float()
    for _ in range(max(mean.shape[-2:])):
        near = F.avg_pool2d(known, 3, 1, 1)
        fill = F.avg_pool2d(mean * known, 3, 1, 1) / near.clamp(min=1e-6)
        mean = mean * known + fill * (1 - known)
        known = torch.maximum(known, (near > 0).float())
    how = {"mode": "bilinear", "align_corners": False}
    return F.interpolate(mean, size=flow.shape[-2:], **how)
