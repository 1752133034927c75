"""``&&``, ``||``, ``!`` and the ternary: bools only, and errors absorbed where the other side decides.

``false && error`` and ``error && false`` are false; ``true || error`` and ``error || true`` are true. A value that is
not a bool counts as an error. A spent budget is no error in this sense: nothing absorbs it.
"""

from __future__ import annotations

from .errors import Fault
from .frame import Eval, Frame, Value, kind_of
from .values import no_overload


def logic(operator: str, operands: tuple[Eval, ...]) -> Eval:
    decisive = operator == "||"
    if len(operands) == 2:
        return _either(operands[0], operands[1]) if decisive else _both(operands[0], operands[1])
    return _many(operator, operands, decisive)


def _both(left: Eval, right: Eval) -> Eval:
    """``&&`` of two."""

    def run(frame: Frame) -> bool:
        try:
            first = left(frame)
        except Fault:
            if right(frame) is False:
                return False
            raise
        if first is False:
            return False
        second = right(frame)
        if second is False or (second is True and first is True):
            return bool(second)
        raise _not_bools("&&", first, second)

    return run


def _either(left: Eval, right: Eval) -> Eval:
    """``||`` of two."""

    def run(frame: Frame) -> bool:
        try:
            first = left(frame)
        except Fault:
            if right(frame) is True:
                return True
            raise
        if first is True:
            return True
        second = right(frame)
        if second is True or (second is False and first is False):
            return bool(second)
        raise _not_bools("||", first, second)

    return run


def _many(operator: str, operands: tuple[Eval, ...], decisive: bool) -> Eval:
    other = not decisive

    def run(frame: Frame) -> bool:
        failure: Fault | None = None
        for operand in operands:
            try:
                value = operand(frame)
            except Fault as fault:
                failure = failure or fault.with_traceback(None)
                continue
            if value is decisive:
                return bool(decisive)
            if value is not other:
                failure = failure or _not_bools(operator, value)
        if failure is not None:
            raise Fault(failure.code, failure.message)
        return other

    return run


def _not_bools(operator: str, *values: Value) -> Fault:
    return no_overload(operator, *(value for value in values if kind_of(value) is not bool))


def negation(operand: Eval) -> Eval:
    def run(frame: Frame) -> bool:
        value = operand(frame)
        if value is True:
            return False
        if value is False:
            return True
        raise no_overload("!", value)

    return run


def ternary(condition: Eval, then: Eval, otherwise: Eval) -> Eval:
    """Only the chosen side is evaluated."""

    def run(frame: Frame) -> Value:
        value = condition(frame)
        if value is True:
            return then(frame)
        if value is False:
            return otherwise(frame)
        raise no_overload("the condition of ?:", value)

    return run
