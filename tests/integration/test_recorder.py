"""The recorder copies the outbox into the log: everything, once, in order, with what follows from it."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest
from redis.asyncio import Redis

from courante.sdk.events import digest
from courante.sdk.moments import from_ms
from courante.sdk.stores.connection import Pool
from courante.sdk.stores.log import read_events, verify_chain
from courante.sdk.stores.payloads import event_payload
from courante.sdk.stores.runs import get_run
from courante.sdk.stores.status import RunStatus
from courante.sdk.stores.waits import Waits
from courante.supervisor.recording.map_results import MapResults, ToldResults
from courante.supervisor.recording.recorder import Recorder, RecorderSettings
from integration.backups import PostgresCopy
from integration.outbox_writer import (
    AT_MS,
    COMPLETED,
    Writer,
    event,
    node_ids,
    started,
    succeeded,
    until,
)

pytestmark = pytest.mark.anyio


async def types(pool: Pool, run_id: str) -> list[str]:
    async with pool.acquire() as conn:
        return [one.facts.type for one in await read_events(conn, run_id)]


async def test_events_come_into_the_log_in_order(recorder: Recorder, pool: Pool, writer: Writer) -> None:
    """Facts, payloads and times stand in the log as they were written, chained, and nothing is there twice."""
    await writer.put("run_a", started())
    await writer.put("run_a", succeeded("fetch", b'{"n":1}', ms=40))
    await writer.put("run_a", COMPLETED)
    assert await recorder.record_batch() == 3
    assert await recorder.record_batch() == 0
    async with pool.acquire() as conn:
        events = await read_events(conn, "run_a")
        assert [one.seq for one in events] == [1, 2, 3]
        assert [one.facts.type for one in events] == ["run.started", "step.succeeded", "run.completed"]
        assert [one.payload for one in events] == [b'{"x":1}', b'{"n":1}', b'{"ok":true}']
        assert [one.at_ms for one in events] == [AT_MS + 1, AT_MS + 2, AT_MS + 3]
        assert await verify_chain(conn, "run_a") is None
        assert [one.seq for one in await read_events(conn, "run_a", upto=2)] == [1, 2]
        view = await conn.fetchrow("SELECT event_id, token, facts FROM events WHERE run_id = 'run_a' AND seq = 2")
    assert view is not None
    assert (view["event_id"], view["token"]) == ("run_a:2", "run_a/fetch/")


@pytest.mark.parametrize("batch_events", [1, 7, 4_000])
async def test_batches_of_any_size_give_the_same_log(
    redis: Redis, pool: Pool, env_name: str, writer: Writer, batch_events: int
) -> None:
    """Runs that are mixed in one entry, or spread over many batches, have chains without a gap."""
    runs = [f"run_{n}" for n in range(12)]
    await writer.add(*(writer.fields(run_id, [started()]) for run_id in runs))
    for node in ("fetch", "score"):
        for some in (runs[:5], runs[5:]):
            await writer.add(*(writer.fields(run_id, [succeeded(node)]) for run_id in some))
    await writer.add(*(writer.fields(run_id, [COMPLETED]) for run_id in reversed(runs)))
    settings = RecorderSettings(batch_events=batch_events)
    recorder = Recorder(redis, pool, env_name, 0, node_ids, settings=settings)
    counts = [await recorder.record_batch() for _ in range(10)]
    await recorder.aclose()
    assert sum(counts) == 4 * len(runs)
    async with pool.acquire() as conn:
        for run_id in runs:
            assert [one.seq for one in await read_events(conn, run_id)] == [1, 2, 3, 4]
            assert await verify_chain(conn, run_id) is None
            assert (await get_run(conn, run_id)).status is RunStatus.COMPLETED


async def test_codes_become_events(redis: Redis, pool: Pool, env_name: str, writer: Writer) -> None:
    """Codes take the numbers after a transition's events, with node names from the IR, also in a new process."""
    first = Recorder(redis, pool, env_name, 0, node_ids)
    await writer.put("run_a", started())
    await writer.put("run_a", succeeded("fetch"), codes=["F2:1.3:*", "D1::f"])
    await first.record_batch()
    await first.aclose()
    await writer.put("run_a", codes=["T0:", "W2:1.3", "S"])
    second = Recorder(redis, pool, env_name, 0, node_ids)
    assert await second.record_batch() == 3
    await second.aclose()
    async with pool.acquire() as conn:
        events = await read_events(conn, "run_a")
        assert await verify_chain(conn, "run_a") is None
    said = [(one.facts.type, one.facts.node, one.facts.scope, one.facts.reason) for one in events[2:]]
    assert said == [
        ("join.fired", "join", "1.3", ""),
        ("join.died", "score", "", "failed"),
        ("timer.released", "fetch", "", ""),
        ("token.withdrawn", "join", "1.3", ""),
        ("run.swept", "", "", ""),
    ]
    assert events[2].facts.data == {"live": "*"}


