"""HGR1: a tiny set in its documented format, and broken ones."""

import pytest
import torch
from spots import save_spot, spots

from lmlib.datasets.hands import hgr1, read_points

PLACES = [(60 + 5 * (k % 5), 70 + 8 * (k // 5)) for k in range(25)]
CALLED = ["Wrist", *(f"Finger{k}" for k in range(23)), "Wrist"]


def xml(hidden=(), called=CALLED):
    points = "\n".join(
        f'<FeaturePoint category="{name}" x="{x}" y="{y}"/>'
        for k, (name, (x, y)) in enumerate(zip(called, PLACES, strict=True))
        if k not in hidden
    )
    head = '<?xml version="1.0"?>\n<IMAGE WIDTH="160" HEIGHT="200">\n<hand>\n'
    return f"{head}{points}\n</hand>\n<hand/>\n</IMAGE>\n"


@pytest.fixture
def folder(tmp_path):
    """Subjects 1, 8, 9, 12; the image shows landmark 12; in one, it is hidden."""
    root = tmp_path / "HGR1"
    points = root / "hgr1_feature_pts" / "feature_points"
    points.mkdir(parents=True)
    for name in ("1_P_hgr1_id01_1", "A_P_hgr1_id08_2", "Y_A_hgr1_id09_1",
                 "1_P_hgr1_id12_3"):  # fmt: skip
        image = root / "hgr1_images" / "original_images" / f"{name}.jpg"
        save_spot(image, (160, 200), PLACES[12])
        hidden = (12,) if "id01" in name else ()
        (points / f"{name}.xml").write_text(xml(hidden))
    return root


def test_points_lie_on_the_image_and_hidden_ones_are_nan(folder):
    data = hgr1(folder, "train", 64)
    batch = data.batch(data.indices)
    landmarks, visible = batch["landmarks"], batch["visible"]
    assert visible.sum(1).tolist() == [24, 25] and not visible[0, 12]
    assert landmarks[0, 12].isnan().all() and landmarks[1].isfinite().all()
    off = spots(batch["image"])[1] - landmarks[1, 12]
    assert off.abs().max() < 0.5 * 2 / 64
    assert data.boxes[1].tolist() == [46.5, 62.5, 94.5, 110.5]  # 1.5 x 32 pixels
    # The wrist's two ends are the first and the last, as in the paper.
    wrist = landmarks[1, 24] - landmarks[1, 0]
    assert wrist.tolist() == pytest.approx([20 / 48 * 2, 32 / 48 * 2], abs=1e-5)
    assert batch["label"].tolist() == [0, 1] and batch["subject"].tolist() == [1, 8]


def test_splits_are_by_subject(folder):
    assert hgr1(folder, "val").labels["subject"].tolist() == [12]
    test = hgr1(folder, "test", 32, crop="squash", gray=True)
    assert test.labels == {"label": torch.tensor([2]), "subject": torch.tensor([9])}
    assert test.batch(range(1))["image"].shape == (1, 1, 32, 32)
    with pytest.raises(ValueError, match="split must be one of"):
        hgr1(folder, "all")


def test_images_alone_will_do(folder):
    (folder / "hgr1_feature_pts").rename(folder / "elsewhere")
    batch = hgr1(folder, "train", 32).batch(range(2))
    assert "landmarks" not in batch and batch["label"].tolist() == [0, 1]


@pytest.mark.parametrize(
    "change, line, fault",
    [
        (('x="65"', 'x="far"'), 5, "expected numbers"),
        (('x="65"', 'x="nan"'), 5, "expected finite numbers"),
        (('x="65"', 'u="65"'), 5, "expected a FeaturePoint with category, x and y"),
        (("</hand>", ""), 31, "not XML"),
        (("<hand>", ""), 4, "inside a <hand>"),
        (('<hand/>', '<hand><FeaturePoint category="a" x="1" y="1"/></hand>'), 30,
         "points of one hand"),
    ],
)  # fmt: skip
def test_a_malformed_xml_line_is_named(folder, change, line, fault):
    path = folder / "hgr1_feature_pts" / "feature_points" / "A_P_hgr1_id08_2.xml"
    text = xml()
    assert change[0] in text
    path.write_text(text.replace(change[0], change[1], 1))
    with pytest.raises(ValueError, match=f"id08_2.xml, line {line}: .*{fault}"):
        hgr1(folder)


def test_an_empty_xml_is_named(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("")
    with pytest.raises(ValueError, match="a.xml, line 1: not XML"):
        read_points(path)
    path.write_text("<IMAGE/>")
    with pytest.raises(ValueError, match="a.xml, line 1: expected FeaturePoints"):
        read_points(path)


def test_points_that_cannot_be_told_apart_are_refused(folder):
    points = folder / "hgr1_feature_pts" / "feature_points"
    (points / "1_P_hgr1_id01_1.xml").write_text(xml(hidden=(0,)))
    with pytest.raises(ValueError, match="1 points are called 'category=Wrist', else"):
        hgr1(folder)
    for path in points.iterdir():
        path.write_text(xml(hidden=(3,)))
    with pytest.raises(ValueError, match="expected 25 points in all.*got 24"):
        hgr1(folder)


def test_images_and_annotations_must_match(folder):
    points = folder / "hgr1_feature_pts" / "feature_points"
    (points / "1_P_hgr1_id01_1.xml").unlink()
    with pytest.raises(FileNotFoundError, match="id01_1.jpg: its annotation"):
        hgr1(folder)
    with pytest.warns(UserWarning, match="1 incomplete"):
        assert len(hgr1(folder, partial=True)) == 1
    images = folder / "hgr1_images" / "original_images"
    (images / "A_P_hgr1_id08_2.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="id08_2.xml, line 1: .*id08_2.jpg"):
        hgr1(folder)
    (images / "holiday.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="holiday.jpg: expected a name such as 1_P"):
        hgr1(folder)
    with pytest.raises(FileNotFoundError, match="HGR1: give that folder"):
        hgr1(images)
