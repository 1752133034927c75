"""The protocol: what uvicorn does on a connection, with an end to all patience.

uvicorn waits for ever for a request that never gets complete, and for a client that reads no answer; it takes headers
of any size and any number of connections. Each of these ends here, without the application.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_MAX = 100
LINGER_S = 2.0
"""How long the rest of a request that is refused is read and thrown away."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """``head_s``: from the first byte of a request, or from the connection, to the end of its headers. ``read_s``: how
    long a client may read nothing of what it asked for. ``head_bytes_max``: of the first line and all headers.
    """

    connections_max: int = 4_096
    head_s: float = 10.0
    read_s: float = 30.0
    head_bytes_max: int = 32 * 1024


def make_protocol(limits: Limits) -> type[asyncio.Protocol]:
    """Return the class of connections, for ``uvicorn.Config(http=...)``."""
    return cast("type[asyncio.Protocol]", type("BoundProtocol", (GuardedProtocol,), {"limits": limits}))


class GuardedProtocol(HttpToolsProtocol):
    limits = Limits()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._head_bytes = 0
        self._has_asked = False
        self._is_in_body = False
        self._is_refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        if len(self.connections) > self.limits.connections_max:
            self._refuse(503, "Service Unavailable", "retry-after: 1")
            self.transport.close()
            return
        self._start("head", self.limits.head_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        for name in list(self._timers):
            self._stop(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        was_in_body = self._is_in_body
        super().data_received(data)
        is_answered = not self._has_asked or self.cycle.response_complete
        if self.transport.is_closing() or not is_answered:
            self._head_bytes = 0
        elif self._is_in_body:  # the rest of a body that nobody wants: the answer is on its way meanwhile
            self._start("rest", LINGER_S, self.transport.abort)
        else:
            self._start("head", self.limits.head_s, self._give_up)
            self._head_bytes = 0 if was_in_body else self._head_bytes + len(data)
            if self._head_bytes > self.limits.head_bytes_max:
                self._refuse(431, "Request Header Fields Too Large")

    def on_headers_complete(self) -> None:
        if self._is_refused:
            return
        self._stop("head")
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.limits.head_bytes_max or len(self.headers) > HEADERS_MAX:
            self._refuse(431, "Request Header Fields Too Large")
            return
        self._head_bytes = 0
        self._has_asked = self._is_in_body = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._is_refused:
            self._is_in_body = False
            self._stop("rest")
            super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start("read", self.limits.read_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop("read")
        super().resume_writing()

    def _give_up(self) -> None:
        self._refuse(408, "Request Timeout")

    def _refuse(self, status: int, reason: str, *headers: str) -> None:
        """Say it in one line. What still comes is thrown away for a moment, or the line would be lost with it."""
        if self._is_refused:
            return
        self._is_refused = True
        self._stop("head")
        lines = [f"HTTP/1.1 {status} {reason}", "content-length: 0", "connection: close", *headers, "", ""]
        self.transport.write("\r\n".join(lines).encode())
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._start("rest", LINGER_S, self.transport.abort)
        else:
            self.transport.close()

    def _start(self, name: str, after_s: float, end: Callable[[], None]) -> None:
        """Start a timer, unless it runs."""
        if name not in self._timers:
            self._timers[name] = self.loop.call_later(after_s, end)

    def _stop(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
