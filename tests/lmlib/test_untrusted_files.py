"""Files are not trusted: what they announce takes no memory, their names stay inside of
the folder, and whatever is wrong is one error that names the file."""

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lmlib.datasets import photos
from lmlib.datasets.faces import celeba, mtfl, read_pts, w300
from lmlib.datasets.fashion import fld
from lmlib.datasets.hands import read_points
from lmlib.datasets.idx import FILES, Idx, read_idx
from lmlib.datasets.images import ImageSet, image_files
from lmlib.datasets.photos import UnreadableImage, cut, frame, read_photo
from lmlib.datasets.tryon import read_classes, read_pose, viton_hd
from lmlib.texts import read_crop

ROOT = Path(__file__).resolve().parents[2]
FIVE = [(60.0, 80.0), (100.0, 80.0), (80.0, 105.0), (65.0, 125.0), (95.0, 125.0)]


def mtfl_line(name, points=FIVE, codes="1 2 2 3"):
    x, y = (" ".join(str(point[i]) for point in points) for i in (0, 1))
    return f"{name} {x} {y} {codes}"


@pytest.fixture
def mtfl_folder(tmp_path):
    """MTFL with one face, and an image outside of it."""
    folder = tmp_path / "MTFL"
    (folder / "lfw_5590").mkdir(parents=True)
    Image.new("RGB", (160, 200)).save(folder / "lfw_5590" / "a.jpg")
    Image.new("RGB", (160, 200)).save(tmp_path / "secret.jpg")
    return folder


