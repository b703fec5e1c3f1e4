"""The training loop: exact resume, honest failure, several processes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch

from lmlib import training
from lmlib.checkpoints import (
    load_checkpoint,
    read_metadata,
    save_checkpoint,
    write,
)
from lmlib.files import replacing
from lmlib.machine import best_device
from lmlib.methods.seqmt import SeqMt, SeqMtConfig
from lmlib.schedules import constant_then_decay
from lmlib.training import TrainingError, fit
from lmscenes import Shapes

CONFIG = SeqMtConfig(
    size=24,
    landmarks=2,
    classes=2,
    channels=4,
    kernels=(3, 3),
    hidden=(8,),
    dropout=0.3,
    weight_landmark=0.1,
    weight_equivariance=0.1,
)


# Without anything random in a step, two processes must equal one.
PLAIN = replace(CONFIG, dropout=0.0, weight_equivariance=0.0)


def new_method(seed=0, config=CONFIG):
    torch.manual_seed(seed)
    return SeqMt(config)


def train(method, steps=12, **options):
    options = {"batch_size": 16, "log_every": 1, "progress": False, **options}
    return fit(method, Shapes(24), range(100), steps, lr=1e-2, device="cpu", **options)


def same_weights(a, b):
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_training_learns_where_the_landmarks_are():
    method = new_method()
    history = train(method, steps=60, batch_size=32)
    assert history[-1]["landmark"] < 0.7 * history[0]["landmark"]


def test_same_seed_same_weights_other_seed_other_weights():
    runs = []
    for seed in (0, 0, 1):
        method = new_method()
        train(method, seed=seed)
        runs.append(method)
    assert same_weights(runs[0], runs[1])
    assert not same_weights(runs[0], runs[2])


WORKER = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_training import new_method, train
def killed(step, terms):
    if step == 8:
        os.kill(os.getpid(), signal.SIGKILL)  # no clean-up, no goodbye
train(new_method(), checkpoint={path!r}, save_every=5, callback=killed)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_killed_run_resumes_to_the_same_weights_bit_for_bit(tmp_path):
    path = tmp_path / "run.safetensors"
    script = WORKER.format(tests=os.path.dirname(__file__), path=str(path))
    result = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()
    assert read_metadata(path)["step"] == 5  # killed at 8, saved at 5

    resumed, straight = new_method(seed=99), new_method()
    history = train(resumed, checkpoint=path, save_every=5)
    whole = train(straight)
    assert same_weights(resumed, straight)
    assert history == whole  # rows 1 to 5 come from the file
    assert [row["step"] for row in history] == list(range(1, 13))


def test_resume_continues_the_learning_rate_and_more_steps(tmp_path):
    path = tmp_path / "run.safetensors"
    schedule = constant_then_decay(12, share=0.5)
    train(new_method(), steps=4, checkpoint=path, schedule=schedule)
    resumed, straight = new_method(seed=5), new_method()
    train(resumed, steps=12, checkpoint=path, schedule=schedule)
    train(straight, steps=12, schedule=schedule)
    assert same_weights(resumed, straight)
    other = new_method()
    train(other, steps=12)  # negative control: without the schedule it differs
    assert not same_weights(other, straight)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_or_infinity_stops_with_the_step_and_the_term(tmp_path, bad):
    path = tmp_path / "run.safetensors"
    method, losses = new_method(), SeqMt.losses

    def broken(batch):
        terms = losses(method, batch)
        broken.calls += 1
        if broken.calls == 7:
            terms["equivariance"] = terms["equivariance"] * bad
        return terms

    broken.calls = 0
    method.losses = broken
    with pytest.raises(TrainingError, match=r"step 7: the loss term 'equivariance'"):
        train(method, checkpoint=path, save_every=3)
    assert read_metadata(path)["step"] == 6
    assert all(torch.isfinite(p).all() for p in method.parameters())


DISTRIBUTED = """
import os, sys, torch
sys.path.insert(0, {tests!r})
import torch.distributed as dist
from test_training import PLAIN, new_method, train
method = new_method(config=PLAIN)
history = train(method, steps=5)
rank = dist.get_rank() if dist.is_initialized() else 0
flat = torch.cat([p.detach().flatten() for p in method.parameters()])
torch.save(flat, os.path.join({out!r}, f"rank{{rank}}.pt"))
if dist.is_initialized():
    dist.destroy_process_group()
