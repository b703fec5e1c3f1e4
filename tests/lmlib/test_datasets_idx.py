"""MNIST's files: written here in the official format, and broken in every way."""

import gzip
import struct

import numpy as np
import pytest
import torch

from lmlib.datasets import find_folder
from lmlib.datasets.idx import FILES, Idx, read_idx


def idx_bytes(array):
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim)
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    raw = tmp_path / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for count, (images, labels) in zip((7, 3), FILES.values(), strict=True):
        pixels = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        (raw / f"{images}.gz").write_bytes(gzip.compress(idx_bytes(pixels)))
        (raw / labels).write_bytes(idx_bytes(np.arange(count, dtype=np.uint8)))
    return raw


def test_images_and_labels_are_read_plain_and_gzipped(folder, monkeypatch):
    monkeypatch.setenv("LMLIB_DATA", str(folder.parents[1]))
    train, test = Idx("train"), Idx("test")
    assert (len(train), len(test)) == (7, 3)
    batch = train.batch(range(2, 5))
    assert batch["image"].shape == (3, 1, 28, 28) and batch["label"].tolist() == [
        2,
        3,
        4,
    ]
    raw = gzip.decompress((folder / f"{FILES['train'][0]}.gz").read_bytes())
    assert batch["image"][0, 0, 0, 0] == pytest.approx(raw[16 + 2 * 784] / 255)
    again = train.batch(torch.tensor([4, 2]))
    assert torch.equal(again["image"][1], batch["image"][0])


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "not an idx file"),
        (b"\x89PNG\r\n", "not an idx file"),
        (struct.pack(">BBBBI", 0, 0, 13, 1, 2) + b"ab", "idx type 0xd, expected 0x8"),
        (struct.pack(">BBBBI", 0, 0, 8, 1, 5) + b"abc", "announces 5, but 3 bytes"),
        (
            struct.pack(">BBBB", 0, 0, 8, 3) + b"\0\0",
            "announces 3 dimensions, and ends",
        ),
    ],
)
def test_a_broken_file_is_named_with_its_fault(content, message, tmp_path):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_a_head_of_many_dimensions_makes_no_long_message(tmp_path):
    path = tmp_path / "images"
    for count in (0, 2, 200, 255):
        path.write_bytes(struct.pack(">BBBB", 0, 0, 8, count) + b"\xff" * 4 * count)
        with pytest.raises(ValueError, match=f"announces {count} dim.*expected") as at:
            read_idx(path)
        assert len(str(at.value)) < len(str(path)) + 150


def test_a_truncated_gzip_is_named(folder):
    path = folder / f"{FILES['train'][0]}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="damaged or truncated gzip"):
        Idx("train", folder=folder)


def test_missing_folder_file_and_labels_that_do_not_fit(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("LMLIB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="none of these folders.*nowhere"):
        Idx()
    with pytest.raises(FileNotFoundError, match="set LMLIB_DATA"):
        find_folder("a")
    (folder / FILES["test"][1]).unlink()
    with pytest.raises(FileNotFoundError, match="has neither t10k-labels"):
        Idx("test", folder=folder)
    (folder / FILES["train"][1]).write_bytes(idx_bytes(np.zeros(2, np.uint8)))
    with pytest.raises(ValueError, match="as many labels"):
        Idx("train", folder=folder)


def test_unknown_names_are_told(folder):
    with pytest.raises(ValueError, match="split must be one of"):
        Idx("validation", folder=folder)
    with pytest.raises(ValueError, match="name must be one of"):
        Idx(name="emnist", folder=folder)
