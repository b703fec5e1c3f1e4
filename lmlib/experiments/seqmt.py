"""Seq-MT (Honari et al. 2018): the runs behind its tables and figures."""

from functools import partial

from lmlib.budget import budget
from lmlib.results import Run, Table, repository_root

# Fixed and limited, as in the paper; the test images follow no training image.
TRAIN, TEST = range(3200), range(100_000, 102_000)
SHAPES_METRICS = ("accuracy", "on_own_shape", "distance_px")


def shapes_run(setting: str, seed: int) -> dict:
    """Train on Shapes from class labels alone and measure where the two maps went.

    ``class-only``: of three starts, the one with the lowest class loss after a quarter
    of the steps is trained on; no landmark label takes part in the choice.
    ``one-start``: the first start, whatever becomes of it. ``shuffled-labels``: the
    negative control of class-only, with the same labels handed to other images.
    ``paper-network``: class-only with the paper's own layers at 60 pixels.
    """
    from lmlib.methods.seqmt import SeqMtConfig
    from lmlib.scenes import Shapes

    paper = setting == "paper-network"
    config = SeqMtConfig.shapes() if paper else SeqMtConfig.shapes_class()
    steps = budget(quick=20, class_=1600, full=6000 if paper else 1600)
    train = budget(quick=TRAIN[:256], class_=TRAIN, full=TRAIN)
    starts = 1 if setting == "one-start" else 3
    scene = Shapes(config.size)
    shuffle = shuffled_labels(scene, train, seed) if "shuffled" in setting else None
    method = best_start(config, scene, train, steps, starts, seed, setting, shuffle)
    test = budget(quick=TEST[:256], class_=TEST, full=TEST)
    extra = {"n_train": len(train), "starts": starts, "size": config.size}
    return {**measure_shapes(method, scene, test), "steps": steps, "extra": extra}


def best_start(config, scene, train, steps, starts, seed, setting, prepare=None):
    """Train ``starts`` networks for a quarter of the steps and the best one to the end.

    "Best" is the lowest class loss, averaged over the last tenth of its steps.
    """
    import torch

    from lmlib.methods.seqmt import SeqMt
    from lmlib.training import constant_then_decay, fit

    def train_until(stop: int, start: int):
        number = 100 * seed + start
        torch.manual_seed(number)
        method = SeqMt(config)
        history = fit(
            method,
            scene,
            train,
            stop,
            batch_size=config.batch_size,
            lr=config.lr,
            schedule=constant_then_decay(steps),
            prepare=prepare,
            seed=number,
            checkpoint=run_file("seqmt-shapes", f"{setting}-start{start}", seed),
            save_every=100,
            progress=False,
        )
        return method, history

    chosen = 0
    if starts > 1:
        losses = []
        for start in range(starts):
            rows = train_until(steps // 4, start)[1]
            rows = [row for row in rows if row["step"] <= steps // 4]
            late = [row["loss"] for row in rows[-max(1, len(rows) // 10) :]]
            losses.append(sum(late) / len(late))
        chosen = losses.index(min(losses))
    return train_until(steps, chosen)[0]


def run_file(experiment: str, setting: str, seed: int):
    """Where an unfinished run keeps its state, so that a killed one can go on."""
    name = f"{experiment}-{setting}-{seed}-{budget(quick='q', class_='c', full='f')}"
    return repository_root() / "data" / "cache" / f"{name}.safetensors"


def shuffled_labels(scene, indices: range, seed: int):
    """``prepare`` for ``fit``: every image gets another image's label, always the
    same."""
    import torch

    labels = scene.batch(indices)["label"]
    generator = torch.Generator().manual_seed(seed)
    labels = labels[torch.randperm(len(labels), generator=generator)]

    def prepare(batch):
        other = labels.to(batch["label"].device)[batch["index"] - indices.start]
        return {**batch, "label": other}

    return prepare


def measure_shapes(method, scene, indices: range) -> dict[str, float]:
    """Accuracy; share of images with each landmark on its own shape; distance in
    pixels.

    Which map belongs to which shape is decided once for all images together, since no
    label ever said it. Pixels are those of a 60-pixel image, at any size.
    """
    import torch

    from lmlib.evaluation import map_on_mask, match_landmarks, nme

    was_training = method.training
    method.eval()
    points, hits, truth, masks = [], 0, [], []
    device = next(method.parameters()).device
    with torch.no_grad():
        for start in range(0, len(indices), 250):
            batch = scene.batch(indices[start : start + 250], device)
            found = method.landmarks(batch["image"])
            hits += (method.classify(found).argmax(1) == batch["label"]).sum().item()
            points.append(found)
            truth.append(batch["landmarks"])
            masks.append(batch["mask"])
    method.train(was_training)
    points, truth, masks = torch.cat(points), torch.cat(truth), torch.cat(masks)
    points = points[:, match_landmarks(points, truth)]
    own = map_on_mask(points, masks).diagonal(dim1=1, dim2=2).all(dim=1)
    return {
        "accuracy": hits / len(indices),
        "on_own_shape": own.float().mean().item(),
        "distance_px": nme(points, truth, normaliser="pixels", size=(60, 60)),
    }


def shapes_runs() -> list[Run]:
    runs = [
        (setting, seed)
        for setting in ("class-only", "one-start", "shuffled-labels")
        for seed in range(5)
    ]
    return [
        Run(
            "seqmt-shapes",
            setting,
            seed,
            partial(shapes_run, setting, seed),
            SHAPES_METRICS,
        )
        for setting, seed in (*runs, ("paper-network", 0))
    ]


TABLES = (
    Table(
        "seqmt-shapes",
        "class labels alone find both shapes (section 4.1, figure 4)",
        shapes_runs,
    ),
)
