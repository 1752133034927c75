"""Workers that die, fall silent, stop or are told to: nobody waits for them, and nobody runs a step for ever."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from operator import eq
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.to_thread
import pytest

from command_line import start
from courante.runner.worker import Worker
from courante.sdk.authoring.context import Context
from courante.sdk.authoring.steps import Steps
from courante.sdk.submissions.submissions import Submission
from courante.supervisor.leases import Leases
from integration.heads import head_of
from integration.stage import Place, Stage, open_stage, until
from integration.test_leases import HELD_MS, LEASE_MS, LONG_S, claims, step
from nursery import Nursling

pytestmark = pytest.mark.anyio
APP = """
import time
from pathlib import Path
from courante import step

@step("climb")
def climb(value, context):
    folder = Path(value["folder"])
    if context.last_heartbeat is not None:
        return {"after": context.last_heartbeat, "attempt": context.attempt}
    context.heartbeat({"reached": 7})
    (folder / "reported").touch()
    time.sleep(60)

@step("work")
def work(value):
    time.sleep(0.05)
    with (Path(value["folder"]) / "journal").open("a") as journal:
        journal.write(f"{value['number']}\\n")
    time.sleep(0.05)
    return value["number"]
"""


class Crew:
    """Worker processes with the steps above."""

    def __init__(self, stage: Stage, folder: Path, stack: ExitStack) -> None:
        (folder / "lease_app.py").write_text(APP)
        self._folder = folder
        self._stack = stack
        self._environment = {
            "COURANTE_REDIS_URL": stage.place.redis_url,
            "COURANTE_DATABASE_URL": stage.place.database_url,
            "COURANTE_ENV": stage.place.env,
            "COURANTE_LEASE_MS": "1000",
            "COURANTE_STOP_GRACE_MS": "500",
        }

    def hire(self) -> Nursling:
        words = ("worker", "--app", "lease_app", "--concurrency", "4")
        child = start(*words, cwd=self._folder, environ=self._environment, log=self._folder / "worker.log")
        self._stack.callback(child.wait)
        self._stack.callback(child.send_signal, signal.SIGKILL)
        return child


@pytest.fixture
def crew(stage: Stage, tmp_path: Path) -> Iterator[Crew]:
    with ExitStack() as stack:
        yield Crew(stage, tmp_path, stack)


async def test_details_of_heartbeats_survive_kill_9(stage: Stage, crew: Crew, tmp_path: Path) -> None:
    """What a handler has said a second before its end is there for the one who does it again, in the same attempt."""
    stage.supervisor()
    child = crew.hire()
    workflow = await stage.register(step("a", "climb"))
    run_id = await stage.client.submit(workflow, {"folder": str(tmp_path)})
    key = stage.client.keys.partition(0).run(run_id)
    await until(lambda: stage.redis.hget(key, "d0"), lambda details: details == b'{"reached":7}')
    child.send_signal(signal.SIGKILL)
    await anyio.to_thread.run_sync(child.wait)
    await stage.run_out()
    crew.hire()
    assert (await stage.result(run_id)).output == {"a": {"after": {"reached": 7}, "attempt": 1}}
    assert claims(await stage.events(run_id)) == [("a", 1)]


async def test_workers_killed_at_random_lose_nothing(stage: Stage, crew: Crew, tmp_path: Path) -> None:
    """F01, F02, F03, F17: kill -9 whenever it may be, also while entries are on their way to a waiting read."""
    random = Random(17)
    for _ in range(2):
        stage.supervisor(lease_ms=1_000)
    workers = [crew.hire() for _ in range(2)]
    mapped = {"folder": "input.folder", "number": "steps.a.output"}
    workflow = await stage.register(step("a", "work"), step("b", "work", "a", input=mapped))
    ids: list[str] = []
    for number in range(40):
        ids.append(await stage.client.submit(workflow, {"folder": str(tmp_path), "number": number}))
        if number % 15 == 14:
            await anyio.sleep(random.uniform(0.0, 0.3))
            workers.pop(0).send_signal(signal.SIGKILL)
            workers.append(crew.hire())
    results = await stage.results(ids)
    assert [result.output for result in results] == [{"b": number} for number in range(40)]
    executions = (tmp_path / "journal").read_text().split()
    excess = len(executions) - 80
    claimed = sum([len(claims(await stage.events(run_id))) for run_id in ids])
    assert 0 <= excess <= claimed
    assert await until(stage.pending, lambda pending: not pending) == {}


async def test_a_stopped_process_gives_back_what_it_cannot_finish(stage: Stage, crew: Crew, tmp_path: Path) -> None:
    """F16: SIGTERM. It ends by itself after its grace time, and nobody has to wait for a lease."""
    stage.supervisor()  # a lease of half a minute
    child = crew.hire()
    run_id = await stage.client.submit(await stage.register(step("a", "climb")), {"folder": str(tmp_path)})
    await until(anyio.lowlevel.checkpoint, lambda _: (tmp_path / "reported").exists())
    child.send_signal(signal.SIGTERM)
    assert await anyio.to_thread.run_sync(lambda: child.wait(10)) == 0
    assert await stage.pending() == {}
    crew.hire()
    assert (await stage.result(run_id)).output == {"a": {"after": {"reached": 7}, "attempt": 1}}
    assert claims(await stage.events(run_id)) == []


async def test_handlers_are_told_that_their_worker_stops(stage: Stage) -> None:
    """F16: who ends well has ended well; who ends early, or not at all, is given to another worker."""
    told: list[str] = []
    entered = anyio.Event()
    left = threading.Event()

    async def ends_well(value: int, context: Context) -> str:
        told.append(str(await context.cancelled))
        return "well"

    def ends_early(value: int, context: Context) -> str:
        context.cancelled.wait(10)
        told.append(str(context.cancelled.reason))
        raise RuntimeError("the worker stops")

    async def never_ends(value: int) -> str:
        entered.set()
        await anyio.sleep_forever()
        return "never"

    async def ends(value: int) -> str:
        return "by another"

    stage.supervisor()
    first = stage.worker(
        {"well": ends_well, "early": ends_early, "never": never_ends}, stop_grace_ms=200, lease_ms=60_000
    )
    workflow = await stage.register(step("a", "well"), step("b", "early"), step("c", "never"))
    run_id = await stage.client.submit(workflow, 7)
    await entered.wait()
    await anyio.sleep(0.05)
    first.stop()
    with anyio.fail_after(5):
        await stage.ends[1].wait()
    left.set()
    assert sorted(told) == ["stopping", "stopping"]
    stage.worker({"well": ends, "early": ends, "never": ends})
    assert (await stage.result(run_id)).output == {"a": "well", "b": "by another", "c": "by another"}
    attempts = {event.facts.node: event.facts.attempt for event in await stage.events(run_id) if event.facts.attempt}
    assert attempts == {"a": 1, "b": 1, "c": 1}


async def test_a_step_that_ends_its_workers_is_poisoned(stage: Stage) -> None:
    """F13: after so many workers nobody runs it any more, and it fails as a failed step does."""
    ran: list[int] = []

    async def deadly(value: int) -> int:
        ran.append(value)
        await anyio.sleep_forever()
        return value

    async def counted() -> int:
        return len(ran)

    async def mends(value: Any) -> str:
        return "mended"

    stage.supervisor()
    workflow = await stage.register(
        step("a", "deadly", retry={"max_attempts": 5, "base": "10ms"}, on_error="m"), step("m", "mends")
    )
    run_id = await stage.client.submit(workflow, 7)
    for number in range(3):
        worker = stage.worker({"deadly": deadly, "mends": mends}, deliveries_max=2)
        if number < 2:
            await until(counted, partial(eq, number + 1))
            await stage.kill(number + 1)
            await stage.run_out(worker)
    assert (await stage.result(run_id)).output == {"m": "mended"}
    assert len(ran) == 2
    events = await stage.events(run_id)
    assert claims(events) == [("a", 1), ("a", 2)]
    (failure,) = [event.facts for event in events if event.facts.type == "step.failed"]
    assert failure.error is not None
    assert (failure.error.type, failure.error.kind) == ("POISONED", "fatal")


@pytest.mark.parametrize("spoiled", ["kind", "node"])
async def test_a_token_that_nobody_can_read_ends(stage: Stage, spoiled: str) -> None:
    """Others may be able to read it, and try. Then its node fails; where there is none, its run goes no further."""

    async def echo(value: int) -> int:
        return value

    workflow = await stage.register(step("a", "work"))
    run_id = await stage.client.submit(workflow, 7)
    keys = stage.client.keys.partition(0)
    record = await stage.redis.hget(keys.run(run_id), "t0")
    assert record is not None
    if spoiled == "kind":
        await stage.redis.hset(keys.run(run_id), mapping={"t0": record.replace(b"|n|", b"|z|", 1)})
    else:
        stream = keys.queue("default:normal")
        fence, _, entry, *_ = [part for i, part in enumerate(record.split(b"|")) if i != 1]
        del entry
        added = await stage.redis.xadd(stream, {"t": b"|".join((run_id.encode(), b"99", fence))})
        parts = record.split(b"|")
        parts[3] = added
        await stage.redis.hdel(keys.run(run_id), "t0")
        await stage.redis.hset(keys.run(run_id), mapping={"t99": b"|".join(parts)})
    stage.supervisor(lease_ms=LEASE_MS)
    stage.worker({"work": echo}, lease_ms=LEASE_MS, deliveries_max=1)
    if spoiled == "kind":
        result = await stage.result(run_id)
        assert result.error is not None
        assert result.error["type"] == "POISONED"
    else:
        head = await until(lambda: head_of(stage.redis, keys.run(run_id)), lambda head: head.phase == "H")
        assert head.counter == 1


async def test_a_run_that_drains_does_not_wait_for_its_handlers(stage: Stage) -> None:
    """F63: they are told with the next renewal, and cancelled or abandoned after the grace time."""
    told: list[str] = []
    entered: list[str] = []
    leave = threading.Event()

    async def hears(value: int, context: Context) -> str:
        entered.append("hears")
        told.append(f"hears {await context.cancelled}")
        return "partly done"

    async def sleeps(value: int) -> str:
        entered.append("sleeps")
        await anyio.sleep_forever()
        return "never"

    def blocks(value: int) -> str:
        entered.append("blocks")
        leave.wait(30)
        return "too late"

    async def fails(value: int) -> str:
        await until(anyio.lowlevel.checkpoint, lambda _: len(entered) == 3)
        raise ValueError("no")

    stage.supervisor()
    stage.worker(
        {"hears": hears, "sleeps": sleeps, "blocks": blocks, "fails": fails}, lease_ms=LEASE_MS, cancel_grace_ms=100
    )
    nodes = [step(name, name) for name in ("hears", "sleeps", "blocks")]
    workflow = await stage.register(*nodes, step("fails", "fails", retry={"max_attempts": 1}))
    result = await stage.run(workflow, 7)
    leave.set()
    assert result.status == "FAILED"
    assert told == ["hears cancelled"]
    events = await stage.events(result.run_id)
    assert sorted(event.facts.node for event in events if event.facts.type == "token.dropped") == ["blocks", "sleeps"]
    assert [event.facts.node for event in events if event.facts.type == "step.succeeded"] == ["hears"]


async def test_a_slow_worker_hoards_nothing(stage: Stage) -> None:
    """F20: it takes as many as it has slots, so that what comes later is another's at once."""
    began: list[int] = []
    leave = anyio.Event()

    async def slow(value: int) -> int:
        began.append(value)
        await leave.wait()
        return value

    async def quick(value: int) -> int:
        return value

    stage.supervisor()
    stage.worker({"work": slow}, concurrency=2)
    workflow = await stage.register(step("a", "work"))
    ids = [await stage.client.submit(workflow, number) for number in range(2)]
    await until(anyio.lowlevel.checkpoint, lambda _: len(began) == 2)
    ids += [await stage.client.submit(workflow, number) for number in range(2, 50)]
    assert sum((await stage.pending()).values()) == 2
    stage.worker({"work": quick}, concurrency=2)
    await stage.results(ids[2:])
    assert sorted(began) == [0, 1]
    leave.set()
    await stage.results(ids[:2])


