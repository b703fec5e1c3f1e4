"""Stage 2: the global and the local flow, and their fusion (section 3.2)."""

from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lmlib.methods.salvton import patches
from lmlib.methods.salvton.config import SalvtonConfig
from lmlib.methods.salvton.flows import (
    Features,
    Flow,
    GlobalFlow,
    Links,
    Pyramid,
    bending,
    conv,
    enlarge,
    landmark_maps,
    leaving,
    squares,
    standing,
    warp,
)
from lmlib.methods.salvton.patches import Blended, Patches, Sides, Turns, log_box
from lmlib.processes import portion


class Shapes(NamedTuple):
    """Of each landmark's patches."""

    person: Sides
    garment: Sides
    turns: Turns  # A


class PatchShapes(nn.Module):
    """Sides of deformable patches, eq. 2 and 3: ``sigma(C_1) I``.

    ``C_1`` sees both pyramids at the landmarks, from their finest and their coarsest
    level, and adds a number of its own for each landmark. It starts with the same
    patches everywhere, of a share ``patch`` of the image.
    """

    def __init__(self, config: SalvtonConfig):
        super().__init__()
        c = config
        self.hidden = nn.Linear(4 * c.fpn, c.fpn)
        self.out = nn.Linear(c.fpn, 8)  # two patches' sides, and A - 1
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        start = torch.logit(torch.tensor(c.patch / c.largest))
        start = torch.tensor([start] * 4 + [0.0] * 4)
        self.own = nn.Parameter(start.repeat(c.landmarks, 1))
        largest = c.largest * torch.tensor([c.shape[1], c.shape[0]])
        self.register_buffer("largest", largest, persistent=False)  # I_w, I_h

    def forward(self, person: Features, garment: Features, links: Links) -> Shapes:
        """In pixels of the images."""
        seen = torch.cat(
            [
                _at(features.levels[level], points)
                for features, points in (
                    (person, links.person),
                    (garment, links.garment),
                )
                for level in (0, -1)
            ],
            -1,
        )
        raw = self.out(F.leaky_relu(self.hidden(seen), 0.1)).float() + self.own
        sides = raw[..., :4].sigmoid().unflatten(-1, (2, 2)) * self.largest
        turns = torch.eye(2, device=raw.device) + raw[..., 4:].unflatten(-1, (2, 2))
        return Shapes(sides[..., 0, :], sides[..., 1, :], turns)


def _at(features: Float[Tensor, "b c h w"], points: Float[Tensor, "b k 2"]) -> Tensor:
    """Features at points: ``(B, K, C)``."""
    found = F.grid_sample(
        features, points.unsqueeze(1), padding_mode="border", align_corners=False
    )
    return found[:, :, 0].mT


class FixedShapes(nn.Module):
    """The ablation: all patches have ``patch`` of the image's sides, and A = 1."""

    def __init__(self, config: SalvtonConfig):
        super().__init__()
        sides = config.patch * torch.tensor([config.shape[1], config.shape[0]])
        self.register_buffer("sides", sides, persistent=False)

    def forward(self, person: Features, garment: Features, links: Links) -> Shapes:
        """In pixels of the images."""
        sides = self.sides.expand(*links.present.shape, 2)
        turns = torch.eye(2, device=sides.device)
        return Shapes(sides, sides, turns.expand(*links.present.shape, 2, 2))


class TurningShapes(PatchShapes):
    """The ablation of the sides: they are ``patch`` of the image's; A is learned."""

    def __init__(self, config: SalvtonConfig):
        super().__init__(replace(config, patch=config.largest / 2))  # for any patch
        self.fixed = FixedShapes(config)

    def forward(self, person: Features, garment: Features, links: Links) -> Shapes:
        """In pixels of the images."""
        turns = super().forward(person, garment, links).turns
        return self.fixed(person, garment, links)._replace(turns=turns)


SHAPES = {"fixed": FixedShapes, "turning": TurningShapes}


class Local(NamedTuple):
    """What the local flow finds, before it meets the global one."""

    patches: Patches  # on the person
    flow: Float[Tensor, "b k n 2"]  # f_l
    attention: Float[Tensor, "b k n"]  # m_l
    box: Float[Tensor, "b k n"]  # logarithm of the person's boxes
    active: Bool[Tensor, "b k"]
    shapes: Shapes


