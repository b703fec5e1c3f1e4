"""Real images for the experiments, where their files are present (``LMLIB_DATA``).

Figures measured on them are recorded; no image, no crop and no network trained on them
is kept (MNIST excepted): see ``data/README.md``.

* CelebA without labels to learn from; half-size copies do.
* MTFL's training list to fit and test the regression on: its first 3,151 images and the
  1,000 that follow. They are of LFW, whose images were placed by a face detector, so
  one box for all cuts out about what CelebA's does. (Boxes tied to the true landmarks
  give the answer away: with them, the mean face alone has an error of 9.7 % of the
  eyes' distance, with one box for all 14.3 %.) The official test part is another set.
* 300-W's training images: of a fixed random order, the first 1,600 to train on, the
  rest to test, in boxes tied to the true landmarks, as is usual there (images are
  shifted, scaled and turned in training, not in testing). Again our own split, so
  figures are comparable with ours only.
"""

import torch

from lmlib.datasets import find_folder
from lmlib.datasets.faces import CELEBA_SIZE, mtfl, w300
from lmlib.datasets.images import ImageSet, folder

# Parts of CelebA's 178 x 218 pixels: left, top, right, bottom.
FACE = (21, 60, 157, 196)  # ours: the face and little else
DVE = (0, 30, 178, 208)  # DVE's, whose warps need a margin
# What ``FACE`` is in MTFL's images, as shares: the median of ``faces.face_boxes``.
MTFL_FACE = (0.208, 0.228, 0.805, 0.825)
CELEBA_PLACES = ("celeba/Img/img_align_celeba", "celeba_half_res")
CELEBA_COUNT = 10_000
MTFL_KNOWN, MTFL_TEST = range(3151), range(3151, 4151)


def celeba_faces(size: int, part=FACE, count: int = CELEBA_COUNT) -> ImageSet:
    """Aligned faces without labels."""
    left, top, right, bottom = part
    width, height = CELEBA_SIZE
    crop = left / width, top / height, right / width, bottom / height
    faces = folder(find_folder(*CELEBA_PLACES), size=size, crop=crop)
    return faces.subset(range(min(count, len(faces))))


def mtfl_faces(size: int, part=FACE) -> ImageSet:
    """Faces with five landmarks; one box for all, that holds what ``part`` holds of
    CelebA's faces."""
    left, top, right, _ = MTFL_FACE
    scale = (right - left) / (FACE[2] - FACE[0])
    box = [
        start + scale * (edge - origin)
        for edge, start, origin in zip(
            part, (left, top) * 2, (FACE[0], FACE[1]) * 2, strict=True
        )
    ]
    return mtfl(None, "train", size, crop=tuple(box))


def w300_faces(size: int) -> ImageSet:
    """Faces with 68 landmarks, in gray, in our own order."""
    faces = w300(None, "train", size, gray=True)
    generator = torch.Generator().manual_seed(0)
    return faces.subset(torch.randperm(len(faces), generator=generator))
