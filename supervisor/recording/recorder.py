"""The recorder: copies a partition's outbox into the log, exactly once, in order.

One transaction per batch: move the cursor by comparing it (a second recorder waits there and then finds it moved), COPY
the events, write the projections, commit. What Redis and the log disagree about is never skipped: LogDiverged stops the
recorder, and recovery decides. All else is tried again for ever; after an error nothing is assumed, the cursor asked.

After the commit an ended run gets a time-to-live in Redis, results of maps leave it, and the outbox is trimmed below
the cursor with a delay: a Postgres that fails over to an older copy finds the entries still there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import anyio
import asyncpg
import msgspec
import structlog

from ...sdk.errors import CouranteError
from ...sdk.fault_points import reach
from ...sdk.keys import Keys
from ...sdk.server_errors import SERVER_ERRORS
from ...sdk.settings import RUN_EVENTS_MAX
from ...sdk.slices import MANY, uncut
from ...sdk.stores.connection import Connection, Pool
from ...sdk.stores.copy_format import copy_rows
from ...sdk.stores.cursors import Cursor, entry_digest, move_cursor, open_cursor
from ...sdk.stores.queries import load_queries
from .blobs import copy_blobs
from .chain import LOG_COLUMNS, PAYLOAD_COLUMNS, Batch, Chains
from .entries import Entry, LogDiverged, events_in
from .map_results import MapResults, NodeIds
from .outbox import Outbox
from .projections import EXECUTIONS_KEY, OpenExecutions, Projection

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy
    from redis.asyncio import Redis

ENTRIES_MAX = 1_000
UNSTORABLE = (asyncpg.DataError, asyncpg.ProgramLimitExceededError, asyncpg.CheckViolationError, UnicodeEncodeError)
TRANSIENT = (*SERVER_ERRORS, UnicodeEncodeError, CouranteError)  # an IR that a newer version's recorder may read
_log = structlog.get_logger()
_log_sql = load_queries("log")
_sql = load_queries("recorder")


class RecorderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``batch_events``: about how many events one transaction holds. ``ended_ttl_s``: of the keys of a recorded run.

    ``linger_ms``: how long one that keeps up lets entries gather before it commits: a lone run makes one with every
    hop, and each commit takes time from the run. ``standby_ms``: how long a recorder rests that found another one at
    work. ``takes_older_epochs``: for the drain of a recovery, entries of epochs before the cursor's are recorded too as
    long as they continue the log. ``counts``: batches tell what a meter counts.
    """

    batch_events: int = 4_000
    trim_delay_ms: int = 2_000
    ended_ttl_s: int = 60
    block_ms: int = 1_000
    linger_ms: int = 10
    standby_ms: int = 200
    backoff_ms: int = 50
    backoff_ms_max: int = 5_000
    deadline_s: float = 60.0
    takes_older_epochs: bool = False
    run_events_max: int = RUN_EVENTS_MAX
    counts: bool = False


class _Prepared(NamedTuple):
    """Entries that come after a cursor, and the batch that they make."""

    after: Cursor
    entries: list[Entry]
    names: Mapping[str, Sequence[str]]
    batch: Batch

    @property
    def following(self) -> Cursor:
        """Where the cursor stands when they are recorded."""
        last = self.entries[-1]
        return Cursor(self.after.epoch, last.seq, last.id, entry_digest(last.fields))