class PerPixel(nn.Module):
    """Some numbers for each pixel of an image, from its features.

    What is full resolution goes through 1x1 convolutions only: 3x3 ones would take most
    of the network's time.
    """

    def __init__(self, config: SalvtonConfig, outputs: int, images: int = 1):
        super().__init__()
        self.fine = conv(images * config.stem, outputs, 1)
        self.coarse = conv(images * config.fpn, outputs)

    def forward(self, *features: Features) -> Float[Tensor, "b o h w"]:
        full = torch.cat([each.full for each in features], 1)
        half = torch.cat([each.levels[0] for each in features], 1)
        return (self.fine(full) + enlarge(self.coarse(half))).float()


class LocalFlow(nn.Module):
    """Patches around landmarks, matched (figure 5); see ``patches``.

    The released code matches at three resolutions, all enlarged to the image's, and
    takes the mean of what it finds. Here pixels are matched once, by features of the
    two finest resolutions.
    """

    def __init__(self, config: SalvtonConfig):
        super().__init__()
        self.config = c = config
        self.query, self.key = PerPixel(c, c.matched), PerPixel(c, c.matched)
        self.attention = PerPixel(c, c.landmarks, images=2)
        self.shapes = SHAPES.get(c.local, PatchShapes)(c)
        # softplus of it is beta: a pixel two pixels off counts exp(-1/2)
        self.raw_beta = nn.Parameter(torch.full((c.landmarks,), -2.0))
        if c.local == "released":
            self.places = PerPixel(c, 2 * c.landmarks, images=2)

    def forward(
        self,
        person: Features,
        garment: Features,
        links: Links,
        *,
        plain: bool = False,
    ) -> Local:
        """``plain``: with all pixels for each landmark, as the equations stand."""
        c, active = self.config, links.active
        cut = patches.everywhere if plain else patches.windows
        mine, theirs = (
            cut(points, c.shape, c.window) for points in (links.person, links.garment)
        )
        shapes = self.shapes(person, garment, links)
        query, key = self.query(person), self.key(garment)
        box = log_box(mine.offsets, shapes.person)
        if c.local == "released":
            places = self.places(person, garment) + _places(query, c.landmarks)
            sides = shapes.person, shapes.garment
            flow = patches.match_released(query, key, mine, theirs, sides, places)
            box = torch.zeros_like(box)  # all of the window is written
        else:
            flow = patches.match(
                query,
                key,
                mine,
                theirs,
                shapes.garment,
                shapes.turns,
                F.softplus(self.raw_beta),
                active,
                plain=plain,
            )
        attention = mine.of(self.attention(person, garment))
        return Local(mine, flow, attention, box, active, shapes)


def _places(like: Tensor, landmarks: int) -> Float[Tensor, "1 k2 h w"]:
    """What learned places are added to: every pixel's own, for each landmark."""
    return standing(like).repeat(1, landmarks, 1, 1)


class Warps(NamedTuple):
    """All that stage 2 finds; garments have a fourth channel, their mask."""

    flows: list[
        Float[Tensor, "b 2 _ _"]
    ]  # f_g of each level, coarsest first; the last has all pixels
    gate: Float[Tensor, "b 1 h w"]  # sigma(m_g), 1 where there is no patch
    by_global: Float[Tensor, "b 4 h w"]  # W_g
    by_local: Float[Tensor, "b 4 h w"]  # W_l
    fused: Float[Tensor, "b 4 h w"]  # W_f
    flow: Flow  # both flows, mixed as W_f is
    local: Local | None
    covered: Float[Tensor, "b 1 h w"]

    @property
    def garments(self) -> Float[Tensor, "b 9 h w"]:
        """``(W_g, W_l, W_f)`` as the generator gets them."""
        parts = (self.by_global, self.by_local, self.fused)
        return torch.cat([part[:, :3] for part in parts], 1)


