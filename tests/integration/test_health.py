"""``Client.health`` and ``courante health`` on real servers: what is wrong is said, and nothing where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import msgspec
import pytest

from command_line import Said, spawn
from courante.api.wire.health import health_shown
from courante.sdk.client.client import Client
from courante.sdk.health.health import Health, Limits
from courante.supervisor.monitoring.watch import Watch
from courante.supervisor.supervisor import Supervisor
from integration.backups import wipe_redis
from integration.cases import node, waits
from integration.house import open_house
from integration.journal import GATED, Journal, step
from integration.stage import Place, Stage, until

pytestmark = pytest.mark.anyio
EVEN_ONE = Limits(lag_ms=1, queue_age_ms=1)


def figures(health: Health) -> dict[str, Any]:
    """What was measured, as people are told it."""
    found: dict[str, Any] = msgspec.to_builtins(health_shown(health))
    return found


def same(value: Any) -> Any:
    return value


def codes(health: Health) -> list[str]:
    return [reason.code for reason in health.reasons]


async def staffed(stage: Stage) -> Journal:
    """A worker and a supervisor that have announced themselves."""
    journal = Journal()
    stage.worker(journal.steps())
    stage.supervisor()
    await until(stage.client.health, lambda found: found.status == "HEALTHY")
    return journal


def command(stage: Stage, tmp_path: Path) -> Callable[..., Any]:
    """Call a command in the stage's environment."""
    place = stage.place
    environ = {
        "COURANTE_REDIS_URL": place.redis_url,
        "COURANTE_DATABASE_URL": place.database_url,
        "COURANTE_ENV": place.env,
    }

    async def call(*argv: str, **more: str) -> Said:
        return await anyio.to_thread.run_sync(lambda: spawn(*argv, cwd=tmp_path, environ=environ | more))

    return call


async def test_with_nobody_there_it_is_critical(stage: Stage) -> None:
    """An open environment without a supervisor: nothing would be recorded."""
    found = await stage.client.health()
    assert (found.status, codes(found)) == ("CRITICAL", ["no_supervisor", "no_worker"])
    await staffed(stage)


async def test_a_queue_that_nobody_reads(stage: Stage) -> None:
    """It is named, also where no worker has ever read it; with a worker it is well again."""
    journal = await staffed(stage)
    run_id = await stage.client.submit(await stage.register(step("a", "quick", queue="gpu")), 1)
    found = await until(stage.client.health, lambda health: health.status == "CRITICAL")
    assert [(one.code, one.subject) for one in found.reasons] == [("queue_without_worker", "gpu")]
    stage.worker(journal.steps(), queues=["gpu"])
    assert (await stage.result(run_id)).status == "COMPLETED"
    assert (await stage.client.health()).reasons == ()


async def test_a_handler_that_no_worker_has(stage: Stage) -> None:
    """It is named long before its run is stuck, and not any more when a worker has it or no run asks for it."""
    await staffed(stage)
    run_id = await stage.client.submit(await stage.register(step("a", "nobody.has.it")), 1)
    found = await until(stage.client.health, lambda health: health.status != "HEALTHY")
    assert [(one.severity, one.code, one.subject) for one in found.reasons] == [
        ("WARNING", "handler_without_worker", "nobody.has.it")
    ]
    stage.worker({"nobody.has.it": same})
    assert (await stage.result(run_id)).output == {"a": 1}
    assert (await stage.client.health()).reasons == ()


async def test_runs_that_fail(stage: Stage, tmp_path: Path) -> None:
    """Of those that have ended lately a share failed; who was cancelled is not counted."""
    await staffed(stage)
    await stage.register(node("a", type="transform", config={"expression": "1 / 0"}), id="bad")
    await stage.register(node("a", type="noop"), id="good")
    await stage.register(waits("a", name="go"), id="long")
    cancelled = await stage.client.submit("long")
    await stage.client.cancel(cancelled)
    await stage.results([await stage.client.submit("bad") for _ in range(9)])
    await stage.result(cancelled)
    assert (await stage.client.health()).status == "HEALTHY"
    await stage.result(await stage.client.submit("bad"))
    found = await stage.client.health()
    assert (found.status, codes(found)) == ("CRITICAL", ["runs_failing"])
    await stage.results([await stage.client.submit("good") for _ in range(11)])
    found = await stage.client.health()
    assert (found.status, codes(found), figures(found)["runs"]) == (
        "WARNING",
        ["runs_failing"],
        {"ended": 21, "failed": 10},
    )
    said = await command(stage, tmp_path)("health", "--json", COURANTE_HEALTH_FAILING_WARNING="48")
    assert (said.json["status"], said.json["runs"]) == ("HEALTHY", {"ended": 21, "failed": 10})


