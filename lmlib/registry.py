"""Methods by name: the one table that commands and files look them up in."""

from dataclasses import fields, replace
from typing import Any, get_type_hints

from lmlib.methods.base import Config, Method
from lmlib.methods.dlan import Dlan
from lmlib.methods.dlan_baselines import DetectorDfa, Dfa, JointRpn
from lmlib.methods.dve import Dve
from lmlib.methods.dve_baselines import SparseLandmarks
from lmlib.methods.lmdis import Lmdis
from lmlib.methods.salvton import Salvton
from lmlib.methods.seqmt import SeqMt
from lmlib.methods.seqmt_baselines import CommMt, HeatmapMt
from lmlib.texts import brief
from lmlib.values import from_json, read_changes

METHODS: dict[str, type[Method]] = {
    kind.name: kind for kind in (SeqMt, Lmdis, Dve, Dlan, Salvton)
}
BASELINES: dict[str, type[Method]] = {
    kind.name: kind
    for kind in (CommMt, HeatmapMt, SparseLandmarks, Dfa, DetectorDfa, JointRpn)
}


def method_named(name: Any) -> type[Method]:
    """A method or baseline; ValueError for a name that none has."""
    known = METHODS | BASELINES
    if not isinstance(name, str) or name not in known:
        raise ValueError(
            f"unknown method {brief(repr(name))}; there are {', '.join(known)}"
        )
    return known[name]


def configure(method: str, preset: str, changes: dict[str, Any]) -> Config:
    """A preset's configuration with values changed."""
    return replace(method_named(method).Config.preset(preset), **changes)


def read_settings(method: str, texts: list[str]) -> dict[str, Any]:
    """``NAME=VALUE`` texts as values for the configuration of a method."""
    return read_changes(texts, method_named(method).Config)


def config_from_json(method: str, record: Any) -> Config:
    """The configuration a file describes.

    Raises:
        ValueError: not a table of values, unknown names, or values that do not fit.
    """
    kind = method_named(method).Config
    hints, names = get_type_hints(kind), [field.name for field in fields(kind)]
    if not isinstance(record, dict):
        raise ValueError(f"config must be a table of values, got {brief(repr(record))}")
    if unknown := sorted(set(record) - set(names)):
        raise ValueError(f"config has unknown names {brief(', '.join(unknown))}")
    try:
        return kind(**{k: from_json(v, hints[k]) for k, v in record.items()})
    except TypeError as error:  # a value without a default is missing
        raise ValueError(f"config is not complete: {error}") from None
