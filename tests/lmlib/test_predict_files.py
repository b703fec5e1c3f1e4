"""What ``predict`` does to files: nothing is lost, names are not trusted, and what is
written is whole."""

import csv
import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lmlib import cli, files
from lmlib import predict as prediction
from lmlib.files import named, whole
from lmlib.landmarker import Landmarker
from lmlib.predict import (
    check_table,
    find_photos,
    overlay_paths,
    predict,
    table_name,
)
from lmlib.texts import counted, printable

HEAD = "file,landmark,x,y,width,height"
ROOT = Path(__file__).resolve().parents[2]


class Middle(Landmarker):
    """A stand-in for a network: its two landmarks are where they always are."""

    def __init__(self):
        nn.Module.__init__(self)  # a landmarker in all but its network
        self.method = nn.Linear(1, 1)
        self.method.note = ""
        self.metadata = {}
        given = {"size": 16, "frame": 16, "image_channels": 3}
        self.config = type("Config", (), given)

    def landmarks(self, images):
        return torch.tensor([[0.0, 0.0], [-0.5, 0.5]]).repeat(len(images), 1, 1)


@pytest.fixture(autouse=True)
def network(monkeypatch):
    """Commands open it in place of a checkpoint."""
    monkeypatch.setattr("lmlib.landmarker.load", lambda *a, **k: Middle())


def photo(path, colour="gray"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), colour).save(path)
    return path


def run(*words):
    return cli.main(["predict", "any.safetensors", *map(str, words)])


def rows_of(path):
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


# --- nothing is overwritten -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["photograph", "checkpoint", "notes"])
def test_a_file_that_is_no_table_is_not_overwritten(tmp_path, capsys, kind):
    seen = photo(tmp_path / "me.jpg")
    out = {"photograph": seen, "checkpoint": tmp_path / "c.safetensors"}.get(
        kind, tmp_path / "notes.csv"
    )
    if kind != "photograph":
        out.write_bytes(b"\x10\0\0\0\0\0\0\0{}" if kind == "checkpoint" else b"a,b\n")
    before = out.read_bytes()
    assert run(seen, "--out", out) == 2
    assert f"{out.name}: is there and no table of landmarks" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_a_table_and_an_empty_file_are_replaced(tmp_path):
    seen, out = photo(tmp_path / "me.jpg"), tmp_path / "p.csv"
    out.touch()
    assert run(seen, "--out", out) == 0
    before = out.read_bytes()
    assert run(seen, "--out", out) == 0
    assert out.read_bytes() == before and before.startswith(HEAD.encode())
    check_table(out)
    check_table(tmp_path / "not there")


def test_overlays_beside_the_photographs_spare_them(tmp_path):
    names = [str(photo(tmp_path / name)) for name in ("a.jpg", "b.png", "b.jpg")]
    before = {name: Path(name).read_bytes() for name in names}
    predict(Middle(), names, tmp_path / "p.csv", tmp_path, progress=False)
    assert {name: Path(name).read_bytes() for name in names} == before
    made = {path.name for path in tmp_path.glob("*.jpg")}
    assert made == {"a.jpg", "b.jpg", "a.jpg.jpg", "b.png.jpg", "b.jpg.jpg"}


# --- where overlays go ----------------------------------------------------------------


def test_overlays_lie_below_the_common_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "in" / "me.jpg")
    absolute = str(tmp_path / "in" / "me.jpg")
    for name in (absolute, "in/me.jpg", "./in/../in/me.jpg"):
        assert overlay_paths([name], Path("o")) == {name: Path("o/me.jpg")}
    names = [absolute, str(tmp_path / "other" / "deep" / "you.png")]
    assert [*overlay_paths(names, Path("o")).values()] == [
        Path("o/in/me.jpg"),
        Path("o/other/deep/you.jpg"),
    ]
    predict(Middle(), [absolute], Path("p.csv"), Path("o"), progress=False)
    assert [str(path) for path in Path("o").rglob("*")] == [str(Path("o/me.jpg"))]


@pytest.mark.parametrize(
    ("names", "made"),
    [
        (["a.png", "a.jpg"], ["a.png.jpg", "a.jpg.jpg"]),
        (["a.png", "A.jpg"], ["a.png.jpg", "A.jpg.jpg"]),  # one name on some systems
        (["a.png", "b.png"], ["a.jpg", "b.jpg"]),
        (["x/a.png", "y/a.jpg"], ["x/a.jpg", "y/a.jpg"]),
        (["a.b.png", "a.png"], ["a.b.jpg", "a.jpg"]),
    ],
)
def test_an_ending_is_kept_only_where_two_would_be_one(names, made):
    paths = overlay_paths(names, Path("o"))
    assert [path.relative_to("o").as_posix() for path in paths.values()] == made


