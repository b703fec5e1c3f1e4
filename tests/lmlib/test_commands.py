"""``lmlib train``, ``evaluate`` and ``predict``, on tiny networks and drawn images."""

import csv
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, ImageColor
from torch import nn

from lmcourse.experiments.cells import shipped
from lmlib import cli, landmarker, palette, recipes, texts
from lmlib import predict as prediction
from lmlib.checkpoints import (
    load_checkpoint,
    read,
    read_metadata,
    save_checkpoint,
    write,
)
from lmlib.datasets import open_data
from lmlib.datasets.images import Images, folder, with_channels
from lmlib.evaluation import nme
from lmlib.landmarker import Landmarker, load
from lmlib.methods.dve import Dve, DveConfig
from lmlib.methods.lmdis import Lmdis
from lmlib.predict import (
    LargestFace,
    crop_of,
    default_crop,
    find_photos,
    overlay_paths,
    predict,
)
from lmlib.recipes import Settings
from lmlib.registry import configure, read_settings
from lmlib.texts import as_range, read_ends

DVE = ["channels=4", "widths=(4, 4, 4, 4, 8)", "frame=32", "size=24", "batch_size=4"]
SEQMT = ["size=32", "channels=4", "last_channels=8", "levels=1", "batch_size=4"]
LMDIS = ["size=32", "canvas=48", "landmarks=3", "batch_size=4"]


