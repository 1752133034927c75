"""Workers that are told to stop: what they have begun counts as it ended, what they have not begun is another's."""

from __future__ import annotations

import threading
from functools import partial
from operator import eq
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import pytest

from chaos.proxy import open_proxy
from courante import FatalError
from courante.sdk.floor.cache_calls import CacheCalls
from integration.stage import Stage, until
from integration.test_leases import step

pytestmark = pytest.mark.anyio


async def doubled(value: int) -> int:
    return 2 * value


async def test_a_step_that_fails_by_itself_while_its_worker_stops_has_failed(stage: Stage) -> None:
    """F16: it never asked whether to stop, so nobody runs it a second time to hear of the same failure."""
    ran: list[str] = []
    leave, left = anyio.Event(), threading.Event()

    async def fails(value: int) -> None:
        ran.append("a task")
        await leave.wait()
        raise FatalError("as always")

    def fails_in_a_thread(value: int) -> None:
        ran.append("a thread")
        left.wait(10)
        raise FatalError("as always")

    async def counted() -> int:
        return len(ran)

    stage.supervisor()
    steps = {"task": fails, "thread": fails_in_a_thread}
    first = stage.worker(steps, lease_ms=60_000)
    workflow = await stage.register(step("a", "task"), step("b", "thread"), policy={"on_failure": "continue"})
    run_id = await stage.client.submit(workflow, 7)
    await until(counted, partial(eq, 2))
    first.stop()
    leave.set()
    left.set()
    await stage.ends[1].wait()
    stage.worker(steps)
    assert (await stage.result(run_id)).status == "FAILED"
    assert sorted(ran) == ["a task", "a thread"]
    failed = [event.facts.node for event in await stage.events(run_id) if event.facts.type == "step.failed"]
    assert sorted(failed) == ["a", "b"]


async def test_a_step_that_has_not_begun_when_the_grace_is_over_does_not_begin(stage: Stage) -> None:
    """F16: a worker that gives back what it holds calls no step any more."""
    ran: list[str] = []

    async def notes(value: int) -> str:
        ran.append("by the first")
        return "by the first"

    async def notes_too(value: int) -> str:
        return "by the second"

    async def times_given_back() -> int:
        record = await stage.redis.hget(stage.client.keys.partition(0).run(run_id), "t0")
        assert record is not None
        return int(record.split(b"|")[0])

    stage.supervisor()
    first = stage.worker({"notes": notes}, lease_ms=60_000)
    workflow = await stage.register(step("a", "notes"))
    for lane in first._lanes:  # pyright: ignore[reportPrivateUsage] - what it does when its time is up
        lane.give_back()
    run_id = await stage.client.submit(workflow, 7)
    await until(times_given_back, lambda times: times > 2)
    first.stop()
    await stage.ends[1].wait()
    stage.worker({"notes": notes_too})
    assert (await stage.result(run_id)).output == {"a": "by the second"}
    assert ran == []


async def test_who_stops_while_redis_is_away_ends_all_the_same(stage: Stage) -> None:
    """What it cannot hand in is left: another worker takes it over when its lease has passed."""
    ran: list[str] = []
    ends = anyio.Event()

    async def first(value: int) -> str:
        ran.append("first")
        await ends.wait()
        return "first"

    async def second(value: int) -> str:
        ran.append("second")
        return "second"

    stage.supervisor()
    run_id = await stage.client.submit(await stage.register(step("a", "hold")), 7)
    async with open_proxy(urlsplit(stage.place.redis_url).path) as proxy:
        late = stage.worker(
            {"hold": first}, redis_url=f"redis://127.0.0.1:{proxy.port}", lease_ms=1_000, stop_grace_ms=100
        )
        await until(anyio.lowlevel.checkpoint, lambda _: ran == ["first"])
        proxy.cut()
        ends.set()
        late.stop()
        await stage.ends[1].wait()
        stage.worker({"hold": second})
        await until(lambda: stage.run_out(late), lambda _: ran == ["first", "second"])
        assert (await stage.result(run_id)).output == {"a": "second"}


async def test_it_does_not_wait_for_a_redis_that_is_away_to_keep_its_outputs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it could not put into the cache any more is made again some day."""
    asked = anyio.Event()
    stage.supervisor()
    async with open_proxy(urlsplit(stage.place.redis_url).path) as proxy:

        async def end_too_late(self: CacheCalls, endings: Any) -> None:
            proxy.cut()
            asked.set()
            await real(self, endings)

        real = CacheCalls.end
        monkeypatch.setattr(CacheCalls, "end", end_too_late)
        worker = stage.worker({"work": doubled}, redis_url=f"redis://127.0.0.1:{proxy.port}", stop_grace_ms=500)
        run_id = await stage.client.submit(await stage.register(step("a", "work", cache={"ttl": "1h"})), 7)
        await asked.wait()
        worker.stop()
        with anyio.fail_after(20):
            await stage.ends[1].wait()
    assert (await stage.result(run_id)).output == {"a": 14}
