"""``lmlib train salvton``, ``evaluate`` and ``tryon``, on drawn triplets."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from lmlib import cli, tryon_metrics
from lmlib.datasets import open_data
from lmlib.evaluation import nme
from lmlib.landmarker import load
from lmlib.methods.salvton import Salvton
from lmlib.tryon import tryon

SMALL = [
    "branches=(4, 8)", "exchanges=1", "stem=8", "widths=(8, 8, 8)", "fpn=8",
    "flow_widths=(8,)", "matched=4", "ngf=4", "depth=2", "batch_size=2",
]  # fmt: skip


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def fails(capsys, *arguments) -> str:
    """The one line a command that fails ends with."""
    capsys.readouterr()
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()[-1].removeprefix("lmlib: error: ")


def train(out, *more):
    words = ["--preset", "tryon_class", "--images", "0:4", "--steps", 2, "--out", out]
    words += [word for value in SMALL for word in ("--set", value)]
    assert run("train", "salvton", "--data", "scene:tryon", *words, *more) == 0
    return out


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """All three stages after two steps."""
    return train(tmp_path_factory.mktemp("salvton") / "all.safetensors")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A person and a garment as files, twice as large as the network sees them."""
    place = tmp_path_factory.mktemp("photos")
    batch = open_data("scene:tryon", "test", (128, 96)).batch(range(1))
    for name in ("image", "garment", "garment_mask"):
        pixels = (255 * batch[name][0]).byte().expand(3, -1, -1).permute(1, 2, 0)
        Image.fromarray(pixels.numpy()).save(place / f"{name}.png")
    return place


@pytest.fixture
def seen(monkeypatch):
    """What networks are given: person, garment and mask of each call."""
    given, made = [], Salvton.try_on

    def watched(self, *parts):
        given.append([part[0] for part in parts])
        return made(self, *parts)

    monkeypatch.setattr(Salvton, "try_on", watched)
    return given


def test_a_trained_network_says_what_it_is(trained):
    found = load(trained)
    assert found.config.stages == ("landmarks", "warps", "generator")
    assert found.config.shape == (64, 48) and found.config.landmarks == 32
    losses = found.metadata["losses"]
    assert {"person_maps", "global", "fused", "adversarial"} <= set(losses)


def test_evaluate_compares_landmarks_on_the_person(trained, capsys):
    assert run("evaluate", trained, "--test", "test:0:6") == 0
    said = capsys.readouterr().out
    batch = open_data("scene:tryon", "test", (64, 48)).batch(range(6))
    method = load(trained, "cpu").method
    found = method.find(batch["image"], batch["garment"]).person
    error = 100 * nme(found, batch["landmarks"], batch["visible"], "image_edge")
    assert f"error {error:.2f} % of image_edge on 6 images" in said


def test_evaluate_judges_the_images(trained, capsys):
    """As the metrics say of all images at once; whatever is known of the true ones."""
    assert run("evaluate", trained, "--test", "test:0:70", "--json") == 0
    found = json.loads(capsys.readouterr().out)["judged"]
    batch = open_data("scene:tryon", "test", (64, 48)).batch(range(70))
    method = load(trained, "cpu").method
    target, mask = batch["target"], batch["target_mask"]
    made = method.try_on(batch["image"], batch["garment"], batch["garment_mask"])
    wanted = {
        "psnr": tryon_metrics.psnr(made, target).mean().item(),
        "ssim": tryon_metrics.ssim(made, target).mean().item(),
        "psnr_garment": tryon_metrics.psnr(made, target, mask).nanmean().item(),
        "proxy_lpips": tryon_metrics.proxy_lpips(made, target).mean().item(),
        "proxy_fid": tryon_metrics.proxy_fid(made, target),
        "proxy_kid": tryon_metrics.proxy_kid(made, target),
    }
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-3)
    assert set(found) - set(wanted) == {"ssim_garment", "proxy_lpips_garment"}
    assert run("evaluate", trained, "--test", "test:0:6") == 0
    assert "images: psnr " in capsys.readouterr().out


def test_evaluate_judges_without_the_extras(trained, capsys, monkeypatch):
    def missing():
        raise ImportError("no module")

    monkeypatch.setattr(tryon_metrics.imagenet, "features", missing)
    assert run("evaluate", trained, "--test", "test:0:2", "--json") == 0
    found = json.loads(capsys.readouterr().out)["judged"]
    assert {*found} == {"psnr", "ssim", "psnr_garment", "ssim_garment"}


def test_a_stage_alone_is_not_judged(tmp_path, capsys):
    out = train(tmp_path / "a.safetensors", "--set", "stages=('landmarks',)")
    capsys.readouterr()
    assert run("evaluate", out, "--test", "test:0:2") == 0
    assert "images:" not in capsys.readouterr().out


def test_a_stage_alone_can_be_trained(tmp_path):
    out = train(tmp_path / "a.safetensors", "--set", "stages=('warps',)")
    names = [name for name, _ in load(out).method.named_children()]
    assert names == ["warper"]


