"""Who is there and what has come to a standstill, by the clock of Redis alone."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from courante.sdk.floor.clock import read_clock
from courante.sdk.floor.presence import FORGOTTEN_S
from courante.sdk.stores.workers import WorkerRow, list_workers
from courante.supervisor.registry import Registry
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


async def listed(stage: Stage) -> list[WorkerRow]:
    """Copy once, and look."""
    keys = stage.client.keys
    await Registry(stage.redis, stage.client.pool, keys, keys.partition(0)).copy()
    async with stage.client.pool.acquire() as conn:
        return await list_workers(conn, stage.place.env)


async def test_a_process_whose_clock_is_wrong_is_listed_at_the_right_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two days ahead, worker and supervisor agree with everybody else."""
    before = await read_clock(stage.redis)
    wrong = time.time() + timedelta(days=2).total_seconds()
    monkeypatch.setattr(time, "time", lambda: wrong)
    stage.worker({"greet": lambda: "hello"})
    (found,) = await until(lambda: listed(stage), lambda rows: len(rows) == 1)
    after = await read_clock(stage.redis)
    assert before - 1 <= found.started_at.timestamp() <= found.last_seen.timestamp() <= after + 1
    assert found.handlers == ("greet",)


async def test_workers_that_were_silent_for_an_hour_are_forgotten(stage: Stage) -> None:
    keys = stage.client.keys.partition(0)
    now = await read_clock(stage.redis)
    await stage.redis.zadd(keys.workers, {"old": now - FORGOTTEN_S - 5, "young": now - FORGOTTEN_S + 60})
    assert await listed(stage) == []
    assert await stage.redis.zrange(keys.workers, 0, -1) == [b"young"]
