"""Landmark-linked virtual try-on (Yan, Gao et al. 2023): table 3 and what is behind it.

A setting of ``salvton-warps`` names what warps the garment:

* ``oracle``: the true flow; what it lacks is shading and what resampling costs.
* ``spline``: a thin-plate spline on the landmarks.
* ``global``: the global flow alone.
* ``fixed@10``, ``deformable@10``: with local flows from patches of a tenth of the
  image, fixed or learned from there; ``@5``: of a fifth, and so on. ``turning@10``: the
  sides stay fixed, how a patch is turned and stretched (A of ``patches``) is learned.
  ``released``: the released code's local flow.

What can stand behind a comma is in ``CHANGES`` and, where it breaks a mechanism, in
``BROKEN``. All trained rows begin with one network for each seed, a global flow that
was trained for 1,500 steps (setting ``start``), and go on for 800.

Errors are of the fused garment ``W_f`` against the garment's pixels of the target
image, inside of the garment's true mask:

* ``psnr`` in dB, ``epe``, the end-point error of the flow in pixels, ``iou`` of masks.
* ``psnr_crossing``, ``epe_bent``, ...: of a slice of the test images; see ``slices``.
* ``psnr_near``, ``psnr_far``: in and outside of squares of a fifth of the height around
  visible landmarks. ``psnr_local_near``, ``psnr_global_near``: of ``W_l`` and ``W_g``.
* ``psnr_jitter1``, ``psnr_jitter2``, ``psnr_jitter4``: with landmarks moved by so many
  pixels (deviation in x and y).

``salvton-landmarks`` is stage 1: ``found`` is the network, ``copied`` takes the
landmarks of the garment that the person wears in the image, and ``found,shuffled`` was
trained with other people's landmarks. Over landmarks that are visible on the person:
``error`` in pixels, ``pck``, the share within 3 % of the height, and the same of plain
argmax, ``error_hard`` and ``pck_hard``; ``error_sleeve`` where sleeves change.
``accuracy`` is the share of right attributes of all landmarks.

``salvton-ladder`` is table 3: ``WARPS+DECODER``, such as ``deformable@10+lasnl``, a
generator on the warps of that row of ``salvton-warps``; with ``,blank`` the decoder's
maps show no landmark. Images are compared with the
same people in the garment: ``psnr`` and ``ssim`` of all of the image, ``psnr_garment``
of the garment's pixels, and ``proxy_fid``, ``proxy_lpips`` (``lmlib.tryon_metrics``).
"""

import re
from dataclasses import dataclass, replace

import torch

from lmcourse.budget import budget
from lmcourse.experiments import cells
from lmcourse.experiments.salvton_images import (
    SIZE,
    slices,
    test_triplets,
    training_triplets,
)
from lmlib import tryon_metrics
from lmlib.geometry import to_pixels
from lmlib.methods.salvton import Links, Salvton, SalvtonConfig, links_of, worn_garment
from lmlib.methods.salvton.flows import squares, warp
from lmlib.methods.salvton_baselines import spline_flow
from lmlib.samples import Batch

LONG = 5  # times the steps that follow the start
CHANGES = {
    "exact": "trained with landmarks that are not jittered",
    "long": f"trained for {LONG} times as long after the start",
}
BROKEN = {
    "permuted": "a landmark of the garment is linked to another one of the person"
}
UNTRAINED = ("oracle", "spline")
SLICES = ("crossing", "bent", "straight", "sleeve")
JITTERS = (1, 2, 4)
CHUNK = 50  # test images at a time


@dataclass(frozen=True)
class Cell:
    """A setting, read."""

    local: str  # of SalvtonConfig, or one of UNTRAINED
    part: int = 10  # patches start as this part of the image
    change: str | None = None

    @classmethod
    def read(cls, setting: str) -> "Cell":
        names = {"global": "none", "start": "none"}
        match = re.fullmatch(r"([a-z]+)(?:@(\d+))?(?:,(\w+))?", setting)
        known = ("fixed", "turning", "deformable", "released", *UNTRAINED, *names)
        if not match or match[1] not in known:
            raise ValueError(f"a setting is like deformable@10 or {known}: {setting!r}")
        name, part, change = match.groups()
        if change and change not in CHANGES | BROKEN:
            raise ValueError(f"{setting}: {change!r} is not one of {CHANGES | BROKEN}")
        return cls(names.get(name, name), int(part or 10), change)

    def config(self) -> SalvtonConfig:
        """The configuration of stage 2."""
        config = replace(SalvtonConfig.tryon_class(), stages=("warps",))
        if self.local in UNTRAINED:
            return replace(config, local="none")
        patch = 1 / self.part
        return replace(
            config,
            local=self.local,
            patch=patch,
            largest=max(0.2, 1.2 * patch),
            jitter=0.0 if self.change == "exact" else config.jitter,
        )


