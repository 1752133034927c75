"""A run with ``max_parallel`` works on so many of its tokens at once, in the order in which they came."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from courante.sdk.floor.live_marking import read_marking
from courante.sdk.marking.marking import Marking
from integration.gauge import Gauge
from integration.heads import head_of, put_head
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio

Damage = Callable[[Stage, str], Awaitable[None]]
WIDTH = 12


async def begin(stage: Stage, limit: int) -> tuple[str, Gauge]:
    """Start a map over WIDTH items and wait until as many are at work as may be."""
    gauge = Gauge()
    stage.worker({"work": gauge.work})
    await stage.register(
        {"id": "m", "type": "map", "config": {"items": f"{list(range(WIDTH))}"}},
        {"id": "b", "type": "function", "depends_on": "m", "config": {"handler": "work"}, "input": "item"},
        {"id": "all", "type": "aggregate", "depends_on": "b", "config": {}},
        policy={"max_parallel": limit},
    )
    run_id = await stage.client.submit("w")
    await until(lambda: _now(gauge), lambda inside: inside == limit)
    return run_id, gauge


async def _now(gauge: Gauge) -> int:
    return gauge.inside


async def marking_of(stage: Stage, run_id: str) -> Marking:
    found = await read_marking(stage.redis, stage.client.keys.partition(0), run_id)
    assert found is not None
    return found


async def test_no_more_are_worked_on_and_all_are_in_their_turn(stage: Stage) -> None:
    stage.supervisor()
    run_id, gauge = await begin(stage, 3)
    room = (await marking_of(stage, run_id)).room
    assert room is not None
    assert (len(room.inside), len(room.waiting)) == (3, WIDTH - 3)
    gauge.gate.set()
    result = await stage.result(run_id)
    assert (result.status, gauge.most) == ("COMPLETED", 3)
    assert gauge.order == list(range(WIDTH))


async def miscounted(stage: Stage, key: str) -> None:
    head = await head_of(stage.redis, key)
    assert head.room is not None
    await put_head(stage.redis, key, head._replace(room=head.room._replace(busy=head.room.busy - 1)))


async def left_out(stage: Stage, key: str) -> None:
    head = await head_of(stage.redis, key)
    assert head.room is not None
    await stage.redis.hdel(key, f"y{head.room.last}")


@pytest.mark.parametrize("damage", [miscounted, left_out])
async def test_a_row_that_is_wrong_is_made_again(stage: Stage, damage: Damage) -> None:
    """The audit sees it, and the run is rebuilt from its log: nobody waits for ever, and no room is lost."""
    stage.supervisor(audit_s=0.1)
    run_id, gauge = await begin(stage, 2)
    await damage(stage, stage.client.keys.partition(0).run(run_id))
    await until(lambda: stage.types(run_id), lambda types: "run.rebuilt" in types)
    gauge.gate.set()
    assert (await stage.result(run_id)).status == "COMPLETED"
    assert sorted(set(gauge.order)) == list(range(WIDTH))
