"""Exercises of notebook 50: one flow after another, patches fused, and LASNL."""

import torch
import torch.nn.functional as F

from lmcourse.exercises import exercise
from lmcourse.exercises.compare import first_hint
from lmlib.methods.salvton.flows import compose, standing, warp

# ---- a step before a flow ------------------------------------------------------------


def compose_flows(flow, offset):
    height, width = offset.shape[-2:]
    pixel = torch.tensor([2 / width, 2 / height]).view(1, 2, 1, 1)
    here = standing(flow)  # f(u) = u
    step = here + pixel * offset  # u + d(u)
    return step + warp(flow - here, step)  # and how far the flow moves from there


def _small_step():
    flow = torch.tensor([[-0.5, 0.0]]).view(1, 2, 1, 1).expand(1, 2, 1, 4)
    return flow, torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4)


@exercise(
    "compose_flows",
    solution=compose_flows,
    library=compose,
    level="medium",
    minutes=12,
    example=_small_step,
)
def _examine_compose_flows(fn) -> str | None:
    g = torch.Generator().manual_seed(0)
    size, here = (2, 2, 6, 10), standing(torch.zeros(1, 1, 6, 10))
    flow = here + 0.3 * torch.randn(size, generator=g)
    offset = 1.5 * torch.randn(size, generator=g)
    pixel = torch.tensor([2 / 10, 2 / 6]).view(1, 2, 1, 1)
    swapped, step = pixel.flip(1), here + pixel * offset
    right = step + warp(flow - here, step)

    def from_step(step):
        return step + warp(flow - here, step)

    slips = {
        "You add the step to the flow where it stands. f(u + d(u)) asks the old flow "
        "at *another* place: read it there with warp.": flow + pixel * offset,
        "You go the old flow first and read the step there. Wanted is the step first: "
        "f(u + d(u)).": flow + warp(pixel * offset, flow),
        "You read the flow itself. Beyond the edge it would stand still: read the "
        "displacement flow - standing(flow), and add the place u + d(u).": warp(
            flow, step
        ),
        "Your pixel has its sides swapped: x goes with the width, 2 / W, and comes "
        "first.": from_step(here + swapped * offset),
        "A pixel is 2 / n of the range from -1 to 1, not 1 / n.": from_step(
            here + pixel / 2 * offset
        ),
        "A pixel is 2 / n, not 2 / (n - 1): -1 and 1 are the edges of the image.": (
            from_step(here + offset * torch.tensor([2 / 9, 2 / 5]).view(1, 2, 1, 1))
        ),
        "The offsets are pixels, and the flow goes from -1 to 1: convert them.": (
            from_step(here + offset)
        ),
        "The step is missing in what you return: u + d(u), plus the displacement read "
        "there.": here + warp(flow - here, step),
    }
    return first_hint(fn(flow, offset), right, slips)


# ---- equations 4 and 5 ---------------------------------------------------------------


def fuse(patches, attention, inside, whole, gate):
    scores = attention.masked_fill(~inside, -1e4)
    share = scores.softmax(0)  # over the patches, at each pixel
    local = (share.unsqueeze(1) * patches).sum(0)  # eq. 4
    gate = torch.where(inside.any(0), gate, 1.0)
    return (1 - gate) * local + gate * whole  # eq. 5


def _two_pixels():
    patches = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 1, 3)
    inside = torch.tensor([[[True, True, False]], [[False, True, False]]])
    return (
        patches,
        torch.zeros(2, 1, 3),
        inside,
        torch.full((1, 1, 3), 5.0),
        (torch.zeros(1, 3)),
    )


