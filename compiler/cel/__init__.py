"""The expression language: CEL, compiled to closures over JSON values."""

from .errors import EvaluationError, ExpressionError
from .expression import Expression, Reference, compile_expression
from .frame import DEFAULT_BUDGET
from .scan import MAX_SOURCE

__all__ = [
    "DEFAULT_BUDGET",
    "MAX_SOURCE",
    "EvaluationError",
    "Expression",
    "ExpressionError",
    "Reference",
    "compile_expression",
]
