"""Runs that go on from others, where the log of these is not there any more."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping

import pytest
from redis.exceptions import RedisError

from courante.replay import verify_run
from courante.sdk.client import submitting
from courante.sdk.client.bulk import Selection
from courante.sdk.client.restarts import Restarted
from courante.sdk.errors import NotRestartable
from courante.sdk.floor.bringing import bring_payloads
from courante.sdk.floor.payloads import store_payload
from courante.sdk.stores.commands import starts_to_apply
from courante.sdk.stores.payloads import read_reference
from courante.sdk.stores.runs import get_run
from courante.supervisor.recovery import reconciler
from integration.stage import Stage

pytestmark = pytest.mark.anyio


def fail() -> None:
    raise ValueError("no")


async def failed(stage: Stage, count: int) -> list[str]:
    """Play runs that fail, newest last."""
    stage.worker({"fail": fail})
    await stage.register({"id": "a", "type": "function", "config": {"handler": "fail"}, "max_retries": 0})
    return [(await stage.run("w")).run_id for _ in range(count)]


async def large(given: object) -> str:
    """Each time something else: what is lost does not come back with another run."""
    return secrets.token_hex(10_000)


async def fails_after_much(stage: Stage) -> str:
    """Play a run whose first step gives what is stored apart."""
    stage.worker({"large": large, "fail": fail})
    steps: list[Mapping[str, object]] = [
        {"id": "a", "type": "function", "config": {"handler": "large"}},
        {"id": "b", "type": "function", "config": {"handler": "fail"}, "depends_on": ["a"], "max_retries": 0},
    ]
    await stage.register(*steps)
    return (await stage.run("w")).run_id


async def take_out(stage: Stage, run_id: str) -> None:
    """Do to one run what retention does to a month."""
    async with stage.client.pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        await conn.execute("DELETE FROM event_log WHERE run_id = $1", run_id)
        await conn.execute("UPDATE runs SET archived_at = now() WHERE run_id = $1", run_id)


async def test_many_are_retried_though_one_is_archived(stage: Stage) -> None:
    """It is told of that one as of any other that is refused."""
    stage.supervisor()
    run_ids = await failed(stage, 3)
    await take_out(stage, run_ids[1])
    told = {one.run_id: one.told async for one in stage.client.bulk.retry(Selection(workflow="w"), dry_run=True)}
    assert [isinstance(told[run_id], Restarted) for run_id in run_ids] == [True, False, True]
    refused = told[run_ids[1]]
    assert isinstance(refused, NotRestartable)
    assert (refused.reason, "by retention" in str(refused)) == ("archived", True)


async def spoil(stage: Stage, run_id: str) -> None:
    """Write into the log what a newer version might."""
    async with stage.client.pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        await conn.execute("UPDATE event_log SET facts = '{\"type\": 7}' WHERE run_id = $1 AND seq > 1", run_id)


async def leave_to_reconciler(stage: Stage, monkeypatch: pytest.MonkeyPatch, bases: list[str]) -> list[str]:
    """Retry runs while Redis is away, and start another one; return the new runs."""
    stage.supervisors[0].stop()
    await stage.ends[0].wait()

    async def away(*what: object, **more: object) -> None:
        raise RedisError("away")

    with monkeypatch.context() as patch:
        patch.setattr(submitting, "apply_all_starts", away)
        return [*[(await stage.client.retry(base)).run_id for base in bases], await stage.client.submit("w")]


def look_at_once(monkeypatch: pytest.MonkeyPatch, *, batch: int) -> None:
    for name, value in (("BATCH", batch), ("LOOK_S", 0.05), ("OLDER_THAN_MS", 0)):
        monkeypatch.setattr(reconciler, name, value)


async def empty(stage: Stage, run_id: str) -> None:
    """Take away what was stored of the run apart from its log."""
    async with stage.client.pool.acquire() as conn:
        await conn.execute("DELETE FROM payloads")
    await stage.redis.delete(*[name async for name in stage.redis.scan_iter(match=stage.client.keys.blob("*"))])


@pytest.mark.parametrize(("lose", "told"), [(take_out, "was moved away"), (empty, "is not stored any more")])
async def test_a_start_whose_base_is_gone_is_answered(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    lose: Callable[[Stage, str], Awaitable[None]],
    told: str,
) -> None:
    """It was accepted while Redis was away, and its base went before the reconciler came to it: it fails with the
    reason, holds up no other, and can itself be retried, from its beginning.
    """
    stage.supervisor()
    base = await fails_after_much(stage)
    lost, other = await leave_to_reconciler(stage, monkeypatch, [base])
    await lose(stage, base)
    look_at_once(monkeypatch, batch=1)
    stage.supervisor()
    assert (await stage.result(other)).status == "FAILED"
    result = await stage.result(lost)
    assert (result.status, result.error and result.error["type"]) == ("FAILED", "NOT_RESTARTABLE")
    assert told in str(result.error)
    assert await stage.types(lost) == ["run.started", "run.entered", "run.swept", "run.failed"]
    async with stage.client.pool.acquire() as conn:
        assert (await verify_run(conn, stage.place.env, lost)).first_difference is None
        assert (await get_run(conn, lost)).base_run_id == base
    again = await stage.client.retry(lost)
    assert (await stage.result(again.run_id)).status == "FAILED"
    assert (await stage.types(again.run_id)).count("step.failed") == 1


async def test_starts_that_stay_impossible_hold_up_no_other(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than are looked at at once, of bases that only a newer version may be able to read; after a day they
    are answered too.
    """
    stage.supervisor()
    bases = await failed(stage, 3)
    *lost, other = await leave_to_reconciler(stage, monkeypatch, bases)
    for base in bases:
        await spoil(stage, base)
    look_at_once(monkeypatch, batch=2)
    stage.supervisor()
    assert (await stage.result(other)).status == "FAILED"
    assert [(await stage.client.result(run_id)).status for run_id in lost] == ["PENDING"] * 3
    async with stage.client.pool.acquire() as conn:
        started = await starts_to_apply(conn, stage.place.env, 0)
        assert {one.run_id for one in started} == set(lost)
        await conn.execute("UPDATE commands SET created_at = created_at - interval '1 day'")
    client = stage.client
    fresh = reconciler.Reconciler(stage.redis, client.pool, client.keys, 0, client.catalog, 1_000)
    look_at_once(monkeypatch, batch=500)
    assert await fresh.apply(older_than_ms=0) == 3
    assert [(await stage.result(run_id)).status for run_id in lost] == ["FAILED"] * 3


async def test_what_a_run_takes_over_stays_hot(stage: Stage) -> None:
    """A payload that was about to leave Redis is used again from now on."""
    content = b'"%s"' % (b"x" * 20_000)
    reference = await store_payload(stage.redis, stage.client.keys, content)
    name = stage.client.keys.blob(reference[1:33].decode())
    stored = await stage.redis.execute_command("DUMP", name)
    await stage.redis.execute_command("RESTORE", name, 0, stored, "REPLACE", "IDLETIME", 3_000)
    wanted = read_reference(reference)
    assert wanted is not None
    async with stage.client.pool.acquire() as conn:
        assert await bring_payloads(stage.redis, conn, stage.client.keys, [wanted]) == 0
    assert (await stage.redis.execute_command("OBJECT IDLETIME", name)) < 3_000