class Permuted(Salvton):
    """The control: links join landmarks of different parts."""

    def losses(self, batch):
        return super().losses(permuted(batch))


class Blank(Salvton):
    """The control of the landmark-aware layer: its maps show no landmark."""

    def maps(self, links):
        return super().maps(links._replace(attribute=0 * links.attribute))


def kind_of(cell: Cell) -> type[Salvton]:
    """What is trained."""
    return Permuted if cell.change == "permuted" else Salvton


def permuted(batch: Batch) -> Batch:
    """The batch with the garment's landmarks moved on by eleven numbers: a sleeve's
    becomes the hem's."""
    moved = {
        name: batch[name].roll(11, 1)
        for name in ("garment_landmarks", "garment_present")
    }
    return batch | moved


@dataclass(frozen=True, kw_only=True)
class Warps(cells.Problem):
    """Stage 2 on drawn triplets."""

    def train(self, setting: str, seed: int):
        cell = Cell.read(setting)
        torch.manual_seed(seed)
        begin = Salvton(Cell.read("start").config())  # the same for all settings
        method = kind_of(cell)(cell.config())
        plan = 1500, 800 * (LONG if cell.change == "long" else 1)
        start, steps = (budget(quick=2, class_=n, full=20 * n) for n in plan)
        if cell.local in UNTRAINED:
            return method.eval(), {"steps": 0, "extra": {}}
        data = training_triplets()
        self.fit(begin, data, data.indices, start, ("start", seed))
        found = method.load_state_dict(begin.state_dict(), strict=False)
        if found.unexpected_keys:
            raise ValueError(f"{setting}: the start has other weights")
        self.fit(method, data, data.indices, steps, (setting, seed))
        about = {"n_train": len(data), "start": start}
        about |= {"batch": method.config.batch_size}
        return method.eval().cpu(), {"steps": start + steps, "extra": about}

    def weights(self, setting: str, seed: int) -> dict:
        """The weights of a trained cell; trained here, if they are not yet."""
        return self.train(setting, seed)[0].state_dict()

    def measure(self, method: Salvton, setting: str) -> dict[str, float]:
        cell, data = Cell.read(setting), test_triplets()
        jitters = JITTERS if cell.local != "oracle" else ()
        parts = []
        for numbers in torch.tensor([*data.indices]).split(CHUNK):
            batch = data.batch(numbers)
            seen = permuted(batch) if cell.change == "permuted" else batch
            found = errors(batch, *warped(method, cell, seen, links_of(seen)))
            for pixels in jitters:
                near = moved(links_of(seen), pixels, int(numbers[0]))
                fused = warped(method, cell, seen, near)[0]["fused"]
                found[f"psnr_jitter{pixels}"] = inside(batch, fused)
            parts.append(found)
        return {
            name: torch.cat([part[name] for part in parts]).nanmean().item()
            for name in self.metrics(setting)
        }

    def metrics(self, setting: str) -> tuple[str, ...]:
        cell = Cell.read(setting)
        names = ["psnr", "epe", "psnr_near", "psnr_far", "ssim"]
        names += [f"{kind}_{part}" for kind in ("psnr", "epe") for part in SLICES]
        if cell.local != "oracle":  # the true flow is of the true mask alone
            names += ["iou"]
            names += [f"psnr_jitter{pixels}" for pixels in JITTERS]
        if cell.local not in ("none", *UNTRAINED):
            names += ["psnr_local_near", "psnr_global_near", "psnr_global_far"]
        return tuple(names)


def warped(method: Salvton, cell: Cell, batch: Batch, links: Links) -> tuple:
    """Garments ``(B, 4, H, W)`` by name, and the flow of ``fused``."""
    cloth = torch.cat([batch["garment"], batch["garment_mask"]], 1)
    if cell.local in UNTRAINED:
        flow = batch["flow"] if cell.local == "oracle" else spline_flow(links, SIZE)
        return {"fused": warp(cloth, flow)}, flow
    warps = method.warps(batch["image"], batch["garment"], batch["garment_mask"], links)
    found = {"fused": warps.fused}
    if warps.local is not None:
        found |= {"local": warps.by_local, "global": warps.by_global}
    return found, warps.flow


