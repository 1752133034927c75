"""The salt of an environment: what makes digests of inputs that nobody can try, and that no key of payloads decides.

It is stored as payloads are: encrypted where they are, by the newest key from the first look under that on.
"""

from __future__ import annotations

import base64
import secrets

from ..errors import PayloadUnreadable
from ..sealing.payload_terms import PAYLOAD_TERMS
from .connection import Connection
from .queries import load_queries

_sql = load_queries("salts")
SALT_BYTES = 32


async def read_salt(conn: Connection, env: str) -> bytes:
    """Return the salt of an environment, always the same. It is a new one where the key of the last one is gone.

    Raises PayloadUnreadable in a process without a key ring where others have one.
    """
    stored: bytes | None = await conn.fetchval(_sql["get_salt"], env)
    if stored is None:
        await conn.execute(_sql["add_salt"], env, _made())
        stored = await conn.fetchval(_sql["get_salt"], env)
    assert stored is not None
    try:
        salt = PAYLOAD_TERMS.decode(stored)
    except PayloadUnreadable:
        if PAYLOAD_TERMS.codec is None:
            raise
        await conn.execute(_sql["replace_salt"], env, stored, _made())
        return await read_salt(conn, env)
    sealed = PAYLOAD_TERMS.encode(salt)
    if sealed != stored:
        await conn.execute(_sql["replace_salt"], env, stored, sealed)
    return salt


def _made() -> bytes:
    return PAYLOAD_TERMS.encode(base64.b64encode(secrets.token_bytes(SALT_BYTES)))
