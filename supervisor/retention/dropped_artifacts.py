"""Dropping artifacts: those that only runs name which ended long enough ago leave the store; references to them stay.

What a younger run names stays, and what stands for the payload of an event or a cached output, whatever else it is.
First what may go is given up: whoever stores or names it from then on says so in its row. When the log has all that
stood in the outboxes, it is looked at again who names it, and what nobody does is deleted, if it is given up still.
What is in Redis is in use, or was lately: it is left to a later pass, which looks at its runs again.
"""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime, timedelta

import structlog
from redis.asyncio import Redis

from ...sdk.errors import PayloadUnreadable
from ...sdk.keys import Keys
from ...sdk.sealing.artifacts import digests_in
from ...sdk.sealing.payload_terms import PAYLOAD_TERMS
from ...sdk.stores.connection import Connection
from ...sdk.stores.dropped_artifacts import (
    drop_artifacts,
    move_mark,
    payloads_of_window,
    read_mark,
    referring_runs,
    stored_contents,
    stored_of,
    window_end,
    young_payloads,
)
from ...sdk.stores.payloads import get_payloads, give_up_payloads, has_sealed, read_reference, referred_payloads
from .archived_names import decoded, named_by
from .collector import Collector

RUNS_A_TURN = 5_000
CONTENTS_A_CALL = 16
log = structlog.get_logger()


class ArtifactRetention:
    """For one environment. Idempotent; safe beside workers and supervisors."""

    def __init__(self, redis: Redis, keys: Keys, collector: Collector, age: timedelta) -> None:
        self._redis = redis
        self._env = keys.env
        self._keys = keys
        self._collector = collector
        self._kept_ms = age // timedelta(milliseconds=1)

    async def count(self, conn: Connection, before: datetime) -> int:
        """Return how many artifacts ``drop`` would delete. Changes nothing. Raises PayloadUnreadable."""
        after, found = await read_mark(conn, self._env), set[bytes]()
        while (until := await window_end(conn, self._env, after, before, RUNS_A_TURN)) is not None:
            named, _ = await self._cold(await self._named(conn, after, until))
            found |= await self._unneeded(conn, named, before)
            after = until
        return len(found)

    async def drop(self, conn: Connection, before: datetime) -> int:
        """Delete the artifacts that only runs name which ended before a time; return how many.

        Raises PayloadUnreadable.
        """
        after, dropped, is_whole = await read_mark(conn, self._env), 0, True
        while (until := await window_end(conn, self._env, after, before, RUNS_A_TURN)) is not None:
            named, is_all = await self._cold(await self._named(conn, after, until))
            unneeded = await self._unneeded(conn, named, before)
            if unneeded:
                await give_up_payloads(conn, self._env, sorted(unneeded))
                if not await self._collector.is_recorded(conn):
                    break
                still, is_cold = await self._cold(await self._unneeded(conn, unneeded, before))
                gone = await drop_artifacts(conn, self._env, sorted(still), self._kept_ms)
                await self._collector.keep(conn, unneeded)
                is_all &= is_cold and gone == len(still)
                dropped += gone
            after, is_whole = until, is_whole and is_all
            if is_whole:
                await move_mark(conn, self._env, until)
        return dropped

    async def _named(self, conn: Connection, after: datetime, until: datetime) -> set[bytes]:
        """Return the artifacts that runs name which ended then, as far as they are stored."""
        named, references = set[bytes](), set[bytes]()
        async with conn.transaction(readonly=True), aclosing(payloads_of_window(conn, self._env, after, until)) as some:
            async for payload in some:
                reference = read_reference(payload)
                if reference is None:
                    named |= digests_in(payload)
                else:
                    references.add(reference.digest)
        waiting = references | named
        while waiting:
            inside = set[bytes]()
            fresh = sorted(waiting)
            for first in range(0, len(fresh), CONTENTS_A_CALL):
                contents = await get_payloads(conn, self._env, fresh[first : first + CONTENTS_A_CALL])
                for content in contents.values():
                    inside |= named_by(decoded(content))
            waiting = inside - named
            named |= inside
        return await stored_of(conn, self._env, named)

    async def _cold(self, digests: set[bytes]) -> tuple[set[bytes], bool]:
        """Return those that Redis does not have, and whether these are all."""
        cold = set[bytes]()
        every = sorted(digests)
        for first in range(0, len(every), CONTENTS_A_CALL):
            some = every[first : first + CONTENTS_A_CALL]
            pipe = self._redis.pipeline(transaction=False)
            for found in some:
                pipe.exists(self._keys.blob(found.hex()))
            cold |= {found for found, is_hot in zip(some, await pipe.execute(), strict=True) if not is_hot}
        return cold, cold == digests

    async def _unneeded(self, conn: Connection, wanted: set[bytes], before: datetime) -> set[bytes]:
        """Return those that nothing but runs that ended before names. Raises PayloadUnreadable."""
        if not wanted:
            return set()
        needed = await referred_payloads(conn, self._env, wanted)
        is_encoded = PAYLOAD_TERMS.codec is not None
        if not is_encoded and await has_sealed(conn, self._env, wanted):
            raise PayloadUnreadable("artifacts are encrypted, and this process has no key ring to find who names them")
        holders: dict[bytes, set[bytes]] = {}
        young = set[bytes]()
        async with conn.transaction(readonly=True):
            async with aclosing(stored_contents(conn, self._env, is_encoded=is_encoded)) as contents:
                async for found, content in contents:
                    if named := digests_in(decoded(content) or b""):
                        holders[found] = named
            async with aclosing(young_payloads(conn, self._env, before)) as payloads:
                async for payload in payloads:
                    young |= digests_in(payload)
            referring = await referring_runs(conn, self._env, before, holders)
        young |= await self._collector.named_by_runs(conn, wanted | holders.keys())
        inner = set[bytes]().union(*holders.values())
        waiting = [one for one in holders if referring.get(one, one not in inner and one not in wanted)]
        waiting += young
        seen = set(waiting)
        while waiting:
            fresh = holders.get(waiting.pop(), set()) - seen
            seen |= fresh
            waiting += fresh
        return wanted - needed - seen
