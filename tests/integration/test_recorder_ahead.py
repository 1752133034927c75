"""With more in the outbox than one batch takes, the recorder prepares the next batch while Postgres has this one."""

from __future__ import annotations

from typing import Any, cast

import asyncpg
import pytest
from redis.asyncio import Redis

from courante.sdk.stores.connection import Pool
from courante.supervisor.recording.recorder import Recorder, RecorderSettings
from integration.outbox_writer import COMPLETED, Writer, node_ids, started, succeeded, types
from integration.test_recorder_faults import FaultyPool, Killed

pytestmark = pytest.mark.anyio

RUNS, ROUNDS = 6, 60
WHOLE = ["run.started", *["step.succeeded", "join.fired"] * ROUNDS, "run.completed"]
SETTINGS = RecorderSettings(batch_events=80)


async def fill(writer: Writer, name: str = "run") -> list[str]:
    """Several hundred entries; the events of each run are spread over all batches. Returns the runs."""
    runs = [f"{name}_{number}" for number in range(RUNS)]
    await writer.add(*(writer.fields(run_id, [started()]) for run_id in runs))
    for _ in range(ROUNDS):
        for run_id in runs:
            await writer.put(run_id, succeeded("fetch"), codes=["F2::*"])
    for run_id in runs:
        await writer.put(run_id, COMPLETED)
    return runs


async def record_all(recorder: Recorder) -> None:
    while await recorder.record_batch():
        pass


class Reads:
    """A client that counts the pages read of the outbox."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.pages = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)

    async def execute_command(self, *words: Any) -> Any:
        self.pages += words[0] == "XRANGE"
        return await self._redis.execute_command(*words)


async def test_what_was_prepared_is_recorded_as_it_is(redis: Redis, pool: Pool, env_name: str, writer: Writer) -> None:
    """One read of the outbox to a batch, and one more where there is nothing left: none is read twice."""
    runs = await fill(writer)
    reads = Reads(redis)
    recorder = Recorder(cast("Redis", reads), pool, env_name, 0, node_ids, settings=SETTINGS)
    batches = 0
    while await recorder.record_batch():
        batches += 1
    await recorder.aclose()
    assert batches > 3
    assert reads.pages <= batches + 2
    assert [await types(pool, run_id) for run_id in runs] == RUNS * [WHOLE]


async def test_a_commit_fails_while_the_next_batch_is_prepared(redis: Redis, pool: Pool, env_name: str) -> None:
    """What was prepared after it is forgotten with it."""
    for fatal in range(8, 60, 4):
        env = f"{env_name}-{fatal}"
        runs = await fill(Writer(redis, env), f"run_{fatal}")
        recorder = Recorder(redis, cast("Pool", FaultyPool(pool, fatal)), env, 0, node_ids, settings=SETTINGS)
        with pytest.raises((Killed, asyncpg.InterfaceError)):
            await record_all(recorder)
        await record_all(recorder)
        await recorder.aclose()
        assert [await types(pool, run_id) for run_id in runs] == RUNS * [WHOLE]


async def test_another_recorder_was_faster_than_what_is_prepared(
    redis: Redis, pool: Pool, env_name: str, writer: Writer
) -> None:
    """The prepared batch does not follow the cursor any more: it is dropped, and nothing is recorded twice."""
    runs = await fill(writer)
    first = Recorder(redis, pool, env_name, 0, node_ids, settings=SETTINGS)
    second = Recorder(redis, pool, env_name, 0, node_ids, settings=SETTINGS)
    counts = [await recorder.record_batch() for _ in range(12) for recorder in (first, second, second)]
    assert sum(counts) == RUNS * len(WHOLE)
    assert 0 in counts[:-3], "one of them was outrun"
    await first.aclose()
    await second.aclose()
    assert [await types(pool, run_id) for run_id in runs] == RUNS * [WHOLE]
