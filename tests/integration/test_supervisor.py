"""Supervisors end runs once, find what was lost, and release what is due, however many of them there are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import pytest

from courante.runner.worker import Worker
from courante.sdk.authoring.steps import Steps
from courante.sdk.client.client import Client
from courante.sdk.floor.scripts import Late
from courante.sdk.floor.starting import StartWindow, apply_starts
from courante.sdk.stores.commands import StartCommand, insert_starts
from courante.sdk.submissions.submissions import Submission, start_command
from courante.supervisor import completion
from courante.supervisor.recovery import reconciler
from courante.supervisor.supervisor import Supervisor
from integration.stage import PATIENCE_S, Stage, until

pytestmark = pytest.mark.anyio
NOOP = {"id": "a", "type": "noop"}


async def command_of(stage: Stage, workflow: str, input: Any, key: str | None = None) -> StartCommand:
    async with stage.client.pool.acquire() as conn:
        resolved = await stage.client.catalog.resolve(conn, workflow, None)
    submission = Submission(workflow=workflow, input=input, key=key)
    return start_command(stage.place.env, 1, submission, resolved)


async def test_three_supervisors_end_each_run_once(stage: Stage) -> None:
    """F56: a hundred runs under three supervisors have one end each, in the log and on the channel."""
    for _ in range(3):
        stage.supervisor()
    for _ in range(2):
        stage.worker()
    workflow = await stage.register(NOOP, {"id": "b", "type": "noop", "depends_on": ["a"]})
    ids = await stage.client.submit_many([Submission(workflow=workflow, input=number) for number in range(100)])
    results = await stage.results(ids)
    assert [result.output for result in results] == [{"b": number} for number in range(100)]
    for run_id in ids:
        assert await stage.types(run_id) == ["run.started", "step.succeeded", "step.succeeded", "run.completed"]
    assert await until(stage.pending, lambda pending: not pending) == {}


async def test_one_supervisor_watches_many_partitions(stage: Stage) -> None:
    """Recorders keep their connections to Postgres, and there are some left for everything else."""
    place, partitions = stage.place, 10
    terms: dict[str, Any] = {"redis_url": place.redis_url, "env": place.env}
    worker = Worker(**terms, steps=Steps(), partitions=range(partitions))
    terms |= {"database_url": place.database_url, "partitions": partitions}
    supervisor = Supervisor(**terms)
    workflow = await stage.register(NOOP)
    async with Client.open(**terms) as client, anyio.create_task_group() as group:
        group.start_soon(supervisor.run)
        group.start_soon(worker.run)
        ids = await client.submit_many([Submission(workflow=workflow) for _ in range(3 * partitions)])
        for run_id in ids:
            assert (await client.wait(run_id, timeout_s=PATIENCE_S, is_recorded=True)).status == "COMPLETED"
        supervisor.stop()
        worker.stop()


async def test_runs_end_when_supervisors_come_and_go(stage: Stage, quick_sweep: None) -> None:
    """Supervisors that are killed at any moment leave nothing that the next one does not finish."""
    stage.worker()
    workflow = await stage.register(NOOP, {"id": "w", "type": "wait", "depends_on": ["a"], "config": {"for": "20ms"}})
    ids: list[str] = []
    for turn in range(8):
        stage.supervisor()
        ids += await stage.client.submit_many([Submission(workflow=workflow, input=n) for n in range(10)])
        await anyio.sleep(0.02 * turn)  # a moment to be killed at, not one that anything waits for
        await stage.kill(-1)
    stage.supervisor()
    results = await stage.results(ids)
    assert {result.status for result in results} == {"COMPLETED"}
    for run_id in ids:
        assert (await stage.types(run_id)).count("run.completed") == 1


@pytest.fixture
def quick_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "SWEEP_S", 0.05)
    monkeypatch.setattr(completion, "STALE_MS", 50)


async def zero_without_a_word(stage: Stage, workflow: str, value: Any) -> str:
    """A run whose counter is zero and whose word on ``done`` was lost."""
    run_id = await stage.client.submit(workflow, value)
    done = stage.client.keys.partition(0).done
    entries = await until(lambda: stage.redis.xrange(done), lambda entries: bool(entries))
    await stage.redis.xdel(done, *(entry for entry, _ in entries))
    return run_id


async def test_a_lost_word_is_found(stage: Stage, quick_sweep: None) -> None:
    """F57: a run whose entry on ``done`` was deleted is found by the sweep, past a spoiled key, and ends once."""
    stage.worker()
    workflow = await stage.register(NOOP)
    run_id = await zero_without_a_word(stage, workflow, 1)
    await stage.redis.set(stage.client.keys.partition(0).run("run_spoiled"), "x")
    stage.supervisor()
    assert (await stage.result(run_id)).output == {"a": 1}
    assert (await stage.types(run_id)).count("run.completed") == 1
    await stage.redis.delete(stage.client.keys.partition(0).run("run_spoiled"))


async def test_words_in_dead_hands_are_taken_over(stage: Stage, quick_sweep: None) -> None:
    """F57: an entry on ``done`` that was given to a supervisor that died is ended by another one."""
    stage.worker()
    run_id = await stage.client.submit(await stage.register(NOOP), 1)
    done = stage.client.keys.partition(0).done
    await until(lambda: stage.redis.xlen(done), lambda length: length == 1)
    assert await stage.redis.xreadgroup("supervisors", "dead", {done: ">"})
    stage.supervisor()
    assert (await stage.result(run_id)).output == {"a": 1}
    await until(stage.pending, lambda pending: not pending)


async def test_a_deleted_stream_of_words_is_made_again(stage: Stage, quick_sweep: None) -> None:
    """When somebody deletes ``done`` or ``submit``, the groups come back and runs go on ending."""
    stage.worker()
    stage.supervisor()
    workflow = await stage.register(NOOP)
    await stage.run(workflow, 1)
    keys = stage.client.keys.partition(0)
    await stage.redis.delete(keys.done, keys.submit)
    assert (await stage.run(workflow, 2)).output == {"a": 2}
    await stage.redis.xadd(keys.submit, {"workflow": workflow, "key": "k", "input": "3"})
    run_id = await stage.client.submit(workflow, 3, key="k")
    assert (await stage.result(run_id)).output == {"a": 3}


async def test_a_run_that_cannot_be_ended_stops_no_other(stage: Stage, quick_sweep: None) -> None:
    """A run whose key was spoiled at the last moment stays, and the runs in the same batch end."""
    stage.worker()
    workflow = await stage.register(NOOP)
    ids = await stage.client.submit_many([Submission(workflow=workflow, input=number) for number in range(5)])
    keys = stage.client.keys.partition(0)
    await until(lambda: stage.redis.xlen(keys.done), lambda length: length == 5)
    await stage.redis.set(keys.run(ids[2]), "spoiled")
    stage.supervisor()
    good = [run_id for run_id in ids if run_id != ids[2]]
    assert {result.status for result in await stage.results(good)} == {"COMPLETED"}
    assert await stage.redis.get(keys.run(ids[2])) == b"spoiled"
    assert (await stage.run(workflow, 9)).output == {"a": 9}


async def test_an_output_beyond_the_limit_is_a_failure_of_its_run(stage: Stage) -> None:
    """Two steps of 9 MiB each are fine; their run's output is not, which is told, and the supervisor lives on."""
    stage.worker({"big": lambda: "x" * 9 * 1024 * 1024})
    stage.supervisor()
    nodes = [{"id": f"n{n}", "type": "function", "config": {"handler": "big"}} for n in range(2)]
    result = await stage.run(await stage.register(*nodes))
    assert result.status == "FAILED"
    assert result.error is not None
    assert result.error["type"] == "OUTPUT_ERROR"
    assert "at most 16,777,216" in result.error["message"]
    assert (await stage.run(await stage.register(NOOP, id="small"), 1)).status == "COMPLETED"


