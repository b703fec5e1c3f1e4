"""What people wear: random cuts for the garments that ``wardrobe`` sews.

An outfit is a top and trousers or a skirt, a coat over them, or a dress. One garment is
the one in question (``category``); its corners are the landmarks.
"""

import torch
from torch import Tensor

from lmlib.samples import Batch
from lmscenes.engine import between, uniform
from lmscenes.fabric import FABRICS, fabrics
from lmscenes.figure import Body, rows
from lmscenes.sheets import H, W
from lmscenes.wardrobe import COLLAR, WAIST, Patch, Tailor

CATEGORIES = (
    "T-shirt", "tank top", "long sleeve", "coat", "dress", "skirt", "trousers",
)  # fmt: skip
TOPS = 5  # the first categories, that cover the chest
TEE, TANK, LONG, COAT, DRESS, SKIRT, TROUSERS = range(len(CATEGORIES))
# Ranges of a cut, lowest and highest: hem below the waist; ease, how loosely it hangs,
# flare a unit and where it starts; half width and depth of the neckline; half width of
# the shoulders; where armholes end; end of the sleeves, their ease, extra at the end.
CUTS = (
    """
4 12    .5 1.7   0 1     0 .03   -4 4    4.2 6.4  2.2 6    10.4 11.2  -14 -13
3 11    .3 .9    0 .7    0 .06   -6 4    4.8 6.6  4.5 9    7.4 9     -15.5 -12.5
4 12    .5 2.0   .2 1    0 .02   -4 4    4 5.6    1.2 4    10.4 11.2  -14 -13
9 33    1.6 2.6  .3 1    0 .07   -4 4    4.1 5    3 4      10.8 11.4  -14 -13
22 45   .3 .9    0 .25   .04 .3  -3 5    4.6 7.4  3 8.5    7.6 9.4   -15.5 -13
""",
    """
6 14    .6 1.8   .1 1.6
6 14    .6 1.8   .1 1.6
22 31.5 .5 1.5   -.3 .9
28.5 31.5 1 1.9  -.2 .8
6 31    .4 1.3   0 1.2
""",
)
NAMES = ("hem", "ease", "loose", "flare", "from", "collar x", "dip", "shoulder x",
         "arm dip", "sleeve", "sleeve ease", "cuff")  # fmt: skip


def top(u: Tensor, cut: Tensor) -> Batch:
    """Numbers (B,) of tops, coats and dresses ``cut`` (B,), from uniform (B, 48)."""
    table = torch.cat([rows(part) for part in CUTS], 1).to(u).view(TOPS, -1, 2)
    low, high = table[cut].unbind(-1)
    values = low + (high - low) * u[:, : len(NAMES)]
    s = dict(zip(NAMES, values.unbind(1), strict=True))
    k = len(NAMES)
    dress = cut == DRESS
    s["vee"] = ((u[:, k] - 0.62) * 5).clamp(0, 1)
    # High collars: of some sweaters.
    high = (cut == LONG) & (u[:, k + 1] < 0.22)
    s["collar x"] = torch.where(high, 3.3, s["collar x"])
    s["dip"] = torch.where(high, 0.7, s["dip"] + 2.5 * s["vee"])
    # Dresses have straps, short or long sleeves.
    kind = u[:, k + 2]
    s["bare"] = (cut == TANK) | (dress & (kind < 0.5))
    short = dress & (kind < 0.8)
    s["sleeve"] = torch.where(short, between(u[:, 9], 5, 13), s["sleeve"])
    s["sleeve"] = torch.where(dress & ~short, between(u[:, 9], 24, 31), s["sleeve"])
    s["shoulder x"] = torch.where(s["bare"], s["shoulder x"],
                                  s["shoulder x"].clamp(min=10.6))  # fmt: skip
    s["collar x"] = torch.minimum(s["collar x"], s["shoulder x"] - 1.3)
    s["fitted"] = dress  # has a waistline
    s["waist"] = torch.where(dress, between(u[:, k + 3], -4, 2), -1.0)
    s["wave"] = between(u[:, k + 4], 0.3, 1.1) * (0.5 + s["loose"] / 2)
    s["pleats"] = between(u[:, k + 5], 1.6, 5)
    s["drape"] = between(u[:, k + 6], 0.02, 0.07) + 0.25 * s["flare"]
    # Coats: how far down they stay open, closed or not, the gap between the fronts.
    s["closing"] = between(u[:, k + 7], -15, -4)
    s["open"] = u[:, k + 8] < 0.45
    s["gap"] = s["open"] * between(u[:, k + 9], 1, 5)
    s["overlap"] = between(u[:, k + 10], 0.8, 2.6)
    s["shirt"] = (cut == LONG) & (u[:, k + 11] < 0.4) & ~high
    s["vee"] = torch.where(s["shirt"], 0.8, s["vee"])
    s["dip"] = torch.where(s["shirt"], between(u[:, 6], 2.5, 6), s["dip"])
    s["collar x"] = torch.where(s["shirt"], 4.0, s["collar x"])
    s["folds"] = u[:, k + 12 : k + 26]
    s["lining"] = 0.9 + 0.25 * s["dip"]  # depth of the back, seen in the neckline
    return s


