"""Starts of runs that go on from others and were lost, many of them: nobody else waits for theirs."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from redis.exceptions import RedisError

from courante.sdk.client import submitting
from courante.sdk.client.client import Client
from courante.sdk.restarts import bases
from courante.sdk.stores.connection import Pool
from courante.sdk.stores.queries import load_queries
from courante.supervisor.recovery import reconciler
from integration.cases import node
from integration.stage import Place, Stage, open_stage, until
from integration.test_bases_that_go import look_at_once, spoil
from integration.test_long_bases import plans_in

pytestmark = pytest.mark.anyio
PARTITIONS = 8


async def begun(stage: Stage, workflow: str = "w") -> str:
    """A run that waits for a signal, and that others can go on from."""
    run_id = await stage.client.submit(
        await stage.register(node("a", type="signal", config={"name": "go"}), id=workflow)
    )
    await until(lambda: stage.types(run_id), bool)
    return run_id


async def away(*what: object, **more: object) -> None:
    raise RedisError("away")


async def forks(stage: Stage, monkeypatch: pytest.MonkeyPatch, base: str, count: int) -> list[str]:
    """Fork a run while Redis is away; return the new runs, oldest first."""
    with monkeypatch.context() as patch:
        patch.setattr(submitting, "apply_all_starts", away)
        return [(await stage.client.fork(base, 1, input=number)).run_id for number in range(count)]


async def starts(stage: Stage, monkeypatch: pytest.MonkeyPatch, count: int) -> list[str]:
    """Start runs while Redis is away."""
    with monkeypatch.context() as patch:
        patch.setattr(submitting, "apply_all_starts", away)
        return [await stage.client.submit("w") for _ in range(count)]


async def have_begun(stage: Stage, run_ids: list[str]) -> None:
    async def unknown() -> list[str]:
        async with stage.client.pool.acquire() as conn:
            rows = await conn.fetch("SELECT run_id FROM runs WHERE run_id = ANY($1::text[])", run_ids)
        return [run_id for run_id in run_ids if run_id not in {row["run_id"] for row in rows}]

    await until(unknown, lambda found: not found)


class Reading:
    """Bases are read when ``is_done``; ``most`` at the same time until now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = 0
        self.is_done = anyio.Event()
        self._read = bases.read_restart
        monkeypatch.setattr(bases, "read_restart", self.read)

    async def read(self, *arguments: Any) -> Any:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.is_done.wait()
        self.now -= 1
        return await self._read(*arguments)

    async def count(self) -> int:
        return self.now


@asynccontextmanager
async def stopped(stage: Stage, **options: Any) -> AsyncGenerator[str]:
    """A run that others can go on from, while no supervisor runs; afterwards there is one."""
    stage.supervisor(**options)
    base = await begun(stage)
    stage.supervisors[-1].stop()
    await stage.ends[-1].wait()
    yield base
    stage.supervisor(**options)


async def test_those_of_all_partitions_take_turns(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a connection to Postgres while its base is read: two of one supervisor do, and its loops go on."""
    async with open_stage(place, partitions=PARTITIONS) as stage:
        async with stopped(stage, partitions=PARTITIONS) as base:
            lost = await forks(stage, monkeypatch, base, 4 * PARTITIONS)
            reading = Reading(monkeypatch)
            look_at_once(monkeypatch, batch=500)
        await until(reading.count, bool)
        await have_begun(stage, await starts(stage, monkeypatch, 4 * PARTITIONS))
        assert reading.most == reconciler.AT_ONCE
        reading.is_done.set()
        await have_begun(stage, lost)


async def test_more_than_are_begun_at_once_hold_up_no_plain_start(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stopped(stage) as base:
        lost = await forks(stage, monkeypatch, base, 3)
        others = await starts(stage, monkeypatch, 2)
        reading = Reading(monkeypatch)
        look_at_once(monkeypatch, batch=1)
    await have_begun(stage, others)
    assert await reading.count() == 1
    reading.is_done.set()
    await have_begun(stage, lost)


async def test_those_that_stay_impossible_hold_up_no_other(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """However soon they are tried again, what was not tried yet goes before."""
    async with stopped(stage) as base:
        bad = await stage.client.fork(base, 1)
        stage.supervisor()
        await have_begun(stage, [bad.run_id])
        stage.supervisors[-1].stop()
        await stage.ends[-1].wait()
        lost = await forks(stage, monkeypatch, bad.run_id, 3)
        (good,) = await forks(stage, monkeypatch, base, 1)
        await spoil(stage, bad.run_id)
        look_at_once(monkeypatch, batch=1)
        monkeypatch.setattr(reconciler, "PUT_OFF_S", 0.01)
        monkeypatch.setattr(reconciler, "PUT_OFF_S_MAX", 0.01)
    await have_begun(stage, [good])
    assert [(await stage.client.result(run_id)).status for run_id in lost] == ["PENDING"] * 3


async def test_their_commands_hold_up_no_others(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said to a run that has not begun waits for it, and nobody else does."""
    place, nobody = stage.place, f"unix:///tmp/{secrets.token_hex(8)}.sock"
    async with stopped(stage) as base:
        lost = await forks(stage, monkeypatch, base, 3)
        async with Client.open(redis_url=nobody, database_url=place.database_url, env=place.env) as client:
            for run_id in [*lost, base]:
                assert (await client.cancel(run_id)).state == "accepted"
        reading = Reading(monkeypatch)
        look_at_once(monkeypatch, batch=1)
    assert (await stage.result(base)).status == "CANCELLED"
    assert await reading.count() == 1
    reading.is_done.set()
    assert [result.status for result in await stage.results(lost)] == ["CANCELLED"] * 3


async def test_they_are_found_among_many_others(pool: Pool) -> None:
    """However many starts are missing: nobody reads those that come before."""
    async with pool.acquire() as conn:
        await conn.execute(
            """INSERT INTO commands (env, run_id, number, type, partition, body, body_digest, workflow, version,
                                     ir_hash, input_digest, trigger, base_run_id, base_seq)
               SELECT 'e', 'run_' || n, 1, 'start', 0, '1', '1', 'w', 1, 'i', '1', 'initial',
                      CASE WHEN n % 5000 = 0 THEN 'run_base' END, CASE WHEN n % 5000 = 0 THEN 1 END
                 FROM generate_series(1, 20000) n;
               ANALYZE commands; ANALYZE runs;"""
        )
        sql = f"EXPLAIN (ANALYZE, FORMAT JSON) {load_queries('commands')['starts_to_apply']}"
        (found,) = json.loads(await conn.fetchval(sql, "e", 0, "0", 0, 500, [], 3, []))
    read = {one["Index Name"]: one["Actual Rows"] for one in plans_in(found["Plan"]) if "Index Name" in one}
    assert read["commands_restart_xact_idx"] <= 4
    assert found["Plan"]["Actual Rows"] == 503