def peak_of(call) -> int:
    """Bytes that numpy and Python held at the most."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def png_head(width, height):
    """A PNG of a few bytes that announces its size."""
    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


# --- memory ---------------------------------------------------------------------------


def test_a_box_far_over_the_edge_takes_no_memory():
    """20,000 pixels around an image of 300: 1.2 GB, were they padded at full size."""
    image = Image.effect_noise((300, 300), 60).convert("RGB")
    found = []
    taken = peak_of(
        lambda: found.append(cut(image, (-1e4, -1e4, 1e4 + 1, 1e4 + 1), (64, 64)))
    )
    assert taken < 20e6
    corners = np.asarray(image)[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
    for corner, (row, column) in zip(
        corners, ((2, 2), (2, 61), (61, 2), (61, 61)), strict=True
    ):  # beyond each corner, its colour goes on
        assert np.abs(found[0][:, row, column] - corner).max() <= 12


def test_a_box_that_is_shrunk_first_shows_what_a_padded_one_shows(monkeypatch):
    """Small boxes through the way of the large ones, against plain padding."""
    y, x = np.mgrid[:240, :320]
    waves = 127 + 60 * np.sin(x / 17) + 60 * np.cos(y / 23)
    image = Image.fromarray(
        np.stack([waves, x * 0.79, y * 1.06], -1).round().astype(np.uint8)
    )
    boxes = [(-500.5, -300, 900, 1100.25), (-900, 20, 310, 1230), (300, 200, 900, 800)]
    for box in boxes:
        plain = cut(image, box, (40, 40)).astype(int)
        monkeypatch.setattr(photos, "LARGEST_BOX", 1000)
        shrunk = cut(image, box, (40, 40)).astype(int)
        monkeypatch.undo()
        off = np.abs(plain - shrunk)
        assert off.max() <= 6 and off.mean() < 0.5, box
        assert plain.std() > 5


@pytest.mark.parametrize("far", [2e5, 1e9, float("inf")])
def test_a_box_absurdly_far_is_an_error(far):
    image = Image.new("RGB", (100, 80))
    with pytest.raises(ValueError, match="more than 100 times as far"):
        cut(image, (0, 0, far, far), (8, 8))
    with pytest.raises(ValueError, match="an empty box"):
        cut(image, (0, 0, float("nan"), 5), (8, 8))


def test_an_annotation_absurdly_far_names_its_image_or_its_line(mtfl_folder):
    def write(x):
        points = [(x, 80.0), *FIVE[1:]]
        line = mtfl_line("lfw_5590\\a.jpg", points)
        (mtfl_folder / "training.txt").write_text(line)
        return mtfl(mtfl_folder)

    with pytest.raises(ValueError, match=r"a\.jpg: the box .* more than 100 times"):
        write(2e4).batch(range(1))  # 5.58 times the spread of 8,000 pixels
    with pytest.raises(ValueError, match="training.txt, line 1: expected pixels, none"):
        write(1e30)
    # In single precision these five points are one.
    points = [(9e5 + 1e-3 * k, 9e5) for k in range(5)]
    (mtfl_folder / "training.txt").write_text(mtfl_line("lfw_5590\\a.jpg", points))
    with pytest.raises(ValueError, match=r"a\.jpg: its box is empty"):
        mtfl(mtfl_folder)


@pytest.mark.parametrize(
    "text", ["0,0,inf,1", "-inf,0,1,1", "0,0,1,1e9", "nan,0,1,1", "1,0,0,1"]
)
def test_a_crop_without_end_is_an_error(text):
    with pytest.raises(ValueError, match=f"crop must be .*{text}"):
        read_crop(text)
    with pytest.raises(ValueError, match="crop must be left < right"):
        frame((10, 10), tuple(map(float, text.split(","))))


@pytest.mark.parametrize(("mode", "ending"), [("I;16", "png"), ("F", "tif")])
def test_deep_images_are_converted_in_parts(tmp_path, mode, ending):
    """Floats of all pixels at once would take 24 bytes each and more."""
    values = np.arange(3000 * 2000).reshape(2000, 3000) % 65536
    values = values.astype(np.uint16 if mode == "I;16" else np.float32)
    path = tmp_path / f"deep.{ending}"
    Image.fromarray(values).save(path)
    found = []
    taken = peak_of(lambda: found.append(read_photo(path)))
    assert taken < 16 * values.size
    shown = np.asarray(found[0])[..., 0]
    assert (shown == (values / 65535.0 * 255).round()).all()


def test_not_a_number_is_black_and_infinity_white(tmp_path):
    values = np.array([[np.nan, -1.0, 0.0, 0.5, 1.0, np.inf]], np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    shown = np.asarray(read_photo(tmp_path / "a.tif"))[0, :, 0]
    assert shown.tolist() == [0, 0, 0, 128, 255, 255]


def test_bands_join_without_a_seam(tmp_path, monkeypatch):
    rgba = np.random.default_rng(0).integers(0, 256, (50, 40, 4)).astype(np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    whole = np.asarray(read_photo(tmp_path / "a.png"))
    monkeypatch.setattr(photos, "BAND", 130)  # three rows of 40
    assert (np.asarray(read_photo(tmp_path / "a.png")) == whole).all()


def test_threads_wait_where_there_is_no_room_for_more():
    room, inside, most = photos._Room(100), [], []

    def decode(pixels):
        with room.of(pixels):
            inside.append(pixels)
            time.sleep(0.002)
            most.append(sum(inside))
            inside.remove(pixels)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(decode, [60, 30, 40, 500, 10, 90, 100] * 5))
    assert len(most) == 35
    assert all(total <= 100 or total == 500 for total in most)
    assert room.used == 0


def test_an_error_in_decoding_leaves_the_room(tmp_path):
    (tmp_path / "a.png").write_bytes(png_head(3000, 3000))
    for _ in range(3):
        with pytest.raises(UnreadableImage):
            read_photo(tmp_path / "a.png")
    assert photos._ROOM.used == 0


def gzipped(path, shape, data):
    head = struct.pack(">BBBB", 0, 0, 8, len(shape))
    head += struct.pack(f">{len(shape)}I", *shape)
    with gzip.open(path, "wb") as file:
        file.write(head)
        for piece in data:
            file.write(piece)
    return path


def test_a_gzip_is_read_as_far_as_its_head_says(tmp_path):
    """A small file that unpacks to 400 MB."""
    path = gzipped(tmp_path / "a.gz", (5,), [bytes(2**22)] * 100)
    assert path.stat().st_size < 1e6

    def read():
        with pytest.raises(ValueError, match=r"a.gz: .*announces 5, but more than 5"):
            read_idx(path)

    assert peak_of(read) < 5e6


@pytest.mark.parametrize(
    "shape", [(2**31, 28, 28), (2**16, 2**16), (2, 2), (1, 1, 1, 1), ()]
)
def test_an_idx_head_that_announces_too_much_is_an_error(tmp_path, shape):
    path = gzipped(tmp_path / "a.gz", shape, [b"abcd"])

    def read():
        with pytest.raises(ValueError, match=r"a.gz: its head announces.*expected \(N"):
            read_idx(path)

    assert peak_of(read) < 5e6


def test_images_without_pixels_are_no_set(tmp_path):
    images, labels = (tmp_path / f"{name}.gz" for name in FILES["train"])
    gzipped(images, (2, 0, 28), [])
    gzipped(labels, (2,), [b"ab"])
    with pytest.raises(ValueError, match=r"got \(2, 0, 28\)"):
        Idx(folder=tmp_path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")
def test_a_crop_far_over_the_edge_in_two_gigabytes(tmp_path):
    """The whole process, Pillow's memory included."""
    resource = pytest.importorskip("resource")
    Image.new("RGB", (400, 300), "red").save(tmp_path / "a.png")
    code = (
        "import resource, sys\n"
        "from lmlib.datasets.images import folder\n"
        "import torch\n"
        "start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "folder(sys.argv[1], size=100, crop=(-90, -90, 90, 90)).batch([0])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30,) * 2),
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) * 1024 < 200e6


