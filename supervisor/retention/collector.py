"""The collector: payloads beyond the inline limit leave Redis when nobody uses them, and Postgres when nothing refers
to them.

Redis is what is hot: a payload that was idle for ``hot_s`` is copied to Postgres if it is not there yet, and taken
away; whoever needs it reads it there. So nothing in Redis has to be searched for who refers to it.

Postgres is what there is. A payload is garbage when no event, no cached output, no artifact inside of another payload
and no run that goes on, with the transcripts of its agents, refers to it, and nobody has stored or referred to it for
``keep_s``: that long a step may hold the name of what it has stored in its hands alone. Whoever refers to a payload
anew, or takes it away from Redis, says so in the same row (``touch_payloads``), and deleting looks at that again:
whichever comes first, the other one sees it. A supervisor that lacks a key cannot tell what encrypted payloads refer
to, and deletes nothing. What was given up, as its run is forgotten, counts as unused since 1970 and is not kept for
``keep_s``.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from typing import TypeVar, cast

import anyio
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from ...sdk.errors import PayloadUnreadable
from ...sdk.floor.clock import read_clock
from ...sdk.floor.streams import place_of
from ...sdk.keys import Keys
from ...sdk.sealing.payload_terms import PAYLOAD_TERMS
from ...sdk.server_errors import SERVER_ERRORS
from ...sdk.settings import PAYLOAD_HOT_S, PAYLOAD_KEEP_S
from ...sdk.stores.connection import Connection, Pool
from ...sdk.stores.cursors import read_cursor
from ...sdk.stores.payloads import (
    contents_with_artifacts,
    delete_payloads,
    get_payloads,
    given_up_payloads,
    has_sealed,
    referred_payloads,
    touch_payloads,
    unused_payloads,
)
from ...sdk.stores.runs import unfinished_runs
from ...sdk.stores.step_cache import DELETED_AT_ONCE, delete_void_outputs
from ..recording.blobs import cool_payloads, named_in

SWEEP_S = 600.0
KEYS_A_CALL = 500
CONTENTS_A_CALL = 16
FIELDS_A_CALL = 500
DETAILS = b"d"
"""Fields of a run begin so that hold the details of a heartbeat: they may name a transcript, which names others."""
CANDIDATES_MAX = 10_000
"""Payloads that one sweep may delete: their digests are in memory."""
GIVEN_UP_S = 20 * 365 * 86_400.0
"""What was given up counts as unused since 1970; what anybody has stored or named since then does not."""
RECORDED_S = 10.0
"""How long the recorder is waited for before payloads that were given up are left to the next sweep."""
LOOK_S = 0.05
PAUSE_S = 0.005
"""Between two calls: what runs goes first."""
LOCK_CLASS = 0x434F4C
"""The first of the two numbers of its advisory lock; the second is the environment's."""
T = TypeVar("T")
log = structlog.get_logger()


