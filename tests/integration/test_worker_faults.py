"""What happens to one run, a script cache, or an answer on its way costs no other run and no step.

Servers that die: test_worker_restarts.
"""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from courante import Context, RetryableError
from courante.compiler.analysis import map_nodes
from courante.sdk.floor.scripts import look_at_runs
from courante.sdk.ids import new_run_id
from integration.heads import head_of
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


def step(id: str, handler: str, *after: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "config": {"handler": handler}, "depends_on": list(after), **fields}


async def test_a_corrupt_run_stops_nobody_else(stage: Stage) -> None:
    """Transitions in one batch with one of a spoiled run are applied, also after its entries were read again."""
    barrier = anyio.Event()
    entered: list[str] = []

    async def hold(value: str) -> str:
        entered.append(value)
        await barrier.wait()
        return value

    worker = stage.worker({"hold": hold})
    stage.supervisor()
    nodes: list[dict[str, object]] = [step("a", "hold"), {"id": "b", "type": "noop", "depends_on": ["a"]}]
    workflow = await stage.register(*nodes)
    ids = [await stage.client.submit(workflow, f"{number}") for number in range(20)]
    await until(anyio.lowlevel.checkpoint, lambda _: len(entered) == 20)
    keys = stage.client.keys.partition(0)
    bad = ids[7]
    await stage.redis.set(keys.run(bad), "spoiled")
    barrier.set()
    good = [run_id for run_id in ids if run_id != bad]
    assert {result.status for result in await stage.results(good)} == {"COMPLETED"}
    assert worker.refused >= 1
    assert (await stage.run(workflow, "later")).output == {"b": "later"}


async def test_a_corrupt_run_in_a_queue_or_timer_stops_nobody_else(stage: Stage) -> None:
    """Tokens of a spoiled run that are still to be delivered or released are passed over."""
    nodes: list[dict[str, object]] = [
        {"id": "a", "type": "noop"},
        {"id": "w", "type": "wait", "depends_on": ["a"], "config": {"for": "50ms"}},
    ]
    workflow = await stage.register(*nodes)
    keys = stage.client.keys.partition(0)
    queued, parked, good = [await stage.client.submit(workflow, number) for number in range(3)]
    await stage.redis.set(keys.run(queued), "spoiled")
    stage.worker()
    await until(lambda: stage.redis.zcard(keys.timers), lambda timers: timers == 2)
    await stage.redis.set(keys.run(parked), "spoiled")
    stage.supervisor()
    assert (await stage.result(good)).output == {"w": 2}
    assert await stage.redis.zcard(keys.timers) == 0
    assert (await stage.run(workflow, 3)).output == {"w": 3}


async def test_scripts_that_the_server_has_forgotten_are_loaded_again(stage: Stage) -> None:
    """FUNCTION FLUSH and SCRIPT FLUSH while runs are under way cost round trips and nothing else."""
    stage.worker()
    stage.supervisor()
    nodes: list[dict[str, object]] = [
        {"id": f"n{n}", "type": "noop", "depends_on": [f"n{n - 1}"] if n else []} for n in range(20)
    ]
    workflow = await stage.register(*nodes)
    ids: list[str] = []
    async with anyio.create_task_group() as group:

        async def flush() -> None:
            for _ in range(20):
                await stage.redis.execute_command("FUNCTION FLUSH")
                await stage.redis.script_flush()

        group.start_soon(flush)
        ids = [await stage.client.submit(workflow, number) for number in range(50)]
    results = await stage.results(ids)
    assert [result.output for result in results] == [{"n19": number} for number in range(50)]
    assert {len(await stage.succeeded(run_id)) for run_id in ids} == {20}


async def test_unknown_runs_in_a_queue_are_dropped(stage: Stage) -> None:
    """Entries that nobody can understand, or of runs that nobody knows, leave the queue and cost nothing."""
    stage.worker()
    stage.supervisor()
    keys = stage.client.keys.partition(0)
    for fields in ({"t": f"{new_run_id()}|0|4294967297"}, {"t": "garbage"}, {"odd": b"\xff"}):
        await stage.redis.xadd(keys.queue("default:normal"), fields)
    done = await stage.run(await stage.register({"id": "a", "type": "noop"}), 1)
    assert done.status == "COMPLETED"
    assert await stage.pending() == {}
    assert await stage.redis.xlen(keys.queue("default:normal")) == 0


