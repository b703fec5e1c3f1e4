"""SAL-VTON's landmarks, generator and the method that holds all stages."""

import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tryons import TINY, triplets

from lmlib.geometry import ThinPlateSpline, pixel_grid, to_pixels
from lmlib.heatmaps import gaussian_maps, hard_argmax
from lmlib.methods.salvton import Links, Salvton, SalvtonConfig, links_of, worn_garment
from lmlib.methods.salvton.flows import landmark_maps, warp
from lmlib.methods.salvton.generator import (
    Discriminator,
    Generator,
    Lasnl,
    generator_losses,
)
from lmlib.methods.salvton.landmarks import (
    Finder,
    around_peak,
    landmark_losses,
    map_loss,
)
from lmlib.methods.salvton.perception import comparison, gradient_pyramid
from lmlib.methods.salvton_baselines import spline_flow
from lmlib.samples import Stored
from lmlib.training import fit
from lmlib.tryon_metrics import end_point_error

# --- stage 1 --------------------------------------------------------------------------


def test_decoding_around_the_peak_finds_what_is_between_pixels():
    generator = torch.Generator().manual_seed(0)
    points = 1.4 * (torch.rand(20, 9, 2, generator=generator) - 0.5)
    heights = gaussian_maps(points, (24, 18), 1.0).clamp(1e-6, 1 - 1e-6)
    logits = torch.logit(heights)

    def far(found):
        return (to_pixels(found, (24, 18)) - to_pixels(points, (24, 18))).norm(dim=-1)

    assert far(around_peak(logits)).max() < 0.06
    assert far(hard_argmax(logits)).mean() > 0.3


def test_decoding_at_the_edge_stays_inside():
    logits = torch.full((1, 1, 8, 6), -5.0)
    logits[0, 0, 0, 5] = 5.0
    pixels = to_pixels(around_peak(logits), (8, 6))[0, 0]
    assert torch.allclose(pixels, torch.tensor([5.0, 0.0]), atol=1e-3)


def test_the_loss_of_maps_is_least_for_the_truth_and_skips_what_is_absent():
    points = torch.tensor([[[0.1, 0.2], [0.9, -0.9]]])
    known = torch.tensor([[True, False]])
    target = gaussian_maps(points, (12, 9), 1.0)
    right = torch.logit(target.clamp(1e-5, 1 - 1e-5))
    wrong = right.roll(3, 3)
    spoilt = right.clone()
    spoilt[0, 1] = 7.0  # the absent one's
    assert map_loss(wrong, points, known, 1.0) > 2 * map_loss(right, points, known, 1.0)
    same = map_loss(spoilt, points, known, 1.0), map_loss(right, points, known, 1.0)
    assert same[0] == same[1]
    nan = points.clone()
    nan[0, 1] = torch.nan
    assert map_loss(right, nan, known, 1.0) == same[1]


def test_the_person_is_conditioned_on_the_garments_landmarks():
    torch.manual_seed(0)
    finder, batch = Finder(TINY).eval(), triplets(2)
    found = finder(batch["image"], batch["garment"])
    assert found.garment_maps.shape == found.person_maps.shape == (2, 9, 16, 12)
    assert found.garment_attributes.shape == (2, 9, 2)
    assert found.person_attributes.shape == (2, 9, 3)
    wanted = found.person_maps.sum()
    wanted.backward()
    grads = finder.garment.maps.weight.grad
    assert grads.abs().sum() > 0  # L_g reaches L_p


def test_a_landmark_the_garment_lacks_is_absent_on_the_person():
    torch.manual_seed(0)
    found = Finder(TINY).eval()(*(triplets(2)[k] for k in ("image", "garment")))
    lacks = found.garment_attributes.argmax(-1) == 0
    assert lacks.any() and not lacks.all()
    links = found.links()
    assert (links.attribute[lacks] == 0).all() and torch.equal(links.present, ~lacks)