def shirt_below(s: Batch, u: Tensor) -> Batch:
    """What is seen where a coat is open."""
    t = dict(s)
    t |= {"ease": 0.5 + 0 * s["ease"], "loose": 0.3 + 0 * s["ease"],
          "flare": 0 * s["ease"], "hem": between(u[:, 0], 4, 9),
          "collar x": 0.2 + s["collar x"], "dip": between(u[:, 1], 2, 5),
          "wave": 0.5 + 0 * s["ease"]}  # fmt: skip
    t["lining"] = 0.9 + 0.25 * t["dip"]
    return t


def skirt(u: Tensor) -> Batch:
    """Numbers (B,) of skirts."""
    wide = u[:, 0] ** 1.5
    return {
        "waist": between(u[:, 1], -3, 3), "hem": between(u[:, 2], 17, 46),
        "ease": between(u[:, 3], 0.35, 0.7), "loose": 0 * wide,
        "from": between(u[:, 1], -3, 3),
        "flare": 0.02 + 0.30 * wide, "pleats": between(u[:, 4], 1.6, 6),
        "drape": 0.015 + 0.12 * wide * between(u[:, 5], 0.5, 1.2),
        "wave": 0 * wide, "folds": u[:, 6:20],
    }  # fmt: skip


def trousers(u: Tensor) -> Batch:
    """Numbers (B,) of trousers; the hem is a station along the leg."""
    full, crop = between(u[:, 0], 45, 47.2), between(u[:, 0], 33, 40)
    short = between(u[:, 0], 9, 20)
    hem = torch.where(u[:, 1] < 0.28, short, torch.where(u[:, 1] < 0.42, crop, full))
    slim = u[:, 2] < 0.4
    wide = torch.where(u[:, 3] < 0.7, between(u[:, 4], 0, 1), between(u[:, 4], 1, 3))
    ease = torch.where(slim, 0.35, between(u[:, 5], 0.5, 1.1))
    return {
        "waist": between(u[:, 6], -3, 4), "hem": hem, "ease": ease,
        "cuff": torch.where(slim, 0.1 + 0 * wide, wide + 0.3),
        "loose": 0 * wide, "flare": 0 * wide, "from": 0 * wide,
        "wave": between(u[:, 7], 0.5, 1.2), "folds": u[:, 8:22],
    }  # fmt: skip


def tuck(upper: Batch, lower: Batch, tucked: Tensor, waist: Tensor) -> None:
    """In place: tops that hang over the waistband are wider than it, the others end
    below it and are narrower."""
    over = torch.maximum(upper["ease"], lower["ease"] + 0.45)
    upper["ease"] = torch.where(tucked, 0.35 + 0 * over, over)
    upper["loose"] = torch.where(tucked, 0 * over, upper["loose"])
    upper["flare"] = torch.where(tucked, 0 * over, upper["flare"])
    upper["wave"] = torch.where(tucked, 0.25 * upper["wave"], upper["wave"])
    lower["ease"] = torch.where(tucked, lower["ease"].clamp(min=0.7), lower["ease"])
    upper["hem"] = torch.where(tucked, waist + 4, upper["hem"])
    if "from" in lower:  # a skirt opens below the top that hangs over it
        below = torch.maximum(lower["from"], upper["hem"] - 1)
        lower["from"] = torch.where(tucked, lower["from"], below)


class Pieces:
    """Sheets of a batch, which of them belong to the garment in question, and the
    nodes of sheets that are its landmarks."""

    def __init__(self, count: int, device):
        self.patches: list[Patch] = []
        self.mine: list[Tensor] = []
        self.total = 0
        # For each slot: sheet, row, column; -1 where the garment has no such landmark.
        self.nodes = torch.full((count, len(SLOTS), 3), -1, device=device)

    def add(self, patches: list[Patch], mine: Tensor) -> None:
        """``mine`` (B,): whether these sheets are of the garment in question."""
        for patch in patches:
            self.patches.append(patch)
            self.mine.append(mine[patch.image])
            self.total += len(patch.image)

    def mark(self, slot: int, patch: Patch, row: int, column: int, mine: Tensor):
        """The node is landmark ``slot`` of those images where ``mine`` (B,)."""
        before = 0
        for other in self.patches:
            if other is patch:
                break
            before += len(other.image)
        keep = mine[patch.image]
        image = patch.image[keep]
        sheet = torch.arange(len(keep), device=keep.device)[keep] + before
        self.nodes[image, slot, 0] = sheet
        self.nodes[image, slot, 1] = row % H
        self.nodes[image, slot, 2] = column % W

    def pair(self, slot: int, patches: list[Patch], row: int, column: int,
             mine: Tensor) -> None:  # fmt: skip
        """A node on the viewer's left and its mirror image, in one sheet or two."""
        self.mark(slot, patches[0], row, column, mine)
        self.mark(slot + 1, patches[-1], row, W - 1 - column, mine)


SLOTS = ("collar left", "collar right", "sleeve left", "sleeve right",
         "waistline left", "waistline right", "hem left", "hem right")  # fmt: skip
