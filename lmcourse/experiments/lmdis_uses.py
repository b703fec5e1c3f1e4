"""What discovered landmarks are good for (Zhang et al. 2018, table 3 and figure 11).

* ``lmdis-attributes``: a linear SVM for each attribute of shape, on ``coordinates`` of
  discovered landmarks, on ``features`` of a network that was trained for something else
  (our DVE network's descriptors, their mean and deviation over the image: 128 numbers,
  as FaceNet's top layer has), or on ``both``.
* ``lmdis-generation``: new images for given landmarks.

Both need networks of ``lmdis-faces`` and ``dve-faces`` that ship with the course.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
import torch.nn.functional as F
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from lmcourse.budget import budget
from lmcourse.evidence.results import Run, Table
from lmcourse.experiments import cells, lmdis
from lmcourse.experiments.cells import few, in_chunks, load_cell
from lmcourse.experiments.lmdis_images import face_images
from lmlib.methods.lmdis_generation import Generation, GenerationConfig, energy
from lmlib.training import recompute_statistics
from lmscenes import Faces

TRAIN, TEST = range(60_000, 61_500), range(110_000, 110_500)
ATTRIBUTES = (  # of shape and expression
    "smiling", "mouth open", "eyes almost closed", "masculine build",
    "arched eyebrows", "big lips", "big nose", "pointy nose", "high cheekbones",
    "narrow eyes", "oval face", "chubby", "wide mouth",
)  # fmt: skip
DESCRIPTIONS = ("coordinates", "features", "both", "both,shuffled", "guess")
FINDER = "K30"


@cache
def _described(indices: range):
    """Coordinates ``(N, 60)``, features ``(N, 128)`` and attributes ``(N, 13)``."""

    finder = load_cell("lmdis-faces", FINDER)
    other = load_cell("dve-faces", "C64+DVE")
    data = face_images(finder.config.size, indices).all
    side = other.config.size
    with torch.no_grad():
        points = in_chunks(finder.landmarks, data["image"])
        large = F.interpolate(
            data["image"], (side, side), mode="bilinear", align_corners=False
        )
        maps = in_chunks(other.descriptors, large).flatten(2)
    features = torch.cat([maps.mean(-1), maps.std(-1)], dim=1)
    columns = [Faces.attribute_names.index(name) for name in ATTRIBUTES]
    return points.flatten(1), features, data["attributes"][:, columns]


def recognise(setting: str, seed: int) -> dict:
    """Share of right answers on people never seen, for each attribute and in all."""
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
    coordinates, features, _ = parts
    chosen = {"coordinates": [coordinates], "features": [features]}
    return torch.cat(chosen.get(kind, [coordinates, features]), dim=1).numpy()


def _metric(attribute: str) -> str:
    return "accuracy_" + attribute.replace(" ", "_")


# --- new images -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Generations(cells.Problem):
    """New faces, and whether they have the landmarks asked for."""

    def train(self, setting: str, seed: int):
        """The trained generator, and what rows say of the training."""
        torch.manual_seed(seed)
        method = generation(setting)
        data, steps = training_data(method), budget(quick=2, class_=500, full=40_000)
        self.fit(method, data, data.indices, steps, (setting, seed))
        batches = budget(quick=1, class_=20, full=100)
        recompute_statistics(method, data, data.indices, batches)
        extra = {"n_train": len(data), "size": method.finder.config.size}
        return method.eval().cpu(), {"steps": steps, "extra": extra}

    def measure(self, method: Generation, setting: str) -> dict[str, float]:
        """``obeyed``: distance of landmarks found in drawn faces from those asked for,
        over their distance from another face's. ``variety``: deviation of drawn colours
        over that of real ones. ``energy``: of drawn over real images, for the
        discriminator."""
        size = method.finder.config.size
        test = face_images(size, few(range(100_000, 100_200))).all["image"]
        method.generator.manual_seed(0)
        with torch.no_grad():
            points = method.landmarks(test)
            drawn = method.draw(points, method.noise(len(points)))
            found = method.landmarks(drawn)
            drawn_energy = energy(method.discriminator, drawn)
            ratio = drawn_energy / energy(method.discriminator, test)
        wanted, other = points, points.roll(1, 0)
        near, far = ((found - x).norm(dim=-1).mean() for x in (wanted, other))
        spread = [x.mean((2, 3)).std(0).mean() for x in (drawn, test)]
        return {
            "obeyed": (near / far).item(),
            "variety": (spread[0] / spread[1]).item(),
            "energy": ratio.item(),
        }

    def metrics(self, setting: str) -> tuple[str, ...]:
        """The same for all."""
        return "obeyed", "variety", "energy"


GENERATION = Generations(
    name="lmdis-generation",
    about="Figure 11: new faces with given landmarks",
    settings={"K10": 3, "K10,untied": 1},
)


def generation(setting: str) -> Generation:
    """The untrained generator around a trained, frozen landmark network."""
    config = GenerationConfig()
    if "untied" in setting:  # nothing asks for the landmarks
        config = replace(config, weight_landmark=0.0)
    return Generation(config, load_cell("lmdis-faces", setting.partition(",")[0]))


def training_data(method: Generation):
    """The faces that the landmark network was trained on."""
    faces = lmdis.PROBLEMS["lmdis-faces"]
    return faces.training_data(lmdis.Cell(10), method.finder.config.size)


# --- the tables -----------------------------------------------------------------------


def _attribute_runs() -> Iterator[Run]:
    names = (*map(_metric, ATTRIBUTES), "accuracy")
    for setting in DESCRIPTIONS:
        function = partial(recognise, setting, 0)
        yield Run("lmdis-attributes", setting, 0, function, names)


TABLES = (
    Table(
        "lmdis-attributes",
        "Table 3: attributes of faces from landmarks alone, and together",
        lambda: [*_attribute_runs()],
    ),
    GENERATION.table(),
)
