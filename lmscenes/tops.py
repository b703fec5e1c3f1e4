"""Tops for try-on: their cuts, their cloth, and 32 landmarks on every one of them.

One rule for all styles, in the order of SAL-HG (Yan, Gao et al. 2023): the neckline,
the viewer's left arm from the shoulder to the cuff, the right arm, waist and hem. A
number means the same place on every garment; what a garment lacks is absent. Landmarks
are nodes of the garment's sheets, so they are exact on whoever wears it and on the
garment laid flat.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lmlib.samples import Batch
from lmscenes.engine import between, uniform
from lmscenes.fabric import FABRICS, PATTERN, fabrics
from lmscenes.figure import Body
from lmscenes.outfits import LONG, TANK, TEE, top
from lmscenes.sheets import H, W
from lmscenes.wardrobe import COLLAR, Patch, Tailor

_ARM = ("shoulder", "armpit", "upper arm outer", "upper arm inner", "elbow outer",
        "elbow inner", "lower arm outer", "lower arm inner", "cuff outer", "cuff inner"
        )  # fmt: skip
NAMES = (
    "neck back", "neck left", "neck front left", "neck bottom left",
    "neck bottom right", "neck front right", "neck right",
    *(f"left {name}" for name in _ARM), *(f"right {name}" for name in _ARM),
    "waist left", "waist right", "hem left", "hem middle", "hem right",
)  # fmt: skip
# What a mirror exchanges, and lines between landmarks that follow the outline.
PAIRS = ((1, 6), (2, 5), (3, 4), *((7 + k, 17 + k) for k in range(10)), (27, 28),
         (29, 31))  # fmt: skip
SKELETON = (
    (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 0),
    (1, 7), (7, 9), (9, 11), (11, 13), (13, 15), (15, 16), (16, 14), (14, 12),
    (12, 10), (10, 8), (8, 27), (27, 29), (29, 30), (30, 31), (31, 28), (28, 18),
    (18, 20), (20, 22), (22, 24), (24, 26), (26, 25), (25, 23), (23, 21), (21, 19),
    (19, 17), (17, 6),
)  # fmt: skip
COUNT = len(NAMES)
LEFT, RIGHT, WAISTS, HEMS = 7, 17, 27, 29  # the first landmark of each group
STATIONS = 8.5, 16.5, 23.5  # along the arm: upper arm, elbow, lower arm
LEAST = 10.5, 18.0, 25.5  # shorter sleeves lack these
WRIST = 31.0  # where an arm ends
PRESSED = 0.45  # how far a garment laid flat is pressed
KINDS = ("revealing", "periodic", "plain")  # of cloth
PRINTS = {
    "revealing": ("signs", "blots", "bands", "signs", "blots"),
    "periodic": ("stripes", "checks", "plaid", "dots", "stripes"),
    "plain": ("plain", "plain", "melange"),
}


class Nodes(NamedTuple):
    """Places on sheets ``(n, 32)``: the number of the sheet, row and column in it, and
    whether the garment has that landmark."""

    sheet: Tensor
    row: Tensor
    column: Tensor
    there: Tensor


def tops(index: Tensor, seed: int, length: Tensor, waist: Tensor, folds: float
         ) -> Batch:  # fmt: skip
    """Cuts (B,) of garments ``index``; ``length`` (B,) uniform numbers choose sleeves,
    from none to the wrist; hems lie below the ``waist`` (B,) of what is worn below."""
    u = uniform(index, 64, seed, stream=100)
    cut = torch.where(length < 0.5, TEE, LONG)
    cut = torch.where(length < 0.1, TANK, cut)
    s = top(u[:, :48], cut)
    # Sleeves: none, short, to the forearm, long.
    end = between((length - 0.1) / 0.35, 5.5, 14)
    end = torch.where(length > 0.45, between((length - 0.45) / 0.15, 16, 26), end)
    end = torch.where(length > 0.6, between(u[:, 48], 29, WRIST), end)
    s["sleeve"], s["bare"] = end, length < 0.1
    s["lining"] = 1.5 + 1.1 * s["dip"]  # laid flat, the neckline shows the back
    s["hem"] = torch.maximum(s["hem"], waist + 2.5)
    s["wave"] = folds * s["wave"]
    s["drape"] = folds * s["drape"]
    return s


def reach(s: Batch) -> Tensor:
    """How far sleeves go, (B,): 0 for none, 1 to the wrist."""
    return torch.where(s["bare"], 0.0, s["sleeve"] / WRIST)


def cloth(index: Tensor, seed: int, kind: Tensor) -> Batch:
    """Fabrics of garments ``index`` as ``fabric.fabrics`` gives them; the first of each
    has a print of its ``kind`` (B,), number in KINDS."""
    own = torch.zeros(len(index), FABRICS, dtype=torch.long, device=index.device)
    own[:, 1], own[:, 2], own[:, 3] = 2, 1, 3
    f = fabrics(index, seed, own)
    u = uniform(index, 8, seed, stream=101)
    pattern = f["pattern"].view(-1, FABRICS)
    for number, name in enumerate(KINDS):
        choice = index.new_tensor([PATTERN[print_] for print_ in PRINTS[name]])
        chosen = choice[(u[:, 0] * len(choice)).long()]
        pattern[:, 0] = torch.where(kind == number, chosen, pattern[:, 0])
    period = f["period"].view(-1, FABRICS)
    period[:, 0] = between(u[:, 1], 5.5, 9)
    # Stripes and checks mostly slant: that shows shear and turns.
    angle = f["angle"].view(-1, FABRICS)
    slant = between(u[:, 2], 0.45, 1.1) * torch.where(u[:, 3] < 0.5, -1, 1)
    upright = angle[:, 0]
    level = (pattern[:, 0] == PATTERN["signs"]) | (pattern[:, 0] == PATTERN["blots"])
    slant = torch.where(level, 0.5 * (u[:, 2] - 0.5), slant)
    angle[:, 0] = torch.where((u[:, 4] < 0.65) | level, slant, upright)
    return f


def _row(fall: Tensor, value: Tensor) -> Tensor:
    """Where columns (n, H) that fall from row to row pass ``value`` (n,)."""
    i = (fall > value[:, None]).sum(1).clamp(1, H - 1)[:, None]
    a, b = fall.gather(1, i - 1), fall.gather(1, i)
    t = ((a - value[:, None]) / (a - b).clamp(min=1e-6)).clamp(0, 1)
    return (i - 1 + t)[:, 0]


def sew(people: Body, laid: Body, flat: Tensor, s: Batch) -> tuple[list[Patch], Nodes]:
    """Tops ``s`` (n,) on n people: front, inside of the collar, sleeves.

    ``flat`` (n,): PRESSED for those laid flat, 0 for those that are worn.
    """
    n, device = len(flat), flat.device
    every = torch.arange(n, device=device)
    slot = torch.zeros_like(every)
    t = Tailor(people, laid, flat, every, s, slot, PRESSED)
    front, patches = t.torso(), t.patches
    sleeved = (~s["bare"]).nonzero()[:, 0]
    sheet = torch.full((n, COUNT), -1, device=device)
    row, column = torch.zeros(2, n, COUNT, device=device)

    def mark(k: int, sheets: Tensor | int, r: Tensor | float, c: float,
             of: Tensor = every) -> None:  # fmt: skip
        sheet[of, k], row[of, k], column[of, k] = sheets, r % H, c % W

    middle = (W - 1) // 2
    mark(0, every + n, 0.0, middle)
    for k, c in enumerate((COLLAR, 7, 9, 11, 13, W - 1 - COLLAR)):
        mark(1 + k, every, 0.0, c)
    for k, c in enumerate((0, middle, W - 1)):
        mark(HEMS + k, every, H - 1.0, c)
    down = front.edge[:, 0]
    for side, c in enumerate((0, W - 1)):
        first = RIGHT if side else LEFT
        mark(first, every, 0.0, c)
        for k, station in ((first + 1, s["arm dip"]), (WAISTS + side, -1.0)):
            mark(k, every, _row(down[..., c], s["hem"] - station), c)
    if len(sleeved):
        sleeves = Tailor(people, laid, flat, sleeved, s, slot, PRESSED).sleeves()
        patches = patches + sleeves
        end = s["sleeve"][sleeved]
        rank = torch.arange(len(sleeved), device=device) + 2 * n
        for side, patch in enumerate(sleeves):
            first, sheets = (RIGHT if side else LEFT), rank + side * len(sleeved)
            ends = (W - 1, 0) if side else (0, W - 1)  # outer, inner
            down = patch.edge[..., 0][:, 0]
            mark(first, sheets, _row(down, end + 0.9), ends[0], sleeved)
            for k, (station, least) in enumerate(zip(STATIONS, LEAST, strict=True)):
                long, first_of_two = end > least, first + 2 + 2 * k
                at, who = _row(down, end - station)[long], sleeved[long]
                for j, c in enumerate(ends):
                    mark(first_of_two + j, sheets[long], at, c, who)
            for j, c in enumerate(ends):
                mark(first + 8 + j, sheets, H - 1.0, c, sleeved)
    return patches, Nodes(sheet.clamp(min=0), row, column, sheet >= 0)
