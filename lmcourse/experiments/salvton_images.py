"""Triplets that SAL-VTON's tables train and measure on, drawn once and kept."""

from functools import cache

import lmscenes
from lmcourse.budget import budget
from lmcourse.experiments.cells import few
from lmlib.samples import Stored

SIZE = 64, 48
KEYS = (
    "target",
    "garment",
    "garment_mask",
    "target_mask",
    "garment_landmarks",
    "garment_present",
    "attribute",
)
TRUTH = (
    "flow",
    "worn_mask",
    "worn_landmarks",
    "worn_attribute",
    "elbow",
    "crossing",
    "sleeve_change",
)
CLASS_TRIPLETS = 2000  # to train on
TEST = range(100_000, 100_300)


@cache
def training_triplets(size: tuple[int, int] = SIZE) -> Stored:
    """As many triplets as the budget has."""
    count = budget(quick=16, class_=CLASS_TRIPLETS, full=20_000)
    return Stored(lmscenes.Tryon(size), range(count), KEYS)


@cache
def test_triplets(size: tuple[int, int] = SIZE) -> Stored:
    """300 others, with what only a drawn scene knows."""
    return Stored(lmscenes.Tryon(size), few(TEST, 16), KEYS + TRUTH)


def slices(batch: dict) -> dict:
    """Which images of a batch belong to each slice: ``(B,)`` bool.

    * crossing: a forearm lies before the trunk.
    * bent, straight: no such, and an elbow bent by more than 50 degrees, or none by
      more than 25.
    * sleeve: the sleeves are at least .3 arms longer or shorter than those in the
      image.
    """
    elbow, crossing = batch["elbow"].amax(1), batch["crossing"]
    return {
        "crossing": crossing,
        "bent": ~crossing & (elbow > 50),
        "straight": ~crossing & (elbow < 25),
        "sleeve": batch["sleeve_change"].abs() >= 0.3,
    }
