"""The exercises of notebook 50 accept what is right, and name each typical slip."""

import torch
import torch.nn.functional as F
from exercise_answers import (  # noqa: F401
    test_right_answers_pass,
    test_wrong_answers_get_their_own_hint,
)

from lmlib.methods.salvton.flows import standing, warp

# ---- compose_flows -------------------------------------------------------------------


def unit(offset):
    return torch.tensor([2 / offset.shape[-1], 2 / offset.shape[-2]]).view(1, 2, 1, 1)


def compose_in_pixels(flow, offset):
    """Everything in pixels, with grid_sample of its own."""
    height, width = offset.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    here, size = torch.stack([x, y]).float(), torch.tensor([width, height])
    go = here + offset
    moved = ((flow + 1) * size.view(1, 2, 1, 1) - 1) / 2 - here
    place = (2 * go + 1) / size.view(1, 2, 1, 1) - 1
    read = F.grid_sample(moved, place.permute(0, 2, 3, 1), align_corners=False,
                         padding_mode="border")  # fmt: skip
    return (2 * (go + read) + 1) / size.view(1, 2, 1, 1) - 1


def compose_by_adding(flow, offset):
    return flow + unit(offset) * offset


def compose_backwards(flow, offset):
    return flow + warp(unit(offset) * offset, flow)


def compose_reading_the_flow(flow, offset):
    return warp(flow, standing(flow) + unit(offset) * offset)


def compose_swapped(flow, offset):
    step = standing(flow) + unit(offset).flip(1) * offset
    return step + warp(flow - standing(flow), step)


def compose_half(flow, offset):
    step = standing(flow) + unit(offset) / 2 * offset
    return step + warp(flow - standing(flow), step)


def compose_corners(flow, offset):
    height, width = offset.shape[-2:]
    pixel = torch.tensor([2 / (width - 1), 2 / (height - 1)]).view(1, 2, 1, 1)
    step = standing(flow) + pixel * offset
    return step + warp(flow - standing(flow), step)


def compose_unconverted(flow, offset):
    step = standing(flow) + offset
    return step + warp(flow - standing(flow), step)


def compose_without_step(flow, offset):
    here = standing(flow)
    return here + warp(flow - here, here + unit(offset) * offset)


# ---- fuse ----------------------------------------------------------------------------


def fuse_by_pixels(patches, attention, inside, whole, gate):
    """One pixel after the other, as the equations stand."""
    out = whole.clone()
    for y in range(whole.shape[1]):
        for x in range(whole.shape[2]):
            k = inside[:, y, x].nonzero().flatten()
            if len(k):
                weight = attention[k, y, x].exp()
                mean = (weight[:, None] * patches[k, :, y, x]).sum(0) / weight.sum()
                g = gate[y, x]
                out[:, y, x] = (1 - g) * mean + g * whole[:, y, x]
    return out


def fuse_with(share, patches, whole, gate):
    return (1 - gate) * (share.unsqueeze(1) * patches).sum(0) + gate * whole


def fuse_everywhere(patches, attention, inside, whole, gate):
    gate = torch.where(inside.any(0), gate, 1.0)
    return fuse_with(attention.softmax(0), patches, whole, gate)


def fuse_cut_late(patches, attention, inside, whole, gate):
    gate = torch.where(inside.any(0), gate, 1.0)
    return fuse_with(attention.softmax(0) * inside, patches, whole, gate)


def fuse_over_pixels(patches, attention, inside, whole, gate):
    scores = attention.masked_fill(~inside, -1e4)
    share = scores.flatten(1).softmax(1).view_as(scores)
    return fuse_with(share, patches, whole, torch.where(inside.any(0), gate, 1.0))


def fuse_along_rows(patches, attention, inside, whole, gate):
    share = attention.masked_fill(~inside, -1e4).softmax(-1)
    return fuse_with(share, patches, whole, torch.where(inside.any(0), gate, 1.0))


def masked(attention, inside):
    return attention.masked_fill(~inside, -1e4).softmax(0)


def fuse_gate_turned(patches, attention, inside, whole, gate):
    gate = torch.where(inside.any(0), 1 - gate, 1.0)
    return fuse_with(masked(attention, inside), patches, whole, gate)


def fuse_gate_everywhere(patches, attention, inside, whole, gate):
    return fuse_with(masked(attention, inside), patches, whole, gate)


def fuse_local_where_none(patches, attention, inside, whole, gate):
    gate = gate * inside.any(0)
    return fuse_with(masked(attention, inside), patches, whole, gate)


