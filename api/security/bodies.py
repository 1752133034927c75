"""Bodies: at most so large, so deep, so slow, and of so many values. The application gets a body whole, in one message.

Decoding one object of millions of keys is one call that nobody can interrupt: its time is bounded by its members.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import anyio

from ..aside import aside_if_large
from ..problems import Refused
from .headers import all_of
from .terms import Terms

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
_PART = re.compile(rb'([^"]{0,4096})(?:"(?:[^"\\]++|\\(?:.|\Z))*+(?:"|\Z))?+', re.DOTALL)
"""What is outside of strings, a bounded part of it, and the string behind it."""
_STRUCTURE = b"[]{}:,"
_OTHERS = bytes(byte for byte in range(256) if byte not in _STRUCTURE)
_COLON, _COMMA = b":,"
_OPENINGS = frozenset(b"[{")


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
        enough = Shape(terms.depth_max, terms.values_max, terms.members_max)
        _check_shape(await aside_if_large(len(body), partial(shape_of, body, enough)), enough)
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_whole


class Shape(NamedTuple):
    """``depth``: of objects and lists inside each other. ``values``: in all of them, one in an empty one.

    ``members``: of the object that has most.
    """

    depth: int
    values: int
    members: int

    def is_within(self, other: Shape) -> bool:
        return self.depth <= other.depth and self.values <= other.values and self.members <= other.members


def shape_of(body: bytes, enough: Shape) -> Shape:
    """Return the shape of a JSON text: exact, or an upper bound that is not more than enough, or more than that.

    Also of what is no JSON, by what is outside of strings. Linear in the text, and over as soon as it is too much.
    """
    openings = body.count(b"[") + body.count(b"{")
    found = Shape(openings, openings + body.count(b","), body.count(b":"))
    if found.is_within(enough):
        return found
    around: list[int] = []
    deepest = values = most = here = 0
    for part in _PART.finditer(body):
        for byte in part[1].translate(None, _OTHERS):
            if byte == _COLON:
                here += 1
            elif byte == _COMMA:
                values += 1
            elif byte in _OPENINGS:
                values += 1
                around.append(here)
                here = 0
                deepest = max(deepest, len(around))
            elif around:
                most = max(most, here)
                here = around.pop()
        found = Shape(deepest, values, max(most, here))
        if not found.is_within(enough):
            break
    return found


def _check_shape(shape: Shape, enough: Shape) -> None:
    """Raises Refused."""
    if shape.depth > enough.depth:
        raise Refused("body_too_deep", f"at most {enough.depth} objects and lists may stand inside each other")
    if shape.values > enough.values:
        raise Refused("body_too_large", f"the objects and lists of a body have at most {enough.values:,} values here")
    if shape.members > enough.members:
        hint = "make a list of it"
        raise Refused("body_too_large", f"an object of a body has at most {enough.members:,} members here", hint=hint)


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
