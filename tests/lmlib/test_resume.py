"""Killed anywhere, a run goes on and ends as if nothing had happened: all methods."""

from dataclasses import replace

import pytest
import torch
from tryons import triplets

from lmlib.layers import Rungs
from lmlib.methods.dve import DveConfig
from lmlib.methods.lmdis import LmdisConfig
from lmlib.methods.salvton import SalvtonConfig
from lmlib.methods.seqmt import SeqMtConfig
from lmlib.registry import METHODS
from lmlib.samples import Stored
from lmlib.training import fit

STEPS = 6
RUNGS = Rungs.mirrored(4, 6)
CONFIGS = {
    # Everything that depends on progress changes within six steps.
    "seqmt": replace(
        SeqMtConfig.blocks_class(),
        size=16,
        channels=4,
        kernels=(3, 3, 1),
        landmarks=3,
        classes=0,
        elt_delay=0.5,
        dropout=0.5,
        image_channels=3,
        augment="mild",
        batch_size=4,
    ),
    "lmdis": replace(
        LmdisConfig.faces_class(),
        size=16,
        canvas=20,
        landmarks=3,
        detector=RUNGS,
        features=RUNGS,
        decoder=RUNGS,
        shared=4,
        unpooled=4,
        descriptor=3,
        landmark_start=(0.2, 0.6),
        batch_size=4,
    ),
    "dve": replace(
        DveConfig.smallnet_class(),
        channels=4,
        widths=(4, 4, 4, 4, 8),
        frame=20,
        size=16,
        batch_size=4,
        landmarks=5,
    ),
    "salvton": SalvtonConfig(
        size=16,
        landmarks=4,
        branches=(4, 4),
        exchanges=1,
        stem=4,
        widths=(4, 4),
        fpn=4,
        flow_widths=(4,),
        matched=4,
        ngf=4,
        depth=2,
        batch_size=4,
    ),
}
LATE = {
    "seqmt": lambda method: method.elt_acts,
    "lmdis": lambda method: method.landmark_share > 0,
    "dve": lambda method: method.exchanging,
    "salvton": None,  # nothing changes
}


class Killed(BaseException):
    """The process is gone."""


def data(config):
    if isinstance(config, SalvtonConfig):
        return Stored.of(triplets(12, config.size, config.landmarks))
    generator = torch.Generator().manual_seed(0)
    side = config.frame
    return Stored.of(
        {
            "image": torch.rand(12, 3, side, side, generator=generator),
            "landmarks": torch.rand(12, config.landmarks, 2, generator=generator) - 0.5,
            "visible": torch.ones(12, config.landmarks, dtype=torch.bool),
        }
    )


def run(name, path, kill=None, every=2):
    """Train, die after ``kill`` steps, or end: the final network."""
    config = CONFIGS[name]
    torch.manual_seed(3)
    method, images = METHODS[name](config), data(config)

    def after(step, terms):
        if step == kill:
            raise Killed

    options = {"checkpoint": path, "save_every": every, "callback": after}
    fit(method, images, images.indices, STEPS, progress=False, device="cpu", **options)
    if kill == STEPS + 1:
        raise Killed  # saved for the last time, and not yet finished
    method.eval().finish(images, torch.arange(12))
    return method


def same(one, other) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kill", range(1, STEPS + 2))
@pytest.mark.parametrize("name", METHODS)
def test_a_run_killed_at_any_step_ends_with_the_same_network(name, kill, tmp_path):
    whole = run(name, None)
    path = tmp_path / "run.safetensors"
    with pytest.raises(Killed):
        run(name, path, kill)
    resumed = run(name, path)
    assert same(whole, resumed)
    assert whole.weights == resumed.weights
    if late := LATE[name]:
        assert late(whole) and late(resumed)


@pytest.mark.parametrize("name", METHODS)
def test_a_run_killed_again_and_again_ends_with_the_same_network(name, tmp_path):
    path = tmp_path / "run.safetensors"
    for kill in (1, 3, 4, STEPS + 1):
        with pytest.raises(Killed):
            run(name, path, kill, every=1)
    assert same(run(name, None), run(name, path))


@pytest.mark.parametrize("name", [name for name in METHODS if LATE[name]])
def test_what_depends_on_progress_is_a_function_of_progress(name):
    method = METHODS[name](CONFIGS[name])
    method.at(0.0)
    assert not LATE[name](method)
    method.at(1.0)
    assert LATE[name](method)
    method.at(0.0)  # nothing is remembered
    assert not LATE[name](method)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "run.seed 0, not 1"),
        ({"batch_size": 3}, "run.batch 4, not 3"),
        ({"about": {"data": "b"}}, "run.about.data 'a', not 'b'"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(changes, message, tmp_path):
    config, path = CONFIGS["dve"], tmp_path / "run.safetensors"
    images = data(config)

    def train(**options):
        method = METHODS["dve"](config)
        about = {"about": {"data": "a"}} | options
        fit(method, images, images.indices, 2, checkpoint=path, progress=False, **about)

    train()
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        train(**changes)
    assert path.read_bytes() == before
    config = replace(config, lr=2e-3)
    with pytest.raises(ValueError, match="config.lr 0.001, not 0.002"):
        train()
