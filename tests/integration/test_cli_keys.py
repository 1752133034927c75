"""``courante keys``: the key is shown once, and everything else about it whenever it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import Said, spawn

Keys = Callable[..., Said]
FIELDS = set("id name scopes created_by created_at expires_at revoked_at revoked_by used_at".split())


@pytest.fixture
def keys(redis_url: str, migrated_database: str, env_name: str, tmp_path: Path) -> Keys:
    environ = {"COURANTE_REDIS_URL": redis_url, "COURANTE_DATABASE_URL": migrated_database, "COURANTE_ENV": env_name}
    return lambda *argv: spawn("keys", *argv, cwd=tmp_path, environ=environ)


def test_a_key_from_its_making_to_its_end(keys: Keys) -> None:
    """Each command gives one object; the key stands in the first one only."""
    made = keys(
        "create", "ci", "--scope", "read", "--scope", "submit", "--expires", "90d", "--by", "ada", "--json"
    ).json
    key = made.pop("key")
    assert set(made) == FIELDS
    assert (made["scopes"], made["created_by"], key.startswith(f"{made['id']}_")) == (["read", "submit"], "ada", True)
    listed = keys("list", "--json")
    assert listed.json == {"keys": [made]}
    assert key not in listed.out
    whole = keys("revoke", key, "--json")
    assert (whole.code, whole.json["error"]["code"], key in whole.out + whole.err) == (64, "input_invalid", False)
    revoked = keys("revoke", "ci", "--by", "bob", "--json").json
    assert (revoked["id"], revoked["revoked_by"]) == (made["id"], "bob")
    assert keys("list", "--json").json == {"keys": []}
    assert keys("list", "--all", "--json").json == {"keys": [revoked]}


def test_what_people_read(keys: Keys) -> None:
    """The key on a line of its own; a table without it; what to do when there is none."""
    assert "no keys" in keys("list").out
    said = keys("create", "boss", "--scope", "admin")
    lines = said.out.splitlines()
    assert lines[0].endswith("key boss, in force: admin")
    assert lines[1].strip().startswith("crt_")
    assert lines[2].strip() == "This is the only time that it is shown."
    assert "boss" in keys("list").out
    assert lines[1].strip() not in keys("list").out
    assert "revoked" in keys("revoke", "boss").out


def test_mistakes_are_told(keys: Keys) -> None:
    """An unknown key is 3, a name that is taken is 1, a name or a scope that is none is wrong usage."""
    assert keys("create", " ", "--scope", "read", "--json").code == 64
    assert (keys("revoke", "nobody", "--json").code, keys("create", "x", "--scope", "root").code) == (3, 64)
    assert keys("create", "x").code == 64
    assert keys("create", "ci", "--scope", "read").code == 0
    again = keys("create", "ci", "--scope", "read", "--json")
    assert (again.code, again.json["error"]["code"]) == (1, "api_key_exists")
    unnamed = keys("create", "", "--scope", "read", "--json").json["error"]
    assert (unnamed["code"], unnamed["hint"]) == ("input_invalid", "")
    past = keys("create", "y", "--scope", "read", "--expires", "2020-01-01", "--json")
    assert (past.code, past.json["error"]["code"]) == (64, "input_invalid")
