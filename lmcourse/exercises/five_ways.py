"""Exercises of notebook 60: look points up by their vectors, and where curves cross."""

import torch
import torch.nn.functional as F

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import first_hint

# ---- the best cell for a few labelled faces ------------------------------------------


def best_cells(bank, maps):
    mean = bank.mean(0)  # (K, C), over the labelled faces
    scores = torch.einsum("kc,bchw->bkhw", mean, maps)
    return scores.flatten(2).argmax(2)


def _unit(*shape, seed: int, dim: int):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(shape, generator=generator), dim=dim)


@exercise(
    "best_cells",
    solution=best_cells,
    library=best_cells,
    level="medium",
    minutes=10,
    example=(
        torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]),
        torch.tensor([[[[1.0, 0.7, 0.0]], [[0.0, 0.7, 1.0]]]]),
    ),
)
def _examine_best_cells(fn) -> str | None:
    bank = _unit(3, 4, 6, seed=0, dim=2)
    maps = _unit(2, 6, 5, 7, seed=1, dim=1)
    right = best_cells(bank, maps)
    each = torch.einsum("nkc,bchw->bnkhw", bank, maps)
    cosine = torch.einsum("kc,bchw->bkhw", bank.mean(0), maps)
    slips = {
        "You ask each labelled face by itself and take the best of all answers. "
        "Average the vectors of a point first: one freak face must not decide.": (
            each.amax(1).flatten(2).argmax(2)
        ),
        "You use the first labelled face alone. Average over all of them.": (
            best_cells(bank[:1], maps)
        ),
        "That is the least similar cell: vectors that agree have the *largest* "
        "product.": cosine.flatten(2).argmin(2),
        "Cells are counted along the rows: number v of a map (h, w) is row v // w.": (
            cosine.mT.flatten(2).argmax(2)
        ),
    }
    return first_hint(fn(bank, maps), right, slips, "The numbers of the cells differ")


# ---- from how many labels on ---------------------------------------------------------


def stays_better_from(labels, first, second):
    since = len(labels)
    while since and second[since - 1] < first[since - 1]:
        since -= 1
    return labels[since]


@exercise(
    "stays_better_from",
    solution=stays_better_from,
    library=stays_better_from,
    level="easy",
    minutes=5,
    example=([1, 5, 20], torch.tensor([9.0, 8.0, 7.0]), torch.tensor([30.0, 7.5, 4.0])),
)
def _examine_stays_better_from(fn) -> str | None:
    labels = [1, 2, 5, 10, 20, 50]
    first = torch.tensor([15.0, 13.0, 13.0, 12.0, 12.0, 12.0])
    second = torch.tensor([30.0, 12.0, 14.0, 11.0, 6.0, 4.0])  # luck at 2
    slips = {
        "At 2 labels the second is better once, and at 5 worse again. Asked is from "
        "where on it *stays* better.": 2,
        "That is its place in the list. Return the number of labels there.": 3,
        "That is the last number with which the second is still worse.": 5,
        "You return where the *first* method is better.": 1,
        "The second is better earlier than at the end of the list.": 50,
    }
    hint = first_hint(fn(labels, first, second), 10, slips)
    if hint is None and fn(labels, first, first - 1) != 1:
        return "Where the second is better from the start, the answer is labels[0]."
    return hint
