"""Leases with real workers and supervisors: what falls silent is taken over, what is alive is left alone."""

from __future__ import annotations

import threading
import time
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest

from chaos.proxy import open_proxy
from courante.sdk.authoring.context import Context
from courante.sdk.events import RecordedEvent
from courante.sdk.floor.live_marking import read_marking
from courante.sdk.floor.scripts import QUEUE_GROUP, open_partition
from courante.supervisor.leases import LOOK_S, Leases
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
LEASE_MS = 600
HELD_MS = 2_000
"""The lease of supervisors where nothing of the living shall run out: workers renew by the shorter one above, ten times
as often, so that a moment in which this process does not run is not taken for silence.
"""
LONG_S = 3.0
"""Longer than all leases."""


def step(id: str, handler: str, *after: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "config": {"handler": handler}, "depends_on": list(after), **fields}


def claims(events: list[RecordedEvent]) -> list[tuple[str, object]]:
    return [
        (event.facts.node, event.facts.data["deliveries"]) for event in events if event.facts.type == "token.claimed"
    ]


async def test_a_dead_workers_step_is_run_by_another_soon(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """F02: killed inside its handler. The first look after the lease finds it, another runs it, and it counts once.

    The audit would make its entry again, much later: it is not called.
    """
    entered: list[int] = []
    looks: list[tuple[float, int]] = []
    leave = anyio.Event()

    async def hold(value: int) -> int:
        entered.append(value)
        await leave.wait()
        return value

    async def look(self: Leases) -> int:
        began = time.monotonic()
        looks.append((began, await real(self)))
        return looks[-1][1]

    real = Leases.look
    monkeypatch.setattr(Leases, "look", look)

    stage.supervisor(lease_ms=HELD_MS, audit_s=3_600)
    stage.worker({"hold": hold}, lease_ms=HELD_MS)
    run_id = await stage.client.submit(await stage.register(step("a", "hold")), 7)
    await until(anyio.lowlevel.checkpoint, lambda _: len(entered) == 1)
    await stage.kill(1)
    died = time.monotonic()
    leave.set()
    stage.worker({"hold": hold}, lease_ms=HELD_MS)
    assert (await stage.result(run_id)).output == {"a": 7}
    assert len(entered) == 2
    assert LOOK_S < 1
    before = [began for began, claimed in looks if not claimed and began < next(at for at, some in looks if some)]
    assert max(before, default=0.0) < died + HELD_MS / 1000
    events = await stage.events(run_id)
    assert claims(events) == [("a", 1)]
    assert [event.facts.node for event in events if event.facts.type == "step.succeeded"] == ["a"]
    assert await until(stage.pending, lambda pending: not pending) == {}


async def test_a_long_step_keeps_its_lease(stage: Stage) -> None:
    """A handler that runs for several leases, on the loop or in a thread, is run once."""
    ran: list[str] = []

    async def waits(value: int) -> int:
        ran.append("loop")
        await anyio.sleep(LONG_S)
        return value

    def sleeps(value: int) -> int:
        ran.append("thread")
        time.sleep(LONG_S)
        return value

    stage.supervisor(lease_ms=HELD_MS)
    for _ in range(2):
        stage.worker({"waits": waits, "sleeps": sleeps}, lease_ms=LEASE_MS)
    run_id = await stage.client.submit(await stage.register(step("a", "waits"), step("b", "sleeps")), 7)
    assert (await stage.result(run_id)).status == "COMPLETED"
    assert sorted(ran) == ["loop", "thread"]
    assert claims(await stage.events(run_id)) == []


async def test_a_claimed_token_says_so_in_redis_and_in_the_log(stage: Stage) -> None:
    """The fold of the log counts the same deliveries as the record."""
    keys = stage.client.keys.partition(0)
    stream = keys.queue("default:normal")
    await open_partition(stage.redis, keys, [(stream, QUEUE_GROUP)], epoch=None)
    stage.supervisor(lease_ms=LEASE_MS)
    run_id = await stage.client.submit(await stage.register(step("a", "hold")), 7)
    await stage.redis.xreadgroup("workers", "gone", {stream: ">"})
    await until(lambda: stage.redis.xlen(keys.queue("default:high")), bool)
    live = await read_marking(stage.redis, keys, run_id)
    assert live is not None
    assert live.tokens[0, ()].deliveries == 1
    assert await stage.redis.xlen(stream) == 0
    assert claims(await until(lambda: stage.events(run_id), lambda events: bool(claims(events)))) == [("a", 1)]


async def test_a_busy_loop_keeps_its_lease(stage: Stage) -> None:
    """F12: a handler that blocks the event loop for several leases keeps its token, and others that were held too."""
    ran: list[str] = []

    async def blocks(value: int) -> int:
        ran.append("blocks")
        until_s = time.monotonic() + LONG_S
        while time.monotonic() < until_s:
            pass
        return value

    async def waits(value: int) -> int:
        ran.append("waits")
        await anyio.sleep(0.01)
        return value

    stage.supervisor(lease_ms=HELD_MS)
    stage.worker({"blocks": blocks, "waits": waits}, lease_ms=LEASE_MS)
    run_id = await stage.client.submit(await stage.register(step("a", "waits"), step("b", "blocks")), 7)
    with anyio.CancelScope(shield=True):
        assert (await stage.result(run_id)).status == "COMPLETED"
    assert sorted(ran) == ["blocks", "waits"]
    assert claims(await stage.events(run_id)) == []


async def test_an_attempt_has_its_time(stage: Stage) -> None:
    """F11: on the loop it is cancelled, in a thread abandoned; both are retried, and the last one fails the step."""
    tries: list[str] = []
    cancelled: list[str] = []
    leave = threading.Event()

    async def hangs(value: int, context: Context) -> int:
        tries.append(f"loop {context.attempt}")
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(str(context.cancelled.reason))
        return value

    def blocks(value: int, context: Context) -> int:
        tries.append(f"thread {context.attempt}")
        leave.wait(30)
        return value

    stage.supervisor()
    stage.worker({"hangs": hangs, "blocks": blocks})
    fields: dict[str, Any] = {"timeout": "1s", "retry": {"max_attempts": 2, "base": "10ms"}}
    workflow = await stage.register(
        step("a", "hangs", **fields), step("b", "blocks", **fields), policy={"on_failure": "continue"}
    )
    result = await stage.run(workflow, 7)
    leave.set()
    assert result.status == "FAILED"
    assert sorted(tries) == ["loop 1", "loop 2", "thread 1", "thread 2"]
    assert cancelled == ["timed_out", "timed_out"]
    failures = [event.facts for event in await stage.events(result.run_id) if event.facts.type == "step.failed"]
    assert {(facts.node, facts.attempt, facts.error.type) for facts in failures if facts.error} == {
        ("a", 2, "TIMEOUT"),
        ("b", 2, "TIMEOUT"),
    }


async def test_a_handler_without_a_heartbeat_in_time_fails(stage: Stage) -> None:
    """One that beats runs as long as it likes; one that stops doing so fails with HEARTBEAT_TIMEOUT."""

    async def beats(value: int, context: Context) -> int:
        for _ in range(20):
            await anyio.sleep(0.06)
            context.heartbeat()
        return value

    async def stops(value: int, context: Context) -> int:
        context.heartbeat({"done": 1})
        await anyio.sleep_forever()
        return value

    stage.supervisor()
    stage.worker({"beats": beats, "stops": stops})
    fields: dict[str, Any] = {"heartbeat_timeout": "1s", "retry": {"max_attempts": 1}}
    assert (await stage.run(await stage.register(step("a", "beats", **fields)), 7)).output == {"a": 7}
    result = await stage.run(await stage.register(step("a", "stops", **fields), id="stops"), 7)
    assert result.error is not None
    assert result.error["type"] == "HEARTBEAT_TIMEOUT"


async def test_details_of_heartbeats_are_for_the_next_attempt(stage: Stage) -> None:
    """They survive a failure that comes right after them, and are gone when the step has ended."""
    seen: list[object] = []

    async def climbs(value: int, context: Context) -> int:
        seen.append(context.last_heartbeat)
        if context.attempt < 3:
            context.heartbeat({"reached": context.attempt})
            raise ConnectionError("fell")
        await held.wait()
        return value

    held = anyio.Event()
    stage.supervisor()
    stage.worker({"climbs": climbs})
    fields = {"retry": {"max_attempts": 3, "base": "10ms"}}
    run_id = await stage.client.submit(await stage.register(step("a", "climbs", **fields)), 7)
    key = stage.client.keys.partition(0).run(run_id)
    await until(anyio.lowlevel.checkpoint, lambda _: len(seen) == 3)
    assert seen == [None, {"reached": 1}, {"reached": 2}]
    assert await stage.redis.hget(key, "d0") == b'{"reached":2}'
    held.set()
    assert (await stage.result(run_id)).output == {"a": 7}
    assert not await stage.redis.hexists(key, "d0")


class Heir:
    """Has the step that another worker had. ``ran``: who has begun it, in order; ``leave``: it may end."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.leave = anyio.Event()

    async def second(self, value: int) -> str:
        del value
        self.ran.append("second")
        await self.leave.wait()
        return "second"


async def test_a_worker_that_was_cut_off_changes_nothing_when_it_is_back(stage: Stage) -> None:
    """F08, F10: it lost Redis for longer than the lease. Its handler is told, and what it returned is refused."""
    told: list[str] = []
    heir, entered = Heir(), anyio.Event()

    async def first(value: int, context: Context) -> str:
        heir.ran.append("first")
        entered.set()
        try:
            await context.cancelled
        finally:
            told.append(str(context.cancelled.reason))
        return "first"

    stage.supervisor()
    run_id = await stage.client.submit(await stage.register(step("a", "hold")), 7)
    async with open_proxy(urlsplit(stage.place.redis_url).path) as proxy:
        late = stage.worker({"hold": first}, redis_url=f"redis://127.0.0.1:{proxy.port}", lease_ms=LEASE_MS)
        await entered.wait()
        proxy.cut()
        stage.worker({"hold": heir.second})
        await until(lambda: stage.run_out(late), lambda _: heir.ran == ["first", "second"])
        proxy.mend()
        await until(anyio.lowlevel.checkpoint, lambda _: bool(told))
        assert told == ["lease_lost"]
        heir.leave.set()
        assert (await stage.result(run_id)).output == {"a": "second"}
        assert claims(await stage.events(run_id)) == [("a", 1)]
        await stage.dismiss()


async def test_what_a_worker_hands_in_too_late_is_refused(stage: Stage) -> None:
    """F07: its step ended while it was cut off; another works on it when the result comes after all."""
    heir, ends = Heir(), anyio.Event()

    async def first(value: int) -> str:
        heir.ran.append("first")
        await ends.wait()
        return "first"

    stage.supervisor()
    run_id = await stage.client.submit(await stage.register(step("a", "hold")), 7)
    async with open_proxy(urlsplit(stage.place.redis_url).path) as proxy:
        late = stage.worker({"hold": first}, redis_url=f"redis://127.0.0.1:{proxy.port}", lease_ms=LEASE_MS)
        await until(anyio.lowlevel.checkpoint, lambda _: heir.ran == ["first"])
        proxy.cut()
        ends.set()
        stage.worker({"hold": heir.second})
        await until(lambda: stage.run_out(late), lambda _: heir.ran == ["first", "second"])
        proxy.mend()
        await until(anyio.lowlevel.checkpoint, lambda _: late.refused == 1)
        heir.leave.set()
        assert (await stage.result(run_id)).output == {"a": "second"}
        await stage.dismiss()