def test_stage_1_learns_four_triplets():
    torch.manual_seed(0)
    method = Salvton(replace(TINY, stages=("landmarks",), branches=(8, 16)))
    data = Stored.of(triplets(4))
    batch = data.batch(range(4))
    links = links_of(batch)

    def error():
        method.eval()
        found = method.landmarks_in(batch)
        return (found - batch["landmarks"])[links.attribute > 0].norm(dim=-1).mean()

    before = error().item()
    options = {"progress": False, "device": "cpu", "lr": 3e-3}
    fit(method, data, data.indices, 60, **options)
    assert error().item() < 0.4 * before
    found = method.find(batch["image"], batch["garment"])
    assert (found.attribute == links.attribute).float().mean() > 0.9
    assert (found.present == links.present).float().mean() > 0.9


def test_terms_of_stage_1_are_named_and_finite():
    torch.manual_seed(0)
    batch = triplets(3)
    found = Finder(TINY)(batch["image"], batch["garment"])
    terms = landmark_losses(found, links_of(batch), 1.0)
    assert set(terms) == {
        "garment_maps", "person_maps", "garment_attributes", "person_attributes"
    }  # fmt: skip
    assert all(term.isfinite() and term > 0 for term in terms.values())


# --- stage 3 --------------------------------------------------------------------------


def lasnl(gamma: float, beta: float, released=False):
    layer = Lasnl(3, 5, released)
    for part, value in ((layer.gamma, gamma), (layer.beta, beta)):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.constant_(part.bias, value)
    return layer


def test_eq_12_without_gamma_and_beta():
    x, maps = 3 + 2 * torch.randn(2, 3, 8, 6), torch.rand(2, 5, 16, 12)
    assert (lasnl(0, 0)(x, maps) == 0).all()  # as printed
    mean, deviation = x.mean((2, 3), keepdim=True), x.var((2, 3), False, keepdim=True)
    alone = (x - mean) / (deviation + 1e-5).sqrt()  # of each image and channel
    assert torch.allclose(lasnl(1, 0)(x, maps), alone, atol=1e-4)
    assert torch.allclose(lasnl(2, 0.5)(x, maps), 2 * alone + 0.5, atol=1e-4)
    mean = x.mean((0, 2, 3), keepdim=True)
    deviation = x.var((0, 2, 3), False, keepdim=True)
    batch = (x - mean) / (deviation + 1e-5).sqrt()  # of the batch, and 1 + gamma
    assert torch.allclose(lasnl(0, 0, released=True)(x, maps), batch, atol=1e-4)


def test_the_layer_acts_where_the_landmark_is():
    torch.manual_seed(0)
    layer, x = Lasnl(3, 5), torch.randn(1, 3, 16, 12)
    points = torch.zeros(1, 5, 2)
    attribute = torch.full((1, 5), 2)
    before = layer(x, landmark_maps(points, attribute, (16, 12), 3.0))
    attribute[0, 1] = 0
    after = layer(x, landmark_maps(points, attribute, (16, 12), 3.0))
    change = (after - before).abs().sum(1)[0]
    assert change[6:10, 4:8].min() > 0
    assert change[:4].max() == 0 and change[:, :2].max() == 0  # two 3x3 away


@pytest.mark.parametrize("decoder", ["lasnl", "released", "residual"])
def test_only_the_layer_sees_the_maps(decoder):
    torch.manual_seed(0)
    network = Generator(replace(TINY, decoder=decoder)).eval()
    person, garments = torch.rand(2, 3, 32, 24), torch.rand(2, 9, 32, 24)
    one, other = torch.zeros(2, 9, 32, 24), torch.ones(2, 9, 32, 24)
    made = network(person, garments, one)
    assert made.shape == person.shape and 0 <= made.min() and made.max() <= 1
    differs = not torch.equal(made, network(person, garments, other))
    assert differs == (decoder != "residual")


def test_each_side_of_the_game_has_its_own_gradient():
    torch.manual_seed(0)
    made, real = torch.rand(2, 3, 32, 24, requires_grad=True), torch.rand(2, 3, 32, 24)
    judge = Discriminator(TINY)
    weight = judge.scales[0][0][0].weight
    terms = generator_losses(made, real, judge)
    for name, (moves_image, moves_judge) in {
        "adversarial": (True, False),
        "feature_matching": (True, False),
        "discriminator": (False, True),
    }.items():
        grads = torch.autograd.grad(
            terms[name], [made, weight], retain_graph=True, allow_unused=True
        )
        moved = [grad is not None and bool(grad.abs().sum() > 0) for grad in grads]
        assert moved == [moves_image, moves_judge], name
    same = generator_losses(real, real, judge)
    assert same["feature_matching"] == 0


