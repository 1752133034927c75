"""The recorder: copies a partition's outbox into the log, exactly once, in order.

One transaction per batch: move the cursor by comparing it (a second recorder waits there and then finds it moved), COPY
the events, write the projections, commit. What Redis and the log disagree about is never skipped: LogDiverged stops the
recorder, and recovery decides. Everything else (Postgres down, a lost reply, a full disk) is tried again for ever;
nothing is assumed after an error, the cursor is asked.

After the commit a run that ended gets a time-to-live in Redis, and the outbox is trimmed below the cursor with a delay:
a Postgres that fails over to a slightly older copy finds the entries still there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import anyio
import asyncpg
import msgspec
import structlog
from redis.exceptions import RedisError

from ..sdk.keys import Keys
from ..sdk.scripts import load_script, run_script
from ..sdk.stores.connection import Connection, Pool
from ..sdk.stores.copy_format import copy_rows
from ..sdk.stores.cursors import START, Cursor, move_cursor, open_cursor
from ..sdk.stores.queries import load_queries
from .blobs import copy_blobs
from .chain import LOG_COLUMNS, PAYLOAD_COLUMNS, Batch, Chains
from .outbox import Entry, LogDiverged, entry_digest, read_entry
from .projections import EXECUTIONS_KEY, OpenExecutions

if TYPE_CHECKING:
    from redis.asyncio import Redis

EXPIRED_AT_ONCE = 500
"""Two writes each: no script call writes more than a thousand times."""

NodeIds: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
Unstorable = (asyncpg.DataError, asyncpg.ProgramLimitExceededError, asyncpg.CheckViolationError, UnicodeEncodeError)
Transient = (OSError, RedisError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)

_log = structlog.get_logger()
_log_sql = load_queries("log")
_sql = load_queries("recorder")


class RecorderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``batch_events``: about how many events one transaction holds. ``ended_ttl_s``: of the keys of a recorded run.

    ``standby_ms``: how long a recorder rests that found another one at work. ``takes_older_epochs``: for the drain of
    a recovery, entries of epochs before the cursor's are recorded too as long as they continue the log.
    """

    batch_events: int = 4_000
    trim_delay_ms: int = 2_000
    ended_ttl_s: int = 60
    block_ms: int = 1_000
    standby_ms: int = 200
    backoff_ms_max: int = 5_000
    deadline_s: float = 60.0
    takes_older_epochs: bool = False


