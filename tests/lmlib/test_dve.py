"""DVE against the authors' released code (golden numbers), an independent formulation
and properties its losses must have."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import pairwise_distances

from lmlib.checkpoints import load_checkpoint, save_checkpoint
from lmlib.geometry import from_pixels, pixel_grid, to_pixels
from lmlib.layers import Hourglass, parameter_count
from lmlib.methods.dve import (
    Dve,
    DveConfig,
    SmallNet,
    VirtualPoints,
    colour_jitter,
    exchange,
    match_scores,
    matching_loss,
)
from lmlib.samples import Stored
from lmlib.training import fit
from lmscenes import Faces

# Outputs of the released code (HEAD 2085144) in float64: loss, length of the gradient
# with respect to source and target descriptors.
CASES = {  # seed, pairs, C, cells, pixels, scale of descriptors, noise of the grid
    "A": (0, 3, 4, 6, 6, 1.0, 0.1),
    "B": (1, 2, 16, 8, 16, 1.0, 0.1),
    "C": (2, 2, 64, 35, 70, 0.35, 0.05),
    "D": (3, 1, 8, 7, 14, 0.5, 0.1),
}
GOLDEN = {  # case, power, normalised, exchanged
    ("A", 0.5, False, False): (1.704574471, 0.0243366309, 0.0256802525),
    ("A", 0.5, False, True): (1.702968008, 0.0290997081, 0.0210453617),
    ("A", 0.5, True, False): (1.696856129, 0.0746010987, 0.0806213785),
    ("A", 0.5, True, True): (1.731602511, 2.73283585, 0.681833217),
    ("A", 1.0, False, False): (3.116819558, 0.0760445574, 0.0856901038),
    ("A", 1.0, False, True): (3.107943055, 0.0937617359, 0.071485786),
    ("A", 1.0, True, False): (3.109074524, 0.207708064, 0.213692),
    ("A", 1.0, True, True): (3.219665536, 8.97784574, 1.74588823),
    ("B", 0.5, False, False): (2.746612042, 0.0726055379, 0.0772935717),
    ("B", 0.5, False, True): (2.80957012, 0.128420828, 0.0798906069),
    ("B", 0.5, True, False): (2.728366176, 0.388827604, 0.447832584),
    ("B", 0.5, True, True): (2.831263586, 26.5267097, 0.47217638),
    ("B", 1.0, False, False): (8.075743984, 0.386905129, 0.41667317),
    ("B", 1.0, False, True): (8.417141776, 0.669036474, 0.412341408),
    ("B", 1.0, True, False): (8.020555562, 2.09830648, 2.3566448),
    ("B", 1.0, True, True): (8.651178938, 145.709687, 2.56814903),
    ("C", 0.5, False, False): (5.84586059, 0.00390355811, 0.00508794389),
    ("C", 0.5, False, True): (5.844582203, 0.000828067273, 0.000813585392),
    ("C", 0.5, True, False): (5.880047733, 0.597642229, 0.591067019),
    ("C", 0.5, True, True): (5.781897222, 4.86998434, 0.575288627),
    ("C", 1.0, False, False): (36.56587494, 0.0432348688, 0.0596009255),
    ("C", 1.0, False, True): (36.55442763, 0.010193465, 0.0100992761),
    ("C", 1.0, True, False): (36.92449976, 6.69366085, 6.58750923),
    ("C", 1.0, True, True): (35.79110428, 54.4076691, 6.43848742),
    ("D", 0.5, False, False): (2.606886603, 0.02119508, 0.0231790614),
    ("D", 0.5, False, True): (2.605136369, 0.0116958772, 0.0107585126),
    ("D", 0.5, True, False): (2.62241291, 1.60338203, 1.40285487),
    ("D", 0.5, True, True): (2.62241291, 1.603382, 1.40285484),
    ("D", 1.0, False, False): (7.263395007, 0.103517242, 0.114113691),
    ("D", 1.0, False, True): (7.266994546, 0.0582223468, 0.0554569649),
    ("D", 1.0, True, False): (7.362262796, 7.96057868, 6.48929458),
    ("D", 1.0, True, True): (7.362262796, 7.96057851, 6.48929445),
}  # fmt: skip


def lattice(side):
    """Pixels of the released code, with corners at -1 and 1: ``(side, side, 2)``."""
    line = np.linspace(-1, 1, side)
    return np.stack(np.meshgrid(line, line), -1)


def golden_inputs(case):
    """Source and target descriptors (float32), and where u lies, in cells."""
    seed, pairs, channels, cells, pixels, scale, noise = CASES[case]
    rng = np.random.default_rng(seed)
    shape = (2 * pairs, channels, cells, cells)
    features = (rng.standard_normal(shape) * scale).astype(np.float32)
    grid = lattice(pixels) + noise * rng.standard_normal((pairs, pixels, pixels, 2))
    stride = pixels // cells
    grid = torch.from_numpy(grid.astype(np.float32)).double()[:, ::stride, ::stride]
    where = ((grid + 1) / 2 * (pixels - 1) / stride).flatten(1, 2)
    return *(torch.from_numpy(features[i::2]) for i in (0, 1)), where, stride


WAYS = {"fast": {}, "small tiles": {"tile": 100}, "plain": {"plain": True}}
# The largest case not in small tiles: its 12,000 tiles say no more.
EACH = [
    (*key, way) for key in GOLDEN for way in WAYS if (key[0], way[:5]) != ("C", "small")
]


@pytest.mark.parametrize("case, power, normalised, exchanged, way", EACH)
def test_loss_and_gradient_are_those_of_the_released_code(
    case, power, normalised, exchanged, way
):
    source, target, where, stride = golden_inputs(case)
    leaves = [x.double().requires_grad_() for x in (source, target)]
    source, target = leaves
    if normalised:
        source, target = (20 * F.normalize(x, dim=1) for x in leaves)
    if exchanged:
        source = exchange(source, source.roll(-1, 0), plain=way == "plain")
    loss = matching_loss(
        source, target, where, stride=stride, power=power, **WAYS[way]
    )  # fmt: skip
    loss.backward()
    wanted, *lengths = GOLDEN[case, power, normalised, exchanged]
    assert loss.item() == pytest.approx(wanted, rel=1e-6)
    for leaf, length in zip(leaves, lengths, strict=True):
        assert leaf.grad.norm().item() == pytest.approx(length, rel=1e-6)


def both_ways(auxiliaries, power, stride, weighted, tile=None):
    """Loss and gradients of the fast and the plain formulation, on random inputs."""
    generator = torch.Generator().manual_seed(1)
    sizes = [(5, 6, 4), (5, 3, 7), (auxiliaries, 5, 2, 5)]  # maps of three sizes
    parts = [torch.randn(3, *size, generator=generator).double() for size in sizes]
    where = torch.rand(3, 24, 2, generator=generator).double() * 8 - 2
    weight = torch.rand(3, 24, generator=generator).double() if weighted else None
    found = []
    for plain in (False, True):
        leaves = [part.clone().requires_grad_() for part in parts]
        source, target, around = leaves
        if auxiliaries:
            source = exchange(source, around, plain=plain)
        value = matching_loss(
            source, target, where, weight, stride=stride, power=power, tile=tile,
            plain=plain,
        )  # fmt: skip
        (3 * value).backward()  # a factor must reach the gradient
        found.append([value, *(x.grad for x in leaves[: 2 + bool(auxiliaries)])])
    return found


@pytest.mark.parametrize("power", [0.5, 1.0, 1.7, 2.0])
@pytest.mark.parametrize("auxiliaries", [0, 1, 4])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("stride, tile", [(1.0, None), (2.0, 50), (2.0, 600)])
def test_fast_and_plain_formulation_agree(auxiliaries, power, stride, weighted, tile):
    fast, plain = both_ways(auxiliaries, power, stride, weighted, tile)
    for ours, theirs in zip(fast, plain, strict=True):
        assert theirs.abs().max() > 1e-4  # there is something to compare
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("plain", [False, True])
def test_only_the_plain_formulation_keeps_all_pixels_by_all(plain):
    sizes = []

    def pack(x):
        sizes.append(x.numel())
        return x

    source, target = torch.randn(2, 1, 4, 12, 12).requires_grad_()
    where = 12 * torch.rand(1, 144, 2)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        found = exchange(source, source, plain=plain)
        matching_loss(found, target, where, plain=plain)
    assert (max(sizes) >= 144**2) == plain


@pytest.mark.parametrize("plain", [False, True])
def test_places_keep_their_precision_when_vectors_have_not(plain):
    """Vectors in bfloat16, as autocast makes them, must not round the distances."""
    vectors = torch.zeros(2, 1, 4, 35, 35)
    where = torch.full((1, 35 * 35, 2), 30.1)  # 30.125 in bfloat16
    wanted = matching_loss(*vectors, where, plain=plain)
    found = matching_loss(*vectors.bfloat16(), where, plain=plain)
    assert found.item() == pytest.approx(wanted.item(), rel=2e-3 if plain else 1e-6)


def test_weights_leave_cells_out():
    generator = torch.Generator().manual_seed(2)
    source, target = torch.randn(2, 2, 4, 5, 5, generator=generator).double()
    where = torch.rand(2, 25, 2, generator=generator).double() * 5
    weight = (torch.rand(2, 25, generator=generator) < 0.5).double()
    ours = matching_loss(source, target, where, weight)
    where[weight == 0] += 100  # a cell that does not count may belong anywhere
    torch.testing.assert_close(matching_loss(source, target, where, weight), ours)
    nothing = matching_loss(source, target, where, torch.zeros_like(weight))
    assert nothing == 0


def test_gradient_against_finite_differences():
    generator = torch.Generator().manual_seed(3)
    source, target = torch.randn(2, 2, 3, 3, 3, generator=generator).double()
    where = torch.rand(2, 9, 2, generator=generator).double() * 3

    def loss(source, target):
        return matching_loss(source, target, where, power=1.0)

    leaves = source.requires_grad_(), target.requires_grad_()
    assert torch.autograd.gradcheck(loss, leaves)


def test_without_descriptors_all_matches_are_alike():
    """Zero vectors: the mean distance between u and all cells, exchanged or not."""
    zero = torch.zeros(2, 4, 6, 6)
    where = pixel_grid(6, 6).view(1, 36, 2).repeat(2, 1, 1)
    where = to_pixels(where, (6, 6))
    cells = where[0].numpy()
    expected = (2 * pairwise_distances(cells, cells)).mean()
    for source in (zero, exchange(zero, zero)):
        loss = matching_loss(source, zero, where, stride=2.0)
        assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_one_vector_added_to_all_targets_changes_nothing():
    source, target, where, stride = golden_inputs("B")
    plain = matching_loss(source, target, where, stride=stride)
    moved = matching_loss(source, target + 0.7, where, stride=stride)
    torch.testing.assert_close(plain, moved)


def test_exchange_with_itself_is_no_exchange():
    source = 20 * F.normalize(torch.randn(2, 16, 5, 5), dim=1)
    torch.testing.assert_close(exchange(source, source), source, atol=1e-2, rtol=0)


def test_a_set_of_auxiliaries_shares_one_softmax():
    generator = torch.Generator().manual_seed(4)
    source = torch.randn(2, 6, 3, 3, generator=generator)
    around = torch.randn(2, 4, 6, 3, 3, generator=generator)
    found = exchange(source, around)
    for b in range(2):
        keys = around[b].permute(0, 2, 3, 1).reshape(-1, 6)  # all pixels of all four
        share = torch.softmax(source[b].flatten(1).T @ keys.T, dim=1)
        torch.testing.assert_close(found[b].flatten(1).T, share @ keys)
    assert torch.equal(exchange(source, around[:, 0]), exchange(source, around[:, :1]))


@pytest.mark.usefixtures("unchecked")
def test_wrong_shapes_are_named():
    x = torch.zeros(2, 4, 5, 5)
    with pytest.raises(ValueError, match=r"where \(P, h w, 2\), got"):
        matching_loss(x, x, torch.zeros(2, 24, 2))
    with pytest.raises(ValueError, match="smallnet"):
        Dve(DveConfig(network="vgg"))
    with pytest.raises(ValueError, match="'warps', 'flow', 'identity', got 'video'"):
        Dve(DveConfig(pairs="video"))
    with pytest.raises(ValueError, match="unknown preset 'big'"):
        DveConfig.preset("big")
    with pytest.raises(ValueError, match="no landmarks yet"):
        Dve(DveConfig.smallnet_class()).landmarks(torch.rand(1, 3, 48, 48))
    with pytest.raises(ValueError, match="divisible by 32"):
        Hourglass(3, 4, 8)(torch.rand(1, 3, 48, 48))


# ---- networks ------------------------------------------------------------------------


def filled(network):
    """The golden recipe for weights: one generator, in the order of the state dict."""
    rng = np.random.default_rng(11)
    state = {}
    for name, value in network.state_dict().items():
        shape = tuple(value.shape)
        if name.endswith("num_batches_tracked"):
            state[name] = value
            continue
        noise = rng.standard_normal(shape)
        if len(shape) > 1:
            new = noise / math.sqrt(np.prod(shape[1:]))
        elif name.endswith("running_var"):
            new = 1 + 0.1 * np.abs(noise)
        elif name.endswith("weight"):
            new = 1 + 0.1 * noise
        else:
            new = 0.1 * noise
        state[name] = torch.from_numpy(np.asarray(new)).to(value)
    network.load_state_dict(state)
    return network


def test_smallnet_is_the_released_one():
    network = filled(SmallNet(64, DveConfig().widths))
    rng = np.random.default_rng(12)
    images = torch.from_numpy(rng.standard_normal((2, 3, 70, 70))).float()
    with torch.no_grad():
        for mode, total, first in (
            (False, 1376.1982, [0.0768050, 0.0543036, 0.0638381]),
            (True, 9743.5454, [0.2108896, 0.5414590, -0.4154284]),
        ):
            y = network.train(mode)(images)
            assert y.shape == (2, 64, 35, 35)
            assert y.double().sum().item() == pytest.approx(total, rel=1e-4)
            assert y.flatten()[:3].tolist() == pytest.approx(first, abs=1e-5)


@pytest.mark.parametrize(
    "channels, count", [(3, 334_875), (16, 338_216), (32, 342_328), (64, 350_552)]
)
def test_smallnet_has_the_released_number_of_weights(channels, count):
    assert parameter_count(SmallNet(channels, DveConfig().widths)) == count


def test_hourglass_has_the_released_number_of_weights_and_half_the_resolution():
    method = Dve(DveConfig.hourglass64())
    assert parameter_count(method) == 12_609_472
    small = Dve(DveConfig.hourglass_class()).eval()
    with torch.no_grad():
        y = small.descriptors(torch.rand(2, 3, 48, 48))
    assert y.shape == (2, 32, 24, 24)


TRAJECTORY = {  # losses before each of six steps, float64
    False: [3.8517900182, 2.8416622531, 2.3666523278,
            2.1322264746, 1.9934891874, 1.8872541452],
    True: [3.9418745041, 3.1075315475, 2.7237453461,
           2.5595068932, 2.4266746045, 2.3270566463],
}  # fmt: skip


@pytest.mark.parametrize("exchanged", TRAJECTORY)
def test_training_follows_the_released_code_step_by_step(exchanged):
    network = filled(SmallNet(8, DveConfig().widths)).double().train()
    rng = np.random.default_rng(31)
    images = rng.standard_normal((6, 3, 32, 32)).astype(np.float32)
    images = torch.from_numpy(images).double()
    grid = lattice(32)[None] + 0.05 * rng.standard_normal((3, 32, 32, 2))
    grid = torch.from_numpy(grid.astype(np.float32)).double()[:, ::2, ::2]
    where = ((grid + 1) / 2 * 31 / 2).flatten(1, 2)
    slow = [
        layer.bias for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)
    ]
    names = {id(p) for p in slow}
    rest = [p for p in network.parameters() if id(p) not in names]
    groups = [{"params": slow, "lr": 1e-5}, {"params": rest}]
    optimizer = torch.optim.Adam(groups, lr=1e-3, amsgrad=True)
    losses = []
    for _ in range(6):
        features = network(images)
        source, target = features[0::2], features[1::2]
        if exchanged:
            source = exchange(source, source.roll(-1, 0))
        loss = matching_loss(source, target, where, stride=2, power=0.5)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # The released code sums the exchanged loss in float32, and Adam amplifies noise.
    tolerance = 5e-5 if exchanged else 1e-6
    assert losses == pytest.approx(TRAJECTORY[exchanged], rel=tolerance)


# ---- the method ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def faces():
    return Faces(64, yaw=20.0).batch(range(6))


def small(**changes):
    torch.manual_seed(0)
    config = replace(DveConfig.smallnet_class(), widths=(4, 6, 8, 8, 16), **changes)
    return Dve(config)


def test_views_register_without_a_shift():
    """The place of u's cells in v, checked on an image of its own coordinates."""
    method = small()
    ramp = pixel_grid(64, 64).permute(2, 0, 1).expand(40, -1, -1, -1)
    image = torch.cat([ramp, torch.ones(40, 1, 64, 64)], 1)  # and what is inside
    u, v, where = method.views(image)
    found = F.grid_sample(v, where.view(40, 24, 24, 2), align_corners=False)
    cells = F.avg_pool2d(u, 2)
    inside = (cells[:, 2] == 1) & (found[:, 2] == 1)
    assert 0.5 < inside.float().mean() < 1
    off = (cells - found)[:, :2].abs().amax(1)[inside] * 32  # pixels of 64
    # A bend within one cell remains; a slip of half a pixel would show everywhere.
    assert off.mean() < 0.02 and off.quantile(0.999) < 0.15
    shift = ((cells - found)[:, :2] * inside.unsqueeze(1)).sum((0, 2, 3)) / inside.sum()
    assert shift.abs().max() * 32 < 0.005


