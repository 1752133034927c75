"""Server errors: what Redis and Postgres that are away, or refuse work for now, show as."""

from __future__ import annotations

import asyncpg
from redis.exceptions import RedisError

POSTGRES_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a Postgres that is away, or goes away in the middle, shows as; the last one where asyncpg itself is confused."""
POSTGRES_AWAY = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)
"""It cannot be reached, starts or stops, or has no room for now; another try may succeed."""
SERVER_ERRORS = (RedisError, *POSTGRES_ERRORS)
"""What a loop that never ends waits out. ``TimeoutError`` is an OSError."""
