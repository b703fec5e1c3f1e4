"""Galleries take the best network that ships, and move what they say they move."""

import pytest
import torch

from lmcourse import gallery
from lmcourse.experiments import lmdis


def test_the_first_network_that_ships_is_taken(tmp_path, monkeypatch):
    def file(experiment, setting):
        return tmp_path / f"{experiment}-{setting}"

    monkeypatch.setattr(gallery, "kept_file", file)
    cells = (("large", "K10"), ("small", "K10"))
    assert gallery.first_kept(*cells) == ("small", "K10")  # none: the last
    file("small", "K10").touch()
    assert gallery.first_kept(*cells) == ("small", "K10")
    file("large", "K10").touch()
    assert gallery.first_kept(*cells) == ("large", "K10")


def test_networks_are_compared_at_one_size_only(tmp_path, monkeypatch):
    def file(experiment, setting):
        return tmp_path / f"{experiment}-{setting}"

    monkeypatch.setattr(gallery, "kept_file", file)
    file("dve-faces70", "C64+DVE").touch()  # without its partner
    assert gallery.pair_of_matchers() == "dve-faces"
    file("dve-faces70", "C64").touch()
    assert gallery.pair_of_matchers() == "dve-faces70"


def test_what_ships_can_be_shown():
    for experiment, setting in (gallery.DRAWING[-1], gallery.MATCHING[-1]):
        assert gallery.kept_file(experiment, setting).is_file()


def test_the_mouth_is_where_faces_have_it():
    method = gallery.drawing_network()
    which = gallery.mouth_points(method)
    data = lmdis.face_images(method.config.size, range(100_100, 100_130)).all
    centre = data["landmarks"][:, 3:].mean((0, 1))
    away = (method.landmarks(data["image"]).mean(0) - centre).norm(dim=-1)
    rest = [k for k in range(len(away)) if k not in which]
    assert len(set(which)) == 3 and away[which].max() < away[rest].min() + 0.05


def test_only_the_mouth_is_moved_and_only_down():
    points = torch.rand(2, 5, 2)
    moved = gallery.with_mouth(points, [1, 4], 0.2) - points
    assert moved[:, [1, 4], 1].flatten().tolist() == pytest.approx([0.2] * 4)
    moved[:, [1, 4], 1] = 0
    assert moved.abs().max() == 0


def test_equal_vectors_have_equal_colours():
    vectors = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    vectors[1, :, 2, 3] = vectors[0, :, 5, 1]
    colours = gallery.as_colours(vectors)
    assert colours.shape == (2, 3, 6, 6) and 0 <= colours.min() < colours.max() <= 1
    assert torch.allclose(colours[1, :, 2, 3], colours[0, :, 5, 1], atol=1e-5)


def test_hands_are_shown_in_order_of_their_errors(monkeypatch):
    class Nothing:  # finds all landmarks in the middle
        def landmarks(self, images):
            return torch.zeros(len(images), 25, 2)

        def classify(self, points):
            return torch.eye(27)[:1].expand(len(points), -1)

    monkeypatch.setattr(gallery, "load_cell", lambda *cell: Nothing())
    gallery.hands_found.cache_clear()
    found = gallery.hands_found()
    try:
        count = len(found["number"])
        assert sorted(found["number"].tolist()) == [*range(count)] and count > 50
        assert found["error"].diff().min() >= 0
        far = found["truth"].norm(dim=-1) / (
            found["truth"][:, :1] - found["truth"][:, 24:]
        ).norm(dim=-1)
        torch.testing.assert_close(found["off"], 100 * far)
        board = gallery.Board(2)
        rows = [gallery.put_hand(board, share, n) for n, share in enumerate((0.0, 1.0))]
        assert rows == [0, count - 1]
        texts = [text.get_text() for text in board.ax.texts]
        right = (found["label"][rows] == 0).tolist()
        assert [", in truth " not in text for text in texts] == right
    finally:
        gallery.hands_found.cache_clear()
