"""What the stores keep is what was given to them, once, also when many callers come at the same time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any, cast

import anyio
import asyncpg
import msgspec
import pytest
from redis.asyncio import Redis

from courante.sdk.events import digest
from courante.sdk.stores import workflows
from courante.sdk.stores.commands import (
    Accepted,
    Command,
    Conflict,
    Decided,
    Duplicate,
    StartCommand,
    append_command,
    commands_after,
    insert_starts,
    run_id_of_key,
    starts_to_apply,
)
from courante.sdk.stores.connection import Connection, Pool, from_ms, to_ms
from courante.sdk.stores.errors import BadFilter, UnknownRun, UnknownWorkflow
from courante.sdk.stores.log import read_events, stream_events, verify_chain
from courante.sdk.stores.payloads import get_payloads, known_payloads, put_payloads, resolve
from courante.sdk.stores.runs import get_run, get_statistics, list_runs
from courante.sdk.stores.status import RunStatus, StepStatus, run_status, step_status
from courante.sdk.stores.waits import Waits
from courante.sdk.stores.workers import (
    PendingToken,
    WorkerRow,
    announce_workers,
    forget_workers,
    list_workers,
    snapshot_counter,
    snapshot_tokens,
)
from courante.supervisor.recorder import Recorder
from courante.tests.integration.outbox_writer import AT_MS, COMPLETED, Writer, event, migrated_pool, started, succeeded

pytestmark = pytest.mark.anyio

ENV = "test"
DOCUMENT = {
    "id": "orders",
    "nodes": [
        {"id": "a", "type": "noop", "config": {"prompt": "hi \x00"}},
        {"id": "b", "type": "llm", "name": "Bee", "requires_approval": True},
    ],
    "edges": [{"source": "a", "target": "b", "kind": "normal"}],
}


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with migrated_pool(database) as made:
        yield made


@pytest.fixture
async def conn(pool: Pool) -> AsyncIterator[Connection]:
    async with pool.acquire() as made:
        yield made


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client: Redis = cast("Any", Redis).from_url(redis_url)
    yield client
    await client.aclose()


async def register(conn: Connection, document: object, ir: bytes = b"ir", name: str = "Orders") -> int:
    content = json.dumps(document).encode()
    return await workflows.register(
        conn, ENV, "orders", name=name, document=content, ir_hash=digest(ir).hex(), ir=ir, source="id: orders"
    )


def start(run_id: str = "run_1", input: bytes = b"{}", **other: object) -> StartCommand:
    plain = StartCommand(env=ENV, run_id=run_id, partition=0, workflow="orders", version=1, ir_hash="ab", input=input)
    return msgspec.structs.replace(plain, **other)


async def record(redis: Redis, pool: Pool, writer: Writer, env: str = ENV) -> None:
    async def node_ids(_: str) -> Sequence[str]:
        return ["a", "b"]

    recorder = Recorder(redis, pool, env, 0, node_ids)
    while await recorder.record_batch():
        pass
    await recorder.aclose()


async def test_the_same_content_is_the_same_version(conn: Connection) -> None:
    """New content is a new version; content that was there before becomes the latest again under its old number."""
    other = DOCUMENT | {"name": "other"}
    assert await register(conn, DOCUMENT) == 1
    assert await register(conn, DOCUMENT) == 1
    assert await register(conn, other) == 2
    assert await register(conn, DOCUMENT, ir=b"recompiled") == 3
    assert (await workflows.get(conn, ENV, "orders")).version == 3
    assert await register(conn, DOCUMENT, name="Back") == 1
    latest = await workflows.get(conn, ENV, "orders")
    assert (latest.version, latest.name, latest.source) == (1, "Back", "id: orders")
    assert json.loads(latest.document) == DOCUMENT
    assert json.loads((await workflows.get(conn, ENV, "orders", 2)).document) == other
    assert await workflows.get_ir(conn, ENV, latest.ir_hash) == b"ir"
    assert await register(conn, DOCUMENT | {"name": "third"}) == 4
    assert [one.version for one in await workflows.list_versions(conn, ENV, "orders")] == [1, 2, 3, 4]
    (summary,) = await workflows.list_workflows(conn, ENV)
    assert (summary.latest, summary.versions, summary.nodes, summary.edges) == (4, 4, 2, 1)


async def test_registering_at_once_makes_one_version(pool: Pool) -> None:
    """Concurrent registrations of two contents give two numbers, and nobody fails."""
    numbers: set[int] = set()

    async def run(document: object) -> None:
        async with pool.acquire() as own:
            numbers.add(await register(own, document))

    async with anyio.create_task_group() as group:
        for n in range(12):
            group.start_soon(run, DOCUMENT | {"name": str(n % 2)})
    assert numbers == {1, 2}


async def test_unknown_workflows_are_named(conn: Connection) -> None:
    """Neither a workflow nor a version is made up, and other environments have their own."""
    await register(conn, DOCUMENT)
    with pytest.raises(UnknownWorkflow, match="orders version 9"):
        await workflows.get(conn, ENV, "orders", 9)
    with pytest.raises(UnknownWorkflow, match="orders"):
        await workflows.get(conn, "other", "orders")
    assert await workflows.get_ir(conn, ENV, "00") is None


async def test_documents_are_taken_apart_for_reports(conn: Connection) -> None:
    """Tasks and dependencies show the latest version, in every way in which a document names its edges."""
    await register(conn, DOCUMENT)
    shorthand = {"nodes": [{"id": "x"}, {"id": "y", "depends_on": "x"}, {"id": "z", "depends_on": ["x", "y"]}]}
    rows = await conn.fetch("SELECT id, name, requires_approval, config::text FROM tasks ORDER BY position")
    assert [tuple(row)[:3] for row in rows] == [("a", "a", False), ("b", "Bee", True)]
    assert await conn.fetchval("SELECT depends_on_task_id FROM dependencies WHERE task_id = 'b'") == "a"
    await register(conn, shorthand)
    rows = await conn.fetch("SELECT task_id, depends_on_task_id FROM dependencies ORDER BY id")
    assert [tuple(row) for row in rows] == [("y", "x"), ("z", "x"), ("z", "y")]
    with pytest.raises(asyncpg.DataError):
        await workflows.register(conn, ENV, "bad", name="", document=b"no json", ir_hash="0", ir=b"")
    assert [one.id for one in await workflows.list_workflows(conn, ENV)] == ["orders"]


async def test_a_start_is_accepted_once(conn: Connection) -> None:
    """The same request is a duplicate, another request under the same run id a conflict, also within one call."""
    first = start("run_1", b'{"n":1}', tags=("x", 'y"\\{}', "null"), by="ada", expires_at=from_ms(AT_MS))
    answers = await insert_starts(conn, [first, start("run_2"), first, start("run_2", b"[]")])
    assert [type(one) for one in answers] == [Accepted, Accepted, Duplicate, Conflict]
    again = await insert_starts(conn, [start("run_1", b'{"n":1}', tags=first.tags, by="bob", version=7)])
    assert answers[0] == Accepted("run_1", again[0].created_at) if isinstance(again[0], Duplicate) else False
    answers = await insert_starts(conn, [start("run_1", b'{"n":2}', tags=first.tags), start("run_3")])
    assert [type(one) for one in answers] == [Conflict, Accepted]
    others = [msgspec.structs.replace(first, env="other"), msgspec.structs.replace(first, asked_version=1)]
    assert [type(one) for one in await insert_starts(conn, others)] == [Conflict, Conflict]
    stored = (await starts_to_apply(conn, ENV, 0))[0]
    assert (stored.run_id, stored.input, stored.tags, stored.by) == ("run_1", b'{"n":1}', first.tags, "ada")
    assert (stored.expires_at, stored.input_digest) == (from_ms(AT_MS), digest(b'{"n":1}'))
    assert await insert_starts(conn, []) == []


def test_a_key_is_a_run() -> None:
    """The run id of a key is always the same, looks like a ULID, and differs by environment."""
    first = run_id_of_key("prod", "order-17")
    assert first == run_id_of_key("prod", "order-17")
    assert first.startswith("run_")
    assert len(first) == 30
    assert first[4] in "01234567"
    assert len({first, run_id_of_key("test", "order-17"), run_id_of_key("prod", "order-18")}) == 3


async def test_many_callers_with_the_same_keys(pool: Pool) -> None:
    """Of callers that submit the same thousand keys in other orders, exactly one is told of each run that it is new."""
    starts = [start(run_id_of_key(ENV, str(n)), idempotency_key=str(n)) for n in range(1_000)]
    answers: list[Accepted | Duplicate | Conflict] = []

    async def submit(turn: int) -> None:
        async with pool.acquire() as own:
            answers.extend(await insert_starts(own, starts[turn:] + starts[:turn]))

    async with anyio.create_task_group() as group:
        for turn in (0, 300, 500, 900):
            group.start_soon(submit, turn)
    accepted = [one.run_id for one in answers if isinstance(one, Accepted)]
    assert sorted(accepted) == sorted(one.run_id for one in starts)
    assert sum(isinstance(one, Duplicate) for one in answers) == 3_000


async def test_the_reconciler_sees_what_the_log_misses(redis: Redis, pool: Pool, env_name: str) -> None:
    """Committed starts come back, oldest first, until they are recorded; uncommitted and young ones do not."""
    writer = Writer(redis, env_name)
    async with pool.acquire() as conn, pool.acquire() as slow:
        transaction = slow.transaction()
        await transaction.start()
        await insert_starts(slow, [start("run_slow", env=env_name)])
        await insert_starts(conn, [start("run_1", env=env_name), start("run_2", env=env_name)])
        await insert_starts(conn, [start("run_3", env=env_name), start("run_4", env=env_name, partition=1)])
        assert await starts_to_apply(conn, env_name, 0, older_than_ms=60_000) == []
        assert [one.run_id for one in await starts_to_apply(conn, env_name, 0, limit=2)] == ["run_1", "run_2"]
        await writer.put("run_1", started())
        await writer.put("run_3", started())
        await record(redis, pool, writer, env_name)
        assert [one.run_id for one in await starts_to_apply(conn, env_name, 0)] == ["run_2"]
        await writer.put("run_2", started())
        await record(redis, pool, writer, env_name)
        assert await starts_to_apply(conn, env_name, 0) == []
        await transaction.commit()
        assert [one.run_id for one in await starts_to_apply(conn, env_name, 0)] == ["run_slow"]
        assert [one.run_id for one in await starts_to_apply(conn, env_name, 1)] == ["run_4"]


async def test_the_reconciler_does_not_read_history(redis: Redis, pool: Pool, env_name: str) -> None:
    """Starts that are recorded are not looked at again."""
    writer = Writer(redis, env_name)
    async with pool.acquire() as conn:
        await insert_starts(conn, [start(f"run_{n}", env=env_name) for n in range(200)])
        await writer.add(*(writer.fields(f"run_{n}", [started()]) for n in range(200)))
        await record(redis, pool, writer, env_name)
        assert await starts_to_apply(conn, env_name, 0) == []
        mark = await conn.fetchval("SELECT xact::text FROM reconciler_marks WHERE env = $1", env_name)
        left = "SELECT count(*) FROM commands WHERE env = $1 AND xact >= $2::text::xid8"
        assert await conn.fetchval(left, env_name, mark) == 0
        await conn.execute("UPDATE reconciler_marks SET xact = '9000000000000'")  # as after a restore elsewhere
        await insert_starts(conn, [start("run_new", env=env_name)])
        assert [one.run_id for one in await starts_to_apply(conn, env_name, 0)] == ["run_new"]


async def test_commands_are_numbered(pool: Pool) -> None:
    """Commands of one run that come at the same time get numbers without a gap, behind the start."""
    async with pool.acquire() as conn:
        await insert_starts(conn, [start("run_1")])
        with pytest.raises(UnknownRun):
            await append_command(conn, "run_x", "cancel", b"{}")

    async def signal(n: int) -> None:
        async with pool.acquire() as own:
            await append_command(own, "run_1", "signal", str(n).encode(), by="ada")

    async with anyio.create_task_group() as group:
        for n in range(20):
            group.start_soon(signal, n)
    async with pool.acquire() as conn:
        commands = await commands_after(conn, "run_1", 1)
    assert [one.number for one in commands] == list(range(2, 22))
    assert {one.body for one in commands} == {str(n).encode() for n in range(20)}


async def test_the_first_decision_stands(pool: Pool) -> None:
    """Of many who decide about one token one does, and the others are told who it was."""
    answers: list[Command | Decided] = []

    async def decide(n: int) -> None:
        async with pool.acquire() as own:
            kind = "approve" if n % 2 else "reject"
            answers.append(await append_command(own, "run_1", kind, b"{}", by=f"person {n}", decides="gate:"))

    async with pool.acquire() as conn:
        await insert_starts(conn, [start("run_1")])
    async with anyio.create_task_group() as group:
        for n in range(10):
            group.start_soon(decide, n)
    (first,) = [one for one in answers if isinstance(one, Command)]
    assert {(one.by, one.type, one.number) for one in answers} == {(first.by, first.type, 2)}


async def test_payloads_are_kept_by_content(conn: Connection) -> None:
    """Storing again changes nothing; what is not stored is not made up."""
    big = b'"' + b"x" * 9_000 + b'"'
    found = digest(big)
    for _ in range(2):
        await put_payloads(conn, ENV, {found: big})
    assert await get_payloads(conn, ENV, [found, b"0" * 16]) == {found: big}
    assert await known_payloads(conn, ENV, [found, b"0" * 16]) == {found}
    assert await resolve(conn, ENV, b"@%s:9002" % found.hex().encode()) == big
    assert await resolve(conn, ENV, b'"plain"') == b'"plain"'
    assert await resolve(conn, "other", b"@%s:9002" % found.hex().encode()) is None


async def fill(redis: Redis, pool: Pool, env: str) -> None:
    """Nine recorded runs of two workflows, and one that was only accepted."""
    writer = Writer(redis, env)
    kinds = ["run.completed", "run.failed", "run.cancelled", "run.timed_out", "run.paused"]
    for n in range(9):
        name = "orders" if n % 3 else "bills"
        await writer.put(f"run_{n}", started(workflow=name, created_ms=AT_MS + n, tags=["even"] if n % 2 == 0 else []))
        if n < len(kinds):
            await writer.put(f"run_{n}", event(kinds[n]))
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


async def test_workers_announce_themselves(conn: Connection) -> None:
    """An older announcement changes nothing, a stopped worker is not live, and the silent are forgotten."""
    at = from_ms(AT_MS)
    plain = WorkerRow(
        consumer="w-1", host="h", pid=1, build="1", handlers=("a",), queues=("default",), started_at=at, last_seen=at
    )
    later = msgspec.structs.replace(plain, last_seen=at + timedelta(seconds=9), handlers=("a", "b"))
    stopped = msgspec.structs.replace(plain, consumer="w-2", stopped_at=at)
    await announce_workers(conn, ENV, [later, stopped])
    await announce_workers(conn, ENV, [msgspec.structs.replace(plain, handlers=("a", "b"))])
    assert await list_workers(conn, ENV) == [later, stopped]
    assert await list_workers(conn, ENV, seen_since=at) == [later]
    assert await list_workers(conn, ENV, seen_since=at + timedelta(seconds=10)) == []
    await forget_workers(conn, ENV, not_seen_since=at + timedelta(seconds=5))
    assert await list_workers(conn, ENV) == [later]


async def test_snapshots_replace_each_other(conn: Connection) -> None:
    """The last snapshot of a ledger is the one that stands."""
    at = from_ms(AT_MS)
    await snapshot_tokens(conn, ENV, "run_1", [PendingToken(node="a", scope="", attempt=1, place="queue")], taken_at=at)
    tokens = [PendingToken(node=node, scope="1", attempt=2, place="timer", due_at=at) for node in "bc"]
    await snapshot_tokens(conn, ENV, "run_1", tokens, taken_at=at)
    assert [row[0] for row in await conn.fetch("SELECT node FROM pending_tokens ORDER BY node")] == ["b", "c"]
    for counter in (3, 2):
        await snapshot_counter(conn, ENV, "run_1", seq=9, counter=counter, tokens=2, taken_at=at)
    assert await conn.fetchval("SELECT counter FROM run_counter_snapshots") == 2


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
