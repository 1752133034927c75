"""Health, for people and for whoever starts and stops the server."""

from __future__ import annotations

from functools import partial

from ...sdk.access import Scope
from ...sdk.health.health import limits_of
from ...sdk.unavailable import AsUnavailable
from ..bodies import NoBody, NoQuery
from ..route import Asked, Routes
from ..wire.health import Alive, HealthShown, health_shown

routes = Routes("health")


@routes.get("/v1/health", scope=None)
async def show(asked: Asked[NoQuery, NoBody]) -> HealthShown:
    """Say how the environment is: HEALTHY, WARNING or CRITICAL, and why.

    Who may not read sees the word alone. The status is 200 in any case.
    """
    backend = asked.backend
    judge = partial(backend.client.health, limits_of(backend.settings))
    if asked.principal is None or not asked.principal.may(Scope.READ):
        return HealthShown(status=await backend.word.read(judge))
    return health_shown(await judge())


@routes.get("/health", scope=None)
async def show_plain(asked: Asked[NoQuery, NoBody]) -> HealthShown:
    """The same, where watchmen look for it by habit."""
    return await show(asked)


@routes.get("/v1/health/live", scope=None)
async def live(asked: Asked[NoQuery, NoBody]) -> Alive:
    """Say that the server is there."""
    del asked
    return Alive()


@routes.get("/v1/health/ready", scope=None, errors=("service_unavailable",))
async def ready(asked: Asked[NoQuery, NoBody]) -> Alive:
    """Say that requests can be answered: Postgres and Redis answer."""
    client = asked.backend.client
    with AsUnavailable():
        await client.schedules.clock()  # that of Redis
        async with client.pool.acquire() as conn:
            await conn.execute("SELECT 1")
    return Alive()
