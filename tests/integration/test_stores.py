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

from courante.sdk.base_terms import BaseTerms, decode_terms, restart_key
from courante.sdk.events import digest
from courante.sdk.moments import from_ms
from courante.sdk.stores import workflows
from courante.sdk.stores.commands import (
    Accepted,
    Command,
    Conflict,
    Decided,
    Duplicate,
    append_command,
    commands_after,
    insert_starts,
    run_id_of_key,
    starts_to_apply,
)
from courante.sdk.stores.connection import Connection, Pool
from courante.sdk.stores.errors import UnknownRun, UnknownWorkflow
from courante.sdk.stores.payloads import get_payloads, put_payloads, resolve, touch_payloads
from courante.sdk.stores.workers import (
    PendingToken,
    WorkerRow,
    announce_workers,
    forget_workers,
    list_workers,
    snapshot_counter,
    snapshot_tokens,
)
from integration.outbox_writer import (
    AT_MS,
    ENV,
    Writer,
    record,
    start,
    started,
    until,
)

pytestmark = pytest.mark.anyio

DOCUMENT = {
    "id": "orders",
    "nodes": [
        {"id": "a", "type": "noop", "config": {"prompt": "hi \x00"}},
        {"id": "b", "type": "llm", "name": "Bee", "requires_approval": True},
        {"id": "c", "type": "noop", "requires_approval": {"expires": "2d"}},
    ],
    "edges": [{"source": "a", "target": "b", "kind": "normal"}],
}


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
    assert (summary.latest, summary.versions, summary.nodes, summary.edges) == (4, 4, 3, 1)


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
    assert [tuple(row)[:3] for row in rows] == [("a", "a", False), ("b", "Bee", True), ("c", "c", True)]
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


async def test_how_a_run_goes_on_is_part_of_its_start(conn: Connection) -> None:
    """It comes back as it was said; other terms under the same run id are a conflict."""
    terms = BaseTerms(way="rerun", steps=("a", "b"), given={"c": b'{"n":1}'}, has_input=True, change="prices")
    first = start("run_1", base_run_id="run_0", base_seq=7, base_terms=terms)
    others = [msgspec.structs.replace(terms, steps=("a",)), msgspec.structs.replace(terms, given={}), None]
    told = [first, first, *(msgspec.structs.replace(first, base_terms=other) for other in others)]
    answers = await insert_starts(conn, told)
    assert [type(one) for one in answers] == [Accepted, Duplicate, *[Conflict] * len(others)]
    (stored,) = await starts_to_apply(conn, ENV, 0)
    assert decode_terms(stored.base_terms) == terms
    keys = {restart_key("run_0", 7, said, b"1") for said in (None, terms, *others)}
    assert len(keys) == 1 + len(others)


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


async def test_callers_with_the_same_keys_do_not_deadlock(pool: Pool) -> None:
    """Callers that name two runs in opposite orders, while a third holds one of them, all get an answer."""

    async def submit(run_ids: Sequence[str]) -> None:
        async with pool.acquire() as own:
            await insert_starts(own, [start(run_id) for run_id in run_ids])

    async def both_wait() -> bool:
        async with pool.acquire() as own:
            return bool(await own.fetchval("SELECT count(*) >= 2 FROM pg_locks WHERE NOT granted"))

    for turn in range(8):
        first, held = f"run_a{turn}", f"run_m{turn}"
        async with pool.acquire() as conn, anyio.create_task_group() as group:
            transaction = conn.transaction()
            await transaction.start()
            await insert_starts(conn, [start(held)])
            group.start_soon(submit, [first, held])
            group.start_soon(submit, [held, first])
            await until(both_wait)
            await transaction.rollback()


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
        for _ in range(3):
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
    """F65: of many who decide about one token one does, and the others are told who it was."""
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
    assert await touch_payloads(conn, ENV, [found, b"0" * 16]) == {found}
    assert await resolve(conn, ENV, b"@%s:9002" % found.hex().encode()) == big
    assert await resolve(conn, ENV, b'"plain"') == b'"plain"'
    assert await resolve(conn, "other", b"@%s:9002" % found.hex().encode()) is None


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