@exercise(
    "fuse",
    solution=fuse,
    library=fuse,
    level="medium",
    minutes=12,
    example=_two_pixels,
)
def _examine_fuse(fn) -> str | None:
    g = torch.Generator().manual_seed(1)
    count, channels, height, width = 5, 3, 7, 8
    patches = torch.rand(count, channels, height, width, generator=g)
    attention = 2 * torch.randn(count, height, width, generator=g)
    inside = torch.rand(count, height, width, generator=g) < 0.4
    inside[:, :2] = False  # no patch reaches these rows
    inside[2] |= ~inside.any(0) & (torch.arange(height) >= 2).unsqueeze(1)
    whole = torch.rand(channels, height, width, generator=g)
    gate = torch.rand(height, width, generator=g)
    right = fuse(patches, attention, inside, whole, gate)
    reached = inside.any(0)
    where_reached = torch.where(reached, gate, 1.0)

    def mixed(share, gate=where_reached):
        return (1 - gate) * (share.unsqueeze(1) * patches).sum(0) + gate * whole

    scores = attention.masked_fill(~inside, -1e4)
    share = scores.softmax(0)
    late = attention.softmax(0) * inside
    slips = {
        "Your patches take part everywhere. Where a patch does not reach, its score "
        "has to be very low before the softmax.": mixed(attention.softmax(0)),
        "You cut patches off after the softmax, so the weights no longer sum to 1. Set "
        "their scores low before it.": mixed(late),
        "Your softmax runs over the pixels. At each pixel it is over the patches, "
        "dimension 0.": mixed(scores.flatten(1).softmax(1).view_as(scores)),
        "Your softmax runs along the rows of the image. It is over the patches, "
        "dimension 0.": mixed(scores.softmax(-1)),
        "The gate is the wrong way round: at 1 the global flow has the word.": mixed(
            share, torch.where(reached, 1 - gate, 1.0)
        ),
        "Where no patch reaches, you still listen to the gate. There `whole` stands "
        "alone.": mixed(share, gate),
        "Where no patch reaches, you take the local flow alone, not `whole`.": (
            mixed(share, torch.where(reached, gate, 0.0))
        ),
        "You take a plain mean of the patches; weigh them by exp(attention).": mixed(
            inside / inside.sum(0).clamp(min=1)
        ),
        "You let the patch with the highest attention take all; equation 4 is a "
        "softmax.": mixed(
            F.one_hot(scores.argmax(0), count).permute(2, 0, 1).to(patches)
        ),
    }  # fmt: skip
    return first_hint(fn(patches, attention, inside, whole, gate), right, slips)


# ---- equation 12 ---------------------------------------------------------------------


def lasnl(x, gamma, beta, eps=1e-5):
    mean = x.mean((2, 3), keepdim=True)
    variance = (x - mean).square().mean((2, 3), keepdim=True)
    return gamma * (x - mean) / (variance + eps).sqrt() + beta


@exercise(
    "lasnl",
    solution=lasnl,
    library=lasnl,
    level="easy",
    minutes=8,
    example=(
        torch.tensor([1.0, 3.0]).view(1, 1, 1, 2),
        torch.full((1, 1, 1, 2), 2.0),
        torch.full((1, 1, 1, 2), 0.5),
    ),
)
def _examine_lasnl(fn) -> str | None:
    g = torch.Generator().manual_seed(2)
    shape = (3, 4, 5, 6)
    scale = torch.rand(3, 4, 1, 1, generator=g) + 0.2
    x = scale * torch.randn(shape, generator=g) + torch.randn(3, 4, 1, 1, generator=g)
    gamma, beta = torch.randn(2, *shape, generator=g)

    def normed(dims, eps=1e-5, unbiased=False):
        variance = x.var(dims, keepdim=True, unbiased=unbiased)
        return (x - x.mean(dims, keepdim=True)) / (variance + eps).sqrt()

    plain = normed((2, 3))
    slips = {
        "Mean and deviation are those of the whole batch, as in the released code. In "
        "equation 12 each image n has its own.": gamma * normed((0, 2, 3)) + beta,
        "Mean and deviation are taken over all channels of an image. Each channel k "
        "has its own.": gamma * normed((1, 2, 3)) + beta,
        "Mean and deviation are taken over the channels, at each pixel. They are taken "
        "over the pixels.": gamma * normed((1,)) + beta,
        "The factor is gamma, as in the paper; 1 + gamma is the released code's.": (
            (1 + gamma) * plain + beta
        ),
        "The variance is divided by n - 1; divide by n (unbiased=False).": (
            gamma * normed((2, 3), unbiased=True) + beta
        ),
        "beta is multiplied by gamma, too: multiply first, then add.": (
            gamma * (plain + beta)
        ),
        "beta is missing.": gamma * plain,
        "gamma and beta are exchanged: gamma multiplies.": beta * plain + gamma,
        "Divide by the deviation, the root of the variance.": (
            gamma * (x - x.mean((2, 3), keepdim=True))
            / (x.var((2, 3), keepdim=True, unbiased=False) + 1e-5) + beta
        ),
        "The mean is not taken away.": (
            gamma * x / (x.var((2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
            + beta
        ),
    }  # fmt: skip
    right = gamma * F.instance_norm(x) + beta
    return first_hint(fn(x, gamma, beta), right, slips)
