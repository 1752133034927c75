"""Task ids: what a step of a run is called at the paths of task lists, safe in URLs. Pure."""

from __future__ import annotations

import base64
import binascii

import msgspec

from ...sdk.errors import RunNotFound


def task_id(run_id: str, step: str, scope: str) -> str:
    """scope: as people read it."""
    place = msgspec.json.encode([run_id, step, scope])
    return f"tr_{base64.urlsafe_b64encode(place).decode().rstrip('=')}"


def read_task_id(id: str) -> tuple[str, str, str]:
    """Return run, step and scope. Raises RunNotFound."""
    try:
        text = id.removeprefix("tr_")
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(content, type=tuple[str, str, str])
    except (ValueError, binascii.Error, msgspec.MsgspecError) as cause:
        raise RunNotFound(f"there is no task run {id[:100]!r}") from cause
