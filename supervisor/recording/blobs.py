"""Blobs: payloads beyond the inline limit, and artifacts, copied before an event that refers to them is committed, and
taken from Redis when Postgres has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from ...sdk.errors import PayloadUnreadable
from ...sdk.events import digest
from ...sdk.keys import Keys
from ...sdk.sealing.artifacts import digests_in
from ...sdk.sealing.payload_terms import PAYLOAD_TERMS
from ...sdk.stores.connection import Connection
from ...sdk.stores.payloads import put_payloads, read_reference, touch_payloads

if TYPE_CHECKING:
    from redis.asyncio import Redis

_ADDRESS = re.compile(rb'(?<=[@"])[0-9a-f]{32}(?=[:"])')
AT_ONCE = 16
"""Blobs held in memory at a time; each may have 16 MiB."""

NESTED_MAX = 8
"""Artifacts inside of artifacts."""

_log = structlog.get_logger()


async def copy_blobs(redis: Redis, conn: Connection, env: str, payloads: Iterable[bytes]) -> None:
    """Store what the payloads refer to, artifacts too, unless it is stored already. Idempotent.

    A blob that is gone or damaged cannot stop history: it is logged, and the event keeps its reference.
    """
    wanted: set[bytes] = set()
    for payload in payloads:
        reference = read_reference(payload)
        wanted |= digests_in(payload) if reference is None else {reference.digest}
    await _copy(redis, conn, Keys(env), wanted, NESTED_MAX)


async def _copy(redis: Redis, conn: Connection, keys: Keys, wanted: set[bytes], depth: int) -> None:
    """What a content refers to is stored before it: whoever finds the one stored need not look for the others."""
    for some in batched(wanted - await touch_payloads(conn, keys.env, wanted), AT_ONCE):
        good = await _read(redis, keys, some)
        nested = {found for stored in good.values() for found in digests_in(_decoded(stored))} - set(some)
        if nested and depth:
            await _copy(redis, conn, keys, nested, depth - 1)
        await put_payloads(conn, keys.env, good)


def _decoded(stored: bytes) -> bytes:
    try:
        return PAYLOAD_TERMS.decode(stored)
    except PayloadUnreadable as error:
        _log.error("blob_unreadable", error=str(error), hint="all processes need the same key ring")
        return b""


async def _read(redis: Redis, keys: Keys, digests: list[bytes]) -> dict[bytes, bytes]:
    """Return what Redis has, by digest; what is gone or damaged is logged and left out."""
    pipeline = redis.pipeline(transaction=False)
    for found in digests:
        pipeline.get(keys.blob(found.hex()))
    contents: list[bytes | None] = await pipeline.execute()
    good: dict[bytes, bytes] = {}
    for found, content in zip(digests, contents, strict=True):
        if content is not None and digest(content) == found:
            good[found] = content
        else:
            _log.error("blob_lost", env=keys.env, digest=found.hex(), is_damaged=content is not None)
    return good


def named_in(content: bytes) -> set[bytes]:
    """Return the digests of all payloads and artifacts that a content may name, and of other words that look so."""
    return {bytes.fromhex(found.decode()) for found in _ADDRESS.findall(content)}


async def cool_payloads(redis: Redis, conn: Connection, env: str, digests: Iterable[bytes]) -> int:
    """Take some payloads from Redis; Postgres has them before. What is damaged stays: it may be stored anew now.

    Return how many have left.
    """
    wanted, keys = set(digests), Keys(env)
    known = await touch_payloads(conn, env, wanted)
    safe = set(known)
    for some in batched(wanted - known, AT_ONCE):
        contents: list[bytes | None] = await redis.mget([keys.blob(found.hex()) for found in some])
        good = {
            found: one for found, one in zip(some, contents, strict=True) if one is not None and digest(one) == found
        }
        await put_payloads(conn, env, good)
        safe |= good.keys()
    return int(await redis.unlink(*(keys.blob(found.hex()) for found in safe))) if safe else 0


async def results_of(redis: Redis, env: str, payloads: Sequence[bytes]) -> set[bytes]:
    """Return the digests of what results of maps are made of where that is stored apart, artifacts too."""
    references = {reference.digest for each in payloads if (reference := read_reference(each)) is not None}
    named = set[bytes]().union(*(named_in(each) for each in payloads))
    for some in batched(references, AT_ONCE):  # what is gone has left before
        for stored in await redis.mget([Keys(env).blob(found.hex()) for found in some]):
            named |= named_in(_decoded(stored)) if stored else set()
    return named


def batched(digests: set[bytes], size: int) -> Iterator[list[bytes]]:
    """Yield them some at a time."""
    every = iter(digests)
    while some := list(islice(every, size)):
        yield some
