"""The protocol: what uvicorn does on a connection, with an end to all patience.

uvicorn waits for ever for a request that never gets complete, and for a client that reads no answer; it takes headers
of any size and any number of connections, of one address too. Each of these ends here, without the application.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, ClassVar, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from .buckets import neighbourhood

HEADERS_MAX = 100
LINGER_S = 2.0
"""How long the rest of a request that is refused is read and thrown away."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """``head_s``: from the first byte of a request, or from the connection, to the end of its headers. ``read_s``: how
    long a client may read nothing of what it asked for. ``head_bytes_max``: of the first line and all headers.
    ``address_connections_max``: from one address, or one network of IPv6, but for those in ``uncounted``.
    """

    connections_max: int = 4_096
    address_connections_max: int = 1_024
    uncounted: tuple[IPv4Network | IPv6Network, ...] = ()
    head_s: float = 10.0
    read_s: float = 30.0
    head_bytes_max: int = 32 * 1024


def make_protocol(limits: Limits) -> type[GuardedProtocol]:
    """Return the class of connections, for ``uvicorn.Config(http=...)``."""
    terms = {"limits": limits, "by_address": Counter[str]()}
    return type("BoundProtocol", (GuardedProtocol,), terms)


def counted_as(address: str, uncounted: Sequence[IPv4Network | IPv6Network]) -> str:
    """Return by what name the connections of an address are counted; nothing where they are not."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return "" if any((mapped or found) in network for network in uncounted) else neighbourhood(address)


class GuardedProtocol(HttpToolsProtocol):
    """``by_address``: how many connections are held, of those that are counted."""

    limits = Limits()
    by_address: ClassVar[Counter[str]] = Counter()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._head_bytes = 0
        self._is_in_body = False
        self._framing_bytes = 0
        self._is_refused = False
        self._counted_as = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        name = "" if self.client is None else counted_as(self.client[0], self.limits.uncounted)
        if len(self.connections) > self.limits.connections_max:
            self._refuse(503, "Service Unavailable", "retry-after: 1")
            self.transport.close()
        elif name and self.by_address[name] >= self.limits.address_connections_max:
            self._refuse(429, "Too Many Requests", "retry-after: 1")
            self.transport.close()
        else:
            self._count(name)
            self._start("head", self.limits.head_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._count("")
        for name in list(self._timers):
            self._stop(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        was_in_body = self._is_in_body
        self._framing_bytes += len(data) if was_in_body else 0
        super().data_received(data)
        cycle = cast("RequestResponseCycle | None", self.cycle)
        is_answered = cycle is None or cycle.response_complete
        if self._framing_bytes > self.limits.head_bytes_max:
            self._break_off()
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
        if not self._is_addressed_here():
            self._refuse(400, "Bad Request")
            return
        self._head_bytes = self._framing_bytes = 0
        self._is_in_body = True
        super().on_headers_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_body:  # headers behind a body count for nothing: a proxy may not have looked at them
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._framing_bytes = 0
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._is_refused:
            self._is_in_body = False
            self._framing_bytes = 0
            self._stop("rest")
            super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start("read", self.limits.read_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop("read")
        super().resume_writing()

    def _count(self, name: str) -> None:
        """Count this connection by this name, and no more by the one before."""
        before, self._counted_as = self._counted_as, name
        if name:
            self.by_address[name] += 1
        if before:
            self.by_address[before] -= 1
            if not self.by_address[before]:
                del self.by_address[before]

    def _is_addressed_here(self) -> bool:
        """An address that stands in the first line must be the one in the header Host, which is checked later."""
        if self.url.startswith(b"/") or self.url == b"*":
            return True
        authority = re.split(rb"[/?#]", self.url.partition(b"://")[2], maxsplit=1)[0]
        return [value for name, value in self.headers if name == b"host"] == [authority]

    def _break_off(self) -> None:
        """End a body of which too much comes that is no content: its framing, or headers behind it."""
        if self.cycle.response_started:
            self.transport.abort()
            return
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        self._refuse(431, "Request Header Fields Too Large")

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
