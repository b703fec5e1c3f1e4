"""What do batched products and a fused unpooling make of LMDIS's training step?

``plain_losses`` is the whole method in loops: landmark by landmark, image by image and
width by width, with the features of eq. 13 made, stacked and convolved. The reference
of the unpooling alone is the plain one of ``lmlib.methods.lmdis``. Times are seconds of
a whole training step; decoding is that of one image, as in the editor.
"""

import math

import torch
import torch.nn.functional as F

from benchmarks import compare, seconds
from lmlib.geometry import pixel_grid
from lmlib.machine import best_device
from lmlib.methods.lmdis import Lmdis, LmdisConfig


def plain_losses(method: Lmdis, batch: dict) -> dict:
    """Eq. 2 to 15 in loops; the same random warp as ``Lmdis.losses``."""
    c, edge = method.config, method.edge
    images = method._jitter(batch["image"])
    zoom = c.canvas / c.size
    canvas = torch.stack([_plain_canvas(image, c) for image in images])
    warp = method.warp(canvas)
    warped = warp.image(canvas, padding="border")
    scores = c.sharpness * method.detector(torch.cat([canvas, warped]))
    maps = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
    grid = zoom * pixel_grid(*maps.shape[-2:]).to(maps)  # in the image's [-1, 1]
    points, variances = [], []
    for each in maps:
        for one in each[:-1]:
            density = (one / (one.sum() + 1e-6))[..., None]
            mean = (density * grid).sum((0, 1))
            points.append(mean)
            variances.append((density * (grid - mean) ** 2).sum((0, 1)))
    points = torch.stack(points).unflatten(0, (len(maps), -1))
    variances = torch.stack(variances).unflatten(0, (len(maps), -1))

    concentration, separation, equivariance = [], [], []
    for place, var in zip(points, variances, strict=True):
        terms = [math.pi * math.e * (v * edge**2).sum() for v in var]
        concentration.append(sum(terms))
        pairs = [
            torch.exp(-(((a - b) * edge) ** 2).sum() / (2 * c.separation**2))
            for i, a in enumerate(place)
            for j, b in enumerate(place)
            if i != j
        ]
        separation.append(sum(pairs))
    count = len(images)
    for b in range(count):
        one = zoom * warp.backward(points[count:] / zoom)[b]
        equivariance.append((((points[b] - one) * edge) ** 2).sum())

    drawn = _plain_drawing(method, canvas, maps, points, variances, count)
    errors = [((a - b) ** 2).sum() for a, b in zip(images, drawn, strict=True)]
    w = method.weights
    terms = {
        "concentration": sum(concentration) / len(maps),
        "separation": sum(separation) / len(maps),
        "equivariance": sum(equivariance) / count,
        "reconstruction": sum(errors) / count / 0.05**2,
    }
    return {name: w[name] * term for name, term in terms.items()}


def _plain_canvas(image, c):
    border = [image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]]
    colour = torch.cat(border, dim=1).mean(1)
    canvas = colour[:, None, None].repeat(1, c.canvas, c.canvas)
    margin = (c.canvas - c.size) // 2
    canvas[:, margin : margin + c.size, margin : margin + c.size] = image
    return canvas


