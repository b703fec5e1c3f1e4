"""Try-on: what the flow, the masks and the landmarks say is what the pictures show.

The oracles read the pictures back: the flat garment warped by the flow against the
person who wears it, the flow at the landmarks, and the masks against each other.
"""

import pytest
import torch
import torch.nn.functional as F

from lmlib.geometry import pixel_grid
from lmlib.samples import check_batch
from lmscenes import Tryon

SIZE = 64, 48
PIXEL = torch.tensor([2 / SIZE[1], 2 / SIZE[0]])


@pytest.fixture(scope="module")
def rack():
    return Tryon(SIZE).batch(range(48))


def psnr(batch):
    mask = batch["target_mask"]
    error = (batch["warped"] - batch["target"]).square().mean(1, keepdim=True)
    return -10 * ((error * mask).sum() / mask.sum()).log10()


def test_what_a_batch_holds(rack):
    assert check_batch(rack) is rack
    height, width = SIZE
    for name in ("image", "target", "garment", "warped"):
        assert rack[name].shape == (48, 3, height, width), name
        assert 0 <= rack[name].min() and rack[name].max() <= 1
    for name in ("target_mask", "worn_mask", "garment_mask"):
        assert rack[name].shape == (48, 1, height, width)
        assert set(rack[name].unique().tolist()) == {0.0, 1.0}
    assert rack["flow"].shape == (48, 2, height, width)
    for name in ("landmarks", "worn_landmarks", "garment_landmarks"):
        assert rack[name].shape == (48, 32, 2) and rack[name].isfinite().all()
    assert len(Tryon.names) == 32


def test_an_image_is_the_same_in_any_batch(rack):
    chosen = [17, 3, 17, 40, 47]
    picked = Tryon(SIZE).batch(chosen)
    assert set(picked) == set(rack)
    for name, value in picked.items():
        torch.testing.assert_close(value, rack[name][chosen], atol=1e-4, rtol=0)


def test_the_garment_warped_by_the_flow_is_what_the_person_wears(rack):
    again = F.grid_sample(rack["garment"], rack["flow"].movedim(1, -1),
                          padding_mode="border", align_corners=False)  # fmt: skip
    mask = rack["target_mask"]
    torch.testing.assert_close(again * mask + 1 - mask, rack["warped"])
    assert psnr(rack) > 18
    # A flow that is half a pixel off is worse.
    wrong = F.grid_sample(rack["garment"], rack["flow"].movedim(1, -1) + 1.5 * PIXEL,
                          padding_mode="border", align_corners=False)  # fmt: skip
    assert psnr({**rack, "warped": wrong}) < psnr(rack) - 1


def test_landmarks_sit_on_the_flow(rack):
    """At the mask's pixel next to a visible landmark, the flow is at the garment's."""
    grid = pixel_grid(*SIZE).flatten(0, 1)
    off = (rack["landmarks"][:, :, None] - grid) / PIXEL
    off = off.norm(dim=-1) + 99 * (1 - rack["target_mask"].flatten(1))[:, None]
    near, at = off.min(2)
    seen = rack["visible"]
    assert near[seen].max() < 2
    flow = rack["flow"].flatten(2).gather(2, at[:, None].expand(-1, 2, -1)).mT
    away = ((flow - rack["garment_landmarks"]) / PIXEL).norm(dim=-1)
    assert (away[seen] < 2.5).float().mean() > 0.95
    assert away[seen].median() < 1
