"""The expression language: CEL, compiled to closures over JSON values."""

from .closures import SECRET_ROOT
from .errors import EvaluationError, ExpressionError
from .expression import Expression, Reference, compile_expression
from .frame import DEFAULT_BUDGET
from .scan import MAX_SOURCE

__all__ = [
    "DEFAULT_BUDGET",
    "MAX_SOURCE",
    "SECRET_ROOT",
    "EvaluationError",
    "Expression",
    "ExpressionError",
    "Reference",
    "compile_expression",
]