COLLARS, SLEEVES, WAISTS, HEMS = 0, 2, 4, 6


class Outfit:
    """What B people wear: garment ``category`` (B,), and with it something random.

    ``build`` (B,): 0 masculine, 1 feminine; ``folds`` scales folds, 0: none.
    """

    def __init__(self, index: Tensor, seed: int, category: Tensor, build: Tensor,
                 folds: float = 1.0):  # fmt: skip
        u, v = (uniform(index, 48, seed, stream=k) for k in (85, 86))
        w = uniform(index, 24, seed, stream=87)
        self.category = category
        self.below = below = (category == SKIRT) | (category == TROUSERS)
        other = torch.where(w[:, 0] < 0.65, TANK, LONG)
        other = torch.where(w[:, 0] < 0.45, TEE, other)
        self.cut = torch.where(below, other, category)
        self.dress = category == DRESS
        skirts = ~below & ~self.dress & (w[:, 1] < 0.3) & (build > 0.5)
        self.skirts = skirts | (category == SKIRT)
        self.top, self.skirt, self.trousers = top(u, self.cut), skirt(v), trousers(v)
        lower = {name: torch.where(self.skirts, self.skirt[name], self.trousers[name])
                 for name in ("ease", "waist", "from")}  # fmt: skip
        tucked = torch.where(below, w[:, 2] < 0.75, w[:, 2] < 0.12)
        tucked = tucked & ~self.dress & (self.cut != COAT)
        tuck(self.top, lower, tucked, lower["waist"])
        self.inner = shirt_below(self.top, w[:, 5:7])
        self.skirt |= {name: lower[name] for name in ("ease", "from")}
        self.trousers["ease"] = lower["ease"]
        for style in (self.top, self.skirt, self.trousers, self.inner):
            style["wave"] = folds * style["wave"]
            if "drape" in style:
                style["drape"] = folds * style["drape"]
        kinds = torch.zeros(len(index), FABRICS, device=index.device, dtype=torch.long)
        sober = 2 * (w[:, 3] < 0.6).long()
        kinds[:, 0] = torch.where(category == COAT, sober, below.long())
        sober = 2 * (w[:, 4] < 0.75).long()
        kinds[:, 1] = torch.where(category == TROUSERS, sober, 2 - self.skirts.long())
        kinds[:, 1] = torch.where(category == SKIRT, 0, kinds[:, 1])
        kinds[:, 2], kinds[:, 3] = 1, 3
        self.fabric = fabrics(index, seed, kinds)

    def sew(self, people: Body, laid: Body, flat: Tensor, worn: Tensor) -> Pieces:
        """Sheets of all garments; where not ``worn`` (B,) only the one in question.
        ``flat`` (B,) bool: it is laid flat."""
        out = Pieces(len(flat), flat.device)
        top, below, coat = ~self.below, self.below, self.cut == COAT

        def tailor(some: Tensor, style: Batch, fabric: int) -> Tailor:
            slot = torch.full_like(self.category, fabric)
            which = some.nonzero()[:, 0]
            return Tailor(people, laid, flat.float(), which, style, slot)

        some = ~coat & (worn | top)
        if some.any():
            t = tailor(some, self.top, 0)
            front = t.torso()
            out.add(t.patches, top)
            out.pair(COLLARS, [front], 0, COLLAR, top)
            out.pair(SLEEVES, [front], 0, 0, top & self.top["bare"])
            out.pair(WAISTS, [front], WAIST, 0, self.dress)
            out.pair(HEMS, [front], -1, 0, top)
        some = ~self.top["bare"] & (worn | top)
        if some.any():
            sleeves = tailor(some, self.top, 0).sleeves()
            out.add(sleeves, top)
            out.pair(SLEEVES, sleeves, -1, 0, top)
        if coat.any():
            t = tailor(coat, self.top, 0)
            fronts = t.coat()
            out.add(t.patches, top)
            for side, front in enumerate(fronts):
                out.mark(COLLARS + side, front, 0, W - 1, top)
                out.mark(HEMS + side, front, -1, 0, top)
        some = coat & worn
        if some.any():
            t = tailor(some, self.inner, 2)
            t.torso(below=True)
            out.add(t.patches, torch.zeros_like(worn))
        some = self.skirts & (worn | below)
        if some.any():
            piece = tailor(some, self.skirt, 1).skirt()
            out.add([piece], below)
            out.pair(WAISTS, [piece], 0, 0, below)
            out.pair(HEMS, [piece], -1, 0, below)
        some = ~self.skirts & ~self.dress & (worn | below)
        if some.any():
            legs = tailor(some, self.trousers, 1).trousers()
            out.add(legs, below)
            out.pair(WAISTS, legs, 0, 0, below)
            out.pair(HEMS, legs, -1, 0, below)
        return out

    def bare_from(self) -> tuple[Tensor, Tensor]:
        """Where sleeves end along the arms, and trousers along the legs, (B,) each."""
        arms = torch.where(self.top["bare"], -2.6, self.top["sleeve"] - 2)
        legs = torch.where(self.skirts | self.dress, -1.0, self.trousers["hem"] - 2)
        return arms, legs