async def test_what_a_broken_read_was_given_is_found(stage: Stage) -> None:
    """F17: entries that were handed to a worker in an answer that never arrived are run when it has reconnected."""
    entered, leave = anyio.Event(), anyio.Event()

    async def hold(value: int) -> int:
        if not value:
            entered.set()
            await leave.wait()
        return value

    worker = stage.worker({"hold": hold}, concurrency=1)
    stage.supervisor()
    workflow = await stage.register(step("a", "hold"))
    ids = [await stage.client.submit(workflow, 0)]
    await entered.wait()
    ids += [await stage.client.submit(workflow, number) for number in (1, 2)]
    stream = stage.client.keys.partition(0).queue("default:normal")
    assert await stage.redis.xreadgroup("workers", worker.name, {stream: ">"})
    leave.set()
    await stage.result(ids[0])

    async def kill_reads() -> int:
        clients = await stage.redis.client_list()
        blocked = [client["id"] for client in clients if client["cmd"] == "xreadgroup" and "b" in client["flags"]]
        for client in blocked:
            await stage.redis.execute_command("CLIENT", "KILL", "ID", client)
        return len(blocked)

    await until(kill_reads, lambda killed: killed > 0)
    assert [result.output for result in await stage.results(ids)] == [{"a": 0}, {"a": 1}, {"a": 2}]
    assert await until(stage.pending, lambda pending: not pending) == {}


async def test_a_run_that_is_lost_between_delivery_and_reading_stops_nobody(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F29: what a second attempt reads of its run is gone with it; the worker lives on, and the run is rebuilt."""
    lost: list[str] = []
    run_key = stage.client.keys.partition(0).run

    async def look_too_late(redis: Any, keys: Any, wanted: list[tuple[str, str]]) -> Any:
        if not lost:
            lost.append(wanted[0][0])
            await stage.redis.unlink(run_key(lost[0]))
        return await look_at_runs(redis, keys, wanted)

    monkeypatch.setattr("courante.runner.bringing.look_at_runs", look_too_late)
    attempts: list[int] = []

    async def fails_once(value: int, context: Context) -> int:
        attempts.append(context.attempt)
        if context.attempt == 1:
            raise RetryableError("once more")
        return value

    stage.supervisor(audit_s=0.2)
    stage.worker({"fails": fails_once})
    workflow = await stage.register(step("a", "fails", retry={"max_attempts": 3, "base": "10ms"}))
    run_id = await stage.client.submit(workflow, 7)
    assert (await stage.result(run_id)).output == {"a": 7}
    assert lost == [run_id]
    assert attempts == [1, 2]
    assert "run.rebuilt" in await stage.types(run_id)


async def test_results_that_nobody_can_read_stop_nobody_else(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of a map that were spoiled in Redis fail their aggregate; its worker goes on with all else."""
    entered, leave = anyio.Event(), anyio.Event()
    monkeypatch.setattr(map_nodes, "CHUNK_MAX", 2)

    async def hold(value: int) -> int:
        if value == 3:
            entered.set()
            await leave.wait()
        return value

    stage.supervisor()
    stage.worker({"hold": hold})
    nodes: list[dict[str, Any]] = [
        {"id": "m", "type": "map", "config": {"items": "[1, 2, 3]"}},
        step("a", "hold", "m"),
        {"id": "all", "type": "aggregate", "depends_on": ["a"], "retry": {"max_attempts": 1}},
    ]
    run_id = await stage.client.submit(await stage.register(*nodes), 0)
    await entered.wait()
    run = stage.client.keys.partition(0).run(run_id)
    await until(lambda: stage.redis.hexists(run, "r0:0"), bool)
    await stage.kill(0)  # nobody takes them away because the log has them
    await stage.redis.hset(run, mapping={"r0:0": b"spoiled"})
    leave.set()

    await until(lambda: head_of(stage.redis, run), lambda head: head.phase != "R")
    stage.supervisor()
    result = await stage.result(run_id)
    assert (result.status, (result.error or {})["type"]) == ("FAILED", "PAYLOAD_MISSING")
    assert (await stage.run(await stage.register(step("a", "hold"), id="other"), 7)).output == {"a": 7}
