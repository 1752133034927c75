"""Payloads that Redis has lost: whoever has Postgres reads them there, and puts them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from courante.compiler.analysis import map_nodes
from courante.runner import bringing
from courante.runner.bringing import Bringer
from courante.sdk.floor.payloads import PayloadMissing
from integration.stage import Stage, until

if TYPE_CHECKING:
    from courante.runner.work import Work

pytestmark = pytest.mark.anyio
LARGE = "x" * 20_000


async def make(size: int) -> str:
    return "x" * size


async def measure(text: str) -> int:
    return len(text)


def waiting(*tail: dict[str, Any]) -> list[dict[str, Any]]:
    """A large output, and beside it what the run waits for."""
    return [
        {"id": "big", "type": "function", "config": {"handler": "make"}},
        {"id": "go", "type": "signal", "config": {"name": "go"}},
        *tail,
    ]


MEASURE = {
    "id": "measure",
    "type": "function",
    "depends_on": ["big", "go"],
    "config": {"handler": "measure"},
    "input": "steps.big.output",
}


async def lose(stage: Stage, run_id: str, how: str = "gone") -> int:
    """Take every payload from Redis, or spoil it, once the run waits and its log has them; return how many."""
    await until(lambda: stage.types(run_id), lambda found: {"step.succeeded", "step.waiting"} <= set(found))
    found = [key async for key in stage.redis.scan_iter(match=stage.client.keys.blob("*"))]
    for key in found:
        await stage.redis.delete(key)
        if how == "damaged":
            await stage.redis.set(key, b"spoilt")
        elif how == "no text":
            await stage.redis.sadd(key, b"spoilt")
    return len(found)


@pytest.mark.parametrize("how", ["gone", "damaged", "no text"])
async def test_a_worker_reads_a_payload_from_postgres(stage: Stage, how: str) -> None:
    """The step runs as if nothing had happened, and Redis has the payload again."""
    stage.worker({"make": make, "measure": measure}, database_url=stage.place.database_url)
    stage.supervisor()
    run_id = await stage.client.submit(await stage.register(*waiting(MEASURE)), len(LARGE))
    assert await lose(stage, run_id, how) == 1
    await stage.client.signal(run_id, "go")
    result = await stage.result(run_id)
    assert (result.status, result.output) == ("COMPLETED", {"measure": len(LARGE)})
    (key,) = [key async for key in stage.redis.scan_iter(match=stage.client.keys.blob("*"))]
    assert await stage.redis.get(key) == f'"{LARGE}"'.encode()


async def test_a_worker_without_postgres_leaves_the_step_to_others(stage: Stage) -> None:
    """It cannot run it, and fails nothing that another one can run: not even where it has but one attempt."""
    first = stage.worker({"make": make, "measure": measure})
    stage.supervisor()
    nodes = waiting({**MEASURE, "retry": {"max_attempts": 1}})
    run_id = await stage.client.submit(await stage.register(*nodes), len(LARGE))
    await lose(stage, run_id)
    applied = first.applied
    await stage.client.signal(run_id, "go")

    async def given_back() -> int:
        return first.applied - applied

    await until(given_back, lambda count: count >= 3)  # the signal, and the step at least once
    stage.worker({"make": make, "measure": measure}, database_url=stage.place.database_url)
    result = await stage.result(run_id)
    assert (result.status, result.output) == ("COMPLETED", {"measure": len(LARGE)})


async def test_where_no_worker_has_postgres_the_step_fails(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while. It says which payload is missing, and what to do."""
    monkeypatch.setattr(bringing, "ELSEWHERE_S", 0.5)
    stage.worker({"make": make, "measure": measure})
    stage.supervisor()
    nodes = waiting({**MEASURE, "retry": {"max_attempts": 1}})
    run_id = await stage.client.submit(await stage.register(*nodes), len(LARGE))
    await lose(stage, run_id)
    await stage.client.signal(run_id, "go")
    result = await stage.result(run_id)
    assert result.error is not None
    assert (result.status, result.error["type"]) == ("FAILED", "PAYLOAD_MISSING")
    assert result.error["message"].endswith("no worker has looked in Postgres: set database_url for this worker")


async def test_the_output_of_a_run_is_made_from_postgres(stage: Stage) -> None:
    """What ends a run reads it there, too."""
    stage.worker({"make": make})
    stage.supervisor()
    workflow = await stage.register(*waiting(), output="size(steps.big.output)")
    run_id = await stage.client.submit(workflow, len(LARGE))
    await lose(stage, run_id)
    await stage.client.signal(run_id, "go")
    result = await stage.result(run_id)
    assert (result.status, result.output) == ("COMPLETED", len(LARGE))


async def test_a_run_whose_results_cannot_be_gathered_is_halted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker tries; after as many as a token is given to, somebody has to look."""
    tries: list[str] = []

    async def collect(_bringer: Bringer, work: Work) -> tuple[int, bytes]:
        tries.append(work.key)
        raise PayloadMissing("a result is gone or damaged")

    monkeypatch.setattr(Bringer, "collect", collect)
    monkeypatch.setattr(map_nodes, "CHUNK_MAX", 2)
    stage.worker(lease_ms=1_000, deliveries_max=3)
    stage.supervisor(lease_ms=1_000)
    nodes: list[dict[str, Any]] = [
        {"id": "m", "type": "map", "config": {"items": "[1, 2, 3]"}},
        {"id": "a", "type": "noop", "depends_on": ["m"]},
        {"id": "all", "type": "aggregate", "depends_on": ["a"]},
    ]
    run_id = await stage.client.submit(await stage.register(*nodes), 0)
    run = stage.client.keys.partition(0).run(run_id)
    await until(lambda: stage.redis.hget(run, "h"), lambda head: head is not None and head[:1] == b"H")
    assert len(tries) == 3
