"""Steps that block the event loop of their worker: their time is up all the same, and nothing it holds is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from operator import eq, truth
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
from structlog.testing import capture_logs

from chaos.proxy import open_proxy
from courante.sdk.authoring.context import Context
from courante.sdk.marking.marking import RunPhase
from courante.sdk.submissions.submissions import Submission
from integration.apart_worker import worker_apart
from integration.heads import head_of
from integration.stage import Place, Stage, open_stage, until
from integration.test_leases import claims, step

pytestmark = pytest.mark.anyio
TERMS: dict[str, Any] = {"lease_ms": 6_000, "cancel_grace_ms": 100}
ONCE = {"retry": {"max_attempts": 1}}


class Blocking:
    """A step that blocks its loop until it may leave."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self.ran: list[str] = []

    async def first(self, value: int, context: Context) -> str:
        del value
        self.ran.append(f"first {context.attempt}")
        self.entered.set()
        self.leave.wait(60)
        return "first"

    async def second(self, value: int, context: Context) -> str:
        del value
        self.ran.append(f"second {context.attempt}")
        return "second"

    async def is_entered(self) -> bool:
        return self.entered.is_set()


@pytest.fixture
def blocking() -> Blocking:
    return Blocking()


async def test_its_attempt_is_timed_out_and_the_next_one_is_made_elsewhere(stage: Stage, blocking: Blocking) -> None:
    """While the loop is still blocked. What the step returns at last changes nothing, and its worker goes on."""
    stage.supervisor(lease_ms=TERMS["lease_ms"])
    fields: dict[str, Any] = {"timeout": "1s", "retry": {"max_attempts": 2, "base": "10ms"}}
    workflow = await stage.register(step("a", "work", **fields))
    with capture_logs() as lines, worker_apart(stage, {"work": blocking.first}, blocking.leave, **TERMS) as worker:
        run_id = await stage.client.submit(workflow, 7)
        await until(blocking.is_entered, truth)
        stage.worker({"work": blocking.second})
        assert (await stage.result(run_id)).output == {"a": "second"}
        assert not blocking.leave.is_set()
        blocking.leave.set()

        async def told() -> dict[str, Any]:
            return {line["event"]: line for line in lines}

        said = await until(told, lambda said: "loop_answers_again" in said)
    assert (worker.applied, worker.refused) == (0, 0)
    assert blocking.ran == ["first 1", "second 2"]
    events = await stage.events(run_id)
    assert claims(events) == []
    (retried,) = [event.facts for event in events if event.facts.type == "step.retried"]
    assert retried.error is not None
    assert retried.error.type == "TIMEOUT"
    assert "it blocks the event loop of its worker at " in retried.error.message
    assert retried.error.message.endswith("in Blocking.first")
    blocked = said["loop_blocked"]
    assert (blocked["log_level"], blocked["run_id"], blocked["node"]) == ("warning", run_id, "a")
    assert said["loop_answers_again"]["blocked_ms"] > 1_000
    assert await until(stage.pending, lambda pending: not pending) == {}


async def test_a_step_with_one_attempt_is_executed_once(stage: Stage, blocking: Blocking) -> None:
    """F11, F12: others are there, and the lease passes: it has failed for all that."""
    stage.supervisor(lease_ms=TERMS["lease_ms"])
    workflow = await stage.register(step("a", "work", timeout="1s", **ONCE))
    with worker_apart(stage, {"work": blocking.first}, blocking.leave, **TERMS):
        run_id = await stage.client.submit(workflow, 7)
        await until(blocking.is_entered, truth)
        stage.worker({"work": blocking.second})
        result = await stage.result(run_id)
        assert not blocking.leave.is_set()
    assert (result.status, (result.error or {})["type"]) == ("FAILED", "TIMEOUT")
    assert blocking.ran == ["first 1"]


async def test_it_is_silent_after_a_while(stage: Stage, blocking: Blocking) -> None:
    """With a limit for its heartbeats alone."""
    stage.supervisor(lease_ms=TERMS["lease_ms"])
    workflow = await stage.register(step("a", "work", heartbeat_timeout="1s", **ONCE))
    with worker_apart(stage, {"work": blocking.first}, blocking.leave, **TERMS):
        result = await stage.run(workflow, 7)
        assert not blocking.leave.is_set()
    assert (result.status, (result.error or {})["type"]) == ("FAILED", "HEARTBEAT_TIMEOUT")


async def test_a_cancelled_run_does_not_wait_for_it(stage: Stage, blocking: Blocking) -> None:
    """It is dropped after its grace time, as any other that does not end."""
    stage.supervisor(lease_ms=TERMS["lease_ms"])
    workflow = await stage.register(step("a", "work"))
    with worker_apart(stage, {"work": blocking.first}, blocking.leave, **TERMS):
        run_id = await stage.client.submit(workflow, 7)
        await until(blocking.is_entered, truth)
        await stage.client.cancel(run_id)
        assert (await stage.result(run_id)).status == "CANCELLED"
        assert not blocking.leave.is_set()
    assert "token.dropped" in await stage.types(run_id)


