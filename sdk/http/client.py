"""The HTTP client of a worker: one pool of connections within its reach, lent to nodes and steps.

No proxies, cookies or credentials come from the environment: what is sent is what a document or a step says, and what
it goes through is the setting ``http_proxy``.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self, cast

import httpcore
import httpx

from .connecting import GuardedBackend, Resolver, resolve
from .reach import ALLOW_VARIABLE, PROXY_VARIABLE, Reach, reach_of_proxy, read_reach

CONNECT_S = 10.0
READ_S = 60.0
IDLE_CONNECTIONS_MAX = 64
IDLE_S = 30.0
USER_AGENT = "courante"
PORTS = {"http": 80, "https": 443}


class Connections(httpx.AsyncBaseTransport):
    """A transport over connections that are kept. Closing a client over it closes nothing; ``shut`` does."""

    def __init__(self, reach: Reach, resolver: Resolver = resolve) -> None:
        self._reach = reach
        inner = reach_of_proxy(reach.proxy) if reach.proxy else reach
        terms: dict[str, Any] = {
            "ssl_context": httpx.create_ssl_context(),
            "max_connections": None,
            "max_keepalive_connections": IDLE_CONNECTIONS_MAX,
            "keepalive_expiry": IDLE_S,
            "network_backend": GuardedBackend(inner, resolver),
        }
        self._pool = (
            httpcore.AsyncHTTPProxy(reach.proxy, **terms) if reach.proxy else httpcore.AsyncConnectionPool(**terms)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the answer's body is still to be read. Raises AddressRefused and httpx's errors."""
        url = request.url
        if self._reach.proxy:
            self._reach.check_named(url.raw_host.decode("ascii"), url.port or PORTS.get(url.scheme, 0))
        extensions: dict[str, object] = dict(cast("Any", request).extensions)
        inner = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=cast("httpx.AsyncByteStream", request.stream),
            extensions=extensions,
        )
        try:
            answer = await self._pool.handle_async_request(inner)
        except _HTTPCORE_ERRORS as error:
            raise _as_httpx(error, request) from error
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer, request),
            extensions=cast("dict[str, object]", cast("Any", answer).extensions),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """A client that ends leaves the connections to the others."""

    async def aclose(self) -> None:
        """As ``__aexit__``."""

    async def shut(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response, request: httpx.Request) -> None:
        self._answer = answer
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._answer.aiter_stream():
                yield part
        except _HTTPCORE_ERRORS as error:
            raise _as_httpx(error, self._request) from error

    async def aclose(self) -> None:
        await self._answer.aclose()


_HTTPCORE_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)


def _as_httpx(error: Exception, request: httpx.Request) -> httpx.RequestError:
    """The error of the same name: what people know, and what failures are told apart by."""
    kind: type[httpx.TransportError] = getattr(httpx, type(error).__name__, httpx.TransportError)
    return kind(str(error) or type(error).__name__, request=request)


def open_client(connections: Connections | None = None) -> httpx.AsyncClient:
    """Return a client over connections; without any it has its own, within what the environment allows."""
    if connections is None:
        connections = Connections(read_reach(*(os.environ.get(name, "") for name in (ALLOW_VARIABLE, PROXY_VARIABLE))))
    return httpx.AsyncClient(
        transport=connections,
        timeout=httpx.Timeout(READ_S, connect=CONNECT_S),
        trust_env=False,
        headers={"user-agent": USER_AGENT},
    )
