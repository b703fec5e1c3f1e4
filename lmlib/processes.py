"""Training on several processes, so that it ends where one process would.

Under ``torchrun`` every process has a share of each batch: of P processes, process p
has the images p, p + P, p + 2P, ... Three things make that the same training:

* random draws belong to images. ``drawn`` and ``Dropout`` draw for the whole batch,
  from the same seed in all processes, and keep the rows of their own images;
* what looks at other images of the batch sees all of them: ``gathered``;
* means are means over the whole batch: gradients are averaged, and ``portion`` says
  how much a mean over unequal weights counts.

What differs: sums are rounded in another order, and batch normalisation sees the images
of its own process (its running statistics are those of the first process).
"""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather

_share = (0, 1)  # which images of a batch this process has, while they are shared


def start(batch_size: int | None = None) -> tuple[int, int]:
    """Rank and number of processes; joins the group if started by ``torchrun``.

    Raises:
        ValueError: they cannot share a batch equally.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    if batch_size is not None and batch_size % world:
        raise ValueError(
            f"a batch of {batch_size} cannot be shared by {world} processes"
        )
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return (dist.get_rank(), world) if world > 1 else (0, 1)


def wait_for_all() -> None:
    """Nobody goes on before all are here."""
    if dist.is_initialized():
        dist.barrier()


def leave() -> None:
    """Leave the group, all together.

    Without the collection some runs on CPUs end with "terminate called ...".
    """
    if dist.is_initialized():
        dist.barrier()
        gc.collect()
        dist.destroy_process_group()


def first_says(ask: Callable[[], Any]) -> Any:
    """What ``ask`` answers in the first process; the others do not ask, and wait.

    Its ValueErrors and OSErrors are raised in all.
    """
    rank, world = start()
    said: list = [None, None]
    if rank == 0:
        try:
            said = [ask(), None]
        except (ValueError, OSError) as error:
            said = [None, error]
    if world > 1:
        dist.broadcast_object_list(said)
    if said[1] is not None:
        raise said[1]
    return said[0]


# --- one batch, shared ----------------------------------------------------------------


@contextmanager
def sharing(rank: int, world: int) -> Iterator[None]:
    """Inside, this process has images ``rank``, ``rank + world``, ... of a batch."""
    global _share
    before, _share = _share, (rank, world)
    try:
        yield
    finally:
        _share = before


def whole(count: int) -> int:
    """Images of the batch of which this process has ``count``."""
    return count * _share[1]


def own(rows: Shaped[Tensor, "..."], dim: int = 0) -> Shaped[Tensor, "..."]:
    """Of something for all images of a batch, what belongs to those of this process."""
    rank, world = _share
    return rows.movedim(dim, 0)[rank::world].movedim(0, dim) if world > 1 else rows


def drawn(
    draw: Callable, shape: Sequence[int], generator=None, dim: int = 0
) -> Shaped[Tensor, "..."]:
    """``draw`` (``torch.rand``, say) of a shape in which the images of this process lie
    along ``dim``."""
    rank, world = _share
    if world == 1:
        return draw(shape, generator=generator)
    sizes = list(shape)
    sizes[dim] *= world
    return own(draw(sizes, generator=generator), dim)


class Dropout(nn.Dropout):
    """Dropout whose zeros belong to images, which lie along the first dimension."""

    def forward(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        if _share[1] == 1 or not self.training:
            return super().forward(x)
        kept = F.dropout(x.new_ones(whole(len(x)), *x.shape[1:]), self.p)
        return x * own(kept)


def gathered(rows: Float[Tensor, "b ..."]) -> Float[Tensor, "n ..."]:
    """Rows of all images of the batch, in its order; gradients find their way back."""
    if _share[1] == 1:
        return rows
    return torch.stack(all_gather(rows), dim=1).flatten(0, 1)


def portion(weight: Float[Tensor, ""]) -> Float[Tensor, ""] | float:
    """What a mean over things of this ``weight`` in all counts for, in the mean of the
    processes' means; 1 where all have the same."""
    return weight / averaged(weight).clamp(min=1e-9) if _share[1] > 1 else 1.0


def averaged(values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Means over the processes, without gradients."""
    if not dist.is_initialized():
        return values.detach()
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