# --- kinds of files -------------------------------------------------------------------


def dds():
    return b"DDS " + struct.pack("<I", 124) + bytes(200)


OTHERS = {
    "dds": dds(),
    "blp": b"BLP1" + struct.pack("<I", 0) + bytes(400),
    "blp2": b"BLP2" + struct.pack("<IBBBBII", 1, 1, 0, 0, 0, 4, 4) + bytes(400),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n",
    "psd": b"8BPS" + bytes(40),
    "pcx": b"\x0a\x05\x01\x08" + bytes(124),
    "ico": b"\0\0\1\0\1\0" + bytes(40),
    "spider": np.array([1, 1, 1, 0, 1] + [0] * 27 + [1] * 300, ">f4").tobytes(),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_only_a_few_formats_are_decoded(tmp_path, kind):
    path = tmp_path / "photo.jpg"
    path.write_bytes(OTHERS[kind])
    with pytest.raises(UnreadableImage, match=r"photo.jpg: not an image: .* of JPEG"):
        read_photo(path)
    with pytest.raises(UnreadableImage, match="photo.jpg: not an image"):
        read_classes(path)


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for Ghostscript")
def test_postscript_starts_no_other_program(tmp_path, monkeypatch):
    ghost = tmp_path / "bin" / "gs"
    ghost.parent.mkdir()
    ghost.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    ghost.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ghost.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    path = tmp_path / "e.jpg"
    path.write_bytes(OTHERS["eps"])
    with pytest.raises(UnreadableImage):
        read_photo(path)
    assert not (tmp_path / "started").exists()


def test_formats_of_photographs_are_still_read(tmp_path):
    image = Image.new("RGB", (8, 6), (200, 0, 0))
    for ending in (suffix for suffix in photos.SUFFIXES):
        image.save(tmp_path / f"a{ending}")
        assert read_photo(tmp_path / f"a{ending}").size == (8, 6)
    # Phones write two JPEG images into one file.
    image.save(tmp_path / "m.jpg", "MPO", save_all=True, append_images=[image])
    assert read_photo(tmp_path / "m.jpg").size == (8, 6)


def test_a_parse_map_beyond_all_limits_is_named(tmp_path):
    path = tmp_path / "parse.png"
    for width, height in ((14_000, 14_000), (60_000, 60_000)):
        path.write_bytes(png_head(width, height))
        with pytest.raises(UnreadableImage, match="parse.png: .*pixels are more than"):
            read_classes(path)
        with pytest.raises(UnreadableImage, match="parse.png: .*pixels are more than"):
            read_photo(path)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")

    def refuse(self, *args, **options):
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "b.png").mkdir()
    with pytest.raises(UnreadableImage, match="b.png: cannot be read .*directory"):
        read_photo(tmp_path / "b.png")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UnreadableImage) as error:
        read_photo(tmp_path / "a.png")
    assert str(error.value).endswith("a.png: cannot be read (Permission denied)")


def test_a_decoder_that_fails_in_any_way_is_a_damaged_image(tmp_path, monkeypatch):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")

    def fail(self):
        raise KeyError("no such tag\nat all")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(UnreadableImage, match=r"a.png: damaged .*\('no such tag") as e:
        read_photo(tmp_path / "a.png")
    assert "\n" not in str(e.value)


# --- names ----------------------------------------------------------------------------

LEAVING = ["..\\secret.jpg", "lfw_5590\\..\\..\\secret.jpg", "{absolute}", "C:\\a.jpg"]
LEAVING += ["\\\\server\\a.jpg", "lfw_5590\\\0a.jpg", "lfw_5590\\", ".", "a" * 5000]


