"""An event that cannot be read or stored stands as bytes in its place, and stops nothing but its own run."""

from __future__ import annotations

import base64
from random import Random

import anyio
import asyncpg
import pytest
from redis.asyncio import Redis

from courante.sdk.events import encode_blob, encode_facts
from courante.sdk.stores.connection import Pool
from courante.sdk.stores.log import read_events
from courante.sdk.stores.runs import get_run
from courante.supervisor.recording.recorder import Recorder
from integration.outbox_writer import (
    COMPLETED,
    Event,
    Writer,
    event,
    node_ids,
    started,
    succeeded,
    types,
)

pytestmark = pytest.mark.anyio


POISON: list[tuple[str, Event | bytes]] = [
    ("bytes that are no facts", b'{"type":1}'),
    ("bytes that are no text", b"\xff\xfe"),
    ("a number beyond 64 bits", b'{"type":"step.started","attempt":99999999999999999999}'),
    ("a node with U+0000", event("step.started", "a\x00b", attempt=1)),
    ("a node that no index takes", event("step.started", Random(1).randbytes(9_000).hex(), attempt=1)),
]


@pytest.mark.parametrize("poison", [one for _, one in POISON], ids=[name for name, _ in POISON])
async def test_what_cannot_be_stored_is_quarantined(
    redis: Redis, pool: Pool, env_name: str, writer: Writer, poison: Event | bytes
) -> None:
    """F50: one poisonous event stands as bytes in its place, its run is halted, and everything else goes on."""
    told: list[str] = []

    async def tell(run_id: str) -> None:
        told.append(run_id)

    recorder = Recorder(redis, pool, env_name, 0, node_ids, on_quarantine=tell)
    raw = poison if isinstance(poison, bytes) else encode_facts(poison[0])
    blob = encode_blob(
        [(encode_facts(started()[0]), b"1"), (raw, b'"kept"'), (encode_facts(succeeded("fetch")[0]), b"2")]
    )
    await writer.add({b"run_bad|1|3|": blob}, writer.fields("run_good", [started(), COMPLETED]))
    with anyio.fail_after(10):
        recorded = 0
        while not recorded:
            try:
                recorded = await recorder.record_batch()
            except asyncpg.PostgresError:
                continue
    assert recorded == 5
    await recorder.aclose()
    assert await types(pool, "run_bad") == ["run.started", "event.quarantined", "step.succeeded"]
    assert await types(pool, "run_good") == ["run.started", "run.completed"]
    async with pool.acquire() as conn:
        quarantined = (await read_events(conn, "run_bad"))[1]
        run = await get_run(conn, "run_bad")
    assert base64.b64decode(str(quarantined.facts.data["raw"])) == raw
    assert base64.b64decode(str(quarantined.facts.data["payload"])) == b'"kept"'
    assert run.is_halted
    assert told == ["run_bad"]


async def test_an_unreadable_blob_keeps_its_numbers(recorder: Recorder, pool: Pool, writer: Writer) -> None:
    """A blob that nobody can read takes as many numbers as the script gave it, and its bytes are kept once."""
    await writer.put("run_a", started())
    await writer.add({b"run_a|2|2|F1::*": b"\xc1garbage"}, {b"run_a|5|3|": encode_blob([(b"{}", None)])})
    await writer.add({b"run_a|8|1|": encode_blob([(encode_facts(COMPLETED[0]), None)])})
    assert await recorder.record_batch() == 8
    assert await types(pool, "run_a") == ["run.started", *["event.quarantined"] * 6, "run.completed"]
    async with pool.acquire() as conn:
        events = await read_events(conn, "run_a")
    assert base64.b64decode(str(events[1].facts.data["raw"])) == b"\xc1garbage"
    assert events[2].facts.data == {"part": 1}
    assert base64.b64decode(str(events[3].facts.data["raw"])) == b"F1::*"
