"""What a batch is, and who gets a label.

A batch is a plain dict: ``image (B, C, H, W)`` in [0, 1], ``landmarks (B, K, 2)`` in
[-1, 1], ``visible (B, K)`` bool, ``index (B,)``, and whatever the data set adds
(``label (B,)``, ``mask (B, S, H, W)``, ...). A data set is anything with
``batch(indices, device)``.
"""

import torch
from torch import Tensor

Batch = dict[str, Tensor]


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


def collate(samples: list[Batch]) -> Batch:
    """Stack single samples (tensors without the batch dimension) into one batch."""
    if not samples:
        raise ValueError("cannot make a batch of no samples")
    keys = set(samples[0])
    for number, sample in enumerate(samples):
        if set(sample) != keys:
            raise ValueError(
                f"sample {number} holds {sorted(sample)}, but sample 0 {sorted(keys)}"
            )
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def split(**sizes: int) -> dict[str, range]:
    """Consecutive index ranges: ``split(train=3200, val=800)``; nothing can leak."""
    ranges, start = {}, 0
    for name, size in sizes.items():
        if size <= 0:
            raise ValueError(f"split {name!r} must hold at least one image, got {size}")
        ranges[name] = range(start, start + size)
        start += size
    return ranges


def step_indices(step: int, batch_size: int, indices: range, seed: int = 0) -> Tensor:
    """The indices of training step ``step``: shuffled epochs, laid end to end.

    A pure function of its arguments, so training can resume in mid-epoch exactly.
    """
    count = len(indices)
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
    return indices.start + position * indices.step


def class_balanced_subset(labels: Tensor, share: float, seed: int = 0) -> Tensor:
    """Which images keep their landmarks: ``share`` of each class, as an ``(N,)`` mask.

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
