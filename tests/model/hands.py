"""Hands: a consumer of one partition that makes every call by itself. No worker process, no supervisor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from courante.sdk.corrupt import Corrupt
from courante.sdk.events import RecordedEvent, decode_blob, decode_facts
from courante.sdk.floor.calling import Connection, Word
from courante.sdk.floor.scripts import DONE_GROUP, QUEUE_GROUP, Advanced, advance, open_partition
from courante.sdk.keys import Keys, PartitionKeys
from courante.supervisor.recording.entries import read_code, read_entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from courante.runner.transition import Transition

NAMES = ("system:high", "default:high", "system:normal", "default:normal", "system:low", "default:low")
CONSUMER = "hands"
ALL = 10_000


class Found(NamedTuple):
    """One stream entry that was delivered. ``number``: of its stream, from 1."""

    number: int
    entry: str
    run: str
    token: str
    fence: str


@dataclass
class Hands:
    """``limits``: soft and hard, of the outbox. ``twice``: every call is repeated under its number, as after a lost
    reply.
    """

    redis: Connection
    keys: Keys
    partition: int = 0
    limits: tuple[int, int] = (50_000, 100_000)
    twice: bool = False
    consumer: str = CONSUMER
    calls: int = 0
    _last: tuple[list[Word], Advanced] | None = None
    _last_outbox: str = "-"
    _last_pseq: int = 0
    at: PartitionKeys = field(init=False)
    streams: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.at = self.keys.partition(self.partition)
        self.streams = [self.at.queue(name) for name in NAMES]

    @property
    def has_called(self) -> bool:
        return self._last is not None

    async def open(self, epoch: int = 1) -> None:
        groups = [(self.at.done, DONE_GROUP), *((stream, QUEUE_GROUP) for stream in self.streams)]
        assert await open_partition(self.redis, self.at, groups, epoch=epoch) == epoch

    def forget_outbox(self) -> None:
        """The server was emptied: its outbox begins anew."""
        self._last_outbox, self._last_pseq = "-", 0

    async def advance(
        self,
        transitions: Sequence[Transition] = (),
        *,
        opened: Sequence[Found] = (),
        want: int = 0,
        call: int | None = None,
    ) -> Advanced:
        """One call under a new number, or under ``call``."""
        if call is None:
            self.calls += 1
        words: list[Word] = [self.consumer, call or self.calls, want, *self.limits, len(opened)]
        for found in opened:
            words += (found.number, found.entry)
        for transition in transitions:
            words += transition.words
        answer = await advance(self.redis, self.at, self.consumer, self.streams, words)
        self._last = words, answer
        if self.twice:
            again = await self.repeat()
            assert len(again.tokens) == len(answer.tokens), "fewer tokens for the same call"
            return again
        return answer

    async def repeat(self) -> Advanced:
        """The last call once more, by its number: the same answer, but for tokens that others have taken since."""
        assert self._last is not None
        words, answer = self._last
        again = await advance(self.redis, self.at, self.consumer, self.streams, words)
        assert again.verdicts == answer.verdicts, "other verdicts for the same call"
        assert all(token in answer.tokens for token in again.tokens), "other tokens for the same call"
        return again

    async def read(self) -> list[Found]:
        """Everything that was not yet delivered, by one read of all streams."""
        page = await self.redis.xreadgroup(QUEUE_GROUP, self.consumer, dict.fromkeys(self.streams, ">"), count=ALL)
        numbers = {stream.encode(): number for number, stream in enumerate(self.streams, start=1)}
        return [
            Found(numbers[name], entry.decode(), *fields[b"t"].decode().split("|"))
            for name, entries in page or []
            for entry, fields in entries
        ]

    async def knock(self, found: Found) -> None:
        """Put the same entry into its stream once more."""
        words = f"{found.run}|{found.token}|{found.fence}"
        await self.redis.execute_command("XADD", self.streams[found.number - 1], "*", "t", words)

    async def pending(self) -> list[int]:
        """How many entries are delivered and not acknowledged, per stream."""
        return [int((await self.redis.xpending(stream, QUEUE_GROUP))["pending"]) for stream in self.streams]

    async def lengths(self) -> list[int]:
        return [int(await self.redis.execute_command("XLEN", stream)) for stream in self.streams]

    async def state(self, run_id: str) -> list[object]:
        """Everything of a run and its partition that a refused call must leave as it was."""
        return [
            await self.redis.execute_command("HGETALL", self.at.run(run_id)),
            await self.redis.execute_command("XLEN", self.at.outbox),
            await self.redis.execute_command("XLEN", self.at.done),
            await self.redis.execute_command("ZRANGE", self.at.timers, 0, -1, "WITHSCORES"),
            await self.lengths(),
            await self.pending(),
        ]

    async def record(self, run_id: str, token: str) -> tuple[str, str, str] | None:
        """Fence, place and entry (or due time) of a living token."""
        value = await self.redis.execute_command("HGET", self.at.run(run_id), f"t{token}")
        if value is None:
            return None
        fence, place, _, entry, _ = value.decode().split("|", 4)
        return fence, place, entry

    async def ring(self, run_id: str, token: str) -> None:
        """Make the timer of a parked token due, and earlier than any other."""
        record = await self.record(run_id, token)
        assert record is not None
        member = f"{run_id}|{token}|{record[0]}"
        assert await self.redis.execute_command("ZSCORE", self.at.timers, member) is not None, f"{token} has no timer"
        await self.redis.execute_command("ZADD", self.at.timers, "XX", 1, member)

    async def events(self, node_ids: Sequence[str], run_id: str) -> list[RecordedEvent]:
        """What the outbox has gained of a run since the last look, decoded as the recorder does."""
        start = "-" if self._last_outbox == "-" else f"({self._last_outbox}"
        found: list[RecordedEvent] = []
        for entry_id, fields in await self.redis.xrange(self.at.outbox, min=start) or []:
            entry = read_entry(self.partition, entry_id, fields)
            if entry.seq != self._last_pseq + 1:
                raise Corrupt(f"outbox entry {entry.seq} follows {self._last_pseq}")
            self._last_outbox, self._last_pseq = entry.id, entry.seq
            for transition in entry.transitions:
                blob = decode_blob(transition.blob)
                assert len(blob) == transition.count
                facts = [(decode_facts(content), payload) for content, payload in blob]
                codes = transition.codes.split(";") if transition.codes else []
                facts += [(read_code(code, node_ids), None) for code in codes]
                if transition.run_id == run_id:
                    found += [
                        RecordedEvent(run_id=run_id, seq=seq, at_ms=entry.at_ms, facts=fact, payload=payload)
                        for seq, (fact, payload) in enumerate(facts, start=transition.first_seq)
                    ]
        return found