class WarpingModel(nn.Module):
    """Stage 2: from images and landmarks to the garment as the person wears it."""

    def __init__(self, config: SalvtonConfig):
        super().__init__()
        self.config = config
        self.person, self.garment = Pyramid(config), Pyramid(config)
        self.global_flow = GlobalFlow(config)
        self.local_flow = LocalFlow(config) if config.local != "none" else None

    def forward(
        self,
        person: Float[Tensor, "b 3 h w"],
        garment: Float[Tensor, "b 3 h w"],
        garment_mask: Float[Tensor, "b 1 h w"],
        links: Links,
        *,
        plain: bool = False,
    ) -> Warps:
        """Images in [0, 1]; the garment on white."""
        c = self.config
        side = c.square * c.size
        seen = links.present.long() * 2  # a garment's own landmark is there, or absent
        mine = landmark_maps(links.person, links.attribute, c.shape, side)
        theirs = landmark_maps(links.garment, seen, c.shape, side)
        p, g = self.person(person, mine), self.garment(garment, theirs)
        cloth = torch.cat([garment, garment_mask], 1)
        if self.local_flow is None:
            known = torch.zeros_like(person[:, :2])
            flows, _ = self.global_flow(p.levels, g.levels, known)
            whole = warp(cloth, flows[-1])
            one, none = torch.ones_like(garment_mask), torch.zeros_like(whole)
            return Warps(flows, one, whole, none, whole, flows[-1], None, 0 * one)
        local = self.local_flow(p, g, links, plain=plain)
        laid = patches.blend(
            cloth, local.patches, local.flow, local.attention, local.box, local.active
        )
        known = torch.cat([laid.covered, _certainty(local)], 1)
        flows, attention = self.global_flow(p.levels, g.levels, known)
        whole = warp(cloth, flows[-1])
        gate = 1 - laid.covered * torch.sigmoid(-attention)
        fused = gate * whole + (1 - gate) * laid.warped  # eq. 5
        flow = gate * flows[-1] + (1 - gate) * laid.flow
        by_local = self._on_white(laid)
        return Warps(flows, gate, whole, by_local, fused, flow, local, laid.covered)

    def _on_white(self, laid: Blended) -> Float[Tensor, "b 4 h w"]:
        """``W_l`` with white and no cloth where there is no patch."""
        white = laid.warped.new_tensor([1.0, 1, 1, 0]).view(1, 4, 1, 1)
        there = (laid.covered > 0).to(laid.warped)
        return laid.warped + (1 - there) * white


def _certainty(local: Local) -> Float[Tensor, "b 1 h w"]:
    """The largest ``sigma(m_l)`` at each pixel, 0 where there is no patch."""
    inside = (local.patches.inside & local.active.unsqueeze(-1)).flatten(1)
    scores = local.attention.flatten(1).sigmoid() * inside
    height, width = local.patches.size
    found = scores.new_zeros(len(scores), height * width)
    where = local.patches.pixels.flatten(1)
    found = found.scatter_reduce(1, where, scores, "amax")
    return rearrange(found, "b (h w) -> b 1 h w", h=height)


# --- losses ---------------------------------------------------------------------------


def warping_losses(
    warps: Warps,
    cloth: Float[Tensor, "b 4 h w"],
    target: Float[Tensor, "b 4 h w"],
    links: Links,
    config: SalvtonConfig,
) -> dict[str, Float[Tensor, ""]]:
    """Eq. 7 to 9. The paper gives no weights.

    * ``global``: eq. 7 on ``W_g``, of colours and of the mask, at each level's own
      size; a level's weight grows with its resolution, as in the paper's parents.
    * ``bending``, ``leaving``: eq. 8, and what keeps flows inside, of each level.
    * ``fused``: eq. 7 on ``W_f``.
    * ``local``: eq. 9, a mean over the pixels of ``M_l`` alone. Over the whole image it
      would be so small that fusion learned to do without patches.

    ``cloth``: the flat garment and its mask; ``target``: ``W_gt`` on white, and its.
    """
    count, terms = len(warps.flows), {"global": 0.0, "bending": 0.0, "leaving": 0.0}
    for level, flow in enumerate(warps.flows):
        weight = (level + 1) / count
        flat, wanted = (
            F.adaptive_avg_pool2d(images, flow.shape[-2:]) for images in (cloth, target)
        )
        found = warps.by_global if level == count - 1 else warp(flat, flow)
        terms["global"] += weight * apart(found, wanted)
        terms["bending"] += weight * bending(flow)
        terms["leaving"] += weight * leaving(flow)
    if warps.local is None:
        return terms
    terms["fused"] = apart(warps.fused, target)
    where = landmark_mask(links, config)
    far = (warps.by_local - target).abs().sum(1, keepdim=True)
    weight = where.sum()
    mean = (far * where).sum() / weight.clamp(min=1.0)
    terms["local"] = mean * portion(weight)
    return terms


def apart(
    found: Float[Tensor, "b 4 h w"], target: Float[Tensor, "b 4 h w"]
) -> Float[Tensor, ""]:
    """Eq. 7: L1 of colours, and of masks."""
    far = (found - target).abs()
    return far[:, :3].mean() + far[:, 3:].mean()


def landmark_mask(links: Links, config: SalvtonConfig) -> Float[Tensor, "b 1 h w"]:
    """``M_l``: the union of hard squares around active landmarks, of a patch's size."""
    side = config.patch * config.size
    maps = squares(links.person, links.active.float(), config.shape, side, 0.0)
    return maps.amax(1, keepdim=True)
