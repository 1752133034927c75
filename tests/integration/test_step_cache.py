"""Outputs of steps that have a cache are taken again: from Redis, from Postgres, never when they are void."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from courante import Context
from courante.replay.verify import verify_run
from courante.sdk.sealing.key_ring import KeyRing
from courante.sdk.sealing.payload_terms import PAYLOAD_TERMS
from courante.sdk.user_errors import FatalError
from courante.supervisor.recording.projection_rebuild import rebuild_projections
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


class Counted:
    """Handlers that count how often they were called."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def doubled(self, value: dict[str, Any]) -> dict[str, Any]:
        self.calls["doubled"] += 1
        return {"n": value["n"] * 2}


@pytest.fixture
def counted() -> Counted:
    return Counted()


def step(id: str, handler: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "config": {"handler": handler}, "cache": "global", **fields}


async def rows(stage: Stage, run_id: str) -> dict[str, tuple[str, str | None]]:
    """The last attempt of each step; of one that was skipped after an attempt, that it was."""
    sql = "SELECT node, status, reason FROM node_executions WHERE run_id = $1 ORDER BY status = 'SKIPPED', attempt"
    async with stage.client.pool.acquire() as conn:
        found = await conn.fetch(sql, run_id)
    return {row["node"]: (row["status"], row["reason"]) for row in found}


async def hot(stage: Stage) -> list[str]:
    found = [key async for key in stage.redis.scan_iter(match=f"{stage.client.keys.prefix}cache:*")]
    return sorted(key.decode() for key in found)


async def locks(stage: Stage) -> list[bytes]:
    return [key async for key in stage.redis.scan_iter(match=f"{stage.client.keys.prefix}cache-lock:*")]


async def is_quiet(stage: Stage) -> None:
    """Wait until what has ended is kept and no lock is held."""
    await until(lambda: locks(stage), lambda found: not found)


async def test_a_second_run_takes_the_output(stage: Stage, counted: Counted) -> None:
    """Its step is skipped as cache_hit, names who made the output, and what follows reads it as any other."""
    stage.worker({"doubled": counted.doubled})
    stage.supervisor()
    after = {
        "id": "next",
        "type": "transform",
        "depends_on": "s",
        "config": {"expression": "[steps.s.output.n, steps.s.status]"},
    }
    workflow = await stage.register(step("s", "doubled"), after)
    first = await stage.run(workflow, {"n": 4})
    await is_quiet(stage)
    second = await stage.run(workflow, {"n": 4})
    assert counted.calls == {"doubled": 1}
    assert first.output == second.output == {"next": [8, "SUCCEEDED"]}
    assert await rows(stage, first.run_id) == {"s": ("SUCCEEDED", None), "next": ("SUCCEEDED", None)}
    assert await rows(stage, second.run_id) == {"s": ("SKIPPED", "cache_hit"), "next": ("SUCCEEDED", None)}
    (made,) = [event for event in await stage.events(first.run_id) if event.facts.type == "step.succeeded"][:1]
    (taken,) = [event for event in await stage.events(second.run_id) if event.facts.node == "s"]
    key = made.facts.data["cache"]
    assert taken.facts.data == {"cache": key, "from": first.run_id}
    assert (taken.facts.reason, taken.payload) == ("cache_hit", b'{"n":8}')
    assert await hot(stage) == [f"{stage.client.keys.prefix}cache:{key}"]
    async with stage.client.pool.acquire() as conn:
        for run_id in (first.run_id, second.run_id):
            assert (await verify_run(conn, stage.place.env, run_id)).ok


async def test_the_log_alone_makes_the_rows_again(stage: Stage, counted: Counted) -> None:
    """Executions, kept outputs and counts are the same after projections were rebuilt."""
    stage.worker({"doubled": counted.doubled})
    stage.supervisor()
    workflow = await stage.register(step("s", "doubled", cache={"ttl": "1h"}), step("t", "doubled", cache="run_only"))
    for number in (1, 1, 2):
        await stage.run(workflow, {"n": number})
        await is_quiet(stage)

    async def all_rows() -> list[list[tuple[Any, ...]]]:
        names = ("step_cache", "step_cache_counts", "node_executions")
        async with stage.client.pool.acquire() as conn:
            found = [await conn.fetch(f"SELECT * FROM {name} WHERE env = $1", stage.place.env) for name in names]
        return [sorted((tuple(row.values()) for row in some), key=repr) for some in found]

    before = await all_rows()
    assert [row[1:] for row in before[1]] == [("w", "s", 1, 2), ("w", "t", 0, 3)]
    assert len(before[0]) == 5
    async with stage.client.pool.acquire() as conn:
        await rebuild_projections(conn, stage.place.env)
    assert await all_rows() == before


