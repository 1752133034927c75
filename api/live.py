"""Live: what the log receives, told to any number of listeners as server-sent events.

One reader serves them all. It hears of entries in the outboxes, waits until the recorder's cursor has passed them, and
then reads the events of the runs that somebody listens to from the log, in one query. So nothing is told that is not
in the log, and the cost for Postgres does not grow with the number of listeners.

Whoever is too slow is let go, and goes on with Last-Event-ID, as whoever was cut off does.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup
from redis.asyncio import Redis

from ..compiler.ir import decode_ir
from ..sdk.client.client import Client
from ..sdk.connections import close_redis, connect_redis
from ..sdk.events import RecordedEvent
from ..sdk.floor.clock import read_clock
from ..sdk.floor.streams import place_of
from ..sdk.moments import from_ms, to_ms
from ..sdk.server_errors import SERVER_ERRORS
from ..sdk.stores.connection import Pool
from ..sdk.stores.cursors import START, Cursor, read_cursors
from ..sdk.stores.log import read_events_at, read_partition, stream_window
from ..sdk.stores.workflows import get_ir
from .frames import frame
from .listener import Listener
from .wire.events import Event, Numbers, event_of

BLOCK_MS = 1_000
LINGER_S = 0.05
"""Between two looks at the log while something is on its way to it."""
FAULT_S = 0.5
ENTRIES_MAX = 500
RUNS_KNOWN_MAX = 10_000
MISSED_MAX = 10_000
"""Entries of a partition that may be looked up in the log."""
MARGIN = timedelta(seconds=1)
"""Between the time of an event and that of its entry there is no more."""
HEAD = b"h"
_encode = msgspec.json.Encoder().encode
log = structlog.get_logger()


class Told(NamedTuple):
    """An event, and its JSON, which is the same for all listeners.

    ``since_ms``: who listens to all runs and is cut off here goes on with what has happened since then.
    """

    event: Event
    at_ms: int
    since_ms: int
    content: bytes

    @property
    def place(self) -> tuple[str, int]:
        """What tells it from all other events."""
        return self.event.run_id, self.event.seq

    @property
    def id_of_all(self) -> str:
        return f"{self.since_ms}-{self.event.run_id}-{self.event.seq}"


class Batch(tuple[Told, ...]):  # noqa: SLOT001 - it keeps its frames
    """Events that are told at once."""

    @cached_property
    def run_frames(self) -> bytes:
        """As those of one run: made once, however many listen."""
        return b"".join(frame(told.content, id=str(told.event.seq)) for told in self)

    @cached_property
    def all_frames(self) -> bytes:
        """As those of all runs."""
        return b"".join(frame(told.content, id=told.id_of_all) for told in self)


class Entry(NamedTuple):
    """An entry of an outbox: the events ``first`` to ``last`` of each run. ``at_ms``: when it was added.

    ``missed_ms``: others before it were recorded and trimmed before they were heard, all of them since this moment.
    """

    at_ms: int
    epoch: int
    seq: int
    runs: Mapping[str, tuple[int, int]]
    missed_ms: int | None = None


class Behind(Exception):
    """So much was missed that everybody had better read the log again."""


class Live:
    """Made by ``open_live``. It reads only while somebody listens."""

    def __init__(self, client: Client, redis: Redis, group: TaskGroup) -> None:
        self._client = client
        self._redis = redis
        self._group = group
        self._listeners: dict[str, set[Listener[Batch]]] = {}
        """By run; those of all runs stand under the empty name."""
        self._places: dict[str, int] = {
            client.keys.partition(number).outbox: number for number in range(client.partitions)
        }
        self._waiting: dict[int, deque[Entry]] = {number: deque() for number in self._places.values()}
        self._heard: dict[int, Entry] = {}
        """By partition, the last entry."""
        self._latest: OrderedDict[str, int] = OrderedDict()
        """By run, the event that was told last."""
        self._numbers: OrderedDict[str, Numbers] = OrderedDict()
        self._is_running = False
        self._has_begun = anyio.Event()

    @property
    def count(self) -> int:
        """How many listen."""
        return sum(len(alike) for alike in list(self._listeners.values()))

    @asynccontextmanager
    async def listening(self, run_id: str = "") -> AsyncGenerator[Listener[Batch]]:
        """A listener that is told everything that comes to the log from now on, of one run or of all."""
        listener = Listener[Batch]()
        self._listeners.setdefault(run_id, set()).add(listener)
        try:
            if not self._is_running:
                self._is_running = True
                self._group.start_soon(self._run)
            await self._has_begun.wait()
            yield listener
        finally:
            alike = self._listeners.get(run_id, set())
            alike.discard(listener)
            if not alike:
                self._listeners.pop(run_id, None)

    async def between(self, since: datetime, until: datetime) -> AsyncGenerator[Batch]:
        """Yield what all runs have done from a moment to another, in the order of its times."""
        async for events in stream_window(self._client.pool, self._client.keys.env, since, until):
            yield await self.made(events)

    async def made(self, events: Sequence[RecordedEvent], since_ms: int | None = None) -> Batch:
        """Return events as they are told. since_ms: before this, something may be on its way to the log."""
        await self._learn({event.run_id for event in events})
        return Batch(self._made(event, since_ms) for event in events)

    def _made(self, event: RecordedEvent, since_ms: int | None) -> Told:
        shown = event_of(event, self._numbers.get(event.run_id) or Numbers(None))
        low_ms = event.at_ms if since_ms is None else min(since_ms, event.at_ms)
        return Told(shown, event.at_ms, low_ms, _encode(shown))

    async def now(self) -> datetime:
        return from_ms(int(await read_clock(self._client.redis) * 1000))

    @property
    def pool(self) -> Pool:
        return self._client.pool

    def stop(self) -> None:
        """Let everybody go."""
        self._let_go()

    async def _run(self) -> None:
        """Read until nobody listens any more."""
        entries: dict[str, str] = {}
        try:
            while self._listeners:
                try:
                    if not entries:
                        entries = await self._begin()
                        self._has_begun.set()
                    await self.hear(entries)
                    await self._tell()
                except Exception as error:  # what cannot be told ends no server
                    is_ours = not isinstance(error, (*SERVER_ERRORS, Behind))
                    log.warning("live_interrupted", error=str(error) or repr(error), exc_info=is_ours)
                    self._let_go()  # they go on from what they have heard last
                    self._has_begun.set()  # also who has only just come
                    self._has_begun = anyio.Event()
                    entries = {}
                    await anyio.sleep(FAULT_S)
        finally:
            self._is_running = False
            self._has_begun = anyio.Event()
            for waiting in self._waiting.values():
                waiting.clear()

    async def _begin(self) -> dict[str, str]:
        """Where to begin in each outbox: what stands before it is in the log."""
        now_ms = to_ms(await self.now())
        cursors = await self._cursors()
        self._latest.clear()
        begin: dict[str, str] = {}
        for place, number in self._places.items():
            cursor = cursors.get(number, Cursor(0, 0, START, b""))
            begin[place] = cursor.entry_id
            at_ms = place_of(cursor.entry_id)[0] or now_ms
            self._heard[number] = Entry(at_ms, cursor.epoch, cursor.partition_seq, {})
        return begin

    def _let_go(self) -> None:
        for alike in self._listeners.values():
            for listener in alike:
                listener.leave()
        for waiting in self._waiting.values():
            waiting.clear()

    async def hear(self, entries: dict[str, str]) -> None:
        """Take what has come to the outboxes; wait for it where nothing is on its way to the log."""
        is_idle = not any(self._waiting.values())
        answer: Any = await self._redis.xread(dict(entries), count=ENTRIES_MAX, block=BLOCK_MS if is_idle else None)
        pages: dict[bytes, list[tuple[bytes, Mapping[bytes, bytes]]]] = dict(answer or ())
        for name, page in pages.items():
            place = name.decode()
            for entry_id, fields in page:
                entries[place] = entry_id.decode()
                read = _entry(entries[place], fields)
                if read is not None:
                    self._take(self._places[place], read)

    def _take(self, number: int, entry: Entry) -> None:
        """Notice where entries are missing: the recorder has trimmed them, so they are in the log. Raises Behind."""
        before = self._heard[number]
        if entry.seq != before.seq + 1 or (entry.epoch != before.epoch and before.epoch):
            if entry.seq - before.seq > MISSED_MAX:
                raise Behind(f"partition {number}: {entry.seq - before.seq:,} entries were missed")
            entry = entry._replace(missed_ms=before.at_ms)
        self._heard[number] = entry
        self._waiting[number].append(entry)

    async def _tell(self) -> None:
        """Tell what has reached the log; give the recorder a moment where something has not."""
        if not any(self._waiting.values()):
            return
        cursors = await self._cursors()
        spans: dict[str, tuple[int, int]] = {}
        missed: list[tuple[int, Entry]] = []
        for number, waiting in self._waiting.items():
            cursor = cursors.get(number)
            while cursor is not None and waiting and _is_recorded(waiting[0], cursor):
                entry = waiting.popleft()
                if entry.missed_ms is not None:
                    missed.append((number, entry))
                for run_id, (first, last) in entry.runs.items():
                    before = spans.get(run_id)
                    spans[run_id] = (first, last) if before is None else (before[0], max(before[1], last))
        events = await self._read(spans, missed)
        if events:
            waits_ms = [waiting[0].at_ms for waiting in self._waiting.values() if waiting]
            self._tell_all(await self.made(events, min(waits_ms, default=None)))
        if any(self._waiting.values()):
            await anyio.sleep(LINGER_S)

    async def _read(
        self, spans: dict[str, tuple[int, int]], missed: Sequence[tuple[int, Entry]]
    ) -> list[RecordedEvent]:
        """What somebody listens to, in the order of its times; nothing that was told."""
        is_all = "" in self._listeners
        wanted = spans if is_all else {run_id: spans[run_id] for run_id in spans.keys() & self._listeners.keys()}
        if not wanted and not missed:
            return []
        async with self._client.pool.acquire() as conn:
            found = await read_events_at(conn, wanted) if wanted else []
            for number, entry in missed:
                assert entry.missed_ms is not None
                span = from_ms(entry.missed_ms) - MARGIN, from_ms(entry.at_ms) + MARGIN
                found += await read_partition(conn, self._client.keys.env, number, *span)
        events: list[RecordedEvent] = []
        for event in sorted(found, key=lambda event: (event.at_ms, event.run_id, event.seq)):
            if (is_all or event.run_id in self._listeners) and event.seq > self._latest.get(event.run_id, 0):
                self._latest[event.run_id] = event.seq
                self._latest.move_to_end(event.run_id)
                events.append(event)
        while len(self._latest) > RUNS_KNOWN_MAX:
            self._latest.popitem(last=False)
        return events

    def _tell_all(self, told: Batch) -> None:
        for listener in self._listeners.get("", ()):
            listener.tell(told)
        by_run: dict[str, list[Told]] = {}
        for one in told:
            by_run.setdefault(one.event.run_id, []).append(one)
        for run_id in by_run.keys() & self._listeners.keys():
            batch = Batch(by_run[run_id])
            for listener in self._listeners[run_id]:
                listener.tell(batch)

    async def _cursors(self) -> dict[int, Cursor]:
        async with self._client.pool.acquire() as conn:
            return await read_cursors(conn, self._client.keys.env)

    async def _learn(self, run_ids: set[str]) -> None:
        """Know the nodes of runs, for their scopes."""
        unknown = run_ids - self._numbers.keys()
        if not unknown:
            return
        env = self._client.keys.env
        async with self._client.pool.acquire() as conn:
            rows = await conn.fetch("SELECT run_id, ir_hash FROM runs WHERE run_id = ANY($1::text[])", list(unknown))
            by_hash: dict[str, Numbers] = {}
            for row in rows:
                address = row["ir_hash"]
                if address not in by_hash:
                    content = await get_ir(conn, env, address)
                    by_hash[address] = Numbers(None if content is None else decode_ir(content))
                self._numbers[row["run_id"]] = by_hash[address]
        while len(self._numbers) > RUNS_KNOWN_MAX:
            self._numbers.popitem(last=False)


@asynccontextmanager
async def open_live(client: Client, redis_url: str) -> AsyncGenerator[Live]:
    """Everybody is let go at the end."""
    redis = connect_redis(redis_url, is_blocking=True)
    try:
        async with anyio.create_task_group() as group:
            live = Live(client, redis, group)
            try:
                yield live
            finally:
                live.stop()
                group.cancel_scope.cancel()
    finally:
        await close_redis(redis)


def _is_recorded(entry: Entry, cursor: Cursor) -> bool:
    """Also of an entry that a recovery has left out: what is in the log of it is told, the rest never was."""
    return entry.epoch < cursor.epoch or entry.seq <= cursor.partition_seq


def _entry(entry_id: str, fields: Mapping[bytes, bytes]) -> Entry | None:
    """What an entry of an outbox has events of; None for what is none of ours."""
    try:
        epoch, seq, _ = map(int, fields[HEAD].split(b" "))
        runs: dict[str, tuple[int, int]] = {}
        for name in fields:
            if name != HEAD:
                run_id, first, count, codes = name.decode().rsplit("|", 3)
                events = int(count) + (len(codes.split(";")) if codes else 0)
                last = int(first) + events - 1
                before = runs.get(run_id)
                runs[run_id] = (int(first), last) if before is None else (before[0], last)
    except (KeyError, ValueError):
        return None
    return Entry(place_of(entry_id)[0], epoch, seq, runs)


def moment_of(last_event_id: str) -> datetime | None:
    """Return the moment that the id of an event of all runs stands for; None for what is no such id."""
    try:
        return from_ms(int(last_event_id.partition("-")[0]))
    except (ValueError, OverflowError):
        return None
