"""Slots of a concurrency key and rates: what steps of all runs share."""

from __future__ import annotations

import operator
from collections import Counter
from functools import partial

import anyio
import pytest

from courante.runner.worker import Worker
from courante.sdk.authoring.steps import Steps
from courante.sdk.client.client import Client
from courante.supervisor.recovery import guard
from courante.supervisor.supervisor import Supervisor
from integration.backups import wipe_redis
from integration.floor import compile_document
from integration.gauge import Gauge
from integration.onlooker import agrees
from integration.stage import PATIENCE_S, Place, Stage, until
from integration.standing import epoch_of

pytestmark = pytest.mark.anyio
KEY = {"key": "'k'", "limit": 2}
QUICK = guard.GuardSettings(look_s=0.05, standby_s=0.5, patience_s=1.0, backoff_s=0.02)


def shared(id: str, **fields: object) -> dict[str, object]:
    return {"id": id, "type": "function", "config": {"handler": "work"}, "input": "input", **fields}


async def begin(stage: Stage, gauge: Gauge, given: list[str], limit: int, **share: object) -> list[str]:
    """Start a run for each of ``given``, one after another; wait until the slots are taken and the others wait."""
    await stage.register(shared("a", concurrency={"key": "'k'", "limit": limit, **share}))
    ids: list[str] = []
    for one in given:
        ids.append(await stage.client.submit("w", one))
        rest = max(0, len(ids) - limit)
        await until(lambda: _counts(stage, gauge), partial(operator.eq, (min(limit, len(ids)), rest)))
    return ids


async def _counts(stage: Stage, gauge: Gauge) -> tuple[int, int]:
    """How many are at work, and how many wait."""
    return gauge.inside, len(await row(stage))


async def names(stage: Stage, kind: str) -> list[bytes]:
    return [key async for key in stage.redis.scan_iter(f"{stage.client.keys.partition(0).base}{kind}:*")]


async def row(stage: Stage) -> list[bytes]:
    found = await names(stage, "slotq")
    return [] if not found else list(await stage.redis.zrange(found[0], 0, -1))


async def holders(stage: Stage) -> int:
    """How many hold a slot; a walk of the audit leaves a mark beside them meanwhile."""
    return sum([len(set(await stage.redis.hkeys(key)) - {b"!"}) for key in await names(stage, "slots")])


async def granted_ms(stage: Stage, run_id: str) -> int:
    """When the log gave a run its slot. Where several are free, a worker may begin with the later one of two."""
    (granted,) = [event for event in await stage.events(run_id) if event.facts.type == "slot.granted"]
    return granted.at_ms


async def test_no_more_are_at_work_and_none_is_lost(stage: Stage) -> None:
    gauge = Gauge()
    stage.supervisor()
    stage.worker({"work": gauge.work})
    ids = await begin(stage, gauge, list("abcdef"), 2)
    gauge.gate.set()
    assert {(await stage.result(run_id)).status for run_id in ids} == {"COMPLETED"}
    assert (gauge.most, sorted(gauge.order)) == (2, list("abcdef"))
    assert await holders(stage) == 0
    granted = [await granted_ms(stage, run_id) for run_id in ids]
    assert granted == sorted(granted), "the log gives slots in another order than they were asked for"
    for run_id in ids:
        await agrees(stage, run_id)


async def test_a_slot_is_free_however_its_holder_goes(stage: Stage) -> None:
    """A holder is withdrawn, one is cancelled with its run, one of those that wait is too: the others go on."""
    gauge = Gauge()
    stage.supervisor()
    stage.worker({"work": gauge.work}, lease_ms=600, cancel_grace_ms=0)
    ids = await begin(stage, gauge, list("abcde"), 2)
    await stage.client.cancel_step(ids[0], "a")
    await until(lambda: row(stage), lambda waiting: len(waiting) == 2)
    await stage.client.cancel(ids[3])
    await until(lambda: row(stage), lambda waiting: len(waiting) == 1)
    await stage.client.cancel(ids[1])
    await until(lambda: row(stage), lambda waiting: not waiting)
    gauge.gate.set()
    ends = Counter([(await stage.result(run_id)).status for run_id in ids])
    assert ends == {"COMPLETED": 3, "CANCELLED": 2}
    assert await holders(stage) == 0
    for run_id in ids:
        await agrees(stage, run_id)


async def test_those_who_wait_take_turns(stage: Stage) -> None:
    """Four runs of one customer were there before the second one of another, which waits for one of them only."""
    gauge = Gauge()
    stage.supervisor()
    stage.worker({"work": gauge.work})
    ids = await begin(stage, gauge, ["a1", "a2", "a3", "a4", "b1", "b2"], 1, fair="input.substring(0, 1)")
    gauge.gate.set()
    for run_id in ids:
        await stage.result(run_id)
    assert gauge.order == ["a1", "a2", "b1", "a3", "b2", "a4"]


