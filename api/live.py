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
from datetime import datetime
from typing import Any, NamedTuple

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup
from redis.asyncio import Redis

from ..compiler.ir import decode_ir
from ..sdk.client import Client
from ..sdk.connections import connect_redis
from ..sdk.events import RecordedEvent
from ..sdk.stores.connection import Pool, from_ms
from ..sdk.stores.cursors import START, Cursor, read_cursor
from ..sdk.stores.log import read_events_at, read_events_since
from ..sdk.stores.workflows import get_ir
from ..sdk.unavailable import SERVER_ERRORS
from .wire.events import Event, Numbers, event_of

BLOCK_MS = 1_000
LINGER_S = 0.05
"""Between two looks at the log while something is on its way to it."""
FAULT_S = 0.5
HELD_MAX = 2_000
"""Events that a listener may be behind."""
ENTRIES_MAX = 500
RUNS_KNOWN_MAX = 10_000
SINCE_MAX = 10_000
"""Events that are told to who goes on after a break, of all runs."""
HEAD = b"h"
_encode = msgspec.json.Encoder().encode
log = structlog.get_logger()


class Told(NamedTuple):
    """An event, and its JSON, which is the same for all listeners."""

    event: Event
    at_ms: int
    content: bytes


class Entry(NamedTuple):
    """An entry of an outbox: the events ``first`` to ``last`` of each run."""

    epoch: int
    seq: int
    runs: Mapping[str, tuple[int, int]]


