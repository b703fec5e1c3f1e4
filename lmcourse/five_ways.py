"""What notebook 60 shares: one face asked in three ways, one shirt in two.

All faces have ``SIDE`` pixels a side, and points are in [-1, 1] of them. Each network
sees the part, the size and the colours that it was trained on.
"""

import math
from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

import lmscenes
from lmcourse import fitting_room
from lmcourse.experiments.cells import load_cell
from lmcourse.experiments.dve_images import face_scene
from lmcourse.fashion import TEST, detector, draw_landmarks
from lmcourse.fashion import pictures as garments
from lmcourse.gallery import drawing_network, matching_network
from lmcourse.plots import draw_image, draw_points, figure, show
from lmlib.evaluation import LandmarkRegression, nme
from lmlib.geometry import Affine
from lmlib.heatmaps import hard_argmax
from lmlib.methods.dve import Dve, crop, virtual_points
from lmlib.methods.lmdis import Lmdis
from lmlib.palette import colour
from lmlib.samples import to_gray
from lmscenes.faces import five_points

SIDE = 80
TOLD = "RCN+ (labels)"
WAYS = (TOLD, "LMDIS", "DVE")
REGRESSED = "DVE + regression"
HUE = {TOLD: 5, "LMDIS": 2, "DVE": 3, REGRESSED: 3}  # of ``plots.COLOURS``
MARK = {TOLD: "o", "LMDIS": "s", "DVE": "D", REGRESSED: "d"}
PERSON, GARMENT, TRYON = 700_012, 100_004, 100_007  # of the opening


def faces(numbers, side: int = SIDE) -> tuple[Tensor, Tensor]:
    """Drawn faces ``(B, 3, side, side)`` and their eyes, nose and corners of the mouth.
    The same numbers are the same faces in any size."""
    batch = face_scene(side).batch(numbers)
    return batch["image"], five_points(batch["landmarks"])


def resized(images: Tensor, side: int) -> Tensor:
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True)


# -- three networks, each with its own view of a face ----------------------------------


@cache
def told_network():
    """RCN+: trained with 68 landmarks on each of its images, and with nothing else."""
    return load_cell("seqmt-wild", "RCN+(L,long)@100").requires_grad_(False).eval()


def shrunk(images: Tensor) -> Tensor:
    """What RCN+ sees of them: few gray pixels a side."""
    return resized(to_gray(images), told_network().config.size)


def named(images: Tensor) -> Tensor:
    """RCN+: ``(B, 68, 2)`` that annotators named."""
    return told_network().landmarks(shrunk(images))


def grainy_after_shrinking(images: Tensor, strength: float) -> Tensor:
    """``named`` with the noise of ``disturbed`` on the pixels that the network sees."""
    grainy, _ = disturbed(shrunk(images), torch.zeros(0), "noise", strength)
    return told_network().landmarks(grainy)


def discovered(network: Lmdis, images: Tensor) -> Tensor:
    """Landmarks ``(B, K, 2)`` of LMDIS' networks for faces, which see the middle four
    fifths of a picture, in their own number of pixels."""
    side, edge = network.config.size, network.config.size // 8
    middle = resized(images, side + 2 * edge)[..., edge:-edge, edge:-edge]
    return network.landmarks(middle.contiguous()) * (side / (side + 2 * edge))


def unnamed(images: Tensor) -> Tensor:
    """LMDIS: ``(B, K, 2)`` that nobody named."""
    return discovered(drawing_network(), images)


def smaller_network(setting: str) -> Callable[[Tensor], Tensor]:
    """``unnamed`` by a network of notebook 22, on 40 pixels."""
    return partial(discovered, load_cell("lmdis-faces", setting).requires_grad_(False))


def vectors(images: Tensor) -> Tensor:
    """DVE: a vector of length 1 for each cell of the middle, ``(B, C, h, w)``."""
    network = matching_network()
    middle = crop(resized(images, network.config.frame), None, network.config)
    return F.normalize(network.descriptors(middle), dim=1)


