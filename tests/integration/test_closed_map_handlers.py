"""Handlers that are at work for items of a map when a failed item closes it."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest

from courante import FatalError
from courante.sdk.marking.plan import READS_MAX
from integration.journal import step
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
LEASE_MS = 600


class Items:
    """Item 0 stays at work until it hears that it should not; item 1 fails once item 0 has begun."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.heard: list[str | None] = []

    async def awaiting(self, item: int, context: Any) -> int:
        if item == 1:
            await self._fail()
        self.begun.set()
        await context.cancelled
        self.heard.append(context.cancelled.reason)
        raise ConnectionError("what it was at is gone")

    def looking(self, item: int, context: Any) -> int:
        if item == 1:
            self.begun.wait()
            raise FatalError("as it should")
        self.begun.set()
        context.cancelled.wait()
        self.heard.append(context.cancelled.reason)
        return item

    async def deaf(self, item: int) -> int:
        if item == 1:
            await self._fail()
        self.begun.set()
        await anyio.sleep_forever()
        return item

    async def _fail(self) -> None:
        await anyio.to_thread.run_sync(self.begun.wait)
        raise FatalError("as it should")


@pytest.mark.parametrize("handler", ["awaiting", "looking", "deaf"])
async def test_a_handler_below_a_closed_map_is_told(stage: Stage, handler: str) -> None:
    """It is cancelled as in a run that is; what it comes to counts for nothing, and the run ends without waiting."""
    items = Items()
    stage.worker({"w": getattr(items, handler)}, lease_ms=LEASE_MS, cancel_grace_ms=0 if handler == "deaf" else 60_000)
    stage.supervisor()
    workflow = await stage.register(
        {"id": "m", "type": "map", "config": {"items": "[0, 1]"}},
        step("w", "w", "m"),
        {"id": "all", "type": "aggregate", "depends_on": "w", "config": {"policy": "fail_fast"}, "on_error": "sorry"},
        {"id": "sorry", "type": "echo", "config": {"value": "sorry"}},
    )
    run_id = await stage.client.submit(workflow)
    result = await stage.result(run_id)
    assert (result.status, result.output) == ("COMPLETED", {"sorry": "sorry"})
    assert items.heard == ([] if handler == "deaf" else ["cancelled"])
    ends = {
        event.facts.scope: (event.facts.type, event.facts.reason)
        for event in await stage.events(run_id)
        if event.facts.node == "w" and event.facts.type != "step.started"
    }
    assert ends == {"0": ("token.dropped", "map_closed"), "1": ("step.failed", "item_failed")}


async def test_a_handler_that_reads_very_much_is_told_too(stage: Stage) -> None:
    """More than travels with its token; it hears with the next renewal all the same."""
    items = Items()
    stage.worker({"w": items.awaiting}, lease_ms=LEASE_MS, cancel_grace_ms=60_000)
    stage.supervisor()
    names = [f"n{number}" for number in range(READS_MAX + 1)]
    reads = ", ".join(f"steps.{name}.output" for name in names)
    workflow = await stage.register(
        *({"id": name, "type": "echo", "config": {"value": 1}} for name in names),
        {"id": "m", "type": "map", "depends_on": names, "config": {"items": "[0, 1]"}},
        step("w", "w", "m", input=f"size([{reads}]) > 0 ? item : null"),
        {"id": "all", "type": "aggregate", "depends_on": "w", "config": {"policy": "fail_fast"}, "on_error": "sorry"},
        {"id": "sorry", "type": "echo", "config": {"value": "sorry"}},
    )
    result = await stage.run(workflow)
    assert (result.status, result.output) == ("COMPLETED", {"sorry": "sorry"})
    assert items.heard == ["cancelled"]


async def test_a_handler_below_another_map_is_not_told(stage: Stage) -> None:
    """Only below the one that has closed: the other items of the map around it go on."""
    items = Items()
    gate = anyio.Event()

    async def beside(item: Any) -> Any:
        await gate.wait()
        return item

    stage.worker({"w": items.awaiting, "beside": beside}, lease_ms=LEASE_MS)
    stage.supervisor()
    workflow = await stage.register(
        {"id": "m", "type": "map", "config": {"items": "[[0, 1], []]"}},
        {"id": "n", "type": "map", "depends_on": "m", "config": {"items": "item"}},
        step("w", "w", "n"),
        {"id": "inner", "type": "aggregate", "depends_on": "w", "config": {"policy": "fail_fast"}},
        step("beside", "beside", "m", input="index"),
        {"id": "all", "type": "aggregate", "depends_on": ["inner", "beside"], "config": {"policy": "collect"}},
    )
    run_id = await stage.client.submit(workflow)

    async def heard() -> int:
        return len(items.heard)

    await until(heard, bool)
    gate.set()
    result = await stage.result(run_id)
    assert result.status == "COMPLETED"
    assert result.output["all"][1] == {"inner": [], "beside": 1}
    assert [step for step in await stage.succeeded(run_id) if step == "beside"] == ["beside", "beside"]