class Listener:
    """``run_id``: empty for all runs. ``is_gone``: it was too slow, or the server stops."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.is_gone = False
        self._held: deque[Told] = deque()
        self._rung = anyio.Event()

    def tell(self, told: Told) -> None:
        if len(self._held) >= HELD_MAX:
            self.leave()
        elif not self.is_gone:
            self._held.append(told)
            self._rung.set()

    def leave(self) -> None:
        self.is_gone = True
        self._held.clear()
        self._rung.set()

    async def next(self) -> list[Told]:
        """Return what has come; nothing where it ``is_gone``."""
        while not self._held and not self.is_gone:
            await self._rung.wait()
            self._rung = anyio.Event()
        found = list(self._held)
        self._held.clear()
        return found


class Live:
    """Made by ``open_live``. It reads only while somebody listens."""

    def __init__(self, client: Client, redis: Redis, group: TaskGroup) -> None:
        self._client = client
        self._redis = redis
        self._group = group
        self._listeners: set[Listener] = set()
        self._places: dict[str, int] = {
            client.keys.partition(number).outbox: number for number in range(client.partitions)
        }
        self._waiting: dict[int, deque[Entry]] = {number: deque() for number in self._places.values()}
        self._numbers: OrderedDict[str, Numbers] = OrderedDict()
        self._is_running = False
        self._has_begun = anyio.Event()

    @asynccontextmanager
    async def listening(self, run_id: str = "") -> AsyncGenerator[Listener]:
        """A listener that is told everything that comes to the log from now on, of one run or of all."""
        listener = Listener(run_id)
        self._listeners.add(listener)
        try:
            if not self._is_running:
                self._is_running = True
                self._group.start_soon(self._run)
            await self._has_begun.wait()
            yield listener
        finally:
            self._listeners.discard(listener)

    async def tell_since(self, since: datetime) -> list[Told]:
        """Return what all runs have done since a moment, in order, the last ``SINCE_MAX`` of it."""
        async with self._client.pool.acquire() as conn:
            found = await read_events_since(conn, self._client.keys.env, since, limit=SINCE_MAX)
        return await self.made(found)

    async def made(self, events: Sequence[RecordedEvent]) -> list[Told]:
        """Return events as they are told."""
        await self._learn({event.run_id for event in events})
        return [self._made(event) for event in events]

    def _made(self, event: RecordedEvent) -> Told:
        shown = event_of(event, self._numbers.get(event.run_id) or Numbers(None))
        return Told(shown, event.at_ms, _encode(shown))

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
                    await self._hear(entries)
                    await self._tell()
                except Exception as error:  # what cannot be told ends no server
                    is_ours = not isinstance(error, SERVER_ERRORS)
                    log.warning("live_interrupted", error=str(error) or repr(error), exc_info=is_ours)
                    self._let_go()  # they go on from what they have heard last
                    entries = {}
                    await anyio.sleep(FAULT_S)
        finally:
            self._is_running = False
            self._has_begun = anyio.Event()
            for waiting in self._waiting.values():
                waiting.clear()

    async def _begin(self) -> dict[str, str]:
        """Where to begin in each outbox: what stands before it is in the log."""
        cursors = await self._cursors()
        return {
            place: cursors[number].entry_id if number in cursors else START for place, number in self._places.items()
        }

    def _let_go(self) -> None:
        for listener in self._listeners:
            listener.leave()
        for waiting in self._waiting.values():
            waiting.clear()

    async def _hear(self, entries: dict[str, str]) -> None:
        """Take what has come to the outboxes; wait for it where nothing is on its way to the log."""
        is_idle = not any(self._waiting.values())
        answer: Any = await self._redis.xread(dict(entries), count=ENTRIES_MAX, block=BLOCK_MS if is_idle else None)
        pages: dict[bytes, list[tuple[bytes, Mapping[bytes, bytes]]]] = dict(answer or ())
        for name, page in pages.items():
            place = name.decode()
            for entry_id, fields in page:
                entries[place] = entry_id.decode()
                read = _entry(fields)
                if read is not None:
                    self._waiting[self._places[place]].append(read)

    async def _tell(self) -> None:
        """Tell what has reached the log; give the recorder a moment where something has not."""
        if not any(self._waiting.values()):
            return
        cursors = await self._cursors()
        spans: dict[str, tuple[int, int]] = {}
        for number, waiting in self._waiting.items():
            cursor = cursors.get(number)
            while cursor is not None and waiting and _is_recorded(waiting[0], cursor):
                for run_id, (first, last) in waiting.popleft().runs.items():
                    before = spans.get(run_id)
                    spans[run_id] = (first, last) if before is None else (before[0], max(before[1], last))
        by_run: dict[str, list[Listener]] = {}
        for listener in self._listeners:
            by_run.setdefault(listener.run_id, []).append(listener)
        everybody = by_run.pop("", [])
        wanted = spans if everybody else {run_id: spans[run_id] for run_id in spans.keys() & by_run.keys()}
        if wanted:
            async with self._client.pool.acquire() as conn:
                events = await read_events_at(conn, wanted)
            for told in await self.made(sorted(events, key=lambda event: (event.at_ms, event.run_id, event.seq))):
                for listener in (*everybody, *by_run.get(told.event.run_id, ())):
                    listener.tell(told)
        if any(self._waiting.values()):
            await anyio.sleep(LINGER_S)

    async def _cursors(self) -> dict[int, Cursor]:
        async with self._client.pool.acquire() as conn:
            found = {number: await read_cursor(conn, self._client.keys.env, number) for number in self._places.values()}
        return {number: cursor for number, cursor in found.items() if cursor is not None}

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
        with anyio.CancelScope(shield=True), anyio.move_on_after(2):
            await redis.aclose()


def _is_recorded(entry: Entry, cursor: Cursor) -> bool:
    """Also of an entry that a recovery has left out: what is in the log of it is told, the rest never was."""
    return entry.epoch < cursor.epoch or entry.seq <= cursor.partition_seq


def _entry(fields: Mapping[bytes, bytes]) -> Entry | None:
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
    return Entry(epoch, seq, runs)


def moment_of(last_event_id: str) -> datetime | None:
    """Return the moment that the id of an event of all runs stands for; None for what is no such id."""
    try:
        return from_ms(int(last_event_id.partition("-")[0]))
    except (ValueError, OverflowError):
        return None
