"""Time that a test does not wait for: timers of a partition are due at once, as if theirs had come."""

from __future__ import annotations

from integration.stage import Stage

EVER_MS = 2**53


async def hasten(stage: Stage, what: str, *, before_ms: int = EVER_MS) -> int:
    """Let timers be due now whose member, ``run|token|fence``, has these words; return how many.

    before_ms: only those that would be due in so many milliseconds.
    """
    seconds, _ = await stage.redis.time()
    timers, due = stage.client.keys.partition(0).timers, seconds * 1_000 + before_ms
    found: list[bytes] = await stage.redis.execute_command("ZRANGEBYSCORE", timers, 0, due)
    chosen = [member for member in found if what in member.decode()]
    for member in chosen:
        await stage.redis.execute_command("ZADD", timers, "XX", 1, member)
    return len(chosen)
