"""The type conversions: ``int``, ``uint``, ``double``, ``string``, ``bool``, ``bytes``, ``timestamp``, ``duration``."""

from __future__ import annotations

import math
import re

from .errors import invalid, overflow
from .frame import Frame, Value, kind_of
from .times import (
    SECOND,
    Duration,
    Timestamp,
    format_duration,
    format_timestamp,
    make_timestamp,
    parse_duration,
    parse_timestamp,
)
from .values import INT_MAX, INT_MIN, TYPES, UINT_MAX, Uint, is_map, no_overload, type_name

_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_DOUBLE = re.compile(
    r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:inf|infinity)|nan", re.IGNORECASE
)
_MAX_NUMBER = 400
_BOOLS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "false", "FALSE", "False"), False
)


def to_int(_frame: Frame, value: Value) -> Value:
    kind = kind_of(value)
    if kind is int:
        return value
    if kind is Timestamp:
        return value.ns // SECOND
    return _whole("int", value, INT_MIN, INT_MAX)


def to_uint(_frame: Frame, value: Value) -> Value:
    return Uint(_whole("uint", value, 0, UINT_MAX))


def _whole(name: str, value: Value, low: int, high: int) -> int:
    """Convert a number or its text; a double toward zero. Raises Fault."""
    kind = kind_of(value)
    if kind is int or kind is Uint:
        number = int(value)
    elif kind is float:
        # The ends are out of range for a double: it cannot tell them from their neighbours (CEL conformance tests).
        is_high_enough = value >= 0.0 if low == 0 else value > low
        if not (is_high_enough and value < high):
            raise overflow(f"the {name}")
        number = int(value)
    elif kind is str:
        if _INTEGER.fullmatch(value) is None:
            raise invalid(f"not a whole number: {value[:40]!r}")
        number = int(value)
    else:
        raise no_overload(name, value)
    if not low <= number <= high:
        raise overflow(f"the {name}")
    return number


def to_double(_frame: Frame, value: Value) -> Value:
    kind = kind_of(value)
    if kind is float:
        return value
    if kind is int or kind is Uint:
        try:
            return float(value)
        except OverflowError:
            raise overflow("the double") from None
    if kind is str:
        if len(value) > _MAX_NUMBER or _DOUBLE.fullmatch(value) is None:
            raise invalid(f"not a number: {value[:40]!r}")
        return float(value)
    raise no_overload("double", value)


def to_string(frame: Frame, value: Value) -> Value:
    """Write a value as text; a double in the shortest form that reads back the same."""
    kind = kind_of(value)
    if kind is str:
        return value
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is Uint:
        return str(int(value)) if abs(value) < 2**1024 else _too_long()
    if kind is float:
        return _double_text(value)
    if kind is bytes:
        frame.charge_made(len(value))
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            raise invalid("the bytes are not UTF-8") from None
    if kind is Timestamp:
        return format_timestamp(value)
    if kind is Duration:
        return format_duration(value)
    raise no_overload("string", value)


def _too_long() -> str:
    raise overflow("the int")


def _double_text(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value).removesuffix(".0")


def to_bool(_frame: Frame, value: Value) -> Value:
    if kind_of(value) is bool:
        return value
    if kind_of(value) is str:
        if value in _BOOLS:
            return _BOOLS[value]
        raise invalid(f"not a bool: {value[:40]!r}")
    raise no_overload("bool", value)


def to_bytes(frame: Frame, value: Value) -> Value:
    if kind_of(value) is bytes:
        return value
    if kind_of(value) is str:
        frame.charge_made(len(value))
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise invalid("the string is not valid Unicode") from None
    raise no_overload("bytes", value)


def to_timestamp(_frame: Frame, value: Value) -> Value:
    kind = kind_of(value)
    if kind is Timestamp:
        return value
    if kind is str:
        return parse_timestamp(value)
    if kind is int:
        return make_timestamp(value * SECOND)
    raise no_overload("timestamp", value)


def to_duration(_frame: Frame, value: Value) -> Value:
    if kind_of(value) is Duration:
        return value
    if kind_of(value) is str:
        return parse_duration(value)
    raise no_overload("duration", value)


def to_type(_frame: Frame, value: Value) -> Value:
    name = type_name(value)
    if name == "unknown":
        raise no_overload("type", value)
    return TYPES[name]


def to_dyn(_frame: Frame, value: Value) -> Value:
    return value


def size(_frame: Frame, value: Value) -> Value:
    """Count code points, bytes, elements or keys."""
    if kind_of(value) in (str, bytes, list) or is_map(value) or type_name(value) == "list":
        return len(value)
    raise no_overload("size", value)
