"""The values of CEL as Python objects, their types and their equality.

``None`` null · ``bool`` · ``int`` int64 · ``Uint`` uint64 · ``float`` double · ``str`` · ``bytes`` · ``list`` ·
``dict`` or another ``Mapping`` map · ``Timestamp`` · ``Duration`` · ``CelType``.

Python says ``1 == True``; CEL does not. Every comparison here asks for the type first, and a map made by an
expression holds bool keys as ``BoolKey``. Containers that an expression makes are ``MadeList`` and ``MadeMap``, so
that the ones of the context can be handed on without looking inside them.
Nothing here reaches a Python attribute by a name from an expression.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from .errors import Fault
from .frame import Frame, Value, kind_of
from .times import Duration, Timestamp

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
UINT_MAX = 2**64 - 1


class Uint(int):
    """An unsigned 64-bit integer. Compares and hashes as the number it is."""

    __slots__ = ()


class MadeList(list[Value]):
    """A list that an expression made."""

    __slots__ = ()


class MadeMap(dict[Value, Value]):
    """A map that an expression made. Keys: int, Uint, str, ``BoolKey``."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class BoolKey:
    """A bool as the key of a map: Python's dict cannot tell True from 1."""

    value: bool


@dataclass(frozen=True, slots=True)
class CelType:
    name: str


_NAMES: dict[type, str] = {
    type(None): "null_type",
    bool: "bool",
    int: "int",
    Uint: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    MadeList: "list",
    dict: "map",
    MadeMap: "map",
    Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration",
    CelType: "type",
}
TYPES = {name: CelType(name) for name in _NAMES.values()}
NUMERIC = frozenset({int, Uint, float})
LISTS = frozenset({list, MadeList})
ORDERED = frozenset({bool, int, Uint, float, str, bytes, Timestamp, Duration})
_SIMPLE = frozenset({type(None), bool, int, Uint, float, bytes, Timestamp, Duration, CelType})


def type_name(value: Value) -> str:
    """Name the CEL type of ``value``; ``unknown`` for an object that is no CEL value."""
    name = _NAMES.get(kind_of(value))
    if name is None:
        return "map" if isinstance(value, Mapping) else "unknown"
    return name


def is_list(value: Value) -> bool:
    return kind_of(value) in LISTS


def is_map(value: Value) -> bool:
    return isinstance(value, Mapping)


def no_overload(operation: str, *values: Value) -> Fault:
    """Make the fault of an operation on types it is not for; a hint where the cure is a conversion."""
    names = [type_name(value) for value in values]
    text = f"no such overload: {operation} on {', '.join(names)}"
    if len({kind_of(value) for value in values}) > 1 and all(kind_of(value) in NUMERIC for value in values):
        text += "; numbers are not converted by themselves, write double(x), int(x) or uint(x)"
    elif operation == "+" and "string" in names and len(names) == 2:
        text += "; write string(x) to make text of a value"
    return Fault("no_such_overload", text)


def map_key(key: Value) -> Value:
    """Make the Python key under which a map holds the CEL ``key``. Raises Fault for a type that cannot be one."""
    kind = kind_of(key)
    if kind is str or kind is int or kind is Uint:
        return key
    if kind is bool:
        return BoolKey(key)
    if kind is float:  # a double that is a whole number finds the int key; any other finds nothing
        return key
    raise no_overload("map key", key)


def lookup(container: Value, key: Value) -> tuple[bool, Value]:
    """Find ``key`` in a map. Returns (found, value). Raises Fault for a key type that cannot be one."""
    try:
        return True, container[map_key(key)]
    except KeyError:
        return False, None


def map_keys(container: Value) -> list[Value]:
    """List the keys of a map as CEL values, in order."""
    keys = cast("Iterable[Any]", container)
    return [key.value if kind_of(key) is BoolKey else key for key in keys]


def equal(frame: Frame, left: Value, right: Value) -> bool:
    """Compare as CEL does: numbers by value across types, other types only with themselves. Charges by size."""
    kind, other = kind_of(left), kind_of(right)
    if kind is other:
        if kind is str:
            frame.charge_read(len(left))
            return bool(left == right)
        if kind in _SIMPLE:
            return bool(left == right)
    elif kind in NUMERIC:
        return other in NUMERIC and bool(left == right)
    if kind in LISTS and other in LISTS:
        return _equal_lists(frame, left, right)
    if is_map(left) and is_map(right):
        return _equal_maps(frame, left, right)
    return False


def _equal_lists(frame: Frame, left: Value, right: Value) -> bool:
    if len(left) != len(right):
        return False
    for a, b in zip(left, right, strict=True):
        frame.charge(1)
        if not equal(frame, a, b):
            return False
    return True


def _equal_maps(frame: Frame, left: Mapping[Any, Any], right: Mapping[Any, Any]) -> bool:
    if len(left) != len(right):
        return False
    for key in left:
        frame.charge(2)
        if key not in right or not equal(frame, left[key], right[key]):
            return False
    return True
