"""What DLAN is compared with: boxes, votes, proposals and detectors, each alone."""

import json
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmlib.evaluation import nme
from lmlib.layers import parameter_count
from lmlib.methods.dlan import Dlan, frame_corners
from lmlib.methods.dlan_baselines import (
    Anchors,
    DetectorDfa,
    Dfa,
    DfaConfig,
    JointRpn,
    best_box,
    box_losses,
    by_vote,
    edge_proposals,
    frames_of,
    grid_windows,
    jittered,
    overlap,
    proposals,
    sliding_window,
    true_boxes,
    vote,
)
from lmlib.registry import BASELINES, config_from_json
from lmlib.samples import Stored
from lmlib.training import fit

SMALL = replace(
    DfaConfig.garments64(),
    size=32,
    stages=((8,), (8,), (8,), (12,), (12,)),
    hidden=(24,),
    patch=4,
    landmarks=4,
    lr=3e-3,
    warm_up=20,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def cards(count, seed=0):
    """A striped card of some size somewhere; landmarks are its corners."""
    generator = torch.Generator().manual_seed(seed)
    half = torch.rand(count, 2, generator=generator) * 0.35 + 0.2
    middle = (2 * torch.rand(count, 2, generator=generator) - 1) * (0.9 - half)
    box = torch.cat([middle - half, middle + half], 1)
    line = (2 * torch.arange(32.0) + 1) / 32 - 1
    x, y = line[None, None, :], line[None, :, None]
    left, top, right, bottom = (v[:, None, None] for v in box.unbind(1))
    on = ((x > left) & (x < right) & (y > top) & (y < bottom)).float()
    stripes = 0.5 + 0.5 * torch.sin(12 * (x + y))
    image = torch.stack([on, on * stripes, 0.2 * torch.ones_like(on)], 1)
    corners = box[:, [0, 1, 2, 1, 2, 3, 0, 3]].unflatten(1, (4, 2))
    return Stored.of({
        "image": image, "landmarks": corners, "box": box,
        "visible": torch.ones(count, 4, dtype=torch.bool),
    })  # fmt: skip


def test_frames_of_boxes_have_the_boxes_corners(generator):
    boxes = true_boxes(cards(5).all)[:, None]
    corners = frame_corners(frames_of(boxes))
    torch.testing.assert_close(corners[:, 0, 0], boxes[:, 0, :2])
    torch.testing.assert_close(corners[:, 0, 2], boxes[:, 0, 2:])
    wide = frame_corners(frames_of(boxes, context=0.1))[:, 0]
    side = boxes[:, 0, 2:] - boxes[:, 0, :2]
    torch.testing.assert_close(wide[:, 2] - wide[:, 0], 1.1 * side)


def test_true_boxes_are_given_or_drawn_around_the_landmarks():
    batch = cards(6).all
    given = true_boxes(batch)
    own = {name: value for name, value in batch.items() if name != "box"}
    torch.testing.assert_close(true_boxes(own), given)
    points = batch["landmarks"].clone()
    points[0, 1:3] = torch.nan  # left corners remain: a thin box, not an empty one
    box = true_boxes({"landmarks": points})[0]
    assert box[0] == given[0, 0] and box[2] > box[0]
    points[1] = torch.nan
    with pytest.raises(ValueError, match="without landmarks and without a box"):
        true_boxes({"landmarks": points})


def test_overlap_is_that_of_pixels(generator):
    """Boxes with corners on pixels' edges: count pixels."""
    corners = torch.randint(0, 40, (1, 12, 2, 2), generator=generator).sort(2).values
    corners[:, :, 1] += 1
    boxes = corners.flatten(2).float()
    line = torch.arange(41) + 0.5
    x, y = line[None, :], line[:, None]
    masks = torch.stack(
        [(x > a) & (y > b) & (x < c) & (y < d) for a, b, c, d in boxes[0].tolist()]
    )
    both = (masks[:, None] & masks).sum((2, 3))
    either = (masks[:, None] | masks).sum((2, 3))
    torch.testing.assert_close(overlap(boxes, boxes)[0], both / either)


def test_seventeen_windows_cover_the_image():
    windows = grid_windows()
    assert windows.shape == (17, 4)
    assert windows[0].tolist() == [-1, -1, 1, 1]
    sides = windows[1:, 2:] - windows[1:, :2]
    torch.testing.assert_close(sides, torch.ones(16, 2))
    assert windows[1:].min() == -1 and windows[1:].max() == 1


def test_a_vote_ignores_the_few_and_the_blind():
    answers = torch.tensor(
        [[0.0, 0.0], [0.01, 0.0], [0.0, 0.02], [0.9, 0.9], [-0.7, 0]]
    )
    points = answers[None, :, None]
    weight = torch.ones(1, 5, 1)
    assert vote(points, weight).norm() < 0.03
    weight[0, :3] = 1e-6  # their windows do not see the landmark
    weight[0, 3] = 1.0
    weight[0, 4] = 0.5
    torch.testing.assert_close(vote(points, weight)[0, 0], answers[3])


def test_edges_propose_the_card():
    data = cards(40)
    found = edge_proposals(data.all["image"], 20)
    assert found.shape == (40, 20, 4)
    assert found.abs().max() <= 1 + 1e-6
    best = overlap(found, data.all["box"][:, None])[..., 0]
    chance = overlap(found.roll(1, 0), data.all["box"][:, None])[..., 0]
    assert (best.amax(1) > 0.5).float().mean() > 0.8
    assert best[:, 0].mean() > 2 * chance[:, 0].mean()  # the first are the best
    twice = overlap(found, found) * (1 - torch.eye(20))
    assert twice.max() <= 0.7 + 1e-5


def test_anchors_are_centred_on_their_cells():
    anchors = Anchors.boxes(4, 6)
    assert anchors.shape == (9 * 24, 4)
    middle = ((anchors[:, :2] + anchors[:, 2:]) / 2).view(9, 4, 6, 2)
    assert torch.allclose(middle[3, 2, 5], torch.tensor([5 / 6, 1 / 4]))
    side = (anchors[:, 2:] - anchors[:, :2]).view(9, 24, 2)
    torch.testing.assert_close(side, side[:, :1].expand_as(side))
    areas = side[:, 0].prod(-1)
    torch.testing.assert_close(areas[:3], torch.full((3,), 0.25))


def test_anchors_start_as_they_are_and_outputs_belong_to_them():
    net = Anchors(4)
    nn.init.zeros_(net.layers[2].weight)
    nn.init.zeros_(net.layers[2].bias)
    logits, boxes, anchors = net(torch.rand(2, 4, 3, 3))
    torch.testing.assert_close(boxes[1], anchors)
    # five numbers of one anchor lie side by side: move kind 2 to the right
    net.layers[2].bias.data[2 * 5 + 1] = 0.5
    net.layers[2].bias.data[2 * 5] = 7.0
    logits, boxes, _ = net(torch.rand(2, 4, 3, 3))
    moved = ((boxes[0] - anchors).abs() > 1e-3).any(1).nonzero().flatten()
    assert moved.tolist() == list(range(18, 27))
    assert (logits[0, 18:27] == 7).all() and (logits[0, :18] == 0).all()
    assert 18 <= int(logits[0].argmax()) < 27


def test_the_best_box_is_inside_and_not_empty():
    logits = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    boxes = torch.tensor([[[0.0, 0, 1, 1], [-2, -2, 3, 0]], [[1.5, 0, 2, 1.0],
                          [0, 0, 1, 1]]])  # fmt: skip
    found = best_box(logits, boxes)
    assert found[0].tolist() == [-1, -1, 1, 0]
    assert found[1, 0] < found[1, 2] <= 1


def test_box_losses_are_least_for_the_truth():
    anchors = Anchors.boxes(8, 8)
    truth = anchors[[100, 300]]
    right = torch.full((2, len(anchors)), -9.0)
    found = overlap(anchors[None], truth[:, None])[..., 0]
    right[found > 0.5] = 9.0
    boxes = truth[:, None].expand(-1, len(anchors), -1)
    good = box_losses(right, boxes, anchors, truth)
    assert good["object"] < 0.01 and good["box"] == 0
    wrong = box_losses(-right, boxes + 0.1, anchors, truth)
    assert wrong["object"] > 5 and wrong["box"] > 0


def test_jittered_boxes_stay_near():
    torch.manual_seed(0)
    boxes = true_boxes(cards(200).all)
    near = jittered(boxes, 0.1)
    side = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    share = (near - boxes).abs() / side
    assert 0.09 < share.max() <= 0.1 + 1e-6
    assert torch.equal(jittered(boxes, 0.0), boxes)


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("kind", [Dfa, DetectorDfa, JointRpn])
def test_every_weight_learns(kind, cascade):
    torch.manual_seed(0)
    method = kind(replace(SMALL, cascade=cascade))
    terms = method.losses(cards(8).all)
    assert ("first" in terms) == cascade
    assert ("object" in terms) == (kind is not Dfa)
    sum(terms.values()).backward()
    for name, weight in method.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


def test_a_detector_is_a_second_network_and_a_joint_one_is_not():
    trunk = parameter_count(Dfa(SMALL).trunk)
    sizes = [parameter_count(kind(SMALL)) for kind in (Dfa, DetectorDfa, JointRpn)]
    head = parameter_count(Anchors(12))
    assert sizes[1] == sizes[0] + trunk + head
    assert sizes[2] == sizes[0] + head
    terms = DetectorDfa(SMALL).losses(cards(4).all)
    assert set(terms) == {"object", "box", "landmark", "seen"}


def test_the_second_stage_corrects_by_a_fifth():
    torch.manual_seed(0)
    method = Dfa(replace(SMALL, cascade=True)).eval()
    nn.init.zeros_(method.head.correct[2].weight)
    nn.init.constant_(method.head.correct[2].bias, 1.0)
    frames = torch.eye(2, 3).expand(3, 1, 2, 3)
    first, second = method.inside(cards(3).all["image"], frames)[0]
    torch.testing.assert_close(second, first + 0.2)


def test_places_follow_their_box():
    """The same picture in another place of the image has its landmarks there."""
    torch.manual_seed(0)
    method = Dfa(SMALL).eval()
    inner = torch.rand(2, 3, 16, 16)
    image = F.pad(inner, (12, 4, 6, 10))
    low = torch.tensor([12.0, 6.0]) / 16 - 1
    box = torch.cat([low, low + 1]).expand(2, 4)
    config = replace(SMALL, context=0.0)
    method.config = config
    large = F.interpolate(inner, (32, 32), mode="bilinear", align_corners=False)
    with torch.no_grad():
        whole = method.landmarks(large)
        found = method.landmarks(image, box)
    middle = (box[:, None, :2] + box[:, None, 2:]) / 2
    torch.testing.assert_close(found, middle + 0.5 * whole, atol=0.02, rtol=0)


def test_one_pass_a_window(monkeypatch):
    method, seen = Dfa(SMALL).eval(), []
    features = method.features
    monkeypatch.setattr(
        method, "features", lambda x: seen.append(len(x)) or features(x)
    )
    images = cards(3).all["image"]
    assert sliding_window(method, images).shape == (3, 4, 2)
    assert proposals(method, images, 10).shape == (3, 4, 2)
    assert seen == [3 * 17, 3 * 10]
    boxes = true_boxes(cards(3).all)[:, None]
    alone = by_vote(method, images, boxes)
    torch.testing.assert_close(
        alone, method.inside(images, frames_of(boxes))[0][-1][:, 0]
    )


@pytest.mark.parametrize("name", ["dfa", "detector-dfa", "rpn-dfa"])
def test_configurations_go_through_a_file(name):
    config = replace(SMALL, cascade=True, cut_out=False)
    assert BASELINES[name].Config is DfaConfig
    stored = json.loads(json.dumps(asdict(config)))  # tuples are lists there
    assert config_from_json(name, stored) == config


def test_in_true_boxes_cards_are_easier_than_in_whole_images():
    """What the box is worth, and that detectors find it."""
    data, test = cards(400), cards(100, seed=1).all

    def error(method, **options):
        torch.manual_seed(0)
        fit(method, data, range(400), 250, progress=False, device="cpu")
        with torch.no_grad():
            found = method.eval().landmarks(test["image"], **options)
        return nme(found, test["landmarks"], normaliser="image_edge")

    torch.manual_seed(0)
    boxed = error(Dfa(SMALL), boxes=true_boxes(test))
    torch.manual_seed(0)
    whole = error(Dfa(replace(SMALL, cut_out=False)))
    torch.manual_seed(0)
    detector = DetectorDfa(SMALL)
    found = error(detector)
    assert boxed < 0.5 * whole
    with torch.no_grad():
        boxes = detector.boxes(test["image"])
    right = overlap(boxes[:, None], test["box"][:, None])[:, 0, 0]
    assert (right > 0.5).float().mean() > 0.8
    assert found < 2 * whole


def test_fully_convolutional_dfa_is_dlan_without_steps():
    config = replace(SMALL, cut_out=False)
    torch.manual_seed(0)
    dlan = Dlan(config)
    assert len(dlan.looks) == 1 and dlan.looks[0].move is None
    trunks = (parameter_count(m.trunk) for m in (dlan, Dfa(config)))
    assert len({*trunks}) == 1
