"""A secret that a step raises or logs is nowhere afterwards: not in Redis, Postgres, logs or on the screen (F90)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from command_line import RUN_ID, spawn
from courante.sdk.connections import connect_redis

pytestmark = pytest.mark.anyio

CANARY = "canary-5f1c9a-of-the-vault"
UNKNOWN = ("ghp_canaryabcdefghijklmnop0123", "unknown-canary-password", "canary.0abcdefghijklmnop")
"""Not in the environment: masked for what they look like."""

APP = f"""
import os
import structlog
from courante import step

SECRET = os.environ["SHOP_API_KEY"]
LOG = structlog.get_logger()

@step("shop.plain")
def plain():
    LOG.warning("shop_said", error=f"see {{SECRET}}")
    raise ValueError(f"no: {{SECRET}}")

@step("shop.caught")
async def caught(input):
    try:
        raise KeyError({{"auth": f"\\n{{SECRET}}"}})
    except KeyError as error:
        LOG.exception("shop_failed", hint=[SECRET])
        raise RuntimeError("x" * 1_990 + SECRET) from error

@step("shop.unknown")
def unknown():
    raise ExceptionGroup("of many", [
        OSError("{UNKNOWN[0]}"),
        ConnectionError("postgres://ann:{UNKNOWN[1]}@db/x"),
        PermissionError("refused Authorization: Bearer {UNKNOWN[2]}"),
    ])
"""

FLOW = """\
courante: 1
id: canaries
policy: {on_failure: continue}
defaults: {retry: {max_attempts: 2, base: 1ms}}
nodes:
  - {id: plain, type: function, config: {handler: shop.plain}, on_error: sorry}
  - {id: sorry, type: transform, config: {mapping: {said: steps.plain.error.message}}}
  - {id: caught, type: function, config: {handler: shop.caught}}
  - {id: unknown, type: function, config: {handler: shop.unknown}}
"""

READ: dict[bytes, tuple[str, ...]] = {
    b"string": ("GET",),
    b"hash": ("HGETALL",),
    b"stream": ("XRANGE", "-", "+"),
    b"zset": ("ZRANGE", "0", "-1"),
    b"set": ("SMEMBERS",),
    b"list": ("LRANGE", "0", "-1"),
}


async def dump_redis(redis: Redis, env: str) -> bytes:
    """Everything under the keys of an environment."""
    found: list[object] = []
    async for key in redis.scan_iter(match=f"*{env}*"):
        kind = await redis.execute_command("TYPE", key)
        command, *more = READ[kind]
        found += [key, await redis.execute_command(command, key, *more)]
    return b"\n".join(flat(found))


async def dump_postgres(url: str) -> bytes:
    """Every row of every table."""
    connection = await asyncpg.connect(url)
    try:
        found: list[object] = []
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (name,) in names:
            for row in await connection.fetch(f'SELECT * FROM "{name}"'):
                found += [name, *row.values()]
        return b"\n".join(flat(found))
    finally:
        await connection.close()


def flat(value: object) -> Iterable[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        yield from flat([*value.items()])  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType] - anything
    elif isinstance(value, list | tuple):
        for each in value:  # pyright: ignore[reportUnknownVariableType] - anything
            yield from flat(each)  # pyright: ignore[reportUnknownArgumentType] - anything
    else:
        yield str(value).encode()


async def test_secrets_of_failing_steps_are_nowhere(
    redis_url: str, database: str, env_name: str, tmp_path: Path
) -> None:
    """Raised in messages, causes, groups and URLs, logged in fields and tracebacks: the canary is in no dump."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "flow.yaml").write_text(FLOW)
    environ = {
        "COURANTE_REDIS_URL": redis_url,
        "COURANTE_DATABASE_URL": database,
        "COURANTE_ENV": env_name,
        "COURANTE_HOME": str(tmp_path / "home"),
        "SHOP_API_KEY": CANARY,
    }
    ran = spawn("run", "flow.yaml", "--app", "shop", "--log-level", "debug", cwd=tmp_path, environ=environ)
    assert ran.code == 5, ran.err
    run_id = RUN_ID.search(ran.out + ran.err)
    assert run_id is not None
    shown = [spawn(*words, run_id[0], "--json", cwd=tmp_path, environ=environ) for words in (["events"], ["status"])]
    redis = connect_redis(redis_url)
    dumps = {
        "redis": await dump_redis(redis, env_name),
        "postgres": await dump_postgres(database),
        "screen and logs": "".join(said.out + said.err for said in (ran, *shown)).encode(),
    }
    await redis.aclose()
    for name, dump in dumps.items():
        assert b"no: ***" in dump, name  # it was there, and it was masked
        for canary in (CANARY, *UNKNOWN):
            assert canary.encode() not in dump, name
            assert canary.encode().hex().encode() not in dump, name
    assert ran.err.count("shop_said") == ran.err.count("shop_failed") == 2
    assert b"step.retried" in dumps["postgres"]
    assert b"see ***" in dumps["screen and logs"]
