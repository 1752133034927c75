"""Hand-made outbox entries, as the scripts write them (sdk/events.py), for tests of who reads them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import asyncpg
import msgspec
from redis.asyncio import Redis

from courante.sdk.events import Facts, encode_blob, encode_facts
from courante.sdk.stores.commands import StartCommand
from courante.sdk.stores.connection import Pool
from courante.sdk.stores.log import read_events, verify_chain
from courante.supervisor.recording.recorder import Recorder

AT_MS = 1_790_000_000_000
"""Some time in September 2026: the log's default partition takes it."""
IR = "ab" * 16

Event = tuple[Facts, bytes | None]

ENV = "test"


def started(**said: object) -> Event:
    data: dict[str, object] = {"workflow": "orders", "version": 1, "ir": IR, "created_ms": AT_MS - 5}
    return Facts(type="run.started", data=data | said), b'{"x":1}'


def succeeded(node: str, output: bytes = b"1", *, attempt: int = 1, scope: str = "", ms: int = 0) -> Event:
    return Facts(type="step.succeeded", node=node, scope=scope, attempt=attempt, worker="w-1", ms=ms), output


def event(kind: str, node: str = "", *, payload: bytes | None = None, **said: Any) -> Event:
    return Facts(type=kind, node=node, **said), payload


COMPLETED: Event = (Facts(type="run.completed"), b'{"ok":true}')


@asynccontextmanager
async def open_pool(database: str) -> AsyncGenerator[Pool, None]:
    """A pool whose end a connection that a failed test still holds does not hold up."""
    pool = await asyncpg.create_pool(database, min_size=1, max_size=8)
    try:
        yield pool
    finally:
        with anyio.move_on_after(2):
            await pool.close()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    """Wait for a condition; TimeoutError where it does not come true."""
    with anyio.fail_after(seconds):
        while True:
            if await condition():
                return
            await anyio.sleep(0.01)


class Writer:
    """Writes to one outbox; knows the partition sequence and the sequence of each run, as the scripts do."""

    def __init__(self, redis: Redis, env: str, partition: int = 0) -> None:
        self.redis = redis
        self.base = f"courante:{env}:{{{partition}}}:"
        self.outbox = f"{self.base}outbox"
        self.epoch = 1
        self.seq = 0
        self.at_ms = AT_MS
        self.runs: dict[str, int] = {}

    def fields(self, run_id: str, events: Sequence[Event], codes: Sequence[str] = ()) -> dict[bytes, bytes]:
        """One transition; its run goes on by as many sequence numbers."""
        first = self.runs.get(run_id, 0) + 1
        self.runs[run_id] = first + len(events) + len(codes) - 1
        blob = encode_blob([(encode_facts(facts), payload) for facts, payload in events]) if events else b""
        return {f"{run_id}|{first}|{len(events)}|{';'.join(codes)}".encode(): blob}

    async def add(self, *transitions: dict[bytes, bytes], entry_id: str = "*") -> str:
        """One entry of these transitions; returns its id."""
        self.seq += 1
        self.at_ms += 1
        words: list[bytes | str] = []
        for transition in transitions:
            for field, blob in transition.items():
                words += [field, blob]
        head = f"{self.epoch} {self.seq} {self.at_ms}"
        client = cast("Any", self.redis)
        answer: bytes = await client.execute_command("XADD", self.outbox, entry_id, "h", head, *words)
        return answer.decode()

    async def put(self, run_id: str, *events: Event, codes: Sequence[str] = ()) -> str:
        """One entry of one transition."""
        return await self.add(self.fields(run_id, events, codes))

    async def ids(self) -> list[str]:
        """The ids of what stands in the outbox."""
        entries = await cast("Awaitable[list[tuple[bytes, object]]]", self.redis.xrange(self.outbox))
        return [entry[0].decode() for entry in entries]


async def node_ids(ir_hash: str) -> Sequence[str]:
    """The nodes of the one IR that these runs execute."""
    assert ir_hash == IR
    return ["fetch", "score", "join"]


async def types(pool: Pool, run_id: str) -> list[str]:
    """Of the events in the log, whose chain holds."""
    async with pool.acquire() as conn:
        assert await verify_chain(conn, run_id) is None
        return [one.facts.type for one in await read_events(conn, run_id)]


def start(run_id: str = "run_1", input: bytes = b"{}", **other: object) -> StartCommand:
    """The start of a run of an imagined workflow."""
    plain = StartCommand(env=ENV, run_id=run_id, partition=0, workflow="orders", version=1, ir_hash="ab", input=input)
    return msgspec.structs.replace(plain, **other)


async def record(redis: Redis, pool: Pool, writer: Writer, env: str = ENV) -> None:
    """Record all that stands in the outbox."""

    async def node_ids(_: str) -> Sequence[str]:
        return ["a", "b"]

    recorder = Recorder(redis, pool, env, 0, node_ids)
    while await recorder.record_batch():
        pass
    await recorder.aclose()