async def test_blobs_are_stored_before_the_event(
    recorder: Recorder, redis: Redis, pool: Pool, env_name: str, writer: Writer
) -> None:
    """A reference is kept as it is, and its content can be had without Redis; a damaged blob is not kept."""
    content = b'"' + b"x" * 20_000 + b'"'
    reference = b"@" + digest(content).hex().encode() + b":20002"
    await redis.set(f"courante:{env_name}:blob:{digest(content).hex()}", content)
    await redis.set(f"courante:{env_name}:blob:{'0' * 32}", b"damaged")
    await writer.put("run_a", started(), succeeded("fetch", reference), succeeded("score", b"@" + b"0" * 32 + b":9"))
    assert await recorder.record_batch() == 3
    await redis.delete(f"courante:{env_name}:blob:{digest(content).hex()}")
    async with pool.acquire() as conn:
        assert [one.payload for one in await read_events(conn, "run_a")][1] == reference
        assert await event_payload(conn, env_name, "run_a", 2) == content
        assert await event_payload(conn, env_name, "run_a", 3) is None


async def test_keys_of_a_run_go_only_after_its_end_is_recorded(
    recorder: Recorder, redis: Redis, env_name: str, writer: Writer
) -> None:
    """The final event's commit gives the run's key a time-to-live; those of living runs have none."""
    keys = [f"courante:{env_name}:{{0}}:run:{run}" for run in ("run_a", "run_b")]
    for key in keys:
        await redis.set(key, "x")
    await writer.add(writer.fields("run_a", [started()]), writer.fields("run_b", [started()]))
    await recorder.record_batch()
    assert [await redis.ttl(key) for key in keys] == [-1, -1]
    await writer.put("run_a", COMPLETED)
    await recorder.record_batch()
    times = [await redis.ttl(key) for key in keys]
    assert 50 < times[0] <= 60
    assert times[1] == -1


async def test_trimming_waits_and_keeps_the_last_recorded_entry(
    redis: Redis, pool: Pool, env_name: str, writer: Writer
) -> None:
    """F45, F52: recorded entries go after the delay, those of the cursor and behind it never."""
    now = 100.0
    recorder = Recorder(redis, pool, env_name, 0, node_ids, clock=lambda: now)
    for _ in range(3):
        await writer.put("run_a", started() if not writer.runs else succeeded("fetch"))
    await recorder.record_batch()
    now += 1.9
    assert await recorder.trim() == 0
    kept = await writer.put("run_a", succeeded("score"))
    await recorder.record_batch()
    now += 0.2
    assert await recorder.trim() == 2
    now += 5
    ahead = await writer.put("run_a", COMPLETED)
    assert await recorder.trim() == 1
    assert await writer.ids() == [kept, ahead]
    assert await recorder.trim() == 0
    assert await recorder.record_batch() == 1
    await recorder.aclose()


async def test_a_postgres_that_goes_back_in_time_is_given_again_what_it_has_lost(
    redis: Redis, pool: Pool, env_name: str, writer: Writer
) -> None:
    """F52: nothing is trimmed any more that was noted before, where the log has it no more."""
    now, copy = 100.0, PostgresCopy(env_name)
    recorder = Recorder(
        redis, pool, env_name, 0, node_ids, settings=RecorderSettings(batch_events=1), clock=lambda: now
    )
    await writer.put("run_a", started())
    assert await recorder.record_batch() == 1
    async with pool.acquire() as conn:
        await copy.keep(conn)
    for _ in range(3):
        await writer.put("run_a", succeeded("fetch"))
        assert await recorder.record_batch() == 1
    await recorder.aclose()
    async with pool.acquire() as conn:
        await copy.set_back(conn)
    now += 3
    for _ in range(3):
        assert await recorder.record_batch() == 1
        await recorder.trim()
    await recorder.aclose()
    assert await types(pool, "run_a") == ["run.started", *["step.succeeded"] * 3]


