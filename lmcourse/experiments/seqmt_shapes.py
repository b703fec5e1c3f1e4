"""Seq-MT (Honari et al. 2018): the runs behind its tables and figures."""

from dataclasses import dataclass, replace

import torch

from lmcourse.budget import budget
from lmcourse.experiments import cells
from lmcourse.experiments.cells import few, shuffled_labels
from lmlib.evaluation import map_on_mask, match_landmarks
from lmlib.methods.seqmt import SeqMt, SeqMtConfig
from lmscenes import Shapes

# Fixed and limited, as in the paper; the test images follow no training image.
TRAIN, TEST = range(10_000), range(100_000, 102_000)
SHAPES_METRICS = (
    "accuracy",
    "nearest_own_shape",
    "inside_own_shape",
    "distance_px",
    "offset_px",
    "scatter_px",
)


@dataclass(frozen=True, kw_only=True)
class ShapesProblem(cells.Problem):
    """Shapes from class labels alone, and where the two maps went.

    ``class-only``: the class preset for 2,000 steps. ``plain-start``: the same from
    random weights (see ``SeqMt``). ``long``: the class preset for 6,000 steps of twice
    the batch. ``shuffled-labels``: the negative control of long, in which every image
    carries another image's label. ``paper-network``: the paper's layers, at 60 pixels.
    """

    def train(self, setting: str, seed: int):
        """The trained network, and what rows say of the training."""
        paper = setting == "paper-network"
        config = SeqMtConfig.shapes() if paper else SeqMtConfig.shapes_class()
        if setting == "plain-start":
            config = replace(config, start="plain")
        if setting in ("long", "shuffled-labels"):
            config = replace(config, batch_size=64)
        whole = 2000 if setting in ("class-only", "plain-start") else 6000
        steps, train = budget(quick=20, class_=whole, full=whole), few(TRAIN, 256)
        torch.manual_seed(seed)
        method, scene, prepare = SeqMt(config), Shapes(config.size), None
        if setting == "shuffled-labels":
            labels = {"label": scene.batch(train)["label"]}
            prepare = shuffled_labels(labels, train.start, seed)
        self.fit(method, scene, train, steps, (setting, seed), prepare=prepare)
        extra = {"n_train": len(train), "size": config.size}
        return method.cpu(), {"steps": steps, "extra": extra}

    def measure(self, method: SeqMt, setting: str) -> dict[str, float]:
        """See ``measure_shapes``."""
        return measure_shapes(method, Shapes(method.config.size), few(TEST, 256))

    def metrics(self, setting: str) -> tuple[str, ...]:
        """The same for all."""
        return SHAPES_METRICS


def measure_shapes(method, scene, indices: range) -> dict[str, float]:
    """Is the class right, and where do the two landmarks sit?

    * ``accuracy``: share of images with the right class.
    * ``nearest_own_shape``: share of images in which both landmarks are nearer to their
      own shape than to the other. ``inside_own_shape``: both lie inside its outline.
    * ``distance_px``: mean distance to the own shape's centre. A class label leaves a
      constant offset free, so it is split: ``offset_px`` is the length of the mean
      difference, ``scatter_px`` the mean distance from that (both averaged over the
      landmarks).

    Which map belongs to which shape is decided once for all images together, since no
    label ever said it. Pixels are those of a 60-pixel image, at any size.
    """

    was_training = method.training
    method.eval()
    found, truth, inside, hits = [], [], [], 0
    device = next(method.parameters()).device
    with torch.no_grad():
        for start in range(0, len(indices), 250):
            batch = scene.batch(indices[start : start + 250], device)
            points = method.landmarks(batch["image"])
            hits += (method.classify(points).argmax(1) == batch["label"]).sum().item()
            found.append(points)
            truth.append(batch["landmarks"])
            inside.append(map_on_mask(points, batch["mask"]))
    method.train(was_training)
    found, truth, inside = torch.cat(found), torch.cat(truth), torch.cat(inside)
    order = match_landmarks(found, truth)
    found, inside = found[:, order], inside[:, order]
    nearest = torch.cdist(found, truth).argmin(dim=2)  # (B, 2)
    own = torch.arange(2, device=device)
    difference = (found - truth) * 30  # [-1, 1] to pixels of 60
    offset = difference.mean(dim=0)  # (2, 2)
    return {
        "accuracy": hits / len(indices),
        "nearest_own_shape": (nearest == own).all(dim=1).float().mean().item(),
        "inside_own_shape": inside[:, own, own].all(dim=1).float().mean().item(),
        "distance_px": difference.norm(dim=-1).mean().item(),
        "offset_px": offset.norm(dim=-1).mean().item(),
        "scatter_px": (difference - offset).norm(dim=-1).mean().item(),
    }


SHAPES = ShapesProblem(
    name="seqmt-shapes",
    about="class labels alone find both shapes (section 4.1, figure 4)",
    settings={
        "class-only": 5,
        "plain-start": 5,
        "long": 3,
        "shuffled-labels": 3,
        "paper-network": 1,  # 13 minutes on two cores
    },
    kept=("long", "plain-start"),
)
TABLES = (SHAPES.table(),)
