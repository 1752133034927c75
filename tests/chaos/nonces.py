"""Nonces: words in outputs that say which execution made them."""

from __future__ import annotations

from typing import Any, cast

NONCE = "nonce"


def without_nonces(value: Any) -> Any:
    """The value as it would be, had other executions made it."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {name: without_nonces(one) for name, one in fields.items() if name != NONCE}
    if isinstance(value, list):
        return [without_nonces(one) for one in cast("list[Any]", value)]
    return value


def nonce_of(value: Any) -> str | None:
    """The nonce of an output, None where it has none."""
    return cast("dict[str, Any]", value).get(NONCE) if isinstance(value, dict) else None
