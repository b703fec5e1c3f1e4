"""Bad input, all in one place: one clear error each, naming what came and what was
expected, and nothing lost."""

import json

import pytest
import torch
from safetensors.torch import save_file

from lmcourse.budget import budget
from lmcourse.evidence.results import append_rows, read_rows
from lmlib import geometry, heatmaps, samples, warps
from lmlib.checkpoints import load_checkpoint, save_checkpoint
from lmlib.methods.seqmt import SeqMt, SeqMtConfig
from lmlib.registry import configure, method_named
from lmlib.training import fit
from lmlib.values import read_changes
from lmscenes import Blocks, Shapes

CONFIG = SeqMtConfig(
    size=24, landmarks=2, classes=2, channels=4, kernels=(3, 3), hidden=(8,)
)


def method():
    return SeqMt(CONFIG)


def batch(**changes):
    return {**Shapes(24).batch(range(4)), **changes}


def nan_image():
    image = torch.zeros(4, 1, 24, 24)
    image[2, 0, 3, 3] = float("nan")
    return image


class Data:
    """A data set whose batches are wrong in one way."""

    def __init__(self, **changes):
        self.changes = changes

    def batch(self, indices, device=None):
        return {**Shapes(24).batch(indices, device), **self.changes}


def train(data=None, **options):
    options = {"batch_size": 4, "steps": 2, "progress": False, **options}
    return fit(method(), data or Shapes(24), range(8), **options)


