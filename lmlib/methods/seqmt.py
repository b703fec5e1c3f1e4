"""Sequential multi-tasking and equivariant landmark transformation (Honari et al.
2018).

An image becomes maps, maps become points, and only the points reach the classifier:

    image -> conv stack -> soft-argmax -> landmarks -> fully connected -> class

Because soft-argmax is differentiable, a class label alone pulls on the landmarks. Three
losses can be added: class ``C``, landmarks ``L`` (where labelled), equivariance ``T``.

The paper leaves open, and we chose:

* coordinates: ours are in [-1, 1], the paper's in pixels. The landmark and equivariance
  terms are computed in pixels (``config.size``), so that lambda and alpha mean the
  same.
* the classifier reads points in [-1, 1]: the same function class, better conditioned.
* learning rate and batch size: see each preset.
* the initial weights. With a plain random start, training on class labels alone ends in
  one of three ways: both shapes found; both maps on the same shape; or one map on a
  shape and the other on the *background*, whose mean position betrays the other shape.
  So "comparing" starts with maps that are bright where something is (last convolution
  positive) and a classifier that sees only differences between landmarks.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmlib.geometry import seqmt_affine
from lmlib.heatmaps import soft_argmax
from lmlib.layers import check_images, conv_stack, mlp
from lmlib.samples import Batch


@dataclass(frozen=True)
class SeqMtConfig:
    """Sizes and weights of one Seq-MT network; presets carry the paper's values."""

    size: int  # image side in pixels
    landmarks: int  # K, maps of the last convolution
    classes: int
    channels: int  # feature maps of every hidden convolution
    kernels: tuple[int, ...]
    hidden: tuple[int, ...]  # fully connected layers before the class softmax
    dropout: float = 0.0
    beta: float = 1.0  # inverse temperature of the soft-argmax, eq. 1
    weight_class: float = 1.0
    weight_landmark: float = 0.0  # lambda, eq. 3
    weight_equivariance: float = 0.0  # alpha, eq. 4
    warp: str = "blocks"  # ranges of the ELT's transformations
    start: str = "plain"  # initial weights, see SeqMt
    image_channels: int = 1
    lr: float = 1e-3  # Adam; the paper names neither this nor the batch
    batch_size: int = 64

    @classmethod
    def preset(cls, name: str) -> "SeqMtConfig":
        """The preset of that name, for commands and files that hold names."""
        presets = ("shapes", "shapes_class", "blocks")
        if name not in presets:
            raise ValueError(f"unknown preset {name!r}; expected one of {presets}")
        return getattr(cls, name)()

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
            lr=3e-4,  # at 1e-3 both maps settle on the same shape
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
            lr=3e-3,
            batch_size=32,
        )

    @classmethod
    def blocks(cls) -> "SeqMtConfig":
        """Section 4.2: six 9x9 convolutions of 8 maps, 1x1x8, 1x1x5; FC 256, 256, 15.

        beta .01, alpha 1 and lambda 1 are the paper's (supplement); dropout 25 %.
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
        )


class SeqMt(nn.Module):
    """Seq-MT. ``beta`` and ``weights`` are plain attributes, to turn in training."""

    def __init__(self, config: SeqMtConfig):
        super().__init__()
        self.config = config
        hidden = (config.channels,) * (len(config.kernels) - 1)
        self.maps = conv_stack(
            (config.image_channels, *hidden, config.landmarks), config.kernels
        )
        self.classifier = mlp(
            (2 * config.landmarks, *config.hidden, config.classes), config.dropout
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        if config.start not in ("plain", "comparing"):
            raise ValueError(
                f"start must be 'plain' or 'comparing', got {config.start!r}"
            )
        if config.start == "comparing":
            with torch.no_grad():
                self.maps[-1].weight.abs_()
                weight = self.classifier[0].weight.view(-1, config.landmarks, 2)
                weight -= weight.mean(dim=1, keepdim=True)
        self.beta = config.beta
        self.weights = {
            "class": config.weight_class,
            "landmark": config.weight_landmark,
            "equivariance": config.weight_equivariance,
        }
        # Transformations are drawn on the CPU, so a seed means the same on any device.
        self.generator = torch.Generator().manual_seed(0)

    def scores(self, images: Tensor) -> Tensor:
        """Maps before the softmax, ``M(I)`` in eq. 1: ``(B, K, H, W)``."""
        return self.maps(check_images(images, self.config.image_channels))

    def landmarks(self, images: Tensor) -> Tensor:
        """Landmarks ``L(I)``, eq. 1-2: ``(B, K, 2)`` in [-1, 1]."""
        return soft_argmax(self.scores(images), self.beta)

    def classify(self, points: Tensor) -> Tensor:
        """Class logits ``(B, classes)`` from landmarks ``(B, K, 2)`` alone."""
        return self.classifier(points.flatten(1))

    def class_logits(self, images: Tensor) -> Tensor:
        return self.classify(self.landmarks(images))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms of eq. 3 and 4. Terms of weight zero are left out.

        ``batch["labelled"]`` ``(B,)`` bool, where present, says which images may use
        their landmarks; the equivariance term then uses the others (section 4.2).
        """
        image, config = batch["image"], self.config
        points = self.landmarks(image)  # (B, K, 2)
        pixel = config.size / 2  # [-1, 1] to pixels
        labelled = batch.get("labelled")
        if labelled is None:
            labelled = torch.ones_like(batch["index"], dtype=torch.bool)
        terms = {}
        if self.weights["class"]:
            loss = F.cross_entropy(self.classify(points), batch["label"])
            terms["class"] = self.weights["class"] * loss
        if self.weights["landmark"]:
            mask = batch["visible"] & labelled[:, None]  # (B, K)
            error = (points - batch["landmarks"]).mul(pixel).square().sum(-1)
            loss = (error * mask).mean()  # 1/(N K): unlabelled images count as zero
            terms["landmark"] = self.weights["landmark"] * loss
        if self.weights["equivariance"]:
            warp = seqmt_affine(len(image), config.warp, self.generator)
            again = self.landmarks(warp.image(image))
            error = (warp.points(points) - again).mul(pixel).square().sum(-1)
            unlabelled = ~labelled if not labelled.all() else labelled
            loss = (error * unlabelled[:, None]).mean()
            terms["equivariance"] = self.weights["equivariance"] * loss
        if not terms:
            raise ValueError("all loss weights are zero: there is nothing to train")
        return terms
