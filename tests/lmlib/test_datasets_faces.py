"""MTFL, 300-W and CelebA: tiny sets in the official formats, and broken ones."""

import pytest
import torch
from PIL import Image
from spots import save_spot, spots

from lmlib.datasets import open_data
from lmlib.datasets.faces import aflw, celeba, mafl, mtfl, w300
from lmlib.datasets.photos import UnreadableImage

FIVE = [(60.0, 80.0), (100.0, 80.0), (80.0, 105.0), (65.0, 125.0), (95.0, 125.0)]


def mtfl_line(path, points=FIVE, codes="1 2 2 3"):
    x, y = (" ".join(f"{p[i]:.6f}" for p in points) for i in (0, 1))
    return f"{path} {x} {y} {codes}"


@pytest.fixture
def mtfl_folder(tmp_path):
    """Four faces; image k shows landmark k. One name has a space, one is not ASCII."""
    folder = tmp_path / "MTFL"
    names = ["A_0001.jpg", "Zoë_0001.jpg", "two words.jpg", "D_0001.jpg"]
    for k, name in enumerate(names):
        save_spot(folder / "lfw_5590" / name, (160, 200), FIVE[k])
    lines = [mtfl_line(f"lfw_5590\\{name}") for name in names]
    lines[1] = " " + lines[1].replace("1 2 2 3", "2 1 1 5")
    text = "\r\n".join([*lines[:2], "", *lines[2:], " "])
    (folder / "training.txt").write_bytes(text.encode())
    return folder


def test_mtfl_points_lie_on_the_image_and_labels_count_from_0(mtfl_folder):
    data = mtfl(mtfl_folder, "train", 64)
    batch = data.batch(data.indices)
    own = batch["landmarks"][torch.arange(4), torch.arange(4)]
    assert (spots(batch["image"]) - own).abs().max() < 0.5 * 2 / 64
    assert batch["visible"].all()
    assert batch["gender"].tolist() == [0, 1, 0, 0]
    assert batch["smile"].tolist() == [1, 0, 1, 1]
    assert batch["glasses"].tolist() == [1, 0, 1, 1]
    assert batch["pose"].tolist() == [2, 4, 2, 2]
    assert [path.name for path in data.paths][1] == "Zoë_0001.jpg"


def test_the_face_crop_is_a_square_tied_to_the_five_points(mtfl_folder):
    left, top, right, bottom = mtfl(mtfl_folder).boxes[0].tolist()
    points = torch.tensor(FIVE)
    spread = (points - points.mean(0)).square().sum(1).mean().sqrt().item()
    assert right - left == pytest.approx(bottom - top)
    assert right - left == pytest.approx(5.58 * spread, rel=1e-4)
    assert (top + bottom) / 2 == pytest.approx(103 - 0.16 * spread, rel=1e-4)
    whole = mtfl(mtfl_folder, size=50, crop="squash").batch(range(1))["landmarks"]
    assert whole[0, 0].tolist() == pytest.approx(
        [2 * 60.5 / 160 - 1, 2 * 80.5 / 200 - 1]
    )


def test_gray_and_pair_of_sizes(mtfl_folder):
    colour, gray = (
        mtfl(mtfl_folder, size=(40, 30), gray=gray).batch(range(4))
        for gray in (False, True)
    )
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    expected = (colour["image"] * weights).sum(1, keepdim=True)
    assert gray["image"].shape == (4, 1, 40, 30)  # height and width
    torch.testing.assert_close(gray["image"], expected)
    assert gray["image"].std() > 0.01
    # The points are where they are at any size: shares of the same box.
    square = mtfl(mtfl_folder, size=64).batch(range(4))["landmarks"]
    torch.testing.assert_close(gray["landmarks"], square)
    own = gray["landmarks"][torch.arange(4), torch.arange(4)]
    off = (spots(colour["image"]) - own).abs()
    assert (off < 0.6 * 2 / torch.tensor([30.0, 40])).all()


