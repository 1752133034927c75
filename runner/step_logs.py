"""Step logs of a worker: what its attempts say is kept for a moment and sent to Redis in batches.

Saying something never waits and never fails. What is said while Redis is away is kept up to a bound; what does not fit
is dropped, and its number is missing then. Who says nothing costs nothing.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import anyio
import structlog
from redis.exceptions import RedisError

from ..sdk.json_values import NotJson, encode_value
from ..sdk.logs.step_lines import (
    ENTRY_BYTES_MAX,
    LEVELS,
    LINES,
    LINES_MAX,
    PARTIAL_CHARS_MAX,
    PARTIAL_TTL_S,
    PIECE,
    PIECES_MAX,
    STREAM_ENTRIES_MAX,
    TEXT_BYTES_MAX,
    Piece,
    StepLine,
    clean,
    cut_bytes,
    encode_lines,
    encode_piece,
    seal_fields,
)
from ..sdk.sealing.sealing import seal_text
from ..sdk.secrets.redaction import REDACTOR
from .shown_text import ShownText

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from ..sdk.keys import PartitionKeys

LINGER_S = 0.05
"""How long what is said waits for more."""
AWAY_S = 1.0
WAITING_BYTES_MAX = 8 * 1024 * 1024
BATCH = 200
NUMBER_BITS = 63
log = structlog.get_logger()
Command = tuple[object, ...]


class Speaker(NamedTuple):
    """The attempt that speaks. ``node``: its id. ``now_ms``: the server's clock when it was handed out, or 0."""

    run_id: str
    node: str
    scope: str
    attempt: int
    now_ms: int