def test_the_pyramid_sees_a_shift_that_a_mean_does_not():
    ramp = torch.linspace(0, 1, 24).expand(1, 3, 32, 24)
    stripes = (torch.arange(24) % 4 < 2).float().expand(1, 3, 32, 24)
    assert gradient_pyramid(stripes, stripes) == 0
    shifted = gradient_pyramid(stripes, stripes.roll(1, 3))
    dimmed = gradient_pyramid(ramp, ramp + 0.5 * (stripes - stripes.roll(1, 3)).mean())
    assert shifted > 0.2 > dimmed


def test_features_of_imagenet_see_a_lost_texture_more_than_as_much_dimming():
    pytest.importorskip("efficientnet_lite_pytorch")
    distance = comparison("imagenet")
    checks = 0.3 + 0.4 * (pixel_grid(64, 48) * 16).floor().sum(-1).remainder(2)
    checks = checks.view(1, 1, 64, 48).expand(1, 3, 64, 48)
    blurred, brighter = torch.full_like(checks, 0.5), checks + 0.2
    l1 = [(x - checks).abs().mean().item() for x in (blurred, brighter)]
    assert l1 == pytest.approx([0.2, 0.2], abs=0.01)
    assert distance(checks, checks) == 0
    assert distance(blurred, checks) > 1.3 * distance(brighter, checks) > 0


def test_what_is_perceived_by_imagenet_needs_its_packages_at_once(monkeypatch):
    from lmlib import imagenet

    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    imagenet.features.cache_clear()
    with pytest.raises(ImportError, match="photos"):
        Salvton(replace(TINY, perceived="imagenet"))
    Salvton(TINY)  # by gradients, nothing is needed


def test_the_features_of_imagenet_reach_the_generator_and_stay_as_they_are():
    pytest.importorskip("efficientnet_lite_pytorch")
    from lmlib.imagenet import features

    plain = Salvton(replace(TINY, stages=("generator",)))
    method = Salvton(replace(plain.config, perceived="imagenet"))
    before = [x.clone() for x in features().state_dict().values()]
    method.train().losses(triplets(2))["generator_perceptual"].backward()
    assert method.renderer.out.weight.grad.abs().sum() > 0
    assert all(map(torch.equal, before, features().state_dict().values()))
    assert method.state_dict().keys() == plain.state_dict().keys()


# --- the method -----------------------------------------------------------------------


def trained(method, batch, steps, prepare=None, lr=2e-3):
    data = Stored.of(batch)
    options = {"progress": False, "device": "cpu", "lr": lr, "prepare": prepare}
    fit(method, data, data.indices, steps, **options)
    return method.eval()


def flow_error(method, batch, links):
    warps = method.warps(batch["image"], batch["garment"], batch["garment_mask"], links)
    found = end_point_error(warps.flow, batch["flow"], batch["target_mask"])
    return found.mean().item()


@pytest.mark.slow
def test_four_triplets_are_learned_and_permuted_landmarks_are_of_no_use():
    batch, torch_seed = triplets(4), 0

    def permuted(batch):
        return batch | {
            name: batch[name].roll(4, 1)
            for name in ("garment_landmarks", "garment_present")
        }

    errors = {}
    for name, prepare in (("right", None), ("permuted", permuted)):
        torch.manual_seed(torch_seed)
        config = replace(TINY, stages=("warps",), jitter=0.0, patch=0.15)
        method = Salvton(config)
        seen = prepare(batch) if prepare else batch
        before = flow_error(method.eval(), batch, links_of(seen))
        method.train()
        method = trained(method, batch, 80, prepare)
        errors[name] = before, flow_error(method, batch, links_of(seen))
    assert errors["right"][1] < 0.6 * errors["right"][0]
    assert errors["right"][1] < errors["permuted"][1]


