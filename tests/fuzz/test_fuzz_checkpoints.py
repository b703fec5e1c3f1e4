"""Checkpoints, configurations, words of the command line and photographs to try on,
damaged in every way (see ``fuzzing.py``)."""

import json
import warnings
from dataclasses import replace

import pytest
import torch
from fuzzing import MARKS, NUMBERS, TOKENS, damage, damaged, encoded, fuzz, holds, put
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from lmlib import recipes
from lmlib import tryon as trying
from lmlib.checkpoints import read_metadata, resume_run, save_checkpoint, save_run
from lmlib.landmarker import load
from lmlib.layers import Rungs
from lmlib.methods.dlan import DlanConfig
from lmlib.methods.dve import DveConfig
from lmlib.methods.lmdis import LmdisConfig
from lmlib.methods.salvton import Salvton, SalvtonConfig
from lmlib.methods.seqmt import SeqMtConfig
from lmlib.registry import METHODS, configure, read_settings
from lmlib.texts import as_range, read_images, read_share

pytestmark = pytest.mark.filterwarnings("ignore")

RUNGS = Rungs.mirrored(4, 6)
SMALL = {
    "seqmt": replace(
        SeqMtConfig.multipie_class(),
        size=32, channels=4, last_channels=4, hidden=(4,), levels=2,
    ),
    "lmdis": replace(
        LmdisConfig.faces_class(),
        size=16, canvas=20, landmarks=3, detector=RUNGS, features=RUNGS,
        decoder=RUNGS, shared=4, unpooled=4, descriptor=3,
    ),
    "dve": replace(
        DveConfig.smallnet_class(),
        channels=4, widths=(4, 4, 4, 4, 8), frame=20, size=16, landmarks=5,
    ),
    "dlan": replace(
        DlanConfig.garments64(),
        size=16, stages=((4,),) * 5, landmarks=4, patch=4, hidden=(8,),
    ),
    "salvton": SalvtonConfig(
        size=32, landmarks=4, branches=(4,), exchanges=1, stem=4, widths=(4,), fpn=4,
        flow_widths=(4,), matched=4, ngf=4, depth=1,
    ),
}  # fmt: skip

# --- checkpoints ----------------------------------------------------------------------

VALUES = [b"null", b"true", b"{}", b"[]", b"[[]]", b'"a"', b"NaN", b"-1", b"1e999"]
VALUES += [b"0", b"3", b"64", b"1000000", b"10000000000", b"[4, 4, 4]", b"[1e9, 4]"]
VALUES += [b"[" * 3000, b'{"a":' * 3000, b'"\\ud800"', *NUMBERS]


def split(path) -> tuple[dict, bytes]:
    """Head and numbers of a safetensors file."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def joined(head: dict, text: bytes, numbers: bytes) -> bytes:
    """The file again, with other metadata of ours; what is no text is replaced."""
    head = {**head, "__metadata__": {"lmlib": text.decode("utf-8", "replace")}}
    encoded = json.dumps(head).encode()
    return len(encoded).to_bytes(8, "little") + encoded + numbers


class Files(dict):
    """Heads and numbers by name; shown by their names."""

    def __repr__(self):
        return f"Files({', '.join(self)})"


@pytest.fixture(scope="module")
def files(place):
    """A network of each method, and an unfinished run."""
    made = Files()
    for name, config in SMALL.items():
        path = save_checkpoint(place / "good.safetensors", METHODS[name](config))
        made[name] = split(path)
    method, optimizer = small_run()
    about = {"seed": 0, "batch": 4, "about": {"method": "dve", "changes": {}}}
    sum(p.sum() for p in method.parameters()).backward()
    optimizer.step()
    save_run(path, method, optimizer, about, 1, [{"step": 1, "loss": 0.5}])
    made["run"] = split(path)
    return made


class One(nn.Module):
    """The smallest network that can be trained."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))


def small_run():
    method = One()
    return method, torch.optim.Adam(method.parameters())


