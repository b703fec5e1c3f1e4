"""What discovered landmarks are good for (Zhang et al. 2018, table 3 and figure 11).

* ``lmdis-attributes``: a linear SVM for each attribute of shape, on ``coordinates`` of
  discovered landmarks, on ``features`` of a network that was trained for something else
  (our DVE network's descriptors, their mean and deviation over the image: 128 numbers,
  as FaceNet's top layer has), or on ``both``.
* ``lmdis-generation``: new images for given landmarks.

Both need networks of ``lmdis-faces`` and ``dve-faces`` that ship with the course.
"""

from collections.abc import Iterator
from functools import cache, partial

from lmcourse.budget import budget
from lmcourse.evidence.results import Run, Table, run_file
from lmcourse.experiments import lmdis
from lmcourse.experiments.cells import keep, kept_file

TRAIN, TEST = range(60_000, 61_500), range(110_000, 110_500)
ATTRIBUTES = (  # of shape and expression
    "smiling", "mouth open", "eyes almost closed", "masculine build",
    "arched eyebrows", "big lips", "big nose", "pointy nose", "high cheekbones",
    "narrow eyes", "oval face", "chubby", "wide mouth",
)  # fmt: skip
DESCRIPTIONS = ("coordinates", "features", "both", "both,shuffled", "guess")
FINDER = "K30"
GENERATION_STEPS = 500


@cache
def _described(indices: range):
    """Coordinates ``(N, 60)``, features ``(N, 128)`` and attributes ``(N, 13)``."""
    import torch
    import torch.nn.functional as F

    from lmcourse.experiments import dve
    from lmscenes import Faces

    finder = lmdis.load_cell("lmdis-faces", FINDER)
    other = dve.load_cell("dve-faces", "C64+DVE")
    data = lmdis.face_images(finder.config.size, indices).all
    side = other.config.size
    with torch.no_grad():
        points = lmdis.in_chunks(finder.landmarks, data["image"])
        large = F.interpolate(
            data["image"], (side, side), mode="bilinear", align_corners=False
        )
        maps = lmdis.in_chunks(other.descriptors, large).flatten(2)
    features = torch.cat([maps.mean(-1), maps.std(-1)], dim=1)
    columns = [Faces.attribute_names.index(name) for name in ATTRIBUTES]
    return points.flatten(1), features, data["attributes"][:, columns]


def recognise(setting: str, seed: int) -> dict:
    """Share of right answers on people never seen, for each attribute and in all."""
    import torch
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    train, test = (
        _described(budget(quick=part[:80], class_=part, full=part))
        for part in (TRAIN, TEST)
    )
    labels = train[2]
    if "shuffled" in setting:
        generator = torch.Generator().manual_seed(seed)
        labels = labels[torch.randperm(len(labels), generator=generator)]
    kind = setting.partition(",")[0]
    known, seen = (_description(kind, parts) for parts in (train, test))
    measured = {}
    for column, name in enumerate(ATTRIBUTES):
        wanted, truth = labels[:, column].numpy(), test[2][:, column].numpy()
        if kind == "guess" or wanted.all() or not wanted.any():
            right = (truth == (wanted.mean() > 0.5)).mean()  # the commoner answer
        else:
            model = make_pipeline(
                StandardScaler(), LinearSVC(C=0.01, random_state=seed)
            )
            right = model.fit(known, wanted).score(seen, truth)
        measured[_metric(name)] = float(right)
    measured["accuracy"] = sum(measured.values()) / len(measured)
    return measured | {"steps": 0, "extra": {"n_train": len(labels)}}


def _description(kind: str, parts):
    import torch

    coordinates, features, _ = parts
    chosen = {"coordinates": [coordinates], "features": [features]}
    return torch.cat(chosen.get(kind, [coordinates, features]), dim=1).numpy()


def _metric(attribute: str) -> str:
    return "accuracy_" + attribute.replace(" ", "_")


# --- new images -----------------------------------------------------------------------

