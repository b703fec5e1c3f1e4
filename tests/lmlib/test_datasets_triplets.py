"""Triplets of one's own: a tiny set, whole and broken."""

import csv

import pytest
import torch
from PIL import Image
from spots import save_spot, spots

from lmlib import cli
from lmlib.datasets import open_data
from lmlib.datasets.triplets import COLUMNS, PARTS, triplets
from lmlib.methods.salvton import Salvton, SalvtonConfig, links_of

SIZE, FLAT = (96, 128), (60, 80)  # of people, and of garments
COLLAR, SLEEVE = (30, 60), (40, 20)  # on person and garment, of landmark 0


def rows(name):
    """Three landmarks: 0 is where the spots are, 1 is hidden, 2 does not exist."""
    return [
        (name, 0, *SLEEVE, *COLLAR, "visible"),
        (name, 1, 10, 10, 50, 100.5, "occluded"),
        (name, 2, "", "", "", "", "absent"),
    ]


def write(path, lines, head=COLUMNS):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *lines])


@pytest.fixture
def mine(tmp_path):
    root = tmp_path / "mine"
    for split, names in (("train", "ab"), ("test", "c")):
        for name in names:
            place = root / split
            save_spot(place / "image" / f"{name}.jpg", SIZE, (70, 30))
            save_spot(place / "target" / f"{name}.png", SIZE, COLLAR)
            save_spot(place / "cloth" / f"{name}.jpg", FLAT, SLEEVE)
            for part, size in (("target-mask", SIZE), ("cloth-mask", FLAT)):
                (place / part).mkdir(exist_ok=True)
                Image.new("L", size, 255).save(place / part / f"{name}.png")
        # not in order, and as spreadsheets write it
        listed = [row for name in names for row in rows(name)[::-1]]
        write(root / split / "landmarks.csv", listed)
    return root


def test_a_batch_holds_what_try_on_learns_from(mine):
    batch = triplets(mine, "train", (64, 48)).batch([0, 1])
    for name in ("image", "target", "garment"):
        assert batch[name].shape == (2, 3, 64, 48)
    for name in ("target_mask", "garment_mask"):
        assert batch[name].shape == (2, 1, 64, 48) and batch[name].min() == 1
    links = links_of(batch)
    pixel = 2 / 48
    assert (spots(batch["target"]) - links.person[:, 0]).abs().max() < pixel / 2
    assert (spots(batch["garment"]) - links.garment[:, 0]).abs().max() < pixel / 2
    assert links.attribute.tolist() == [[2, 1, 0]] * 2
    assert batch["garment_present"].tolist() == [[True, True, False]] * 2
    assert batch["visible"].tolist() == [[True, False, False]] * 2
    assert links.person[:, 2].tolist() == links.garment[:, 2].tolist() == [[0, 0]] * 2
    # Pixel 0 is half a pixel from the edge.
    assert links.person[0, 1].tolist() == pytest.approx(
        [2 * 50.5 / 96 - 1, 202 / 128 - 1]
    )


def test_try_on_trains_on_it(mine, tmp_path, capsys):
    small = ["branches=(4, 8)", "exchanges=1", "stem=8", "widths=(8, 8, 8)", "fpn=8"]
    small += ["flow_widths=(8,)", "matched=4", "ngf=4", "depth=2", "batch_size=2"]
    out = tmp_path / "all.safetensors"
    words = ["train", "salvton", "--data", f"triplets:{mine}", "--steps", "1"]
    words += ["--preset", "tryon_class", "--out", str(out)]
    words += [word for value in small for word in ("--set", value)]
    assert cli.main(words) == 0
    assert cli.main(["evaluate", str(out)]) == 0
    assert "on 1 images" in capsys.readouterr().out


def test_all_names_of_a_batch_are_those_of_the_scene(mine):
    scene = open_data("scene:tryon", "train", (64, 48)).batch([0])
    batch = triplets(mine, "train", (64, 48)).batch([0])
    assert {*batch} <= {*scene}
    for name, value in batch.items():
        assert value.dtype == scene[name].dtype and value.ndim == scene[name].ndim
    config = SalvtonConfig.tryon_class()
    assert Salvton.suited(config, batch).landmarks == 3


