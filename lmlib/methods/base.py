"""What every method offers, so that one loop trains all of them.

A method is a network with its losses, its landmarks, and the way its paper trains it.
``training.fit``, the commands, the experiments and the widgets rely on nothing else.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, get_type_hints

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlib.samples import Batch, Pool
from lmlib.schedules import constant
from lmlib.texts import brief
from lmlib.values import expected, fits

LARGEST_SIDE = 1024  # pixels; a configuration may come with a file nobody trusts


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes, weights and settings of a method; its presets are class methods.

    Every value is checked against its annotation when a configuration is made.
    """

    size: int  # side in pixels of the image the network sees
    landmarks: int  # K
    image_channels: int

    def __post_init__(self):
        hints = get_type_hints(type(self))
        for each in fields(self):
            kind, value = hints[each.name], getattr(self, each.name)
            if not fits(value, kind):
                raise ValueError(
                    f"{each.name} must be {expected(kind)}, got {brief(repr(value))}"
                )
        for name in ("size", "frame", "landmarks", "image_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("size", "frame"):
            if getattr(self, name) > LARGEST_SIDE:
                raise ValueError(
                    f"{name} must be at most {LARGEST_SIDE} pixels, got "
                    f"{getattr(self, name)}"
                )

    @property
    def frame(self) -> int:
        """Side in pixels of the images of a batch; ``size`` is a crop's, where there
        is one."""
        return self.size

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels of the images of a batch."""
        return self.frame, self.frame

    def steps_for(self, images: int) -> int:
        """Steps of a training on this many images, if nobody says how many."""
        raise NotImplementedError

    @classmethod
    def presets(cls) -> tuple[str, ...]:
        """Names of the presets, in order."""
        return tuple(
            name
            for name, member in vars(cls).items()
            if isinstance(member, classmethod)
        )

    @classmethod
    def preset(cls, name: str) -> "Config":
        """The preset of that name, for commands and files that hold names."""
        known = cls.presets()
        if name not in known:
            raise ValueError(f"unknown preset {name!r}; expected one of {known}")
        return getattr(cls, name)()


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How a method is trained, as far as its paper says so."""

    batch_size: int = 64  # images a step, of each pool that is drawn from
    lr: float = 1e-3  # of Adam
    betas: tuple[float, float] = (0.9, 0.999)
    amsgrad: bool = False
    schedule: Callable[[int], float] = constant  # step -> factor on the rate
    clip: float | None = 1.0  # largest norm of the gradient
    # Factors on the rate of some weights, by how their names begin; the first counts.
    rates: dict[str, float] = field(default_factory=dict)


class Method(nn.Module):
    """A network, its losses and its landmarks.

    ``weights`` are those of the loss terms, by name, as the paper has them at this
    moment of the training. ``factors`` multiply them: knobs for whoever watches (a term
    that is not named has 1). What changes by itself in the course of a training is set
    by ``at``, and by nothing else.
    """

    name: ClassVar[str]  # in commands and files
    Config: ClassVar[type[Config]]
    learns_landmarks: ClassVar[bool] = False  # from annotated images
    note: ClassVar[str] = ""  # for whoever uses its landmarks
    # What its paper calls detected: closer than this share of the picture's side.
    detected_within: ClassVar[float | None] = None
    # How annotated landmarks are regressed from discovered ones: LandmarkRegression's.
    regression: ClassVar[dict[str, Any]] = {}

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.weights: dict[str, float] = {}
        self.factors: dict[str, float] = {}
        # Random draws are made on the CPU, so a seed means the same on any device.
        self.generator = torch.Generator().manual_seed(0)

    # -- what every method has ---------------------------------------------------------

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Named scalar terms, weighted; their sum is trained. Terms of weight zero are
        left out."""
        raise NotImplementedError

    def landmarks(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k 2"]:
        """Images of ``size`` pixels a side, in [0, 1], to landmarks in [-1, 1]."""
        raise NotImplementedError

    # -- what some have ----------------------------------------------------------------

    def landmarks_in(self, batch: Batch) -> Float[Tensor, "b k 2"]:
        """Landmarks of a batch, where more than its images is looked at."""
        return self.landmarks(self.crop(batch["image"]))

    def at(self, progress: float) -> None:
        """Set what changes in the course of a training; ``progress`` is in [0, 1]."""

    def fit_options(self, steps: int) -> FitOptions:
        """Optimiser, schedule and batch size of a training of ``steps`` steps."""
        return FitOptions()

    def clip_gradients(self, norm: float) -> None:
        """Make the gradient of all weights at most ``norm`` long."""
        nn.utils.clip_grad_norm_(self.parameters(), norm)

    def augment(self, batch: Batch) -> Batch:
        """What a training batch goes through before its losses; torch's own random
        numbers are seeded for each step."""
        return batch

    def crop(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c size size"]:
        """The part of images, of ``frame`` pixels a side, that the network sees."""
        return images

    def calibrate(self, images: Float[Tensor, "b c h w"]) -> None:
        """Fit the random start to some training images."""

    def finish(self, data, indices: Int[Tensor, " n"]) -> None:
        """What is computed once, from training images, when training has ended."""

    def pools(self, images: Int[Tensor, " n"], labelled: Bool[Tensor, " n"]) -> Pool:
        """Image numbers to draw from, of ``images`` with a mask of those that have
        landmark labels: a tuple of pools shares every batch."""
        return images

    @classmethod
    def suited(cls, config: Any, batch: Batch) -> Any:
        """The configuration made to suit data of which ``batch`` is an example.

        Raises:
            ValueError: the data lack what the method learns from.
        """
        return config

    def judged(self, batches: Iterable[Batch]) -> dict[str, float]:
        """What its paper measures beside landmarks, of annotated batches, by name."""
        return {}

    # -- for the methods themselves ----------------------------------------------------

    def weight(self, name: str) -> float:
        """What a term is multiplied by now; one of weight zero need not be computed."""
        return self.weights.get(name, 0.0) * self.factors.get(name, 1.0)

    def weighted(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Terms times their weights; those of weight zero are left out."""
        kept = {name: weight for name in terms if (weight := self.weight(name))}
        if not kept:
            raise ValueError("all loss weights are zero: there is nothing to train")
        return {name: weight * terms[name] for name, weight in kept.items()}
