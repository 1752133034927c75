"""Payloads of an environment with a key ring are not deleted by a supervisor that cannot read what names them."""

from __future__ import annotations

from typing import Any

import pytest

from courante.sdk.sealing.key_ring import KeyRing
from courante.sdk.sealing.payload_terms import PAYLOAD_TERMS
from courante.supervisor.retention.collector import Collector
from integration.stage import Stage

pytestmark = pytest.mark.anyio
DAY_S = 86_400.0
OLD, NEW = b"o" * 64, b"n" * 64
NODE = {"id": "a", "type": "function", "config": {"handler": "draw"}}


async def draw(value: Any, context: Any) -> Any:
    return {"picture": await context.artifact(f"picture {value}".encode(), "image/png")}


async def sweep_for_days(stage: Stage) -> None:
    """Nobody uses anything for two days, and for two more after it has left Redis."""
    for _ in range(2):
        async with stage.client.pool.acquire() as conn:
            query = "UPDATE payloads SET used_at = now() - make_interval(secs => $2) WHERE env = $1"
            await conn.execute(query, stage.place.env, 2 * DAY_S)
        await Collector(stage.redis, stage.client.pool, stage.client.keys, hot_s=0, keep_s=DAY_S).sweep()


@pytest.mark.parametrize("ring", [None, KeyRing({"new": NEW})], ids=["none", "another"])
async def test_a_supervisor_without_the_key_deletes_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, ring: KeyRing | None
) -> None:
    """The artifact is named inside of an output that it cannot read, and can be read by who has the key."""
    key = KeyRing({"old": OLD})
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", key)
    stage.worker({"draw": draw})
    stage.supervisor()
    done = await stage.run(await stage.register(NODE), 7)
    await stage.forget(done.run_id)
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", ring)
    await sweep_for_days(stage)
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", key)
    await sweep_for_days(stage)
    (found,) = await stage.client.artifacts.of_run(done.run_id)
    assert await stage.client.artifacts.read(found.artifact.digest) == b"picture 7"
