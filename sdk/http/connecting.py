"""Connecting: names are resolved once, every answer is checked, and the connection goes to an address that was checked.

So nothing changes between the check and the connection: neither a second answer of the DNS nor a redirect gets past it,
for every connection is made here. Certificates are still checked against the name.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias, cast

import anyio
import httpcore

from .reach import Reach

Resolver: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
"""From host and port to addresses, in the order in which they are tried."""
ADDRESSES_MAX = 8


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system. Raises OSError."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections within ``reach``."""

    def __init__(self, reach: Reach, resolver: Resolver = resolve) -> None:
        self._reach = reach
        self._resolver = resolver
        self._inner = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises AddressRefused where one of the addresses is not allowed, and httpcore's errors."""
        addresses = await self._addresses(host, port, timeout)
        for address in addresses:
            self._reach.check(host, address, port)
        failure: Exception | None = None
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = failure or error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    async def _addresses(self, host: str, port: int, timeout_s: float | None) -> list[str]:
        try:
            with anyio.fail_after(timeout_s):
                return (await self._resolver(host, port))[:ADDRESSES_MAX]
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"the name {host} was not resolved in time") from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host} cannot be resolved: {error}") from error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface is httpcore's
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        del timeout, socket_options
        raise httpcore.ConnectError(f"sockets of this machine are not called: {path}")

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)
