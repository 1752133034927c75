"""Connections to Redis: one that the server has reset says so with an error of Redis, on every event loop.

uvloop, which the daemons run on, raises a RuntimeError for what is written to a connection after its end was heard of,
and redis-py hands it on: nobody who waits out a server that is away would catch it.
"""

from __future__ import annotations

from collections.abc import Iterable

from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.exceptions import ConnectionError as RedisConnectionError


class _Watched(AbstractConnection):
    """Looks whether its end was heard of where nothing comes between the look and the write."""

    __slots__ = ()

    async def can_read(self) -> bool:
        """Raises what lets a pool connect anew."""
        if self._has_ended():
            raise _reset()
        return await super().can_read()

    async def send_packed_command(
        self,
        command: bytes | Iterable[bytes],
        check_health: bool = True,  # noqa: FBT002 - as redis-py has it
    ) -> None:
        if self._has_ended():
            await self.disconnect(nowait=True)
            raise _reset()
        await super().send_packed_command(command, check_health)

    async def _send_packed_command(self, command: Iterable[bytes]) -> None:
        """As above, in the task that a write with a timeout has."""
        if self._has_ended():
            raise _reset()
        await super()._send_packed_command(command)

    def _has_ended(self) -> bool:
        return self._writer is not None and self._writer.is_closing()


class _Tcp(_Watched, Connection):
    pass


class _Unix(_Watched, UnixDomainSocketConnection):
    pass


class _Ssl(_Watched, SSLConnection):
    pass


WATCHED: dict[type[AbstractConnection], type[AbstractConnection]] = {
    Connection: _Tcp,
    UnixDomainSocketConnection: _Unix,
    SSLConnection: _Ssl,
}


def watch_connections(pool: ConnectionPool) -> None:
    """Have a pool that has made no connection yet make those that say when they were reset."""
    pool.connection_class = WATCHED[pool.connection_class]


def _reset() -> RedisConnectionError:
    return RedisConnectionError("the server has reset the connection")
