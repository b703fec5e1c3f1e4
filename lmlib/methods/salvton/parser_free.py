"""Parser-free training (section 3, after Ge et al. 2021): who never was photographed in
two garments is drawn in another one by a teacher.

A data set has people in the garments they wear, nothing else. The *teacher* sees them
with what they wear cut out, which takes a parser, and learns to put it back. Given
another garment, it draws a rough picture of the same person. The *student* sees that
rough picture, whole, and the garment that was photographed, and learns to draw the
photograph: what it should draw is true, and what it sees may have the teacher's faults.
In use it needs no parser.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lmlib.methods.salvton import Salvton
from lmlib.samples import Batch, Stored

MARGIN = 1 / 16  # of the height: what is cut out reaches so far beyond the garment
GREY = 0.5


def cut_out(
    people: Float[Tensor, "b 3 h w"], worn: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, "b 3 h w"]:
    """People with what they wear, mask ``worn``, and a margin around it grey: all that
    a parser leaves of them."""
    margin = max(1, round(MARGIN * people.shape[2]))
    hole = F.max_pool2d(worn, 2 * margin + 1, stride=1, padding=margin)
    return people * (1 - hole) + GREY * hole


class Teacher(Salvton):
    """Sees people without what they wear."""

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        seen = cut_out(batch["target"], batch["target_mask"])
        return super().losses(batch | {"image": seen})

    def dress(
        self,
        people: Float[Tensor, "b 3 h w"],
        worn: Float[Tensor, "b 1 h w"],
        garment: Float[Tensor, "b 3 h w"],
        garment_mask: Float[Tensor, "b 1 h w"],
    ) -> Float[Tensor, "b 3 h w"]:
        """People who wear ``worn``, in other garments: rough pictures in [0, 1]."""
        return self.try_on(cut_out(people, worn), garment, garment_mask)


def others(count: int, seed: int = 0) -> Int[Tensor, " n"]:
    """For each of ``count`` the number of another one; each is chosen once."""
    if count < 2:
        raise ValueError(f"nobody can have another's garment among {count} people")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator)
    chosen = torch.empty_like(order)
    chosen[order] = order.roll(1)
    return chosen


def rough_people(
    teacher: Teacher, data: Stored, seed: int = 0, chunk: int = 50
) -> Stored:
    """The data with each person's ``image`` drawn by the teacher, in the garment of
    somebody else; nothing of the true ``image`` is used."""
    parts, garments = [], others(len(data), seed)
    for rows in torch.arange(len(data)).split(chunk):
        people = (data.all[name][rows] for name in ("target", "target_mask"))
        given = (data.all[name][garments[rows]] for name in ("garment", "garment_mask"))
        parts.append(teacher.dress(*people, *given))
    return data.replaced(image=torch.cat(parts))