def changes(values):
    return [word for value in values for word in ("--set", value)]


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def fails(capsys, *arguments) -> str:
    """The one line a command that fails ends with."""
    capsys.readouterr()
    try:
        status = run(*arguments)
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert status == 2 and out == ""
    line = err.splitlines()[-1]
    assert line.startswith("lmlib: error: ")
    return line


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A folder of drawn faces, twelve PNG files of 32 x 32 pixels."""
    place = tmp_path_factory.mktemp("faces")
    images = open_data("scene:faces", "train", 32).batch(range(12))["image"]
    for number, image in enumerate((255 * images).byte().permute(0, 2, 3, 1)):
        Image.fromarray(image.numpy()).save(place / f"{number:02d}.png")
    return place


@pytest.fixture(scope="module")
def trained(faces, tmp_path_factory):
    """DVE after three steps."""
    out = tmp_path_factory.mktemp("dve") / "dve.safetensors"
    words = ["--preset", "smallnet_class", "--out", out, "--steps", 3, *changes(DVE)]
    assert run("train", "dve", "--data", f"folder:{faces}", *words) == 0
    return out


@pytest.fixture
def checkpoint(trained, tmp_path):
    """A copy of it to change."""
    return shutil.copy(trained, tmp_path / "dve.safetensors")


# --- train ----------------------------------------------------------------------------


def test_the_file_says_how_it_was_made(trained, faces):
    made = read_metadata(trained)
    assert made["settings"]["method"] == "dve"
    assert made["settings"]["data"] == [f"folder:{faces}"]
    assert (made["steps"], made["batch"], made["n_train"]) == (3, 4, 12)
    assert made["command"].startswith("lmlib train dve --data folder:")
    assert made["losses"]["step"] == 3 and made["losses"]["matching"] > 0
    assert made["versions"]["torch"] == torch.__version__
    assert not list(trained.parent.glob("*.run.*"))  # the run's own state is gone


def test_dve_is_trained_as_configured_and_keeps_its_virtual_points(trained, faces):
    found = load(trained)
    assert found.config.widths == (4, 4, 4, 4, 8)
    assert (found.config.lr, found.config.decay) == (1e-3, (0.75,))
    torch.manual_seed(0)
    fresh = Dve(found.config).network[0].weight
    assert not torch.equal(fresh, found.method.network[0].weight)
    torch.testing.assert_close(found.method.centres.norm(dim=1), torch.ones(50))
    image = folder(faces, size=32).batch(range(4))["image"]
    points = found.landmarks(image)
    assert points.shape == (4, 50, 2)
    assert points.abs().max() <= 24 / 32  # the network sees the middle alone
    vectors = found.method.descriptors(image[..., 4:28, 4:28])
    vectors = nn.functional.normalize(vectors, dim=1).flatten(2)
    maps = torch.softmax(100 * found.method.centres @ vectors, -1)
    line = (2 * torch.arange(12) + 1) / 12 - 1
    x = (maps.unflatten(2, (12, 12)).sum(2) * line).sum(-1) * 24 / 32
    torch.testing.assert_close(points[..., 0], x, atol=1e-5, rtol=0)


def test_seqmt_learns_the_landmarks_of_the_data(tmp_path, capsys, monkeypatch):
    seen = []
    plain = recipes.fit

    def watched(method, data, indices, steps, **options):
        batch = method.augment(options["prepare"](data.batch(torch.cat(indices))))
        seen.append((method, indices, batch))
        return plain(method, data, indices, steps, **options)

    monkeypatch.setattr(recipes, "fit", watched)
    out = tmp_path / "rcn.safetensors"
    words = ["--preset", "rcn_plus_class", "--out", out, "--steps", 2, *changes(SEQMT)]
    words += ["--labels", "25%", "--images", "10:34", "--val", 4]
    assert run("train", "seqmt", "--data", "scene:faces", *words) == 0
    printed = capsys.readouterr().out
    made = read_metadata(out)
    (method, (few, rest), batch) = seen[0]
    assert (len(few), len(rest), len(made["held"])) == (5, 15, 4)
    everyone = [*few.tolist(), *rest.tolist(), *made["held"]]
    assert sorted(everyone) == [*range(10, 34)]
    assert method.fit_options(2).batch_size == 4  # of each pool
    assert method.fit_options(2).betas == (0.9, 0.99)
    assert batch["labelled"].tolist() == [True] * 5 + [False] * 15
    plainly = open_data("scene:faces", "train", 32).batch(few)["landmarks"]
    assert not torch.allclose(batch["landmarks"][:5], plainly)  # augmented
    assert f"error on 4 images held back: {made['held_error']:.2f} %" in printed

    found = load(out)
    assert found.config.landmarks == 68
    held = open_data("scene:faces", "train", 32).batch(torch.tensor(made["held"]))
    gray = with_channels(held["image"], 1)
    points = found.landmarks(gray)
    error = nme(points, held["landmarks"], held["visible"])
    assert made["held_error"] == pytest.approx(100 * error, rel=1e-4)
    assert run("evaluate", out, "--test", "held", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["error"] == pytest.approx(made["held_error"], rel=1e-4)
    assert answer["images"] == 4 and answer["trained_on"] == 0
    assert len(answer["per_landmark"]) == 68
    truth = held["landmarks"]
    eyes = truth[:, [36, 39]].mean(1) - truth[:, [42, 45]].mean(1)
    away = (points - truth)[:, 30].norm(dim=-1) / eyes.norm(dim=-1)  # the nose, seen
    told = answer["per_landmark"]
    assert told[30] == pytest.approx(100 * away.mean().item(), rel=1e-3)
    hidden = (~held["visible"]).any(0).nonzero()[0].item()
    rows = held["visible"][:, hidden]
    away = (points - truth)[rows, hidden].norm(dim=-1) / eyes[rows].norm(dim=-1)
    assert told[hidden] == pytest.approx(100 * away.mean().item(), rel=1e-3)
    assert run("evaluate", out, "--test", "0:14") == 0
    known = 4 - sum(10 <= number < 14 for number in made["held"])
    assert f"note: {known} of these images were trained on" in capsys.readouterr().out
    assert run("evaluate", out, "--normaliser", "image_edge", "--test", "test:0:8") == 0
    assert "of image_edge on 8 images (scene:faces, test" in capsys.readouterr().out


def test_lmdis_learns_from_several_sets(faces, tmp_path, monkeypatch):
    turned = []
    plain = Lmdis.at
    monkeypatch.setattr(
        Lmdis,
        "at",
        lambda self, progress: (turned.append(progress), plain(self, progress))[0],
    )
    out = tmp_path / "lmdis.safetensors"
    words = ["--preset", "faces_class", "--out", out, "--steps", 4, *changes(LMDIS)]
    sets = ["--data", f"folder:{faces}", "--data", "scene:blocks"]
    assert run("train", "lmdis", *sets, *words, "--images", "0:20") == 0
    assert turned == [0, 0.25, 0.5, 0.75, 1]
    found = load(out)
    made = found.metadata
    assert made["n_train"] == 20
    norm = next(m for m in found.modules() if isinstance(m, nn.BatchNorm2d))
    # counted anew: 5 batches of 4, looked at twice each for warps by landmarks
    assert norm.num_batches_tracked == 10
    image = open_data("scene:faces", "train", 32).batch(range(2))["image"]
    assert torch.equal(found.landmarks(image), found.method.landmarks(image))
    assert found.landmarks(image).shape == (2, 3, 2)
    # annotated landmarks are fitted without a bias
    x, y = torch.randn(30, 3, 2), torch.randn(30, 5, 2)
    found.regress(x, y, torch.ones(30, 5, dtype=torch.bool))
    weight = torch.linalg.lstsq(x.flatten(1), y.flatten(1)).solution
    expected = (found.discovered(image).flatten(1) @ weight).view(2, 5, 2)
    torch.testing.assert_close(found.landmarks(image), expected, atol=1e-5, rtol=1e-4)


def settings(faces, **options):
    given = {"method": "dve", "preset": "smallnet_class", "steps": 6}
    given |= {"data": (f"folder:{faces}",), "changes": read_settings("dve", DVE)}
    return Settings(**given | options)


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(
    faces, tmp_path, monkeypatch
):
    quiet = {"progress": False, "save_every": 2}
    recipes.train(settings(faces), tmp_path / "whole.safetensors", **quiet)
    plain, calls = Dve.losses, []

    def kill(self, batch):
        calls.append(self.exchanging)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return plain(self, batch)

    monkeypatch.setattr(Dve, "losses", kill)
    with pytest.raises(KeyboardInterrupt):
        recipes.train(settings(faces), tmp_path / "half.safetensors", **quiet)
    assert not (tmp_path / "half.safetensors").exists()
    with pytest.raises(
        ValueError, match=r"unfinished run of another kind .*seed 0, not 1"
    ):
        recipes.train(settings(faces, seed=1), tmp_path / "half.safetensors", **quiet)
    recipes.train(settings(faces), tmp_path / "half.safetensors", **quiet)
    assert len(calls) == 4 + 4  # the two steps that were saved are not done again
    assert calls == [False] * 2 + [True] * 6  # the exchange begins after a third
    whole, half = (
        load(tmp_path / f"{name}.safetensors").state_dict()
        for name in ("whole", "half")
    )
    assert all(torch.equal(whole[name], half[name]) for name in whole)


def test_a_run_killed_when_it_is_written_leaves_no_state(faces, tmp_path, monkeypatch):
    out, state = tmp_path / "a.safetensors", tmp_path / "a.run.safetensors"
    plain = Landmarker.save

    def kill(self, path):
        plain(self, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(Landmarker, "save", kill)
    with pytest.raises(KeyboardInterrupt):
        recipes.train(settings(faces), out, progress=False)
    left, before = state.read_bytes(), out.read_bytes()
    assert recipes.train(settings(faces), out) is None
    assert not state.exists() and out.read_bytes() == before
    state.write_bytes(left)  # of another run: it is not this one's to remove
    other = read_metadata(state)["run"]["about"] | {"seed": 5}
    monkeypatch.setattr(recipes, "_settings_in", lambda state, quiet: other)
    assert recipes.train(settings(faces), out) is None
    assert state.read_bytes() == left


def test_control_c_says_how_to_go_on(faces, tmp_path, capsys, monkeypatch):
    def interrupt(self, batch):
        raise KeyboardInterrupt

    monkeypatch.setattr(Dve, "losses", interrupt)
    words = ["--preset", "smallnet_class", "--out", tmp_path / "a b.safetensors"]
    assert run("train", "dve", "--data", f"folder:{faces}", *words) == 130
    line = capsys.readouterr().err.splitlines()[-1]
    assert "the run is kept. Resume with: lmlib train dve" in line
    assert f"'{tmp_path}/a b.safetensors'" in line  # ready to be pasted


def test_a_finished_file_is_not_overwritten_unasked(checkpoint, faces, capsys):
    before = checkpoint.read_bytes()
    words = ["train", "dve", "--data", f"folder:{faces}", "--preset", "smallnet_class"]
    words += ["--out", checkpoint, *changes(DVE)]
    assert run(*words, "--steps", 3) == 0
    assert "is finished, with these settings" in capsys.readouterr().out
    message = fails(capsys, *words, "--steps", 2, "--seed", 4)
    assert "seed 0, not 4; steps 3, not 2" in message and "--force" in message
    assert checkpoint.read_bytes() == before
    assert run(*words, "--steps", 2, "--seed", 4, "--force") == 0
    assert read_metadata(checkpoint)["steps"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "required: METHOD"),
        (["train", "dvd"], "unknown method 'dvd'; there are seqmt, lmdis, dve"),
        (["--preset", "big"], "unknown preset 'big'; expected one of"),
        (["--set", "lr"], r"--set lr: expected NAME=VALUE, NAME one of .*channels,"),
        (["--set", "speed=3"], "--set speed=3: expected NAME=VALUE"),
        (["--set", "lr=fast"], "--set lr=fast: lr must be a number, got 'fast'"),
        (["--set", "lr=1" + "0" * 400], "lr must be a number, got 1000"),
        (["--set", "depth=9876543210"], "number below 2.31, got 9876543210"),
        (["--set", "depth=2.5"], "depth must be a whole number below 2.31, got 2.5"),
        (["--set", "depth=True"], "depth must be a whole number below 2.31, got True"),
        (
            ["--set", "widths=7"],
            r"widths must be a tuple \(a whole number below 2.31, \.\.\.\), got 7",
        ),
        (["--set", "widths=('a',)"], "widths must be a tuple"),
        (
            ["--set", "network=resnet"],
            "must be one of 'smallnet', 'hourglass', got 'resnet'",
        ),
        (["--set", "pairs=flow"], "has no pairs of images with flow"),
        (["--steps", "0"], "expected a positive number, got '0'"),
        (["--images", "5:90"], r"A:B with 0 <= A < B <= 12, got '5:90'"),
        (["--images", "a:b"], "got 'a:b'"),
        (["--crop", "0.5,0,0.5,1"], r"such as 0\.1,0,0\.9,1; got '0\.5,0,0\.5,1'"),
        (
            ["--labels", "5%"],
            "dve uses no landmarks: --labels and --val are for methods",
        ),
        (["--split", "test"], "one split, 'train', not 'test'"),
        (["--data", "folder:/no/such"], "/no/such: no such folder"),
        (["--data", "faces:/a"], "no data set is called 'faces'; there are celeba"),
    ],
)
def test_bad_words_to_train(faces, tmp_path, capsys, words, message):
    if words[0] != "train":
        base = ["train", "dve", "--out", tmp_path / "x.safetensors", *changes(DVE)]
        base += [] if "--data" in words else ["--data", f"folder:{faces}"]
        words = [*base, "--preset", "smallnet_class", *words]
    elif len(words) > 1:
        words = [*words, "--data", "x", "--preset", "y", "--out", tmp_path / "x"]
    assert re.search(message, fails(capsys, *words))
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels", "half"], "all or a share such as 5%, got 'half'"),
        (["--labels", "0%"], "got '0%'"),
        (["--val", "8"], "cannot hold back 8 of 8 images"),
        (["--data", "scene:hands"], "landmarks of one data set"),
        (["--preset", "hands_class"], "has no label, which this preset learns from"),
    ],
)
def test_bad_words_to_train_seqmt(tmp_path, capsys, words, message):
    base = ["train", "seqmt", "--out", tmp_path / "x.safetensors", "--images", "0:8"]
    base += ["--data", "scene:faces", "--preset", "rcn_plus_class", *words]
    assert message in fails(capsys, *base, *changes(SEQMT))


def test_seqmt_wants_landmarks(faces, tmp_path, capsys):
    words = ["--preset", "rcn_plus_class", "--out", tmp_path / "x.safetensors"]
    message = fails(capsys, "train", "seqmt", "--data", f"folder:{faces}", *words)
    assert "has no landmarks, which seqmt learns from" in message


def test_steps_by_default():
    steps = {
        name: configure(method, name, {}).steps_for(32_000)
        for method, name in (
            ("lmdis", "faces_class"),
            ("dve", "smallnet_class"),
            ("dve", "smallnet64"),
            ("seqmt", "w300_class"),
            ("seqmt", "blocks"),
        )
    }
    expected = {"faces_class": 1500, "smallnet_class": 2000, "smallnet64": 100_000}
    assert steps == {**expected, "w300_class": 2000, "blocks": 20_000}


def test_sets_one_after_the_other():
    class Set:
        def __init__(self, indices, channels):
            self.indices, self.channels, self.asked = indices, channels, []

        def __len__(self):
            return len(self.indices)

        def prefetch(self, indices):
            self.asked.append(indices.tolist())

        def batch(self, indices, device=None):
            value = indices.view(-1, 1, 1, 1).float()
            image = value.expand(-1, self.channels, 2, 2)
            return {"image": image, "index": indices, "label": indices}

    first, second = Set(range(100, 103), 3), Set(range(0, 10, 5), 1)
    data = Images([first, second], 3)
    assert len(data) == 5
    batch = data.batch(torch.tensor([4, 0, 3, 2]))
    assert batch["image"][:, 0, 0, 0].tolist() == [5, 100, 0, 102]
    assert batch["image"].shape == (4, 3, 2, 2) and "label" not in batch
    assert batch["index"].tolist() == [4, 0, 3, 2]
    data.prefetch(torch.tensor([4, 1]))
    assert (first.asked, second.asked) == ([[101]], [[5]])
    alone = Images([first], 1).batch(torch.tensor([2]))
    assert alone["label"].tolist() == [102] and alone["index"].tolist() == [2]
    assert alone["image"].shape == (1, 1, 2, 2)
    with pytest.raises(IndexError, match="numbered 0 to 4"):
        data.batch(torch.tensor([5]))


def test_a_set_of_another_size_is_refused(monkeypatch):
    monkeypatch.setattr(
        landmarker, "open_data", lambda *a, **k: open_data("scene:faces", "train", 40)
    )
    with pytest.raises(ValueError, match="images are 40 x 40 .* takes 64 x 64"):
        landmarker.open_images(["mnist"], "train", DveConfig.smallnet_class())


def test_ranges():
    def read_range(text, count):
        return as_range(read_ends(text), count)

    assert read_range("2:5", 9) == range(2, 5)
    assert read_range(":5", 9) == range(5) and read_range("2:", 9) == range(2, 9)
    assert as_range(None, 9) == range(9)
    for wrong in ("5", "5:5", "-1:3", "2:10", "a:4", "1:2:3"):
        with pytest.raises(ValueError, match="0 <= A < B"):
            read_range(wrong, 9)


# --- evaluate -------------------------------------------------------------------------


def test_evaluate_fits_on_some_and_measures_on_others(checkpoint, capsys):
    words = ["evaluate", checkpoint, "--data", "scene:faces", "--fit", "0:40"]
    before = checkpoint.read_bytes()
    assert run(*words, "--test", "test:0:20", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert checkpoint.read_bytes() == before
    # the same by hand: points of the crop, a ridge of .1, back to the whole image
    found = load(checkpoint)
    known = open_data("scene:faces", "train", 32).batch(range(40))
    test = open_data("scene:faces", "test", 32).batch(range(20))
    x, q = (found.discovered(b["image"]).double().flatten(1) for b in (known, test))
    each = []
    for k in range(68):
        rows = known["visible"][:, k]
        y = known["landmarks"][rows, k].double() * 32 / 24
        centre, middle = x[rows].mean(0), y.mean(0)
        a, b = x[rows] - centre, y - middle
        left = a.T @ a + 0.1 * torch.eye(100, dtype=torch.float64)
        each.append((q - centre) @ torch.linalg.solve(left, a.T @ b) + middle)
    points = torch.stack(each, 1) * 24 / 32
    error = nme(points, test["landmarks"], test["visible"])
    assert answer["error"] == pytest.approx(100 * error, rel=1e-3)
    assert answer["fitted"]["images"] == [0, 40] and answer["images"] == 20

    assert run(*words, "--test", "test:0:20", "--keep") == 0
    out = capsys.readouterr().out
    assert f"error {answer['error']:.2f} % of eye_centres on 20 images" in out
    assert "predict now gives these landmarks" in out
    kept = load(checkpoint)
    made = kept.metadata
    assert made["regression"]["landmarks"] == 68 and made["steps"] == 3
    torch.testing.assert_close(
        kept.landmarks(test["image"]).double(), points, atol=1e-4, rtol=0
    )
    # and from then on no --fit is needed, but what was fitted is not tested
    where = ["evaluate", checkpoint, "--data", "scene:faces"]
    assert run(*where, "--test", "test:0:20", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["error"] == pytest.approx(answer["error"], rel=1e-4)
    assert "images are in both --fit and --test" in fails(
        capsys, *where, "--test", "30:50"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fit", "0:20", "--test", "10:30"], "10 images are in both .* is 10 of tr"),
        (["--fit", "train", "--test", "5:6"], "1 images are in both"),
        (["--fit", "0:20", "--test", "valid"], "split must be one of"),
        (["--fit", "0:2000"], r"0 <= A < B <= 1000, got '0:2000'"),
        (["--test", "test"], "name images to fit the annotated ones to them"),
        (["--test", "test", "--keep"], "--keep stores what --fit has fitted"),
        (["--test", "held"], "no images of scene:faces were held back"),
        (
            ["--fit", "0:9", "--test", "9:12", "--normaliser", "nose"],
            "unknown normaliser 'nose'",
        ),
    ],
)
def test_bad_words_to_evaluate(trained, capsys, words, message):
    words = ["evaluate", trained, "--data", "scene:faces", *words]
    assert re.search(message, fails(capsys, *words))


def test_a_set_is_the_same_wherever_it_lies():
    assert recipes.same_set("mtfl", "mtfl:/data/MTFL")
    assert recipes.same_set("folder:a", "folder:a")
    assert not recipes.same_set("folder:a", "folder:b")
    assert not recipes.same_set("scene:faces", "scene:hands")
    assert not recipes.same_set("mtfl", "aflw")


@pytest.mark.parametrize(
    "name, count",
    [
        ("seqmt-wild80_RCN+_L_100", 68),
        ("lmdis-faces_K10", 10),
        ("dve-faces_C64+DVE", 50),
    ],
)
def test_networks_of_the_course_predict_too(name, count, tmp_path, capsys):
    photo, out = tmp_path / "astronaut.png", tmp_path / "p.csv"
    Image.fromarray(skimage.data.astronaut()).save(photo)
    assert run("predict", shipped(name), photo, "--crop", "face", "--out", out) == 0
    rows = rows_of(out)
    assert len(rows) == count
    if count == 68:  # drawn faces only, and yet: eyes, nose, mouth, set by eye
        places = torch.tensor([[float(row["x"]), float(row["y"])] for row in rows])
        found = torch.stack(
            [places[a:b].mean(0) for a, b in ((36, 42), (42, 48), (30, 31), (48, 68))]
        )
        truth = torch.tensor([[202.0, 103], [247.0, 103], [225, 126], [225, 143]])
        assert (found - truth).norm(dim=1).max() < 10  # the eyes are 45 apart
    assert "does not say what it was trained on: name --data" in fails(
        capsys, "evaluate", shipped(name)
    )
    # a copy under the same name, without weights, is not mistaken for the shipped one
    copy = tmp_path / f"{name}.safetensors"
    method = load(shipped(name)).method
    for weight in method.parameters():
        weight.data.zero_()
    save_checkpoint(copy, method)
    words = ["predict", copy, photo, "--crop", "face", "--out", tmp_path / "zero.csv"]
    assert run(*words) == 0 and rows_of(tmp_path / "zero.csv") != rows


def test_a_network_of_the_course_is_evaluated_on_data_that_are_named(capsys):
    words = ["--data", "scene:faces", "--test", "test:0:20", "--json"]
    assert run("evaluate", shipped("seqmt-wild80_RCN+_L_100"), *words) == 0
    assert json.loads(capsys.readouterr().out)["error"] < 6  # the mean face: over 20


def test_evaluate_wants_landmarks(trained, capsys):
    assert "no landmarks to measure" in fails(
        capsys, "evaluate", trained, "--fit", "0:6", "--test", "6:12"
    )


def test_checkpoints_of_other_origin(tmp_path, faces, capsys):
    other = tmp_path / "other.safetensors"
    write(other, {}, {"kind": "weights", "method": "elsewhere", "config": {}})
    words = ["predict", other, faces, "--out", tmp_path / "p"]
    assert "unknown method 'elsewhere'" in fails(capsys, *words)
    words[1] = tmp_path / "none.safetensors"
    assert "none.safetensors: no such checkpoint" in fails(capsys, *words)
    words[1].write_bytes(b"half a file")
    assert "truncated or not a safetensors file" in fails(capsys, *words)


def test_a_network_of_another_configuration_is_named(checkpoint):
    found = load(checkpoint)
    other = Dve(replace(found.config, channels=5))
    with pytest.raises(ValueError, match="made for another network"):
        load_checkpoint(checkpoint, other)


def rewritten(path: Path, **changes) -> Path:
    """The file with other metadata and the same weights."""
    tensors, made = read(path, "")
    made = {k: v for k, v in made.items() if k != "format"}
    return write(path, tensors, made | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "dvd"}, "unknown method 'dvd'"),
        ({"method": None}, "unknown method None"),
        ({"method": ["dve"]}, "unknown method"),
        ({"config": None}, "config must be a table of values"),
        ({"config": {"speed": 3}}, "config has unknown names speed"),
        ({"config": {"channels": "many"}}, "channels must be a whole number"),
        ({"config": {"depth": 10**9, "network": "hourglass"}}, "depth must be"),
        ({"config": {}}, "made for another network"),
    ],
)
def test_metadata_that_describe_no_network_are_refused(checkpoint, changes, message):
    rewritten(checkpoint, **changes)
    with pytest.raises(ValueError, match=message) as error:
        load(checkpoint)
    assert str(checkpoint) in str(error.value)


def test_what_a_file_declares_takes_no_memory(checkpoint):
    import resource

    config = read_metadata(checkpoint)["config"] | {"channels": 10**6}
    config["widths"] = [10**5] * 5
    rewritten(checkpoint, config=config)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="made for another network"):
        load(checkpoint)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 200_000  # kB; the network it names has 10^11 weights


def test_a_broken_unfinished_run_is_named_and_can_be_overridden(
    faces, tmp_path, capsys
):
    out = tmp_path / "x.safetensors"
    words = ["train", "dve", "--data", f"folder:{faces}", "--preset", "smallnet_class"]
    words += ["--out", out, "--steps", 2, *changes(DVE)]
    state = tmp_path / "x.run.safetensors"
    state.write_bytes(b"")
    message = fails(capsys, *words)
    assert str(state) in message and "--force" in message
    assert run(*words, "--force") == 0
    assert out.is_file() and not state.exists()


def test_the_name_of_an_unfinished_run_is_no_name_for_a_network(
    faces, tmp_path, capsys
):
    words = ["train", "dve", "--data", f"folder:{faces}", "--preset", "smallnet_class"]
    message = fails(capsys, *words, "--out", tmp_path / "a.run.safetensors")
    assert "is for unfinished runs" in message


def test_two_trainings_of_one_file_do_not_mix(faces, tmp_path, monkeypatch):
    out = tmp_path / "x.safetensors"
    with recipes._alone(out):
        with pytest.raises(ValueError, match="another process is training it"):
            with recipes._alone(out):
                pytest.fail("two at once")
        with recipes._alone(tmp_path / "y.safetensors"):
            pass


# --- predict --------------------------------------------------------------------------


def rows_of(path):
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_predict_gives_pixels_of_the_photograph(trained, faces, tmp_path, monkeypatch):
    monkeypatch.chdir(faces.parent)
    out, overlay = tmp_path / "new" / "points.csv", tmp_path / "drawn"
    words = ["predict", trained, faces.name, "--out", out, "--overlay", overlay]
    assert run(*words, "--batch", 5) == 0
    rows = rows_of(out)
    assert list(rows[0]) == ["file", "landmark", "x", "y", "width", "height"]
    assert [(r["file"], r["landmark"]) for r in rows] == [
        (f"{faces.name}/{number:02d}.png", str(k))
        for number in range(12)
        for k in range(50)
    ]
    assert {(r["width"], r["height"]) for r in rows} == {("32", "32")}
    found = load(trained)
    points = found.landmarks(folder(faces, size=32).batch(range(12))["image"])
    points = ((points + 1) * 16 - 0.5).flatten(0, 1)
    told = torch.tensor([[float(r["x"]), float(r["y"])] for r in rows])
    torch.testing.assert_close(told, points, atol=0.0051, rtol=0)
    drawn = sorted(path.relative_to(overlay) for path in overlay.rglob("*.*"))
    assert drawn == [Path(f"{n:02d}.jpg") for n in range(12)]


class Brightest(Landmarker):
    """A stand-in for a network: its landmark is the middle of what is red."""

    def __init__(self, size=64, **config):
        nn.Module.__init__(self)  # a landmarker in all but its network
        self.method = nn.Linear(1, 1)
        given = {"size": size, "frame": size, "image_channels": 3}
        self.config = type("Config", (), given | config)

    def landmarks(self, images):
        red = (images[:, :1] - images[:, -1:] if len(images[0]) > 1 else images).clamp(
            min=0
        )
        line = (2 * torch.arange(images.shape[-1]) + 1) / images.shape[-1] - 1
        mass = red / red.sum((2, 3), keepdim=True)
        points = (mass.sum(2) * line).sum(-1), (mass.sum(3) * line).sum(-1)
        return torch.stack(points, -1)


def dotted(path, size=(300, 200), at=(140, 60), radius=9, blue=60, **save):
    """A photograph with a red dot."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    image = np.full((height, width, 3), (0, 0, blue), np.uint8)
    image[(x - at[0]) ** 2 + (y - at[1]) ** 2 <= radius**2] = (255, 0, blue)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **save)
    return str(path)


