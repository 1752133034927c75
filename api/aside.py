"""Aside: what takes long is worked out in a thread, so that everybody else is answered meanwhile.

A few at once, for threads share one interpreter: what one caller hands in costs others some milliseconds, not seconds.
One call of the interpreter's own, as that which decodes JSON, is not interrupted: what is handed in is bounded before.

What follows the log of one run is no call but goes on in slices (``sdk.slices``), ``FOLDS`` of them at once.
"""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

import anyio
from anyio import CancelScope, CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect, Request

from ..sdk.connections import POSTGRES_CONNECTIONS_MAX, connect_postgres_alone
from ..sdk.stores.connection import Connection

AT_ONCE = 2
FOLDS = POSTGRES_CONNECTIONS_MAX // 2
"""Each keeps a connection of the pool for as long as it takes; the others are for everybody else."""
LARGE_BYTES = 256 * 1024
"""A larger body is read aside; a smaller one is read faster than handed over."""
LOGS_AT_ONCE = 2
"""Whole logs that are read aside; who comes third waits."""
CLOSE_S = 5.0
MANY = 500
"""What is made of more steps than that is made aside."""
T = TypeVar("T")
_LIMITER = CapacityLimiter(AT_ONCE)
_LOGS = CapacityLimiter(LOGS_AT_ONCE)
folding = CapacityLimiter(FOLDS)
"""``async with folding``: before a connection is taken."""


async def aside(call: Callable[[], T]) -> T:
    """Return what the call does. It goes on where nobody waits for it any more."""
    return await run_sync(call, limiter=_LIMITER)


async def aside_if_large(size_bytes: int, call: Callable[[], T]) -> T:
    return await aside(call) if size_bytes > LARGE_BYTES else call()


async def aside_if_many(count: int, call: Callable[[], T]) -> T:
    return await aside(call) if count > MANY else call()


async def aside_connected(request: Request, url: str, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Return what is made of whole logs, with an event loop of its own and a connection to this database.

    Ends where whoever asks has gone. Raises what the work does, in a group; ClientDisconnect.
    """
    elsewhere = _Elsewhere(url, work)

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        try:
            found = await run_sync(elsewhere.run, limiter=_LOGS, abandon_on_cancel=True)
        finally:
            elsewhere.leave()
        group.cancel_scope.cancel()
        return found
    raise ClientDisconnect


class _Elsewhere(Generic[T]):
    """Work in another thread, that can be ended from this one."""

    def __init__(self, url: str, work: Callable[[Connection], Awaitable[T]]) -> None:
        self._url = url
        self._work = work
        self._is_left = False
        self._cancel: Callable[[], object] = lambda: None

    def run(self) -> T:
        return anyio.run(self._go)

    def leave(self) -> None:
        """End it, from the other thread; no harm where it has ended."""
        self._is_left = True
        with suppress(RuntimeError):  # the loop is closed
            self._cancel()

    async def _go(self) -> T:
        with CancelScope() as scope:
            loop = get_running_loop()
            self._cancel = lambda: loop.call_soon_threadsafe(scope.cancel)
            if self._is_left:
                scope.cancel()
            conn = await connect_postgres_alone(self._url)
            try:
                return await self._work(conn)
            finally:
                with CancelScope(shield=True), anyio.move_on_after(CLOSE_S):
                    await conn.close()
        raise ClientDisconnect