class StepLogs:
    """Sends what is said. ``run`` and ``flush`` belong to the worker's loop; all else may be called from any thread."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._lock = threading.Lock()
        self._turn = anyio.Lock()
        self._lines: deque[tuple[str, StepLine, int]] = deque()
        self._showing: dict[AttemptLog, None] = {}
        self._bytes = 0
        self._is_told = False
        self._wake: Callable[[], None] = _nobody

    async def run(self) -> None:
        """Send what is said a moment after it was said, until cancelled."""
        loop, said = asyncio.get_running_loop(), asyncio.Event()
        self._wake = lambda: cast("None", loop.call_soon_threadsafe(said.set))
        said.set()
        while True:
            await said.wait()
            said.clear()
            self._is_told = False
            await anyio.sleep(LINGER_S)
            if not await self.flush():
                await anyio.sleep(AWAY_S)
                self.tell()

    def open(self, speaker: Speaker, partition: PartitionKeys, worker: str) -> AttemptLog:
        return AttemptLog(self, speaker, partition, worker)

    def add(self, partition: PartitionKeys, line: StepLine) -> None:
        size = len(line.text) + len(line.fields) + len(line.run_id) + len(line.node) + len(line.worker) + 64
        with self._lock:
            if self._bytes + size > WAITING_BYTES_MAX:
                return
            self._bytes += size
            self._lines.append((partition.step_log, line, size))
        self.tell()

    def show(self, attempt: AttemptLog) -> None:
        """Send the partial text of an attempt soon."""
        with self._lock:
            self._showing[attempt] = None
        self.tell()

    def tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            with suppress(RuntimeError):  # the loop has ended
                self._wake()

    async def flush(self) -> bool:
        """Send all that was said until now. Return False where Redis does not take it; it is kept then."""
        async with self._turn:
            return await self._send_pieces() and await self._send_lines()

    async def _send_lines(self) -> bool:
        while lines := self._take_lines():
            is_sent = False
            try:
                is_sent = await self.send(_line_commands(lines))
            finally:  # also when it is cancelled: a line that was sent twice is stored once
                if not is_sent:
                    with self._lock:
                        self._lines.extendleft(reversed(lines))
                        self._bytes += sum(size for _, _, size in lines)
            if not is_sent:
                return False
        return True

    async def _send_pieces(self) -> bool:
        """What cannot be sent is gone: the whole answer comes with the output of the step."""
        while True:
            with self._lock:
                attempt = next(iter(self._showing), None)
                if attempt is None:
                    return True
                del self._showing[attempt]
            if not await self.send(attempt.take_pieces()):
                return False

    def _take_lines(self) -> list[tuple[str, StepLine, int]]:
        with self._lock:
            lines = [self._lines.popleft() for _ in range(min(BATCH, len(self._lines)))]
            self._bytes -= sum(size for _, _, size in lines)
        return lines

    async def send(self, commands: list[Command]) -> bool:
        """Return False where Redis does not take them."""
        if not commands:
            return True
        try:
            pipe = self._redis.pipeline(transaction=False)
            for command in commands:
                cast("Any", pipe).execute_command(*command)
            await pipe.execute()
        except (RedisError, OSError) as error:
            log.warning("step_log_not_sent", error=str(error))
            return False
        return True


def _line_commands(lines: list[tuple[str, StepLine, int]]) -> list[Command]:
    """As few entries as the lines fit into."""
    commands: list[Command] = []
    by_stream: dict[str, list[tuple[StepLine, int]]] = {}
    for stream, line, size in lines:
        by_stream.setdefault(stream, []).append((line, size))
    for stream, some in by_stream.items():
        entry: list[StepLine] = []
        room = ENTRY_BYTES_MAX
        for line, size in some:
            if entry and size > room:
                commands.append(_entry(stream, STREAM_ENTRIES_MAX, LINES, encode_lines(entry)))
                entry, room = [], ENTRY_BYTES_MAX
            entry.append(line)
            room -= size
        commands.append(_entry(stream, STREAM_ENTRIES_MAX, LINES, encode_lines(entry)))
    return commands


def _entry(stream: str, most: int, field: bytes, content: bytes) -> Command:
    return ("XADD", stream, "MAXLEN", "~", most, "*", field, content)


class AttemptLog:
    """The log of one attempt: a ``StepLog``."""

    __slots__ = (
        "_at_ms",
        "_chars",
        "_is_over",
        "_lock",
        "_logs",
        "_numbers",
        "_opened_at",
        "_opened_ms",
        "_partition",
        "_pieces",
        "_ready",
        "_source",
        "_speaker",
        "_text",
        "_worker",
    )

    def __init__(self, logs: StepLogs, speaker: Speaker, partition: PartitionKeys, worker: str) -> None:
        self._logs = logs
        self._speaker = speaker
        self._partition = partition
        self._worker = worker
        self._source = 0
        self._opened_at = time.monotonic()
        self._opened_ms = speaker.now_ms or int(time.time() * 1000)
        self._lock = threading.Lock()
        self._numbers = self._pieces = self._chars = self._at_ms = 0
        self._ready: list[Piece] = []
        self._text: ShownText | None = None
        self._is_over = False

    @property
    def has_said(self) -> bool:
        return self._source > 0

    def line(self, text: str, /, **fields: object) -> None:
        """Say one line. ``level`` among the fields: one of LEVELS; info where nothing is said."""
        try:
            level = str(fields.pop("level", "info"))
            self._say(level if level in LEVELS else "info", str(text), fields)
        except Exception as error:  # noqa: BLE001 - what is said is the user's, and a log breaks nothing
            log.warning("step_line_lost", run_id=self._speaker.run_id, node=self._speaker.node, error=repr(error))

    def partial(self, text: str, /) -> None:
        try:
            with self._lock:
                room = PARTIAL_CHARS_MAX - self._chars
                if self._is_over or not text or room <= 0:
                    return
                self._open()
                if self._text is None:
                    self._text = ShownText(REDACTOR)
                self._chars += len(text)
                self._at_ms = self._now_ms()
                self._text.add(clean(text[:room]))
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("partial_text_lost", run_id=self._speaker.run_id, node=self._speaker.node, error=repr(error))
        else:
            self._logs.show(self)

    def end(self) -> None:
        """Say that the attempt is over: its partial text is complete, and whatever comes yet is not said any more."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            if not self._chars:
                return
            self._cut()
            self._ready.append(self._piece("", is_last=True))
        self._logs.show(self)

    def take_pieces(self) -> list[Command]:
        """Return the commands that send the next pieces of the partial text."""
        with self._lock:
            if self._text is not None:
                self._make_ready(self._text.take())
            pieces, self._ready = self._ready, []
        key = self._partition.partial(self._speaker.run_id)
        commands = [_entry(key, PIECES_MAX, PIECE, encode_piece(piece)) for piece in pieces]
        return [*commands, ("EXPIRE", key, PARTIAL_TTL_S)] if commands else []

    def _cut(self) -> None:
        """A line is said, or the attempt is over: the text before that is complete."""
        if self._text is not None:
            self._make_ready(self._text.take(is_last=True))
            self._text = None

    def _make_ready(self, text: str) -> None:
        for at in range(0, len(text), TEXT_BYTES_MAX):
            self._ready.append(self._piece(text[at : at + TEXT_BYTES_MAX]))

    def _piece(self, text: str, *, is_last: bool = False) -> Piece:
        self._pieces += 1
        speaker = self._speaker
        return Piece(
            node=speaker.node,
            scope=speaker.scope,
            attempt=speaker.attempt,
            source=self._source,
            number=self._pieces,
            after=self._numbers,
            at_ms=self._at_ms,
            text=seal_text(text),
            is_last=is_last,
        )

    def _say(self, level: str, text: str, fields: dict[str, object]) -> None:
        with self._lock:
            if self._is_over or self._numbers >= LINES_MAX:
                return
            self._open()
            self._cut()
            self._numbers += 1
            number = self._numbers
        if number == LINES_MAX:
            level, text, fields = "warning", f"more than {LINES_MAX:,} lines: the others are left out", {}
        if REDACTOR.finds_nothing(text, fields):
            fields = {name: _plain(value) for name, value in fields.items()}
        else:
            text = REDACTOR.redact(text)
            fields = {name: _json(name, value) for name, value in fields.items()}
        speaker = self._speaker
        line = StepLine(
            run_id=speaker.run_id,
            node=speaker.node,
            scope=speaker.scope,
            attempt=speaker.attempt,
            worker=self._worker,
            source=self._source,
            number=number,
            at_ms=self._now_ms(),
            level=level,
            text=seal_text(cut_bytes(clean(text))),
            fields=seal_fields(fields),
        )
        self._logs.add(self._partition, line)

    def _now_ms(self) -> int:
        """By the clock of Redis, as far as it is known."""
        return self._opened_ms + int((time.monotonic() - self._opened_at) * 1000)

    def _open(self) -> None:
        if not self._source:
            self._source = secrets.randbits(53) + 1


def _plain(value: object) -> object:
    """A string, or another value as it is; what is too large for a number is a text."""
    if isinstance(value, str):
        return clean(value)
    return str(value) if isinstance(value, int) and value.bit_length() >= NUMBER_BITS else value


def _json(name: str, value: object) -> object:
    """A JSON value without secrets; what is none is shown as Python does."""
    masked = REDACTOR.redact_field(name, value)
    try:
        encode_value(masked)
    except (NotJson, ValueError, TypeError, RecursionError):
        return clean(REDACTOR.redact(repr(masked)))
    return clean(masked) if isinstance(masked, str) else masked


def _nobody() -> None:
    """Nobody sends yet."""
