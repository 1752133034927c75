"""Payloads are collected: from Redis when nobody uses them, from Postgres when nothing refers to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from courante.sdk.floor.payloads import store_payload
from courante.sdk.stores.payloads import get_payloads, put_payloads, touch_payloads
from courante.supervisor.recording.blobs import copy_blobs
from courante.supervisor.retention import collector as module
from courante.supervisor.retention.collector import Collector
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
DAY_S = 86_400.0
SIZE = 20_000


def collector(stage: Stage, *, hot_s: float = 0, keep_s: float = DAY_S) -> Collector:
    return Collector(stage.redis, stage.client.pool, stage.client.keys, hot_s=hot_s, keep_s=keep_s)


async def hot(stage: Stage) -> set[bytes]:
    """Digests of what is in Redis."""
    found = [key async for key in stage.redis.scan_iter(match=stage.client.keys.blob("*"))]
    return {bytes.fromhex(key[-32:].decode()) for key in found}


async def cold(stage: Stage) -> set[bytes]:
    """Digests of what is in Postgres."""
    async with stage.client.pool.acquire() as conn:
        return {row[0] for row in await conn.fetch("SELECT digest FROM payloads WHERE env = $1", stage.place.env)}


async def age(stage: Stage, days: float = 2) -> None:
    """Nobody has used anything that is in Postgres for days."""
    async with stage.client.pool.acquire() as conn:
        query = "UPDATE payloads SET used_at = now() - make_interval(secs => $2) WHERE env = $1"
        await conn.execute(query, stage.place.env, days * DAY_S)


async def store(stage: Stage, content: bytes) -> bytes:
    """Store what nothing refers to; return its digest."""
    reference = await store_payload(stage.redis, stage.client.keys, content)
    return bytes.fromhex(reference[1:33].decode())


async def write(stage: Stage, *contents: bytes) -> list[bytes]:
    """The same, directly to Postgres."""
    digests = [await store(stage, content) for content in contents]
    async with stage.client.pool.acquire() as conn:
        await put_payloads(conn, stage.place.env, dict(zip(digests, contents, strict=True)))
    await stage.redis.delete(*(stage.client.keys.blob(found.hex()) for found in digests))
    return digests


async def big(value: Any) -> str:
    return f"{value}{'x' * SIZE}"


async def keep(value: Any, context: Any) -> Any:
    """An artifact inside of an output that is itself stored apart."""
    artifact = await context.artifact(f"picture {value}".encode(), "image/png")
    return {"artifact": artifact, "text": "y" * SIZE}


async def small(value: Any, context: Any) -> Any:
    """An artifact in an output that travels inline."""
    return await context.artifact(f"icon {value}".encode(), "image/png")


async def size(value: Any) -> int:
    return len(value)


def function(id: str, handler: str, *depends_on: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "config": {"handler": handler}, "depends_on": list(depends_on), **fields}


def staff(stage: Stage) -> None:
    handlers: dict[str, Callable[..., Any]] = {"big": big, "keep": keep, "small": small, "size": size}
    stage.worker(handlers, database_url=stage.place.database_url)
    stage.supervisor()


async def test_what_nobody_uses_leaves_redis(stage: Stage) -> None:
    """Postgres has it then, also what no event has named yet; what was used of late stays."""
    first, second = await store(stage, b'"first"'), await store(stage, b'"second"')
    assert await collector(stage, hot_s=3_600).sweep() == (0, 0)
    assert await hot(stage) == {first, second}
    assert await collector(stage).sweep() == (2, 0)
    assert await hot(stage) == set()
    async with stage.client.pool.acquire() as conn:
        found = await get_payloads(conn, stage.place.env, [first, second])
    assert found == {first: b'"first"', second: b'"second"'}


async def test_what_is_damaged_is_left_to_who_stores_it_anew(stage: Stage) -> None:
    """It leaves Redis when it is whole again, and Postgres has it."""
    found = await store(stage, b"y" * SIZE)
    await stage.redis.set(stage.client.keys.blob(found.hex()), b"z")
    assert await collector(stage).sweep() == (0, 0)
    assert (await hot(stage), await cold(stage)) == ({found}, set())
    await store(stage, b"y" * SIZE)
    assert await collector(stage).sweep() == (1, 0)
    assert (await hot(stage), await cold(stage)) == (set(), {found})


async def test_runs_that_wait_go_on_after_their_payloads_have_left_redis(stage: Stage) -> None:
    """What a run needs is read from Postgres, and is hot again then."""
    staff(stage)
    nodes = [
        {"id": "m", "type": "map", "config": {"items": "input"}},
        function("w", "big", "m"),
        {"id": "all", "type": "aggregate", "depends_on": "w"},
        {"id": "go", "type": "signal", "config": {"name": "go"}},
        function("total", "size", "all", "go", input="steps.all.output"),
    ]
    run_id = await stage.client.submit(await stage.register(*nodes), list(range(3)))
    await until(lambda: stage.succeeded(run_id), lambda found: "all" in found)
    await until(lambda: stage.types(run_id), lambda found: "step.waiting" in found)
    await collector(stage).sweep()
    assert await hot(stage) == set()
    await age(stage)
    await collector(stage).sweep()
    await stage.client.signal(run_id, "go")
    result = await stage.result(run_id)
    assert (result.status, result.output["total"]) == ("COMPLETED", 3)


async def test_what_only_a_run_names_is_kept(stage: Stage) -> None:
    """Whatever values a run that goes on has in Redis beside its events; not those of one that has ended."""
    staff(stage)
    workflow = await stage.register({"id": "go", "type": "signal", "config": {"name": "go"}})
    run_id = await stage.client.submit(workflow)
    await until(lambda: stage.types(run_id), lambda found: "step.waiting" in found)
    first, second, other = await write(stage, b'"first"', b'"second"', b'"other"')
    inside = f'[["o","@{second.hex()}:8"]]'
    key = stage.client.keys.partition(0).run(run_id)
    await stage.redis.hset(key, mapping={"r9:0": f"@{first.hex()}:7", "r9:1": inside, "r9:2": f'"{other.hex()}0"'})
    await age(stage)
    assert await collector(stage).sweep() == (0, 1)
    assert await cold(stage) == {first, second}
    await stage.client.signal(run_id, "go")
    await stage.result(run_id)
    await age(stage)
    assert await collector(stage).sweep() == (0, 2)


async def test_what_nothing_refers_to_is_deleted(stage: Stage) -> None:
    """Not before its time; what events name stays: outputs, artifacts in them, and those inside of stored outputs."""
    staff(stage)
    nodes = [function("a", "big"), function("b", "keep"), function("c", "small")]
    result = await stage.run(await stage.register(*nodes), 1)
    assert result.status == "COMPLETED"
    named = await cold(stage)
    assert len(named) >= 4
    orphans = await write(stage, b'"nobody"', b'"names"', b'"these"')
    await age(stage, 0.5)
    assert (await collector(stage).sweep())[1] == 0
    await age(stage)
    assert (await collector(stage).sweep())[1] == len(orphans)
    assert await cold(stage) == named
    await age(stage)
    async with stage.client.pool.acquire() as conn:
        await conn.execute("DELETE FROM event_payloads WHERE env = $1", stage.place.env)
    assert await settle(stage) == set(), "when the log's payloads are emptied nothing names them any more"


async def settle(stage: Stage) -> set[bytes]:
    """Collect until nothing more goes: what a deleted payload has named goes after it."""
    last = math.inf
    while len(left := await cold(stage)) < last:
        last = len(left)
        await age(stage)
        await collector(stage).sweep()
    return await cold(stage)


async def test_what_is_referred_to_anew_is_not_deleted(stage: Stage) -> None:
    """Between a sweep's search and its deletion a recorder may commit an event that names an old payload."""
    found, other = await write(stage, b'"old"', b'"older"')
    await age(stage)

    class Overtaken(Collector):
        async def named_by_runs(self, conn: Any, wanted: set[bytes]) -> set[bytes]:
            async with stage.client.pool.acquire() as recorder:
                await copy_blobs(stage.redis, recorder, stage.place.env, [f"@{found.hex()}:5".encode()])
            return await super().named_by_runs(conn, wanted)

    sweep = Overtaken(stage.redis, stage.client.pool, stage.client.keys, hot_s=0, keep_s=DAY_S).sweep
    assert await sweep() == (0, 1)
    assert await cold(stage) == {found}
    del other


