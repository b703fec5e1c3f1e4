"""Agreement of a network with itself: what it tells, and what it does not."""

import pytest
import torch

from lmcourse.experiments import dlan_photographs as photographs
from lmcourse.experiments.dlan_photographs import PROBLEMS, consistency, views
from lmcourse.experiments.photographs import find_folder

(PROBLEM,) = PROBLEMS.values()


def dots(count=6, size=128):
    """Black images, each with one white dot, and where these are, ``(N, 2)``."""
    generator = torch.Generator().manual_seed(3)
    places = torch.randint(40, size - 40, (count, 2), generator=generator)
    x, y = torch.meshgrid(*[torch.arange(size)] * 2, indexing="xy")
    away = (x - places[:, :1, None]) ** 2 + (y - places[:, 1:, None]) ** 2
    return (-away / 20).exp()[:, None].expand(-1, 3, -1, -1).contiguous(), places


def brightest(images):
    """All landmarks lie on the dot."""
    total = images[:, 0] / images[:, 0].sum((1, 2), keepdim=True)
    line = (2 * torch.arange(images.shape[-1]) + 1) / images.shape[-1] - 1
    point = torch.stack([total.sum(1) @ line, total.sum(2) @ line], -1)
    return point[:, None].expand(-1, 8, -1)


def constant(images):
    """The middle, whatever is shown."""
    return torch.zeros(len(images), 8, 2)


def test_who_finds_the_dot_agrees_with_itself_and_not_with_a_stranger():
    images, places = dots()
    found = consistency(brightest, images)
    apart = 100 * (places - places.roll(1, 0)).float().norm(dim=1).mean() / 128
    assert found["mirror"] < 0.5 and found["views"] < 0.5
    assert found["stranger"] == pytest.approx(apart.item(), rel=0.05)
    assert found["pictures"] == len(images)


def test_a_constant_answer_agrees_with_its_mirror_but_with_strangers_as_well():
    found = consistency(constant, dots()[0])
    assert found["mirror"] == 0
    assert found["views"] == pytest.approx(found["stranger"], rel=0.3)
    assert found["views"] > 2


def test_left_and_right_change_places_in_the_mirror():
    def sides(images):  # landmark 0 to the left of the dot, 1 to the right, ...
        step = torch.tensor([-0.2, 0.2]).repeat(4)[:, None] * torch.tensor([1.0, 0.0])
        return brightest(images) + step

    images, _ = dots()
    assert consistency(sides, images)["mirror"] < 0.5

    def mixed(images):
        return sides(images) if images[0, 0].argmax() % 128 < 64 else -sides(images)

    images = images[:1].repeat(2, 1, 1, 1)
    assert consistency(mixed, images)["mirror"] > 5


def test_views_stay_within_the_picture():
    theta = views(1000, torch.Generator().manual_seed(1))
    reach = theta[:, :, :2].abs().sum(2) + theta[:, :, 2].abs()
    assert reach.max() <= 1 + 1e-6 and theta[:, 0, 0].min() >= 0.8
    assert theta[:, 0, 0].std() > 0.03 and theta[:, :, 2].std() > 0.03


def test_a_row_of_drawn_tops_needs_no_file(monkeypatch):
    monkeypatch.setattr(photographs, "VIEWS", 1)
    found = PROBLEM.run("untrained@drawn", 0)
    assert found["steps"] == 0 and found["pictures"] > 5
    assert set(PROBLEM.metrics("untrained@drawn")) <= found.keys()


def test_photographs_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLIB_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="VITON-HD"):
        PROBLEM.run("middle@photographs", 0)


def test_photographs_are_read_where_they_lie(tmp_path, monkeypatch):
    from PIL import Image

    for name in "ab":
        path = tmp_path / "VITON-HD" / "test" / "image" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (96, 128), "red").save(path)
    monkeypatch.setenv("LMLIB_DATA", str(tmp_path))
    assert find_folder(*photographs.PLACES) == path.parent
    assert photographs.persons().shape == (2, 3, 256, 256)


@pytest.mark.parametrize("setting", ["gallery", "gallery@", "best@drawn", "FC@faces"])
def test_a_setting_that_is_not_known_lists_those_that_are(setting):
    with pytest.raises(ValueError, match=r"of gallery, DLAN, FC.*drawn, photographs"):
        PROBLEM.run(setting, 0)
