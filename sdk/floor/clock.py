"""The clock: one for all, that of Redis. No process compares its own with times that somebody else has written."""

from __future__ import annotations

from typing import cast

from .calling import Connection


async def read_clock(redis: Connection) -> float:
    """Return the time of Redis in seconds since the epoch; one round trip."""
    seconds, micros = cast("tuple[int, int]", await redis.execute_command("TIME"))
    return int(seconds) + int(micros) / 1_000_000
