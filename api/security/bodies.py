"""Bodies: at most so large, so deep and so slow. The application gets a body whole, in one message."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import accumulate
from typing import Any

import anyio
from anyio.to_thread import run_sync

from ..problems import Refused
from .headers import all_of
from .terms import Terms

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
THREAD_BYTES = 256 * 1024
"""A larger body is looked through in a thread."""
_STRING = re.compile(rb'"(?:[^"\\]++|\\(?:.|\Z))*+(?:"|\Z)', re.DOTALL)
_OPENING = b"[{"
_CLOSING = b"]}"
_STEPS = bytes(1 if byte in _OPENING else 255 if byte in _CLOSING else 0 for byte in range(256))
_OTHERS = bytes(byte for byte in range(256) if byte not in _OPENING + _CLOSING)


def has_body(scope: dict[str, Any]) -> bool:
    """Return whether one may come: a request without either of these headers has none."""
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


def check_length(scope: dict[str, Any], bytes_max: int) -> None:
    """Raises Refused for a body that says itself that it is too large."""
    for given in all_of(scope, b"content-length"):
        if given.isascii() and given.isdigit() and int(given[:20]) > bytes_max:
            raise _too_large(bytes_max)


def whole_body(receive: Receive, terms: Terms, bytes_max: int) -> Receive:
    """Return a ``receive`` that gives the body at once; afterwards it tells of the client's going. Raises Refused."""
    is_read = False

    async def receive_whole() -> Message:
        nonlocal is_read
        if is_read:
            found: Message = await receive()
            return found
        is_read = True
        body = await _collect(receive, terms, bytes_max)
        if body is None:
            return {"type": "http.disconnect"}
        if await _nesting(body, terms.depth_max) > terms.depth_max:
            raise Refused("body_too_deep", f"at most {terms.depth_max} objects and lists may stand inside each other")
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_whole


def nesting(body: bytes, enough: int) -> int:
    """Return how deep the objects and lists of a JSON text stand inside each other; exact where it is more than enough.

    Also of what is no JSON, by its brackets outside of strings. Linear in the text.
    """
    openings = body.count(b"[") + body.count(b"{")
    if openings <= enough:
        return openings
    steps = _STRING.sub(b"", body).translate(_STEPS, _OTHERS)
    return max(accumulate(memoryview(steps).cast("b"), initial=0))


async def _nesting(body: bytes, enough: int) -> int:
    if len(body) > THREAD_BYTES:
        return await run_sync(partial(nesting, body, enough))
    return nesting(body, enough)


async def _collect(receive: Receive, terms: Terms, bytes_max: int) -> bytes | None:
    """None where the client has gone."""
    pieces: list[bytes] = []
    size = 0
    began = time.monotonic()
    while True:
        patience_s = began + terms.silence_s + size / terms.bytes_per_s_min - time.monotonic()
        message: Message | None = None
        with anyio.move_on_after(max(0.0, patience_s)):
            message = await receive()
        if message is None:
            raise Refused("body_too_slow", "the body has not come in time", headers={"Connection": "close"})
        if message["type"] == "http.disconnect":
            return None
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > bytes_max:
            raise _too_large(bytes_max)
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


def _too_large(bytes_max: int) -> Refused:
    return Refused("body_too_large", f"a body has at most {bytes_max:,} bytes here")
