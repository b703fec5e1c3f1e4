"""The exercises of notebook 60 accept what is right, and name each typical slip."""

import torch
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

# ---- best_cells ----------------------------------------------------------------------


def cells_by_loops(bank, maps):
    found = torch.zeros(len(maps), bank.shape[1], dtype=torch.long)
    flat = maps.flatten(2)
    for b in range(len(maps)):
        for k in range(bank.shape[1]):
            products = [
                (bank[:, k] @ flat[b, :, v]).mean() for v in range(flat.shape[2])
            ]
            found[b, k] = int(torch.stack(products).argmax())
    return found


def scores_of(bank, maps):
    return torch.einsum("nkc,bchw->bnkhw", bank, maps)


def cells_of_each(bank, maps):
    return scores_of(bank, maps).amax(1).flatten(2).argmax(2)


def cells_of_one(bank, maps):
    return scores_of(bank, maps)[:, 0].flatten(2).argmax(2)


def cells_least(bank, maps):
    return scores_of(bank, maps).mean(1).flatten(2).argmin(2)


def cells_by_columns(bank, maps):
    return scores_of(bank, maps).mean(1).transpose(2, 3).flatten(2).argmax(2)


def cells_of_points(bank, maps):
    return torch.einsum("nc,bchw->bnhw", bank.mean(1), maps).flatten(2).argmax(2)


# ---- stays_better_from ---------------------------------------------------------------


def needed_from_the_left(labels, first, second):
    better = (second < first).tolist()
    return next(n for k, n in enumerate(labels) if all(better[k:]))


def needed_once(labels, first, second):
    return next(n for n, a, b in zip(labels, first, second, strict=True) if b < a)


def needed_place(labels, first, second):
    return labels.index(needed_from_the_left(labels, first, second))


def needed_before(labels, first, second):
    place = needed_place(labels, first, second)
    return labels[max(place - 1, 0)]


def needed_other(labels, first, second):
    return needed_once(labels, second, first)


CELLS, NEEDED = "best_cells", "stays_better_from"
WRONG = [
    (CELLS, cells_of_each, "one freak face must not decide"),
    (CELLS, cells_of_one, "the first labelled face alone"),
    (CELLS, cells_least, "least similar cell"),
    (CELLS, cells_by_columns, "row v // w"),
    (CELLS, cells_of_points, "expected a tensor of shape (2, 4)"),
    (NEEDED, needed_once, "*stays* better"),
    (NEEDED, needed_place, "its place in the list"),
    (NEEDED, needed_before, "still worse"),
    (NEEDED, needed_other, "where the *first* method is better"),
    (NEEDED, lambda labels, first, second: labels[-1], "earlier than at the end"),
]
RIGHT = [(CELLS, cells_by_loops), (NEEDED, needed_from_the_left)]
