"""DLAN by the commands: on drawn garments, and on files in FLD's layout."""

import json

import pytest

from lmlib.cli import main
from lmscenes import Garments
from lmscenes.fld_files import write_fld

SMALL = ["--preset", "garments_class", "--set", "size=32", "--set", "hidden=(8,)"]
SMALL += ["--set", "stages=((4,),(4,),(4,),(4,),(8,))", "--set", "patch=4"]
SMALL += ["--steps", "3", "--batch", "4", "--device", "cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fld")
    write_fld(folder, Garments(32), {"train": range(14), "val": range(40, 43),
                                     "test": range(70, 77)})  # fmt: skip
    return folder


@pytest.mark.parametrize("source", ["scene:garments", "fld:{folder}"])
def test_train_evaluate_predict(source, folder, tmp_path, capsys):
    data, out = source.format(folder=folder), tmp_path / "dlan.safetensors"
    words = ["train", "dlan", "--data", data, *SMALL, "--out", str(out)]
    assert main([*words, "--images", "0:10", "--val", "4"]) == 0
    said = capsys.readouterr().out
    assert "3 steps" in said and "error on 4 images held back" in said
    words = ["evaluate", str(out), "--test", "test:0:5", "--json", "--device", "cpu"]
    assert main(words) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["normaliser"] == "image_edge" and answer["images"] == 5
    assert len(answer["per_landmark"]) == 8 and 0 < answer["error"] < 100
    table = tmp_path / "points.csv"
    words = ["predict", str(out), str(folder / "img"), "--out", str(table)]
    assert main([*words, "--device", "cpu"]) == 0
    assert len(table.read_text().splitlines()) == 1 + 24 * 8


def test_a_folder_without_landmarks_is_refused(folder, tmp_path, capsys):
    out = tmp_path / "dlan.safetensors"
    words = ["train", "dlan", "--data", f"folder:{folder}/img", *SMALL]
    assert main([*words, "--out", str(out)]) == 2
    assert "no landmarks, which dlan learns from" in capsys.readouterr().err
