"""What one call of a script may do at most for a map, by the fields of the run that it changes or looks at.

While a script runs the server does nothing else, however long that takes on this machine at this minute.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from courante.compiler.analysis import map_nodes
from courante.runner import lane
from courante.runner.transition import Transition
from courante.sdk.floor.calling import Word
from courante.sdk.floor.repairs import audit_runs
from courante.sdk.floor.scripts import Advanced, advance
from courante.sdk.marking.map_plans import read_record
from courante.sdk.outcomes.gathering import Collection, Gatherer
from courante.sdk.outcomes.step_context import StepContext
from integration.cases import node
from integration.stage import Stage, until
from model.hands import Hands

pytestmark = pytest.mark.anyio
ITEMS = 1_000
CHANGED_MAX = 550
"""Fields that one call may change in a run: those that a collector deletes, its values, the records."""
COUNTED_MAX = 4_000
GONE = 9_000
"""More words than Lua's stack takes."""
WAIT = node("w", type="wait", config={"for": "1h"})


async def test_no_call_of_a_map_changes_more_than_some_hundred_fields(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F68: also where the collector has its turn when all but the aggregate is done, and nine chunks wait for it."""
    run_key = ""
    changed: list[int] = []
    told: list[int] = []

    async def fields() -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = await stage.redis.hgetall(run_key) if run_key else {}
        return found

    async def watched(*arguments: Any) -> Advanced:
        before = await fields()
        answer = await advance(*arguments)
        after = await fields()
        changed.append(sum(before.get(name) != after.get(name) for name in before.keys() | after.keys()))
        return answer

    async def late(gatherer: Gatherer, step: StepContext) -> list[Collection]:
        await until(fields, lambda found: read_record(found[b"n0"].decode()).ok == ITEMS)
        collections = await ready(gatherer, step)
        told.append(len(collections))
        return collections

    ready = Gatherer.ready
    monkeypatch.setattr(Gatherer, "ready", late)
    monkeypatch.setattr(lane, "advance", watched)
    nodes = (node("m", type="map", config={"items": "input"}), node("w", "m"), node("all", "w", type="aggregate"))
    run_id = await stage.client.submit(await stage.register(*nodes), list(range(ITEMS)))
    run_key = stage.client.keys.partition(0).run(run_id)
    stage.worker()
    await until(lambda: stage.redis.xlen(stage.client.keys.partition(0).done), bool)
    assert sum(told) == ITEMS // 100
    assert max(told) > 1, "one turn takes several"
    assert len(changed) > ITEMS // 100
    assert max(changed) <= CHANGED_MAX


async def test_an_aggregate_takes_away_some_hundred_results_and_the_recorder_all_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a thousand of them are in the run, because the log has none of them yet."""
    run_key = ""
    left: list[int] = []

    async def results() -> int:
        return sum(name.startswith(b"r") for name in await stage.redis.hkeys(run_key)) if run_key else 0

    async def watched(*arguments: Any) -> Advanced:
        answer = await advance(*arguments)
        left.append(await results())
        return answer

    monkeypatch.setattr(map_nodes, "CHUNK_MAX", 1)
    monkeypatch.setattr(lane, "advance", watched)
    nodes = (node("m", type="map", config={"items": "input"}), node("w", "m"), node("all", "w", type="aggregate"))
    run_id = await stage.client.submit(await stage.register(*nodes), list(range(ITEMS)))
    run_key = stage.client.keys.partition(0).run(run_id)
    stage.worker()
    await until(lambda: stage.redis.xlen(stage.client.keys.partition(0).done), bool)
    assert max(left) == ITEMS
    assert max(before - after for before, after in pairwise(left)) <= CHANGED_MAX
    stage.supervisor()
    assert (await stage.result(run_id)).output == {"all": list(range(ITEMS))}
    await until(results, lambda found: found == 0)


async def test_an_audit_counts_so_many_fields_and_no_more(stage: Stage) -> None:
    """F69: runs that hold much are fewer in a call than others, though of each only a token is to be looked at."""
    workflow = await stage.register(WAIT)
    partition = stage.client.keys.partition(0)
    left = [await stage.client.submit(workflow, number) for number in range(10)]
    for run_id in left:
        await stage.redis.hset(partition.run(run_id), mapping={f"o9:{number}": "1" for number in range(1_500)})
    counted: list[int] = []
    cursor = "0"
    while left:
        found = await audit_runs(stage.redis, partition, left, cursor=cursor)
        assert not found.halted
        counted.append(sum([await stage.redis.hlen(partition.run(run_id)) for run_id in left[: found.seen]]))
        left, cursor = left[found.seen :], found.cursor
    assert max(counted) <= COUNTED_MAX


async def test_a_transition_may_have_more_fields_than_a_stack(stage: Stage) -> None:
    """Whatever it keeps and takes away of a run."""
    run_id = await stage.client.submit(await stage.register(node("a"), node("b", "a")))
    partition = stage.client.keys.partition(0)
    names = [f"r0:{number}" for number in range(GONE)]
    await stage.redis.hset(partition.run(run_id), mapping=dict.fromkeys(names, "1"))
    hands = Hands(stage.redis, stage.client.keys)
    await hands.open()
    ((number, entry, run, token, _, _, record, *_),) = (await hands.advance(want=1)).tokens
    operations = [word for name in names for word in ("-", name)]
    kept = [word for name in names for word in ("o", name.replace("r", "o"), "1")]
    fence = record.partition(b"|")[0]
    words: list[Word] = [run, token, fence, number, entry, 0, b"", len(operations) + len(kept), *operations, *kept]
    assert (await hands.advance([Transition(words, 1)])).verdicts == "A"
    fields = await stage.redis.hkeys(partition.run(run_id))
    assert sum(field.startswith(b"r") for field in fields) == 0
    assert sum(field.startswith(b"o") for field in fields) == GONE
