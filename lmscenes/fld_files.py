"""Garments as files in the layout of DeepFashion's FLD.

``img/img_00000001.jpg`` and on, ``Anno/list_landmarks.txt``, ``Anno/list_bbox.txt`` and
``Eval/list_eval_partition.txt``, from the arrays of the scene: what reads FLD reads
these, and can be checked against the truth.
"""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from torch import Tensor

from lmlib.geometry import to_pixels
from lmscenes.garments import ABSENT, Garments

SPLITS = ("train", "val", "test")
CHUNK = 64  # images in memory at a time


def write_fld(folder: Path | str, scene: Garments,
              splits: Mapping[str, range]) -> None:  # fmt: skip
    """Write images ``splits[name]`` of a scene, in that order, into ``folder``.

    Coordinates are pixel indices counted from 0 with two decimals (FLD's are whole);
    points outside the frame keep theirs. Boxes are edges, 0 to the image's size.

    Raises:
        ValueError: a split that FLD does not have, or no images at all.
        FileExistsError: ``folder`` holds such files already.
    """
    unknown = [name for name in splits if name not in SPLITS]
    if unknown:
        raise ValueError(f"splits must be some of {[*SPLITS]}, got {unknown[0]!r}")
    order = [(name, i) for name, indices in splits.items() for i in indices]
    if not order:
        raise ValueError("there are no images to write: all splits are empty")
    folder = Path(folder)
    if (folder / "Anno").exists():
        raise FileExistsError(f"{folder}: holds the annotation of another set already")
    for name in ("img", "Anno", "Eval"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    marks, boxes, parts = [], [], []
    for start in range(0, len(order), CHUNK):
        few = order[start : start + CHUNK]
        batch = scene.batch([i for _, i in few])
        names = [f"img/img_{start + k + 1:08d}.jpg" for k in range(len(few))]
        for name, image in zip(names, batch["image"], strict=True):
            _save(folder / name, image)
        pixels = to_pixels(batch["landmarks"], (scene.size, scene.size)).tolist()
        edges = ((batch["box"].clamp(-1, 1) + 1) * (scene.size / 2)).tolist()
        codes = batch["code"].tolist()
        kinds, variations = batch["clothes"].tolist(), batch["variation"].tolist()
        for k, (split, _) in enumerate(few):
            head = f"{names[k]} {kinds[k] + 1} {variations[k] + 1}"
            points = [
                f"{code} {x:.2f} {y:.2f}"
                for code, (x, y) in zip(codes[k], pixels[k], strict=True)
                if code != ABSENT
            ]
            marks.append("  ".join([head, *points]))
            boxes.append(" ".join([names[k], *(f"{edge:.2f}" for edge in edges[k])]))
            parts.append(f"{names[k]} {split}")
    slots = " ".join(
        f"landmark_visibility_{k} landmark_location_x_{k} landmark_location_y_{k}"
        for k in range(1, 9)
    )
    for name, columns, rows in (
        ("Anno/list_landmarks", f"clothes_type variation_type {slots}", marks),
        ("Anno/list_bbox", "x_1 y_1 x_2 y_2", boxes),
        ("Eval/list_eval_partition", "evaluation_status", parts),
    ):
        lines = [str(len(rows)), f"image_name {columns}", *rows]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def _save(path: Path, image: Tensor) -> None:
    pixels = (image * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(pixels).save(path, quality=95, subsampling=0)
