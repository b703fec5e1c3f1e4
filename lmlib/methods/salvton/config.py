"""Sizes, weights and settings of SAL-VTON's three stages."""

from dataclasses import dataclass
from typing import Literal

from lmlib.methods.base import Config

Stage = Literal["landmarks", "warps", "generator"]
STAGES: tuple[Stage, ...] = ("landmarks", "warps", "generator")


@dataclass(frozen=True, kw_only=True)
class SalvtonConfig(Config):
    """One try-on network; images are ``size`` high and three quarters of it wide.

    Shares are of the image's height and width.
    """

    size: int = 64  # height; the width is 3/4 of it
    landmarks: int = 32  # K
    image_channels: Literal[3] = 3
    stages: tuple[Stage, ...] = STAGES  # what is trained

    # Stage 1
    map_stride: Literal[2, 4] = 2  # pixels a cell of the heatmaps
    branches: tuple[int, ...] = (16, 32, 64)  # widths of the resolutions, finest first
    exchanges: int = 2  # times the resolutions exchange, with all of them
    middle: int = 1  # the same with three resolutions or more, but not all of them
    blocks: int = 1  # residual blocks of a resolution between two exchanges
    sigma: float = 1.0  # of the target's Gaussians, in cells
    decoding: Literal["soft", "hard"] = "soft"  # around the peak, or the peak's cell

    # Stage 2
    stem: int = 24  # channels at full resolution
    widths: tuple[int, ...] = (32, 48, 64)  # of N encoding layers, finest first
    fpn: int = 32  # channels of the pyramids
    residuals: int = 1  # residual blocks of an encoding layer
    flow_widths: tuple[int, ...] = (32, 32)  # hidden layers of a flow estimator
    # Of patches, their sides and A are learned; A alone; nothing. Or there are none.
    local: Literal["deformable", "turning", "fixed", "none", "released"] = "deformable"
    matched: int = 16  # C, numbers a pixel is matched by
    patch: float = 0.1  # share of the image a patch has; learned ones start there
    largest: float = 0.2  # I_h, I_w of eq. 2 and 3
    square: float = 0.04  # side of a landmark's hard square in the maps
    jitter: float = 1.0  # deviation in pixels of landmarks in training
    smoothness: float = 1.0  # weight of eq. 8
    perceptual: float = 0.0  # weight of eq. 6
    perceived: Literal["gradients", "imagenet"] = "gradients"  # by what; stage 3, too
    local_rate: float = 2.5  # factor on the rate of what only the local flow uses

    # Stage 3
    ngf: int = 24  # channels of the generator at full resolution
    depth: int = 3  # halvings of the generator
    decoder: Literal["lasnl", "released", "residual"] = "lasnl"
    output: Literal["drawn", "blended"] = "drawn"  # all drawn, or what stays kept
    adversarial: float = 0.1
    feature_matching: float = 1.0
    generator_perceptual: float = 1.0
    discriminator_rate: float = 4.0  # factor on the rate

    # Training
    lr: float = 4e-4
    batch_size: int = 8
    steps: int = 0  # in place of epochs, where it is not 0
    epochs: int = 100
    decay: float = 0.5  # share of the steps after which the rate falls linearly to 0

    def __post_init__(self):
        super().__post_init__()
        if not self.stages or len(set(self.stages)) != len(self.stages):
            raise ValueError(f"stages must name each stage once, got {self.stages}")
        if min(len(self.branches), len(self.widths)) < 1:
            raise ValueError("branches and widths must not be empty")
        for name in ("stem", "fpn", "matched", "ngf", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("exchanges", "middle", "blocks", "residuals"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        halvings = max(
            len(self.widths),
            self.depth,
            len(self.branches) + self.map_stride.bit_length() - 2,
        )
        least = 2 ** min(halvings, 30)  # no image is so large
        if self.size % 4 or any(side % least for side in self.shape):
            raise ValueError(
                f"with {halvings} halvings, size and 3/4 of it must be multiples of "
                f"{least}, got {self.size}"
            )
        if "generator" in self.stages and self.size < 32:
            raise ValueError(
                "the discriminator halves images four times: size must be 32 or more, "
                f"got {self.size}"
            )
        for name in ("patch", "largest", "square"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share in (0, 1]")
        if self.local == "deformable" and self.patch >= self.largest:
            raise ValueError(
                f"learned patches start below the largest: patch {self.patch} is not "
                f"below {self.largest}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.size, 3 * self.size // 4

    @property
    def window(self) -> tuple[int, int]:
        """Height and width in pixels, odd, of what a patch is cut out of: the largest
        patch and a pixel around it, where the soft box fades out."""
        sized = self.local in ("fixed", "turning")
        share = self.patch if sized else self.largest
        height, width = (int(share * side) // 2 + 1 for side in self.shape)
        return 2 * height + 1, 2 * width + 1

    def steps_for(self, images: int) -> int:
        """``steps``, or as many as ``epochs`` take."""
        return self.steps or max(1, self.epochs * images // self.batch_size)

    @classmethod
    def viton(cls) -> "SalvtonConfig":
        """VITON at 256x192; widths, blocks and the map's stride are the released
        code's, epochs and rate the paper's. Loss weights are those of its parents.

        Millions of parameters, and the released code's: landmarks 130 (136), warps 33
        (51, some of them never used), generator 77 (159).
        """
        return cls(
            size=256,
            map_stride=4,
            branches=(48, 96, 192, 384),
            exchanges=3,
            middle=4,
            blocks=4,
            sigma=2.0,
            decoding="hard",
            stem=64,
            widths=(64, 128, 256, 256, 256),
            fpn=256,
            residuals=2,
            flow_widths=(128, 64, 32),
            smoothness=6.0,
            perceptual=0.2,
            ngf=96,
            depth=5,
            adversarial=1.0,
            feature_matching=10.0,
            generator_perceptual=10.0,
            perceived="imagenet",
            lr=3e-4,
        )

    @classmethod
    def tryon_class(cls) -> "SalvtonConfig":
        """Ours, for two cores: 64x48, three levels."""
        return cls(steps=3000)

    @classmethod
    def tryon128(cls) -> "SalvtonConfig":
        """Ours, for hours of one core: 128x96, four levels."""
        return cls(
            size=128,
            branches=(16, 32, 64, 96),
            exchanges=3,
            widths=(24, 48, 64, 64),
            perceptual=0.2,
            depth=4,
            output="blended",
            steps=20_000,
        )