CASES = {
    # wrong shapes
    "maps without a batch": (
        lambda: heatmaps.soft_argmax(torch.zeros(2, 8, 8)),
        r"\(B, K, H, W\), got \(2, 8, 8\)",
    ),
    "images without channels": (
        lambda: method().landmarks(torch.zeros(2, 24, 24)),
        r"expected images \(B, 1, H, W\).*got \(2, 24, 24\)",
    ),
    "colour images for a grey network": (
        lambda: method().landmarks(torch.zeros(2, 3, 24, 24)),
        r"\(B, 1, H, W\).*got \(2, 3, 24, 24\)",
    ),
    "points of three numbers": (
        lambda: geometry.to_pixels(torch.zeros(2, 5, 3), (8, 8)),
        r"dimension of 2, got \(2, 5, 3\)",
    ),
    "visibility of other landmarks": (
        lambda: samples.check_batch(batch(visible=torch.ones(4, 3, dtype=torch.bool))),
        r"batch\['visible'\] is \(4, 3\).*\(4, 2, 2\)",
    ),
    "labels of another batch": (
        lambda: samples.check_batch(batch(label=torch.zeros(3))),
        r"batch\['label'\] has \(3,\), expected 4",
    ),
    "a warp for another batch": (
        lambda: geometry.Affine.identity(2).image(torch.zeros(3, 1, 8, 8)),
        r"holds 2 maps.*got \(3, 1, 8, 8\)",
    ),
    "an affine map of full rank needed": (
        lambda: geometry.Affine(torch.zeros(1, 2, 3)),
        "determinant 0",
    ),
    "control points on a line": (
        lambda: geometry.ThinPlateSpline.from_points(
            torch.tensor([[[0.0, 0], [0.5, 0], [1, 0]]]),
            torch.tensor([[[0.0, 0], [0.5, 0], [1, 0]]]),
        ),
        "on one line",
    ),
    # empty batches, K = 0
    "empty batch of images": (
        lambda: method().landmarks(torch.zeros(0, 1, 24, 24)),
        r"not empty, got \(0, 1, 24, 24\)",
    ),
    "empty list of indices": (
        lambda: Shapes().batch([]),
        "non-empty list of integers",
    ),
    "negative index": (lambda: Blocks().batch([3, -1]), "must not be negative, got -1"),
    "fractional index": (
        lambda: Shapes().batch([0.5]),
        r"integers, got \(1,\) torch.float32",
    ),
    "no maps (K = 0)": (
        lambda: heatmaps.soft_argmax(torch.zeros(2, 0, 8, 8)),
        r"must not be empty, got \(2, 0, 8, 8\)",
    ),
    "no landmarks (K = 0)": (
        lambda: samples.check_batch(
            batch(landmarks=torch.zeros(4, 0, 2), visible=torch.zeros(4, 0))
        ),
        r"\(B, K, 2\) with K >= 1, got \(4, 0, 2\)",
    ),
    "a batch without images": (
        lambda: samples.check_batch({"label": torch.zeros(4)}),
        r"needs an 'image'; this one holds \['label'\]",
    ),
    "a share of more than all": (
        lambda: samples.class_balanced_subset(torch.zeros(4), 1.5),
        r"share must be in \(0, 1\], got 1.5",
    ),
    # NaN images
    "NaN image in a batch": (
        lambda: samples.check_batch(batch(image=nan_image())),
        r"NaN or infinity in images \[2\]",
    ),
    "NaN image in training": (
        lambda: train(Data(image=nan_image())),
        r"NaN or infinity in images \[2\]",
    ),
    # settings
    "no steps": (lambda: train(steps=0), "steps must be positive, got 0"),
    "scene too small": (lambda: Shapes(4), "at least 8x8 pixels, got 4"),
    "unknown warp preset": (
        lambda: warps.seqmt_affine(2, "feet"),
        "unknown preset 'feet'; expected one of .*'blocks'",
    ),
    "unknown method preset": (
        lambda: SeqMtConfig.preset("shape"),
        "unknown preset 'shape'; expected one of .*'shapes'",
    ),
    "unknown start": (
        lambda: SeqMt(SeqMtConfig(**{**vars(CONFIG), "start": "warm"})),
        r"start must be one of 'plain', 'comparing', 'mirrored', got 'warm'",
    ),
    "negative sigma": (
        lambda: heatmaps.gaussian_maps(torch.zeros(1, 1, 2), (8, 8), -1),
        "sigma must be positive, got -1",
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_gives_one_clear_error(name):
    function, expected = CASES[name]
    with pytest.raises(ValueError, match=expected) as caught:
        function()
    assert "\n" not in str(caught.value)


def truncated(path):
    save_checkpoint(path, method())
    path.write_bytes(path.read_bytes()[:-40])


def empty(path):
    path.write_bytes(b"")


def pickled(path):
    torch.save(method().state_dict(), path)


def foreign(path):
    save_file({"weight": torch.zeros(3)}, path)


def other_network(path):
    save_checkpoint(path, SeqMt(SeqMtConfig(**{**vars(CONFIG), "channels": 5})))


def other_depth(path):
    save_checkpoint(path, SeqMt(SeqMtConfig(**{**vars(CONFIG), "kernels": (3, 3, 3)})))


@pytest.mark.parametrize(
    "make, expected",
    [
        (truncated, "truncated or not a safetensors file"),
        (empty, "truncated or not a safetensors file"),
        (pickled, "truncated or not a safetensors file"),
        (foreign, "not a checkpoint of this lmlib"),
        (other_network, r"another network .*SeqMt with SeqMtConfig"),
        (other_depth, r"another network .*tensors differ"),
    ],
)
def test_bad_checkpoint_names_the_file_and_is_left_alone(tmp_path, make, expected):
    path = tmp_path / "weights.safetensors"
    make(path)
    before = path.read_bytes()
    fresh = method()
    weights = {k: v.clone() for k, v in fresh.state_dict().items()}
    with pytest.raises(ValueError, match=expected) as caught:
        load_checkpoint(path, fresh)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    after = fresh.state_dict()
    assert all(torch.equal(weights[k], after[k]) for k in weights)


def test_missing_checkpoint_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.safetensors"):
        load_checkpoint(tmp_path / "nothing.safetensors", method())


@pytest.mark.parametrize("damage", [truncated, foreign])
def test_training_never_overwrites_a_checkpoint_it_cannot_read(tmp_path, damage):
    path = tmp_path / "run.safetensors"
    damage(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="run.safetensors"):
        train(checkpoint=path)
    assert path.read_bytes() == before


def test_resuming_weights_only_or_another_seed_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_checkpoint(path, method())
    with pytest.raises(ValueError, match="weights only and cannot be resumed"):
        train(checkpoint=path)
    run = tmp_path / "run.safetensors"
    train(checkpoint=run, seed=1)
    with pytest.raises(ValueError, match="run.seed 1, not 2"):
        train(checkpoint=run, seed=2)


ROW = {
    "experiment": "toy",
    "setting": "a",
    "seed": 0,
    "metric": "accuracy",
    "value": 0.5,
    "steps": 1,
    "device": "cpu",
    "versions": {},
    "commit": None,
    "seconds": 1.0,
}


@pytest.mark.parametrize(
    "line",
    [
        '{"experiment": "toy", "setting"',
        "not json",
        json.dumps({**ROW, "value": "high"}),
        json.dumps({k: v for k, v in ROW.items() if k != "metric"}),
        json.dumps({**ROW, "colour": "red"}),
    ],
)
def test_results_file_with_a_broken_line(tmp_path, line):
    from lmcourse.evidence.results import Row

    append_rows([Row(**ROW)], tmp_path)
    path = tmp_path / "toy.jsonl"
    broken = path.read_text() + line + "\n" + json.dumps({**ROW, "seed": 1}) + "\n"
    path.write_text(broken)
    with pytest.raises(ValueError, match=r"toy.jsonl:2: .*expected a JSON object"):
        read_rows("toy", tmp_path)
    assert path.read_text() == broken


def test_unknown_budget(monkeypatch):
    monkeypatch.setenv("LMLIB_BUDGET", "huge")
    with pytest.raises(ValueError, match="huge"):
        budget(quick=1, class_=2, full=3)


@pytest.mark.parametrize(
    ("method", "preset", "words", "message"),
    [
        (
            "seqmt",
            "shapes_class",
            "elt_images=everything",
            "one of 'unlabelled', 'all'",
        ),
        ("lmdis", "faces_class", "raised=(0.3,)", "raised must be"),
        ("lmdis", "faces_class", "raised=((0.3,),)", "raised must be"),
        ("salvton", "tryon_class", "output=painted", "one of 'drawn', 'blended'"),
        ("salvton", "tryon_class", "perceived=vgg", "one of 'gradients', 'imagenet'"),
    ],
)
def test_an_unknown_choice_is_refused_before_anything_is_trained(
    method, preset, words, message
):
    with pytest.raises(ValueError, match=message):
        kind = method_named(method).Config
        configure(method, preset, read_changes([words], kind))