def test_perfect_descriptors_have_no_loss_and_wrong_ones_do():
    cells = pixel_grid(24, 24).permute(2, 0, 1).expand(2, -1, -1, -1)
    # <phi_u, phi_v> = 3000 (2 u.v - v.v) = -3000 |u - v|^2 up to a constant of u
    ones = torch.ones(2, 1, 24, 24)
    source = 3000 * torch.cat([2 * cells, -ones], 1)
    target = torch.cat([cells, cells.square().sum(1, keepdim=True)], 1)
    where = to_pixels(cells.flatten(2).transpose(1, 2), (24, 24))
    assert matching_loss(source, target, where, stride=2.0) < 0.05
    assert matching_loss(source, target.flip(-1), where, stride=2.0) > 10


def test_auxiliaries_change_the_loss_and_none_is_dense_3d(faces):
    losses = []
    for changes in ({"auxiliaries": 0}, {}, {"auxiliaries": 3}, {"pool": 2}):
        method = small(jitter=0.0, **changes).train()
        method.generator.manual_seed(5)
        losses.append(method.losses({"image": faces["image"]})["matching"].item())
    assert len(set(losses)) == 4
    assert all(math.isfinite(loss) for loss in losses)


def test_a_given_auxiliary_is_used(faces):
    values = []
    for other in (faces["image"].flip(0), torch.rand(6, 3, 64, 64)):
        method = small(jitter=0.0)
        method.generator.manual_seed(5)
        batch = {"image": faces["image"], "auxiliary": other}
        values.append(method.losses(batch)["matching"].item())
    assert values[0] != values[1]