@pytest.fixture
def quick_reconciler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "LOOK_S", 0.02)
    monkeypatch.setattr(reconciler, "OLDER_THAN_MS", 0)


async def test_a_start_that_redis_never_heard_of_is_applied_once(stage: Stage, quick_reconciler: None) -> None:
    """F64: starts that were committed and not applied are started by one of three supervisors, large inputs as well."""
    workflow = await stage.register(NOOP)
    commands = [await command_of(stage, workflow, "x" * (20_000 if n % 2 else 1)) for n in range(30)]
    async with stage.client.pool.acquire() as conn:
        await insert_starts(conn, commands)
    assert (await stage.client.result(commands[0].run_id)).status == "PENDING"
    stage.worker()
    for _ in range(3):
        stage.supervisor()
    results = await stage.results([command.run_id for command in commands])
    assert [len(result.output["a"]) for result in results] == [1, 20_000] * 15
    for command in commands:
        assert (await stage.types(command.run_id)).count("run.started") == 1


async def test_a_start_that_cannot_be_applied_stops_no_other(stage: Stage, quick_reconciler: None) -> None:
    """A start whose key is spoiled is passed over, and those committed after it are started."""
    workflow = await stage.register(NOOP)
    commands = [await command_of(stage, workflow, number) for number in range(3)]
    async with stage.client.pool.acquire() as conn:
        await insert_starts(conn, commands)
    keys = stage.client.keys.partition(0)
    await stage.redis.set(keys.run(commands[0].run_id), "spoiled")
    stage.worker()
    stage.supervisor()
    results = await stage.results([command.run_id for command in commands[1:]])
    assert [result.output for result in results] == [{"a": 1}, {"a": 2}]
    await stage.redis.delete(keys.run(commands[0].run_id))
    assert (await stage.result(commands[0].run_id)).output == {"a": 0}


