"""Values of configurations: do they fit their annotation, as JSON and back, from text.

Annotations are those that configurations use: numbers, ``bool``, ``str``, ``Literal``,
unions, tuples of these, and named tuples.
"""

import ast
import math
import types
from dataclasses import fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lmlib.texts import brief

MOST = 2**31


def fits(value: Any, kind: Any) -> bool:
    """Is ``value`` of this kind? A whole number is a ``float``, a bool is no number.

    Whole numbers are below 2^31: nothing here is as many, and torch takes no more than
    64 bits.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin in (types.UnionType, Union):
        return any(fits(value, part) for part in parts)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if parts[-1] is Ellipsis:
            parts = parts[:1] * len(value)
        return len(parts) == len(value) and all(map(fits, value, parts))
    if type(value) is int and kind in (int, float):
        return abs(value) < MOST
    if kind is float:
        return type(value) is float and math.isfinite(value)
    if hasattr(kind, "_fields"):  # a named tuple
        hints = get_type_hints(kind)
        return isinstance(value, kind) and all(map(fits, value, hints.values()))
    return type(value) is kind


def expected(kind: Any) -> str:
    """What an annotation asks for, in words: ``one of 'warps', 'flow'``."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(repr, parts))}"
    if origin in (types.UnionType, Union):
        return " or ".join(map(expected, parts))
    if origin is tuple:
        inside = ", ".join("..." if p is Ellipsis else expected(p) for p in parts)
        return f"a tuple ({inside})"
    names = {
        int: "a whole number below 2^31",
        float: "a number",
        str: "a text",
        bool: "True or False",
    }
    return names.get(kind) or kind.__name__


def from_json(value: Any, kind: Any) -> Any:
    """A value read from JSON, where tuples are lists and named tuples too.

    What does not fit comes back as it is, for the configuration to refuse.
    """
    if not isinstance(value, list):
        return value
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        found = (from_json(value, part) for part in parts)
        return next((v for v in found if fits(v, kind)), value)
    if origin is tuple:
        if parts[-1] is Ellipsis:
            parts = parts[:1] * len(value)
        if len(parts) == len(value):
            return tuple(map(from_json, value, parts))
    if hasattr(kind, "_fields") and len(value) == len(kind._fields):
        return kind(*map(from_json, value, get_type_hints(kind).values()))
    return value


def read_changes(texts: list[str], kind: type) -> dict[str, Any]:
    """``["lr=0.002", "widths=(4, 8)"]`` as values for fields of a dataclass ``kind``.

    Raises:
        ValueError: not NAME=VALUE, no such field, or no value of its kind.
    """
    hints, changes = get_type_hints(kind), {}
    names = [field.name for field in fields(kind)]
    for text in texts:
        name, _, written = text.partition("=")
        if name not in names or not written:
            raise ValueError(
                f"--set {brief(text)}: expected NAME=VALUE, NAME one of "
                f"{', '.join(names)}"
            )
        try:
            value = ast.literal_eval(written)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = written  # a name, such as mirrored
        value = _as_named(value, hints[name])
        if not fits(value, hints[name]):
            raise ValueError(
                f"--set {brief(text)}: {name} must be {expected(hints[name])}, got "
                f"{brief(repr(value))}"
            )
        changes[name] = value
    return changes


def _as_named(value: Any, kind: Any) -> Any:
    """A tuple as the named tuple that is wanted."""
    if hasattr(kind, "_fields") and type(value) is tuple:
        return kind(*value) if len(value) == len(kind._fields) else value
    return value
