"""Image files of every kind become upright RGB; damaged ones say why they cannot."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from lmlib.datasets import photos
from lmlib.datasets.images import (
    ImageSet,
    folder,
    from_box,
    image_files,
    in_box,
    square,
)
from lmlib.datasets.photos import UnreadableImage, cut, frame, read_photo

LONG = "ä" * 125 + ".png"  # 254 bytes; file systems allow 255


def pixels(path, **options) -> np.ndarray:
    return np.asarray(read_photo(path, **options))


@pytest.fixture
def corners(tmp_path):
    """20 x 30 pixels (height, width): red, green / blue, white quarters."""
    image = np.full((20, 30, 3), 255, np.uint8)
    image[:10, :15], image[:10, 15:], image[10:, :15] = (
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
    )
    return image


# --- kinds of images ------------------------------------------------------------------

# How an upright image is stored, by the TIFF specification: which side of the picture
# the first row and the first column of the file are.
STORED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[:, ::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x[::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_turned_images_come_upright(tmp_path, corners, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{ending}"
    stored = np.ascontiguousarray(STORED[orientation](corners))
    quality = {"quality": 95, "subsampling": 0} if ending == "jpg" else {}
    Image.fromarray(stored).save(path, exif=exif, **quality)
    found = pixels(path)
    assert found.shape == corners.shape
    for row, column in ((4, 6), (4, 22), (15, 6), (15, 22)):
        near = np.abs(found[row, column].astype(int) - corners[row, column])
        assert near.max() < 12, (row, column)


def test_annotated_images_stay_as_they_are_stored(tmp_path, corners):
    """Annotations of data sets are in the pixels of the file."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "annotated.png"
    Image.fromarray(corners).save(path, exif=exif)
    size = corners.shape[:2]
    points = torch.zeros(1, 1, 2)
    stored = ImageSet([path], size, crop="squash", landmarks=points).batch([0])
    bare = ImageSet([path], size[::-1], crop="squash").batch([0])["image"]
    expected = torch.from_numpy(corners).permute(2, 0, 1)[None].float() / 255
    torch.testing.assert_close(stored["image"], expected, atol=1e-6, rtol=0)
    turned = expected.rot90(-1, (2, 3))
    torch.testing.assert_close(bare, turned, atol=1e-6, rtol=0)


def test_reading_leaves_other_warnings_alone(tmp_path, corners):
    path = tmp_path / "a.png"
    Image.fromarray(corners).save(path)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(read_photo, [path] * 400))
    assert warnings.filters == before


@pytest.mark.parametrize("ending", ["jpg", "tif"])
def test_cmyk_colours_are_those_of_the_print(tmp_path, corners, ending):
    path = tmp_path / f"print.{ending}"
    quality = {"quality": 95, "subsampling": 0} if ending == "jpg" else {}
    Image.fromarray(corners).convert("CMYK").save(path, **quality)
    with Image.open(path) as image:
        assert image.mode == "CMYK"
    found = pixels(path).astype(int)
    for row, column in ((4, 6), (4, 22), (15, 6), (15, 22)):
        assert np.abs(found[row, column] - corners[row, column]).max() < 16


def test_transparent_parts_lie_on_white(tmp_path):
    image = np.zeros((4, 4, 4), np.uint8)
    image[..., 0] = 200  # red, of three opacities
    image[0, :, 3], image[1, :, 3] = 255, 51
    Image.fromarray(image).save(tmp_path / "rgba.png")
    found = pixels(tmp_path / "rgba.png")
    assert found[0, 0].tolist() == [200, 0, 0]
    assert np.abs(found[1, 0].astype(int) - (244, 204, 204)).max() <= 1
    assert found[3, 0].tolist() == [255, 255, 255]
    gray = np.stack([np.full((4, 4), 90), image[..., 3]], -1).astype(np.uint8)
    Image.fromarray(gray).save(tmp_path / "la.png")
    assert pixels(tmp_path / "la.png")[[0, 3], 0, 0].tolist() == [90, 255]


