"""Exercises of notebook 33: descriptors as colours, errors on the surface of the face,
and matches that hold both ways."""

import math

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import close, first_hint

# ---- descriptors as colours, one basis for all ---------------------------------------


def common_colours(descriptors):
    vectors = descriptors.permute(1, 0, 2, 3).flatten(1)  # (C, B h w): all cells
    vectors = vectors - vectors.mean(dim=1, keepdim=True)
    _, axes = torch.linalg.eigh(vectors @ vectors.T)  # smallest first
    parts = axes[:, -3:].flip(1).T @ vectors  # (3, B h w), largest first
    colours = (0.5 + parts / (4 * parts.std(dim=1, keepdim=True))).clamp(0, 1)
    shape = (len(descriptors), *descriptors.shape[-2:])
    return colours.unflatten(1, shape).transpose(0, 1)


def _colours_of(vectors, shape, *, centre=True, axes=None, deviations=4.0, clip=True,
                own=True, after=False):  # fmt: skip
    """Colours of vectors ``(C, N)`` with one thing done differently."""
    if centre:
        vectors = vectors - vectors.mean(dim=1, keepdim=True)
    if axes is None:
        axes = torch.linalg.eigh(vectors @ vectors.T)[1][:, -3:].flip(1)
    parts = axes.T @ vectors
    parts = parts - parts.mean(dim=1, keepdim=True) if after else parts
    width = parts.std(dim=1, keepdim=True)
    parts = 0.5 + parts / (deviations * (width if own else width.max()))
    parts = parts.clamp(0, 1) if clip else parts
    return parts.unflatten(1, shape).transpose(0, 1)


def _turned_like(got, right):
    """A component has no sign: turn each channel of ``got`` the way it fits better."""
    turned = 1 - got
    keep = (got - right).abs().mean((0, 2, 3)) <= (turned - right).abs().mean((0, 2, 3))
    return torch.where(keep.view(1, 3, 1, 1), got, turned)


@exercise(
    "common_colours",
    solution=common_colours,
    library=common_colours,
    level="hard",
    minutes=15,
    example=(
        torch.tensor(
            [
                [
                    [[3.0, -3.0, 0.0, 0.0]],
                    [[0.0, 0.0, 2.0, -2.0]],
                    [[1.0, 1.0, -1.0, -1.0]],
                ]
            ]
        ),
    ),
)
def _examine_common_colours(fn) -> str | None:
    g = torch.Generator().manual_seed(0)
    count, channels, height, width = 4, 7, 11, 13
    shape = (count, height, width)
    scale = torch.tensor([1.0, 0.4, 3.0, 0.7, 2.2, 0.2, 1.5]).view(7, 1, 1)
    x = scale * torch.randn(count, channels, height, width, generator=g)
    mix = torch.linalg.qr(torch.randn(7, 7, generator=g))[0]
    x = torch.einsum("dc,bchw->bdhw", mix, x)
    x = x + 2 + torch.randn(count, channels, 1, 1, generator=g)  # people differ
    flat = x.permute(1, 0, 2, 3).flatten(1)
    centred = flat - flat.mean(dim=1, keepdim=True)
    by_size = torch.linalg.eigh(centred @ centred.T)[1]
    of_each = x - x.mean(dim=(2, 3), keepdim=True)
    each = [_colours_of(one.flatten(1), (1, height, width)) for one in x]
    slips = [
        ("Every image has a basis of its own in yours, so one colour means something "
         "else on each face. Put the cells of all images together first.",
         torch.cat(each)),
        ("You subtract the mean of each image. That hides what differs between people; "
         "subtract one mean, that of all cells.",
         _colours_of(of_each.permute(1, 0, 2, 3).flatten(1), shape)),
        ("Subtract the mean vector before you look for components; otherwise the "
         "first one mostly points from zero to the mean.",
         _colours_of(flat, shape, centre=False)),
        ("The mean vector has to go before the components are found, not after.",
         _colours_of(flat, shape, centre=False, after=True)),
        ("These are the three *smallest* components: eigh sorts from small to large.",
         _colours_of(flat, shape, axes=by_size[:, :3])),
        ("The largest component should be red, the third blue: yours come the other "
         "way round.", _colours_of(flat, shape, axes=by_size[:, -3:])),
        ("Those are the first three channels of the descriptors, not the directions "
         "in which all channels vary most.",
         _colours_of(flat, shape, axes=torch.eye(channels)[:, :3])),
        ("All three components are divided by one deviation, so the third is hardly "
         "seen. Divide each by its own.", _colours_of(flat, shape, own=False)),
        ("Two standard deviations to either end: 0.5 + part / (4 deviations). Yours "
         "has one to either end.", _colours_of(flat, shape, deviations=2.0)),
        ("Values outside of [0, 1] are no colours: clamp them.",
         _colours_of(flat, shape, clip=False)),
        ("A reshape does not move an axis: .reshape(C, -1) tears images and channels "
         "apart. Use permute(1, 0, 2, 3) first.",
         _colours_of(x.reshape(channels, -1), shape)),
    ]  # fmt: skip
    got, right = fn(x), common_colours(x)
    alike = {"tolerance": 2e-3}  # a deviation may be divided by N or by N - 1
    if close(_turned_like(got, right), right, **alike):
        return None
    for hint, wrong in slips:
        if close(_turned_like(got, wrong), wrong, **alike):
            return hint
    return first_hint(_turned_like(got, right), right, {}, "A colour is off", **alike)


