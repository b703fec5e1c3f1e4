"""What Seq-MT is compared with: Comm-MT (figure 6) and Heatmap-MT (figure 8).

Both get the images, labels and loss weights of ``SeqMt`` and its configuration. What
differs is where the class is read from, and how maps become points:

    Comm-MT     image -> convolutions and pooling -> shared FC -> landmarks | class
    Heatmap-MT  image -> maps -> softmax -> landmarks
                         maps -> pooling and convolutions -> FC -> class

RCN is Heatmap-MT with an RCN for its maps and no class; RCN+ is SeqMt with the same.

The paper leaves open, and we chose: Comm-MT has the channels, kernels and FC layers of
the Seq-MT beside it; its landmarks leave a sigmoid that spans the image. Heatmap-MT's
class branch halves the maps twice, with a convolution after each, then the same FC
layers.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lmlib.geometry import to_pixels
from lmlib.heatmaps import hard_argmax
from lmlib.layers import check_images, mlp
from lmlib.methods.seqmt import (
    LandmarkLearner,
    SeqMtConfig,
    class_heads,
    landmark_loss,
    map_network,
    start_weights,
    with_class_term,
)
from lmlib.processes import Dropout
from lmlib.samples import Batch


class CommMt(LandmarkLearner):
    """The common multi-tasking network (figure 6): pooling, then shared FC layers."""

    name = "comm-mt"

    def __init__(self, config: SeqMtConfig):
        super().__init__(config)
        c, k = config.channels, config.kernels[0]

        def conv(inputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, c, k, padding=k // 2), nn.ReLU(inplace=True)]

        layers = conv(config.image_channels)
        for _ in range(4):  # "x4": same size, weights of their own
            layers += conv(c)
        layers += [nn.MaxPool2d(2), *conv(c), nn.MaxPool2d(2), nn.Flatten()]
        self.features = nn.Sequential(*layers)
        side = config.size // 4
        # All FC layers but the branches' own end in ReLU and dropout.
        self.shared = nn.Sequential(
            mlp((c * side * side, *config.hidden), config.dropout),
            nn.ReLU(inplace=True),
            Dropout(config.dropout),
        )
        self.points = nn.Linear(config.hidden[-1], 2 * config.landmarks)
        self.heads = nn.ModuleDict(
            {n: nn.Linear(config.hidden[-1], c) for n, c in config.heads.items()}
        )
        start_weights(self, self.features)

    def convolutions(self) -> nn.Sequential:
        """Of the features."""
        return self.features

    def _shared(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b hidden"]:
        images = check_images(images, self.config.image_channels)
        return self.shared(self.features(images))

    def _points(self, shared: Float[Tensor, "b hidden"]) -> Float[Tensor, "b k 2"]:
        # [0, 1] of the sigmoid is the image from edge to edge
        return self.points(shared).sigmoid().mul(2).sub(1).unflatten(1, (-1, 2))

    def landmarks(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k 2"]:
        """Landmarks in [-1, 1]."""
        return self._points(self._shared(images))

    def class_logits(
        self, images: Float[Tensor, "b c h w"]
    ) -> dict[str, Float[Tensor, "b _"]]:
        """Class logits of each head."""
        shared = self._shared(images)
        return {name: head(shared) for name, head in self.heads.items()}

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms of eq. 3."""
        shared = self._shared(batch["image"])
        points = self._points(shared)
        terms = {"landmark": landmark_loss(points, batch, self.config.size)}
        logits = {name: head(shared) for name, head in self.heads.items()}
        return with_class_term(self, terms, logits, batch)


class HeatmapMt(LandmarkLearner):
    """Heatmap multi-tasking (figure 8): a softmax over pixels for each landmark.

    Its answer is the best *pixel*: however good the maps, up to half a pixel off. And
    the class is read from the maps themselves, so nothing forces them to be landmarks.

    A softmax asks for maps that grow without end, and classes read from them stop
    learning in short runs. ``class_norm`` gives the class branch maps of mean 0 and
    deviation 1; the paper has none.
    """

    name = "heatmap-mt"

    def __init__(self, config: SeqMtConfig):
        super().__init__(config)
        self.maps = map_network(config)
        c, side = config.channels, config.size // 4
        self.pooled = nn.Sequential(
            nn.InstanceNorm2d(config.landmarks) if config.class_norm else nn.Identity(),
            nn.MaxPool2d(2),
            nn.Conv2d(config.landmarks, c, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(c, c, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.Flatten(),
        )
        self.heads = class_heads(config, inputs=c * side * side)
        start_weights(self, self.maps)
        self.gain = config.contrast or 1.0  # its softmax has no beta

    def convolutions(self) -> nn.Sequential:
        """Of the maps."""
        return self.maps

    def scores(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """Maps before the softmax."""
        images = check_images(images, self.config.image_channels)
        return self.gain * self.maps(images)

    def landmarks(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k 2"]:
        """Centres of the best pixels, in [-1, 1]."""
        return hard_argmax(self.scores(images))

    def _logits(self, scores: Float[Tensor, "b k h w"]) -> dict[str, Tensor]:
        if not self.heads:
            return {}
        pooled = self.pooled(scores)
        return {name: head(pooled) for name, head in self.heads.items()}

    def class_logits(
        self, images: Float[Tensor, "b c h w"]
    ) -> dict[str, Float[Tensor, "b _"]]:
        """Class logits of each head."""
        return self._logits(self.scores(images))

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms: cross-entropy against the true pixel, and the class."""
        scores = self.scores(batch["image"])
        terms = {"landmark": pixel_loss(scores, batch)}
        logits = self._logits(scores) if self.weight("class") else {}
        return with_class_term(self, terms, logits, batch)


def pixel_loss(scores: Float[Tensor, "b k h w"], batch: Batch) -> Float[Tensor, ""]:
    """``-(1/NK) sum log softmax(M)`` at the pixel that holds the landmark.

    Landmarks outside the image are left out, hidden and unlabelled ones too.
    """
    height, width = scores.shape[-2:]
    points = batch["landmarks"]
    mask = batch["visible"] & (points.abs() <= 1).all(-1)  # NaN is outside
    if "labelled" in batch:
        mask = mask & batch["labelled"][:, None]
    pixel = to_pixels(points.nan_to_num(), (height, width)).round().long()
    column, row = pixel[..., 0].clamp(0, width - 1), pixel[..., 1].clamp(0, height - 1)
    logp = F.log_softmax(scores.flatten(2), dim=-1)
    chosen = logp.gather(2, (row * width + column).unsqueeze(2)).squeeze(2)
    return -(chosen * mask).mean()
