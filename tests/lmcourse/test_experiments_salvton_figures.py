"""Figures 10 and 11 as numbers: on a method that does as it is told, and on one that
does the wrong thing."""

from types import SimpleNamespace

import pytest
import torch

from lmcourse.experiments.salvton_figures import (
    DOWN,
    PARTS,
    PROBLEMS,
    SLEEVES,
    changes,
    edited,
    longer,
    near,
)
from lmcourse.experiments.salvton_images import SIZE, test_triplets
from lmlib.methods.salvton import links_of
from lmlib.methods.salvton.flows import ABSENT, landmark_maps

test_triplets.__test__ = False  # it only begins like a test


pytestmark = pytest.mark.usefixtures("runs_apart")


@pytest.fixture(scope="module")
def batch():
    data = test_triplets()
    return data.batch(data.indices)


class Obedient:
    """Draws a spot at each landmark, and a garment that ends at the hem."""

    def try_on(self, person, garment, mask, links):
        maps = landmark_maps(links.person, links.attribute, SIZE, 3.0)
        return maps.amax(1, keepdim=True).expand(-1, 3, -1, -1)

    def warps(self, person, garment, mask, links):
        y = torch.arange(SIZE[0]).view(1, -1, 1)
        end = (links.person[:, 30, 1] + 1) / 2 * SIZE[0]
        cloth = (y + 0.5 < end.view(-1, 1, 1)).float().expand(-1, -1, SIZE[1])
        return SimpleNamespace(fused=cloth.unsqueeze(1).expand(-1, 4, -1, -1))


def test_edits_move_what_they_say(batch):
    links = links_of(batch)
    moved = {part: edited(links, part) for part in (*PARTS, "all")}
    pixels = (moved["hem"].person - links.person)[..., 1] * SIZE[0] / 2
    assert pixels.max().item() == pytest.approx(DOWN * SIZE[0] / 2)
    assert (pixels.abs().sum(0) > 0).nonzero().flatten().tolist() == [*range(27, 32)]
    bare = [k for numbers in SLEEVES.values() for k in numbers]
    assert (moved["sleeves"].attribute[:, bare] == ABSENT).all()
    assert torch.equal(moved["sleeves"].person, links.person)
    assert torch.equal(moved["all"].attribute, moved["sleeves"].attribute)
    both = moved["hem"].person + moved["collar"].person - links.person
    assert torch.allclose(moved["all"].person, both)


def test_near_is_a_circle_around_what_can_be_seen(batch):
    links = links_of(batch)
    close = near(links, "collar", SIZE)
    seen = links.active[:, :7].any(1)
    assert torch.equal(close.any(-1).any(-1), seen)
    one = links._replace(attribute=torch.zeros_like(links.attribute))
    one.attribute[0, 3] = 2
    one.person[0, 3] = 0.0
    middle = near(one, "collar", SIZE)[0]
    high, wide = middle.any(1).sum().item(), middle.any(0).sum().item()
    assert abs(high - wide) <= 1 and abs(high - 0.3 * SIZE[0]) <= 1


def test_who_obeys_follows_and_changes_there_alone(batch):
    found = changes(Obedient(), batch, elsewhere=False)
    means = {name: values.nanmean().item() for name, values in found.items()}
    assert min(means[part] for part in PARTS) > 5
    assert means["follows"] == pytest.approx(1, abs=0.15)
    assert means["together"] > 0.7
    control = changes(Obedient(), batch, elsewhere=True)
    means = {name: values.nanmean().item() for name, values in control.items()}
    assert max(means[part] for part in PARTS) < 1
    assert means["follows"] == 0 and means["together"] < 0


def test_longer_counts_pixels_between_the_hems_ends(batch):
    links = links_of(batch)
    before = torch.zeros(len(links.person), *SIZE)
    after = before.clone()
    after[:, 40:43] = 1
    assert longer(before, after, links).unique().tolist() == [3]
    assert longer(after, before, links).unique().tolist() == [-3]


def test_fixed_sides_are_the_same_for_all_parts():
    found = PROBLEMS["salvton-patches"].run("turning@10", 0)
    assert found["ratio"] == found["flat_ratio"] == pytest.approx(1)
    assert found["collar"] == pytest.approx(10, abs=0.5)
