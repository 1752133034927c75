"""Inspection: what Redis and Postgres say of themselves, what is wrong with it, and whether that forbids to start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import asyncpg
import msgspec
from redis.exceptions import RedisError

from ..compiler.diagnostics import Severity
from ..sdk.connections import close_redis, connect_redis
from ..sdk.health.durability import Problem, RedisReport, inspect_postgres, inspect_redis
from ..sdk.stores.errors import SchemaError
from ..sdk.stores.migrate import pending
from ..sdk.urls import mask_password
from .exits import CliError, ExitCode
from .services import CONNECT_S, Services, unreachable


@dataclass(frozen=True)
class Inspection:
    """Versions and ``durability`` are None where the server does not answer. URLs are without passwords."""

    redis_url: str
    redis_version: str | None
    durability: str | None
    database_url: str
    postgres_version: str | None
    is_own_redis: bool
    is_own_database: bool
    problems: tuple[Problem, ...]

    @property
    def is_ok(self) -> bool:
        return all(problem.severity is not Severity.ERROR for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """What ``doctor`` gives, but for ``ok``, and for where the API is: whoever runs or finds it says so."""
        return {
            "redis": {"url": self.redis_url, "version": self.redis_version, "durability": self.durability},
            "postgres": {"url": self.database_url, "version": self.postgres_version},
            "api": {"url": None},
            "problems": [msgspec.to_builtins(problem) for problem in self.problems],
        }


async def inspect(services: Services) -> Inspection:
    """Ask both servers. Two connections, opened and closed."""
    problems: list[Problem] = []
    redis = await _ask_redis(services, problems)
    postgres_version = await _ask_postgres(services, problems)
    return Inspection(
        redis_url=mask_password(services.redis_url),
        redis_version=None if redis is None else redis.version,
        durability=None if redis is None else _durability(redis),
        database_url=mask_password(services.database_url),
        postgres_version=postgres_version,
        is_own_redis=services.is_own_redis,
        is_own_database=services.is_own_database,
        problems=tuple(problems),
    )


async def require_safe(services: Services) -> Inspection:
    """Raises CliError where a server breaks what the engine promises."""
    found = await inspect(services)
    _refuse(found.problems)
    return found


async def require_safe_redis(services: Services) -> None:
    """The same for whoever needs Redis only. Raises CliError."""
    problems: list[Problem] = []
    await _ask_redis(services, problems)
    _refuse(problems)


def _refuse(problems: Sequence[Problem]) -> None:
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if errors:
        message = "\n".join(problem.message for problem in errors)
        raise CliError(ExitCode.SERVICE, errors[0].code, message, errors[0].hint)


async def _ask_redis(services: Services, problems: list[Problem]) -> RedisReport | None:
    client = connect_redis(services.redis_url)
    try:
        with anyio.fail_after(CONNECT_S):
            report = await inspect_redis(client)
    except (TimeoutError, OSError, RedisError) as cause:
        problems.append(_not_there(unreachable("Redis", services.redis_url, cause)))
        return None
    finally:
        await close_redis(client)
    problems += report.problems
    return report


async def _ask_postgres(services: Services, problems: list[Problem]) -> str | None:
    try:
        with anyio.fail_after(CONNECT_S):
            connection = await asyncpg.connect(services.database_url)
            try:
                report = await inspect_postgres(connection)
                problems += report.problems
                if not services.is_own_database and (missing := await pending(connection)):
                    message = f"{len(missing)} migrations are still to be applied"
                    problems.append(_problem("schema_behind", message, "run 'courante migrate'", Severity.WARNING))
            finally:
                await connection.close()
    except SchemaError as cause:
        problems.append(_problem("schema_unusable", str(cause), "is this the right database?", Severity.ERROR))
        return None
    except (TimeoutError, OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as cause:
        problems.append(_not_there(unreachable("Postgres", services.database_url, cause)))
        return None
    return report.version


def _durability(report: RedisReport) -> str:
    """``append-only file, fsync everysec; noeviction``."""
    kept = "nothing is written to disk"
    if report.appendonly:
        kept = "append-only file" + (f", fsync {report.appendfsync}" if report.appendfsync else "")
    return f"{kept}; {report.maxmemory_policy}"


def _not_there(error: CliError) -> Problem:
    return _problem(error.code, error.message, error.hint, Severity.ERROR)


def _problem(code: str, message: str, hint: str, severity: Severity) -> Problem:
    return Problem(code=code, severity=severity, message=message, hint=hint)