@pytest.mark.parametrize(
    "line, fault",
    [
        ("lfw_5590\\A_0001.jpg 1 2 3", "expected a path and 14 numbers, got 4 fields"),
        (mtfl_line("a.jpg").replace("80.0", "eighty", 1), "expected numbers.*'eighty"),
        (mtfl_line("a.jpg").replace("60.000000", "nan"), "expected finite numbers"),
        (mtfl_line("a.jpg", codes="1 2 3 3"), "glasses must be one of 1, 2, got '3'"),
        (mtfl_line("a.jpg", codes="1 2 2 0"), "pose must be one of 1, 2, 3, 4, 5"),
        (mtfl_line("a.jpg", [(5, 5)] * 5), "all five points are the same"),
    ],
)
def test_a_malformed_mtfl_line_is_named(mtfl_folder, line, fault):
    path = mtfl_folder / "training.txt"
    lines = path.read_text("utf-8").split("\n")
    path.write_text("\n".join([*lines[:3], line, *lines[3:]]), "utf-8")
    with pytest.raises(ValueError, match=f"training.txt, line 4: .*{fault}"):
        mtfl(mtfl_folder)


def test_a_list_that_is_not_utf8_or_empty_is_named(mtfl_folder):
    path = mtfl_folder / "training.txt"
    path.write_bytes(path.read_bytes().replace("ë".encode(), b"\xeb"))
    with pytest.raises(ValueError, match="training.txt, line 2: not UTF-8"):
        mtfl(mtfl_folder)
    path.write_text("\n")
    with pytest.raises(ValueError, match="training.txt.*empty"):
        mtfl(mtfl_folder)


def test_an_annotation_without_its_image_is_named_or_left_out(mtfl_folder):
    (mtfl_folder / "lfw_5590" / "two words.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="training.txt, line 4:.*two words.jpg"):
        mtfl(mtfl_folder)
    with pytest.warns(UserWarning, match="1 incomplete.*line 4"):
        data = mtfl(mtfl_folder, partial=True)
    assert len(data) == 3 and data.batch(range(3))["pose"].tolist() == [2, 4, 2]
    for path in (mtfl_folder / "lfw_5590").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="A_0001.jpg"):
        mtfl(mtfl_folder, partial=True)


def test_landmarks_outside_the_image_are_kept_and_hidden(mtfl_folder):
    far = [(-300.0, 80.0), *FIVE[1:]]
    (mtfl_folder / "training.txt").write_text(mtfl_line("lfw_5590\\A_0001.jpg", far))
    batch = mtfl(mtfl_folder, crop="squash").batch(range(1))
    assert batch["landmarks"][0, 0, 0] == pytest.approx(2 * -299.5 / 160 - 1)
    assert batch["visible"][0].tolist() == [False, True, True, True, True]


def test_folders_one_level_too_high_are_taken_others_named(mtfl_folder, tmp_path):
    assert len(mtfl(tmp_path)) == 4
    with pytest.raises(FileNotFoundError, match=r"found in .*MTFL: give that folder"):
        mtfl(mtfl_folder / "lfw_5590")
    (tmp_path / "other" / "lfw_5590").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="found in .*MTFL: give"):
        mtfl(tmp_path)  # two fit
    deep = tmp_path / "high" / "mtfl"
    deep.mkdir(parents=True)
    mtfl_folder.rename(deep / "MTFL")
    with pytest.raises(FileNotFoundError, match="found in .*mtfl/MTFL: give"):
        mtfl(tmp_path / "high")
    with pytest.raises(FileNotFoundError, match="no such folder; expected there"):
        mtfl(tmp_path / "nowhere")


