"""Arithmetic, order, membership and indexing, by the CEL language definition.

Integers are checked against 64 bits, division and remainder go toward zero, doubles follow IEEE 754. Numbers of
different types compare by value, but are never added or multiplied: that is an error, not a silent conversion.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TypeAlias

from .errors import Fault, invalid, overflow
from .frame import Frame, Value, kind_of
from .times import Duration, Timestamp, make_duration, make_timestamp
from .values import (
    INT_MAX,
    INT_MIN,
    LISTS,
    NUMERIC,
    ORDERED,
    UINT_MAX,
    MadeList,
    Uint,
    equal,
    is_map,
    lookup,
    no_overload,
)

Binary: TypeAlias = Callable[[Frame, Value, Value], Value]


def _integer(value: int, kind: type) -> Value:
    """Check the range of a result of two ints or two Uints."""
    if kind is int:
        if INT_MIN <= value <= INT_MAX:
            return value
    elif 0 <= value <= UINT_MAX:
        return Uint(value)
    raise overflow("the result")


def add(frame: Frame, left: Value, right: Value) -> Value:
    kind = kind_of(left)
    if kind is kind_of(right):
        if kind is int or kind is Uint:
            return _integer(int(left) + int(right), kind)
        if kind is float:
            return left + right
        if kind is str or kind is bytes:
            frame.charge_made(len(left) + len(right))
            return left + right
        if kind is Duration:
            return make_duration(left.ns + right.ns)
    if kind in LISTS and kind_of(right) in LISTS:
        frame.charge(len(left) + len(right))
        made = MadeList(left)
        made.extend(right)
        return made
    if kind is Timestamp and kind_of(right) is Duration:
        return make_timestamp(left.ns + right.ns)
    if kind is Duration and kind_of(right) is Timestamp:
        return make_timestamp(left.ns + right.ns)
    raise no_overload("+", left, right)


def subtract(_frame: Frame, left: Value, right: Value) -> Value:
    kind = kind_of(left)
    if kind is kind_of(right):
        if kind is int or kind is Uint:
            return _integer(int(left) - int(right), kind)
        if kind is float:
            return left - right
        if kind is Duration or kind is Timestamp:
            return make_duration(left.ns - right.ns)
    if kind is Timestamp and kind_of(right) is Duration:
        return make_timestamp(left.ns - right.ns)
    raise no_overload("-", left, right)


def multiply(_frame: Frame, left: Value, right: Value) -> Value:
    kind = kind_of(left)
    if kind is kind_of(right):
        if kind is int or kind is Uint:
            return _integer(int(left) * int(right), kind)
        if kind is float:
            return left * right
    raise no_overload("*", left, right)


def divide(_frame: Frame, left: Value, right: Value) -> Value:
    kind = kind_of(left)
    if kind is kind_of(right):
        if kind is int or kind is Uint:
            return _integer(_quotient(int(left), int(right)), kind)
        if kind is float:
            return left / right if right != 0.0 else _over_zero(left, right)
    raise no_overload("/", left, right)


def remainder(_frame: Frame, left: Value, right: Value) -> Value:
    kind = kind_of(left)
    if kind is kind_of(right) and (kind is int or kind is Uint):
        quotient = _integer(_quotient(int(left), int(right)), kind)
        return _integer(int(left) - int(right) * int(quotient), kind)
    raise no_overload("%", left, right)


def _quotient(left: int, right: int) -> int:
    if right == 0:
        raise Fault("divide_by_zero", "division by zero")
    size = abs(left) // abs(right)
    return size if (left < 0) == (right < 0) else -size


def _over_zero(left: float, zero: float) -> float:
    if left == 0.0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, zero)


def negate(value: Value) -> Value:
    if kind_of(value) is int:
        return _integer(-value, int)
    if kind_of(value) is float:
        return -value
    raise no_overload("-", value)


def _ordering(sign: str, compare: Callable[[Value, Value], bool]) -> Binary:
    def ordered(frame: Frame, left: Value, right: Value) -> bool:
        kind, other = kind_of(left), kind_of(right)
        if kind in NUMERIC and other in NUMERIC:
            return compare(left, right)
        if kind is other and kind in ORDERED:
            if kind is str or kind is bytes:
                frame.charge_read(min(len(left), len(right)))
            return compare(left, right)
        raise no_overload(sign, left, right)

    return ordered


def _not_equal(frame: Frame, left: Value, right: Value) -> bool:
    return not equal(frame, left, right)


def contains(frame: Frame, item: Value, container: Value) -> bool:
    """``item in container``: an element of a list, or a key of a map."""
    if kind_of(container) in LISTS:
        for candidate in container:
            frame.charge(1)
            if equal(frame, item, candidate):
                return True
        return False
    if is_map(container):
        return lookup(container, item)[0]
    raise no_overload("in", item, container)


def index(_frame: Frame, container: Value, key: Value) -> Value:
    """``container[key]``: a list by position from 0, a map by key."""
    if kind_of(container) in LISTS:
        if kind_of(key) not in NUMERIC:
            raise no_overload("list index", key)
        if kind_of(key) is float and not key.is_integer():
            raise invalid(f"a list has no index {key!r}")
        if 0 <= key < len(container):
            return container[int(key)]
        raise invalid(f"index {int(key)} is outside a list of {len(container)}")
    if is_map(container):
        found, value = lookup(container, key)
        if found:
            return value
        raise Fault("missing_value", f"the map has no key {_shown(key)}")
    raise no_overload("[]", container, key)


def _shown(key: Value) -> str:
    return f"{str(key)[:100]!r}" if kind_of(key) is str else str(key)[:100]


ARITHMETIC: dict[str, Binary] = {"+": add, "-": subtract, "*": multiply, "/": divide, "%": remainder}
RELATIONS: dict[str, Binary] = {
    "==": equal,
    "!=": _not_equal,
    "<": _ordering("<", operator.lt),
    "<=": _ordering("<=", operator.le),
    ">": _ordering(">", operator.gt),
    ">=": _ordering(">=", operator.ge),
    "in": contains,
}
