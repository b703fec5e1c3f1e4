"""The images of Yan et al. 2017, drawn, and how detections on them are counted."""

from functools import cache

import torch
from torch import Tensor

from lmcourse.budget import budget
from lmlib.evaluation import nme, pdl
from lmlib.samples import Batch, Numbers, Stored
from lmscenes import Garments

# Drawn garments were made as difficult as they are on images 100,000 to 100,599.
TEST, VALIDATION = range(300_000, 300_800), range(200_000, 200_600)
KEYS = "code", "clothes", "category", "variation", "modality", "share"
SIDE = 512  # pixels of the paper's images; its threshold is 35 of them
THRESHOLDS = {"pdl": 35.0, "pdl_4": 0.04 * SIDE, "pdl_2": 0.02 * SIDE}
VARIATIONS = "normal_pose", "medium_pose", "large_pose", "medium_zoom", "large_zoom"
SIZES = "small", "medium", "large"  # thirds of the test images by the garment's share
# What may be taken out of the pictures, for the dose-response.
KNOBS = {
    "scale": {"scale": 0.0},
    "place": {"shift": 0.0, "rotation": 0.0},
    "clutter": {"clutter": 0.0, "distractors": 0.0, "occluders": 0.0},
    "pose": {"pose": 0.0, "deformation": 0.0},
}


class Bytes(Stored):
    """Images kept as bytes, as files would hold them: a quarter of the memory."""

    def __init__(self, scene, indices: range, keys: tuple[str, ...] = ()):
        def draw(numbers: Numbers, device) -> Batch:
            batch = scene.batch(numbers, device)
            return batch | {"image": (255 * batch["image"]).round().byte()}

        super().__init__(scene, indices, keys, draw=draw)

    def batch(self, indices: Numbers, device=None) -> Batch:
        """As ``Stored``'s."""
        batch = super().batch(indices, device)
        return batch | {"image": batch["image"].float() / 255}


@cache
def garments(size: int, indices: range, off: str = "") -> Bytes:
    """Garments drawn once and kept; ``off``: a difficulty that is left out."""
    return Bytes(Garments(size, **KNOBS.get(off, {})), indices, KEYS)


def tests(size: int, off: str = "", indices: range = TEST) -> Batch:
    """The test images, or others that are not trained on, as one batch."""
    indices = budget(quick=indices[:14], class_=indices, full=indices)
    return garments(size, indices, off).batch(indices)


# --- what is counted ------------------------------------------------------------------


def detected(points: Tensor, batch: Batch, mask: Tensor | None = None, name="pdl"):
    """PDL in percent of the visible landmarks, or of those in ``mask`` among them."""
    seen = batch["visible"] if mask is None else batch["visible"] & mask
    if not seen.any():
        return 0.0
    size = (SIDE, SIDE)
    return 100 * pdl(points, batch["landmarks"], seen, THRESHOLDS[name], size)


def plain(name: str) -> str:
    """A name as a metric has it."""
    return name.lower().replace(" ", "_").replace("-", "_")


def groups(batch: Batch) -> dict[str, Tensor]:
    """Masks ``(B, 8)`` of the groups that table 4, figures 7, 8 and 10 tell apart."""
    slots = torch.eye(8, dtype=torch.bool)
    found = {plain(name): slots[k] for k, name in enumerate(Garments.names)}
    parts = {
        "category": [plain(name) for name in Garments.category_names],
        "variation": VARIATIONS,
        "modality": ("shop", "user"),
    }
    for key, names in parts.items():
        found |= {n: (batch[key] == k)[:, None] for k, n in enumerate(names)}
    third = batch["share"].argsort().argsort() * 3 // len(batch["share"])
    return found | {n: (third == k)[:, None] for k, n in enumerate(SIZES)}


def group_names() -> list[str]:
    """Their names."""
    one = {name: torch.zeros(1) for name in ("category", "variation", "modality")}
    return [*groups(one | {"share": torch.zeros(1)})]


def figures(points: Tensor, batch: Batch) -> dict:
    """PDL at three thresholds and in every group, and the normalised error, in percent;
    ``images``: the error of each test image."""
    found = {name: detected(points, batch, name=name) for name in THRESHOLDS}
    truth, seen = batch["landmarks"], batch["visible"]
    found["nme"] = 100 * nme(points, truth, seen, "image_edge")
    for name, mask in groups(batch).items():
        found[f"pdl_{name}"] = detected(points, batch, mask)
    each = 100 * nme(points, truth, seen, "image_edge", per_image=True)
    return found | {"images": {"nme": each.numpy()}}


FIGURES = (*THRESHOLDS, "nme", *(f"pdl_{name}" for name in group_names()))