async def test_it_hears_that_its_run_is_cancelled(stage: Stage) -> None:
    """One that computes for long and looks whether it should stop is told, though its loop hears nothing."""
    entered, leave = threading.Event(), threading.Event()
    told: list[str] = []

    async def looks(value: int, context: Context) -> str:
        entered.set()
        while not context.is_cancelled and not leave.wait(0.01):
            pass
        told.append(str(context.cancelled.reason))
        return "partly done"

    async def is_entered() -> bool:
        return entered.is_set()

    stage.supervisor()
    workflow = await stage.register(step("a", "looks"))
    with worker_apart(stage, {"looks": looks}, leave, lease_ms=1_500, cancel_grace_ms=60_000):
        run_id = await stage.client.submit(workflow, 7)
        await until(is_entered, truth)
        await stage.client.cancel(run_id)
        assert (await stage.result(run_id)).status == "CANCELLED"
        assert not leave.is_set()
    assert told == ["cancelled"]
    assert "step.succeeded" in await stage.types(run_id)


async def test_the_end_of_many_attempts_costs_the_others_no_lease(stage: Stage, blocking: Blocking) -> None:
    """F31: where Redis is slow, that takes longer than a lease. Meanwhile what has time is renewed, as ever."""
    waiting: list[int] = []

    async def waits(value: int) -> None:
        waiting.append(value)
        await anyio.sleep_forever()

    async def counted() -> int:
        return len(waiting)

    stage.supervisor(lease_ms=TERMS["lease_ms"])
    late = await stage.register(step("w", "waits", timeout="3s", **ONCE), id="late")
    patient = await stage.register(step("w", "waits"), id="patient")
    blocks = await stage.register(step("a", "work"))
    steps: dict[str, Callable[..., Any]] = {"work": blocking.first, "waits": waits}
    async with open_proxy(urlsplit(stage.place.redis_url).path) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        with worker_apart(stage, steps, blocking.leave, redis_url=url, stop_grace_ms=0, **TERMS):
            others = [await stage.client.submit(patient, 0)]
            for number in range(24):
                await stage.client.submit(late, number)
            await until(counted, partial(eq, 25))
            others.append(await stage.client.submit(blocks, 7))
            await until(blocking.is_entered, truth)
            proxy.delay_s = 0.05
            await anyio.sleep(15)  # longer than two leases
            assert not blocking.leave.is_set()
            assert [claims(await stage.events(run_id)) for run_id in others] == [[], []]
            proxy.delay_s = 0.0
            await stage.client.cancel(others[0])


async def test_its_time_is_up_though_another_partition_is_closed(place: Place, blocking: Blocking) -> None:
    """Where its worker holds something, too, which nobody can renew or end."""
    entered: list[int] = []

    async def waits(value: int) -> None:
        entered.append(value)
        await anyio.sleep_forever()

    async def is_waiting() -> bool:
        return bool(entered)

    steps: dict[str, Callable[..., Any]] = {"work": blocking.first, "waits": waits}
    async with open_stage(place, partitions=2) as stage:
        stage.supervisor(partitions=2)
        waiting = await stage.register(step("w", "waits", timeout="2s", **ONCE), id="waits")
        blocks = await stage.register(step("a", "work", timeout="1s", **ONCE))
        closed, other = [stage.client.keys.partition(number) for number in range(2)]
        with worker_apart(stage, steps, blocking.leave, partitions=(0, 1), **TERMS):
            await stage.client.submit_many([Submission(workflow=waiting, input=7, partition=0)])
            await until(is_waiting, truth)
            (run_id,) = await stage.client.submit_many([Submission(workflow=blocks, input=7, partition=1)])
            await until(blocking.is_entered, truth)
            stage.supervisors[-1].stop()
            await stage.ends[0].wait()
            await stage.redis.delete(closed.meta)
            await until(
                partial(head_of, stage.redis, other.run(run_id)), lambda head: head.phase is not RunPhase.RUNNING
            )
            assert not blocking.leave.is_set()
            stage.supervisor(partitions=2)
            assert ((await stage.result(run_id)).error or {})["type"] == "TIMEOUT"


async def test_what_its_worker_holds_is_anothers_after_a_while(stage: Stage, blocking: Blocking) -> None:
    """A worker that may never go on keeps nothing from others, but for the step that blocks it: that has no limit."""
    waiting: list[str] = []

    async def waits(value: int) -> str:
        waiting.append("first")
        await anyio.sleep_forever()
        return "never"

    async def waited(value: int) -> str:
        waiting.append("second")
        return "second"

    async def is_waiting() -> bool:
        return bool(waiting)

    stage.supervisor(lease_ms=1_500)
    waits_for = await stage.register(step("w", "waits"), id="waits")
    blocks = await stage.register(step("a", "work"))
    first: dict[str, Callable[..., Any]] = {"work": blocking.first, "waits": waits}
    with capture_logs() as lines, worker_apart(stage, first, blocking.leave, lease_ms=1_500, loop_patience_ms=2_000):
        other_id = await stage.client.submit(waits_for, 7)
        await until(is_waiting, truth)
        run_id = await stage.client.submit(blocks, 7)
        await until(blocking.is_entered, truth)
        stage.worker({"work": blocking.second, "waits": waited})
        assert (await stage.result(other_id)).output == {"w": "second"}
        await anyio.sleep(2)  # longer than the lease
        assert blocking.ran == ["first 1"]
        blocking.leave.set()
        assert (await stage.result(run_id)).output == {"a": "first"}
    assert claims(await stage.events(run_id)) == []
    assert claims(await stage.events(other_id)) == [("w", 1)]
    (given_up,) = [line for line in lines if line["event"] == "leases_given_up"]
    assert given_up["count"] == 1