def test_jitter_moves_landmarks_by_pixels_in_training_alone():
    method = Salvton(replace(TINY, stages=("warps",), jitter=1.5))
    links = links_of(triplets(200))
    near = method.jittered(links)
    for one, other in ((near.garment, links.garment), (near.person, links.person)):
        far = to_pixels(one, (32, 24)) - to_pixels(other, (32, 24))
        assert far.std(dim=(0, 1)).tolist() == pytest.approx([1.5, 1.5], rel=0.08)
    seen = []
    method.warper.register_forward_pre_hook(lambda _, given: seen.append(given[3]))
    batch = triplets(2)
    method.train().losses(batch)
    method.eval().losses(batch)
    assert not torch.equal(seen[0].person, batch["landmarks"])
    assert torch.equal(seen[1].person, batch["landmarks"])


@pytest.mark.parametrize(
    ("stages", "terms"),
    [
        (("landmarks",), {"person_maps", "garment_maps"}),
        (("warps",), {"global", "bending", "fused", "local"}),
        (("generator",), {"adversarial", "discriminator", "feature_matching"}),
        (("landmarks", "warps", "generator"), {"person_maps", "global", "adversarial"}),
    ],
)
def test_a_network_is_trained_in_the_stages_it_is_given(stages, terms):
    torch.manual_seed(0)
    method = Salvton(replace(TINY, stages=stages))
    found = method.losses(triplets(2))
    assert terms <= set(found)
    assert ("global" in found) == ("warps" in stages)
    sum(found.values()).backward()
    moved = {
        name.partition(".")[0]
        for name, weight in method.named_parameters()
        if weight.grad is not None and weight.grad.abs().sum() > 0
    }
    parts = {"landmarks": {"finder"}, "warps": {"warper"}}
    parts["generator"] = {"renderer", "discriminator"}
    assert moved == set().union(*(parts[stage] for stage in stages))


def test_a_discriminator_is_trained_beside_the_rest_with_its_own_rate():
    torch.manual_seed(0)
    method, batch = Salvton(replace(TINY, stages=("generator",))), triplets(4)
    before = {k: v.clone() for k, v in method.state_dict().items()}
    trained(
        method.train(), batch, 1, lr=1e-4
    )  # Adam's first step is as long as the rate
    name = "discriminator.scales.0.0.0.weight"
    other = "renderer.out.weight"
    after = method.state_dict()
    step = {k: (after[k] - before[k]).abs().median().item() for k in (name, other)}
    assert step[name] == pytest.approx(4e-4, rel=0.05)
    assert step[other] == pytest.approx(1e-4, rel=0.05)


