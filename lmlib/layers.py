"""Building blocks the methods share."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lmlib.fftconv import LargeKernelConv2d
from lmlib.processes import Dropout


def _same_conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    # Below these sizes the direct sum is cheaper than the transforms.
    large = kernel >= 9 and inputs >= 8
    kind = LargeKernelConv2d if large else nn.Conv2d
    return kind(inputs, outputs, kernel, padding=kernel // 2)


def conv_stack(channels: tuple[int, ...], kernels: tuple[int, ...]) -> nn.Sequential:
    """Convolutions at full resolution with ReLU between them, none after the last.

    ``channels`` has one number more than ``kernels``: input, hidden..., output. Stride
    1 and "same" padding throughout, so a map keeps the image's size (no pooling:
    pooling forgets where).
    """
    if len(channels) != len(kernels) + 1:
        raise ValueError(f"{len(kernels)} kernels need {len(kernels) + 1} channels")
    layers: list[nn.Module] = []
    for i, kernel in enumerate(kernels):
        layers += [_same_conv(channels[i], channels[i + 1], kernel)]
        layers += [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


@torch.no_grad()
def unit_variance(layers: nn.Sequential, x: Float[Tensor, "b c h w"]) -> None:
    """Give every channel of every convolution mean 0 and deviation 1 for images ``x``.

    Layer-sequential unit variance (Mishkin and Matas 2016): from the first layer on,
    random weights are rescaled so that none starts out silent or deafening.
    """
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            y = layer(x)
            mean, deviation = y.mean((0, 2, 3)), y.std((0, 2, 3)).clamp(min=1e-6)
            layer.weight.div_(deviation.view(-1, 1, 1, 1))
            layer.bias.sub_(mean).div_(deviation)
        x = layer(x)


@torch.no_grad()
def mirror(network: nn.Module) -> None:
    """Start convolutions as one linear map, in place (Balduzzi et al. 2017).

    Half of the random filters are kept; the other half are their negatives. Of such a
    pair, ReLU passes one or the other, and the next layer weighs the two oppositely, so
    the value arrives whole. No channel starts out dead, and gradients do not shatter: a
    stack of eight narrow layers learns several times faster. In a ``Recombinator`` the
    poolings keep the pairs roughly, and it still gains.

    ``network``: a ``conv_stack`` or a ``Recombinator``. Its first convolution sees the
    image, so it weighs no pairs; its last one makes none.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    joined = {way[0] for way in getattr(network, "up", ())}  # these see two layers
    for layer in layers:
        if layer is not layers[-1]:
            _negate_half(layer.weight, 0)
        if layer is not layers[0]:
            for part in layer.weight.chunk(2 if layer in joined else 1, dim=1):
                _negate_half(part, 1)
        layer.bias.zero_()


def _negate_half(weight: Tensor, axis: int) -> None:
    half = weight.shape[axis] // 2  # an odd one stays alone
    weight.narrow(axis, half, half).copy_(-weight.narrow(axis, 0, half))


def mlp(widths: tuple[int, ...], dropout: float = 0.0) -> nn.Sequential:
    """Fully connected layers with ReLU and dropout on all but the last."""
    layers: list[nn.Module] = []
    for i in range(len(widths) - 1):
        layers += [nn.Linear(widths[i], widths[i + 1]), nn.ReLU(inplace=True)]
        layers += [Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers[: -2 if dropout else -1])


