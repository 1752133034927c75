"""Runs are forgotten by the age of their workflow, and no archive that is put back brings back what they have said."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from courante import Context
from courante.replay import verify_run
from courante.sdk.stores.forgetting import read_forgotten
from courante.supervisor.retention.collector import Collector
from courante.supervisor.retention.forgetting import Forgetting
from courante.supervisor.retention.policy import Policy
from courante.supervisor.retention.putting_back import put_back
from courante.supervisor.retention.retention import Retention
from integration.stage import Stage
from integration.standing_text import places_of

pytestmark = pytest.mark.anyio
LATER = timedelta(days=400)


@pytest.fixture
def migrated_database(own_migrated_database: str) -> str:
    """A database of its own: months are of all environments."""
    return own_migrated_database


async def big(given: Any, context: Context) -> Any:
    word = given["name"]
    return {"file": await context.artifact(f"picture of {word}".encode(), "image/png"), "text": word * 5_000}


async def test_what_was_forgotten_does_not_come_back(stage: Stage, tmp_path: Path) -> None:
    """Its events do, and hold together; other runs of the month come back whole."""
    stage.supervisor()
    stage.worker({"big": big}, database_url=stage.place.database_url)
    await stage.register({"id": "a", "type": "function", "config": {"handler": "big"}})
    gone = (await stage.run("w", {"name": "marker-ann"})).run_id
    stays = (await stage.run("w", {"name": "marker-bob"})).run_id
    output = (await stage.client.result(stays)).output
    pool, keys = stage.client.pool, stage.client.keys
    policy = Policy(log=timedelta(days=30), archive=tmp_path)
    done = await Retention(stage.redis, pool, keys, policy, now=datetime.now(UTC) + LATER).carry_out()
    await Forgetting(stage.redis, pool, keys).forget([gone])
    (path,) = [tmp_path / one.file for one in done.archives if one.events]
    await put_back(pool, path)
    async with pool.acquire() as conn:
        await Collector(stage.redis, pool, keys).delete_given_up(conn)
        places = await places_of(stage, "marker-ann")
        assert [place for place in places if not place.endswith(":outbox")] == []  # it is let go in its time
        assert (await verify_run(conn, stage.place.env, gone)).first_difference is None
        assert (await verify_run(conn, stage.place.env, stays)).first_difference is None
    assert json.dumps((await stage.client.result(stays)).output) == json.dumps(output)
    (artifact,) = await stage.client.artifacts.of_run(stays)
    assert await stage.client.artifacts.read(artifact.artifact.digest) == b"picture of marker-bob"


async def test_a_workflow_may_have_an_age_of_its_own(stage: Stage) -> None:
    """Shorter or longer than that of all others; it is remembered that the policy has forgotten."""
    month = timedelta(days=30)
    stage.supervisor()
    stage.worker()
    for workflow in ("w", "other"):
        await stage.register({"id": "a", "type": "noop"}, id=workflow)
    run_id, other = (await stage.run("w", 1)).run_id, (await stage.run("other", 1)).run_id
    pool, keys, now = stage.client.pool, stage.client.keys, datetime.now(UTC) + LATER
    longer = Policy(payloads=month, payloads_of={"w": 2 * LATER})
    alone = Policy(payloads_of={"w": month, "gone": month})
    for policy, forgotten in ((longer, {other}), (alone, {other, run_id})):
        retention = Retention(stage.redis, pool, keys, policy, now=now)
        assert ((await retention.plan()).payloads, (await retention.carry_out()).payloads) == (1, 1)
        async with pool.acquire() as conn:
            found = await read_forgotten(conn, [run_id, other])
        assert {one.by for one in found.values()} == {"policy"}
        assert found.keys() == forgotten
