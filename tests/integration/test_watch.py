"""What only a person can change is told, stands as an alert while it lasts, and ends a run where that was asked."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from redis.asyncio import Redis

from courante.sdk.connections import connect_redis
from courante.sdk.floor import repairs
from courante.sdk.stores.alerts import Alert, AlertKind, list_alerts
from courante.supervisor.monitoring import watch as watch_module
from courante.supervisor.monitoring.watch import Watch
from integration.journal import GATED, Journal, step
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
NOBODY_HAS_IT = step("a", "nobody.has.it")


def watch_of(stage: Stage, redis: Redis | None = None, **options: Any) -> Watch:
    client = stage.client
    return Watch(redis or stage.redis, client.pool, client.keys, client.catalog, **options)


async def alerts_of(stage: Stage) -> list[Alert]:
    async with stage.client.pool.acquire() as conn:
        return await list_alerts(conn, stage.place.env)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody watches but the test: not the supervisor of the stage either."""

    async def rest(_: Watch) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(Watch, "run", rest)


async def stand_still(stage: Stage, **fields: Any) -> str:
    """A run with a step that no worker can run; its start is in the log."""
    stage.supervisor()
    stage.worker()
    run_id = await stage.client.submit(await stage.register(NOBODY_HAS_IT, **fields))
    await until(lambda: stage.types(run_id), bool)
    return run_id


async def test_a_run_in_which_nothing_happens_is_told_of(stage: Stage) -> None:
    """It is an alert as long as it stands still; what is young is not yet stuck."""
    run_id = await stand_still(stage)
    assert await watch_of(stage).look() == []
    assert await alerts_of(stage) == []
    watch = watch_of(stage, stuck_ms=0)
    assert await until(watch.look, bool) == [run_id]
    (alert,) = await alerts_of(stage)
    assert (alert.kind, alert.subject) == (AlertKind.RUN_STUCK, run_id)
    assert alert.message.startswith(f"nothing has happened in run {run_id} of w since 20")
    assert await watch.look() == [run_id]
    assert await alerts_of(stage) == [alert]
    await stage.client.cancel(run_id)
    assert (await stage.result(run_id)).status == "CANCELLED"
    assert await watch.look() == []
    assert await alerts_of(stage) == []


async def test_the_document_says_after_how_long(stage: Stage) -> None:
    """``policy.stuck`` goes before the setting; without an action nothing ends."""
    run_id = await stand_still(stage, policy={"stuck": {"after": "50ms"}})
    assert await until(watch_of(stage).look, bool) == [run_id]
    assert (await stage.client.result(run_id)).status == "RUNNING"


@pytest.mark.usefixtures("alone")
async def test_the_document_lets_the_run_fail(stage: Stage) -> None:
    """``action: fail`` ends it, with its compensations."""
    nodes = [
        step("done", "quick", compensate="undo"),
        {"id": "undo", "type": "noop"},
        step("a", "nobody.has.it", "done"),
    ]
    journal = Journal()
    stage.supervisor()
    stage.worker(journal.steps())
    workflow = await stage.register(*nodes, policy={"stuck": {"after": "200ms", "action": "fail"}})
    run_id = await stage.client.submit(workflow, 1)
    await until(lambda: stage.succeeded(run_id), lambda done: done == ["done"])
    watch = watch_of(stage)
    assert await until(watch.look, bool) == [run_id]
    result = await stage.result(run_id)
    assert (result.status, result.error) == (
        "FAILED",
        {"type": "RUN_STUCK", "message": "nothing has happened in the run for too long"},
    )
    types = await stage.types(run_id)
    assert types.count("run.draining") == 1
    assert "compensation.started" in types


async def test_a_step_in_living_hands_is_not_stuck(stage: Stage) -> None:
    """It may take as long as it takes; a worker that is gone has it in its hands no more."""
    journal = Journal()
    stage.supervisor()
    stage.worker(journal.steps())
    workflow = await stage.register(*GATED)
    run_id = await stage.client.submit(workflow, 1)
    await until(lambda: stage.types(run_id), lambda types: "step.started" in types)
    watch = watch_of(stage, stuck_ms=0)

    async def is_listed() -> bool:
        async with stage.client.pool.acquire() as conn:
            return bool(await conn.fetchval("SELECT count(*) FROM worker_registry WHERE env = $1", stage.place.env))

    await until(is_listed, bool)
    assert await watch.look() == []
    async with stage.client.pool.acquire() as conn:
        await conn.execute(
            "UPDATE worker_registry SET last_seen = last_seen - interval '1 hour' WHERE env = $1", stage.place.env
        )
    assert await watch.look() == [run_id]
    journal.gate.set()
    await stage.result(run_id)


@pytest.mark.usefixtures("alone")
async def test_a_run_that_goes_on_meanwhile_does_not_fail(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the end something happens: the run is left alone."""
    run_id = await stand_still(stage, policy={"stuck": {"after": "50ms", "action": "fail"}})
    watch = watch_of(stage)
    real = repairs.drain_runs

    async def late(*arguments: Any, **options: Any) -> str:
        await stage.client.pause(run_id)
        await stage.client.resume(run_id)
        return await real(*arguments, **options)

    monkeypatch.setattr(watch_module, "drain_runs", late)
    assert await until(watch.look, bool) == [run_id]
    await until(lambda: stage.types(run_id), lambda types: types.count("command.applied") == 2)
    assert "run.draining" not in await stage.types(run_id)


async def test_a_redis_that_evicts_is_told_of(stage: Stage, unsafe_redis: tuple[str, int]) -> None:
    """F28: it is looked at again and again, for anybody may set it so while all runs."""
    host, port = unsafe_redis
    redis = connect_redis(f"redis://{host}:{port}")
    try:
        watch = watch_of(stage, redis)
        assert await watch.look_at_redis() == ["redis_evicts"]
        (alert,) = await alerts_of(stage)
        assert (alert.kind, alert.subject) == (AlertKind.REDIS_UNSAFE, "redis_evicts")
        await redis.config_set("maxmemory-policy", "noeviction")
        assert await watch.look_at_redis() == []
        assert await alerts_of(stage) == []
    finally:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        with anyio.move_on_after(2):
            await redis.aclose()
