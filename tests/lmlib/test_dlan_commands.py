"""DLAN by the commands: on drawn garments, and on files in FLD's layout."""

import json

import pytest
import torch

from lmlib import load
from lmlib.cli import main
from lmlib.datasets import open_data
from lmlib.evaluation import pdl
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


def test_evaluate_counts_detections_by_name(folder, tmp_path, capsys):
    out = tmp_path / "dlan.safetensors"
    words = ["train", "dlan", "--data", f"fld:{folder}", *SMALL, "--out", str(out)]
    assert main(words) == 0
    capsys.readouterr()
    where = ["evaluate", str(out), "--data", f"fld:{folder}", "--device", "cpu"]
    assert main([*where, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    test = open_data(f"fld:{folder}", "test", 32)
    batch = test.batch(test.indices)
    points, seen = load(out, "cpu").landmarks(batch["image"]), batch["visible"]
    counted = answer["detected"]
    assert counted["all"] == pytest.approx(100 * pdl(points, batch["landmarks"], seen))
    assert counted["within"] == 35 / 512 and answer["names"] == [*Garments.names]
    for slot, rate in enumerate(counted["per_landmark"]):
        mask = seen & (torch.arange(8) == slot)
        share = 100 * pdl(points, batch["landmarks"], mask)
        assert rate == pytest.approx(share, abs=1e-3)
    assert main(where) == 0
    said = capsys.readouterr().out
    assert f"detected {counted['all']:.1f} % of the visible landmarks" in said
    assert "6.84 % of the side" in said
    assert f"waistline left: {answer['per_landmark'][4]:.2f}" in said
    assert f"hem right: {counted['per_landmark'][7]:.1f}" in said


def test_landmarks_of_other_things_are_not_named_after_clothes(tmp_path, capsys):
    out = tmp_path / "dlan.safetensors"
    words = ["train", "dlan", "--data", "scene:cars", *SMALL, "--out", str(out)]
    assert main([*words, "--images", "0:8"]) == 0
    assert main(["evaluate", str(out), "--test", "test:0:4", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "front wheel: " in said and "collar" not in said


def test_predict_says_that_kinds_are_not_told_apart(folder, tmp_path, capsys):
    out = tmp_path / "dlan.safetensors"
    words = ["train", "dlan", "--data", f"fld:{folder}", *SMALL, "--out", str(out)]
    assert main(words) == 0
    table = ["--out", str(tmp_path / "points.csv"), "--device", "cpu"]
    assert main(["predict", str(out), str(folder / "img"), *table]) == 0
    assert "also those that its garment lacks" in capsys.readouterr().out
