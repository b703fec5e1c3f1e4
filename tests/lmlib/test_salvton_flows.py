"""Flows, patches and their fusion: exact properties, and the plain forms as oracles."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tryons import triplets

from lmlib.geometry import pixel_grid, to_pixels
from lmlib.methods.salvton import SalvtonConfig, links_of, patches
from lmlib.methods.salvton.flows import (
    bending,
    compose,
    enlarge,
    landmark_maps,
    leaving,
    squares,
    standing,
    warp,
)
from lmlib.methods.salvton.warping import (
    PatchShapes,
    WarpingModel,
    landmark_mask,
    warping_losses,
)

SIZE = 32, 24
CONFIG = SalvtonConfig(
    size=32,
    landmarks=9,
    stages=("warps",),
    stem=8,
    widths=(8, 8, 8),
    fpn=8,
    flow_widths=(8,),
    matched=4,
    patch=0.2,
    largest=0.3,
)


def smooth_flow(seed=0, strength=0.2):
    generator = torch.Generator().manual_seed(seed)
    bend = strength * torch.randn(2, 2, 4, 3, generator=generator)
    bend = F.interpolate(bend, size=SIZE, mode="bicubic", align_corners=False)
    return standing(bend) + bend


# --- flows ----------------------------------------------------------------------------


def test_the_standing_flow_changes_nothing():
    images = torch.rand(2, 3, *SIZE)
    still = standing(images).expand(2, -1, -1, -1)
    assert torch.allclose(warp(images, still), images, atol=1e-5)


def test_a_step_moves_where_the_flow_is_looked_up():
    ramp = pixel_grid(*SIZE).permute(2, 0, 1).unsqueeze(0)
    flow = (
        0.5 * ramp + 0.1
    )  # affine, so that a step of d pixels is known in closed form
    step = torch.tensor([1.5, -2.0]).view(1, 2, 1, 1).expand(1, 2, *SIZE)
    moved = 0.5 * (ramp + 2 * step / torch.tensor([24.0, 32]).view(1, 2, 1, 1)) + 0.1
    inner = (..., slice(3, -3), slice(3, -3))
    assert torch.allclose(compose(flow, step)[inner], moved[inner], atol=1e-5)


def test_warping_in_two_steps_is_warping_by_the_composed_flow():
    flow = smooth_flow()
    step = 1.5 * torch.randn(2, 2, 1, 1).expand(2, 2, *SIZE)
    size = torch.tensor([24.0, 32]).view(1, 2, 1, 1)
    places = torch.rand(2, 2, *SIZE).cumsum(2).cumsum(3) / 400  # smooth
    twice = warp(warp(places, flow), standing(flow) + 2 * step / size)
    once = warp(places, compose(flow, step))
    inner = (..., slice(4, -4), slice(4, -4))
    assert (twice - once)[inner].abs().max() < 0.02
    wrong = warp(places, compose(flow, -step))
    assert (twice - wrong)[inner].abs().max() > 0.1


def test_enlarging_keeps_a_standing_flow_but_at_the_edge():
    small, large = torch.zeros(1, 1, 8, 6), torch.zeros(1, 1, 16, 12)
    found = enlarge(standing(small))
    inner = (..., slice(1, -1), slice(1, -1))
    assert torch.allclose(found[inner], standing(large)[inner], atol=1e-6)


def test_bending_is_zero_for_affine_flows_only():
    x = standing(torch.zeros(1, 1, *SIZE))
    matrix = torch.tensor([[1.3, -0.4], [0.2, 0.7]])
    affine = torch.einsum("ij,bjhw->bihw", matrix, x) + 0.3
    assert bending(affine).abs() < 1e-4
    assert bending(x + 0.1 * x.square()) > 0.001


def test_bending_of_a_single_spike():
    flow = torch.zeros(1, 2, 9, 9)
    flow[0, 0, 4, 4] = 1.0
    cost = lambda x: (x * x + 1e-6) ** 0.45 - 1e-6**0.45  # noqa: E731
    one = 2 * cost(1.0) + cost(2.0)  # what each direction sees: 1, -2, 1
    expected = 2 * one / (2 * 9 * 7) + 2 * one / (2 * 7 * 7)
    assert bending(flow).item() == pytest.approx(expected, rel=1e-4)


def test_a_flow_that_leaves_the_image_is_called_back():
    flow = torch.full((1, 2, 4, 4), 1.25, requires_grad=True)
    assert leaving(flow).item() == pytest.approx(0.2)
    leaving(flow).backward()
    assert (flow.grad > 0).all()
    assert leaving(torch.full((1, 2, 4, 4), 1.0)) == 0


def test_squares_have_the_area_they_should_and_the_right_middle():
    points = torch.tensor([[[0.1, -0.23], [0.33, 0.41]]])
    maps = squares(points, torch.ones(1, 2), SIZE, 3.0, 0.0)
    assert torch.allclose(maps.sum((2, 3)), torch.full((1, 2), 9.0), atol=1e-4)
    places = torch.einsum("bkhw,hwc->bkc", maps, pixel_grid(*SIZE)) / 9
    assert torch.allclose(places, points, atol=1e-5)


def test_maps_tell_absent_hidden_and_visible_landmarks():
    points = torch.zeros(1, 3, 2)
    maps = landmark_maps(points, torch.tensor([[0, 1, 2]]), (9, 9), 3.0)
    assert maps[0, :, 4, 4].tolist() == [-1, 0, 1]
    assert (maps[0, 0] == -1).all() and (maps[0, :, 0] == -1).all()


# --- patches --------------------------------------------------------------------------


def setting(seed=0, channels=4, landmarks=5, window=(9, 7), spread=1.9):
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=generator)

    points = spread * (rand(2, 2, landmarks, 2) - 0.5)
    sides = 2 + 5 * rand(2, landmarks, 2)
    turns = torch.eye(2) + 0.2 * rand(2, landmarks, 2, 2)
    features = 2 * torch.randn(2, 2, channels, *SIZE, generator=generator)
    active = rand(2, landmarks) < 0.7
    active[0, 0] = True
    beta = 0.1 + 0.2 * rand(landmarks)
    return points, features, sides, turns, beta, active, window


def found(cut, plain, points, features, sides, turns, beta, active, window):
    mine, theirs = (cut(p, SIZE, window) for p in points)
    flow = patches.match(
        *features, mine, theirs, sides, turns, beta, active, plain=plain
    )
    return mine, flow


def spread_out(mine, flow):
    """Flows of windows, where their pixels are: (B, K, H W, 2)."""
    out = flow.new_zeros(*flow.shape[:2], SIZE[0] * SIZE[1], 2)
    where = mine.pixels.unsqueeze(-1).expand_as(flow)
    inside = mine.inside.unsqueeze(-1)
    return out.scatter_add(2, where, flow * inside)


@pytest.mark.parametrize("plain", [False, True])
def test_windows_find_what_the_whole_image_finds(plain):
    """The oracle sees all pixels for each landmark, as the equation stands."""
    parts = setting()
    dense, all_flow = found(patches.everywhere, True, *parts)
    cut, flow = found(patches.windows, plain, *parts)
    active = parts[5][..., None, None]
    wanted = all_flow * dense.inside.unsqueeze(-1) * active
    assert wanted.abs().sum() > 10
    assert torch.allclose(spread_out(cut, flow) * active, wanted, atol=1e-5)


def test_the_fast_form_has_the_gradients_of_the_plain_one():
    grads = []
    for plain in (False, True):
        points, features, sides, turns, beta, active, window = setting(seed=2)
        inputs = [x.requires_grad_() for x in (features, sides, turns, beta)]
        mine, flow = found(patches.windows, plain, points, *inputs, active, window)
        (flow * torch.linspace(-1, 2, flow.numel()).view_as(flow)).sum().backward()
        grads.append([x.grad for x in inputs])
    for fast, slow in zip(*grads, strict=True):
        assert slow.abs().sum() > 1e-3
        assert torch.allclose(fast, slow, atol=1e-4 * slow.abs().max().item())


def test_identical_patches_give_the_shift_between_the_landmarks():
    """The garment's features are the person's, three pixels to the right and one up."""
    shift = torch.tensor([3, -1])
    random = torch.randn(1, 16, *SIZE, generator=torch.Generator().manual_seed(1))
    person = 12 * F.normalize(random, dim=1)
    garment = person.roll((-1, 3), (2, 3))
    here = torch.tensor([[[-0.2, 0.1]]])
    there = here + 2 * shift / torch.tensor([24.0, 32])
    mine, theirs = (patches.windows(p, SIZE, (9, 9)) for p in (here, there))
    parts = torch.full((1, 1, 2), 20.0), torch.eye(2).view(1, 1, 2, 2)
    active = torch.ones(1, 1, dtype=torch.bool)
    for beta in (0.0, 2.0):
        flow = patches.match(
            person, garment, mine, theirs, *parts, torch.tensor([beta]), active
        )
        moved = to_pixels(flow, SIZE) - to_pixels(mine.places, SIZE)
        far = (moved - shift).norm(dim=-1)
        assert far.mean() < 0.1


def test_offsets_alone_carry_a_patch_over():
    """Without features, the flow is that of the turn A about the landmark."""
    here, there = torch.tensor([[[-0.2, 0.1]]]), torch.tensor([[[0.3, -0.2]]])
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).view(1, 1, 2, 2)
    mine, theirs = (
        patches.windows(p, SIZE, s) for p, s in ((here, (5, 5)), (there, (9, 9)))
    )
    blank = torch.zeros(1, 4, *SIZE)
    flow = patches.match(
        blank, blank, mine, theirs, torch.full((1, 1, 2), 50.0), turn,
        torch.tensor([3.0]), torch.ones(1, 1, dtype=torch.bool),
    )  # fmt: skip
    moved = to_pixels(flow, SIZE) - to_pixels(there, SIZE).unsqueeze(2)
    wanted = mine.offsets @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    assert (moved - wanted).abs().max() < 0.1


def test_nothing_outside_of_the_box_has_weight():
    """A feature that matches perfectly, but outside, is not found; inside it is."""
    blank = torch.zeros(1, 4, *SIZE)
    person, garment = blank.clone(), blank.clone()
    person[:], garment[0, :, 16, 15] = 1.75, 2.0  # three pixels right of the landmark
    point = 2 * (torch.tensor([[[12.0, 16.0]]]) + 0.5) / torch.tensor([24.0, 32]) - 1
    cut = patches.windows(point, SIZE, (9, 9))
    eye, beta = torch.eye(2).view(1, 1, 2, 2), torch.tensor([0.0])
    on = torch.ones(1, 1, dtype=torch.bool)

    def x_found(side):
        sides = torch.full((1, 1, 2), float(side))
        flow = patches.match(person, garment, cut, cut, sides, eye, beta, on)
        return to_pixels(flow, SIZE)[..., 0].mean().item()

    assert x_found(9) > 14.5
    assert abs(x_found(1) - 12) < 0.1
    box = patches.log_box(cut.offsets, torch.full((1, 1, 2), 5.0)).exp()
    inside = (cut.offsets.abs() <= 1).all(-1)
    assert (box[inside] > 0.9).all()
    assert (box[(cut.offsets.abs() > 3).any(-1)] < 0.02).all()


def test_pixels_beyond_the_edge_have_no_weight():
    corner = torch.full((1, 1, 2), -0.99)
    cut = patches.windows(corner, SIZE, (9, 9))
    assert cut.inside.sum() == 25
    blank = torch.zeros(1, 4, *SIZE)
    flow = patches.match(
        blank, blank, cut, cut, torch.full((1, 1, 2), 30.0),
        torch.eye(2).view(1, 1, 2, 2), torch.tensor([0.0]),
        torch.ones(1, 1, dtype=torch.bool),
    )  # fmt: skip
    middle = to_pixels(flow, SIZE)[0, 0]
    assert torch.allclose(middle, torch.full_like(middle, 2.0), atol=0.01)


def test_sides_follow_their_gradient():
    """By finite differences: how the flow changes with the sides of the box."""
    points, features, sides, turns, beta, active, window = setting(seed=3)
    sides = sides.double().requires_grad_()
    inputs = [x.double() for x in (points, features, turns, beta)]

    def loss(sides):
        points, features, turns, beta = inputs
        flow = found(
            patches.windows, True, points, features, sides, turns, beta, active, window
        )[1]
        return (flow * torch.linspace(0, 1, flow.numel()).view_as(flow)).sum()

    assert torch.autograd.gradcheck(loss, (sides,), eps=1e-5, atol=1e-5)


def test_learned_sides_start_alike_and_move_with_their_weights():
    torch.manual_seed(0)
    model = WarpingModel(CONFIG)
    batch = triplets(2)
    shapes = warps_of(model, batch).local.shapes
    wanted = torch.tensor([0.2 * 24, 0.2 * 32]).expand_as(shapes.person)
    assert torch.allclose(shapes.person, wanted) and torch.allclose(
        shapes.garment, wanted
    )
    own = model.local_flow.shapes.own
    warps = warps_of(model, batch)
    target = torch.cat([batch["warped"], batch["target_mask"]], 1)
    (warps.fused - target).square().mean().backward()
    there = links_of(batch).active.any(0)
    assert (own.grad[there][:, :4].abs() > 0).all()  # both patches' sides
    assert (own.grad[~there] == 0).all()
    with torch.no_grad():
        own[0, 0] += 1.0  # the first landmark's width on the person
        after = warps_of(model, batch).local.shapes
    assert (after.person[:, 0, 0] > wanted[:, 0, 0]).all()
    assert torch.equal(after.person[:, 1:], shapes.person[:, 1:])
    assert isinstance(model.local_flow.shapes, PatchShapes)


def test_laying_patches_over_each_other_is_eq_4():
    points, _, sides, _, _, active, window = setting(seed=4, spread=1.2)
    garment = torch.rand(2, 4, *SIZE)
    mine = patches.windows(points[0], SIZE, window)
    flow = mine.places + 0.1
    attention = torch.randn(mine.inside.shape)
    box = patches.log_box(mine.offsets, sides)
    laid = patches.blend(garment, mine, flow, attention, box, active)
    row, column = 16, 12  # one pixel in the middle, summed by hand
    total, colours, here = 0.0, torch.zeros(4), 0.0
    for k in range(5):
        if not active[0, k]:
            continue
        at = (mine.pixels[0, k] == row * 24 + column) & mine.inside[0, k]
        for n in at.nonzero().flatten().tolist():
            weight = (attention[0, k, n] + box[0, k, n]).exp()
            place = flow[0, k, n].view(1, 1, 1, 2)
            colour = F.grid_sample(garment[:1], place, align_corners=False)
            colours, total = colours + weight * colour.flatten(), total + weight
            here = max(here, box[0, k, n].exp().item())
    assert total > 0
    assert torch.allclose(laid.warped[0, :, row, column], colours / total, atol=1e-4)
    assert laid.covered[0, 0, row, column].item() == pytest.approx(here, rel=1e-4)


def test_where_there_is_no_patch_there_is_nothing():
    points, _, sides, _, _, active, window = setting(seed=4)
    mine = patches.windows(points[0], SIZE, window)
    box = patches.log_box(mine.offsets, sides)
    none = torch.zeros_like(active)
    laid = patches.blend(
        torch.ones(2, 4, *SIZE), mine, mine.places, torch.zeros(box.shape), box, none
    )
    assert laid.covered.sum() == 0 and laid.warped.sum() == 0


def test_places_are_not_rounded_to_half_precision():
    parts = setting(seed=5)
    half = torch.autocast("cpu", torch.bfloat16)
    flow, step = smooth_flow(), torch.full((2, 2, *SIZE), 0.5)
    wanted = compose(flow, step), found(patches.windows, False, *parts)[1]
    with half:
        given = compose(flow, step.bfloat16()), found(patches.windows, False, *parts)[1]
    assert all(map(torch.equal, wanted, given))
    torch.manual_seed(0)
    model, batch = WarpingModel(CONFIG).eval(), triplets(1)
    with torch.no_grad(), half:
        warps = warps_of(model, batch)
    assert warps.flow.dtype == torch.float32
    assert not torch.equal(warps.flow, warps.flow.bfloat16().float())
    assert warps.fused.isfinite().all()


# --- fusion ---------------------------------------------------------------------------


def warps_of(model, batch, **options):
    return model(
        batch["image"],
        batch["garment"],
        batch["garment_mask"],
        links_of(batch),
        **options,
    )


def test_the_model_is_the_same_with_all_pixels_for_each_landmark():
    torch.manual_seed(0)
    model = WarpingModel(CONFIG).eval()
    batch = triplets(2)
    with torch.no_grad():
        fast, plain = warps_of(model, batch), warps_of(model, batch, plain=True)
    assert torch.allclose(fast.fused, plain.fused, atol=1e-4)
    assert torch.allclose(fast.flow, plain.flow, atol=1e-4)
    assert (fast.covered > 0.5).any()


def test_fusion_is_eq_5_and_global_where_there_is_no_patch():
    torch.manual_seed(0)
    model, batch = WarpingModel(CONFIG), triplets(2)
    with torch.no_grad():
        w = warps_of(model, batch)
        alone = batch | {"attribute": torch.zeros_like(batch["attribute"])}
        without = warps_of(model, alone)
    mixed = w.gate * w.by_global + (1 - w.gate) * w.by_local
    covered = (w.covered > 1e-3).expand_as(w.fused)
    assert torch.allclose(w.fused[covered], mixed[covered], atol=1e-4)
    assert torch.equal(without.fused, without.by_global)
    assert (without.gate == 1).all()
    white = without.by_local[:, :3]
    assert (white == 1).all() and (without.by_local[:, 3] == 0).all()


def test_hidden_and_absent_landmarks_do_not_touch_the_local_flow():
    torch.manual_seed(0)
    model, batch = WarpingModel(CONFIG).eval(), triplets(2)
    moved = batch["landmarks"].clone()
    moved[:, -2:] += 0.3
    with torch.no_grad():
        before, after = (
            model.local_flow(
                model.person(batch["image"], torch.zeros(2, 9, *SIZE)),
                model.garment(batch["garment"], torch.zeros(2, 9, *SIZE)),
                links_of(batch | {"landmarks": points}),
            )
            for points in (batch["landmarks"], moved)
        )
    assert torch.equal(before.flow, after.flow)
    assert not before.active[:, -2:].any() and before.active[:, :-2].any()


LOCALS = ["none", "fixed", "turning", "deformable", "released"]


@pytest.mark.parametrize("local", LOCALS)
def test_every_weight_that_is_used_gets_a_gradient(local):
    torch.manual_seed(0)
    config = replace(CONFIG, local=local)
    model, batch = WarpingModel(config), triplets(3)
    if local in ("deformable", "turning"):  # it starts at zero: no gradient passes
        torch.nn.init.normal_(model.local_flow.shapes.out.weight)
    target = torch.cat([batch["warped"], batch["target_mask"]], 1)
    cloth = torch.cat([batch["garment"], batch["garment_mask"]], 1)
    terms = warping_losses(
        warps_of(model, batch), cloth, target, links_of(batch), config
    )
    sum(terms.values()).backward()
    for name, weight in model.named_parameters():
        spared = (
            local == "none" and "attention" in name,
            local == "released" and ("raw_beta" in name or "shapes" in name),
        )
        if not any(spared):
            assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_each_ablation_of_patches_fixes_what_it_says():
    """``fixed`` sides and A; ``turning`` sides alone; ``deformable`` nothing."""
    batch, shapes = triplets(2), {}
    for local in ("fixed", "turning", "deformable"):
        torch.manual_seed(0)
        model = WarpingModel(replace(CONFIG, local=local))
        if local != "fixed":
            torch.nn.init.normal_(model.local_flow.shapes.out.weight)
        maps = torch.zeros(2, 9, *SIZE)
        with torch.no_grad():
            person = model.person(batch["image"], maps)
            garment = model.garment(batch["garment"], maps)
            shapes[local] = model.local_flow.shapes(person, garment, links_of(batch))
    sides = CONFIG.patch * torch.tensor([SIZE[1], SIZE[0]])
    for local, sized, turned in (
        ("fixed", False, False),
        ("turning", False, True),
        ("deformable", True, True),
    ):
        found = shapes[local]
        for each in (found.person, found.garment):
            assert torch.equal(each, sides.expand_as(each)) == (not sized), local
        still = torch.eye(2).expand_as(found.turns)
        assert torch.equal(found.turns, still) == (not turned), local


def test_the_masks_of_eq_9_are_squares_around_active_landmarks():
    batch = triplets(1)
    mask = landmark_mask(links_of(batch), CONFIG)
    count = int(links_of(batch).active.sum())
    side = CONFIG.patch * CONFIG.size
    assert 0.4 * count * side**2 < mask.sum() <= count * side**2
    assert (
        landmark_mask(
            links_of(batch)._replace(present=batch["visible"] & False), CONFIG
        ).sum()
        == 0
    )


def test_losses_are_zero_for_the_truth_and_grow_with_the_error():
    batch = triplets(2)
    flat = torch.cat([batch["garment"], batch["garment_mask"]], 1)
    model = WarpingModel(CONFIG)
    with torch.no_grad():
        w = warps_of(model, batch)
        target = torch.cat([batch["warped"], batch["target_mask"]], 1)
        perfect = w._replace(
            flows=[batch["flow"]], by_global=target, by_local=target, fused=target
        )
        terms = warping_losses(perfect, flat, target, links_of(batch), CONFIG)
        assert terms["global"] == terms["fused"] == terms["local"] == 0
        wrong = perfect._replace(by_local=target + 0.1)
        assert warping_losses(wrong, flat, target, links_of(batch), CONFIG)[
            "local"
        ].item() == pytest.approx(0.4, rel=1e-4)