"""


def test_two_processes_stay_in_step_and_average_their_gradients(tmp_path):
    script = tmp_path / "worker.py"
    out = tmp_path / "out"
    out.mkdir()
    tests = os.path.dirname(__file__)
    script.write_text(DISTRIBUTED.format(tests=tests, out=str(out)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, env=environment, timeout=240)
    assert result.returncode == 0, result.stderr.decode()[-2000:]
    first, second = (torch.load(out / f"rank{rank}.pt") for rank in (0, 1))
    assert torch.equal(first, second)
    alone = new_method(config=PLAIN)
    start = torch.cat([p.detach().flatten() for p in alone.parameters()])
    train(alone, steps=5)
    alone = torch.cat([p.detach().flatten() for p in alone.parameters()])
    # Adam turns rounding into small steps where a gradient is nearly zero, so compare
    # with the way travelled, not with the weights.
    assert (first - alone).abs().mean() < 0.01 * (first - start).abs().mean()


def test_checkpoint_carries_its_metadata_and_survives_a_failed_write(
    tmp_path, monkeypatch
):
    path = tmp_path / "shapes.safetensors"
    method = new_method()
    save_checkpoint(path, method, seed=3, metrics={"accuracy": 0.99})
    assert read_metadata(path)["metrics"] == {"accuracy": 0.99}
    before = path.read_bytes()

    def full(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr("lmlib.checkpoints.save", full)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, new_method(1))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["shapes.safetensors"]
    other = new_method(1)
    load_checkpoint(path, other)
    assert same_weights(method, other)


def test_a_checkpoint_in_writing_has_a_name_that_the_next_write_knows(tmp_path):
    """safetensors' own save_file writes to .tmpXXXXXX first; a kill leaves that."""
    seen, done = set(), threading.Event()

    def watch():
        while not done.is_set():
            seen.update(os.listdir(tmp_path))

    watcher = threading.Thread(target=watch)
    watcher.start()
    write(tmp_path / "large.safetensors", {"x": torch.zeros(2**24)}, {"kind": "run"})
    done.set()
    watcher.join()
    own = {name for name in seen if name.startswith(".lmlib-")}
    assert len(own) == 1 and seen - own <= {"large.safetensors"}


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    path = tmp_path / "shapes.safetensors"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with replacing(path) as temporary:
        temporary.write_bytes(b"x")
        own = temporary.name
    for process in (gone.pid, os.getpid()):
        left = own.replace(f"-{os.getpid()}-", f"-{process}-")
        (tmp_path / left.replace(".tmp", "0.tmp")).touch()
    other = tmp_path / own.replace(".lmlib-", ".lmlib-0").replace(
        f"-{os.getpid()}-", f"-{gone.pid}-"
    )
    other.touch()  # of another file: whoever writes that one will see to it
    save_checkpoint(path, new_method())
    here = {p.name for p in tmp_path.iterdir()}
    assert here == {path.name, other.name, own.replace(".tmp", "0.tmp")}


def test_callback_can_stop_and_device_is_found():
    history = train(new_method(), callback=lambda step, terms: step == 3)
    assert history[-1]["step"] == 3
    assert best_device().type in {"cpu", "cuda", "mps"}


@pytest.mark.parametrize("asked, half", [(None, False), ("bfloat16", True)])
def test_the_cpu_trains_in_float32_unless_asked(asked, half, monkeypatch):
    monkeypatch.delenv("LMLIB_PRECISION", raising=False)
    if asked:
        monkeypatch.setenv("LMLIB_PRECISION", asked)
    seen = []
    method = new_method()
    last = [layer for layer in method.maps if isinstance(layer, torch.nn.Conv2d)][-1]
    last.register_forward_hook(lambda module, x, y: seen.append(y.dtype))
    train(method, steps=1)
    assert set(seen) == {torch.bfloat16 if half else torch.float32}
    assert all(weight.dtype == torch.float32 for weight in method.parameters())


def test_an_unknown_precision_is_named(monkeypatch):
    monkeypatch.setenv("LMLIB_PRECISION", "half")
    with pytest.raises(ValueError, match="float32 or bfloat16, got 'half'"):
        train(new_method(), steps=1)


