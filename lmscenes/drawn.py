"""Drawn scenes as a data set of the commands: ``scene:NAME``."""

from torch import Tensor

import lmscenes
from lmlib.datasets import Size
from lmlib.datasets.images import image_numbers
from lmlib.samples import Batch, to_gray

OBLONG = ("tryon",)  # scenes of any height and width; the others are square
SCENE_SPLITS = {"train": range(1000), "test": range(100_000, 100_500)}


class Drawn:
    """A fixed number of a scene's images, numbered from 0 in each split: 1,000 to train
    on, 500 others to test."""

    def __init__(
        self,
        name: str,
        split: str = "train",
        size: Size = 64,
        *,
        crop: str = "squash",
        gray: bool = False,
        partial: bool = False,
    ):
        scenes = {scene.lower(): scene for scene in lmscenes.__all__}
        if name not in scenes:
            raise ValueError(
                f"no scene is called {name!r}; there are {', '.join(scenes)}"
            )
        if split not in SCENE_SPLITS:
            raise ValueError(f"split must be one of {[*SCENE_SPLITS]}, got {split!r}")
        if not isinstance(size, int) and name not in OBLONG:
            if size[0] != size[1]:
                raise ValueError(f"scenes are square, got height and width {size}")
            size = size[0]
        if crop not in ("centre", "pad", "squash"):
            raise ValueError(f"scenes are drawn whole, so crop cannot be {crop!r}")
        self.scene = getattr(lmscenes, scenes[name])(size=size)
        self.drawn, self.gray = SCENE_SPLITS[split], gray

    def __len__(self) -> int:
        return len(self.drawn)

    @property
    def indices(self) -> range:
        """All image numbers."""
        return range(len(self))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the landmarks."""
        return tuple(getattr(self.scene, "names", ()))

    def batch(self, indices: range | Tensor, device=None) -> Batch:
        """The scene's own batch, but for ``index``."""
        index = image_numbers(indices, len(self))
        batch = self.scene.batch(index + self.drawn.start, device)
        if self.gray and batch["image"].shape[1] == 3:
            batch["image"] = to_gray(batch["image"])
        return {**batch, "index": index.to(batch["image"].device)}
