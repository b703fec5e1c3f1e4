"""Deep landmark network for unconstrained fashion landmarks (Yan et al. 2017).

Where are collar, cuffs and hem in a picture in which nobody has drawn a box around the
garment? The network reads the whole picture once, in several scales, and then looks
closer, step by step, at what it has read:

    image -> conv1..conv4 -> conv5 at rates 1, 2, 4 (towers) -> maximum -> F_conv
    F_conv, whole         -> Theta(1): one frame, around the garment
    F_conv in that frame  -> D_j:  Theta_j(2) = Theta(1) D_j, a frame for each landmark
    F_conv in frame j     -> ... -> Theta_j(M), and l'_j, the landmark in its frame
    Theta_j(M) l'_j       -> the landmark in the image                          (eq. 4)

Only landmarks are given in training; frames are learned from their errors, and from
how large they should be: lambda times the area of the landmarks' convex hull (eq. 8).

``Theta`` is 2 x 3 and maps points of the frame, [-1, 1] in both directions, to points
of the image: what ``grid_sample`` needs, and what eq. 4 does. The identity is the whole
image.

The paper leaves open, and we chose:

* which convolutions a tower dilates: those of conv5, as eq. 1 is printed
  (``dilate_from``). Dilating all, as the sentence before it says, would take four times
  as long as one tower; the paper's own frame rates say one and a half times.
* ``F_trans`` has ``patch`` cells a side. The paper's size is read twice as finely as
  conv5's windows of fc6 and pooled, so that DFA's fc6 fits.
* a look at a frame is one stack of fully connected layers with two outputs: where the
  landmarks are in the frame, and how the frame moves. Every step has its own stack, or
  all share one (``shared``); outputs are each landmark's own.
* every step is told the landmarks, not only the last (``deep``).
* frames are cut from ``F_conv`` itself: one cut from another would blur ever more.
* the scale term acts on the frames of the last step, and there on the last move alone
  (``scale_on``). Forcing earlier frames to the final size, too, narrows the view before
  the landmark is in it; and where it may act through all moves, two of them turn frames
  inside out, since it sees their product only. The global frame is to hold the whole
  garment.
* frames learn ``pace`` times as fast as the rest: their six numbers, each a sum of all
  hidden units, would leave the image, or collapse, within a few of Adam's steps.
* the hull is that of the landmarks inside the image, seen or not; with fewer than three
  there is no term. Slots that a garment does not have are left out everywhere.
* optimiser, batch and length of the training: see ``fit_options`` and the presets.
* initial weights: He's; frames start as the identity, so nothing moves at first.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlib.geometry import full_precision, pixel_grid
from lmlib.layers import check_images
from lmlib.methods.base import Config, FitOptions, Method
from lmlib.processes import Dropout, drawn
from lmlib.samples import Batch, Pool
from lmlib.schedules import cosine

VGG16 = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)  # conv1 to conv5
THIN = ((16,), (24,), (32,), (48,), (48,))
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's colours
CUT_OFF = 2  # FLD's code of a landmark outside the image
STAGES = "conv1", "conv2", "conv3", "conv4", "conv5"


@dataclass(frozen=True, kw_only=True)
class DlanConfig(Config):
    """Sizes, modules and weights; presets carry sections 4 and 5.

    Table 2's rows are ``attention_steps`` 0 (fully convolutional DFA) with ``towers``
    (1,); 1; 1 with all towers; 3; and with ``scale`` > 0.
    """

    image_channels: int = 3
    landmarks: int = 8  # J
    trunk: Literal["stages", "lite0"] = "stages"  # lite0: EfficientNet-lite0, ImageNet
    stages: tuple[tuple[int, ...], ...] = THIN  # widths of conv1 to conv5
    pooled: int = 2  # of the stages end in a 2x2 max-pooling: stride 2^pooled
    strides: bool = False  # of 2, in place of each pooling: a quarter of the work
    towers: tuple[int, ...] = (1, 2, 4)  # dilation rates, eq. 1
    select: Literal["max", "average"] = "max"  # of the towers; average: figure 7a
    dilate_from: Literal["conv1", "conv4", "conv5"] = "conv5"
    attention_steps: int = 3  # M of eq. 6
    hierarchy: bool = True  # from the second step on, each landmark has its own frame
    relative: bool = True  # l' is in the frame (eq. 4); False: in the image
    patch: int = 8  # S, cells a side of F_trans
    hidden: tuple[int, ...] = (128,)  # fully connected layers of a look
    dropout: float = 0.0
    shared: bool = False  # all steps share the fully connected layers
    pace: float = 0.2  # of the frames' learning, beside the rest's
    deep: float = 1.0  # weight of the landmarks of earlier steps
    scale: float = 0.4  # lambda of eq. 8; 0: no scale regularisation
    scale_weight: float = 1.0  # eq. 9
    scale_on: Literal["last", "chain", "local"] = "last"  # see ``Dlan.scaled_frames``
    scale_delay: float = 0.0  # share of the training before it acts
    mirror: bool = False  # half of the training images; slots 2k, 2k + 1 are a pair
    lr: float = 1e-3  # Adam; the paper says nothing of its training
    warm_up: int = 100
    batch_size: int = 32
    epochs: int = 30

    def __post_init__(self):
        super().__post_init__()
        if self.image_channels != 3:
            raise ValueError(f"DLAN reads colours, not {self.image_channels} channels")
        if len(self.stages) != 5 or not all(map(all, self.stages)) or () in self.stages:
            raise ValueError(f"stages: widths of conv1 to conv5, got {self.stages}")
        if not self.towers or min(self.towers) < 1:
            raise ValueError(f"towers are rates of 1 or more, got {self.towers}")
        if not 0 <= self.pooled <= 4:
            raise ValueError(f"pooled must be 0 to 4, got {self.pooled}")
        if not 0 <= self.attention_steps <= 100 or self.patch < 2 or self.patch % 2:
            raise ValueError(
                "attention_steps must be 0 to 100 and patch even, got "
                f"{self.attention_steps} and {self.patch}"
            )
        if min(self.scale, self.scale_weight, self.deep) < 0:
            raise ValueError("scale, scale_weight and deep must not be negative")

    def steps_for(self, images: int) -> int:
        """``epochs`` times through the images."""
        return max(1, self.epochs * images // self.batch_size)

    @classmethod
    def paper(cls) -> "DlanConfig":
        """Sections 4 and 5: VGG-16 on 512 pixels, Dilation = [1, 2, 4, 8], M = 3,
        lambda = .4; fc6 and fc7 of 4,096 serve all steps. Eight slots hold FLD's
        landmarks; table 4 has six of them."""
        sizes = {"stages": VGG16, "pooled": 4, "patch": 14, "hidden": (4096, 4096)}
        more = {"towers": (1, 2, 4, 8), "dropout": 0.5, "shared": True}
        return cls(size=512, lr=1e-5, batch_size=16, **sizes, **more)

    @classmethod
    def garments64(cls) -> "DlanConfig":
        """Ours, for the tables: 64 pixels, stride 4, Dilation = [1, 2, 4]."""
        return cls(size=64, strides=True, lr=2e-3, batch_size=16, epochs=8)

    @classmethod
    def garments_class(cls) -> "DlanConfig":
        """Ours, for a classroom: as the tables', in two minutes on two cores."""
        return replace(cls.garments64(), epochs=6)

    @classmethod
    def garments128(cls) -> "DlanConfig":
        """Ours, for pictures: 128 pixels, Dilation = [1, 2, 4, 8]."""
        sizes = {"stages": ((16,), (32,), (48,), (64,), (64,)), "patch": 12}
        more = {"towers": (1, 2, 4, 8), "strides": True, "mirror": True}
        return cls(size=128, batch_size=16, epochs=60, **sizes, **more)

    @classmethod
    def photos(cls) -> "DlanConfig":
        """Ours, for photographs: EfficientNet-lite0 with ImageNet weights on 256
        pixels, which stands in for the paper's pretrained VGG-16. Needs the extra
        ``photos``."""
        return cls(size=256, trunk="lite0", patch=10, mirror=True, lr=3e-4)


