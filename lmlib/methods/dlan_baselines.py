"""What DLAN is compared with (table 1): a landmark network for clothes that are cut out
by a box (DFA, Liu et al. 2016), and ways to find the box, or to do without one.

* ``Dfa`` on the whole image is a network without attention; with ``cascade`` its
  second stage corrects its first. (Fully convolutional DFA, table 2's first row, is
  ``Dlan`` with ``attention_steps=0``: the same, read once by a trunk with towers.)
* ``sliding_window``: DFA in 17 windows, then a vote.
* ``proposals``: DFA in the boxes that the edges of the image suggest, then a vote.
* ``DetectorDfa``: a detector, trained on boxes, then DFA in the best box: two networks.
* ``JointRpn``: both heads on one trunk, trained together.

All have DLAN's trunk. The papers leave open, and we chose:

* the 17 windows: the whole image, and four by four of half its side.
* the vote: of all windows' answers for a landmark the one with the most others near it,
  each counted as much as its window says that it sees the landmark.
* proposals: the score of EdgeBoxes (Zitnick and Dollar 2014) without its grouping of
  edges: edges well inside of a box, minus those that its border cuts.
* detector and RPN: one convolution on ``F_conv``, nine anchors a cell (three sizes,
  three ratios), as in Faster R-CNN; the best box, with a tenth more around it.
* a joint network is told the landmarks in anchors that overlap the true box by half.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lmlib.methods.dlan import (
    DlanConfig,
    OnTrunk,
    PerLandmark,
    fully_connected,
    regression_loss,
    start_weights,
    to_image,
    transform,
)
from lmlib.processes import drawn
from lmlib.samples import Batch

Boxes = Float[Tensor, "b n 4"]  # left, top, right, bottom in [-1, 1] of the image
Frames = Float[Tensor, "b n 2 3"]

SIZES, RATIOS = (0.5, 0.9, 1.5), (0.5, 1.0, 2.0)  # of anchors: sides, width to height
RIM = 0.55, 0.7  # of a proposal: its outline is inside of the first, none in between
POSITIVE = 0.5  # overlap of an anchor with the true box: it is the garment's


@dataclass(frozen=True, kw_only=True)
class DfaConfig(DlanConfig):
    """DLAN's sizes, for networks that need boxes."""

    towers: tuple[int, ...] = (1,)
    attention_steps: int = 0
    scale: float = 0.0
    cut_out: bool = True  # DFA is trained in true boxes; False: on whole images
    cascade: bool = False  # a second stage
    context: float = 0.1  # share of a box's sides added around it
    jitter: float = 0.1  # of boxes in training, share of their sides

    @classmethod
    def garments64(cls) -> "DfaConfig":
        """As DLAN's preset of that name."""
        return super().garments64()


# --- boxes ----------------------------------------------------------------------------


def frames_of(boxes: Boxes, context: float = 0.0) -> Frames:
    """Boxes as frames, with a share of their sides added around them."""
    low, high = boxes[..., :2], boxes[..., 2:]
    middle, half = (low + high) / 2, (1 + context) * (high - low) / 2
    return torch.cat([torch.diag_embed(half), middle[..., None]], -1)


def true_boxes(batch: Batch) -> Float[Tensor, "b 4"]:
    """Boxes of a batch inside the image: its own, or tight ones around its landmarks.

    Raises:
        ValueError: an image that shows no landmark has no such box.
    """
    if "box" in batch:
        return batch["box"].clamp(-1, 1)
    points, there = batch["landmarks"], batch["landmarks"].isfinite().all(-1)
    if not there.any(1).all():
        raise ValueError("an image without landmarks and without a box")
    low = points.where(there[..., None], torch.inf).amin(1)
    high = points.where(there[..., None], -torch.inf).amax(1)
    low, high = low.clamp(-1, 0.95), high.clamp(-0.95, 1)
    return torch.cat([low, torch.maximum(high, low + 0.05)], 1)


