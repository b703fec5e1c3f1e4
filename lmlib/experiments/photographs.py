"""Real images for the experiments, where their files are present (``LMLIB_DATA``).

Figures measured on them are recorded; no image, no crop and no network trained on them
is kept (MNIST excepted): see ``data/README.md``.

* CelebA without labels to learn from; half-size copies do.
* MTFL's training list to fit and test the regression on: its first 3,151 images and the
  1,000 that follow, cut out so that faces lie as in CelebA. The official test part is
  another set.
* 300-W's training images: of a fixed random order, the first 1,600 to train on, the
  rest to test. Again our own split, so figures are comparable with ours only.
"""

import torch

from lmlib.datasets import find_folder
from lmlib.datasets.images import ImageSet, folder

# Parts of CelebA's 178 x 218 pixels: left, top, right, bottom.
FACE = (21, 60, 157, 196)  # ours: the face and little else
DVE = (0, 30, 178, 208)  # DVE's, whose warps need a margin
CELEBA_PLACES = ("celeba/Img/img_align_celeba", "celeba_half_res")
CELEBA_COUNT = 10_000
MTFL_KNOWN, MTFL_TEST = range(3151), range(3151, 4151)
W300_TRAIN, W300_TEST = range(1600), range(1600, 2012)


def celeba_faces(size: int, part=FACE, count: int = CELEBA_COUNT) -> ImageSet:
    """Aligned faces without labels."""
    left, top, right, bottom = part
    crop = left / 178, top / 218, right / 178, bottom / 218
    faces = folder(find_folder(*CELEBA_PLACES), size=size, crop=crop)
    return faces.subset(range(min(count, len(faces))))


def mtfl_faces(size: int, part=FACE) -> ImageSet:
    """Faces with five landmarks, in a box that holds what ``part`` holds of CelebA."""
    from lmlib.datasets.faces import mtfl

    faces = mtfl(None, "train", size)
    corner, side = faces.boxes[:, :2], faces.boxes[:, 2:] - faces.boxes[:, :2]
    width = FACE[2] - FACE[0]  # what the reader's own boxes hold
    ends = [
        corner + side * (torch.tensor(part[i : i + 2]) - torch.tensor(FACE[:2])) / width
        for i in (0, 2)
    ]
    faces.boxes = torch.cat(ends, 1)
    return faces


def w300_faces(size: int) -> ImageSet:
    """Faces with 68 landmarks, in gray, in our own order."""
    from lmlib.datasets.faces import w300

    faces = w300(None, "train", size, gray=True)
    generator = torch.Generator().manual_seed(0)
    return faces.subset(torch.randperm(len(faces), generator=generator))
