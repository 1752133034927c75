"""Runs that go on from others, where the log of these is not there any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import RedisError

from courante.sdk import submitting
from courante.sdk.bases import bring_payloads
from courante.sdk.bulk import Selection
from courante.sdk.errors import NotRestartable
from courante.sdk.payloads import store_payload
from courante.sdk.restarts import Restarted
from courante.sdk.stores.payloads import read_reference
from integration.stage import Stage

pytestmark = pytest.mark.anyio


def fail() -> None:
    raise ValueError("no")


async def failed(stage: Stage, count: int) -> list[str]:
    """Play runs that fail, newest last."""
    stage.worker({"fail": fail})
    await stage.register({"id": "a", "type": "function", "config": {"handler": "fail"}, "max_retries": 0})
    return [(await stage.run("w")).run_id for _ in range(count)]


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


@pytest.mark.parametrize("lose", [take_out, spoil])
async def test_a_start_whose_base_is_gone_holds_up_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, lose: Callable[[Stage, str], Awaitable[None]]
) -> None:
    """It was accepted while Redis was away, and its base went before the reconciler came to it."""
    supervisor = stage.supervisor()
    (base,) = await failed(stage, 1)
    supervisor.stop()
    await stage.ends[0].wait()

    async def away(*what: object, **more: object) -> None:
        raise RedisError("away")

    with monkeypatch.context() as patch:
        patch.setattr(submitting, "apply_all_starts", away)
        lost = (await stage.client.retry(base)).run_id
        other = await stage.client.submit("w")
    await lose(stage, base)
    stage.supervisor()
    assert (await stage.result(other)).status == "FAILED"
    assert (await stage.client.result(lost)).status == "PENDING"


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