async def test_a_start_that_comes_too_late_is_refused(stage: Stage) -> None:
    """Who slept between Postgres and Redis does not start again a run that may have ended and been forgotten."""
    workflow = await stage.register(NOOP)
    command = await command_of(stage, workflow, 1)
    plan = await stage.client.catalog.plan(command.ir_hash)
    keys = stage.client.keys
    now = await StartWindow.now(stage.redis, keys.partition(0))
    assert now is not None
    earlier = now._replace(epochs={keys.partition(0).base: "0"})
    for window, refusal in ((now._replace(until_ms=1), Late), (earlier, Late), (now, None)):
        call = partial(
            apply_starts, stage.redis, keys, keys.partition(0), [(command, plan)], outbox_hard_max=1_000, window=window
        )
        if refusal is None:
            assert await call() == [True]
        else:
            with pytest.raises(refusal):
                await call()
            assert await stage.redis.exists(keys.partition(0).run(command.run_id)) == 0


async def test_a_wait_fires_once(stage: Stage) -> None:
    """Timers under three supervisors: each wait ends once, after its time, whether it says how long or until when."""
    stage.worker()
    for _ in range(3):
        stage.supervisor()
    nodes = [
        {"id": "for", "type": "wait", "config": {"for": "80ms"}},
        {"id": "until", "type": "wait", "config": {"until": "input.at"}},
        {"id": "past", "type": "wait", "config": {"until": "0"}},
    ]
    at = datetime.now(UTC) + timedelta(seconds=0.3)
    done = await stage.run(await stage.register(*nodes), {"at": at.isoformat()})
    assert sorted(done.output) == ["for", "past", "until"]
    events = await stage.events(done.run_id)
    for node in ("for", "until", "past"):
        kinds = [event.facts.type for event in events if event.facts.node == node]
        assert kinds == ["step.waiting", "timer.set", "timer.released", "step.succeeded"]
    begun = events[0].at_ms
    released = {event.facts.node: event.at_ms for event in events if event.facts.type == "timer.released"}
    assert released["for"] >= begun + 80
    assert released["until"] >= int(at.timestamp() * 1000)
    assert released["past"] <= min(released["for"], released["until"])


async def test_a_thousand_timers_that_are_due_at_once(stage: Stage) -> None:
    """F60: they are released in bounded batches, each once, the oldest first."""
    stage.worker()
    workflow = await stage.register({"id": "w", "type": "wait", "config": {"until": "input"}})
    now = datetime.now(UTC).timestamp()
    submissions = [Submission(workflow=workflow, input=now + 1 + number / 1000) for number in range(1_000)]
    ids = await stage.client.submit_many(submissions)
    keys = stage.client.keys.partition(0)
    await until(lambda: stage.redis.zcard(keys.timers), lambda timers: timers == 1_000)
    await until(stage.redis.time, lambda at: at[0] + at[1] / 1e6 > now + 2.1)
    stage.supervisor()
    results = await stage.results(ids)
    assert {result.status for result in results} == {"COMPLETED"}
    query = """SELECT run_id, at FROM event_log WHERE env = $1 AND type = 'timer.released' ORDER BY at"""
    async with stage.client.pool.acquire() as conn:
        rows = await conn.fetch(query, stage.place.env)
    assert len({row["run_id"] for row in rows}) == len(rows) == 1_000
    when = {row["run_id"]: row["at"] for row in rows}
    order = [when[run_id] for run_id in ids]
    assert order == sorted(order)
    assert len(set(order)) <= 1_000
    assert await stage.redis.zcard(keys.timers) == 0
