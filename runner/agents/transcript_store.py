"""The store of a transcript: where the next worker finds what was said, and what was spent.

A transcript is stored as a payload after every answer of the model and every result of a tool; the details of a
heartbeat say where it is. What is long in it stands in payloads of their own, each stored once: so a talk takes as much
room as was said in it, and not as much again with each turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio
import msgspec
import structlog

from ...sdk.floor.payloads import PayloadMissing
from ...sdk.spending.spent import NOTHING, Spent
from ..models.request import Message
from .transcript import Called, Transcript

if TYPE_CHECKING:
    from ..blobs import Blobs
    from ..toolbox import Toolbox
    from ..work import Work

LONG_BYTES = 1_024
"""What is longer has a payload of its own."""
T = TypeVar("T")
log = structlog.get_logger()


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A transcript in its payload. A text stands for what is long: the digest of the payload in which it is."""

    turns: int
    messages: list[Message | str]
    called: dict[str, Called | str]
    attempt: int = 0
    spent: Spent = NOTHING
    lost: int = 0


class _Kept(msgspec.Struct, frozen=True):
    """The details of a heartbeat. ``transcript``: the digest of the payload."""

    transcript: str


class TranscriptStore:
    """For one attempt. Messages and results are only ever added to its transcript."""

    def __init__(self, work: Work, tools: Toolbox) -> None:
        assert tools.blobs is not None
        assert work.held is not None
        assert work.partition is not None
        self._work = work
        self._tools = tools
        self._blobs: Blobs = tools.blobs
        self._report = work.held.report
        self._talk = work.partition.talk(work.run_id)
        self._details = work.held.last_report
        self._addresses: dict[int | str, str] = {}
        self._lock = anyio.Lock()
        self._newest = self._stored = Transcript()

    async def add(self, transcript: Transcript) -> None:
        """Store the newest one, unless a newer one was stored meanwhile. Raises as ``keep``."""
        self._newest = transcript
        async with self._lock:
            if self._newest is not self._stored:
                await self.keep(self._newest)

    async def keep(self, transcript: Transcript) -> None:
        """Store it with what the work has spent, and report where it is.

        Waits for a Redis that is away. Raises StepError for what is too large.
        """
        stored = _Stored(
            turns=transcript.turns,
            messages=[await self._put(at, message) for at, message in enumerate(transcript.messages)],
            called={id: await self._put(id, called) for id, called in transcript.called.items()},
            attempt=self._work.attempt,
            spent=self._work.spent,
            lost=transcript.lost,
        )
        self._report(msgspec.json.encode(_Kept(await self._blobs.keep(msgspec.json.encode(stored), self._talk))))
        self._stored = transcript

    async def load(self) -> Transcript:
        """Return what the worker or the attempt before has left, an empty one where nothing is or it cannot be had."""
        if self._details is None:
            return Transcript()
        try:
            kept = msgspec.json.decode(self._details, type=_Kept)
            found = msgspec.json.decode(await self._get(kept.transcript), type=_Stored)
            messages = [await self._found(at, message, Message) for at, message in enumerate(found.messages)]
            called = {id: await self._found(id, each, Called) for id, each in found.called.items()}
        except (msgspec.MsgspecError, PayloadMissing) as error:
            log.warning("transcript_missing", run_id=self._work.run_id, node=self._work.node.id, error=str(error))
            self._addresses.clear()
            return Transcript()
        return Transcript(
            turns=found.turns,
            messages=tuple(messages),
            called=called,
            attempt=found.attempt,
            spent=found.spent,
            lost=found.lost,
        )

    async def _put(self, name: int | str, value: T) -> T | str:
        """Return a value, or the address of what is long. name: its place, or the id of the call."""
        if name not in self._addresses:
            content = msgspec.json.encode(value)
            if len(content) <= LONG_BYTES:
                return value
            self._addresses[name] = await self._blobs.keep(content, self._talk)
        return self._addresses[name]

    async def _found(self, name: int | str, value: T | str, kind: type[T]) -> T:
        if not isinstance(value, str):
            return value
        self._addresses[name] = value
        return msgspec.json.decode(await self._get(value), type=kind)

    async def _get(self, address: str) -> bytes:
        return await self._blobs.load(address, self._tools.cold)