def moved(links: Links, pixels: float, seed: int) -> Links:
    """Landmarks of both images moved at random, ``pixels`` in each direction."""
    generator = torch.Generator().manual_seed(seed)
    unit = 2 * pixels / torch.tensor([SIZE[1], SIZE[0]])

    def move(points):
        return points + unit * torch.randn(points.shape, generator=generator)

    return links._replace(garment=move(links.garment), person=move(links.person))


def inside(batch: Batch, garment: torch.Tensor, also: torch.Tensor | float = 1.0):
    """PSNR of a warped garment inside of the true mask, ``(B,)``."""
    mask = batch["target_mask"] * also
    return tryon_metrics.psnr(garment[:, :3], batch["target"], mask)


def errors(batch: Batch, garments: dict, flow: torch.Tensor) -> dict[str, torch.Tensor]:
    """All metrics of each image, ``(B,)``; NaN where one does not apply."""
    fused, mask, links = garments["fused"], batch["target_mask"], links_of(batch)
    side = SIZE[0] / 5
    near = squares(links.person, links.active.float(), SIZE, side, 0.0)
    near = near.amax(1, keepdim=True)
    found = {
        "psnr": inside(batch, fused),
        "epe": tryon_metrics.end_point_error(flow, batch["flow"], mask),
        "iou": tryon_metrics.iou(fused[:, 3:], mask),
        "psnr_near": inside(batch, fused, near),
        "psnr_far": inside(batch, fused, 1 - near),
        "ssim": tryon_metrics.ssim(fused[:, :3], worn_garment(batch)[:, :3], mask),
    }
    for part, chosen in slices(batch).items():
        for kind in ("psnr", "epe"):
            found[f"{kind}_{part}"] = found[kind].where(chosen, torch.nan)
    if "local" in garments:
        found["psnr_local_near"] = inside(batch, garments["local"], near)
        found["psnr_global_near"] = inside(batch, garments["global"], near)
        found["psnr_global_far"] = inside(batch, garments["global"], 1 - near)
    return found


# --- landmarks ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Landmarks(cells.Problem):
    """Stage 1 on drawn triplets."""

    def train(self, setting: str, seed: int):
        config = replace(SalvtonConfig.tryon_class(), stages=("landmarks",))
        torch.manual_seed(seed)
        method = Salvton(config)
        if setting == "copied":
            return method.eval(), {"steps": 0, "extra": {}}
        data = training_triplets()
        steps = budget(quick=2, class_=1500, full=30_000)
        names = ("landmarks", "attribute") if setting.endswith("shuffled") else ()
        labels = {name: data.all[name] for name in names}
        prepare = cells.shuffled_labels(labels, 0, seed) if labels else None
        cell = (setting, seed)
        self.fit(method, data, data.indices, steps, cell, prepare=prepare)
        about = {"n_train": len(data), "batch": config.batch_size}
        return method.eval().cpu(), {"steps": steps, "extra": about}

    @torch.no_grad()
    def measure(self, method: Salvton, setting: str) -> dict[str, float]:
        data = test_triplets()
        batch = data.batch(data.indices)
        if setting == "copied":
            points, attribute = batch["worn_landmarks"], batch["worn_attribute"]
            ways = {"": points}
        else:
            parts = [data.batch(n) for n in torch.tensor([*data.indices]).split(CHUNK)]
            logits = [method.finder(part["image"], part["garment"]) for part in parts]
            soft, hard = (
                [each.links(how) for each in logits] for how in ("soft", "hard")
            )
            attribute = torch.cat([links.attribute for links in soft])
            ways = {
                name: torch.cat([links.person for links in found])
                for name, found in (("", soft), ("_hard", hard))
            }
        seen, truth = batch["visible"], batch["landmarks"]
        right = (attribute == batch["attribute"]).float().mean().item()
        found = {"accuracy": right}
        sleeve = seen & slices(batch)["sleeve"].unsqueeze(1)
        for name, points in ways.items():
            far = (to_pixels(points, SIZE) - to_pixels(truth, SIZE)).norm(dim=-1)
            found[f"error{name}"] = far[seen].mean().item()
            found[f"pck{name}"] = tryon_metrics.pck(points, truth, seen, SIZE)
            found.setdefault("error_sleeve", far[sleeve].mean().item())
        return found

    def metrics(self, setting: str) -> tuple[str, ...]:
        hard = () if setting == "copied" else ("error_hard", "pck_hard")
        return ("error", "pck", "error_sleeve", "accuracy", *hard)


