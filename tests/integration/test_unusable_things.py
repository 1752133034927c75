"""What a supervisor cannot use, a key, a row or the workflow of a newer version, ends none of its loops, and holds up
nothing else.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from courante.sdk.health.health import DEFAULT_LIMITS
from courante.sdk.history.lineage import Lineage
from courante.sdk.reenactment.restarting import RestartPlan
from courante.sdk.restarts import bases
from courante.sdk.schedules import ticker
from courante.sdk.schedules.schedule import Schedule
from courante.sdk.sealing.key_ring import KeyRing
from courante.sdk.sealing.payload_terms import PAYLOAD_TERMS
from courante.sdk.stores.command_bodies import Body, encode_body
from courante.sdk.stores.commands import append_command
from courante.sdk.stores.connection import Connection
from courante.supervisor import children
from courante.supervisor.monitoring.gauges import Gauges
from courante.supervisor.monitoring.watch import Watch
from courante.supervisor.registry import Registry
from integration.cases import node
from integration.stage import Stage, until
from integration.test_bases_that_go import look_at_once
from integration.test_intake import add, drained, rejected
from integration.test_lost_restarts import forks, have_begun
from integration.test_payload_collection import collector, store
from integration.test_watch import NOBODY_HAS_IT

pytestmark = pytest.mark.anyio
SIGNAL = node("a", type="signal", config={"name": "go"})


async def newer(stage: Stage, workflow: str, content: bytes = b'{"nodes": 7}') -> bytes:
    """Write the IR of a workflow anew, as a newer version might; return what it was."""
    env = stage.place.env
    async with stage.client.pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        found = "SELECT ir_hash FROM workflow_versions WHERE env = $1 AND workflow = $2"
        address = await conn.fetchval(found, env, workflow)
        before: bytes = await conn.fetchval("SELECT content FROM irs WHERE env = $1 AND hash = $2", env, address)
        await conn.execute("UPDATE irs SET content = $3 WHERE env = $1 AND hash = $2", env, address, content)
    return before


async def waiting(stage: Stage, workflow: str) -> str:
    """A run that waits, in the log."""
    run_id = await stage.client.submit(await stage.register(SIGNAL, id=workflow))
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)
    return run_id


async def standing(stage: Stage, workflow: str) -> str:
    """A run whose step no worker has, in the log."""
    run_id = await stage.client.submit(await stage.register(NOBODY_HAS_IT, id=workflow))
    await until(lambda: stage.types(run_id), bool)
    return run_id


async def test_a_submission_whose_key_stands_for_what_cannot_be_read(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused, as nobody can say whether it is the same; what comes behind it is a run."""
    stage.worker()
    workflow = await stage.register(node("a"))
    with monkeypatch.context() as patch:
        patch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"k": b"k" * 64}))
        await stage.client.submit(workflow, {"a": 1}, key="sealed")
    refused = await add(stage, {"workflow": workflow, "input": '{"a":1}', "key": "sealed"})
    await add(stage, {"workflow": workflow, "input": "2"})
    stage.supervisor()
    await drained(stage)
    assert [(entry, one.code) for entry, one in (await rejected(stage)).items()] == [(refused, "payload_unreadable")]
    assert await stage.commands() == 2