@pytest.mark.parametrize("ending", ["png", "gif", "bmp"])
def test_palette_colours(tmp_path, ending):
    image = Image.new("P", (6, 4))
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 255, 0])
    image.putdata([0, 1, 2] * 8)
    image.save(tmp_path / f"p.{ending}")
    found = pixels(tmp_path / f"p.{ending}")
    assert found[0, :3].tolist() == [[10, 20, 30], [200, 100, 50], [0, 255, 0]]


def test_a_transparent_palette_colour_is_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    image.save(tmp_path / "p.png", transparency=0)
    assert pixels(tmp_path / "p.png")[0].tolist() == [[255] * 3, [200, 100, 50]]


@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
def test_one_bit(tmp_path, ending):
    bits = np.arange(24).reshape(4, 6) % 3 == 0
    Image.fromarray(bits).save(tmp_path / f"bits.{ending}")
    found = pixels(tmp_path / f"bits.{ending}")
    assert (found == 255 * bits[..., None]).all()


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_are_scaled_not_cut(tmp_path, ending):
    values = np.array([[0, 257, 32896, 65535], [1000, 128 * 257, 255, 60000]])
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / f"deep.{ending}")
    found = pixels(tmp_path / f"deep.{ending}")
    assert (found == (values / 257).round()[..., None]).all()


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_floats_are_scaled_by_the_range_they_use(tmp_path, white):
    values = np.array([[0.0, 0.5, 1.0]], np.float32) * white
    Image.fromarray(values).save(tmp_path / "float.tif")
    assert pixels(tmp_path / "float.tif")[0, :, 0].tolist() == [0, 128, 255]


def test_gray_jpegs_decoded_small_keep_their_shorter_side(tmp_path):
    ramp = np.tile(np.arange(1600) * 255 // 1600, (1200, 1)).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "camera.jpg", quality=95)
    whole, small = read_photo(tmp_path / "camera.jpg"), None
    small = read_photo(tmp_path / "camera.jpg", needed=200)
    assert whole.size == (1600, 1200)
    assert small.size == (400, 300)  # an eighth would be too small
    assert small.mode == "RGB"
    again = np.asarray(small)[150, :, 0].astype(int)
    assert np.abs(again - ramp[0, 2::4]).max() <= 3


def test_one_pixel_and_ten_thousand(tmp_path):
    Image.new("RGB", (1, 1), (9, 99, 199)).save(tmp_path / "one.png")
    photo = read_photo(tmp_path / "one.png")
    for crop in ("centre", "pad", "squash"):
        small = cut(photo, frame(photo.size, crop), (5, 7))
        assert small.shape == (3, 5, 7)
        assert (small == np.array([9, 99, 199]).reshape(3, 1, 1)).all()
    wide = np.zeros((3, 10_000, 3), np.uint8)
    wide[:, 4990:5010] = (0, 200, 0)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    photo = read_photo(tmp_path / "wide.png", needed=2)
    assert photo.size == (10_000, 3)
    assert (cut(photo, frame(photo.size, "centre"), (3, 3))[1] == 200).all()
    band = cut(photo, frame(photo.size, "squash"), (4, 500))[1]
    assert band[0, 249] > 90 and band[0, 240] == 0


# --- damaged files --------------------------------------------------------------------


def damaged(folder_, kind):
    path = folder_ / f"{kind}.jpg"
    image = Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (64, 64, 3), "u1")
    )
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("This is no image, whatever its name says.\n")
    elif kind == "folder":
        path.mkdir()
    elif kind in ("jpeg", "png", "tiff", "gif"):
        image.save(path, kind.upper())
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "head":
        image.save(path, "JPEG")
        path.write_bytes(path.read_bytes()[:20])
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", r"the file is empty \(0 bytes\)"),
        ("text", "not an image"),
        ("missing", "no such file"),
        ("folder", "directory|Permission"),
        ("jpeg", "damaged or truncated"),
        ("png", "damaged or truncated"),
        ("tiff", "damaged or truncated"),
        ("gif", "damaged or truncated"),
        ("head", "not an image|damaged or truncated"),
    ],
)
def test_damaged_files_are_one_line_with_name_and_reason(tmp_path, kind, reason):
    path = damaged(tmp_path, kind)
    with pytest.raises(UnreadableImage, match=reason) as caught:
        read_photo(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path, monkeypatch
):
    Image.new("L", (40, 30)).save(tmp_path / "large.png")
    monkeypatch.setattr(photos, "LARGEST", 1000)
    with pytest.raises(UnreadableImage, match="40 x 30 pixels are more than 1000"):
        read_photo(tmp_path / "large.png")


