"""Documents on their way to an API. Pure."""

from __future__ import annotations

import msgspec


def headers_of(content: bytes) -> dict[str, str]:
    """Return what the request says of a document: that it is JSON, else YAML."""
    return {"Content-Type": "application/json" if _is_json(content) else "application/yaml"}


def _is_json(content: bytes) -> bool:
    try:
        msgspec.json.decode(content)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True
