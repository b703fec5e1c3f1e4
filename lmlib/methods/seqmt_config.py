"""Sizes, weights and presets of Seq-MT (Honari et al. 2018).

What the paper leaves open: see ``seqmt``.
"""

from dataclasses import dataclass, replace
from typing import Literal

from lmlib.methods.base import Config
from lmlib.warps import SeqMtRanges


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
    def hands64(cls) -> "SeqMtConfig":
        """Ours, for an hour of a core: hands at the paper's 64 px."""
        return _large(cls.hands())

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
    def multipie64(cls) -> "SeqMtConfig":
        """Ours, for an hour of a core: faces at the paper's 64 px."""
        return _large(cls.multipie())

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

    @classmethod
    def rcn_plus64(cls) -> "SeqMtConfig":
        """Ours, for half an hour of a core: 64 px, 32 maps, four poolings."""
        return _large(cls.rcn_plus())

    @classmethod
    def rcn_plus80(cls) -> "SeqMtConfig":
        """Ours, for an hour of a core: as ``rcn_plus64``, at the paper's 80 px."""
        return _large(cls.rcn_plus(), size=80)


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


def _large(config: SeqMtConfig, size: int = 64) -> SeqMtConfig:
    """The same at 64 pixels: twice the maps, a pooling more, a third of the rate, at
    which these do not diverge."""
    larger = {"channels": 32, "last_channels": 96, "levels": 4, "lr": 2e-3}
    return _small(config, size, **larger, steps=6000)
