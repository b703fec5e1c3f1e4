"""DLAN's tables: settings are read as written, each control breaks its mechanism, and
what is counted is what it says."""

import pytest
import torch

from lmcourse.evidence.paper import paper_tables
from lmcourse.experiments import TABLES
from lmcourse.experiments import dlan as experiment
from lmcourse.experiments.dlan import (
    CONTROLS,
    DOSES,
    LADDER,
    PARADIGMS,
    PROBLEMS,
    Cell,
    OthersHull,
    Stranger,
    network,
)
from lmcourse.experiments.dlan_images import (
    FIGURES,
    KNOBS,
    TEST,
    VALIDATION,
    Bytes,
    detected,
    figures,
    garments,
    groups,
)
from lmlib.methods.dlan import Dlan, DlanConfig, hull_area
from lmscenes import Garments


def test_settings_are_read():
    config = DlanConfig.garments64()

    def read(setting):
        return Cell.read(setting).configure(config)

    assert [read(row).attention_steps for row in LADDER] == [0, 1, 1, 3, 3]
    assert [len(read(row).towers) for row in LADDER] == [1, 1, 3, 3, 3]
    assert [read(row).scale for row in LADDER] == [0, 0, 0, 0, 0.4]
    assert read("HR-ST,M=5").attention_steps == 5
    assert read("DLAN,lambda=0.1,towers=1+8").scale == 0.1
    assert read("DLAN,lambda=0.1,towers=1+8").towers == (1, 8)
    assert read("DLAN,average").select == "average"
    assert not read("HR-ST,flat").hierarchy and not read("DLAN,absolute").relative
    assert Cell.read("FC,N=300@pose") == Cell("FC", (("N", "300"),), "pose")
    assert read("cascade").cascade and not read("cascade").cut_out
    for wrong in ("VGG", "DLAN,", "DLAN,m=2", "DLAN@colour", "dlan"):
        with pytest.raises(ValueError, match="a setting is like|is not one of"):
            Cell.read(wrong)


def test_each_row_of_the_ladder_adds_one_switch():
    """From row to row one thing changes (and lambda is nothing without steps)."""
    config = DlanConfig.garments64()
    rows = [vars(Cell.read(row).configure(config)) for row in LADDER]
    changed = [
        {name for name in a if a[name] != b[name]}
        for a, b in zip(rows, rows[1:], strict=False)
    ]
    assert changed == [{"attention_steps"}, {"towers"}, {"attention_steps"}, {"scale"}]


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_setting_is_read_and_named_once(name):
    problem = PROBLEMS[name]
    assert name in TABLES
    for setting in problem.settings if name != "dlan-gradients" else ():
        network(Cell.read(setting), DlanConfig.garments64())
    assert len({run.name for run in problem.runs()}) == sum(problem.settings.values())


def test_tables_are_parts_of_the_ladder():
    whole = {run.name for run in TABLES["dlan-ladder"].runs()}
    for name in ("steps", "lambda", "towers", "baselines", "landmarks"):
        runs = {run.name for run in TABLES[f"dlan-{name}"].runs()}
        assert runs and runs <= whole
    steps = {run.setting for run in TABLES["dlan-steps"].runs()}
    config = DlanConfig.garments64()
    counts = {Cell.read(s).configure(config).attention_steps for s in steps}
    assert counts == {1, 2, 3, 4, 5}


def test_no_image_is_trained_on_calibrated_on_and_tested():
    trained = range(10 * max(p.count for p in PROBLEMS.values() if hasattr(p, "count")))
    used = (trained, VALIDATION, TEST, range(100_000, 100_600))
    assert sum(map(len, used)) == len(set().union(*used))


def test_printed_tables_name_settings_and_metrics_that_exist():
    for name, table in paper_tables("dlan").items():
        settings = PROBLEMS[table.experiment].settings
        for row, cells in table.rows.items():
            for column in cells:
                setting = table.setting.format(row=row, column=column)
                metric = table.metric.format(row=row, column=column)
                assert setting in settings, (name, setting)
                known = PROBLEMS[table.experiment].metrics(setting)
                assert metric in (*known, ""), name


# ---- controls ------------------------------------------------------------------------


