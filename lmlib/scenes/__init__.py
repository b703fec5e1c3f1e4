"""Procedural data sets with exact ground truth, rendered on the model's device."""

from lmlib.scenes.animals import Animals
from lmlib.scenes.blocks import Blocks
from lmlib.scenes.faces import Faces
from lmlib.scenes.hands import Hands
from lmlib.scenes.roboarm import Roboarm
from lmlib.scenes.shapes import Shapes

__all__ = ["Animals", "Blocks", "Faces", "Hands", "Roboarm", "Shapes"]
