"""Does decoding keep up with training? Images a second from disk, against one step's.

JPEG files are written first: aligned faces of CelebA's size, and photographs of a
camera's. Two questions each: how many times faster do threads, and decoding a camera's
JPEG at a fraction of its size, make it than one image after the other at full size; and
how many times as many images come from disk as a training step of DVE's class preset
takes in the same time.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks import compare, seconds, training_step
from lmlib.datasets.images import ImageSet
from lmlib.datasets.photos import cut, frame, read_photo
from lmlib.methods.dve import Dve, DveConfig

SIZES = {
    "CelebA's 178 x 218": ((178, 218), 64),
    "a camera's 3000 x 2000": ((3000, 2000), 8),
}


def write(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """JPEG files with as much detail as photographs have, about."""
    rng = np.random.default_rng(0)
    width, height = size
    paths = []
    for number in range(count):
        coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        paths.append(folder / f"{number:03}.jpg")
        image.save(paths[-1], quality=90)
    return paths


def step_of(config: DveConfig):
    torch.manual_seed(0)
    method = Dve(config).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(method.parameters())
    batch = {"image": torch.rand(config.batch_size, 3, config.frame, config.frame)}
    return training_step(method, optimizer, batch)


def run() -> list[dict]:
    config, rows = DveConfig.smallnet_class(), []
    trained = config.batch_size / seconds(step_of(config), repeats=3)
    with tempfile.TemporaryDirectory() as folder:
        for name, (size, count) in SIZES.items():
            paths = write(Path(folder), size, count)
            data = ImageSet(paths, config.frame)

            def plain(paths=paths):
                photos = map(read_photo, paths)
                side = (config.frame, config.frame)
                return np.stack([cut(x, frame(x.size, "centre"), side) for x in photos])

            ours, one_by_one = compare(
                lambda data=data: data.batch(data.indices), plain, repeats=3
            )
            rate = count / ours
            about = f"{rate:.0f} images a second to {config.frame} px"
            rows += [
                {
                    "name": f"decoding {name}, against one by one at full size",
                    "ratio": round(one_by_one / ours, 2),
                    "what": f"{about}, against {count / one_by_one:.0f}",
                },
                {
                    "name": f"decoding {name}, against training",
                    "ratio": round(rate / trained, 2),
                    "what": f"{about}; a step of DVE's class preset takes "
                    f"{trained:.0f} a second",
                },
            ]
    return rows
