"""The config of a node with its templates expanded."""

from __future__ import annotations

from typing import Any

from ...compiler.cel import EvaluationError
from .step_context import StepContext, StepError


def render_config(step: StepContext) -> dict[str, Any]:
    """Return the config fields that are no CEL, expanded. Raises StepError."""
    assert step.code is not None
    return step.node.config if step.code.template.is_constant else render_template(step)


def render_template(step: StepContext) -> dict[str, Any]:
    """Return what the step's template makes of its config, nothing else of it. Raises StepError."""
    assert step.code is not None
    try:
        return dict(step.code.template.render(step.context()))
    except EvaluationError as error:
        raise StepError("EXPRESSION_ERROR", str(error)) from error
