"""An API key as people see it."""

from __future__ import annotations

from datetime import datetime

from ...sdk.stores.api_keys import ApiKey
from ..texts import age_text, iso


def key_row(key: ApiKey, now: datetime) -> list[str]:
    """Cells of ``id name scopes used state``."""
    used = "never" if key.used_at is None else age_text((now - key.used_at).total_seconds())
    return [key.id, key.name, ", ".join(key.scopes), used, state_text(key, now)]


def state_text(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        by = f" by {key.revoked_by}" if key.revoked_by else ""
        return f"revoked {iso(key.revoked_at)}{by}"
    if key.expires_at is None:
        return "in force"
    return f"{'expired' if key.expires_at <= now else 'until'} {iso(key.expires_at)}"
