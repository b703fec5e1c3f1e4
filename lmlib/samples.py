"""What a batch is, and who gets a label.

A batch is a plain dict: ``image (B, C, H, W)`` in [0, 1], ``landmarks (B, K, 2)`` in
[-1, 1], ``visible (B, K)`` bool, ``index (B,)``, and whatever the data set adds
(``label (B,)``, ``mask (B, S, H, W)``, ...). A data set is anything with
``batch(indices, device)``.
"""

from collections.abc import Callable, Sequence
from copy import copy

import torch
from jaxtyping import Bool, Float, Integer, Shaped
from torch import Tensor

from lmlib.geometry import Warp

Batch = dict[str, Tensor]

Numbers = range | Integer[Tensor, " _"] | Sequence[int]  # of images

# Image numbers to draw from. A tuple of pools shares every batch equally between them.
Pool = Numbers | tuple[Numbers | tuple, ...]


def check_batch(batch: Batch) -> Batch:
    """Return the batch unchanged, or raise ValueError naming the first thing wrong."""
    if "image" not in batch:
        raise ValueError(f"a batch needs an 'image'; this one holds {sorted(batch)}")
    image = batch["image"]
    if image.ndim != 4:
        raise ValueError(
            f"batch['image'] must be (B, C, H, W), got {tuple(image.shape)}"
        )
    if 0 in image.shape:
        raise ValueError(f"batch['image'] is empty: shape {tuple(image.shape)}")
    if not torch.isfinite(image).all():
        bad = (
            (~torch.isfinite(image)).flatten(1).any(dim=1).nonzero().flatten().tolist()
        )
        raise ValueError(f"batch['image'] holds NaN or infinity in images {bad[:8]}")
    size = image.shape[0]
    for name, value in batch.items():
        if value.shape[:1] != (size,):
            raise ValueError(
                f"batch[{name!r}] has {tuple(value.shape)}, expected {size} first"
            )
    if "landmarks" in batch:
        landmarks = batch["landmarks"]
        if landmarks.ndim != 3 or landmarks.shape[-1] != 2 or landmarks.shape[1] == 0:
            raise ValueError(
                "batch['landmarks'] must be (B, K, 2) with K >= 1, "
                f"got {tuple(landmarks.shape)}"
            )
        if "visible" in batch and batch["visible"].shape != landmarks.shape[:2]:
            raise ValueError(
                f"batch['visible'] is {tuple(batch['visible'].shape)}, "
                f"but the landmarks are {tuple(landmarks.shape)}"
            )
    return batch


