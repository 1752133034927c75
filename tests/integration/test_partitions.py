"""Several partitions: what one of them loses does not disturb the others."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from courante.runner.worker import Worker
from courante.sdk.authoring.steps import Steps
from courante.sdk.client.client import Client, Submission
from courante.sdk.connections import connect_redis
from courante.sdk.stores.runs import get_run
from courante.supervisor.supervisor import Supervisor
from integration.floor import compile_document
from integration.journal import GATED, Journal
from integration.stage import PATIENCE_S, Place, until

pytestmark = pytest.mark.anyio
PARTITIONS = 4
RUNS = 40


async def test_one_of_four_loses_everything(place: Place) -> None:
    """It is rebuilt in an epoch of its own; the runs of the others keep theirs, and no step of them is made again."""
    journal, redis = Journal(), connect_redis(place.redis_url)
    steps = Steps()
    for name, function in journal.steps().items():
        steps.add(function, name)
    client = Client.open(
        redis_url=place.redis_url, database_url=place.database_url, env=place.env, partitions=PARTITIONS
    )
    worker = Worker(redis_url=place.redis_url, env=place.env, partitions=range(PARTITIONS), steps=steps)
    supervisor = Supervisor(
        redis_url=place.redis_url, database_url=place.database_url, env=place.env, partitions=PARTITIONS
    )
    async with client, anyio.create_task_group() as group:
        await client.prepare()
        group.start_soon(worker.run)
        group.start_soon(supervisor.run)
        workflow, ir = compile_document({"courante": 1, "id": "w", "nodes": GATED})
        await client.register(workflow, ir)
        ids = await client.submit_many([Submission(workflow="w", input=number) for number in range(RUNS)])
        await until(journal.count, lambda made: made == 2 * RUNS)
        partitions = [client.keys.partition(number) for number in range(PARTITIONS)]
        await until(partial(is_recorded, client), bool)
        lost = partitions[2]
        names = [key async for key in redis.scan_iter(match=f"{lost.base}*")]
        await redis.delete(*names)
        await until(lambda: redis.hget(lost.meta, "epoch"), lambda epoch: epoch == b"2")
        epochs = [await redis.hget(keys.meta, "epoch") for keys in partitions]
        assert epochs == [b"1", b"1", b"2", b"1"]
        journal.gate.set()
        results = [await client.wait(run_id, timeout_s=PATIENCE_S, is_recorded=True) for run_id in ids]
        assert [result.output for result in results] == [{"b": number} for number in range(RUNS)]
        async with client.pool.acquire() as conn:
            homes = [(await get_run(conn, run_id)).partition for run_id in ids]
        assert set(homes) == set(range(PARTITIONS))
        for number, home in enumerate(homes):
            assert journal.made[number, "a"] == 1, "what was recorded is not made again, wherever it is"
            assert journal.made[number, "g"] == (2 if home == 2 else 1)
        worker.stop()
        supervisor.stop()
    await redis.aclose()


async def is_recorded(client: Client) -> bool:
    """Whether the log has all that the partitions have said."""
    found = (await client.health()).vitals.redis
    return found is not None and all(one.lag_ms == 0 for one in found.partitions)


async def test_child_runs_live_in_the_partition_of_their_parent(place: Place) -> None:
    """So one supervisor's pass sees both; the runs themselves go wherever their ids say."""
    redis_url, database_url, env = place.redis_url, place.database_url, place.env
    client = Client.open(redis_url=redis_url, database_url=database_url, env=env, partitions=PARTITIONS)
    worker = Worker(redis_url=redis_url, env=env, partitions=range(PARTITIONS), steps=Steps())
    supervisor = Supervisor(redis_url=redis_url, database_url=database_url, env=env, partitions=PARTITIONS)
    async with client, anyio.create_task_group() as group:
        await client.prepare()
        group.start_soon(worker.run)
        group.start_soon(supervisor.run)
        inner = {"courante": 1, "id": "inner", "nodes": [{"id": "n", "type": "noop"}]}
        step = {"id": "child", "type": "subflow", "config": {"workflow": "inner"}}
        for document in (inner, {"courante": 1, "id": "outer", "nodes": [step]}):
            await client.register(*compile_document(document))
        ids = await client.submit_many([Submission(workflow="outer", input=number) for number in range(8)])
        for number, run_id in enumerate(ids):
            result = await client.wait(run_id, timeout_s=PATIENCE_S, is_recorded=True)
            assert result.output == {"child": {"n": number}}
        async with client.pool.acquire() as conn:
            rows = await conn.fetch(
                "SELECT p.partition AS home, r.partition FROM children c JOIN runs r USING (run_id)"
                " JOIN runs p ON p.run_id = c.parent_run_id WHERE c.env = $1",
                place.env,
            )
        assert len(rows) == len(ids)
        assert all(row["home"] == row["partition"] for row in rows)
        assert len({row["home"] for row in rows}) > 1
        worker.stop()
        supervisor.stop()