@pytest.mark.parametrize("crop", ["centre", "pad", "squash", (0.25, 0.1, 0.75, 0.9)])
def test_predicted_places_are_right_for_every_crop(tmp_path, crop):
    names = [
        dotted(tmp_path / "wide.png"),
        dotted(tmp_path / "tall.png", (200, 300), (110, 140)),
        # decoded at a part of its size, and turned: stored 2400 x 3200
        dotted(tmp_path / "camera.jpg", (2400, 3200), (1100, 1500), 60, quality=90),
    ]
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    with Image.open(names[2]) as image:
        image.save(turned, exif=exif, quality=90)
    out = tmp_path / "points.csv"
    predict(Brightest(), [*names, str(turned)], out, crop=crop, progress=False)
    places = [
        (float(r["x"]), float(r["y"]), r["width"], r["height"]) for r in rows_of(out)
    ]
    assert places[0] == (*map(pytest.approx, (140, 60), (0, 0), (2, 2)), "300", "200")
    assert places[1] == (*map(pytest.approx, (110, 140), (0, 0), (2, 2)), "200", "300")
    assert places[2][:2] == pytest.approx((1100, 1500), abs=15)
    assert places[2][2:] == ("2400", "3200")
    # (x, y) of the file is (height - 1 - y, x) upright
    assert places[3][:2] == pytest.approx((3199 - 1500, 1100), abs=15)
    assert places[3][2:] == ("3200", "2400")


