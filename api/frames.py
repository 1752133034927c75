"""Frames: server-sent events as bytes.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

RETRY_MS = 1_000
HELLO = b"retry: %d\n\n" % RETRY_MS
ALIVE = b"event: alive\ndata: {}\n\n"
"""Nothing has happened: for who listens to know that, and for whoever stands between not to cut the line. Browsers tell
pages of events, and not of comments.
"""


def frame(content: bytes, *, id: str = "", name: str = "") -> bytes:
    """Return one event. content: JSON on one line."""
    head = (f"event: {name}\n" if name else "") + (f"id: {id}\n" if id else "")
    return b"%bdata: %b\n\n" % (head.encode(), content)
