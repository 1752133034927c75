"""What payloads name: other payloads, and artifacts, by their digests."""

from __future__ import annotations

from ...sdk.errors import PayloadUnreadable
from ...sdk.sealing.artifacts import digests_in
from ...sdk.sealing.payload_terms import PAYLOAD_TERMS
from ...sdk.stores.payloads import read_reference


def named_by(payload: bytes | None) -> set[bytes]:
    """Return the digests that a payload of an event, or a content in clear, refers to."""
    if payload is None:
        return set()
    reference = read_reference(payload)
    return digests_in(payload) if reference is None else {reference.digest}


def decoded(content: bytes) -> bytes | None:
    """Return what is stored, in clear; None where its key was destroyed. Raises PayloadUnreadable without any."""
    if PAYLOAD_TERMS.codec is None:
        return PAYLOAD_TERMS.decode(content)
    try:
        return PAYLOAD_TERMS.decode(content)
    except PayloadUnreadable:
        return None
