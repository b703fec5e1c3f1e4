"""DVE's tables: settings are read as written, each control breaks its mechanism, and
what is measured is what it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lmcourse.evidence.paper import paper_tables
from lmcourse.experiments import TABLES
from lmcourse.experiments import dve as experiment
from lmcourse.experiments.dve import (
    PROBLEMS,
    Cell,
    cluster,
    match_errors,
    measure_faces,
    mildly_warped,
    virtual_points,
    warped,
)
from lmlib.methods.dve import Dve, DveConfig


def test_settings_are_read():
    assert Cell.read("C3") == Cell(3, 0)
    assert Cell.read("C64+DVE") == Cell(64, 1)
    assert Cell.read("C64+DVE5,shuffled") == Cell(64, 5, change="shuffled")
    assert Cell.read("hourglass-C64+DVE") == Cell(64, 1, "hourglass")
    assert Cell.read("sparse-C30") == Cell(30, 0, "sparse")
    assert Cell.read("supervised@20").labels == 20
    for wrong in ("64", "C64+dve", "C64,", "vgg-C3", "C64+DVE,broken"):
        with pytest.raises(ValueError, match="a setting is like|not one of"):
            Cell.read(wrong)


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_setting_has_its_configuration(name):
    problem = PROBLEMS[name]
    assert problem.name in TABLES
    for setting in problem.settings:
        cell = Cell.read(setting)
        if cell.network in ("supervised", "sparse"):
            continue
        config = problem.config(cell)
        assert (config.channels, config.auxiliaries) == (
            cell.channels,
            cell.auxiliaries,
        )
        assert config.network == cell.network
        assert (config.pairs == "identity") == (cell.change == "still")
    assert len({run.name for run in problem.runs()}) == sum(problem.settings.values())


def test_printed_tables_name_settings_that_exist_or_are_other_lengths():
    for name, table in paper_tables("dve").items():
        if not table.metric:  # 300-W, which none of our experiments answers to
            continue
        for row, cells in table.rows.items():
            for column in cells:
                setting = table.setting.format(row=row, column=column)
                cell = Cell.read(setting)
                metric = table.metric.format(row=row, column=column)
                problem = PROBLEMS[table.experiment]
                assert metric in problem.answers(cell), (name, setting)


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(0)
    return Dve(DveConfig.smallnet_class()).eval()


@pytest.fixture(scope="module")
def faces(method):
    return experiment.drawn_faces(64, range(12))


def test_views_move_image_and_landmarks_alike(method, faces):
    """A bright dot on each landmark is where the moved landmark says."""
    _, points = faces
    dots = torch.zeros(12, 3, 64, 64)
    pixel = ((points + 1) * 32).long().clamp(0, 63)
    for k in range(3):
        dots[torch.arange(12), k, pixel[:, k, 1], pixel[:, k, 0]] = 1
    views, moved = warped(method, dots, points, seed=3)
    assert views.shape == (12, 3, 48, 48)
    for k in range(3):
        best = views[:, k].flatten(1).argmax(1)
        found = torch.stack([best % 48, best // 48], 1)
        inside = (moved[:, k].abs() < 0.95).all(1)
        off = (found - ((moved[:, k] + 1) * 24 - 0.5)).norm(dim=1)[inside]
        assert inside.sum() > 6 and off.max() < 1.6


def test_few_labels_are_copied_with_their_landmarks(method, faces):
    images, points = faces
    copies, moved = mildly_warped(method.config, images, points, seed=0)
    plain = method.crop(images, points)[1]
    assert copies.shape == (12, 3, 48, 48)
    distance = (moved - plain).norm(dim=-1) * 24  # pixels of 48
    assert 0.2 < distance.mean() < 3


def test_match_errors_of_a_perfect_and_of_a_blind_descriptor(
    method, faces, monkeypatch
):
    views, points = warped(method, *faces, seed=1)
    inside = (points.abs() < 1).all(-1)
    place = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 24)] * 2, indexing="xy"))
    coded = torch.cat([torch.cos(3 * f * place) for f in (1, 2)])
    coded = torch.cat([coded, torch.sin(3 * place), torch.sin(6 * place)])
    monkeypatch.setattr(
        method, "descriptors", lambda x: coded.expand(len(x), -1, -1, -1)
    )
    perfect = match_errors(method, views, points, views, points, inside)
    assert perfect.max() < 70 / 24  # within a cell, in pixels of 70
    monkeypatch.setattr(method, "descriptors", lambda x: torch.ones(len(x), 8, 24, 24))
    blind = match_errors(method, views, points, views, points, inside)
    assert blind.mean() > 20
    assert len(blind) == inside.sum()


def test_virtual_points_follow_what_they_stand_for(method, faces):
    images = method.crop(faces[0])
    centres = cluster(method, images)
    assert centres.shape == (50, 32)
    torch.testing.assert_close(centres.norm(dim=1), torch.ones(50))
    points = virtual_points(method, centres, images)
    mirrored = virtual_points(method, centres, images)
    assert points.shape == (12, 50, 2)
    torch.testing.assert_close(points, mirrored)


def test_measures_have_their_names_and_a_random_network_is_bad(method):
    cell = Cell.read("C32,untrained")
    measured = measure_faces(method, cell)
    assert tuple(sorted(measured)) == tuple(sorted(experiment.face_metrics(cell)))
    assert measured["match_different"] > 8
    assert all(np.isfinite(value) for value in measured.values())


@pytest.mark.parametrize(
    "name, setting",
    [
        ("dve-faces", "C64+DVE,other"),
        ("dve-faces", "sparse-C30"),
        ("dve-faces", "supervised@5"),
        ("dve-turned", "C3+DVE"),
        ("dve-turned", "C3+DVE,before"),
        ("dve-roboarm", "C20+DVE,still"),
        ("dve-animals", "C64+DVE5"),
        ("dve-ears", "C64+DVE5"),
    ],
)
def test_a_cell_of_each_table_runs(name, setting, tmp_path, monkeypatch):
    (tmp_path / "data" / "cache").mkdir(parents=True)
    monkeypatch.setenv("LMLIB_ROOT", str(tmp_path))
    problem = PROBLEMS[name]
    row = problem.run(setting, 0)
    assert row["steps"] == (0 if setting.endswith("before") else 2)
    assert set(row) - {"steps", "extra"} == set(problem.metrics(setting))
    assert not (tmp_path / "data" / "checkpoints").exists()  # quick runs keep nothing


def test_shuffled_correspondence_and_other_category_change_the_training(
    tmp_path, monkeypatch
):
    (tmp_path / "data" / "cache").mkdir(parents=True)
    monkeypatch.setenv("LMLIB_ROOT", str(tmp_path))
    problem, weights = PROBLEMS["dve-faces"], []
    for setting in ("C3+DVE", "C3+DVE,other", "C3+DVE,shuffled", "C3"):
        method, _ = problem.train(setting, 0)
        weights.append(next(method.parameters()).detach().flatten())
    for i, a in enumerate(weights):
        for b in weights[:i]:
            assert not torch.equal(a, b)


@pytest.mark.parametrize("budget", ["quick", "class", "full"])
def test_shipped_networks_load_under_any_budget(budget, monkeypatch):
    monkeypatch.setenv("LMLIB_BUDGET", budget)
    for name, settings in experiment.KEPT.items():
        for setting in settings:
            if not experiment.kept_file(name, setting).is_file():
                continue  # still in training; test_shipped.py names what ships
            method = experiment.load_cell(name, setting)
            assert method.config.channels == Cell.read(setting).channels


def test_fine_tuning_starts_from_the_network_that_ships(monkeypatch):
    """Of the same budget, seed and steps it is not trained again; of others it is."""
    problem = PROBLEMS["dve-faces"]
    trainings = []

    def train(problem, setting, seed):
        trainings.append((setting, seed))
        return experiment.load_cell(problem.name, setting), {}

    monkeypatch.setattr(experiment.Problem, "train", train)
    monkeypatch.setenv("LMLIB_BUDGET", "class")
    weights = problem.weights("C64+DVE", 0)
    assert not trainings
    shipped = experiment.load_cell("dve-faces", "C64+DVE").state_dict()
    assert shipped.keys() - weights.keys() == {"centres"}
    assert all(torch.equal(weights[name], shipped[name]) for name in weights)
    problem.weights("C64+DVE", 1)
    replace(problem, steps=problem.steps + 1).weights("C64+DVE", 0)
    monkeypatch.setenv("LMLIB_BUDGET", "quick")
    problem.weights("C64+DVE", 0)
    assert trainings == [("C64+DVE", 1), ("C64+DVE", 0), ("C64+DVE", 0)]
