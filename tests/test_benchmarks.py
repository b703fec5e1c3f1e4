"""The benchmarks' harness: rows, names, and what happens without an optional extra."""

import importlib
import json
import pkgutil
import sys

import pytest
import torch

import benchmarks
from benchmarks import __main__ as command
from benchmarks import dve, peers

MODULES = [m.name for m in pkgutil.iter_modules(benchmarks.__path__)]


@pytest.mark.parametrize("name", [name for name in MODULES if name[0] != "_"])
def test_every_benchmark_says_what_it_asks(name):
    module = importlib.import_module(f"benchmarks.{name}")
    assert callable(module.run) and module.__doc__


def test_without_kornia_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "kornia", None)
    assert peers.run() == []
    assert "kornia is not installed" in capsys.readouterr().out


def test_rows_come_last_as_json(monkeypatch, capsys):
    rows = [dve._over_products(1, 4, 5, torch.device("cpu"))]
    monkeypatch.setattr(peers, "run", lambda: rows)
    assert command.main(["peers"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert " over " in row["name"] and row["ratio"] > 0 and row["threads"] >= 1
    assert "nine products" in row["what"]


def test_an_unknown_name_is_refused(capsys):
    assert command.main(["dve", "nothing"]) == 2
    assert "no 'nothing'" in capsys.readouterr().out
