"""The images of Thewlis et al. 2019, drawn or, where the files are present, real.

What is trained on takes the side in pixels and a number of images; what is measured on
has fixed image numbers.
"""

from functools import cache

import torch

from lmcourse.budget import budget
from lmcourse.experiments import photographs
from lmlib.samples import Stored
from lmscenes import Animals, Faces, Roboarm
from lmscenes.faces import five_points

POSE = {"yaw": 20, "pitch": 10, "roll": 10}  # degrees, of people and animals


def face_scene(size: int, *, turned: float = 1.0):
    """CelebA's stand-in; ``turned`` stretches the range of poses."""
    return Faces(size, **{angle: turned * most for angle, most in POSE.items()})


def face_images(size: int, count: int, turned: float = 1.0):
    return Stored(face_scene(size, turned=turned), range(count))


def turned_images(size: int, count: int):
    """AFLW's stand-in: the same kind of faces, turned further."""
    return face_images(size, count, turned=2.0)


def arm(size: int):
    """The arm. Frames of a pair are neighbours: the flow alone never links two poses
    that differ much. Joints turn less far than they can: fewer poses to learn."""
    return Roboarm(size, stride=2, swing=0.6)


def arm_images(size: int, count: int):
    """Single images of the arm: another category than faces."""
    return Stored(arm(size), range(count))


def arm_pairs(size: int, count: int):
    """Two frames of the arm and where each pixel went; one pair in seven frames."""
    keys, scene = ("image2", "flow", "flow_valid", "mask"), arm(size)
    return Stored(scene, range(0, 7 * count, 7), keys, draw=scene.pair)


def animal_scene(size: int, frame: str = "face"):
    """Animals turned as far as the people are and, unless said, framed like them."""
    return Animals(size, **POSE, frame=frame)


def mixed_images(size: int, count: int, frame: str = "face"):
    """People and animals, as many of either."""

    people = face_images(size, count // 2).all["image"]
    animals = Stored(animal_scene(size, frame), range(count - len(people)))
    return Stored.of({"image": torch.cat([people, animals.all["image"]])})


MATCHED = range(100_000, 100_200)  # test images


LABELLED = range(50_000, 50_500)  # images with landmarks, for the regression


def share(part: str, labelled: range = LABELLED, test: range = MATCHED) -> range:
    """Which images are "labelled", for the regression, or to "test", in this budget."""
    few, indices = {"labelled": (24, labelled), "test": (8, test)}[part]
    return budget(quick=indices[:few], class_=indices, full=indices)


@cache
def drawn_faces(size: int, indices: range, turned: float = 1.0):
    """Images and their five landmarks, drawn once."""
    data = Stored(face_scene(size, turned=turned), indices)
    return data.all["image"], five_points(data.all["landmarks"])


def face_set(size: int, part: str, turned: float = 1.0):
    """The drawn faces of a part; see ``share``."""
    return drawn_faces(size, share(part), turned)


def celeba_images(size: int, count: int):
    """CelebA itself, where its files are present."""
    return photographs.celeba_faces(size, photographs.DVE, count)


@cache
def mtfl_faces(size: int, part: str):
    """MTFL's of a part, where its files are present."""
    own = share(part, photographs.MTFL_KNOWN, photographs.MTFL_TEST)
    batch = photographs.mtfl_faces(size, photographs.DVE).batch(own)
    return batch["image"], batch["landmarks"]
