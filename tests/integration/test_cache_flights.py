"""One attempt at a time makes an output; others wait for it, and keep neither slots nor each other."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from redis.asyncio import Redis

from courante.sdk.floor.cache_calls import Lock, free_cache_locks, take_cache_locks
from courante.sdk.keys import Keys
from courante.sdk.user_errors import FatalError
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
NODE = {"id": "s", "type": "function", "config": {"handler": "make"}, "cache": "global", "max_retries": 0}
PLAIN = ["run.started", "step.succeeded", "run.completed"]


class Maker:
    """A handler that stays until it is told to leave."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.entered, self.leave = anyio.Event(), anyio.Event()

    async def make(self, value: Any) -> Any:
        self.runs.append(str(value))
        self.entered.set()
        await self.leave.wait()
        return value


async def started(stage: Stage, run_ids: list[str]) -> None:
    async def count() -> int:
        async with stage.client.pool.acquire() as conn:
            sql = "SELECT count(*) FROM event_log WHERE type = 'run.started' AND run_id = ANY($1)"
            return int(await conn.fetchval(sql, run_ids))

    await until(count, lambda found: found == len(run_ids))


async def test_many_want_what_one_makes(stage: Stage) -> None:
    """On two workers; all of the others are hits, and waiting leaves no event."""
    maker = Maker()
    for _ in range(2):
        stage.worker({"make": maker.make})
    stage.supervisor()
    workflow = await stage.register(NODE)
    first = await stage.client.submit(workflow, 1)
    await maker.entered.wait()
    others = [await stage.client.submit(workflow, 1) for _ in range(10)]
    await started(stage, others)
    maker.leave.set()
    done = await stage.results([first, *others])
    assert {one.output["s"] for one in done} == {1}
    assert len(maker.runs) == 1
    for run_id in others:
        assert [kind for kind in await stage.types(run_id) if kind != "step.started"] == PLAIN
        (taken,) = [event for event in await stage.events(run_id) if event.facts.type == "step.succeeded"]
        assert (taken.facts.reason, taken.facts.data["from"]) == ("cache_hit", first)


async def test_who_waits_keeps_no_slot(stage: Stage) -> None:
    """With two slots and five that wait for what one of them makes, another workflow goes on."""
    maker = Maker()
    stage.worker({"make": maker.make}, concurrency=2)
    stage.supervisor()
    workflow = await stage.register(NODE)
    other = await stage.register({"id": "n", "type": "noop"}, id="other")
    run_ids = [await stage.client.submit(workflow, 1) for _ in range(6)]
    await maker.entered.wait()
    await started(stage, run_ids)
    assert (await stage.run(other)).status == "COMPLETED"
    assert not maker.leave.is_set()
    maker.leave.set()
    assert {one.status for one in await stage.results(run_ids)} == {"COMPLETED"}
    assert len(maker.runs) == 1


async def test_who_fails_lets_the_next_one_try(stage: Stage) -> None:
    """Each of them executes once, one after the other; of the one that succeeds the rest takes the output."""
    at_work: list[int] = []
    tries: list[str] = []

    async def make(value: Any) -> Any:
        at_work.append(1)
        assert len(at_work) == 1, "two at once"
        tries.append("x")
        await anyio.sleep(0.02)
        at_work.pop()
        if len(tries) < 4:
            raise FatalError("not yet")
        return value

    stage.worker({"make": make})
    stage.supervisor()
    workflow = await stage.register(NODE)
    done = await stage.results([await stage.client.submit(workflow, 1) for _ in range(8)])
    assert sorted(one.status for one in done) == ["COMPLETED"] * 5 + ["FAILED"] * 3
    assert len(tries) == 4


async def test_a_worker_that_dies_keeps_others_only_for_a_while(stage: Stage) -> None:
    """The lock's time is that of a lease; then another run makes the output, once, and the rest takes it."""
    maker = Maker()
    stage.worker({"make": maker.make}, lease_ms=3_000)
    stage.supervisor(lease_ms=3_000)
    workflow = await stage.register(NODE)
    run_ids = [await stage.client.submit(workflow, 1)]
    await maker.entered.wait()
    await stage.kill(0)
    maker.leave.set()
    stage.worker({"make": maker.make}, lease_ms=3_000)
    run_ids += [await stage.client.submit(workflow, 1) for _ in range(3)]
    assert {one.status for one in await stage.results(run_ids, timeout_s=40)} == {"COMPLETED"}
    assert len(maker.runs) == 2


async def test_a_lock_is_its_tokens(redis_url: str, env_name: str) -> None:
    """A later fence of the same token takes it at once; another token, or an earlier fence, does not, nor frees it."""
    keys = Keys(env_name)
    redis = Redis.from_url(redis_url)
    old, new, other = (Lock("w:s:00", owner, fence) for owner, fence in (("r|1", "7"), ("r|1", "9"), ("q|1", "99")))
    assert (await take_cache_locks(redis, keys, [old, other], 60_000))[0] == [True, False]
    assert (await take_cache_locks(redis, keys, [new, old, new], 60_000))[0] == [True, False, True]
    await free_cache_locks(redis, keys, [old, other])
    assert await redis.get(keys.cache_lock("w:s:00")) == b"r|1|9"
    assert 0 < await redis.pttl(keys.cache_lock("w:s:00")) <= 60_000
    await free_cache_locks(redis, keys, [new])
    assert (await take_cache_locks(redis, keys, [other], 60_000))[0] == [True]
    await redis.delete(keys.cache_lock("w:s:00"))
    await redis.aclose()