def test_which_auxiliaries_are_chosen():
    method = small(auxiliaries=2)
    assert method._choose(4, 0).tolist() == [[1, 2], [2, 3], [3, 0], [0, 1]]
    assert method._choose(1, 0).tolist() == [[0]]  # alone: itself
    chosen = small(auxiliaries=5, pool=16)._choose(200, 16)
    assert chosen.shape == (200, 5)
    assert all(len(set(row)) == 5 for row in chosen.tolist())
    assert set(chosen.flatten().tolist()) == set(range(16))


@pytest.mark.parametrize("unit", [20.0, 3.0, 0.0])
def test_vectors_have_the_length_they_are_given(unit):
    method = small(unit=unit).eval()
    image = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        vectors = method.descriptors(image)
        raw = method.network((image - method.mean) / method.deviation)
    lengths = np.linalg.norm(vectors.numpy(), axis=1)
    if unit:
        assert lengths == pytest.approx(unit, rel=1e-5)
        angles = (vectors * raw).sum(1) / vectors.norm(dim=1) / raw.norm(dim=1)
        assert angles.numpy() == pytest.approx(1, abs=1e-5)  # only the length changes
    else:
        assert torch.equal(vectors, raw)
    assert DveConfig.hourglass64().unit == 20


def test_given_flow_and_no_flow():
    image = torch.rand(2, 3, 48, 48)
    flow = pixel_grid(48, 48).expand(2, -1, -1, -1).clone()
    valid = torch.zeros(2, 48, 48, dtype=torch.bool)
    valid[:, 8:24, 4:17] = True
    flow[~valid] = math.nan
    batch = {"image": image, "image2": image, "flow": flow, "flow_valid": valid}
    method = small(pairs="flow", frame=48, jitter=0.0)
    _, v, where, weight = method.pair(batch)
    assert torch.equal(v, image)
    assert weight.view(2, 24, 24)[0].nonzero().amin(0).tolist() == [4, 2]
    assert weight.sum() == 2 * 8 * 6  # the half cell at the right does not count
    cells = pixel_grid(24, 24).view(1, -1, 2)
    torch.testing.assert_close(where[weight > 0], cells.expand(2, -1, -1)[weight > 0])
    still = small(pairs="identity", frame=48, jitter=0.0)
    _, _, where, none = still.pair({"image": image})
    assert none is None
    torch.testing.assert_close(where, cells.expand(2, -1, -1))
    mask = valid.unsqueeze(1).float()
    assert torch.equal(still.pair({"image": image, "mask": mask})[3], weight)
    loss = method.losses(batch)["matching"]
    assert torch.isfinite(loss)