class Recorder:
    """Records one partition. Not for concurrent use; several processes may each have one for the same partition.

    redis: without decode_responses and without retries. blocking: a second client for the blocking read, without a
    socket timeout shorter than ``block_ms``. node_ids: ids of the nodes of an IR, in IR order.
    on_quarantine: told of every run that has an event that could not be stored, after it was recorded. on_long: of
    every one that has more than ``run_events_max`` events, with each batch of it. on_recorded: of every batch.
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
        on_long: Callable[[str], Awaitable[None]] | None = None,
        on_recorded: Callable[[Projection], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings or RecorderSettings()
        keys = Keys(env).partition(partition)
        delay_ms = self._settings.trim_delay_ms
        results = MapResults(redis, pool, env, partition, node_ids)
        self._outbox = Outbox(redis, blocking or redis, keys, partition, results, trim_delay_ms=delay_ms, clock=clock)
        self._redis = redis
        self._pool = pool
        self._env = env
        self._partition = partition
        self._node_ids = node_ids
        self._on_quarantine = on_quarantine
        self._on_long = on_long
        self._on_recorded = on_recorded
        self._conn: PoolConnectionProxy[asyncpg.Record] | None = None
        self._cursor: Cursor | None = None
        self._chains = Chains(env, partition, counts=self._settings.counts)
        self.recorded = 0
        self._names: dict[str, Sequence[str]] = {}
        self._open = OpenExecutions()
        self._is_careful = False
        self._poison: frozenset[tuple[str, int]] = frozenset()
        self._entries_wanted = 100
        self._ahead: _Prepared | None = None
        self._ended: list[str] = []
        self._halted: list[str] = []
        self._long: list[str] = []
        self._is_outrun = False
        self._log = _log.bind(env=env, partition=partition)

    async def run(self) -> None:
        """Record until cancelled. Raises LogDiverged when the log and Redis have diverged."""
        backoff_ms = self._settings.backoff_ms
        try:
            while True:
                try:
                    await self._turn()
                    backoff_ms = self._settings.backoff_ms
                except LogDiverged as error:
                    self._log.critical("log_diverged", kind=error.kind, entry_id=error.entry_id, error=str(error))
                    raise
                except TRANSIENT as error:
                    self._log.warning("recording_failed", error=repr(error), backoff_ms=backoff_ms)
                    await anyio.sleep(backoff_ms / 1000)
                    backoff_ms = min(2 * backoff_ms, self._settings.backoff_ms_max)
        finally:
            await self.aclose()

    async def _turn(self) -> None:
        recorded = 0
        with anyio.CancelScope(shield=True):  # who stops it waits for the batch in hand; it has a deadline
            recorded = await self.record_batch()
        if self._is_outrun:
            await anyio.sleep(self._settings.standby_ms / 1000)
            return
        await self.trim()
        if not recorded and self._cursor is not None:
            await self._outbox.wait_after(self._cursor, self._settings.block_ms)
        if recorded < self._settings.batch_events:
            await anyio.sleep(self._settings.linger_ms / 1000)

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
            await self._forget()
            raise

    async def trim(self) -> int:
        """Remove recorded entries that have stood for the delay, never the cursor's own; return how many."""
        return await self._outbox.trim() if not self._ended else 0

    async def aclose(self) -> None:
        """Give the connection back. The recorder may be used again."""
        await self._forget()

    async def _record(self) -> int:
        conn = await self._connect()
        cursor = await self._find_cursor(conn)
        ahead, self._ahead = self._ahead, None
        try:
            prepared = ahead if ahead is not None and ahead.after == cursor else await self._prepare(conn, cursor)
        except LogDiverged:
            if await open_cursor(conn, self._env, self._partition) == cursor:
                raise
            return await self._outrun()
        if prepared is None:
            return 0
        batch = prepared.batch
        if batch.references:
            await copy_blobs(self._redis, conn, self._env, batch.references)
        try:
            if not await self._commit_and_look_ahead(conn, prepared):
                return await self._outrun()
        except UNSTORABLE:
            await self._find_unstorable(conn, prepared)
            raise
        reach("after_commit")
        self._keep(prepared.following, batch)
        wanted = self._settings.batch_events * len(prepared.entries) // max(1, batch.count)
        self._entries_wanted = max(1, min(ENTRIES_MAX, wanted))
        await self._tell()
        return batch.count

    async def _prepare(self, conn: Connection, cursor: Cursor) -> _Prepared | None:
        """Read what comes next; None where there is nothing. Raises LogDiverged."""
        entries = await self._read_after(cursor)
        if not entries:
            return None
        names = await self._look_up(conn, entries)
        batch, entries = await uncut(events_in(entries), lambda: self._build(entries, names))
        return _Prepared(cursor, entries, names, batch)

    async def _read_after(self, cursor: Cursor) -> list[Entry]:
        older = self._settings.takes_older_epochs
        return await self._outbox.read_after(cursor, self._entries_wanted, takes_older_epochs=older)

    async def _commit_and_look_ahead(self, conn: Connection, prepared: _Prepared) -> bool:
        """Commit; while Postgres is at work, and more is there than one batch takes, prepare the following one."""
        if len(prepared.entries) < self._entries_wanted:
            return await self._commit(conn, prepared)
        looking = asyncio.ensure_future(self._look_ahead(prepared))
        try:
            is_mine = await self._commit(conn, prepared)
            if is_mine:
                self._ahead = await looking
        finally:
            looking.cancel()
            await asyncio.wait([looking])
        return is_mine

    async def _look_ahead(self, prepared: _Prepared) -> _Prepared | None:
        """As ``_prepare`` after a batch that is being committed. None where it is not as plain as that.

        Gives way after each entry: what Postgres asks for comes first.
        """
        chains, before = self._chains, prepared.batch
        try:
            entries = await self._read_after(prepared.following)
            if not entries or events_in(entries) > MANY:
                return None
            irs = chains.irs_of_codes(entries, before)
            if chains.without_head(entries, before) or not self._names.keys() >= set(irs.values()):
                return None
            names = {run_id: self._names[ir_hash] for run_id, ir_hash in irs.items() if ir_hash}
            batch = chains.begin()
            for entry in entries:
                chains.extend(batch, entry, names, after=before)
                await asyncio.sleep(0)
        except (LogDiverged, *TRANSIENT):
            return None
        return _Prepared(prepared.following, entries, names, batch)

    def _build(self, entries: list[Entry], names: Mapping[str, Sequence[str]]) -> tuple[Batch, list[Entry]]:
        """Return the batch of the entries that continue the log. Raises LogDiverged where not even the first does."""
        try:
            return self._chains.build(entries, names, self._poison), entries
        except LogDiverged as error:
            good = [entry.id for entry in entries].index(error.entry_id)
            if not good:
                raise
            return self._chains.build(entries[:good], names, self._poison), entries[:good]

    async def _find_cursor(self, conn: Connection) -> Cursor:
        """Ask for the cursor where it is not known. Who died after a commit may not have told of it."""
        if self._cursor is None:
            cursor = await open_cursor(conn, self._env, self._partition)
            recorded = await self._outbox.read_recorded(cursor)
            self._ended = list(dict.fromkeys([*self._ended, *self._chains.ended_in(recorded)]))
            self._outbox.note_standing(cursor, recorded, self._chains.results_in)
            await self._tell()
            self._cursor = cursor
        return self._cursor

    async def _look_up(self, conn: Connection, entries: Sequence[Entry]) -> dict[str, Sequence[str]]:
        """Find what is not in memory: chain heads, and per run with codes the ids of its nodes (returned)."""
        if unknown := self._chains.without_head(entries):
            rows = await conn.fetch(_log_sql["heads"], unknown)
            self._chains.learn_heads({row["run_id"]: (row["seq"], row["hash"]) for row in rows})
        irs = self._chains.irs_of_codes(entries)
        if unknown := [run_id for run_id, ir_hash in irs.items() if ir_hash is None]:
            found: dict[str, str] = {
                row["run_id"]: row["ir_hash"] for row in await conn.fetch(_sql["irs_of_runs"], unknown)
            }
            self._chains.learn_irs(found)
            irs |= found
        names: dict[str, Sequence[str]] = {}
        for run_id, ir_hash in irs.items():
            if ir_hash:
                if ir_hash not in self._names:
                    self._names[ir_hash] = await self._node_ids(ir_hash)
                names[run_id] = self._names[ir_hash]
        return names

    async def _commit(self, conn: Connection, prepared: _Prepared) -> bool:
        """Append the batch; False where the cursor was moved by another recorder."""
        following = prepared.following
        try:
            async with conn.transaction():
                if not await move_cursor(conn, self._env, self._partition, prepared.after, following):
                    return False
                await _append(conn, prepared.batch, None if self._is_careful else self._open)
                reach("before_commit")
        except asyncpg.UniqueViolationError as cause:
            if cause.constraint_name == EXECUTIONS_KEY and not self._is_careful:
                self._is_careful = True
                return await self._commit(conn, prepared)
            message = f"an event of it is in the log already: {cause}"
            raise LogDiverged("content", self._partition, following.entry_id, message) from cause
        return True

    async def _find_unstorable(self, conn: Connection, prepared: _Prepared) -> None:
        """Try every event alone, and take it back. Slow, and done once for a batch that Postgres refused."""
        found: set[tuple[str, int]] = set()
        for run_id, seq, alone in self._chains.build_each(prepared.entries, prepared.names, self._poison):
            transaction = conn.transaction()
            await transaction.start()
            try:
                await _append(conn, alone, None)
            except UNSTORABLE as error:
                self._log.error("event_not_storable", run_id=run_id, seq=seq, error=repr(error))
                found.add((run_id, seq))
            finally:
                await transaction.rollback()
        self._poison |= found

    def _keep(self, cursor: Cursor, batch: Batch) -> None:
        """Remember what is committed."""
        self._cursor = cursor
        self._outbox.note_recorded(cursor, batch.results)
        self._chains.keep(batch)
        self.recorded += batch.count
        self._open.update(batch.projection)
        if self._on_recorded is not None:
            self._on_recorded(batch.projection)
        self._is_careful = False
        self._poison = frozenset()
        self._ended += batch.projection.ended
        self._long += [run_id for run_id, (seq, _) in batch.heads.items() if seq > self._settings.run_events_max]
        for run_id, seq, reason in batch.quarantined:
            self._log.error("event_quarantined", run_id=run_id, seq=seq, reason=reason)
            self._halted.append(run_id)

    async def _tell(self) -> None:
        """What follows from a commit. Nothing is trimmed before it is done."""
        await self._outbox.let_go()
        await self._outbox.expire_runs(self._ended, self._settings.ended_ttl_s)
        while self._halted:
            if self._on_quarantine is not None:
                await self._on_quarantine(self._halted[-1])
            self._halted.pop()
        while self._long:
            if self._on_long is not None:
                await self._on_long(self._long[-1])
            self._long.pop()

    async def _outrun(self) -> int:
        self._is_outrun = True
        await self._forget()
        return 0

    async def _connect(self) -> Connection:
        if self._conn is None:
            self._conn = await self._pool.acquire()
        return self._conn

    async def _forget(self) -> None:
        """Nothing is known any more: the cursor will be asked again."""
        conn, self._conn, self._cursor, self._ahead = self._conn, None, None, None
        self._chains.forget()
        self._is_careful = True
        if conn is not None:
            with anyio.CancelScope(shield=True), anyio.move_on_after(5):
                await self._pool.release(conn)


async def _append(conn: Connection, batch: Batch, known: OpenExecutions | None) -> None:
    await copy_rows(conn, "event_log", LOG_COLUMNS, batch.rows)
    if batch.payloads:
        await copy_rows(conn, "event_payloads", PAYLOAD_COLUMNS, batch.payloads)
    await batch.projection.write(conn, known)
