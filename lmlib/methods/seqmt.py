"""Sequential multi-tasking and equivariant landmark transformation (Honari et al.
2018).

An image becomes maps, maps become points, and only the points reach the classifier:

    image -> maps -> soft-argmax -> landmarks -> fully connected -> class

Because soft-argmax is differentiable, a class label alone pulls on the landmarks. Three
losses can be added: class ``C``, landmarks ``L`` (where labelled), equivariance ``T``
(the paper's ELT). The networks it is compared with are in ``seqmt_baselines``.

The paper leaves open, and we chose:

* coordinates: ours are in [-1, 1], the paper's in pixels. The landmark and equivariance
  terms are computed in pixels (``config.size``), so that lambda and alpha mean the
  same.
* the classifier reads points in [-1, 1]: the same function class, better conditioned.
* learning rate and batch size: see each preset.
* which number of its lists of hyper-parameters is which greek letter (the printed
  letters are lost in hands, MultiPIE and RCN+): read in the order beta, alpha, gamma,
  lambda, which keeps alpha <= lambda everywhere.
* when the ELT and class labels begin to act on the landmarks: at once, or, beside
  landmark labels and in a short run, after shares of the steps (``config.elt_delay``,
  ``class_delay``). Before the network can tell head from tail, the ELT is content with
  all landmarks in the middle of the figure and holds them there, and the class branch
  pulls them somewhere that helps *its* random weights.
* the initial weights (``config.start``). "plain" is random. With it,
  training on class labels alone ends in one of three ways: both shapes found; both maps
  on the same shape; or one map on a shape and the other on the *background*, whose mean
  position betrays the other shape. So "comparing" starts with maps that are bright
  where something is (last convolution positive) and a classifier that sees only
  differences between landmarks. And at the paper's small beta a random network's maps
  are flat: every landmark sits in the middle of the image and hardly moves. So
  ``calibrate`` gives every layer unit variance, once, on a few training images, and the
  maps are multiplied by a fixed ``gain``, so that ``beta M(I)`` starts with peaks: its
  deviation is ``contrast``. Such a stack still loses many steps with all landmarks in
  the middle of the figure, the best answer of a network that cannot tell head from
  tail; the ELT, perfectly content there, can hold it for good. Hence "mirrored"
  (``layers.mirror``), which leaves that answer in one or two hundred steps.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlib.geometry import Affine
from lmlib.heatmaps import soft_argmax
from lmlib.layers import (
    Recombinator,
    check_images,
    conv_stack,
    mirror,
    mlp,
    unit_variance,
)
from lmlib.methods.base import FitOptions, Method
from lmlib.methods.seqmt_config import SeqMtConfig
from lmlib.samples import Batch, Pool, augment
from lmlib.schedules import constant, constant_then_decay, cosine
from lmlib.warps import seqmt_affine

# --- the three losses -----------------------------------------------------------------
# Means run over the last dimension, the batch's, so that a stack of networks can call
# them with (M, B, ...) and get one value for each network.
Points = Float[Tensor, "*m b k 2"]
Each = Float[Tensor, "*m"]


def landmark_loss(points: Points, batch: Batch, size: int) -> Each:
    """Eq. 3: ``(1/NK) sum ||L~ - L||^2`` in square pixels, over what is labelled.

    ``batch["labelled"]``, bool, where present, says which images may use their
    landmarks; hidden landmarks count nowhere. Images without labels count as zero.
    """
    mask = batch["visible"]  # (B, K)
    if "labelled" in batch:
        mask = mask & batch["labelled"][..., None]
    # where, not a product: the place of a hidden landmark may be NaN
    difference = (points - batch["landmarks"]).where(mask[..., None], 0.0)
    return difference.mul(size / 2).square().sum(-1).mean((-2, -1))


def class_loss(logits: Float[Tensor, "*m b n"], labels: Int[Tensor, "*m b"]) -> Each:
    """Eq. 3: ``-(1/N) sum log P(c|I)``."""
    chosen = F.log_softmax(logits, dim=-1).gather(-1, labels.unsqueeze(-1))
    return -chosen.squeeze(-1).mean(-1)


def equivariance_loss(moved: Points, again: Points, size: int) -> Each:
    """Eq. 4: ``(1/NK) sum ||T L(I) - L(T I)||^2`` in square pixels."""
    return (moved - again).mul(size / 2).square().sum(-1).mean((-2, -1))


def elt_mask(batch: Batch, images: str) -> Bool[Tensor, "*m b"]:
    """Which images the ELT acts on: those without landmarks, or ``"all"``.

    A batch that does not say which are labelled is taken whole.
    """
    if images == "all" or "labelled" not in batch:
        return torch.ones_like(batch["index"], dtype=torch.bool)
    return ~batch["labelled"]


def l2_penalty(module: nn.Module) -> Float[Tensor, ""]:
    """``||W||^2`` of eq. 3: weights only, no biases."""
    weights = [p for p in module.parameters() if p.ndim > 1]
    return torch.stack([w.square().sum() for w in weights]).sum()


def loss_weights(config: SeqMtConfig) -> dict[str, float]:
    """The factors of eq. 3 and 4 by term."""
    return {
        "class": config.weight_class,
        "landmark": config.weight_landmark,
        "equivariance": config.weight_equivariance,
        "l2": config.weight_l2,
    }


def with_class_term(method: Method, terms: dict, logits: dict, batch: Batch) -> dict:
    """The terms with those of the classes, the mean over the heads, and of L2."""
    if logits and method.weight("class"):
        each = [class_loss(logits[name], batch[name]) for name in logits]
        terms = {"class": torch.stack(each).mean(0), **terms}
    if method.weight("l2") and any(map(method.weight, terms)):
        terms = {**terms, "l2": l2_penalty(method)}
    return method.weighted(terms)


def start_weights(module: nn.Module, maps: nn.Module) -> None:
    """He's initial weights for layers with ReLU, biases zero; see ``config.start``.

    ``maps`` makes the maps; its convolutions may start mirrored.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    if module.config.start == "mirrored":
        mirror(maps)


