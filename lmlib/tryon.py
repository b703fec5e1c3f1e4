"""A garment tried on a person, from two photographs to one image.

The person is cut to three by four, as networks see people; the garment is seen as a
whole, with more of its ground around it where its image is of another shape.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lmlib.datasets.photos import Box, cut, opened_photo
from lmlib.files import whole
from lmlib.landmarker import load
from lmlib.methods.salvton import STAGES, Salvton
from lmlib.texts import check_writable

WHITE = 0.94  # all colours of a ground are at least as bright
GROUND = 0.9  # share of a garment's edge that must be ground


def tryon(
    checkpoint: str | Path,
    person: str | Path,
    garment: str | Path,
    out: str | Path,
    mask: str | Path | None = None,
    device=None,
) -> Float[Tensor, "3 h w"]:
    """Write the person in the garment to ``out``, a PNG file, and return the image.

    Args:
        checkpoint: of a network with all three stages.
        mask: bright where the garment is, of the garment's size. Without it, whatever
            is not white is taken for the garment.

    Raises:
        FileNotFoundError, ValueError: a file that is not there or no image; a network
            that makes no images; a mask of another size, or empty; no mask, and a
            ground that is not white.
    """
    out = Path(out)
    if out.suffix.lower() != ".png":
        raise ValueError(f"{out}: expected a name like NAME.png")
    check_writable(out)
    method = load(checkpoint, device).method
    if not isinstance(method, Salvton) or set(method.config.stages) != {*STAGES}:
        parts = ", ".join(getattr(method.config, "stages", ())) or method.name
        raise ValueError(
            f"{checkpoint}: try-on needs a network of salvton with the stages "
            f"{', '.join(STAGES)}; this is one of {parts}"
        )
    size = method.config.shape
    worn = _read(person, size, pad=False)
    flat = _read(garment, size, pad=True)
    cloth = _mask(garment, mask, flat, size)
    flat = flat * cloth + 1 - cloth  # on white, as in training
    where = next(method.parameters()).device
    parts = (part.unsqueeze(0).to(where) for part in (worn, flat, cloth))
    made = method.try_on(*parts)[0].cpu()
    pixels = (255 * made).round().byte().permute(1, 2, 0).numpy()
    with whole(out) as file:
        Image.fromarray(pixels).save(file, "PNG")
    return made


def _box(width: int, height: int, size: tuple[int, int], pad: bool) -> Box:
    """The middle of an image in the shape of ``size``: as much of it as fits or, with
    ``pad``, all of it."""
    share = size[1] / size[0]
    choose = max if pad else min
    tall = choose(height, width / share)
    left, top = (width - tall * share) / 2, (height - tall) / 2
    return left, top, left + tall * share, top + tall


def _read(path: str | Path, size: tuple[int, int], pad: bool) -> Tensor:
    with opened_photo(path) as (photo, _):
        pixels = cut(photo, _box(*photo.size, size, pad), size)
    return torch.from_numpy(pixels.copy()).float() / 255


def _mask(
    garment: str | Path, mask: str | Path | None, flat: Tensor, size: tuple[int, int]
) -> Float[Tensor, "1 h w"]:
    """Where the garment is."""
    if mask is None:
        found = (flat < WHITE).any(0, keepdim=True).float()
        edge = torch.cat([found[0, [0, -1]].ravel(), found[0, :, [0, -1]].ravel()])
        if edge.mean() > 1 - GROUND:
            raise ValueError(
                f"{garment}: its ground is not white, so where the garment is needs to "
                "be said: --mask"
            )
    else:
        with opened_photo(garment) as (photo, _), opened_photo(mask) as (other, _):
            if photo.size != other.size:
                raise ValueError(
                    f"{mask}: is {other.width} x {other.height} pixels, but "
                    f"{Path(garment).name} is {photo.width} x {photo.height}"
                )
        found = (_read(mask, size, pad=True)[:1] >= 0.5).float()
    if not found.any():
        what = mask or garment
        raise ValueError(f"{what}: shows no garment, all of it is ground")
    return found
