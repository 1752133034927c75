"""Runs that go on from long ones: while a base is enacted, and its start is put on the floor and recorded, everybody
else has a turn.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from courante.sdk import slices
from courante.sdk.client import restarts
from courante.sdk.client.restarts import Restarted
from courante.sdk.events import RecordedEvent
from courante.sdk.floor.commanding import last_applied
from courante.sdk.history import cut_reading
from courante.sdk.reenactment import enacting
from courante.sdk.reenactment.reenacting import Enacting
from courante.sdk.restarts import bases, reenacted_retries, restart_calls, retries
from courante.sdk.stores.commands import starts_to_apply
from courante.sdk.stores.connection import Connection
from courante.sdk.stores.log import stream_events
from courante.sdk.stores.queries import load_queries
from courante.supervisor.recording import recorder
from courante.supervisor.recording.chain import Chains
from courante.supervisor.recording.projections import Projection
from courante.supervisor.recovery import reconciler
from integration.cases import node
from integration.journal import step
from integration.onlooking import Threads, counted_turns
from integration.stage import Stage, until
from integration.test_bases_that_go import leave_to_reconciler, look_at_once
from integration.test_forgetting import forget

pytestmark = pytest.mark.anyio
ITEMS = 20


class Items:
    """The last of the items fails, until ``is_mended``."""

    is_mended = False

    def work(self, number: int) -> int:
        if number == ITEMS - 1 and not self.is_mended:
            raise ConnectionError("away")
        return number


async def failed(stage: Stage, items: Items) -> str:
    """A run of which one item has failed; of its workflow there is a newer version."""
    stage.supervisor()
    stage.worker({"work": items.work})
    nodes = [
        node("each", type="map", config={"items": "input"}),
        step("work", "work", "each", retry={"max_attempts": 1}),
        node("all", "work", type="aggregate"),
    ]
    await stage.register(*nodes)
    run_id = (await stage.run("w", list(range(ITEMS)))).run_id
    await stage.register(*nodes, node("more", "all", type="noop"))
    return run_id


async def restarted(stage: Stage, run_id: str, **options: Any) -> dict[str, Restarted]:
    """In each way that there is. The newest version goes on from where the run was; the fork changes what is read."""
    client, last = stage.client, len(await stage.events(run_id))
    return {
        "retry": await client.retry(run_id, **options),
        "newest": await client.retry(run_id, version="latest", **options),
        "rerun": await client.rerun(run_id, ["all"], **options),
        "fork": await client.fork(run_id, last // 2, **options),
        "given": await client.fork(run_id, last // 2, override={"work[0]": 7}, **options),
    }


async def test_others_have_a_turn_after_each_part(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part is some turns of tokens: between two of them the loop goes round, and may be told to end it."""
    run_id = await failed(stage, Items())
    threads = Threads(monkeypatch)
    monkeypatch.setattr(enacting, "TURNS", 1)
    async with counted_turns() as turns:
        threads.watch((Enacting, "go_on"))
        monkeypatch.setattr(Enacting, "go_on", turns.noting(Enacting.go_on))
        told = await restarted(stage, run_id, dry_run=True)
        assert turns.seen == threads.calls["go_on"] > 5 * ITEMS
    assert (told["retry"].way, told["newest"].way) == ("reenacted", "migrated")
    assert not threads.here()