def test_use_goes_through_all_stages():
    torch.manual_seed(0)
    method, batch = Salvton(TINY).eval(), triplets(2)
    given = batch["image"], batch["garment"], batch["garment_mask"]
    links = method.find(*given[:2])
    assert isinstance(links, Links)
    made = method.try_on(*given)
    assert made.shape == (2, 3, 32, 24)
    assert torch.equal(made, method.try_on(*given, links))
    hidden = links._replace(attribute=torch.zeros_like(links.attribute))
    assert not torch.equal(made, method.try_on(*given, hidden))
    for stages, call in (
        (("warps",), lambda m: m.find(*given[:2])),
        (("landmarks",), lambda m: m.warps(*given, links)),
        (("warps",), lambda m: m.try_on(*given, links)),
    ):
        with pytest.raises(ValueError, match="other stages"):
            call(Salvton(replace(TINY, stages=stages)))
    with pytest.raises(ValueError, match="needs images of both"):
        method.landmarks(batch["image"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 36}, "multiples of 8"),
        ({"size": 16, "widths": (8,)}, "size must be 32 or more"),
        ({"stages": ()}, "name each stage once"),
        ({"stages": ("warps", "warps")}, "name each stage once"),
        ({"patch": 0.3}, "below the largest"),
        ({"square": 0.0}, "square must be a share"),
        ({"widths": ()}, "must not be empty"),
    ],
)
def test_a_configuration_that_cannot_be_says_so(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


@pytest.mark.parametrize("preset", SalvtonConfig.presets())
def test_presets_can_be_built(preset):
    with torch.device("meta"):
        method = Salvton(SalvtonConfig.preset(preset))
    assert method.config.shape[1] * 4 == method.config.shape[0] * 3


def test_data_without_what_is_needed_is_refused():
    batch = triplets(1)
    assert Salvton.suited(TINY, batch).landmarks == 9
    del batch["target_mask"], batch["attribute"]
    with pytest.raises(
        ValueError, match="no attributes of landmarks, no masks of worn"
    ):
        Salvton.suited(TINY, batch)
    method = Salvton(replace(TINY, stages=("landmarks",)))
    with pytest.raises(ValueError, match="of all images"):
        method.pools(torch.arange(2), torch.tensor([True, False]))


# --- the spline -----------------------------------------------------------------------


def test_the_spline_goes_through_active_landmarks_only():
    batch = triplets(3)
    links = links_of(batch)
    flow = spline_flow(links, (32, 24))
    kept = links.active[0]
    alone = ThinPlateSpline.from_points(
        links.garment[:, kept], links.person[:, kept], 1e-3
    )
    wanted = alone.sampling_grid(32, 24).permute(0, 3, 1, 2)
    assert torch.allclose(flow, wanted, atol=1e-3)
    there = F.grid_sample(flow, links.person.unsqueeze(1), align_corners=False)
    there = there[:, :, 0].mT
    assert (there - links.garment)[links.active].abs().max() < 0.03
    error = end_point_error(flow, batch["flow"], batch["target_mask"])
    still = end_point_error(
        torch.zeros_like(flow)
        + spline_flow(links._replace(person=links.garment), (32, 24)),
        batch["flow"],
        batch["target_mask"],
    )
    assert (error < 0.6 * still).all()


def test_the_worn_garment_is_on_white():
    batch = triplets(1)
    worn = worn_garment(batch)
    assert torch.allclose(worn[:, :3], batch["warped"]) and worn.shape[1] == 4
    flat = torch.cat([batch["garment"], batch["garment_mask"]], 1)
    inside = batch["target_mask"].expand(-1, 4, -1, -1) > 0
    near = (warp(flat, batch["flow"]) - worn)[inside].abs()
    assert near.mean() < 0.05


# --- an image blended of what stays, of the garment and of what is drawn --------------


def blended(**changes):
    torch.manual_seed(0)
    return Generator(replace(TINY, output="blended", **changes))


def seen_by(generator, seed=3):
    g = torch.Generator().manual_seed(seed)
    height, width = TINY.shape
    person, garments = (torch.rand(2, n, height, width, generator=g) for n in (3, 9))
    maps = torch.rand(2, TINY.landmarks, height, width, generator=g)
    return person, garments, maps


def test_a_blend_lies_between_its_sources_pixel_by_pixel():
    generator = blended()
    person, garments, maps = seen_by(generator)
    drawn, shares = generator.parts(person, garments, maps)
    torch.testing.assert_close(shares.sum(1), torch.ones(2, *person.shape[2:]))
    made = generator(person, garments, maps)
    sources = torch.stack([person, garments[:, 6:], drawn])
    assert (made >= sources.amin(0) - 1e-6).all()
    assert (made <= sources.amax(0) + 1e-6).all()


@pytest.mark.parametrize("source", range(3))
def test_a_blend_can_take_over_any_of_its_sources(source):
    generator = blended()
    with torch.no_grad():
        generator.out.bias[3 + source] += 40
    person, garments, maps = seen_by(generator)
    wanted = (person, garments[:, 6:], generator.parts(person, garments, maps)[0])
    torch.testing.assert_close(generator(person, garments, maps), wanted[source])


def test_what_is_drawn_has_no_shares():
    torch.manual_seed(0)
    generator = Generator(TINY)
    given = seen_by(generator)
    drawn, shares = generator.parts(*given)
    assert shares is None and torch.equal(drawn, generator(*given))


def test_the_papers_size_is_hrnet_w48_twice():
    """136 million parameters as released; 1, 4 and 3 exchanges of 2, 3 and 4
    resolutions."""
    with torch.device("meta"):
        finder = Finder(SalvtonConfig.viton())
    assert [len(stage) for stage in finder.garment.stages] == [1, 4, 3]
    count = sum(weight.numel() for weight in finder.parameters())
    assert count == pytest.approx(136e6, rel=0.05)
