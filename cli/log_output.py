"""Logs of a command, on stderr: coloured lines on a terminal, JSON lines elsewhere. Times: ISO 8601 in UTC with ms.

Secrets are masked in all of it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import structlog

from ..sdk.redaction import redact_event
from .output import is_terminal, wants_colour

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logs(level: str) -> None:
    """Configure structlog for this process. level: debug, info, warning or error."""
    renderer: Any
    if is_terminal(sys.stderr):  # tracebacks are text by then: the pretty ones show the values of variables
        renderer = structlog.dev.ConsoleRenderer(
            colors=wants_colour(sys.stderr), pad_event_to=24, exception_formatter=structlog.dev.plain_traceback
        )
    else:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    processors = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _add_time,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact_event,
        renderer,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _add_time(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["timestamp"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event
