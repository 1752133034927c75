"""What a map holds in Redis is what is at work: results leave it when the log has them, and are read there."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from courante.compiler.analysis import map_nodes
from courante.sdk.floor.cold_payloads import PostgresPayloads
from courante.sdk.floor.payloads import load_payload, store_payload
from courante.sdk.keys import Keys
from courante.sdk.marking.map_plans import read_record
from courante.sdk.sealing.key_ring import KeyRing
from courante.sdk.sealing.payload_terms import PAYLOAD_TERMS
from courante.sdk.stores.connection import Pool
from courante.supervisor import supervisor
from courante.supervisor.recording import map_results
from courante.supervisor.recording.map_results import MapResults
from courante.supervisor.recording.recorder import Recorder, RecorderSettings
from integration.backups import wipe_redis
from integration.cases import node
from integration.outbox_writer import Writer, event, node_ids, started
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
CHUNK, ITEMS = 5, 200
BIG, BIG_EVERY = 10_000, 50
OPEN_MAX = 4 * CHUNK
"""Fields of a run whose map has one open chunk, and payloads of it."""


class Items:
    """All but the first end at once; some have outputs that are stored apart, and one has none."""

    def __init__(self) -> None:
        self.gate = anyio.Event()

    def output(self, index: int) -> object:
        return f"{index}" + "x" * BIG if index % BIG_EVERY == 7 else index

    async def work(self, index: int) -> object:
        if not index:
            await self.gate.wait()
        return self.output(index)


async def held(stage: Stage, run_id: str) -> Counter[str]:
    """What the run has in Redis, by kind of field; ``@``: payloads; ``ok``: how many items have ended."""
    fields = await stage.redis.hgetall(stage.client.keys.partition(0).run(run_id))
    found = Counter(name[:1].decode() for name in fields)
    found["@"] = len([key async for key in stage.redis.scan_iter(match=stage.client.keys.blob("*"))])
    found["ok"] = read_record(fields[b"n0"].decode()).ok if b"n0" in fields else 0
    return found


def is_settled(found: Counter[str]) -> bool:
    return found["ok"] == ITEMS - 1 and not found["r"] and found["q"] == 1 and found["@"] < OPEN_MAX


@pytest.mark.parametrize("codec", [None, KeyRing({"k": b"k" * 64})], ids=["plain", "encrypted"])
async def test_a_map_holds_what_is_at_work(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, codec: KeyRing | None
) -> None:
    """F24: of items that have ended nothing is left but those of the chunk that one still belongs to, also after Redis
    has forgotten everything. The results are whole and in order, and do not come back to Redis.
    """
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", codec)
    monkeypatch.setattr(map_nodes, "CHUNK_MAX", CHUNK)
    monkeypatch.setattr(supervisor, "RecorderSettings", partial(RecorderSettings, trim_delay_ms=50))
    items = Items()
    stage.worker({"work": items.work}, database_url=stage.place.database_url)
    stage.supervisor()
    work = {"id": "w", "type": "function", "config": {"handler": "work"}, "depends_on": "m"}
    nodes = (node("m", type="map", config={"items": "input"}), work, node("all", "w", type="aggregate"))
    run_id = await stage.client.submit(await stage.register(*nodes), list(range(ITEMS)))
    found = await until(lambda: held(stage, run_id), is_settled)
    assert found["o"] + found["t"] < OPEN_MAX
    await wipe_redis(stage.redis, stage.place.env)
    await until(lambda: held(stage, run_id), is_settled)
    items.gate.set()
    result = await stage.result(run_id)
    assert (result.status, result.output) == ("COMPLETED", {"all": [items.output(index) for index in range(ITEMS)]})
    assert (await held(stage, run_id))["@"] < OPEN_MAX


async def test_results_go_when_the_log_has_them(
    redis: Redis, pool: Pool, env_name: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F45, F52: also after who recorded them has died. What they refer to goes with the entries, as soon as it can."""
    now, keys = 100.0, Keys(env_name)
    run = keys.partition(0).run("run_a")
    kept = await store_payload(redis, keys, b'"apart"')
    await redis.hset(run, mapping={"r0:3": b"[]", "r0:4": b"[]", "r1:3": kept})
    await writer.put("run_a", started())
    await writer.put("run_a", event("fanout.collected", "results:fetch", payload=b"[]", data={"chunk": 3}))
    last = await writer.put("run_a", event("fanout.restored", "score", payload=kept, data={"chunk": 3}))
    dying = Recorder(redis, pool, env_name, 0, node_ids)

    async def die(*_: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(MapResults, "let_go", die)
        patch.setattr(MapResults, "cool", die)
        with pytest.raises(ConnectionResetError):
            await dying.record_batch()
        await dying.aclose()
        assert await redis.hlen(run) == 3
    recorder = Recorder(redis, pool, env_name, 0, node_ids, clock=lambda: now)
    assert (await recorder.record_batch(), await redis.hkeys(run)) == (0, [b"r0:4"])
    assert (await recorder.trim(), await redis.get(keys.blob(kept[1:33].decode()))) == (0, b'"apart"')
    now += 3
    with monkeypatch.context() as patch:
        patch.setattr(map_results, "results_of", die)
        with pytest.raises(ConnectionResetError):
            await recorder.trim()
    assert len(await writer.ids()) == 3
    assert (await recorder.trim(), await writer.ids()) == (2, [last])
    assert await redis.get(keys.blob(kept[1:33].decode())) is None
    await recorder.aclose()
    with capture_logs() as logs:
        other = Recorder(redis, pool, env_name, 0, node_ids, clock=lambda: now)
        assert await other.record_batch() == 0
        now += 3
        assert (await other.trim(), logs) == (0, [])
        await other.aclose()


async def test_a_worker_without_postgres_leaves_aggregates_of_large_maps_to_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing fails by it."""
    monkeypatch.setattr(map_nodes, "CHUNK_MAX", CHUNK)
    items = Items()
    stage.worker({"work": items.work})
    stage.supervisor()
    work = node("w", "m", type="function", config={"handler": "work"})
    nodes = (node("m", type="map", config={"items": "input"}), work, node("all", "w", type="aggregate"))
    run_id = await stage.client.submit(await stage.register(*nodes), [*range(5, 4 * CHUNK), 0])
    run_key = stage.client.keys.partition(0).run(run_id)

    async def fields() -> dict[bytes, bytes]:
        return dict(await stage.redis.hgetall(run_key))

    def is_recorded(found: dict[bytes, bytes]) -> bool:
        record = found.get(b"n0")
        is_told = record is not None and read_record(record.decode()).collected == 3
        return is_told and not any(name.startswith(b"r") for name in found)

    await until(fields, is_recorded)
    with capture_logs() as logs:
        items.gate.set()

        async def left() -> int:
            return sum(entry["event"] == "results_elsewhere" for entry in logs)

        await until(left, bool)
    stage.worker({"work": items.work}, database_url=stage.place.database_url)
    result = await stage.result(run_id)
    assert result.output == {"all": [items.output(index) for index in [*range(5, 4 * CHUNK), 0]]}


async def test_lists_go_when_longer_ones_have_taken_their_place(
    redis: Redis, pool: Pool, env_name: str, writer: Writer
) -> None:
    """Of a map to which items are added one by one Redis has the list that counts, and those of the last moments."""
    now, keys = 100.0, Keys(env_name)
    lists = [await store_payload(redis, keys, b"[%d]" % number) for number in range(4)]

    async def add(payload: bytes, scope: str = "", kind: str = "step.waiting", reason: str = "more") -> None:
        told = event(kind, "score", payload=payload, scope=scope, reason=reason, data={"items": 1})
        await writer.put("run_a", told)

    async def kept(recorder: Recorder) -> list[int]:
        nonlocal now
        await recorder.record_batch()
        now += 3
        await recorder.trim()
        blobs = [keys.blob(reference[1:33].decode()) for reference in lists]
        return [number for number, blob in enumerate(blobs) if await redis.exists(blob)]

    recorder = Recorder(redis, pool, env_name, 0, node_ids, clock=lambda: now)
    await writer.put("run_a", started())
    await add(lists[0])
    await add(lists[3], scope="2")
    assert await kept(recorder) == [0, 1, 2, 3]
    await add(lists[1])
    await add(lists[1])
    assert await kept(recorder) == [1, 2, 3]
    await add(lists[2], kind="step.succeeded", reason="")
    assert await kept(recorder) == [2, 3]
    await recorder.aclose()
    assert await load_payload(redis, keys, lists[0], PostgresPayloads(env_name, pool=pool)) == b"[0]"


async def test_what_something_else_needs_stays_where_every_worker_finds_it(
    redis: Redis, pool: Pool, env_name: str, writer: Writer
) -> None:
    """A list or an output of a map may be the same as what another run that goes on has, or another step of this one;
    what only ended runs have had, or the map itself, goes.
    """
    now, keys = 100.0, Keys(env_name)
    lists = [await store_payload(redis, keys, b"[%d]" % number) for number in range(5)]
    outputs = [await store_payload(redis, keys, b'"output %d"' % number) for number in range(3)]
    for run_id, given in (("run_a", lists[0]), ("run_b", lists[1]), ("run_c", lists[2])):
        await writer.put(run_id, (started()[0], given))
    await writer.put("run_c", event("run.completed", payload=b"null"))
    await writer.put("run_a", event("step.succeeded", "fetch", payload=lists[3]))
    await writer.put("run_b", event("step.succeeded", "fetch", payload=outputs[1]))
    await writer.put("run_a", event("step.succeeded", "fetch", payload=outputs[2]))
    for output in outputs:
        await writer.put("run_a", event("step.succeeded", "fetch", payload=output, scope="1"))
    for each in lists:
        await writer.put("run_a", event("step.waiting", "score", payload=each, reason="more", data={"items": 1}))
    told = b"[" + b",".join(b'["ok","%s"]' % output for output in outputs) + b"]"
    await writer.put("run_a", event("fanout.collected", "results:score", payload=told, data={"chunk": 0}))
    recorder = Recorder(redis, pool, env_name, 0, node_ids, clock=lambda: now)
    await recorder.record_batch()
    now += 3
    await recorder.trim()
    await recorder.aclose()

    async def kept(references: list[bytes]) -> list[int]:
        blobs = [keys.blob(reference[1:33].decode()) for reference in references]
        return [number for number, blob in enumerate(blobs) if await redis.exists(blob)]

    assert await kept(lists) == [0, 1, 3, 4]
    assert await kept(outputs) == [1, 2]


async def test_a_list_stays_while_the_same_map_of_another_run_has_it(
    redis: Redis, pool: Pool, env_name: str, writer: Writer
) -> None:
    """Runs of one workflow may be given the same items: who is further leaves the others what these still have."""
    now, keys = 100.0, Keys(env_name)
    lists = [await store_payload(redis, keys, b"[%d]" % number) for number in range(4)]
    for run_id in ("run_a", "run_b"):
        await writer.put(run_id, started())
    for run_id, scope, given in (("run_a", "", lists), ("run_b", "1", lists[:2]), ("run_b", "2", lists[:3])):
        for payload in given:
            told = event("step.waiting", "score", payload=payload, scope=scope, reason="more", data={"items": 1})
            await writer.put(run_id, told)
    recorder = Recorder(redis, pool, env_name, 0, node_ids, clock=lambda: now)
    await recorder.record_batch()
    now += 3
    await recorder.trim()
    await recorder.aclose()
    blobs = [keys.blob(reference[1:33].decode()) for reference in lists]
    assert [number for number, blob in enumerate(blobs) if await redis.exists(blob)] == [1, 2, 3]


async def test_results_that_are_nowhere_are_waited_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """F52: a Postgres that has lost its last commits is given them again from the outbox. No aggregate fails by it."""
    monkeypatch.setattr(map_nodes, "CHUNK_MAX", CHUNK)
    asked: list[str] = []
    results = PostgresPayloads.results

    async def results_later(self: PostgresPayloads, run_id: str, *said: Any) -> dict[int, bytes]:
        asked.append(run_id)
        return await results(self, run_id, *said) if len(asked) > 1 else {}

    monkeypatch.setattr(PostgresPayloads, "results", results_later)
    items = Items()
    stage.worker({"work": items.work}, database_url=stage.place.database_url, lease_ms=2_000)
    stage.supervisor(lease_ms=2_000)
    work = {"id": "w", "type": "function", "config": {"handler": "work"}, "depends_on": "m"}
    nodes = (node("m", type="map", config={"items": "input"}), work, node("all", "w", type="aggregate"))
    run_id = await stage.client.submit(await stage.register(*nodes), list(range(3 * CHUNK)))
    await until(lambda: held(stage, run_id), lambda found: found["q"] == 1 and not found["r"])
    items.gate.set()
    assert (await stage.result(run_id)).output == {"all": [items.output(index) for index in range(3 * CHUNK)]}
    assert asked == [run_id] * 2


async def test_a_full_chunk_that_was_collected_before_the_last_item(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map to which more could have come has as many items as one chunk: its results are not lost."""
    monkeypatch.setattr(map_nodes, "CHUNK_MAX", 2)
    stage.worker(database_url=stage.place.database_url)
    stage.supervisor()
    more = {"items": "[1, 2]", "more": {"signal": "found"}}
    nodes = (node("m", type="map", config=more), node("w", "m"), node("all", "w", type="aggregate"))
    run_id = await stage.client.submit(await stage.register(*nodes))
    await until(lambda: stage.types(run_id), lambda types: "fanout.collected" in types)
    await stage.client.signal(run_id, "found", {"items": [], "is_last": True})
    assert (await stage.result(run_id)).output == {"all": [1, 2]}
