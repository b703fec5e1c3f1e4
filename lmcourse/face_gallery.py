"""Faces with 68 landmarks: their parts in colour (13, 61), and what is found on
drawn faces of the course's test set (13)."""

from functools import cache

import torch
from matplotlib.axes import Axes
from torch import Tensor

from lmcourse.experiments import seqmt_galleries
from lmcourse.experiments.cells import few, in_chunks, load_cell
from lmcourse.gallery import by_rule
from lmlib.evaluation import normaliser_distance, point_errors
from lmlib.methods.base import Method
from lmlib.palette import COLOURS

WILD = seqmt_galleries.PROBLEMS["seqmt-wild80"]
PARTS = {  # of a face: its lines, as numbers of landmarks
    "jaw": [range(17)],
    "brows": [range(17, 22), range(22, 27)],
    "nose": [range(27, 31), range(31, 36)],
    "eyes": [[*range(36, 42), 36], [*range(42, 48), 42]],
    "lips": [[*range(48, 60), 48], [*range(60, 68), 60]],
}
TINTS = dict(
    zip(PARTS, (COLOURS[1], COLOURS[0], COLOURS[2], "white", COLOURS[6]), strict=True)
)


def face_network() -> Method:
    """RCN+, told 68 landmarks on 4,000 drawn faces of 80 pixels: ``predict``'s."""
    return load_cell(WILD.name, *WILD.kept).requires_grad_(False)


def draw_parts(ax: Axes, points: Tensor, size: float = 4.5) -> None:
    """68 landmarks ``(68, 2)``, in the units of ``ax``: a part of the face in one
    colour, its points joined. ``size`` is the width of a dot."""
    for part, lines in PARTS.items():
        for line in lines:
            path = points[list(line)].T
            look = {"solid_joinstyle": "round", "zorder": 5}
            ax.plot(*path, "-", c="black", lw=0.55 * size, alpha=0.6, **look)
            ax.plot(*path, "-", c=TINTS[part], lw=0.3 * size, **look)
            edge = {"mec": "black", "mew": 0.12 * size}
            ax.plot(*path, "o", c=TINTS[part], ms=size, **edge, zorder=6)


@cache
@torch.no_grad()
def faces_found() -> dict[str, Tensor]:
    """Test faces of the network for 80 pixels, from the best to the worst.

    ``number (N,)`` of the picture, ``points`` found and ``truth (N, 68, 2)``, how far
    ``off (N, 68)`` in percent of the eyes' distance, and ``error (N,)``, its mean.
    """
    network, (scene, numbers) = face_network(), WILD.tests[""]
    numbers = few(numbers[:120], quick=20)
    batch = scene(network.config.size).batch(numbers)
    points = in_chunks(network.landmarks, batch["image"], 20)
    truth = batch["landmarks"]
    eyes = normaliser_distance(truth, None, "eye_centres")
    off = 100 * point_errors(points, truth) / eyes[:, None]
    found = {"number": torch.tensor([*numbers]), "points": points, "truth": truth}
    found |= {"off": off, "error": off.mean(1)}
    order = found["error"].argsort()
    return {name: x[order] for name, x in found.items()}


def show_faces() -> None:
    """Six test faces, from the best to the worst."""
    found, (board, cells) = faces_found(), by_rule()
    scene = WILD.tests[""][0](256, gray=False)  # the largest there is
    for share, better, column, row in cells:
        one = round(share * (len(found["error"]) - 1))
        number = int(found["number"][one])
        board.put(scene.batch([number])["image"], column, row)
        truth = found["truth"][one]
        board.lines(found["points"][one], truth, column, row, lw=1.6, zorder=7)
        draw_parts(board.ax, board.on(found["points"][one], column, row), size=3.2)
        board.say(f"{better}: {found['error'][one]:.1f} % off", column, row)
    board.show(
        "Six drawn faces that the network had not seen, in colour, with the 68 points "
        "it found in small grey pictures of them: jaw, brows, nose, eyes and lips. Red "
        "lines lead to the truth.",
    )
