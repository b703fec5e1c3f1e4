"""Landmark methods, told as code.

What belongs here: the methods of the papers, one file each, and what they are built
from: geometry, warps, heatmaps, layers, samples; data sets in their official layouts;
training, checkpoints, evaluation; and the command ``lmlib``. Nothing here draws scenes
(``lmscenes``) or teaches (``lmcourse``).
"""

import os

# Must be set before torch is imported: waiting threads sleep in place of spinning. With
# a browser beside it, a training step of a small network is up to ten times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"


def load(path, device=None):
    """A network from its file, ready to use: one that ships, or your own.

    ``lmlib.load("me.safetensors").landmarks(images)``; see ``lmlib.landmarker.load``.
    """
    from lmlib.landmarker import load  # torch is imported when it is needed

    return load(path, device)
