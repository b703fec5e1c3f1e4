"""Try-on: people before a wall, a garment laid flat, and the same people in it; a
stand-in for VITON, VITON-HD and SAL-HG in Yan, Gao et al. 2023 (landmark-linked virtual
try-on).

Image ``i`` is one triplet: a person in another garment (the paper's P_o, here a true
picture), the garment flat on white paper (G), and the same person, in the same pose and
place, who wears it (P_gt). All three are drawn from the same sheets of cloth, so which
point of the flat garment a pixel of the person shows, is exact.

Knobs. How arms are held: ``crossing``, share of people with a forearm before the trunk;
of the other arms ``hands`` rest on the hip or in a pocket, and ``bent`` of those left
are bent otherwise. ``turn``, 0 to 1: how far people turn away, at 1 by 30 degrees, and
move their trunk; ``scale`` and ``shift``: how much the size of people differs (at 1 by
10 % to both sides), and their place; ``folds``: how deep cloth falls in folds;
``sleeve_change``, share of pairs whose sleeves may differ in length; ``texture``:
``mixed``, or only ``revealing`` cloth (signs, blots and bands, everywhere different),
``periodic`` (stripes, checks, dots: everywhere alike) or ``plain``; ``hair``, share of
long-haired people whose locks fall on the chest; ``bags``, share of people with a bag
across it; ``clutter``, share of people in a room or a street and not before paper.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.samples import Batch
from lmscenes.backdrop import Place
from lmscenes.bare import Bare
from lmscenes.engine import as_indices, between, uniform
from lmscenes.figure import ARMS, FOREARMS, GESTURES, Body, at_rest, body, poses
from lmscenes.garments import bounds
from lmscenes.outfits import skirt, trousers, tuck
from lmscenes.props import carried
from lmscenes.shared import check_knobs, check_names, drawn_by_index
from lmscenes.studio import Shot, looks, shoot, thrown
from lmscenes.surface import lookup
from lmscenes.tops import (
    COUNT,
    KINDS,
    NAMES,
    PAIRS,
    PRESSED,
    SKELETON,
    Nodes,
    cloth,
    reach,
    sew,
    tops,
)
from lmscenes.wardrobe import Patch, Tailor, joined, ramp

TILE = 16  # triplets drawn at once
SAMPLES = 2  # a pixel and side
ABSENT, OCCLUDED, VISIBLE = range(3)
OTHER, WORN, LAID = range(3)  # the three pictures of a triplet
ANOTHER = 2**40  # garment i + ANOTHER is the other one of triplet i
TALL = 58.0  # hundredths of a person's height that a picture holds
# Numbers of GESTURES: straight arms, bent ones, hands at rest, forearms before the
# trunk; how often each.
STRAIGHT = (0, 4.0), (1, 2.0), (8, 0.3), (11, 0.5)
BENT = (7, 0.7), (10, 0.4), (9, 0.2), (2, 1.0), (6, 1.0)
RESTING = (3, 1.0), (2, 1.0)
CROSSING = (4, 1.0), (5, 1.0), (12, 1.2), (13, 1.2)
TURN = math.radians(30)
SLACK = 1.6  # how far behind a hanging top the waist and what is worn below are kept


class Tryon:
    """Batch: ``image`` (B, 3, H, W), the person in another garment; ``target``, in the
    garment; ``garment``, laid flat on white, and ``garment_mask`` (B, 1, H, W), 1 where
    it is; ``target_mask`` and ``worn_mask``, pixels of ``target`` and of ``image`` of
    which the worn garment takes more than a half.

    ``flow`` (B, 2, H, W): x and y of the place in ``garment`` that a pixel of
    ``target`` shows, in [-1, 1], exact where ``target_mask`` is 1; 0 elsewhere.
    ``warped``: ``garment`` read there, white elsewhere.

    Landmarks ``names``, left is the viewer's left: ``garment_landmarks`` (B, 32, 2) and
    ``garment_present`` (B, 32) bool; ``landmarks`` (B, 32, 2), where they lie on the
    person in ``target``, and their ``attribute`` (B, 32): 0 absent, the garment has no
    such part; 1 occluded, by arms, hair, other clothes, the body or the picture's edge;
    2 visible. ``visible`` is attribute 2. Occluded points stay exact, absent ones are
    0. ``worn_landmarks`` and ``worn_attribute``: of the garment in ``image``.

    ``elbow`` (B, 2): degrees by which elbows are bent; ``crossing`` (B,) bool: a
    forearm lies before the trunk; ``sleeve_change`` (B,): length of the garment's
    sleeves less that of those in ``image``, in arms; ``texture`` (B,) in
    ``texture_names``.
    """

    names, pairs, skeleton = NAMES, PAIRS, SKELETON
    texture_names = KINDS

    def __init__(
        self, size: tuple[int, int] | int = (128, 96), seed: int = 0, *,
        crossing: float = 0.4, hands: float = 0.2, bent: float = 0.35,
        turn: float = 1.0, scale: float = 1.0, shift: float = 1.0, folds: float = 1.0,
        sleeve_change: float = 1.0, texture: str = "mixed", hair: float = 0.5,
        bags: float = 0.08, clutter: float = 0.3,
    ):  # fmt: skip
        size = (size, size) if isinstance(size, int) else tuple(size)
        if len(size) != 2 or not all(32 <= n <= 512 for n in size):
            raise ValueError(f"Tryon draws 32 to 512 pixels a side, got {size}")
        if (size[0] - size[1]) % 2:
            raise ValueError(f"height less width must be even, got {size}")
        shares = dict(crossing=crossing, hands=hands, bent=bent)
        shares |= dict(sleeve_change=sleeve_change, hair=hair, bags=bags)
        check_knobs(0, 1, **shares, turn=turn, scale=scale, shift=shift, folds=folds,
                    clutter=clutter)  # fmt: skip
        check_names("texture", texture, ("mixed", *KINDS))
        self.size, self.seed, self.texture = size, seed, texture
        self.crossing, self.hands, self.bent = crossing, hands, bent
        self.turn, self.scale, self.shift, self.folds = turn, scale, shift, folds
        self.sleeve_change, self.hair = sleeve_change, hair
        self.bags, self.clutter = bags, clutter
        self.side = max(size)  # a square is drawn, and its middle kept

    def batch(self, indices, device=None) -> Batch:
        index = as_indices(indices, device)
        return drawn_by_index(lambda few: _Tile(self, few).batch(), index, TILE)

    def parameters(self, indices, device=None) -> Batch:
        """What is random about the triplets as a whole, ``(B, ...)`` each."""
        index = as_indices(indices, device)
        u = uniform(index, 48, self.seed, stream=102)
        kind = (u[:, 0:1] > u.new_tensor([0.78, 0.92])).sum(1)
        other = (u[:, 1:2] > u.new_tensor([0.7, 0.88])).sum(1)
        if self.texture != "mixed":
            kind = torch.full_like(kind, KINDS.index(self.texture))
        length = u[:, 2]
        size = 0.1 * self.scale * (2 * u[:, 4] - 1)
        return {
            "index": index, "kind": kind, "other kind": other,
            "length": length,
            "other length": torch.where(u[:, 5] < self.sleeve_change, u[:, 3], length),
            "build": (u[:, 6] < 0.6) * (0.75 + 0.25 * u[:, 7]),
            "growth": between(u[:, 8:14], 0.93, 1.05),
            "view": self.turn * TURN * (u[:, 14] + u[:, 15] - 1),
            "tilt": between(u[:, 16], -0.02, 0.08),
            "scale": 2 / TALL * size.exp(),
            "shift": self.shift * (2 * u[:, 17:19] - 1) * u.new_tensor([0.1, 0.05]),
            "gestures": self._gestures(u[:, 19:28]), "bag": u[:, 28],
            "spread": torch.where(length > 0.45, between(u[:, 29], 0.34, 0.48),
                                  between(u[:, 29], 0.5, 0.7)),
            "cuffs": between(u[:, 30], 0.1, 0.3),
            "skirt": (u[:, 31] < 0.3), "tucked": u[:, 32:34] < 0.15,
            "room": u[:, 34] < self.clutter, "floor": between(u[:, 35], 0.75, 1.6),
            "locks": u[:, 36] < self.hair, "margin": between(u[:, 37], 0.86, 0.94),
        }  # fmt: skip

    def _gestures(self, u: Tensor) -> Tensor:
        """What both arms do (B, 2), from uniform numbers (B, 9)."""
        crosses = u[:, :1] < self.crossing
        which = torch.stack([u[:, 1] < 0.62, (u[:, 1] > 0.38)], 1)  # one arm or both
        rest = torch.where(u[:, 2:4] < self.hands, 2, 0)
        rest = torch.where((rest == 0) & (u[:, 4:6] < self.bent), 1, rest)
        group = torch.where(crosses & which, 3, rest)
        chosen = torch.zeros_like(group)
        for k, table in enumerate((STRAIGHT, BENT, RESTING, CROSSING)):
            number, often = u.new_tensor(table).unbind(1)
            share = often.cumsum(0) / often.sum()
            i = torch.searchsorted(share, u[:, 6:8].contiguous())
            one = number.long()[i.clamp(max=len(number) - 1)]
            chosen = torch.where(group == k, one, chosen)
        return chosen


class _Tile:
    """Some triplets, from parameters to the batch. Pictures are numbered by what they
    show, then by triplet: OTHER, WORN, LAID."""

    def __init__(self, scene: Tryon, index: Tensor):
        self.scene, self.index, self.n = scene, index, len(index)
        self.q = q = scene.parameters(index)
        rows = torch.arange(self.n, device=index.device).repeat(3)
        self.view = torch.arange(3, device=index.device).repeat_interleave(self.n)
        self.laid_view = self.view == LAID
        self._people(rows)
        self._clothes()
        look = looks(index, scene.seed, q["build"])
        look["mannequin"] = torch.zeros_like(q["skirt"])
        look["locks"] = (look["long"] > 0) & q["locks"]
        look["crown"] = 2.0 + look["crown"]
        look["rumple"] = 0.5 * scene.folds * look["rumple"]
        look["contrast"] = 0.6 * look["contrast"]
        look["power"] = 0.5 + 0.5 * look["power"]
        # Lamps stand more to the front than elsewhere: cloth keeps its colours.
        lamp = look["lamp"].new_tensor([-0.3, -0.6, -0.75])
        look["lamp"] = F.normalize(look["lamp"] + lamp, dim=1)
        self.person_look = look
        look = {name: value[rows] for name, value in look.items()}
        laid = self.laid_view
        look["lamp"] = torch.where(laid[:, None], lamp, look["lamp"])
        look["contrast"] = torch.where(laid, 0.5, look["contrast"])
        look["power"] = torch.where(laid[:, None], 0.94, look["power"])
        for name in ("closing", "overlap", "shirt"):
            look[name] = self.top[name]
        self.look = look

    def _people(self, rows: Tensor) -> None:
        q, scene = self.q, self.scene
        u = uniform(self.index, 40, scene.seed, stream=103)
        pose, _, _ = poses(u, 1.0, q["gestures"])
        for name in ("bend", "twist", "roll"):
            pose[name] = 0.7 * scene.turn * pose[name]
        people = body(pose, q["growth"], q["build"], q["view"], q["tilt"]).from_waist()
        table = u.new_tensor(GESTURES)
        before = table[q["gestures"]][..., 5] > 0.5  # the viewer's left first
        # Of two forearms before the trunk, the right one lies on the left.
        both = before.all(1)[:, None] * u.new_tensor([0.0, 1.0])
        people = people.forearms_before(before * (1 + both))
        # The flat garment's shoulders and elbows let its sleeves hang beside it.
        zero = torch.zeros_like(q["spread"])
        still = at_rest(q["spread"])
        still["up"] = -q["cuffs"][:, None].expand(-1, 2)
        laid = body(still, torch.ones_like(q["growth"]), zero + 0.5, zero, zero)
        self.laid = laid.from_waist().of(rows)
        self.one = people
        self.people = self.laid.where(self.laid_view, people.of(rows))
        turns = people.turns
        along = [turns[:, list(k), :, 1] for k in (ARMS, FOREARMS)]
        self.elbow = (along[0] * along[1]).sum(-1).clamp(-1, 1).acos().rad2deg()
        self.crossing = self._crosses(people)

    @staticmethod
    def _crosses(people: Body) -> Tensor:
        """Whether a wrist or the middle of a forearm lies right before the trunk."""
        trunk = people.trunk
        out = []
        for arm in people.arms:
            place = arm.centre[:, [-6, -1]]  # (B, 2, 3)
            far = (trunk.centre[:, None, :, 1] - place[..., 1:2]).abs()
            ring = far.argmin(2)
            centre = trunk.centre.gather(1, ring[..., None].expand(-1, -1, 3))
            wide = trunk.wide.gather(1, ring)
            level = trunk.centre[:, 0, 1:2] - 1 < place[..., 1]  # below the neck
            near = (place[..., 0] - centre[..., 0]).abs() < 0.65 * wide
            front = place[..., 2] < centre[..., 2]
            out.append((near & front & level).any(1))
        return torch.stack(out, 1).any(1)

    def _clothes(self) -> None:
        q, scene, n = self.q, self.scene, self.n
        seed, index, other = scene.seed, self.index, self.index + ANOTHER
        v = uniform(index, 48, seed, stream=104)
        self.below = below = trousers(v)
        self.skirt = skirt(v)
        skirts = q["skirt"] & (q["build"] > 0.5)
        self.skirts = skirts
        for style in (self.below, self.skirt):
            style["waist"] = between(v[:, 40], -3, 2)
            style["ease"] = style["ease"].clamp(min=0.7)
        below["hem"] = below["hem"].clamp(min=30)
        self.skirt["hem"] = self.skirt["hem"].clamp(min=30)
        waist = below["waist"]
        own = tops(index, seed, q["length"], waist, scene.folds)
        some = tops(other, seed, q["other length"], waist, scene.folds)
        same = q["length"] == q["other length"]
        some["sleeve"] = torch.where(same, own["sleeve"], some["sleeve"])
        # What is worn below suits both.
        lower = {"ease": torch.where(skirts, self.skirt["ease"], below["ease"]),
                 "waist": waist, "from": self.skirt["from"]}  # fmt: skip
        for k, style in enumerate((some, own)):
            tuck(style, lower, q["tucked"][:, k], waist)
        self.skirt["from"] = lower["from"]
        # Laid flat it has the same cut, and small folds of its own.
        folds = uniform(index, 14, seed, stream=105)
        flat = own | {"folds": folds, "wave": 0.4 * own["wave"]}
        self.reach = reach(some), reach(own)
        self.top = {k: torch.cat([some[k], own[k], flat[k]]) for k in own}
        mine = cloth(index, seed, q["kind"])
        theirs = cloth(other, seed, q["other kind"])
        size = [n, -1]
        fabric = {}
        for name, value in mine.items():
            value, others = value.unflatten(0, size), theirs[name].unflatten(0, size)
            others = torch.cat([others[:, :1], value[:, 1:]], 1)
            fabric[name] = torch.cat([others, value, value]).flatten(0, 1)
        self.fabric = fabric

    def _sheets(self) -> tuple[Batch, Nodes, Tensor, Tensor]:
        """All sheets in the bodies' own units; the landmarks; which of the sheets are
        of the tops; and of those that are worn, their twin on the flat garment."""
        flat = PRESSED * self.laid_view.float()
        patches, nodes = sew(self.people, self.laid, flat, self.top)
        mine = sum(len(p.image) for p in patches)
        twin, first = [], 0
        for patch in patches:
            view = self.view[patch.image]
            shift = (view == WORN).sum() * (view == WORN)
            twin.append(first + torch.arange(len(view), device=view.device) + shift)
            first += len(view)
        patches = patches + self._below() + self._bare()
        table = joined(patches)
        rest = torch.zeros(len(table["image"]) - mine, device=flat.device).long()
        mine = torch.cat([torch.ones(mine, device=flat.device), rest]) > 0
        return table, nodes, mine, torch.cat([*twin, rest])

    def _below(self) -> list[Patch]:
        """Trousers and skirts, and bags, of both pictures of the people."""
        out, zero = [], torch.zeros_like(self.view, dtype=torch.float32)
        slot = torch.ones_like(self.view)
        for style, some in ((self.skirt, self.skirts), (self.below, ~self.skirts)):
            which = (some.repeat(3) & ~self.laid_view).nonzero()[:, 0]
            if len(which):
                s = {name: value.repeat(3, *[1] * (value.ndim - 1))
                     for name, value in style.items()}  # fmt: skip
                t = Tailor(self.people, self.laid, zero, which, s, slot)
                out += [t.skirt()] if style is self.skirt else t.trousers()
        # Tops hang over them, clear of hips and thighs; not those that are tucked in.
        back = SLACK * ~F.pad(self.q["tucked"].T, (0, 0, 0, 1)).flatten()
        shift = torch.stack([zero, zero, back], 1)[..., None, None]
        out = [p._replace(points=p.points + shift[p.image]) for p in out]
        u = uniform(self.index, 32, self.scene.seed, stream=106)
        u[:, 2] = 0  # across the chest
        bare = self.top["bare"].unflatten(0, (3, self.n)).any(0)  # no strap on skin
        u[:, 0] = torch.where(bare, 1.0, self.q["bag"])
        bags = carried(self.one, u, u.new_full((self.n,), self.scene.bags))
        for patch in bags:
            for view in (OTHER, WORN):
                out.append(patch._replace(image=patch.image + view * self.n))
        return out

    def _bare(self) -> list[Patch]:
        which = (~self.laid_view).nonzero()[:, 0]
        bare = Bare(self.people, which, self.look)
        bare.trunk()
        trunk = bare.patches[0]
        trunk.points[:, 2] += SLACK * ramp(trunk.flat[:, 1], -8, -4)
        bare.arms(torch.where(self.top["bare"], -2.6, self.top["sleeve"] - 2))
        bare.head()
        return bare.patches

    def _framed(self, table: Batch, mine: Tensor) -> None:
        """Bring sheets into the picture: ``points`` to [-1, 1] of a square."""
        q, scene, n = self.q, self.scene, self.n
        height, width = (length / scene.side for length in scene.size)
        low, high = bounds(table["points"][mine], table["image"][mine], 3 * n)
        room = low.new_tensor([width, height]) * q["margin"][:, None]
        fit = (2 * room / (high - low)[2 * n :]).amin(1)
        flat = -(low + high)[2 * n :] / 2 * fit[:, None]
        scale = q["scale"] * height
        place = q["shift"] * q["shift"].new_tensor([width, height])
        place[:, 1] += height * 0.11 + 14 * scale
        self.scale = torch.cat([scale, scale, fit])
        place = torch.cat([place, place, flat])
        image, points = table["image"], table["points"]
        xy = points[:, :2] * self.scale[image][:, None, None, None]
        xy = xy + place[image][..., None, None]
        table["points"] = torch.cat([xy, points[:, 2:]], 1)

    def batch(self) -> Batch:
        scene, n = self.scene, self.n
        table, nodes, mine, twin = self._sheets()
        self._framed(table, mine)
        shot = shoot(table, self.scale, scene.side, scene.side * SAMPLES,
                     self.fabric, self.look)  # fmt: skip
        own = (shot.sheet >= 0) & mine[shot.sheet.clamp(min=0)]
        mask = F.avg_pool2d(own[:, None].float(), SAMPLES)
        mask = self._cut(mask)
        mask = torch.cat([mask[: 2 * n] > 0.5, mask[2 * n :] > 0]).float()
        flow = self._flow(table, twin, shot, own) * mask[n : 2 * n]
        pictures = self._pictures(shot.canvas)
        garment = pictures[LAID]
        warped = F.grid_sample(garment, flow.movedim(1, -1), padding_mode="border",
                               align_corners=False)  # fmt: skip
        warped = warped * mask[n : 2 * n] + 1 - mask[n : 2 * n]
        marks, attribute = self._landmarks(table, nodes, shot, mask)
        return {
            "image": pictures[OTHER], "target": pictures[WORN], "garment": garment,
            "worn_mask": mask[:n], "target_mask": mask[n : 2 * n],
            "garment_mask": mask[2 * n :], "flow": flow, "warped": warped,
            "landmarks": marks[WORN], "attribute": attribute[WORN],
            "visible": attribute[WORN] == VISIBLE, "worn_landmarks": marks[OTHER],
            "worn_attribute": attribute[OTHER], "garment_landmarks": marks[LAID],
            "garment_present": attribute[LAID] > ABSENT, "elbow": self.elbow,
            "crossing": self.crossing, "sleeve_change": self.reach[1] - self.reach[0],
            "texture": self.q["kind"], "index": self.index,
        }  # fmt: skip

    def _cut(self, pictures: Tensor) -> Tensor:
        """The middle of squares (..., S, S)."""
        (height, width), side = self.scene.size, self.scene.side
        y, x = (side - height) // 2, (side - width) // 2
        return pictures[..., y : y + height, x : x + width]

    def _pictures(self, canvas: Tensor) -> Tensor:
        """(3, B, 3, H, W): the people in their place, the garment on white."""
        q, scene, n = self.q, self.scene, self.n
        place = Place(self.index, scene.side, scene.seed, 0 * q["floor"])
        ground = place.studio()
        at = q["room"].nonzero()[:, 0]
        if len(at):
            still = Place(self.index[at], scene.side, scene.seed, 0 * q["floor"][at])
            wild = still.wild(q["floor"][at], 0.7)
            step = max(scene.side // 32, 1) * 2 + 1
            for _ in range(2):  # out of focus
                wild = F.avg_pool2d(wild, step, 1, step // 2, count_include_pad=False)
            ground[at] = wild
        ground = torch.cat([ground, ground])
        cover = canvas[: 2 * n, 3:]
        look = {name: value[: 2 * n] for name, value in self.look.items()}
        people = canvas[: 2 * n, :3] + (1 - cover) * ground * thrown(
            cover, self.scale[: 2 * n], look)  # fmt: skip
        # A cut-out: no pixel mixes cloth and paper, as its mask does not.
        laid, cover = canvas[2 * n :, :3], canvas[2 * n :, 3:]
        power = self.look["power"][..., None, None]
        laid = laid / cover.clamp(min=0.01) * power[2 * n :]
        laid = torch.where(cover > 0, laid, 1.0)
        out = torch.cat([people * power[: 2 * n], laid])
        return self._cut(out).clamp(0, 1).unflatten(0, (3, n))

    # ---- truth ----------------------------------------------------------------------

    def _inside(self, xy: Tensor, dim: int = -1) -> Tensor:
        """Places in the square to places in the picture."""
        height, width = (self.scene.side / length for length in self.scene.size)
        shape = [1] * xy.ndim
        shape[dim] = 2
        return xy * xy.new_tensor([width, height]).view(shape)

    def _flow(self, table: Batch, twin: Tensor, shot: Shot, own: Tensor) -> Tensor:
        """(B, 2, H, W): where on the flat garment the centres of pixels lie.

        Of a pixel's samples the one nearest to its centre that shows the garment; from
        there to the centre by the map of its cell, which both pictures share.
        """
        n, f, side = self.n, SAMPLES, self.scene.side
        number = torch.full_like(shot.sheet, -1).flatten()
        number[shot.hits.at] = torch.arange(len(shot.hits.at), device=number.device)
        number = torch.where(own.flatten(), number, -1).view_as(shot.sheet)[n : 2 * n]
        number = number.view(n, side, f, side, f).movedim(2, 3).flatten(3)
        step = torch.arange(f, device=number.device) - (f - 1) / 2
        near = -torch.hypot(step[:, None], step).flatten()
        best = torch.where(number >= 0, near, -9).argmax(3, keepdim=True)
        number = number.gather(3, best)[..., 0]
        i, y, x = (number >= 0).nonzero().unbind(1)
        hit = number[i, y, x]
        flow = shot.canvas.new_zeros(n, 2, side, side)
        points = table["points"][:, :2]
        both = torch.cat([points, points[twin]], 1)
        at = (shot.hits.sheet[hit], shot.hits.row[hit], shot.hits.column[hit])
        place, down, right = cell(both, *at)
        centre = torch.stack([x, y]) * (2 / side) + 1 / side - 1
        (a, c), (b, d) = down[:2], right[:2]
        # Solve for rows and columns up to the centre; not where the cell is a line.
        det = a * d - b * c
        ex, ey = centre - place[:2]
        safe = det.abs() > 1e-9
        det = torch.where(safe, det, 1.0)
        move = ((d * ex - b * ey) * down[2:] + (a * ey - c * ex) * right[2:]) / det
        far = move.norm(dim=0).clamp(min=1e-9)
        move = move * safe * (3 / side / far).clamp(max=1)
        flow[i, :, y, x] = self._inside((place[2:] + move).T)
        return self._cut(flow)

    def _landmarks(self, table: Batch, nodes: Nodes, shot: Shot, mask: Tensor
                   ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Places (3, B, 32, 2) and attributes (3, B, 32)."""
        fine, n = shot.sheet.shape[-1], self.n
        at = (nodes.sheet.flatten(), nodes.row.flatten(), nodes.column.flatten())
        maps = torch.cat([table["points"][:, :2], table["flat"]], 1)
        xy, own = lookup(maps, *at).T.view(3 * n, COUNT, 4).split(2, 2)
        # Seen if within a pixel of it its sheet shows the same place of the cloth, and
        # the mask is not empty there.
        flat = torch.full((2, shot.sheet.numel()), 1e6, device=xy.device)
        flat[:, shot.hits.at] = shot.hits.read(table["flat"])
        reach = SAMPLES
        step = torch.arange(-reach, reach + 1, device=xy.device)
        pixel = ((xy + 1) * (fine / 2)).floor().long()
        x = (pixel[..., 0, None, None] + step).clamp(0, fine - 1)
        y = (pixel[..., 1, None, None] + step[:, None]).clamp(0, fine - 1)
        image = torch.arange(3 * n, device=xy.device)[:, None, None, None]
        around = (image * fine + y) * fine + x
        same = shot.sheet.flatten()[around] == nodes.sheet[..., None, None]
        away = flat[:, around].movedim(0, -1) - own[:, :, None, None]
        same = same & (away.norm(dim=-1) < 2)
        xy = self._inside(xy)
        seen = same.flatten(2).any(2) & (xy.abs() < 1).all(-1)
        height, width = self.scene.size
        pixel = ((xy + 1) * (xy.new_tensor([width, height]) / 2)).floor().long()
        x, y = pixel[..., 0].clamp(0, width - 1), pixel[..., 1].clamp(0, height - 1)
        near = F.max_pool2d(mask, 3, 1, 1).flatten(1).gather(1, y * width + x)
        seen = seen & (near > 0)
        attribute = torch.where(seen, VISIBLE, OCCLUDED)
        attribute = torch.where(nodes.there, attribute, ABSENT)
        xy = torch.where(nodes.there[..., None], xy, 0.0)
        return xy.unflatten(0, (3, n)), attribute.unflatten(0, (3, n))


def cell(lattice: Tensor, sheet: Tensor, row: Tensor, column: Tensor
         ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Values ``(C, n)`` of lattices ``(N, C, h, w)`` at n places, and how they grow per
    row and per column of the lattice."""
    h, w = lattice.shape[2:]
    r, c = row.long().clamp(max=h - 2), column.long().clamp(max=w - 2)
    a, b = (lattice[sheet, :, r + k, c].T for k in (0, 1))
    across = [lattice[sheet, :, r + k, c + 1].T - p for k, p in enumerate((a, b))]
    fr, fc = row - r, column - c
    right = across[0].lerp(across[1], fr)
    top, low = a + fc * across[0], b + fc * across[1]
    return top.lerp(low, fr), low - top, right
