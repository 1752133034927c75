"""Comparisons: the general one, and closures for a constant on the right, the shape of most branch rules."""

from __future__ import annotations

import operator
from collections.abc import Callable

from .frame import Eval, Frame, Value, kind_of
from .operators import RELATIONS
from .syntax import ListNode, Literal, Node, Relation

_ORDERINGS: dict[str, Callable[[Value, Value], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def relation(node: Relation, left: Eval, right: Eval) -> Eval:
    """Compile ``left op right``."""
    sign, constant = node.operator, node.right
    if isinstance(constant, Literal):
        if sign in _ORDERINGS and kind_of(constant.value) in (int, float):
            return _ordered_constant(sign, left, constant.value)
        if sign in ("==", "!="):
            return _equal_constant(left, constant.value, is_equal=sign == "==")
    if sign == "in" and isinstance(constant, ListNode):
        names = _strings(constant.items)
        if names is not None:
            return _one_of(left, names, right)
    compare = RELATIONS[sign]
    return lambda frame: compare(frame, left(frame), right(frame))


def _ordered_constant(sign: str, left: Eval, constant: Value) -> Eval:
    compare, general = _ORDERINGS[sign], RELATIONS[sign]

    def run(frame: Frame) -> Value:
        value = left(frame)
        kind = kind_of(value)
        if kind is float or kind is int:
            return compare(value, constant)
        return general(frame, value, constant)

    return run


def _equal_constant(left: Eval, constant: Value, *, is_equal: bool) -> Eval:
    """A constant is at most as long as the source, so comparing with it needs no charge."""
    if constant is None or kind_of(constant) is bool:
        if is_equal:
            return lambda frame: left(frame) is constant
        return lambda frame: left(frame) is not constant
    if kind_of(constant) is str:
        if is_equal:
            return lambda frame: left(frame) == constant
        return lambda frame: left(frame) != constant
    general = RELATIONS["==" if is_equal else "!="]
    return lambda frame: general(frame, left(frame), constant)


def _strings(items: tuple[Node, ...]) -> frozenset[str] | None:
    """Collect a list of string constants; None for any other list."""
    values = [item.value for item in items if isinstance(item, Literal) and isinstance(item.value, str)]
    return frozenset(values) if values and len(values) == len(items) else None


def _one_of(left: Eval, names: frozenset[str], right: Eval) -> Eval:
    general = RELATIONS["in"]

    def run(frame: Frame) -> Value:
        value = left(frame)
        return value in names if kind_of(value) is str else general(frame, value, right(frame))

    return run