# ---- how far off is a match, on the surface? -----------------------------------------


def surface_errors(found, here, there, near):
    apart = (here[:, None] - there).norm(dim=-1)  # (N, M); nan where either is nan
    apart = apart.nan_to_num(math.inf)
    judged = apart.amin(dim=1) <= near  # u is skin, and its point is seen there
    error = apart[torch.arange(len(here)), found]
    return error.where(judged, math.nan)


@exercise(
    "surface_errors",
    solution=surface_errors,
    library=surface_errors,
    level="hard",
    minutes=15,
    example=(
        torch.tensor([2, 1, 0]),
        torch.tensor([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0]]),
        torch.tensor([[0.0, 0.0], [math.nan, math.nan], [1.1, 0.0]]),
        0.2,
    ),
)
def _examine_surface_errors(fn) -> str | None:
    # Places on a line of skin, on a slant. Here: one cell lies beside the skin, and one
    # point is hidden there. There: five places and two cells beside the skin.
    nan = math.nan
    line = torch.tensor([0.6, 0.8])  # one step is one unit long
    here = torch.tensor([0.0, 1.0, nan, 2.0, 3.0, 9.0, 4.0])[:, None] * line
    there = torch.tensor([nan, 0.05, 3.0, 1.0, 2.1, nan, 4.0])[:, None] * line
    found = torch.tensor([1, 2, 3, 0, 2, 6, 4])
    near = 0.2
    every = torch.arange(len(here))
    apart = (here[:, None] - there).norm(dim=-1)
    error, closest = apart[every, found], apart.nan_to_num(math.inf).amin(1)
    judged, beside = closest <= near, there[found, 0].isnan()

    def answer(values, judged=judged, beside_is=math.inf):
        values = values.where(~beside, torch.tensor(beside_is))
        return values.where(judged, nan)

    steps = (here - there[found]).abs()
    slips = {
        "One point of `here` is hidden on the other face: nothing there is `near` it, "
        "so no match of it can be right or wrong. Make it nan.": answer(
            error, ~here[:, 0].isnan()
        ),
        "A match that lies beside the skin is a bad miss: inf. If you leave such "
        "misses out, a network that points at the wallpaper looks good.": answer(
            error, judged, nan
        ),
        "A match beside the skin counts as no error at all in yours; it should be "
        "inf.": answer(error, judged, 0.0),
        "You return the distance to the nearest place there is: the error of a perfect "
        "matcher. Look where `found` says.": closest.where(judged, nan),
        "Your errors of the judged are right, but cells that cannot be judged are 0. "
        "They would count as perfect: make them nan.": answer(error).nan_to_num(
            0, posinf=math.inf
        ),
        "Cells that cannot be judged are inf in yours. They say nothing against the "
        "matcher: make them nan.": answer(error).nan_to_num(
            math.inf, posinf=math.inf
        ),
        "You judge the cells whose *match* is near. Whether u can be judged does not "
        "depend on what was found.": answer(error, error <= near),
        "This is the squared distance.": answer(error**2),
        "This is |du| + |dv|; the distance is the root of the sum of "
        "squares.": answer(steps.sum(-1)),
        "This is the larger of |du| and |dv|, not the distance.": answer(
            steps.amax(-1)
        ),
        "You compare the matches with the cell of the same number there, not with what "
        "u shows here.": answer((there - there[found]).norm(dim=-1)),
    }  # fmt: skip
    got, right = fn(found, here, there, near), surface_errors(found, here, there, near)
    if close(got, right):
        return None
    for hint, wrong in slips.items():
        if close(got, wrong):
            return hint
    for u in range(len(here)):
        if not close(got[u], right[u]):
            about = "beside the skin" if here[u].isnan().any() else "on the skin"
            return (
                f"cell {u} lies {about} here; its error should be {right[u]:.2f} and "
                f"is {got[u]:.2f} in yours"
            )
    return None


