"""VITON and VITON-HD: tiny sets in the official layouts, and broken ones."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from spots import save_spot, spots

from lmlib.datasets.tryon import read_classes, read_pose, viton, viton_hd

WRIST = (30, 80)  # of the people; joint 4 in both of OpenPose's models
SIZE = 96, 128


def save_parse(path, colours=False):
    """Left half class 5, right half 13, with a palette that looks otherwise."""
    classes = np.full(SIZE[::-1], 5, np.uint8)
    classes[:, SIZE[0] // 2 :] = 13
    image = Image.fromarray(classes, "P")
    image.putpalette([c for k in range(256) for c in (255 - k, k, 7)])
    (image.convert("RGB") if colours else image).save(path)


def pose(count, key="pose_keypoints_2d"):
    joints = [[10.0 + k, 20.0 + k, 0.9] for k in range(count)]
    joints[4] = [*WRIST, 0.8]
    joints[3] = [0.0, 0.0, 0.0]  # not found
    return {"people": [{key: [value for joint in joints for value in joint]}]}


@pytest.fixture
def hd(tmp_path):
    root = tmp_path / "VITON-HD"
    for part, names in (("train", ("01", "02")), ("test", ("11", "12"))):
        for place in ("image", "cloth", "cloth-mask", "image-parse", "openpose_json"):
            (root / part / place).mkdir(parents=True)
        for k, name in enumerate(names):
            save_spot(root / part / "image" / f"{name}_00.jpg", SIZE, WRIST)
            save_spot(root / part / "cloth" / f"{name}_00.jpg", SIZE, (20 + 40 * k, 40))
            mask = Image.new("L", SIZE, 255 * k)
            mask.save(root / part / "cloth-mask" / f"{name}_00.jpg")
            save_parse(root / part / "image-parse" / f"{name}_00.png")
            path = root / part / "openpose_json" / f"{name}_00_keypoints.json"
            path.write_text(json.dumps(pose(25)))
    (root / "train_pairs.txt").write_text("01_00.jpg 01_00.jpg\n02_00.jpg 02_00.jpg\n")
    (root / "test_pairs.txt").write_text("11_00.jpg 12_00.jpg\n12_00.jpg 11_00.jpg\n")
    return root


def test_all_parts_of_a_pair(hd):
    data = viton_hd(hd, "train", (64, 48))
    batch = data.batch(data.indices)
    assert batch["image"].shape == batch["garment"].shape == (2, 3, 64, 48)
    assert batch["garment_mask"].mean((1, 2, 3)).tolist() == pytest.approx([0, 1])
    assert batch["parse"].dtype == torch.int64
    assert batch["parse"][:, :, :24].unique().tolist() == [5]
    assert batch["parse"][:, :, 24:].unique().tolist() == [13]
    assert (spots(batch["image"]) - batch["pose"][:, 4]).abs().max() < 0.5 * 2 / 48
    assert batch["pose"].shape == (2, 18, 2) and batch["pose"][:, 3].isnan().all()
    assert (
        batch["visible"].sum(1).tolist() == [17, 17]
        and not batch["visible"][:, 3].any()
    )
    # Without the hip's middle (8), the ninth joint is BODY_25's ninth, counted from 0.
    expected = [2 * 19.5 / SIZE[0] - 1, 2 * 29.5 / SIZE[1] - 1]
    assert batch["pose"][0, 8].tolist() == pytest.approx(expected)


def test_numbers_in_any_order_and_ahead(hd):
    data = viton_hd(hd, "train", 32)
    data.prefetch(range(2))
    batch = data.batch(torch.tensor([1, 0, 1]))
    assert batch["garment_mask"].mean((1, 2, 3)).tolist() == pytest.approx([1, 0, 1])
    with pytest.raises(IndexError, match="numbered 0 to 1"):
        data.batch(torch.tensor([2]))


def test_pairs_are_worn_or_as_listed(hd):
    def clothes(**options):
        files = viton_hd(hd, "test", **options).files
        return [path.name for path in files["garment"]], files["garment_mask"][0].name

    assert clothes() == (["11_00.jpg", "12_00.jpg"], "11_00.jpg")
    assert clothes(paired=False) == (["12_00.jpg", "11_00.jpg"], "12_00.jpg")
    assert "target" not in viton_hd(hd, "test", 32, paired=False).batch([0])


def test_only_parts_that_are_there(hd):
    for place in ("image-parse", "openpose_json", "cloth-mask"):
        (hd / "train" / place).rename(hd / place)
    data = viton_hd(hd, "train", (32, 24), gray=True, crop="centre")
    batch = data.batch(range(2))
    assert {*batch} == {"image", "target", "garment", "index"}
    assert batch["image"].shape == (2, 1, 32, 24)
    with pytest.raises(ValueError, match="01_00.jpg: the crop 'pad' reaches over"):
        viton_hd(hd, "train", crop="pad").batch(range(1))
    (hd / "train" / "cloth").rename(hd / "cloth")
    with pytest.raises(FileNotFoundError, match="train/cloth: no such folder"):
        viton_hd(hd)


def test_viton_in_the_layout_of_pf_afn(tmp_path):
    root = tmp_path / "VITON_traindata"
    for place in (
        "train_img",
        "train_color",
        "train_edge",
        "train_label",
        "train_pose",
    ):
        (root / place).mkdir(parents=True)
    save_spot(root / "train_img" / "000003_0.jpg", SIZE, WRIST)
    for place in ("train_color", "train_edge"):
        save_spot(root / place / "000003_1.jpg", SIZE, (20, 20))
    save_parse(root / "train_label" / "000003_0.png")
    path = root / "train_pose" / "000003_0_keypoints.json"
    path.write_text(json.dumps(pose(18, "pose_keypoints")))
    batch = viton(tmp_path, "train", (64, 48)).batch(range(1))  # one level up
    assert {*batch} == {"image", "target", "garment", "garment_mask", "parse", "pose",
                        "visible", "index"}  # fmt: skip
    assert torch.equal(batch["target"], batch["image"])  # worn already
    assert (spots(batch["image"]) - batch["pose"][:, 4]).abs().max() < 0.5 * 2 / 48
    with pytest.raises(FileNotFoundError, match="train_pairs.txt: no such file"):
        viton(root, paired=False)
    (root / "train_color" / "000003_1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="03_0.jpg: .*03_1.jpg: no such"):
        viton(root)
    with pytest.raises(FileNotFoundError, match="holds no test_img"):
        viton(root, "test")


def test_missing_files_name_the_line_of_the_list(hd):
    (hd / "train/image-parse/02_00.png").unlink()
    with pytest.raises(FileNotFoundError, match="train_pairs.txt, line 2: .*02_00.png"):
        viton_hd(hd)
    with pytest.warns(UserWarning, match="image-parse: left out, as 1 of 2"):
        assert "parse" not in viton_hd(hd, partial=True).files
    (hd / "train/cloth/01_00.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="pairs.txt, line 1: .*cloth/01_00"):
        viton_hd(hd)
    with pytest.warns(UserWarning):
        assert len(viton_hd(hd, partial=True)) == 1
    (hd / "train_pairs.txt").write_text("01_00.jpg\n")
    with pytest.raises(ValueError, match="line 1: expected a person and a garment"):
        viton_hd(hd)
    (hd / "train_pairs.txt").write_text("")
    with pytest.raises(ValueError, match="the list is empty"):
        viton_hd(hd)
    with pytest.raises(FileNotFoundError, match="VITON-HD: give that folder"):
        viton_hd(hd / "train")
    with pytest.raises(ValueError, match="split must be"):
        viton_hd(hd, "val")


def test_a_parse_map_in_colours_or_in_pieces_is_refused(tmp_path):
    path = tmp_path / "parse.png"
    save_parse(path)
    assert np.asarray(read_classes(path)).max() == 13
    content = path.read_bytes()
    save_parse(path, colours=True)
    with pytest.raises(ValueError, match="parse.png: expected a parse map.*got RGB"):
        read_classes(path)
    for damaged, fault in (
        (content[: len(content) // 2], "damaged or truncated"),
        (b"", "the file is empty"),
        (b"no image", "not an image"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"parse.png: {fault}"):
            read_classes(path)


@pytest.mark.parametrize(
    "content, fault",
    [
        ('{"people": [\n{]}', "line 2: not JSON"),
        ("[]", "expected 'people'"),
        ('{"people": [{}]}', "expected 'people' with"),
        ('{"people": [{"pose_keypoints_2d": [1, 2]}]}', "expected 'people' with"),
        (json.dumps(pose(20)), "expected 18 or 25 joints, got 20"),
        ('{"people": [{"pose_keypoints_2d": ["a", 1, 1]}]}', "expected 'people' with"),
    ],
)
def test_a_malformed_pose_is_named(tmp_path, content, fault):
    path = tmp_path / "a_keypoints.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"a_keypoints.json, .*{fault}"):
        read_pose(path)


def test_nobody_in_the_picture_is_no_joint(tmp_path):
    path = tmp_path / "a_keypoints.json"
    path.write_text('{"people": []}')
    assert np.isnan(read_pose(path)).all() and len(read_pose(path)) == 18
