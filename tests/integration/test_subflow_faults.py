"""The link between a step and its child run holds whoever dies, whatever Redis forgets, and however many look."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from courante.sdk.stores.children import children_of
from courante.supervisor import children as module
from courante.supervisor.recording.projection_rebuild import rebuild_projections
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio

OUTER = {"id": "child", "type": "subflow", "config": {"workflow": "inner"}}


async def starts(stage: Stage) -> int:
    async with stage.client.pool.acquire() as conn:
        query = "SELECT count(*) FROM commands WHERE env = $1 AND type = 'start'"
        return int(await conn.fetchval(query, stage.place.env))


@pytest.mark.parametrize("point", ["before_child", "after_child", "before_child_told", "after_child_told"])
async def test_a_child_run_is_started_once_whoever_dies(
    stage: Stage, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F67: a supervisor is killed in any window between the two ends of the link, and another one goes on."""
    has_died = anyio.Event()

    def die(reached: str) -> None:
        if reached == point and not has_died.is_set():
            has_died.set()
            stage.scopes[1].cancel()

    monkeypatch.setattr(module, "reach", die)
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "e", "type": "echo", "config": {"value": 7}}, id="inner")
    run_id = await stage.client.submit(await stage.register(OUTER, id="outer"))
    with anyio.fail_after(20):
        await has_died.wait()
        await stage.ends[1].wait()
    stage.supervisor()
    assert (await stage.result(run_id)).output == {"child": {"e": 7}}
    assert await starts(stage) == 2
    types = await stage.types(run_id)
    assert types.count("command.applied") == 1


async def test_redis_forgets_everything_while_a_child_runs(stage: Stage) -> None:
    """Both runs are there again, and the end of one is still the end of the other's step."""
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "s", "type": "signal", "config": {"name": "go"}}, id="inner")
    run_id = await stage.client.submit(await stage.register(OUTER, id="outer"))

    async def child() -> str | None:
        async with stage.client.pool.acquire() as conn:
            found: Any = await conn.fetchval(
                "SELECT c.run_id FROM children c JOIN node_executions n USING (run_id)"
                " WHERE c.parent_run_id = $1 AND n.status = 'WAITING'",
                run_id,
            )
            return found and str(found)

    child_id = await until(child, lambda found: found is not None)
    assert child_id is not None
    await stage.redis.flushall()
    await stage.client.signal(child_id, "go", 8)
    assert (await stage.result(run_id)).output == {"child": {"s": 8}}
    assert await starts(stage) == 2
    assert await stage.types(child_id)


async def test_links_that_are_made_again_from_the_log_change_nothing(stage: Stage) -> None:
    """What is over stays so, a detached run lives on, and a step that waits is still told; nothing is given twice."""
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "s", "type": "signal", "config": {"name": "go"}}, id="inner")
    alone = {**OUTER, "id": "alone", "config": {"workflow": "inner", "detached": True}}
    run_id = await stage.client.submit(await stage.register(alone, {**OUTER, "depends_on": "alone"}, id="outer"))

    async def states() -> dict[str, tuple[str, str]]:
        async with stage.client.pool.acquire() as conn:
            return {row.node: (str(row.state), str(row.status)) for row in await children_of(conn, run_id)}

    under_way = {"alone": ("settled", "WAITING"), "child": ("started", "WAITING")}
    await until(states, lambda found: found == under_way)
    given = await stage.commands()
    async with stage.client.pool.acquire() as conn:
        await rebuild_projections(conn, stage.place.env)
    await until(states, lambda found: found == under_way)
    assert await stage.commands() == given
    async with stage.client.pool.acquire() as conn:
        rows = {row.node: row.run_id for row in await children_of(conn, run_id)}
    await stage.client.signal(rows["child"], "go", 1)
    assert (await stage.result(run_id)).output == {"child": {"s": 1}}
    async with stage.client.pool.acquire() as conn:
        await rebuild_projections(conn, stage.place.env)
    await until(states, lambda found: found["child"] == ("settled", "COMPLETED") and found["alone"][0] == "settled")
    await stage.client.signal(rows["alone"], "go", 2)
    assert (await stage.result(rows["alone"])).output == {"s": 2}