def test_a_missing_picture_names_the_line(mine):
    (mine / "train" / "cloth" / "b.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"landmarks.csv, line 5: .*'b'.*cloth"):
        triplets(mine)
    with pytest.warns(UserWarning, match="left out: 1"):
        assert len(triplets(mine, partial=True)) == 1


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        ([("a", 0, 1, 2, 3, 4)], "line 2: expected 7 fields, got 6"),
        ([("a", -1, 1, 2, 3, 4, "visible")], "landmark from 0 to 999, got '-1'"),
        ([("a", 9**30, 1, 2, 3, 4, "visible")], "landmark from 0 to 999"),
        ([("a", "0" * 9 + "9" * 12, 1, 2, 3, 4, "visible")], "landmark from 0 to 999"),
        ([("a", "\N{SUPERSCRIPT TWO}", 1, 2, 3, 4, "visible")], "landmark from 0"),
        ([("a", 0, 1, 2, 3, 4, "seen")], "attribute must be one of absent"),
        ([("a", 0, 1, 2, 3, 4, "absent")], "an absent landmark has no place"),
        ([("a", 0, "", "", 3, 4, "visible")], "without a place that is not absent"),
        ([("a", 0, 1, 2, "nan", 4, "visible")], "finite"),
        ([("a", 0, 1, 2, 3, 1e9, "visible")], "none beyond"),
        ([("../a", 0, 1, 2, 3, 4, "visible")], "line 2"),
        ([("a", 0, 1, 2, 3, 4, "visible")] * 2, "line 3: landmark 0 .* listed twice"),
        ([*rows("a"), *rows("b")[1:]], "line 5: landmark 0 of 'b' is not listed"),
        ([], "lists no landmark"),
    ],
)
def test_broken_lists(mine, broken, fault):
    write(mine / "train" / "landmarks.csv", broken)
    with pytest.raises(ValueError, match=fault):
        triplets(mine)


def test_another_head_and_another_place(mine):
    write(mine / "train" / "landmarks.csv", rows("a"), head=("name", "x", "y"))
    with pytest.raises(ValueError, match="line 1: expected name,landmark,garment_x"):
        triplets(mine)
    with pytest.raises(
        FileNotFoundError, match=f"holds no train/landmarks.csv.*{PARTS['target']}"
    ):
        triplets(mine / "train" / "cloth")
    assert len(triplets(mine.parent, "test")) == 1  # a level too high


def test_places_follow_the_crop(mine):
    """Half of the width: the person's collar is at the same pixel of its own crop."""
    batch = triplets(mine, "train", (64, 48), crop=(0, 0, 0.5, 1)).batch([0])
    place = batch["landmarks"][0, 0]
    assert place.tolist() == pytest.approx([2 * 30.5 / 48 - 1, 2 * 60.5 / 128 - 1])
    assert (spots(batch["target"])[0] - place).abs().max() < 2 / 48


def test_garments_lie_on_white(mine):
    """Whatever they were photographed on, and with a mask that a JPEG has blurred."""
    mask = Image.new("L", FLAT, 30)
    mask.paste(230, (0, 0, 30, 80))
    mask.save(mine / "train" / "cloth-mask" / "a.png")
    batch = triplets(mine, "train", (64, 48)).batch([0])
    assert batch["garment_mask"].unique().tolist() == [0, 1]
    assert (batch["garment"][..., 25:] == 1).all()
    assert batch["garment"][..., :23].mean() < 0.3


def test_order_does_not_matter(mine):
    data = triplets(mine, "train", 32)
    both = data.batch(torch.tensor([1, 0, 1]))
    assert both["index"].tolist() == [1, 0, 1]
    with pytest.raises(IndexError, match="numbered 0 to 1"):
        data.batch([2])
