"""The images of Honari et al. 2018 and the errors of its tables.

Scenes take the side in pixels; errors ``(points, truth, visible)``.
"""

from collections.abc import Callable
from functools import cache

from lmcourse.experiments.photographs import w300_faces
from lmlib.evaluation import nme
from lmlib.samples import Stored
from lmscenes import Blocks, Faces, Hands


@cache
def stored(
    scene: Callable, indices: range, size: int, keys: tuple = (), whole: bool = False
) -> Stored:
    """Images drawn once and kept; ``whole``: hidden landmarks are annotated too."""
    data = Stored(scene(size), indices, keys)
    if whole:
        data.all["visible"].fill_(True)
    return data


@cache
def blocks_tested() -> dict:
    """Landmarks ``(3200, 5, 2)`` and labels ``(3200,)`` of table 1's test images."""
    drawn = stored(
        blocks, range(6400, 9600), 20, ("label",)
    ).all  # places are those at any size
    return {name: drawn[name] for name in ("landmarks", "label")}


@cache
def middle_of_blocks() -> float:
    """The error in pixels of 60 of who names the middle of the figure five times."""
    truth = blocks_tested()["landmarks"]
    middle = truth.mean(dim=1, keepdim=True).expand_as(truth)
    return pixels_of_60(middle, truth, truth.new_ones(truth.shape[:2], dtype=bool))


def pixels_of_60(points, truth, visible) -> float:
    """Mean distance in pixels of a 60-pixel image (table 1)."""
    return nme(points, truth, visible, normaliser="pixels", size=(60, 60))


def in_wrists(points, truth):
    """How far each landmark of a hand is off, over its wrist's width: ``(N, 25)``."""
    # Both ends of the wrist are known even where the mask hides them.
    width = (truth[:, 0] - truth[:, 24]).norm(dim=-1)
    return (points - truth).norm(dim=-1) / width[:, None]


def wrist_widths(points, truth, visible) -> float:
    """Mean distance over the wrist's width, in percent, hidden ones left out (table
    2)."""
    distance = in_wrists(points, truth)
    return 100 * ((distance * visible).sum(1) / visible.sum(1)).mean().item()


def eye_distances(points, truth, visible) -> float:
    """Mean distance over that of the eye centres, in percent (tables 3-5)."""
    return 100 * nme(points, truth, visible, normaliser="eye_centres")


def blocks(size: int):
    return Blocks(size)


def hands(size: int, *, seed: int, subjects: int):
    return Hands(size, seed=seed, gray=True, subjects=subjects)


def studio(size: int, *, seed: int, identities: int):
    """MultiPIE's stand-in: five cameras, six emotions, studio light."""
    return Faces(size, seed=seed, gray=True, cameras=True, identities=identities)


def wild(size: int, *, seed: int, turned: float = 1.0, gray: bool = True):
    """300-W's stand-in; ``turned`` stretches the range of poses."""
    pose = {"yaw": 25.0 * turned, "pitch": 12.0 * turned, "roll": 15.0 * turned}
    return Faces(size, seed=seed, gray=gray, **pose)


def photographs(size: int):
    """300-W itself, where its files are present."""
    return w300_faces(size)
