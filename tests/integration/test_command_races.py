"""Commands against what goes on by itself: whoever wins, the run ends once, and everything tells one story of it."""

from __future__ import annotations

import secrets
from typing import Any

import anyio
import pytest

from courante.sdk.authoring.context import Context
from courante.sdk.client.client import Client
from courante.sdk.stores.commands import commands_to_apply
from courante.sdk.stores.connection import Pool
from courante.sdk.stores.queries import load_queries
from courante.sdk.user_errors import FatalError
from integration.cases import node, says, waits
from integration.onlooker import agrees, asks, call_up, status_of, waiting
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio

RACES = 60


def calls(id: str, handler: str, *after: str, **fields: Any) -> dict[str, Any]:
    return node(id, *after, type="function", config={"handler": handler}, **fields)


async def test_a_cancel_races_the_last_completion(stage: Stage) -> None:
    """F62: each run ends once, as COMPLETED or as CANCELLED, and everybody says the same of it."""
    call_up(stage)
    await stage.register(says("a"), says("b", "a"), says("c", "b"))
    statuses: set[str] = set()

    async def race(number: int) -> None:
        run_id = await stage.client.submit("w")
        await anyio.sleep(number % 20 / 1000 * pace)
        done = await stage.client.cancel(run_id)
        result = await stage.result(run_id, 60)
        if done.state == "no_effect":
            assert result.status == "COMPLETED", done
        else:
            assert result.status == "CANCELLED", done
        statuses.add(result.status)
        await agrees(stage, run_id)

    first, pace = 0, 1.0
    while first < RACES or (len(statuses) < 2 and 0.001 < pace < 1_000):
        async with anyio.create_task_group() as group:
            for number in range(first, first + 10):
                group.start_soon(race, number)
        first += 10
        if first >= RACES:  # so slow a machine that all were cancelled, or so fast a one that none was
            pace *= 2 if "CANCELLED" in statuses else 0.5
    assert statuses == {"COMPLETED", "CANCELLED"}


async def test_a_cancel_between_the_last_step_and_the_end(stage: Stage) -> None:
    """F62: the word that a run is complete, with its output, is stale once a cancel has come."""
    stage.worker()
    await stage.register(says("a"))
    run_id = await stage.client.submit("w")
    keys = stage.client.keys.partition(0)

    async def said() -> int:
        return int(await stage.redis.xlen(keys.done))

    await until(said, lambda count: count == 1)
    assert (await stage.client.cancel(run_id)).state == "applied"
    await until(said, lambda count: count == 2)
    stage.supervisor()
    assert (await stage.result(run_id)).status == "CANCELLED"
    await agrees(stage, run_id)


async def test_the_same_asked_by_many_at_once(stage: Stage) -> None:
    """F64: one key is one run, one cancel is one command; all are answered alike."""
    call_up(stage)
    await stage.register(waits("s", name="go"))
    ids: set[str] = set()
    numbers: set[int] = set()

    async def start() -> None:
        ids.add(await stage.client.submit("w", key="k"))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(start)
    (run_id,) = ids
    await waiting(stage, run_id, "s")

    async def cancel() -> None:
        numbers.add((await stage.client.cancel(run_id)).number)

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(cancel)
    assert (await stage.result(run_id)).status == "CANCELLED"
    assert numbers - {0} == {2}  # 0: the run had ended, so that nothing was written down
    assert (await stage.types(run_id)).count("command.applied") == 1
    await agrees(stage, run_id)


async def test_a_cancel_while_a_handler_runs(stage: Stage) -> None:
    """F63: the handler is told, what it returns does not count, and the run ends when it has."""
    told: list[str] = []

    async def work(_value: object, context: Context) -> str:
        await context.cancelled
        told.append(str(context.cancelled.reason))
        return "too late"

    stage.supervisor()
    stage.worker({"work": work}, lease_ms=600)
    await stage.register(calls("a", "work"), says("b", "a"))
    run_id = await stage.client.submit("w")
    await until(lambda: status_of(stage, run_id, "a"), lambda status: status == "RUNNING")
    await stage.client.cancel(run_id, by="ada")
    assert (await stage.result(run_id)).status == "CANCELLED"
    assert told == ["cancelled"]
    assert "b" not in await stage.succeeded(run_id)
    await agrees(stage, run_id)


async def test_a_mutex_outlives_those_who_are_cancelled(stage: Stage) -> None:
    """Who is withdrawn while it holds the slot gives it on, and who waited for it and is withdrawn is passed over."""
    gate = anyio.Event()
    ran: list[str] = []

    async def work(_value: object, context: Context) -> None:
        ran.append(context.node)
        if len(ran) == 1:
            await gate.wait()

    stage.supervisor()
    stage.worker({"work": work})
    await stage.register(*(calls(id, "work", mutex="m") for id in "abc"))
    run_id = await stage.client.submit("w")
    await until(lambda: _waiters(stage, run_id), lambda count: count == 2)
    await until(anyio.lowlevel.checkpoint, lambda _: bool(ran))
    holder = ran[0]
    first, second = (id for id in "abc" if id != holder)
    assert (await stage.client.cancel_step(run_id, first)).state == "applied"
    assert (await stage.client.cancel_step(run_id, holder)).state == "applied"
    result = await stage.result(run_id)
    assert result.status == "COMPLETED"
    assert await stage.succeeded(run_id) == [second]
    gate.set()
    await agrees(stage, run_id)


async def _waiters(stage: Stage, run_id: str) -> int:
    return [event.facts.reason for event in await stage.events(run_id)].count("mutex") - 1


UNDONE = [
    calls("a", "note", compensate="undo_a"),
    calls("b", "note", "a", compensate="undo_b"),
    calls("undo_a", "note"),
    calls("undo_b", "note"),
]


