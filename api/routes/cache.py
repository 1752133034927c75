"""Cache: outputs of steps that are kept; how often they are taken, and making them void."""

from __future__ import annotations

import msgspec

from ...sdk.access import Scope
from ...sdk.errors import InputInvalid
from ..bodies import NoBody, NoQuery
from ..route import Asked, Routes
from ..wire.cache import CachePage, Invalidate, InvalidateDone, cache_page, invalidate_done
from .runs import Filter

routes = Routes("cache")


class Cached(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    workflow: Filter = ""
    step: Filter = ""


@routes.get("/v1/cache", scope=Scope.READ)
async def show(asked: Asked[Cached, NoBody]) -> CachePage:
    """Tell which outputs are kept, and how often they were taken, by workflow and step."""
    query = asked.query
    return cache_page(await asked.backend.client.step_cache.statistics(workflow=query.workflow, step=query.step))


@routes.post("/v1/cache/invalidate", scope=Scope.OPERATE, errors=("input_invalid",))
async def invalidate(asked: Asked[NoQuery, Invalidate]) -> InvalidateDone:
    """Make outputs void for ever, also those that are recorded later."""
    body = asked.body
    try:
        done = await asked.backend.client.step_cache.invalidate(
            key=body.key,
            workflow=body.workflow,
            step=body.step,
            older_than_ms=body.older_than_ms,
            is_all=body.all,
            dry_run=body.dry_run,
        )
    except ValueError as error:
        raise InputInvalid(str(error)) from error
    return invalidate_done(done, is_dry=body.dry_run)
