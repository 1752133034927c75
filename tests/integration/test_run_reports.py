"""What is asked about runs is answered as the log says: lists, statuses, reports, and whether a chain holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import anyio
import pytest
from redis.asyncio import Redis

from courante.sdk.moments import from_ms, to_ms
from courante.sdk.stores.commands import (
    Accepted,
    insert_starts,
    run_id_of_key,
)
from courante.sdk.stores.connection import Connection, Pool
from courante.sdk.stores.errors import BadFilter, UnknownRun
from courante.sdk.stores.log import read_events, stream_events, verify_chain
from courante.sdk.stores.runs import get_run, get_statistics, list_runs
from courante.sdk.stores.status import RunStatus, StepStatus, run_status, step_status
from courante.sdk.stores.waits import Waits
from integration.outbox_writer import (
    AT_MS,
    COMPLETED,
    Writer,
    event,
    record,
    start,
    started,
    succeeded,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client: Redis = cast("Any", Redis).from_url(redis_url)
    yield client
    await client.aclose()


async def fill(redis: Redis, pool: Pool, env: str) -> None:
    """Nine recorded runs of two workflows, and one that was only accepted."""
    writer = Writer(redis, env)
    kinds = ["run.completed", "run.failed", "run.cancelled", "run.timed_out", "command.applied"]
    for n in range(9):
        name = "orders" if n % 3 else "bills"
        await writer.put(f"run_{n}", started(workflow=name, created_ms=AT_MS + n, tags=["even"] if n % 2 == 0 else []))
        if n < len(kinds):
            await writer.put(f"run_{n}", event(kinds[n], data={"number": 2, "type": "pause"} if n == 4 else {}))
    await writer.put("run_8", event("step.waiting", "a", attempt=1, reason="signal"))
    await record(redis, pool, writer, env)
    async with pool.acquire() as conn:
        await insert_starts(conn, [start("run_new", env=env, tags=("even",))])


async def test_runs_are_listed_newest_first(redis: Redis, pool: Pool, env_name: str) -> None:
    """Pages follow each other without a gap or a repetition, and begin with what was just accepted."""
    await fill(redis, pool, env_name)
    async with pool.acquire() as conn:
        everything = ["run_new", *(f"run_{n}" for n in range(8, -1, -1))]
        assert [run.run_id for run in (await list_runs(conn, env_name)).runs] == everything
        seen: list[str] = []
        cursor: str | None = None
        for _ in range(4):
            page = await list_runs(conn, env_name, limit=3, cursor=cursor)
            seen += [run.run_id for run in page.runs]
            cursor = page.next
        assert seen == everything
        assert cursor is None
        assert (await list_runs(conn, "elsewhere")).runs == []


async def test_runs_are_found_by_what_they_are(redis: Redis, pool: Pool, env_name: str) -> None:
    """Filters by workflow, status in any spelling, tag and time can be combined; nonsense is refused by name."""
    await fill(redis, pool, env_name)

    async def found(**filters: str) -> list[str]:
        return [run.run_id for run in (await list_runs(conn, env_name, **filters)).runs]  # type: ignore[arg-type]

    async with pool.acquire() as conn:
        assert await found(workflow="bills") == ["run_6", "run_3", "run_0"]
        assert await found(status="success") == ["run_0"]
        assert await found(status="FAILED") == ["run_1"]
        assert await found(status="timed_out") == ["run_3"]
        assert await found(status="paused") == ["run_4"]
        assert await found(status="pending") == ["run_new"]
        assert await found(status="waiting") == ["run_8"]
        assert await found(status="running") == ["run_8", "run_7", "run_6", "run_5"]
        assert await found(tag="even", status="running") == ["run_8", "run_6"]
        assert await found(tag="even", workflow="bills") == ["run_6", "run_0"]
        since = from_ms(AT_MS + 7)
        assert [run.run_id for run in (await list_runs(conn, env_name, since=since)).runs] == [
            "run_new",
            "run_8",
            "run_7",
        ]
        for field, filters in (
            ("status", {"status": "odd"}),
            ("cursor", {"cursor": "!"}),
            ("cursor", {"cursor": "eA=="}),
        ):
            with pytest.raises(BadFilter) as caught:
                await found(**filters)
            assert caught.value.field == field
        with pytest.raises(BadFilter, match="limit"):
            await list_runs(conn, env_name, limit=0)


async def test_runs_are_found_by_what_is_known_of_them(redis: Redis, pool: Pool, env_name: str) -> None:
    """The beginning of an id, a tag, an idempotency key, a part of a workflow's id or name; also pending, by page."""
    await fill(redis, pool, env_name)
    keyed, ulid = run_id_of_key(env_name, "invoice 7"), "run_01ARZ3NDEKTSV4RRFFQ69G5FAV"

    async def found(search: str, **filters: str) -> list[str]:
        page = await list_runs(conn, env_name, search=search, **filters)  # type: ignore[arg-type]  # each case brings its own
        return [run.run_id for run in page.runs]

    async with pool.acquire() as conn:
        await conn.execute(
            "INSERT INTO workflows (env, id, name, latest) VALUES ($1, 'bills', 'What we owe', 1), ($1, 'x', 'x', 1)",
            env_name,
        )
        everything = await found("run_")
        assert len(everything) == 10
        assert await found("run_8") == ["run_8"]
        assert await found("un_8") == []
        assert await found(" even ") == ["run_new", "run_8", "run_6", "run_4", "run_2", "run_0"]
        assert await found("even", status="running", workflow="bills") == ["run_6"]
        assert await found("eve") == []
        assert await found("BILL") == await found("we owe") == ["run_6", "run_3", "run_0"]
        assert await found("100%_") == await found("\x00'\"\\") == []
        await insert_starts(conn, [start(run_id, env=env_name) for run_id in (keyed, ulid)])
        assert await found("invoice 7") == [keyed]
        assert await found("01arz3ndek") == [ulid]
        seen: list[str] = []
        cursor: str | None = None
        while not seen or cursor:
            page = await list_runs(conn, env_name, search="r", limit=5, cursor=cursor)
            seen += [run.run_id for run in page.runs]
            cursor = page.next
        assert seen == [run.run_id for run in (await list_runs(conn, env_name)).runs]
        assert (await list_runs(conn, "elsewhere", search="run_8")).runs == []


