"""Compiled expressions: the public thing of this folder.

``compile_expression`` checks a source and makes an ``Expression``; a plain path never touches the parser.
An ``Expression`` is immutable: any number of threads may evaluate it at once. Evaluating does no I/O, reads no clock,
ends within its budget, and never changes the context.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .closures import Builder
from .errors import EvaluationError, Exhausted, ExpressionError, Fault
from .export import export
from .frame import DEFAULT_BUDGET, Eval, Frame, Value, kind_of
from .parser import parse
from .paths import context_path, plain_path
from .scan import MAX_SOURCE
from .values import type_name

_PLAIN = frozenset({type(None), bool, int, str, list, dict})


@dataclass(frozen=True, slots=True)
class Reference:
    """The longest static path an expression reads, from its root: ``("steps", "fetch", "output", "body")``."""

    path: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """``references``: each once, in the order of the source, without comprehension variables."""

    source: str
    references: tuple[Reference, ...]
    _run: Eval = field(repr=False)
    _slots: int = field(default=0, repr=False)

    def evaluate(self, context: Mapping[str, object], *, budget: int = DEFAULT_BUDGET) -> Value:
        """Evaluate to a JSON value, which may share parts with ``context``: read it, do not change it.

        context: names to JSON values; below a name also any ``Mapping``. budget: steps. Raises EvaluationError.
        """
        frame = Frame(context, budget, self._slots)
        try:
            value = self._run(frame)
            return value if kind_of(value) in _PLAIN else export(frame, value)
        except Fault as fault:
            raise EvaluationError(fault.code, fault.message, expression=self.source) from None
        except Exhausted:
            message = f"the expression needs more than {budget:,} steps"
            raise EvaluationError("budget_exceeded", message, expression=self.source) from None
        except RecursionError:
            message = "the values are nested too deep"
            raise EvaluationError("too_deep", message, expression=self.source) from None

    def test(self, context: Mapping[str, object], *, budget: int = DEFAULT_BUDGET) -> bool:
        """Evaluate a condition. Raises EvaluationError, also for a value that is not a bool: nothing is truthy."""
        value = self.evaluate(context, budget=budget)
        if value is True or value is False:
            return value
        message = f"the condition gives {type_name(value)}, not bool"
        raise EvaluationError("not_a_bool", message, expression=self.source)


def compile_expression(source: str, *, roots: frozenset[str]) -> Expression:
    """Compile once, evaluate often. ``roots``: the names the context may have. Raises ExpressionError."""
    path = plain_path(source) if len(source) <= MAX_SOURCE else None
    if path is not None and path[0] in roots:
        return Expression(source, (Reference(path),), context_path(path))
    builder = Builder(roots)
    try:
        run = builder.build(parse(source))
    except RecursionError:
        raise ExpressionError("expression_too_deep", "the expression is nested too deep") from None
    ordered = dict.fromkeys(path for _, path in sorted(builder.references))
    return Expression(source, tuple(Reference(path) for path in ordered), run, builder.slots)
