"""Landmark discovery by autoencoding (Zhang et al. 2018).

An image is squeezed through K points and a short vector for each of them, and must be
drawn again from those. Nobody says where the points should be: a point that does not
help to draw the image is a waste. Four terms are added (equation 15):

    image -> D -> points -------> Gaussian maps ----> image       reconstruction
      |      |                        ^
      |      +-- pooling -> vectors --+  unpooling
      +-----------^ features

* concentration (eq. 5): each map ``D_k`` is one blob;
* separation (eq. 7): the points keep apart;
* equivariance (eq. 8): warp the image, and the points move with it.

``D`` is a softmax over *channels*: every pixel belongs to one landmark, or to the
background. A point is the mean position of its map.

The paper leaves open or prints otherwise, the released code differs, and we chose:

* coordinates: losses are computed in units of the image's edge, as table 7 wants. The
  code's equivariance term is in other units, 3.33 times ours.
* eq. 5 is printed with a square and a factor 2 too many: the text's own "exponential of
  the entropy" is ``pi e (var_u + var_v)``.
* eq. 10 pools features with the Gaussian of eq. 6, the code with the map itself. We
  follow the paper.
* ``weight_reconstruction`` is lambda_recon for eq. 17, without its constant. The code
  leaves out sigma_color and halves the square: its .1 is .000125 here.
* eqs. 11 and 12 in edge units. The code's maps are about ten times fainter.
* eq. 13: LeakyReLU as in the paper, which the code leaves out.
* warps: with a true spline, .05 bends as much as the code's .1 (notes of
  ``geometry.lmdis_warp``). The code draws the kind of control points for each image,
  and then never uses the landmarks; we draw for each image and use them.
* colours are jittered for each image; the code does it for each batch.
* ``sharpness`` multiplies the scores before the softmax over channels: 1 in the paper.
  A short run learns several times faster with 4.
* motion (appendix C): eq. 16 weighs speeds with Gaussians at the points. Those are of
  height 1 and deviation ``motion_width`` here, so the term lies between -K and 0 and
  has its own weight.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlib.colours import lmdis_jitter
from lmlib.geometry import Chain, Flow, Warp, pixel_grid
from lmlib.heatmaps import expected_points, variance
from lmlib.layers import Ladder, Rungs, check_images
from lmlib.methods import lmdis_fast
from lmlib.methods.base import FitOptions, Method
from lmlib.methods.lmdis_config import LmdisConfig
from lmlib.processes import drawn
from lmlib.samples import Batch
from lmlib.schedules import stages
from lmlib.training import recompute_statistics
from lmlib.warps import lmdis_landmark_warp, lmdis_warp

SIGMA_COLOUR = 0.05  # of eq. 17

# --- equations 2 to 8 -----------------------------------------------------------------

Points = Float[Tensor, "b k 2"]
Vectors = Float[Tensor, "b k+1 d"]  # one for each landmark, and the background's
Edge = Float[Tensor, " 2"]  # of the image, in units of [-1, 1]
Scalar = Float[Tensor, ""]


def detection_maps(
    scores: Float[Tensor, "b n h w"], sharpness: float = 1.0
) -> Float[Tensor, "b n h w"]:
    """Eq. 2: scores to maps that sum to one over the channels."""
    full = torch.promote_types(scores.dtype, torch.float32)  # not in half precision
    return torch.softmax(sharpness * scores.to(full), dim=1)


def normalised(maps: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
    """Each map divided by its sum, zeta in eq. 3: a density over the pixels."""
    return maps / (maps.sum(dim=(-2, -1), keepdim=True) + 1e-6)


def concentration(variances: Points, edge: Edge) -> Scalar:
    """Eq. 5 as its text has it, summed over K: ``pi e (var_u + var_v)``.

    That is the exponential of the entropy of a round Gaussian whose variance is the
    mean of both. ``variances`` in [-1, 1]; ``edge``: edges of the image per unit.
    """
    return math.pi * math.e * (variances * edge**2).sum((-2, -1)).mean()


def separation(points: Points, edge: Edge, sigma: float) -> Scalar:
    """Eq. 7: ``sum of exp(-d^2 / 2 sigma^2)`` over ordered pairs."""
    points = points * edge
    apart = (points.unsqueeze(2) - points.unsqueeze(1)).square().sum(-1)  # (B, K, K)
    others = 1 - torch.eye(points.shape[1], device=points.device, dtype=points.dtype)
    return (torch.exp(-apart / (2 * sigma**2)) * others).sum((-2, -1)).mean()


def equivariance(points: Points, moved_back: Points, edge: Edge) -> Scalar:
    """Eq. 8: squared distance of points to those found in the warped image and read
    back, ``g(x')``; summed over K."""
    return ((points - moved_back) * edge).square().sum((-2, -1)).mean()


def motion(
    points: Points, flow: Float[Tensor, "b h w 2"], edge: Edge, width: float
) -> Scalar:
    """Eq. 16, negative: the share of all motion that lies under the points.

    ``flow``: where each pixel goes, in [-1, 1].
    """
    height, width_px = flow.shape[1:3]
    grid = pixel_grid(height, width_px, flow.device)
    energy = ((flow - grid) * edge).square().sum(-1)  # (B, H, W)
    share = energy / (energy.sum((-2, -1), keepdim=True) + 1e-9)
    gy, gx = gaussians(points, (height, width_px), width, edge)
    return -torch.einsum("bhw,bkh,bkw->bk", share, gy, gx).sum(-1).mean()


def gaussians(
    points: Points, size, width: float | Float[Tensor, "b k 1"], edge: Edge
) -> tuple[Float[Tensor, "b k h"], Float[Tensor, "b k w"]]:
    """Gaussians of height 1 at points, as factors along y and x.

    ``width``: their deviation in edges of the image.
    """
    factors = []
    for axis, count in ((1, size[0]), (0, size[1])):
        line = torch.arange(count, device=points.device, dtype=points.dtype)
        line = (2 * line + 1) / count - 1
        away = (line - points[..., axis, None]) * edge[axis]
        factors.append(torch.exp(-0.5 * (away / width).square()))
    return tuple(factors)


class Unpooling(nn.Module):
    """Eq. 11 to 13 and the decoder's first convolution.

    Points and vectors become maps ``D~`` and features ``F~`` of M widths, which figure
    40 stacks and convolves with 3x3 kernels; batch normalisation and LeakyReLU follow.
    """

    def __init__(self, config: LmdisConfig):
        super().__init__()
        self.config, c = config, config
        self.side = c.size // (2 if c.half else 1)
        levels, counts = len(c.widths), c.landmarks + 1
        deep = c.unpooled if c.descriptor else 0
        self.inputs, self.outputs = levels * (counts + deep), c.decoder.down[0][0]
        if c.descriptor:
            self.lengthen = _Each(counts, c.descriptor, deep)  # W~_k in eq. 13
        conv = nn.Conv2d(self.inputs, self.outputs, 3, bias=False)
        nn.init.xavier_uniform_(conv.weight)
        self.weight = nn.Parameter(conv.weight.detach().contiguous())
        self.finish = nn.Sequential(
            nn.BatchNorm2d(self.outputs, eps=1e-3), nn.LeakyReLU(0.2, inplace=True)
        )
        self.register_buffer("edge", c.edge, persistent=False)

    def maps(self, points: Points) -> Float[Tensor, "b m k+1 n n"]:
        """Eq. 11 and 12: points to ``D~``."""
        levels = []
        for width in self.config.widths:
            gy, gx = gaussians(points, (self.side, self.side), width, self.edge)
            density = gy.unsqueeze(-1) * gx.unsqueeze(-2) / (2 * math.pi * width**2)
            density = F.pad(density, (0, 0, 0, 0, 0, 1), value=1.0)  # background
            levels.append(density / density.sum(dim=1, keepdim=True))
        return torch.stack(levels, dim=1)

    def forward(
        self, points: Points, vectors: Vectors | None = None, *, plain: bool = False
    ) -> Float[Tensor, "b o n n"]:
        """Points and vectors to the decoder's first maps.

        ``plain``: the features and the stack are made as the equations stand, where
        ``lmdis_fast`` makes neither and gives the same.
        """
        maps, deep = self.maps(points), None  # D~
        if vectors is not None:
            deep = F.leaky_relu(self.lengthen(vectors), 0.2)  # t_k: (B, K + 1, S)
        if plain:
            stack = [maps.flatten(1, 2)]
            if deep is not None:
                features = torch.einsum("bmkyx,bks->bmsyx", maps, deep)  # F~, eq. 13
                stack.append(features.flatten(1, 2))
            convolved = F.conv2d(torch.cat(stack, dim=1), self.weight, padding=1)
        else:
            convolved = lmdis_fast.unpool(maps, deep, self.weight)
        return self.finish(convolved)


# --- the method -----------------------------------------------------------------------


class Lmdis(Method):
    """Landmarks, and an image decoder, learned without labels.

    ``weights`` are those of the four terms, of flow and of motion. ``at`` raises that
    of the reconstruction, and ``landmark_share``: how many images are warped with their
    landmarks as control points.
    """

    name = "lmdis"
    Config = LmdisConfig
    regression = {"bias": False}

    def __init__(self, config: LmdisConfig):
        super().__init__(config)
        c = config
        channels, counts = c.image_channels, c.landmarks + 1
        self.detector = _encoder(channels, c.detector, counts, c.half, plain_end=True)
        if c.descriptor:
            self.features = _encoder(channels, c.features, c.shared, c.half)
            self.shorten = _Each(counts, c.shared, c.descriptor)  # W_k in eq. 10
        self.unpool = Unpooling(c)
        # The first convolution of figure 40 is in ``unpool``.
        rungs = c.decoder._replace(down=(c.decoder.down[0][1:], *c.decoder.down[1:]))
        width = self.unpool.outputs
        if c.half:
            mirrored = self.unpool.inputs
            self.decoder = nn.Sequential(
                Ladder(width, rungs, mirrored, plain_end=False),
                nn.ConvTranspose2d(mirrored, 32, 3, 2, padding=1, output_padding=1),
                nn.BatchNorm2d(32, eps=1e-3),
                nn.LeakyReLU(0.2, inplace=True),
                nn.Conv2d(32, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels, eps=1e-3),
            )
        else:
            self.decoder = Ladder(width, rungs, channels)
        self.weights = {
            "reconstruction": c.weight_reconstruction,
            "concentration": c.weight_concentration,
            "separation": c.weight_separation,
            "equivariance": c.weight_equivariance,
            "flow": c.weight_flow,
            "motion": c.weight_motion,
        }
        self.landmark_share = 0.0
        self.register_buffer("edge", c.edge, persistent=False)

    # -- image to points and vectors ---------------------------------------------------

    def pad(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c n n"]:
        """The canvas: images with a margin in the mean colour of their border."""
        c = self.config
        check_images(images, c.image_channels)
        if images.shape[-2:] != (c.size, c.size):
            raise ValueError(
                f"this network takes images of {c.size} x {c.size} pixels, "
                f"got {tuple(images.shape)}"
            )
        lines = images[..., [0, -1], :], images[..., [0, -1]]
        colour = torch.cat([line.flatten(2) for line in lines], -1).mean(-1)
        margin = (c.canvas - c.size) // 2
        inside = F.pad(torch.ones_like(images), (margin,) * 4)
        return F.pad(images, (margin,) * 4) + (1 - inside) * colour[..., None, None]

    def detect(self, canvas: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n y x"]:
        """Eq. 1 and 2: canvas to K + 1 maps."""
        return detection_maps(self.detector(canvas), self.config.sharpness)

    def locate(
        self, maps: Float[Tensor, "b n h w"]
    ) -> tuple[Float[Tensor, "b n-1 2"], Float[Tensor, "b n-1 2"]]:
        """Eq. 3: points and variances of the landmarks' maps, both in the image's
        [-1, 1]; the margin lies outside."""
        zoom = self.config.canvas / self.config.size
        each = normalised(maps[:, :-1])
        return zoom * expected_points(each), zoom**2 * variance(each)

    def describe(
        self,
        canvas: Float[Tensor, "b c _ _"],
        maps: Float[Tensor, "b _ _ _"],
        points: Points,
        variances: Points,
    ) -> Vectors | None:
        """Eq. 10: vectors, the background's last."""
        if not self.config.descriptor:
            return None
        features = self.features(canvas)  # (B, S, n, n)
        zoom = self.config.canvas / self.config.size
        # Eq. 6: a Gaussian as wide as the map. The background's map stays as it is.
        width = (variances * self.edge**2).mean(-1, keepdim=True).sqrt()  # (B, K, 1)
        width = width.clamp(min=0.25 / self.config.size)
        size = features.shape[-2:]
        gy, gx = gaussians(points / zoom, size, width / zoom, self.edge)
        blobs = normalised(gy.unsqueeze(-1) * gx.unsqueeze(-2))
        masks = torch.cat([blobs, normalised(maps[:, -1:])], dim=1).flatten(2)
        pooled = masks @ rearrange(features, "b s h w -> b (h w) s").to(masks)
        return self.shorten(pooled)

    def encode(self, images: Float[Tensor, "b c h w"]) -> tuple[Points, Vectors | None]:
        """Points and vectors: all that is kept of images."""
        canvas = self.pad(images)
        maps = self.detect(canvas)
        points, variances = self.locate(maps)
        return points, self.describe(canvas, maps, points, variances)

    def landmarks(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k 2"]:
        """Discovered landmarks in [-1, 1]."""
        return self.locate(self.detect(self.pad(images)))[0]

    # -- and back ----------------------------------------------------------------------

    def decode(
        self, points: Points, vectors: Vectors | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Eq. 14: points and vectors to images."""
        scores = self.decoder(self.unpool(points, vectors))
        return torch.sigmoid(scores.to(points.dtype))

    def reconstruct(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Images squeezed through points and vectors, and drawn again."""
        return self.decode(*self.encode(images))

    # -- training ----------------------------------------------------------------------

    def at(self, progress: float) -> None:
        """The weight of the reconstruction and the share of landmark warps."""
        c = self.config
        raised = math.prod(by for share, by in c.raised if progress >= share)
        self.weights["reconstruction"] = c.weight_reconstruction * raised
        start, full = c.landmark_start
        ramp = (progress - start) / max(full - start, 1e-9)
        self.landmark_share = c.landmark_share * min(max(ramp, 0.0), 1.0)

    def fit_options(self, steps: int) -> FitOptions:
        """Adam, with a rate that falls twice."""
        c = self.config
        schedule = stages(steps, c.decay, c.warm_up)
        return FitOptions(batch_size=c.batch_size, lr=c.lr, schedule=schedule)

    def finish(self, data, indices: Int[Tensor, " n"]) -> None:
        """Exact statistics for batch normalisation (G.3)."""
        size = self.config.batch_size
        batches = min(30, max(1, len(indices) // size))
        recompute_statistics(self, data, indices, batches, size)

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Eq. 15, weighted; terms of weight zero are neither computed nor returned.

        With ``image2`` and ``flow (B, H, W, 2)`` in the batch also the equivariance
        under that flow and the preference for motion (appendix C).
        """
        w, edge = {name: self.weight(name) for name in self.weights}, self.edge
        images = self._jitter(batch["image"])
        count, canvas = len(images), self.pad(images)
        views, g = [canvas], None
        if w["equivariance"]:
            g = self.warp(canvas)
            views.append(g.image(canvas, padding="border"))
        if video := "image2" in batch and bool(w["flow"]):
            views.append(self.pad(batch["image2"]))
        maps = self.detect(torch.cat(views))
        points, variances = self.locate(maps)
        terms = {}
        if w["concentration"]:
            terms["concentration"] = concentration(variances, edge)
        if w["separation"]:
            terms["separation"] = separation(points, edge, self.config.separation)
        first, *others = points.split(count)
        if g is not None:
            # The warped canvas shows at p what the canvas shows at g(p).
            zoom = self.config.canvas / self.config.size
            back = zoom * g.backward(others[0] / zoom)
            terms["equivariance"] = equivariance(first, back, edge)
        if video:
            ahead = Flow(batch["flow"]).backward(first)
            terms["flow"] = equivariance(others[-1], ahead, edge)
        if w["motion"] and "flow" in batch:
            width = self.config.motion_width
            terms["motion"] = motion(first, batch["flow"], edge, width)
        if w["reconstruction"]:
            vectors = self.describe(canvas, maps[:count], first, variances[:count])
            error = (images - self.decode(first, vectors)).square()
            terms["reconstruction"] = error.sum((1, 2, 3)).mean() / SIGMA_COLOUR**2
        return self.weighted(terms)

    def warp(self, canvas: Float[Tensor, "b c h w"]) -> Warp:
        """A random warp for each canvas; some have landmarks as control points."""
        c, count = self.config, len(canvas)
        # Half the unit of [-1, 1] is an edge.
        draws = c.scale, c.degrees, 2 * c.shift, c.bend
        warp = lmdis_warp(count, self.generator, *draws)
        if not self.landmark_share:
            return warp
        chosen = drawn(torch.rand, (count,), self.generator) < self.landmark_share
        with torch.no_grad():
            points = self.locate(self.detect(canvas))[0] * (c.size / c.canvas)
        spline = lmdis_landmark_warp(points, self.generator, c.landmark_bend)
        return _Either(chosen, Chain(spline, warp.second), warp)

    def _jitter(self, images: Tensor) -> Tensor:
        c = self.config
        if not self.training or not (c.brightness or c.contrast):
            return images
        return lmdis_jitter(images, c.brightness, c.contrast, self.generator)


def _encoder(
    channels: int, rungs: Rungs, outputs: int, half: bool, plain_end: bool = False
) -> nn.Module:
    """Canvas to maps; for large images behind a plain convolution and a pooling."""
    if not half:
        return Ladder(channels, rungs, outputs, plain_end)
    layers: list[nn.Module] = [
        nn.Conv2d(channels, 32, 3, padding=1),
        nn.MaxPool2d(2),
        Ladder(32, rungs, 32, plain_end=False),
    ]
    if plain_end:  # the detector: scores from a 1x1 convolution
        layers += [nn.Conv2d(32, outputs, 1, bias=False)]
        layers += [nn.BatchNorm2d(outputs, eps=1e-3)]
    return nn.Sequential(*layers)


class _Each(nn.Module):
    """A linear map for each landmark; one bias."""

    def __init__(self, count: int, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        bound = math.sqrt(6 / (inputs + outputs))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Float[Tensor, "b k i"]) -> Float[Tensor, "b k o"]:
        return torch.einsum("bki,kio->bko", x, self.weight) + self.bias


class _Either(Warp):
    """The first warp for the ``chosen`` images, the second for the others."""

    def __init__(self, chosen: Bool[Tensor, " b"], first: Warp, second: Warp):
        self.first, self.second, self.batch = first, second, len(chosen)
        self.chosen = chosen.view(-1, 1, 1)

    def backward(self, xy: Float[Tensor, "b n 2"]) -> Float[Tensor, "b n 2"]:
        chosen = self.chosen.to(xy.device)
        return torch.where(chosen, self.first.backward(xy), self.second.backward(xy))
