"""Procedural data sets with exact ground truth, rendered on the model's device."""

from lmlib.scenes.animals import Animals
from lmlib.scenes.blocks import Blocks
from lmlib.scenes.cars import Cars
from lmlib.scenes.faces import Faces
from lmlib.scenes.hands import Hands
from lmlib.scenes.roboarm import Roboarm
from lmlib.scenes.shapes import Shapes
from lmlib.scenes.walkers import Walkers

__all__ = [
    "Animals",
    "Blocks",
    "Cars",
    "Faces",
    "Hands",
    "Roboarm",
    "Shapes",
    "Walkers",
]
