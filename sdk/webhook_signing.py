"""Signing of webhooks: who receives one can tell that it is from here, whole, and new. Pure."""

from __future__ import annotations

import hashlib
import hmac

ID_HEADER = "courante-id"
TIMESTAMP_HEADER = "courante-timestamp"
SIGNATURE_HEADER = "courante-signature"


def sign(secret: bytes, event_id: str, timestamp_s: int, body: bytes) -> str:
    """Return ``v1=`` and the HMAC-SHA256 of ``<id>.<timestamp>.<body>`` in hex."""
    text = f"{event_id}.{timestamp_s}.".encode() + body
    return f"v1={hmac.new(secret, text, hashlib.sha256).hexdigest()}"


def verify(
    secret: bytes,
    event_id: str,
    timestamp_s: int,
    body: bytes,
    signature: str,
    *,
    now_s: float,
    tolerance_s: float = 300,
) -> bool:
    """Whether a request is signed with this secret, and not older, or newer, than the tolerance."""
    is_new = abs(now_s - timestamp_s) <= tolerance_s
    return hmac.compare_digest(sign(secret, event_id, timestamp_s, body).encode(), signature.encode()) and is_new
