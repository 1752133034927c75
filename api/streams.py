"""Streams: server-sent events of one run or of all, from where a listener was, as they come to the log.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ..sdk.fold_ends import FINAL
from ..sdk.stores.log import read_events
from .live import Live, Told, moment_of
from .problems import Refused

EVENT_STREAM = "text/event-stream"
LAST_EVENT_ID = "last-event-id"
PAGE = 500
RETRY_MS = 1_000
ALIVE_S = 15.0
"""After so long without an event a comment is sent, so that whoever stands between does not cut the line."""
_ALIVE = b": alive\n\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def wants_stream(request: Request) -> bool:
    return EVENT_STREAM in request.headers.get("accept", "")


def stream_run(live: Live, request: Request, run_id: str, after: int, *, last_seq: int | None) -> Response:
    """Tell the events of a run from ``after`` on, or from Last-Event-ID, until it has ended.

    last_seq: its last event, None where it has not ended. 204 where nothing more is to come: a browser asks no more
    then. Raises Refused.
    """
    said = request.headers.get(LAST_EVENT_ID, "")
    if said:
        if not said.isdecimal() or len(said) > 15:
            raise Refused("query_invalid", f"Last-Event-ID {said!r:.40} is the number of no event")
        after = int(said)
    if last_seq is not None and after >= last_seq:
        return Response(status_code=204, headers=_HEADERS)
    return StreamingResponse(_run(live, run_id, after), media_type=EVENT_STREAM, headers=_HEADERS)


def stream_all(live: Live, request: Request) -> Response:
    """Tell the events of all runs from now on, or from Last-Event-ID. Raises Refused."""
    said = request.headers.get(LAST_EVENT_ID, "")
    if said and moment_of(said) is None:
        raise Refused("query_invalid", f"Last-Event-ID {said!r:.40} is that of no event")
    return StreamingResponse(_all(live, said), media_type=EVENT_STREAM, headers=_HEADERS)


async def _run(live: Live, run_id: str, after: int) -> AsyncGenerator[bytes]:
    yield _hello()
    async with live.listening(run_id) as listener:
        async for told in _log(live, run_id, after):
            after = told.event.seq
            yield _run_event(told)
            if told.event.type in FINAL:
                return
        while not listener.is_gone:
            found: list[Told] = []
            with anyio.move_on_after(ALIVE_S):
                found = await listener.next()
            if not found and not listener.is_gone:
                yield _ALIVE
            for told in found:
                if told.event.seq > after:
                    after = told.event.seq
                    yield _run_event(told)
                if told.event.type in FINAL:
                    return


async def _log(live: Live, run_id: str, after: int) -> AsyncGenerator[Told]:
    """What is in the log, a page at a time."""
    while True:
        async with live.pool.acquire() as conn:
            page = await read_events(conn, run_id, after + PAGE, after=after)
        for told in await live.made(page):
            yield told
        if len(page) < PAGE:
            return
        after = page[-1].seq


async def _all(live: Live, said: str) -> AsyncGenerator[bytes]:
    yield _hello()
    async with live.listening() as listener:
        seen: set[tuple[str, int]] = set()
        since = moment_of(said) if said else None
        if since is not None:
            for told in await live.tell_since(since):
                seen.add((told.event.run_id, told.event.seq))
                if _id_of_all(told) != said:
                    yield _event(told, _id_of_all)
        while not listener.is_gone:
            found: list[Told] = []
            with anyio.move_on_after(ALIVE_S):
                found = await listener.next()
            if not found and not listener.is_gone:
                yield _ALIVE
            for told in found:
                if (told.event.run_id, told.event.seq) not in seen:
                    yield _event(told, _id_of_all)


def _hello() -> bytes:
    return b"retry: %d\n\n" % RETRY_MS


def _run_event(told: Told) -> bytes:
    return _event(told, lambda one: str(one.event.seq))


def _id_of_all(told: Told) -> str:
    """Its time comes first: after a break everything from then on is told once more."""
    return f"{told.at_ms}-{told.event.run_id}-{told.event.seq}"


def _event(told: Told, id_of: Callable[[Told], str]) -> bytes:
    return b"id: %b\ndata: %b\n\n" % (id_of(told).encode(), told.content)
