"""Runs of which Redis has something else than the log are rebuilt from it, alone, and end as they would have."""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import pytest

from courante.sdk.client.client import Submission
from courante.sdk.stores.log import read_events
from courante.sdk.stores.runs import get_run
from courante.supervisor.recovery.by_hand import ByHand
from integration.heads import head_of, put_head
from integration.journal import GATED, LONG, Journal
from integration.stage import Stage, until
from integration.standing import epoch_of, lives_as_logged, park_at_gate, recorded

pytestmark = pytest.mark.anyio


Damage = Callable[[Stage, str], Awaitable[None]]


async def deleted(stage: Stage, key: str) -> None:
    await stage.redis.delete(key)


async def overwritten(stage: Stage, key: str) -> None:
    await stage.redis.delete(key)
    await stage.redis.set(key, "mine")


async def miscounted(stage: Stage, key: str) -> None:
    head = await head_of(stage.redis, key)
    await put_head(stage.redis, key, head._replace(counter=head.counter + 1))


async def at_zero(stage: Stage, key: str) -> None:
    head = await head_of(stage.redis, key)
    await put_head(stage.redis, key, head._replace(counter=0))


async def garbled(stage: Stage, key: str) -> None:
    fields = [field for field in await stage.redis.hkeys(key) if field.startswith(b"t")]
    await stage.redis.hset(key, fields[0].decode(), "something else")


async def beheaded(stage: Stage, key: str) -> None:
    await stage.redis.hset(key, "h", "?")


DAMAGES: dict[str, Damage] = {
    "missing": deleted,
    "state": overwritten,
    "state, of a head": beheaded,
    "counter": miscounted,
    "record": garbled,
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_run_is_rebuilt(stage: Stage, damage: str) -> None:
    """F29, F30, F59: a key is deleted, overwritten, wrong: its run goes on from the log, the others where they are."""
    journal = Journal()
    stage.worker(journal.steps())
    stage.supervisor(audit_s=0.1)
    ids = await park_at_gate(stage, journal, 5)
    partition = stage.client.keys.partition(0)
    await DAMAGES[damage](stage, partition.run(ids[2]))
    await until(journal.count, lambda made: made > 10)
    await until(lambda: stage.types(ids[2]), lambda types: "run.rebuilt" in types)
    async with stage.client.pool.acquire() as conn:
        run = await get_run(conn, ids[2])
    assert (run.is_halted, run.error) == (False, None)
    await until(lambda: recorded(stage), bool)
    assert await lives_as_logged(stage, ids) == 5
    journal.gate.set()
    assert [result.output for result in await stage.results(ids)] == [{"b": number} for number in range(5)]
    events = await stage.events(ids[2])
    (halted,) = [event for event in events if event.facts.type == "run.halted"]
    assert halted.facts.reason == damage.removesuffix(", of a head")
    assert [journal.made[number, "g"] for number in range(5)] == [1, 1, 2, 1, 1]
    assert await epoch_of(stage) == 2
    for run_id in [*ids[:2], *ids[3:]]:
        assert "run.rebuilt" not in await stage.types(run_id)


async def test_a_counter_of_zero_with_living_tokens(stage: Stage) -> None:
    """F59: nobody goes on with it, nobody ends it; it is rebuilt, and ends with all its steps."""
    journal = Journal()
    stage.worker(journal.steps())
    stage.supervisor(audit_s=0.1)
    (run_id,) = await park_at_gate(stage, journal, 1)
    await at_zero(stage, stage.client.keys.partition(0).run(run_id))
    journal.gate.set()
    assert (await stage.result(run_id)).output == {"b": 0}
    types = await stage.types(run_id)
    assert types.count("run.rebuilt") == 1
    assert types.count("step.succeeded") == 3


async def test_keys_are_deleted_all_the_time(stage: Stage) -> None:
    """F29: of a hundred runs in the middle of everything, every third loses its key: exact results, one end each."""
    journal = Journal()
    stage.worker(journal.steps(), concurrency=16)
    for _ in range(2):
        stage.supervisor(audit_s=0.1)
    workflow = await stage.register(*LONG)
    ids = await stage.client.submit_many([Submission(workflow=workflow, input=number) for number in range(60)])
    partition = stage.client.keys.partition(0)
    for turn in range(4):
        await until(journal.count, partial(operator.le, 40 * (turn + 1)))
        await stage.redis.delete(*map(partition.run, ids[turn::3]))
    assert [result.output for result in await stage.results(ids)] == [{"e": number} for number in range(60)]
    for run_id in ids:
        types = await stage.types(run_id)
        assert types.count("step.succeeded") == 6
        assert types.count("run.halted") == types.count("run.rebuilt")


async def test_a_log_that_cannot_be_followed(stage: Stage) -> None:
    """Such a run stays halted and says so, once; nothing is closed again for its sake."""
    journal = Journal()
    stage.worker(journal.steps())
    stage.supervisor(audit_s=0.1)
    bad, good = await park_at_gate(stage, journal, 2)
    await until(lambda: stage.types(bad), lambda types: len(types) == 3)  # the last: that the step goes on for long
    async with stage.client.pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        await conn.execute("DELETE FROM event_log WHERE run_id = $1 AND seq = 2", bad)
    await deleted(stage, stage.client.keys.partition(0).run(bad))
    async with stage.client.pool.acquire() as conn:
        await until(partial(read_events, conn, bad), lambda events: events[-1].facts.type == "run.halted")
        journal.gate.set()
        assert (await stage.result(good)).output == {"b": 1}
        epoch = await epoch_of(stage)
        await anyio.sleep(1)  # ten looks, none of which does anything
        assert await epoch_of(stage) == epoch == 2
        assert (await get_run(conn, bad)).is_halted
        halts = [event.facts.reason for event in await read_events(conn, bad) if event.facts.type == "run.halted"]
    assert halts == ["log"]


async def test_what_is_damaged_again_and_again_is_left_to_a_person(stage: Stage) -> None:
    """After three times it stays halted: whoever damages it would keep the partition closed for ever."""
    journal = Journal()
    stage.worker(journal.steps())
    stage.supervisor(audit_s=0.1)
    workflow = await stage.register(*GATED)
    run_id = await stage.client.submit(workflow, 1)
    key = stage.client.keys.partition(0).run(run_id)
    for times in range(1, 5):
        await until(journal.count, partial(operator.eq, times + 1))
        await until(lambda: recorded(stage), bool)
        await deleted(stage, key)
    await until(lambda: stage.types(run_id), lambda types: types.count("run.halted") == 4)
    stage.supervisor(audit_s=0.1)
    await anyio.sleep(1)  # ten looks of both, none of which does anything
    assert await epoch_of(stage) == 5
    events = await stage.events(run_id)
    assert (events[-1].facts.type, events[-1].facts.reason) == ("run.halted", "again")
    await ByHand(stage.redis, stage.client, is_forced=True).recover(0)
    journal.gate.set()
    assert (await stage.result(run_id)).output == {"b": 1}
