"""Logs: what the steps of a run have said."""

from __future__ import annotations

from collections import deque
from typing import Annotated

import msgspec
from msgspec import Meta

from ...sdk.access import Scope
from ...sdk.step_log_reading import StepLogReader
from ..bodies import NoBody
from ..route import Asked, Routes
from ..wire.logs import LogPage, Said, SaidReader
from .runs import Filter, found_run, read_numbers

routes = Routes("logs")


class LogRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``step``: only what this one has said. ``limit``: the last so many lines."""

    step: Filter | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1_000


@routes.get("/v1/runs/{run_id}/logs", scope=Scope.READ, errors=("run_not_found",))
async def show(asked: Asked[LogRange, NoBody]) -> LogPage:
    """Show what the steps of a run have said until now, in the order of its times."""
    client, query = asked.backend.client, asked.query
    async with found_run(asked.backend, asked.at("run_id")) as (conn, run):
        words = SaidReader(await read_numbers(conn, run))
        place = client.keys.partition(run.partition)
        reader = StepLogReader(conn, client.redis, place, run.env, run.run_id, query.step)
        kept: deque[Said] = deque(maxlen=query.limit)
        async for line in reader.past():
            kept.extend(words.said(line))
    return LogPage(run_id=run.run_id, lines=list(kept))