class Recorder:
    """Records one partition. Not for concurrent use; several processes may each have one for the same partition.

    redis: without decode_responses and without retries. blocking: a second client for the blocking read, without a
    socket timeout shorter than ``block_ms``. node_ids: ids of the nodes of an IR, in IR order.
    on_quarantine: told of every run that has an event that could not be stored, after it was recorded.
    """

    def __init__(
        self,
        redis: Redis,
        pool: Pool,
        env: str,
        partition: int,
        node_ids: NodeIds,
        *,
        blocking: Redis | None = None,
        settings: RecorderSettings | None = None,
        on_quarantine: Callable[[str], Awaitable[None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._blocking = redis if blocking is None else blocking
        self._pool = pool
        self._env = env
        self._partition = partition
        self._node_ids = node_ids
        self._settings = settings or RecorderSettings()
        self._on_quarantine = on_quarantine
        self._clock = clock
        self._keys = Keys(env).partition(partition)
        self._conn: Connection | None = None
        self._cursor: Cursor | None = None
        self._chains = Chains(env, partition)
        self._names: dict[str, Sequence[str]] = {}
        self._poison: frozenset[tuple[str, int]] = frozenset()
        self._open = OpenExecutions()
        self._is_careful = False
        self._entries_wanted = 100
        self._ended: list[str] = []
        self._halted: list[str] = []
        self._trimmable: deque[tuple[float, str]] = deque()
        self._is_outrun = False
        self._log = _log.bind(env=env, partition=partition)

    async def run(self) -> None:
        """Record until cancelled. Raises LogDiverged and nothing else."""
        backoff_ms = 50
        try:
            while True:
                try:
                    recorded = await self.record_batch()
                    if self._is_outrun:
                        await anyio.sleep(self._settings.standby_ms / 1000)
                    elif not recorded:
                        await self.trim()
                        await self._wait()
                    elif self._trimmable and self._clock() >= self._trimmable[0][0]:
                        await self.trim()
                    backoff_ms = 50
                except LogDiverged as error:
                    self._log.critical("log_diverged", kind=error.kind, entry_id=error.entry_id, error=str(error))
                    raise
                except Transient as error:
                    self._log.warning("recording_failed", error=repr(error), backoff_ms=backoff_ms)
                    await anyio.sleep(backoff_ms / 1000)
                    backoff_ms = min(2 * backoff_ms, self._settings.backoff_ms_max)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(5):
                await self.aclose()

    async def aclose(self) -> None:
        """Give the connection back. The recorder may be used again."""
        await self._forget()

    async def record_batch(self) -> int:
        """Record what stands after the cursor, up to a batch, and return the number of events.

        0: nothing there, or another recorder was faster. Raises LogDiverged; after any other error call it again.
        """
        self._is_outrun = False
        try:
            with anyio.fail_after(self._settings.deadline_s):
                await self._tell()
                return await self._record()
        except BaseException:
            with anyio.CancelScope(shield=True), anyio.move_on_after(5):
                await self._forget()
            raise

    async def trim(self) -> int:
        """Remove recorded entries that have stood for the delay, never the cursor's own; return how many."""
        last = ""
        while not self._ended and self._trimmable and self._clock() >= self._trimmable[0][0]:
            last = self._trimmable.popleft()[1]
        if not last:
            return 0
        return int(await self._redis.xtrim(self._keys.outbox, minid=last, approximate=False))

    async def _record(self) -> int:
        conn = await self._connect()
        cursor = self._cursor
        if cursor is None:
            cursor = self._cursor = await open_cursor(conn, self._env, self._partition)
            await self._tell_again(cursor)
        try:
            entries = await self._read(cursor)
            if not entries:
                return 0
            names = await self._look_up(conn, entries)
            batch = self._chains.build(entries, names, self._poison)
        except LogDiverged:
            if await open_cursor(conn, self._env, self._partition) == cursor:
                raise
            return await self._outrun()
        if batch.references:
            await copy_blobs(self._redis, conn, self._env, batch.references)
        last = entries[-1]
        following = Cursor(cursor.epoch, last.seq, last.id, entry_digest(last.fields))
        try:
            if not await self._commit(conn, cursor, following, batch):
                return await self._outrun()
        except Unstorable:
            await self._find_unstorable(conn, entries, names)
            raise
        self._keep(following, batch)
        self._entries_wanted = max(1, min(1_000, self._settings.batch_events * len(entries) // max(1, batch.count)))
        await self._tell()
        return batch.count

    def _keep(self, cursor: Cursor, batch: Batch) -> None:
        """Remember what is committed."""
        self._cursor = cursor
        self._chains.keep(batch)
        self._poison = frozenset()
        self._is_careful = False
        self._open.update(batch.projection)
        self._trimmable.append((self._clock() + self._settings.trim_delay_ms / 1000, cursor.entry_id))
        self._ended += batch.projection.ended
        for run_id, seq, reason in batch.quarantined:
            self._log.error("event_quarantined", run_id=run_id, seq=seq, reason=reason)
            self._halted.append(run_id)

    async def _read(self, cursor: Cursor) -> list[Entry]:
        """Return the entries after the cursor. Raises LogDiverged where they do not continue it."""
        is_first = cursor.entry_id == START
        found = await self._redis.xrange(
            self._keys.outbox, "-" if is_first else cursor.entry_id, "+", self._entries_wanted + (not is_first)
        )
        if not is_first:
            if not found or found[0][0].decode() != cursor.entry_id or entry_digest(found[0][1]) != cursor.entry_digest:
                message = "the last recorded entry is gone or changed"
                raise LogDiverged("cursor", self._partition, cursor.entry_id, message)
            del found[0]
        entries = [read_entry(self._partition, entry_id, fields) for entry_id, fields in found]
        for number, entry in enumerate(entries, start=cursor.partition_seq + 1):
            is_older = self._settings.takes_older_epochs and entry.epoch < cursor.epoch
            if entry.epoch != cursor.epoch and not is_older:
                message = f"it is of epoch {entry.epoch}, the log of {cursor.epoch}"
                raise LogDiverged("epoch", self._partition, entry.id, message)
            if entry.seq != number:
                message = f"it has partition sequence {entry.seq} where {number} comes next"
                raise LogDiverged("partition_seq", self._partition, entry.id, message)
        return entries

    async def _look_up(self, conn: Connection, entries: Sequence[Entry]) -> dict[str, Sequence[str]]:
        """Find what is not in memory: chain heads, and per run with codes the ids of its nodes (returned)."""
        if unknown := self._chains.without_head(entries):
            rows = await conn.fetch(_log_sql["heads"], unknown)
            self._chains.learn_heads({row["run_id"]: (row["seq"], row["hash"]) for row in rows})
        irs = self._chains.irs_of_codes(entries)
        if unknown := [run_id for run_id, ir_hash in irs.items() if ir_hash is None]:
            irs |= {row["run_id"]: row["ir_hash"] for row in await conn.fetch(_sql["irs_of_runs"], unknown)}
        names: dict[str, Sequence[str]] = {}
        for run_id, ir_hash in irs.items():
            if ir_hash:
                if ir_hash not in self._names:
                    self._names[ir_hash] = await self._node_ids(ir_hash)
                names[run_id] = self._names[ir_hash]
        return names

    async def _commit(self, conn: Connection, cursor: Cursor, following: Cursor, batch: Batch) -> bool:
        """Append the batch; False where the cursor was moved by another recorder."""
        try:
            async with conn.transaction():
                if not await move_cursor(conn, self._env, self._partition, cursor, following):
                    return False
                await _append(conn, batch, None if self._is_careful else self._open)
        except asyncpg.UniqueViolationError as cause:
            if cause.constraint_name == EXECUTIONS_KEY:
                self._is_careful = True
                return await self._commit(conn, cursor, following, batch)
            message = f"an event of it is in the log already: {cause}"
            raise LogDiverged("content", self._partition, following.entry_id, message) from cause
        return True

    async def _find_unstorable(
        self, conn: Connection, entries: Sequence[Entry], names: dict[str, Sequence[str]]
    ) -> None:
        """Try every event alone, and take it back. Slow, and done once for a batch that Postgres refused."""
        found: set[tuple[str, int]] = set()
        for run_id, seq, alone in self._chains.build_each(entries, names, self._poison):
            transaction = conn.transaction()
            await transaction.start()
            try:
                await _append(conn, alone, None)
            except Unstorable as error:
                self._log.error("event_not_storable", run_id=run_id, seq=seq, error=repr(error))
                found.add((run_id, seq))
            finally:
                await transaction.rollback()
        self._poison |= found

    async def _outrun(self) -> int:
        self._is_outrun = True
        await self._forget()
        return 0

    async def _forget(self) -> None:
        """Nothing is known any more: the cursor will be asked again."""
        conn, self._conn, self._cursor = self._conn, None, None
        self._chains.forget()
        self._is_careful = True
        if conn is not None:
            await self._pool.release(conn)  # pyright: ignore[reportArgumentType]

    async def _connect(self) -> Connection:
        if self._conn is None:
            self._conn = await self._pool.acquire()
        return self._conn

    async def _tell(self) -> None:
        """Give the keys of ended runs a time-to-live and wake who waits for them. Nothing is trimmed before."""
        while self._ended:
            runs = self._ended[-EXPIRED_AT_ONCE:]
            script = load_script("expire_runs")
            await run_script(self._redis, script, [self._keys.meta], [self._settings.ended_ttl_s, *runs])
            del self._ended[-EXPIRED_AT_ONCE:]
        while self._halted:
            if self._on_quarantine is not None:
                await self._on_quarantine(self._halted[-1])
            self._halted.pop()

    async def _tell_again(self, cursor: Cursor) -> None:
        """A recorder that died after a commit may not have told: its entries still stand below the cursor."""
        if cursor.entry_id != START:
            found = await self._redis.xrange(self._keys.outbox, "-", cursor.entry_id)
            entries = [read_entry(self._partition, entry_id, fields) for entry_id, fields in found]
            self._ended = list(dict.fromkeys([*self._ended, *self._chains.ended_in(entries)]))
            await self._tell()
            if len(entries) > 1:
                self._trimmable.append((self._clock() + self._settings.trim_delay_ms / 1000, cursor.entry_id))

    async def _wait(self) -> None:
        """Until there is an entry after the cursor, or ``block_ms`` have passed."""
        cursor = self._cursor
        if cursor is not None:
            await self._blocking.xread({self._keys.outbox: cursor.entry_id}, count=1, block=self._settings.block_ms)


async def _append(conn: Connection, batch: Batch, known: OpenExecutions | None) -> None:
    await copy_rows(conn, "event_log", LOG_COLUMNS, batch.rows)
    if batch.payloads:
        await copy_rows(conn, "event_payloads", PAYLOAD_COLUMNS, batch.payloads)
    await batch.projection.write(conn, known)
