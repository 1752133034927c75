"""Told logger: a logger of structlog whose lines go to a step log as well, from level info on.

What the process does with its logs stays as it is configured: every line goes on to the logger behind it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, cast

import structlog

from .step_log import StepLog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

_KEPT_OUT = frozenset({"exc_info", "stack_info", "stack"})
_TEXT_CHARS_MAX = 4_000
_Call = tuple[tuple[Any, ...], dict[str, Any]]
"""The arguments with which the logger behind is called."""


def tell(logger: FilteringBoundLogger, step_log: StepLog) -> FilteringBoundLogger:
    """Return the logger that also tells the step log."""

    def pass_on(_logger: object, method: str, event: MutableMapping[str, Any]) -> _Call:
        said = dict(event)
        text = said.pop("event", "")
        told = {name: value for name, value in said.items() if name not in _KEPT_OUT and name != "level"}
        if said.get("exc_info"):
            told["error"] = _error_text(said["exc_info"])
        if method != "debug":
            step_log.line(str(text), **told, level="error" if method == "exception" else method)
        return (text,), said

    wrapper = structlog.make_filtering_bound_logger(logging.NOTSET)
    wrapped = structlog.wrap_logger(logger, processors=[pass_on], wrapper_class=wrapper, context_class=dict)
    return cast("FilteringBoundLogger", wrapped.bind())


def _error_text(exc_info: object) -> str:
    """The exception that a line is about, without its traceback."""
    error: object = exc_info if isinstance(exc_info, BaseException) else sys.exc_info()[1]
    if isinstance(exc_info, tuple):
        error = cast("tuple[object, ...]", exc_info)[1]
    return f"{type(error).__name__}: {error}"[:_TEXT_CHARS_MAX] if error is not None else ""