async def test_no_clock_of_a_worker_counts(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """F19: an hour ahead or behind, it keeps leases, deadlines and timers as any other, and the log has Redis' time."""
    real = time.time

    async def holds(value: int, context: Context) -> int:
        await anyio.sleep(LONG_S)
        context.heartbeat()
        return value

    for number, shift in enumerate((3600, -3600)):
        monkeypatch.setattr(time, "time", lambda shift=shift: real() + shift)
        stage.supervisor(lease_ms=HELD_MS)
        stage.worker({"holds": holds}, lease_ms=LEASE_MS)
        waits = {"id": "w", "type": "wait", "config": {"for": "200ms"}}
        workflow = await stage.register(step("a", "holds", timeout="30s"), waits, id=f"w{number}")
        before = real()
        result = await stage.run(workflow, 7)
        assert result.status == "COMPLETED"
        events = await stage.events(result.run_id)
        assert claims(events) == []
        assert all(before - 5 < event.at_ms / 1000 < real() + 5 for event in events)
        (timer,) = [event for event in events if event.facts.type == "timer.set"]
        (release,) = [event for event in events if event.facts.type == "timer.released"]
        assert release.at_ms >= timer.facts.due
        assert release.at_ms - timer.at_ms < 5_000


async def test_consumers_of_one_host_and_process_have_their_own_names(redis_url: str) -> None:
    """F09: a container that starts again with the same host name and pid is somebody else."""
    names = {Worker(redis_url=redis_url, steps=Steps()).name for _ in range(100)}
    assert len(names) == 100


async def test_a_partition_that_is_closed_costs_no_other_its_leases(place: Place) -> None:
    """It may be rebuilt for longer than a lease: what its workers hold elsewhere stays theirs meanwhile."""
    ran: list[int] = []
    leave = anyio.Event()

    async def hold(value: int) -> int:
        ran.append(value)
        await leave.wait()
        return value

    async with open_stage(place, partitions=2) as stage:
        stage.supervisor(partitions=2)
        stage.worker({"hold": hold}, partitions=(0, 1), lease_ms=LEASE_MS)
        workflow = await stage.register(step("a", "hold"))
        wanted = [Submission(workflow=workflow, input=number, partition=number) for number in range(2)]
        ids = await stage.client.submit_many(wanted)
        await until(anyio.lowlevel.checkpoint, lambda _: sorted(ran) == [0, 1])
        stage.supervisors[-1].stop()
        await stage.ends[0].wait()
        closed, other = [stage.client.keys.partition(number) for number in range(2)]
        await stage.redis.delete(closed.meta)
        leases = Leases(stage.redis, other, lease_ms=HELD_MS)
        until_s = time.monotonic() + LONG_S
        while time.monotonic() < until_s:
            await leases.look()
            await anyio.sleep(0.05)
        assert leases.claimed == 0
        leave.set()
        stage.supervisor(partitions=2)
        assert [result.output for result in await stage.results(ids)] == [{"a": 0}, {"a": 1}]
        assert claims(await stage.events(ids[1])) == []
    assert ran.count(1) == 1