GENERATION = lmdis.Problem(
    "lmdis-generation",
    "Figure 11: new faces with given landmarks",
    lmdis.face_images,
    range(1000),
    range(0),
    range(100_000, 100_200),
    GENERATION_STEPS,
    ("celeba10", "faces_class"),
    {"K10": 1, "K10,untied": 1},
)


def generation(setting: str):
    """The untrained generator around a trained, frozen landmark network."""
    from dataclasses import replace

    from lmlib.methods.lmdis_generation import Generation, GenerationConfig

    config = GenerationConfig()
    if "untied" in setting:  # nothing asks for the landmarks
        config = replace(config, weight_landmark=0.0)
    return Generation(config, lmdis.load_cell("lmdis-faces", setting.partition(",")[0]))


def generate(setting: str, seed: int) -> dict:
    """Train, and measure whether drawn faces have the landmarks asked for.

    ``obeyed``: distance of landmarks found in drawn faces from those asked for, over
    their distance from another face's. ``variety``: deviation of drawn colours over
    that of real ones. ``energy``: of drawn over real images, for the discriminator.
    """
    import torch

    from lmlib.methods.lmdis_generation import energy
    from lmlib.training import constant_then_decay, fit, recompute_statistics

    torch.manual_seed(seed)
    method = generation(setting)
    size = method.finder.config.size
    train = lmdis.training_data(lmdis.PROBLEMS["lmdis-faces"], lmdis.Cell(10), size)
    steps = budget(quick=2, class_=GENERATION_STEPS, full=40_000)
    fit(
        method,
        train,
        train.indices,
        steps,
        batch_size=method.config.batch_size,
        lr=method.config.lr,
        betas=(0.5, 0.999),
        schedule=constant_then_decay(steps),
        seed=seed,
        checkpoint=run_file("lmdis-generation", setting, seed),
        save_every=100,
        progress=False,
    )
    batches = budget(quick=1, class_=20, full=100)
    recompute_statistics(method, train, train.indices, batches)
    method.eval()
    test = lmdis.face_images(size, lmdis.few(GENERATION.test)).all["image"]
    method.generator.manual_seed(seed)
    with torch.no_grad():
        points = method.landmarks(test)
        drawn = method.draw(points, method.noise(len(points)))
        found = method.landmarks(drawn)
        ratio = energy(method.discriminator, drawn) / energy(method.discriminator, test)
    near, far = ((found - x).norm(dim=-1).mean() for x in (points, points.roll(1, 0)))
    spread = [x.mean((2, 3)).std(0).mean() for x in (drawn, test)]
    measured = {
        "obeyed": (near / far).item(),
        "variety": (spread[0] / spread[1]).item(),
        "energy": ratio.item(),
    }
    about = {"steps": steps, "extra": {"n_train": len(train), "size": size}}
    if setting == "K10" and seed == 0:
        keep(GENERATION, setting, seed, method, measured, about)
    return measured | about


def load_generation(setting: str = "K10"):
    """The trained generator that ships with the course, ready to draw."""
    from lmlib.checkpoints import load_checkpoint

    method = generation(setting)
    load_checkpoint(kept_file("lmdis-generation", setting), method)
    return method.eval()


# --- the tables -----------------------------------------------------------------------


def _attribute_runs() -> Iterator[Run]:
    names = (*map(_metric, ATTRIBUTES), "accuracy")
    for setting in DESCRIPTIONS:
        function = partial(recognise, setting, 0)
        yield Run("lmdis-attributes", setting, 0, function, names)


def _generation_runs() -> Iterator[Run]:
    for setting in GENERATION.settings:
        function = partial(generate, setting, 0)
        metrics = ("obeyed", "variety", "energy")
        yield Run(GENERATION.name, setting, 0, function, metrics)


TABLES = (
    Table(
        "lmdis-attributes",
        "Table 3: attributes of faces from landmarks alone, and together",
        lambda: [*_attribute_runs()],
    ),
    Table(GENERATION.name, GENERATION.about, lambda: [*_generation_runs()]),
)
