"""The heads of runs in Redis, as tests look at them and spoil them."""

from __future__ import annotations

from redis.asyncio import Redis

from courante.sdk.floor.live_marking import RunHead


async def head_of(redis: Redis, run_key: str) -> RunHead:
    head = await redis.hget(run_key, "h")
    assert head is not None
    return RunHead.read(head.decode())


async def put_head(redis: Redis, run_key: str, head: RunHead) -> None:
    await redis.hset(run_key, mapping={"h": head.write()})
