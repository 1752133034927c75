"""The outbox of one partition in Redis: read after a cursor, wait for more, and let go of what is recorded: of results
of maps, too, that its entries tell.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ...sdk.fault_points import reach
from ...sdk.floor.scripts import expire_runs
from ...sdk.floor.streams import place_of
from ...sdk.keys import PartitionKeys
from ...sdk.stores.cursors import START, Cursor, entry_digest
from .entries import Entry, LogDiverged, read_entry
from .map_results import MapResults, Told

if TYPE_CHECKING:
    from redis.asyncio import Redis

EXPIRED_AT_ONCE = 500
"""Two writes each: no script call writes more than a thousand times."""


class _Trimmable(NamedTuple):
    """``due``: from when on what stands before the cursor's entry may go. ``results``: that were told up to it."""

    due: float
    cursor: Cursor
    results: list[Told]


class Outbox:
    """redis: without decode_responses. blocking: a client for the blocking read; may be the same."""

    def __init__(
        self,
        redis: Redis,
        blocking: Redis,
        keys: PartitionKeys,
        partition: int,
        results: MapResults,
        *,
        trim_delay_ms: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._blocking = blocking
        self._keys = keys
        self._partition = partition
        self._trim_delay_s = trim_delay_ms / 1000
        self._clock = clock
        self._results = results
        self._told: list[Told] = []
        self._trimmable: deque[_Trimmable] = deque()

    async def read_after(self, cursor: Cursor, count: int, *, takes_older_epochs: bool) -> list[Entry]:
        """Return up to ``count`` entries after the cursor's, as far as they continue it.

        Raises LogDiverged where not even the first does, or where the cursor's entry is not as it was.
        """
        is_first = cursor.entry_id == START
        found = await self._range("-" if is_first else cursor.entry_id, "+", count + (not is_first))
        if not is_first:
            if not found or found[0][0].decode() != cursor.entry_id or entry_digest(found[0][1]) != cursor.entry_digest:
                message = "the last recorded entry is gone or changed"
                raise LogDiverged("cursor", self._partition, cursor.entry_id, message)
            del found[0]
        entries: list[Entry] = []
        for entry_id, fields in found:
            try:
                entry = read_entry(self._partition, entry_id, fields)
                self._check(entry, cursor, len(entries), takes_older_epochs)
            except LogDiverged:
                if entries:
                    break
                raise
            entries.append(entry)
        return entries

    def _check(self, entry: Entry, cursor: Cursor, before: int, takes_older_epochs: bool) -> None:
        if entry.epoch != cursor.epoch and not (takes_older_epochs and entry.epoch < cursor.epoch):
            message = f"it is of epoch {entry.epoch}, the log of {cursor.epoch}"
            raise LogDiverged("epoch", self._partition, entry.id, message)
        following = cursor.partition_seq + before + 1
        if entry.seq != following:
            message = f"it has partition sequence {entry.seq} where {following} comes next"
            raise LogDiverged("partition_seq", self._partition, entry.id, message)

    async def read_recorded(self, cursor: Cursor) -> list[Entry]:
        """Return what still stands up to and with the cursor's entry."""
        if cursor.entry_id == START:
            return []
        found = await self._range("-", cursor.entry_id, None)
        return [read_entry(self._partition, entry_id, fields) for entry_id, fields in found]

    async def wait_after(self, cursor: Cursor, block_ms: int) -> None:
        """Until there is an entry after the cursor's, or the time has passed."""
        await self._blocking.xread({self._keys.outbox: cursor.entry_id}, count=1, block=block_ms)

    async def expire_runs(self, run_ids: list[str], ttl_s: int) -> None:
        """Give the keys of recorded, ended runs a time-to-live and say that they are recorded. Empties the list."""
        while run_ids:
            await expire_runs(self._redis, self._keys, ttl_s, run_ids[:EXPIRED_AT_ONCE])
            del run_ids[:EXPIRED_AT_ONCE]

    async def let_go(self) -> None:
        """Take from Redis the results of maps that are recorded."""
        if self._told:
            await self._results.let_go(self._told)
            self._told.clear()

    def note_recorded(self, cursor: Cursor, results: list[Told]) -> None:
        """Results of maps that were told may go; from the delay on, everything before the cursor's entry, and what they
        refer to.
        """
        self._told += results
        self._trimmable.append(_Trimmable(self._clock() + self._trim_delay_s, cursor, results))

    def note_standing(
        self, cursor: Cursor, entries: Sequence[Entry], results_in: Callable[[Sequence[Entry]], list[Told]]
    ) -> None:
        """As ``note_recorded``, of a cursor that was asked for, and of all entries that still stand up to it.

        What was noted before holds for what is there: what is behind the cursor is recorded no more, if it ever was,
        and before the first entry somebody else has trimmed.
        """
        self._told = results_in(entries)
        first = place_of(entries[0].id) if entries else ()
        places = ((each, place_of(each.cursor.entry_id)) for each in self._trimmable if entries)
        self._trimmable = deque(each for each, place in places if first < place <= place_of(cursor.entry_id))
        noted = place_of(self._trimmable[-1].cursor.entry_id) if self._trimmable else ()
        rest = [entry for entry in entries if place_of(entry.id) > noted]
        if rest:
            self._trimmable.append(_Trimmable(self._clock() + self._trim_delay_s, cursor, results_in(rest)))

    async def trim(self) -> int:
        """Remove what may go, never the entry of a cursor that was noted last; return how many.

        Up to where is noted in Redis: what is missing there was recorded, should Postgres ever not know of it.
        """
        now = self._clock()
        due = [each for each in self._trimmable if each.due <= now]
        if not due:
            return 0
        reach("before_trim")
        await self._results.cool([told for each in due for told in each.results])
        last = due[-1].cursor
        pipe = self._redis.pipeline(transaction=False)
        pipe.hset(self._keys.meta, "recorded", last.partition_seq)  # pyright: ignore[reportUnusedCoroutine]
        pipe.xtrim(self._keys.outbox, minid=last.entry_id, approximate=False)  # pyright: ignore[reportUnusedCoroutine]
        _, trimmed = await pipe.execute()
        for _ in due:
            self._trimmable.popleft()
        reach("after_trim")
        return int(trimmed)

    async def _range(self, first: str, last: str, count: int | None) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
        limit = () if count is None else ("COUNT", count)
        found: list[tuple[bytes, Mapping[bytes, bytes]]] = await cast("Any", self._redis).execute_command(
            "XRANGE", self._keys.outbox, first, last, *limit
        )
        return found
