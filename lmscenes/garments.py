"""Garments: clothes on people, mannequins and tables, with functional landmarks; a
stand-in for DeepFashion's Fashion Landmark Detection set, FLD (Liu et al. 2016), and
for the unconstrained landmark database of Yan et al. 2017 (DLAN), sections 3 and 5.

Seven categories take turns (``categories``): image ``i`` shows
``categories[i % len(categories)]``. Upper clothes have six landmarks (collar, sleeve,
hem), lower ones four (waistline, hem), dresses all eight; left is the viewer's left on
the upright garment, as in FLD. They are corners of the cloth: a collar is where the
neckline meets the shoulder's seam, a sleeve the outer end of its cuff (of a sleeveless
garment: of the shoulder's seam), hem and waistline end at the side's outline.

Shops show a garment laid flat, on nobody, on a mannequin or on a model, before plain
paper; users wear it, in a room or a street. Knobs, 0 to 1, each of users' pictures
unless said otherwise: ``scale``, how far sizes differ, at 1 by a factor of 7, partly
out of the frame; ``shift`` from the centre; ``rotation``, up to 30 degrees; ``pose``,
how arms and trunk differ from standing still, of shops a third of it; ``deformation``:
folds, and a smooth warp of the picture, of shops too; ``clutter``, how strongly rooms,
streets and the camera's noise show; ``distractors``, how often pieces cut from the
same garment (a sleeve, a collar, a hem, in the same cloth) lie around, up to three;
``occluders``, how often something hides a part: a bag, locks, a card or leaves before
the lens (what a person's own arms and other clothes hide, belongs to the pose).
``users`` is the share of users' pictures.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmlib.samples import Batch
from lmscenes.backdrop import Place
from lmscenes.bare import Bare
from lmscenes.engine import as_indices, between, rotation, uniform
from lmscenes.figure import at_rest, body, poses
from lmscenes.outfits import CATEGORIES, DRESS, SKIRT, SLOTS, TEE, Outfit, Pieces
from lmscenes.props import before_the_lens, carried, pieces_around
from lmscenes.shared import check_names, check_size, drawn_by_index
from lmscenes.studio import looks, shoot, thrown
from lmscenes.wardrobe import joined

TILE = 8  # images drawn at once: their samples stay in a CPU's cache
VISIBLE, OCCLUDED, CUT_OFF, ABSENT = range(4)  # FLD's codes, and 3: no such landmark
UPPER, LOWER, FULL = range(3)
FLAT, GHOST, MANNEQUIN, MODEL = range(4)  # how shops show garments
SIZES = (0.2, 1.4)  # of a garment's longer side, in images: a factor of 7
ROLL, ROLL_SHOP = math.radians(30), math.radians(8)
# Pose energies that part normal, medium and large poses, thirds of the default set.
ENERGY = 0.15, 0.7
ZOOM = 0.04, 0.18  # share of the garment outside the frame: medium, large zoom-in


class Garments:
    """Batch adds ``code`` (B, 8), FLD's visibility of each landmark (0 visible, 1
    occluded, 2 cut off, 3 no such landmark: NaN); ``clothes`` (B,) 0 upper, 1 lower, 2
    full body; ``category`` (B,) in ``category_names``; ``variation`` (B,) 0 to 2
    normal, medium, large pose, 3 and 4 medium and large zoom-in; ``modality`` (B,) 0
    shop, 1 user; ``box`` (B, 4) left, top, right, bottom of the whole garment, also
    beyond the frame; ``mask`` (B, 1, H, W), where it is seen; ``share`` (B,), its
    longer side in images; ``energy`` (B,), how far the pose is from standing still.

    ``visible`` is code 0. Points that are occluded or cut off stay exact.
    """

    names = SLOTS
    category_names = CATEGORIES

    def __init__(
        self, size: int = 128, seed: int = 0, *,
        categories: tuple[str, ...] | str | None = None, users: float = 0.6,
        scale: float = 1.0, shift: float = 1.0, rotation: float = 1.0,
        pose: float = 1.0, deformation: float = 1.0, clutter: float = 1.0,
        distractors: float = 1.0, occluders: float = 1.0,
    ):  # fmt: skip
        check_size("Garments", size, 32, 512)
        self.categories = check_names("categories", categories, CATEGORIES)
        knobs = dict(users=users, scale=scale, shift=shift, rotation=rotation)
        knobs |= dict(pose=pose, deformation=deformation, clutter=clutter)
        knobs |= dict(distractors=distractors, occluders=occluders)
        for name, value in knobs.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {value}")
        self.size, self.seed, self.users = size, seed, users
        self.scale, self.shift, self.rotation = scale, shift, rotation
        self.pose, self.deformation, self.clutter = pose, deformation, clutter
        self.distractors, self.occluders = distractors, occluders
        self.fine = size * (2 if size > 80 else 3)  # samples a side

    def batch(self, indices, device=None) -> Batch:
        index = as_indices(indices, device)
        return drawn_by_index(lambda few: _Tile(self, few).batch(), index, TILE)

    def parameters(self, indices, device=None) -> Batch:
        """What is random about the pictures as a whole, ``(B, ...)`` each."""
        index = as_indices(indices, device)
        u = uniform(index, 40, self.seed, stream=80)
        chosen = index.new_tensor([CATEGORIES.index(name) for name in self.categories])
        category = chosen[index % len(chosen)]
        user = u[:, 0] < self.users
        show = (u[:, 1:2] > u.new_tensor([0.33, 0.55, 0.75])).sum(1)
        show = torch.where(user, MODEL, show)

        def either(users: Tensor | float, shops: Tensor | float) -> Tensor:
            return torch.where(user, users, shops)

        low, high = (math.log(size) for size in SIZES)
        middle = math.log(0.7)
        size = between(0.85 * u[:, 2] + 0.15 * u[:, 22], low, high)
        share = (middle + self.scale * (size - middle)).exp()
        share = either(share, between(u[:, 2], 0.6, 0.88))
        reach = either(self.shift * torch.where(share < 0.7, 0.45, 0.28), 0.09)
        female = (category == DRESS) | (category == SKIRT)
        build = torch.where(category == TEE, u[:, 6], u[:, 6].sqrt())
        build = torch.where(female, 1.0, (1.6 * build - 0.3).clamp(0, 1))
        return {
            "index": index, "category": category, "modality": user.long(), "show": show,
            "share": share, "shift": (2 * u[:, 3:5] - 1) * reach[:, None],
            "roll": (u[:, 5] + u[:, 7] - 1) * either(self.rotation * ROLL, ROLL_SHOP),
            "view": (u[:, 8] + u[:, 9] - 1) * either(0.8, 0.25) * self.pose,
            "build": build, "tilt": between(u[:, 10], -0.03, 0.14),
            "spread": between(u[:, 11], 0.3, 0.75),
            "growth": between(u[:, 12:18], 0.93, 1.05), "blur": u[:, 18],
            "floor": u[:, 19:21], "warp": uniform(index, 24, self.seed, stream=88),
            "front": uniform(index, 40, self.seed, stream=89), "noise": u[:, 21],
        }  # fmt: skip


class _Tile:
    """Some images of a scene, from parameters to the batch."""

    def __init__(self, scene: Garments, index: Tensor):
        self.scene, self.index, self.n = scene, index, len(index)
        self.q = q = scene.parameters(index)
        self.user = q["modality"] == 1
        self.look = looks(index, scene.seed, q["build"])
        self.look["mannequin"] = q["show"] == MANNEQUIN
        self.look["rumple"] = self.look["rumple"] * scene.deformation
        self.look["locks"] &= scene.occluders > 0
        self._people()
        self.outfit = Outfit(index, scene.seed, q["category"], q["build"],
                             scene.deformation)  # fmt: skip
        for name in ("closing", "overlap", "shirt"):
            self.look[name] = self.outfit.top[name]

    def _people(self) -> None:
        q, scene = self.q, self.scene
        u = uniform(self.index, 40, scene.seed, stream=81)
        pose, self.energy, crosses = poses(u, scene.pose)
        calm, quiet, _ = poses(u, scene.pose / 3)
        for name, angle in pose.items():
            user = self.user if angle.ndim == 1 else self.user[:, None]
            pose[name] = torch.where(user, angle, calm[name])
        view = 3 * q["view"].square()
        self.energy = torch.where(self.user, self.energy, quiet) + view
        still, zero = at_rest(q["spread"]), torch.zeros_like(q["spread"])
        growth = torch.ones_like(q["growth"])
        self.laid = body(still, growth, zero + 0.5, zero, zero).from_waist()
        people = body(pose, q["growth"], q["build"], q["view"], q["tilt"])
        people = people.forearms_before(crosses & self.user[:, None])
        self.flat = q["show"] == FLAT
        self.people = self.laid.where(self.flat, people)

    def _pieces(self) -> Pieces:
        """All sheets, in the bodies' own units."""
        show, nobody = self.q["show"], torch.zeros_like(self.flat)
        out = self.outfit.sew(self.people, self.laid, self.flat, show >= MANNEQUIN)
        which = (show >= MANNEQUIN).nonzero()[:, 0]
        if len(which):
            bare = Bare(self.people, which, self.look)
            arms, legs = self.outfit.bare_from()
            bare.trunk()
            bare.arms(arms)
            bare.legs(legs)
            bare.head()
            out.add(bare.patches, nobody)
        often = 0.35 * self.scene.occluders * self.user
        out.add(carried(self.people, self.q["front"], often), nobody)
        return out

    def _framed(self, table: Batch, mine: Tensor) -> None:
        """Warp sheets, then bring them into the picture: ``points`` to [-1, 1]."""
        q, image = self.q, table["image"]
        low, high = bounds(table["points"][mine], image[mine], self.n)
        self.middle, half = (low + high) / 2, (high - low).amax(1) / 2
        self.half, self.scale = half, q["share"] / half
        self.matrix = rotation(q["roll"]) * self.scale[:, None, None]
        xy = self._view(table["points"][:, :2].flatten(2).mT, image)
        xy = xy.mT.unflatten(2, table["points"].shape[2:])
        table["points"] = torch.cat([xy, table["points"][:, 2:]], 1)

    def _view(self, xy: Tensor, image: Tensor) -> Tensor:
        """Points (M, n, 2) of images (M,), from the bodies' units to the picture."""
        half = self.half[image][:, None, None]
        p = (xy - self.middle[image][:, None]) / half  # the garment lies in [-1, 1]
        u = self.q["warp"][image].view(-1, 1, 3, 8)
        # Three slow waves move it: exact for every point, landmarks too.
        phase = (p[..., None, :] * (4 * u[..., :2] - 2)).sum(-1) + math.tau * u[..., 2]
        push = (phase.sin()[..., None] * (2 * u[..., 3:5] - 1)).sum(2)
        p = p + 0.075 * self.scene.deformation * push
        return (p * half) @ self.matrix[image].mT + self.q["shift"][image][:, None]

    def batch(self) -> Batch:
        q, scene, size = self.q, self.scene, self.scene.size
        pieces = self._pieces()
        table, mine = joined(pieces.patches), torch.cat(pieces.mine)
        self._framed(table, mine)
        sheet, row, column = pieces.nodes.unbind(2)
        there = sheet >= 0
        marks = table["points"][sheet, :, row, column]  # (B, 8, 3)
        marks = torch.where(there[..., None], marks, math.nan)[..., :2]
        low, high = bounds(table["points"][mine], table["image"][mine], self.n)

        u = uniform(self.index, 30, scene.seed, stream=91).view(-1, 3, 10)
        often = 0.7 * scene.distractors * self.user
        extra = pieces_around(table, mine, u, often, self.scale, scene.deformation)
        if extra:
            more = joined(extra)
            table = {k: torch.cat([v, more[k]]) for k, v in table.items()}
        mine = F.pad(mine, (0, len(table["image"]) - len(mine)))
        shot = shoot(table, self.scale, size, scene.fine, self.outfit.fabric, self.look)
        often = 0.3 * scene.occluders * self.user
        front, hidden = before_the_lens(q["front"], often, low, high, size)

        picture = self._picture(shot.canvas, front, hidden)
        seen = (shot.sheet >= 0) & mine[shot.sheet.clamp(min=0)]
        mask = F.avg_pool2d(seen[:, None].float(), scene.fine // size) * (1 - hidden)
        code = self._codes(marks, sheet, there, shot.sheet, hidden)
        clothes = torch.where(q["category"] < DRESS, UPPER, LOWER)
        clothes = torch.where(q["category"] == DRESS, FULL, clothes)
        return {
            "image": picture, "landmarks": marks, "visible": code == VISIBLE,
            "index": self.index, "code": code, "clothes": clothes,
            "category": q["category"], "variation": self._variation(table, mine),
            "modality": q["modality"], "box": torch.cat([low, high], 1), "mask": mask,
            "share": q["share"], "energy": self.energy,
        }  # fmt: skip

    def _picture(self, canvas: Tensor, front: Tensor, hidden: Tensor) -> Tensor:
        """The place behind, the people, what is before the lens, and the lens."""
        q, scene, size = self.q, self.scene, self.scene.size
        place = Place(self.index, size, scene.seed, q["roll"])
        rows = torch.arange(self.n, device=self.index.device)
        ankles = torch.stack([leg.centre[:, -1, :2] for leg in self.people.legs], 1)
        x, y = self._view(ankles, rows).mean(1).unbind(1)
        floor = y * q["roll"].cos() - x * q["roll"].sin()
        u = q["floor"]
        floor = torch.minimum(floor - between(u[:, 0], 0.05, 0.35),
                              between(u[:, 1], 0.2, 0.9))  # fmt: skip
        image = place.studio()
        at = self.user.nonzero()[:, 0]
        if len(at):
            place = Place(self.index[at], size, scene.seed, q["roll"][at])
            wild = place.wild(floor[at], scene.clutter)
            soft = F.avg_pool2d(wild, 3, 1, 1, count_include_pad=False)
            blur = (1.4 * q["blur"][at]).clamp(max=1)
            image[at] = wild.lerp(soft, blur[:, None, None, None])
        cover = canvas[:, 3:]
        image = image * thrown(cover, self.scale, self.look)
        image = canvas[:, :3] + (1 - cover) * image
        image = image.lerp(front, hidden)
        image = image * self.look["power"][..., None, None]
        noise = uniform(self.index, 3 * size * size, scene.seed, stream=92)
        noise = noise.view(-1, 3, size, size) - 0.5
        strong = 0.06 * scene.clutter * q["noise"] * self.user
        noise = noise * strong[:, None, None, None]
        return (image + noise).clamp(0, 1)

    def _codes(self, marks, sheet, there, shown, hidden) -> Tensor:
        """FLD's visibility (B, 8). A landmark is seen if its own sheet shows within a
        sample of it, and nothing before the lens covers it."""
        fine, size = self.scene.fine, self.scene.size
        inside = (marks.abs() < 1).all(-1)
        at = ((marks.nan_to_num(9) + 1) * (fine / 2)).floor().long()
        step = torch.arange(-1, 2, device=at.device)
        x = (at[..., 0, None, None] + step).clamp(0, fine - 1)
        y = (at[..., 1, None, None] + step[:, None]).clamp(0, fine - 1)
        around = shown.flatten(1).gather(1, (y * fine + x).flatten(1))
        own = (around.view(self.n, len(SLOTS), 9) == sheet[..., None]).any(2)
        at = ((marks.nan_to_num(9) + 1) * (size / 2)).floor().long().clamp(0, size - 1)
        over = hidden.flatten(1).gather(1, at[..., 1] * size + at[..., 0])
        code = torch.where(own & (over < 0.5), VISIBLE, OCCLUDED)
        code = torch.where(inside, code, CUT_OFF)
        return torch.where(there, code, ABSENT)

    def _variation(self, table: Batch, mine: Tensor) -> Tensor:
        """FLD's variation, 0 to 4: the pose, or how far the frame cuts the garment."""
        inside = (table["points"][:, :2].abs() < 1).all(1).float().mean((1, 2))
        image, inside = table["image"][mine], inside[mine]
        zero = inside.new_zeros(self.n)
        total = zero.index_add(0, image, torch.ones_like(inside))
        out = 1 - zero.index_add(0, image, inside) / total
        pose = (self.energy[:, None] > zero.new_tensor(ENERGY)).sum(1)
        zoom = 2 + (out[:, None] > zero.new_tensor(ZOOM)).sum(1)
        return torch.where(zoom > 2, zoom, pose)


def bounds(points: Tensor, image: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """The box (B, 2), (B, 2) around sheets ``points`` (N, 3, h, w) of images (N,)."""
    xy = points[:, :2].flatten(2)
    image = image[:, None].expand(-1, 2)
    far = xy.new_full((batch, 2), math.inf)
    low = far.scatter_reduce(0, image, xy.amin(2), "amin")
    return low, (-far).scatter_reduce(0, image, xy.amax(2), "amax")
