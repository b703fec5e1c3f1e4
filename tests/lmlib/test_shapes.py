"""A signature that lies is caught: the shapes in them are checked while tests run."""

import ast
from pathlib import Path

import jaxtyping
import pytest
import torch
from torch import nn

import lmlib
from lmlib.geometry import Affine, Warp
from lmlib.heatmaps import soft_argmax
from lmlib.landmarker import Landmarker
from lmlib.methods.dve import Dve, DveConfig, matching_loss
from lmlib.methods.seqmt import SeqMt, SeqMtConfig, landmark_loss

caught = pytest.raises(jaxtyping.TypeCheckError)


def seqmt():
    sizes = {"size": 16, "landmarks": 3, "classes": 0, "channels": 4}
    return SeqMt(SeqMtConfig(**sizes, kernels=(3, 1), hidden=()))


def test_points_are_no_maps():
    with caught:
        soft_argmax(torch.zeros(2, 5, 2))


def test_one_name_has_one_size():
    points = torch.zeros(4, 3, 2)
    batch = {"landmarks": points, "visible": torch.ones(4, 3, dtype=torch.bool)}
    assert landmark_loss(points, batch, 8) == 0
    x, where = torch.zeros(2, 4, 5, 5), torch.zeros(2, 25, 2)
    matching_loss(x, x, where)
    for wrong in ((x[:1], x, where), (x, x[:, :2], where), (x, x, where[:, :24])):
        with caught:
            matching_loss(*wrong)


class Transposed(nn.Module):
    def forward(self, vectors):
        return torch.zeros(3, len(vectors), 2).mT


def test_a_method_whose_landmarks_have_a_wrong_shape():
    method = Dve(DveConfig.smallnet_class(), landmarks=3)
    images = torch.zeros(2, 3, 48, 48)
    assert method.landmarks(images).shape == (2, 3, 2)
    method.regressor = Transposed()
    with caught:
        method.landmarks(images)
    flat = seqmt()
    flat.maps = nn.Flatten(1)
    with caught:
        flat.landmarks(torch.zeros(2, 1, 16, 16))


def test_a_method_from_elsewhere_is_caught_where_it_is_used(monkeypatch):
    method = seqmt()
    found = Landmarker(method)
    assert found.landmarks(torch.zeros(2, 1, 16, 16)).shape == (2, 3, 2)
    monkeypatch.setattr(method, "landmarks", lambda images: torch.zeros(2, 6))
    with caught:
        found.landmarks(torch.zeros(2, 1, 16, 16))


class Forgetful(Warp):
    """Its batch is not that of its points."""

    batch = 2

    def backward(self, xy):
        return xy[:1]


def test_a_warp_that_loses_images():
    with caught:
        Forgetful().folding(4, 4)
    assert Affine.identity(2).folding(4, 4).shape == (2,)


def test_whole_numbers_are_no_points_but_pass_for_floats():
    with caught:
        Affine.identity(1).points(torch.zeros(1, 3, 2, dtype=torch.int64))
    assert soft_argmax(torch.zeros(1, 1, 4, 4), 2).shape == (1, 1, 2)


def test_outside_of_tests_the_librarys_own_checks_answer(unchecked):
    with pytest.raises(ValueError, match="maps must be"):
        soft_argmax(torch.zeros(2, 5, 2))


def plain_tensors(source: str) -> list[str]:
    """Public functions with an argument or a result of which only ``Tensor`` is said.

    ``losses`` and whatever a dict holds have names in place of shapes.
    """
    problems = []

    def walk(body):
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                walk(node.body)
            if not isinstance(node, ast.FunctionDef):
                continue
            if node.name.startswith("_") and node.name != "__init__":
                continue
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            said = [a.annotation for a in arguments if a.annotation] + [node.returns]
            for each in filter(None, said):
                options = [each]
                while options:
                    option = options.pop()
                    if isinstance(option, ast.BinOp):
                        options += [option.left, option.right]
                    elif isinstance(option, ast.Name) and option.id == "Tensor":
                        problems.append(node.name)
                    elif isinstance(option, ast.Subscript) and (
                        getattr(option.value, "id", "") == "tuple"
                    ):
                        options += getattr(option.slice, "elts", [option.slice])

    walk(ast.parse(source).body)
    return problems


def test_public_functions_say_their_shapes():
    assert plain_tensors("def f(x: Tensor): ...\ndef _f(x: Tensor): ...") == ["f"]
    assert plain_tensors("def f(x) -> tuple[int, Tensor | None]: ...") == ["f"]
    found = {}
    for path in sorted(Path(lmlib.__file__).parent.rglob("*.py")):
        if problems := plain_tensors(path.read_text(encoding="utf-8")):
            found[path.name] = problems
    assert not found