async def test_a_submission_to_a_workflow_of_a_newer_version(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left to a supervisor of that version; what comes behind it is a run."""
    stage.worker()
    await stage.register(node("a"))
    await stage.register(node("b"), id="newer")
    await newer(stage, "newer")
    left = await add(stage, {"workflow": "newer"})
    await add(stage, {"workflow": "w"})
    stage.supervisor()
    await until(stage.commands, bool)
    submit = stage.client.keys.partition(0).submit
    entries = await until(lambda: stage.redis.xrange(submit), lambda entries: len(entries) == 1)
    assert entries[0][0].decode() == left
    assert await rejected(stage) == {}


async def test_runs_of_a_newer_version_are_watched_as_far_as_that_goes(stage: Stage) -> None:
    stage.supervisor()
    stage.worker()
    good, other = await standing(stage, "w"), await standing(stage, "newer")
    await newer(stage, "newer")
    client = stage.client
    client.catalog._plans.clear()  # pyright: ignore[reportPrivateUsage]
    watch = Watch(stage.redis, client.pool, client.keys, client.catalog, stuck_ms=0)
    assert await until(watch.look, lambda found: len(found) == 2) == [other, good]
    gauges = Gauges(stage.redis, client.pool, client.keys, 1, DEFAULT_LIMITS)
    await gauges.read()
    assert gauges.missing == []


async def test_events_of_a_run_of_a_newer_version_wait_for_a_recorder_of_that(stage: Stage) -> None:
    """They have codes that cannot be read without its IR; nothing ends by that, and nothing of it is lost."""
    stage.supervisor()
    stage.worker()
    run_id = await stage.client.submit(
        await stage.register(node("a", type="wait", config={"for": "500ms"}), id="newer")
    )
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)
    await stage.kill(0)
    before = await newer(stage, "newer")
    with capture_logs() as logs:
        stage.supervisor()

        async def failed() -> bool:
            return any(entry["event"] == "recording_failed" for entry in logs)

        await until(failed, bool)
    await newer(stage, "newer", before)
    assert (await stage.result(run_id)).status == "COMPLETED"


async def test_a_workflow_is_paused_though_a_run_is_of_a_newer_version(stage: Stage) -> None:
    """The others are told."""
    stage.supervisor()
    stage.worker()
    first, second = await waiting(stage, "w"), await waiting(stage, "newer")
    env = stage.place.env
    stage.supervisors[0].stop()
    await stage.ends[0].wait()
    async with stage.client.pool.acquire() as conn:
        for name in ("newer", "w"):
            await conn.execute(
                "INSERT INTO pauses (env, kind, name, reason) VALUES ($1, 'workflow', $2, '')", env, name
            )
    await newer(stage, "newer")
    stage.supervisor()
    await until(lambda: status(stage, first), lambda found: found == "PAUSED")
    assert await status(stage, second) != "PAUSED"


async def test_the_end_of_a_pause_waits_for_who_can_tell_a_run_of_it(stage: Stage) -> None:
    """A run that only a newer version can read goes on as soon as there is one, however long that takes."""
    stage.supervisor()
    stage.worker()
    run_id = await waiting(stage, "newer")
    await stage.client.pause_workflow("newer")
    await until(lambda: status(stage, run_id), lambda found: found == "PAUSED")
    stage.supervisors[0].stop()
    await stage.ends[0].wait()
    before = await newer(stage, "newer")
    for known in (stage.client.catalog._plans, stage.client.catalog._known):  # pyright: ignore[reportPrivateUsage]
        known.clear()
    done = await stage.client.resume_workflow("newer")
    assert (done.state, done.runs) == ("accepted", 0)
    async with stage.client.pool.acquire() as conn:
        await conn.execute("UPDATE pauses SET resumed_at = now() - interval '1 h' WHERE env = $1", stage.place.env)
        assert await stage.client.pausing.catch_up(conn) == 0
    await newer(stage, "newer", before)
    stage.supervisor()
    await until(lambda: status(stage, run_id), lambda found: found != "PAUSED")


async def status(stage: Stage, run_id: str) -> str:
    async with stage.client.pool.acquire() as conn:
        return str(await conn.fetchval("SELECT status FROM runs WHERE run_id = $1", run_id))


async def test_a_command_of_a_newer_version(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for a supervisor that knows it, with what its run is told later; other runs hear what they are told."""
    look_at_once(monkeypatch, batch=1)
    stage.supervisor()
    stage.worker()
    first, second = await waiting(stage, "w"), await waiting(stage, "other")
    async with stage.client.pool.acquire() as conn:
        for run_id, kind in ((first, "newer"), (second, "pause")):
            await append_command(conn, run_id, kind, encode_body(Body()))
    await until(lambda: status(stage, second), lambda found: found == "PAUSED")
    assert await status(stage, first) != "PAUSED"


async def test_a_base_of_which_nothing_can_be_made(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that fails in a way that nobody has thought of is put off, and others begin."""
    look_at_once(monkeypatch, batch=500)
    stage.supervisor()
    stage.worker()
    first, second = await waiting(stage, "w"), await waiting(stage, "other")
    stage.supervisors[0].stop()
    await stage.ends[0].wait()
    lost = [await forks(stage, monkeypatch, base, 1) for base in (first, second)]
    read = bases.read_restart

    async def fails(conn: Connection, lineage: Lineage, base: str, *more: Any) -> RestartPlan:
        if base == first:
            raise KeyError(base)
        return await read(conn, lineage, base, *more)

    monkeypatch.setattr(bases, "read_restart", fails)
    stage.supervisor()
    await have_begun(stage, lost[1])
    assert (await stage.client.result(lost[0][0])).status == "PENDING"


async def test_children_of_a_newer_version(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of them are to be started: others are meanwhile."""
    monkeypatch.setattr(children, "BATCH", 2)
    stage.worker()
    for name in ("inner", "newer"):
        await stage.register(node("a"), id=name)
        await stage.register(node("child", type="subflow", config={"workflow": name}), id=f"runs_{name}")
    await newer(stage, "newer")
    for _ in range(3):
        await stage.client.submit("runs_newer")
    stage.supervisor()

    async def wanted() -> int:
        async with stage.client.pool.acquire() as conn:
            sql = "SELECT count(*) FROM children WHERE env = $1 AND state = 'starting'"
            return int(await conn.fetchval(sql, stage.place.env))

    await until(wanted, lambda count: count == 3)
    assert (await stage.run("runs_inner")).status == "COMPLETED"


async def test_a_worker_whose_words_cannot_be_kept(stage: Stage) -> None:
    """The others are announced."""
    partition, now = stage.client.keys.partition(0), time.time()
    said: dict[str, str | int | float] = {
        "pid": 1,
        "build": "b",
        "handlers": "[]",
        "queues": "[]",
        "started_at": now,
        "seen_at": now,
    }
    words: dict[str, dict[str, str | int]] = {
        "nul": {"host": "a\x00b"},
        "wide": {"host": "a", "pid": 2**80},
        "well": {"host": "a"},
    }
    for name, more in words.items():
        await stage.redis.hset(partition.worker(name), mapping={**said, **more})
        await stage.redis.zadd(partition.workers, {name: now})
    await Registry(stage.redis, stage.client.pool, stage.client.keys, partition).copy()
    async with stage.client.pool.acquire() as conn:
        sql = "SELECT consumer FROM worker_registry WHERE env = $1"
        assert [row["consumer"] for row in await conn.fetch(sql, stage.place.env)] == ["well"]


async def test_a_key_that_names_no_payload_is_left_alone(stage: Stage) -> None:
    await stage.redis.set(stage.client.keys.blob("mine"), "x")
    await store(stage, b'"nobody has it"')
    stage.supervisor()
    await collector(stage).sweep()
    names = [key async for key in stage.redis.scan_iter(match=stage.client.keys.blob("*"))]
    assert names == [stage.client.keys.blob("mine").encode()]


async def test_schedules_that_cannot_be_used_hold_up_no_other(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of them come before it."""
    monkeypatch.setattr(ticker, "SCHEDULES_MAX", 2)
    stage.worker()
    await stage.register(node("a"))
    for number in range(4):
        await stage.client.schedules.create(Schedule(id=f"s{number}", workflow="w", cron="* * * * *"))
    async with stage.client.pool.acquire() as conn:
        sql = """UPDATE schedules SET next_tick = now() - interval '1 minute' * CASE id WHEN 's3' THEN 1 ELSE 9 END,
                        timezone = CASE id WHEN 's3' THEN 'UTC' ELSE 'Nowhere/Land' END WHERE env = $1"""
        await conn.execute(sql, stage.place.env)
    stage.supervisor()
    await until(stage.commands, bool)
