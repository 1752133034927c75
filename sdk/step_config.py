"""The config of a node with its templates expanded."""

from __future__ import annotations

from typing import Any

from ..compiler.cel import EvaluationError
from .step_context import StepContext, StepError


def render_config(step: StepContext) -> dict[str, Any]:
    """Return the config fields that are no CEL, expanded. Raises StepError."""
    assert step.code is not None
    template = step.code.template
    if template.is_constant:
        return step.node.config
    try:
        return template.render(step.context())  # type: ignore[no-any-return]  # an object stays an object
    except EvaluationError as error:
        raise StepError("EXPRESSION_ERROR", str(error)) from error
