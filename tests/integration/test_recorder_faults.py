"""Nothing that happens to the recorder, Postgres or Redis makes the log repeat, skip or change an event."""

from __future__ import annotations

from typing import Any, cast

import anyio
import asyncpg
import pytest
from asyncpg.transaction import Transaction
from redis.asyncio import Redis

from courante.sdk.stores.connection import Pool
from courante.sdk.stores.cursors import move_cursor, raise_epoch, read_cursor, restart_cursor
from courante.sdk.stores.runs import get_run, list_steps
from courante.sdk.stores.status import RunStatus, StepStatus
from courante.supervisor.recording.entries import LogDiverged
from courante.supervisor.recording.recorder import Recorder, RecorderSettings
from integration.outbox_writer import (
    COMPLETED,
    Writer,
    event,
    node_ids,
    started,
    succeeded,
    types,
    until,
)

pytestmark = pytest.mark.anyio


class Killed(ConnectionError):
    """The connection is gone, as when the process is."""


class FaultyPool:
    """A pool whose n-th statement kills its connection; the server takes the transaction back."""

    def __init__(self, pool: Pool, fatal: int, error: Exception | None = None) -> None:
        self._pool = pool
        self.left = fatal
        self.error = error or Killed()

    async def acquire(self) -> Any:
        return FaultyConnection(await self._pool.acquire(), self)

    async def release(self, conn: Any) -> None:
        await self._pool.release(conn.real)


class FaultyConnection:
    COUNTED = frozenset({"execute", "fetch", "fetchrow", "copy_to_table", "copy_records_to_table"})

    def __init__(self, real: Any, pool: FaultyPool) -> None:
        self.real = real
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        if name not in self.COUNTED:
            return found

        async def counted(*args: Any, **kwargs: Any) -> Any:
            self._pool.left -= 1
            if not self._pool.left:
                self.real.terminate()
                raise self._pool.error
            return await found(*args, **kwargs)

        return counted


async def test_killed_at_any_statement(redis: Redis, pool: Pool, env_name: str) -> None:
    """F43: whatever the last statement was before the kill, the next recorder makes the log complete, once."""
    for fatal in range(1, 30):
        env = f"{env_name}-{fatal}"
        writer = Writer(redis, env)
        run_a, run_b = f"run_a_{fatal}", f"run_b_{fatal}"
        await writer.add(writer.fields(run_a, [started()]), writer.fields(run_b, [started()]))
        before = Recorder(redis, pool, env, 0, node_ids)
        await before.record_batch()
        await before.aclose()
        await writer.put(run_a, succeeded("fetch"), COMPLETED)
        await writer.put(run_b, event("step.started", "fetch", attempt=1), codes=["F1::*"])
        faulty = FaultyPool(pool, fatal)
        dying = Recorder(redis, cast("Pool", faulty), env, 0, node_ids)
        is_killed = False
        try:
            await dying.record_batch()
        except (Killed, asyncpg.InterfaceError):
            is_killed = True
        await dying.aclose()
        after = Recorder(redis, pool, env, 0, node_ids)
        while await after.record_batch():
            pass
        await after.aclose()
        assert await types(pool, run_a) == ["run.started", "step.succeeded", "run.completed"]
        assert await types(pool, run_b) == ["run.started", "step.started", "join.fired"]
        async with pool.acquire() as conn:
            assert (await get_run(conn, run_a)).status is RunStatus.COMPLETED
            assert [step.status for step in await list_steps(conn, run_b)] == [StepStatus.RUNNING]
        if not is_killed:
            assert fatal > 5, "the fault must hit every statement of a batch"
            return
    pytest.fail("the recorder never got through")


