"""The local flow: patches around landmarks, matched pixel by pixel (figure 5).

Two patches belong to a landmark k: one around ``L_p`` on the person, one around ``L_g``
on the garment. Each pixel u of the first looks for its like among the pixels v of the
second, and gets the mean of their places:

    f_l(u) = sum_v p(v|u) v,   p(v|u) = softmax_v( <Q_u, K_v> / sqrt(C)
                                - beta |o_v - A o_u|^2 + log box(o_v) )

``o`` are offsets from the landmarks. The second term carries the patch over as it is
(A = 1 to begin with), so that a network without any training has a flow worth
improving. The box is soft, and its sides are learned: eq. 2 and 3. As its logarithm is
added to the scores, what lies outside of it has no weight.

``windows`` cuts patches out; ``everywhere`` has the whole image for every landmark,
with the same answer for a thousand times the memory.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmlib.geometry import from_pixels, to_pixels

NEVER = -1e4  # a score that leaves no weight, and no NaN in a gradient
SHARPNESS = 2.0  # of the soft box, as released

Sides = Float[Tensor, "b k 2"]  # width and height in pixels
Turns = Float[Tensor, "b k 2 2"]  # A


class Patches(NamedTuple):
    """Pixels around landmarks, n for each; of images (height, width) ``size``."""

    size: tuple[int, int]
    pixels: Int[Tensor, "b k n"]  # numbers, row by row
    offsets: Float[Tensor, "b k n 2"]  # x and y in pixels from the landmark
    inside: Bool[Tensor, "b k n"]  # in the image and in the window

    @property
    def places(self) -> Float[Tensor, "b k n 2"]:
        """The pixels' centres in [-1, 1]."""
        x, y = self.pixels % self.size[1], self.pixels // self.size[1]
        return from_pixels(torch.stack([x, y], -1).to(self.offsets), self.size)

    def of(self, maps: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k n"]:
        """What each landmark's own map holds at its pixels."""
        return maps.flatten(2).gather(2, self.pixels)


def windows(
    points: Float[Tensor, "b k 2"], size: tuple[int, int], window: tuple[int, int]
) -> Patches:
    """``window`` (height, width, both odd) pixels around each point in [-1, 1]."""
    centre = to_pixels(points, size).unsqueeze(2)  # (B, K, 1, 2)
    high, wide = (side // 2 for side in window)
    y = torch.arange(-high, high + 1, device=points.device)
    x = torch.arange(-wide, wide + 1, device=points.device)
    steps = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(-1, 2)
    pixels = centre.detach().round() + steps  # (B, K, n, 2)
    limit = torch.tensor([size[1] - 1, size[0] - 1], device=points.device)
    inside = ((pixels >= 0) & (pixels <= limit)).all(-1)
    x, y = pixels.clamp(min=0).minimum(limit).long().unbind(-1)
    return Patches(size, y * size[1] + x, pixels - centre, inside)


def everywhere(
    points: Float[Tensor, "b k 2"], size: tuple[int, int], window: tuple[int, int]
) -> Patches:
    """The same, but every landmark has all pixels, and most of them lie outside."""
    centre = to_pixels(points, size).unsqueeze(2)
    number = torch.arange(size[0] * size[1], device=points.device)
    pixels = torch.stack([number % size[1], number // size[1]], -1).to(points)
    reach = torch.tensor([window[1] // 2, window[0] // 2], device=points.device)
    inside = ((pixels - centre.detach().round()).abs() <= reach).all(-1)
    return Patches(size, number.expand(*inside.shape), pixels - centre, inside)


def log_box(offsets: Float[Tensor, "b k n 2"], sides: Sides) -> Float[Tensor, "b k n"]:
    """Logarithm of a soft box of these sides: 1 well inside, 1/2 on its last pixel.

    A box of side s holds the offsets with 2 |o| + 1 <= s, as in the released code.
    """
    margin = sides.unsqueeze(2) - (2 * offsets.abs() + 1)
    return F.logsigmoid(SHARPNESS * margin).sum(-1)


def match(
    person: Float[Tensor, "b c h w"],
    garment: Float[Tensor, "b c h w"],
    mine: Patches,
    theirs: Patches,
    sides: Sides,
    turns: Turns,
    beta: Float[Tensor, " k"],
    active: Bool[Tensor, "b k"],
    *,
    plain: bool = False,
) -> Float[Tensor, "b k n 2"]:
    """``f_l``: where each pixel of the person's patches finds its like on the garment.

    Args:
        person: Q, a vector a pixel.
        garment: K.
        mine: patches on the person.
        theirs: patches on the garment.
        sides: of the boxes on the garment.
        turns: A, how an offset on the person becomes one on the garment.
        beta: how strongly, in 1/px^2.
        active: landmarks that both images show; the others cost nothing and give 0.
        plain: as the equation stands. Otherwise the second term is multiplied out, its
            parts become channels of Q and K, and an attention kernel keeps no matrix.

    Returns:
        Places in [-1, 1] of the garment's image.
    """
    rows = active.nonzero()  # (M, 2): image and landmark
    image, landmark = rows.unbind(1)
    q = _vectors(person, mine, image, landmark) / math.sqrt(person.shape[1])
    k = _vectors(garment, theirs, image, landmark)
    here, there = (p.offsets[image, landmark] for p in (mine, theirs))
    moved = here @ turns[image, landmark].mT  # A o_u: (M, n, 2)
    beta = beta[landmark].view(-1, 1, 1)
    box = log_box(theirs.offsets, sides).where(theirs.inside, NEVER)[image, landmark]
    value = theirs.places[image, landmark]
    if plain:
        far = (there.unsqueeze(1) - moved.unsqueeze(2)).square().sum(-1)  # (M, n, m)
        scores = q @ k.mT - beta * far + box.unsqueeze(1)
        found = scores.softmax(-1) @ value
    else:  # what is left out is the same for all v
        bias = box.unsqueeze(-1) - beta * there.square().sum(-1, keepdim=True)
        q = torch.cat([q, 2 * beta * moved, torch.ones_like(moved[..., :1])], -1)
        found = _attention(q, torch.cat([k, there, bias], -1), value)
    flow = found.new_zeros(*active.shape, *found.shape[1:])
    return flow.index_put((image, landmark), found)


def _vectors(features, patches: Patches, image: Tensor, landmark: Tensor) -> Tensor:
    """Features at the pixels of some patches: ``(M, n, C)``."""
    table = rearrange(features, "b c h w -> (b h w) c")
    count = features.shape[-2] * features.shape[-1]
    row = patches.pixels[image, landmark] + count * image.unsqueeze(1)
    return table.index_select(0, row.flatten()).unflatten(0, row.shape)


def _attention(q: Tensor, k: Tensor, value: Tensor) -> Tensor:
    """``softmax(q k^T) value``, with values filled up to the length of the keys."""
    length = value.shape[-1]
    value = F.pad(value, (0, q.shape[-1] - length))
    parts = (x.contiguous().unsqueeze(1) for x in (q, k, value))
    return F.scaled_dot_product_attention(*parts, scale=1.0)[:, 0, :, :length]


def match_released(
    person: Float[Tensor, "b c h w"],
    garment: Float[Tensor, "b c h w"],
    mine: Patches,
    theirs: Patches,
    sides: tuple[Sides, Sides],
    places: Float[Tensor, "b k2 h w"],
) -> Float[Tensor, "b k n 2"]:
    """The local flow as the released code has it, with its quirks.

    * The boxes (of the person's patches, and of the garment's) multiply the features.
      A pixel outside of a box has a score of 0, not of minus infinity, and keeps its
      weight. So have pixels beyond the image's edge, with the place -1.
    * The scores are not divided by sqrt(C), and know no offsets.
    * The person's box is felt through the features alone: the flow is written over the
      whole window.
    * What is averaged is no pixel's place but ``places``: x and y of all landmarks (2 K
      maps), learned.

    Not copied: 4 numbers a pixel for matching; three resolutions, of which it takes the
    mean; and that outside of all windows it reads the garment's corner.
    """
    b, k, n = mine.pixels.shape
    rows = mine.pixels.new_ones(b, k).nonzero().unbind(1)
    scaled = []
    for features, patches, side in zip(
        (person, garment), (mine, theirs), sides, strict=True
    ):
        box = log_box(patches.offsets, side).exp() * patches.inside
        vectors = _vectors(features, patches, *rows).view(b, k, n, -1)
        scaled.append(vectors * box.unsqueeze(-1))
    share = (scaled[0] @ scaled[1].mT).softmax(-1)  # (B, K, n, m)
    x, y = (theirs.of(part) for part in (places[:, 0::2], places[:, 1::2]))
    value = torch.stack([x, y], -1).where(theirs.inside.unsqueeze(-1), -1.0)
    return share @ value


class Blended(NamedTuple):
    """Patches laid over each other."""

    warped: Float[Tensor, "b c h w"]  # W_l, eq. 4; 0 where there is no patch
    flow: Float[Tensor, "b 2 h w"]  # the mean of their flows, with the same weights
    covered: Float[Tensor, "b 1 h w"]  # from 0, no patch, to 1, well inside of one


def blend(
    garment: Float[Tensor, "b c h w"],
    patches: Patches,
    flow: Float[Tensor, "b k n 2"],
    attention: Float[Tensor, "b k n"],
    box: Float[Tensor, "b k n"],
    active: Bool[Tensor, "b k"],
) -> Blended:
    """Eq. 4: every patch warps the garment, and attention decides where several do.

    Args:
        attention: ``m_l``.
        box: ``log_box`` of the person's patches: it is added to ``m_l``, so that a
            patch fades out towards its edge.
    """
    inside = (patches.inside & active.unsqueeze(-1)).flatten(1)  # (B, K n)
    where = patches.pixels.flatten(1)
    scores = (attention + box).flatten(1).where(inside, NEVER)
    count = patches.size[0] * patches.size[1]
    top = scores.new_full((len(scores), count), NEVER)
    top = top.scatter_reduce(1, where, scores.detach(), "amax")
    weight = (scores - top.gather(1, where)).exp() * inside
    total = scores.new_zeros(len(scores), count).scatter_add(1, where, weight)
    seen = F.grid_sample(garment, flow, padding_mode="border", align_corners=False)
    values = torch.cat([seen, flow.permute(0, 3, 1, 2)], 1).flatten(2)  # (B, C+2, K n)
    spread = where.unsqueeze(1).expand(-1, values.shape[1], -1)
    mean = values.new_zeros(*values.shape[:2], count)
    mean = mean.scatter_add(2, spread, values * weight.unsqueeze(1))
    mean = (mean / total.clamp(min=1e-9).unsqueeze(1)).unflatten(2, patches.size)
    soft = (box.flatten(1).exp() * inside).clamp(max=1)
    covered = torch.zeros_like(total).scatter_reduce(1, where, soft, "amax")
    channels = garment.shape[1]
    return Blended(
        mean[:, :channels],
        mean[:, channels:],
        covered.unflatten(1, patches.size).unsqueeze(1),
    )
