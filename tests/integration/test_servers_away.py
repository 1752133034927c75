"""Servers that are really away for a while: what is accepted, what waits, what is refused, and that all goes on."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import pytest

from courante.runner import lane
from courante.runner.worker import Worker
from courante.sdk.access.scopes import Scope
from courante.sdk.authoring.steps import Steps
from courante.sdk.client import submitting
from courante.sdk.client.client import Client
from courante.sdk.errors import ServiceUnavailable
from courante.sdk.stores.commands import insert_starts
from courante.supervisor import supervisor
from courante.supervisor.recording.recorder import RecorderSettings
from integration.api_asking import asking
from integration.house import House, open_house
from integration.journal import GATED, LONG, Journal
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
SOFT = 6
PATIENCE_S = 0.3


@pytest.fixture(autouse=True)
async def _cut_off_copies() -> None:
    """A COPY whose connection is cut off leaves a future of asyncpg's own, whose error nobody can fetch."""
    loop = asyncio.get_running_loop()
    tell = loop.get_exception_handler()
    assert tell is not None

    def hear(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), asyncpg.PostgresConnectionError):
            tell(loop, context)

    loop.set_exception_handler(hear)


@asynccontextmanager
async def impatient(stage: Stage) -> AsyncGenerator[Client]:
    """A client that does not wait for long."""
    place = stage.place
    async with Client.open(
        redis_url=place.redis_url, database_url=place.database_url, env=place.env, patience_s=PATIENCE_S
    ) as client:
        yield client


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as made:
        yield made


async def test_postgres_is_away(house: House) -> None:
    """F41: what runs goes on; a submission waits, and is refused in the end; commands are refused at once."""
    stage, journal = house.stage, Journal()
    stage.worker(journal.steps())
    stage.supervisor()
    workflow = await stage.register(*GATED)
    first = await stage.client.submit(workflow, 1)
    await until(journal.count, lambda made: made == 2)
    async with impatient(stage) as client:
        await house.postgres.stop()
        journal.gate.set()
        await until(journal.count, lambda made: made == 3)
        with pytest.raises(ServiceUnavailable, match=r"Postgres is away, and was waited for 0.3 s: ") as refused:
            await client.submit(workflow, 2, key="once")
        assert "with the same key" in refused.value.hint
        with pytest.raises(ServiceUnavailable, match="Postgres is away: ") as refused:
            await client.cancel(first)
        assert "'courante health'" in refused.value.hint
        accepted: list[str] = []

        async def submit() -> None:
            accepted.append(await stage.client.submit(workflow, 3))

        async with anyio.create_task_group() as group:
            group.start_soon(submit)
            await house.postgres.start()
        again = await client.submit(workflow, 2, key="once")
        assert await client.submit(workflow, 2, key="once") == again
    results = await stage.results([first, *accepted, again])
    assert [result.output for result in results] == [{"b": 1}, {"b": 3}, {"b": 2}]
    assert await stage.commands() == 3


async def test_a_commit_in_doubt_starts_one_run(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """F46: the answer to the commit was lost with the connection; the same start is asked for again, not another."""
    stage, journal = house.stage, Journal()
    stage.worker(journal.steps())
    stage.supervisor()
    workflow = await stage.register(GATED[0])
    lost: list[object] = []

    async def lose_the_first(conn: Any, commands: Any) -> Any:
        verdicts = await insert_starts(conn, commands)
        if not lost:
            lost.append(verdicts)
            raise asyncpg.ConnectionDoesNotExistError
        return verdicts

    monkeypatch.setattr(submitting, "insert_starts", lose_the_first)
    run_id = await stage.client.submit(workflow, 1)
    assert lost
    assert (await stage.result(run_id)).status == "COMPLETED"
    assert (await stage.commands(), journal.made[1, "a"]) == (1, 1)


async def test_redis_is_away(house: House) -> None:
    """A start is accepted by Postgres alone, and made when Redis is back; so is what was under way."""
    stage, journal = house.stage, Journal()
    stage.worker(journal.steps())
    stage.supervisor()
    workflow = await stage.register(*GATED)
    first = await stage.client.submit(workflow, 1)
    await until(journal.count, lambda made: made == 2)
    house.redis.kill()
    second = await stage.client.submit(workflow, 2)
    assert await stage.commands() == 2
    assert (await stage.client.result(second)).status == "PENDING"
    journal.gate.set()
    await house.redis.start()
    results = await stage.results([first, second])
    assert [result.output for result in results] == [{"b": 1}, {"b": 2}]


async def test_what_is_accepted_is_answered_so(house: House) -> None:
    """Over the API, where nothing of the run can be read; who asks again with the same key gets the same run."""
    stage = house.stage
    workflow = await stage.register(GATED[0])
    await stage.client.submit(workflow, 0)
    house.redis.kill()
    async with asking(stage.client, Scope.SUBMIT) as api:
        body, keyed = {"workflow": workflow, "input": 1}, {"Idempotency-Key": "k"}
        first, again = [await api.post("/v1/runs", json=body, headers=keyed) for _ in range(2)]
        assert (first.status_code, first.json()["status"]) == (201, "PENDING")
        assert (again.status_code, again.json()) == (201, first.json())
        old = await api.post("/runs", json={"workflow_id": workflow, "input": 1}, headers=keyed)
        assert (old.status_code, old.json()["id"]) == (201, first.json()["run_id"])
        assert await stage.commands() == 2


async def test_over_the_soft_limit_no_step_begins(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """F42: nobody records, so the outbox grows; what is at hand ends, nothing new is taken, and then it drains."""
    monkeypatch.setattr(lane, "HELD_BACK_S", 0.05)
    monkeypatch.setattr(supervisor, "RecorderSettings", partial(RecorderSettings, trim_delay_ms=50))
    journal, steps = Journal(), Steps()
    for name, function in journal.steps().items():
        steps.add(function, name)
    place = stage.place
    worker = Worker(redis_url=place.redis_url, env=place.env, steps=steps, concurrency=1, outbox_soft_max=SOFT)
    workflow = await stage.register(*LONG)
    partition = stage.client.keys.partition(0)
    ids = [await stage.client.submit(workflow, number) for number in range(5)]
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        made = -1
        while made != await journal.count():
            made, calls = await journal.count(), worker.calls
            await until(partial(calls_of, worker), partial(operator.le, calls + 6))
        assert await stage.redis.xlen(partition.outbox) > SOFT
        assert await stage.redis.xlen(partition.queue("default:normal")) > 0, "there is work that is not taken"
        stage.supervisor()
        results = await stage.results(ids)
        assert [result.output for result in results] == [{"e": number} for number in range(5)]
        worker.stop()


async def calls_of(worker: Worker) -> int:
    """It looks again and again whether it may go on, so that they grow."""
    return worker.calls
