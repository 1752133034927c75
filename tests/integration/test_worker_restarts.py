"""Servers die under workers and supervisors in the middle of runs, and every run still ends once, with a whole log."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import pytest
from redis.exceptions import RedisError

from courante.sdk.client.client import Submission
from courante.sdk.embedded import hold, shut_down
from courante.sdk.stores.migrate import migrate
from integration.stage import Place, Stage, open_stage, until

pytestmark = pytest.mark.anyio
RUNS = 200
NODES: list[dict[str, object]] = [
    {"id": "a", "type": "noop"},
    {"id": "s1", "type": "sleep", "depends_on": ["a"], "config": {"for": "1ms"}},
    {"id": "s5", "type": "sleep", "depends_on": ["a"], "config": {"for": "5ms"}},
    {"id": "s20", "type": "sleep", "depends_on": ["a"], "config": {"for": "20ms"}},
    {"id": "w", "type": "wait", "depends_on": ["a"], "config": {"for": "30ms"}},
    {"id": "j", "type": "function", "depends_on": ["s1", "s5", "s20", "w"], "config": {"handler": "count"}},
    {"id": "z", "type": "noop", "depends_on": ["j"]},
]
STEPS = {"a", "s1", "s5", "s20", "w", "j", "z"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Servers that may be killed: nobody else uses them."""
    path = tmp_path_factory.mktemp("killed")
    with hold(path, linger_s=0) as held:
        yield Place(held.servers.redis_url, held.servers.database_url, "")
    shut_down(path)
    shutil.rmtree(path)


async def kill_redis(stage: Stage) -> None:
    """kill -9, and wait until the keeper has started another one."""
    before = int((await stage.redis.info("server"))["process_id"])
    os.kill(before, signal.SIGKILL)

    async def following() -> int:
        try:
            return int((await stage.redis.info("server"))["process_id"])
        except (RedisError, OSError):
            return before

    await until(following, lambda pid: pid != before)


async def kill_postgres(stage: Stage) -> None:
    """An immediate shutdown, as in a crash, and wait until the keeper has started another one."""
    async with stage.client.pool.acquire() as conn:
        folder = Path(str(await conn.fetchval("SELECT current_setting('data_directory')")))
    before = (folder / "postmaster.pid").read_text().split()[0]
    os.kill(int(before), signal.SIGQUIT)

    async def answers() -> bool:
        try:
            conn = await asyncpg.connect(stage.place.database_url, timeout=2)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return False
        await conn.close()
        return (folder / "postmaster.pid").read_text().split()[0] != before

    await until(answers, lambda does: does)


@pytest.mark.parametrize("kill", [kill_redis, kill_postgres])
async def test_a_server_dies_in_the_middle_of_many_runs(
    home: Place, env_name: str, kill: Callable[[Stage], Coroutine[Any, Any, None]]
) -> None:
    """Two workers and two supervisors reconnect by themselves; every run ends once, every step counts once."""
    called: dict[str, int] = {}

    async def count(value: dict[str, str]) -> int:
        called[value["s1"]] = called.get(value["s1"], 0) + 1
        await anyio.sleep(0.002)
        return called[value["s1"]]

    connection = await asyncpg.connect(home.database_url)
    await migrate(connection)
    await connection.close()
    async with open_stage(Place(home.redis_url, home.database_url, env_name)) as stage:
        for _ in range(2):
            stage.worker({"count": count})
            stage.supervisor()
        workflow = await stage.register(*NODES)
        many = [Submission(workflow=workflow, input=f"r{number}") for number in range(RUNS)]
        ids = await stage.client.submit_many(many[: RUNS // 2])
        await until(lambda: ended(stage), lambda count: count >= 10)
        async with anyio.create_task_group() as group:
            for run_id in ids[-5:]:
                group.start_soon(stage.result, run_id)
            group.start_soon(kill, stage)
            for run_id in ids[:5]:
                group.start_soon(stage.client.wait, run_id)
        ids += await stage.client.submit_many(many[RUNS // 2 :])
        results = await stage.results(ids, timeout_s=40)
        assert {result.status for result in results} == {"COMPLETED"}
        assert len({result.run_id for result in results}) == RUNS
        for run_id in ids:
            assert sorted(await stage.succeeded(run_id)) == sorted(STEPS)
        assert await until(stage.pending, lambda pending: not pending) == {}
        assert set(called) == {f"r{number}" for number in range(RUNS)}
        assert not any(end.is_set() for end in stage.ends)


async def ended(stage: Stage) -> int:
    async with stage.client.pool.acquire() as conn:
        query = "SELECT count(*) FROM runs WHERE env = $1 AND finished_at IS NOT NULL"
        return int(await conn.fetchval(query, stage.place.env))