def overlap(
    a: Float[Tensor, "#b n 4"], b: Float[Tensor, "#b m 4"]
) -> Float[Tensor, "_ n m"]:
    """Intersection over union of every two boxes."""
    low = torch.maximum(a[:, :, None, :2], b[:, None, :, :2])
    high = torch.minimum(a[:, :, None, 2:], b[:, None, :, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    area_a, area_b = ((x[..., 2:] - x[..., :2]).prod(-1) for x in (a, b))
    return both / (area_a[:, :, None] + area_b[:, None] - both)


def grid_windows(side: int = 4, size: float = 0.5) -> Float[Tensor, "n 4"]:
    """The whole image, and ``side`` x ``side`` windows of ``size`` times its side."""
    line = torch.linspace(-1 + size, 1 - size, side)
    middle = torch.cartesian_prod(line, line)
    inner = torch.cat([middle - size, middle + size], 1)
    return torch.cat([torch.tensor([[-1.0, -1, 1, 1]]), inner])


def edge_proposals(
    images: Float[Tensor, "b c h w"], count: int = 100, apart: float = 0.7
) -> Boxes:
    """Boxes that edges suggest, best first: whole things, not pieces of them.

    A box's score is the strength of the edges in it, minus that of edges near its
    border, over its perimeter to the power 1.5. Boxes that overlap a better one by more
    than ``apart`` are left out as long as there are others.
    """
    gray = images.mean(1, keepdim=True)
    slope = gray.new_tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]])[None, None]
    pad = F.pad(gray, (1, 1, 1, 1), mode="replicate")
    edges = torch.hypot(F.conv2d(pad, slope), F.conv2d(pad, slope.mT))
    height, width = edges.shape[-2:]
    total = F.pad(edges[:, 0].cumsum(1).cumsum(2), (1, 0, 1, 0))  # integral image
    boxes = _candidates().to(images)

    def mass(box: Tensor) -> Tensor:
        """Edges in boxes ``(n, 4)``: ``(B, n)``."""
        ends = box.clamp(-1, 1).add(1) / 2 * box.new_tensor([width, height] * 2)
        x0, y0, x1, y1 = ends.round().long().unbind(1)
        return total[:, y1, x1] - total[:, y0, x1] - total[:, y1, x0] + total[:, y0, x0]

    middle, side = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    inner, outer = (torch.cat([middle - k * side, middle + k * side], 1) for k in RIM)
    score = 2 * mass(inner) - mass(outer)  # inside, minus what the border cuts
    score = score / (2 * side.sum(1)) ** 1.5
    near = overlap(boxes[None], boxes[None])[0] > apart
    chosen, rows = [], torch.arange(len(images), device=images.device)
    for _ in range(min(count, len(boxes))):
        best = score.argmax(1)
        chosen.append(boxes[best])
        score = score - 1e6 * near[best]  # again only when all others are taken
        score[rows, best] = -torch.inf
    return torch.stack(chosen, 1)


def _candidates() -> Float[Tensor, "n 4"]:
    """Boxes of many sizes, ratios and places, all inside of the image."""
    found = []
    for size in (0.3, 0.45, 0.65, 0.9, 1.3, 1.8):
        for ratio in RATIOS:
            half = torch.tensor([size * ratio**0.5, size / ratio**0.5]).clamp(max=2) / 2
            count = (3 * (1 - half) / half).round().long() + 1
            lines = [torch.linspace(-1 + h, 1 - h, n) for h, n in
                     zip(half.tolist(), count.tolist(), strict=True)]  # fmt: skip
            middle = torch.cartesian_prod(*lines)
            found.append(torch.cat([middle - half, middle + half], 1))
    return torch.cat(found)


def vote(
    points: Float[Tensor, "b n j 2"], weight: Float[Tensor, "b n j"], near: float = 0.1
) -> Float[Tensor, "b j 2"]:
    """Of n answers for each landmark the one that most others support.

    Support is ``sum_k w_k exp(-|p - p_k|^2 / 2 near^2)``.
    """
    away = (points[:, :, None] - points[:, None]).square().sum(-1)  # (B, n, k, J)
    support = (weight[:, None] * torch.exp(-away / (2 * near**2))).sum(2)
    best = support.argmax(1)[:, None, :, None].expand(-1, -1, -1, 2)
    return points.gather(1, best).squeeze(1)


