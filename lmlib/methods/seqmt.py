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

from dataclasses import dataclass, replace
from typing import Literal

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
from lmlib.methods.base import Config, FitOptions, Method
from lmlib.samples import Batch, Pool, augment
from lmlib.schedules import constant, constant_then_decay, cosine
from lmlib.warps import SeqMtRanges, seqmt_affine


@dataclass(frozen=True, kw_only=True)
class SeqMtConfig(Config):
    """Sizes and weights of one Seq-MT network; presets carry the paper's values."""

    image_channels: int = 1
    classes: int | tuple[tuple[str, int], ...]  # see ``heads``; 0: no classifier
    channels: int  # feature maps of every hidden convolution but, maybe, the last:
    kernels: tuple[int, ...]
    hidden: tuple[int, ...]  # fully connected layers before the class softmax
    last_channels: int = 0  # 0 for the same. K maps of fewer channels cannot differ
    dropout: float = 0.0
    trunk: Literal["stack", "rcn"] = "stack"  # what makes the maps (section 4.5)
    levels: int = 4  # poolings of an RCN
    beta: float = 1.0  # inverse temperature of the soft-argmax, eq. 1
    weight_class: float = 1.0
    weight_landmark: float = 0.0  # lambda, eq. 3
    weight_equivariance: float = 0.0  # alpha, eq. 4
    weight_l2: float = 0.0  # gamma, eq. 3
    warp: SeqMtRanges = "blocks"  # of the ELT's transformations
    elt_images: Literal["unlabelled", "all"] = "unlabelled"  # "all" on 300-W
    augment: SeqMtRanges | Literal[""] = ""  # of those of all training images
    guess_hidden: bool = False  # landmarks that leave the image are learned, too
    start: Literal["plain", "comparing", "mirrored"] = "plain"  # initial weights
    elt_delay: float = 0.0  # share of the steps before the ELT acts
    class_delay: float = 0.0  # and before classes pull on the landmarks
    contrast: float = 0.0  # wanted deviation of beta * M(I) at the start; 0: as it is
    class_norm: bool = False  # of Heatmap-MT: see there
    schedule: Literal["cosine", "falling", "constant"] = "cosine"  # of the rate
    lr: float = 1e-3  # Adam; the paper names neither this nor the batch
    warm_up: int = 50  # steps in which the rate rises to lr, before it falls
    betas: tuple[float, float] = (0.9, 0.99)  # of Adam
    batch_size: int = 64
    steps: int = 20_000  # the paper trains 1,000 epochs at most, with early stopping

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.levels <= 8:
            raise ValueError(f"levels must be 1 to 8, got {self.levels}")
        if self.trunk == "stack" and len(self.kernels) < 2:
            raise ValueError(
                f"kernels: a stack has two or more convolutions, got {self.kernels}"
            )

    def steps_for(self, images: int) -> int:
        """The preset's: what a run needs follows from its landmarks, not its images."""
        return self.steps

    @property
    def heads(self) -> dict[str, int]:
        """Number of classes of each label; a plain number is that of ``"label"``."""
        if isinstance(self.classes, int):
            return {"label": self.classes} if self.classes else {}
        return dict(self.classes)

    @classmethod
    def shapes(cls) -> "SeqMtConfig":
        """Section 4.1: six 7x7 convolutions of 16 maps, 1x1x16, 1x1x2; FC 40, 2."""
        return cls(
            size=60,
            landmarks=2,
            classes=2,
            channels=16,
            kernels=(7,) * 6 + (1, 1),
            hidden=(40,),
            beta=1.0,
            start="comparing",
            schedule="falling",
            lr=3e-4,  # at 1e-3 both maps settle on the same shape
            betas=(0.9, 0.999),
            batch_size=16,
        )

    @classmethod
    def shapes_class(cls) -> "SeqMtConfig":
        """Ours, for a classroom: finds the shapes within a minute on two cores.

        The paper's idea at 32 px with four 5x5 convolutions of 8 maps: a 40th of the
        multiplications.
        """
        return cls(
            size=32,
            landmarks=2,
            classes=2,
            channels=8,
            kernels=(5,) * 4 + (1, 1),
            hidden=(40,),
            start="comparing",
            schedule="falling",
            lr=3e-3,
            betas=(0.9, 0.999),
            batch_size=32,
            steps=2000,
        )

    @classmethod
    def blocks(cls) -> "SeqMtConfig":
        """Section 4.2: six 9x9 convolutions of 8 maps, 1x1x8, 1x1x5; FC 256, 256, 15.

        beta .01, alpha 1 and lambda 1 are the paper's (footnote 5); dropout 25 %. Gamma
        was tuned for each model; ours is that of the paper's other sets. The rate rises
        slowly: at full rate before the landmarks have left the middle of the figure,
        the maps of some seeds grow a thousandfold within 300 steps, and soft-argmax is
        an argmax with no gradient left.
        """
        return cls(
            size=60,
            landmarks=5,
            classes=15,
            channels=8,
            kernels=(9,) * 6 + (1, 1),
            hidden=(256, 256),
            dropout=0.25,
            beta=0.01,
            weight_landmark=1.0,
            weight_equivariance=1.0,
            weight_l2=1e-5,
            start="mirrored",
            elt_delay=0.25,
            class_delay=0.5,
            contrast=3.0,
            lr=2e-3,
            warm_up=400,
            batch_size=8,
        )

    @classmethod
    def blocks_class(cls) -> "SeqMtConfig":
        """Ours, for a classroom: Blocks at 30 px with 5x5 kernels, a tenth of the time.

        Errors are still given in pixels of 60.
        """
        return replace(cls.blocks(), size=30, kernels=(5,) * 6 + (1, 1), steps=2000)

    @classmethod
    def hands(cls) -> "SeqMtConfig":
        """Section 4.3: six 9x9 convolutions of 64 maps, ->25; FC 256, 256, 27.

        beta .001, alpha .3, gamma 1e-5, lambda .5; dropout 50 %. The two 1x1 layers of
        figure 1 are assumed here too.
        """
        return cls(
            size=64,
            landmarks=25,
            classes=27,
            channels=64,
            kernels=(9,) * 6 + (1, 1),
            hidden=(256, 256),
            dropout=0.5,
            beta=0.001,
            weight_landmark=0.5,
            weight_equivariance=0.3,
            weight_l2=1e-5,
            warp="hands",
            augment="hands",
            start="mirrored",
            contrast=3.0,
        )

    @classmethod
    def hands_class(cls) -> "SeqMtConfig":
        """Ours, for two cores: hands at 32 px, maps from a small RCN."""
        return _small(cls.hands())

    @classmethod
    def multipie(cls) -> "SeqMtConfig":
        """Section 4.4: as hands, ->68; two branches 256, 256, {6 emotions, 5 cameras}.

        beta .001, alpha .3, gamma 1e-5, lambda 2; dropout 25 %.
        """
        return replace(
            cls.hands(),
            landmarks=68,
            classes=(("emotion", 6), ("camera", 5)),
            dropout=0.25,
            weight_landmark=2.0,
            warp="multipie",
            augment="multipie",
            guess_hidden=True,
        )

    @classmethod
    def multipie_class(cls) -> "SeqMtConfig":
        """Ours, for two cores: faces at 32 px, maps from a small RCN."""
        return _small(cls.multipie())

    @classmethod
    def w300(cls) -> "SeqMtConfig":
        """Section 4.5, 300-W: eight 9x9 convolutions of 32 maps, the last of them ->68.

        No classes; the ELT acts on all images. beta .01, alpha 2, gamma 1e-5, lambda 2
        (footnote 10).
        """
        return cls(
            size=80,
            landmarks=68,
            classes=0,
            channels=32,
            kernels=(9,) * 8,
            hidden=(256, 256),  # of Comm-MT alone
            beta=0.01,
            weight_class=0.0,
            weight_landmark=2.0,
            weight_equivariance=2.0,
            weight_l2=1e-5,
            warp="300w",
            elt_images="all",
            augment="300w",
            guess_hidden=True,
            start="mirrored",
            contrast=3.0,
        )

    @classmethod
    def w300_class(cls) -> "SeqMtConfig":
        """Ours, for two cores: 40 px, five 9x9 convolutions of 16 maps.

        A map's pixel sees 41 pixels across: the whole width, from the centre. In the
        paper's network of eight, it sees 65 of 80.
        """
        stack = {"trunk": "stack", "kernels": (9,) * 5 + (1, 1)}
        return _small(cls.w300(), size=40, beta=0.01, contrast=1.0, **stack)

    @classmethod
    def rcn_plus(cls) -> "SeqMtConfig":
        """Section 4.5, RCN+: the RCN's maps read by soft-argmax instead of a softmax.

        beta 1, alpha .5, gamma 0, lambda 1.
        """
        return replace(
            cls.w300(),
            trunk="rcn",
            channels=64,
            kernels=(),
            beta=1.0,
            weight_landmark=1.0,
            weight_equivariance=0.5,
            weight_l2=0.0,
            start="plain",
            contrast=0.0,
        )

    @classmethod
    def rcn_plus_class(cls) -> "SeqMtConfig":
        """Ours, for two cores: 40 px, 16 maps, three poolings."""
        return _small(cls.rcn_plus(), size=40)