def zoom() -> float:
    """Part of the picture, along a side, that ``vectors`` covers."""
    config = matching_network().config
    return config.size / config.frame


def vectors_at(maps: Tensor, points: Tensor) -> Tensor:
    """The vectors of ``vectors`` at points ``(B, K, 2)``: ``(B, K, C)``."""
    places = (points / zoom())[:, None]
    found = F.grid_sample(maps, places, align_corners=False)[:, :, 0].mT
    return F.normalize(found, dim=-1)


def regressed(points: Tensor, five: Tensor) -> LandmarkRegression:
    """Eyes, nose and mouth from discovered landmarks: LMDIS' fit, which has no bias,
    with a small ridge for few faces."""
    return LandmarkRegression(**Lmdis.regression, ridge=0.01).fit(points, five)


def looked_up(one: Tensor, maps: Tensor) -> Tensor:
    """In each picture the cell whose vector is nearest to each of ``(K, C)``:
    ``(B, K, 2)``."""
    return hard_argmax(torch.einsum("kc,bchw->bkhw", one, maps)) * zoom()


def kinds(maps: Tensor) -> Tensor:
    """Fifty points in each picture, the places of fifty kinds of vectors that no label
    chose: ``(B, 50, 2)``. What DVE's paper regresses from."""
    return virtual_points(maps, matching_network().centres) * zoom()


def regressed_kinds(points: Tensor, five: Tensor) -> LandmarkRegression:
    """Eyes, nose and mouth from such points, as DVE fits them."""
    return LandmarkRegression(**Dve.regression).fit(points, five)


class Answers:
    """Eyes, nose and mouth by each way, once some faces have been labelled.

    Args:
        images: labelled faces; RCN+ asks for none.
        five: their points ``(n, 5, 2)``.
    """

    def __init__(self, images: Tensor, five: Tensor):
        self.regression = regressed(unnamed(images), five)
        self.vectors = vectors_at(vectors(images), five).mean(0)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        return {
            TOLD: five_points(named(images)),
            "LMDIS": self.regression.predict(unnamed(images)),
            "DVE": looked_up(self.vectors, vectors(images)),
        }


def off(found: Tensor, five: Tensor) -> Tensor:
    """Mean distance from five true points, in percent of that of the eyes: ``(B,)``."""
    return 100 * nme(found, five, per_image=True)


KINDS = ("turned", "smaller", "noise", "covered")


def disturbed(
    images: Tensor, five: Tensor, kind: str, strength: float
) -> tuple[Tensor, Tensor]:
    """Faces with something done to them, and where their points are then.

    ``strength`` 0 to 1: turned by up to 60 degrees, down to half the size, noise of up
    to 0.3, or a gray square of up to half a side over the middle of the face.
    """
    count = len(images)
    if kind in ("turned", "smaller"):
        angle = math.radians(60) * strength * (kind == "turned")
        scale = 1 - 0.5 * strength * (kind == "smaller")
        parts = torch.full((count,), angle), torch.full((count,), scale)
        warp = Affine.from_parameters(*parts, torch.zeros(count, 2))
        return warp.image(images, padding="border"), warp.points(five)
    if kind == "noise":
        generator = torch.Generator().manual_seed(0)
        grain = torch.randn(images.shape, generator=generator)
        return (images + 0.3 * strength * grain).clamp(0, 1), five
    if kind != "covered":
        raise ValueError(f"unknown kind {kind!r}; there are {', '.join(KINDS)}")
    images, side = images.clone(), images.shape[-1]
    half = round(0.25 * strength * side)
    if half:
        row, column = round(0.5 * side), round(0.55 * side)
        images[..., row - half : row + half, column - half : column + half] = 0.5
    return images, five


# -- one shirt, found and foretold -----------------------------------------------------