async def test_an_accepted_run_is_pending(redis: Redis, pool: Pool, env_name: str) -> None:
    """A run is known from its acceptance on, keeps its time when it is recorded, and an unknown one is an error."""
    async with pool.acquire() as conn:
        (accepted,) = await insert_starts(conn, [start("run_1", env=env_name, by="ada", tags=("x",))])
        assert isinstance(accepted, Accepted)
        run = await get_run(conn, "run_1")
        assert (run.status, run.started_at, run.by, run.tags) == (RunStatus.PENDING, None, "ada", ("x",))
        writer = Writer(redis, env_name)
        await writer.put("run_1", started(created_ms=to_ms(accepted.created_at)))
        await record(redis, pool, writer, env_name)
        recorded = await get_run(conn, "run_1")
        assert (recorded.status, recorded.created_at) == (RunStatus.RUNNING, run.created_at)
        for call in (get_run, get_statistics):
            with pytest.raises(UnknownRun):
                await call(conn, "run_x")


async def test_broken_chains_are_found(redis: Redis, pool: Pool, env_name: str) -> None:
    """Any byte that is changed, any row that is missing and a cut end are found at the first event that shows it."""
    writer = Writer(redis, env_name)
    await writer.put("run_1", started(), succeeded("a", b"1"), succeeded("b", b"2"), COMPLETED)
    await record(redis, pool, writer, env_name)
    damages = [
        ("UPDATE event_log SET facts = facts || ' '::bytea WHERE seq = 2", 2),
        ("UPDATE event_log SET node = 'z' WHERE seq = 2", 2),
        ("UPDATE event_log SET at = at + interval '1 ms' WHERE seq = 3", 3),
        ("UPDATE event_log SET hash = prev_hash WHERE seq = 1", 1),
        ("UPDATE event_log SET payload_digest = NULL WHERE seq = 3", 3),
        ("UPDATE event_payloads SET payload = '3' WHERE seq = 3", 3),
        ("DELETE FROM event_log WHERE seq = 2", 2),
        ("DELETE FROM event_log WHERE seq = 1", 1),
        ("DELETE FROM event_log WHERE seq = 4", 4),
        ("UPDATE event_log SET seq = 9 WHERE seq = 4", 4),
    ]
    async with pool.acquire() as conn:
        assert await verify_chain(conn, "run_1") is None
        await conn.execute("DELETE FROM event_payloads WHERE seq = 2")
        assert await verify_chain(conn, "run_1") is None, "an emptied payload breaks nothing"
        await conn.execute("ALTER TABLE event_log DISABLE TRIGGER event_log_refuse_change")
        for damage, seq in damages:
            transaction = conn.transaction(isolation="repeatable_read")
            await transaction.start()
            await conn.execute(damage)
            async with pool.acquire() as other:
                assert await verify_chain(other, "run_1") is None
            broken = await verify_damaged(conn)
            assert broken == seq, damage
            await transaction.rollback()
        assert [one.seq async for one in stream_events(conn, "run_1")] == [1, 2, 3, 4]
        assert [one.payload for one in await read_events(conn, "run_1", after=1)] == [None, b"2", b'{"ok":true}']
        assert await read_events(conn, "run_x") == []


