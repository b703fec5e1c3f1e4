"""FLD: a tiny set in the official format, and broken ones."""

import pytest
from spots import save_spot, spots

from lmlib.datasets.fashion import fld

PLACES = [(90, 60), (130, 60), (70, 110), (150, 110), (95, 120), (125, 120), (85, 180),
          (135, 180)]  # fmt: skip
SLOTS = {1: (0, 1, 2, 3, 6, 7), 2: (4, 5, 6, 7), 3: tuple(range(8))}


def row(name, kind, variation, codes):
    fields = [f"{c}  {PLACES[k][0]:03d} {PLACES[k][1]:03d}"
              for c, k in zip(codes, SLOTS[kind], strict=True)]  # fmt: skip
    return f"img/{name}.jpg  {kind}  {variation}  {'  '.join(fields)}"


@pytest.fixture
def folder(tmp_path):
    """An upper (the third point occluded, the last cut off), a lower, a full one."""
    root = tmp_path / "fld"
    for name, shown in (("a", 0), ("b", 6), ("c", 4), ("d", 0)):
        save_spot(root / "img" / f"{name}.jpg", (200, 256), PLACES[shown])
    for part in ("Anno", "Eval"):
        (root / part).mkdir()
    rows = [row("a", 1, 1, "001002"), row("b", 2, 4, "0000"), row("c", 3, 5, "0" * 8),
            row("d", 3, 5, "0" * 8)]  # fmt: skip
    head = "image_name clothes_type variation_type landmark_visibility_1 ..."
    write(root / "Anno/list_landmarks.txt", head, rows)
    boxes = [f"img/{n}.jpg  60 50 160 200" for n in "abcd"]
    write(root / "Anno/list_bbox.txt", "image_name x_1 y_1 x_2 y_2", boxes)
    split = [f"img/{n}.jpg  {s}" for n, s in zip("abcd", ("train",) * 3 + ("val",),
                                                 strict=True)]  # fmt: skip
    write(root / "Eval/list_eval_partition.txt", "image_name evaluation_status", split)
    return root


def write(path, head, rows):
    path.write_text("\n".join([str(len(rows)), head, *rows]) + "\n")


@pytest.mark.parametrize("crop", ["pad", "box", "squash"])
def test_slots_hold_the_points_of_each_type(folder, crop):
    data = fld(folder, "train", 128, crop=crop)
    batch = data.batch(data.indices)
    landmarks, visible = batch["landmarks"], batch["visible"]
    assert landmarks.shape == (3, 8, 2)
    assert visible.int().tolist() == [
        [1, 1, 0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1, 1, 1], [1] * 8,
    ]  # fmt: skip
    assert batch["code"].tolist() == [
        [0, 0, 1, 0, 3, 3, 0, 2], [3, 3, 3, 3, 0, 0, 0, 0], [0] * 8,
    ]  # fmt: skip
    assert landmarks[0, 4].isnan().all() and landmarks[0, 7].isfinite().all()
    own = landmarks[[0, 1, 2], [0, 6, 4]]
    assert (spots(batch["image"]) - own).abs().max() < 0.5 * 2 / 128
    assert batch["clothes"].tolist() == [0, 1, 2]
    assert batch["variation"].tolist() == [0, 3, 4]


def test_the_box_is_a_square_around_the_clothes(folder):
    assert fld(folder, crop="box").boxes[0].tolist() == [35, 50, 185, 200]
    assert len(fld(folder, "val")) == 1
    with pytest.raises(ValueError, match="no picture is in the split 'test'"):
        fld(folder, "test")
    with pytest.raises(ValueError, match="split must be one of"):
        fld(folder, "all")


@pytest.mark.parametrize(
    "file, change, message",
    [
        (
            "Anno/list_landmarks",
            ("4\n", "four\n"),
            "line 1: .*number of rows",
        ),
        ("Anno/list_landmarks", ("4\n", "5\n"), "line 1: announces 5 rows, but 4"),
        ("Anno/list_landmarks", ("a.jpg  1  1", "a.jpg  1"), "line 3: .*got 20 fields"),
        ("Anno/list_landmarks", ("a.jpg  1", "a.jpg  4"), "line 3: clothes_type must"),
        (
            "Anno/list_landmarks",
            ("a.jpg  1", "a.jpg  2"),
            "line 3: expected name",
        ),
        (
            "Anno/list_landmarks",
            ("b.jpg  2  4", "b.jpg  2  6"),
            "line 4: variation_t",
        ),
        ("Anno/list_landmarks", ("0  095", "3  095"), "line 4: the visibility must be"),
        ("Anno/list_landmarks", ("095", "0x5"), "line 4: expected numbers"),
        ("Anno/list_bbox", ("60 50", "60"), "line 3: expected 5 fields, got 4"),
        ("Anno/list_bbox", ("60 50", "600 50"), "line 3: an empty box"),
        ("Anno/list_bbox", ("img/a", "img/z"), "has no line for img/a.jpg"),
        ("Eval/list_eval_partition", ("train", "dev"), "line 3: the partition must be"),
        ("Eval/list_eval_partition", ("  train", ""), "line 3: expected 2 fields"),
    ],
)
def test_a_malformed_line_is_named(folder, file, change, message):
    path = folder / f"{file}.txt"
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change, 1))
    with pytest.raises(ValueError, match=f"{file}.txt.*{message}"):
        fld(folder, crop="box")


def test_missing_images_and_files_are_named(folder):
    (folder / "img" / "b.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="landmarks.txt, line 4: .*b.jpg"):
        fld(folder)
    with pytest.warns(UserWarning, match="1 incomplete"):
        data = fld(folder, partial=True, crop="box")
    assert data.batch(range(2))["clothes"].tolist() == [0, 2]
    with pytest.raises(FileNotFoundError, match="fld: give that folder"):
        fld(folder / "img")
    (folder / "Eval/list_eval_partition.txt").unlink()
    with pytest.raises(FileNotFoundError, match="partition.txt: no such file"):
        fld(folder)
