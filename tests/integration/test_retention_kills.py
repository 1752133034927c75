"""Retention that is killed at any point, and the log that goes on while a month is taken out of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from command_line import Said, spawn
from courante.sdk.stores import retention as store
from courante.sdk.stores.connection import Connection
from courante.sdk.stores.forgetting import read_forgotten
from courante.sdk.stores.log import verify_chain
from courante.supervisor.retention import retention as module
from courante.supervisor.retention.archive import verify_archive
from courante.supervisor.retention.policy import Policy
from courante.supervisor.retention.putting_back import put_back
from courante.supervisor.retention.retention import Retention
from integration.old_months import OLD, fill_old_month
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
COUNT = f"SELECT (SELECT count(*) FROM {OLD}) + (SELECT count(*) FROM {OLD.replace('log', 'payloads')})"
MADE_OF = """
    SELECT indexdef FROM pg_indexes WHERE tablename = $1
    UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = $1::text::regclass
    UNION ALL SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::text::regclass
"""
STANDS = f"SELECT to_regclass('{OLD}') IS NOT NULL"
RUNS, EVENTS = 40, 10
FAULTS = ("before_manifest", "before_archive_verified", "before_month_taken_out")


@pytest.fixture
def migrated_database(own_migrated_database: str) -> str:
    """A database of its own: months are of all environments."""
    return own_migrated_database


@pytest.fixture
async def retain(stage: Stage, redis_url: str, migrated_database: str, tmp_path: Path) -> Callable[..., Any]:
    """Call ``courante retain`` as a process of its own, which is killed at a point (``fault_points``)."""

    async def call(fault: str) -> Said:
        environ = {
            "COURANTE_REDIS_URL": redis_url,
            "COURANTE_DATABASE_URL": migrated_database,
            "COURANTE_ENV": stage.place.env,
            "COURANTE_RETAIN_LOG": "400d",
            "COURANTE_FAULT": f"{fault}:1:kill9",
        }
        words = ("retain", "--archive", "kept", "--json")
        return await anyio.to_thread.run_sync(partial(spawn, *words, cwd=tmp_path, environ=environ))

    return call


async def test_retention_may_be_killed_at_any_point(stage: Stage, retain: Callable[..., Any], tmp_path: Path) -> None:
    """All events are in the log, or in an archive that holds together, never half in both; whoever comes next takes out
    what is left, and what is put back is what there was.
    """
    async with stage.client.pool.acquire() as conn:
        await fill_old_month(conn, stage.place.env, runs=RUNS, events=EVENTS)
        path = tmp_path / "kept" / f"{OLD}.jsonl.gz"
        for fault in FAULTS:
            assert (await retain(fault)).code == -9, fault
            assert await conn.fetchval(COUNT) == 2 * RUNS * EVENTS, fault
            assert not await conn.fetchval("SELECT EXISTS (SELECT FROM runs WHERE archived_at IS NOT NULL)")
            assert not await conn.fetchval("SELECT EXISTS (SELECT FROM log_archives)")
        assert (await retain("after_month_taken_out")).code == -9
        assert not await conn.fetchval(STANDS)
        assert await conn.fetchval("SELECT count(*) FROM runs WHERE archived_at IS NOT NULL") == RUNS
        client = stage.client
        policy = Policy(log=timedelta(days=400), archive=path.parent)
        again = await Retention(stage.redis, client.pool, client.keys, policy).carry_out()
        assert (again.months, again.failed) == ([], {})
        manifest = verify_archive(path)
        assert (manifest.events, manifest.runs) == (RUNS * EVENTS, RUNS)
        assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.manifest.json"]
        await put_back(stage.client.pool, path)
        assert await conn.fetchval(COUNT) == 2 * RUNS * EVENTS
        assert await verify_chain(conn, f"run_OLD{7:023}") is None


async def test_the_log_goes_on_while_a_month_goes_and_comes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Runs are recorded to their ends while the month is looked at, and while somebody reads the log for so long that
    the month cannot go yet; it goes when they have. So they are while it is put back; it is a month like others then.
    """
    stage.supervisor()
    stage.worker()
    await stage.register({"id": "a", "type": "noop"})
    monkeypatch.setattr(store, "PAUSE_S", 0.05)
    monkeypatch.setattr(store, "TRIES_MAX", 10_000)
    looks: list[str] = []
    look = store.look_at_month

    async def run_while_looking(*given: Any) -> Any:
        found = await look(*given)
        looks.append((await stage.run("w")).status)
        return found

    monkeypatch.setattr(module, "look_at_month", run_while_looking)
    client = stage.client
    policy = Policy(log=timedelta(days=400), archive=tmp_path)
    retention = Retention(stage.redis, client.pool, client.keys, policy)
    async with client.pool.acquire() as conn, client.pool.acquire() as reader:
        await fill_old_month(conn, stage.place.env, runs=1, events=1)
        reading = reader.transaction()
        await reading.start()
        await reader.fetch("SELECT count(*) FROM event_log")
        async with anyio.create_task_group() as group:
            group.start_soon(retention.carry_out)
            waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'event_log'::regclass AND NOT granted)"
            await until(lambda: conn.fetchval(waits), bool)
            assert looks == ["COMPLETED"] * 2
            assert [(await stage.run("w")).status for _ in range(3)] == ["COMPLETED"] * 3
            assert await conn.fetchval(STANDS)
            await reading.rollback()
        assert not await conn.fetchval(STANDS)

        async def run_while_putting_back(*given: Any) -> Any:
            looks.append((await stage.run("w")).status)
            return await read_forgotten(*given)

        monkeypatch.setattr("courante.supervisor.retention.putting_back.read_forgotten", run_while_putting_back)
        await put_back(client.pool, tmp_path / f"{OLD}.jsonl.gz")
        assert looks == ["COMPLETED"] * 3
        of_now = await conn.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', '\"event_log_\"YYYYMM')")
        assert await made_of(conn, OLD) == await made_of(conn, of_now)


async def made_of(conn: Connection, table: str) -> list[str]:
    """Indexes, triggers and constraints of a month, without its name and times."""
    rows = await conn.fetch(MADE_OF, table)
    return sorted(row[0].replace(table, "month") for row in rows)
