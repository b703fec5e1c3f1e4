"""What SAL-VTON's figures 10 and 11 show, measured. Nothing is trained where the
trainings of the other tables are kept (``data/cache``).

``salvton-editing`` (figure 10) moves annotated landmarks of people and looks at what
changes in the try-on of ``deformable@10+lasnl``:

* ``collar``, ``sleeves``, ``hem``: how much a pixel near the landmarks of the part that
  was edited changes, as a multiple of one near the landmarks of the other two.
* ``follows``: by how many pixels the warped garment grows longer between the hem's
  landmarks, for each pixel that they were moved down, of people whose hem is in the
  picture still.
* ``together``: three edits at once against the sum of each alone; the share of the
  change that the sum explains.

``moved`` is this. ``elsewhere`` is the control: the same edits, looked for around
another part, with the collar pulled in place of the hem, and with the sum of another
person's edits.

``salvton-patches`` (figure 11) are the sides of learned patches in percent of the
picture's, the mean of width and height, over visible landmarks of ``collar``,
``sleeves`` and ``hem``, on people and (``flat_...``) on garments; ``ratio`` is the
largest part's over the smallest part's. The sides of ``turning@10`` are fixed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lmcourse.experiments import cells
from lmcourse.experiments.salvton import CHUNK, Cell
from lmcourse.experiments.salvton import PROBLEMS as TRAINED
from lmcourse.experiments.salvton_images import test_triplets
from lmlib.geometry import pixel_grid
from lmlib.methods.salvton import Links, Salvton, links_of
from lmlib.methods.salvton.flows import ABSENT
from lmlib.samples import Batch

PARTS = {  # of a garment: numbers of its landmarks
    "collar": tuple(range(7)),
    "sleeves": tuple(range(7, 27)),
    "hem": tuple(range(27, 32)),
}
# Landmarks that follow one that is dragged, each by a share of how far it is dragged.
COLLAR = {2: 0.6, 3: 1.0, 4: 1.0, 5: 0.6}
HEM = {29: 1.0, 30: 1.0, 31: 1.0, 27: 0.5, 28: 0.5}
SLEEVES = {  # landmarks that a garment without this sleeve lacks
    "left": tuple(range(9, 17)),
    "right": tuple(range(19, 27)),
}
DOWN = 0.16  # how far collar and hem are dragged, in [-1, 1]
REACH = 0.3  # what is near a landmark, in [-1, 1] of the height
NETWORK = "salvton-ladder", "deformable@10+lasnl"


def edited(links: Links, part: str) -> Links:
    """A deeper collar, no sleeves, a longer hem, or ``all`` of it."""
    person, attribute = links.person.clone(), links.attribute.clone()
    for name, shares in (("collar", COLLAR), ("hem", HEM)):
        if part in (name, "all"):
            for landmark, share in shares.items():
                person[:, landmark, 1] += DOWN * share
    if part in ("sleeves", "all"):
        for numbers in SLEEVES.values():
            attribute[:, list(numbers)] = ABSENT
    return links._replace(person=person, attribute=attribute)


def near(links: Links, part: str, size: tuple[int, int]) -> Tensor:
    """Pixels ``(B, H, W)`` within ``REACH`` of a part's active landmarks."""
    height, width = size
    numbers = list(PARTS[part])
    far = pixel_grid(height, width).view(1, -1, 1, 2) - links.person[:, None, numbers]
    stretch = torch.tensor([width / height, 1.0])  # so that a reach is a circle
    close = ((far * stretch).norm(dim=-1) < REACH) & links.active[:, None, numbers]
    return close.any(-1).view(-1, height, width)


def longer(before: Tensor, after: Tensor, links: Links) -> Tensor:
    """By how many pixels masks ``(B, H, W)`` are longer, between the outer landmarks of
    the hem: ``(B,)``."""
    x = pixel_grid(*before.shape[1:])[0, :, 0]
    left, right = links.person[:, 29, :1], links.person[:, 31, :1]
    between = (x > torch.minimum(left, right)) & (x < torch.maximum(left, right))
    grown = (after - before).sum(1) * between
    return grown.sum(1) / between.sum(1).clamp(min=1)