# --- selective dilated convolution (section 4.1) --------------------------------------

Maps = Float[Tensor, "b c h w"]


def dilated(conv: nn.Conv2d, x: Maps, rate: int) -> Float[Tensor, "b o y x"]:
    """A convolution with its kernel spread: neighbours are ``rate`` cells away.

    The weights are the same at every rate. On an image enlarged ``rate`` times (nearest
    neighbour) it gives, at every ``rate``-th cell, what the plain convolution gives on
    the image itself: a tower is the filter bank for garments of another size.
    """
    reach = tuple(rate * (side // 2) for side in conv.kernel_size)
    return F.conv2d(x, conv.weight, conv.bias, conv.stride, reach, rate, conv.groups)


def select(towers: Float[Tensor, "b t c h w"], how: str = "max") -> Maps:
    """Eq. 1: the largest response of all towers, cell by cell; or their average."""
    return towers.amax(1) if how == "max" else towers.mean(1)


class Trunk(nn.Module):
    """Stages of 3x3 convolutions with ReLU: VGG-16's, or fewer and thinner ones.

    The first ``pooled`` stages end in a 2x2 max-pooling. From ``dilate_from`` on there
    are towers; they share all weights.
    """

    def __init__(self, config: DlanConfig):
        super().__init__()
        self.towers, strides = config.towers, config.pooled if config.strides else 0
        self.pooled = range(strides, config.pooled)  # stages that end in a pooling
        self.split = STAGES.index(config.dilate_from)
        self.stages, inputs = nn.ModuleList(), config.image_channels
        for widths in config.stages:
            convs = nn.ModuleList()
            for width in widths:
                convs.append(nn.Conv2d(inputs, width, 3, padding=1))
                inputs = width
            if len(self.stages) < strides:
                convs[-1].stride = (2, 2)
            self.stages.append(convs)
        self.channels = inputs

    def _run(self, x: Tensor, first: int, last: int, rate: int) -> Tensor:
        for number in range(first, last):
            *convs, end = self.stages[number]
            for conv in convs:
                x = F.relu(dilated(conv, x, rate), inplace=True)
            x = dilated(end, x, rate)
            # ReLU after the maximum: the same, on a quarter of the cells
            x = F.max_pool2d(x, 2) if number in self.pooled else x
            x = F.relu(x, inplace=True)
        return x

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b t c h w"]:
        """Responses of every tower."""
        common = self._run(images, 0, self.split, 1)
        towers = [self._run(common, self.split, 5, rate) for rate in self.towers]
        return torch.stack(towers, 1)


# --- spatial transformer (section 4.2) ------------------------------------------------

Thetas = Float[Tensor, "b _ 2 3"]  # f frames an image: one, or one for each landmark
Points = Float[Tensor, "b j 2"]


def transform(maps: Maps, theta: Thetas, side: int) -> Float[Tensor, "b f c s s"]:
    """Eq. 2: ``F_trans``, the maps in each frame, on ``side`` x ``side`` cells.

    Bilinear, zeros outside the image.
    """
    frames = theta.shape[1]
    with full_precision(maps):
        cells = pixel_grid(side, side, theta.device).flatten(0, 1)
        grid = to_image(theta.float(), cells.expand(len(maps), frames, -1, -1))
        grid = rearrange(grid, "b f (y x) p -> b (f y) x p", y=side)
        found = F.grid_sample(maps.float(), grid, align_corners=False)
    return rearrange(found, "b c (f y) x -> b f c y x", f=frames)


def to_image(
    theta: Float[Tensor, "b #j 2 3"], points: Float[Tensor, "b #j n 2"]
) -> Float[Tensor, "b _ n 2"]:
    """Eq. 4 for n points in every frame: ``A l' + t``. One frame serves all j."""
    with full_precision(points):
        return points @ theta[..., :2].mT + theta[..., None, :, 2]


def compose(
    theta: Float[Tensor, "b #j 2 3"], move: Float[Tensor, "b #j 2 3"]
) -> Float[Tensor, "b _ 2 3"]:
    """Eq. 5: ``Theta(i) = Theta(i - 1) Theta(i - 1 -> i)``, as 3x3 matrices.

    The new frame is said in coordinates of the old one.
    """
    with full_precision(theta):
        linear = theta[..., :2] @ move
        shift = torch.cat([torch.zeros_like(theta[..., :2]), theta[..., 2:]], -1)
        return linear + shift


def frame_corners(theta: Float[Tensor, "b f 2 3"]) -> Float[Tensor, "b f 4 2"]:
    """Corners of the frames in the image: top left, top right, bottom right, bottom
    left of an upright one. Their area is 4 det A."""
    square = [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]
    return to_image(theta, theta.new_tensor(square).expand(*theta.shape[:2], 4, 2))


def frame_area(theta: Float[Tensor, "b f 2 3"]) -> Float[Tensor, "b f"]:
    """``4 det A``: area of the frames; the whole image has 4, mirrored frames less
    than 0."""
    (a, b), (c, d) = theta[..., 0, :2].unbind(-1), theta[..., 1, :2].unbind(-1)
    return 4 * (a * d - b * c)


class PerLandmark(nn.Module):
    """A linear layer with weights of its own for every landmark (or one for all)."""

    def __init__(self, rows: int, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(rows, outputs))

    def forward(self, x: Float[Tensor, "b f i"]) -> Float[Tensor, "b rows o"]:
        return (x.unsqueeze(2) @ self.weight).squeeze(2) + self.bias


class Look(nn.Module):
    """One look at the frames: where the landmarks are in them, and where to look next.

    A 2x2 max-pooling (VGG-16's pool5), then ``layers``. ``rows`` frames come out of it:
    one, J, or none (0) after the last step.
    """

    def __init__(self, config: DlanConfig, layers: nn.Module, rows: int):
        super().__init__()
        self.layers, inputs, self.pace = layers, config.hidden[-1], config.pace
        self.place = PerLandmark(config.landmarks, inputs, 2)
        nn.init.normal_(self.place.weight, std=0.1 * inputs**-0.5)
        self.move = PerLandmark(rows, inputs, 6) if rows else None

    def forward(self, patches: Float[Tensor, "b f c s s"]):
        """``l'`` (B, J, 2) and the next move (B, rows, 2, 3), or None."""
        tall = rearrange(patches, "b f c y x -> b c (f y) x")  # the side is even
        pooled = F.max_pool2d(tall, 2)
        frames = patches.shape[1]
        seen = self.layers(rearrange(pooled, "b c (f y) x -> b f (c y x)", f=frames))
        place, move = self.place(seen).float(), None
        if self.move:  # Theta starts as the identity
            change = self.move(seen).float().unflatten(2, (2, 3))
            move = torch.eye(2, 3, device=change.device) + self.pace * change
        return place, move


def fully_connected(config: DlanConfig, channels: int) -> nn.Sequential:
    """Layers with ReLU on a pooled frame: fc6 and fc7 of VGG-16."""
    inputs = channels * (config.patch // 2) ** 2
    layers: list[nn.Module] = []
    for width in config.hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        layers += [Dropout(config.dropout)] if config.dropout else []
        inputs = width
    return nn.Sequential(*layers)


# --- the losses (section 4.3) ---------------------------------------------------------


def regression_loss(points: Points, truth: Points, seen: Bool[Tensor, "b j"]):
    """Eq. 7: ``sum_j 1/2 |l_j - l^_j|^2`` over what is seen (footnote 5), the mean over
    images; in units of [-1, 1]."""
    # where, not a product: the place of a landmark that is not there may be NaN
    error = (truth - points).where(seen[..., None], 0.0)
    return 0.5 * error.square().sum((1, 2)).mean()


def scale_loss(
    theta: Thetas, hull: Float[Tensor, " b"], factor: float, there: Bool[Tensor, "b j"]
):
    """Eq. 8: ``sum_j 1/2 (lambda C - 4 det A_j)^2``, the mean over images.

    ``hull`` is C; images where it is NaN have no such term. ``there``: landmarks that
    the garment has.
    """
    gap = factor * hull[:, None] - frame_area(theta)
    counts = there & hull.isfinite()[:, None]
    return 0.5 * gap.where(counts, 0.0).square().sum(1).mean()


def hull_area(points: Points, there: Bool[Tensor, "b j"]) -> Float[Tensor, " b"]:
    """Area of the convex hull of each image's points; NaN for fewer than three.

    An ordered pair of points is an edge of the hull if all others are to its left, or
    on it between the two; edges give the area by the shoelace formula.
    """
    j = points.shape[1]
    p = points.double().where(there[..., None], 0.0)
    same = (p[:, :, None] == p[:, None]).all(-1) & there[:, None]  # a, b
    earlier = torch.ones(j, j, dtype=torch.bool, device=p.device).tril(-1)
    there = there & ~(same & earlier).any(2)  # of equal points the first
    count = there.sum(1)
    way = p[:, None] - p[:, :, None]  # (B, a, b, 2): from a to b
    ab, ac = way[:, :, :, None], way[:, :, None]  # (B, a, b, c, 2)
    side = ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0]
    along = (ab * ac).sum(-1)
    between = (side == 0) & (along >= 0) & (along <= ab.square().sum(-1))
    fine = (side > 0) | between | ~there[:, None, None]
    pair = there[:, :, None] & there[:, None] & ~torch.eye(j, device=p.device).bool()
    edge = pair & fine.all(3)
    cross = p[:, :, None, 0] * p[:, None, :, 1] - p[:, :, None, 1] * p[:, None, :, 0]
    area = 0.5 * (cross * edge).sum((1, 2))
    return area.where(count >= 3, torch.nan).to(points.dtype)


def gradients(
    theta: Float[Tensor, "b j 2 3"],
    relative: Points,
    truth: Points,
    seen: Bool[Tensor, "b j"],
    hull: Float[Tensor, " b"],
    factor: float,
) -> tuple[Points, Float[Tensor, "b j 2 3"]]:
    """Eqs. 10-12: derivatives of eq. 9, summed over images, by ``l'`` and ``Theta``.

    With ``e_j = l_j - Theta_j l'_j``, for the landmark j:

        dL/dl'_j     = - A_j^T e_j                                          (eq. 10)
        dL/dTheta_j  = - e_j [l'_j, 1]^T                                    (eq. 11)
                       - 4 (lambda C - 4 det A_j) cof(A_j), translation 0   (eq. 12)

    As printed, each is a sum over j: that is right for a Theta that all share, and then
    for eqs. 11 and 12 only. And ``det A A^-T`` is the matrix of cofactors, which needs
    no inverse, and is there too when a frame has no area.
    """
    found = to_image(theta, relative[:, :, None]).squeeze(2)
    error = (truth - found).where(seen[..., None], 0.0)
    by_place = -(error[..., None, :] @ theta[..., :2]).squeeze(-2)
    ones = torch.ones_like(relative[..., :1])
    by_theta = -error[..., :, None] * torch.cat([relative, ones], -1)[..., None, :]
    gap = (factor * hull[:, None] - frame_area(theta)).where(
        truth.isfinite().all(-1), 0
    )
    gap = gap.where(hull.isfinite()[:, None], 0)
    (a, b), (c, d) = theta[..., 0, :2].unbind(-1), theta[..., 1, :2].unbind(-1)
    zero = torch.zeros_like(a)
    cofactors = torch.stack([d, -c, zero, -b, a, zero], -1).unflatten(-1, (2, 3))
    return by_place, by_theta - 4 * gap[..., None, None] * cofactors


# --- the method -----------------------------------------------------------------------


class Step(NamedTuple):
    """What is seen and said after a step; step 0 sees the whole image."""

    theta: Float[Tensor, "b j 2 3"]  # frames: from their points to the image's
    patches: Float[Tensor, "b f c s s"]  # F_trans; f = 1: one for all landmarks
    relative: Float[Tensor, "b j 2"]  # l', in the frame
    landmarks: Float[Tensor, "b j 2"]  # in the image
    move: Float[Tensor, "b f 2 3"] | None  # what makes the next step's frames of these

    @property
    def boxes(self) -> Float[Tensor, "b j 4 2"]:
        """Corners of the frames in the image; see ``frame_corners``."""
        return frame_corners(self.theta)


class OnTrunk(Method):
    """What networks share that read given landmarks from a trunk: towers, training."""

    Config = DlanConfig
    learns_landmarks = True
    note = "each picture is given all landmarks, also those that its garment lacks"
    detected_within = 35 / 512  # section 5

    def __init__(self, config: DlanConfig):
        super().__init__(config)
        self.trunk = trunk(config)
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), False)

    def fit_options(self, steps: int) -> FitOptions:
        """Adam; the rate rises, and falls along a cosine."""
        c = self.config
        return FitOptions(
            batch_size=c.batch_size, lr=c.lr, schedule=cosine(steps, c.warm_up)
        )

    def pools(self, images: Int[Tensor, " n"], labelled: Bool[Tensor, " n"]) -> Pool:
        """Images without landmarks teach nothing here."""
        return images[labelled]

    @classmethod
    def suited(cls, config: DlanConfig, batch: Batch) -> DlanConfig:
        """With the landmarks of the data."""
        if "landmarks" not in batch:
            raise ValueError(f"no landmarks, which {cls.name} learns from")
        return replace(config, landmarks=batch["landmarks"].shape[1])

    def tower_maps(
        self, images: Float[Tensor, "b 3 y x"]
    ) -> Float[Tensor, "b t c h w"]:
        """conv5's responses in every tower, in the order of ``config.towers``."""
        return self.trunk((check_images(images, 3) - self.mean) / self.deviation)

    def features(self, images: Float[Tensor, "b 3 y x"]) -> Maps:
        """``F_conv``, eq. 1."""
        return select(self.tower_maps(images), self.config.select)