@pytest.mark.parametrize("name", LEAVING)
def test_a_list_names_no_file_outside_of_its_folder(mtfl_folder, name):
    name = name.format(absolute=mtfl_folder.parent / "secret.jpg")
    lines = mtfl_line("lfw_5590\\a.jpg"), mtfl_line(name)
    (mtfl_folder / "training.txt").write_text("\n".join(lines))
    with pytest.raises(
        ValueError, match="training.txt, line 2: expected a file inside"
    ):
        mtfl(mtfl_folder)


@pytest.fixture
def celeba_folder(tmp_path):
    folder = tmp_path / "celeba"
    images = folder / "Img" / "img_align_celeba"
    images.mkdir(parents=True)
    (folder / "Anno").mkdir()
    for place in (images / "000001.jpg", tmp_path / "celeba" / "secret.jpg"):
        Image.new("RGB", (178, 218)).save(place)
    return folder


def write_celeba(folder, *names):
    rows = [f"{name} 60 110 110 110 85 130 65 150 105 150" for name in names]
    text = "\n".join([str(len(rows)), "lefteye_x ...", *rows])
    (folder / "Anno" / "list_landmarks_align_celeba.txt").write_text(text)


def test_celebas_list_stays_inside_and_names_each_image_once(celeba_folder):
    write_celeba(celeba_folder, "000001.jpg")
    assert len(celeba(celeba_folder, "all")) == 1
    write_celeba(celeba_folder, "000001.jpg", "../../secret.jpg")
    with pytest.raises(ValueError, match="celeba.txt, line 4: expected a file inside"):
        celeba(celeba_folder, "all")
    write_celeba(celeba_folder, "000001.jpg", str(celeba_folder / "secret.jpg"))
    with pytest.raises(ValueError, match="celeba.txt, line 4: expected a file inside"):
        celeba(celeba_folder, "all")
    write_celeba(celeba_folder, "000001.jpg", "000001.jpg")
    with pytest.raises(ValueError, match="line 4: '000001.jpg' is listed twice"):
        celeba(celeba_folder, "all")


def test_pairs_and_clothes_stay_inside(tmp_path):
    for place in ("train/image", "train/cloth"):
        (tmp_path / "hd" / place).mkdir(parents=True)
        Image.new("RGB", (6, 8)).save(tmp_path / "hd" / place / "1.jpg")
    Image.new("RGB", (6, 8)).save(tmp_path / "hd" / "secret.jpg")
    listed = tmp_path / "hd" / "train_pairs.txt"
    listed.write_text("1.jpg 1.jpg\n")
    assert len(viton_hd(tmp_path / "hd")) == 1
    for line in ("../../secret.jpg 1.jpg", "1.jpg ../../secret.jpg"):
        listed.write_text(line)
        with pytest.raises(ValueError, match="pairs.txt, line 1: expected a file insi"):
            viton_hd(tmp_path / "hd", paired=False)
    folder = tmp_path / "FLD"
    for place in ("img", "Anno", "Eval"):
        (folder / place).mkdir(parents=True)
    row = "../hd/secret.jpg 1 1 " + "0 1 2 " * 6
    (folder / "Anno/list_landmarks.txt").write_text(f"1\nnames\n{row}\n")
    (folder / "Eval/list_eval_partition.txt").write_text(
        "1\nnames\n../hd/secret.jpg train\n"
    )
    with pytest.raises(ValueError, match="partition.txt, line 3: expected a file ins"):
        fld(folder)


def test_two_images_of_one_name_are_told(tmp_path):
    """Which of them is annotated, nothing tells."""
    for part in ("afw", "helen/trainset", "lfpw/trainset"):
        (tmp_path / part).mkdir(parents=True)
    for ending in (".jpg", ".png"):
        Image.new("RGB", (9, 9)).save(tmp_path / "afw" / f"a{ending}")
    with pytest.raises(ValueError, match=r"a.png: has the name of a.jpg"):
        w300(tmp_path)


@pytest.mark.parametrize("codes", ["12 2 2 3", "1 2 2 34", "1 2 2 "])
def test_a_code_is_one_of_the_codes_and_no_part_of_them(mtfl_folder, codes):
    name = "lfw_5590\\a.jpg"
    (mtfl_folder / "training.txt").write_text(mtfl_line(name, codes=codes))
    with pytest.raises(ValueError, match="training.txt, line 1: (gender|pose|exp)"):
        mtfl(mtfl_folder)


# --- annotations of one image ---------------------------------------------------------


def hand_xml(count, called="a"):
    points = f'<FeaturePoint category="{called}" x="1" y="2"/>' * count
    return f"<IMAGE><hand>{points}</hand></IMAGE>"


