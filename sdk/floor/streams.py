"""Streams: the reads of redis-py with one shape and one type, whatever the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

from redis.asyncio import Redis

Fields: TypeAlias = dict[bytes, bytes]
StreamEntry: TypeAlias = tuple[str, Fields]
Place: TypeAlias = tuple[int, ...]


def place_of(entry_id: str) -> Place:
    """Return the id of an entry as what it is ordered by."""
    return tuple(map(int, entry_id.split("-")))


async def read_group(
    redis: Redis,
    group: str,
    consumer: str,
    streams: Sequence[str],
    *,
    count: int,
    block_ms: int | None = None,
    after: str = ">",
) -> list[tuple[str, list[StreamEntry]]]:
    """Wait up to ``block_ms`` for entries new to the group; per stream at most ``count``. Empty where none came.

    after: an entry id; then what is pending for this consumer after it, at once. An entry that was deleted meanwhile
    has no fields.
    """
    wanted = cast("Any", dict.fromkeys(streams, after))
    answer = await redis.xreadgroup(group, consumer, wanted, count=count, block=block_ms)
    pages = cast("list[tuple[bytes, list[tuple[bytes, Fields | None]]]]", answer or [])
    return [(stream.decode(), [(entry.decode(), fields or {}) for entry, fields in page]) for stream, page in pages]


async def claim_stale(
    redis: Redis, stream: str, group: str, consumer: str, *, idle_ms: int, count: int
) -> list[StreamEntry]:
    """Take over entries that another consumer has left for ``idle_ms``; entries that were deleted are left out."""
    answer = await redis.xautoclaim(stream, group, consumer, min_idle_time=idle_ms, count=count)
    entries = cast("list[tuple[bytes, Fields | None]]", cast("Any", answer)[1])
    return [(entry.decode(), fields) for entry, fields in entries if fields]
