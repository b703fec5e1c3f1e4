"""Landmark methods, told as code: the package behind the course notebooks."""

import os

# Must be set before torch is imported: waiting threads sleep in place of spinning. With
# a browser beside it, a training step of a small network is up to ten times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
