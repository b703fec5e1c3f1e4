"""Exercises that fall forward: the notebook always reaches its end.

``check("name", my_function)`` says pass, a concrete hint, or "not done yet", and
returns the function to go on with: the student's own when it is right, else lmlib's.

One file a notebook holds the exercises. Each pairs a solution (the source students
see), the library's version, and an ``examine`` function that returns a hint or None::

    @exercise("soft_argmax", solution=my_solution, library=heatmaps.soft_argmax)
    def examine(fn):
        if far_from(fn(flat), centre):
            return "on a flat map the answer is the image's centre"

``examine`` may call ``fn`` freely: exceptions, a missing result, a wrong type, shape or
dtype and changed inputs become hints before it sees them. So the library's version must
take the same arguments as ``fn``.

``level``, ``minutes`` and ``example`` (arguments of a small call, or a function that
makes them; its docstring, if it has one, describes them in their place) tell the
student what to expect; the expected result is the library's.
"""

import dis
import importlib
import inspect
import linecache
import pkgutil
import textwrap
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Number

import torch
from torch import Tensor

from lmcourse.plots import show_source
from lmlib.geometry import Affine

LEVELS = ("easy", "medium", "hard")
# What a function that does nothing consists of.
IDLE = {"RESUME", "NOP", "CACHE", "LOAD_CONST", "POP_TOP", "COPY_FREE_VARS"}
IDLE |= {"RETURN_CONST", "RETURN_VALUE"}
WIDTH, INDENT = 88, " " * 6  # of what is printed


@dataclass(frozen=True)
class Exercise:
    """``examine(fn)`` returns a hint, or None when ``fn`` is right."""

    name: str
    examine: Callable
    solution: Callable
    library: Callable
    level: str | None = None
    minutes: int | None = None
    example: tuple | Callable | None = None

    def about(self) -> str:
        """How hard, how long, and a small call with its result: lines, or nothing."""
        lines = []
        if self.minutes is not None:
            lines.append(f"{self.level}, about {self.minutes} minutes")
        if self.example is not None:
            given = self.example() if callable(self.example) else self.example
            words = callable(self.example) and self.example.__doc__
            call = f"{self.name}({', '.join(map(_brief, given))})"
            call = f"{self.name}(...) of {_one_line(words)}" if words else call
            lines.append(f"expected: {call} is {_brief(self.library(*given))}")
        look = {"initial_indent": INDENT, "subsequent_indent": INDENT + "  "}
        return "".join(f"\n{textwrap.fill(line, WIDTH, **look)}" for line in lines)


EXERCISES: dict[str, Exercise] = {}


class _Hint(Exception):
    """What to tell the student."""


class _NotDone(Exception):
    """The stub is still there."""


def exercise(
    name: str,
    *,
    solution: Callable,
    library: Callable,
    level: str | None = None,
    minutes: int | None = None,
    example: tuple | Callable | None = None,
):
    """Register the decorated ``examine(fn) -> hint | None`` as exercise ``name``."""
    if (level is None) != (minutes is None) or level not in (None, *LEVELS):
        raise ValueError(
            f"exercise {name!r} needs both minutes and a level ({', '.join(LEVELS)}), "
            f"or neither; got {minutes} and {level!r}"
        )

    def register(examine: Callable) -> Callable:
        known = EXERCISES.get(name)
        if known and known.examine.__module__ != examine.__module__:
            raise ValueError(
                f"exercise {name!r} exists in {known.examine.__module__} and "
                f"{examine.__module__}; names are unique over the course"
            )
        facts = {"level": level, "minutes": minutes, "example": example}
        EXERCISES[name] = Exercise(name, examine, solution, library, **facts)
        return examine

    return register


def find(name: str) -> Exercise:
    """The exercise called ``name``; the files of this package are read on first use."""
    if name not in EXERCISES:
        for module in pkgutil.iter_modules(__path__):
            importlib.import_module(f"{__name__}.{module.name}")
    if name not in EXERCISES:
        raise ValueError(f"no exercise {name!r}; there are {sorted(EXERCISES)}")
    return EXERCISES[name]


def check(name: str, fn: Callable) -> Callable:
    """Examine the student's ``fn``; return it if right, else lmlib's version.

    Never raises on account of ``fn``: whatever it does becomes a hint.
    """
    task = find(name)
    verdict = examine(task, fn)
    if verdict is None:
        print(f"PASS  {name}: right, and from here on the notebook uses your version.")
        return fn
    verdict = textwrap.fill(verdict, WIDTH, subsequent_indent=INDENT)
    facts = task.about() if verdict.startswith("TO DO") else ""
    print(f"{verdict}{facts}\n{INDENT}Continuing with lmlib's version of {name}.")
    return task.library


def examine(task: Exercise, fn: Callable) -> str | None:
    """What ``check`` prints, or None if ``fn`` is right."""
    try:
        if fn is None or fn is Ellipsis:
            raise _NotDone
        if not callable(fn):
            raise _Hint(f"expected a function, got {_describe(fn)}")
        hint = task.examine(_guarded(task, fn))
    except _NotDone:
        return f"TO DO {task.name}: not done yet."
    except _Hint as problem:
        hint = str(problem)
    except Exception as error:  # the examination stumbled over an unforeseen result
        hint = f"the result could not be examined: {type(error).__name__}: {error}"
    return None if hint is None else f"HINT  {task.name}: {hint}"


