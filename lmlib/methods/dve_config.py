"""Sizes, settings and presets of descriptor vector exchange (Thewlis et al. 2019).

What the paper leaves open, and what the released code does otherwise: see ``dve``.
"""

from dataclasses import dataclass, replace
from typing import Literal

from lmlib.methods.base import Config

CLUSTERS = 50  # kinds of descriptors whose places serve as landmarks


@dataclass(frozen=True, kw_only=True)
class DveConfig(Config):
    """Sizes and settings of one network; presets carry the released code's values."""

    landmarks: int = CLUSTERS
    image_channels: Literal[3] = 3
    channels: int = 64  # C, length of a descriptor
    network: Literal["smallnet", "hourglass"] = "smallnet"
    widths: tuple[int, ...] = (20, 48, 64, 80, 256)  # of SmallNet's hidden layers
    planes: int = 128  # of the hourglass's residuals
    depth: int = 4  # poolings of the hourglass
    frame: int = 100  # side of the image before the crop
    size: int = 70  # side of the crop the network sees
    auxiliaries: int = 1  # |A|, section 3.4; 0: no exchange (Thewlis et al. 2017)
    pool: int = 0  # images of a batch kept aside to serve as auxiliaries only
    pairs: Literal["warps", "flow", "identity"] = "warps"  # what g is
    bend: float = 1.0  # strength of the warps' thin-plate splines
    power: float = 0.5  # of the distance in eq. 3
    unit: float = 0.0  # length to which vectors are normalised; 0: as they come
    jitter: float = 0.4  # range of brightness, contrast and saturation
    warm_up: float = 0.0  # share of the steps before the exchange begins
    lr: float = 1e-3  # Adam with amsgrad
    batch_size: int = 32
    epochs: int = 100
    steps: int = 0  # in place of epochs, where it is not 0
    decay: tuple[float, ...] = (0.72, 0.92)  # of all steps; then the rate is a tenth

    stride = 2  # pixels a side of a cell, of both networks

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.depth <= 8:
            raise ValueError(f"depth must be 1 to 8, got {self.depth}")
        if self.size > self.frame:
            raise ValueError(
                f"size must be at most frame, got {self.size} and {self.frame}"
            )

    def steps_for(self, images: int) -> int:
        """``steps``, or as many as ``epochs`` take."""
        return self.steps or max(1, self.epochs * images // self.batch_size)

    @classmethod
    def smallnet64(cls) -> "DveConfig":
        """SmallNet on CelebA: 100 px, centre 70; 32 pairs; raw dot products."""
        return cls()

    @classmethod
    def hourglass64(cls) -> "DveConfig":
        """A single hourglass: 136 px, centre 96; 16 pairs; vectors of length 20."""
        return cls(
            network="hourglass",
            frame=136,
            size=96,
            unit=20.0,
            batch_size=16,
            decay=(0.5,),
        )

    @classmethod
    def smallnet_class(cls) -> "DveConfig":
        """Ours, for two cores: SmallNet of half the width at 48 px.

        The exchange begins after a third of the steps. Random vectors find nothing in
        another image, so from the start it takes several times as long to learn.
        """
        return cls(
            channels=32,
            widths=(10, 24, 32, 40, 128),
            frame=64,
            size=48,
            batch_size=16,
            warm_up=1 / 3,
            decay=(0.75,),
            steps=2000,
        )

    @classmethod
    def smallnet64_long(cls) -> "DveConfig":
        """Ours, for an hour of one core: the paper's crop and SmallNet, 16 pairs."""
        changes = {"batch_size": 16, "warm_up": 1 / 4, "decay": (0.75, 0.92)}
        return replace(cls.smallnet64(), **changes)

    @classmethod
    def hourglass_class(cls) -> "DveConfig":
        """Ours, for two cores: an hourglass of an eighth of the width at 48 px.

        Raw dot products, as SmallNet's: vectors of a fixed length learn slower.
        """
        return replace(cls.smallnet_class(), network="hourglass", planes=16, depth=3)

    @classmethod
    def roboarm(cls) -> "DveConfig":
        """Section 4.4: the arm at 90 px, given flow; 20-D."""
        return cls(channels=20, frame=90, size=90, pairs="flow", jitter=0.0)

    @classmethod
    def roboarm_class(cls) -> "DveConfig":
        """Ours, for two cores: the arm at 48 px, SmallNet of half the width."""
        return replace(
            cls.smallnet_class(),
            channels=20,
            frame=48,
            pairs="flow",
            jitter=0.0,
            lr=2e-3,
        )
