"""Bringing: payloads that only Postgres has, put into Redis again for what refers to them."""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

from ..errors import NotRestartable
from ..keys import Keys
from ..stores.connection import Connection
from ..stores.payloads import Reference, get_payloads

BLOBS_AT_ONCE = 16


async def bring_payloads(redis: Redis, conn: Connection, keys: Keys, wanted: Sequence[Reference]) -> int:
    """Write the payloads that are referred to and that Redis does not have; return how many. All count as used now.

    Raises NotRestartable where one is not stored any more.
    """
    brought = 0
    for first in range(0, len(wanted), BLOBS_AT_ONCE):
        some = wanted[first : first + BLOBS_AT_ONCE]
        names = [keys.blob(found.digest.hex()) for found in some]
        pipe = redis.pipeline(transaction=False)
        for name in names:
            pipe.execute_command("TOUCH", name)  # pyright: ignore[reportUnusedCoroutine]
        missing = [found for found, is_there in zip(some, await pipe.execute(), strict=True) if not is_there]
        contents = await get_payloads(conn, keys.env, [found.digest for found in missing])
        for found in missing:
            if found.digest not in contents:
                raise NotRestartable(f"the payload {found.digest.hex()} is not stored any more", reason="emptied")
            await redis.set(keys.blob(found.digest.hex()), contents[found.digest])
            brought += 1
    return brought
