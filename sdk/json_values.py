"""JSON values: what users hand in is read or written exactly, or refused with the place of the fault.

Nothing is bent into shape: msgspec alone would turn NaN into null, a set into a list and bytes into text, and take the
last of two values under one key. Pure.
"""

from __future__ import annotations

import math
from typing import Any, cast

import msgspec

from ..compiler.json_text import repeated_keys

DEPTH_MAX = 500
"""Nested lists and objects: what one end can write, the other end can read."""
_SCALARS = (str, int, type(None))
_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder().decode


class NotJson(ValueError):
    """``place``: where in the value, like ``.items[3]``; empty for the value itself."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place.lstrip('.')}: {problem}" if place else problem)
        self.place = place
        self.problem = problem


class RepeatedKey(NotJson):
    """A key stands twice in one object: whoever wrote it may have meant either."""


def encode_value(value: object, *, is_sorted: bool = False) -> bytes:
    """Return JSON bytes that read back as the same value; tuples become lists. Raises NotJson.

    The check is reading it back, which costs as much as writing; only what differs is walked to find out where.
    """
    try:
        content = (_encode_sorted if is_sorted else _encode)(value)
        if _decode(content) == value:
            return content
    except Exception as error:  # objects of users may raise anything where they are read or compared
        _check(value, "", 0)
        raise NotJson("", f"it cannot be written: {error}") from error
    _check(value, "", 0)
    return content


def decode_text(text: str) -> Any:
    """Return the value of a JSON text from outside. Raises NotJson, RepeatedKey among them."""
    try:
        value = _decode(text)
        twice = repeated_keys(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError) as error:
        raise NotJson("", str(error)) from error
    if twice:
        *outer, key = twice[0]
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step:.80}" for step in outer)
        raise RepeatedKey(_shortened(place), f"the key {key!r:.80} stands twice in one object")
    return value


def _check(value: object, place: str, depth: int) -> None:
    """Raise NotJson at the first part that JSON cannot say."""
    if isinstance(value, str):
        _check_text(value, place)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise NotJson(place, f"{value} is no JSON number")
    elif isinstance(value, _SCALARS):
        return
    elif depth >= DEPTH_MAX:
        raise NotJson(_shortened(place), f"nested deeper than {DEPTH_MAX} levels, or into itself")
    elif isinstance(value, dict):
        for name, inner in cast("dict[Any, object]", value).items():
            if not isinstance(name, str):
                raise NotJson(place, f"the name {name!r:.80} is no text but a value of type {type(name).__name__}")
            _check_text(name, place)
            _check(inner, f"{place}.{name:.80}", depth + 1)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(cast("list[object]", value)):
            _check(inner, f"{place}[{number}]", depth + 1)
    else:
        raise NotJson(place, f"JSON has no values of type {type(value).__name__}")


def _check_text(value: str, place: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise NotJson(place, f"the text holds half of a surrogate pair at character {error.start}") from error


def _shortened(place: str) -> str:
    return place if len(place) <= 200 else f"{place[:100]}...{place[-80:]}"
