"""The log of a run, a page at a time, as it travels."""

from __future__ import annotations

import msgspec

from ...compiler.ir import decode_ir
from ...sdk.stores.connection import Connection
from ...sdk.stores.errors import UnknownRun
from ...sdk.stores.log import find_events, read_events
from ...sdk.stores.payloads import resolve
from ...sdk.stores.runs import RunRow, get_run
from ...sdk.stores.workflows import get_ir
from ..wire.events import Event, EventPage, Numbers, event_of

PAGE = 500
PAYLOADS_BYTES_MAX = 16 * 1024 * 1024
"""Payloads of one page of events; one event goes in any case."""


class LogReader:
    """Reads the log of one run again and again; its IR only once."""

    def __init__(self, conn: Connection, env: str, run_id: str) -> None:
        self._conn = conn
        self._env = env
        self._run_id = run_id
        self._numbers: Numbers | None = None

    async def read(
        self,
        after: int,
        *,
        limit: int = PAGE,
        payloads: bool = False,
        step: str | None = None,
        kind: str | None = None,
    ) -> EventPage:
        """Return the events behind this one. step, kind: see ``find_events``. Raises UnknownRun, LogArchived."""
        if self._numbers is None:
            self._numbers = await read_numbers(self._conn, await self.run())
        if step is None and kind is None:
            found = await read_events(self._conn, self._run_id, after + limit, after=after)
        else:
            found = await find_events(self._conn, self._run_id, after=after, limit=limit, step=step, kind=kind)
        shown: list[Event] = []
        size_bytes = 0
        for event in found:
            if size_bytes >= PAYLOADS_BYTES_MAX:
                break
            content = None
            if payloads and event.payload is not None:
                content = await resolve(self._conn, self._env, event.payload)
                size_bytes += len(content or b"")
            shown.append(event_of(event, self._numbers, None if content is None else msgspec.json.decode(content)))
        is_cut = len(found) == limit or len(shown) < len(found)
        return EventPage(run_id=self._run_id, events=shown, next=shown[-1].seq if is_cut else None)

    async def run(self) -> RunRow:
        """Raises UnknownRun."""
        run = await get_run(self._conn, self._run_id)
        if run.env != self._env:
            raise UnknownRun(self._run_id)
        return run


async def read_numbers(conn: Connection, run: RunRow) -> Numbers:
    content = await get_ir(conn, run.env, run.ir_hash)
    return Numbers(None if content is None else decode_ir(content))