class Middle(Brightest):
    """Its landmark is the middle of what it sees."""

    def landmarks(self, images):
        return torch.zeros(len(images), 1, 2)


@pytest.mark.parametrize("times, shift", [(1, 0), (4, 300)])
def test_the_largest_face_is_found_and_looked_at(tmp_path, times, shift, capsys):
    astronaut = Image.fromarray(skimage.data.astronaut())
    photo = Image.new("RGB", (512 * times + shift,) * 2, "gray")
    photo.paste(astronaut.resize((512 * times,) * 2), (shift, shift))
    names = [str(tmp_path / name) for name in ("astronaut.jpg", "cat.jpg")]
    photo.save(names[0], quality=90)
    Image.fromarray(skimage.data.chelsea()).save(names[1])
    out = tmp_path / "p.csv"
    skipped = predict(Middle(), names, out, crop=LargestFace(1.2), progress=False)
    assert skipped == [f"{names[1]}: no upright face seen from the front"]
    (row,) = rows_of(out)
    place = float(row["x"]), float(row["y"])
    nose = 227 * times + shift, 118 * times + shift  # seen by eye
    assert place == pytest.approx(nose, abs=16 * times)


def test_crops_by_name():
    assert crop_of("face") == LargestFace(1.0)
    assert crop_of("face*1.3") == LargestFace(1.3)
    assert crop_of("pad") == "pad" and crop_of("0,0,0.5,1") == (0, 0, 0.5, 1)
    for text in ("face*", "face*-1", "face*wide"):
        with pytest.raises(ValueError, match=r"face\*NUMBER"):
            crop_of(text)
    one, two = LargestFace(), LargestFace(2.0)
    photo = Image.fromarray(skimage.data.astronaut())
    a, b = (torch.tensor(crop.box(photo, "a")) for crop in (one, two))
    torch.testing.assert_close(a[:2] + a[2:], b[:2] + b[2:])
    torch.testing.assert_close(b[2:] - b[:2], 2 * (a[2:] - a[:2]))