class Recombinator(nn.Module):
    """Recombinator network (Honari et al. 2016; figure 15 of Seq-MT's supplement).

    Five resolutions for ``levels=4``: going down, a 3x3 convolution and a 2x2 pooling
    at each; going up, the coarser maps are doubled in size and concatenated with what
    that resolution held before its pooling. Every convolution but the last is followed
    by ReLU. ``last`` is the width of the last hidden layer, ``channels`` if 0. Images
    first go through ``local_contrast``.
    """

    def __init__(
        self, inputs: int, channels: int, outputs: int, levels: int = 4, last: int = 0
    ):
        super().__init__()
        self.levels = levels
        c = channels
        self.down = nn.ModuleList(
            nn.Conv2d(inputs if level == 0 else c, c, 3, padding=1)
            for level in range(levels + 1)
        )
        self.bottom = conv_stack((c, c, c), (5, 1))
        # The coarsest way up has a 5x5 convolution only, the others a 1x1 behind it.
        self.up = nn.ModuleList(
            conv_stack((2 * c, c), (5,))
            if level == levels - 1
            else conv_stack((2 * c, c, c), (5, 1))
            for level in range(levels)
        )
        self.out = conv_stack((c, last or c, outputs), (1, 1))

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``; 2^levels divides H and W."""
        if any(side % 2**self.levels for side in images.shape[-2:]):
            raise ValueError(
                f"an RCN with {self.levels} poolings needs sides divisible by "
                f"{2**self.levels}, got {tuple(images.shape[-2:])}"
            )
        x, kept = local_contrast(images), []
        for conv in self.down:
            x = F.relu(conv(x))
            kept.append(x)
            x = F.max_pool2d(x, 2)
        x = F.relu(self.bottom(kept.pop()))
        for up, skip in zip(reversed(self.up), reversed(kept), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = F.relu(up(torch.cat([x, skip], dim=1)))
        return self.out(x)


class Residual(nn.Module):
    """Pre-activation bottleneck: ``inputs`` channels to ``2 * planes``."""

    def __init__(self, inputs: int, planes: int):
        super().__init__()
        layers: list[nn.Module] = []
        for width, outputs, kernel in (
            (inputs, planes, 1),
            (planes, planes, 3),
            (planes, 2 * planes, 1),
        ):
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=bool(layers))]
            layers += [nn.Conv2d(width, outputs, kernel, padding=kernel // 2)]
        self.body = nn.Sequential(*layers)
        same = inputs == 2 * planes
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, 2 * planes, 1)

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        return self.shortcut(x) + self.body(x)


class Hourglass(nn.Module):
    """One stack of Newell et al. 2016, on half the image's resolution.

    2^(depth + 1) divides the sides of its images. There is no pooling behind the first
    convolution. ``repeats`` residuals stand wherever the figure shows one; 2 *
    ``planes`` is the width.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        planes: int = 128,
        depth: int = 4,
        repeats: int = 4,
    ):
        super().__init__()
        self.depth, width = depth, 2 * planes

        def residuals() -> nn.Sequential:
            return nn.Sequential(*[Residual(width, planes) for _ in range(repeats)])

        self.stem = nn.Sequential(
            nn.Conv2d(inputs, width // 4, 7, stride=2, padding=3),
            nn.BatchNorm2d(width // 4),
            nn.ReLU(inplace=True),
            Residual(width // 4, width // 4),
            Residual(width // 2, planes),
            Residual(width, planes),
        )
        self.skip, self.down, self.up = (
            nn.ModuleList(residuals() for _ in range(depth)) for _ in range(3)
        )
        self.bottom = residuals()
        self.head = nn.Sequential(
            residuals(),
            nn.Conv2d(width, width, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, outputs, 1),
        )

    def forward(
        self, images: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b o h//2 w//2"]:
        if any(side % 2 ** (self.depth + 1) for side in images.shape[-2:]):
            raise ValueError(
                f"an hourglass of depth {self.depth} needs sides divisible by "
                f"{2 ** (self.depth + 1)}, got {tuple(images.shape[-2:])}"
            )
        x, kept = self.stem(images), []
        for skip, down in zip(self.skip, self.down, strict=True):
            kept.append(skip(x))
            x = down(F.max_pool2d(x, 2))
        x = self.bottom(x)
        for up in self.up:
            x = kept.pop() + F.interpolate(up(x), scale_factor=2, mode="nearest")
        return self.head(x)


class Rungs(NamedTuple):
    """Widths of a ``Ladder``'s convolutions."""

    down: tuple[tuple[int, ...], ...]  # before each pooling
    bottom: tuple[int, ...]  # at the coarsest resolution
    up: tuple[tuple[int, ...], ...]  # after each doubling
    skip: int = 2  # convolutions of every skip link

    @classmethod
    def mirrored(cls, *widths: int, skip: int = 1) -> "Rungs":
        """One convolution a resolution: down through ``widths``, and up again."""
        *sides, deepest = widths
        up = [(width,) for width in reversed(sides[:-1])]
        down = tuple((width,) for width in sides)
        return cls(down, (deepest, sides[-1]), (*up, ()), skip)


class Ladder(nn.Module):
    """Hourglass-style network of Zhang et al. 2018 (figure 40).

    2^poolings divides the sides of its images. 3x3
    convolutions, each with batch normalisation and LeakyReLU; max-pooling down, nearest
    neighbour up; a skip link is a few convolutions, added to the doubled maps. With
    ``plain_end`` the last convolution has batch normalisation, but no LeakyReLU.
    """

    def __init__(self, inputs: int, rungs: Rungs, outputs: int, plain_end: bool = True):
        super().__init__()
        if not 1 <= rungs.skip <= 100:
            raise ValueError(f"a skip link has 1 to 100 convolutions, not {rungs.skip}")
        self.down, self.skip, self.up = (
            nn.ModuleList(),
            nn.ModuleList(),
            nn.ModuleList(),
        )
        width, sides = inputs, []
        for widths in rungs.down:
            self.down.append(normed_convs(width, *widths))
            sides.append(width := (width, *widths)[-1])
        self.bottom = normed_convs(width, *rungs.bottom)
        width = rungs.bottom[-1]
        for number, (side, widths) in enumerate(
            zip(reversed(sides), rungs.up, strict=True)
        ):
            inner = (max(side, width),) * (rungs.skip - 1)
            self.skip.append(normed_convs(side, *inner, width))
            last = number == len(sides) - 1
            widths = (*widths, outputs) if last else widths
            self.up.append(normed_convs(width, *widths, plain_end=plain_end and last))
            width = widths[-1]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o h w"]:
        if any(side % 2 ** len(self.down) for side in x.shape[-2:]):
            raise ValueError(
                f"a ladder with {len(self.down)} poolings needs sides divisible by "
                f"{2 ** len(self.down)}, got {tuple(x.shape[-2:])}"
            )
        kept = []
        for down in self.down:
            kept.append(down(x))
            x = F.max_pool2d(kept[-1], 2)
        x = self.bottom(x)
        for skip, up in zip(self.skip, self.up, strict=True):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = up(x + skip(kept.pop()))
        return x


def normed_convs(inputs: int, *widths: int, plain_end: bool = False) -> nn.Sequential:
    """3x3 convolutions with batch normalisation and LeakyReLU.

    No biases, since batch normalisation would take them out again. Xavier's start.
    """
    layers: list[nn.Module] = []
    for width in widths:
        conv = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        nn.init.xavier_uniform_(conv.weight)
        layers += [conv, nn.BatchNorm2d(width, eps=1e-3), nn.LeakyReLU(0.2, True)]
        inputs = width
    return nn.Sequential(*layers[: -1 if plain_end else None])


def local_contrast(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """RCN's preprocessing: each pixel against its neighbourhood.

    Minus the local mean, divided by the local deviation (where that is below its own
    mean over the image: by the mean); 9x9 Gaussian window of 1.591 px.
    """
    count = images.shape[1]
    offset = torch.arange(-4, 5, device=images.device, dtype=images.dtype)
    line = torch.exp(-0.5 * (offset / 1.591) ** 2)
    window = (line[:, None] * line / line.sum() ** 2).expand(count, 1, 9, 9)

    def local_mean(x: Tensor) -> Tensor:
        x = F.pad(x, (4, 4, 4, 4), mode="replicate")
        return F.conv2d(x, window, groups=count)

    centred = images - local_mean(images)
    deviation = local_mean(centred.square()).sqrt()
    usual = deviation.mean(dim=(-2, -1), keepdim=True).clamp(min=1e-4)
    return centred / torch.maximum(deviation, usual)


def receptive_field(kernels: tuple[int, ...]) -> int:
    """Side in pixels of the patch one output of a stride-1 stack can see."""
    return 1 + sum(kernel - 1 for kernel in kernels)


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def check_images(
    images: Float[Tensor, "b {channels} h w"], channels: int
) -> Float[Tensor, "b {channels} h w"]:
    """Return images unchanged, or say in one line what is wrong."""
    if images.ndim != 4 or images.shape[1] != channels or 0 in images.shape:
        raise ValueError(
            f"expected images (B, {channels}, H, W), not empty, "
            f"got {tuple(images.shape)}"
        )
    return images