def test_a_stranger_moves_the_frames():
    torch.manual_seed(0)
    method = Stranger(DlanConfig.garments64())
    for look in method.looks[:-1]:
        torch.nn.init.normal_(look.move.weight, std=0.02)
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        own = Dlan.trace(method, images)
    plain = Dlan(method.config)
    plain.load_state_dict(method.state_dict())
    with torch.no_grad():
        right = plain.trace(images)
    torch.testing.assert_close(own[1].theta, right[1].theta.roll(1, 0))
    assert (own[1].theta != right[1].theta).any()


def test_another_hull_is_asked_for():
    batch = garments(64, range(8)).batch(range(8))
    config = DlanConfig.garments64()
    own, others = Dlan(config).hulls(batch), OthersHull(config).hulls(batch)
    torch.testing.assert_close(others, own.roll(1), equal_nan=True)
    assert len(own.unique()) > 4


def test_copies_of_a_tower_are_one_tower():
    copies = network(Cell.read("SDC,copies"), DlanConfig.garments64()).eval()
    one = network(Cell.read("ST"), DlanConfig.garments64()).eval()
    one.load_state_dict(copies.state_dict())
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(one.landmarks(images), copies.landmarks(images))
    assert set(CONTROLS) <= set(PROBLEMS["dlan-ladder"].settings)


# ---- images and counts ---------------------------------------------------------------


def test_images_are_kept_as_bytes():
    scene = Garments(64)
    data, truth = Bytes(scene, range(4)), scene.batch(range(4))
    assert data.all["image"].dtype == torch.uint8
    batch = data.batch([2, 0])
    assert batch["image"].dtype == torch.float32
    off = (batch["image"] - truth["image"][[2, 0]]).abs().max()
    assert off <= 0.5 / 255 + 1e-6
    torch.testing.assert_close(
        batch["landmarks"], truth["landmarks"][[2, 0]], equal_nan=True
    )


@pytest.mark.parametrize("off", KNOBS)
def test_what_is_taken_out_changes_the_pictures(off):
    whole, without = (garments(64, range(7), x).all for x in ("", off))
    assert (whole["image"] != without["image"]).float().mean() > 0.05
    assert torch.equal(whole["category"], without["category"])
    assert set(DOSES) == set(KNOBS)


@pytest.fixture(scope="module")
def batch():
    return garments(64, range(14)).batch(range(14))


def test_groups_part_the_landmarks(batch):
    found = groups(batch)
    seen = batch["visible"]
    for names in (
        [n for n in found if n.startswith(("collar", "sleeve", "waist", "hem"))],
        ["shop", "user"],
        ["small", "medium", "large"],
        ["normal_pose", "medium_pose", "large_pose", "medium_zoom", "large_zoom"],
    ):
        parts = torch.stack([(found[n] & seen).int() for n in names])
        assert torch.equal(parts.sum(0), seen.int())
    share = [batch["share"][found[n][:, 0]] for n in ("small", "medium", "large")]
    assert share[0].max() <= share[1].min() and share[1].max() <= share[2].min()


def test_detections_are_counted_among_the_visible(batch):
    truth, seen = batch["landmarks"].nan_to_num(0), batch["visible"]
    assert detected(truth, batch) == 100
    off = truth.clone()
    off[seen] += 0.12 / 2**0.5  # 30.7 px of 512: within 35, not within 20
    assert detected(off, batch) == 100 and detected(off, batch, name="pdl_4") == 0
    wrong = truth.nan_to_num(0)
    wrong[~seen] = 5.0  # hidden ones count nowhere
    assert detected(wrong, batch) == 100
    wrong[:, 0] = 5.0
    left, right = (groups(batch)[f"collar_{side}"] for side in ("left", "right"))
    assert detected(wrong, batch, left) == 0 and detected(wrong, batch, right) == 100
    found = figures(truth, batch)
    assert set(found) - {"images"} == set(FIGURES) and found["nme"] == 0
    assert found["images"]["nme"].shape == (14,)


def test_hulls_of_garments_are_usual(batch):
    inside = (batch["landmarks"].abs() <= 1).all(-1)
    area = hull_area(batch["landmarks"], inside)
    assert 0.05 < area.nanmedian() < 2