@pytest.mark.parametrize("way", ["failure", "cancel"])
async def test_what_was_done_is_undone_in_reverse(stage: Stage, way: str) -> None:
    """Compensations run one after the other, the last step first, also where the end was asked for."""
    ran: list[str] = []

    def note(_value: object, context: Context) -> None:
        ran.append(context.node)

    def fail() -> None:
        raise FatalError("as it should")

    stage.supervisor()
    stage.worker({"note": note, "fail": fail})
    last = calls("c", "fail", "b") if way == "failure" else waits("c", "b", name="go")
    await stage.register(*UNDONE, last)
    run_id = await stage.client.submit("w")
    if way == "cancel":
        await waiting(stage, run_id, "c")
        await stage.client.cancel(run_id, by="ada")
    assert (await stage.result(run_id)).status == ("FAILED" if way == "failure" else "CANCELLED")
    assert ran == ["a", "b", "undo_b", "undo_a"]
    await agrees(stage, run_id)


async def test_a_running_and_a_retrying_step_are_forced(stage: Stage) -> None:
    """An operator's word about a step stands, also where its handler is still at work or another try is due."""
    gate = anyio.Event()

    async def work() -> str:
        await gate.wait()
        return "own"

    def fail() -> None:
        raise RuntimeError("once more")

    stage.supervisor()
    stage.worker({"work": work, "fail": fail})
    await stage.register(calls("a", "work"), calls("b", "fail", retry={"max_attempts": 9, "base": "1h"}))
    run_id = await stage.client.submit("w")
    await until(lambda: status_of(stage, run_id, "a"), lambda status: status == "RUNNING")
    await until(lambda: status_of(stage, run_id, "b"), lambda status: status == "RETRYING")
    await stage.client.force_succeed(run_id, "a", "forced", by="ada")
    await stage.client.force_succeed(run_id, "b", ["by hand"], by="ada")
    assert (await stage.result(run_id)).output == {"a": "forced", "b": ["by hand"]}
    gate.set()
    await agrees(stage, run_id)


async def test_an_approval_while_redis_is_away(stage: Stage) -> None:
    """It is accepted once Postgres has it, and takes effect when Redis is there again."""
    call_up(stage)
    await stage.register(asks("review"))
    run_id = await stage.client.submit("w")
    await waiting(stage, run_id, "review")
    nobody = f"unix:///tmp/{secrets.token_hex(8)}.sock"
    place = stage.place
    async with Client.open(redis_url=nobody, database_url=place.database_url, env=place.env) as client:
        done = await client.approve(run_id, by="ada")
    assert (done.state, done.reason.startswith("Redis: ")) == ("accepted", True)
    assert (await stage.result(run_id)).status == "COMPLETED"
    await agrees(stage, run_id)


async def test_a_pause_holds_what_is_queued_and_what_comes_due(stage: Stage) -> None:
    """Whenever a pause comes, no step begins after it, and nothing is lost when the run goes on."""
    call_up(stage)
    nodes = [node(f"t{n}", type="wait", config={"for": f"{5 * n + 1}ms"}) for n in range(8)]
    await stage.register(*nodes, says("end", *(f"t{n}" for n in range(8))))
    for number in range(10):
        run_id = await stage.client.submit("w")
        await anyio.sleep(number * 4 / 1000)
        paused = await stage.client.pause(run_id)
        if paused.state == "applied":
            await agrees(stage, run_id)
            await stage.client.resume(run_id)
        assert (await stage.result(run_id)).status == "COMPLETED"
        await agrees(stage, run_id)


async def test_commands_that_are_missing_are_found_by_an_index(pool: Pool) -> None:
    """The reconciler reads the commands since its mark, whatever was commanded before in the whole history."""
    async with pool.acquire() as conn:
        await conn.execute(
            """INSERT INTO commands (env, run_id, number, type, partition, body, body_digest, workflow, version,
                                     ir_hash, input_digest, trigger)
               SELECT 'e', 'run_' || n, 1, 'start', 0, '1', '1', 'w', 1, 'i', '1', 'initial'
                 FROM generate_series(1, 20000) n;
               INSERT INTO commands (env, run_id, number, type, partition, body, body_digest)
               SELECT 'e', 'run_' || n, 2, 'cancel', 0, '{}', '1' FROM generate_series(1, 20000) n;
               INSERT INTO runs (run_id, env, partition, workflow, version, ir_hash, status, trigger, tags, is_halted,
                                 created_at, updated_at, finished_at)
               SELECT 'run_' || n, 'e', 0, 'w', 1, 'i', 'CANCELLED', 'initial', '{}', false, now(), now(), now()
                 FROM generate_series(1, 20000) n;
               ANALYZE commands; ANALYZE runs;"""
        )
        assert await commands_to_apply(conn, "e", 0) == []
        mark = await conn.fetchval("SELECT command_xact::text FROM reconciler_marks WHERE env = 'e'")
        sql = load_queries("commands")["commands_to_apply"]
        plan = await conn.fetch(f"EXPLAIN {sql}", "e", 0, mark, 0, 500, [], "0", "", 0)
        text = "\n".join(row[0] for row in plan)
        assert "commands_other_xact_idx" in text
        assert "Seq Scan" not in text
        await conn.execute("UPDATE runs SET finished_at = NULL, status = 'RUNNING' WHERE run_id = 'run_7'")
        await conn.execute(
            """INSERT INTO commands (env, run_id, number, type, partition, body, body_digest)
               VALUES ('e', 'run_7', 3, 'pause', 0, '{}', '1')"""
        )
        (found,) = await commands_to_apply(conn, "e", 0)
    assert (found.run_id, found.command.number, found.command.type) == ("run_7", 3, "pause")
