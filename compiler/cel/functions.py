"""The table of functions: by which name, in which form and with how many arguments each may be called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from . import conversions, regex, strings
from .frame import Frame, Value, kind_of
from .times import Duration, Timestamp, duration_part, timestamp_part
from .values import no_overload

_CLOCK_PARTS = ("getHours", "getMinutes", "getSeconds", "getMilliseconds")
_DAY_PARTS = ("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear")


class Form(Enum):
    """How a function is written."""

    GLOBAL = "f(x)"
    METHOD = "x.f()"
    BOTH = "f(x) or x.f()"


@dataclass(frozen=True, slots=True)
class Function:
    """``fewest`` and ``most`` count arguments, the target of a method included."""

    name: str
    form: Form
    fewest: int
    most: int
    apply: Callable[..., Value]


def _part(name: str) -> Callable[..., Value]:
    """Make a getter of timestamps (with an optional zone) and, for parts of the clock, of durations."""
    is_clock = name in _CLOCK_PARTS

    def get(_frame: Frame, value: Value, *zone: Value) -> Value:
        if kind_of(value) is Timestamp and all(kind_of(name) is str for name in zone):
            return timestamp_part(name, value, *zone)
        if kind_of(value) is Duration and is_clock and not zone:
            return duration_part(name, value)
        raise no_overload(name, value, *zone)

    return get


_ALL = (
    Function("size", Form.BOTH, 1, 1, conversions.size),
    Function("matches", Form.BOTH, 2, 2, regex.matches),
    Function("int", Form.GLOBAL, 1, 1, conversions.to_int),
    Function("uint", Form.GLOBAL, 1, 1, conversions.to_uint),
    Function("double", Form.GLOBAL, 1, 1, conversions.to_double),
    Function("string", Form.GLOBAL, 1, 1, conversions.to_string),
    Function("bool", Form.GLOBAL, 1, 1, conversions.to_bool),
    Function("bytes", Form.GLOBAL, 1, 1, conversions.to_bytes),
    Function("timestamp", Form.GLOBAL, 1, 1, conversions.to_timestamp),
    Function("duration", Form.GLOBAL, 1, 1, conversions.to_duration),
    Function("type", Form.GLOBAL, 1, 1, conversions.to_type),
    Function("dyn", Form.GLOBAL, 1, 1, conversions.to_dyn),
    Function("contains", Form.METHOD, 2, 2, strings.contains),
    Function("startsWith", Form.METHOD, 2, 2, strings.starts_with),
    Function("endsWith", Form.METHOD, 2, 2, strings.ends_with),
    Function("lowerAscii", Form.METHOD, 1, 1, strings.lower_ascii),
    Function("upperAscii", Form.METHOD, 1, 1, strings.upper_ascii),
    Function("trim", Form.METHOD, 1, 1, strings.trim),
    Function("split", Form.METHOD, 2, 3, strings.split),
    Function("join", Form.METHOD, 1, 2, strings.join),
    Function("replace", Form.METHOD, 3, 4, strings.replace),
    Function("substring", Form.METHOD, 2, 3, strings.substring),
    Function("charAt", Form.METHOD, 2, 2, strings.char_at),
    Function("indexOf", Form.METHOD, 2, 3, strings.index_of),
    Function("lastIndexOf", Form.METHOD, 2, 3, strings.last_index_of),
    *(Function(name, Form.METHOD, 1, 2, _part(name)) for name in _DAY_PARTS + _CLOCK_PARTS),
)
FUNCTIONS = {function.name: function for function in _ALL}
