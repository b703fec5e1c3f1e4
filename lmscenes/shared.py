"""What several scenes need: smooth steps, turns in space, tiles, tables, random columns
and the checks of their knobs."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lmlib.samples import Batch
from lmscenes.engine import between


def smoothstep(x: Tensor, low, high) -> Tensor:
    """0 below ``low``, 1 above ``high``, a smooth step between."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def smooth_max(a: Tensor, b: Tensor, radius: float) -> Tensor:
    """Maximum that rounds the edge where ``a`` and ``b`` differ by less than
    ``radius``: of two signed distances, an intersection with a rounded corner."""
    fillet = (radius - (a - b).abs()).clamp_(min=0)
    return torch.maximum(a, b).add_(fillet.square_(), alpha=0.25 / radius)


def turn(angle: Tensor, axis: int) -> Tensor:
    """Rotation matrices ``(..., 3, 3)`` by angles ``(...)`` about a coordinate axis."""
    cos, sin = angle.cos(), angle.sin()
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = angle.new_zeros(*angle.shape, 3, 3)
    matrix[..., axis, axis] = 1
    matrix[..., i, i] = matrix[..., j, j] = cos
    matrix[..., i, j], matrix[..., j, i] = -sin, sin
    return matrix


def tiled(draw: Callable[[Batch], Batch], q: Batch, size: int) -> Batch:
    """``draw`` for ``size`` images of ``q`` at a time, put together again.

    What is drawn together should fit a processor's cache. ``q`` holds ``(B, ...)``
    tensors, ``index`` among them.
    """
    tiles = torch.arange(len(q["index"]), device=q["index"].device).split(size)
    drawn = [draw({name: value[tile] for name, value in q.items()}) for tile in tiles]
    return {name: torch.cat([part[name] for part in drawn]) for name in drawn[0]}


def drawn_by_index(draw: Callable[[Tensor], Batch], index: Tensor, size: int) -> Batch:
    """``draw(index)``, ``size`` images at a time; sixteen times as many on a GPU."""
    size = size if index.device.type == "cpu" else 16 * size
    return tiled(lambda few: draw(few["index"]), {"index": index}, size)


def read_table(text: str) -> dict[str, list[str]]:
    """Rows of words by their first word. A wide table goes on below itself: rows of
    the same name are one row."""
    rows: dict[str, list[str]] = {}
    for line in text.strip().splitlines():
        name, *cells = line.split()
        rows.setdefault(name, []).extend(cells)
    return rows


class Draws:
    """Random numbers ``(B, n)`` in [0, 1), taken column by column: nobody counts."""

    def __init__(self, u: Tensor):
        self.u, self.taken = u, 0

    def take(self, count: int | None = None) -> Tensor:
        """The next column ``(B,)``, or the next ``count`` as ``(B, count)``.

        Raises:
            IndexError: all columns have been taken.
        """
        first, self.taken = self.taken, self.taken + (count or 1)
        if self.taken > self.u.shape[1]:
            raise IndexError(f"only {self.u.shape[1]} random numbers an image")
        return self.u[:, first] if count is None else self.u[:, first : self.taken]

    def some(
        self, low: float, high: float, strength: float = 1.0, count: int | None = None
    ) -> Tensor:
        """Numbers in [low, high); with less ``strength``, closer to the middle."""
        return between(0.5 + strength * (self.take(count) - 0.5), low, high)

    def chance(self, share: float | Tensor) -> Tensor:
        """Whether something is so, ``(B,)`` bool, in this share of the images."""
        return self.take() < share


def check_size(scene: str, size: int, low: int, high: int) -> None:
    """ValueError for a number of pixels a side that the scene does not draw."""
    if not low <= size <= high:
        raise ValueError(f"{scene} draws {low} to {high} pixels a side, got {size}")


def check_knobs(low: float, high: float, unit: str = "", **knobs: float) -> None:
    """ValueError naming the first knob outside of [low, high]."""
    for name, value in knobs.items():
        if not low <= value <= high:
            limits = f"{low:g} to {high:g} {unit}".strip()
            raise ValueError(f"{name} must be {limits}, got {value}")


def check_stride(stride: int, film: int) -> int:
    """A whole number of frames, at most a film's; ValueError for any other."""
    if stride not in range(film + 1):
        raise ValueError(f"stride must be 0 to {film} whole frames, got {stride}")
    return int(stride)


def check_names(
    knob: str, chosen: Sequence[str] | str | None, known: Sequence[str]
) -> tuple[str, ...]:
    """The chosen names as a tuple, all for None; ValueError for one not known."""
    chosen = (chosen,) if isinstance(chosen, str) else chosen
    names = tuple(known if chosen is None else chosen)
    if not names or not {*names} <= {*known}:
        raise ValueError(f"{knob} must be some of {', '.join(known)}, got {chosen!r}")
    return names


def over_pixels(x: Tensor) -> Tensor:
    """``(B,)`` numbers to ``(B, 1, 1)``, one for all pixels of an image."""
    return x[:, None, None]
