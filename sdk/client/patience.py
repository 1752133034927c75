"""Patience: what needs Postgres waits for a while where that is away, and is then refused in words that help."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from ..server_errors import POSTGRES_AWAY
from ..unavailable import postgres_away

T = TypeVar("T")

PATIENCE_S = 10.0
PAUSE_S = 0.05
PAUSE_S_MAX = 1.0


async def wait_for_postgres(ask: Callable[[], Awaitable[T]], patience_s: float) -> T:
    """Ask again until Postgres is there. ``ask``: may be repeated also where its commit is in doubt.

    Raises ServiceUnavailable when patience_s are over.
    """
    deadline, pause = anyio.current_time() + patience_s, PAUSE_S
    while True:
        try:
            return await ask()
        except POSTGRES_AWAY as error:
            if anyio.current_time() + pause > deadline:
                raise postgres_away(error, f", and was waited for {patience_s:g} s") from error
        await anyio.sleep(pause)
        pause = min(2 * pause, PAUSE_S_MAX)