# ---- cells ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, setting",
    [
        ("dlan-ladder", "FC"),
        ("dlan-ladder", "DLAN,N=300"),
        ("dlan-ladder", "HR-ST,stranger"),
        ("dlan-ladder", "DLAN,hull"),
        *(("dlan-ladder", row) for row in PARADIGMS),
        ("dlan-doses", "ST@clutter"),
        ("dlan-boxes", "detector"),
        ("dlan-boxes", "joint"),
        ("dlan-speed", "HR-ST,M=2"),
        ("dlan-speed", "window"),
    ],
)
def test_a_cell_of_each_kind_runs(name, setting, tmp_path, monkeypatch):
    (tmp_path / "data" / "cache").mkdir(parents=True)
    monkeypatch.setenv("LMLIB_ROOT", str(tmp_path))
    problem = PROBLEMS[name]
    row = problem.run(setting, 0)
    assert row["steps"] == (0 if name == "dlan-speed" else 2)
    measured = set(row) - {"steps", "extra", "images"}
    assert measured == set(problem.metrics(setting))
    assert not (tmp_path / "data" / "checkpoints").exists()  # quick runs keep nothing


def test_printed_gradients_are_wrong_and_corrected_ones_right():
    problem = PROBLEMS["dlan-gradients"]
    assert problem.run("corrected", 0)["error"] < 1e-9
    assert problem.run("printed", 0)["error"] > 0.1


def test_shuffled_landmarks_change_the_training(tmp_path, monkeypatch):
    (tmp_path / "data" / "cache").mkdir(parents=True)
    monkeypatch.setenv("LMLIB_ROOT", str(tmp_path))
    problem = PROBLEMS["dlan-ladder"]
    made = [problem.train(s, 0)[0].state_dict() for s in ("FC", "FC,shuffled")]
    assert any(not torch.equal(made[0][name], made[1][name]) for name in made[0])


def test_windows_proposals_and_oracle_share_a_network(tmp_path, monkeypatch):
    (tmp_path / "data" / "cache").mkdir(parents=True)
    monkeypatch.setenv("LMLIB_ROOT", str(tmp_path))
    problem = PROBLEMS["dlan-ladder"]
    made = [problem.train(row, 0)[0].state_dict() for row in ("window", "oracle")]
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


def test_who_learns_in_boxes_says_so():
    config = DlanConfig.garments64()
    for name, way in PARADIGMS.items():
        assert way.boxed == Cell.read(name).configure(config).cut_out
        batch = garments(64, range(4)).batch(range(4))
        method, seen = network(Cell.read(name), config), batch.keys() - {"box"}
        if way.boxed:  # a moved box is another lesson
            moved = batch | {"box": batch["box"] + 0.3}
            assert _loss(method, moved) != _loss(method, batch)
        else:
            assert _loss(method, {k: batch[k] for k in seen}) == _loss(method, batch)


def _loss(method, batch) -> float:
    torch.manual_seed(0)
    with torch.no_grad():
        return float(sum(method.losses(batch).values()))


@pytest.mark.parametrize("setting", ["detector", "joint"])
def test_landmarks_in_given_boxes_are_those_of_the_own_box(setting):
    torch.manual_seed(0)
    method = network(Cell.read(setting), DlanConfig.garments64()).eval()
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        own = experiment.in_boxes(method, images, method.boxes(images))
        torch.testing.assert_close(own, method.landmarks(images))
        half = torch.tensor([[-1.0, -1, 0, 0]]).expand(3, 4)
        assert (experiment.in_boxes(method, images, half) - own).abs().max() > 0.01


@pytest.mark.parametrize("budget", ["quick", "class", "full"])
def test_shipped_networks_load_under_any_budget(budget, monkeypatch):
    monkeypatch.setenv("LMLIB_BUDGET", budget)
    for name, settings in experiment.KEPT.items():
        for setting in settings:
            if experiment.kept_file(name, setting).is_file():
                method = experiment.load_cell(name, setting)
                cell = Cell.read(setting).configure(DlanConfig.garments64())
                assert method.config.attention_steps == cell.attention_steps