def _plain_drawing(method, canvas, maps, points, variances, count):
    """Eq. 10 to 14, one landmark, one width and one image after the other."""
    c, edge, unpool = method.config, method.edge, method.unpool
    zoom = c.canvas / c.size
    features = method.features(canvas)
    grid = zoom * pixel_grid(*features.shape[-2:]).to(features)
    small = pixel_grid(unpool.side, unpool.side).to(features)
    stacks = []
    for b in range(count):
        vectors = []
        for k in range(c.landmarks + 1):
            if k < c.landmarks:
                width = (variances[b, k] * edge**2).mean().sqrt()
                away = (((grid - points[b, k]) * edge) ** 2).sum(-1)
                mask = torch.exp(-away / (2 * width.clamp(min=0.25 / c.size) ** 2))
            else:
                mask = maps[b, k]
            pooled = (features[b] * (mask / (mask.sum() + 1e-6))).sum((1, 2))
            vector = pooled @ method.shorten.weight[k] + method.shorten.bias
            deep = vector @ unpool.lengthen.weight[k] + unpool.lengthen.bias
            vectors.append(F.leaky_relu(deep, 0.2))
        levels, spread_out = [], []
        for width in c.widths:
            channels = []
            for k in range(c.landmarks):
                away = (((small - points[b, k]) * edge) ** 2).sum(-1)
                density = torch.exp(-away / (2 * width**2)) / (2 * math.pi * width**2)
                channels.append(density)
            channels = torch.stack([*channels, torch.ones_like(density)])
            channels = channels / channels.sum(0)
            levels.append(channels)
            each = zip(channels, vectors, strict=True)
            spread_out.append(sum(m * v[:, None, None] for m, v in each))
        stacks.append(torch.cat([*levels, *spread_out]))
    first = F.conv2d(torch.stack(stacks), unpool.weight, padding=1)
    return torch.sigmoid(method.decoder(unpool.finish(first)))


def fast_losses(method: Lmdis, batch: dict) -> dict:
    return method.losses(batch)


LOSSES = {"ours": fast_losses, "plain": plain_losses}


def _training_step(side: str, preset: str, count: int, device):
    config = LmdisConfig.preset(preset)
    layout = torch.channels_last if side == "ours" else torch.contiguous_format
    torch.manual_seed(0)
    method = Lmdis(config).to(device, memory_format=layout)
    batch = {"image": torch.rand(count, 3, config.size, config.size, device=device)}
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-3)

    def step():
        loss = sum(LOSSES[side](method, batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def _step_row(preset: str, count: int, device) -> dict:
    sides = (_training_step(side, preset, count, device) for side in LOSSES)
    ours, plain = compare(*sides, repeats=2)
    return {
        "name": f"lmdis training step, {preset}",
        "ratio": round(plain / ours, 1),
        "what": f"{count} images on {device.type}: {ours:.2f} s against {plain:.2f} s",
    }


def _unpooling_row(preset: str, count: int, device) -> dict:
    """Eq. 11 to 13 and the first convolution, forward and backward."""
    method = Lmdis(LmdisConfig.preset(preset)).to(device)
    unpool, c = method.unpool, method.config
    points = (torch.rand(count, c.landmarks, 2, device=device) * 2 - 1).requires_grad_()
    vectors = torch.randn(count, c.landmarks + 1, c.descriptor, device=device)

    def step(plain: bool):
        unpool(points, vectors, plain=plain).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    ours, plain = compare(lambda: step(False), lambda: step(True), 3)
    return {
        "name": f"lmdis unpooling, {preset}",
        "ratio": round(plain / ours, 1),
        "what": f"{count} images on {device.type}: {ours:.3f} s against {plain:.3f} s "
        "of stack and convolution",
    }


def _latency_row(preset: str, device) -> dict:
    method = Lmdis(LmdisConfig.preset(preset)).to(device).eval()
    c = method.config
    image = torch.rand(1, c.image_channels, c.size, c.size, device=device)
    with torch.no_grad():
        points, vectors = method.encode(image)
        one = seconds(lambda: method.decode(points, vectors).cpu(), 20)
    return {
        "name": f"lmdis decoding, {preset}",
        "ratio": round(0.1 / one, 1),
        "what": f"one image on {device.type}: {1000 * one:.1f} ms; the ratio is to the "
        "100 ms of a smooth editor",
    }


def run() -> list[dict]:
    device = best_device()
    count = 16 if device.type == "cuda" else 4
    return [
        _step_row("faces_class", 16, device),
        _step_row("celeba10", count, device),
        _unpooling_row("faces_class", 16, device),
        _unpooling_row("celeba10", count, device),
        *(_latency_row(name, device) for name in ("faces_class", "celeba10")),
    ]
