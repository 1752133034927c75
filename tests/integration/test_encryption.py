"""With a key ring no payload can be read from Redis or from the log, and everything works as before."""

from __future__ import annotations

from typing import Any

import pytest

from courante import Context
from courante.sdk.errors import ArtifactNotFound
from courante.sdk.sealing.key_ring import KeyRing
from courante.sdk.sealing.payload_terms import PAYLOAD_TERMS
from integration.bundles import exported, verified
from integration.stage import Stage
from integration.standing_text import places_of

pytestmark = pytest.mark.anyio
CANARY = "canary-93c1f04b"
OLD, NEW = b"o" * 64, b"n" * 64


async def work(given: dict[str, Any], context: Context) -> dict[str, Any]:
    return {"kept": given["text"], "file": await context.artifact(given["text"].encode(), "text/plain")}


NODES: list[dict[str, Any]] = [
    {"id": "a", "type": "function", "config": {"handler": "work"}},
    {
        "id": "b",
        "type": "conditional",
        "depends_on": "a",
        "config": {"rules": [{"when": "output.kept.startsWith('canary')", "next": "c"}], "default": "d"},
    },
    {"id": "c", "type": "signal", "config": {"name": "go"}},
    {"id": "d", "type": "noop"},
    {
        "id": "e",
        "type": "transform",
        "depends_on": "c",
        "config": {"expression": "steps.a.output.kept + steps.c.output.value"},
    },
]


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"old": OLD}))


async def test_payloads_at_rest_cannot_be_read(stage: Stage, ring: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs, outputs, values of signals and artifacts; after a change of keys all of them can still be used."""
    stage.worker({"work": work})
    stage.supervisor()
    run_id = await stage.client.submit(await stage.register(*NODES), {"text": CANARY})
    await stage.client.signal(run_id, "go", {"value": CANARY})
    done = await stage.result(run_id)
    assert done.output == {"e": CANARY + CANARY}
    assert await places_of(stage, CANARY) == []
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"new": NEW, "old": OLD}))
    (found,) = await stage.client.artifacts.of_run(run_id)
    assert found.artifact.size_bytes == len(CANARY)
    assert await stage.client.artifacts.read(found.artifact.digest) == CANARY.encode()
    await stage.forget(run_id)
    assert (await stage.client.result(run_id)).output == {"e": CANARY + CANARY}
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"new": NEW}))
    with pytest.raises(ArtifactNotFound):
        await stage.client.artifacts.read(found.artifact.digest)


async def test_bundles_stay_encrypted(stage: Stage, ring: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has the key checks every decision, who has not all the rest."""
    stage.worker({"work": work})
    stage.supervisor()
    run_id = await stage.client.submit(await stage.register(*NODES), {"text": CANARY})
    await stage.client.signal(run_id, "go", {"value": CANARY})
    await stage.client.wait(run_id, timeout_s=60, is_recorded=True)
    async with stage.client.pool.acquire() as conn:
        lines = await exported(conn, stage.place.env, [run_id])
    assert CANARY.encode() not in b"".join(lines)
    told = await verified(lines)
    assert (told.ok, told.unchecked, told.decisions > 0) == (True, 0, True)
    for codec in (None, KeyRing({"new": NEW})):
        monkeypatch.setattr(PAYLOAD_TERMS, "codec", codec)
        told = await verified(lines)
        assert (told.ok, told.unchecked > 0) == (True, True), told.bad


async def test_a_worker_without_the_key_fails_the_step(
    stage: Stage, ring: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what it cannot read."""
    stage.supervisor()
    workflow = await stage.register({"id": "a", "type": "noop", "max_retries": 0})
    run_id = await stage.client.submit(workflow, {"text": CANARY})
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"new": NEW}))
    stage.worker()
    done = await stage.result(run_id)
    assert done.error is not None
    assert done.error["type"] == "PAYLOAD_MISSING"
    assert "no key 'old'" in done.error["message"]
