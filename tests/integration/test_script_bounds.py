"""What one call of a script may do at most, and what it leaves alone: timers in batches, older fences, ended runs."""

from __future__ import annotations

import pytest

from courante.sdk.floor.calling import Word
from courante.sdk.floor.scripts import QUEUE_GROUP, finish_runs, release_timers
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
WAIT = {"id": "w", "type": "wait", "config": {"for": "1h"}}


async def park(stage: Stage, runs: int) -> list[str]:
    """Runs whose only token waits for an hour, with timers that are due now."""
    stage.worker()
    workflow = await stage.register(WAIT)
    ids = [await stage.client.submit(workflow, number) for number in range(runs)]
    timers = stage.client.keys.partition(0).timers

    async def members() -> list[bytes]:
        found: list[bytes] = await stage.redis.zrange(timers, 0, -1)
        return found

    found = await until(members, lambda found: len(found) == runs)
    due: dict[bytes, float] = dict.fromkeys(found, 1.0)
    await stage.redis.zadd(timers, due)
    return ids


async def test_a_call_releases_so_many_timers_and_no_more(stage: Stage) -> None:
    """F60: however many are due."""
    await park(stage, 5)
    partition = stage.client.keys.partition(0)
    assert [(await release_timers(stage.redis, partition, 2))[0] for _ in range(4)] == [2, 2, 1, 0]


async def test_a_timer_of_an_older_fence_goes_and_does_nothing(stage: Stage) -> None:
    """F61: it was set for another life of the token, which waits on with the timer of its own."""
    (run_id,) = await park(stage, 1)
    partition = stage.client.keys.partition(0)
    (member,) = await stage.redis.zrange(partition.timers, 0, -1)
    name, _, fence = member.decode().rpartition("|")
    await stage.redis.zadd(partition.timers, {member: 2**52, f"{name}|{int(fence) - 1}".encode(): 1})
    before = await stage.redis.hgetall(partition.run(run_id))
    assert (await release_timers(stage.redis, partition, 10))[0] == 0
    assert await stage.redis.zrange(partition.timers, 0, -1) == [member]
    assert await stage.redis.hgetall(partition.run(run_id)) == before
    await stage.redis.zadd(partition.timers, {member: 1})
    assert (await release_timers(stage.redis, partition, 10))[0] == 1


async def test_a_run_that_has_ended_is_told_so_and_left_alone(stage: Stage) -> None:
    """F56: whoever comes second with its end changes nothing."""
    stage.worker()
    stage.supervisor()
    run_id = (await stage.run(await stage.register({"id": "a", "type": "noop"}), 1)).run_id
    partition = stage.client.keys.partition(0)
    before = await stage.redis.hgetall(partition.run(run_id))
    words: list[Word] = [QUEUE_GROUP, run_id, "", b"2", "COMPLETED", 1, b"\x00"]
    assert await finish_runs(stage.redis, partition, words) == "E"
    assert await stage.redis.hgetall(partition.run(run_id)) == before
