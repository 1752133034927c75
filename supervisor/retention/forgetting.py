"""Forgetting runs: everything that an ended run has said and made is emptied, in Postgres and in Redis.

One transaction empties a run in Postgres and gives up its payloads; then Redis forgets the run, and the collector
deletes what nothing else refers to. Whoever ends in between leaves that to the next sweep of a supervisor; asking again
does the rest at once. A payload that another run has made as well stays with that run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from redis.asyncio import Redis

from ...sdk.caching.cached import decode_kept
from ...sdk.errors import PayloadUnreadable
from ...sdk.fault_points import reach
from ...sdk.keys import Keys, PartitionKeys
from ...sdk.logs.step_lines import LINES, decode_lines
from ...sdk.sealing.artifacts import digests_in
from ...sdk.sealing.payload_terms import PAYLOAD_TERMS, SEALED_HEAD
from ...sdk.stores.connection import Connection, Pool
from ...sdk.stores.forgetting import (
    cache_keys,
    check_ended,
    count_payloads,
    descendants_of,
    empty_run,
    lock_ended,
    payloads_of_run,
)
from ...sdk.stores.payloads import get_payloads, give_up_payloads, read_reference
from .collector import Collector

CONTENTS_A_CALL = 16
KEYS_A_CALL = 100
ENTRIES_A_CALL = 100
_ADDRESS = re.compile(rb"@([0-9a-f]{32}):")


class Emptied(msgspec.Struct, frozen=True, kw_only=True):
    """What was forgotten. ``events``: that had a payload. ``payloads``: deleted; ``left``: to the collector.

    ``kept_alive``: child runs that have not ended, which stay as they are.
    """

    run_ids: Sequence[str]
    events: int
    payloads: int
    left: int
    kept_alive: Sequence[str] = ()


class Forgetting:
    """For one environment. Idempotent; safe beside workers and supervisors."""

    def __init__(self, redis: Redis, pool: Pool, keys: Keys, *, partitions: int = 1) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys
        self._partitions = partitions
        self._collector = Collector(redis, pool, keys, partitions=partitions)

    async def preview(self, run_ids: Sequence[str]) -> Emptied:
        """Say what ``forget`` would do, and wait for nobody. Raises UnknownRun, NotEnded."""
        async with self._pool.acquire() as conn:
            chosen, alive = await self._choose(conn, run_ids)
            events = await count_payloads(conn, chosen)
        return Emptied(run_ids=chosen, events=events, payloads=0, left=0, kept_alive=alive)

    async def forget(self, run_ids: Sequence[str], *, by: str | None = None, reason: str = "") -> Emptied:
        """Forget runs and the child runs that were steps of theirs. Raises UnknownRun, NotEnded, PayloadUnreadable.

        All that was asked for is looked at before the first is emptied. One transaction for each run.
        """
        async with self._pool.acquire() as conn:
            chosen, alive = await self._choose(conn, run_ids)
            events, cached = 0, list[str]()
            talk = {run_id: await self._talk_of(run_id) for run_id in chosen}
            for run_id in chosen:
                async with conn.transaction():
                    await lock_ended(conn, self._keys.env, run_id)
                    named = await self._named_by(conn, run_id)
                    cached += await cache_keys(conn, run_id)
                    events += await empty_run(conn, self._keys.env, run_id, by=by, reason=reason)
                    await give_up_payloads(conn, self._keys.env, sorted(named | talk[run_id]))
                reach("after_empty_run")
            await self._collector.delete_hot(conn, set[bytes]().union(*talk.values()))
            await self._leave_redis(chosen, cached)
            reach("after_leave_redis")
            deleted, left = await self._collector.delete_given_up(conn)
            await self._drop_cached(set(chosen), cached)  # who has read one in Postgres may have put it back
        return Emptied(run_ids=chosen, events=events, payloads=deleted, left=left, kept_alive=alive)

    async def _choose(self, conn: Connection, run_ids: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the runs with what was a step of theirs, and of that what has not ended."""
        asked = list(dict.fromkeys(run_ids))
        await check_ended(conn, self._keys.env, asked)
        below = await descendants_of(conn, asked)
        ended = [run_id for run_id, has_ended in below.items() if has_ended]
        return asked + ended, [run_id for run_id, has_ended in below.items() if not has_ended]

    async def _named_by(self, conn: Connection, run_id: str) -> set[bytes]:
        """Return the digests of all payloads and artifacts that a run has named."""
        named: set[bytes] = set()
        waiting = await payloads_of_run(conn, self._keys.env, run_id)
        while waiting:
            found: set[bytes] = set()
            for stored in waiting:
                reference = read_reference(stored)
                found |= {reference.digest} if reference else _digests_in(stored)
            fresh = sorted(found - named)
            named |= found
            waiting.clear()
            for first in range(0, len(fresh), CONTENTS_A_CALL):
                contents = await get_payloads(conn, self._keys.env, fresh[first : first + CONTENTS_A_CALL])
                waiting += [content for stored in contents.values() if (content := _short(_decoded(stored)))]
        return named

    async def _talk_of(self, run_id: str) -> set[bytes]:
        """Return the digests of what agents of a run have kept, which no event names."""
        found: set[bytes] = set()
        for number in range(self._partitions):
            key = self._keys.partition(number).talk(run_id)
            found |= {bytes.fromhex(digest.decode()) for digest in await self._redis.smembers(key)}
        return found

    async def _leave_redis(self, run_ids: Sequence[str], cached: Sequence[str]) -> None:
        await self._drop_cached(set(run_ids), cached)
        for number in range(self._partitions):
            partition = self._keys.partition(number)
            for first in range(0, len(run_ids), KEYS_A_CALL):
                some = run_ids[first : first + KEYS_A_CALL]
                await self._redis.unlink(
                    *map(partition.run, some), *map(partition.partial, some), *map(partition.talk, some)
                )
            await self._drop_lines(partition, set(run_ids))

    async def _drop_cached(self, run_ids: set[str], keys: Sequence[str]) -> None:
        """Outputs of theirs that were kept: others may have been kept under the same keys since."""
        for first in range(0, len(keys), KEYS_A_CALL):
            names = [self._keys.cached(key) for key in keys[first : first + KEYS_A_CALL]]
            found = [decode_kept(content) if content else None for content in await self._redis.mget(names)]
            theirs = [name for name, kept in zip(names, found, strict=True) if kept and kept.run_id in run_ids]
            if theirs:
                await self._redis.unlink(*theirs)

    async def _drop_lines(self, partition: PartitionKeys, run_ids: set[str]) -> None:
        """Lines of steps that are not stored yet: entries with nothing else go. Others are stored without them."""
        after = "-"
        while entries := await self._redis.xrange(partition.step_log, after, "+", ENTRIES_A_CALL):
            for name, fields in entries:
                try:
                    lines = decode_lines(fields.get(LINES, b""))
                except msgspec.DecodeError:
                    continue
                if lines and all(line.run_id in run_ids for line in lines):
                    await self._redis.xdel(partition.step_log, name)
            after = f"({entries[-1][0].decode()}"


def _digests_in(content: bytes) -> set[bytes]:
    return digests_in(content) | {bytes.fromhex(found.decode()) for found in _ADDRESS.findall(content)}


def _decoded(stored: bytes) -> bytes:
    """What is stored, in clear; nothing where its key was destroyed. Raises PayloadUnreadable without any key ring."""
    if PAYLOAD_TERMS.codec is None and stored.startswith(SEALED_HEAD):
        raise PayloadUnreadable("payloads are encrypted, and this process has no key ring to find what they name")
    try:
        return PAYLOAD_TERMS.decode(stored)
    except PayloadUnreadable:
        return b""


def _short(content: bytes) -> bytes:
    """The same, where it may name others; nothing else need be kept."""
    return content if _digests_in(content) else b""
