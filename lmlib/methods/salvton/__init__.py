"""Landmark-linked virtual try-on: SAL-VTON (Yan, Gao et al. 2023).

A flat garment is put on a person who wears another one, in three stages, a file each:

1. ``landmarks``: where the garment's 32 landmarks are, and where the person will have
   them.
2. ``warping``: the garment as the person will wear it. A global flow (``flows``) moves
   all of it, local flows (``patches``) move what is near each landmark, and attention
   fuses both.
3. ``generator``: the image, from the person and the warped garments, with landmarks in
   its normalisation.

Which stages are trained, the configuration says. Each is trained on the truth of the
one before: warps on annotated landmarks that are jittered a little, the generator on
warps without their gradient. Used, each takes what the one before found.

Nobody is photographed in two garments: ``parser_free`` makes the people in other ones.

The paper leaves open or prints otherwise, and we chose:

* the weights of all losses; ``SalvtonConfig.viton`` has those of the paper's parents.
* jitter: without it, warps with predicted landmarks, a pixel off, are worse than
  without any.
* the pixel grid is the value of the correlation's attention. In the released code it is
  a learned map of coordinates (``local="released"``).
* the perceptual losses: ``perception``, by gradients or by a network.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlib import tryon_metrics
from lmlib.layers import check_images
from lmlib.methods.base import FitOptions, Method
from lmlib.methods.salvton.config import STAGES, SalvtonConfig
from lmlib.methods.salvton.flows import Links, landmark_maps
from lmlib.methods.salvton.generator import (
    Discriminator,
    Generator,
    generator_losses,
)
from lmlib.methods.salvton.landmarks import Finder, landmark_losses
from lmlib.methods.salvton.perception import comparison
from lmlib.methods.salvton.warping import WarpingModel, Warps, warping_losses
from lmlib.processes import drawn
from lmlib.samples import Batch, Pool

NEEDED = {
    "garment": "flat garments",
    "garment_mask": "masks of garments",
    "garment_landmarks": "landmarks of garments",
    "landmarks": "landmarks of people",
    "attribute": "attributes of landmarks",
}


class Salvton(Method):
    """All three stages of one network, in one file."""

    name = "salvton"
    Config = SalvtonConfig
    learns_landmarks = True

    def __init__(self, config: SalvtonConfig):
        super().__init__(config)
        c = config
        self.finder = Finder(c) if "landmarks" in c.stages else None
        self.warper = WarpingModel(c) if {"warps", "generator"} & {*c.stages} else None
        makes = "generator" in c.stages
        self.renderer = Generator(c) if makes else None
        self.discriminator = Discriminator(c) if makes else None
        self.compare = comparison(c.perceived)
        self.weights = {
            "garment_maps": 1.0,
            "person_maps": 1.0,
            "garment_attributes": 1.0,
            "person_attributes": 1.0,
            "global": 1.0,
            "bending": c.smoothness,
            "leaving": 1.0,
            "fused": 1.0,
            "local": 1.0,
            "perceptual": c.perceptual,
            "generator_perceptual": c.generator_perceptual,
            "adversarial": c.adversarial,
            "feature_matching": c.feature_matching,
            "discriminator": 1.0,
        }

    # -- training ----------------------------------------------------------------------

    def train(self, mode: bool = True) -> "Salvton":
        """Warps that are not trained keep their statistics, too."""
        super().train(mode)
        if self.warper is not None and "warps" not in self.config.stages:
            self.warper.eval()
        return self

    def fit_options(self, steps: int) -> FitOptions:
        """Adam as in the paper; the rate falls linearly to 0 after ``decay``.

        One optimiser for all: the discriminator, and what only the local flow uses,
        have rates of their own.
        """
        c = self.config

        def falling(step: int) -> float:
            return min(1.0, (1 - step / steps) / (1 - c.decay)) if c.decay < 1 else 1.0

        return FitOptions(
            batch_size=c.batch_size,
            lr=c.lr,
            betas=(0.5, 0.999),
            schedule=falling,
            rates={
                "discriminator.": c.discriminator_rate,
                "warper.local_flow.shapes.": 1.0,
                "warper.local_flow.": c.local_rate,
            },
        )

    def clip_gradients(self, norm: float) -> None:
        """Each stage's gradient, and the discriminator's, at most ``norm`` long."""
        for part in self.children():
            nn.utils.clip_grad_norm_(part.parameters(), norm)

    def pools(self, images: Int[Tensor, " n"], labelled: Bool[Tensor, " n"]) -> Pool:
        """All images: a garment's landmarks are needed from each."""
        if not labelled.all():
            raise ValueError("salvton needs the landmarks of all images, not a share")
        return images

    @classmethod
    def suited(cls, config: SalvtonConfig, batch: Batch) -> SalvtonConfig:
        """With as many landmarks as the data has."""
        needed = dict(NEEDED)
        if {"warps", "generator"} & {*config.stages}:
            needed |= {"target": "people in the garment"}
        if "warps" in config.stages:
            needed |= {"target_mask": "masks of worn garments"}
        if missing := [what for name, what in needed.items() if name not in batch]:
            raise ValueError(f"no {', no '.join(missing)}, which try-on learns from")
        return replace(config, landmarks=batch["landmarks"].shape[1])

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The losses of all stages that are trained; see ``links_of`` and the scenes
        for what a batch holds."""
        c, links, terms = self.config, links_of(batch), {}
        person, garment = batch["image"], batch["garment"]
        if "landmarks" in c.stages:
            found = self.finder(person, garment)
            terms |= landmark_losses(found, links, c.sigma)
        if self.warper is None:
            return self.weighted(terms)
        near = self.jittered(links) if self.training else links
        train = "warps" in c.stages
        with torch.set_grad_enabled(train and torch.is_grad_enabled()):
            warps = self.warper(person, garment, batch["garment_mask"], near)
        if train:
            cloth = torch.cat([garment, batch["garment_mask"]], 1)
            target = worn_garment(batch)
            terms |= warping_losses(warps, cloth, target, links, c)
            if self.weight("perceptual"):
                terms["perceptual"] = self.compare(warps.by_global, target)
                if warps.local is not None:
                    terms["perceptual"] += self.compare(warps.fused, target)
        if self.renderer is not None:
            made = self.renderer(person, warps.garments.detach(), self.maps(near))
            real = batch["target"]
            terms |= generator_losses(made, real, self.discriminator)
            terms["generator_perceptual"] = self.compare(made, real)
        return self.weighted(terms)

    def jittered(self, links: Links) -> Links:
        """The landmarks about ``jitter`` pixels away from where they are."""

        def move(points: Tensor) -> Tensor:
            noise = drawn(torch.randn, points.shape, self.generator).to(points)
            height, width = self.config.shape
            pixel = points.new_tensor([2 / width, 2 / height])
            return points + self.config.jitter * pixel * noise

        return links._replace(garment=move(links.garment), person=move(links.person))

    # -- use ---------------------------------------------------------------------------

    def maps(self, links: Links) -> Float[Tensor, "b k h w"]:
        """The person's landmarks as the generator gets them."""
        c = self.config
        side = c.square * c.size
        return landmark_maps(links.person, links.attribute, c.shape, side)

    @torch.no_grad()
    def find(
        self, person: Float[Tensor, "b 3 h w"], garment: Float[Tensor, "b 3 h w"]
    ) -> Links:
        """Stage 1: the landmarks of garments, and where these people will have them."""
        if self.finder is None:
            raise ValueError("this network finds no landmarks: it has other stages")
        person, garment = (check_images(x, 3) for x in (person, garment))
        return self.finder(person, garment).links(self.config.decoding)

    @torch.no_grad()
    def warps(
        self,
        person: Float[Tensor, "b 3 h w"],
        garment: Float[Tensor, "b 3 h w"],
        garment_mask: Float[Tensor, "b 1 h w"],
        links: Links | None = None,
    ) -> Warps:
        """Stage 2: garments as these people will wear them; landmarks are found where
        none are given."""
        if self.warper is None:
            raise ValueError("this network warps nothing: it has other stages")
        links = self.find(person, garment) if links is None else links
        return self.warper(person, garment, garment_mask, links)

    @torch.no_grad()
    def try_on(
        self,
        person: Float[Tensor, "b 3 h w"],
        garment: Float[Tensor, "b 3 h w"],
        garment_mask: Float[Tensor, "b 1 h w"],
        links: Links | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """People in these garments, in [0, 1]; landmarks are found where none are
        given."""
        if self.renderer is None:
            raise ValueError("this network makes no images: it has other stages")
        links = self.find(person, garment) if links is None else links
        warps = self.warper(person, garment, garment_mask, links)
        return self.renderer(person, warps.garments, self.maps(links))

    def landmarks(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k 2"]:
        """Of a person alone there are none: they depend on the garment."""
        raise ValueError(
            "salvton finds a garment's landmarks on a person and needs images of both: "
            "`lmlib tryon`, or find(person, garment)"
        )

    def landmarks_in(self, batch: Batch) -> Float[Tensor, "b k 2"]:
        """Where the people of a batch will have its garments' landmarks."""
        return self.find(batch["image"], batch["garment"]).person

    @torch.no_grad()
    def judged(self, batches: Iterable[Batch]) -> dict[str, float]:
        """How good its images are, with landmarks that it finds: the paired protocol;
        nothing of a network that lacks a stage."""
        if self.finder is None or self.renderer is None:
            return {}
        given = ("image", "garment", "garment_mask")
        return tryon_metrics.judged(
            (
                self.try_on(*(batch[name] for name in given)),
                batch["target"],
                batch["target_mask"],
            )
            for batch in batches
        )


def worn_garment(batch: Batch) -> Float[Tensor, "b 4 h w"]:
    """``W_gt``: the garment's pixels of ``target`` on white, and their mask."""
    mask = batch["target_mask"]
    return torch.cat([batch["target"] * mask + 1 - mask, mask], 1)


def links_of(batch: Batch) -> Links:
    """The annotated landmarks of a batch.

    ``garment_landmarks (B, K, 2)`` with ``garment_present (B, K)`` bool, ``landmarks
    (B, K, 2)`` with ``attribute (B, K)``: 0 absent, 1 occluded, 2 visible.
    """
    return Links(
        batch["garment_landmarks"],
        batch["garment_present"],
        batch["landmarks"],
        batch["attribute"],
    )


__all__ = ["STAGES", "Links", "Salvton", "SalvtonConfig", "Warps", "links_of"]