async def test_a_step_that_waits_for_long(stage: Stage) -> None:
    """The first that nobody has taken counts, not one that is in somebody's hands."""
    journal = Journal()
    stage.worker(journal.steps(), concurrency=1)
    stage.supervisor()
    workflow = await stage.register(*GATED)
    first = await stage.client.submit(workflow, 1)
    await until(journal.count, lambda made: made == 2)
    await until(lambda: stage.client.health(EVEN_ONE), lambda health: "queue_slow" not in codes(health))
    second = await stage.client.submit(workflow, 2)
    found = await until(lambda: stage.client.health(EVEN_ONE), lambda health: "queue_slow" in codes(health))
    (queue,) = [one for one in figures(found)["queues"] if one["queue"] == "default"]
    assert (queue["waiting"], queue["workers"]) == (1, 1)
    journal.gate.set()
    await stage.results([first, second])


async def test_what_is_paused_is_told(stage: Stage) -> None:
    """A queue and a workflow that somebody has paused, until they are resumed; nothing else is said of them."""
    await staffed(stage)
    workflow = await stage.register(*GATED)
    await stage.client.pause_queue("default", "repair", by="ann")
    await stage.client.pause_workflow(workflow)
    found = await stage.client.health()
    assert (found.status, codes(found)) == ("WARNING", ["queue_paused", "workflow_paused"])
    assert "by ann: repair" in found.reasons[0].message
    await stage.client.resume_queue("default")
    await stage.client.resume_workflow(workflow)
    assert (await stage.client.health()).status == "HEALTHY"


async def test_a_stuck_run_in_health_and_status(stage: Stage, tmp_path: Path) -> None:
    """An open alert stands in both, in words and as JSON, and goes with what it was about."""
    await staffed(stage)
    run_id = await stage.client.submit(await stage.register(step("a", "nobody.has.it")))
    await until(lambda: stage.types(run_id), bool)
    client = stage.client
    watch = Watch(stage.redis, client.pool, client.keys, client.catalog, stuck_ms=0)
    await until(watch.look, bool)
    courante = command(stage, tmp_path)
    found = await client.health()
    assert [(one.code, one.subject) for one in found.reasons if one.code == "run_stuck"] == [("run_stuck", run_id)]
    said = await courante("status", run_id, "--json")
    (alert,) = said.json["alerts"]
    assert set(alert) == {"kind", "message", "since"}
    assert alert["kind"] == "run.stuck"
    assert f"alert: {alert['message']} [run.stuck]\n" in (await courante("status", run_id)).out
    await client.cancel(run_id)
    await stage.result(run_id)
    said = await courante("status", run_id, "--json")
    assert said.json["alerts"] == []


async def test_a_redis_that_has_lost_its_data(stage: Stage) -> None:
    """It is said, and who mends it; afterwards all is well again."""
    stage.worker()
    supervisor = stage.supervisor()
    await until(stage.client.health, lambda found: found.status == "HEALTHY")
    supervisor.stop()
    await stage.ends[1].wait()
    await wipe_redis(stage.redis, stage.place.env)
    found = await stage.client.health()
    assert (found.status, codes(found)[:2]) == ("CRITICAL", ["redis_lost_data", "no_supervisor"])
    stage.supervisor()
    await until(stage.client.health, lambda health: health.status == "HEALTHY")