async def test_it_is_ended_between_two_parts(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = await failed(stage, Items())
    monkeypatch.setattr(enacting, "TURNS", 1)
    threads = Threads(monkeypatch)
    wanted, scope = Enacting.go_on, anyio.CancelScope()

    def go_on(self: Enacting, turns: int) -> bool:
        if threads.calls["go_on"] == 3:
            anyio.from_thread.run_sync(scope.cancel)
        return wanted(self, turns)

    monkeypatch.setattr(Enacting, "go_on", go_on)
    threads.watch((Enacting, "go_on"))
    with scope:
        await stage.client.rerun(run_id, ["all"])
    assert scope.cancelled_caught
    assert threads.calls["go_on"] == 3
    assert await stage.commands() == 1


async def test_what_cannot_be_cut_is_done_in_a_thread(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run begins with is made, written and recorded there; the runs come to the same end as short ones."""
    items = Items()
    run_id = await failed(stage, items)
    items.is_mended = True
    for module in (slices, recorder):
        monkeypatch.setattr(module, "MANY", -1)
    threads = Threads(monkeypatch)
    threads.watch(
        (retries, "restart_plan"),
        (retries, "moved"),
        (bases, "restart_plan"),
        (bases, "moved"),
        (bases, "_references"),
        (reenacted_retries, "restart_plan"),
        (reenacted_retries, "Retrying"),
        (restart_calls, "_blob"),
        (Chains, "build"),
        (Projection, "_written"),
    )
    runs = await restarted(stage, run_id)
    for name, restart in runs.items():
        ended = await stage.result(restart.run_id)
        assert ended.status == "COMPLETED", name
        output = [7, *range(1, ITEMS)] if name == "given" else list(range(ITEMS))
        assert ended.output == {"more" if name == "newest" else "all": output}, name
    assert set(threads.seen) == {
        "restart_plan", "moved", "_references", "Retrying", "_blob", "build", "_written"
    }  # fmt: skip
    assert not threads.here()


async def test_a_base_is_read_as_often_as_that_takes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another version once, where something would be done otherwise; else once more for where it goes on."""
    run_id = await failed(stage, Items())
    reads = Counter[str]()

    async def counted(conn: Connection, base: str) -> AsyncIterator[RecordedEvent]:
        reads["now"] += 1
        async for event in stream_events(conn, base):
            yield event

    for module in (cut_reading, reenacted_retries):
        monkeypatch.setattr(module, "stream_events", counted)
    assert (await stage.client.retry(run_id, version="latest", dry_run=True)).way == "migrated"
    assert reads.pop("now") == 2
    nodes = [node("each", type="map", config={"items": "input"}), step("work", "work", "each", input="item + 1")]
    await stage.register(*nodes, node("all", "work", type="aggregate"))
    assert (await stage.client.retry(run_id, version="latest", dry_run=True)).way == "reenacted"
    assert reads.pop("now") == 1


async def test_whoever_starts_it_does_not_read_its_base_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made of the base to know whether it can be is what the run begins with."""
    items = Items()
    run_id = await failed(stage, items)
    items.is_mended = True

    async def read(*arguments: object) -> Any:
        raise AssertionError("it was read before")

    monkeypatch.setattr(bases, "_read", read)
    for name, restart in (await restarted(stage, run_id)).items():
        assert (await stage.result(restart.run_id)).status == "COMPLETED", name


async def test_a_base_that_is_forgotten_before_the_start_is_read_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was still known of it to whoever starts the run does not come back: that is told, and nothing is begun."""
    items = Items()
    run_id = await failed(stage, items)
    items.is_mended = True

    async def forgets(*arguments: object) -> None:
        await forget(stage, run_id)

    monkeypatch.setattr(restarts, "check_restart", forgets)
    monkeypatch.setattr(reconciler, "OLDER_THAN_MS", 0)
    result = await stage.result((await stage.client.retry(run_id)).run_id)
    assert (result.status, result.error and result.error["type"]) == ("FAILED", "NOT_RESTARTABLE")


async def test_a_long_base_holds_up_no_other_start(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the reconciler reads it, what comes after it is started and told; then it begins, once."""
    items = Items()
    run_id = await failed(stage, items)
    items.is_mended = True
    long, other = await leave_to_reconciler(stage, monkeypatch, [run_id])
    is_read, calls, read = anyio.Event(), list[str](), bases.read_restart

    async def slowly(*arguments: Any) -> Any:
        calls.append(arguments[2])
        await is_read.wait()
        return await read(*arguments)

    monkeypatch.setattr(bases, "read_restart", slowly)
    look_at_once(monkeypatch, batch=1)
    stage.supervisor()
    assert (await stage.result(other)).status == "FAILED"
    assert (await stage.client.result(long)).status == "PENDING"
    is_read.set()
    assert (await stage.result(long)).status == "COMPLETED"
    assert calls == [run_id]


async def test_a_start_that_two_find_is_begun_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a recovery its guard looks for starts as well as the loop does; neither ends by that."""
    (long, _) = await leave_to_reconciler(stage, monkeypatch, [await failed(stage, Items())])
    client, looks, both = stage.client, list[object](), anyio.Event()
    read, calls = bases.read_restart, list[str]()

    async def together(*arguments: Any, **more: Any) -> Any:
        found = await starts_to_apply(*arguments, **more)
        looks.append(found)
        if len(looks) == 2:
            both.set()
        await both.wait()
        return found

    async def counted(*arguments: Any) -> Any:
        calls.append(arguments[2])
        return await read(*arguments)

    async def looked() -> int:
        return len(looks)

    look_at_once(monkeypatch, batch=500)
    monkeypatch.setattr(reconciler, "starts_to_apply", together)
    monkeypatch.setattr(bases, "read_restart", counted)
    fresh = reconciler.Reconciler(stage.redis, client.pool, client.keys, 0, client.catalog, 1_000)
    async with anyio.create_task_group() as group:
        group.start_soon(fresh.run)
        await until(looked, lambda count: count == 1)
        await fresh.apply(older_than_ms=0)
        await until(looked, lambda count: count >= 9)
        group.cancel_scope.cancel()
    assert await last_applied(stage.redis, client.keys.partition(0), long) == 1
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("read_events", (15, 20)), ("find_events", (15, None, None, 5)), ("read_chain_part", (15, 5))],
)
async def test_a_part_of_a_log_is_read_without_the_rest(stage: Stage, name: str, arguments: tuple[Any, ...]) -> None:
    """However little Postgres knows of the run: its payloads are looked up one by one, never all for each event."""
    run_id = await failed(stage, Items())
    async with stage.client.pool.acquire() as conn:
        sql = f"EXPLAIN (ANALYZE, FORMAT JSON) {load_queries('log')[name]}"
        (found,) = json.loads(await conn.fetchval(sql, run_id, *arguments))
    scans = [one for one in plans_in(found["Plan"]) if one.get("Relation Name", "").startswith("event_payloads")]
    assert scans
    assert sum(one["Actual Rows"] * one["Actual Loops"] for one in scans) <= 5


def plans_in(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(found for one in plan.get("Plans", []) for found in plans_in(one))]
