"""Exercises of notebook 51: what bends a flow, and an error near landmarks."""

import torch

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import first_hint
from lmlib.methods.salvton.flows import bending

# ---- equation 8 ----------------------------------------------------------------------


def bent(flow):
    middle = flow[:, :, 1:-1, 1:-1]
    seconds = (
        flow[:, :, :, 2:] + flow[:, :, :, :-2] - 2 * flow[:, :, :, 1:-1],  # rows
        flow[:, :, 2:] + flow[:, :, :-2] - 2 * flow[:, :, 1:-1],  # columns
        flow[:, :, 2:, 2:] + flow[:, :, :-2, :-2] - 2 * middle,  # one diagonal
        flow[:, :, 2:, :-2] + flow[:, :, :-2, 2:] - 2 * middle,  # the other
    )
    cost = [(x.square() + 1e-6) ** 0.45 - 1e-6**0.45 for x in seconds]
    return sum(x.mean() for x in cost)


def _kink():
    flow = torch.zeros(1, 2, 3, 3)
    flow[0, 0, :, 2] = 0.5
    return (flow,)


@exercise(
    "bent",
    solution=bent,
    library=bending,
    level="medium",
    minutes=12,
    example=_kink,
)
def _examine_bent(fn) -> str | None:
    g = torch.Generator().manual_seed(0)
    flow = 0.3 * torch.randn(2, 2, 7, 6, generator=g)
    middle = flow[:, :, 1:-1, 1:-1]
    seconds = (
        flow[:, :, :, 2:] + flow[:, :, :, :-2] - 2 * flow[:, :, :, 1:-1],
        flow[:, :, 2:] + flow[:, :, :-2] - 2 * flow[:, :, 1:-1],
        flow[:, :, 2:, 2:] + flow[:, :, :-2, :-2] - 2 * middle,
        flow[:, :, 2:, :-2] + flow[:, :, :-2, 2:] - 2 * middle,
    )
    firsts = (flow[..., 1:] - flow[..., :-1], flow[:, :, 1:] - flow[:, :, :-1])
    firsts += (flow[:, :, 1:, 1:] - flow[:, :, :-1, :-1],)
    firsts += (flow[:, :, 1:, :-1] - flow[:, :, :-1, 1:],)

    def total(parts, power=0.45, start=1e-6**0.45):
        return sum(((x.square() + 1e-6) ** power - start).mean() for x in parts)

    right = total(seconds)
    slips = {
        "You take first differences, as eq. 8 is printed. They punish a flow that only "
        "scales: take second ones, f(-1) - 2 f(0) + f(1).": total(firsts),
        "The two diagonals are missing.": total(seconds[:2]),
        "Only the diagonals are there; rows and columns are missing.": total(
            seconds[2:]
        ),
        "A flow without any bend should cost nothing: take (1e-6)^.45 off.": total(
            seconds, start=0.0
        ),
        "The power is .45 of the *square* plus 1e-6; yours is .9.": total(
            seconds, 0.9, 1e-6**0.9
        ),
        "You add plain squares. The Charbonnier loss grows slower than |x|, so that a "
        "jump is not punished out of proportion.": sum(
            x.square().mean() for x in seconds
        ),
        "You add absolute values; smooth them: (x^2 + 1e-6)^.45.": sum(
            x.abs().mean() for x in seconds
        ),
        "You take the mean over the four directions; add them.": right / 4,
        "You add up over all pixels; take the mean.": sum(
            ((x.square() + 1e-6) ** 0.45 - 1e-6**0.45).sum() for x in seconds
        ),
    }
    return first_hint(fn(flow), right, slips)


# ---- equation 9 ----------------------------------------------------------------------


def local_loss(by_local, target, near):
    far = (by_local - target).abs().sum(1, keepdim=True)  # over channels: (B, 1, H, W)
    return (far * near).sum() / near.sum().clamp(min=1)


def _near_one():
    target = torch.zeros(1, 2, 1, 3)
    near = torch.tensor([1.0, 0, 0]).view(1, 1, 1, 3)
    return torch.full_like(target, 0.5), target, near


@exercise(
    "local_loss",
    solution=local_loss,
    library=local_loss,
    level="easy",
    minutes=8,
    example=_near_one,
)
def _examine_local_loss(fn) -> str | None:
    g = torch.Generator().manual_seed(1)
    found, target = torch.rand(2, 3, 4, 9, 8, generator=g)
    near = (torch.rand(3, 1, 9, 8, generator=g) < 0.2).float()
    far = (found - target).abs().sum(1, keepdim=True)
    right = (far * near).sum() / near.sum()
    slips = {
        "You take the mean over the whole image. Near landmarks lie few pixels: the "
        "loss would be so small that the gate learns to do without patches.": (
            (far * near).mean()
        ),
        "You take the mean over all pixels and channels of the image; divide by the "
        "pixels that are near.": (far * near).mean() / 4,
        "Add up over the channels; yours is their mean.": right / 4,
        "You add up and never divide: the loss would grow with the batch.": (
            (far * near).sum()
        ),
        "The mask is not used.": far.mean(),
        "The error is absolute, not squared.": (
            ((found - target).square().sum(1, keepdim=True) * near).sum() / near.sum()
        ),
        "You look where no landmark is: near is 1 at landmarks.": (
            (far * (1 - near)).sum() / (1 - near).sum()
        ),
        "You take the mean of each image first. Images with few landmarks would count "
        "as much as those with many.": (
            (far * near).sum((1, 2, 3)) / near.sum((1, 2, 3))
        ).mean(),
    }
    hint = first_hint(fn(found, target, near), right, slips)
    if hint is None and not torch.isfinite(fn(found, target, 0 * near)):
        return "Without any landmark the loss is 0 / 0: clamp what you divide by."
    return hint
