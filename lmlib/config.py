"""Methods by name, and configurations from presets with changes."""

import ast
import types
from dataclasses import dataclass, fields, replace
from typing import get_args, get_origin, get_type_hints

from lmlib.methods.dve import Dve, DveConfig
from lmlib.methods.lmdis import Lmdis, LmdisConfig
from lmlib.methods.seqmt import SeqMt, SeqMtConfig
from lmlib.texts import read_crop

METHODS = {
    "seqmt": (SeqMtConfig, SeqMt),
    "lmdis": (LmdisConfig, Lmdis),
    "dve": (DveConfig, Dve),
}


@dataclass(frozen=True)
class Settings:
    """What makes a run what it is; the same settings give the same network.

    Texts are as on the command line: ``changes`` like "lr=0.002", ``images`` "0:500",
    ``labels`` "5%" or "all".
    """

    method: str
    preset: str
    data: list[str]
    changes: list[str]
    split: str = "train"
    images: str | None = None
    labels: str = "all"
    held: int = 0  # images held back from training
    steps: int | None = None
    batch: int | None = None
    seed: int = 0
    crop: str | None = None
    partial: bool = False

    @property
    def options(self) -> dict:
        """For ``open_data``: only what was asked for, so that each set has its own
        crop."""
        crop = {} if self.crop is None else {"crop": read_crop(self.crop)}
        return crop | ({"partial": True} if self.partial else {})


def configure(method: str, preset: str, changes: list[str]):
    """A preset's configuration with ``NAME=VALUE`` changes, types checked."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; there are {', '.join(METHODS)}")
    kind = METHODS[method][0]
    config, hints = kind.preset(preset), get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    for change in changes:
        name, _, text = change.partition("=")
        if name not in names or not text:
            raise ValueError(
                f"--set {change}: expected NAME=VALUE, NAME one of {', '.join(names)}"
            )
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        if not _fits(value, hints[name]):
            expected = getattr(hints[name], "__name__", hints[name])
            raise ValueError(
                f"--set {change}: {name} must be {expected}, such as "
                f"{getattr(config, name)!r}"
            )
        config = replace(config, **{name: value})
    return config


def _fits(value, kind) -> bool:
    if get_origin(kind) is types.UnionType:
        return any(_fits(value, each) for each in get_args(kind))
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        if not isinstance(value, tuple):
            return False
        if parts[-1] is Ellipsis:
            parts = parts[:1] * len(value)
        return len(parts) == len(value) and all(map(_fits, value, parts))
    return type(value) is kind or (kind is float and type(value) is int)


def side_of(config) -> int:
    """Pixels a side of the images a network is given."""
    return getattr(config, "frame", config.size)