# --- DFA in a box ---------------------------------------------------------------------


class Head(nn.Module):
    """Fully connected layers on a frame: places in it and whether they are seen.

    With ``cascade``, a second stage sees the first one's places beside the features and
    corrects them by a fifth of what it says (the released DFA).
    """

    def __init__(self, config: DfaConfig, channels: int):
        super().__init__()
        width, j = config.hidden[-1], config.landmarks
        self.layers = fully_connected(config, channels)
        self.place = PerLandmark(j, width, 2)
        nn.init.normal_(self.place.weight, std=0.1 * width**-0.5)
        self.seen = nn.Linear(width, j)
        self.known = self.correct = None
        if config.cascade:
            self.known = nn.Linear(2 * j, width)
            self.correct = nn.Sequential(
                nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 2 * j)
            )

    def forward(self, patches: Float[Tensor, "b n c s s"]):
        """Places of every stage, ``(B n, J, 2)`` each, and logits ``(B n, J)``."""
        x = self.layers(F.max_pool2d(patches.flatten(0, 1), 2).flatten(1))
        places = [self.place(x[:, None])]
        if self.correct is not None:
            known = F.relu(self.known(places[0].detach().flatten(1)))
            change = self.correct(torch.cat([x, known], 1)) / 5
            places.append(places[0].detach() + change.unflatten(1, (-1, 2)))
        return places, self.seen(x)


class Dfa(OnTrunk):
    """Landmarks of clothes in a box. ``landmarks(images)`` takes the image for it."""

    name = "dfa"
    Config = DfaConfig

    def __init__(self, config: DfaConfig):
        super().__init__(config)
        self.weights = {"landmark": 1.0, "first": 1.0, "seen": 0.1}
        self.head = Head(config, self.trunk.channels)
        start_weights(self)

    def inside(self, images: Float[Tensor, "b 3 y x"], frames: Frames):
        """Places in the image of every stage, ``(B, n, J, 2)`` each, and logits."""
        c = self.config
        n = frames.shape[1]
        whole = torch.eye(2, 3, device=images.device)
        if n == 1 and bool((frames == whole).all()):
            cut = images
        else:
            cut = transform(images, frames, c.size).flatten(0, 1)
        maps = self.features(cut)
        still = whole.expand(len(maps), 1, 2, 3)
        places, logits = self.head(transform(maps, still, c.patch))
        back = [to_image(frames, p.float().unflatten(0, (-1, n))) for p in places]
        return back, logits.float().unflatten(0, (-1, n))

    def landmarks(
        self,
        images: Float[Tensor, "b 3 y x"],
        boxes: Float[Tensor, "b 4"] | None = None,
    ) -> Float[Tensor, "b j 2"]:
        """Of the last stage, in [-1, 1] of the image."""
        frames = torch.eye(2, 3, device=images.device).expand(len(images), 1, 2, 3)
        if boxes is not None:
            frames = frames_of(boxes[:, None], self.config.context)
        return self.inside(images, frames)[0][-1][:, 0]

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Errors in the image, as DLAN's, and a cross-entropy of what is seen."""
        frames = torch.eye(2, 3, device=batch["image"].device)
        frames = frames.expand(len(batch["image"]), 1, 2, 3)
        if self.config.cut_out:
            boxes = jittered(true_boxes(batch), self.config.jitter)
            frames = frames_of(boxes[:, None], self.config.context)
        places, logits = self.inside(batch["image"], frames)
        truth, seen = batch["landmarks"], batch["visible"]
        errors = [regression_loss(p[:, 0], truth, seen) for p in places]
        terms = {"landmark": errors[-1]}
        if errors[:-1]:
            terms["first"] = errors[0]
        terms["seen"] = F.binary_cross_entropy_with_logits(logits[:, 0], seen.float())
        return self.weighted(terms)


