"""What scenes share, against closed forms, scipy and a loop; and how they share it."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import lmscenes
from lmscenes.engine import uniform
from lmscenes.shared import (
    Draws,
    check_knobs,
    check_names,
    check_size,
    check_stride,
    read_table,
    smooth_max,
    smoothstep,
    tiled,
    turn,
)

MODULES = [
    importlib.import_module(f"lmscenes.{found.name}")
    for found in pkgutil.iter_modules(lmscenes.__path__)
]


# ---- mathematics ---------------------------------------------------------------------


def test_smoothstep_is_the_cubic_between_flat_ends():
    x = torch.linspace(-1, 4, 501, dtype=torch.float64)
    step = smoothstep(x, 0.5, 2.5)
    assert (step[x <= 0.5] == 0).all() and (step[x >= 2.5] == 1).all()
    cubic = np.polynomial.Polynomial([0, 0, 3, -2])(((x - 0.5) / 2).numpy())
    inner = ((x > 0.5) & (x < 2.5)).numpy()
    np.testing.assert_allclose(step[inner], cubic[inner], atol=1e-12)
    slope = torch.gradient(step, spacing=(x,))[0]
    assert slope[(x - 0.5).abs() < 0.02].max() < 0.03  # no kink at either end
    assert slope[(x - 2.5).abs() < 0.02].max() < 0.03


def test_smooth_max_rounds_within_its_radius_and_is_the_maximum_beyond():
    b = torch.linspace(-2, 2, 801, dtype=torch.float64)
    both = smooth_max(torch.zeros_like(b), b, 0.5)
    far = b.abs() > 0.499
    torch.testing.assert_close(both[far], b.clamp(min=0)[far], atol=1e-6, rtol=0)
    assert both[400].item() == pytest.approx(0.5 / 4)  # where they are equal
    assert (both[~far] > b.clamp(min=0)[~far]).all()
    bend = both.diff().diff() / (4 / 800) ** 2
    assert bend.max() < 1.2 / (2 * 0.5) and bend.min() > -1e-6  # no corner is left


@pytest.mark.parametrize("axis", range(3))
def test_turn_agrees_with_scipy(axis):
    angle = torch.tensor([[0.3, -2.0], [1.1, 4.0]], dtype=torch.float64)
    theirs = Rotation.from_euler("xyz"[axis], angle.view(-1, 1).numpy()).as_matrix()
    torch.testing.assert_close(turn(angle, axis).flatten(0, 1), torch.tensor(theirs))


# ---- tiles, tables, columns ----------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 4, 9])
def test_tiles_are_drawn_in_order_and_none_is_larger(size):
    drawn = []

    def draw(q):
        drawn.append(len(q["index"]))
        return {"twice": 2 * q["index"], "sum": q["more"].sum(1)}

    q = {"index": torch.arange(7) + 5, "more": torch.arange(14.0).view(7, 2)}
    whole = tiled(draw, q, size)
    assert whole["twice"].tolist() == [10, 12, 14, 16, 18, 20, 22]
    torch.testing.assert_close(whole["sum"], q["more"].sum(1))
    assert max(drawn) <= size and sum(drawn) == 7


def test_a_table_goes_on_below_itself():
    text = """
        name  x  y
        a     1  2
        b     3  4
        name  z
        a     5
        b     6
    """
    assert read_table(text) == {
        "name": ["x", "y", "z"], "a": ["1", "2", "5"], "b": ["3", "4", "6"]
    }  # fmt: skip


def test_columns_are_taken_once_and_in_order():
    u = uniform(torch.arange(50), 6, seed=1, stream=2)
    draws = Draws(u)
    assert torch.equal(draws.take(), u[:, 0])
    assert torch.equal(draws.take(1), u[:, 1:2])
    torch.testing.assert_close(draws.some(2, 6, count=2), 2 + 4 * u[:, 2:4])
    assert torch.equal(draws.chance(0.3), u[:, 4] < 0.3)
    middle = draws.some(2, 6, strength=0.0)
    assert torch.equal(middle, torch.full((50,), 4.0))
    with pytest.raises(IndexError, match="only 6 random numbers"):
        draws.take()


# ---- knobs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (lambda: check_size("Hats", 31, 32, 64), "Hats draws 32 to 64 .* got 31"),
        (lambda: check_size("Hats", 65, 32, 64), "Hats draws 32 to 64 .* got 65"),
        (lambda: check_knobs(0, 1, a=0.5, b=1.5), r"^b must be 0 to 1, got 1.5"),
        (lambda: check_knobs(0, 1, a=float("nan")), "a must be 0 to 1, got nan"),
        (lambda: check_knobs(0, 90, "degrees", a=-1), "a must be 0 to 90 degrees"),
        (lambda: check_stride(1.5, 9), "stride must be 0 to 9 whole frames, got 1.5"),
        (lambda: check_stride(10, 9), "stride must be 0 to 9 whole frames, got 10"),
        (lambda: check_names("hats", "cap", ("top", "bowler")), "top, bowler.*'cap'"),
        (lambda: check_names("hats", (), ("top", "bowler")), "hats must be some of"),
    ],
)
def test_a_knob_out_of_range_is_named(check, says):
    with pytest.raises(ValueError, match=says):
        check()


def test_knobs_within_range_pass():
    check_size("Hats", 32, 32, 64)
    check_knobs(0, 1, a=0, b=1)
    assert check_stride(9, 9) == 9
    known = ("top", "bowler")
    assert check_names("hats", None, known) == known
    assert check_names("hats", "top", known) == ("top",)
    assert check_names("hats", ["bowler", "top"], known) == ("bowler", "top")


# ---- how scenes are written ----------------------------------------------------------


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_no_loop_runs_at_import(module):
    """Its variables would be names of the module."""
    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    assert not [node.lineno for node in tree.body if isinstance(node, ast.For)]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_no_private_method_is_overridden_from_another_module(module):
    for _, found in inspect.getmembers(module, inspect.isclass):
        if found.__module__ != module.__name__:
            continue
        for base in found.__mro__[1:]:
            if base.__module__.startswith("lmscenes") and base.__module__ != (
                module.__name__
            ):
                private = {n for n in vars(base) if n[0] == "_" and n[:2] != "__"}
                assert not private & {*vars(found)}


def test_the_four_scenes_of_heads_and_figures_share_what_they_can():
    """One definition of each helper in the package."""
    defined: dict[str, list[str]] = {}
    for module in MODULES:
        for node in ast.walk(ast.parse(Path(module.__file__).read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.col_offset == 0:
                defined.setdefault(node.name, []).append(module.__name__)
    twice = {name: places for name, places in defined.items() if len(places) > 1}
    assert {*twice} <= {"_constants", "unit", "finger"}
