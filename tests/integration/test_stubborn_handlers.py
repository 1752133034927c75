"""Handlers that catch every cancellation: nobody waits for them, as for those in threads."""

from __future__ import annotations

import asyncio
from operator import truth
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from courante.runner.attempt_tasks import AttemptTasks
from integration.stage import Stage, until
from integration.test_leases import step

pytestmark = pytest.mark.anyio


class Stubborn:
    """``ends``: when it may end after all. ``cancelled``: how often it was told to."""

    def __init__(self) -> None:
        self.ends = asyncio.Event()
        self.left = asyncio.Event()
        self.cancelled = 0

    async def __call__(self, value: int) -> int:
        while not self.ends.is_set():
            try:
                await self.ends.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
        self.left.set()
        return value


async def quick(value: int) -> int:
    return value


async def test_its_time_is_over_all_the_same_and_its_slot_is_free(stage: Stage) -> None:
    """F11: it fails with TIMEOUT, once; its worker goes on, and ends when it is told to."""
    stubborn = Stubborn()
    stage.supervisor()
    worker = stage.worker({"stubborn": stubborn.__call__, "quick": quick}, concurrency=1)
    nodes = [step("w", "stubborn", timeout="1s", retry={"max_attempts": 1})]
    result = await stage.run(await stage.register(*nodes), 1)
    assert (result.error or {})["type"] == "TIMEOUT"
    assert (await stage.run(await stage.register(step("q", "quick"), id="other"), 7)).output == {"q": 7}
    before = stubborn.cancelled
    await anyio.sleep(0.1)
    assert stubborn.cancelled == before, "it is left alone"
    worker.stop()
    await stage.ends[1].wait()
    stubborn.ends.set()
    await stubborn.left.wait()
    told = [event.facts.type for event in await stage.events(result.run_id) if event.facts.node == "w"]
    assert told == ["step.started", "step.failed"]


async def test_a_worker_that_stops_gives_it_back(stage: Stage) -> None:
    """Another one is given the step, at once."""
    stubborn = Stubborn()
    stage.supervisor()
    worker = stage.worker({"s": stubborn.__call__}, stop_grace_ms=100)
    run_id = await stage.client.submit(await stage.register(step("w", "s")), 3)

    async def started() -> list[Any]:
        return [event for event in await stage.events(run_id) if event.facts.type == "step.started"]

    await until(started, truth)
    worker.stop()
    await stage.ends[1].wait()
    stage.worker({"s": quick})
    assert (await stage.result(run_id)).output == {"w": 3}
    stubborn.ends.set()
    await stubborn.left.wait()
    assert "token.claimed" not in [event.facts.type for event in await stage.events(run_id)]


def test_the_loop_of_its_process_closes() -> None:
    """Python's own cancels all tasks in the end, and would wait for ever for one that does not mind."""
    stubborn = Stubborn()

    async def main() -> None:
        tasks = AttemptTasks(lambda: None)

        async def attempt() -> None:
            await stubborn(1)

        tasks.start(attempt())
        await anyio.lowlevel.checkpoint()
        await tasks.end()

    anyio.run(main)
    assert stubborn.cancelled == 1


async def test_what_an_attempt_must_not_raise_is_raised() -> None:
    """A fault of the engine ends its lane."""
    heard: list[str] = []
    tasks = AttemptTasks(lambda: heard.append("fault"))

    async def faulty() -> None:
        raise LookupError("the engine's own")

    tasks.start(faulty())
    await anyio.lowlevel.checkpoint()
    await anyio.lowlevel.checkpoint()
    assert heard == ["fault"]
    with pytest.raises(LookupError):
        await tasks.end()
