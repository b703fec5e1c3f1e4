"""``open_data``: names, paths, and the sets that come as arrays or are drawn."""

import struct
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from lmlib.datasets import READERS, open_data
from lmlib.datasets.idx import FILES, Idx
from lmlib.samples import check_batch
from lmscenes import Blocks
from lmscenes.drawn import SCENE_SPLITS


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="called 'imagenet'; there are") as e:
        open_data("imagenet:/data")
    assert all(name in str(e.value) for name in READERS)
    with pytest.raises(ValueError, match="needs its path"):
        open_data("folder")


@pytest.mark.parametrize("name", sorted({*READERS} - {"digits"}))
def test_every_reader_says_what_it_looked_for(name, tmp_path):
    """All but the digits, which lie inside scikit-learn."""
    split = "test" if name == "aflw" else "train"
    with pytest.raises(FileNotFoundError, match="nowhere: (no such folder|.*found no)"):
        open_data(f"{name}:{tmp_path / 'nowhere'}", split, 32)


def test_a_folder_of_images_with_every_option(tmp_path):
    """Its middle, 20 of 30 columns, in gray: red, green and blue stripes of a third."""
    stripes = np.zeros((20, 30, 3), np.uint8)
    for channel in range(3):
        stripes[:, 10 * channel : 10 * channel + 10, channel] = 255
    Image.fromarray(stripes).save(tmp_path / "é.png")
    data = open_data(
        f"folder:{tmp_path}", "train", 4, gray=True, partial=True, crop=None
    )
    batch = data.batch(data.indices)
    assert [path.name for path in data.paths] == ["é.png"]
    expected = torch.tensor([0.299, 0.587, 0.587, 0.114]).expand(1, 1, 4, 4)
    torch.testing.assert_close(batch["image"], expected, atol=0.08, rtol=0)
    colour = open_data(f"folder:{tmp_path}", "train", 4, crop="squash")
    means = colour.batch(range(1))["image"].mean((0, 2, 3))
    torch.testing.assert_close(means, torch.full((3,), 1 / 3), atol=0.01, rtol=0)


def test_drawn_splits_are_the_scene_and_disjoint():
    train = open_data("scene:blocks", "train", 32)
    test = open_data("scene:blocks", "test", 32, gray=True)
    assert (len(train), len(test)) == (1000, 500) == (len(train.indices), 500)
    batch = check_batch(test.batch(torch.tensor([3, 499])))
    again = Blocks(32).batch(torch.tensor([100_003, 100_499]))
    assert torch.equal(batch["image"], again["image"])
    assert batch["index"].tolist() == [3, 499]
    assert not {*SCENE_SPLITS["train"]} & {*SCENE_SPLITS["test"]}
    with pytest.raises(IndexError, match="numbered 0 to 499"):
        test.batch(torch.tensor([500]))


def test_a_drawn_hand_in_gray():
    colour, gray = (
        open_data("scene:hands", "train", 32, gray=gray).batch(range(1))["image"]
        for gray in (False, True)
    )
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    assert gray.shape == (1, 1, 32, 32)
    assert torch.allclose(gray, (colour * weights).sum(1, keepdim=True), atol=1e-6)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"source": "scene:cats"}, "no scene is called 'cats'; there are animals"),
        ({"source": "scene:blocks", "split": "val"}, "split must be one of"),
        ({"source": "scene:blocks", "size": (32, 40)}, "scenes are square"),
        ({"source": "scene:blocks", "crop": (0, 0, 1, 0.5)}, "drawn whole"),
        ({"source": "digits", "split": "val"}, "split must be one of"),
        ({"source": "digits", "size": 0}, "at least one pixel"),
    ],
)
def test_wrong_options_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        open_data(**options)


def test_digits_are_split_once():
    train, test = (open_data("digits", split, 8) for split in ("train", "test"))
    assert (len(train), len(test)) == (1200, 597)
    batch = check_batch(test.batch(torch.tensor([5, 5])))
    assert batch["image"].shape == (2, 1, 8, 8) and batch["label"].shape == (2,)
    # At the digits' own size nothing is interpolated.
    pixels = torch.from_numpy(test.pixels[5]) / 255
    assert (batch["image"][0, 0] - pixels).abs().max() < 1 / 255
    everything = np.concatenate([train.pixels, test.pixels]).reshape(1797, -1)
    assert len(np.unique(everything, axis=0)) == 1797


def people(count, shape):
    """``count`` images of each of ten people, all of a person's brightness."""
    target = np.repeat(np.arange(10), count)
    images = np.ones((len(target), *shape), np.float32) * (target / 10)[
        :, None, None
    ].reshape(-1, *[1] * len(shape))
    return SimpleNamespace(images=images, target=target)


def test_fetched_faces_are_split_by_person(monkeypatch, tmp_path):
    asked = {}

    def fetch(**options):
        asked.update(options)
        return people(2, (12, 10, 3))

    monkeypatch.setattr("sklearn.datasets.fetch_lfw_people", fetch)
    train, test = (
        open_data(f"lfw:{tmp_path}", split, 8) for split in ("train", "test")
    )
    assert asked["data_home"] == tmp_path and asked["min_faces_per_person"] == 20
    assert test.labels["label"].tolist() == [4, 4, 9, 9] and len(train) == 16
    batch = test.batch(test.indices)
    assert batch["image"].shape == (4, 3, 8, 8)
    assert batch["image"].mean((1, 2, 3)).tolist() == pytest.approx(
        [0.4, 0.4, 0.9, 0.9], abs=0.01
    )
    monkeypatch.setattr("sklearn.datasets.fetch_olivetti_faces",
                        lambda data_home: people(2, (12, 12)))  # fmt: skip
    image = open_data("olivetti", "test", 8).batch(range(2))["image"]
    assert image.shape == (2, 1, 8, 8)
    assert image.mean().item() == pytest.approx(0.4, abs=0.01)


def test_no_network_is_one_clear_error(monkeypatch, tmp_path):
    def fetch_olivetti_faces(**options):
        raise OSError("Name or service not known")

    monkeypatch.setattr("sklearn.datasets.fetch_olivetti_faces", fetch_olivetti_faces)
    with pytest.raises(FileNotFoundError, match="found no copy there.*with a network"):
        open_data(f"olivetti:{tmp_path}")


@pytest.fixture
def mnist_folder(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.zeros((3, 28, 28), np.uint8)
    pixels[1] = 255
    for images, labels in FILES.values():
        head = struct.pack(">BBBBIII", 0, 0, 8, 3, *pixels.shape)
        (raw / images).write_bytes(head + pixels.tobytes())
        (raw / labels).write_bytes(
            struct.pack(">BBBBI", 0, 0, 8, 1, 3) + b"\x05\x06\x07"
        )
    return raw


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_mnist_at_any_size_and_one_level_up(mnist_folder, name):
    data = open_data(f"{name}:{mnist_folder.parent}", "test", (20, 40), gray=True)
    batch = data.batch(data.indices)
    assert batch["image"].shape == (3, 1, 20, 40)
    assert batch["image"].mean((1, 2, 3)).tolist() == pytest.approx([0, 1, 0])
    assert batch["label"].tolist() == [5, 6, 7]
    with pytest.raises(FileNotFoundError, match="raw: give that folder"):
        open_data(f"{name}:{mnist_folder.parents[1]}")
    with pytest.raises(ValueError, match="read whole"):
        open_data(f"{name}:{mnist_folder}", crop=(0, 0, 1, 0.5))
    with pytest.raises(ValueError, match="at least one pixel"):
        Idx("test", folder=mnist_folder, size=0)
