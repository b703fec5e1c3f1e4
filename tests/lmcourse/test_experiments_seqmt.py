"""The Seq-MT tables: cells are read, built and run as their names say."""

import pytest
import torch

from lmcourse.evidence.paper import paper_tables
from lmcourse.experiments import seqmt
from lmcourse.experiments.cells import kept_file
from lmcourse.experiments.seqmt import PROBLEMS, Cell, labelled_subset, network
from lmlib.geometry import Affine
from lmlib.methods.seqmt import SeqMt
from lmlib.methods.seqmt_baselines import CommMt, HeatmapMt

BLOCKS = PROBLEMS["seqmt-blocks"]
FACES = PROBLEMS["seqmt-faces"]


def test_a_setting_is_read():
    cell = Cell.read("Seq-MT(L+T,alpha=0.1,inverse)@5")
    assert (cell.network, cell.terms, cell.percent) == ("Seq-MT", {"L", "T"}, 5)
    assert cell.knobs == (("alpha", 0.1),) and cell.broken == "inverse"
    named = Cell.read("Seq-MT(L+camera+emotion)@50")
    assert named.labels == ("camera", "emotion") and named.terms == {"L", "C"}
    longer = Cell.read("Seq-MT(L,long,flat)@5")
    assert (longer.long, longer.broken, cell.long) == (True, "flat", False)


@pytest.mark.parametrize(
    "setting, message",
    [
        ("Seq-MT(L)", "a setting is like"),
        ("Seq-MT(L,alpha)@5", "neither knob nor control"),
        ("Seq-MT(L,upside-down)@5", "neither knob nor control"),
    ],
)
def test_a_setting_that_makes_no_sense_is_an_error(setting, message):
    with pytest.raises(ValueError, match=message):
        Cell.read(setting)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_every_setting_of_every_table_builds(problem):
    for setting in problem.settings:
        method = network(problem, Cell.read(setting))
        terms = Cell.read(setting).terms
        names = {"L": "landmark", "C": "class", "T": "equivariance"}
        for letter, name in names.items():
            assert bool(method.weights.get(name, 0)) == (letter in terms), setting


def test_every_cell_of_the_papers_tables_is_listed():
    for table in paper_tables("seqmt").values():
        cells = {f"{row}@{p}" for row, found in table.rows.items() for p in found}
        assert not cells - set(PROBLEMS[table.experiment].settings), table.source


def test_networks_and_knobs():
    def of(setting, problem=BLOCKS):
        return network(problem, Cell.read(setting))

    assert isinstance(of("Comm-MT(L)@5"), CommMt)
    assert isinstance(of("RCN(L)@100", PROBLEMS["seqmt-wild"]), HeatmapMt)
    assert of("RCN+(L+T)@5", PROBLEMS["seqmt-wild"]).config.trunk == "rcn"
    assert of("Seq-MT(L+T,alpha=0.1)@5").weights["equivariance"] == 0.1
    for setting, problem in (
        ("Seq-MT(L,flat)@5", BLOCKS),
        ("RCN+(L,flat)@100", PROBLEMS["seqmt-wild"]),
    ):
        flat = of(setting, problem)
        points = flat.landmarks(torch.rand(2, 1, flat.config.size, flat.config.size))
        torch.testing.assert_close(points, torch.zeros_like(points), atol=1e-5, rtol=0)
    assert of("Seq-MT(L+identity)@5", FACES).config.heads == {"identity": 60}
    with pytest.raises(ValueError, match="no network 'Other'"):
        of("Other(L)@5")
    for network_of_its_own in ("Comm-MT(L,flat)@5", "Heatmap-MT(L,inverse)@5"):
        with pytest.raises(ValueError, match="breaks Seq-MT, not"):
            of(network_of_its_own)


def test_what_seqmt_is_compared_with_has_recipes_of_its_own(monkeypatch):
    monkeypatch.setenv("LMLIB_BUDGET", "class")
    hands = PROBLEMS["seqmt-hands"]
    usual, heatmap = hands.config(), hands.config("Heatmap-MT")
    assert heatmap.weight_landmark > usual.weight_landmark and heatmap.class_norm
    assert hands.config("Comm-MT").start == "plain" != usual.start
    # They were tuned for short runs: the paper's sizes stay as they are.
    monkeypatch.setenv("LMLIB_BUDGET", "full")
    assert hands.config("Heatmap-MT") == hands.config()
    # Blocks has one size only.
    assert BLOCKS.config("Comm-MT").batch_size == 16


def test_the_inverse_control_differs_in_the_direction_alone():
    right = network(BLOCKS, Cell.read("Seq-MT(L+T)@5"))
    wrong = network(BLOCKS, Cell.read("Seq-MT(L+T,inverse)@5"))
    assert isinstance(wrong, SeqMt) and wrong.config == right.config
    points, angle = torch.rand(2, 5, 2), torch.tensor([0.5, -0.2])
    warp = Affine.from_parameters(angle, torch.ones(2), torch.zeros(2, 2))
    torch.testing.assert_close(wrong.move(right.move(points, warp), warp), points)


def test_the_elt_has_no_number_at_100_percent_but_on_300w():
    for name, problem in PROBLEMS.items():
        full = [s for s in problem.settings if s.endswith("@100") and "T" in s[6:]]
        assert bool([s for s in full if "+T" in s]) == (
            name in ("seqmt-wild", "seqmt-300w")
        )


