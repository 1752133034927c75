"""What was made void is never taken again, wherever it comes from and whenever it is recorded."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import pytest

from courante.sdk.caching.cached import Floors
from courante.sdk.stores.step_cache import CacheTerms, get_floors, raise_floor
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


def node(id: str, handler: str = "make", cache: Any = "global") -> dict[str, Any]:
    return {"id": id, "type": "function", "config": {"handler": handler}, "cache": cache}


async def keys_of(stage: Stage, kind: str = "cache:*") -> list[str]:
    prefix = stage.client.keys.prefix
    found = [key.decode().removeprefix(prefix) async for key in stage.redis.scan_iter(match=f"{prefix}{kind}")]
    return sorted(found)


async def is_quiet(stage: Stage) -> None:
    await until(lambda: keys_of(stage, "cache-lock:*"), lambda found: not found)


async def run_all(stage: Stage, *workflows: str) -> None:
    for workflow in workflows:
        assert (await stage.run(workflow, 1)).status == "COMPLETED"
        await is_quiet(stage)


VOID: list[tuple[dict[str, Any], str]] = [
    ({"workflow": "v"}, "v"),
    ({"step": "s"}, "vw"),
    ({"workflow": "w", "step": "s"}, "w"),
    ({"workflow": "w", "step": "t"}, ""),
    ({"workflow": "*"}, ""),
    ({"is_all": True}, "vw"),
    ({"older_than_ms": 3_600_000}, ""),
]


@pytest.mark.parametrize(("terms", "again"), VOID)
async def test_what_is_void_is_made_again(stage: Stage, terms: dict[str, Any], again: str) -> None:
    """Only what was meant; a dry run says how many, and changes nothing."""
    calls: Counter[str] = Counter()
    stage.worker(
        {"v": lambda: calls.update("v"), "w": lambda: calls.update("w")}, database_url=stage.place.database_url
    )
    stage.supervisor()
    workflows = [await stage.register(node("s", name), id=name) for name in ("v", "w")]
    await run_all(stage, *workflows)
    before = await keys_of(stage)
    told = await stage.client.step_cache.invalidate(**terms, dry_run=True)
    assert (told.postgres, told.redis, told.is_dry) == (len(again), len(again), True)
    assert await keys_of(stage) == before
    done = await stage.client.step_cache.invalidate(**terms)
    assert (done.postgres, done.redis, done.is_dry) == (len(again), len(again), False)
    assert {key.split(":")[1] for key in await keys_of(stage)} == {"v", "w"} - set(again)
    await run_all(stage, *workflows)
    assert calls == {name: 2 if name in again else 1 for name in ("v", "w")}
    await run_all(stage, *workflows)
    assert sum(calls.values()) == 2 + len(again)


async def test_one_output_of_several(stage: Stage) -> None:
    """By its key. Redis that loses everything hears of that from Postgres before it counts again."""
    calls: list[int] = []

    def make(value: int) -> int:
        calls.append(value)
        return value

    stage.worker({"make": make}, database_url=stage.place.database_url)
    stage.supervisor()
    workflow = await stage.register(node("s"))
    for given in (1, 2):
        assert (await stage.run(workflow, given)).status == "COMPLETED"
        await is_quiet(stage)
    async with stage.client.pool.acquire() as conn:
        found = await conn.fetchval("SELECT key FROM step_cache WHERE env = $1 AND output = '1'", stage.place.env)
    made = f"cache:{found}"
    stale = await stage.redis.get(stage.client.keys.prefix + made)
    assert stale is not None
    done = await stage.client.step_cache.invalidate(key=found)
    assert (done.postgres, done.redis) == (1, 1)
    await stage.redis.delete(stage.client.keys.cache_floors)
    await stage.redis.set(stage.client.keys.prefix + made, stale)
    for given in (1, 2):
        await stage.run(workflow, given)
        await is_quiet(stage)
    assert calls == [1, 2, 1]


async def test_a_key_is_no_pattern(stage: Stage) -> None:
    """What only looks like the keys of others makes none of these void."""
    stage.worker({"make": lambda: 1})
    stage.supervisor()
    await run_all(stage, await stage.register(node("s")))
    before = await keys_of(stage)
    for key in ("w:s:*", "w:*:" + before[0][-32:], "w:s:" + before[0][-32:-1] + "?"):
        done = await stage.client.step_cache.invalidate(key=key)
        assert (done.postgres, done.redis) == (0, 0), key
    assert await keys_of(stage) == before


async def test_what_was_under_way_is_void_too(stage: Stage) -> None:
    """An attempt that began before an invalidation and ends after it was made before."""
    calls: list[int] = []
    began, leave = anyio.Event(), anyio.Event()

    async def make() -> None:
        calls.append(1)
        began.set()
        await leave.wait()

    stage.worker({"make": make}, database_url=stage.place.database_url)
    stage.supervisor()
    workflow = await stage.register(node("s"))
    run_id = await stage.client.submit(workflow, 1)
    await began.wait()
    await stage.client.step_cache.invalidate(workflow=workflow)
    leave.set()
    await stage.result(run_id)
    await is_quiet(stage)
    await run_all(stage, workflow, workflow)
    assert len(calls) == 2


async def test_what_is_recorded_later_is_void_too(stage: Stage) -> None:
    """Nobody records until it was made void; then its row is there, is not taken, and the collector deletes it."""
    calls: list[int] = []
    stage.worker({"make": lambda: calls.append(1)}, database_url=stage.place.database_url)
    workflow = await stage.register(node("s"))
    run_id = await stage.client.submit(workflow, 1)
    await until(lambda: keys_of(stage), lambda found: len(found) == 1)
    done = await stage.client.step_cache.invalidate(step="s")
    assert (done.postgres, done.redis) == (0, 1)
    stage.supervisor()
    await stage.result(run_id)
    async with stage.client.pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM step_cache WHERE env = $1", stage.place.env) == 1
    await run_all(stage, workflow, workflow)
    assert len(calls) == 2
    (kept,) = await stage.client.step_cache.statistics()
    assert (kept.workflow, kept.step, kept.entries, kept.bytes, kept.hits, kept.misses) == ("w", "s", 1, 4, 1, 2)


async def test_floors_of_outputs_do_not_grow(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many of single outputs the floor of their step is told; what is a day old is told no more."""
    monkeypatch.setattr("courante.sdk.stores.step_cache.KEY_FLOORS_MAX", 2)
    day = 24 * 3_600_000
    floors = Floors({})
    async with stage.client.pool.acquire() as conn, conn.transaction():
        for number in range(4):
            terms = CacheTerms(below_ms=1_000 + number, workflow="w", step="s", key=f"w:s:{number}")
            floors = await raise_floor(conn, stage.place.env, terms, 10 * day + number)
        assert floors.times == {"w:s:3": 1_003, "w:s:2": 1_002, "w:s": 1_001}
        assert (await get_floors(conn, stage.place.env, 12 * day)).times == {}
    assert floors.allows("w:s:9", 1_001)
    assert not floors.allows("w:s:9", 1_000)
    assert not floors.allows("w:s:3", 1_002)
    assert floors.allows("v:s:9", 0)
    assert Floors.read(floors.content()).times == floors.times


async def test_it_is_said_which(stage: Stage) -> None:
    with pytest.raises(ValueError, match="which outputs is not said"):
        await stage.client.step_cache.invalidate()
    with pytest.raises(ValueError, match="no key of an output"):
        await stage.client.step_cache.invalidate(key="w:s")
