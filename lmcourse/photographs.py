"""What notebook 61 shares: networks that have only seen drawn faces, and how they are
asked about photographs.

Points are ``(..., 2)`` in pixels of a photograph, 0 the centre of the first, unless
they are said to be in [-1, 1] of a box. Boxes are ``(4,)``: left, top, right, bottom.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import matplotlib.cbook
import skimage.data
import torch
from PIL import Image
from torch import Tensor

from lmcourse.boards import Board
from lmcourse.experiments import dve, lmdis
from lmcourse.experiments.cells import in_chunks
from lmcourse.experiments.seqmt_images import wild
from lmcourse.face_gallery import draw_parts, face_network
from lmcourse.five_ways import TOLD
from lmcourse.gallery import drawing_network, matching_network, to_tensor
from lmlib.datasets.images import from_box, in_box
from lmlib.datasets.photos import cut, find_faces, read_photo
from lmlib.evaluation import LandmarkRegression, nme
from lmlib.methods.base import Method
from lmlib.methods.dve import crop
from lmlib.samples import to_gray
from lmscenes import Faces
from lmscenes.faces import five_points

Example = tuple[Tensor, Tensor]  # an image ``(1, C, H, W)``, five points in [-1, 1]
POSE = {"yaw": 20, "pitch": 10, "roll": 10}  # of LMDIS' and DVE's drawn faces


class Net(NamedTuple):
    """A network, and how it is asked for five points of a face."""

    network: Method
    gray: bool
    mean: Tensor  # (5, 2), of the faces that it knows, in [-1, 1]
    five: Callable[[Tensor, Example], Tensor]  # of images (B, C, H, W): (B, 5, 2)
    scene: Callable[[int], Faces]  # faces like those of its training, by their size
    share: float  # of the scene's width that it sees

    @property
    def side(self) -> int:
        """Pixels of its image, along a side."""
        return self.network.config.size


@torch.no_grad()
def networks(count: int) -> dict[str, Net]:
    """The three networks; ``count`` drawn faces say where each expects a face, and what
    LMDIS' landmarks mean."""
    told, drawing, matching = face_network(), drawing_network(), matching_network()
    known = lmdis.face_images(
        drawing.config.size, lmdis.PROBLEMS["lmdis-faces"].labelled[:count]
    ).all
    seen = in_chunks(drawing.landmarks, known["image"])
    fitted = LandmarkRegression(bias=False)
    fitted.fit(seen, known["landmarks"], known["visible"])
    _, spots = drawn_examples(count // 3)
    unseen = partial(wild, seed=1)  # faces like RCN+'s, of its test set
    named = unseen(told.config.size).batch(range(count // 3))["landmarks"]
    size, frame = matching.config.size, matching.config.frame
    of_lmdis = known["landmarks"].mean(0), _by_regression(drawing, fitted)
    of_dve = spots.mean(0), _by_match(matching)
    posed = partial(Faces, **POSE)
    return {
        TOLD: Net(
            told, True, five_points(named).mean(0), _by_names(told), unseen, 1.0,
        ),
        "LMDIS": Net(
            drawing, False, *of_lmdis, posed,
            drawing.config.size / (drawing.config.size * 5 // 4),
        ),
        "DVE": Net(matching, False, *of_dve, posed, size / frame),
    }  # fmt: skip


def _by_names(network: Method):
    return lambda images, _: five_points(network.landmarks(images))


def _by_regression(network: Method, fitted: LandmarkRegression):
    return lambda images, _: fitted.predict(network.landmarks(images))


def _by_match(network: Method):
    def five(images: Tensor, example: Example) -> Tensor:
        image, points = (x.expand(len(images), *x.shape[1:]) for x in example)
        return network.match(image, points, images)

    return five


def drawn_examples(count: int) -> Example:
    """Drawn faces as DVE sees them, ``(B, 3, n, n)``, and five points of each."""
    config = matching_network().config
    return crop(*dve.drawn_faces(config.frame, dve.MATCHED[:count]), config)


def see(photo: Image.Image, box: Tensor, net: Net) -> Tensor:
    """What a network gets of a photograph: ``(1, C, side, side)``."""
    pixels = cut(photo, tuple(box.tolist()), (net.side, net.side))
    image = to_tensor(pixels)[None]
    return to_gray(image) if net.gray else image


def error(points: Tensor, truth: Tensor) -> float:
    """Mean distance of five points from the true ones, in percent of the eyes'."""
    return 100 * nme(points[None], truth[None], normaliser="eye_centres")


class Finder:
    """``find(network, name, photo, box)``: five points ``(5, 2)`` of a face.

    DVE needs an example to match from: for a drawn face another drawn face, for the
    astronaut the admiral with her five points by hand, for all else the astronaut.

    Args:
        nets: of ``networks``.
        photos: by name.
        by_hand: their five points.
        boxes: of each pair of a network and a photograph.
        count: of drawn examples.
    """

    def __init__(
        self,
        nets: Mapping[str, Net],
        photos: Mapping[str, Image.Image],
        by_hand: Mapping[str, Tensor],
        boxes: Mapping[tuple[str, str], Tensor],
        count: int,
    ):
        self.nets, self.drawn = nets, drawn_examples(count)
        self.examples = {}
        for name in ("astronaut", "admiral"):
            box = boxes["DVE", name]
            points = in_box(by_hand[name][None], box[None])
            self.examples[name] = see(photos[name], box, nets["DVE"]), points

    def example(self, name: str) -> Example:
        """What DVE matches from where it is asked about ``name``."""
        if name.startswith("drawn "):
            n = int(name.removeprefix("drawn "))
            return tuple(x[n : n + 1] for x in self.drawn)
        return self.examples["admiral" if name == "astronaut" else "astronaut"]

    @torch.no_grad()
    def __call__(
        self, network: str, name: str, photo: Image.Image, box: Tensor
    ) -> Tensor:
        net = self.nets[network]
        five = net.five(see(photo, box, net), self.example(name))
        return from_box(five, box[None])[0]


def drawn_faces(net: Net, count: int, first: int = 100_500, side: int = 120) -> list:
    """Faces like those of a network's training, that it has not seen, ``side`` pixels
    large so that boxes can move on them: name, photograph, box, five points of each."""
    batch = net.scene(side).batch(range(first, first + count))
    canvas = torch.tensor([0.0, 0.0, side, side])
    truths = from_box(five_points(batch["landmarks"]), canvas.expand(count, 4))
    edge = side / 2 * (1 - net.share)
    box = torch.tensor([edge, edge, side - edge, side - edge])
    pixels = (batch["image"].expand(-1, 3, -1, -1) * 255).byte().permute(0, 2, 3, 1)
    photos = [Image.fromarray(image.numpy()) for image in pixels]
    pairs = zip(photos, truths, strict=True)
    return [(f"drawn {n}", photo, box, truth) for n, (photo, truth) in enumerate(pairs)]


@torch.no_grad()
def open_photographs() -> None:
    """61: photographs with landmarks of a network that has only seen drawn faces."""
    photos = (
        Image.fromarray(skimage.data.astronaut()),
        read_photo(matplotlib.cbook.get_sample_data("grace_hopper.jpg", False)),
    )
    network, board = face_network(), Board(2, side=380)
    for column, photo in enumerate(photos):
        left, top, right, bottom = find_faces(photo)[0]
        x, y, half = (left + right) / 2, (top + bottom) / 2, (right - left) / 2
        y = y + 0.16 * half  # faces lie a little lower in the network's pictures
        seen, shown = ((x - r, y - r, x + r, y + r) for r in (half, 1.3 * half))
        side = network.config.size
        small = to_gray(to_tensor(cut(photo, seen, (side, side)))[None])
        board.put(to_tensor(cut(photo, shown, (380, 380))), column)
        points = network.landmarks(small)[0] / 1.3
        draw_parts(board.ax, board.on(points, column))
    board.show(
        "Photographs of Eileen Collins (NASA) and Grace Hopper (US Navy), both in the "
        "public domain, with the 68 landmarks of a network that has only ever seen "
        "drawn faces: jaw, brows, eyes, nose and lips.",
        first=True,
    )