def solution(name: str) -> None:
    """Show the solution's source (folded) and run the check on it."""
    task = find(name)
    show_source(task.solution, collapsed=True)
    verdict = examine(task, task.solution)
    if verdict is not None:
        raise AssertionError(f"the course's own solution fails: {verdict}")
    print(f"(The solution of {name}, folded above, passes the same check.)")


# -- the guard between the examination and the student's code --------------------------


def _guarded(task: Exercise, fn: Callable) -> Callable:
    def call(*args, **kwargs):
        _check_signature(task, fn, args, kwargs)
        given = (args, kwargs)
        mine, theirs = _copy(given), _copy(given)
        try:
            got = fn(*theirs[0], **theirs[1])
        except NotImplementedError:
            raise _NotDone from None
        except Exception as error:
            raise _Hint(_failure(fn, error)) from None
        if got is Ellipsis or (got is None and _does_nothing(fn)):
            raise _NotDone
        if got is None:
            raise _Hint("it returns None: has it a line that begins with `return`?")
        _compare(got, task.library(*mine[0], **mine[1]), "the result")
        if not _same(given, theirs):
            raise _Hint(
                "it changes its input in place; work on a new tensor "
                "(x = x * 2 instead of x *= 2)"
            )
        return got

    return call


def _does_nothing(fn: Callable) -> bool:
    """Is it still a stub, without a line of its own?"""
    code = getattr(fn, "__code__", None)
    if code is None:
        return True
    return all(step.opname in IDLE for step in dis.get_instructions(code))


def _check_signature(task, fn, args, kwargs) -> None:
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # a builtin without a signature: just call it
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        wanted = inspect.signature(task.solution)
        raise _Hint(f"its arguments are {signature}, expected {wanted}") from None


def _failure(fn: Callable, error: Exception) -> str:
    """Type, message and the student's own line."""
    file = getattr(getattr(fn, "__code__", None), "co_filename", None)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    message = (str(error).strip().splitlines() or [""])[0]
    text = f"{type(error).__name__}: {message}".rstrip(": ")
    if lines:
        code = linecache.getline(file, lines[-1]).strip()
        text += f" (line {lines[-1]}" + (f": `{code}`)" if code else ")")
    return text


def _brief(value) -> str:
    """A value as short as it can be read: tensors as lists, four digits."""
    if isinstance(value, Tensor):
        return _brief(value.tolist())
    if isinstance(value, list | tuple):
        parts = ", ".join(map(_brief, value))
        return f"[{parts}]" if isinstance(value, list) else f"({parts})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {_brief(v)}" for k, v in value.items()) + "}"
    if isinstance(value, float):
        return f"{value + 0.0:.4g}"  # no minus before a zero
    if isinstance(value, torch.Generator):
        return "generator"
    if isinstance(value, Affine):
        return f"Affine({_brief(value.matrix)})"
    if inspect.isfunction(value):
        return value.__name__
    return repr(value)


def _one_line(words: str) -> str:
    line = " ".join(words.split()).rstrip(".")
    return line[0].lower() + line[1:]


def _describe(value) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    name = type(value).__name__
    if isinstance(value, tuple | list):
        return f"a {name} of length {len(value)}"
    if isinstance(value, dict):
        return f"a dict of {sorted(map(str, value))}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _compare(got, expected, what: str) -> None:
    """Hint at the first difference in kind, shape or dtype; values come later."""
    wanted, inside = _describe(expected), ()
    if isinstance(expected, Tensor):
        alike = isinstance(got, Tensor) and got.shape == expected.shape
    elif isinstance(expected, tuple | list):
        alike = isinstance(got, tuple | list) and len(got) == len(expected)
        inside = range(len(expected))
    elif isinstance(expected, dict):
        alike = isinstance(got, dict) and set(got) == set(expected)
        inside = expected
    elif isinstance(expected, Number) and not isinstance(expected, bool):
        # A tensor with one number is as good as the number.
        one = isinstance(got, Tensor) and got.numel() == 1
        alike, wanted = one or isinstance(got, Number), "a number"
    else:
        return
    if not alike:
        raise _Hint(f"{what} is {_describe(got)}, expected {wanted}")
    for key in inside:
        _compare(got[key], expected[key], f"{what}[{key!r}]")
    if not isinstance(expected, Tensor):
        return
    if got.dtype != expected.dtype:
        raise _Hint(f"{what} has dtype {got.dtype}, expected {expected.dtype}")
    if expected.requires_grad and not got.requires_grad:
        raise _Hint(
            f"no gradient flows back from {what}: an argmax, .item(), .detach() or a "
            "comparison on the way cuts it off"
        )


def _copy(value):
    """Copies that keep the graph: a gradient still reaches the original tensor."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, torch.Generator):
        return value.clone_state()
    if isinstance(value, tuple | list):
        return type(value)(map(_copy, value))
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return value


def _same(before, after) -> bool:
    if isinstance(before, Tensor):
        # an input may hold NaN on purpose, and NaN differs from itself
        return torch.allclose(before, after, rtol=0, atol=0, equal_nan=True)
    if isinstance(before, tuple | list):
        return all(map(_same, before, after))
    if isinstance(before, dict):
        return all(_same(before[key], after[key]) for key in before)
    return True