async def test_the_backoff_of_a_retry_gives_the_slot_back(stage: Stage) -> None:
    seen: list[str] = []

    async def work(given: str) -> str:
        seen.append(given)
        if given == "a" and len(seen) == 1:
            raise ConnectionError("once")
        return given

    stage.supervisor()
    stage.worker({"work": work})
    await stage.register(shared("a", concurrency={"key": "'k'", "limit": 1}, retry={"max_attempts": 2, "base": "1s"}))
    first = await stage.client.submit("w", "a")
    await until(lambda: stage.types(first), lambda types: "step.retried" in types)
    assert (await stage.run("w", "b")).status == "COMPLETED"
    assert (await stage.result(first)).status == "COMPLETED"
    assert seen == ["a", "b", "a"]


async def test_nobody_is_let_in_while_it_is_not_known_who_holds(stage: Stage) -> None:
    """Somebody has deleted the holders, and no audit has looked yet: how many they are is known all the same."""
    gauge = Gauge()
    stage.supervisor(audit_s=1_000)
    stage.worker({"work": gauge.work})
    ids = await begin(stage, gauge, list("ab"), 2)
    await stage.redis.unlink(*await names(stage, "slots"))
    ids += [await stage.client.submit("w", one) for one in "cd"]
    await until(lambda: _counts(stage, gauge), partial(operator.eq, (2, 2)))
    gauge.gate.set()
    assert {(await stage.result(run_id)).status for run_id in ids} == {"COMPLETED"}
    assert (gauge.most, await holders(stage), await row(stage)) == (2, 0, [])


async def test_the_audit_writes_down_again_who_holds_and_who_waits(stage: Stage) -> None:
    gauge = Gauge()
    stage.supervisor(audit_s=0.1)
    stage.worker({"work": gauge.work})
    ids = await begin(stage, gauge, list("abcd"), 2)
    await stage.redis.unlink(*await names(stage, "slotq"), *await names(stage, "slots"))
    await until(lambda: row(stage), lambda waiting: len(waiting) == 2)
    await until(lambda: holders(stage), partial(operator.eq, 2))
    gauge.gate.set()
    assert {(await stage.result(run_id)).status for run_id in ids} == {"COMPLETED"}
    assert (gauge.most, await holders(stage), await row(stage)) == (2, 0, [])


async def test_a_run_that_was_deleted_keeps_its_slot_until_it_is_rebuilt(stage: Stage) -> None:
    """Its step may be at work all the same: nobody is let in for it."""
    gauge = Gauge()
    stage.supervisor(audit_s=0.1)
    stage.worker({"work": gauge.work})
    ids = await begin(stage, gauge, list("abc"), 2)
    key = stage.client.keys.partition(0).run(ids[0])
    await stage.redis.unlink(key)
    await until(lambda: stage.redis.exists(key), bool)
    assert (len(await row(stage)), await holders(stage)) == (1, 2)
    gauge.gate.set()
    assert {(await stage.result(run_id)).status for run_id in ids} == {"COMPLETED"}
    assert (await holders(stage), await row(stage)) == (0, [])


async def test_a_count_that_is_wrong_is_put_right(stage: Stage) -> None:
    """By a walk over all runs, from those who hold a slot."""
    gauge = Gauge()
    stage.supervisor(audit_s=0.1)
    stage.worker({"work": gauge.work})
    ids = await begin(stage, gauge, list("abc"), 2)
    (held,) = await names(stage, "slots")
    field = f"held:{held.rpartition(b':')[2].decode()}"
    meta = stage.client.keys.partition(0).meta
    await stage.redis.hset(meta, field, 7)
    await until(lambda: stage.redis.hget(meta, field), partial(operator.eq, b"2"))
    gauge.gate.set()
    assert {(await stage.result(run_id)).status for run_id in ids} == {"COMPLETED"}
    assert (gauge.most, await holders(stage), await stage.redis.hexists(meta, field)) == (2, 0, False)


async def test_the_audit_drops_holders_whom_no_run_knows(stage: Stage) -> None:
    gauge = Gauge()
    stage.supervisor(audit_s=0.1)
    stage.worker({"work": gauge.work})
    ids = await begin(stage, gauge, list("abcd"), 2)
    (held,) = await names(stage, "slots")
    await stage.redis.hset(held, mapping={"nobody|0": "1", "nobody|1": "1"})
    await until(lambda: holders(stage), partial(operator.eq, 2))
    assert len(await row(stage)) == 2
    gauge.gate.set()
    assert {(await stage.result(run_id)).status for run_id in ids} == {"COMPLETED"}
    assert (gauge.most, await holders(stage)) == (2, 0)


