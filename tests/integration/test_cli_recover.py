"""``courante recover``: what it would do, what it has done, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from command_line import Said, spawn
from courante.sdk.client.client import Submission
from integration.backups import PostgresCopy, keep_redis, set_redis_back, wipe_redis
from integration.journal import GATED, Journal
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
FIELDS = set(
    """
    partition verdict reason action epoch is_rebuilt events_drained entries_set_aside runs tokens halted payloads
    payloads_missing starts_applied seconds
    """.split()
)


@pytest.fixture
async def gated(stage: Stage, tmp_path: Path) -> tuple[Stage, Journal, list[str]]:
    """Ten runs inside of a step, everything about them in the log, and no supervisor."""
    journal = Journal()
    stage.worker(journal.steps())
    supervisor = stage.supervisor()
    await stage.register(*GATED)
    ids = await stage.client.submit_many([Submission(workflow="w", input=number) for number in range(10)])
    await until(journal.count, lambda made: made == 20)
    supervisor.stop()
    await stage.ends[1].wait()
    return stage, journal, ids


async def recover(stage: Stage, *argv: str, cwd: Path) -> Said:
    place = stage.place
    environ = {
        "COURANTE_REDIS_URL": place.redis_url,
        "COURANTE_DATABASE_URL": place.database_url,
        "COURANTE_ENV": place.env,
    }
    return await anyio.to_thread.run_sync(lambda: spawn("recover", *argv, cwd=cwd, environ=environ))


async def only(stage: Stage, *argv: str, cwd: Path) -> dict[str, Any]:
    """What is said of the one partition."""
    said = await recover(stage, *argv, "--json", cwd=cwd)
    assert said.code == 0, said
    (found,) = said.json["partitions"]
    return dict(found)


async def test_what_is_lost_is_rebuilt_by_hand(gated: tuple[Stage, Journal, list[str]], tmp_path: Path) -> None:
    """The dry run says it and changes nothing; then it is done, and the runs go on to their end."""
    stage, journal, ids = gated
    await wipe_redis(stage.redis, stage.place.env)
    late = await stage.client.submit("w", 10)
    expected = await only(stage, "--dry-run", cwd=tmp_path)
    assert (expected["action"], expected["verdict"], expected["runs"]) == ("would_recover", "lost", 10)
    assert not await stage.redis.exists(stage.client.keys.partition(0).run(ids[0]))
    done = await only(stage, cwd=tmp_path)
    assert set(done) == FIELDS
    assert (done["action"], done["runs"], done["tokens"], done["starts_applied"]) == ("recovered", 10, 10, 1)
    assert (done["epoch"], done["is_rebuilt"], done["halted"]) == (2, True, 0)
    again = await only(stage, cwd=tmp_path)
    assert (again["action"], again["verdict"], again["epoch"]) == ("none", "sound", 2)
    said = await recover(stage, cwd=tmp_path)
    assert said.out == "✓ partition 0: Redis goes on where the log is; nothing was done\n"
    journal.gate.set()
    stage.supervisor()
    assert [result.output for result in await stage.results([*ids, late])] == [{"b": number} for number in range(11)]


async def test_what_stands_well_is_rebuilt_when_forced(gated: tuple[Stage, Journal, list[str]], tmp_path: Path) -> None:
    """What is at hand becomes void, and is done again."""
    stage, journal, ids = gated
    said = await recover(stage, "--force", cwd=tmp_path)
    told = "✓ partition 0: Redis goes on where the log is\n    open in epoch 2 after SPAN: 10 runs rebuilt\n"
    assert said.stable.startswith(told)
    await until(journal.count, lambda made: made == 30)
    journal.gate.set()
    stage.supervisor()
    assert {result.status for result in await stage.results(ids)} == {"COMPLETED"}


async def test_a_postgres_that_was_set_back_is_refused(gated: tuple[Stage, Journal, list[str]], tmp_path: Path) -> None:
    """F55: which entries are missing and since when; nothing is done before somebody accepts the loss."""
    stage, journal, ids = gated
    copy = PostgresCopy(stage.place.env)
    async with stage.client.pool.acquire() as conn:
        await copy.keep(conn)
    supervisor = stage.supervisor()
    journal.gate.set()
    assert {result.status for result in await stage.results(ids)} == {"COMPLETED"}
    late = await stage.client.submit("w", 11)
    await stage.result(late)
    await until(lambda: stage.redis.xlen(stage.client.keys.partition(0).outbox), lambda length: length == 1)
    supervisor.stop()
    await stage.ends[2].wait()
    meta = await stage.redis.hgetall(stage.client.keys.partition(0).meta)
    async with stage.client.pool.acquire() as conn:
        await copy.set_back(conn)
    said = await recover(stage, "--json", cwd=tmp_path)
    assert said.code == 2
    error = said.json["error"]
    assert error["code"] == "service_unavailable"
    assert "Postgres was set back" in error["message"]
    assert "--accept-loss" in error["hint"]
    assert await stage.redis.hgetall(stage.client.keys.partition(0).meta) == meta
    done = await only(stage, "--accept-loss", cwd=tmp_path)
    assert (done["action"], done["runs"], done["starts_applied"]) == ("recovered", 10, 1)
    assert done["entries_set_aside"] == 1
    stage.supervisor()
    assert [result.output for result in await stage.results([*ids, late])] == [
        *({"b": number} for number in range(10)),
        {"b": 11},
    ]


async def test_a_partition_that_is_not_there(stage: Stage, tmp_path: Path) -> None:
    said = await recover(stage, "--partition", "7", "--json", cwd=tmp_path)
    assert (said.code, said.json["error"]["code"]) == (64, "no_such_partition")


async def test_a_redis_that_was_set_back(gated: tuple[Stage, Journal, list[str]], tmp_path: Path) -> None:
    """F25: what an older copy knows otherwise than the log is set aside, and kept for a while."""
    stage, journal, ids = gated
    kept = await keep_redis(stage.redis, stage.place.env)
    supervisor = stage.supervisor()
    journal.gate.set()
    await stage.results(ids[:5])
    supervisor.stop()
    await stage.ends[2].wait()
    await set_redis_back(stage.redis, stage.place.env, kept)
    done = await only(stage, cwd=tmp_path)
    assert done["verdict"] == "lost"
    stage.supervisor()
    assert [result.output for result in await stage.results(ids)] == [{"b": number} for number in range(10)]