@pytest.mark.parametrize(
    ("cache", "others", "calls"),
    [
        ("global", [{"n": 2}], 2),
        ("global", [{"n": 1.0}], 2),
        ("run_only", [{"n": 1}], 2),
        ("global", [{"n": 1, "x": 0}, {"x": 0, "n": 1}], 2),
    ],
)
async def test_another_input_is_another_output(
    stage: Stage, counted: Counted, cache: str, others: list[dict[str, Any]], calls: int
) -> None:
    stage.worker({"doubled": counted.doubled})
    stage.supervisor()
    workflow = await stage.register(step("s", "doubled", cache=cache))
    for given in ({"n": 1}, *others):
        await stage.run(workflow, given)
        await is_quiet(stage)
    assert counted.calls == {"doubled": calls}


async def test_a_run_takes_its_own_output_again(stage: Stage, counted: Counted) -> None:
    """run_only: in a map equal items are executed once, in each run."""
    stage.worker({"doubled": counted.doubled})
    stage.supervisor()
    nodes = [
        {"id": "each", "type": "map", "config": {"items": "input"}},
        {**step("s", "doubled", cache="run_only"), "depends_on": "each"},
        {"id": "all", "type": "aggregate", "depends_on": "s"},
    ]
    workflow = await stage.register(*nodes)
    for number in (1, 2):
        done = await stage.run(workflow, [{"n": 1}, {"n": 2}, {"n": 1}, {"n": 1}])
        assert done.output == {"all": [{"n": 2}, {"n": 4}, {"n": 2}, {"n": 2}]}
        assert counted.calls == {"doubled": 2 * number}
        await is_quiet(stage)


async def test_what_redis_has_no_more_comes_from_postgres(stage: Stage, counted: Counted) -> None:
    """And is brought to Redis again; without Postgres it is made anew."""
    worker = stage.worker({"doubled": counted.doubled}, database_url=stage.place.database_url)
    stage.supervisor()
    workflow = await stage.register(step("s", "doubled", cache={"ttl": "1h"}))
    first = await stage.run(workflow, {"n": 1})
    await is_quiet(stage)
    (key,) = await hot(stage)
    await stage.redis.delete(key)
    second = await stage.run(workflow, {"n": 1})
    assert await rows(stage, second.run_id) == {"s": ("SKIPPED", "cache_hit")}
    assert (await stage.events(second.run_id))[-2].facts.data["from"] == first.run_id
    assert await hot(stage) == [key]
    assert 0 < await stage.redis.pttl(key) <= 3_600_000
    worker.stop()
    await stage.ends[0].wait()
    await stage.redis.delete(key)
    stage.worker({"doubled": counted.doubled})
    await stage.run(workflow, {"n": 1})
    assert counted.calls == {"doubled": 2}


async def test_an_output_that_has_expired_is_made_again(stage: Stage, counted: Counted) -> None:
    stage.worker({"doubled": counted.doubled}, database_url=stage.place.database_url)
    stage.supervisor()
    workflow = await stage.register(step("s", "doubled", cache={"ttl": "300ms"}))
    await stage.run(workflow, {"n": 1})
    await is_quiet(stage)
    await until(lambda: hot(stage), lambda found: not found)
    ended = "SELECT max(expires_at) < now() FROM step_cache WHERE env = $1"
    async with stage.client.pool.acquire() as conn:
        await until(lambda: conn.fetchval(ended, stage.place.env), bool)
    await stage.run(workflow, {"n": 1})
    assert counted.calls == {"doubled": 2}


LARGE = "x" * 20_000


async def test_large_outputs_and_artifacts_are_read_as_ever(stage: Stage) -> None:
    """Routing on a large output that was taken too; where its content or an artifact is gone, it is made again."""
    calls: list[int] = []

    async def made(context: Context) -> dict[str, Any]:
        calls.append(1)
        return {"text": LARGE, "file": await context.artifact(b"the artifact", "text/plain")}

    stage.worker({"made": made}, database_url=stage.place.database_url)
    stage.supervisor()
    nodes = [
        {**step("s", "made"), "rules": [{"when": "output.text.size() > 9", "next": "yes"}], "default": "no"},
        {"id": "yes", "type": "transform", "depends_on": "s", "config": {"expression": "steps.s.output.text.size()"}},
        {"id": "no", "type": "noop", "depends_on": "s"},
    ]
    workflow = await stage.register(*nodes)
    for _ in range(2):
        done = await stage.run(workflow)
        await is_quiet(stage)
        assert done.output == {"yes": 20_000}
        (found,) = await stage.client.artifacts.of_run(done.run_id)
        assert await stage.client.artifacts.read(found.artifact.digest) == b"the artifact"
    assert len(calls) == 1
    prefix = stage.client.keys.prefix
    blobs = [key async for key in stage.redis.scan_iter(match=f"{prefix}blob:*")]
    await stage.redis.delete(*blobs)
    assert (await stage.run(workflow)).output == {"yes": 20_000}
    assert len(calls) == 1, "Postgres has the payloads"
    await is_quiet(stage)
    await stage.redis.delete(*blobs)
    async with stage.client.pool.acquire() as conn:
        await conn.execute("DELETE FROM payloads WHERE env = $1 AND content = $2", stage.place.env, b"the artifact")
    assert (await stage.run(workflow)).output == {"yes": 20_000}
    assert len(calls) == 2


