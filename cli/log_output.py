"""Logs of a command, on stderr: coloured lines on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from ..sdk.logs.log_lines import JSON, LINE
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
        renderer = JSON
    structlog.configure(
        processors=[*LINE, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