# --- the part to look at --------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
def test_frames():
    assert frame((30, 20), "centre") == (5, 0, 25, 20)
    assert frame((30, 20), "pad") == (0, -5, 30, 25)
    assert frame((30, 20), "squash") == (0, 0, 30, 20)
    assert frame((30, 20), (0.5, 0.25, 1, 1)) == (15, 5, 30, 20)
    for wrong in ("middle", (0, 0, 1)):
        with pytest.raises(ValueError, match="centre, pad, squash or four numbers"):
            frame((30, 20), wrong)


def test_cut_copies_pixels_and_goes_on_with_the_edge(corners):
    photo = Image.fromarray(corners)
    assert (cut(photo, (0, 0, 30, 20), (20, 30)).transpose(1, 2, 0) == corners).all()
    around = cut(photo, (-4, -6, 34, 23), (29, 38)).transpose(1, 2, 0)
    assert (around == np.pad(corners, ((6, 3), (4, 4), (0, 0)), mode="edge")).all()
    outside = cut(photo, (40, 30, 44, 33), (3, 4))  # beside the image: its corner
    assert (outside == 255).all()
    for box in ((5, 5, 5, 9), (9, 0, 3, 9)):
        with pytest.raises(ValueError, match="an empty box"):
            cut(photo, box, (4, 4))


# --- sets of images -------------------------------------------------------------------


@pytest.fixture
def dots(tmp_path):
    """Three images with one bright pixel each, and where it is."""
    places = torch.tensor([[[3.0, 4.0]], [[10.0, 2.0]], [[0.0, 7.0]]])
    for number, (x, y) in enumerate(places[:, 0].long().tolist()):
        image = np.zeros((8, 12, 3), np.uint8)
        image[y, x] = (255, 0, 0)
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    return image_files(tmp_path), places


def test_landmarks_move_with_the_box(dots):
    files, places = dots
    boxes = torch.tensor([[0.0, 0, 12, 8], [8, 0, 12, 4], [-4, 4, 4, 12]])
    labels = {"smile": torch.tensor([1, 0, 1])}
    size = (8, 8)
    data = ImageSet(files, size, boxes=boxes, landmarks=places, labels=labels)
    batch = data.batch(torch.tensor([2, 0, 1]))
    assert batch["index"].tolist() == [2, 0, 1]
    assert batch["smile"].tolist() == [1, 1, 0]
    red = batch["image"][:, 0]
    assert batch["image"].shape == (3, 3, 8, 8) and batch["visible"].all()
    row, column = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    mass = red / red.sum((1, 2), keepdim=True)
    x = ((2 * column + 1) / 8 - 1).mul(mass).sum((1, 2))
    y = ((2 * row + 1) / 8 - 1).mul(mass).sum((1, 2))
    middle = torch.stack([x, y], -1)
    # The first box reaches over the edge, where the edge's colour goes on.
    torch.testing.assert_close(batch["landmarks"][1:, 0], middle[1:], atol=0.06, rtol=0)
    torch.testing.assert_close(batch["landmarks"][0, 0], torch.tensor([0.125, -0.125]))