def map_network(config: SeqMtConfig) -> nn.Module:
    """From images to K maps of the same size: figure 1's stack, or figure 15's RCN."""
    if config.trunk == "rcn":
        return Recombinator(
            config.image_channels,
            config.channels,
            config.landmarks,
            config.levels,
            config.last_channels,
        )
    hidden = (config.channels,) * (len(config.kernels) - 2)
    hidden += (config.last_channels or config.channels,)
    return conv_stack(
        (config.image_channels, *hidden, config.landmarks), config.kernels
    )


def class_heads(config: SeqMtConfig, inputs: int) -> nn.ModuleDict:
    """One branch of fully connected layers for each label."""
    return nn.ModuleDict(
        {
            name: mlp((inputs, *config.hidden, count), config.dropout)
            for name, count in config.heads.items()
        }
    )


class LandmarkLearner(Method):
    """What Seq-MT shares with the networks it is compared with: how it is trained.

    ``labelled`` says which images of a batch keep their landmarks.
    """

    Config = SeqMtConfig
    learns_landmarks = True

    def __init__(self, config: SeqMtConfig):
        super().__init__(config)
        self.weights = loss_weights(config)
        self.elt_acts = True
        self.class_pulls = True  # False: the class branch learns, the maps do not

    def convolutions(self) -> nn.Sequential:
        """The layers that ``start`` rescales."""
        raise NotImplementedError

    def calibrate(self, images: Float[Tensor, "b c h w"]) -> None:
        """Unit variance in every layer for these images, if ``contrast`` is set."""
        if self.config.contrast:
            unit_variance(self.convolutions(), images)

    def fit_options(self, steps: int) -> FitOptions:
        """Adam; the rate rises, and falls along a cosine."""
        c = self.config
        schedules = {
            "cosine": cosine(steps, c.warm_up),
            "falling": constant_then_decay(steps),
            "constant": constant,
        }
        schedule = schedules[c.schedule]
        return FitOptions(
            batch_size=c.batch_size, lr=c.lr, betas=c.betas, schedule=schedule
        )

    def at(self, progress: float) -> None:
        """Which terms act by now, by ``elt_delay`` and ``class_delay``.

        Without a landmark term all act at once: nothing could end the waiting.
        """
        c = self.config
        progress = progress if c.weight_landmark else 1.0
        self.elt_acts = progress >= c.elt_delay
        self.class_pulls = progress >= c.class_delay

    def pools(self, images: Int[Tensor, " n"], labelled: Bool[Tensor, " n"]) -> Pool:
        """Where a loss uses images without landmarks, as many of them as with
        landmarks are in every batch, on top."""
        c = self.config
        used = bool(c.weight_equivariance or c.weight_class)
        if used and labelled.any() and not labelled.all():
            return images[labelled], images[~labelled]
        return images[labelled] if labelled.any() else images

    def augment(self, batch: Batch) -> Batch:
        """Images and landmarks turned, moved and zoomed, by ``config.augment``."""
        c = self.config
        if not c.augment:
            return batch
        warp = seqmt_affine(len(batch["index"]), c.augment)
        return augment(batch, warp, "border", hide=not c.guess_hidden)

    @classmethod
    def suited(cls, config: SeqMtConfig, batch: Batch) -> SeqMtConfig:
        """With the landmarks of the data."""
        if "landmarks" not in batch:
            raise ValueError(f"no landmarks, which {cls.name} learns from")
        missing = [label for label in config.heads if label not in batch]
        if missing and config.weight_class:
            raise ValueError(
                f"no {', '.join(missing)}, which this preset learns from; choose a "
                "preset without classes (w300, rcn_plus) or add --set weight_class=0 "
                "--set classes=0"
            )
        return replace(config, landmarks=batch["landmarks"].shape[1])


