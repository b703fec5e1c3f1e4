"""Two processes with the same images a step end where one process does."""

import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from test_resume import CONFIGS, METHODS, data
from torch import nn

from lmlib import cli, processes, training
from lmlib.checkpoints import read, read_metadata
from lmlib.samples import Stored, labels_on
from lmlib.training import fit

STEPS = 6
# Everything that is drawn or looks at other images: dropout, augmentation, warps with
# landmarks, jitter, images without labels, auxiliaries of other pairs and of a pool,
# cells that do not count, mirrored images, a discriminator.
CASES = {
    "seqmt": replace(
        CONFIGS["seqmt"],
        classes=2,
        hidden=(8,),
        weight_equivariance=0.5,
        elt_delay=0.0,
        class_delay=0.0,
    ),
    "lmdis": replace(CONFIGS["lmdis"], landmark_start=(0.0, 0.1)),
    "dve": replace(CONFIGS["dve"], warm_up=0.2, auxiliaries=2),
    "dve pool": replace(CONFIGS["dve"], warm_up=0.2, auxiliaries=1, pool=2),
    "dve masks": replace(CONFIGS["dve"], warm_up=0.2, pairs="identity", frame=16),
    "dlan": CONFIGS["dlan"],
    "salvton": CONFIGS["salvton"],  # all three stages
}
# Networks with batch normalisation: of SALVTON, those that find landmarks and warp.
NORMED = ("lmdis", "dve", "salvton")


def images(config):
    stored, generator = data(config), torch.Generator().manual_seed(1)
    if "garment" in stored.all:  # triplets have all that they need
        return stored
    side = config.frame
    edge = torch.randint(2, side - 2, (12, 1, 1, 1), generator=generator)
    more = {"mask": (torch.arange(side) < edge).float().expand(-1, -1, side, -1)}
    more["label"] = torch.arange(12) % 2
    return Stored.of({**stored.all, **more})


def freeze_statistics(method):
    """Batch normalisation by its running statistics, the one thing processes do not
    share."""
    for module in method.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval().train = lambda mode=True, module=module: module


def flat(method):
    return torch.cat([p.detach().reshape(-1).clone() for p in method.parameters()])


def train(case, frozen, seed=0):
    """Start, end and history of a training of six steps."""
    config = CASES[case]
    torch.manual_seed(3)
    method, stored = METHODS[case.split()[0]](config), images(config)
    if frozen:
        freeze_statistics(method)
    begin = flat(method)
    pool, prepare = stored.indices, None
    if method.learns_landmarks:
        labelled = torch.arange(12) < (12 if case == "salvton" else 6)
        pool = method.pools(torch.arange(12), labelled)
        prepare = labels_on(labelled.nonzero().flatten(), 12)
    history = fit(
        method, stored, pool, STEPS, seed=seed, prepare=prepare, device="cpu",
        progress=False, log_every=1,
    )  # fmt: skip
    return {"begin": begin, "end": flat(method), "history": history}


def command(out, *more) -> list[str]:
    """A training of three steps."""
    return [
        *"train seqmt --data scene:faces --preset multipie_class --images 0:16".split(),
        *"--labels 50% --steps 3 --batch 4 --device cpu --set channels=4".split(),
        *["--set", "last_channels=4", "--set", "hidden=(4,)", "--out", str(out), *more],
    ]


def looked_for(case, **changes) -> bool:
    """Does a training look for weights without gradient in every step?"""
    asked, kept = [], training.DistributedDataParallel

    def wrapped(*words, find_unused_parameters):
        asked.append(find_unused_parameters)
        return kept(*words, find_unused_parameters=find_unused_parameters)

    training.DistributedDataParallel = wrapped
    before, CASES[case] = CASES[case], replace(CASES[case], **changes)
    try:
        train(case, False)
    finally:
        training.DistributedDataParallel, CASES[case] = kept, before
    return asked[0]


