"""Turn what the servers' clients raise into what the public face raises."""

from __future__ import annotations

from types import TracebackType

import asyncpg
from redis.exceptions import RedisError

from .errors import InputInvalid, ServiceUnavailable
from .floor.scripts import BackPressure, Closed, Late
from .server_errors import POSTGRES_AWAY, POSTGRES_ERRORS

HINT = (
    "what runs goes on meanwhile; ask again when 'courante health' says that Postgres is there, with the same key "
    "where it must not be done twice"
)
DISK_HINT = (
    "make room where Postgres has its data: what runs goes on until the outbox is full, and what was accepted is kept; "
    "ask again then, with the same key where it must not be done twice"
)


def postgres_away(error: BaseException, waited: str = "") -> ServiceUnavailable:
    """Return how one of POSTGRES_AWAY is told. waited: how long, where it was."""
    is_full = isinstance(error, asyncpg.DiskFullError)
    what = "the disk of Postgres is full" if is_full else "Postgres is away"
    told = f"{what}{waited}: {error or type(error).__name__}"
    return ServiceUnavailable(told, hint=DISK_HINT if is_full else HINT)


class AsUnavailable:
    """A context manager; stateless. ``TimeoutError`` is an OSError: a deadline of the caller's own passes it by."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Closed):
            raise ServiceUnavailable("Redis has no epoch", hint="run 'courante doctor'") from error
        if isinstance(error, BackPressure):
            raise ServiceUnavailable("the outbox is full: is the recorder running?") from error
        if isinstance(error, Late):
            raise ServiceUnavailable("the start came too late to be applied safely") from error
        if isinstance(error, RedisError):
            raise ServiceUnavailable(f"Redis: {error}") from error
        if isinstance(error, asyncpg.DataError):
            raise InputInvalid(f"Postgres cannot store it: {error}") from error
        if isinstance(error, POSTGRES_AWAY):
            raise postgres_away(error) from error
        if isinstance(error, POSTGRES_ERRORS):
            raise ServiceUnavailable(f"Postgres: {error or type(error).__name__}") from error