def _small(config: SeqMtConfig, size: int = 32, **changes) -> SeqMtConfig:
    """The same task at ``size`` pixels on an RCN of 16 maps, then 64 in the last hidden
    layer, since 25 or 68 landmarks cannot be told apart in 16 numbers.

    An RCN sees the whole image through its poolings and learns many times faster than a
    stack of convolutions of the same cost. Its maps need no rescaling to start.

    What short runs gained most from (300-W with all labels: 10.7 % of the eyes'
    distance, so 7.8 in the same time): a mirrored start, small batches, a rate that
    rises slowly, and milder turns in augmentation. See ``SeqMt.at`` for the delays.
    """
    small = {"size": size, "trunk": "rcn", "levels": 3, "kernels": (5,)}
    small |= {"channels": 16, "last_channels": 64, "beta": 1.0, "contrast": 0.0}
    small |= {"start": "mirrored", "lr": 6e-3, "warm_up": 400, "batch_size": 8}
    small |= {"augment": "mild", "elt_delay": 0.25, "class_delay": 0.5}
    small |= {"steps": 2000}
    return replace(config, **small | changes)


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
        warp = seqmt_affine(count, self.config.warp, self.generator)
        again = self.landmarks(warp.image(image[on]))
        loss = equivariance_loss(self.move(points[on], warp), again, self.config.size)
        return loss * (count / len(points))  # eq. 4 divides by all N images