# --- names ----------------------------------------------------------------------------

ODD = ["=1+1.png", "+a.png", "-a.png", "@a.png", "\ta.png", " =a.png", "a;=1.png",
       "a,b.png", 'q"uote.png', "＝wide.png", "plain.png", "ä.png", "1.png",
       "a\x1b[31mred.png", "line\nbreak.png"]  # fmt: skip


def test_no_field_of_the_table_is_a_formula_and_each_names_its_file(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ODD:
        photo(tmp_path / name)
    predict(Middle(), ODD, Path("p.csv"), progress=False)
    rows = rows_of("p.csv")
    assert len(rows) == 2 * len(ODD)
    for row, name in zip(rows[::2], ODD, strict=True):
        assert row["file"][0] not in "=+-@\t\r ＝"
        assert os.path.samefile(row["file"], name)  # another name of the same file
        assert row["file"] in (name, f"./{name}")
    # Spreadsheets of some languages split at semicolons, quotes or not.
    text = Path("p.csv").read_text("utf-8")
    assert '"a;=1.png",0,' in text and "\nplain.png,0," in text
    cells = [
        cell for row in csv.reader(text.splitlines(), delimiter=";") for cell in row
    ]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_names_are_quoted_as_the_csv_module_quotes_them():
    for name in ODD:
        (row,) = (
            csv.reader([table_name(name)], strict=True)
            if "\n" not in name
            else (list(csv.reader(table_name(name).splitlines(keepends=True))))
        )
        assert row == [name] or row == [f"./{name}"]


def test_escape_sequences_do_not_reach_the_terminal(tmp_path, capfd):
    good = photo(tmp_path / "good.png")
    bad = tmp_path / "a\x1b]0;title\x07\u202egnp.png"
    bad.write_bytes(b"no image")
    assert run(good, bad, "--out", tmp_path / "\x1b[2Jp.csv") == 0
    assert run(bad, "--out", tmp_path / "q.csv") == 2
    assert run(tmp_path / "\x1b[2Jnone.png", "--out", tmp_path / "q.csv") == 2
    printed, err = capfd.readouterr()
    assert not re.search("[\x1b\x07\u202e]", printed + err)
    assert r"a\x1b]0;title\x07\u202egnp.png: not an image" in err
    assert r"\x1b[2Jp.csv: 1 photograph" in printed
    assert r"\x1b[2Jnone.png: no such file" in err


def test_printable_text_is_one_line_and_can_be_read():
    assert printable("naïve 写真.png") == "naïve 写真.png"
    assert printable("a\r\nb\t\x1b[0m\x9b") == r"a\r\nb\t\x1b[0m\x9b"
    assert printable(os.fsdecode(b"\xe4.png")) == r"\udce4.png"


def test_one_photograph_is_one(tmp_path, capsys):
    assert run(photo(tmp_path / "a.png"), "--out", tmp_path / "p.csv") == 0
    assert "p.csv: 1 photograph\n" in capsys.readouterr().out
    assert [counted(n, "image") for n in (0, 1, 2)] == [
        "0 images",
        "1 image",
        "2 images",
    ]


# --- folders and files that cannot be read --------------------------------------------


def test_a_folder_that_cannot_be_searched_is_listed(tmp_path, monkeypatch, capsys):
    photo(tmp_path / "in" / "a.png")
    photo(tmp_path / "in" / "shut" / "b.png")
    scandir = os.scandir

    def scan(path):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    words = [tmp_path / "in", "--out", tmp_path / "p.csv"]
    assert run(*words) == 0
    printed, err = capsys.readouterr()
    assert "p.csv: 1 photograph\n" in printed
    assert "lmlib: 1 skipped:" in err
    assert "shut: cannot be searched (Permission denied)" in err
    assert run(*words, "--strict") == 1
    with pytest.raises(OSError, match="shut: cannot be searched"):
        find_photos([str(tmp_path / "in")])


def test_odd_files_do_not_end_the_rest(tmp_path, capsys):
    """Formats of which Pillow's decoders fail in ways of their own."""
    photo(tmp_path / "in" / "good.png")
    for name, content in {
        "d.jpg": b"DDS " + bytes(200),
        "b.jpg": b"BLP2" + bytes(300),
        "s.jpg": np.array([1, 1, 1, 0, 1] + [0] * 27 + [1] * 300, ">f4").tobytes(),
        "e.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }.items():
        (tmp_path / "in" / name).write_bytes(content)
    assert run(tmp_path / "in", "--out", tmp_path / "p.csv") == 0
    printed, err = capsys.readouterr()
    assert "p.csv: 1 photograph\n" in printed and "lmlib: 4 skipped:" in err
    assert err.count("not an image") == 8  # as they come, and at the end


def test_a_file_without_permission_is_not_called_damaged(tmp_path, monkeypatch, capsys):
    names = [str(photo(tmp_path / name)) for name in ("a.png", "b.png")]
    whole_open = Path.open

    def opened(self, *args, **options):
        if self.name == "b.png":
            raise PermissionError(13, "Permission denied", str(self))
        return whole_open(self, *args, **options)

    monkeypatch.setattr(Path, "open", opened)
    skipped = predict(Middle(), names, tmp_path / "p.csv", progress=False)
    assert skipped == [f"{names[1]}: cannot be read (Permission denied)"]


# --- whole or not at all --------------------------------------------------------------


def test_a_full_disk_names_the_table_and_leaves_the_old_one(tmp_path, monkeypatch):
    names, out = [str(photo(tmp_path / "a.png"))], tmp_path / "p.csv"
    out.write_text(HEAD + "\nold")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match=r"p.csv: cannot be written \(the disk is full\)"):
        predict(Middle(), names, out, progress=False)
    assert out.read_text() == HEAD + "\nold"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "p.csv"]


