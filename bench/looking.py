"""Waiting for what other processes do: servers and daemons set no event, so it is looked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

LOOK_S = 0.02


async def until(is_so: Callable[[], Awaitable[bool]], *, look_s: float = LOOK_S) -> None:
    """Return when it is so; look every ``look_s`` seconds. Waits for ever: whoever calls sets the deadline."""
    while not await is_so():  # noqa: ASYNC110 - other processes set no event
        await anyio.sleep(look_s)
