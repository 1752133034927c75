"""Artifacts that are older than the policy go before the runs that name them, and whoever asks for one is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from courante import Context
from courante.replay import verify_run
from courante.sdk.errors import ArtifactGone, NotRestartable
from courante.sdk.sealing.key_ring import KeyRing
from courante.sdk.sealing.payload_terms import PAYLOAD_TERMS
from courante.supervisor.retention.collector import Collector
from courante.supervisor.retention.policy import Policy
from courante.supervisor.retention.retention import Retained, Retention
from integration.bundles import exported, verified
from integration.http_calls import open_api
from integration.stage import Stage
from integration.test_retention import GOES_ON

pytestmark = pytest.mark.anyio
AGE = timedelta(days=30)
LATER = timedelta(days=31)
CACHE = {"scope": "global", "ttl": "1000d"}


@pytest.fixture
def migrated_database(own_migrated_database: str) -> str:
    return own_migrated_database


async def paint(given: Any, context: Context) -> Any:
    return await context.artifact(f"picture of {given}".encode(), "image/png")


async def wrap(given: Any, context: Context) -> Any:
    """An artifact inside of a payload that is stored apart, and its own text as an output of the same bytes."""
    return {"text": "y" * 20_000, "picture": await context.artifact(f"frame of {given}".encode(), "image/png")}


async def look(given: Any) -> str:
    return str(given["$artifact"])


async def begin(stage: Stage) -> None:
    stage.supervisor()
    stage.worker({"paint": paint, "wrap": wrap, "look": look}, database_url=stage.place.database_url)
    await stage.register(
        {"id": "paint", "type": "function", "config": {"handler": "paint"}, "cache": CACHE},
        {"id": "wrap", "type": "function", "config": {"handler": "wrap"}, "input": "input"},
        {"id": "look", "type": "function", "config": {"handler": "look"}, "depends_on": ["paint"]},
    )


async def cool(stage: Stage) -> None:
    """All payloads leave Redis, as after an hour; so do those that were forgotten there."""
    await Collector(stage.redis, stage.client.pool, stage.client.keys, hot_s=0).sweep()


async def retain(stage: Stage, *, artifacts: timedelta | None = AGE) -> Retained:
    """In a month from now."""
    client, policy = stage.client, Policy(artifacts=artifacts)
    planned = Retention(stage.redis, client.pool, client.keys, policy, now=datetime.now(UTC) + LATER)
    count = (await planned.plan()).artifacts
    done = await planned.carry_out()
    assert (done.artifacts, done.failed) == (count, {})
    return done


async def names(stage: Stage, run_id: str) -> dict[str, str]:
    return {one.node: one.artifact.digest for one in await stage.client.artifacts.of_run(run_id)}


async def age(stage: Stage, *run_ids: str) -> None:
    async with stage.client.pool.acquire() as conn:
        await conn.execute("UPDATE runs SET finished_at = now() - interval '1 day' WHERE run_id = ANY($1)", run_ids)


async def test_old_artifacts_are_dropped_and_their_references_stay(stage: Stage) -> None:
    """Also those inside of payloads that are stored apart; who reads one is told, and the log holds."""
    await begin(stage)
    run_id = (await stage.run("w", "ann")).run_id
    found = await names(stage, run_id)
    assert (await retain(stage)).artifacts == 0  # they are hot
    await cool(stage)
    assert (await retain(stage, artifacts=None)).artifacts == 0
    assert (await retain(stage)).artifacts == 2
    assert (await retain(stage)).artifacts == 0
    assert await names(stage, run_id) == found
    for digest in found.values():
        with pytest.raises(ArtifactGone, match="it was kept for 30d after"):
            await stage.client.artifacts.read(digest)
    async with open_api(stage) as api:
        answer = await api.get(f"/v1/runs/{run_id}/artifacts/{found['paint']}")
        assert (answer.status_code, answer.json()["code"]) == (410, "artifact_gone")
    output = (await stage.client.result(run_id)).output
    assert output["wrap"]["text"] == "y" * 20_000
    async with stage.client.pool.acquire() as conn:
        assert (await verify_run(conn, stage.place.env, run_id)).first_difference is None
        bundle = await exported(conn, stage.place.env, [run_id])
    assert (await verified(bundle)).bad == []
    with pytest.raises(NotRestartable, match="dropped by retention: of paint") as refused:
        await stage.client.rerun(run_id, ["look"])
    assert (refused.value.reason, refused.value.hint) == ("emptied", f"courante rerun {run_id} --from paint")
    again = (await stage.client.rerun(run_id, ["paint"])).run_id
    assert (await stage.result(again)).status == "COMPLETED"
    assert await stage.client.artifacts.read(found["paint"]) == b"picture of ann"


async def test_an_artifact_that_a_younger_run_names_stays(stage: Stage) -> None:
    """Whether it made it as well, or took it from the cache; it goes with that one, and is no hit any more."""
    await begin(stage)
    old = (await stage.run("w", "ann")).run_id
    await cool(stage)
    await age(stage, old)
    found = await names(stage, old)
    client = stage.client
    young = (await stage.run("w", "ann")).run_id
    assert await stage.succeeded(young)  # paint is taken from the cache
    await cool(stage)
    policy = Policy(artifacts=timedelta(hours=12))
    assert (await Retention(stage.redis, client.pool, client.keys, policy).carry_out()).artifacts == 0
    assert await client.artifacts.read(found["paint"]) == b"picture of ann"
    await age(stage, young)
    assert (await Retention(stage.redis, client.pool, client.keys, policy).carry_out()).artifacts == 2
    third = (await stage.run("w", "ann")).run_id
    events = [one for one in await stage.events(third) if one.facts.type == "step.succeeded"]
    assert all(one.facts.reason == "" for one in events)  # what is kept of paint counts no more: it is made again
    assert await client.artifacts.read(found["paint"]) == b"picture of ann"


async def test_an_artifact_stays_while_a_run_is_about_to_go_on_from_its_own(stage: Stage) -> None:
    """The start was accepted and not applied yet; when it is gone, so is the reason."""
    await begin(stage)
    run_id = (await stage.run("w", "ann")).run_id
    await cool(stage)
    stage.supervisors[0].stop()
    await stage.ends[0].wait()
    async with stage.client.pool.acquire() as conn:
        await conn.execute(GOES_ON, run_id)
        assert (await retain(stage)).artifacts == 0
        await conn.execute("DELETE FROM commands WHERE run_id = 'run_wanted'")
        await conn.execute("DELETE FROM retention_marks")
    assert (await retain(stage)).artifacts == 2


async def test_encrypted_artifacts_go_where_there_is_a_key(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one nobody can tell who names them: all stay, and it is said."""
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"k": bytes(range(64))}))
    await begin(stage)
    await stage.run("w", "ann")
    await cool(stage)
    client, now = stage.client, datetime.now(UTC) + LATER
    with monkeypatch.context() as patch:
        patch.setattr(PAYLOAD_TERMS, "codec", None)
        done = await Retention(stage.redis, client.pool, client.keys, Policy(artifacts=AGE), now=now).carry_out()
    assert (done.artifacts, "key" in done.failed["artifacts"]) == (0, True)
    assert (await retain(stage)).artifacts == 2


async def test_only_artifacts_go(stage: Stage) -> None:
    """Bytes that are the payload of an event as well stay."""
    text = "z" * 20_000

    async def twice(given: Any, context: Context) -> Any:
        return {"text": await context.artifact(b'"%s"' % text.encode(), "text/plain")}

    async def say(given: Any) -> str:
        return text

    stage.supervisor()
    stage.worker({"twice": twice, "say": say}, database_url=stage.place.database_url)
    await stage.register(
        {"id": "a", "type": "function", "config": {"handler": "twice"}},
        {"id": "b", "type": "function", "config": {"handler": "say"}},
    )
    run_id = (await stage.run("w")).run_id
    await cool(stage)
    assert (await retain(stage)).artifacts == 0
    assert (await stage.client.result(run_id)).output["b"] == text