class Collector:
    """For one environment. Idempotent; of several supervisors one sweeps at a time."""

    def __init__(
        self,
        redis: Redis,
        pool: Pool,
        keys: Keys,
        *,
        partitions: int = 1,
        hot_s: float = PAYLOAD_HOT_S,
        keep_s: float = PAYLOAD_KEEP_S,
    ) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys
        self._partitions = partitions
        self._hot_s = hot_s
        self._keep_s = keep_s

    async def run(self) -> None:
        """Sweep now and then, until cancelled."""
        while True:
            await anyio.sleep(SWEEP_S)
            try:
                await self.sweep()
            except SERVER_ERRORS as error:
                log.warning("payloads_not_collected", error=str(error) or repr(error))

    async def sweep(self) -> tuple[int, int]:
        """Return how many payloads have left Redis, and how many Postgres."""
        async with self._pool.acquire() as conn:
            if not await conn.fetchval("SELECT pg_try_advisory_lock($1, hashtext($2))", LOCK_CLASS, self._keys.env):
                return 0, 0
            try:
                given_up, _ = await self.delete_given_up(conn)
                cooled, deleted = await self._cool_all(conn), given_up + await self._delete_unused(conn)
            finally:
                with anyio.CancelScope(shield=True), anyio.move_on_after(2):
                    await conn.fetchval("SELECT pg_advisory_unlock($1, hashtext($2))", LOCK_CLASS, self._keys.env)
        if cooled or deleted:
            log.info("payloads_collected", env=self._keys.env, left_redis=cooled, deleted=deleted)
        return cooled, deleted

    async def _cool_all(self, conn: Connection) -> int:
        cooled, cursor = 0, 0
        payloads = re.compile(re.escape(self._keys.blob("").encode()) + rb"[0-9a-f]{32}")
        while True:
            cursor, names = await self._redis.scan(cursor, match=self._keys.blob("*"), count=KEYS_A_CALL)
            idle = await self._idle([name for name in names if payloads.fullmatch(name)])
            for some in _parts(idle, CONTENTS_A_CALL):
                cooled += await self._cool(conn, some)
            if not cursor:
                return cooled
            await anyio.sleep(PAUSE_S)

    async def _idle(self, names: list[bytes]) -> list[bytes]:
        """Return the keys that nobody has used for long."""
        pipe = self._redis.pipeline(transaction=False)
        for name in names:
            pipe.execute_command("OBJECT IDLETIME", name)  # pyright: ignore[reportUnusedCoroutine]
        ages = await pipe.execute(raise_on_error=False)
        refused = next((age for age in ages if isinstance(age, RedisError)), None)
        if refused is not None and not isinstance(refused, ResponseError):
            raise refused
        return [name for name, age in zip(names, ages, strict=True) if isinstance(age, int) and age >= self._hot_s]

    async def _cool(self, conn: Connection, names: list[bytes]) -> int:
        digests = (bytes.fromhex(name[-32:].decode()) for name in names)
        return await cool_payloads(self._redis, conn, self._keys.env, digests)

    async def delete_given_up(self, conn: Connection) -> tuple[int, int]:
        """Delete the payloads that were given up and that nothing refers to, here and in Redis, without waiting longer.

        Return how many were deleted, and how many are left to the next time, for the log is behind the outbox: what
        stands there may refer to them. Whoever has one in hand that is still stored reads it from Postgres meanwhile.
        """
        rest = await given_up_payloads(conn, self._keys.env)
        for some in _parts(rest, KEYS_A_CALL):
            await self._redis.unlink(*(self._keys.blob(found.hex()) for found in some))
        if rest and not await self.is_recorded(conn):
            return 0, len(rest)
        deleted = 0
        while rest and (unused := await self._unused_of(conn, rest)):  # some name others
            deleted += await self._delete(conn, unused, GIVEN_UP_S)
            rest -= unused
        await self.keep(conn, rest)
        return deleted, 0

    async def delete_hot(self, conn: Connection, digests: set[bytes]) -> None:
        """Delete payloads from Redis that may be nowhere else, but for those that something refers to.

        Where the log is behind the outbox they stay for ``hot_s``: what stands there may refer to them.
        """
        if not digests or not await self.is_recorded(conn):
            return
        for some in _parts(await self._unused_of(conn, digests), KEYS_A_CALL):
            await self._redis.unlink(*(self._keys.blob(found.hex()) for found in some))

    async def is_recorded(self, conn: Connection) -> bool:
        """Wait until the log has everything that stands in the outboxes now; whether that came about."""
        with anyio.move_on_after(RECORDED_S):
            for number in range(self._partitions):
                newest = await self._redis.xrevrange(self._keys.partition(number).outbox, count=1)
                while newest:
                    cursor = await read_cursor(conn, self._keys.env, number)
                    if cursor is not None and place_of(cursor.entry_id) >= place_of(newest[0][0].decode()):
                        break
                    await anyio.sleep(LOOK_S)
            return True
        return False

    async def _delete_unused(self, conn: Connection) -> int:
        await self._delete_void(conn)
        found = await unused_payloads(conn, self._keys.env, self._keep_s, CANDIDATES_MAX)
        unused = await self._unused_of(conn, found)
        await self.keep(conn, found - unused)
        return await self._delete(conn, unused, self._keep_s)

    async def _unused_of(self, conn: Connection, found: set[bytes]) -> set[bytes]:
        unused = set(found)
        for some in _parts(found, KEYS_A_CALL):
            unused -= await referred_payloads(conn, self._keys.env, some)
        if unused:
            unused = await self._without_artifacts(conn, unused)
        if unused:
            unused -= await self.named_by_runs(conn, unused)
        return unused

    async def keep(self, conn: Connection, used: set[bytes]) -> None:
        """Let payloads count as used now."""
        for some in _parts(used, KEYS_A_CALL):
            await touch_payloads(conn, self._keys.env, some)

    async def _delete(self, conn: Connection, unused: set[bytes], keep_s: float) -> int:
        deleted = 0
        for some in _parts(unused, KEYS_A_CALL):
            deleted += await delete_payloads(conn, self._keys.env, some, keep_s)
        return deleted

    async def _delete_void(self, conn: Connection) -> None:
        """Delete cached outputs that nobody can take any more: they refer to nothing then."""
        now_ms = int(await read_clock(self._redis) * 1000)
        deleted = DELETED_AT_ONCE
        while deleted == DELETED_AT_ONCE:
            await anyio.sleep(PAUSE_S)
            deleted = await delete_void_outputs(conn, self._keys.env, now_ms)

    async def _without_artifacts(self, conn: Connection, unused: set[bytes]) -> set[bytes]:
        """Return those that no other payload names; none where one cannot be read that may name any of them."""
        rest, is_encoded = set(unused), PAYLOAD_TERMS.codec is not None
        try:
            if not is_encoded and await has_sealed(conn, self._keys.env, unused):
                raise PayloadUnreadable("they are encrypted, and this process has no key ring")
            async with aclosing(contents_with_artifacts(conn, self._keys.env, is_encoded=is_encoded)) as contents:
                async for content in contents:
                    rest -= named_in(PAYLOAD_TERMS.decode(content))
        except PayloadUnreadable as error:
            log.error("payloads_kept", env=self._keys.env, payloads=len(unused), error=error.message, hint=error.hint)
            return set()
        return rest

    async def named_by_runs(self, conn: Connection, wanted: set[bytes]) -> set[bytes]:
        """Return those that values of runs that go on name, or transcripts of their agents: no event names them.

        All of them where one of these cannot be read.
        """
        named: set[bytes] = set()
        try:
            for number in range(self._partitions):
                async for page in unfinished_runs(conn, self._keys.env, number):
                    for run in page:
                        named |= wanted & await self._named_by(conn, self._keys.partition(number).run(run.run_id))
        except PayloadUnreadable as error:
            log.error("payloads_kept", env=self._keys.env, payloads=len(wanted), error=error.message, hint=error.hint)
            return set(wanted)
        return named

    async def _named_by(self, conn: Connection, key: str) -> set[bytes]:
        named, told = set[bytes](), set[bytes]()
        cursor = 0
        while True:
            page = await self._redis.execute_command("HSCAN", key, cursor, "COUNT", FIELDS_A_CALL)
            cursor, fields = cast("tuple[int, dict[bytes, bytes]]", page)
            for field, value in fields.items():
                if field.startswith(DETAILS):
                    told |= named_in(PAYLOAD_TERMS.decode(value))
                named |= named_in(value)
            if not cursor:
                break
            await anyio.sleep(PAUSE_S)
        async for content in self._contents(conn, told):
            named |= named_in(content)
        return named | told

    async def _contents(self, conn: Connection, digests: set[bytes]) -> AsyncIterator[bytes]:
        """Yield those that are stored. What leaves Redis meanwhile is in Postgres before."""
        for some in _parts(digests, CONTENTS_A_CALL):
            hot: list[bytes | None] = await self._redis.mget([self._keys.blob(found.hex()) for found in some])
            gone = [found for found, content in zip(some, hot, strict=True) if content is None]
            cold = await get_payloads(conn, self._keys.env, gone)
            for stored in (*hot, *cold.values()):
                if stored is not None:
                    yield PAYLOAD_TERMS.decode(stored)


def _parts(values: Iterable[T], size: int) -> Iterator[list[T]]:
    every = list(values)
    return (every[at : at + size] for at in range(0, len(every), size))