async def test_the_command(stage: Stage, tmp_path: Path) -> None:
    """One word, the reasons and the figures; CRITICAL exits with 2."""
    courante = command(stage, tmp_path)
    said = await courante("health", "--json")
    assert said.code == 2
    assert said.json["status"] == "CRITICAL"
    assert [reason["code"] for reason in said.json["reasons"]] == ["no_supervisor", "no_worker"]
    fields = {"code", "severity", "message", "hint", "subject", "since"}
    assert all(set(reason) == fields for reason in said.json["reasons"])
    assert (await courante("health")).out.startswith("CRITICAL\n✗ partition 0: no supervisor lives")
    await staffed(stage)
    said = await courante("health", "--json")
    assert (said.code, said.json["status"], said.json["reasons"]) == (0, "HEALTHY", [])
    assert set(said.json) == {"status", "reasons", "runs", "workers", "partitions", "queues"}
    assert said.json["workers"] == 1
    (partition,) = said.json["partitions"]
    assert (partition["standing"], partition["is_watched"]) == ("sound", True)
    assert (await courante("health")).out.startswith("HEALTHY\n\nworkers")
    said = await courante("health", "--json", COURANTE_ENV="other")
    assert (said.code, [one["code"] for one in said.json["reasons"]]) == (0, ["nothing_here"])
    async with stage.client.pool.acquire() as conn:
        known = await conn.fetchval("SELECT count(*) FROM recorder_cursors WHERE env = 'other'")
    assert known == 0, "who only looks leaves nothing behind"


async def test_where_nothing_runs_nothing_is_started(tmp_path: Path) -> None:
    """Embedded servers that are down stay down."""
    environ = {"COURANTE_HOME": str(tmp_path / "h")}
    said = await anyio.to_thread.run_sync(lambda: spawn("health", "--json", cwd=tmp_path, environ=environ))
    assert (said.code, said.json["reasons"][0]["code"]) == (2, "servers_down")
    assert not (tmp_path / "h" / "redis").exists()


async def test_a_database_that_is_behind(stage: Stage, database: str, tmp_path: Path) -> None:
    """A database without our tables is said to be so, and is left as it is."""
    said = await command(stage, tmp_path)("health", "--json", COURANTE_DATABASE_URL=database)
    assert (said.code, "schema_behind" in [one["code"] for one in said.json["reasons"]]) == (2, True)
    conn = await asyncpg.connect(database)
    assert await conn.fetchval("SELECT to_regclass('runs')") is None
    await conn.close()


async def test_servers_that_are_away(tmp_path: Path) -> None:
    """F41, F42: without Postgres it is WARNING until the outbox is over its limit; without Redis it is CRITICAL."""
    async with open_house(tmp_path) as house:
        stage, redis, postgres = house.stage, house.redis, house.postgres
        await staffed(stage)
        workflow = await stage.register(step("a", "quick"))
        assert (await stage.run(workflow, 1)).status == "COMPLETED"
        await postgres.stop()
        await check_without_postgres(stage, tmp_path)
        await postgres.start()
        await until(stage.client.health, lambda found: found.status == "HEALTHY")
        redis.kill()
        found = await stage.client.health()
        assert (found.status, codes(found)) == ("CRITICAL", ["redis_unreachable"])
        await redis.start()
        await until(stage.client.health, lambda found: found.status == "HEALTHY")


async def check_without_postgres(stage: Stage, tmp_path: Path) -> None:
    found = await stage.client.health()
    assert (found.status, codes(found)) == ("WARNING", ["postgres_unreachable"])
    over = await stage.client.health(Limits(outbox_soft=0, outbox_hard=10))
    assert (over.status, codes(over)) == ("CRITICAL", ["outbox_over_limit", "postgres_unreachable"])
    said = await command(stage, tmp_path)("health", "--json", COURANTE_OUTBOX_ENTRIES_HARD="50000")
    assert (said.code, said.json["status"]) == (0, "WARNING")


async def test_four_partitions(place: Place) -> None:
    """Each has its own word: one that nobody watches is named."""
    client = Client.open(redis_url=place.redis_url, database_url=place.database_url, env=place.env, partitions=4)
    async with client:
        await client.prepare()
        supervisor = Supervisor(redis_url=place.redis_url, database_url=place.database_url, env=place.env, partitions=3)
        async with anyio.create_task_group() as group:
            group.start_soon(supervisor.run)
            found = await until(client.health, lambda health: codes(health).count("no_supervisor") == 1)
            assert [one.subject for one in found.reasons if one.code == "no_supervisor"] == ["3"]
            supervisor.stop()