def test_a_full_disk_names_the_overlay_and_leaves_the_old_ones(tmp_path, monkeypatch):
    names = [str(photo(tmp_path / name)) for name in ("a.png", "b.png")]
    out, overlay = tmp_path / "p.csv", tmp_path / "o"
    predict(Middle(), names, out, overlay, progress=False)
    before = {path.name: path.read_bytes() for path in overlay.iterdir()}
    assert {*before} == {"a.jpg", "b.jpg"}
    for name in names:
        photo(Path(name), "red")
    copy = files.shutil.copyfileobj

    def full(source, target):
        if "b.jpg" in replaced:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replaced.append("b.jpg")  # the next one
        copy(source, target)

    replaced = []
    monkeypatch.setattr(files.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match=r"b.jpg: cannot be written \(the disk is full\)"):
        predict(Middle(), names, out, overlay, progress=False)
    after = {path.name: path.read_bytes() for path in overlay.iterdir()}
    assert {*after} == {"a.jpg", "b.jpg"}  # and nothing unfinished
    assert after["a.jpg"] != before["a.jpg"] and after["b.jpg"] == before["b.jpg"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_an_error_of_the_system_is_named_once(tmp_path):
    with pytest.raises(OSError, match=r"x: cannot be written \(the disk is full\)"):
        with named(tmp_path / "x"), open("/dev/full", "w") as file:
            file.write("a" * 100_000)
    with pytest.raises(FileNotFoundError, match="No such file.*'/none/a'"):
        with named(tmp_path / "x"):
            open("/none/a")
    with pytest.raises(OSError, match="^my own$"):
        with named(tmp_path / "x"):
            raise OSError("my own")


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError):
        with whole(path, "w", encoding="utf-8") as file:
            file.write("new")
            raise RuntimeError
    assert path.read_text() == "old"
    with whole(path, "w", encoding="utf-8", newline="") as file:
        file.write("né\r\n")
        assert path.read_text() == "old"
    assert path.read_bytes() == "né\r\n".encode()
    with whole(path) as file:
        file.write(b"\0\1")
    assert path.read_bytes() == b"\0\1"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files without names: Linux")
def test_a_killed_run_leaves_nothing_behind(tmp_path):
    """Killed in the middle, after overlays and rows have been written."""
    for number in range(40):
        photo(tmp_path / "in" / f"{number:02d}.png")
    code = (
        "import sys, time, torch\n"
        f"sys.path.insert(0, {str(ROOT / 'tests' / 'lmlib')!r})\n"
        "from test_predict_files import Middle\n"
        "from lmlib.predict import predict, find_photos\n"
        "from pathlib import Path\n"
        "class Slow(Middle):\n"
        "    def landmarks(self, images):\n"
        "        time.sleep(0.05)\n"
        "        return super().landmarks(images)\n"
        "predict(Slow(), find_photos(['in']), Path('p.csv'), Path('o'), batch=1)\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while running.poll() is None and len(list((tmp_path / "o").glob("*.jpg"))) < 3:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"in", "o"}  # no table, and no part of one
    for path in (tmp_path / "o").iterdir():
        assert path.suffix == ".jpg" and not path.name.startswith(".lmlib")
        Image.open(path).load()


def test_photos_are_never_opened_where_out_cannot_be_used(tmp_path, monkeypatch):
    seen = photo(tmp_path / "me.jpg")
    monkeypatch.setattr(
        prediction, "open_photo", lambda *a, **k: pytest.fail("computed")
    )
    assert run(seen, "--out", seen) == 2
