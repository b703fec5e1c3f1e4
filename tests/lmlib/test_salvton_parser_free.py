"""A teacher cannot see what it is to draw, its pupils never see the true picture."""

import pytest
import torch
from tryons import TINY, triplets

from lmlib.methods.salvton import Salvton
from lmlib.methods.salvton.parser_free import (
    GREY,
    MARGIN,
    Teacher,
    cut_out,
    others,
    rough_people,
)
from lmlib.samples import Stored


@pytest.fixture(scope="module")
def batch():
    return triplets(5)


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    return Teacher(TINY).eval()


def test_nothing_of_what_is_worn_is_left(batch):
    left = cut_out(batch["target"], batch["target_mask"])
    worn = batch["target_mask"].expand_as(left) > 0
    assert (left[worn] == GREY).all()
    gone = left != batch["target"]
    # By hand: a pixel is cut out if a worn one is near, in rows and in columns.
    margin = round(MARGIN * 32)
    for n, y, x in gone.any(1).nonzero().tolist():
        rows = slice(max(0, y - margin), y + margin + 1)
        columns = slice(max(0, x - margin), x + margin + 1)
        assert batch["target_mask"][n, 0, rows, columns].any()
    near = torch.nn.functional.max_pool2d(batch["target_mask"], 3, 1, 1)
    assert (left[near.expand_as(left) > 0] == GREY).all()


def test_a_teacher_does_not_see_the_garment_on_its_person(batch, teacher):
    first = teacher.losses(batch)
    other = dict(batch, image=torch.rand(batch["image"].shape))  # is never looked at
    again = teacher.losses(other)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    plain = Salvton(TINY).eval()
    plain.load_state_dict(teacher.state_dict())
    moved = plain.losses(other)
    assert any(not torch.equal(first[name], moved[name]) for name in first)
    worn = batch["target_mask"]
    repainted = batch["target"] * (1 - worn) + 0.3 * worn
    seen = cut_out(repainted, worn)  # what is worn is in the truth alone
    assert torch.equal(seen, cut_out(batch["target"], worn))


def test_dressing_does_not_depend_on_what_was_worn(batch, teacher):
    given = batch["garment"], batch["garment_mask"]
    worn = batch["target_mask"]
    repainted = batch["target"] * (1 - worn) + torch.rand(1, 3, 1, 1) * worn
    first = teacher.dress(batch["target"], worn, *given)
    assert torch.equal(first, teacher.dress(repainted, worn, *given))
    assert not torch.equal(first, teacher.dress(0.5 * batch["target"], worn, *given))


@pytest.mark.parametrize("count", [2, 3, 50])
def test_everybody_gets_the_garment_of_somebody_else(count):
    chosen = others(count, seed=3)
    assert sorted(chosen.tolist()) == list(range(count))
    assert (chosen != torch.arange(count)).all()
    assert torch.equal(chosen, others(count, seed=3))


def test_one_person_alone_is_an_error():
    with pytest.raises(ValueError, match="among 1 people"):
        others(1)


def test_pupils_see_the_teachers_pictures_and_keep_the_truth(batch, teacher):
    data = Stored.of(batch)
    made = rough_people(teacher, data, seed=1, chunk=2)
    chosen = others(5, seed=1)
    expected = teacher.dress(
        batch["target"],
        batch["target_mask"],
        batch["garment"][chosen],
        batch["garment_mask"][chosen],
    )
    torch.testing.assert_close(made.all["image"], expected)
    for name in data.all.keys() - {"image"}:
        assert torch.equal(made.all[name], data.all[name])
    true = dict(batch, image=torch.rand(batch["image"].shape))
    again = rough_people(teacher, Stored.of(true), seed=1, chunk=2)
    assert torch.equal(again.all["image"], made.all["image"])