def jittered(boxes: Float[Tensor, "b 4"], share: float) -> Float[Tensor, "b 4"]:
    """Boxes whose sides have moved by up to ``share`` of their lengths."""
    side = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    move = 2 * drawn(torch.rand, boxes.shape).to(boxes) - 1
    return boxes + share * side * move


@torch.no_grad()
def by_vote(
    dfa: Dfa, images: Float[Tensor, "b 3 y x"], boxes: Boxes
) -> Float[Tensor, "b j 2"]:
    """DFA in every box, then a vote: as many passes as boxes."""
    places, logits = dfa.inside(images, frames_of(boxes))
    return vote(places[-1], logits.sigmoid())


def sliding_window(dfa: Dfa, images: Float[Tensor, "b 3 y x"]):
    """Table 1's first row: 17 windows, ``(B, J, 2)``."""
    windows = grid_windows().to(images)
    return by_vote(dfa, images, windows.expand(len(images), -1, -1))


def proposals(dfa: Dfa, images: Float[Tensor, "b 3 y x"], count: int = 100):
    """Table 1's second row: ``count`` proposals, ``(B, J, 2)``."""
    return by_vote(dfa, images, edge_proposals(images, count))


# --- finding the box ------------------------------------------------------------------


class Anchors(nn.Module):
    """A region proposal network: for nine boxes a cell, is it the garment, and where
    exactly? (Ren et al. 2015)"""

    def __init__(self, channels: int):
        super().__init__()
        kinds = len(SIZES) * len(RATIOS)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, 5 * kinds, 1),
        )

    def start(self) -> None:
        """Begin with the anchors as they are, all as likely."""
        nn.init.normal_(self.layers[2].weight, std=0.01)
        nn.init.zeros_(self.layers[2].bias)

    @staticmethod
    def boxes(height: int, width: int, device=None) -> Float[Tensor, "n 4"]:
        """All anchors; kinds vary slowest, as channels do."""
        y = (2 * torch.arange(height, device=device) + 1) / height - 1
        x = (2 * torch.arange(width, device=device) + 1) / width - 1
        middle = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1)
        half = torch.tensor(
            [(s * r**0.5 / 2, s / r**0.5 / 2) for s in SIZES for r in RATIOS],
            device=device,
        )[:, None]
        return torch.cat([middle - half, middle + half], -1).flatten(0, 1)

    def forward(self, maps: Float[Tensor, "b c h w"]):
        """Logits ``(B, n)`` of all anchors, and their boxes as corrected ``(B, n, 4)``,
        and the anchors ``(n, 4)``."""
        out = self.layers(maps).float()
        out = out.unflatten(1, (-1, 5)).permute(0, 1, 3, 4, 2).flatten(1, 3)
        anchors = self.boxes(*maps.shape[-2:], maps.device)
        low, high = anchors[:, :2], anchors[:, 2:]
        middle, side = (low + high) / 2, high - low
        middle = middle + side * out[..., 1:3]
        half = side * out[..., 3:].clamp(-3, 3).exp() / 2
        return out[..., 0], torch.cat([middle - half, middle + half], -1), anchors


def box_losses(
    logits: Float[Tensor, "b n"],
    boxes: Boxes,
    anchors: Float[Tensor, "n 4"],
    truth: Float[Tensor, "b 4"],
) -> dict[str, Float[Tensor, ""]]:
    """``object``: ``-log`` of the share of a softmax over all anchors that falls on
    those of the garment. ``box``: how far their boxes are off, in [-1, 1]."""
    found = overlap(anchors[None], truth[:, None])[..., 0]
    mine = (found > POSITIVE) | (found == found.amax(1, keepdim=True))
    share = logits.log_softmax(1).masked_fill(~mine, -torch.inf).logsumexp(1)
    exact = truth[:, None].expand_as(boxes)
    off = F.smooth_l1_loss(boxes, exact, reduction="none", beta=0.1)
    wrong = (off.sum(-1) * mine).sum(1).div(mine.sum(1)).mean()
    return {"object": -share.mean(), "box": wrong}


