"""SAL-VTON's tables: settings are read as written, each control breaks its mechanism,
and what is measured is what it says."""

import re

import pytest
import torch

from lmcourse.evidence.paper import paper_tables
from lmcourse.evidence.results import read_rows
from lmcourse.experiments import TABLES, cells
from lmcourse.experiments import salvton as experiment
from lmcourse.experiments.salvton import (
    BROKEN,
    CHANGES,
    PROBLEMS,
    SIZE,
    SLICES,
    UNTRAINED,
    Blank,
    Cell,
    Permuted,
    errors,
    kind_of,
    moved,
    permuted,
    warped,
)
from lmcourse.experiments.salvton_images import slices, test_triplets, training_triplets
from lmlib.geometry import to_pixels
from lmlib.methods.salvton import Salvton, links_of
from lmlib.methods.salvton.flows import squares
from lmlib.places import repository_root

test_triplets.__test__ = False  # it only begins like a test


@pytest.fixture(scope="module")
def batch():
    data = test_triplets()
    return data.batch(data.indices)


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """Unfinished runs and networks go nowhere else."""
    monkeypatch.setattr(
        cells, "run_file", lambda *cell: tmp_path / ("-".join(map(str, cell)) + ".st")
    )


def test_settings_are_read():
    assert Cell.read("global").local == "none"
    assert Cell.read("fixed@10") == Cell("fixed", 10)
    assert Cell.read("deformable@5,exact") == Cell("deformable", 5, "exact")
    for wrong in ("local@5", "fixed@", "deformable@10,broken", "fixed 10"):
        with pytest.raises(ValueError, match="a setting is like|not one of"):
            Cell.read(wrong)
    with pytest.raises(ValueError, match="a setting is like deformable@10"):
        PROBLEMS["salvton-ladder"].config("deformable@10")


def test_printed_tables_name_settings_and_metrics_that_exist():
    tables = paper_tables("salvton")
    for name, table in tables.items():
        problem = PROBLEMS[table.experiment]
        for row, printed in table.rows.items():
            assert row in problem.settings and [*printed] == [0], (name, row)
            assert table.metric in ("", *problem.metrics(row)), name
        ranked = sorted(
            [
                *table.others.values(),
                *(x for c in table.rows.values() for x in c.values()),
            ],
            reverse=table.better == "higher",
        )  # the paper prints its own full method as the best of each table
        assert ranked[0] == table.rows["deformable@10+lasnl"][0], name
    assert tables["table-3-psnr"].metric == "psnr"


def test_every_setting_has_its_configuration():
    for setting in PROBLEMS["salvton-warps"].settings:
        config = Cell.read(setting).config()
        assert config.stages == ("warps",) and config.shape == SIZE
        if "@5" in setting:
            assert config.patch == 0.2
        assert (config.jitter == 0) == setting.endswith("exact")
    ladder = PROBLEMS["salvton-ladder"]
    for setting in ladder.settings:
        config = ladder.config(setting)
        assert config.stages == ("generator",)
        assert config.decoder in setting
        before = setting.partition("+")[0]
        assert before in PROBLEMS["salvton-warps"].settings
        assert config.local == Cell.read(before).config().local
    assert {*PROBLEMS} <= {*TABLES}
    said = {Cell.read(s).change for s in PROBLEMS["salvton-warps"].settings}
    assert said == {None, *CHANGES, *BROKEN}


def test_splits_share_no_triplet():
    assert not {*training_triplets().indices} & {*test_triplets().indices}


def test_slices_are_what_they_say(batch):
    found = slices(batch)
    bent = batch["elbow"].amax(1)
    assert not (found["crossing"] & (found["bent"] | found["straight"])).any()
    assert (bent[found["bent"]] > 50).all() and (bent[found["straight"]] < 25).all()
    assert all(chosen.any() for chosen in found.values())


def test_the_true_flow_is_the_best_and_a_spline_beats_none(batch):
    found = {}
    for setting in UNTRAINED:
        cell = Cell.read(setting)
        method = Salvton(cell.config()).eval()
        found[setting] = errors(batch, *warped(method, cell, batch, links_of(batch)))
    assert (found["oracle"]["epe"] < 1e-3).all()
    assert found["oracle"]["psnr"].mean() > found["spline"]["psnr"].mean() + 1
    wrong = permuted(batch)
    cell = Cell.read("spline")
    spline = errors(batch, *warped(method, cell, wrong, links_of(wrong)))
    assert spline["psnr"].mean() < found["spline"]["psnr"].mean() - 2


