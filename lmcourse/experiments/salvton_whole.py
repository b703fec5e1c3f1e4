"""SAL-VTON's three stages in one network: what is shown, and who teaches it.

``salvton-tryon128`` is a network of 128x96 pixels, trained for long, to be looked at.
Its first two stages begin on images of half the size, where a step costs a quarter.

``salvton-parser-free`` (64x48) asks what it costs that nobody is photographed in two
garments. ``teacher`` sees people with what they wear cut out. The others see them
whole, and learn from people in another garment: ``rough``, as the teacher of the same
seed draws them; ``true``, as they are, which only a drawn scene knows; ``same``, who
wear the garment already.

All are tested on true people in other garments, with landmarks that they find
themselves: ``psnr`` and ``ssim`` of all of the image, ``psnr_garment`` of the garment's
pixels, and ``psnr_garment_told`` of these with the annotated landmarks.
``psnr_warped`` and ``psnr_warped_global`` are of the warped garment, fused and by the
global flow; ``pck`` is the share of landmarks within 3 % of the height.
"""

from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch.nn.functional import avg_pool2d

import lmscenes
from lmcourse.budget import budget, current_budget
from lmcourse.experiments import cells
from lmcourse.experiments.salvton import CHUNK, inside
from lmcourse.experiments.salvton_images import (
    CLASS_TRIPLETS,
    test_triplets,
    training_triplets,
)
from lmlib import tryon_metrics
from lmlib.files import whole
from lmlib.machine import environment
from lmlib.methods.salvton import Salvton, SalvtonConfig, links_of
from lmlib.methods.salvton.parser_free import (
    Teacher,
    cut_out,
    others,
    rough_people,
)
from lmlib.places import repository_root
from lmlib.samples import Batch, Stored

ROUGH = 5  # people that are kept
FIGURES = ("psnr", "ssim", "psnr_garment", "psnr_garment_told")
FIGURES += ("psnr_warped", "psnr_warped_global", "pck")