def test_boxes_there_and_back():
    boxes = square(torch.tensor([[5.0, 6.0], [0.0, 0.0]]), torch.tensor([4.0, 10.0]))
    assert boxes.tolist() == [[3, 4, 7, 8], [-5, -5, 5, 5]]
    points = torch.tensor([[[3.0, 4.0], [6.5, 7.5]], [[0.0, 0.0], [9.0, -3.0]]])
    shares = in_box(points, boxes)
    assert shares[0].tolist() == [[-0.75, -0.75], [1.0, 1.0]]
    torch.testing.assert_close(from_box(shares, boxes), points)


def test_landmarks_outside_and_missing_ones_are_hidden(dots):
    files, places = dots
    places = places.repeat(1, 3, 1)
    places[0, 1] = torch.nan
    places[1, 2] = torch.tensor([500.0, 3.0])
    seen = ImageSet(files, 8, landmarks=places).batch(range(3))["visible"]
    # the centre square is columns 2 to 9
    assert seen.tolist() == [[True, False, True], [False] * 3, [False] * 3]
    wide = ImageSet(files, 8, crop="squash", landmarks=places, inside=False)
    seen = wide.batch(range(3))["visible"]
    assert seen.tolist() == [[True, False, True], [True] * 3, [True] * 3]


def test_gray_weighs_the_colours(tmp_path):
    Image.new("RGB", (4, 4), (100, 50, 200)).save(tmp_path / "a.png")
    image = folder(tmp_path, size=4, gray=True).batch([0])["image"]
    assert image.shape == (1, 1, 4, 4)
    expected = (0.299 * 100 + 0.587 * 50 + 0.114 * 200) / 255
    torch.testing.assert_close(image.mean(), torch.tensor(expected))


def test_prefetched_images_are_the_same(dots):
    files, places = dots
    data = ImageSet(files, 8, landmarks=places)
    plain = data.batch(range(3))
    data.prefetch(range(3))
    ahead = data.batch(torch.tensor([0, 1, 2, 1]))  # one image twice
    assert torch.equal(ahead["image"][:3], plain["image"])
    assert torch.equal(ahead["image"][3], plain["image"][1])


def test_a_damaged_image_is_named_and_the_others_go_on(dots):
    files, _ = dots
    files[1].write_bytes(files[1].read_bytes()[:-30])
    data = ImageSet(files, 8)
    with pytest.raises(UnreadableImage, match=r"1\.png: damaged or truncated"):
        data.batch(range(3))
    assert data.batch([0, 2])["image"].shape == (2, 3, 8, 8)


def test_wrong_numbers_and_lengths(dots):
    files, places = dots
    with pytest.raises(IndexError, match="numbered 0 to 2"):
        ImageSet(files, 8).batch([3])
    with pytest.raises(ValueError, match="3 images, but 2 landmarks"):
        ImageSet(files, 8, landmarks=places[:2])
    with pytest.raises(ValueError, match="without images"):
        ImageSet([], 8)
    with pytest.raises(ValueError, match="at least one pixel"):
        ImageSet(files, 0)


# --- folders --------------------------------------------------------------------------


def test_a_folder_is_searched_and_sorted(tmp_path):
    names = ("b.JPG", "a.png", "deep/er/c.tiff", "naïve 写真.webp", LONG)
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (200, 0, 0)).save(path)
    for name in (".hidden.png", ".thumbs/a.png", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("no image")
    (tmp_path / "folder.png").mkdir()
    found = image_files(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in found} == set(names)
    assert found == sorted(found)
    red = folder(tmp_path, size=4).batch(range(5))["image"][:, 0]
    assert (red > 0.75).all()


def test_a_missing_and_an_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="none: no such folder"):
        image_files(tmp_path / "none")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"holds no image \(\.jpg"):
        image_files(tmp_path)
    with pytest.raises(ValueError, match="has one split, 'train', not 'test'"):
        folder(tmp_path, "test")