SHIRT = {  # DLAN's slot: SAL-VTON's landmark of the same place
    "collar left": "neck left",
    "collar right": "neck right",
    "sleeve left": "left cuff outer",
    "sleeve right": "right cuff outer",
    "hem left": "hem left",
    "hem right": "hem right",
}
SLOTS = [lmscenes.Garments.names.index(name) for name in SHIRT]
LINKS = [lmscenes.Tryon.names.index(name) for name in SHIRT.values()]
NARROW = torch.tensor([0.75, 1.0])  # pictures of people are 3 to 4


def of_shirt(points: Tensor) -> Tensor:
    """The six places of ``SHIRT`` among a garment's ``(B, 32, 2)``: ``(B, 6, 2)``."""
    return points[:, LINKS]


@torch.no_grad()
def found_on(pictures: Tensor) -> Tensor:
    """DLAN: the places on pictures ``(B, 3, 128, 96)`` of people who *wear* the shirt,
    ``(B, 6, 2)``."""
    square = F.pad(pictures, (16, 16, 0, 0), mode="replicate")
    return detector().landmarks(square)[:, SLOTS] / NARROW


@torch.no_grad()
def foretold(batch) -> Tensor:
    """SAL-VTON: where the places of a shirt that lies flat *will be* on somebody who
    wears something else."""
    links = fitting_room.network().find(batch["image"], batch["garment"])
    return of_shirt(links.person)


def shirt_off(found: Tensor, batch) -> tuple[Tensor, Tensor]:
    """Distances ``(B, 6)`` in percent of the height, and of each place on the person:
    0 absent, 1 hidden, 2 in sight."""
    away = (found - of_shirt(batch["landmarks"])) * NARROW
    return 50 * away.norm(dim=-1), batch["attribute"][:, LINKS]


@torch.no_grad()
def cuffs_at_home(count: int) -> Tensor:
    """Distances, in percent of the side, of DLAN's cuffs that are in sight, on
    ``count`` pictures like those of its training."""
    batch = garments(range(TEST, TEST + count))
    found = detector().landmarks(batch["image"])
    away = 50 * (found - batch["landmarks"]).norm(dim=-1)[:, 2:4]
    return away[batch["visible"][:, 2:4]]


# -- the opening -----------------------------------------------------------------------


@torch.no_grad()
def open_five_ways() -> None:
    """60: one picture a method."""
    fig, axes = figure(9, 2.35, cols=5)
    image, _ = faces([PERSON])
    large = faces([PERSON], 240)[0][0]
    mate, mates = faces([PERSON + 7])
    titles = ("RCN+ (labels)\n68 named points", "LMDIS\n10 points, unnamed",
              "DVE\nany point, matched", "DLAN\nclothes, without a box",
              "SAL-VTON\nwhere it will be")  # fmt: skip
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=11)
    for ax in axes[:3]:
        draw_image(ax, large)
    axes[0].scatter(*named(image)[0].T, s=9, color="white", edgecolors="black", lw=0.6)
    draw_points(axes[1], unnamed(image)[0], size=60)
    one = vectors_at(vectors(mate), mates)[0]
    draw_points(axes[2], looked_up(one, vectors(image))[0], size=60)
    garment = garments([GARMENT])
    slots = [s for s in range(8) if garment["visible"][0, s]]
    draw_image(axes[3], garment["image"][0])
    draw_landmarks(axes[3], detector().landmarks(garment["image"])[0], slots, 70)
    batch = fitting_room.triplets([TRYON])
    draw_image(axes[4], F.pad(batch["image"], (16, 16, 0, 0), value=1.0)[0])
    for slot, place in zip(SLOTS, foretold(batch)[0] * NARROW, strict=True):
        look = {"facecolors": "none", "edgecolors": [colour(slot)], "linewidths": 2.2}
        draw_points(axes[4], place[None], size=90, **look)
    show(
        fig,
        "Five ways. A drawn face with 68 points that a network was told; the same with "
        "10 that another one found by itself; with eyes, nose and mouth that a third "
        "one matched from one other face; clothes with collar, cuffs and hem; and "
        "rings where a shirt that this person does not wear yet will have its own.",
        first=True,
    )