def best_box(logits: Float[Tensor, "b n"], boxes: Boxes) -> Float[Tensor, "b 4"]:
    """The most probable box, inside the image and not empty."""
    chosen = logits.argmax(1)[:, None, None].expand(-1, 1, 4)
    box = boxes.gather(1, chosen).squeeze(1).clamp(-1, 1)
    low = box[:, :2].clamp(max=0.95)
    return torch.cat([low, torch.maximum(box[:, 2:], low + 0.05)], 1)


class FindsBoxes(OnTrunk):
    """What finds the garment's box by region proposals on its trunk."""

    Config = DfaConfig

    def __init__(self, config: DfaConfig):
        super().__init__(config)
        self.weights = {"object": 1.0, "box": 1.0}
        self.weights |= {"landmark": 1.0, "first": 1.0, "seen": 0.1}
        self.anchors = Anchors(self.trunk.channels)

    def boxes(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b 4"]:
        """The most probable one."""
        logits, boxes, _ = self.anchors(self.features(images))
        return best_box(logits, boxes)


class DetectorDfa(FindsBoxes):
    """A detector and a DFA, two networks that know nothing of each other."""

    name = "detector-dfa"

    def __init__(self, config: DfaConfig):
        super().__init__(config)
        start_weights(self)
        self.anchors.start()
        self.dfa = Dfa(config)

    def landmarks(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b j 2"]:
        """DFA's in the best box."""
        return self.dfa.landmarks(images, self.boxes(images))

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Of both networks; none reaches the other's weights."""
        found = self.anchors(self.features(batch["image"]))
        terms = box_losses(*found, true_boxes(batch))
        return self.weighted(terms) | self.dfa.losses(batch)


class JointRpn(FindsBoxes):
    """Region proposals and DFA's head on one trunk, trained end to end."""

    name = "rpn-dfa"

    def __init__(self, config: DfaConfig):
        super().__init__(config)
        self.head = Head(config, self.trunk.channels)
        start_weights(self)
        self.anchors.start()

    def inside(self, maps: Float[Tensor, "b c h w"], frames: Frames):
        """As ``Dfa.inside``, but frames are cut from ``F_conv`` (RoI pooling)."""
        places, logits = self.head(transform(maps, frames, self.config.patch))
        n = frames.shape[1]
        back = [to_image(frames, p.float().unflatten(0, (-1, n))) for p in places]
        return back, logits.float().unflatten(0, (-1, n))

    def landmarks(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b j 2"]:
        """In the best box; the trunk reads the image once."""
        maps = self.features(images)
        logits, boxes, _ = self.anchors(maps)
        frames = frames_of(best_box(logits, boxes)[:, None], self.config.context)
        return self.inside(maps, frames)[0][-1][:, 0]

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Landmarks are told in one box an image that overlaps the true one by half:
        one of the network's own, at random, or a moved true one."""
        maps, truth = self.features(batch["image"]), true_boxes(batch)
        logits, boxes, anchors = self.anchors(maps)
        terms = box_losses(logits, boxes, anchors, truth)
        with torch.no_grad():
            good = overlap(boxes, truth[:, None])[..., 0] > POSITIVE
            luck = drawn(torch.rand, good.shape).to(logits).masked_fill(~good, -1)
            picked = boxes.gather(1, luck.argmax(1)[:, None, None].expand(-1, 1, 4))
            spare = jittered(truth, self.config.jitter)[:, None]
            chosen = picked.where(good.any(1)[:, None, None], spare)
            frames = frames_of(chosen, self.config.context)
        places, seen_logits = self.inside(maps, frames)
        marks, seen = batch["landmarks"], batch["visible"]
        errors = [regression_loss(p[:, 0], marks, seen) for p in places]
        terms["landmark"] = errors[-1]
        if errors[:-1]:
            terms["first"] = errors[0]
        terms["seen"] = F.binary_cross_entropy_with_logits(
            seen_logits[:, 0], seen.float()
        )
        return self.weighted(terms)