def test_table_1_is_whole_and_starts_with_the_5_percent_column():
    settings = list(BLOCKS.settings)
    assert set(settings[:4]) == {f"{row}@5" for row in seqmt.SEQ_MT}
    cells = {(row, p) for row in seqmt.TABLE_1 for p in seqmt.PERCENTS}
    cells -= {(row, 100) for row in ("Seq-MT(L+T)", "Seq-MT(L+T+C)")}
    assert {f"{row}@{p}" for row, p in cells} <= set(settings)
    assert all(BLOCKS.settings[f"{row}@{p}"] == 5 for row, p in cells)
    seeds = [run.seed for run in BLOCKS.runs()]
    assert seeds == sorted(seeds)  # one seed everywhere before the next


def test_larger_labelled_subsets_hold_the_smaller_ones():
    class Data:
        all = {"label": torch.arange(3200) % 15}

        def __len__(self):
            return 3200

    masks = [labelled_subset(BLOCKS, Data(), p, seed=3) for p in seqmt.PERCENTS]
    for smaller, larger in zip(masks, masks[1:], strict=False):
        assert (larger | ~smaller).all() and larger.sum() > smaller.sum()
    five = Data.all["label"][masks[1]].bincount(minlength=15)
    assert five.min() >= 10 and five.max() - five.min() <= 1  # class-balanced
    other = labelled_subset(BLOCKS, Data(), 5, seed=4)
    assert not torch.equal(other, masks[1])


def test_a_cell_trains_measures_and_can_be_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("LMLIB_ROOT", str(tmp_path))
    row = PROBLEMS["seqmt-hands"].run("Seq-MT(L+T+C)@5", 0)
    assert set(row) == {"error", "accuracy", "steps", "extra"}
    assert row["extra"]["n_labelled"] == 27 and 0 <= row["accuracy"] <= 1
    assert not list(tmp_path.glob("data/checkpoints/*"))  # a quick run ships nothing


def test_measures_are_the_tables_own():
    truth = torch.zeros(1, 25, 2)
    truth[0, 24, 0] = 0.5  # wrist of .5
    visible = torch.ones(1, 25, dtype=torch.bool)
    shifted = truth + torch.tensor([0.1, 0.0])
    assert abs(seqmt.wrist_widths(shifted, truth, visible) - 20) < 1e-4
    shifted[0, 3] += 5
    visible[0, 3] = False  # a hidden landmark counts nowhere
    assert abs(seqmt.wrist_widths(shifted, truth, visible) - 20) < 1e-4
    assert abs(seqmt.pixels_of_60(truth + 0.1, truth, visible) - 3 * 2**0.5) < 1e-4


def test_landmarks_without_names_are_matched_after_the_fact():
    """Three images of two classes: the maps swap between the classes, and once within
    one."""
    truth = torch.rand(6, 5, 2)
    visible, labels = (
        torch.ones(6, 5, dtype=torch.bool),
        torch.tensor([0, 0, 0, 1, 1, 1]),
    )
    swapped = [1, 0, 2, 3, 4]
    points = truth.clone()
    points[3:] = truth[3:, swapped]
    found = seqmt.unnamed_errors(BLOCKS, points, truth, visible, labels)
    assert max(found.values()) < 1e-5  # each class has its own order
    points[0] = truth[0, swapped]
    found = seqmt.unnamed_errors(BLOCKS, points, truth, visible, labels)
    assert found["error_by_image"] < 1e-5 and found["error_by_class"] > 0.1


@pytest.mark.parametrize("setting", ["Seq-MT(C)@0", "Seq-MT(C+T)@0"])
def test_a_network_without_landmark_labels_uses_every_image(
    setting, monkeypatch, tmp_path
):
    monkeypatch.setenv("LMLIB_ROOT", str(tmp_path))
    row = BLOCKS.run(setting, 0)
    assert row["extra"]["n_labelled"] == 0
    assert set(BLOCKS.metrics(setting)) <= set(row)


def test_runs_trained_together_are_those_trained_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("LMLIB_BUDGET", "quick")
    monkeypatch.setenv("LMLIB_ROOT", str(tmp_path))
    alike = {("Seq-MT(L)@5", 0), ("Seq-MT(L)@5", 1), ("Seq-MT(L)@10", 0)}
    others = {("Comm-MT(L)@5", 0), ("Seq-MT(L+C)@5", 0), ("Seq-MT(L,flat)@5", 0)}
    wanted = alike | others | {("Seq-MT(L+T,inverse)@5", 0)}
    chosen = [run for run in BLOCKS.runs() if (run.setting, run.seed) in wanted]
    ready = seqmt.train_together(chosen, count=8)
    assert [run.name for run in ready] == [run.name for run in chosen]
    # A network of its own kind, and one with a broken mechanism, wait for nobody.
    stacked = {r.name for r, c in zip(ready, chosen, strict=True) if r is not c}
    assert stacked == {r.name for r in chosen if (r.setting, r.seed) in alike}
    pairs = zip(ready, chosen, strict=True)
    first, before = next(p for p in pairs if p[0].setting == "Seq-MT(L)@5")
    together, alone = first.function(), before.function()
    assert together["extra"]["stack"] == 3 and together["extra"]["n_labelled"] < 20
    assert "stack" not in alone["extra"]
    assert together["error"] == pytest.approx(alone["error"], rel=1e-3)
    second = next(run for run in ready if run.seed == 1).function()
    assert second["error"] != pytest.approx(alone["error"], rel=1e-3)


@pytest.mark.parametrize("budget", ["class", "full"])
def test_what_ships_can_be_used_under_any_budget(budget, monkeypatch):
    monkeypatch.setenv("LMLIB_BUDGET", budget)
    for name, settings in seqmt.KEPT.items():
        if not settings:
            continue
        there = [s for s in settings if kept_file(name, s).is_file()]
        assert there, name
        method = seqmt.load_cell(name, there[0])
        assert (
            method.landmarks(torch.rand(1, 1, *[method.config.size] * 2))
            .isfinite()
            .all()
        )
