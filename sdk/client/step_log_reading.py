"""Reading step logs: lines that are stored, those that still wait in Redis, and partial text, each once.

A line is in Redis until it is in Postgres. So Redis is read first, and what is found in both is taken once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ..keys import PartitionKeys
from ..logs.step_lines import LINES, PIECE, STREAM_ENTRIES_MAX, Piece, StepLine, decode_lines, decode_piece
from ..stores.step_logs import last_id, lines_after, lines_in_time

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from ..stores.connection import Connection

SEEN_MAX = 100_000
Said = StepLine | Piece


class StepLogReader:
    """The log of one run, or of one of its nodes. ``node``: None for all."""

    def __init__(
        self, conn: Connection, redis: Redis, keys: PartitionKeys, env: str, run_id: str, node: str | None = None
    ) -> None:
        self._conn = conn
        self._redis = redis
        self._keys = keys
        self._env = env
        self._run_id = run_id
        self._node = node
        self._seen: OrderedDict[tuple[int, int], None] = OrderedDict()
        self._early: list[Piece] = []
        self._entry = self._piece = "0-0"
        self._id = 0
        self._is_first = True

    async def past(self) -> AsyncGenerator[StepLine]:
        """Yield what was said until now, by its time. To be read once, and first."""
        waiting = await self._waiting()
        self._id = await last_id(self._conn, self._env, self._run_id)
        async for line in lines_in_time(self._conn, self._env, self._run_id, node=self._node, up_to=self._id):
            waiting.pop(line.place, None)
            self._note(line)
            yield line
        for line in sorted(waiting.values(), key=lambda line: (line.at_ms, *line.place)):
            self._note(line)
            yield line

    async def more(self) -> list[Said]:
        """Return what was said since, in the order in which it was said; partial text of steps that are under way.

        At the first call also the text before, but not that of attempts that are over. A piece that came before the
        lines which were said before it waits for them, once: they are on their way, or lost.
        """
        waited, self._early = self._early, []
        pieces = await self._pieces()
        fresh = dict(await self._waiting())
        stored, self._id = await lines_after(self._conn, self._env, self._run_id, node=self._node, after=self._id)
        fresh |= {line.place: line for line in stored}
        lines = [line for line in fresh.values() if self._note(line)]
        said: list[Said] = [*waited, *lines]
        for piece in pieces:
            is_early = piece.after > 0 and (piece.source, piece.after) not in self._seen
            (self._early if is_early else said).append(piece)
        return sorted(said, key=_order)

    async def _waiting(self) -> dict[tuple[int, int], StepLine]:
        """Lines of this run among all that are not stored yet, from the entry on that was read last."""
        found: dict[tuple[int, int], StepLine] = {}
        for name, content in await self._read(self._keys.step_log, self._entry, LINES):
            self._entry = name
            try:
                lines = decode_lines(content)
            except msgspec.DecodeError:
                continue
            found |= {line.place: line for line in lines if self._is_wanted(line)}
        return found

    async def _pieces(self) -> list[Piece]:
        entries = await self._read(self._keys.partial(self._run_id), self._piece, PIECE)
        if entries:
            self._piece = entries[-1][0]
        pieces = [piece for _, piece in pieces_in(entries) if self._node in (None, piece.node)]
        if self._is_first:
            self._is_first = False
            over = {piece.source for piece in pieces if piece.is_last}
            pieces = [piece for piece in pieces if piece.source not in over]
        return pieces

    async def _read(self, stream: str, after: str, field: bytes) -> list[tuple[str, bytes]]:
        entries: list[tuple[bytes, dict[bytes, bytes]]] = await cast("Any", self._redis).execute_command(
            "XRANGE", stream, f"({after}", "+", "COUNT", STREAM_ENTRIES_MAX
        )
        return [(name.decode(), fields.get(field, b"")) for name, fields in entries]

    def _is_wanted(self, line: StepLine) -> bool:
        return line.run_id == self._run_id and self._node in (None, line.node)

    def _note(self, line: StepLine) -> bool:
        """Whether a line is new; from now on it is not."""
        if line.place in self._seen:
            return False
        self._seen[line.place] = None
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        return True


def pieces_in(entries: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, Piece]]:
    """Yield the pieces of partial text that entries of a stream have, with the ids of these; none of what is none."""
    for name, content in entries:
        with suppress(msgspec.DecodeError):
            yield name, decode_piece(content)


def _order(said: Said) -> tuple[int, int, float]:
    return said.at_ms, said.source, said.after + 0.5 if isinstance(said, Piece) else said.number
