"""The step cache of a worker: looks for outputs that were kept, and lets one attempt at a time make one that is not.

Tasks ask for single outputs; what is asked at about the same time goes together. Redis is asked first, and Postgres for
what it has not, where the worker has one: what is found there is brought to Redis again. An output of which a payload
is gone is not there.
Whoever finds nothing takes the lock of the output, and executes while it has it; it is renewed until the transition of
the attempt was applied, or refused. Only then the output is kept: others may take what the log has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import anyio
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..compiler.workflow import Cache
from ..sdk.caching.cached import HOT_MS_MAX, KEPT_VERSION, NO_FLOORS, Kept, needs_of, told_kept
from ..sdk.floor.cache_calls import CacheCalls, Ending, Lock
from ..sdk.floor.cold_payloads import PostgresPayloads
from ..sdk.floor.payloads import PayloadMissing, is_reference, load_payload
from ..sdk.keys import Keys
from ..sdk.sealing.payload_terms import PAYLOAD_TERMS
from ..sdk.server_errors import POSTGRES_ERRORS
from ..sdk.stores.payloads import touch_payloads
from ..sdk.stores.step_cache import get_floors, get_outputs
from .batching import Answer, Batcher
from .retrying import retry

LOOKS_AT_ONCE = 256
LOCKS_AT_ONCE = 128
COLD_S_MAX = 5.0
"""How long Postgres may take to say what is cold; what it does not say counts as not there."""
Found = Callable[[Kept | None], None]
_log = structlog.get_logger()


class _Look(NamedTuple):
    key: str
    now_ms: int
    found: Found


class Taken(NamedTuple):
    """``flight``: where the lock is held and nothing is kept. ``kept``: where something is."""

    flight: Flight | None
    kept: Kept | None


class _Ask(NamedTuple):
    lock: Lock
    cache: Cache
    made_ms: int
    gone: bytes | None
    taken: Callable[[Taken], None]


class Flight:
    """The lock of one output, in the hands of one attempt.

    ``made_ms``: when the attempt was handed out. ``kept``: set where the attempt has an output that is to be kept.
    ``landed``: the lock is free, and what is kept can be found.
    """

    __slots__ = ("_end", "cache", "is_ended", "kept", "landed", "lock", "made_ms")

    def __init__(self, lock: Lock, cache: Cache, made_ms: int, end: Callable[[Flight], None]) -> None:
        self.lock = lock
        self.cache = cache
        self.made_ms = made_ms
        self.kept: Kept | None = None
        self.is_ended = False
        self.landed = anyio.Event()
        self._end = end

    def keep(self, run_id: str, output: bytes, content: bytes) -> dict[str, object]:
        """Note the output, and return what the log says of that. content: its value, where it is a reference."""
        self.kept = Kept(KEPT_VERSION, run_id, self.made_ms, output, needs_of(output, content))
        return told_kept(self.lock.key, self.cache, self.made_ms)

    def end(self, *, is_applied: bool) -> None:
        """Give the lock up. is_applied: whether the log has the output. Once; what comes later counts nothing."""
        if self.is_ended:
            return
        self.is_ended = True
        if not is_applied:
            self.kept = None
        self._end(self)


class StepCache:
    """Of one worker. ``lock_ms``: how long a worker that falls silent keeps others from executing."""

    def __init__(self, redis: Redis, keys: Keys, cold: PostgresPayloads | None, *, lock_ms: int) -> None:
        self._redis = redis
        self._keys = keys
        self._calls = CacheCalls(redis, keys)
        self._cold = cold
        self._lock_ms = lock_ms
        self._flights: dict[str, Flight] = {}
        self._looks = Batcher(self._serve_looks, LOOKS_AT_ONCE)
        self._cold_looks = Batcher(self._serve_cold, LOOKS_AT_ONCE)
        self._asks = Batcher(self._serve_asks, LOCKS_AT_ONCE)
        self._ends = Batcher(self._serve_ends, LOCKS_AT_ONCE)
        self.log = _log.bind()

    async def run(self) -> None:
        """Serve until cancelled."""
        async with anyio.create_task_group() as group:
            for batcher in (self._looks, self._cold_looks, self._asks, self._ends):
                group.start_soon(batcher.run)
            group.start_soon(self._renew)

    async def flush(self) -> None:
        """Keep what has ended, and give up its locks."""
        await self._ends.flush()

    def look(self, key: str, now_ms: int, found: Found) -> None:
        """Tell ``found`` what is kept, or None; from another task, never within this call."""
        self._looks.put(_Look(key, now_ms, found))

    async def find(self, key: str, now_ms: int) -> Kept | None:
        """As ``look``, for a task that waits for it."""
        answer = Answer[Kept | None]()
        self.look(key, now_ms, answer.give)
        return await answer.wait()

    async def take(self, lock: Lock, cache: Cache, made_ms: int, gone: bytes | None = None) -> Taken:
        """Take the lock of an output, or what is kept of it by now; neither where another attempt has the lock.

        gone: an output that could not be read; where that is what is kept, nothing is. Who is cancelled meanwhile
        holds nothing.
        """
        if lock.key in self._flights:
            return Taken(None, None)
        answer = Answer[Taken](_give_up)
        self._asks.put(_Ask(lock, cache, made_ms, gone, answer.give))
        return await answer.wait()

    async def wait(self, key: str, seconds: float) -> None:
        """Wait so long, or until an attempt of this worker that makes the output has ended."""
        flight = self._flights.get(key)
        with anyio.move_on_after(seconds):
            await (flight.landed.wait() if flight is not None else anyio.sleep(seconds))

    async def load(self, reference: bytes) -> bytes | None:
        """Return what a kept output refers to, None where it is gone."""
        try:
            return await retry(lambda: load_payload(self._redis, self._keys, reference, self._cold))
        except PayloadMissing:
            return None

    async def _serve_looks(self, looks: list[_Look]) -> None:
        found = await self._there(await retry(lambda: self._get(looks)))
        for look, kept in zip(looks, found, strict=True):
            if kept is None and self._cold is not None:
                self._cold_looks.put(look)
            else:
                look.found(kept)

    async def _get(self, looks: list[_Look]) -> list[Kept | None]:
        found, has_floors = await self._calls.get([look.key for look in looks])
        if has_floors:
            return found
        await self._bring_floors(max(look.now_ms for look in looks))
        return [None for _ in looks]

    async def _bring_floors(self, now_ms: int) -> None:
        """Redis has lost the times of invalidations: until they are back nothing of it counts."""
        floors = NO_FLOORS
        if self._cold is not None:
            try:
                with anyio.fail_after(COLD_S_MAX):
                    async with (await self._cold.reach()).acquire() as conn:
                        floors = await get_floors(conn, self._keys.env, now_ms)
            except (*POSTGRES_ERRORS, TimeoutError) as error:
                self.log.warning("cold_cache_unreachable", error=str(error) or repr(error))
                return
        await self._calls.put_floors(floors)

    async def _there(self, found: list[Kept | None]) -> list[Kept | None]:
        """Return what has all its payloads, in Redis or in Postgres, where they count as used from now on.

        What was kept inline does not count any more where all payloads are stored apart.
        """
        found = [kept if kept is None or not _is_bare(kept.output) else None for kept in found]
        wanted = {digest for kept in found if kept is not None for digest in kept.needs}
        if not wanted:
            return found
        there = await retry(lambda: self._calls.touch(sorted(wanted)))
        rest = wanted - there
        if rest and self._cold is not None:
            try:
                with anyio.fail_after(COLD_S_MAX):
                    async with (await self._cold.reach()).acquire() as conn:
                        there |= await touch_payloads(conn, self._keys.env, rest)
            except (*POSTGRES_ERRORS, TimeoutError) as error:
                self.log.warning("cold_cache_unreachable", error=str(error) or repr(error))
        return [kept if kept is not None and there.issuperset(kept.needs) else None for kept in found]

    async def _serve_cold(self, looks: list[_Look]) -> None:
        by_key: dict[str, Kept | None] = {}
        try:
            with anyio.fail_after(COLD_S_MAX):
                by_key = await self._find_cold(looks)
        except (*POSTGRES_ERRORS, TimeoutError, RedisError, OSError) as error:
            self.log.warning("cold_cache_unreachable", error=str(error) or repr(error))
        for look in looks:
            look.found(by_key.get(look.key))

    async def _find_cold(self, looks: list[_Look]) -> dict[str, Kept | None]:
        """Return what Postgres has, and bring it to Redis."""
        assert self._cold is not None
        now_ms = max(look.now_ms for look in looks)
        async with (await self._cold.reach()).acquire() as conn:
            rows = await get_outputs(conn, self._keys.env, {look.key for look in looks}, now_ms)
        found: dict[str, Kept | None] = {}
        for key, row in rows.items():
            content: bytes | None = row.output
            if is_reference(row.output):
                content = await self.load(row.output)
            if content is not None:
                needs = needs_of(row.output, content)
                found[key] = Kept(KEPT_VERSION, row.run_id, row.made_ms, row.output, needs)
        there = dict(zip(found, await self._there(list(found.values())), strict=True))
        for key, kept in there.items():
            expires_ms = rows[key].expires_ms
            if kept is not None:
                await self._calls.put(key, kept, min(HOT_MS_MAX, expires_ms - now_ms) if expires_ms else HOT_MS_MAX)
        return there

    async def _serve_asks(self, asks: list[_Ask]) -> None:
        answers = await retry(lambda: self._calls.take([ask.lock for ask in asks], self._lock_ms))
        kept = await self._there(
            [
                found if found is not None and found.output != ask.gone else None
                for ask, (_, found) in zip(asks, answers, strict=True)
            ]
        )
        for ask, (is_held, _), found in zip(asks, answers, kept, strict=True):
            flight = Flight(ask.lock, ask.cache, ask.made_ms, self._ends.put) if is_held else None
            if flight is not None:
                self._flights[ask.lock.key] = flight
                if found is not None:
                    flight.end(is_applied=False)
            ask.taken(Taken(flight if found is None else None, found))

    async def _serve_ends(self, flights: list[Flight]) -> None:
        endings = [
            Ending(flight.lock, flight.kept, min(HOT_MS_MAX, flight.cache.ttl_ms or HOT_MS_MAX)) for flight in flights
        ]
        await retry(lambda: self._calls.end(endings))
        for flight in flights:
            if self._flights.get(flight.lock.key) is flight:
                del self._flights[flight.lock.key]
            flight.landed.set()

    async def _renew(self) -> None:
        """Every third of the time for which locks are held."""
        while True:
            await anyio.sleep(self._lock_ms / 3000)
            flights = [flight for flight in self._flights.values() if not flight.is_ended]
            for first in range(0, len(flights), LOCKS_AT_ONCE):
                some = flights[first : first + LOCKS_AT_ONCE]
                try:
                    held = await self._calls.renew([flight.lock for flight in some], self._lock_ms)
                except (RedisError, OSError) as error:
                    self.log.warning("redis_unreachable", error=str(error))
                    break
                for flight, is_held in zip(some, held, strict=True):
                    if not is_held and not flight.is_ended:
                        self.log.warning("cache_lock_lost", key=flight.lock.key)
                await self._free_ended(some)

    async def _free_ended(self, renewed: list[Flight]) -> None:
        """Give up again what was given up while it was renewed: the renewal may have come to Redis last."""
        ended = [flight for flight in renewed if flight.is_ended]
        for flight in ended:
            await flight.landed.wait()
        again = [Ending(flight.lock, None) for flight in ended if flight.lock.key not in self._flights]
        if again:
            await retry(lambda: self._calls.end(again))


def _give_up(taken: Taken) -> None:
    if taken.flight is not None:
        taken.flight.end(is_applied=False)


def _is_bare(output: bytes) -> bool:
    return not is_reference(output) and PAYLOAD_TERMS.keeps_apart(output)
