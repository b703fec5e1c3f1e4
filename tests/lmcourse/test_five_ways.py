"""One face asked in three ways, one shirt in two: frames, disturbances, and places."""

import pytest
import torch
from torch.testing import assert_close

from lmcourse import fitting_room, five_ways


@pytest.fixture(scope="module")
def some():
    return five_ways.faces(range(700_000, 700_006))


def test_the_same_numbers_are_the_same_faces_in_any_size(some):
    image, five = five_ways.faces(range(700_000, 700_006), 40)
    assert_close(five, some[1], atol=1e-4, rtol=0)
    smaller = five_ways.resized(some[0], 40)
    assert (image - smaller).abs().mean() < 0.03


def test_all_ways_answer_in_the_coordinates_of_the_picture(some):
    images, five = some
    found = five_ways.Answers(*five_ways.faces(range(500_000, 500_030)))(images)
    assert [*found] == [*five_ways.WAYS]
    for name, points in found.items():
        off = five_ways.off(points, five)
        eyes = (five[:, 0] - five[:, 1]).norm(dim=-1)
        assert_close(off, 100 * (points - five).norm(dim=-1).mean(1) / eyes)
        assert off.mean() < {five_ways.TOLD: 7, "LMDIS": 7, "DVE": 25}[name]
        # another picture's points are no answer: the control
        assert five_ways.off(points, five.roll(1, 0)).mean() > off.mean()


def test_vectors_are_looked_up_where_they_were_taken(some):
    images, five = some
    maps = five_ways.vectors(images)
    assert_close(maps.norm(dim=1), torch.ones_like(maps[:, 0]))
    own = torch.stack(
        [
            five_ways.looked_up(v, m[None])[0]
            for v, m in zip(five_ways.vectors_at(maps, five), maps, strict=True)
        ]
    )
    cell = 2 * five_ways.zoom() / maps.shape[-1]
    assert (own - five).abs().amax() < 2 * cell
    assert (own - five).abs().median() < cell


def test_kinds_of_vectors_move_with_the_face_and_can_be_regressed(some):
    labelled, marks = five_ways.faces(range(500_000, 500_030))
    points = five_ways.kinds(five_ways.vectors(labelled))
    assert points.shape == (30, 50, 2) and points.abs().max() <= five_ways.zoom()
    fitted = five_ways.regressed_kinds(points, marks)
    found = fitted.predict(five_ways.kinds(five_ways.vectors(some[0])))
    assert five_ways.off(found, some[1]).mean() < 15
    # another picture's points are no answer: the control
    assert five_ways.off(found.roll(1, 0), some[1]).mean() > 15


@pytest.mark.parametrize("kind", five_ways.KINDS)
def test_a_disturbance_of_strength_zero_changes_nothing(some, kind):
    images, five = five_ways.disturbed(*some, kind, 0.0)
    assert_close(images, some[0], atol=1e-4, rtol=0)
    assert_close(five, some[1])
    worse, _ = five_ways.disturbed(*some, kind, 1.0)
    assert (worse - some[0]).abs().mean() > 0.02


def test_points_move_with_the_picture(some):
    images, five = some
    dot = torch.zeros_like(images)
    where = ((five[:, 2] + 1) * five_ways.SIDE / 2).long()  # the nose
    for n, (x, y) in enumerate(where.tolist()):
        dot[n, :, y - 1 : y + 2, x - 1 : x + 2] = 1
    for kind in ("turned", "smaller"):
        moved, points = five_ways.disturbed(dot, five, kind, 0.7)
        place = moved[:, 0].flatten(1).argmax(1)
        found = torch.stack([place % five_ways.SIDE, place // five_ways.SIDE], -1)
        there = (points[:, 2] + 1) * five_ways.SIDE / 2
        assert (found + 0.5 - there).abs().max() < 2
    with pytest.raises(ValueError, match="unknown kind 'upside down'"):
        five_ways.disturbed(images, five, "upside down", 0.5)


def test_a_shirts_six_places_are_found_and_foretold():
    people = fitting_room.triplets(range(100_000, 100_004))
    truth = five_ways.of_shirt(people["landmarks"])
    left, right = truth[:, 0], truth[:, 1]
    assert (left[:, 0] < right[:, 0]).all()  # collars, the viewer's left first
    none, state = five_ways.shirt_off(truth, people)
    assert none.abs().max() < 1e-5 and set(state.flatten().tolist()) == {0, 1, 2}
    seen = state == 2
    for found in (five_ways.found_on(people["target"]), five_ways.foretold(people)):
        off, _ = five_ways.shirt_off(found, people)
        assert off[:, :2][seen[:, :2]].median() < 5  # collars
        wrong, _ = five_ways.shirt_off(found.roll(2, 1), people)
        assert wrong[seen].median() > 3 * off[seen].median()
