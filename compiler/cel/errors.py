"""What goes wrong with an expression: before a run, while one is evaluated, and inside an evaluation.

    Exception
    ├── ExpressionError    the source is refused; raised by ``compile_expression`` and the templates
    ├── EvaluationError    the values are refused; raised by ``Expression.evaluate`` and ``render``
    ├── Fault              a CEL error on its way up: ``&&``, ``||``, ``all`` and ``exists`` may absorb it
    └── Exhausted          the budget is spent: nothing absorbs it

The last two never leave this folder. Codes are listed in ``docs/reference/expressions.md``.
"""

from __future__ import annotations


class ExpressionError(Exception):
    """The source does not compile.

    offset: position in the source in code points, -1 where unknown.
    path: where in a JSON value the text stands; empty but for ``compile_value``.
    """

    def __init__(
        self, code: str, message: str, *, offset: int = -1, hint: str = "", path: tuple[str | int, ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.offset = offset
        self.hint = hint
        self.path = path


class EvaluationError(Exception):
    """An evaluation ended without a value. ``expression`` is the source."""

    def __init__(self, code: str, message: str, *, expression: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.expression = expression


class Fault(Exception):
    """One CEL error, not yet bound to an expression."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Exhausted(Exception):
    """The evaluation has used its budget."""


def invalid(message: str) -> Fault:
    """Make the fault of an argument that has the right type and a wrong value."""
    return Fault("invalid_argument", message)


def overflow(what: str) -> Fault:
    return Fault("overflow", f"{what} is out of range")