def one_value(seed: int, text: str) -> bytes:
    """Metadata with one value, or one of the configuration, in place of another."""
    record, choose = json.loads(text), seed // 7
    inside = record.get("config") or record.get("run")
    place = record if seed % 5 == 0 else inside
    name = [*place][choose % len(place)]
    place[name] = "HERE"
    value = VALUES[choose // 100 % len(VALUES)]
    return json.dumps(record).encode().replace(b'"HERE"', value, 1)


SEEDS = st.integers(0, 2**40)


@fuzz(st.sampled_from([*METHODS]), SEEDS, st.booleans(), share=0.2)
def test_networks(place, files, name, seed, whole):
    head, numbers = files[name]
    text = head["__metadata__"]["lmlib"]
    if seed % 3 == 0:
        content = damage(seed, [joined(head, text.encode(), numbers)])
    elif whole:
        content = joined(head, damage(seed, [text.encode()], VALUES), numbers)
    else:
        content = joined(head, one_value(seed, text), numbers)
    path = put(place / "a.safetensors", content)
    said = holds(lambda: read_metadata(path), path)
    assert said is None or isinstance(said, dict)
    found = holds(lambda: load(path, "cpu"), path)
    if found is not None:
        shapes = {k: v.shape for k, v in found.method.state_dict().items()}
        wanted = {k[6:]: tuple(v["shape"]) for k, v in head.items() if "model." in k}
        assert shapes == wanted


@fuzz(SEEDS, st.booleans(), share=0.5)
def test_unfinished_runs(place, files, seed, whole):
    head, numbers = files["run"]
    text = head["__metadata__"]["lmlib"]
    changed = damage(seed, [text.encode()], VALUES) if whole else one_value(seed, text)
    path = put(place / "a.run.safetensors", joined(head, changed, numbers))
    about = json.loads(text)["run"]
    found = holds(lambda: resume_run(path, *small_run(), about), path)
    if found is not None:
        step, history = found
        assert type(step) is int and step >= 0
        assert all(isinstance(row, dict) for row in history)
    out, wanted = place / "a.safetensors", about["about"]
    out.unlink(missing_ok=True)
    put(out, b"") if seed % 4 == 0 else None
    found = holds(lambda: recipes.finished(out, path, wanted, False), path, out)
    assert found in (None, False)


# --- words ----------------------------------------------------------------------------

SETS = [f"{name}={value!r}".encode() for config in SMALL.values()
        for name, value in vars(config).items()]  # fmt: skip
PYTHON = [b"()", b"(4,)", b"((4,),)", b"(" * 3000, b"'a'", b"None", b"1j", b"-", b"{1}",
          b"True", b"__import__('os')", b"1" + b"0" * 400, b"\\ud800", b"=", b"f'{1}'",
          b"lambda:1", b"4.5", b"1e999", *NUMBERS, *MARKS]  # fmt: skip


@fuzz(damaged(*SETS, tokens=PYTHON), st.sampled_from([*METHODS]), share=2)
def test_set_texts(content, name):
    text = content.decode("utf-8", "surrogateescape")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        changes = holds(lambda: read_settings(name, [text]), "--set ")
    if changes:
        (field,) = changes
        preset = METHODS[name].Config.presets()[0]
        config = holds(lambda: configure(name, preset, changes), "")
        assert config is None or getattr(config, field) == changes[field]


WORDS = [b"5%", b"all", b"100%", b"0:500", b":7", b"3:", b"test", b"train:0:9", b"held"]


@fuzz(damaged(*WORDS, tokens=[*NUMBERS, *MARKS, b"%", b"-", b"\xd9\xa3"]), share=2)
def test_words(content):
    text = content.decode("utf-8", "replace")
    share = holds(lambda: read_share(text), "labels must be")
    assert share is None or 0 < share <= 1
    found = holds(lambda: read_images(text, "train"), "expected image numbers")
    if found is not None:
        chosen = holds(lambda: as_range(found[1], 50), "expected image numbers")
        assert chosen is None or 0 <= chosen.start < chosen.stop <= 50


# --- try-on ---------------------------------------------------------------------------


def photographs() -> list[bytes]:
    """Garments on white, of two shapes and formats; one has no ground."""
    made = []
    for size, kind in (((30, 36), "PNG"), ((40, 20), "JPEG"), ((24, 32), "BMP")):
        image = Image.new("RGB", size, "white")
        image.paste((180, 30, 60), (size[0] // 4, 4, size[0] // 2, size[1] - 4))
        made.append(encoded(image, kind))
    return [*made, encoded(Image.new("L", (30, 36), 90), "PNG")]


PHOTOS = photographs()
ROLES = "person", "garment", "mask"


class Wearing:
    """Stands in for a trained network: people stay as they are."""

    method = Salvton(SMALL["salvton"])

    def __init__(self):
        self.method.try_on = lambda person, garment, mask: person


@fuzz(st.sampled_from(ROLES), damaged(*PHOTOS, tokens=TOKENS), st.booleans())
def test_tryon(place, role, content, masked):
    files = {name: put(place / f"{name}.png", PHOTOS[0]) for name in ROLES}
    put(files[role], content)
    out, mask = place / "out.png", files["mask"] if masked or role == "mask" else None
    out.unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trying, "load", lambda *_: Wearing())
        made = holds(
            lambda: trying.tryon("net", files["person"], files["garment"], out, mask),
            *files.values(),
        )
    assert out.exists() == (made is not None)  # written whole or not at all
    if made is not None:
        assert made.shape == (3, 32, 24) and 0 <= made.min() <= made.max() <= 1
        with Image.open(out) as image:
            assert image.size == (24, 32)
