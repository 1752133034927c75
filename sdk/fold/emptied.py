"""Emptied: what stands in a marking in the place of a value that the log had, and that is not stored any more. Pure."""

from __future__ import annotations

from ..events import RecordedEvent

EMPTIED = bytes(bytearray(b"null"))
"""Reads as ``null``; whoever hands a value on asks whether it ``is`` this object, of which there is one."""


def value_in(event: RecordedEvent) -> bytes:
    """Return the value that an event has brought; of events that always bring one."""
    return EMPTIED if event.payload is None else event.payload
