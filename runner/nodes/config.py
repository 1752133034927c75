"""The config of a node with its templates expanded."""

from __future__ import annotations

from typing import Any

from ...compiler.cel import EvaluationError
from ...sdk.step_context import StepError
from ..work import Work


def render_config(work: Work) -> dict[str, Any]:
    """Return the config fields that are no CEL, expanded. Raises StepError."""
    assert work.code is not None
    template = work.code.template
    if template.is_constant:
        return work.node.config
    try:
        return template.render(work.context())  # type: ignore[no-any-return]  # an object stays an object
    except EvaluationError as error:
        raise StepError("EXPRESSION_ERROR", str(error)) from error