def test_matching_finds_the_place_of_a_vector():
    generator = torch.Generator().manual_seed(6)
    descriptors = F.normalize(torch.randn(2, 32, 9, 9, generator=generator), dim=1)
    points = from_pixels(torch.tensor([[[2.2, 3.4], [7.9, 0.1]]] * 2), (9, 9))
    others = descriptors.roll((1, -2), (2, 3))  # down by one, left by two
    best = match_scores(descriptors, points, others).flatten(2).argmax(-1)
    assert best.tolist() == [[4 * 9 + 0, 1 * 9 + 6]] * 2


def test_crop_keeps_points_on_their_pixels():
    method = small()
    image = torch.zeros(1, 3, 64, 64)
    image[..., 20, 30] = 1
    points = from_pixels(torch.tensor([[[30.0, 20.0]]]), (64, 64))
    crop, moved = method.crop(image, points)
    assert crop.shape[-1] == 48
    x, y = to_pixels(moved, (48, 48))[0, 0].round().long().tolist()
    assert crop[0, 0, y, x] == 1


def test_colours_are_jittered_and_places_are_not():
    image = torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.5
    jittered = colour_jitter(image + 0.2, 0.4, torch.Generator().manual_seed(1))
    assert 0 <= jittered.min() and jittered.max() <= 1
    gray, other = (x.mean(1).flatten(1) for x in (image, jittered))
    assert (jittered.mean((1, 2, 3)).std() > 2 * image.mean((1, 2, 3)).std()).item()
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(gray, other, strict=True)]
    assert np.median(alike) > 0.95


