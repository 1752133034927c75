"""Traces: runs that have ended, exported from the log by OTLP. Where no ``otlp_url`` is set there is none of it.

Spans are made of recorded events, so they cost who works nothing, and what a worker that died had done is in them.
Which runs have ended is heard from the recorder of this process: of one that dies the last moments' runs may be
missing. While the collector is away up to ``RUNS_MAX`` runs wait, and the oldest go.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import msgspec
import structlog

from ...sdk.events import RecordedEvent
from ...sdk.server_errors import SERVER_ERRORS
from ...sdk.stores.connection import Pool
from ...sdk.stores.errors import LogArchived
from ...sdk.stores.log import read_events
from ..recording.projections import Projection
from .spans import spans_of, wants_trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

RUNS_MAX = 10_000
BATCH = 20
RUN_EVENTS_MAX = 20_000
"""A run with more is not traced: no viewer shows it."""
LOOK_S = 1.0
BACKOFF_S_MAX = 60.0
EXPORT_S = 10.0
log = structlog.get_logger()


class Traces:
    """Exports the runs of one environment. url: of OTLP over HTTP, for example ``http://localhost:4318/v1/traces``."""

    def __init__(self, pool: Pool, env: str, url: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource

        self._pool = pool
        self._env = env
        self._exporter = OTLPSpanExporter(endpoint=url, timeout=EXPORT_S)
        self._resource = Resource({"service.name": "courante", "deployment.environment.name": env})
        self._ended: deque[str] = deque()
        self.exported = 0
        self.dropped = 0

    def hear(self, projection: Projection) -> None:
        """Take the runs that have ended in a batch that was committed."""
        self._ended.extend(projection.ended)
        while len(self._ended) > RUNS_MAX:
            self._ended.popleft()
            self.dropped += 1

    async def run(self) -> None:
        """Export until cancelled."""
        pause = LOOK_S
        try:
            while True:
                await anyio.sleep(pause)
                try:
                    while self._ended and await self.export():
                        pause = LOOK_S
                except SERVER_ERRORS as error:
                    log.warning("traces_not_read", error=str(error) or repr(error))
                if self._ended:
                    pause = min(BACKOFF_S_MAX, 2 * pause)
        finally:
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the library has no types there

    async def export(self) -> bool:
        """Export some runs; False where the collector did not take them, which are tried again."""
        batch = [self._ended.popleft() for _ in range(min(BATCH, len(self._ended)))]
        is_done = False
        try:
            is_done = await self._export(batch)
        finally:
            if not is_done:
                self._ended.extendleft(reversed(batch))
        self.exported += len(batch) * is_done
        return is_done

    async def _export(self, batch: list[str]) -> bool:
        from opentelemetry.sdk.trace.export import SpanExportResult

        spans: list[ReadableSpan] = []
        async with self._pool.acquire() as conn:
            for run_id in batch:
                try:
                    events = await read_events(conn, run_id, RUN_EVENTS_MAX + 1)
                except (msgspec.ValidationError, LogArchived):  # the first: written by newer code
                    continue
                spans += self._spans(events)
        if spans:
            result = await anyio.to_thread.run_sync(partial(self._exporter.export, spans), abandon_on_cancel=True)
            if result is not SpanExportResult.SUCCESS:
                log.warning("traces_not_exported", runs=len(batch), waiting=len(self._ended) + len(batch))
                return False
        return True

    def _spans(self, events: list[RecordedEvent]) -> list[ReadableSpan]:
        if not events or len(events) > RUN_EVENTS_MAX or not wants_trace(events[0].facts):
            return []
        return spans_of(events, self._env, self._resource)