async def verify_damaged(conn: Connection) -> int | None:
    """Inside of a transaction that is rolled back later."""
    broken = await verify_chain(conn, "run_1")
    return None if broken is None else broken.seq


async def test_reports_show_the_runs(redis: Redis, pool: Pool, env_name: str) -> None:
    """The views under the older systems' names hold what the projections and the log say."""
    writer = Writer(redis, env_name)
    loop = event("step.succeeded", "b", payload=b"3", scope="4.2", attempt=1, loop="back")
    await writer.put("run_1", started(), succeeded("a", b'{"n":1}', ms=5), loop)
    await writer.put("run_1", event("step.succeeded", "b", payload=b"3", scope="4.3", attempt=1, loop="break"))
    await writer.put("run_1", event("step.waiting", "a", scope="1", attempt=1, reason="approval"))
    await record(redis, pool, writer, env_name)
    async with pool.acquire() as conn:
        statuses = await conn.fetch("SELECT status FROM task_runs WHERE run_id = 'run_1' ORDER BY task_id, scope")
        assert [row[0] for row in statuses] == ["SUCCESS", "BLOCKED", "SUCCESS", "SUCCESS"]
        artifact = await conn.fetchrow("SELECT content, task_run_id FROM artifacts WHERE node = 'a'")
        assert artifact is not None
        assert tuple(artifact) == ('{"n":1}', "run_1/a//1")
        state = await conn.fetchrow("SELECT node, scope, iteration, decision FROM loop_state")
        assert state is not None
        assert tuple(state) == ("b", "4", 3, "break")
        keys = {row[0] for row in await conn.fetch("SELECT key FROM applied_keys")}
        assert "run_1:a::1:step.succeeded" in keys
        counts = await conn.fetchrow("SELECT runs, active, completed FROM workflow_statistics WHERE env = $1", env_name)
        assert counts is not None
        assert tuple(counts) == (1, 1, 0)
        assert await conn.fetchval("SELECT count(*) FROM run_steps WHERE run_id = 'run_1'") == 4


async def test_waiting_for_an_unknown_run_fails_at_once(redis: Redis, pool: Pool, env_name: str) -> None:
    """A mistyped id does not wait for ever, and a run whose notice was lost is found by looking."""
    async with Waits(redis, pool, env_name) as waits:
        with anyio.fail_after(5), pytest.raises(UnknownRun):
            await waits.wait("run_x")
        writer = Writer(redis, env_name)
        await writer.put("run_1", started())
        await record(redis, pool, writer, env_name)

        async def finish_silently() -> None:
            await anyio.sleep(0.1)
            async with pool.acquire() as conn:
                await conn.execute("UPDATE runs SET status = 'COMPLETED', finished_at = now() WHERE run_id = 'run_1'")

        async with anyio.create_task_group() as group:
            group.start_soon(finish_silently)
            with anyio.fail_after(5):
                assert (await waits.wait("run_1")).status is RunStatus.COMPLETED


def test_status_words_of_older_systems_are_read() -> None:
    """Every spelling that was in use means one of ours, and anything else is an error."""
    assert run_status("succeeded") is run_status("SUCCESS") is run_status("Completed") is RunStatus.COMPLETED
    assert run_status("timed-out") is RunStatus.TIMED_OUT
    assert step_status("blocked") is StepStatus.WAITING
    assert step_status("QUEUED") is StepStatus.READY
    assert [word for word in RunStatus if word.is_final] == ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]
    for read in (run_status, step_status):
        with pytest.raises(BadFilter):
            read("done")