async def test_a_lost_reply_to_commit_is_asked_about(
    recorder: Recorder, pool: Pool, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F44, F46: a commit that took effect without an answer is neither repeated nor taken for a gap."""
    real = Transaction.__aexit__

    async def lose_reply(self: Transaction, *exc: Any) -> None:
        await real(self, *exc)
        monkeypatch.undo()
        self._connection.terminate()  # type: ignore[attr-defined]  # private; nothing else can be done with it
        raise ConnectionError

    await writer.put("run_a", started())
    monkeypatch.setattr(Transaction, "__aexit__", lose_reply)
    with pytest.raises(ConnectionError):
        await recorder.record_batch()
    assert await recorder.record_batch() == 0
    await writer.put("run_a", COMPLETED)
    assert await recorder.record_batch() == 1
    assert await types(pool, "run_a") == ["run.started", "run.completed"]


async def test_a_recorder_that_died_after_commit_is_made_up_for(
    redis: Redis, pool: Pool, env_name: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F44: ended runs get their time-to-live from the next recorder, also when the first one died before it told."""
    key = f"{writer.base}run:run_a"
    await redis.set(key, "x")
    await writer.put("run_a", started())
    await writer.put("run_a", COMPLETED)
    dying = Recorder(redis, pool, env_name, 0, node_ids, settings=RecorderSettings(trim_delay_ms=0))

    async def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("courante.supervisor.recording.outbox.expire_runs", die)
        with pytest.raises(Killed):
            await dying.record_batch()
    assert await dying.trim() == 0, "what is not told is told again from these entries"
    await dying.aclose()
    assert await redis.ttl(key) == -1
    following = Recorder(redis, pool, env_name, 0, node_ids)
    assert await following.record_batch() == 0
    assert await redis.ttl(key) > 0
    await following.aclose()


async def test_a_gap_stops_the_recorder(recorder: Recorder, pool: Pool, writer: Writer) -> None:
    """F23: what stands before a gap in the partition sequence is recorded, nothing behind it, however often."""
    await writer.put("run_a", started())
    writer.seq += 1
    await writer.put("run_a", COMPLETED)
    assert await recorder.record_batch() == 1
    for _ in range(2):
        with pytest.raises(LogDiverged) as caught:
            await recorder.record_batch()
        assert caught.value.kind == "partition_seq"
    assert await types(pool, "run_a") == ["run.started"]


async def test_a_run_that_does_not_go_on_stops_the_recorder(recorder: Recorder, pool: Pool, writer: Writer) -> None:
    """A hole or a repetition in the sequence of a run is a divergence, also behind good entries of one batch."""
    await writer.put("run_a", started())
    writer.runs["run_a"] += 1
    await writer.put("run_a", COMPLETED)
    assert await recorder.record_batch() == 1
    with pytest.raises(LogDiverged) as caught:
        await recorder.record_batch()
    assert caught.value.kind == "run_seq"
    assert await types(pool, "run_a") == ["run.started"]


async def test_a_run_that_begins_again_stops_the_recorder(
    redis: Redis, pool: Pool, env_name: str, writer: Writer
) -> None:
    """The same event with other content is never merged into the log, not even by a recorder that knows nothing."""
    first = Recorder(redis, pool, env_name, 0, node_ids)
    await writer.put("run_a", started(), COMPLETED)
    await first.record_batch()
    await first.aclose()
    writer.runs.clear()
    await writer.put("run_a", started(by="someone else"))
    second = Recorder(redis, pool, env_name, 0, node_ids)
    with pytest.raises(LogDiverged) as caught:
        await second.record_batch()
    assert caught.value.kind == "content"
    await second.aclose()
    assert await types(pool, "run_a") == ["run.started", "run.completed"]


async def test_a_rewound_outbox_stops_the_recorder(
    recorder: Recorder, redis: Redis, pool: Pool, writer: Writer
) -> None:
    """F23, F25: an outbox without the recorded entry is one that has forgotten it, even if its sequence fits."""
    await writer.put("run_a", started())
    await recorder.record_batch()
    await redis.delete(writer.outbox)
    with pytest.raises(LogDiverged) as emptied:
        await recorder.record_batch()
    assert emptied.value.kind == "cursor"
    await writer.put("run_a", COMPLETED)
    with pytest.raises(LogDiverged) as refilled:
        await recorder.record_batch()
    assert refilled.value.kind == "cursor"
    assert await types(pool, "run_a") == ["run.started"]


async def test_other_content_under_the_same_entry_id_stops_the_recorder(
    recorder: Recorder, redis: Redis, pool: Pool, writer: Writer
) -> None:
    """F49: a position is no identity: the same stream id may be given out again after data loss."""
    entry_id = await writer.put("run_a", started())
    await recorder.record_batch()
    await redis.delete(writer.outbox)
    writer.seq, writer.runs = 0, {}
    await writer.add(writer.fields("run_a", [started(by="another")]), entry_id=entry_id)
    await writer.put("run_a", COMPLETED)
    with pytest.raises(LogDiverged) as caught:
        await recorder.record_batch()
    assert caught.value.kind == "cursor"
    assert await types(pool, "run_a") == ["run.started"]


async def test_epochs_fence(redis: Redis, pool: Pool, env_name: str, writer: Writer) -> None:
    """F25, F26: entries of another epoch are refused; a recovery drains the older ones and then begins a new outbox."""
    recorder = Recorder(redis, pool, env_name, 0, node_ids)
    await writer.put("run_a", started())
    await recorder.record_batch()
    await writer.put("run_a", succeeded("fetch"))
    async with pool.acquire() as conn:
        assert await raise_epoch(conn, env_name, 0) == 2
    assert await recorder.record_batch() == 0, "a recorder of the older epoch finds its cursor moved"
    with pytest.raises(LogDiverged) as caught:
        await recorder.record_batch()
    assert caught.value.kind == "epoch"
    drain = Recorder(redis, pool, env_name, 0, node_ids, settings=RecorderSettings(takes_older_epochs=True))
    assert await drain.record_batch() == 1
    await drain.aclose()
    await redis.delete(writer.outbox)
    async with pool.acquire() as conn:
        assert not await restart_cursor(conn, env_name, 0, 1)
        assert await restart_cursor(conn, env_name, 0, 2)
    await recorder.aclose()
    writer.epoch = 2
    await writer.put("run_a", COMPLETED)
    assert await recorder.record_batch() == 1
    await recorder.aclose()
    assert await types(pool, "run_a") == ["run.started", "step.succeeded", "run.completed"]


async def test_two_recorders_at_once(redis: Redis, pool: Pool, env_name: str, writer: Writer) -> None:
    """Recorders that compete for one partition, on small batches, make one log without a double or a gap."""
    settings = RecorderSettings(batch_events=3, standby_ms=1, trim_delay_ms=0, block_ms=20)
    runs = [f"run_{n}" for n in range(40)]

    async def is_done() -> bool:
        async with pool.acquire() as conn:
            cursor = await read_cursor(conn, env_name, 0)
        return cursor is not None and cursor.partition_seq == writer.seq

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(Recorder(redis, pool, env_name, 0, node_ids, settings=settings).run)
        for run_id in runs:
            await writer.put(run_id, started(), event("step.started", "fetch", attempt=1))
            await writer.put(run_id, succeeded("fetch"), codes=["F1::*"])
        await until(is_done)
        group.cancel_scope.cancel()
    for run_id in runs:
        assert await types(pool, run_id) == ["run.started", "step.started", "step.succeeded", "join.fired"]


async def test_a_recorder_that_slept_finds_that_it_was_replaced(
    redis: Redis, pool: Pool, env_name: str, writer: Writer
) -> None:
    """F47, F48: a paused recorder whose entries another one recorded and trimmed takes nothing for lost."""
    sleeper = Recorder(redis, pool, env_name, 0, node_ids)
    other = Recorder(redis, pool, env_name, 0, node_ids, settings=RecorderSettings(trim_delay_ms=0))
    await writer.put("run_a", started())
    await sleeper.record_batch()
    await writer.put("run_a", succeeded("fetch"))
    await other.record_batch()
    assert await other.trim() == 1
    await writer.put("run_a", COMPLETED)
    assert await sleeper.record_batch() == 0
    assert await sleeper.record_batch() == 1
    await sleeper.aclose()
    await other.aclose()
    assert await types(pool, "run_a") == ["run.started", "step.succeeded", "run.completed"]


async def test_a_recorder_that_was_overtaken_between_its_read_and_its_commit(
    redis: Redis, pool: Pool, env_name: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F47, F48: the other one has recorded the same entries meanwhile; nothing is there twice, or taken for a fork."""
    late, other = (Recorder(redis, pool, env_name, 0, node_ids) for _ in range(2))
    recorded: list[int] = []

    async def move_after_the_other(*arguments: Any) -> bool:
        if not recorded:
            recorded.append(0)
            recorded.append(await other.record_batch())
        return await move_cursor(*arguments)

    monkeypatch.setattr("courante.supervisor.recording.recorder.move_cursor", move_after_the_other)
    await writer.put("run_a", started())
    assert await late.record_batch() == 0
    assert recorded == [0, 1]
    await writer.put("run_a", COMPLETED)
    assert await late.record_batch() == 1
    await late.aclose()
    await other.aclose()
    assert await types(pool, "run_a") == ["run.started", "run.completed"]


class AbsentPool:
    """A pool of a server that refuses the first connections."""

    def __init__(self, pool: Pool, refusals: int) -> None:
        self._pool = pool
        self.left = refusals

    async def acquire(self) -> Any:
        self.left -= 1
        if self.left >= 0:
            raise ConnectionRefusedError
        return await self._pool.acquire()

    async def release(self, conn: Any) -> None:
        await self._pool.release(conn)


async def test_a_postgres_that_is_away_is_waited_for(redis: Redis, pool: Pool, env_name: str, writer: Writer) -> None:
    """F41, F51: the recorder tries again until Postgres is back, and then has lost nothing."""
    absent = AbsentPool(pool, refusals=3)
    recorder = Recorder(redis, cast("Pool", absent), env_name, 0, node_ids, settings=RecorderSettings(backoff_ms=1))
    await record_one(recorder, pool, writer)
    assert absent.left < 0


async def record_one(recorder: Recorder, pool: Pool, writer: Writer) -> None:
    """Run a recorder until an event is in the log."""
    await writer.put("run_a", started())

    async def is_started() -> bool:
        return await types(pool, "run_a") == ["run.started"]

    async with anyio.create_task_group() as group:
        group.start_soon(recorder.run)
        await until(is_started)
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    "error", [asyncpg.InternalClientError("another operation is in progress"), asyncpg.InterfaceError("closed")]
)
async def test_a_confused_connection_is_waited_out(
    redis: Redis, pool: Pool, env_name: str, writer: Writer, error: Exception
) -> None:
    """F41: what asyncpg says of a connection that was lost in the middle ends no recorder."""
    recorder = Recorder(redis, cast("Pool", FaultyPool(pool, 2, error)), env_name, 0, node_ids)
    await record_one(recorder, pool, writer)


async def test_run_stops_when_the_log_has_diverged(redis: Redis, pool: Pool, env_name: str, writer: Writer) -> None:
    """A divergence is raised out of ``run``, not tried again."""
    writer.seq = 5
    await writer.put("run_a", started())
    with anyio.fail_after(10), pytest.raises(LogDiverged):
        await Recorder(redis, pool, env_name, 0, node_ids).run()