async def test_a_payload_that_is_stored_again_counts_as_new(stage: Stage) -> None:
    """By a worker, whose copy in Redis is cooled, and by whoever puts it into Postgres."""
    found = await write(stage, b'"one"', b'"two"', b'"three"')
    await age(stage)
    await store(stage, b'"one"')
    async with stage.client.pool.acquire() as conn:
        await put_payloads(conn, stage.place.env, {found[1]: b'"two"'})
        assert await touch_payloads(conn, stage.place.env, [b"0" * 16]) == set()
    assert await collector(stage).sweep() == (1, 1)
    assert await cold(stage) == set(found[:2])


async def test_one_sweeps_at_a_time(stage: Stage) -> None:
    """Another supervisor leaves it alone meanwhile."""
    await store(stage, b'"x"')

    class Nested(Collector):
        inner: tuple[int, int] | None = None

        async def _cool(self, conn: Any, names: Iterable[bytes]) -> int:
            self.inner = await collector(stage).sweep()
            return await super()._cool(conn, list(names))

    outer = Nested(stage.redis, stage.client.pool, stage.client.keys, hot_s=0, keep_s=DAY_S)
    assert await outer.sweep() == (1, 0)
    assert outer.inner == (0, 0)


async def test_a_supervisor_sweeps(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, with the times that it was given, and again after a fault."""
    monkeypatch.setattr(module, "SWEEP_S", 0.01)
    faults = [OSError("away")]
    sweep = Collector.sweep

    async def faulty(self: Collector) -> tuple[int, int]:
        if faults:
            raise faults.pop()
        return await sweep(self)

    monkeypatch.setattr(Collector, "sweep", faulty)
    (orphan,) = await write(stage, b'"orphan"')
    kept = await store(stage, b'"kept"')
    await age(stage)
    stage.supervisor(payload_hot_s=0, payload_keep_s=DAY_S)
    await until(lambda: hot(stage), lambda found: not found)
    await until(lambda: cold(stage), lambda found: found == {kept})
    assert orphan not in await cold(stage)
    assert not faults
