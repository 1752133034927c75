"""Calls of functions: checked against the table when the expression is compiled."""

from __future__ import annotations

from ..diagnostics import did_you_mean
from .errors import ExpressionError, Fault
from .frame import Eval
from .functions import FUNCTIONS, Form, Function
from .regex import matches_constant
from .syntax import Call, Literal

_MACRO_NAMES = ("all", "exists", "exists_one", "filter", "map")


def call(node: Call, arguments: tuple[Eval, ...]) -> Eval:
    """Compile a call. Raises ExpressionError for an unknown function, a wrong form, count or constant pattern."""
    function = FUNCTIONS.get(node.function)
    if function is None:
        raise _unknown(node)
    _check_shape(function, node)
    if function.name == "matches" and isinstance(node.arguments[1], Literal):
        return _constant_matches(node, arguments[0])
    return _apply(function, arguments)


def _unknown(node: Call) -> ExpressionError:
    if node.function in _MACRO_NAMES:
        hint = f"write list.{node.function}(x, ...)"
    else:
        hint = did_you_mean(node.function, (*FUNCTIONS, *_MACRO_NAMES, "has"))
    return ExpressionError(
        "expression_unknown_function", f"unknown function {node.function!r}", offset=node.offset, hint=hint
    )


def _check_shape(function: Function, node: Call) -> None:
    given = len(node.arguments)
    is_form_wrong = function.form is (Form.GLOBAL if node.is_method else Form.METHOD)
    if not is_form_wrong and function.fewest <= given <= function.most:
        return
    counted = f"{function.fewest}" if function.fewest == function.most else f"{function.fewest} to {function.most}"
    if is_form_wrong:
        message = f"{function.name} is written {_written(function)}"
    else:
        message = f"{function.name} takes {counted} values, the one before the dot included, not {given}"
    raise ExpressionError("expression_bad_call", message, offset=node.offset, hint=f"write {_written(function)}")


def _written(function: Function) -> str:
    letters = [chr(ord("x") + place) if place < 3 else "w" for place in range(function.fewest)]
    if function.form is Form.METHOD:
        return f"{letters[0]}.{function.name}({', '.join(letters[1:])})"
    return f"{function.name}({', '.join(letters)})"


def _constant_matches(node: Call, text: Eval) -> Eval:
    pattern = node.arguments[1]
    if not isinstance(pattern, Literal) or not isinstance(pattern.value, str):
        raise ExpressionError("expression_bad_call", "matches takes a pattern as a string", offset=node.offset)
    try:
        match = matches_constant(pattern.value)
    except Fault as fault:
        raise ExpressionError("expression_bad_regex", fault.message, offset=pattern.offset) from None
    return lambda frame: match(frame, text(frame))


def _apply(function: Function, arguments: tuple[Eval, ...]) -> Eval:
    apply = function.apply
    if len(arguments) == 1:
        (first,) = arguments
        return lambda frame: apply(frame, first(frame))
    if len(arguments) == 2:
        first, second = arguments
        return lambda frame: apply(frame, first(frame), second(frame))
    return lambda frame: apply(frame, *(argument(frame) for argument in arguments))
