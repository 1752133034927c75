"""Blobs: payloads beyond the inline limit, copied from Redis before an event that refers to them is committed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from ..sdk.events import digest
from ..sdk.keys import Keys
from ..sdk.stores.connection import Connection
from ..sdk.stores.payloads import Reference, known_payloads, put_payloads, read_reference

if TYPE_CHECKING:
    from redis.asyncio import Redis

AT_ONCE = 16
"""Blobs held in memory at a time; each may have 16 MiB."""

_log = structlog.get_logger()


async def copy_blobs(redis: Redis, conn: Connection, env: str, payloads: Iterable[bytes]) -> None:
    """Store what the payloads refer to, unless it is stored already. Idempotent.

    A blob that is gone or damaged cannot stop history: it is logged, and the event keeps its reference.
    """
    wanted: dict[bytes, Reference] = {}
    for payload in payloads:
        reference = read_reference(payload)
        if reference is not None:
            wanted[reference.digest] = reference
    for known in await known_payloads(conn, env, wanted):
        del wanted[known]
    keys = Keys(env)
    missing = iter(wanted)
    while some := list(islice(missing, AT_ONCE)):
        pipeline = redis.pipeline(transaction=False)
        for found in some:
            pipeline.get(keys.blob(found.hex()))
        contents: list[bytes | None] = await pipeline.execute()
        good: dict[bytes, bytes] = {}
        for found, content in zip(some, contents, strict=True):
            if content is not None and digest(content) == found:
                good[found] = content
            else:
                _log.error("blob_lost", env=env, digest=found.hex(), is_damaged=content is not None)
        await put_payloads(conn, env, good)