def test_without_a_path_the_set_is_found(mtfl_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LMLIB_DATA", str(tmp_path))
    assert len(open_data("mtfl", size=20)) == 4
    monkeypatch.setenv("LMLIB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere/mtfl.*expected there: train"):
        open_data("mtfl", size=20)


def test_aflw_is_the_test_list_of_mtfl(mtfl_folder):
    save_spot(mtfl_folder / "AFLW" / "0001-image1.jpg", (150, 150), FIVE[0])
    (mtfl_folder / "testing.txt").write_text(mtfl_line("AFLW\\0001-image1.jpg"))
    assert len(aflw(mtfl_folder)) == len(mtfl(mtfl_folder, "test")) == 1
    with pytest.raises(ValueError, match="only the split 'test'"):
        aflw(mtfl_folder, "train")
    with pytest.raises(ValueError, match="split must be one of"):
        mtfl(mtfl_folder, "val")


def pts(points):
    rows = "\n".join(f"{x + 1:.4f} {y + 1:.4f}" for x, y in points)
    return f"version: 1\nn_points:  68\n{{\n{rows}\n}}\n"


def sixty_eight(shift=0.0):
    return [(40 + 7 * (k % 10) + shift, 50 + 9 * (k // 10)) for k in range(68)]


@pytest.fixture
def w300_folder(tmp_path):
    """Two or one image a part; suffixes of all kinds. Image shows landmark 30."""
    folder = tmp_path / "300W"
    names = {
        "afw": ["1_1.jpg", "2_1.JPG"], "helen/trainset": ["3_1.jpg"],
        "lfpw/trainset": ["image_0001.png"], "helen/testset": ["4_1.jpg"],
        "lfpw/testset": ["image_0002.png"], "ibug": ["image 003.jpg"],
    }  # fmt: skip
    for part, images in names.items():
        for name in images:
            path = folder / part / name
            save_spot(path, (180, 190), sixty_eight()[30])
            path.with_suffix(".pts").write_text(pts(sixty_eight()))
    return folder


def test_300w_points_count_from_1_and_lie_on_the_image(w300_folder):
    data = w300(w300_folder, "train", 80)
    batch = data.batch(data.indices)
    assert batch["landmarks"].shape == (4, 68, 2) and batch["visible"].all()
    off = spots(batch["image"]) - batch["landmarks"][:, 30]
    assert off.abs().max() < 0.5 * 2 / 80
    left, top, right, bottom = data.boxes[0].tolist()
    assert right - left == bottom - top == pytest.approx(1.5 * 63)
    assert ((left + right) / 2, (top + bottom) / 2) == (72.0, 77.5)
    loose = w300(w300_folder, "train", 80, context=2.0).boxes[0]
    assert loose[2] - loose[0] == pytest.approx(2 * 63)


def test_300w_has_its_four_splits(w300_folder):
    sizes = {split: len(w300(w300_folder, split)) for split in
             ("train", "common", "challenging", "full")}  # fmt: skip
    assert sizes == {"train": 4, "common": 2, "challenging": 1, "full": 3}
    with pytest.raises(ValueError, match="split must be one of"):
        w300(w300_folder, "test")


@pytest.mark.parametrize(
    "change, line, fault",
    [
        (("version: 1", "version: 2"), 1, "expected 'version:1', got 'version:2'"),
        (("n_points:  68", "n_points: 29"), 2, "expected 'n_points:68'"),
        (("{", "("), 3, "expected '{'"),
        (("41.0000 51.0000", "41.0000"), 4, "expected x and y, got '41.0000'"),
        (("48.0000 51.0000", "48.0000 x"), 5, "expected numbers.*'x'"),
        (("48.0000 51.0000", "inf 51"), 5, "expected finite numbers"),
        (("41.0000 51.0000\n", ""), 71, "expected 68 lines of x and y"),
        (("}\n", ""), 71, "expected 68 lines of x and y"),
    ],
)
def test_a_malformed_pts_line_is_named(w300_folder, change, line, fault):
    path = w300_folder / "afw" / "2_1.pts"
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(ValueError, match=f"2_1.pts, line {line}: .*{fault}"):
        w300(w300_folder)


def test_an_empty_pts_is_named(w300_folder):
    (w300_folder / "afw" / "2_1.pts").write_text("")
    with pytest.raises(ValueError, match="2_1.pts, line 1: expected 'version:1'"):
        w300(w300_folder)


def test_300w_images_and_annotations_must_match(w300_folder):
    (w300_folder / "afw" / "1_1.pts").unlink()
    with pytest.raises(FileNotFoundError, match="1_1.jpg: its annotation"):
        w300(w300_folder)
    (w300_folder / "lfpw/trainset" / "image_0001.png").unlink()
    with pytest.warns(UserWarning, match="2 incomplete"):
        assert len(w300(w300_folder, partial=True)) == 2
    with pytest.raises(FileNotFoundError, match="300W: give that folder"):
        w300(w300_folder / "afw")


EYES_AND_MOUTH = [(69, 109), (106, 113), (77, 142), (73, 152), (108, 154)]


@pytest.fixture
def celeba_folder(tmp_path):
    """Images 1 to 3 train, 162771 val, 182638 test; image k shows landmark k."""
    folder = tmp_path / "celeba"
    numbers = [1, 2, 3, 162_771, 182_638]
    names = [f"{number:06d}.jpg" for number in numbers]
    row = " ".join(f"{x:4d} {y:4d}" for x, y in EYES_AND_MOUTH)
    for k, name in enumerate(names):
        save_spot(folder / "Img/img_align_celeba" / name, (178, 218), EYES_AND_MOUTH[k])
    anno = folder / "Anno"
    anno.mkdir()
    text = "\n".join(["5", "lefteye_x ...", *(f"{name} {row}" for name in names)])
    (anno / "list_landmarks_align_celeba.txt").write_text(text + "\n")
    codes = [" ".join("1" if k == n else "-1" for n in range(40)) for k in range(5)]
    rows = [f"{name}  {code}" for name, code in zip(names, codes, strict=True)]
    (anno / "list_attr_celeba.txt").write_text("\n".join(["5", "Bald ...", *rows]))
    mafl_lists = folder / "MAFL"
    mafl_lists.mkdir()
    (mafl_lists / "training.txt").write_text("000003.jpg\n000001.jpg\n")
    (mafl_lists / "testing.txt").write_text("000002.jpg\n")
    return folder


@pytest.mark.parametrize("crop", ["dve", "lmdis", "face", "pad", (0, 0, 1, 1)])
def test_celeba_points_lie_on_the_image(celeba_folder, crop):
    data = celeba(celeba_folder, "all", 100, crop=crop)
    batch = data.batch(data.indices)
    own = batch["landmarks"][torch.arange(5), torch.arange(5)]
    assert (spots(batch["image"]) - own).abs().max() < 0.5 * 2 / 100
    assert torch.equal(batch["attributes"], torch.eye(5, 40).bool())


def test_celeba_crops_are_those_of_the_papers(celeba_folder):
    left_eye = celeba(celeba_folder, "all").batch(range(1))["landmarks"][0, 0]
    expected = [2 * 69.5 / 178 - 1, 2 * (109.5 - 30) / 178 - 1]
    assert left_eye.tolist() == pytest.approx(expected, abs=1e-5)
    squashed = celeba(celeba_folder, "all", crop="lmdis").batch(range(1))["landmarks"]
    expected = [(2 * 69.5 / 178 - 1) / 0.8, (2 * 109.5 / 218 - 1) / 0.8]
    assert squashed[0, 0].tolist() == pytest.approx(expected, abs=1e-5)


def test_half_size_copies_give_the_same_points(celeba_folder):
    full = celeba(celeba_folder, "all", 60).batch(range(5))["landmarks"]
    for path in (celeba_folder / "Img/img_align_celeba").iterdir():
        with Image.open(path) as image:
            half = image.resize((89, 109), Image.Resampling.BOX)
        half.save(path)
    batch = celeba(celeba_folder, "all", 60).batch(range(5))
    assert (batch["landmarks"] - full).abs().max() < 1e-5
    own = batch["landmarks"][torch.arange(5), torch.arange(5)]
    assert (spots(batch["image"]) - own).abs().max() < 1 * 2 / 60
    Image.new("RGB", (100, 100)).save(celeba_folder / "Img/img_align_celeba/000001.jpg")
    with pytest.raises(ValueError, match="000001.jpg: 100 x 100 pixels: aligned"):
        celeba(celeba_folder, "all")
    (celeba_folder / "Img/img_align_celeba/000001.jpg").write_bytes(b"")
    with pytest.raises(UnreadableImage, match=r"000001.jpg: the file is empty"):
        celeba(celeba_folder, "all")


def names(data):
    return [int(path.stem) for path in data.paths]


def test_celeba_and_mafl_splits(celeba_folder):
    def splits():
        return {split: names(celeba(celeba_folder, split)) for split in
                ("train", "val", "test", "all", "unlabelled")}  # fmt: skip

    by_number = splits()
    assert by_number == {
        "train": [1, 2, 3], "val": [162_771], "test": [182_638],
        "all": [1, 2, 3, 162_771, 182_638], "unlabelled": [1, 3],
    }  # fmt: skip
    (celeba_folder / "Eval").mkdir()
    listed = celeba_folder / "Eval/list_eval_partition.txt"
    listed.write_text("".join(f"{n:06d}.jpg {n > 3:d}\n" for n in by_number["all"]))
    assert names(celeba(celeba_folder, "val")) == [162_771, 182_638]
    with pytest.raises(ValueError, match="none of its images is in the split 'test'"):
        celeba(celeba_folder, "test")
    listed.write_text("000001.jpg 3\n")
    with pytest.raises(ValueError, match="partition.txt, line 1: the partition must"):
        celeba(celeba_folder)
    assert names(mafl(celeba_folder, "train")) == [3, 1]
    assert names(mafl(celeba_folder, "test")) == [2]


def test_mafl_names_must_be_known_unless_partial(celeba_folder):
    with (celeba_folder / "MAFL/training.txt").open("a") as file:
        file.write("051636.jpg\n")
    with pytest.raises(FileNotFoundError, match="line 3: 051636.jpg has no landmarks"):
        mafl(celeba_folder)
    with pytest.warns(UserWarning, match="1 incomplete"):
        assert names(mafl(celeba_folder, partial=True)) == [3, 1]
    (celeba_folder / "MAFL/testing.txt").unlink()
    with pytest.raises(FileNotFoundError, match="testing.txt: no such file"):
        mafl(celeba_folder, "test")


@pytest.mark.parametrize(
    "file, change, message",
    [
        ("list_landmarks_align_celeba", ("5\n", "five\n"), "line 1: .*number of rows"),
        ("list_landmarks_align_celeba", ("5\n", "6\n"), "announces 6 rows, but 5"),
        (
            "list_landmarks_align_celeba",
            ("69", ""),
            "line 3: expected 11 fields",
        ),
        ("list_landmarks_align_celeba", (" 69", "6x9"), "line 3: expected numbers"),
        ("list_attr_celeba", (" 1 ", " 0 "), "line 3: expected 40 attributes"),
        ("list_attr_celeba", ("-1 -1\n", "-1\n"), "line 3: expected 41 fields"),
        ("list_attr_celeba", ("000001", "000009"), "has no line for 000001.jpg"),
    ],
)
def test_a_malformed_celeba_list_is_named(celeba_folder, file, change, message):
    path = celeba_folder / "Anno" / f"{file}.txt"
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change, 1))
    with pytest.raises(ValueError, match=f"{file}.txt.*{message}"):
        celeba(celeba_folder)


def test_a_missing_celeba_image_names_list_and_line(celeba_folder):
    (celeba_folder / "Img/img_align_celeba/000002.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="align_celeba.txt, line 4: .*02.jpg"):
        celeba(celeba_folder)
    with pytest.warns(UserWarning, match="1 incomplete"):
        data = celeba(celeba_folder, partial=True)
    assert names(data) == [1, 3]
    assert data.batch(range(2))["attributes"][:, 2].tolist() == [False, True]
    with pytest.raises(FileNotFoundError, match="found in .*celeba: give that folder"):
        celeba(celeba_folder / "Img")