def test_gray_networks_see_gray(tmp_path):
    name = dotted(tmp_path / "a.png", blue=0)
    out = tmp_path / "p.csv"
    predict(Brightest(image_channels=1), [name], out, crop="squash", progress=False)
    (row,) = rows_of(out)
    assert float(row["x"]) == pytest.approx(140, abs=2)


def test_overlays_are_small_and_the_points_are_where_they_should_be(tmp_path):
    name = dotted(tmp_path / "in" / "large.png", (3000, 1000), (1400, 620), 40)
    predict(Brightest(), [name], tmp_path / "p.csv", tmp_path / "o", progress=False)
    (path,) = (tmp_path / "o").rglob("*.jpg")
    image = np.asarray(Image.open(path)).astype(int)
    assert image.shape == (341, 1024, 3)
    first = ImageColor.getrgb(palette.colour(0))
    mark = np.abs(image - first).sum(-1) < 60
    y, x = (values.mean() for values in mark.nonzero())
    assert (x, y) == pytest.approx((1400.5 * 1024 / 3000, 620.5 * 341 / 1000), abs=3)


@pytest.fixture
def mixed(tmp_path):
    """A folder where some files cannot be read."""
    place = tmp_path / "photos"
    good = [dotted(place / f"{n:03d}.png", (40, 30), (20, 14), 4) for n in range(70)]
    (place / "011b.jpg").touch()
    (place / "050b.jpg").write_text("no image")
    Image.effect_noise((64, 64), 50).save(place / "060b.png")
    half = (place / "060b.png").read_bytes()
    (place / "060b.png").write_bytes(half[: len(half) // 2])
    return place, good


def test_unreadable_files_are_skipped_and_listed(mixed, trained, tmp_path, capsys):
    place, good = mixed
    out = tmp_path / "points.csv"
    words = ["predict", trained, place, "--out", out, "--batch", 16]
    assert run(*words) == 0
    printed, err = capsys.readouterr()
    assert f"{out}: 70 photographs" in printed
    assert err.count(f"skipped {place}/011b.jpg: the file is empty (0 bytes)") == 1
    *_, count, first, second, third = err.splitlines()
    assert count == "lmlib: 3 skipped:"
    assert first == f"  {place}/011b.jpg: the file is empty (0 bytes)"
    assert "050b.jpg: not an image" in second
    assert "060b.png: damaged or truncated" in third
    assert list(dict.fromkeys(r["file"] for r in rows_of(out))) == good
    assert run(*words, "--strict") == 1


def test_nothing_readable_is_an_error_and_leaves_no_table(mixed, trained, capsys):
    place, _ = mixed
    out = place.parent / "points.csv"
    names = [place / "011b.jpg", place / "050b.jpg"]
    message = fails(capsys, "predict", trained, *names, "--out", out)
    assert "none of 2 photographs could be read" in message and "empty" in message
    assert not out.exists()


def test_a_run_that_breaks_off_leaves_the_old_table(mixed, tmp_path):
    _, good = mixed
    out, old = tmp_path / "points.csv", "file,landmark,x,y,width,height\nold"
    out.write_text(old)
    found, seen = Brightest(), []

    def landmarks(images):
        seen.append(len(images))
        if len(seen) == 3:
            raise RuntimeError("out of memory")
        return Brightest.landmarks(found, images)

    found.landmarks = landmarks
    with pytest.raises(RuntimeError, match="out of memory"):
        predict(found, good, out, batch=16, progress=False)
    assert seen == [16, 16, 16]  # nothing is computed twice or all at once
    assert out.read_text() == old
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos", "points.csv"]


def test_overlays_inside_the_input_are_not_read_again(mixed, trained, capsys):
    place, good = mixed
    out, overlay = place / "points.csv", place / "seen"
    words = ["predict", trained, place, "--out", out, "--overlay", overlay]
    for _ in range(2):
        assert run(*words) == 0
        assert "70 photographs" in capsys.readouterr().out
        assert len(list(overlay.rglob("*.jpg"))) == 70
    assert find_photos([str(place)], overlay) == find_photos([str(place)], None)[:73]
    assert len(find_photos([str(place)], None)) == 143
    (inside,) = find_photos([str(next(overlay.rglob("*.jpg")))], overlay)
    assert inside.startswith(str(overlay))  # asked for by name


def test_files_are_found_once_and_missing_ones_named(mixed, trained, capsys):
    place, good = mixed
    assert find_photos([good[5], str(place), good[5]])[:2] == [good[5], good[0]]
    out = place.parent / "p.csv"
    message = fails(capsys, "predict", trained, place, place / "none", "--out", out)
    assert "none: no such file or folder" in message
    (place.parent / "empty").mkdir()
    message = fails(capsys, "predict", trained, place.parent / "empty", "--out", out)
    assert "holds no image" in message


LONG = "ä" * 125 + ".png"  # 254 bytes of 255


def test_odd_names(tmp_path, trained, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = ["写真 naïve.png", LONG, "line\nbreak.png", 'comma, "quote".png', "-x.png"]
    for name in odd:
        dotted(tmp_path / "in" / name, (40, 30), (20, 14), 4)
    if os.name != "nt":
        raw = os.fsdecode(b"latin-\xe4.png")
        os.rename(dotted(tmp_path / "in" / "r.png", (40, 30), (20, 14), 4), f"in/{raw}")
        odd.append(raw)
    words = ["--out", "p.csv", "--overlay", "over/" + "ß" * 120]
    assert run("predict", trained, "in", *words) == 0
    assert {r["file"] for r in rows_of("p.csv")} == {f"in/{name}" for name in odd}
    drawn = list(Path(words[-1]).iterdir())
    assert len(drawn) == len(odd)
    assert max(len(os.fsencode(path.name)) for path in drawn) <= 255


def test_overlay_names_do_not_collide():
    names = ["a/x.png", "a/x.jpg", "b/x.jpg", "../a/x.jpg", "/a/b/x.jpg", "x.jpg"]
    names += [f"a/{'ä' * 124}{end}.png" for end in "12"]
    names += ["a/x.png.jpg", "a/X.PNG", "./a/x.png", "b/y.tif"]
    made = overlay_paths(names, Path("over"))
    assert list(made) == names
    assert len({str(path).lower() for path in made.values()}) == len(names)
    here = Path("over", *Path.cwd().parts[1:])
    assert made["a/x.png"] == here / "a/_x.png.jpg"  # x.png.jpg is another's
    assert made["b/y.tif"] == here / "b/y.jpg"
    for path in made.values():
        assert path.parts[0] == "over" and ".." not in path.parts
        assert len(os.fsencode(path.name)) <= 255
        path.name.encode()  # no half a letter


@pytest.mark.parametrize("option", ["--out", "--overlay"])
def test_what_cannot_be_written_is_said_before_any_computing(
    mixed, trained, tmp_path, capsys, monkeypatch, option
):
    place, _ = mixed
    (tmp_path / "file").touch()
    monkeypatch.setattr(
        prediction, "open_photo", lambda *a, **k: pytest.fail("computed")
    )
    where = {"--out": tmp_path / "p.csv", "--overlay": tmp_path / "o"}
    where[option] = tmp_path / "file" / "x"
    words = ["predict", trained, place, *(w for each in where.items() for w in each)]
    assert "file" in (line := fails(capsys, *words)) and "cannot write there" in line
    if option == "--out":
        where[option] = place
        words = ["predict", trained, place, *(w for e in where.items() for w in e)]
        message = fails(capsys, *words)
        assert "photos: is a folder, expected the name of a file" in message


@pytest.mark.skipif(os.name == "nt", reason="modes differ on Windows")
@pytest.mark.parametrize("option", ["--out", "--overlay"])
def test_a_read_only_folder(mixed, trained, tmp_path, capsys, monkeypatch, option):
    def refuse(dir):
        raise PermissionError(13, "Permission denied", str(dir))

    place, _ = mixed
    (tmp_path / "locked").mkdir(mode=0o555)
    if os.geteuid() == 0:  # root may write anywhere
        monkeypatch.setattr(texts.tempfile, "TemporaryFile", refuse)
    where = {"--out": tmp_path / "p.csv", "--overlay": tmp_path / "o"}
    where[option] = tmp_path / "locked" / "x"
    words = ["predict", trained, place, *(w for each in where.items() for w in each)]
    message = fails(capsys, *words)
    assert "cannot write there (Permission denied)" in message
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (None, "centre"),
        ("centre", "centre"),
        ("pad", "pad"),
        ([0, 0, 0.5, 1], "0,0,0.5,1"),
        ("face", "centre"),  # a data set's own
    ],
)
def test_the_crop_of_the_training_is_the_default(stored, expected):
    assert default_crop({"settings": {"crop": stored}}) == expected


def test_the_crop_reaches_the_photographs(faces, trained, tmp_path, capsys):
    words = ["predict", trained, faces, "--out", tmp_path / "p.csv"]
    assert run(*words) == 0 and run(*words, "--crop", "0,0,0.5,0.5") == 0
    rows = rows_of(tmp_path / "p.csv")
    assert max(float(row["x"]) for row in rows) <= 14  # 7/8 of a half, all it sees
    assert "crop must be centre, pad, squash" in fails(capsys, *words, "--crop", "mid")


def test_help_does_not_import_torch():
    import subprocess
    import sys

    code = (
        "import sys; from lmlib import cli\n"
        "try: cli.main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.returncode == 0 and "5%" in shown.stdout
