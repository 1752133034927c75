"""Face: what a client offers for API keys and sessions, as ``client.access``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from ..access.scopes import Principal, Scope, granted
from ..access.secret_text import csrf_token, digest, id_in_secret, is_same, is_token, key_id, new_key, new_token
from ..errors import ApiKeyExists, ApiKeyNotFound, InputInvalid
from ..keys import Keys
from ..stores import api_keys as store
from ..stores.api_keys import ApiKey
from ..stores.connection import Connection, Pool
from ..stores.operator_log import Operation, append_operations
from ..unavailable import AsUnavailable

NAME_CHARS_MAX = 100
SESSION_S = 12 * 3_600.0


class Session(NamedTuple):
    """``token``: what the cookie holds. ``csrf``: what the page says beside it. ``expires_at``: UTC."""

    token: str
    csrf: str
    principal: Principal
    expires_at: datetime


class Access:
    """Keys and sessions of the client's environment. Everything raises ServiceUnavailable where Postgres is away."""

    def __init__(self, pool: Pool, keys: Keys) -> None:
        self._pool = pool
        self._env = keys.env

    async def create_key(
        self, name: str, scopes: Iterable[str], *, expires_at: datetime | None = None, by: str | None = None
    ) -> tuple[ApiKey, str]:
        """Make a key; return it and its whole text, which is stored nowhere.

        Raises InputInvalid, and ApiKeyExists where one of this name is not revoked.
        """
        wanted = check_wish(name, scopes, expires_at, by)
        id, text = new_key()
        with AsUnavailable():
            async with self._pool.acquire() as conn, conn.transaction():
                kept = await store.insert_key(
                    conn,
                    self._env,
                    id=id,
                    name=name,
                    digest=digest(text),
                    scopes=wanted,
                    by=by,
                    expires_at=expires_at,
                )
                if kept is None:
                    raise ApiKeyExists(
                        f"there is a key {name!r}", hint="give another name, or revoke that one: 'courante keys revoke'"
                    )
                await self._note(conn, by, "key.created", id)
        return kept, text

    async def list_keys(self, *, is_all: bool = False) -> list[ApiKey]:
        """Return the keys in force, the oldest first. is_all: also those that have expired or were revoked."""
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                return await store.list_keys(conn, self._env, is_all=is_all)

    async def revoke_key(self, word: str, *, by: str | None = None) -> ApiKey:
        """Revoke the key of this id or name; once more changes nothing. Servers hear of it within ten seconds.

        Raises ApiKeyNotFound, InputInvalid.
        """
        check_word(word)
        with AsUnavailable():
            async with self._pool.acquire() as conn, conn.transaction():
                found = None if "\x00" in word else await store.find_key(conn, self._env, word)
                if found is None:
                    raise ApiKeyNotFound(f"there is no key {word!r} in this environment")
                revoked = await store.revoke_key(conn, self._env, found.id, by)
                if revoked is not None:
                    await self._note(conn, by, "key.revoked", found.id)
                return revoked or found

    async def find_by_key(self, text: str) -> tuple[Principal, datetime | None] | None:
        """Return whose key it is and until when it is in force; None for what is no key of this environment."""
        id = key_id(text)
        if id is None:
            return None
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                found = await store.live_key(conn, self._env, id)
                if found is None or not is_same(found.digest, digest(text)):
                    return None
                if found.is_stale:
                    await store.note_use(conn, self._env, id)
        return Principal(name=found.name, scopes=granted(found.scopes), env=self._env, key_id=id), found.expires_at

    async def open_session(self, key: str, *, lasts_s: float = SESSION_S) -> Session | None:
        """Log in with a key. None for what is no key of this environment."""
        found = await self.find_by_key(key)
        if found is None or found[0].key_id is None:
            return None
        principal, token = found[0], new_token()
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                await store.forget_sessions(conn, self._env)
                until = await store.open_session(conn, self._env, digest(token), str(principal.key_id), lasts_s)
        if until is None:
            return None
        return Session(token, csrf_token(token), _of_session(principal, token), until)

    async def find_by_session(self, token: str) -> tuple[Principal, datetime] | None:
        """Return who has opened the session and until when it lasts; None where it is over or never was."""
        if not is_token(token):
            return None
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                found = await store.live_session(conn, self._env, digest(token))
        if found is None:
            return None
        principal = Principal(name=found.name, scopes=granted(found.scopes), env=self._env, key_id=found.key_id)
        return _of_session(principal, token), found.expires_at

    async def close_session(self, token: str) -> None:
        """Log out. Idempotent."""
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                await store.close_session(conn, self._env, digest(token))

    async def _note(self, conn: Connection, by: str | None, action: str, target: str) -> None:
        done = Operation(by=by or "", action=action, target=target, result="done")
        await append_operations(conn, self._env, [done])


def _of_session(principal: Principal, token: str) -> Principal:
    return Principal(
        name=principal.name,
        scopes=principal.scopes,
        env=principal.env,
        key_id=principal.key_id,
        session=digest(token).hex(),
    )


def check_word(word: str) -> None:
    """Refuse a whole key where its id or name is wanted: it would be written down on the way. Raises InputInvalid."""
    id = id_in_secret(word)
    if id is not None:
        told = f"key: wanted an id or a name, and not the whole key: its id is {id}"
        raise InputInvalid(told, hint="somebody may have read it on the way: revoke it by its id")


def check_wish(name: str, scopes: Iterable[str], expires_at: datetime | None, by: str | None) -> list[Scope]:
    """Return the scopes that a new key is to have, in their order. Raises InputInvalid."""
    if not 1 <= len(name) <= NAME_CHARS_MAX or not name.isprintable() or name != name.strip():
        raise InputInvalid(f"name: wanted 1 to {NAME_CHARS_MAX} printable characters, and no space around them")
    if len(by or "") > NAME_CHARS_MAX or "\x00" in (by or ""):
        raise InputInvalid(f"by: wanted at most {NAME_CHARS_MAX} characters, and none that is NUL")
    known = [str(scope) for scope in Scope]
    given = set(scopes)
    if not given or not given <= set(known):
        raise InputInvalid(f"scopes: wanted one or more of {', '.join(known)}")
    if expires_at is not None and (expires_at.tzinfo is None or expires_at <= datetime.now(UTC)):
        raise InputInvalid("expires_at: wanted a time that is still to come, with its zone")
    return [scope for scope in Scope if scope in given]
