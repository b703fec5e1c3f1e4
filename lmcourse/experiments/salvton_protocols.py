"""How try-on is judged: which pictures are compared, and by what.

``salvton-protocols`` asks one network, the one that ships (128x96 pixels), in the two
ways of the field:

* *paired*: the person is known in the garment, so that each picture is compared with
  the true one: ``psnr``, ``ssim``, ``proxy_lpips``; with ``_garment`` inside of the
  garment's true mask. ``proxy_fid``, ``proxy_kid`` compare all made pictures with all
  true ones.
* *unpaired*: each person in the garment of the next one. No picture tells how that
  should look, so only the two sets are compared: ``unpaired_proxy_fid``,
  ``unpaired_proxy_kid``, against pictures of the same people in their own garments.

``found`` is the network with the landmarks that it finds itself, ``told`` with the
annotated ones (paired alone: nobody has annotated the others). ``nothing`` is the
control: the person as she came, in what she wore.
"""

from dataclasses import dataclass

import torch

from lmcourse.experiments import cells
from lmcourse.experiments.salvton import CHUNK
from lmcourse.experiments.salvton_images import test_triplets
from lmlib import tryon_metrics
from lmlib.methods.salvton import Salvton, links_of
from lmlib.samples import Batch

NETWORK = "salvton-tryon128", "all,gallery"
GIVEN = ("image", "garment", "garment_mask")
PAIRED = ("psnr", "ssim", "proxy_lpips")
SETS = ("proxy_fid", "proxy_kid")


@dataclass(frozen=True, kw_only=True)
class Protocols(cells.Problem):
    """A network that stands, measured in all ways."""

    def train(self, setting: str, seed: int) -> tuple[Salvton, dict]:
        return cells.load_cell(*NETWORK), {"steps": 0, "extra": {}}

    @torch.no_grad()
    def measure(self, method: Salvton, setting: str) -> dict[str, float]:
        data = test_triplets(method.config.shape)
        batch = data.batch(data.indices)
        sets = {"": dressed(method, batch, setting)}
        if setting != "told":
            sets["unpaired_"] = dressed(method, unpaired(batch), setting)
        found = pairwise(batch, sets[""])
        for before, pictures in sets.items():
            for name in SETS:
                distance = getattr(tryon_metrics, name)
                found[before + name] = distance(pictures, batch["target"])
        return found

    def metrics(self, setting: str) -> tuple[str, ...]:
        pairs = (*PAIRED, *(f"{name}_garment" for name in PAIRED))
        others = () if setting == "told" else tuple(f"unpaired_{name}" for name in SETS)
        return (*pairs, *SETS, *others)


def pairwise(batch: Batch, made: torch.Tensor) -> dict[str, float]:
    """All of ``PAIRED``, whole and inside of the garment, as means."""
    all_of = (made, batch["target"], batch["target_mask"])
    parts = zip(*(each.split(CHUNK) for each in all_of), strict=True)
    found = [tryon_metrics.pairwise(*part) for part in parts]
    return {
        name: torch.cat([part[name] for part in found]).nanmean().item()
        for name in found[0]
    }


def unpaired(batch: Batch) -> Batch:
    """Each person with the next one's garment."""
    return batch | {name: batch[name].roll(-1, 0) for name in GIVEN[1:]}


def dressed(method: Salvton, batch: Batch, setting: str) -> torch.Tensor:
    """The people ``(B, 3, H, W)`` in the garments, in one of the settings' ways."""
    if setting == "nothing":
        return batch["image"]
    made = []
    for numbers in torch.arange(len(batch["image"])).split(CHUNK):
        part = {name: values[numbers] for name, values in batch.items()}
        given = [part[name] for name in GIVEN]
        links = links_of(part) if setting == "told" else method.find(*given[:2])
        made.append(method.try_on(*given, links))
    return torch.cat(made)


PROBLEMS = cells.by_name(
    Protocols(
        name="salvton-protocols",
        about="Tables 1 and 2: how the shipped network is judged, paired and unpaired",
        settings={"found": 1, "told": 1, "nothing": 1},
    ),
)
KEPT = {problem.name: problem.kept for problem in PROBLEMS.values()}
TABLES = tuple(problem.table() for problem in PROBLEMS.values())