async def test_a_damaged_output_that_decides_where_it_goes_on_is_made_again(stage: Stage) -> None:
    """Its name is there, and nobody can read it: the step does not look for it for ever."""
    calls: list[int] = []

    def made() -> dict[str, str]:
        calls.append(1)
        return {"text": LARGE}

    stage.worker({"made": made})
    stage.supervisor()
    rules = [{"when": "output.text.size() > 9", "next": "yes"}]
    after = {"id": "yes", "type": "noop", "depends_on": "s", "input": "1"}
    workflow = await stage.register({**step("s", "made"), "rules": rules}, after)
    for number in (1, 2, 3):
        assert (await stage.run(workflow)).output == {"yes": 1}
        assert len(calls) == min(number, 2)
        await is_quiet(stage)
        if number == 1:
            (blob,) = [key async for key in stage.redis.scan_iter(match=f"{stage.client.keys.prefix}blob:*")]
            await stage.redis.set(blob, b"damaged")


async def test_failures_and_what_was_dropped_are_not_kept(stage: Stage) -> None:
    """A failed attempt keeps nothing, the next one looks again, and the output of a withdrawn step is nobody's."""
    calls: list[str] = []

    def shaky(context: Context) -> int:
        calls.append("shaky")
        if context.attempt == 1:
            raise ConnectionError
        raise FatalError("no")

    async def slow(value: Any, context: Context) -> Any:
        calls.append("slow")
        await stage.client.cancel_step(context.run_id, "s")
        await until(lambda: stage.types(context.run_id), lambda found: "step.withdrawn" in found)
        return value

    stage.worker({"shaky": shaky, "slow": slow})
    stage.supervisor()
    retry = {"base": "10ms", "max_attempts": 3}
    failing = await stage.register(step("s", "shaky", retry=retry), id="failing")
    for _ in range(2):
        assert (await stage.run(failing)).status == "FAILED"
    withdrawn = await stage.register(step("s", "slow"), id="withdrawn")
    for _ in range(2):
        assert await rows(stage, (await stage.run(withdrawn, 1)).run_id) == {"s": ("SKIPPED", "branch_not_taken")}
    assert calls == ["shaky"] * 4 + ["slow"] * 2
    assert await hot(stage) == []
    await is_quiet(stage)


async def test_a_selected_input_is_what_counts(stage: Stage, counted: Counted) -> None:
    """The selector is asked each time, the function only for what it has not seen."""
    selected: list[Any] = []

    def select(seen: dict[str, Any]) -> dict[str, Any]:
        selected.append(seen["input"])
        return {"n": seen["input"]["m"]}

    stage.worker({"doubled": counted.doubled, "select": select})
    stage.supervisor()
    node = step("s", "doubled")
    node["config"]["input_selector"] = "select"
    workflow = await stage.register(node)
    for number in (1, 2):
        done = await stage.run(workflow, {"m": 1, "other": number})
        assert done.output == {"s": {"n": 2}}
        await is_quiet(stage)
    assert len(selected) == 2
    assert counted.calls == {"doubled": 1}


async def test_encrypted_outputs_stay_encrypted(
    stage: Stage, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of them is in Redis or in the log, and what was kept without a key ring is not taken with one."""
    stage.worker({"doubled": counted.doubled}, database_url=stage.place.database_url)
    stage.supervisor()
    workflow = await stage.register(step("s", "doubled"))
    await stage.run(workflow, {"n": 1})
    await is_quiet(stage)
    plain = await hot(stage)
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"k": b"k" * 64}))
    for _ in range(2):
        assert (await stage.run(workflow, {"n": 1})).output == {"s": {"n": 2}}
        await is_quiet(stage)
    assert counted.calls == {"doubled": 2}
    (sealed,) = set(await hot(stage)) - set(plain)
    assert b'{"n"' not in (await stage.redis.get(sealed) or b'{"n"')
