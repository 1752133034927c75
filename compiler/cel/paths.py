"""Plain paths: ``steps.fetch.output.body``, the most frequent expression, read without the parser and fast.

A path is a name and the keys below it. Reading goes through ``[]`` only, on maps only; what is missing or not a map
is found out afterwards, in ``explain``, which names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

from .errors import Fault
from .frame import Eval, Frame, Value
from .values import is_map, type_name

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN = re.compile(
    r"([A-Za-z_][A-Za-z0-9_]*)"
    r"((?:\.[A-Za-z_][A-Za-z0-9_]*|\[(?:\"[^\"\\\r\n]*\"|'[^'\\\r\n]*')\])*)"
)
_KEY = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[\"([^\"]*)\"\]|\['([^']*)'\]")
_NOT_FIELDS = frozenset({"true", "false", "null", "in"})
_MAX_KEYS = 32


def plain_path(source: str) -> tuple[str, ...] | None:
    """Read ``source`` as a plain path; None for everything else, which the parser then judges."""
    found = _PLAIN.fullmatch(source.strip(" \t\r\n"))
    if found is None:
        return None
    keys = tuple(key[0] or key[1] or key[2] for key in _KEY.findall(found[2]))
    fields = (found[1], *(key[0] for key in _KEY.findall(found[2])))
    if len(keys) > _MAX_KEYS or any(field in _NOT_FIELDS for field in fields) or not source.isascii():
        return None
    return (found[1], *keys)


def show(path: tuple[str, ...]) -> str:
    """Write a path as an expression would."""
    return path[0] + "".join(f".{key}" if _NAME.fullmatch(key) else f'["{key}"]' for key in path[1:])


def context_path(path: tuple[str, ...]) -> Eval:
    """Compile the reading of a path from the context."""
    root, keys = path[0], path[1:]
    if not keys:
        return _root(root)
    if len(keys) == 1:
        return _one(path, root, keys[0])
    if len(keys) == 2:
        return _two(path, root, keys[0], keys[1])
    return _many(path, root, keys)


def _root(root: str) -> Eval:
    def read(frame: Frame) -> Value:
        try:
            return frame.context[root]
        except KeyError:
            raise _absent(root) from None

    return read


def _one(path: tuple[str, ...], root: str, key: str) -> Eval:
    def read(frame: Frame) -> Value:
        try:
            return cast("Value", frame.context[root])[key]
        except (KeyError, TypeError):
            return _explain_context(frame, path)

    return read


def _two(path: tuple[str, ...], root: str, key: str, last: str) -> Eval:
    def read(frame: Frame) -> Value:
        try:
            return cast("Value", frame.context[root])[key][last]
        except (KeyError, TypeError):
            return _explain_context(frame, path)

    return read


def _many(path: tuple[str, ...], root: str, keys: tuple[str, ...]) -> Eval:
    def read(frame: Frame) -> Value:
        try:
            value: Value = frame.context[root]
            for key in keys:
                value = value[key]
            return value
        except (KeyError, TypeError):
            return _explain_context(frame, path)

    return read


def below(operand: Eval, keys: tuple[str, ...], shown: str) -> Eval:
    """Compile the reading of ``keys`` below any value. ``shown`` names the operand in errors."""

    def read(frame: Frame) -> Value:
        value = operand(frame)
        try:
            found = value
            for key in keys:
                found = found[key]
            return found
        except (KeyError, TypeError):
            return explain(value, (shown, *keys))

    return read


def variable_path(slot: int, keys: tuple[str, ...], name: str) -> Eval:
    """Compile the reading of ``keys`` below a comprehension variable."""
    if len(keys) != 1:
        return below(lambda frame: frame.slots[slot], keys, name)
    key = keys[0]

    def read(frame: Frame) -> Value:
        value = frame.slots[slot]
        try:
            return value[key]
        except (KeyError, TypeError):
            return explain(value, (name, key))

    return read


def has(operand: Eval, key: str) -> Eval:
    """Compile ``has(operand.key)``: false only for a map without the key; an error below the operand stays one."""

    def found(frame: Frame) -> bool:
        value = operand(frame)
        if is_map(value):
            return key in value
        raise Fault("no_such_overload", f"has() looks into a map, not into {type_name(value)}")

    return found


def _absent(root: str) -> Fault:
    return Fault("missing_value", f"{root} is missing: there is no {root!r} here")


def _explain_context(frame: Frame, path: tuple[str, ...]) -> Value:
    return explain(_root(path[0])(frame), path)


def explain(value: Value, path: tuple[str, ...]) -> Value:
    """Read again, one key at a time, and raise the Fault that names what is missing."""
    for depth, key in enumerate(path[1:], start=1):
        if not is_map(value):
            raise Fault("no_such_overload", f"{show(path[:depth])} is {type_name(value)} and has no field {key!r}")
        read: Callable[[str], Value] = value.__getitem__
        try:
            value = read(key)
        except KeyError:
            raise Fault("missing_value", f"{show(path[: depth + 1])} is missing: {key!r}") from None
    return value
