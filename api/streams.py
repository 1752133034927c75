"""Streams: server-sent events of one run or of all, or its logs, from where a listener was, as they come.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sized
from contextlib import aclosing
from datetime import timedelta
from typing import TypeVar

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ..sdk.fold.fold_ends import FINAL
from ..sdk.moments import to_ms
from ..sdk.stores.log import read_events
from ..sdk.stores.runs import RunRow
from .frames import ALIVE, HELLO, frame
from .listener import Listener
from .live import Batch, Live, moment_of
from .live_logs import LiveLogs, ToldLog
from .problems import Refused
from .wire.events import Numbers

EVENT_STREAM = "text/event-stream"
LAST_EVENT_ID = "last-event-id"
PAGE = 500
ALIVE_S = 5.0
"""After so long without an event it is told that there was none. The page waits for three (``web/streams.js``)."""
OVERLAP = timedelta(seconds=5)
"""What is told as it comes begins so long before all that went before is told."""
END_ID = "end"
"""Of the last event of a log: it has no line."""
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
T = TypeVar("T", bound=Sized)


def wants_stream(request: Request) -> bool:
    return EVENT_STREAM in request.headers.get("accept", "")


def stream_run(live: Live, request: Request, run_id: str, after: int, *, last_seq: int | None) -> Response:
    """Tell the events of a run from ``after`` on, or from Last-Event-ID, until it has ended.

    last_seq: its last event, None where it has not ended. 204 where nothing more is to come: a browser asks no more
    then. Raises Refused.
    """
    said = _last_number(request, "event")
    after = after if said is None else said
    if last_seq is not None and after >= last_seq:
        return Response(status_code=204, headers=_HEADERS)
    return _streaming(_run(live, run_id, after))


def stream_all(live: Live, request: Request) -> Response:
    """Tell the events of all runs from now on, or from Last-Event-ID. Raises Refused."""
    said = request.headers.get(LAST_EVENT_ID, "")
    if said and moment_of(said) is None:
        raise Refused("query_invalid", f"Last-Event-ID {said!r:.40} is that of no event")
    return _streaming(_all(live, said))


def stream_logs(
    live: LiveLogs, request: Request, run: RunRow, numbers: Numbers, wanted: Callable[[str, int], bool]
) -> Response:
    """Tell what the steps of a run say, from the beginning or from Last-Event-ID, and texts of models, until its end.

    wanted: by node and attempt. 204 to who was told the end. Raises Refused.
    """
    if request.headers.get(LAST_EVENT_ID, "") == END_ID:
        return Response(status_code=204, headers=_HEADERS)
    return _streaming(_logs(live, run, numbers, wanted, _last_number(request, "line") or 0))


def _last_number(request: Request, noun: str) -> int | None:
    said = request.headers.get(LAST_EVENT_ID, "")
    if said and (not said.isdecimal() or len(said) > 15):
        raise Refused("query_invalid", f"Last-Event-ID {said!r:.40} is the number of no {noun}")
    return int(said) if said else None


def _streaming(content: AsyncGenerator[bytes]) -> Response:
    return _Stream(content)


class _Stream(StreamingResponse):
    """Whoever goes away in the middle leaves nothing behind: what is told is closed with the answer."""

    def __init__(self, content: AsyncGenerator[bytes]) -> None:
        super().__init__(content, media_type=EVENT_STREAM, headers=_HEADERS)
        self._told = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._told):
            await super().__call__(scope, receive, send)


async def _run(live: Live, run_id: str, after: int) -> AsyncGenerator[bytes]:
    yield HELLO
    silence = _Silence()
    async with live.listening(run_id) as listener:
        async for batch in _log(live, run_id, after):
            after = batch[-1].event.seq
            yield silence.broken(batch.run_frames)
            if batch[-1].event.type in FINAL:
                return
        async for found in _heard(listener):
            if not found:
                yield silence.broken()
            for batch in found:
                fresh = batch if batch[0].event.seq > after else Batch(one for one in batch if one.event.seq > after)
                if fresh:
                    after = fresh[-1].event.seq
                yield silence.broken(fresh.run_frames)
                if batch[-1].event.type in FINAL:
                    return


async def _log(live: Live, run_id: str, after: int) -> AsyncGenerator[Batch]:
    """What is in the log, a page at a time."""
    while True:
        async with live.pool.acquire() as conn:
            page = await read_events(conn, run_id, after + PAGE, after=after)
        if page:
            yield await live.made(page)
        if len(page) < PAGE:
            return
        after = page[-1].seq


async def _all(live: Live, said: str) -> AsyncGenerator[bytes]:
    """Who goes on is told what the log has since; then the last of it once more, while he listens already.

    That is for events that came to the log late, and told is only what was not. Who begins is greeted when nothing is
    missed any more.
    """
    silence = _Silence()
    since, seen = moment_of(said), set[tuple[str, int]]()
    if since is not None:
        yield HELLO
        until = await live.now()
        overlap = until - OVERLAP
        async for batch in live.between(since, until):
            seen.update(told.place for told in batch if told.since_ms >= to_ms(overlap))
            yield Batch(told for told in batch if told.id_of_all != said).all_frames
        since = max(since, overlap)
    async with live.listening() as listener:
        if since is None:
            yield HELLO
        else:
            async for batch in live.between(since, await live.now() + OVERLAP):
                fresh = Batch(told for told in batch if told.place not in seen and told.id_of_all != said)
                seen.update(told.place for told in fresh)
                yield fresh.all_frames
        async for found in _heard(listener):
            if not found:
                yield silence.broken()
            for batch in found:
                fresh = Batch(told for told in batch if told.place not in seen) if seen else batch
                yield silence.broken(fresh.all_frames)


async def _logs(
    live: LiveLogs, run: RunRow, numbers: Numbers, wanted: Callable[[str, int], bool], after: int
) -> AsyncGenerator[bytes]:
    yield HELLO
    silence = _Silence()
    async with live.listening(run, numbers) as listener:
        pieces, entry = await live.under_way(run)
        async for page in live.past(run, numbers, after, pieces):
            after = max([after, *(told.line for told in page)])
            yield _log_frames(page, wanted)
        async for found in _heard(listener):
            fresh = (told for batch in found for told in batch if told.line > after or told.entry > entry)
            yield silence.broken(_log_frames(fresh, wanted))
        if not listener.is_gone:
            yield frame(msgspec.json.encode({"run_id": run.run_id}), id=END_ID, name="end")


class _Silence:
    """How long nothing was sent: what is heard may all be left out for who listens."""

    def __init__(self) -> None:
        self._since = anyio.current_time()

    def broken(self, content: bytes = b"") -> bytes:
        """Return what is to be sent: the content, or after too long a silence that there is none."""
        now = anyio.current_time()
        if not content and now - self._since >= ALIVE_S:
            content = ALIVE
        if content:
            self._since = now
        return content


async def _heard(listener: Listener[T]) -> AsyncGenerator[list[T]]:
    """What is told, until nothing more is to come or the listener is let go; after a silence nothing."""
    while not listener.is_gone:
        found: list[T] = []
        with anyio.move_on_after(ALIVE_S):
            found = await listener.next()
        if found or not (listener.is_gone or listener.is_over):
            yield found
        elif listener.is_over:
            return


def _log_frames(some: Iterable[ToldLog], wanted: Callable[[str, int], bool]) -> bytes:
    return b"".join(_log_frame(told) for told in some if wanted(told.node, told.attempt))


def _log_frame(told: ToldLog) -> bytes:
    """What has no number of its own has no id: who was cut off goes on behind the last line that was told."""
    if told.type == "partial":
        return frame(told.content, name="text")
    return frame(told.content, id=str(told.line) if told.type == "line" else "", name="log")
