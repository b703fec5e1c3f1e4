"""README's first picture: two images a method, from the networks that ship.

``python -m tools.strip [FILE]`` draws it anew. Landmarks are found at a network's own
size and drawn over the same scene in more pixels.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lmcourse import fitting_room, plots
from lmcourse.boards import enlarged
from lmcourse.experiments.cells import load_cell
from lmcourse.experiments.dve_images import animal_scene, face_scene
from lmcourse.face_gallery import draw_parts, face_network
from lmcourse.gallery import drawing_network, mouth_points, with_mouth
from lmlib.places import repository_root
from lmlib.samples import to_gray
from lmlib.tryon_metrics import psnr
from lmscenes import Faces, Garments, Tryon
from lmscenes.faces import five_points

SIDE = 256  # pixels of an image in the strip
HERD = range(100_000, 100_040)  # test images of animals
CLOTHES = range(310_000, 310_120)  # neither trained nor measured on
PEOPLE = range(310_000, 310_040)
PLACE = "data/pictures/course.jpg"


@dataclass
class Cell:
    """An image of the strip, its points, and their sizes in square points (of a face's
    68, the width in points)."""

    image: Tensor
    points: Tensor | None = None
    size: float = 60


def drawn(scene: Callable, index: int, network) -> tuple[Tensor, Tensor]:
    """An image to look at, and the same as ``network`` sees it, ``(1, C, h, w)``."""
    one, config = range(index, index + 1), network.config
    seen = scene(config.frame).batch(one)["image"]
    if config.image_channels == 1:
        seen = to_gray(seen)
    return scene(SIDE).batch(one)["image"][0], seen


@torch.no_grad()
def named() -> list[Cell]:
    """68 landmarks of two turned faces, by Seq-MT's stronger network, RCN+."""
    network = face_network()
    cells = []
    for index in (100_011, 100_036):
        look, seen = drawn(Faces, index, network)
        cells.append(Cell(look, network.landmarks(seen)[0], 4))
    return cells


def redrawn() -> list[Cell]:
    """A face, and what the decoder draws when points of the mouth are asked lower."""
    method = drawing_network()
    images = Faces(method.config.frame).batch(range(100_017, 100_018))["image"]
    points, vectors = method.encode(images)
    moved = with_mouth(points, mouth_points(method), 0.2)
    return [
        Cell(method.decode(where, vectors)[0], where[0], 90)
        for where in (points, moved)
    ]


@torch.no_grad()
def same_place() -> list[Cell]:
    """Five points given on a person, found on the animal on which it works best."""
    method = load_cell("dve-animals", "C64+DVE5")
    frame, person, animals = method.config.frame, range(100_006, 100_007), HERD
    seen = face_scene(frame).batch(person)
    other = animal_scene(frame).batch(animals)
    given = five_points(seen["landmarks"])
    image, given = method.crop(seen["image"], given)
    targets, truth = method.crop(other["image"], other["landmarks"][:, :5])
    many = len(animals)
    found = method.match(
        image.expand(many, -1, -1, -1), given.expand(many, -1, -1), targets
    )
    best = int((found - truth).norm(dim=-1).mean(1).argmin())
    looks = face_scene(SIDE).batch(person), animal_scene(SIDE).batch([animals[best]])
    person, animal = (method.crop(look["image"])[0] for look in looks)
    return [Cell(person, given[0], 120), Cell(animal, found[best], 120)]


@torch.no_grad()
def clothes() -> list[Cell]:
    """Visible landmarks of two worn garments on which they are found well."""
    method = load_cell("dlan-garments128", "DLAN,gallery")
    seen = Garments(method.config.size).batch(CLOTHES)
    found = method.landmarks(seen["image"])
    off = (found - seen["landmarks"]).norm(dim=-1).where(seen["visible"], 0.0)
    shown = (seen["modality"] == 1) & (seen["visible"].sum(1) > 3)
    worst = off.amax(1).where(shown, 9.0)
    cells = []
    for number in worst.argsort()[:2].tolist():
        look = Garments(SIDE).batch([CLOTHES[number]])["image"][0]
        cells.append(Cell(look, found[number, seen["visible"][number]], 120))
    return cells


@torch.no_grad()
def tried_on() -> list[Cell]:
    """A person, and the same in the garment that hangs in the corner."""
    method = load_cell("salvton-tryon128", "all,gallery")
    seen = Tryon(method.config.shape).batch(PEOPLE)
    links = method.find(seen["image"], seen["garment"])
    made = fitting_room.drawn(method, seen, links)
    signs = seen["texture"] == 0  # cloth on which a wrong warp would be seen
    best = int(psnr(made, seen["target"]).where(signs, 0.0).argmax())
    height, width = method.config.shape
    looks = [enlarged(x[best, :, :width], SIDE) for x in (seen["image"], made)]
    hanging = enlarged(seen["garment"][best], (SIDE // 3, SIDE * width // height // 3))
    looks[1][:, -hanging.shape[1] :, -hanging.shape[2] :] = hanging
    top = links.person.new_tensor([0.0, 1.0])  # the upper part is shown, a square
    stretch = links.person.new_tensor([1.0, height / width])
    points = (links.person[best, links.attribute[best] == 2] + top) * stretch - top
    free = (points < 1).all(1) & ~(points > 0.25).all(1)
    return [Cell(looks[0]), Cell(looks[1], points[free], 30)]


COLUMNS = {
    "named: Seq-MT": named,
    "redrawn: LMDIS": redrawn,
    "matched: DVE": same_place,
    "clothes: DLAN": clothes,
    "tried on: SAL-VTON": tried_on,
}


def strip() -> plots.Figure:
    """The figure: a column a method, two images each."""
    columns = {title: make() for title, make in COLUMNS.items()}
    width, height = len(columns) * (SIDE + 14) / 100, (2 * SIDE + 70) / 100
    fig, axes = plots.figure(width, height, 2, len(columns))
    for number, (title, cells) in enumerate(columns.items()):
        for row, cell in enumerate(cells):
            ax = axes[row * len(columns) + number]
            plots.draw_image(ax, enlarged(cell.image, SIDE))
            if cell.points is not None and len(cell.points) == 68:
                draw_parts(ax, cell.points, cell.size)
            elif cell.points is not None:
                plots.draw_points(ax, cell.points, size=cell.size)
            for spine in ax.spines.values():
                spine.set_visible(False)
        axes[number].set_title(title, fontsize=16, pad=10)
    return fig


def main() -> None:
    """``python -m tools.strip``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path)
    path = parser.parse_args().file or repository_root() / PLACE
    plots.pixels(strip()).save(path, quality=90, subsampling=0)
    print(path)


if __name__ == "__main__":
    main()
