"""The tables on photographs, with tiny files in the sets' official layouts."""

import numpy as np
import pytest
import torch
from PIL import Image

from lmcourse.experiments import dve, lmdis, seqmt
from lmcourse.experiments import photographs as photos
from lmlib.places import repository_root

TABLES = ("dve-celeba", "lmdis-celeba", "seqmt-300w")
# CelebA's mean face in its 178 x 218 pixels.
MEAN_FACE = torch.tensor([[69, 111], [108, 111], [88, 135], [73, 152], [105, 152]])


def save(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(0, 255, size[0], dtype=np.uint8)
    Image.fromarray(np.tile(ramp, (size[1], 1))).convert("RGB").save(path)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Four faces of CelebA at half size, and MTFL's list of two people."""
    for number in range(1, 5):
        save(tmp_path / "celeba_half_res" / f"{number:06}.jpg", (89, 109))
    # A face where LFW's detector puts it, and one a tenth of the box further on.
    left, top, right, _ = photos.MTFL_FACE
    scale = 250 * (right - left) / (photos.FACE[2] - photos.FACE[0])
    corner = torch.tensor([left, top]) * 250
    face = (MEAN_FACE + 0.5 - torch.tensor(photos.FACE[:2])) * scale + corner - 0.5
    lines = []
    for number, shift in enumerate((0.0, 0.1 * 250 * (right - left))):
        save(tmp_path / "MTFL" / "lfw_5590" / f"{number}.jpg", (250, 250))
        x, y = (face + shift).T.tolist()
        lines.append(f"lfw_5590\\{number}.jpg {' '.join(map(str, x + y))} 1 2 2 3")
    (tmp_path / "MTFL" / "training.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("LMLIB_DATA", str(tmp_path))


@pytest.mark.parametrize("part", [photos.FACE, photos.DVE])
def test_a_face_in_the_middle_of_mtfl_lies_as_in_celeba(data, part):
    left, top, right, bottom = part
    expected = (MEAN_FACE + 0.5 - torch.tensor([left, top])) / (right - left) * 2 - 1
    found = photos.mtfl_faces(32, part).batch(range(1))["landmarks"][0]
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_the_box_does_not_follow_the_face(data):
    """A box tied to the landmarks would tell where they are."""
    first, second = photos.mtfl_faces(32).batch(range(2))["landmarks"]
    torch.testing.assert_close(second, first + 0.2, atol=1e-4, rtol=0)


def test_a_part_of_celeba_is_the_same_share_of_any_copy(data):
    image = photos.celeba_faces(16, photos.DVE, count=3).batch(range(3))["image"]
    assert image.shape == (3, 3, 16, 16)
    # The whole width: a ramp from black to white.
    assert image[..., 0].max() < 0.06 and image[..., -1].min() > 0.94
    face = photos.celeba_faces(16).batch(range(1))["image"]
    torch.testing.assert_close(face[..., 0].mean().item(), 21 / 178, atol=0.05, rtol=0)


def test_nothing_trained_on_photographs_ships():
    files = [f.name for f in (repository_root() / "data" / "checkpoints").iterdir()]
    for table in TABLES:
        assert not any(name.startswith(table) for name in files)
        for module in (dve, lmdis, seqmt):
            assert not module.KEPT.get(table)


@pytest.mark.parametrize(
    "module, table", [*zip((dve, lmdis, seqmt), TABLES, strict=True)]
)
def test_without_the_files_a_run_says_where_it_looked(
    module, table, tmp_path, monkeypatch
):
    monkeypatch.setenv("LMLIB_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("LMLIB_BUDGET", "quick")
    problem = module.PROBLEMS[table]
    module_cache = getattr(module, "training_data", None)
    if hasattr(module_cache, "cache_clear"):
        module_cache.cache_clear()
    setting = next(iter(problem.settings))
    with pytest.raises(FileNotFoundError, match="nowhere.*LMLIB_DATA"):
        problem.run(setting, 0)