def to_gray(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Colours to grey, weighted as in ITU-R 601."""
    weights = images.new_tensor((0.299, 0.587, 0.114))
    return (images * weights.view(3, 1, 1)).sum(1, keepdim=True)


def split(**sizes: int) -> dict[str, range]:
    """Consecutive index ranges: ``split(train=3200, val=800)``; nothing can leak."""
    ranges, start = {}, 0
    for name, size in sizes.items():
        if size <= 0:
            raise ValueError(f"split {name!r} must hold at least one image, got {size}")
        ranges[name] = range(start, start + size)
        start += size
    return ranges


def step_indices(
    step: int, batch_size: int, indices: Pool, seed: int = 0
) -> Integer[Tensor, " b"]:
    """The indices of training step ``step``: shuffled epochs, laid end to end.

    A pure function of its arguments, so training can resume in mid-epoch exactly. A
    tuple of pools, such as (labelled, unlabelled), fills equal shares of the batch, one
    after the other; each pool runs through epochs of its own.
    """
    if isinstance(indices, tuple):
        share, rest = divmod(batch_size, len(indices) or 1)
        if rest or not indices:
            raise ValueError(
                f"a batch of {batch_size} cannot be shared by {len(indices)} pools"
            )
        parts = [step_indices(step, share, pool, seed) for pool in indices]
        return torch.cat(parts)
    pool = as_tensor(indices)
    count = len(pool)
    if count == 0 or batch_size <= 0:
        raise ValueError(f"cannot draw {batch_size} images from {count}")
    wanted = torch.arange(step * batch_size, (step + 1) * batch_size)
    epochs = wanted // count
    position = torch.empty_like(wanted)
    for epoch in epochs.unique().tolist():
        generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
        order = torch.randperm(count, generator=generator)
        here = epochs == epoch
        position[here] = order[wanted[here] % count]
    return pool[position]


def as_tensor(indices: Numbers) -> Shaped[Tensor, " n"]:
    """Image numbers as a tensor, int64 where they are not one."""
    if isinstance(indices, range):
        return torch.arange(indices.start, indices.stop, indices.step)
    return torch.as_tensor(indices)


class Stored:
    """A fixed set of images kept in memory: draw a scene once, train on it for long.

    ``keys`` names what is kept beside image, landmarks, visible and index. Batches are
    the scene's own, looked up by the same image numbers; ``draw`` is another way to
    draw them than ``data.batch``.
    """

    def __init__(
        self,
        data,
        indices: range,
        keys: tuple[str, ...] = (),
        device=None,
        draw: Callable | None = None,
    ):
        kept = ("image", "landmarks", "visible", "index", *keys)
        self.indices, draw = indices, draw or data.batch
        chunks = [
            draw(indices[start : start + 256], device)
            for start in range(0, len(indices), 256)
        ]
        self.all = {key: torch.cat([chunk[key] for chunk in chunks]) for key in kept}

    @classmethod
    def of(cls, tensors: Batch) -> "Stored":
        """Images at hand, numbered from zero: ``{"image": (N, C, H, W), ...}``."""
        self = cls.__new__(cls)
        count = len(tensors["image"])
        self.indices = range(count)
        self.all = {**tensors, "index": torch.arange(count)}
        return self

    def replaced(self, **tensors: Tensor) -> "Stored":
        """The same images with some tensors ``(N, ...)`` in place of their own."""
        other = copy(self)
        other.all = self.all | tensors
        return other

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: Numbers, device=None) -> Batch:
        """The stored images of these numbers; IndexError for one not stored."""
        wanted = as_tensor(indices)
        row = (wanted - self.indices.start) // self.indices.step
        back = self.indices.start + row * self.indices.step
        if ((row < 0) | (row >= len(self)) | (back != wanted)).any():
            raise IndexError(f"only the images {self.indices} are stored")
        row = row.to(self.all["index"].device)
        return {key: value[row].to(device) for key, value in self.all.items()}


def augment(
    batch: Batch, warp: Warp, padding: str = "zeros", hide: bool = True
) -> Batch:
    """The batch with its images and landmarks moved by ``warp``, one map an image.

    With ``hide``, landmarks that leave the image count as hidden.
    """
    points = warp.points(batch["landmarks"])
    inside = (points.abs() <= 1).all(-1)
    return {
        **batch,
        "image": warp.image(batch["image"], padding=padding),
        "landmarks": points,
        "visible": batch["visible"] & inside if hide else batch["visible"],
    }


def labels_on(labelled: Integer[Tensor, " n"], count: int, first: int = 0):
    """``prepare`` for ``fit`` that marks which images may use their landmarks.

    ``labelled`` holds their numbers, of the images ``first``, ``first + 1``, ...
    Batches get ``labelled (B,)`` bool.
    """
    mask = torch.zeros(count, dtype=torch.bool)
    mask[labelled - first] = True

    def prepare(batch: Batch) -> Batch:
        index = batch["index"]
        return {**batch, "labelled": mask[index.cpu() - first].to(index.device)}

    return prepare


def class_balanced_subset(
    labels: Integer[Tensor, " n"], share: float, seed: int = 0
) -> Bool[Tensor, " n"]:
    """Which images keep their landmarks: ``share`` of each class.

    Honari et al. 2018, section 4.2: labelled subsets hold every class equally. At least
    one image of each class is taken.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share}")
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(labels.shape[0], dtype=torch.bool)
    for value in labels.unique().tolist():
        members = (labels == value).nonzero().flatten()
        order = members[torch.randperm(len(members), generator=generator)]
        mask[order[: max(1, round(share * len(members)))]] = True
    return mask
