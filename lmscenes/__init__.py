"""Drawn data sets with exact ground truth, rendered on the model's device.

A scene is addressed by integers: an image depends on nothing but (seed, index).
``engine`` draws flat shapes, ``surface`` bodies in space; one file a data set.
"""

from lmscenes.animals import Animals
from lmscenes.blocks import Blocks
from lmscenes.cars import Cars
from lmscenes.faces import Faces
from lmscenes.garments import Garments
from lmscenes.hands import Hands
from lmscenes.roboarm import Roboarm
from lmscenes.shapes import Shapes
from lmscenes.tryon import Tryon
from lmscenes.walkers import Walkers

__all__ = [
    "Animals",
    "Blocks",
    "Cars",
    "Faces",
    "Garments",
    "Hands",
    "Roboarm",
    "Shapes",
    "Tryon",
    "Walkers",
]
