"""What transfers of Yan et al. 2017 from drawn garments to photographs.

Nobody marked a landmark on these photographs, so nothing can be detected or missed.
What can be asked without labels is whether a network agrees with itself:

    mirror    on a picture and its mirror image, where left becomes right
    views     on two views of one picture, cut out a little apart, larger or smaller

Both are mean distances of the two answers in the picture, in percent of its side.
They mean nothing alone: a network that says the same whatever it sees agrees with its
mirror image perfectly (``middle``). So a third is measured:

    stranger  the answers in two views of *different* pictures

and views below stranger is what shows that the answers depend on the picture.

A setting is ``NETWORK@IMAGES``, of ``NETWORKS`` and ``IMAGES``. Tops alone: six slots.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from lmcourse.budget import budget
from lmcourse.experiments import cells
from lmcourse.experiments.dlan_images import TEST
from lmlib.datasets import find_folder
from lmlib.datasets.images import folder
from lmlib.methods.base import Method
from lmlib.methods.dlan import Dlan, DlanConfig, mirrored, to_image
from lmlib.samples import Batch
from lmscenes import Garments
from lmscenes.outfits import SLOTS

NETWORKS = {
    "gallery": "128 pixels, trained for long",
    "DLAN": "64 pixels, the ladder's last",
    "FC": "64 pixels, the ladder's first: no frames",
    "untrained": "random weights",
    "middle": "the mean places of drawn tops, whatever it is shown",
}
IMAGES = {"drawn": "drawn tops, not trained on", "photographs": "VITON-HD's persons"}
PLACES = "vitonhd_samples/test/image", "VITON-HD/test/image", "viton-hd/test/image"
TOP = [k for k, name in enumerate(SLOTS) if "waist" not in name]
SIDE = 256  # pixels of a picture, which views are cut out of
# Of a person in 3:4: the width, from the neck down to the hips.
PERSON = (0.0, 0.1, 1.0, 0.85)
VIEWS = 8  # pairs of views a picture
FIGURES = "mirror", "views", "stranger", "pictures"

Answer = Callable[[Tensor], Tensor]


def persons() -> Tensor:
    """Photographs ``(N, 3, SIDE, SIDE)``; FileNotFoundError where there are none."""
    people = folder(find_folder(*PLACES), size=SIDE, crop=PERSON)
    return people.batch(people.indices)["image"]


def tops(numbers: range = TEST) -> Batch:
    """Drawn tops among the test images."""
    numbers = budget(quick=numbers[:40], class_=numbers[:200], full=numbers)
    batch = Garments(SIDE).batch(numbers)
    upper = batch["landmarks"][:, TOP].isfinite().all(-1).all(-1)
    upper &= ~batch["landmarks"].isfinite().all(-1).all(-1)  # no dress: it has a waist
    return {name: x[upper] for name, x in batch.items()}


@cache
def middle() -> Tensor:
    """Mean places ``(8, 2)`` of the landmarks of drawn tops, not the measured ones."""
    return tops(range(200_000, 200_200))["landmarks"].nan_to_num(0.0).mean(0)


def views(count: int, generator: torch.Generator) -> Tensor:
    """Frames of views ``(N, 2, 3)``: 80 to 100 % of the side, within the picture."""
    draw = torch.rand(count, 3, generator=generator)
    half = 0.8 + 0.2 * draw[:, :1]
    centre = (1 - half) * (2 * draw[:, 1:] - 1)
    return torch.cat([half[..., None] * torch.eye(2), centre[..., None]], -1)


def seen(answer: Answer, images: Tensor, theta: Tensor) -> Tensor:
    """Answers ``(N, 8, 2)`` in views of the images, as places in the images."""
    grid = F.affine_grid(theta, [*images.shape], align_corners=False)
    cut = F.grid_sample(images, grid, align_corners=False, padding_mode="border")
    return to_image(theta[:, None], answer(cut)[:, None]).squeeze(1)


def gap(a: Tensor, b: Tensor) -> float:
    """Mean distance of a top's landmarks, in percent of the picture's side."""
    return 50 * (a - b)[:, TOP].norm(dim=-1).mean().item()


def consistency(answer: Answer, images: Tensor) -> dict[str, float]:
    """``FIGURES`` of a network on images.

    Args:
        answer: images of any size to the landmarks of the eight slots.
        images: ``(N, 3, Y, X)``, at least two.
    """
    generator = torch.Generator().manual_seed(0)
    every = torch.ones(len(images), dtype=torch.bool)
    turned = mirrored({"image": images, "landmarks": answer(images)}, every)
    mirror = gap(answer(turned["image"]), turned["landmarks"])
    found = {"mirror": mirror, "views": 0.0, "stranger": 0.0}
    for _ in range(VIEWS):
        one, other = (
            seen(answer, images, views(len(images), generator)) for _ in range(2)
        )
        found["views"] += gap(one, other) / VIEWS
        found["stranger"] += gap(one, other.roll(1, 0)) / VIEWS
    return found | {"pictures": len(images)}


@dataclass(frozen=True, kw_only=True)
class Consistency(cells.Problem):
    """Networks of other tables, asked twice: nothing is trained."""

    def run(self, setting: str, seed: int) -> dict:
        """``FIGURES`` of one network on one set of images."""
        name, _, where = setting.partition("@")
        if name not in NETWORKS or where not in IMAGES:
            raise ValueError(
                f"a setting is NETWORK@IMAGES, of {', '.join(NETWORKS)} and "
                f"{', '.join(IMAGES)}, got {setting!r}"
            )
        images = persons() if where == "photographs" else tops()["image"]
        with torch.no_grad():
            found = consistency(asked(name, seed), images)
        return found | {"steps": 0, "extra": {"size": SIDE, "views": VIEWS}}

    def metrics(self, setting: str) -> tuple[str, ...]:
        """The same for all."""
        return FIGURES


def asked(name: str, seed: int = 0) -> Answer:
    """A network of ``NETWORKS`` as it is asked: images are shrunk to its size."""
    if name == "middle":
        return lambda images: middle().expand(len(images), -1, -1)
    method = network(name, seed).eval()
    size = method.config.size

    def answer(images):
        small = F.interpolate(images, (size, size), mode="area")
        return cells.in_chunks(method.landmarks, small, 50)

    return answer


def network(name: str, seed: int) -> Method:
    """A network that ships, or an untrained one."""
    if name == "untrained":
        torch.manual_seed(seed)
        return Dlan(DlanConfig.preset("garments128"))
    if name == "gallery":
        return cells.load_cell("dlan-garments128", "DLAN,gallery")
    return cells.load_cell("dlan-ladder", name)


PROBLEMS = cells.by_name(
    Consistency(
        name="dlan-photographs",
        about="Agreement with itself, on drawn tops and on photographs, without labels",
        settings={f"{name}@{images}": 1 for images in IMAGES for name in NETWORKS},
    )
)
TABLES = tuple(problem.table() for problem in PROBLEMS.values())