def test_errors_of_slices_and_of_places_are_of_these(batch):
    cell = Cell.read("spline")
    method = Salvton(cell.config()).eval()
    garments, flow = warped(method, cell, batch, links_of(batch))
    found = errors(batch, garments, flow)
    for part in SLICES:
        chosen = slices(batch)[part]
        assert found[f"psnr_{part}"].isnan().equal(~chosen)
        assert torch.equal(found[f"epe_{part}"][chosen], found["epe"][chosen])
    links = links_of(batch)
    near = squares(links.person, links.active.float(), SIZE, SIZE[0] / 5, 0.0)
    near = near.amax(1, keepdim=True)
    spoilt = garments["fused"] + (near == 0) * 0.5
    after = errors(batch, {"fused": spoilt}, flow)
    assert torch.allclose(after["psnr_near"], found["psnr_near"], equal_nan=True)
    assert after["psnr_far"].nanmean() < found["psnr_far"].nanmean() - 3


def test_landmarks_are_moved_by_pixels(batch):
    links = links_of(batch)
    far = to_pixels(moved(links, 2.0, 0).person, SIZE) - to_pixels(links.person, SIZE)
    assert far.std(dim=(0, 1)).tolist() == pytest.approx([2, 2], rel=0.15)
    assert torch.equal(moved(links, 2.0, 0).person, moved(links, 2.0, 0).person)


def test_controls_break_what_they_should(batch):
    wrong = links_of(permuted(batch))
    right = links_of(batch)
    assert torch.equal(wrong.person, right.person)
    assert torch.equal(wrong.garment[:, 11], right.garment[:, 0])
    assert kind_of(Cell.read("deformable@10,permuted")) is Permuted
    blank = Blank(PROBLEMS["salvton-ladder"].config("global+lasnl"))
    assert (blank.maps(right) == -1).all()
    assert (Salvton(blank.config).maps(right) == 1).any()


def test_all_rows_of_a_seed_begin_with_one_network(alone):
    problem = PROBLEMS["salvton-warps"]
    starts = []

    class Stop(Exception):
        pass

    class Watched(type(problem)):
        def fit(self, method, data, indices, steps, cell, **options):
            if cell[0] != "start":
                starts.append({k: v.clone() for k, v in method.state_dict().items()})
                raise Stop
            super().fit(method, data, indices, steps, cell, **options)

    fields = {name: getattr(problem, name) for name in ("name", "about", "settings")}
    for setting in ("global", "deformable@10"):
        with pytest.raises(Stop):
            Watched(**fields).train(setting, 0)
    one, other = starts
    assert one.keys() < other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("table", "setting"),
    [
        ("salvton-warps", "deformable@10"),
        ("salvton-warps", "oracle"),
        ("salvton-warps", "released"),
        ("salvton-landmarks", "found"),
        ("salvton-landmarks", "copied"),
        ("salvton-ladder", "turning@10+lasnl"),
        ("salvton-ladder", "deformable@10,permuted+residual"),
    ],
)
def test_a_cell_gives_the_metrics_it_names(table, setting, alone, monkeypatch):
    monkeypatch.setattr(experiment, "JITTERS", (1,))
    problem = PROBLEMS[table]
    found = problem.run(setting, 0)
    assert {*found} == {*problem.metrics(setting), "steps", "extra"}
    values = [found[name] for name in problem.metrics(setting)]
    assert torch.tensor(values).isfinite().all()


def test_a_generator_leaves_its_warps_as_they_were(alone):
    problem = PROBLEMS["salvton-ladder"]
    before = PROBLEMS["salvton-warps"].weights("turning@10", 0)
    after = problem.train("turning@10+lasnl", 0)[0].state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_copied_landmarks_are_those_of_the_other_garment(batch):
    problem = PROBLEMS["salvton-landmarks"]
    found = problem.measure(None, "copied")
    same = (batch["worn_attribute"] == batch["attribute"]).float().mean().item()
    assert found["accuracy"] == pytest.approx(same) and 0.3 < same < 1
    assert found["error"] > 0.5 and found["error_sleeve"] > found["error"]


def test_the_data_card_says_how_hard_triplets_are():
    card = (repository_root() / "data" / "README.md").read_text(encoding="utf-8")
    printed = re.search(r"the 300 test triplets.*?\n- \*\*", card, re.DOTALL)[0]
    rows = {(r.setting, r.metric, r.seed): r.value for r in read_rows("salvton-warps")}
    parts = ("psnr", "psnr_crossing", "psnr_bent", "psnr_straight")
    found = re.findall(r"([\d.]+)(?: dB)? \(([\d.]+) / ([\d.]+) / ([\d.]+)\)", printed)
    for setting, values in zip(("oracle", "spline", "global"), found, strict=True):
        wanted = [rows[setting, part, 0] for part in parts]
        assert [*map(float, values)] == pytest.approx(wanted, abs=0.0501), setting
