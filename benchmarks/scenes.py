"""How many 60 x 60 scene images a second? Ours for a whole batch, against one by one.

The reference draws the same kind of polygons the plain way: one after the other with
Pillow, four times too large, then shrunk (supersampling); its masks add up to its
image. It gets its corners for nothing, ours also draws the random numbers and labels.
Hands and faces have no such reference: they are compared with drawing one image after
the other, and with looking them up in a ``Stored`` set, as training does.
"""

import numpy as np
import torch
from PIL import Image, ImageDraw

from benchmarks import compare
from lmlib.samples import Stored
from lmscenes import Blocks, Faces, Hands, Shapes

COUNT, ROUNDS, THREADS, FINE = 64, 60, 2, 4
FEW = 16  # hands and faces


def reference_masks(polygons: list[list[list]], size: int) -> torch.Tensor:
    """Each polygon (corners in pixels) drawn by Pillow: ``(B, S, H, W)``."""
    masks = []
    for shapes in polygons:
        for corners in shapes:
            canvas = Image.new("L", (size * FINE, size * FINE))
            scaled = [(x * FINE, y * FINE) for x, y in corners]
            ImageDraw.Draw(canvas).polygon(scaled, fill=255)
            small = canvas.resize((size, size), Image.Resampling.BOX)
            masks.append(np.asarray(small, dtype=np.float32) / 255)
    return torch.from_numpy(np.stack(masks).reshape(len(polygons), -1, size, size))


def reference_batch(polygons: list[list[list]], size: int) -> dict:
    """Image and masks of a batch, as a scene gives them."""
    mask = reference_masks(polygons, size)
    return {"image": mask.sum(dim=1, keepdim=True).clamp(max=1), "mask": mask}


def stand_in_polygons(scene) -> list[list[list]]:
    """Polygons of the scene's number and size at its landmarks, to keep Pillow busy.

    Only the work matters here, not the orientation: an n-gon costs the same turned.
    """
    points = (scene.batch(range(COUNT))["landmarks"] + 1) * scene.size / 2
    sides = [3, 4] if isinstance(scene, Shapes) else [4] * 5 + [3]
    polygons = []
    for image in points.tolist():
        image = image + image[: len(sides) - len(image)]  # the head of Blocks
        shapes = []
        for (x, y), n in zip(image, sides, strict=True):
            angles = [2 * np.pi * i / n for i in range(n)]
            shapes.append([(x + 6 * np.cos(a), y + 6 * np.sin(a)) for a in angles])
        polygons.append(shapes)
    return polygons


def run() -> list[dict]:
    """One row a scene: ``ratio`` is the reference's time over ours."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    rows = []
    try:
        for scene in (Shapes(), Blocks()):
            polygons = stand_in_polygons(scene)
            ours, plain = compare(
                lambda scene=scene: scene.batch(range(COUNT)),
                lambda shapes=polygons, n=scene.size: reference_batch(shapes, n),
                repeats=ROUNDS,
            )
            name = type(scene).__name__
            rows.append(
                {
                    "name": f"scenes {name}",
                    "ratio": round(plain / ours, 2),
                    "images_per_second": round(COUNT / ours),
                    "reference_images_per_second": round(COUNT / plain),
                    "what": f"{name} {scene.size}x{scene.size}, batches of {COUNT}, "
                    f"{THREADS} CPU threads, with masks and labels; reference: Pillow, "
                    f"shape by shape, {FINE}x supersampled",
                }
            )
        for scene in (Hands(64), Faces(64)):
            rows += drawn_in_three_ways(scene)
    finally:
        torch.set_num_threads(before)
    return rows


def drawn_in_three_ways(scene) -> list[dict]:
    """As a batch against one by one; stored against drawn anew."""
    name = f"{type(scene).__name__} {scene.size}x{scene.size}"
    data = Stored(scene, range(FEW))
    ours, plain = compare(
        lambda: scene.batch(range(FEW)),
        lambda: [scene.batch([i]) for i in range(FEW)],
        repeats=1,
    )
    stored, drawn = compare(
        lambda: data.batch(range(FEW)), lambda: scene.batch(range(FEW)), repeats=1
    )
    about = {"images_per_second": round(FEW / ours)}
    return [
        {
            "name": f"scenes {type(scene).__name__}",
            "ratio": round(plain / ours, 2),
            **about,
            "what": f"{name}, a batch of {FEW} against one image after the other, "
            f"{THREADS} CPU threads",
        },
        {
            "name": f"stored {type(scene).__name__}",
            "ratio": round(drawn / stored, 2),
            **about,
            "what": f"{name}, {FEW} images looked up against drawn",
        },
    ]


if __name__ == "__main__":
    import json

    for row in run():
        print(json.dumps(row))
