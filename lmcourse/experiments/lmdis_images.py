"""The images of Zhang et al. 2018, drawn or, where the files are present, real.

Each function takes the side in pixels and image numbers, and returns a ``Stored``.
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from lmcourse.experiments import photographs as real
from lmlib.datasets.idx import Idx
from lmlib.samples import Stored
from lmscenes import Animals, Cars, Faces, Walkers
from lmscenes.faces import five_points


def face_images(size: int, indices: range):
    """CelebA's stand-in: five landmarks; drawn larger, and the middle cut out."""
    frame = size * 5 // 4  # 100 to 80 pixels
    scene = Faces(frame, yaw=20, pitch=10, roll=10)
    data = Stored(scene, indices, ("attributes",)).all
    edge = (frame - size) // 2
    image = data["image"][..., edge : edge + size, edge : edge + size].contiguous()
    points = five_points(data["landmarks"]) * (frame / size)
    return _stored(image, points, attributes=data["attributes"])


def animal_images(size: int, indices: range):
    """Heads of six species: eyes, nose, mouth and ears."""
    data = Stored(Animals(size), indices).all
    return _stored(data["image"], data["landmarks"], visible=data["visible"])


def car_images(size: int, indices: range):
    """Cars in profile, squashed from 2 to 1 into a square."""
    data = Stored(Cars(size, aspect=2), indices).all
    return _stored(data["image"], data["landmarks"])


def walker_images(size: int, indices: range, video: bool = False):
    """People on the move, before gray as in the paper; for a video also the frame that
    follows, and the flow to it."""
    # Ten frames apart, as in the paper, of those who move about.
    scene = Walkers(size, stride=10, actions=("walk", "turn", "wave"))
    step = 7  # not every frame of a film
    indices = range(indices.start * step, indices.stop * step, step)
    keys = ("mask", "image2", "mask2", "flow") if video else ("mask",)
    data = Stored(scene, indices, keys, draw=scene.pair if video else None).all
    more = {"flow": data["flow"], "image2": _gray(data, "2")} if video else {}
    return _stored(_gray(data), data["landmarks"], **more)


def _gray(data, which: str = ""):
    """The image without its background."""
    mask = data["mask" + which]
    return data["image" + which] * mask + 0.5 * (1 - mask)


def digit_images(size: int, indices: range, digit: int | None = None):
    """scikit-learn's handwritten digits, 8 x 8 pixels, enlarged; 1,797 in all.

    ``indices`` count the images of the chosen digit, or of all.
    """
    digits = load_digits()
    chosen = digits.target == digit if digit is not None else digits.target >= 0
    order = torch.randperm(
        int(chosen.sum()), generator=torch.Generator().manual_seed(0)
    )
    picked = order[[i % len(order) for i in indices]]
    image = torch.from_numpy(digits.images[chosen]).float()[picked, None] / 16
    inside = (size - 2 * round(size / 14), size - 2 * round(size / 14))  # 24 of 28
    image = F.interpolate(image, inside, mode="bicubic", align_corners=False)
    image = F.pad(image.clamp(0, 1), (round(size / 14),) * 4)
    label = torch.from_numpy(digits.target[chosen])[picked]
    return _stored(image, torch.zeros(len(image), 1, 2), label=label)


def mnist_images(size: int, indices: range, digit: int | None = None):
    """MNIST, where the files are present: training images up to 60,000, then tests.

    Of one digit there are a tenth as many, so numbers go round.
    """
    if size != 28:
        raise ValueError(f"MNIST has 28 pixels a side, the network wants {size}")
    test = indices.start >= 60_000
    part = Idx("test" if test else "train")
    rows = torch.tensor(part.indices)
    if digit is not None:
        rows = rows[part.labels == digit]
    chosen = rows[(torch.tensor(indices) - 60_000 * test) % len(rows)]
    batch = part.batch(chosen)
    return _stored(batch["image"], torch.zeros(len(chosen), 1, 2), label=batch["label"])


def photographs(size: int, indices: range):
    """CelebA to learn from (from 0 on), MTFL to measure on (from 100,000 on)."""
    if indices.start < 100_000:
        return real.celeba_faces(size).subset(indices)
    own = range(indices.start - 100_000, indices.stop - 100_000)
    batch = real.mtfl_faces(size).batch(own)
    return _stored(batch["image"], batch["landmarks"])


def _stored(image, points, visible=None, **more):
    if visible is None:
        visible = torch.ones(points.shape[:2], dtype=torch.bool)
    return Stored.of({"image": image, "landmarks": points, "visible": visible, **more})
