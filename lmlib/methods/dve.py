"""Descriptor vector exchange (Thewlis et al. 2019).

Every pixel u of an image gets a vector ``phi_u``, and the vectors are good if they find
their way: from an image to a warped copy of itself (equation 3),

    loss = mean over u of  sum_v p(v|u) |v - g u|,   p(v|u) = softmax_v <phi_u, phi'_v>

Long vectors do this by remembering the one image they were computed from. So before
they are matched, they are *exchanged*: each is replaced by what it finds in the image
of somebody else (equation 5),

    phi^_u = sum_w  p(w|u) phi''_w

which survives only if a nose has the same vector on every face. Equation 5 is
scaled-dot-product attention with scale 1: queries from the image, keys and values from
the other. And equation 3 is the mean of a distance under a softmax. Both are written as
they stand (``plain=True``), beside the call of a kernel that is faster.

The paper leaves open or prints otherwise, and we chose:

* ``power``: the released code takes the distance to the power of .5, the paper to 1.
* the networks are the released ones: SmallNet has six convolutions and LeakyReLU.
* coordinates: a vector belongs to the centre of its cell of ``stride`` pixels, in both
  images. The released code counts from the first pixel of the cell: the same up to a
  shift of half a pixel that both images share.
* positions outside the frame stay in the loss, as in the released code.
* several auxiliary images (section 3.4) are not in the released code: softmax and sum
  run over all their pixels at once.
* JPEG noise on training images is left out; colours are jittered. So is the released
  code's tiny learning rate for the biases of convolutions: where batch normalisation
  follows, a bias does nothing.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor, nn

from lmlib.colours import colour_jitter
from lmlib.geometry import pixel_grid, to_pixels
from lmlib.heatmaps import hard_argmax, soft_argmax
from lmlib.layers import Hourglass, check_images
from lmlib.methods import dve_fast
from lmlib.methods.base import FitOptions, Method
from lmlib.methods.dve_config import CLUSTERS, DveConfig
from lmlib.processes import drawn, gathered, own, portion, whole
from lmlib.samples import Batch
from lmlib.schedules import constant_then_decay
from lmlib.warps import dve_warp_pair

# Of CelebA; the released code's.
MEAN = (0.5084, 0.4224, 0.3769)
DEVIATION = (0.2599, 0.2371, 0.2323)

CLUSTERED = 10_000  # descriptors their kinds are found from

# --- equations 2, 3 and 5 -------------------------------------------------------------

Dense = Float[Tensor, "p c h w"]  # images, or a vector for each of their cells


def exchange(
    source: Dense,
    auxiliary: Float[Tensor, "p c y x"] | Float[Tensor, "p a c y x"],
    *,
    plain: bool = False,
) -> Dense:
    """Eq. 5: what each source vector finds in the auxiliary images.

    Args:
        source: phi_u.
        auxiliary: of one image, or of a set of A images (section 3.4), whose pixels
            share one softmax.
        plain: as the equation stands. The attention kernel gives the same, and keeps no
            matrix of all pixels by all pixels.
    """
    if auxiliary.ndim == 4:
        auxiliary = auxiliary.unsqueeze(1)
    query = _vectors(source)  # (P, N, C)
    keys = _vectors(auxiliary.transpose(1, 2))  # (P, A N, C)
    if plain:
        share = torch.softmax(query @ keys.mT, dim=-1)  # p(w|u): (P, N, A N)
        found = share @ keys
    else:
        found = dve_fast.attention(query, keys)
    return rearrange(found, "p (h w) c -> p c h w", h=source.shape[-2])


def matching_loss(
    source: Dense,
    target: Float[Tensor, "p c y x"],
    where: Float[Tensor, "p h*w 2"],
    weight: Float[Tensor, "p h*w"] | None = None,
    *,
    stride: float = 1.0,
    power: float = 1.0,
    tile: int | None = None,
    plain: bool = False,
) -> Float[Tensor, ""]:
    """Eq. 3: the expected distance between where a vector belongs and where it matches.

    Args:
        source: phi_u, exchanged or not.
        target: phi'_v.
        where: g u, x and y in cells of the target, counted from the centre of the
            first. May lie outside. Gets no gradient.
        weight: how much each u counts; None for all alike.
        stride: pixels a cell, so that distances are in pixels of the input image.
        power: of the distance.
        tile: numbers of the similarity matrix at a time; None for what is fast here.
        plain: as the equation stands, with gradients from autograd. Otherwise rows of
            the similarity matrix are made, used for the loss and its gradient, and
            forgotten, so that memory is linear in the number of pixels.

    Returns:
        The mean over u and pairs.
    """
    if source.shape[:2] != target.shape[:2] or where.shape[:2] != (
        len(source),
        source[0, 0].numel(),
    ):
        raise ValueError(
            "expected source (P, C, h, w), target (P, C, H, W) and where (P, h w, 2), "
            f"got {tuple(source.shape)}, {tuple(target.shape)}, {tuple(where.shape)}"
        )
    if weight is None:
        weight = where.new_ones(where.shape[:2])
    # Only vectors may be in half precision: bfloat16 moves a place by half a pixel.
    where, weight = where.to(source.device), weight.to(source.device)
    weight = weight / weight.sum().clamp(min=1e-9)
    size = target.shape[-2:]
    phi, others = _vectors(source), _vectors(target)  # (P, N, C), (P, M, C)
    if plain:
        probability = torch.softmax(phi @ others.mT, dim=-1)  # eq. 2: (P, N, M)
        cells = to_pixels(pixel_grid(*size, where.device, where.dtype), size)
        cells = cells.flatten(0, 1)  # v: (M, 2)
        distance = stride * (where.unsqueeze(2) - cells).norm(dim=-1)  # (P, N, M)
        expected = (probability * distance**power).sum(-1)  # (P, N)
        return (weight * expected).sum()
    return dve_fast.expected_distance(
        phi, others, where, weight, size, stride, power, tile
    )


def _vectors(descriptors: Float[Tensor, "p c ..."]) -> Float[Tensor, "p n c"]:
    """One vector a pixel."""
    return rearrange(descriptors, "p c ... -> p (...) c")


def match_scores(
    descriptors: Float[Tensor, "b c h w"],
    points: Float[Tensor, "b k 2"],
    others: Float[Tensor, "b c y x"],
) -> Float[Tensor, "b k y x"]:
    """How well each cell of another image matches points of this one, in [-1, 1].

    Dot products, the logits of eq. 2. A point's vector is that of the cell it falls in.
    """
    height, width = descriptors.shape[-2:]
    x, y = to_pixels(points, (height, width)).round().long().unbind(-1)
    cell = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)  # (B, K)
    index = cell.unsqueeze(1).expand(-1, descriptors.shape[1], -1)
    vectors = descriptors.flatten(2).gather(2, index)  # (B, C, K)
    return torch.einsum("bck,bchw->bkhw", vectors, others)


# --- networks -------------------------------------------------------------------------


class SmallNet(nn.Sequential):
    """Six convolutions, the first pooled, three dilated (appendix D)."""

    def __init__(self, channels: int, widths: tuple[int, ...]):
        layers: list[nn.Module] = []
        kernels, dilations = (5, 5, 5, 3, 3), (1, 1, 2, 4, 2)
        inputs = 3
        for width, kernel, dilation in zip(widths, kernels, dilations, strict=True):
            pad = dilation * (kernel // 2)
            layers += [
                nn.Conv2d(inputs, width, kernel, padding=pad, dilation=dilation),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            if inputs == 3:
                layers += [nn.MaxPool2d(2)]
            inputs = width
        super().__init__(*layers, nn.Conv2d(inputs, channels, 1))
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)


def network(config: DveConfig) -> nn.Module:
    """Images ``"b 3 h w"`` to descriptors ``"b c h/2 w/2"``."""
    if config.network == "smallnet":
        return SmallNet(config.channels, config.widths)
    return Hourglass(3, config.channels, config.planes, config.depth)


# --- the method -----------------------------------------------------------------------


class Dve(Method):
    """Dense descriptors, learned without labels.

    ``auxiliaries`` is a plain attribute, to turn in training; ``at`` says when the
    exchange begins. Landmarks are where the kinds of descriptors ``centres
    (landmarks, C)`` are, which ``finish`` finds. With ``landmarks`` > 0 they are those
    of a ``VirtualPoints`` regressor, which is to be fitted; ``losses`` does not train
    it.
    """

    name = "dve"
    Config = DveConfig
    regression = {"ridge": 0.1}

    def __init__(self, config: DveConfig, landmarks: int = 0):
        super().__init__(config)
        self.auxiliaries = config.auxiliaries
        self.exchanging = True
        self.network = network(config)
        self.regressor = (
            VirtualPoints(config.channels, landmarks) if landmarks else None
        )
        self.register_buffer("centres", None)
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), False)

    def at(self, progress: float) -> None:
        """Vectors are exchanged after the share ``warm_up`` of the steps."""
        self.exchanging = progress >= self.config.warm_up

    def fit_options(self, steps: int) -> FitOptions:
        """Adam with amsgrad; the rate falls to a tenth and a hundredth."""
        c = self.config
        return FitOptions(
            batch_size=c.batch_size + c.pool,
            lr=c.lr,
            amsgrad=True,
            schedule=constant_then_decay(steps, c.decay),
        )

    @torch.no_grad()
    def finish(self, data, indices: Int[Tensor, " n"]) -> None:
        """The kinds of descriptors, from about 100 training images."""
        device, training = self.mean.device, self.training
        some = indices[:: max(1, len(indices) // 100)][:100]
        self.eval()
        parts = [
            self.descriptors(self.crop(data.batch(part, device)["image"]))
            for part in some.split(50)
        ]
        self.train(training)
        vectors = rearrange(torch.cat(parts), "b c h w -> (b h w) c")
        few = vectors[:: max(1, len(vectors) // CLUSTERED)]
        self.centres = cluster(few, self.config.landmarks).to(device)

    @classmethod
    def suited(cls, config: DveConfig, batch: Batch) -> DveConfig:
        """As it is."""
        if config.pairs == "flow" and "flow" not in batch:
            raise ValueError(
                "no pairs of images with flow, which this preset needs; choose "
                "another, or add --set pairs=warps"
            )
        return config

    def descriptors(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b c h//2 w//2"]:
        """``Phi(x)`` of images in [0, 1]."""
        images = (check_images(images, 3) - self.mean) / self.deviation
        vectors = self.network(images)
        unit = self.config.unit
        return unit * F.normalize(vectors, dim=1) if unit else vectors

    def crop(
        self,
        images: Float[Tensor, "b c h w"],
        points: Float[Tensor, "b k 2"] | None = None,
    ):
        """The middle of images, and their points where given; see ``crop``."""
        return crop(images, points, self.config)

    def landmarks(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k 2"]:
        """Regressed, or places of kinds of descriptors."""
        vectors = self.descriptors(images)
        if self.regressor is not None:
            return self.regressor(vectors)
        if self.centres is None:
            raise ValueError(
                "this network has descriptors and no landmarks yet: `finish(data, "
                "indices)` finds kinds of descriptors, Dve(config, landmarks=K) has a "
                "regressor"
            )
        return virtual_points(vectors, self.centres)

    def match(
        self,
        images: Float[Tensor, "b 3 h w"],
        points: Float[Tensor, "b k 2"],
        others: Float[Tensor, "b 3 y x"],
    ) -> Float[Tensor, "b k 2"]:
        """Points of images, found in others: the best cell's centre."""
        return hard_argmax(
            match_scores(self.descriptors(images), points, self.descriptors(others))
        )

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Eq. 3, with the exchange of eq. 5 if there are auxiliaries.

        Auxiliary images are, in this order of precedence: ``batch["auxiliary"]``, one
        for each pair; the ``pool`` last images of the batch,
        ``auxiliaries`` of them drawn for each pair; the source images of the pairs that
        follow (of the last pair: the first).
        """
        auxiliaries = self.auxiliaries if self.exchanging else 0
        pool = self._own_pool() if auxiliaries else 0
        if pool:
            aside = {name: value[-pool:] for name, value in batch.items()}
            batch = {name: value[:-pool] for name, value in batch.items()}
        u, v, where, weight = self.pair(batch)
        images, given = [u, v], "auxiliary" in batch and auxiliaries > 0
        if given:
            images += [self._jitter(self.views(batch["auxiliary"])[0])]
        elif pool:
            images += [self.pair(aside)[0]]
        count = [len(part) for part in images]
        source, target, *rest = self.descriptors(torch.cat(images)).split(count)
        if auxiliaries:
            bank = rest[0] if rest else source
            if not given:
                bank = gathered(bank)[self._choose(len(source), pool)]
            source = exchange(source, bank)
        loss = matching_loss(
            source,
            target,
            to_pixels(where, target.shape[-2:]),
            weight,
            stride=self.config.stride,
            power=self.config.power,
        )
        return {"matching": loss if weight is None else loss * portion(weight.sum())}

    def _own_pool(self) -> int:
        """Images of the pool that are in this process's share of a batch."""
        pool, processes = self.config.pool, whole(1)
        if pool % processes:
            raise ValueError(
                f"a pool of {pool} cannot be shared by {processes} processes"
            )
        return pool // processes

    def _choose(self, pairs: int, pool: int) -> Int[Tensor, "{pairs} a"]:
        """Which auxiliary images of the whole batch each pair uses."""
        if pool:
            order = drawn(torch.rand, (pairs, whole(pool)), self.generator)
            return order.argsort(dim=1)[:, : self.auxiliaries]
        every = whole(pairs)
        follow = torch.arange(1, min(self.auxiliaries, max(every - 1, 1)) + 1)
        return own((torch.arange(every).unsqueeze(1) + follow) % every)

    def pair(
        self, batch: Batch
    ) -> tuple[Dense, Dense, Float[Tensor, "p n 2"], Float[Tensor, "p n"] | None]:
        """Images u and v, where each cell of u lies in v, and how much it counts.

        * "warps": both are warped copies of ``batch["image"]``.
        * "flow": ``image`` and ``image2`` of the batch; ``flow`` ``(P, H, W, 2)`` says
          where each pixel went, ``flow_valid`` where that is known.
        * "identity": the image twice, g = 1; ``batch["mask"]``, where there is one,
          leaves out the background.
        """
        if self.config.pairs == "warps":
            u, v, where = self.views(batch["image"])
            return self._jitter(u), self._jitter(v), where, None
        u, stride = batch["image"], self.config.stride
        if self.config.pairs == "flow":
            v, flow = batch["image2"], batch["flow"].permute(0, 3, 1, 2)
            valid = batch["flow_valid"].unsqueeze(1).to(u)
        else:
            v = u
            flow = pixel_grid(*u.shape[-2:], u.device).permute(2, 0, 1)
            flow = flow.expand(len(u), -1, -1, -1)
            valid = (batch["mask"] > 0.5).to(u) if "mask" in batch else None
        weight = None
        if valid is not None:  # a cell counts if all its pixels do
            flow = flow.where(valid > 0, 0.0)  # NaN times 0 is NaN
            weight = (F.avg_pool2d(valid, stride) == 1).to(u).flatten(1)
        where = _vectors(F.avg_pool2d(flow, stride))
        return self._jitter(u), self._jitter(v), where, weight

    def views(
        self, images: Float[Tensor, "p c _ _"]
    ) -> tuple[Dense, Dense, Float[Tensor, "p n 2"]]:
        """Two warped crops u and v of each image, and where cells of u lie in v.

        Of two chained warps, v has gone through the first, milder one, u through both.
        """
        size, zoom = self.config.size, self.config.size / self.config.frame
        first, second = dve_warp_pair(len(images), self.generator, self.config.bend)
        # The crop is the middle of the frame, so its pixels are the frame's, drawn in.
        lattice = zoom * pixel_grid(size, size, images.device).view(1, -1, 2)
        lattice = lattice.expand(len(images), -1, -1)
        u_in_v = second.backward(lattice)
        u, v = (
            F.grid_sample(images, xy.unflatten(1, (size, size)), align_corners=False)
            for xy in (first.backward(u_in_v), first.backward(lattice))
        )
        cells = (size // self.config.stride,) * 2
        lattice = zoom * pixel_grid(*cells, images.device).view(1, -1, 2)
        where = second.backward(lattice.expand(len(images), -1, -1)) / zoom
        return u, v, where

    def _jitter(self, images: Tensor) -> Tensor:
        amount = self.config.jitter if self.training else 0.0
        return colour_jitter(images, amount, self.generator) if amount else images


def crop(
    images: Float[Tensor, "b c h w"],
    points: Float[Tensor, "b k 2"] | None,
    config: DveConfig,
):
    """The centre that networks are trained on: from ``frame`` to ``size`` pixels.

    Images alone, or with them their points in [-1, 1] where given.
    """
    side = round(images.shape[-1] * config.size / config.frame)
    top, left = ((length - side) // 2 for length in images.shape[-2:])
    images = images[..., top : top + side, left : left + side]
    return images if points is None else (images, points * (config.frame / config.size))


# --- from descriptors to landmarks ----------------------------------------------------


def cluster(
    vectors: Float[Tensor, "n c"], count: int = CLUSTERS
) -> Float[Tensor, "{count} c"]:
    """Directions of kinds of descriptors, by k-means. It sees no label, and takes
    seconds in place of a gradient descent.

    Raises:
        ValueError: fewer descriptors than kinds.
    """
    if len(vectors) < count:
        raise ValueError(f"{len(vectors)} descriptors are too few for {count} clusters")
    vectors = F.normalize(vectors, dim=1).cpu().numpy()
    model = MiniBatchKMeans(count, random_state=0, n_init=1, batch_size=2048)
    return F.normalize(torch.from_numpy(model.fit(vectors).cluster_centers_), dim=1)


def virtual_points(
    descriptors: Float[Tensor, "b c h w"], centres: Float[Tensor, "k c"]
) -> Float[Tensor, "b k 2"]:
    """Where each kind of descriptor is."""
    vectors = F.normalize(descriptors, dim=1)
    maps = torch.einsum("pc,bchw->bphw", centres, vectors)
    return soft_argmax(maps, VirtualPoints.beta)


class VirtualPoints(Method):
    """Landmarks from frozen descriptors (section 4.1, as released).

    For each landmark, ``points`` filters make maps, soft-argmax turns them into virtual
    points, and a bias-free linear layer turns those into the landmark.
    """

    name = "virtual-points"
    beta = 100.0

    def __init__(self, channels: int, landmarks: int, points: int = 50):
        super().__init__(None)
        self.counts = landmarks, points
        self.filters = nn.Parameter(torch.randn(landmarks * points, channels))
        scale = 1 / math.sqrt(2 * points)
        self.linear = nn.Parameter(scale * torch.randn(landmarks, 2 * points, 2))

    def virtual(self, descriptors: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n 2"]:
        """Virtual points: ``points`` for each landmark."""
        maps = torch.einsum("pc,bchw->bphw", self.filters, descriptors)
        return soft_argmax(maps, self.beta)

    def forward(self, descriptors: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k 2"]:
        """Landmarks in [-1, 1]."""
        landmarks, points = self.counts
        each = self.virtual(descriptors).view(-1, landmarks, 2 * points)
        return torch.einsum("bkp,kpx->bkx", each, self.linear)

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Trains on frozen descriptors: ``batch["image"]`` holds them."""
        return {"regression": regression_loss(self(batch["image"]), batch)}


def regression_loss(points: Float[Tensor, "b k 2"], batch: Batch) -> Float[Tensor, ""]:
    """Smooth L1 on coordinates times 10; hidden landmarks count as zero."""
    error = F.smooth_l1_loss(10 * points, 10 * batch["landmarks"], reduction="none")
    return (error.mean(-1) * batch["visible"]).mean()