class SeqMt(LandmarkLearner):
    """Seq-MT. ``beta``, ``weights`` and ``factors`` can be turned in training."""

    name = "seqmt"

    def __init__(self, config: SeqMtConfig):
        super().__init__(config)
        self.maps = map_network(config)
        self.heads = class_heads(config, inputs=2 * config.landmarks)
        start_weights(self, self.maps)
        if config.start == "comparing":
            self._compare()
        self.beta = config.beta
        self.gain = config.contrast / config.beta if config.contrast else 1.0

    @torch.no_grad()
    def _compare(self) -> None:
        """Maps that are bright where something is, and a classifier that sees only
        differences between landmarks."""
        self.maps[-1].weight.abs_()
        for head in self.heads.values():
            weight = head[0].weight.view(-1, self.config.landmarks, 2)
            weight -= weight.mean(dim=1, keepdim=True)

    def convolutions(self) -> nn.Sequential:
        """Of the maps."""
        return self.maps

    def scores(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """Maps before the softmax, ``M(I)`` in eq. 1."""
        images = check_images(images, self.config.image_channels)
        return self.gain * self.maps(images)

    def landmarks(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k 2"]:
        """Landmarks ``L(I)``, eq. 1-2, in [-1, 1]."""
        return soft_argmax(self.scores(images), self.beta)

    def move(self, points: Points, warp: Affine) -> Points:
        """``T . L(I)`` of eq. 4: where the landmarks belong in the warped image.

        A method of its own because it is the step to get wrong: the warp that moves the
        pixels moves the points the same way (``warp.points``), not the inverse way.
        """
        return warp.points(points)

    def logits(self, points: Float[Tensor, "b k 2"]) -> dict[str, Float[Tensor, "b _"]]:
        """Class logits of each head from landmarks alone."""
        return {name: head(points.flatten(1)) for name, head in self.heads.items()}

    def classify(self, points: Float[Tensor, "b k 2"]) -> Float[Tensor, "b classes"]:
        """Logits of the first head from landmarks."""
        return next(iter(self.logits(points).values()))

    def class_logits(self, images: Float[Tensor, "b c h w"]) -> dict[str, Tensor]:
        """Class logits of each head, through the landmarks."""
        return self.logits(self.landmarks(images))

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms of eq. 3 and 4. Terms of weight zero are left out.

        With several heads the class term is their mean.
        """
        image = batch["image"]
        points = self.landmarks(image)
        terms = {"landmark": landmark_loss(points, batch, self.config.size)}
        if self.weight("equivariance") and self.elt_acts:
            terms["equivariance"] = self._equivariance(
                image, points, elt_mask(batch, self.config.elt_images)
            )
        seen = points if self.class_pulls else points.detach()
        logits = self.logits(seen) if self.weight("class") else {}
        return with_class_term(self, terms, logits, batch)

    def _equivariance(self, image: Tensor, points: Tensor, on: Tensor) -> Tensor:
        count = int(on.sum())
        if not count:
            return 0 * points.sum()  # every image of the batch has landmarks
        # Drawn for all, so that an image's warp is its own whoever has labels.
        warp = seqmt_affine(len(image), self.config.warp, self.generator)
        warp = Affine(warp.matrix[on.cpu()])
        again = self.landmarks(warp.image(image[on]))
        loss = equivariance_loss(self.move(points[on], warp), again, self.config.size)
        return loss * (count / len(points))  # eq. 4 divides by all N images
