"""Logs: what the steps of a run have said."""

from __future__ import annotations

from collections import deque
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.responses import Response

from ...sdk.access import Scope
from ...sdk.client.step_log_reading import StepLogReader
from ..bodies import NoBody
from ..reading.events import read_numbers
from ..route import Asked, Routes
from ..streams import stream_logs, wants_stream
from ..wire.logs import LogPage, Said, SaidReader
from .runs import Filter, found_run

routes = Routes("logs")


class LogRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``step``, ``attempt``: only what this one has said. ``limit``: the last so many lines, of a page."""

    step: Filter | None = None
    attempt: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1_000

    def wants(self, step: str, attempt: int) -> bool:
        return self.step in (None, step) and self.attempt in (None, attempt)


@routes.get("/v1/runs/{run_id}/logs", scope=Scope.READ, errors=("run_not_found",), has_stream=True)
async def show(asked: Asked[LogRange, NoBody]) -> LogPage | Response:
    """Show what the steps of a run have said until now, in the order of its times; or as they say it.

    With ``Accept: text/event-stream`` lines are told as they are stored, from the first one or from behind
    Last-Event-ID, as events named ``log``; and answers of models as they come, piece by piece, as events named
    ``text``. These have no id: they are told to who listens then, and the whole answer is in the output of the step.
    With the run the stream ends, by an event named ``end``; who asks for more then gets 204.
    """
    client, query = asked.backend.client, asked.query
    async with found_run(asked.backend, asked.at("run_id")) as (conn, run):
        numbers = await read_numbers(conn, run)
        if wants_stream(asked.request):
            return stream_logs(asked.backend.live_logs, asked.request, run, numbers, query.wants)
        words = SaidReader(numbers)
        place = client.keys.partition(run.partition)
        reader = StepLogReader(conn, client.redis, place, run.env, run.run_id, query.step)
        kept: deque[Said] = deque(maxlen=query.limit)
        async for line in reader.past():
            if query.wants(line.node, line.attempt):
                kept.extend(words.said(line))
    return LogPage(run_id=run.run_id, lines=list(kept))