def test_a_killed_run_leaves_no_half_written_file(tmp_path):
    """Kill at random moments while saving every step: the file is always whole."""
    path = tmp_path / "run.safetensors"
    script = WORKER.format(tests=os.path.dirname(__file__), path=str(path))
    script = script.replace("if step == 8", "if False").replace(
        "save_every=5", "save_every=1, steps=100000"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.time() + 120
    while not path.exists() and time.time() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.kill()
    process.wait()
    metadata = read_metadata(path)
    assert metadata["kind"] == "run" and metadata["step"] >= 1
    assert json.dumps(metadata["history"])


def draws(seed, steps=4, path=None, stop=None):
    """What torch and the method's own generator draw in each step."""
    seen = {}

    class Drawing(SeqMt):
        def augment(self, batch):
            seen[drawn] = (torch.rand(3), torch.rand(3, generator=self.generator))
            return batch

        def at(self, progress):
            nonlocal drawn
            drawn = round(progress * steps)

    drawn = 0
    torch.manual_seed(0)
    options = {"checkpoint": path, "save_every": 1}
    train(Drawing(CONFIG), steps, seed=seed, callback=lambda n, _: n == stop, **options)
    return seen


def test_every_step_of_every_seed_draws_its_own_numbers(tmp_path):
    every = {seed: draws(seed) for seed in (0, 1, 2)}
    flat = [
        tuple(numbers.tolist())
        for seen in every.values()
        for pair in seen.values()
        for numbers in pair
    ]
    # In a step torch's numbers and the method's are the same; nothing else is.
    assert len(set(flat)) == len(flat) // 2 == 12
    path = tmp_path / "run.safetensors"
    begun, rest = draws(2, path=path, stop=2), draws(2, path=path)
    assert [*begun, *rest] == [0, 1, 2, 3]
    for step, numbers in (begun | rest).items():
        assert all(map(torch.equal, numbers, every[2][step]))
    # Rows of results are of these numbers: another seeding would be other runs.
    assert every[2][3][0].tolist() == pytest.approx([0.6095724, 0.3002981, 0.1007309])


class Ahead:
    """Shapes, and a record of what is asked for and what is announced."""

    def __init__(self):
        self.scene, self.asked, self.announced = Shapes(24), [], []

    def batch(self, indices, device=None):
        self.asked.append(indices.tolist())
        return self.scene.batch(indices, device)

    def prefetch(self, indices):
        self.announced.append((len(self.asked), indices.tolist()))


def test_the_images_of_the_next_step_are_announced_while_this_one_runs():
    data = Ahead()
    fit(new_method(), data, range(100), 4, batch_size=16, progress=False, device="cpu")
    assert len(data.asked) == 4
    # After the images of a step were taken, those of the next, and after the last none.
    assert data.announced == [(n, data.asked[n]) for n in (1, 2, 3)]
    assert len({*data.asked[0], *data.asked[1]}) == 32


def test_the_rate_of_a_step_is_the_schedules(monkeypatch):
    rates = []
    step = torch.optim.Adam.step

    def stepped(self, *arguments, **options):
        rates.append([group["lr"] for group in self.param_groups])
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", stepped)
    train(new_method(), 4, schedule=lambda step: (1.0, 0.5, 0.25, 2.0)[step])
    assert rates == [[1e-2], [5e-3], [2.5e-3], [2e-2]]


def test_the_method_is_told_how_far_the_training_is(tmp_path, monkeypatch):
    seen, path = [], tmp_path / "run.safetensors"
    monkeypatch.setattr(SeqMt, "at", lambda self, progress: seen.append(progress))
    train(new_method(), 4, checkpoint=path)
    assert seen == [0, 0.25, 0.5, 0.75, 1]
    train(new_method(), 4, checkpoint=path)  # nothing to do: and yet it is told
    assert seen[5:] == [1]


def test_each_of_several_pools_gives_as_many_images_as_one():
    method = new_method()
    one = training._options(method, range(9), 5, {}).batch_size
    both = training._options(method, (range(9), range(9)), 5, {}).batch_size
    assert one == method.fit_options(5).batch_size and both == 2 * one
    method.config = replace(method.config, batch_size=6)
    assert training._options(method, (range(9),) * 3, 5, {}).batch_size == 18