@dataclass(frozen=True, kw_only=True)
class Whole(cells.Problem):
    """All stages of one network, one after the other, the first ones perhaps from
    coarse to fine."""

    preset: str
    # stage -> steps on images of half the size, and of the whole
    plan: dict[str, tuple[int, int]]

    def in_stages(self, method: Salvton, data: Stored, setting: str, seed: int) -> int:
        """Train what ``plan`` says; how many steps that were."""
        done, config = 0, method.config
        for stage, both in self.plan.items():
            for size, steps in zip((config.size // 2, config.size), both, strict=True):
                steps = budget(quick=min(steps, 1), class_=steps, full=10 * steps)
                part = type(method)(replace(config, size=size, stages=(stage,)))
                known, wanted = method.state_dict(), part.state_dict()
                part.load_state_dict({name: known[name] for name in wanted})
                cell = (f"{setting},{stage}@{size}", seed)
                prepare = halved if size < config.size else None
                self.fit(part, data, data.indices, steps, cell, prepare=prepare)
                method.load_state_dict(part.state_dict(), strict=False)
                done += steps
        return done

    def trained(self, kind: type[Salvton], data: Stored, setting: str, seed: int):
        """A network of this kind, and what rows say of its training."""
        config = SalvtonConfig.preset(self.preset)
        torch.manual_seed(seed)
        method = kind(config)
        steps = self.in_stages(method, data, setting, seed)
        about = {"n_train": len(data), "batch": config.batch_size}
        return method.eval().cpu(), {"steps": steps, "extra": about}

    def seen(self, batch: Batch, setting: str) -> torch.Tensor:
        """What a network is shown of people ``(B, 3, H, W)``."""
        return batch["image"]

    def measure(self, method: Salvton, setting: str) -> dict[str, float]:
        data, found = test_triplets(method.config.shape), []
        for numbers in torch.tensor([*data.indices]).split(CHUNK):
            batch = data.batch(numbers)
            given = [self.seen(batch, setting), batch["garment"], batch["garment_mask"]]
            found.append(errors(method, given, batch))
        return {
            name: torch.cat([part[name] for part in found]).nanmean().item()
            for name in FIGURES
        }

    def metrics(self, setting: str) -> tuple[str, ...]:
        return FIGURES


@dataclass(frozen=True, kw_only=True)
class Shown(Whole):
    """One network, trained for long; stored, and measured, in half precision, which
    halves a large file."""

    def train(self, setting: str, seed: int):
        data = training_triplets(SalvtonConfig.preset(self.preset).shape)
        method, about = self.trained(Salvton, data, setting, seed)
        return method.half().float(), about

    def keep(self, setting, seed, method, measured, about) -> None:
        """With numbers of 16 bits."""
        super().keep(setting, seed, deepcopy(method).half(), measured, about)


@dataclass(frozen=True, kw_only=True)
class ParserFree(Whole):
    """A teacher, and students of people in another garment."""

    def train(self, setting: str, seed: int):
        data = training_triplets(SalvtonConfig.preset(self.preset).shape)
        if setting == "teacher":
            return self.trained(Teacher, data, setting, seed)
        if setting == "rough":
            teacher, _ = self.train("teacher", seed)
            data = rough_people(teacher, data, seed)
            if seed == 0 and current_budget() != "quick":
                keep_rough(data.all["image"][:ROUGH])
        elif setting == "same":
            data = data.replaced(image=data.all["target"])
        elif setting != "true":
            raise ValueError(f"a setting is {', '.join(self.settings)}: {setting!r}")
        return self.trained(Salvton, data, setting, seed)

    def seen(self, batch: Batch, setting: str) -> torch.Tensor:
        if setting == "teacher":
            return cut_out(batch["image"], batch["worn_mask"])
        return batch["image"]


def rough_file() -> Path:
    """Where some rough people of seed 0 are kept, to be shown."""
    return repository_root() / "data" / "results" / "rough_people.safetensors"


def keep_rough(people: torch.Tensor) -> None:
    """Store pictures ``(N, 3, H, W)`` of the first people, in bytes."""
    pixels = {"image": (255 * people).round().byte().contiguous()}
    said = {name: str(value) for name, value in environment().items()}
    with whole(rough_file()) as file:
        file.write(save(pixels, said))


def some_rough() -> Batch:
    """The first people in their garments (``target``, ``target_mask``), the garments
    (``garment``) that the teacher was given for them, and its ``image``."""
    image = load_file(rough_file())["image"].float() / 255
    numbers, scene = torch.arange(len(image)), lmscenes.Tryon(tuple(image.shape[2:]))
    people = scene.batch(numbers)
    garment = scene.batch(others(CLASS_TRIPLETS)[numbers])["garment"]
    known = {name: people[name] for name in ("target", "target_mask")}
    return known | {"garment": garment, "image": image}


@torch.no_grad()
def errors(method: Salvton, given: list, batch: Batch) -> dict[str, torch.Tensor]:
    """All metrics of each image, ``(B,)``; NaN where one does not apply."""
    links, target = method.find(*given[:2]), batch["target"]
    warps = method.warps(*given, links)
    made = method.renderer(given[0], warps.garments, method.maps(links))
    size = tuple(target.shape[2:])
    right = tryon_metrics.found(links.person, batch["landmarks"], size).float()
    return {
        "psnr": tryon_metrics.psnr(made, target),
        "ssim": tryon_metrics.ssim(made, target),
        "psnr_garment": inside(batch, made),
        "psnr_garment_told": inside(batch, method.try_on(*given, links_of(batch))),
        "psnr_warped": inside(batch, warps.fused),
        "psnr_warped_global": inside(batch, warps.by_global),
        "pck": right.where(batch["visible"], torch.nan).nanmean(1),
    }


def halved(batch: Batch) -> Batch:
    """The batch with images of half the size; landmarks have no unit."""
    images = ("image", "target", "garment", "garment_mask", "target_mask")
    return batch | {name: avg_pool2d(batch[name], 2) for name in images}


PROBLEMS = cells.by_name(
    Shown(
        name="salvton-tryon128",
        about="Try-on of 128x96 pixels, all stages, trained for long: what is shown",
        preset="tryon128",
        plan={
            "landmarks": (1500, 1000),
            "warps": (2500, 1500),
            "generator": (1500, 2000),
        },
        settings={"all,gallery": 1},
        kept=("all,gallery",),
    ),
    ParserFree(
        name="salvton-parser-free",
        about="Section 3: learning from people whom a teacher dressed",
        preset="tryon_class",
        plan={"landmarks": (0, 600), "warps": (0, 1000), "generator": (0, 600)},
        settings={"teacher": 3, "rough": 3, "true": 3, "same": 1},
    ),
)
KEPT = {problem.name: problem.kept for problem in PROBLEMS.values()}
TABLES = tuple(problem.table() for problem in PROBLEMS.values())