def test_many_points_of_one_name_take_no_time(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(hand_xml(20_000))
    start = time.process_time()
    assert len(read_points(path)) == 20_000
    few = tmp_path / "b.xml"
    few.write_text(hand_xml(2_000))
    middle = time.process_time()
    assert len(read_points(few)) == 2_000
    last = time.process_time() - middle
    # Ten times as many; a search through all for each took 1,200 times as long.
    assert middle - start < 200 * last + 0.1


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'<?xml version="1.0" encoding="no-such"?><IMAGE/>', "not XML"),
        (b'<?xml version="1.0" encoding="utf-7"?><IMAGE/>', "not XML"),
        (b'<!DOCTYPE a [<!ENTITY b "bb">]><IMAGE/>', "expected no entities"),
        (b"<IMAGE>\xff</IMAGE>", "not XML"),
        (hand_xml(1).replace('"1"', '"1e300"').encode(), "expected pixels, none"),
    ],
)
def test_odd_xml_is_named(tmp_path, content, fault):
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"a.xml, line 1: {fault}"):
        read_points(path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"[" * 100_000, "not JSON"),
        (b'{"people": [{"pose_keypoints_2d": [1' + b"0" * 400 + b", 1, 1]}]}", "exp"),
        (b'{"people": 1' + b"0" * 5000 + b"}", "expected 'people'"),
        (b'{"people": "\xff"}', "not UTF-8 text"),
        (json.dumps({"people": [{"pose_keypoints_2d": [1e9, 1, 1] * 18}]}).encode(),
         "expected 'people'.*finite"),
        (b'{"people": [{"pose_keypoints_2d": [' + b"NaN," * 53 + b"NaN]}]}", "expect"),
        (b'{"people": {"a": 1}}', "expected 'people'"),
    ],
)  # fmt: skip
def test_odd_json_is_named(tmp_path, content, fault):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"a.json, line 1: {fault}"):
        read_pose(path)


@pytest.mark.parametrize("reader", [read_points, read_pose])
def test_an_annotation_of_megabytes_is_refused_unread(tmp_path, reader):
    path = tmp_path / "a.any"
    path.write_bytes(b" " * 5 * 2**20)
    with pytest.raises(ValueError, match="a.any: larger than 4194304 bytes"):
        reader(path)


def test_lines_and_lists_without_end_are_refused(tmp_path):
    path = tmp_path / "a.pts"
    path.write_bytes(b"version: 1\n" + b"1" * 2_000_000)
    with pytest.raises(ValueError, match="a.pts, line 2: longer than 1000000 bytes"):
        read_pts(path)
    path.write_text("version: 1\nn_points: 68\n{\n" + "1 1\n" * 1_000_000)

    def read():
        with pytest.raises(ValueError, match="a.pts, line .*expected 68 lines"):
            read_pts(path)

    assert peak_of(read) < 1e6


# --- folders --------------------------------------------------------------------------


def test_a_folder_that_cannot_be_searched_is_an_error_or_told(tmp_path, monkeypatch):
    for name in ("a.png", "open/b.png", "shut/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    scandir = os.scandir

    def scan(path):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(OSError, match=r"shut: cannot be searched \(Permission denied"):
        image_files(tmp_path)
    unread = []
    found = image_files(tmp_path, unread.append)
    assert [path.name for path in found] == ["a.png", "b.png"]
    assert [Path(error.filename).name for error in unread] == ["shut"]


def test_boxes_are_checked_when_a_set_is_made(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    for box in ((0, 0, 0, 5), (0, 0, float("inf"), 5), (0, float("nan"), 5, 5)):
        with pytest.raises(ValueError, match="a.png: its box is empty"):
            ImageSet([tmp_path / "a.png"], 8, boxes=torch.tensor([box]))


def test_a_large_jpeg_decoded_small_needs_little_room(tmp_path, monkeypatch):
    """Waiting goes by what is decoded and not by what the file holds."""
    Image.new("RGB", (3200, 2400)).save(tmp_path / "a.jpg")
    asked = []
    room = photos._Room(10**9)
    take = room.of

    def of(pixels):
        asked.append(pixels)
        return take(pixels)

    monkeypatch.setattr(room, "of", of)
    monkeypatch.setattr(photos, "_ROOM", room)
    read_photo(tmp_path / "a.jpg", needed=300)
    read_photo(tmp_path / "a.jpg")
    assert asked == [400 * 300, 3200 * 2400]