def worker(out: Path) -> None:
    """What each of the two processes does."""
    rank, _ = processes.start()
    made = {(case, True): train(case, True) for case in CASES}
    made |= {(case, False): train(case, False) for case in NORMED}
    made["unused"] = looked_for("lmdis"), looked_for("lmdis", weight_reconstruction=0.0)
    torch.save(made, out / f"rank{rank}.pt")
    two, said = out / "two.safetensors", []
    leave, processes.leave = processes.leave, lambda: None  # it goes on
    for words in (command(two), command(two), command(two, "--seed", "1")):
        with redirect_stdout(StringIO()) as print_, redirect_stderr(StringIO()) as more:
            status = cli.main(words)
        said.append((status, print_.getvalue(), more.getvalue()))
    made["files"] = sorted(path.name for path in out.iterdir())
    forced = cli.main(command(two, "--seed", "1", "--force", "--steps", "1"))
    torch.save({**made, "said": said, "forced": forced}, out / f"rank{rank}.pt")
    leave()


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_processes import worker
worker(Path({out!r}))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder in which two processes have worked."""
    out = tmp_path_factory.mktemp("two")
    script, tests = out.parent / "worker.py", str(Path(__file__).parent)
    script.write_text(WORKER.format(tests=tests, out=str(out)))
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*words, "--nproc_per_node=2", str(script)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def two(place):
    """What both of them ended with."""
    return [torch.load(place / f"rank{rank}.pt") for rank in (0, 1)]


def apart(one, other) -> float:
    """How far two trainings ended from each other, against the way they went.

    Adam makes small steps of rounding where a gradient is nearly zero, so ends are not
    compared number by number.
    """
    way = (one["end"] - one["begin"]).abs().mean()
    return float((one["end"] - other["end"]).abs().mean() / way)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_end_where_one_does(two, case):
    alone = train(case, frozen=True)
    first, second = (made[case, True] for made in two)
    assert torch.equal(first["end"], second["end"])
    assert torch.equal(first["begin"], alone["begin"])
    assert apart(alone, first) < 0.01
    assert apart(alone, train(case, frozen=True, seed=1)) > 0.1  # other draws
    for ours, theirs in zip(first["history"], alone["history"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("case", NORMED)
def test_batch_statistics_are_those_of_a_process(two, case):
    alone = train(case, frozen=False)
    first, second = (made[case, False] for made in two)
    assert torch.equal(first["end"], second["end"])
    assert 0.01 < apart(alone, first) < 1.5


def test_draws_belong_to_images():
    def drawn():
        generator = torch.Generator().manual_seed(0)
        one = processes.drawn(torch.rand, (2, 6 // count, 3), generator, dim=1)
        other = processes.drawn(torch.randn, (6 // count, 2), generator)
        torch.manual_seed(5)
        dropped = processes.Dropout(0.5)(torch.ones(6 // count, 50))
        return one.movedim(1, 0), other, dropped

    count = 1
    whole = drawn()
    for count in (2, 3):
        for rank in range(count):
            with processes.sharing(rank, count):
                for own, all_ in zip(drawn(), whole, strict=True):
                    assert torch.equal(own, all_[rank::count])
    count = 1
    assert all(map(torch.equal, drawn(), whole))  # and nothing is left behind


def test_what_cannot_be_shared_is_said(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="a batch of 16 cannot be shared by 3"):
        processes.start(16)
    method = METHODS["dve"](replace(CONFIGS["dve"], pool=2, batch_size=4))
    with processes.sharing(0, 3), pytest.raises(ValueError, match="a pool of 2"):
        method.losses(data(CONFIGS["dve"]).batch(range(4)))


def test_unused_weights_are_looked_for_only_where_there_are_any(two):
    assert two[0]["unused"] == two[1]["unused"] == (False, True)


def test_one_process_writes_and_all_end(two, place, tmp_path):
    first, second = (made["said"] for made in two)
    assert [status for status, *_ in first] == [status for status, *_ in second]
    (begun, told, _), (again, finished, _), (other, _, refused) = first
    assert begun == again == 0 and other == 2
    assert "3 steps, loss" in told and "is finished" in finished
    assert "made with other settings (seed 0, not 1)" in refused
    assert not any(told for _, told, _ in second)
    assert "two.safetensors" in two[0]["files"]
    assert not [name for name in two[0]["files"] if ".run." in name or "tmp" in name]
    assert two[0]["forced"] == two[1]["forced"] == 0
    made = read_metadata(place / "two.safetensors")
    assert made["settings"]["seed"] == 1 and made["steps"] == 1


def test_the_command_ends_where_one_process_does(place, tmp_path):
    alone = tmp_path / "one.safetensors"
    assert cli.main(command(alone, "--seed", "1", "--steps", "1")) == 0
    paths = alone, place / "two.safetensors"
    one, two = (read(path, "model.")[0] for path in paths)
    assert two.keys() == one.keys()
    for name in one:  # a step changes a weight by .006 at most
        if name != "model.maps.out.2.bias":  # moves no softmax: its gradient is noise
            assert (two[name] - one[name]).abs().mean() < 1e-4, name
    ours, theirs = (read_metadata(path)["losses"] for path in paths)
    assert ours == pytest.approx(theirs, rel=1e-3)
