"""Whether a Redis and a Postgres keep what they acknowledge: what ``courante doctor`` shows and start-up refuses.

An ``error`` breaks a promise of the engine; a ``warning`` costs work to be done again, because Redis is a cache of the
log. Reads settings only, never changes one. Sources: Redis configuration file, INFO page; PostgreSQL manual,
"Reliability and the Write-Ahead Log".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

import msgspec

from ...compiler.diagnostics import Severity

REDIS_VERSION_MIN = (7, 0)
POSTGRES_VERSION_MIN = 140_000  # as server_version_num has it


class RedisCommands(Protocol):
    """The one method of an asyncio Redis client that is needed; replies may be text or bytes."""

    async def execute_command(self, *words: Any, **options: Any) -> Any: ...


class PostgresQueries(Protocol):
    """The one method of an asyncpg connection that is needed."""

    async def fetchval(self, query: str, /, *args: object) -> Any: ...


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. code: stable, lower-case words joined by ``_``; hint: what to do."""

    code: str
    severity: Severity
    message: str
    hint: str


class RedisReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a Redis is set to. None: the server does not tell (managed ones forbid CONFIG).

    maxmemory_bytes 0: no limit.
    """

    version: str
    appendonly: bool
    appendfsync: str | None
    maxmemory_policy: str
    maxmemory_bytes: int
    used_bytes: int
    problems: tuple[Problem, ...]


class PostgresReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a Postgres is set to, as this session sees it."""

    version: str
    fsync: bool
    synchronous_commit: str
    full_page_writes: bool
    problems: tuple[Problem, ...]


class _PostgresFacts(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    number: int
    fsync: str
    synchronous_commit: str
    full_page_writes: str
    encoding: str
    is_standby: bool


_POSTGRES_FACTS = """
SELECT json_build_object(
    'version', current_setting('server_version'),
    'number', current_setting('server_version_num')::int,
    'fsync', current_setting('fsync'),
    'synchronous_commit', current_setting('synchronous_commit'),
    'full_page_writes', current_setting('full_page_writes'),
    'encoding', current_setting('server_encoding'),
    'is_standby', pg_is_in_recovery())::text
"""


async def inspect_redis(client: RedisCommands) -> RedisReport:
    """Look at one server. Two round trips. Raises what the client raises when the server cannot be reached."""
    info = _texts(await client.execute_command("INFO"))
    try:
        config = _texts(await client.execute_command("CONFIG", "GET", "*"))
    except Exception as error:
        if not _is_refusal(error):
            raise
        config = {}
    policy = config.get("maxmemory-policy", info.get("maxmemory_policy", "noeviction"))
    appendonly = config.get("appendonly", "yes" if info.get("aof_enabled") == "1" else "no") == "yes"
    appendfsync = config.get("appendfsync")
    return RedisReport(
        version=_redis_version(info),
        appendonly=appendonly,
        appendfsync=appendfsync,
        maxmemory_policy=policy,
        maxmemory_bytes=int(config.get("maxmemory", info.get("maxmemory", "0"))),
        used_bytes=int(info.get("used_memory", "0")),
        problems=tuple(_redis_problems(info, policy, appendfsync, appendonly=appendonly)),
    )


async def inspect_postgres(connection: PostgresQueries) -> PostgresReport:
    """Look at one server through a session of the kind the engine uses. One round trip."""
    facts = msgspec.json.decode(str(await connection.fetchval(_POSTGRES_FACTS)), type=_PostgresFacts)
    return PostgresReport(
        version=facts.version,
        fsync=facts.fsync == "on",
        synchronous_commit=facts.synchronous_commit,
        full_page_writes=facts.full_page_writes == "on",
        problems=tuple(_postgres_problems(facts)),
    )


def _redis_problems(info: Mapping[str, str], policy: str, fsync: str | None, *, appendonly: bool) -> list[Problem]:
    problems: list[Problem] = []
    compatible = info.get("redis_version", "0")
    if _numbers(compatible) < REDIS_VERSION_MIN:
        message = f"this server speaks Redis {compatible}; 7.0 is the oldest that can be used"
        problems.append(_error("redis_too_old", message, "use Redis 7.0 or newer, or Valkey"))
    if policy != "noeviction":
        message = f"maxmemory-policy is {policy}: under memory pressure the server deletes the state of live runs"
        problems.append(_error("redis_evicts", message, "CONFIG SET maxmemory-policy noeviction, and in its file"))
    if info.get("role", "master") != "master":
        hint = "let the URL name the primary"
        problems.append(_error("redis_is_replica", "this server is a replica and takes no writes", hint))
    if info.get("aof_last_write_status", "ok") != "ok":
        hint = "look at the disk and the log of the server"
        problems.append(_error("redis_aof_failing", "the server cannot write its append-only file", hint))
    if not appendonly:
        message = "appendonly is no: a restart loses all live runs, which are then rebuilt from the log"
        problems.append(_warning("redis_no_aof", message, "CONFIG SET appendonly yes, and in its file"))
    elif fsync == "no":
        message = "appendfsync is no: a power cut may lose half a minute, which is then rebuilt from the log"
        problems.append(_warning("redis_no_fsync", message, "CONFIG SET appendfsync everysec, and in its file"))
    return problems


def _postgres_problems(facts: _PostgresFacts) -> list[Problem]:
    problems: list[Problem] = []
    if facts.number < POSTGRES_VERSION_MIN:
        message = f"this is Postgres {facts.version}; 14 is the oldest that can be used"
        problems.append(_error("postgres_too_old", message, "use Postgres 14 or newer"))
    if facts.fsync != "on":
        message = "fsync is off: a power cut can lose and corrupt the log"
        problems.append(_error("postgres_no_fsync", message, "ALTER SYSTEM SET fsync = on, then reload"))
    if facts.synchronous_commit == "off":
        message = "synchronous_commit is off: a crash can lose commands that were acknowledged"
        hint = "ALTER DATABASE ... SET synchronous_commit = on"
        problems.append(_error("postgres_async_commit", message, hint))
    if facts.is_standby:
        hint = "let the URL name the primary"
        problems.append(_error("postgres_is_standby", "this server is a standby and takes no writes", hint))
    if facts.encoding != "UTF8":
        message = f"the database's encoding is {facts.encoding}: names and texts cannot be stored as they are"
        problems.append(_error("postgres_not_utf8", message, "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"))
    if facts.full_page_writes != "on":
        message = "full_page_writes is off: a power cut can leave torn pages, unless the disk writes them whole"
        problems.append(_warning("postgres_torn_pages", message, "ALTER SYSTEM SET full_page_writes = on, then reload"))
    return problems


def _error(code: str, message: str, hint: str) -> Problem:
    return Problem(code=code, severity=Severity.ERROR, message=message, hint=hint)


def _warning(code: str, message: str, hint: str) -> Problem:
    return Problem(code=code, severity=Severity.WARNING, message=message, hint=hint)


def _redis_version(info: Mapping[str, str]) -> str:
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', 'unknown')}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _is_refusal(error: Exception) -> bool:
    """Whether the server answered that CONFIG is not for us: no permission, or a command that was renamed away."""
    text = str(error).lower()
    return any(words in text for words in ("permission", "unknown command", "noperm", "not allowed", "unsupported"))


def _texts(reply: object) -> dict[str, str]:
    """The parsed reply of INFO or CONFIG GET with text keys and values, whatever the client decodes to."""
    pairs = cast("Mapping[object, object]", reply)
    return {_text(key): _text(value) for key, value in pairs.items()}


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
