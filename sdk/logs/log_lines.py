"""Log lines: what an event of structlog goes through before it is written, in every process of ours.

Secrets are masked. Tracebacks are texts by then. Times: ISO 8601 in UTC with ms.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import structlog
from structlog.typing import Processor

from ..secrets.redaction import redact_event


def _add_time(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["timestamp"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


LINE: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    _add_time,
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
    redact_event,
)
"""What stands before the renderer."""
JSON = structlog.processors.JSONRenderer(ensure_ascii=False)