def fuse_plain_mean(patches, attention, inside, whole, gate):
    share = inside / inside.sum(0).clamp(min=1)
    return fuse_with(share, patches, whole, torch.where(inside.any(0), gate, 1.0))


def fuse_winner(patches, attention, inside, whole, gate):
    best = masked(attention, inside).argmax(0)
    share = F.one_hot(best, len(patches)).permute(2, 0, 1).float()
    return fuse_with(share, patches, whole, torch.where(inside.any(0), gate, 1.0))


def fuse_not_a_number(patches, attention, inside, whole, gate):
    share = attention.masked_fill(~inside, -torch.inf).softmax(0)
    return fuse_with(share, patches, whole, gate)


# ---- lasnl ---------------------------------------------------------------------------


def lasnl_by_torch(x, gamma, beta, eps=1e-5):
    return torch.addcmul(beta, gamma, F.instance_norm(x, eps=eps))


def normed(x, dims, unbiased=False):
    variance = x.var(dims, keepdim=True, unbiased=unbiased)
    return (x - x.mean(dims, keepdim=True)) / (variance + 1e-5).sqrt()


def lasnl_of_the_batch(x, gamma, beta, eps=1e-5):
    return gamma * F.batch_norm(x, None, None, training=True) + beta


def lasnl_of_the_image(x, gamma, beta, eps=1e-5):
    return gamma * F.layer_norm(x, x.shape[1:]) + beta


def lasnl_of_the_pixel(x, gamma, beta, eps=1e-5):
    return gamma * normed(x, (1,)) + beta


def lasnl_released(x, gamma, beta, eps=1e-5):
    return (1 + gamma) * normed(x, (2, 3)) + beta


def lasnl_unbiased(x, gamma, beta, eps=1e-5):
    return gamma * normed(x, (2, 3), unbiased=True) + beta


def lasnl_beta_first(x, gamma, beta, eps=1e-5):
    return gamma * (normed(x, (2, 3)) + beta)


def lasnl_without_beta(x, gamma, beta, eps=1e-5):
    return gamma * normed(x, (2, 3))


def lasnl_exchanged(x, gamma, beta, eps=1e-5):
    return beta * normed(x, (2, 3)) + gamma


def lasnl_without_root(x, gamma, beta, eps=1e-5):
    variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
    return gamma * (x - mean) / (variance + eps) + beta


def lasnl_not_centred(x, gamma, beta, eps=1e-5):
    variance = x.var((2, 3), keepdim=True, unbiased=False)
    return gamma * x / (variance + eps).sqrt() + beta


WRONG = [
    ("compose_flows", compose_by_adding, "where it stands"),
    ("compose_flows", compose_backwards, "the step first"),
    ("compose_flows", compose_reading_the_flow, "You read the flow itself"),
    ("compose_flows", compose_swapped, "sides swapped"),
    ("compose_flows", compose_half, "not 1 / n"),
    ("compose_flows", compose_corners, "not 2 / (n - 1)"),
    ("compose_flows", compose_unconverted, "convert them"),
    ("compose_flows", compose_without_step, "The step is missing"),
    ("fuse", fuse_everywhere, "take part everywhere"),
    ("fuse", fuse_cut_late, "no longer sum to 1"),
    ("fuse", fuse_over_pixels, "runs over the pixels"),
    ("fuse", fuse_along_rows, "along the rows"),
    ("fuse", fuse_gate_turned, "the wrong way round"),
    ("fuse", fuse_gate_everywhere, "still listen to the gate"),
    ("fuse", fuse_local_where_none, "local flow alone"),
    ("fuse", fuse_plain_mean, "plain mean"),
    ("fuse", fuse_winner, "take all"),
    ("fuse", fuse_not_a_number, "NaN"),
    ("lasnl", lasnl_of_the_batch, "whole batch"),
    ("lasnl", lasnl_of_the_image, "all channels"),
    ("lasnl", lasnl_of_the_pixel, "at each pixel"),
    ("lasnl", lasnl_released, "the released code's"),
    ("lasnl", lasnl_unbiased, "divide by n"),
    ("lasnl", lasnl_beta_first, "multiply first"),
    ("lasnl", lasnl_without_beta, "beta is missing"),
    ("lasnl", lasnl_exchanged, "gamma multiplies"),
    ("lasnl", lasnl_without_root, "the root"),
    ("lasnl", lasnl_not_centred, "not taken away"),
]
RIGHT = [
    ("compose_flows", compose_in_pixels),
    ("fuse", fuse_by_pixels),
    ("lasnl", lasnl_by_torch),
]
