"""Calls about cached outputs in Redis, many of them in one round trip. Each command and script has one key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from ..caching.cached import NO_FLOORS, Floors, Kept, decode_kept, encode_kept
from ..keys import Keys
from .calling import Script, Word
from .scripts import load_script

Command = tuple[Word, ...]


class Lock(NamedTuple):
    """Of one cached output. ``owner``: ``<run>|<token>``. ``fence``: of the token."""

    key: str
    owner: str
    fence: str


class Ending(NamedTuple):
    """What the holder of a lock leaves. ``kept``: None where there is nothing to keep, else for ``ttl_ms``."""

    lock: Lock
    kept: Kept | None
    ttl_ms: int = 1


async def take_cache_locks(
    redis: Redis, keys: Keys, locks: Sequence[Lock], ms: int, more: Sequence[Command] = ()
) -> tuple[list[bool], list[Any]]:
    """Take or renew locks; return for each whether it is held now, and the answers to the commands behind them."""
    script = load_script("take_cache_locks")
    calls: list[Command] = [_called(script, keys, lock, ms) for lock in locks]
    answers = await _send(redis, script, [*calls, *more])
    for answer in answers:
        _raise(answer)
    return [answer == 0 for answer in answers[: len(locks)]], answers[len(locks) :]


async def free_cache_locks(redis: Redis, keys: Keys, locks: Sequence[Lock], before: Sequence[Command] = ()) -> None:
    """Give up locks, after other commands: one of these that the server refuses does not count."""
    script = load_script("free_cache_locks")
    answers = await _send(redis, script, [*before, *(_called(script, keys, lock) for lock in locks)])
    for answer in answers[len(before) :]:
        _raise(answer)


def _called(script: Script, keys: Keys, lock: Lock, *words: Word) -> Command:
    return ("EVALSHA", script.sha, 1, keys.cache_lock(lock.key), lock.owner, lock.fence, *words)


async def _send(redis: Redis, script: Script, commands: Sequence[Command]) -> list[Any]:
    """Return the answers, errors among them. A server that has not the script gets it, and all is sent again."""
    answers: list[Any] = []
    for _ in range(2):
        pipe = redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)  # pyright: ignore[reportUnusedCoroutine]
        answers = await pipe.execute(raise_on_error=False)
        if not any(isinstance(answer, NoScriptError) for answer in answers):
            break
        await redis.script_load(script.source)
    return answers


def _raise(answer: object) -> None:
    if isinstance(answer, ResponseError):
        raise answer


class CacheCalls:
    """Of one environment."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._floors_content: bytes | None = None
        self._floors = NO_FLOORS

    async def get(self, keys: Sequence[str]) -> tuple[list[Kept | None], bool]:
        """Return the outputs by keys, and whether Redis has the floors: without them nothing counts."""
        floors, *found = await self._redis.mget([self._keys.cache_floors, *map(self._keys.cached, keys)])
        self._learn(floors)
        return [self._read(key, one) for key, one in zip(keys, found, strict=True)], floors is not None

    async def put_floors(self, floors: Floors) -> None:
        """Bring the floors back that Redis has lost; if somebody was faster, theirs are as new."""
        await self._redis.set(self._keys.cache_floors, floors.content(), nx=True)

    async def take(self, locks: Sequence[Lock], ms: int) -> list[tuple[bool, Kept | None]]:
        """Take locks; return for each whether it is held, and what is kept by then."""
        reads: list[Command] = [("GET", self._keys.cache_floors)]
        reads += [("GET", self._keys.cached(lock.key)) for lock in locks]
        taken, (floors, *found) = await take_cache_locks(self._redis, self._keys, locks, ms, reads)
        self._learn(floors)
        if floors is None:
            found = [None for _ in found]
        kept = [self._read(lock.key, one) for lock, one in zip(locks, found, strict=True)]
        return list(zip(taken, kept, strict=True))

    async def renew(self, locks: Sequence[Lock], ms: int) -> list[bool]:
        """Return for each lock whether it is held still."""
        held, _ = await take_cache_locks(self._redis, self._keys, locks, ms)
        return held

    async def end(self, endings: Sequence[Ending]) -> None:
        """Keep outputs, and give up their locks. A server that is full keeps nothing."""
        sets: list[Command] = [
            ("SET", self._keys.cached(each.lock.key), encode_kept(each.kept), "PX", each.ttl_ms)
            for each in endings
            if each.kept is not None
        ]
        await free_cache_locks(self._redis, self._keys, [each.lock for each in endings], sets)

    async def put(self, key: str, kept: Kept, ttl_ms: int) -> None:
        """Keep an output that was found elsewhere."""
        await self._redis.set(self._keys.cached(key), encode_kept(kept), px=ttl_ms)

    async def touch(self, digests: Sequence[bytes]) -> set[bytes]:
        """Return those of the payloads that Redis has; they count as used now."""
        pipe = self._redis.pipeline(transaction=False)
        for digest in digests:
            pipe.execute_command("TOUCH", self._keys.blob(digest.hex()))  # pyright: ignore[reportUnusedCoroutine]
        return {digest for digest, is_there in zip(digests, await pipe.execute(), strict=True) if is_there}

    def _learn(self, content: bytes | None) -> None:
        if content != self._floors_content:
            self._floors = NO_FLOORS if content is None else Floors.read(content)
            self._floors_content = content

    def _read(self, key: str, content: bytes | None) -> Kept | None:
        kept = None if content is None else decode_kept(content)
        return kept if kept is not None and self._floors.allows(key, kept.made_ms) else None
