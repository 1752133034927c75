"""API keys and sessions: made once, checked against digests, worth something in one environment, and over at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from courante.sdk.access.scopes import ALL_SCOPES, Scope
from courante.sdk.access.secret_text import csrf_token, digest, key_id
from courante.sdk.client.access import Access, Session
from courante.sdk.client.operators import Operators
from courante.sdk.errors import ApiKeyExists, ApiKeyNotFound, InputInvalid
from courante.sdk.keys import Keys
from courante.sdk.stores.errors import BadFilter
from courante.sdk.stores.operator_log import Operation
from integration.stage import Stage

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)


async def stored_texts(stage: Stage, table: str) -> str:
    """All rows of a table in one text, bytes as hex."""
    async with stage.client.pool.acquire() as conn:
        return "\n".join(row[0] for row in await conn.fetch(f"SELECT {table}::text FROM {table}"))


async def session_of(access: Access, key: str, **terms: float) -> Session:
    opened = await access.open_session(key, **terms)
    assert opened is not None
    return opened


async def test_a_key_says_who_asks_and_what_he_may(stage: Stage) -> None:
    """The principal has the key's name, id and scopes; admin stands for all of them."""
    access = stage.client.access
    made, text = await access.create_key("ci", ["submit", "read"], by="ada")
    assert (made.id, made.scopes, made.created_by) == (key_id(text), ("read", "submit"), "ada")
    found = await access.find_by_key(text)
    assert found is not None
    principal, until = found
    assert (principal.name, principal.key_id, principal.env, until) == ("ci", made.id, stage.place.env, None)
    assert principal.scopes == {Scope.READ, Scope.SUBMIT}
    _, boss = await access.create_key("boss", ["admin"])
    found = await access.find_by_key(boss)
    assert found is not None and found[0].scopes == ALL_SCOPES


async def test_nothing_stored_proves_anything(stage: Stage) -> None:
    """Neither a key nor the token of a session is in the database, in no spelling."""
    access = stage.client.access
    _, key = await access.create_key("ci", ["read"])
    opened = await session_of(access, key)
    rows = await stored_texts(stage, "api_keys") + await stored_texts(stage, "api_sessions")
    rows += await stored_texts(stage, "operator_log")
    secrets = [key.rpartition("_")[2], opened.token, opened.csrf]
    assert digest(key).hex() in rows
    for secret in secrets:
        assert secret not in rows
        assert secret.encode().hex() not in rows


async def test_only_the_whole_key_counts(stage: Stage) -> None:
    """A key with another secret, another id, another case, or something around it is none."""
    access = stage.client.access
    _, key = await access.create_key("ci", ["read"])
    id, _, secret = key.rpartition("_")
    other = f"{id}_{'0' if secret[0] != '0' else '1'}{secret[1:]}"
    for wrong in (
        "",
        id,
        other,
        key.upper(),
        f"{key} ",
        f"{key}\n",
        f"crt_000000000000_{secret}",
        key + "\x00",
        "é" * 81,
    ):
        assert await access.find_by_key(wrong) is None, wrong
    assert await access.find_by_key(key) is not None


async def test_a_key_of_one_environment_is_none_in_another(stage: Stage) -> None:
    """Neither the key nor a session opened with it is known elsewhere, and nobody elsewhere can list or revoke it."""
    access = stage.client.access
    made, key = await access.create_key("ci", ["admin"])
    opened = await session_of(access, key)
    other = Access(stage.client.pool, Keys(f"{stage.place.env}b"))
    assert await other.find_by_key(key) is None
    assert await other.open_session(key) is None
    assert await other.find_by_session(opened.token) is None
    assert await other.list_keys(is_all=True) == []
    with pytest.raises(ApiKeyNotFound):
        await other.revoke_key(made.id)
    await other.close_session(opened.token)
    assert await access.find_by_session(opened.token) is not None


async def test_a_revoked_key_ends_with_its_sessions(stage: Stage) -> None:
    """Revoked once, by name or id; the second time says who was first."""
    access = stage.client.access
    _, key = await access.create_key("ci", ["read"])
    opened = await session_of(access, key)
    first = await access.revoke_key("ci", by="ada")
    assert await access.find_by_key(key) is None
    assert await access.find_by_session(opened.token) is None
    assert await access.open_session(key) is None
    again = await access.revoke_key(first.id, by="bob")
    assert (again.revoked_by, again.revoked_at) == ("ada", first.revoked_at)
    assert await access.list_keys() == []
    assert [one.id for one in await access.list_keys(is_all=True)] == [first.id]


