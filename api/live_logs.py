"""Live logs: what steps say, and the text of models as it comes, told to any number of listeners.

One reader serves them all. A few times a second it looks at the runs that somebody listens to: in one query at the
lines that were stored since, and in one command for each partition at the partial text that Redis has. So the cost for
Postgres does not grow with the number of listeners.

Lines come in the order in which they were stored; who was cut off goes on behind the last one. Partial text is in no
log: whoever comes later is told what there is of answers that are under way.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import msgspec
import structlog

from ..sdk.client.step_log_reading import pieces_in
from ..sdk.floor.streams import Fields, Place, place_of
from ..sdk.logs.step_lines import PIECE, Piece, StepLine
from ..sdk.server_errors import SERVER_ERRORS
from ..sdk.stores.runs import RunRow, final_runs
from ..sdk.stores.step_logs import last_id, last_numbers, lines_of_runs
from .listener import Listener
from .wire.logs import SaidReader

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from redis.asyncio import Redis

    from ..sdk.client.client import Client
    from .wire.events import Numbers

LOOK_S = 0.1
FAULT_S = 0.5
LINES_AT_ONCE = 200
"""Of one run at one look."""
PIECES_AT_ONCE = 1_000
NOWHERE: Place = (0, 0)
_encode = msgspec.json.Encoder().encode
log = structlog.get_logger()


class ToldLog(NamedTuple):
    """A line, or a piece of text, and its JSON, which is the same for all listeners. ``type``: of ``Said``.

    ``line``: the number of a stored line, also of what says that lines before it were lost. ``entry``: of text, where
    it stood in Redis.
    """

    type: str
    node: str
    attempt: int
    line: int
    entry: Place
    content: bytes


class _Run:
    """A run that somebody listens to, and up to where its listeners have been told."""

    def __init__(self, run: RunRow, step_log: str, partial: str, words: SaidReader, after: int, entry: str) -> None:
        self.run_id = run.run_id
        self.step_log = step_log
        self.partial = partial
        self.after = after
        self.entry = entry
        self.listeners: set[Listener[Sequence[ToldLog]]] = set()
        self.last_words: Place | None = None
        """When it has ended: the newest entry that may have lines of it."""
        self.is_stored = False
        self._words = words
        self._early: list[tuple[str, Piece]] = []

    def tell(self, lines: Sequence[tuple[int, StepLine]], pieces: Sequence[tuple[str, Piece]]) -> None:
        """Tell what has come. Text waits once for lines that were said before it: they are on their way, or lost."""
        told = list(_told_texts(self._words, self._early))
        told += _told_lines(self._words, lines)
        self._early = [each for each in pieces if self._words.is_early(each[1])]
        told += _told_texts(self._words, (each for each in pieces if not self._words.is_early(each[1])))
        if lines:
            self.after = lines[-1][0]
        if pieces:
            self.entry = pieces[-1][0]
        if told:
            for listener in self.listeners:
                listener.tell(told)

    def end(self) -> None:
        self.tell((), ())
        for listener in self.listeners:
            listener.end()


class LiveLogs:
    """Made by ``open_live_logs``. It reads only while somebody listens."""

    def __init__(self, client: Client, group: TaskGroup) -> None:
        self._client = client
        self._env = client.keys.env
        self._redis: Redis = client.redis
        self._group = group
        self._runs: dict[str, _Run] = {}
        self._is_running = False

    @property
    def count(self) -> int:
        """How many listen."""
        return sum(len(followed.listeners) for followed in list(self._runs.values()))

    @asynccontextmanager
    async def listening(self, run: RunRow, numbers: Numbers) -> AsyncGenerator[Listener[Sequence[ToldLog]]]:
        """A listener that is told what the steps of a run say from now on, until the run has ended."""
        if run.run_id not in self._runs:
            fresh = await self._begin(run, numbers)
            self._runs.setdefault(run.run_id, fresh)
        followed, listener = self._runs[run.run_id], Listener[Sequence[ToldLog]]()
        followed.listeners.add(listener)
        try:
            if not self._is_running:
                self._is_running = True
                self._group.start_soon(self._run)
            yield listener
        finally:
            followed.listeners.discard(listener)
            if not followed.listeners and self._runs.get(run.run_id) is followed:
                del self._runs[run.run_id]

    async def under_way(self, run: RunRow) -> tuple[list[tuple[str, Piece]], Place]:
        """Return what there is of answers that are under way, and up to which place that is all."""
        found: Any = await self._redis.xrange(self._client.keys.partition(run.partition).partial(run.run_id))
        pieces = list(pieces_in((name.decode(), fields.get(PIECE, b"")) for name, fields in found))
        over = {piece.source for _, piece in pieces if piece.is_last}
        newest = place_of(pieces[-1][0]) if pieces else NOWHERE
        return [each for each in pieces if each[1].source not in over], newest

    async def past(
        self, run: RunRow, numbers: Numbers, after: int, pieces: Sequence[tuple[str, Piece]]
    ) -> AsyncGenerator[list[ToldLog]]:
        """Yield the lines that are stored behind one, some at a time, and then these pieces of text.

        They wait once for lines that were said before them, as ``_Run.tell`` lets them.
        """
        async with self._client.pool.acquire() as conn:
            known = await last_numbers(conn, self._env, run.run_id, up_to=after) if after else {}
        words = SaidReader(numbers, known)
        for pause_s in (LOOK_S, 0):
            while True:
                async with self._client.pool.acquire() as conn:
                    lines = (await lines_of_runs(conn, self._env, {run.run_id: after})).get(run.run_id)
                if not lines:
                    break
                after = lines[-1][0]
                yield list(_told_lines(words, lines))
            if not any(words.is_early(piece) for _, piece in pieces):
                break
            await anyio.sleep(pause_s)
        yield list(_told_texts(words, pieces))

    def stop(self) -> None:
        """Let everybody go."""
        for run in self._runs.values():
            for listener in run.listeners:
                listener.leave()
        self._runs = {}

    async def _begin(self, run: RunRow, numbers: Numbers) -> _Run:
        keys = self._client.keys.partition(run.partition)
        stream = keys.partial(run.run_id)
        newest: Any = await self._redis.xrevrange(stream, count=1)
        async with self._client.pool.acquire() as conn:
            after = await last_id(conn, self._env, run.run_id)
            known = await last_numbers(conn, self._env, run.run_id, up_to=after) if after else {}
        entry = newest[0][0].decode() if newest else "0-0"
        return _Run(run, keys.step_log, stream, SaidReader(numbers, known), after, entry)

    async def _run(self) -> None:
        """Look until nobody listens any more."""
        try:
            while self._runs:
                try:
                    is_more = await self._look()
                    await anyio.sleep(0 if is_more else LOOK_S)
                except Exception as error:  # what cannot be told ends no server
                    is_ours = not isinstance(error, SERVER_ERRORS)
                    log.warning("live_logs_interrupted", error=str(error) or repr(error), exc_info=is_ours)
                    self.stop()  # they go on from what they have heard last
                    await anyio.sleep(FAULT_S)
        finally:
            self._is_running = False

    async def _look(self) -> bool:
        """Tell what has come. Return whether there may be more already."""
        runs = list(self._runs.values())
        pieces = await self._pieces(runs)
        stored = [run for run in runs if run.is_stored]
        async with self._client.pool.acquire() as conn:
            after = {run.run_id: run.after for run in runs}
            lines = await lines_of_runs(conn, self._env, after, limit=LINES_AT_ONCE)
            final = await final_runs(conn, list(after))
        for run in runs:
            run.tell(lines.get(run.run_id, ()), pieces.get(run.partial, ()))
        for run in stored:
            if run.run_id not in lines:
                run.end()
        await self._mark([run for run in runs if run.run_id in final])
        return any(len(some) == LINES_AT_ONCE for some in lines.values())

    async def _pieces(self, runs: Iterable[_Run]) -> Mapping[str, list[tuple[str, Piece]]]:
        """The text that came since, by its stream."""
        by_partition: dict[str, dict[Any, Any]] = {}
        for run in runs:
            by_partition.setdefault(run.step_log, {})[run.partial] = run.entry
        found: dict[str, list[tuple[str, Piece]]] = {}
        for streams in by_partition.values():
            answer: Any = await self._redis.xread(streams, count=PIECES_AT_ONCE)
            pages: dict[bytes, list[tuple[bytes, Fields]]] = dict(answer or ())
            for name, entries in pages.items():
                said = ((entry.decode(), fields.get(PIECE, b"")) for entry, fields in entries)
                found[name.decode()] = list(pieces_in(said))
        return found

    async def _mark(self, final: Sequence[_Run]) -> None:
        """Notice which of the runs that have ended have all of their lines stored; the last ones may be on the way."""
        for step_log in {run.step_log for run in final}:
            oldest: Any = await self._redis.xrange(step_log, count=1)
            newest: Any = await self._redis.xrevrange(step_log, count=1)
            first = place_of(oldest[0][0].decode()) if oldest else None
            last = place_of(newest[0][0].decode()) if newest else NOWHERE
            for run in final:
                if run.step_log == step_log:
                    if run.last_words is None:
                        run.last_words = last
                    run.is_stored = first is None or first > run.last_words


@asynccontextmanager
async def open_live_logs(client: Client) -> AsyncGenerator[LiveLogs]:
    """Everybody is let go at the end."""
    async with anyio.create_task_group() as group:
        live = LiveLogs(client, group)
        try:
            yield live
        finally:
            live.stop()
            group.cancel_scope.cancel()


def _told_lines(words: SaidReader, lines: Iterable[tuple[int, StepLine]]) -> Iterable[ToldLog]:
    for number, line in lines:
        for said in words.said(line):
            yield ToldLog(said.type, line.node, line.attempt, number, NOWHERE, _encode(said))


def _told_texts(words: SaidReader, pieces: Iterable[tuple[str, Piece]]) -> Iterable[ToldLog]:
    for entry, piece in pieces:
        for said in words.said(piece):
            yield ToldLog(said.type, piece.node, piece.attempt, 0, place_of(entry), _encode(said))