# --- images ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Ladder(cells.Problem):
    """Table 3: a generator on the warps of ``salvton-warps``."""

    def config(self, setting: str) -> SalvtonConfig:
        """Stage 3 with the stage 2 of a row of the other table."""
        match = re.fullmatch(r"(.+)\+([a-z]+)(,blank)?", setting)
        if not match:
            raise ValueError(f"a setting is like deformable@10+lasnl, got {setting!r}")
        config = Cell.read(match[1]).config()
        return replace(config, stages=("generator",), decoder=match[2], lr=2e-4)

    def train(self, setting: str, seed: int):
        before = setting.partition("+")[0]
        torch.manual_seed(seed)
        kind = Blank if setting.endswith("blank") else kind_of(Cell.read(before))
        method = kind(self.config(setting))
        weights = PROBLEMS["salvton-warps"].weights(before, seed)
        method.load_state_dict(weights, strict=False)
        data = training_triplets()
        steps = budget(quick=2, class_=1500, full=50_000)
        self.fit(method, data, data.indices, steps, (setting, seed))
        about = {"n_train": len(data), "batch": method.config.batch_size}
        return method.eval().cpu(), {"steps": steps, "extra": about}

    def measure(self, method: Salvton, setting: str) -> dict[str, float]:
        data, made = test_triplets(), []
        for numbers in torch.tensor([*data.indices]).split(CHUNK):
            batch = data.batch(numbers)
            if "permuted" in setting:
                batch = permuted(batch)
            names = ("image", "garment", "garment_mask")
            given = (batch[name] for name in names)
            made.append(method.try_on(*given, links_of(batch)))
        batch, made = data.batch(data.indices), torch.cat(made)
        target = batch["target"]
        return {
            "psnr": tryon_metrics.psnr(made, target).mean().item(),
            "ssim": tryon_metrics.ssim(made, target).mean().item(),
            "psnr_garment": inside(batch, made).nanmean().item(),
            "proxy_lpips": tryon_metrics.proxy_lpips(made, target).mean().item(),
            "proxy_fid": tryon_metrics.proxy_fid(made, target),
        }

    def metrics(self, setting: str) -> tuple[str, ...]:
        return ("psnr", "ssim", "psnr_garment", "proxy_lpips", "proxy_fid")


# --- the tables -----------------------------------------------------------------------

LEARNED = ("global", "fixed@10", "turning@10", "deformable@10")
LEARNED += ("deformable@5", "fixed@5")
SWEPT = ("fixed@20", "fixed@3")  # smaller and larger than those
PROBLEMS = cells.by_name(
    Warps(
        name="salvton-warps",
        about="Table 3 and figures 6 and 11: warps of drawn garments",
        settings={
            **dict.fromkeys(UNTRAINED, 3),
            **dict.fromkeys(LEARNED, 3),
            **dict.fromkeys(SWEPT, 1),
            "deformable@10,permuted": 1,
            "deformable@10,exact": 1,
            "deformable@10,long": 1,
            "global,long": 1,
            "released": 1,
        },
        kept=("global", "fixed@10", "deformable@10"),
    ),
    Landmarks(
        name="salvton-landmarks",
        about="Section 3.1: landmarks of a garment, and of the person who will wear it",
        settings={"copied": 3, "found": 3, "found,shuffled": 1},
        kept=("found",),
    ),
    Ladder(
        name="salvton-ladder",
        about="Table 3: local flow, deformable patches and LASNL, as images",
        settings={
            **dict.fromkeys(
                (
                    "deformable@10+lasnl",
                    "turning@10+lasnl",
                    "deformable@10+residual",
                    "global+residual",
                ),
                3,
            ),
            "deformable@10,permuted+residual": 1,
            "deformable@10+lasnl,blank": 1,
            "deformable@10+released": 1,
        },
        kept=("deformable@10+lasnl", "global+residual"),
    ),
)
KEPT = {problem.name: problem.kept for problem in PROBLEMS.values()}
TABLES = tuple(problem.table() for problem in PROBLEMS.values())
