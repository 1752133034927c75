"""Payloads beyond the inline limit, addressed by content, and the references that stand for them.

A payload that begins with ``@`` is a reference, ``@<hex digest>:<bytes>``; JSON never begins so.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import NamedTuple

from ..sealing.payload_terms import PAYLOAD_TERMS, SEALED_HEAD
from .connection import Connection
from .queries import load_queries

_sql = load_queries("payloads")
_REFERENCE = re.compile(rb"@([0-9a-f]{32}):([0-9]{1,19})")

PREFETCH = 8
"""Contents that are read at once; each may have 16 MiB."""


class Reference(NamedTuple):
    """``digest``: 16 bytes. ``size_bytes``: of the content."""

    digest: bytes
    size_bytes: int


def read_reference(payload: bytes) -> Reference | None:
    """Return what a payload refers to, None where it is the value itself."""
    match = _REFERENCE.fullmatch(payload)
    return None if match is None else Reference(bytes.fromhex(match[1].decode()), int(match[2]))


async def put_payloads(conn: Connection, env: str, contents: Mapping[bytes, bytes]) -> None:
    """Store contents by digest; what is there counts as used now. Idempotent."""
    if contents:
        await conn.execute(_sql["insert_payloads"], env, list(contents), list(contents.values()))


async def touch_payloads(conn: Connection, env: str, digests: Iterable[bytes]) -> set[bytes]:
    """Return those of the digests that are stored; none of them is collected before it was unused for long again."""
    return {row[0] for row in await conn.fetch(_sql["touch_payloads"], env, list(digests))}


async def give_up_payloads(conn: Connection, env: str, digests: Iterable[bytes]) -> None:
    """Let payloads count as unused since 1970, until somebody stores or refers to them anew."""
    await conn.execute(_sql["give_up"], env, list(digests))


async def given_up_payloads(conn: Connection, env: str) -> set[bytes]:
    """Return the digests of all payloads that were given up and are still stored."""
    return {row[0] for row in await conn.fetch(_sql["given_up"], env)}


async def unused_payloads(conn: Connection, env: str, keep_s: float, limit: int) -> set[bytes]:
    """Return digests that nobody has stored or referred to for so long, the oldest ones."""
    return {row[0] for row in await conn.fetch(_sql["unused_payloads"], env, keep_s, limit)}


async def referred_payloads(conn: Connection, env: str, digests: Iterable[bytes]) -> set[bytes]:
    """Return those of the digests that stand for the payload of an event, or for a cached output."""
    addresses = [found.hex().encode() for found in digests]
    return {bytes.fromhex(row[0].decode()) for row in await conn.fetch(_sql["referred_payloads"], env, addresses)}


async def contents_with_artifacts(conn: Connection, env: str, *, is_encoded: bool) -> AsyncGenerator[bytes]:
    """Yield all that may refer to artifacts, as it is stored; one at a time, in a transaction of its own.

    is_encoded: what is stored cannot be searched, so that every payload is yielded. Whoever leaves it early closes it.
    """
    rest = "all_payloads" if is_encoded else "payloads_with_artifacts"
    for name in ("event_payloads_with_artifacts", "cached_with_artifacts", rest):
        async with conn.transaction(readonly=True):
            async for row in conn.cursor(_sql[name], env, prefetch=PREFETCH):
                yield row[0]


async def has_sealed(conn: Connection, env: str, digests: Iterable[bytes]) -> bool:
    """Whether any of them was encrypted by a key ring."""
    return bool(await conn.fetchval(_sql["has_sealed"], env, list(digests), SEALED_HEAD))


async def delete_payloads(conn: Connection, env: str, digests: Iterable[bytes], keep_s: float) -> int:
    """Delete those of the digests that are still unused; return how many."""
    return len(await conn.fetch(_sql["delete_payloads"], env, list(digests), keep_s))


async def get_payloads(conn: Connection, env: str, digests: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return what is stored by digest, as it is stored; what is not there is left out."""
    return {row[0]: row[1] for row in await conn.fetch(_sql["get_payloads"], env, list(digests))}


async def resolve(conn: Connection, env: str, payload: bytes) -> bytes | None:
    """Return the value of a payload, looked up where it is a reference; None where its content is gone.

    Raises PayloadUnreadable.
    """
    reference = read_reference(payload)
    if reference is None:
        return payload
    stored = (await get_payloads(conn, env, [reference.digest])).get(reference.digest)
    return None if stored is None else PAYLOAD_TERMS.decode(stored)


async def event_payload(conn: Connection, env: str, run_id: str, seq: int) -> bytes | None:
    """Return the resolved payload of one event; None where it has none, or where it was emptied."""
    payload: bytes | None = await conn.fetchval(_sql["get_event_payload"], run_id, seq)
    return None if payload is None else await resolve(conn, env, payload)