async def test_who_stands_by_notes_results_once(
    redis: Redis, pool: Pool, env_name: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it asks for the cursor, what it has to do stays what stands in the outbox."""
    now, told = 100.0, list[tuple[int, ...]]()

    async def cool(_: MapResults, results: Sequence[ToldResults]) -> None:
        told.extend(each.place for each in results)

    monkeypatch.setattr(MapResults, "cool", cool)
    first, second = (Recorder(redis, pool, env_name, 0, node_ids, clock=lambda: now) for _ in range(2))
    await writer.put("run_a", started())
    for chunk in range(4):
        await writer.put("run_a", event("fanout.collected", "results:fetch", payload=b"[]", data={"chunk": chunk}))
        await first.record_batch()
        assert await second.record_batch() == 0
        await second.aclose()
        now += 1
    assert await second.record_batch() == 0
    assert (await second.trim(), told) == (3, [(0,), (1,), (2,)])
    assert await first.record_batch() == 0
    await first.aclose()
    assert await first.record_batch() == 0
    now += 3
    assert (await first.trim(), told[3:]) == (1, [(3,)])
    await first.aclose()
    await second.aclose()


async def test_a_restarted_recorder_trims_what_the_old_one_left(
    redis: Redis, pool: Pool, env_name: str, writer: Writer
) -> None:
    """Entries below the cursor do not stay for ever when a recorder dies before it has trimmed."""
    for node in ("fetch", "score"):
        await writer.put("run_a", started() if not writer.runs else succeeded(node))
    last = await writer.put("run_a", succeeded("score"))
    dying = Recorder(redis, pool, env_name, 0, node_ids)
    await dying.record_batch()
    await dying.aclose()
    now = 100.0
    recorder = Recorder(redis, pool, env_name, 0, node_ids, clock=lambda: now)
    assert await recorder.record_batch() == 0
    now += 3
    assert await recorder.trim() == 2
    assert await writer.ids() == [last]
    await recorder.aclose()


async def test_run_wakes_for_new_entries_and_tells_who_waits(
    redis: Redis, pool: Pool, env_name: str, writer: Writer
) -> None:
    """A waiter has the outcome when the final event is in the log, and was not kept until the next look."""
    recorder = Recorder(redis, pool, env_name, 0, node_ids)
    await writer.put("run_a", started())

    async def is_started() -> bool:
        return await types(pool, "run_a") == ["run.started"]

    async with Waits(redis, pool, env_name) as waits, anyio.create_task_group() as group:
        group.start_soon(recorder.run)
        with anyio.fail_after(10):
            await until(is_started)
            begin = anyio.current_time()

            async def finish() -> None:
                await anyio.sleep(0.05)
                await writer.put("run_a", COMPLETED)

            group.start_soon(finish)
            row = await waits.wait("run_a")
            assert row.status is RunStatus.COMPLETED
            assert row.finished_at == from_ms(AT_MS + 2)
            assert anyio.current_time() - begin < 0.9
            assert await waits.wait("run_a") == row
        group.cancel_scope.cancel()


async def test_two_partitions_have_cursors_of_their_own(
    redis: Redis, pool: Pool, env_name: str, recorder: Recorder, writer: Writer
) -> None:
    """What one partition has recorded says nothing of another one."""
    other = Writer(redis, env_name, 1)
    await writer.put("run_a", started())
    await other.put("run_b", started(), event("step.started", "fetch", attempt=1))
    second = Recorder(redis, pool, env_name, 1, node_ids)
    assert await recorder.record_batch() == 1
    assert await second.record_batch() == 2
    await second.aclose()
    async with pool.acquire() as conn:
        assert (await get_run(conn, "run_b")).partition == 1
