"""Payloads beyond the inline limit, addressed by content, and the references that stand for them.

A payload that begins with ``@`` is a reference, ``@<hex digest>:<bytes>``; JSON never begins so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..payload_terms import PAYLOAD_TERMS
from .connection import Connection
from .queries import load_queries

_sql = load_queries("payloads")
_REFERENCE = re.compile(rb"@([0-9a-f]{32}):([0-9]{1,19})")


class Reference(NamedTuple):
    """``digest``: 16 bytes. ``size_bytes``: of the content."""

    digest: bytes
    size_bytes: int


def read_reference(payload: bytes) -> Reference | None:
    """Return what a payload refers to, None where it is the value itself."""
    match = _REFERENCE.fullmatch(payload)
    return None if match is None else Reference(bytes.fromhex(match[1].decode()), int(match[2]))


async def put_payloads(conn: Connection, env: str, contents: Mapping[bytes, bytes]) -> None:
    """Store contents by digest. Idempotent."""
    if contents:
        await conn.execute(_sql["insert_payloads"], env, list(contents), list(contents.values()))


async def known_payloads(conn: Connection, env: str, digests: Iterable[bytes]) -> set[bytes]:
    """Return those of the digests that are stored."""
    return {row[0] for row in await conn.fetch(_sql["known_payloads"], env, list(digests))}


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
