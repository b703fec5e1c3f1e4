"""Networks that have only seen drawn faces are asked as they were trained."""

import pytest
import skimage.data
import torch
from PIL import Image
from torch.testing import assert_close

from lmcourse import photographs
from lmcourse.photographs import TOLD

BOX = torch.tensor([170.0, 60.0, 280.0, 170.0])  # her face


@pytest.fixture(scope="module")
def nets():
    return photographs.networks(30)


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def find(nets, photo):
    hand = torch.tensor([(203, 101), (248, 103), (225, 126), (206, 142), (243, 141)])
    boxes = {(n, p): BOX for n in nets for p in ("astronaut", "admiral")}
    points = {"astronaut": hand.float(), "admiral": hand.float() + 9}
    photos = dict.fromkeys(points, photo)
    return photographs.Finder(nets, photos, points, boxes, 10)


def test_each_network_sees_what_it_was_trained_on(nets, photo):
    for name, net in nets.items():
        image = photographs.see(photo, BOX, net)
        channels = 1 if name == TOLD else 3
        assert image.shape == (1, channels, net.side, net.side)
        assert 0 <= image.min() < image.max() <= 1
        eyes = net.mean[1, 0] - net.mean[0, 0]
        assert 0.4 < eyes < 0.8 and net.mean[3:, 1].min() > net.mean[2, 1]


def test_networks_know_faces_like_those_of_their_training(nets, find):
    for name, net in nets.items():
        for who, face, box, truth in photographs.drawn_faces(net, 2):
            off = photographs.error(find(name, who, face, box), truth)
            assert off < (30 if name == "DVE" else 12), (name, who, off)
            # the points of a face that is not there are no answer: the control
            away = photographs.error(find(name, who, face, box) + 20, truth)
            assert away > 2 * off


def test_the_larger_face_is_the_same_face(nets):
    net = nets["LMDIS"]
    (_, small, box, truth), (_, large, twice, far) = (
        photographs.drawn_faces(net, 1, side=side)[0] for side in (60, 120)
    )
    assert (small.size, large.size) == ((60, 60), (120, 120))
    assert_close(2 * box, twice)
    assert_close(2 * (truth + 0.5), far + 0.5, rtol=0, atol=0.05)


def test_examples_are_of_somebody_else(find):
    hers, his = find.example("cat"), find.example("astronaut")
    assert find.example("admiral") is hers and find.example("LFW") is hers
    assert (hers[1] - his[1]).abs().max() > 0.1
    one, two = (find.example(f"drawn {n}") for n in (0, 1))
    assert one[0].shape == (1, 3, 48, 48) and not one[0].equal(two[0])