@dataclass(frozen=True, kw_only=True)
class Editing(cells.Problem):
    """Figure 10, as numbers."""

    def train(self, setting: str, seed: int):
        """The ladder's network."""
        table, cell = NETWORK
        return TRAINED[table].train(cell, seed)

    @torch.no_grad()
    def measure(self, method: Salvton, setting: str) -> dict[str, float]:
        data, found = test_triplets(), []
        for numbers in torch.tensor([*data.indices]).split(CHUNK):
            found.append(changes(method, data.batch(numbers), setting == "elsewhere"))
        return {
            name: torch.cat([part[name] for part in found]).nanmean().item()
            for name in self.metrics(setting)
        }

    def metrics(self, setting: str) -> tuple[str, ...]:
        return (*PARTS, "follows", "together")


def changes(method: Salvton, batch: Batch, elsewhere: bool) -> dict[str, Tensor]:
    """All metrics of each person, ``(B,)``; ``elsewhere``: of the control."""
    given = [batch[name] for name in ("image", "garment", "garment_mask")]
    links, size = links_of(batch), tuple(batch["image"].shape[2:])
    plain = method.try_on(*given, links)
    by = {
        part: method.try_on(*given, edited(links, part)) - plain
        for part in (*PARTS, "all")
    }
    places = {part: near(links, part, size) for part in PARTS}
    found, names = {}, [*PARTS]
    for number, part in enumerate(names):
        looked = names[(number + 1) % len(names)] if elsewhere else part
        others = torch.stack([places[n] for n in names if n != looked]).any(0)
        each = by[part].abs().mean(1)
        means = [
            (each * where).sum((1, 2)) / where.sum((1, 2))
            for where in (places[looked], others & ~places[looked])
        ]
        found[part] = means[0] / means[1].clamp(min=1e-4)
    masks = [
        method.warps(*given, edited(links, part)).fused[:, 3]
        for part in ("none", "collar" if elsewhere else "hem")
    ]
    asked = DOWN * size[0] / 2
    hem = list(PARTS["hem"])
    framed = (edited(links, "hem").person[:, hem, 1].abs() < 1).all(1)
    found["follows"] = (longer(*masks, links) / asked).where(framed, torch.nan)
    total = by["collar"] + by["sleeves"] + by["hem"]
    total = total.roll(1, 0) if elsewhere else total
    left = (by["all"] - total).abs().sum((1, 2, 3))
    found["together"] = 1 - left / by["all"].abs().sum((1, 2, 3))
    return found


@dataclass(frozen=True, kw_only=True)
class Sides(cells.Problem):
    """Figure 11, as numbers."""

    def train(self, setting: str, seed: int):
        """Stage 2 of the other table."""
        method = Salvton(Cell.read(setting).config())
        weights = TRAINED["salvton-warps"].weights(setting, seed)
        method.load_state_dict(weights, strict=False)
        return method.eval(), {"steps": 0, "extra": {}}

    @torch.no_grad()
    def measure(self, method: Salvton, setting: str) -> dict[str, float]:
        data = test_triplets()
        batch = data.batch(data.indices)
        links, (height, width) = links_of(batch), method.config.shape
        given = [batch[name] for name in ("image", "garment", "garment_mask")]
        local = method.warps(*given, links).local
        found = {}
        for before, sides in (
            ("", local.shapes.person),
            ("flat_", local.shapes.garment),
        ):
            shares = 100 * (sides / torch.tensor([width, height])).mean(-1)  # (B, K)
            means = {
                part: shares[:, list(numbers)][local.active[:, list(numbers)]].mean()
                for part, numbers in PARTS.items()
            }
            found |= {before + part: mean.item() for part, mean in means.items()}
            found[f"{before}ratio"] = (max(means.values()) / min(means.values())).item()
        return found

    def metrics(self, setting: str) -> tuple[str, ...]:
        names = (*PARTS, "ratio")
        return (*names, *(f"flat_{name}" for name in names))


PROBLEMS = cells.by_name(
    Editing(
        name="salvton-editing",
        about="Figure 10: what changes where landmarks are moved",
        settings={"moved": 3, "elsewhere": 3},
    ),
    Sides(
        name="salvton-patches",
        about="Figure 11: how large learned patches are, part by part",
        settings={"deformable@10": 3, "turning@10": 3},
    ),
)
KEPT = {problem.name: problem.kept for problem in PROBLEMS.values()}
TABLES = tuple(problem.table() for problem in PROBLEMS.values())