def test_tryon_writes_what_the_network_makes(trained, photos, tmp_path, capsys):
    out = tmp_path / "new" / "made.png"
    given = trained, photos / "image.png", photos / "garment.png"
    words = ["--mask", photos / "garment_mask.png", "--out", out]
    assert run("tryon", *given, *words) == 0
    assert "48 x 64 pixels" in capsys.readouterr().out
    written = np.asarray(Image.open(out)).transpose(2, 0, 1) / 255
    method = load(trained, "cpu").method

    def small(name):
        image = Image.open(photos / name).resize((48, 64), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 255

    mask = (small("garment_mask.png")[:, :1] >= 0.5).float()
    flat = small("garment.png") * mask + 1 - mask
    made = method.try_on(small("image.png"), flat, mask)[0]
    assert np.abs(written - made.numpy()).max() < 1.5 / 255


def test_a_garment_on_white_needs_no_mask(trained, photos, tmp_path, seen):
    given = trained, photos / "image.png", photos / "garment.png"
    tryon(*given, tmp_path / "a.png", photos / "garment_mask.png", "cpu")
    tryon(*given, tmp_path / "b.png", device="cpu")
    (_, flat, mask), (_, guessed, found) = seen
    assert 100 < mask.sum() < 2000
    assert ((mask > 0) != (found > 0)).sum() < 0.15 * mask.sum()
    assert (flat - guessed).abs().mean() < 0.02
    ground = (found == 0).expand(3, -1, -1)
    assert (guessed[ground] == 1).all()


def test_a_wide_garment_is_seen_as_a_whole_and_a_wide_person_in_the_middle(
    trained, photos, tmp_path, seen
):
    person, garment = (Image.open(photos / f"{n}.png") for n in ("image", "garment"))
    wide = Image.new("RGB", (192, 128), "white")
    wide.paste(garment, (0, 0))
    wide.paste(garment, (96, 0))
    wide.save(tmp_path / "garment.png")
    beside = Image.new("RGB", (160, 128), "red")
    beside.paste(person, (32, 0))
    beside.save(tmp_path / "person.png")
    tryon(trained, photos / "image.png", photos / "garment.png", tmp_path / "a.png")
    names = (tmp_path / f"{name}.png" for name in ("person", "garment", "b"))
    tryon(trained, *names)
    (alone, flat, mask), (cut, two, both) = seen
    inner = (..., slice(1, -1))
    assert torch.allclose(alone[inner], cut[inner], atol=0.05)  # the red is cut away
    # two garments, half as wide and as high
    assert both.sum().item() == pytest.approx(mask.sum().item() / 2, rel=0.2)
    assert (both[0, :16] == 0).all() and both[0, :, :24].any() and both[0, :, 24:].any()
    assert two.shape == flat.shape


def test_errors_are_one_clear_sentence(trained, photos, tmp_path, capsys):
    person, garment = photos / "image.png", photos / "garment.png"
    out = ["--out", tmp_path / "a.png"]

    def error(*words):
        return fails(capsys, "tryon", *words)

    assert "no such checkpoint" in error(tmp_path / "no", person, garment, *out)
    missing = error(trained, tmp_path / "nobody.jpg", garment, *out)
    assert "nobody.jpg" in missing
    jpeg = ["--out", tmp_path / "a.jpg"]
    assert "a name like NAME.png" in error(trained, person, garment, *jpeg)
    grey = tmp_path / "grey.png"
    Image.open(garment).point(lambda v: v // 2).save(grey)
    assert "its ground is not white" in error(trained, person, grey, *out)
    Image.new("L", (96, 128)).save(tmp_path / "black.png")
    empty = error(trained, person, grey, "--mask", tmp_path / "black.png", *out)
    assert "shows no garment" in empty
    Image.new("L", (50, 60), 255).save(tmp_path / "other.png")
    size = error(trained, person, grey, "--mask", tmp_path / "other.png", *out)
    assert "is 50 x 60 pixels, but grey.png is 96 x 128" in size
    Image.new("RGB", (96, 128), "white").save(tmp_path / "white.png")
    assert "shows no garment" in error(trained, person, tmp_path / "white.png", *out)
    assert not (tmp_path / "a.png").exists()


def test_a_network_without_all_stages_is_refused(photos, tmp_path, capsys):
    warps = train(tmp_path / "w.safetensors", "--set", "stages=('warps',)")
    given = photos / "image.png", photos / "garment.png", "--out", tmp_path / "a.png"
    assert "this is one of warps" in fails(capsys, "tryon", warps, *given)


def test_data_without_garments_is_refused(tmp_path, capsys):
    words = ["--preset", "tryon_class", "--out", tmp_path / "a.safetensors"]
    said = fails(capsys, "train", "salvton", "--data", "scene:faces", *words)
    assert said == "scenes are square, got height and width (64, 48)"
