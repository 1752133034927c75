"""Log references: payloads of a log by the numbers of their events, so that nobody has to keep them. Pure.

``@event:<seq>`` stands for the payload of an event, for who reads the same log again. Never written anywhere.
"""

from __future__ import annotations

import msgspec

from ..events import RecordedEvent

KEPT_BYTES_MAX = 256
"""What is no longer is kept as it is."""
_HEAD = b"@event:"


def without_payload(event: RecordedEvent) -> RecordedEvent:
    """Return an event with a reference in the place of a payload that is long and stands in the log itself."""
    payload = event.payload
    if payload is None or len(payload) <= KEPT_BYTES_MAX or payload.startswith(b"@"):
        return event
    return msgspec.structs.replace(event, payload=_HEAD + str(event.seq).encode())


def event_of(reference: bytes) -> int | None:
    """Return the number of the event that a reference stands for, None for one of another kind."""
    return int(reference[len(_HEAD) :]) if reference.startswith(_HEAD) else None
