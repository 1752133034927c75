"""Logs of a command, on stderr: coloured lines on a terminal, JSON lines elsewhere. Times: ISO 8601 in UTC with ms."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import structlog

from .output import is_terminal, wants_colour

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logs(level: str) -> None:
    """Configure structlog for this process. level: debug, info, warning or error."""
    renderer: Any
    if is_terminal(sys.stderr):
        renderer = structlog.dev.ConsoleRenderer(colors=wants_colour(sys.stderr), pad_event_to=24)
    else:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _add_time,
        structlog.processors.StackInfoRenderer(),
    ]
    if not is_terminal(sys.stderr):
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _add_time(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["timestamp"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event
