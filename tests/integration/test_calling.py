"""Calls of scripts: as functions, loaded where they are missing; as scripts, where a server takes no functions."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import anyio
import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from courante.sdk.connections import connect_redis
from courante.sdk.floor.calling import Script, run_script
from courante.sdk.floor.function_library import LIBRARIES_MAX, library_of
from courante.sdk.floor.scripts import load_script, open_partition
from courante.sdk.keys import Keys

pytestmark = pytest.mark.anyio

SHARED = """#!lua
-- @each call
local first, second = KEYS[1], { ARGV[1] }

local function note(word) second[#second + 1] = word end
"""
BODY = """note(ARGV[2])
if ARGV[2] == 'wrong' then error({ err = 'CORRUPT ' .. first }) end
return { first, second }
"""


def make(*, version: int = 0, body: str = BODY) -> Script:
    """A script of a name that no other test has; its versions share the name."""
    text = f"{body}-- {version}\n"
    sha = f"{version:016x}" + "0" * 24
    return Script(NAME, (SHARED + text).encode(), sha, library_of(NAME, sha, SHARED, text))


NAME = "test" + secrets.token_hex(4)


@pytest.fixture
async def limited(redis: Redis, redis_url: str) -> AsyncIterator[Redis]:
    """A client of a user who may call scripts and no functions."""
    user, password = f"u{secrets.token_hex(4)}", secrets.token_hex(8)
    await redis.execute_command(
        "ACL", "SETUSER", user, "on", f">{password}", "~*", "&*", "+@all", "-fcall", "-function"
    )
    client = connect_redis(redis_url.replace("://", f"://{user}:{password}@", 1))
    yield client
    await client.aclose()
    await redis.execute_command("ACL", "DELUSER", user)


async def libraries(redis: Redis) -> int:
    return len(await redis.execute_command("FUNCTION LIST", "LIBRARYNAME", f"courante_{NAME}_*"))


async def test_each_call_begins_anew(redis: Redis) -> None:
    """What one call has kept, the next one does not see; nor one after an error."""
    script = make()
    for _ in range(2):
        assert await run_script(redis, script, ["k"], ["a", "b"]) == [b"k", [b"a", b"b"]]
        with pytest.raises(ResponseError, match=r"^CORRUPT other"):
            await run_script(redis, script, ["other"], ["c", "wrong"])
    assert await libraries(redis) == 1


async def test_a_forgotten_function_is_loaded_once(redis: Redis) -> None:
    """F22, F32: also by several at once."""
    script = make()
    await redis.execute_command("FUNCTION FLUSH")
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(run_script, redis, script, ["k"], ["a", "b"])
    assert await libraries(redis) == 1


async def test_old_versions_do_not_gather(redis: Redis) -> None:
    """A server keeps a few, and one that it dropped comes back with its next call."""
    versions = [make(version=number) for number in range(3 * LIBRARIES_MAX)]
    for version in (*versions, versions[0]):
        assert await run_script(redis, version, ["k"], ["a", "b"]) == [b"k", [b"a", b"b"]]
        assert await libraries(redis) <= LIBRARIES_MAX + 1


async def test_a_server_without_functions_has_scripts(redis: Redis, limited: Redis) -> None:
    """F22, F32: the same answer with real scripts, and what the server has forgotten is sent again."""
    keys = Keys(f"t{secrets.token_hex(6)}").partition(0)
    before = await redis.info("commandstats")
    assert await open_partition(limited, keys, [(keys.done, "g")], epoch=7) == 7
    await redis.script_flush()
    assert await open_partition(limited, keys, [(keys.done, "g")], epoch=8) == 7
    assert await open_partition(redis, keys, [(keys.done, "g")], epoch=9) == 7
    after = await redis.info("commandstats")
    assert after["cmdstat_evalsha"]["calls"] > before.get("cmdstat_evalsha", {"calls": 0})["calls"]
    await redis.delete(keys.meta, keys.done)


async def test_an_error_of_a_script_is_not_taken_for_a_missing_function(redis: Redis) -> None:
    script = make(version=99, body="return redis.error_reply('ERR Function is fine, its input is not')\n")
    with pytest.raises(ResponseError, match="its input is not"):
        await run_script(redis, script, ["k"], [])


def test_a_library_allows_what_its_script_does() -> None:
    assert b"flags={'allow-oom'}" in load_script("renew_leases").library.source
    assert b"flags={}" in load_script("advance").library.source