async def test_an_expired_key_ends_with_its_sessions(stage: Stage) -> None:
    """A session lasts no longer than its key."""
    access = stage.client.access
    soon = datetime.now(UTC) + HOUR
    made, key = await access.create_key("ci", ["read"], expires_at=soon)
    opened = await session_of(access, key)
    assert opened.expires_at == soon
    async with stage.client.pool.acquire() as conn:
        past = datetime.now(UTC) - HOUR
        await conn.execute("UPDATE api_keys SET expires_at = $2 WHERE id = $1", made.id, past)
    assert await access.find_by_key(key) is None
    assert await access.find_by_session(opened.token) is None
    assert await access.list_keys() == []


async def test_a_session_lasts_until_its_logout_or_its_time(stage: Stage) -> None:
    """The token is worth nothing afterwards, and rows that have expired go at the next login."""
    access = stage.client.access
    _, key = await access.create_key("ci", ["read"])
    opened = await session_of(access, key)
    found = await access.find_by_session(opened.token)
    assert found is not None and found[0].name == "ci"
    assert found[0] == opened.principal
    assert opened.csrf == csrf_token(opened.token) != csrf_token(opened.token[::-1])
    await access.close_session(opened.token)
    assert await access.find_by_session(opened.token) is None
    short = await session_of(access, key, lasts_s=-1)
    assert await access.find_by_session(short.token) is None
    await session_of(access, key)
    assert digest(short.token).hex() not in await stored_texts(stage, "api_sessions")
    for wrong in ("", "x", opened.token.upper(), "0" * 64):
        assert await access.find_by_session(wrong) is None


async def test_what_no_key_can_be_made_of(stage: Stage) -> None:
    """Names that steer a terminal, unknown scopes, none, and times that have passed are refused."""
    access = stage.client.access
    for name in ("", " ci", "c\ni", "c\x00", "x" * 101, "\x1b[2J", "\ud800"):
        with pytest.raises(InputInvalid, match="name"):
            await access.create_key(name, ["read"])
    for scopes in ([], ["root"], ["read", ""]):
        with pytest.raises(InputInvalid, match="scopes"):
            await access.create_key("ci", scopes)
    for past in (datetime.now(UTC) - HOUR, (datetime.now(UTC) + HOUR).replace(tzinfo=None)):
        with pytest.raises(InputInvalid, match="expires_at"):
            await access.create_key("ci", ["read"], expires_at=past)
    await access.create_key("ci", ["read"])
    with pytest.raises(ApiKeyExists):
        await access.create_key("ci", ["submit"])
    await access.revoke_key("ci")
    await access.create_key("ci", ["submit"])  # a name is free again, so that a key can be changed for another


async def test_the_last_use_is_known_coarsely(stage: Stage) -> None:
    """It is noted at the first use, and not again for each request."""
    access = stage.client.access
    _, key = await access.create_key("ci", ["read"])
    assert (await access.list_keys())[0].used_at is None
    await access.find_by_key(key)
    (first,) = await access.list_keys()
    await access.find_by_key(key)
    assert first.used_at is not None and (await access.list_keys())[0].used_at == first.used_at


async def test_who_makes_and_revokes_keys_is_written_down_for_good(stage: Stage) -> None:
    """The operator log is read a page at a time, the last first, and refuses every change, even of its owner."""
    access, operators = stage.client.access, stage.client.operators
    made, _ = await access.create_key("ci", ["read"], by="ada")
    await access.revoke_key("ci", by="bob")
    await access.revoke_key("ci", by="eve")  # changes nothing
    await operators.note(Operation(by="ci", key_id=made.id, action="POST /v1/x\x00", result="403", address="::1"))
    page = await operators.list(limit=2)
    assert [(each.by, each.action, each.target) for each in page.operations] == [
        ("ci", "POST /v1/x", ""),
        ("bob", "key.revoked", made.id),
    ]
    rest = await operators.list(limit=2, cursor=page.next)
    assert [(each.by, each.action) for each in rest.operations] == [("ada", "key.created")]
    assert rest.next is None
    assert [each.by for each in (await operators.list(by="bob")).operations] == ["bob"]
    assert (await operators.list(since=datetime.now(UTC) + HOUR)).operations == []
    assert (await Operators(stage.client.pool, Keys(f"{stage.place.env}b")).list()).operations == []
    for bad in ("x", "-1", "9" * 30):
        with pytest.raises(BadFilter):
            await operators.list(cursor=bad)
    async with stage.client.pool.acquire() as conn:
        for change in ("UPDATE operator_log SET by = ''", "DELETE FROM operator_log", "TRUNCATE operator_log"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(change)