async def test_a_rate_lets_its_burst_go_and_then_one_at_a_time(stage: Stage) -> None:
    """Who comes too early has a time of its own, one after another; nobody is asked twice."""
    stage.supervisor()
    stage.worker({"work": _given})
    await stage.register(shared("a", rate_limit={"key": "'r'", "limit": 2, "per": "1s"}))
    ids = [await stage.client.submit("w", str(number)) for number in range(5)]
    for run_id in ids:
        assert (await stage.result(run_id)).status == "COMPLETED"
        await agrees(stage, run_id)
    events = [event for run_id in ids for event in await stage.events(run_id)]
    told = [event.facts.due - event.at_ms for event in events if event.facts.type == "timer.set"]
    due = sorted(event.facts.due for event in events if event.facts.type == "timer.set")
    assert sum(ms <= 0 for ms in told) >= 2
    assert all(third - first >= 499 for first, third in zip(due, due[2:], strict=False))
    assert len(due) == 5


async def test_a_rate_outlives_what_redis_has_lost(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket counts as empty then, and whoever waits for its turn keeps it: who comes later is behind it."""
    monkeypatch.setattr(guard, "GuardSettings", lambda: QUICK)
    stage.supervisor()
    stage.worker({"work": _given})
    hour_ms = 3_600_000
    rest = {"id": "w", "type": "wait", "config": {"for": "1h"}, "depends_on": "a"}
    await stage.register(shared("a", rate_limit={"key": "input", "limit": 2, "per": "1h"}), rest)
    spent = [await stage.client.submit("w", one) for one in ("x", "x", "y", "y")]
    for run_id in spent:
        await until(partial(_dues, stage, run_id), lambda found: len(found) == 2)
    waits = await stage.client.submit("w", "x")
    (turn,) = await until(partial(_dues, stage, waits), lambda found: len(found) == 1)
    before_ms = await server_ms(stage)
    epoch = await epoch_of(stage)
    await wipe_redis(stage.redis, stage.place.env)
    await until(lambda: epoch_of(stage), partial(operator.lt, epoch))
    late, other = [await stage.client.submit("w", one) for one in "xy"]
    (behind,) = await until(partial(_dues, stage, late), lambda found: len(found) == 1)
    (refilled,) = await until(partial(_dues, stage, other), lambda found: len(found) == 1)
    assert behind >= turn + hour_ms / 2
    assert refilled >= before_ms + hour_ms / 2


async def _dues(stage: Stage, run_id: str) -> list[int]:
    return [event.facts.due for event in await stage.events(run_id) if event.facts.type == "timer.set"]


async def server_ms(stage: Stage) -> int:
    seconds, micros = await stage.redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def _given(given: str) -> str:
    return given


async def test_a_key_must_be_something_that_can_be_told_apart(stage: Stage) -> None:
    stage.supervisor()
    stage.worker({"work": _given})
    await stage.register(shared("a", concurrency={"key": "[1]", "limit": 1}))
    result = await stage.run("w", "x")
    assert (result.status, result.error is not None and "'concurrency'" in str(result.error)) == ("FAILED", True)


async def test_runs_that_share_live_in_the_first_of_several_partitions(place: Place) -> None:
    """However many there are: only there can a slot be taken by the transition itself."""
    gauge, steps = Gauge(), Steps()
    steps.add(gauge.work, "work")
    client = Client.open(redis_url=place.redis_url, database_url=place.database_url, env=place.env, partitions=3)
    worker = Worker(redis_url=place.redis_url, env=place.env, partitions=range(3), steps=steps)
    supervisor = Supervisor(redis_url=place.redis_url, database_url=place.database_url, env=place.env, partitions=3)
    ends: set[str] = set()
    found: set[int] = set()
    document = {"courante": 1, "id": "w", "nodes": [shared("a", concurrency=KEY)]}
    async with client, anyio.create_task_group() as group:
        await client.prepare()
        group.start_soon(worker.run)
        group.start_soon(supervisor.run)
        await client.register(*compile_document(document))
        gauge.gate.set()
        ids = [await client.submit("w", str(number)) for number in range(8)]
        ends |= {(await client.wait(run_id, timeout_s=PATIENCE_S)).status for run_id in ids}
        async with client.pool.acquire() as conn:
            commands = await conn.fetch("SELECT partition FROM commands WHERE env = $1", place.env)
            found |= {command["partition"] for command in commands}
        group.cancel_scope.cancel()
    assert (ends, found) == ({"COMPLETED"}, {0})
    assert gauge.most <= 2


async def test_who_has_waited_longest_is_next_however_many_have_asked(stage: Stage) -> None:
    """The order among those that wait goes on where its numbers begin anew."""
    gauge = Gauge()
    stage.supervisor()
    stage.worker({"work": gauge.work})
    ids = await begin(stage, gauge, list("ab"), 1)
    (turns,) = await names(stage, "slotf")
    await stage.redis.hset(turns, "n", str(2**20 - 2))
    for given in "cde":
        ids.append(await stage.client.submit("w", given))
        await until(lambda: _counts(stage, gauge), partial(operator.eq, (1, len(ids) - 1)))
    gauge.gate.set()
    await stage.results(ids)
    assert gauge.order == list("abcde")