class Dlan(OnTrunk):
    """DLAN. ``trace`` lets one look on, step by step."""

    name = "dlan"

    def __init__(self, config: DlanConfig):
        super().__init__(config)
        self.weights = {"landmark": 1.0, "earlier": config.deep}
        self.weights["scale"] = config.scale_weight if config.scale else 0.0
        self.scale_acts = True
        frames = config.landmarks if config.hierarchy else 1
        rows = [1, *[frames] * config.attention_steps][: config.attention_steps] + [0]
        layers = fully_connected(config, self.trunk.channels)
        self.looks = nn.ModuleList()
        for number, row in enumerate(rows):
            if number and not config.shared:
                layers = fully_connected(config, self.trunk.channels)
            self.looks.append(Look(config, layers, row))
        start_weights(self)

    def at(self, progress: float) -> None:
        """The scale term acts after the share ``scale_delay`` of the steps."""
        self.scale_acts = progress >= self.config.scale_delay

    def augment(self, batch: Batch) -> Batch:
        """Half of the images mirrored, if ``config.mirror``: left slots become right
        ones."""
        if not self.config.mirror:
            return batch
        return mirrored(batch, drawn(torch.rand, (len(batch["image"]),)) < 0.5)

    def winners(self, images: Float[Tensor, "b 3 y x"]) -> Int[Tensor, "b c h w"]:
        """Which tower has the largest response, as its place in ``config.towers``."""
        return self.tower_maps(images).argmax(1)

    def trace(self, images: Float[Tensor, "b 3 y x"]) -> list[Step]:
        """All steps: the whole image, then M frames, each cut from ``F_conv``."""
        maps, c = self.features(images), self.config
        theta = torch.eye(2, 3, device=maps.device).expand(len(maps), 1, 2, 3)
        steps = []
        for look in self.looks:
            patches = transform(maps, theta, c.patch)
            relative, move = look(patches)
            each = theta.expand(-1, c.landmarks, -1, -1)
            found = to_image(each, relative[:, :, None]).squeeze(2)
            found = found if c.relative else relative
            steps.append(Step(each, patches, relative, found, move))
            theta = theta if move is None else self.advance(theta, move)
        return steps

    def advance(self, theta: Thetas, move: Thetas) -> Thetas:
        """Frames of the next step, eq. 5."""
        return compose(theta, move)

    def landmarks(self, images: Float[Tensor, "b 3 y x"]) -> Points:
        """Of the last step, in [-1, 1]; also for slots that a garment does not have."""
        return self.trace(images)[-1].landmarks

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Eq. 9, ``landmark`` and ``scale``; ``earlier``: the landmarks of all steps
        but the last."""
        truth, seen = batch["landmarks"], batch["visible"]
        there = truth.isfinite().all(-1)
        if "labelled" in batch:
            seen, there = (x & batch["labelled"][:, None] for x in (seen, there))
        steps = self.trace(batch["image"])
        errors = [regression_loss(step.landmarks, truth, seen) for step in steps]
        terms = {"landmark": errors[-1]}
        if errors[:-1] and self.weight("earlier"):
            terms["earlier"] = torch.stack(errors[:-1]).sum()
        if len(steps) > 2 and self.scale_acts and self.weight("scale"):
            hull, factor = self.hulls(batch), self.config.scale
            frames = self.scaled_frames(steps)
            each = [scale_loss(theta, hull, factor, there) for theta in frames]
            terms["scale"] = torch.stack(each).sum()
        return self.weighted(terms)

    def hulls(self, batch: Batch) -> Float[Tensor, " b"]:
        """C of eq. 8: of the landmarks inside the image; NaN for fewer than three."""
        inside = (batch["landmarks"].abs() <= 1).all(-1)  # NaN is not
        if "code" in batch:  # a file's place of what is cut off is a guess
            inside = inside & (batch["code"] < CUT_OFF)
        return hull_area(batch["landmarks"], inside)

    def scaled_frames(self, steps: list[Step]) -> list[Thetas]:
        """What eq. 8 acts on, ``config.scale_on``; never the global frame.

        * ``last``: the frames of the last step, through the last move alone;
        * ``chain``: the same, through all moves, also the global one;
        * ``local``: the frames of every step from the second on, through all moves.
        """
        if self.config.scale_on == "last":
            return [self.advance(steps[-2].theta.detach(), steps[-2].move)]
        first = 2 if self.config.scale_on == "local" else len(steps) - 1
        return [step.theta for step in steps[first:]]


def start_weights(method: Method) -> None:
    """He's initial weights for layers with ReLU; a pretrained trunk keeps its own."""
    ready = {*method.trunk.modules()} if method.config.trunk == "lite0" else set()
    for layer in method.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer not in ready:
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)


def trunk(config: DlanConfig) -> nn.Module:
    """From images to the towers' maps; ``channels`` is their width."""
    if config.trunk == "lite0":
        from lmlib.methods.dlan_photos import LiteTrunk

        return LiteTrunk(config)
    return Trunk(config)


def mirrored(batch: Batch, which: Bool[Tensor, " b"]) -> Batch:
    """The batch with some images mirrored. Slots 2k and 2k + 1 are left and right."""
    which = which.to(batch["image"].device)
    order = torch.arange(batch["landmarks"].shape[1], device=which.device) ^ 1
    flip = batch["landmarks"].new_tensor([-1.0, 1.0])
    turned = {
        "image": batch["image"].flip(-1),
        "landmarks": batch["landmarks"][:, order] * flip,
        **{k: batch[k][:, order] for k in ("visible", "code") if k in batch},
    }
    rows = {k: which.view(-1, *[1] * (x.ndim - 1)) for k, x in turned.items()}
    return batch | {k: x.where(rows[k], batch[k]) for k, x in turned.items()}
