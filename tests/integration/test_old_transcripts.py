"""What an agent was told stays for whoever goes on with it, however long nobody does."""

from __future__ import annotations

import anyio
import pytest

from courante.sdk.authoring.steps import Steps
from courante.sdk.sealing.key_ring import KeyRing
from courante.sdk.sealing.payload_terms import PAYLOAD_TERMS
from courante.supervisor.retention.collector import Collector
from courante.supervisor.retention.forgetting import Forgetting
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
DAY_S = 86_400.0
SCRIPT = [*({"tools": [{"name": "look", "arguments": {"page": page}}]} for page in (1, 2)), "Done."]
AGENT = {
    "id": "a",
    "type": "agent",
    "config": {"provider": "echo", "prompt": "Find tea.", "tools": ["look"], "echo": SCRIPT},
}


async def sweep(stage: Stage, *, hot_s: float = 0) -> None:
    """Nobody has used for two days what is in Postgres."""
    async with stage.client.pool.acquire() as conn:
        query = "UPDATE payloads SET used_at = now() - make_interval(secs => $2) WHERE env = $1"
        await conn.execute(query, stage.place.env, 2 * DAY_S)
    await Collector(stage.redis, stage.client.pool, stage.client.keys, hot_s=hot_s, keep_s=DAY_S).sweep()


@pytest.mark.parametrize("is_read", [False, True], ids=["all of it is cold", "its transcript is in Redis"])
@pytest.mark.parametrize("ring", [None, KeyRing({"key": b"k" * 64})], ids=["clear", "sealed"])
async def test_an_agent_goes_on_after_days(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, ring: KeyRing | None, is_read: bool
) -> None:
    """Its transcript names payloads that nothing else does: no event, no artifact, no value of its run."""
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", ring)
    began, asked = anyio.Event(), list[int]()

    async def look(page: int) -> str:
        asked.append(page)
        if page == 2 and not began.is_set():
            began.set()
            await anyio.sleep_forever()
        return f"page {page} " * 20_000

    steps = Steps()
    steps.tools.add(look, "look")
    keys = stage.client.keys
    stage.worker(steps, lease_ms=1_000, database_url=stage.place.database_url)
    stage.supervisor(lease_ms=1_000)
    run_id = await stage.client.submit(await stage.register(AGENT))
    await began.wait()

    async def address() -> str:
        """Of the transcript, with the second turn of the model."""
        fields = await stage.redis.hgetall(keys.partition(0).run(run_id))
        details = next((PAYLOAD_TERMS.decode(value) for name, value in fields.items() if name.startswith(b"d")), b"")
        found = details[15:47].decode()
        stored = await stage.redis.get(keys.blob(found)) if found else None
        return found if stored is not None and b'"turns":2' in PAYLOAD_TERMS.decode(stored) else ""

    transcript = await until(address, bool)
    await stage.kill(0)
    content = await stage.redis.get(keys.blob(transcript))
    assert content is not None
    await sweep(stage)
    if is_read:
        await stage.redis.set(keys.blob(transcript), content)
    await sweep(stage, hot_s=3_600)
    stage.worker(steps, lease_ms=1_000, database_url=stage.place.database_url)
    output = (await stage.result(run_id)).output["a"]
    assert (output["answer"], output["turns"], asked) == ("Done.", 3, [1, 2, 2])
    assert [each["result"] for each in output["calls"]] == ["page 1 " * 20_000, "page 2 " * 20_000]


async def test_a_forgotten_run_leaves_nothing_of_its_talk(stage: Stage) -> None:
    """Neither in Redis nor, once it was put there, in Postgres. What a run that goes on has in common with it stays."""
    steps, gate = Steps(), anyio.Event()
    heard = list[int]()

    async def look(page: int) -> str:
        heard.append(page)
        if len(heard) == 6:
            await gate.wait()
        return f"page {page} " * 20_000

    steps.tools.add(look, "look")
    stage.worker(steps, database_url=stage.place.database_url)
    stage.supervisor()
    workflow = await stage.register(AGENT)
    client, keys = stage.client, stage.client.keys
    gone = await stage.run(workflow)
    cooled = await stage.run(workflow, {"other": "x" * 2_000})
    await sweep(stage)
    alive = await client.submit(workflow)

    async def count_heard() -> int:
        return len(heard)

    await until(count_heard, lambda count: count == 6)

    async def left() -> set[str]:
        blobs = {key.decode().rpartition(":")[2] async for key in stage.redis.scan_iter(keys.blob("*"))}
        async with client.pool.acquire() as conn:
            rows = await conn.fetch("SELECT digest FROM payloads WHERE env = $1", stage.place.env)
        return blobs | {row[0].hex() for row in rows}

    talk = {
        run: {one.decode() for one in await stage.redis.smembers(keys.partition(0).talk(run))}
        for run in (gone.run_id, cooled.run_id, alive)
    }
    assert all(len(each) >= 3 for each in talk.values())
    await Forgetting(stage.redis, client.pool, keys).forget([gone.run_id, cooled.run_id])
    assert await left() & (talk[gone.run_id] | talk[cooled.run_id]) <= talk[alive]
    gate.set()
    assert (await stage.result(alive)).output["a"]["turns"] == 3
    assert len(heard) == 6
