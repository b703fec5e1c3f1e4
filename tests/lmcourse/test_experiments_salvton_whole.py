"""Whole try-on networks: each stage is trained once, and each pupil sees what its
setting says."""

import pytest
import torch

import lmlib
from lmcourse.experiments import cells
from lmcourse.experiments.salvton_images import test_triplets
from lmcourse.experiments.salvton_whole import (
    FIGURES,
    PROBLEMS,
    ParserFree,
    halved,
    keep_rough,
    some_rough,
)
from lmlib.checkpoints import read
from lmlib.methods.salvton import Salvton, SalvtonConfig
from lmlib.methods.salvton.parser_free import GREY, Teacher

test_triplets.__test__ = False  # it only begins like a test
PARSER_FREE = PROBLEMS["salvton-parser-free"]


pytestmark = pytest.mark.usefixtures("runs_apart")


@pytest.mark.parametrize("setting", PARSER_FREE.settings)
def test_a_cell_gives_its_figures(setting):
    found = PARSER_FREE.run(setting, 0)
    assert {*found} == {*FIGURES, "steps", "extra"} and found["steps"] == 3
    assert torch.tensor([found[name] for name in FIGURES]).isfinite().all()


def test_pupils_are_shown_different_people(monkeypatch):
    seen = {}

    def trained(self, kind, data, setting, seed):
        seen[setting] = kind, data.all["image"], data.all["target"]
        return Teacher(SalvtonConfig.preset(self.preset)).eval(), {}

    monkeypatch.setattr(ParserFree, "trained", trained)
    for setting in ("rough", "true", "same"):
        PARSER_FREE.train(setting, 0)
    assert seen["teacher"][0] is Teacher
    assert all(seen[name][0] is Salvton for name in ("rough", "true", "same"))
    rough, true, same = (seen[name][1] for name in ("rough", "true", "same"))
    assert torch.equal(same, seen["true"][2])
    assert not torch.equal(true, same) and not torch.equal(rough, true)
    with pytest.raises(ValueError, match="a setting is teacher, rough"):
        PARSER_FREE.train("smooth", 0)


def test_rough_people_wear_the_garments_they_were_given():
    """Of those that are stored: each has the colours of the garment beside it, more
    than those of any other, and a head that is the photograph's."""
    batch, worn = some_rough(), []
    mask = batch["target_mask"]
    for garment in batch["garment"]:  # the middle of each, on everybody
        middle = garment[:, 24:44, 16:32].mean((1, 2)).view(1, 3, 1, 1)
        far = ((batch["image"] - middle) * mask).square().sum((1, 2, 3))
        worn.append(far / mask.sum((1, 2, 3)))
    nearest = torch.stack(worn, 1).argmin(1)
    assert nearest.tolist() == [*range(len(nearest))]
    head = (batch["image"] - batch["target"])[..., 8:14, 20:28].abs().mean()
    assert head < 0.2


def test_what_is_kept_is_what_is_read(monkeypatch, tmp_path):
    place = tmp_path / "rough.safetensors"
    monkeypatch.setattr("lmcourse.experiments.salvton_whole.rough_file", lambda: place)
    people = torch.rand(3, 3, 64, 48)
    keep_rough(people)
    batch = some_rough()
    assert (batch["image"] - people).abs().max() <= 0.5 / 255 + 1e-6
    assert [len(value) for value in batch.values()] == [3] * 4


def test_only_the_teacher_is_shown_people_with_a_hole():
    data = test_triplets()
    batch = data.batch(data.indices)
    hole = PARSER_FREE.seen(batch, "teacher")
    worn = batch["worn_mask"].expand_as(hole) > 0
    assert (hole[worn] == GREY).all() and worn.any()
    assert torch.equal(PARSER_FREE.seen(batch, "rough"), batch["image"])


def test_half_the_size_keeps_colours_and_landmarks():
    data = test_triplets()
    batch = data.batch(data.indices)
    small = halved(batch)
    assert small["target"].shape[2:] == (32, 24)
    torch.testing.assert_close(small["target"].mean(), batch["target"].mean())
    assert torch.equal(small["landmarks"], batch["landmarks"])


def test_every_stage_is_trained():
    method, _ = PARSER_FREE.train("true", 0)
    torch.manual_seed(0)
    begin = Salvton(method.config)
    for name, part in begin.named_children():
        moved = any(
            not torch.equal(value, method.state_dict()[f"{name}.{key}"])
            for key, value in part.state_dict().items()
        )
        assert moved, f"{name} was not trained"


def test_what_ships_is_what_was_measured(monkeypatch, tmp_path):
    """A large network is stored in half precision, and measured as it is stored."""
    path = tmp_path / "network.safetensors"
    monkeypatch.setattr(cells, "kept_file", lambda *cell: path)
    monkeypatch.setattr(cells, "current_budget", lambda: "class")
    problem = PROBLEMS["salvton-tryon128"]
    method, about = problem.train("all,gallery", 0)
    problem.keep("all,gallery", 0, method, {}, about)
    weights, _ = read(path, "model.")
    assert {x.dtype for x in weights.values() if x.is_floating_point()} == {
        torch.float16
    }
    again = lmlib.load(path, "cpu").method.state_dict()
    for name, value in method.state_dict().items():
        assert torch.equal(again[name], value) and again[name].dtype == value.dtype