def test_training_lowers_the_loss_and_resumes(tmp_path):
    data = Stored(Faces(64, yaw=20.0), range(8))
    history = fit(
        small(jitter=0.0, auxiliaries=0), data, range(8), 60, batch_size=4, lr=4e-3,
        amsgrad=True, device="cpu", progress=False,
    )  # fmt: skip
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    method = small()
    save_checkpoint(tmp_path / "dve.safetensors", method)
    load_checkpoint(tmp_path / "dve.safetensors", small())
    with pytest.raises(ValueError, match="made for another network"):
        load_checkpoint(tmp_path / "dve.safetensors", small(channels=3))


@pytest.mark.parametrize("name", DveConfig.presets())
def test_presets_make_networks(name):
    config = DveConfig.preset(name)
    assert config.size <= config.frame and config.size % config.stride == 0
    if "class" in name:
        assert parameter_count(Dve(config)) < 250_000


# ---- regression ----------------------------------------------------------------------


def golden_regressor():
    rng = np.random.default_rng(13)
    filters = rng.standard_normal((15, 8))
    linear = rng.standard_normal((6, 10)) * 0.1
    features = rng.standard_normal((2, 8, 9, 11)) * 0.05
    points = rng.uniform(-1, 1, (2, 3, 2))
    head = VirtualPoints(8, 3, 5)
    # The released grid has its corners at -1 and 1, ours its edges.
    scale = torch.tensor([11 / 10, 9 / 8]).repeat(5)
    weights = torch.from_numpy(linear).view(3, 2, 10).transpose(1, 2)
    head.filters.data = torch.from_numpy(filters).float()
    head.linear.data = (weights * scale.view(1, 10, 1)).float()
    return head, torch.from_numpy(features).float(), torch.from_numpy(points).float()


def test_regressor_is_the_released_one():
    head, features, points = golden_regressor()
    wanted = [
        [[-0.0870890, -0.1155181], [0.1517874, -0.4389746], [0.1963470, 0.0136315]],
        [[-0.0278608, -0.0437170], [0.0658686, -0.2658548], [0.6055542, -0.4624953]],
    ]
    found = head(features)
    torch.testing.assert_close(found, torch.tensor(wanted), atol=2e-6, rtol=1e-5)
    batch = {
        "image": features,
        "landmarks": points,
        "visible": torch.ones(2, 3, dtype=torch.bool),
    }
    loss = head.losses(batch)["regression"]
    assert loss.item() == pytest.approx(5.3314829, rel=1e-5)
    loss.backward()
    assert head.filters.grad.norm().item() == pytest.approx(2.148730, rel=1e-4)


def test_hidden_landmarks_are_left_out_of_the_regression():
    head, features, points = golden_regressor()
    visible = torch.tensor([[True, False, True], [True, True, True]])
    batch = {"image": features, "landmarks": points, "visible": visible}
    loss = head.losses(batch)["regression"]
    batch["landmarks"] = torch.where(visible[..., None], points, 9.0)
    torch.testing.assert_close(head.losses(batch)["regression"], loss)
