"""The way out of an evaluation: a CEL value becomes a JSON value.

Timestamps become RFC 3339 text, durations seconds such as ``3.5s``, bytes base64, types their names, uint a number,
keys of maps text. Containers of the context are JSON already and are handed on as they are, not copied.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import cast

from .errors import Fault, invalid
from .frame import Frame, Value, kind_of
from .times import Duration, Timestamp, format_duration, format_timestamp
from .values import BoolKey, CelType, MadeList, MadeMap, Uint, no_overload

_AS_IS = frozenset({type(None), bool, int, str, list, dict})


def export(frame: Frame, value: Value) -> Value:
    """Make ``value`` JSON. Charges for every element of a container that the expression made. Raises Fault."""
    kind = kind_of(value)
    if kind in _AS_IS:
        return value
    if kind is float:
        if not math.isfinite(value):
            raise invalid(f"the result {value} is not a JSON number")
        return value
    if kind is MadeList:
        frame.charge(len(value))
        return [export(frame, item) for item in value]
    if kind is MadeMap or isinstance(value, Mapping):
        return _export_map(frame, cast("Mapping[Value, Value]", value))
    return _export_scalar(frame, value)


def _export_map(frame: Frame, value: Mapping[Value, Value]) -> dict[str, Value]:
    frame.charge(len(value))
    made: dict[str, Value] = {}
    for key, item in value.items():
        name = _key_text(key)
        if name in made:
            raise invalid(f"two keys of the result are both {name[:100]!r} in JSON")
        made[name] = export(frame, item)
    return made


def _key_text(key: Value) -> str:
    if isinstance(key, BoolKey):
        return "true" if key.value else "false"
    return key if kind_of(key) is str else str(int(key))


def _export_scalar(frame: Frame, value: Value) -> Value:
    kind = kind_of(value)
    if kind is Uint:
        return int(value)
    if kind is Timestamp:
        return format_timestamp(value)
    if kind is Duration:
        return format_duration(value)
    if kind is bytes:
        frame.charge_made(len(value))
        return base64.b64encode(value).decode()
    if kind is CelType:
        return value.name
    raise _not_json(value)


def _not_json(value: Value) -> Fault:
    return no_overload("result", value)