# ---- matches that hold both ways -----------------------------------------------------


def mutual_matches(scores):
    best = scores.argmax(dim=1)  # (N,): the v that each u chooses
    back = scores.argmax(dim=0)  # (M,): the u that each v chooses
    return best, back[best] == torch.arange(len(scores))


@exercise(
    "mutual_matches",
    solution=mutual_matches,
    library=mutual_matches,
    level="medium",
    minutes=10,
    example=(torch.tensor([[3.0, 1.0], [2.0, 0.0]]),),
)
def _examine_mutual_matches(fn) -> str | None:
    g = torch.Generator().manual_seed(3)
    for rows, columns in ((12, 12), (9, 14)):
        scores = 2 * torch.randn(rows, columns, generator=g)
        scores[:, :3] += 1.5  # some cells attract everybody, and some u shout
        scores[:4] += 2.0
        # a place that has its neighbour's choice: nearly mutual is not mutual
        scores[5, 4], scores[6, 4] = 8.0, 9.0
        # 7 and 8 choose each other's number, but 2 wants column 8 more
        scores[7, 8], scores[8, 7], scores[2, 8], scores[2, 9] = 20.0, 20.0, 21.0, 25.0
        best, mutual = mutual_matches(scores)
        got = fn(scores)
        if not torch.equal(got[0], best):
            if rows == columns and torch.equal(got[0], scores.argmax(0)):
                return (
                    "Rows are u, columns are v: the match of u is the best of its "
                    "*row*. Yours is the best of each column."
                )
            if torch.equal(got[0], scores.argmin(1)):
                return "You take the smallest score; large means alike."
            return "the first result should be the best v for each u (each row)"
        own, back = torch.arange(rows), scores.argmax(dim=0)
        p = scores.softmax(dim=1)
        value = scores.amax(1)
        slips = {
            "Every match is mutual in yours: ask the other direction, too.": (
                torch.ones(rows, dtype=torch.bool)
            ),
            "You mark the matches that do *not* come back.": ~mutual,
            "You compare where the way back ends with v; it should end at the u it "
            "started from.": back[best] == best,
            "You look back in p(v|u), which is normalised for each u by itself: a "
            "column of it does not compare like with like. Take the scores.": (
                p.argmax(0)[best] == own
            ),
            "A neighbour in the numbering is not the same cell: the way back has to "
            "end exactly at u.": (back[best] - own).abs() <= 1,
            "You keep matches whose score is above the average. That is another test, "
            "and a sure match may be wrong.": value > value.mean(),
        }
        if rows == columns:
            slips |= {
                "You go forward twice (best[best]). The way back starts at v and "
                "chooses among the u.": best[best] == own,
                "You compare cells of the same number, u = v: look up the way back at "
                "the v that u has chosen, back[best].": back == best,
            }
        if torch.equal(got[1], mutual):
            continue
        for hint, wrong in slips.items():
            if torch.equal(got[1], wrong):
                return hint
        u = int((got[1] != mutual).nonzero()[0, 0])
        comes = "comes back" if mutual[u] else f"comes back to {back[best[u]].item()}"
        return (
            f"u = {u} chooses v = {best[u].item()}, which {comes}; yours says "
            f"{bool(got[1][u])}"
        )
    return None
